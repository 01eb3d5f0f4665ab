"""The live stream: a picture, then what changed; a slow watcher skips pictures and never queues them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloud.access.doors import AccessFact, apply_facts
from cloud.alerts.alerts import AlertFact, apply_fact
from cloud.public import live, stream
from cloud.stays.stays import upsert_reservations
from tests.cloud.houses import AURORA, NOW_MS, PLACE, reservation
from tests.cloud.public.conftest import Site, token

pytestmark = pytest.mark.tier("postgres")
WAIT_S = 20


class Watcher:
    """A websocket client that speaks ASGI straight to the application."""

    def __init__(self, site: Site, path: str, headers: dict[str, str]) -> None:
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reading = asyncio.Event()
        self.reading.set()
        scope = {
            "type": "websocket", "asgi": {"version": "3.0"}, "scheme": "ws", "http_version": "1.1", "path": path,
            "raw_path": path.encode(), "query_string": b"", "root_path": "", "subprotocols": [], "state": {},
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1), "server": ("cloud.test", 80), "extensions": {},
        }  # fmt: skip
        self._to_app.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(site.app(scope, self._to_app.get, self._take))  # type: ignore[arg-type]  # a stand-in, or hostile on purpose

    async def _take(self, message: Any) -> None:
        await self.reading.wait()  # the line is as slow as its reader
        await self.told.put(message)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S):
            message = await self.told.get()
        if message["type"] != "websocket.send":
            return message
        return dict(json.loads(message["text"]))

    async def hang_up(self) -> None:
        self.reading.set()
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
        with contextlib.suppress(asyncio.CancelledError):
            async with asyncio.timeout(WAIT_S):
                await self.task


@contextlib.asynccontextmanager
async def watching(site: Site, name: str = "viewer", house: str = "aurora", **headers: str) -> AsyncIterator[Watcher]:
    watcher = Watcher(site, f"/api/v1/properties/{house}/live", {"Host": "cloud.test", **site.as_(name), **headers})
    try:
        yield watcher
    finally:
        await watcher.hang_up()


async def open_door(site: Site, n: int) -> None:
    fact = AccessFact(
        b"i" * 16, n, "door-101", "101", "lock", n, NOW_MS + n, "synchronised", "opened", None, "g", "s", 1, 80.0
    )
    async with site.database.transaction() as connection:
        await apply_facts(
            connection, tenant="northlight", property_id="aurora", edge=AURORA.edge, facts=[fact], now_ms=NOW_MS
        )
    site.hub.mark("aurora", ["access"])


async def test_first_the_whole_picture_then_only_what_changed(site: Site) -> None:
    async with watching(site) as watcher:
        assert (await watcher.next())["type"] == "websocket.accept"
        snapshot = await watcher.next()
        assert snapshot["type"] == "snapshot"
        assert [room["id"] for room in snapshot["rooms"]] == ["101", "102", "103"]
        assert snapshot["link"]["state"] == "never"
        assert snapshot["access_events"] == []
        await open_door(site, 1)
        rooms, access = await watcher.next(), await watcher.next()
        assert (rooms["type"], [room["id"] for room in rooms["rooms"]]) == ("rooms", ["101"])
        assert rooms["rooms"][0]["lock"]["last_event"]["event"] == "opened"
        assert (access["type"], [event["lock_seq"] for event in access["events"]]) == ("access", [1])


async def test_a_stay_shows_in_its_room_at_once(site: Site) -> None:
    async with watching(site) as watcher:
        await watcher.next()
        await watcher.next()
        async with site.database.transaction() as connection:
            await upsert_reservations(connection, PLACE, [reservation(room="102")], now_ms=NOW_MS)
        site.hub.mark("aurora", ["stays"])
        told = await watcher.next()
        assert [(room["id"], room["stay"]["guest_name"]) for room in told["rooms"]] == [("102", "Anna Berger")]


async def test_a_silent_house_still_ticks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TICK_S", 0.02)
    async with watching(site) as watcher:
        await watcher.next()
        while (told := await watcher.next())["type"] == "snapshot":
            pass
        assert told == {"type": "tick", "as_of": "2026-11-18T11:06:40.000Z"}


async def test_a_slow_watcher_gets_the_newest_and_not_the_history(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "COALESCE_S", 0.001)
    async with watching(site) as slow, watching(site) as quick:
        for each in (slow, quick):
            await each.next()
            await each.next()
        slow.reading.clear()
        for n in range(1, 31):
            await open_door(site, n)
            while (told := await quick.next())["type"] != "access":
                pass
            assert told["events"][0]["lock_seq"] == n
        assert slow.told.qsize() <= 2
        slow.reading.set()
        seen: list[int] = []
        while not seen or seen[-1] < 30:
            told = await slow.next()
            if told["type"] == "access":
                seen.extend(reversed([event["lock_seq"] for event in told["events"]]))
        assert seen == list(range(1, 31)), "events are not lost, only told together"


@pytest.mark.guarantee("G8")
async def test_nobody_watches_another_tenants_house(site: Site) -> None:
    async def refusal(name: str, house: str, **headers: str) -> dict[str, Any]:
        async with watching(site, name, house, **headers) as watcher:
            return await watcher.next()

    foreign, absent = await refusal("other", "aurora"), await refusal("other", "no-such-house")
    assert foreign == absent
    assert foreign["type"] != "websocket.accept"
    stranger = await refusal("other", "aurora", Authorization="Bearer " + "x" * 40)
    assert stranger["type"] != "websocket.accept"


async def test_a_cookie_watches_from_our_own_site_only(site: Site) -> None:
    signed_in = await site.http.get("/sign-in", params={"token": token("viewer")})
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    for origin, kind in (
        ("https://evil.example", "websocket.close"),
        ("http://cloud.test", "websocket.accept"),
    ):
        headers = {"Host": "cloud.test", "Cookie": cookie, "Origin": origin}
        watcher = Watcher(site, "/api/v1/properties/aurora/live", headers)
        try:
            assert (await watcher.next())["type"] == kind
        finally:
            await watcher.hang_up()


async def test_the_feed_ends_with_its_last_watcher(site: Site) -> None:
    async with watching(site) as watcher:
        await watcher.next()
        await watcher.next()
        assert [task.get_name() for task in asyncio.all_tasks()].count("feed-aurora") == 1
    assert [task.get_name() for task in asyncio.all_tasks()].count("feed-aurora") == 0


@pytest.mark.guarantee("G8")
async def test_whoever_signs_out_watches_no_longer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TICK_S", 0.02)
    signed_in = await site.http.get("/sign-in", params={"token": token("viewer")})
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    headers = {"Host": "cloud.test", "Cookie": cookie, "Origin": "http://cloud.test"}
    watcher = Watcher(site, "/api/v1/properties/aurora/live", headers)
    try:
        assert (await watcher.next())["type"] == "websocket.accept"
        while (told := await watcher.next())["type"] == "tick":  # the first reading took longer than a beat
            pass
        assert told["type"] == "snapshot"
        site.clock.advance(stream.SESSION_LOOK_MS)
        assert (await watcher.next())["type"] == "tick", "a session that stands goes on"
        await site.http.post("/sign-out", headers={"Cookie": cookie, "Origin": "http://cloud.test"})
        site.clock.advance(stream.SESSION_LOOK_MS)
        while (told := await watcher.next())["type"] == "tick":
            pass
        assert (told["type"], told["code"]) == ("websocket.close", stream.POLICY_VIOLATION)
    finally:
        await watcher.hang_up()


async def test_a_watcher_that_never_reads_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SEND_WAIT_S", 0.02)
    async with watching(site) as watcher:
        assert (await watcher.next())["type"] == "websocket.accept"
        watcher.reading.clear()
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait({watcher.task})
        assert [task.get_name() for task in asyncio.all_tasks()].count("feed-aurora") == 0


async def test_more_watchers_than_memory_is_kept_for_are_told_to_come_later(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "WATCHERS_MOST", 1)
    async with watching(site) as first:
        assert [(await first.next())["type"] for _ in range(2)] == ["websocket.accept", "snapshot"]
        async with watching(site) as second:
            assert (await second.next())["type"] == "websocket.accept"
            told = await second.next()
            assert (told["type"], told["code"]) == ("websocket.close", stream.TRY_AGAIN_LATER)
    async with watching(site) as third:
        assert [(await third.next())["type"] for _ in range(2)] == ["websocket.accept", "snapshot"]


async def test_nobody_watches_a_house_that_no_database_could_hold(site: Site) -> None:
    async with watching(site, house="aurora\0") as watcher:
        assert (await watcher.next())["type"] == "websocket.close"


async def test_an_alert_shows_at_once_and_goes_when_it_is_over(site: Site) -> None:
    async def say(number: int, cleared_ms: int | None) -> None:
        told = AlertFact("leak", "101", "leak-101", number, NOW_MS - 60_000, cleared_ms, "water")
        async with site.database.transaction() as connection:
            await apply_fact(
                connection, tenant="northlight", property_id="aurora", edge=AURORA.edge, fact=told, now_ms=NOW_MS
            )
        site.hub.mark("aurora", ["alert"])

    async with watching(site) as watcher:
        await watcher.next()
        assert (await watcher.next())["alerts"] == []
        await say(1, None)
        told = await watcher.next()
        assert (told["type"], [(each["kind"], each["room"]) for each in told["alerts"]]) == (
            "alerts",
            [("leak", "101")],
        )
        assert told["alerts"][0]["raised_at"] == "2026-11-18T11:05:40.000Z"
        async with watching(site) as later:
            await later.next()
            assert (await later.next())["alerts"] == told["alerts"]
        await say(2, NOW_MS)
        assert (await watcher.next())["alerts"] == []
    at = "/api/v1/properties/aurora/alerts"
    assert (await site.http.get(at, headers=site.as_("viewer"))).json() == {"alerts": [], "next": None}
    [was] = (await site.http.get(f"{at}?which=all", headers=site.as_("viewer"))).json()["alerts"]
    assert (was["state"], was["ended_at"], was["detail"]) == ("cleared", "2026-11-18T11:06:40.000Z", "water")
    assert (await site.http.get(at, headers=site.as_("other"))).status_code == 404
    assert (await site.http.get(f"{at}?before=x", headers=site.as_("viewer"))).status_code == 400
