"""A rehearsal throws away what a rehearsal made, and nothing else; two never share a folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from protocols.errors import InvalidInputError
from provisioning.rehearsal.state_folder import MARK, emptied, taken

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_folder_is_marked_and_emptied_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    emptied(run)
    (run / "logs").mkdir()
    (run / "logs" / "edge.log").write_text("x")
    (run / "link").symlink_to(tmp_path)
    emptied(run)
    assert [each.name for each in run.iterdir()] == [MARK]
    assert tmp_path.exists()
    assert run.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("what", ["file in it", "file", "symlink", "known names only"])
def test_what_no_rehearsal_made_is_refused_and_left_alone(tmp_path: Path, what: str) -> None:
    run = tmp_path / "run"
    precious = run / "thesis.tex"
    if what == "file in it":
        run.mkdir()
    elif what == "file":
        precious = run
    elif what == "symlink":
        elsewhere = tmp_path / "elsewhere"
        emptied(elsewhere)
        run.symlink_to(elsewhere)
    else:
        precious = run / "logs" / "mine.txt"
        precious.parent.mkdir(parents=True)
    precious.write_text("x")
    with pytest.raises(InvalidInputError, match="was not made by a rehearsal"):
        emptied(run)
    assert precious.read_text() == "x"


def test_a_run_folder_of_before_the_mark_is_taken_over(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("broker-cloud", "broker-site", "config", "doors", "edge", "locks", "logs", "postgres"):
        (run / name).mkdir(parents=True)
    (run / "config" / "site_plan.json").write_text("{}")
    emptied(run)
    assert [each.name for each in run.iterdir()] == [MARK]


def test_a_second_rehearsal_is_refused_by_name_until_the_first_ends(tmp_path: Path) -> None:
    refused = pytest.raises(InvalidInputError, match=rf"another rehearsal runs on it \(process {os.getpid()}\)")
    with taken(tmp_path / "state"), refused, taken(tmp_path / "state"):
        raise AssertionError("both were let in")
    with taken(tmp_path / "state"):
        pass


@pytest.mark.parametrize("state", ["/proc/innkeeper", "FILE/below"])
def test_a_state_folder_that_cannot_be_is_one_line(tmp_path: Path, state: str) -> None:
    (tmp_path / "file").write_text("")
    place = state.replace("FILE", str(tmp_path / "file"))
    outcome = _rehearse("--state", place)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith(f"innkeeper: {place}: cannot be used as a state folder: ")
    assert len(outcome.stderr.splitlines()) == 1


def test_the_command_refuses_a_precious_folder_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    outcome = _rehearse("--state", str(tmp_path))
    assert outcome.returncode == 2
    assert len(outcome.stderr.splitlines()) == 1
    assert "was not made by a rehearsal" in outcome.stderr
    assert (tmp_path / "run" / "thesis.tex").read_text() == "x"


def _rehearse(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "provisioning.cli", "rehearse", "aurora", "--once", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
