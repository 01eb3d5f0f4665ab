"""Drives one kiosk peripheral on its own line: asks how it stands, hears what it reads, and waits for it no longer.

What its bytes mean is the dialect's (protocols/peripherals), what its fields mean the descriptor's. The text of a
document that a reader read is kept here, in memory alone, for the one who takes it within a minute. An order (a card, a
receipt) goes out at most once, between two polls; what came of it is what the device says, or unknown.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from edge.bridges.firmware import Running
from edge.bridges.modbus.serial_port import SerialPort
from edge.bridges.ports import DeviceEvent, ReadingSink
from edge.bridges.supervision import SupervisedBus
from edge.bridges.write_desk import Job
from kit.cancellation import heed_cancellation
from kit.clock import Clock
from kit.dice import Dice
from kit.supervision import Backoff
from kit.task_groups import TaskGroup
from protocols.descriptors.codec import Reason, bad, reading, readings_of_fields
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.descriptors.wires import PeripheralWire
from protocols.device_model.capability import Capability
from protocols.device_model.command import Outcome, Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.site_plan import RawTcpBus, SerialBus
from protocols.peripherals.conversation import Answered, Conversation, Nonsense, Order, Ordered, Presented, Said
from protocols.peripherals.dialects import conversation

CONNECT_WAIT_S: Final = 5.0
RECONNECT: Final = Backoff(first_ms=200, most_ms=30_000)
SILENT_POLLS: Final = 3
"""A device that left so many polls in a row without an answer is not there."""
PAUSE_S: Final = 0.5
DOCUMENT_MS: Final = 60_000
READ_BYTES: Final = 512
ORDERS_MAX: Final = 4
"""So many orders wait for one device."""
ORDER_TRIES: Final = 3
"""A device that does not say how it stands is asked so often before an order is given up."""
ORDER_WAIT_S: Final = 20.0
"""A receipt has come out, or a card lies in the mouth, within so long; else nobody knows."""
LOOK_PAUSE_S: Final = 0.2
OWED_TIMES: Final = 3
"""An answer that did not come in time may come so many times as late."""
ORDER_ANSWER_WAIT_S: Final = ORDER_WAIT_S + 10.0


class Wire(Protocol):
    """An open line. `read` returns nothing once it is gone; both raise OSError."""

    async def read(self) -> bytes:
        """Return what came, at least one byte."""
        ...

    async def write(self, data: bytes) -> None:
        """Write all of it."""
        ...

    async def close(self) -> None:
        """Give the line back."""
        ...


@dataclass(slots=True)
class _Waiting:
    """An order that waits for its device, or is on its way (`sent`)."""

    order: Order
    deadline_ms: int
    done: "asyncio.Future[Outcome]"
    sent: bool = False
    tries: int = 0


class PeripheralSupervisor(SupervisedBus):
    """`edge.bridges.ports.BusSupervisor` for one peripheral.

    Args:
        bus: where it is.
        device: its name.
        descriptor: its model.
        clock: both clocks.
        dice: for pauses.
        sink: where readings and events go.
    """

    def __init__(
        self,
        bus: SerialBus | RawTcpBus,
        device: DeviceId,
        descriptor: Descriptor,
        *,
        clock: Clock,
        dice: Dice,
        sink: ReadingSink,
    ) -> None:
        if not isinstance(descriptor.wire, PeripheralWire):
            raise TypeError(f"{descriptor.id} is no kiosk peripheral")
        super().__init__(bus.id, clock=clock, dice=dice, sink=sink)
        self._bus, self._device, self._descriptor, self._wire = bus, device, descriptor, descriptor.wire
        self._online: bool | None = None
        self._unanswered = 0
        self._document: tuple[str, int] | None = None
        self._orders: deque[_Waiting] = deque()
        self._wanted = asyncio.Event()
        self._fields: dict[str, bool] = {}
        self._ordered: Ordered | None = None
        self._owed_until_ms = 0
        self._in_step = self._answers_alike = True
        self._heard_words = 0
        self._unbelieved: list[Mapping[str, bool]] = []
        self._stands: Mapping[str, bool] | None = None

    @property
    def device(self) -> DeviceId:
        """Whom it drives."""
        return self._device

    async def order(self, order: Order, *, deadline_ms: int) -> Outcome:
        """Have the device do something once, never sent at or after the deadline (unix ms).

        DONE is the device's own word, FAILED and EXPIRED that it has certainly not done it, UNKNOWN that it may have.
        Never raises for what the device does.
        """
        if len(self._orders) >= ORDERS_MAX:
            return Outcome(Phase.FAILED, None, "too many orders wait for this device")
        waiting = _Waiting(order, deadline_ms, asyncio.get_running_loop().create_future())
        self._orders.append(waiting)
        self._wanted.set()
        left_s = max(0, deadline_ms - self._clock.wall_ms()) / 1000
        try:
            async with asyncio.timeout(left_s):
                return await asyncio.shield(waiting.done)
        except TimeoutError:
            pass
        if waiting.sent:
            with suppress(TimeoutError):
                async with asyncio.timeout(ORDER_ANSWER_WAIT_S):
                    return await asyncio.shield(waiting.done)
        with suppress(ValueError):
            self._orders.remove(waiting)
        if waiting.done.done():
            return waiting.done.result()
        phase = Phase.UNKNOWN if waiting.sent else Phase.EXPIRED
        waiting.done.set_result(Outcome(phase, None, "its deadline passed"))
        return waiting.done.result()

    def against(self, order: Order) -> str | None:
        """Say what speaks against an order, as the device stood when it was asked last; None: nothing does."""
        if self._stands is None:
            return "it does not say how it stands"
        today = datetime.fromtimestamp(self._clock.wall_ms() / 1000, tz=UTC).date()
        return conversation(self._wire.dialect, today=today).refuses(order, self._stands)

    def take_document(self) -> str | None:
        """Return the zone that was read last, once, within a minute; None if there is none. Personal data."""
        kept, self._document = self._document, None
        if kept is None or self._clock.now_ms() - kept[1] > DOCUMENT_MS:
            return None
        return kept[0]

    async def run(self) -> None:
        """See `BusSupervisor.run`."""
        self._expect(self._device, Running(self._descriptor), self._stale_ms, now_ms=self._clock.now_ms())
        try:
            await self._attend(connection=self._keep_connected(), stale=self._sweep())
        finally:
            for each in self._orders:
                if not each.done.done():
                    each.done.set_result(
                        Outcome(Phase.FAILED, None, "the bus was stopped")
                    )  # one that is sent is not here
            self._orders.clear()

    def _stale_ms(self, point: Point) -> int:  # noqa: ARG002 - the port's parameter
        return round(SILENT_POLLS * (self._wire.poll_s * 1000 + self._wire.answer_wait_ms))

    # --- the line -------------------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            try:
                async with asyncio.timeout(CONNECT_WAIT_S):
                    line = await _open(self._bus)
            except OSError as error:  # TimeoutError is one
                self._complaints.refused("connections_failed", _place(self._bus), str(error) or type(error).__name__)
                self._missed()
            else:
                self._counts["connections"] += 1
                try:
                    answers = self._counts["answers"]
                    await self._converse(line)
                    failures = 0 if self._counts["answers"] > answers else failures
                finally:
                    self._stands = None
                    await line.close()
                self._missed()
            heed_cancellation()
            failures += 1
            await asyncio.sleep(RECONNECT.pause_ms(failures, self._dice) / 1000)

    async def _converse(self, line: Wire) -> None:
        """Speak until the line ends."""
        today = datetime.fromtimestamp(self._clock.wall_ms() / 1000, tz=UTC).date()
        said = conversation(self._wire.dialect, today=today)
        self._answers_alike = said.answers_alike
        news = asyncio.Event()
        try:
            async with TaskGroup() as tasks:
                polling = tasks.create_task(self._poll(line, said, news))
                try:
                    await self._hear(line, said, news)
                finally:
                    polling.cancel()
        except* OSError:  # contextlib.suppress takes no group before Python 3.12
            pass  # pulled out, or hung up: opened again

    async def _hear(self, line: Wire, said: Conversation, news: asyncio.Event) -> None:
        while True:
            data = b""
            try:
                async with asyncio.timeout(PAUSE_S):
                    data = await line.read()
            except TimeoutError:
                self._take(said.pause())
                continue
            if not data:
                return
            self._take(said.receive_data(data))
            if out := said.data_to_send():
                await line.write(out)
            news.set()

    async def _poll(self, line: Wire, said: Conversation, news: asyncio.Event) -> None:
        while True:
            await self._asked(line, said, news, said.begin)
            while self._orders:
                await self._next_order(line, said, news)
            self._wanted.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wire.poll_s):
                    await self._wanted.wait()

    async def _asked(
        self, line: Wire, said: Conversation, news: asyncio.Event, begin: Callable[[], None]
    ) -> Mapping[str, bool] | None:
        """Carry through a poll; return what it told, None if it got no answer.

        An answer that is still owed is waited for first: it would pass for the answer to this one, and be of before.
        Should it be later even than that, it comes instead of this one's, which then follows it: after a question
        without an answer only what nothing follows is believed, and what was told till then is not.
        """
        await asyncio.sleep(max(0, self._owed_until_ms - self._clock.now_ms()) / 1000)
        begin()
        self._counts["polls"] += 1
        self._fields = {}
        self._unbelieved.clear()
        answers = self._counts["answers"]
        await self._spoken(line, said, news, self._wire.answer_wait_ms / 1000)
        if self._counts["answers"] > answers and said.finished and (self._in_step or await self._nothing_follows()):
            self._believe()
            self._answered()
            self._stands = dict(self._fields)
            return self._fields
        self._counts["unanswered"] += 1
        self._owes()
        self._missed()
        return None

    def _owes(self) -> None:
        self._in_step = not self._answers_alike
        self._owed_until_ms = self._clock.now_ms() + OWED_TIMES * self._wire.answer_wait_ms

    async def _nothing_follows(self) -> bool:
        before = self._heard_words
        await asyncio.sleep(self._wire.answer_wait_ms / 1000)
        return self._heard_words == before

    def _believe(self) -> None:
        """Tell what was answered while nobody knew yet whether it was the answer to this question."""
        self._in_step = True
        for fields in self._unbelieved:
            self._tell(fields)
        self._unbelieved.clear()

    def _tell(self, fields: Mapping[str, bool]) -> None:
        now_ms = self._clock.now_ms()
        for told in readings_of_fields(self._descriptor, self._device, fields):
            self._reporter.take(told, now_ms=now_ms)

    @staticmethod
    async def _spoken(line: Wire, said: Conversation, news: asyncio.Event, wait_s: float) -> None:
        await line.write(said.data_to_send())
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not said.finished:
                    news.clear()
                    await news.wait()

    async def _next_order(self, line: Wire, said: Conversation, news: asyncio.Event) -> None:
        """Bring the oldest order as far as it goes; once it is sent it is not here any more, whatever comes of it."""
        waiting = self._orders[0]
        if waiting.done.done():
            self._orders.popleft()
            return
        fields = await self._asked(line, said, news, said.prepare)
        waiting.tries += 1
        outcome: Outcome | None = None
        if self._clock.wall_ms() >= waiting.deadline_ms:
            outcome = Outcome(Phase.EXPIRED, None, "its deadline passed before it was sent")
        elif fields is None:
            if waiting.tries < ORDER_TRIES:
                return
            outcome = Outcome(Phase.FAILED, None, "it does not say how it stands")
        elif (against := said.refuses(waiting.order, fields)) is not None:
            outcome = Outcome(Phase.FAILED, None, against)
        if self._orders and self._orders[0] is waiting:
            self._orders.popleft()
        if waiting.done.done():
            return  # given up while it was asked
        if outcome is not None:
            waiting.done.set_result(outcome)
            return
        waiting.sent = True
        outcome = Outcome(Phase.UNKNOWN, None, "the line broke, or was stopped, while it was on its way")
        try:
            outcome = await self._sent(line, said, news, waiting.order)
        finally:
            self._counts[f"orders_{outcome.phase}"] += 1
            if not waiting.done.done():
                waiting.done.set_result(outcome)

    async def _sent(self, line: Wire, said: Conversation, news: asyncio.Event, order: Order) -> Outcome:
        """Send an order, once, and find out what came of it."""
        until_ms = self._clock.now_ms() + round(ORDER_WAIT_S * 1000)
        self._ordered = None
        said.begin_order(order)
        await self._spoken(
            line, said, news, ORDER_WAIT_S if order.text is not None else self._wire.answer_wait_ms / 1000
        )
        told: Ordered | None = self._ordered
        if told is None:
            self._owes()
        if told is not None and told.done is not None:
            return Outcome(Phase.DONE, True, None) if told.done else Outcome(Phase.FAILED, False, "it refused")
        while self._clock.now_ms() < until_ms:
            await asyncio.sleep(LOOK_PAUSE_S)
            fields = await self._asked(line, said, news, said.begin)
            came = None if fields is None else said.came_of(fields)
            if came is not None:
                return Outcome(Phase.DONE, True, None) if came else Outcome(Phase.FAILED, False, "it could not")
        return Outcome(Phase.UNKNOWN, None, "it did not say what came of it")

    def _take(self, said: Sequence[Said]) -> None:
        now_ms = self._clock.now_ms()
        for each in said:
            self._heard_words += not isinstance(each, Presented)
            match each:
                case Answered(fields):
                    self._counts["answers"] += 1
                    self._fields.update(fields)
                    if self._in_step:
                        self._tell(fields)
                    else:
                        self._unbelieved.append(fields)
                case Presented(text):
                    self._counts["documents"] += 1
                    self._document = (text, now_ms)
                case Ordered():
                    self._ordered = each
                case Nonsense(problem):
                    self._complaints.refused("malformed_answers", _place(self._bus), problem)

    def _answered(self) -> None:
        self._unanswered = 0
        if self._online is not True:
            self._online = True
            self._event(self._device, DeviceEvent.ONLINE, {})

    def _missed(self) -> None:
        self._unanswered += 1
        if self._unanswered >= SILENT_POLLS:
            self._stands = None
        if self._unanswered < SILENT_POLLS or self._online is False:
            return
        never, self._online = self._online is None, False
        self._event(self._device, DeviceEvent.QUARANTINED, {"cause": "silent", "place": _place(self._bus)})
        now_ms = self._clock.now_ms()
        if never:
            for point in self._descriptor.points:
                self._reporter.take(reading(point, self._device, bad(Reason.NO_ANSWER)), now_ms=now_ms)
        self._reporter.silent(self._device, now_ms=now_ms)

    async def _sweep(self) -> None:
        while True:
            self._reporter.sweep(now_ms=self._clock.now_ms())
            if self._document is not None and self._clock.now_ms() - self._document[1] > DOCUMENT_MS:
                self._document = None  # nobody took it: it is forgotten
            await asyncio.sleep(1.0)

    # --- writes ---------------------------------------------------------------------------------------------

    def _point(self, device: DeviceId, capability: Capability, attribute: str) -> Point | None:
        return self._descriptor.point(capability, attribute) if device == self._device else None

    async def _perform(self, job: Job) -> Outcome:
        """Fail: no point of a peripheral can be written."""
        return Outcome(Phase.FAILED, None, f"{job.command.device} is only asked how it stands")


class _TcpLine:
    """A TCP connection as a line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        return await self._reader.read(READ_BYTES)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()


async def _open(bus: SerialBus | RawTcpBus) -> Wire:
    if isinstance(bus, SerialBus):
        return SerialPort.open(bus)
    return _TcpLine(*await asyncio.open_connection(bus.host, bus.port))


def _place(bus: SerialBus | RawTcpBus) -> str:
    return bus.path if isinstance(bus, SerialBus) else f"{bus.host}:{bus.port}"
