"""Locked requirements: exact versions, every one with hashes, no address of any index, in step with pyproject."""

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.house.sources import ROOT

LOCKS: Final = sorted((ROOT / "requirements").glob("*.txt"))
PINNED: Final = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._-]*)(?:\[[a-z0-9,._-]+\])?==(?P<version>[^\s;\\]+)")
HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}(?:\s|$)")


def _entries(path: Path) -> list[str]:
    """Return each requirement with its continuation lines joined; comments left out."""
    text = re.sub(r"(?m)^\s*#.*$\n?", "", path.read_text(encoding="utf-8"))
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def _names(path: Path) -> set[str]:
    return {found["name"] for entry in _entries(path) if (found := PINNED.match(entry))}


def test_there_are_locks_for_the_edge_the_cloud_and_developers() -> None:
    assert {"edge.txt", "cloud.txt", "dev.txt"} <= {path.name for path in LOCKS}


@pytest.mark.guarantee("G20")
@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_requirement_is_pinned_and_hashed(path: Path) -> None:
    loose = [entry[:80] for entry in _entries(path) if not PINNED.match(entry) or not HASH.search(entry)]
    assert loose == []


@pytest.mark.guarantee("G20")
@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_no_lock_holds_an_address(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "://" in line or line.startswith("-")]
    assert lines == []


@pytest.mark.parametrize("extra", ["edge", "cloud", "dev"])
def test_every_direct_dependency_is_in_its_lock(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {
        re.split(r"[\[<>=!~; ]", each, maxsplit=1)[0].lower().replace("_", "-")
        for each in (*project["dependencies"], *project["optional-dependencies"][extra])
    } - {project["name"]}
    assert sorted(wanted - _names(ROOT / "requirements" / f"{extra}.txt")) == []
