"""Drives one Zigbee2MQTT instance on the site broker: hears what it publishes, asks it to set, waits for the answer.

Knows no device: what a key means is the descriptor's. Messages may come twice, late or torn: `last_seen` puts them in
order, and what is torn gives bad readings of that one device and nothing else.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from edge.bridges.evidence import EVIDENCE_BYTES_MAX, unknown_id
from edge.bridges.firmware import Running
from edge.bridges.mqtt.broker_bus import BrokerBus, Member
from edge.bridges.mqtt.bus_memory import BusMemory
from edge.bridges.mqtt.chosen_colours import ChosenColours
from edge.bridges.mqtt.state_news import StateNews
from edge.bridges.ports import UNKNOWN_UNTOLD, DeviceEvent, ReadingSink
from edge.bridges.write_desk import Job
from kit.clock import Clock
from kit.dice import Dice
from kit.net import Connection, Message, Transport
from protocols.descriptors.codec import (
    PayloadWrite,
    Reason,
    bad,
    encode,
    json_object,
    reading,
    readings_of_document,
    same,
)
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.descriptors.wires import Zigbee2MqttWire
from protocols.device_model.capability import Capability
from protocols.device_model.command import Outcome, Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading
from protocols.device_model.site_plan import Address, MqttBus
from protocols.documents import shown
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError
from protocols.home_assistant import colours
from protocols.mqtt import zigbee2mqtt
from protocols.mqtt.zigbee2mqtt import About, BridgeTopic, DeviceList

REORDER_MS: Final = 600_000
"""A message at most so much older than the newest is a late one; older still, and a clock has been set."""
AHEAD_MS: Final = 300_000
"""A `last_seen` further ahead of our clock orders nothing."""
UNKNOWN_MAX: Final = 1_000
UNHEARD_MS: Final = 5_000
"""So long after a connection is made, who can be read and has said nothing over it is asked."""
CACHED_MS: Final = 15_000
"""So long after it has begun, a bridge says again what it kept of its devices before: that is no word of theirs."""
ASK_EVERY_MS: Final = 1_000
"""A mesh has little room: the unheard are asked one after the other."""


@dataclass(slots=True, kw_only=True)
class _Radio(Member):
    name: str
    ieee: str | None
    stranger: bool = False
    listed: str | None = None
    """The address that the bridge last gave for its name."""
    newest_ms: int = 0
    spoke_ms: int | None = None
    """When it last said its state itself, monotonic; or the broker kept what it was heard to say, and nothing else."""
    payload: bytes = b""
    cached: bool = False
    """Whether its bridge has begun and may yet say what it kept of it before."""
    chosen: ChosenColours = field(default_factory=ChosenColours)
    waiting: list[tuple[Point, "asyncio.Queue[Reading | None]"]] = field(default_factory=list)
    """Who waits for news of a point; None on the queue: the bridge says that it failed."""

    @property
    def wire(self) -> Zigbee2MqttWire:
        wire = self.descriptor.wire
        if not isinstance(wire, Zigbee2MqttWire):
            raise TypeError(f"{self.descriptor.id} is no Zigbee2MQTT model")
        return wire


class Zigbee2MqttSupervisor(BrokerBus):
    """`edge.bridges.ports.BusSupervisor` for a Zigbee2MQTT base topic.

    Args:
        bus: the base topic.
        devices: device, address and descriptor of everything on it.
        transport: the way to the site broker.
        clock: both clocks.
        dice: for pauses.
        sink: where readings and events go.
        memory: what the bus has heard and told before.
    """

    def __init__(
        self,
        bus: MqttBus,
        devices: Sequence[tuple[DeviceId, Address, Descriptor]],
        *,
        transport: Transport,
        clock: Clock,
        dice: Dice,
        sink: ReadingSink,
        memory: BusMemory | None = None,
    ) -> None:
        self._bus = bus
        self._radios: dict[str, _Radio] = {}
        for device, address, descriptor in devices:
            if not isinstance(descriptor.wire, Zigbee2MqttWire):
                raise TypeError(f"{descriptor.id} is no Zigbee2MQTT model")
            name = address.friendly_name or device
            silence_s = descriptor.wire.silence_s
            place = f"{name} {address.ieee or ''}"
            self._radios[name] = _Radio(
                device, Running(descriptor), silence_s, place=place, name=name, ieee=address.ieee
            )
        self._of_device = {each.device: each for each in self._radios.values()}
        self._news: dict[DeviceId, StateNews] = {}
        self._of_topic: dict[str, _Radio] = {}
        for name, each in self._radios.items():
            topic = f"{bus.base_topic}/{name}"
            if zigbee2mqtt.read_topic(bus.base_topic, topic) == BridgeTopic(About.STATE, name):
                self._of_topic[topic] = each
        radios = self._radios.values()
        super().__init__(bus.id, radios, transport=transport, clock=clock, dice=dice, sink=sink, memory=memory)
        self._bridge_online: bool | None = None
        self._bridge_began_ms: int | None = None
        """When it began, monotonic, if somebody listened."""

    # --- the connection ------------------------------------------------------------------------------------

    def _filters(self) -> list[str]:
        return [f"{self._bus.base_topic}/#"]

    def _named(self) -> list[str]:
        return [unknown_id(self._bus.id, name, None) for name in self._radios]

    def _loops(self) -> dict[str, Coroutine[object, object, None]]:
        return {"unheard": self._ask_the_unheard()}

    async def _after_silence(self, connection: Connection, member: Member) -> None:
        """Have a mains-powered device read: a lamp that nobody switches says nothing for days, and is well."""
        if await self._have_read(connection, self._of_device[member.device]):
            self._counts["asked_after_silence"] += 1

    async def _ask_the_unheard(self) -> None:
        """Have read what was switched while nobody listened: before this start, with the line or the bridge down."""
        told: tuple[Connection, int | None] | None = None
        while True:
            await self._connected.wait()
            connection = self._connection
            if connection is None or (connection, self._bridge_began_ms) == told:
                await asyncio.sleep(UNHEARD_MS / 1000)
                continue
            told, since_ms = (connection, self._bridge_began_ms), self._clock.now_ms()
            await asyncio.sleep(UNHEARD_MS / 1000)
            for radio in self._radios.values():
                if self._connection is not connection:
                    break
                if (
                    radio.online is False
                    or radio.stranger
                    or (radio.spoke_ms is not None and radio.spoke_ms >= since_ms)
                ):
                    continue
                with suppress(LinkLostError, ReplyTimeoutError):
                    if await self._have_read(connection, radio):
                        self._counts["asked_unheard"] += 1
                        await asyncio.sleep(ASK_EVERY_MS / 1000)

    async def _have_read(self, connection: Connection, radio: _Radio) -> bool:
        """Ask for everything of it that can be asked for; whether there is any."""
        points = radio.descriptor.points
        keys = [point.path.partition(".")[0] for point in points if point.readable and point.path is not None]
        if keys:
            topic = zigbee2mqtt.get_topic(self._bus.base_topic, radio.name)
            await connection.publish(topic, zigbee2mqtt.get_payload(*keys))
        return bool(keys)

    # --- what is heard --------------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        if (radio := self._of_topic.get(message.topic)) is not None:
            self._state(radio, message)
            return
        topic = zigbee2mqtt.read_topic(self._bus.base_topic, message.topic)
        if topic is None:
            self._counts["foreign_topics"] += 1
            return
        try:
            match topic.about:
                case About.STATE:
                    self._stranger(topic.friendly_name, message)
                case About.AVAILABILITY:
                    self._availability(topic.friendly_name, online=zigbee2mqtt.parse_state(message.payload))
                case About.BRIDGE_STATE:
                    self._bridge_state(online=zigbee2mqtt.parse_state(message.payload), live=not message.retain)
                case About.BRIDGE_DEVICES:
                    self._listed(zigbee2mqtt.parse_devices(message.payload), message.topic)
                case About.BRIDGE_LOGGING:
                    self._failed(zigbee2mqtt.logged_failure(message.payload))
                case About.BRIDGE_EVENT | About.BRIDGE_OTHER | About.ASKED:
                    pass  # who joins is in bridge/devices too, with all that is known of it
        except PeerProtocolError as error:
            self._complaints.refused("malformed_messages", message.topic, error)

    def _stranger(self, name: str, message: Message) -> None:
        payload = message.payload[:EVIDENCE_BYTES_MAX].decode(errors="replace")
        self._strange(name, None, {"friendly_name": name, "payload": payload})

    def _state(self, radio: _Radio, message: Message) -> None:
        now_ms, wall_ms = self._clock.now_ms(), self._clock.wall_ms()
        document = json_object(message.payload)
        at_ms: int | None = None
        if isinstance(document, Reason):
            self._complaints.refused("undecodable_messages", message.topic, f"{document}: {shown(message.payload)}")
        else:
            at_ms = zigbee2mqtt.last_seen_ms(document)
        if at_ms is not None and at_ms > wall_ms + AHEAD_MS:
            self._complaints.refused(
                "times_ahead", message.topic, f"last_seen {at_ms} is ahead of our clock, {wall_ms}"
            )
            at_ms = None
        if not message.retain:
            if radio.cached and at_ms is None and self._repeats(self._readings(radio, document, at_ms)):
                self._counts["repeated_by_the_bridge"] += 1
                message = msgspec.structs.replace(message, retain=True)
            radio.cached = False
        old = False
        if message.retain:
            old = self._of_unknown_age(radio, message, silence_ms=round(1000 * radio.silence_s))
        else:
            self._heard_itself(radio, message, now_ms=now_ms)
        if not old:
            radio.spoke_ms = now_ms
        if at_ms is not None and not self._in_order(radio, at_ms, message.payload):
            return
        if radio.stranger:
            return  # the bad readings of it are told already
        age_ms = 0 if at_ms is None else max(0, wall_ms - at_ms)
        if not (old or radio.waiting or isinstance(document, Reason)):
            news = self._news.get(radio.device) or self._news_of(radio)
            news.take(radio.descriptor, document, at_ms, now_ms=now_ms, age_ms=age_ms, topic=message.topic)
        else:
            self._all_of(radio, message, document, at_ms, now_ms=now_ms, age_ms=age_ms, old=old)
        if not message.retain and radio.online is not False and (radio.online is None or self._remembered):
            self._online(radio)

    def _all_of(
        self,
        radio: _Radio,
        message: Message,
        document: dict[str, Any] | Reason,
        at_ms: int | None,
        *,
        now_ms: int,
        age_ms: int,
        old: bool,
    ) -> None:
        """Take all that a message says, where it is old, torn, or somebody waits for what it says."""
        if (news := self._news.get(radio.device)) is not None:
            news.forget()
        for each in self._readings(radio, document, at_ms):
            told = each
            if old and at_ms is None and each.quality is Quality.GOOD:
                told = msgspec.structs.replace(each, quality=Quality.UNCERTAIN, reason=Reason.RETAINED.value)
            self._reporter.take(told, now_ms=now_ms, age_ms=age_ms, place=message.topic)
            if not message.retain:
                self._tell_waiting(radio, each)

    def _news_of(self, radio: _Radio) -> StateNews:
        return self._news.setdefault(radio.device, StateNews(radio.device, self._reporter))

    @staticmethod
    def _readings(radio: _Radio, document: dict[str, Any] | Reason, at_ms: int | None) -> list[Reading]:
        return readings_of_document(radio.descriptor.points, radio.device, document, at_ms)

    def _repeats(self, readings: Sequence[Reading]) -> bool:
        """Say whether a bridge that has just begun says only what is known: then nobody knows how old it is.

        It does so once for each device. What is otherwise than what was last heard is news: bridge and edge heard the
        same until it went.
        """
        began_ms = self._bridge_began_ms
        if began_ms is None or self._clock.now_ms() - began_ms >= CACHED_MS:
            return False
        for each in readings:
            last = self._reporter.last(each.device, each.capability, each.attribute)
            if last is not None and each.value is not None and each.value != last.value:
                return False
        return True

    def _in_order(self, radio: _Radio, at_ms: int, payload: bytes) -> bool:
        if at_ms == radio.newest_ms and payload == radio.payload:
            self._counts["duplicates"] += 1
            return False
        if 0 < radio.newest_ms - at_ms <= REORDER_MS:
            self._counts["out_of_order"] += 1
            return False
        radio.newest_ms, radio.payload = at_ms, payload
        return True

    def _availability(self, name: str, *, online: bool) -> None:
        radio = self._radios.get(name)
        if radio is None:
            self._strange(name, None, {"friendly_name": name})
        elif online:
            self._online(radio)
        else:
            self._offline(radio, "availability")

    def _bridge_state(self, *, online: bool, live: bool) -> None:
        if online and live and self._bridge_online is not True:
            self._bridge_began_ms = self._clock.now_ms()
            for radio in self._radios.values():
                radio.cached = True
        self._bridge_online = online
        for radio in self._radios.values():
            if online and radio.online is False:
                radio.online = None  # its next word says
            elif not online:
                self._offline(radio, "bridge")

    def _listed(self, found: DeviceList, topic: str) -> None:
        if found.malformed:
            self._complaints.refused("malformed_entries", topic, found.problem, times=found.malformed)
        for each in found.devices:
            radio = self._radios.get(each.friendly_name)
            facts: dict[str, str | None] = {
                "friendly_name": each.friendly_name,
                "ieee": each.ieee,
                "model": each.model,
                "vendor": each.vendor,
                "model_id": each.model_id,
            }
            if radio is None:
                self._strange(each.friendly_name, each.ieee, facts)
                continue
            fits = each.model == radio.wire.model and radio.ieee in (None, each.ieee)
            if fits:
                radio.stranger = False
                self._memory.mistake(radio.device, None)
                if self._listed_firmware(radio, each.ieee, each.software_build):
                    radio.payload = b""  # what it said last, said again, is news under this firmware
            elif not radio.stranger:
                radio.stranger = True
                radio.running.forget()
                told = {**facts, "expected": radio.wire.model, "expected_ieee": radio.ieee}
                if self._memory.mistake(radio.device, f"{each.model!s:.80} {each.ieee!s:.80}"):
                    self._event(radio.device, DeviceEvent.UNKNOWN_DEVICE, told)
                for point in radio.descriptor.points:
                    verdict = bad(Reason.NOT_THIS_MODEL, each.model or "unsupported")
                    self._reporter.take(reading(point, radio.device, verdict), now_ms=self._clock.now_ms())
        if found.malformed:
            return  # any of the torn entries may have been any of ours: absence from this list proves nothing
        names = {each.friendly_name for each in found.devices}
        for radio in self._radios.values():
            if radio.name not in names and radio.online is not False:
                self._offline(radio, "not joined")

    def _listed_firmware(self, radio: _Radio, ieee: str | None, text: str | None) -> bool:
        """Take what the list says of a radio's firmware; True if it runs another than was known, or nobody knows which.

        No word on it says nothing new of the radio that was there before, and everything of another one.
        """
        another = radio.listed not in (None, ieee)
        radio.listed = ieee
        if self._said_firmware(radio.device, radio.running, text, radio.stale_ms):
            return True
        return (another or text is not None) and self._told_none(radio.device, radio.running, text)

    def _failed(self, name: str | None) -> None:
        radio = None if name is None else self._radios.get(name)
        if radio is not None:
            self._counts["bridge_failures"] += 1
            for _, queue in radio.waiting:
                queue.put_nowait(None)

    def _strange(self, name: str, ieee: str | None, facts: Mapping[str, str | None]) -> None:
        """Tell once of what the plan does not name; again when its address becomes known."""
        nameless = unknown_id(self._bus.id, name, None)  # of a name however long, only the id is kept
        before = self._memory.told(nameless)
        if before is not None and (ieee is None or before == ieee):
            return
        if before is None and self._memory.found >= UNKNOWN_MAX:
            self._complaints.refused(UNKNOWN_UNTOLD, self._bus.base_topic, f"{name!r:.80} is one too many")
            return
        self._memory.tell(nameless, (ieee or "")[:EVIDENCE_BYTES_MAX])
        self._event(unknown_id(self._bus.id, name, ieee), DeviceEvent.UNKNOWN_DEVICE, facts)

    def _offline(self, member: Member, cause: str) -> None:
        if member.online is not False:
            self._of_device[member.device].payload = b""  # what it says next is news, even if it is the same
        super()._offline(member, cause)

    def _tell_waiting(self, radio: _Radio, heard: Reading) -> None:
        for point, queue in radio.waiting:
            if (point.capability, point.attribute) == (heard.capability, heard.attribute):
                queue.put_nowait(heard)

    # --- writes ---------------------------------------------------------------------------------------------

    async def _perform(self, job: Job) -> Outcome:
        radio = self._of_device[job.command.device]
        refused = await self._ready(job, radio)
        if refused is not None:
            return refused
        connection = self._connection
        write = encode(job.point, job.value)
        if connection is None or not isinstance(write, PayloadWrite):
            return Outcome(Phase.FAILED, None, f"broker of {self._bus.id} cannot be reached")
        payload = self._whole(radio, job.point, write.payload)
        if payload is None:
            return Outcome(Phase.FAILED, None, f"{job.point.attribute} goes with a half that the model does not have")
        # Unbounded is bounded here: at most one entry a message, and the wait below ends in seconds.
        news: asyncio.Queue[Reading | None] = asyncio.Queue()
        entry = (job.point, news)
        radio.waiting.append(entry)
        try:
            self._desk.sending(job)
            self._counts["writes"] += 1
            topic = zigbee2mqtt.set_topic(self._bus.base_topic, radio.name)
            try:
                await connection.publish(topic, msgspec.json.encode(payload))
            except LinkLostError:
                return Outcome(Phase.FAILED, None, "the connection was lost before it was sent")
            except ReplyTimeoutError:
                pass  # it may have reached the bridge: what the device says next decides
            if _is_half(job.point) and not isinstance(job.value, bool | str):
                radio.chosen.choose(job.point.attribute, float(job.value), now_ms=self._clock.now_ms())
            found, failed = await self._await_news(job, radio, news)
            if found is not None and _holds(job, found):
                return Outcome(Phase.DONE, found.value, None)
            if not job.point.readable:
                said = None if found is None else found.value
                reason = "no word from the device" if said is None else f"the device says {said!r}"
                return Outcome(Phase.UNKNOWN, said, "the bridge says that it failed" if failed else reason)
            return await self._ask_device(job, radio, news, failed=failed)
        finally:
            radio.waiting.remove(entry)

    async def _ready(self, job: Job, radio: _Radio) -> Outcome | None:
        """Wait for the broker as long as that makes sense; return why nothing can be sent."""
        if (refused := await self._out_of_reach(job)) is not None:
            return refused
        if self._bridge_online is False:
            return Outcome(Phase.FAILED, None, "Zigbee2MQTT is off line")
        if radio.stranger:
            return Outcome(Phase.FAILED, None, f"another model answers to {radio.name}")
        if radio.descriptor.point(job.command.capability, job.command.attribute) != job.point:
            return Outcome(Phase.FAILED, None, "it runs another firmware now, which takes that in another way")
        return None

    def _whole(self, radio: _Radio, point: Point, payload: dict[str, Any]) -> dict[str, Any] | None:
        """Return a message with both halves of a colour: x and y are taken together. None: the model has no other."""
        if not _is_half(point):
            return payload
        plain = colours.plain(point)
        wanted = colours.other_half(plain)
        other = radio.descriptor.point(point.capability, point.attribute.replace(plain, wanted, 1))
        if other is None:
            return None
        last = self._reporter.last(radio.device, other.capability, other.attribute)
        beside = radio.chosen.beside(other.attribute, last, now_ms=self._clock.now_ms())
        half = encode(other, colours.unknown(wanted) if beside is None else beside)
        return _joined(payload, half.payload) if isinstance(half, PayloadWrite) else None

    async def _await_news(
        self, job: Job, radio: _Radio, news: "asyncio.Queue[Reading | None]"
    ) -> tuple[Reading | None, bool]:
        """Wait until the device says what was asked of it; the last thing it said, and whether the bridge gave up."""
        last: Reading | None = None
        try:
            async with asyncio.timeout(radio.wire.answer_wait_ms / 1000):
                while True:
                    heard = await news.get()
                    if heard is None:
                        return last, True
                    last = heard  # an older state may still have been on its way: wait on
                    if _holds(job, heard):
                        return heard, False
        except TimeoutError:
            return last, False

    async def _ask_device(
        self, job: Job, radio: _Radio, news: "asyncio.Queue[Reading | None]", *, failed: bool
    ) -> Outcome:
        """Let the bridge read the attribute from the device: only that settles what became of the command."""
        connection = self._connection
        found: Reading | None = None
        if connection is not None:
            while not news.empty():
                news.get_nowait()
            topic = zigbee2mqtt.get_topic(self._bus.base_topic, radio.name)
            try:
                await connection.publish(topic, zigbee2mqtt.get_payload((job.point.path or "").partition(".")[0]))
                found, _ = await self._await_news(job, radio, news)
            except (LinkLostError, ReplyTimeoutError):
                found = None
        if found is not None and _holds(job, found):
            return Outcome(Phase.DONE, found.value, None)
        if found is None or found.value is None:
            return Outcome(Phase.UNKNOWN, None, "the device does not answer")
        if failed:
            return Outcome(Phase.FAILED, found.value, f"the command did not reach the device; it says {found.value!r}")
        return Outcome(Phase.UNKNOWN, found.value, f"the device says {found.value!r}")


def _is_half(point: Point) -> bool:
    return point.capability is Capability.COLOR_CONTROL and colours.plain(point) in (colours.X, colours.Y)


def _holds(job: Job, heard: Reading) -> bool:
    """Say whether a device is as it was asked to be; a colour, as nearly as lamps hold it."""
    if not _is_half(job.point):
        return same(job.point, job.value, heard.value)
    if heard.value is None or isinstance(job.value, bool | str) or isinstance(heard.value, bool | str):
        return False
    return colours.near(colours.plain(job.point), job.value, heard.value, 0)


def _joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return both payloads in one."""
    joined = dict(one)
    for key, value in other.items():
        mine = joined.get(key)
        joined[key] = _joined(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return joined
