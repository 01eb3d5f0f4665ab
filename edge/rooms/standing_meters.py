"""Energy counters that stand while their own power says that energy flows.

What should have been counted is the power times the time, taken at its lowest between two words. It is held against
how much flowed at most between two moves of the same counter in good health, so that a coarse counter, or one that does
not begin below its starting current, is given its time. Any counter of a circuit that moves proves the circuit: which
way a power's sign points is the installer's choice. Pure: readings and monotonic ms in.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from protocols.device_model.capability import ENDPOINT_SEPARATOR, Capability
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Reading

POWER: Final = "active_power"
COUNTERS: Final = frozenset({"cumulative_energy_imported", "cumulative_energy_exported"})
POWER_LEAST_W: Final = 10.0
POWER_LEAST_SHARE: Final = 0.01
"""Less than this, or than this share of the most it ever showed, may be noise that no counter counts."""
GAP_MOST_MS: Final = 15 * 60_000
WORDS_LEAST: Final = 6
LOADED_LEAST_MS: Final = 3_600_000
EXPECTED_LEAST_KWH: Final = 0.5
LONGER_THAN_EVER: Final = 3.0
MOVES_LEAST: Final = 5
NEVER_MOVED_KWH: Final = 10.0
NEVER_MOVED_MS: Final = 24 * 3_600_000
CIRCUITS_A_DEVICE_MOST: Final = 16
COUNTERS_A_CIRCUIT_MOST: Final = 16


@dataclass(slots=True)
class Circuit:
    """One power with the counters that count it.

    Attributes:
        counters: Where each stands, kWh.
        power_w: What it said last; None: not in this life of the edge.
        power_ms: When, monotonic.
        most_w: The most it ever said.
        expected_kwh: What should have been counted since a counter moved.
        loaded_ms: For how long of that there was power.
        words: How often the counters said the same meanwhile.
        moves: How often a counter moved.
        largest_kwh: The most that was expected between two moves.
        frozen: Whether its counters are believed to stand.
    """

    counters: dict[str, float] = field(default_factory=dict)
    power_w: float | None = None
    power_ms: int = 0
    most_w: float = 0.0
    expected_kwh: float = 0.0
    loaded_ms: int = 0
    words: int = 0
    moves: int = 0
    largest_kwh: float = 0.0
    frozen: bool = False

    def power(self, watts: float, now_ms: int) -> None:
        """Take the power."""
        before_w, passed_ms = self.power_w, min(now_ms - self.power_ms, GAP_MOST_MS)
        self.power_w, self.power_ms, self.most_w = watts, now_ms, max(self.most_w, abs(watts))
        if before_w is None or before_w * watts <= 0:
            return
        low_w = min(abs(before_w), abs(watts))
        if low_w >= max(POWER_LEAST_W, POWER_LEAST_SHARE * self.most_w):
            self.expected_kwh += low_w / 1000 * passed_ms / 3_600_000
            self.loaded_ms += passed_ms

    def counter(self, name: str, kwh: float) -> None:
        """Take where a counter stands."""
        before = self.counters.get(name)
        if before is None and len(self.counters) >= COUNTERS_A_CIRCUIT_MOST:
            return
        self.counters[name] = kwh
        if before == kwh:
            self.words += 1
            return
        if before is not None:
            self.moves += 1
            if not self.frozen:
                self.largest_kwh = max(self.largest_kwh, self.expected_kwh)
        self.expected_kwh, self.loaded_ms, self.words, self.frozen = 0.0, 0, 0, False

    def stands(self, step_kwh: float) -> bool:
        """Say whether the counters stand though energy flows.

        Args:
            step_kwh: What one step of the coarsest of them is, as its map says; 0: nobody says.
        """
        if not self.counters or self.words < WORDS_LEAST:
            return False
        if self.moves < MOVES_LEAST:
            least_kwh = max(NEVER_MOVED_KWH, LONGER_THAN_EVER * step_kwh, LONGER_THAN_EVER * self.largest_kwh)
            return self.loaded_ms >= NEVER_MOVED_MS and self.expected_kwh >= least_kwh
        least_kwh = max(EXPECTED_LEAST_KWH, LONGER_THAN_EVER * self.largest_kwh)
        return self.loaded_ms >= LOADED_LEAST_MS and self.expected_kwh >= least_kwh


class StandingMeters:
    """The electricity meters of the house.

    Args:
        kept: What was kept of the last life: by device, then by endpoint.
    """

    def __init__(self, kept: dict[str, dict[str, Circuit]]) -> None:
        self._circuits = {DeviceId(device): circuits for device, circuits in kept.items()}
        for circuits in self._circuits.values():
            for each in circuits.values():
                each.power_w = None  # what flowed while nobody listened, nobody knows

    def heard(self, reading: Reading, value: float, *, now_ms: int) -> None:
        """Take a good value of a device of the house."""
        if reading.capability is not Capability.ELECTRICAL_MEASUREMENT:
            return
        plain, _, endpoint = reading.attribute.partition(ENDPOINT_SEPARATOR)
        circuits = self._circuits.get(reading.device)
        if plain == POWER:
            circuits = self._circuits.setdefault(reading.device, {}) if circuits is None else circuits
            if endpoint in circuits or len(circuits) < CIRCUITS_A_DEVICE_MOST:
                circuits.setdefault(endpoint, Circuit()).power(value, now_ms)
        elif plain in COUNTERS and circuits is not None:
            circuit = circuits.get(endpoint) or circuits.get("")  # a tariff's counter belongs to the whole
            if circuit is not None:
                circuit.counter(reading.attribute, value)

    def forget(self, device: DeviceId) -> None:
        """Forget a device: another thing stands behind its name."""
        self._circuits.pop(device, None)

    def look(self, devices: Iterable[DeviceId], *, step_kwh: Callable[[DeviceId, str], float]) -> bool:
        """Judge all of them; True if one stands that did not.

        Args:
            devices: Every device of the house; what others said is forgotten.
            step_kwh: What one step of a counter is, as its map says; 0: nobody says.
        """
        self._circuits = {each: self._circuits[each] for each in devices if each in self._circuits}
        changed = False
        for device, circuits in self._circuits.items():
            for each in circuits.values():
                if each.frozen or each.expected_kwh < EXPECTED_LEAST_KWH:
                    continue
                if each.stands(max((step_kwh(device, name) for name in each.counters), default=0.0)):
                    each.frozen = changed = True
        return changed

    def told(self) -> dict[DeviceId, str]:
        """Return which counters stand, by device, each with what should have been counted."""
        found = {}
        for device, circuits in self._circuits.items():
            said = [
                f"{', '.join(sorted(each.counters))} stood while {each.expected_kwh:.1f} kWh flowed"
                for each in circuits.values()
                if each.frozen
            ]
            if said:
                found[device] = "; ".join(sorted(said))
        return found

    def kept(self) -> dict[str, dict[str, Circuit]]:
        """Return what must survive a restart."""
        return {str(device): circuits for device, circuits in self._circuits.items()}
