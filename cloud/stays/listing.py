"""Stays as others may read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, LiteralString

from cloud.kit.database import Connection, fetch_all, fetch_one
from cloud.platform.properties import Property
from cloud.stays.ending import SAME_DAY_MS
from cloud.stays.life import ACTIVE, EdgeState, StayState
from cloud.stays.reservation import PmsStatus

STAYS_MOST: Final = 2_000
SAME_DAY: Final = timedelta(milliseconds=SAME_DAY_MS)


class Conflict(StrEnum):
    """Where the PMS and the house do not agree of a stay, and a person has to look (docs/decisions/0079, 0143)."""

    DOUBLE_SALE = "double_sale"
    """The PMS wants a room that another stay holds."""
    OTHER_ROOM = "other_room"
    """The guest's key opens one room, the PMS has him in another."""
    ENDED_IN_PMS = "ended_in_pms"
    """The guest is in house; in the PMS the reservation was cancelled, or nobody came."""
    OTHER_END = "other_end"
    """The building made his stay longer or shorter, and the PMS has not: told of it, or not to be told (0146)."""


@dataclass(frozen=True, slots=True)
class Stay:
    """One stay, with what its PMS calls it and whether the edge holds it."""

    id: str
    state: StayState
    room: str | None
    room_asked: str | None
    """The room the PMS wants; differs from `room` while another stay holds that one."""
    guest_name: str
    expected_from: datetime
    expected_until: datetime
    until_asked: datetime
    """The end that the PMS has; differs while a word of the building stands against it."""
    actual_in: datetime | None
    actual_out: datetime | None
    edge_state: EdgeState | None
    """What the edge itself last said it did."""
    edge_room: str | None
    """The room of that: whose door the guest's key opens."""
    agreed_room: str | None
    """Where he was in house by PMS and by key alike, the last time that was so."""
    pms_status: PmsStatus
    external_id: str
    number: str | None
    edge_held: bool
    document_version: int | None
    freshness_at: datetime

    @property
    def moved_to(self) -> str | None:
        """Where the PMS moved a guest in house after it had agreed where he is; None: nowhere, or he is there."""
        inside = self.edge_state is EdgeState.CHECKED_IN and self.state is StayState.IN_HOUSE
        meant = self.pms_status is PmsStatus.IN_HOUSE and self.agreed_room == self.edge_room
        return self.room_asked if inside and meant and self.room_asked != self.edge_room else None

    @property
    def ends_otherwise(self) -> bool:
        """Whether a guest in house stays another night here than the PMS has, whatever else they do not agree on."""
        return self.state is StayState.IN_HOUSE and abs(self.expected_until - self.until_asked) > SAME_DAY

    @property
    def conflict(self) -> Conflict | None:
        """What PMS and house do not agree on, None if they do; the gravest, where there are several."""
        inside = self.edge_state is EdgeState.CHECKED_IN and self.state is StayState.IN_HOUSE
        if inside and self.pms_status in (PmsStatus.CANCELLED, PmsStatus.NO_SHOW):
            return Conflict.ENDED_IN_PMS
        if self.state not in ACTIVE or self.room_asked is None:
            return None
        if inside and self.edge_room is not None and self.edge_room != self.room_asked:
            return Conflict.OTHER_ROOM
        if self.room is None:
            return Conflict.DOUBLE_SALE
        return Conflict.OTHER_END if self.ends_otherwise else None


_SELECT: Final[LiteralString] = """
    SELECT s.id, s.state, s.room, s.room_asked, s.guest_name, s.expected_from, s.expected_until, s.actual_in,
           r.departure_at AS until_asked,
           s.actual_out, s.edge_state, s.edge_room, s.agreed_room, s.external_id, r.number, r.freshness_at,
           r.status AS pms_status, s.document_version,
           coalesce(s.document_version <= d.held_version, false) AS edge_held"""
_FROM: Final[LiteralString] = """
      FROM stays.stay s
      JOIN stays.reservation r USING (property, system, external_id)
      LEFT JOIN stays.document d ON d.property = s.property"""
_WHERE: Final[LiteralString] = """
     WHERE s.tenant = %s AND s.property = %s """
_STAYS: Final[LiteralString] = _SELECT + _FROM + _WHERE
_AND_PLACE: Final[LiteralString] = (
    _SELECT
    + ", p.tenant, p.name AS property_name, p.zone, p.edge"
    + _FROM
    + " JOIN platform.property p ON p.id = s.property AND p.tenant = s.tenant"
    + _WHERE
    + "AND s.id = %s"
)


async def current_stays(connection: Connection, *, tenant: str, property_id: str, since: datetime) -> list[Stay]:
    """Return every active stay and those that ended or were voided with departure after `since`."""
    rows = await fetch_all(
        connection,
        _STAYS + "AND (s.state IN ('planned', 'ready', 'in_house') OR s.expected_until > %s)"
        " ORDER BY s.expected_from, s.id LIMIT %s",
        [tenant, property_id, since, STAYS_MOST],
    )
    return [_stay(row) for row in rows]


async def past_stays(
    connection: Connection, *, tenant: str, property_id: str, stays: Sequence[str], until: datetime
) -> list[Stay]:
    """Return those of these stays that are of this tenant's property, and over, with departure until then."""
    rows = await fetch_all(
        connection,
        _STAYS + "AND s.id = ANY(%s) AND s.state NOT IN ('planned', 'ready', 'in_house') AND s.expected_until <= %s"
        " ORDER BY s.expected_from, s.id",
        [tenant, property_id, list(stays), until],
    )
    return [_stay(row) for row in rows]


async def stay_by_id(connection: Connection, *, tenant: str, property_id: str, stay: str) -> Stay | None:
    """Return one stay, None if this tenant's property has none of that id."""
    rows = await fetch_all(connection, _STAYS + "AND s.id = %s", [tenant, property_id, stay])
    return _stay(rows[0]) if rows else None


async def stay_and_place(
    connection: Connection, *, tenant: str, property_id: str, stay: str
) -> tuple[Property, Stay] | None:
    """Return one stay and its property, in one question; None if this tenant's property has none of that id."""
    row = await fetch_one(connection, _AND_PLACE, [tenant, property_id, stay])
    if row is None:
        return None
    place = Property(property_id, row.pop("tenant"), row.pop("property_name"), row.pop("zone"), row.pop("edge"))
    return place, _stay(row)


async def stays_in_conflict(connection: Connection, *, tenant: str, property_id: str, before: datetime) -> list[Stay]:
    """Return the active stays that begin before then and of which PMS and house do not agree, by arrival."""
    rows = await fetch_all(
        connection,
        _STAYS
        + """AND s.state IN ('planned', 'ready', 'in_house') AND s.expected_from < %s
              AND (s.room IS DISTINCT FROM s.room_asked OR s.edge_room <> s.room_asked
                   OR s.edge_until IS NOT NULL OR r.status IN ('cancelled', 'no_show'))
            ORDER BY s.expected_from, s.id LIMIT %s""",
        [tenant, property_id, before, STAYS_MOST],
    )
    return [stay for row in rows if (stay := _stay(row)).conflict is not None]


async def stays_in_rooms(connection: Connection, *, tenant: str, property_id: str, now: datetime) -> dict[str, Stay]:
    """Return the stay that matters in each room now: the guest inside, else the next one due within a day."""
    rows = await fetch_all(
        connection,
        _STAYS + "AND s.room IS NOT NULL AND (s.state = 'in_house' OR (s.state IN ('planned', 'ready')"
        " AND s.expected_from < %s + interval '24 hours' AND s.expected_until > %s))"
        " ORDER BY s.state = 'in_house', s.expected_from DESC",
        [tenant, property_id, now, now],
    )
    return {str(row["room"]): _stay(row) for row in rows}  # later rows win: in house last, nearest arrival last


def _stay(row: dict[str, Any]) -> Stay:
    edge = None if row["edge_state"] is None else EdgeState(row["edge_state"])
    status = PmsStatus(row["pms_status"])
    return Stay(**{**row, "state": StayState(row["state"]), "edge_state": edge, "pms_status": status})
