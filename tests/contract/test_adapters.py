"""One suite for every model: a new one adds a descriptor and a recording, and no line here."""

from operator import attrgetter
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridges.catalogue import descriptor_files, load_all
from firmware_bridges.field_emulator.modbus_server import EmulatedUnit
from firmware_bridges.field_emulator.physics import build
from firmware_bridges.recording import RecordedWrite, Recording, load, recording_files, replay, replay_write
from protocols.descriptors.codec import allow, encode, judge, raw_of_value, same
from protocols.descriptors.descriptor import Descriptor, Table
from protocols.descriptors.firmware import every
from protocols.descriptors.wires import ModbusWire, OpcUaWire, Zigbee2MqttWire
from protocols.device_model.capability import Kind, problem_with
from protocols.device_model.identity import DescriptorId, DeviceId, RoomId
from protocols.device_model.reading import Quality, Reading
from protocols.modbus.frames import Words
from protocols.modbus.read_planner import plan_by_interval
from protocols.opcua.node_map import judge_node

CATALOGUE: Final = load_all()
DESCRIPTORS: Final = sorted(CATALOGUE.values(), key=attrgetter("id"))
RECORDINGS: Final = [load(path) for path in recording_files()]
WRITES: Final = [(recording, write) for recording in RECORDINGS for write in recording.writes]
RAWS: Final = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=20), st.lists(st.integers())
)

FIRMWARES: Final = [each for model in DESCRIPTORS for _, each in every(model)]
"""Every model under each of the firmwares that are told apart."""

every_firmware = pytest.mark.parametrize("descriptor", FIRMWARES, ids=attrgetter("id"))
every_model = pytest.mark.parametrize("descriptor", DESCRIPTORS, ids=attrgetter("id"))


@pytest.mark.requirement("DEV-02")
@pytest.mark.parametrize("recording", RECORDINGS, ids=attrgetter("name"))
def test_the_descriptor_reproduces_the_recording(recording: Recording) -> None:
    model = recording.model(CATALOGUE[recording.descriptor])
    assert tuple(replay(model, recording.raw)) == recording.readings


@pytest.mark.guarantee("G13")
@pytest.mark.requirement("DEV-06")
@pytest.mark.parametrize(("recording", "write"), WRITES, ids=lambda each: getattr(each, "name", ""))
def test_a_command_becomes_the_write_that_was_recorded(recording: Recording, write: RecordedWrite) -> None:
    model = recording.model(CATALOGUE[recording.descriptor])
    assert replay_write(model, write) == (write.written, write.wire)


@every_model
def test_every_model_has_a_recording_that_speaks_of_every_point(descriptor: Descriptor) -> None:
    told = {
        (each.capability, each.attribute)
        for recording in RECORDINGS
        if recording.descriptor == descriptor.id
        for each in recording.readings
    }
    # Zigbee radios report the link only together with something else: no published payload has to hold it.
    unheard = {(point.capability, point.attribute) for point in descriptor.points} - told
    assert not [each for each in unheard if each[1] != "link_quality"]


@every_model
def test_every_writable_point_has_a_recorded_write(descriptor: Descriptor) -> None:
    recorded = {
        (write.capability, write.attribute) for recording, write in WRITES if recording.descriptor == descriptor.id
    }
    assert {(point.capability, point.attribute) for point in descriptor.points if point.write} == recorded


@pytest.mark.guarantee("G19")
@every_firmware
@settings(max_examples=25)
@given(data=st.data())
def test_noise_of_any_type_gives_a_reading_with_its_reason_and_raises_nothing(
    descriptor: Descriptor, data: st.DataObject
) -> None:
    point = data.draw(st.sampled_from(descriptor.points))
    judged = judge(point, data.draw(RAWS))
    if judged.quality is Quality.BAD:
        assert judged.value is None
        assert judged.reason
    else:
        assert problem_with(point.row, judged.value) is None


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "descriptor",
    [each for each in FIRMWARES if isinstance(each.wire, ModbusWire)],
    ids=attrgetter("id"),
)
@settings(max_examples=25)
@given(data=st.data())
def test_any_words_in_the_registers_give_one_reading_a_point(descriptor: Descriptor, data: st.DataObject) -> None:
    word = st.integers(0, 0xFFFF)
    registers = {
        f"{point.table}:{(point.register or 0) + each}": data.draw(word)
        for point in descriptor.points
        for each in range(point.span[0] - (point.register or 0), point.span[1] - (point.register or 0))
    }
    readings = replay(descriptor, {"registers": registers})
    assert [(each.capability, each.attribute) for each in readings] == [
        (point.capability, point.attribute) for point in descriptor.points
    ]
    for each in readings:
        assert Reading.from_body(each.to_body()) == each


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "descriptor",
    [each for each in FIRMWARES if isinstance(each.wire, Zigbee2MqttWire)],
    ids=attrgetter("id"),
)
@settings(max_examples=25)
@given(payload=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_any_bytes_as_a_payload_give_readings_or_nothing(descriptor: Descriptor, payload: bytes) -> None:
    for each in replay(descriptor, {"payload": payload.decode(errors="replace")}):
        assert (each.value is None) == (each.quality is Quality.BAD)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "descriptor",
    [each for each in DESCRIPTORS if isinstance(each.wire, OpcUaWire)],
    ids=attrgetter("id"),
)
@settings(max_examples=25)
@given(raw=RAWS, status=st.integers(0, 0xFFFF_FFFF), index=st.integers(0, 100))
def test_any_value_under_any_status_gives_a_reading(
    descriptor: Descriptor, raw: object, status: int, index: int
) -> None:
    point = descriptor.points[index % len(descriptor.points)]
    judged = judge_node(point, raw, status)
    if status >> 30 >= 2:
        assert (judged.value, judged.quality) == (None, Quality.BAD)
    if status >> 30 == 1:
        assert judged.quality is not Quality.GOOD


@pytest.mark.guarantee("G13")
@every_firmware
@settings(max_examples=25)
@given(data=st.data())
def test_what_is_allowed_is_in_range_and_comes_back_as_itself(descriptor: Descriptor, data: st.DataObject) -> None:
    writable = [point for point in descriptor.points if point.write is not None]
    if not writable:
        return
    point = data.draw(st.sampled_from(writable))
    asked = data.draw(st.one_of(RAWS, st.sampled_from([value for _, value in point.values] or [True])))
    allowed = allow(point, asked)
    if isinstance(allowed, str):
        return
    assert problem_with(point.row, allowed.value) is None
    rule = point.write
    if point.row.kind in (Kind.NUMBER, Kind.INTEGER) and rule is not None:
        assert rule.least <= allowed.value <= rule.most  # type: ignore[operator]  # a number, by the case
    encode(point, allowed.value)
    back = judge(point, raw_of_value(point, allowed.value))
    assert same(point, allowed.value, back.value)


@pytest.mark.parametrize(
    ("model", "version"),
    [(each, version) for each in DESCRIPTORS if isinstance(each.wire, ModbusWire) for version, _ in every(each)],
    ids=lambda each: each if isinstance(each, str) else each.id,
)
def test_bridge_and_emulator_agree_on_every_register(model: Descriptor, version: str) -> None:
    thing = build(DeviceId("d"), RoomId("101"), model, lambda _: None)
    thing.flash(version or "0")
    descriptor = thing.descriptor
    unit = EmulatedUnit(thing)
    image: dict[tuple[Table, int], int] = {}
    for blocks in plan_by_interval(descriptor).values():
        for block in blocks:
            reply = unit.answer(block.read, at_ms=0)
            assert isinstance(reply, Words)
            image |= {(block.read.table, block.read.start + at): word for at, word in enumerate(reply.words)}
    registers = {f"{table}:{register}": word for (table, register), word in image.items()}
    for each in replay(descriptor, {"registers": registers}):
        point = descriptor.point(each.capability, each.attribute)
        assert point is not None
        assert each.quality is Quality.GOOD
        assert same(point, thing.state[(each.capability, each.attribute)], each.value)


@pytest.mark.parametrize("path", descriptor_files(), ids=lambda path: path.stem)
def test_a_descriptor_says_where_its_map_comes_from_and_what_is_proven(path: Path) -> None:
    descriptor = CATALOGUE[DescriptorId(f"{path.parent.parent.name}/{path.stem}")]
    assert len(descriptor.identity.source) > 20
    assert len(descriptor.quality.proven) > 10
    assert descriptor.emulation is not None
