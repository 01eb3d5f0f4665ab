"""OPERA Cloud's event stream as its clients meet it, and as badly behaved as the knobs say.

One consumer a chain; every event has an offset and is kept for seven days; who comes back within a day without an
offset goes on where he stopped. Events are left out (their offset is never seen), come twice or after the next one;
lines break, or fall silent and stay open.
"""

import asyncio
import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cloud.pms.emulation.channel import Channel, GoneError
from cloud.pms.emulation.face import Knobs
from kit.clock import Clock
from kit.dice import Dice

KEPT_MS: Final = 7 * 24 * 3_600_000
REMEMBERED_MS: Final = 24 * 3_600_000
EVENTS_MOST: Final = 50_000
INIT_WAIT_S: Final = 10.0
_INPUT: Final = re.compile(r"newEvent\s*\(\s*input\s*:\s*\{(?P<input>[^}]*)\}")
_FIELD: Final = re.compile(r'(\w+)\s*:\s*"([^"]*)"')


class _Close(Exception):  # noqa: N818 - what it does
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class _Silent(Exception):  # noqa: N818 - what it is
    """From here on nothing is said or answered."""


@dataclass(frozen=True, slots=True)
class _Kept:
    offset: int
    at_ms: int
    left_out: bool
    body: dict[str, Any]


class EmulatedStream:
    """The stream of one chain.

    Args:
        knobs: asked anew each time.
        admits: whether a bearer is good now.
        now_ms: the emulator's wall time.
    """

    def __init__(
        self,
        chain: str,
        *,
        knobs: Callable[[], Knobs],
        admits: Callable[[str], bool],
        now_ms: Callable[[], int],
        clock: Clock,
        dice: Dice,
    ) -> None:
        self._chain, self._knobs, self._admits, self._now_ms = chain, knobs, admits, now_ms
        self._clock, self._dice = clock, dice
        self._events: deque[_Kept] = deque(maxlen=EVENTS_MOST)
        self._next = 1
        self._sent: tuple[int, int] | None = None
        """The last offset that the consumer was sent, and when."""
        self._consumer: Channel | None = None
        self._completed_ms: int | None = None
        self._grown = asyncio.Event()
        self.between_ms = 10_000
        """What a new subscription has to wait after a complete."""
        self.ping_wait_s = 60.0
        self.closed: list[int] = []
        """The codes that it closed lines with."""
        self.subscriptions: list[str | None] = []
        """The offset that each one began with."""

    def add(self, body: dict[str, Any]) -> None:
        """An event happened. `body` lacks its metadata."""
        left_out = self._dice.uniform(0, 1) < self._knobs().push_dropped
        self._events.append(_Kept(self._next, self._now_ms(), left_out, body))
        self._next += 1
        self._grown.set()

    def skip(self, count: int) -> None:
        """Let so many offsets pass with events that nobody is ever sent."""
        self._next += count

    async def hold(self, channel: Channel, *, admitted: bool) -> None:
        """Serve one client until it goes or is sent away. `admitted`: its application key is ours."""
        try:
            await self._converse(channel, admitted=admitted)
        except GoneError:
            return
        except _Close as closing:
            self.closed.append(closing.code)
            await channel.close(closing.code, closing.reason)
        finally:
            if self._consumer is channel:
                self._consumer = None

    async def _converse(self, channel: Channel, *, admitted: bool) -> None:
        if not admitted:
            raise _Close(4403, "Forbidden")
        token = await self._opened(channel)
        position: int | None = None
        heard_ms = self._clock.now_ms()
        receiving = asyncio.ensure_future(channel.receive())
        try:
            while True:
                self._grown.clear()
                try:
                    if position is not None:
                        position = await self._send_from(channel, position)
                except _Silent:
                    while True:
                        await receiving
                        receiving = asyncio.ensure_future(channel.receive())
                growing = asyncio.ensure_future(self._grown.wait())
                left_s = self.ping_wait_s - (self._clock.now_ms() - heard_ms) / 1000
                await asyncio.wait({receiving, growing}, timeout=max(0.0, left_s), return_when=asyncio.FIRST_COMPLETED)
                growing.cancel()
                if not self._admits(token):
                    raise _Close(4401, "Unauthorized")
                if receiving.done():
                    message = _read(receiving.result())
                    heard_ms = self._clock.now_ms()
                    receiving = asyncio.ensure_future(channel.receive())
                    position = await self._hear(channel, message, position)
                elif self._clock.now_ms() - heard_ms >= self.ping_wait_s * 1000:
                    raise _Close(4504, "Connection timed out: no ping")
        finally:
            receiving.cancel()
            await asyncio.wait({receiving})

    async def _opened(self, channel: Channel) -> str:
        try:
            async with asyncio.timeout(INIT_WAIT_S):
                first = _read(await channel.receive())
        except TimeoutError as error:
            raise _Close(4408, "Connection initialisation timeout") from error
        if first.get("type") != "connection_init":
            raise _Close(4401, "Unauthorized")
        token = str((first.get("payload") or {}).get("Authorization", "")).removeprefix("Bearer ")
        if not self._admits(token):
            raise _Close(4401, "Unauthorized")
        await channel.send('{"type":"connection_ack"}')
        return token

    async def _hear(self, channel: Channel, message: dict[str, Any], position: int | None) -> int | None:
        match message.get("type"):
            case "ping":
                await channel.send('{"type":"pong"}')
            case "complete":
                self._completed_ms = self._clock.now_ms()
                raise _Close(1000, "")
            case "subscribe":
                return await self._subscribed(channel, message)
        return position

    async def _subscribed(self, channel: Channel, message: dict[str, Any]) -> int | None:
        if self._consumer is not None:
            raise _Close(4409, "Too many subscriptions")
        if self._completed_ms is not None and self._clock.now_ms() - self._completed_ms < self.between_ms:
            raise _Close(4409, "Too soon after the last one")
        found = _INPUT.search(str((message.get("payload") or {}).get("query")))
        asked = dict(_FIELD.findall(found["input"])) if found is not None else {}
        offset = asked.get("offset")
        if asked.get("chainCode") != self._chain or (offset is not None and not offset.isdigit()):
            errors = [{"message": f"newEvent: {asked} is not valid"}]
            await channel.send(json.dumps({"id": message.get("id"), "type": "error", "payload": errors}))
            return None
        self._consumer = channel
        self.subscriptions.append(offset)
        if offset is not None:
            return int(offset)
        if asked.get("offsetType") == "highest":
            return self._next - 1
        if self._sent is None or self._now_ms() - self._sent[1] > REMEMBERED_MS:
            self._sent = (self._next - 1, self._now_ms())
        return self._sent[0] + 1

    async def _send_from(self, channel: Channel, position: int) -> int:
        """Send what is kept from an offset on; return the offset after the last."""
        now_ms, knobs, end = self._now_ms(), self._knobs(), self._next
        while self._events and now_ms - self._events[0].at_ms > KEPT_MS:
            self._events.popleft()
        due = [each for each in self._events if each.offset >= position]
        for at in range(len(due) - 1):
            if self._dice.uniform(0, 1) < knobs.stream_swapped:
                due[at], due[at + 1] = due[at + 1], due[at]
        for each in due:
            if each.left_out:
                continue
            for _ in range(2 if self._dice.uniform(0, 1) < knobs.push_twice else 1):
                await channel.send(self._message(each))
            self._sent = (max(each.offset, self._sent[0] if self._sent is not None else 0), now_ms)
            if self._dice.uniform(0, 1) < knobs.stream_cut:
                raise _Close(1011, "")
            if self._dice.uniform(0, 1) < knobs.stream_silent:
                raise _Silent
        return end

    def _message(self, each: _Kept) -> str:
        metadata = {"offset": str(each.offset), "uniqueEventId": f"{self._chain}-{each.offset:08d}"}
        event = {"metadata": metadata, **each.body}
        return json.dumps({"id": "1", "type": "next", "payload": {"data": {"newEvent": event}}})


def _read(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except ValueError as error:
        raise _Close(4400, "Invalid message") from error
    if not isinstance(told, dict):
        raise _Close(4400, "Invalid message")
    return told
