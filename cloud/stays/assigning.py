"""Gives rooms to arrivals that have none: asks assignment.py, settles what it says. The PMS's own wish goes first."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one, lock_for_transaction
from cloud.kit.times import at, unix_ms
from cloud.stays.assignment import WISHES_MOST, Candidate, Floor, Wish, assign
from cloud.stays.life import ENTERABLE
from cloud.stays.reservation import Housekeeping
from cloud.stays.stays import Place, settle_property
from protocols.errors import InvalidInputError

SOON_MS: Final = 24 * 3_600_000
BY: Final = "assignment"
GUEST_ROOM: Final = "guest_room"
UNTOLD: Final = "the PMS does not tell which type was booked: name one"
NEVER: Final = frozenset({Housekeeping.OUT_OF_ORDER, Housekeeping.OUT_OF_SERVICE})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a stay is to have: a type, None for the one that was booked, and wishes."""

    type: str | None = None
    floor: Floor | None = None


async def give_rooms(
    database: Database, place: Place, asked: Mapping[str, Asked], *, now_ms: int
) -> tuple[dict[str, str], dict[str, str]]:
    """Give rooms to those of `asked` that have none; return (room by stay, why not by stay).

    The solver runs outside of any transaction; a room that was taken meanwhile goes to whom it went, and its stay is
    told to ask again.

    Raises:
        InvalidInputError: more stays than are taken at once.
    """
    if len(asked) > WISHES_MOST:
        raise InvalidInputError("stays", f"at most {WISHES_MOST} at once")
    async with database.transaction() as connection:
        wishes, why_not = await _wishes(connection, place, asked, now_ms=now_ms)
        rooms = await _rooms(connection, place)
    found = await asyncio.to_thread(assign, wishes, rooms) if wishes else {}
    why_not |= {
        wish.stay: "no room of its type is free for the whole stay" for wish in wishes if wish.stay not in found
    }
    if not found:
        return {}, why_not
    async with database.transaction() as connection:
        await lock_for_transaction(connection, "stays", place.property)
        for stay, room in found.items():
            await execute(
                connection,
                "UPDATE stays.stay SET room_given = %s WHERE property = %s AND id = %s AND room IS NULL"
                " AND room_asked IS NULL AND state IN ('planned', 'ready')",
                [room, place.property, stay],
            )
        await settle_property(connection, place, touched=sorted(found), by=BY, now_ms=now_ms)
        rows = await fetch_all(
            connection,
            "SELECT id, room FROM stays.stay WHERE property = %s AND id = ANY(%s)",
            [place.property, sorted(found)],
        )
        lost = [row["id"] for row in rows if row["room"] != found[row["id"]]]
        await execute(
            connection,
            "UPDATE stays.stay SET room_given = NULL WHERE property = %s AND id = ANY(%s)",
            [place.property, lost],
        )
    given = {row["id"]: row["room"] for row in rows if row["id"] not in lost}
    return given, why_not | dict.fromkeys(lost, "the room was taken meanwhile; ask again")


async def _wishes(
    connection: Connection, place: Place, asked: Mapping[str, Asked], *, now_ms: int
) -> tuple[list[Wish], dict[str, str]]:
    rows = await fetch_all(
        connection,
        """SELECT s.id, s.expected_from, s.expected_until, r.room_type
             FROM stays.stay s JOIN stays.reservation r USING (property, system, external_id)
            WHERE s.tenant = %s AND s.property = %s AND s.id = ANY(%s) AND s.room IS NULL AND s.room_asked IS NULL
              AND s.state IN ('planned', 'ready') AND s.expected_until > %s""",
        [place.tenant, place.property, list(asked), at(now_ms)],
    )
    types = {row["id"]: asked[row["id"]].type or row["room_type"] for row in rows}
    wishes = [
        Wish(
            stay=row["id"],
            type=type_,
            from_ms=unix_ms(row["expected_from"]),
            until_ms=unix_ms(row["expected_until"]),
            soon=unix_ms(row["expected_from"]) <= now_ms + SOON_MS,
            floor=asked[row["id"]].floor,
        )
        for row in rows
        if (type_ := types[row["id"]]) is not None
    ]
    why_not = {stay: "is no arrival without a room" for stay in asked if stay not in types}
    return wishes, why_not | {stay: UNTOLD for stay, type_ in types.items() if type_ is None}


async def _rooms(connection: Connection, place: Place) -> list[Candidate]:
    rooms = await fetch_all(
        connection,
        "SELECT id, type, floor, housekeeping FROM stays.room"
        " WHERE tenant = %s AND property = %s AND retired_at IS NULL AND kind = %s ORDER BY id",
        [place.tenant, place.property, GUEST_ROOM],
    )
    taken = await fetch_all(
        connection,
        """SELECT room, expected_from, expected_until, state FROM stays.stay
            WHERE tenant = %s AND property = %s AND room IS NOT NULL AND state IN ('planned', 'ready', 'in_house')""",
        [place.tenant, place.property],
    )
    spans: dict[str, list[tuple[int, int]]] = {}
    for row in taken:
        spans.setdefault(row["room"], []).append((unix_ms(row["expected_from"]), unix_ms(row["expected_until"])))
    occupied = {row["room"] for row in taken if row["state"] == "in_house"}
    candidates = []
    for row in rooms:
        condition = None if row["housekeeping"] is None else Housekeeping(row["housekeeping"])
        if condition in NEVER:
            continue
        ready = condition in ENTERABLE and row["id"] not in occupied
        candidates.append(Candidate(row["id"], row["type"], row["floor"], ready, taken=tuple(spans.get(row["id"], ()))))
    return candidates


async def given_room(connection: Connection, *, property_id: str, stay: str) -> str | None:
    """Return the room that we gave a stay, None where the PMS has asked for one itself, or nobody gave any."""
    row = await fetch_one(
        connection,
        "SELECT room_given FROM stays.stay WHERE property = %s AND id = %s AND room_asked IS NULL",
        [property_id, stay],
    )
    return None if row is None else row["room_given"]
