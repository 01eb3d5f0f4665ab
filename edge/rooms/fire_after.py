"""What heating and fans were set to before a fire, so that a false alarm in January leaves no cold house.

Lights, curtains and plant are left as fire put them: somebody looks at those. Pure: readings in, what is to be put back
out; a value that somebody has set since is his, and is not put back.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Final

from edge.rooms.fire_acts import FAN, MODE, OFF
from protocols.device_model.capability import ENDPOINT_SEPARATOR, Capability
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading

MODES: Final = frozenset({MODE, FAN})
"""A device may have one of them more than once, as `<attribute>:<endpoint>`."""
Mode = tuple[DeviceId, Capability, str]
Row = tuple[str, str, str, str]
"""Device, capability, attribute and the word it held, as it is stored."""


class HeldBefore:
    """The modes of the house's machines as they were, and which of them fire still owes them.

    Args:
        word: What fire asks of a mode: "off", or the least that there is; nobody else is believed to have set that.
    """

    def __init__(self, word: Callable[[Mode], str] = lambda _: OFF) -> None:
        self._word = word
        self._last: dict[Mode, str] = {}
        self._owed: dict[Mode, str] = {}
        self._taken: set[Mode] = set()

    def heard(self, reading: Reading, *, burning: bool) -> bool:
        """Take any reading of the house; True if something else is owed now.

        While it burns only the first word of a device that had said none before counts: it came, or came back, with it.
        """
        key = (reading.device, reading.capability, reading.attribute)
        if not _is_mode(*key[1:]) or reading.quality is not Quality.GOOD or not isinstance(reading.value, str):
            return False
        if burning:
            if key in self._last or key in self._owed:
                return False
            self._last[key] = reading.value
            return key in self._taken and self._owes(key)
        self._last[key] = reading.value
        return key in self._owed and reading.value != self._word(key) and self._owed.pop(key) is not None

    def takes(self, key: Mode) -> bool:
        """Learn that fire writes there from now on; True if that is owed now. What an earlier fire owes still is."""
        if not _is_mode(*key[1:]):
            return False
        self._taken.add(key)
        return key not in self._owed and self._owes(key)

    def over(self) -> None:
        """Learn that it burns no more."""
        self._taken.clear()

    def _owes(self, key: Mode) -> bool:
        last = self._last.get(key)
        if last is None or last in (OFF, self._word(key)):
            return False
        self._owed[key] = last
        return True

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
        known = {(capability.value, name): capability for capability, name in MODES}
        for device, capability, name, word in rows:
            if (whose := known.get((capability, name.partition(ENDPOINT_SEPARATOR)[0]))) is not None:
                self._owed[DeviceId(device), whose, name] = word


def _is_mode(capability: Capability, attribute: str) -> bool:
    return (capability, attribute.partition(ENDPOINT_SEPARATOR)[0]) in MODES
