"""The numbers of sealed adverts over restarts, power cuts, damaged files and full disks."""

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, MutableMapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from edge.app.advert_numbers import FILE_NAME, PACE_S, AdvertNumbers
from edge.bridges.mqtt.bus_memory import BusMemory, Counted
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.files import TEMPORARY_SUFFIX
from kit.simulation.disk import PowerCutError, SimDisk
from kit.simulation.loop import SimLoop, run_simulated
from protocols.device_model.identity import BusId, DeviceId, EdgeId, PropertyId, RoomId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import BleAdvertBus, Property, Room, SitePlan
from tests.edge.bridges.mqtt.test_advert_keys import KEY, LYWSD, MAC, SILENCE_MS, T0, mibeacon, sealed, served
from tests.edge.bridges.mqtt.test_advert_keys import Room as Sensor

AIR: Final = BusId("air")
FOLDER: Final = Path("data")
FILE: Final = FOLDER / FILE_NAME
KEYS: Final = {MAC: KEY}
STEPS_OF_A_WRITE: Final = 4
PLAN: Final = SitePlan(
    v=1,
    property=Property(PropertyId("aurora"), "Hotel Aurora", "Europe/Vienna", "northlight"),
    edge=EdgeId("e-1"),
    rooms=(Room(RoomId("101"), 1, "guest_room", "double"),),
    devices=(),
    buses=(BleAdvertBus(AIR, "ruuvi"),),
)


class House:
    """An edge over lives: its disk, its clocks, and what it logs."""

    def __init__(self, seed: int = 1) -> None:
        self.disk, self.clock = SimDisk(SeededDice(seed)), ManualClock(wall_ms=T0)
        self.lines: list[tuple[str, str]] = []
        self.numbers: AdvertNumbers
        self.begin()

    def begin(self) -> None:
        """Start the edge."""
        self.numbers = AdvertNumbers(
            disk=self.disk,
            folder=FOLDER,
            clock=self.clock,
            logger=structlog.wrap_logger(structlog.ReturnLogger(), processors=[self._line]),
            settle_s=0,
        )
        self.numbers.load(PLAN)

    @property
    def memory(self) -> BusMemory:
        return self.numbers.memories[AIR]

    @contextlib.asynccontextmanager
    async def life(self, keys: dict[str, bytes] = KEYS, **more: Any) -> AsyncIterator[Sensor]:
        """The bus with its sensor."""
        async with served(keys, memory=self.memory.next_life(), clock=self.clock, **more) as sensor:
            yield sensor

    def _line(self, _: Any, level: str, event: MutableMapping[str, Any]) -> str:
        self.lines.append((level, event["event"]))
        return ""


def qualities(sensor: Sensor) -> list[Quality]:
    return [each.quality for each in sensor.heard.readings if each.attribute == "measured_value"]


@pytest.mark.requirement("DEV-02")
@pytest.mark.guarantee("G19")
async def test_a_recording_is_none_after_a_clean_restart_and_the_sensor_goes_on() -> None:
    house = House()
    async with house.life() as sensor:
        for number in (98, 99, 100):
            await sensor.say(sealed(20.0 + number / 100, number))
    await house.numbers.keep()
    for _ in range(3):  # what was kept is kept on, however often it restarts
        house.begin()
        async with house.life() as sensor:
            for number in (98, 99):
                await sensor.say(sealed(20.0 + number / 100, number))
            assert sensor.told() == []
            assert sensor.bus.counts["older_numbers"] == 2
        await house.numbers.keep()
    house.begin()
    async with house.life() as sensor:
        await sensor.say(sealed(22.0, 101))
        assert sensor.told() == [22.0]
    assert house.lines == []


@pytest.mark.guarantee("G17")
async def test_its_last_word_said_again_after_a_restart_is_of_unknown_age_and_heard_once() -> None:
    house = House()
    async with house.life() as sensor:
        await sensor.say(sealed(21.0, 100))
    await house.numbers.keep()
    house.begin()
    async with house.life() as sensor:
        for _ in range(3):
            await sensor.say(sealed(21.0, 100))
            sensor.clock.advance(1_000)
        assert (sensor.told(), qualities(sensor)) == (["retained"], [Quality.UNCERTAIN])
        assert not sensor.heard.events
        await sensor.say(sealed(21.5, 101))
        assert qualities(sensor)[-1] is Quality.GOOD


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("cut", range(1, STEPS_OF_A_WRITE + 1))
@pytest.mark.parametrize("seed", range(8))
async def test_a_power_cut_at_any_step_leaves_the_old_numbers_or_the_new(cut: int, seed: int) -> None:
    house = House(seed)
    async with house.life() as sensor:
        await sensor.say(sealed(21.0, 100))
    await house.numbers.keep()
    house.disk.cut_power_at(cut)
    async with house.life() as sensor:
        await sensor.say(sealed(21.0, 200))
    with pytest.raises(PowerCutError):
        await house.numbers.keep()
    house.disk.crash()
    house.begin()
    assert house.lines == []
    async with house.life() as sensor:
        await sensor.say(sealed(30.0, 99))
        assert sensor.told() == []  # what was durable is durable
        for number in (150, 201):
            await sensor.say(sealed(number / 10, number))
        assert sensor.told()[-1] == 20.1  # and the sensor itself is heard at once
    await house.numbers.keep()
    house.begin()
    async with house.life() as sensor:
        await sensor.say(sealed(30.0, 200))
        assert sensor.told() == []


@given(
    seed=st.integers(0, 2**16),
    steps=st.lists(st.sampled_from(("say", "say", "replay", "keep", "stop", "crash", "cut")), min_size=4, max_size=24),
)
def test_whatever_happens_a_durable_number_is_never_believed_again(seed: int, steps: list[str]) -> None:
    """Believed is never less than what was last durable, and the sensor itself is always heard."""

    async def run() -> None:
        house, dice = House(seed), SeededDice(seed)
        said = believed = durable = 0

        def begin() -> None:
            nonlocal believed
            house.begin()
            believed = max((each.number for each in house.memory.kept_numbers()), default=0)
            assert durable <= believed <= said

        for step in [*steps, "stop"]:
            async with house.life() as sensor:
                if step == "say":
                    believed = said = said + dice.integer(1, 5)
                    await sensor.say(sealed(said / 10, said))
                    assert sensor.told() == [said / 10]
                elif step == "replay" and said:
                    recorded = dice.integer(1, said)
                    await sensor.say(sealed(99.0, recorded))
                    good = [each for each in sensor.heard.readings if each.quality is Quality.GOOD]
                    assert bool(good) is (recorded > believed)
                    believed = max(believed, recorded)
            if step == "cut":
                house.disk.cut_power_at(dice.integer(1, STEPS_OF_A_WRITE))
            if step in ("keep", "stop", "cut"):
                try:
                    await house.numbers.keep()
                    durable = believed
                except PowerCutError:
                    house.disk.crash()
                    begin()
            elif step == "crash":
                house.disk.crash()
            if step in ("stop", "crash"):
                begin()
        assert ("error", "advert_numbers_refused") not in house.lines

    asyncio.run(run())


@pytest.mark.guarantee("G19")
async def test_a_new_battery_is_believed_after_the_silence_since_the_start_and_written_at_once() -> None:
    house = House()
    async with house.life() as sensor:
        await sensor.say(sealed(21.0, 100))
    await house.numbers.keep()
    house.clock.advance(10 * SILENCE_MS)  # the edge was off: nobody was silent
    house.begin()
    keeping = asyncio.create_task(house.numbers.run())
    async with house.life() as sensor:
        await sensor.say(sealed(22.0, 0))
        assert sensor.told() == []
        sensor.clock.advance(SILENCE_MS)
        before = house.disk.operations
        await sensor.say(sealed(23.0, 1))
        assert sensor.told() == [23.0]
        async with asyncio.timeout(20):
            while house.disk.operations < before + STEPS_OF_A_WRITE:
                await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    house.disk.crash()
    house.begin()
    async with house.life() as sensor:
        await sensor.say(sealed(24.0, 2))
        assert sensor.told() == [24.0]


async def test_short_numbers_are_kept_over_a_restart_and_not_over_a_silence() -> None:
    silence_ms = round(LYWSD.wire.silence_s * 1000)  # type: ignore[union-attr]  # it advertises
    for away_ms, told in ((60_000, []), (silence_ms, [10.0])):
        house = House()
        async with house.life(model=LYWSD) as sensor:
            await sensor.say(mibeacon(21.0, 0x05, b"\x17\x00\x91", version=4))
        await house.numbers.keep()
        house.clock.advance(away_ms)
        house.begin()
        async with house.life(model=LYWSD) as sensor:
            await sensor.say(mibeacon(10.0, 0xFE, b"\xff\x00\xff", version=4))
            assert sensor.told() == told


async def test_a_sensor_that_was_paired_anew_while_the_edge_was_off_is_heard_at_once() -> None:
    house = House()
    async with house.life() as sensor:
        await sensor.say(sealed(21.0, 100))
    await house.numbers.keep()
    house.begin()
    async with house.life({MAC: bytes(16)}) as sensor:
        await sensor.say(sealed(22.0, 0, key=bytes(16)))
        assert sensor.told() == [22.0]
    assert KEY.hex().encode() not in house.disk.read(FILE)


@pytest.mark.guarantee("G19")
async def test_a_damaged_file_is_told_and_costs_the_numbers_in_it_and_nothing_else() -> None:
    house = House()
    async with house.life() as sensor:
        await sensor.say(sealed(21.0, 100))
    await house.numbers.keep()
    whole = house.disk.read(FILE)
    for damaged in (
        whole[:-7], bytes(len(whole)), b"", b"[]", b"[" * 200_000, whole.replace(b"100", b"-5"),
        whole.replace(b"100", b"4294967296"), whole.replace(b"short", b"shorn"), whole.replace(b'"air"', b'"air'),
    ):  # fmt: skip
        house.disk.write(FILE, damaged)
        house.lines.clear()
        house.begin()
        assert house.lines == [("error", "advert_numbers_refused")], damaged[:80]
        async with house.life() as sensor:
            await sensor.say(sealed(22.0, 50))
            assert sensor.told() == [22.0]
        await house.numbers.keep()
        assert msgspec.json.decode(house.disk.read(FILE))["air"][0]["number"] == 50


async def test_a_full_disk_is_told_once_and_what_was_counted_is_kept_when_there_is_room() -> None:
    house = House()
    for number in (1, 2, 3):
        async with house.life() as sensor:
            await sensor.say(sealed(21.0, number))
            assert sensor.told() == [21.0]
        if number < 3:
            house.disk.refuse_at(2, OSError(errno.ENOSPC, "No space left on device"))
        await house.numbers.keep()
        assert house.disk.exists(FILE) is (number == 3)
        assert not house.disk.exists(FILE.with_name(FILE_NAME + TEMPORARY_SUFFIX))
    assert house.lines == [("error", "advert_numbers_not_kept"), ("info", "advert_numbers_kept_again")]


def test_a_house_that_speaks_without_end_costs_one_write_a_minute_and_a_silent_one_none() -> None:
    async def run(loop: SimLoop) -> None:
        del loop
        house = House()
        memory = house.memory
        devices = [DeviceId(f"s-{number}") for number in range(50)]
        memory.serve(dict.fromkeys(devices, "place"), named=())
        keeping = asyncio.create_task(house.numbers.run())
        for second in range(600):
            for each in devices:
                memory.count(each, Counted(second, False, second * 1000, T0 + second * 1000))
            await asyncio.sleep(1)
        assert house.disk.operations // STEPS_OF_A_WRITE <= 600 / PACE_S
        assert house.disk.operations > 0
        await asyncio.sleep(2 * PACE_S)
        before = house.disk.operations
        await asyncio.sleep(3_600)
        assert house.disk.operations == before
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    run_simulated(run, 1, 10_000, blocking="inline")
