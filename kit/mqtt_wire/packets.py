"""MQTT control packets as bytes: what a client sends, and the small bodies that it is answered with.

Source of truth: OASIS MQTT 3.1.1 (2014) and MQTT 5.0 (2019), sections named below as [3] and [5]. Pure. Taking a stream
of bytes apart is `parser`'s, who may send what and when is `session`'s.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from protocols.errors import LocalProtocolError, PeerProtocolError

CONNECT: Final = 0x10
CONNACK: Final = 0x20
PUBLISH: Final = 0x30
PUBACK: Final = 0x40
SUBSCRIBE: Final = 0x82
SUBACK: Final = 0x90
UNSUBSCRIBE: Final = 0xA2
UNSUBACK: Final = 0xB0
PINGREQ: Final = b"\xc0\x00"
PINGRESP: Final = 0xD0
DISCONNECT: Final = 0xE0

QOS_1: Final = 0x02
QOS_BITS: Final = 0x06
RETAIN: Final = 0x01
DUP: Final = 0x08
REMAINING_MAX: Final = 268_435_455
"""[3] 2.2.3, [5] 2.1.4: four bytes of seven bits."""
TEXT_BYTES_MAX: Final = 65_535
FAILURE: Final = 0x80
"""A reason or return code from here on is a refusal."""

_CONNACK_3: Final = {
    1: "unacceptable protocol version",
    2: "client id refused",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorised",
}
"""[3] 3.2.2.3."""
_REASONS_5: Final = {
    0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error", 0x83: "implementation specific error",
    0x84: "unsupported protocol version", 0x85: "client id refused", 0x86: "bad user name or password",
    0x87: "not authorised", 0x88: "server unavailable", 0x89: "server busy", 0x8A: "banned",
    0x8B: "server shutting down", 0x8D: "keep alive timeout", 0x8E: "session taken over", 0x8F: "topic filter invalid",
    0x90: "topic name invalid", 0x91: "packet identifier in use", 0x93: "receive maximum exceeded",
    0x94: "topic alias invalid", 0x95: "packet too large", 0x96: "message rate too high", 0x97: "quota exceeded",
    0x98: "administrative action", 0x99: "payload format invalid", 0x9A: "retain not supported",
    0x9B: "QoS not supported", 0x9C: "use another server", 0x9D: "server moved", 0x9F: "connection rate exceeded",
}  # fmt: skip
"""[5] 2.4."""

# [5] 2.2.2.2: how long each property's value is. int: so many bytes; "v": variable byte integer; "s": length and
# bytes; "p": two of those.
_PROPERTIES: Final[dict[int, int | str]] = {
    0x01: 1, 0x02: 4, 0x03: "s", 0x08: "s", 0x09: "s", 0x0B: "v", 0x11: 4, 0x12: "s", 0x13: 2, 0x15: "s", 0x16: "s",
    0x17: 1, 0x18: 4, 0x19: 1, 0x1A: "s", 0x1C: "s", 0x1F: "s", 0x21: 2, 0x22: 2, 0x23: 2, 0x24: 1, 0x25: 1, 0x26: "p",
    0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1,
}  # fmt: skip
SESSION_EXPIRY: Final = 0x11
SERVER_KEEP_ALIVE: Final = 0x13
REASON_STRING: Final = 0x1F
RECEIVE_MAXIMUM: Final = 0x21
TOPIC_ALIAS: Final = 0x23
MAXIMUM_QOS: Final = 0x24
MAXIMUM_PACKET_SIZE: Final = 0x27


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for us when the connection dies without a goodbye."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a CONNACK says. `properties`: [5] only; numbers as int, texts as bytes."""

    session_present: bool
    code: int
    properties: dict[int, int | bytes] = field(default_factory=dict)


def reason(code: int, *, v5: bool) -> str:
    """Return a refusal in words, with its code."""
    known = (_REASONS_5 if v5 else _CONNACK_3).get(code, "refused")
    return f"{known} (code {code})"


def variable(number: int) -> bytes:
    """Return a variable byte integer, [3] 2.2.3. Raises LocalProtocolError past `REMAINING_MAX`."""
    if number < 128:
        return bytes((number,))
    if number > REMAINING_MAX:
        raise LocalProtocolError(f"a packet of {number} bytes; MQTT carries {REMAINING_MAX} at most")
    out = bytearray()
    while True:
        number, digit = number >> 7, number & 0x7F
        if not number:
            out.append(digit)
            return bytes(out)
        out.append(digit | 0x80)


def text(value: str | bytes) -> bytes:
    """Return length and bytes, [3] 1.5.3. Raises LocalProtocolError if it is too long."""
    data = value.encode() if isinstance(value, str) else value
    if len(data) > TEXT_BYTES_MAX:
        raise LocalProtocolError(f"{len(data)} bytes where MQTT carries {TEXT_BYTES_MAX} at most")
    return len(data).to_bytes(2, "big") + data


def connect(
    *,
    client_id: str,
    v5: bool,
    clean: bool,
    keepalive_s: int,
    username: str | None = None,
    password: str | None = None,
    will: Will | None = None,
    session_expiry_s: int = 0,
    receive_max: int = 65_535,
) -> bytes:
    """Return a CONNECT, [3] 3.1 and [5] 3.1. The will goes at QoS 1."""
    flags = (0x02 if clean else 0) | (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    if will is not None:
        flags |= 0x04 | (QOS_1 << 2) | (0x20 if will.retain else 0)
    body = [text("MQTT"), bytes((5 if v5 else 4, flags)), keepalive_s.to_bytes(2, "big")]
    if v5:
        properties = b""
        if session_expiry_s:
            properties += bytes((SESSION_EXPIRY,)) + session_expiry_s.to_bytes(4, "big")
        if receive_max < 65_535:
            properties += bytes((RECEIVE_MAXIMUM,)) + receive_max.to_bytes(2, "big")
        body += [variable(len(properties)), properties]
    body.append(text(client_id))
    if will is not None:
        body += [b"\x00" if v5 else b"", text(will.topic), text(will.payload)]
    if username is not None:
        body.append(text(username))
    if password is not None:
        body.append(text(password))
    return packet(CONNECT, b"".join(body))


def packet(first: int, body: bytes) -> bytes:
    """Return a packet of a first byte and a body."""
    return bytes((first,)) + variable(len(body)) + body


def publish(topic: bytes, payload: bytes, packet_id: int, *, retain: bool, v5: bool) -> bytes:
    """Return a PUBLISH at QoS 1, [3] 3.3."""
    middle = packet_id.to_bytes(2, "big") + (b"\x00" if v5 else b"")
    size = 2 + len(topic) + len(middle) + len(payload)
    head = bytes((PUBLISH | QOS_1 | (RETAIN if retain else 0),)) + variable(size)
    return b"".join((head, len(topic).to_bytes(2, "big"), topic, middle, payload))


def pubacks(packet_ids: Sequence[int]) -> bytes:
    """Return one PUBACK for each id, in order, [3] 3.4. A PUBACK of two bytes means success in [5] 3.4.2.1 too."""
    words: list[int] = [0x4002] * (2 * len(packet_ids))
    words[1::2] = packet_ids
    return struct.pack(f">{len(words)}H", *words)


def subscribe(packet_id: int, filters: Sequence[str], *, v5: bool) -> bytes:
    """Return a SUBSCRIBE at QoS 1, [3] 3.8."""
    body = packet_id.to_bytes(2, "big") + (b"\x00" if v5 else b"")
    return packet(SUBSCRIBE, body + b"".join(text(each) + b"\x01" for each in filters))


def unsubscribe(packet_id: int, filters: Sequence[str], *, v5: bool) -> bytes:
    """Return an UNSUBSCRIBE, [3] 3.10."""
    body = packet_id.to_bytes(2, "big") + (b"\x00" if v5 else b"")
    return packet(UNSUBSCRIBE, body + b"".join(text(each) for each in filters))


def disconnect() -> bytes:
    """Return a DISCONNECT, [3] 3.14; without a reason it means a normal one in [5] too."""
    return bytes((DISCONNECT, 0))


def read_connack(body: bytes, *, v5: bool) -> Greeting:
    """Read a CONNACK's body. Raises PeerProtocolError."""
    if len(body) < 2 or body[0] > 1 or (not v5 and len(body) != 2):
        raise PeerProtocolError(f"CONNACK {body[:16].hex()} is not one of MQTT {5 if v5 else '3.1.1'}")
    if not v5 or len(body) == 2:
        return Greeting(body[0] == 1, body[1])
    found, end = properties(body, 2, len(body))
    if end != len(body):
        raise PeerProtocolError("CONNACK: bytes follow the properties")
    return Greeting(body[0] == 1, body[1], found)


def read_ack(body: bytes, *, v5: bool) -> tuple[int, int]:
    """Read a PUBACK's body: (packet id, code; 0 is success). Raises PeerProtocolError."""
    if len(body) < 2 or (not v5 and len(body) != 2):
        raise PeerProtocolError(f"PUBACK of {len(body)} bytes")
    return body[0] << 8 | body[1], body[2] if len(body) > 2 else 0


def read_grants(body: bytes, *, v5: bool) -> tuple[int, bytes]:
    """Read a SUBACK's or UNSUBACK's body: (packet id, one code a filter). Raises PeerProtocolError."""
    if len(body) < 2:
        raise PeerProtocolError(f"SUBACK or UNSUBACK of {len(body)} bytes")
    start = properties(body, 2, len(body))[1] if v5 else 2
    return body[0] << 8 | body[1], body[start:]


def properties(data: bytes, at: int, end: int) -> tuple[dict[int, int | bytes], int]:
    """Read properties, [5] 2.2.2: their values, and where they end. Of a repeated one the last counts.

    Raises:
        PeerProtocolError: they reach past `end`, or one is unknown.
    """
    size, at = _variable(data, at, end)
    stop = at + size
    if stop > end:
        raise PeerProtocolError(f"{size} bytes of properties in a packet that has {end - at} left")
    found: dict[int, int | bytes] = {}
    while at < stop:
        name = data[at]
        kind = _PROPERTIES.get(name)
        at += 1
        match kind:
            case None:
                raise PeerProtocolError(f"property 0x{name:02x} is unknown")
            case int():
                found[name] = int.from_bytes(data[at : at + kind], "big")
                at += kind
            case "v":
                found[name], at = _variable(data, at, stop)
            case _:
                for _ in range(2 if kind == "p" else 1):
                    size = int.from_bytes(data[at : at + 2], "big")
                    found[name] = data[at + 2 : at + 2 + size]
                    at += 2 + size
        if at > stop:
            raise PeerProtocolError(f"property 0x{name:02x} reaches past its packet")
    return found, stop


def _variable(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 28:
        digit = data[at]
        at += 1
        value |= (digit & 0x7F) << shift
        if digit < 128:
            return value, at
        shift += 7
    raise PeerProtocolError("a variable byte integer without an end")
