"""Errors that answer two questions: may I try again, and may it already have happened?

Source of truth: docs/decisions/0003-errors-answer-two-questions.md. Every error that crosses a room's
border is one of these; libraries' own errors are translated at the rim with `raise ... from error`.
"""

from enum import StrEnum
from typing import ClassVar


class PlatformError(Exception):
    """Base of all our errors. Says what was wrong, where, and what to do."""

    retryable: ClassVar[bool] = False
    may_have_taken_effect: ClassVar[bool] = False


class LocalProtocolError(PlatformError):
    """We tried to send what the specification forbids: our defect, let it crash."""


class PeerProtocolError(PlatformError):
    """They sent what the specification forbids: log the offending value, count it, drop the link or the item."""


class UnsupportedVersionError(PeerProtocolError):
    """They speak a version that we do not: refused by name, never guessed."""

    def __init__(self, what: str, got: object, supported: tuple[int, ...]) -> None:
        spoken = ", ".join(str(version) for version in supported)
        super().__init__(f"{what} version {got!r:.40} is not supported here; supported: {spoken}")
        self.what, self.got, self.supported = what, got, supported


class LinkLostError(PlatformError):
    """It never left: safe to try again."""

    retryable = True


class ReplyTimeoutError(PlatformError):
    """Sent and unanswered: it may have happened. Ask for state; never resend blindly."""

    may_have_taken_effect = True


class InvalidInputError(PlatformError):
    """A file, setting or request is wrong: names the offending value, its place and what would be right."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place, self.problem = place, problem


class StoreFailedError(PlatformError):
    """The disk refused: nothing was acknowledged. The caller may try again once the store has recovered."""

    retryable = True


class RefusalReason(StrEnum):
    """Why a credential was refused, in words the front desk can read aloud (see `spoken`)."""

    UNKNOWN_ISSUER = "unknown_issuer"
    BAD_SIGNATURE = "bad_signature"
    WRONG_DOOR = "wrong_door"
    SUPERSEDED = "superseded"
    REVOKED = "revoked"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    PRIVACY_ON = "privacy_on"
    TIME_UNCERTAIN = "time_uncertain"
    MALFORMED = "malformed"
    UNSUPPORTED_VERSION = "unsupported_version"
    BUSY = "busy"
    NOT_ALLOWED = "not_allowed"
    OUT_OF_HOURS = "out_of_hours"
    USED_UP = "used_up"
    NEEDS_USER_VERIFICATION = "needs_user_verification"
    LOCKED_OUT = "locked_out"

    @property
    def spoken(self) -> str:
        """One plain sentence for a guest or a clerk."""
        return _SPOKEN[self]


_SPOKEN: dict[RefusalReason, str] = {
    RefusalReason.UNKNOWN_ISSUER: "This key was not made by this hotel.",
    RefusalReason.BAD_SIGNATURE: "This key could not be verified.",
    RefusalReason.WRONG_DOOR: "This key is for another door.",
    RefusalReason.SUPERSEDED: "A newer guest's key has replaced this one.",
    RefusalReason.REVOKED: "This key was withdrawn by the front desk.",
    RefusalReason.NOT_YET_VALID: "This key is not valid yet.",
    RefusalReason.EXPIRED: "This key has expired.",
    RefusalReason.PRIVACY_ON: "The room is set to privacy from inside.",
    RefusalReason.TIME_UNCERTAIN: "The door has lost its clock; ask the front desk.",
    RefusalReason.MALFORMED: "The door could not read this key.",
    RefusalReason.UNSUPPORTED_VERSION: "This phone's key format is not understood by the door.",
    RefusalReason.BUSY: "The door is busy; try again in a moment.",
    RefusalReason.NOT_ALLOWED: "This key claims more than its issuer may grant.",
    RefusalReason.OUT_OF_HOURS: "This key is outside its working hours.",
    RefusalReason.USED_UP: "This key has been used as often as it may be.",
    RefusalReason.NEEDS_USER_VERIFICATION: "Unlock the phone with your face, finger or code first.",
    RefusalReason.LOCKED_OUT: "The room is sealed; ask the front desk.",
}


class CredentialRefusedError(PlatformError):
    """A credential was judged and refused; `reason.spoken` can be read aloud."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(reason.spoken)
        self.reason = reason
