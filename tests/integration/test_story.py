"""The whole hotel: the story of `make demo ONCE=1`, and its invariants after programs were killed at random."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STORY_WAIT_S = 480


@pytest.mark.tier("postgres")
@pytest.mark.tier("nats")
@pytest.mark.timeout(STORY_WAIT_S + 30)
@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G2")
@pytest.mark.guarantee("G3")
@pytest.mark.guarantee("G4")
@pytest.mark.guarantee("G11")
@pytest.mark.requirement("ACC-12")
@pytest.mark.requirement("ACC-14")
@pytest.mark.requirement("ACC-23")
@pytest.mark.requirement("PMS-11")
def test_the_story_holds_from_the_reservation_to_the_check_out(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "provisioning.cli", "rehearse", "aurora", "--once", "--state", tmp_path, "--seed", "11"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=STORY_WAIT_S,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["ok"] is True
    assert [step["number"] for step in report["steps"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all(claim["held"] for step in report["steps"] for claim in step["claims"])


def test_an_inventory_that_is_wrong_is_refused_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("format = 9\n")
    outcome = subprocess.run(
        [sys.executable, "-m", "provisioning.cli", "rehearse", broken, "--once", "--state", tmp_path / "state"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert outcome.returncode == 2
    assert outcome.stderr.strip().splitlines() == [
        f"innkeeper: {broken}: inventory format version 9 is not supported here; supported: 1"
    ]
    assert not (tmp_path / "state").exists()
