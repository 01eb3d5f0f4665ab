"""A unit whose model has no `[[identify]]` and that suddenly refuses most of what it had: it may be another thing."""

from collections import Counter
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bridges.modbus import supervisor
from edge.bridges.modbus.doubt import HAS_NONE, Doubt
from edge.bridges.modbus.unit import Unit
from edge.bridges.ports import DeviceEvent
from edge.bridges.quarantine import Quarantine
from kit.dice import SeededDice
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.capability import Capability
from protocols.device_model.identity import DescriptorId, DeviceId
from protocols.device_model.reading import Quality
from protocols.modbus.frames import ExceptionCode
from tests.edge.bridges.field import CATALOGUE, THERMOSTAT, Heard, field, plan

METER: Final = DescriptorId("eastron/sdm630")
OTHER_METER: Final = DescriptorId("schneider/iem3155")
IT: Final = "thermostat-1"
POINTS: Final = [(Capability.ELECTRICAL_MEASUREMENT, f"p{each}") for each in range(10)]
GONE: Final = ExceptionCode.ILLEGAL_DATA_ADDRESS


def hurried(descriptor: Descriptor) -> Descriptor:
    points = tuple(msgspec.structs.replace(each, every_s=0.1) for each in descriptor.points)
    return msgspec.structs.replace(descriptor, points=points)


MODELS: Final = {**CATALOGUE, METER: hurried(CATALOGUE[METER])}


def told(heard: Heard) -> list[bool]:
    return [bool(detail["doubted"]) for _, event, detail in heard.events if event is DeviceEvent.DOUBTED]


@pytest.mark.requirement("DEV-03")
async def test_another_meter_in_its_place_is_doubted_with_evidence_and_believed_once_the_old_one_is_back() -> None:
    assert not CATALOGUE[METER].identify
    async with field(plan([METER, METER]), catalogue=MODELS) as it:
        points = {(each.capability, each.attribute) for each in MODELS[METER].points}
        await it.heard.until(
            lambda: {(r.capability, r.attribute) for r in it.heard.readings if r.device == IT} == points
        )
        assert told(it.heard) == []
        await it.emulator.answer("swap", {"device": IT, "descriptor": OTHER_METER})
        await it.heard.until(lambda: told(it.heard) == [True])
        [(device, detail)] = [(who, each) for who, event, each in it.heard.events if event is DeviceEvent.DOUBTED]
        assert (device, detail["unit"], detail["expected"]) == (IT, 1, METER)
        assert detail["why"] == "another thing may answer here: it refuses most of what it had"
        assert detail["refused"] == "illegal_data_address"
        assert detail["points_had"] == len(points)
        assert int(str(detail["points_refused"])) > len(points) / 2

        def all_bad() -> bool:
            last = {(r.capability, r.attribute): r for r in it.heard.readings if r.device == IT}
            return {each.quality for each in last.values()} == {Quality.BAD}

        await it.heard.until(all_bad)
        await it.emulator.answer("swap", {"device": IT, "descriptor": None})
        await it.heard.until(lambda: told(it.heard) == [True, False])

        def all_good() -> bool:
            last = {(r.capability, r.attribute): r for r in it.heard.readings if r.device == IT}
            return {each.quality for each in last.values()} == {Quality.GOOD}

        await it.heard.until(all_good)
        assert {who for who, event, _ in it.heard.events if event is DeviceEvent.DOUBTED} == {IT}
        assert Counter(event for who, event, _ in it.heard.events if who == IT)[DeviceEvent.UNKNOWN_DEVICE] == 0


async def test_one_swapped_while_it_was_silent_is_doubted_too_and_told_again_when_it_comes_back() -> None:
    async with field(plan([METER]), catalogue=MODELS) as it:
        await it.heard.until(lambda: len({r.attribute for r in it.heard.readings}) == len(MODELS[METER].points))
        await it.emulator.answer("power", {"device": IT, "on": False})
        await it.heard.until(it.heard.told(IT, DeviceEvent.QUARANTINED))
        await it.emulator.answer("swap", {"device": IT, "descriptor": OTHER_METER})
        await it.emulator.answer("power", {"device": IT, "on": True})
        await it.heard.until(lambda: told(it.heard) == [True])
        before = len(it.heard.events)
        await it.emulator.answer("power", {"device": IT, "on": False})
        await it.heard.until(lambda: any(each[1] is DeviceEvent.QUARANTINED for each in it.heard.events[before:]))
        await it.emulator.answer("power", {"device": IT, "on": True})
        await it.heard.until(lambda: told(it.heard) == [True, True])
        assert [event for _, event, _ in it.heard.events[-2:]] == [DeviceEvent.ONLINE, DeviceEvent.DOUBTED]


async def test_a_model_that_can_be_asked_is_asked_and_not_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PROVED_FOR_MS", 0)
    async with field(plan([THERMOSTAT]), catalogue={**MODELS, THERMOSTAT: hurried(CATALOGUE[THERMOSTAT])}) as it:
        await it.heard.until(lambda: len(it.heard.readings) > 5)
        await it.emulator.answer("swap", {"device": IT, "descriptor": OTHER_METER})
        await it.heard.until(it.heard.told(IT, DeviceEvent.UNKNOWN_DEVICE))
        assert told(it.heard) == []


def test_a_unit_that_comes_and_goes_is_told_a_few_times_and_then_once_a_minute() -> None:
    unit = Unit.of(DeviceId(IT), 1, CATALOGUE[METER], Quarantine(SeededDice(1)))
    told, now_ms = list[tuple[int, bool]](), 1_000_000
    for second in range(3_600):
        unit.doubt.doubted = second % 20 < 10
        if unit.doubt_changed(now_ms + 1_000 * second):
            told.append((second, unit.doubt_told))
    assert [each for _, each in told] == [index % 2 == 0 for index in range(len(told))], "never the same twice"
    assert [second for second, _ in told[:5]] == [0, 10, 20, 30, 40]
    assert 50 <= len(told) <= 65
    unit.doubt.doubted = not unit.doubt_told
    assert unit.doubt_changed(now_ms + 3_600_000 + 60_000), "what it is in the end is told"


# --- what makes a doubt ------------------------------------------------------------------------------------------


def test_most_of_what_it_had_and_more_than_once() -> None:
    it = Doubt()
    assert not it.answered(POINTS[:6])
    assert not it.answered(POINTS[6:])
    assert not it.refused(POINTS[:6], GONE), "one refusal is an accident"
    assert it.refused(POINTS[:6], GONE)
    assert it.doubted
    assert (it.lost, it.had) == (6, 10)
    assert not it.refused(POINTS[6:], GONE), "told once"
    assert not it.answered(POINTS[:1]), "nine of ten are most"
    assert it.answered(POINTS[:6])
    assert not it.doubted


def test_what_it_never_had_it_may_refuse_for_ever() -> None:
    it = Doubt()
    it.answered(POINTS[:2])
    for _ in range(50):
        assert not it.refused(POINTS[2:], GONE)
    assert not it.refused(POINTS[:1], GONE)
    assert not it.refused(POINTS[:1], GONE), "half is not most"


@pytest.mark.parametrize("code", sorted(set(ExceptionCode) - HAS_NONE))
def test_what_says_something_else_makes_no_doubt(code: ExceptionCode) -> None:
    it = Doubt()
    it.answered(POINTS)
    for _ in range(50):
        assert not it.refused(POINTS, code)


def test_accidents_that_mend_themselves_are_not_added_up() -> None:
    it = Doubt()
    it.answered(POINTS)
    for _ in range(50):
        assert not it.refused(POINTS, GONE)
        assert not it.answered(POINTS)


def test_what_it_lost_for_good_does_not_make_the_next_accident_a_doubt() -> None:
    it = Doubt()
    it.answered(POINTS)
    for _ in range(50):
        assert not it.refused(POINTS[:1], GONE)
    assert not it.refused(POINTS[1:], GONE), "one refusal of nine is an accident"
    assert it.refused(POINTS[1:], GONE)


def test_one_refusal_of_a_block_that_is_then_refused_point_by_point_is_one_accident() -> None:
    it = Doubt()
    it.answered(POINTS)
    for each in POINTS:
        assert not it.refused([each], GONE)
    for each in POINTS[:5]:
        assert not it.refused([each], GONE)
    assert it.refused(POINTS[5:6], GONE)


def test_points_that_another_firmware_does_not_have_count_no_more() -> None:
    it = Doubt()
    it.answered(POINTS)
    it.refused(POINTS[:4], GONE)
    it.refused(POINTS[:4], GONE)
    assert not it.doubted
    it.keep(POINTS[:5])
    assert it.refused(POINTS[:4], GONE), "four of five"


_steps = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(1, 10)), max_size=60)


@given(_steps)
def test_a_doubt_is_what_the_last_word_of_every_point_says(steps: list[tuple[bool, int, int]]) -> None:
    it, had, last = Doubt(), set[int](), dict[int, int]()
    was = False
    for good, first, many in steps:
        some = range(first, min(first + many, 10))
        if good:
            had.update(some)
            last.update(dict.fromkeys(some, 0))
        else:
            last.update({each: last[each] + 1 for each in some if each in had})
        named = [POINTS[each] for each in some]
        changed = it.answered(named) if good else it.refused(named, GONE)
        assert changed is (it.doubted is not was)
        was = it.doubted
        lost, twice = (sum(last[each] >= least for each in had) for least in (1, 2))
        assert (it.lost, it.had) == (lost, len(had))
        if it.doubted:
            assert 2 * lost > len(had)
        elif 2 * lost > len(had):
            assert 2 * twice <= len(had), "less than most of it more than once"
