"""What a room may import from outside, and what an edge process must not carry in its memory."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import pytest

from tests.house.sources import ROOT, place, python_files, syntax

PROTOCOLS_MAY: Final = {"cbor2", "cryptography", "msgspec", "protocols"}
EDGE_MUST_NOT: Final = ("alembic", "httpx", "pandas", "psycopg", "pydantic", "rich", "sqlalchemy", "typer")
EDGE_LAZILY: Final = ("asyncua", "bumble")
PROGRAMS: Final = {
    "edge": "edge.app.main",
    "cloud": "cloud.app.main",
}
GROUND: Final = (
    "kit.clock",
    "kit.dice",
    "kit.files",
    "kit.health",
    "kit.http",
    "kit.identity",
    "kit.logs",
    "kit.memory",
    "kit.metrics",
    "kit.mqtt",
    "kit.net",
    "kit.queues",
    "kit.settings",
    "kit.supervision",
)


def _imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((each.name.partition(".")[0], node.lineno) for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], node.lineno


def test_protocols_need_only_the_standard_library_and_three_packages() -> None:
    wrong = [
        f"{place(path)}:{line}: {name}"
        for path in python_files("protocols")
        for name, line in _imports(syntax(path.read_text(encoding="utf-8")))
        if name not in PROTOCOLS_MAY and name not in sys.stdlib_module_names
    ]
    assert wrong == []


def _loaded_by(*modules: str) -> set[str]:
    """Return the top-level names in sys.modules of a fresh interpreter that imported `modules`."""
    lines = "".join(f"import {each}\n" for each in modules)
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{lines}import sys\nprint(*{{n.partition('.')[0] for n, m in sys.modules.items() if m is not None}})",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(told.stdout.split())


@pytest.mark.guarantee("G9")
def test_the_ground_loads_nothing_heavy() -> None:
    assert _loaded_by(*GROUND) & {*EDGE_MUST_NOT, *EDGE_LAZILY} == set()


@pytest.mark.guarantee("G9")
def test_the_edge_program_loads_nothing_heavy_before_it_knows_its_settings() -> None:
    assert _loaded_by(PROGRAMS["edge"]) & {*EDGE_MUST_NOT, *EDGE_LAZILY} == set()


@pytest.mark.parametrize("module", PROGRAMS.values())
def test_importing_a_program_starts_nothing(module: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", f"import {module}, threading; print(threading.active_count())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (told.stdout, told.stderr) == ("1\n", "")
