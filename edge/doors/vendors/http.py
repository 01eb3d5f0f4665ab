"""HTTP to a vendor's server: one request, one bounded answer, and errors that say whether it may have happened.

aiohttp, because the vendors' own libraries bring it: the doors carry one HTTP client (decision 0048). Redirects are
not followed, proxies of the environment not asked, and a body is read only so far as any answer goes.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
import yarl

from edge.doors.vendors.port import VendorBusyError, VendorFaultError, VendorRefusedError
from kit.clock import Clock
from protocols.errors import InvalidInputError, LinkLostError, PeerProtocolError, ReplyTimeoutError

ANSWER_BYTES_MOST: Final = 4 * 1024 * 1024
CONNECT_WAIT_S: Final = 3.0
CONNECTIONS_MOST: Final = 8
BUSY_DEFAULT_MS: Final = 1_000
BUSY_MOST_MS: Final = 60_000
PIN_BYTES: Final = 32
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: any status, the body whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def read(self, kind: type[T], what: str) -> T:
        """Return the body as `kind`. Raises PeerProtocolError naming what is wrong, never the body itself."""
        try:
            return msgspec.json.decode(self.content, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise PeerProtocolError(f"{what}: {error} in {len(self.content)} bytes") from error


def tls(ca_path: Path | None, certificate_sha256: str | None) -> ssl.SSLContext | aiohttp.Fingerprint | bool:
    """Return how the server is verified: by its pinned certificate, by an authority, or by the system's authorities.

    Raises:
        InvalidInputError: the pin is not a SHA-256 in hexadecimal, or the file holds no certificate.
    """
    if certificate_sha256 is not None:
        try:
            pin = bytes.fromhex(certificate_sha256.replace(":", ""))
        except ValueError:
            pin = b""
        if len(pin) != PIN_BYTES:
            raise InvalidInputError("certificate_sha256", "not the SHA-256 of a certificate in hexadecimal")
        return aiohttp.Fingerprint(pin)
    if ca_path is not None:
        try:
            return ssl.create_default_context(cafile=str(ca_path))
        except (OSError, ssl.SSLError) as error:
            raise InvalidInputError(str(ca_path), f"no certificates to verify a server by: {error}") from error
    return True


class VendorHttp:
    """Requests to one server. Connections are opened when first needed."""

    def __init__(
        self,
        base: str,
        *,
        clock: Clock,
        name: str,
        answer_wait_s: float,
        verify: ssl.SSLContext | aiohttp.Fingerprint | bool = True,
    ) -> None:
        self._base, self._clock, self._name, self._wait_s = base.rstrip("/"), clock, name, answer_wait_s
        self._verify = verify
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Drop the connections; harmless to call twice."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask once and return the answer, whatever its status below 500 but 408 and 429. `path` is quoted already.

        Raises:
            LinkLostError: not connected, nothing left. ReplyTimeoutError: it left, nothing came back in time.
            VendorFaultError: the connection broke, or 5xx. VendorBusyError: 429, or 503 that says when to come again.
            PeerProtocolError: an answer longer than any should be.
        """
        what = f"{self._name} {method} {path}"
        if self._session is None:
            self._session = session(self._wait_s, self._verify)
        try:
            async with self._session.request(
                method,
                yarl.URL(self._base + path, encoded=True),  # as it was signed, byte for byte
                data=body,
                headers=headers,
                allow_redirects=False,
            ) as answer:
                content = await bounded(answer, what)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise translated(error, what) from error
        except ValueError as error:  # aiohttp: a header or status line that is none
            raise PeerProtocolError(f"{what}: {type(error).__name__} in the answer") from error
        found = Answer(answer.status, {key.lower(): value for key, value in answer.headers.items()}, content)
        return judged(found, what, self._clock)


def session(
    answer_wait_s: float, verify: ssl.SSLContext | aiohttp.Fingerprint | bool, base: str | None = None
) -> aiohttp.ClientSession:
    """Return a session with our deadlines that sends what it is told to send once.

    aiohttp repeats a PUT or DELETE by itself when the connection breaks under it: a door would open twice. It has no
    public switch for that; its own test client turns the same one off. tests/contract/test_lock_adapters.py holds it.
    """
    made = aiohttp.ClientSession(
        base,
        connector=aiohttp.TCPConnector(limit=CONNECTIONS_MOST, ssl=verify),
        timeout=aiohttp.ClientTimeout(total=answer_wait_s, sock_connect=CONNECT_WAIT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )
    made._retry_connection = False
    return made


async def bounded(answer: aiohttp.ClientResponse, what: str) -> bytes:
    """Read an answer as it comes, and no more of it than any answer has. Raises PeerProtocolError."""
    content = bytearray()
    async for chunk in answer.content.iter_chunked(64 * 1024):
        content += chunk
        if len(content) > ANSWER_BYTES_MOST:
            raise PeerProtocolError(f"{what}: an answer of more than {ANSWER_BYTES_MOST} bytes")
    return bytes(content)


def translated(error: BaseException, what: str) -> LinkLostError | ReplyTimeoutError | VendorFaultError:
    """Return our error for aiohttp's: whether the request left is what counts."""
    match error:
        case aiohttp.ServerFingerprintMismatch():
            return LinkLostError(f"{what}: the server's certificate is not the pinned one; nothing was sent")
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError() | aiohttp.InvalidURL():
            return LinkLostError(f"{what}: no connection ({type(error).__name__})")
        case TimeoutError() | asyncio.TimeoutError():
            return ReplyTimeoutError(f"{what}: sent and unanswered")
        case _:
            return VendorFaultError(f"{what}: the connection broke ({type(error).__name__})")


def judged(answer: Answer, what: str, clock: Clock) -> Answer:
    """Return the answer, or raise what its status means wherever HTTP is spoken."""
    if answer.status == 429 or (answer.status == 503 and "retry-after" in answer.headers):
        wait_ms = patience_ms(answer.headers.get("retry-after"), clock)
        raise VendorBusyError(f"{what}: {answer.status}, asks for {wait_ms} ms of patience", wait_ms)
    if answer.status >= 500 or answer.status == 408:
        raise VendorFaultError(f"{what}: {answer.status}")
    return answer


def patience_ms(retry_after: str | None, clock: Clock) -> int:
    """Read Retry-After: seconds or a date; a sane default for anything else."""
    if retry_after is None:
        return BUSY_DEFAULT_MS
    try:
        wait_ms = int(float(retry_after) * 1_000)
    except (ValueError, OverflowError):
        try:
            wait_ms = round(parsedate_to_datetime(retry_after).timestamp() * 1_000) - clock.wall_ms()
        except (ValueError, TypeError, OverflowError):
            return BUSY_DEFAULT_MS
    return min(max(wait_ms, 0), BUSY_MOST_MS)


def refused(what: str, answer: Answer, said: str = "") -> VendorRefusedError:
    """Return a refusal for a status of 4xx; `said` is the vendor's own code or word, if it has one."""
    return VendorRefusedError(f"{what}: refused with {answer.status}{f' ({said[:80]})' if said else ''}", said[:80])


def json_body(document: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return a document as JSON bytes."""
    return msgspec.json.encode(document)
