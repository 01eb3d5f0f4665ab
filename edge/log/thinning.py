"""Thinning: many readings of one point in one window of time become one that says what they were.

Source of truth: SPEC.md section 3.1. Pure: records in, what to remove and what to write instead out. A pass walks a
stream once, oldest first, as many records at a time as the caller likes; what it remembers in between only lets a
window that spans two calls become one summary. Forgetting it costs a summary more, never a value.

A window is one of the edge's *monotonic* clock within one opening of the store: a wall clock that jumps neither splits
nor joins windows. Records other than readings stay as they are.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from protocols.errors import PeerProtocolError
from protocols.link.lanes import Lane
from protocols.link.record import RECORD_BYTES_MAX, Record, decode_record, encode_record
from protocols.link.summary import SUMMARY_KEY, Summary, joined, summary_of

MINUTE_MS: Final = 60_000
QUARTER_MS: Final = 15 * MINUTE_MS
ENCODED_BYTES_MAX: Final = RECORD_BYTES_MAX // 4
"""Longer readings stay as they are: first and last value of a summary, beside its own, must fit into a record."""
POINTS_MAX: Final = 20_000
"""Points remembered between two calls; beyond it windows are split."""

_SUMMARY: Final = bytes((0x60 + len(SUMMARY_KEY),)) + SUMMARY_KEY.encode()
"""How the key of a summary stands in an encoded body."""
_POINT: Final = ("room", "device", "capability", "attribute", "unit", "quality")
_Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Thinned:
    """Positions whose records go, and what the records at other positions become."""

    removed: Sequence[int]
    changed: Mapping[int, bytes]


@dataclass(slots=True)
class _Open:
    """The newest record of a point: its window, and the summary it stands for so far."""

    window: tuple[int, int]
    seq: int
    summary: Summary


class Thinning:
    """One pass with windows of `window_ms`."""

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._open: dict[_Key, _Open] = {}
        self._reached = 0

    def take(
        self, records: Sequence[tuple[int, bytes]], *, after: int, floor: int = 0, openings: Sequence[int] = (0,)
    ) -> Thinned:
        """Thin `records`, (position, encoded) in order.

        Args:
            records: what stands behind `after`.
            after: where this call begins; not where the last one ended: what it remembered is forgotten.
            floor: records up to here are gone or the cloud's: nothing joins them any more.
            openings: positions before each opening of the store, rising: no summary spans one.
        """
        if after != self._reached or len(self._open) > POINTS_MAX:
            self._open.clear()
        removed: list[int] = []
        changed: dict[int, tuple[Record, Summary]] = {}
        self._reached = records[-1][0] if records else after
        for seq, encoded in records:
            opening = bisect_left(openings, seq)
            try:
                record = decode_record(encoded, lane=Lane.C, seq=seq)
                summary = summary_of(record)
            except PeerProtocolError:  # not ours to judge: it goes as it is
                continue
            if summary is None or len(encoded) > ENCODED_BYTES_MAX:
                continue
            key = (record.kind, *(_hashable(record.body.get(name)) for name in _POINT))
            window = (opening, record.mono_ms // self._window_ms)
            known = self._open.get(key)
            if known is not None and known.window == window and known.seq > floor:
                summary = joined(known.summary, summary)
                removed.append(known.seq)
                changed.pop(known.seq, None)
                changed[seq] = (record, summary)
            self._open[key] = _Open(window, seq, summary)
        return Thinned(removed, {seq: _encoded(record, summary) for seq, (record, summary) in changed.items()})


def _encoded(record: Record, summary: Summary) -> bytes:
    """Return the newest record of its window with the summary in it."""
    body: dict[str, Any] = {**record.body, SUMMARY_KEY: summary.to_body()}
    return encode_record(
        record.kind, body, device_at_ms=record.device_at_ms, edge_at_ms=record.edge_at_ms, mono_ms=record.mono_ms,
        clock=record.clock,
    )  # fmt: skip


def _hashable(value: object) -> object:
    return value if isinstance(value, str | int | float | None) else repr(value)


def moved(lane: Lane, records: Sequence[tuple[int, bytes]], last: int) -> list[bytes]:
    """Return records of another incarnation as they are told in this one, behind position `last`.

    A summary names the position of the oldest reading that it stands for. In the new incarnation there is nothing
    before it that could count twice: it stands from its own position on.
    """
    encoded = [record for _, record in records]
    if lane is not Lane.C:
        return encoded
    return [_moved(each, seq) if _SUMMARY in each else each for seq, each in enumerate(encoded, start=last + 1)]


def _moved(encoded: bytes, seq: int) -> bytes:
    record = decode_record(encoded, lane=Lane.C, seq=seq)
    summary = record.body.get(SUMMARY_KEY)
    if not isinstance(summary, dict):  # a text that spells the key
        return encoded
    return encode_record(
        record.kind,
        {**record.body, SUMMARY_KEY: {**summary, "from_seq": seq}},
        device_at_ms=record.device_at_ms,
        edge_at_ms=record.edge_at_ms,
        mono_ms=record.mono_ms,
        clock=record.clock,
    )
