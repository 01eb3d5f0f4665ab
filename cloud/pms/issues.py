"""What is wrong with single items of a PMS: kept, with the offending value, until the PMS says the item well.

An item that cannot be taken costs only itself, and must not vanish in silence: a guest is missing because of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloud.kit.database import Connection, execute, fetch_all
from cloud.kit.times import at
from cloud.pms.port import ItemError, ItemKind, PmsRoom

ISSUES_MOST: Final = 500
"""Of one connection. Beyond it only known ones are renewed: the first five hundred say enough."""
PROBLEM_CHARACTERS_MOST: Final = 300


@dataclass(frozen=True, slots=True)
class Issue:
    """One item with something wrong about it. `held_back`: nothing of it was taken over."""

    kind: ItemKind
    external_id: str
    problem: str
    held_back: bool
    times: int
    first_at: datetime
    last_at: datetime


async def note(
    connection: Connection,
    *,
    property_id: str,
    system: str,
    errors: Iterable[ItemError],
    well: Iterable[tuple[ItemKind, str]],
    now_ms: int,
) -> list[ItemError]:
    """Strike out what is `well` now and note `errors`; return those that are new or read differently."""
    settled = list(well)
    await execute(
        connection,
        """DELETE FROM pms.issue i USING unnest(%s::text[], %s::text[]) AS w (kind, external_id)
            WHERE i.property = %s AND i.system = %s AND (i.kind, i.external_id) = (w.kind, w.external_id)""",
        [[kind for kind, _ in settled], [external_id for _, external_id in settled], property_id, system],
    )
    new: list[ItemError] = []
    for error in errors:
        rows = await fetch_all(
            connection,
            """INSERT INTO pms.issue AS known (property, system, kind, external_id, problem, held_back, first_at,
                                               last_at)
               SELECT %(property)s, %(system)s, %(kind)s, %(id)s, %(problem)s, %(held)s, %(now)s, %(now)s
                WHERE EXISTS (SELECT 1 FROM pms.issue WHERE (property, system, kind, external_id)
                                = (%(property)s, %(system)s, %(kind)s, %(id)s))
                   OR (SELECT count(*) FROM pms.issue WHERE property = %(property)s AND system = %(system)s) < %(most)s
               ON CONFLICT (property, system, kind, external_id) DO UPDATE SET
                   times = CASE WHEN known.problem = excluded.problem THEN known.times + 1 ELSE 1 END,
                   first_at = CASE WHEN known.problem = excluded.problem THEN known.first_at ELSE excluded.first_at END,
                   problem = excluded.problem, held_back = excluded.held_back, last_at = excluded.last_at
               RETURNING times""",
            {
                "property": property_id,
                "system": system,
                "kind": error.kind,
                "id": error.external_id,
                "problem": error.problem.replace("\x00", "\ufffd")[:PROBLEM_CHARACTERS_MOST],
                "held": error.held_back,
                "now": at(now_ms),
                "most": ISSUES_MOST,
            },
        )
        if rows and rows[0]["times"] == 1:
            new.append(error)
    return new


async def issues_of(connection: Connection, *, property_id: str, system: str) -> list[Issue]:
    """Return what is wrong now, the newest first."""
    rows = await fetch_all(
        connection,
        """SELECT kind, external_id, problem, held_back, times, first_at, last_at FROM pms.issue
            WHERE property = %s AND system = %s ORDER BY last_at DESC, kind, external_id LIMIT %s""",
        [property_id, system, ISSUES_MOST],
    )
    return [Issue(**row) for row in rows]


async def count_by_property(connection: Connection) -> dict[str, int]:
    """Return how many items of each property are held back."""
    rows = await fetch_all(
        connection, "SELECT property, count(*) AS held FROM pms.issue WHERE held_back GROUP BY property"
    )
    return {row["property"]: row["held"] for row in rows}


def each_name_once(rooms: Iterable[PmsRoom]) -> tuple[list[PmsRoom], list[ItemError]]:
    """Part the rooms of which each name is told once from those whose name another, older one has. Pure."""
    first: dict[str, PmsRoom] = {}
    twice: list[ItemError] = []
    for room in sorted(rooms, key=lambda each: each.external_id):
        if (other := first.setdefault(room.name, room)) is not room:
            problem = f"Name {room.name!r} is already that of {other.external_id}: nobody is put in this one"
            twice.append(ItemError(room.external_id, problem, "resource"))
    return list(first.values()), twice
