"""What is made of the cloud's orders: check-in, check-out and room commands; unknown ones refused by name."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge.app.settings import UplinkSettings
from edge.app.uplink import obeying, read_command_key, recover_documents
from edge.checkin.errors import CheckInRefusedError
from edge.log.record_log import RecordLog
from kit.clock import ManualClock, SystemClock
from kit.dice import SeededDice
from protocols.device_model.identity import EdgeId, StayId
from protocols.errors import InvalidInputError
from protocols.link.documents import CommandEnvelope, DesiredDocument, sign_desired
from protocols.link.lanes import Lane
from tests.edge.world import HEATING, PHONE, T0, Building, a_document, a_stay

EDGE = EdgeId("e-aurora0000000001")


def ordered(kind: str, **args: Any) -> CommandEnvelope:
    return CommandEnvelope(EDGE, "c-1", "key-1", kind, args, T0 + 10_000, T0)


@pytest.fixture
async def building(tmp_path: Path) -> AsyncIterator[Building]:
    building = Building(ManualClock(wall_ms=T0), path=tmp_path / "edge.db")
    await building.house.desired("stays", 1, a_document(a_stay()))
    yield building
    await building.store.close()


@pytest.mark.requirement("CHK-01", "CHK-10")
async def test_the_cloud_checks_in_and_out_by_the_same_path_as_the_desk(building: Building) -> None:
    obey = obeying(building.house)
    result = await obey(ordered("check_in", stay="s-anna", phone_public_key=PHONE, by="cloud:console"))
    assert result["bundle"]["stay"] == "s-anna"
    moved = await obey(ordered("move", stay="s-anna", room="102", phone_public_key=PHONE, by="cloud:console"))
    assert (moved["room"], moved["bundle"]["room"]) == ("102", "102")
    assert (await obey(ordered("check_out", stay="s-anna")))["state"] == "left"
    said = [(each.body["state"], each.body["by"]) for each in building.log.records(Lane.A, "stay")]
    assert said == [("checked_in", "cloud:console"), ("checked_in", "cloud:console"), ("checked_out", "cloud")]
    assert {each.body["by_kind"] for each in building.log.records(Lane.A, "stay")} == {"cloud"}


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("kind", ["room", "room_command"])
async def test_the_clouds_room_command_is_carried_out_and_recorded_by_the_link_alone(
    building: Building, kind: str
) -> None:
    order = ordered(kind, room="101", capability="thermostat", attribute=HEATING, value=22.0)
    for _ in range(2):
        assert await obeying(building.house)(order) == {"phase": "done", "read_back": 22.0, "reason": None}
    assert len(building.devices.effects) == 1
    assert building.log.records(Lane.A, "command") == []


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("kind", "args"),
    [
        ("unlock", {"door": "door-101"}),
        ("check_in", {}),
        ("check_in", {"stay": "s-anna"}),
        ("check_in", {"stay": 5, "phone_public_key": PHONE}),
        ("check_in", {"stay": "s-anna", "phone_public_key": PHONE, "force": True}),
        ("move", {"stay": "s-anna", "phone_public_key": PHONE}),
        ("move", {"stay": "s-anna", "room": "A ROOM", "phone_public_key": PHONE}),
        ("check_out", {"stay": "S ANNA"}),
        ("room", {"room": "101"}),
        ("room", {"room": "101", "capability": "teleport", "attribute": "x", "value": 1}),
        ("room", {"room": "101", "capability": "thermostat", "attribute": HEATING, "value": [22]}),
        ("room", {"room": "101", "capability": "thermostat", "attribute": HEATING, "value": 99.0}),
        ("room", {"room": "101", "capability": "door_lock", "attribute": "lock_state", "value": "unlocked"}),
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_refused_and_nothing_happens(
    building: Building, kind: str, args: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInputError):
        await obeying(building.house)(ordered(kind, **args))
    assert building.devices.effects == []
    assert building.doors.issued == 0


async def test_a_refused_check_in_says_why(building: Building) -> None:
    with pytest.raises(CheckInRefusedError, match="not known in this building"):
        await obeying(building.house)(ordered("check_in", stay="s-nobody", phone_public_key=PHONE))


def key_file(path: Path, key: Any) -> UplinkSettings:
    path.write_bytes(key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return UplinkSettings(host="127.0.0.1", port=1, command_public_key_path=path, command_key_id="cloud-1")


def test_only_the_pinned_key_is_known_and_only_under_its_id(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    resolve = read_command_key(key_file(tmp_path / "key.pem", key.public_key()))
    pinned = resolve(b"cloud-1")
    assert pinned is not None
    assert pinned.public_numbers() == key.public_key().public_numbers()
    assert resolve(b"cloud-2") is None


def test_a_key_of_another_kind_or_no_key_is_refused_by_its_path(tmp_path: Path) -> None:
    settings = key_file(tmp_path / "key.pem", ec.generate_private_key(ec.SECP384R1()).public_key())
    with pytest.raises(InvalidInputError, match=r"key\.pem: is not a P-256"):
        read_command_key(settings)
    (tmp_path / "key.pem").write_bytes(b"no key")
    with pytest.raises(InvalidInputError, match=r"key\.pem: is not a PEM"):
        read_command_key(settings)
    (tmp_path / "key.pem").unlink()
    with pytest.raises(InvalidInputError, match=r"key\.pem: cannot be read"):
        read_command_key(settings)


@pytest.mark.guarantee("G11")
async def test_a_house_that_lost_its_store_takes_the_stays_from_the_log(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    resolve = read_command_key(key_file(tmp_path / "key.pem", key.public_key()))
    signed = sign_desired(DesiredDocument(EDGE, "stays", 7, a_document(a_stay()), T0), key, b"cloud-1")
    building = Building(ManualClock(wall_ms=T0))
    clock = SystemClock("host")
    async with await RecordLog.open(tmp_path / "log", clock=clock, dice=SeededDice(1)) as record_log:
        await recover_documents(record_log, building.house, resolve, EDGE)
        assert building.house.keeper.replica.document_version == 0
        await record_log.keep_document("stays", 7, signed)
        for _ in range(2):
            await recover_documents(record_log, building.house, resolve, EDGE)
    assert building.house.keeper.replica.document_version == 7
    assert building.house.keeper.replica.get(StayId("s-anna")) is not None
    await building.store.close()
