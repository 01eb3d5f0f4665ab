"""Nothing that a rehearsal started outlives it, however it ends; and one that it cannot keep up is named."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.clock import SystemClock
from protocols.errors import LinkLostError
from provisioning.rehearsal import building
from provisioning.rehearsal.leash import leashed
from provisioning.rehearsal.programs import ProgramEndedError, Programs
from provisioning.rehearsal.restarts import FIRST_WAIT_S, LONGEST_WAIT_S, RESTARTS_MOST, WINDOW_MS, Restarts

ROOT = Path(__file__).resolve().parents[2]
PARENT = """
import asyncio, sys
from pathlib import Path
from kit.clock import SystemClock
from provisioning.rehearsal.programs import Programs

async def main():
    async with Programs(log_folder=Path(sys.argv[1]), clock=SystemClock(trust="host")) as programs:
        child = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
        await programs.start("child", [sys.executable, "-c", child], restart=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
POLITE = """
import asyncio, os, signal, sys
from contextlib import asynccontextmanager
from pathlib import Path
from provisioning.rehearsal import rehearsal

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have it ignored, as nohup does

class Up:
    console_address, folder = "here", "there"
    async def stay_up(self):
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.Event().wait()

@asynccontextmanager
async def raised(*_, **__):
    try:
        yield Up()
    finally:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.05)
        print("all ended")

rehearsal.raise_building = raised
inventory, state = Path("inventories/aurora.toml"), Path(sys.argv[1])
raise SystemExit(rehearsal.run_rehearsal(inventory, state, once=False, story=False, seed=1))
"""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never became true")


@pytest.mark.skipif(sys.platform != "linux", reason="the leash is Linux's")
def test_programs_end_with_a_rehearsal_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, tmp_path], cwd=ROOT)
    try:
        log = tmp_path / "child.log"
        _until(lambda: log.exists() and log.read_text().endswith("\n"))
        child = int(log.read_text())
        assert _alive(child)
    finally:
        parent.kill()
        parent.wait()
    _until(lambda: not _alive(child))


@pytest.mark.skipif(sys.platform != "linux", reason="the leash is Linux's")
def test_a_leashed_program_whose_parent_is_gone_does_not_begin(tmp_path: Path) -> None:
    argv = leashed([sys.executable, "-c", "print('ran')"])
    argv[argv.index(str(os.getpid()))] = "1"
    if os.getppid() != 1:
        outcome = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (outcome.returncode, outcome.stdout) == (1, "")
    assert subprocess.run(leashed(["echo", "a b"]), capture_output=True, text=True, check=True).stdout == "a b\n"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may become somebody else")
def test_a_leashed_program_runs_as_the_user_it_is_given() -> None:
    outcome = subprocess.run(leashed(["id", "-u"], user=65534), capture_output=True, text=True, cwd="/", check=False)
    assert (outcome.stdout, outcome.stderr) == ("65534\n", "")


def test_a_closed_terminal_ends_everything_and_says_so_only_once(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", POLITE, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert outcome.returncode == 130, outcome.stderr
    assert "all ended" in outcome.stdout


def test_restarts_count_within_a_window_and_slow_down() -> None:
    restarts = Restarts()
    waits = [restarts.next_wait_s(at_ms) for at_ms in range(RESTARTS_MOST)]
    assert waits[:3] == [FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S]
    assert waits[-1] == LONGEST_WAIT_S
    assert restarts.next_wait_s(RESTARTS_MOST) is None
    assert restarts.next_wait_s(WINDOW_MS) == LONGEST_WAIT_S  # the first is forgotten
    assert restarts.next_wait_s(3 * WINDOW_MS) == FIRST_WAIT_S  # and now all are
    patient = Restarts()
    assert all(patient.next_wait_s(at * 10_000) is not None for at in range(500))


async def test_a_program_that_cannot_be_kept_up_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provisioning.rehearsal.restarts.FIRST_WAIT_S", 0.0)
    monkeypatch.setattr("provisioning.rehearsal.restarts.RESTARTS_MOST", 2)
    async with Programs(log_folder=tmp_path, clock=SystemClock(trust="host")) as programs:
        program = await programs.start("cloud", [sys.executable, "-c", "raise SystemExit('no port')"], restart=True)
        assert program.watcher is not None
        await asyncio.wait_for(program.watcher, 30)
        assert program.restarts == 2
        with pytest.raises(ProgramEndedError, match=r"cloud ended(.|\n)*no port"):
            programs.check()


async def test_a_server_that_cannot_be_kept_up_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Down:
        pid: int | None = None
        starts = 0

        async def start(self) -> None:
            self.starts += 1
            raise LinkLostError("the disk is full")

    monkeypatch.setattr("provisioning.rehearsal.restarts.FIRST_WAIT_S", 0.0)
    monkeypatch.setattr("provisioning.rehearsal.restarts.RESTARTS_MOST", 3)
    monkeypatch.setattr("provisioning.rehearsal.building.POLL_S", 0.0)
    server = Down()
    with pytest.raises(ProgramEndedError, match="postgres cannot be kept up: the disk is full"):
        await building._keep("postgres", server, SystemClock(trust="host"))
    assert server.starts == 3
