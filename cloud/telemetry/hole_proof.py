"""What lies inside the holes of a stream, held against what was told of them.

Of every hole it is kept how many records stand at its positions: in a thinned one those that the others gave way to, in
any other none (protocols/link/SPEC.md 5.2). A record that vanishes from inside a hole leaves no gap, and one that is
put there doubles nothing: only their number tells. One sum over a stream says by how many it is off; hole by hole it is
told which.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from cloud.kit.database import Connection, fetch_all, fetch_one
from cloud.telemetry.proof import Run, StreamProof

LOOKED_AT_MOST: Final = 100_000
"""Holes of one stream that are counted one by one; of those behind only the sum tells."""


class SpoiltHole(NamedTuple):
    """A hole, both ends included: how many records were `told` to be inside, and how many are there, all `stored`."""

    first: int
    last: int
    reason: str
    told: int
    stored: int


class HoleCount:
    """Counts the records inside of holes, by runs in any order. Pure."""

    def __init__(self, holes: Sequence[tuple[int, int, str, int]]) -> None:
        """Take (first, last, reason, told) in order of position."""
        self._holes = holes
        self._lasts = [last for _, last, _, _ in holes]
        self._found = [0] * len(holes)

    def feed(self, runs: Iterable[Run]) -> None:
        """Count what of some runs lies inside."""
        for run in runs:
            place = bisect_left(self._lasts, run.first)
            while place < len(self._holes) and self._holes[place][0] <= run.last:
                first, last, _, _ = self._holes[place]
                self._found[place] += min(last, run.last) - max(first, run.first) + 1
                place += 1

    def spoilt(self) -> list[SpoiltHole]:
        """Return the holes that hold another number than was told."""
        return [
            SpoiltHole(*hole, found) for hole, found in zip(self._holes, self._found, strict=True) if found != hole[3]
        ]


def too_few(proof: StreamProof, holes: int, inside: int) -> int:
    """Return by how many records a stream is short of what its holes say; negative: there are too many.

    Args:
        proof: closed.
        holes: positions in holes up to the mark.
        inside: records that are told to be inside of them.
    """
    told = proof.hi - holes + inside - proof.gaps.positions
    return told - (proof.records - proof.doubled.positions - proof.beyond.positions)


async def sums_of(connection: Connection, key: Sequence[object], hi: int) -> tuple[int, int]:
    """Return the positions in holes of the stream `key` (edge, incarnation, lane) up to `hi`, and records inside."""
    row = await fetch_one(
        connection,
        """SELECT coalesce(sum(least(last, %s) - first + 1), 0)::bigint AS holes,
                  coalesce(sum(inside), 0)::bigint AS inside
             FROM telemetry.hole WHERE edge = %s AND incarnation = %s AND lane = %s AND first <= %s""",
        [hi, *key, hi],
    )
    return (0, 0) if row is None else (row["holes"], row["inside"])


async def holes_of(connection: Connection, key: Sequence[object]) -> HoleCount:
    """Return the holes of a stream, the first LOOKED_AT_MOST of them."""
    rows = await fetch_all(
        connection,
        """SELECT first, last, reason, inside FROM telemetry.hole
            WHERE edge = %s AND incarnation = %s AND lane = %s ORDER BY first LIMIT %s""",
        [*key, LOOKED_AT_MOST],
    )
    return HoleCount([(row["first"], row["last"], row["reason"], row["inside"]) for row in rows])
