"""A late check-out is told where the PMS knows hours, once; what the PMS does with it takes nothing from the guest."""

from typing import Final

import msgspec
import pytest

from cloud.kit.database import Database
from cloud.pms.emulation.face import TAME
from cloud.pms.port import PmsFaultError
from cloud.stays.late_ends import grant_late
from cloud.stays.life import EdgeState
from tests.cloud.houses import HOUR_MS, PLACE
from tests.cloud.pms.test_departures import TOLD, Guest, guest, night
from tests.cloud.pms.test_vendors import world

pytestmark = [
    pytest.mark.tier("postgres"),
    pytest.mark.requirement("STY-09", "PMS-22"),
    pytest.mark.guarantee("G2"),
]
LATE_MS: Final = night(1) + 2 * HOUR_MS


async def grant(one: Guest, until_ms: int = LATE_MS) -> None:
    async with one.w.database.transaction() as connection:
        await grant_late(connection, PLACE, one.stay, until_ms=until_ms, now_ms=one.w.clock.wall_ms())


@pytest.mark.parametrize("name", [*TOLD, "ezee"])
async def test_who_knows_hours_is_told_once_and_who_knows_days_is_told_nothing(database: Database, name: str) -> None:
    async with world(database, name) as w:
        one = await guest(w)
        calls = one.calls
        for _ in range(2):
            await grant(one)
            await w.live(6)
        assert one.ends_there() == ([night(1)] if w.by_day else [night(1), LATE_MS])
        assert one.calls == calls + (name == "mews")
        assert await one.wishes() == [("check_in", "done"), ("set_departure", "done")], "he came once"
        assert await one.here() == (LATE_MS, None)
        await grant(one, LATE_MS + HOUR_MS)
        await w.live(6)
        assert one.ends_there()[-1] == (night(1) if w.by_day else LATE_MS + HOUR_MS), "later still"
        assert await one.here() == (LATE_MS + HOUR_MS, None)


async def test_a_pms_that_is_away_is_told_when_it_is_back(database: Database) -> None:
    async with world(database, "mews") as w:
        one = await guest(w)
        w.emulator.knobs = msgspec.structs.replace(TAME, fault=1.0)
        await grant(one)
        await w.live(60)
        assert await one.here() == (LATE_MS, None), "the guest waits for no PMS"
        assert one.ends_there() == [night(1)]
        assert (await one.wishes())[-1] == ("set_departure", "pending")
        w.emulator.knobs = TAME
        for _ in range(4):
            w.clock.advance(60_000)
            await w.live(8)
        assert one.ends_there() == [night(1), LATE_MS]
        assert (await one.wishes())[-1] == ("set_departure", "done")


async def test_a_pms_that_does_not_take_it_takes_nothing_from_the_guest(database: Database) -> None:
    async with world(database, "mews", knobs=msgspec.structs.replace(TAME, departure_ignored=1.0)) as w:
        one = await guest(w)
        await grant(one)
        await w.live(90)
        assert (await one.wishes())[-1] == ("set_departure", "failed")
        assert one.ends_there() == [night(1)]
        assert await one.here() == (LATE_MS, None), "hours of one day are nobody's to look at"


async def test_an_hour_that_somebody_names_there_after_it_was_told_is_not_written_over(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(database, "mews") as w:
        one = await guest(w)
        honest = w.adapter.set_departure

        async def set_departure(external_id: str, departure_ms: int) -> None:
            await honest(external_id, departure_ms)
            w.hotel.depart(external_id, night(1) + HOUR_MS)
            raise PmsFaultError("the line broke")

        monkeypatch.setattr(w.adapter, "set_departure", set_departure)
        await grant(one)
        await w.live(60)
        assert one.ends_there() == [night(1), LATE_MS, night(1) + HOUR_MS]
        assert (await one.wishes())[-1] == ("set_departure", "overtaken")
        assert await one.here() == (LATE_MS, None), "the guest has what he was told"


@pytest.mark.parametrize("heard", [True, False], ids=["heard of it", "off line"])
@pytest.mark.parametrize("done", [True, False], ids=["told before", "not told yet"])
async def test_the_building_says_another_day_after_all(database: Database, *, done: bool, heard: bool) -> None:
    async with world(database, "mews") as w:
        one = await guest(w)
        await grant(one)
        await w.live(8 if done else 0)
        await one.says(night(3), told_ms=LATE_MS if heard else night(1))
        await w.live(20)
        assert await one.here() == (night(3), None)
        assert one.ends_there() == ([night(1), LATE_MS, night(3)] if done else [night(1), night(3)])
        assert (await one.wishes())[1:] == [
            ("set_departure", "done" if done else "overtaken"),
            ("set_departure", "done"),
        ]


async def test_the_building_says_an_earlier_hour_in_the_knowledge_of_it(database: Database) -> None:
    async with world(database, "mews") as w:
        one = await guest(w)
        await grant(one)
        await w.live(8)
        await one.says(night(1) + HOUR_MS)
        await w.live(20)
        assert one.ends_there() == [night(1), LATE_MS, night(1) + HOUR_MS], "it had the hour from us: it is put right"
        assert await one.here() == (night(1) + HOUR_MS, None)


async def test_a_night_that_the_pms_has_not_heard_of_goes_before_an_hour(database: Database) -> None:
    """The building gave two nights more, and the guest asks for an hour on top before the PMS has any of it."""
    async with world(database, "mews") as w:
        one = await guest(w)
        await one.says(night(3))
        await grant(one, night(3) + HOUR_MS)
        await w.live(12)
        assert one.ends_there() == [night(1), night(3)]
        assert (await one.wishes())[1:] == [("set_departure", "done")]
        assert await one.here() == (night(3) + HOUR_MS, None)


async def test_who_leaves_early_leaves_in_the_pms_whatever_was_to_be_told(database: Database) -> None:
    async with world(database, "mews") as w:
        one = await guest(w)
        await grant(one)
        await w.at_the_edge(one.made, EdgeState.CHECKED_OUT, 2)
        await w.live(8)
        assert one.there.state == "Processed"
        assert ("check_out", "done") in await one.wishes()
        assert [state for action, state in await one.wishes() if action == "set_departure"] == ["overtaken"]
