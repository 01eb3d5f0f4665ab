"""The publish/subscribe port over a real MQTT broker: QoS 1, mutual TLS, version 3.1.1 or 5.

Facts that shaped it (measured, docs/decisions/0006-mqtt-transport.md):
- aiomqtt waits its whole timeout for a PUBACK even if the link is already dead: here the loss ends the wait.
- Its inbox drops silently when full. Here a message is acknowledged to the broker when the reader takes it, so
  a slow reader makes the broker hold back; what still overflows is not acknowledged, counted, and comes again.
- A refused TLS handshake shows only as "Operation timed out", and a publish that the broker's access list
  forbids raises nothing in 3.1.1: a PUBACK proves nothing.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, TypeVar

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from kit.net import INBOX_MESSAGES_MAX, PAYLOAD_BYTES_MAX, TOPIC_BYTES_MAX, Message
from protocols.errors import LinkLostError, LocalProtocolError, ReplyTimeoutError

IN_FLIGHT_MAX: Final = 100  # unanswered publishes at a time; measured: 8.9k/s, against 4.2k/s with one
SESSION_EXPIRY_S: Final = 0  # MQTT 5: the broker keeps nothing for us; our queue is the record log
WAITING_BYTES_MAX: Final = 32 * 1024 * 1024
"""Unread bytes at most: of what comes beyond it messages over `SHORT_BYTES_MAX` are dropped. Who says much at QoS 0
meets no other bound: 4,096 messages of a MiB would be 4 GiB."""
SHORT_BYTES_MAX: Final = 4 * 1024
_PROTOCOLS: Final = {"3.1.1": aiomqtt.ProtocolVersion.V311, "5": aiomqtt.ProtocolVersion.V5}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and how to speak to it.

    Args:
        tls: a context from `kit.identity.tls_client_context`, or None for plain TCP on loopback.
        client_id: unique among the broker's clients; grammar `[a-z0-9-]{8,40}` for certificates' sake.
        keepalive: the broker forgets us after 1.5 times of silence.
        answer_wait: how long for CONNACK, SUBACK and PUBACK.
        payload_bytes_max: of what is published here: an emulated bridge says its list of devices in one message. What
            arrives is kept up to `PAYLOAD_BYTES_MAX`.
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
    inbox_messages_max: int = INBOX_MESSAGES_MAX
    payload_bytes_max: int = PAYLOAD_BYTES_MAX


class MqttTransport:
    """`kit.net.Transport` over one broker. Each `connect` is a clean session."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.overflowed = 0
        """Messages that found a full inbox since the start; not acknowledged, so at QoS 1 they come again."""
        self.oversized = 0
        """Messages too long to be kept since the start; acknowledged, so that they do not come again for ever."""
        self.overweight = 0
        """Messages dropped because too many bytes were waiting, since the start; acknowledged."""

    @contextlib.asynccontextmanager
    async def connect(
        self, *, subscribe: Sequence[str] = (), will: Message | None = None
    ) -> AsyncIterator["MqttConnection"]:
        """See `kit.net.Transport.connect`."""
        client = self._client(will)
        place = f"{self._broker.host}:{self._broker.port}"
        try:
            await client.__aenter__()
        except (aiomqtt.MqttError, OSError, ValueError) as error:
            _abandon(client)
            raise LinkLostError(f"{place}: no connection: {error}") from error
        except asyncio.CancelledError:
            _abandon(client)
            raise
        connection = MqttConnection(client, place, self._broker.payload_bytes_max)
        try:
            if subscribe:
                await connection.subscribe(*subscribe)
            yield connection
        finally:
            await connection.close()

    def _client(self, will: Message | None) -> aiomqtt.Client:
        broker, transport = self._broker, self

        class Inbox(asyncio.Queue[aiomqtt.Message]):
            waiting_bytes = 0

            def put_nowait(self, item: aiomqtt.Message) -> None:
                size, topic = len(item.payload), str(item.topic)
                if size > PAYLOAD_BYTES_MAX:
                    transport.oversized += 1
                    _tell("oversized", topic, size, transport.oversized)
                    _empty(item)
                elif size > SHORT_BYTES_MAX and self.waiting_bytes + size > WAITING_BYTES_MAX:
                    transport.overweight += 1
                    _tell("overweight", topic, size, transport.overweight)
                    _empty(item)
                if self.full():
                    transport.overflowed += 1
                    _tell("overflowed", topic, size, transport.overflowed)
                    raise asyncio.QueueFull
                super().put_nowait(item)
                self.waiting_bytes += len(item.payload)

            def _get(self) -> aiomqtt.Message:
                item = super()._get()
                self.waiting_bytes -= len(item.payload)
                return item

        v5 = broker.version == "5"
        client = aiomqtt.Client(
            broker.host,
            broker.port,
            identifier=broker.client_id,
            username=broker.username,
            password=broker.password,
            protocol=_PROTOCOLS[broker.version],
            clean_session=None if v5 else True,
            clean_start=True if v5 else 3,
            tls_context=broker.tls,
            keepalive=int(broker.keepalive.total_seconds()),
            timeout=broker.answer_wait.total_seconds(),
            queue_type=Inbox,
            max_queued_incoming_messages=broker.inbox_messages_max,
            max_concurrent_outgoing_calls=IN_FLIGHT_MAX,
            max_inflight_messages=IN_FLIGHT_MAX,
            max_queued_outgoing_messages=4 * IN_FLIGHT_MAX,
            will=None if will is None else aiomqtt.Will(will.topic, will.payload, qos=1, retain=will.retain),
            logger=_QUIET,
        )
        client.pending_calls_threshold = IN_FLIGHT_MAX
        client._client.manual_ack_set(True)  # aiomqtt does not offer it; see the head
        return client


class MqttConnection:
    """`kit.net.Connection`: made by `MqttTransport.connect`."""

    def __init__(self, client: aiomqtt.Client, place: str, payload_bytes_max: int) -> None:
        self._client, self._place, self._payload_bytes_max = client, place, payload_bytes_max
        self._lost: asyncio.Future[None] = client._disconnected  # it has no public face
        self._closing = False

    @property
    def closed(self) -> bool:
        """True once the link is lost or closed."""
        return self._closing or self._lost.done()

    async def wait_closed(self) -> None:
        """Return when the link is lost or closed."""
        await asyncio.wait({self._lost})

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """See `kit.net.Connection.publish`."""
        if not topic or "+" in topic or "#" in topic or len(topic.encode()) > TOPIC_BYTES_MAX:
            raise LocalProtocolError(f"no topic to publish to: {topic[:80]!r}")
        if len(payload) > self._payload_bytes_max:
            raise LocalProtocolError(f"{topic}: {len(payload)} bytes, at most {self._payload_bytes_max}")
        if self.closed:
            raise LinkLostError(f"{self._place}: the link is closed")
        try:
            await self._unless_lost(self._client.publish(topic, payload, qos=1, retain=retain))
        except aiomqtt.MqttCodeError as error:  # paho refused it before sending: full queue or no socket
            raise LinkLostError(f"{self._place}: not sent to {topic}: {error}") from error
        except (aiomqtt.MqttError, _LostWhileWaitingError) as error:
            raise ReplyTimeoutError(f"{self._place}: sent to {topic}, no answer: {error}") from error

    async def subscribe(self, *filters: str) -> None:
        """See `kit.net.Connection.subscribe`."""
        await self._asked(self._client.subscribe([(each, 1) for each in filters]), "subscribe")

    async def unsubscribe(self, *filters: str) -> None:
        """See `kit.net.Connection.unsubscribe`."""
        await self._asked(self._client.unsubscribe(list(filters)), "unsubscribe")

    async def messages(self) -> AsyncIterator[Message]:
        """See `kit.net.Connection.messages`."""
        incoming = self._client.messages
        while True:
            try:
                message = await anext(incoming)
            except aiomqtt.MqttError as error:
                if self._closing:
                    return
                raise LinkLostError(f"{self._place}: the link is lost: {error.__cause__}") from error
            self._client._client.ack(message.mid, message.qos)
            if message.properties is not _DROPPED:
                yield Message(str(message.topic), message.payload, message.retain)

    async def close(self) -> None:
        """Say goodbye and end the connection; harmless after a loss."""
        if self._closing:
            return
        self._closing = True
        try:
            await self._client.__aexit__(None, None, None)
        except aiomqtt.MqttError:
            _abandon(self._client)
        if self._lost.done() and not self._lost.cancelled():
            self._lost.exception()  # taken note of: asyncio need not warn

    async def _asked(self, call: Awaitable[object], what: str) -> None:
        try:
            await self._unless_lost(call)
        except (aiomqtt.MqttError, _LostWhileWaitingError) as error:
            raise LinkLostError(f"{self._place}: could not {what}: {error}") from error

    async def _unless_lost(self, call: Awaitable[T]) -> T:
        """Wait for `call`, or for the loss of the link, whichever comes first."""
        task = asyncio.ensure_future(call)
        either: set[asyncio.Future[Any]] = {task, self._lost}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise _LostWhileWaitingError("the link was lost")
        finally:
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, aiomqtt.MqttError):
                    await task


def _tell(why: str, topic: str, size: int, times: int) -> None:
    """Tell that a message was dropped, the `times`th for that reason: the first, the tenth, the hundredth."""
    if str(times).strip("0") == "1":
        _QUIET.warning("dropped a message of %d bytes on %s: %s (%d so far)", size, topic[:80], why, times)


def _empty(item: aiomqtt.Message) -> None:
    """Forget what a message says; its place is kept, so that it is acknowledged in its turn."""
    item.payload = b""
    item.properties = _DROPPED


class _LostWhileWaitingError(Exception):
    """The link died before the broker answered."""


def _abandon(client: aiomqtt.Client) -> None:
    """Close the socket of a connection that cannot be ended politely; aiomqtt leaves it open."""
    paho = client._client
    paho.on_socket_open = _refuse_socket  # a cancelled connect still runs in its thread
    if paho.socket() is not None:
        with contextlib.suppress(OSError, ValueError):
            paho._sock_close()
    task = client._misc_task
    if task is not None and not task.done():
        task.cancel()


def _refuse_socket(_client: object, _userdata: object, socket: Any) -> None:  # noqa: ANN401 - paho's union
    socket.close()


_DROPPED: Final = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's own
"""Stands for the properties of a message whose payload was not kept."""
_QUIET: Final = logging.getLogger("kit.mqtt.client")
_QUIET.setLevel(logging.WARNING)
_QUIET.addFilter(lambda record: "queue is full" not in str(record.msg))  # aiomqtt's line for each; `_tell` tells
