"""What callers ask is in the trail before it happens: together in one transaction, in one chain, never half."""

import asyncio
import contextlib
from collections import Counter

import pytest

from cloud.kit.acting import acting
from cloud.kit.database import Connection, Database, execute, fetch_all
from cloud.platform import audit_desk
from cloud.platform.audit import Head, Outcome, Told, append_many, verify
from cloud.platform.audit_desk import TOGETHER_MOST, AuditDesk
from protocols.errors import StoreFailedError
from tests.cloud.houses import NOW_MS

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.guarantee("G14"), pytest.mark.requirement("SEC-06")]


def told(subject: object, tenant: str = "northlight") -> Told:
    return Told(tenant, "anna", "stay.check_in", str(subject), Outcome.ALLOWED, NOW_MS, "aurora", "d")


async def entries(database: Database, tenant: str = "northlight") -> list[tuple[str, str]]:
    """(subject, the transaction that wrote it), in the chain's order."""
    async with database.snapshot() as connection:
        assert (await verify(connection, tenant=tenant)).flaws == ()
        rows = await fetch_all(
            connection,
            "SELECT subject, xmin::text AS by FROM platform.audit WHERE tenant = %s ORDER BY seq",
            [tenant],
        )
    return [(row["subject"], row["by"]) for row in rows]


async def test_what_comes_together_is_few_transactions_and_one_chain_a_tenant(database: Database) -> None:
    desk, count = AuditDesk(database), 2 * TOGETHER_MOST + 7
    wanted = [told(each, tenant) for each in range(count) for tenant in ("northlight", "southwind")]
    with acting(None):  # whoever asks acts for a tenant, or for nobody yet
        await asyncio.gather(*(desk.record(each) for each in wanted))
    for tenant in ("northlight", "southwind"):
        found = await entries(database, tenant)
        assert [subject for subject, _ in found] == [str(each) for each in range(count)]
        assert max(Counter(by for _, by in found).values()) == TOGETHER_MOST
        assert len({by for _, by in found}) <= 4


async def test_it_is_durable_when_it_is_said_so(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, sources = AuditDesk(database), set()

    async def noted(connection: Connection, tenant: str, entries: list[Told]) -> int:
        [row] = await fetch_all(connection, "SELECT source FROM pg_settings WHERE name = 'synchronous_commit'")
        sources.add(row["source"])
        return await append_many(connection, tenant, entries)

    monkeypatch.setattr(audit_desk, "append_many", noted)
    for each in range(3):
        await desk.record(told(each))
        assert len(await entries(database)) == each + 1
    assert "session" not in sources  # it waits for the disk as the server is told to


async def test_a_connection_that_went_silent_holds_nobody_up_for_long_and_the_next_go_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    most_s = audit_desk.WRITING_MOST_S
    monkeypatch.setattr(audit_desk, "WRITING_MOST_S", 0.2)
    desk, silent = AuditDesk(database), asyncio.Event()

    async def deaf(_connection: Connection, _tenant: str, _entries: list[Told]) -> int:
        while not silent.is_set():  # even to its own cancellation, as a driver that cancels a statement is
            with contextlib.suppress(asyncio.CancelledError):
                await silent.wait()
        raise StoreFailedError("it came back, much later")

    monkeypatch.setattr(audit_desk, "append_many", deaf)
    try:
        first = asyncio.create_task(desk.record(told("first")))
        await asyncio.sleep(0.05)
        behind = asyncio.create_task(desk.record(told("behind")))
        async with asyncio.timeout(20):
            ends = await asyncio.gather(first, behind, return_exceptions=True)
        assert all(isinstance(each, StoreFailedError) for each in ends), ends
        monkeypatch.setattr(audit_desk, "append_many", append_many)
        monkeypatch.setattr(audit_desk, "WRITING_MOST_S", most_s)
        async with asyncio.timeout(20):
            await desk.record(told("next"))
        assert [subject for subject, _ in await entries(database)] == ["next"]
    finally:
        silent.set()  # or the loop waits for it at its end, for ever


async def test_with_the_database_away_the_line_does_not_grow(
    monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    """Groups that failed one after the other would answer the last in line minutes late."""
    desk, tries = AuditDesk(database), []

    async def away(_connection: Connection, _tenant: str, entries: list[Told]) -> int:
        tries.append(len(entries))
        raise StoreFailedError("away")

    monkeypatch.setattr(audit_desk, "append_many", away)
    asked = [desk.record(told(each)) for each in range(3 * TOGETHER_MOST)]
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(each, StoreFailedError) for each in ends)
    assert tries == [TOGETHER_MOST]


async def test_a_caller_who_goes_away_takes_nobody_with_him(database: Database) -> None:
    desk = AuditDesk(database)
    first, second = (asyncio.create_task(desk.record(told(each))) for each in ("first", "second"))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
    assert [subject for subject, _ in await entries(database)] == ["first", "second"]


@pytest.mark.guarantee("G2")
async def test_a_trail_that_cannot_be_written_is_told_to_all_who_wait_and_the_next_ones_go_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, failing = AuditDesk(database), [StoreFailedError("not now"), ZeroDivisionError("a defect")]

    async def breaks(connection: Connection, tenant: str, entries: list[Told]) -> int:
        seq = await append_many(connection, tenant, entries)
        if failing:
            raise failing.pop(0)
        return seq

    monkeypatch.setattr(audit_desk, "append_many", breaks)
    for _ in range(2):
        ends = await asyncio.gather(*(desk.record(told(each)) for each in range(3)), return_exceptions=True)
        assert all(isinstance(each, StoreFailedError) for each in ends), ends
        assert await entries(database) == []
    await desk.record(told("after"))
    assert [subject for subject, _ in await entries(database)] == ["after"]


async def test_entries_of_a_transaction_of_their_own_and_the_desks_are_one_chain(database: Database) -> None:
    desk = AuditDesk(database)

    async def apart(subject: str) -> None:
        async with database.transaction() as connection:
            await append_many(connection, "northlight", [told(subject)])
            await execute(connection, "SELECT pg_sleep(0.01)")

    await asyncio.gather(*(desk.record(told(f"d{each}")) for each in range(20)), *(apart(f"a{n}") for n in range(8)))
    found = [subject for subject, _ in await entries(database)]
    assert sorted(found) == sorted([*(f"d{each}" for each in range(20)), *(f"a{n}" for n in range(8))])
    async with database.snapshot() as connection:
        assert isinstance((await verify(connection, tenant="northlight")).head, Head)
