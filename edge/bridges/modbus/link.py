"""One life of a TCP connection to a Modbus server: many requests in flight, each with its own deadline.

Moves bytes for `protocols.modbus.frames` and decides nothing. An answer that comes after its deadline is counted and
dropped by its transaction id: it can never be taken for the answer to a later question. What nobody asked for is read
at a pace (pace.py).
"""

import asyncio
from collections import Counter
from typing import Final

from edge.bridges.complaints import Complaints
from edge.bridges.modbus.pace import FRAMES_BYTES_A_SECOND, Pace
from kit.clock import Clock
from protocols.errors import LinkLostError, PeerProtocolError, PlatformError, ReplyTimeoutError
from protocols.modbus.frames import Frame, FrameReader, Reply, Request, decode_reply, encode_frame, encode_request

READ_BYTES: Final = 4_096
CLOSE_WAIT_S: Final = 1.0
HEAD_BYTES: Final = 7


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
        self._waiting: dict[int, tuple[int, asyncio.Future[bytes]]] = {}
        self._transaction = 0
        self._lost = False

    async def listen(self) -> None:
        """Take answers until the connection ends; everything in flight is told."""
        frames = FrameReader()
        error: type[PlatformError] = ReplyTimeoutError
        why = "the connection ended before the answer came"
        try:
            while data := await self._reader.read(READ_BYTES):
                for frame in frames.receive_data(data):
                    self._answered(frame)
                owed_ms = self._pace.owes_ms(self._unasked, now_ms=self._clock.now_ms())
                self._unasked = 0
                if owed_ms:
                    self._counts["babble_pauses"] += 1
                    await asyncio.sleep(owed_ms / 1000)
        except PeerProtocolError as broken:
            units = ", ".join(sorted({str(unit) for unit, _ in self._waiting.values()}))
            self._complaints.refused("broken_streams", f"while units {units} were asked", broken)
            error, why = PeerProtocolError, f"the stream broke: {broken}"
        except OSError:
            pass  # reset by the peer: the same end as a clean one
        finally:
            self._lost = True
            for _, future in self._waiting.values():
                if not future.done():
                    future.set_exception(error(why))
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
        self._transaction = (self._transaction + 1) & 0xFFFF
        transaction = self._transaction
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[transaction] = (unit, future)
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

    def _answered(self, frame: Frame) -> None:
        unit, future = self._waiting.get(frame.transaction, (-1, None))
        if future is None or future.done():
            self._counts["late_answers"] += 1
            self._unasked += HEAD_BYTES + len(frame.pdu)
        elif unit != frame.unit:
            self._complaints.refused("answers_of_another_unit", f"unit {unit}", f"unit {frame.unit} answered for it")
            self._unasked += HEAD_BYTES + len(frame.pdu)
        else:
            future.set_result(frame.pdu)
