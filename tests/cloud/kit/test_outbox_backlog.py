"""A claim costs the same however many events wait, and what cannot go yet hides nothing behind it."""

import asyncio
import json
import random
from typing import Any, LiteralString

import psycopg
import pytest

from cloud.kit import outbox
from cloud.kit.database import Connection, Database, execute, fetch_all
from cloud.kit.outbox import BACKOFF_MOST_S, LOOKED_AT, STEP_BACK_MOST_S, TOGETHER_MOST, Event, Relay
from cloud.kit.times import at
from kit.clock import ManualClock
from kit.logs import logger
from protocols.errors import LinkLostError

pytestmark = pytest.mark.tier("postgres")
WAITING = 20_000


class Diary:
    """A subscriber that remembers, and can be made to fail."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.had: list[tuple[str, str]] = []

    async def write(self, _connection: Connection, event: Event) -> None:
        if event.body["n"] in self.failing:
            raise LinkLostError("not today")
        self.had.append((event.subject, event.body["n"]))

    def of(self, subject: str) -> list[str]:
        """What of a subject was delivered; what is rolled back with a neighbour that fails comes twice."""
        return list(dict.fromkeys(n for name, n in self.had if name == subject))


def relay(database: Database, clock: ManualClock, diary: Diary, apart: frozenset[str] = frozenset()) -> Relay:
    handlers = {"t": (diary.write,), "own": (diary.write,)}
    return Relay(database, subscribers=handlers, clock=clock, log=logger("test"), apart=apart)


async def say(connection: Connection, clock: ManualClock, n: str, subject: str, kind: str = "t") -> None:
    await outbox.append(
        connection,
        kind=kind,
        tenant="northlight",
        property_id="aurora",
        subject=subject,
        body={"n": n},
        occurred_at_ms=clock.wall_ms(),
    )


async def pile_up(database: Database, subject: LiteralString, *, tried: int = 0) -> None:
    async with database.transaction() as connection:
        await execute(
            connection,
            "INSERT INTO outbox.event (type, tenant, property, subject, body, occurred_at, not_before, attempts)"  # noqa: S608 - words of this file
            " SELECT 't', 'northlight', 'aurora', " + subject + ", jsonb_build_object('n', n::text), %s, %s, %s"
            " FROM generate_series(1, %s) n",
            [at(0), at(0), tried, WAITING],
        )


def most_rows(plan: dict[str, Any]) -> int:
    """The most rows that any part of a plan handed on in all its turns, or read and threw away."""
    read = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Join Filter", 0)
    return max([int(read * plan["Actual Loops"]), *(most_rows(each) for each in plan.get("Plans", ()))])


@pytest.mark.parametrize("tried", [0, 3])
@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("subject", ["n::text", "(n / 8)::text", "'one'"])
async def test_a_claim_reads_a_bite_however_many_wait(
    database: Database,
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    subject: LiteralString,
    analyzed: bool,
    tried: int,
) -> None:
    """Also where the server's statistics still say that the table is empty, as right after a failure."""
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("ALTER TABLE outbox.event SET (autovacuum_enabled = off)")
        owner.execute("ANALYZE outbox.event")
        await pile_up(database, subject, tried=tried)
        if analyzed:
            owner.execute("VACUUM ANALYZE outbox.event")
    plans = list[dict[str, Any]]()

    async def explained(connection: Connection, query: Any, parameters: Any = ()) -> list[Any]:
        for mode in ("force_custom_plan", "force_generic_plan"):
            async with connection.transaction(force_rollback=True):
                await connection.execute("SELECT set_config('plan_cache_mode', %s, true)", [mode])
                [row] = await fetch_all(connection, "EXPLAIN (ANALYZE, FORMAT JSON) " + query, parameters)
                plans.append(row["QUERY PLAN"][0]["Plan"])
        return await fetch_all(connection, query, parameters)

    monkeypatch.setattr(outbox, "fetch_all", explained)
    claimed, _ = await relay(database, ManualClock(), Diary())._claim(tried=bool(tried))
    assert len(claimed) == (1 if tried or subject == "'one'" else 26 if "8" in subject else TOGETHER_MOST)
    assert len(plans) == 2
    for plan in plans:
        assert most_rows(plan) <= LOOKED_AT, json.dumps(plan, indent=1)


@pytest.mark.guarantee("G2")
async def test_what_waits_for_its_turn_hides_nothing_behind_it(database: Database) -> None:
    """One stay's event fails again and again, and hundreds of the same stay stand in the front of all others."""
    clock, diary = ManualClock(), Diary()
    diary.failing = {"0"}
    worker = relay(database, clock, diary)
    async with database.transaction() as connection:
        await say(connection, clock, "0", "x")
    for _ in range(4):
        await worker.drain()
        clock.advance(int(BACKOFF_MOST_S * 1000))
    async with database.transaction() as connection:
        for n in range(1, 2 * LOOKED_AT + 51):
            await say(connection, clock, str(n), "x")
        await say(connection, clock, "other", "y")
    await worker.drain()
    assert diary.had == [("y", "other")]
    diary.failing = set()
    for _ in range(3):  # rests, steps back no further than so
        clock.advance(int(BACKOFF_MOST_S * 1000))
        await worker.drain()
    assert diary.of("x") == [str(n) for n in range(2 * LOOKED_AT + 51)]


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("stays", [1, LOOKED_AT + 50])
async def test_what_was_said_by_a_clock_that_was_ahead_hides_nothing_and_is_not_hidden(
    database: Database, stays: int
) -> None:
    """It is due tomorrow, what followed it was said once the clock was right again, and stands in front of it."""
    clock, diary = ManualClock(), Diary()
    worker = relay(database, clock, diary)
    followers = 2 * LOOKED_AT + 50
    said = {f"x{n}": ["ahead"] for n in range(stays)}
    async with database.transaction() as connection:
        for subject in said:
            await say(connection, clock, "ahead", subject)
        await execute(connection, "UPDATE outbox.event SET not_before = %s", [at(clock.wall_ms() + 24 * 3_600_000)])
        for n in range(followers):
            said[f"x{n % stays}"].append(str(n))
            await say(connection, clock, str(n), f"x{n % stays}")
        await say(connection, clock, "other", "y")
    await worker.drain()
    assert diary.had == [("y", "other")]
    clock.advance(24 * 3_600_000)
    for _ in range(3):
        await worker.drain()
        clock.advance(int(STEP_BACK_MOST_S * 1000))
    assert {subject: diary.of(subject) for subject in said} == said


@pytest.mark.guarantee("G2")
async def test_behind_what_failed_once_and_waits_for_its_turn_nobody_else_waits(database: Database) -> None:
    """Others that failed stand before it, and are tried one by one."""
    clock, diary = ManualClock(), Diary()
    worker = relay(database, clock, diary)
    async with database.transaction() as connection:
        await say(connection, clock, "0", "x")
        await execute(connection, "UPDATE outbox.event SET attempts = 1")
        for n in range(1, LOOKED_AT + 51):
            await say(connection, clock, str(n), "x")
        await say(connection, clock, "other", "y")
    for _ in range(3):
        claimed, _ = await worker._claim(tried=False)
        await worker._deliver(claimed)
    assert diary.had == [("y", "other")]


async def test_who_stepped_back_behind_an_event_is_late_by_half_a_minute_at_most(database: Database) -> None:
    """Another process delivers it just after: nobody tells those that stepped back, and they come by themselves."""
    clock, diary = ManualClock(), Diary()
    async with database.transaction() as connection:
        await say(connection, clock, "first", "x")
        await say(connection, clock, "second", "x")
        await execute(
            connection,
            "UPDATE outbox.event SET attempts = 9, not_before = %s WHERE body->>'n' = 'first'",
            [at(clock.wall_ms() + 300_000)],
        )
    worker = relay(database, clock, diary)
    assert await worker.drain() == 0
    async with database.transaction() as connection:
        await execute(
            connection, "UPDATE outbox.event SET relayed_at = %s WHERE body->>'n' = 'first'", [at(clock.wall_ms())]
        )
    assert await worker.drain() == 0
    clock.advance(int(STEP_BACK_MOST_S * 1000))
    assert await worker.drain() == 1
    assert diary.of("x") == ["second"]


async def test_two_processes_take_different_events_at_the_same_moment(database: Database) -> None:
    clock = ManualClock()
    await pile_up(database, "n::text")
    one, other = relay(database, clock, Diary()), relay(database, clock, Diary())
    async with database.transaction() as held:
        mine = await fetch_all(
            held,
            "SELECT id FROM outbox.event ORDER BY not_before, id LIMIT %s FOR UPDATE",  # as a claim that has not ended
            [TOGETHER_MOST],
        )
        theirs, _ = await other._claim(tried=False)
    assert len(theirs) == TOGETHER_MOST
    assert not {row["id"] for row in mine} & set(theirs)
    again, _ = await one._claim(tried=False)
    assert not set(again) & set(theirs)


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("seed", range(3))
async def test_each_subject_keeps_its_order_whatever_fails(database: Database, seed: int) -> None:
    dice, clock, diary = random.Random(seed), ManualClock(), Diary()
    said: dict[str, list[str]] = {}
    workers = [relay(database, clock, diary, frozenset({"own"})) for _ in range(2)]
    for round_ in range(12):
        async with database.transaction() as connection:
            for n in range(dice.randrange(60)):
                subject = f"s{dice.randrange(12)}"
                said.setdefault(subject, []).append(f"{round_}.{n}")
                await say(connection, clock, f"{round_}.{n}", subject, dice.choice(["t", "t", "own"]))
        waiting = [n for subject, told in said.items() for n in told[len(diary.of(subject)) :]]
        diary.failing = set(dice.sample(waiting, len(waiting) // 6))
        await workers[round_ % 2].drain()
        clock.advance(dice.randrange(60_000))
    diary.failing = set()
    for _ in range(4):
        clock.advance(int(BACKOFF_MOST_S * 1000))
        await workers[0].drain()
    assert {subject: diary.of(subject) for subject in said} == said


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("seed", range(3))
async def test_clocks_that_differ_and_jump_stall_nobody_and_turn_nothing_round(
    database: Database, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Three processes at once, of which each looks at little, and who says it has another time each time."""
    monkeypatch.setattr(outbox, "LOOKED_AT", 5)
    dice, clock, diary = random.Random(seed), ManualClock(), Diary()
    said: dict[str, list[str]] = {}
    workers = [relay(database, clock, diary, frozenset({"own"})) for _ in range(3)]
    for round_ in range(8):
        async with database.transaction() as connection:
            for n in range(dice.randrange(30)):
                subject, ahead_ms = f"s{dice.randrange(6)}", dice.choice([0, 0, -60_000, 5, 90_000, 3_600_000])
                said.setdefault(subject, []).append(f"{round_}.{n}")
                sayer = ManualClock(wall_ms=clock.wall_ms() + ahead_ms)
                await say(connection, sayer, f"{round_}.{n}", subject, dice.choice(["t", "t", "own"]))
        waiting = [n for subject, told in said.items() for n in told[len(diary.of(subject)) :]]
        diary.failing = set(dice.sample(waiting, len(waiting) // 6))
        await asyncio.gather(*(each.drain() for each in workers))
        clock.advance(dice.randrange(60_000))
    diary.failing = set()
    for _ in range(20):
        clock.advance(int(BACKOFF_MOST_S * 1000))
        await asyncio.gather(*(each.drain() for each in workers))
    assert {subject: diary.of(subject) for subject in said} == said
