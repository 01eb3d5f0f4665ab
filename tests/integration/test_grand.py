"""A part of the grand hotel, lived for a minute: what Innkeeper believed is what was so."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN_WAIT_S = 480


@pytest.mark.tier("postgres")
@pytest.mark.tier("nats")
@pytest.mark.timeout(RUN_WAIT_S + 30)
@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G2")
@pytest.mark.guarantee("G9")
@pytest.mark.guarantee("G11")
@pytest.mark.guarantee("G17")
def test_guests_weather_and_faults_leave_nothing_lost_doubled_or_invented(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [
            *(sys.executable, "-m", "provisioning.cli", "rehearse", "grand", "--once"),
            *("--rooms", "20", "--minutes", "1", "--seed", "3", "--state", tmp_path),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_WAIT_S,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
    report = json.loads((tmp_path / "report.json").read_text())
    verdicts = report["figures"]["verdicts"]
    assert verdicts["door log"]["judged"] >= 6
    assert verdicts["door contacts"]["judged"] >= 12
    assert verdicts["alerts"]["right"] >= 1
    for name in ("lost", "doubled", "invented", "wrong"):
        assert {what: each[name] for what, each in verdicts.items()} == dict.fromkeys(verdicts, 0), name
