"""A unit that answers late, always just before its deadline: its neighbours keep their pace, and it is told so.

On virtual time, but for the last: what is counted are questions, readings and events, never how long something took.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bridges.assembly import build
from edge.bridges.complaints import Complaints
from edge.bridges.modbus import ways
from edge.bridges.modbus.line_time import BUSY, JUDGED_FROM, STRETCH_MOST, USUAL_TIMES, LineTime
from edge.bridges.modbus.link import ModbusLink
from edge.bridges.modbus.ports import Dial, Link
from edge.bridges.modbus.rtu_link import RtuLink
from edge.bridges.modbus.unit import SLOW_AFTER_MS, SLOW_TOLD_MS, Unit
from edge.bridges.ports import DeviceEvent
from edge.bridges.quarantine import Quarantine
from edge.bridges.settings import BridgesSettings
from firmware_bridges.field_emulator.modbus_server import EmulatedUnit, RtuFrames
from firmware_bridges.field_emulator.physics import build as emulated
from kit.dice import SeededDice
from kit.simulation import SimClock, SimLoop, run_simulated
from protocols.device_model.identity import DeviceId, RoomId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import SitePlan
from protocols.modbus.frames import Frame, FrameReader, Read, WriteWords, decode_request, encode_frame, encode_reply
from protocols.modbus.read_planner import plan_by_interval
from protocols.modbus.rtu import encode_adu
from tests.edge.bridges.field import CATALOGUE, THERMOSTAT, Heard, field, plan
from tests.edge.bridges.test_serial_line import on_a_line

UNITS: Final = 20
SLOW: Final = 7
SECONDS: Final = 120
QUICK_S: Final = 0.01
LATE_S: Final = 0.38  # of 0.4 that the model allows
OTHERS: Final = set(range(1, UNITS + 1)) - {SLOW}
EVERY_S: Final = 2.0
BUSY_MODEL: Final = msgspec.structs.replace(
    CATALOGUE[THERMOSTAT],
    points=tuple(msgspec.structs.replace(each, every_s=EVERY_S) for each in CATALOGUE[THERMOSTAT].points),
)
BLOCKS: Final = len(plan_by_interval(BUSY_MODEL)[round(1000 * EVERY_S)])
MODELS: Final = {**CATALOGUE, THERMOSTAT: BUSY_MODEL}


class Units:
    """Twenty units, each with its own answer time, and what was asked of them."""

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()
        self.answer_s: dict[int, float] = {}
        self.loses: Callable[[int], bool] = lambda _: False
        self._units = {
            number: EmulatedUnit(emulated(DeviceId(f"thermostat-{number}"), RoomId("101"), BUSY_MODEL, lambda _: None))
            for number in range(1, UNITS + 1)
        }

    def takes_s(self, unit: int) -> float:
        return self.answer_s.get(unit, QUICK_S)

    def answer(self, asked: Frame) -> bytes | None:
        self.asked[asked.unit] += 1
        if self.loses(asked.unit):
            return None
        request = decode_request(asked.pdu)
        assert isinstance(request, Read | WriteWords)
        return encode_reply(asked.pdu, self._units[asked.unit].answer(request, at_ms=0))


class Line:
    """`Wire` over them: the master alone keeps them apart."""

    def __init__(self, loop: SimLoop, units: Units) -> None:
        self._loop, self._units, self._frames = loop, units, RtuFrames()
        self._said: asyncio.Queue[bytes] = asyncio.Queue()

    async def read(self) -> bytes:
        return await self._said.get()

    async def write(self, data: bytes) -> None:
        for asked in self._frames.receive_data(data):
            pdu = self._units.answer(asked)
            if pdu is not None:
                adu = encode_adu(asked.unit, pdu)
                self._loop.call_later(self._units.takes_s(asked.unit), self._said.put_nowait, adu)

    def forget_input(self) -> None:
        pass

    async def close(self) -> None:
        self._said.put_nowait(b"")


class Gateway:
    """A gateway over them that carries one question at a time, or all side by side."""

    def __init__(self, loop: SimLoop, units: Units, *, one_at_a_time: bool) -> None:
        self._loop, self._units, self._frames = loop, units, FrameReader()
        self._one_at_a_time, self._free_s = one_at_a_time, 0.0
        self.reader = asyncio.StreamReader(limit=1 << 26)

    def write(self, data: bytes) -> None:
        for asked in self._frames.receive_data(data):
            pdu = self._units.answer(asked)
            begins_s = max(self._loop.time(), self._free_s) if self._one_at_a_time else self._loop.time()
            self._free_s = begins_s + self._units.takes_s(asked.unit)
            if pdu is not None:
                frame = encode_frame(Frame(asked.transaction, asked.unit, pdu))
                self._loop.call_at(self._free_s, self.reader.feed_data, frame)

    def is_closing(self) -> bool:
        return False

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        self.reader.feed_eof()

    async def wait_closed(self) -> None:
        pass


WAYS: Final = ("line", "gateway with one line", "gateway side by side")


async def _lived(
    loop: SimLoop,
    units: Units,
    monkeypatch: pytest.MonkeyPatch,
    *,
    made: SitePlan,
    way: str,
    seconds: float,
    changes: dict[float, Any],
) -> tuple[Heard, Counter[str]]:
    heard, clock = Heard(), SimClock(loop)

    def dial(*_: Any) -> Dial:
        async def dialled(counts: Counter[str], complaints: Complaints) -> Link:
            await asyncio.sleep(0)
            if way == "line":
                return RtuLink(Line(loop, units), baud=115_200, clock=clock, counts=counts, complaints=complaints)
            it = Gateway(loop, units, one_at_a_time=way == "gateway with one line")
            return ModbusLink(it.reader, cast("asyncio.StreamWriter", it), counts, complaints, clock)

        return dialled

    monkeypatch.setattr(ways, "_serial", dial)
    monkeypatch.setattr(ways, "_tcp", dial)
    [bus] = build(made, MODELS, clock, loop.dice("bus"), heard, BridgesSettings(), lambda _: pytest.fail("no such bus"))
    for at_s, change in changes.items():
        loop.call_later(at_s, change)
    running = asyncio.create_task(bus.run())
    await asyncio.sleep(seconds)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return heard, Counter(bus.counts)


def lived(
    monkeypatch: pytest.MonkeyPatch, way: str, units: Units, changes: dict[float, Any], seconds: float = SECONDS
) -> tuple[Heard, Counter[str]]:
    made = on_a_line(Path("/nowhere"), UNITS) if way == "line" else plan([THERMOSTAT] * UNITS)

    def house(loop: SimLoop) -> Any:
        return _lived(loop, units, monkeypatch, made=made, way=way, seconds=seconds, changes=changes)

    value: tuple[Heard, Counter[str]] = run_simulated(house, 1, 2 * seconds).value
    return value


def told_slow(heard: Heard) -> list[tuple[str, Any]]:
    return [(device, detail) for device, event, detail in heard.events if event is DeviceEvent.SLOW]


@pytest.mark.guarantee("G9")
@pytest.mark.requirement("DEV-03")
@pytest.mark.parametrize("way", WAYS)
def test_the_neighbours_of_a_slow_unit_keep_their_pace(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet, slow = Units(), Units()
    slow.answer_s[SLOW] = LATE_S
    lived(monkeypatch, way, quiet, {})
    heard, counts = lived(monkeypatch, way, slow, {})
    assert counts["timeouts"] == 0
    assert all(slow.asked[unit] >= 0.97 * quiet.asked[unit] for unit in OTHERS), (slow.asked, quiet.asked)
    assert {event for _, event, _ in heard.events} <= {DeviceEvent.ONLINE, DeviceEvent.SLOW}
    assert {each.quality for each in heard.readings} == {Quality.GOOD}, "asked less often is not silent"
    if way == "gateway side by side":  # nobody waits for it there: neither is it held back, nor told
        assert told_slow(heard) == []
        assert slow.asked[SLOW] >= SECONDS / LATE_S * 0.9
        return
    [(device, detail)] = told_slow(heard)
    assert device == f"thermostat-{SLOW}"
    assert (detail["slow"], detail["unit"]) == (True, SLOW)
    assert 1000 * LATE_S <= detail["answer_ms"] <= 1000 * LATE_S + 20
    assert detail["asked_times_less"] > 1
    assert 2 * BLOCKS <= slow.asked[SLOW] <= 0.4 * quiet.asked[SLOW], "held back, and still asked"


@pytest.mark.parametrize("way", WAYS[:2])
def test_one_that_is_quick_again_is_asked_as_before_and_told(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    units = Units()
    units.answer_s[SLOW] = LATE_S
    marks: list[int] = []
    changes = {
        60.0: units.answer_s.clear,
        180.0: lambda: marks.append(units.asked[SLOW]),
        239.0: lambda: marks.append(units.asked[SLOW]),
    }
    heard, _ = lived(monkeypatch, way, units, changes, 240)
    assert [detail["slow"] for _, detail in told_slow(heard)] == [True, False]
    assert marks[1] - marks[0] >= 59 / EVERY_S * BLOCKS - 2 * BLOCKS  # as everybody


def test_a_unit_that_loses_questions_costs_a_line_no_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet, lossy = Units(), Units()
    lossy.loses = lambda unit: unit == SLOW and lossy.asked[SLOW] % 3 == 0
    lived(monkeypatch, "line", quiet, {})
    lived(monkeypatch, "line", lossy, {})
    assert all(lossy.asked[unit] >= 0.97 * quiet.asked[unit] for unit in OTHERS)


# --- the share of a line --------------------------------------------------------------------------------------


def line_of(units: dict[int, tuple[int, float]]) -> LineTime:
    """Return a line whose units answer in so many ms and are asked so often a second."""
    it, now_ms = LineTime(alone=True), 1_000_000
    for _ in range(100):
        for unit, (answer_ms, a_second) in units.items():
            it.asks(unit, 10_000, now_ms=now_ms)
            now_ms += answer_ms
            it.took(unit, a_second / 1000, now_ms=now_ms)
    return it


def share_of(it: LineTime, unit: int) -> float:
    taken = it._units[unit]
    return taken.answer_ms * taken.questions_a_ms


@given(st.dictionaries(st.integers(1, 247), st.tuples(st.integers(0, 5_000), st.floats(0.01, 10)), max_size=40))
def test_shares_are_fair(units: dict[int, tuple[int, float]]) -> None:
    it = line_of(units)
    stretches = {unit: it.stretch(unit, now_ms=2_000_000_000) for unit in units}
    shares = sorted(share_of(it, unit) for unit in units)
    assert all(1 <= each <= STRETCH_MOST for each in stretches.values())
    if sum(shares) <= BUSY or len(units) < 2:
        assert set(stretches.values()) <= {1.0}
        return
    usual = shares[(len(shares) - 1) // 2]
    for unit, stretch in stretches.items():
        share = share_of(it, unit)
        if share <= max(USUAL_TIMES * usual, BUSY / len(units)):
            assert stretch == 1.0, "who wants little, or what is usual, has it"
        if stretch not in (1.0, STRETCH_MOST):
            left = share / stretch
            assert left >= BUSY / len(units) * 0.999, "nobody is left with less than an equal part"
            assert all(share_of(it, other) <= left * 1.001 for other in units if stretches[other] == 1.0)


def test_behind_a_gateway_a_unit_takes_what_others_waited_and_nobody_answered() -> None:
    it = LineTime(alone=False)
    for second in range(20):
        now_ms = second * 10_000
        it.asks(1, 500, now_ms=now_ms)
        it.took(1, 0.001, now_ms=now_ms + 400)  # alone: nothing is learnt of it
        assert it.figures(1, 1)["answer_ms"] in (0, 90)
        for number in range(1, 5):
            it.asks(number, 500, now_ms=now_ms + 1_000)
        it.took(2, 0.001, now_ms=now_ms + 1_010)
        it.took(3, 0.001, now_ms=now_ms + 1_040)
        it.took(1, 0.001, now_ms=now_ms + 1_130)  # 90 ms in which 4 waited and nobody answered
        it.took(4, 0.001, now_ms=now_ms + 1_900)
    assert [it.figures(number, 1)["answer_ms"] for number in range(1, 5)] == [90, 10, 30, 0]


def test_a_question_waits_for_those_before_it() -> None:
    it, slow = LineTime(alone=False), unit()
    assert slow.expected_ms() == slow.wire.answer_wait_ms, "nobody knows better yet"
    slow.answered_in(300)
    slow.answered_in(10)
    assert 290 < slow.expected_ms() <= 301
    assert [it.asks(number, ms, now_ms=0) for number, ms in ((1, 301), (2, 11), (3, 400), (4, 5))] == [0, 301, 312, 712]
    it.took(1, 0.001, now_ms=300)
    assert it.asks(1, 301, now_ms=300) == 11 + 400 + 5


def test_a_unit_is_not_judged_by_its_first_words() -> None:
    it, now_ms = line_of({1: (10, 1), 2: (10, 1)}), 2_000_000_000
    for asked in range(JUDGED_FROM):
        assert it.stretch(3, now_ms=now_ms) == 1.0, asked
        it.asks(3, 10_000, now_ms=now_ms)
        now_ms += 2_000
        it.took(3, 0.001, now_ms=now_ms)
    assert it.stretch(3, now_ms=now_ms) > 1


def unit() -> Unit:
    return Unit.of(DeviceId("t"), 1, CATALOGUE[THERMOSTAT], Quarantine(SeededDice(1)))


def test_slowness_is_told_once_a_minute_at_most() -> None:
    it = unit()
    told = []
    for second in range(0, 1_000):
        it.stretch = 3.0 if second // 7 % 2 else 1.0
        if it.slow_changed(second * 1_000):
            told.append(second * 1_000)
    assert len(told) >= 2
    accident = unit()
    accident.stretch = 3.0
    assert not accident.slow_changed(0)
    assert not accident.slow_changed(SLOW_AFTER_MS - 1)
    accident.stretch = 1.0
    assert not accident.slow_changed(SLOW_AFTER_MS), "it was none"
    assert all(after - before >= SLOW_TOLD_MS for before, after in itertools.pairwise(told))


def test_an_answer_that_was_lost_slows_nobody_down() -> None:
    it, now_ms = line_of({1: (10, 20), 2: (10, 20), 3: (10, 20)}), 2_000_000_000
    assert it.stretch(1, now_ms=now_ms) == 1.0
    it.asks(1, 400, now_ms=now_ms)
    it.took(1, 0.02, now_ms=now_ms + 400)
    assert it.stretch(1, now_ms=now_ms + 10_000) == 1.0
    for lost in range(1, 9):
        it.asks(1, 400, now_ms=now_ms + 10_000 * lost)
        it.took(1, 0.02, now_ms=now_ms + 10_000 * lost + 400)
    assert it.stretch(1, now_ms=now_ms + 200_000) > 2, "and several are no accident"


@pytest.mark.requirement("DEV-02")
async def test_a_slow_unit_of_an_emulated_line_is_told_with_its_figures(tmp_path: Path) -> None:
    hurried = msgspec.structs.replace(
        BUSY_MODEL, points=tuple(msgspec.structs.replace(each, every_s=0.2) for each in BUSY_MODEL.points)
    )
    made = on_a_line(tmp_path / "line", 3)
    async with field(made, catalogue={**CATALOGUE, THERMOSTAT: hurried}) as it:
        await it.emulator.answer("slow", {"device": "thermostat-2", "answer_ms": 250})
        await it.heard.until(it.heard.told("thermostat-2", DeviceEvent.SLOW))
        [detail] = [each for device, event, each in it.heard.events if event is DeviceEvent.SLOW]
        assert detail["slow"] is True
        assert cast(int, detail["answer_ms"]) >= 250
        assert cast(float, detail["line_share"]) > BUSY
