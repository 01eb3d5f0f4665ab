"""Multicast DNS messages, as far as service discovery needs them: questions out, records in. Pure and bounded.

Source of truth: RFC 1035 section 4, RFC 6762 section 18, RFC 6763. Own, and not a library's: a library keeps a cache of
whatever anybody on the network announces; here each message is read once, within bounds, and forgotten.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from protocols.errors import PeerProtocolError

MESSAGE_BYTES_MAX: Final = 9_000  # RFC 6762 section 17
RECORDS_MAX: Final = 200
NAME_BYTES_MAX: Final = 255
LABEL_BYTES_MAX: Final = 63
TEXTS_MAX: Final = 32
_PTR, _TXT, _SRV, _A = 12, 16, 33, 1
_IN: Final = 1
_UNIQUE: Final = 0x8000
_RESPONSE: Final = 0x8000
_HEAD: Final = struct.Struct(">HHHHHH")
_RECORD: Final = struct.Struct(">HHIH")
_POINTER: Final = 0xC0

Name = tuple[str, ...]
"""Labels, the least significant first; what is no UTF-8 in them is replaced."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """Instances of a service: `target` is one. `ttl_s` 0: it says goodbye."""

    name: Name
    target: Name
    ttl_s: int


@dataclass(frozen=True, slots=True)
class Server:
    """Where an instance is."""

    name: Name
    host: Name
    port: int


@dataclass(frozen=True, slots=True)
class Texts:
    """What an instance says of itself: keys in lower case, the first of a key counts; at most `TEXTS_MAX`."""

    name: Name
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class HostAddress:
    """The IPv4 address of a host."""

    name: Name
    address: str


Record = Pointer | Server | Texts | HostAddress


def question(services: Sequence[Name]) -> bytes:
    """Return a message that asks for instances of services, such as ("_http", "_tcp", "local")."""
    asked = b"".join(
        b"".join(bytes((len(label),)) + label.encode("ascii") for label in service) + struct.pack(">BHH", 0, _PTR, _IN)
        for service in services
    )
    return _HEAD.pack(0, 0, len(services), 0, 0, 0) + asked


def parse(message: bytes) -> list[Record]:
    """Return what a response tells of services; nothing for a question.

    Raises:
        PeerProtocolError: it is no DNS message, or beyond a bound.
    """
    if not _HEAD.size <= len(message) <= MESSAGE_BYTES_MAX:
        raise PeerProtocolError(f"mDNS: {len(message)} bytes")
    _, flags, questions, *counts = _HEAD.unpack_from(message)
    if not flags & _RESPONSE:
        return []
    if questions + sum(counts) > RECORDS_MAX:
        raise PeerProtocolError(f"mDNS: {questions + sum(counts)} records in one message, at most {RECORDS_MAX}")
    place = _HEAD.size
    for _ in range(questions):
        _, place = _name(message, place)
        place += 4
    records: list[Record] = []
    for _ in range(sum(counts)):
        name, place = _name(message, place)
        if place + _RECORD.size > len(message):
            raise PeerProtocolError(f"mDNS: a record ends at byte {len(message)}")
        kind, group, ttl_s, size = _RECORD.unpack_from(message, place)
        place += _RECORD.size
        if place + size > len(message):
            raise PeerProtocolError(f"mDNS: {size} bytes of a record at byte {place} of {len(message)}")
        if group & ~_UNIQUE == _IN:
            whole = message[: place + size]  # a pointer may lead back into all that came before, and no further
            record = _pointer(whole, name, ttl_s, place) if kind == _PTR else _record(whole, name, kind, place)
            records += [] if record is None else [record]
        place += size
    return records


def _pointer(message: bytes, name: Name, ttl_s: int, place: int) -> Pointer:
    return Pointer(name, _name(message, place)[0], ttl_s)


def _record(message: bytes, name: Name, kind: int, place: int) -> Record | None:
    size = len(message) - place
    if kind == _SRV and size > 6:
        (port,) = struct.unpack_from(">H", message, place + 4)
        return Server(name, _name(message, place + 6)[0], port)
    if kind == _TXT:
        return Texts(name, _pairs(message[place:]))
    if kind == _A and size == 4:
        return HostAddress(name, str(IPv4Address(message[place:])))
    return None


def _pairs(data: bytes) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = {}
    place = 0
    while place < len(data) and len(pairs) < TEXTS_MAX:
        size = data[place]
        key, _, value = data[place + 1 : place + 1 + size].partition(b"=")
        if key:
            pairs.setdefault(key.decode("utf-8", "replace").lower(), value.decode("utf-8", "replace"))
        place += 1 + size
    return tuple(pairs.items())


def _name(message: bytes, place: int) -> tuple[Name, int]:
    """Return a name and where what follows it begins. Pointers only lead back, so there is an end."""
    labels: list[str] = []
    after: int | None = None
    length = 0
    while True:
        if place >= len(message):
            raise PeerProtocolError(f"mDNS: a name runs out of the message at byte {place}")
        size = message[place]
        if size & _POINTER == _POINTER:
            if place + 1 >= len(message):
                raise PeerProtocolError(f"mDNS: half a pointer at byte {place}")
            target = (size & ~_POINTER) << 8 | message[place + 1]
            after = place + 2 if after is None else after
            if target >= place:
                raise PeerProtocolError(f"mDNS: a pointer at byte {place} leads on to {target}")
            place = target
            length += 2  # a chain of pointers alone ends too
        elif size > LABEL_BYTES_MAX:
            raise PeerProtocolError(f"mDNS: a label of {size} bytes at byte {place}")
        elif size == 0:
            return tuple(labels), place + 1 if after is None else after
        else:
            labels.append(message[place + 1 : place + 1 + size].decode("utf-8", "replace"))
            length += 1 + size
            place += 1 + size
        if length > NAME_BYTES_MAX:
            raise PeerProtocolError(f"mDNS: a name of more than {NAME_BYTES_MAX} bytes")
