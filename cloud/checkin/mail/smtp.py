"""Letters by SMTP: one connection a letter, encrypted and with the server's certificate seen, or not at all.

What is certain and what is not hangs on one moment: before DATA nobody has anything, whatever goes wrong; from then on
only the reply to the final dot tells. A connection that ends in between leaves it open whether the server took it.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final, Literal

import aiosmtplib

from cloud.checkin.mail.port import Outcome, Told

STEP_S: Final = 30.0
WHOLE_S: Final = 90.0
"""RFC 5321, 4.5.3.2, would wait ten minutes for the reply to the dot; what comes later than this is unknown."""
_NO: Final = range(400, 600)
_PERMANENT: Final = range(500, 600)
_OURS: Final = frozenset({500, 502, 503, 504, 530, 534, 535, 538, 552, 555})
_NOT_HIS: Final = re.compile(r"5\.(?:[37]\.\d|1\.[78](?!\d)|2\.2(?!\d))")
"""Against us, the server or for now, not against the guest's address (RFC 5321, 4.2.3 and 4.5.3.1.10; RFC 4954, 6; RFC
3463): who we are, policy (many servers keep that no until RCPT, or until they have seen our signature), a full mailbox.
"""
_SEVEN_BITS: Final = SMTP.clone(cte_type="7bit")
"""What every server takes: eight are for those that were asked (RFC 6152)."""
Tls = Literal["starttls", "implicit", "none"]


@dataclass(frozen=True, slots=True)
class Account:
    """Where letters are handed over, and as whom; `tls` none is for a server on this machine alone."""

    host: str
    port: int
    sender: str
    tls: Tls = "starttls"
    username: str | None = None
    password: str | None = field(default=None, repr=False)


class SmtpMail:
    """Hands letters to one server."""

    def __init__(
        self, account: Account, *, tls: ssl.SSLContext | None = None, step_s: float = STEP_S, whole_s: float = WHOLE_S
    ) -> None:
        """`tls`: whom to believe, by default what the system does; `step_s`, `whole_s`: how long a reply may take, and
        the whole way.
        """
        self._account, self._step_s, self._whole_s = account, step_s, whole_s
        self._tls = tls or ssl.create_default_context()

    async def send(self, message: EmailMessage, *, to: str) -> Told:
        """Hand a message over; see the port."""
        if not to.isascii() or not to.isprintable() or any(each in to for each in " <>") or "@" not in to:
            return Told(Outcome.REFUSED, "no address")
        data, handed = message.as_bytes(policy=_SEVEN_BITS), False
        try:
            async with asyncio.timeout(self._whole_s), self._connected() as server:
                if (before := await self._addressed(server, to)) is not None:
                    return before
                handed = True
                await server.data(data)
                return Told(Outcome.TAKEN, "250")
        except aiosmtplib.SMTPResponseException as error:
            if handed and error.code not in _NO:  # what is neither yes nor no, after the dot, may be either
                return Told(Outcome.UNKNOWN, "not understood")
            his = handed and _is_his(error.code, error.message)
            return Told(Outcome.REFUSED if his else Outcome.NOT_NOW, str(error.code))
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
            return Told(Outcome.UNKNOWN if handed else Outcome.NOT_NOW, _word(error))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiosmtplib.SMTP]:
        account = self._account
        server = aiosmtplib.SMTP(
            hostname=account.host,
            port=account.port,
            use_tls=account.tls == "implicit",
            start_tls=account.tls == "starttls",  # asked for: a server that offers none is not spoken to
            tls_context=self._tls if account.tls != "none" else None,
            timeout=self._step_s,
        )
        try:
            await server.connect()
            if account.username is not None and account.password is not None:
                await server.login(account.username, account.password)
            yield server
            with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                await server.quit(timeout=1.0)  # it has answered for the letter; how it takes leave changes nothing
        finally:
            server.close()

    async def _addressed(self, server: aiosmtplib.SMTP, to: str) -> Told | None:
        """Say from whom and to whom. Only what is said against the guest's address is about this letter for good."""
        await server.mail(self._account.sender)
        try:
            await server.rcpt(to)
        except aiosmtplib.SMTPRecipientRefused as error:
            his = _is_his(error.code, error.message)
            return Told(Outcome.REFUSED if his else Outcome.NOT_NOW, str(error.code))
        return None


def _is_his(code: int, message: str) -> bool:
    """Tell whether a reply is against the guest's address, or this letter to it, for good."""
    return code in _PERMANENT and code not in _OURS and _NOT_HIS.match(message) is None


def _word(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
        return "no trusted certificate"
    if isinstance(error, ConnectionError | OSError):
        return "no connection"
    return "no encryption" if "STARTTLS" in str(error) else "not understood"
