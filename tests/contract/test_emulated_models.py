"""Every model on its real wire: the emulator that its descriptor makes, the bridge that its descriptor drives."""

import itertools
from collections.abc import AsyncIterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Final

import pytest

from firmware_bridges.catalogue import load_all
from firmware_bridges.recording import RecordedWrite, load, recording_files
from protocols.descriptors.codec import same
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.descriptors.wires import BleAdvertWire, ModbusWire, MqttWire, OpcUaWire, PeripheralWire, Zigbee2MqttWire
from protocols.device_model import site_plan
from protocols.device_model.command import Phase
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, EdgeId, PropertyId, RoomId
from protocols.device_model.reading import Quality
from provisioning.rehearsal.nats import Nats
from tests.edge.bridges.field import Field, field, free_port

pytestmark = pytest.mark.tier("nats")

CATALOGUE: Final = load_all()
WRITES: Final[Mapping[DescriptorId, list[RecordedWrite]]] = {
    each: [
        write
        for path in recording_files()
        for recording in [load(path)]
        if recording.descriptor == each
        for write in recording.writes
    ]
    for each in CATALOGUE
}
COUNTED: Final = ("cumulative_energy_imported",)
"""What the emulator moves by itself."""


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[tuple[str, int]]:
    async with Nats(tmp_path / "nats") as nats:
        yield nats.host, nats.port


def _plan(models: list[Descriptor]) -> site_plan.SitePlan:
    buses: dict[str, site_plan.Bus] = {}
    devices = []
    for number, model in enumerate(models, 1):
        name = f"d-{number}"
        match model.wire:
            case ModbusWire():
                bus: site_plan.Bus = site_plan.ModbusTcpBus(BusId("modbus"), "127.0.0.1", free_port())
                address = site_plan.Address(bus.id, unit=number)
            case Zigbee2MqttWire():
                bus = site_plan.MqttBus(BusId("zigbee"), "zigbee2mqtt")
                address = site_plan.Address(bus.id, friendly_name=name)
            case MqttWire():
                bus = site_plan.MqttDevicesBus(BusId("talkers"))
                address = site_plan.Address(bus.id, friendly_name=f"101/{name}")
            case BleAdvertWire():
                bus = site_plan.BleAdvertBus(BusId("adverts"), "ruuvi")
                address = site_plan.Address(bus.id, mac=f"a4:c1:38:00:00:{number:02x}")
            case PeripheralWire():
                bus = site_plan.RawTcpBus(BusId(f"kiosk-{number}"), "127.0.0.1", free_port())
                address = site_plan.Address(bus.id)
            case OpcUaWire():
                bus = site_plan.OpcUaBus(BusId("plant"), f"opc.tcp://127.0.0.1:{free_port()}/plant")
                address = site_plan.Address(bus.id)
        buses.setdefault(bus.id, bus)
        devices.append(site_plan.Device(DeviceId(name), RoomId("101"), model.id, address))
    made = site_plan.SitePlan(
        v=1,
        property=site_plan.Property(PropertyId("aurora"), "Hotel Aurora", "Europe/Vienna", "northlight"),
        edge=EdgeId("e-1"),
        rooms=(site_plan.Room(RoomId("101"), 1, "guest_room", "double"),),
        devices=tuple(devices),
        buses=tuple(buses.values()),
    )
    return site_plan.parse(site_plan.encode(made))


def _still(model: Descriptor) -> bool:
    """Whether nothing in the emulated thing moves by itself."""
    return model.emulation is not None and model.emulation.model in ("plain", "contact")


def _shown(it: Field, device: DeviceId, model: Descriptor, point: Point) -> bool:
    last = it.heard.last(device, point.capability, point.attribute)
    if last is None or last.quality is not (Quality.UNCERTAIN if point.doubt else Quality.GOOD):
        return False
    truth = it.emulator.things[device].state[(point.capability, point.attribute)]
    moving = point.attribute.partition(":")[0] in COUNTED or not _still(model)
    return moving or _close(model, point, truth, last.value)


def _close(model: Descriptor, point: Point, truth: object, value: object) -> bool:
    if isinstance(truth, bool | str) or isinstance(value, bool | str) or value is None:
        return truth == value
    assert isinstance(truth, int | float)
    assert isinstance(value, int | float)
    # An advert says no more than its encoding holds: tenths of a degree, whole per cent.
    slack = 0.5 if isinstance(model.wire, BleAdvertWire) else 0.0
    return same(point, truth, value) or abs(truth - value) <= max(slack, point.deadband)


@pytest.mark.requirement("DEV-02")
@pytest.mark.requirement("DEV-06")
@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("wire", [ModbusWire, Zigbee2MqttWire, MqttWire, BleAdvertWire, OpcUaWire, PeripheralWire])
async def test_every_model_is_read_and_written_on_its_own_wire(wire: type, broker: tuple[str, int]) -> None:
    models = sorted((each for each in CATALOGUE.values() if isinstance(each.wire, wire)), key=attrgetter("id"))
    if wire is OpcUaWire:
        models = [each for each in models if each.id == "reference/ahu_5000"]  # the chiller has a suite of its own
    assert models
    made = _plan(models)
    async with field(made, broker=broker) as it:
        pairs = [(each.id, CATALOGUE[each.descriptor]) for each in made.devices]
        await it.heard.until(
            lambda: all(
                _shown(it, device, model, point)
                for device, model in pairs
                for point in it.emulator.things[device].descriptor.points
            )
        )
        for device, model in pairs:
            done = set()
            for write in WRITES[model.id]:
                key = (write.capability, write.attribute)
                if key in done:
                    continue
                done.add(key)
                outcome = await it.devices.write(it.command(device, *key, write.value))
                assert (model.id, key, outcome.phase) == (model.id, key, Phase.DONE), outcome
                point = model.point(*key)
                assert point is not None
                truth = it.emulator.things[device].effects
                assert any(each["attribute"] == key[1] and each["value"] == write.written for each in truth)


def test_there_are_models_of_every_kind_that_a_hotel_has() -> None:
    wires = [type(each.wire) for each in CATALOGUE.values()]
    counted = {kind: len(list(some)) for kind, some in itertools.groupby(sorted(wires, key=lambda each: each.__name__))}
    assert len(wires) >= 30
    assert counted[ModbusWire] >= 9
    assert counted[Zigbee2MqttWire] >= 12
    assert counted[MqttWire] >= 8
    assert counted[BleAdvertWire] >= 7
    assert counted[OpcUaWire] >= 2
