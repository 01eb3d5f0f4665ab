"""Listens to OPERA Cloud's event stream for all properties of a chain, for ever. Shell around stream.py.

The stream has one consumer an application key and chain: whoever runs this holds its lease (cloud/app/service.py).
What was heard is stored with the offset in one transaction; what cannot be known to be whole is told as a gap, and
everything near now is compared. A line that broke is opened again after a pause of full jitter.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from cloud.pms.ohip.stream import (
    PATIENCE,
    SUBPROTOCOL,
    Event,
    Memory,
    OffsetRefusedError,
    Patience,
    Stage,
    Subscription,
    address,
)
from cloud.pms.port import Hint, PmsBusyError, PmsFaultError, PmsRefusedError
from cloud.pms.tokens import Bearer
from kit.clock import Clock
from kit.dice import Dice
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError

MESSAGE_BYTES_MOST: Final = 1 << 20
OPEN_WAIT_S: Final = 10.0
CLOSE_WAIT_S: Final = 5.0
BATCH_MOST: Final = 200
NEVER_HEARD: Final = "the stream was never listened to before: what happened until now is known to no offset"
REPLAYED: Final = timedelta(days=6, hours=12)
"""What the stream keeps, seven days, less what clocks and queues may take of it."""
TOKEN_LIFE_LEAST_MS: Final = 5 * 60_000
LISTEN_LEAST_MS: Final = 60_000
"""A token that lives shorter is used until the stream takes it no more."""
BETWEEN_MS: Final = 10_000
"""Between the end of one subscription and the next one: sooner, and it is refused."""
OTHER_CONSUMER_MS: Final = 60_000
BACKOFF_FIRST_MS: Final = 1_000
BACKOFF_MOST_MS: Final = 60_000
SIGN_IN_CLOSES: Final = frozenset({4401, 4403})
OTHER_CONSUMER_CLOSE: Final = 4409


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of a stream from before. `heard_ms`: when that offset was stored, unix ms."""

    offset: str | None
    heard_ms: int | None


class EventSink(Protocol):
    """Where events go; each call is durable when it returns. All may raise StoreFailedError."""

    async def stored(self) -> Stored:
        """Return where the stream was left; properties that were left elsewhere have their gap told here."""
        ...

    async def take(self, hints: Sequence[tuple[str | None, Hint]], *, offset: str | None) -> None:
        """Store hints (hotel or None for any, hint), and that the next subscription begins at `offset`."""
        ...

    async def lost(self, why: str) -> None:
        """Events may have been lost: of every property, everything near now is compared."""
        ...


class Line(Protocol):
    """One open websocket."""

    async def send(self, text: str) -> None:
        """Write one message. Raises LinkLostError, ClosedError."""
        ...

    async def receive(self) -> str | bytes:
        """Return the next message. Raises LinkLostError, ClosedError. May be cancelled; nothing is lost by it."""
        ...


class ClosedError(LinkLostError):
    """The stream closed the line, and said why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"OHIP events: closed with {code} {reason[:120]}".rstrip())
        self.code = code


Connect = Callable[[str], AbstractAsyncContextManager[Line]]


class EventConsumer:
    """One chain's stream.

    Args:
        platform: the environment's gateway (https://...), or the stream's own address (wss://...).
        bearer: signs in; shared with nobody.
        log: a structlog logger.
        between_ms: see BETWEEN_MS.
    """

    def __init__(
        self,
        sink: EventSink,
        bearer: Bearer,
        *,
        platform: str,
        app_key: str,
        chain: str,
        clock: Clock,
        dice: Dice,
        log: Any,  # noqa: ANN401 - structlog's lazy logger
        connect: Connect | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        patience: Patience = PATIENCE,
        between_ms: int = BETWEEN_MS,
    ) -> None:
        self._sink, self._bearer, self._chain, self._patience = sink, bearer, chain, patience
        self._url = address(platform, app_key)
        self._clock, self._dice, self._log, self._sleep = clock, dice, log, sleep
        self._connect, self._between_ms = connect or websocket, between_ms
        self._memory = Memory(None)
        self._strange = False
        self.counts = {"connections": 0, "events": 0, "doubled": 0, "gaps": 0, "unreadable": 0, "refused": 0}
        self.listening = False

    async def run(self) -> None:
        """Listen until cancelled. What the stream or the line does wrong is told and tried again.

        Raises:
            StoreFailedError: what was heard could not be kept; begin anew from what is stored.
        """
        stored = await self._sink.stored()
        self._memory = Memory(stored.offset)
        if stored.heard_ms is not None and self._clock.wall_ms() - stored.heard_ms > REPLAYED // _MS:
            await self._gap(f"nothing was heard since {stored.heard_ms}, longer than the stream keeps events")
        self._strange = stored.offset is None
        failures, told = 0, ""
        while True:
            heard = self.counts["events"]
            least_ms, why = await self._listen()
            self._strange = self._strange or self._memory.is_young
            failures = 1 if self.counts["events"] > heard else failures + 1
            if why != told:  # said once, not once a minute
                told = why
                self._log.warning("pms_stream_ended", chain=self._chain, error=why)
            longest_ms = min(BACKOFF_FIRST_MS * 2 ** min(failures - 1, 16), BACKOFF_MOST_MS)
            await self._sleep((least_ms + self._dice.uniform(0, longest_ms)) / 1000)

    async def _listen(self) -> tuple[int, str]:
        """Hold one subscription to its end; return how long to wait at least before the next one, and why it ended."""
        try:
            token, until_ms = await self._bearer.token(life_least_ms=TOKEN_LIFE_LEAST_MS)
            async with self._connect(self._url) as line:
                self.counts["connections"] += 1
                return await self._subscribed(line, token, until_ms)
        except OffsetRefusedError as error:
            self._memory.forget_offset()
            await self._gap(str(error))
            return self._between_ms, str(error)
        except ClosedError as error:
            if error.code in SIGN_IN_CLOSES:
                self._bearer.forget()
            if error.code == OTHER_CONSUMER_CLOSE:
                return max(OTHER_CONSUMER_MS, self._between_ms), f"{error}: somebody else listens to this chain"
            return self._between_ms, str(error)
        except PmsBusyError as error:
            return error.wait_ms, str(error)
        except PmsRefusedError as error:
            self.counts["refused"] += 1
            self._bearer.forget()
            return self._between_ms, str(error)
        except (LinkLostError, ReplyTimeoutError, PmsFaultError, PeerProtocolError) as error:
            return self._between_ms, str(error)
        finally:
            self.listening = False

    async def _subscribed(self, line: Line, token: str, until_ms: int) -> tuple[int, str]:
        now_ms = self._clock.now_ms
        until_ms = max(until_ms, now_ms() + LISTEN_LEAST_MS)
        held = Subscription(
            token=token, chain=self._chain, memory=self._memory, now_ms=now_ms(), patience=self._patience
        )
        while True:
            for text in held.data_to_send():
                await line.send(text)
            self.listening = held.stage is Stage.SUBSCRIBED
            if self._strange and self.listening:
                await self._gap(NEVER_HEARD)
                self._strange = False
            if now_ms() >= until_ms:  # the token is over: go before we are thrown out
                held.complete()
                for text in held.data_to_send():
                    await line.send(text)
                await _farewell(line)
                return self._between_ms, "the token had to be renewed"
            wait_ms = min(held.deadline_ms, until_ms) - now_ms()
            first = await _within(line, max(0, wait_ms) / 1000)
            heard = [] if first is None else [first]
            while first is not None and len(heard) < BATCH_MOST and (more := await _within(line, 0)) is not None:
                heard.append(more)  # what has come already is stored together
            await self._take(held, heard)
            held.on_time(now_ms=now_ms())
            await self._settle_loss(held)

    async def _take(self, held: Subscription, heard: Sequence[str | bytes]) -> None:
        """Store what was heard, whatever ends the subscription in the middle of it."""
        hints: list[tuple[str | None, Hint]] = []
        before, offset = held.doubled, self._memory.offset
        try:
            for text in heard:
                try:
                    event = held.receive(text, now_ms=self._clock.now_ms())
                except PeerProtocolError as error:
                    event = Event(None, None, str(error))
                if event is None:
                    continue
                self.counts["events"] += 1
                if event.problem is not None:
                    self.counts["unreadable"] += 1
                    held.lost = held.lost or event.problem
                if event.hint is not None:
                    hints.append((event.hotel, event.hint))
        finally:
            self.counts["doubled"] += held.doubled - before
            await self._settle_loss(held)  # first: an offset beyond a gap is stored with the gap told
            if hints or self._memory.offset != offset:
                await self._sink.take(hints, offset=self._memory.offset)

    async def _settle_loss(self, held: Subscription) -> None:
        if held.lost is not None:
            why, held.lost = held.lost, None
            await self._gap(why)

    async def _gap(self, why: str) -> None:
        self.counts["gaps"] += 1
        self._log.warning("pms_stream_gap", chain=self._chain, why=why)
        await self._sink.lost(why)


_MS: Final = timedelta(milliseconds=1)


async def _farewell(line: Line) -> None:
    """Wait until they close; what they still say comes again."""
    try:
        async with asyncio.timeout(CLOSE_WAIT_S):
            while True:
                await line.receive()
    except (LinkLostError, TimeoutError):
        return


async def _within(line: Line, wait_s: float) -> str | bytes | None:
    try:
        async with asyncio.timeout(wait_s):
            return await line.receive()
    except TimeoutError:
        return None


class _Websocket:
    """The library's connection with our errors."""

    def __init__(self, held: Any) -> None:  # noqa: ANN401 - websockets' own type
        self._held = held

    async def send(self, text: str) -> None:
        try:
            await self._held.send(text)
        except ConnectionClosed as error:
            raise _closed(error) from error

    async def receive(self) -> str | bytes:
        try:
            data: str | bytes = await self._held.recv()
        except ConnectionClosed as error:
            raise _closed(error) from error
        return data


def _closed(error: ConnectionClosed) -> LinkLostError:
    if error.rcvd is None:
        return LinkLostError("OHIP events: the line broke")
    return ClosedError(error.rcvd.code, error.rcvd.reason)


@asynccontextmanager
async def websocket(url: str) -> AsyncIterator[Line]:
    """Open the stream's line and close it in the end. Raises LinkLostError, PmsRefusedError."""
    try:
        held = await open_websocket(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            proxy=None,
            open_timeout=OPEN_WAIT_S,
            close_timeout=CLOSE_WAIT_S,
            ping_interval=None,  # the sub-protocol has its own
            max_size=MESSAGE_BYTES_MOST,
            compression=None,
        )
    except (InvalidHandshake, InvalidURI) as error:
        raise PmsRefusedError(400, f"OHIP events: {error}") from error
    except (OSError, TimeoutError) as error:
        raise LinkLostError(f"OHIP events: no connection: {error}") from error
    try:
        if held.subprotocol != SUBPROTOCOL:
            raise PeerProtocolError(f"OHIP events: speaks {held.subprotocol!r}, not {SUBPROTOCOL}")
        yield _Websocket(held)
    finally:
        await held.close()


def by_hotel(hotels: Mapping[str, str], hotel: str | None) -> list[str]:
    """Return the properties that an event is about: all, where it does not say; none, for a hotel that is not ours."""
    if hotel is None:
        return sorted(hotels.values())
    return [found for name, found in hotels.items() if name.casefold() == hotel.casefold()]
