"""When a stay ends, of which the building and the PMS say different things (docs/decisions/0143)."""

import itertools
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.kit.database import Database, execute, fetch_all
from cloud.kit.times import at, unix_ms
from cloud.stays.ending import EndWord, Promise, from_us, heard, settled, stands
from cloud.stays.life import EdgeState
from cloud.stays.listing import current_stays, stays_in_conflict
from cloud.stays.reservation import PmsStatus, Reservation
from cloud.stays.stays import EdgeFact, apply_edge_facts, apply_end_words, stay_id, upsert_reservations
from tests.cloud.houses import AURORA, DAY_MS, NOW_MS, PLACE, open_house, reservation

STAY: Final = stay_id(AURORA.id, "mews", "r1")
ENDS_MS: Final = NOW_MS + DAY_MS
Row = tuple[str, str | None, int, str | None]


def night(n: int) -> int:
    return NOW_MS + n * DAY_MS


def word(n: int, *, until: int, told: int = 1, stay: str = STAY) -> EndWord:
    """The building's `n`th word; `until` and `told` in nights."""
    return EndWord(stay, n, Promise(night(until), night(told)), "Frau Maier", NOW_MS)


def kept(promise: Promise | None, pms: int, *, left: bool = False) -> Promise | None:
    return stands(promise, pms_until_ms=night(pms), pms_left=left, from_ms=NOW_MS)


LONGER: Final = Promise(night(3), night(1))
SHORTER: Final = Promise(night(1), night(3))


@pytest.mark.parametrize(
    ("promise", "pms", "stands_still"),
    [
        (LONGER, 1, True),  # the PMS has not heard
        (LONGER, 2, True),  # it made it longer too, and not so long: nobody is locked out of what he was promised
        (LONGER, 3, False),  # entered
        (LONGER, 4, False),  # longer still
        (SHORTER, 3, True),
        (SHORTER, 1, False),
        (SHORTER, 2, False),  # changed there meanwhile, to what is later
        (SHORTER, 4, False),
    ],
)
def test_the_building_is_held_to_its_word_until_the_pms_says_as_much(
    promise: Promise, pms: int, *, stands_still: bool
) -> None:
    assert (kept(promise, pms) is not None) is stands_still
    assert kept(promise, pms, left=True) is None
    assert kept(None, pms) is None


def test_a_promise_that_would_end_a_stay_before_it_begins_is_none() -> None:
    assert stands(LONGER, pms_until_ms=night(5), pms_left=False, from_ms=night(3)) is None


def test_an_echo_is_held_against_what_the_pms_said() -> None:
    """A longer stay came back in the document, and then the guest leaves after all when he was to leave at first."""
    back = heard(Promise(night(1), night(3)), LONGER)
    assert back == Promise(night(1), night(1))
    assert kept(back, 1) is None, "the PMS never said anything else"
    assert heard(Promise(night(2), night(5)), LONGER) == Promise(night(2), night(5)), "the PMS has spoken since"


def test_what_the_pms_has_from_us_is_no_word_of_its_own() -> None:
    """Five nights were told it, or may have been, when the guest thinks again."""
    first = Promise(night(5), night(1), (night(5),))
    assert kept(first, 5) is None, "it has it"
    for nights in (1, 3):
        again = heard(Promise(night(nights), night(5)), first)
        assert again == Promise(night(nights), night(1), (night(5),))
        assert kept(again, 5) == again, "it has the word before this one"
        assert stands(again, pms_until_ms=night(5) - 6 * 3_600_000, pms_left=False, from_ms=NOW_MS) == again, "of days"
        assert kept(again, 6) is None, "that is further than anybody told it"
        assert kept(again, nights) == again, "the word before may be on its way still"
        assert kept(settled(again, pms_until_ms=night(nights)), nights) is None
        refused = settled(again, pms_until_ms=night(5))
        assert refused == Promise(night(nights), night(5)), "it would not hear more: the difference is shown"
        assert kept(refused, 5) == refused
        assert kept(refused, 4) is None, "and from now on it speaks for itself"


def test_the_hour_that_the_pms_has_of_our_word_is_no_word_of_its_own() -> None:
    """It knows days alone and took "five nights, until four" as "until eleven"; then the guest thinks again."""
    late_ms = night(5) + 5 * 3_600_000
    first = settled(Promise(late_ms, night(1), (late_ms,)), pms_until_ms=night(5))
    assert kept(first, 5) == first == Promise(late_ms, night(5)), "he has the hours that he was promised"
    again = heard(Promise(night(3) + 5 * 3_600_000, late_ms), first)
    assert kept(again, 5) == again
    assert kept(again, 6) is None, "that is further than anybody told it"


def test_what_the_pms_has_from_us_is_ours_until_it_names_another_night() -> None:
    """Five nights were told it and it has them; the building has not heard of that when the guest thinks again."""
    first = Promise(night(5), night(1), (night(5),))
    assert kept(first, 5) is None
    assert from_us(night(5), first, None) == night(5)
    assert from_us(night(1), first, None) is None
    late_ms = night(5) + 3_600_000
    assert from_us(late_ms, None, night(5)) == late_ms, "a late check-out"
    assert from_us(night(6), None, night(5)) is None
    assert from_us(night(5), None, None) is None, "it named it itself"
    again = heard(Promise(night(3), night(1)), None, ours_ms=night(5))
    assert kept(again, 5) == again == Promise(night(3), night(5))
    assert kept(again, 4) is None, "from now on it speaks for itself"
    assert heard(Promise(night(3), night(1)), first, ours_ms=night(5)) == Promise(night(3), night(1), (night(5),))


@given(until=st.integers(1, 6), told=st.integers(1, 6), pms=st.integers(1, 6))
def test_nobody_leaves_earlier_than_both_said(until: int, told: int, pms: int) -> None:
    promise = Promise(night(until), night(told))
    stays = kept(promise, pms)
    ends = pms if stays is None else until
    assert ends >= min(until, pms)
    assert ends == until if pms == told else ends == max(until, pms)


class Books:
    """News from both sides, in the order in which they come."""

    def __init__(self, database: Database) -> None:
        self.database, self.pms_at = database, 0

    async def pms(self, *, nights: int, status: PmsStatus = PmsStatus.IN_HOUSE, room: str = "101", **who: str) -> None:
        self.pms_at += 1
        told = reservation(
            who.get("external_id", "r1"),
            room=room,
            status=status,
            departure_ms=night(nights),
            updated_ms=NOW_MS + self.pms_at,
        )
        await self.tell(told)

    async def tell(self, *told: Reservation) -> None:
        async with self.database.transaction() as connection:
            await upsert_reservations(connection, PLACE, told, now_ms=NOW_MS)

    async def edge(self, seq: int = 1, state: EdgeState = EdgeState.CHECKED_IN) -> None:
        async with self.database.transaction() as connection:
            fact = EdgeFact(STAY, state, "101", "desk", NOW_MS + seq, b"i" * 16, seq)
            await apply_edge_facts(connection, PLACE, [fact], now_ms=NOW_MS)

    async def said(self, *words: EndWord) -> None:
        async with self.database.transaction() as connection:
            await apply_end_words(connection, PLACE, words, now_ms=NOW_MS)

    async def shown(self) -> dict[str, Row]:
        """By reservation: state, room, nights, conflict."""
        async with self.database.transaction() as connection:
            stays = await current_stays(connection, tenant=AURORA.tenant, property_id=AURORA.id, since=at(NOW_MS))
        return {
            each.external_id: (
                each.state.value,
                each.room,
                (unix_ms(each.expected_until) - NOW_MS) // DAY_MS,
                each.conflict,
            )
            for each in stays
        }

    async def row(self) -> dict[str, Any]:
        """What is written of the stay, but for which document carries it and which words were heard."""
        async with self.database.transaction() as connection:
            [row] = await fetch_all(connection, "SELECT * FROM stays.stay WHERE id = %s", [STAY])
        return {name: value for name, value in row.items() if name not in ("document_version", "edge_until_n")}

    async def conflicts(self) -> list[str]:
        async with self.database.transaction() as connection:
            found = await stays_in_conflict(
                connection, tenant=AURORA.tenant, property_id=AURORA.id, before=at(NOW_MS + 3 * DAY_MS)
            )
        return [each.external_id for each in found]

    async def document(self) -> tuple[int, dict[str, tuple[int, int | None]]]:
        async with self.database.transaction() as connection:
            [row] = await fetch_all(connection, "SELECT body FROM stays.document")
        stays = {each["id"]: (each["expected_until_ms"], each.get("until_n")) for each in row["body"]["stays"]}
        return row["body"]["v"], stays

    async def told_the_pms(self) -> int:
        async with self.database.transaction() as connection:
            rows = await fetch_all(connection, "SELECT body FROM outbox.event WHERE type = 'stay.changed'")
        return sum(row["body"]["elsewhere"] for row in rows)


@pytest.fixture
async def books(database: Database) -> Books:
    await open_house(database)
    return Books(database)


@pytest.mark.tier("postgres")
@pytest.mark.requirement("STY-08")
@pytest.mark.guarantee("G2")
class TestBooks:
    async def test_a_stay_made_longer_is_so_in_the_books_until_the_pms_has_it_too(self, books: Books) -> None:
        await books.pms(nights=1)
        await books.edge()
        assert (await books.document())[0] == 1
        await books.said(word(1, until=3))
        assert await books.shown() == {"r1": ("in_house", "101", 3, "other_end")}
        assert await books.conflicts() == ["r1"]
        assert await books.document() == (3, {STAY: (night(3), 1)})
        await books.pms(nights=3)
        assert await books.shown() == {"r1": ("in_house", "101", 3, None)}
        assert await books.document() == (3, {STAY: (night(3), 1)})
        await books.pms(nights=2)
        assert await books.shown() == {"r1": ("in_house", "101", 2, None)}, "from then on the PMS's word counts"
        assert await books.document() == (3, {STAY: (night(2), 1)}), "and the building hears that it was heard"
        assert await books.told_the_pms() == 0

    async def test_an_early_departure_lets_the_room_go_for_the_next(self, books: Books) -> None:
        await books.pms(nights=3)
        await books.edge()
        await books.tell(
            reservation("r2", room="101", arrival_ms=night(1), departure_ms=night(2), updated_ms=NOW_MS + 50)
        )
        assert (await books.shown())["r2"] == ("planned", None, 2, "double_sale")
        await books.said(word(1, until=1, told=3))
        assert await books.shown() == {
            "r1": ("in_house", "101", 1, "other_end"),
            "r2": ("planned", "101", 2, None),
        }

    async def test_a_night_that_was_sold_meanwhile_is_his_who_is_inside_and_the_other_is_shown(
        self, books: Books
    ) -> None:
        await books.pms(nights=1)
        await books.edge()
        await books.tell(
            reservation("r2", room="101", arrival_ms=night(1), departure_ms=night(2), updated_ms=NOW_MS + 50)
        )
        await books.said(word(1, until=2))
        assert await books.shown() == {
            "r1": ("in_house", "101", 2, "other_end"),
            "r2": ("planned", None, 2, "double_sale"),
        }

    async def test_who_left_in_the_pms_has_left_whichever_comes_first(self, books: Books) -> None:
        await books.pms(nights=1)
        await books.edge()
        await books.pms(nights=1, status=PmsStatus.LEFT)
        await books.said(word(1, until=3))
        assert await books.shown() == {"r1": ("left", "101", 1, None)}
        await books.said(word(1, until=3), word(2, until=4))
        assert await books.shown() == {"r1": ("left", "101", 1, None)}

    async def test_a_word_on_a_stay_that_left_here_changes_nothing_in_the_books(self, books: Books) -> None:
        await books.pms(nights=1)
        await books.edge()
        await books.said(word(1, until=2))
        await books.edge(seq=2, state=EdgeState.CHECKED_OUT)
        over, (_, document) = await books.row(), await books.document()
        assert await books.shown() == {"r1": ("left", "101", 2, None)}
        assert document == {STAY: (night(2), 1)}
        for n in (2, 3, 2):
            await books.said(word(n, until=5, told=2))
            assert await books.row() == over
        assert (await books.document())[1] == {STAY: (night(2), 3)}, "the building hears that it was heard"

    async def test_who_left_here_early_keeps_his_room_in_the_books_when_the_pms_has_his_day_too(
        self, books: Books
    ) -> None:
        await books.pms(nights=3)
        await books.edge()
        await books.edge(seq=2, state=EdgeState.CHECKED_OUT)
        await books.tell(reservation("r2", room="101", arrival_ms=night(2), departure_ms=night(4), updated_ms=NOW_MS))
        for status in (PmsStatus.IN_HOUSE, PmsStatus.LEFT):
            await books.pms(nights=1, status=status)
            assert await books.shown() == {"r1": ("left", "101", 1, None), "r2": ("planned", "101", 4, None)}

    async def test_a_guest_whom_the_pms_moved_and_the_building_kept_longer_is_where_his_key_is(
        self, books: Books
    ) -> None:
        await books.pms(nights=1)
        await books.edge()
        await books.pms(nights=1, room="102")
        await books.said(word(1, until=2))
        assert await books.shown() == {"r1": ("in_house", "101", 2, "other_room")}
        assert await books.told_the_pms() == 0, "a move that somebody meant is not written over"

    async def test_a_few_hours_are_no_conflict(self, books: Books) -> None:
        await books.pms(nights=1)
        await books.edge()
        await books.said(EndWord(STAY, 1, Promise(night(1) + 6 * 3_600_000, night(1)), "desk", NOW_MS))
        assert await books.shown() == {"r1": ("in_house", "101", 1, None)}
        assert (await books.document())[1] == {STAY: (night(1) + 6 * 3_600_000, 1)}

    async def test_of_a_stay_that_nobody_knows_nothing_is_made(self, books: Books) -> None:
        await books.pms(nights=1)
        await books.said(word(1, until=3, stay="fias-7-101-260102"))
        assert await books.shown() == {"r1": ("in_house", "101", 1, None)}

    async def test_what_a_process_of_the_build_before_leaves_of_a_promise_is_none(self, books: Books) -> None:
        """It knows nothing of what was told the PMS, and ends a promise beside it."""
        await books.pms(nights=1)
        await books.edge()
        await books.said(word(1, until=5))
        async with books.database.transaction() as connection:
            await execute(connection, "UPDATE stays.stay SET edge_until_sent = ARRAY[edge_until]")
            await execute(connection, "UPDATE stays.stay SET edge_until = NULL, edge_until_told = NULL")
        await books.pms(nights=4)
        assert await books.shown() == {"r1": ("in_house", "101", 4, None)}
        await books.said(word(2, until=2, told=4))
        assert await books.shown() == {"r1": ("in_house", "101", 2, "other_end")}
        assert (await books.row())["edge_until_sent"] == []
        await books.pms(nights=5)
        assert await books.shown() == {"r1": ("in_house", "101", 5, None)}, "nothing of it is taken for an echo"

    @pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 3])))
    async def test_words_in_any_order_and_doubled_end_with_the_last(self, books: Books, order: tuple[int, ...]) -> None:
        await books.pms(nights=1)
        await books.edge()
        words = {1: word(1, until=4), 2: word(2, until=2), 3: word(3, until=3)}
        for n in (*order, *order[:2]):
            await books.said(words[n], words[n])
        assert await books.shown() == {"r1": ("in_house", "101", 3, "other_end")}

    @pytest.mark.parametrize("seed", range(12))
    async def test_whichever_side_is_heard_first_the_day_ends_the_same(self, books: Books, seed: int) -> None:
        """The building's words in any order, some of them twice, and one change at the PMS anywhere between."""
        dice = Random(seed)
        words = [word(n, until=dice.randint(1, 5)) for n in range(1, dice.randint(2, 4))]
        pms = dice.choice([2, 3, 4, 5])
        await books.pms(nights=1)
        await books.edge()
        steps: list[EndWord | None] = [*words, *dice.choices(words, k=2), None]
        dice.shuffle(steps)
        for step in steps:
            await (books.pms(nights=pms) if step is None else books.said(step))
        last = (words[-1].promise.until_ms - NOW_MS) // DAY_MS
        ends = max(last, pms)
        conflict = None if ends == pms else "other_end"
        assert await books.shown() == {"r1": ("in_house", "101", ends, conflict)}
