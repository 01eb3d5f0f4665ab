"""What a guest in house asks for of the end of his stay: a later hour on the same day, granted alone or by the desk.

The property's signed policy says whether, until when, and up to where it is granted alone (protocols/policy/SPEC.md 6;
docs/decisions/0173). Of a stay one wish is open at most, whoever of its guests asked; asking the same again is the same
wish. That it was granted is written with the end of the stay, in one transaction under the lock of the house's stays.
That nobody answered in time, or that the stay ends otherwise by now, follows from that end, and is read off it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

from cloud.kit.database import Connection, execute, fetch_all, lock_for_transaction
from cloud.kit.notify import notify_live
from cloud.kit.times import at, unix_ms
from cloud.platform.properties import Property
from cloud.policy.in_force import body_in_force
from cloud.stays.ending import SAME_DAY_MS, same_night
from cloud.stays.late_ends import NextGuest, NotLaterError, RoomPromisedError, grant_late, next_in_room, nobody_waits
from cloud.stays.life import StayState
from cloud.stays.listing import Stay, stay_by_id
from cloud.stays.promises import ends_of
from cloud.stays.stays import LIVE_KIND, Place
from kit.dice import Dice
from protocols.errors import PlatformError
from protocols.policy import late_check_out
from protocols.policy.late_check_out import LateCheckOutPolicy

BY_POLICY: Final = "policy"
WISHES_MOST: Final = 5
"""So often a stay may ask, whatever became of it: a desk is no slot machine."""
QUEUE_MOST: Final = 200


class WishState(StrEnum):
    """Where a wish stands; the last two follow from the end that the stay has."""

    ASKED = "asked"
    GRANTED = "granted"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    LAPSED = "lapsed"
    """Nobody answered before the stay ended."""
    OVERTAKEN = "overtaken"
    """The stay is over, ends on another day by now, or later than was asked for."""


class WhyNot(StrEnum):
    """Why a late check-out cannot be asked for, or not be granted."""

    NOT_OFFERED = "not_offered"
    NOT_IN_HOUSE = "not_in_house"
    OVER = "over"
    NOT_LATER = "not_later"
    TOO_LATE = "too_late"
    ASKED_ALREADY = "asked_already"
    REFUSED_ALREADY = "refused_already"
    TOO_OFTEN = "too_often"
    ROOM_PROMISED = "room_promised"
    NO_WISH = "no_wish"


_SAYS: Final = {
    WhyNot.NOT_OFFERED: "This house has no late check-out to ask for here; please see the front desk.",
    WhyNot.NOT_IN_HOUSE: "The guest of this stay is not in house.",
    WhyNot.OVER: "This stay was to end before now.",
    WhyNot.NOT_LATER: "The stay ends no earlier than that.",
    WhyNot.TOO_LATE: "That is later than this house gives.",
    WhyNot.ASKED_ALREADY: "Another hour was asked for, and is not answered yet; withdraw that wish first.",
    WhyNot.REFUSED_ALREADY: "That hour, or an earlier one, was refused; please see the front desk.",
    WhyNot.TOO_OFTEN: "This was asked for too often; please see the front desk.",
    WhyNot.ROOM_PROMISED: "The room is promised to an arrival before that hour; give that one another room first.",
    WhyNot.NO_WISH: "This wish is not open any more.",
}


class LateCheckOutError(PlatformError):
    """It cannot be asked for, or not be granted; nothing was written. The text can be read aloud."""

    def __init__(self, why: WhyNot) -> None:
        super().__init__(_SAYS[why])
        self.why = why


@dataclass(frozen=True, slots=True)
class Wish:
    """A wish as it stands now. `reason`: what the desk wrote to it, for the guest."""

    id: str
    until: datetime
    state: WishState
    reason: str | None
    asked_by: str
    asked_at: datetime
    decided_by: str | None
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a stay may ask for, and its newest wish.

    Attributes:
        why_not: None: it may ask for an hour after `ends_at`, up to `latest`.
        latest: None: the house offers none.
        alone_until: Up to here it is granted without anybody, where nobody waits for the room.
        house_knows: The building holds the end that `ends_at` says: its doors open until then.
    """

    why_not: WhyNot | None
    ends_at: datetime
    latest: datetime | None
    alone_until: datetime | None
    house_knows: bool
    wish: Wish | None


@dataclass(frozen=True, slots=True)
class OpenWish:
    """A wish that waits for the desk, with what the desk has to know of it."""

    wish: Wish
    stay: str
    guest_name: str
    room: str | None
    ends_at: datetime
    next: NextGuest | None
    """Who has the room next; before the hour asked for, it cannot be granted."""


def at_hour(on: datetime, hour: str, zone: ZoneInfo) -> datetime:
    """Return an hour (`HH:MM`) of the day on which `on` is in a zone. Pure."""
    return datetime.combine(on.astimezone(zone).date(), late_check_out.hour(hour), zone).astimezone(UTC)


def state_of(row: Mapping[str, Any], stay: Stay, *, booked_ms: int, now_ms: int) -> WishState:
    """Return where a wish stands, by the end that its stay has now. Pure.

    Args:
        row: The wish as it is written.
        stay: Its stay.
        booked_ms: The end that the stay has without a late check-out (unix ms).
        now_ms: Unix milliseconds.
    """
    written, until_ms, ends_ms = WishState(row["state"]), unix_ms(row["until"]), unix_ms(stay.expected_until)
    on_its_day = same_night(booked_ms, until_ms)
    if written is WishState.GRANTED:
        return written if on_its_day and ends_ms >= until_ms else WishState.OVERTAKEN
    if written is not WishState.ASKED:
        return written
    if stay.state is not StayState.IN_HOUSE or not on_its_day or ends_ms >= until_ms:
        return WishState.OVERTAKEN
    return WishState.LAPSED if now_ms >= ends_ms else written


def _offered(
    stay: Stay, policy: LateCheckOutPolicy, zone: ZoneInfo, *, booked_ms: int, now_ms: int
) -> tuple[WhyNot | None, datetime | None, datetime | None]:
    """Return why a stay may not ask, the latest hour, and up to where it is granted alone. Pure."""
    if policy.latest is None:
        return WhyNot.NOT_OFFERED, None, None
    day = at(booked_ms)
    latest = min(at_hour(day, policy.latest, zone), at(booked_ms + SAME_DAY_MS))
    alone = None if policy.alone_until is None else at_hour(day, policy.alone_until, zone)
    if stay.state is not StayState.IN_HOUSE:
        return WhyNot.NOT_IN_HOUSE, latest, alone
    if now_ms >= unix_ms(stay.expected_until):
        return WhyNot.OVER, latest, alone
    if latest <= stay.expected_until:
        return WhyNot.NOT_LATER, latest, alone
    return None, latest, alone


async def offer(connection: Connection, place: Property, stay: Stay, *, now_ms: int) -> Offer:
    """Return what a stay may ask for now, and how its newest wish stands."""
    rows = await _wishes(connection, place, stay.id)
    return (await _told(connection, place, stay, rows, now_ms=now_ms))[0]


async def ask(
    connection: Connection, place: Property, stay_id: str, hour: str, *, by: str, dice: Dice, now_ms: int
) -> Offer:
    """Ask for an hour (`HH:MM`) of the day on which a stay ends. The same again is the same wish.

    Raises:
        LateCheckOutError: it may not be asked for.
    """
    stay, rows, zone = await _locked(connection, place, stay_id)
    told, policy_version = await _told(connection, place, stay, rows, now_ms=now_ms)
    ends = await ends_of(connection, property_id=place.id, stay=stay.id)
    until = at_hour(stay.expected_until if ends is None else at(ends.booked_ms), hour, zone)
    known = told.wish
    if known is not None and known.until == until and known.state in (WishState.ASKED, WishState.GRANTED):
        return told
    if told.why_not is not None:
        raise LateCheckOutError(told.why_not)
    if known is not None and known.state is WishState.ASKED:
        raise LateCheckOutError(WhyNot.ASKED_ALREADY)
    if until <= told.ends_at:
        raise LateCheckOutError(WhyNot.NOT_LATER)
    if told.latest is None or until > told.latest:
        raise LateCheckOutError(WhyNot.TOO_LATE)
    refused = (row["until"] for row in rows if row["state"] == WishState.REFUSED)
    if any(each <= until and same_night(unix_ms(each), unix_ms(until)) for each in refused):
        raise LateCheckOutError(WhyNot.REFUSED_ALREADY)
    if len(rows) >= WISHES_MOST:
        raise LateCheckOutError(WhyNot.TOO_OFTEN)
    wish_id = f"lw-{dice.bytes(10).hex()}"
    await execute(
        connection,
        "UPDATE checkin.late_wish SET state = 'overtaken', decided_by = %s, decided_at = %s"
        " WHERE property = %s AND stay = %s AND state = 'asked'",  # an open one was refused above
        [by, at(now_ms), place.id, stay.id],
    )
    await execute(
        connection,
        """INSERT INTO checkin.late_wish (id, tenant, property, stay, until, state, policy_version, asked_by, asked_at)
           VALUES (%s, %s, %s, %s, %s, 'asked', %s, %s, %s)""",
        [wish_id, place.tenant, place.id, stay.id, until, policy_version, by, at(now_ms)],
    )
    if told.alone_until is not None and until <= told.alone_until and stay.room is not None:
        await _grant_alone(connection, place, stay, wish_id, until=until, now_ms=now_ms)
    await notify_live(connection, place.id, (LIVE_KIND,))
    return await _again(connection, place, stay.id, now_ms=now_ms)


async def withdraw(connection: Connection, place: Property, stay_id: str, *, by: str, now_ms: int) -> Offer:
    """Take back what was asked for and not answered. Where nothing is open, nothing changes."""
    await _locked(connection, place, stay_id)
    await execute(
        connection,
        "UPDATE checkin.late_wish SET state = 'withdrawn', decided_by = %s, decided_at = %s"
        " WHERE property = %s AND stay = %s AND state = 'asked'",
        [by, at(now_ms), place.id, stay_id],
    )
    await notify_live(connection, place.id, (LIVE_KIND,))
    return await _again(connection, place, stay_id, now_ms=now_ms)


async def answer(
    connection: Connection,
    place: Property,
    stay_id: str,
    wish_id: str,
    *,
    granted: bool,
    reason: str | None,
    by: str,
    now_ms: int,
) -> Offer:
    """Grant or refuse what a stay asked for. The same answer again changes nothing.

    Raises:
        LateCheckOutError: the wish is not open any more, or the room is promised.
    """
    stay, rows, _ = await _locked(connection, place, stay_id)
    row = next((each for each in rows if each["id"] == wish_id), None)
    wanted = WishState.GRANTED if granted else WishState.REFUSED
    if row is not None and row["state"] == wanted:
        return await _again(connection, place, stay_id, now_ms=now_ms)
    told, _ = await _told(connection, place, stay, rows, now_ms=now_ms)
    if row is None or told.wish is None or told.wish.id != wish_id or told.wish.state is not WishState.ASKED:
        raise LateCheckOutError(WhyNot.NO_WISH)
    if granted:
        try:
            await grant_late(connection, _place(place), stay_id, until_ms=unix_ms(row["until"]), now_ms=now_ms)
        except RoomPromisedError as error:
            raise LateCheckOutError(WhyNot.ROOM_PROMISED) from error
        except NotLaterError as error:
            raise LateCheckOutError(WhyNot.NO_WISH) from error
    await _decide(connection, wish_id, wanted, reason=reason, by=by, now_ms=now_ms)
    await notify_live(connection, place.id, (LIVE_KIND,))
    return await _again(connection, place, stay_id, now_ms=now_ms)


async def waiting(connection: Connection, place: Property, *, now_ms: int) -> list[OpenWish]:
    """Return the wishes of a house that the desk may still answer: whose stay ends first, first."""
    rows = await fetch_all(
        connection,
        """SELECT w.*, s.share FROM checkin.late_wish w JOIN stays.stay s ON s.property = w.property AND s.id = w.stay
            WHERE w.tenant = %s AND w.property = %s AND w.state = 'asked' AND s.state = 'in_house'
              AND s.expected_until > %s
            ORDER BY s.expected_until, w.n LIMIT %s""",
        [place.tenant, place.id, at(now_ms), QUEUE_MOST],
    )
    found = []
    for row in rows:
        stay = await stay_by_id(connection, tenant=place.tenant, property_id=place.id, stay=row["stay"])
        if stay is None:
            continue
        wish = await _wish(connection, place, stay, row, now_ms=now_ms)
        if wish.state is not WishState.ASKED:
            continue
        after = None
        if stay.room is not None:
            after = await next_in_room(
                connection, property_id=place.id, stay=stay.id, room=stay.room, share=row["share"]
            )
        found.append(OpenWish(wish, stay.id, stay.guest_name, stay.room, stay.expected_until, after))
    return found


async def _grant_alone(
    connection: Connection, place: Property, stay: Stay, wish_id: str, *, until: datetime, now_ms: int
) -> None:
    """Grant a wish if nobody waits for the room; else it is the desk's."""
    zone = ZoneInfo(place.zone)
    if stay.room is None or not await nobody_waits(
        connection, _place(place), room=stay.room, day=until.astimezone(zone).date(), zone=zone, now_ms=now_ms
    ):
        return
    try:
        await grant_late(connection, _place(place), stay.id, until_ms=unix_ms(until), now_ms=now_ms)
    except (NotLaterError, RoomPromisedError):
        return
    await _decide(connection, wish_id, WishState.GRANTED, reason=None, by=BY_POLICY, now_ms=now_ms)


async def _decide(
    connection: Connection, wish_id: str, state: WishState, *, reason: str | None, by: str, now_ms: int
) -> None:
    await execute(
        connection,
        "UPDATE checkin.late_wish SET state = %s, reason = %s, decided_by = %s, decided_at = %s WHERE id = %s",
        [state.value, reason, by, at(now_ms), wish_id],
    )


async def _locked(connection: Connection, place: Property, stay_id: str) -> tuple[Stay, list[dict[str, Any]], ZoneInfo]:
    """Return a stay and its wishes as they are while nobody else changes the house's stays."""
    await lock_for_transaction(connection, "stays", place.id)
    stay = await stay_by_id(connection, tenant=place.tenant, property_id=place.id, stay=stay_id)
    if stay is None:
        raise LateCheckOutError(WhyNot.NOT_IN_HOUSE)
    return stay, await _wishes(connection, place, stay_id), ZoneInfo(place.zone)


async def _again(connection: Connection, place: Property, stay_id: str, *, now_ms: int) -> Offer:
    stay, rows, _ = await _locked(connection, place, stay_id)
    return (await _told(connection, place, stay, rows, now_ms=now_ms))[0]


async def _wishes(connection: Connection, place: Property, stay_id: str) -> list[dict[str, Any]]:
    """Return every wish of a stay, the newest first."""
    return await fetch_all(
        connection,
        "SELECT * FROM checkin.late_wish WHERE tenant = %s AND property = %s AND stay = %s ORDER BY n DESC",
        [place.tenant, place.id, stay_id],
    )


async def _told(
    connection: Connection, place: Property, stay: Stay, rows: list[dict[str, Any]], *, now_ms: int
) -> tuple[Offer, int]:
    held = await body_in_force(connection, tenant=place.tenant, property_id=place.id, kind=late_check_out.KIND)
    policy = late_check_out.DEFAULT if held is None else late_check_out.parse(held[1])
    ends = await ends_of(connection, property_id=place.id, stay=stay.id)
    booked_ms = unix_ms(stay.expected_until) if ends is None else ends.booked_ms
    why_not, latest, alone = _offered(stay, policy, ZoneInfo(place.zone), booked_ms=booked_ms, now_ms=now_ms)
    wish = await _wish(connection, place, stay, rows[0], now_ms=now_ms) if rows else None
    told = Offer(why_not, stay.expected_until, latest, alone, stay.edge_held, wish)
    return told, 0 if held is None else held[0]


async def _wish(connection: Connection, place: Property, stay: Stay, row: Mapping[str, Any], *, now_ms: int) -> Wish:
    ends = await ends_of(connection, property_id=place.id, stay=stay.id)
    booked_ms = unix_ms(stay.expected_until) if ends is None else ends.booked_ms
    return Wish(
        row["id"],
        row["until"],
        state_of(row, stay, booked_ms=booked_ms, now_ms=now_ms),
        row["reason"],
        row["asked_by"],
        row["asked_at"],
        row["decided_by"],
        row["decided_at"],
    )


def _place(place: Property) -> Place:
    return Place(place.tenant, place.id, place.edge)
