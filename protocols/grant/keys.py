"""Keys of the grant protocol: issuer classes, key ids, compressed points, keys drawn from handed-in randomness.

Source of truth: SPEC.md sections 1 and 2. One curve: P-256. Nothing here draws dice: `random` is handed in.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from protocols.enum_members import plain_members
from protocols.errors import InvalidInputError, LocalProtocolError, PeerProtocolError

Random: TypeAlias = Callable[[int], bytes]
"""Returns that many random bytes: `kit.dice.Dice.bytes` in the programs, a fixed stream in the vectors."""

KID_BYTES: Final = 4
POINT_BYTES: Final = 33
HOUR_S: Final = 3_600
DAY_S: Final = 86_400

SIGNS_S: Final = 24 * HOUR_S
"""An issuer key is the signing key for this long; then its successor takes over."""
OVERLAP_S: Final = 1 * HOUR_S
"""It may still sign this much longer, so that nothing in flight fails; then its private half is destroyed."""

_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SCALAR_DRAW_BYTES: Final = 40  # 64 bits more than the order: FIPS 186-5 A.2.1


@plain_members
class IssuerClass(IntEnum):
    """What an issuer key may sign. Separate keys, so that a thief of one gains one class."""

    GUEST = 1
    STAFF = 2
    EMERGENCY = 3
    REVOCATION = 4
    """Generation bumps, revocations, time and acknowledgements; never a grant."""


VERIFY_S: Final[dict[IssuerClass, int]] = {
    IssuerClass.GUEST: 14 * DAY_S,
    IssuerClass.STAFF: 24 * HOUR_S,
    IssuerClass.EMERGENCY: 8 * HOUR_S,
    IssuerClass.REVOCATION: 14 * DAY_S,
}
"""For how long after its signing window a certificate still verifies, and the longest grant of its class."""


def private_key(random: Random) -> ec.EllipticCurvePrivateKey:
    """Return a P-256 private key made of 40 bytes of `random` (FIPS 186-5 A.2.1)."""
    scalar = int.from_bytes(random(_SCALAR_DRAW_BYTES), "big") % (_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


def private_key_from_hex(text: str, place: str) -> ec.EllipticCurvePrivateKey:
    """Return the private key whose scalar is `text`, 64 hex digits.

    Raises:
        InvalidInputError: not such a scalar; names `place`, never the value.
    """
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raise InvalidInputError(place, "not hexadecimal") from None
    scalar = int.from_bytes(raw, "big")
    if len(raw) != 32 or not 1 <= scalar < _ORDER:
        raise InvalidInputError(place, "not a P-256 private key of 64 hex digits")
    return ec.derive_private_key(scalar, ec.SECP256R1())


def private_key_hex(key: ec.EllipticCurvePrivateKey) -> str:
    """Return the scalar of `key` as 64 hex digits."""
    return f"{key.private_numbers().private_value:064x}"


def compressed(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the 33-byte compressed point (SEC 1, 2.3.3) of a P-256 key."""
    if not isinstance(key.curve, ec.SECP256R1):
        raise LocalProtocolError(f"P-256 wanted, this key is on {key.curve.name}")
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)


def public_key(point: bytes) -> ec.EllipticCurvePublicKey:
    """Return the P-256 key at the 33-byte compressed `point`.

    Raises:
        PeerProtocolError: not a compressed point of the curve.
    """
    if len(point) != POINT_BYTES or point[0] not in {2, 3}:
        raise PeerProtocolError(f"not a compressed P-256 point: {point.hex()}")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as error:
        raise PeerProtocolError(f"not a point of P-256: {point.hex()}") from error


def kid_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the key id: the first 4 bytes of SHA-256 over the compressed point."""
    return hashlib.sha256(compressed(key)).digest()[:KID_BYTES]


@dataclass(frozen=True, slots=True, repr=False)
class PropertyCa:
    """What a property signs issuer certificates with, and what its locks seal their audit records to.

    `ca` and `seal` are P-256 private keys. The file form is `to_document` as JSON, mode 0600 (SPEC.md 2).
    """

    property_id: str
    ca: ec.EllipticCurvePrivateKey
    seal: ec.EllipticCurvePrivateKey

    @property
    def kid(self) -> bytes:
        """The id that issuer certificates name."""
        return kid_of(self.ca.public_key())

    def to_document(self) -> dict[str, object]:
        """Return {"v": 1, "property", "ca_private", "seal_private", "ca_public", "seal_public"}: secret."""
        return {
            "v": 1,
            "property": self.property_id,
            "ca_private": private_key_hex(self.ca),
            "ca_public": compressed(self.ca.public_key()).hex(),
            "seal_private": private_key_hex(self.seal),
            "seal_public": compressed(self.seal.public_key()).hex(),
        }

    @classmethod
    def from_document(cls, document: object, place: str) -> "PropertyCa":
        """Read what `to_document` wrote.

        Raises:
            InvalidInputError: names `place` and the field.
        """
        match document:
            case {
                "v": 1,
                "property": str() as property_id,
                "ca_private": str() as ca,
                "seal_private": str() as seal,
            }:
                return cls(
                    property_id,
                    private_key_from_hex(ca, f"{place}: ca_private"),
                    private_key_from_hex(seal, f"{place}: seal_private"),
                )
            case _:
                raise InvalidInputError(place, "not a property CA file of version 1")


def generate_property_ca(property_id: str, random: Random) -> PropertyCa:
    """Make the property's CA key and audit sealing key."""
    return PropertyCa(property_id, private_key(random), private_key(random))
