"""What other modules give to and take from the ingest: who owns an edge, and projections of records.

A projection runs in the transaction that stores the records, so its effect and the edge's acknowledgement
commit or vanish
together; it sees each record exactly once, in the order of its lane. It may only touch the database through the
connection it is
given. What it refuses (see `REFUSALS`) is stored all the same, noted as refused, and the lane goes on.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import psycopg

from cloud.kit.database import Connection
from protocols.device_model.identity import EdgeId
from protocols.errors import PlatformError
from protocols.link.lanes import Lane
from protocols.link.record import Record


@dataclass(frozen=True, slots=True)
class EdgeOwner:
    """Whose edge it is."""

    tenant: str
    property: str


@dataclass(frozen=True, slots=True)
class BatchContext:
    """Where a batch's records come from. `received_ms`: unix milliseconds on the cloud's clock."""

    tenant: str
    property: str
    edge: EdgeId
    incarnation: bytes
    lane: Lane
    received_ms: int


OwnerOf: TypeAlias = Callable[[Connection, EdgeId], Awaitable[EdgeOwner | None]]
"""Look up the owner of an edge; None: nobody's, its messages are refused."""

Projection: TypeAlias = Callable[[Connection, BatchContext, Sequence[Record]], Awaitable[None]]
"""Take the records of the kinds it was registered for, in order."""

REFUSALS: Final = (
    PlatformError, ArithmeticError, LookupError, TypeError, ValueError, psycopg.DataError, psycopg.IntegrityError,
)  # fmt: skip
"""What a projection raises over a record that it cannot take: the record's fault, or the projection's, but not the
lane's.
"""
