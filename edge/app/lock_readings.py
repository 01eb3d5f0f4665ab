"""Carries what the doors know of bolts and batteries to the house as readings: a door's lock is a device of its room.

The doors say how far a state is to be believed (edge/doors/lock_states.py); here it becomes a reading, on change and as
a heartbeat, so that the view's own freshness ends when the doors process or the lock falls silent.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from edge.bridges.ports import ReadingSink
from kit.clock import Clock
from protocols.device_model.capability import LOCK_STATES, Capability, Unit
from protocols.device_model.identity import DeviceId, RoomId
from protocols.device_model.reading import Quality, Reading
from protocols.device_model.site_plan import SitePlan
from protocols.errors import PeerProtocolError

WHOLE: Final = -1
WHOLE_EVERY_MS: Final = 5_000
"""So often every lock is looked at: that one has fallen silent is no news of its own."""
HEARTBEAT_MS: Final = 240_000
"""Below the 10 minutes for which the view holds a value fresh."""
NOT_SENSED: Final = "bolt not sensed"


class LockSource(Protocol):
    """The doors process, as a source of lock states (edge.doors.client.DoorsClient)."""

    async def locks(self, seen: int) -> tuple[int, Sequence[Mapping[str, Any]]]:
        """Return a version and the locks that told something new since `seen`; waits a few seconds for such.

        Every lock told of, where none did in that time (the version is `seen`), and at once for `WHOLE`.

        Raises LinkLostError, ReplyTimeoutError.
        """
        ...


def lock_devices(plan: SitePlan | None) -> dict[DeviceId, RoomId]:
    """Return the locks of a plan as devices: named as their door, or as the lock where a device has that name."""
    if plan is None:
        return {}
    taken = {each.id for each in plan.devices}
    return {
        DeviceId(door.lock if DeviceId(door.id) in taken else door.id): door.room for door in plan.doors if door.room
    }


class LockReadings:
    """Turns lock states into readings. `run` belongs under supervision."""

    def __init__(self, doors: LockSource, sink: ReadingSink, *, plan: SitePlan | None, clock: Clock) -> None:
        self._doors, self._sink, self._clock = doors, sink, clock
        devices = lock_devices(plan)
        self._devices = {
            str(door.id): DeviceId(door.id) if DeviceId(door.id) in devices else DeviceId(door.lock)
            for door in ([] if plan is None else plan.doors)
        }
        self._told: dict[tuple[DeviceId, str], tuple[Reading, int]] = {}

    async def run(self) -> None:
        """Carry for ever. Raises LinkLostError, ReplyTimeoutError: the doors went away; begin again."""
        seen, whole_ms = WHOLE, self._clock.now_ms()
        while True:
            asked = WHOLE if self._clock.now_ms() - whole_ms >= WHOLE_EVERY_MS else seen
            seen, locks = await self._doors.locks(asked)
            if asked in (WHOLE, seen):
                whole_ms = self._clock.now_ms()
            self.take(locks)

    def take(self, locks: Sequence[Mapping[str, Any]]) -> None:
        """Tell what has changed, or is due again. Raises PeerProtocolError: a state that is none."""
        for each in locks:
            device = self._devices.get(each["door"])
            if device is None:
                continue  # a door that the plan of this process does not have yet
            self._tell(_state(device, each))
            if each["battery"] is not None:
                self._tell(_battery(device, each))

    def _tell(self, reading: Reading) -> None:
        key, now_ms = (reading.device, reading.attribute), self._clock.now_ms()
        before = self._told.get(key)
        if before is None or before[0] != reading or now_ms - before[1] >= HEARTBEAT_MS:
            self._told[key] = reading, now_ms
            self._sink.reading(reading)


def _state(device: DeviceId, lock: Mapping[str, Any]) -> Reading:
    state, quality, reason = lock["state"], _quality(lock["quality"]), lock["reason"]
    if state is not None and state not in LOCK_STATES:
        raise PeerProtocolError(f"doors: lock state {state!r:.40}")
    if state is None and quality is not Quality.STALE:
        quality, reason = Quality.BAD, NOT_SENSED
    return Reading(device, Capability.DOOR_LOCK, "lock_state", state, None, quality, reason=reason)


def _battery(device: DeviceId, lock: Mapping[str, Any]) -> Reading:
    quality = _quality(lock["quality"])
    if quality is Quality.UNCERTAIN:
        quality = Quality.GOOD  # news of the bolt say nothing about the cells
    percent, reason = float(lock["battery"]), None if quality is Quality.GOOD else lock["reason"]
    return Reading(
        device, Capability.POWER_SOURCE, "bat_percent_remaining", percent, Unit.PERCENT, quality, reason=reason
    )


def _quality(word: str) -> Quality:
    try:
        return Quality(word)
    except ValueError:
        raise PeerProtocolError(f"doors: quality {word!r:.40}") from None
