"""Modbus on a serial line: ADUs, and the answer to one question found among whatever a line carries.

Source of truth: SPEC.md section 6; MODBUS over Serial Line 1.02. Pure: bytes in, PDUs out; silence and deadlines are
the caller's. Answers are found by length and CRC, not by silence: no operating system keeps silences.
"""

from typing import Final

from protocols.errors import LocalProtocolError, PeerProtocolError
from protocols.modbus.frames import EXCEPTION_BIT, PDU_BYTES_MAX, Read, Request, WriteWords, encode_request
from protocols.modbus.identification import length_so_far

ADU_BYTES_MAX: Final = PDU_BYTES_MAX + 3
ADU_BYTES_LEAST: Final = 4
INBOX_BYTES_MAX: Final = 512
CHARACTER_BITS: Final = 11
SILENCE_CHARACTERS: Final = 3.5
SILENCE_FAST_MS: Final = 1.75
FAST_BAUD: Final = 19_200
UNIT_MAX: Final = 247


def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
        rows.append(crc)
    return tuple(rows)


_CRC: Final = _table()


def crc16(data: bytes) -> bytes:
    """Return the CRC of `data` as it follows on the line: two bytes, the low one first."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def encode_adu(unit: int, pdu: bytes) -> bytes:
    """Return the bytes that carry a PDU to or from a unit.

    Raises:
        LocalProtocolError: the unit is no single one, or the PDU too long.
    """
    if not 1 <= unit <= UNIT_MAX or not 1 <= len(pdu) <= PDU_BYTES_MAX:
        raise LocalProtocolError(f"serial line: {len(pdu)} bytes to unit {unit}")
    body = bytes((unit,)) + pdu
    return body + crc16(body)


def decode_adu(adu: bytes) -> tuple[int, bytes] | None:
    """Return unit and PDU of a whole ADU; None if its length or CRC is wrong."""
    if not ADU_BYTES_LEAST <= len(adu) <= ADU_BYTES_MAX or crc16(adu[:-2]) != adu[-2:]:
        return None
    return adu[0], bytes(adu[1:-2])


def silence_ms(baud: int) -> float:
    """Return for how long a line must have been silent before a frame."""
    return SILENCE_FAST_MS if baud > FAST_BAUD else SILENCE_CHARACTERS * CHARACTER_BITS * 1000 / baud


def duration_ms(characters: int, baud: int) -> float:
    """Return how long so many characters take on the line."""
    return characters * CHARACTER_BITS * 1000 / baud


def answer_bytes_most(request: Request) -> int:
    """Return the length of the longest ADU that answers a request."""
    if isinstance(request, Read):
        return 5 + (-(-request.count // 8) if request.table in ("coil", "discrete") else 2 * request.count)
    return 8 if isinstance(request, WriteWords) else ADU_BYTES_MAX


def could_pass(one: Request, other: Request) -> bool:
    """Say whether an answer to one could pass for an answer to the other: an exception names the function alone."""
    return encode_request(one)[0] == encode_request(other)[0]


class AnswerFinder:
    """Finds the answer to one question. `noise`: bytes that were stepped over."""

    def __init__(self, unit: int, request: Request) -> None:
        self._unit, self._request = unit, request
        self._asked = encode_request(request)
        self._function = self._asked[0]
        self._inbox = bytearray()
        self.noise = 0

    def receive_data(self, data: bytes) -> bytes | None:
        """Take bytes as they come; return the answer's PDU once it is whole. After that, make a new finder.

        Raises:
            PeerProtocolError: two different answers came in one breath: neither can be believed.
        """
        self._inbox += data
        answers: set[bytes] = set()
        first_open: int | None = None
        place = before = 0
        while place < len(self._inbox):
            size = self._size_at(place)
            if size is None or place + size > len(self._inbox):
                first_open = place if first_open is None else first_open  # may still become one
            elif size and (pdu := self._answer_in(bytes(self._inbox[place : place + size]))) is not None:
                before = before if answers else place
                answers.add(pdu)
                place += size
                continue
            place += 1
        if len(answers) > 1:
            shown = ", ".join(sorted(each.hex()[:24] for each in answers))
            raise PeerProtocolError(f"two different answers of unit {self._unit}: {shown}")
        useless = before if answers else place if first_open is None else first_open
        useless = max(useless, len(self._inbox) - INBOX_BYTES_MAX)
        self.noise += useless
        del self._inbox[:useless]
        return answers.pop() if answers else None

    def _answer_in(self, adu: bytes) -> bytes | None:
        if crc16(adu[:-2]) != adu[-2:]:
            return None
        if isinstance(self._request, WriteWords) and not adu[1] & EXCEPTION_BIT and adu[1:6] != self._asked[:5]:
            return None  # the echo of another write
        return adu[1:-2]

    def _size_at(self, place: int) -> int | None:
        """Return the length of the answer that begins here; 0 if none does, None if that cannot be told yet."""
        head = self._inbox[place : place + 3]
        if head[0] != self._unit:
            return 0
        if len(head) < 2:
            return None
        if head[1] == self._function | EXCEPTION_BIT:
            return 5
        if head[1] != self._function:
            return 0
        if isinstance(self._request, WriteWords):
            return 8
        if isinstance(self._request, Read):
            most = answer_bytes_most(self._request)
            if len(head) < 3:
                return None
            return most if head[2] == most - 5 else 0
        whole = length_so_far(bytes(self._inbox[place + 1 : place + ADU_BYTES_MAX]))
        if whole is None:
            return None if len(self._inbox) - place < ADU_BYTES_MAX else 0
        return whole + 3 if whole <= PDU_BYTES_MAX else 0
