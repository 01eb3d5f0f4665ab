"""What the house is to Home Assistant: its devices announced, their values, their availability, commands read back.

Pure. Source of truth: home-assistant.io, "MQTT discovery": `<prefix>/device/<id>/config` with `dev`, `o` and `cmps`
(since 2024.11), or one `<prefix>/<component>/<node>/<object>/config` an entity for older ones; birth message on
`<prefix>/status`. The edge is a device too: `via_device` of the others, which must exist.
Everything announced is retained; what leaves the plan is taken back by who published it (an empty payload, retained; an
entity that its device has no more, by a component with nothing but `p`). `<base>/<property>/announced` keeps what was
announced, so that a later life of the edge knows what to take back.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from edge.northbound.home_assistant_announced import Announced, AnnouncedModel
from edge.northbound.home_assistant_entities import FORMS, Entities, Entity, Key
from kit.net import Message
from protocols.descriptors.codec import allow
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.device_model.capability import Capability, Kind, Value
from protocols.device_model.identity import DescriptorId, DeviceId, EdgeId, PropertyId, RoomId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import Device, SitePlan

COMMAND_BYTES_MAX: Final = 200
ONLINE: Final = b"online"
OFFLINE: Final = b"offline"
_KNOWN: Final = (Quality.GOOD, Quality.UNCERTAIN)
ORIGIN: Final = {"name": "innkeeper", "sw": "0.1.0"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A command from Home Assistant that makes sense: what of whom shall become what."""

    device: DeviceId
    room: RoomId
    capability: Capability
    attribute: str
    value: Value


@dataclass(frozen=True, slots=True)
class AskedColour:
    """A colour from Home Assistant: both halves, to be asked for one after the other."""

    halves: tuple[Asked, Asked]


@dataclass(frozen=True, slots=True)
class Refused:
    """A command that makes none, and why; `topic` is where the answer goes."""

    topic: str
    reason: str


class HomeAssistant:
    """The messages of one property.

    Args:
        plan: what there is.
        descriptors: every model that the plan names.
        prefix: Home Assistant's discovery prefix.
        base: where values and commands go; nobody else publishes under it.
        discovery: `device` for Home Assistant 2024.11 and newer, `entity` for any.
    """

    def __init__(
        self,
        plan: SitePlan,
        descriptors: Mapping[DescriptorId, Descriptor],
        *,
        prefix: str = "homeassistant",
        base: str = "innkeeper",
        discovery: Literal["device", "entity"] = "device",
    ) -> None:
        self._plan, self._prefix, self._discovery = plan, prefix, discovery
        self._base = f"{base}/{plan.property.id}"
        self._property: PropertyId = plan.property.id
        self._edge: EdgeId = plan.edge
        self._name = plan.property.name
        self._models = {each.id: descriptors[each.descriptor] for each in plan.devices}
        self._rooms = {each.id: each.room for each in plan.devices}
        colours = {each: Entities(model, _nowhere).colour for each, model in self._models.items()}
        self._colours = {device: form for device, form in colours.items() if form is not None}
        self._told = frozenset(
            (each, point.capability.value, point.attribute)
            for each, model in self._models.items()
            for point in model.points
        )
        self._commands: dict[str, tuple[DeviceId, Point]] = {
            f"{self._topic(each.id, (point.capability, point.attribute))}/set": (each.id, point)
            for each in plan.devices
            for point in self._models[each.id].points
            if point.write is not None
        }
        self._colour_commands = {
            f"{self._topic(device, (Capability.COLOR_CONTROL, form))}/set": device
            for device, form in self._colours.items()
        }

    @property
    def will(self) -> Message:
        """What the broker says for this edge when it is lost."""
        return Message(self.edge_availability, OFFLINE, retain=True)

    @property
    def edge_availability(self) -> str:
        """Where this edge says that it is there."""
        return f"{self._base}/availability"

    @property
    def birth_topic(self) -> str:
        """Where Home Assistant says that it has started and wants to be told everything."""
        return f"{self._prefix}/status"

    def filters(self) -> list[str]:
        """Return what to subscribe."""
        return [self.birth_topic, f"{self._base}/+/+/set", self.announced_topic]

    @property
    def announced_topic(self) -> str:
        """Where the broker keeps for us what was announced."""
        return f"{self._base}/announced"

    def announcements(self, before: Announced | None = None) -> list[Message]:
        """Return the retained configuration of the edge and of every device, then that this edge is there.

        Args:
            before: what was announced until now; entities that their device has no more are taken back with it.
        """
        return [
            *self._announced_edge(),
            *(message for device in self._plan.devices for message in self._announced(device, before)),
            Message(self.edge_availability, ONLINE, retain=True),
        ]

    def announced(self) -> Announced:
        """Return what `announcements` and `value` leave at the broker, apart from what is of the edge itself."""
        kinds = {model.identity.id: model for model in self._models.values()}
        models = {
            str(name): AnnouncedModel(
                components={entity: made["p"] for entity, made in self._entities(model, None, "").items()},
                values=[f"{key[0].value}.{key[1]}" for key in _values(model)],
            )
            for name, model in kinds.items()
        }
        devices = {str(each.id): str(each.descriptor) for each in self._plan.devices}
        return Announced(models, devices, [self._discovery], [self._edge])

    def leftovers(self, before: Announced) -> set[str]:
        """Return the topics of what was announced once and is no more: they are to be emptied."""
        return self.topics(before) - self.topics(self.announced())

    def topics(self, announced: Announced) -> set[str]:
        """Return every topic under which the broker may keep something of these devices."""
        own = {"device": "device/{}/config", "entity": "binary_sensor/{}/connectivity/config"}
        found = {
            f"{self._prefix}/{own[way].format(self._node_of_edge(edge))}"
            for way in announced.discovery
            for edge in announced.edges
            if way in own
        }
        for device, model in announced.devices.items():
            what, node = announced.models[model], f"innkeeper_{self._property}_{device}"
            found.add(f"{self._base}/{device}/availability")
            found |= {f"{self._base}/{device}/{each}" for each in what.values}
            if "device" in announced.discovery:
                found.add(f"{self._prefix}/device/{node}/config")
            if "entity" in announced.discovery:
                found |= {f"{self._prefix}/{kind}/{node}/{name}/config" for name, kind in what.components.items()}
        return found

    def devices(self) -> list[DeviceId]:
        """Return whose availability is told."""
        return sorted(self._rooms)

    def untold(self, live: Iterable[tuple[str, str, str]]) -> list[tuple[DeviceId, Capability, str]]:
        """Return the announced values that are not among the live ones: nobody knows them."""
        return [
            (DeviceId(device), Capability(name), attribute)
            for device, name, attribute in sorted(self._told.difference(live))
        ]

    def tells(self, device: str, capability: str, attribute: str) -> bool:
        """Say whether it is a value of a model as announced: of a device that was swapped, more may be known."""
        return (device, capability, attribute) in self._told

    def availability(self, device: DeviceId, *, online: bool) -> Message:
        """Return what is said when a device comes or goes."""
        return Message(f"{self._base}/{device}/availability", ONLINE if online else OFFLINE, retain=True)

    def value(
        self, device: DeviceId, capability: Capability, attribute: str, value: Value | None, quality: str
    ) -> Message:
        """Return a value; one that is bad or stale is none: an old number must not look like a new one."""
        known = value if quality in _KNOWN else None
        body = msgspec.json.encode({"value": known, "quality": quality})
        return Message(self._topic(device, (capability, attribute)), body, retain=True)

    def coloured(self, keys: Iterable[tuple[str, str, str]]) -> list[DeviceId]:
        """Return the devices whose colour has a half among these values."""
        found = set()
        for device, capability, attribute in keys:
            form = self._colours.get(DeviceId(device))
            if form is not None and (Capability(capability), attribute) in FORMS[form]:
                found.add(DeviceId(device))
        return sorted(found)

    def colour(self, device: DeviceId, now: Mapping[tuple[str, str, str], tuple[Value | None, str]]) -> Message:
        """Return the colour of one of `coloured`, by its values: one that is known by half is none."""
        form = self._colours[device]
        halves = [now.get((device, key[0].value, key[1]), (None, "unknown")) for key in FORMS[form]]
        worst = next((quality for _, quality in halves if quality != Quality.GOOD), str(Quality.GOOD))
        values = [value if quality in _KNOWN else None for value, quality in halves]
        body = msgspec.json.encode({"value": None if None in values else values, "quality": worst})
        return Message(self._topic(device, (Capability.COLOR_CONTROL, form)), body, retain=True)

    def command(self, message: Message) -> Asked | AskedColour | Refused | None:
        """Return what a message asks for; None if it is no command. One kept by the broker is old: refused."""
        found = self._commands.get(message.topic)
        if found is None and message.topic not in self._colour_commands:
            return Refused(message.topic, "takes no commands") if message.topic.endswith("/set") else None
        if message.retain:
            return Refused(message.topic, "a kept command is of unknown age: publish it without retain")
        if len(message.payload) > COMMAND_BYTES_MAX:
            return Refused(message.topic, f"{len(message.payload)} bytes, at most {COMMAND_BYTES_MAX} are read")
        if found is None:
            return self._asked_colour(message, self._colour_commands[message.topic])
        device, point = found
        value = _value_of(point, message.payload)
        if value is None:
            return Refused(
                message.topic, f"{message.payload[:40]!r} is no value of {point.capability}.{point.attribute}"
            )
        asked = self._asked(device, point, value)
        return Refused(message.topic, asked) if isinstance(asked, str) else asked

    def _asked(self, device: DeviceId, point: Point, value: Value) -> Asked | str:
        allowed = allow(point, value)
        if isinstance(allowed, str):
            return allowed
        return Asked(device, self._rooms[device], point.capability, point.attribute, allowed.value)

    def _asked_colour(self, message: Message, device: DeviceId) -> AskedColour | Refused:
        form = self._colours[device]
        first, second = (self._models[device].point(*key) for key in FORMS[form])
        numbers = [_number_of(each) for each in message.payload.split(b",")]
        if first is None or second is None or len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
            return Refused(message.topic, f"{message.payload[:40]!r} is no colour: two numbers and a comma, {form}")
        if form == "xy" and not (min(numbers[0], numbers[1]) >= 0 and numbers[0] + numbers[1] <= 1):
            return Refused(message.topic, f"{message.payload[:40]!r} is outside of all colours that there are")
        one, other = self._asked(device, first, numbers[0]), self._asked(device, second, numbers[1])
        if isinstance(one, str) or isinstance(other, str):
            return Refused(message.topic, one if isinstance(one, str) else str(other))
        return AskedColour((one, other))

    def result(
        self, topic: str, phase: str, reason: str | None, value: Value | Sequence[Value | None] | None = None
    ) -> Message:
        """Return what became of a command, beside where it was asked."""
        body = msgspec.json.encode({"phase": phase, "reason": reason, "value": value})
        return Message(f"{topic.removesuffix('/set')}/result", body)

    def command_topic(self, device: DeviceId, capability: Capability, attribute: str) -> str:
        """Return where a command for an attribute is published."""
        return f"{self._topic(device, (capability, attribute))}/set"

    # --- announcing ------------------------------------------------------------------------------------------

    def _entities(self, model: Descriptor, watches: str | None, device: str) -> dict[str, Entity]:
        return Entities(model, lambda key: self._topic(device, key), watches=watches).all()

    def _announced_edge(self) -> list[Message]:
        node = self._via
        about = {"ids": [node], "name": f"{self._name} ({self._edge})", "mf": "Innkeeper", "mdl": "edge"}
        here = {
            "p": "binary_sensor",
            "uniq_id": f"{node}_connectivity",
            "name": "connectivity",
            "dev_cla": "connectivity",
            "ent_cat": "diagnostic",
            "stat_t": self.edge_availability,
            "pl_on": ONLINE.decode(),
            "pl_off": OFFLINE.decode(),
        }
        return self._configured(node, about, {"connectivity": here}, {}, {})

    def _announced(self, device: Device, before: Announced | None) -> list[Message]:
        model = self._models[device.id]
        about = {
            "ids": [f"innkeeper_{self._property}_{device.id}"],
            "name": device.id,
            "mf": model.identity.vendor,
            "mdl": model.identity.model,
            "sa": device.room,
            "via_device": self._via,
        }
        shared = {
            "avty": [{"t": self.edge_availability}, {"t": f"{self._base}/{device.id}/availability"}],
            "avty_mode": "all",
        }
        node = f"innkeeper_{self._property}_{device.id}"
        entities = {
            name: {"uniq_id": f"{node}_{name}", **entity}
            for name, entity in self._entities(model, device.watches, device.id).items()
        }
        gone = {} if before is None else before.components(device.id)
        return self._configured(node, about, entities, shared, gone)

    def _configured(
        self,
        node: str,
        about: Mapping[str, Any],
        entities: Mapping[str, Entity],
        shared: Mapping[str, Any],
        gone: Mapping[str, str],
    ) -> list[Message]:
        if self._discovery == "device":
            taken_back = {name: {"p": kind} for name, kind in gone.items() if name not in entities}
            body = {"dev": about, "o": ORIGIN, "cmps": {**entities, **taken_back}, **shared}
            return [Message(f"{self._prefix}/device/{node}/config", msgspec.json.encode(body), retain=True)]
        messages = []
        for name, entity in entities.items():
            own = {key: value for key, value in entity.items() if key != "p"}
            body = {**own, "dev": about, "o": ORIGIN, **shared}
            topic = f"{self._prefix}/{entity['p']}/{node}/{name}/config"
            messages.append(Message(topic, msgspec.json.encode(body), retain=True))
        return messages

    @property
    def _via(self) -> str:
        return self._node_of_edge(self._edge)

    def _node_of_edge(self, edge: str) -> str:
        return f"innkeeper_{self._property}_edge_{edge}"  # no device has an underscore in its name

    def _topic(self, device: str, key: Key) -> str:
        return f"{self._base}/{device}/{key[0].value}.{key[1]}"


def _value_of(point: Point, payload: bytes) -> Value | None:
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError:
        return None
    if point.row.kind is Kind.BOOL:
        return {"ON": True, "OFF": False, "true": True, "false": False}.get(text)
    if point.row.kind is Kind.CHOICE:
        return text if text in point.row.choices else None
    return _number_of(text)


def _number_of(text: str | bytes) -> float | None:
    try:
        number = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return number if isinstance(number, int | float) and not isinstance(number, bool) else None


def _values(model: Descriptor) -> list[Key]:
    """Return what is told of a model: its values, and the colour that two of them make."""
    form = Entities(model, _nowhere).colour
    values = [(point.capability, point.attribute) for point in model.points]
    return values if form is None else [*values, (Capability.COLOR_CONTROL, form)]


def _nowhere(key: Key) -> str:
    """Nothing is told anywhere."""
    del key
    return ""
