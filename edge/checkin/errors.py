"""Why a stay was not checked in or out: refusals in words that a guest or a clerk can act on."""

from enum import StrEnum

from protocols.device_model.identity import StayId
from protocols.errors import PlatformError


class CheckInRefusal(StrEnum):
    """The reason; `CheckInRefusedError` carries the sentence."""

    UNKNOWN_STAY = "unknown_stay"
    TOO_EARLY = "too_early"
    OVER = "over"
    ENDED = "ended"
    NOT_IN_HOUSE = "not_in_house"
    NO_ROOM = "no_room"
    NO_DOOR = "no_door"
    ROOM_TAKEN = "room_taken"
    ROOM_SHARED = "room_shared"
    CLOCK_UNSOUND = "clock_unsound"
    LOCK_EMPTY = "lock_empty"
    NO_CARD = "no_card"
    CARD_AT_DESK = "card_at_desk"


class CheckInRefusedError(PlatformError):
    """A check-in or check-out that the rules do not allow. `available_from_ms` (unix ms) where waiting helps."""

    def __init__(self, reason: CheckInRefusal, sentence: str, *, available_from_ms: int | None = None) -> None:
        super().__init__(sentence)
        self.reason, self.available_from_ms = reason, available_from_ms


def further_key(stay: StayId) -> CheckInRefusedError:
    """Return why a code that did not take a stay in is worth nothing any more."""
    sentence = f"Stay {stay} is in house; the front desk gives further keys."
    return CheckInRefusedError(CheckInRefusal.CARD_AT_DESK, sentence)
