"""COSE_Sign1 with ES256, and nothing else of COSE: what Innkeeper signs, it signs so.

Source of truth: RFC 9052 sections 4.2 and 4.4, RFC 9053 2.1 (ES256, signature r || s of 64 bytes, as WebCrypto).
The untagged array [protected, {}, payload, signature]; protected = {1: -7, 4: kid}, unprotected always empty, payload
never detached. One algorithm: a message naming another one is refused, so nobody can talk us down.

`external` is COSE's external_aad: it keeps a signature made for one use from being taken for another.
What it leaves to whom: the meaning of the payload, validity and who may sign what: protocols/grant, protocols/link.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from protocols import cbor
from protocols.errors import CredentialRefusedError, LocalProtocolError, PeerProtocolError, RefusalReason

SIGNATURE_BYTES: Final = 64
KID_BYTES_MOST: Final = 32
MESSAGE_BYTES_MOST: Final = 1024 * 1024
"""Default bound of a signed message; callers that know better hand in less."""

_ALG: Final = 1
_KID: Final = 4
_ES256: Final = -7
_CONTEXT: Final = "Signature1"


@dataclass(frozen=True, slots=True)
class Sign1:
    """A COSE_Sign1 message taken apart; `payload` is not to be believed before `verify`."""

    kid: bytes
    payload: bytes
    signature: bytes
    protected: bytes

    def verify(self, key: ec.EllipticCurvePublicKey, *, external: bytes = b"") -> bytes:
        """Return the payload if `key` (P-256) signed it for the use named by `external`.

        Raises:
            CredentialRefusedError: BAD_SIGNATURE.
        """
        to_be_signed = _to_be_signed(self.protected, self.payload, external)
        if not verify_raw(key, self.signature, to_be_signed):
            raise CredentialRefusedError(RefusalReason.BAD_SIGNATURE)
        return self.payload


def sign1(payload: bytes, key: ec.EllipticCurvePrivateKey, kid: bytes, *, external: bytes = b"") -> bytes:
    """Sign `payload` (deterministic ECDSA, RFC 6979) and return the COSE_Sign1 message.

    Args:
        payload: Any bytes; by custom CBOR.
        key: P-256 private key.
        kid: Key id, 1 to 32 bytes, protected.
        external: Names the use of the signature; not sent.

    Raises:
        LocalProtocolError: wrong curve or kid length.
    """
    if not 1 <= len(kid) <= KID_BYTES_MOST:
        raise LocalProtocolError(f"COSE: kid of {len(kid)} bytes, 1 to {KID_BYTES_MOST} are allowed")
    protected = cbor.encode({_ALG: _ES256, _KID: kid})
    signature = sign_raw(key, _to_be_signed(protected, payload, external))
    return cbor.encode([protected, {}, payload, signature])


def parse1(data: bytes, *, most_bytes: int = MESSAGE_BYTES_MOST) -> Sign1:
    """Take a COSE_Sign1 message apart without believing it.

    Raises:
        PeerProtocolError: it is not one, in its one encoding, with ES256 and a kid.
    """
    match cbor.decode(data, most_bytes, depth=2):
        case [bytes() as protected, {**unprotected}, bytes() as payload, bytes() as signature] if not unprotected:
            pass
        case _:
            raise PeerProtocolError("COSE_Sign1: not [protected, {}, payload, signature]")
    if len(signature) != SIGNATURE_BYTES:
        raise PeerProtocolError(f"COSE_Sign1: signature of {len(signature)} bytes, not {SIGNATURE_BYTES}")
    match cbor.decode(protected, 64, depth=1):
        case {1: -7, 4: bytes() as kid, **rest} if not rest and 1 <= len(kid) <= KID_BYTES_MOST:
            return Sign1(kid=kid, payload=payload, signature=signature, protected=protected)
        case header:
            raise PeerProtocolError(f"COSE_Sign1: header {header!r} is not {{1: -7, 4: kid}}")


def verify1(
    data: bytes,
    resolve: Callable[[bytes], ec.EllipticCurvePublicKey | None],
    *,
    external: bytes = b"",
    most_bytes: int = MESSAGE_BYTES_MOST,
) -> bytes:
    """Return the payload of `data` if the key that `resolve` knows for its kid signed it.

    Args:
        data: A COSE_Sign1 message from anyone.
        resolve: Key id to P-256 public key, None for a stranger.
        external: As given to `sign1`.
        most_bytes: Longer inputs are refused unread.

    Raises:
        PeerProtocolError: not a COSE_Sign1 message of this profile.
        CredentialRefusedError: UNKNOWN_ISSUER or BAD_SIGNATURE.
    """
    message = parse1(data, most_bytes=most_bytes)
    key = resolve(message.kid)
    if key is None:
        raise CredentialRefusedError(RefusalReason.UNKNOWN_ISSUER)
    return message.verify(key, external=external)


def sign_raw(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Return the 64-byte r || s ES256 signature of `data`, deterministic (RFC 6979).

    Raises:
        LocalProtocolError: the key is not on P-256.
    """
    if not isinstance(key.curve, ec.SECP256R1):
        raise LocalProtocolError(f"ES256 wants P-256, this key is on {key.curve.name}")
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def verify_raw(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    """Whether `signature` (64 bytes, r || s) over `data` was made by the holder of `key` (P-256)."""
    if len(signature) != SIGNATURE_BYTES or not isinstance(key.curve, ec.SECP256R1):
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _to_be_signed(protected: bytes, payload: bytes, external: bytes) -> bytes:
    return cbor.encode([_CONTEXT, protected, external, payload])
