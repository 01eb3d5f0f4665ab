"""One key at two doors too far apart for the time between: a cloned phone, a relay, or a key that two people have.

Source of truth: docs/decisions/0115-one-key-at-two-far-doors.md; door.md 3.11. Bluetooth cannot prove where a phone
is, so this is found afterwards, in what the locks told. Each sighting is a stretch of time on one clock of the building
(edge/doors/lock_clocks.py) within which it certainly was; only where even the two outer ends lie closer than
anybody gets from door to door is it said. What has no such stretch (an uncertain lock clock, a log that a phone
brought, a foreign lock system) is never compared. Pure, and bounded.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

KEYS_MOST: Final = 1_000
SIGHTINGS_MOST: Final = 12
"""Of one key, the last told."""
SHOWED: Final = frozenset({"opened", "refused", "passage"})
"""Events at which a phone proved its key; a refusal that names a grant is one: the proof comes before the verdict."""
REACH_FLOORS: Final = 1
"""A phone is heard through so many ceilings: from the stairs both floors' doors are opened without a step."""
STAIRS_MS: Final = 3_000
"""A floor by the stairs, running."""
LIFT_MS, LIFT_FLOOR_MS = 8_000, 600
"""A lift that waits open: its doors, twice, and a floor at 5 m/s."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A key was at a door some time between two moments, in ms of the clock named `clock`."""

    clock: str
    from_ms: int
    to_ms: int
    door: str
    room: str
    floor: int


@dataclass(frozen=True, slots=True)
class FarApart:
    """One key, two doors: at most `within_ms` lay between, and nobody is faster than `least_ms`."""

    key: str
    stay: str | None
    first: Sighting
    second: Sighting
    within_ms: int
    least_ms: int

    @property
    def detail(self) -> str:
        """What a clerk or security officer needs, in a line."""
        whose = "a staff key" if self.stay is None else f"stay {self.stay}"
        floors = abs(self.first.floor - self.second.floor)
        return (
            f"{whose}: at {self.first.door} and {self.second.door}, {floors} floors apart, within"
            f" {-(-self.within_ms // 1_000)} s; the way takes {self.least_ms / 1_000:g} s at least"
        )


def least_ms(floors: int) -> int:
    """Return the shortest time between openings by one phone of two doors so many floors apart; 0: no time at all."""
    walked = max(floors - REACH_FLOORS, 0)
    return min(STAIRS_MS * walked, LIFT_MS + LIFT_FLOOR_MS * walked) if walked else 0


class FarDoors:
    """The last sightings of each key. `floor_of`: a room's floor, None where the site plan does not know the room."""

    def __init__(self, floor_of: Callable[[str], int | None]) -> None:
        self._floor_of = floor_of
        self._keys: OrderedDict[str, list[Sighting]] = OrderedDict()

    def told(self, body: Mapping[str, Any]) -> FarApart | None:
        """Take the body of an access record; return what is too far apart, the most impossible pair."""
        key = body.get("key") or body.get("grant")
        if body.get("event") not in SHOWED or not isinstance(key, str):
            return None
        seen = self._sighting(body)
        if seen is None:
            return None
        before = self._keys.pop(key, [])
        self._keys[key] = [*before, seen][-SIGHTINGS_MOST:]
        if len(self._keys) > KEYS_MOST:
            self._keys.popitem(last=False)
        stay = body.get("stay")
        stay = stay if isinstance(stay, str) else None
        found = [each for other in before if (each := _far(key, stay, other, seen)) is not None]
        return max(found, key=lambda each: each.least_ms - each.within_ms, default=None)

    def _sighting(self, body: Mapping[str, Any]) -> Sighting | None:
        door, room, clock = body.get("door"), body.get("room"), body.get("seen_clock")
        from_ms, to_ms = body.get("seen_from_ms"), body.get("seen_to_ms")
        if not (isinstance(door, str) and isinstance(room, str) and isinstance(clock, str)):
            return None
        if not (type(from_ms) is int and type(to_ms) is int and from_ms <= to_ms):
            return None
        floor = self._floor_of(room)
        return None if floor is None else Sighting(clock, from_ms, to_ms, door, room, floor)


def _far(key: str, stay: str | None, one: Sighting, other: Sighting) -> FarApart | None:
    if one.clock != other.clock or one.room == other.room:
        return None
    within_ms = max(one.to_ms, other.to_ms) - min(one.from_ms, other.from_ms)
    needed_ms = least_ms(abs(one.floor - other.floor))
    if within_ms >= needed_ms:
        return None
    first, second = sorted((one, other), key=lambda each: (each.from_ms, each.door))
    return FarApart(key, stay, first, second, within_ms, needed_ms)
