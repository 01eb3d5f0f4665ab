"""One provider asked: what it says of itself, its keys, and whose code this is.

Authorization code with PKCE (S256), state and nonce; the ID token is checked as OpenID Connect Core 3.1.3.7 and
RFC 9700 want it: issuer, audience, authorized party, times, nonce, and a signature by a key that the issuer publishes,
with an algorithm of ALGORITHMS whatever the token's head wishes. `joserfc` verifies signatures; nothing here believes
userinfo or an access token. Keys are read again when a token names one that is not known (rotation), at most once in
KEYS_AGAIN_MS; and what a provider says of itself after KNOWN_MS.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeGuard, TypeVar
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx
import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import import_key

from cloud.platform.oidc.addresses import asked_address
from protocols.errors import InvalidInputError, PlatformError

ALGORITHMS: Final = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC"}
SCOPE: Final = "openid email"
WAIT_S: Final = 10.0
ANSWER_BYTES_MOST: Final = 256 * 1024
TOKEN_CHARACTERS_MOST: Final = 32 * 1024
KNOWN_MS: Final = 3_600_000
KEYS_AGAIN_MS: Final = 60_000
PROVIDERS_MOST: Final = 256
SKEW_S: Final = 120
AGE_MOST_S: Final = 600
SUBJECT_CHARACTERS_MOST: Final = 255
RSA_BYTES_LEAST: Final = 256


class ProviderFailedError(PlatformError):
    """The provider does not answer, or not as OpenID Connect wants it."""

    retryable = True


class IdentityRefusedError(PlatformError):
    """What the provider said of somebody is not for us, not of now, or not its own."""


class WallClock(Protocol):
    """What the client needs of a clock."""

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC."""
        ...


@dataclass(frozen=True, slots=True)
class Client:
    """Who we are to a provider. Without a secret: a public client, held by PKCE alone."""

    issuer: str
    id: str
    secret: str | None


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody whom a provider knows. `email` only if the provider says that it is verified, in small letters."""

    subject: str
    email: str | None


class _Metadata(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str


class _Keys(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


@dataclass(slots=True)
class _Known:
    metadata: _Metadata
    read_ms: int
    keys: list[dict[str, Any]] | None = None
    keys_ms: int = 0


class OidcClient:
    """Asks providers. One for the whole service; what it learns is kept in this process."""

    def __init__(
        self, http: httpx.AsyncClient, *, clock: WallClock, redirect_uri: str, private: frozenset[str] = frozenset()
    ) -> None:
        """`private`: origins that tenants may name though they are not public."""
        self._http, self._clock, self._redirect_uri, self._private = http, clock, redirect_uri, private
        self._known: dict[str, _Known] = {}

    async def check(self, issuer: str) -> None:
        """See that there is a provider.

        Raises:
            InvalidInputError: the issuer is no address that may be asked.
            ProviderFailedError: nobody there says what a provider must.
        """
        asked_address(issuer, "issuer", private=self._private)
        await self._metadata(issuer)

    async def authorization_address(self, client: Client, *, state: str, nonce: str, verifier: str) -> str:
        """Return where to send the browser. Raises ProviderFailedError."""
        metadata = (await self._metadata(client.issuer)).metadata
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = urlencode(
            {
                "response_type": "code",
                "client_id": client.id,
                "redirect_uri": self._redirect_uri,
                "scope": SCOPE,
                "state": state,
                "nonce": nonce,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            }
        )
        joint = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
        return f"{metadata.authorization_endpoint}{joint}{query}"

    async def identity(self, client: Client, *, code: str, iss: str | None, nonce: str, verifier: str) -> Identity:
        """Return whose code this is.

        Args:
            client: who asks.
            code: what the provider gave the browser.
            iss: the issuer beside it (RFC 9207), if there was one.
            nonce: what we began with; the token must hold it.
            verifier: of PKCE, ditto.

        Raises:
            ProviderFailedError: the provider does not answer as it should.
            IdentityRefusedError: it answers, and what it says must not be believed.
        """
        known = await self._metadata(client.issuer)
        wanted = known.metadata.authorization_response_iss_parameter_supported
        if (iss is not None or wanted) and iss != client.issuer:
            raise IdentityRefusedError("the code comes from another issuer")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        headers = {"accept": "application/json"}
        methods = known.metadata.token_endpoint_auth_methods_supported
        if client.secret is None:
            form["client_id"] = client.id
        elif "client_secret_basic" in methods or "client_secret_post" not in methods:
            pair = f"{quote_plus(client.id)}:{quote_plus(client.secret)}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": client.id, "client_secret": client.secret}
        raw = await self._asked("POST", known.metadata.token_endpoint, data=form, headers=headers)
        told = _decoded(raw, _Tokens, "the token endpoint's answer")
        return self._judged(await self._verified(client, told.id_token), client, nonce)

    # ------------------------------------------------------------------ inside

    async def _metadata(self, issuer: str) -> _Known:
        now_ms = self._clock.wall_ms()
        known = self._known.get(issuer)
        if known is not None and 0 <= now_ms - known.read_ms < KNOWN_MS:
            return known
        raw = await self._asked("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        metadata = _decoded(raw, _Metadata, "what the provider says of itself")
        if metadata.issuer != issuer:
            raise ProviderFailedError(f"the provider calls itself {metadata.issuer[:200]!r}, not {issuer!r}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            try:
                asked_address(getattr(metadata, name), name, private=self._private)
            except InvalidInputError as error:
                raise ProviderFailedError(f"the provider's {error}") from error
        while len(self._known) >= PROVIDERS_MOST:
            del self._known[next(iter(self._known))]
        self._known[issuer] = known = _Known(metadata, now_ms)
        return known

    async def _verified(self, client: Client, token: str) -> dict[str, Any]:
        """Return the claims of a token that the issuer signed."""
        head = _head(token)
        algorithm, name = head.get("alg"), head.get("kid")
        if algorithm not in ALGORITHMS or not (name is None or isinstance(name, str)):
            raise IdentityRefusedError(f"the token is signed by {str(algorithm)[:40]!r}: want {', '.join(ALGORITHMS)}")
        if "crit" in head:
            raise IdentityRefusedError("the token has a critical header that is not known here")
        known = await self._metadata(client.issuer)
        now_ms = self._clock.wall_ms()
        fits: list[dict[str, Any]] = []
        if known.keys is not None and 0 <= now_ms - known.keys_ms < KNOWN_MS:
            fits = _fitting(known.keys, algorithm, name)
        if not fits and (known.keys is None or not 0 <= now_ms - known.keys_ms < KEYS_AGAIN_MS):
            raw = await self._asked("GET", known.metadata.jwks_uri)
            known.keys, known.keys_ms = _decoded(raw, _Keys, "the provider's keys").keys, now_ms
            fits = _fitting(known.keys, algorithm, name)
        if len(fits) != 1:
            raise IdentityRefusedError(
                f"{len(fits)} of the provider's keys fit {algorithm}, key id {name!r:.80}: want 1"
            )
        try:
            key = import_key(fits[0])  # its `kty` was looked at
            return jwt.decode(token, key, algorithms=[algorithm]).claims
        except (JoseError, ValueError, TypeError, LookupError) as error:
            raise IdentityRefusedError(f"the token is not the provider's: {type(error).__name__}") from error

    def _judged(self, claims: dict[str, Any], client: Client, nonce: str) -> Identity:
        now_s = self._clock.wall_ms() / 1_000
        if claims.get("iss") != client.issuer:
            raise IdentityRefusedError("the token is of another issuer")
        audience = claims.get("aud")
        listed = [audience] if isinstance(audience, str) else audience
        if not isinstance(listed, list) or client.id not in listed:
            raise IdentityRefusedError("the token is for another client")
        if (len(listed) > 1 or "azp" in claims) and claims.get("azp") != client.id:
            raise IdentityRefusedError("the token was asked for by another client")
        expires, issued = claims.get("exp"), claims.get("iat")
        if not _is_time(expires) or not _is_time(issued):
            raise IdentityRefusedError("the token does not say from when to when it is good")
        if not (now_s < expires + SKEW_S and issued - SKEW_S <= now_s <= issued + AGE_MOST_S):
            raise IdentityRefusedError("the token is over, or of a time that is not now: look at both clocks")
        if "nbf" in claims and not (_is_time(claims["nbf"]) and claims["nbf"] - SKEW_S <= now_s):
            raise IdentityRefusedError("the token is not good yet")
        if claims.get("nonce") != nonce:
            raise IdentityRefusedError("the token was made for another sign-in")
        subject, email = claims.get("sub"), claims.get("email")
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARACTERS_MOST or not subject.isprintable():
            raise IdentityRefusedError("the token names nobody")
        if not isinstance(email, str) or claims.get("email_verified") is not True:  # the word "true" is none
            return Identity(subject, None)
        return Identity(subject, email.strip().lower())

    async def _asked(
        self, method: str, address: str, *, data: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> bytes:
        try:
            async with self._http.stream(
                method, address, data=data, headers=headers, timeout=WAIT_S, follow_redirects=False
            ) as answer:
                raw = bytearray()
                async for piece in answer.aiter_bytes():
                    raw += piece
                    if len(raw) > ANSWER_BYTES_MOST:
                        raise ProviderFailedError(f"the provider sends more than {ANSWER_BYTES_MOST} bytes")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ProviderFailedError(f"the provider does not answer: {type(error).__name__}") from error
        if answer.status_code != 200:
            raise ProviderFailedError(f"the provider answers {answer.status_code} at {urlsplit(address).path}")
        return bytes(raw)


_T = TypeVar("_T")


def _decoded(raw: bytes, kind: type[_T], what: str) -> _T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProviderFailedError(f"{what} is not of the form that OpenID Connect gives it: {error}"[:300]) from error


def _head(token: str) -> dict[str, Any]:
    """Return the protected header of a compact JWS. Raises IdentityRefusedError."""
    parts = token.split(".")
    try:
        if len(token) > TOKEN_CHARACTERS_MOST or len(parts) != 3:
            raise ValueError("no compact JWS")
        head = json.loads(base64.urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4)))
    except (ValueError, RecursionError) as error:
        raise IdentityRefusedError("the ID token is no signed token") from error
    if not isinstance(head, dict):
        raise IdentityRefusedError("the ID token is no signed token")
    return head


def _fitting(keys: list[dict[str, Any]], algorithm: str, name: str | None) -> list[dict[str, Any]]:
    """Return the keys that may have signed: of the algorithm's kind, for signatures, of that name if one is named."""
    return [
        each
        for each in keys
        if each.get("kty") == ALGORITHMS[algorithm]
        and each.get("use", "sig") == "sig"
        and each.get("alg", algorithm) == algorithm
        and (name is None or each.get("kid") == name)
        and (algorithm != "ES256" or each.get("crv") == "P-256")
        and (each["kty"] != "RSA" or _is_long(each.get("n")))
        and "d" not in each
    ]


def _is_long(modulus: object) -> bool:
    return isinstance(modulus, str) and len(modulus.rstrip("=")) * 3 // 4 >= RSA_BYTES_LEAST


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53
