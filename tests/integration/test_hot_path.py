"""The hot path in short: the scenarios of the benchmark with the edge as a process, a few seconds each."""

from pathlib import Path

import pytest

from bench.hot_path.line import Way
from bench.hot_path.scenarios import drain, edge_by_batches, edge_by_messages, forward, outage

AWAY_S = 12.0
LIVE_MOST_S = 5.0


@pytest.mark.guarantee("G1", "G2")
@pytest.mark.parametrize("devices", [100, 1_000])
async def test_as_fast_as_it_goes_everything_arrives_once_and_in_order(devices: int, tmp_path: Path) -> None:
    run = await forward(edge_by_batches, tmp_path, devices=devices, count=20_000, rate=0)
    assert run.check == {"arrived": 20_000, "lost": 0, "invented": 0, "doubled": 0, "reordered": 0, "wrong": 0}


@pytest.mark.guarantee("G1", "G2")
async def test_the_facade_north_tells_every_reading_once_and_in_order(tmp_path: Path) -> None:
    run = await forward(edge_by_messages, tmp_path, devices=100, count=10_000, rate=0)
    assert run.check == {"arrived": 10_000, "lost": 0, "invented": 0, "doubled": 0, "reordered": 0, "wrong": 0}


@pytest.mark.guarantee("G1", "G2", "G11")
@pytest.mark.parametrize("kill", [False, True])
async def test_the_uplink_away_and_the_edge_killed_meanwhile_cost_nothing(kill: bool, tmp_path: Path) -> None:
    run = await outage(tmp_path, way=Way.CUT, away_s=4.0, rate=500.0, kill=kill, around_s=1.0)
    assert run.check == {"arrived": 3_000, "lost": 0, "invented": 0, "doubled": 0, "reordered": 0, "wrong": 0}


@pytest.mark.guarantee("G1", "G2", "G11")
async def test_a_black_hole_is_noticed_by_what_is_not_acknowledged(tmp_path: Path) -> None:
    run = await outage(tmp_path, way=Way.BLACK_HOLE, away_s=AWAY_S, rate=200.0, around_s=1.0)
    assert run.whole
    assert run.noticed_s is not None
    assert run.noticed_s < AWAY_S, "by itself, not because the line came back"


@pytest.mark.guarantee("G9", "G12")
async def test_a_backlog_drains_under_a_living_house(tmp_path: Path) -> None:
    run = await drain(tmp_path, backlog_s=600.0, live_rate=100.0)
    assert (run.gaps, run.live_events > 0) == (0, True)
    assert run.rate >= 3 * run.live_rate
    # a backlog that is gone within seconds shows nothing by its halves
    assert run.live_p95_s < max(LIVE_MOST_S, run.drained_s / 2), "what happens now stood in line behind the backlog"
