"""What is known of each lock's bolt and battery, how far that is to be believed, and how old it is.

Only what a lock said under its own keys counts as told (RESULT, checkpoint: protocols/door/SPEC.md 4 and 8). Adverts
prove nothing, but tell that the lock is near and whether it has news: without news the bolt is where it was told to be.
Kept in memory alone: after a start every lock is visited once, and nothing is claimed before.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from kit.clock import Clock
from protocols.device_model.identity import DoorId, RoomId
from protocols.door.hardware import Bolt

HEARD_MOST_MS: Final = 120_000
"""Not heard for so long, a lock may be anything by now."""
NEWS_MOST_MS: Final = 10_000
"""News are fetched within a second or two; older ones that nobody could fetch cast doubt."""
TOLD_MOST_MS: Final = 2 * 3_600_000
"""However quiet its adverts are: they could be another's, replayed."""


@dataclass(slots=True)
class _Lock:
    room: RoomId
    bolt: Bolt
    battery_percent: int | None
    told_ms: int
    told_at_ms: int
    heard_ms: int
    version: int
    news_ms: int | None = None


class LockStates:
    """The last word of every lock since this process began."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._locks: dict[DoorId, _Lock] = {}
        self.began = self.version = clock.now_ms()
        """`version` rises with every change of what a lock told, more slowly than time: none of an earlier life comes
        again."""
        self.changed = asyncio.Event()
        """Set with it; whoever waits clears it."""

    def told(self, door: DoorId, room: RoomId, bolt: Bolt, battery_percent: int | None, at_ms: int) -> None:
        """The lock said so, authenticated; `at_ms` is the edge's unix time."""
        now_ms = self._clock.now_ms()
        before = self._locks.get(door)
        changed = before is None or (before.bolt, before.battery_percent) != (bolt, battery_percent)
        self.version += changed
        version = self.version if before is None or changed else before.version
        self._locks[door] = _Lock(room, bolt, battery_percent, now_ms, at_ms, now_ms, version)
        if changed:
            self.changed.set()

    def told_ms_ago(self, door: DoorId) -> int | None:
        """Return how long ago the lock was last asked, None for never since the start."""
        known = self._locks.get(door)
        return None if known is None else self._clock.now_ms() - known.told_ms

    def heard(self, door: DoorId, *, news: bool) -> None:
        """An advert that bears the door's id."""
        if (known := self._locks.get(door)) is not None:
            known.heard_ms = self._clock.now_ms()
            if news and known.news_ms is None:
                known.news_ms = known.heard_ms

    def snapshot(self, since: int = -1) -> list[dict[str, Any]]:
        """Return each lock told of: state (None: not sensed), quality, why it is not good, battery, and since when.

        `since`: only those which told something new after this version.
        """
        return [{"door": door, **self._shown(each)} for door, each in self._locks.items() if each.version > since]

    def _shown(self, lock: _Lock) -> dict[str, Any]:
        now_ms = self._clock.now_ms()
        quality, reason = "good", None
        if now_ms - lock.heard_ms > HEARD_MOST_MS:
            quality, reason = "stale", "lock not heard"
        elif now_ms - lock.told_ms > TOLD_MOST_MS:
            quality, reason = "stale", "lock not reached"
        elif lock.news_ms is not None and now_ms - lock.news_ms > NEWS_MOST_MS:
            quality, reason = "uncertain", "lock has news not fetched yet"
        return {
            "room": lock.room,
            "state": None if lock.bolt is Bolt.UNKNOWN else lock.bolt.name.lower(),
            "quality": quality,
            "reason": reason,
            "battery": lock.battery_percent,
            "told_at_ms": lock.told_at_ms,
        }
