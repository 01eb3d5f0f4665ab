"""What a thinned reading says of those that gave way to it: how many there were, and between which values.

Source of truth: SPEC.md section 3.1; vectors in protocols/vectors/link/summaries.json. Pure. When and what is thinned
is the edge's affair.
"""

from dataclasses import dataclass
from typing import Any, Final

from protocols.errors import PeerProtocolError
from protocols.link.record import SEQ_MAX, TIME_MS_MAX, Record

READING_KIND: Final = "reading"
SUMMARY_KEY: Final = "thinned"
"""Where a reading's body holds its summary, if it is one."""

Value = bool | int | float | str | None
_KEYS: Final = frozenset({"count", "first", "last", "min", "max", "mean", "numbers", "from_seq", "from_ms"})


@dataclass(frozen=True, slots=True)
class Summary:
    """`count` readings of one point, the oldest at position `from_seq` and edge time `from_ms`.

    `least`, `most` and `mean` are over the `numbers` readings whose value was a number; None where none was.
    """

    count: int
    first: Value
    last: Value
    least: float | None
    most: float | None
    mean: float | None
    numbers: int
    from_seq: int
    from_ms: int

    def to_body(self) -> dict[str, Any]:
        """Return the map under `SUMMARY_KEY`."""
        return {
            "count": self.count, "first": self.first, "last": self.last, "min": self.least, "max": self.most,
            "mean": self.mean, "numbers": self.numbers, "from_seq": self.from_seq, "from_ms": self.from_ms,
        }  # fmt: skip


def summary_of(record: Record) -> Summary | None:
    """Return what `record` stands for: itself, or those that it sums up; None if it is no reading.

    Raises:
        PeerProtocolError: it claims to be a summary and is none.
    """
    body = record.body
    if record.kind != READING_KIND or "value" not in body or not isinstance(body["value"], Value):
        return None
    if SUMMARY_KEY in body:
        return _parsed(body[SUMMARY_KEY], record)
    value = body["value"]
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return Summary(1, value, value, number, number, number, int(number is not None), record.seq, record.edge_at_ms)


def joined(older: Summary, newer: Summary) -> Summary:
    """Return the summary of both; every reading in `older` came before those in `newer`."""
    numbers = older.numbers + newer.numbers
    if older.mean is None or older.least is None or older.most is None:
        least, most, mean = newer.least, newer.most, newer.mean
    elif newer.mean is None or newer.least is None or newer.most is None:
        least, most, mean = older.least, older.most, older.mean
    else:
        least, most = min(older.least, newer.least), max(older.most, newer.most)
        mean = older.mean + (newer.mean - older.mean) * (newer.numbers / numbers)
        mean = min(max(mean, least), most)  # a rounding must not carry it out
    return Summary(
        older.count + newer.count, older.first, newer.last, least, most, mean, numbers, older.from_seq, older.from_ms
    )


def _parsed(value: object, record: Record) -> Summary:
    if not isinstance(value, dict) or value.keys() != _KEYS:
        raise PeerProtocolError(f"record {record.lane}/{record.seq}: {SUMMARY_KEY} holds {sorted(_KEYS)}")
    count, numbers, from_seq, from_ms = (value[key] for key in ("count", "numbers", "from_seq", "from_ms"))
    bounds = ((count, 2, SEQ_MAX), (numbers, 0, SEQ_MAX), (from_seq, 1, record.seq), (from_ms, 0, TIME_MS_MAX))
    if any(type(each) is not int or not least <= each <= most for each, least, most in bounds) or numbers > count:
        raise PeerProtocolError(
            f"record {record.lane}/{record.seq}: {SUMMARY_KEY} counts {count}, {numbers}, {from_seq}"
        )
    stats = [value[key] for key in ("min", "mean", "max")]
    if not isinstance(value["first"], Value) or not isinstance(value["last"], Value):
        raise PeerProtocolError(f"record {record.lane}/{record.seq}: {SUMMARY_KEY}: first or last is no value")
    if numbers == 0 and stats == [None, None, None]:
        return Summary(count, value["first"], value["last"], None, None, None, 0, from_seq, from_ms)
    if numbers == 0 or not all(_is_number(each) for each in stats) or not stats[0] <= stats[1] <= stats[2]:
        raise PeerProtocolError(f"record {record.lane}/{record.seq}: {SUMMARY_KEY}: min, mean, max are {stats}")
    least, mean, most = map(float, stats)
    return Summary(count, value["first"], value["last"], least, most, mean, numbers, from_seq, from_ms)


def _is_number(value: object) -> bool:
    return type(value) is int or type(value) is float
