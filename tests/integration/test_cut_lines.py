"""The cut lines: every way into a room opens with the phones off line, the cloud away, the edge away, and all three."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from provisioning.rehearsal.cut_lines import CUTS
from tests.seeds import LONG

ROOT = Path(__file__).resolve().parents[2]
RUN_WAIT_S = 600
WAYS_IN = (
    "a phone that was never at this door",
    "the guest, back again,",
    "the guest at the common door",
    "the friend who shares the room",
    "the cleaner",
    "who comes",
    "the later key of the same room",
    "and the earlier one is replaced by that",
    "the doorman holds the common door open",
    "and it stays open",
    "a guest lets nothing go that staff hold",
    "the doorman lets it go",
    "a cleaner is kept out by the knob inside",
    "an emergency key of two officers, over privacy,",
    "the guest, at a lock whose batteries were changed",
    "the friend, at the same lock",
)


def rehearse(state: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "provisioning.cli", "rehearse", "aurora", "--once", "--cuts", *options]
    command += ["--state", str(state)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_WAIT_S, check=False)


@LONG
@pytest.mark.tier("postgres")
@pytest.mark.tier("nats")
@pytest.mark.timeout(RUN_WAIT_S + 30)
@pytest.mark.guarantee("G3", "G4", "G5", "G14")
@pytest.mark.requirement("P17")
def test_every_way_in_opens_whatever_is_cut(tmp_path: Path) -> None:
    outcome = rehearse(tmp_path, "--seed", "7")
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["ok"] is True
    steps = {step["name"]: [each["claim"] for each in step["claims"]] for step in report["steps"]}
    for name, _ in CUTS:
        assert [way for way in WAYS_IN if not any(claim.startswith(way) for claim in steps[name])] == [], name
        assert "a stranger with a stolen bundle is refused" in steps[name]


def test_a_drill_that_is_also_something_else_is_refused_in_one_line(tmp_path: Path) -> None:
    outcome = rehearse(tmp_path / "state", "--minutes", "1")
    assert outcome.returncode == 2
    assert outcome.stderr.strip().splitlines() == [
        "innkeeper: cuts: is a story of its own: leave --minutes, --arrivals and --no-story away"
    ]
    assert not (tmp_path / "state").exists()
