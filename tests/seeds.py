"""How many seeds a simulation plays: few while somebody waits (`make check`), more when nobody does (`make test`, which
two cores have to end within the hour), all of them in a night (INNKEEPER_THOROUGH=2).
"""

import os
from typing import Final

import pytest

_LEVEL: Final = {"1": 1, "2": 2}.get(os.environ.get("INNKEEPER_THOROUGH", ""), 0)
THOROUGH: Final = _LEVEL > 0
LONG = pytest.mark.skipif(not THOROUGH, reason="many seconds of a processor: `make test` has the time")


def seeds(few: int, many: int) -> range:
    """Return the seeds to play."""
    return range((few, max(few, many // 4), many)[_LEVEL])
