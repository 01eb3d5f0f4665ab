"""Stands for a Modbus TCP gateway with units whose registers all hold how often their unit was read, and notes when.

Asked by `child`: `listen`, `times`. A value names the read that told it, so that who keeps it can be asked how long
that took. Times are `time.perf_counter`, which all processes of a Linux machine share.
"""

import asyncio
import struct
import time
from collections.abc import Mapping
from typing import Any, Final

from bench.hot_path.child import serve
from protocols.descriptors.descriptor import Descriptor, parse
from protocols.device_model import site_plan
from protocols.device_model.identity import BusId, DeviceId, EdgeId, PropertyId, RoomId

LEAST: Final = 1_000
"""Of the registers: 10.00 degrees."""
MOST: Final = 15_000
_HEAD: Final = struct.Struct(">HHHBB")


class Units:
    """Every unit's count, over all connections."""

    def __init__(self) -> None:
        self.reads: dict[int, int] = {}
        self.answered_at: dict[str, float] = {}

    async def answer(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        match asked["do"]:
            case "listen":
                server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
                return {"port": server.sockets[0].getsockname()[1]}
            case "times":
                return {"at": self.answered_at}
        raise ValueError(asked["do"])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                transaction, _, length, unit, function = _HEAD.unpack(await reader.readexactly(_HEAD.size))
                _, count = struct.unpack(">HH", (await reader.readexactly(length - 2))[:4])
                if function != 3:
                    writer.write(_HEAD.pack(transaction, 0, 3, unit, function | 0x80) + b"\x01")
                    continue
                value = self.reads[unit] = self.reads.get(unit, LEAST - 1) % MOST + 1
                words = struct.pack(f">{count}H", *[value] * count)
                self.answered_at[f"{unit}:{value}"] = time.perf_counter()
                writer.write(_HEAD.pack(transaction, 0, 3 + len(words), unit, function) + bytes((len(words),)) + words)
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()


def model_text(registers: int) -> str:
    """Return the descriptor of a unit of so many registers, each read once a second."""
    points = "".join(
        f"""
[[points]]
capability = "temperature_measurement"
attribute = "measured_value:t{each}"
table = "holding"
register = {each}
type = "uint16"
scale = 0.01
unit = "Cel"
every_s = 1
heartbeat_s = 0.5
"""
        for each in range(registers)
    )
    return f"""
format = 1
[identity]
id = "bench/ten"
vendor = "Bench"
model = "Ten"
title = "ten registers"
source = "bench/hot_path/units.py"
[quality]
level = "emulator"
proven = "nothing"
on = "emulator"
[wire]
kind = "modbus"
{points}
[emulation]
model = "plain"
"""


def model(registers: int) -> Descriptor:
    return parse(model_text(registers).encode(), "bench")


def plan(units: int, port: int, *, property_id: str, edge: str) -> site_plan.SitePlan:
    """Return the site plan of an edge with one gateway and its units, four a room."""
    bus = BusId("modbus-1")
    rooms = [RoomId(f"r{each:03d}") for each in range((units + 3) // 4)]
    return site_plan.SitePlan(
        v=1,
        property=site_plan.Property(PropertyId(property_id), "Bench", "Etc/UTC", "bench"),
        edge=EdgeId(edge),
        rooms=tuple(site_plan.Room(each, 1, "guest_room", "double") for each in rooms),
        buses=(site_plan.ModbusTcpBus(bus, "127.0.0.1", port),),
        devices=tuple(
            site_plan.Device(
                DeviceId(f"u-{unit}"), rooms[(unit - 1) // 4], model(1).id, site_plan.Address(bus, unit=unit)
            )
            for unit in range(1, units + 1)
        ),
    )


if __name__ == "__main__":
    asyncio.run(serve(Units().answer))
