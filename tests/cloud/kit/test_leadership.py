"""One process at a time; the loss of the right to go on is noticed."""

import asyncio
import contextlib

import psycopg
import pytest

from cloud.kit import leadership
from cloud.kit.leadership import lead
from protocols.errors import LinkLostError

pytestmark = pytest.mark.tier("postgres")


async def test_the_second_leads_only_after_the_first(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leadership, "TRY_AGAIN_S", 0.01)
    order: list[str] = []
    go = asyncio.Event()

    async def work(name: str) -> None:
        order.append(f"{name} begins")
        await go.wait()
        order.append(f"{name} ends")

    one = asyncio.create_task(lead(dsn, "job", lambda: work("one")))
    while not order:
        await asyncio.sleep(0.01)
    other = asyncio.create_task(lead(dsn, "job", lambda: work("other")))
    await asyncio.sleep(0.05)
    assert order == ["one begins"]
    go.set()
    await asyncio.gather(one, other)
    assert order == ["one begins", "one ends", "other begins", "other ends"]


async def test_work_is_stopped_when_the_session_with_the_lock_is_gone(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "HEARTBEAT_S", 0.01)
    began, stopped = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    leading = asyncio.create_task(lead(dsn, "job", work))
    await began.wait()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        )
    with pytest.raises(LinkLostError):
        await leading
    assert stopped.is_set()
    with contextlib.suppress(asyncio.CancelledError):
        leading.cancel()
