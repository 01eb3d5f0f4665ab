"""What stands before each record on disk, so that a flipped bit is found where SQLite finds nothing.

Source of truth: SPEC.md section 4 (lane A); docs/decisions/0012. A row is a check and the record as encoded. The check
is a CRC-32 of the record that starts from its position (4 bytes): it finds damage and misplaced rows, not malice. On
lane A the hash chain's value after the record (32 bytes) stands before it: it cannot be forged for one record alone.
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from protocols.link import chain
from protocols.link.lanes import Lane

CRC_BYTES: Final = 4


def check_bytes(lane: Lane) -> int:
    """Return how many bytes of a row of `lane` stand before the record."""
    return chain.CHAIN_BYTES + CRC_BYTES if lane is Lane.A else CRC_BYTES


def checked(record: bytes, seq: int) -> bytes:
    """Return a record behind its CRC: the row of lanes B and C."""
    return zlib.crc32(record, seq & 0xFFFFFFFF).to_bytes(CRC_BYTES, "big") + record


def rows_of(lane: Lane, records: Iterable[bytes], last: int, link: bytes) -> tuple[list[bytes], bytes]:
    """Return the rows of `records`, which follow position `last`, and the chain's value after them.

    Args:
        lane: whose rows.
        records: as encoded, in order.
        last: the position before them.
        link: lane A: the chain's value before them.
    """
    if lane is not Lane.A:  # `checked`, written out: there are 100,000 a second
        crc = zlib.crc32
        rows = [
            crc(record, seq & 0xFFFFFFFF).to_bytes(CRC_BYTES, "big") + record
            for seq, record in enumerate(records, start=last + 1)
        ]
        return rows, link
    rows = []
    for seq, record in enumerate(records, start=last + 1):
        link = chain.link(link, seq, record)
        rows.append(link + checked(record, seq))
    return rows, link


def sound(lane: Lane, rows: Sequence[tuple[int, bytes]], after: int, link: bytes | None) -> list[bool]:
    """Say of each (position, row) whether its record is the one that was written there.

    Args:
        lane: whose rows.
        rows: in order of position.
        after: position before the first one that is wanted.
        link: lane A: the chain's value after `after`; None where it is not known.

    A record of lane A must follow from the one before it too. Where that is missing, its CRC alone vouches for it;
    where that is damaged, it must follow from what that said or should have said: rather a good record is declared lost
    than an altered one told.
    """
    if lane is not Lane.A:
        return [checked(row[CRC_BYTES:], seq) == row for seq, row in rows]
    verdicts: list[bool] = []
    before: tuple[bytes, ...] = () if link is None else (link,)
    for seq, row in rows:
        own, record = row[: chain.CHAIN_BYTES], row[chain.CHAIN_BYTES + CRC_BYTES :]
        if seq != after + 1:
            before = ()
        after = seq
        links = [chain.link(each, seq, record) for each in before]
        follows = own in links or not links
        verdicts.append(follows and checked(record, seq) == row[chain.CHAIN_BYTES :])
        before = (own,) if follows else (own, links[0])
    return verdicts
