"""Keys are changed while everything stays readable, and the old ones are then of no use."""

from pathlib import Path

import pytest

from cloud.app.rotate import rotate_keys
from cloud.app.settings import CloudSettings, DatabaseSettings, PrivacySettings
from cloud.checkin.people import GuestFacts
from cloud.checkin.sessions import By, Sessions
from cloud.kit.database import Database, execute
from cloud.privacy.sealing import Sealer
from cloud.privacy.wrapping import FileKeys, UnreadableError
from cloud.stays.stays import stay_id, upsert_reservations
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import InvalidInputError
from tests.cloud.houses import AURORA, NOW_MS, PLACE, open_house, reservation

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("SEC-02")]
STAY = stay_id(AURORA.id, "mews", "r1")


async def test_both_keys_are_changed_and_every_guest_stays_readable(
    database: Database, dsn: str, tmp_path: Path
) -> None:
    await open_house(database)
    async with database.transaction() as connection:
        await upsert_reservations(connection, PLACE, [reservation()], now_ms=NOW_MS)
    keys = {"old": bytes(range(32)), "new": bytes(range(1, 33))}
    paths = {}
    for name, key in keys.items():
        paths[name] = tmp_path / name
        paths[name].write_text(key.hex())
    dice, clock = SeededDice(3), ManualClock(wall_ms=NOW_MS)

    def sessions(*names: str) -> Sessions:
        wrapper = FileKeys({name: keys[name] for name in names}, dice=dice)
        return Sessions(database, Sealer(wrapper, dice=dice), clock=clock, dice=dice)

    by = By("staff", "desk")
    await sessions("old").begin(AURORA, STAY, by=by, language="en")
    await sessions("old").tell_guest(AURORA, STAY, "g1", GuestFacts("Berger", "Anna"), by=by)
    settings = CloudSettings(DatabaseSettings(dsn), privacy=PrivacySettings("new", paths))
    assert await rotate_keys(settings, tenant="northlight", clock=clock, dice=dice) == (1, 1)
    assert await rotate_keys(settings, tenant=None, clock=clock, dice=dice) == (0, 0)
    async with database.transaction() as connection:
        await execute(connection, "DELETE FROM privacy.data_key WHERE retired_at IS NOT NULL")
    known = await sessions("new").people(AURORA, STAY)
    assert known is not None
    assert known[1]["g1"][0].surname == "Berger"
    with pytest.raises(UnreadableError):
        await sessions("old").people(AURORA, STAY)


async def test_without_keys_there_is_nothing_to_change(dsn: str) -> None:
    with pytest.raises(InvalidInputError):
        await rotate_keys(
            CloudSettings(DatabaseSettings(dsn)), tenant=None, clock=ManualClock(wall_ms=NOW_MS), dice=SeededDice(1)
        )
