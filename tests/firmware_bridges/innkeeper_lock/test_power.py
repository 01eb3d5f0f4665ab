"""The emulated lock between two moments: power that goes while it thinks, two phones at once, a week that ends."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from firmware_bridges.guest_phone.phone import Ending
from protocols.door.advert import SLOT_S, WEEK_S, eid, week_of, weekly_eik
from protocols.door.audit import AuditEvent
from tests.firmware_bridges.innkeeper_lock.world import START_S, until, world

THINKS_MS = 400
"""What the lock takes between writing an opening down and moving: the moment that is meant here."""


def conversations() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if " link " in task.get_name()]


@pytest.mark.guarantee("G5", "G14")
async def test_power_that_goes_between_record_and_motor_moves_nothing_and_loses_no_record(tmp_path: Path) -> None:
    async with world(tmp_path, knobs={"crypto_ms": THINKS_MS}) as hotel:
        phone, lock = await hotel.guest("door-101"), hotel.emulator.locks["door-101"]
        tap = asyncio.create_task(phone.open("door-101"))
        await until(lambda: lock.core.records and lock.core.records[-1].event == AuditEvent.OPENED)
        await hotel.emulator._obey("set", {"door": "door-101", "powered": False})
        await until(lambda: not conversations())
        assert hotel.motors("door-101") == 0
        assert [each.event for each in lock.core.records if each.event == AuditEvent.OPENED] == [AuditEvent.OPENED]
        tap.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tap
        await hotel.emulator._obey("set", {"door": "door-101", "powered": True, "crypto_ms": 0})
        assert (await phone.open("door-101")).ending is Ending.OPENED
        assert hotel.motors("door-101") == 1


@pytest.mark.guarantee("G14")
async def test_of_two_phones_at_once_each_movement_is_told_of_its_own_grant(tmp_path: Path) -> None:
    async with world(tmp_path, knobs={"crypto_ms": THINKS_MS}) as hotel:
        phones = [await hotel.guest("door-101") for _ in range(2)]
        taps = await asyncio.gather(*(phone.open("door-101") for phone in phones))
        assert [each.ending for each in taps] == [Ending.OPENED] * 2
        told = [each["grant"] for each in hotel.facts if each["event"] == "motor"]
        assert len(told) == len(set(told)) == 2


@pytest.mark.requirement("P13")
async def test_where_a_week_ends_within_a_slot_the_lock_shows_the_id_of_the_new_week(tmp_path: Path) -> None:
    ends_s = next(at_s for week in range(1, 5) if (at_s := (week_of(START_S) + week) * WEEK_S) % SLOT_S)
    async with world(tmp_path, knobs={"drift_ppm": 0}) as hotel:
        lock = hotel.emulator.locks["door-101"]
        root, lock_id = lock.identity.eik_root, lock.identity.lock_id
        for at_s in (ends_s - 1, ends_s):
            hotel.clock.advance(at_s * 1_000 - hotel.clock.wall_ms())
            await lock.tick()
            assert lock.core.time(lock.sensed.rtc_s).now_s == at_s
            assert lock.peripheral._advert is not None
            assert lock.peripheral._advert.eid == eid(weekly_eik(root, lock_id, week_of(at_s)), at_s)
