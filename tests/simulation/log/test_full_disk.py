"""A volume that is really full: lane A goes on, lane C gives way, nothing acknowledged is lost, all recovers alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HELPER = Path(__file__).with_name("full_disk.py")
ROOT = Path(__file__).parents[3]


def in_a_small_volume(folder: Path, size: str) -> dict[str, Any]:
    """Run the helper on a tmpfs that only it can see; it goes with its namespace."""
    folder.mkdir()
    script = f'mount -t tmpfs -o size={size} none "$1" && exec "$2" "$3" "$1"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(folder), sys.executable, str(HELPER)]
    try:
        probe = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is not installed: no private volume can be filled")
    if probe.returncode or os.geteuid():
        pytest.skip("a private mount namespace is not allowed here: no volume can be filled")
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:] + done.stdout[-2_000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G9")
def test_on_a_full_disk_lane_a_goes_on_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    seen = in_a_small_volume(tmp_path / "volume", "24m")
    assert seen["refused_a"] == 0
    assert not seen["ballast"], "the disk was never full"
    assert seen["ballast_after"]
    assert (seen["lost_A"], seen["lost_C"]) == (0, 0)
    assert seen["declared_A"] == 0
    assert seen["dense_A"]
    assert seen["dense_C"]
    assert seen["chain"]
    assert seen["failures"] == {"A": 0, "B": 0, "C": 0}
    assert "lane-a.db" in seen["read_only"]
    assert seen["after_read_only"]
    assert {"disk_full", "disk_has_room"} <= set(seen["said"])
