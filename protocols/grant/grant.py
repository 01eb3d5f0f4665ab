"""The grant: a CWT in a COSE_Sign1 by an issuer key, naming doors, times, a generation and the phone's key.

Source of truth: SPEC.md section 5. Reading one proves its signature and shape; whether it opens a door now is
`judge.py`'s question.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntFlag
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from protocols import cbor, cose
from protocols.cbor import Value
from protocols.errors import CredentialRefusedError, LocalProtocolError, PeerProtocolError, RefusalReason
from protocols.grant.certificate import IssuerCertificate
from protocols.grant.claims import (
    CTI,
    EXP,
    IAT,
    NBF,
    PRIVATE,
    SECONDS_MOST,
    SIGNED_BYTES_MOST,
    VERSION,
    VERSION_FIELD,
    claims,
    field,
    octets,
    whole,
)
from protocols.grant.generation import GENERATION_MOST, NONE
from protocols.grant.keys import KID_BYTES, POINT_BYTES, kid_of, public_key

GRANT_ID_BYTES: Final = 8
ROOMS_MOST: Final = 40
RANGES_MOST: Final = 16
ROOM_MOST: Final = 0xFFFF
MINUTES_MOST: Final = 24 * 60 - 1
LIFE_HOURS_MOST: Final = 72

_ROOMS: Final = 1
_RANGES: Final = 2
_ZONES: Final = 3
_GENERATION: Final = 4
_FLAGS: Final = 5
_PHONE: Final = 6
_SCHEDULE: Final = 7
_USES: Final = 8
_APPROVALS: Final = 9
_LIFE: Final = 10
_FIELDS: Final = frozenset(range(_ROOMS, _LIFE + 1))
_APPROVE_LABEL: Final = b"innkeeper/grant/1 approve\x00"
APPROVALS: Final = 2


class GrantFlag(IntFlag):
    """What version 1 knows. Every other bit is reserved (SPEC.md 5.2) and refused."""

    JOIN = 1
    ONE_SHOT = 2
    PRIVACY_OVERRIDE = 4
    PASSAGE = 8
    """May latch a common door open for a while (protocols/door LATCH)."""
    NEEDS_USER_VERIFICATION = 16
    EMERGENCY = 32
    STAFF = 128


NO_FLAGS: Final = GrantFlag(0)
_KNOWN_FLAGS: Final = sum(GrantFlag)


@dataclass(frozen=True, slots=True)
class Shift:
    """Working hours in UTC: `days` is a mask, bit 0 = Monday, of the day on which the shift begins.

    Minutes of the day; a shift whose end is not after its start runs over midnight.
    """

    days: int
    from_minute: int
    to_minute: int


@dataclass(frozen=True, slots=True)
class Approval:
    """An officer's signature under an emergency grant: his key's id, 4 bytes, and ES256 over `approval_statement`."""

    kid: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Grant:
    """A right to open doors, held by the phone whose compressed key is `phone`. Times are unix seconds UTC."""

    grant_id: bytes
    issued_at_s: int
    not_before_s: int
    not_after_s: int
    phone: bytes
    rooms: tuple[int, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()
    zones: int = 0
    generation: int = NONE
    flags: GrantFlag = NO_FLAGS
    shift: Shift | None = None
    uses_most: int | None = None
    approvals: tuple[Approval, ...] = ()
    life_hours: int | None = None
    """A failsafe key: so long from its first opening of a door, and no longer, whatever `not_after_s` leaves."""

    def names(self, room: int) -> bool:
        """Whether the private door of `room` is among its rooms or ranges."""
        return room in self.rooms or any(first <= room <= last for first, last in self.ranges)

    def payload(self) -> bytes:
        """Return the CWT claims: what is absent takes no byte."""
        private: dict[int, object] = {VERSION_FIELD: VERSION}
        if self.rooms:
            private[_ROOMS] = list(self.rooms)
        if self.ranges:
            private[_RANGES] = [list(pair) for pair in self.ranges]
        if self.zones:
            private[_ZONES] = self.zones
        if self.generation != NONE:
            private[_GENERATION] = self.generation
        if self.flags:
            private[_FLAGS] = int(self.flags)
        private[_PHONE] = self.phone
        if self.shift is not None:
            private[_SCHEDULE] = [self.shift.days, self.shift.from_minute, self.shift.to_minute]
        if self.uses_most is not None:
            private[_USES] = self.uses_most
        if self.approvals:
            private[_APPROVALS] = [[each.kid, each.signature] for each in self.approvals]
        if self.life_hours is not None:
            private[_LIFE] = self.life_hours
        return cbor.encode(
            {
                EXP: self.not_after_s,
                NBF: self.not_before_s,
                IAT: self.issued_at_s,
                CTI: self.grant_id,
                PRIVATE: private,
            }
        )


def approval_statement(grant: Grant) -> bytes:
    """Return what an officer signs: every claim of the grant, without anybody's approval."""
    return _APPROVE_LABEL + hashlib.sha256(replace(grant, approvals=()).payload()).digest()


def sign_grant(grant: Grant, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the signed grant.

    Raises:
        LocalProtocolError: `grant` breaks SPEC.md 5: it would be refused by every lock.
    """
    payload = grant.payload()
    try:
        read = _read(payload)
    except CredentialRefusedError as error:
        raise LocalProtocolError(f"grant {grant.grant_id.hex()} breaks the specification: {error.reason}") from error
    if read != grant:
        raise LocalProtocolError(f"grant {grant.grant_id.hex()} does not say what it means: {read} for {grant}")
    return cose.sign1(payload, key, kid_of(key.public_key()))


def open_grant(encoded: bytes, certificate: IssuerCertificate) -> Grant:
    """Verify a grant against its issuer's certificate and read it.

    Raises:
        CredentialRefusedError: MALFORMED, UNKNOWN_ISSUER (another key id), BAD_SIGNATURE, UNSUPPORTED_VERSION.
    """
    keys: Mapping[bytes, ec.EllipticCurvePublicKey] = {certificate.kid: certificate.public_key}
    try:
        payload = cose.verify1(encoded, keys.get, most_bytes=SIGNED_BYTES_MOST)
    except PeerProtocolError as error:
        raise CredentialRefusedError(RefusalReason.MALFORMED) from error
    grant = _read(payload)
    if certificate.officers:
        _check_approved(grant, certificate)
    return grant


def _check_approved(grant: Grant, certificate: IssuerCertificate) -> None:
    """Refuse what two different officers of the certificate did not sign.

    Raises:
        CredentialRefusedError: NOT_ALLOWED (too few, the same twice, no officer), BAD_SIGNATURE.
    """
    officers = {kid_of(public_key(point)): public_key(point) for point in certificate.officers}
    kids = [each.kid for each in grant.approvals]
    if len(kids) != APPROVALS or len(set(kids)) != APPROVALS or not set(kids) <= set(officers):
        raise CredentialRefusedError(RefusalReason.NOT_ALLOWED)
    statement = approval_statement(grant)
    if not all(cose.verify_raw(officers[each.kid], each.signature, statement) for each in grant.approvals):
        raise CredentialRefusedError(RefusalReason.BAD_SIGNATURE)


def issuer_kid(encoded: bytes) -> bytes:
    """Return the key id a signed object names, unverified.

    Raises:
        CredentialRefusedError: MALFORMED.
    """
    try:
        return cose.parse1(encoded, most_bytes=SIGNED_BYTES_MOST).kid
    except PeerProtocolError as error:
        raise CredentialRefusedError(RefusalReason.MALFORMED) from error


def _read(payload: bytes) -> Grant:
    found = claims(payload, known=frozenset({EXP, NBF, IAT, CTI}), fields=_FIELDS)
    flags = whole(found, field(_FLAGS), 2**32 - 1, default=0)
    if flags & ~_KNOWN_FLAGS:
        raise CredentialRefusedError(RefusalReason.UNSUPPORTED_VERSION)
    phone = octets(found, field(_PHONE), POINT_BYTES)
    try:
        public_key(phone)
    except PeerProtocolError as error:
        raise CredentialRefusedError(RefusalReason.MALFORMED) from error
    uses = whole(found, field(_USES), 0xFFFF, least=1) if field(_USES) in found else None
    life = whole(found, field(_LIFE), LIFE_HOURS_MOST, least=1) if field(_LIFE) in found else None
    grant = Grant(
        grant_id=octets(found, CTI, GRANT_ID_BYTES),
        issued_at_s=whole(found, IAT, SECONDS_MOST),
        not_before_s=whole(found, NBF, SECONDS_MOST),
        not_after_s=whole(found, EXP, SECONDS_MOST),
        phone=phone,
        rooms=_rooms(found.get(field(_ROOMS))),
        ranges=_ranges(found.get(field(_RANGES))),
        zones=whole(found, field(_ZONES), 2**64 - 1, default=0),
        generation=whole(found, field(_GENERATION), GENERATION_MOST, default=NONE),
        flags=GrantFlag(flags),
        shift=_shift(found.get(field(_SCHEDULE))),
        uses_most=uses,
        approvals=_approvals(found.get(field(_APPROVALS))),
        life_hours=life,
    )
    if grant.not_after_s <= grant.not_before_s or grant.payload() != payload:
        raise CredentialRefusedError(RefusalReason.MALFORMED)  # said in a longer way than it needs
    return grant


def _rooms(value: Value) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > ROOMS_MOST:
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    rooms = tuple(room for room in value if type(room) is int and 1 <= room <= ROOM_MOST)
    if len(rooms) != len(value) or list(rooms) != sorted(set(rooms)):
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    return rooms


def _ranges(value: Value) -> tuple[tuple[int, int], ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > RANGES_MOST:
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    ranges: list[tuple[int, int]] = []
    for pair in value:
        first, last = _whole_numbers(pair, 2)
        if not 1 <= first <= last <= ROOM_MOST:
            raise CredentialRefusedError(RefusalReason.MALFORMED)
        ranges.append((first, last))
    return tuple(ranges)


def _shift(value: Value) -> Shift | None:
    if value is None:
        return None
    days, start, end = _whole_numbers(value, 3)
    if not (1 <= days <= 127 and 0 <= start <= MINUTES_MOST and 0 <= end <= MINUTES_MOST):
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    return Shift(days, start, end)


def _approvals(value: Value) -> tuple[Approval, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > APPROVALS:
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    approvals: list[Approval] = []
    for each in value:
        match each:
            case [bytes() as kid, bytes() as signature] if (len(kid), len(signature)) == (
                KID_BYTES,
                cose.SIGNATURE_BYTES,
            ):
                approvals.append(Approval(kid, signature))
            case _:
                raise CredentialRefusedError(RefusalReason.MALFORMED)
    if [each.kid for each in approvals] != sorted(each.kid for each in approvals):
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    return tuple(approvals)


def _whole_numbers(value: Value, count: int) -> list[int]:
    if not isinstance(value, list) or len(value) != count:
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    numbers = [each for each in value if type(each) is int]
    if len(numbers) != count:
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    return numbers
