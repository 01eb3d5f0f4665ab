"""What a transaction has notified leaves after its commit, once, and never if there was none."""

import asyncio
import contextlib

import psycopg
import pytest

from cloud.kit import after_commit
from cloud.kit.after_commit import SENDING_MOST, WAITING_MOST, Gathered, Notification, NotingConnection
from cloud.kit.database import Database, execute, fetch_one
from cloud.kit.notify import NotificationHub, notify
from protocols.errors import StoreFailedError


class Line:
    """Where notifications go, and whether they can."""

    def __init__(self) -> None:
        self.sent: list[list[Notification]] = []
        self.cut = False

    async def send(self, told: list[Notification]) -> None:
        await asyncio.sleep(0)
        if self.cut:
            raise StoreFailedError("cut")
        self.sent.append(told)


async def _settled(gathered: Gathered) -> None:
    async with asyncio.timeout(20):
        while gathered._sending is not None and not gathered._sending.done():
            await asyncio.sleep(0.01)


async def test_the_first_leaves_at_once_and_what_comes_meanwhile_together_and_once() -> None:
    line = Line()
    gathered = Gathered(line.send)
    gathered.add([("c", "1")])
    await asyncio.sleep(0.01)
    assert line.sent == [[("c", "1")]]
    for _ in range(3):
        gathered.add([("c", "2"), ("d", "2")])
    await _settled(gathered)
    assert line.sent[1:] == [[("c", "2"), ("d", "2")]]


async def test_what_cannot_be_sent_waits_in_its_order_and_is_bounded() -> None:
    line = Line()
    line.cut = True
    gathered = Gathered(line.send)
    gathered.add([("c", str(each)) for each in range(WAITING_MOST + 50)])
    await asyncio.sleep(0.01)
    gathered.add([("late", "")])
    line.cut = False
    await gathered.close()
    told = [each for some in line.sent for each in some]
    assert told == [("c", str(each)) for each in range(WAITING_MOST)]
    assert max(map(len, line.sent)) == SENDING_MOST


async def test_an_end_with_the_database_away_ends() -> None:
    line = Line()
    line.cut = True
    gathered = Gathered(line.send)
    gathered.add([("c", "1")])
    await gathered.close()
    assert line.sent == []


@pytest.mark.tier("postgres")
async def test_a_notification_leaves_after_the_commit_and_not_with_a_change_of_mind(
    database: Database, dsn: str
) -> None:
    hub = NotificationHub(dsn, channels=("innkeeper_test", "innkeeper_other"))
    listening = asyncio.create_task(hub.run())
    with hub.subscribe("innkeeper_test") as heard, hub.subscribe("innkeeper_other") as other:
        await heard.wait(20)
        await heard.wait(20)  # it listens now
        await other.wait(0.01)
        with pytest.raises(LookupError):  # noqa: PT012 - the transaction raises as it is left
            async with database.transaction() as connection:
                await notify(connection, "innkeeper_other")
                raise LookupError
        async with database.transaction() as connection:
            await notify(connection, "innkeeper_test")
            assert isinstance(connection, NotingConnection)
            assert connection.noted == {("innkeeper_test", ""): None}
            row = await fetch_one(connection, "SELECT pg_current_xact_id_if_assigned() AS written")
            assert row == {"written": None}  # nothing was sent: with a notification in it a transaction has a number
            assert await heard.wait(0.2) == frozenset()
        assert await heard.wait(20) == {"innkeeper_test"}
        async with database.transaction() as connection:  # the same connection again: what it noted before is forgotten
            await execute(connection, "SELECT 1")
        assert await other.wait(0.3) == frozenset()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


@pytest.mark.tier("postgres")
async def test_one_that_the_server_will_not_have_stands_in_nobodys_way(database: Database, dsn: str) -> None:
    hub = NotificationHub(dsn, channels=("innkeeper_test",))
    listening = asyncio.create_task(hub.run())
    with hub.subscribe("innkeeper_test") as heard:
        await heard.wait(20)
        await heard.wait(20)  # it listens now
        async with database.transaction() as connection:
            await notify(connection, "innkeeper_other", "x" * 9_000)
        await asyncio.sleep(0.05)
        async with database.transaction() as connection:
            await notify(connection, "innkeeper_test")
        assert await heard.wait(20) == {"innkeeper_test"}
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_a_line_that_went_silent_is_given_up_and_what_it_had_goes_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(after_commit, "SENDING_MOST_S", 0.05)
    monkeypatch.setattr(after_commit, "AGAIN_AFTER_S", 0.01)
    sent: list[list[Notification]] = []
    silent = asyncio.Event()

    async def send(told: list[Notification]) -> None:
        while not silent.is_set():  # deaf even to its own cancellation, as a driver that cancels a statement is
            with contextlib.suppress(asyncio.CancelledError):
                await silent.wait()
        sent.append(told)

    async def well(told: list[Notification]) -> None:
        sent.append(told)

    gathered = Gathered(send)
    gathered.add([("c", "1")])
    await asyncio.sleep(0.02)
    gathered._send = well
    async with asyncio.timeout(20):
        await _settled(gathered)
    assert sent == [[("c", "1")]]
    silent.set()
    await gathered.close()


@pytest.mark.tier("postgres")
async def test_other_connections_notify_as_ever(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("LISTEN innkeeper_test")
        await notify(connection, "innkeeper_test", "p")
        await connection.commit()
        async for each in connection.notifies(timeout=20, stop_after=1):
            assert each.payload == "p"
            return
    pytest.fail("not heard")
