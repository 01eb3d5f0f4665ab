"""Every kind of bus in an inventory, and what it becomes in the site plan."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from firmware_bridges.catalogue import PACKAGE, load_all
from protocols.device_model.site_plan import (
    BleAdvertBus,
    HomeAssistantBus,
    ModbusRtuBus,
    ModbusTlsBus,
    MqttBus,
    MqttDevicesBus,
)
from protocols.errors import InvalidInputError
from provisioning.cli.main import app
from provisioning.inventory.inventory import expanded, load
from provisioning.inventory.site_rights import site_clients

BOREAL = """
format = 1
[property]
id = "boreal"
name = "Boreal"
tenant = "northlight"
zone = "Europe/Vienna"
edge = "e-boreal"
[[floors]]
level = 1
first_room = 1
rooms = 2
type = "double"
[[places]]
id = "plant"
level = 0
kind = "plant"
[[buses]]
id = "zigbee"
kind = "mqtt"
[[buses]]
id = "broker"
kind = "mqtt_devices"
[[buses]]
id = "announced"
kind = "home_assistant"
topics = ["esp/#"]
[[buses]]
id = "air"
kind = "ble_adverts"
[[buses]]
id = "line"
kind = "modbus_rtu"
path = "/dev/ttyUSB0"
baud = 9600
[[buses]]
id = "meters"
kind = "modbus_tls"
host = "meters.example"
[[fittings]]
name = "plug"
descriptor = "tasmota/pow_r2"
bus = "broker"
friendly_name = "tasmota_{room}"
[[fittings]]
name = "thermo"
descriptor = "ruuvi/ruuvitag"
bus = "air"
macs = { 1 = "aa:bb:cc:dd:ee:01", 2 = "aa:bb:cc:dd:ee:02" }
[[fittings]]
name = "fancoil"
descriptor = "regin/rcf_230"
bus = "line"
[[devices]]
id = "meter"
room = "plant"
descriptor = "eastron/sdm630"
bus = "meters"
[[devices]]
id = "switch"
room = "plant"
descriptor = "shelly/plus_1pm"
bus = "broker"
friendly_name = "shellyplus1pm-a8032ab1"
"""


def write(folder: Path, text: str = BOREAL) -> Path:
    path = folder / "boreal.toml"
    path.write_text(text)
    return path


@pytest.mark.requirement("DEV-01")
def test_every_kind_of_bus_becomes_one_of_the_plan_with_its_addresses(tmp_path: Path) -> None:
    path = write(tmp_path)
    plan = expanded(load(path), path)
    kinds = {str(bus.id): bus for bus in plan.buses}
    assert kinds["zigbee"] == MqttBus("zigbee", "zigbee2mqtt")  # type: ignore[arg-type]  # names
    assert kinds["announced"] == HomeAssistantBus("announced", ("esp/#",))  # type: ignore[arg-type]  # names
    assert kinds["air"] == BleAdvertBus("air", "ruuvi")  # type: ignore[arg-type]  # names
    assert kinds["line"] == ModbusRtuBus("line", "/dev/ttyUSB0", 9600)  # type: ignore[arg-type]  # names
    assert kinds["meters"] == ModbusTlsBus("meters", "meters.example")  # type: ignore[arg-type]  # names
    assert isinstance(kinds["broker"], MqttDevicesBus)
    at = {str(each.id): each.address for each in plan.devices}
    assert (at["plug-1"].friendly_name, at["plug-2"].friendly_name) == ("tasmota_1", "tasmota_2")
    assert (at["thermo-2"].mac, at["fancoil-2"].unit, at["meter"].unit) == ("aa:bb:cc:dd:ee:02", 2, 1)
    assert at["switch"].friendly_name == "shellyplus1pm-a8032ab1"


@pytest.mark.requirement("DEV-01")
def test_a_unit_number_that_a_device_was_given_is_its_own_and_the_others_go_round_it(tmp_path: Path) -> None:
    text = BOREAL.replace('descriptor = "eastron/sdm630"', 'descriptor = "eastron/sdm630"\nunit = 255')
    text = text.replace('descriptor = "regin/rcf_230"\n', 'descriptor = "regin/rcf_230"\nunits = { 2 = 1 }\n')
    path = write(tmp_path, text)
    at = {str(each.id): each.address for each in expanded(load(path), path).devices}
    assert (at["meter"].unit, at["fancoil-2"].unit, at["fancoil-1"].unit) == (255, 1, 2)


@pytest.mark.parametrize(
    ("change", "place", "word"),
    [
        (('path = "/dev/ttyUSB0"\n', ""), "buses.line.path", "is missing"),
        (("baud = 9600", "baud = 9601"), "buses[4].baud", "9601"),
        (('topics = ["esp/#"]\n', ""), "buses.announced.topics", "is missing"),
        (('topics = ["esp/#"]', 'topics = ["esp/#/x"]'), "topics[0]", "no topic filter"),
        (('topics = ["esp/#"]', 'topics = ["esp/#"]\nprefix = "a//b"'), "prefix", "no topic to build on"),
        (('kind = "mqtt_devices"', 'kind = "mqtt_devices"\nbase_topic = "x"'), "buses.broker.base_topic", "no meaning"),
        ((', 2 = "aa:bb:cc:dd:ee:02"', ""), "fittings.thermo.macs", "first '2'"),
        (('2 = "aa:bb:cc:dd:ee:02"', '2 = "aa:bb:cc:dd:ee:01"'), "address", "given twice"),
        (('2 = "aa:bb:cc:dd:ee:02"', '2 = "aa:bb:cc:dd:ee:02", 9 = "aa:bb:cc:dd:ee:09"'), "macs", "no guest room"),
        (('2 = "aa:bb:cc:dd:ee:02"', '2 = "AA-02"'), "address.mac", "six pairs"),
        (('"tasmota_{room}"', '"tasmota"'), "fittings.plug.friendly_name", "the same in every room"),
        (('id = "switch"', 'id = "switch"\nunit = 3'), "devices.switch.unit", "no meaning"),
        (('id = "switch"', 'id = "switch"\nnode = "ns=2;s=X"'), "devices.switch.node", "no meaning"),
        (('id = "meter"', 'id = "meter"\nunit = 256'), "address.unit", "outside 1..247"),
        (('bus = "line"', 'bus = "line"\nunits = { 1 = 255 }'), "address.unit", "outside 1..247"),
        (('bus = "line"', 'bus = "line"\nunits = { 1 = 7, 2 = 7 }'), "address", "given twice"),
        (('bus = "line"', 'bus = "line"\nunits = { 9 = 7 }'), "fittings.fancoil.units", "no guest room"),
        (('bus = "air"', 'bus = "air"\nunits = { 1 = 7 }'), "fittings.thermo.units", "no meaning"),
        (('id = "switch"', 'id = "switch"\nmac = "aa:bb:cc:dd:ee:09"'), "devices.switch.mac", "no meaning"),
        (('descriptor = "regin/rcf_230"', 'descriptor = "ruuvi/ruuvitag"'), "address.bus", "not a"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, change: tuple[str, str], place: str, word: str) -> None:
    assert change[0] in BOREAL
    with pytest.raises(InvalidInputError) as refused:
        load(write(tmp_path, BOREAL.replace(*change)))
    assert place in str(refused.value)
    assert word in str(refused.value)


@pytest.mark.guarantee("G8")
def test_the_command_writes_an_access_list_of_inventory_and_plan_alike(tmp_path: Path) -> None:
    from protocols.device_model import site_plan

    path = write(tmp_path)
    of_inventory = CliRunner().invoke(app, ["inventory", "acl", str(path), "--home-assistant"])
    assert of_inventory.exit_code == 0, of_inventory.output
    (tmp_path / "plan.json").write_bytes(site_plan.encode(expanded(load(path), path)))
    of_plan = CliRunner().invoke(app, ["inventory", "acl", str(tmp_path / "plan.json"), "--home-assistant"])
    assert of_plan.stdout == of_inventory.stdout
    blocks = {block.partition("\n")[0]: block for block in of_plan.stdout.split("user ")[1:]}
    assert set(blocks) == {
        *("edge-site", "zigbee2mqtt", "ble-gateway-air", "home-assistant", "switch", "plug-1", "plug-2"),
        "announced-announced",
    }
    assert blocks["plug-1"].split("\n")[1:] == [
        "topic read cmnd/tasmota_1/#",
        "topic write stat/tasmota_1/#",
        "topic write tele/tasmota_1/#",
        "",
        "",
    ]
    assert "topic readwrite shellyplus1pm-a8032ab1/#" in blocks["switch"]
    assert " #\n" not in of_plan.stdout


def test_a_model_of_the_propertys_own_is_one_in_an_inventory_too(tmp_path: Path) -> None:
    own = tmp_path / "models" / "acme" / "descriptors" / "pow.toml"
    own.parent.mkdir(parents=True)
    text = (PACKAGE / "tasmota" / "descriptors" / "pow_r2.toml").read_text()
    own.write_text(text.replace('id = "tasmota/pow_r2"', 'id = "acme/pow"'))
    path = write(tmp_path, BOREAL.replace('descriptor = "tasmota/pow_r2"', 'descriptor = "acme/pow"'))
    asked = ["inventory", "acl", str(path)]
    refused = CliRunner().invoke(app, asked)
    assert "'acme/pow' is not described" in str(refused.exception)
    told = CliRunner().invoke(app, [*asked, "--models", str(tmp_path / "models")])
    assert told.exit_code == 0, told.output
    assert "topic write tele/tasmota_1/#" in told.stdout


def test_who_announces_himself_speaks_and_is_spoken_to_in_his_topics_alone(tmp_path: Path) -> None:
    path = write(tmp_path)
    clients = {each.user: each for each in site_clients(expanded(load(path), path), load_all())}
    edge, things = clients["edge-site"], clients["announced-announced"]
    assert {"homeassistant/+/+/config", "homeassistant/+/+/+/config", "esp/#"} <= edge.subscribe.keys()
    assert [each for each in edge.publish if each.startswith(("esp", "homeassistant"))] == ["esp/#"]
    assert list(things.publish) == ["homeassistant/+/+/config", "homeassistant/+/+/+/config", "esp/#"]
    assert list(things.subscribe) == ["homeassistant/status", "esp/#"]
