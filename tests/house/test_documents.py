"""What every file owes its reader: a docstring for each module, and nothing that only one machine has."""

import ast
import io
import re
import tokenize
from typing import Final

import pytest

from tests.house.sources import ROOMS, place, python_files, syntax, text_files

# Put together from parts, so that this file does not hold what it forbids.
MACHINE_PATHS: Final = re.compile(
    r"(?<![\w.$}~-])/(?:" + "|".join(("wo" + "rk/", "ro" + "ot/", "ho" + "me/", "Use" + "rs/")) + ")"
)
INDEX_HOSTS: Final = re.compile(
    "|".join(
        (
            r"(?:files\.)?pytho" + r"nhosted\.org",
            r"pypi\.o" + "rg",
            r"registry\.np" + r"mjs\.org",
            r"registry\.ya" + r"rnpkg\.com",
            r"(?:index|extra-index)-u" + "rl",
            r"proxy\.gol" + r"ang\.org",
        )
    )
)
PATHS_ALLOWED: Final[dict[str, str]] = {}
"""file -> why it may name an absolute path of that kind."""
HOSTS_ALLOWED: Final[dict[str, str]] = {
    "Makefile": "tells uv not to emit an index so that the lock holds none",
}
"""file -> why it may name a package index or its options."""


def test_every_package_and_module_says_what_it_answers_for() -> None:
    silent = [place(path) for path in python_files(*ROOMS) if not _docstring(path.read_text(encoding="utf-8")).strip()]
    assert silent == []


def _docstring(source: str) -> str:
    """Return a module's docstring from its first statement: the rest need not be understood."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.STRING:
            return ast.get_docstring(syntax(token.string)) or ""  # bytes and f-strings say nothing
        if token.type not in {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING}:
            return ""
    return ""


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('"""Says it."""\nx = 1\n', "Says it."),
        ('# a comment\n\n"Says it."\n', "Says it."),
        ('x = 1\n"""late"""\n', ""),
        ("", ""),
        ("import a\n", ""),
        ('f"{x}"\n', ""),
    ],
)
def test_a_docstring_is_the_first_thing_said(source: str, said: str) -> None:
    assert _docstring(source) == said == (ast.get_docstring(syntax(source)) or "")


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in python_files(*ROOMS)}
    assert sorted(place(each) for each in folders if not (each / "__init__.py").is_file()) == []


def _lines(pattern: re.Pattern[str], allowed: dict[str, str]) -> list[str]:
    return [
        f"{place(path)}:{number}: {found.group()}"
        for path in text_files()
        if place(path) not in allowed
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (found := pattern.search(line))
    ]


def test_no_file_holds_a_path_of_one_machine() -> None:
    assert _lines(MACHINE_PATHS, PATHS_ALLOWED) == []


@pytest.mark.guarantee("G20")
def test_no_file_names_a_package_index() -> None:
    assert _lines(INDEX_HOSTS, HOSTS_ALLOWED) == []


@pytest.mark.parametrize("line", ["see /wo" + "rk/main/x", 'open("/ho' + 'me/ann/x")', "cd /ro" + "ot/a"])
def test_a_planted_path_is_found(line: str) -> None:
    assert MACHINE_PATHS.search(line)


@pytest.mark.parametrize(
    "line", ["GET /api/v1/rooms", "/etc/innkeeper/edge.toml", "~/wo" + "rk/x", "a/ro" + "ot/b", "/tmp/x"]
)
def test_paths_of_every_machine_are_not_found(line: str) -> None:
    assert MACHINE_PATHS.search(line) is None


def test_a_planted_index_is_found() -> None:
    assert INDEX_HOSTS.search("https://pypi.o" + "rg/simple")
