"""The hints of one connection: kept until what they name was read again, put off where that failed.

A hint heard twice is one row that counts; a hint heard again while it was being settled stays. `EVERYTHING` says that
hints were lost and nobody knows of whom: everything near now is compared, and that hint is never given up.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from cloud.kit.database import Connection, Database, execute
from cloud.kit.times import at
from cloud.pms.port import Hint
from protocols.errors import PeerProtocolError, PlatformError

HINT_CHANNEL: Final = "innkeeper_pms"
HINTS_AT_A_TIME: Final = 200
ATTEMPTS_MOST: Final = 8
BACKOFF_FIRST_MS: Final = 1_000
BACKOFF_MOST_MS: Final = 60_000
ANY_ROOM: Final = "*"
"""Rooms are re-read together."""
EVERYTHING: Final = Hint("reservation", "*")
Row = dict[str, Any]


async def store(connection: Connection, *, property_id: str, system: str, hints: Iterable[Hint], now_ms: int) -> None:
    """Keep hints. The caller notifies HINT_CHANNEL."""
    now = at(now_ms)
    for hint in hints:
        external_id = ANY_ROOM if hint.kind == "resource" else hint.external_id
        await execute(
            connection,
            """INSERT INTO pms.hint (property, system, kind, external_id, heard_at, not_before)
               VALUES (%s, %s, %s, %s, %s, %s)
               ON CONFLICT (property, system, kind, external_id) DO UPDATE SET
                   heard_at = excluded.heard_at, times = hint.times + 1, attempts = 0,
                   not_before = excluded.not_before""",
            [property_id, system, hint.kind, external_id, now, now],
        )


async def due(database: Database, *, property_id: str, system: str, now_ms: int) -> list[Row]:
    """Return the oldest of what may be settled now, with kind, external_id, times, attempts, heard_at."""
    return await database.ask(
        """SELECT kind, external_id, times, attempts, heard_at FROM pms.hint
            WHERE property = %s AND system = %s AND not_before <= %s ORDER BY heard_at LIMIT %s""",
        [property_id, system, at(now_ms), HINTS_AT_A_TIME],
    )


async def settled(connection: Connection, *, property_id: str, system: str, rows: Sequence[Row]) -> None:
    """Forget hints; one that was heard again meanwhile counts more times, and stays."""
    for row in rows:
        await execute(
            connection,
            "DELETE FROM pms.hint WHERE property = %s AND system = %s AND kind = %s AND external_id = %s"
            " AND times = %s",
            [property_id, system, row["kind"], row["external_id"], row["times"]],
        )


async def put_off(connection: Connection, *, property_id: str, system: str, rows: Sequence[Row], now_ms: int) -> None:
    """Try later, each time after a longer pause; in the end the poll will find it."""
    for row in rows:
        attempts = row["attempts"] + 1
        if attempts >= ATTEMPTS_MOST and not is_everything(row):
            await settled(connection, property_id=property_id, system=system, rows=[row])
            continue
        wait_ms = min(BACKOFF_FIRST_MS * 2 ** min(attempts - 1, 16), BACKOFF_MOST_MS)
        await wait_until(connection, property_id=property_id, system=system, row=row, at_ms=now_ms + wait_ms)


async def wait_until(connection: Connection, *, property_id: str, system: str, row: Row, at_ms: int) -> None:
    """Leave a hint alone until then, and count the attempt."""
    await execute(
        connection,
        "UPDATE pms.hint SET attempts = attempts + 1, not_before = %s WHERE property = %s AND system = %s"
        " AND kind = %s AND external_id = %s AND times = %s",
        [at(at_ms), property_id, system, row["kind"], row["external_id"], row["times"]],
    )


def may_be_lost(error: PlatformError) -> bool:
    """Tell whether a queue that forgets what it hands over may have handed something over, though we have nothing."""
    return error.may_have_taken_effect or isinstance(error, PeerProtocolError)


def is_everything(row: Row) -> bool:
    """Tell whether a stored hint is `EVERYTHING`."""
    return (row["kind"], row["external_id"]) == (EVERYTHING.kind, EVERYTHING.external_id)
