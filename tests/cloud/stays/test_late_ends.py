"""A late check-out lies on top of the end that PMS and building say of that day (docs/decisions/0173)."""

import itertools
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.kit.database import Database, execute, fetch_all
from cloud.kit.times import unix_ms
from cloud.stays.ending import EndWord, LateEnd, Promise, heard_beside, late_stands, stands
from cloud.stays.late_ends import NotLaterError, RoomPromisedError, grant_late
from cloud.stays.life import EdgeState
from cloud.stays.promises import end_is_sent, ends_of
from cloud.stays.reservation import PmsStatus
from cloud.stays.stays import EdgeFact, apply_edge_facts, apply_end_words
from tests.cloud.houses import AURORA, HOUR_MS, NOW_MS, PLACE, open_house, reservation
from tests.cloud.stays.test_ending import STAY, Books, night, word

pytestmark = [pytest.mark.requirement("STY-09"), pytest.mark.guarantee("G2")]
postgres = pytest.mark.tier("postgres")
LATE_MS: Final = night(1) + 2 * HOUR_MS


def kept(end_ms: int) -> int | None:
    late = late_stands(LateEnd(LATE_MS), end_ms=end_ms)
    return None if late is None else max(end_ms, late.until_ms)


def test_it_is_of_the_day_on_which_the_stay_ends() -> None:
    assert kept(night(1)) == LATE_MS
    assert kept(night(1) + HOUR_MS) == LATE_MS, "another hour of that day"
    assert kept(night(1) + 3 * HOUR_MS) == night(1) + 3 * HOUR_MS, "a later one"
    assert kept(night(2)) is None, "he stays on, and leaves that day when everybody does"
    assert kept(night(0)) is None, "he leaves a day before"


WORDS: Final = st.builds(
    Promise, st.integers(0, 40).map(lambda n: night(0) + n * 6 * HOUR_MS), st.sampled_from([night(1), LATE_MS])
)


@given(new=WORDS, pms=st.sampled_from([night(1), LATE_MS]), sent=st.booleans())
def test_what_of_it_the_building_or_the_pms_had_heard_changes_nothing(new: Promise, pms: int, *, sent: bool) -> None:
    """The building's word of another night stands, whichever of the two hours it knew and the PMS has."""
    told = heard_beside(new, None, LateEnd(LATE_MS, sent), pms_until_ms=pms)
    assert (told.until_ms, told.sent_ms) == (new.until_ms, (LATE_MS,) if sent else ())
    if abs(new.until_ms - LATE_MS) > 12 * HOUR_MS and new.until_ms > NOW_MS:
        for later_ms in (pms, LATE_MS) if sent else (pms,):  # what we told it may come to it after the word
            assert stands(told, pms_until_ms=later_ms, pms_left=False, from_ms=NOW_MS) == told


def test_an_echo_of_an_earlier_word_is_known_through_it() -> None:
    before = Promise(night(1), night(3))
    new = heard_beside(Promise(night(2), LATE_MS), before, LateEnd(LATE_MS), pms_until_ms=night(3))
    assert new == Promise(night(2), night(3))


class House(Books):
    """A house in which a guest may be granted an hour."""

    async def inside(self) -> None:
        await self.pms(nights=1)
        await self.edge()

    async def grant(self, until_ms: int = LATE_MS) -> None:
        async with self.database.transaction() as connection:
            await grant_late(connection, PLACE, STAY, until_ms=until_ms, now_ms=NOW_MS)

    async def pms_says(self, until_ms: int, status: PmsStatus = PmsStatus.IN_HOUSE) -> None:
        self.pms_at += 1
        await self.tell(reservation("r1", status=status, departure_ms=until_ms, updated_ms=NOW_MS + self.pms_at))

    async def until(self) -> int:
        """Return when the stay ends, as stays and document both say."""
        row = await self.row()
        _, told = await self.document()
        assert told[STAY][0] == unix_ms(row["expected_until"]), "the building is told one end"
        return told[STAY][0]

    async def events(self) -> list[int]:
        async with self.database.transaction() as connection:
            rows = await fetch_all(connection, "SELECT body FROM outbox.event WHERE type = 'stay.late_check_out'")
        return [row["body"]["until_ms"] for row in rows]


@pytest.fixture
async def house(database: Database) -> House:
    await open_house(database)
    return House(database)


@postgres
class TestGranting:
    async def test_what_is_granted_twice_is_granted_once(self, house: House) -> None:
        await house.inside()
        before = await house.row()
        await house.grant()
        once, document = await house.row(), await house.document()
        assert await house.until() == LATE_MS
        assert (once["room"], once["state"], once["version"]) == ("101", "in_house", before["version"] + 2)
        await house.grant()
        assert (await house.row(), await house.document()) == (once, document)
        assert await house.events() == [LATE_MS]
        assert await house.shown() == {"r1": ("in_house", "101", 1, None)}, "nobody has to look at it"

    async def test_it_is_refused_to_who_is_not_there_or_leaves_later(self, house: House) -> None:
        await house.pms(nights=1, status=PmsStatus.BOOKED)
        for until_ms in (LATE_MS, night(1), night(2)):
            with pytest.raises(NotLaterError):
                await house.grant(until_ms)
            await house.edge()
            if until_ms == LATE_MS:
                await house.grant(LATE_MS)
        await house.edge(9, EdgeState.CHECKED_OUT)
        with pytest.raises(NotLaterError):
            await house.grant(LATE_MS + HOUR_MS)
        assert await house.events() == [LATE_MS]

    async def test_a_room_that_somebody_comes_into_before_is_not_given_on(self, house: House) -> None:
        await house.inside()
        await house.tell(reservation("r2", arrival_ms=night(1) + HOUR_MS, departure_ms=night(2), updated_ms=NOW_MS))
        row = await house.row()
        with pytest.raises(RoomPromisedError):
            await house.grant()
        assert await house.row() == row
        await house.grant(night(1) + HOUR_MS)
        assert await house.until() == night(1) + HOUR_MS, "up to then it is his"
        assert (await house.shown())["r2"] == ("planned", "101", 2, None)

    async def test_nor_one_that_we_gave_to_somebody_who_has_not_got_it_yet(self, house: House) -> None:
        """His arrival is before the hour in which the room is free: it is his once it is."""
        await house.inside()
        coming = reservation("r2", room=None, arrival_ms=night(1) + HOUR_MS, departure_ms=night(2), updated_ms=NOW_MS)
        await house.tell(coming)
        async with house.database.transaction() as connection:
            await execute(connection, "UPDATE stays.stay SET room_given = '101' WHERE external_id = 'r2'")
        assert (await house.shown())["r2"][1] is None
        with pytest.raises(RoomPromisedError):
            await house.grant()

    async def test_a_move_takes_it_along_and_shows_whom_it_is_in_the_way_of(self, house: House) -> None:
        await house.inside()
        await house.tell(
            reservation("r2", room="102", arrival_ms=night(1) + HOUR_MS, departure_ms=night(2), updated_ms=NOW_MS)
        )
        await house.grant()
        await house.pms(nights=1, room="102")
        async with house.database.transaction() as connection:
            fact = EdgeFact(STAY, EdgeState.CHECKED_IN, "102", "desk", NOW_MS + 2, b"i" * 16, 2)
            await apply_edge_facts(connection, PLACE, [fact], now_ms=NOW_MS)
        assert await house.until() == LATE_MS
        shown = await house.shown()
        assert shown["r1"] == ("in_house", "102", 1, None)
        assert shown["r2"] == ("planned", None, 2, "double_sale")


@postgres
class TestOtherWords:
    @pytest.mark.parametrize("knows", [True, False], ids=["heard of it", "off line"])
    @pytest.mark.parametrize("nights", [0.5, 2, 3])
    async def test_a_building_that_says_another_day_is_taken_at_its_word(
        self, house: House, nights: float, *, knows: bool
    ) -> None:
        await house.inside()
        await house.grant()
        until_ms = round(night(0) + nights * 24 * HOUR_MS)
        said = EndWord(STAY, 1, Promise(until_ms, LATE_MS if knows else night(1)), "Frau Maier", NOW_MS)
        await house.said(said)
        assert await house.until() == until_ms
        assert (await house.row())["late_until"] is None
        await house.said(said)
        assert await house.until() == until_ms

    async def test_an_hour_that_the_building_says_in_the_knowledge_of_it_counts(self, house: House) -> None:
        await house.inside()
        await house.grant()
        await house.said(EndWord(STAY, 1, Promise(night(1) + HOUR_MS, LATE_MS), "Frau Maier", NOW_MS))
        assert await house.until() == night(1) + HOUR_MS

    async def test_of_two_hours_that_were_promised_apart_the_later_stands(self, house: House) -> None:
        """Off line the desk gave one hour while the cloud gave two: nobody's key dies before what he was told."""
        await house.inside()
        await house.grant()
        await house.said(EndWord(STAY, 1, Promise(night(1) + HOUR_MS, night(1)), "Frau Maier", NOW_MS))
        assert await house.until() == LATE_MS
        assert await house.document() == (3, {STAY: (LATE_MS, 1)}), "and the building hears that it was heard"

    async def test_all_orders_of_a_day_end_alike(self, database: Database) -> None:
        """The PMS has the hour from us; off line the building says one night more, and then half a day less."""
        ends, less_ms = set(), night(0) + 12 * HOUR_MS
        words = [word(1, until=2), EndWord(STAY, 2, Promise(less_ms, night(1)), "Frau Maier", NOW_MS)]
        for order in itertools.permutations(range(3)):
            async with database.transaction() as connection:
                await execute(connection, "DELETE FROM stays.stay; DELETE FROM stays.reservation")
                await execute(connection, "DELETE FROM stays.document")
            await open_house(database)
            house = House(database)
            await house.inside()
            await house.grant()
            async with database.transaction() as connection:
                assert await end_is_sent(connection, property_id=AURORA.id, stay=STAY, until_ms=LATE_MS)
            for each in order:
                if each == 0:
                    await house.pms_says(LATE_MS)
                else:
                    await house.said(words[each - 1])
                await house.until()
            ends.add(await house.until())
        assert ends == {less_ms}, "the building's last word: what the PMS said of the hour was ours"

    @pytest.mark.parametrize(
        ("says_ms", "ends_ms"),
        [
            (night(1) + HOUR_MS, LATE_MS),
            (LATE_MS, LATE_MS),
            (LATE_MS + HOUR_MS, LATE_MS + HOUR_MS),
            (night(3), night(3)),
            (night(0) + 2 * HOUR_MS, night(0) + 2 * HOUR_MS),
        ],
    )
    async def test_what_the_pms_says_of_that_day_takes_nothing_back(
        self, house: House, says_ms: int, ends_ms: int
    ) -> None:
        await house.inside()
        await house.grant()
        await house.pms_says(says_ms)
        assert await house.until() == ends_ms
        await house.pms_says(night(1))
        assert await house.until() == (LATE_MS if abs(says_ms - LATE_MS) < 12 * HOUR_MS else night(1)), "what fell fell"

    async def test_who_leaves_before_has_left(self, house: House) -> None:
        await house.inside()
        await house.grant()
        await house.edge(2, EdgeState.CHECKED_OUT)
        assert (await house.shown())["r1"][0] == "left"
        async with house.database.transaction() as connection:
            assert not await end_is_sent(connection, property_id=AURORA.id, stay=STAY, until_ms=LATE_MS)
            ends = await ends_of(connection, property_id=AURORA.id, stay=STAY)
            await apply_end_words(connection, PLACE, [word(1, until=3)], now_ms=NOW_MS)
        assert ends is not None
        assert ends.late is None
        assert (await house.shown())["r1"][0] == "left"
