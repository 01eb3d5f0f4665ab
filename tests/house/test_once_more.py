"""Once more: a failure by chance is run again and named; one that stays, and many, fail the run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.house.sources import ROOT
from tests.once_more import FEW_MAX

CHANCE = """
from pathlib import Path
def test_by_chance():
    seen = Path(__file__).with_name("seen")
    first = not seen.exists()
    seen.touch()
    assert not first
"""
ALWAYS = "def test_always():\n    assert False\n"
GOOD = "def test_good():\n    pass\n"


OPTIONS = ("-q", "--rootdir", ".")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""Without the plugins, which take most of the time that these runs would."""


def _run(folder: Path, *sources: str, arguments: tuple[str, ...] = OPTIONS) -> subprocess.CompletedProcess[str]:
    for number, source in enumerate(sources):
        (folder / f"test_{number}.py").write_text(source, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "tests.once_more", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_what_fails_by_chance_is_run_once_more_and_named(tmp_path: Path) -> None:
    done = _run(tmp_path, GOOD, CHANCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "UNSTEADY, to be mended: test_1.py::test_by_chance" in done.stdout
    assert "1 passed" in done.stdout


def test_what_fails_twice_fails_the_run_and_hides_nothing_that_passed_at_last(tmp_path: Path) -> None:
    done = _run(tmp_path, ALWAYS, CHANCE)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED TWICE: test_0.py::test_always" in done.stdout
    assert "UNSTEADY, to be mended: test_1.py::test_by_chance" in done.stdout


@pytest.mark.parametrize("broken", ["import nothing_of_that_name\n", "def test_(:\n"])
def test_what_cannot_be_collected_is_not_chance(tmp_path: Path, broken: str) -> None:
    done = _run(tmp_path, GOOD, broken)
    assert done.returncode not in {0, 1}, done.stdout + done.stderr


def test_many_failures_are_never_chance(tmp_path: Path) -> None:
    done = _run(tmp_path, *[CHANCE.replace('"seen"', f'"seen{each}"') for each in range(FEW_MAX + 1)])
    assert done.returncode == 1, done.stdout + done.stderr
    assert "once more" not in done.stdout


BOTH = (*OPTIONS, "test_0.py", "+", *OPTIONS, "test_1.py")


def test_two_runs_beside_each_other_each_have_their_failures_run_again_and_both_are_shown(tmp_path: Path) -> None:
    done = _run(tmp_path, CHANCE, CHANCE.replace('"seen"', '"seen too"'), arguments=BOTH)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "UNSTEADY, to be mended: test_0.py::test_by_chance" in done.stdout
    assert "UNSTEADY, to be mended: test_1.py::test_by_chance" in done.stdout
    assert "beside it: " in done.stdout, done.stdout


@pytest.mark.parametrize("sources", [(ALWAYS, GOOD), (GOOD, ALWAYS)])
def test_whichever_of_two_runs_fails_fails_both(tmp_path: Path, sources: tuple[str, str]) -> None:
    done = _run(tmp_path, *sources, arguments=BOTH)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED TWICE" in done.stdout


def test_two_runs_really_are_beside_each_other(tmp_path: Path) -> None:
    waits = """
import time
from pathlib import Path
def test_the_other_is_there():
    Path(__file__).with_suffix(".here").touch()
    until = time.monotonic() + 60
    while len(list(Path(__file__).parent.glob("*.here"))) < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
"""
    done = _run(tmp_path, waits, waits, arguments=BOTH)
    assert done.returncode == 0, done.stdout + done.stderr


def test_who_is_told_to_end_ends_what_it_started(tmp_path: Path) -> None:
    endless = """
import os
import time
from pathlib import Path
def test_endless():
    Path(__file__).with_suffix(".pid").write_text(str(os.getpid()))
    time.sleep(90)
"""
    (tmp_path / "test_0.py").write_text(endless, encoding="utf-8")
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.once_more", *OPTIONS],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    told, until = tmp_path / "test_0.pid", time.monotonic() + 60
    while not told.exists() or not told.read_text():
        assert time.monotonic() < until
        time.sleep(0.02)
    inner = int(told.read_text())
    started.terminate()
    assert started.wait(timeout=60) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(inner, 0)
    assert not list((tmp_path / "build/once_more").iterdir())
