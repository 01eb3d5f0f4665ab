"""Issuer certificates: the property CA says which key signs which class, and when.

Source of truth: SPEC.md section 4. A COSE_Sign1 by the CA over CWT claims; 24 hours of signing plus 1 hour of overlap,
and a longer time in which what was signed still verifies. Time is handed in; judging it is `judge.py`.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from protocols import cbor, cose
from protocols.cbor import Value
from protocols.errors import CredentialRefusedError, LocalProtocolError, PeerProtocolError, RefusalReason
from protocols.grant.claims import (
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
from protocols.grant.keys import (
    KID_BYTES,
    OVERLAP_S,
    POINT_BYTES,
    SIGNS_S,
    VERIFY_S,
    IssuerClass,
    PropertyCa,
    compressed,
    kid_of,
    public_key,
)

_CLASS: Final = 1
_SIGNS_UNTIL: Final = 2
_PUBLIC: Final = 3
_OFFICERS: Final = 4
_FIELDS: Final = frozenset({_CLASS, _SIGNS_UNTIL, _PUBLIC, _OFFICERS})
OFFICERS_LEAST: Final = 2
OFFICERS_MOST: Final = 8


@dataclass(frozen=True, slots=True)
class IssuerCertificate:
    """A verified certificate. All times are unix seconds UTC.

    What the key signs carries iat in `not_before_s`..`signs_until_s` and is believed until `not_after_s`.
    """

    issuer_class: IssuerClass
    issued_at_s: int
    not_before_s: int
    signs_until_s: int
    not_after_s: int
    point: bytes
    encoded: bytes
    officers: tuple[bytes, ...] = ()
    """Emergency class alone: the compressed keys of those of whom two must approve each grant, in rising order."""
    _key: ec.EllipticCurvePublicKey | None = attribute(init=False, default=None, compare=False, repr=False)
    """`point` decoded, where reading has done so: a square root costs as much as a key agreement."""

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The issuer's P-256 key."""
        return public_key(self.point) if self._key is None else self._key

    @property
    def kid(self) -> bytes:
        """The 4-byte id that grants name."""
        return kid_of(self.public_key)


def certify(
    ca: PropertyCa,
    key: ec.EllipticCurvePublicKey,
    issuer_class: IssuerClass,
    issued_at_s: int,
    *,
    officers: Collection[bytes] = (),
) -> IssuerCertificate:
    """Certify `key` for one signing window that begins at `issued_at_s` (unix seconds).

    Raises:
        LocalProtocolError: times beyond the calendar, or officers where none belong, too few, too many or no points.
    """
    signs_until_s = issued_at_s + SIGNS_S + OVERLAP_S
    not_after_s = signs_until_s + VERIFY_S[issuer_class]
    if not 0 < issued_at_s <= not_after_s <= SECONDS_MOST:
        raise LocalProtocolError(f"certificate at {issued_at_s} s does not fit the calendar")
    point, listed = compressed(key), tuple(sorted(officers))
    try:
        if _officers([*listed] if listed else None, issuer_class) != listed:
            raise LocalProtocolError("officers do not read as they were written")
    except CredentialRefusedError as error:
        raise LocalProtocolError(f"{len(listed)} officers of class {issuer_class.name}: {error.reason}") from error
    payload = cbor.encode(
        {
            EXP: not_after_s,
            NBF: issued_at_s,
            IAT: issued_at_s,
            PRIVATE: {
                VERSION_FIELD: VERSION,
                _CLASS: int(issuer_class),
                _SIGNS_UNTIL: signs_until_s,
                _PUBLIC: point,
                **({_OFFICERS: list(listed)} if listed else {}),
            },
        }
    )
    return IssuerCertificate(
        issuer_class=issuer_class,
        issued_at_s=issued_at_s,
        not_before_s=issued_at_s,
        signs_until_s=signs_until_s,
        not_after_s=not_after_s,
        point=point,
        encoded=cose.sign1(payload, ca.ca, ca.kid),
        officers=listed,
    )


def open_certificate(encoded: bytes, ca_keys: Mapping[bytes, ec.EllipticCurvePublicKey]) -> IssuerCertificate:
    """Verify a certificate against the property's CA keys (by kid; two generations at most) and read it.

    Raises:
        CredentialRefusedError: MALFORMED, UNKNOWN_ISSUER, BAD_SIGNATURE, UNSUPPORTED_VERSION, or NOT_ALLOWED when its
            windows are wider than its class allows.
    """
    try:
        payload = cose.verify1(encoded, ca_keys.get, most_bytes=SIGNED_BYTES_MOST)
    except PeerProtocolError as error:
        raise CredentialRefusedError(RefusalReason.MALFORMED) from error
    return _read(payload, encoded)


def own_certificate(encoded: bytes) -> IssuerCertificate:
    """Read a certificate that its reader made himself and kept, whatever became of the CA; nothing is verified.

    Raises:
        CredentialRefusedError: as `open_certificate`, but for what the CA's key would show.
    """
    try:
        return _read(cose.parse1(encoded, most_bytes=SIGNED_BYTES_MOST).payload, encoded)
    except PeerProtocolError as error:
        raise CredentialRefusedError(RefusalReason.MALFORMED) from error


def _read(payload: bytes, encoded: bytes) -> IssuerCertificate:
    found = claims(payload, known=frozenset({EXP, NBF, IAT}), fields=_FIELDS)
    try:
        issuer_class = IssuerClass(whole(found, field(_CLASS), 255))
        point = octets(found, field(_PUBLIC), POINT_BYTES)
        key = public_key(point)
    except (ValueError, PeerProtocolError) as error:
        raise CredentialRefusedError(RefusalReason.MALFORMED) from error
    certificate = IssuerCertificate(
        issuer_class=issuer_class,
        issued_at_s=whole(found, IAT, SECONDS_MOST),
        not_before_s=whole(found, NBF, SECONDS_MOST),
        signs_until_s=whole(found, field(_SIGNS_UNTIL), SECONDS_MOST),
        not_after_s=whole(found, EXP, SECONDS_MOST),
        point=point,
        encoded=encoded,
        officers=_officers(found.get(field(_OFFICERS)), issuer_class),
    )
    object.__setattr__(certificate, "_key", key)
    signs_s = certificate.signs_until_s - certificate.not_before_s
    verifies_s = certificate.not_after_s - certificate.signs_until_s
    if not 0 < signs_s <= SIGNS_S + OVERLAP_S or not 0 <= verifies_s <= VERIFY_S[issuer_class]:
        raise CredentialRefusedError(RefusalReason.NOT_ALLOWED)
    return certificate


@dataclass(frozen=True, slots=True)
class Remembered:
    """What finds a certificate again that was verified once: its CA's key id, its own, until when it verifies."""

    ca_kid: bytes
    kid: bytes
    not_after_s: int


def remembered(encoded: bytes) -> Remembered:
    """Read a certificate that its reader verified before it kept it, without the work of verifying it again.

    It is no proof: whoever uses the certificate opens it, against the CA keys of that day.

    Raises:
        CredentialRefusedError: it is no certificate.
    """
    try:
        message = cose.parse1(encoded, most_bytes=SIGNED_BYTES_MOST)
        found = claims(message.payload, known=frozenset({EXP, NBF, IAT}), fields=_FIELDS)
        point = octets(found, field(_PUBLIC), POINT_BYTES)
    except PeerProtocolError as error:
        raise CredentialRefusedError(RefusalReason.MALFORMED) from error
    return Remembered(message.kid, hashlib.sha256(point).digest()[:KID_BYTES], whole(found, EXP, SECONDS_MOST))


def _officers(value: Value, issuer_class: IssuerClass) -> tuple[bytes, ...]:
    """Read the officers of an emergency certificate: 2 to 8 points, rising, whose key ids differ. Others have none."""
    if issuer_class is not IssuerClass.EMERGENCY:
        if value is not None:
            raise CredentialRefusedError(RefusalReason.NOT_ALLOWED)
        return ()
    if not isinstance(value, list) or not OFFICERS_LEAST <= len(value) <= OFFICERS_MOST:
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    officers = tuple(each for each in value if isinstance(each, bytes))
    try:
        kids = {kid_of(public_key(each)) for each in officers}
    except PeerProtocolError as error:
        raise CredentialRefusedError(RefusalReason.MALFORMED) from error
    if len(kids) != len(value) or list(officers) != sorted(officers):
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    return officers
