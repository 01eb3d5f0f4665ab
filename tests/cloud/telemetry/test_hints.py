"""What is hinted at: gathered by property, sent once, kept while the database is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import psycopg
import pytest
from psycopg.rows import DictRow

from cloud.kit.acting import system
from cloud.kit.database import Database
from cloud.kit.notify import ANYTHING, KINDS_MOST, LIVE_CHANNEL, LiveHint
from cloud.telemetry.fan_in import hints as module
from cloud.telemetry.fan_in.hints import HINT_DEVICES_MOST, HintSender
from protocols.errors import StoreFailedError

pytestmark = pytest.mark.tier("postgres")


class Sometimes(Database):
    """A database that is away until `back`."""

    asked = 0
    back = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        self.asked += 1
        if not self.back:
            raise StoreFailedError("away")
        async with super().transaction() as connection:
            yield connection


class Heard:
    """Whoever listens to the channel, as PostgreSQL tells it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.hints: list[LiveHint] = []

    async def run(self, listening: asyncio.Event) -> None:
        async with await psycopg.AsyncConnection.connect(self._database.dsn, autocommit=True) as connection:
            await connection.execute(f"LISTEN {LIVE_CHANNEL}")
            listening.set()
            async for each in connection.notifies():
                self.hints.append(msgspec.json.decode(each.payload, type=LiveHint))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.hints) < count:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def listener(database: Database) -> AsyncIterator[Heard]:
    heard, listening = Heard(database), asyncio.Event()
    task = asyncio.create_task(heard.run(listening))
    try:
        await asyncio.wait_for(listening.wait(), 10)
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.guarantee("G9")
async def test_what_groups_hint_at_is_one_hint_a_property(database: Database) -> None:
    sender = HintSender(database)
    async with listener(database) as heard:
        sender.add({"p-1": {"reading"}, "p-2": {"link"}}, {"p-1": {"t-1"}})
        sender.add({"p-1": {"alert"}}, {"p-1": {"t-2"}})
        await sender.send()
        await sender.send()  # nothing waits: nothing is sent
        sender.add({"p-3": {"link"}}, {})
        await sender.send()
        await heard.until(3)
    assert heard.hints == [
        LiveHint("p-1", ["alert", "reading"], ["t-1", "t-2"]),
        LiveHint("p-2", ["link"], []),
        LiveHint("p-3", ["link"], []),
    ]


async def test_too_many_devices_are_not_named_however_they_came(database: Database) -> None:
    sender = HintSender(database)
    async with listener(database) as heard:
        for n in range(HINT_DEVICES_MOST + 1):
            sender.add({"p-1": {"reading"}}, {"p-1": {f"t-{n}"}})
        await sender.send()
        await heard.until(1)
    assert heard.hints == [LiveHint("p-1", ["reading"], None)]


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("letter", ["x", "\u5ba4", "\U0001f6cf", "\x01", '"'])
async def test_names_that_make_a_hint_too_long_are_not_said_and_keep_nobody_else_waiting(
    database: Database, letter: str
) -> None:
    """80 letters a device are allowed, and a letter may take six bytes; PostgreSQL takes 8,000 a notification."""
    sender = HintSender(database)
    names = {f"{n:02}" + letter * 78 for n in range(HINT_DEVICES_MOST)}
    kinds = {f"{n:02}".rjust(32, "k") for n in range(KINDS_MOST)}
    async with listener(database) as heard:
        sender.add({"p-1": kinds, "p-2": {"reading"}}, {"p-1": names, "p-2": {"t-1"}})
        await sender.send()
        await heard.until(2)
    fits = letter in {"x", '"'}  # two bytes as JSON
    assert heard.hints == [
        LiveHint("p-1", sorted(kinds), sorted(names) if fits else None),
        LiveHint("p-2", ["reading"], ["t-1"]),
    ]


async def test_more_kinds_than_a_hint_names_are_anything(database: Database) -> None:
    sender = HintSender(database)
    async with listener(database) as heard:
        sender.add({"p-1": {f"k{n}" for n in range(KINDS_MOST + 1)}}, {})
        await sender.send()
        await heard.until(1)
    assert heard.hints == [LiveHint("p-1", [ANYTHING], [])]


async def test_the_first_hint_leaves_at_once_and_the_next_are_gathered(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    go_on = asyncio.Event()

    async def rest(seconds: float) -> None:
        rests.append(seconds)
        await go_on.wait()
        go_on.clear()

    sender = HintSender(database)
    async with listener(database) as heard:
        monkeypatch.setattr(module, "_rest", rest)
        running = asyncio.create_task(sender.run())
        try:
            sender.add({"p-1": {"reading"}}, {})
            await heard.until(1)
            for kind in ("a", "b", "c"):
                sender.add({"p-1": {kind}}, {})
            go_on.set()
            await heard.until(2)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert [hint.kinds for hint in heard.hints] == [["reading"], ["a", "b", "c"]]
    assert rests[0] == module.REST.total_seconds()


async def test_what_could_not_be_sent_waits_for_the_database(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sometimes = Sometimes(database.dsn, most=1, actor=system("ingest"))
    sender = HintSender(sometimes)
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(module, "_rest", rest)
    running = asyncio.create_task(sender.run())
    sender.add({"p-1": {"reading"}}, {"p-1": {"t-1"}})
    async with asyncio.timeout(10):
        while sometimes.asked < 3:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert set(rests) == {module.AGAIN_AFTER.total_seconds()}
    sometimes.back = True
    await sometimes.open()
    try:
        async with listener(database) as heard:
            await sender.send()
            await heard.until(1)
    finally:
        await sometimes.close()
    assert heard.hints == [LiveHint("p-1", ["reading"], ["t-1"])]
