"""The doors process as check-in knows it: its refusals become ones that a guest or a clerk can act on."""

from collections.abc import Mapping
from typing import Any

from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from edge.checkin.ports import Doors
from edge.doors.errors import ClockUnsoundError, LockEmptyError, StayEndedError
from protocols.device_model.identity import RoomId, StayId


class GrantingDoors:
    """`edge.checkin.ports.Doors` over the doors' client."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    async def issue(
        self,
        stay: StayId,
        room: RoomId,
        phone_public_key: bytes,
        *,
        not_before_ms: int,
        not_after_ms: int,
        join: bool,
        beside: StayId | None = None,
    ) -> Mapping[str, Any]:
        """See the port. Raises CheckInRefusedError where the doors refuse this stay or cannot tell the time."""
        try:
            return await self._doors.issue(
                stay,
                room,
                phone_public_key,
                not_before_ms=not_before_ms,
                not_after_ms=not_after_ms,
                join=join,
                beside=beside,
            )
        except StayEndedError as error:
            raise CheckInRefusedError(
                CheckInRefusal.ENDED, f"Stay {stay} has ended at the doors; it cannot be checked in."
            ) from error
        except LockEmptyError as error:
            raise CheckInRefusedError(CheckInRefusal.LOCK_EMPTY, f"{error}.") from error
        except ClockUnsoundError as error:
            raise CheckInRefusedError(
                CheckInRefusal.CLOCK_UNSOUND,
                "The building's clock is not sound, so no key can be dated; try again soon.",
            ) from error

    async def serves(self, room: RoomId) -> bool:
        """See the port."""
        return await self._doors.serves(room)

    async def end_stay(self, stay: StayId) -> None:
        """See the port."""
        await self._doors.end_stay(stay)
