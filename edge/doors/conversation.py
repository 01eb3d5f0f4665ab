"""One link to one lock, request by request: pumps frames between a DoorSession and a PhoneExchange.

Decides nothing: read, feed, drain, write, wait no longer than the exchange's deadline.
"""

import asyncio

from edge.doors.radio import DoorSession
from kit.clock import Clock
from kit.dice import Dice
from protocols.door.advert import DoorKeys
from protocols.door.messages import Challenge
from protocols.door.phone import Answer, PhoneExchange, Request
from protocols.errors import LocalProtocolError, PeerProtocolError


class Conversation:
    """Requests and answers on one link, one at a time."""

    def __init__(self, session: DoorSession, keys: DoorKeys, *, clock: Clock, dice: Dice) -> None:
        self._session, self._keys, self._clock, self._dice = session, keys, clock, dice
        self._exchange: PhoneExchange | None = None

    @property
    def challenge(self) -> Challenge:
        """The lock's challenge; there is none before the first answer."""
        if self._exchange is None or self._exchange.challenge is None:
            raise LocalProtocolError("no challenge before the first answer")
        return self._exchange.challenge

    async def ask(self, request: Request) -> Answer:
        """Send one request and return the lock's answer.

        Raises:
            LinkLostError: the link is gone, or the lock never challenged.
            ReplyTimeoutError: asked and unanswered.
            PeerProtocolError: not the lock we know, or not the protocol.
            CredentialRefusedError: it asks us to wait.
        """
        if self._exchange is None:
            self._exchange = PhoneExchange(
                self._keys,
                request,
                random=self._dice.bytes,
                frame_bytes=self._session.frame_bytes,
                now_ms=self._clock.now_ms(),
            )
        else:
            self._exchange.ask(request, now_ms=self._clock.now_ms())
        exchange = self._exchange
        while True:
            for frame in exchange.data_to_send():
                await self._session.send(frame)
            answer = exchange.receive_data(await self._next_frame(exchange), now_ms=self._clock.now_ms())
            if answer is not None:
                return answer

    async def _next_frame(self, exchange: PhoneExchange) -> bytes:
        if exchange.deadline_ms is None:
            raise PeerProtocolError("the exchange waits for nothing")
        while True:
            left_ms = exchange.deadline_ms - self._clock.now_ms()
            try:
                async with asyncio.timeout(max(left_ms, 0) / 1_000):
                    return await self._session.receive()
            except TimeoutError:
                exchange.on_time(now_ms=self._clock.now_ms())  # raises once the deadline is truly there
