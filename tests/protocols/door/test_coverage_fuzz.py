"""The fuzzer's targets, on what honest parties say; and a short run of it where atheris is installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.protocols.door.coverage_fuzz import TARGETS, main, one_input, seeds
from tests.seeds import LONG

ROOT = Path(__file__).resolve().parents[3]
SEEDS = seeds()


def test_every_target_has_something_to_begin_with() -> None:
    assert {data[0] for data in SEEDS.values()} == set(range(len(TARGETS)))


@pytest.mark.requirement("P19")
@pytest.mark.parametrize("name", SEEDS)
def test_what_honest_parties_say_is_borne_whole_and_cut_short(name: str) -> None:
    data = SEEDS[name]
    for size in {len(data), len(data) - 1, len(data) // 2, 1, 0}:
        one_input(data[:size])
    one_input(data + b"\x00")


def test_without_atheris_or_a_folder_it_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coverage_fuzz"]) == 2
    assert "atheris" in capsys.readouterr().err


@LONG
@pytest.mark.guarantee("G5", "G19")
@pytest.mark.requirement("P19")
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.protocols.door.coverage_fuzz", str(tmp_path / "corpus"), "-runs=20000"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4_000:]
