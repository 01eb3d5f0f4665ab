"""Leaves out what a library loads on sight and we never use: an edge has 120 MB for all its processes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def absent(name: str) -> Iterator[None]:
    """Make `import name` fail with ImportError inside, for a library that gets on without it."""
    with _standing_in(name, None):
        yield


@contextmanager
def hollow(name: str) -> Iterator[None]:
    """Let `import name` find an empty module inside, for a library that insists."""
    with _standing_in(name, ModuleType(name)):
        yield


@contextmanager
def _standing_in(name: str, module: ModuleType | None) -> Iterator[None]:
    """Nothing is changed where `name` is loaded already; afterwards an import of it finds the real one."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = module  # type: ignore[assignment]  # documented: None makes the import fail
    try:
        yield
    finally:
        del sys.modules[name]
