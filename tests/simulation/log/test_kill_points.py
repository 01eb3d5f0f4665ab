"""Killed at every operation on the disk in turn: salvage, opening, appending, thinning, signing, closing.

INNKEEPER_LOG_KILL_EVERY=1 kills at each one (a nightly run); make check at every seventh.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.seeds import THOROUGH

HELPER = Path(__file__).with_name("kill_points.py")
ROOT = Path(__file__).parents[3]
EVERY = int(os.environ.get("INNKEEPER_LOG_KILL_EVERY", "11" if THOROUGH else "29"))


@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G11")
@pytest.mark.timeout(600)
def test_killed_at_any_operation_nothing_acknowledged_is_lost_and_it_opens_again() -> None:
    shared = Path("/dev/shm")  # a kill spares the cache of the system: what is synced does not matter here
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None, prefix="ik-kill-") as folder:
        result = run(folder)
    assert result["wrong"] == []
    assert result["points"] >= 200 // EVERY


def run(folder: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(HELPER), folder, str(EVERY), "1"], capture_output=True, text=True, check=False,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
