"""The audit trail: added to and read, never changed unnoticed."""

import asyncio
from typing import Any

import psycopg
import pytest

from cloud.kit.acting import acting, system, tenant
from cloud.kit.database import Database, execute
from cloud.platform.audit import FIRST, TEXT_CHARACTERS_MOST, Head, Outcome, Verdict, append, page, verify
from tests.cloud.houses import NOW_MS

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.guarantee("G14"), pytest.mark.requirement("SEC-06")]
WHO = "northlight"


async def add(database: Database, subject: str = "s", *, whose: str = WHO) -> int:
    async with database.transaction() as connection:
        return await append(
            connection, tenant=whose, actor="anna", action="stay.check_in", subject=subject, outcome=Outcome.ALLOWED,
            now_ms=NOW_MS, property_id="aurora", detail="d",
        )  # fmt: skip


async def judged(database: Database, *kept: Head, whose: str = WHO) -> Verdict:
    async with database.snapshot() as connection:
        return await verify(connection, tenant=whose, kept=kept)


async def test_each_tenant_has_a_chain_of_its_own_without_holes(database: Database) -> None:
    assert await judged(database) == Verdict(0, Head(0, FIRST), ())
    numbers = await asyncio.gather(*(add(database, str(n)) for n in range(12)), add(database, whose="southwind"))
    assert sorted(numbers[:12]) == list(range(1, 13))
    assert numbers[12] == 1
    assert (await judged(database)).entries == 12
    assert (await judged(database)).flaws == ()
    assert (await judged(database, whose="southwind")).flaws == ()
    async with database.snapshot() as connection:
        newest = await page(connection, tenant=WHO, before=None, most=5)
        older = await page(connection, tenant=WHO, before=newest[-1].seq, most=50)
    assert [each.seq for each in (*newest, *older)] == list(range(12, 0, -1))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("UPDATE platform.audit SET actor = 'bert' WHERE seq = 3", "entry 3 was changed"),
        ("UPDATE platform.audit SET at = at + interval '1 ms' WHERE seq = 3", "entry 3 was changed"),
        ("UPDATE platform.audit SET outcome = 'denied' WHERE seq = 5", "entry 5 was changed"),
        ("UPDATE platform.audit SET property = 'x', subject = 'y' WHERE seq = 1", "entry 1 was changed"),
        ("UPDATE platform.audit SET hash = set_byte(hash, 7, 1 # get_byte(hash, 7)) WHERE seq = 2", "entry 2 was"),
        ("DELETE FROM platform.audit WHERE seq = 2", "entries 2 to 2 are missing"),
        ("DELETE FROM platform.audit WHERE seq = 1", "entries 1 to 1 are missing"),
        ("DELETE FROM platform.audit WHERE seq >= 4", "ends at entry 3, its head says 5"),
        (
            "UPDATE platform.audit SET seq = seq + 100 WHERE seq = 2; UPDATE platform.audit SET seq = 2 WHERE seq = 3;"
            " UPDATE platform.audit SET seq = 3 WHERE seq = 102",
            "entry 2 was changed",
        ),
        ("UPDATE platform.audit SET actor = 'anna', action = 'xx', subject = '' WHERE seq = 4", "entry 4 was changed"),
        ("DELETE FROM platform.audit; DELETE FROM platform.audit_head", "whose hash was kept, is gone"),
    ],
)
async def test_whatever_is_changed_shows(database: Database, damage: Any, named: str) -> None:
    for n in range(5):
        await add(database, str(n))
    head = (await judged(database)).head
    assert (await judged(database, head)).flaws == ()
    async with await psycopg.AsyncConnection.connect(database.dsn) as owner:  # a superuser, whom nothing stops
        await owner.execute(damage)
    assert any(named in flaw for flaw in (await judged(database, head)).flaws)


async def test_a_chain_written_anew_shows_against_a_head_kept_elsewhere(database: Database) -> None:
    for n in range(3):
        await add(database, str(n))
    kept = (await judged(database)).head
    async with await psycopg.AsyncConnection.connect(database.dsn) as owner:
        await owner.execute("DELETE FROM platform.audit; DELETE FROM platform.audit_head")
    for n in range(3):
        await add(database, f"forged {n}")
    assert (await judged(database)).flaws == ()
    [flaw] = (await judged(database, kept)).flaws
    assert "written anew" in flaw


async def test_no_role_of_the_service_may_change_it(database: Database) -> None:
    await add(database)

    async def run(statement: Any) -> None:
        async with database.transaction() as connection:
            await execute(connection, statement)

    for actor in (system("test"), tenant(WHO)):
        for statement in (
            "UPDATE platform.audit SET actor = 'x'",
            "DELETE FROM platform.audit",
            "TRUNCATE platform.audit",
        ):
            with acting(actor), pytest.raises(psycopg.errors.InsufficientPrivilege):
                await run(statement)


async def test_text_of_strangers_is_kept_short_and_clean(database: Database) -> None:
    await add(database, "a\x00b\ud800" + "x" * 10_000)
    async with database.snapshot() as connection:
        [entry] = await page(connection, tenant=WHO, before=None, most=2)
    assert len(entry.subject) == TEXT_CHARACTERS_MOST
    assert entry.subject.startswith("a\ufffdb?x")
    assert (await judged(database)).flaws == ()
