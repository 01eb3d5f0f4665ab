"""What the answers of the telemetry API look like. Times are ISO 8601 in UTC; ages in milliseconds on our clock."""

from typing import Any

import msgspec


class NewestValue(msgspec.Struct, frozen=True):
    """One attribute's newest value. `age_ms`: since it was so; `heard_ms`: since we heard. `source`: live, backlog."""

    room: str | None
    device: str
    capability: str
    attribute: str
    value: Any
    unit: str | None
    quality: str
    at: str
    age_ms: int
    heard_ms: int
    source: str


class NewestValues(msgspec.Struct, frozen=True):
    """A page of newest values; `next` asks for the one behind it."""

    as_of: str
    values: list[NewestValue]
    next: str | None


class SeriesNames(msgspec.Struct, frozen=True):
    """What points belong to."""

    id: int
    room: str | None
    device: str
    capability: str
    attribute: str
    unit: str | None


class Spread(msgspec.Struct, frozen=True):
    """Between which values `stands_for` readings were that a building made one of, from `since` to the reading's `at`.

    `least`, `most`, `mean`: null where none of them was a number.
    """

    since: str
    stands_for: int
    least: float | None
    most: float | None
    mean: float | None


class ReadingPoint(msgspec.Struct, frozen=True):
    """One reading. `clock`: whose `at` is: synchronised, drifting or uncertain (the building's), or arrival (ours).

    `spread`: of a reading that stands for others, which gave way to it while the building was cut off; else null.
    """

    series: int
    at: str
    value: Any
    quality: str
    clock: str
    spread: Spread | None = None


class BucketPoint(msgspec.Struct, frozen=True):
    """One bucket, from `at` for the length of the resolution. `flawed`: readings without a good value, left out."""

    series: int
    at: str
    samples: int
    flawed: int
    least: float | None
    most: float | None
    mean: float | None
    first: float | str | None
    last: float | str | None


class Range(msgspec.Struct, frozen=True):
    """A page of a span: `points` if the resolution is raw, else `buckets`; the other is empty.

    `resolution` is what was used; `chosen`: by us. `since`, `until`: the span as answered, whole buckets. `kept_since`:
    older points of this resolution may be gone. `unsettled_since`: buckets from here on may still change.
    """

    as_of: str
    since: str
    until: str
    resolution: str
    chosen: bool
    kept_since: str | None
    unsettled_since: str | None
    series: list[SeriesNames]
    points: list[ReadingPoint]
    buckets: list[BucketPoint]
    next: str | None


class Amount(msgspec.Struct, frozen=True):
    """What readings amount to, of one series or of several of the same capability, attribute and unit.

    `mean`: each reading counts once, however long it stood. `first`, `last`: of a single series alone.
    """

    room: str | None
    device: str | None
    capability: str
    attribute: str
    unit: str | None
    series: int
    samples: int
    flawed: int
    least: float | None
    most: float | None
    mean: float | None
    first: float | str | None = None
    last: float | str | None = None


class Amounts(msgspec.Struct, frozen=True):
    """Aggregates of a span; see Range."""

    as_of: str
    since: str
    until: str
    resolution: str
    by: str
    kept_since: str | None
    unsettled_since: str | None
    amounts: list[Amount]
