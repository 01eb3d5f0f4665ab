"""The live stream of values: conflated for the slow, counted when skipped, resumed without loss, bounded always."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.kit.database import Database
from cloud.kit.notify import ANYTHING, NotificationHub, values_of
from cloud.platform.properties import Property
from cloud.telemetry import query_latest, query_live, query_routes
from cloud.telemetry.query_latest import Newest
from cloud.telemetry.query_live import LiveFeed, LiveValues, Resumed, Told, Watcher
from cloud.telemetry.store.port import Selection
from kit.simulation import SimLoop, run_simulated
from protocols.errors import InvalidInputError, StoreFailedError
from tests.cloud.houses import NOW_MS
from tests.cloud.telemetry.query.conftest import Desk
from tests.cloud.telemetry.sending import show_live

WAIT_S = 20
HOUSE = Selection("northlight", "aurora")
THEN = datetime(2026, 11, 18, tzinfo=UTC)


def newest(device: str, writes: int, room: str = "101") -> Newest:
    return Newest(room, device, "thermostat", "local_temperature", writes, "°C", "good", THEN, "backlog", THEN, writes)


# ---------------------------------------------------------------------- the pure part


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.integers(0, 4)), st.just(("look", 0)), st.just(("take", 0)),
            st.just(("reconnect", 0)),
        ),
        max_size=60,
    ),
    st.integers(1, 3),
)  # fmt: skip
def test_every_watcher_ends_with_the_newest_values_and_every_write_is_shown_or_counted(
    steps: list[tuple[str, int]], part: int
) -> None:
    """A watcher takes when it likes, hangs up and comes back; the feed looks when it likes."""
    table: dict[str, int] = {}
    changed: dict[str, int] = {}  # by the mark (here: the count of all writes) of the last write
    live, watcher, resumed = LiveValues(), Watcher(HOUSE), None
    shown: dict[str, int] = {}
    counted = marks = 0
    mark = 0
    came_back = False

    def look() -> None:
        live.take(marks, [newest(device, writes) for device, writes in table.items()])

    def take() -> Told | None:
        nonlocal counted, mark, resumed
        told = watcher.next(live, resumed=resumed)
        resumed = None
        if told is not None:
            assert len(told.values) <= part
            for each in told.values:
                assert each.writes > shown.get(each.device, 0) or came_back
                shown[each.device] = each.writes
            counted += len(told.values) + told.skipped
            if not told.more:
                mark = told.mark
        return told

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query_live, "VALUES_A_MESSAGE", part)
        for what, which in steps:
            if what == "write":
                device = f"thermostat-{which}"
                marks += 1
                table[device] = table.get(device, 0) + 1
                changed[device] = marks
            elif what == "look":
                look()
            elif what == "take":
                take()
            else:
                came_back = True
                watcher = Watcher(HOUSE)
                version = live.version
                since = mark
                keys = frozenset(
                    (device, "thermostat", "local_temperature") for device, at in changed.items() if at > since
                )
                resumed = Resumed(keys, version) if since else None
        look()
        while take() is not None:
            pass
    assert shown == table
    if not came_back:
        # the first value of a series is shown without a count of what came before it
        assert counted <= sum(table.values())


def test_what_a_slow_watcher_missed_is_counted() -> None:
    live, watcher = LiveValues(), Watcher(HOUSE)
    live.take(1, [newest("a", 1), newest("b", 1)])
    told = watcher.next(live)
    assert told is not None
    assert (len(told.values), told.skipped, told.mark, told.more) == (2, 0, 1, False)
    assert watcher.next(live) is None
    for writes in range(2, 12):
        live.take(writes, [newest("a", writes)])
    live.take(12, [newest("b", 3)])
    told = watcher.next(live)
    assert told is not None
    assert [(each.device, each.writes) for each in told.values] == [("a", 11), ("b", 3)]
    assert told.skipped == 9 + 1
    assert watcher.next(live) is None


def test_what_changes_while_a_round_is_told_is_not_lost_by_coming_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_live, "VALUES_A_MESSAGE", 1)
    live, watcher = LiveValues(), Watcher(HOUSE)
    live.take(5, [newest("a", 1), newest("b", 1)])
    first = watcher.next(live)
    live.take(9, [newest("a", 2)])
    last = watcher.next(live)
    assert first is not None
    assert last is not None
    assert (first.more, last.more) == (True, False)
    assert last.mark == 5  # not 9: "a" changed after it was told


def test_a_watcher_hears_only_what_it_selected() -> None:
    live = LiveValues()
    live.take(1, [newest("a", 1), newest("b", 1, room="102")])
    for narrowed, expected in (
        (Selection("northlight", "aurora", room="102"), ["b"]),
        (Selection("northlight", "aurora", device="a"), ["a"]),
        (Selection("northlight", "aurora", capability="on_off"), []),
        (Selection("northlight", "aurora", attribute="local_temperature"), ["a", "b"]),
    ):
        told = Watcher(narrowed).next(live)
        assert [each.device for each in told.values] == expected if told else expected == []


def test_a_mark_is_a_number() -> None:
    assert query_routes.resume_of(None) == 0
    assert query_routes.resume_of("123") == 123
    for wrong in ("", "-1", "abc", "1" * 30, "9223372036854775808", "\u0661"):
        with pytest.raises(InvalidInputError, match="resume"):
            query_routes.resume_of(wrong)


@pytest.mark.guarantee("G17")
@given(st.lists(st.floats(0.01, 1.99), min_size=30, max_size=60), st.integers(0, 2**16))
def test_a_change_that_nobody_named_is_found_in_time_however_often_others_are(gaps: list[float], seed: int) -> None:
    """A hint may be lost with the worker that was to send it; those of others must not keep the look at all away."""
    looks: list[tuple[float, bool]] = []

    async def main(loop: SimLoop) -> None:
        class Looks(LiveFeed):
            async def _look(self, devices: frozenset[str]) -> tuple[int, list[Newest]]:
                looks.append((loop.time(), not devices))
                return 0, []

        hub = NotificationHub("")
        found = Property("aurora", "northlight", "Aurora", "UTC", "e-aurora0000000001")
        feed = asyncio.create_task(Looks(found, cast(Database, None), hub).run())
        for gap in gaps:
            await asyncio.sleep(gap)
            hub.mark(values_of("aurora"), ("thermostat-1",))
        feed.cancel()
        await asyncio.wait({feed})

    run_simulated(main, seed=seed, until_s=1_000)
    whole = [at_s for at_s, all_ in looks if all_]
    most_s = query_live.LOOK_S + query_live.COALESCE_S + 0.001
    assert all(later - earlier <= most_s for earlier, later in pairwise([*whole, 0.02 + sum(gaps)]))
    assert len(whole) < len(looks)


# ---------------------------------------------------------------------- over the socket


class Client:
    """A websocket client that speaks ASGI straight to the application."""

    def __init__(self, desk: Desk, path: str, query: str, headers: dict[str, str]) -> None:
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reading = asyncio.Event()
        self.reading.set()
        scope = {
            "type": "websocket", "asgi": {"version": "3.0"}, "scheme": "ws", "http_version": "1.1", "path": path,
            "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "subprotocols": [],
            "state": {}, "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1), "server": ("cloud.test", 80), "extensions": {},
        }  # fmt: skip
        self._to_app.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(desk.app(scope, self._to_app.get, self._take))  # type: ignore[arg-type]  # a stand-in, or hostile on purpose

    async def _take(self, message: Any) -> None:
        await self.reading.wait()  # the line is as slow as its reader
        await self.told.put(message)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S):
            message = await self.told.get()
        return dict(json.loads(message["text"])) if message["type"] == "websocket.send" else message

    async def news(self) -> dict[str, Any]:
        """Return what comes next but for ticks: on a busy machine a look takes longer than a beat."""
        while (told := await self.next())["type"] == "tick":
            pass
        return told

    async def hang_up(self) -> None:
        self.reading.set()
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
        with contextlib.suppress(asyncio.CancelledError):
            async with asyncio.timeout(WAIT_S):
                await self.task


@contextlib.asynccontextmanager
async def watching(desk: Desk, query: str = "", name: str = "viewer") -> AsyncIterator[Client]:
    client = Client(desk, "/api/v1/properties/aurora/telemetry/live", query, {"Host": "cloud.test", **desk.as_(name)})
    try:
        yield client
    finally:
        await client.hang_up()


async def tell(desk: Desk, device: str, value: float, n: int = 0) -> None:
    body = {
        "room": "101", "device": device, "capability": "thermostat", "attribute": "local_temperature", "value": value,
        "unit": "°C", "quality": "good",
    }  # fmt: skip
    async with desk.database.transaction() as connection:
        await show_live(connection, body, at_ms=NOW_MS + n, received_ms=NOW_MS + n)
    desk.hub.mark(values_of("aurora"), (device,))


@pytest.mark.tier("postgres")
class TestSocket:
    """Over the application."""

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(query_live, "COALESCE_S", 0.005)
        monkeypatch.setattr(query_live, "TICK_S", 0.2)

    async def test_everything_first_then_what_changes_then_ticks(self, desk: Desk) -> None:
        await tell(desk, "thermostat-1", 20)
        async with watching(desk) as client:
            assert (await client.next())["type"] == "websocket.accept"
            first = await client.news()
            assert [each["value"] for each in first["values"]] == [20]
            assert (first["type"], first["skipped"]) == ("values", 0)
            await tell(desk, "thermostat-2", 21)
            assert [each["device"] for each in (await client.news())["values"]] == ["thermostat-2"]
            assert (await client.next())["type"] == "tick"

    @pytest.mark.guarantee("G9")
    async def test_a_slow_client_gets_the_newest_and_what_it_missed_as_a_number(self, desk: Desk) -> None:
        await tell(desk, "thermostat-1", 0)
        async with watching(desk) as client:
            await client.next()
            await client.news()
            client.reading.clear()
            for n in range(1, 31):
                await tell(desk, "thermostat-1", n, n)
                await asyncio.sleep(0.01)
            client.reading.set()
            values: list[object] = []
            skipped = 0
            while not values or values[-1] != 30:
                told = await client.news()
                if told["type"] == "values":
                    values += [each["value"] for each in told["values"]]
                    skipped += told["skipped"]
            assert len(values) <= 4  # one may have been under way, and ticks wait too
            assert len(values) + skipped == 30

    @pytest.mark.guarantee("G1")
    async def test_coming_back_tells_what_changed_meanwhile_and_nothing_else(self, desk: Desk) -> None:
        for n in range(3):
            await tell(desk, f"thermostat-{n}", n)
        async with watching(desk) as client:
            await client.next()
            mark = (await client.news())["resume"]
        await tell(desk, "thermostat-1", 11, 1)
        await tell(desk, "thermostat-new", 5)
        async with watching(desk, f"resume={mark}") as client:
            await client.next()
            told = await client.news()
            assert {each["device"]: each["value"] for each in told["values"]} == {
                "thermostat-1": 11, "thermostat-new": 5
            }  # fmt: skip
            mark = told["resume"]
        async with watching(desk, f"resume={2**62}") as client:  # of a database that was restored since
            await client.next()
            assert len((await client.news())["values"]) == 4
        async with watching(desk, f"resume={mark}&device=thermostat-2") as client:
            await client.next()
            assert (await client.next())["type"] == "tick"

    @pytest.mark.guarantee("G1")
    async def test_a_write_that_commits_after_a_later_one_was_told_is_not_missed(self, desk: Desk) -> None:
        """The trap of every mark that is a time or a sequence: writers overlap."""
        await tell(desk, "thermostat-0", 0)
        async with desk.database.transaction() as slow:
            await slow.execute(
                "UPDATE telemetry.latest SET value = '99' WHERE device = 'thermostat-0' AND property = 'aurora'"
            )
            await tell(desk, "thermostat-1", 1)
            async with watching(desk) as client:
                await client.next()
                mark = (await client.news())["resume"]
        async with watching(desk, f"resume={mark}") as client:
            await client.next()
            told = await client.news()
            assert 99 in [each["value"] for each in told["values"]]

    @pytest.mark.guarantee("G1")
    async def test_a_write_that_commits_after_others_were_looked_at_by_name_is_not_missed(self, desk: Desk) -> None:
        """A look at devices that were named says nothing of what else was committed before it."""
        for n in range(2):
            await tell(desk, f"thermostat-{n}", n)
        async with watching(desk) as client:
            await client.next()
            await client.news()
            async with desk.database.transaction() as slow:
                await slow.execute("UPDATE telemetry.latest SET value = '99' WHERE device = 'thermostat-0'")
                await tell(desk, "thermostat-1", 5, 1)
                told = await client.news()
                assert [(each["device"], each["value"]) for each in told["values"]] == [("thermostat-1", 5)]
            desk.hub.mark(values_of("aurora"), (ANYTHING,))
            told = await client.news()
            assert [(each["device"], each["value"]) for each in told["values"]] == [("thermostat-0", 99)]

    async def test_every_value_is_read_however_many_and_too_many_are_refused_by_name(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(query_latest, "PAGE", 3)
        monkeypatch.setattr(query_latest, "VALUES_MOST", 7)
        for n in range(7):
            await tell(desk, f"thermostat-{n}", n)
        async with desk.database.transaction() as connection:
            _, values = await query_latest.changed_since(connection, "northlight", "aurora", 0)
        assert [each.device for each in values] == [f"thermostat-{n}" for n in range(7)]
        await tell(desk, "thermostat-7", 7)
        async with watching(desk) as client:
            await client.next()
            assert (await client.news())["code"] == 1013
        async with desk.database.transaction() as connection:
            with pytest.raises(StoreFailedError, match="aurora has more than 7 values"):
                await query_latest.changed_since(connection, "northlight", "aurora", 0)

    async def test_strangers_and_bad_arguments_are_refused_before_the_socket_opens(self, desk: Desk) -> None:
        for query, name in (("", "other"), ("", "narrow"), ("resume=x", "viewer"), ("rom=1", "viewer")):
            async with watching(desk, query, name) as client:
                assert (await client.next())["type"] != "websocket.accept"

    async def test_a_session_that_ended_ends_the_stream(self, desk: Desk) -> None:
        async with watching(desk) as client:
            await client.next()
            desk.fence.ended = True
            desk.clock.advance(int(timedelta(seconds=20).total_seconds() * 1000))
            while (told := await client.next())["type"] == "tick":
                pass
            assert (told["type"], told["code"]) == ("websocket.close", 1008)

    async def test_a_feed_ends_with_its_last_watcher(self, desk: Desk) -> None:
        async with watching(desk) as client:
            await client.next()
            await client.next()
            assert any(task.get_name() == "values-aurora" for task in asyncio.all_tasks())
        assert not any(task.get_name() == "values-aurora" for task in asyncio.all_tasks())
