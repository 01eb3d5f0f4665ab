"""What is over goes by age, in bites; what waits, and what nobody settled yet, stays."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cloud.app.keeping import rules
from cloud.app.settings import KeepingSettings
from cloud.kit import keeping
from cloud.kit.database import Database, execute, fetch_all
from cloud.kit.keeping import Keeping, Rule
from cloud.kit.times import at
from kit.clock import ManualClock
from kit.logs import logger

pytestmark = pytest.mark.tier("postgres")
DAY_MS = 86_400_000


def keeper(database: Database, clock: ManualClock, settings: KeepingSettings | None = None) -> Keeping:
    return Keeping(database, rules(settings or KeepingSettings()), clock=clock, log=logger("test"))


async def rows(database: Database, query: Any) -> list[dict[str, Any]]:
    async with database.transaction() as connection:
        return await fetch_all(connection, query)


async def event(
    database: Database, subject: str, *, said: int, relayed: int | None = None, parked: int | None = None
) -> None:
    async with database.transaction() as connection:
        await execute(
            connection,
            "INSERT INTO outbox.event (type, tenant, property, subject, body, occurred_at, not_before, relayed_at,"
            " parked_at) VALUES ('t', 'northlight', 'aurora', %s, '{}', %s, %s, %s, %s)",
            [subject, at(said), at(said), *(None if each is None else at(each) for each in (relayed, parked))],
        )


@pytest.mark.guarantee("G2")
async def test_of_the_outbox_only_what_everybody_had_goes_and_what_was_given_up_stays_long(database: Database) -> None:
    clock = ManualClock()
    now = clock.wall_ms()
    await event(database, "waits for ages", said=now - 450 * DAY_MS)
    await event(database, "had long ago", said=now - 450 * DAY_MS, relayed=now - 8 * DAY_MS)
    await event(database, "had lately", said=now - 450 * DAY_MS, relayed=now - 6 * DAY_MS)
    await event(database, "given up", said=now - 450 * DAY_MS, parked=now - 399 * DAY_MS)
    await event(database, "given up long ago", said=now - 450 * DAY_MS, parked=now - 401 * DAY_MS)
    await event(database, "settled", said=now - 450 * DAY_MS, parked=now - 410 * DAY_MS, relayed=now - DAY_MS)
    assert not await keeper(database, clock).once()
    left = await rows(database, "SELECT subject FROM outbox.event ORDER BY id")
    assert [row["subject"] for row in left] == ["waits for ages", "had lately", "given up", "settled"]


async def test_who_wants_to_keep_for_ever_says_nothing(database: Database) -> None:
    clock = ManualClock()
    await event(database, "a", said=0, relayed=0)
    await event(database, "b", said=0, parked=0)
    for_ever = KeepingSettings(keep_events=timedelta(0), keep_given_up_events=timedelta(0))
    assert not await keeper(database, clock, for_ever).once()
    assert len(await rows(database, "SELECT FROM outbox.event")) == 2


async def test_a_clock_that_is_years_ahead_lets_nothing_go(database: Database) -> None:
    """What is gone is gone: the database's clock has to say so as well."""
    clock = ManualClock()
    await event(database, "had lately", said=0, relayed=0)
    await event(database, "given up", said=0, parked=0)
    async with database.transaction() as connection:
        await execute(connection, _COMMAND, ["a", "a", "done", *[at(0)] * 3])
        await execute(connection, "UPDATE fleet.command SET updated_at = clock_timestamp()")
        await execute(connection, "UPDATE outbox.event SET relayed_at = clock_timestamp() WHERE relayed_at IS NOT NULL")
        await execute(connection, "UPDATE outbox.event SET parked_at = clock_timestamp() WHERE parked_at IS NOT NULL")
    clock.advance(20_000 * DAY_MS)
    assert not await keeper(database, clock).once()
    assert len(await rows(database, "SELECT FROM outbox.event")) == 2
    assert len(await rows(database, "SELECT FROM fleet.command")) == 1


@pytest.mark.parametrize("name", KeepingSettings.__struct_fields__)
def test_no_span_is_so_short_that_what_was_just_asked_is_forgotten(name: str) -> None:
    """A command under way would be asked twice by one key."""
    for span in (timedelta(seconds=-1), timedelta(seconds=1), timedelta(hours=23), timedelta(days=40_000)):
        with pytest.raises(ValueError, match=name):
            KeepingSettings(**{name: span})
    assert getattr(KeepingSettings(**{name: timedelta(days=1)}), name) == timedelta(days=1)


async def test_deliveries_and_runs_that_are_over_go_and_one_that_waits_stays(database: Database) -> None:
    clock = ManualClock()
    old, new = at(clock.wall_ms() - 36 * DAY_MS), at(clock.wall_ms() - 34 * DAY_MS)
    async with database.transaction() as connection:
        await execute(
            connection,
            "INSERT INTO webhooks.endpoint (id, tenant, url, kinds, secret, made_by, made_at)"
            " VALUES ('wh', 'northlight', 'https://a.example', '{stay.changed}', '', 'x', %s)",
            [old],
        )
        for number, (state, ended) in enumerate(
            [("sent", old), ("given_up", old), ("waiting", None), ("sent", new)], start=1
        ):
            await execute(
                connection,
                "INSERT INTO webhooks.delivery (endpoint, event, tenant, body, state, not_before, made_at, ended_at)"
                " VALUES ('wh', %s, 'northlight', '{}', %s, %s, %s, %s)",
                [number, state, old, old, ended],
            )
        for ended in (old, old, new):
            await execute(
                connection,
                "INSERT INTO pms.sync_run (property, system, kind, began_at, ended_at, created, updated, unchanged,"
                " errors) VALUES ('aurora', 'mews', 'changes', %s, %s, 0, 0, 0, '[]')",
                [ended, ended],
            )
    await keeper(database, clock).once()
    left = await rows(database, "SELECT event FROM webhooks.delivery ORDER BY event")
    assert [row["event"] for row in left] == [3, 4]
    assert await rows(database, "SELECT ended_at FROM pms.sync_run") == [{"ended_at": new}]


async def test_commands_that_are_settled_and_openings_go_after_their_own_spans(database: Database) -> None:
    clock = ManualClock()
    now = clock.wall_ms()
    async with database.transaction() as connection:
        for name, phase, days in [
            ("a", "done", 401), ("b", "failed", 401), ("c", "expired", 401),
            ("d", "unknown", 401), ("e", "accepted", 401), ("f", "executing", 401), ("g", "done", 399),
        ]:  # fmt: skip
            await execute(connection, _COMMAND, [name, name, phase, *[at(now - days * DAY_MS)] * 3])
        for seq, days in enumerate([1_101, 1_099], start=1):
            await execute(connection, _OPENING, [seq, at(now - days * DAY_MS), at(now - days * DAY_MS)])
    await keeper(database, clock).once()
    assert [row["id"] for row in await rows(database, "SELECT id FROM fleet.command ORDER BY id")] == list("defg")
    assert [row["seq"] for row in await rows(database, "SELECT seq FROM access.event")] == [2]


async def test_much_goes_in_bites(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    monkeypatch.setattr(keeping, "BITE_MOST", 10)
    for n in range(25):
        await event(database, str(n), said=0, relayed=n)
    worker, left = keeper(database, clock), list[int]()
    for more in (True, True, False):
        assert await worker.once() is more
        left.append(len(await rows(database, "SELECT FROM outbox.event")))
    assert left == [15, 5, 0]


@pytest.mark.parametrize("rule", rules(KeepingSettings()), ids=lambda rule: rule.name)
async def test_who_looks_for_what_may_go_does_not_read_what_stays(database: Database, dsn: str, rule: Rule) -> None:
    """Every minute, and most often there is nothing."""
    clock = ManualClock()
    young = at(clock.wall_ms())
    filling: dict[str, tuple[Any, list[Any]]] = {
        "events": (_EVENTS, [young, young, young, None]),
        "given_up_events": (_EVENTS, [young, young, None, young]),
        "deliveries": (_DELIVERIES, [young, young, young]),
        "pms_runs": (_RUNS, [young, young]),
        "commands": (_COMMANDS, [young] * 3),
        "openings": (_OPENINGS, [young] * 2),
        "letters": (_LETTERS, [young] * 2),
        "guests": (_GUESTS, [young] * 3),
    }
    async with database.transaction() as connection:
        await execute(connection, _ENDPOINT, [young])
        await execute(connection, *filling[rule.name])
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("VACUUM ANALYZE")
    async with database.transaction() as connection:
        values = {"before": at(clock.wall_ms() - DAY_MS), "most": 1_000}
        [found] = await fetch_all(connection, "EXPLAIN (ANALYZE, FORMAT JSON) " + rule.statement, values)
    assert _most_rows(found["QUERY PLAN"][0]["Plan"]) <= 1_000, found


def _most_rows(plan: dict[str, Any]) -> int:
    read = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    return max([int(read * plan["Actual Loops"]), *(_most_rows(each) for each in plan.get("Plans", ()))])


_GUESTS = (
    "WITH known AS (INSERT INTO guests.profile (property, id, tenant, system, external_id, subject_key, sealed,"
    " first_seen_at, changed_at, last_until)"
    " SELECT 'aurora', n, 'northlight', 'mews', n, '', '', %s, %s, %s FROM generate_series(1, 5000) n"
    " RETURNING property, id)"
    " INSERT INTO guests.booking (property, system, external_id, tenant, guest)"
    " SELECT property, 'mews', id, 'northlight', id FROM known"
)
_EVENTS = (
    "INSERT INTO outbox.event (type, tenant, property, subject, body, occurred_at, not_before, relayed_at, parked_at)"
    " SELECT 't', 'northlight', 'aurora', n, '{}', %s, %s, %s, %s FROM generate_series(1, 5000) n"
)
_ENDPOINT = (
    "INSERT INTO webhooks.endpoint (id, tenant, url, kinds, secret, made_by, made_at)"
    " VALUES ('wh', 'northlight', 'https://a.example', '{stay.changed}', '', 'x', %s)"
)
_DELIVERIES = (
    "INSERT INTO webhooks.delivery (endpoint, event, tenant, body, state, not_before, made_at, ended_at)"
    " SELECT 'wh', n, 'northlight', '{}', 'sent', %s, %s, %s FROM generate_series(1, 5000) n"
)
_RUNS = (
    "INSERT INTO pms.sync_run (property, system, kind, began_at, ended_at, created, updated, unchanged, errors)"
    " SELECT 'aurora', 'mews', 'changes', %s, %s, 0, 0, 0, '[]' FROM generate_series(1, 5000)"
)
_COMMAND_OF = (
    "INSERT INTO fleet.command (id, tenant, property, edge, kind, args, idempotency_key, asked_by, phase, deadline_at,"
    " created_at, updated_at) "
)
_COMMAND = _COMMAND_OF + "VALUES (%s, 'northlight', 'aurora', 'e', 'k', '{}', %s, 'x', %s, %s, %s, %s)"
_COMMANDS = _COMMAND_OF + (  # noqa: S608 - words of this file
    "SELECT n, 'northlight', 'aurora', 'e', 'k', '{}', n, 'x', 'done', %s, %s, %s FROM generate_series(1, 5000) n"
)
_LETTERS = (
    "INSERT INTO checkin.letter (id, tenant, property, stay, kind, state, not_before, decided_at)"
    " SELECT n, 'northlight', 'aurora', n, 'invitation', 'sent', %s, %s FROM generate_series(1, 5000) n"
)
_OPENING_OF = "INSERT INTO access.event (tenant, property, edge, incarnation, seq, door, event, at, received_at) "
_OPENING = _OPENING_OF + "VALUES ('northlight', 'aurora', 'e', '', %s, 'd', 'opened', %s, %s)"
_OPENINGS = _OPENING_OF + (  # noqa: S608 - words of this file
    "SELECT 'northlight', 'aurora', 'e', '', n, 'd', 'opened', %s, %s FROM generate_series(1, 5000) n"
)
