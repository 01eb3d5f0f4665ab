"""The hash chain over lane A: what was written there cannot be changed, dropped or reordered unnoticed.

Source of truth: SPEC.md section 4. The cloud keeps the head of the chain of every stream it has acknowledged, so a
chain recomputed in the building by someone who changed a record does not fit any more.
"""

import hashlib
from typing import Final

CHAIN_BYTES: Final = 32
_GENESIS: Final = b"innkeeper lane A\x00"


def genesis(incarnation: bytes) -> bytes:
    """Return the chain value before the first record of `incarnation`."""
    return hashlib.sha256(_GENESIS + incarnation).digest()


def link(before: bytes, seq: int, record: bytes) -> bytes:
    """Return the chain value after the record encoded as `record` at `seq`, given the value before it."""
    return hashlib.sha256(before + seq.to_bytes(8, "big") + record).digest()
