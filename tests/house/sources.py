"""What the house checks read: our own source and document files, and what a piece of Python does that it must not."""

import ast
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
ROOMS: Final = ("protocols", "kit", "firmware_bridges", "edge", "cloud", "provisioning")
NOT_OURS: Final = frozenset(
    {
        ".git",
        ".hypothesis",
        ".import_linter_cache",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".venv",
        "__pycache__",
        "build",
        "dist",
        "node_modules",
    }
)
TEXT_SUFFIXES: Final = frozenset(
    {
        ".cfg",
        ".css",
        ".html",
        ".ini",
        ".j2",
        ".json",
        ".md",
        ".py",
        ".service",
        ".sh",
        ".sql",
        ".toml",
        ".ts",
        ".tsx",
        ".txt",
        ".yaml",
        ".yml",
    }
)
TEXT_NAMES: Final = frozenset({"Dockerfile", "Makefile", ".gitignore", ".importlinter", "LICENSE"})


def python_files(*rooms: str) -> Iterator[Path]:
    """Yield the Python files of some rooms, sorted."""
    for room in rooms:
        yield from sorted(each for each in _walk(ROOT / room) if each.suffix == ".py")


def text_files() -> Iterator[Path]:
    """Yield every text file that is ours, sorted."""
    yield from sorted(each for each in _walk(ROOT) if each.suffix in TEXT_SUFFIXES or each.name in TEXT_NAMES)


def _walk(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if each not in NOT_OURS and not each.endswith(".egg-info")]
        yield from (Path(here) / name for name in names)


def place(path: Path) -> str:
    """Return a path as it is written in allow-lists: from the root, with slashes."""
    return path.relative_to(ROOT).as_posix()


CLOCKS: Final = frozenset(
    {
        "datetime.date.today",
        "datetime.datetime.now",
        "datetime.datetime.today",
        "datetime.datetime.utcnow",
        "time.clock_gettime",
        "time.clock_gettime_ns",
        "time.gmtime",
        "time.localtime",
        "time.monotonic",
        "time.monotonic_ns",
        "time.perf_counter",
        "time.perf_counter_ns",
        "time.time",
        "time.time_ns",
    }
)
SLEEPS: Final = frozenset({"time.sleep"})
DICE: Final = frozenset({"os.getrandom", "os.urandom", "uuid.uuid1", "uuid.uuid4"})
DICE_MODULES: Final = ("random.", "secrets.", "numpy.random.")
NO_DICE: Final = frozenset({"secrets.compare_digest"})
CATCH_ALL: Final = frozenset({"Exception", "BaseException", "builtins.Exception", "builtins.BaseException"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that only the rim may do: `kind` is clock, sleep, dice or catch-all."""

    kind: str
    line: int
    what: str


def syntax(source: str) -> ast.Module:
    """Parse a module's source; nothing is collected meanwhile.

    A finalizer that logs a traceback parses too, and CPython 3.11 counts both in one place: "AST constructor
    recursion depth mismatch" (python/cpython#106905) for whoever was parsing when it ran.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if collects:
            gc.enable()


def findings(source: str) -> list[Finding]:
    """Return what a module does that its room may not, in the order of lines.

    Sees through `import ... as` and `from ... import`; not through getattr, which review must see.
    """
    tree = syntax(source)
    known = _imported(tree)
    found: list[Finding] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and not _hands_on(node):
            found += _caught(node.type, known, node.lineno)
        elif isinstance(node, ast.Call) and _name(node.func, known) == "contextlib.suppress":
            found += [each for kind in node.args for each in _caught(kind, known, node.lineno)]
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            name = _name(node, known)
            if name in CLOCKS:
                found.append(Finding("clock", node.lineno, name))
            elif name in SLEEPS:
                found.append(Finding("sleep", node.lineno, name))
            elif name in DICE or (name.startswith(DICE_MODULES) and name not in NO_DICE):
                found.append(Finding("dice", node.lineno, name))
    return sorted(set(found), key=lambda each: (each.line, each.what))


def _imported(tree: ast.Module) -> dict[str, str]:
    """Return local name -> what it stands for, for every import anywhere in the module."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                known[each.asname or each.name.partition(".")[0]] = (
                    each.name if each.asname else each.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for each in node.names:
                known[each.asname or each.name] = f"{node.module}.{each.name}"
    return known


def _name(node: ast.AST, known: dict[str, str]) -> str:
    """Return the dotted name that an expression stands for, or nothing."""
    if isinstance(node, ast.Name):
        return known.get(node.id, node.id if node.id in CATCH_ALL else "")  # a local name is nobody's module
    if isinstance(node, ast.Attribute):
        owner = _name(node.value, known)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def _hands_on(handler: ast.ExceptHandler) -> bool:
    """Return whether a handler ends in a bare `raise`: it cleans up and hides nothing."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _caught(kind: ast.expr | None, known: dict[str, str], line: int) -> list[Finding]:
    if kind is None:
        return [Finding("catch-all", line, "bare except")]
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    names = [_name(each, known) for each in kinds]
    return [Finding("catch-all", line, name) for name in names if name in CATCH_ALL]
