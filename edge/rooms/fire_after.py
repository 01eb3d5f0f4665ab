"""What heating and fans were set to before a fire, so that a false alarm in January leaves no cold house.

Lights, curtains and plant are left as fire put them: somebody looks at those. Pure: readings in, what is to be put back
out; a value that somebody has set since is his, and is not put back.
"""

from collections.abc import Collection, Iterable
from typing import Final

from protocols.device_model.capability import Capability
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading

OFF: Final = "off"
MODES: Final = frozenset({(Capability.THERMOSTAT, "system_mode"), (Capability.FAN_CONTROL, "fan_mode")})
Mode = tuple[DeviceId, Capability, str]
Row = tuple[str, str, str, str]
"""Device, capability, attribute and the word it held, as it is stored."""


class HeldBefore:
    """The modes of the house's machines as they were, and which of them fire still owes them."""

    def __init__(self) -> None:
        self._last: dict[Mode, str] = {}
        self._owed: dict[Mode, str] = {}

    def heard(self, reading: Reading, *, burning: bool) -> bool:
        """Take any reading of the house; True if something is owed no more."""
        key = (reading.device, reading.capability, reading.attribute)
        if burning or key[1:] not in MODES or reading.quality is not Quality.GOOD or not isinstance(reading.value, str):
            return False
        self._last[key] = reading.value
        return reading.value != OFF and self._owed.pop(key, None) is not None

    def begins(self) -> None:
        """Learn that there is fire: what was on is owed, and what an earlier fire owes still is."""
        self._owed = {**{key: word for key, word in self._last.items() if word != OFF}, **self._owed}

    def owed(self) -> dict[Mode, str]:
        """Return what is to be put back."""
        return dict(self._owed)

    def put_back(self, key: Mode) -> None:
        """Learn that a device holds its word again."""
        self._owed.pop(key, None)

    def serve(self, devices: Collection[DeviceId]) -> None:
        """Forget the devices that are not among these."""
        self._last = {key: word for key, word in self._last.items() if key[0] in devices}
        self._owed = {key: word for key, word in self._owed.items() if key[0] in devices}

    def rows(self) -> tuple[Row, ...]:
        """Return what must survive a restart."""
        return tuple((device, capability.value, name, word) for (device, capability, name), word in self._owed.items())

    def restore(self, rows: Iterable[Row]) -> None:
        """Take up what the last life owed; rows of another build are left out."""
        known = {(capability.value, name): (capability, name) for capability, name in MODES}
        for device, capability, name, word in rows:
            if (mode := known.get((capability, name))) is not None:
                self._owed[DeviceId(device), *mode] = word
