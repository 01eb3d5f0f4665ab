"""Hears devices that announce themselves to Home Assistant, and drives those that are bound.

Knows no device: what each says and takes is its own announcement, read by protocols/home_assistant. Only the topics of
bound devices are subscribed, one by one. A message that the broker kept is of unknown age: its values are uncertain
until the device speaks. A command is never retained, and done when the device's own state says so; a device without a
state topic leaves it unknown.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from msgspec import structs

from edge.bridges.evidence import EVIDENCE_BYTES_MAX, unknown_id
from edge.bridges.firmware import Running
from edge.bridges.mqtt.announced_registry import Registry, Thing
from edge.bridges.mqtt.broker_bus import BrokerBus, Member, last_said, outcome_of
from edge.bridges.mqtt.bus_memory import BusMemory
from edge.bridges.mqtt.chosen_colours import ChosenColours
from edge.bridges.ports import UNKNOWN_UNTOLD, DeviceEvent, ReadingSink
from edge.bridges.write_desk import Job
from kit.clock import Clock
from kit.dice import Dice
from kit.net import Message, Transport
from protocols.descriptors.codec import Reason
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.descriptors.wires import AnnouncedWire
from protocols.device_model.capability import Capability
from protocols.device_model.command import Outcome, Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading
from protocols.device_model.site_plan import Address
from protocols.documents import shown
from protocols.errors import LinkLostError, LocalProtocolError, PeerProtocolError, ReplyTimeoutError
from protocols.home_assistant import announcements, colours
from protocols.home_assistant.availability import Presence
from protocols.home_assistant.codec import payload_of, readings_of_message, settled
from protocols.home_assistant.entities import AnnouncedPoint

UNKNOWN_MAX: Final = 1_000
QUIET_MS: Final = 1_000
"""A thing announces its entities one by one: it is told when it has announced nothing new for so long."""
POLL_MS: Final = 10
AGAIN_MS: Final = 60_000
"""A thing that announces itself otherwise without end is told so often."""
SURE: Final = 0.95
WITHDRAWN: Final = "withdrawn"
UNAVAILABLE: Final = "unavailable"
UNSUPPORTED_FACTS: Final = 2
"""Beside all else that is told of a thing, evidence has room for so many."""
_KINDS: Final = (
    (Capability.THERMOSTAT, "thermostat"), (Capability.WINDOW_COVERING, "cover"), (Capability.LEVEL_CONTROL, "light"),
    (Capability.ON_OFF, "switch"), (Capability.OCCUPANCY_SENSING, "motion"), (Capability.BOOLEAN_STATE, "contact"),
    (Capability.ELECTRICAL_MEASUREMENT, "meter"),
)  # fmt: skip
"""What a thing with such a capability would be called; the first that fits."""

Changed = Callable[[set[str]], None]
"""Told of things that announce themselves otherwise, by name."""


@dataclass(slots=True)
class _Device(Member):
    key: str = ""
    answer_wait_ms: int = 3_000
    presence: dict[str, Presence] = field(default_factory=dict)
    """By entity."""
    withdrawn: frozenset[str] = frozenset()
    waiting: list[tuple[Point, "asyncio.Queue[Reading]"]] = field(default_factory=list)
    chosen: ChosenColours = field(default_factory=ChosenColours)

    def stale_ms(self, point: Point) -> int:
        """See `Member.stale_ms`; an announced point may say so itself."""
        return round(1000 * (point.silence_s if isinstance(point, AnnouncedPoint) else self.silence_s))


class AnnouncedSupervisor(BrokerBus):
    """See `BrokerBus`.

    Args:
        registry: What has announced itself, in this and earlier supervisors' lives.
        devices: device, address and descriptor of everything that is bound on it.
        memory: what bound things were heard to say before; None: what the registry remembers of that.
        changed: See `Changed`.
        transport: the way to the site broker.
        clock: both clocks.
        dice: for pauses.
        sink: where readings and events go.
        quiet_ms: See `QUIET_MS`.
    """

    def __init__(
        self,
        registry: Registry,
        devices: Sequence[tuple[DeviceId, Address, Descriptor]],
        *,
        transport: Transport,
        clock: Clock,
        dice: Dice,
        sink: ReadingSink,
        memory: BusMemory | None = None,
        changed: Changed = lambda _: None,
        quiet_ms: int = QUIET_MS,
    ) -> None:
        self._registry, self._changed, self._quiet_ms = registry, changed, quiet_ms
        self._prefix = registry.bus.prefix
        self._bound: dict[str, _Device] = {}
        for device, address, descriptor in devices:
            if not isinstance(wire := descriptor.wire, AnnouncedWire):
                raise TypeError(f"{descriptor.id} does not announce itself")
            key = address.friendly_name or device
            self._bound[key] = _Device(
                device, Running(descriptor), wire.silence_s, place=key, key=key, answer_wait_ms=wire.answer_wait_ms
            )
        self._of_device = {each.device: each for each in self._bound.values()}
        self._points: dict[str, list[tuple[_Device, list[AnnouncedPoint]]]] = {}
        self._speakers: dict[str, list[tuple[_Device, str]]] = {}
        """By availability topic: whose, and of which entity."""
        self._fresh: dict[str, int] = {}
        """Things to be told, with the time since which they have announced nothing new."""
        self._told = registry.told
        self._news, self._topics_changed = asyncio.Event(), asyncio.Event()
        self._subscribed: set[str] = set()
        bound, memory = self._bound.values(), memory or registry.memory.next_life()
        super().__init__(registry.bus.id, bound, transport=transport, clock=clock, dice=dice, sink=sink, memory=memory)
        registry.bind(self._bound.keys())
        registry.listener = self._heard_of
        for each in self._bound.values():
            self._take_thing(each)
            self._told.pop(each.key, None)  # let go one day, it is to be found again
        self._map()

    async def run(self) -> None:
        """See `BusSupervisor.run`."""
        for each in self._bound.values():  # the one before this heard on, since this was made
            self._take_thing(each)
        self._map()
        for thing in self._registry.things():  # heard in an earlier life: it may be said never again
            self._stir(thing.key)
        await super().run()

    def _filters(self) -> list[str]:
        self._subscribed = {*self._points, *self._speakers}
        return [*announcements.filters(self._prefix), *sorted(self._subscribed)]

    def _loops(self) -> dict[str, Coroutine[object, object, None]]:
        return {"telling": self._keep_telling(), "subscribing": self._keep_subscribed()}

    # --- what is announced ----------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        if message.topic.startswith(f"{self._prefix}/"):
            if announcements.where(self._prefix, message.topic) is None:
                self._counts["foreign_topics"] += 1
            else:
                self._announced(message)
            return
        for device, entity in self._speakers.get(message.topic, ()):
            self._said_of_itself(device, entity, message)
        for device, points in self._points.get(message.topic, ()):
            self._said(device, points, message)

    def _announced(self, message: Message) -> None:
        ours = self._registry.ours
        try:
            keys = self._registry.take(message.topic, message.payload)
        except PeerProtocolError as error:
            self._complaints.refused("malformed_announcements", message.topic, error)
            return
        self._counts["announcements"] += 1
        self._counts["announcements_of_ours"] += self._registry.ours - ours
        self._heard_of(keys)

    def _heard_of(self, keys: set[str]) -> None:
        """Take which things are not as they were."""
        bound = keys & self._bound.keys()
        for key in sorted(bound):
            self._renew(self._bound[key])
        for key in sorted(keys - bound):
            self._stir(key)
        if bound:
            self._map()
            self._topics_changed.set()
        if keys:
            self._changed(keys)

    def _renew(self, device: _Device) -> None:
        """Take what a bound thing announces now: points that are new are expected, those withdrawn are told so."""
        before = device.withdrawn
        self._take_thing(device)
        now_ms = self._clock.now_ms()
        self._reporter.renew(
            device.device, [(point, device.stale_ms(point)) for point in device.descriptor.points], now_ms=now_ms
        )
        thing = self._registry.thing(device.key)
        if thing is None or thing.gone:
            self._offline(device, WITHDRAWN)
        for point in device.descriptor.points:
            if isinstance(point, AnnouncedPoint) and point.slot in device.withdrawn - before:
                self._tell_stale(device, point, WITHDRAWN)

    def _take_thing(self, device: _Device) -> None:
        thing = self._registry.thing(device.key)
        if thing is None or thing.descriptor is None:
            return  # what it announced is kept with the binding: until it is heard again, that is what it is
        device.running, device.withdrawn = Running(thing.descriptor), thing.withdrawn
        device.presence = {
            entity: kept if (kept := device.presence.get(entity)) and kept.availability == told else Presence(told)
            for entity, told in thing.availability.items()
        }

    def _map(self) -> None:
        """Note who speaks where."""
        self._points, self._speakers = {}, {}
        for device in self._bound.values():
            by_topic: defaultdict[str, list[AnnouncedPoint]] = defaultdict(list)
            for point in device.descriptor.points:
                if isinstance(point, AnnouncedPoint) and point.topic is not None and point.slot not in device.withdrawn:
                    by_topic[point.topic].append(point)
            for topic, points in by_topic.items():
                self._points.setdefault(topic, []).append((device, points))
            for entity, presence in device.presence.items():
                for topic in dict.fromkeys(each.topic for each in presence.availability.sources):
                    self._speakers.setdefault(topic, []).append((device, entity))

    async def _keep_subscribed(self) -> None:
        """Hear the topics that bound things have announced since the connection was made, and no others."""
        while True:
            await self._topics_changed.wait()
            self._topics_changed.clear()
            wanted, connection = {*self._points, *self._speakers}, self._connection
            if connection is None:
                continue  # the next one begins with them
            more, fewer = sorted(wanted - self._subscribed), sorted(self._subscribed - wanted)
            self._subscribed = wanted
            with suppress(LinkLostError, ReplyTimeoutError):
                if more:
                    await connection.subscribe(*more)
                if fewer:
                    await connection.unsubscribe(*fewer)

    # --- what is found --------------------------------------------------------------------------------------

    def _stir(self, key: str) -> None:
        if key not in self._bound:
            self._fresh[key] = self._clock.now_ms()
            self._news.set()

    async def _keep_telling(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._fresh:
                await asyncio.sleep(max(self._quiet_ms, POLL_MS) / 1000)
                self._tell_found()

    def _tell_found(self) -> None:
        now_ms = self._clock.now_ms()
        for key, since_ms in list(self._fresh.items()):
            told_ms, facts = self._told.get(key, (now_ms - AGAIN_MS, None))
            if now_ms - since_ms < self._quiet_ms or now_ms - told_ms < AGAIN_MS:
                continue
            del self._fresh[key]
            thing = self._registry.thing(key)
            now = None if thing is None or thing.gone or thing.elsewhere is not None else self._evidence(thing)
            if now == facts:
                continue
            if facts is None and key not in self._told and len(self._told) >= UNKNOWN_MAX:
                self._complaints.refused(UNKNOWN_UNTOLD, self._prefix, f"{key} is one too many")
                continue
            self._told[key] = (now_ms, now)
            unknown = unknown_id(self._name, key, None)
            if now is None:
                del self._told[key]
                self._event(unknown, DeviceEvent.OFFLINE, {"cause": WITHDRAWN, "friendly_name": key})
            else:
                self._event(unknown, DeviceEvent.UNKNOWN_DEVICE, now)

    def _evidence(self, thing: Thing) -> dict[str, object]:
        """Return what is known of a thing, for whoever decides where it belongs."""
        descriptor, about = thing.descriptor, thing.about
        takes = [f"{each.capability.value}.{each.attribute}" for each in thing.points]
        facts: dict[str, object] = {
            "friendly_name": thing.key if descriptor is not None else None,
            "descriptor": None if descriptor is None else descriptor.id,
            "confidence": SURE,
            "kind": next(
                (word for what, word in _KINDS if any(each.capability is what for each in thing.points)), None
            ),
            "name": about.name,
            "vendor": about.vendor,
            "model": about.model,
            "firmware": about.firmware,
            "area": about.area,
            "origin": ", ".join(thing.origins) or None,
            "topic": thing.topics[0],
            "mac": thing.macs[0] if thing.macs else None,
            "takes": ", ".join(takes) or None,
        }
        facts = {name: value for name, value in facts.items() if value is not None}
        unsupported = [f"{name}: {why}" for name, why in thing.refused]
        return {**facts, **_in_facts(unsupported)}

    # --- what is said ---------------------------------------------------------------------------------------

    def _said(self, device: _Device, points: Sequence[AnnouncedPoint], message: Message) -> None:
        now_ms = self._clock.now_ms()
        if not message.retain:
            self._heard_itself(device, message, now_ms=now_ms)
        readings = readings_of_message(points, device.device, message.payload)
        if any(each.reason == Reason.NOT_JSON for each in readings):
            problem = f"{Reason.NOT_JSON}: {shown(message.payload)}"
            self._complaints.refused("undecodable_messages", message.topic, problem)
        for each in readings:
            told = each
            if each.quality is Quality.GOOD and self._old(device, each, message):
                told = structs.replace(each, quality=Quality.UNCERTAIN, reason=Reason.RETAINED.value)
            self._reporter.take(told, now_ms=now_ms, place=message.topic)
            if not message.retain:
                for point, queue in device.waiting:
                    if (point.capability, point.attribute) == (each.capability, each.attribute):
                        queue.put_nowait(each)
        if not message.retain and readings:
            self._online(device)

    def _old(self, device: _Device, said: Reading, message: Message) -> bool:
        """Say whether what the broker kept may be older than its point may be silent."""
        point = device.descriptor.point(said.capability, said.attribute)
        silence_ms = round(1000 * device.silence_s) if point is None else device.stale_ms(point)
        return self._of_unknown_age(device, message, silence_ms=silence_ms)

    def _said_of_itself(self, device: _Device, entity: str, message: Message) -> None:
        presence = device.presence.get(entity)
        if presence is None:
            return
        before = presence.verdict
        now = presence.take(message.topic, message.payload)
        if now is before:
            return
        verdicts = [each.verdict for each in device.presence.values() if each.availability.sources]
        if now is True:
            self._online(device)
        elif now is False and all(each is False for each in verdicts):
            self._offline(device, "availability")
        elif now is False:
            for point in device.descriptor.points:
                if isinstance(point, AnnouncedPoint) and point.entity == entity:
                    self._tell_stale(device, point, UNAVAILABLE)

    def _tell_stale(self, device: _Device, point: Point, reason: str) -> None:
        """Tell that what a point said is old, if it ever said anything."""
        last = self._reporter.last(device.device, point.capability, point.attribute)
        if last is not None:
            stale = structs.replace(last, quality=Quality.STALE, reason=reason)
            self._reporter.take(stale, now_ms=self._clock.now_ms())

    # --- writes ---------------------------------------------------------------------------------------------

    async def _perform(self, job: Job) -> Outcome:
        device, point = self._of_device[job.command.device], job.point
        if (refused := await self._ready(job, device)) is not None:
            return refused
        connection = self._connection
        if connection is None or not isinstance(point, AnnouncedPoint) or point.write is None:
            return Outcome(Phase.FAILED, None, f"broker of {self._name} cannot be reached")
        beside = self._beside(device, point)
        try:
            payload = payload_of(point, job.value, beside=beside)
        except LocalProtocolError as error:
            return Outcome(Phase.FAILED, None, str(error))

        def holds(said: Reading) -> bool:
            return settled(point, job.value, said.value, beside=beside)

        # Unbounded is bounded here: at most one entry a message, and the wait below ends in seconds.
        news: asyncio.Queue[Reading] = asyncio.Queue()
        entry = (point, news)
        device.waiting.append(entry)
        try:
            self._desk.sending(job)
            self._counts["writes"] += 1
            try:
                await connection.publish(point.write.topic or "", payload)
            except LinkLostError:
                return Outcome(Phase.FAILED, None, "the connection was lost before it was sent")
            except ReplyTimeoutError:
                pass  # it may have reached the device: what it says next decides
            if point.colour and not isinstance(job.value, bool | str):
                device.chosen.choose(point.attribute, float(job.value), now_ms=self._clock.now_ms())
            if point.topic is None:
                return Outcome(Phase.UNKNOWN, None, "it was sent, and the device announces no topic that would tell")
            found = await last_said(news, holds, wait_ms=device.answer_wait_ms)
        finally:
            device.waiting.remove(entry)
        return outcome_of(found, holds)

    def _beside(self, device: _Device, point: AnnouncedPoint) -> float | None:
        """Return the other half of a point's colour, None if nobody knows it."""
        if not point.colour:
            return None
        wanted = colours.other_half(colours.plain(point))
        for each in device.descriptor.points:
            if not isinstance(each, AnnouncedPoint) or (each.entity, each.colour) != (point.entity, point.colour):
                continue
            if colours.plain(each) != wanted:
                continue
            last = self._reporter.last(device.device, each.capability, each.attribute)
            return device.chosen.beside(each.attribute, last, now_ms=self._clock.now_ms())
        return None

    async def _ready(self, job: Job, device: _Device) -> Outcome | None:
        """Wait for the broker as long as that makes sense; return why nothing can be sent."""
        if (refused := await self._out_of_reach(job)) is not None:
            return refused
        if device.online is False:
            return Outcome(Phase.FAILED, None, f"{device.key} is off line")
        now = device.descriptor.point(job.command.capability, job.command.attribute)
        if now != job.point or not isinstance(now, AnnouncedPoint):
            return Outcome(Phase.FAILED, None, "it announces itself otherwise now, and takes that in another way")
        if now.slot in device.withdrawn:
            return Outcome(Phase.FAILED, None, "it does not announce that any more")
        presence = device.presence.get(now.entity)
        if presence is not None and presence.verdict is False:
            return Outcome(Phase.FAILED, None, f"{now.entity} of it is not available")
        return None


def _in_facts(unsupported: Sequence[str]) -> dict[str, str]:
    """Return texts in as few facts as hold them, each as long as evidence may be; what fits in none is counted."""
    facts: list[str] = []
    for number, each in enumerate(unsupported):
        text = each if len(each.encode("utf-8", "replace")) < EVIDENCE_BYTES_MAX - 30 else f"{each[:100]}…"
        if facts and len(f"{facts[-1]}; {text}".encode("utf-8", "replace")) < EVIDENCE_BYTES_MAX - 20:
            facts[-1] = f"{facts[-1]}; {text}"
        elif len(facts) < UNSUPPORTED_FACTS:
            facts.append(text)
        else:
            facts[-1] = f"{facts[-1]}; {len(unsupported) - number} more"
            break
    names = ["unsupported", *(f"unsupported_{number}" for number in range(2, UNSUPPORTED_FACTS + 1))]
    return dict(zip(names, facts, strict=False))
