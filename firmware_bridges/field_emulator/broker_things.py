"""Devices that speak on the broker by themselves, and a gateway that hears sensors advertise.

They publish when something changed, when they are asked, and now and then; a command that fits no point of the
descriptor is ignored, as the real ones do. Misbehaviour as Zigbee2MQTT's: twice, out of order, torn, lost.
"""

import asyncio
import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from firmware_bridges.field_emulator import advert_writer
from firmware_bridges.field_emulator.misbehaviour import Misbehaviour
from firmware_bridges.field_emulator.physics import EmulatedDevice
from kit.cancellation import heed_cancellation
from kit.clock import Clock
from kit.net import Connection, Message, Transport
from kit.task_groups import TaskGroup
from protocols.descriptors import gateway
from protocols.descriptors.codec import Judged, allow, judge, judge_bare, raw_of_value
from protocols.descriptors.descriptor import NAME, Point
from protocols.descriptors.firmware import every
from protocols.descriptors.wires import BleAdvertWire, MqttWire
from protocols.device_model.capability import Value
from protocols.errors import InvalidInputError, LinkLostError, LocalProtocolError, ReplyTimeoutError

RECONNECT_S: Final = 0.5
TALK_S: Final = 10.0
"""How often a thing speaks without a reason; the real ones do every 10 s to 5 min."""
ADVERT_S: Final = 1.0
OUTBOX_MAX: Final = 1_000
GATEWAY: Final = "c4:7d:cc:00:11:22"
RSSI_DBM: Final = (-90, -40)
FIRST_NUMBER: Final = 1_000
ROLLED_BACK: Final = 500
LAST_ADVERTS: Final = 20
LIE: Final = 80.0
"""What a stranger says for a temperature: no room of an emulation is so hot."""


class Talker:
    """A client of the broker that speaks and listens until cancelled."""

    def __init__(self, transport: Transport, misbehaviour: Misbehaviour, clock: Clock) -> None:
        self._transport, self._luck, self._clock = transport, misbehaviour, clock
        self.counts: Counter[str] = Counter()
        self.online = asyncio.Event()
        self._outbox: asyncio.Queue[tuple[str, bytes, bool]] = asyncio.Queue(OUTBOX_MAX)
        self._held: deque[tuple[str, bytes, bool]] = deque()

    async def run(self) -> None:
        """Speak until cancelled; a broker that is away is waited for."""
        while True:
            try:
                async with self._transport.connect(subscribe=self._filters()) as connection:
                    while not self._outbox.empty():
                        self._outbox.get_nowait()  # what was said while nobody could hear is gone
                    self._begin()
                    self.online.set()
                    async with TaskGroup() as tasks:
                        tasks.create_task(self._write(connection))
                        tasks.create_task(self._read(connection))
                        tasks.create_task(self._talk())
            except* (LinkLostError, ReplyTimeoutError):
                self.counts["links_lost"] += 1
            self.online.clear()
            heed_cancellation()
            await asyncio.sleep(RECONNECT_S)

    def told(self, thing: EmulatedDevice) -> None:
        """A thing tells its state by itself."""
        raise NotImplementedError

    def _filters(self) -> list[str]:
        return []

    def _begin(self) -> None:
        pass

    def _take(self, message: Message) -> None:
        pass

    async def _talk(self) -> None:
        raise NotImplementedError

    async def _write(self, connection: Connection) -> None:
        while True:
            topic, payload, retain = await self._outbox.get()
            await connection.publish(topic, payload, retain=retain)
            self.counts["published"] += 1

    async def _read(self, connection: Connection) -> None:
        async for message in connection.messages():
            self.counts["received"] += 1
            self._take(message)
        raise LinkLostError("closed")

    def _say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        knobs = self._luck.knobs
        message = (topic, payload, retain)
        if self._luck.happens(knobs.garbage):
            self._queue((topic, payload[: max(1, len(payload) // 3)], retain))
        if self._luck.happens(knobs.reorder):
            self._held.append(message)
            return
        self._queue(message)
        if self._luck.happens(knobs.duplicate):
            self._queue(message)
        while self._held:
            self._queue(self._held.popleft())

    def _queue(self, message: tuple[str, bytes, bool]) -> None:
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            self.counts["overflowed"] += 1


class BrokerThings(Talker):
    """Tasmota, Shelly, ESPHome and their like: every one with topics of its own.

    Args:
        things: what there is, and its name in its topics.
        transport: the way to the broker.
        misbehaviour: shared with the other buses.
        clock: for the times of effects.

    Raises:
        InvalidInputError: a descriptor is of another wire.
    """

    def __init__(
        self,
        things: Iterable[tuple[EmulatedDevice, str]],
        transport: Transport,
        misbehaviour: Misbehaviour,
        clock: Clock,
    ) -> None:
        super().__init__(transport, misbehaviour, clock)
        self._things: list[tuple[EmulatedDevice, str, MqttWire]] = []
        self._commands: dict[str, tuple[EmulatedDevice, list[Point]]] = {}
        self._asks: dict[str, EmulatedDevice] = {}
        self._versions: dict[str, list[tuple[EmulatedDevice, str, bytes]]] = {}
        """By the topic that asks: whose version is asked for, its name, and with which payload."""
        for thing, name in things:
            wire = thing.descriptor.wire
            if not isinstance(wire, MqttWire):
                raise InvalidInputError(thing.device, f"{thing.descriptor.id} does not speak on the broker by itself")
            self._things.append((thing, name, wire))
            for _, each in every(thing.model):
                for point in each.points:
                    if point.write is not None and point.write.topic is not None:
                        topic = point.write.topic.replace(NAME, name)
                        self._commands.setdefault(topic, (thing, []))[1].append(point)
                for ask in each.wire.ask if isinstance(each.wire, MqttWire) else ():
                    self._asks[ask.topic.replace(NAME, name)] = thing
            if (firmware := thing.model.firmware) is not None and firmware.ask is not None:
                self._versions.setdefault(firmware.ask.topic.replace(NAME, name), []).append(
                    (thing, name, firmware.ask.payload.replace(NAME, name).encode())
                )

    def told(self, thing: EmulatedDevice) -> None:
        """See `Talker.told`."""
        for each, name, _ in self._things:
            if each is thing and thing.powered:
                if (firmware := thing.model.firmware) is not None and firmware.ask is None:
                    self._say_version(thing, name)
                for topic, payload in messages_of(thing, name):
                    self._say(topic, payload)

    def _say_version(self, thing: EmulatedDevice, name: str) -> None:
        firmware = thing.model.firmware
        if firmware is None or firmware.topic is None:
            return
        document: Any = thing.firmware
        for step in reversed(firmware.path.split(".") if firmware.path is not None else ()):
            document = {step: document}
        payload = document.encode() if isinstance(document, str) else msgspec.json.encode(document)
        self._say(firmware.topic.replace(NAME, name), payload)

    def power(self, thing: EmulatedDevice, *, on: bool) -> None:
        """Take a thing off the network, or bring it back: its last will says so."""
        thing.powered = on
        for each, name, wire in self._things:
            if each is thing and wire.availability is not None:
                word = wire.availability.online if on else wire.availability.offline
                self._queue((wire.availability.topic.replace(NAME, name), word.encode(), True))
        self.told(thing)

    def _filters(self) -> list[str]:
        return sorted({*self._commands, *self._asks, *self._versions})

    def _begin(self) -> None:
        for thing, _, _ in self._things:
            self.power(thing, on=thing.powered)

    async def _talk(self) -> None:
        while True:
            await asyncio.sleep(TALK_S)
            for thing, _, _ in self._things:
                self.told(thing)

    def _take(self, message: Message) -> None:
        if self._luck.happens(self._luck.knobs.radio_loss):
            return
        for asked_of, name, payload in self._versions.get(message.topic, ()):
            if message.payload == payload and asked_of.powered:
                self._say_version(asked_of, name)
                return
        if (asked := self._asks.get(message.topic)) is not None:
            self.told(asked)
        thing, points = self._commands.get(message.topic, (None, []))
        if thing is None or not thing.powered:
            return
        for point in points:
            if point not in thing.descriptor.points:
                continue  # another firmware's
            value = _wanted(point, message.payload)
            if value is not None:
                thing.written(point, value, at_ms=self._clock.wall_ms())
                self.counts["writes"] += 1
                self.told(thing)
                return
        self.counts["commands_ignored"] += 1


class AdvertGateway(Talker):
    """A gateway under `base`, and the sensors that it hears.

    Args:
        base: where it publishes.
        sensors: what there is, and its address.
        transport: the way to the broker.
        misbehaviour: shared with the other buses.
        clock: for the adverts' times.
        keys: of sensors that seal what they advertise, by address.

    Raises:
        InvalidInputError: a descriptor is of another wire.
    """

    def __init__(
        self,
        base: str,
        sensors: Iterable[tuple[EmulatedDevice, str]],
        transport: Transport,
        misbehaviour: Misbehaviour,
        clock: Clock,
        *,
        keys: Mapping[str, bytes] | None = None,
    ) -> None:
        super().__init__(transport, misbehaviour, clock)
        self._base, self._advertised = base, FIRST_NUMBER
        self._keys = dict(keys or {})
        self._last: dict[str, deque[bytes]] = {}
        self._sensors: list[tuple[EmulatedDevice, str, str]] = []
        for thing, mac in sensors:
            wire = thing.descriptor.wire
            if not isinstance(wire, BleAdvertWire):
                raise InvalidInputError(thing.device, f"{thing.descriptor.id} does not advertise")
            self._sensors.append((thing, mac, wire.encoding))

    def told(self, thing: EmulatedDevice) -> None:
        """See `Talker.told`."""
        for each, mac, encoding in self._sensors:
            if each is not thing or not thing.powered:
                continue
            self._advertised += 2
            key, fields = self._keys.get(mac), fields_of(thing)
            for advert in advert_writer.write(encoding, mac, fields, self._advertised, key=key):
                self.hear(mac, advert)
                if key is not None:
                    self._last.setdefault(mac, deque(maxlen=LAST_ADVERTS)).append(advert)
            if key is not None:
                self._others(mac, encoding, fields, key)

    def _others(self, mac: str, encoding: str, fields: Mapping[str, bool | int | float], key: bytes) -> None:
        """Advertise what nobody should believe on a sensor's address."""
        knobs, last, number = self._luck.knobs, self._last[mac], self._advertised
        lies = {**fields, **({"temperature": LIE} if "temperature" in fields else {})}
        if self._luck.happens(knobs.replayed):
            self.hear(mac, last[round(self._luck.between(0, len(last) - 1))])
        if self._luck.happens(knobs.tampered):
            self.hear(mac, last[-1][:-1] + bytes((last[-1][-1] ^ 1,)))
        if self._luck.happens(knobs.foreign_key):
            self._lie(mac, advert_writer.write(encoding, mac, lies, number + 2, key=bytes(len(key))))
        if self._luck.happens(knobs.rolled_back):
            self._lie(mac, advert_writer.write(encoding, mac, lies, number - ROLLED_BACK, key=key))
        if self._luck.happens(knobs.unsealed):
            self._lie(mac, advert_writer.write(encoding, mac, lies, number + 2))

    def _lie(self, mac: str, adverts: Iterable[bytes]) -> None:
        for advert in adverts:
            self.counts["lies"] += 1
            self.hear(mac, advert)

    def hear(self, mac: str, advert: bytes) -> None:
        """Publish an advert as if it had been heard."""
        rssi = round(self._luck.between(*RSSI_DBM))
        at_s = self._clock.wall_ms() // 1000
        payload = gateway.message(advert, gateway=GATEWAY, rssi_dbm=rssi, at_s=at_s)
        self._say(f"{self._base}/{GATEWAY.upper()}/{mac.upper()}", payload)

    async def _talk(self) -> None:
        while True:
            for thing, _, _ in self._sensors:
                self.told(thing)
            await asyncio.sleep(ADVERT_S)


def messages_of(thing: EmulatedDevice, name: str) -> list[tuple[str, bytes]]:
    """Return (topic, payload) of everything that a thing says of itself."""
    documents: dict[str, dict[str, Any]] = {}
    bare: list[tuple[str, bytes]] = []
    for point in thing.descriptor.points:
        topic = (point.topic or "").replace(NAME, name)
        raw = _raw(point, thing.state[(point.capability, point.attribute)])
        if point.path is None:
            bare.append((topic, raw.encode() if isinstance(raw, str) else msgspec.json.encode(raw)))
            continue
        place = documents.setdefault(topic, {})
        *outer, last = point.path.split(".")
        for step in outer:
            place = place.setdefault(step, {})
        place[last] = raw
    return bare + [(topic, msgspec.json.encode(_with_lists(document))) for topic, document in documents.items()]


def _with_lists(document: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a document whose objects with the keys 0, 1, 2... are the lists that a path's numbers stand for."""
    if not isinstance(document, dict):
        return document
    inner = {key: _with_lists(each) for key, each in document.items()}
    if not all(key.isascii() and key.isdecimal() and key == str(int(key)) for key in inner):
        return inner
    return [inner.get(str(place)) for place in range(1 + max(map(int, inner)))]


def fields_of(thing: EmulatedDevice) -> Mapping[str, bool | int | float]:
    """Return what a sensor's advert says, in the units of its encoding."""
    fields: dict[str, bool | int | float] = {}
    for point in thing.descriptor.points:
        raw = _raw(point, thing.state[(point.capability, point.attribute)])
        if point.path is not None and not isinstance(raw, str):
            fields[point.path] = raw
    return fields


def _raw(point: Point, value: Value) -> bool | int | float | str:
    try:
        return raw_of_value(point, value)
    except LocalProtocolError:  # a truth that the map has no code for: the thing shows zero
        return 0


def _wanted(point: Point, payload: bytes) -> Value | None:
    template = point.write.payload if point.write is not None else None
    judged: Judged
    if template is None:
        judged = judge_bare(point, payload)
    else:
        pattern = re.escape(template).replace(re.escape("$json"), "(.+)").replace(re.escape("$text"), "(.+)")
        found = re.fullmatch(pattern, payload.decode(errors="replace"))
        if found is None:
            return None
        if "$json" in template:
            try:
                judged = judge(point, msgspec.json.decode(found[1]))
            except msgspec.DecodeError:
                return None
        else:
            judged = judge_bare(point, found[1].encode())
    if judged.value is None or isinstance(allow(point, judged.value), str):
        return None
    return judged.value
