"""Which version of the link two neighbours speak: the highest that both know; none is refused by name.

Source of truth: SPEC.md section 6.1. A release speaks its own version and the one before, so that edge and cloud can be
updated in either order.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from protocols.errors import UnsupportedVersionError

VERSION: Final = 1
VERSIONS: Final = (VERSION,)
"""What this release speaks, rising."""
OFFERS_MAX: Final = 16


def agree(offered: Iterable[object], *, ours: Sequence[int] = VERSIONS, what: str = "link") -> int:
    """Return the version that both speak.

    Args:
        offered: what the peer says that it speaks, as it came from the wire.
        ours: what we speak.
        what: for the error.

    Raises:
        UnsupportedVersionError: none is common; names both sides'.
    """
    known = [each for each in offered if type(each) is int][:OFFERS_MAX]
    common = set(known) & set(ours)
    if not common:
        raise UnsupportedVersionError(what, known, tuple(ours))
    return max(common)
