"""Tells why positions of a lane are empty: what was declared, what was let go once the cloud had it, what is damage.

Source of truth: protocols/link/SPEC.md section 5 (holes of a batch).
"""

from collections.abc import Sequence

from edge.log.lane_file import LaneFile
from edge.log.lane_space import Life
from protocols.link.batch import Hole, HoleReason


def holes_between(file: LaneFile, life: Life, first: int, last: int, seqs: Sequence[int]) -> list[Hole]:
    """Return the holes from position `first` to `last` of an incarnation, in order.

    Args:
        file: where what was declared stands.
        life: the incarnation.
        first: the first position asked for.
        last: the last one.
        seqs: the positions in between that have a sound record, rising.
    """
    declared = [
        Hole(max(first, from_), min(last, to), HoleReason(reason))
        for from_, to, reason in file.all(
            "SELECT first, last, reason FROM hole WHERE life = ? AND first <= ? AND last >= ? ORDER BY first",
            (life.no, last, first),
        )
    ]
    holes: list[Hole] = []
    at = first
    for stop in [*declared, Hole(last + 1, last + 1, HoleReason.LOST)]:
        if stop.last < at:
            continue
        begins = max(at, stop.first)  # no two of a sound file overlap; of any other they must cost no batch
        holes += _undeclared(life, at, begins - 1, seqs)
        if begins <= last:
            holes.append(Hole(begins, stop.last, stop.reason))
        at = stop.last + 1
    return holes


def _undeclared(life: Life, first: int, last: int, seqs: Sequence[int]) -> list[Hole]:
    """Holes nobody declared: what was acknowledged and trimmed is forgotten, anything else is damage."""
    holes: list[Hole] = []
    if first <= (forgotten_to := min(last, life.trimmed)):
        holes.append(Hole(first, forgotten_to, HoleReason.FORGOTTEN))
        first = forgotten_to + 1
    for seq in [*(seq for seq in seqs if first <= seq <= last), last + 1]:
        if seq > first:
            holes.append(Hole(first, seq - 1, HoleReason.LOST))
        first = seq + 1
    return holes
