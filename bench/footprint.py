"""What 300 rooms cost the node in the building: processor and memory of edge and doors together, everything real.

The whole rehearsed hotel runs on this machine beside them (database, brokers, cloud, 301 BLE locks, 1,501 devices);
only edge and doors are counted. Memory is PSS: see provisioning/rehearsal/footprint.py. Two stretches in one run: a
quiet house, and one where doors move and people walk. Of what doors cost, a part is the radio's emulation over TCP
(docs/decisions/0077-what-300-rooms-cost-the-node.md says how much): it is counted, since it cannot be told apart here.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from bench.rows import Row, row
from kit.clock import SystemClock
from kit.dice import SystemDice
from provisioning.inventory import inventory as inventories
from provisioning.rehearsal.building import raise_building
from provisioning.rehearsal.grand.lived import Meter

GRAND: Final = Path(__file__).resolve().parents[1] / "inventories" / "grand.toml"
SETTLE_S: Final = 20.0
STRETCH_S: Final = 15.0
STRETCHES: Final = 3
CPU_BAR: Final = 25.0
MEMORY_BAR: Final = 192.0


async def _measure() -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    inventory = inventories.load(GRAND)
    rooms = sum(floor.rooms for floor in inventory.floors)
    quiet: list[dict[str, float]] = []
    busy: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="ik-bench-") as folder:
        async with raise_building(
            inventory,
            Path(folder) / "run",
            clock=SystemClock("host"),
            dice=SystemDice(),
            seed=1,
            say=lambda _: None,
        ) as building:
            await asyncio.sleep(SETTLE_S)
            for lively, told in ((False, quiet), (True, busy)):
                for _ in range(STRETCHES):
                    meter = Meter(building)
                    if lively:
                        await building.field.bustle(seconds=STRETCH_S)
                    else:
                        await asyncio.sleep(STRETCH_S)
                    meter.look()
                    told.append(meter.told(rooms))
    return quiet, busy


def rows() -> list[Row]:
    """Measure and return the rows."""
    quiet, busy = asyncio.run(_measure())
    found = []
    for name, told in (("quiet", quiet), ("doors and people move without a pause", busy)):
        found.append(
            row(
                f"edge and doors for 300 rooms, {name}: processor",
                [each["cpu_percent_of_a_core"] for each in told],
                "% core",
                bar=f"under {CPU_BAR:g} % of a core" if told is quiet else None,
                holds=(lambda median, _: median < CPU_BAR) if told is quiet else None,
            )
        )
        found.append(
            row(
                f"edge and doors for 300 rooms, {name}: memory (PSS)",
                [each["pss_mb_most"] for each in told],
                "MB",
                bar=f"under {MEMORY_BAR:g} MB",
                holds=lambda median, _: median < MEMORY_BAR,
            )
        )
    return found
