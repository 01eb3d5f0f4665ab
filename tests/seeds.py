"""How many seeds a simulation plays: few while somebody waits (`make check`), many when nobody does (`make test`)."""

import os

import pytest

THOROUGH = os.environ.get("INNKEEPER_THOROUGH") == "1"
LONG = pytest.mark.skipif(not THOROUGH, reason="many seconds of a processor: `make test` has the time")


def seeds(few: int, many: int) -> range:
    """Return the seeds to play."""
    return range(many if THOROUGH else few)
