"""In step with a PMS that misbehaves: whatever happens to pushes and answers, both sides end up saying the same."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

import httpx
import msgspec
import pytest

from cloud.checkin import departures
from cloud.kit.database import Database, fetch_all, fetch_one
from cloud.kit.outbox import Relay
from cloud.pms.emulation.face import TAME, Credentials, Knobs
from cloud.pms.emulation.hotel import Hotel, Rules
from cloud.pms.emulation.server import build
from cloud.pms.engine import PmsSync, Rhythm
from cloud.pms.intents import IntentWorker, IntentWriter
from cloud.pms.mews import emulator as mews
from cloud.pms.mews.adapter import MewsAdapter
from cloud.pms.status import connection_states
from cloud.stays.life import EdgeState
from cloud.stays.stays import STAY_CHANGED, EdgeFact, apply_edge_facts, stay_id
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.logs import logger
from protocols.errors import PeerProtocolError
from tests.cloud.asgi import in_process
from tests.cloud.houses import AURORA, DAY_MS, HOUR_MS, NOW_MS, PLACE, ROOMS, open_house

pytestmark = pytest.mark.tier("postgres")

HARSH = Knobs(
    push_delay_least_ms=0,
    push_delay_most_ms=20,
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


@dataclass
class World:
    """A cloud, a PMS, and the clock they share."""

    database: Database
    clock: ManualClock
    emulator: mews.Emulator
    bent: "BentTransport"
    sync: PmsSync
    intents: IntentWorker
    relay: Relay

    @property
    def hotel(self) -> Hotel:
        return self.emulator.hotel

    def book(self, room: str | None = "101", *, start_ms: int | None = None, name: str = "Berger") -> str:
        start_ms = self.clock.wall_ms() - HOUR_MS if start_ms is None else start_ms
        return self.hotel.add(
            room=room, start_ms=start_ms, end_ms=start_ms + DAY_MS, first_name="Anna", last_name=name
        ).id

    async def live(self, seconds: int) -> None:
        """Let everything run for a while, a second at a time."""
        for _ in range(seconds):
            await self.emulator.settle()
            await self.sync.step()
            await self.relay.drain()
            await self.intents.work_due()
            self.clock.advance(1_000)

    async def at_the_edge(self, external_id: str, state: EdgeState, seq: int) -> None:
        """The edge checked a stay in or out."""
        fact = EdgeFact(
            stay_id(AURORA.id, "mews", external_id), state, "101", "kiosk", self.clock.wall_ms(), b"i" * 16, seq
        )
        async with self.database.transaction() as connection:
            await apply_edge_facts(connection, PLACE, [fact], now_ms=self.clock.wall_ms())

    async def rows(self, query: LiteralString) -> list[dict[str, Any]]:
        async with self.database.transaction() as connection:
            return await fetch_all(connection, query)

    async def in_step(self) -> bool:
        """Tell whether every reservation reads here as it does there."""
        names = {each.id: each.name for each in self.hotel.resources.values()}
        states = {
            "Confirmed": "booked", "Started": "in_house", "Processed": "left", "Canceled": "cancelled",
        }  # fmt: skip
        there = {
            each.id: (states[each.state], names.get(each.resource_id or ""), each.start_ms)
            for each in self.hotel.reservations.values()
        }
        here = {
            row["external_id"]: (row["status"], row["room"], row["start"])
            for row in await self.rows(
                "SELECT external_id, status, room, (extract(epoch FROM arrival_at) * 1000)::bigint AS start"
                " FROM stays.reservation"
            )
        }
        return here == there


Bend = Callable[[str, dict[str, Any], httpx.Response], httpx.Response]
"""Given an operation, what was asked and the honest answer, return the answer that is given."""


async def passing(clock: ManualClock, seconds: float) -> None:
    """Sleep on the world's own clock."""
    clock.advance(round(seconds * 1_000))


class BentTransport(httpx.AsyncBaseTransport):
    """An emulator whose answers are bent on their way."""

    def __init__(self, honest: httpx.AsyncBaseTransport) -> None:
        self.honest = honest
        self.bend: Bend | None = None
        self.asked: list[dict[str, Any]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self.honest.handle_async_request(request)
        self.asked.append(json.loads(request.content))
        if self.bend is None:
            return answer
        operation = request.url.path.removeprefix("/api/connector/v1/")
        whole = httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())
        return self.bend(operation, json.loads(request.content), whole)


class SkewedClock(ManualClock):
    """Another's clock: it runs with ours, and is wrong by so much."""

    def __init__(self, ours: ManualClock, skew_ms: int) -> None:
        super().__init__(wall_ms=ours.wall_ms())
        self._ours, self._skew_ms = ours, skew_ms

    def now_ms(self) -> int:
        return self._ours.now_ms()

    def wall_ms(self) -> int:
        return self._ours.wall_ms() + self._skew_ms


@asynccontextmanager
async def world(database: Database, *, knobs: Knobs = TAME, seed: int = 1, skew_ms: int = 0) -> AsyncIterator[World]:
    await open_house(database, clean=False)
    clock = ManualClock(wall_ms=NOW_MS)
    syncs: list[PmsSync] = []

    async def push(body: bytes) -> bool:
        await syncs[0].take_push(body)
        return True

    emulated = mews.Emulator(
        rooms=list(ROOMS),
        reservations=0,
        credentials=Credentials("client", "access"),
        clock=SkewedClock(clock, skew_ms),
        dice=SeededDice(seed),
        push=push,
        knobs=knobs,
    )
    bent = BentTransport(in_process(build(emulated)))
    async with httpx.AsyncClient(transport=bent) as http:
        adapter = MewsAdapter(
            http,
            platform="http://mews.invalid",
            client_token="client",
            access_token="access",
            clock=clock,
            sleep=lambda seconds: passing(clock, seconds),
        )
        rhythm = Rhythm(timedelta(seconds=30), timedelta(minutes=10), timedelta(hours=24))
        log = logger("test")
        sync = PmsSync(database, adapter, property_id=AURORA.id, rhythm=rhythm, clock=clock, log=log)
        syncs.append(sync)
        writer = IntentWriter(frozenset({(AURORA.id, "mews")}))
        subscribers = {STAY_CHANGED: (writer.on_stay_changed, departures.on_stay_changed)}
        relay = Relay(database, subscribers=subscribers, clock=clock, log=log)
        intents = IntentWorker(database, adapter, sync, two_way=True, clock=clock, log=log)
        yield World(database, clock, emulated, bent, sync, intents, relay)
    await emulated.close()


@pytest.mark.requirement("PMS-16")
@pytest.mark.requirement("STY-01")
async def test_the_first_step_brings_rooms_and_everything_near_now(database: Database) -> None:
    async with world(database) as w:
        near, far = w.book("101"), w.book("102", start_ms=NOW_MS + 60 * DAY_MS)
        w.hotel.set_room_state("103", "Dirty")
        await w.sync.step()
        assert {row["external_id"] for row in await w.rows("SELECT external_id FROM stays.stay")} == {near, far}
        rooms = {row["id"]: row["housekeeping"] for row in await w.rows("SELECT id, housekeeping FROM stays.room")}
        assert rooms == {"101": "inspected", "102": "inspected", "103": "dirty"}


@pytest.mark.requirement("PMS-08")
async def test_a_push_alone_is_enough_within_a_step(database: Database) -> None:
    async with world(database) as w:
        await w.sync.step()
        made = w.book()
        await w.emulator.settle()
        await w.sync.step()
        assert [row["external_id"] for row in await w.rows("SELECT external_id FROM stays.stay")] == [made]
        assert await w.rows("SELECT * FROM pms.hint") == []


@pytest.mark.requirement("PMS-09")
async def test_where_every_push_is_dropped_the_poll_finds_it(database: Database) -> None:
    async with world(database, knobs=msgspec.structs.replace(TAME, push_dropped=1.0)) as w:
        await w.sync.step()
        w.book()
        await w.live(31)
        assert await w.in_step()


@pytest.mark.parametrize("skew_ms", [-HOUR_MS, -25 * 60_000, 25 * 60_000, HOUR_MS])
@pytest.mark.requirement("PMS-09")
async def test_a_pms_whose_clock_is_wrong_is_polled_by_its_own_clock(database: Database, skew_ms: int) -> None:
    async with world(database, knobs=msgspec.structs.replace(TAME, push_dropped=1.0), skew_ms=skew_ms) as w:
        await w.sync.step()
        first = w.book("101")
        await w.live(31)
        assert await w.in_step()
        w.clock.advance(3 * HOUR_MS)  # a quiet night
        await w.live(31)
        w.hotel.update(first, room="102")
        await w.live(31)
        assert await w.in_step()
        await w.live(31)
        asked = [each for each in w.bent.asked if "UpdatedUtc" in each][-1]
        since = datetime.fromisoformat(asked["UpdatedUtc"]["StartUtc"])
        assert w.clock.wall_ms() - since.timestamp() * 1_000 < 1.3 * HOUR_MS, "and reads no whole night again"


async def test_what_changed_while_we_were_down_is_asked_for_from_the_stored_cursor(database: Database) -> None:
    async with world(database, knobs=msgspec.structs.replace(TAME, push_dropped=1.0)) as w:
        await w.sync.step()
        w.book("101")
        w.clock.advance(5 * HOUR_MS)  # nobody runs
        w.book("102", start_ms=NOW_MS + DAY_MS)
        w.clock.advance(5 * HOUR_MS)
        w.sync._polled_ms = None  # a new process: only the database remembers
        await w.sync.step()
        assert await w.in_step()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.guarantee("G2")
async def test_pushes_late_double_unordered_and_dropped_and_answers_broken_and_stale_converge(
    database: Database, seed: int
) -> None:
    async with world(database, knobs=HARSH, seed=seed) as w:
        dice = SeededDice(seed)
        made = [w.book(room, start_ms=NOW_MS + n * DAY_MS) for n, room in enumerate(ROOMS)]
        for _ in range(25):
            one = dice.choice(made)
            match dice.integer(0, 4):
                case 0:
                    made.append(w.book(dice.choice(ROOMS), start_ms=NOW_MS + dice.integer(0, 9) * DAY_MS))
                case 1:
                    w.hotel.update(one, room=dice.choice(ROOMS))
                case 2 if w.hotel.reservation(one).state == "Confirmed":
                    start_ms = NOW_MS + dice.integer(0, 9) * DAY_MS
                    w.hotel.update(one, start_ms=start_ms, end_ms=start_ms + DAY_MS)
                case 3 if w.hotel.reservation(one).state == "Confirmed":
                    w.hotel.cancel(one, "Other")
                case _:
                    w.hotel.set_room_state(dice.choice(ROOMS), dice.choice(("Dirty", "Clean", "Inspected")))
            await w.live(dice.integer(0, 3))
        w.emulator.knobs = TAME  # the day ends, the weather clears
        await w.live(70)
        assert await w.in_step()
        held = await w.rows(
            "SELECT a.id FROM stays.stay a JOIN stays.stay b ON a.room = b.room AND a.id < b.id"
            " WHERE a.state IN ('planned', 'ready', 'in_house') AND b.state IN ('planned', 'ready', 'in_house')"
            " AND tstzrange(a.expected_from, a.expected_until) && tstzrange(b.expected_from, b.expected_until)"
        )
        assert held == []


@pytest.mark.requirement("PMS-11")
@pytest.mark.requirement("PMS-10")
async def test_a_guest_who_came_and_left_at_the_edge_came_and_left_in_the_pms(database: Database) -> None:
    async with world(database) as w:
        made = w.book()
        await w.live(1)
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.live(3)
        assert w.hotel.reservation(made).state == "Started"
        await w.at_the_edge(made, EdgeState.CHECKED_OUT, 2)
        await w.live(3)
        assert w.hotel.reservation(made).state == "Processed"
        intents = await w.rows("SELECT action, state, last_read_back FROM pms.write_intent ORDER BY id")
        assert [tuple(row.values()) for row in intents] == [
            ("check_in", "done", "in_house"),
            ("check_out", "done", "left"),
        ]


async def test_both_told_at_once_after_a_long_night_still_go_in_order(database: Database) -> None:
    async with world(database) as w:
        made = w.book()
        await w.live(1)
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.at_the_edge(made, EdgeState.CHECKED_OUT, 2)
        await w.live(6)
        assert w.hotel.reservation(made).state == "Processed"


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.requirement("PMS-11")
async def test_writes_survive_faults_limits_and_stale_reads_and_happen_once(database: Database, seed: int) -> None:
    async with world(database, knobs=msgspec.structs.replace(HARSH, fault=0.2), seed=seed) as w:
        made = w.book()
        await w.live(40)
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.live(120)
        w.emulator.knobs = TAME
        await w.live(60)
        found = w.hotel.reservation(made)
        [intent] = await w.rows("SELECT state, attempts, last_read_back FROM pms.write_intent")
        assert (found.state, intent["state"], intent["last_read_back"]) == ("Started", "done", "in_house")


async def test_a_refusal_is_tried_three_times_with_growing_pauses_and_then_told(database: Database) -> None:
    async with world(database) as w:
        w.hotel.rules = Rules(require_inspected=True)
        made = w.book()
        await w.live(1)
        w.hotel.set_room_state("101", "Dirty")
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.live(120)
        [intent] = await w.rows("SELECT state, attempts, last_error FROM pms.write_intent")
        assert (intent["state"], intent["attempts"]) == ("failed", 3)
        assert "not inspected" in intent["last_error"]
        assert w.emulator.calls["reservations/start"] == 3
        async with database.transaction() as connection:
            [state] = await connection_states(connection, tenant=AURORA.tenant, property_id=AURORA.id)
        assert state.writes_failed == 1


async def test_an_early_guest_is_written_at_the_hour_of_arrival(database: Database) -> None:
    async with world(database) as w:
        made = w.book(start_ms=NOW_MS + HOUR_MS)
        await w.live(1)
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.live(5)
        assert "reservations/start" not in w.emulator.calls
        w.clock.advance(HOUR_MS)
        await w.live(3)
        assert w.hotel.reservation(made).state == "Started"


async def test_two_way_sync_off_means_nothing_is_written(database: Database) -> None:
    async with world(database) as w:
        made = w.book()
        await w.live(1)
        w.relay = Relay(
            database,
            subscribers={STAY_CHANGED: (IntentWriter(frozenset()).on_stay_changed,)},
            clock=w.clock,
            log=logger("test"),
        )
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.live(5)
        assert await w.rows("SELECT * FROM pms.write_intent") == []
        assert w.hotel.reservation(made).state == "Confirmed"


async def test_a_checkout_at_the_desk_ends_the_stay_and_sends_the_edge_word(database: Database) -> None:
    async with world(database) as w:
        made = w.book()
        await w.live(1)
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.live(3)
        w.hotel.process(made)
        await w.live(3)
        [stay] = await w.rows("SELECT state FROM stays.stay")
        [told] = await w.rows("SELECT stay, state FROM checkin.departure")
        assert (stay["state"], told["state"]) == ("left", "pending")
        async with database.transaction() as connection:
            row = await fetch_one(connection, "SELECT body FROM stays.document")
        assert row is not None
        assert [each["state"] for each in row["body"]["stays"]] == ["left"]


@pytest.mark.requirement("PMS-16")
async def test_one_bad_item_is_counted_and_the_others_arrive(database: Database) -> None:
    async with world(database) as w:
        await w.sync.step()
        good, bad = w.book("101"), w.book("102", start_ms=NOW_MS + DAY_MS)
        w.hotel.reservations[bad].end_ms = NOW_MS
        found = await w.sync._property()
        assert found is not None
        w.clock.advance(1)
        run = await w.sync.poll(found)
        assert (run.created, [each.external_id for each in run.errors]) == (1, [bad])
        assert [row["external_id"] for row in await w.rows("SELECT external_id FROM stays.stay")] == [good]
        [noted] = await w.rows("SELECT kind, created, errors FROM pms.sync_run")
        assert (noted["created"], noted["errors"][0]["id"]) == (1, bad)


@pytest.mark.requirement("PMS-04")
async def test_a_connection_says_what_ails_it_and_that_it_is_well_again(database: Database) -> None:
    async with world(database) as w:
        w.emulator.knobs = msgspec.structs.replace(TAME, fault=1.0)
        await w.sync.step()
        async with database.transaction() as connection:
            [state] = await connection_states(connection, tenant=AURORA.tenant, property_id=AURORA.id)
        assert state.last_ok_at is None
        assert state.last_error is not None
        assert "500" in state.last_error
        w.emulator.knobs = TAME
        await w.sync.step()
        async with database.transaction() as connection:
            [state] = await connection_states(connection, tenant=AURORA.tenant, property_id=AURORA.id)
            assert await connection_states(connection, tenant="southwind", property_id=AURORA.id) == []
        assert state.last_ok_at is not None
        assert state.last_error is None


@pytest.mark.guarantee("G19")
async def test_a_push_that_is_none_stores_nothing(database: Database) -> None:
    async with world(database) as w:
        await w.sync.step()
        with pytest.raises(PeerProtocolError):
            await w.sync.take_push(b'{"Events": "many"}')
        assert await w.rows("SELECT * FROM pms.hint") == []
