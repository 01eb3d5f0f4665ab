"""A pytest plugin: a test whose teardown does not end takes its process with it, and is named.

`timeout` and pytest's own `faulthandler_timeout` are both given up once a test has failed, so that nobody who looks at
the failure in a debugger is disturbed. What the failed test left waiting would then be waited for without end.
"""

import faulthandler
import os
from collections.abc import Iterator
from typing import Final

import pytest

INI: Final = "teardown_timeout"
_STDERR: Final = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the bound, s; 0: none."""
    parser.addini(INI, "seconds after which a teardown that has not ended ends its process", default="0")


def pytest_configure(config: pytest.Config) -> None:
    """Keep standard error as it is before tests are captured."""
    config.stash[_STDERR] = os.dup(2)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let it go."""
    os.close(config.stash[_STDERR])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Bound it."""
    most_s = float(str(item.config.getini(INI)))
    if most_s:
        faulthandler.dump_traceback_later(most_s, exit=True, file=item.config.stash[_STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
