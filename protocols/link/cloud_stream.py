"""The cloud's rule for one stream: what of a batch is new, what was there already, what is missing before it.

Source of truth: SPEC.md section 5.3. Pure: the ingest worker holds the row that `hi` and `chain` come from
locked, writes what is
fresh and moves the mark in the same transaction; the simulation keeps them in memory.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from protocols.link import chain as hash_chain
from protocols.link.batch import Batch, BatchHead, Hole, chain_after
from protocols.link.lanes import Lane
from protocols.link.messages import AckStatus
from protocols.link.record import Record


class ChainVerdict(Enum):
    """What the hash chain says of a batch of lane A."""

    NONE = "none"
    """The lane carries no chain, or nothing new came."""
    GOOD = "good"
    BROKEN = "broken"
    """The records are not those the edge once wrote, or follow on another past: somebody changed the log."""


@dataclass(frozen=True, slots=True)
class Offered:
    """What to do with a batch: write `records` and `holes`, move the mark to `hi` and `chain`, answer `status`."""

    status: AckStatus
    hi: int
    records: tuple[Record, ...] = ()
    holes: tuple[Hole, ...] = ()
    chain: bytes | None = None
    verdict: ChainVerdict = ChainVerdict.NONE


@dataclass(slots=True)
class CloudStream:
    """The mark of one (edge, incarnation, lane): everything up to `hi` is committed."""

    incarnation: bytes
    lane: Lane
    hi: int = 0
    chain: bytes | None = None

    def judge(self, head: BatchHead | Batch) -> AckStatus:
        """Return STORED if the batch brings something new that follows on the mark, else DUPLICATE or GAP."""
        if head.last <= self.hi:
            return AckStatus.DUPLICATE
        if head.first > self.hi + 1:
            return AckStatus.GAP
        return AckStatus.STORED

    def answer(self, head: BatchHead | Batch) -> Offered:
        """Return what to answer to a batch that brings nothing new: the mark as it is."""
        return Offered(self.judge(head), self.hi, chain=self.chain)

    def offer(self, batch: Batch) -> Offered:
        """Judge an opened batch and move the mark past it if it follows on."""
        status = self.judge(batch)
        if status is not AckStatus.STORED:
            return self.answer(batch)
        hi = self.hi
        records = batch.records if batch.first == hi + 1 else tuple(r for r in batch.records if r.seq > hi)
        holes = tuple(_after(hole, hi) for hole in batch.holes if hole.last > hi)
        chain, verdict = self._follow(batch)
        self.hi, self.chain = batch.last, chain
        return Offered(status, self.hi, records, holes, chain, verdict)

    def step_over(self, head: BatchHead) -> Offered:
        """Move the mark past a batch whose inside cannot be read, as far as its head is credible (`Offered.hi`).

        The caller keeps its bytes. Where the head is not credible at all the mark stays.
        """
        status = self.judge(head)
        if status is not AckStatus.STORED:
            return self.answer(head)
        last = head.credible_last()
        if last > self.hi:
            self.hi = last
            self.chain = head.chain[1] if head.chain is not None and last == head.last else None
        return Offered(AckStatus.REFUSED, self.hi, chain=self.chain)

    def _follow(self, batch: Batch) -> tuple[bytes | None, ChainVerdict]:
        if self.lane is not _CHAINED:
            return None, ChainVerdict.NONE
        if batch.chain is None:
            return None, ChainVerdict.BROKEN
        before, after = batch.chain
        good = chain_after(batch) == after
        known = self.chain if self.hi else hash_chain.genesis(self.incarnation)
        if not batch.holes:
            at = before
            for record, encoded in zip(batch.records, batch.encoded, strict=True):
                if record.seq == self.hi + 1:
                    break
                at = hash_chain.link(at, record.seq, encoded)
            good = good and at == known
        return after, ChainVerdict.GOOD if good else ChainVerdict.BROKEN


_CHAINED: Final = Lane.A


def _after(hole: Hole, hi: int) -> Hole:
    return hole if hole.first > hi else Hole(hi + 1, hole.last, hole.reason)
