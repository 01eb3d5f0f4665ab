"""How many seeds a simulation plays: few while somebody waits (`make check`), many when nobody does (`make test`)."""

import os

THOROUGH = os.environ.get("INNKEEPER_THOROUGH") == "1"


def seeds(few: int, many: int) -> range:
    """Return the seeds to play."""
    return range(many if THOROUGH else few)
