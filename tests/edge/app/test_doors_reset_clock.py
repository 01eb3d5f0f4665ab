"""`innkeeper-edge doors-reset-clock`: done, refused, not reached, misconfigured."""

import asyncio
import json
from pathlib import Path

import pytest

from edge.app import doors_reset_clock
from edge.app.main import main
from edge.doors.errors import ClockUnsoundError
from protocols.device_model.identity import RoomId, StayId
from tests.edge.doors.building import Building
from tests.edge.doors.test_process import UNTIL_MS, doors_running, write_files

YEARS_MS = 10 * 365 * 86_400_000


@pytest.fixture
def building(tmp_path: Path) -> Building:
    made = Building(tmp_path / "locks")
    made.store.close()  # the process opens its own
    write_files(tmp_path, made)
    return made


@pytest.mark.guarantee("G3")
async def test_the_running_doors_sign_again(
    tmp_path: Path, building: Building, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "doors.toml"
    async with doors_running(tmp_path, building) as client:

        async def issue(stay: str, until_ms: int) -> None:
            now_ms, phone = building.clock.wall_ms(), bytes.fromhex(building.some_point())
            await client.issue(StayId(stay), RoomId("101"), phone, not_before_ms=now_ms, not_after_ms=until_ms)

        refused = await asyncio.to_thread(doors_reset_clock.main, config, {}, by="Ida", reason="too early")
        assert refused == 1
        assert "nothing to undo" in capsys.readouterr().err
        building.clock.step_wall(YEARS_MS)
        await issue("stay-1", UNTIL_MS + YEARS_MS)
        building.clock.step_wall(-YEARS_MS)
        with pytest.raises(ClockUnsoundError):
            await issue("stay-2", UNTIL_MS)
        capsys.readouterr()
        assert await asyncio.to_thread(doors_reset_clock.main, config, {}, by="Ida", reason="dead cell") == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["stays"] == 1
        await issue("stay-2", UNTIL_MS)
        async for event in client.events(0):
            assert event.body["event"] == "clock_reset"
            assert event.body["reason"] == "Ida: dead cell"
            break


@pytest.mark.usefixtures("building")
def test_doors_that_do_not_run_and_a_wrong_file_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ["--by", "Ida", "--reason", "dead cell"]
    assert main(["doors-reset-clock", "--config", str(tmp_path / "doors.toml"), *said]) == 1
    assert "not reached" in capsys.readouterr().err
    assert main(["doors-reset-clock", "--config", str(tmp_path / "none.toml"), *said]) == 2
    with pytest.raises(SystemExit):
        main(["doors-reset-clock", "--config", str(tmp_path / "doors.toml"), "--by", "Ida"])
