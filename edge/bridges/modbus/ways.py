"""The way to each kind of Modbus bus: how its links are opened, and how many questions it bears at a time."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import assert_never

from edge.bridges.complaints import Complaints
from edge.bridges.modbus.link import ModbusLink
from edge.bridges.modbus.ports import Dial, Link, Way
from edge.bridges.modbus.rtu_link import RtuLink, StreamWire
from edge.bridges.modbus.security import read_our_certificate, tls_context
from edge.bridges.modbus.serial_port import SerialPort
from edge.bridges.settings import BridgesSettings, ModbusTlsSettings, modbus_tls_settings
from kit.clock import Clock
from kit.logs import logger
from protocols.device_model.site_plan import ModbusBus, ModbusRtuBus, ModbusRtuTcpBus, ModbusTcpBus, ModbusTlsBus
from protocols.errors import InvalidInputError


def way_to(bus: ModbusBus, settings: BridgesSettings, clock: Clock) -> Way:
    """Return the way to a bus.

    Raises:
        InvalidInputError: it asks for certificates that the settings do not name, or that cannot be used.
    """
    most, probes = settings.modbus_in_flight_max, settings.modbus_probes_max
    match bus:
        case ModbusTcpBus():
            return Way(_tcp(bus, clock), most, probes, {"host": bus.host, "port": bus.port})
        case ModbusTlsBus():
            own = modbus_tls_settings(settings.modbus_tls, bus.id)
            return Way(_tls(bus, own, clock), most, probes, {"host": bus.host, "port": bus.port})
        case ModbusRtuTcpBus():
            return Way(_rtu_over_tcp(bus, clock), 1, 1, {"host": bus.host, "port": bus.port})
        case ModbusRtuBus():
            return Way(_serial(bus, clock), 1, 1, {"path": bus.path})
        case _:
            assert_never(bus)


def _tcp(bus: ModbusTcpBus, clock: Clock) -> Dial:
    async def dial(counts: Counter[str], complaints: Complaints) -> Link:
        reader, writer = await asyncio.open_connection(bus.host, bus.port)
        return ModbusLink(reader, writer, counts, complaints, clock)

    return dial


def _tls(bus: ModbusTlsBus, own: ModbusTlsSettings, clock: Clock) -> Dial:
    tls_context(own.ca_path, own.cert_path, own.key_path)  # wrong files are told at the start

    async def dial(counts: Counter[str], complaints: Complaints) -> Link:
        # Read anew for each connection: a renewed certificate counts from the next one on.
        try:
            context = tls_context(own.ca_path, own.cert_path, own.key_path)
            ours = read_our_certificate(own.cert_path)
        except InvalidInputError as error:
            raise OSError(str(error)) from error
        if (warning := ours.warning(datetime.fromtimestamp(clock.wall_ms() / 1000, UTC))) is not None:
            complaints.refused("certificate_warnings", str(own.cert_path), warning)
        name = own.server_name or bus.host
        reader, writer = await asyncio.open_connection(bus.host, bus.port, ssl=context, server_hostname=name)
        counts["secured_connections"] += 1
        if counts["secured_connections"] == 1:
            said = {"role": ours.role, "ends_at": ours.not_after.isoformat(), "tls": _version(writer)}
            logger("edge.bridges").info("modbus_tls", bus=bus.id, **said)
        return ModbusLink(reader, writer, counts, complaints, clock)

    return dial


def _version(writer: asyncio.StreamWriter) -> str | None:
    tls = writer.get_extra_info("ssl_object")
    return None if tls is None else tls.version()


def _rtu_over_tcp(bus: ModbusRtuTcpBus, clock: Clock) -> Dial:
    async def dial(counts: Counter[str], complaints: Complaints) -> Link:
        reader, writer = await asyncio.open_connection(bus.host, bus.port)
        return RtuLink(StreamWire(reader, writer), baud=None, clock=clock, counts=counts, complaints=complaints)

    return dial


def _serial(bus: ModbusRtuBus, clock: Clock) -> Dial:
    async def dial(counts: Counter[str], complaints: Complaints) -> Link:
        return RtuLink(SerialPort.open(bus), baud=bus.baud, clock=clock, counts=counts, complaints=complaints)

    return dial
