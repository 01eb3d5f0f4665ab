"""A short day with few arrivals: one of each fate, the line cut, and every side says the same in the evening."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN_WAIT_S = 480


def rehearse(state: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "provisioning.cli", "rehearse", "day", "--once", "--state", str(state), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_WAIT_S, check=False)


@pytest.mark.tier("postgres")
@pytest.mark.tier("nats")
@pytest.mark.timeout(RUN_WAIT_S + 30)
@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G2")
@pytest.mark.guarantee("G3")
@pytest.mark.guarantee("G4")
@pytest.mark.guarantee("G17")
@pytest.mark.requirement("PMS-11")
@pytest.mark.requirement("PAY-01")
def test_a_day_with_the_line_cut_ends_with_every_side_saying_the_same(tmp_path: Path) -> None:
    outcome = rehearse(tmp_path, "--arrivals", "18", "--rooms", "26", "--minutes", "1", "--seed", "5")
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["ok"] is True
    assert [step["number"] for step in report["steps"]] == [1, 2, 3, 4]
    lived, money = report["figures"]["lived"], report["figures"]["money"]
    assert lived["checked_in"] == 17
    assert lived["let_in_while_cut"] >= 3
    assert lived["pms_changes_while_cut"] == 7
    shown = {kind for kinds in report["figures"]["conflicts_shown"].values() for kind in kinds}
    assert shown == {"double_sale", "other_room", "ended_in_pms"}
    assert money["held"] == money["captured"] + money["released"] + money["still_held"] > 0


@pytest.mark.parametrize(
    ("options", "named"),
    [(("--arrivals", "5"), "arrivals"), (("--rooms", "12"), "rooms"), (("--minutes", "0.1"), "minutes")],
)
def test_a_day_that_cannot_be_lived_is_refused_in_one_line(
    tmp_path: Path, options: tuple[str, ...], named: str
) -> None:
    outcome = rehearse(tmp_path / "state", *options)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith(f"innkeeper: {named}")
    assert len(outcome.stderr.strip().splitlines()) == 1
