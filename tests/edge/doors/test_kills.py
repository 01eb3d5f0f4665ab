"""SIGKILL at random moments of issuing, ending and handing over: what was acknowledged holds, and nothing doubles."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("INNKEEPER_DOOR_KILLS", "20"))
"""More by hand: INNKEEPER_DOOR_KILLS=200."""


@pytest.mark.guarantee("G1", "G4", "G14")
def test_a_killed_doors_core_loses_nothing_acknowledged_and_doubles_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.edge.doors.dying", str(tmp_path), str(KILLS), "one"],
        capture_output=True,
        text=True,
        timeout=30 + KILLS,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{KILLS} kills")
