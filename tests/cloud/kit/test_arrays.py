"""Arrays in PostgreSQL's binary form: what the server makes of them is what was put in."""

import struct
from collections.abc import Callable, Sequence
from typing import Any, LiteralString

import psycopg
import pytest

from cloud.kit.arrays import BinaryArray, bigints, byteas, texts, timestamptzs
from cloud.kit.database import Database, fetch_one
from cloud.kit.times import at

pytestmark = pytest.mark.tier("postgres")

CASES: list[tuple[Callable[[Any], BinaryArray], LiteralString, Sequence[Any]]] = [
    (
        texts,
        "text[]",
        ["", "plain", 'with "quotes", {braces}, \\, commas', "NULL", "°C 部屋 🔑", None, "plain", "", None],
    ),
    (texts, "text[]", [None, None]),
    (byteas, "bytea[]", [b"", b"\x00\xff\xff\xff\xff", b"\\x41", None, bytes(range(256))]),
    (bigints, "bigint[]", [0, -1, 2**63 - 1, -(2**63), None, 1]),
]


@pytest.mark.parametrize(("make", "kind", "values"), [*CASES, *((make, kind, []) for make, kind, _ in CASES)])
async def test_a_column_arrives_as_it_was_given(
    database: Database, make: Callable[[Any], BinaryArray], kind: LiteralString, values: Sequence[Any]
) -> None:
    async with database.transaction() as connection:
        row = await fetch_one(
            connection,
            """SELECT new AS back, pg_typeof(new)::text AS kind, array_length(new, 1) AS length,
                      new::text = old::text AS same FROM (SELECT %s AS new, %s AS old) AS told""",
            [make(values), list(values)],
        )
    assert row is not None
    assert [bytes(each) if isinstance(each, memoryview) else each for each in row["back"]] == list(values)
    assert (row["kind"], row["same"], row["length"]) == (kind, True, len(values) or None)


async def test_times_are_unix_milliseconds(database: Database) -> None:
    told = [0, 946_684_800_000, 1_795_000_000_123, None, 253_402_300_799_999]
    async with database.transaction() as connection:
        row = await fetch_one(connection, "SELECT %s AS back", [timestamptzs(told)])
    assert row is not None
    assert row["back"] == [None if each is None else at(each) for each in told]


async def test_what_a_column_cannot_hold_is_an_error_of_data(database: Database) -> None:
    async def told(array: BinaryArray) -> None:
        async with database.transaction() as connection:
            await fetch_one(connection, "SELECT %s AS back", [array])

    with pytest.raises(psycopg.DataError):
        await told(texts(["a\x00b"]))
    with pytest.raises(psycopg.DataError):
        await told(timestamptzs([2**52]))
    with pytest.raises(struct.error):
        bigints([2**63])
