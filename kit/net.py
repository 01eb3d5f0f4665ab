"""The publish/subscribe port: what the uplink, the site bus and the fan-in need of a broker, and nothing more.

Implementations: `kit.mqtt.MqttTransport` (real brokers) and `kit.simulation.net.SimNet` (seeded faults).
A broker is a pipe: `publish` returning means that the broker answered, never that anybody stored or read the
message. Who needs that asks for an acknowledgement of his own (protocols/link/SPEC.md).
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, runtime_checkable

import msgspec

TOPIC_BYTES_MAX: Final = 65_535  # MQTT 3.1.1, 1.5.3: a two-byte length
PAYLOAD_BYTES_MAX: Final = 1024 * 1024  # ours: one batch is far smaller; larger is a defect or an attack
INBOX_MESSAGES_MAX: Final = 4_096


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message as it arrived, or as a will to be sent when the connection dies without a goodbye."""

    topic: str
    payload: bytes
    retain: bool = False


class Connection(Protocol):
    """One life of a link to a broker. Never comes back: after a loss, connect again for a new one."""

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hand over one message, at least once; returns when the broker has answered.

        Raises:
            LocalProtocolError: the topic holds a wildcard or the payload is over `PAYLOAD_BYTES_MAX`.
            LinkLostError: it never left; safe to publish again on a new connection.
            ReplyTimeoutError: it left and the broker has not answered; it may have arrived.
        """
        ...

    async def subscribe(self, *filters: str) -> None:
        """Ask for what matches `filters` (MQTT wildcards `+` and `#`). Raises LinkLostError.

        A broker may grant what it will never deliver (ACLs), so a grant proves nothing.
        """
        ...

    async def unsubscribe(self, *filters: str) -> None:
        """Stop asking for `filters`. Raises LinkLostError."""
        ...

    def messages(self) -> AsyncIterator[Message]:
        """Yield what arrives, in the order of arrival; one reader a connection.

        Ends when this side closed the connection; raises LinkLostError once it is lost and the inbox is empty.
        """
        ...

    @property
    def closed(self) -> bool:
        """True once the link is lost or closed; nothing can be published any more."""
        ...

    async def wait_closed(self) -> None:
        """Return when the link is lost or closed."""
        ...


class Transport(Protocol):
    """Where a broker is and who we are to it."""

    def connect(
        self, *, subscribe: Sequence[str] = (), will: Message | None = None
    ) -> AbstractAsyncContextManager[Connection]:
        """Open a connection for the length of an `async with`; leaving says goodbye (the will is not sent).

        Args:
            subscribe: filters to ask for before the block starts.
            will: what the broker sends for us if the connection dies without a goodbye.

        Raises:
            LinkLostError: no connection, or refused; safe to try again, later.
        """
        ...


@runtime_checkable
class DropsTold(Protocol):
    """A transport that says what came and was not kept."""

    dropped: Callable[[str, str, int], None] | None
    """Called for each such message with why, topic and bytes; None: it is logged, and of many every tenfold one.

    Why: `oversized`, `overweight`; `crowded`: newer ones of its topic waited; `overflowed`: as many waited as fit, and
    it was not acknowledged, so that a broker that keeps it says it again after the next connection.
    """


def matches(topic_filter: str, topic: str) -> bool:
    """Return whether an MQTT `topic_filter` covers `topic` (MQTT 3.1.1, 4.7).

    `+` stands for one level, a last `#` for the level above and all below; neither leading wildcard covers
    a topic that starts with `$`.
    """
    wanted, given = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for place, level in enumerate(wanted):
        if level == "#":
            return place == len(wanted) - 1
        if place >= len(given) or level not in ("+", given[place]):
            return False
    return len(wanted) == len(given)
