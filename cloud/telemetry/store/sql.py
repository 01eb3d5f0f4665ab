# ruff: noqa: S608 - put together from the words of this module alone; every value is a parameter
"""The arithmetic of roll-ups in SQL: partial rows from readings, partial rows combined. The same for every engine.

A partial row says what some samples of one series amount to: how many, least, most, total, and the first and the last
by (at, ordinal, seq). Partial rows combine in any order and grouping to the same partial row, which is why late data,
coarser roll-ups and questions about spans are one statement.
"""

from typing import Final, LiteralString

from cloud.telemetry.store.port import Resolution

STEP: Final[dict[Resolution, LiteralString]] = {
    Resolution.MINUTE: "INTERVAL '1 minute'",
    Resolution.QUARTER: "INTERVAL '15 minutes'",
    Resolution.DAY: "INTERVAL '1 day'",
}
NAME: Final[dict[Resolution, LiteralString]] = {
    Resolution.MINUTE: "1m",
    Resolution.QUARTER: "15m",
    Resolution.DAY: "1d",
}
TABLE: Final[dict[Resolution, LiteralString]] = {
    Resolution.RAW: "telemetry.reading",
    Resolution.MINUTE: "telemetry.rollup_1m",
    Resolution.QUARTER: "telemetry.rollup_15m",
    Resolution.DAY: "telemetry.rollup_1d",
}
FINER: Final[dict[Resolution, Resolution]] = {
    Resolution.MINUTE: Resolution.RAW,
    Resolution.QUARTER: Resolution.MINUTE,
    Resolution.DAY: Resolution.QUARTER,
}
COARSER: Final[dict[Resolution, Resolution]] = {fine: coarse for coarse, fine in FINER.items()}
ROLLUPS: Final = (Resolution.MINUTE, Resolution.QUARTER, Resolution.DAY)

COLUMNS: Final[LiteralString] = (
    "bucket, series, samples, flawed, numbers, least, most, total, first_at, first_ordinal, first_seq, first,"
    " first_text, last_at, last_ordinal, last_seq, last, last_text"
)

ORIGIN: Final[LiteralString] = "TIMESTAMPTZ '2000-01-01 00:00:00+00'"

_CONFLICT: Final[LiteralString] = " ON CONFLICT (series, bucket) DO UPDATE SET"
_SUMS: Final[LiteralString] = """
       sum(samples)::bigint, sum(flawed)::bigint, sum(numbers)::bigint, min(least), max(most), sum(total),
       max(first_at) FILTER (WHERE forth = 1), max(first_ordinal) FILTER (WHERE forth = 1),
       max(first_seq) FILTER (WHERE forth = 1), max(first) FILTER (WHERE forth = 1),
       max(first_text) FILTER (WHERE forth = 1),
       max(last_at) FILTER (WHERE back = 1), max(last_ordinal) FILTER (WHERE back = 1),
       max(last_seq) FILTER (WHERE back = 1), max(last) FILTER (WHERE back = 1),
       max(last_text) FILTER (WHERE back = 1)
"""


def partial_of_readings(source: LiteralString, *, thinned: bool = True) -> LiteralString:
    """Return a SELECT of one partial row a reading of `source` (a FROM item with `telemetry.reading`'s columns).

    Values of quality good (0) and uncertain (1) are samples; all others are flawed. A bool counts as 0 or 1.

    Args:
        thinned: whether a thinned reading counts as what it stands for; False: as itself alone.
    """
    if not thinned:
        source = (
            "(SELECT at, series, number, flag, text, quality, ordinal, seq, NULL::timestamptz AS since,"
            " NULL::bigint AS samples, NULL::bigint AS numbers, NULL::float8 AS least, NULL::float8 AS most,"
            " NULL::float8 AS total, NULL::float8 AS first, NULL::text AS first_text FROM " + source + ") AS alone"
        )
    return (
        "SELECT at AS bucket, series, CASE WHEN quality < 2 THEN coalesce(samples, 1) ELSE 0 END AS samples,"
        " CASE WHEN quality < 2 THEN 0 ELSE coalesce(samples, 1) END AS flawed,"
        " CASE WHEN quality < 2 THEN coalesce(numbers, (value IS NOT NULL)::int) ELSE 0 END AS numbers,"
        " CASE WHEN quality < 2 THEN coalesce(least, value) END AS least,"
        " CASE WHEN quality < 2 THEN coalesce(most, value) END AS most,"
        " CASE WHEN quality < 2 THEN coalesce(total, value, 0) ELSE 0 END AS total,"
        " CASE WHEN quality < 2 THEN coalesce(since, at) END AS first_at,"
        " CASE WHEN quality < 2 THEN ordinal END AS first_ordinal, CASE WHEN quality < 2 THEN seq END AS first_seq,"
        " CASE WHEN quality < 2 THEN CASE WHEN since IS NULL THEN value ELSE first END END AS first,"
        " CASE WHEN quality < 2 THEN CASE WHEN since IS NULL THEN text ELSE first_text END END AS first_text,"
        " CASE WHEN quality < 2 THEN at END AS last_at, CASE WHEN quality < 2 THEN ordinal END AS last_ordinal,"
        " CASE WHEN quality < 2 THEN seq END AS last_seq, CASE WHEN quality < 2 THEN value END AS last,"
        " CASE WHEN quality < 2 THEN text END AS last_text"
        " FROM (SELECT *, coalesce(number, flag::int) AS value FROM " + source + ") AS valued"
    )


def rest_of_thinned(source: LiteralString) -> LiteralString:
    """Return a SELECT of one partial row a thinned reading of `source`: what it adds to itself alone."""
    return (
        "SELECT at AS bucket, series, CASE WHEN quality < 2 THEN samples - 1 ELSE 0 END AS samples,"
        " CASE WHEN quality < 2 THEN 0 ELSE samples - 1 END AS flawed,"
        " CASE WHEN quality < 2 THEN numbers - (value IS NOT NULL)::int ELSE 0 END AS numbers,"
        " CASE WHEN quality < 2 THEN least END AS least, CASE WHEN quality < 2 THEN most END AS most,"
        " CASE WHEN quality < 2 THEN total - coalesce(value, 0) ELSE 0 END AS total,"
        " CASE WHEN quality < 2 THEN since END AS first_at, CASE WHEN quality < 2 THEN ordinal END AS first_ordinal,"
        " CASE WHEN quality < 2 THEN seq END AS first_seq, CASE WHEN quality < 2 THEN first END AS first,"
        " CASE WHEN quality < 2 THEN first_text END AS first_text,"
        " NULL::timestamptz AS last_at, NULL::bigint AS last_ordinal, NULL::bigint AS last_seq, NULL::float8 AS last,"
        " NULL::text AS last_text FROM (SELECT *, coalesce(number, flag::int) AS value FROM " + source + ") AS valued"
    )


def combined(source: LiteralString, step: LiteralString) -> LiteralString:
    """Return a SELECT of COLUMNS: the partial rows of `source` (a SELECT of them), one row a series and `step`."""
    into = "date_bin(" + step + ", bucket, " + ORIGIN + ")"
    return (
        "SELECT binned, series," + _SUMS + "FROM (SELECT *,"
        " row_number() OVER (PARTITION BY series, binned ORDER BY first_at NULLS LAST, first_ordinal, first_seq)"
        " AS forth,"
        " row_number() OVER (PARTITION BY series, binned ORDER BY last_at DESC NULLS LAST, last_ordinal DESC,"
        " last_seq DESC) AS back"
        " FROM (SELECT *, " + into + " AS binned FROM (" + source + ") AS partial) AS binned_partial) AS ranked"
        " GROUP BY binned, series"
    )


def combined_whole(source: LiteralString) -> LiteralString:
    """Return a SELECT of one row a series: all partial rows of `source` combined; bucket is the newest of them."""
    return (
        "SELECT max(bucket) AS bucket, series," + _SUMS + "FROM (SELECT *,"
        " row_number() OVER (PARTITION BY series ORDER BY first_at NULLS LAST, first_ordinal, first_seq) AS forth,"
        " row_number() OVER (PARTITION BY series ORDER BY last_at DESC NULLS LAST, last_ordinal DESC,"
        " last_seq DESC) AS back"
        " FROM (" + source + ") AS partial) AS ranked GROUP BY series"
    )


def replace(target: LiteralString, source: LiteralString) -> LiteralString:
    """Return the statement that puts rows of `source` (a SELECT of COLUMNS) in the place of those of `target`."""
    return (
        "INSERT INTO "
        + target
        + " AS known ("
        + COLUMNS
        + ") "
        + source
        + " ON CONFLICT (series, bucket) DO UPDATE SET"
        " samples = excluded.samples, flawed = excluded.flawed, numbers = excluded.numbers, least = excluded.least,"
        " most = excluded.most, total = excluded.total, first_at = excluded.first_at,"
        " first_ordinal = excluded.first_ordinal, first_seq = excluded.first_seq, first = excluded.first,"
        " first_text = excluded.first_text, last_at = excluded.last_at, last_ordinal = excluded.last_ordinal,"
        " last_seq = excluded.last_seq, last = excluded.last, last_text = excluded.last_text"
    )


def add(target: LiteralString, source: LiteralString) -> LiteralString:
    """Return the statement that adds rows of `source` to those of `target`: each row exactly once, by the caller."""
    earlier: LiteralString = (
        "(known.first_at IS NULL OR (excluded.first_at, excluded.first_ordinal, excluded.first_seq)"
        " < (known.first_at, known.first_ordinal, known.first_seq))"
    )
    later: LiteralString = (
        "(known.last_at IS NULL OR (excluded.last_at, excluded.last_ordinal, excluded.last_seq)"
        " > (known.last_at, known.last_ordinal, known.last_seq))"
    )
    statement: LiteralString = (
        "INSERT INTO "
        + target
        + " AS known ("
        + COLUMNS
        + ") "
        + source
        + " ON CONFLICT (series, bucket) DO UPDATE SET"
        " samples = known.samples + excluded.samples, flawed = known.flawed + excluded.flawed,"
        " numbers = known.numbers + excluded.numbers, least = least(known.least, excluded.least),"
        " most = greatest(known.most, excluded.most), total = known.total + excluded.total"
    )
    for name in ("first_at", "first_ordinal", "first_seq", "first", "first_text"):
        statement += ", " + name + " = CASE WHEN " + earlier + " THEN excluded." + name + " ELSE known." + name + " END"
    for name in ("last_at", "last_ordinal", "last_seq", "last", "last_text"):
        statement += ", " + name + " = CASE WHEN " + later + " THEN excluded." + name + " ELSE known." + name + " END"
    return statement
