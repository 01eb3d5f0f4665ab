"""An inventory is read strictly and expanded completely."""

import json
import tomllib
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.device_model.identity import BusId
from protocols.device_model.site_plan import SitePlan, is_point, parse
from protocols.errors import InvalidInputError, PlatformError, UnsupportedVersionError
from provisioning.cli.main import main
from provisioning.inventory import inventory as inventories

AURORA = Path(__file__).resolve().parents[2] / "inventories" / "aurora.toml"
ADDRESSES = inventories.Addresses(modbus={"climate": ("127.0.0.1", 5020)}, opcua_url="opc.tcp://127.0.0.1:4840/")


def _plan() -> dict[str, Any]:
    aurora = inventories.load(AURORA)
    locks = {
        door.id: {"lock": f"{index:016x}", "s_lock": "02" + "11" * 32}
        for index, door in enumerate(inventories.doors(aurora))
    }
    return inventories.site_plan(aurora, ADDRESSES, locks)


@pytest.mark.requirement("STY-06")
def test_aurora_has_24_guest_rooms_a_lobby_door_and_a_plant_room() -> None:
    plan = _plan()
    kinds = [room["kind"] for room in plan["rooms"]]
    assert (kinds.count("guest_room"), kinds.count("common"), kinds.count("plant")) == (24, 1, 1)
    assert len(plan["doors"]) == 25
    assert {door["number"] for door in plan["doors"] if door["zones"] == 0} == {
        int(room["id"]) for room in plan["rooms"] if room["kind"] == "guest_room"
    }


@pytest.mark.requirement("DEV-01")
def test_every_guest_room_gets_every_fitting_at_an_address_of_its_own() -> None:
    plan = _plan()
    names = {fitting.name for fitting in inventories.load(AURORA).fittings}
    for room in (room["id"] for room in plan["rooms"] if room["kind"] == "guest_room"):
        assert {device["id"] for device in plan["devices"] if device["room"] == room} == {f"{n}-{room}" for n in names}
    addresses = [msgspec.json.encode(device["address"]) for device in plan["devices"] if "unit" in device["address"]]
    assert len(addresses) == len(set(addresses)) == 24


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("format = 1", "format = 2", "format version 2 is not supported"),
        ("format = 1", "format = true", "format version True is not supported"),
        ("rooms = 8", "rooms = 1000000000000", "it is 1000000000000"),
        ("rooms = 8", "rooms = 0", "it is 0"),
        ("rooms = 8", "rooms = -5", "it is -5"),
        ("rooms = 8", "rooms = nan", "floors[0].rooms: nan is not a number"),
        ("rooms = 8\ntype", "rooms = 4999\ntype", "5015 rooms; a property has at most 5000"),
        ("level = 1", "level = 100000", "it is 100000"),
        ("first_room = 101", "first_room = 0x" + "f" * 5_000, "an integer of 20000 bits"),
        ('id = "aurora"', 'id = "Hotel Aurora"', "property.id: 'Hotel Aurora' is no name"),
        ('zone = "Europe/Vienna"', 'zone = "Vienna time"', "'Vienna time' is no zone name"),
        ('zone = "Europe/Vienna"', 'zone = "Europe/Nowhere"', "'Europe/Nowhere' is no zone that this machine knows"),
        ('zone = "Europe/Vienna"', 'zone = "Europe"', "'Europe' is no zone that this machine knows"),
        ('edge = "e-aurora0000000001"', 'edge = "../etc"', "property.edge: '../etc' is no name"),
        ('name = "light"', 'name = "li+ght"', "fittings[1].name: 'li+ght' is no name"),
        ('name = "light"', f'name = "{"l" * 36}"', "leaves no room"),
        ('name = "light"', 'name = "contact"', "'contact' is there twice"),
        ('id = "chiller"', 'id = "light-101"', "'light-101' is given twice"),
        ('id = "door-lobby"', 'id = "door-101"', "'door-101' is given twice"),
        ('id = "lobby"', 'id = "101"', "'101' is there twice"),
        ('descriptor = "regin/rcf_230"', 'descriptor = "regin/none"', "'regin/none' is not described"),
        ('descriptor = "regin/rcf_230"', 'descriptor = "reference/chiller_60"', "is a ModbusTcpBus, not a OpcUaBus"),
        ('base_topic = "zigbee2mqtt"', 'base_topic = "a/#"', "'a/#' is no topic"),
        ('id = "zigbee"\nkind = "mqtt"', 'id = "zigbee"\nkind = "opcua"', "a rehearsal reaches one"),
        ('id = "climate"', 'id = "zigbee"', "'zigbee' is there twice"),
        ("[property]", "[property]\n" + "x." * 3_000 + "y = 1", "nested too deeply"),
        ("format = 1", "formatt = 1", "format"),
        ('zone = "Europe/Vienna"', 'zone = "Europe/Vienna"\nstars = 4', "stars"),
        ("first_room = 201", "first_room = 101", "'101' is there twice"),
        ("first_room = 301", "first_room = 65530", "outside 1..65535"),
        ('room = "plant"', 'room = "cellar"', "'cellar' is not a room"),
        ('bus = "climate"', 'bus = "klima"', "'klima' is not one of the buses"),
        ("zone = 0", "zone = 64", "64 is outside 0..63"),
        ("first_room = 301\nrooms = 8", "first_room = 301\nrooms = 300", "carries 247"),
        ("[property]", "[property", "is not TOML"),
    ],
)
@pytest.mark.guarantee("G19")
def test_a_mistake_is_named_with_its_place_and_value(tmp_path: Path, old: str, new: str, place: str) -> None:
    broken = tmp_path / "broken.toml"
    text = AURORA.read_text()
    assert old in text
    broken.write_text(text.replace(old, new, 1))
    with pytest.raises((InvalidInputError, UnsupportedVersionError)) as refused:
        inventories.load(broken)
    assert str(broken) in str(refused.value)
    assert place in str(refused.value)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no such inventory file"):
        inventories.load(tmp_path / "nowhere.toml")


def test_the_shipped_inventory_holds_nothing_the_reader_ignores() -> None:
    assert set(tomllib.loads(AURORA.read_text())) == set(inventories.Inventory.__struct_fields__)


def test_a_folder_or_another_encoding_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="Is a directory"):
        inventories.load(tmp_path)
    wrong = tmp_path / "wrong.toml"
    wrong.write_bytes(AURORA.read_text().encode("utf-16"))
    with pytest.raises(InvalidInputError, match="is not TOML: 'utf-8' codec"):
        inventories.load(wrong)


@pytest.mark.guarantee("G19")
@settings(max_examples=150, deadline=None)
@given(
    cut=st.integers(0, len(AURORA.read_text()) - 1),
    noise=st.text(max_size=6) | st.sampled_from(["9" * 30, "-1", "nan", "[", '"', "true"]),
    drop=st.integers(0, 40),
)
def test_a_damaged_inventory_is_refused_by_name_or_expands(
    tmp_path_factory: pytest.TempPathFactory, cut: int, noise: str, drop: int
) -> None:
    text, path, refused = AURORA.read_text(), tmp_path_factory.getbasetemp() / "damaged.toml", ""
    path.write_bytes((text[:cut] + noise + text[cut + drop :]).encode("utf-8", "replace"))
    try:
        inventory = inventories.load(path)
        assert inventories.doors(inventory)
    except PlatformError as error:
        refused = str(error)
    assert not refused or refused.startswith(str(path))


def test_the_command_tells_what_is_wrong_and_exits_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(AURORA.read_text().replace("Europe/Vienna", "Europe/Nowhere"))
    monkeypatch.setattr("sys.argv", ["innkeeper", "inventory", "check", str(broken)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"innkeeper: {broken}: ")


GRAND = AURORA.with_name("grand.toml")


def test_the_grand_hotel_has_300_rooms_a_gateway_a_floor_and_can_be_cut_to_fewer() -> None:
    grand = inventories.load(GRAND)
    addresses = inventories.Addresses(
        modbus={bus.id: ("127.0.0.1", 5020 + index) for index, bus in enumerate(grand.buses)},
        opcua_url="opc.tcp://127.0.0.1:4840/",
    )

    def plan(inventory: inventories.Inventory) -> SitePlan:
        points = filter(is_point, (f"02{x:064x}" for x in count()))
        locks = {
            door.id: {"lock": f"{index:016x}", "s_lock": public}
            for index, (door, public) in enumerate(zip(inventories.doors(inventory), points, strict=False))
        }
        return parse(json.dumps(inventories.site_plan(inventory, addresses, locks)).encode())

    whole = plan(grand)
    assert sum(1 for room in whole.rooms if room.kind == "guest_room") == 300
    for bus in (each.id for each in grand.buses if each.kind in ("modbus_tcp", "mqtt")):
        assert len(list(whole.devices_on(BusId(bus)))) == (30 if bus.startswith("climate") else 120)
    few = plan(inventories.with_rooms(grand, 35))
    assert [room.id for room in few.rooms if room.kind == "guest_room"][-6:] == [
        "130", "201", "202", "203", "204", "205",
    ]  # fmt: skip
    for wrong in (0, 301, -1):
        with pytest.raises(InvalidInputError, match="rooms"):
            inventories.with_rooms(grand, wrong)


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ('climate = "attic"', "floors[5].lines.climate: 'attic'"),
        ('cellar = "climate"', "floors[5].lines.cellar: 'cellar'"),
        ('climate = "zigbee"', "floors[5].lines.climate: 'zigbee' is mqtt"),
    ],
)
def test_a_floor_on_no_such_line_is_named(tmp_path: Path, lines: str, place: str) -> None:
    broken = tmp_path / "grand.toml"
    broken.write_text(GRAND.read_text().replace('climate = "climate-6"', lines, 1))
    with pytest.raises(InvalidInputError) as refused:
        inventories.load(broken)
    assert place in str(refused.value).replace('"', "'")
