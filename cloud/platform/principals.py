"""Who may ask: bearer tokens from the settings, sessions of a browser. Whoever is neither is nobody.

The settings hold only SHA-256 digests. Tokens are random (at least 32 characters, refused otherwise), so a
plain digest cannot be searched for its token; comparison is constant-time over every configured token.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, Protocol, TypeAlias

from cloud.kit.database import Connection, execute, fetch_one
from cloud.kit.times import at
from protocols.errors import InvalidInputError

TOKEN_CHARACTERS_LEAST: Final = 32
TOKEN_CHARACTERS_MOST: Final = 512
SESSION_LIFE_MS: Final = 12 * 3_600_000  # a shift; then the link is opened again
SESSION_SECRET_BYTES: Final = 32


StaffRole: TypeAlias = Literal["viewer", "staff", "admin"]
"""The roles that an account, a client or a token of the settings may have."""


class Role(StrEnum):
    """What a principal may do: a viewer reads, staff also acts, an admin also sees how the machine runs.

    A guest holds a link to one stay, may check in to that one, and is no viewer; a kiosk may find one guest's stay and
    begin a visit there. No account or client is one of these.
    """

    KIOSK = "kiosk"
    GUEST = "guest"
    VIEWER = "viewer"
    STAFF = "staff"
    ADMIN = "admin"


_RANK: Final = {Role.KIOSK: -2, Role.GUEST: -1, Role.VIEWER: 0, Role.STAFF: 1, Role.ADMIN: 2}


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `properties` None means every property of the tenant."""

    name: str
    tenant: str
    role: Role
    properties: frozenset[str] | None
    by_session: bool = False
    account: str | None = None
    """Whose account or client it is, where it is one of the database's and not of the settings'."""
    sign_in: str | None = None
    stay: str | None = None
    """The one stay that a guest's link is for; None for everybody else."""
    kiosk: str | None = None
    """The kiosk that this is, or at which this guest stands; None for everybody else."""

    def may_name(self, property_id: str) -> bool:
        """Tell whether the caller may know of a property of its tenant."""
        return self.properties is None or property_id in self.properties

    def is_at_least(self, role: Role) -> bool:
        """Tell whether the caller's role includes `role`."""
        return _RANK[self.role] >= _RANK[role]


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A configured token: its digest and whose it is."""

    sha256: bytes
    principal: Principal


class RandomBytes(Protocol):
    """What sessions need of dice."""

    def bytes(self, n: int) -> bytes:
        """Return `n` random bytes."""
        ...


class Principals:
    """Finds out who a caller is."""

    def __init__(self, tokens: Sequence[AccessToken], *, dice: RandomBytes) -> None:
        """Accept exactly `tokens`.

        Raises:
            InvalidInputError: two tokens share a name or a digest.
        """
        for place, values in (
            ("access_tokens.name", [token.principal.name for token in tokens]),
            ("access_tokens.sha256", [token.sha256.hex() for token in tokens]),
        ):
            if len(set(values)) != len(values):
                raise InvalidInputError(place, "two tokens share one value")
        self._tokens = tuple(tokens)
        self._dice = dice

    def by_token(self, token: str) -> AccessToken | None:
        """Return the token's entry, or None. Takes the same time wherever the token is in the list."""
        if not TOKEN_CHARACTERS_LEAST <= len(token) <= TOKEN_CHARACTERS_MOST:
            return None
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found: AccessToken | None = None
        for known in self._tokens:
            if hmac.compare_digest(known.sha256, digest):
                found = known
        return found

    async def open_session(self, connection: Connection, token: AccessToken, *, now_ms: int) -> str:
        """Start a browser session of a token's owner; return the cookie's value, of which we keep a digest."""
        secret = self._dice.bytes(SESSION_SECRET_BYTES).hex()
        await execute(connection, "DELETE FROM platform.session WHERE expires_at <= %s", [at(now_ms)])
        await execute(
            connection,
            "INSERT INTO platform.session (secret_hash, token_name, token_sha256, tenant, created_at, expires_at)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [
                hashlib.sha256(secret.encode()).digest(),
                token.principal.name,
                token.sha256,
                token.principal.tenant,
                at(now_ms),
                at(now_ms + SESSION_LIFE_MS),
            ],
        )
        return secret

    async def by_session(self, connection: Connection, secret: str, *, now_ms: int) -> Principal | None:
        """Return whose session this is. A session dies with its time and with its token's entry."""
        if len(secret) != 2 * SESSION_SECRET_BYTES:
            return None
        row = await fetch_one(
            connection,
            "SELECT token_sha256 FROM platform.session WHERE secret_hash = %s AND expires_at > %s",
            [hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest(), at(now_ms)],
        )
        if row is None:
            return None
        for known in self._tokens:
            if hmac.compare_digest(known.sha256, bytes(row["token_sha256"])):
                owner = known.principal
                return Principal(owner.name, owner.tenant, owner.role, owner.properties, by_session=True)
        return None

    async def close_session(self, connection: Connection, secret: str) -> None:
        """End a session; harmless if there is none."""
        await execute(
            connection,
            "DELETE FROM platform.session WHERE secret_hash = %s",
            [hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()],
        )
