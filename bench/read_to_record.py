"""From the answer on a Modbus wire to the durable record: a whole edge, 100 units of 10 registers read at 1 Hz.

The units are a process of their own. A record's time is taken when the façade north tells it, which is after it is
durable: an upper bound. The processor is measured in runs of their own, with the uplink as an edge has it: batches.
"""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.hot_path import units
from bench.hot_path.child import Child
from bench.hot_path.edge import EDGE_NAME, PROPERTY, EdgeProcess
from bench.rows import Row, quantile, row

UNITS: Final = 100
REGISTERS: Final = 10
SETTLE_S: Final = 3.0
RUN_S: Final = 8.0
ROUNDS: Final = 3
P50_MOST_MS: Final = 50.0
P99_MOST_MS: Final = 150.0
CORE_MOST: Final = 15.0


@dataclass(frozen=True, slots=True)
class Read:
    """One run. `waits_ms`: of each record told north; `missing`: values that were read and never told."""

    waits_ms: tuple[float, ...]
    missing: int
    core: float
    """Per cent of one."""


async def read(folder: Path, *, north: bool, run_s: float = RUN_S, count: int = UNITS) -> Read:
    """Let an edge read for a while."""
    models = folder / "models" / "bench" / "descriptors"
    models.mkdir(parents=True)
    (models / "ten.toml").write_text(units.model_text(REGISTERS))
    async with Child("bench.hot_path.units") as gateway, Child("bench.hot_path.cloud") as cloud:
        gateway_port = (await gateway.ask("listen"))["port"]
        cloud_port = (await cloud.ask("listen"))["port"]
        async with EdgeProcess(
            folder / "edge",
            site_port=1,
            uplink_port=None if north else cloud_port,
            north_port=cloud_port if north else None,
            plan=units.plan(count, gateway_port, property_id=PROPERTY, edge=EDGE_NAME),
            more=f'\n[bridges]\nmodels_path = "{folder / "models"}"\n',
        ) as edge:
            await asyncio.sleep(SETTLE_S)
            loop = asyncio.get_running_loop()
            began, before_s = loop.time(), edge.cpu_s
            first = set((await gateway.ask("times"))["at"])
            await asyncio.sleep(run_s)
            core = 100 * (edge.cpu_s - before_s) / (loop.time() - began)
            answered: dict[str, float] = (await gateway.ask("times"))["at"]
            await asyncio.sleep(1.0)  # what was just read becomes durable
        told = (await cloud.ask("told"))["told"] if north else []
    waits: list[float] = []
    open_values = {each: REGISTERS for each in answered if each not in first}
    for device, value, at in told:
        name = f"{device[2:]}:{round(value * 100)}"
        if name in open_values:
            open_values[name] -= 1
            waits.append(1_000 * (at - answered[name]))
    return Read(tuple(waits), sum(open_values.values()) if north else 0, core)


def rows() -> list[Row]:
    """Measure and return the rows."""
    return asyncio.run(_rows())


async def _rows() -> list[Row]:
    timed: list[Read] = []
    counted: list[Read] = []
    with tempfile.TemporaryDirectory(prefix="ik-read-") as name:
        for n in range(ROUNDS):
            timed.append(await read(Path(name) / f"north-{n}", north=True))
            counted.append(await read(Path(name) / f"up-{n}", north=False))
    what = f"{UNITS} units x {REGISTERS} registers at 1 Hz"
    missing = [float(each.missing) for each in timed]
    return [
        row(
            f"{what}: answer on the wire to record told north, p50",
            [quantile(each.waits_ms, 0.5) for each in timed],
            "ms",
            bar=f"<= {P50_MOST_MS:g} ms",
            holds=lambda ms, _: ms <= P50_MOST_MS,
        ),
        row(
            f"{what}: answer on the wire to record told north, p99",
            [quantile(each.waits_ms, 0.99) for each in timed],
            "ms",
            bar=f"<= {P99_MOST_MS:g} ms",
            holds=lambda ms, _: ms <= P99_MOST_MS,
        ),
        row(f"{what}: read and never told", missing, "values", bar="0", holds=lambda _, __: not any(missing)),
        row(
            f"{what}: the whole edge's processor, batches out",
            [each.core for each in counted],
            "% of a core",
            bar=f"<= {CORE_MOST:g} %",
            holds=lambda core, _: core <= CORE_MOST,
        ),
    ]
