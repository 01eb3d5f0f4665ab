"""Marks stays as having a room together, and as apart again; protocols/stays/SPEC.md section 3 says what follows."""

from collections.abc import Mapping
from typing import Any, Final

from cloud.kit.database import Connection, execute, fetch_all, lock_for_transaction
from cloud.stays.life import ACTIVE, StayState
from cloud.stays.stays import Place, settle_property
from protocols.errors import InvalidInputError, PlatformError

BY: Final = "sharing"
SHARERS_MOST: Final = 20


class StillTogetherError(PlatformError):
    """They are in one room now: parting them on paper would leave one of them without it."""


async def share(connection: Connection, place: Place, stay: str, other: str, *, now_ms: int) -> str:
    """Let `stay` have the room of `other`, with all who share that one already; return their word.

    A stay to come for which the PMS asks no room is given the other's. Saying it again changes nothing.

    Raises:
        InvalidInputError: one of them is no active stay of this house, both are one, or the room is full of sharers.
        StillTogetherError: `stay` shares with somebody else, and is in house with him.
    """
    if stay == other:
        raise InvalidInputError("with", "is the stay itself")
    await lock_for_transaction(connection, "stays", place.property)
    rows = await _active(connection, place, (stay, other))
    for place_in, each in (("stay", stay), ("with", other)):
        if each not in rows:
            raise InvalidInputError(place_in, "is no stay of this house that is to come or in house")
    word = rows[other]["share"] or other
    if rows[stay]["share"] == word:
        return str(word)
    await _leave_the_others(connection, place, rows[stay])
    if len(await _sharers(connection, place, word)) >= SHARERS_MOST:
        raise InvalidInputError("with", f"{SHARERS_MOST} stays share that room already")
    await execute(
        connection,
        """UPDATE stays.stay SET share = %(word)s, version = version + 1,
                  room_given = CASE WHEN id = %(stay)s AND room_asked IS NULL AND state <> 'in_house'
                                    THEN %(room)s ELSE room_given END
            WHERE property = %(property)s AND id = ANY(%(both)s) AND share IS DISTINCT FROM %(word)s""",
        {
            "word": word,
            "stay": stay,
            "room": rows[other]["room"],
            "property": place.property,
            "both": [stay, other],
        },
    )
    await settle_property(connection, place, touched=[stay, other], by=BY, now_ms=now_ms)
    return str(word)


async def part(connection: Connection, place: Place, stay: str, *, now_ms: int) -> None:
    """Let a stay share with nobody. Saying it again changes nothing.

    Raises:
        InvalidInputError: no active stay of this house.
        StillTogetherError: it is in house with somebody it shares with.
    """
    await lock_for_transaction(connection, "stays", place.property)
    rows = await _active(connection, place, (stay,))
    if stay not in rows:
        raise InvalidInputError("stay", "is no stay of this house that is to come or in house")
    if rows[stay]["share"] is None:
        return
    await _leave_the_others(connection, place, rows[stay])
    await execute(
        connection,
        "UPDATE stays.stay SET share = NULL, version = version + 1 WHERE property = %s AND id = %s",
        [place.property, stay],
    )
    await settle_property(connection, place, touched=[stay], by=BY, now_ms=now_ms)


async def _active(connection: Connection, place: Place, stays: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    rows = await fetch_all(
        connection,
        "SELECT id, state, room, share FROM stays.stay WHERE tenant = %s AND property = %s AND id = ANY(%s)",
        [place.tenant, place.property, list(stays)],
    )
    return {row["id"]: row for row in rows if StayState(row["state"]) in ACTIVE}


async def _sharers(connection: Connection, place: Place, word: str) -> list[dict[str, Any]]:
    return await fetch_all(
        connection,
        "SELECT id, state, room FROM stays.stay WHERE property = %s AND share = %s"
        " AND state IN ('planned', 'ready', 'in_house')",
        [place.property, word],
    )


async def _leave_the_others(connection: Connection, place: Place, row: Mapping[str, Any]) -> None:
    """Let a stay go out of the room it shares; who gets that room then is for the settling to say.

    Raises:
        StillTogetherError: it is in house there, and so is somebody else of its word.
    """
    if row["share"] is None or row["room"] is None:
        return
    others = [each for each in await _sharers(connection, place, row["share"]) if each["id"] != row["id"]]
    beside = [each for each in others if each["room"] == row["room"]]
    if row["state"] == StayState.IN_HOUSE and any(each["state"] == StayState.IN_HOUSE for each in beside):
        raise StillTogetherError("They are in one room now; move one of them first.")
    if beside:
        await execute(
            connection,
            "UPDATE stays.stay SET room = NULL WHERE property = %s AND id = %s",
            [place.property, row["id"]],
        )
