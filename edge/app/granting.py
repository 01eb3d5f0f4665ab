"""The doors process as check-in knows it: its refusals become ones that a guest or a clerk can act on."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from edge.checkin.ports import Doors
from edge.doors.errors import ClockUnsoundError, LockEmptyError, StayEndedError
from protocols.device_model.command import Outcome, Phase
from protocols.device_model.identity import RoomId, StayId
from protocols.door.vendor_keys import VendorState
from protocols.errors import InvalidInputError, LinkLostError, ReplyTimeoutError


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
        beside: Sequence[StayId] = (),
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

    async def end_stay(self, stay: StayId, *, emptied: Sequence[RoomId] = ()) -> None:
        """See the port."""
        await self._doors.end_stay(stay, emptied=emptied)

    async def curtail(self, stay: StayId, until_ms: int) -> int:
        """See the port."""
        return await self._doors.curtail(stay, until_ms)


class VendorKeys(Protocol):
    """Keys in foreign lock systems (edge/doors/client.py in production)."""

    async def issue_keys(
        self,
        stay: StayId,
        rooms: Sequence[RoomId],
        *,
        not_before_ms: int,
        not_after_ms: int,
        join: bool = False,
        medium: str | None = None,
        encoder: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return how the stay's keys stand."""
        ...


class VendorCards:
    """`edge.checkin.ports.Cards` over the doors' client: cards are those of foreign lock systems."""

    def __init__(self, doors: VendorKeys) -> None:
        self._doors = doors

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
        """See the port."""
        try:
            keys = await self._doors.issue_keys(
                stay,
                [room],
                not_before_ms=not_before_ms,
                not_after_ms=not_after_ms,
                join=join,
                medium="card",
                encoder=encoder,
            )
        except StayEndedError as error:
            raise CheckInRefusedError(CheckInRefusal.ENDED, f"Stay {stay} has ended at the doors.") from error
        except InvalidInputError as error:
            raise CheckInRefusedError(
                CheckInRefusal.NO_CARD, f"The doors of room {room} take no card that is written here: {error}."
            ) from error
        except LinkLostError as error:
            return Outcome(Phase.FAILED, None, str(error))
        except ReplyTimeoutError as error:
            return Outcome(Phase.UNKNOWN, None, str(error))
        if keys and all(each["state"] == VendorState.MADE for each in keys):
            return Outcome(Phase.DONE, True)
        unsure = any(each["state"] == VendorState.MADE or each["may_have_taken_effect"] for each in keys)
        why = next((each["problem"] for each in keys if each["problem"]), "the card was not written")
        return Outcome(Phase.UNKNOWN if unsure else Phase.FAILED, None, str(why))
