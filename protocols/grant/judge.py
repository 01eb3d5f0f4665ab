"""Whether a verified grant opens this door now, and what opening it changes: the hotel rule, made safe.

Source of truth: SPEC.md sections 6 (generation), 8 (time) and 9 (order of judging); vectors in protocols/vectors/grant.
Pure: the door's state and time are handed in, the new ones are handed back. Signatures are `grant.open_grant`'s
work, the phone's proof of its key is protocols/door's.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from protocols.errors import CredentialRefusedError, RefusalReason
from protocols.grant.certificate import IssuerCertificate
from protocols.grant.generation import DAYS_AHEAD_MOST, NONE, day_in, day_of
from protocols.grant.grant import NO_FLAGS, Grant, GrantFlag, Shift
from protocols.grant.keys import DAY_S, HOUR_S, VERIFY_S, IssuerClass
from protocols.grant.lock_time import LockTime, TimeQuality, check_signed_in_window, check_still_verifies

USES_KEPT_MOST: Final = 64
"""A lock remembers that many limited grants; when all are still valid, one more is refused as BUSY."""

BEGUN_KEPT_MOST: Final = 16
"""A lock remembers when that many failsafe keys began; when all may still open, one more is refused as BUSY."""

ONE_USE_MS: Final = 10_000
"""What a phone asks again within this time of a use that counted is the same use: its answer may have been lost, and
the bolt may still be drawn. Measured from the use that counted, so it cannot be prolonged."""

_ALLOWED_FLAGS: Final[dict[IssuerClass, int]] = {  # whole numbers: a flag's own arithmetic costs as much as a hash
    IssuerClass.GUEST: int(GrantFlag.JOIN | GrantFlag.ONE_SHOT | GrantFlag.NEEDS_USER_VERIFICATION),
    IssuerClass.STAFF: int(
        GrantFlag.STAFF | GrantFlag.ONE_SHOT | GrantFlag.NEEDS_USER_VERIFICATION | GrantFlag.PASSAGE
    ),
    IssuerClass.EMERGENCY: int(
        GrantFlag.EMERGENCY | GrantFlag.PRIVACY_OVERRIDE | GrantFlag.ONE_SHOT | GrantFlag.NEEDS_USER_VERIFICATION
    ),
}
_MUST_FLAGS: Final[dict[IssuerClass, int]] = {
    IssuerClass.GUEST: int(NO_FLAGS),
    IssuerClass.STAFF: int(GrantFlag.STAFF),
    IssuerClass.EMERGENCY: int(GrantFlag.EMERGENCY),
}
_ONE_SHOT: Final = int(GrantFlag.ONE_SHOT)
_PRIVACY_OVERRIDE: Final = int(GrantFlag.PRIVACY_OVERRIDE)
_PASSAGE: Final = int(GrantFlag.PASSAGE)
_NEEDS_USER_VERIFICATION: Final = int(GrantFlag.NEEDS_USER_VERIFICATION)

EMERGENCY_MOST_S: Final = 900
"""An emergency grant ends that long after it was issued, whatever else it says."""


_NOTHING: Final[Mapping[bytes, int]] = MappingProxyType({})


class DoorState(NamedTuple):
    """What a lock knows when it judges. A guest-room lock has a room number, a common door a zone mask.

    `room` 0 means none. `revoked` holds withdrawn grant ids, `uses` counts limited grants by id.
    """

    room: int = 0
    zones: int = 0
    generation: int = NONE
    privacy: bool = False
    revoked: Collection[bytes] = frozenset()
    uses: Mapping[bytes, int] = _NOTHING
    just_used: Collection[bytes] = frozenset()
    """Grants whose last counted use is less than ONE_USE_MS ago."""
    withdrawn: Collection[bytes] = frozenset()
    """Key ids of issuers whose certificates were withdrawn."""
    locked_out: bool = False
    """Sealed: nobody but the emergency class opens it."""
    begun: Mapping[bytes, int] = _NOTHING
    """When the failsafe keys known here opened first, unix seconds by grant id."""


class Verdict(NamedTuple):
    """`reason` None: open. `promotes_to`: the generation to store first. `time`: what the lock now knows of it."""

    reason: RefusalReason | None
    time: LockTime
    promotes_to: int | None = None
    counts_use: bool = False
    begins: bool = False
    """A failsafe key opens for the first time: note when."""

    @property
    def opens(self) -> bool:
        """Whether the motor may move."""
        return self.reason is None


def judge(
    grant: Grant,
    certificate: IssuerCertificate,
    door: DoorState,
    time: LockTime,
    *,
    user_verified: bool = False,
    latch: bool = False,
) -> Verdict:
    """Judge a grant whose signature and holder are already proved.

    Args:
        grant: As `open_grant` returned it.
        certificate: Its issuer's, as `open_certificate` returned it.
        door: The lock's state.
        time: The lock's time.
        user_verified: Whether the phone asserts that its user unlocked it for this.
        latch: Whether it asks to hold the door open, or to end that, rather than to open it once.
    """
    if door.withdrawn and certificate.point and certificate.kid in door.withdrawn:
        return Verdict(RefusalReason.REVOKED, time)  # not even its iat is believed
    flags, issuer_class = int(grant.flags), certificate.issuer_class
    try:
        check_class(grant, certificate)
        if latch and not flags & _PASSAGE:
            raise CredentialRefusedError(RefusalReason.NOT_ALLOWED)
        check_signed_in_window(certificate, grant.issued_at_s)
        time = time.having_seen(certificate.issued_at_s).having_seen(grant.issued_at_s)
        check_still_verifies(certificate, time)
    except CredentialRefusedError as refused:
        return Verdict(refused.reason, time)
    private = door.room != 0 and grant.names(door.room)
    if not private and not door.zones & grant.zones:
        return Verdict(RefusalReason.WRONG_DOOR, time)
    if grant.grant_id in door.revoked:
        return Verdict(RefusalReason.REVOKED, time)
    if door.locked_out and issuer_class is not IssuerClass.EMERGENCY:
        return Verdict(RefusalReason.LOCKED_OUT, time)
    generation_counts = private and issuer_class is IssuerClass.GUEST
    if generation_counts and grant.generation < max(door.generation, NONE + 1):
        return Verdict(RefusalReason.SUPERSEDED, time)
    promotes = generation_counts and grant.generation > door.generation
    if (reason := _out_of_time(grant, issuer_class, time, promotes=promotes, private=private)) is not None:
        return Verdict(reason, time)
    if _outlived(grant, door.begun.get(grant.grant_id), time):
        return Verdict(RefusalReason.EXPIRED, time)
    if promotes and day_in(grant.generation) > day_of(time.now_s) + DAYS_AHEAD_MOST:
        return Verdict(RefusalReason.NOT_YET_VALID, time)
    if door.privacy and not flags & _PRIVACY_OVERRIDE:
        return Verdict(RefusalReason.PRIVACY_ON, time)
    if flags & _NEEDS_USER_VERIFICATION and not user_verified:
        return Verdict(RefusalReason.NEEDS_USER_VERIFICATION, time)
    uses_most = uses_allowed(grant)
    if grant.grant_id in door.just_used:
        uses_most = None  # the same use, asked again
    if uses_most is not None and door.uses.get(grant.grant_id, 0) >= uses_most:
        return Verdict(RefusalReason.USED_UP, time)
    if uses_most is not None and grant.grant_id not in door.uses and len(door.uses) >= USES_KEPT_MOST:
        return Verdict(RefusalReason.BUSY, time)
    begins = grant.life_hours is not None and grant.grant_id not in door.begun
    if begins and len(door.begun) >= BEGUN_KEPT_MOST:
        return Verdict(RefusalReason.BUSY, time)
    return Verdict(None, time, grant.generation if promotes else None, uses_most is not None, begins)


def check_class(grant: Grant, certificate: IssuerCertificate) -> None:
    """Refuse a grant that claims more than its issuer's class may give (SPEC.md 9.1).

    Raises:
        CredentialRefusedError: NOT_ALLOWED.
    """
    issuer_class = certificate.issuer_class
    if issuer_class not in _ALLOWED_FLAGS:
        raise CredentialRefusedError(RefusalReason.NOT_ALLOWED)
    emergency, flags = issuer_class is IssuerClass.EMERGENCY, int(grant.flags)
    if (
        flags & ~_ALLOWED_FLAGS[issuer_class]
        or (flags & _MUST_FLAGS[issuer_class]) != _MUST_FLAGS[issuer_class]
        or (issuer_class is not IssuerClass.GUEST and grant.generation != NONE)
        or emergency != bool(grant.approvals)
        or (emergency and grant.not_after_s > grant.issued_at_s + EMERGENCY_MOST_S)
        or grant.not_after_s - grant.not_before_s > VERIFY_S[issuer_class]
        or grant.not_after_s > certificate.not_after_s
        or (flags & _PASSAGE and not _may_latch(grant))
        or (grant.life_hours is not None and issuer_class is not IssuerClass.GUEST)
    ):
        raise CredentialRefusedError(RefusalReason.NOT_ALLOWED)


def _may_latch(grant: Grant) -> bool:
    """Whether a passage grant keeps to common doors, and has no limit that ending a passage could run into."""
    return not grant.rooms and not grant.ranges and uses_allowed(grant) is None


def uses_allowed(grant: Grant) -> int | None:
    """Return how often `grant` may open one door, None without a limit."""
    return 1 if int(grant.flags) & _ONE_SHOT else grant.uses_most


def _outlived(grant: Grant, began_s: int | None, time: LockTime) -> bool:
    """Whether a failsafe key's hours since its first opening here are over."""
    if grant.life_hours is None or began_s is None:
        return False
    leeway_s = 0 if time.quality is TimeQuality.UNCERTAIN else time.leeway_s(IssuerClass.GUEST)
    return time.now_s > began_s + grant.life_hours * HOUR_S + leeway_s


def latched_until_s(grant: Grant, at_s: int) -> int:
    """Return when a passage that begins at `at_s` ends by itself: with the grant, or with the shift it lies in."""
    if grant.shift is None:
        return grant.not_after_s
    into_day_s = at_s % DAY_S
    ends_s = at_s - into_day_s + grant.shift.to_minute * 60
    return min(grant.not_after_s, ends_s if into_day_s < grant.shift.to_minute * 60 else ends_s + DAY_S)


def _out_of_time(
    grant: Grant, issuer_class: IssuerClass, time: LockTime, *, promotes: bool, private: bool
) -> RefusalReason | None:
    if time.quality is TimeQuality.UNCERTAIN:
        if issuer_class is not IssuerClass.GUEST:
            return RefusalReason.TIME_UNCERTAIN
        if grant.not_after_s <= time.now_s:
            return RefusalReason.EXPIRED
        begun = grant.not_before_s <= time.now_s
        if grant.shift is not None or (not begun and (promotes or not private)):
            return RefusalReason.TIME_UNCERTAIN  # a lower bound of the time says nothing about the hour
        return None
    leeway_s = time.leeway_s(issuer_class)
    if time.now_s > grant.not_after_s + leeway_s:
        return RefusalReason.EXPIRED
    # Evicting the guest before takes no leeway: tomorrow's guest must not do it a minute early.
    if grant.not_before_s > time.now_s + (0 if promotes else leeway_s):
        return RefusalReason.NOT_YET_VALID
    if grant.shift is not None and not on_shift(grant.shift, time.now_s):
        return RefusalReason.OUT_OF_HOURS
    return None


def on_shift(shift: Shift, at_s: int) -> bool:
    """Whether unix second `at_s` lies in `shift`, from its first minute to before its last."""
    weekday, minute = (at_s // DAY_S + 3) % 7, at_s % DAY_S // 60  # 1970-01-01 was a Thursday
    today, yesterday = bool(shift.days >> weekday & 1), bool(shift.days >> (weekday - 1) % 7 & 1)
    if shift.from_minute < shift.to_minute:
        return today and shift.from_minute <= minute < shift.to_minute
    return (today and minute >= shift.from_minute) or (yesterday and minute < shift.to_minute)
