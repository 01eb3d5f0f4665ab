"""Frames: a message cut to fit one ATT write or one notification, and put together again; for L2CAP see channel.py.

Source of truth: SPEC.md section 2. One header byte: 0x80 first, 0x40 last, 6 bits of sequence that start at 0 with
each message; a message is at most 1024 bytes, so the sequence never wraps, even at the smallest ATT MTU (23).
"""

from typing import Final

from protocols.errors import LocalProtocolError, PeerProtocolError

MESSAGE_BYTES_MOST: Final = 1024
FRAME_BYTES_LEAST: Final = 20
"""ATT MTU 23, never negotiated, less 3 bytes of ATT header."""
FRAME_BYTES_MOST: Final = 512
"""Web Bluetooth writes no more at once."""

_FIRST: Final = 0x80
_LAST: Final = 0x40
_SEQUENCE: Final = 0x3F
_WHOLE: Final = bytes([_FIRST | _LAST])


def frame_bytes_for(att_mtu: int) -> int:
    """Return how many bytes one frame may hold at this ATT MTU."""
    return max(FRAME_BYTES_LEAST, min(att_mtu - 3, FRAME_BYTES_MOST))


def cut(message: bytes, frame_bytes: int) -> list[bytes]:
    """Cut `message` into frames of at most `frame_bytes`, header included.

    Raises:
        LocalProtocolError: the message is empty or longer than 1024 bytes, or the frame smaller than 20.
    """
    if not 1 <= len(message) <= MESSAGE_BYTES_MOST:
        raise LocalProtocolError(f"door message of {len(message)} bytes, 1 to {MESSAGE_BYTES_MOST} are allowed")
    if frame_bytes < FRAME_BYTES_LEAST:
        raise LocalProtocolError(f"door frames of {frame_bytes} bytes, {FRAME_BYTES_LEAST} are the least")
    if len(message) < frame_bytes:
        return [_WHOLE + message]  # as most are
    room = frame_bytes - 1
    parts = [message[start : start + room] for start in range(0, len(message), room)]
    return [
        bytes([(_FIRST if at == 0 else 0) | (_LAST if at == len(parts) - 1 else 0) | at]) + part
        for at, part in enumerate(parts)
    ]


class Assembler:
    """Puts one direction's frames together. Holds at most one message of 1024 bytes."""

    def __init__(self) -> None:
        self._parts = bytearray()
        self._next = 0

    def take(self, frame: bytes) -> bytes | None:
        """Take one whole frame; return the message it completes, or None.

        Raises:
            PeerProtocolError: out of sequence, empty, or too long. Drop the link: the message is lost.
        """
        if len(frame) < 2:
            raise PeerProtocolError(f"door frame of {len(frame)} bytes")
        header = frame[0]
        if bool(header & _FIRST) != (self._next == 0) or header & _SEQUENCE != self._next:
            raise PeerProtocolError(f"door frame {header:#04x} where number {self._next} was due")
        if len(self._parts) + len(frame) - 1 > MESSAGE_BYTES_MOST:
            raise PeerProtocolError(f"door message longer than {MESSAGE_BYTES_MOST} bytes")
        self._parts += frame[1:]
        if header & _LAST:
            message = bytes(self._parts)
            self._parts.clear()
            self._next = 0
            return message
        if self._next == _SEQUENCE:
            raise PeerProtocolError(f"door message of more than {_SEQUENCE + 1} frames")
        self._next += 1
        return None
