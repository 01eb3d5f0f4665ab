"""What is done to the edge and to its peers; seconds and messages are parameters, so that tests run short ones."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from bench.hot_path.child import Child
from bench.hot_path.edge import BASE_BACK_MS, EdgeProcess
from bench.hot_path.line import Line, Way
from bench.hot_path.payload import RULE_TOPIC, payload_of, topic_of
from edge.bridges.mqtt.json_readings import JsonReadings
from edge.bridges.mqtt.json_rules import JsonDevicesSettings, KeySettings, RuleSettings, compile_rules
from edge.log.record_log import RecordLog
from kit.clock import SystemClock
from kit.dice import SystemDice
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality

WINDOW: Final = 1_000
"""Messages in flight to the program under test: what nats-server allows by default."""
SETTLE_S: Final = 1.0
ARRIVE_WAIT_S: Final = 120.0
BACKLOG_CHUNK: Final = 2_000
DRAIN_WAIT_S: Final = 300.0
TEMPERATURE: Final = KeySettings("temperature_measurement", "measured_value")
ENDLESS: Final = 1_000_000_000
EVENTS_EVERY: Final = 5
"""Of so many messages one tells an event, while a backlog drains."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """One run of messages through a program. `check`: what arrived, as `cloud` judges it."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_10k: float
    rss_mib: float
    check: dict[str, int]

    @property
    def whole(self) -> bool:
        """Nothing lost, doubled, reordered, changed or invented."""
        return not any(self.check[each] for each in ("lost", "doubled", "reordered", "wrong", "invented"))


@dataclass(frozen=True, slots=True)
class Program:
    """A program under test: reads the site broker on one port, writes to the cloud's on another."""

    cpu_s: Callable[[], float]
    rss_mib: Callable[[], float]


Start = Callable[[int, int, Path], contextlib.AbstractAsyncContextManager[Program]]


@contextlib.asynccontextmanager
async def edge_by_batches(site_port: int, cloud_port: int, folder: Path) -> AsyncIterator[Program]:
    """The edge with its uplink: compressed batches, acknowledged by the cloud."""
    async with EdgeProcess(folder / "edge", site_port=site_port, uplink_port=cloud_port) as edge:
        yield Program(lambda: edge.cpu_s, lambda: edge.rss_mib)


@contextlib.asynccontextmanager
async def edge_by_messages(site_port: int, cloud_port: int, folder: Path) -> AsyncIterator[Program]:
    """The edge with its façade north: one plain JSON message a reading."""
    async with EdgeProcess(folder / "edge", site_port=site_port, uplink_port=None, north_port=cloud_port) as edge:
        yield Program(lambda: edge.cpu_s, lambda: edge.rss_mib)


def raw_limit(linger_ms: float) -> Start:
    """Return what starts the limit program."""

    @contextlib.asynccontextmanager
    async def start(site_port: int, cloud_port: int, folder: Path) -> AsyncIterator[Program]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.hot_path.limit", str(site_port), str(cloud_port), str(folder / "raw.log"),
            str(linger_ms),
        )  # fmt: skip
        facts = psutil.Process(process.pid)
        try:
            yield Program(lambda: sum(facts.cpu_times()[:2]), lambda: facts.memory_info().rss / 1024 / 1024)
        finally:
            process.kill()
            await process.wait()

    return start


async def forward(start: Start, folder: Path, *, devices: int, count: int, rate: float) -> Forwarded:
    """Send `count` messages of `devices` through a program, at `rate` a second or (0) as fast as it answers."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing else runs yet
    async with Child("bench.hot_path.site") as site, Child("bench.hot_path.cloud") as cloud:
        site_port, cloud_port = await _ports(site, cloud)
        async with start(site_port, cloud_port, folder) as program:
            await asyncio.sleep(SETTLE_S)
            base_ms = _base_ms()
            before_s = program.cpu_s()
            said = await site.ask("send", count=count, rate=rate, devices=devices, base_ms=base_ms, window=WINDOW)
            await cloud.ask("wait", count=count, most_s=ARRIVE_WAIT_S)
            used_s = program.cpu_s() - before_s
            rss_mib = program.rss_mib()
        check = await cloud.ask("check", devices=devices, count=count, base_ms=base_ms)
    return Forwarded(said["rate"], said["p50_ms"], said["p99_ms"], used_s / count * 10_000, rss_mib, check)


@dataclass(frozen=True, slots=True)
class Outage:
    """What an outage cost. `drained_s`: from the line's healing until everything said until then had arrived."""

    check: dict[str, int]
    drained_s: float
    rss_growth_mib: float
    noticed_s: float | None
    """Black hole: until the edge gave its connection up."""

    @property
    def whole(self) -> bool:
        """Nothing lost, doubled, reordered, changed or invented."""
        return not any(self.check[each] for each in ("lost", "doubled", "reordered", "wrong", "invented"))


async def outage(
    folder: Path, *, way: Way, away_s: float, rate: float, devices: int = 100, kill: bool = False, around_s: float = 3.0
) -> Outage:
    """Take the way to the cloud away for a while under steady traffic; `kill`: SIGKILL the edge in the middle."""
    async with Child("bench.hot_path.site") as site, Child("bench.hot_path.cloud") as cloud:
        site_port, cloud_port = await _ports(site, cloud)
        async with (
            Line(cloud_port) as line,
            EdgeProcess(folder / "edge", site_port=site_port, uplink_port=line.port) as edge,
        ):
            await asyncio.sleep(SETTLE_S)
            base_ms, count = _base_ms(), int(rate * (2 * around_s + away_s))
            await site.ask("send", count=count, rate=rate, devices=devices, base_ms=base_ms, window=WINDOW, wait=False)
            await asyncio.sleep(around_s)
            loop, rss_mib = asyncio.get_running_loop(), edge.rss_mib
            went_at = loop.time()
            line.set(way)
            await asyncio.sleep(away_s / 2)
            if kill:
                await edge.kill()
                await edge.start()
                rss_mib = edge.rss_mib
            await asyncio.sleep(away_s / 2)
            grown_mib = edge.rss_mib - rss_mib
            said = await site.ask("stats")
            line.set(Way.OPEN)
            healed_at = time.monotonic()
            await cloud.ask("wait", count=said["acked"], most_s=ARRIVE_WAIT_S)
            drained_s = time.monotonic() - healed_at
            await site.ask("sent")
            await cloud.ask("wait", count=count, most_s=ARRIVE_WAIT_S)
            noticed = [at - went_at for at in line.lost_at if at >= went_at]
        check = await cloud.ask("check", devices=devices, count=count, base_ms=base_ms)
    return Outage(check, drained_s, grown_mib, min(noticed) if noticed else None)


@dataclass(frozen=True, slots=True)
class Drain:
    """A backlog drained under a living house. `live_p95_s`: from an event's append to its arrival."""

    records: int
    drained_s: float
    rate: float
    live_rate: float
    live_p95_s: float
    live_events: int
    gaps: int
    rss_mib: float
    rss_growth_mib: float


async def drain(folder: Path, *, backlog_s: float, live_rate: float, devices: int = 100) -> Drain:
    """Fill the log with `backlog_s` seconds of a house that says `live_rate` readings a second, then open the line.

    While it drains the house goes on: readings at `live_rate` by MQTT, and events of lane B among them.
    """
    count = int(backlog_s * live_rate)
    async with Child("bench.hot_path.site") as site, Child("bench.hot_path.cloud") as cloud:
        site_port = (await site.ask("listen"))["port"]
        cloud_port = (await cloud.ask("listen", keep=False))["port"]
        async with Line(cloud_port) as line:
            line.set(Way.CUT)
            edge = EdgeProcess(folder / "edge", site_port=site_port, uplink_port=line.port)
            await _fill(folder / "edge" / "data" / "log", count, devices)
            async with edge:
                await asyncio.sleep(SETTLE_S)
                rss_before = edge.rss_mib
                await site.ask(
                    "send", count=ENDLESS, rate=live_rate, devices=devices, base_ms=_base_ms(), window=WINDOW,
                    wait=False, events_every=EVENTS_EVERY,
                )  # fmt: skip
                line.set(Way.OPEN)
                began = time.monotonic()
                most = rss_before
                arrived: dict[str, Any] = {"telemetry": 0}
                while arrived["telemetry"] < count and time.monotonic() - began < DRAIN_WAIT_S:
                    await asyncio.sleep(0.1)
                    arrived = await cloud.ask("stats")
                    most = max(most, edge.rss_mib)
                took = time.monotonic() - began
                ages = await cloud.ask("event_ages")
    ordered = sorted(ages["ages_s"])
    return Drain(
        records=arrived["telemetry"],
        drained_s=took,
        rate=arrived["telemetry"] / took,
        live_rate=live_rate,
        live_p95_s=ordered[int(len(ordered) * 0.95)] if ordered else float("inf"),
        live_events=len(ordered),
        gaps=arrived["gaps"],
        rss_mib=most,
        rss_growth_mib=most - rss_before,
    )


async def _fill(folder: Path, count: int, devices: int) -> None:
    """Write a day's readings as the bus writes them: the same bytes, by the same code, without a broker."""
    clock = SystemClock("host")
    base_ms = clock.wall_ms() - 86_400_000
    rule = RuleSettings(topic=RULE_TOPIC, time_key="t", other_keys="ignore", keys={"temperature": TEMPERATURE})
    readings = JsonReadings(compile_rules(JsonDevicesSettings(rules=(rule,))), devices_max=devices)
    topics = [topic_of(each) for each in range(devices)]
    async with await RecordLog.open(folder, clock=clock, dice=SystemDice()) as log:
        for start in range(0, count, BACKLOG_CHUNK):
            said = [
                (topics[n % devices], payload_of(n % devices, n, base_ms), 1, 0x32)
                for n in range(start, min(count, start + BACKLOG_CHUNK))
            ]
            taken = readings.take(said, wall_ms=base_ms + start, mono_ms=start, clock=ClockQuality.SYNCHRONISED)
            await log.append_encoded(Lane.C, taken.telemetry, urgent=True)


async def _ports(site: Child, cloud: Child) -> tuple[int, int]:
    site_port: int = (await site.ask("listen"))["port"]
    cloud_port: int = (await cloud.ask("listen"))["port"]
    return site_port, cloud_port


def _base_ms() -> int:
    return SystemClock("host").wall_ms() - BASE_BACK_MS
