"""`kit.net.Transport` over `kit.mqtt_wire` for who hears many devices: bounded by topic too; what is dropped is told.

Each `connect` is a clean session. A message is acknowledged once the reader has taken it, so a slow reader makes the
broker hold back; what still finds no room is dropped as `inbox` says. Reading never stops for a full inbox: the answers
to what was asked and published come the same way, and whoever waits for them may be the reader.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from kit.logs import logger
from kit.mqtt_wire import packets
from kit.mqtt_wire.inbox import LARGE_BYTES_MAX, Inbox
from kit.mqtt_wire.parser import Long, Publish
from kit.mqtt_wire.transport import Broker, WireConnection, WireTransport
from kit.net import TOPIC_BYTES_MAX, Message

TURN_MESSAGES: Final = 64
"""So many are handed out one after the other; then whoever else runs on the event loop has a turn."""
OWED_MOST: Final = 256
OWED_WAIT_S: Final = 0.005
"""So many messages at most are taken and not acknowledged, and for so long, where more are waiting to be read."""

CROWDED_WAIT_S: Final = 0.05
"""So long a turn waits at most for a reader that has more than it should: what is behind it may be an alarm."""
CROWDED_LOOK_S: Final = 0.005


class BusTransport(WireTransport):
    """`kit.net.Transport` over one broker, and `kit.net.DropsTold`.

    Args:
        broker: where it is.
        topic_waiting_max: unread messages of one topic at most; of more the oldest is dropped, and acknowledged. For
            topics that tell a state: who babbles on one then crowds nobody else out. None: as many as fit.
        large_topics: topics whose messages may be up to `LARGE_BYTES_MAX` long, `inbox.LARGE_WAITING_MAX` at a time.
        crowded: whether who reads has more than it should: then messages are handed out slowly, and the broker, whose
            messages are not acknowledged meanwhile, holds the others back. One that does not (QoS 0) would fill the
            inbox until an alarm finds no room: from half an inbox on nothing is slow. None: never.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        topic_waiting_max: int | None = None,
        large_topics: frozenset[str] = frozenset(),
        crowded: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(broker)
        self._crowded = crowded
        self._topic_waiting_max = topic_waiting_max
        self._large_topics = frozenset(each.encode() for each in large_topics)
        self.drops: dict[str, int] = {}
        """How many were dropped since the start, by why (`kit.net.DropsTold`)."""
        self.dropped: Callable[[str, str, int], None] | None = None

    def _connection(self, place: str, will: Message | None) -> "BusConnection":
        inbox = Inbox(
            messages_max=self._broker.inbox_messages_max,
            topic_waiting_max=self._topic_waiting_max,
            large_topics=self._large_topics,
            told=self._drop,
        )
        long = Long(
            self._large_topics, LARGE_BYTES_MAX + TOPIC_BYTES_MAX + 16, lambda *what: self._drop("oversized", *what)
        )
        return BusConnection(self._broker, place, will, long, inbox, crowded=self._crowded)

    def _drop(self, why: str, topic: bytes, size: int) -> None:
        self.drops[why] = times = self.drops.get(why, 0) + 1
        name = topic.decode(errors="replace")
        if self.dropped is not None:
            self.dropped(why, name, size)
        elif str(times).strip("0") == "1":  # the first, the tenth, the hundredth: who babbles fills no log
            logger("kit.mqtt").warning("message_dropped", why=why, topic=name[:80], bytes=size, so_far=times)


class BusConnection(WireConnection):
    """`kit.net.Connection`: made by `BusTransport.connect`."""

    def __init__(
        self,
        broker: Broker,
        place: str,
        will: Message | None,
        long: Long,
        inbox: Inbox,
        *,
        crowded: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(broker, place, will, long)
        self.inbox = inbox
        self._crowded = crowded
        self._owed: list[Publish] = []
        self._due: asyncio.TimerHandle | None = None

    async def messages(self) -> AsyncIterator[Message]:
        """See `kit.net.Connection.messages`."""
        inbox, turn = self.inbox, 0
        while True:
            if not inbox:
                self._settle()  # all is taken: who waits for our word to send on has it now
            if not await self._arrived():
                return
            while (each := inbox.take()) is not None:
                if 0 < len(self._owed) < OWED_MOST - 1:
                    self._owed.append(each)
                else:
                    self._owe(each)
                if each[1] is None:
                    continue
                try:
                    topic = each[0].decode()
                except UnicodeDecodeError:  # a broker that lets such a topic in would deliver it again for ever
                    logger("kit.mqtt").warning("topic_not_utf8_skipped", topic=each[0][:40].hex())
                    continue
                yield Message(topic, each[1], bool(each[3] & packets.RETAIN))
                turn += 1
                if turn % TURN_MESSAGES == 0:
                    await asyncio.sleep(0)
                    if self._crowded is not None and self._crowded():
                        await self._hold_back(self._crowded)

    async def _hold_back(self, crowded: Callable[[], bool]) -> None:
        until_s, room = self._loop.time() + CROWDED_WAIT_S, self._inbox_most // 2
        while crowded() and len(self.inbox) < room:
            if self.closed or self._loop.time() >= until_s:
                return
            await asyncio.sleep(CROWDED_LOOK_S)

    async def close(self) -> None:
        """See `WireConnection.close`."""
        self._settle()
        await super().close()

    def _has_arrived(self) -> bool:
        return bool(self.inbox)

    def _deliver(self, publishes: list[Publish]) -> None:
        put = self.inbox.put
        for each in publishes:
            if (dropped := put(each)) is not None:
                self._owe(dropped)
        self._wake_reader()
        self._rest_after(len(publishes))

    def _owe(self, publish: Publish) -> None:
        """Acknowledge it with the others that are taken, in one write: a write costs as much as a dozen messages."""
        if not self._owed:
            self._due = self._loop.call_later(OWED_WAIT_S, self._settle)
        self._owed.append(publish)
        if len(self._owed) >= OWED_MOST:
            self._settle()

    def _settle(self) -> None:
        owed, self._owed = self._owed, []
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if owed:
            self.acknowledge(owed)
