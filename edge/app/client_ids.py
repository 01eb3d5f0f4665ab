"""The names under which the edge's connections are known at a broker: each its own, however long the names are.

A broker ends the older of two connections of one name, and both come back for ever. So a name that does not fit is not
cut, but ends in a sum over the whole of it; and a bus that is called as one of our own parts is told from it.
"""

import hashlib
from typing import Final

CHARACTERS_MAX: Final = 40
"""What kit/mqtt.py lets a client id have."""
SUM_CHARACTERS: Final = 12
HOME_ASSISTANT: Final = "ha"
SPARKPLUG: Final = "sparkplug"
JSON: Final = "json"
_OURS: Final = frozenset({HOME_ASSISTANT, SPARKPLUG, JSON})


def of_part(edge: str, part: str) -> str:
    """Return the client id of one of the edge's own parts."""
    whole = f"{edge}-{part}"
    if len(whole) <= CHARACTERS_MAX:
        return whole
    told_by = hashlib.sha256(whole.encode()).hexdigest()[:SUM_CHARACTERS]
    return f"{whole[: CHARACTERS_MAX - SUM_CHARACTERS - 1]}-{told_by}"


def of_bus(edge: str, bus: str) -> str:
    """Return the client id of a bus of the site plan."""
    return of_part(edge, f"bus-{bus}" if bus in _OURS else bus)
