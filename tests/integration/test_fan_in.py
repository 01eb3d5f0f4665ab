"""The fan-in for real: several workers, broker and PostgreSQL killed, workers started and stopped, edges in numbers.

INNKEEPER_FAN_IN_CHAOS_S makes the chaos longer (seconds; 12 by default).
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from cloud.kit.acting import system
from cloud.kit.database import Connection, Database, fetch_all
from cloud.migrations.upgrade import upgrade
from cloud.telemetry.fan_in.leases import Worker
from cloud.telemetry.fan_in.worker import WorkerSettings
from cloud.telemetry.ingest import IngestWorker
from cloud.telemetry.ports import EdgeOwner
from cloud.telemetry.store.plain import PlainStore
from kit.clock import SystemClock
from kit.dice import SeededDice, SystemDice
from kit.mqtt import Broker, MqttTransport
from kit.supervision import Backoff, Supervisor
from protocols.device_model.identity import EdgeId
from protocols.link.edge_link import LinkTimes
from protocols.link.lanes import Lane
from provisioning.rehearsal.embedded_postgres import EmbeddedPostgres
from provisioning.rehearsal.nats import Nats
from tests.cloud.telemetry.emulated_edge import EmulatedEdge
from tests.cloud.telemetry.sending import edge
from tests.integration.fan_in_mosquitto import Mosquitto
from tests.integration.silence import QuietLog

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.timeout(180)]

CHAOS_S = float(os.environ.get("INNKEEPER_FAN_IN_CHAOS_S", "12"))
EDGES = 30
SETTLE_S = 60.0 + 2 * CHAOS_S  # an edge that was lost often pauses up to a minute
SOON = Backoff(first_ms=20, most_ms=200)
LEASE, TICK = timedelta(milliseconds=1_500), timedelta(milliseconds=250)
TIMES = LinkTimes(ack_wait_ms=1_000, half_open_ms=3_000, probe_every_ms=4_000)
TENANT = "northlight"


async def owner_of(_connection: Connection, who: EdgeId) -> EdgeOwner | None:
    return EdgeOwner(TENANT, f"p-{who[-6:]}")


@dataclass
class House:
    """A broker, a database, edges, and workers that come and go."""

    broker: "Nats | Mosquitto"
    postgres: EmbeddedPostgres
    database: Database
    supervisor: Supervisor
    dice: SeededDice
    edges: list[EmulatedEdge] = field(default_factory=list)
    workers: dict[str, IngestWorker] = field(default_factory=dict)

    def transport(self, client_id: str) -> MqttTransport:
        return MqttTransport(
            Broker(
                self.broker.host,
                self.broker.port,
                client_id=client_id,
                answer_wait=timedelta(seconds=2),
                keepalive=timedelta(seconds=5),
            )
        )

    def start(self, name: str, *, restart: Backoff | None = SOON) -> None:
        clock = SystemClock("host")
        worker = self.workers[name] = IngestWorker(
            self.database, self.transport(f"cloud-ingest-{name}"), owner_of=owner_of, projections={}, clock=clock,
            store=PlainStore(self.database), settings=WorkerSettings(parallel=2),
            me=Worker(name, SystemDice().bytes(6).hex()), lease=LEASE, tick=TICK,
        )  # fmt: skip
        self.supervisor.start(name, worker.run, restart=restart)

    async def stop(self, name: str) -> None:
        await self.workers.pop(name).hand_over()
        await self.supervisor.cancel(name)

    async def crash(self, name: str) -> None:
        """End a worker as `kill -9` does: its leases stay until they run out."""
        self.silence(name)
        del self.workers[name]
        await self.supervisor.cancel(name)

    def silence(self, name: str) -> None:
        """Keep a worker from giving up its leases when it ends."""

        async def silent() -> None:
            return

        self.workers[name]._keeper.leave = silent  # type: ignore[method-assign]  # replaced to look first

    def add_edge(self, n: int) -> None:
        name = edge(n)
        one = EmulatedEdge(
            name, self.transport(name), clock=SystemClock("host"), dice=self.dice.fork(name), times=TIMES,
            reconnect_most_ms=1_000,
        )  # fmt: skip
        self.edges.append(one)
        self.supervisor.start(name, one.run, restart=SOON)

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(SETTLE_S):
                while not holds():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(what) from None

    async def settled(self) -> None:
        await self.until(
            lambda: all(each.caught_up for each in self.edges),
            f"behind: {[(each.name, each.last, each.acked) for each in self.edges if not each.caught_up]}",
        )

    async def problems(self) -> list[str]:
        """Hold the ledger against what the edges appended."""
        async with self.database.transaction() as connection:
            rows = await fetch_all(
                connection,
                """SELECT edge, lane, seq, (body->>'n')::bigint AS said FROM telemetry.record
                    ORDER BY edge, lane, id""",
            )
        seqs: dict[tuple[str, str], list[int]] = {}
        found = [f"changed: {row}" for row in rows if row["said"] != row["seq"]]
        for row in rows:
            seqs.setdefault((row["edge"], row["lane"]), []).append(row["seq"])
        for each in self.edges:
            for lane, last in each.last.items():
                if (held := seqs.get((each.name, lane.value), [])) != list(range(1, last + 1)):
                    found.append(f"{each.name}/{lane}: {len(held)} of {last}, {len(held) - len(set(held))} double")
        return found


@pytest.fixture(
    params=[
        pytest.param("nats", marks=pytest.mark.tier("nats")),
        pytest.param("mosquitto", marks=pytest.mark.tier("mosquitto")),
    ]
)
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    async with contextlib.AsyncExitStack() as stack:
        broker: Nats | Mosquitto = (
            Nats(tmp_path / "nats") if request.param == "nats" else Mosquitto(tmp_path / "mosquitto")
        )
        await stack.enter_async_context(broker)
        postgres = await stack.enter_async_context(EmbeddedPostgres(tmp_path / "postgres"))
        await asyncio.to_thread(upgrade, postgres.dsn)
        database = Database(postgres.dsn, most=16, actor=system("test"))
        await database.open()
        stack.push_async_callback(database.close)
        supervisor = await stack.enter_async_context(
            Supervisor(clock=SystemClock("host"), dice=SystemDice(), log=QuietLog())
        )
        yield House(broker, postgres, database, supervisor, SeededDice(7))


@pytest.mark.guarantee("G2")
@pytest.mark.guarantee("G11")
async def test_workers_come_and_go_under_load_and_nothing_is_lost_or_doubled(house: House) -> None:
    for n in range(EDGES):
        house.add_edge(n)
    house.start("w0")

    async def live() -> None:
        while True:
            for each in house.edges:
                each.append(house.dice.choice([Lane.B, Lane.C]), house.dice.choice([1, 3, 20]))
            await asyncio.sleep(0.05)

    living = asyncio.create_task(live())
    await house.until(lambda: len(house.workers["w0"].shards) == 64, "w0 never served all")
    house.start("w1")
    await house.until(lambda: [len(w.shards) for w in house.workers.values()] == [32, 32], "never shared evenly")
    house.start("w2")
    await house.until(lambda: sum(len(w.shards) >= 20 for w in house.workers.values()) == 3, "w2 got no share")
    await house.crash("w1")
    await house.until(lambda: sum(len(w.shards) for w in house.workers.values()) == 64, "the dead one's were not taken")
    await house.stop("w0")
    await house.until(lambda: len(house.workers["w2"].shards) == 64, "w2 never served all")
    living.cancel()
    await house.settled()
    assert await house.problems() == []
    assert sum(sum(each.last.values()) for each in house.edges) > 1_000


@pytest.mark.guarantee("G11")
async def test_a_worker_under_the_name_of_one_that_hangs_takes_over_connection_and_shards(house: House) -> None:
    house.add_edge(1)
    house.start("w0", restart=None)
    await house.until(lambda: len(house.workers["w0"].shards) == 64, "w0 never served all")
    old, second = house.workers["w0"], "w0-again"
    house.start("w1")
    await house.until(lambda: len(house.workers["w1"].shards) == 32, "w1 got no share")
    house.silence("w0")
    # the same name in another life: the broker drops the first connection, the leases change hands at once
    worker = IngestWorker(
        house.database, house.transport("cloud-ingest-w0"), owner_of=owner_of, projections={},
        clock=SystemClock("host"), me=Worker("w0", "second"), lease=LEASE, tick=TICK,
    )  # fmt: skip
    lost = asyncio.create_task(_until(lambda: not old.connected))
    house.supervisor.start(second, worker.run, restart=None)
    await asyncio.wait_for(lost, SETTLE_S)
    await house.supervisor.cancel("w0")
    await house.until(lambda: len(worker.shards) == 32, "the second life did not take the first one's shards")
    for lane in (Lane.B, Lane.C):
        house.edges[0].append(lane, 500)
    await house.settled()
    assert await house.problems() == []


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G2")
@pytest.mark.guarantee("G11")
async def test_nothing_is_lost_or_doubled_while_database_broker_and_workers_are_killed(house: House) -> None:
    for n in range(EDGES):
        house.add_edge(n)
    for name in ("w0", "w1"):
        house.start(name)
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + CHAOS_S

    async def live() -> None:
        while True:
            for each in house.edges:
                each.append(house.dice.choice([Lane.B, Lane.C]), house.dice.choice([1, 3, 20]))
            await asyncio.sleep(0.1)

    async def kill(server: "EmbeddedPostgres | Nats | Mosquitto") -> None:
        await server.kill()
        await asyncio.sleep(house.dice.uniform(0, 0.5))
        await server.start()

    async def worker() -> None:
        name = house.dice.choice(["w0", "w1"])
        await house.crash(name)
        await asyncio.sleep(house.dice.uniform(0, 1))
        house.start(name)

    living = asyncio.create_task(live())
    faults: list[Callable[[], Awaitable[None]]] = [
        lambda: kill(house.postgres), lambda: kill(house.broker), worker, lambda: kill(house.postgres),
    ]  # fmt: skip
    killed = 0
    while loop.time() < ends_s or killed < len(faults):
        await faults[killed % len(faults)]()
        killed += 1
        await asyncio.sleep(house.dice.uniform(0.3, 1.5))
    living.cancel()
    await house.settled()
    assert await house.problems() == []
    assert sum(sum(each.last.values()) for each in house.edges) > 1_000


@pytest.mark.guarantee("G11")
async def test_a_worker_of_its_own_serves_hands_over_and_ends_when_told_to(house: House, tmp_path: Path) -> None:
    config = tmp_path / "cloud.toml"
    config.write_text(
        f'database.dsn = "{house.postgres.dsn}"\n'
        f'broker = {{host = "{house.broker.host}", port = {house.broker.port}}}\n'
        'ingest = {name = "alone", lease = "PT3S"}\n'
    )
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cloud.app.main", "ingest", "--config", str(config), "--operations-port", "0",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert program.stdout is not None
    try:
        async with asyncio.timeout(SETTLE_S):
            while b'"event":"serving"' not in (line := (await program.stdout.readline()).replace(b'": ', b'":')):
                assert line, "it ended"
            port = json.loads(line)["port"]
            async with httpx.AsyncClient() as client:
                while (await client.get(f"http://127.0.0.1:{port}/ready")).status_code != 200:
                    await asyncio.sleep(0.05)
                assert "innkeeper_ingest_total" in (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            while await owners(house) != ["alone"] * 64:
                await asyncio.sleep(0.05)
            house.start("w1")
            while sorted(set(await owners(house))) != ["alone", "w1"]:
                await asyncio.sleep(0.05)
            program.send_signal(signal.SIGTERM)
            assert await program.wait() == 0
            assert await owners(house) == ["w1"] * 64
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


async def owners(house: House) -> list[str]:
    async with house.database.transaction() as connection:
        rows = await fetch_all(connection, "SELECT owner FROM telemetry.shard ORDER BY shard")
    return [(row["owner"] or "").split("/")[0] for row in rows]
