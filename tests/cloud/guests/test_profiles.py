"""A guest is kept once however he is read, sealed, and nobody is taken for another; who is erased stays so."""

import asyncio
from datetime import timedelta

import pytest

from cloud.app.keeping import rules
from cloud.app.settings import KeepingSettings
from cloud.guests.profile import RoomPreferences
from cloud.guests.profiles import Kept, Profiles
from cloud.kit.acting import acting, tenant
from cloud.kit.database import Database, execute
from cloud.kit.keeping import Keeping
from cloud.kit.times import at
from cloud.privacy.sealing import NoKeysError, Sealer
from cloud.privacy.wrapping import UnreadableError
from kit.clock import ManualClock
from kit.dice import SystemDice
from kit.logs import logger
from tests.cloud.guests.houses import CORONA, PROFILES, SEALER, ours, read, rows, said, share
from tests.cloud.houses import AURORA, DAY_MS, NOW_MS, open_house

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("GST-20")]
LIKES = RoomPreferences(floor="high", smoking=False)


async def name_of(database: Database, guest: str, *, profiles: Profiles = PROFILES) -> str | None:
    async with database.transaction() as connection:
        found = await profiles.one(connection, tenant=AURORA.tenant, property_id=AURORA.id, guest=ours(guest))
    assert found is not None
    return found.name


async def like(database: Database, guest: str, preferences: RoomPreferences) -> bool:
    async with database.transaction() as connection:
        return await PROFILES.set_preferences(
            connection,
            tenant=AURORA.tenant,
            property_id=AURORA.id,
            guest=ours(guest),
            preferences=preferences,
            now_ms=NOW_MS,
        )


async def erase(database: Database, guest: str) -> object:
    async with database.transaction() as connection:
        return await PROFILES.erase(
            connection, tenant=AURORA.tenant, property_id=AURORA.id, guest=ours(guest), now_ms=NOW_MS
        )


@pytest.mark.guarantee("G2")
@pytest.mark.requirement("GST-01")
async def test_who_is_read_again_is_kept_once_and_nothing_is_written_again(database: Database) -> None:
    told = (said("r1", "c1"), said("r2", "c1", until_ms=NOW_MS + DAY_MS), said("r3", "c2", "Ben Ode"))
    assert await read(database, *told) == Kept(created=2)
    before = await rows(database, "SELECT *, xmin FROM guests.profile ORDER BY id")
    for again in (told, told[::-1], told[1:2]):
        assert await read(database, *again, now_ms=NOW_MS + DAY_MS) == Kept()
    assert await rows(database, "SELECT *, xmin FROM guests.profile ORDER BY id") == before
    assert {row["external_id"]: row["last_until"] for row in before} == {"c1": at(NOW_MS + DAY_MS), "c2": at(NOW_MS)}
    assert (await name_of(database, "c1"), await name_of(database, "c2")) == ("Anna Berger", "Ben Ode")
    booked = await rows(database, "SELECT external_id, guest FROM guests.booking ORDER BY external_id")
    assert [(row["external_id"], row["guest"]) for row in booked] == [
        ("r1", ours("c1")), ("r2", ours("c1")), ("r3", ours("c2")),
    ]  # fmt: skip


@pytest.mark.requirement("SEC-01")
@pytest.mark.requirement("GST-04")
async def test_neither_names_nor_likes_stand_in_clear(database: Database) -> None:
    await read(database, said("r1", "c1", "Zoë Quixote-Überall"))
    assert await like(database, "c1", RoomPreferences(view="mountain"))
    [row] = await rows(database, "SELECT * FROM guests.profile")
    stored = b"|".join(bytes(each) if isinstance(each, bytes) else str(each).encode() for each in row.values())
    for clear in ("Quixote", "mountain", "Zoë"):
        assert clear.encode() not in stored


async def test_a_new_name_is_taken_one_that_is_not_told_changes_nothing_and_likes_stay(database: Database) -> None:
    await read(database, said("r1", "c1"))
    await like(database, "c1", LIKES)
    assert await read(database, said("r1", "c1", None)) == Kept()
    assert await name_of(database, "c1") == "Anna Berger"
    assert await read(database, said("r1", "c1", "Anna Żółć")) == Kept(changed=1)
    assert await name_of(database, "c1") == "Anna Żółć"
    assert await read(database, said("r9", "c9", None)) == Kept(created=1)
    assert await name_of(database, "c9") is None
    async with database.transaction() as connection:
        found = await PROFILES.one(connection, tenant=AURORA.tenant, property_id=AURORA.id, guest=ours("c1"))
    assert found is not None
    assert found.preferences == LIKES
    await like(database, "c1", RoomPreferences())
    [row] = await rows(database, "SELECT preferences FROM guests.profile WHERE external_id = 'c1'")
    assert row["preferences"] is None


@pytest.mark.requirement("GST-22")
async def test_nobody_is_taken_for_another_who_is_called_the_same(database: Database) -> None:
    await open_house(database, CORONA)
    await share(database, AURORA, CORONA)
    await read(database, said("r1", "c1"), said("r2", "c2"))
    await read(database, said("r1", "c1"), system="ohip")
    await read(database, said("r1", "c1"), house=CORONA)
    assert len(await rows(database, "SELECT FROM guests.profile")) == 4


@pytest.mark.requirement("GST-22")
async def test_a_reservation_that_another_takes_over_is_his(database: Database) -> None:
    await read(database, said("r1", "c1"))
    await read(database, said("r1", "c2", "Heir"))
    [row] = await rows(database, "SELECT guest FROM guests.booking")
    assert row["guest"] == ours("c2")
    assert await name_of(database, "c1") == "Anna Berger", "he is who he was, with a stay less"


@pytest.mark.guarantee("G2")
async def test_two_who_read_the_same_at_once_make_one_of_each(database: Database) -> None:
    told = [said(f"r{n}", f"c{n % 7}", f"Guest {n % 7}") for n in range(30)]
    kept = await asyncio.gather(*(read(database, *told[n % 5 :]) for n in range(6)))
    assert sum(each.created for each in kept) == 7
    assert {await name_of(database, f"c{n}") for n in range(7)} == {f"Guest {n}" for n in range(7)}


@pytest.mark.requirement("SEC-01")
async def test_an_erased_guest_is_not_kept_again_and_his_row_says_nothing_of_him(database: Database) -> None:
    await read(database, said("r1", "c1"), said("r2", "c2", "Ben"))
    await like(database, "c1", LIKES)
    assert await erase(database, "c1") == [AURORA.id]
    assert await erase(database, "c1") == ()
    assert await erase(database, "never-seen") is None
    assert await read(database, said("r1", "c1"), said("r2", "c1"), said("r5", "c1")) == Kept()
    [row] = await rows(database, "SELECT * FROM guests.profile WHERE erased_at IS NOT NULL")
    said_of_him = {name for name, value in row.items() if value is not None}
    assert said_of_him == {
        "property", "id", "tenant", "system", "first_seen_at", "changed_at", "last_until", "erased_at",
    }  # fmt: skip
    assert await rows(database, "SELECT FROM guests.booking") == [], "nor is what was another's and is his now"
    assert not await like(database, "c1", LIKES)
    assert await name_of(database, "c2") == "Ben"


async def test_a_person_of_several_houses_is_erased_in_all_that_the_caller_may_see(database: Database) -> None:
    await open_house(database)
    await open_house(database, CORONA)
    await share(database, AURORA, CORONA)
    for house in (AURORA, CORONA):
        await read(database, said("r1", "c1"), said("r2", "c2"), house=house)
    with acting(tenant(AURORA.tenant, frozenset({AURORA.id}))):
        assert await erase(database, "c1") == [AURORA.id]
    assert await erase(database, "c2") == [AURORA.id, CORONA.id]
    left = await rows(database, "SELECT property, external_id FROM guests.profile WHERE erased_at IS NULL")
    assert [tuple(row.values()) for row in left] == [(CORONA.id, "c1")]


@pytest.mark.requirement("SEC-02")
async def test_after_a_rotation_every_guest_is_readable_without_the_old_key(database: Database) -> None:
    await read(database, said("r1", "c1"))
    await like(database, "c1", LIKES)
    async with database.transaction() as connection:
        await SEALER.rotate(connection, tenant=AURORA.tenant, now_ms=NOW_MS)
        assert await PROFILES.renew(connection, AURORA.tenant, now_ms=NOW_MS) == 1
        assert await PROFILES.renew(connection, AURORA.tenant, now_ms=NOW_MS) == 0
        await execute(connection, "DELETE FROM privacy.data_key WHERE retired_at IS NOT NULL")
    assert await name_of(database, "c1") == "Anna Berger"
    assert await read(database, said("r1", "c1", "Anna B."), said("r2", "c2")) == Kept(created=1, changed=1)


async def test_a_key_that_is_gone_costs_its_guest_alone(database: Database) -> None:
    await read(database, said("r1", "c1"))
    async with database.transaction() as connection:
        await SEALER.rotate(connection, tenant=AURORA.tenant, now_ms=NOW_MS)
        await execute(connection, "DELETE FROM privacy.data_key WHERE retired_at IS NOT NULL")
    before = await rows(database, "SELECT * FROM guests.profile")
    assert await read(database, said("r1", "c1", "New"), said("r2", "c2")) == Kept(1, 0, (ours("c1"),))
    assert await rows(database, "SELECT * FROM guests.profile WHERE external_id = 'c1'") == before
    with pytest.raises(UnreadableError):
        await name_of(database, "c1")
    assert await erase(database, "c1") == [AURORA.id], "whom nobody can read can be forgotten"


async def test_without_keys_nobody_is_kept(database: Database) -> None:
    with pytest.raises(NoKeysError):
        await read(database, said("r1", "c1"), profiles=Profiles(Sealer(None, dice=SystemDice())))
    assert await rows(database, "SELECT FROM guests.booking") == []


async def test_a_guest_is_let_go_so_long_after_his_last_stay_and_so_is_that_somebody_was_erased(
    database: Database,
) -> None:
    clock = ManualClock()
    now_ms = clock.wall_ms()
    for guest, days in (("long gone", 1_101), ("lately", 1_099), ("to come", -5), ("erased", 1_101)):
        await read(database, said(guest, guest, until_ms=now_ms - days * DAY_MS), now_ms=now_ms)
    async with database.transaction() as connection:
        await PROFILES.erase(
            connection, tenant=AURORA.tenant, property_id=AURORA.id, guest=ours("erased"), now_ms=now_ms
        )
    await Keeping(database, rules(KeepingSettings()), clock=clock, log=logger("test")).once()
    left = await rows(database, "SELECT id FROM guests.profile")
    assert {row["id"] for row in left} == {ours("lately"), ours("to come"), ours("erased")}
    booked = await rows(database, "SELECT external_id FROM guests.booking")
    assert {row["external_id"] for row in booked} == {"lately", "to come"}
    for_ever = Keeping(database, rules(KeepingSettings(keep_guests=timedelta(0))), clock=clock, log=logger("test"))
    await for_ever.once()
    assert len(await rows(database, "SELECT FROM guests.profile")) == 3
