"""Controllers that come back: which of them forgot their setpoint while they could not be heard, and when to tell them.

A thermostat that loses power may start again at a setpoint of its own (20.0 °C, say), and a wish once confirmed is not
repeated (intents.py): the room would stay wrong for good. So the setpoint that a controller held before it went off
line is remembered; what it says first after its return is compared with that. The same: nothing was lost, and nothing
is written, whoever chose it. Another: it forgot, and is told again.

An edge that was away itself could hear none of them: each is then a controller that comes back, held against what it
held in the last life (memory.py). So mains that fail for the house and its edge together end as they should.

A guest who turned the dial before the outage is kept to, because theirs is the setpoint that was held. A dial turned
while nobody could hear it looks exactly like a restart, and is taken for one: the guest turns it once more.

Pure: readings, events and monotonic times come in. Once a return, `PAUSE_MS` apart for a controller that flaps, and
`AT_ONCE_MOST` in `SPREAD_MS` for a house whose mains come back.
"""

from dataclasses import dataclass, field
from typing import Final

from edge.rooms.modes import HEATING
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading

UNHEARD_MS: Final = 60_000  # a controller that is back and says no setpoint for so long is told without being asked
PAUSE_MS: Final = 300_000
SPREAD_MS: Final = 10_000
AT_ONCE_MOST: Final = 20
SAME_C: Final = 0.05  # a setpoint read back through another scaling


@dataclass(slots=True)
class _Controller:
    held_c: float | None = None
    """The last setpoint known before it went; None: none, or a newer wish was made while it was away."""
    overtaken: bool = False
    away: bool = False
    back_ms: int | None = None  # since when it is back without having said a setpoint
    forgot: bool = False  # it is to be told again
    found_c: float | None = None  # what it came back with: no guest's choice, until it says something else
    told_ms: int | None = None


@dataclass(slots=True)
class Returns:
    """The controllers of all rooms."""

    _controllers: dict[DeviceId, _Controller] = field(default_factory=dict)
    _released_ms: int | None = None

    def restore(self, device: DeviceId, held_c: float) -> None:
        """Learn what a controller held when the last life of the edge ended."""
        each = self._of(device)
        each.held_c, each.away = held_c, True

    def gone(self, device: DeviceId) -> None:
        """Learn that a device can no longer be heard."""
        self._of(device).away = True

    def back(self, device: DeviceId, *, now_ms: int) -> None:
        """Learn that a device can be heard again; one that was never away changes nothing."""
        each = self._of(device)
        if each.away:
            each.away = False
            each.back_ms = now_ms

    def heard(self, reading: Reading) -> bool:
        """Take what a device says; True if it is a setpoint that no hand chose."""
        if (reading.capability, reading.attribute) != HEATING or reading.quality is not Quality.GOOD:
            return False
        if not isinstance(reading.value, int | float):
            return False
        each, celsius = self._of(reading.device), float(reading.value)
        if each.away or each.back_ms is not None:  # its first word may be heard before its bus says that it is back
            each.away, each.back_ms = False, None
            if each.overtaken or (each.held_c is not None and abs(celsius - each.held_c) > SAME_C):
                each.forgot, each.found_c = True, celsius
                return True
            each.forgot, each.found_c = False, None
            each.held_c = celsius
            return False
        if each.found_c is not None and abs(celsius - each.found_c) <= SAME_C:
            return True
        each.forgot, each.found_c = False, None  # somebody has chosen since
        each.held_c, each.overtaken = celsius, False
        return False

    def wrote(self, device: DeviceId, celsius: float) -> None:
        """Learn that a controller confirmed a setpoint of ours."""
        each = self._of(device)
        each.held_c, each.overtaken, each.forgot = celsius, False, False
        each.away, each.back_ms, each.found_c = False, None, None

    def wished(self, device: DeviceId) -> None:
        """Learn of a new wish for a controller's room: what it held before is no longer what it should hold."""
        each = self._of(device)
        each.forgot = False  # the wish tells it
        if each.away or each.back_ms is not None or each.found_c is not None:
            each.held_c, each.overtaken = None, True

    def held_c(self, device: DeviceId) -> float | None:
        """Return the setpoint to give back; None: what the room's mode says."""
        return self._of(device).held_c

    def due(self, *, now_ms: int) -> list[DeviceId]:
        """Return the controllers to be told again now, by id; each of them once."""
        if self._released_ms is not None and now_ms - self._released_ms < SPREAD_MS:
            return []
        found = sorted(device for device, each in self._controllers.items() if _due(each, now_ms))[:AT_ONCE_MOST]
        for device in found:
            each = self._controllers[device]
            each.forgot, each.back_ms, each.told_ms = False, None, now_ms
        if found:
            self._released_ms = now_ms
        return found

    def _of(self, device: DeviceId) -> _Controller:
        return self._controllers.setdefault(device, _Controller())


def _due(each: _Controller, now_ms: int) -> bool:
    if each.away or (each.told_ms is not None and now_ms - each.told_ms < PAUSE_MS):
        return False
    if each.forgot:
        return True
    known = each.overtaken or each.held_c is not None
    return known and each.back_ms is not None and now_ms - each.back_ms >= UNHEARD_MS
