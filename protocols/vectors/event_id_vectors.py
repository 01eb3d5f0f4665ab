"""Vectors of the ids of records at doors of other lock systems (protocols/door/SPEC.md 13.4)."""

from typing import Any, Final

from protocols.door.vendor_events import event_id
from protocols.vectors.fixed import AT_S

_AT_MS: Final = AT_S * 1_000
_TOLD: Final[tuple[tuple[str, str, str, int | None], ...]] = (
    ("a vendor's number", "tower", "17", _AT_MS),
    ("the same number of another system", "annex", "17", _AT_MS),
    ("a number that begins anew", "tower", "17", _AT_MS + 1),
    ("no time told", "tower", "17", None),
    ("at the beginning of time", "tower", "17", 0),
    ("before it", "tower", "17", -1),
    ("an id that is no number", "villa", "b7c1f0d2-9a1e-4a47-8c7b-3a5f6e0d1c2b", _AT_MS),
    ("an id beyond ASCII", "villa", "Tür öffnen 1", _AT_MS),
    ("an id that ends as another's time begins", "tower", "17\x001", None),
    ("and that other", "tower", "17", 1),
    ("the house's own: a lockout ordered at another maker's door", "", "lockout_ordered/annex-a1", _AT_MS),
    ("our own: an opening from afar", "annex", "remote/ik-0123456789abcdef01234567/" + "0a" * 16 + "/asked", _AT_MS),
)


def event_ids() -> dict[str, Any]:
    """Return each event with its id."""
    return {
        "about": "Ids of access records at doors of other lock systems (protocols/door/SPEC.md 13.4).",
        "events": [
            {"about": about, "system": system, "name": name, "at_ms": at_ms, "event_id": event_id(system, name, at_ms)}
            for about, system, name, at_ms in _TOLD
        ],
    }


def files() -> dict[str, dict[str, Any]]:
    """Return the file, by its name."""
    return {"door/event_ids.json": event_ids()}
