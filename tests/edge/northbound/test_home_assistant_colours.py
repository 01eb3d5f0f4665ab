"""The colour of a lamp in Home Assistant: announced in one form, told whole, asked for whole, refused with a reason."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.northbound.home_assistant import Asked, AskedColour, HomeAssistant, Refused
from edge.northbound.home_assistant_announced import Announced
from edge.northbound.home_assistant_facade import HomeAssistantFacade
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.net import Message
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId, RoomId
from protocols.errors import LinkLostError
from provisioning.descriptors.emulation import plan_of
from tests.edge.bridges.air import Air
from tests.edge.bridges.mqtt.test_zigbee_colours import HS, WHITE, XY, lamp, room

IT: Final = DeviceId("emulated")
C: Final = Capability.COLOR_CONTROL
WAIT_S: Final = 20
Live = dict[tuple[str, str, str], tuple[Any, str]]


def form(model: Descriptor, **options: Any) -> HomeAssistant:
    return HomeAssistant(plan_of(model, port=50_000, name="thing")[0], {model.id: model}, **options)


def light(of: HomeAssistant) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(of.announcements()[1].payload)["cmps"]["light"]
    return found


def topic(of: HomeAssistant, name: str) -> str:
    return of.command_topic(IT, C, name).removesuffix("/set")


@pytest.mark.requirement("DEV-06")
@pytest.mark.parametrize(("kind", "other"), [("xy", "hs"), ("hs", "xy")])
def test_a_lamp_with_a_colour_is_announced_with_one_form_of_it(kind: str, other: str) -> None:
    of = form(lamp(XY if kind == "xy" else HS))
    told = light(of)
    assert told[f"{kind}_stat_t"] == topic(of, kind)
    assert told[f"{kind}_cmd_t"] == f"{topic(of, kind)}/set"
    assert not any(key.startswith(other) for key in told)
    components = json.loads(of.announcements()[1].payload)["cmps"]
    assert not any("current_x" in name or "current_hue" in name for name in components)  # a colour, and no two numbers
    jinja2 = pytest.importorskip("jinja2")
    template = jinja2.Template(told[f"{kind}_val_tpl"])
    assert template.render(value_json={"value": [0.3, 0.25]}) == "0.3,0.25"
    assert template.render(value_json={"value": None}) == ""  # Home Assistant takes no notice


@pytest.mark.requirement("DEV-06")
@pytest.mark.parametrize(("kind", "parts"), [("xy", (XY,)), ("hs", (HS, WHITE)), (None, (WHITE,))])
def test_a_lamp_that_cannot_be_dimmed_is_a_lamp_too(kind: str | None, parts: tuple[dict[str, Any], ...]) -> None:
    of = form(lamp(*parts, dims=False))
    told = light(of)
    assert not any(key.startswith("bri") for key in told)
    components = json.loads(of.announcements()[1].payload)["cmps"]
    assert not any(name.startswith("color_control") or name == "on_off_on_off" for name in components)
    if kind is not None:
        found = of.command(Message(f"{topic(of, kind)}/set", b"0.3,0.3"))
        assert isinstance(found, AskedColour)


@pytest.mark.requirement("DEV-06")
@pytest.mark.guarantee("G17")
@pytest.mark.parametrize(("kind", "colour"), [("xy", XY), ("hs", HS)])
def test_home_assistant_is_told_whether_white_or_colour_holds(kind: str, colour: dict[str, Any]) -> None:
    of = form(lamp(colour, WHITE))
    told = light(of)
    assert told["clrm_stat_t"] == topic(of, "color_mode")
    template = pytest.importorskip("jinja2").Template(told["clrm_val_tpl"])
    for mode, theirs in (
        ("color_temperature_mireds", "color_temp"),
        ("current_x_and_current_y", kind),  # the one form that it is told in there
        ("current_hue_and_current_saturation", kind),
        (None, ""),
    ):
        assert template.render(value_json={"value": mode}) == theirs
    assert "clrm_stat_t" not in light(form(lamp(colour)))
    assert "color_control_color_mode" not in json.loads(of.announcements()[1].payload)["cmps"]


@pytest.mark.parametrize("discovery", ["device", "entity"])
def test_what_is_told_of_a_colour_is_taken_back_with_its_lamp(discovery: str) -> None:
    of = form(lamp(XY), discovery=discovery)
    announced = Announced.parse(of.announced().encode())
    assert announced is not None
    assert topic(of, "xy") in of.topics(announced)


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize(
    ("kind", "payload", "asked"),
    [
        ("xy", b"0.6942,0.2963", (0.6942, 0.2963)),
        ("xy", b"0,1", (0, 1)),
        ("hs", b"217.0,62.4", (217, 62)),
        ("hs", b"400,50", (360, 50)),  # clamped, as every number
    ],
)
def test_a_colour_is_asked_for_by_both_halves(kind: str, payload: bytes, asked: tuple[float, float]) -> None:
    of = form(lamp(XY if kind == "xy" else HS))
    found = of.command(Message(f"{topic(of, kind)}/set", payload))
    assert isinstance(found, AskedColour)
    assert tuple(each.value for each in found.halves) == pytest.approx(asked)
    names = ("current_x", "current_y") if kind == "xy" else ("current_hue", "current_saturation")
    assert tuple(each.attribute for each in found.halves) == names


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "is no colour"),
        (b"0.3", "is no colour"),
        (b"0.3,0.3,0.3", "is no colour"),
        (b"red", "is no colour"),
        (b"true,false", "is no colour"),
        (b"\xff,\xfe", "is no colour"),
        (b"0.7,0.7", "outside of all colours"),
        (b"-0.1,0.5", "outside of all colours"),
        (b"1e999,0", "is no colour"),
        (b"0.3," + b"0" * 300, "at most 200"),
    ],
)
def test_what_is_no_colour_is_refused_with_a_reason(payload: bytes, why: str) -> None:
    of = form(lamp(XY))
    found = of.command(Message(f"{topic(of, 'xy')}/set", payload))
    assert isinstance(found, Refused)
    assert why in found.reason
    assert isinstance(of.command(Message(f"{topic(of, 'xy')}/set", b"0.3,0.3", retain=True)), Refused)
    assert isinstance(of.command(Message(f"{topic(of, 'hs')}/set", b"1,1")), Refused)


@given(payload=st.one_of(st.binary(max_size=40), st.from_regex(rb"\A-?[0-9.e]{1,8},-?[0-9.e]{1,8}\Z")))
@settings(max_examples=200)
def test_whatever_is_asked_is_refused_or_a_colour(payload: bytes) -> None:
    for model, kind in ((lamp_xy, "xy"), (lamp_hs, "hs")):
        found = model.command(Message(f"{topic(model, kind)}/set", payload))
        assert isinstance(found, Refused | AskedColour)
        if isinstance(found, AskedColour):
            for each in found.halves:
                most = {"current_hue": 360, "current_saturation": 100}.get(each.attribute, 1)
                assert isinstance(each.value, int | float)
                assert 0 <= each.value <= most


lamp_xy, lamp_hs = form(lamp(XY)), form(lamp(HS))


@pytest.mark.guarantee("G17")
def test_a_colour_that_is_known_by_half_is_none() -> None:
    of = form(lamp(XY))
    x, y = ("emulated", C.value, "current_x"), ("emulated", C.value, "current_y")

    def told(now: Mapping[tuple[str, str, str], tuple[Any, str]]) -> Any:
        return json.loads(of.colour(IT, now).payload)

    assert told({x: (0.0, "good"), y: (0.4, "good")}) == {"value": [0.0, 0.4], "quality": "good"}
    assert told({x: (0.3, "good"), y: (0.4, "uncertain")}) == {"value": [0.3, 0.4], "quality": "uncertain"}
    for quality in ("stale", "bad"):
        assert told({x: (0.3, "good"), y: (0.4, quality)}) == {"value": None, "quality": quality}
    assert told({x: (0.3, "good")}) == {"value": None, "quality": "unknown"}
    assert of.coloured([x]) == [IT]
    assert of.coloured([("emulated", "on_off", "on_off"), ("another", *x[1:])]) == []


class North:
    """The façade beside a Home Assistant that is a list of messages."""

    def __init__(self, of: HomeAssistant, carry: Any, live: Live) -> None:
        self.air, self.live = Air(), live
        self.facade = HomeAssistantFacade(
            of,
            transport=self.air,
            live=lambda: [
                {"device": key[0], "capability": key[1], "attribute": key[2], "value": value, "quality": quality}
                for key, (value, quality) in self.live.items()
            ],
            reached=lambda _: True,
            listen=lambda _: lambda: None,
            carry=carry,
            command_wait_s=10,
            pause_s=(0.001, 0.002),
            before_wait_s=0.01,
            clock=ManualClock(wall_ms=1),
            dice=SeededDice(1),
        )

    async def until(self, where: str, **facts: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while not any(
                name == where and facts.items() <= json.loads(payload).items() for name, payload in self.air.published
            ):
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def north(of: HomeAssistant, carry: Any, live: Live) -> AsyncIterator[North]:
    it = North(of, carry, live)
    running = asyncio.create_task(it.facade.run())
    try:
        yield it
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.requirement("DEV-06")
@pytest.mark.guarantee("G13")
async def test_a_colour_from_home_assistant_is_on_the_lamp_and_told_there() -> None:
    of = form(lamp(XY))
    live: Live = {}
    async with room(lamp(XY)) as south:

        async def carry(_: RoomId, command: Command) -> Outcome:
            outcome = await south.write((command.capability, command.attribute), command.value)
            for each in ("current_x", "current_y"):
                last = next(one for one in reversed(south.heard.readings) if one.attribute == each)
                live["emulated", C.value, each] = (last.value, last.quality.value)
            return outcome

        async with north(of, carry, live) as it:
            await it.until(topic(of, "xy"), value=None, quality="unknown")
            it.air.say(f"{topic(of, 'xy')}/set", b"0.6942,0.2963")
            await it.until(f"{topic(of, 'xy')}/result", phase="done", value=[0.6942, 0.2963])
            await it.until(topic(of, "xy"), value=[0.6942, 0.2963], quality="good")
            assert south.asked[-1] == {"color": {"x": 0.6942, "y": 0.2963}}
            it.air.say(f"{topic(of, 'xy')}/set", b"red")
            await it.until(f"{topic(of, 'xy')}/result", phase="failed", value=None)
            assert len(south.asked) == 2


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.EXPIRED, Phase.UNKNOWN])
async def test_of_a_colour_whose_first_half_was_refused_the_second_is_not_sent(phase: Phase) -> None:
    of, asked = form(lamp(XY)), list[str]()

    async def carry(_: RoomId, command: Command) -> Outcome:
        asked.append(command.attribute)
        value = None if len(asked) == 1 else command.value
        return Outcome(phase if len(asked) == 1 else Phase.DONE, value, "a reason")

    async with north(of, carry, {}) as it:
        await it.until(topic(of, "xy"), value=None)
        it.air.say(f"{topic(of, 'xy')}/set", b"0.5,0.25")
        both = phase is Phase.UNKNOWN  # the half may be there: the other one makes the colour whole
        await it.until(
            f"{topic(of, 'xy')}/result", phase=phase.value, reason="a reason", value=[None, 0.25] if both else [None]
        )
        assert asked == (["current_x", "current_y"] if both else ["current_x"])


@pytest.mark.guarantee("G13")
async def test_a_colour_whose_second_half_nobody_carries_is_told_with_what_was_read_back() -> None:
    of, asked = form(lamp(XY)), list[str]()

    async def carry(_: RoomId, command: Command) -> Outcome:
        asked.append(command.attribute)
        if len(asked) == 2:
            raise LinkLostError("the bus is away")
        return Outcome(Phase.DONE, command.value, None)

    async with north(of, carry, {}) as it:
        await it.until(topic(of, "xy"), value=None)
        it.air.say(f"{topic(of, 'xy')}/set", b"0.5,0.25")
        await it.until(f"{topic(of, 'xy')}/result", phase="failed", reason="the bus is away", value=[0.5, None])


@pytest.mark.guarantee("G13")
async def test_of_many_colours_in_a_row_the_last_is_on_the_lamp_and_no_halves_of_two() -> None:
    of, asked, go = form(lamp(XY)), list[float](), asyncio.Event()

    async def carry(_: RoomId, command: Command) -> Outcome:
        assert isinstance(command.value, float)
        asked.append(command.value)
        await go.wait()
        return Outcome(Phase.DONE, command.value, None)

    async with north(of, carry, {}) as it:
        await it.until(topic(of, "xy"), value=None)
        for x in (0.1, 0.2, 0.3, 0.4):
            it.air.say(f"{topic(of, 'xy')}/set", f"{x},{x / 2}".encode())
        async with asyncio.timeout(WAIT_S):
            while not asked or _newest(it.facade) != 0.4:
                await asyncio.sleep(0)
        go.set()
        await it.until(f"{topic(of, 'xy')}/result", phase="done", value=[0.4, 0.2])
        assert asked == [0.1, 0.05, 0.4, 0.2]
        results = [json.loads(payload)["phase"] for name, payload in it.air.published if name.endswith("/result")]
        assert sorted(results) == ["done", "done", "failed", "failed"]


def _newest(facade: HomeAssistantFacade) -> object:
    """The first half of the colour that was asked for last."""
    [turn] = facade._colours.values()
    return None if turn.newest is None else turn.newest.halves[0].value


def test_the_halves_of_a_colour_can_be_asked_for_alone_too() -> None:
    of = form(lamp(XY))
    found = of.command(Message(of.command_topic(IT, C, "current_x"), b"0.5"))
    assert isinstance(found, Asked)
    assert found.value == 0.5
