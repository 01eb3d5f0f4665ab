"""One life of a TCP connection to a Modbus server: many requests in flight, each with its own deadline.

Moves bytes for `protocols.modbus.frames` and decides nothing. An answer that comes after its deadline is counted and
dropped by its transaction id: it can never be taken for the answer to a later question. What nobody asked for is read
at a pace (pace.py). Half an answer swallows nobody else's: where an awaited one begins, what came before it is over.
"""

import asyncio
import struct
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from edge.bridges.complaints import Complaints
from edge.bridges.modbus.pace import FRAMES_BYTES_A_SECOND, Pace
from kit.clock import Clock
from protocols.errors import LinkLostError, PeerProtocolError, PlatformError, ReplyTimeoutError
from protocols.modbus.frames import (
    Frame,
    FrameReader,
    Read,
    Reply,
    Request,
    WriteWords,
    decode_reply,
    encode_frame,
    encode_request,
)
from protocols.modbus.rtu import answer_bytes_most

READ_BYTES: Final = 4_096
CLOSE_WAIT_S: Final = 1.0
HEAD_BYTES: Final = 7
HALF_WAIT_MS: Final = 200
"""What has come of an answer and does not go on for so long is all of it, where nobody else is awaited."""
WRITTEN_BYTES: Final = 6
"""The length field of the answer to a write."""
_SUM_BYTES: Final = 2


@dataclass(slots=True)
class _Awaited:
    transaction: int
    unit: int
    request: Request
    future: "asyncio.Future[bytes]"

    @property
    def begins(self) -> tuple[bytes, ...]:
        """How its answer, or its refusal, begins on the line."""
        return _begins(self.transaction, self.unit, self.request)


def _begins(transaction: int, unit: int, request: Request) -> tuple[bytes, ...]:
    refusal = struct.pack(">HHHB", transaction, 0, 3, unit)
    if isinstance(request, WriteWords):
        return struct.pack(">HHHB", transaction, 0, WRITTEN_BYTES, unit), refusal
    if not isinstance(request, Read):
        return (refusal,)  # an identification is as long as it likes
    return struct.pack(">HHHB", transaction, 0, answer_bytes_most(request) - _SUM_BYTES, unit), refusal


class ModbusLink:
    """A connection; made by `ModbusSupervisor`, dropped whole on the first byte that is no Modbus TCP."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        counts: Counter[str],
        complaints: Complaints,
        clock: Clock,
    ) -> None:
        self._reader, self._writer, self._counts, self._complaints = reader, writer, counts, complaints
        self._clock, self._pace, self._unasked = clock, Pace(FRAMES_BYTES_A_SECOND), 0
        self._waiting: dict[int, _Awaited] = {}
        self._frames = FrameReader()
        self._heard_ms = 0
        self._transaction = 0
        self._lost = False

    async def listen(self) -> None:
        """Take answers until the connection ends; everything in flight is told."""
        error: type[PlatformError] = ReplyTimeoutError
        why = "the connection ended before the answer came"
        try:
            while data := await self._reader.read(READ_BYTES):
                self._heard_ms = self._clock.now_ms()
                for frame in self._frames_of(data):
                    self._answered(frame)
                owed_ms = self._pace.owes_ms(self._unasked, now_ms=self._clock.now_ms())
                self._unasked = 0
                if owed_ms:
                    self._counts["babble_pauses"] += 1
                    await asyncio.sleep(owed_ms / 1000)
        except PeerProtocolError as broken:
            units = ", ".join(sorted({str(each.unit) for each in self._waiting.values()}))
            self._complaints.refused("broken_streams", f"while units {units} were asked", broken)
            error, why = PeerProtocolError, f"the stream broke: {broken}"
        except OSError:
            pass  # reset by the peer: the same end as a clean one
        finally:
            self._lost = True
            for each in self._waiting.values():
                if not each.future.done():
                    each.future.set_exception(error(why))
            self._waiting.clear()

    async def ask(self, unit: int, request: Request, *, wait_ms: int) -> Reply:
        """Send a request to a unit and return its answer.

        Raises:
            LinkLostError: it never left.
            ReplyTimeoutError: it left, and no answer came in `wait_ms` or before the connection ended.
            PeerProtocolError: what came is no answer to it; it may have been carried out.
        """
        pdu = encode_request(request)
        if self._lost or self._writer.is_closing():
            raise LinkLostError("no connection")
        if not self._waiting and self._clock.now_ms() - self._heard_ms >= HALF_WAIT_MS and self._frames.half:
            self._give_up(self._frames.half)
            self._frames = FrameReader()
        self._transaction = (self._transaction + 1) & 0xFFFF
        transaction = self._transaction
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[transaction] = _Awaited(transaction, unit, request, future)
        self._counts["requests"] += 1
        try:
            self._writer.write(encode_frame(Frame(transaction, unit, pdu)))
            async with asyncio.timeout(wait_ms / 1000):
                await self._writer.drain()
                answer = await future
        except (TimeoutError, OSError) as error:
            self._counts["timeouts"] += 1
            raise ReplyTimeoutError(f"unit {unit} did not answer in {wait_ms} ms") from error
        finally:
            self._waiting.pop(transaction, None)
        return decode_reply(request, answer)

    def owed_ms(self, unit: int, request: Request) -> int:  # noqa: ARG002 - the port's parameters
        """See `Link.owed_ms`: a transaction id tells a late answer from a new one."""
        return 0

    async def close(self) -> None:
        """Hang up."""
        self._lost = True
        self._writer.close()
        try:
            async with asyncio.timeout(CLOSE_WAIT_S):
                await self._writer.wait_closed()
        except (TimeoutError, OSError):
            pass  # it is gone either way

    def _frames_of(self, data: bytes) -> list[Frame]:
        """Return the frames that are whole now.

        Half an answer, and then nothing, would be filled up with what others say: their answers would be lost, and
        what it is filled up with taken for a value. So where frames do not come out even it is looked whether an
        awaited answer begins further on.

        Raises:
            PeerProtocolError: the stream is no Modbus TCP.
        """
        stream = self._frames.half + data
        broken: PeerProtocolError | None = None
        whole: list[Frame] = []
        try:
            whole = self._frames.receive_data(data)
        except PeerProtocolError as error:
            broken = error
        starts = self._answers_begin(stream) if broken is not None or self._frames.half else []
        if not starts:
            if broken is not None:
                raise broken
            return whole
        self._frames, whole = FrameReader(), []
        for start, end in pairwise([0, *starts, len(stream)]):
            if half := self._frames.half:
                self._give_up(half)
                self._frames = FrameReader()
            whole += self._frames.receive_data(stream[start:end])
        return whole

    def _answers_begin(self, stream: bytes) -> list[int]:
        """Return where, behind its beginning, an awaited answer begins in what has come."""
        found = {stream.find(begin, 1) for each in self._waiting.values() for begin in each.begins}
        return sorted(found - {-1})

    def _give_up(self, half: bytes) -> None:
        awaited = self._waiting.get(int.from_bytes(half[:2])) if len(half) >= HEAD_BYTES else None
        who = "nobody knows whose" if awaited is None else f"unit {awaited.unit}"
        problem = f"half an answer of {len(half)} bytes, and then another's"
        self._complaints.refused("half_answers", who, problem)
        self._unasked += len(half)
        if awaited is not None and not awaited.future.done():
            awaited.future.set_exception(PeerProtocolError(problem))

    def _answered(self, frame: Frame) -> None:
        awaited = self._waiting.get(frame.transaction)
        if awaited is None or awaited.future.done():
            self._counts["late_answers"] += 1
            self._unasked += HEAD_BYTES + len(frame.pdu)
        elif awaited.unit != frame.unit:
            problem = f"unit {frame.unit} answered for it"
            self._complaints.refused("answers_of_another_unit", f"unit {awaited.unit}", problem)
            self._unasked += HEAD_BYTES + len(frame.pdu)
        else:
            awaited.future.set_result(frame.pdu)
