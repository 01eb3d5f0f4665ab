"""A check that is silenced on a line says why on that line."""

import io
import re
import tokenize
from typing import Final

import pytest

from tests.house.sources import ROOMS, place, python_files

# Put together from parts, so that this file silences nothing itself.
SILENCES: Final = re.compile(
    "# " + r"noqa\b|" + "# type: " + r"ignore\b|" + "# pragma: " + r"no cover\b|pylint: " + r"disable\b|# nosec\b"
)
REASONED: Final = re.compile(
    r"# (?:noqa: [A-Z]+\d+(?:, ?[A-Z]+\d+)* -|type: ignore\[[a-z-]+(?:, ?[a-z-]+)*\]  #|pragma: no cover -) \w"
)


def silent(source: str) -> list[int]:
    """Return the numbers of the lines of `source` that silence a check without naming it and saying why."""
    if SILENCES.search(source) is None:  # nothing to look at closely
        return []
    return [
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and SILENCES.search(token.string) and not REASONED.search(token.string)
    ]


def test_every_silenced_check_has_its_reason_beside_it() -> None:
    found = [
        f"{place(path)}:{line}"
        for path in python_files(*ROOMS, "tests", "bench")
        for line in silent(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("rest", ["noqa", "noqa: S608", "type: ignore", "type: ignore[misc]", "noqa: S608 -"])
def test_a_bare_silence_is_found(rest: str) -> None:
    assert silent(f"x = 1\ny = 2  # {rest}\n") == [2]


@pytest.mark.parametrize("rest", ["noqa: S608 - bound", "type: ignore[misc]  # untyped", "noqa: S1, S2 - bound"])
def test_a_silence_with_its_reason_is_not_found(rest: str) -> None:
    assert silent(f"y = 2  # {rest}\n") == []
