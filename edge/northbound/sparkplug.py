"""A Sparkplug B edge node: the property is the group, this edge the node, a device of a room a device.

Pure. Source of truth: Eclipse Sparkplug 3.0, chapters 4 (topics), 5 (operational behaviour) and 6 (payloads). One
session is
one MQTT connection: `will`, then `births` once it stands, then `changed` and `deaths` as things happen, in the order
in which
they are to be published. Names are told in births, aliases are not used: a host that missed one asks for a rebirth.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from edge.northbound.sparkplug_payload import (
    DataType,
    Metric,
    MetricValue,
    Payload,
    QualityCode,
    decode,
    encode,
    next_seq,
)
from protocols.descriptors.codec import allow
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.device_model.capability import Kind, Value
from protocols.device_model.identity import DescriptorId, DeviceId, RoomId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import SitePlan
from protocols.errors import LocalProtocolError, PeerProtocolError

NAMESPACE: Final = "spBv1.0"
REBIRTH: Final = "Node Control/Rebirth"
BDSEQ: Final = "bdSeq"
BDSEQ_MODULUS: Final = 256
_FORBIDDEN: Final = frozenset("+/#")
_QUALITIES: Final[Mapping[str, QualityCode]] = {
    Quality.GOOD: QualityCode.GOOD,
    Quality.UNCERTAIN: QualityCode.GOOD,
    Quality.STALE: QualityCode.STALE,
    Quality.BAD: QualityCode.BAD,
}


class Type(StrEnum):
    """Message types, chapter 4."""

    NBIRTH = "NBIRTH"
    NDEATH = "NDEATH"
    NDATA = "NDATA"
    NCMD = "NCMD"
    DBIRTH = "DBIRTH"
    DDEATH = "DDEATH"
    DDATA = "DDATA"
    DCMD = "DCMD"


@dataclass(frozen=True, slots=True)
class Out:
    """A message to be published as it says. Never retained (chapter 6.4)."""

    topic: str
    payload: bytes
    qos: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A command to a device that makes sense."""

    device: DeviceId
    room: RoomId
    point: Point
    value: Value


@dataclass(frozen=True, slots=True)
class RebirthWanted:
    """A host has missed something."""


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """A command that makes none: counted, named, without an effect. Sparkplug has no answer for it."""

    topic: str
    reason: str


_Key = tuple[DeviceId, str, str]
"""Device, capability and attribute, as the live state names them."""


class SparkplugNode:
    """The edge node over all its sessions; `bdSeq` counts them.

    Args:
        plan: what there is.
        descriptors: every model that the plan names.
        bdseq: the number of the first session: one more than the last that this node ever used.

    Raises:
        LocalProtocolError: a name holds what no Sparkplug identifier may.
    """

    def __init__(self, plan: SitePlan, descriptors: Mapping[DescriptorId, Descriptor], *, bdseq: int = 0) -> None:
        self.group, self.node = str(plan.property.id), str(plan.edge)
        self._rooms: dict[DeviceId, RoomId] = {}
        self._models: dict[DeviceId, Descriptor] = {}
        self._dying: set[DeviceId] = set()
        self._bdseq = bdseq % BDSEQ_MODULUS
        self._seq = -1
        self._born: set[DeviceId] = set()
        self._told: dict[_Key, tuple[Value | None, str]] = {}
        self.serve(plan, descriptors)

    def serve(self, plan: SitePlan, descriptors: Mapping[DescriptorId, Descriptor]) -> None:
        """Speak for another set of devices of the same property and edge from now on.

        A device that is gone, or another model now, dies with the next `changed`; it is born again as what it is.

        Raises:
            LocalProtocolError: a name holds what no Sparkplug identifier may; nothing has changed.
        """
        for name in (self.group, self.node, *(each.id for each in plan.devices)):
            if not name or _FORBIDDEN & set(name):
                raise LocalProtocolError(f"{name!r} is no Sparkplug identifier")
        models = {each.id: descriptors[each.descriptor] for each in plan.devices}
        self._dying |= {each for each in self._born if models.get(each) is not self._models[each]}
        self._rooms, self._models = {each.id: each.room for each in plan.devices}, models
        points = {
            each.id: {(point.capability.value, point.attribute): point for point in each.points}
            for each in {model.id: model for model in models.values()}.values()
        }
        self._points = {device: points[model.id] for device, model in models.items()}

    @property
    def devices(self) -> Collection[DeviceId]:
        """Whom this node speaks for."""
        return self._rooms

    def filters(self) -> list[str]:
        """Return what to subscribe before anything is published."""
        return [f"{NAMESPACE}/{self.group}/{kind}/{self.node}" for kind in (Type.NCMD,)] + [
            f"{NAMESPACE}/{self.group}/{Type.DCMD}/{self.node}/+"
        ]

    def begin(self, *, now_ms: int) -> Out:
        """Begin a session: return the NDEATH that the broker must hold as its will, QoS 1."""
        self._seq, self._born = -1, set()
        self._dying.clear()
        self._told.clear()
        metric = Metric(BDSEQ, DataType.INT64, self._bdseq)
        return Out(self._topic(Type.NDEATH), encode(Payload(now_ms, None, (metric,))), qos=1)

    def ended(self) -> None:
        """The session is over: the next will carries the next bdSeq."""
        self._bdseq = (self._bdseq + 1) % BDSEQ_MODULUS

    def births(self, values: Sequence[Mapping[str, Any]], online: Collection[DeviceId], *, now_ms: int) -> list[Out]:
        """Return NBIRTH and a DBIRTH for every device that is there; also what answers a rebirth request.

        Args:
            values: every value now: {"device", "capability", "attribute", "value", "quality"}.
            online: the devices that answer.
            now_ms: Unix ms, UTC.
        """
        self._seq = 0
        self._born.clear()
        self._dying.clear()
        self._told.clear()
        own = (
            Metric(BDSEQ, DataType.INT64, self._bdseq, now_ms),
            Metric(REBIRTH, DataType.BOOLEAN, False, now_ms),
        )
        out = [Out(self._topic(Type.NBIRTH), encode(Payload(now_ms, self._seq, own)), qos=0)]
        born = [device for device in sorted(online) if device in self._rooms]
        return out + self._births(born, values, now_ms)

    def changed(self, values: Sequence[Mapping[str, Any]], online: Collection[DeviceId], *, now_ms: int) -> list[Out]:
        """Return what has changed since it was told last: deaths, births of devices that are back, data.

        What has not changed costs a look-up: it is neither made a metric of nor encoded.
        """
        out: list[Out] = []
        for device in sorted(self._born & (self._dying | (self._born - set(online)))):
            self._born.discard(device)
            out.append(Out(self._topic(Type.DDEATH, device), encode(Payload(now_ms, self._next(), ())), qos=0))
        self._dying.clear()
        out += self._births(sorted(self._rooms.keys() & set(online) - self._born), values, now_ms)
        by_device: dict[DeviceId, list[Metric]] = {}
        for each in values:
            device, capability, attribute = key = _key(each)
            said = each["value"], each["quality"]
            if self._told.get(key) == said or device not in self._born:
                continue
            point = self._points[device].get((capability, attribute))
            if point is not None:
                self._told[key] = said
                by_device.setdefault(device, []).append(_metric(point, *said, now_ms))
        for device, metrics in by_device.items():
            payload = Payload(now_ms, self._next(), tuple(metrics))
            out.append(Out(self._topic(Type.DDATA, device), encode(payload), qos=0))
        return out

    def death(self, *, now_ms: int) -> Out:
        """Return the NDEATH to be published before an intended disconnect."""
        metric = Metric(BDSEQ, DataType.INT64, self._bdseq)
        return Out(self._topic(Type.NDEATH), encode(Payload(now_ms, None, (metric,))), qos=1)

    def take(self, topic: str, payload: bytes, *, retain: bool) -> list[Wanted | RebirthWanted | NotUnderstood]:
        """Return what a host asks for. A kept command is of unknown age and asks for nothing."""
        if retain:
            return [NotUnderstood(topic, "a kept command is of unknown age")]
        try:
            metrics = decode(payload).metrics
        except PeerProtocolError as error:
            return [NotUnderstood(topic, str(error))]
        if topic == self._topic(Type.NCMD):
            return [
                RebirthWanted() if each.name == REBIRTH and each.value is True else NotUnderstood(topic, str(each.name))
                for each in metrics
            ]
        device = DeviceId(topic.removeprefix(f"{self._topic(Type.DCMD)}/"))
        if topic != self._topic(Type.DCMD, device) or device not in self._rooms:
            return [NotUnderstood(topic, "no device of this node")]
        return [self._wanted(topic, device, each) for each in metrics]

    # --- within ----------------------------------------------------------------------------------------------

    def _wanted(self, topic: str, device: DeviceId, metric: Metric) -> Wanted | NotUnderstood:
        point = next((each for each in self._models[device].points if _name(each) == metric.name), None)
        if point is None:
            return NotUnderstood(topic, f"{metric.name!r:.80} is no metric of {device}")
        value: object = metric.value
        if point.row.kind is Kind.INTEGER and isinstance(value, float) and value.is_integer():
            value = int(value)
        allowed = allow(point, value)
        if isinstance(allowed, str):
            return NotUnderstood(topic, allowed)
        if point.row.kind is Kind.CHOICE and allowed.value not in point.row.choices:
            return NotUnderstood(topic, f"{value!r:.40} is none of {', '.join(point.row.choices)}")
        return Wanted(device, self._rooms[device], point, allowed.value)

    def _births(self, devices: Sequence[DeviceId], values: Sequence[Mapping[str, Any]], now_ms: int) -> list[Out]:
        if not devices:
            return []
        wanted, known = set(devices), dict[_Key, tuple[Value | None, str]]()
        for each in values:
            if (key := _key(each))[0] in wanted:
                known[key] = each["value"], each["quality"]
        return [self._birth(device, known, now_ms) for device in devices]

    def _birth(self, device: DeviceId, known: Mapping[_Key, tuple[Value | None, str]], now_ms: int) -> Out:
        metrics = []
        for (capability, attribute), point in self._points[device].items():
            key = device, capability, attribute
            self._told[key] = said = known.get(key, (None, Quality.BAD.value))
            metrics.append(_metric(point, *said, now_ms))
        self._born.add(device)
        payload = Payload(now_ms, self._next(), tuple(metrics))
        return Out(self._topic(Type.DBIRTH, device), encode(payload), qos=0)

    def _next(self) -> int:
        self._seq = next_seq(self._seq)
        return self._seq

    def _topic(self, kind: Type, device: DeviceId | None = None) -> str:
        return f"{NAMESPACE}/{self.group}/{kind}/{self.node}" + ("" if device is None else f"/{device}")


def _key(value: Mapping[str, Any]) -> _Key:
    return value["device"], value["capability"], value["attribute"]


def _name(point: Point) -> str:
    return f"{point.capability.value}/{point.attribute}"


def _metric(point: Point, value: Value | None, quality: str, now_ms: int) -> Metric:
    kind = point.row.kind
    datatype = {
        Kind.BOOL: DataType.BOOLEAN,
        Kind.INTEGER: DataType.INT64,
        Kind.NUMBER: DataType.DOUBLE,
        Kind.CHOICE: DataType.STRING,
    }[kind]
    known: MetricValue | None = value
    return Metric(_name(point), datatype, known, now_ms, quality=_QUALITIES.get(quality, QualityCode.BAD))
