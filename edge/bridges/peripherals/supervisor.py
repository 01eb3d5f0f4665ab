"""Drives one kiosk peripheral on its own line: asks how it stands, hears what it reads, and waits for it no longer.

What its bytes mean is the dialect's (protocols/peripherals), what its fields mean the descriptor's. The text of a
document that a reader read is kept here, in memory alone, for the one who takes it within a minute.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
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
from protocols.peripherals.conversation import Answered, Conversation, Nonsense, Presented, Said
from protocols.peripherals.dialects import conversation

CONNECT_WAIT_S: Final = 5.0
RECONNECT: Final = Backoff(first_ms=200, most_ms=30_000)
SILENT_POLLS: Final = 3
"""A device that left so many polls in a row without an answer is not there."""
PAUSE_S: Final = 0.5
DOCUMENT_MS: Final = 60_000
READ_BYTES: Final = 512


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

    def take_document(self) -> str | None:
        """Return the zone that was read last, once, within a minute; None if there is none. Personal data."""
        kept, self._document = self._document, None
        if kept is None or self._clock.now_ms() - kept[1] > DOCUMENT_MS:
            return None
        return kept[0]

    async def run(self) -> None:
        """See `BusSupervisor.run`."""
        self._expect(self._device, Running(self._descriptor), self._stale_ms, now_ms=self._clock.now_ms())
        await self._attend(connection=self._keep_connected(), stale=self._sweep())

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
                    await line.close()
                self._missed()
            heed_cancellation()
            failures += 1
            await asyncio.sleep(RECONNECT.pause_ms(failures, self._dice) / 1000)

    async def _converse(self, line: Wire) -> None:
        """Speak until the line ends."""
        today = datetime.fromtimestamp(self._clock.wall_ms() / 1000, tz=UTC).date()
        said = conversation(self._wire.dialect, today=today)
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
            said.begin()
            self._counts["polls"] += 1
            answers = self._counts["answers"]
            await line.write(said.data_to_send())
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wire.answer_wait_ms / 1000):
                    while not said.finished:
                        news.clear()
                        await news.wait()
            if self._counts["answers"] > answers and said.finished:
                self._answered()
            else:
                self._counts["unanswered"] += 1
                self._missed()
            await asyncio.sleep(self._wire.poll_s)

    def _take(self, said: Sequence[Said]) -> None:
        now_ms = self._clock.now_ms()
        for each in said:
            match each:
                case Answered(fields):
                    self._counts["answers"] += 1
                    for told in readings_of_fields(self._descriptor, self._device, fields):
                        self._reporter.take(told, now_ms=now_ms)
                case Presented(text):
                    self._counts["documents"] += 1
                    self._document = (text, now_ms)
                case Nonsense(problem):
                    self._complaints.refused("malformed_answers", _place(self._bus), problem)

    def _answered(self) -> None:
        self._unanswered = 0
        if self._online is not True:
            self._online = True
            self._event(self._device, DeviceEvent.ONLINE, {})

    def _missed(self) -> None:
        self._unanswered += 1
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
