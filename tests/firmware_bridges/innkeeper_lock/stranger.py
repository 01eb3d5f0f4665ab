"""A phone written from the pages of door and grant alone, with `cryptography` and `cbor2`: no code of ours.

It shares no line with the lock that it opens, so that what both got wrong in the same way would show here. Section
numbers are those of the door's SPEC.
"""

import asyncio
import hashlib
import hmac
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import cbor2
from bleak import BleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from firmware_bridges.ble_radio.backend import BleBackend

SERVICE = "1d9c5e00-7a4b-4c63-9e0f-6b0a86f4d2c1"
TX, RX = f"1d9c5e01{SERVICE[8:]}", f"1d9c5e02{SERVICE[8:]}"
WAIT_S = 10.0
FRAME = 100
Key = ec.EllipticCurvePrivateKey


class OverError(Exception):
    """The lock ended the link."""


class HintError(Exception):
    """ERROR: code and detail."""


def point(key: Key) -> bytes:
    form = serialization.PublicFormat.CompressedPoint
    return key.public_key().public_bytes(serialization.Encoding.X962, form)


def signed(key: Key, message: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def sign1(key: Key, payload: bytes) -> bytes:
    """COSE_Sign1 as grant SPEC 1 has it."""
    kid = hashlib.sha256(point(key)).digest()[:4]
    protected = cbor2.dumps({1: -7, 4: kid}, canonical=True)
    text = cbor2.dumps(["Signature1", protected, b"", payload], canonical=True)
    return cbor2.dumps([protected, {}, payload, signed(key, text)], canonical=True)


def derive(secret: bytes, salt: bytes, purpose: bytes, size: int) -> bytes:
    return HKDF(hashes.SHA256(), size, salt, b"innkeeper/door/1 " + purpose).derive(secret)


def shown(lock_id: bytes, eik_root: bytes, at_s: int) -> bytes:
    """The id that a lock of this root adverts now (section 3)."""
    eik = derive(eik_root, lock_id, b"eik" + struct.pack(">I", at_s // 604_800), 16)
    temp = _block(eik, bytes(11) + b"\xff\0\0" + struct.pack(">H", at_s >> 16))
    return _block(temp, bytes(11) + b"\x09" + struct.pack(">I", at_s & ~0x1FF))[:8]


def _block(key: bytes, block: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - one block, as Eddystone-EID
    return encryptor.update(block) + encryptor.finalize()


class Door:
    """What a bundle tells of one door, and the time."""

    def __init__(self, lock_id: bytes, s_lock: bytes, eik_root: bytes, at_s: int) -> None:
        self.lock_id, self.s_lock, self.eik_root, self.at_s = lock_id, s_lock, eik_root, at_s


class Link:
    """One exchange on one connection."""

    def __init__(self, door: Door, client: BleakClient, heard: "asyncio.Queue[bytes | None]") -> None:
        self.door, self._client, self._heard = door, client, heard
        self.chal = self.secret = b""
        self._keys, self._counters = (b"", b""), [0, 0]

    async def message(self) -> bytes:
        found = b""
        while True:
            frame = await asyncio.wait_for(self._heard.get(), WAIT_S)
            if frame is None:
                raise OverError
            found += frame[1:]
            if frame[0] & 0x40:
                return found

    async def say(self, message: bytes) -> None:
        parts = [message[at : at + FRAME] for at in range(0, len(message), FRAME)]
        for number, part in enumerate(parts):
            flags = (0x80 if number == 0 else 0) | (0x40 if number == len(parts) - 1 else 0)
            try:
                await self._client.write_gatt_char(TX, bytes([flags | number]) + part, response=True)
            except BleakError as error:
                raise OverError from error

    async def answer(self) -> bytes:
        """The status and what follows it. Raises HintError, OverError."""
        message = await self.message()
        if message[0] == 0x8F:
            raise HintError(message[1], message[2])
        assert message[0] == 0x81
        nonce = self._counters[1].to_bytes(12, "big")
        self._counters[1] += 1
        return AESGCM(self._keys[1]).decrypt(nonce, message[1:], message[:1])

    async def open(self, command: Callable[["Link"], bytes]) -> bytes:
        """OPEN with the command that is made of the transcript."""
        await self.say(self.first(command))
        return await self.answer()

    def first(self, command: Callable[["Link"], bytes]) -> bytes:
        door, chal, ephemeral = self.door, self.chal, ec.generate_private_key(ec.SECP256R1())
        mine, at_s = point(ephemeral), struct.unpack(">I", chal[2:6])[0]
        label = b"innkeeper/door/1 transcript\0"
        self.transcript = hashlib.sha256(label + door.lock_id + door.s_lock + chal + mine).digest()
        shared = b"".join(
            ephemeral.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), theirs))
            for theirs in (door.s_lock, chal[31:64])
        )
        stream = derive(shared, self.transcript, b"keys", 96)
        self._keys, self._counters, self.secret = (stream[:32], stream[32:64]), [0, 0], stream[64:]
        eik = derive(door.eik_root, door.lock_id, b"eik" + struct.pack(">I", at_s // 604_800), 16)
        gate = derive(eik, door.lock_id, b"gate" + struct.pack(">I", at_s // 86_400), 32)
        tag = hmac.new(gate, chal[15:31] + mine, hashlib.sha256).digest()[:4]
        return self._sealed(b"\x01" + mine + tag, command(self))

    async def more(self, command: Callable[["Link"], bytes]) -> bytes:
        await self.say(self._sealed(b"\x03", command(self)))
        return await self.answer()

    def _sealed(self, head: bytes, command: bytes) -> bytes:
        nonce = self._counters[0].to_bytes(12, "big")
        self._counters[0] += 1
        return head + AESGCM(self._keys[0]).encrypt(nonce, command, head)

    def unlock(self, grant: bytes, certificate: bytes, key: Key, *, verified: int = 0) -> bytes:
        """UNLOCK under the counter that comes next."""
        counter = struct.pack(">I", self._counters[0])
        digest = hashlib.sha256(grant).digest()
        statement = b"innkeeper/door/1 unlock\0" + self.transcript + counter + bytes([verified]) + digest
        sized = struct.pack(">H", len(grant)) + grant + struct.pack(">H", len(certificate)) + certificate
        return bytes([1, verified, 0]) + sized + signed(key, statement)

    def fast(self, secret: bytes) -> tuple[bytes, bytes]:
        """FAST, and the secret that comes after it (section 10)."""
        door = self.door
        head = b"\x02" + derive(secret, door.lock_id, b"fast id", 8) + b"\0"
        label = b"innkeeper/door/1 fast transcript\0"
        transcript = hashlib.sha256(label + door.lock_id + door.s_lock + self.chal + head).digest()
        stream = derive(secret, transcript, b"fast", 112)
        self._keys, self._counters = (stream[16:48], stream[48:80]), [0, 0]
        return head + stream[:16], stream[80:]


def grant_of(issuer: Key, phone: Key, at_s: int, grant_id: bytes, **private: Any) -> bytes:
    """A grant for a day (grant SPEC 5); `private`: fields by `f` and their number, None leaves one out."""
    fields = {0: 1, 6: point(phone), **{int(name[1:]): value for name, value in private.items()}}
    fields = {number: value for number, value in fields.items() if value is not None}
    claims = {4: at_s + 86_400, 5: at_s - 3_600, 6: at_s, 7: grant_id, -65537: fields}
    return sign1(issuer, cbor2.dumps(claims, canonical=True))


@asynccontextmanager
async def linked(backend: BleBackend, door: Door) -> AsyncIterator[Link]:
    """Find the door by its advert alone, connect, and hear CHAL."""
    wanted = {shown(door.lock_id, door.eik_root, door.at_s + off * 512) for off in range(-2, 3)}
    found: asyncio.Future[BLEDevice] = asyncio.get_running_loop().create_future()

    def on_advertisement(device: BLEDevice, said: AdvertisementData) -> None:
        if not found.done() and any(data[0] == 1 and data[1:9] in wanted for data in said.service_data.values()):
            found.set_result(device)

    async with backend.scanner(on_advertisement):
        device = await asyncio.wait_for(found, WAIT_S)
    heard: asyncio.Queue[bytes | None] = asyncio.Queue()
    client = backend.client(device, on_disconnected=lambda _client: heard.put_nowait(None))
    async with client:
        await client.start_notify(RX, lambda _sender, data: heard.put_nowait(bytes(data)))
        link = Link(door, client, heard)
        link.chal = await link.message()
        assert (len(link.chal), link.chal[:2]) == (64, b"\x01\x01")
        yield link
