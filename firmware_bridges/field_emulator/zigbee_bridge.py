"""A Zigbee2MQTT instance with its devices, as clients of the broker see it.

Behaves after Zigbee2MQTT 2.x, "MQTT topics and messages" (zigbee2mqtt.io): what is retained (bridge/*, availability)
and what is not (states), the cached states after a start, `/set` and `/get`, errors on bridge/logging, the last will.
`advanced.last_seen` is ISO_8601, as Innkeeper's installation sets it: without it messages cannot be put in order.
"""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from firmware_bridges.field_emulator.misbehaviour import Misbehaviour
from firmware_bridges.field_emulator.physics import LEVEL, ON_OFF, EmulatedDevice
from kit.cancellation import heed_cancellation
from kit.clock import Clock
from kit.net import Connection, Message, Transport
from kit.task_groups import TaskGroup
from protocols.descriptors.codec import allow, judge, raw_of_value
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.descriptors.firmware import told_apart
from protocols.descriptors.wires import Zigbee2MqttWire
from protocols.device_model.capability import Capability, Value
from protocols.errors import InvalidInputError, LinkLostError, ReplyTimeoutError

RECONNECT_S: Final = 0.5
CHECK_IN_S: Final = 3_000.0  # an Aqara sensor speaks every 50 to 60 minutes
OUTBOX_MAX: Final = 1_000
RADIO_MS: Final = (15.0, 60.0)  # a command over the radio and back
RADIO_TIMEOUT_MS: Final = 900.0
VERSION: Final = "2.6.0"
COORDINATOR: Final = "0x00124b0024c2a1f0"
LINK_QUALITY: Final = (Capability.NETWORK_DIAGNOSTICS, "link_quality")


class EmulatedZigbee:
    """One device on the radio: its name, its address and its cached state."""

    def __init__(self, thing: EmulatedDevice, friendly_name: str, ieee: str, network_address: int) -> None:
        self.thing, self.friendly_name, self.ieee, self.network_address = thing, friendly_name, ieee, network_address
        self.since_check_in_s = 0.0
        self.last_seen = ""

    @property
    def model(self) -> str:
        """Zigbee2MQTT's name for the model."""
        wire = self.thing.descriptor.wire
        return wire.model if isinstance(wire, Zigbee2MqttWire) else ""

    def payload(self) -> dict[str, Any]:
        """Return the whole state as Zigbee2MQTT publishes it: all it has cached, keys in order."""
        document: dict[str, Any] = {}
        for point in self.thing.descriptor.points:
            if point.path is not None:
                value = self.thing.state[(point.capability, point.attribute)]
                raw = raw_of_value(point, value)
                *outer, last = point.path.split(".")
                place = document
                for step in outer:
                    place = place.setdefault(step, {})
                place[last] = round(raw) if isinstance(raw, float) and raw == round(raw) else raw
        if "color_temp" in document:
            document.setdefault("color_mode", "color_temp")
        emulation = self.thing.descriptor.emulation
        document.update((emulation.zigbee.get("extra") or {}) if emulation else {})
        if self.last_seen:
            document["last_seen"] = self.last_seen
        return dict(sorted(document.items()))

    def _software_build(self) -> str:
        thing = self.thing
        told = None if thing.model.emulation is None else thing.model.emulation.zigbee.get("software_build_id")
        return thing.firmware if told_apart(thing.model) else str(told or "")

    def listing(self) -> dict[str, Any]:
        """Return its entry in bridge/devices."""
        about = self.thing.descriptor.emulation.zigbee if self.thing.descriptor.emulation else {}
        return {
            "date_code": about.get("date_code", "20161128"),
            "definition": {
                "description": about.get("description", ""),
                "exposes": [_expose(point) for point in self.thing.descriptor.points],
                "model": self.model,
                "options": [],
                "source": "native",
                "supports_ota": False,
                "vendor": self.thing.descriptor.identity.vendor,
            },
            "disabled": False,
            "endpoints": {"1": {"bindings": [], "clusters": {"input": ["genBasic"], "output": []}, "scenes": []}},
            "friendly_name": self.friendly_name,
            "ieee_address": self.ieee,
            "interview_completed": True,
            "interview_state": "SUCCESSFUL",
            "interviewing": False,
            "manufacturer": about.get("manufacturer", self.thing.descriptor.identity.vendor),
            "model_id": about.get("model_id"),
            "network_address": self.network_address,
            "power_source": about.get("power_source", "Battery"),
            "software_build_id": self._software_build(),
            "supported": True,
            "type": about.get("type", "EndDevice"),
        }


class ZigbeeBridge:
    """Zigbee2MQTT on a base topic.

    Args:
        base: the base topic.
        devices: what has joined.
        transport: the way to the broker.
        misbehaviour: shared with the other buses.
        clock: for `last_seen` and the times of effects.
    """

    def __init__(
        self,
        base: str,
        devices: Iterable[EmulatedZigbee],
        transport: Transport,
        misbehaviour: Misbehaviour,
        clock: Clock,
    ) -> None:
        self.base, self._transport, self._misbehaviour, self._clock = base, transport, misbehaviour, clock
        self.devices = {each.friendly_name: each for each in devices}
        self.strangers: dict[str, dict[str, Any]] = {}
        """What has joined and is in no site plan, by friendly name: its entry in bridge/devices."""
        self.counts: Counter[str] = Counter()
        self.online = asyncio.Event()
        self._outbox: asyncio.Queue[tuple[str, bytes, bool]] = asyncio.Queue(OUTBOX_MAX)
        self._held: deque[tuple[str, bytes, bool]] = deque()
        self._commands: set[asyncio.Task[None]] = set()
        self._running = True
        for each in self.devices.values():
            self._seen(each)

    async def run(self) -> None:
        """Be a bridge until cancelled; a broker that is away is waited for."""
        try:
            while True:
                try:
                    will = Message(f"{self.base}/bridge/state", b'{"state":"offline"}', retain=True)
                    levels = ["+", "+/+", "+/+/+"]
                    asked = [f"{self.base}/{each}/{verb}" for each in levels for verb in ("set", "get")]
                    async with self._transport.connect(
                        subscribe=[*asked, f"{self.base}/bridge/request/#"], will=will
                    ) as connection:
                        await self._serve(connection)
                except* (LinkLostError, ReplyTimeoutError):
                    self.counts["links_lost"] += 1
                self.online.clear()
                heed_cancellation()
                await asyncio.sleep(RECONNECT_S)
        finally:
            for task in list(self._commands):
                task.cancel()
            await asyncio.gather(*self._commands, return_exceptions=True)

    # --- what happens to the devices -----------------------------------------------------------------------

    def told(self, each: EmulatedZigbee) -> None:
        """A device tells its state by itself."""
        if each.thing.powered and self._running:
            self._seen(each)
            self._publish_state(each)

    def step(self, seconds: float) -> None:
        """Let time pass: devices check in."""
        for each in self.devices.values():
            each.since_check_in_s += seconds
            if each.since_check_in_s >= CHECK_IN_S:
                quality = round(self._misbehaviour.between(40, 180))
                each.thing.put(LINK_QUALITY, quality)
                self.told(each)

    def power(self, each: EmulatedZigbee, *, on: bool) -> None:
        """Take a device off the radio, or bring it back."""
        each.thing.powered = on
        self._say(f"{each.friendly_name}/availability", {"state": "online" if on else "offline"}, retain=True)
        if on:
            self._say(
                "bridge/event",
                {
                    "type": "device_announce",
                    "data": {"friendly_name": each.friendly_name, "ieee_address": each.ieee},
                },
            )
            self.told(each)

    def bridge_state(self, *, online: bool) -> None:
        """Stop or start the bridge as an operator would: it says so, and publishes its cache after the start."""
        self._running = online
        if online:
            self._announce()
        else:
            self._say("bridge/state", {"state": "offline"}, retain=True)

    def flashed(self) -> None:
        """Devices run another firmware: Zigbee2MQTT interviews them and says its list again."""
        self._say_devices()

    def join(self, friendly_name: str, ieee: str, model: str | None, vendor: str | None) -> None:
        """Let a device join that nobody planned; `model` None is one that Zigbee2MQTT does not support."""
        definition = (
            None if model is None else {"model": model, "vendor": vendor or "", "description": "", "exposes": []}
        )
        self.strangers[friendly_name] = {
            "definition": definition,
            "disabled": False,
            "friendly_name": friendly_name,
            "ieee_address": ieee,
            "interview_completed": True,
            "interviewing": False,
            "network_address": 40_000 + len(self.strangers),
            "supported": model is not None,
            "type": "EndDevice",
        }
        data = {"friendly_name": friendly_name, "ieee_address": ieee}
        self._say("bridge/event", {"type": "device_joined", "data": data})
        self._say_devices()

    def publish_raw(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish anything under the base: what a broken converter or a stranger's script would."""
        self._put(f"{self.base}/{topic}", payload, retain=retain)

    # --- the wire -------------------------------------------------------------------------------------------

    async def _serve(self, connection: Connection) -> None:
        while not self._outbox.empty():
            self._outbox.get_nowait()  # what was said while nobody could hear is gone, as it is for the real one
        self._held.clear()
        if self._running:
            self._announce()
        self.online.set()
        async with TaskGroup() as tasks:
            tasks.create_task(self._write(connection))
            tasks.create_task(self._read(connection))

    async def _write(self, connection: Connection) -> None:
        while True:
            topic, payload, retain = await self._outbox.get()
            await connection.publish(topic, payload, retain=retain)
            self.counts["published"] += 1

    async def _read(self, connection: Connection) -> None:
        async for message in connection.messages():
            if self._running:
                self._take(message)
        raise LinkLostError("closed")

    def _take(self, message: Message) -> None:
        self.counts["received"] += 1
        topic = message.topic[len(self.base) + 1 :]
        if topic.startswith("bridge/request/"):
            self._say(f"bridge/response/{topic.removeprefix('bridge/request/')}", {"data": {}, "status": "ok"})
            return
        name, _, verb = topic.rpartition("/")
        each = self.devices.get(name)
        if each is None:
            self._log_error(f"Entity '{name}' is unknown")
            return
        try:
            document = json.loads(message.payload)
        except ValueError:
            self._log_error(f"Invalid JSON '{message.payload[:60].decode(errors='replace')}', skipping...")
            return
        if not isinstance(document, dict):
            self._log_error(f"Invalid JSON '{message.payload[:60].decode(errors='replace')}', skipping...")
            return
        task = asyncio.create_task(self._get(each, document) if verb == "get" else self._set(each, document))
        self._commands.add(task)
        task.add_done_callback(self._commands.discard)

    async def _set(self, each: EmulatedZigbee, document: Mapping[str, Any]) -> None:
        for key, raw in _flat(each.thing.descriptor, document):
            point = _writable(each.thing.descriptor, key)
            if point is None:
                self._log_error(f"No converter available for '{key}' ({raw!r})")
                continue
            value = self._wanted(each, point, raw)
            if value is None:
                self._log_error(
                    f"Publish 'set' '{key}' to '{each.friendly_name}' failed: 'Error: Invalid value: {raw!r:.40}'"
                )
                continue
            if not await self._radio(each, "set", key):
                continue
            at_ms = self._clock.wall_ms()
            each.thing.written(point, value, at_ms=at_ms)
            if (point.capability, point.attribute) == LEVEL:
                each.thing.put(ON_OFF, value > 0)  # type: ignore[operator]  # moveToLevelWithOnOff; a level is a number
            self._seen(each)
            self._publish_state(each)

    async def _get(self, each: EmulatedZigbee, document: Mapping[str, Any]) -> None:
        for key in document:
            points = each.thing.descriptor.points
            point = next((one for one in points if one.path is not None and one.path.split(".")[0] == key), None)
            if point is None or not point.readable:
                self._log_error(f"No converter available for '{key}' (\"\")")
            elif await self._radio(each, "get", key):
                self._seen(each)
                self._publish_state(each)

    async def _radio(self, each: EmulatedZigbee, verb: str, key: str) -> bool:
        lost = self._misbehaviour.happens(self._misbehaviour.knobs.radio_loss)
        if lost or not each.thing.powered:
            await asyncio.sleep(RADIO_TIMEOUT_MS / 1000)
            self._log_error(
                f"Publish '{verb}' '{key}' to '{each.friendly_name}' failed: 'Error: ZCL command "
                f"{each.ieee}/1 failed (Data request failed with error: 'MAC no ack' (233))'"
            )
            return False
        if self._misbehaviour.knobs.answer_ms_most:
            await asyncio.sleep(self._misbehaviour.between(*RADIO_MS) / 1000)
        return True

    def _wanted(self, each: EmulatedZigbee, point: Point, raw: object) -> Value | None:
        if (point.capability, point.attribute) == ON_OFF and isinstance(raw, str):
            word = raw.upper()
            if word == "TOGGLE":
                return not each.thing.state[ON_OFF]
            return {"ON": True, "OFF": False}.get(word)
        value = judge(point, raw).value
        if value is None or isinstance(allow(point, value), str):
            return None
        return value

    def _seen(self, each: EmulatedZigbee) -> None:
        each.since_check_in_s = 0.0
        at = datetime.fromtimestamp(self._clock.wall_ms() / 1000, tz=UTC)
        each.last_seen = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _publish_state(self, each: EmulatedZigbee) -> None:
        luck, knobs = self._misbehaviour, self._misbehaviour.knobs
        payload = json.dumps(each.payload(), separators=(",", ":")).encode()
        message = (f"{self.base}/{each.friendly_name}", payload, False)
        if luck.happens(knobs.garbage):
            self._queue((message[0], payload[: max(1, len(payload) // 3)], False))
        if luck.happens(knobs.reorder):
            self._held.append(message)
            return
        self._queue(message)
        if luck.happens(knobs.duplicate):
            self._queue(message)
        while self._held:
            self._queue(self._held.popleft())

    def _announce(self) -> None:
        self._say("bridge/state", {"state": "online"}, retain=True)
        self._say(
            "bridge/info",
            {
                "version": VERSION,
                "commit": "emulator",
                "coordinator": {"ieee_address": COORDINATOR, "type": "zStack3x0", "meta": {}},
                "log_level": "info",
                "permit_join": False,
                "restart_required": False,
            },
            retain=True,
        )
        self._say_devices()
        for each in self.devices.values():
            state = "online" if each.thing.powered else "offline"
            self._say(f"{each.friendly_name}/availability", {"state": state}, retain=True)
        for each in self.devices.values():  # advanced.cache_state_send_on_startup
            self._publish_state(each)

    def _say_devices(self) -> None:
        coordinator = {
            "disabled": False,
            "friendly_name": "Coordinator",
            "ieee_address": COORDINATOR,
            "interview_completed": True,
            "interviewing": False,
            "network_address": 0,
            "supported": True,
            "type": "Coordinator",
            "definition": None,
        }
        listed = [coordinator, *(each.listing() for each in self.devices.values()), *self.strangers.values()]
        self._put(f"{self.base}/bridge/devices", json.dumps(listed, separators=(",", ":")).encode(), retain=True)

    def _log_error(self, text: str) -> None:
        self._say("bridge/logging", {"level": "error", "message": text, "namespace": "z2m"})

    def _say(self, leaf: str, document: Mapping[str, Any], *, retain: bool = False) -> None:
        self._put(f"{self.base}/{leaf}", json.dumps(document, separators=(",", ":")).encode(), retain=retain)

    def _put(self, topic: str, payload: bytes, *, retain: bool) -> None:
        self._queue((topic, payload, retain))

    def _queue(self, message: tuple[str, bytes, bool]) -> None:
        try:
            self._outbox.put_nowait(message)
        except asyncio.QueueFull:
            self.counts["overflowed"] += 1


def zigbee_of(thing: EmulatedDevice, friendly_name: str, ieee: str | None, number: int) -> EmulatedZigbee:
    """Return a device on the radio. Without an address in the plan it gets one made of its number.

    Raises:
        InvalidInputError: its descriptor is of another wire.
    """
    if not isinstance(thing.descriptor.wire, Zigbee2MqttWire):
        raise InvalidInputError(thing.device, f"{thing.descriptor.id} is no Zigbee2MQTT model")
    return EmulatedZigbee(thing, friendly_name, ieee or f"0x00158d00{number:08x}", 1_000 + number)


def _flat(descriptor: Descriptor, document: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what a set asks for, by key; of an object whose key nothing takes whole, what is in it."""
    for name, raw in document.items():
        key = before + name
        if isinstance(raw, dict) and _writable(descriptor, key) is None and not before:
            yield from _flat(descriptor, raw, f"{key}.")
        else:
            yield key, raw


def _writable(descriptor: Descriptor, key: str) -> Point | None:
    for point in descriptor.points:
        if point.write is not None and (point.write.key or point.path) == key:
            return point
    return None


def _expose(point: Point) -> dict[str, Any]:
    access = 1 | (2 if point.write else 0) | (4 if point.readable else 0)
    kind = {"bool": "binary", "text": "enum"}.get(point.type, "numeric")
    return {"access": access, "name": point.path, "property": point.path, "type": kind}
