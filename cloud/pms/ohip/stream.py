"""One subscription to OPERA Cloud's event stream: text and time in, events and text out. Pure.

Source: design page pms.md B.3 (sub-protocol graphql-transport-ws, subscription newEvent, close codes) and Oracle's
streaming guide (offsets are text; what was sent is kept for seven days; a client that gives no offset goes on where
it stopped within a day). The shell around it is consumer.py.

An event is a hint and never data. Where events may have been lost, `lost` says so: the offset we asked for is not
where the stream began again, or numbers were left out and did not come late. Offsets that are no numbers cannot be
counted, and nothing is concluded from them but whether the first one is the one that was asked for.
"""

import hashlib
import json
from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from cloud.pms.ohip import wire
from cloud.pms.port import Hint, PmsRefusedError
from protocols.errors import InvalidInputError, LinkLostError, PeerProtocolError, ReplyTimeoutError

SUBPROTOCOL: Final = "graphql-transport-ws"
LATE_MOST: Final = 1_000
"""Numbers that may be awaited at a time."""
RESUME_BACK: Final = 32
"""Events between the newest and the one that a subscription begins with: what overtook them comes again."""
SEEN_MOST: Final = 4_096
OFFSET_CHARACTERS_MOST: Final = 256
_ID: Final = "1"
_WANTED: Final = "metadata { offset uniqueEventId } moduleName eventName primaryKey hotelId timestamp"

Stage = Enum("Stage", ["OPENING", "SUBSCRIBED", "OVER"])


@dataclass(frozen=True, slots=True)
class Patience:
    """What is waited for how long, ms. `late`: for a number that was left out."""

    ack_ms: int = 10_000
    ping_every_ms: int = 15_000
    pong_ms: int = 10_000
    late_ms: int = 30_000


PATIENCE: Final = Patience()


@dataclass(frozen=True, slots=True)
class Event:
    """One event: what may have changed in which hotel; `hint` None: nothing that we follow, or nothing readable."""

    hotel: str | None
    hint: Hint | None
    problem: str | None = None


class OffsetRefusedError(PmsRefusedError):
    """The stream does not begin at the offset that we asked for: what came after it is lost to us."""


class Memory:
    """What outlives one connection: which events were heard, and where the next subscription begins."""

    def __init__(self, offset: str | None) -> None:
        self._offsets: deque[str] = deque([] if offset is None else [offset], maxlen=RESUME_BACK)
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._new, self._bare = True, offset is None
        self.newest: int | None = None
        self.late: dict[int, int] = {}
        """Numbers that were left out, and until when (monotonic ms) they may still come."""

    @property
    def offset(self) -> str | None:
        """Where a subscription of another life begins; None: wherever the stream is."""
        return self._offsets[0] if self._offsets else None

    def begin(self) -> str | None:
        """Return where the next subscription begins: a little before the newest event, and at it where that brought
        nothing new, or a line that breaks again and again would never get further.
        """
        further, self._new = not self._new and not self.late and len(self._offsets) > 1, False
        return self._offsets[-1] if further else self.offset

    @property
    def is_young(self) -> bool:
        """Whether it began without an offset and heard so little that nobody knows what came before the first."""
        return self._bare and len(self._offsets) < RESUME_BACK

    def forget_offset(self) -> None:
        """The stream has none of them any more."""
        self._offsets.clear()

    def hear(self, offset: str | None, unique_id: str | None) -> bool:
        """Note an event; return whether it was heard before."""
        key = unique_id or (None if offset is None else f"offset {offset}")
        again = key is not None and key in self._seen
        if key is not None:
            self._seen[key] = None
            self._seen.move_to_end(key)
            if len(self._seen) > SEEN_MOST:
                self._seen.popitem(last=False)
        self._new = self._new or not again
        if offset is not None and not again:
            self._offsets.append(offset)
        return again


class Subscription:
    """One connection from its opening to its end. Make a new one for each.

    Args:
        token: bearer.
        chain: whose events.
        memory: begins where it says.
    """

    def __init__(self, *, token: str, chain: str, memory: Memory, now_ms: int, patience: Patience = PATIENCE) -> None:
        self._chain, self._memory, self._patience = chain, memory, patience
        self._asked = memory.begin()
        self._first = True
        self._out: list[str] = []
        self._ping_ms = now_ms + self._patience.ping_every_ms
        self._pong_until_ms: int | None = None
        self._ack_until_ms = now_ms + patience.ack_ms
        self.stage = Stage.OPENING
        self.lost: str | None = None
        """Why events may have been lost; the caller tells it and sets it back to None."""
        self.doubled = 0
        self._say({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}})

    def data_to_send(self) -> list[str]:
        """Drain what is to be written."""
        out, self._out = self._out, []
        return out

    @property
    def deadline_ms(self) -> int:
        """When to call `on_time`, monotonic ms."""
        if self.stage is Stage.OPENING:
            return self._ack_until_ms
        waits = [self._ping_ms, *self._memory.late.values()]
        return min(waits if self._pong_until_ms is None else [*waits, self._pong_until_ms])

    def on_time(self, *, now_ms: int) -> None:
        """Learn the time. Raises ReplyTimeoutError, LinkLostError: nobody is at the other end any more."""
        if self.stage is Stage.OPENING and now_ms >= self._ack_until_ms:
            raise ReplyTimeoutError("OHIP events: no connection_ack")
        if self.stage is not Stage.SUBSCRIBED:
            return
        if self._pong_until_ms is not None and now_ms >= self._pong_until_ms:
            raise LinkLostError("OHIP events: nothing heard since our ping, the line is half open")
        if now_ms >= self._ping_ms:
            self._say({"type": "ping"})
            self._ping_ms = now_ms + self._patience.ping_every_ms
            if self._pong_until_ms is None:
                self._pong_until_ms = now_ms + self._patience.pong_ms
        if any(until_ms <= now_ms for until_ms in self._memory.late.values()):
            self._lose(f"{len(self._memory.late)} events were left out before offset {self._memory.newest}")

    def receive(self, text: str | bytes, *, now_ms: int) -> Event | None:
        """Take one message; None: it is no event, or one that was heard before.

        Raises:
            OffsetRefusedError: see there; forget the offset and subscribe again.
            PmsRefusedError: the subscription itself is refused.
            LinkLostError: the stream has ended it.
            PeerProtocolError: no message of this protocol; nothing has changed, the line may be kept.
        """
        try:
            told = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise PeerProtocolError(f"OHIP events: not a message of the event stream: {error}") from error
        self._pong_until_ms = None  # whatever it was, somebody is there
        match told.get("type"):
            case "connection_ack" if self.stage is Stage.OPENING:
                self._subscribe(now_ms)
            case "ping":
                self._say({"type": "pong"} if told.get("payload") is None else {**told, "type": "pong"})
            case "next":
                return self._event(told, now_ms)
            case "error":
                self.stage = Stage.OVER
                said = _messages(told.get("payload"))
                if self._asked is not None and self._first:
                    raise OffsetRefusedError(400, f"offset {self._asked}: {said}")
                raise PmsRefusedError(400, said)
            case "complete":
                self.stage = Stage.OVER
                raise LinkLostError("OHIP events: the stream completed the subscription")
        return None

    def complete(self) -> None:
        """Say that we go: they close."""
        if self.stage is Stage.SUBSCRIBED:
            self._say({"id": _ID, "type": "complete"})
        self.stage = Stage.OVER

    def _subscribe(self, now_ms: int) -> None:
        wanted = {"chainCode": self._chain} | ({} if self._asked is None else {"offset": self._asked})
        listed = ", ".join(f"{name}: {json.dumps(value)}" for name, value in wanted.items())
        query = f"subscription {{ newEvent(input: {{ {listed} }}) {{ {_WANTED} }} }}"
        payload: dict[str, Any] = {"query": query, "variables": {}, "extensions": {}, "operationName": None}
        self._say({"id": _ID, "type": "subscribe", "payload": payload})
        self.stage, self._ping_ms = Stage.SUBSCRIBED, now_ms + self._patience.ping_every_ms
        self._memory.late = dict.fromkeys(self._memory.late, now_ms + self._patience.late_ms)  # they come again now

    def _event(self, told: dict[str, Any], now_ms: int) -> Event | None:
        found = wire.stream_event(told)
        if found is None:
            return Event(None, None, f"an event that says {_messages(told.get('payload'))}")
        metadata = found.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        offset, unique_id = _text(metadata.get("offset")), _text(metadata.get("uniqueEventId"))
        self._follow(offset, now_ms)
        if self._memory.hear(offset, unique_id):
            self.doubled += 1
            return None
        hotel = _text(found.get("hotelId"))
        try:
            return Event(hotel, wire.event_hint(msgspec.json.encode(found)))
        except PeerProtocolError as error:
            return Event(hotel, None, str(error))

    def _follow(self, offset: str | None, now_ms: int) -> None:
        """See whether anything was left out."""
        first, self._first = self._first, False
        number = _number(offset)
        if first and self._asked is not None:
            asked = _number(self._asked)
            begun = number <= asked + 1 if number is not None and asked is not None else offset == self._asked
            if not begun:
                self._lose(f"asked for offset {self._asked}, the stream begins at {offset}")
        if number is None:
            return
        memory = self._memory
        memory.late.pop(number, None)
        if memory.newest is not None and number > memory.newest + 1:
            left_out = number - memory.newest - 1
            if left_out + len(memory.late) > LATE_MOST:
                self._lose(f"{left_out} events were left out before offset {number}")
            else:
                late = range(memory.newest + 1, number)
                memory.late.update(dict.fromkeys(late, now_ms + self._patience.late_ms))
        memory.newest = max(number, memory.newest or 0)

    def _lose(self, why: str) -> None:
        self._memory.late.clear()
        self.lost = self.lost or why

    def _say(self, message: dict[str, Any]) -> None:
        self._out.append(json.dumps(message))


def _text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)[:OFFSET_CHARACTERS_MOST] or None


def _number(offset: str | None) -> int | None:
    if offset is None or not offset.isascii() or not offset.isdigit() or len(offset) > 18:
        return None
    return int(offset)


def _messages(payload: object) -> str:
    """Return what a GraphQL error says."""
    errors = payload.get("errors") if isinstance(payload, dict) else payload
    if isinstance(errors, list):
        said = [str(each.get("message")) for each in errors if isinstance(each, dict) and each.get("message")]
        if said:
            return "; ".join(said)[:300]
    return "nothing that can be read"


def address(platform: str, app_key: str) -> str:
    """Return the stream's address: the key goes as its SHA-256. Raises InvalidInputError."""
    parts = urlsplit(platform)
    scheme = {"https": "wss", "http": "ws", "wss": "wss", "ws": "ws"}.get(parts.scheme)
    if scheme is None or not parts.netloc:
        raise InvalidInputError("pms: platform", f"{platform!r} is no address as https://host")
    path = parts.path.rstrip("/")
    path = path if path.endswith("/subscriptions") else f"{path}/subscriptions"
    return f"{scheme}://{parts.netloc}{path}?{urlencode({'key': hashlib.sha256(app_key.encode()).hexdigest()})}"
