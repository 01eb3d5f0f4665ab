"""`innkeeper-edge doors-take-away`: every order by the running doors, refused, not reached, misconfigured."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from edge.app.main import main
from protocols.device_model.identity import RoomId, StayId
from tests.edge.doors.building import Building
from tests.edge.doors.test_process import UNTIL_MS, doors_running, write_files

WHO = ["--by", "Ida", "--reason", "phone lost"]


@pytest.fixture
def building(tmp_path: Path) -> Building:
    made = Building(tmp_path / "locks")
    made.store.close()  # the process opens its own
    write_files(tmp_path, made)
    return made


@pytest.mark.guarantee("G4")
async def test_a_clerk_takes_away_and_sees_what_is_not_confirmed(
    tmp_path: Path, building: Building, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--config", str(tmp_path / "doors.toml")]

    async def said(order: str, *arguments: str, status: int = 0) -> dict[str, Any]:
        assert await asyncio.to_thread(main, ["doors-take-away", order, *where, *arguments]) == status
        captured = capsys.readouterr()
        done: dict[str, Any] = json.loads(captured.out.splitlines()[-1]) if status == 0 else {"error": captured.err}
        return done

    async with doors_running(tmp_path, building) as client:
        phone = building.some_point()
        await client.issue(
            StayId("stay-1"), RoomId("101"), bytes.fromhex(phone), not_before_ms=0, not_after_ms=UNTIL_MS
        )
        assert "no key" in (await said("key", "--stay", "stay-2", *WHO, status=1))["error"]
        assert "hexadecimal" in (await said("key", "--stay", "stay-1", "--phone", "xy", *WHO, status=1))["error"]
        told = await said("key", "--stay", "stay-1", "--phone", phone, *WHO)
        assert len(told["grants"]) == 1
        assert await said("seal", "--room", "101", *WHO) == {"doors": ["door-101"]}
        shown = await said("status")
        [door] = [each for each in shown["doors"] if each["door"] == "door-101"]
        assert (door["confirmed"], door["sealed"], door["sealed_confirmed"]) == (False, True, False)
        assert await said("lift", "--room", "101", *WHO) == {"doors": ["door-101"]}
        assert await said("inhibit", "--room", "101", *WHO) == {"doors": ["door-101"]}
        assert "no door" in (await said("inhibit", "--room", "999", *WHO, status=1))["error"]
        gone = await said("issuer", "--class", "guest", *WHO)
        assert [kid for kid, _ in gone["issuers"]] == [gone["kid"]]


@pytest.mark.usefixtures("building")
def test_doors_that_do_not_run_and_orders_that_name_nothing(tmp_path: Path) -> None:
    where = ["--config", str(tmp_path / "doors.toml")]
    assert main(["doors-take-away", "status", *where]) == 1
    assert main(["doors-take-away", "status", "--config", str(tmp_path / "none.toml")]) == 2
    for order in (
        ["key", *WHO],
        ["issuer", *WHO],
        ["seal", "--room", "101"],
        ["key", "--stay", "a", "--grant", "b", *WHO],
    ):
        with pytest.raises(SystemExit):
            main(["doors-take-away", order[0], *where, *order[1:]])
