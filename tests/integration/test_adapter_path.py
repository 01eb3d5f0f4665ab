"""A real adapter's way to durable records in short: the scenarios of the benchmark with the edge as a process."""

from pathlib import Path

import pytest

from bench import read_to_record
from bench.adapter_path import adapter
from bench.hot_path import zigbee


@pytest.mark.guarantee("G1", "G2")
@pytest.mark.parametrize("north", [False, True])
async def test_what_a_zigbee2mqtt_says_arrives_once_and_in_order(north: bool, tmp_path: Path) -> None:
    run = await adapter(tmp_path, devices=100, count=2_000, north=north)
    assert run.check == {
        "arrived": zigbee.records(100, 2_000), "lost": 0, "invented": 0, "doubled": 0, "reordered": 0, "wrong": 0,
    }  # fmt: skip
    assert len(run.waits_ms) == (2_000 if north else 0)


@pytest.mark.guarantee("G1")
async def test_every_value_that_is_read_from_a_unit_becomes_a_record(tmp_path: Path) -> None:
    run = await read_to_record.read(tmp_path, north=True, run_s=2.0, count=20)
    assert (run.missing, len(run.waits_ms) > 0) == (0, True)
