"""Over each vendor's wire: who books again is known again, on good days and on bad ones."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from cloud.guests.history import visits
from cloud.guests.profiles import Profiles
from cloud.kit.database import Database
from cloud.pms.emulation.face import TAME
from cloud.pms.recognition import EVER, Recognition
from cloud.privacy.sealing import Sealer
from cloud.stays.stays import stay_id
from kit.dice import SeededDice, SystemDice
from kit.logs import logger
from tests.cloud.guests.houses import PROFILES, ours
from tests.cloud.houses import AURORA, DAY_MS, ROOMS
from tests.cloud.pms.test_vendors import HOSTILE, NOON_MS, World, until_in_step, world

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("GST-20"), pytest.mark.requirement("GST-22")]
TELLING = ["mews", "cloudbeds", "ohip", "stayntouch"]
"""Who tells a guest's id with his reservation. eZee does not."""
IN_LISTS = ["mews", "cloudbeds", "stayntouch"]
"""Who does so in lists as well. At OPERA Cloud one whose event was lost is nobody's until it is read by its id."""


def kept_by(w: World, sealer: Sealer = PROFILES.sealer, kept: timedelta = EVER) -> None:
    w.sync._recognition = Recognition(Profiles(sealer), w.clock, logger("test"), kept)


async def names(w: World) -> dict[str, Any]:
    """Return the name that is kept, by the guest's id in the PMS."""
    told = {}
    for row in await w.rows("SELECT id, external_id FROM guests.profile"):
        async with w.database.transaction() as connection:
            found = await PROFILES.one(connection, tenant=AURORA.tenant, property_id=AURORA.id, guest=row["id"])
        assert found is not None
        told[row["external_id"]] = found.name
    return told


@pytest.mark.parametrize("name", TELLING)
async def test_who_comes_again_is_known_and_who_is_called_the_same_is_not(database: Database, name: str) -> None:
    async with world(database, name) as w:
        kept_by(w)
        first = w.book("101", start_ms=NOON_MS - DAY_MS // 2)
        again, other = w.book("102", start_ms=NOON_MS + 5 * DAY_MS), w.book("103", start_ms=NOON_MS + DAY_MS)
        guest = w.hotel.reservation(first).account_id
        w.hotel.reservation(again).account_id = guest
        w.hotel.start(first)
        w.hotel.process(first)
        for _ in range(4):
            await w.live(3)
            w.clock.advance(20_000)
        who = {row["external_id"]: row["guest"] for row in await w.rows("SELECT * FROM guests.booking")}
        assert who[first] == who[again] == ours(guest, system=name)
        assert who[other] == ours(w.hotel.reservation(other).account_id, system=name) != who[first]
        came = {}
        async with w.database.transaction() as connection:
            for each in (first, again, other):
                came[each] = await visits(
                    connection,
                    tenant=AURORA.tenant,
                    property_id=AURORA.id,
                    guest=who[each],
                    before_stay=stay_id(AURORA.id, name, each),
                )
        assert came == {first: 0, again: 1, other: 0}


async def test_of_a_pms_that_tells_no_guests_id_nobody_is_known_by_his_name(database: Database) -> None:
    async with world(database, "ezee") as w:
        kept_by(w)
        w.book("101")
        w.clock.advance(60_000)
        await w.live(5)
        assert len(await w.rows("SELECT FROM stays.stay")) == 1
        assert await w.rows("SELECT FROM guests.profile") == []


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("name", IN_LISTS)
async def test_after_a_bad_day_every_guest_is_kept_once_under_the_name_that_he_has(
    database: Database, name: str
) -> None:
    dice = SeededDice(f"guests/{name}")
    async with world(database, name, knobs=msgspec.structs.replace(HOSTILE), seed=3) as w:
        kept_by(w)
        made = [w.book(room, start_ms=NOON_MS + n * DAY_MS) for n, room in enumerate(ROOMS)]
        for n in range(6):
            one = w.hotel.reservation(dice.choice(made))
            match dice.integer(0, 3):
                case 0:
                    w.hotel.rename(one.account_id, first_name="Anna", last_name=f"Name {n}")
                case 1:  # another takes it over
                    w.hotel.reservation(one.id).account_id = w.hotel.reservation(dice.choice(made)).account_id
                    w.hotel.update(one.id, room=dice.choice(ROOMS))
                case _:
                    made.append(w.book(dice.choice(ROOMS), start_ms=NOON_MS + dice.integer(0, 9) * DAY_MS))
            await w.live(dice.integer(0, 2))
        await until_in_step(w)
        w.emulator.knobs = TAME
        w.clock.advance(DAY_MS)  # everything is compared: what was mirrored and not kept is read again
        holders = {each.id: each.account_id for each in w.hotel.reservations.values()}
        wanted = {each: ours(guest, system=name) for each, guest in holders.items()}
        who: dict[str, str] = {}
        for _ in range(10):  # a limit that is still used up puts it off
            await w.live(6)
            w.clock.advance(60_000)
            who = {row["external_id"]: row["guest"] for row in await w.rows("SELECT * FROM guests.booking")}
            if who == wanted:
                break
        assert await w.out_of_step() == {}
        assert who == wanted
        kept, mirrored = await names(w), await w.rows("SELECT external_id, guest_name FROM stays.reservation")
        for row in mirrored:
            assert kept[holders[row["external_id"]]] == row["guest_name"]


async def test_keys_that_are_not_there_cost_profiles_and_no_stay(database: Database) -> None:
    async with world(database, "mews") as w:
        kept_by(w, Sealer(None, dice=SystemDice()))
        made = w.book("101")
        await w.live(4)
        assert [row["external_id"] for row in await w.rows("SELECT external_id FROM stays.stay")] == [made]
        assert (await w.state()).last_error is None
        assert await w.rows("SELECT FROM guests.profile") == []
        kept_by(w)
        w.clock.advance(DAY_MS)
        await w.live(3)
        assert len(await w.rows("SELECT FROM guests.profile")) == 1, "the next comparison of everything brings them"


@pytest.mark.requirement("GST-08")
@pytest.mark.parametrize(("kept", "came"), [(EVER, 1), (timedelta(days=5), 0)], ids=["kept", "too-long-ago"])
async def test_what_he_booked_before_anybody_kept_him_is_his_as_far_back_as_guests_are_kept(
    database: Database, kept: timedelta, came: int
) -> None:
    async with world(database, "cloudbeds") as w:
        first = w.book("101", start_ms=NOON_MS - DAY_MS // 2)
        w.hotel.start(first)
        w.hotel.process(first)
        await w.live(4)
        w.clock.advance(10 * DAY_MS)  # beyond what a comparison of everything reads
        kept_by(w, kept=kept)
        again = w.book("102")
        w.hotel.reservation(again).account_id = guest = w.hotel.reservation(first).account_id
        await w.live(4)
        async with w.database.transaction() as connection:
            stay = stay_id(AURORA.id, "cloudbeds", again)
            which = {"tenant": AURORA.tenant, "property_id": AURORA.id}
            found = await visits(connection, **which, guest=ours(guest, system="cloudbeds"), before_stay=stay)
        assert found == came
        assert await names(w) == {guest: "Anna Berger"}, "the name is the one that was told last"
