"""What the uplink needs of its neighbours. `edge.log.record_log.RecordLog` is the log in production."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from edge.log.record_log import Entry, Listener, StoredCommand
from protocols.link.batch import Packed
from protocols.link.documents import CommandEnvelope
from protocols.link.edge_link import StreamHead
from protocols.link.lanes import Lane

LiveState: TypeAlias = Callable[[], Sequence[Mapping[str, Any]]]
"""Every attribute's value now: {room, device, capability, attribute, value, unit, quality, at_ms}."""

OnCommand: TypeAlias = Callable[[CommandEnvelope], Awaitable[Mapping[str, Any]]]
"""Obey a command and return its result; `phase` in it (done, failed, unknown, expired) says what came of it, done if
absent.

A PlatformError means failed, or unknown if it may have taken effect.
"""

OnDesired: TypeAlias = Callable[[str, int, Mapping[str, Any]], Awaitable[None]]
"""Take a desired document (name, version, body), durably before it returns. A PlatformError refuses it."""


class LinkLog(Protocol):
    """The record log, as the uplink uses it. Every method may raise StoreFailedError."""

    async def streams(self) -> Sequence[StreamHead]:
        """Return every stream that the cloud does not have whole, and each lane's current one, older lives first."""
        ...

    async def run(self, incarnation: bytes, lane: Lane, after_seq: int, most: int) -> Packed | None:
        """Return what follows `after_seq` in a stream; None: nothing does."""
        ...

    async def acked(self, incarnation: bytes, lane: Lane, hi: int) -> None:
        """Take the cloud's mark of a stream."""
        ...

    async def begin_life(self, lane: Lane, *, cut: int, reason: str) -> bytes:
        """Begin a new incarnation of a lane: records after `cut` move into it."""
        ...

    def incarnations(self) -> Mapping[Lane, bytes]:
        """Return each lane's current incarnation."""
        ...

    def heads(self) -> Mapping[Lane, int]:
        """Return the last committed position of each lane's current incarnation."""
        ...

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after each commit; return what ends that."""
        ...

    async def command_known(self, key: str) -> StoredCommand | None:
        """Return what was stored under an idempotency key."""
        ...

    async def command_phase(self, key: str, command_id: str, phase: str, result: str | None, entry: Entry) -> int:
        """Store a command's phase and append `entry` to lane A, in one commit."""
        ...

    async def commands_in(self, phase: str) -> Sequence[tuple[str, str]]:
        """Return (idempotency key, command id) of the commands that stand in `phase`."""
        ...

    async def rewrite_results(self, rewrite: Callable[[str | None], str | None]) -> int:
        """Replace what is stored with the commands' phases, leaving no trace of it; return how many changed."""
        ...

    async def document(self, name: str) -> tuple[int, bytes] | None:
        """Return (version, signed bytes) of one desired document."""
        ...

    async def keep_document(self, name: str, version: int, data: bytes) -> None:
        """Keep the newest desired document `name`."""
        ...
