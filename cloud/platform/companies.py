"""Sign in with a company's own OpenID Connect provider: whose providers there are, and whose account an identity opens.

A tenant names its provider; people name it by the company's name when they sign in. An identity (issuer and subject)
opens the account that it is linked to, and makes none. It is linked by its owner, who has just signed in otherwise; or,
only where the tenant says so, by an e-mail address that the provider calls verified and that lies in a domain the
tenant listed. Never across tenants: a provider can vouch for accounts of its own tenant alone.

What is begun in one browser is ended in the same one: a cookie of its own says so, whose digest stands beside the
state. A state is good once and for ATTEMPT_MS. Where the browser goes afterwards is a place within our own page.
"""

import base64
import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import psycopg

from cloud.kit.acting import acting, system
from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one
from cloud.kit.times import at
from cloud.platform import attempts, audit
from cloud.platform.accounts import RandomBytes, digest
from cloud.platform.oidc.client import Client, Identity, IdentityRefusedError, OidcClient, ProviderFailedError
from cloud.platform.sign_in import WallClock, Where
from kit.logs import logger
from protocols.errors import InvalidInputError, PlatformError

ATTEMPT_MS: Final = 10 * 60_000
SECRET_BYTES: Final = 32
COMPANIES_MOST: Final = 5
DOMAINS_MOST: Final = 50
MEANS: Final = "company:"
HOME: Final = "#/"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,39}")
_DOMAIN: Final = re.compile(r"(?=.{4,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+")
_PLACE: Final = re.compile(r"#/(?!/)[A-Za-z0-9/_%.~-]{0,200}")
_ACTOR: Final = system("companies")
_log: Final = logger("cloud.companies")


class CompanyRefusedError(PlatformError):
    """Nobody was let in; `kind`: denied, unknown, ended or provider, as the page puts it into words."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


class Secrets(Protocol):
    """Seals a tenant's own secrets; cloud.privacy.sealing.Sealer is one."""

    async def seal(self, connection: Connection, plain: bytes, *, tenant: str, place: str, now_ms: int) -> bytes:
        """Return `plain` sealed for `place`."""
        ...

    async def open(self, connection: Connection, sealed: bytes, *, tenant: str, place: str) -> bytes:
        """Return what was sealed."""
        ...


@dataclass(frozen=True, slots=True)
class Company:
    """A tenant's provider; `id` is the company's name as people type it."""

    id: str
    issuer: str
    client_id: str
    has_secret: bool
    domains: tuple[str, ...]
    link_by_email: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Link:
    """An identity that opens an account."""

    company: str
    linked_at: datetime
    used_at: datetime


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the browser goes, and what it must bring back in a cookie."""

    location: str
    secret: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The browser is back. `account` is signed in by `means`; None: an identity was linked to who is signed in."""

    account: str | None
    means: str
    return_to: str


class Companies:
    """Providers of tenants, and the way through them."""

    def __init__(
        self, database: Database, client: OidcClient, secrets: Secrets, *, clock: WallClock, dice: RandomBytes
    ) -> None:
        """Secrets of clients are sealed by `secrets`."""
        self._database, self._client, self._secrets = database, client, secrets
        self._clock, self._dice = clock, dice

    # ------------------------------------------------------------------ a tenant's settings

    async def add(
        self,
        *,
        tenant: str,
        name: str,
        issuer: str,
        client_id: str,
        client_secret: str | None,
        domains: tuple[str, ...],
        link_by_email: bool,
        by: str,
    ) -> Company:
        """Add a provider, which must answer now.

        Raises:
            InvalidInputError: says which value will not do.
            ProviderFailedError: no provider answers there.
            PlatformError: no secret can be kept here.
        """
        if _NAME.fullmatch(name) is None:
            raise InvalidInputError("name", "want 2 to 40 small letters, digits and hyphens")
        for each in domains:
            if _DOMAIN.fullmatch(each) is None:
                raise InvalidInputError("domains", f"{each[:80]!r} is no domain in small letters")
        if len(domains) > DOMAINS_MOST or len(set(domains)) != len(domains):
            raise InvalidInputError("domains", f"want at most {DOMAINS_MOST}, each once")
        if link_by_email and not domains:
            raise InvalidInputError("domains", "name the domains whose addresses the provider may vouch for")
        await self._client.check(issuer)
        now_ms = self._clock.wall_ms()
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                count = await fetch_one(
                    connection, "SELECT count(*) AS n FROM platform.company WHERE tenant = %s", [tenant]
                )
                if count is not None and count["n"] >= COMPANIES_MOST:
                    raise InvalidInputError("name", f"there are {COMPANIES_MOST} providers; end one first")
                sealed = None
                if client_secret is not None:
                    sealed = await self._secrets.seal(
                        connection, client_secret.encode(), tenant=tenant, place=_place(name), now_ms=now_ms
                    )
                try:
                    async with connection.transaction():
                        await execute(
                            connection,
                            "INSERT INTO platform.company (id, tenant, issuer, client_id, client_secret, domains,"
                            " link_by_email, created_by, created_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                            [name, tenant, issuer, client_id, sealed, list(domains), link_by_email, by, at(now_ms)],
                        )
                except psycopg.errors.UniqueViolation as error:
                    raise InvalidInputError("name", f"{name!r} is taken") from error
        return Company(name, issuer, client_id, client_secret is not None, domains, link_by_email, at(now_ms))

    async def of_tenant(self, tenant: str) -> list[Company]:
        """Return a tenant's providers by name."""
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                rows = await fetch_all(
                    connection,
                    "SELECT id, issuer, client_id, client_secret IS NOT NULL AS has_secret, domains, link_by_email,"
                    " created_at FROM platform.company WHERE tenant = %s ORDER BY id",
                    [tenant],
                )
        return [Company(**{**row, "domains": tuple(row["domains"])}) for row in rows]

    async def end(self, *, tenant: str, name: str) -> bool:
        """End a provider, what it is linked to and every sign-in that it made; return whether the tenant has it."""
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                there = await execute(
                    connection, "DELETE FROM platform.company WHERE tenant = %s AND id = %s", [tenant, name]
                )
                if there:
                    await self._end_sign_ins(connection, name, None, "its company's provider was ended", None)
        return bool(there)

    # ------------------------------------------------------------------ an account's links

    async def links_of(self, account: str) -> list[Link]:
        """Return the identities that open an account."""
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                rows = await fetch_all(
                    connection,
                    "SELECT company, linked_at, used_at FROM platform.company_identity WHERE account = %s"
                    " ORDER BY company",
                    [account],
                )
        return [Link(**row) for row in rows]

    async def unlink(self, account: str, company: str, *, keep: str | None) -> bool:
        """Unlink an identity and end the sign-ins that it made, except `keep`; return whether it was linked."""
        now_ms = self._clock.wall_ms()
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                row = await fetch_one(
                    connection,
                    "DELETE FROM platform.company_identity i USING platform.account a"
                    " WHERE i.account = %s AND i.company = %s AND a.id = i.account RETURNING a.tenant, a.email",
                    [account, company],
                )
                if row is not None:
                    await self._end_sign_ins(connection, company, account, "its identity was unlinked", keep)
                    await _record(connection, row, "company.unlink", company, now_ms)
        return row is not None

    # ------------------------------------------------------------------ there and back

    async def begin(self, name: str, *, return_to: str, where: Where, account: str | None = None) -> Begun | None:
        """Begin to sign in, or to link an identity to `account`; None: no provider of that name (for it).

        Raises:
            InvalidInputError: `return_to` is no place of our page.
            TooManyAttemptsError: too often from there.
            ProviderFailedError: the provider does not answer.
        """
        if _PLACE.fullmatch(return_to) is None:
            raise InvalidInputError("return_to", "want a place of this page, such as #/p/aurora")
        now_ms = self._clock.wall_ms()
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                wait_s = await attempts.count_asked(connection, address=where.address, now_ms=now_ms)
                row = await fetch_one(
                    connection,
                    "SELECT c.id, c.issuer, c.client_id FROM platform.company c WHERE c.id = %s"
                    " AND (%s::text IS NULL OR c.tenant = (SELECT tenant FROM platform.account WHERE id = %s))",
                    [name, account, account],
                )
        if wait_s:
            raise attempts.TooManyAttemptsError(wait_s)
        if row is None:
            return None
        state, nonce, verifier, secret = (self._secret() for _ in range(4))
        location = await self._client.authorization_address(
            Client(row["issuer"], row["client_id"], None), state=state, nonce=nonce, verifier=verifier
        )
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                await execute(connection, "DELETE FROM platform.company_attempt WHERE expires_at <= %s", [at(now_ms)])
                begun = await execute(
                    connection,
                    "INSERT INTO platform.company_attempt (state_sha256, browser_sha256, company, account, nonce,"
                    " verifier, return_to, expires_at) SELECT %s, %s, id, %s, %s, %s, %s, %s FROM platform.company"
                    " WHERE id = %s",
                    [
                        digest(state), digest(secret), account, nonce, verifier, return_to,
                        at(now_ms + ATTEMPT_MS), name,
                    ],
                )  # fmt: skip
        return Begun(location, secret) if begun else None

    async def finish(self, *, state: str, secret: str, code: str | None, error: str | None, iss: str | None) -> Ended:
        """Return who came back from a provider. Raises CompanyRefusedError."""
        now_ms = self._clock.wall_ms()
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                row = await fetch_one(
                    connection,  # used up, whatever comes of it
                    "DELETE FROM platform.company_attempt t USING platform.company c"
                    " WHERE t.state_sha256 = %s AND c.id = t.company"
                    " RETURNING t.browser_sha256, t.account, t.nonce, t.verifier, t.return_to, t.expires_at,"
                    " c.id, c.tenant, c.issuer, c.client_id, c.client_secret, c.domains, c.link_by_email",
                    [digest(state)],
                )
                client_secret = None
                if row is not None and row["client_secret"] is not None:
                    client_secret = await self._secrets.open(
                        connection, bytes(row["client_secret"]), tenant=row["tenant"], place=_place(row["id"])
                    )
        if row is None or at(now_ms) >= row["expires_at"]:
            raise CompanyRefusedError("ended", "no sign-in was begun with this state, or it took too long")
        if not hmac.compare_digest(bytes(row["browser_sha256"]), digest(secret)):
            raise CompanyRefusedError("ended", "this sign-in was begun in another browser")
        if error is not None or not code:
            raise CompanyRefusedError("denied", "the provider did not let you in")
        client = Client(row["issuer"], row["client_id"], None if client_secret is None else client_secret.decode())
        try:
            identity = await self._client.identity(
                client, code=code, iss=iss, nonce=row["nonce"], verifier=row["verifier"]
            )
        except (ProviderFailedError, IdentityRefusedError) as failed:
            _log.warning("company_sign_in_failed", company=row["id"], why=str(failed))
            raise CompanyRefusedError("provider", str(failed)) from failed
        account = await self._account_of(row, identity)
        return Ended(None if row["account"] is not None else account, f"{MEANS}{row['id']}", row["return_to"])

    # ------------------------------------------------------------------ inside

    async def _account_of(self, row: dict[str, Any], identity: Identity) -> str:
        now_ms = self._clock.wall_ms()
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                known = await fetch_one(
                    connection,
                    "UPDATE platform.company_identity i SET used_at = %s FROM platform.account a"
                    " WHERE i.company = %s AND i.subject = %s AND a.id = i.account"
                    " RETURNING i.account, a.disabled_at IS NULL AS good",
                    [at(now_ms), row["id"], identity.subject],
                )
                if known is not None:
                    if not known["good"] or row["account"] not in (None, known["account"]):
                        raise CompanyRefusedError("unknown", "this identity opens no account that is in use")
                    return str(known["account"])
                owner = await self._owner(connection, row, identity)
                if owner is None:
                    raise CompanyRefusedError("unknown", "this identity is linked to no account here")
                linked = await execute(
                    connection,
                    "INSERT INTO platform.company_identity (company, subject, tenant, account, linked_at, used_at)"
                    " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    [row["id"], identity.subject, row["tenant"], owner["id"], at(now_ms), at(now_ms)],
                )
                if not linked:  # who has left may have had this address: the identity of before must go first
                    raise CompanyRefusedError("unknown", "the account is linked to another identity of this provider")
                await _record(connection, owner, "company.link", row["id"], now_ms)
        return str(owner["id"])

    async def _owner(self, connection: Connection, row: dict[str, Any], identity: Identity) -> dict[str, Any] | None:
        """Return the account that an identity not known yet may be linked to."""
        if row["account"] is not None:
            return await fetch_one(
                connection,
                "SELECT id, tenant, email FROM platform.account WHERE id = %s AND tenant = %s AND disabled_at IS NULL",
                [row["account"], row["tenant"]],
            )
        if not row["link_by_email"] or identity.email is None:
            return None
        if identity.email.rpartition("@")[2] not in row["domains"]:
            return None
        return await fetch_one(
            connection,
            "SELECT id, tenant, email FROM platform.account WHERE email = %s AND tenant = %s AND disabled_at IS NULL",
            [identity.email.replace("\x00", ""), row["tenant"]],
        )

    async def _end_sign_ins(
        self, connection: Connection, company: str, account: str | None, why: str, keep: str | None
    ) -> None:
        await execute(
            connection,
            "UPDATE platform.sign_in SET ended_at = %s, ended_why = %s WHERE means = %s AND ended_at IS NULL"
            " AND (%s::text IS NULL OR account = %s) AND id IS DISTINCT FROM %s",
            [at(self._clock.wall_ms()), why, f"{MEANS}{company}", account, account, keep],
        )

    def _secret(self) -> str:
        return base64.urlsafe_b64encode(self._dice.bytes(SECRET_BYTES)).rstrip(b"=").decode()


def _place(name: str) -> str:
    return f"company/{name}"


async def _record(connection: Connection, owner: dict[str, Any], action: str, company: str, now_ms: int) -> None:
    await audit.append(
        connection, tenant=owner["tenant"], actor=owner["email"], action=action, subject=company,
        outcome=audit.Outcome.DONE, now_ms=now_ms,
    )  # fmt: skip
