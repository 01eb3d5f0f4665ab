"""Device identification, function 43 with MEI type 14: the PDUs in both roles.

Source of truth: SPEC.md section 8; MODBUS Application Protocol 1.1b3, section 6.21.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from protocols.errors import LocalProtocolError, PeerProtocolError

FUNCTION: Final = 43
MEI: Final = 14
BASIC, REGULAR, EXTENDED, ONE = 1, 2, 3, 4
VENDOR_NAME, PRODUCT_CODE, REVISION = 0, 1, 2
_HEAD_BYTES: Final = 7
_BODY_BYTES_MAX: Final = 253 - _HEAD_BYTES


@dataclass(frozen=True, slots=True)
class Identify:
    """Ask for the objects of a category from `first` on (read codes 1 to 3), or for that one object (4)."""

    read_code: int = BASIC
    first: int = 0


@dataclass(frozen=True, slots=True)
class Identification:
    """Objects by id, as bytes; `more`: the id to go on with, None if these were the last."""

    conformity: int
    objects: Mapping[int, bytes]
    more: int | None = None


def encode_identify(request: Identify) -> bytes:
    """Return the request's PDU. Raises LocalProtocolError."""
    if not BASIC <= request.read_code <= ONE or not 0 <= request.first <= 0xFF:
        raise LocalProtocolError(f"identification: read code {request.read_code}, object {request.first}")
    return bytes((FUNCTION, MEI, request.read_code, request.first))


def decode_identify(pdu: bytes) -> Identify | None:
    """Return the request in a PDU of function 43; None if it is malformed or of another MEI type."""
    if len(pdu) != 4 or pdu[0] != FUNCTION or pdu[1] != MEI or not BASIC <= pdu[2] <= ONE:
        return None
    return Identify(pdu[2], pdu[3])


def encode_identification(request: Identify, objects: Mapping[int, bytes], conformity: int) -> bytes:
    """Return the PDU that answers a request from a device that has `objects`: as many as fit, in their order."""
    ends = {BASIC: 2, REGULAR: 0x7F, EXTENDED: 0xFF, ONE: request.first}
    due = [each for each in sorted(objects) if request.first <= each <= ends[request.read_code]]
    body, count, more = bytearray(), 0, None
    for each in due:
        value = objects[each][:244]
        if len(body) + 2 + len(value) > _BODY_BYTES_MAX:
            more = each
            break
        body += bytes((each, len(value))) + value
        count += 1
    going_on = 0 if more is None else 0xFF
    return bytes((FUNCTION, MEI, request.read_code, conformity, going_on, more or 0, count)) + bytes(body)


def decode_identification(request: Identify, pdu: bytes) -> Identification:
    """Return what a unit says of itself.

    Raises:
        PeerProtocolError: it answers something else, or is torn.
    """
    if len(pdu) < _HEAD_BYTES or pdu[:3] != bytes((FUNCTION, MEI, request.read_code)):
        raise PeerProtocolError(f"Modbus: answer {pdu[:8].hex()} to an identification")
    conformity, going_on, next_object, count = pdu[3:7]
    objects: dict[int, bytes] = {}
    place = _HEAD_BYTES
    for _ in range(count):
        if place + 2 > len(pdu) or place + 2 + pdu[place + 1] > len(pdu):
            raise PeerProtocolError(f"Modbus: identification of {count} objects ends at byte {len(pdu)}")
        size = pdu[place + 1]
        objects[pdu[place]] = pdu[place + 2 : place + 2 + size]
        place += 2 + size
    if place != len(pdu):
        raise PeerProtocolError(f"Modbus: {len(pdu) - place} bytes after an identification of {count} objects")
    return Identification(conformity, objects, next_object if going_on == 0xFF else None)


def length_so_far(pdu: bytes) -> int | None:
    """Return how long an identification's PDU is that begins so; None while that cannot be told yet."""
    if len(pdu) < _HEAD_BYTES:
        return None
    place = _HEAD_BYTES
    for _ in range(pdu[6]):
        if place + 2 > len(pdu):
            return None
        place += 2 + pdu[place + 1]
    return place
