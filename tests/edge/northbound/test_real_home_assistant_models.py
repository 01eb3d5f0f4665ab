"""Every model that ships, announced to a real Home Assistant: what it makes of the announcement and of what is told.

Not part of `make test`: it runs where a Home Assistant is (docs/operating/devices.md, "A real Home Assistant").
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from edge.northbound.home_assistant import HomeAssistant
from edge.northbound.home_assistant_entities import TRUE_IS_ON, Entities, Entity, Key
from kit.mqtt import Broker, MqttTransport
from kit.net import Connection
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.device_model.capability import Capability, Kind, Value
from protocols.device_model.identity import DeviceId
from provisioning.descriptors.emulation import plan_of
from tests.conftest import find_program
from tests.edge.bridges.field import CATALOGUE
from tests.edge.northbound.real_home_assistant import Mosquitto, RealHomeAssistant, hass

pytestmark = [pytest.mark.tier("mosquitto", "home-assistant"), pytest.mark.timeout(300)]

States = Mapping[str, dict[str, Any]]
MICRO_IS_MU = str.maketrans("\u00b5", "\u03bc")  # Home Assistant 2025.8 and newer: one of the two signs


@dataclass(frozen=True)
class Shown:
    """A thing of one model, and how each of its entities is called there."""

    thing: DeviceId
    form: HomeAssistant
    model: Descriptor
    entities: Mapping[str, Entity]
    called: Mapping[str, str]

    def point(self, entity: Entity, key: str = "stat_t") -> Point | None:
        """Return the point that an entity tells under a key."""
        end = str(entity.get(key, "")).rpartition("/")[2]
        return next((each for each in self.model.points if f"{each.capability.value}.{each.attribute}" == end), None)


@pytest.mark.requirement("DEV-02")
@pytest.mark.guarantee("G17")
@pytest.mark.parametrize("discovery", ["device", "entity"])
async def test_no_model_that_ships_makes_it_complain_and_it_shows_what_was_told(
    tmp_path: Path, discovery: Literal["device", "entity"]
) -> None:
    program, home_program = find_program("mosquitto"), hass()
    assert program is not None
    assert home_program is not None
    async with (
        Mosquitto(tmp_path / "broker", program) as broker,
        RealHomeAssistant(tmp_path / "home", home_program, (broker.host, broker.port)) as home,
        MqttTransport(Broker(broker.host, broker.port, client_id="innkeeper")).connect() as there,
    ):
        if discovery == "device" and home.version < (2024, 11):
            pytest.skip("a whole device in one message is read by 2024.11 and newer")
        house = await _announced(home, there, discovery)
        for each in house:  # every word and both ends of every number, then what is between them
            for point in each.model.points:
                for value in (*_ends(point), _middle(point)):
                    await _tell(there, each, point, value)
        await home.until(lambda seen: not _wrong(house, seen))
        beyond = {called: (each, point, over) for each in house for called, point, over in _beyond(each)}
        assert beyond, "no model has a number that its device may exceed"
        for each, point, over in beyond.values():
            await _tell(there, each, point, over)
        await home.until(lambda seen: {seen[called]["state"] for called in beyond} == {"unknown"})
        for each in house:
            for point in each.model.points:
                await _tell(there, each, point, None)
        # A thermostat of one mode is in it whatever is known; in 2024.3 neither mode nor cover can be unknown,
        # and of a sensor of words that is "None".
        old = home.version < (2024, 11)
        every = {
            each.called[name]
            for each in house
            for name, entity in each.entities.items()
            if not _has_one_mode(entity) and not (old and entity["p"] in ("climate", "cover"))
        }
        words = {"unknown", "None"} if old else {"unknown"}
        await home.until(lambda seen: {seen[each]["state"] for each in every} <= words)
        known = ("Payload is not supported", "Invalid modes mode: None") if old else ()
        assert [each for each in home.complaints() if not any(word in each for word in known)] == []


async def _announced(home: RealHomeAssistant, there: Connection, discovery: Literal["device", "entity"]) -> list[Shown]:
    made = []
    for number, model in enumerate(sorted(CATALOGUE)):
        alone, _ = plan_of(CATALOGUE[model], port=50_000, name="thing")
        device = msgspec.structs.replace(alone.devices[0], id=DeviceId(f"thing-{number}"))
        plan = msgspec.structs.replace(alone, devices=(device,))
        made.append((HomeAssistant(plan, CATALOGUE, discovery=discovery), device, CATALOGUE[model]))
    wanted: dict[str, tuple[DeviceId, str]] = {}
    assert len({form.edge_availability for form, _, _ in made}) == 1, "all of one property"
    for form, device, _ in made:
        for message in [*form.announcements(), form.availability(device.id, online=True)]:
            await there.publish(message.topic, message.payload, retain=message.retain)
        for name in form.announced().components(device.id):
            wanted[f"innkeeper_{plan.property.id}_{device.id}_{name}"] = (device.id, name)
    found: dict[str, str] = {}
    try:
        async with asyncio.timeout(60):
            while not wanted.keys() <= found.keys():
                [entities] = await home.asked("config/entity_registry/list")
                found = {each["unique_id"]: each["entity_id"] for each in entities if each["platform"] == "mqtt"}
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"not there: {sorted(wanted.keys() - found.keys())}\n{home.log()[-4000:]}") from None
    house = []
    for form, device, kind in made:
        entities = Entities(kind, _topics(device.id), watches=device.watches)
        called = {name: found[unique] for unique, (thing, name) in wanted.items() if thing == device.id}
        house.append(Shown(device.id, form, kind, entities.all(), called))
    return house


def _topics(thing: DeviceId) -> Callable[[Key], str]:
    return lambda key: f"{thing}/{key[0].value}.{key[1]}"


async def _tell(there: Connection, of: Shown, point: Point, value: Value | None) -> None:
    told = of.form.value(of.thing, point.capability, point.attribute, value, "good")
    await there.publish(told.topic, told.payload, retain=True)


def _ends(point: Point) -> Iterable[Value]:
    if point.row.kind is Kind.BOOL:
        return True, False
    if point.row.kind is Kind.CHOICE:
        return [meaning for _, meaning in point.values]
    least, most = point.range
    return (least or 0.0), (most or 1.0)


def _middle(point: Point) -> Value:
    """Return a value that a device in use may well have."""
    if point.row.kind is Kind.BOOL:
        return True
    if point.row.kind is Kind.CHOICE:
        return point.values[0][1]
    least, most = point.range
    if point.write is not None and point.write.least is not None:
        least, most = point.write.least, point.write.most
    between = ((least or 0.0) + (most or 1.0)) / 2
    return round(between) if point.row.kind is Kind.INTEGER else round(between, 1)


def _beyond(of: Shown) -> Iterable[tuple[str, Point, float]]:
    """Yield each number that may be set, with its point, and what the device may well be at and may not be set to."""
    for name, entity in of.entities.items():
        point = of.point(entity)
        if entity["p"] != "number" or point is None or point.write is None or point.write.most is None:
            continue
        most = point.range[1]
        if most is None or point.write.most + 1 <= most:
            yield of.called[name], point, point.write.most + 1


def _has_one_mode(entity: Entity) -> bool:
    """Say whether it is a thermostat that has one mode and tells none: that is what it is, whatever is known."""
    return entity["p"] == "climate" and "value_json" not in entity["mode_stat_tpl"]


def _wrong(house: Iterable[Shown], seen: States) -> list[str]:
    """Return what is not shown as it was told: `entity: wanted, shown`."""
    wrong = []
    for each in house:
        for name, entity in each.entities.items():
            called = each.called[name]
            state = seen.get(called, {"state": "absent", "attributes": {}})
            for what, wanted, shown in _compared(each, entity, state["state"], state["attributes"]):
                if wanted != shown:
                    wrong.append(f"{called} {what}: {wanted!r}, {shown!r}")
    return wrong


def _compared(of: Shown, entity: Entity, state: str, shown: Mapping[str, Any]) -> Iterable[tuple[str, object, object]]:
    """Yield what, as it was told, as it is shown."""
    point = of.point(entity)
    match entity["p"]:
        case "climate":
            for key, attribute in (("curr_temp_t", "current_temperature"), ("temp_stat_t", "temperature")):
                told = of.point(entity, key)
                assert told is not None
                yield attribute, _middle(told), shown.get(attribute)
            mode = of.point(entity, "mode_stat_t")
            if mode is not None and mode.row.kind is Kind.CHOICE:
                yield "mode", _middle(mode) if _middle(mode) in entity["modes"] else "unknown", state
            yield "least", entity["min_temp"], shown.get("min_temp")
        case "light":
            yield "state", "on", state
            if (level := of.point(entity, "bri_stat_t")) is not None:
                yield "brightness", round(float(_middle(level)) / 254 * 255), shown.get("brightness")
        case "cover":
            assert point is not None
            yield "position", 100 - int(float(_middle(point))), shown.get("current_position")
            yield "state", "open", state
        case _:
            assert point is not None
            yield "state", _plain(point), float(state) if _is_number(state) else state
            yield "class", entity.get("dev_cla"), shown.get("device_class")
            unit = entity.get("unit_of_meas")
            told_unit = shown.get("unit_of_measurement")
            yield "unit", unit and unit.translate(MICRO_IS_MU), told_unit and told_unit.translate(MICRO_IS_MU)


def _plain(point: Point) -> object:
    value = _middle(point)
    if not isinstance(value, bool):
        return value if isinstance(value, str) else float(value)
    closed = point.capability is Capability.BOOLEAN_STATE and point.attribute.partition(":")[2] not in TRUE_IS_ON
    return "off" if closed else "on"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
