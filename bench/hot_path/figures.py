"""The hot path's rows: the edge, its limit and its peer in turns, then what outages cost."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.hot_path import clients
from bench.hot_path.line import Way
from bench.hot_path.node_red import install, node_red
from bench.hot_path.scenarios import (
    Drain,
    Forwarded,
    Outage,
    Start,
    drain,
    edge_by_batches,
    edge_by_messages,
    forward,
    outage,
    raw_limit,
)
from bench.rows import Row, row

LIMIT: Final = "raw sockets, bulk parse, one write + fdatasync before the PUBACKs"
RED: Final = "Node-RED (not durable)"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long everything takes; the default is the full run (about 8 minutes on two idle cores)."""

    rounds: int = 3
    peak_messages: int = 150_000
    client_messages: int = 40_000
    steady_s: float = 10.0
    steady_rate: float = 500.0
    away_s: float = 60.0
    black_hole_s: float = 45.0
    backlog_s: float = 86_400.0
    house_rate: float = 30.0
    """Readings a second of a property of 300 rooms."""


FULL: Final = Sizes()


async def rows(sizes: Sizes = FULL) -> list[Row]:
    """Measure and return the rows."""
    with tempfile.TemporaryDirectory(prefix="ik-hot-") as name:
        folder = Path(name)
        return [
            *await clients.rows(sizes.client_messages),
            *await _peak_rows(folder, sizes),
            *await _steady_rows(folder, sizes),
            *await _outage_rows(folder, sizes),
            *_drain_rows(await drain(folder / "drain", backlog_s=sizes.backlog_s, live_rate=sizes.house_rate)),
        ]


async def _peak_rows(folder: Path, sizes: Sizes) -> list[Row]:
    starts: dict[str, Start] = {LIMIT: raw_limit(0), "batches": edge_by_batches, "messages": edge_by_messages}
    if (problem := await install()) is None:
        starts[RED] = node_red
    else:
        sys.stderr.write(f"hot_path: Node-RED is left out: {problem}\n")
    runs: dict[str, list[Forwarded]] = {name: [] for name in starts}
    for n in range(sizes.rounds):
        for name, start in starts.items():
            count = sizes.peak_messages if name != RED else sizes.peak_messages // 3
            runs[name].append(await forward(start, folder / f"{name[:3]}-{n}", devices=100, count=count, rate=0))
    many = [await forward(edge_by_batches, folder / "many", devices=1_000, count=sizes.peak_messages, rate=0)]
    limit = median(each.rate for each in runs[LIMIT])
    found = [row(f"peak, 100 devices: {LIMIT}", _rates(runs[LIMIT]), "msg/s")]
    found.append(
        row(
            "peak, 100 devices: MQTT QoS 1 JSON in, durable, batches out", _rates(runs["batches"]), "msg/s",
            ratio_to=LIMIT, peer=limit, bar=">= 0.5 of the limit", holds=lambda _rate, ratio: (ratio or 0) >= 0.5,
        )
    )  # fmt: skip
    found += [_cpu("peak, 100 devices, batches out", runs["batches"], 0.32)]
    found.append(row("peak, 1,000 devices: batches out", _rates(many), "msg/s", ratio_to=LIMIT, peer=limit))
    found.append(_whole("peak, 100 and 1,000 devices, batches out", [*runs["batches"], *many]))
    red = runs.get(RED, [])
    peer = median(each.rate for each in red) if red else None
    if red:
        found.append(row(f"peak, 100 devices: {RED}", _rates(red), "msg/s"))
    found.append(
        row(
            "peak, 100 devices: durable, one JSON message out a reading", _rates(runs["messages"]), "msg/s",
            ratio_to=RED if red else None, peer=peer, bar="> 1 of Node-RED" if red else None,
            holds=(lambda _rate, ratio: (ratio or 0) > 1) if red else None,
        )
    )  # fmt: skip
    found.append(_whole("peak, one JSON message out a reading", runs["messages"]))
    return found


async def _steady_rows(folder: Path, sizes: Sizes) -> list[Row]:
    count = int(sizes.steady_s * sizes.steady_rate)
    at = f"{sizes.steady_rate:g}/s"
    run = [
        await forward(edge_by_batches, folder / f"steady-{n}", devices=100, count=count, rate=sizes.steady_rate)
        for n in range(sizes.rounds)
    ]
    limit = await forward(raw_limit(10), folder / "steady-raw", devices=100, count=count, rate=sizes.steady_rate)
    return [
        row(f"at {at}: to durable p50", [each.p50_ms for each in run], "ms", ratio_to=f"{LIMIT}, 10 ms linger",
            peer=limit.p50_ms, bar="<= 10 ms", holds=lambda ms, _: ms <= 10),
        row(f"at {at}: to durable p99", [each.p99_ms for each in run], "ms", ratio_to=f"{LIMIT}, 10 ms linger",
            peer=limit.p99_ms, bar="<= 20 ms", holds=lambda ms, _: ms <= 20),
        _cpu(f"at {at}", run, 2.0, limit.cpu_s_per_10k),
        row(f"at {at}: resident", [each.rss_mib for each in run], "MiB"),
        _whole(f"at {at}", run),
    ]  # fmt: skip


async def _outage_rows(folder: Path, sizes: Sizes) -> list[Row]:
    away_s, rate = sizes.away_s, sizes.steady_rate
    name = f"uplink away {sizes.away_s:g} s at {sizes.steady_rate:g}/s"
    plain = await outage(folder / "away", way=Way.CUT, away_s=away_s, rate=rate)
    killed = await outage(folder / "killed", way=Way.CUT, away_s=away_s, rate=rate, kill=True)
    hole = await outage(folder / "hole", way=Way.BLACK_HOLE, away_s=sizes.black_hole_s, rate=sizes.steady_rate)
    return [
        _unharmed(name, plain),
        row(f"{name}: drained after", [plain.drained_s], "s", bar="<= 3 s", holds=lambda s, _: s <= 3),
        row(f"{name}: memory grown", [plain.rss_growth_mib], "MiB", bar="< 20 MiB", holds=lambda mib, _: mib < 20),
        _unharmed(f"{name}, SIGKILL in the middle", killed),
        row(f"{name}, SIGKILL: drained after", [killed.drained_s], "s", bar="<= 3 s", holds=lambda s, _: s <= 3),
        _unharmed(f"black hole {sizes.black_hole_s:g} s", hole),
        row(f"black hole {sizes.black_hole_s:g} s: noticed after", [hole.noticed_s or float("inf")], "s",
            bar="<= 10 s", holds=lambda s, _: s <= 10),
    ]  # fmt: skip


def _drain_rows(run: Drain) -> list[Row]:
    name = f"{run.records:,} records of backlog"
    return [
        row(f"{name}: drain rate", [run.rate], "records/s", ratio_to="live rate", peer=run.live_rate,
            bar=">= 3 x the live rate", holds=lambda _rate, ratio: (ratio or 0) >= 3),
        row(f"{name}: live events to the cloud, p95 of {run.live_events}", [run.live_p95_s], "s", bar="<= 5 s",
            holds=lambda s, _: s <= 5),
        row(f"{name}: resident at most while draining", [run.rss_mib], "MiB", bar="<= 192 MiB",
            holds=lambda mib, _: mib <= 192),
    ]  # fmt: skip


def _rates(runs: list[Forwarded]) -> list[float]:
    return [each.rate for each in runs]


def _cpu(name: str, runs: list[Forwarded], most: float, peer: float | None = None) -> Row:
    return row(
        f"{name}: CPU", [each.cpu_s_per_10k for each in runs], "CPU-s per 10,000", bar=f"<= {most:g}",
        holds=lambda used, _: used <= most, ratio_to=None if peer is None else f"{LIMIT}, 10 ms linger", peer=peer,
    )  # fmt: skip


def _whole(name: str, runs: list[Forwarded]) -> Row:
    harmed = [sum(each.check[what] for what in _HARM) for each in runs]
    return row(f"{name}: {_HARMED}", harmed, "messages", bar="0", holds=lambda _count, _: not any(harmed))


def _unharmed(name: str, run: Outage) -> Row:
    harmed = sum(run.check[what] for what in _HARM)
    return row(f"{name}: {_HARMED}", [harmed], "messages", bar="0", holds=lambda _count, _: not harmed)


_HARM: Final = ("lost", "doubled", "reordered", "wrong", "invented")
_HARMED: Final = "lost + doubled + reordered + changed + invented"
