"""A word on the end of a stay that is heard of twice, late and out of turn, while somebody at the PMS says another."""

from collections import Counter

import pytest

from cloud.kit.database import Database
from cloud.pms.intents import MISSED_AFTER_MS, MISSED_LOOK_MS
from kit.dice import SeededDice
from tests.cloud.houses import HOUR_MS
from tests.cloud.pms.test_departures import TOLD, guest, night
from tests.cloud.pms.test_vendors import World, world
from tests.seeds import seeds

pytestmark = [
    pytest.mark.tier("postgres"),
    pytest.mark.requirement("PMS-22", "STY-08"),
    pytest.mark.guarantee("G2"),
]


async def without_events(w: World, seconds: int) -> None:
    """Live, but for the relay: it stands still."""
    for _ in range(seconds):
        await w.emulator.settle()
        await w.sync.step()
        await w.intents.work_due()
        w.clock.advance(1_000)


@pytest.mark.parametrize("name", TOLD)
async def test_a_word_whose_event_comes_late_is_not_told_again_over_what_the_desk_entered(
    database: Database, name: str
) -> None:
    async with world(database, name) as w:
        one = await guest(w)
        await one.says(night(5) + 5 * HOUR_MS)
        w.clock.advance(MISSED_LOOK_MS + MISSED_AFTER_MS)
        await without_events(w, 12)
        hours = 0 if w.by_day else 5 * HOUR_MS
        assert one.there.end_ms == night(5) + hours, "wished for without its event"
        w.hotel.depart(one.made, night(3))  # the desk, at the moment when the relay wakes
        await w.live(40)
        assert one.ends_there() == [night(1), night(5) + hours, night(3)]
        assert (await one.wishes())[1:] == [("set_departure", "done")], "one word, one wish"


async def test_the_event_of_an_earlier_word_does_not_take_the_place_of_the_last(database: Database) -> None:
    async with world(database, "mews") as w:
        one = await guest(w)
        await one.says(night(5), night(3))
        w.clock.advance(MISSED_LOOK_MS + MISSED_AFTER_MS)
        assert await w.intents.wish_what_was_missed() == 1
        await w.relay.drain()
        assert (await one.wishes())[1:] == [("set_departure", "pending"), ("set_departure", "overtaken")]
        await w.live(12)
        assert one.ends_there() == [night(1), night(3)]
        assert await one.here() == (night(3), None)
        w.clock.advance(MISSED_LOOK_MS + MISSED_AFTER_MS)
        await w.live(12)
        assert (await one.wishes())[1:] == [("set_departure", "done"), ("set_departure", "overtaken")]


@pytest.mark.parametrize("own", [2, 4, 6])
@pytest.mark.parametrize("late", [False, True], ids=["before ours", "after ours"])
async def test_what_the_desk_entered_about_a_word_is_held_against_the_next(
    database: Database, own: int, *, late: bool
) -> None:
    """Two to six nights by the desk, just before or just after the PMS is told five; then the building says three."""
    async with world(database, "mews") as w:
        one = await guest(w)
        honest = w.adapter.set_departure

        async def set_departure(external_id: str, departure_ms: int) -> None:
            if not late and departure_ms == night(5):
                w.hotel.depart(external_id, night(own))
            await honest(external_id, departure_ms)
            if late and departure_ms == night(5):
                w.hotel.depart(external_id, night(own))
            w.adapter.set_departure = honest  # type: ignore[method-assign]  # the desk enters its own word once

        w.adapter.set_departure = set_departure  # type: ignore[method-assign]  # between two words of ours
        await one.says(night(5))
        await w.relay.drain()
        while one.there.end_ms == night(1):
            await w.intents.work_due()
            w.clock.advance(500)
        await one.says(night(3))
        await w.live(40)
        there = night(own) if late and own > 3 else night(3)
        assert (one.there.end_ms, (await one.here())[0]) == (there, there)


@pytest.mark.parametrize("seed", sorted({*seeds(6, 120), 28, 97, 112}))  # the three: told twice, or lost
async def test_in_whatever_order_words_events_and_the_desk_come_each_word_is_told_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice = SeededDice(f"late words/{seed}")
    name = dice.choice(TOLD)
    async with world(database, name) as w:
        one = await guest(w)
        honest, told = w.adapter.set_departure, list[int]()
        own: list[tuple[int, int]] = []  # what the desk entered, and after how many that were told
        at_the_desk = dice.choice((2, 4, 7)) if dice.uniform(0, 1) < 0.7 else None
        right_after = dice.uniform(0, 1) < 0.3

        def desk() -> None:
            nonlocal at_the_desk
            if at_the_desk is not None:
                w.hotel.depart(one.made, night(at_the_desk))
                own.append((night(at_the_desk), len(told)))
                at_the_desk = None

        async def set_departure(external_id: str, departure_ms: int) -> None:
            await honest(external_id, departure_ms)
            told.append(departure_ms)
            if right_after:
                desk()

        monkeypatch.setattr(w.adapter, "set_departure", set_departure)
        said: list[int] = []
        words = [night(5) + 5 * HOUR_MS, night(3) + 5 * HOUR_MS][: dice.integer(1, 2)]
        for _ in range(10):
            match dice.integer(0, 5):
                case 0 | 1 if words:
                    said.append(words.pop(0))
                    await one.says(said[-1])
                case 2 if said:
                    desk()
                case 3:
                    await w.relay.drain()
                case 4:
                    w.clock.advance(MISSED_LOOK_MS + MISSED_AFTER_MS)
                case _:
                    await without_events(w, dice.integer(1, 8))
        if not said:
            said.append(words.pop(0))
            await one.says(said[-1])
        for _ in range(3):
            await w.live(20)
            w.clock.advance(MISSED_LOOK_MS + MISSED_AFTER_MS)
        assert max(Counter(told).values(), default=0) <= 1
        assert told == [each for each in said if each in told], "in the order in which they were said"
        ours = night(round((said[-1] - night(0)) // (24 * HOUR_MS))) + (0 if w.by_day else 5 * HOUR_MS)
        if own and (own[-1][1] == len(told) or said[-1] not in told):
            assert one.there.end_ms == own[-1][0], "nobody argues with what the desk entered after that"
        else:
            assert one.there.end_ms == ours
        if said[-1] not in told:
            assert own, "a word that nothing speaks against is told"
        assert {each[1] for each in (await one.wishes())[1:]} <= {"done", "overtaken"}
