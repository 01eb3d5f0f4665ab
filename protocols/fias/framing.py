"""Frames on the wire: 02, a record, 03; on a serial line with a checksum and answers besides.

Bytes in, records out, however the bytes were cut. Noise between frames is skipped and counted; a frame that never
ends is given up at `RECEIVED_BYTES_MAX`.
"""

from collections.abc import Iterator
from typing import Final

STX: Final = 0x02
ETX: Final = 0x03
ENQ: Final = 0x05
ACK: Final = 0x06
NAK: Final = 0x15
RECORD_BYTES_MAX: Final = 2_000
RECEIVED_BYTES_MAX: Final = 8_000
"""A record has 2,000 characters at most, and in some code pages a character has four bytes."""
REPEATS_MAX: Final = 3
"""On a serial line: four attempts in all."""
ANSWER_WAIT_MS: Final = 3_000


def framed(record: bytes) -> bytes:
    """Return one frame as TCP carries it. Raises ValueError for an STX or ETX inside, or a record too long."""
    if len(record) > RECORD_BYTES_MAX:
        raise ValueError(f"a record of {len(record)} bytes; {RECORD_BYTES_MAX} are allowed")
    if STX in record or ETX in record:
        raise ValueError("a record holds no STX and no ETX")
    return bytes((STX,)) + record + bytes((ETX,))


def checksum(record: bytes) -> int:
    """Return the byte that follows ETX on a serial line: XOR of all bytes after STX up to and including ETX."""
    total = ETX
    for byte in record:
        total ^= byte
    return total


class TcpDeframer:
    """Puts a TCP stream's bytes together again. Never raises: what is no frame is counted in `skipped_bytes`."""

    def __init__(self) -> None:
        self.skipped_bytes = 0
        self.overlong = 0
        """Frames given up since the start."""
        self._held = bytearray()
        self._inside = False

    @property
    def inside(self) -> bool:
        """True between the STX and the ETX of a frame."""
        return self._inside

    def feed(self, data: bytes) -> list[bytes]:
        """Return the records that `data` completes, in order."""
        return list(self._records(data))

    def _records(self, data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            if not self._inside:
                start = data.find(STX, at)
                if start < 0:
                    self.skipped_bytes += len(data) - at
                    return
                self.skipped_bytes += start - at
                at, self._inside = start + 1, True
                continue
            end, again = data.find(ETX, at), data.find(STX, at)
            if again >= 0 and (end < 0 or again < end):
                # A frame began inside a frame: the sender started anew, the first is lost.
                self.skipped_bytes += len(self._held) + again - at
                self._held.clear()
                at = again + 1
                continue
            self._held += data[at : end if end >= 0 else len(data)]
            at = end + 1 if end >= 0 else len(data)
            if len(self._held) > RECEIVED_BYTES_MAX:
                self.overlong += 1
                self.skipped_bytes += len(self._held)
                self._held.clear()
                self._inside = False
            elif end >= 0:
                record = bytes(self._held)
                self._held.clear()
                self._inside = False
                yield record


class SerialReceiver:
    """The receiving half of a serial line: frames with a checksum, answered ACK or NAK, doubles recognised.

    An ENQ asks for the last answer again (the sender did not hear it), so that a frame is never taken twice.
    """

    def __init__(self) -> None:
        self.damaged = 0
        self._deframer = TcpDeframer()
        self._waiting: bytes | None = None
        self._last_answer = NAK

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Return (records received whole, what to send back)."""
        records, answers = [], bytearray()
        for byte in data:
            if self._waiting is not None:
                record, self._waiting = self._waiting, None
                whole = checksum(record) == byte
                self._last_answer = ACK if whole else NAK
                answers.append(self._last_answer)
                if whole:
                    records.append(record)
                else:
                    self.damaged += 1
                continue
            if byte == ENQ and not self._deframer.inside:
                answers.append(self._last_answer)
                continue
            for record in self._deframer.feed(bytes((byte,))):
                self._waiting = record
        return records, bytes(answers)


class SerialSender:
    """The sending half: one frame at a time, sent again when refused or unanswered, asked about before that."""

    def __init__(self) -> None:
        self._frame: bytes | None = None
        self._repeats = 0
        self._deadline_ms = 0

    @property
    def busy(self) -> bool:
        """True while a frame waits for its ACK."""
        return self._frame is not None

    @property
    def deadline_ms(self) -> int | None:
        """When to call `on_time`, monotonic ms; None: nothing is awaited."""
        return self._deadline_ms if self.busy else None

    def send(self, record: bytes, *, now_ms: int) -> bytes:
        """Return the bytes of a new frame. Raises ValueError while `busy`."""
        if self._frame is not None:
            raise ValueError("one frame at a time: the last one is not acknowledged yet")
        self._frame, self._repeats = framed(record) + bytes((checksum(record),)), 0
        return self._again(self._frame, now_ms)

    def receive(self, answer: int, *, now_ms: int) -> tuple[bytes, bool]:
        """Take ACK or NAK; return (what to send, whether the frame was delivered). Other bytes mean nothing."""
        if self._frame is None or answer not in (ACK, NAK):
            return b"", False
        if answer == ACK:
            self._frame = None
            return b"", True
        return self._repeat(self._frame, now_ms), False

    def on_time(self, *, now_ms: int) -> bytes:
        """Return ENQ if the answer is overdue: the frame itself is repeated only when it is known to be damaged."""
        if self._frame is None or now_ms < self._deadline_ms:
            return b""
        return self._repeat(bytes((ENQ,)), now_ms)

    def given_up(self) -> bool:
        """Return whether the last frame was abandoned after its repeats; then the line is down."""
        return self._frame is None and self._repeats > REPEATS_MAX

    def _repeat(self, what: bytes, now_ms: int) -> bytes:
        self._repeats += 1
        if self._repeats > REPEATS_MAX:
            self._frame = None
            return b""
        return self._again(what, now_ms)

    def _again(self, what: bytes, now_ms: int) -> bytes:
        self._deadline_ms = now_ms + ANSWER_WAIT_MS
        return what
