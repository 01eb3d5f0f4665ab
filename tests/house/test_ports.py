"""Clocks, dice, sleep and catch-alls belong to the rim: everything else is handed a port."""

import functools
from typing import Final

import pytest

from tests.house.sources import ROOMS, ROOT, Finding, findings, place, python_files

ALLOWED: Final[dict[tuple[str, str], str]] = {
    ("kit/clock.py", "clock"): "the Clock port's implementation",
    ("kit/dice.py", "dice"): "the Dice port's implementation",
    ("kit/supervision.py", "catch-all"): "logs, counts and restarts whatever a task raised",
    ("edge/log/lane_writer.py", "catch-all"): "fails whoever waits for what a defect met; the lane's thread goes on",
    ("firmware_bridges/ble_radio/radio.py", "catch-all"): "as bumble's own: a listener's defect ends no stream",
    ("kit/simulation/loop.py", "catch-all"): "hands what a function raised to its caller, as an executor does",
    ("provisioning/rehearsal/report.py", "catch-all"): "names the step that any fault spoiled, also its own",
    ("provisioning/rehearsal/rehearsal.py", "catch-all"): "last resort: one line, a report, the trace logged",
}
"""(file, kind of finding) -> why. The one place: a line here is a decision, and shows in review."""


@functools.cache
def _all_findings() -> list[tuple[str, Finding]]:
    return [(place(path), each) for path in python_files(*ROOMS) for each in findings(path.read_text(encoding="utf-8"))]


@pytest.mark.guarantee("G10")
def test_only_the_rim_reads_clocks_draws_dice_sleeps_or_catches_all() -> None:
    wrong = [
        f"{file}:{each.line}: {each.kind}: {each.what}"
        for file, each in _all_findings()
        if (file, each.kind) not in ALLOWED
    ]
    assert not wrong, "take a Clock or Dice; catch the narrowest class:\n" + "\n".join(wrong)


def test_no_exemption_outlives_its_reason() -> None:
    used = {(file, each.kind) for file, each in _all_findings()}
    assert sorted(ALLOWED.keys() - used) == []


def test_the_exempt_files_exist() -> None:
    assert all((ROOT / file).is_file() for file, _ in ALLOWED)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("import time\nx = time.time()", "clock"),
        ("import time as t\nx = t.monotonic", "clock"),
        ("from time import monotonic_ns as now\nnow()", "clock"),
        ("import datetime\ndatetime.datetime.now(datetime.UTC)", "clock"),
        ("from datetime import datetime\ndatetime.utcnow()", "clock"),
        ("from datetime import date\ndate.today()", "clock"),
        ("def f():\n    import time\n    return time.perf_counter()", "clock"),
        ("import time\ntime.sleep(1)", "sleep"),
        ("from time import sleep\nsleep(1)", "sleep"),
        ("import random\nrandom.choice([1])", "dice"),
        ("import secrets\nsecrets.token_bytes(1)", "dice"),
        ("import os\nos.urandom(1)", "dice"),
        ("from uuid import uuid4\nuuid4()", "dice"),
        ("try:\n    f()\nexcept:\n    pass", "catch-all"),
        ("try:\n    f()\nexcept Exception:\n    pass", "catch-all"),
        ("try:\n    f()\nexcept (ValueError, BaseException) as e:\n    print(e)", "catch-all"),
        ("try:\n    f()\nexcept Exception as e:\n    raise ValueError from e", "catch-all"),
        ("from contextlib import suppress\nwith suppress(Exception):\n    f()", "catch-all"),
        ("import contextlib as c\nwith c.suppress(Exception):\n    f()", "catch-all"),
    ],
)
def test_a_planted_breach_is_found(source: str, kind: str) -> None:
    assert [each.kind for each in findings(source)] == [kind]


@pytest.mark.parametrize(
    "source",
    [
        "import secrets\nsecrets.compare_digest(b'', b'')",
        "secrets = {}\nsecrets.items()",
        "from datetime import datetime, UTC\ndatetime.fromtimestamp(0, UTC)",
        "import asyncio\nasyncio.sleep(1)",
        "try:\n    f()\nexcept BaseException:\n    close()\n    raise",
        "try:\n    f()\nexcept ValueError:\n    pass",
        "class A:\n    def time(self): ...\nA().time()",
    ],
)
def test_what_is_allowed_is_not_found(source: str) -> None:
    assert findings(source) == []
