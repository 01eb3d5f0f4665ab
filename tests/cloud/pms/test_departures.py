"""A stay that the building made longer or shorter ends so in the PMS too: told once, or shown that it could not be."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cloud.kit.database import Database, execute
from cloud.kit.outbox import Relay
from cloud.kit.times import at, unix_ms
from cloud.pms.emulation.face import TAME
from cloud.pms.emulation.hotel import Reservation
from cloud.pms.ezee.emulator import Emulator as Ezee
from cloud.pms.intents import MISSED_AFTER_MS, MISSED_LOOK_MS, IntentWorker
from cloud.pms.looks import departure_look
from cloud.pms.port import PmsFaultError, PmsReservation
from cloud.stays.ending import EndWord, Promise
from cloud.stays.life import EdgeState
from cloud.stays.listing import current_stays
from cloud.stays.reservation import PmsStatus
from cloud.stays.stays import apply_end_words, stay_id
from kit.dice import SeededDice
from kit.logs import logger
from tests.cloud.houses import AURORA, DAY_MS, HOUR_MS, PLACE, ROOMS
from tests.cloud.pms.test_vendors import DAYS, HOSTILE, NOON_MS, SKEWS_MS, World, until_in_step, world
from tests.cloud.pms.vendors import VENDORS

BAD_DAYS = DAYS if len(DAYS) > 20 else DAYS[:8]
"""Fewer than of everything else: each is a hotel of its own."""

pytestmark = [pytest.mark.requirement("PMS-22", "STY-08"), pytest.mark.guarantee("G2")]
postgres = pytest.mark.tier("postgres")
TOLD = sorted(name for name in VENDORS if name != "ezee")
"""Those that can be told."""
ENDS_MS = NOON_MS - 2 * HOUR_MS
"""Eleven o'clock in Vienna, the hour of departure; of the days after it too."""


def night(n: int) -> int:
    return ENDS_MS + n * DAY_MS


class Guest:
    """One guest in house, of whom building and PMS speak."""

    def __init__(self, w: World, made: str) -> None:
        self.w, self.made, self.stay = w, made, stay_id(AURORA.id, w.sync.system, made)
        self.words = 0

    @property
    def there(self) -> Reservation:
        return self.w.hotel.reservation(self.made)

    @property
    def calls(self) -> int:
        """Return how often the PMS was told an end, where that has an address of its own."""
        return sum(self.w.emulator.calls.get(name, 0) for name in ("reservations/update", "putReservation"))

    def ends_there(self) -> list[int]:
        """Return the ends that the reservation had there, each once as often as it came."""
        ends: list[int] = []
        each: Reservation | None = self.there
        while each is not None:
            if not ends or ends[-1] != each.end_ms:
                ends.append(each.end_ms)
            each = each.previous
        return ends[::-1]

    async def says(self, *ends_ms: int, told_ms: int | None = None) -> None:
        """The building says, word by word, when he leaves; it knows what the cloud's document says, or the end that an
        older one told it, if it is off line.
        """
        told_ms = (await self.here())[0] if told_ms is None else told_ms
        for until_ms in ends_ms:
            self.words += 1
            word = EndWord(self.stay, self.words, Promise(until_ms, told_ms), "Frau Maier", self.w.clock.wall_ms())
            async with self.w.database.transaction() as connection:
                await apply_end_words(connection, PLACE, [word, word], now_ms=self.w.clock.wall_ms())
            told_ms = until_ms  # the building takes its own word for the document's

    async def here(self) -> tuple[int, str | None]:
        """Return when the stay ends here, and what is shown of it."""
        async with self.w.database.transaction() as connection:
            stays = await current_stays(
                connection, tenant=AURORA.tenant, property_id=AURORA.id, since=at(NOON_MS - 30 * DAY_MS)
            )
        [stay] = [each for each in stays if each.external_id == self.made]
        return unix_ms(stay.expected_until), stay.conflict

    async def wishes(self) -> list[tuple[str, str]]:
        rows = await self.w.rows("SELECT action, state, external_id FROM pms.write_intent ORDER BY id")
        return [(row["action"], row["state"]) for row in rows if row["external_id"] == self.made]

    async def sent(self) -> list[Any]:
        [row] = await self.w.rows("SELECT edge_until, edge_until_sent FROM stays.stay WHERE edge_state IS NOT NULL")
        return [row["edge_until"], row["edge_until_sent"]]


async def guest(w: World, *, inside: bool = True) -> Guest:
    """Return a guest whom the building took in; `inside`: the PMS has heard of that."""
    made = w.hotel.add(room="101", start_ms=NOON_MS - DAY_MS, end_ms=night(1), first_name="Anna", last_name="Berger").id
    while made not in {row["external_id"] for row in await w.rows("SELECT external_id FROM stays.stay")}:
        await w.live(1)
    await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
    one = Guest(w, made)
    for _ in range(60 if inside else 0):
        await w.live(1)
        if ("check_in", "done") in await one.wishes():
            break
    return one


@postgres
@pytest.mark.parametrize("nights", [3, 0], ids=["longer", "shorter"])
@pytest.mark.parametrize("inside", [True, False], ids=["heard of him", "with the check-in"])
@pytest.mark.parametrize("name", TOLD)
async def test_the_pms_is_told_once_and_what_it_says_then_counts(
    database: Database, name: str, *, inside: bool, nights: int
) -> None:
    async with world(database, name) as w:
        one = await guest(w, inside=inside)
        await one.says(night(nights) + (HOUR_MS * 5 if nights == 0 else 0))
        until_ms, conflict = await one.here()
        assert conflict == "other_end"
        await w.live(12)
        expected_ms = night(nights) if w.by_day else until_ms
        assert one.ends_there() == [night(1), expected_ms]
        assert await one.wishes() == [("check_in", "done"), ("set_departure", "done")], "he came once"
        assert (await one.here())[1] is None
        if expected_ms == until_ms:
            assert await one.sent() == [None, []], "from now on the PMS's word alone counts"
        w.hotel.depart(one.made, night(2))
        w.clock.advance(30_000)
        await w.live(40)
        assert one.ends_there()[-1] == night(2), "nobody argues with what it says after that"
        if expected_ms == until_ms:
            assert await one.here() == (night(2), None)


@postgres
@pytest.mark.parametrize("name", TOLD)
async def test_a_few_hours_are_told_to_nobody(database: Database, name: str) -> None:
    async with world(database, name) as w:
        one = await guest(w)
        calls = one.calls
        await one.says(night(1) + 3 * HOUR_MS)
        await w.live(10)
        assert one.ends_there() == [night(1)]
        assert one.calls == calls
        assert (await one.here()) == (night(1) + 3 * HOUR_MS, None)


@postgres
async def test_a_pms_that_cannot_be_told_is_a_persons_to_tell(database: Database) -> None:
    async with world(database, "ezee") as w:
        assert isinstance(w.emulator, Ezee)
        one = await guest(w)
        await one.says(night(3))
        await w.live(5)
        assert one.ends_there() == [night(1)]
        assert (await one.wishes())[-1] == ("set_departure", "by_hand")
        assert ((await w.state()).writes_by_hand, (await w.state()).writes_failed) == (1, 0)
        assert (await one.here())[1] == "other_end"
        w.hotel.depart(one.made, night(3))
        w.clock.advance(5 * 60_000)
        await w.live(3)
        assert (await one.wishes())[-1] == ("set_departure", "done")
        assert await one.here() == (night(3), None)


@postgres
async def test_a_guest_who_leaves_leaves_in_the_pms_whatever_was_to_be_told_before(database: Database) -> None:
    async with world(database, "ezee") as w:
        one = await guest(w)
        await one.says(night(3))
        await w.live(5)
        await w.at_the_edge(one.made, EdgeState.CHECKED_OUT, 2)
        await w.live(8)
        assert (await one.wishes())[1:] == [("set_departure", "overtaken"), ("check_out", "done")]
        assert one.there.state == "Processed"


@postgres
async def test_of_two_words_before_the_pms_heard_any_it_is_told_the_last(database: Database) -> None:
    async with world(database, "mews") as w:
        one = await guest(w)
        await one.says(night(5), night(3))
        await w.live(8)
        assert one.ends_there() == [night(1), night(3)]
        assert (await one.wishes())[1:] == [("set_departure", "overtaken"), ("set_departure", "done")]
        assert await one.here() == (night(3), None)


@postgres
@pytest.mark.parametrize("last", [3, 1, 6], ids=["less", "as it was", "more"])
@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("name", TOLD)
async def test_a_word_that_comes_while_the_one_before_is_in_doubt_is_the_one_that_counts(
    database: Database, name: str, monkeypatch: pytest.MonkeyPatch, *, done: bool, last: int
) -> None:
    """What comes back of the first is no word of the PMS."""
    async with world(database, name) as w:
        one = await guest(w)
        honest, broken = w.adapter.set_departure, [True]

        async def set_departure(external_id: str, departure_ms: int) -> None:
            if broken and broken.pop():
                if done:
                    await honest(external_id, departure_ms)
                raise PmsFaultError("the line broke")
            await honest(external_id, departure_ms)

        monkeypatch.setattr(w.adapter, "set_departure", set_departure)
        await one.says(night(5))
        await w.relay.drain()
        while broken:
            await w.intents.work_due()
            w.clock.advance(500)
        await one.says(night(last))
        await w.live(30)
        w.clock.advance(30_000)
        await w.live(30)
        assert one.there.end_ms == night(last)
        assert await one.here() == (night(last), None)
        assert await one.sent() == [None, []]
        assert (await one.wishes())[1:] == [("set_departure", "overtaken"), ("set_departure", "done")]
        assert one.ends_there() in ([night(1), night(5), night(last)], [night(1), night(last)], [night(1)])


@postgres
@pytest.mark.parametrize("killed", [False, True], ids=["the line broke", "killed"])
@pytest.mark.parametrize("own", [2, 4, 7])
async def test_an_end_that_the_pms_names_after_it_was_told_ours_is_not_written_over(
    database: Database, monkeypatch: pytest.MonkeyPatch, own: int, *, killed: bool
) -> None:
    async with world(database, "mews") as w:
        one = await guest(w)
        honest = w.adapter.set_departure

        async def set_departure(external_id: str, departure_ms: int) -> None:
            await honest(external_id, departure_ms)
            w.hotel.depart(external_id, night(own))  # somebody at the desk, before we could look
            raise asyncio.CancelledError if killed else PmsFaultError("the line broke")

        monkeypatch.setattr(w.adapter, "set_departure", set_departure)
        await one.says(night(5))
        try:
            await w.live(90)
        except asyncio.CancelledError:
            monkeypatch.setattr(w.adapter, "set_departure", honest)  # and another process goes on
        await w.live(90)
        assert one.ends_there() == [night(1), night(5), night(own)]
        assert (await one.wishes())[1:] == [("set_departure", "overtaken")]
        assert await one.here() == ((night(7), None) if own == 7 else (night(5), "other_end")), "as 0143 has it"


@postgres
@pytest.mark.parametrize(("own", "there"), [(2, 5), (6, 6)], ids=["less", "further"])
async def test_an_end_that_the_pms_named_before_it_was_told_is_held_against_ours_by_the_rule(
    database: Database, own: int, there: int
) -> None:
    async with world(database, "mews") as w:
        one = await guest(w)
        await one.says(night(5))
        w.hotel.depart(one.made, night(own))
        await w.live(20)
        assert one.there.end_ms == night(there)
        assert await one.here() == (night(there), None)
        assert (await one.wishes())[1:] == [("set_departure", "done" if there == 5 else "overtaken")]


@postgres
@pytest.mark.parametrize("name", TOLD)
async def test_a_night_that_is_sold_there_is_not_told_for_ever_and_stays_shown(database: Database, name: str) -> None:
    async with world(database, name) as w:
        one = await guest(w)
        w.book("101", start_ms=night(2) + 4 * HOUR_MS)
        await one.says(night(4))
        await w.live(30)
        w.clock.advance(120_000)
        await w.live(30)
        w.clock.advance(120_000)
        await w.live(10)
        assert one.ends_there() == [night(1)]
        assert (await one.wishes())[1:] == [("set_departure", "failed")]
        assert await one.here() == (night(4), "other_end")
        assert (await w.state()).writes_failed == 1


@postgres
@pytest.mark.parametrize("name", TOLD)
async def test_a_pms_that_says_yes_and_does_nothing_is_found_out(database: Database, name: str) -> None:
    async with world(database, name, knobs=msgspec.structs.replace(TAME, departure_ignored=1.0)) as w:
        one = await guest(w)
        await one.says(night(3))
        await w.live(30)
        w.clock.advance(60_000)
        await w.live(60)
        assert one.ends_there() == [night(1)]
        assert (await one.wishes())[1:] == [("set_departure", "failed")]
        assert await one.here() == (night(3), "other_end")


@postgres
async def test_a_pms_that_takes_the_day_of_it_has_it(database: Database) -> None:
    async with world(database, "mews", knobs=msgspec.structs.replace(TAME, departure_to_the_day=1.0)) as w:
        one = await guest(w)
        await one.says(night(3) + 5 * HOUR_MS)
        await w.live(20)
        assert one.ends_there() == [night(1), night(3)]
        assert (await one.wishes())[1:] == [("set_departure", "done")]
        assert await one.here() == (night(3) + 5 * HOUR_MS, None), "and he has the hours that he was promised"


@postgres
@pytest.mark.parametrize("name", TOLD)
async def test_a_second_word_with_an_hour_counts_where_the_pms_knows_days_alone(database: Database, name: str) -> None:
    async with world(database, name) as w:
        one = await guest(w)
        for nights in (5, 3):
            await one.says(night(nights) + 5 * HOUR_MS)
            await w.live(12)
            assert one.there.end_ms == night(nights) + (0 if w.by_day else 5 * HOUR_MS)
            assert await one.here() == (night(nights) + 5 * HOUR_MS, None)
        assert (await one.wishes())[1:] == [("set_departure", "done")] * 2


@postgres
async def test_a_wish_that_a_newer_build_knows_waits_for_it_and_holds_nobody_else_up(
    database: Database, dsn: str
) -> None:
    async with world(database, "mews") as w:
        one = await guest(w)
        with psycopg.connect(dsn) as owner:
            owner.execute("ALTER TABLE pms.write_intent DROP CONSTRAINT write_intent_action_check")
        async with database.transaction() as connection:
            await execute(
                connection,
                """INSERT INTO pms.write_intent (property, system, tenant, action, external_id, stay, cause_event,
                                                 state, not_before, created_at)
                   SELECT property, system, tenant, 'upgrade_room', 'r' || n, stay, -n, 'pending', not_before,
                          created_at
                     FROM pms.write_intent, generate_series(1, 60) n WHERE external_id = %s""",
                [one.made],
            )
        await one.says(night(3))
        with capture_logs() as told:
            await w.live(12)
        assert one.ends_there() == [night(1), night(3)]
        assert (await one.wishes())[1:] == [("set_departure", "done")]
        assert [each["action"] for each in told if each["event"] == "pms_write_unknown"] == ["upgrade_room"], "once"
        rows = await w.rows("SELECT DISTINCT state, attempts FROM pms.write_intent WHERE action = 'upgrade_room'")
        assert rows == [{"state": "pending", "attempts": 0}]


@postgres
@pytest.mark.parametrize("taken", ["the event", "the word"])
async def test_a_word_that_a_process_of_the_build_before_took_is_told_all_the_same(
    database: Database, taken: str
) -> None:
    """Its relay has nobody who hears of `stay.departure`, and what takes words there writes no such event."""
    async with world(database, "mews") as w:
        one = await guest(w)
        await one.says(night(5))
        await w.live(12)
        for until_ms in (night(3), night(5)):
            await one.says(until_ms)
            async with database.transaction() as connection:
                if taken == "the word":
                    await execute(connection, "DELETE FROM outbox.event WHERE relayed_at IS NULL")
                else:
                    await Relay(database, subscribers={}, clock=w.clock, log=logger("old")).drain()
            await w.live(12)
            assert await one.here() == (until_ms, "other_end")
            assert await w.intents.wish_what_was_missed() == 0, "its event may be on its way"
            w.clock.advance(MISSED_LOOK_MS)
            await w.live(12)
            assert await w.intents.wish_what_was_missed() == 0
            assert one.there.end_ms == until_ms
            assert await one.here() == (until_ms, None)
        assert (await one.wishes())[1:] == [("set_departure", "done")] * 3


@postgres
async def test_what_was_wished_for_once_is_not_wished_for_again_because_it_stands(database: Database) -> None:
    async with world(database, "mews") as w:
        one = await guest(w)
        w.book("101", start_ms=night(2) + 4 * HOUR_MS)
        await one.says(night(4))
        for _ in range(3):
            await w.live(30)
            w.clock.advance(120_000)
            assert await w.intents.wish_what_was_missed() == 0
        assert (await one.wishes())[1:] == [("set_departure", "failed")]
        assert (await one.here())[1] == "other_end"


@postgres
async def test_what_stands_is_not_wished_for_where_nothing_is_written_or_it_is_nobodys_business(
    database: Database,
) -> None:
    async with world(database, "mews") as w:
        one = await guest(w)
        await one.says(night(1) + 3 * HOUR_MS)
        await Relay(database, subscribers={}, clock=w.clock, log=logger("old")).drain()
        w.clock.advance(MISSED_AFTER_MS)
        assert await w.intents.wish_what_was_missed() == 0, "a few hours"
        await one.says(night(3))
        await Relay(database, subscribers={}, clock=w.clock, log=logger("old")).drain()
        w.clock.advance(MISSED_AFTER_MS)
        one_way = IntentWorker(database, w.adapter, w.sync, two_way=False, clock=w.clock, log=logger("test"))
        assert await one_way.wish_what_was_missed() == 0
        await w.at_the_edge(one.made, EdgeState.CHECKED_OUT, 2)
        w.clock.advance(MISSED_AFTER_MS)
        assert await w.intents.wish_what_was_missed() == 0, "he has left"


@postgres
@pytest.mark.parametrize("hours", [0, 5], ids=["on the hour", "later"])
@pytest.mark.parametrize("name", TOLD)
async def test_a_second_word_of_a_building_that_heard_nothing_of_the_first_counts(
    database: Database, name: str, hours: int
) -> None:
    """The line was cut before the document told it that the PMS has the first, or the word was quicker than that."""
    async with world(database, name) as w:
        one = await guest(w)
        for nights in (5, 3, 2):
            await one.says(night(nights) + hours * HOUR_MS, told_ms=night(1))
            await w.live(12)
            assert one.there.end_ms == night(nights) + (0 if w.by_day else hours * HOUR_MS)
            assert await one.here() == (night(nights) + hours * HOUR_MS, None)
        assert (await one.wishes())[1:] == [("set_departure", "done")] * 3


@postgres
async def test_an_end_that_the_pms_came_back_to_by_itself_is_its_own_word(database: Database) -> None:
    async with world(database, "mews") as w:
        one = await guest(w)
        await one.says(night(5))
        await w.live(12)
        for nights in (6, 5):
            w.hotel.depart(one.made, night(nights))
            w.clock.advance(30_000)
            await w.live(40)
            assert await one.here() == (night(nights), None)
        await one.says(night(3), told_ms=night(1))
        await w.live(12)
        assert one.there.end_ms == night(5)
        assert await one.here() == (night(5), None), "as 0143 has it: it went further than the building knew"


@postgres
@pytest.mark.parametrize("seed", BAD_DAYS)
@pytest.mark.parametrize("name", VENDORS)
async def test_on_a_bad_day_every_departure_arrives_and_none_twice(database: Database, name: str, seed: int) -> None:
    dice = SeededDice(f"departures/{seed}")
    # as bad as it may get without that three attempts in a row come to nothing, which is another story
    knobs = msgspec.structs.replace(HOSTILE, fault=0.08, error_200=0.02, cut=0.02, skew_ms=dice.choice(SKEWS_MS))
    async with world(database, name, knobs=knobs, seed=seed) as w:
        others = [w.book(room, start_ms=NOON_MS + n * DAY_MS) for n, room in enumerate(ROOMS[1:])]
        await w.live(4)
        one = await guest(w, inside=dice.uniform(0, 1) < 0.5)
        said: list[int] = []
        for _ in range(dice.integer(1, 4)):
            said.append(night(dice.choice([n for n in (2, 3, 4, 5) if [night(n)] != said[-1:]])))
            await one.says(said[-1], told_ms=night(1) if dice.uniform(0, 1) < 0.5 else None)  # or it is off line
            await w.live(dice.integer(0, 4))
            match dice.integer(0, 2):
                case 0:
                    others.append(w.book(dice.choice(ROOMS[1:]), start_ms=NOON_MS + dice.integer(0, 9) * DAY_MS))
                case 1:
                    w.hotel.update(dice.choice(others), room=dice.choice(ROOMS[1:]))
                case _:
                    w.hotel.set_room_state("101", dice.choice(("Dirty", "Clean")))
        if name == "ezee":  # nobody can tell it
            await until_in_step(w)
            assert one.ends_there() == [night(1)]
            assert (await one.wishes())[-1] == ("set_departure", "by_hand")
            assert await one.here() == (said[-1], "other_end")
            w.hotel.depart(one.made, said[-1])
            w.clock.advance(6 * 60_000)
            await w.live(5)
        await until_in_step(w)
        assert await w.out_of_step() == {}
        assert await one.here() == (said[-1], None)
        ends = one.ends_there()
        assert ends[-1] == said[-1]
        assert _in_order(ends[1:], said), "each at most once, and in the order in which they were said"
        wishes = await one.wishes()
        assert [each for each in wishes if each[0] == "check_in"] == [("check_in", "done")]
        assert {each[1] for each in wishes} <= {"done", "overtaken"}
        if said[-1] not in said[:-1]:  # else the PMS may have had it from before, and was never told what came between
            assert wishes[-1] == ("set_departure", "done")


def _in_order(ends: Sequence[int], said: Sequence[int]) -> bool:
    left = iter(said)
    return all(each in left for each in ends)


BEFORE = PmsReservation(
    external_id="r1",
    number=None,
    status=PmsStatus.IN_HOUSE,
    room_external_id=None,
    guest_name=None,
    arrival_ms=NOON_MS,
    departure_ms=night(1),
    adults=None,
    children=None,
    updated_ms=NOON_MS,
)


@given(
    there=st.integers(1, 8),
    wanted=st.integers(1, 8),
    standing=st.none() | st.integers(1, 8),
    earlier=st.lists(st.integers(1, 8), max_size=2),
    before=st.none() | st.integers(1, 8),
    zone=st.none() | st.just(ZoneInfo("Europe/Vienna")),
)
def test_it_is_told_only_what_stands_and_never_over_a_word_of_its_own(
    there: int, wanted: int, standing: int | None, earlier: list[int], *, before: int | None, zone: ZoneInfo | None
) -> None:
    promise = None if standing is None else Promise(night(standing), night(1), tuple(map(night, earlier)))
    said = None if before is None else at(night(before)).isoformat()
    read = replace(BEFORE, departure_ms=night(there))
    look = departure_look(read, night(wanted), promise, said, zone=zone)
    if look.granted:
        assert there == wanted
    elif not look.overtaken:  # it will be told
        if standing is None:  # it will not, but looked for a while longer: it was told, and says nothing new
            assert before == there
            return
        assert standing == wanted
        ours = {each for each in earlier if each != standing}
        assert before in (None, there) or there in ours, "or it named an end of its own since"
    for status in (PmsStatus.LEFT, PmsStatus.CANCELLED, PmsStatus.NO_SHOW):
        over = departure_look(replace(read, status=status), night(wanted), promise, said, zone=zone)
        assert (over.granted, over.overtaken) == (False, True)
    assert departure_look(None, night(wanted), promise, said, zone=zone).overtaken


@pytest.mark.parametrize(
    ("hours", "zone", "granted"),
    [(13, "Europe/Vienna", True), (14, "Europe/Vienna", False), (13, None, False), (12, None, True)],
)
def test_where_days_alone_are_known_the_day_is_the_propertys(hours: int, zone: str | None, *, granted: bool) -> None:
    """Eleven in the morning and a minute to midnight are one day there, and more than half a day apart."""
    wanted_ms = night(1) + hours * HOUR_MS - (60_000 if hours == 13 else 0)
    promise = Promise(wanted_ms, night(0))
    look = departure_look(BEFORE, wanted_ms, promise, None, zone=None if zone is None else ZoneInfo(zone))
    assert look.granted is granted
