"""What a lock answers: one byte, the same for the phone, the audit record and the edge.

Source of truth: SPEC.md section 6. Below 0x10 it was done; from 0x10 on it was refused, and `reason` says why.
"""

from enum import IntEnum
from typing import Final

from protocols.enum_members import plain_members
from protocols.errors import RefusalReason


@plain_members
class Status(IntEnum):
    """Status byte of RESULT and of audit records."""

    OPENED = 0x00
    DONE = 0x01
    UNCHANGED = 0x02
    """Carried, verified, and not newer than what the lock has."""
    NEED_CERTIFICATE = 0x03
    """The certificate id is unknown here: ask again with the whole certificate, on the same link."""

    UNKNOWN_ISSUER = 0x10
    BAD_SIGNATURE = 0x11
    WRONG_DOOR = 0x12
    SUPERSEDED = 0x13
    REVOKED = 0x14
    NOT_YET_VALID = 0x15
    EXPIRED = 0x16
    PRIVACY_ON = 0x17
    TIME_UNCERTAIN = 0x18
    MALFORMED = 0x19
    UNSUPPORTED_VERSION = 0x1A
    BUSY = 0x1B
    NOT_ALLOWED = 0x1C
    OUT_OF_HOURS = 0x1D
    USED_UP = 0x1E
    NEEDS_USER_VERIFICATION = 0x1F
    LOCKED_OUT = 0x20

    @property
    def reason(self) -> RefusalReason | None:
        """Why it was refused; None if it was not."""
        return _REASONS.get(self)

    @classmethod
    def of(cls, reason: RefusalReason) -> "Status":
        """Return the status that says `reason`."""
        return cls[reason.name]


_REASONS: Final[dict[Status, RefusalReason]] = {Status[reason.name]: reason for reason in RefusalReason}
