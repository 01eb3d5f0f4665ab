"""What the house is joined to: its record log and its doors. edge/log and edge/doors in production."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from edge.log.record_log import Appendable, Entry
from protocols.link.lanes import Lane
from protocols.link.record import Record


class Log(Protocol):
    """The record log, as the house uses it."""

    @property
    def incarnation(self) -> bytes:
        """The life of the store that is being written now."""
        ...

    async def append(self, lane: Lane, kind: str, body: Mapping[str, Any], *, device_at_ms: int | None = None) -> int:
        """Append one record and return its sequence number once it is durable. Raises StoreFailedError."""
        ...

    async def append_many(self, lane: Lane, entries: Sequence[Appendable], *, urgent: bool = False) -> list[int]:
        """Append up to `APPEND_RECORDS_MAX` records in one commit, all or none; return their positions.

        Raises StoreFailedError.
        `urgent`: commit at once, without waiting for company.
        """
        ...

    async def append_encoded(self, lane: Lane, records: Sequence[bytes], *, urgent: bool = False) -> int:
        """Append encoded records in one commit, all or none; return the last position. Raises StoreFailedError.

        `urgent`: see `append_many`.
        """
        ...

    async def append_once(self, source: str, position: int, lane: Lane, entry: Entry) -> int | None:
        """Take over a record of another store at most once; None: it was here already. Raises StoreFailedError."""
        ...

    async def source_mark(self, source: str, lane: Lane) -> int:
        """Return the highest position taken over from `source`; 0: none."""
        ...

    async def advance(self, name: str, lane: Lane, seq: int) -> None:
        """Say how far `name` has read, so that nothing it has not read gives way while there is room."""
        ...

    async def read(self, lane: Lane, after_seq: int, most: int) -> Sequence[Record]:
        """Return the records of the current incarnation after `after_seq`, oldest first."""
        ...
