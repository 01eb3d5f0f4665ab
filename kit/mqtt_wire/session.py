"""One MQTT connection's rules without a socket: bytes and time in, packets and what they mean out.

Source of truth: OASIS MQTT 3.1.1 sections 3 and 4, MQTT 5.0 likewise. QoS 1 in both directions. Nothing here sleeps,
reads a clock or writes: `transport` does, and what is told to it as bytes it writes at once and in that order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from kit.mqtt_wire import packets
from kit.mqtt_wire.packets import Will
from kit.mqtt_wire.parser import NOTHING_LONG, Long, PacketParser, Publish
from protocols.errors import LinkLostError, PeerProtocolError

PACKET_IDS: Final = 65_535


@dataclass(frozen=True, slots=True)
class Identity:
    """Who connects and how; see `transport.Broker` for what each means."""

    client_id: str
    v5: bool
    keepalive_s: int
    session_expiry_s: int = 0
    """0: nothing is kept for us. Else the broker keeps subscriptions and what arrives while we are away; MQTT 3.1.1
    knows no time, there it is kept for ever."""
    receive_max: int = PACKET_IDS
    username: str | None = None
    password: str | None = None
    will: Will | None = None


@dataclass(slots=True)
class Received:
    """What a read brought."""

    publishes: list[Publish]
    answered: list[tuple[int, int]] = field(default_factory=list)
    """PUBACKs: (packet id, code); from `packets.FAILURE` on it is a refusal."""
    granted: list[tuple[int, bytes]] = field(default_factory=list)
    """SUBACKs and UNSUBACKs: (packet id, codes)."""
    greeted: bool = False


class ClientSession:
    """One connection, first byte to last. Make a new one for each."""

    def __init__(
        self,
        who: Identity,
        *,
        packet_bytes_max: int,
        answer_wait_ms: int,
        window_max: int,
        long: Long = NOTHING_LONG,
    ) -> None:
        self._who, self._answer_wait_ms, self._window = who, answer_wait_ms, window_max
        self._parser = PacketParser(v5=who.v5, packet_bytes_max=packet_bytes_max, long=long)
        self._open: set[int] = set()
        self._last_id = 0
        self._keepalive_ms = who.keepalive_s * 1_000
        self._wrote_ms = self._asked_ms = 0
        self._pinging = False
        self.greeting: packets.Greeting | None = None
        self.packet_bytes_most: int | None = None
        """MQTT 5: what the broker takes at most."""

    @property
    def window(self) -> int:
        """How many publishes may be unanswered at a time."""
        return self._window

    @property
    def unanswered(self) -> int:
        """Packet ids in use."""
        return len(self._open)

    def connect(self, *, now_ms: int) -> bytes:
        """Return the CONNECT."""
        who = self._who
        self._wrote_ms = now_ms
        return packets.connect(
            client_id=who.client_id,
            v5=who.v5,
            clean=not who.session_expiry_s,
            keepalive_s=who.keepalive_s,
            username=who.username,
            password=who.password,
            will=who.will,
            session_expiry_s=who.session_expiry_s,
            receive_max=who.receive_max,
        )

    def receive(self, data: bytes) -> Received:
        """Take what was read.

        Raises:
            PeerProtocolError: the broker does not keep to the protocol.
            LinkLostError: it refuses us, or says goodbye; names its reason.
        """
        publishes, controls = self._parser.feed(data)
        received = Received(publishes)
        for head, body in controls:
            self._control(head, body, received)
        if self.greeting is None and publishes:
            raise PeerProtocolError("PUBLISH before CONNACK")
        return received

    def publish(self, topic: bytes, payload: bytes, *, retain: bool, now_ms: int) -> tuple[int, bytes]:
        """Return (packet id, PUBLISH). To be asked only while `unanswered` is below `window`."""
        self._wrote_ms = now_ms
        packet_id = self._next_id()
        return packet_id, packets.publish(topic, payload, packet_id, retain=retain, v5=self._who.v5)

    def subscribe(self, filters: Sequence[str], *, now_ms: int) -> tuple[int, bytes]:
        """Return (packet id, SUBSCRIBE)."""
        self._wrote_ms = now_ms
        packet_id = self._next_id()
        return packet_id, packets.subscribe(packet_id, filters, v5=self._who.v5)

    def unsubscribe(self, filters: Sequence[str], *, now_ms: int) -> tuple[int, bytes]:
        """Return (packet id, UNSUBSCRIBE)."""
        self._wrote_ms = now_ms
        packet_id = self._next_id()
        return packet_id, packets.unsubscribe(packet_id, filters, v5=self._who.v5)

    def acknowledge(self, publishes: Sequence[Publish], *, now_ms: int) -> bytes:
        """Return the PUBACKs of messages, in the order in which these came ([3] 4.6)."""
        self._wrote_ms = now_ms
        return packets.pubacks([packet_id for _, _, packet_id, _ in publishes if packet_id])

    def on_time(self, *, now_ms: int) -> bytes:
        """Learn the time; return a PINGREQ when one is due, else nothing.

        Raises:
            LinkLostError: the broker left a PINGREQ unanswered.
        """
        if self.greeting is None or not self._keepalive_ms:
            return b""
        if self._pinging:
            if now_ms - self._asked_ms >= self._answer_wait_ms:
                raise LinkLostError(f"no answer to a ping for {now_ms - self._asked_ms} ms")
            return b""
        # The broker counts what we write: half its patience is left when we say that we are here.
        if now_ms - self._wrote_ms < self._keepalive_ms * 3 // 4 and now_ms - self._asked_ms < self._keepalive_ms:
            return b""
        self._pinging, self._asked_ms, self._wrote_ms = True, now_ms, now_ms
        return packets.PINGREQ

    def not_listening(self, *, now_ms: int) -> None:
        """Take note that we ourselves do not read now: an answer that waits in the socket is not late."""
        self._asked_ms = now_ms

    def _control(self, head: int, body: bytes, received: Received) -> None:
        v5 = self._who.v5
        if self.greeting is None and head != packets.CONNACK:
            raise PeerProtocolError(f"a packet beginning with 0x{head:02x} before CONNACK")
        match head:
            case packets.PUBACK:
                packet_id, code = packets.read_ack(body, v5=v5)
                self._answered(packet_id)
                received.answered.append((packet_id, code))
            case packets.SUBACK | packets.UNSUBACK:
                packet_id, codes = packets.read_grants(body, v5=v5)
                self._answered(packet_id)
                received.granted.append((packet_id, codes))
            case packets.PINGRESP:
                self._pinging = False
            case packets.CONNACK:
                self._greeted(packets.read_connack(body, v5=v5))
                received.greeted = True
            case packets.DISCONNECT if v5:
                raise LinkLostError(f"the broker ends it: {packets.reason(body[0] if body else 0, v5=True)}")
            case _:
                raise PeerProtocolError(f"a packet beginning with 0x{head:02x}, which was not asked for")

    def _greeted(self, greeting: packets.Greeting) -> None:
        if self.greeting is not None:
            raise PeerProtocolError("CONNACK a second time")
        if greeting.code:
            detail = greeting.properties.get(packets.REASON_STRING, b"")
            said = f": {detail[:120].decode(errors='replace')}" if isinstance(detail, bytes) and detail else ""
            raise LinkLostError(f"{packets.reason(greeting.code, v5=self._who.v5)}{said}")
        found = greeting.properties
        if found.get(packets.MAXIMUM_QOS, 1) == 0:
            raise LinkLostError("the broker takes QoS 0 alone: nothing would be acknowledged")
        self._window = min(self._window, _number(found, packets.RECEIVE_MAXIMUM, PACKET_IDS))
        if self._window < 1:
            raise PeerProtocolError("CONNACK with a receive maximum of 0")
        self._keepalive_ms = _number(found, packets.SERVER_KEEP_ALIVE, self._who.keepalive_s) * 1_000
        if packets.MAXIMUM_PACKET_SIZE in found:
            self.packet_bytes_most = _number(found, packets.MAXIMUM_PACKET_SIZE, 0)
        self.greeting = greeting

    def _answered(self, packet_id: int) -> None:
        if packet_id not in self._open:
            raise PeerProtocolError(f"an answer to packet {packet_id}, which is not open")
        self._open.discard(packet_id)

    def _next_id(self) -> int:
        taken = self._open
        packet_id = self._last_id
        while True:
            packet_id = packet_id % PACKET_IDS + 1
            if packet_id not in taken:
                self._last_id = packet_id
                taken.add(packet_id)
                return packet_id


def _number(found: dict[int, int | bytes], name: int, default: int) -> int:
    value = found.get(name, default)
    return value if isinstance(value, int) else default
