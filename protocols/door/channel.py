"""The L2CAP channel: one stream of messages each way, and which way the exchange of a connection goes.

Source of truth: SPEC.md section 1.1; vectors in protocols/vectors/door/channel.json.
Whoever holds the radio opens and closes channels; what that means for the exchange is decided here, without a radio.
"""

from enum import Enum
from typing import Final

from protocols.door.frames import MESSAGE_BYTES_MOST
from protocols.errors import LocalProtocolError, PeerProtocolError

PSM_BASE: Final = 0x007F
"""The port is this plus the advert's offset: 0x0080 to 0x008E, of the range that LE leaves to applications."""
PSM_OFFSET_MOST: Final = 15
LENGTH_BYTES: Final = 2
ANSWER_BYTES_MOST: Final = 4_096
"""Of a message from the lock; one from the phone has at most 1024 bytes, as in GATT."""
CHANNEL_MTU: Final = LENGTH_BYTES + MESSAGE_BYTES_MOST
"""What both sides announce."""
CHANNEL_MPS: Final = 247
"""With the 4 bytes of L2CAP before it: one packet of the link layer (251)."""
LOCK_CREDITS: Final = 10
"""Twice the packets of the longest message to it."""
PHONE_CREDITS: Final = 20
"""More than the packets of the longest answer."""
CHANNEL_WAIT_MS: Final = 1_000
"""From asking for the channel to the first byte of CHAL in it; then GATT, on the same connection."""
CHANNEL_REST_MS: Final = 600_000
"""After a channel failed, this lock is spoken to by GATT for so long."""


def psm_of(offset: int) -> int | None:
    """Return the port that an advert's offset 0..15 names; None: the lock has no channel.

    Raises:
        LocalProtocolError: there is no such offset.
    """
    if not 0 <= offset <= PSM_OFFSET_MOST:
        raise LocalProtocolError(f"L2CAP port offset {offset}, 0 to {PSM_OFFSET_MOST} are there")
    return PSM_BASE + offset if offset else None


def prefixed(message: bytes, most: int = MESSAGE_BYTES_MOST) -> bytes:
    """Return a message as it goes into the stream: 2 bytes of length, then itself.

    Raises:
        LocalProtocolError: the message is empty or longer than `most`.
    """
    if not 1 <= len(message) <= most:
        raise LocalProtocolError(f"door message of {len(message)} bytes, 1 to {most} are allowed")
    return len(message).to_bytes(LENGTH_BYTES, "big") + message


class StreamAssembler:
    """Puts one direction's stream together, however it was cut. Holds at most one message, of `most` bytes."""

    def __init__(self, most: int = MESSAGE_BYTES_MOST) -> None:
        self._parts, self._most = bytearray(), most

    def take(self, chunk: bytes) -> bytes | None:
        """Take what one SDU brought, cut anywhere; return the message it completes, or None.

        Raises:
            PeerProtocolError: empty, a length that no message has, or bytes behind a message that nobody can have
                answered yet. Drop the link: the message is lost.
        """
        if not chunk:
            raise PeerProtocolError("door channel: an SDU without a byte")
        self._parts += chunk
        if len(self._parts) < LENGTH_BYTES:
            return None
        length = int.from_bytes(self._parts[:LENGTH_BYTES], "big")
        if not 1 <= length <= self._most:
            raise PeerProtocolError(f"door channel: a message of {length} bytes, 1 to {self._most} are allowed")
        behind = len(self._parts) - LENGTH_BYTES - length
        if behind < 0:
            return None
        if behind > 0:
            raise PeerProtocolError(f"door channel: {behind} bytes behind a message that was not answered yet")
        message = bytes(self._parts[LENGTH_BYTES:])
        self._parts.clear()
        return message


class Heard(Enum):
    """What reaches a lock on one connection."""

    SUBSCRIBED = "notifications enabled"
    CHANNEL_ASKED = "channel asked for"
    FRAME = "frame on TX"
    CHUNK = "bytes in the channel"
    CHANNEL_CLOSED = "channel closed"


class Then(Enum):
    """What the lock does with it."""

    BEGIN_GATT = "begin in GATT"
    BEGIN_CHANNEL = "accept, begin in the channel"
    REFUSE = "refuse"
    FEED = "feed"
    NOTHING = "nothing"
    WAIT = "wait anew"
    END = "end"


class Way(Enum):
    """Where the exchange of one connection is: the states of SPEC.md figure 3."""

    NONE = "none"
    NONE_LEFT = "none, channel spent"
    GATT = "gatt"
    OPENED = "channel, nothing heard"
    OPENED_SUBSCRIBED = "channel, nothing heard, notifications on"
    CHANNEL = "channel"
    OVER = "over"


WAYS: Final = {  # SPEC.md figure 3, whole: what is not here changes nothing
    (Way.NONE, Heard.SUBSCRIBED): (Way.GATT, Then.BEGIN_GATT),
    (Way.NONE, Heard.CHANNEL_ASKED): (Way.OPENED, Then.BEGIN_CHANNEL),
    (Way.NONE, Heard.FRAME): (Way.OVER, Then.END),
    (Way.NONE_LEFT, Heard.SUBSCRIBED): (Way.GATT, Then.BEGIN_GATT),
    (Way.NONE_LEFT, Heard.FRAME): (Way.OVER, Then.END),
    (Way.GATT, Heard.FRAME): (Way.GATT, Then.FEED),
    (Way.OPENED, Heard.SUBSCRIBED): (Way.OPENED_SUBSCRIBED, Then.NOTHING),
    (Way.OPENED, Heard.FRAME): (Way.OVER, Then.END),
    (Way.OPENED, Heard.CHUNK): (Way.CHANNEL, Then.FEED),
    (Way.OPENED, Heard.CHANNEL_CLOSED): (Way.NONE_LEFT, Then.WAIT),
    (Way.OPENED_SUBSCRIBED, Heard.FRAME): (Way.OVER, Then.END),
    (Way.OPENED_SUBSCRIBED, Heard.CHUNK): (Way.CHANNEL, Then.FEED),
    (Way.OPENED_SUBSCRIBED, Heard.CHANNEL_CLOSED): (Way.GATT, Then.BEGIN_GATT),
    (Way.CHANNEL, Heard.FRAME): (Way.OVER, Then.END),
    (Way.CHANNEL, Heard.CHUNK): (Way.CHANNEL, Then.FEED),
    (Way.CHANNEL, Heard.CHANNEL_CLOSED): (Way.OVER, Then.END),
}


class LockWays:
    """Which way the exchange of one connection goes, at the lock. One exchange at a time, two challenges at most."""

    def __init__(self) -> None:
        self.way = Way.NONE

    def on(self, heard: Heard) -> Then:
        """Take what was heard; return what to do with it. A second channel is refused, whatever came before."""
        otherwise = Then.REFUSE if heard is Heard.CHANNEL_ASKED else Then.NOTHING
        self.way, then = WAYS.get((self.way, heard), (self.way, otherwise))
        return then
