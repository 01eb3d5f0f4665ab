"""A real adapter's way to durable records against the bare record path of the same run: Zigbee2MQTT payloads in.

Counted are records, on both ways: a message of a climate sensor tells two of its values (the first six), a message of
the bare path one. The time of a peak is from the first byte sent to the last record's arrival at the cloud, on both.

How long a message takes to be durable cannot be told by its PUBACK: a bus acknowledges what it reads before the commit.
It is measured from the send to the arrival of the message's last record by the façade north, which tells a record only
once it is durable: an upper bound, with all that the façade costs besides.
"""

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.hot_path import zigbee
from bench.hot_path.child import Child
from bench.hot_path.edge import BASE_BACK_MS, EDGE_NAME, PROPERTY, EdgeProcess
from bench.hot_path.scenarios import ARRIVE_WAIT_S, SETTLE_S, WINDOW
from bench.rows import Row, quantile, row
from kit.clock import SystemClock

HARM: Final = ("lost", "doubled", "reordered", "wrong", "invented")
LEAST_OF_BARE: Final = 0.6
P99_MOST_MS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is said. Of no device more at once than is told (`zigbee.SAID_AT_ONCE_MAX`)."""

    rounds: int = 3
    few: int = 100
    of_few: int = 50
    many: int = zigbee.DEVICES_MAX
    of_many: int = 20
    steady_rate: float = 500.0
    steady_s: float = 10.0


FULL: Final = Sizes()


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `waits_ms`: of each message, from its send to its last record's arrival; empty where not asked for."""

    records: int
    took_s: float
    cpu_s: float
    check: Mapping[str, int]
    puback_p99_ms: float
    waits_ms: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.took_s

    @property
    def cpu_s_per_10k(self) -> float:
        """What the edge took of the processor for ten thousand records."""
        return self.cpu_s / self.records * 10_000

    @property
    def harmed(self) -> int:
        """Records lost, doubled, reordered, changed, invented."""
        return sum(self.check[each] for each in HARM)


def rows(sizes: Sizes = FULL) -> list[Row]:
    """Measure and return the rows."""
    return asyncio.run(_rows(sizes))


async def adapter(folder: Path, *, devices: int, count: int, rate: float = 0.0, north: bool = False) -> Run:
    """Send `count` messages of `devices` sensors through a Zigbee2MQTT bus; `north`: told one by one, and timed."""
    said = await _forward(folder, devices=devices, count=count, rate=rate, zigbee_says=True, north=north)
    assert said.check["arrived"] + said.check["lost"] == said.records + said.check["invented"], said.check
    return said


async def bare(folder: Path, *, devices: int, count: int, rate: float = 0.0) -> Run:
    """Send `count` messages of one value each by the rules of [[json_devices]]."""
    return await _forward(folder, devices=devices, count=count, rate=rate, zigbee_says=False, north=False)


async def _forward(folder: Path, *, devices: int, count: int, rate: float, zigbee_says: bool, north: bool) -> Run:
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing else runs yet
    records = zigbee.records(devices, count) if zigbee_says else count
    async with Child("bench.hot_path.site") as site, Child("bench.hot_path.cloud") as cloud:
        site_port = (await site.ask("listen", zigbee=devices if zigbee_says else 0))["port"]
        cloud_port = (await cloud.ask("listen"))["port"]
        async with EdgeProcess(
            folder / "edge",
            site_port=site_port,
            uplink_port=None if north else cloud_port,
            north_port=cloud_port if north else None,
            plan=zigbee.plan(devices, property_id=PROPERTY, edge=EDGE_NAME) if zigbee_says else None,
        ) as edge:
            await asyncio.sleep(SETTLE_S)
            base_ms, before_s = SystemClock("host").wall_ms() - BASE_BACK_MS, edge.cpu_s
            said = await site.ask("send", count=count, rate=rate, devices=devices, base_ms=base_ms, window=WINDOW)
            stats = await cloud.ask("wait", count=records, most_s=ARRIVE_WAIT_S)
            used_s = edge.cpu_s - before_s
        facts = {"devices": devices, "count": count, "base_ms": base_ms}
        check = await cloud.ask("check_zigbee" if zigbee_says else "check", **facts)
        times = await site.ask("times")
        arrived = (await cloud.ask("arrivals", **facts))["at"] if north else []
    waits = (1_000 * (at - sent) for sent, at in zip(times["sent_at"], arrived, strict=False) if at)
    return Run(records, stats["last_at"] - times["began"], used_s, check, said["p99_ms"], tuple(waits))


async def _rows(sizes: Sizes) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="ik-adapter-") as name:
        folder = Path(name)
        return [
            *await _peak_rows(folder, sizes, sizes.few, sizes.few * sizes.of_few),
            *await _peak_rows(folder, sizes, sizes.many, sizes.many * sizes.of_many),
            *await _steady_rows(folder, sizes),
        ]


async def _peak_rows(folder: Path, sizes: Sizes, devices: int, count: int) -> list[Row]:
    ours: list[Run] = []
    plain: list[Run] = []
    for n in range(sizes.rounds):
        ours.append(await adapter(folder / f"a-{devices}-{n}", devices=devices, count=count))
        plain.append(await bare(folder / f"b-{devices}-{n}", devices=devices, count=zigbee.records(devices, count)))
    peer = median(each.rate for each in plain)
    name, path = f"Zigbee2MQTT, peak, {devices} sensors", "the bare record path"
    return [
        row(f"{path}, peak, {devices} devices, one value a message", [each.rate for each in plain], "records/s"),
        row(
            f"{name}, two values a message",
            [each.rate for each in ours],
            "records/s",
            ratio_to=path,
            peer=peer,
            bar=f">= {LEAST_OF_BARE:g} of {path}, in records",
            holds=lambda _, ratio: ratio is not None and ratio >= LEAST_OF_BARE,
        ),
        row(
            f"{name}: messages",
            [count / each.took_s for each in ours],
            "messages/s",
            ratio_to=f"{path}, messages",
            peer=peer,
        ),
        row(
            f"{name}: CPU",
            [each.cpu_s_per_10k for each in ours],
            "CPU-s per 10,000",
            ratio_to=path,
            peer=median(each.cpu_s_per_10k for each in plain),
        ),
        _whole(name, ours),
    ]


async def _steady_rows(folder: Path, sizes: Sizes) -> list[Row]:
    count, rate = int(sizes.steady_rate * sizes.steady_s), sizes.steady_rate
    devices, ours, plain = sizes.few, [], []
    for n in range(sizes.rounds):
        ours.append(await adapter(folder / f"steady-{n}", devices=devices, count=count, rate=rate, north=True))
        plain.append(await bare(folder / f"steady-bare-{n}", devices=devices, count=count, rate=rate))
    name = f"Zigbee2MQTT at {rate:g} messages/s"
    peer = median(each.puback_p99_ms for each in plain)
    return [
        row(f"{name}: send to record told north p50", [quantile(each.waits_ms, 0.5) for each in ours], "ms"),
        row(
            f"{name}: send to record told north p99",
            [quantile(each.waits_ms, 0.99) for each in ours],
            "ms",
            ratio_to="the bare record path, PUBACK p99",
            peer=peer,
            bar=f"<= {P99_MOST_MS:g} ms",
            holds=lambda ms, _: ms <= P99_MOST_MS,
        ),
        row(f"{name}: CPU, with the façade", [each.cpu_s_per_10k for each in ours], "CPU-s per 10,000"),
        _whole(name, ours),
    ]


def _whole(name: str, runs: list[Run]) -> Row:
    harmed = [float(each.harmed) for each in runs]
    return row(f"{name}: {' + '.join(HARM)}", harmed, "records", bar="0", holds=lambda _, __: not any(harmed))


if __name__ == "__main__":
    for each in rows():
        print(each)
