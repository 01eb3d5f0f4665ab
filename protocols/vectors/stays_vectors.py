"""Vectors of protocols/stays: documents that an edge takes whole, in each format, and those it refuses whole."""

from typing import Any, Final

AT_MS: Final = 1_795_000_000_000
HOUR_MS: Final = 3_600_000
STAY: Final[dict[str, Any]] = {
    "id": "s-anna",
    "room": "101",
    "state": "ready",
    "guest_name": "Anna Muster",
    "expected_from_ms": AT_MS,
    "expected_until_ms": AT_MS + 24 * HOUR_MS,
    "reservation": "R-1",
    "version": 3,
}


def files() -> dict[str, dict[str, Any]]:
    """Return the vector files by their path under protocols/vectors."""
    beside = {**STAY, "id": "s-ben", "guest_name": None, "reservation": None}
    taken = {
        "format 1": _document(1, STAY),
        "format 1, nobody": _document(1),
        "format 1, no room yet": _document(1, {**STAY, "room": None}),
        "format 2, nobody shares": _document(2, STAY, beside | {"room": "102"}),
        "format 2, two share": _document(2, STAY | {"share": "family"}, beside | {"share": "family"}),
        "format 2, share of 80 characters": _document(2, STAY | {"share": "x" * 80}),
        "format 3, no word of the building": _document(3, STAY | {"share": "family"}),
        "format 3, the building's first word": _document(3, STAY | {"until_n": 1}),
        "format 3, the greatest word": _document(3, STAY | {"until_n": 2**53 - 1}),
    }
    refused = {
        "format 0": _document(0, STAY),
        "format 4": _document(4, STAY | {"share": "family"}),
        "format as text": _document(1, STAY) | {"v": "1"},
        "share in format 1": _document(1, STAY | {"share": "family"}),
        "share null in format 1": _document(1, STAY | {"share": None}),
        "share empty": _document(2, STAY | {"share": ""}),
        "share of 81 characters": _document(2, STAY | {"share": "x" * 81}),
        "share is a number": _document(2, STAY | {"share": 7}),
        "share null": _document(2, STAY | {"share": None}),
        "until_n in format 2": _document(2, STAY | {"until_n": 1}),
        "until_n 0": _document(3, STAY | {"until_n": 0}),
        "until_n of 2^53": _document(3, STAY | {"until_n": 2**53}),
        "until_n null": _document(3, STAY | {"until_n": None}),
        "until_n as text": _document(3, STAY | {"until_n": "1"}),
        "unknown key of a stay": _document(2, STAY | {"beds": 2}),
        "unknown key": _document(2, STAY) | {"beds": 2},
        "a stay twice": _document(2, STAY | {"share": "family"}, STAY | {"share": "family"}),
        "ends as it begins": _document(1, STAY | {"expected_until_ms": AT_MS}),
        "another property": _document(1, STAY) | {"property": "borealis"},
    }
    return {
        "stays/documents.json": {
            "property": "aurora",
            "taken": [{"name": name, "body": body} for name, body in taken.items()],
            "refused": [{"name": name, "body": body} for name, body in refused.items()],
        }
    }


def _document(version: int, *stays: dict[str, Any]) -> dict[str, Any]:
    return {"v": version, "property": "aurora", "as_of_ms": AT_MS, "stays": list(stays)}
