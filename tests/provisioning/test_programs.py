"""Programs are brought back when they die and ended when we leave."""

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.clock import SystemClock
from provisioning.rehearsal.programs import ProgramEndedError, Programs

STAYS = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]


async def _until(condition: Callable[[], bool], *, tries: int = 1_500) -> None:
    for _ in range(tries):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never became true")


@pytest.mark.guarantee("G11")
async def test_a_killed_program_comes_back_by_itself(tmp_path: Path) -> None:
    async with Programs(log_folder=tmp_path, clock=SystemClock(trust="host")) as programs:
        program = await programs.start("stays", STAYS, restart=True)
        first = programs.send("stays", signal.SIGKILL)
        await _until(lambda: program.pid not in (None, first))
        assert program.restarts == 1
        programs.check()
    assert program.pid is None


async def test_one_that_ended_for_good_is_named_with_its_last_words(tmp_path: Path) -> None:
    async with Programs(log_folder=tmp_path, clock=SystemClock(trust="host")) as programs:
        brief = await programs.start("brief", [sys.executable, "-c", "raise SystemExit('no port to listen on')"])
        assert brief.watcher is not None
        await _until(brief.watcher.done)
        with pytest.raises(ProgramEndedError, match=r"brief ended(.|\n)*no port to listen on"):
            programs.check()


async def test_leaving_ends_a_program_that_ignores_the_polite_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provisioning.rehearsal.programs.STOP_WAIT_S", 0.05)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    async with Programs(log_folder=tmp_path, clock=SystemClock(trust="host")) as programs:
        program = await programs.start("stubborn", [sys.executable, "-c", stubborn])
        await _until(lambda: "up" in program.log_path.read_text())
    assert program.process is not None
    assert program.process.returncode == -signal.SIGKILL


@pytest.mark.guarantee("G11")
async def test_one_without_power_stays_down_until_it_has_it_again(tmp_path: Path) -> None:
    async with Programs(log_folder=tmp_path, clock=SystemClock(trust="host")) as programs:
        program = await programs.start("stays", STAYS, restart=True)
        first = program.pid
        await programs.kill("stays")
        assert program.process is not None
        assert program.process.returncode == -signal.SIGKILL
        assert (program.pid, program.restarts) == (None, 0)
        programs.check()
        await programs.again("stays")
        assert program.pid not in (None, first)
        second = programs.send("stays", signal.SIGKILL)
        await _until(lambda: program.pid not in (None, second))  # and it is kept up as before
    assert program.pid is None
