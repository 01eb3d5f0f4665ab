"""Nothing lost, doubled or inverted on the way to the cloud, whatever net, edge and workers do.

A seed that ever failed is added by number, and stays.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kit.simulation.loop import SimLoop, run_simulated
from kit.simulation.net import Faults
from protocols.link.lanes import Lane
from tests.seeds import seeds
from tests.simulation.record_world import LANES_BY_WEIGHT, World

HOUR_S = 3_600
DAY_S = 24 * HOUR_S
BAD_LINE = Faults(loss=0.05, duplicate=0.05, delay_least_ms=5, delay_most_ms=2_000, in_order=False)
GOOD_LINE = Faults(delay_least_ms=5, delay_most_ms=60)
SEEDS = seeds(few=2, many=20)
DAYS = 2
QUIET_TO_SETTLE_S = 2 * HOUR_S


def simulate(seed: int, run: Callable[[World], Awaitable[None]], *, faults: Faults, days: float) -> None:
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None, prefix="ik-sim-") as folder:

        async def main(loop: SimLoop) -> None:
            world = World(loop, Path(folder), faults=faults)
            world.start_worker("cloud-0")
            world.boot()
            try:
                await run(world)
            finally:
                await world.shut_down()

        run_simulated(main, seed, until_s=days * DAY_S)


async def settle(world: World) -> None:
    """Heal everything and wait until the edge has nothing left that the cloud has not."""
    world.net.set_faults("edge", GOOD_LINE)
    world.net.heal("edge")
    waited_s = 0
    while not world.caught_up():
        await asyncio.sleep(10)
        waited_s += 10
        assert waited_s < QUIET_TO_SETTLE_S, f"backlog {world.uplink and world.uplink.state}"


async def living(world: World) -> None:
    """A hotel's records: mostly telemetry, now and then a burst."""
    dice = world.loop.dice("house")
    while True:
        await asyncio.sleep(dice.uniform(1, 120))
        await world.append(dice.choice(LANES_BY_WEIGHT), dice.choice([1, 1, 1, 1, 1, 2, 5, 20]))


async def chaos(world: World, *, until_s: float, restores: bool) -> None:
    dice = world.loop.dice("chaos")
    while world.loop.time() < until_s:
        await asyncio.sleep(dice.uniform(60, HOUR_S))
        match dice.choice(["cut", "cut", "half", "drop", "broker", "worker", "race", "reboot", "backup", "restore"]):
            case "cut":
                world.net.cut("edge")
                await asyncio.sleep(dice.choice([30.0, 600.0, 2.0 * HOUR_S, 6.0 * HOUR_S]))
                world.net.heal("edge")
            case "half":
                world.net.cut("edge", dice.choice(["up", "down"]))
                await asyncio.sleep(dice.uniform(5, 900))
                world.net.heal("edge")
            case "drop":
                world.net.drop("edge")
            case "broker":
                world.net.stop_broker()
                await asyncio.sleep(dice.uniform(1, 300))
                world.net.start_broker()
            case "worker":
                await world.kill_worker("cloud-0")
                await asyncio.sleep(dice.uniform(0, 600))
                world.start_worker("cloud-0")
            case "race":
                world.start_worker("cloud-1")  # two workers hold the same stream for a while
                await asyncio.sleep(dice.uniform(60, 1_800))
                await world.kill_worker("cloud-1")
            case "reboot":
                await world.kill_edge()
                await asyncio.sleep(dice.uniform(1, 300))
                world.boot()
            case "backup" if restores:
                await world.back_up()
            case "restore" if restores:
                await world.restore()
            case _:
                world.clock.step(dice.integer(-HOUR_S * 1_000, HOUR_S * 1_000))


@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G2")
@pytest.mark.guarantee("G10")
@pytest.mark.parametrize("seed", SEEDS)
def test_days_on_a_bad_line_lose_and_double_nothing(seed: int) -> None:
    async def run(world: World) -> None:
        house = world.loop.create_task(living(world), name="house")
        await chaos(world, until_s=DAYS * DAY_S, restores=False)
        house.cancel()
        await settle(world)
        assert world.problems() == []
        assert len(world.kept) > 500 * DAYS

    simulate(seed, run, faults=BAD_LINE, days=DAYS + 1)


@pytest.mark.guarantee("G2")
@pytest.mark.guarantee("G18")
@pytest.mark.parametrize("seed", SEEDS)
def test_an_old_backup_put_back_reuses_no_position_and_loses_nothing_written_since(seed: int) -> None:
    async def run(world: World) -> None:
        house = world.loop.create_task(living(world), name="house")
        await chaos(world, until_s=DAY_S, restores=True)
        await world.back_up()
        await asyncio.sleep(4 * HOUR_S)
        world.net.cut("edge")  # put back while off line: it finds out only after writing on for a while
        await world.restore()
        await asyncio.sleep(6 * HOUR_S)
        house.cancel()
        await settle(world)
        assert world.problems() == []
        assert world.restores >= 1

    simulate(seed, run, faults=BAD_LINE, days=3)


@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("seed", seeds(few=1, many=10))
def test_forged_heads_end_no_incarnation_and_lose_nothing(seed: int) -> None:
    async def run(world: World) -> None:
        dice = world.loop.dice("forger")
        house = world.loop.create_task(living(world), name="house")
        await asyncio.sleep(HOUR_S)
        assert world.log is not None
        began = dict(world.log.incarnations())
        for _ in range(60):
            await asyncio.sleep(dice.uniform(1, 600))
            n = dice.choice([2**60, 2**36, 2**36 + 1, 2**63 - 1, 501, 10_000, 0, -1, 2**40])
            await world.forge(dice.choice(LANES_BY_WEIGHT), n, ahead=dice.choice([1, 1, 1, 0, 5, 2**40]))
        house.cancel()
        await settle(world)
        assert world.forged == 60
        assert world.cloud.refused > 0
        assert world.log.incarnations() == began
        assert max(stream.hi for stream in world.cloud.streams.values()) <= len(world.kept)
        assert world.problems() == []
        assert {key for key, _, _ in world.cloud.rows} == {(each, lane) for lane, each in began.items()}

    simulate(seed, run, faults=BAD_LINE, days=1)


@pytest.mark.guarantee("G12")
@pytest.mark.parametrize("seed", seeds(few=1, many=5))
def test_a_day_of_backlog_delays_neither_live_state_nor_doors(seed: int) -> None:
    async def run(world: World) -> None:
        world.net.cut("edge")
        for _ in range(24):
            for lane in (Lane.B, Lane.C):
                await world.append(lane, 200)
                await world.append(lane, 200)
            await asyncio.sleep(HOUR_S)
        world.net.heal("edge")
        healed_s = world.loop.time()
        while world.cloud.live_at_ms is None or world.cloud.live_at_ms < world.clock.wall_ms() - 60_000:
            await asyncio.sleep(0.5)
        rows_at_live = len(world.cloud.rows)
        assert rows_at_live < len(world.kept) / 4  # the live state did not wait for the backlog
        world.cloud.a_delay_ms.clear()
        while not world.caught_up():
            await world.append(Lane.A)
            await asyncio.sleep(1)
        drained_s = world.loop.time() - healed_s
        delays_ms = sorted(world.cloud.a_delay_ms)
        assert delays_ms[int(len(delays_ms) * 0.95)] <= 5_000
        assert drained_s < 8 * HOUR_S  # three times as fast as it came in
        await settle(world)
        assert world.problems() == []

    simulate(seed, run, faults=Faults(delay_least_ms=20, delay_most_ms=120), days=3)


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("seed", seeds(few=1, many=5))
def test_a_cloud_restored_from_a_backup_gets_again_what_it_lost(seed: int) -> None:
    async def run(world: World) -> None:
        house = world.loop.create_task(living(world), name="house")
        await asyncio.sleep(6 * HOUR_S)
        await settle(world)
        backup = world.cloud.copy()
        await asyncio.sleep(6 * HOUR_S)
        await world.kill_worker("cloud-0")
        world.cloud = backup
        world.start_worker("cloud-0")
        await asyncio.sleep(6 * HOUR_S)
        house.cancel()
        await settle(world)
        assert world.problems() == []

    simulate(seed, run, faults=GOOD_LINE, days=2)
