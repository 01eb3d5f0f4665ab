"""The ids that tests name: all there, in form, and a wrong one fails the run by name."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.coverage_map import table, without
from tests.house.sources import ROOT
from tests.ids import read_ids

LINE_MOST = 100


def test_the_list_holds_every_family_whole() -> None:
    ids = read_ids()
    assert list(ids.guarantees) == [f"G{number}" for number in range(1, 21)]
    door = [*(f"P{number}" for number in range(1, 23)), *(f"A{number}" for number in range(1, 17))]
    assert set(door) <= set(ids.requirements)
    features = [each for each in ids.requirements if re.fullmatch(r"[A-Z]{2,3}-\d\d", each)]
    assert len(features) == 460
    assert len(features) + len(door) == len(ids.requirements)


def test_every_line_is_one_short_line() -> None:
    ids = read_ids()
    assert [each for each, line in (ids.guarantees | ids.requirements).items() if not 3 < len(line) <= LINE_MOST] == []


def test_an_id_in_two_places_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ids.toml"
    path.write_text('[guarantees]\n[door]\nP1 = "one"\n[requirements.P]\nP1 = "two"\n')
    with pytest.raises(ValueError, match=r"ids\.toml: P1: named twice"):
        read_ids(path)


def _run(tmp_path: Path, source: str, *more: str) -> subprocess.CompletedProcess[str]:
    test = tmp_path / "test_planted.py"
    test.write_text(f"import pytest\n{source}")
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-p", "tests.conftest"]
    return subprocess.run(
        [*command, "--rootdir", str(tmp_path), *more, str(test)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_unknown_ids_and_tiers_fail_the_run_each_by_name(tmp_path: Path) -> None:
    marks = [
        'guarantee("G99")',
        'guarantee("ACC-02")',
        'requirement("ACC-99")',
        'requirement("ACC-02", "G1")',
        'tier("kafka")',
    ]
    tests = [f"@pytest.mark.{mark}\ndef test_{number}() -> None:\n    pass\n" for number, mark in enumerate(marks)]
    ended = _run(tmp_path, "".join(tests))
    assert ended.returncode != 0
    assert [line.partition(": @pytest.mark.")[2] for line in ended.stderr.splitlines() if "not in docs" in line] == [
        "guarantee('G99') is not in docs/ids.toml",
        "guarantee('ACC-02') is not in docs/ids.toml",
        "requirement('ACC-99') is not in docs/ids.toml",
        "requirement('G1') is not in docs/ids.toml",
    ]
    assert "test_4: tier 'kafka' is none of postgres, nats, mosquitto, chromium" in ended.stderr


def test_known_ids_pass(tmp_path: Path) -> None:
    source = '@pytest.mark.guarantee("G1")\n@pytest.mark.requirement("ACC-02", "P5")\ndef test_x() -> None:\n    pass\n'
    assert _run(tmp_path, source).returncode == 0


def test_an_absent_tier_is_skipped_with_one_closing_line(tmp_path: Path) -> None:
    source = (
        "import tests.conftest\n"
        'tests.conftest.TIERS["nats"] = (lambda: False, "planted absence")\n'
        '@pytest.mark.tier("nats")\n@pytest.mark.parametrize("n", range(3))\n'
        "def test_x(n: int) -> None:\n    raise ValueError\n"
    )
    ended = _run(tmp_path, source)
    assert ended.returncode == 0, ended.stdout
    assert [line for line in ended.stdout.splitlines() if "tier" in line] == [
        "tier nats: 3 tests not run: planted absence"
    ]


def test_the_map_shows_who_holds_what_and_what_nobody_holds() -> None:
    ids = {"G1": "first", "G2": "second", "ACC-01": "third", "ACC-02": "fourth"}
    tests = {"G1": ["tests/b.py::test_b", "tests/a.py::test_a"]}
    shown = table("All", ids, tests, all_rows=True)
    assert "| G1 | first | `tests/a.py::test_a`<br>`tests/b.py::test_b` |" in shown
    assert "| G2 | second | none |" in shown
    assert "G2" not in table("Held", ids, tests, all_rows=False)
    assert without(ids, tests) == "- G: 2\n- ACC: 01 02"
    assert without({}, {}) == "- none"
