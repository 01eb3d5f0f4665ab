"""Signing in: a password makes a sign-in, a sign-in has tokens, and every one of them can be ended.

A browser gets one cookie. A program gets an access token of ACCESS_MS and a refresh token that is good for one use: it
is answered with a new pair, and if it comes a second time somebody has a copy, so the whole sign-in ends. Tokens are
random and kept as digests; what they stand for is looked up each time, so that ending a sign-in, disabling an account
or changing its role takes effect with the next request.

Everything here runs as the service (nobody is known yet), one short transaction at a time; no connection is held while
a password is hashed.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from cloud.kit.acting import acting, system
from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one
from cloud.kit.times import at
from cloud.platform import attempts, audit
from cloud.platform.accounts import CLIENT_PREFIX, client_by_token, digest, set_password
from cloud.platform.passwords import Passwords, judged
from cloud.platform.principals import Principal, Role
from protocols.errors import PlatformError

ACCESS_PREFIX: Final = "ika_"
REFRESH_PREFIX: Final = "ikr_"
COOKIE_PREFIX: Final = "ikb_"
SECRET_BYTES: Final = 32
SIGN_IN_ID_BYTES: Final = 12
ACCESS_MS: Final = 15 * 60_000
REFRESH_MS: Final = 7 * 24 * 3_600_000
CLIENT_MS: Final = 30 * 24 * 3_600_000
BROWSER_MS: Final = 12 * 3_600_000  # a shift
FRESH_MS: Final = 10 * 60_000
BY_PASSWORD: Final = "password"  # noqa: S105 - the name of a means
NOTED_EVERY_MS: Final = 60_000
"""How precisely `used_at` is kept: not every request writes."""
AGENT_CHARACTERS_MOST: Final = 200
_ACTOR: Final = system("sign-in")


class Channel(StrEnum):
    """Who holds the secret."""

    BROWSER = "browser"
    CLIENT = "client"


class SignInRefusedError(PlatformError):
    """Address or password are wrong, or the account is disabled: nobody is told which."""


class TokenRefusedError(PlatformError):
    """The refresh token is none, is over, or was used before: sign in again."""


class WallClock(Protocol):
    """What signing in needs of a clock."""

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC."""
        ...


class RandomBytes(Protocol):
    """What signing in needs of dice."""

    def bytes(self, n: int) -> bytes:
        """Return `n` random bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Where:
    """Where somebody comes from: network address, and what its program calls itself."""

    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a program got. Times are unix milliseconds."""

    access: str
    access_expires_ms: int
    refresh: str
    refresh_expires_ms: int


@dataclass(frozen=True, slots=True)
class SignedIn:
    """One sign-in, as its owner sees it."""

    id: str
    channel: Channel
    address: str
    agent: str
    began_at: datetime
    used_at: datetime
    expires_at: datetime
    means: str


class SignIn:
    """The desk where callers become somebody."""

    def __init__(self, database: Database, *, passwords: Passwords, clock: WallClock, dice: RandomBytes) -> None:
        """Passwords are hashed and verified by `passwords`."""
        self._database, self._passwords, self._clock, self._dice = database, passwords, clock, dice

    async def to_browser(self, email: str, password: str, where: Where) -> str:
        """Return the value of a cookie. Raises SignInRefusedError, TooManyAttemptsError."""
        return await self.cookie(await self._judge(email, password, where), where)

    async def to_client(self, email: str, password: str, where: Where) -> Tokens:
        """Return the tokens of a program. Raises SignInRefusedError, TooManyAttemptsError."""
        return await self.tokens(await self._judge(email, password, where), where)

    async def cookie(self, account: str, where: Where, *, means: str = BY_PASSWORD) -> str:
        """Return a browser's cookie for whoever has proved by `means` to own the account. Raises SignInRefusedError."""
        now_ms = self._clock.wall_ms()
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                sign_in = await self._begin(connection, account, Channel.BROWSER, where, now_ms=now_ms, means=means)
                return await self._token(connection, sign_in, "cookie", COOKIE_PREFIX, now_ms + BROWSER_MS)

    async def tokens(self, account: str, where: Where, *, means: str = BY_PASSWORD) -> Tokens:
        """Return a program's tokens for whoever has proved by `means` to own the account. Raises SignInRefusedError."""
        now_ms = self._clock.wall_ms()
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                sign_in = await self._begin(connection, account, Channel.CLIENT, where, now_ms=now_ms, means=means)
                return await self._pair(connection, sign_in, now_ms, now_ms + CLIENT_MS)

    async def is_fresh(self, account: str, sign_in: str) -> bool:
        """Tell whether a sign-in began at most FRESH_MS ago: who adds a way in has just shown who it is."""
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                row = await fetch_one(
                    connection,
                    "SELECT 1 FROM platform.sign_in WHERE id = %s AND account = %s AND ended_at IS NULL"
                    " AND began_at > %s",
                    [sign_in, account, at(self._clock.wall_ms() - FRESH_MS)],
                )
        return row is not None

    async def refreshed(self, refresh: str) -> Tokens:
        """Return a new pair for a refresh token, which is used up.

        Raises:
            TokenRefusedError: it is none or over; or it was used before, and then its whole sign-in ended now.
        """
        now_ms = self._clock.wall_ms()
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                row = await fetch_one(
                    connection,
                    "SELECT t.used_at, t.expires_at, s.id, s.expires_at AS ends, s.ended_at, a.disabled_at"
                    "  FROM platform.token t JOIN platform.sign_in s ON s.id = t.sign_in"
                    "  JOIN platform.account a ON a.id = s.account"
                    " WHERE t.sha256 = %s AND t.kind = 'refresh' FOR UPDATE OF t, s",
                    [digest(refresh)],
                )
                tokens = None
                if row is not None and row["used_at"] is not None:
                    await self._end(connection, row["id"], "a refresh token was used twice", now_ms)
                elif (
                    row is not None
                    and row["ended_at"] is None
                    and row["disabled_at"] is None
                    and at(now_ms) < row["expires_at"]
                    and at(now_ms) < row["ends"]
                ):
                    # access tokens of before stay good for their few minutes; used refresh tokens are kept to be known
                    await execute(
                        connection,
                        "UPDATE platform.token SET used_at = %s WHERE sha256 = %s",
                        [at(now_ms), digest(refresh)],
                    )
                    await execute(
                        connection, "UPDATE platform.sign_in SET used_at = %s WHERE id = %s", [at(now_ms), row["id"]]
                    )
                    ends_ms = int(row["ends"].timestamp() * 1_000)
                    tokens = await self._pair(connection, row["id"], now_ms, ends_ms)
        if tokens is None:
            raise TokenRefusedError("this refresh token is not good any more; sign in again")
        return tokens

    async def who(self, secret: str) -> Principal | None:
        """Return who holds an access token, a cookie or a client's token; None: nobody whom we know."""
        now_ms = self._clock.wall_ms()
        if secret.startswith(CLIENT_PREFIX):
            with acting(_ACTOR):
                async with self._database.transaction() as connection:
                    return await client_by_token(connection, secret, now_ms=now_ms)
        kind = {ACCESS_PREFIX: "access", COOKIE_PREFIX: "cookie"}.get(secret[:4])
        if kind is None:
            return None
        with acting(_ACTOR):
            rows = await self._database.ask(
                "SELECT s.id, s.used_at, a.id AS account, a.email, a.tenant, a.role, a.properties"
                "  FROM platform.token t JOIN platform.sign_in s ON s.id = t.sign_in"
                "  JOIN platform.account a ON a.id = s.account"
                " WHERE t.sha256 = %s AND t.kind = %s AND t.expires_at > %s AND s.expires_at > %s"
                "   AND s.ended_at IS NULL AND a.disabled_at IS NULL",
                [digest(secret), kind, at(now_ms), at(now_ms)],
            )
            if not rows:
                return None
            row = rows[0]
            if at(now_ms - NOTED_EVERY_MS) > row["used_at"]:
                async with self._database.transaction() as connection:
                    await execute(
                        connection, "UPDATE platform.sign_in SET used_at = %s WHERE id = %s", [at(now_ms), row["id"]]
                    )
        properties = None if row["properties"] is None else frozenset(row["properties"])
        return Principal(
            row["email"],
            row["tenant"],
            Role(row["role"]),
            properties,
            by_session=kind == "cookie",
            account=row["account"],
            sign_in=row["id"],
        )

    async def of_account(self, account: str) -> list[SignedIn]:
        """Return an account's sign-ins that have not ended, newest first."""
        now = at(self._clock.wall_ms())
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                rows = await fetch_all(
                    connection,
                    "SELECT id, channel, address, agent, began_at, used_at, expires_at, means FROM platform.sign_in"
                    " WHERE account = %s AND ended_at IS NULL AND expires_at > %s ORDER BY began_at DESC, id",
                    [account, now],
                )
        return [SignedIn(**{**row, "channel": Channel(row["channel"])}) for row in rows]

    async def end(self, account: str, sign_in: str, *, why: str) -> bool:
        """End one sign-in of an account; return whether it was one."""
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                row = await fetch_one(
                    connection, "SELECT 1 FROM platform.sign_in WHERE id = %s AND account = %s", [sign_in, account]
                )
                if row is not None:
                    await self._end(connection, sign_in, why, self._clock.wall_ms())
        return row is not None

    async def change_password(self, account: str, *, old: str, new: str, keep: str | None, where: Where) -> None:
        """Change an account's password and end its sign-ins, except `keep`.

        Raises:
            SignInRefusedError: the old one is wrong.
            TooManyAttemptsError: it was wrong too often.
            InvalidInputError: the new one will not do.
        """
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                row = await fetch_one(connection, "SELECT email FROM platform.account WHERE id = %s", [account])
        if row is None:
            raise SignInRefusedError(_REFUSED)
        told = judged(new, of=row["email"])
        await self._judge(row["email"], old, where)
        phc = await self._passwords.hashed(told)
        now_ms = self._clock.wall_ms()
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                await set_password(connection, account, phc, now_ms=now_ms)
                await self._record(
                    connection, account, action="password.change", subject=account, detail=where.address, now_ms=now_ms
                )
                await execute(
                    connection,
                    "UPDATE platform.sign_in SET ended_at = %s, ended_why = 'the password was changed'"
                    " WHERE account = %s AND ended_at IS NULL AND id IS DISTINCT FROM %s",
                    [at(now_ms), account, keep],
                )

    # ------------------------------------------------------------------ inside

    async def _judge(self, email: str, password: str, where: Where) -> str:
        """Return the account whose password this is; take as long whether there is one or not."""
        email, now_ms = email.strip().lower().replace("\x00", "\ufffd"), self._clock.wall_ms()  # no text has a NUL
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                row = await fetch_one(
                    connection,
                    "SELECT a.id, a.disabled_at, p.phc, EXISTS (SELECT FROM platform.sign_in s WHERE s.account = a.id"
                    "   AND s.address = %s AND s.began_at > %s) AS known"
                    "  FROM platform.account a JOIN platform.password p ON p.account = a.id WHERE a.email = %s",
                    [where.address, at(now_ms) - attempts.KNOWN_FOR, email],
                )
                wait_s = await attempts.count_attempt(
                    connection,
                    email=email,
                    address=where.address,
                    known=row is not None and row["known"],
                    now_ms=now_ms,
                )
        if wait_s:
            raise attempts.TooManyAttemptsError(wait_s)
        phc = None if row is None or row["disabled_at"] is not None else str(row["phc"])
        if not await self._passwords.fits(password, phc) or row is None or phc is None:
            raise SignInRefusedError(_REFUSED)
        renewed = await self._passwords.hashed(password) if self._passwords.is_dated(phc) else None
        account = str(row["id"])
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                same = await execute(
                    connection,  # neither changed nor disabled while we computed
                    "UPDATE platform.password p SET phc = coalesce(%s, p.phc) FROM platform.account a"
                    " WHERE p.account = %s AND a.id = p.account AND a.disabled_at IS NULL AND p.phc = %s",
                    [renewed, account, phc],
                )
                await attempts.forgive(connection, email=email, address=where.address)
        if not same:
            raise SignInRefusedError(_REFUSED)
        return account

    async def _begin(
        self, connection: Connection, account: str, channel: Channel, where: Where, *, now_ms: int, means: str
    ) -> str:
        sign_in = f"s-{self._dice.bytes(SIGN_IN_ID_BYTES).hex()}"
        life_ms = BROWSER_MS if channel is Channel.BROWSER else CLIENT_MS
        await execute(
            connection,  # what is long over is forgotten, together with its tokens; 90 days tell known addresses
            "DELETE FROM platform.sign_in WHERE account = %s AND expires_at < %s",
            [account, at(now_ms) - attempts.KNOWN_FOR],
        )
        begun = await execute(
            connection,
            "INSERT INTO platform.sign_in (id, tenant, account, channel, address, agent, began_at, used_at, expires_at,"
            " means) SELECT %s, tenant, id, %s, %s, %s, %s, %s, %s, %s FROM platform.account"
            " WHERE id = %s AND disabled_at IS NULL",
            [
                sign_in, channel.value, where.address, where.agent[:AGENT_CHARACTERS_MOST].replace("\x00", ""),
                at(now_ms), at(now_ms), at(now_ms + life_ms), means, account,
            ],
        )  # fmt: skip
        if not begun:
            raise SignInRefusedError(_REFUSED)
        await self._record(
            connection,
            account,
            action="sign-in",
            subject=sign_in,
            detail=f"{channel.value} at {where.address} by {means}",
            now_ms=now_ms,
        )
        return sign_in

    async def _record(
        self, connection: Connection, account: str, *, action: str, subject: str, detail: str, now_ms: int
    ) -> None:
        row = await fetch_one(connection, "SELECT tenant, email FROM platform.account WHERE id = %s", [account])
        if row is not None:
            await audit.append(
                connection,
                tenant=row["tenant"],
                actor=row["email"],
                action=action,
                subject=subject,
                detail=detail,
                outcome=audit.Outcome.DONE,
                now_ms=now_ms,
            )

    async def _pair(self, connection: Connection, sign_in: str, now_ms: int, ends_ms: int) -> Tokens:
        access_ms, refresh_ms = min(now_ms + ACCESS_MS, ends_ms), min(now_ms + REFRESH_MS, ends_ms)
        await execute(
            connection,
            "DELETE FROM platform.token WHERE sign_in = %s AND kind = 'access' AND expires_at <= %s",
            [sign_in, at(now_ms)],
        )
        return Tokens(
            await self._token(connection, sign_in, "access", ACCESS_PREFIX, access_ms),
            access_ms,
            await self._token(connection, sign_in, "refresh", REFRESH_PREFIX, refresh_ms),
            refresh_ms,
        )

    async def _token(self, connection: Connection, sign_in: str, kind: str, prefix: str, expires_ms: int) -> str:
        token = prefix + self._dice.bytes(SECRET_BYTES).hex()
        await execute(
            connection,
            "INSERT INTO platform.token (sha256, sign_in, kind, expires_at) VALUES (%s, %s, %s, %s)",
            [digest(token), sign_in, kind, at(expires_ms)],
        )
        return token

    async def _end(self, connection: Connection, sign_in: str, why: str, now_ms: int) -> None:
        row = await fetch_one(
            connection,
            "UPDATE platform.sign_in SET ended_at = %s, ended_why = %s WHERE id = %s AND ended_at IS NULL"
            " RETURNING account",
            [at(now_ms), why, sign_in],
        )
        if row is not None:
            await self._record(
                connection, row["account"], action="sign-in.end", subject=sign_in, detail=why, now_ms=now_ms
            )


_REFUSED: Final = "e-mail address or password are wrong"
