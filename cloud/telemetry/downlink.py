"""The way down to an edge: signed desired documents, and signed commands with their answers.

Source of truth: protocols/link/SPEC.md section 9. An answer is true, false or unknown, never invented: nothing
heard until the deadline
is ReplyTimeoutError (it may have taken effect; lane A tells later), never "failed". A document is retained by
the broker, so an
edge that was away finds the newest; the edge refuses older versions by itself.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from kit.clock import Clock
from kit.logs import logger
from kit.net import Connection as Link
from kit.net import Transport
from protocols.device_model.identity import EdgeId
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError
from protocols.link.documents import CommandEnvelope, DesiredDocument, sign_command, sign_desired
from protocols.link.messages import Answer, decode_answer
from protocols.link.record import Body
from protocols.link.topics import answer_filter, command_topic, desired_topic, parse_up

LAST_PHASES: Final = frozenset({"done", "failed", "expired", "unknown"})
"""Phases after which no other comes."""
AWAITED_MAX: Final = 10_000
"""Commands that may be under way at a time, all edges together."""
GRACE_MS: Final = 500
"""The answer to a command obeyed in the last moment may take this long to arrive."""


@dataclass(slots=True)
class _Awaited:
    edge: EdgeId
    done: "asyncio.Future[Answer]"


class Downlink:
    """Publishes to edges and hears their answers. `run` holds the connection; LinkLostError ends it, supervision
    restarts it.
    """

    def __init__(self, transport: Transport, *, key: ec.EllipticCurvePrivateKey, kid: bytes, clock: Clock) -> None:
        self._transport, self._key, self._kid, self._clock = transport, key, kid, clock
        self._link: Link | None = None
        self._awaited: dict[str, list[_Awaited]] = {}
        self._log = logger("cloud.telemetry.downlink")

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the broker."""
        return self._link is not None

    async def run(self) -> None:
        """Connect and hear answers until cancelled. Raises LinkLostError."""
        async with self._transport.connect(subscribe=[answer_filter()]) as link:
            self._link = link
            try:
                async for message in link.messages():
                    self._hear(message.topic, message.payload)
            finally:
                self._link = None
        raise LinkLostError("downlink: the connection was closed")

    async def desire(self, document: DesiredDocument) -> None:
        """Publish a desired document, retained under its name. Raises LinkLostError, ReplyTimeoutError: publish it
        again.
        """
        data = sign_desired(document, self._key, self._kid)
        await self._must_link().publish(desired_topic(document.edge, document.name), data, retain=True)

    async def command(
        self,
        edge: EdgeId,
        kind: str,
        args: Body,
        *,
        command_id: str,
        idempotency_key: str,
        deadline_ms: int,
    ) -> Answer:
        """Send a signed command and return the edge's last word on it.

        Args:
            deadline_ms: wall time (Unix ms, UTC) after which the edge must not begin any more.

        Raises:
            LinkLostError: it never left.
            ReplyTimeoutError: it left and nobody answered in time; it may have taken effect.
        """
        now_ms = self._clock.wall_ms()
        if sum(map(len, self._awaited.values())) >= AWAITED_MAX:
            raise LinkLostError(f"{AWAITED_MAX} commands are under way: {command_id} was not sent")
        envelope = CommandEnvelope(edge, command_id, idempotency_key, kind, args, deadline_ms, now_ms)
        data = sign_command(envelope, self._key, self._kid)
        link = self._must_link()
        awaited = _Awaited(edge, asyncio.get_running_loop().create_future())
        self._awaited.setdefault(command_id, []).append(awaited)
        try:
            async with asyncio.timeout(max(0, deadline_ms - now_ms + GRACE_MS) / 1000):
                await link.publish(command_topic(edge), data)
                return await awaited.done
        except TimeoutError as error:
            raise ReplyTimeoutError(f"command {command_id} to {edge}: no answer until its deadline") from error
        finally:
            left = [each for each in self._awaited.pop(command_id) if each is not awaited]
            if left:
                self._awaited[command_id] = left

    def _must_link(self) -> Link:
        if self._link is None:
            raise LinkLostError("the cloud is not connected to its broker")
        return self._link

    def _hear(self, topic: str, payload: bytes) -> None:
        try:
            edge = parse_up(topic).edge
            answer = decode_answer(payload)
            if answer.edge != edge:
                raise PeerProtocolError(f"answer of {answer.edge} on the topic of {edge}")
        except PeerProtocolError as error:
            self._log.warning("answer_refused", topic=topic[:80], error=type(error).__name__, detail=str(error)[:200])
            return
        if answer.phase not in LAST_PHASES:
            return
        for each in self._awaited.get(answer.id, ()):
            if each.edge == edge and not each.done.done():
                each.done.set_result(answer)
