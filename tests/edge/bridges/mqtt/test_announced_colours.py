"""The colour of a lamp that announces itself: chosen by its halves, read back, and not told as done before it is."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from edge.bridges.mqtt.announced_registry import Registry, key_of
from edge.bridges.mqtt.chosen_colours import CHOSEN_MS
from firmware_bridges.field_emulator.announcers import Announcer, colour_lamp
from protocols.device_model.capability import Capability
from protocols.device_model.command import Phase
from tests.edge.bridges.mqtt.test_announced import BUS, Bus, bus, raw

HUE = (Capability.COLOR_CONTROL, "current_hue")
SATURATION = (Capability.COLOR_CONTROL, "current_saturation")
X, Y = (Capability.COLOR_CONTROL, "current_x"), (Capability.COLOR_CONTROL, "current_y")
WARMTH = (Capability.COLOR_CONTROL, "color_temperature_mireds")
FORMS = ("hs", "xy", "rgb", "rgbw", "rgbww")


@contextlib.asynccontextmanager
async def bound(lamp: Announcer, *, deaf: bool = False) -> AsyncIterator[Bus]:
    """A lamp on the bus as `plug`, which hears what is published, unless it is deaf, and says what it then shows."""
    registry = Registry(BUS)
    for topic, config in lamp.configs.items():
        registry.take(topic, raw(config))
    async with bus(registry, plug=key_of(f"id:{lamp.name}")) as it:

        async def tell() -> None:
            for topic, say in lamp.says.items():
                await it.say(topic, say(lamp.state))

        async def live() -> None:
            taken = 0
            while True:
                await asyncio.sleep(0)
                for topic, payload in it.air.published[taken:]:
                    taken += 1
                    if topic in lamp.hears and not deaf:
                        lamp.hears[topic](lamp.state, payload)
                    await tell()

        await it.say(lamp.lwt, lamp.words[0].encode())
        await tell()
        living = asyncio.create_task(live())
        try:
            yield it
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)


@pytest.mark.guarantee("G13")
@pytest.mark.requirement("DEV-02", "DEV-06")
@pytest.mark.parametrize("in_json", [True, False], ids=["json", "topics"])
@pytest.mark.parametrize("form", FORMS)
async def test_a_colour_is_chosen_half_by_half_and_read_back(form: str, in_json: bool) -> None:
    lamp = colour_lamp("lamp-1", form=form, in_json=in_json)
    async with bound(lamp) as it:
        halves = ((X, 0.6942), (Y, 0.2963)) if form == "xy" else ((HUE, 217.0), (SATURATION, 62.0))
        for key, value in halves:
            outcome = await it.write(value, key)
            assert outcome.phase is Phase.DONE, outcome
        shown = lamp.state["color"]
        if form == "xy":
            assert (shown["x"], shown["y"]) == pytest.approx((0.6942, 0.2963), abs=0.001)
        elif form == "hs":
            assert (shown["h"], shown["s"]) == pytest.approx((217, 62), abs=1)
        else:
            assert (shown["r"], shown["g"], shown["b"]) == pytest.approx((97, 157, 255), abs=1)
            assert [shown[key] for key in "wc" if key in shown] == [0] * (len(form) - 3)


@pytest.mark.guarantee("G13")
async def test_the_other_half_is_what_was_asked_for_and_later_what_the_lamp_shows() -> None:
    lamp = colour_lamp("lamp-1", form="hs")
    async with bound(lamp) as it:
        await it.write(40.0, SATURATION)
        await it.write(120.0, HUE)
        assert (lamp.state["color"]["h"], lamp.state["color"]["s"]) == pytest.approx((120, 40), abs=1)
        it.clock.advance(CHOSEN_MS)
        lamp.state["color"] = {"h": 10.0, "s": 90.0}  # by somebody's hand
        await it.say("dev/lamp-1", json.dumps(lamp.state).encode())
        await it.write(200.0, HUE)
        assert (lamp.state["color"]["h"], lamp.state["color"]["s"]) == pytest.approx((200, 90), abs=1)


async def test_a_lamp_that_shows_white_takes_a_hue_at_its_fullest_and_white_again() -> None:
    lamp = colour_lamp("lamp-1", form="hs")
    async with bound(lamp) as it:
        assert (await it.write(120.0, HUE)).phase is Phase.DONE
        assert lamp.state["color"]["s"] == 100
        assert (await it.write(250, WARMTH)).phase is Phase.DONE
        assert (lamp.state["color_mode"], lamp.state["color_temp"]) == ("color_temp", 250)


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("value", [-1.0, 361.0, 1e9])
async def test_a_colour_is_never_sent_outside_its_range(value: float) -> None:
    lamp = colour_lamp("lamp-1", form="hs")
    async with bound(lamp) as it:
        outcome = await it.write(value, HUE)
        assert outcome.phase is Phase.DONE
        assert 0 <= json.loads(it.air.published[-1][1])["color"]["h"] <= 360
        assert "clamped" in (outcome.reason or "")


@pytest.mark.guarantee("G13")
async def test_a_lamp_that_does_not_change_colour_is_not_told_as_done() -> None:
    lamp = colour_lamp("lamp-1", form="hs")
    lamp.state.update(color_mode="hs", color={"h": 10.0, "s": 90.0})
    async with bound(lamp, deaf=True) as it:
        device = it.supervisor._bound[key_of("id:lamp-1")]
        device.answer_wait_ms = 100
        outcome = await it.write(200.0, HUE)
        assert (outcome.phase, outcome.read_back) == (Phase.UNKNOWN, 10.0)
