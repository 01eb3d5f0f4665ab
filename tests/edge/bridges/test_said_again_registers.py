"""What a unit holds as it held it before costs next to nothing, and the house hears exactly what it heard otherwise."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bridges.complaints import Complaints
from edge.bridges.modbus import answers
from edge.bridges.modbus.answers import Answers
from edge.bridges.modbus.unit import Unit
from edge.bridges.ports import Detail, DeviceEvent
from edge.bridges.quarantine import Quarantine
from edge.bridges.reporter import Reporter
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.descriptors.codec import judge, raw_of_words, reading, readings_of_registers
from protocols.descriptors.descriptor import Table, parse
from protocols.device_model.capability import Capability
from protocols.device_model.identity import BusId, DeviceId
from protocols.device_model.reading import Reading
from protocols.modbus.frames import ExceptionCode, Refused, Words

IT: Final = DeviceId("it")
MODEL: Final = parse(
    b"""
format = 1
identity = { id = "acme/two", vendor = "Acme", model = "Two", title = "Meter", source = "made up" }
quality = { level = "manual", proven = "nothing at all", on = "nothing" }
wire = { kind = "modbus" }
[[points]]
capability = "thermostat"
attribute = "local_temperature"
table = "holding"
register = 0
type = "int16"
scale = 0.1
unit = "Cel"
every_s = 1
heartbeat_s = 7
deadband = 0.2
nan = [32767]
[[points]]
capability = "fan_control"
attribute = "speed_current"
table = "holding"
register = 1
type = "uint16"
every_s = 1
heartbeat_s = 20
[[points]]
capability = "boolean_state"
attribute = "state_value"
table = "holding"
register = 2
type = "bool"
bit = 0
every_s = 1
heartbeat_s = 20
[emulation]
model = "plain"
""",
    "two",
)
EVERY_MS: Final = 1_000


class Sink:
    def __init__(self) -> None:
        self.told: list[tuple[int, Reading]] = []
        self.now_ms = 0

    def reading(self, reading: Reading) -> None:
        self.told.append((self.now_ms, reading))

    def together(self, readings: Sequence[Reading]) -> None:
        self.told += [(self.now_ms, each) for each in readings]

    def device_event(self, device: DeviceId, event: DeviceEvent, detail: Detail) -> None:
        raise AssertionError("nobody doubts here")


class Bus:
    """A reporter and a unit; `long`: every answer is made readings of, as if nothing had ever been said before."""

    def __init__(self, *, long: bool) -> None:
        clock, counts = ManualClock(), Counter[str]()
        self.sink, self.long = Sink(), long
        self.reporter = Reporter(self.sink, counts, Complaints(BusId("b"), counts, clock))
        self.unit = Unit.of(IT, 1, MODEL, Quarantine(SeededDice(1)))
        for point in MODEL.points:
            self.reporter.expect(IT, point, stale_ms=2 * EVERY_MS, now_ms=0)
        self.answers = Answers(self.reporter, lambda *_: None)

    def step(self, what: str, some: Any, now_ms: int) -> None:
        self.sink.now_ms = now_ms
        [due] = self.unit.blocks
        match what:
            case "words" if self.long:
                image: dict[tuple[Table, int], int] = {("holding", place): word for place, word in enumerate(some)}
                for each in readings_of_registers(MODEL, IT, image, due.block.points):
                    self.reporter.take(each, now_ms=now_ms, age_ms=-self.unit.later_ms(due))
            case "words":
                self.answers.take(self.unit, due, Words(tuple(some)), now_ms)
            case "refused":
                self.answers.take(self.unit, due, Refused(ExceptionCode.DEVICE_FAILURE), now_ms)
            case "read back":
                point = MODEL.points[0]
                self.reporter.take(reading(point, IT, judge(point, raw_of_words(point, [some]))), now_ms=now_ms)
                self.unit.forget_words()
            case "silent":
                self.reporter.silent(IT, now_ms=now_ms)
            case "stretch":
                self.unit.stretch = some
            case _:
                self.reporter.sweep(now_ms=now_ms)


words = st.tuples(st.sampled_from([200, 201, 203, 250, 32767]), st.sampled_from([1, 2, 9_000]), st.sampled_from([0, 1]))
steps = st.one_of(
    st.tuples(st.just("words"), words),
    st.tuples(st.just("words"), st.just((200, 1, 0))),
    st.tuples(st.just("refused"), st.none()),
    st.tuples(st.just("read back"), st.sampled_from([200, 203, 250])),
    st.tuples(st.just("silent"), st.none()),
    st.tuples(st.just("stretch"), st.sampled_from([1.0, 3.0])),
    st.tuples(st.just("sweep"), st.none()),
)


@settings(max_examples=400)
@given(st.lists(st.tuples(steps, st.sampled_from([1, 20, 900, 1_000, 1_100, 2_500, 8_000])), max_size=60))
def test_the_house_hears_the_same(lived: list[tuple[tuple[str, Any], int]]) -> None:
    short, long = Bus(long=False), Bus(long=True)
    now_ms = 0
    for (what, some), ms in lived:
        now_ms += ms
        for each in (short, long):
            each.step(what, some, now_ms)
        assert short.sink.told == long.sink.told
        assert short.reporter.sweep_in_ms(now_ms=now_ms) == long.reporter.sweep_in_ms(now_ms=now_ms)


def test_what_is_held_as_before_is_not_even_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = Counter[int]()

    def counted(*given: Any) -> list[Reading]:
        judged[len(given[3])] += 1
        return readings_of_registers(*given)

    monkeypatch.setattr(answers, "readings_of_registers", counted)
    bus = Bus(long=False)
    for second in range(7):
        bus.step("words", (200, 1, 0), 1_000 * second)
    assert judged == {3: 1}
    bus.step("words", (200, 1, 0), 7_000)
    assert judged == {3: 1, 1: 1}, "the heartbeat of one of them"
    assert [at for at, _ in bus.sink.told] == [0, 0, 0, 7_000]
    bus.step("words", (250, 1, 0), 7_500)
    assert judged == {3: 2, 1: 1}


def test_a_value_that_falls_back_behind_a_write_that_was_read_back_is_news() -> None:
    bus = Bus(long=False)
    bus.step("words", (200, 1, 0), 1_000)
    bus.step("read back", 250, 1_500)
    bus.step("words", (200, 1, 0), 2_000)
    said = [each.value for _, each in bus.sink.told if each.capability is Capability.THERMOSTAT]
    assert said == [20.0, 25.0, 20.0]


def test_a_firmware_with_other_points_begins_anew() -> None:
    bus = Bus(long=False)
    bus.step("words", (200, 1, 0), 1_000)
    bus.unit.plan_anew(1_500)
    other = msgspec.structs.replace(MODEL.points[0], scale=0.01)
    bus.reporter.renew(IT, [(other, 2_000), *((each, 2_000) for each in MODEL.points[1:])], now_ms=1_500)
    bus.step("words", (200, 1, 0), 2_000)
    assert [at for at, each in bus.sink.told if each.capability is Capability.THERMOSTAT] == [1_000, 2_000]
