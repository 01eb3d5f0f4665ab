"""The Sparkplug B edge node against the assertions of the specification's TCK, by id, and against the protobuf
library."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import aiomqtt
import msgspec
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.northbound import sparkplug as module
from edge.northbound.sparkplug import NotUnderstood, Out, RebirthWanted, SparkplugNode, Wanted
from edge.northbound.sparkplug_facade import SparkplugBroker, SparkplugFacade
from edge.northbound.sparkplug_payload import DataType, Metric, Payload, QualityCode, decode, encode
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome
from protocols.device_model.identity import DescriptorId, DeviceId, RoomId
from protocols.device_model.site_plan import SitePlan
from protocols.errors import PeerProtocolError
from tests.edge.bridges.field import CATALOGUE, field, plan

LAMP: Final = DeviceId("light-101")
CONTACT: Final = DeviceId("contact-101")
SOCKET: Final = "zigbee2mqtt/innr_sp_120"
NODE: Final = "spBv1.0/aurora/{}/e-1"
VALUES: Final = [
    {"device": LAMP, "capability": "on_off", "attribute": "on_off", "value": False, "quality": "good"},
    {"device": LAMP, "capability": "level_control", "attribute": "current_level", "value": 120, "quality": "good"},
    {"device": CONTACT, "capability": "boolean_state", "attribute": "state_value", "value": True, "quality": "good"},
    {"device": CONTACT, "capability": "power_source", "attribute": "bat_voltage", "value": 3.0, "quality": "stale"},
]
HELD: Final = [
    "tck-id-intro-group-id-chars",
    "tck-id-intro-edge-node-id-chars",
    "tck-id-intro-device-id-chars",
    "tck-id-topic-structure-namespace-a",
    "tck-id-topics-nbirth-mqtt",
    "tck-id-topics-nbirth-seq-num",
    "tck-id-topics-nbirth-timestamp",
    "tck-id-topics-nbirth-bdseq-included",
    "tck-id-topics-nbirth-rebirth-metric",
    "tck-id-topics-nbirth-metrics",
    "tck-id-topics-dbirth-mqtt",
    "tck-id-topics-dbirth-seq",
    "tck-id-topics-dbirth-timestamp",
    "tck-id-topics-dbirth-metrics",
    "tck-id-topics-ddata-mqtt",
    "tck-id-topics-ddata-seq-num",
    "tck-id-topics-ddata-timestamp",
    "tck-id-topics-ddeath-mqtt",
    "tck-id-topics-ddeath-seq-num",
    "tck-id-topics-ndeath-seq",
    "tck-id-topics-ndeath-payload",
    "tck-id-payloads-nbirth-bdseq",
    "tck-id-payloads-nbirth-qos",
    "tck-id-payloads-nbirth-retain",
    "tck-id-payloads-nbirth-seq",
    "tck-id-payloads-nbirth-timestamp",
    "tck-id-payloads-nbirth-rebirth-req",
    "tck-id-payloads-ndeath-bdseq",
    "tck-id-payloads-ndeath-seq",
    "tck-id-payloads-ndeath-will-message-qos",
    "tck-id-payloads-ndeath-will-message-retain",
    "tck-id-payloads-ndeath-will-message",
    "tck-id-payloads-dbirth-qos",
    "tck-id-payloads-dbirth-retain",
    "tck-id-payloads-dbirth-seq",
    "tck-id-payloads-dbirth-seq-inc",
    "tck-id-payloads-dbirth-order",
    "tck-id-payloads-dbirth-timestamp",
    "tck-id-payloads-ddata-order",
    "tck-id-payloads-ddata-qos",
    "tck-id-payloads-ddata-retain",
    "tck-id-payloads-ddata-seq",
    "tck-id-payloads-ddata-seq-inc",
    "tck-id-payloads-ddata-timestamp",
    "tck-id-payloads-ddeath-seq",
    "tck-id-payloads-ddeath-seq-inc",
    "tck-id-payloads-ddeath-timestamp",
    "tck-id-payloads-propertyset-quality-value-type",
    "tck-id-payloads-propertyset-quality-value-value",
    "tck-id-operational-behavior-data-commands-rebirth-name",
    "tck-id-operational-behavior-data-commands-rebirth-datatype",
    "tck-id-operational-behavior-data-commands-rebirth-value",
    "tck-id-operational-behavior-data-commands-rebirth-action-1",
    "tck-id-operational-behavior-data-commands-rebirth-action-2",
    "tck-id-operational-behavior-data-commands-rebirth-action-3",
    "tck-id-message-flow-edge-node-birth-publish-connect",
    "tck-id-message-flow-edge-node-ncmd-subscribe",
    "tck-id-message-flow-device-dcmd-subscribe",
    "tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath",
    "tck-id-operational-behavior-device-ddeath",
]
"""Assertions about an edge node that these tests cite. Not held: those about a primary host's STATE, templates and
data sets,
store and forward, and several brokers; they are not built."""


def sparkplug(*ids: str) -> Callable[[Any], Any]:
    """Mark a test with the assertions that it holds."""

    def mark(test: Any) -> Any:
        for each in ids:
            assert f"tck-id-{each}" in HELD, each
            CITED.add(f"tck-id-{each}")
            test = pytest.mark.sparkplug(f"tck-id-{each}")(test)
        return test

    return mark


CITED: Final[set[str]] = set()


class Counted(list[dict[str, Any]]):
    """Values that count how often they are gone through."""

    times = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.times += 1
        return super().__iter__()


def test_what_has_not_changed_costs_a_look_and_births_go_through_the_house_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []

    def counts(name: str) -> None:
        real = getattr(module, name)

        def counting(*args: Any) -> Any:
            made.append(name)
            return real(*args)

        monkeypatch.setattr(module, name, counting)

    node = _node()
    node.begin(now_ms=1)
    values, online = Counted(VALUES), [LAMP, CONTACT]
    assert len(node.births(values, online, now_ms=1)) == 3
    assert values.times == 1
    for each in ("_metric", "_name", "encode"):
        counts(each)
    for tick in range(50):
        assert node.changed(values, online, now_ms=2 + tick) == []
    assert made == []
    assert values.times == 51
    changed = [{**each, "value": 3.1} if each["attribute"] == "bat_voltage" else each for each in VALUES]
    [out] = node.changed(changed, online, now_ms=60)
    assert [(each.name, each.value) for each in decode(out.payload).metrics] == [("power_source/bat_voltage", 3.1)]
    assert sorted(made) == ["_metric", "_name", "encode"]


def _node(**more: Any) -> SparkplugNode:
    return SparkplugNode(plan(zigbee=True), CATALOGUE, **more)


def _seqs(messages: list[Out]) -> list[int | None]:
    return [decode(each.payload).seq for each in messages]


@sparkplug(
    "topic-structure-namespace-a", "topics-nbirth-mqtt", "topics-nbirth-seq-num", "topics-nbirth-timestamp",
    "topics-nbirth-bdseq-included", "topics-nbirth-rebirth-metric", "topics-nbirth-metrics", "payloads-nbirth-bdseq",
    "payloads-nbirth-qos", "payloads-nbirth-seq", "payloads-nbirth-timestamp", "payloads-nbirth-rebirth-req",
    "payloads-nbirth-retain", "operational-behavior-data-commands-rebirth-name",
    "operational-behavior-data-commands-rebirth-datatype", "operational-behavior-data-commands-rebirth-value",
)  # fmt: skip
def test_a_node_is_born_with_its_session_number_and_the_way_to_be_born_again() -> None:
    node = _node(bdseq=7)
    node.begin(now_ms=1)
    birth = node.births(VALUES, [LAMP], now_ms=1_000)[0]
    assert (birth.topic, birth.qos) == (NODE.format("NBIRTH"), 0)
    payload = decode(birth.payload)
    assert (payload.seq, payload.timestamp_ms) == (0, 1_000)
    told = {each.name: (each.datatype, each.value) for each in payload.metrics}
    assert told == {"bdSeq": (DataType.INT64, 7), "Node Control/Rebirth": (DataType.BOOLEAN, False)}


@sparkplug(
    "topics-ndeath-seq", "topics-ndeath-payload", "payloads-ndeath-seq", "payloads-ndeath-bdseq",
    "payloads-ndeath-will-message-qos",
)  # fmt: skip
def test_a_death_holds_the_number_of_its_birth_and_nothing_else() -> None:
    node = _node(bdseq=255)
    for wanted in (255, 0, 1):
        will = node.begin(now_ms=5)
        assert (will.topic, will.qos) == (NODE.format("NDEATH"), 1)
        death = decode(will.payload)
        assert death.seq is None
        assert [(each.name, each.value) for each in death.metrics] == [("bdSeq", wanted)]
        born = decode(node.births(VALUES, [], now_ms=6)[0].payload)
        assert next(each.value for each in born.metrics if each.name == "bdSeq") == wanted
        node.ended()


@sparkplug(
    "topics-dbirth-mqtt", "topics-dbirth-seq", "topics-dbirth-timestamp", "topics-dbirth-metrics",
    "payloads-dbirth-qos",
    "payloads-dbirth-seq", "payloads-dbirth-seq-inc", "payloads-dbirth-order", "payloads-dbirth-timestamp",
    "payloads-dbirth-retain", "payloads-propertyset-quality-value-type", "payloads-propertyset-quality-value-value",
)  # fmt: skip
def test_devices_are_born_after_their_node_with_every_metric_that_they_will_ever_tell() -> None:
    node = _node()
    node.begin(now_ms=1)
    births = node.births(VALUES, [LAMP, CONTACT, DeviceId("stranger")], now_ms=9)
    assert [each.topic for each in births] == [
        NODE.format("NBIRTH"),
        NODE.format("DBIRTH") + f"/{CONTACT}",
        NODE.format("DBIRTH") + f"/{LAMP}",
    ]
    assert _seqs(births) == [0, 1, 2]
    assert {each.qos for each in births} == {0}
    message = _theirs(births[1].payload)
    metrics = {each.name: each for each in message.metrics}
    model = CATALOGUE[next(each.descriptor for each in plan(zigbee=True).devices if each.id == CONTACT)]
    assert set(metrics) == {f"{point.capability.value}/{point.attribute}" for point in model.points}
    for name, quality in (("boolean_state/state_value", 192), ("power_source/bat_voltage", 500)):
        properties = metrics[name].properties
        assert list(properties.keys) == ["Quality"]
        assert (properties.values[0].type, properties.values[0].int_value) == (3, quality)
    unheard = metrics["temperature_measurement/measured_value:device"]
    assert unheard.is_null
    assert unheard.properties.values[0].int_value == 0


@sparkplug(
    "topics-ddata-mqtt", "topics-ddata-seq-num", "topics-ddata-timestamp", "payloads-ddata-order", "payloads-ddata-qos",
    "payloads-ddata-retain", "payloads-ddata-seq", "payloads-ddata-seq-inc", "payloads-ddata-timestamp",
    "topics-ddeath-mqtt", "topics-ddeath-seq-num", "payloads-ddeath-seq", "payloads-ddeath-seq-inc",
    "payloads-ddeath-timestamp", "operational-behavior-device-ddeath",
)  # fmt: skip
def test_what_changed_is_told_once_and_a_device_that_goes_dies_first() -> None:
    node = _node()
    node.begin(now_ms=1)
    births = node.births(VALUES, [LAMP, CONTACT], now_ms=2)
    assert node.changed(VALUES, [LAMP, CONTACT], now_ms=3) == []
    lit = [{**VALUES[0], "value": True}, *VALUES[1:]]
    [data] = node.changed(lit, [LAMP, CONTACT], now_ms=4)
    assert (data.topic, data.qos) == (NODE.format("DDATA") + f"/{LAMP}", 0)
    assert [(each.name, each.value) for each in decode(data.payload).metrics] == [("on_off/on_off", True)]
    gone = node.changed([{**VALUES[0], "value": False}, *VALUES[1:]], [CONTACT], now_ms=5)
    assert [each.topic for each in gone] == [NODE.format("DDEATH") + f"/{LAMP}"]
    back = node.changed(lit, [LAMP, CONTACT], now_ms=6)
    assert [each.topic for each in back] == [NODE.format("DBIRTH") + f"/{LAMP}"]
    assert _seqs([*births, data, *gone, *back]) == [0, 1, 2, 3, 4, 5]
    assert [decode(each.payload).timestamp_ms for each in (data, *gone)] == [4, 5]
    for turn in range(600):  # 255 is followed by 0
        [each] = node.changed([{**VALUES[0], "value": bool(turn % 2)}], [LAMP, CONTACT], now_ms=7)
        assert decode(each.payload).seq == (6 + turn) % 256


def _changed_plan(**changes: str | None) -> SitePlan:
    """The plan with devices of other models, or without them."""
    whole = plan(zigbee=True)
    kept = [each for each in whole.devices if changes.get(each.id.replace("-", "_"), "") is not None]
    devices = [
        msgspec.structs.replace(each, descriptor=DescriptorId(other))
        if (other := changes.get(each.id.replace("-", "_"))) is not None
        else each
        for each in kept
    ]
    return msgspec.structs.replace(whole, devices=tuple(devices))


def test_devices_bound_while_it_runs_are_born_those_taken_out_die_and_another_model_is_born_anew() -> None:
    node = SparkplugNode(_changed_plan(contact_101=None), CATALOGUE)
    node.begin(now_ms=1)
    births = node.births(VALUES, [LAMP, CONTACT], now_ms=2)
    assert [each.topic for each in births] == [NODE.format("NBIRTH"), NODE.format("DBIRTH") + f"/{LAMP}"]
    node.serve(_changed_plan(), CATALOGUE)  # bound
    born = node.changed(VALUES, [LAMP, CONTACT], now_ms=3)
    assert [each.topic for each in born] == [NODE.format("DBIRTH") + f"/{CONTACT}"]
    node.serve(_changed_plan(light_101=SOCKET), CATALOGUE)  # swapped for another model
    swapped = node.changed(VALUES, [LAMP, CONTACT], now_ms=4)
    assert [each.topic for each in swapped] == [NODE.format(kind) + f"/{LAMP}" for kind in ("DDEATH", "DBIRTH")]
    told = {each.name for each in decode(swapped[1].payload).metrics}
    assert told == {f"{each.capability}/{each.attribute}" for each in CATALOGUE[DescriptorId(SOCKET)].points}
    node.serve(_changed_plan(light_101=None), CATALOGUE)  # unbound
    gone = node.changed(VALUES, [LAMP, CONTACT], now_ms=5)
    assert [each.topic for each in gone] == [NODE.format("DDEATH") + f"/{LAMP}"]
    assert node.changed(VALUES, [LAMP, CONTACT], now_ms=6) == []
    assert _seqs([*births, *born, *swapped, *gone]) == list(range(6))
    switch = encode(Payload(1, None, (Metric("on_off/on_off", DataType.BOOLEAN, True),)))
    [refused] = node.take(NODE.format("DCMD") + f"/{LAMP}", switch, retain=False)
    assert isinstance(refused, NotUnderstood)
    assert [each.topic for each in node.births(VALUES, [LAMP, CONTACT], now_ms=7)] == [
        NODE.format("NBIRTH"),
        NODE.format("DBIRTH") + f"/{CONTACT}",
    ]


@sparkplug(
    "operational-behavior-data-commands-rebirth-action-1", "operational-behavior-data-commands-rebirth-action-2",
    "operational-behavior-data-commands-rebirth-action-3",
)  # fmt: skip
def test_a_rebirth_starts_over_with_the_same_session() -> None:
    node = _node(bdseq=3)
    node.begin(now_ms=1)
    node.births(VALUES, [LAMP], now_ms=2)
    command = encode(Payload(3, None, (Metric("Node Control/Rebirth", DataType.BOOLEAN, True),)))
    assert node.take(NODE.format("NCMD"), command, retain=False) == [RebirthWanted()]
    births = node.births(VALUES, [LAMP], now_ms=4)
    assert _seqs(births) == [0, 1]
    assert decode(births[0].payload).metrics[0].value == 3
    assert isinstance(node.take(NODE.format("NCMD"), command, retain=True)[0], NotUnderstood)


@sparkplug("intro-group-id-chars", "intro-edge-node-id-chars", "intro-device-id-chars")
@given(name=st.text(min_size=1, max_size=12))
def test_names_of_a_site_plan_are_sparkplug_identifiers(name: str) -> None:
    from protocols.device_model.identity import parse_device_id
    from protocols.errors import InvalidInputError

    try:
        parse_device_id(name)
    except InvalidInputError:
        return
    assert not set("+/#") & set(name)


@pytest.mark.guarantee("G13")
@settings(max_examples=60)
@given(
    value=st.one_of(st.booleans(), st.integers(-(2**62), 2**62), st.floats(), st.text(max_size=9)),
    name=st.sampled_from(["level_control/current_level", "on_off/on_off", "network_diagnostics/link_quality", "x"]),
)
def test_a_device_command_is_refused_or_within_the_write_rule(value: Any, name: str) -> None:
    kinds = {bool: DataType.BOOLEAN, int: DataType.INT64, float: DataType.DOUBLE, str: DataType.STRING}
    command = encode(Payload(3, None, (Metric(name, kinds[type(value)], value),)))
    [asked] = _node().take(NODE.format("DCMD") + f"/{LAMP}", command, retain=False)
    if isinstance(asked, Wanted) and name.startswith("level"):
        assert asked.value in range(1, 255)
    elif isinstance(asked, Wanted):
        assert name == "on_off/on_off"
        assert isinstance(asked.value, bool)


@pytest.mark.guarantee("G19")
@given(payload=st.binary(max_size=200), level=st.sampled_from(["NCMD", "DCMD", "DCMD/light-101"]))
def test_noise_on_a_command_topic_asks_for_nothing(payload: bytes, level: str) -> None:
    kind, _, device = level.partition("/")
    topic = NODE.format(kind) + (f"/{device}" if device else "")
    for each in _node().take(topic, payload, retain=False):
        assert isinstance(each, NotUnderstood | RebirthWanted | Wanted)


def _schema() -> Any:
    """sparkplug_b.proto, as much of it as an edge node uses, written down from chapter 6."""
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package="tahu", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in (
        ("PropertyValue", (("type", 1, kinds.TYPE_UINT32), ("is_null", 2, kinds.TYPE_BOOL),
        ("int_value", 3, kinds.TYPE_UINT32))),
        ("PropertySet", (("keys", 1, "*string"), ("values", 2, "*PropertyValue"))),
        (
            "Metric",
            (
                ("name", 1, kinds.TYPE_STRING), ("alias", 2, kinds.TYPE_UINT64), ("timestamp", 3, kinds.TYPE_UINT64),
                ("datatype", 4, kinds.TYPE_UINT32), ("is_historical", 5, kinds.TYPE_BOOL),
                ("is_null", 7, kinds.TYPE_BOOL),
                ("properties", 9, "PropertySet"), ("int_value", 10, kinds.TYPE_UINT32),
                ("long_value", 11, kinds.TYPE_UINT64),
                ("float_value", 12, kinds.TYPE_FLOAT), ("double_value", 13, kinds.TYPE_DOUBLE),
                ("boolean_value", 14, kinds.TYPE_BOOL), ("string_value", 15, kinds.TYPE_STRING),
            ),
        ),
        ("Payload", (("timestamp", 1, kinds.TYPE_UINT64), ("metrics", 2, "*Metric"), ("seq", 3, kinds.TYPE_UINT64))),
    ):  # fmt: skip
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            repeated = isinstance(kind, str) and kind.startswith("*")
            entry = message.field.add(
                name=field_name, number=number, label=kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            )
            plain = kind.lstrip("*") if isinstance(kind, str) else kind
            if plain == "string":
                entry.type = kinds.TYPE_STRING
            elif isinstance(plain, str):
                entry.type, entry.type_name = kinds.TYPE_MESSAGE, f".tahu.{plain}"
            else:
                entry.type = plain
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tahu.Payload"))


THEIRS: Final = _schema()


def _theirs(data: bytes) -> Any:
    message = THEIRS()
    message.ParseFromString(data)
    return message


METRICS: Final = st.builds(
    lambda name, pair, at, quality: Metric(name, pair[0], pair[1], at, quality=quality),
    st.text(max_size=20),
    st.one_of(
        st.tuples(st.just(DataType.BOOLEAN), st.booleans() | st.none()),
        st.tuples(st.just(DataType.INT64), st.integers(-(2**63), 2**63 - 1)),
        st.tuples(st.just(DataType.INT32), st.integers(-(2**31), 2**31 - 1)),
        st.tuples(st.just(DataType.DOUBLE), st.floats(allow_nan=False)),
        st.tuples(st.just(DataType.FLOAT), st.floats(allow_nan=False, width=32)),
        st.tuples(st.just(DataType.STRING), st.text(max_size=20)),
    ),
    st.integers(0, 2**53) | st.none(),
    st.sampled_from(QualityCode) | st.none(),
)


@given(seq=st.integers(0, 255) | st.none(), at=st.integers(0, 2**53), metrics=st.lists(METRICS, max_size=4))
def test_our_payloads_are_the_protobuf_librarys(seq: int | None, at: int, metrics: list[Metric]) -> None:
    data = encode(Payload(at, seq, tuple(metrics)))
    message = _theirs(data)
    assert message.HasField("seq") == (seq is not None)
    assert (message.timestamp, len(message.metrics)) == (at, len(metrics))
    again = decode(message.SerializeToString())
    assert [(each.name, each.datatype, each.value, each.timestamp_ms) for each in again.metrics] == [
        (each.name, each.datatype, each.value, each.timestamp_ms) for each in metrics
    ]


@given(data=st.binary(max_size=200))
def test_noise_is_no_payload_or_is_read_without_harm(data: bytes) -> None:
    with suppress(PeerProtocolError):
        assert decode(data).metrics is not None


@sparkplug(
    "message-flow-edge-node-birth-publish-connect", "message-flow-edge-node-ncmd-subscribe",
    "message-flow-device-dcmd-subscribe", "payloads-ndeath-will-message", "payloads-ndeath-will-message-retain",
    "operational-behavior-edge-node-intentional-disconnect-ndeath",
)  # fmt: skip
@pytest.mark.tier("nats")
@pytest.mark.requirement("DEV-06")
async def test_a_host_hears_the_birth_switches_a_lamp_and_hears_the_death(broker: tuple[str, int]) -> None:
    async with field(plan(zigbee=True), broker=broker) as it:
        await it.heard.until(it.heard.says(LAMP, Capability.ON_OFF, "on_off", False))

        async def carry(_: RoomId, command: Command) -> Outcome:
            return await it.devices.write(command)

        def live() -> list[dict[str, Any]]:
            last = {(each.device, each.capability, each.attribute): each for each in it.heard.readings}
            return [each.to_body() for each in last.values()]

        listeners: list[Any] = []

        def listen(listener: Any) -> Callable[[], None]:
            listeners.append(listener)
            return listeners.clear

        facade = SparkplugFacade(
            SparkplugNode(it.plan, CATALOGUE),
            SparkplugBroker(*broker, client_id="edge-spb"),
            live=live,
            online=lambda: [LAMP],
            listen=listen,
            carry=carry,
            command_wait_s=10,
            pause_s=(0.05, 0.2),
            clock=it.clock,
            dice=SeededDice(1),
        )
        async with aiomqtt.Client(*broker, identifier="host") as host, asyncio.timeout(30):
            await host.subscribe("spBv1.0/#", qos=1)
            running = asyncio.create_task(facade.run())
            heard: list[str] = []
            async for message in host.messages:
                assert not message.retain
                assert isinstance(message.payload, bytes)
                kind = message.topic.value.split("/")[2]
                heard.append(kind)
                metrics = {each.name: each.value for each in decode(message.payload).metrics}
                if kind == "DBIRTH" and heard.count("DBIRTH") == 1:
                    on = encode(Payload(1, None, (Metric("on_off/on_off", DataType.BOOLEAN, True),)))
                    await host.publish(NODE.format("DCMD") + f"/{LAMP}", on, qos=0)
                elif kind == "DDATA" and metrics.get("on_off/on_off") is True and "NDEATH" not in heard:
                    again = encode(Payload(1, None, (Metric("Node Control/Rebirth", DataType.BOOLEAN, True),)))
                    await host.publish(NODE.format("NCMD"), again, qos=0)
                elif kind == "NBIRTH" and heard.count("NBIRTH") == 2:
                    running.cancel()
                elif kind == "NDEATH":
                    break
            assert heard.index("NBIRTH") < heard.index("DBIRTH") < heard.index("DDATA")
            with pytest.raises(asyncio.CancelledError):
                await running


class _Forgetful:
    """A client that answers a cancellation with its result, as `asyncio.wait_for` of Python 3.11 may."""

    def __init__(self, *_: object, **__: object) -> None:
        self.messages = self._none()

    async def __aenter__(self) -> "_Forgetful":
        return self

    async def __aexit__(self, *_: object) -> None:
        raise aiomqtt.MqttError("Operation timed out")

    async def subscribe(self, topic: str, *, qos: int) -> None:
        assert topic
        assert qos == 1

    async def publish(self, *_: object, **__: object) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.02)

    async def _none(self) -> AsyncIterator[aiomqtt.Message]:
        await asyncio.Event().wait()
        yield aiomqtt.Message("", b"", 0, False, 0, None)


@pytest.mark.parametrize("after_s", [0.01, 0.03, 0.3])
async def test_the_facade_ends_when_it_is_told_to_even_if_its_client_swallows_that(
    after_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiomqtt, "Client", _Forgetful)
    facade = SparkplugFacade(
        SparkplugNode(plan(zigbee=True), CATALOGUE),
        SparkplugBroker("127.0.0.1", 1, client_id="edge-spb"),
        live=list,
        online=lambda: [LAMP],
        listen=lambda _: lambda: None,
        carry=_never,
        command_wait_s=10,
        pause_s=(0.01, 0.02),
        clock=ManualClock(),
        dice=SeededDice(1),
    )
    running = asyncio.create_task(facade.run())
    await asyncio.sleep(after_s)
    running.cancel()
    done, _ = await asyncio.wait({running}, timeout=10)
    assert done == {running}
    assert running.cancelled()


async def _never(_: RoomId, command: Command) -> Outcome:
    raise AssertionError(f"nobody asked for {command}")


def test_every_assertion_that_is_said_to_be_held_is_cited_by_a_test() -> None:
    assert set(HELD) == CITED
    assert len(HELD) == len(set(HELD))
