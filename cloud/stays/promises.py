"""What the building promised of the ends of stays, as it is written: what stands, and what the PMS was told of it.

The rule is ending.py's. The caller's transaction holds the lock of the property's stays or takes it here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from cloud.kit.database import Connection, execute, fetch_all, fetch_one, lock_for_transaction
from cloud.kit.times import at, unix_ms
from cloud.stays.ending import Promise, from_us, same_night, stands
from cloud.stays.life import StayState
from cloud.stays.reservation import PmsStatus

COLUMNS: Final = ("edge_until", "edge_until_told", "edge_until_sent", "pms_until_ours")
OF_ITS_END: Final[LiteralString] = """
    SELECT s.system, s.external_id, s.state, s.edge_until, s.edge_until_told, s.edge_until_sent, s.pms_until_ours,
           r.status, r.arrival_at, r.departure_at
      FROM stays.stay s JOIN stays.reservation r USING (property, system, external_id)
     WHERE s.property = %s AND s.id = %s """
"""A stay's promise, and what it is held against; more conditions may follow."""


def promise_of(row: Mapping[str, Any]) -> Promise | None:
    """Return the promise of a row that has `COLUMNS`; None: it has none."""
    if row["edge_until"] is None or row["edge_until_told"] is None:
        return None
    sent = tuple(unix_ms(each) for each in row["edge_until_sent"] or ())
    return Promise(unix_ms(row["edge_until"]), unix_ms(row["edge_until_told"]), sent)


def ours_of(row: Mapping[str, Any], *, departure_at: datetime) -> int | None:
    """Return the end that the PMS names now (unix ms), if it has it from us by a row that has `COLUMNS`; else None."""
    before = row["pms_until_ours"]
    return from_us(unix_ms(departure_at), promise_of(row), None if before is None else unix_ms(before))


def written(promise: Promise | None, *, departure_at: datetime, ours_ms: int | None) -> dict[str, Any]:
    """Return what is written of a promise and of whose the PMS's end is, and the end that the stay has by it."""
    return {
        "until": departure_at if promise is None else at(promise.until_ms),
        "edge_until": None if promise is None else at(promise.until_ms),
        "edge_until_told": None if promise is None else at(promise.told_ms),
        "edge_until_sent": [] if promise is None else [at(each) for each in promise.sent_ms],
        "pms_until_ours": None if ours_ms is None else at(ours_ms),
    }


async def hold(
    connection: Connection, property_id: str, stay: str, row: Mapping[str, Any], promise: Promise, *, now_ms: int
) -> Promise | None:
    """Write a promise as it stands against the PMS's word in `row`, and return it; None: it does not."""
    standing = stands(
        promise,
        pms_until_ms=unix_ms(row["departure_at"]),
        pms_left=row["status"] == PmsStatus.LEFT,
        from_ms=unix_ms(row["arrival_at"]),
    )
    await execute(
        connection,  # the room is let go here and given again by settle, as where a reservation is mirrored
        """UPDATE stays.stay SET
               edge_until = %(edge_until)s, edge_until_told = %(edge_until_told)s,
               edge_until_sent = %(edge_until_sent)s::timestamptz[], pms_until_ours = %(pms_until_ours)s,
               expected_until = %(until)s, updated_at = %(now)s,
               room = CASE WHEN expected_until = %(until)s OR state = 'void' THEN room END,
               version = version + CASE WHEN expected_until = %(until)s THEN 0 ELSE 1 END
            WHERE property = %(property)s AND id = %(stay)s""",
        {
            **written(
                standing,
                departure_at=row["departure_at"],
                ours_ms=ours_of(row, departure_at=row["departure_at"]),
            ),
            "now": at(now_ms),
            "property": property_id,
            "stay": stay,
        },
    )
    return standing


async def ends_of(connection: Connection, *, property_id: str, stay: str) -> tuple[int, Promise | None] | None:
    """Return the end that the PMS named last (unix ms), and what the building promised against it of a guest in house;
    None: there is no such stay.
    """
    row = await fetch_one(connection, OF_ITS_END, [property_id, stay])
    if row is None:
        return None
    return unix_ms(row["departure_at"]), promise_of(row) if row["state"] == StayState.IN_HOUSE else None


@dataclass(frozen=True, slots=True)
class StandingEnd:
    """The building's `n`th word on the end of a stay: the guest is in house, and the PMS has another night."""

    tenant: str
    stay: str
    external_id: str
    n: int
    until_ms: int


async def standing_ends(connection: Connection, *, property_id: str, system: str, before_ms: int) -> list[StandingEnd]:
    """Return the ends that stand against the PMS's word, of stays of which nothing was heard since `before_ms`."""
    rows = await fetch_all(
        connection,
        """SELECT s.tenant, s.id AS stay, s.external_id, s.edge_until_n AS n, s.edge_until, r.departure_at
             FROM stays.stay s JOIN stays.reservation r USING (property, system, external_id)
            WHERE s.property = %s AND s.system = %s AND s.state = 'in_house' AND s.edge_until IS NOT NULL
              AND s.updated_at <= %s
            ORDER BY s.id""",
        [property_id, system, at(before_ms)],
    )
    return [
        StandingEnd(row["tenant"], row["stay"], row["external_id"], row["n"], unix_ms(row["edge_until"]))
        for row in rows
        if not same_night(unix_ms(row["edge_until"]), unix_ms(row["departure_at"]))
    ]


async def last_word(connection: Connection, *, property_id: str, stay: str) -> int:
    """Return the number of the building's last word on the end of a stay; 0: none was heard."""
    row = await fetch_one(
        connection, "SELECT edge_until_n FROM stays.stay WHERE property = %s AND id = %s", [property_id, stay]
    )
    return 0 if row is None else int(row["edge_until_n"])


async def end_is_sent(connection: Connection, *, property_id: str, stay: str, until_ms: int) -> bool:
    """Note that the PMS is about to be told an end; False: that is not the building's word, or no longer."""
    await lock_for_transaction(connection, "stays", property_id)
    count = await execute(
        connection,
        """UPDATE stays.stay SET edge_until_sent = array_append(array_remove(edge_until_sent, %(until)s), %(until)s)
            WHERE property = %(property)s AND id = %(stay)s AND state = 'in_house' AND edge_until = %(until)s""",
        {"until": at(until_ms), "property": property_id, "stay": stay},
    )
    return count > 0


async def end_was_not_sent(connection: Connection, *, property_id: str, stay: str, until_ms: int) -> None:
    """Take back what `end_is_sent` noted: the PMS did nothing."""
    await lock_for_transaction(connection, "stays", property_id)
    await execute(
        connection,
        "UPDATE stays.stay SET edge_until_sent = array_remove(edge_until_sent, %s) WHERE property = %s AND id = %s",
        [at(until_ms), property_id, stay],
    )
