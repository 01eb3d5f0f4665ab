"""An authenticator in software that does as a good one does, or lies in one way; what it says is a browser's toJSON."""

import base64
import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PRESENT, VERIFIED, BACKUP_ELIGIBLE, BACKED_UP, ATTESTED = 1, 4, 8, 16, 64


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass(frozen=True)
class Lies:
    """What an answer says instead of the truth; None and 0: the truth."""

    origin: str | None = None
    rp_id: str | None = None
    challenge: bytes | None = None
    kind: str | None = None
    user_handle: bytes | None = None
    credential: bytes | None = None
    flags_off: int = 0
    flags_on: int = 0
    cross_origin: bool = False
    bad_signature: bool = False


@dataclass
class Authenticator:
    """Holds one key. `counts` False: it says 0 for ever, as synced passkeys do."""

    origin: str
    rp_id: str
    counts: bool = True
    count: int = 0
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    id: bytes = b""
    user: bytes = b""

    def __post_init__(self) -> None:
        point = self.key.public_key().public_numbers()
        self.id = self.id or hashlib.sha256(point.x.to_bytes(32, "big")).digest()

    def cloned(self) -> "Authenticator":
        """Return a copy of the key, with the count as it is now."""
        return replace(self)

    def create(self, options: dict[str, Any], lies: Lies = Lies()) -> dict[str, Any]:
        """Answer navigator.credentials.create."""
        assert options["authenticatorSelection"]["residentKey"] == "required"
        assert options["authenticatorSelection"]["userVerification"] == "required"
        assert b64(self.id) not in {each["id"] for each in options.get("excludeCredentials", [])}
        self.user = unb64(options["user"]["id"])
        point = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cbor2.dumps(cose)
        data = self._data(lies, ATTESTED) + attested
        statement = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", options, lies)
        return self._answer(lies, {"clientDataJSON": b64(client), "attestationObject": b64(statement)})

    def get(self, options: dict[str, Any], lies: Lies = Lies()) -> dict[str, Any]:
        """Answer navigator.credentials.get."""
        assert options["userVerification"] == "required"
        assert not options.get("allowCredentials")
        self.count += self.counts
        data, client = self._data(lies, 0), self._client("webauthn.get", options, lies)
        signed = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        if lies.bad_signature:
            signed = signed[:-1] + bytes([signed[-1] ^ 1])
        user = self.user if lies.user_handle is None else lies.user_handle
        return self._answer(
            lies,
            {
                "clientDataJSON": b64(client),
                "authenticatorData": b64(data),
                "signature": b64(signed),
                "userHandle": b64(user),
            },
        )

    def _data(self, lies: Lies, more: int) -> bytes:
        flags = (PRESENT | VERIFIED | more | lies.flags_on) & ~lies.flags_off
        rp_id = self.rp_id if lies.rp_id is None else lies.rp_id
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client(self, kind: str, options: dict[str, Any], lies: Lies) -> bytes:
        told = {
            "type": lies.kind or kind,
            "challenge": options["challenge"] if lies.challenge is None else b64(lies.challenge),
            "origin": lies.origin or self.origin,
            "crossOrigin": lies.cross_origin,
        }
        return json.dumps(told).encode()

    def _answer(self, lies: Lies, response: dict[str, str]) -> dict[str, Any]:
        id_ = b64(self.id if lies.credential is None else lies.credential)
        return {
            "id": id_,
            "rawId": id_,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }
