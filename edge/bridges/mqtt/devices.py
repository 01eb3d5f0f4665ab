"""Drives devices that speak on the site broker by themselves: Tasmota, Shelly, ESPHome and their like.

Knows no device: topics, keys and words are the descriptor's. Topics are subscribed one by one, so what a stranger says
under a name of his own is never heard. A message that the broker kept is of unknown age: its values are uncertain until
the device speaks. A command is done when the device's own state says so.
"""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from msgspec import structs

from edge.bridges.firmware import Running
from edge.bridges.mqtt.broker_bus import BrokerBus, Member, last_said, outcome_of
from edge.bridges.mqtt.bus_memory import BusMemory
from edge.bridges.ports import ReadingSink
from edge.bridges.write_desk import Job
from kit.clock import Clock
from kit.dice import Dice
from kit.net import Connection, Message, Transport
from protocols.descriptors.codec import (
    TEXT_BYTES_MAX,
    MessageWrite,
    Reason,
    encode,
    json_object,
    readings_of_message,
    same,
    value_at,
)
from protocols.descriptors.descriptor import NAME, Descriptor, Point
from protocols.descriptors.firmware import every
from protocols.descriptors.wires import MqttWire
from protocols.device_model.command import Outcome, Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading
from protocols.device_model.site_plan import Address, MqttDevicesBus
from protocols.documents import shown
from protocols.errors import LinkLostError, ReplyTimeoutError


@dataclass(slots=True)
class _Thing(Member):
    name: str = ""
    waiting: list[tuple[Point, "asyncio.Queue[Reading]"]] = field(default_factory=list)
    said_gone: bool = False
    """Whether the last word of its availability was that it is gone."""

    @property
    def wire(self) -> MqttWire:
        wire = self.descriptor.wire
        if not isinstance(wire, MqttWire):
            raise TypeError(f"{self.descriptor.id} does not speak on the broker by itself")
        return wire

    def topic(self, template: str) -> str:
        return template.replace(NAME, self.name)


class MqttDevicesSupervisor(BrokerBus):
    """See `BrokerBus`.

    Args:
        bus: its name.
        devices: device, address and descriptor of everything on it.
        transport: the way to the site broker.
        clock: both clocks.
        dice: for pauses.
        sink: where readings and events go.
        memory: what the bus has heard and told before.
    """

    def __init__(
        self,
        bus: MqttDevicesBus,
        devices: Sequence[tuple[DeviceId, Address, Descriptor]],
        *,
        transport: Transport,
        clock: Clock,
        dice: Dice,
        sink: ReadingSink,
        memory: BusMemory | None = None,
    ) -> None:
        self._things: dict[DeviceId, _Thing] = {}
        self._to_ask: set[DeviceId] = set()
        self._asking = asyncio.Event()
        self._of_topic: dict[str, list[_Thing]] = defaultdict(list)
        self._availability: dict[str, list[_Thing]] = defaultdict(list)
        self._firmware_topics: dict[str, list[_Thing]] = defaultdict(list)
        for device, address, descriptor in devices:
            if not isinstance(descriptor.wire, MqttWire):
                raise TypeError(f"{descriptor.id} does not speak on the broker by itself")
            silence_s = descriptor.wire.silence_s
            name = address.friendly_name or device
            thing = _Thing(device, Running(descriptor), silence_s, place=name, name=name)
            self._things[device] = thing
            firmwares = [each for _, each in every(descriptor)]
            for topic in {thing.topic(point.topic or "") for each in firmwares for point in each.points}:
                self._of_topic[topic].append(thing)
            if thing.wire.availability is not None:
                self._availability[thing.topic(thing.wire.availability.topic)].append(thing)
            if descriptor.firmware is not None and descriptor.firmware.topic is not None:
                self._firmware_topics[thing.topic(descriptor.firmware.topic)].append(thing)
        things = self._things.values()
        super().__init__(bus.id, things, transport=transport, clock=clock, dice=dice, sink=sink, memory=memory)

    def _loops(self) -> dict[str, Coroutine[object, object, None]]:
        return {"asking": self._keep_asking()}

    def _filters(self) -> list[str]:
        return sorted({*self._of_topic, *self._availability, *self._firmware_topics})

    async def _joined(self, connection: Connection) -> None:
        for thing in self._things.values():
            await self._ask(connection, thing)

    async def _after_silence(self, connection: Connection, member: Member) -> None:
        self._counts["asked_after_silence"] += 1
        await self._ask(connection, self._things[member.device])

    async def _ask(self, connection: Connection, thing: _Thing) -> None:
        firmware = thing.running.model.firmware
        if firmware is not None and firmware.ask is not None:
            payload = thing.topic(firmware.ask.payload).encode()
            await connection.publish(thing.topic(firmware.ask.topic), payload)
        for each in thing.wire.ask:
            await connection.publish(thing.topic(each.topic), each.payload.encode())

    # --- what is heard --------------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        for thing in self._firmware_topics.get(message.topic, ()):
            self._said_its_version(thing, message)
        for thing in self._availability.get(message.topic, ()):
            self._said_of_itself(thing, message)
        now_ms = self._clock.now_ms()
        for thing in self._of_topic.get(message.topic, ()):
            if not message.retain:
                self._heard_itself(thing, message, now_ms=now_ms)
            old = self._of_unknown_age(thing, message, silence_ms=round(1000 * thing.silence_s))
            readings = readings_of_message(thing.descriptor, thing.device, thing.name, message.topic, message.payload)
            if any(each.reason == Reason.NOT_JSON for each in readings):
                problem = f"{Reason.NOT_JSON}: {shown(message.payload)}"
                self._complaints.refused("undecodable_messages", message.topic, problem)
            for each in readings:
                told = each
                if old and each.quality is Quality.GOOD:
                    told = structs.replace(each, quality=Quality.UNCERTAIN, reason=Reason.RETAINED.value)
                self._reporter.take(told, now_ms=now_ms, place=message.topic)
                if not message.retain:
                    self._tell_waiting(thing, each)
            if not message.retain:
                self._online(thing)

    def _said_of_itself(self, thing: _Thing, message: Message) -> None:
        said, words = message.payload[:40].decode(errors="replace"), thing.wire.availability
        if words is None:
            return
        if said == words.online:
            if thing.said_gone:  # even if it spoke since: a broker keeps the order of one topic alone
                self._ask_soon(thing)
            thing.said_gone = False
            self._online(thing)
        elif said == words.offline:
            thing.said_gone = True
            self._offline(thing, "availability")
        else:
            problem = f"{said!r} is neither {words.online!r} nor {words.offline!r}"
            self._complaints.refused("malformed_messages", message.topic, problem)

    def _online(self, member: Member) -> None:
        thing = self._things[member.device]
        # It restarted, perhaps with another firmware; or it came up after us, and nobody heard what we asked at first.
        first = thing.online is None or thing.device in self._remembered
        if thing.online is False or (first and not thing.running.known):
            self._ask_soon(thing)
        super()._online(member)

    def _said_its_version(self, thing: _Thing, message: Message) -> None:
        """Read a version; what the broker kept is the last that it said, which it asks again in any case."""
        firmware = thing.running.model.firmware
        if firmware is None:
            return
        text: object = message.payload[:TEXT_BYTES_MAX].decode(errors="replace")
        if firmware.path is not None:
            document = json_object(message.payload)
            if isinstance(document, Reason):
                problem = f"{document}: {shown(message.payload)}"
                self._complaints.refused("undecodable_messages", message.topic, problem)
                return
            text = value_at(document, firmware.path)
        if self._said_firmware(thing.device, thing.running, text, thing.stale_ms):
            self._counts["asked_after_firmware"] += 1
            self._ask_soon(thing)
        elif isinstance(text, str) and self._told_none(thing.device, thing.running, text):
            self._ask_soon(thing)  # another stands there, or a word was garbled: once more, and no oftener

    def _ask_soon(self, thing: _Thing) -> None:
        """Have it tell its state again: what it said before was read under another firmware, or not at all."""
        self._to_ask.add(thing.device)
        self._asking.set()

    async def _keep_asking(self) -> None:
        while True:
            await self._asking.wait()
            self._asking.clear()
            while self._to_ask and (connection := self._connection) is not None:
                thing = self._things[self._to_ask.pop()]
                with suppress(LinkLostError, ReplyTimeoutError):
                    await self._ask(connection, thing)

    def _tell_waiting(self, thing: _Thing, heard: Reading) -> None:
        for point, queue in thing.waiting:
            if (point.capability, point.attribute) == (heard.capability, heard.attribute):
                queue.put_nowait(heard)

    # --- writes ---------------------------------------------------------------------------------------------

    async def _perform(self, job: Job) -> Outcome:
        thing = self._things[job.command.device]
        if (refused := await self._ready(job, thing)) is not None:
            return refused
        connection, write = self._connection, encode(job.point, job.value)
        if connection is None or not isinstance(write, MessageWrite):
            return Outcome(Phase.FAILED, None, f"broker of {self._name} cannot be reached")

        def holds(said: Reading) -> bool:
            return same(job.point, job.value, said.value)

        # Unbounded is bounded here: at most one entry a message, and the wait below ends in seconds.
        news: asyncio.Queue[Reading] = asyncio.Queue()
        entry = (job.point, news)
        thing.waiting.append(entry)
        try:
            self._desk.sending(job)
            self._counts["writes"] += 1
            try:
                await connection.publish(thing.topic(write.topic), write.payload)
            except LinkLostError:
                return Outcome(Phase.FAILED, None, "the connection was lost before it was sent")
            except ReplyTimeoutError:
                pass  # it may have reached the device: what it says next decides
            found = await last_said(news, holds, wait_ms=thing.wire.answer_wait_ms)
            if (found is None or not holds(found)) and thing.wire.ask:
                with suppress(LinkLostError, ReplyTimeoutError):
                    await self._ask(connection, thing)
                    found = await last_said(news, holds, wait_ms=thing.wire.answer_wait_ms) or found
        finally:
            thing.waiting.remove(entry)
        return outcome_of(found, holds)

    async def _ready(self, job: Job, thing: _Thing) -> Outcome | None:
        """Wait for the broker as long as that makes sense; return why nothing can be sent."""
        if (refused := await self._out_of_reach(job)) is not None:
            return refused
        if thing.online is False:
            return Outcome(Phase.FAILED, None, f"{thing.name} is off line")
        if thing.descriptor.point(job.command.capability, job.command.attribute) != job.point:
            return Outcome(Phase.FAILED, None, "it runs another firmware now, which takes that in another way")
        return None
