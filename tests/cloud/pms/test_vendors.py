"""The engine over each vendor's wire: in step whatever happens to pushes and answers, wishes once, drift told."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, LiteralString

import httpx
import msgspec
import pytest

from cloud.kit.database import Database, fetch_all
from cloud.kit.outbox import Relay
from cloud.pms.cloudbeds import wire as cloudbeds_wire
from cloud.pms.cloudbeds.emulator import Emulator as Cloudbeds
from cloud.pms.drift import report
from cloud.pms.emulation.face import TAME, Ask, Credentials, Face, Knobs, WireError
from cloud.pms.emulation.hotel import NAMES, Hotel
from cloud.pms.emulation.server import build
from cloud.pms.engine import PmsSync, Rhythm
from cloud.pms.ezee.emulator import Emulator as Ezee
from cloud.pms.intents import IntentWorker, IntentWriter, want
from cloud.pms.port import PmsAction, PmsAdapter
from cloud.pms.reading import display_name
from cloud.pms.status import ConnectionState, connection_states
from cloud.stays.assigning import Asked, give_rooms
from cloud.stays.late_ends import STAY_LATE
from cloud.stays.life import EdgeState
from cloud.stays.stays import STAY_CHANGED, STAY_DEPARTURE, EdgeFact, apply_edge_facts, stay_id
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.logs import logger
from tests.cloud.asgi import in_process
from tests.cloud.houses import AURORA, DAY_MS, HOUR_MS, PLACE, ROOMS, open_house
from tests.cloud.pms.vendors import VENDORS, VIENNA
from tests.seeds import THOROUGH

pytestmark = pytest.mark.tier("postgres")

DAYS = range(int(os.environ.get("INNKEEPER_PMS_DAYS", "4" if THOROUGH else "1")))
"""Bad days played at each of the five vendors; 200 make a thousand, and take half an hour of a processor."""
NOON_MS = 1_795_003_200_000  # 2026-11-18T12:00Z
HARSH = Knobs(
    push_delay_least_ms=0,
    push_delay_most_ms=5,
    push_twice=0.4,
    push_dropped=0.4,
    push_retry_ms=0,
    fault=0.15,
    limited=0.1,
    retry_after_s=1,
    slow=0.0,
    stale=0.5,
    stale_ms=2_000,
)
HOSTILE = msgspec.structs.replace(
    HARSH,
    push_held=0.3,
    push_foreign=0.2,
    page_rows=3,
    page_moves=0.1,
    error_200=0.04,
    cut=0.04,
    revoked=0.04,
    number_twice=0.3,
)
SKEWS_MS = (0, -HOUR_MS, -25 * 60_000, 25 * 60_000, HOUR_MS)


@dataclass
class World:
    """A cloud, one vendor's PMS, and the clock they share."""

    database: Database
    clock: ManualClock
    emulator: Face
    adapter: PmsAdapter
    sync: PmsSync
    intents: IntentWorker
    relay: Relay
    by_day: bool

    @property
    def hotel(self) -> Hotel:
        return self.emulator.hotel

    def book(self, room: str | None = "101", *, start_ms: int | None = None) -> str:
        start_ms = self.clock.wall_ms() - HOUR_MS if start_ms is None else start_ms
        return self.hotel.add(
            room=room, start_ms=start_ms, end_ms=start_ms + DAY_MS, first_name="Anna", last_name="Berger"
        ).id

    async def live(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.emulator.settle()
            await self.sync.step()
            await self.relay.drain()
            await self.intents.work_due()
            self.clock.advance(1_000)

    async def at_the_edge(self, external_id: str, state: EdgeState, seq: int) -> None:
        stay = stay_id(AURORA.id, self.sync.system, external_id)
        fact = EdgeFact(stay, state, "101", "kiosk", self.clock.wall_ms(), b"i" * 16, seq)
        async with self.database.transaction() as connection:
            await apply_edge_facts(connection, PLACE, [fact], now_ms=self.clock.wall_ms())

    async def want(self, action: PmsAction, external_id: str, target: str, cause: int) -> None:
        async with self.database.transaction() as connection:
            for _ in range(2):  # asked twice for one cause, it is one wish
                await want(
                    connection,
                    tenant=AURORA.tenant,
                    property_id=AURORA.id,
                    system=self.sync.system,
                    action=action,
                    external_id=external_id,
                    target=target,
                    cause=cause,
                    now_ms=self.clock.wall_ms(),
                )

    async def rows(self, query: LiteralString) -> list[dict[str, Any]]:
        async with self.database.transaction() as connection:
            return await fetch_all(connection, query)

    async def state(self) -> ConnectionState:
        async with self.database.transaction() as connection:
            [state] = await connection_states(connection, tenant=AURORA.tenant, property_id=AURORA.id)
        return state

    async def out_of_step(self) -> dict[str, Any]:
        """Return what reads differently here and there, by reservation."""
        names = {each.id: each.name for each in self.hotel.resources.values()}
        states = {"Confirmed": "booked", "Started": "in_house", "Processed": "left", "Canceled": "cancelled"}
        there = {
            each.id: (
                states[each.state],
                names.get(each.resource_id or ""),
                self._start(each.start_ms),
                display_name(self.emulator.name_of(each)),
            )
            for each in self.hotel.reservations.values()
        }
        here = {
            row["external_id"]: (row["status"], row["room"], self._start(row["start"]), row["guest_name"])
            for row in await self.rows(
                "SELECT external_id, status, room, guest_name, (extract(epoch FROM arrival_at) * 1000)::bigint AS start"
                " FROM stays.reservation"
            )
        }
        return {each: (here.get(each), there.get(each)) for each in here | there if here.get(each) != there.get(each)}

    def _start(self, at_ms: int) -> object:
        return VIENNA.day(at_ms) if self.by_day else at_ms


@asynccontextmanager
async def world(database: Database, name: str, *, knobs: Knobs = TAME, seed: int = 1) -> AsyncIterator[World]:
    await open_house(database, clean=False)
    clock, vendor = ManualClock(wall_ms=NOON_MS), VENDORS[name]
    syncs: list[PmsSync] = []

    async def push(body: bytes) -> bool:
        await syncs[0].take_push(body)
        return True

    async def passing(seconds: float) -> None:
        clock.advance(max(1, round(seconds * 1_000)))

    emulated = vendor.face(
        rooms=list(ROOMS),
        reservations=0,
        credentials=Credentials("client", "access"),
        clock=clock,
        dice=SeededDice(seed),
        push=push,
        knobs=knobs,
    )
    async with httpx.AsyncClient(transport=in_process(build(emulated))) as http:
        adapter = vendor.adapter(http, clock, passing)
        rhythm = Rhythm(timedelta(seconds=30), timedelta(minutes=10), timedelta(hours=24))
        log = logger("test")
        sync = PmsSync(
            database,
            adapter,
            property_id=AURORA.id,
            rhythm=rhythm,
            clock=clock,
            log=log,
            room_types={"1": "double"},
        )
        syncs.append(sync)
        writer = IntentWriter(frozenset({(AURORA.id, adapter.system)}))
        told = {
            STAY_CHANGED: (writer.on_stay_changed,),
            STAY_DEPARTURE: (writer.on_stay_departure,),
            STAY_LATE: (writer.on_stay_late,),
        }
        relay = Relay(database, subscribers=told, clock=clock, log=log)
        intents = IntentWorker(database, adapter, sync, two_way=True, clock=clock, log=log)
        yield World(database, clock, emulated, adapter, sync, intents, relay, vendor.by_day)
    await emulated.close()


async def until_in_step(w: World) -> None:
    """Let the weather clear, the slowest of the lists come round and every wish end."""
    w.emulator.knobs = msgspec.structs.replace(TAME, skew_ms=w.emulator.knobs.skew_ms)
    for _ in range(4):
        await w.live(12)
        w.clock.advance(150_000)
        pending = await w.rows("SELECT id FROM pms.write_intent WHERE state = 'pending'")
        if not pending and not await w.out_of_step():
            return
    w.clock.advance(DAY_MS)
    await w.live(3)


@pytest.mark.parametrize("seed", DAYS)
@pytest.mark.parametrize("name", VENDORS)
@pytest.mark.guarantee("G2")
@pytest.mark.requirement("PMS-22")
async def test_a_bad_day_at_any_vendor_loses_and_doubles_nothing(database: Database, name: str, seed: int) -> None:
    dice = SeededDice(f"day/{seed}")
    knobs = msgspec.structs.replace(HOSTILE, skew_ms=dice.choice(SKEWS_MS))
    async with world(database, name, knobs=knobs, seed=seed) as w:
        made = [w.book(room, start_ms=NOON_MS + n * DAY_MS) for n, room in enumerate(ROOMS)]
        came = w.book("101", start_ms=NOON_MS - DAY_MS // 2)
        await w.live(4)
        for _ in range(10):
            one = dice.choice(made)
            confirmed = w.hotel.reservation(one).state == "Confirmed"
            match dice.integer(0, 5):
                case 0:
                    made.append(w.book(dice.choice(ROOMS), start_ms=NOON_MS + dice.integer(0, 9) * DAY_MS))
                case 1:
                    w.hotel.update(one, room=dice.choice(ROOMS))
                case 2 if confirmed:
                    start_ms = NOON_MS + dice.integer(0, 9) * DAY_MS
                    w.hotel.update(one, start_ms=start_ms, end_ms=start_ms + DAY_MS)
                case 3 if confirmed:
                    w.hotel.cancel(one, "Other")
                case 4:
                    first, last = dice.choice(NAMES)
                    w.hotel.rename(w.hotel.reservation(one).account_id, first_name=first, last_name=last)
                case _:
                    w.hotel.set_room_state(dice.choice(ROOMS), dice.choice(("Dirty", "Clean", "Inspected")))
            await w.live(dice.integer(0, 2))
        while came not in {row["external_id"] for row in await w.rows("SELECT external_id FROM stays.stay")}:
            await w.live(1)  # no edge checks in whom it has not heard of
        await w.at_the_edge(came, EdgeState.CHECKED_IN, 1)
        await w.live(5)
        await w.at_the_edge(came, EdgeState.CHECKED_OUT, 2)
        await w.live(5)
        await until_in_step(w)
        assert await w.out_of_step() == {}
        intents = [
            (each["action"], each["state"], each["last_read_back"])
            for each in await w.rows("SELECT * FROM pms.write_intent ORDER BY id")
            if each["external_id"] == came
        ]
        assert [each[:2] for each in intents] == [("check_in", "done"), ("check_out", "done")]
        assert intents[0][2] in ("in_house", "left"), "left: both were written before the first was read back"
        assert intents[1][2] == "left"
        assert [each.state for each in w.hotel.history(came)] == ["Confirmed", "Started", "Processed"]


@pytest.mark.requirement("PMS-09")
@pytest.mark.parametrize("name", ["ohip"])
async def test_where_nothing_is_pushed_the_queue_brings_it_and_where_that_loses_the_list_near_now(
    database: Database, name: str
) -> None:
    async with world(database, name) as w:
        await w.live(1)
        w.book("101")
        await w.live(4)
        assert await w.out_of_step() == {}, "the queue told of it, within seconds"
        w.emulator.knobs = msgspec.structs.replace(TAME, push_dropped=1.0)
        w.book("102", start_ms=NOON_MS + DAY_MS)
        w.clock.advance(30_000)
        await w.live(2)
        assert await w.out_of_step() != {}
        w.clock.advance(300_000)
        await w.live(2)
        assert await w.out_of_step() == {}


@pytest.mark.requirement("PMS-12")
@pytest.mark.requirement("PMS-10")
@pytest.mark.parametrize("name", ["mews", "cloudbeds"])
async def test_rooms_and_their_condition_are_written_and_read_back(database: Database, name: str) -> None:
    async with world(database, name) as w:
        made = w.book(None)
        await w.live(2)
        target = w.hotel.room("102").id
        await w.want(PmsAction.ASSIGN_ROOM, made, target, 1)
        await w.want(PmsAction.SET_ROOM_STATUS, target, "clean", 2)
        await w.live(8)
        assert (w.hotel.reservation(made).resource_id, w.hotel.room("102").state) == (target, "Clean")
        rows = await w.rows("SELECT action, state, last_read_back FROM pms.write_intent ORDER BY id")
        assert [tuple(row.values()) for row in rows] == [
            ("assign_room", "done", target),
            ("set_room_status", "done", "clean"),
        ]


@pytest.mark.requirement("PMS-12")
@pytest.mark.parametrize(
    ("name", "knobs"), [*((name, TAME) for name in sorted(VENDORS)), ("mews", HARSH)], ids=lambda each: str(each)[:6]
)
async def test_a_room_that_we_gave_is_given_in_the_pms_too(database: Database, name: str, knobs: Knobs) -> None:
    async with world(database, name, knobs=knobs) as w:
        made = w.book(None)
        for _ in range(20):
            await w.live(1)
            if await w.rows("SELECT 1 AS one FROM stays.stay, pms.room_map"):
                break
            w.clock.advance(20_000)
        stay = stay_id(AURORA.id, w.sync.system, made)
        given, _ = await give_rooms(database, PLACE, {stay: Asked()}, now_ms=w.clock.wall_ms())
        for _ in range(60):
            await w.live(1)
            if await w.rows("SELECT 1 AS one FROM pms.write_intent WHERE state <> 'pending'"):
                break
        [intent] = await w.rows(
            "SELECT w.action, w.state, w.attempts, w.last_read_back, w.target, m.room FROM pms.write_intent w"
            " JOIN pms.room_map m ON m.external_id = w.target"
        )
        assert (intent["action"], intent["state"], intent["room"]) == ("assign_room", "done", given[stay])
        assert intent["last_read_back"] == intent["target"]
        assert w.hotel.reservation(made).resource_id == w.hotel.room(given[stay]).id
        [kept] = await w.rows("SELECT room FROM stays.stay")
        assert kept["room"] == given[stay]


@pytest.mark.requirement("PMS-03")
@pytest.mark.parametrize("name", sorted(VENDORS))
async def test_the_type_that_was_booked_is_mirrored_and_rooms_are_given_by_it(database: Database, name: str) -> None:
    async with world(database, name) as w:
        twin = w.hotel.add(
            room=None, start_ms=w.clock.wall_ms() - HOUR_MS, end_ms=w.clock.wall_ms() + DAY_MS, first_name="Ben",
            last_name="Ito", room_type="77",
        ).id  # fmt: skip
        double = w.book(None)
        w.clock.advance(20_000)
        await w.live(3)
        rows = await w.rows("SELECT external_id, room_type FROM stays.reservation")
        assert {row["external_id"]: row["room_type"] for row in rows} == {twin: "77", double: "double"}
        stays = {each: stay_id(AURORA.id, w.sync.system, each) for each in (twin, double)}
        asked = {stay: Asked() for stay in stays.values()}
        given, why_not = await give_rooms(database, PLACE, asked, now_ms=w.clock.wall_ms())
        assert list(given) == [stays[double]], "no room here is of the type that the twin's guest booked"
        assert "type" in why_not[stays[twin]]


async def test_a_room_that_the_pms_gave_meanwhile_goes_before_ours(database: Database) -> None:
    async with world(database, "mews") as w:
        made = w.book(None)
        await w.live(2)
        w.hotel.update(made, room="103")
        async with database.transaction() as connection:
            row = await fetch_all(connection, "SELECT external_id FROM pms.room_map WHERE name = '101'")
        await w.want(PmsAction.ASSIGN_ROOM, made, row[0]["external_id"], 1)
        await w.live(4)
        [intent] = await w.rows("SELECT state, attempts FROM pms.write_intent")
        assert (intent["state"], intent["attempts"]) == ("overtaken", 0)
        assert w.hotel.reservation(made).resource_id == w.hotel.room("103").id


async def test_what_a_person_has_to_do_in_the_pms_is_shown_and_done_once_they_did(database: Database) -> None:
    async with world(database, "ezee") as w:
        assert isinstance(w.emulator, Ezee)
        w.emulator.kiosk_allowed = False
        made = w.book()
        await w.live(2)
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.live(3)
        assert ((await w.state()).writes_by_hand, (await w.state()).writes_failed) == (1, 0)
        w.hotel.start(made)
        w.clock.advance(5 * 60_000)
        await w.live(2)
        [intent] = await w.rows("SELECT state, attempts FROM pms.write_intent")
        assert (intent["state"], intent["attempts"]) == ("done", 0)


async def test_a_check_out_that_a_hotel_does_not_offer_is_a_persons_to_do_and_never_failed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(database, "stayntouch") as w:
        made = w.book()
        await w.live(2)
        w.hotel.start(made)
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.live(3)
        offered = w.emulator.do

        def do(ask: Ask) -> object:
            if ask.path.endswith("/check_out"):
                raise WireError(404, "Not found")
            return offered(ask)

        monkeypatch.setattr(w.emulator, "do", do)
        await w.at_the_edge(made, EdgeState.CHECKED_OUT, 2)
        await w.live(8)
        assert ((await w.state()).writes_by_hand, (await w.state()).writes_failed) == (1, 0)
        w.hotel.process(made)
        w.clock.advance(5 * 60_000)
        await w.live(2)
        [intent] = await w.rows("SELECT state, attempts FROM pms.write_intent WHERE action = 'check_out'")
        assert (intent["state"], intent["attempts"]) == ("done", 0)


@pytest.mark.requirement("PMS-08")
async def test_subscriptions_that_vanished_are_made_again(database: Database) -> None:
    async with world(database, "cloudbeds") as w:
        assert isinstance(w.emulator, Cloudbeds)
        await w.live(1)
        assert len(w.emulator.subscriptions) == len(cloudbeds_wire.EVENTS)
        w.emulator.knobs = msgspec.structs.replace(TAME, webhook_subscribed=False)
        w.clock.advance(DAY_MS)
        await w.live(1)
        assert w.emulator.knobs.webhook_subscribed
        assert len(w.emulator.subscriptions) == len(cloudbeds_wire.EVENTS)


@pytest.mark.requirement("PMS-05")
async def test_what_hints_and_polls_missed_is_repaired_and_told_as_drift(database: Database) -> None:
    async with world(database, "mews", knobs=msgspec.structs.replace(TAME, push_dropped=1.0)) as w:
        kept, lost = w.book("101"), w.book("102")
        await w.live(1)
        late = w.book("103", start_ms=NOON_MS + 2 * DAY_MS)
        changed_ms = w.hotel.reservation(late).updated_ms
        w.clock.advance(2 * HOUR_MS)
        await w.live(1)
        async with database.transaction() as connection:
            await connection.execute("DELETE FROM stays.stay WHERE external_id = %s", [late])
            await connection.execute("DELETE FROM stays.reservation WHERE external_id = %s", [late])
        w.hotel.reservations.pop(lost)
        assert changed_ms < w.clock.wall_ms() - HOUR_MS
        w.clock.advance(DAY_MS)
        await w.live(1)
        drifts = {each.external_id: (each.kind, each.times) for each in (await w.state()).drift}
        assert drifts == {late: ("missing", 1), lost: ("gone", 1)}
        rows = {row["external_id"]: row["status"] for row in await w.rows("SELECT * FROM stays.reservation")}
        assert rows == {kept: "booked", lost: "booked", late: "booked"}, "gone once ends nobody"
        w.clock.advance(DAY_MS)
        await w.live(1)
        rows = {row["external_id"]: row["status"] for row in await w.rows("SELECT * FROM stays.reservation")}
        assert rows[lost] == "cancelled"
        w.clock.advance(DAY_MS)
        await w.live(1)
        async with database.transaction() as connection:
            assert await report(connection, property_id=AURORA.id, system="mews") == []
