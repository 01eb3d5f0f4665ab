"""Recorded announcements: what a device announces, what it says then, and what the house makes of both.

A recording is JSON: {"source", "on", "topics", "announced", "said", "asked", "not_mapped"}. `topics` are the filters in
which it speaks; `announced` pairs of topic and configuration; `said` triples of topic, message and the values that come
of it by `<capability>.<attribute>` (null: none that is good); `asked` a value of an attribute, and the topic and
message that ask for it; `not_mapped` beginnings of what is told as not taken. `source` says whose words these are.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from protocols.device_model.capability import Value
from protocols.errors import InvalidInputError

FOLDER: Final = Path(__file__).parent / "announcements"
_KEYS: Final = frozenset({"source", "on", "topics", "announced", "said", "asked", "not_mapped"})


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recording; messages are as they came."""

    name: str
    source: str
    topics: tuple[str, ...]
    announced: tuple[tuple[str, bytes], ...]
    said: tuple[tuple[str, bytes, dict[str, Value | None]], ...]
    asked: tuple[tuple[str, Value, str, bytes], ...]
    not_mapped: tuple[str, ...]


def files() -> list[Path]:
    """List the recordings of this release."""
    return sorted(FOLDER.glob("*.json"))


def load(path: Path) -> Recorded:
    """Read a recording. Raises InvalidInputError: it is none."""
    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict) or set(document) != _KEYS:
            raise InvalidInputError(str(path), f"holds other keys than {', '.join(sorted(_KEYS))}")
        return Recorded(
            name=path.stem,
            source=str(document["source"]),
            topics=tuple(document["topics"]),
            announced=tuple((topic, _bytes(config)) for topic, config in document["announced"]),
            said=tuple((topic, _bytes(message), values) for topic, message, values in document["said"]),
            asked=tuple((name, value, topic, _bytes(message)) for name, value, topic, message in document["asked"]),
            not_mapped=tuple(document["not_mapped"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(str(path), f"is no recording: {error!r}") from error


def _bytes(message: Any) -> bytes:  # noqa: ANN401 - any JSON
    return (message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)).encode()
