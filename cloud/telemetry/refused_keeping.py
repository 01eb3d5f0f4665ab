"""How much is kept of what was refused. Source: docs/decisions/0073.

A row of `telemetry.refused` says what was wrong with something that a building sent, with its bytes. It goes with the
rows of its lane; and of one building there are the newest ROWS_MOST at most, and bytes with the newest of them up to
BYTES_MOST: a building gone mad must not fill the disk of all.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from cloud.kit.database import Connection, execute, fetch_all
from cloud.kit.times import at
from protocols.link.lanes import Lane

ROWS_MOST: Final = 10_000
"""Of one building."""
BYTES_MOST: Final = 16 * 1024 * 1024
"""Kept with the newest rows of one building."""


async def let_refused_go(connection: Connection, kept: Mapping[Lane, timedelta | None], now_ms: int) -> list[str]:
    """Delete what is older than its lane is kept, and what is too much; return what was done, in words.

    Args:
        kept: how long the rows of each lane are kept; None: for ever.
    """
    told: list[str] = []
    for lane, span in kept.items():
        if span is not None and (
            rows := await execute(
                connection, "DELETE FROM telemetry.refused WHERE lane = %s AND at < %s", [lane.value, at(now_ms) - span]
            )
        ):
            told.append(f"{rows} refusals of lane {lane.value}")
    mad = await fetch_all(
        connection,
        """SELECT edge FROM telemetry.refused GROUP BY edge
           HAVING count(*) > %s OR sum(octet_length(payload)) > %s ORDER BY edge""",
        [ROWS_MOST, BYTES_MOST],
    )
    for row in mad:
        rows = await execute(
            connection,
            """DELETE FROM telemetry.refused WHERE edge = %(edge)s AND id <= (
                   SELECT id FROM telemetry.refused WHERE edge = %(edge)s ORDER BY id DESC OFFSET %(most)s LIMIT 1)""",
            {"edge": row["edge"], "most": ROWS_MOST},
        )
        emptied = await execute(
            connection,
            """UPDATE telemetry.refused SET payload = NULL WHERE id IN (
                   SELECT id FROM (SELECT id, sum(octet_length(payload)) OVER (ORDER BY id DESC) AS bytes
                                     FROM telemetry.refused WHERE edge = %s AND payload IS NOT NULL) AS newest
                    WHERE bytes > %s)""",
            [row["edge"], BYTES_MOST],
        )
        told.append(f"{rows} refusals of {row['edge']}, the bytes of {emptied}")
    return told
