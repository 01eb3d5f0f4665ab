"""What the building promised of the ends of stays, and guests were granted, as it is written: what stands, and what the
PMS was told of it.

The rule is ending.py's. The caller's transaction holds the lock of the property's stays or takes it here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from cloud.kit.database import Connection, execute, fetch_all, fetch_one, lock_for_transaction
from cloud.kit.times import at, unix_ms
from cloud.stays.ending import LateEnd, Promise, from_us, late_stands, same_night, stands
from cloud.stays.life import StayState
from cloud.stays.reservation import PmsStatus

COLUMNS: Final = (
    "edge_until", "edge_until_told", "edge_until_sent", "pms_until_ours", "late_until", "late_sent"
)  # fmt: skip
OF_ITS_END: Final[LiteralString] = """
    SELECT s.system, s.external_id, s.state, s.edge_until, s.edge_until_told, s.edge_until_sent, s.pms_until_ours,
           s.late_until, s.late_sent, r.status, r.arrival_at, r.departure_at
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


def late_of(row: Mapping[str, Any]) -> LateEnd | None:
    """Return the late check-out of a row that has `COLUMNS`; None: none was granted, or none stands any more."""
    if row["late_until"] is None:
        return None
    return LateEnd(unix_ms(row["late_until"]), row["late_sent"])


def written(
    promise: Promise | None, *, departure_at: datetime, ours_ms: int | None, late: LateEnd | None
) -> dict[str, Any]:
    """Return what is written of a promise and of whose the PMS's end is, of a late check-out, and the end that the stay
    has by these.
    """
    end_at = departure_at if promise is None else at(promise.until_ms)
    late = late_stands(late, end_ms=unix_ms(end_at))
    return {
        "until": end_at if late is None else max(end_at, at(late.until_ms)),
        "late_until": None if late is None else at(late.until_ms),
        "late_sent": late is not None and late.sent,
        "edge_until": None if promise is None else at(promise.until_ms),
        "edge_until_told": None if promise is None else at(promise.told_ms),
        "edge_until_sent": [] if promise is None else [at(each) for each in promise.sent_ms],
        "pms_until_ours": None if ours_ms is None else at(ours_ms),
    }


async def hold(
    connection: Connection, property_id: str, stay: str, row: Mapping[str, Any], promise: Promise | None, *, now_ms: int
) -> Promise | None:
    """Write a promise as it stands against the PMS's word in `row`, and return it; None: it does not.

    The late check-out in `row` is written as it stands against both.
    """
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
               late_until = %(late_until)s, late_sent = %(late_sent)s,
               expected_until = %(until)s, updated_at = %(now)s,
               room = CASE WHEN expected_until = %(until)s OR state = 'void' THEN room END,
               version = version + CASE WHEN expected_until = %(until)s THEN 0 ELSE 1 END
            WHERE property = %(property)s AND id = %(stay)s""",
        {
            **written(
                standing,
                departure_at=row["departure_at"],
                ours_ms=ours_of(row, departure_at=row["departure_at"]),
                late=late_of(row),
            ),
            "now": at(now_ms),
            "property": property_id,
            "stay": stay,
        },
    )
    return standing


@dataclass(frozen=True, slots=True)
class Ends:
    """What is said of the end of a stay: by the PMS, last (unix ms); by the building against it, and to the guest of a
    late check-out, while he is in house.
    """

    pms_ms: int
    promise: Promise | None
    late: LateEnd | None

    @property
    def booked_ms(self) -> int:
        """The end that the stay has without a late check-out."""
        return self.pms_ms if self.promise is None else self.promise.until_ms


async def ends_of(connection: Connection, *, property_id: str, stay: str) -> Ends | None:
    """Return what is said of a stay's end; None: there is no such stay."""
    row = await fetch_one(connection, OF_ITS_END, [property_id, stay])
    if row is None:
        return None
    inside = row["state"] == StayState.IN_HOUSE
    return Ends(unix_ms(row["departure_at"]), promise_of(row) if inside else None, late_of(row) if inside else None)


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
    """Note that the PMS is about to be told an end; False: that is not the building's word, nor a late check-out, or no
    longer.
    """
    await lock_for_transaction(connection, "stays", property_id)
    named = {"until": at(until_ms), "property": property_id, "stay": stay}
    count = await execute(
        connection,
        """UPDATE stays.stay SET edge_until_sent = array_append(array_remove(edge_until_sent, %(until)s), %(until)s)
            WHERE property = %(property)s AND id = %(stay)s AND state = 'in_house' AND edge_until = %(until)s""",
        named,
    )
    count = count or await execute(
        connection,
        """UPDATE stays.stay SET late_sent = true
            WHERE property = %(property)s AND id = %(stay)s AND state = 'in_house' AND late_until = %(until)s
              AND edge_until IS NULL""",
        named,
    )
    return count > 0


async def end_was_not_sent(connection: Connection, *, property_id: str, stay: str, until_ms: int) -> None:
    """Take back what `end_is_sent` noted: the PMS did nothing."""
    await lock_for_transaction(connection, "stays", property_id)
    await execute(
        connection,
        """UPDATE stays.stay SET edge_until_sent = array_remove(edge_until_sent, %(until)s),
                  late_sent = late_sent AND late_until IS DISTINCT FROM %(until)s
            WHERE property = %(property)s AND id = %(stay)s""",
        {"until": at(until_ms), "property": property_id, "stay": stay},
    )
