"""One life of a serial line, or of a TCP connection that carries RTU frames: one question at a time.

Holds SPEC.md section 6: silence before a question, the answer found by length and sum, a late answer never taken for
the answer to a later question. Moves bytes for `protocols.modbus.rtu`.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from edge.bridges.complaints import Complaints
from edge.bridges.modbus.pace import LINE_BYTES_A_SECOND, Pace
from kit.clock import Clock
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError
from protocols.modbus.frames import Reply, Request, WriteWords, decode_reply, encode_request
from protocols.modbus.rtu import (
    AnswerFinder,
    answer_bytes_most,
    could_pass,
    duration_ms,
    encode_adu,
    silence_ms,
)

QUIET_WAIT_MS: Final = 50
"""So long a line that is never silent is waited for."""
DEBT_TIMES: Final = 3
DEBT_MS_LEAST: Final = 1_000
DEBT_MS_MOST: Final = 5_000
SHOWN_BYTES: Final = 24
READ_BYTES: Final = 512
CLOSE_WAIT_S: Final = 1.0


class Wire(Protocol):
    """Where the bytes go."""

    async def read(self) -> bytes:
        """Return what came; nothing at the end. Raises OSError."""
        ...

    async def write(self, data: bytes) -> None:
        """Write all of it. Raises OSError."""
        ...

    def forget_input(self) -> None:
        """Drop what came and was not read."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...


class StreamWire:
    """`Wire` over a TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        """See `Wire.read`."""
        return await self._reader.read(READ_BYTES)

    async def write(self, data: bytes) -> None:
        """See `Wire.write`."""
        self._writer.write(data)
        await self._writer.drain()

    def forget_input(self) -> None:
        """See `Wire.forget_input`: the link reads all the time, nothing waits unread for long."""

    async def close(self) -> None:
        """See `Wire.close`."""
        self._writer.close()
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(CLOSE_WAIT_S):
                await self._writer.wait_closed()


@dataclass(slots=True)
class _Question:
    unit: int
    finder: AnswerFinder
    answer: "asyncio.Future[bytes]"
    echo: bytes
    """Our own bytes, as long as the line may say them back; `held`: what may be the beginning of them."""
    held: bytes = b""
    heard: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class _Debt:
    request: Request
    finder: AnswerFinder
    until_ms: int


class RtuLink:
    """`edge.bridges.modbus.ports.Link` for a serial line.

    Args:
        wire: the open line.
        baud: its speed; None over TCP, where silence means nothing.
        clock: the monotonic one.
        counts: the supervisor's.
        complaints: the supervisor's.
    """

    def __init__(
        self, wire: Wire, *, baud: int | None, clock: Clock, counts: Counter[str], complaints: Complaints
    ) -> None:
        self._wire, self._baud, self._clock = wire, baud, clock
        self._counts, self._complaints = counts, complaints
        self._turn = asyncio.Lock()
        self._open: _Question | None = None
        self._debts: dict[int, _Debt] = {}
        self._heard_ms = 0
        self._pace = Pace(LINE_BYTES_A_SECOND)
        self._says_back = False
        self._lost = False

    async def listen(self) -> None:
        """See `Link.listen`."""
        try:
            while data := await self._wire.read():
                self._heard_ms = self._clock.now_ms()
                self._pay(data)
                noise, unasked = self._noise(), self._counts["unasked_bytes"]
                if self._open is None:
                    self._counts["unasked_bytes"] += len(data)
                else:
                    self._take(self._open, data)
                unasked = self._counts["unasked_bytes"] - unasked + max(0, self._noise() - noise)
                if owed_ms := self._pace.owes_ms(unasked, now_ms=self._clock.now_ms()):
                    self._counts["babble_pauses"] += 1
                    await asyncio.sleep(owed_ms / 1000)
        except OSError:
            pass  # unplugged, or reset by the peer: the same end as a clean one
        finally:
            self._lost = True
            if self._open is not None and not self._open.answer.done():
                self._open.answer.set_exception(ReplyTimeoutError("the line ended before the answer came"))

    async def ask(self, unit: int, request: Request, *, wait_ms: int) -> Reply:
        """See `Link.ask`; `wait_ms` is the unit's, what the bytes take on the line is added."""
        adu = encode_adu(unit, encode_request(request))
        if self._baud is not None:
            wait_ms += round(duration_ms(len(adu) + answer_bytes_most(request), self._baud))
        async with self._turn:
            await self._await_silence()
            if self._lost:
                raise LinkLostError("no connection")
            self._wire.forget_input()
            answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            # A write's echo from the unit and from the line look the same: only a line known to say back is cut.
            echo = adu if self._says_back or not isinstance(request, WriteWords) else b""
            asked = self._open = _Question(unit, AnswerFinder(unit, request), answer, echo)
            self._counts["requests"] += 1
            answered = False
            try:
                async with asyncio.timeout(wait_ms / 1000):
                    await self._wire.write(adu)
                    pdu = await answer
                answered = True
            except (TimeoutError, OSError) as error:
                self._counts["timeouts"] += 1
                self._tell_garbled(asked)
                raise ReplyTimeoutError(f"unit {unit} did not answer in {wait_ms} ms") from error
            finally:
                self._open = None
                self._counts["noise_bytes"] += asked.finder.noise
                if answered:
                    self._debts.pop(unit, None)
                else:
                    until_ms = self._clock.now_ms() + min(max(DEBT_TIMES * wait_ms, DEBT_MS_LEAST), DEBT_MS_MOST)
                    self._debts[unit] = _Debt(request, AnswerFinder(unit, request), until_ms)
        return decode_reply(request, pdu)

    def owed_ms(self, unit: int, request: Request) -> int:
        """See `Link.owed_ms`."""
        debt = self._debts.get(unit)
        if debt is None:
            return 0
        left_ms = debt.until_ms - self._clock.now_ms()
        if left_ms <= 0:
            del self._debts[unit]
            return 0
        return left_ms if could_pass(debt.request, request) else 0

    async def close(self) -> None:
        """See `Link.close`."""
        self._lost = True
        await self._wire.close()

    def _noise(self) -> int:
        return 0 if self._open is None else self._open.finder.noise

    async def _await_silence(self) -> None:
        if self._baud is None:
            return
        quiet_ms = int(silence_ms(self._baud)) + 1
        give_up_ms = self._clock.now_ms() + QUIET_WAIT_MS
        while (left_ms := self._heard_ms + quiet_ms - self._clock.now_ms()) > 0:
            if self._clock.now_ms() >= give_up_ms:
                self._counts["line_never_silent"] += 1
                return
            await asyncio.sleep(left_ms / 1000)

    def _take(self, asked: _Question, data: bytes) -> None:
        asked.heard += data[: max(0, SHOWN_BYTES - len(asked.heard))]
        if asked.echo:
            asked.held += data
            if len(asked.held) < len(asked.echo) and asked.echo.startswith(asked.held):
                return  # may still become our own bytes, said back by an adapter that hears itself
            self._says_back = self._says_back or asked.held.startswith(asked.echo)
            data = asked.held.removeprefix(asked.echo)
            asked.echo = b""
        if asked.answer.done():
            self._counts["unasked_bytes"] += len(data)
            return
        try:
            pdu = asked.finder.receive_data(data)
        except PeerProtocolError as error:
            asked.answer.set_exception(error)
            return
        if pdu is not None:
            asked.answer.set_result(pdu)

    def _pay(self, data: bytes) -> None:
        """See whether a unit that owes an answer says it now: it is dropped, and the debt is paid."""
        for unit, debt in list(self._debts.items()):
            if debt.until_ms <= self._clock.now_ms():
                del self._debts[unit]
                continue
            try:
                paid = debt.finder.receive_data(data) is not None
            except PeerProtocolError:
                paid = False
            if paid and not (self._open is not None and self._open.unit == unit):
                self._counts["late_answers"] += 1
                del self._debts[unit]

    def _tell_garbled(self, asked: _Question) -> None:
        if asked.heard and not self._lost:
            problem = f"{bytes(asked.heard).hex(' ')} is no answer of it: is the line's speed, parity or wiring wrong?"
            self._complaints.refused("garbled_answers", f"unit {asked.unit}", problem)
