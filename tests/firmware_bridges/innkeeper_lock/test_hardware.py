"""Bolt and battery of the emulated lock: the sensor says what is so, the log says it once, the charge is measured."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridges.guest_phone.phone import Ending
from firmware_bridges.innkeeper_lock.battery import CAPACITY_NAH, Battery, motor_nah, percent_of
from firmware_bridges.innkeeper_lock.memory import Memory
from protocols.door.audit import AuditEvent
from protocols.door.hardware import Bolt
from tests.firmware_bridges.innkeeper_lock.world import HELD, World, config, running, until, world

OPENED, BOLT = AuditEvent.OPENED, AuditEvent.BOLT


def told(hotel: World) -> list[tuple[int, int]]:
    """Openings and bolt records, with the state of the latter."""
    core = hotel.emulator.locks["door-101"].core
    return [
        (each.event, each.actor[-1] if each.event == BOLT else 0)
        for each in core.records
        if each.event in (OPENED, BOLT)
    ]


@given(percent=st.integers(0, 100))
def test_the_percentage_is_read_off_the_voltage_within_one(percent: int) -> None:
    assert abs(Battery.put_in(percent, 0).measured_percent() - percent) <= 1


@given(first_mv=st.integers(0, 9_000), second_mv=st.integers(0, 9_000))
def test_more_volts_are_never_less_percent(first_mv: int, second_mv: int) -> None:
    low, high = sorted((first_mv, second_mv))
    assert 0 <= percent_of(low) <= percent_of(high) <= 100


def test_cells_empty_by_time_and_use_and_never_below_nothing() -> None:
    full = Battery.put_in(100, 0)
    year_ms = 365 * 86_400_000
    idle = full.later(year_ms)
    used = full.later(year_ms, used_nah=20 * 365 * motor_nah(500))
    assert full.percent_left > idle.percent_left > used.percent_left > 0
    assert used.measured_percent() < idle.measured_percent() < full.measured_percent()
    assert full.later(100 * year_ms).percent_left == 0
    assert full.millivolts(300) < full.millivolts(0)
    assert idle.later(0).drawn_nah == idle.drawn_nah  # a clock that went back charges nothing
    assert Battery.put_in(0, 0).drawn_nah == CAPACITY_NAH


@pytest.mark.requirement("P16")
async def test_openings_empty_the_cells_and_a_restart_does_not_fill_them(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        phone = await hotel.guest("door-101")
        lock = hotel.emulator.locks["door-101"]
        drawn = lock._battery.drawn_nah
        for _ in range(3):
            assert (await phone.open("door-101")).ending is Ending.OPENED
        after = lock._battery.drawn_nah
        assert after - drawn >= 3 * motor_nah(2 * lock.knobs.motor_ms)
        # a word of the bolt that was on its way when the motor started does not hold this charge yet; the next one does
        await until(lambda: (kept := lock._file.read()) and kept.battery and kept.battery.drawn_nah >= after)
        clock, one, settings = hotel.clock, hotel.property, config(hotel.property, tmp_path)
    async with running(clock, one, settings) as hotel:
        assert hotel.emulator.locks["door-101"]._battery.drawn_nah >= after


@pytest.mark.guarantee("G17")
async def test_an_opening_is_told_once_and_its_end_once(tmp_path: Path) -> None:
    async with world(tmp_path, knobs=HELD) as hotel:
        phone = await hotel.guest("door-101")
        assert hotel.truth("door-101")["bolt_sensed"] == "locked"
        opening = await phone.open("door-101")
        assert opening.result is not None
        assert opening.result.bolt is Bolt.LOCKED  # as it was when the answer was made
        await until(lambda: hotel.truth("door-101")["bolt_sensed"] == "unlocked")
        assert told(hotel) == [(OPENED, 0)]
        hotel.emulator.locks["door-101"].bolt.throw()
        await until(lambda: len(told(hotel)) == 2)
        assert told(hotel) == [(OPENED, 0), (BOLT, Bolt.LOCKED)]
        assert hotel.truth("door-101")["bolt_sensed"] == "locked"


@pytest.mark.guarantee("G17")
async def test_a_hand_a_jam_and_a_missing_sensor_are_told_for_what_they_are(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        await hotel.emulator._obey("bolt", {"door": "door-101", "drawn": True})
        await until(lambda: told(hotel) == [(BOLT, Bolt.UNLOCKED)])
        assert hotel.emulator.locks["door-101"].push()
        await hotel.emulator._obey("bolt", {"door": "door-101", "drawn": False})
        await hotel.emulator._obey("bolt", {"door": "door-101", "drawn": True})  # it has not come to rest in between
        await hotel.emulator._obey("bolt", {"door": "door-101", "drawn": False})
        await until(lambda: told(hotel)[1:] == [(BOLT, Bolt.LOCKED)])
        await hotel.emulator._obey("set", {"door": "door-101", "jams": True})
        assert (await (await hotel.guest("door-101")).open("door-101")).ending is Ending.OPENED
        await until(lambda: told(hotel)[-1] == (BOLT, Bolt.NOT_FULLY_LOCKED))
        assert hotel.emulator.locks["door-101"].bolt_drawn  # a bolt half-way holds nothing
        await hotel.emulator._obey("set", {"door": "door-101", "bolt_sensor": False})
        assert hotel.emulator.locks["door-101"].sensed.bolt is Bolt.UNKNOWN


async def test_a_bolt_thrown_while_the_program_was_away_is_told_after_its_return(tmp_path: Path) -> None:
    async with world(tmp_path) as hotel:
        assert (await (await hotel.guest("door-101")).open("door-101")).ending is Ending.OPENED
        clock, one, settings = hotel.clock, hotel.property, config(hotel.property, tmp_path)
    async with running(clock, one, settings) as hotel:
        await until(lambda: told(hotel) == [(OPENED, 0), (BOLT, Bolt.LOCKED)])


def test_a_memory_without_cells_is_of_an_earlier_emulator_and_still_read(tmp_path: Path) -> None:
    from firmware_bridges.innkeeper_lock.memory import Quartz
    from protocols.door.lock_core import LockCore

    del tmp_path
    memory = Memory(LockCore(), Quartz(5, 6, 7.0))
    assert Memory.decode(memory.encode()) == memory
    with_cells = Memory(LockCore(), Quartz(5, 6, 7.0), Battery(9, 10))
    assert Memory.decode(with_cells.encode()) == with_cells
