"""What every room reports, per device, capability and attribute, with its age; whichever vendor it came from.

Pure: readings and both times in, answers out. A value is never dropped for being old: it is told with its age
and marked stale, because "21.5 °C, four hours ago" is true and "21.5 °C" is not (G17).
"""

from collections.abc import Collection, Iterable, Mapping
from operator import attrgetter
from typing import Any, Final

import msgspec
from msgspec import structs

from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import DeviceId, RoomId
from protocols.device_model.reading import Quality, Reading, Value

# Buses tell what went stale themselves, knowing each device's period. This bound holds where the bus fell silent too:
# twice the heartbeat at which an unchanged value is reported (G17), as far as the descriptor does not say otherwise.
FRESH_MS: Final = 2 * 300_000
ATTRIBUTES_MOST: Final = 64  # per device: a device that invents names without end fills nothing but its own share

_UNITS: Final = {each: each.value for each in Unit}
"""Every reading asks for its unit's code."""

_TEXTS: Final[Mapping[str, str]] = {each: each.value for each in (*Capability, *Quality)}
"""An enumeration's own way to its plain text costs as much as the rest of a value that is shown."""
_in_order: Final = attrgetter("room", "device", "capability", "attribute")

Key = tuple[DeviceId, Capability, str]


class Reported(msgspec.Struct, frozen=True, gc=False):
    """The last value heard. `at_ms` unix ms and `heard_ms` monotonic ms are when the edge heard it."""

    value: Value | None
    unit: str | None
    quality: Quality
    at_ms: int
    heard_ms: int
    reason: str | None = None


class Shown(msgspec.Struct, frozen=True, gc=False):
    """One value as told to others: quality already says stale where it is; `age_ms` since it was heard.

    A value that was bad and has grown old is told as bad, with the reason; `fresh` tells that it is old.
    """

    room: RoomId
    device: DeviceId
    capability: Capability
    attribute: str
    value: Value | None
    unit: str | None
    quality: Quality
    at_ms: int
    age_ms: int
    reason: str | None = None
    """Why the value is not good, as whoever heard it says; for the local API, not part of the live state."""
    fresh: bool = True

    def to_body(self) -> dict[str, Any]:
        """Return the plain form of the live state and of the local API."""
        return {
            "room": self.room,
            "device": self.device,
            "capability": _TEXTS[self.capability],
            "attribute": self.attribute,
            "value": self.value,
            "unit": self.unit,
            "quality": _TEXTS[self.quality],
            "at_ms": self.at_ms,
        }


class CapabilityView:
    """The reported half of every room's twin.

    Args:
        rooms: Which room each device serves; devices that are not in it are nobody's and are refused.
        fresh_ms: How long a value stays fresh where that is not `FRESH_MS`.
    """

    def __init__(self, rooms: Mapping[DeviceId, RoomId], fresh_ms: Mapping[Key, int] | None = None) -> None:
        self._rooms = dict(rooms)
        self._fresh_ms = dict(fresh_ms or {})
        self._reported: dict[DeviceId, dict[tuple[Capability, str], Reported]] = {each: {} for each in rooms}
        self._silent: set[DeviceId] = set()
        self._unsaid: dict[DeviceId, set[tuple[Capability, str]]] = {}
        """By device that was silent, what it has not said again since."""
        self._of_room = _by_room(rooms)

    def serve(self, rooms: Mapping[DeviceId, RoomId], fresh_ms: Mapping[Key, int]) -> None:
        """Take which device serves which room from now on; what stays keeps all that it said."""
        self._rooms, self._fresh_ms, self._of_room = dict(rooms), dict(fresh_ms), _by_room(rooms)
        self._reported = {each: self._reported.get(each, {}) for each in rooms}
        self._silent &= rooms.keys()
        self._unsaid = {each: keys for each, keys in self._unsaid.items() if each in rooms}

    def room_of(self, device: DeviceId) -> RoomId | None:
        """Return the room a device serves, or None for a device that is in no room of ours."""
        return self._rooms.get(device)

    def take(self, reading: Reading, *, now_ms: int, wall_ms: int) -> bool:
        """Take one reading; True if it says something other than the last one did.

        A reading of an unknown device, or one attribute too many, changes nothing and is False.
        """
        values = self._reported.get(reading.device)
        if values is None:
            return False
        key = (reading.capability, reading.attribute)
        before = values.get(key)
        if before is None and len(values) >= ATTRIBUTES_MOST:
            return False
        if reading.quality is Quality.STALE and before is not None:
            # No new value, and no younger for being told.
            values[key] = structs.replace(before, quality=Quality.STALE, reason=_plain(reading.reason))
            return before.quality is not Quality.STALE
        value, quality, reason = reading.value, reading.quality, reading.reason
        unit = None if reading.unit is None else _UNITS[reading.unit]
        values[key] = Reported(value, unit, quality, wall_ms, now_ms, None if reason is None else _plain(reason))
        if self._silent and quality is not Quality.BAD:
            self._silent.discard(reading.device)
        if self._unsaid and (unsaid := self._unsaid.get(reading.device)):
            unsaid.discard(key)
        return before is None or before.quality is not quality or before.value != value

    def silent(self, device: DeviceId, *, silent: bool) -> None:
        """Take that a device went off line or came back: what it said last is stale from now on, however young.

        Each value stays so until the device itself has said it again: that it is back says nothing of what it holds.
        """
        if silent:
            self._silent.add(device)
            self._unsaid[device] = set(self._reported.get(device, ()))
        else:
            self._silent.discard(device)

    def renewed(self, device: DeviceId) -> None:
        """Take that the name stands for another thing now: each value is stale until that thing itself has said it."""
        values = self._reported.get(device, {})
        for key, each in values.items():
            if each.quality is not Quality.BAD:
                values[key] = structs.replace(each, quality=Quality.STALE, reason=None)
        self.silent(device, silent=True)

    def everyone(self) -> Collection[DeviceId]:
        """Return every device that serves a room, heard or not."""
        return self._rooms.keys()

    def get(self, device: DeviceId, capability: Capability, attribute: str) -> Reported | None:
        """Return the last value heard, or None for never."""
        return self._reported.get(device, {}).get((capability, attribute))

    def devices(self, room: RoomId) -> list[DeviceId]:
        """Return the devices that serve a room, by id."""
        return list(self._of_room.get(room, ()))

    def shown(self, rooms: Iterable[RoomId] | None = None, *, now_ms: int) -> list[Shown]:
        """Return every value of the given rooms (all if None), by room, device, capability, attribute."""
        wanted = None if rooms is None else set(rooms)
        found = []
        devices = (
            self._reported if wanted is None else (each for room in wanted for each in self._of_room.get(room, ()))
        )
        for device in devices:
            room, values, unsaid = self._rooms[device], self._reported[device], self._unsaid.get(device, ())
            for (capability, attribute), each in values.items():
                age_ms = now_ms - each.heard_ms
                stale = device in self._silent or age_ms > self._fresh_ms.get((device, capability, attribute), FRESH_MS)
                stale = stale or (capability, attribute) in unsaid
                quality = Quality.STALE if stale and each.quality is not Quality.BAD else each.quality
                told = (each.value, each.unit, quality, each.at_ms, age_ms, each.reason, not stale)
                found.append(Shown(room, device, capability, attribute, *told))
        return sorted(found, key=_in_order)


def _by_room(rooms: Mapping[DeviceId, RoomId]) -> dict[RoomId, list[DeviceId]]:
    found: dict[RoomId, list[DeviceId]] = {}
    for device in sorted(rooms):
        found.setdefault(rooms[device], []).append(device)
    return found


def _plain(reason: str | None) -> str | None:
    return None if reason is None else str(reason)  # may be an enumeration's member, which is not plain text
