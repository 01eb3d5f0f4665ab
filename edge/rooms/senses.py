"""What a room's devices tell of people and warmth: who is in, what is open, what was asked for.

One `Sense` a room, fed by readings; rooms/engine.py asks it and decides. Pure: readings and times come in.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from edge.rooms.occupancy import Belief, Evidence, believe, fused
from edge.rooms.recovery import Recovery
from protocols.device_model.capability import Capability
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading

CONTACT: Final = (Capability.BOOLEAN_STATE, "state_value")
WINDOW: Final = (Capability.BOOLEAN_STATE, "state_value:window")
LEAK: Final = (Capability.BOOLEAN_STATE, "state_value:leak")
MOTION: Final = (Capability.OCCUPANCY_SENSING, "occupancy")
DO_NOT_DISTURB: Final = (Capability.ROOM_REQUEST, "do_not_disturb")
MAKE_UP: Final = (Capability.ROOM_REQUEST, "make_up_room")
TEMPERATURES: Final = (
    (Capability.THERMOSTAT, "local_temperature"),
    (Capability.TEMPERATURE_MEASUREMENT, "measured_value"),
)
SETPOINT: Final = (Capability.THERMOSTAT, "occupied_heating_setpoint")
OUTDOOR: Final = (Capability.THERMOSTAT, "outdoor_temperature")
FELT: Final = frozenset((CONTACT, WINDOW, MOTION, DO_NOT_DISTURB, MAKE_UP, *TEMPERATURES, SETPOINT))
"""What `Sense.heard` makes anything of."""
_TOLD: Final = frozenset((CONTACT, MOTION, DO_NOT_DISTURB, MAKE_UP))
Key = tuple[Capability, str]
WARMTH_FRESH_MS: Final = 2 * 3_600_000  # a thermometer that has nothing new to say says so every hour at the latest
OURS_MS: Final = 60_000  # a setpoint that differs this soon after one of our writes may have been read before it


@dataclass(slots=True)
class Sense:
    """One room. Times are monotonic ms."""

    evidence: Evidence = field(default_factory=Evidence)
    recovery: Recovery = field(default_factory=Recovery)
    open_windows: set[DeviceId] = field(default_factory=set)
    unheard_windows: set[DeviceId] = field(default_factory=set)  # open when the last life of the edge ended
    window_since_ms: int | None = None
    do_not_disturb: bool = False
    make_up_room: bool = False
    disturbed_ms: int | None = None  # when staff last came in against a wish not to be disturbed
    celsius: float | None = None  # the last heard, however old: ask `warmth`
    celsius_of: DeviceId | None = None
    celsius_ms: int | None = None
    setpoint_c: float | None = None
    written_c: dict[DeviceId, float] = field(default_factory=dict)  # what the room itself last had its controllers hold
    written_ms: int | None = None
    dial_c: float | None = None  # a setpoint that nobody but the guest can have chosen, until it is taken
    taken_c: float | None = None
    setpoint_of: DeviceId | None = None
    warming_of: DeviceId | None = None  # whose warm-up is under way: two thermometers of a room are degrees apart
    tellers: dict[Key, DeviceId] = field(default_factory=dict)  # who last told of door, people and wishes in this life

    def heard(self, reading: Reading, *, window: bool, now_ms: int, forgot: bool = False) -> bool:
        """Take one good reading of the room; True if the room should think about it at once.

        Args:
            reading: Of a device of this room.
            window: Whether the device's contact is on a window.
            now_ms: Monotonic ms.
            forgot: Whether a setpoint is what a controller restarted with (returns.py): no hand chose it.
        """
        key, value = (reading.capability, reading.attribute), reading.value
        if reading.quality is Quality.STALE and key in TEMPERATURES:
            self.lost(reading.device)
        if reading.quality is not Quality.GOOD:
            return False
        if isinstance(value, bool):
            return self._told(key, value, device=reading.device, window=window, now_ms=now_ms)
        if isinstance(value, int | float):
            return self._measured(key, float(value), device=reading.device, now_ms=now_ms, forgot=forgot)
        return False

    def warmth(self, *, now_ms: int) -> float | None:
        """Return the room's temperature, degrees Celsius; None if no thermometer has spoken for two hours."""
        heard_ms = self.celsius_ms
        return None if heard_ms is None or now_ms - heard_ms > WARMTH_FRESH_MS else self.celsius

    def lost(self, device: DeviceId) -> None:
        """Learn that a device is heard no more: what it said of the room's warmth is no longer so."""
        if device == self.celsius_of:
            self.celsius = self.celsius_of = self.celsius_ms = None
        if device == self.warming_of:
            self.recovery, self.warming_of = self.recovery.restarted(), None

    def wrote(self, device: DeviceId, celsius: float, *, now_ms: int) -> None:
        """Learn that the room had a controller hold a setpoint: finding it there is no wish of the guest's."""
        self.written_c[device], self.written_ms, self.dial_c, self.taken_c = celsius, now_ms, None, None

    def forget(self, device: DeviceId) -> None:
        """Forget what a device that is no longer of this room holds up: an open window or door, a wish, a setpoint."""
        self._window(device, shut=True, now_ms=None)
        self.written_c.pop(device, None)
        self._measures_no_more(device)
        for key in self._told_by(device):
            self._no_teller(key)

    def renewed(self, device: DeviceId, has: Collection[Key]) -> None:
        """Learn that another thing stands behind a device's name: what the last one said holds, and proves nothing.

        Args:
            device: Of this room.
            has: What the new one tells of; empty: nobody knows.
        """
        self._measures_no_more(device)
        if has and not {CONTACT, WINDOW} & set(has):
            self._window(device, shut=True, now_ms=None)
        elif device in self.open_windows:
            self.open_windows.discard(device)
            self.unheard_windows.add(device)
        for key in self._told_by(device):
            if has and key not in has:
                self._no_teller(key)
            elif key == CONTACT:
                self.evidence = self.evidence.another_contact()
            elif key == MOTION:
                self.evidence = self.evidence.another_sensor()

    def _told_by(self, device: DeviceId) -> list[Key]:
        return [key for key, teller in self.tellers.items() if teller == device]

    def _no_teller(self, key: Key) -> None:
        """Whoever told of it is not there any more, and nobody can take it back."""
        del self.tellers[key]
        if key == CONTACT:
            self.evidence = self.evidence.no_contact()
        elif key == MOTION:
            self.evidence = self.evidence.another_sensor()
        elif key == DO_NOT_DISTURB:
            self.do_not_disturb = False
        elif key == MAKE_UP:
            self.make_up_room = False

    def _measures_no_more(self, device: DeviceId) -> None:
        self.lost(device)
        if device == self.setpoint_of:
            self.setpoint_c = self.setpoint_of = None
            self.recovery, self.warming_of = self.recovery.restarted(), None

    def window_open(self, *, now_ms: int, after_ms: int) -> bool | None:
        """Say whether a window has been open for `after_ms`; None: those that were open have not spoken since."""
        if self.open_windows and self.window_since_ms is not None:
            return now_ms - self.window_since_ms >= after_ms
        return None if self.unheard_windows else False

    def belief(self, *, now_ms: int, rented: bool) -> Belief:
        """Return whether somebody is believed to be inside, by sensors and PMS."""
        return fused(believe(self.evidence, now_ms=now_ms), rented=rented)

    def take_dial(self) -> float | None:
        """Return a setpoint chosen by hand since the last call, or None."""
        chosen, self.dial_c = self.dial_c, None
        if chosen is not None:
            self.taken_c = chosen
        return chosen

    def _told(
        self, key: tuple[Capability, str], value: bool, *, device: DeviceId, window: bool, now_ms: int
    ) -> bool:  # fmt: skip
        if key == WINDOW or (window and key == CONTACT):
            self._window(device, shut=value, now_ms=now_ms)
            return True
        if key in _TOLD:
            self.tellers[key] = device
        if key == CONTACT:
            self.evidence = self.evidence.door(closed=value, now_ms=now_ms)
        elif key == MOTION:
            self.evidence = self.evidence.moved(motion=value, now_ms=now_ms)
            return value
        elif key == DO_NOT_DISTURB:
            return self._asked("do_not_disturb", value)
        elif key == MAKE_UP:
            return self._asked("make_up_room", value)
        return False

    def _window(self, device: DeviceId, *, shut: bool, now_ms: int | None) -> None:
        self.unheard_windows.discard(device)
        (self.open_windows.discard if shut else self.open_windows.add)(device)
        if not self.open_windows and not self.unheard_windows:
            self.window_since_ms = None
        elif self.window_since_ms is None:
            self.window_since_ms = now_ms

    def _asked(self, what: str, value: bool) -> bool:
        if getattr(self, what) == value:
            return False
        setattr(self, what, value)
        if value:
            self.evidence = self.evidence.touched()
        return True

    def _measured(
        self, key: tuple[Capability, str], value: float, *, device: DeviceId, now_ms: int, forgot: bool
    ) -> bool:  # fmt: skip
        if key in TEMPERATURES:
            self.celsius, self.celsius_of, self.celsius_ms = value, device, now_ms
            if self.warming_of in {None, device}:
                disturbed = bool(self.open_windows or self.unheard_windows)
                self.recovery = self.recovery.felt(
                    value, setpoint_c=self.setpoint_c, disturbed=disturbed, now_ms=now_ms
                )  # fmt: skip
                self.warming_of = None if self.recovery.began_ms is None else device
        elif key == SETPOINT:
            self.setpoint_c, self.setpoint_of = value, device
            ours = self.written_c.get(device)
            settled = self.written_ms is not None and now_ms - self.written_ms >= OURS_MS
            if ours is not None and value not in (ours, self.taken_c) and settled and not forgot:
                self.dial_c = value
                return True
        return False
