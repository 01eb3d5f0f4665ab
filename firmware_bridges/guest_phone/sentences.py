"""What the phone tells its owner when a door does not open: one cause, one plain sentence, one thing to do."""

from enum import StrEnum
from typing import Final

from protocols.errors import RefusalReason


class Cause(StrEnum):
    """Why nothing was opened, where the lock itself did not say so (then it is a RefusalReason)."""

    NO_BLUETOOTH = "no_bluetooth"
    NO_KEY = "no_key"
    NO_BUNDLE = "no_bundle"
    UNKNOWN_DOOR = "unknown_door"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    OUT_OF_REACH = "out_of_reach"
    LINK_LOST = "link_lost"
    NO_ANSWER = "no_answer"
    NOT_THE_LOCK = "not_the_lock"

    @property
    def spoken(self) -> str:
        """The sentence."""
        return _SPOKEN[self]


_SPOKEN: Final[dict[Cause, str]] = {
    Cause.NO_BLUETOOTH: "Bluetooth is off or missing; switch it on and try again.",
    Cause.NO_KEY: "This phone has no key of its own yet; open your reservation to make one.",
    Cause.NO_BUNDLE: "No room key has arrived on this phone yet; open your reservation to fetch it.",
    Cause.UNKNOWN_DOOR: "Your room key does not name this door.",
    Cause.NOT_YET_VALID: RefusalReason.NOT_YET_VALID.spoken,
    Cause.EXPIRED: RefusalReason.EXPIRED.spoken,
    Cause.OUT_OF_REACH: "The door does not answer; touch its handle, hold the phone close and try again.",
    Cause.LINK_LOST: "The connection broke before the door was asked; try again.",
    Cause.NO_ANSWER: "The door was asked but did not answer; try the handle, and try again if it is locked.",
    Cause.NOT_THE_LOCK: "What answers here is not your door's lock; tell the front desk.",
}
