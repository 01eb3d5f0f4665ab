"""Somebody else's program that asked for our events: takes them over HTTP, checks each signature, and has bad days.

Written from the Standard Webhooks page alone, with nothing of the sender's. It answers 503 before or after it kept an
event, hangs up, or never answers; so events come again, and are known by their id.
"""

import asyncio
import base64
import hmac
import json
from contextlib import suppress
from typing import Any, Final

from kit.clock import Clock
from kit.dice import Dice

BODY_BYTES_MOST: Final = 1_000_000
OLD_MOST_S: Final = 300
"""What was signed longer ago is somebody's replay."""
READ_WAIT_S: Final = 20.0
SILENT_S: Final = 12.0
"""Longer than a sender waits."""
BROKEN_BEFORE, BROKEN_AFTER, HANGS_UP, SILENT = 0.08, 0.08, 0.04, 0.02


class EventListener:
    """Listens on a port of loopback.

    Attributes:
        kept: What was told, by the event's id.
        counts: How often it took, refused and failed, and what was wrong.
    """

    def __init__(self, clock: Clock, dice: Dice) -> None:
        self._clock, self._dice, self._key = clock, dice, b""
        self._server: asyncio.Server | None = None
        self.kept: dict[str, dict[str, Any]] = {}
        self.counts = dict.fromkeys(("taken", "again", "failed", "unsigned", "contradicted"), 0)

    def trust(self, secret: str) -> None:
        """Take what is signed with a secret, as it was shown: whsec_ and base64."""
        self._key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port)

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    def told(self) -> list[dict[str, Any]]:
        """Return the events, each once."""
        return list(self.kept.values())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_WAIT_S):
                status = self._answer(*await _request(reader))
                if status is not None:
                    said = b"HTTP/1.1 %d x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status
                    writer.write(said)
                    await writer.drain()
                elif self._dice.uniform(0, 1) < SILENT / (SILENT + HANGS_UP):
                    await asyncio.sleep(SILENT_S)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            self.counts["failed"] += 1
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _answer(self, headers: dict[str, str], body: bytes) -> int | None:
        """Return the status of the answer; None: there is none."""
        if not self._is_signed(headers, body):
            self.counts["unsigned"] += 1
            return 401
        mood = self._dice.uniform(0, 1)
        if mood < BROKEN_BEFORE:
            self.counts["failed"] += 1
            return 503
        self._keep(headers["webhook-id"], json.loads(body))
        mood -= BROKEN_BEFORE
        if mood < BROKEN_AFTER + HANGS_UP + SILENT:
            self.counts["failed"] += 1
            return 503 if mood < BROKEN_AFTER else None
        self.counts["taken"] += 1
        return 204

    def _keep(self, event: str, told: dict[str, Any]) -> None:
        before = self.kept.setdefault(event, told)
        self.counts["again"] += before is not told
        self.counts["contradicted"] += before != told

    def _is_signed(self, headers: dict[str, str], body: bytes) -> bool:
        id_, at, told = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
        if not id_ or not at.isdecimal() or abs(self._clock.wall_ms() / 1_000 - int(at)) > OLD_MOST_S:
            return False
        wanted = base64.b64encode(hmac.digest(self._key, f"{id_}.{at}.".encode() + body, "sha256")).decode()
        return any(hmac.compare_digest(f"v1,{wanted}", each) for each in told.split(" "))


async def _request(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    """Read one request. Raises ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    length = int(headers.get("content-length", "0"))
    if not head[0].startswith("POST ") or not 0 <= length <= BODY_BYTES_MOST:
        raise ValueError(f"{head[0][:80]!r} of {length} bytes is no event")
    return headers, await reader.readexactly(length)
