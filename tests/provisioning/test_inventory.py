"""An inventory is read strictly and expanded completely."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from protocols.errors import InvalidInputError
from provisioning.inventory import inventory as inventories

AURORA = Path(__file__).resolve().parents[2] / "inventories" / "aurora.toml"
ADDRESSES = inventories.Addresses(modbus=("127.0.0.1", 5020), opcua_url="opc.tcp://127.0.0.1:4840/")


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
        ("format = 1", "format = 2", "format"),
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
    with pytest.raises(InvalidInputError) as refused:
        inventories.load(broken)
    assert str(broken) in str(refused.value)
    assert place in str(refused.value)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no such inventory file"):
        inventories.load(tmp_path / "nowhere.toml")


def test_the_shipped_inventory_holds_nothing_the_reader_ignores() -> None:
    assert set(tomllib.loads(AURORA.read_text())) == set(inventories.Inventory.__struct_fields__)
