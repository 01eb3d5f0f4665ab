"""The session's keys: two ECDH, one HKDF, AES-256-GCM each way with a counter for a nonce.

Source of truth: SPEC.md section 5. Only the holder of s_lock can read what the phone sends (authentication of the
lock), and the lock's ephemeral key gives forward secrecy. Keys and randomness are handed in.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocols.door.advert import derive
from protocols.errors import PeerProtocolError

TAG_BYTES: Final = 16
_TRANSCRIPT_LABEL: Final = b"innkeeper/door/1 transcript\x00"


def transcript_of(lock_id: bytes, s_lock: bytes, challenge: bytes, e_phone: bytes) -> bytes:
    """Return the 32-byte transcript hash: who the lock is and everything sent in the clear so far."""
    return hashlib.sha256(_TRANSCRIPT_LABEL + lock_id + s_lock + challenge + e_phone).digest()


@dataclass(slots=True, repr=False)
class Direction:
    """One direction's key and counter. Each message moves the counter, so none is read twice."""

    key: bytes
    counter: int = 0

    def seal(self, plaintext: bytes, header: bytes) -> bytes:
        """Encrypt under the next counter; `header` is authenticated."""
        sealed = AESGCM(self.key).encrypt(self._nonce(), plaintext, header)
        self.counter += 1
        return sealed

    def open(self, sealed: bytes, header: bytes) -> bytes:
        """Decrypt under the next counter.

        Raises:
            PeerProtocolError: not made with this key for this place in the exchange.
        """
        if len(sealed) < TAG_BYTES:
            raise PeerProtocolError(f"sealed message of {len(sealed)} bytes")
        try:
            plaintext = AESGCM(self.key).decrypt(self._nonce(), sealed, header)
        except InvalidTag as error:
            raise PeerProtocolError("message not sealed for this exchange") from error
        self.counter += 1
        return plaintext

    def _nonce(self) -> bytes:
        return self.counter.to_bytes(12, "big")


@dataclass(slots=True, repr=False)
class SessionKeys:
    """Both directions, the transcript that the phone signs, and the secret that FAST may begin with (32 bytes)."""

    transcript: Final[bytes]  # Final and not frozen: what lives for one exchange is not set by name, field after field
    to_lock: Final[Direction]
    to_phone: Final[Direction]
    resumption: Final[bytes]


def session_keys(static_shared: bytes, ephemeral_shared: bytes, transcript: bytes) -> SessionKeys:
    """Return the session's keys."""
    stream = derive(static_shared + ephemeral_shared, transcript, b"keys", 96)
    return SessionKeys(transcript, Direction(stream[:32]), Direction(stream[32:64]), stream[64:])


def shared(private: ec.EllipticCurvePrivateKey, public: ec.EllipticCurvePublicKey) -> bytes:
    """Return the 32-byte x coordinate of P-256 ECDH."""
    return private.exchange(ec.ECDH(), public)
