"""OPERA Cloud's event stream: hints and offset stored together, and what a gap has compared."""

import msgspec
import pytest

from cloud.kit.database import Database
from cloud.pms import hints
from cloud.pms.emulation.face import TAME
from cloud.pms.ohip import emulator as ohip
from cloud.pms.ohip.consumer import Stored
from cloud.pms.ohip.sink import ChainSink
from cloud.pms.port import Hint
from tests.cloud.houses import AURORA, DAY_MS
from tests.cloud.pms.test_vendors import World, world

pytestmark = pytest.mark.requirement("PMS-08")
FINE = Hint("reservation", "42")


async def listening(w: World, hotels: dict[str, str] | None = None) -> ChainSink:
    return ChainSink(w.database, hotels or {ohip.HOTEL: AURORA.id}, clock=w.clock)


@pytest.mark.tier("postgres")
async def test_hints_and_offset_are_kept_together_for_the_hotels_that_are_ours(database: Database) -> None:
    async with world(database, "ohip") as w:
        await w.live(1)
        sink = await listening(w)
        assert await sink.stored() == Stored(None, None)
        made = w.book("101")
        await sink.take([("aurora", Hint("reservation", made)), ("OTHER", FINE), (None, FINE)], offset="7")
        rows = await w.rows("SELECT external_id FROM pms.hint ORDER BY external_id")
        assert {row["external_id"] for row in rows} == {made, "42"}
        assert await sink.stored() == Stored("7", w.clock.wall_ms())
        w.emulator.knobs = msgspec.structs.replace(TAME, push_dropped=1.0)
        await w.live(2)
        assert await w.out_of_step() == {}
        assert await w.rows("SELECT 1 AS one FROM pms.hint") == []


@pytest.mark.tier("postgres")
async def test_a_gap_compares_everything_once_and_not_again_and_again(database: Database) -> None:
    async with world(database, "ohip", knobs=msgspec.structs.replace(TAME, push_dropped=1.0)) as w:
        await w.live(1)
        sink = await listening(w)
        far = w.book("101", start_ms=w.clock.wall_ms() + 40 * DAY_MS)
        w.clock.advance(11 * 60_000)
        await w.live(1)
        assert far in await w.out_of_step(), "no list near now holds it"
        await sink.lost("the stream began later")
        await w.live(2)
        assert await w.out_of_step() == {}
        calls = w.emulator.calls["reservations"]
        farther = w.book("102", start_ms=w.clock.wall_ms() + 40 * DAY_MS)
        await sink.lost("again")
        await w.live(3)
        assert w.emulator.calls["reservations"] == calls, "ten minutes have not passed"
        w.clock.advance(10 * 60_000)
        await w.live(2)
        assert farther not in await w.out_of_step()
        assert await w.rows("SELECT 1 AS one FROM pms.hint") == []


@pytest.mark.tier("postgres")
async def test_a_comparison_that_fails_is_tried_until_it_goes_well(database: Database) -> None:
    async with world(database, "ohip", knobs=msgspec.structs.replace(TAME, push_dropped=1.0)) as w:
        await w.live(1)
        sink = await listening(w)
        far = w.book("101", start_ms=w.clock.wall_ms() + 40 * DAY_MS)
        w.clock.advance(11 * 60_000)
        await sink.lost("the stream began later")
        w.emulator.knobs = msgspec.structs.replace(w.emulator.knobs, fault=1.0)
        for _ in range(hints.ATTEMPTS_MOST + 3):
            w.clock.advance(61_000)
            await w.live(1)
        assert len(await w.rows("SELECT 1 AS one FROM pms.hint")) == 1, "a gap is given up by nobody"
        w.emulator.knobs = TAME
        w.clock.advance(61_000)
        await w.live(2)
        assert far not in await w.out_of_step()


@pytest.mark.tier("postgres")
async def test_a_property_that_was_not_listened_to_for_a_while_has_a_gap_of_its_own(database: Database) -> None:
    async with world(database, "ohip") as w:
        await w.live(1)
        async with database.transaction() as connection:
            await connection.execute(
                "INSERT INTO pms.connection (property, system, tenant, stream_offset, stream_at)"
                " VALUES ('borealis', 'ohip', 'southwind', '3', now() - interval '100 years')"
            )
        sink = await listening(w, {ohip.HOTEL: AURORA.id, "BOREALIS": "borealis"})
        async with database.transaction() as connection:
            await connection.execute(
                "UPDATE pms.connection SET stream_offset = '9', stream_at = now() WHERE property = %s", [AURORA.id]
            )
        assert (await sink.stored()).offset == "9"
        rows = await w.rows("SELECT property, external_id FROM pms.hint")
        assert [(row["property"], row["external_id"]) for row in rows] == [("borealis", "*")]
