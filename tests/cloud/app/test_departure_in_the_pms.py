"""A stay made longer without the line is in the PMS at the end: from the desk in the house to the partner's wire."""

from functools import partial
from pathlib import Path

import msgspec
import pytest

from cloud.kit.database import Database
from cloud.pms.emulation.face import TAME, Knobs
from cloud.stays.stays import stay_id
from protocols.device_model.identity import StayId
from protocols.link.lanes import Lane
from tests.cloud.app.test_off_line_day import Day
from tests.cloud.houses import AURORA, DAY_MS, HOUR_MS
from tests.cloud.pms.test_vendors import HARSH, NOON_MS, world

pytestmark = [
    pytest.mark.tier("postgres"),
    pytest.mark.requirement("STY-08", "PMS-22"),
    pytest.mark.guarantee("G2", "G11"),
]
ENDS_MS = NOON_MS - 2 * HOUR_MS + DAY_MS
PHONE = f"02{1:064x}"


@pytest.mark.parametrize("knobs", [TAME, HARSH], ids=["fair weather", "bad weather"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["mews", "ohip", "stayntouch"])
async def test_a_stay_made_longer_without_the_line_is_longer_in_the_pms(
    database: Database, tmp_path: Path, name: str, seed: int, knobs: Knobs
) -> None:
    """Killed in the midst of it, brought in pieces and twice; the PMS goes on with other reservations meanwhile."""
    async with world(database, name, knobs=knobs, seed=seed) as w:
        day = Day(database, tmp_path, seed, w.clock)
        made = w.hotel.add(
            room="101", start_ms=NOON_MS - DAY_MS, end_ms=ENDS_MS, first_name="Anna", last_name="Berger"
        ).id
        stay = StayId(stay_id(AURORA.id, w.sync.system, made))
        while not await w.rows("SELECT 1 AS one FROM stays.stay"):
            await w.live(1)
        await day.tells()
        await day.does(partial(_check_in, day, stay))

        # the line is cut: he stays on for four nights, thinks again, and the edge dies now and then
        for nights in (4, 2):
            await day.does(partial(_end_at, day, stay, ENDS_MS + nights * DAY_MS))
        w.book("102", start_ms=NOON_MS + DAY_MS)
        await w.live(3)
        assert w.hotel.reservation(made).state == "Confirmed", "the PMS has heard of nothing"

        await day.brings()
        await w.live(30)
        w.emulator.knobs = msgspec.structs.replace(TAME, skew_ms=w.emulator.knobs.skew_ms)
        for _ in range(6):
            await w.live(20)
            w.clock.advance(60_000)
        found = w.hotel.reservation(made)
        assert (found.state, found.end_ms) == ("Started", ENDS_MS + 2 * DAY_MS)
        ends, each = [found.end_ms], found
        while each.previous is not None:
            each = each.previous
            ends += [each.end_ms] if each.end_ms != ends[-1] else []
        assert ends == [ENDS_MS + 2 * DAY_MS, ENDS_MS], "told once, and of the two words the last"
        wishes = await w.rows("SELECT action, state FROM pms.write_intent ORDER BY id")
        assert sorted(tuple(row.values()) for row in wishes if row["state"] != "overtaken") == [
            ("check_in", "done"),
            ("set_departure", "done"),
        ]
        shown = await day.ends_in_the_cloud()
        assert shown[made] == (ENDS_MS + 2 * DAY_MS, None), "nothing is left for a person to enter"
        await day.tells()
        held = day.building.house.keeper.replica.get(stay)
        assert held is not None
        assert held.expected_until_ms == ENDS_MS + 2 * DAY_MS
        words = [each.body["n"] for each in day.building.log.records(Lane.A, "stay_until")]
        assert words == [1, 2]
        # from now on the PMS's word counts, at the door too
        w.hotel.depart(made, ENDS_MS + 3 * DAY_MS)
        for _ in range(4):
            await w.live(10)
            w.clock.advance(150_000)
        await day.tells()
        held = day.building.house.keeper.replica.get(stay)
        assert held is not None
        assert held.expected_until_ms == ENDS_MS + 3 * DAY_MS
        await day.building.store.close()


async def _check_in(day: Day, stay: StayId) -> None:
    await day.building.house.desk.check_in(stay, PHONE, by="kiosk:lobby")


async def _end_at(day: Day, stay: StayId, until_ms: int) -> None:
    await day.building.house.desk.end_at(stay, until_ms, by="Frau Maier", phone_public_key=PHONE)
