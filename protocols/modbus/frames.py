"""Modbus TCP frames, and the PDUs of every Modbus, in both roles: bytes in, requests and replies out.

Source of truth: SPEC.md sections 1 and 2; MODBUS Application Protocol 1.1b3; MODBUS Messaging on TCP/IP 1.0b. Own, and
not a library's: a client library waits for one answer before it asks the next unit, so that a silent unit behind
a gateway holds up the others; here the transaction id is the caller's (docs/decisions/0030-own-modbus-frames.md).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocols.descriptors.descriptor import Table
from protocols.errors import LocalProtocolError, PeerProtocolError
from protocols.modbus.identification import (
    FUNCTION as IDENTIFY,
)
from protocols.modbus.identification import (
    Identification,
    Identify,
    decode_identification,
    decode_identify,
    encode_identify,
)

ADU_BYTES_MAX: Final = 260
PDU_BYTES_MAX: Final = 253
REGISTERS_A_READ_MAX: Final = 125
BITS_A_READ_MAX: Final = 2000
REGISTERS_A_WRITE_MAX: Final = 123
EXCEPTION_BIT: Final = 0x80
_HEAD: Final = struct.Struct(">HHHB")


class Function(IntEnum):
    """Function codes that we speak."""

    READ_COILS = 1
    READ_DISCRETE_INPUTS = 2
    READ_HOLDING_REGISTERS = 3
    READ_INPUT_REGISTERS = 4
    WRITE_SINGLE_COIL = 5
    WRITE_SINGLE_REGISTER = 6
    WRITE_MULTIPLE_COILS = 15
    WRITE_MULTIPLE_REGISTERS = 16


class ExceptionCode(IntEnum):
    """Why a unit refused, Modbus application protocol 1.1b3 section 7."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_DATA_ADDRESS = 2
    ILLEGAL_DATA_VALUE = 3
    DEVICE_FAILURE = 4
    ACKNOWLEDGE = 5
    DEVICE_BUSY = 6
    MEMORY_PARITY_ERROR = 8
    GATEWAY_PATH_UNAVAILABLE = 10
    GATEWAY_TARGET_SILENT = 11


READ_OF: Final[dict[Table, Function]] = {
    "coil": Function.READ_COILS,
    "discrete": Function.READ_DISCRETE_INPUTS,
    "input": Function.READ_INPUT_REGISTERS,
    "holding": Function.READ_HOLDING_REGISTERS,
}
TABLE_OF: Final[dict[int, Table]] = {function.value: table for table, function in READ_OF.items()}


@dataclass(frozen=True, slots=True)
class Read:
    """Ask for `count` consecutive registers or bits from `start`."""

    table: Table
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class WriteWords:
    """Set a coil (one word, 0 or 1) or consecutive holding registers; `multiple`: by 15 or 16 even if it is one."""

    table: Table
    start: int
    words: tuple[int, ...]
    multiple: bool = False


Request = Read | WriteWords | Identify


@dataclass(frozen=True, slots=True)
class Words:
    """The unit answered a read: one word for each register or bit."""

    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """The unit echoed a write."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The unit answered with an exception."""

    code: int

    @property
    def name(self) -> str:
        """The code's name in lower case, or `exception_<code>`."""
        known = self.code in ExceptionCode._value2member_map_
        return ExceptionCode(self.code).name.lower() if known else f"exception_{self.code}"


Reply = Words | Written | Refused | Identification


@dataclass(frozen=True, slots=True)
class Frame:
    """One MBAP frame: whose transaction, which unit, and the PDU."""

    transaction: int
    unit: int
    pdu: bytes


def encode_frame(frame: Frame) -> bytes:
    """Return the bytes of a frame."""
    return _HEAD.pack(frame.transaction, 0, len(frame.pdu) + 1, frame.unit) + frame.pdu


class FrameReader:
    """Cuts a TCP stream into frames, however it was split. After PeerProtocolError drop the link."""

    def __init__(self) -> None:
        self._inbox = bytearray()

    @property
    def half(self) -> bytes:
        """What has come of a frame that is not whole yet."""
        return bytes(self._inbox)

    def receive_data(self, data: bytes) -> list[Frame]:
        """Take bytes as they come and return the whole frames.

        Raises:
            PeerProtocolError: the stream is no Modbus TCP; nothing after it can be trusted.
        """
        self._inbox += data
        frames: list[Frame] = []
        while len(self._inbox) >= _HEAD.size:
            transaction, protocol, length, unit = _HEAD.unpack_from(self._inbox)
            if protocol != 0:
                raise PeerProtocolError(f"Modbus TCP: protocol identifier {protocol}, not 0")
            if not 2 <= length <= PDU_BYTES_MAX + 1:
                raise PeerProtocolError(f"Modbus TCP: length field {length}, outside 2..{PDU_BYTES_MAX + 1}")
            end = _HEAD.size - 1 + length
            if len(self._inbox) < end:
                break
            frames.append(Frame(transaction, unit, bytes(self._inbox[_HEAD.size : end])))
            del self._inbox[:end]
        return frames


def encode_request(request: Request) -> bytes:
    """Return a request's PDU.

    Raises:
        LocalProtocolError: it asks for what the specification forbids.
    """
    if isinstance(request, Identify):
        return encode_identify(request)
    if isinstance(request, Read):
        most = BITS_A_READ_MAX if request.table in ("coil", "discrete") else REGISTERS_A_READ_MAX
        if not 1 <= request.count <= most or not 0 <= request.start <= 0x1_0000 - request.count:
            raise LocalProtocolError(f"read of {request.count} from {request.table} {request.start}")
        return struct.pack(">BHH", READ_OF[request.table], request.start, request.count)
    count = len(request.words)
    if any(not 0 <= word <= 0xFFFF for word in request.words) or not 0 <= request.start <= 0x1_0000 - count:
        raise LocalProtocolError(f"write of {request.words} to {request.table} {request.start}")
    if request.table == "coil" and count == 1 and request.words[0] in (0, 1):
        if request.multiple:
            return struct.pack(">BHHBB", Function.WRITE_MULTIPLE_COILS, request.start, 1, 1, request.words[0])
        return struct.pack(">BHH", Function.WRITE_SINGLE_COIL, request.start, 0xFF00 * request.words[0])
    if request.table != "holding" or not 1 <= count <= REGISTERS_A_WRITE_MAX:
        raise LocalProtocolError(f"write of {count} words to {request.table} {request.start}")
    if count == 1 and not request.multiple:
        return struct.pack(">BHH", Function.WRITE_SINGLE_REGISTER, request.start, request.words[0])
    head = struct.pack(">BHHB", Function.WRITE_MULTIPLE_REGISTERS, request.start, count, 2 * count)
    return head + struct.pack(f">{count}H", *request.words)


def decode_request(pdu: bytes) -> Request | Refused:
    """Return the request in a PDU, or the exception that a unit answers to it (the emulator's side)."""
    if not pdu:
        return Refused(ExceptionCode.ILLEGAL_FUNCTION)
    function = pdu[0]
    if function in TABLE_OF:
        if len(pdu) != 5:
            return Refused(ExceptionCode.ILLEGAL_DATA_VALUE)
        start, count = struct.unpack(">HH", pdu[1:])
        table = TABLE_OF[function]
        most = BITS_A_READ_MAX if table in ("coil", "discrete") else REGISTERS_A_READ_MAX
        if not 1 <= count <= most:
            return Refused(ExceptionCode.ILLEGAL_DATA_VALUE)
        return Read(table, start, count) if start + count <= 0x1_0000 else Refused(ExceptionCode.ILLEGAL_DATA_ADDRESS)
    if function in (Function.WRITE_SINGLE_COIL, Function.WRITE_SINGLE_REGISTER):
        if len(pdu) != 5:
            return Refused(ExceptionCode.ILLEGAL_DATA_VALUE)
        start, word = struct.unpack(">HH", pdu[1:])
        if function == Function.WRITE_SINGLE_REGISTER:
            return WriteWords("holding", start, (word,))
        if word not in (0, 0xFF00):
            return Refused(ExceptionCode.ILLEGAL_DATA_VALUE)
        return WriteWords("coil", start, (word >> 15,))
    if function == Function.WRITE_MULTIPLE_REGISTERS:
        if len(pdu) < 6:
            return Refused(ExceptionCode.ILLEGAL_DATA_VALUE)
        start, count, size = struct.unpack(">HHB", pdu[1:6])
        if not 1 <= count <= REGISTERS_A_WRITE_MAX or size != 2 * count or len(pdu) != 6 + size:
            return Refused(ExceptionCode.ILLEGAL_DATA_VALUE)
        if start + count > 0x1_0000:
            return Refused(ExceptionCode.ILLEGAL_DATA_ADDRESS)
        return WriteWords("holding", start, struct.unpack(f">{count}H", pdu[6:]), multiple=count == 1)
    if function == Function.WRITE_MULTIPLE_COILS:
        return _decode_coils(pdu)
    if function == IDENTIFY:
        return decode_identify(pdu) or Refused(ExceptionCode.ILLEGAL_FUNCTION)
    return Refused(ExceptionCode.ILLEGAL_FUNCTION)


def _decode_coils(pdu: bytes) -> WriteWords | Refused:
    """Return a write of one coil by function 15; of more there is no need here."""
    if len(pdu) != 7 or pdu[5] != 1:
        return Refused(ExceptionCode.ILLEGAL_DATA_VALUE)
    start, count = struct.unpack(">HH", pdu[1:5])
    if count != 1:
        return Refused(ExceptionCode.ILLEGAL_DATA_VALUE)
    return WriteWords("coil", start, (pdu[6] & 1,), multiple=True)


def encode_reply(request_pdu: bytes, reply: Words | Written | Refused) -> bytes:
    """Return the PDU that answers `request_pdu` (the emulator's side; an identification has a writer of its own)."""
    function = request_pdu[0] if request_pdu else 0
    if isinstance(reply, Refused):
        return bytes((function | EXCEPTION_BIT, reply.code))
    if isinstance(reply, Written):
        return request_pdu[:5]
    if function in (Function.READ_COILS, Function.READ_DISCRETE_INPUTS):
        packed = bytearray((len(reply.words) + 7) // 8)
        for index, bit in enumerate(reply.words):
            packed[index // 8] |= (bit & 1) << index % 8
        return bytes((function, len(packed))) + bytes(packed)
    return bytes((function, 2 * len(reply.words))) + struct.pack(f">{len(reply.words)}H", *reply.words)


def decode_reply(request: Request, pdu: bytes) -> Reply:
    """Return the reply to `request` in a PDU.

    Raises:
        PeerProtocolError: it answers something else, or is malformed; nothing is known of the request.
    """
    asked = encode_request(request)
    function = asked[0]
    if len(pdu) == 2 and pdu[0] == function | EXCEPTION_BIT:
        return Refused(pdu[1])
    if not pdu or pdu[0] != function:
        raise PeerProtocolError(f"Modbus: answer {pdu[:8].hex()} to function {function}")
    if isinstance(request, Identify):
        return decode_identification(request, pdu)
    if isinstance(request, WriteWords):
        if pdu != asked[:5]:
            raise PeerProtocolError(f"Modbus: echo {pdu[:8].hex()} of a write {asked[:8].hex()}")
        return Written()
    bits = request.table in ("coil", "discrete")
    size = (request.count + 7) // 8 if bits else 2 * request.count
    if len(pdu) != 2 + size or pdu[1] != size:
        raise PeerProtocolError(f"Modbus: {len(pdu) - 2} bytes answer a read of {request.count} from {request.table}")
    if bits:
        return Words(tuple(pdu[2 + index // 8] >> index % 8 & 1 for index in range(request.count)))
    return Words(struct.unpack(f">{request.count}H", pdu[2:]))


def words_text(words: Sequence[int]) -> str:
    """Return words as people compare them: four hex digits each."""
    return " ".join(f"{word:04x}" for word in words)
