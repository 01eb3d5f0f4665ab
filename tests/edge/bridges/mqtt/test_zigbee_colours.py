"""A Zigbee lamp that exposes its colour as x and y alone: imported, chosen half by half, and read back."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from edge.bridges.mqtt.chosen_colours import CHOSEN_MS
from edge.bridges.mqtt.supervisor import Zigbee2MqttSupervisor
from edge.bridges.ports import DeviceEvent
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.capability import Capability, Value
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import Address, MqttBus
from provisioning.descriptors.emulation import plan_of
from provisioning.descriptors.exposes import import_exposes
from provisioning.descriptors.text import descriptor_text
from tests.edge.bridges.air import Air
from tests.edge.bridges.field import ZIGBEE, Heard, field
from tests.edge.world import T0

Key = tuple[Capability, str]
X: Final[Key] = (Capability.COLOR_CONTROL, "current_x")
Y: Final[Key] = (Capability.COLOR_CONTROL, "current_y")
IT: Final = DeviceId("lamp-101")
DAYLIGHT: Final = {"x": 0.3127, "y": 0.329}


def colour_form(name: str, *halves: str) -> dict[str, Any]:
    features = [{"type": "numeric", "name": each, "property": each, "access": 7} for each in halves]
    return {"type": "composite", "name": name, "property": "color", "access": 7, "features": features}


XY: Final = colour_form("color_xy", "x", "y")
HS: Final = colour_form("color_hs", "hue", "saturation")


WHITE: Final = {
    "type": "numeric", "name": "color_temp", "property": "color_temp", "access": 7, "unit": "mired", "value_min": 153,
    "value_max": 454,
}  # fmt: skip
LEVEL: Final = {
    "type": "numeric", "name": "brightness", "property": "brightness", "access": 7, "value_min": 0, "value_max": 254,
}  # fmt: skip


def lamp(*colours: dict[str, Any], dims: bool = True) -> Descriptor:
    """The model of a lamp with these colours, imported as an engineer does."""
    features = [
        {"type": "binary", "name": "state", "property": "state", "access": 7, "value_on": "ON", "value_off": "OFF"},
        *([LEVEL] if dims else []),
        *colours,
    ]
    found = import_exposes({"model": "L-XY", "vendor": "Acme", "exposes": [{"type": "light", "features": features}]})
    return descriptor_text(found.document, found.comments("Imported."))[1]


class Room:
    """A lamp behind Zigbee2MQTT: a colour is what comes with both halves, anything else is told to be wrong."""

    def __init__(self, model: Descriptor, *, deaf: bool = False) -> None:
        self.air, self.clock, self.heard, self.deaf = Air(), ManualClock(wall_ms=T0), Heard(), deaf
        self.color = dict(DAYLIGHT)
        self.asked: list[Any] = []
        self.bus = Zigbee2MqttSupervisor(
            MqttBus(ZIGBEE, "z"),
            [(IT, Address(ZIGBEE, friendly_name="lamp"), model)],
            transport=self.air,
            clock=self.clock,
            dice=SeededDice(1),
            sink=self.heard,
        )
        self._taken = self._number = 0

    def tell(self) -> None:
        self.air.say("z/lamp", json.dumps({"state": "ON", "brightness": 200, "color": self.color}).encode())

    async def live(self) -> None:
        """Do what is published, as Zigbee2MQTT and the lamp do."""
        while True:
            await asyncio.sleep(0)
            for topic, payload in self.air.published[self._taken :]:
                self._taken += 1
                asked = json.loads(payload)
                if topic == "z/lamp/set":
                    self.asked.append(asked)
                    colour = asked.get("color", {})
                    if not self.deaf and {"x", "y"} <= colour.keys():
                        self.color = {name: round(round(colour[name] * 65535) / 65535, 4) for name in ("x", "y")}
                elif topic == "z/lamp/get":
                    assert all("." not in key for key in asked), asked
                self.tell()

    async def write(self, key: Key, value: Value) -> Outcome:
        self._number += 1
        deadline_ms = self.clock.wall_ms() + 10_000
        return await self.bus.write(Command(f"c-{self._number}", IT, *key, value, deadline_ms, f"k-{self._number}"))


@contextlib.asynccontextmanager
async def room(model: Descriptor, *, told: bool = True, deaf: bool = False) -> AsyncIterator[Room]:
    it = Room(model, deaf=deaf)
    running = [asyncio.create_task(it.bus.run()), asyncio.create_task(it.live())]
    try:
        await asyncio.sleep(0)
        if told:
            it.tell()
        await it.air.heard()
        yield it
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.guarantee("G13")
@pytest.mark.requirement("DEV-02", "DEV-06")
async def test_a_colour_of_x_and_y_is_chosen_half_by_half_and_read_back() -> None:
    async with room(lamp(XY)) as it:
        for key, value in ((X, 0.6942), (Y, 0.2963)):
            outcome = await it.write(key, value)
            assert outcome.phase is Phase.DONE, outcome
            assert outcome.read_back == pytest.approx(value, abs=0.001)
        assert it.asked == [{"color": {"x": 0.6942, "y": 0.329}}, {"color": {"x": 0.6942, "y": 0.2963}}]
        said = {each.attribute: each.value for each in it.heard.readings if each.quality is Quality.GOOD}
        assert (said["current_x"], said["current_y"]) == (0.6942, 0.2963)


async def test_the_other_half_is_what_was_just_asked_then_what_the_lamp_says_else_daylights() -> None:
    async with room(lamp(XY), told=False) as it:
        it.color = {"x": 0.5, "y": 0.4}
        await it.write(X, 0.2)
        assert it.asked[-1]["color"] == {"x": 0.2, "y": DAYLIGHT["y"]}  # nobody knew it
        it.color = {"x": 0.5, "y": 0.4}
        it.tell()
        await it.air.heard()
        await it.write(Y, 0.3)
        assert it.asked[-1]["color"] == {"x": 0.2, "y": 0.3}  # on its way there
        it.color = {"x": 0.5, "y": 0.4}
        it.tell()
        await it.air.heard()
        it.clock.advance(CHOSEN_MS)
        await it.write(Y, 0.35)
        assert it.asked[-1]["color"] == {"x": 0.5, "y": 0.35}


@pytest.mark.guarantee("G13")
async def test_a_lamp_that_takes_no_colour_is_not_told_as_done() -> None:
    async with room(lamp(XY), deaf=True) as it:
        outcome = await it.write(X, 0.6942)
        assert outcome.phase is Phase.UNKNOWN
        assert outcome.read_back == DAYLIGHT["x"]
        refused = await it.write(Y, "red")
        assert (refused.phase, len(it.asked)) == (Phase.FAILED, 1)


def test_of_two_forms_of_one_colour_one_is_taken_and_the_other_told() -> None:
    both = lamp(XY, HS)
    assert both.point(*X) is None
    assert both.point(Capability.COLOR_CONTROL, "current_hue") is not None
    alone = lamp(XY)
    for key in (X, Y):
        point = alone.point(*key)
        assert point is not None
        assert point.write is not None
        assert (point.write.least, point.write.most, point.readable) == (0, 1, True)


async def test_hue_and_saturation_are_each_asked_for_alone() -> None:
    async with room(lamp(HS)) as it:
        writing = asyncio.create_task(it.write((Capability.COLOR_CONTROL, "current_hue"), 120))
        async with asyncio.timeout(20):
            while not it.asked:
                await asyncio.sleep(0)
        assert it.asked == [{"color": {"hue": 120}}]
        it.color = {"hue": 120, "saturation": 50}
        it.tell()
        assert (await writing).phase is Phase.DONE


@pytest.mark.parametrize(
    ("parts", "told"), [((XY,), False), ((WHITE,), False), ((HS, WHITE), True), ((WHITE, XY, HS), True)]
)
def test_a_lamp_with_colour_and_white_tells_which_it_shows(parts: tuple[dict[str, Any], ...], told: bool) -> None:
    point = lamp(*parts).point(Capability.COLOR_CONTROL, "color_mode")
    assert (point is not None) is told
    if point is not None:
        assert point.write is None
        assert dict(point.values) == {
            "hs": "current_hue_and_current_saturation",
            "xy": "current_x_and_current_y",
            "color_temp": "color_temperature_mireds",
        }


async def test_what_holds_is_heard_and_nonsense_is_told_as_such() -> None:
    async with room(lamp(WHITE, XY)) as it:
        for said, meant in (
            ("xy", "current_x_and_current_y"),
            ("color_temp", "color_temperature_mireds"),
            ("hs", "current_hue_and_current_saturation"),
            ("disco", None),
        ):
            it.air.say("z/lamp", json.dumps({"state": "ON", "color_temp": 250, "color_mode": said}).encode())
            await it.air.heard()
            last = next(each for each in reversed(it.heard.readings) if each.attribute == "color_mode")
            assert (last.value, last.quality) == (meant, Quality.BAD if meant is None else Quality.GOOD)


@pytest.mark.tier("nats")
@pytest.mark.requirement("DEV-02", "DEV-06")
async def test_what_was_asked_for_last_is_what_holds(broker: tuple[str, int]) -> None:
    model = lamp(WHITE, XY)
    made, _ = plan_of(model, port=50_000, name="thing")
    async with field(made, broker=broker, catalogue={model.id: model}) as it:
        [device] = made.devices
        await it.heard.until(it.heard.told(device.id, DeviceEvent.ONLINE))
        for name, value, mode in (
            ("color_temperature_mireds", 300, "color_temperature_mireds"),
            ("current_x", 0.6942, "current_x_and_current_y"),
            ("color_temperature_mireds", 200, "color_temperature_mireds"),
        ):
            outcome = await it.devices.write(it.command(device.id, Capability.COLOR_CONTROL, name, value))
            assert outcome.phase is Phase.DONE, outcome
            await it.heard.until(it.heard.says(device.id, Capability.COLOR_CONTROL, "color_mode", mode))


@pytest.mark.tier("nats")
@pytest.mark.requirement("DEV-02", "DEV-06")
async def test_the_imported_lamp_is_coloured_over_a_real_broker(broker: tuple[str, int]) -> None:
    model = lamp(XY)
    made, _ = plan_of(model, port=50_000, name="thing")
    async with field(made, broker=broker, catalogue={model.id: model}) as it:
        [device] = made.devices
        await it.heard.until(it.heard.told(device.id, DeviceEvent.ONLINE))
        for key, value in ((X, 0.6942), (Y, 0.2963)):
            outcome = await it.devices.write(it.command(device.id, *key, value))
            assert (outcome.phase, outcome.read_back) == (Phase.DONE, value), outcome
        truth = (await it.truth(device.id))["state"]
        assert (truth["color_control.current_x"], truth["color_control.current_y"]) == (0.6942, 0.2963)
