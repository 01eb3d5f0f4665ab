"""Leases of shards: the rule by which workers share, the store that keeps them, and the fence before every commit."""

import asyncio
from datetime import timedelta

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.kit.database import Database, fetch_all
from cloud.telemetry.fan_in import statements
from cloud.telemetry.fan_in.keeper import ShardKeeper
from cloud.telemetry.fan_in.lease_store import PostgresLeases, ShardLostError, fence
from cloud.telemetry.fan_in.leases import ALL_SHARDS, LeaseStore, Standing, Worker, plan, share_of
from cloud.telemetry.fan_in.ledger import PostgresLedger, Right
from kit.clock import ManualClock
from protocols.errors import StoreFailedError
from protocols.link.topics import shard_of
from tests.cloud.telemetry.memory_fan_in import MemoryLeases
from tests.cloud.telemetry.sending import NOW_MS, arrived, edge, note, owner_of, packed

pytestmark = pytest.mark.tier("postgres")

ANN, BEN, CLEO = Worker("ann", "1"), Worker("ben", "1"), Worker("cleo", "1")
SHORT = timedelta(milliseconds=1_500)
"""Longer than a busy machine stands still between a renewal and what is asked next."""


# ---------------------------------------------------------------------- the rule


@given(order=st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["tick", "tick", "tick", "leave"])), max_size=40))
def test_ticks_in_any_order_come_to_rest_with_even_shares(order: list[tuple[int, str]]) -> None:
    async def run() -> None:
        store = MemoryLeases(lease_s=1e9)
        workers = [Worker(f"w{n}", "1") for n in range(5)]
        held: dict[str, dict[int, int]] = {each.id: {} for each in workers}
        offered: dict[str, frozenset[int]] = {each.id: frozenset() for each in workers}
        here: set[int] = set()

        async def tick(n: int) -> Standing:
            me = workers[n]
            standing = await store.stand(me, held[me.id], offered=offered[me.id], staying=True)
            held[me.id] = {each.shard: each.token for each in standing.leases if each.owner == me.id}
            decided = plan(standing, me, staying=True)
            offered[me.id] = decided.offer
            assert decided.offer <= held[me.id].keys()
            assert not held[me.id].keys() & set(decided.claim)
            held[me.id] |= await store.claim(me, decided.claim)
            return standing

        for n, what in order:
            if what == "tick":
                here.add(n)
                await tick(n)
            elif n in here:
                here.remove(n)
                await store.leave(workers[n], held[workers[n].id])
                held[workers[n].id] = {}
        here.add(0)
        for _ in range(6):
            for n in sorted(here):
                await tick(n)
        owners = [store.shards[shard].owner for shard in ALL_SHARDS]
        counts = [owners.count(workers[n].id) for n in here]
        assert sum(counts) == len(ALL_SHARDS)
        assert max(counts) <= share_of(len(here))
        before = list(owners)
        for n in sorted(here):
            await tick(n)
        assert [store.shards[shard].owner for shard in ALL_SHARDS] == before  # nothing moves without need

    asyncio.run(run())


# ---------------------------------------------------------------------- the store


@pytest.fixture(params=["memory", "postgres"])
async def leases(request: pytest.FixtureRequest, database: Database) -> LeaseStore:
    """The real store, and the one that the simulation trusts."""
    return MemoryLeases(SHORT.total_seconds()) if request.param == "memory" else PostgresLeases(database, lease=SHORT)


async def stands(store: LeaseStore, me: Worker, held: dict[int, int], offered: tuple[int, ...] = ()) -> Standing:
    return await store.stand(me, held, offered=offered, staying=True)


async def test_a_shard_is_claimed_once_and_its_token_counts_up(leases: LeaseStore) -> None:
    assert await leases.claim(ANN, [3, 5]) == {3: 1, 5: 1}
    assert await leases.claim(BEN, [3, 5, 6]) == {6: 1}
    await leases.leave(ANN, {3: 1, 5: 1})
    assert await leases.claim(BEN, [3]) == {3: 2}
    standing = await stands(leases, BEN, {3: 2, 6: 1})
    assert standing.staying == {BEN.id}
    assert {each.shard: (each.owner, each.token, each.free) for each in standing.leases if each.token} == {
        3: (BEN.id, 2, False), 5: (None, 1, True), 6: (BEN.id, 1, False),
    }  # fmt: skip


async def test_two_that_claim_at_once_never_both_have_it(leases: LeaseStore) -> None:
    for _ in range(5):
        taken = await asyncio.gather(*(leases.claim(each, list(ALL_SHARDS)) for each in (ANN, BEN, CLEO)))
        assert sorted(shard for each in taken for shard in each) == list(ALL_SHARDS)
        for who, each in zip((ANN, BEN, CLEO), taken, strict=True):
            await leases.leave(who, each)


async def test_a_lease_not_renewed_is_free_and_a_renewed_one_is_not(leases: LeaseStore) -> None:
    mine = await leases.claim(ANN, [1, 2])
    while not (free := await leases.claim(BEN, [2])):
        await stands(leases, ANN, {1: mine[1]})
        await asyncio.sleep(0.05)
    assert free == {2: 2}
    assert await leases.claim(BEN, [1]) == {}
    standing = await stands(leases, ANN, mine)  # a late renewal of what another has is none
    assert {each.shard: each.owner for each in standing.leases if each.owner} == {1: ANN.id, 2: BEN.id}
    assert standing.staying == {ANN.id}


async def test_what_is_offered_may_be_claimed_while_it_is_served(leases: LeaseStore) -> None:
    mine = await leases.claim(ANN, [1, 2])
    await stands(leases, ANN, mine, offered=(2,))
    assert await leases.claim(BEN, [1, 2]) == {2: 2}
    standing = await stands(leases, ANN, mine)
    assert {each.shard for each in standing.leases if each.owner == ANN.id} == {1}


async def test_an_earlier_life_is_inherited_at_once_and_forgotten(leases: LeaseStore) -> None:
    await stands(leases, ANN, {})
    await leases.claim(ANN, [7])
    again = Worker("ann", "2")
    standing = await stands(leases, again, {})
    assert standing.staying == {again.id}
    assert plan(standing, again, staying=True).claim[0] == 7
    assert await leases.claim(again, [7]) == {7: 2}
    assert await leases.claim(Worker("an", "2"), [7]) == {}  # a name is not its beginning


# ---------------------------------------------------------------------- the fence


def ledger_of(database: Database) -> PostgresLedger:
    return PostgresLedger(database, owner_of=owner_of, projections={}, clock=ManualClock(wall_ms=NOW_MS))


@pytest.mark.guarantee("G2")
async def test_a_worker_that_lost_its_shard_stores_nothing(database: Database) -> None:
    store, shard = PostgresLeases(database, lease=SHORT), shard_of(edge(1))
    old = await store.claim(ANN, [shard])
    await store.leave(ANN, old)
    new = await store.claim(BEN, [shard])
    ledger = ledger_of(database)
    item = arrived(edge(1), packed(edge(1), 1, [note(1)]))
    with pytest.raises(ShardLostError) as caught:
        await ledger.commit([item], Right(ANN, old))
    assert caught.value.shards == {shard}
    async with database.transaction() as connection:
        assert await fetch_all(connection, "SELECT FROM telemetry.record") == []
        assert await fetch_all(connection, "SELECT FROM telemetry.stream") == []
    assert ledger.counts.records == 0
    with pytest.raises(ShardLostError):
        await ledger.commit([item], Right(BEN, old))  # its own, under an old token
    assert [each.ack.marks[0].hi for each in await ledger.commit([item], Right(BEN, new))] == [1]


@pytest.mark.guarantee("G2")
async def test_a_claim_waits_for_the_commit_that_was_proved_before_it(database: Database) -> None:
    store = PostgresLeases(database)
    mine = await store.claim(ANN, [4])
    await store.stand(ANN, mine, offered=[4], staying=True)
    async with database.transaction() as connection:
        await fence(connection, ANN, mine)
        claiming = asyncio.create_task(store.claim(BEN, [4]))
        await asyncio.sleep(0.05)
        assert not claiming.done()
        assert (await store.stand(ANN, mine, offered=[4], staying=True)).staying == {ANN.id}  # a renewal need not wait
    assert await claiming == {4: 2}
    async with database.transaction() as connection:
        with pytest.raises(ShardLostError):
            await fence(connection, ANN, mine)


@pytest.mark.guarantee("G11")
async def test_a_worker_asleep_inside_its_transaction_loses_it_and_its_locks(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = statements.IDLE_MOST
    monkeypatch.setattr(statements, "IDLE_MOST", timedelta(milliseconds=500))  # the sleeper's alone
    ledger, item = ledger_of(database), arrived(edge(1), packed(edge(1), 1, [note(1)]))
    whole = statements.copy_records
    reached, slept = asyncio.Event(), asyncio.Event()

    async def asleep(connection: psycopg.AsyncConnection[object], rows: list[bytes]) -> None:
        reached.set()
        await slept.wait()  # the streams are locked now
        await whole(connection, rows)

    monkeypatch.setattr(statements, "copy_records", asleep)
    sleeping = asyncio.create_task(ledger.commit([item]))
    await reached.wait()
    monkeypatch.setattr(statements, "copy_records", whole)
    monkeypatch.setattr(statements, "IDLE_MOST", usual)
    async with asyncio.timeout(20):
        [reply] = await ledger_of(database).commit([item])  # waits for the lock until the server ends the sleeper
    assert reply.ack.status.value == "stored"
    slept.set()
    with pytest.raises((psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout)):
        await sleeping


# ---------------------------------------------------------------------- the keeper


async def test_a_worker_that_cannot_renew_stops_by_itself_when_its_lease_ends() -> None:
    clock, store = ManualClock(), MemoryLeases(lease_s=1e9)
    keeper = ShardKeeper(store, ANN, clock=clock, lease=timedelta(seconds=6), tick=timedelta(milliseconds=5))
    heard: list[frozenset[int]] = []

    async def listen(shards: frozenset[int]) -> None:
        heard.append(shards)

    running = asyncio.create_task(keeper.run(listen))
    await keeper.wait_standing()
    assert len(keeper.tokens) == 64
    store.up = False
    await asyncio.sleep(0.02)
    clock.advance(5_999)
    assert len(keeper.tokens) == 64
    clock.advance(1)
    assert keeper.tokens == {}
    store.up = True
    async with asyncio.timeout(20):
        while len(keeper.tokens) != 64:
            await asyncio.sleep(0.005)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ValueError, match="does not outlive"):
        ShardKeeper(store, ANN, clock=clock, lease=timedelta(seconds=2), tick=timedelta(seconds=1))
    store.up = False
    with pytest.raises(StoreFailedError):
        await store.claim(ANN, [1])
