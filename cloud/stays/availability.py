"""Which rooms are free for which nights, by type (STY-03, STY-10): what is promised already is counted against them.

A night is named by the day on which it begins, in the house's own zone: who leaves on a day and who comes on it do not
meet in it. Pure, but for `read`, which asks the database what `available` is given.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cloud.kit.database import Connection, fetch_all
from cloud.kit.times import at
from cloud.stays.assigning import GUEST_ROOM, NEVER
from cloud.stays.life import ENTERABLE
from cloud.stays.reservation import Housekeeping

NIGHTS_MOST: Final = 400
"""More are not asked about at once: the PMS that we mirror sells no further ahead than that."""
HERE_MOST: Final = 500
"""Stays that are counted at once; of a large house, or of many nights, others are answered meanwhile."""
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class HouseRoom:
    """A guest room. `condition`: None where housekeeping has said nothing."""

    id: str
    type: str | None
    floor: int | None
    condition: Housekeeping | None


@dataclass(frozen=True, slots=True)
class Occupant:
    """A stay that has a room, or is to get one.

    Attributes:
        room: None: it has none yet.
        type: The type that was booked; None: not told.
        in_house: Whether somebody is in the room now.
        share: The word of those who have a room together; None: alone.
    """

    room: str | None
    type: str | None
    since: datetime
    until: datetime
    in_house: bool = False
    share: str | None = None


@dataclass(frozen=True, slots=True)
class FreeRoom:
    """A room that nobody has in any of the nights. `ready`: it can be entered now."""

    id: str
    floor: int | None
    ready: bool


@dataclass(frozen=True, slots=True)
class TypeAvailability:
    """One type of room over the nights asked about.

    Attributes:
        type: None: rooms of which the site plan tells no type.
        rooms: How many the house has.
        closed: How many of them are out of order or of service, as things stand now.
        waiting: Most arrivals in one of these nights that booked the type and have no room yet.
        free: How many more could be taken for all of the nights: rooms less closed, had and waited for, in the
            fullest night; negative where more was sold than there is.
        free_rooms: The rooms that nobody has in any of the nights. More than `free` where arrivals wait for some of
            them, fewer where every room is had in another night.
    """

    type: str | None
    rooms: int
    closed: int
    waiting: int
    free: int
    free_rooms: tuple[FreeRoom, ...]


@dataclass(frozen=True, slots=True)
class Availability:
    """All types. `waiting_untold`: most arrivals in one night that have no room and of which no type is told, or none
    that the house has: the PMS's own word for one where nobody has said what it is here.
    """

    types: tuple[TypeAvailability, ...]
    waiting_untold: int


def nights(since: datetime, until: datetime, zone: ZoneInfo) -> tuple[date, date]:
    """Return the first night of a stay and the day after its last; a stay of one day has the night that begins then."""
    first = since.astimezone(zone).date()
    return first, max(until.astimezone(zone).date(), first + _DAY)


def available(
    rooms: Sequence[HouseRoom],
    occupants: Iterable[Occupant],
    *,
    first: date,
    end: date,
    now: datetime,
    zone: ZoneInfo,
) -> Availability:
    """Return what is free from the night of `first` to the one before `end`.

    Who should have left and is still in house has his room for the night of today, too, and so has who came before his
    day. Those who have a room together take one.
    """
    asked = [first + _DAY * number for number in range((end - first).days)]
    had: dict[date, set[str]] = {night: set() for night in asked}
    waiting: dict[date, Counter[str | None]] = {night: Counter() for night in asked}
    inside: set[str] = set()
    by_type: dict[str | None, list[HouseRoom]] = {}
    for room in rooms:
        by_type.setdefault(room.type, []).append(room)
    counted: set[tuple[date, str]] = set()
    today = now.astimezone(zone).date()
    # of those who have a room together: who has it goes first, then who tells a type of it
    for each in sorted(occupants, key=lambda each: (each.room is None, each.type not in by_type, each.type is None)):
        since, until = nights(each.since, each.until, zone)
        if each.in_house:
            since = min(since, today)
        if each.in_house and each.until <= now:
            until = max(until, today + _DAY)
        if each.in_house and each.room is not None:
            inside.add(each.room)
        night = max(since, first)
        while night < min(until, end):
            again = each.share is not None and (night, each.share) in counted
            if each.share is not None:
                counted.add((night, each.share))
            if each.room is not None:
                had[night].add(each.room)
            elif not again:
                waiting[night][each.type if each.type in by_type else None] += 1
            night += _DAY
    known = sorted(by_type, key=lambda each: (each is None, each or ""))
    types = tuple(_of_type(type_, by_type[type_], had, waiting, inside) for type_ in known)
    untold = max((night[None] for night in waiting.values()), default=0)
    return Availability(types, untold)


def _of_type(
    type_: str | None,
    rooms: Sequence[HouseRoom],
    had: Mapping[date, set[str]],
    waiting: Mapping[date, Counter[str | None]],
    inside: set[str],
) -> TypeAvailability:
    closed = {room.id for room in rooms if room.condition in NEVER}
    to_sell = {room.id for room in rooms} - closed
    waits = {night: 0 if type_ is None else counts[type_] for night, counts in waiting.items()}
    return TypeAvailability(
        type=type_,
        rooms=len(rooms),
        closed=len(closed),
        waiting=max(waits.values()),
        free=min(len(to_sell - had[night]) - waits[night] for night in had),
        free_rooms=tuple(
            FreeRoom(room.id, room.floor, room.condition in ENTERABLE and room.id not in inside)
            for room in rooms
            if room.id in to_sell and not any(room.id in night for night in had.values())
        ),
    )


async def read(
    connection: Connection, *, tenant: str, property_id: str, zone: ZoneInfo, first: date, end: date, now_ms: int
) -> Availability:
    """Return what is free in a house from the night of `first` to the one before `end`, at most NIGHTS_MOST."""
    around = datetime.combine(first, time(), zone)
    rooms = await fetch_all(
        connection,
        "SELECT id, type, floor, housekeeping FROM stays.room"
        " WHERE tenant = %s AND property = %s AND retired_at IS NULL AND kind = %s ORDER BY position, id",
        [tenant, property_id, GUEST_ROOM],
    )
    stays = await fetch_all(
        connection,
        """SELECT s.room, coalesce(r.room_type, asked.type) AS type, s.expected_from, s.expected_until, s.state, s.share
             FROM stays.stay s
             JOIN stays.reservation r USING (property, system, external_id)
             LEFT JOIN stays.room asked ON asked.property = s.property AND asked.id = s.room_asked
            WHERE s.tenant = %s AND s.property = %s AND s.state IN ('planned', 'ready', 'in_house')
              AND s.expected_from < %s AND (s.expected_until > %s OR s.state = 'in_house')""",
        [tenant, property_id, around + _DAY * ((end - first).days + 2), around - 2 * _DAY],
    )

    def counted() -> Availability:
        return available(
            [
                HouseRoom(
                    row["id"],
                    row["type"],
                    row["floor"],
                    None if row["housekeeping"] is None else Housekeeping(row["housekeeping"]),
                )
                for row in rooms
            ],
            [
                Occupant(
                    row["room"],
                    row["type"],
                    row["expected_from"],
                    row["expected_until"],
                    row["state"] == "in_house",
                    row["share"],
                )
                for row in stays
            ],
            first=first,
            end=end,
            now=at(now_ms),
            zone=zone,
        )

    if len(stays) <= HERE_MOST:
        return counted()
    return await asyncio.to_thread(counted)
