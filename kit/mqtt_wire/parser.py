"""Takes a broker's stream of bytes apart, a whole read at a time; split anywhere, it comes out the same.

Source of truth: OASIS MQTT 3.1.1 sections 2 and 3.3, MQTT 5.0 likewise. Pure. Bounded: an incomplete packet is kept
up to `packet_bytes_max`; a longer PUBLISH is skipped as it arrives and told with None for its payload, because a broker
that delivers one device's monster would deliver it again after every reconnect, and no other device would be heard.
Topics that are known to be long have a bound of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from kit.mqtt_wire.packets import PUBLISH, QOS_1, QOS_BITS, TOPIC_ALIAS, properties
from protocols.errors import PeerProtocolError

Publish: TypeAlias = tuple[bytes, bytes | None, int, int]
"""(topic, payload or None if over the bound, packet id or 0 at QoS 0, first byte). A plain tuple: there are 30,000 a
second of them."""
Control: TypeAlias = tuple[int, bytes]
"""Any other packet: (first byte, body)."""

_TYPE_BITS: Final = 0xF0
FROM_BROKER: Final = frozenset({0x20, 0x40, 0x90, 0xB0, 0xD0, 0xE0, 0xF0})
"""What a broker may send to a client of QoS 1 besides PUBLISH: CONNACK, PUBACK, SUBACK, UNSUBACK, PINGRESP, and in MQTT
5.0 DISCONNECT and AUTH."""
FROM_CLIENT: Final = frozenset({0x10, 0x40, 0x82, 0xA2, 0xC0, 0xE0, 0xF0})
"""What a client of QoS 1 may send to a broker besides PUBLISH, for whoever stands for a broker in a test."""


@dataclass(frozen=True, slots=True)
class Long:
    """What may be longer than `packet_bytes_max`, and who is told of what was skipped.

    `skipped`: called with topic and bytes of a PUBLISH that is too long, before it is told with None for its payload.
    """

    topics: frozenset[bytes] = frozenset()
    packet_bytes_max: int = 0
    skipped: Callable[[bytes, int], None] | None = None


NOTHING_LONG: Final = Long()


class PacketParser:
    """One connection's stream. After PeerProtocolError drop the link: where the next packet starts is unknown."""

    def __init__(
        self, *, v5: bool, packet_bytes_max: int, takes: frozenset[int] = FROM_BROKER, long: Long = NOTHING_LONG
    ) -> None:
        self._v5, self._packet_bytes_max, self._takes, self._long = v5, packet_bytes_max, takes, long
        self._chunks: list[bytes] = []
        self._held = 0
        self._needed = 2
        self._skip = 0
        self._skipped: Publish | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes of an incomplete packet in memory."""
        return self._held

    def feed(self, data: bytes) -> tuple[list[Publish], list[Control]]:
        """Take what was read; return the packets that are complete now, each kind in order of arrival.

        Raises:
            PeerProtocolError: this is no MQTT, or a packet that a broker must not send.
        """
        publishes: list[Publish] = []
        controls: list[Control] = []
        if self._chunks:
            self._chunks.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return publishes, controls
            data = b"".join(self._chunks)
            self._chunks.clear()
        pos = self._skip_some(len(data), publishes) if self._skipped is not None else 0
        pos = self._take(data, pos, publishes, controls)
        if pos < len(data):
            self._chunks.append(data[pos:])
        self._held = len(data) - pos
        return publishes, controls

    def _take(self, data: bytes, pos: int, publishes: list[Publish], controls: list[Control]) -> int:
        """Take whole packets from `pos` on; return where the incomplete one begins, having set `_needed`."""
        end, v5, most = len(data), self._v5, self._packet_bytes_max
        append = publishes.append
        while True:
            if end - pos < 2:
                self._needed = 2
                return pos
            head, length, body = data[pos], data[pos + 1], pos + 2
            if length >= 128:
                length, body = self._length(data, pos, end)
                if not body:
                    self._needed = end - pos + 1
                    return pos
            stop = body + length
            if head & _TYPE_BITS != PUBLISH:
                if head not in self._takes:  # the low bits are fixed, [3] 2.2.2
                    raise PeerProtocolError(f"a packet beginning with 0x{head:02x}, which is not sent here")
                if length > most:
                    raise PeerProtocolError(f"a control packet of {length} bytes, at most {most} are read")
                if stop > end:
                    self._needed = stop - pos
                    return pos
                controls.append((head, data[body:stop]))
                pos = stop
                continue
            if length > most and not self._may_be_long(data, body, length):
                pos = self._begin_to_skip(data, pos, body, stop, publishes)
                if pos != stop or self._skipped is not None:
                    return pos
                continue
            if stop > end:
                self._needed = stop - pos
                return pos
            topic_at = body + 2
            if topic_at > stop:
                raise PeerProtocolError(f"PUBLISH of {length} bytes")
            topic_end = at = topic_at + (data[body] << 8 | data[body + 1])
            packet_id = 0
            if head & QOS_BITS == QOS_1:
                at = topic_end + 2
                if at <= stop:
                    packet_id = data[topic_end] << 8 | data[topic_end + 1]
                    if not packet_id:
                        raise PeerProtocolError("PUBLISH at QoS 1 with packet id 0")
            elif head & QOS_BITS:
                raise PeerProtocolError("PUBLISH at QoS 2 or 3, and QoS 1 was asked for")
            if at > stop:
                raise PeerProtocolError(f"PUBLISH of {length} bytes with a longer topic")
            if v5:
                at = at + 1 if at < stop and not data[at] else self._properties(data, at, stop)
            append((data[topic_at:topic_end], data[at:stop], packet_id, head))
            pos = stop

    def _length(self, data: bytes, pos: int, end: int) -> tuple[int, int]:
        """Return (remaining length, where the body begins); (0, 0): more bytes are needed."""
        value = 0
        for place in range(4):
            at = pos + 1 + place
            if at == end:
                return 0, 0
            digit = data[at]
            value |= (digit & 0x7F) << 7 * place
            if digit < 128:
                return value, at + 1
        raise PeerProtocolError("a remaining length of more than four bytes")

    def _properties(self, data: bytes, at: int, stop: int) -> int:
        found, at = properties(data, at, stop)
        if TOPIC_ALIAS in found:
            raise PeerProtocolError("PUBLISH with a topic alias, and none was offered")
        return at

    # ------------------------------------------------------------------ what is too long

    def _may_be_long(self, data: bytes, body: int, length: int) -> bool:
        """Say whether a PUBLISH over the bound is of a topic that may be; False while its topic is not here whole."""
        if length > self._long.packet_bytes_max or len(data) < body + 2:
            return False
        topic_at = body + 2
        return data[topic_at : topic_at + (data[body] << 8 | data[body + 1])] in self._long.topics

    def _begin_to_skip(self, data: bytes, pos: int, body: int, stop: int, publishes: list[Publish]) -> int:
        """Keep topic and packet id of a PUBLISH over the bound, skip the rest; return where to go on."""
        end = len(data)
        head = data[pos]
        wanted = body + 2
        if end >= wanted:
            topic_at = wanted
            wanted = topic_end = topic_at + (data[body] << 8 | data[body + 1])
            if head & QOS_BITS == QOS_1:
                wanted += 2
            elif head & QOS_BITS:
                raise PeerProtocolError("PUBLISH at QoS 2 or 3, and QoS 1 was asked for")
            if wanted > stop:
                raise PeerProtocolError(f"PUBLISH of {stop - body} bytes with a longer topic")
            if end >= wanted:
                packet_id = data[topic_end] << 8 | data[topic_end + 1] if head & QOS_BITS else 0
                if head & QOS_BITS and not packet_id:
                    raise PeerProtocolError("PUBLISH at QoS 1 with packet id 0")
                self._skipped = (data[topic_at:topic_end], None, packet_id, head)
                if self._long.skipped is not None:
                    self._long.skipped(self._skipped[0], stop - wanted)
                self._skip, self._needed = stop - pos, 2
                return pos + self._skip_some(end - pos, publishes)
        self._needed = wanted - pos
        return pos

    def _skip_some(self, size: int, publishes: list[Publish]) -> int:
        gone = min(self._skip, size)
        self._skip -= gone
        if not self._skip and self._skipped is not None:
            publishes.append(self._skipped)
            self._skipped = None
        return gone
