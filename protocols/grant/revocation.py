"""What the revocation class signs and anybody may carry to a lock: bump, time, revocations, lockout, acknowledgement.

Source of truth: SPEC.md section 7. The carrier is not trusted: each object is judged by its signature and by the lock's
own state, so that carrying one late, twice or to the wrong door changes nothing.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec

from protocols import cbor, cose
from protocols.cbor import Value
from protocols.errors import CredentialRefusedError, LocalProtocolError, PeerProtocolError, RefusalReason
from protocols.grant.certificate import IssuerCertificate
from protocols.grant.claims import (
    IAT,
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
from protocols.grant.generation import GENERATION_MOST
from protocols.grant.grant import GRANT_ID_BYTES, ROOM_MOST
from protocols.grant.keys import DAY_S, KID_BYTES, IssuerClass, kid_of

REVOCATIONS_MOST: Final = 32
"""So many grants one list, or one part that continues it, names."""
REVOKED_MOST: Final = 128
"""So many a lock keeps: a list of 32 and what continues it."""
ISSUERS_MOST: Final = 8
SEQ_AHEAD_MOST_S: Final = DAY_S
"""A list or lockout is numbered at most this much beyond its own iat: nobody can spend the numbers."""
LOCK_ID_BYTES: Final = 8
CHAIN_BYTES: Final = 16
NONCE_BYTES: Final = 16
SEQ_MOST: Final = 2**32 - 1


class Kind(IntEnum):
    """What a signed object is: field 1 of its private map."""

    BUMP = 1
    TIME = 2
    REVOCATIONS = 3
    ACKNOWLEDGEMENT = 4
    LOCKOUT = 5


_KIND: Final = 1
_ROOM: Final = 2
_GENERATION: Final = 3
_NONCE: Final = 4
_SEQ: Final = 5
_ENTRIES: Final = 6
_LOCK: Final = 7
_HEAD: Final = 8
_ISSUERS: Final = 9
_SEALED: Final = 10
_AFTER: Final = 12
_FIELDS: Final = frozenset({*range(_KIND, _SEALED + 1), _AFTER})


@dataclass(frozen=True, slots=True)
class Bump:
    """Whatever opened `room` before `generation` opens it no more: check-out, lost phone, inhibit."""

    room: int
    generation: int


@dataclass(frozen=True, slots=True)
class TimeBeacon:
    """It is `issued_at_s` now. With the lock's own nonce it answers this very exchange; without, it may be old."""

    nonce: bytes | None = None


@dataclass(frozen=True, slots=True)
class Revocations:
    """All that is withdrawn before its time, as of sequence number `seq`.

    `entries`: single grants, (grant id, its not_after_s). `issuers`: certificates, (key id, its not_after_s).
    `after`: its grants are withdrawn beside those of the list of that number, which it continues; 0: it stands alone.
    """

    seq: int
    entries: tuple[tuple[bytes, int], ...]
    issuers: tuple[tuple[bytes, int], ...] = ()
    after: int = 0


@dataclass(frozen=True, slots=True)
class Lockout:
    """The door of `lock_id` is sealed for all but the emergency class, or no longer; `seq` says which word is newer."""

    lock_id: bytes
    seq: int
    sealed: bool


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The edge holds the records of `lock_id` up to `seq`, whose chain is `head`: they may be overwritten."""

    lock_id: bytes
    seq: int
    head: bytes


Body: TypeAlias = Bump | TimeBeacon | Revocations | Acknowledgement | Lockout


@dataclass(frozen=True, slots=True)
class SignedObject:
    """A verified object and the certificate of the key that signed it."""

    body: Body
    issued_at_s: int
    certificate: IssuerCertificate


def sign_object(body: Body, key: ec.EllipticCurvePrivateKey, issued_at_s: int) -> bytes:
    """Return the signed object (COSE_Sign1).

    Raises:
        LocalProtocolError: `body` breaks SPEC.md 7.
    """
    payload = cbor.encode({IAT: issued_at_s, PRIVATE: {VERSION_FIELD: VERSION, **_fields(body)}})
    try:
        if _read(payload) != (body, issued_at_s):
            raise LocalProtocolError(f"{body} does not survive its own encoding")
    except CredentialRefusedError as error:
        raise LocalProtocolError(f"{body} breaks the specification: {error.reason}") from error
    return cose.sign1(payload, key, kid_of(key.public_key()))


def open_object(encoded: bytes, certificate: IssuerCertificate) -> SignedObject:
    """Verify a signed object against its issuer's certificate and read it.

    Raises:
        CredentialRefusedError: MALFORMED, UNKNOWN_ISSUER, BAD_SIGNATURE, UNSUPPORTED_VERSION, or NOT_ALLOWED when
            its signer is of another class.
    """
    try:
        payload = cose.verify1(encoded, {certificate.kid: certificate.public_key}.get, most_bytes=SIGNED_BYTES_MOST)
    except PeerProtocolError as error:
        raise CredentialRefusedError(RefusalReason.MALFORMED) from error
    if certificate.issuer_class is not IssuerClass.REVOCATION:
        raise CredentialRefusedError(RefusalReason.NOT_ALLOWED)
    body, issued_at_s = _read(payload)
    return SignedObject(body, issued_at_s, certificate)


def _fields(body: Body) -> dict[int, object]:
    match body:
        case Bump():
            return {_KIND: int(Kind.BUMP), _ROOM: body.room, _GENERATION: body.generation}
        case TimeBeacon(None):
            return {_KIND: int(Kind.TIME)}
        case TimeBeacon():
            return {_KIND: int(Kind.TIME), _NONCE: body.nonce}
        case Revocations():
            return {
                _KIND: int(Kind.REVOCATIONS),
                _SEQ: body.seq,
                _ENTRIES: [[grant_id, not_after_s] for grant_id, not_after_s in body.entries],
                **({_ISSUERS: [[kid, not_after_s] for kid, not_after_s in body.issuers]} if body.issuers else {}),
                **({_AFTER: body.after} if body.after else {}),
            }
        case Lockout():
            return {
                _KIND: int(Kind.LOCKOUT),
                _SEQ: body.seq,
                _LOCK: body.lock_id,
                _SEALED: int(body.sealed),
            }
        case Acknowledgement():
            return {
                _KIND: int(Kind.ACKNOWLEDGEMENT),
                _SEQ: body.seq,
                _LOCK: body.lock_id,
                _HEAD: body.head,
            }


def _read(payload: bytes) -> tuple[Body, int]:
    found = claims(payload, known=frozenset({IAT}), fields=_FIELDS)
    issued_at_s = whole(found, IAT, SECONDS_MOST)
    given = {-1 - key for key in found if key < 0} - {VERSION_FIELD, _KIND}
    kind = whole(found, field(_KIND), 255)
    body: Body
    if kind == Kind.BUMP and given == {_ROOM, _GENERATION}:
        body = Bump(
            whole(found, field(_ROOM), ROOM_MOST, least=1),
            whole(found, field(_GENERATION), GENERATION_MOST, least=1),
        )
    elif kind == Kind.TIME and given <= {_NONCE}:
        body = TimeBeacon(octets(found, field(_NONCE), NONCE_BYTES) if given else None)
    elif kind == Kind.REVOCATIONS and given == {_SEQ, _ENTRIES, _AFTER}:
        seq = whole(found, field(_SEQ), SEQ_MOST, least=2)
        body = Revocations(
            seq,
            _entries(found[field(_ENTRIES)], GRANT_ID_BYTES, REVOCATIONS_MOST, least=1),
            after=whole(found, field(_AFTER), seq - 1, least=1),
        )
    elif kind == Kind.REVOCATIONS and {_SEQ, _ENTRIES} <= given <= {_SEQ, _ENTRIES, _ISSUERS}:
        body = Revocations(
            whole(found, field(_SEQ), SEQ_MOST, least=1),
            _entries(found[field(_ENTRIES)], GRANT_ID_BYTES, REVOCATIONS_MOST),
            _entries(found[field(_ISSUERS)], KID_BYTES, ISSUERS_MOST, least=1) if _ISSUERS in given else (),
        )
    elif kind == Kind.LOCKOUT and given == {_SEQ, _LOCK, _SEALED}:
        body = Lockout(
            octets(found, field(_LOCK), LOCK_ID_BYTES),
            whole(found, field(_SEQ), SEQ_MOST, least=1),
            bool(whole(found, field(_SEALED), 1)),
        )
    elif kind == Kind.ACKNOWLEDGEMENT and given == {_SEQ, _LOCK, _HEAD}:
        body = Acknowledgement(
            octets(found, field(_LOCK), LOCK_ID_BYTES),
            whole(found, field(_SEQ), SEQ_MOST),
            octets(found, field(_HEAD), CHAIN_BYTES),
        )
    elif kind in set(Kind):
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    else:
        raise CredentialRefusedError(RefusalReason.UNSUPPORTED_VERSION)
    return body, issued_at_s


def _entries(value: Value, id_bytes: int, most: int, *, least: int = 0) -> tuple[tuple[bytes, int], ...]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    entries: list[tuple[bytes, int]] = []
    for pair in value:
        match pair:
            case [bytes() as withdrawn, int() as not_after_s] if (
                len(withdrawn) == id_bytes and type(not_after_s) is int and 0 <= not_after_s <= SECONDS_MOST
            ):
                entries.append((withdrawn, not_after_s))
            case _:
                raise CredentialRefusedError(RefusalReason.MALFORMED)
    return tuple(entries)
