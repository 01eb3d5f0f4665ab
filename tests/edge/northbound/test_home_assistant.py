"""Home Assistant's side of the house: what is announced is whole, commands are bounded, old ones have no effect."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.northbound.home_assistant import Asked, HomeAssistant, Refused
from edge.northbound.home_assistant_announced import Announced
from edge.northbound.home_assistant_facade import HomeAssistantFacade
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.mqtt import Broker, MqttTransport
from kit.net import Message, Transport
from protocols.device_model.capability import Capability, Kind
from protocols.device_model.command import Command, Outcome
from protocols.device_model.identity import DescriptorId, DeviceId, RoomId
from protocols.errors import LinkLostError
from provisioning.descriptors.emulation import plan_of
from tests.edge.bridges.field import CATALOGUE, Field, field, plan

MODELS: Final = sorted(CATALOGUE)
COMPONENTS: Final = {"climate", "light", "cover", "switch", "binary_sensor", "sensor", "select", "number"}
LAMP: Final = (DeviceId("light-101"), Capability.ON_OFF, "on_off")
LEVEL: Final = (DeviceId("light-101"), Capability.LEVEL_CONTROL, "current_level")


def _form(model: str, **options: Any) -> HomeAssistant:
    descriptor = next(each for name, each in CATALOGUE.items() if name == model)
    return HomeAssistant(plan_of(descriptor, port=50_000, name="thing")[0], CATALOGUE, **options)


@pytest.mark.requirement("DEV-02")
@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_announced_whole_in_both_ways(model: str) -> None:
    [edge, whole, here] = _form(model).announcements()
    assert json.loads(edge.payload)["dev"]["ids"] == [json.loads(whole.payload)["dev"]["via_device"]]
    assert (here.payload, here.retain) == (b"online", True)
    body = json.loads(whole.payload)
    assert whole.retain
    assert whole.topic == "homeassistant/device/innkeeper_emulated_emulated/config"
    assert body["o"]["name"] == "innkeeper"
    assert body["avty_mode"] == "all"
    assert len(body["cmps"]) >= 1
    apart = {
        message.topic: json.loads(message.payload) for message in _form(model, discovery="entity").announcements()[1:-1]
    }
    assert len(apart) == len(body["cmps"])
    told: set[str] = set()
    for name, entity in body["cmps"].items():
        assert entity["p"] in COMPONENTS
        other = apart[f"homeassistant/{entity['p']}/innkeeper_emulated_emulated/{name}/config"]
        assert other["uniq_id"] == entity["uniq_id"]
        told |= {value for key, value in entity.items() if key.endswith("_t") and not str(value).endswith("/set")}
    points = next(each for each in CATALOGUE.values() if each.id == model).points
    for point in points:
        assert any(topic.endswith(f"/{point.capability.value}.{point.attribute}") for topic in told), point.attribute


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=15)
@given(payload=st.one_of(st.binary(max_size=60), st.sampled_from([b"ON", b"OFF", b"21.5", b"-1e9", b"1e999", b"auto"])))
def test_whatever_is_commanded_is_refused_or_within_the_write_rule(model: str, payload: bytes) -> None:
    form = _form(model)
    descriptor = next(each for each in CATALOGUE.values() if each.id == model)
    for point in descriptor.points:
        topic = form.command_topic(DeviceId("emulated"), point.capability, point.attribute)
        asked = form.command(Message(topic, payload))
        assert asked is not None
        if point.write is None:
            assert isinstance(asked, Refused)
        if isinstance(asked, Asked) and point.write is not None and point.row.kind is Kind.NUMBER:
            assert isinstance(asked.value, int | float)
            assert point.write.least is not None
            assert point.write.most is not None
            assert point.write.least <= asked.value <= point.write.most
        assert isinstance(form.command(Message(topic, payload, retain=True)), Refused)


def test_a_contact_that_is_closed_is_off_there_and_a_leak_that_is_wet_is_on() -> None:
    def template(model: str, ends: str) -> dict[str, Any]:
        body = json.loads(_form(model).announcements()[1].payload)
        found: dict[str, Any] = next(each for name, each in body["cmps"].items() if name.endswith(ends))
        return found

    contact = template("zigbee2mqtt/aqara_mccgq11lm", "state_value")
    assert (contact["dev_cla"], "'OFF' if value_json.value" in contact["val_tpl"]) == ("door", True)
    leak = template("zigbee2mqtt/aqara_sjcgq11lm", "leak")
    assert (leak["dev_cla"], "'ON' if value_json.value" in leak["val_tpl"]) == ("moisture", True)


@pytest.mark.guarantee("G17")
def test_an_old_value_is_none_there() -> None:
    form = _form("ruuvi/ruuvitag")
    key = (DeviceId("emulated"), Capability.TEMPERATURE_MEASUREMENT, "measured_value")
    assert json.loads(form.value(*key, 21.5, "good").payload)["value"] == 21.5
    for quality in ("stale", "bad"):
        assert json.loads(form.value(*key, 21.5, quality).payload) == {"value": None, "quality": quality}


class _Kept:
    """A broker that keeps what is retained, gives it to who connects, and loses the link when it is told to."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.lose, self.up = asyncio.Event(), asyncio.Event()
        self.at_connect: list[Message] = []
        self.up.set()

    @asynccontextmanager
    async def connect(self, *, subscribe: Sequence[str] = (), will: Message | None = None) -> AsyncIterator["_Kept"]:
        assert subscribe
        assert will is not None
        if not self.up.is_set():
            raise LinkLostError("the broker is away")
        self.lose.clear()
        self.at_connect = [Message(each, self.kept[each], retain=True) for each in subscribe if each in self.kept]
        yield self

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        await asyncio.sleep(0)
        if self.lose.is_set():
            raise LinkLostError("the link was lost")
        if retain and payload:
            self.kept[topic] = payload
        elif retain:
            self.kept.pop(topic, None)

    async def messages(self) -> AsyncIterator[Message]:
        for each in self.at_connect:
            yield each
        await self.lose.wait()
        raise LinkLostError("the link was lost")


async def _nobody(_: RoomId, command: Command) -> Outcome:
    raise AssertionError(command)


def _facade(
    form: HomeAssistant, kept: _Kept, *, live: Any, listen: Any = lambda _: lambda: None
) -> HomeAssistantFacade:
    return HomeAssistantFacade(
        form,
        transport=cast("Transport", kept),
        live=live,
        reached=lambda _: bool(live()),
        listen=listen,
        carry=_nobody,
        command_wait_s=10,
        pause_s=(0.001, 0.002),
        before_wait_s=0.05,
        clock=ManualClock(),
        dice=SeededDice(1),
    )


@pytest.mark.requirement("DEV-06")
@pytest.mark.parametrize("discovery", ["device", "entity"])
@pytest.mark.parametrize("away", [False, True])
async def test_what_is_bound_or_taken_out_while_it_runs_is_so_there_at_once(
    discovery: Literal["device", "entity"], away: bool
) -> None:
    whole, commits, kept, lamp = plan(zigbee=True), _Commits(), _Kept(), LAMP[0]
    fewer = msgspec.structs.replace(whole, devices=tuple(each for each in whole.devices if each.id != lamp))
    socket = DescriptorId("zigbee2mqtt/innr_sp_120")
    swapped = tuple(
        msgspec.structs.replace(each, descriptor=socket) if each.id == lamp else each for each in whole.devices
    )
    plans = (fewer, whole, msgspec.structs.replace(whole, devices=swapped), fewer)
    forms = [HomeAssistant(each, CATALOGUE, discovery=discovery) for each in plans]
    model = next(each.descriptor for each in whole.devices if each.id == lamp)
    live = [
        {"device": lamp, "capability": each.capability, "attribute": each.attribute, "value": 1, "quality": "good"}
        for each in CATALOGUE[model].points
    ]
    facade = _facade(forms[0], kept, live=lambda: live, listen=commits.listen)
    running = asyncio.create_task(facade.run())

    async def settled(form: HomeAssistant) -> None:
        configs = {each.topic for each in form.announcements()}
        async with asyncio.timeout(10):
            while not configs <= kept.kept.keys() <= form.topics(form.announced()) | configs | {form.announced_topic}:
                await asyncio.sleep(0.005)

    await settled(forms[0])
    for form in forms[1:]:
        if away:
            kept.up.clear()
            kept.lose.set()
        facade.serve(form)
        kept.up.set()
        await settled(form)
        assert any(str(lamp) in topic for topic in kept.kept) == (form is not forms[-1])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class _Commits:
    """The log's word that it has grown."""

    def __init__(self) -> None:
        self.listeners: list[Any] = []

    def listen(self, listener: Any) -> Any:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    async def grow(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            for each in self.listeners:
                each(None, b"", 0)


def _live(it: Field) -> list[dict[str, Any]]:
    last = {(each.device, each.capability, each.attribute): each for each in it.heard.readings}
    return [each.to_body() for each in last.values()]


async def _until(inbox: list[Message], topic: str, *, since: int, **wanted: object) -> dict[str, Any]:
    """Return what came on a topic after the first `since` messages; topics overtake each other on their way."""
    async with asyncio.timeout(20):
        while True:
            for message in inbox[since:]:
                if message.topic == topic:
                    body: dict[str, Any] = json.loads(message.payload)
                    if all(body.get(key) == value for key, value in wanted.items()):
                        return body
            await asyncio.sleep(0.005)


@pytest.mark.tier("nats")
@pytest.mark.requirement("DEV-06")
@pytest.mark.guarantee("G13")
async def test_a_lamp_is_switched_from_home_assistant_and_says_so_there(broker: tuple[str, int]) -> None:
    commits, inbox = _Commits(), list[Message]()
    async with field(plan(zigbee=True), broker=broker) as it:
        form = HomeAssistant(it.plan, CATALOGUE)

        async def carry(_: RoomId, command: Command) -> Outcome:
            return await it.devices.write(command)

        facade = HomeAssistantFacade(
            form,
            transport=MqttTransport(Broker(*broker, client_id="edge-ha")),
            live=lambda: _live(it),
            reached=lambda _: True,
            listen=commits.listen,
            carry=carry,
            command_wait_s=10,
            pause_s=(0.05, 0.2),
            clock=it.clock,
            dice=SeededDice(1),
        )
        away = MqttTransport(Broker(*broker, client_id="home-assistant"))
        async with away.connect(subscribe=["homeassistant/#", "innkeeper/#"]) as there, asyncio.TaskGroup() as tasks:

            async def hear() -> None:
                async for message in there.messages():
                    inbox.append(message)

            running = [tasks.create_task(each) for each in (facade.run(), commits.grow(), hear())]
            base = "innkeeper/aurora/light-101"
            await _until(inbox, f"{base}/on_off.on_off", since=0, value=False, quality="good")
            await there.publish(form.command_topic(*LAMP), b"ON")
            await _until(inbox, f"{base}/on_off.on_off/result", since=0, phase="done", value=True)
            await _until(inbox, f"{base}/on_off.on_off", since=0, value=True, quality="good")
            await there.publish(form.command_topic(*LEVEL), b"9999")
            done = await _until(inbox, f"{base}/level_control.current_level/result", since=0, phase="done")
            assert done["value"] == 254
            await there.publish(form.command_topic(*LAMP), b"MAYBE")
            await _until(inbox, f"{base}/on_off.on_off/result", since=0, phase="failed")
            since = len(inbox)
            await there.publish("homeassistant/status", b"online")  # it was restarted: everything again
            config = "homeassistant/device/innkeeper_aurora_light-101/config"
            assert (await _until(inbox, config, since=since))["cmps"]["light"]["p"] == "light"
            await _until(inbox, f"{base}/on_off.on_off", since=since, value=True, quality="good")
            for task in running:
                task.cancel()


def _entity(model: str, component: str) -> dict[str, Any]:
    body = json.loads(_form(model).announcements()[1].payload)
    found: dict[str, Any] = next(each for each in body["cmps"].values() if each["p"] == component)
    return found


def _told(template: str, value: object) -> str:
    """Render a template as Home Assistant does: Jinja, with what was told as `value_json`."""
    jinja2 = pytest.importorskip("jinja2")  # it comes with Ansible
    return str(jinja2.Template(template).render(value_json={"value": value}))


@pytest.mark.guarantee("G17")
def test_what_nobody_knows_is_told_in_a_way_that_each_component_can_read() -> None:
    """Seen on Home Assistant 2025.4: `float("None")` in a light is an exception in its log, in a cover a warning."""
    light, cover = _entity("zigbee2mqtt/ikea_led1545g12", "light"), _entity("zigbee2mqtt/ikea_e1926", "cover")
    assert [_told(light["stat_val_tpl"], each) for each in (True, False, None)] == ["ON", "OFF", "None"]
    for template in (light["bri_val_tpl"], light["clr_temp_val_tpl"], cover["pos_tpl"]):
        assert [_told(template, each) for each in (0, 250, None)] == ["0", "250", ""]
    assert (cover["pos_open"], cover["pos_clsd"], cover["pl_open"], cover["pl_cls"]) == (0, 100, "0", "100")


@pytest.mark.guarantee("G17")
def test_a_cover_of_which_nobody_knows_where_it_stands_is_unknown() -> None:
    """Seen on 2025.4: no message on `position_topic` takes a position back; `None` on `state_topic` makes it unknown.

    Without a state of its own a cover went on standing where it was told last. Closed is what the position calls
    closed: its whole per cent is 0.
    """
    cover = _entity("zigbee2mqtt/ikea_e1926", "cover")
    assert cover["stat_t"] == cover["pos_t"]
    told = [_told(cover["val_tpl"], each) for each in (None, 0, 42.5, 99, 99.5, 100)]
    assert told == ["None", "open", "open", "open", "closed", "closed"]


@pytest.mark.guarantee("G17")
def test_a_number_beyond_what_may_be_asked_is_none_there() -> None:
    """Seen on 2025.4: a state outside `min` and `max` is an error in its log, and the number before goes on."""
    number = _entity("reference/ahu_5000", "number")
    assert (number["min"], number["max"]) == (14, 26)
    assert [_told(number["val_tpl"], each) for each in (None, 13.5, 14, 21.5, 26, 28)] == [
        "None", "None", "14", "21.5", "26", "None",
    ]  # fmt: skip


def test_a_thermostat_says_no_mode_that_it_did_not_announce() -> None:
    knows = _entity("regin/rcf_230", "climate")
    assert knows["modes"] == ["off", "auto"]
    assert [_told(knows["mode_stat_tpl"], each) for each in ("auto", "sleep", None)] == ["auto", "None", "None"]
    heats, cools = _entity("domat/fc013", "climate"), _entity("reference/chiller_60", "climate")
    assert (heats["modes"], _told(heats["mode_stat_tpl"], 21)) == (["heat"], "heat")
    assert (cools["modes"], _told(cools["mode_stat_tpl"], 7)) == (["cool"], "cool")


@pytest.mark.requirement("DEV-06")
@pytest.mark.parametrize("discovery", ["device", "entity"])
async def test_what_an_earlier_life_announced_is_taken_back_by_the_next(discovery: Literal["device", "entity"]) -> None:
    """The lamp is gone from the plan and the contact is another model, and both happened while the edge was down."""
    whole, kept, leak = plan(zigbee=True), _Kept(), DescriptorId("zigbee2mqtt/aqara_sjcgq11lm")
    later = msgspec.structs.replace(
        whole,
        devices=tuple(
            msgspec.structs.replace(each, descriptor=leak) if each.id == "contact-101" else each
            for each in whole.devices
            if each.id != LAMP[0]
        ),
    )
    first, second = (HomeAssistant(each, CATALOGUE, discovery=discovery) for each in (whole, later))

    async def live(form: HomeAssistant) -> None:
        facade = _facade(form, kept, live=lambda: [])
        running = asyncio.create_task(facade.run())
        async with asyncio.timeout(10):
            while kept.kept.get(form.announced_topic) != form.announced().encode():
                await asyncio.sleep(0.005)
            while kept.kept.keys() != _may(form):
                await asyncio.sleep(0.005)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    await live(first)
    assert any("light-101" in each for each in kept.kept)
    contact = {"value": None, "quality": "unknown"}
    assert json.loads(kept.kept["innkeeper/aurora/contact-101/boolean_state.state_value"]) == contact
    assert kept.kept["innkeeper/aurora/contact-101/availability"] == b"offline", "nothing was heard of it"
    await live(second)
    assert not any("light-101" in each or each.endswith("boolean_state.state_value") for each in kept.kept)
    if discovery == "device":
        body = json.loads(kept.kept["homeassistant/device/innkeeper_aurora_contact-101/config"])
        assert body["cmps"]["boolean_state_state_value"] == {"p": "binary_sensor"}, "nothing but p: taken back"
    other = HomeAssistant(whole, CATALOGUE, discovery="entity" if discovery == "device" else "device")
    await live(other)


def _may(form: HomeAssistant) -> set[str]:
    return form.topics(form.announced()) | {each.topic for each in form.announcements()} | {form.announced_topic}


_WORD: Final = st.sampled_from(["light-101", "a", "on_off.on_off", "light", "e-1", "m"]) | st.sampled_from(
    ["#", "+", "a/b", "", "A b", "\u00fc", "x\n", "..", "x" * 200]
)
_KEPT: Final = st.fixed_dictionaries(
    {
        "models": st.just({}) | st.dictionaries(st.just("m"), st.fixed_dictionaries(
            {"components": st.dictionaries(_WORD, _WORD, max_size=2), "values": st.lists(_WORD, max_size=2)}
        )),
        "devices": st.dictionaries(_WORD, st.just("m"), max_size=2),
        "discovery": st.lists(st.sampled_from(["device", "entity", "#"]), max_size=2),
        "edges": st.lists(_WORD, max_size=1),
    }
)  # fmt: skip


@given(payload=st.binary(max_size=80) | _KEPT.map(msgspec.json.encode))
@settings(max_examples=100)
def test_whatever_is_kept_as_announced_takes_back_nothing_that_is_not_ours(payload: bytes) -> None:
    found = Announced.parse(payload)
    form = HomeAssistant(plan(zigbee=True), CATALOGUE)
    for topic in () if found is None else form.leftovers(found):
        assert topic.startswith(("innkeeper/aurora/", "homeassistant/"))
        assert not {"+", "#"} & set(topic)
        assert topic.startswith("innkeeper/") or "/innkeeper_aurora_" in topic


def test_what_was_announced_is_read_back_and_a_stranger_is_not() -> None:
    announced = HomeAssistant(plan(zigbee=True), CATALOGUE).announced()
    assert Announced.parse(announced.encode()) == announced
    evil = {
        "models": {"m": {"components": {"a/b": "light"}, "values": []}},
        "devices": {"x": "m"},
        "discovery": ["entity"],
    }
    assert Announced.parse(msgspec.json.encode(evil)) is None
    dangling = {"models": {}, "devices": {"x": "m"}, "discovery": [], "edges": []}
    assert Announced.parse(msgspec.json.encode(dangling)) is None
