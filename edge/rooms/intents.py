"""A room's open wishes and the writes they ask for: carried out once, tried again only while that is safe.

A wish is absolute ("21.5 °C", never "two warmer"), so writing it twice is writing it once, and a write whose
fate is unknown may be repeated. It is open until every device that can fulfil it has confirmed the value, it is
replaced, somebody in the room chose otherwise, or it is too late. Confirmed once, it is done for good: a guest who
turns the dial afterwards is not argued with. Pure: time comes in, due writes come out.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from edge.rooms.modes import CLIMATE_MS, Intent
from protocols.device_model.capability import Capability
from protocols.device_model.identity import DeviceId, RoomId

RETRY_FIRST_MS: Final = 2_000
RETRY_MOST_MS: Final = 120_000
Wish = tuple[RoomId, Capability, str]


@dataclass(slots=True)
class OpenIntent:
    """One wish and how far it got. `expires_ms` and `next_try_ms` are monotonic."""

    room: RoomId
    intent: Intent
    expires_ms: int
    met: set[DeviceId] = field(default_factory=set)
    in_flight: set[DeviceId] = field(default_factory=set)
    attempts: int = 0
    next_try_ms: int = 0

    @property
    def wish(self) -> Wish:
        """What it is a wish about: the newest one for it replaces the others."""
        return (self.room, self.intent.capability, self.intent.attribute)


@dataclass(frozen=True, slots=True)
class Write:
    """One device to be told one value."""

    device: DeviceId
    open: OpenIntent


class Intents:
    """The open wishes of all rooms; at most one per room, capability and attribute, so their number is bounded."""

    def __init__(self) -> None:
        self._open: dict[Wish, OpenIntent] = {}

    def __iter__(self) -> Iterator[OpenIntent]:
        return iter(list(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    def want(self, room: RoomId, intent: Intent, *, now_ms: int, wall_ms: int) -> bool:
        """Open a wish in place of any older one for the same thing; False: it was too late already.

        Args:
            room: Whose wish.
            intent: The wish; its deadline is unix ms.
            now_ms: Monotonic ms: from here on the wish ages by this clock, whatever the wall clock does.
            wall_ms: Unix ms.
        """
        self._open.pop((room, intent.capability, intent.attribute), None)
        left_ms = min(intent.deadline_ms - wall_ms, CLIMATE_MS)
        if left_ms <= 0:
            return False
        wish = OpenIntent(room, intent, expires_ms=now_ms + left_ms, next_try_ms=now_ms)
        self._open[wish.wish] = wish
        return True

    def withdraw(self, wish: Wish) -> bool:
        """Drop a wish: somebody in the room chose otherwise, or asked for something by hand."""
        return self._open.pop(wish, None) is not None

    def holds(self, wish: OpenIntent) -> bool:
        """Say whether this very wish is still open."""
        return self._open.get(wish.wish) is wish

    def due(
        self, devices: Callable[[Wish], Iterable[DeviceId]], *, now_ms: int
    ) -> tuple[list[Write], list[OpenIntent]]:
        """Return the writes to start now and the wishes that ended: expired, met, or with nobody to fulfil them.

        Ended wishes are dropped here; `met` tells which way each ended.
        """
        writes: list[Write] = []
        ended: list[OpenIntent] = []
        for wish, each in list(self._open.items()):
            able = set(devices(wish))
            if now_ms >= each.expires_ms or (able <= each.met and not each.in_flight):
                del self._open[wish]
                ended.append(each)
                continue
            if now_ms < each.next_try_ms:
                continue
            waiting = sorted(able - each.met - each.in_flight)
            if waiting:
                each.attempts += 1
                each.next_try_ms = now_ms + min(RETRY_FIRST_MS * 2 ** min(each.attempts - 1, 16), RETRY_MOST_MS)
                each.in_flight.update(waiting)
                writes.extend(Write(device, each) for device in waiting)
        return writes, ended

    def next_due_ms(self) -> int | None:
        """Return when `due` next has something to say, or None."""
        times = [min(each.expires_ms, each.next_try_ms) for each in self._open.values() if not each.in_flight]
        return min(times, default=None)
