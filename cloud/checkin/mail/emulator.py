"""A mail server with bad manners, on its real wire: what tests hand letters to. It relays nothing.

It takes letters like any server (RFC 5321, with STARTTLS of RFC 3207 and AUTH PLAIN), and misbehaves where it was told.
"""

import asyncio
import base64
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from enum import StrEnum
from types import TracebackType
from typing import Final, Self, cast

LINE_MOST: Final = 2_048
DATA_MOST: Final = 1 << 20


class Manner(StrEnum):
    """How it behaves."""

    PLAIN = "plain"
    GREYLISTS = "greylists"
    """451 to a recipient whom it has not heard of yet, 250 when asked again."""
    KNOWS_NOBODY = "knows_nobody"
    """550 to every recipient."""
    REFUSES_LETTER = "refuses_letter"
    """554 to what was sent after DATA."""
    SHUTS_DOWN = "shuts_down"
    """421 to RCPT, and it hangs up."""
    SHUTS_DOWN_AFTER = "shuts_down_after"
    """421 to what was sent after DATA, and it hangs up."""
    HANGS = "hangs"
    """Says nothing to RCPT any more."""
    HANGS_AFTER = "hangs_after"
    """Takes the letter, and says nothing to its final dot."""
    DROPS_AFTER = "drops_after"
    """Takes the letter, and hangs up instead of saying so."""
    SILENT = "silent"
    """Takes the connection and does not greet."""
    REFUSES_US = "refuses_us"
    """550 to MAIL: it does not let this sender in."""
    RELAYS_NOTHING = "relays_nothing"
    """554 5.7.1 to every recipient: it does not let us in, and says so late."""
    NO_STARTTLS = "no_starttls"
    """Offers no encryption."""
    BABBLES = "babbles"
    """Greets with what is no reply."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A letter that it took."""

    sender: str
    to: str
    user: str | None
    encrypted: bool
    message: EmailMessage
    raw: bytes


class MailServer:
    """One server on loopback. `taken` are the letters that it has, whether it said so or not.

    Where `to_recipient` or `to_letter` is set it says that to RCPT, or to what was sent after DATA; of `to_letter` it
    keeps the letter unless that begins with 4 or 5.
    """

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, implicit: bool = False, credentials: tuple[str, str] | None = None
    ) -> None:
        self.manner = Manner.PLAIN
        self.to_recipient: str | None = None
        self.to_letter: str | None = None
        self.taken: list[Taken] = []
        self.connections = 0
        self.port = 0
        self._tls, self._implicit, self._credentials = tls, implicit, credentials
        self._known: set[str] = set()
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self._tls if self._implicit else None, limit=DATA_MOST
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for each in self._sessions:
            each.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._sessions.add(task)
        try:
            await _Session(self, reader, writer, encrypted=self._implicit).run()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError, ValueError):
            pass  # whoever hangs up hangs up
        finally:
            self._sessions.discard(task)
            with suppress(OSError, RuntimeError):
                writer.close()

    def greets_again(self, to: str) -> bool:
        """Tell whether a recipient was asked for before, and remember him."""
        known = to in self._known
        self._known.add(to)
        return known

    def lets_in(self, word: str) -> str | None:
        """Return the user of AUTH PLAIN's one word; None: not let in."""
        with suppress(ValueError):
            _, user, password = base64.b64decode(word, validate=True).decode().split("\0")
            if (user, password) == self._credentials:
                return user
        return None

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What it encrypts with."""
        return None if self.manner is Manner.NO_STARTTLS or self._implicit else self._tls

    @property
    def wants_user(self) -> bool:
        """Whether nobody may send who has not said who he is."""
        return self._credentials is not None


class _Session:
    def __init__(
        self, house: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, encrypted: bool
    ) -> None:
        self._house, self._reader, self._writer = house, reader, writer
        self._encrypted, self._sender, self._to = encrypted, "", ""
        self._user: str | None = None

    async def run(self) -> None:
        """Answer until somebody hangs up."""
        if self._house.manner is Manner.SILENT:
            await asyncio.Event().wait()
        await self._say("220 emulated.invalid ESMTP" if self._house.manner is not Manner.BABBLES else "\x00\xff hello")
        while line := await self._reader.readline():
            verb, _, rest = line.decode("ascii", "replace").rstrip("\r\n").partition(" ")
            if not await self._answer(verb.upper(), rest):
                return

    async def _answer(self, verb: str, rest: str) -> bool:
        """Answer one command; False: it is over."""
        manner = self._house.manner
        match verb:
            case "EHLO" | "HELO":
                offers = ["emulated.invalid", "8BITMIME"]
                offers += ["STARTTLS"] if self._house.tls is not None and not self._encrypted else []
                offers += ["AUTH PLAIN"] if self._house.wants_user else []
                await self._say(*[f"250-{each}" for each in offers[:-1]], f"250 {offers[-1]}")
            case "STARTTLS" if (tls := self._house.tls) is not None and not self._encrypted:
                await self._say("220 go ahead")
                await self._writer.start_tls(tls)
                self._encrypted = True
            case "AUTH":
                self._user = self._house.lets_in(rest.partition(" ")[2])
                await self._say("235 welcome" if self._user is not None else "535 no")
            case "MAIL" if manner is Manner.REFUSES_US or (self._house.wants_user and self._user is None):
                await self._say("550 you may not send here")
            case "MAIL":
                self._sender = _address(rest)
                await self._say("250 ok")
            case "RCPT":
                return await self._recipient(_address(rest))
            case "DATA":
                return await self._letter()
            case "QUIT":
                await self._say("221 bye")
                return False
            case _:
                await self._say("502 what")
        return True

    async def _recipient(self, to: str) -> bool:
        if self._house.to_recipient is not None:
            await self._say(self._house.to_recipient)
            return True
        match self._house.manner:
            case Manner.GREYLISTS if not self._house.greets_again(to):
                await self._say("451 come again later")
            case Manner.KNOWS_NOBODY:
                await self._say(f"550 <{to}> is nobody")
            case Manner.RELAYS_NOTHING:
                await self._say(f"554 5.7.1 <{to}>: Relay access denied")
            case Manner.SHUTS_DOWN:
                await self._say("421 closing")
                return False
            case Manner.HANGS:
                await asyncio.Event().wait()
            case _:
                self._to = to
                await self._say("250 ok")
        return True

    async def _letter(self) -> bool:
        await self._say("354 go on")
        lines: list[bytes] = []
        while (line := await self._reader.readline()) != b".\r\n":
            if not line:
                return False
            lines.append(line[1:] if line.startswith(b".") else line)
        manner = self._house.manner
        if manner is Manner.SHUTS_DOWN_AFTER:
            await self._say("421 closing")
            return False
        if manner is Manner.REFUSES_LETTER:
            await self._say("554 not such a letter")
            return True
        if self._house.to_letter is not None and self._house.to_letter[0] in "45":
            await self._say(self._house.to_letter)
            return True
        raw = b"".join(lines)
        message = message_from_bytes(raw, policy=default)
        self._house.taken.append(Taken(self._sender, self._to, self._user, self._encrypted, message, raw))
        if manner is Manner.DROPS_AFTER:
            return False
        if manner is Manner.HANGS_AFTER:
            await asyncio.Event().wait()
        await self._say(self._house.to_letter or "250 taken")
        return True

    async def _say(self, *lines: str) -> None:
        self._writer.write("".join(f"{each}\r\n" for each in lines).encode("latin-1"))
        await self._writer.drain()


def _address(rest: str) -> str:
    return rest.partition("<")[2].partition(">")[0]
