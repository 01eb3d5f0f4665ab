"""Workers that come, go, fall asleep and race, over a bad net and a store that is away: nothing lost or doubled.

A seed that ever failed is added by number, and stays. INNKEEPER_FAN_IN_SEEDS and INNKEEPER_FAN_IN_HOURS make it longer.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import pytest

from cloud.telemetry.fan_in.arrivals import BatchItem, Item, Reply
from cloud.telemetry.fan_in.keeper import ShardKeeper
from cloud.telemetry.fan_in.leases import ALL_SHARDS, Worker
from cloud.telemetry.fan_in.ledger import Right
from cloud.telemetry.fan_in.worker import FanInWorker, WorkerSettings
from kit.simulation.clock import SimClock
from kit.simulation.loop import SimLoop, run_simulated
from kit.simulation.net import Faults, SimNet
from protocols.errors import LinkLostError, StoreFailedError
from protocols.link.edge_link import LinkTimes
from protocols.link.lanes import Lane
from protocols.link.topics import up_topic
from tests.cloud.telemetry.emulated_edge import EmulatedEdge
from tests.cloud.telemetry.memory_fan_in import MemoryLeases, MemoryLedger, MemoryStreams
from tests.cloud.telemetry.sending import edge, note, packed
from tests.seeds import THOROUGH

HOUR_S = 3_600
SEEDS = range(int(os.environ.get("INNKEEPER_FAN_IN_SEEDS", "2" if THOROUGH else "1")))
HOURS = float(os.environ.get("INNKEEPER_FAN_IN_HOURS", "1.5"))
EDGES = 6
NAMES = ("w0", "w1", "w2")
SETTLE_S = 3 * HOUR_S
BAD_LINE = Faults(loss=0.05, duplicate=0.05, delay_least_ms=5, delay_most_ms=2_000, in_order=False)
GOOD_LINE = Faults(delay_least_ms=5, delay_most_ms=60)
TIMES = LinkTimes(live_most_ms=600_000, probe_every_ms=300_000)
LEASE = timedelta(seconds=6)


class World:
    """Some edges, a broker, workers over one store."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop, self.clock, self.net = loop, SimClock(loop), SimNet(loop)
        self.dice = loop.dice("world")
        self.leases = MemoryLeases(LEASE.total_seconds(), breath=lambda: asyncio.sleep(self.dice.uniform(0, 0.05)))
        self.streams = MemoryStreams()
        self.asleep: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.workers: dict[str, FanInWorker] = {}
        self.edges = [
            EmulatedEdge(
                edge(n), self.net.transport(edge(n)), clock=self.clock, dice=loop.dice(f"edge-{n}"), times=TIMES
            )
            for n in range(EDGES)
        ]
        self._lives = 0
        for each in self.edges:
            self.net.set_faults(each.name, BAD_LINE)
            self.tasks[each.name] = loop.create_task(each.run(), name=each.name)

    def start(self, name: str) -> None:
        """Start a worker, with a clock of its own; one of that name that still runs is a twin the broker drops."""
        self._lives += 1
        life = f"{self._lives}"
        self.net.set_faults(name, Faults(delay_least_ms=1, delay_most_ms=30, in_order=False))
        self.asleep[name] = asyncio.Event()
        self.asleep[name].set()
        dice = self.loop.dice(f"{name}/{life}")

        async def work() -> None:
            await asyncio.sleep(dice.uniform(0.001, 0.05))
            await self.asleep[name].wait()

        async def keep() -> None:
            keeper = ShardKeeper(self.leases, Worker(name, life), clock=SimClock(self.loop), lease=LEASE)
            worker = self.workers[name] = FanInWorker(
                self.net.transport(name), MemoryLedger(self.streams, self.leases, work), keeper, clock=self.clock,
                settings=WorkerSettings(parallel=2), lost=(StoreFailedError,), refused=_never,
                dropped=lambda _count: None,
            )  # fmt: skip
            while True:
                with contextlib.suppress(LinkLostError):
                    await worker.run()
                await asyncio.sleep(dice.uniform(0, 2))

        self.tasks[name] = self.loop.create_task(keep(), name=name)

    async def kill(self, name: str) -> None:
        """End a worker as a crash does: it gives nothing up."""
        task = self.tasks.pop(name, None)
        if task is None:
            return
        before, self.leases.up = self.leases.up, False  # a dead worker says no goodbye
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        self.leases.up = before

    async def stop(self, name: str) -> None:
        """Stop a worker as its supervisor does."""
        if name in self.tasks:
            await self.workers[name].hand_over()
            self.tasks[name].cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.tasks.pop(name)

    async def end(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    def problems(self) -> list[str]:
        return self.streams.problems(
            {(each.name, each.incarnation, lane): last for each in self.edges for lane, last in each.last.items()}
        )


def _never(what: str, error: Exception) -> None:
    raise AssertionError(f"{what}: {error}")


def simulate(seed: int, run: Callable[[World], Awaitable[None]], *, hours: float) -> None:
    async def main(loop: SimLoop) -> None:
        world = World(loop)
        try:
            await run(world)
        finally:
            await world.end()

    run_simulated(main, seed, until_s=hours * HOUR_S)


async def living(world: World) -> None:
    dice = world.loop.dice("houses")
    while True:
        await asyncio.sleep(dice.uniform(0.2, 20))
        dice.choice(world.edges).append(dice.choice([Lane.B, Lane.C]), dice.choice([1, 1, 2, 5, 40]))


async def chaos(world: World, *, hours: float) -> None:
    dice = world.loop.dice("chaos")
    while world.loop.time() < hours * HOUR_S:
        await asyncio.sleep(dice.uniform(5, 200))
        name = dice.choice(NAMES)
        match dice.choice(["start", "stop", "kill", "kill", "sleep", "sleep", "cut", "away", "broker", "store"]):
            case "start" if name not in world.tasks:
                world.start(name)
            case "stop" if len([each for each in NAMES if each in world.tasks]) > 1:
                await world.stop(name)
            case "kill":
                await world.kill(name)
                await asyncio.sleep(dice.choice([0.0, 1.0, 60.0]))
                world.start(name)
            case "sleep":
                # asleep in mid-transaction for longer than its lease, then it goes on as if nothing had happened
                gate = world.asleep.get(name)
                if gate is not None:
                    gate.clear()
                    await asyncio.sleep(dice.uniform(1, 120))
                    gate.set()
            case "cut":
                world.net.cut(name)
                await asyncio.sleep(dice.uniform(1, 120))
                world.net.heal(name)
            case "away":
                away = dice.choice(world.edges).name
                world.net.cut(away)
                await asyncio.sleep(dice.choice([30.0, 600.0, 0.3 * HOURS * HOUR_S]))
                world.net.heal(away)
            case "broker":
                world.net.stop_broker()
                await asyncio.sleep(dice.uniform(1, 300))
                world.net.start_broker()
            case "store":
                world.leases.up = False
                await asyncio.sleep(dice.uniform(1, 60))
                world.leases.up = True
            case _:
                pass


async def settle(world: World) -> None:
    world.leases.up = True
    for each in world.asleep.values():
        each.set()
    for one in world.edges:
        world.net.set_faults(one.name, GOOD_LINE)
        world.net.heal(one.name)
    for name in NAMES:
        world.net.heal(name)
        if name not in world.tasks:
            world.start(name)
    waited_s = 0
    while not all(each.caught_up for each in world.edges):
        await asyncio.sleep(10)
        waited_s += 10
        assert waited_s < SETTLE_S, [(each.name, each.last, each.acked) for each in world.edges]


@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_or_doubled_whatever_workers_do(seed: int) -> None:
    async def run(world: World) -> None:
        for name in NAMES[:2]:
            world.start(name)
        houses = asyncio.ensure_future(living(world))
        await chaos(world, hours=HOURS)
        houses.cancel()
        await settle(world)
        assert world.problems() == []
        assert sum(sum(each.last.values()) for each in world.edges) > 300

    simulate(seed, run, hours=HOURS + 5)


@pytest.mark.guarantee("G2")
def test_a_worker_that_slept_through_its_lease_commits_nothing() -> None:
    async def run(world: World) -> None:
        world.start("w0")
        await asyncio.sleep(5)
        world.asleep["w0"].clear()
        for each in world.edges:
            each.append(Lane.C, 30)
        await asyncio.sleep(20)
        assert world.streams.rows == []
        world.start("w1")
        await asyncio.sleep(60)
        stored = len(world.streams.rows)
        assert stored > 0
        world.asleep["w0"].set()
        await asyncio.sleep(60)
        assert world.streams.fenced >= 1
        await settle(world)
        assert world.problems() == []

    simulate(3, run, hours=4)


@pytest.mark.guarantee("G11")
def test_workers_share_evenly_and_the_dead_ones_shards_are_taken_within_seconds() -> None:
    async def run(world: World) -> None:
        def held() -> list[int]:
            return [len(world.workers[name].shards) for name in NAMES if name in world.tasks]

        world.start("w0")
        await asyncio.sleep(5)
        assert held() == [64]
        world.start("w1")
        await asyncio.sleep(8)
        assert held() == [32, 32]
        world.start("w2")
        await asyncio.sleep(10)
        assert sorted(held()) == [20, 22, 22]
        await world.kill("w1")
        await asyncio.sleep(LEASE.total_seconds() + 4)
        assert sorted(held()) == [32, 32]
        await world.stop("w0")
        assert held() == [64]
        serving = set(world.workers["w2"].shards)
        assert serving == set(ALL_SHARDS)

    simulate(1, run, hours=1)


@pytest.mark.guarantee("G11")
def test_a_worker_that_starts_again_under_its_name_takes_its_own_shards_at_once() -> None:
    async def run(world: World) -> None:
        world.start("w0")
        world.start("w1")
        await asyncio.sleep(15)
        mine = world.workers["w0"].shards
        assert len(mine) == 32
        await world.kill("w0")
        world.start("w0")
        await asyncio.sleep(2)
        assert world.workers["w0"].shards == mine

    simulate(2, run, hours=1)


def test_a_planned_stop_leaves_no_moment_without_a_listener() -> None:
    """Over a good line, handing everything over makes no edge send anything twice."""

    async def run(world: World) -> None:
        for each in world.edges:
            world.net.set_faults(each.name, GOOD_LINE)
        world.start("w0")
        world.start("w1")
        await asyncio.sleep(20)
        for n in range(40):
            for each in world.edges:
                each.append(Lane.C, 1)
            if n == 10:
                await world.stop("w0")
            await asyncio.sleep(0.5)
        await settle(world)
        assert world.problems() == []
        waits = [wait for each in world.edges for wait in each.ack_waits_ms]
        assert max(waits) < TIMES.ack_wait_ms, sorted(waits)[-5:]

    simulate(5, run, hours=2)


class _SlowDisk(MemoryLedger):
    """Writes a group in a moment; its commit takes two seconds, whatever is in it."""

    def __init__(self, leases: MemoryLeases) -> None:
        super().__init__(MemoryStreams(), leases, _at_once)
        self.groups: list[int] = []

    async def commit(
        self, items: Sequence[Item], right: Right | None = None, *, written: Callable[[], None] | None = None
    ) -> list[Reply]:
        self.groups.append(len(items))
        await asyncio.sleep(0.001 * len(items))
        replies = await super().commit(items, right, written=written)
        await asyncio.sleep(2)
        return replies


def test_a_disk_that_is_slow_to_commit_makes_groups_no_smaller() -> None:
    """What a commit takes it takes for one message as for a hundred: groups that shrink by it would drown."""

    async def main(loop: SimLoop) -> list[int]:
        net, leases, clock = SimNet(loop), MemoryLeases(LEASE.total_seconds(), breath=_at_once), SimClock(loop)
        ledger = _SlowDisk(leases)
        worker = FanInWorker(
            net.transport("w0"), ledger, ShardKeeper(leases, Worker("w0", "1"), clock=clock, lease=LEASE), clock=clock,
            settings=WorkerSettings(parallel=1), lost=(StoreFailedError,), refused=_never, dropped=lambda _count: None,
        )  # fmt: skip
        running = loop.create_task(worker.run())
        while len(worker.shards) < len(ALL_SHARDS):
            await asyncio.sleep(0.1)
        async with net.transport("fleet").connect() as link:
            for n in range(20 * 128):
                who = edge(n)  # of one edge the same again would take the place of what waits
                await link.publish(up_topic(who, Lane.C), packed(who, 1, [note(each) for each in range(40)]))
                await asyncio.sleep(0.005)
            await asyncio.sleep(200)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return ledger.groups

    groups = run_simulated(main, 1, until_s=HOUR_S).value
    assert sum(groups) == 20 * 128
    assert min(groups[5:-3]) > 100  # 200 a second come: two seconds' worth and never a handful


class _Slow(MemoryLedger):
    """Takes 0.15 s for a message, whatever is in it."""

    async def commit(
        self, items: Sequence[Item], right: Right | None = None, *, written: Callable[[], None] | None = None
    ) -> list[Reply]:
        await asyncio.sleep(0.15 * len(items))
        return await super().commit(items, right, written=written)


@pytest.mark.guarantee("G11")
@pytest.mark.guarantee("G12")
def test_who_waits_long_for_a_slow_cloud_stays_and_says_nothing_twice() -> None:
    """Forty edges have a record a second each, and seven messages a second are stored: who takes the link for dead
    after eight seconds, and comes back with a hello and all that he said before, makes it slower still.
    """

    async def main(loop: SimLoop) -> tuple[list[int], int, list[str]]:
        net, leases, clock = SimNet(loop), MemoryLeases(LEASE.total_seconds(), breath=_at_once), SimClock(loop)
        streams = MemoryStreams()
        worker = FanInWorker(
            net.transport("w0"), _Slow(streams, leases, _at_once),
            ShardKeeper(leases, Worker("w0", "1"), clock=clock, lease=LEASE), clock=clock,
            settings=WorkerSettings(parallel=1, group_messages_max=4), lost=(StoreFailedError,), refused=_never,
            dropped=lambda _count: None,
        )  # fmt: skip
        tasks = [loop.create_task(worker.run())]
        while len(worker.shards) < len(ALL_SHARDS):
            await asyncio.sleep(0.1)
        edges = [
            EmulatedEdge(edge(n), net.transport(edge(n)), clock=clock, dice=loop.dice(f"edge-{n}")) for n in range(40)
        ]
        tasks += [loop.create_task(each.run()) for each in edges]
        for _ in range(300):
            for each in edges:
                each.append(Lane.C, 1)
            await asyncio.sleep(1)
        waited_s = 0
        while not all(each.caught_up for each in edges):
            await asyncio.sleep(1)
            waited_s += 1
            assert waited_s < HOUR_S, "they never come to an end"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        held = {(each.name, each.incarnation, lane): last for each in edges for lane, last in each.last.items()}
        return [len(each.attempts_ms) for each in edges], waited_s, streams.problems(held)

    connections, waited_s, problems = run_simulated(main, 7, until_s=2 * HOUR_S).value
    assert problems == []
    assert connections == [1] * 40, "nobody took the link for dead"
    assert waited_s < 60


class _Stuck(MemoryLedger):
    """Its first commit takes half a minute: a server that fails over."""

    def __init__(self, streams: MemoryStreams, leases: MemoryLeases) -> None:
        super().__init__(streams, leases, _at_once)
        self._stuck = True

    async def commit(
        self, items: Sequence[Item], right: Right | None = None, *, written: Callable[[], None] | None = None
    ) -> list[Reply]:
        if any(isinstance(each, BatchItem) for each in items) and self._stuck:
            self._stuck = False
            await asyncio.sleep(30)
        return await super().commit(items, right, written=written)


def test_whose_message_is_at_work_for_long_is_told_so_too() -> None:
    async def main(loop: SimLoop) -> tuple[int, int]:
        net, leases, clock = SimNet(loop), MemoryLeases(HOUR_S, breath=_at_once), SimClock(loop)
        streams = MemoryStreams()
        worker = FanInWorker(
            net.transport("w0"), _Stuck(streams, leases),
            ShardKeeper(leases, Worker("w0", "1"), clock=clock, lease=timedelta(hours=1)), clock=clock,
            settings=WorkerSettings(parallel=1), lost=(StoreFailedError,), refused=_never, dropped=lambda _count: None,
        )  # fmt: skip
        tasks = [loop.create_task(worker.run())]
        while len(worker.shards) < len(ALL_SHARDS):
            await asyncio.sleep(0.1)
        one = EmulatedEdge(edge(0), net.transport(edge(0)), clock=clock, dice=loop.dice("edge"))
        tasks.append(loop.create_task(one.run()))
        await asyncio.sleep(5)
        one.append(Lane.B, 1)
        await asyncio.sleep(40)
        assert one.caught_up
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(one.attempts_ms), one.sent

    assert run_simulated(main, 3, until_s=HOUR_S).value == (1, 1), "neither dropped nor sent again"


async def _at_once() -> None:
    return
