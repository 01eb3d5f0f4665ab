"""A Modbus TCP gateway with many units behind it: the real wire, and every way in which units disappoint."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from firmware_bridges.field_emulator.misbehaviour import Misbehaviour
from firmware_bridges.field_emulator.physics import EmulatedDevice
from kit.clock import Clock
from kit.task_groups import TaskGroup
from protocols.descriptors.codec import judge, raw_of_value, raw_of_words, with_exponent, words_of_raw
from protocols.descriptors.descriptor import Point, Table, unreadable_register
from protocols.descriptors.firmware import words_of_text
from protocols.descriptors.wires import ModbusWire
from protocols.device_model.capability import Value
from protocols.errors import LocalProtocolError, PeerProtocolError
from protocols.modbus.frames import (
    ExceptionCode,
    Frame,
    FrameReader,
    Read,
    Refused,
    Words,
    WriteWords,
    Written,
    decode_request,
    encode_frame,
    encode_reply,
)
from protocols.modbus.identification import FUNCTION as IDENTIFY
from protocols.modbus.identification import Identify, encode_identification
from protocols.modbus.rtu import ADU_BYTES_MAX, decode_adu, encode_adu

FIRMWARE: Final = b"1.0"
_WRITE_ONE: Final = (b"\x05", b"\x06")
_WRITE_MANY: Final = (15, 16)
_CONFORMITY: Final = 0x81  # basic identification, by stream and one by one
REQUESTS_MAX: Final = 256
"""Requests at once on one connection; more are not read until some are answered."""
TORN_PAUSE_S: Final = 0.005
STOP_WAIT_S: Final = 2.0
ILLEGAL_ADDRESS: Final = Refused(ExceptionCode.ILLEGAL_DATA_ADDRESS)


class EmulatedUnit:
    """The registers of one device, read from and written to its physical truth."""

    def __init__(self, thing: EmulatedDevice) -> None:
        self.thing = thing
        self.answer_ms: int | None = None
        """How long each of its answers takes; None: as long as everybody's."""
        self.stand_in: EmulatedUnit | None = None
        """Who answers in its place: it was swapped."""
        self.extra: dict[tuple[Table, int], int] = {}
        emulation, wire = thing.descriptor.emulation, thing.descriptor.wire
        for each in emulation.registers if emulation else ():
            self.extra[(each.table, each.register)] = each.raw
        self._unreadable = (
            {unreadable_register(each) for each in wire.unreadable} if isinstance(wire, ModbusWire) else set()
        )
        self._forced: set[tuple[Table, int]] = set()
        self._flashed: str | None = None
        self._write_only: set[tuple[Table, int]] = set()
        self._shown: list[tuple[tuple[Table, int], Point]] = []
        """Every point with its place; several flags may share a register."""
        self._points: dict[tuple[Table, int], Point] = {}
        self._span: dict[Table, tuple[int, int]] = {}
        self._follow()

    def _follow(self) -> None:
        """Have the registers of the firmware that the thing runs."""
        if self._flashed == self.thing.firmware:
            return
        self._flashed = self.thing.firmware
        self._points, self._span, self._shown = {}, {}, []
        self._write_only = {
            (point.table, point.register + word)
            for point in self.thing.descriptor.points
            if point.write_only and point.table is not None and point.register is not None
            for word in range(point.words)
        }
        for point in self.thing.descriptor.points:
            if point.table is not None and point.register is not None:
                self._points[(point.table, point.register)] = point
                self._shown.append(((point.table, point.register), point))
                self._widen(point.table, point.register, point.register + point.words - 1)
                if point.exponent is not None:
                    self._widen(point.table, point.exponent, point.exponent)
        told = self.thing.model.firmware
        if told is not None and told.table is not None and told.register is not None:
            for index, word in enumerate(words_of_text(told, self.thing.firmware)):
                if (told.table, told.register + index) not in self._forced:
                    self.extra[(told.table, told.register + index)] = word
        for table, register in self.extra:
            self._widen(table, register, register)

    def answer(self, request: Read | WriteWords, *, at_ms: int) -> Words | Written | Refused:
        """Carry out a request."""
        self._follow()
        return self._read(request) if isinstance(request, Read) else self._write(request, at_ms)

    def respond(self, pdu: bytes, *, busy: bool, at_ms: int) -> bytes:
        """Return the PDU that answers a request's; `busy`: the unit has no time for it."""
        if self.stand_in is not None:
            return self.stand_in.respond(pdu, busy=busy, at_ms=at_ms)
        request = decode_request(pdu)
        wire = self.thing.descriptor.wire
        if isinstance(wire, ModbusWire) and wire.writes == "multiple" and pdu[:1] in _WRITE_ONE:
            request = Refused(ExceptionCode.ILLEGAL_FUNCTION)
        if isinstance(request, Refused):
            return encode_reply(pdu, request)
        if busy:
            return encode_reply(pdu, Refused(ExceptionCode.DEVICE_BUSY))
        if isinstance(request, Identify):
            identity = self.thing.descriptor.identity
            firmware = self.thing.model.firmware
            number = 2 if firmware is None or firmware.object is None else firmware.object
            told = {0: identity.vendor.encode(), 1: identity.model.encode(), 2: FIRMWARE}
            told[number] = self.thing.firmware.encode()
            return encode_identification(request, told, _CONFORMITY)
        return encode_reply(pdu, self.answer(request, at_ms=at_ms))

    def registers(self) -> dict[str, int]:
        """Return every register that has a meaning, by `<table>:<register>`."""
        self._follow()
        found = {f"{table}:{register}": word for (table, register), word in self.extra.items()}
        whole: dict[str, int] = {}
        for (table, register), point in self._shown:
            if (table, register) in self._forced:
                continue
            for index, word in enumerate(self._words(point)):
                name = f"{table}:{register + index}"
                whole[name] = whole.get(name, 0) | word
        found.update(whole)
        return dict(sorted(found.items()))

    def force(self, words: Mapping[tuple[Table, int], int]) -> None:
        """Show these words from now on, whatever the truth: a broken sensor, another model's registers."""
        for place, word in words.items():
            self.extra[place] = word
            self._forced.add(place)
            self._widen(place[0], place[1], place[1])

    def _widen(self, table: Table, first: int, last: int) -> None:
        low, high = self._span.get(table, (first, last))
        self._span[table] = (min(low, first), max(high, last))

    def _read(self, request: Read) -> Words | Refused:
        low, high = self._span.get(request.table, (1, 0))
        end = request.start + request.count
        if request.start < low or end - 1 > high:
            return ILLEGAL_ADDRESS
        never = self._unreadable | self._write_only
        if any((request.table, each) in never for each in range(request.start, end)):
            return ILLEGAL_ADDRESS
        words = [self.extra.get((request.table, each), 0) for each in range(request.start, end)]
        for (table, register), point in self._shown:
            if (table, register) in self._forced:
                continue
            if table == request.table and register < end and register + point.words > request.start:
                for index, word in enumerate(self._words(point)):
                    if request.start <= register + index < end:
                        words[register + index - request.start] |= word
        return Words(tuple(words))

    def _words(self, point: Point) -> tuple[int, ...]:
        value: Value = self.thing.state[(point.capability, point.attribute)]
        if point.exponent is not None and point.table is not None:
            power = self.extra.get((point.table, point.exponent), 0)
            point = with_exponent(point, power) or point
        try:
            raw = raw_of_value(point, value)
        except LocalProtocolError:  # a truth that the map has no code for: the device shows zero
            raw = 0
        if isinstance(raw, str):
            return (0,) * point.words
        words = words_of_raw(point, raw)
        if point.bit is None:
            return words
        word = (words[0] if point.byte_order == "big" else (words[0] & 0xFF) << 8 | words[0] >> 8) << point.bit
        return (word if point.byte_order == "big" else (word & 0xFF) << 8 | word >> 8,)

    def _write(self, request: WriteWords, at_ms: int) -> Written | Refused:
        taken: list[tuple[Point, Value]] = []
        plain: list[tuple[tuple[Table, int], int]] = []
        index = 0
        while index < len(request.words):
            place = (request.table, request.start + index)
            point = self._points.get(place)
            if point is not None and point.bit is not None:
                changed = self._bits_of(place, request.words[index])
                if changed is None:
                    return Refused(ExceptionCode.ILLEGAL_DATA_VALUE)
                taken += changed
                index += 1
            elif point is not None:
                words = request.words[index : index + point.words]
                if len(words) < point.words:
                    return ILLEGAL_ADDRESS
                judged = judge(point, raw_of_words(point, words))
                if judged.value is None:
                    return Refused(ExceptionCode.ILLEGAL_DATA_VALUE)
                taken.append((point, judged.value))
                index += point.words
            elif place in self.extra and request.table in ("holding", "coil"):
                plain.append((place, request.words[index]))
                index += 1
            else:
                return ILLEGAL_ADDRESS
        for place, word in plain:
            self.extra[place] = word
        for point, value in taken:
            self.thing.written(point, value, at_ms=at_ms)
        return Written()

    def _bits_of(self, place: tuple[Table, int], word: int) -> list[tuple[Point, Value]] | None:
        """Return the points in a register's bits that a word would change; None if it says what one cannot be."""
        changed: list[tuple[Point, Value]] = []
        for its_place, point in self._shown:
            if its_place == place:
                value = judge(point, raw_of_words(point, (word,))).value
                if value is None:
                    return None
                if value != self.thing.state[(point.capability, point.attribute)]:
                    changed.append((point, value))
        return changed


def is_carried_out_write(request_pdu: bytes, pdu: bytes) -> bool:
    """Say whether an exchange was a write that the unit carried out."""
    return isinstance(decode_request(request_pdu), WriteWords) and pdu[:1] == request_pdu[:1]


class RtuFrames:
    """Cuts what a master says into requests, by length and sum; what is none is stepped over."""

    def __init__(self) -> None:
        self._inbox = bytearray()

    def receive_data(self, data: bytes) -> list[Frame]:
        """Take bytes as they come and return the whole requests, without transactions."""
        self._inbox += data
        found: list[Frame] = []
        while len(self._inbox) >= 2:
            size = self._size()
            if size is None or (0 < size <= ADU_BYTES_MAX and len(self._inbox) < size):
                break
            request = decode_adu(bytes(self._inbox[:size])) if size <= ADU_BYTES_MAX else None
            if request is None:
                del self._inbox[0]
                continue
            found.append(Frame(0, *request))
            del self._inbox[:size]
        return found

    def _size(self) -> int | None:
        function = self._inbox[1]
        if function in _WRITE_MANY:
            return None if len(self._inbox) < 7 else 9 + self._inbox[6]
        return 7 if function == IDENTIFY else 8


class ModbusServer:
    """A TCP server for the units of one bus.

    Args:
        units: by unit id. A unit that is not here, or not powered, does not answer.
        misbehaviour: shared with the other buses.
        clock: for the times of effects.
        rtu: RTU frames on TCP, as a serial server passes them on.
    """

    def __init__(
        self, units: Mapping[int, EmulatedUnit], misbehaviour: Misbehaviour, clock: Clock, *, rtu: bool = False
    ) -> None:
        self._rtu = rtu
        self.units, self._misbehaviour, self._clock = dict(units), misbehaviour, clock
        self.counts: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0
        self.one_at_a_time = False
        """Whether it is a gateway with one line behind it: what is asked of one unit waits for the others' answers."""
        self._line = asyncio.Lock()

    async def start(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        """Listen; port 0 takes any, see `port`. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and hang up on everybody."""
        if self._server is not None:
            self._server.close()
            self.hang_up()
            await self._server.wait_closed()
            if self._serving:
                await asyncio.wait(self._serving, timeout=STOP_WAIT_S)

    def hang_up(self) -> None:
        """End every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        self.counts["connections"] += 1
        frames: FrameReader | RtuFrames = RtuFrames() if self._rtu else FrameReader()
        room, whole = asyncio.Semaphore(REQUESTS_MAX), asyncio.Lock()
        try:
            async with TaskGroup() as tasks:
                answers: set[asyncio.Task[None]] = set()
                while data := await reader.read(4096):
                    for frame in frames.receive_data(data):
                        await room.acquire()
                        answer = tasks.create_task(self._answer(frame, writer, whole))
                        answers.add(answer)
                        answer.add_done_callback(lambda _: room.release())
                        answer.add_done_callback(answers.discard)
                for answer in answers:
                    answer.cancel()  # nobody is there to hear it
        except (OSError, PeerProtocolError):
            self.counts["broken_connections"] += 1
        finally:
            self._writers.discard(writer)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, frame: Frame, writer: asyncio.StreamWriter, whole: asyncio.Lock) -> None:
        self.counts["requests"] += 1
        unit = self.units.get(frame.unit)
        if unit is None or not unit.thing.powered:
            self.counts["unanswered"] += 1
            return
        luck, knobs = self._misbehaviour, self._misbehaviour.knobs
        if luck.happens(knobs.silent):
            return
        if luck.happens(knobs.hang_up):
            writer.transport.abort()
            return
        delay_ms = luck.answer_delay_ms() if unit.answer_ms is None else unit.answer_ms
        if self.one_at_a_time:
            async with self._line:
                await asyncio.sleep(delay_ms / 1000)
        elif delay_ms:
            await asyncio.sleep(delay_ms / 1000)
        pdu = unit.respond(frame.pdu, busy=luck.happens(knobs.busy), at_ms=self._clock.wall_ms())
        if is_carried_out_write(frame.pdu, pdu):
            self.counts["writes"] += 1
            if luck.happens(knobs.forgetful):
                return
        answer = Frame(frame.transaction, frame.unit, pdu)
        data = encode_adu(frame.unit, pdu) if self._rtu else encode_frame(answer)
        if writer.is_closing():
            return
        async with whole:  # answers may come in pieces and in any order, but never inside each other
            if luck.happens(knobs.torn):
                cut = max(1, len(data) // 2)
                writer.write(data[:cut])
                await asyncio.sleep(TORN_PAUSE_S)
                writer.write(data[cut:])
            else:
                writer.write(data)
            if luck.happens(knobs.twice):
                writer.write(data)
        with suppress(OSError):
            await writer.drain()
