"""Messages that wait for a lane of work, and whose turn it is.

A queue in order of arrival lets one building's backlog stand before everybody's present: batches of 500 records, four
at a time. Here lane A goes first, and among the rest edges take turns: each turn brings RECORDS_MAX records of one edge
at most, so a quiet building waits for as many turns as there are edges waiting, never for what one of them has to tell.
What one edge sent on one lane keeps its order; so do its hello, its live state and its lanes B and C among themselves.

An edge that has waited too long for an answer sends again, in one batch, all that was not answered and what came since
(protocols/link/SPEC.md 10). Such a batch takes the place of those that wait and that it holds whole: when the cloud is
late, what it has to do grows by what is new and not by how often it was told (docs/decisions/0165).
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeGuard

from cloud.telemetry.fan_in.arrivals import Arrived, BatchItem, Item
from kit.queues import BoundedQueue
from protocols.device_model.identity import EdgeId
from protocols.link.batch import RECORDS_MAX, BatchHead
from protocols.link.lanes import Lane

MESSAGE_WEIGHS: Final = 8
"""What a message costs besides its records, in records: measured, docs/operating/scale.md."""
RECORD_PACKED_BYTES: Final = 64
"""What a record takes of a batch at most, as a rule: 15 among many alike, 90 alone."""
FIRST_SHARE: Final = 0.75
"""How much of a group lane A may take while others wait: both progress."""
STRETCH: Final = 5
"""How many times as long as it is meant to a transaction may take while messages wait for long."""
COVERED_MOST: Final = 16
"""So many of an edge's newest waiting messages are looked through for what a new one repeats: four windows of it."""
COMPANY_MESSAGES: Final = 32
"""So many messages are company enough: what a transaction costs besides them is a tenth of what they cost."""
LINGERS_MOST: Final = 4
COMPANY_COMES: Final = 2
"""Company keeps coming when one linger brought so many."""
_SPEED_KEPT: Final = 0.7


def weight_of(item: Item) -> int:
    """Return what storing a message costs, in records: as many as it says, or as its bytes could hold."""
    records = len(item.arrived.payload) // RECORD_PACKED_BYTES
    if isinstance(item, BatchItem):
        records = max(records, item.head.last - item.head.first + 1)
    return MESSAGE_WEIGHS + min(RECORDS_MAX, records)


class Line:
    """Who waits, and who is next. Pure."""

    def __init__(self) -> None:
        self._first: deque[Item] = deque()
        self._edges: dict[EdgeId, deque[Item]] = {}
        self._left: dict[EdgeId, int] = {}
        self._count, self.bytes = 0, 0

    def __len__(self) -> int:
        return self._count

    def add(self, item: Item) -> None:
        """Let a message wait."""
        self._count += 1
        self.bytes += len(item.arrived.payload)
        if isinstance(item, BatchItem) and item.head.lane is Lane.A:
            self._first.append(item)
            return
        line = self._edges.setdefault(item.arrived.topic.edge, deque())
        if isinstance(item, BatchItem) and (covered := _covered(line, item.head)):
            self._count -= len(covered)
            self.bytes -= sum(len(line[place].arrived.payload) for place in covered)
            came_ms = min(line[place].arrived.at_ms for place in covered)
            for place in reversed(covered[1:]):
                del line[place]
            line[covered[0]] = replace(item, arrived=replace(item.arrived, at_ms=min(came_ms, item.arrived.at_ms)))
        else:
            line.append(item)

    def oldest(self) -> Iterator[Arrived]:
        """Return the message of each edge that has waited for longest, but for lane A: that goes first."""
        return (line[0].arrived for line in self._edges.values())

    def take(self, most_messages: int, most_weight: int) -> list[Item]:
        """Return the next group: at least one message if any waits, else as many as both bounds allow."""
        taken: list[Item] = []
        share = FIRST_SHARE if self._edges else 1.0
        weight = self._take_first(taken, max(1, int(most_messages * share)), int(most_weight * share))
        while self._edges and len(taken) < most_messages and weight < most_weight:
            edge, line = next(iter(self._edges.items()))
            left = self._left.pop(edge, 0) + RECORDS_MAX + MESSAGE_WEIGHS
            while line and len(taken) < most_messages and weight < most_weight and (own := weight_of(line[0])) <= left:
                left -= own
                weight += own
                taken.append(line.popleft())
            del self._edges[edge]
            if line:
                self._edges[edge] = line  # behind everybody else
                self._left[edge] = min(left, RECORDS_MAX)
        self._count -= len(taken)
        self.bytes -= sum(len(each.arrived.payload) for each in taken)
        return taken

    def _take_first(self, taken: list[Item], most_messages: int, most_weight: int) -> int:
        weight = 0
        while self._first and len(taken) < most_messages and (weight < most_weight or not taken):
            weight += weight_of(self._first[0])
            taken.append(self._first.popleft())
        return weight


def _covered(line: Sequence[Item], head: BatchHead) -> list[int]:
    """Return which of an edge's waiting messages hold nothing but what the batch of `head` holds as well.

    None if another one of its stream that it may go on from stands behind the first of them: in that one's place, it
    would be a gap.
    """
    covered: list[int] = []
    for place in range(max(0, len(line) - COVERED_MOST), len(line)):
        if not _same_stream(known := line[place], head):
            continue
        if head.first <= known.head.first and known.head.last <= head.last:
            covered.append(place)
        elif covered and known.head.first <= head.last:
            return []
    return covered


def _same_stream(known: Item, head: BatchHead) -> TypeGuard[BatchItem]:
    """Tell whether a message is a batch of the stream and opening of `head`."""
    return isinstance(known, BatchItem) and (known.head.incarnation, known.head.lane, known.head.opening) == (
        head.incarnation,
        head.lane,
        head.opening,
    )


class Waiting:
    """A `Line` with an end: whoever comes waits while it is full."""

    def __init__(self, most_messages: int, most_bytes: int) -> None:
        self._line, self._most, self._bytes_most = Line(), most_messages, most_bytes
        self._news = BoundedQueue[None](1, "ingest-news")
        self._room = asyncio.Event()

    def __len__(self) -> int:
        return len(self._line)

    def oldest(self) -> Iterator[Arrived]:
        """See `Line.oldest`."""
        return self._line.oldest()

    async def put(self, item: Item) -> None:
        """Let a message wait, once there is room."""
        while len(self._line) >= self._most or self._line.bytes >= self._bytes_most:
            self._room.clear()
            await self._room.wait()
        self._line.add(item)
        if not len(self._news):
            self._news.offer(None)

    async def take(self, most_messages: int, most_weight: int, linger_ms: int) -> list[Item]:
        """Return the next group: wait for a first message, and while there are few `linger_ms` for company.

        While company keeps coming it is waited for again, LINGERS_MOST times in all.
        """
        while not len(self._line):
            await self._news.get()
        company, lingers = min(COMPANY_MESSAGES, most_messages), 0
        while linger_ms > 0 and lingers < LINGERS_MOST and (waiting := len(self._line)) < company:
            await asyncio.sleep(linger_ms / 1000)
            lingers += 1
            if len(self._line) - waiting < COMPANY_COMES:
                break
        taken = self._line.take(most_messages, most_weight)
        self._room.set()
        return taken


class Pace:
    """How much one transaction takes, so that it takes about `target_ms`. Pure.

    A message waits for the transaction that is under way and then for its own: their length is most of what an
    acknowledgement takes. What a transaction costs besides its messages is a fortieth of the default. The commit does
    not count: what a slow disk takes for it is the same for few messages and for many. Where messages
    wait much longer than that, short transactions keep nobody's wait short and carry less: one may take half as long as
    they waited, up to STRETCH times `target_ms`.
    """

    def __init__(self, target_ms: int, *, least: int, most: int) -> None:
        self._target_ms, self._least, self.most_weight = target_ms, min(least, most), most
        self._most = most
        self._speed: float | None = None

    def took(self, weight: int, milliseconds: int, waited_ms: int = 0) -> None:
        """Learn how long a transaction over so much took up to its commit, and its oldest message up to its end."""
        speed = weight / max(1, milliseconds)
        self._speed = speed if self._speed is None else _SPEED_KEPT * self._speed + (1 - _SPEED_KEPT) * speed
        target_ms = min(max(self._target_ms, waited_ms // 2), STRETCH * self._target_ms)
        self.most_weight = max(self._least, min(self._most, int(self._speed * target_ms)))
