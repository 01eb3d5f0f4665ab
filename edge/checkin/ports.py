"""What check-in needs of the rest of the house. Implementations: edge/app wires them; tests bring fakes."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from protocols.device_model.command import Outcome
from protocols.device_model.identity import RoomId, StayId


class Doors(Protocol):
    """The doors process, as check-in sees it (edge/doors/client.py in production)."""

    async def issue(
        self,
        stay: StayId,
        room: RoomId,
        phone_public_key: bytes,
        *,
        not_before_ms: int,
        not_after_ms: int,
        join: bool,
        beside: Sequence[StayId] = (),
    ) -> Mapping[str, Any]:
        """Return the bundle for a phone of this stay; the same stay and phone key give the same right again.

        A room behind a foreign lock comes with that vendor's key, as far as it is made (protocols/door/SPEC.md 9.3).

        `join` False: the first phone of a new stay, whose use ends every earlier guest's right to the room; but not
        the rights of `beside`: every stay in house in this room with whom this one shares it, with a key or without.

        Raises:
            LinkLostError: the doors process was not reached; nothing happened.
            ReplyTimeoutError: it may have issued; asking again is safe.
            PlatformError: it refused, and says why.
        """
        ...

    async def serves(self, room: RoomId) -> bool:
        """Return whether keys are made for a room's doors here, ours or those of a foreign lock system.

        Raises: as `issue`.
        """
        ...

    async def end_stay(self, stay: StayId, *, emptied: Sequence[RoomId] = ()) -> None:
        """End every right of the stay, and of no stay beside it; ending it again, or one without grants, is nothing.

        `emptied`: rooms in which nobody is any more: no key that was given before opens there.
        """
        ...

    async def curtail(self, stay: StayId, until_ms: int) -> int:
        """End the keys of a stay that last beyond its end, if that has come; made longer, it gets others.

        Returns:
            In how many ms it will have come for its keys, which have some grace; 0: it has, and they are ended.

        Raises: as `issue`.
        """
        ...


class Cards(Protocol):
    """Who writes key cards, where a room is behind a lock system that has some (edge/app/granting.py)."""

    async def write(
        self,
        stay: StayId,
        room: RoomId,
        *,
        encoder: str,
        not_before_ms: int,
        not_after_ms: int,
        join: bool,
    ) -> Outcome:
        """Write a stay's key on the card that lies on an encoder.

        DONE: it is written. FAILED: it is certainly not. UNKNOWN: it may be.

        Raises:
            CheckInRefusedError: the room's doors take no cards, or the stay has ended there; nothing happened.
        """
        ...


class CheckInRecords(Protocol):
    """The record log, as far as check-in writes to it."""

    async def stays(self, bodies: Sequence[Mapping[str, Any]]) -> None:
        """Append `stay` records to lane A in one commit, and return once they are durable and the replica took them.

        Raises:
            StoreFailedError: none is durable, and nothing happened; or all are, and the replica takes them later.
        """
        ...

    async def until(self, stay: StayId, until_ms: int, *, by: str) -> None:
        """Append the `stay_until` record of a stay that is held, and return once the replica took it.

        Raises: as `stays`.
        """
        ...


class EndedStays(Protocol):
    """Which departures the doors have been told of, durably."""

    async def ended(self) -> frozenset[StayId]:
        """Return the stays that were ended at the doors."""
        ...

    async def mark_ended(self, stay: StayId) -> None:
        """Remember one more."""
        ...

    async def forget_ended(self, stays: Sequence[StayId]) -> None:
        """Forget stays that nobody holds any more."""
        ...
