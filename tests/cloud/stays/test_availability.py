"""Which rooms are free for which nights: what is had, what arrivals wait for, what cannot be sold."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.kit.database import Database
from cloud.kit.times import at
from cloud.stays import availability
from cloud.stays.availability import HouseRoom, Occupant, TypeAvailability, available, read
from cloud.stays.reservation import Housekeeping, PmsStatus, RoomCondition
from cloud.stays.sharing import share
from cloud.stays.stays import set_conditions, stay_id, upsert_reservations
from tests.cloud.houses import AURORA, DAY_MS, HOUR_MS, NOW_MS, PLACE, open_house, reservation

pytestmark = [pytest.mark.requirement("STY-03"), pytest.mark.requirement("STY-10")]

VIENNA = ZoneInfo("Europe/Vienna")
FIRST = date(2026, 11, 23)
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def double(id_: str, condition: Housekeeping | None = Housekeeping.CLEAN, type_: str | None = "double") -> HouseRoom:
    return HouseRoom(id_, type_, 1, condition)


def stay(
    room: str | None,
    since: int,
    until: int,
    *,
    in_house: bool = False,
    type_: str | None = "double",
    share: str | None = None,
) -> Occupant:
    """From three in the afternoon of one day after FIRST to eleven in the morning of another, in the house's zone."""
    noon = datetime(2026, 11, 23, tzinfo=VIENNA)
    return Occupant(
        room, type_, noon + since * DAY + timedelta(hours=15), noon + until * DAY + timedelta(hours=11), in_house, share
    )


def ask(rooms: Sequence[HouseRoom], stays: Sequence[Occupant], nights: int = 2) -> TypeAvailability:
    [told] = available(rooms, stays, first=FIRST, end=FIRST + nights * DAY, now=NOW, zone=VIENNA).types
    return told


def free(told: TypeAvailability) -> list[str]:
    return [each.id for each in told.free_rooms]


def test_who_leaves_and_who_comes_on_a_day_do_not_meet() -> None:
    rooms = [double("101"), double("102"), double("103")]
    told = ask(rooms, [stay("101", -2, 0), stay("102", 2, 5), stay("103", 1, 2)])
    assert free(told) == ["101", "102"]
    assert told.free == 2


def test_a_stay_of_one_day_has_its_night_and_one_that_should_be_over_has_this_one() -> None:
    rooms = [double("101"), double("102")]
    assert free(ask(rooms, [Occupant("101", None, NOW, NOW + timedelta(hours=3))])) == ["102"]
    late = stay("101", -3, -1, in_house=True)
    assert free(ask(rooms, [late], nights=1)) == ["102"], "he is still in there"
    assert [each.ready for each in ask(rooms, [stay("101", -1, 0, in_house=True)]).free_rooms] == [False, True]
    early = stay("101", 1, 2, in_house=True)
    assert free(ask(rooms, [early], nights=1)) == ["102"], "he came a day before his day"
    only_tomorrow = available(rooms, [late], first=FIRST + DAY, end=FIRST + 2 * DAY, now=NOW, zone=VIENNA)
    assert free(only_tomorrow.types[0]) == ["101", "102"]


def test_what_arrivals_wait_for_is_not_free_twice() -> None:
    rooms = [double("101"), double("102"), double("103", Housekeeping.OUT_OF_ORDER)]
    told = ask(rooms, [stay(None, 0, 1), stay(None, 1, 2), stay(None, 1, 2, type_="suite")])
    assert (told.rooms, told.closed, told.waiting, told.free) == (3, 1, 1, 1)
    assert free(told) == ["101", "102"]
    unknown = [stay(None, 0, 1, type_="a1b2-of-the-pms"), stay(None, 0, 1, type_=None)]
    whole = available(rooms, unknown, first=FIRST, end=FIRST + DAY, now=NOW, zone=VIENNA)
    assert whole.waiting_untold == 2, "a type that the house does not have is none that anybody told"
    over = ask(rooms, [stay(None, 0, 2), stay(None, 0, 2), stay("101", 0, 1)])
    assert over.free == -1, "more was sold than there is"


def test_those_who_share_take_one_room() -> None:
    rooms = [double("101"), double("102")]
    together = [stay(None, 0, 2, share="x"), stay(None, 0, 2, share="x")]
    assert ask(rooms, together).waiting == 1
    assert ask(rooms, [stay("101", 0, 2, share="x"), stay(None, 0, 2, share="x")]).waiting == 0
    stays_on = [stay(None, 0, 2, share="x"), stay("101", 0, 1, share="x")]
    assert (ask(rooms, stays_on).waiting, ask(rooms, stays_on).free) == (1, 1), "who stays on needs a room still"
    vague = [stay(None, 0, 1, share="x", type_=None), stay(None, 0, 1, share="x")]
    assert ask(rooms, vague, nights=1).waiting == 1, "one of them told which type"


def test_an_arrival_of_no_told_type_is_told_apart() -> None:
    told = available(
        [double("101"), double("9", type_=None)],
        [stay(None, 0, 1, type_=None)],
        first=FIRST,
        end=FIRST + DAY,
        now=NOW,
        zone=VIENNA,
    )
    assert [(each.type, each.free) for each in told.types] == [("double", 1), (None, 1)]
    assert told.waiting_untold == 1


def test_the_nights_are_those_of_the_house_where_a_day_has_another_length() -> None:
    spring = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)  # half past midnight of the 29th in Vienna: 23 hours long
    told = available(
        [double("101")],
        [Occupant("101", "double", spring, spring + timedelta(hours=22))],
        first=date(2026, 3, 28),
        end=date(2026, 3, 29),
        now=spring,
        zone=VIENNA,
    )
    assert free(told.types[0]) == ["101"]


_stays = st.builds(
    lambda room, since, length, type_, inside: stay(
        room, since, since + length, type_=type_, in_house=inside and room is not None
    ),
    st.sampled_from([None, "r0", "r1", "r2", "r3"]),
    st.integers(-4, 4),
    st.integers(0, 4),
    st.sampled_from(["double", "suite", None]),
    st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_stays, max_size=8), st.integers(1, 5), st.sets(st.integers(0, 3)))
def test_counted_night_by_night_it_is_the_same(stays: list[Occupant], length: int, broken: set[int]) -> None:
    rooms = [
        double(
            f"r{n}", Housekeeping.OUT_OF_SERVICE if n in broken else Housekeeping.DIRTY, "suite" if n > 2 else "double"
        )
        for n in range(4)
    ]
    told = available(rooms, stays, first=FIRST, end=FIRST + length * DAY, now=NOW, zone=VIENNA)

    def has(each: Occupant, night: date) -> bool:
        """By the clock at three in the night: whoever is meant to be asleep in it then."""
        asleep = datetime(night.year, night.month, night.day, 23, 59, tzinfo=VIENNA)
        overdue = each.in_house and each.until <= NOW and night == FIRST and each.since < asleep
        early = each.in_house and night >= FIRST and asleep < each.until
        day_use = each.since.astimezone(VIENNA).date() == night
        return each.since <= asleep < each.until or overdue or early or day_use

    for each in told.types:
        mine = [room for room in rooms if room.type == each.type]
        per_night = []
        for night in (FIRST + DAY * n for n in range(length)):
            here = [one for one in stays if has(one, night)]
            had = {one.room for one in here}
            waits = sum(one.room is None and one.type == each.type for one in here)
            per_night.append(sum(room.id not in had and room.condition is Housekeeping.DIRTY for room in mine) - waits)
        assert each.free == min(per_night)
        for room in each.free_rooms:
            assert not any(has(one, FIRST + DAY * n) for one in stays if one.room == room.id for n in range(length))


@pytest.mark.tier("postgres")
@pytest.mark.parametrize("here_most", [availability.HERE_MOST, 0], ids=["at once", "while others are answered"])
async def test_the_mirror_says_what_is_free(
    database: Database, monkeypatch: pytest.MonkeyPatch, here_most: int
) -> None:
    monkeypatch.setattr(availability, "HERE_MOST", here_most)
    await open_house(database)
    async with database.transaction() as connection:
        booked = [
            reservation("r1", room="101"),
            reservation("r2", room=None),
            reservation("r3", room="102", arrival_ms=NOW_MS + 5 * DAY_MS, departure_ms=NOW_MS + 6 * DAY_MS),
            reservation("r4", room=None, status=PmsStatus.CANCELLED),
        ]
        await upsert_reservations(connection, PLACE, booked, now_ms=NOW_MS)
        broken = RoomCondition("103", Housekeeping.OUT_OF_SERVICE, NOW_MS + 1)
        await set_conditions(connection, PLACE, [broken], now_ms=NOW_MS + 1)
    zone = ZoneInfo(AURORA.zone)
    today = at(NOW_MS).astimezone(zone).date()

    async def told(first: date, end: date) -> tuple[dict[str | None, list[str]], int]:
        async with database.snapshot() as connection:
            found = await read(
                connection,
                tenant=AURORA.tenant,
                property_id=AURORA.id,
                zone=zone,
                first=first,
                end=end,
                now_ms=NOW_MS + HOUR_MS,
            )
        return {each.type: [room.id for room in each.free_rooms] for each in found.types}, found.waiting_untold

    by_type, waiting = await told(today, today + DAY)
    everywhere = sorted(room for rooms in by_type.values() for room in rooms)
    assert "101" not in everywhere
    assert "103" not in everywhere
    assert "102" in everywhere, "his guest comes in five days"
    assert waiting == 1, "r2 has no room, and nobody told which type; r4 is no arrival"
    later, _ = await told(today, today + 6 * DAY)
    assert "102" not in sorted(room for rooms in later.values() for room in rooms)
    async with database.transaction() as connection:
        ids = [stay_id(AURORA.id, "mews", each) for each in ("r2", "r1")]
        await share(connection, PLACE, ids[0], ids[1], now_ms=NOW_MS + 2)
    _, waiting = await told(today, today + DAY)
    assert waiting == 0, "he has the other's room"
