"""Rooms for arrivals: as many as can be, then as they wish; the same answer each time."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.kit.database import Database, fetch_all
from cloud.stays.assigning import Asked, give_rooms
from cloud.stays.assignment import Candidate, Floor, Wish, assign, fits, liking
from cloud.stays.life import Claim, StayState, settle
from cloud.stays.reservation import Housekeeping, PmsStatus, RoomCondition
from cloud.stays.stays import set_conditions, stay_id, upsert_reservations
from tests.cloud.houses import AURORA, DAY_MS, HOUR_MS, NOW_MS, PLACE, open_house, reservation

pytestmark = pytest.mark.requirement("STY-04")
DOUBLE = "double"


def room(id_: str, *taken: tuple[int, int], floor: int = 1, ready: bool = True, type_: str = DOUBLE) -> Candidate:
    return Candidate(id_, type_, floor, ready, taken=taken)


def test_who_comes_soon_gets_what_is_ready_and_who_likes_height_gets_it() -> None:
    soon = Wish("s1", DOUBLE, 0, 10, soon=True)
    high = Wish("s2", DOUBLE, 0, 10, floor=Floor.HIGH)
    rooms = [room("101"), room("201", floor=2, ready=False), room("301", floor=3, ready=False)]
    assert assign([soon, high], rooms) == {"s1": "101", "s2": "201"} or assign([soon, high], rooms)["s2"] == "301"
    assert assign([soon], rooms) == {"s1": "101"}


def test_another_type_or_a_room_taken_for_one_night_is_no_room() -> None:
    wish = Wish("s1", DOUBLE, 10, 30)
    assert assign([wish], [room("1", type_="suite"), room("2", (20, 21))]) == {}
    assert assign([wish], [room("2", (0, 10), (30, 40))]) == {"s1": "2"}, "the day of change is nobody's twice"


def test_one_room_serves_two_stays_one_after_the_other() -> None:
    assert assign([Wish("a", DOUBLE, 0, 10), Wish("b", DOUBLE, 10, 20)], [room("1")]) == {"a": "1", "b": "1"}


_spans = st.tuples(st.integers(0, 5), st.integers(1, 4)).map(lambda each: (each[0], each[0] + each[1]))
_wishes = st.lists(st.tuples(_spans, st.booleans(), st.sampled_from([None, *Floor])), max_size=4)
_rooms = st.lists(st.tuples(st.lists(_spans, max_size=1), st.integers(1, 3), st.booleans()), max_size=3)


@settings(max_examples=25, deadline=None)
@given(_wishes, _rooms)
def test_no_other_assignment_is_better(
    wished: list[tuple[tuple[int, int], bool, Floor | None]], known: list[tuple[list[tuple[int, int]], int, bool]]
) -> None:
    wishes = [Wish(f"s{n}", DOUBLE, span[0], span[1], soon, floor) for n, (span, soon, floor) in enumerate(wished)]
    rooms = [room(f"r{n}", *taken, floor=floor, ready=ready) for n, (taken, floor, ready) in enumerate(known)]
    by_id = {each.id: each for each in rooms}
    floors = sorted(each.floor or 0 for each in rooms)
    middle = floors[len(floors) // 2] if floors else 0

    def worth(pairs: list[tuple[Wish, str | None]]) -> int:
        given_ = [(wish, by_id[id_]) for wish, id_ in pairs if id_ is not None]
        for (one, here), (other, there) in itertools.combinations(given_, 2):
            if here.id == there.id and one.from_ms < other.until_ms and other.from_ms < one.until_ms:
                return -1
        if not all(fits(wish, each) for wish, each in given_):
            return -1
        return sum(1_000_000 + liking(wish, each, middle) for wish, each in given_)

    found = assign(wishes, rooms)
    ours = worth([(wish, found.get(wish.stay)) for wish in wishes])
    best = max(
        worth(list(zip(wishes, each, strict=True))) for each in itertools.product([None, *by_id], repeat=len(wishes))
    )
    assert ours == best
    assert found == assign(list(reversed(wishes)), list(reversed(rooms)))


def test_those_who_share_have_a_room_together_and_nobody_else_with_them() -> None:
    anna = Claim("a", StayState.IN_HOUSE, "101", 0, 100, 5, share="x")
    ben = Claim("b", StayState.PLANNED, "101", 0, 100, None, share="x")
    eve = Claim("e", StayState.PLANNED, "101", 50, 60, None)
    settled = settle([eve, ben, anna], {"101": Housekeeping.DIRTY}, now_ms=10)
    assert (settled["a"].room, settled["b"].room, settled["e"].room) == ("101", "101", None)
    assert settled["b"].state is StayState.READY, "his friend is inside already"
    alone = settle([ben, Claim("c", StayState.PLANNED, "101", 0, 90, None, share="x")],
                   {"101": Housekeeping.DIRTY}, now_ms=10)  # fmt: skip
    assert {each.state for each in alone.values()} == {StayState.PLANNED}


@pytest.mark.tier("postgres")
async def test_arrivals_get_rooms_and_keep_them_until_the_pms_says_otherwise(database: Database) -> None:
    await open_house(database)
    booked = [reservation("r1", room="101"), reservation("r2", room=None), reservation("r3", room=None)]
    async with database.transaction() as connection:
        await upsert_reservations(connection, PLACE, booked, now_ms=NOW_MS)
        broken = RoomCondition("102", Housekeeping.OUT_OF_ORDER, NOW_MS + 1)
        await set_conditions(connection, PLACE, [broken], now_ms=NOW_MS + 1)
    r1, r2, r3 = (stay_id(AURORA.id, "mews", each) for each in ("r1", "r2", "r3"))
    asked = {each: Asked(DOUBLE) for each in (r1, r2, r3, "s-none")}
    given_, why_not = await give_rooms(database, PLACE, asked, now_ms=NOW_MS)
    assert list(given_.values()) == ["103"]
    assert why_not[r1] == why_not["s-none"] == "is no arrival without a room"
    [left] = {r2, r3} - given_.keys()
    assert "free" in why_not[left]
    [lucky] = given_
    external = "r2" if lucky == r2 else "r3"
    async with database.transaction() as connection:
        later = reservation(external, room=None, updated_ms=NOW_MS + 5, departure_ms=NOW_MS + 2 * DAY_MS)
        await upsert_reservations(connection, PLACE, [later], now_ms=NOW_MS + 5)
        [row] = await fetch_all(connection, "SELECT room FROM stays.stay WHERE id = %s", [lucky])
        assert row["room"] == "103", "extended, and still there"
        moved = reservation(external, room="101", updated_ms=NOW_MS + 6, arrival_ms=NOW_MS + 30 * HOUR_MS,
                            departure_ms=NOW_MS + 60 * HOUR_MS)  # fmt: skip
        await upsert_reservations(connection, PLACE, [moved], now_ms=NOW_MS + 6)
        [row] = await fetch_all(connection, "SELECT room FROM stays.stay WHERE id = %s", [lucky])
        assert row["room"] == "101", "the PMS's wish goes first"
        gone = reservation(external, status=PmsStatus.NO_SHOW, updated_ms=NOW_MS + 7)
        await upsert_reservations(connection, PLACE, [gone], now_ms=NOW_MS + 7)
    again, _ = await give_rooms(database, PLACE, {left: Asked(DOUBLE)}, now_ms=NOW_MS + 8)
    assert again == {left: "103"}
