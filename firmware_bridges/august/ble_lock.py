"""An August or Yale lock's Bluetooth side, emulated on the air: handshake, keypad slots, bolt; with its manners.

Frames and codes as `yalexs-ble` 7.2.2 (Apache-2.0) sends and reads them: 18 bytes, 16 of them encrypted; AES-ECB under
the offline key for the handshake, AES-CBC under the session's key, chained over the whole link, for all else. Written
against that package and no lock: what a lock of a given model does beyond it is not known here.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Final

from bumble import att
from bumble.core import AdvertisingData
from bumble.device import Connection, Device
from bumble.gatt import Characteristic, CharacteristicValue, Service
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from kit.dice import Dice

SERVICE: Final = "0000fe24-0000-1000-8000-00805f9b34fb"
WRITE, READ, SECURE_WRITE, SECURE_READ = (f"bd4ac61{n}-0b45-11e3-8ffd-0800200c9a66" for n in (1, 2, 3, 4))
FRAME_BYTES: Final = 18
BLOCK_BYTES: Final = 16
PIN_BYTES: Final = 7
DONE: Final = 0x00
WRONG_KEY, EXISTING_KEY, NO_SPACE, KEYPAD_TIMEOUT, JAMMED, BUSY, INVALID = 0x03, 0x06, 0x07, 0x08, 0x1E, 0x3E, 0x3A
UNLOCKED, LOCKED = 0x03, 0x05


@dataclass(slots=True)
class YaleManners:
    """Probabilities 0..1 for each command."""

    drop_before: float = 0.03
    """The link breaks before the command is done."""
    drop_after: float = 0.05
    """It is done, and the link breaks before the answer."""
    busy: float = 0.05
    noise: float = 0.03
    """A frame that nobody asked for comes in front of the answer."""
    garbled: float = 0.03
    """The answer is spoiled on its way."""
    slow_ms: int = 20
    jam: float = 0.0
    """The bolt sticks."""
    misread: float = 0.0
    """It tells other digits of a full slot than it holds."""


def quiet() -> YaleManners:
    """Return manners without a fault."""
    return YaleManners(0, 0, 0, 0, 0, 0, 0)


class YaleLock:
    """One lock. `pins`: what its keypad slots hold; `turned`: how often it was unlocked; `wrote`: commands seen."""

    def __init__(
        self,
        device: Device,
        *,
        key: bytes,
        key_slot: int,
        dice: Dice,
        capacity: int = 30,
        manners: YaleManners | None = None,
    ) -> None:
        self.device, self.manners = device, manners or YaleManners()
        self.pins: dict[int, str] = {}
        self.turned = 0
        self.bolt = LOCKED
        self.wrote: Counter[int] = Counter()
        self.links = 0
        self._key, self._key_slot, self._dice, self._capacity = key, key_slot, dice, capacity
        self._session: tuple[CipherContext, CipherContext] | None = None
        self._session_key = b""
        self._typed = b""
        """The digits of a KEYCODE_SET that waits for its commit."""
        self._millivolts = 5_960
        self._tasks: set[asyncio.Task[None]] = set()
        tells = Characteristic.Properties.NOTIFY
        self._read: Characteristic[bytes] = Characteristic(READ, tells, Characteristic.Permissions(0))
        self._secure_read: Characteristic[bytes] = Characteristic(SECURE_READ, tells, Characteristic.Permissions(0))
        writes: list[Characteristic[bytes]] = [
            Characteristic(
                uuid,
                Characteristic.Properties.WRITE,
                Characteristic.Permissions.WRITEABLE,
                CharacteristicValue(write=take),
            )
            for uuid, take in ((WRITE, self._on_write), (SECURE_WRITE, self._on_secure_write))
        ]
        device.add_service(Service(SERVICE, [*writes, self._read, self._secure_read]))
        device.on(Device.EVENT_CONNECTION, self._on_connection)

    async def advertise(self) -> None:
        """Be found. The advert goes on by itself after each link."""
        self.device.advertising_interval_min = self.device.advertising_interval_max = 20
        manufacturer = (465).to_bytes(2, "little") + bytes([0x00])
        self.device.advertising_data = bytes(
            AdvertisingData(
                [
                    (AdvertisingData.Type.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS, bytes.fromhex("24fe")),
                    (AdvertisingData.Type.MANUFACTURER_SPECIFIC_DATA, manufacturer),
                ]
            )
        )
        await self.device.start_advertising(auto_restart=True)

    @property
    def address(self) -> str:
        """Where it is on the air."""
        return str(self.device.random_address.to_string(False))

    def opens(self, pin: str) -> bool:
        """Type a PIN at the keypad: the lock keeps no hours."""
        return pin in self.pins.values()

    def _on_connection(self, _: Connection) -> None:
        self.links += 1
        self._session = None

    # -- the handshake ------------------------------------------------------------------------------------------------

    async def _on_secure_write(self, connection: Connection, value: bytes) -> None:
        if len(value) != FRAME_BYTES:
            raise att.ATT_Error(att.ErrorCode.INVALID_ATTRIBUTE_LENGTH)
        key = self._session_key if self._session is not None else self._key
        frame = _ecb(key).decryptor().update(value[:BLOCK_BYTES]) + value[BLOCK_BYTES:]
        if frame[17] != self._key_slot or int.from_bytes(frame[12:16], "little") != _security_sum(frame):
            raise att.ATT_Error(att.ErrorCode.UNLIKELY_ERROR)  # a wrong key: so says a real one
        if frame[0] == 0x01:
            ours = self._dice.bytes(8)
            await self._tell_securely(connection, self._key, 0x02, ours)
            self._session_key = frame[4:12] + ours
            cbc = Cipher(algorithms.AES(self._session_key), modes.CBC(bytes(BLOCK_BYTES)))
            self._session = cbc.decryptor(), cbc.encryptor()
        elif frame[0] == 0x03:
            await self._tell_securely(connection, self._session_key, 0x04, bytes(8))
        elif frame[0] == 0x05:
            await self._tell_securely(connection, self._session_key, 0x8B, bytes(8))

    async def _tell_securely(self, connection: Connection, key: bytes, opcode: int, body: bytes) -> None:
        frame = bytearray(FRAME_BYTES)
        frame[0], frame[4:12], frame[16], frame[17] = opcode, body, 0x0F, self._key_slot
        frame[12:16] = _security_sum(frame).to_bytes(4, "little")
        sealed = _ecb(key).encryptor().update(bytes(frame[:BLOCK_BYTES])) + bytes(frame[BLOCK_BYTES:])
        await self.device.notify_subscriber(connection, self._secure_read, sealed)

    # -- commands -----------------------------------------------------------------------------------------------------

    async def _on_write(self, connection: Connection, value: bytes) -> None:
        if self._session is None or len(value) != FRAME_BYTES:
            raise att.ATT_Error(att.ErrorCode.UNLIKELY_ERROR)
        frame = self._session[0].update(value[:BLOCK_BYTES]) + value[BLOCK_BYTES:]
        if frame[0] != 0xEE or sum(frame) & 0xFF:
            raise att.ATT_Error(att.ErrorCode.UNLIKELY_ERROR)
        task = asyncio.get_running_loop().create_task(self._obey(connection, frame))  # the write is answered first
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _obey(self, connection: Connection, frame: bytes) -> None:
        manners, opcode = self.manners, frame[1]
        await asyncio.sleep(self._dice.uniform(0, manners.slow_ms) / 1_000)
        if self._chance(manners.drop_before):
            await self._hang_up(connection)
            return
        self.wrote[opcode] += 1
        answer = self._do(opcode, frame)
        if self._chance(manners.drop_after):
            await self._hang_up(connection)
            return
        if self._chance(manners.noise):
            await self._tell(connection, _answer(0x02, bytes([0x2E, 0, 0, 0, 0x01])))  # the door was moved
        if opcode in (0x0A, 0x0B):
            await self._tell(connection, _answer(opcode, frame[4:5], kind=0xAA))
        await self._tell(connection, answer, garbled=self._chance(manners.garbled))

    def _do(self, opcode: int, frame: bytes) -> bytes:
        if self._chance(self.manners.busy):
            return _answer(opcode, frame[4:12], result=BUSY)
        match opcode:
            case 0x02 if frame[4] == 0x0F:
                return _answer(opcode, bytes([0x0F, 0, 0, 0, *self._millivolts.to_bytes(2, "little")]))
            case 0x02:
                return _answer(opcode, bytes([frame[4], 0, 0, 0, self.bolt]))
            case 0x0A | 0x0B:
                if self._chance(self.manners.jam):
                    return _answer(opcode, b"", result=JAMMED)
                self.turned += opcode == 0x0A
                self.bolt = UNLOCKED if opcode == 0x0A else LOCKED
                return _answer(opcode, b"")
            case 0x27:
                self._typed = frame[4:11]
                taken = _digits(self._typed) in self.pins.values()
                return _answer(opcode, b"", result=EXISTING_KEY if taken else DONE)
            case 0x28:
                self.pins.pop(frame[11] | frame[13] << 8, None)
                return _answer(opcode, b"")
            case 0x2B:
                return _answer(opcode, b"", result=DONE if self._typed else INVALID)
            case 0x2C:
                if frame[4:11] != self._typed:
                    return _answer(opcode, b"", result=INVALID)
                if len(self.pins) >= self._capacity:
                    return _answer(opcode, b"", result=NO_SPACE)
                self.pins[frame[11] | frame[13] << 8] = _digits(self._typed)
                self._typed = b""
                return _answer(opcode, b"")
            case 0x39:
                slot = int.from_bytes(frame[4:6], "little")
                pin = self.pins.get(slot, "")
                if pin and self._chance(self.manners.misread):
                    pin = f"{self._dice.integer(0, 10 ** len(pin) - 1):0{len(pin)}d}"
                held = bytes.fromhex(pin.ljust(PIN_BYTES * 2, "f"))
                return _answer(opcode, frame[4:6] + held)
            case _:
                return _answer(opcode, b"", result=INVALID)

    async def _tell(self, connection: Connection, frame: bytes, *, garbled: bool = False) -> None:
        if self._session is None or connection.handle not in self.device.connections:
            return
        sealed = self._session[1].update(frame[:BLOCK_BYTES]) + frame[BLOCK_BYTES:]
        if garbled:
            sealed = bytes([sealed[0] ^ 0x55]) + sealed[1:]
        await self.device.notify_subscriber(connection, self._read, sealed)

    async def _hang_up(self, connection: Connection) -> None:
        if connection.handle in self.device.connections:
            await connection.disconnect()

    def _chance(self, share: float) -> bool:
        return share > 0 and self._dice.uniform(0, 1) < share


def _ecb(key: bytes) -> "Cipher[modes.ECB]":
    return Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 - theirs, not ours


def _security_sum(frame: bytes | bytearray) -> int:
    return -sum(int.from_bytes(frame[at : at + 4], "little") for at in (0, 4, 8)) & 0xFFFFFFFF


def _answer(opcode: int, body: bytes, *, result: int = DONE, kind: int = 0xBB) -> bytes:
    """Return a frame: kind, opcode, body from byte 4, result in byte 15, and byte 3 makes the sum nought."""
    frame = bytearray(FRAME_BYTES)
    frame[0], frame[1], frame[15], frame[16] = kind, opcode, result, 0x02
    frame[4 : 4 + len(body)] = body
    frame[3] = -sum(frame) & 0xFF
    return bytes(frame)


def _digits(packed: bytes) -> str:
    return packed.hex().rstrip("f")
