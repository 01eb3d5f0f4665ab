"""Listens on the cloud's broker beside the cloud: which kinds of message an edge sent, in which order, and when.

An observer with an identity of its own that may hear one edge and say nothing. It proves from outside what the order on
the wire was, whatever either end believes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from kit.clock import Clock
from kit.identity import tls_client_context
from kit.mqtt import Broker, MqttTransport
from protocols.errors import LinkLostError
from provisioning.pki.development_ca import IdentityFiles

RECONNECT_S: Final = 0.2
HEARD_MOST: Final = 100_000


@dataclass(frozen=True, slots=True)
class Heard:
    """One message: when it came (monotonic ms), and the last level of its topic: hello, live, a, b, c, answer."""

    at_ms: int
    what: str
    size_bytes: int


class UplinkWatch:
    """Keeps what was heard, oldest first."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []

    def since(self, at_ms: int) -> list[Heard]:
        """Return what was heard at `at_ms` or later."""
        return [each for each in self.heard if each.at_ms >= at_ms]

    @classmethod
    @asynccontextmanager
    async def open(
        cls, *, host: str, port: int, files: IdentityFiles, edge: str, clock: Clock
    ) -> AsyncIterator["UplinkWatch"]:
        """Listen for the length of the block; comes back by itself when the broker does."""
        watch = cls()
        tls = tls_client_context(files.authority, files.certificate, files.private_key)
        transport = MqttTransport(Broker(host=host, port=port, client_id=files.common_name, tls=tls))
        task = asyncio.create_task(watch._listen(transport, edge, clock), name="uplink watch")
        try:
            yield watch
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _listen(self, transport: MqttTransport, edge: str, clock: Clock) -> None:
        while True:
            with contextlib.suppress(LinkLostError):
                async with transport.connect(subscribe=[f"up/+/{edge}/+"]) as connection:
                    async for message in connection.messages():
                        if len(self.heard) < HEARD_MOST:
                            what = message.topic.rsplit("/", 1)[-1]
                            self.heard.append(Heard(clock.now_ms(), what, len(message.payload)))
            await asyncio.sleep(RECONNECT_S)
