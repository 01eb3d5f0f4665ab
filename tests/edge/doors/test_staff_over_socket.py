"""Shift keys and emergency keys through the running process: settings, socket, client, lock."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edge.doors.main import Doors
from edge.doors.settings import DoorsSettings
from kit.settings import load
from protocols import cose
from protocols.device_model.identity import RoomId
from protocols.door.bundle import Bundle
from protocols.door.status import Status
from protocols.errors import InvalidInputError
from protocols.grant.keys import compressed, kid_of, private_key
from protocols.vectors.fixed import stream
from tests.edge.doors.building import Building
from tests.edge.doors.test_process import doors_running, write_files
from tests.edge.doors.test_staff_desk import opens

OFFICERS = [private_key(stream(f"officer {number}")) for number in range(2)]
POINTS = [compressed(key.public_key()).hex() for key in OFFICERS]
ROOM = RoomId("101")


def configured(folder: Path, officers: list[str]) -> Building:
    building = Building(folder / "locks")
    building.store.close()  # the process opens its own
    config = write_files(folder, building)
    config.write_text(f"officers = {officers}\n".replace("'", '"') + config.read_text())
    return building


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P11", "P12")
async def test_a_shift_key_and_an_emergency_key_open(tmp_path: Path) -> None:
    building = configured(tmp_path, POINTS)
    async with doors_running(tmp_path, building) as client:
        maid, fireman = building.phone("maid"), building.phone("fireman")
        now_ms = building.clock.wall_ms()
        maid.bundle = Bundle.from_document(
            await client.issue_staff("maria", [ROOM], maid.public, not_after_ms=now_ms + 3_600_000, shift=(127, 0, 0))
        )
        assert opens(maid, "door-101") is Status.OPENED
        building.locks["door-101"].privacy = True
        assert opens(maid, "door-101") is Status.PRIVACY_ON
        draft = await client.draft_emergency("anton", [ROOM], fireman.public, reason="smoke", over_privacy=True)
        assert draft["officers"] == [kid_of(key.public_key()).hex() for key in _in_order()]
        signed = [(kid_of(key.public_key()), cose.sign_raw(key, bytes.fromhex(draft["statement"]))) for key in OFFICERS]
        with pytest.raises(InvalidInputError, match="two"):
            await client.issue_emergency(draft["grant"], signed[:1])
        fireman.bundle = Bundle.from_document(await client.issue_emergency(draft["grant"], signed))
        assert opens(fireman, "door-101") is Status.OPENED
        with pytest.raises(InvalidInputError) as refused:
            await client.issue_staff("Maria Müller", [ROOM], maid.public, not_after_ms=now_ms + 3_600_000)
        assert refused.value.place == "person"


def _in_order() -> list[ec.EllipticCurvePrivateKey]:
    return sorted(OFFICERS, key=lambda key: compressed(key.public_key()))


@pytest.mark.parametrize("officers", [POINTS[:1], POINTS[:1] * 2, ["02" + "ff" * 32] * 2, ["xyz", POINTS[0]]])
def test_officers_that_cannot_be_end_the_start_by_name(tmp_path: Path, officers: list[str]) -> None:
    building = configured(tmp_path, officers)
    settings = load(DoorsSettings, tmp_path / "doors.toml", "DOORS", {})
    building.open()
    with pytest.raises(InvalidInputError, match="officers"):
        Doors(
            book=building.book,
            ca=building.ca,
            store=building.store,
            settings=settings,
            clock=building.clock,
            dice=building.dice,
        )
    building.store.close()
