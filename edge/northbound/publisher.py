"""Publishes the record log to somebody else's broker: one message a record, QoS 1, nothing skipped by an outage.

A cursor of its own on every lane moves only after the broker's PUBACK, so an outage of either side repeats at most what
was in flight and loses nothing; what repeats carries the same (incarnation, lane, seq). A lane's order is the log's:
nothing of a lane is sent before what stands before it was answered or sent in the same connection. What is left of an
incarnation that ended (its file was damaged, or an old copy) goes before anything of the one that followed it.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from edge.log.lane_cursors import Place
from edge.log.readership import FACADE_PREFIX, kind_mark
from edge.northbound.plain_json import PlainJson
from kit.dice import Dice
from kit.logs import logger
from protocols.errors import LinkLostError, LocalProtocolError, ReplyTimeoutError, StoreFailedError
from protocols.link.batch import Packed
from protocols.link.lanes import Lane

STORE_RETRY_S: Final = 1.0
FULL_TRIES: Final = 16
"""The pause between connections stops doubling here."""


class NorthboundLog(Protocol):
    """The record log, as a façade reads it. Every method may raise StoreFailedError."""

    def incarnations(self) -> dict[Lane, bytes]:
        """Return each lane's current incarnation."""
        ...

    def heads(self) -> dict[Lane, int]:
        """Return each lane's last position."""
        ...

    async def run(self, incarnation: bytes, lane: Lane, after_seq: int, most: int) -> Packed | None:
        """Return what follows a position."""
        ...

    async def place(self, name: str, lane: Lane | str) -> Place:
        """Return where a name goes on: in the oldest incarnation of which it has not read all there is."""
        ...

    async def told(
        self, name: str, lane: Lane | str, incarnation: bytes, seq: int, refused: Sequence[int] = ()
    ) -> None:
        """Move a name's cursor forward, in one incarnation or from an older one into it; `refused`: passed untold."""
        ...

    def listen(self, listener: Callable[[Lane, bytes, int], None]) -> Callable[[], None]:
        """Call after each commit."""
        ...


class NorthboundConnection(Protocol):
    """`kit.mqtt_wire.transport.WireConnection`, as a façade uses it."""

    async def publish_many(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Publish in order; return once all are answered."""
        ...

    async def wait_closed(self) -> None:
        """Return when the link is lost."""
        ...


class NorthboundTransport(Protocol):
    """The way to the broker."""

    def connect(self) -> AbstractAsyncContextManager[NorthboundConnection]:
        """Open a connection. Raises LinkLostError."""
        ...


class NorthboundPublisher:
    """One broker's façade, for the life of the process.

    Args:
        name: names the cursor.
        log: what is published.
        transport: the way to the broker.
        form: makes messages of records.
        lanes: which lanes.
        kinds: which kinds of records; none: all.
        in_flight: messages sent and not answered, at most.
        pause_s: (first, most) pause between connections: full jitter.
        dice: for pauses.
    """

    def __init__(
        self,
        name: str,
        *,
        log: NorthboundLog,
        transport: NorthboundTransport,
        form: PlainJson,
        lanes: Sequence[Lane],
        kinds: Sequence[str],
        in_flight: int,
        pause_s: tuple[float, float],
        dice: Dice,
    ) -> None:
        self.name, self._cursor = name, cursor_of(name)
        self._log, self._transport, self._form, self._lanes = log, transport, form, tuple(lanes)
        self._kinds = tuple(kinds)
        self._marks = tuple(map(kind_mark, kinds))
        self._in_flight, self._pause_s, self._dice = in_flight, pause_s, dice
        self._say = logger("edge.northbound")
        self._wake = asyncio.Event()
        self._places: dict[Lane, Place] = {}
        self._answered = 0  # stretches that a broker took
        self.connected = False
        self.published = 0
        """Messages answered by the broker since the start."""
        self.refused = 0
        """Records passed since the start that this broker will never take; the log keeps their positions."""

    def backlog(self) -> dict[Lane, int]:
        """Return how many positions of each lane have not been told yet; 0 before the first look.

        Of the incarnation it has come to and of the current one: those in between are not counted.
        """
        heads, names = self._log.heads(), self._log.incarnations()
        return {lane: self._behind(self._places.get(lane), names[lane], heads[lane]) for lane in self._lanes}

    @staticmethod
    def _behind(place: Place | None, incarnation: bytes, head: int) -> int:
        if place is None:
            return 0
        if place.incarnation == incarnation:
            return max(0, head - place.after)
        return max(0, place.last - place.after) + head

    async def run(self) -> None:
        """Publish until cancelled."""
        unlisten = self._log.listen(self._committed)
        silent = 0
        try:
            await self._begin()
            while True:
                answered = self._answered
                try:
                    async with self._transport.connect() as connection:
                        self.connected = True
                        await self._publish(connection)
                except (LinkLostError, ReplyTimeoutError) as error:
                    if self._answered > answered:
                        silent = 0  # a broker that lets us in and takes nothing is no broker
                    if silent & (silent - 1) == 0:  # 0, 1, 2, 4, 8 ...: a month off line must not fill the journal
                        self._say.info("northbound_lost", name=self.name, error=str(error), tries=silent)
                finally:
                    self.connected = False
                first, most = self._pause_s
                await asyncio.sleep(self._dice.uniform(0, min(most, first * 2 ** min(silent, FULL_TRIES))))
                silent += 1
        finally:
            unlisten()

    async def _begin(self) -> None:
        """Have a cursor on every lane before the broker is there: nothing unread is forgotten meanwhile."""
        for lane in self._lanes:
            try:
                place = self._places[lane] = await self._log.place(self._cursor, lane)
                await self._log.told(self._cursor, lane, place.incarnation, place.after)
            except StoreFailedError as error:  # the next that is told makes it
                self._say.warning("log_not_readable", name=self.name, error=str(error))

    async def _publish(self, connection: NorthboundConnection) -> None:
        lost = asyncio.create_task(connection.wait_closed(), name=f"northbound {self.name}: loss")
        try:
            while True:
                self._wake.clear()
                try:
                    some = [await self._some_of(connection, lane) for lane in self._lanes]
                except StoreFailedError as error:
                    self._say.warning("log_not_readable", name=self.name, error=str(error))
                    await asyncio.sleep(STORE_RETRY_S)
                    continue
                if any(some):
                    continue
                woken = asyncio.create_task(self._wake.wait(), name=f"northbound {self.name}: wait")
                await asyncio.wait({woken, lost}, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
                if lost.done():
                    raise LinkLostError("the connection was closed")
        finally:
            lost.cancel()

    async def _some_of(self, connection: NorthboundConnection, lane: Lane) -> bool:
        """Publish the next stretch of a lane and move the cursor; False: there is none."""
        place = self._places[lane] = await self._log.place(self._cursor, lane)
        incarnation = place.incarnation
        if place.after >= place.last:
            return False
        run = await self._log.run(incarnation, lane, place.after, self._in_flight)
        if run is None:
            return self._log.incarnations()[lane] != incarnation  # forgotten meanwhile: look again
        name, form, marks = incarnation.hex(), self._form, self._marks
        messages = [
            (seq, form.message(record, incarnation=name, lane=lane, seq=seq))
            for seq, record in zip(run.seqs, run.records, strict=True)
            if not marks or record.startswith(marks)
        ]
        refused: list[int] = []
        try:
            await connection.publish_many([message for _, message in messages])
        except LocalProtocolError:
            refused = await self._one_by_one(connection, messages)
        if messages:
            self._answered += 1
        await self._log.told(self._cursor, lane, incarnation, run.last, refused)
        self._places[lane] = Place(incarnation, run.last, place.last)
        self.published += len(messages) - len(refused)
        self.refused += len(refused)
        return True

    async def _one_by_one(
        self, connection: NorthboundConnection, messages: Sequence[tuple[int, tuple[bytes, bytes]]]
    ) -> list[int]:
        """One of these this broker will never take: return the positions of such, and go on with the others."""
        refused: list[int] = []
        for seq, each in messages:
            try:
                await connection.publish_many([each])
            except LocalProtocolError as error:
                refused.append(seq)
                self._say.error("record_not_published", name=self.name, error=str(error))
        return refused

    def _committed(self, lane: Lane, _incarnation: bytes, _last: int) -> None:
        if lane in self._lanes:
            self._wake.set()


def cursor_of(name: str) -> str:
    """Return the name of a façade's cursor on the log."""
    return FACADE_PREFIX + name
