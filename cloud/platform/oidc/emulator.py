"""A provider of OpenID Connect over httpx's wire, strict with clients, and lying in whichever way it is told.

It holds clients to PKCE, single use of codes, the redirect address and their secret. What it says wrong, late or not
at all is chosen by `Lies`; by default it tells the truth.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qs, unquote_plus, urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

LIFE_S: Final = 300
Claims = dict[str, Any]


@dataclass(frozen=True)
class Lies:
    """How the provider misbehaves. `claims` makes of the true claims what the token says."""

    claims: Callable[[Claims], Claims] | None = None
    algorithm: str = "RS256"
    strange_key: bool = False
    """Signed by a key that is not published, under the name of one that is."""
    head: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    token: str | None = None
    answers: dict[str, httpx.Response | httpx.HTTPError] = field(default_factory=dict)
    """What comes instead of an answer, by path."""
    other_iss: str | None = None


@dataclass
class _Code:
    nonce: str
    challenge: str
    redirect_uri: str
    user: Claims


class ProviderEmulator:
    """One issuer with one client."""

    def __init__(self, issuer: str, *, client_id: str, secret: str | None, now_s: Callable[[], float]) -> None:
        self.issuer, self.client_id, self.secret, self._now_s = issuer, client_id, secret, now_s
        self.lies = Lies()
        self.asked: list[str] = []
        self._codes: dict[str, _Code] = {}
        self._made = 0
        self.rotate()

    def rotate(self) -> None:
        """Take new keys, and publish these alone."""
        self._made += 1
        self._rsa = _rsa_key(self._made)
        self._ec = ECKey.generate_key("P-256", {"kid": f"ec-{self._made}", "use": "sig"}, private=True)

    def transport(self) -> httpx.MockTransport:
        """Return the wire to it."""
        return httpx.MockTransport(self._answer)

    def authorize(self, location: str, user: Claims) -> dict[str, str]:
        """Be the browser and the user at the provider's page; return what the callback is given."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query, strict_parsing=True).items()}
        if (asked["response_type"], asked["client_id"]) != ("code", self.client_id):
            raise ValueError(f"not ours: {asked}")
        if (
            asked["code_challenge_method"] != "S256"
            or len(asked["state"]) < 20
            or "openid" not in asked["scope"].split()
        ):
            raise ValueError(f"no good request: {asked}")
        code = f"code-{len(self._codes)}-{self._made}"
        self._codes[code] = _Code(asked["nonce"], asked["code_challenge"], asked["redirect_uri"], user)
        return {"state": asked["state"], "code": code, "iss": self.lies.other_iss or self.issuer}

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        instead = self.lies.answers.get(path)
        if isinstance(instead, httpx.HTTPError):
            raise instead
        if instead is not None:
            return instead
        if path.endswith("/.well-known/openid-configuration"):
            return httpx.Response(200, json=self._metadata())
        if path == "/keys":
            keys = [key.as_dict(private=False) for key in (self._rsa, self._ec)]
            return httpx.Response(200, json={"keys": [*keys, {"kty": "AKP", "kid": "of tomorrow", "use": "sig"}]})
        if path == "/token":
            return self._token(request)
        return httpx.Response(404)

    def _metadata(self) -> Claims:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize?realm=staff",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "authorization_response_iss_parameter_supported": True,
            **self.lies.metadata,
        }

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        if not self._is_client(request, form):
            return httpx.Response(401, json={"error": "invalid_client"})
        code = self._codes.pop(form.get("code", ""), None)
        shown = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if code is None or shown.rstrip(b"=").decode() != code.challenge or form["redirect_uri"] != code.redirect_uri:
            return httpx.Response(400, json={"error": "invalid_grant"})
        now_s = int(self._now_s())
        claims = {
            "iss": self.issuer, "aud": self.client_id, "iat": now_s, "exp": now_s + LIFE_S, "nonce": code.nonce,
            **code.user,
        }  # fmt: skip
        token = self.lies.token or self._signed(claims if self.lies.claims is None else self.lies.claims(claims))
        return httpx.Response(200, json={"access_token": "opaque", "token_type": "Bearer", "id_token": token})

    def _is_client(self, request: httpx.Request, form: Claims) -> bool:
        kind, _, pair = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            name, _, secret = base64.b64decode(pair).decode().partition(":")
            return (unquote_plus(name), unquote_plus(secret)) == (self.client_id, self.secret)
        return (form.get("client_id"), form.get("client_secret")) == (self.client_id, self.secret)

    def _signed(self, claims: Claims) -> str:
        algorithm = self.lies.algorithm
        key: RSAKey | ECKey | OctKey = self._ec if algorithm == "ES256" else self._rsa
        head = {"alg": algorithm, "kid": key.kid, **self.lies.head}
        if algorithm == "none":
            return ".".join(_b64(json.dumps(each).encode()) for each in (head, claims)) + "."
        if algorithm == "HS256":  # the public key as a secret, which everybody knows
            key = OctKey.import_key(self._rsa.as_pem(private=False).replace(b"-----", b""))
        if self.lies.strange_key:
            key = _rsa_key(0)
        if "crit" in head:  # which the library would not sign
            signed = ".".join(_b64(json.dumps(each).encode()) for each in (head, claims))
            assert self._rsa.private_key is not None  # noqa: S101 - it was generated with one
            return f"{signed}.{_b64(self._rsa.private_key.sign(signed.encode(), PKCS1v15(), SHA256()))}"
        return jwt.encode(head, claims, key, algorithms=[algorithm])


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@lru_cache(maxsize=16)
def _rsa_key(number: int) -> RSAKey:
    """Return the n-th pair of this process: making one takes longer than everything else here."""
    return RSAKey.generate_key(2048, {"kid": f"rsa-{number}", "use": "sig"}, private=True)
