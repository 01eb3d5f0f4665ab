"""Registers that a unit refused and has again are asked for at their own pace at once, and are not stale between."""

from collections import deque
from typing import Final

import pytest

from edge.bridges.modbus.supervisor import ModbusSupervisor
from edge.bridges.modbus.unit import REFUSED_EVERY
from edge.bridges.settings import BridgesSettings
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.device_model.identity import BusId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import ModbusTcpBus
from protocols.modbus.frames import ExceptionCode, Read, Refused, Reply, Words
from tests.edge.bridges.field import Heard
from tests.edge.bridges.test_said_again_registers import EVERY_MS, IT, MODEL

WHOLE: Final = Words((200, 1, 0))
GONE: Final = Refused(ExceptionCode.ILLEGAL_FUNCTION)


@pytest.mark.requirement("DEV-02")
@pytest.mark.guarantee("G17")
async def test_a_block_that_is_answered_for_again_is_not_stale_until_its_next_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, heard = ManualClock(), Heard()
    bus = ModbusSupervisor(
        ModbusTcpBus(BusId("b"), "127.0.0.1", 1502),
        [(IT, 1, MODEL)],
        clock=clock,
        dice=SeededDice(1),
        sink=heard,
        settings=BridgesSettings(),
    )
    [unit] = bus._units.values()
    for point in MODEL.points:
        bus._reporter.expect(IT, point, stale_ms=2 * EVERY_MS, now_ms=clock.now_ms())
    said: deque[Reply] = deque([GONE, GONE, WHOLE, WHOLE])

    async def answers(*_: object) -> Reply:
        return said.popleft()

    monkeypatch.setattr(bus, "_ask", answers)
    unit.begin(clock.now_ms())
    pauses_ms = []
    while said:
        pauses_ms.append(unit.next_due_ms() - clock.now_ms())
        clock.advance(max(0, pauses_ms[-1]))
        bus._reporter.sweep(now_ms=clock.now_ms())
        await bus._read_due(unit)
    assert pauses_ms[2] > (REFUSED_EVERY - 2) * EVERY_MS, "what is refused is asked for less often"
    assert pauses_ms[3] <= EVERY_MS
    of_one = [each.quality for each in heard.readings if each.attribute == "local_temperature"]
    assert of_one == [Quality.BAD, Quality.GOOD]


@pytest.mark.requirement("DEV-02")
@pytest.mark.parametrize("code", [ExceptionCode.ILLEGAL_DATA_ADDRESS, ExceptionCode.ILLEGAL_DATA_VALUE])
async def test_a_unit_that_gives_no_two_registers_at_once_is_asked_for_each_alone(
    code: ExceptionCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, heard = ManualClock(), Heard()
    bus = ModbusSupervisor(
        ModbusTcpBus(BusId("b"), "127.0.0.1", 1502),
        [(IT, 1, MODEL)],
        clock=clock,
        dice=SeededDice(1),
        sink=heard,
        settings=BridgesSettings(),
    )
    [unit] = bus._units.values()
    for point in MODEL.points:
        bus._reporter.expect(IT, point, stale_ms=2 * EVERY_MS, now_ms=clock.now_ms())
    widest = max(point.words for point in MODEL.points)

    async def answers(_: object, read: Read, *__: object) -> Reply:
        return Refused(code) if read.count > widest else Words((0,) * read.count)

    monkeypatch.setattr(bus, "_ask", answers)
    unit.begin(clock.now_ms())
    for _ in range(20):
        clock.advance(max(0, unit.next_due_ms() - clock.now_ms()))
        await bus._read_due(unit)
    last = {(each.capability, each.attribute): each for each in heard.readings}
    assert len(last) == len(MODEL.points)
    assert not any((each.reason or "").startswith("device_exception") for each in last.values())
