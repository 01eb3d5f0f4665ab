"""One descriptor as a running thing: an emulator on a real socket, from the file alone.

Modbus and OPC UA listen on loopback; what speaks on a broker joins the one that is named, or one of its own that is
started here for it. Ends by SIGINT or SIGTERM.
"""

import asyncio
import contextlib
import json
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec

from firmware_bridges.field_emulator.building import FieldEmulator
from firmware_bridges.field_emulator.misbehaviour import GOOD, Knobs
from kit.clock import SystemClock
from kit.dice import SeededDice, SystemDice
from kit.mqtt import Broker, MqttTransport
from protocols.descriptors.descriptor import Descriptor, Emulation, load
from protocols.descriptors.firmware import told_apart
from protocols.descriptors.variants import parse_version
from protocols.descriptors.wires import BleAdvertWire, ModbusWire, MqttWire, OpcUaWire, PeripheralWire
from protocols.device_model import site_plan
from protocols.device_model.identity import BusId, DeviceId, EdgeId, PropertyId, RoomId
from protocols.errors import InvalidInputError
from provisioning.rehearsal.nats import Nats

HOST: Final = "127.0.0.1"
UNIT: Final = 1
MAC: Final = "a4:c1:38:00:00:01"
DEVICE: Final = DeviceId("emulated")
ADVERT_BASE: Final = "ruuvi"


def plan_of(descriptor: Descriptor, *, port: int, name: str) -> tuple[site_plan.SitePlan, dict[str, Any]]:
    """Return a property with this one thing in it, and where the thing is, for people and programs."""
    bus: site_plan.Bus
    match descriptor.wire:
        case ModbusWire():
            bus = site_plan.ModbusTcpBus(BusId("bus"), HOST, port)
            address, where = site_plan.Address(bus.id, unit=UNIT), {"modbus_tcp": f"{HOST}:{port}", "unit": UNIT}
        case OpcUaWire(root=root):
            bus = site_plan.OpcUaBus(BusId("bus"), f"opc.tcp://{HOST}:{port}/emulated")
            address, where = site_plan.Address(bus.id), {"opcua": bus.url, "root": root}
        case MqttWire():
            bus = site_plan.MqttDevicesBus(BusId("bus"))
            address, where = site_plan.Address(bus.id, friendly_name=name), {"name": name}
        case PeripheralWire(dialect=dialect):
            bus = site_plan.RawTcpBus(BusId("bus"), HOST, port)
            address, where = site_plan.Address(bus.id), {"raw_tcp": f"{HOST}:{port}", "dialect": dialect}
        case BleAdvertWire(encoding=encoding):
            bus = site_plan.BleAdvertBus(BusId("bus"), ADVERT_BASE)
            address = site_plan.Address(bus.id, mac=MAC)
            where = {"topic": f"{ADVERT_BASE}/+/{MAC.upper()}", "encoding": encoding}
        case _:
            bus = site_plan.MqttBus(BusId("bus"), "zigbee2mqtt")
            address = site_plan.Address(bus.id, friendly_name=name)
            where = {"topic": f"zigbee2mqtt/{name}"}
    made = site_plan.SitePlan(
        v=1,
        property=site_plan.Property(PropertyId("emulated"), "Emulated", "Etc/UTC", "emulated"),
        edge=EdgeId("emulated"),
        rooms=(site_plan.Room(RoomId("room"), 1, "guest_room", "any"),),
        devices=(site_plan.Device(DEVICE, RoomId("room"), descriptor.id, address),),
        buses=(bus,),
    )
    return site_plan.parse(site_plan.encode(made)), where


def run_emulator(
    path: Path,
    *,
    port: int | None,
    broker: str | None,
    name: str,
    well_behaved: bool,
    seed: int | None,
    firmware: str | None = None,
) -> int:
    """Serve until told to stop; prints one JSON line when everything listens.

    Raises:
        InvalidInputError: the file is wrong, or the broker's address is none.
    """
    descriptor = load(path)
    if descriptor.emulation is None:  # a map alone is enough to hold values and take writes
        descriptor = msgspec.structs.replace(descriptor, emulation=Emulation(model="plain"))
    if firmware is not None:
        if parse_version(firmware) is None:
            raise InvalidInputError("--firmware", f"{firmware!r:.60} is no version, such as 1.14.0")
        emulation = msgspec.structs.replace(descriptor.emulation or Emulation(model="plain"), firmware=firmware)
        descriptor = msgspec.structs.replace(descriptor, emulation=emulation)
    asyncio.run(_serve(descriptor, port, broker, name, well_behaved=well_behaved, seed=seed))
    return 0


async def _serve(
    descriptor: Descriptor, port: int | None, broker: str | None, name: str, *, well_behaved: bool, seed: int | None
) -> None:
    made, where = plan_of(descriptor, port=port or _free_port(), name=name)
    async with _broker_for(descriptor, broker) as way:
        emulator = FieldEmulator(
            made,
            {descriptor.id: descriptor},
            transport_of=lambda _: MqttTransport(Broker(*way, client_id=f"emulated-{name}"[:40].replace("/", "-"))),
            clock=SystemClock("host"),
            dice=SystemDice() if seed is None else SeededDice(seed),
            knobs=GOOD if well_behaved else Knobs(),
        )
        started, stop = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, stop.set)
        running = asyncio.create_task(emulator.run(started))
        waiting = [asyncio.create_task(started.wait()), asyncio.create_task(stop.wait())]
        await asyncio.wait({running, waiting[0]}, return_when=asyncio.FIRST_COMPLETED)
        if started.is_set():
            broker_at = (
                {}
                if isinstance(descriptor.wire, ModbusWire | OpcUaWire | PeripheralWire)
                else {"broker": f"{way[0]}:{way[1]}"}
            )
            runs = {"firmware": emulator.things[DEVICE].firmware} if told_apart(descriptor) else {}
            told = {"ready": True, "descriptor": descriptor.id, **where, **broker_at, **runs}
            print(json.dumps(told), flush=True)
            await asyncio.wait({running, waiting[1]}, return_when=asyncio.FIRST_COMPLETED)
        for task in (running, *waiting):
            task.cancel()
        [ended, *_] = await asyncio.gather(running, *waiting, return_exceptions=True)
        if isinstance(ended, OSError):
            raise InvalidInputError("--port", f"{where}: {ended.strerror or ended}") from ended
        if isinstance(ended, Exception):
            raise ended


@contextlib.asynccontextmanager
async def _broker_for(descriptor: Descriptor, broker: str | None) -> AsyncIterator[tuple[str, int]]:
    if isinstance(descriptor.wire, ModbusWire | OpcUaWire | PeripheralWire):
        yield HOST, 0
        return
    if broker is not None:
        host, _, port = broker.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
            raise InvalidInputError("--broker", f"{broker!r:.60} is not <host>:<port>")
        yield host, int(port)
        return
    with tempfile.TemporaryDirectory(prefix="innkeeper-emulated-") as folder:
        async with Nats(Path(folder) / "nats") as own:
            yield own.host, own.port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
