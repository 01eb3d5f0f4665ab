"""A teardown that never ends costs its own process, and the others go on."""

import os
import subprocess
import sys
from pathlib import Path

from tests.house.sources import ROOT

HANGS = """
import threading
import pytest

@pytest.fixture
def never_ends():
    yield
    threading.Event().wait()

def test_fails_and_hangs(never_ends):
    assert False
"""
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_hangs.py").write_text(HANGS, encoding="utf-8")
    (folder / "test_good.py").write_text("def test_good():\n    pass\n", encoding="utf-8")
    bound = ("-p", "tests.hanging_ends", "-o", "teardown_timeout=1")
    command = [sys.executable, "-m", "pytest", "--rootdir", ".", *bound, *arguments]
    return subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=100
    )


def test_among_workers_it_is_named_and_the_others_are_played(tmp_path: Path) -> None:
    done = _run(tmp_path, "-p", "xdist.plugin", "-n", "2")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "test_hangs.py::test_fails_and_hangs" in done.stdout
    assert "1 passed" in done.stdout


def test_alone_it_ends_the_run_and_tells_where_it_hung(tmp_path: Path) -> None:
    done = _run(tmp_path, "test_hangs.py")
    assert done.returncode != 0
    assert "never_ends" in done.stderr, done.stdout + done.stderr
