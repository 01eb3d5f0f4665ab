"""The test of a device: what is true, what is false, and what nobody can say."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from edge.binding import blink as blinks
from edge.binding.blink import Blink, Said
from kit.clock import ManualClock
from protocols.device_model.binding import Trial
from protocols.device_model.capability import Capability, Value
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality
from protocols.errors import LinkLostError, ReplyTimeoutError
from tests.edge.binding.desk import CATALOGUE
from tests.edge.world import T0


@dataclass
class Thing:
    """One thing: what it holds, what it does with the next writes, and all that it was asked."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(wall_ms=T0))
    holds: dict[str, Value] = field(default_factory=dict)
    next: list[str] = field(default_factory=list)
    asked: list[Value] = field(default_factory=list)
    heard_ms: int = 0

    def last(self, _: Capability, attribute: str) -> Said | None:
        value = self.holds.get(attribute)
        return None if value is None else Said(value, Quality.GOOD, self.heard_ms)

    async def write(self, command: Command) -> Outcome:
        self.asked.append(command.value)
        match self.next.pop(0) if self.next else "done":
            case "done":
                self.holds[command.attribute] = command.value
                return Outcome(Phase.DONE, command.value)
            case "deaf":
                raise LinkLostError("the bus is down")
            case "lost":
                raise ReplyTimeoutError("no answer")
            case "unknown":
                return Outcome(Phase.UNKNOWN, None, "no word from the device")
            case _:
                return Outcome(Phase.FAILED, None, "the device refused")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blinks, "SHINE_MS", 1)


async def tried(thing: Thing, model: str) -> Trial:
    test = Blink("t", DeviceId("x"), CATALOGUE[model], last=thing.last, writer=thing, clock=thing.clock)  # type: ignore[index]  # a name
    return await test.run()


LAMP = "zigbee2mqtt/ikea_led1545g12"


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize(
    ("was", "does", "result", "asked"),
    [
        (True, [], True, [False, True]),
        (False, [], True, [True, False]),
        (None, [], True, [True, False]),
        (True, ["refused"], False, [False, True]),
        (True, ["unknown"], None, [False, True]),
        (True, ["deaf"], False, [False, True]),
        (True, ["lost"], None, [False, True]),
        (True, ["done", "unknown", "done"], True, [False, True, True]),
        (True, ["done", "unknown", "unknown", "unknown"], None, [False, True, True, True]),
    ],
)
async def test_a_lamp_blinks_and_is_put_as_it_was(
    was: bool | None, does: list[str], result: bool | None, asked: list[bool]
) -> None:
    thing = Thing(holds={} if was is None else {"on_off": was}, next=does)
    trial = await tried(thing, LAMP)
    assert (trial.way, trial.result, thing.asked) == ("blink", result, asked)
    if does[-1:] == ["unknown"] and len(does) == 4:
        assert "may not be on again" in trial.detail


@pytest.mark.parametrize(
    ("model", "attribute", "value"),
    [
        ("regin/rcf_230", "occupied_heating_setpoint", 21.5),
        ("zigbee2mqtt/danfoss_014g2461", "occupied_heating_setpoint", 19.0),
        ("reference/chiller_60", "on_off", True),
        ("reference/ahu_5000", "on_off", True),
    ],
)
async def test_a_machine_is_told_only_what_it_holds_already(model: str, attribute: str, value: Value) -> None:
    thing = Thing(holds={attribute: value})
    trial = await tried(thing, model)
    assert (trial.way, trial.result) == ("echo", True)
    assert thing.asked == [value]
    assert thing.holds == {attribute: value}


async def test_what_only_speaks_is_waited_for_and_silence_proves_nothing() -> None:
    thing = Thing(holds={"state_value": True})

    async def waited(until: Callable[[], object]) -> Trial:
        task = asyncio.create_task(tried(thing, "zigbee2mqtt/aqara_mccgq11lm"))
        await asyncio.sleep(0.01)
        until()
        return await asyncio.wait_for(task, 10)

    def speaks() -> None:
        thing.heard_ms = thing.clock.now_ms() + 1

    assert (await waited(speaks)).result is True
    thing.heard_ms = 0
    silent = await waited(lambda: thing.clock.advance(blinks.HEARD_WAIT_MS + 1))
    assert (silent.way, silent.result) == ("heard", None)
    assert thing.asked == []
