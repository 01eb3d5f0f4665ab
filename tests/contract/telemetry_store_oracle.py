"""A naive time series in memory: what every telemetry store must say, computed anew from all readings each time."""

from collections.abc import Iterable, Sequence

from cloud.telemetry.store.port import Aggregate, Bucket, ReadingRow, Resolution

Name = tuple[str, str | None]
"""A series as these tests name it: device and room."""


def name_of(row: ReadingRow) -> Name:
    return row.device, row.room


def _number(row: ReadingRow) -> float | None:
    return None if row.value is None or isinstance(row.value, str) else float(row.value)


def _amount(rows: Sequence[ReadingRow]) -> tuple[object, ...]:
    rows = sorted(rows, key=lambda row: (row.at_ms, row.ordinal, row.seq))
    good = [row for row in rows if row.quality in ("good", "uncertain")]
    numbers = [number for row in good if (number := _number(row)) is not None]
    first, last = (good[0], good[-1]) if good else (None, None)
    return (
        len(good),
        len(rows) - len(good),
        len(numbers),
        min(numbers, default=None),
        max(numbers, default=None),
        sum(numbers),
        None if first is None else _number(first),
        None if last is None else _number(last),
        first.value if first is not None and isinstance(first.value, str) else None,
        last.value if last is not None and isinstance(last.value, str) else None,
    )


def buckets(rows: Iterable[ReadingRow], resolution: Resolution) -> dict[tuple[Name, int], tuple[object, ...]]:
    """Return what each bucket amounts to, by series and start."""
    step_ms = resolution.step_ms
    parts: dict[tuple[Name, int], list[ReadingRow]] = {}
    for row in rows:
        parts.setdefault((name_of(row), row.at_ms // step_ms * step_ms), []).append(row)
    return {key: _amount(each) for key, each in parts.items()}


def whole(rows: Iterable[ReadingRow]) -> dict[Name, tuple[object, ...]]:
    """Return what all readings of each series amount to."""
    parts: dict[Name, list[ReadingRow]] = {}
    for row in rows:
        parts.setdefault(name_of(row), []).append(row)
    return {key: _amount(each) for key, each in parts.items()}


def told(bucket: Bucket | Aggregate) -> tuple[object, ...]:
    """Return a store's row in the oracle's words."""
    return (
        bucket.samples, bucket.flawed, bucket.numbers, bucket.least, bucket.most, bucket.total, bucket.first,
        bucket.last, bucket.first_text, bucket.last_text,
    )  # fmt: skip
