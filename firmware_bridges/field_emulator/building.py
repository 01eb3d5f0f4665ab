"""Everything on the buses of one property, and the control line through which the truth is read and life is caused."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final

from firmware_bridges.catalogue import check_plan
from firmware_bridges.field_emulator.broker_things import AdvertGateway, BrokerThings
from firmware_bridges.field_emulator.misbehaviour import GOOD, Knobs, Misbehaviour
from firmware_bridges.field_emulator.modbus_server import EmulatedUnit, ModbusServer
from firmware_bridges.field_emulator.peripheral_line import PeripheralLine
from firmware_bridges.field_emulator.physics import EmulatedDevice, build
from firmware_bridges.field_emulator.serial_line import SerialLine
from firmware_bridges.field_emulator.zigbee_bridge import EmulatedZigbee, ZigbeeBridge, zigbee_of
from kit.clock import Clock
from kit.dice import Dice
from kit.net import Transport
from kit.task_groups import TaskGroup
from protocols.descriptors.descriptor import Descriptor, Table, unreadable_register
from protocols.descriptors.variants import parse_version
from protocols.device_model.identity import BusId, DescriptorId, DeviceId
from protocols.device_model.site_plan import (
    BleAdvertBus,
    BleBus,
    HomeAssistantBus,
    ModbusBus,
    ModbusRtuBus,
    ModbusRtuTcpBus,
    ModbusTcpBus,
    ModbusTlsBus,
    MqttBus,
    MqttDevicesBus,
    OpcUaBus,
    RawTcpBus,
    SerialBus,
    SitePlan,
)
from protocols.errors import InvalidInputError

STEP_S: Final = 0.25
EFFECTS_SHOWN: Final = 50
ANSWER_MS_MAX: Final = 600_000
RAW_PAYLOAD_BYTES_MAX: Final = 256 * 1024

TransportOf = Callable[[MqttBus | MqttDevicesBus | BleAdvertBus], Transport]


class FieldEmulator:
    """The field devices of a property.

    Args:
        plan: what there is and where.
        catalogue: the descriptors.
        transport_of: the way to the site broker for a bus on it.
        clock: both clocks.
        dice: for every misfortune.
        knobs: how much of it; `GOOD` for none.
        speed: how much faster than real time the physics run.
        modbus_tls: what a bus of MODBUS/TCP Security shows and asks for; needed where there is one.
        advert_keys: of sensors that seal what they advertise, by address.

    Raises:
        InvalidInputError: a device of the plan is not described, or cannot be emulated.
    """

    def __init__(
        self,
        plan: SitePlan,
        catalogue: Mapping[DescriptorId, Descriptor],
        *,
        transport_of: TransportOf,
        clock: Clock,
        dice: Dice,
        knobs: Knobs | None = None,
        speed: float = 1.0,
        modbus_tls: ssl.SSLContext | None = None,
        advert_keys: Mapping[str, bytes] | None = None,
    ) -> None:
        check_plan(plan, catalogue)
        self.plan, self.speed, self._catalogue = plan, speed, catalogue
        self._clock, self._modbus_tls = clock, modbus_tls
        self.misbehaviour = Misbehaviour(Knobs() if knobs is None else knobs, dice)
        self.things: dict[DeviceId, EmulatedDevice] = {}
        self.modbus: dict[BusId, ModbusServer] = {}
        self.lines: dict[BusId, SerialLine] = {}
        self.zigbee: dict[BusId, ZigbeeBridge] = {}
        self.talkers: dict[BusId, BrokerThings | AdvertGateway] = {}
        self.peripherals: dict[BusId, PeripheralLine] = {}
        self._opcua: dict[BusId, Any] = {}
        self._radios: dict[DeviceId, tuple[ZigbeeBridge, EmulatedZigbee]] = {}
        self._units: dict[DeviceId, EmulatedUnit] = {}
        for device in plan.devices:
            self.things[device.id] = build(device.id, device.room, catalogue[device.descriptor], self._changed)
        for bus in plan.buses:
            match bus:
                case ModbusTcpBus() | ModbusTlsBus() | ModbusRtuTcpBus():
                    if isinstance(bus, ModbusTlsBus) and modbus_tls is None:
                        raise InvalidInputError(f"site plan: bus {bus.id}", "needs TLS, and no certificates are given")
                    rtu = isinstance(bus, ModbusRtuTcpBus)
                    self.modbus[bus.id] = ModbusServer(self._units_on(bus), self.misbehaviour, clock, rtu=rtu)
                case ModbusRtuBus():
                    self.lines[bus.id] = SerialLine(bus, self._units_on(bus), self.misbehaviour, clock)
                case MqttBus():
                    self.zigbee[bus.id] = self._zigbee_bus(bus, transport_of(bus))
                case MqttDevicesBus():
                    named = [
                        (self.things[each.id], each.address.friendly_name or each.id)
                        for each in plan.devices_on(bus.id)
                    ]
                    self.talkers[bus.id] = BrokerThings(named, transport_of(bus), self.misbehaviour, clock)
                case BleAdvertBus():
                    sensors = [(self.things[each.id], each.address.mac or "") for each in plan.devices_on(bus.id)]
                    self.talkers[bus.id] = AdvertGateway(
                        bus.base_topic, sensors, transport_of(bus), self.misbehaviour, clock, keys=advert_keys
                    )
                case SerialBus() | RawTcpBus():
                    for each in plan.devices_on(bus.id):
                        self.peripherals[bus.id] = PeripheralLine(bus, self.things[each.id], self.misbehaviour)
                case OpcUaBus() | BleBus() | HomeAssistantBus():
                    pass  # the plant's server needs asyncua: made when it is started; locks are another emulator's

    async def run(self, started: asyncio.Event | None = None) -> None:
        """Serve every bus until cancelled. Raises OSError if a port is taken."""
        try:
            for bus in self.plan.buses:
                if isinstance(bus, ModbusTcpBus | ModbusTlsBus | ModbusRtuTcpBus):
                    tls = self._modbus_tls if isinstance(bus, ModbusTlsBus) else None
                    await self.modbus[bus.id].start(bus.host, bus.port, tls=tls)
                elif isinstance(bus, ModbusRtuBus):
                    self.lines[bus.id].start()
                elif isinstance(bus, OpcUaBus):
                    await self._start_opcua(bus)
                elif bus.id in self.peripherals:
                    await self.peripherals[bus.id].start()
            async with TaskGroup() as tasks:
                for bridge in self.zigbee.values():
                    tasks.create_task(bridge.run())
                for talker in self.talkers.values():
                    tasks.create_task(talker.run())
                tasks.create_task(self._live())
                if started is not None:
                    started.set()
        finally:
            for server in self.modbus.values():
                await server.stop()
            for line in self.lines.values():
                await line.stop()
            for peripheral in self.peripherals.values():
                await peripheral.stop()
            for plant in self._opcua.values():
                await plant.stop()

    async def answer(self, do: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request of the control line; SPEC.md lists them.

        Raises:
            InvalidInputError: the request asks for what there is not.
        """
        match do:
            case "list":
                return {"devices": [self._entry(each) for each in self.things.values()]}
            case "true_state":
                return self._truth(self._thing(request))
            case "cause":
                thing = self._thing(request)
                arguments = request.get("with", {})
                if not isinstance(arguments, dict):
                    raise InvalidInputError("cause: with", f"{arguments!r:.80} is no object")
                thing.cause(str(request.get("event")), arguments)
                await self._show()
                return self._truth(thing)
            case "power":
                return await self._power(self._thing(request), on=request.get("on") is True)
            case "present":
                return self._present(self._thing(request), str(request.get("text", "")))
            case "flash":
                return self._flash(self._thing(request), str(request.get("version")))
            case "registers":
                return self._set_registers(self._thing(request), request.get("set", {}))
            case "slow":
                return self._slow(self._thing(request), request.get("answer_ms"))
            case "swap":
                return self._swap(self._thing(request), request.get("descriptor"))
            case "one_at_a_time":
                for server in self.modbus.values():
                    server.one_at_a_time = request.get("on") is True
                return {"on": request.get("on") is True}
            case "misbehave":
                return self._misbehave(request)
            case "bridge":
                self._bridge(request).bridge_state(online=request.get("online") is True)
                return {}
            case "join":
                self._bridge(request).join(
                    str(request.get("friendly_name")),
                    str(request.get("ieee")),
                    None if request.get("model") is None else str(request["model"]),
                    None if request.get("vendor") is None else str(request["vendor"]),
                )
                return {}
            case "publish":
                payload = str(request.get("payload", "")).encode()
                if len(payload) > RAW_PAYLOAD_BYTES_MAX:
                    raise InvalidInputError("publish: payload", f"{len(payload)} bytes")
                self._bridge(request).publish_raw(
                    str(request.get("topic")), payload, retain=request.get("retain") is True
                )
                return {}
            case "hang_up":
                for server in self.modbus.values():
                    server.hang_up()
                return {}
            case "speed":
                speed = request.get("value")
                if isinstance(speed, bool) or not isinstance(speed, int | float) or not 0 <= speed <= 10_000:
                    raise InvalidInputError("speed: value", f"{speed!r:.40} is outside 0..10000")
                self.speed = float(speed)
                return {"speed": self.speed}
            case "counts":
                modbus = {bus: server.counts for bus, server in self.modbus.items()}
                modbus |= {bus: line.counts for bus, line in self.lines.items()}
                return {
                    "modbus": {bus: dict(counts) for bus, counts in modbus.items()},
                    "mqtt": {bus: dict(bridge.counts) for bus, bridge in self.zigbee.items()},
                    "opcua": {bus: dict(server.counts) for bus, server in self._opcua.items()},
                }
        raise InvalidInputError("control", f"nothing is called {do!r}")

    # --- life -----------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        before_ms = self._clock.now_ms()
        while True:
            await asyncio.sleep(STEP_S)
            now_ms = self._clock.now_ms()
            seconds, before_ms = (now_ms - before_ms) / 1000 * self.speed, now_ms
            for thing in self.things.values():
                thing.step(seconds)
            for bridge in self.zigbee.values():
                bridge.step(seconds)
            for plant in self._opcua.values():
                plant.step(seconds)
            await self._show()

    async def _show(self) -> None:
        for plant in self._opcua.values():
            await plant.publish()

    def _changed(self, thing: EmulatedDevice) -> None:
        found = self._radios.get(thing.device)
        if found is not None:
            bridge, radio = found
            bridge.told(radio)
        for talker in self.talkers.values():
            talker.told(thing)

    # --- the buses ------------------------------------------------------------------------------------------

    def _units_on(self, bus: ModbusBus) -> dict[int, EmulatedUnit]:
        units: dict[int, EmulatedUnit] = {}
        for device in self.plan.devices_on(bus.id):
            unit = self._units[device.id] = EmulatedUnit(self.things[device.id])
            units[device.address.unit or 0] = unit
        return units

    def _zigbee_bus(self, bus: MqttBus, transport: Transport) -> ZigbeeBridge:
        radios = [
            zigbee_of(self.things[device.id], device.address.friendly_name or device.id, device.address.ieee, number)
            for number, device in enumerate(self.plan.devices_on(bus.id), 1)
        ]
        bridge = ZigbeeBridge(bus.base_topic, radios, transport, self.misbehaviour, self._clock)
        for radio in radios:
            self._radios[radio.thing.device] = (bridge, radio)
        return bridge

    async def _start_opcua(self, bus: OpcUaBus) -> None:
        # asyncua costs 30 MB: only where there is a plant.
        from firmware_bridges.field_emulator.opcua_server import OpcUaServer

        things = [(self.things[each.id], each.address.node) for each in self.plan.devices_on(bus.id)]
        plant = OpcUaServer(things, self.misbehaviour, self._clock)
        await plant.start(bus.url)
        self._opcua[bus.id] = plant

    # --- the control line -----------------------------------------------------------------------------------

    def _thing(self, request: Mapping[str, Any]) -> EmulatedDevice:
        thing = self.things.get(DeviceId(str(request.get("device"))))
        if thing is None:
            raise InvalidInputError("device", f"no device {request.get('device')!r:.60} is emulated here")
        return thing

    def _bridge(self, request: Mapping[str, Any]) -> ZigbeeBridge:
        bus = request.get("bus")
        if bus is None and len(self.zigbee) == 1:
            return next(iter(self.zigbee.values()))
        found = self.zigbee.get(BusId(str(bus)))
        if found is None:
            raise InvalidInputError("bus", f"no Zigbee bus {bus!r:.60} is emulated here")
        return found

    def _entry(self, thing: EmulatedDevice) -> dict[str, Any]:
        return {
            "device": thing.device,
            "room": thing.room,
            "descriptor": thing.descriptor.id,
            "powered": thing.powered,
            "events": dict(thing.EVENTS),
        }

    def _truth(self, thing: EmulatedDevice) -> dict[str, Any]:
        truth: dict[str, Any] = {
            "device": thing.device,
            "powered": thing.powered,
            "state": {f"{capability}.{name}": value for (capability, name), value in sorted(thing.state.items())},
            "writes": thing.effects_count,
            "effects": list(thing.effects)[-EFFECTS_SHOWN:],
        }
        if thing.device in self._units:
            truth["registers"] = self._units[thing.device].registers()
        if thing.device in self._radios:
            truth["payload"] = self._radios[thing.device][1].payload()
        return truth

    async def _power(self, thing: EmulatedDevice, *, on: bool) -> dict[str, Any]:
        if thing.device in self._radios:
            bridge, radio = self._radios[thing.device]
            bridge.power(radio, on=on)
        elif (talker := self._talker_of(thing)) is not None:
            talker.power(thing, on=on)
        else:
            thing.powered = on
            await self._show()
        return {"powered": on}

    def _present(self, thing: EmulatedDevice, text: str) -> dict[str, Any]:
        """Put a document on a reader."""
        reader = next((each for each in self.peripherals.values() if each.thing is thing), None)
        if reader is None or len(text) > 200:
            raise InvalidInputError("present", f"{thing.device} reads no documents, or {len(text)} characters are none")
        reader.present(text)
        return {}

    def _flash(self, thing: EmulatedDevice, version: str) -> dict[str, Any]:
        """Put another firmware on a thing; how it then makes itself known is its bus's."""
        if parse_version(version) is None:
            raise InvalidInputError("flash: version", f"{version!r:.60} is no version, such as 1.14.0")
        thing.flash(version)
        if thing.device in self._radios:
            self._radios[thing.device][0].flashed()
        elif (talker := self._talker_of(thing)) is not None:
            talker.power(thing, on=False)
            talker.power(thing, on=True)  # a flashed thing restarts
        return {"firmware": thing.firmware}

    def _talker_of(self, thing: EmulatedDevice) -> BrokerThings | None:
        device = self.plan.device(thing.device)
        talker = None if device is None else self.talkers.get(device.address.bus)
        return talker if isinstance(talker, BrokerThings) else None

    def _set_registers(self, thing: EmulatedDevice, changes: object) -> dict[str, Any]:
        unit = self._units.get(thing.device)
        if unit is None or not isinstance(changes, dict):
            raise InvalidInputError("registers", f"{thing.device} has no registers, or {changes!r:.60} is no object")
        parsed: dict[tuple[Table, int], int] = {}
        for name, word in changes.items():
            if type(word) is not int or not 0 <= word <= 0xFFFF:
                raise InvalidInputError(f"registers: {name}", f"{word!r:.40} is no word")
            parsed[unreadable_register(str(name), "registers")] = word
        unit.force(parsed)
        return {"registers": unit.registers()}

    def _slow(self, thing: EmulatedDevice, answer_ms: object) -> dict[str, Any]:
        """Have a Modbus unit take so long for each answer; None: as long as everybody."""
        unit = self._units.get(thing.device)
        none = answer_ms is None
        if unit is None or not (none or (type(answer_ms) is int and 0 <= answer_ms <= ANSWER_MS_MAX)):
            raise InvalidInputError("slow", f"{thing.device} is no Modbus unit, or {answer_ms!r:.40} is no answer time")
        unit.answer_ms = answer_ms if isinstance(answer_ms, int) else None
        return {"answer_ms": unit.answer_ms}

    def _swap(self, thing: EmulatedDevice, descriptor: object) -> dict[str, Any]:
        """Have a thing of another model answer in a Modbus unit's place; None: the unit itself again."""
        unit = self._units.get(thing.device)
        other = None if descriptor is None else self._catalogue.get(DescriptorId(str(descriptor)))
        if unit is None or (descriptor is not None and other is None):
            raise InvalidInputError("swap", f"{thing.device} is no Modbus unit, or {descriptor!r:.60} no model")
        unit.stand_in = None if other is None else EmulatedUnit(build(thing.device, thing.room, other, lambda _: None))
        return {"descriptor": descriptor}

    def _misbehave(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request.get("good") is True:
            self.misbehaviour.knobs = GOOD
        changes = request.get("set", {})
        if not isinstance(changes, dict):
            raise InvalidInputError("misbehave: set", f"{changes!r:.60} is no object")
        self.misbehaviour.turn(changes)
        return {"knobs": {name: getattr(self.misbehaviour.knobs, name) for name in Knobs.__struct_fields__}}
