"""The real record path: record log, uplink, nats-server, ingest, PostgreSQL, and each of them killed in turn."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.kit.acting import system
from cloud.kit.database import Connection, Database
from cloud.migrations.upgrade import upgrade
from cloud.telemetry import completeness, service
from cloud.telemetry.downlink import Downlink
from cloud.telemetry.ingest import IngestWorker
from cloud.telemetry.ports import EdgeOwner
from edge.link.settings import LinkSettings
from edge.link.uplink import Uplink
from edge.log.record_log import Entry, RecordLog
from kit.clock import SystemClock
from kit.dice import SystemDice
from kit.mqtt import Broker, MqttTransport
from kit.supervision import Backoff, Supervisor
from protocols.device_model.identity import EdgeId, PropertyId
from protocols.errors import ReplyTimeoutError
from protocols.link.documents import CommandEnvelope, DesiredDocument
from protocols.link.edge_link import LinkTimes
from protocols.link.lanes import LANES, Lane
from protocols.link.messages import Answer
from provisioning.rehearsal.embedded_postgres import EmbeddedPostgres
from provisioning.rehearsal.nats import Nats
from tests.integration.silence import QuietLog

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.tier("nats")]

EDGE, PROPERTY = EdgeId("e-aurora0000000001"), PropertyId("aurora")
KEY = ec.generate_private_key(ec.SECP256R1())
KID = b"command-1"
SOON = Backoff(first_ms=20, most_ms=100)
DONE_WAIT_S = 60.0


@dataclass
class World:
    """One edge and one cloud, as real as one process allows."""

    folder: Path
    nats: Nats
    postgres: EmbeddedPostgres
    database: Database
    log: RecordLog
    supervisor: Supervisor
    uplink: Uplink
    ingest: IngestWorker
    downlink: Downlink
    effects: list[str] = field(default_factory=list)
    documents: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)

    async def proof(self) -> dict[Lane, completeness.Completeness]:
        async with self.database.transaction() as connection:
            held = await completeness.completeness(connection, tenant="northlight", property_id=PROPERTY)
        return {each.lane: each for each in held}

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DONE_WAIT_S):
            while not holds():
                await asyncio.sleep(0.02)

    async def drained(self) -> None:
        await self.until(lambda: not any(self.uplink.state.backlog.values()))


def transport(nats: Nats, name: str) -> MqttTransport:
    return MqttTransport(
        Broker(nats.host, nats.port, client_id=name, answer_wait=timedelta(seconds=2), keepalive=timedelta(seconds=5))
    )


async def owner_of(_connection: Connection, edge: EdgeId) -> EdgeOwner | None:
    return EdgeOwner("northlight", PROPERTY) if edge == EDGE else None


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock, dice = SystemClock("host"), SystemDice()
    effects: list[str] = []
    documents: list[tuple[str, int, dict[str, Any]]] = []

    async def obey(command: CommandEnvelope) -> Mapping[str, Any]:
        effects.append(command.idempotency_key)
        if command.kind == "slow":
            await asyncio.sleep(3600)
        return {"phase": "done", "read_back": command.args["value"], "bundle": {"doors": [{"door": "door-101"}]}}

    async def desired(name: str, version: int, body: Mapping[str, Any]) -> None:
        documents.append((name, version, dict(body)))

    async with contextlib.AsyncExitStack() as stack:
        nats = await stack.enter_async_context(Nats(tmp_path / "nats"))
        postgres = await stack.enter_async_context(EmbeddedPostgres(tmp_path / "postgres"))
        await asyncio.to_thread(upgrade, postgres.dsn)
        database = Database(postgres.dsn, most=8, actor=system("test"))
        await database.open()
        stack.push_async_callback(database.close)
        log = await stack.enter_async_context(await RecordLog.open(tmp_path / "log", clock=clock, dice=dice))
        uplink = Uplink(
            edge=EDGE, property_id=PROPERTY, log=log, transport=transport(nats, EDGE), clock=clock, dice=dice,
            command_key=lambda kid: KEY.public_key() if kid == KID else None, on_command=obey, on_desired=desired,
            live_state=lambda: [
                {"room": "101", "device": "t-101", "capability": "thermostat", "attribute": "local_temperature",
                 "value": 21.5, "unit": "°C", "quality": "good", "at_ms": clock.wall_ms()},
            ],
            settings=LinkSettings(
                reconnect_first=timedelta(milliseconds=50), reconnect_most=timedelta(milliseconds=500)
            ),
            times=LinkTimes(ack_wait_ms=500, half_open_ms=2_000, probe_every_ms=3_000),
        )  # fmt: skip
        ingest = IngestWorker(database, transport(nats, "cloud-ingest"), owner_of=owner_of, projections={}, clock=clock)
        downlink = Downlink(transport(nats, "cloud-downlink"), key=KEY, kid=KID, clock=clock)
        supervisor = await stack.enter_async_context(Supervisor(clock=clock, dice=dice, log=QuietLog()))
        for name, run in (("uplink", uplink.run), ("ingest", ingest.run), ("downlink", downlink.run)):
            supervisor.start(name, run, restart=SOON)
        made = World(tmp_path, nats, postgres, database, log, supervisor, uplink, ingest, downlink, effects, documents)
        await made.until(lambda: uplink.state.last_ack_ms is not None and downlink.connected)
        yield made


def entry(n: int) -> Entry:
    return Entry("access", {"door": "door-101", "event": "opened", "n": n})


async def shown(world: World) -> service.LatestValue:
    """Return the one latest value once it is there: the live state has a way of its own, beside the batches."""
    async with asyncio.timeout(20):
        while True:
            async with world.database.transaction() as connection:
                values = await service.latest(connection, tenant="northlight", property_id=PROPERTY)
            if values:
                [value] = values
                return value
            await asyncio.sleep(0.05)


@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G2")
async def test_everything_arrives_once_and_in_order(world: World) -> None:
    for lane in LANES:
        for start in range(0, 2_000, 200):
            await world.log.append_many(lane, [entry(n) for n in range(start, start + 200)])
    await world.drained()
    proof = await world.proof()
    assert {lane: (each.count, each.hi, each.holds) for lane, each in proof.items()} == dict.fromkeys(
        LANES, (2_000, 2_000, True)
    )
    async with world.database.transaction() as connection:
        page = await service.records_page(
            connection, tenant="northlight", property_id=PROPERTY, lane=Lane.A, most=1_000
        )
    value = await shown(world)
    assert [row.body["n"] for row in page.rows] == list(range(1_000))
    assert (value.value, value.source) == (21.5, "live")


@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G2")
async def test_nothing_is_lost_or_doubled_while_broker_and_database_are_killed(world: World) -> None:
    appended = 0

    async def keep_appending() -> None:
        nonlocal appended
        while True:
            await world.log.append_many(Lane.A, [entry(n) for n in range(appended, appended + 20)])
            appended += 20
            await asyncio.sleep(0.01)

    writing = asyncio.create_task(keep_appending())
    for _ in range(2):
        await world.until(lambda: appended >= 200)
        await world.nats.kill()
        await asyncio.sleep(0.05)
        await world.nats.start()
        await world.postgres.kill()
        await asyncio.sleep(0.05)
        await world.postgres.start()
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    await world.drained()
    held = (await world.proof())[Lane.A]
    assert held.count == world.log.heads()[Lane.A] >= appended
    assert held.holds


@pytest.mark.guarantee("G13")
async def test_a_command_takes_effect_once_and_its_answer_is_repeated(world: World) -> None:
    clock = SystemClock("host")

    async def send(command_id: str, key: str, kind: str = "write", within_ms: int = 60_000) -> Answer:
        return await world.downlink.command(
            EDGE, kind, {"value": 21.0}, command_id=command_id, idempotency_key=key,
            deadline_ms=clock.wall_ms() + within_ms,
        )  # fmt: skip

    first = await send("c-1", "k-1")
    again = await send("c-2", "k-1")
    assert (first.phase, again.phase) == ("done", "done")
    assert first.result == again.result == {
        "phase": "done", "read_back": 21.0, "bundle": {"doors": [{"door": "door-101"}]},
    }  # fmt: skip
    assert world.effects == ["k-1"]
    late = await send("c-3", "k-3", within_ms=-1)
    assert late.phase == "expired"
    assert world.effects == ["k-1"]
    with pytest.raises(ReplyTimeoutError) as caught:
        await send("c-4", "k-4", kind="slow", within_ms=3_000)  # longer than the way there
    assert caught.value.may_have_taken_effect
    bodies = [record.body for record in await world.log.read(Lane.A, 0)]
    assert [(body["id"], body["phase"]) for body in bodies] == [
        ("c-1", "executing"), ("c-1", "done"), ("c-3", "expired"), ("c-4", "executing"),
    ]  # fmt: skip
    assert all("bundle" not in str(body) for body in bodies)  # keys stay out of the ledger


async def test_a_document_is_taken_once_and_never_an_older_one(world: World) -> None:
    for version in (3, 3, 2, 4):
        await world.downlink.desire(DesiredDocument(EDGE, "stays", version, {"stays": [{"id": "s"}]}, 0))
    await world.until(lambda: len(world.documents) >= 2)
    assert [(name, version) for name, version, _ in world.documents] == [("stays", 3), ("stays", 4)]
    stored = await world.log.document("stays")
    assert stored is not None
    assert stored[0] == 4
