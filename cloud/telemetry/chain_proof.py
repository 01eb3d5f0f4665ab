"""Whether the records of lane A, as the ledger holds them, still lead to what the building said of its chain.

Source of truth: protocols/link/SPEC.md sections 4 and 4.1. The walk starts at the first value of the incarnation and
computes each link from the row that is kept. It is held against two words of the building: the value beside the
stream's mark, and the heads that it told on lane B. Across holes and days that were let go the value is not known; it
is taken up again at the next head. Signatures of heads are `protocols.link.signed_head`'s business: whoever has the
building's key asks it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from psycopg.rows import tuple_row

from cloud.kit.database import Connection
from cloud.telemetry.proof import Found
from protocols import cbor
from protocols.cose import parse1
from protocols.errors import LocalProtocolError, PeerProtocolError
from protocols.link import chain
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, encode_record
from protocols.link.signed_head import HEAD_BYTES_MAX

HEAD_KIND: Final = "log_head"
ROWS_A_PIECE: Final = 1_000
_LONG_MOST: Final = 2**63 - 1


class ChainWalk:
    """Follows the chain over records in order of position. Pure.

    Args:
        said: the chain's value after a position, as the building said it.
    """

    def __init__(self, incarnation: bytes, said: Mapping[int, bytes]) -> None:
        self._said = said
        self._value: bytes | None = chain.genesis(incarnation)
        self._at = 0
        self._since = 1
        self.confirmed = 0
        """Records that lead from one word of the building to another."""
        self.broken = Found()

    def take(self, seq: int, record: bytes | None) -> None:
        """Take the record at a position; None: it has no encoding, which no record of a building has."""
        if seq <= self._at:  # stored twice: told elsewhere
            return
        if seq != self._at + 1:
            self._value = None
        self._at = seq
        self._value = None if self._value is None or record is None else chain.link(self._value, seq, record)
        if record is None:
            self.broken.add(seq, seq)
        said = self._said.get(seq)
        if said is None:
            return
        if self._value == said:
            self.confirmed += seq - self._since + 1
        elif self._value is not None:
            self.broken.add(self._since, seq)
        self._value, self._since = said, seq + 1


async def walk(
    connection: Connection, edge: str, incarnation: bytes, *, hi: int, value: bytes | None
) -> ChainWalk:  # fmt: skip
    """Follow lane A of one incarnation to the mark `hi`, where the building said `value` (None: nothing)."""
    said = await _heads(connection, edge, incarnation)
    if value is not None:
        said[hi] = value
    walked = ChainWalk(incarnation, said)
    async with connection.cursor("lane_a", row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT seq, kind, body, device_at_ms, edge_at_ms, mono_ms, clock FROM telemetry.record
             WHERE edge = %s AND incarnation = %s AND lane = %s AND seq <= %s ORDER BY seq, id
            """,
            [edge, incarnation, Lane.A.value, hi],
        )
        while rows := await cursor.fetchmany(ROWS_A_PIECE):
            for row in rows:
                walked.take(row[0], _encoded(row))
    return walked


async def _heads(connection: Connection, edge: str, incarnation: bytes) -> dict[int, bytes]:
    """Return what the building's heads say of one incarnation; what is no head says nothing."""
    said: dict[int, bytes] = {}
    async with connection.cursor("heads", row_factory=tuple_row) as cursor:
        await cursor.execute(
            """
            SELECT body ->> 'head' FROM telemetry.record
             WHERE edge = %s AND incarnation = %s AND lane = %s AND kind = %s ORDER BY seq
            """,
            [edge, incarnation, Lane.B.value, HEAD_KIND],
        )
        while rows := await cursor.fetchmany(ROWS_A_PIECE):
            said.update(_told(rows, incarnation))
    return said


def _told(rows: Sequence[Sequence[Any]], incarnation: bytes) -> Iterator[tuple[int, bytes]]:
    for (text,) in rows:
        try:
            told = cbor.decode(
                parse1(bytes.fromhex(text or ""), most_bytes=HEAD_BYTES_MAX).payload, HEAD_BYTES_MAX
            )  # fmt: skip
        except (PeerProtocolError, ValueError):
            continue
        match told:
            case {"inc": bytes() as inc, "seq": int() as seq, "link": bytes() as link} if inc == incarnation:
                yield seq, link


def _encoded(row: Sequence[Any]) -> bytes | None:
    """Return the bytes that the building wrote; None: no building can have."""
    _, kind, body, device_at_ms, edge_at_ms, mono_ms, clock = row
    try:
        return encode_record(
            kind,
            as_written(body),
            device_at_ms=device_at_ms,
            edge_at_ms=edge_at_ms,
            mono_ms=mono_ms,
            clock=ClockQuality(clock),
        )
    except (LocalProtocolError, TypeError, ValueError):
        return None


def as_written(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a body as it was before jsonb wrote its large floats out in full: an integer of a record has 64 bits."""
    if isinstance(value, dict):
        return {key: as_written(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_written(each) for each in value]
    if type(value) is int and not -_LONG_MOST - 1 <= value <= _LONG_MOST:
        return float(value)
    return value
