"""What has arrived and nobody has read yet, with an end in every direction: messages, bytes, and words of one topic.

Pure. Who babbles on one topic crowds nobody else out, who says much under many fills no memory, and what finds no room
is told. A message too long to be kept keeps its place, so that it is acknowledged in its turn and does not come again.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from kit.mqtt_wire.parser import Publish
from kit.net import PAYLOAD_BYTES_MAX

LARGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A message of a topic that is known to be long: the list of what a Zigbee2MQTT carries, with all that it exposes."""
LARGE_WAITING_MAX: Final = 2
"""Of them unread at a time; another is not acknowledged, and comes again."""
WAITING_BYTES_MAX: Final = 32 * 1024 * 1024
"""Unread bytes at most, large topics aside: of what comes beyond it messages over `SHORT_BYTES_MAX` are dropped."""
SHORT_BYTES_MAX: Final = 4 * 1024

Told = Callable[[str, bytes, int], None]
"""(why, topic, bytes) of a message that was dropped; why: see `kit.net.DropsTold`."""


class Inbox:
    """First in, first out.

    Args:
        messages_max: unread at most; of more a new one is dropped, unless it takes the place of an older of its topic.
        topic_waiting_max: unread of one topic at most; of more the oldest is dropped. None: as many as fit.
        large_topics: topics whose messages may be up to `LARGE_BYTES_MAX` long.
        told: called for each that is dropped.
    """

    def __init__(
        self,
        *,
        messages_max: int,
        topic_waiting_max: int | None,
        large_topics: frozenset[bytes],
        told: Told,
    ) -> None:
        self._messages_max, self._topic_waiting_max = messages_max, topic_waiting_max
        self._large_topics, self._told = large_topics, told
        self._queue: dict[int, Publish] = {}  # by number, in order
        self._of_topic: dict[bytes, int | deque[int]] = {}  # a number alone, where a topic has but one: most do
        self._number = self._oldest = self._large = 0
        self.waiting_bytes = 0
        """Large topics aside."""

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, publish: Publish) -> Publish | None:
        """Take a message, or drop it; return an older one of its topic that had to give way and is to be acknowledged.

        One that finds no room is not acknowledged, by nobody.
        """
        topic, payload = publish[0], publish[1]
        size = 0 if payload is None else len(payload)
        large, held = False, self._of_topic.get(topic)
        if held is None and size <= SHORT_BYTES_MAX and len(self._queue) < self._messages_max:  # nearly always
            self._number = number = self._number + 1
            self._queue[number], self._of_topic[topic] = publish, number
            self.waiting_bytes += size
            return None
        if size > SHORT_BYTES_MAX:
            large = size > PAYLOAD_BYTES_MAX and topic in self._large_topics and size <= LARGE_BYTES_MAX
            if why := self._too_much(size, large=large):
                self._told(why, topic, size)
                publish = (topic, None, publish[2], publish[3])
        most = self._topic_waiting_max
        mine = deque((held,)) if isinstance(held, int) else held
        crowded = most is not None and mine is not None and len(mine) >= most
        full = len(self._queue) >= self._messages_max
        if (full and not crowded) or (large and self._large >= LARGE_WAITING_MAX):
            self._told("overflowed", topic, size)
            return None
        self._number = number = self._number + 1
        self._queue[number] = publish
        if mine is None:
            self._of_topic[topic] = number
        else:
            mine.append(number)
            self._of_topic[topic] = mine
        self._large += large
        if publish[1] is not None and not large:
            self.waiting_bytes += size
        if not crowded or mine is None:
            return None
        oldest = self._left(self._queue.pop(mine.popleft()))
        self._told("crowded", topic, len(oldest[1] or b""))
        return oldest

    def take(self) -> Publish | None:
        """Return the oldest; its payload is None if it was too long. None: there is none."""
        queue, oldest = self._queue, self._oldest + 1
        if not queue:
            return None
        while oldest not in queue:  # it gave way; each number is passed once
            oldest += 1
        self._oldest = oldest
        publish = queue.pop(oldest)
        topic, payload = publish[0], publish[1]
        size = 0 if payload is None else len(payload)
        if size <= SHORT_BYTES_MAX:
            self.waiting_bytes -= size
        else:
            self._left(publish)
        mine = self._of_topic[topic]
        if isinstance(mine, int) or len(mine) == 1:
            del self._of_topic[topic]
        else:
            mine.popleft()
        return publish

    def _too_much(self, size: int, *, large: bool) -> str | None:
        if large:
            return None
        if size > PAYLOAD_BYTES_MAX:
            return "oversized"
        return "overweight" if self.waiting_bytes + size > WAITING_BYTES_MAX else None

    def _left(self, publish: Publish) -> Publish:
        size = 0 if publish[1] is None else len(publish[1])
        if size > PAYLOAD_BYTES_MAX:
            self._large -= 1
        else:
            self.waiting_bytes -= size
        return publish
