"""Events between modules: with their change or not at all, in order per subject, effective once."""

import contextlib
from typing import Any

import psycopg
import pytest

from cloud.kit import outbox
from cloud.kit.database import Connection, Database, execute, fetch_all
from cloud.kit.outbox import ATTEMPTS_MOST, BACKOFF_MOST_S, TOGETHER_MOST, Event, Relay
from cloud.kit.times import at
from kit.clock import ManualClock
from kit.logs import logger
from protocols.errors import LinkLostError

pytestmark = pytest.mark.tier("postgres")


class Diary:
    """A subscriber whose effect is a row, and which can be made to fail."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.seen: list[str] = []

    async def write(self, connection: Connection, event: Event) -> None:
        self.seen.append(event.body["n"])
        await execute(
            connection,
            "INSERT INTO platform.tenant (id, created_at) VALUES (%s, %s)",
            [event.body["n"], event.occurred_at],
        )
        if event.body["n"] in self.failing:
            raise LinkLostError("not today")


def relay(database: Database, clock: ManualClock, *handlers: outbox.Handler) -> Relay:
    return Relay(database, subscribers={"t": handlers}, clock=clock, log=logger("test"))


async def say(connection: Connection, clock: ManualClock, n: str, subject: str = "s") -> None:
    await outbox.append(
        connection,
        kind="t",
        tenant="northlight",
        property_id="aurora",
        subject=subject,
        body={"n": n},
        occurred_at_ms=clock.wall_ms(),
    )


async def written(database: Database) -> list[str]:
    async with database.transaction() as connection:
        return [row["id"] for row in await fetch_all(connection, "SELECT id FROM platform.tenant ORDER BY id")]


async def test_an_event_leaves_with_its_change_or_not_at_all(database: Database) -> None:
    clock, diary = ManualClock(), Diary()

    async def change_of_mind() -> None:
        async with database.transaction() as connection:
            await say(connection, clock, "lost")
            raise LinkLostError("rolled back")

    with pytest.raises(LinkLostError):
        await change_of_mind()
    async with database.transaction() as connection:
        await say(connection, clock, "kept")
    await relay(database, clock, diary.write).drain()
    assert diary.seen == ["kept"]


@pytest.mark.guarantee("G2")
async def test_an_effect_happens_once_however_often_delivery_is_tried(database: Database) -> None:
    clock, diary = ManualClock(), Diary()
    diary.failing = {"a"}
    async with database.transaction() as connection:
        await say(connection, clock, "a")
    one, other = relay(database, clock, diary.write), relay(database, clock, diary.write)
    assert await one.drain() == 0
    assert await written(database) == []
    diary.failing = set()
    assert await other.drain() == 0, "it backs off first"
    clock.advance(int(BACKOFF_MOST_S * 1000))
    assert await one.drain() + await other.drain() == 1
    clock.advance(int(BACKOFF_MOST_S * 1000))
    assert await one.drain() == 0
    assert await written(database) == ["a"]


async def test_one_subject_waits_for_its_earlier_event_and_others_do_not(database: Database) -> None:
    clock, diary = ManualClock(), Diary()
    diary.failing = {"1"}
    async with database.transaction() as connection:
        await say(connection, clock, "1", subject="x")
        await say(connection, clock, "2", subject="x")
        await say(connection, clock, "3", subject="y")
    worker = relay(database, clock, diary.write)
    await worker.drain()
    assert await written(database) == ["3"]
    diary.failing = set()
    clock.advance(60_000)
    await worker.drain()
    assert diary.seen[-2:] == ["1", "2"]


async def test_an_event_that_always_fails_is_parked_and_lets_the_next_pass(database: Database) -> None:
    clock, diary = ManualClock(), Diary()
    diary.failing = {"poison"}
    async with database.transaction() as connection:
        await say(connection, clock, "poison")
        await say(connection, clock, "after")
    worker = relay(database, clock, diary.write)
    for _ in range(ATTEMPTS_MOST + 1):
        await worker.drain()
        clock.advance(int(BACKOFF_MOST_S * 1000))
    assert await written(database) == ["after"]
    async with database.transaction() as connection:
        assert await outbox.backlog(connection) == outbox.Backlog(waiting=0, parked=1)


async def test_a_subscriber_that_crashes_backs_its_event_off_too(database: Database) -> None:
    """Supervision restarts the relay; the attempt was counted before, so the poison does not spin."""
    clock, diary = ManualClock(), Diary()

    async def crash(connection: Connection, event: Event) -> None:
        if event.body["n"] == "bad":
            raise ZeroDivisionError
        await diary.write(connection, event)

    async with database.transaction() as connection:
        await say(connection, clock, "bad", subject="x")
        await say(connection, clock, "good", subject="y")
    with pytest.raises(ZeroDivisionError):
        await relay(database, clock, crash).drain()
    clock.advance(1_000)  # it was due together with the poison: what was tried goes alone, the least tried first
    with pytest.raises(ZeroDivisionError):
        await relay(database, clock, crash).drain()
    assert await relay(database, clock, crash).drain() == 1
    assert await written(database) == ["good"]


async def test_what_is_due_together_is_one_transaction_unless_it_fails(database: Database) -> None:
    clock, diary = ManualClock(), Diary()
    diary.failing = {"7"}
    transactions: list[str] = []

    async def noted(connection: Connection, event: Event) -> None:
        [row] = await fetch_all(connection, "SELECT pg_current_xact_id()::text AS name")
        transactions.append(row["name"])
        await diary.write(connection, event)

    async def told(first: int, last: int) -> set[str]:
        async with database.transaction() as connection:
            for each in range(first, last):
                await say(connection, clock, str(each), subject=f"s{each}")
        transactions.clear()
        assert await relay(database, clock, noted).drain() == last - first - (first <= 7 < last)
        return set(transactions)

    assert len(await told(10, 10 + TOGETHER_MOST)) == 1
    assert len(await told(70, 70 + TOGETHER_MOST + 1)) == 2
    assert len(await told(0, 10)) == 1 + 10
    assert "7" not in await written(database)
    diary.failing.clear()
    clock.advance(60_000)
    assert await relay(database, clock, diary.write).drain() == 1


async def test_what_was_tried_goes_alone(database: Database) -> None:
    """A process that dies of one event takes the attempts of what was claimed with it: never twice the same company."""
    clock = ManualClock()
    seen: list[list[str]] = []

    class Killed(BaseException):
        pass

    async def die(_connection: Connection, event: Event) -> None:
        seen[-1].append(event.body["n"])
        if event.body["n"] == "poison":
            raise Killed

    async with database.transaction() as connection:
        for each in ("a", "poison", "z"):
            await say(connection, clock, each, subject=each)
    delivered = 0
    for _ in range(6):
        seen.append([])
        with contextlib.suppress(Killed):
            await relay(database, clock, die).drain()
        clock.advance(600_000)
    async with database.transaction() as connection:
        rows = await fetch_all(connection, "SELECT subject, attempts FROM outbox.event WHERE relayed_at IS NULL")
        delivered = 3 - len(rows)
    assert delivered == 2, seen
    assert [row["subject"] for row in rows] == ["poison"]


async def test_a_broken_statement_of_a_subscriber_is_an_attempt_and_not_a_crash(database: Database) -> None:
    clock = ManualClock()

    async def break_it(connection: Connection, _event: Event) -> None:
        await execute(connection, "SELECT 1/0")

    async with database.transaction() as connection:
        await say(connection, clock, "x")
    assert await relay(database, clock, break_it).drain() == 0
    async with database.transaction() as connection:
        [row] = await fetch_all(connection, "SELECT attempts, last_error FROM outbox.event")
    assert row["attempts"] == 1
    assert psycopg.errors.DivisionByZero.__name__ in row["last_error"]


async def test_types_that_lock_what_requests_lock_go_alone(database: Database) -> None:
    """Two events together would take their locks in the order of the events: somebody else takes them in another."""
    clock, transactions = ManualClock(), []

    async def noted(connection: Connection, event: Event) -> None:
        [row] = await fetch_all(
            connection,
            "SELECT pg_current_xact_id()::text AS name, source FROM pg_settings WHERE name = 'synchronous_commit'",
        )
        assert row["source"] != "session"  # what an event does waits for the disk as the server is told to
        transactions.append((event.body["n"], row["name"]))

    async with database.transaction() as connection:
        for each in range(4):
            await say(connection, clock, str(each), subject=f"s{each}")
    worker = Relay(
        database, subscribers={"t": [noted]}, clock=clock, log=logger("test"), apart=frozenset({"t", "another"})
    )
    assert await worker.drain() == 4
    assert [n for n, _ in transactions] == ["0", "1", "2", "3"]
    assert len({name for _, name in transactions}) == 4


async def test_who_dies_of_what_was_tried_takes_nothing_fresh_with_him(database: Database) -> None:
    clock = ManualClock()

    class KilledError(BaseException):
        pass

    async def die(_connection: Connection, event: Event) -> None:
        if event.body["n"] == "poison":
            raise KilledError

    async def killed() -> None:
        with contextlib.suppress(KilledError):
            await relay(database, clock, die).drain()
        clock.advance(600_000)

    async with database.transaction() as connection:
        await say(connection, clock, "poison", subject="p")
    await killed()
    async with database.transaction() as connection:
        await say(connection, clock, "fresh", subject="f")
    await killed()
    async with database.transaction() as connection:
        rows = await fetch_all(connection, "SELECT attempts FROM outbox.event WHERE subject = 'f'")
    assert rows == [{"attempts": 0}]


async def test_looking_for_work_reads_nothing_that_was_delivered_also_right_after_a_backlog(
    database: Database, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, asked = ManualClock(), list[Any]()
    async with database.transaction() as connection:
        for relayed, count in ((at(0), 20_000), (None, 500)):
            await execute(
                connection,
                """INSERT INTO outbox.event (type, tenant, property, subject, body, occurred_at, not_before, relayed_at)
                   SELECT 't', 'northlight', 'aurora', n, '{}', %s, %s, %s FROM generate_series(1, %s) n""",
                [at(0), at(0), relayed, count],
            )
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("VACUUM ANALYZE outbox.event")
    ask = database.ask

    async def noted(query: Any, parameters: Any = ()) -> list[Any]:
        asked.append((query, parameters))
        return await ask(query, parameters)

    monkeypatch.setattr(database, "ask", noted)
    assert await relay(database, clock).drain() == 500
    assert await relay(database, clock).drain() == 0
    query, parameters = asked[-1]
    async with database.transaction() as connection:
        plan = "\n".join(row["QUERY PLAN"] for row in await fetch_all(connection, "EXPLAIN " + query, parameters))
    assert {"event_tried", "event_fresh"} <= set(plan.replace("\n", " ").split()), plan
    assert "Seq Scan" not in plan, plan
