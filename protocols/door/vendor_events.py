"""The id of what was recorded at a door of another lock system: the same however often it is told.

Source of truth: SPEC.md 13.4; vectors in protocols/vectors/door/event_ids.json.
"""

import hashlib
from typing import Final

ID_DIGITS: Final = 32
_LABEL: Final = b"innkeeper/door/1 event\x00"


def event_id(system: str, name: str, at_ms: int | None) -> str:
    """Return what the record of an event is known by, in hexadecimal.

    Args:
        system: The house's name of the lock system; "": what the house itself ordered there.
        name: What the system calls the event, the same each time it tells it.
        at_ms: The time that it tells, unix ms; None: none.
    """
    told = "\x00".join((system, name, "" if at_ms is None else str(at_ms)))
    return hashlib.sha256(_LABEL + told.encode()).hexdigest()[:ID_DIGITS]
