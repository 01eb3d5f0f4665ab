"""Late check-outs: a guest in house stays on for some hours of the day on which his stay ends (docs/decisions/0173).

What is granted is kept with the stay, so every document made from then on says that one end, and no clock undoes it.
The rule is ending.py's, how it is written promises.py's; whether it may be granted is cloud/checkin's to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from cloud.kit import outbox
from cloud.kit.database import Connection, fetch_all, fetch_one, lock_for_transaction
from cloud.kit.times import at, unix_ms
from cloud.stays.availability import read
from cloud.stays.ending import same_night
from cloud.stays.life import StayState
from cloud.stays.promises import OF_ITS_END, hold, promise_of
from cloud.stays.stays import Place, settle_property
from protocols.errors import PlatformError

STAY_LATE: Final = "stay.late_check_out"
"""Outbox event: {stay, system, external_id, until_ms}: the hour granted, where it prolongs the end that the PMS has."""
BY_LATE: Final = "late_check_out"
_DAY: Final = timedelta(days=1)


class RoomPromisedError(PlatformError):
    """Somebody comes into the room before that hour."""

    def __init__(self, stay: str, from_at: datetime) -> None:
        super().__init__("The room is promised to an arrival before that hour; give that one another room first.")
        self.stay, self.from_at = stay, from_at


class NotLaterError(PlatformError):
    """The guest is not in house, or his stay does not end before that hour on that day."""


@dataclass(frozen=True, slots=True)
class NextGuest:
    """Who has the room next."""

    stay: str
    from_at: datetime


async def next_in_room(
    connection: Connection, *, property_id: str, stay: str, room: str, share: str | None
) -> NextGuest | None:
    """Return the stay to come, or the guest in house besides, that has a room next; who shares it is not in the way."""
    row = await fetch_one(
        connection,
        """SELECT id, expected_from FROM stays.stay
            WHERE property = %s AND id <> %s AND coalesce(room, room_asked, room_given) = %s
              AND state IN ('planned', 'ready', 'in_house') AND (share IS NULL OR share IS DISTINCT FROM %s)
            ORDER BY expected_from, id LIMIT 1""",
        [property_id, stay, room, share],
    )
    return None if row is None else NextGuest(row["id"], row["expected_from"])


async def grant_late(connection: Connection, place: Place, stay: str, *, until_ms: int, now_ms: int) -> None:
    """Let a guest in house stay on until then. Said again, nothing changes.

    Raises:
        NotLaterError: see there.
        RoomPromisedError: see there; nothing was written.
    """
    await lock_for_transaction(connection, "stays", place.property)
    row = await _row(connection, place, stay)
    promise = promise_of(row)
    end_ms = unix_ms(row["departure_at"]) if promise is None else promise.until_ms
    if row["late_until"] == at(until_ms):
        return
    now_ends_ms = max(end_ms, 0 if row["late_until"] is None else unix_ms(row["late_until"]))
    if row["state"] != StayState.IN_HOUSE or not same_night(end_ms, until_ms) or until_ms <= now_ends_ms:
        raise NotLaterError("The guest is not in house, or his stay does not end before that hour on that day.")
    if row["room"] is not None:
        after = await next_in_room(
            connection, property_id=place.property, stay=stay, room=row["room"], share=row["share"]
        )
        if after is not None and unix_ms(after.from_at) < until_ms:
            raise RoomPromisedError(after.stay, after.from_at)
    await hold(connection, place.property, stay, {**row, "late_until": at(until_ms)}, promise, now_ms=now_ms)
    if promise is None:  # else it has another night to be told first, and knows nothing of this one
        await outbox.append(
            connection,
            kind=STAY_LATE,
            tenant=place.tenant,
            property_id=place.property,
            subject=stay,
            body={
                "stay": stay,
                "system": row["system"],
                "external_id": row["external_id"],
                "until_ms": until_ms,
            },
            occurred_at_ms=now_ms,
        )
    await settle_property(connection, place, touched=[stay], by=BY_LATE, now_ms=now_ms)


async def _row(connection: Connection, place: Place, stay: str) -> Mapping[str, Any]:
    row = await fetch_one(connection, OF_ITS_END, [place.property, stay])
    room = await fetch_one(
        connection, "SELECT room, share FROM stays.stay WHERE property = %s AND id = %s", [place.property, stay]
    )
    if row is None or room is None:
        raise NotLaterError("There is no such stay.")
    return {**row, **room}


async def nobody_waits(
    connection: Connection, place: Place, *, room: str, day: date, zone: ZoneInfo, now_ms: int
) -> bool:
    """Tell whether no arrival of that day is to have a room, or may need it: one more of its type is free, after all
    who wait for a room of it, or of a type that is not told, and all who stay on late in one of them already.
    """
    told = await read(
        connection, tenant=place.tenant, property_id=place.property, zone=zone, first=day, end=day + _DAY, now_ms=now_ms
    )
    type_ = next((each for each in told.types if any(free.id == room for free in each.free_rooms)), None)
    if type_ is None:
        return False
    begins = datetime.combine(day, time(), zone)
    late = await fetch_all(
        connection,
        """SELECT DISTINCT s.room FROM stays.stay s JOIN stays.room r ON r.property = s.property AND r.id = s.room
            WHERE s.property = %s AND s.state = 'in_house' AND s.room <> %s AND r.type IS NOT DISTINCT FROM %s
              AND s.late_until >= %s AND s.late_until < %s""",
        [place.property, room, type_.type, begins, begins + _DAY],
    )
    return type_.free - told.waiting_untold - len(late) >= 1
