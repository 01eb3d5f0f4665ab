"""The ids that tests may name, from docs/ids.toml: guarantees (G1), requirements (ACC-02), door rules (P5, A1)."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

IDS_PATH: Final = Path(__file__).parent.parent / "docs" / "ids.toml"


@dataclass(frozen=True, slots=True)
class Ids:
    """id -> its one line, in the order of the file."""

    guarantees: dict[str, str]
    requirements: dict[str, str]  # the door's rules included

    def of_marker(self, marker: str) -> dict[str, str]:
        """Return the ids that a marker of this name may carry."""
        return self.guarantees if marker == "guarantee" else self.requirements


def read_ids(path: Path = IDS_PATH) -> Ids:
    """Read docs/ids.toml. Raises ValueError for an id that occurs in two places."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    requirements: dict[str, str] = {}
    for table in (*tables["requirements"].values(), tables["door"]):
        if twice := requirements.keys() & table.keys():
            raise ValueError(f"{path.name}: {', '.join(sorted(twice))}: named twice")
        requirements |= table
    return Ids(guarantees=tables["guarantees"], requirements=requirements)


def named_by(item: pytest.Item, marker: str) -> list[str]:
    """Return the ids that a test names with `@pytest.mark.<marker>(...)`, nearest mark first."""
    return [str(each) for mark in item.iter_markers(marker) for each in mark.args]


def unknown(items: Iterable[pytest.Item], ids: Ids) -> list[str]:
    """Return one line for each id that is not in the file: the id, its marker and the test."""
    lines = [
        f"{item.nodeid}: @pytest.mark.{marker}({each!r}) is not in docs/ids.toml"
        for item in items
        for marker in ("guarantee", "requirement")
        for each in named_by(item, marker)
        if each not in ids.of_marker(marker)
    ]
    return sorted(lines)
