"""A volume that is really full: lane A goes on, lane C gives way, nothing acknowledged is lost, all recovers alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge.log.ballast import Ballast
from tests.seeds import LONG

HELPER = Path(__file__).with_name("full_disk.py")
KILLED = Path(__file__).with_name("full_disk_killed.py")
ROOT = Path(__file__).parents[3]


def in_a_small_volume(folder: Path, size: str, helper: Path = HELPER) -> dict[str, Any]:
    """Run a helper on a tmpfs that only it can see; it goes with its namespace."""
    folder.mkdir()
    script = f'mount -t tmpfs -o size={size} none "$1" && exec "$2" "$3" "$1"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(folder), sys.executable, str(helper)]
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


@LONG
@pytest.mark.guarantee("G1", "G9", "G11")
def test_killed_again_and_again_on_a_disk_that_it_filled_itself_it_goes_on(tmp_path: Path) -> None:
    """What was let go of is not there at the next start: it must not fill what is left, with nothing to let go of."""
    seen = in_a_small_volume(tmp_path / "volume", "48m", KILLED)
    for life in seen["lives"]:
        assert all(life["late"].values()), seen
    assert seen["chain"] >= seen["lives"][-1]["last_a"] > 0
    assert seen["dropped"]["A"] == 0 < seen["dropped"]["B"]


@pytest.mark.guarantee("G9")
def test_a_start_without_room_for_the_ballast_counts_it_as_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [3_000]
    real = os.statvfs

    def volume(path: str | Path) -> os.statvfs_result:
        return os.statvfs_result((*real(path)[:1], 4_096, 10_000, free[0], free[0], *real(path)[5:10]))

    monkeypatch.setattr(os, "statvfs", volume)
    ballast = Ballast(tmp_path, size=64 * 1024 * 1024)
    assert (ballast.restore(), ballast.out) == (False, True)
    free[0] = 3_200
    assert (ballast.restore(), ballast.out) == (True, False)
    assert (tmp_path / "ballast").stat().st_size == 10_000 * 4_096 // 4  # never more than a quarter of the volume
    assert (ballast.release(), ballast.out) == (True, True)
