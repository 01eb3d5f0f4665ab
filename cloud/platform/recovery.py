"""Back in after everything was lost: a code that an admin makes for somebody else, good once and for a day.

Who uses it sets a new password; every passkey and every sign-in of the account ends, because whoever has lost them
may not be the one who has them now. An admin makes none for himself: what he has proves him already, and another admin
must know of it. The code is told once and kept as a digest.
"""

from typing import Final

from cloud.kit.acting import acting, system
from cloud.kit.database import Database, execute, fetch_one
from cloud.kit.times import at
from cloud.platform import attempts, audit
from cloud.platform.accounts import RandomBytes, digest, set_password
from cloud.platform.passwords import Passwords, judged
from cloud.platform.sign_in import SignInRefusedError, WallClock, Where
from protocols.errors import InvalidInputError

CODE_PREFIX: Final = "ikx_"
CODE_BYTES: Final = 20
CODE_MS: Final = 24 * 3_600_000
_ACTOR: Final = system("recovery")
_REFUSED: Final = "this code is not good, or not any more; ask an admin for another one"


class Recovery:
    """Makes codes and takes them."""

    def __init__(self, database: Database, *, passwords: Passwords, clock: WallClock, dice: RandomBytes) -> None:
        """Passwords are hashed by `passwords`."""
        self._database, self._passwords, self._clock, self._dice = database, passwords, clock, dice

    async def code_for(self, account: str, *, tenant: str, by: str, by_account: str | None) -> tuple[str, int] | None:
        """Return a code and when it ends (unix milliseconds); None: the tenant has no such account in use.

        Raises:
            InvalidInputError: it is the caller's own account.
        """
        if account == by_account:
            raise InvalidInputError("account", "is your own: another admin must make your code")
        code, now_ms = CODE_PREFIX + self._dice.bytes(CODE_BYTES).hex(), self._clock.wall_ms()
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                row = await fetch_one(
                    connection,
                    "SELECT email FROM platform.account WHERE id = %s AND tenant = %s AND disabled_at IS NULL",
                    [account, tenant],
                )
                if row is None:
                    return None
                await execute(
                    connection,
                    "INSERT INTO platform.recovery (account, sha256, made_by, expires_at) VALUES (%s, %s, %s, %s)"
                    " ON CONFLICT (account) DO UPDATE SET sha256 = excluded.sha256, made_by = excluded.made_by,"
                    " expires_at = excluded.expires_at",
                    [account, digest(code), by, at(now_ms + CODE_MS)],
                )
                await audit.append(
                    connection, tenant=tenant, actor=by, action="recovery.code", subject=account,
                    detail=row["email"], outcome=audit.Outcome.DONE, now_ms=now_ms,
                )  # fmt: skip
        return code, now_ms + CODE_MS

    async def use(self, code: str, *, password: str, where: Where) -> str:
        """Set a new password for a code, end everything of before, and return the account.

        Raises:
            SignInRefusedError: the code is none, is over or was used.
            InvalidInputError: the password will not do; the code stays good.
            TooManyAttemptsError: too many codes were tried from there.
        """
        now_ms = self._clock.wall_ms()
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                wait_s = await attempts.count_asked(connection, address=where.address, now_ms=now_ms)
                row = await fetch_one(
                    connection,
                    "SELECT a.id, a.tenant, a.email FROM platform.recovery r"
                    "  JOIN platform.account a ON a.id = r.account"
                    " WHERE r.sha256 = %s AND r.expires_at > %s AND a.disabled_at IS NULL",
                    [digest(code), at(now_ms)],
                )
        if wait_s:
            raise attempts.TooManyAttemptsError(wait_s)
        if row is None:
            raise SignInRefusedError(_REFUSED)
        phc = await self._passwords.hashed(judged(password, of=row["email"]))
        with acting(_ACTOR):
            async with self._database.transaction() as connection:
                if not await execute(
                    connection,  # once, whoever else came with it meanwhile
                    "DELETE FROM platform.recovery WHERE account = %s AND sha256 = %s",
                    [row["id"], digest(code)],
                ):
                    raise SignInRefusedError(_REFUSED)
                await set_password(connection, row["id"], phc, now_ms=now_ms)
                taken = await execute(connection, "DELETE FROM platform.passkey WHERE account = %s", [row["id"]])
                await execute(
                    connection,
                    "UPDATE platform.sign_in SET ended_at = %s, ended_why = 'the account was recovered'"
                    " WHERE account = %s AND ended_at IS NULL",
                    [at(now_ms), row["id"]],
                )
                await audit.append(
                    connection, tenant=row["tenant"], actor=row["email"], action="recovery.use", subject=row["id"],
                    detail=f"at {where.address}; {taken} passkeys taken away",
                    outcome=audit.Outcome.DONE, now_ms=now_ms,
                )  # fmt: skip
        return str(row["id"])
