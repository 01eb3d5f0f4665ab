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
SMALL = Path(__file__).with_name("full_disk_small.py")
RESTART = Path(__file__).with_name("full_disk_restart.py")
KILLED = Path(__file__).with_name("full_disk_killed.py")
ROOT = Path(__file__).parents[3]


def in_a_small_volume(folder: Path, size: str, helper: Path = HELPER, *more: str) -> dict[str, Any]:
    """Run a helper on a tmpfs that only it can see; it goes with its namespace."""
    folder.mkdir()
    script = f'mount -t tmpfs -o size={size} none "$3" && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, str(helper), str(folder), *more]
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


@pytest.mark.guarantee("G1", "G9")
@pytest.mark.parametrize(("left", "c_goes_on"), [(400_000, False), (1_000_000, True), (5_000_000, True)])
def test_on_a_volume_that_was_full_before_what_is_left_is_lane_a_s(tmp_path: Path, left: int, c_goes_on: bool) -> None:
    seen = in_a_small_volume(tmp_path / "volume", "12m", SMALL, str(left))
    assert seen["left_after"] < 500_000, "the disk was never full"
    assert (seen["refused_a"], seen["dropped_a"], seen["declared_a"]) == (0, 0, 0)
    assert (seen["lost_A"], seen["lost_C"], seen["invented_A"], seen["invented_C"]) == (0, 0, 0, 0)
    assert (seen["refused_c"] == 0) == c_goes_on
    assert (seen["thinned"] > 0) == c_goes_on
    assert seen["failures"] == 0
    assert seen["ballast_after"]
    assert seen["thinned_with_room"] == 0


@LONG
@pytest.mark.guarantee("G1", "G9")
def test_a_log_that_begins_without_room_for_a_step_takes_smaller_ones(tmp_path: Path) -> None:
    seen = in_a_small_volume(tmp_path / "volume", "32m", RESTART, "300000")
    assert (seen["refused_a"], seen["chain"]) == (0, 1_000)
    assert seen["pages"] < seen["pages_before"]
    assert seen["lost_c"] == 0
    assert seen["ballast_after"]


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
