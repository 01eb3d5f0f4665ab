"""What stands before each record on disk, so that a flipped bit is found where SQLite finds nothing.

Source of truth: SPEC.md section 4 (lane A); docs/decisions/0012. A row is a check and the record as encoded. Lane A's
check is the hash chain's value after the record (32 bytes): it cannot be forged for one record alone. Lanes B and C
carry a CRC-32 of the record that starts from its position (4 bytes): it finds damage and swapped rows, not malice.
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from protocols.link import chain
from protocols.link.lanes import Lane

CRC_BYTES: Final = 4


def check_bytes(lane: Lane) -> int:
    """Return how many bytes of a row of `lane` stand before the record."""
    return chain.CHAIN_BYTES if lane is Lane.A else CRC_BYTES


def checked(record: bytes, seq: int) -> bytes:
    """Return the row of a record of lane B or C."""
    return zlib.crc32(record, seq & 0xFFFFFFFF).to_bytes(CRC_BYTES, "big") + record


def rows_of(lane: Lane, records: Iterable[bytes], last: int, link: bytes) -> tuple[list[bytes], bytes]:
    """Return the rows of `records`, which follow position `last`, and the chain's value after them.

    Args:
        lane: whose rows.
        records: as encoded, in order.
        last: the position before them.
        link: lane A: the chain's value before them.
    """
    if lane is not Lane.A:
        return [checked(record, seq) for seq, record in enumerate(records, start=last + 1)], link
    rows: list[bytes] = []
    for seq, record in enumerate(records, start=last + 1):
        link = chain.link(link, seq, record)
        rows.append(link + record)
    return rows, link


def sound(lane: Lane, rows: Sequence[tuple[int, bytes]], after: int, link: bytes | None) -> list[bool]:
    """Say of each (position, row) whether its record is the one that was written there.

    Args:
        lane: whose rows.
        rows: in order of position.
        after: position before the first one that is wanted.
        link: lane A: the chain's value after `after`; None where it is not known.

    On lane A a record whose predecessor's value is not known is taken for sound if the value after it is borne out by
    the next record.
    """
    if lane is not Lane.A:
        return [checked(row[CRC_BYTES:], seq) == row for seq, row in rows]
    verdicts: list[bool | None] = []
    before: tuple[bytes, ...] = () if link is None else (link,)
    for seq, row in rows:
        own, record = row[: chain.CHAIN_BYTES], row[chain.CHAIN_BYTES :]
        if seq != after + 1:
            before = ()
        after = seq
        links = [chain.link(each, seq, record) for each in before]
        verdicts.append(own in links if links else None)
        # where this row is damaged, the next is held against the value as it was and as it should have been
        before = (own,) if own in links or not links else (own, links[0])
    return [
        verdict if verdict is not None else not (at + 1 < len(verdicts) and verdicts[at + 1] is False)
        for at, verdict in enumerate(verdicts)
    ]
