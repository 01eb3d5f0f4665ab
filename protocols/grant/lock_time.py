"""What a lock knows of the time: a floor that is certain, an estimate that drifts, and how far to trust it.

Source of truth: SPEC.md section 8. All values are unix seconds UTC; nothing here reads a clock.
"""

from enum import IntEnum
from typing import Final, NamedTuple

from protocols.enum_members import plain_members
from protocols.errors import CredentialRefusedError, RefusalReason
from protocols.grant.certificate import IssuerCertificate
from protocols.grant.keys import DAY_S, HOUR_S, IssuerClass

DRIFT_PPM: Final = 20
FRESH_S: Final = 7 * DAY_S
LEEWAY_LEAST_S: Final = 60
LEEWAY_MOST_S: Final[dict[IssuerClass, int]] = {
    IssuerClass.GUEST: 600,
    IssuerClass.STAFF: 120,
    IssuerClass.EMERGENCY: 0,
    IssuerClass.REVOCATION: 600,
}
FLOOR_JUMP_MOST_S: Final = 48 * HOUR_S
"""A signed object further ahead than this does not move the lock's floor: only the answer to its own nonce does."""


@plain_members
class TimeQuality(IntEnum):
    """How far the lock trusts its estimate; the byte on the wire."""

    FRESH = 0
    DRIFTING = 1
    UNCERTAIN = 2


class LockTime(NamedTuple):
    """The lock's time at one moment: `floor_s` <= `now_s`; the floor has certainly passed."""

    now_s: int
    floor_s: int
    quality: TimeQuality
    drift_s: int = 0

    def leeway_s(self, issuer_class: IssuerClass) -> int:
        """How long before nbf and after exp a grant of this class is still taken, on a certain clock."""
        return min(LEEWAY_LEAST_S + 2 * self.drift_s, LEEWAY_MOST_S[issuer_class])

    def having_seen(self, issued_at_s: int) -> "LockTime":
        """Return the time after a verified object issued at `issued_at_s`: it is now at least that late.

        More than FLOOR_JUMP_MOST_S ahead it is not taken over: a lock without certain time goes on with what it has
        (a guest it knows already is not locked out), one with certain time doubts the object.

        Raises:
            CredentialRefusedError: TIME_UNCERTAIN: too far ahead of a clock that is certain.
        """
        if issued_at_s > self.now_s + FLOOR_JUMP_MOST_S:
            if self.quality is TimeQuality.UNCERTAIN:
                return self
            raise CredentialRefusedError(RefusalReason.TIME_UNCERTAIN)
        if issued_at_s <= self.floor_s:  # which is never above now
            return self
        return self._replace(floor_s=issued_at_s, now_s=max(self.now_s, issued_at_s))


def check_signed_in_window(certificate: IssuerCertificate, issued_at_s: int) -> None:
    """Refuse what was signed outside its issuer's signing window.

    Raises:
        CredentialRefusedError: NOT_ALLOWED.
    """
    if not certificate.not_before_s <= issued_at_s <= certificate.signs_until_s:
        raise CredentialRefusedError(RefusalReason.NOT_ALLOWED)


def check_still_verifies(certificate: IssuerCertificate, time: LockTime) -> None:
    """Refuse a certificate past its verifying time, or (on a certain clock) before its window.

    Raises:
        CredentialRefusedError: EXPIRED or NOT_YET_VALID.
    """
    leeway_s = time.leeway_s(certificate.issuer_class) if time.quality is not TimeQuality.UNCERTAIN else 0
    if time.now_s > certificate.not_after_s + leeway_s:
        raise CredentialRefusedError(RefusalReason.EXPIRED)
    if time.quality is not TimeQuality.UNCERTAIN and certificate.not_before_s > time.now_s + leeway_s:
        raise CredentialRefusedError(RefusalReason.NOT_YET_VALID)
