"""The socket under `session`: `kit.net.Transport` over a real broker, and beside it what a hot path needs.

Beyond the port: `batch` hands out all that one read brought and leaves the acknowledgement to the caller, who gives it
with `acknowledge` after his own commit; `publish_many` writes many messages at once and waits once. Bounded in both
directions: a full inbox stops reading (the broker holds back), a full window stops publishing.
"""

import asyncio
import contextlib
import os
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Final, Literal, cast

from kit.logs import logger
from kit.mqtt_wire import packets
from kit.mqtt_wire.packets import Will
from kit.mqtt_wire.parser import NOTHING_LONG, Long, Publish
from kit.mqtt_wire.session import PACKET_IDS, ClientSession, Identity, Received
from kit.net import INBOX_MESSAGES_MAX, PAYLOAD_BYTES_MAX, TOPIC_BYTES_MAX, Message
from protocols.errors import LinkLostError, LocalProtocolError, PeerProtocolError, PlatformError, ReplyTimeoutError

PACKET_BYTES_MAX: Final = PAYLOAD_BYTES_MAX + TOPIC_BYTES_MAX + 16
WINDOW_MAX: Final = 1_000
"""Unanswered publishes at a time, if the broker names no smaller number."""
INBOX_BYTES_MAX: Final = 8 * 1024 * 1024
CLOSE_WAIT_S: Final = 2.0
BUSY_MESSAGES: Final = 16
"""A read of so many messages or more is followed by the next at once, without a rest."""
READ_BYTES: Final = 64 * 1024
"""At the end of a rest; what is beyond it the event loop reads at its next turn."""
_TICK_MOST_S: Final = 1.0
_PUBLISH_OVERHEAD_BYTES: Final = 10
"""A PUBLISH besides topic and payload: head, lengths, packet id, no properties."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and how to speak to it.

    `keepalive`: the broker forgets us after 1.5 times of silence. `answer_wait`: how long for CONNACK, SUBACK, PUBACK
    and PINGRESP. `session_expiry`: how long the broker keeps for us what arrives while we are away; zero: not at all
    (MQTT 3.1.1 knows no time: anything above zero is "until we come back"). `receive_max`: messages in flight to us,
    MQTT 5 alone. `packet_bytes_max`: a longer message is skipped and told as such. `rest`: after a read of few
    messages, for so long none: at a moderate rate one read then holds several, and the processor sleeps between.
    """

    host: str
    port: int
    client_id: str
    tls: ssl.SSLContext | None = None
    username: str | None = None
    password: str | None = None
    version: Literal["3.1.1", "5"] = "3.1.1"
    keepalive: timedelta = timedelta(seconds=30)
    answer_wait: timedelta = timedelta(seconds=10)
    session_expiry: timedelta = timedelta(0)
    receive_max: int = PACKET_IDS
    packet_bytes_max: int = PACKET_BYTES_MAX
    inbox_messages_max: int = INBOX_MESSAGES_MAX
    rest: timedelta = timedelta(0)


class WireTransport:
    """`kit.net.Transport` over one broker; every `connect` is a connection of its own."""

    def __init__(self, broker: Broker) -> None:
        if not 0 <= broker.keepalive.total_seconds() <= 65_535 or not 1 <= broker.receive_max <= PACKET_IDS:
            raise LocalProtocolError(
                f"keepalive {broker.keepalive} or receive_max {broker.receive_max} is out of range"
            )
        self._broker = broker

    @contextlib.asynccontextmanager
    async def connect(
        self, *, subscribe: Sequence[str] = (), will: Message | None = None
    ) -> AsyncIterator["WireConnection"]:
        """See `kit.net.Transport.connect`."""
        broker = self._broker
        place = f"{broker.host}:{broker.port}"
        loop = asyncio.get_running_loop()
        connection = self._connection(place, will)
        try:
            async with asyncio.timeout(broker.answer_wait.total_seconds()):
                await loop.create_connection(lambda: connection, broker.host, broker.port, ssl=broker.tls)
                await connection.greeted()
        except (PlatformError, OSError, TimeoutError, UnicodeError) as error:  # UnicodeError: no name server takes it
            connection.abandon()
            raise LinkLostError(f"{place}: no connection: {str(error) or type(error).__name__}") from error
        except BaseException:
            connection.abandon()
            raise
        try:
            if subscribe:
                await connection.subscribe(*subscribe)
            yield connection
        finally:
            await connection.close()

    def _connection(self, place: str, will: Message | None) -> "WireConnection":
        """Return a connection, not open yet."""
        return WireConnection(self._broker, place, will)


class _Waiter:
    """Who waits for the answers to some packets: done when the last has come."""

    __slots__ = ("codes", "deadline_s", "done", "open")

    def __init__(self, done: "asyncio.Future[None]", count: int, deadline_s: float) -> None:
        self.done, self.open, self.deadline_s = done, count, deadline_s
        self.codes = b""


class WireConnection(asyncio.Protocol):
    """`kit.net.Connection`: made by `WireTransport.connect`."""

    def __init__(self, broker: Broker, place: str, will: Message | None, long: Long = NOTHING_LONG) -> None:
        self._loop = asyncio.get_running_loop()
        self._place, self._rest_s = place, broker.rest.total_seconds()
        self._answer_wait_s = broker.answer_wait.total_seconds()
        who = Identity(
            client_id=broker.client_id,
            v5=broker.version == "5",
            keepalive_s=int(broker.keepalive.total_seconds()),
            session_expiry_s=int(broker.session_expiry.total_seconds()),
            receive_max=broker.receive_max,
            username=broker.username,
            password=broker.password,
            will=None if will is None else Will(will.topic, will.payload, will.retain),
        )
        self._v5 = who.v5
        self._session = ClientSession(
            who,
            packet_bytes_max=broker.packet_bytes_max,
            answer_wait_ms=round(self._answer_wait_s * 1_000),
            window_max=WINDOW_MAX,
            long=long,
        )
        self._socket: asyncio.Transport | None = None
        self._plain_fd: int | None = None
        self._inbox: deque[Publish] = deque()
        self._inbox_most, self._inbox_bytes = broker.inbox_messages_max, 0
        self._reader: asyncio.Future[None] | None = None
        self._full = self._resting = False
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._cause: PlatformError | None = None
        self._closing = False
        self._waiters: dict[int, _Waiter] = {}
        self._turn: deque[asyncio.Future[None]] = deque()
        self._writable = asyncio.Event()
        self._writable.set()
        self._timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ kit.net.Connection

    @property
    def closed(self) -> bool:
        """True once the link is lost or closed."""
        return self._closing or self._lost.done()

    @property
    def session_present(self) -> bool:
        """Whether the broker kept our session: what it delivers first may have been delivered before."""
        greeting = self._session.greeting
        return greeting is not None and greeting.session_present

    async def wait_closed(self) -> None:
        """Return when the link is lost or closed."""
        await asyncio.wait({self._lost})

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """See `kit.net.Connection.publish`."""
        await self.publish_many([(checked_topic(topic), payload)], retain=retain)

    async def subscribe(self, *filters: str) -> None:
        """See `kit.net.Connection.subscribe`. A broker that says that it will not deliver is a lost link."""
        self._must_live()
        packet_id, data = self._session.subscribe(filters, now_ms=self._now_ms())
        codes = await self._asked(packet_id, data, "subscribe")
        for each, code in zip(filters, codes, strict=False):
            if code >= packets.FAILURE:
                raise LinkLostError(f"{self._place}: could not subscribe {each}: {packets.reason(code, v5=self._v5)}")

    async def unsubscribe(self, *filters: str) -> None:
        """See `kit.net.Connection.unsubscribe`."""
        self._must_live()
        packet_id, data = self._session.unsubscribe(filters, now_ms=self._now_ms())
        await self._asked(packet_id, data, "unsubscribe")

    async def messages(self) -> AsyncIterator[Message]:
        """See `kit.net.Connection.messages`. Each is acknowledged when it is taken."""
        while await self._arrived():
            while self._inbox:
                each = self._inbox.popleft()
                self._taken((each,))
                self.acknowledge((each,))
                if each[1] is None:
                    logger("kit.mqtt").warning("oversized_message_skipped", topic=each[0][:80].decode(errors="replace"))
                    continue
                try:
                    topic = each[0].decode()
                except UnicodeDecodeError:  # a broker that lets such a topic in would deliver it again for ever
                    logger("kit.mqtt").warning("topic_not_utf8_skipped", topic=each[0][:40].hex())
                    continue
                yield Message(topic, each[1], bool(each[3] & packets.RETAIN))

    async def close(self) -> None:
        """Say goodbye and end the connection; harmless after a loss."""
        if self._closing:
            return
        self._closing = True
        self._wake_reader()
        if self._socket is not None and not self._lost.done():
            self._write(packets.disconnect())
            self._socket.close()
            await asyncio.wait({self._lost}, timeout=CLOSE_WAIT_S)
        self.abandon()

    # ------------------------------------------------------------------ the hot path's own

    async def batch(self, most: int) -> list[Publish]:
        """Return up to `most` messages, at least one, none of them acknowledged; [] once this side closed the link.

        Raises:
            LinkLostError: the link is lost and all that came was handed out.
        """
        if not self._inbox and not await self._arrived():
            return []
        if len(self._inbox) <= most:
            taken = list(self._inbox)
            self._inbox.clear()
        else:
            taken = list(islice(self._inbox, most))
            for _ in taken:
                self._inbox.popleft()
        self._taken(taken)
        return taken

    def acknowledge(self, messages: Sequence[Publish]) -> None:
        """Answer messages that `batch` gave, in its order, in one write. After a loss: nothing, they come again."""
        data = self._session.acknowledge(messages, now_ms=self._now_ms())
        if data and not self.closed:
            self._write(data)

    async def publish_many(self, messages: Sequence[tuple[bytes, bytes]], *, retain: bool = False) -> None:
        """Publish (topic, payload) pairs in order; return when the broker has answered every one.

        Raises:
            LocalProtocolError, LinkLostError, ReplyTimeoutError: see `kit.net.Connection.publish`; of a
                ReplyTimeoutError any part may have arrived, always a beginning of the sequence.
        """
        for topic, payload in messages:
            if not topic or len(topic) > TOPIC_BYTES_MAX:
                raise LocalProtocolError(f"no topic to publish to: {topic[:80]!r}")
            if len(payload) > PAYLOAD_BYTES_MAX:
                raise LocalProtocolError(f"{topic[:80]!r}: {len(payload)} bytes, at most {PAYLOAD_BYTES_MAX}")
            most = self._session.packet_bytes_most
            if most is not None and len(topic) + len(payload) + _PUBLISH_OVERHEAD_BYTES > most:
                raise LocalProtocolError(f"{topic[:80]!r}: {len(payload)} bytes, and this broker takes {most} a packet")
        left = deque(messages)
        waiters: list[_Waiter] = []
        while left:
            await self._my_turn(sent=bool(waiters))
            session, now_ms = self._session, self._now_ms()
            count = min(len(left), session.window - session.unanswered)
            waiter = _Waiter(self._loop.create_future(), count, self._loop.time() + self._answer_wait_s)
            chunk: list[bytes] = []
            for _ in range(count):
                topic, payload = left.popleft()
                packet_id, data = session.publish(topic, payload, retain=retain, now_ms=now_ms)
                self._waiters[packet_id] = waiter
                chunk.append(data)
            self._write(b"".join(chunk))
            waiters.append(waiter)
            self._next_turn()
        for waiter in waiters:
            await waiter.done

    # ------------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the broker."""
        self._socket = socket = cast(asyncio.Transport, transport)  # create_connection gives no other
        if self._closing:
            socket.abort()
            return
        if self._rest_s and transport.get_extra_info("sslcontext") is None:
            self._plain_fd = transport.get_extra_info("socket").fileno()
        self._write(self._session.connect(now_ms=self._now_ms()))
        self._tick()

    def data_received(self, data: bytes) -> None:
        """Take what was read."""
        try:
            received = self._session.receive(data)
        except (PeerProtocolError, LinkLostError) as error:
            self._drop(error)
            return
        if received.publishes:
            self._deliver(received.publishes)
        self._answers(received)

    def eof_received(self) -> None:
        """The broker has closed its side: so do we."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        if self._cause is None:
            self._cause = LinkLostError(f"the link is lost: {exc or 'closed by the broker'}")
        self._plain_fd = None
        if self._timer is not None:
            self._timer.cancel()
        if not self._greeted.done():
            self._greeted.set_exception(self._cause)
            self._greeted.exception()  # whoever waits still gets it; nobody may be there any more
        if not self._lost.done():
            self._lost.set_result(None)
        waiting, self._waiters = self._waiters, {}
        for waiter in waiting.values():
            if not waiter.done.done():
                waiter.done.set_exception(ReplyTimeoutError(f"{self._place}: sent, no answer: {self._cause}"))
                waiter.done.exception()
        self._writable.set()
        self._next_turn(everybody=True)
        self._wake_reader()

    def pause_writing(self) -> None:
        """The socket is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The socket has room."""
        self._writable.set()

    # ------------------------------------------------------------------ inside

    async def greeted(self) -> None:
        """Return once the broker took us. Raises LinkLostError, PeerProtocolError."""
        await self._greeted

    def abandon(self) -> None:
        """Leave without a word; harmless if it is over."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._socket.abort()
        if self._socket is None and not self._lost.done():
            self._lost.set_result(None)

    def _deliver(self, publishes: list[Publish]) -> None:
        self._inbox.extend(publishes)
        self._inbox_bytes += sum([len(payload) for _, payload, _, _ in publishes if payload is not None])
        self._wake_reader()
        if len(self._inbox) >= self._inbox_most or self._inbox_bytes >= INBOX_BYTES_MAX:
            self._full = True
            self._listen()
        else:
            self._rest_after(len(publishes))

    def _rest_after(self, count: int) -> None:
        if self._rest_s and count < BUSY_MESSAGES and not self._resting:
            self._resting = True
            self._listen()
            self._loop.call_later(self._rest_s, self._rested)

    def _rested(self) -> None:
        """Take what came meanwhile; let the event loop watch the socket again only where that was little or nothing.

        A reader given to the selector, woken and taken back, at every rest, cost a tenth of what a steady stream costs.
        """
        self._resting = False
        if not self._full and (data := self._read_now()):
            try:
                self.data_received(data)
            except BaseException as error:  # a defect: as where the event loop has read, the connection ends with it
                self._drop(LinkLostError(f"{self._place}: what was read could not be taken: {error!r}"))
                raise
        if not self._resting:
            self._listen()

    def _read_now(self) -> bytes:
        """Return what there is to read; nothing where only the transport can tell: TLS, an end, an error."""
        if self._plain_fd is None or self._socket is None or self._socket.is_closing():
            return b""
        try:
            return os.read(self._plain_fd, READ_BYTES)
        except OSError:
            return b""

    def _taken(self, publishes: Sequence[Publish]) -> None:
        if self._inbox:
            self._inbox_bytes -= sum([len(payload) for _, payload, _, _ in publishes if payload is not None])
        else:
            self._inbox_bytes = 0
        if self._full and len(self._inbox) <= self._inbox_most // 2 and self._inbox_bytes <= INBOX_BYTES_MAX // 2:
            self._full = False
            self._session.not_listening(now_ms=self._now_ms())
            self._listen()

    def _listen(self) -> None:
        if self._socket is None or self._socket.is_closing():
            return
        if self._full or self._resting:
            self._socket.pause_reading()
        else:
            self._socket.resume_reading()

    def _has_arrived(self) -> bool:
        return bool(self._inbox)

    async def _arrived(self) -> bool:
        """Wait for a message; False: this side closed the link. Raises LinkLostError. One reader a connection."""
        while not self._has_arrived():
            if self._closing:
                return False
            if self._lost.done():
                raise LinkLostError(f"{self._place}: {self._cause}") from self._cause
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return True

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _answers(self, received: Received) -> None:
        if received.greeted and not self._greeted.done():
            self._greeted.set_result(None)
        for packet_id, code in received.answered:
            waiter = self._waiters.pop(packet_id, None)
            if waiter is None:
                continue
            if code >= packets.FAILURE and not waiter.done.done():
                words = packets.reason(code, v5=self._v5)
                waiter.done.set_exception(LinkLostError(f"{self._place}: publish refused: {words}"))
                waiter.done.exception()
            waiter.open -= 1
            if not waiter.open and not waiter.done.done():
                waiter.done.set_result(None)
        for packet_id, codes in received.granted:
            waiter = self._waiters.pop(packet_id, None)
            if waiter is not None and not waiter.done.done():
                waiter.codes = codes
                waiter.done.set_result(None)
        if received.answered or received.granted:
            self._next_turn()

    async def _asked(self, packet_id: int, data: bytes, what: str) -> bytes:
        waiter = _Waiter(self._loop.create_future(), 1, self._loop.time() + self._answer_wait_s)
        self._waiters[packet_id] = waiter
        self._write(data)
        try:
            await waiter.done
        except ReplyTimeoutError as error:
            raise LinkLostError(f"{self._place}: could not {what}: {error}") from error
        return waiter.codes

    async def _my_turn(self, *, sent: bool) -> None:
        """Wait until the window and the socket have room, first come first served."""
        while True:
            self._must_live(sent=sent)
            if not self._writable.is_set():
                await self._writable.wait()
                continue
            if self._session.unanswered < self._session.window:
                return
            place: asyncio.Future[None] = self._loop.create_future()
            self._turn.append(place)
            try:
                async with asyncio.timeout(self._answer_wait_s):
                    await place
            except TimeoutError as error:
                kind = ReplyTimeoutError if sent else LinkLostError
                raise kind(f"{self._place}: the broker answers nothing any more") from error
            finally:
                if not place.done() or place.cancelled():
                    with contextlib.suppress(ValueError):
                        self._turn.remove(place)

    def _next_turn(self, *, everybody: bool = False) -> None:
        while self._turn and (everybody or self._session.unanswered < self._session.window):
            place = self._turn.popleft()
            if not place.done():
                place.set_result(None)
                if not everybody:
                    return

    def _must_live(self, *, sent: bool = False) -> None:
        if self.closed:
            kind = ReplyTimeoutError if sent else LinkLostError
            raise kind(f"{self._place}: the link is closed")

    def _write(self, data: bytes) -> None:
        if self._socket is not None and not self._socket.is_closing():
            self._socket.write(data)

    def _tick(self) -> None:
        """Ping when it is time, and tell who has waited too long."""
        if self._full or self._resting:
            self._session.not_listening(now_ms=self._now_ms())
        try:
            ping = self._session.on_time(now_ms=self._now_ms())
        except LinkLostError as error:
            self._drop(error)
            return
        if ping:
            self._write(ping)
        now_s = self._loop.time()
        while self._waiters:
            packet_id, waiter = next(iter(self._waiters.items()))
            if waiter.deadline_s > now_s:
                break
            del self._waiters[packet_id]
            if not waiter.done.done():
                waited = f"{self._answer_wait_s:g} s"
                waiter.done.set_exception(ReplyTimeoutError(f"{self._place}: sent, no answer in {waited}"))
                waiter.done.exception()
        self._timer = self._loop.call_later(min(_TICK_MOST_S, self._answer_wait_s / 4), self._tick)

    def _drop(self, error: PlatformError) -> None:
        if self._cause is None:
            self._cause = error
        if self._socket is not None:
            self._socket.abort()

    def _now_ms(self) -> int:
        return int(self._loop.time() * 1_000)


def checked_topic(topic: str) -> bytes:
    """Return a topic to publish to as bytes. Raises LocalProtocolError."""
    data = topic.encode()
    if not topic or "+" in topic or "#" in topic or "\x00" in topic or len(data) > TOPIC_BYTES_MAX:
        raise LocalProtocolError(f"no topic to publish to: {topic[:80]!r}")
    return data
