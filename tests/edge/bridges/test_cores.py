"""What decides on a bus, without a bus: quarantine, places, reporter and write desk."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from edge.bridges.complaints import Complaints
from edge.bridges.modbus.places import PATIENCE_MS, Class, Places
from edge.bridges.modbus.unit import Unit
from edge.bridges.ports import Detail, DeviceEvent
from edge.bridges.quarantine import FAILURES_MAX, PROBE_MOST_MS, Quarantine, Standing
from edge.bridges.reporter import Reporter
from edge.bridges.write_desk import OUTCOMES_MAX, Job, WriteDesk
from firmware_bridges.catalogue import load_all
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.descriptors.descriptor import Point
from protocols.device_model.capability import Capability, Value
from protocols.device_model.capability import Unit as Measure
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import BusId, DescriptorId, DeviceId
from protocols.device_model.reading import Quality, Reading

DEVICE: Final = DeviceId("t-1")
T: Final = Capability.THERMOSTAT
RCF: Final = load_all()[DescriptorId("regin/rcf_230")]
SETPOINT: Final = RCF.point(T, "occupied_heating_setpoint")
ROOM: Final = RCF.point(T, "local_temperature")
assert SETPOINT is not None
assert ROOM is not None


class Sink:
    def __init__(self) -> None:
        self.readings: list[Reading] = []

    def reading(self, reading: Reading) -> None:
        self.readings.append(reading)

    def together(self, readings: Sequence[Reading]) -> None:
        self.readings += readings

    def device_event(self, device: DeviceId, event: DeviceEvent, detail: Detail) -> None:
        raise AssertionError("a reporter tells no events")


def said(value: Value | None, quality: Quality = Quality.GOOD, reason: str | None = None) -> Reading:
    return Reading(DEVICE, T, "local_temperature", value, Measure.CELSIUS, quality, None, reason)


# --- quarantine ---------------------------------------------------------------------------------------------


def test_one_failure_makes_a_suspect_and_three_a_quarantine_and_an_answer_ends_it() -> None:
    unit = Quarantine(SeededDice(1))
    assert [unit.failed(at) for at in range(FAILURES_MAX)] == [False, False, True]
    assert unit.standing is Standing.QUARANTINED
    assert not unit.trusted
    assert not unit.failed(10)
    assert [unit.answered(), unit.answered()] == [True, False]


@given(seed=st.integers(0, 1_000), failures=st.integers(FAILURES_MAX, 40))
def test_probes_grow_rarer_up_to_a_bound(seed: int, failures: int) -> None:
    unit, now_ms = Quarantine(SeededDice(seed)), 0
    for _ in range(failures):
        unit.failed(now_ms)
        assert 0 < unit.next_try_ms - now_ms <= PROBE_MOST_MS
        now_ms = unit.next_try_ms


def test_a_quarantined_unit_has_nothing_due_before_its_probe() -> None:
    unit = Unit.of(DEVICE, 1, RCF, Quarantine(SeededDice(1)))
    for _ in range(FAILURES_MAX):
        unit.quarantine.failed(1_000)
    assert unit.next_due_ms() == unit.quarantine.next_try_ms > 1_000


# --- places -------------------------------------------------------------------------------------------------


async def test_units_that_do_not_answer_never_hold_all_places() -> None:
    places, inside = Places(4, 1, ManualClock().now_ms), Counter[Class]()
    leave = asyncio.Event()

    async def stay(kind: Class) -> None:
        async with places.take(kind):
            inside[kind] += 1
            await leave.wait()

    tasks = [asyncio.create_task(stay(Class.PROBE)) for _ in range(10)]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(stay(Class.READ)) for _ in range(10)]
    await asyncio.sleep(0)
    assert inside == {Class.PROBE: 1, Class.READ: 3}
    leave.set()
    await asyncio.gather(*tasks)


async def test_writes_go_before_reads_before_probes() -> None:
    places, order = Places(1, 1, ManualClock().now_ms), list[Class]()

    async def pass_through(kind: Class) -> None:
        async with places.take(kind):
            order.append(kind)

    async with places.take(Class.READ):
        tasks = [asyncio.create_task(pass_through(kind)) for kind in (Class.PROBE, Class.READ, Class.WRITE)]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == [Class.WRITE, Class.READ, Class.PROBE]


async def test_a_bus_that_cannot_carry_its_load_still_probes_now_and_then() -> None:
    """Reads never cease to wait; each takes 10 ms; three units that fell silent want to be probed, for 500 ms each."""
    clock, probed_ms = ManualClock(), list[int]()
    places, stopped = Places(1, 1, clock.now_ms), asyncio.Event()

    async def read() -> None:
        while not stopped.is_set():
            async with places.take(Class.READ):
                clock.advance(10)
                await asyncio.sleep(0)

    async def probe() -> None:
        async with places.take(Class.PROBE):
            probed_ms.append(clock.now_ms())
            clock.advance(500)
            await asyncio.sleep(0)

    began_ms = clock.now_ms()
    reads = [asyncio.create_task(read()) for _ in range(3)]
    await asyncio.sleep(0)
    probes = [asyncio.create_task(probe()) for _ in range(4)]
    await asyncio.sleep(0)
    probes.pop().cancel()  # one goes away: nobody waits for its turn
    async with asyncio.timeout(20):
        await asyncio.gather(*probes)
    stopped.set()
    await asyncio.gather(*reads)
    apart = [later - earlier for earlier, later in pairwise([began_ms, *probed_ms])]
    assert all(PATIENCE_MS <= each <= PATIENCE_MS + 600 for each in apart), apart


@given(kinds=st.lists(st.sampled_from(list(Class)), max_size=20), cancelled=st.sets(st.integers(0, 19)))
async def test_a_place_is_never_lost_even_if_who_waits_goes_away(kinds: list[Class], cancelled: set[int]) -> None:
    places = Places(2, 1, ManualClock().now_ms)

    async def pass_through(kind: Class) -> None:
        async with places.take(kind):
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(pass_through(kind)) for kind in kinds]
    await asyncio.sleep(0)
    for index in cancelled:
        if index < len(tasks):
            tasks[index].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(20), places.take(Class.PROBE), places.take(Class.READ):
        pass


# --- reporter -----------------------------------------------------------------------------------------------


def reporter() -> tuple[Reporter, Sink, Counter[str]]:
    sink, counts = Sink(), Counter[str]()
    made = Reporter(sink, counts, Complaints(BusId("b"), counts, ManualClock()))
    assert ROOM is not None
    made.expect(DEVICE, ROOM, stale_ms=10_000, now_ms=0)
    return made, sink, counts


def test_only_what_moved_beyond_the_deadband_is_told_until_the_heartbeat() -> None:
    made, sink, _ = reporter()
    for at, value in ((0, 20.0), (1_000, 20.1), (2_000, 20.1), (3_000, 20.2), (4_000, 20.2), (303_000, 20.2)):
        made.take(said(value), now_ms=at)
    assert [each.value for each in sink.readings] == [20.0, 20.2, 20.2]


def test_a_change_of_quality_is_told_at_once_and_counted_by_reason() -> None:
    made, sink, counts = reporter()
    made.take(said(20.0), now_ms=0)
    made.take(said(None, Quality.BAD, "out_of_range: -32768"), now_ms=1)
    made.take(said(None, Quality.BAD, "out_of_range: -32768"), now_ms=2)
    made.take(said(20.0), now_ms=3)
    assert [each.quality for each in sink.readings] == [Quality.GOOD, Quality.BAD, Quality.GOOD]
    assert counts["bad_out_of_range"] == 2


def test_a_bad_value_of_a_register_is_logged_with_its_place() -> None:
    made, _, _ = reporter()
    assert ROOM is not None
    with structlog.testing.capture_logs() as lines:
        for at in range(3):
            made.take(said(None, Quality.BAD, "out_of_range: -32768"), now_ms=at)
            made.take(said(None, Quality.BAD, "no_value"), now_ms=at)  # a sensor that is not fitted is no news
    [line] = lines
    assert (line["event"], line["bus"], line["place"]) == ("bus_input_refused", "b", DEVICE)
    assert (line["key"], line["problem"]) == (f"{ROOM.table} register {ROOM.register}", "out_of_range: -32768")


@pytest.mark.guarantee("G17")
def test_what_is_not_heard_is_told_stale_once_with_its_last_value_and_good_again_when_heard() -> None:
    made, sink, _ = reporter()
    made.take(said(20.0), now_ms=0)
    made.sweep(now_ms=9_999)
    assert len(sink.readings) == 1
    assert made.sweep_in_ms(now_ms=9_999) == 1
    made.sweep(now_ms=10_000)
    made.sweep(now_ms=20_000)
    assert [(each.value, each.quality, each.reason) for each in sink.readings[1:]] == [
        (20.0, Quality.STALE, "no_answer")
    ]
    assert made.sweep_in_ms(now_ms=20_000) is None
    made.take(said(20.0), now_ms=21_000)
    assert sink.readings[-1].quality is Quality.GOOD


@pytest.mark.guarantee("G17")
def test_a_cached_state_is_as_old_as_the_device_says() -> None:
    made, sink, _ = reporter()
    made.take(said(20.0), now_ms=8_000, age_ms=7_000)
    made.sweep(now_ms=11_000)
    assert sink.readings[-1].quality is Quality.STALE


def test_what_nobody_expects_is_counted() -> None:
    made, sink, counts = reporter()
    stranger = Reading(DeviceId("other"), T, "local_temperature", 20.0, Measure.CELSIUS, Quality.GOOD)
    made.take(stranger, now_ms=0)
    assert not sink.readings
    assert counts["unexpected_readings"] == 1


# --- write desk ---------------------------------------------------------------------------------------------


class Bus:
    """Carries out whatever passes, and remembers it."""

    def __init__(self, clock: ManualClock) -> None:
        self.jobs: list[Job] = []
        self.free = asyncio.Event()
        self.free.set()
        self.desk = WriteDesk(clock, self.perform)

    async def perform(self, job: Job) -> Outcome:
        await self.free.wait()
        if self.desk.expired(job.command):
            return Outcome(Phase.EXPIRED)
        self.desk.sending(job)
        self.desk.sending(job)  # a device that was busy is asked again: one write all the same
        self.jobs.append(job)
        return Outcome(Phase.DONE, job.value)


def command(name: str, value: Value, *, deadline_ms: int = 60_000) -> Command:
    return Command(name, DEVICE, T, "occupied_heating_setpoint", value, deadline_ms, name)


def strict() -> Point:
    """The setpoint without a burst."""
    assert SETPOINT is not None
    assert SETPOINT.write is not None
    return msgspec.structs.replace(SETPOINT, write=msgspec.structs.replace(SETPOINT.write, burst=1))


def quick() -> Point:
    """The setpoint with an interval that a test can wait for."""
    assert SETPOINT is not None
    assert SETPOINT.write is not None
    return msgspec.structs.replace(
        SETPOINT, write=msgspec.structs.replace(SETPOINT.write, min_interval_s=0.02, burst=1)
    )


@pytest.mark.guarantee("G13")
async def test_a_command_at_its_deadline_is_expired_and_nothing_is_sent() -> None:
    bus = Bus(ManualClock(wall_ms=60_000))
    assert (await bus.desk.write(command("a", 20.0), SETPOINT)).phase is Phase.EXPIRED
    assert bus.jobs == []


@pytest.mark.guarantee("G13")
async def test_a_deadline_that_passes_while_the_bus_is_busy_is_seen_before_sending() -> None:
    clock = ManualClock(wall_ms=0)
    bus = Bus(clock)
    bus.free.clear()
    waiting = asyncio.create_task(bus.desk.write(command("a", 20.0), SETPOINT))
    await asyncio.sleep(0)
    clock.advance(60_000)
    bus.free.set()
    assert (await waiting).phase is Phase.EXPIRED
    assert bus.jobs == []


@pytest.mark.guarantee("G13")
async def test_the_rate_of_the_descriptor_holds() -> None:
    clock = ManualClock(wall_ms=0)
    bus = Bus(clock)
    assert (await bus.desk.write(command("a", 20.0), strict())).phase is Phase.DONE
    too_soon = await bus.desk.write(command("b", 21.0, deadline_ms=4_000), strict())
    assert (too_soon.phase, too_soon.reason) == (Phase.FAILED, "written too often: next in 5.0 s, too late")
    clock.advance(5_000)
    assert (await bus.desk.write(command("c", 21.0), strict())).phase is Phase.DONE
    assert [job.value for job in bus.jobs] == [20.0, 21.0]


@pytest.mark.requirement("DEV-05")
async def test_what_is_urgent_waits_for_no_interval_nor_for_who_waits_for_one() -> None:
    bus = Bus(ManualClock(wall_ms=0))
    rule = strict().write
    assert rule is not None
    point = msgspec.structs.replace(strict(), write=msgspec.structs.replace(rule, min_interval_s=3_600))
    assert (await bus.desk.write(command("a", 20.0), point)).phase is Phase.DONE
    waiting = asyncio.create_task(bus.desk.write(command("b", 21.0, deadline_ms=7_200_000), point))
    for _ in range(5):
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        urgent = await bus.desk.write(dataclasses.replace(command("fire:1", 22.0), urgent=True), point)
        assert (urgent.phase, urgent.read_back) == (Phase.DONE, 22.0)
        assert (await waiting).phase is Phase.FAILED
    assert [job.value for job in bus.jobs] == [20.0, 22.0]
    assert (await bus.desk.write(command("c", 23.0), point)).phase is Phase.FAILED, "it has cost its interval too"


@pytest.mark.guarantee("G13")
@given(steps=st.lists(st.integers(0, 12_000), min_size=1, max_size=40), burst=st.integers(1, 4))
async def test_a_burst_is_lent_and_paid_back(steps: list[int], burst: int) -> None:
    assert SETPOINT is not None
    assert SETPOINT.write is not None
    point = msgspec.structs.replace(SETPOINT, write=msgspec.structs.replace(SETPOINT.write, burst=burst))
    clock = ManualClock(wall_ms=0)
    bus, sent = Bus(clock), list[int]()
    for number, step_ms in enumerate(steps):
        clock.advance(step_ms)
        now_ms = clock.now_ms()
        name, deadline_ms = f"c{number}", clock.wall_ms() + 1  # no time to wait: now or not at all
        outcome = await bus.desk.write(command(name, 20.0 + number % 5, deadline_ms=deadline_ms), point)
        if outcome.phase is Phase.DONE:
            sent.append(now_ms)
        else:
            assert len([each for each in sent if each > now_ms - 5_000 * burst]) >= 1
    assert len(sent) >= min(burst, len(steps))
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            assert last - first + 1 <= burst + (sent[last] - sent[first]) // 5_000


@pytest.mark.guarantee("G13")
async def test_of_commands_that_wait_only_the_newest_is_written() -> None:
    bus = Bus(ManualClock(wall_ms=0))
    point = quick()
    await bus.desk.write(command("a", 20.0), point)
    outcomes = await asyncio.gather(*[bus.desk.write(command(f"b{each}", 20.5 + each), point) for each in range(4)])
    assert [each.phase for each in outcomes] == [Phase.FAILED] * 3 + [Phase.DONE]
    assert "superseded" in (outcomes[0].reason or "")
    assert [job.value for job in bus.jobs] == [20.0, 23.5]


@pytest.mark.guarantee("G13")
async def test_one_id_is_carried_out_once_however_often_it_is_asked_and_whoever_goes_away() -> None:
    bus = Bus(ManualClock(wall_ms=0))
    bus.free.clear()
    gone = asyncio.create_task(bus.desk.write(command("a", 20.0), SETPOINT))
    await asyncio.sleep(0)
    gone.cancel()
    waiting = [asyncio.create_task(bus.desk.write(command("a", 20.0), SETPOINT)) for _ in range(3)]
    await asyncio.sleep(0)
    bus.free.set()
    assert {each.phase for each in await asyncio.gather(*waiting)} == {Phase.DONE}
    assert len(bus.jobs) == 1


@pytest.mark.guarantee("G9")
async def test_what_the_desk_remembers_is_bounded() -> None:
    bus = Bus(ManualClock(wall_ms=0))
    for each in range(OUTCOMES_MAX + 50):
        await bus.desk.write(command(f"c{each}", "nonsense"), SETPOINT)
    assert len(bus.desk._tasks) == OUTCOMES_MAX


@pytest.mark.guarantee("G13")
async def test_an_open_command_is_never_forgotten_by_the_many_after_it() -> None:
    bus = Bus(ManualClock(wall_ms=0))
    bus.free.clear()
    first = asyncio.create_task(bus.desk.write(command("a", 20.0), SETPOINT))
    await asyncio.sleep(0)
    for each in range(OUTCOMES_MAX + 50):
        await bus.desk.write(command(f"c{each}", "nonsense"), SETPOINT)
    again = asyncio.create_task(bus.desk.write(command("a", 20.0), SETPOINT))
    await asyncio.sleep(0)
    bus.free.set()
    assert (await first).phase is (await again).phase is Phase.DONE
    assert len(bus.jobs) == 1


@pytest.mark.guarantee("G13")
async def test_a_bus_that_stops_leaves_its_open_commands_unknown() -> None:
    bus = Bus(ManualClock(wall_ms=0))
    bus.free.clear()
    waiting = asyncio.create_task(bus.desk.write(command("a", 20.0), SETPOINT))
    await asyncio.sleep(0)
    await bus.desk.close()
    assert await waiting == Outcome(Phase.UNKNOWN, None, "the bus was stopped")
