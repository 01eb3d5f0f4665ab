"""`innkeeper-edge doors-status`, which the node's health check asks: ready, not ready, not there, misconfigured."""

import asyncio
import json
from pathlib import Path

import pytest

from edge.app import doors_status
from tests.edge.doors.building import Building
from tests.edge.doors.test_process import doors_running, write_files


@pytest.fixture
def building(tmp_path: Path) -> Building:
    made = Building(tmp_path / "locks")
    made.store.close()  # the process opens its own
    write_files(tmp_path, made)
    return made


async def test_running_doors_tell_how_they_are(
    tmp_path: Path, building: Building, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "doors.toml"
    async with doors_running(tmp_path, building) as client:
        async with asyncio.timeout(10):
            while not (await client.status())["ready"]:
                await asyncio.sleep(0.005)
        capsys.readouterr()
        assert await asyncio.to_thread(doors_status.main, config, {}) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["ready"] is True
        assert {each["door"] for each in told["doors"]} == {each.id for each in building.plan.doors}


@pytest.mark.usefixtures("building")
def test_doors_that_are_not_there_are_not_ready_and_said_to_be_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doors_status.main(tmp_path / "doors.toml", {}) == doors_status.NOT_READY
    assert f"doors process not reached at {tmp_path / 'doors.sock'}" in capsys.readouterr().err


async def test_doors_that_say_nothing_are_not_ready_in_time(
    tmp_path: Path, building: Building, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors_status, "ANSWER_WAIT_S", 0.02)
    held = asyncio.Event()

    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        writer.close()

    server = await asyncio.start_unix_server(mute, tmp_path / "doors.sock")
    assert await asyncio.to_thread(doors_status.main, tmp_path / "doors.toml", {}) == doors_status.NOT_READY
    held.set()
    server.close()
    assert "no answer in 0.02 s" in capsys.readouterr().err


@pytest.mark.guarantee("G19")
def test_a_wrong_configuration_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "doors.toml"
    config.write_text("socket_path = 5\n")
    assert doors_status.main(config, {}) == doors_status.WRONG_CONFIGURATION
    assert str(config) in capsys.readouterr().err
