"""Check-in from afar, and telling the edge who has left."""

from typing import Any, LiteralString

import pytest

from cloud.checkin import departures
from cloud.checkin.departures import DepartureWorker
from cloud.checkin.desk import CheckInDesk, NotAdmissibleError, Refusal
from cloud.fleet.commands import CommandResult, Commands
from cloud.kit.database import Database, fetch_all
from cloud.kit.outbox import Relay
from cloud.kit.times import unix_ms
from cloud.stays import document
from cloud.stays.life import EdgeState
from cloud.stays.reservation import PmsStatus, Reservation
from cloud.stays.stays import STAY_CHANGED, EdgeFact, apply_edge_facts, stay_id, upsert_reservations
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.logs import logger
from protocols.device_model.command import Phase
from protocols.link.documents import REFUSAL_HELD_MS
from tests.cloud.edges import FakeEdges, done
from tests.cloud.houses import AURORA, DAY_MS, HOUR_MS, NOW_MS, PLACE, open_house, reservation

pytestmark = pytest.mark.tier("postgres")
STAY = stay_id(AURORA.id, "mews", "r1")
PHONE = "02" + "ab" * 32
BUNDLE = {"v": 1, "grant": "secret-grant"}


class Hotel:
    """A cloud with one hotel and an edge behind it."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock = database, ManualClock(wall_ms=NOW_MS)
        self.edges = FakeEdges(obey=lambda kind, _args: done({"bundle": BUNDLE} if kind == "check_in" else {}))
        self.commands = Commands(database, self.edges, clock=self.clock, dice=SeededDice(1))
        self.desk = CheckInDesk(database, self.commands, clock=self.clock)
        self.relay = Relay(
            database,
            subscribers={STAY_CHANGED: (departures.on_stay_changed,)},
            clock=self.clock,
            log=logger("test"),
        )
        self.leaving = DepartureWorker(database, self.commands, clock=self.clock)

    async def book(self, item: Reservation) -> None:
        async with self.database.transaction() as connection:
            await upsert_reservations(connection, PLACE, [item], now_ms=self.clock.wall_ms())

    async def edge_did(self, state: EdgeState, seq: int) -> None:
        fact = EdgeFact(STAY, state, "101", "kiosk", NOW_MS, b"i" * 16, seq)
        async with self.database.transaction() as connection:
            await apply_edge_facts(connection, PLACE, [fact], now_ms=NOW_MS)

    async def check_in(self, key: str = "k1") -> dict[str, Any]:
        return await self.desk.check_in(AURORA, STAY, phone_public_key=PHONE, idempotency_key=key, by="ops")

    async def rows(self, table: LiteralString) -> list[dict[str, Any]]:
        async with self.database.transaction() as connection:
            return await fetch_all(connection, f"SELECT * FROM {table}")  # noqa: S608 - table names of the schema


@pytest.fixture
async def hotel(database: Database) -> Hotel:
    await open_house(database)
    return Hotel(database)


@pytest.mark.guarantee("G2")
async def test_one_idempotency_key_never_gives_keys_to_two_phones(hotel: Hotel) -> None:
    await hotel.book(reservation())
    await hotel.check_in()
    with pytest.raises(NotAdmissibleError) as refused:
        await hotel.desk.check_in(AURORA, STAY, phone_public_key="03" + "cd" * 32, idempotency_key="k1", by="ops")
    assert refused.value.refusal is Refusal.KEY_REUSED
    assert [args["phone_public_key"] for _, args in hotel.edges.effects] == [PHONE]


async def test_a_check_in_that_never_left_may_be_asked_for_again_with_its_key(hotel: Hotel) -> None:
    await hotel.book(reservation())
    hotel.edges.lost = True
    with pytest.raises(NotAdmissibleError) as refused:
        await hotel.check_in()
    assert refused.value.may_be_retried
    hotel.edges.lost = False
    assert await hotel.check_in() == BUNDLE


@pytest.mark.requirement("CHK-01")
async def test_a_ready_stay_gets_its_keys_and_nobody_keeps_them(hotel: Hotel) -> None:
    await hotel.book(reservation())
    assert await hotel.check_in() == BUNDLE
    assert await hotel.check_in() == BUNDLE, "asked again with the same key"
    assert hotel.edges.effects == [("check_in", {"stay": STAY, "phone_public_key": PHONE, "by": "cloud:ops"})]
    [session] = await hotel.rows("checkin.key_request")
    assert session["state"] == "completed"
    kept = repr(await hotel.rows("checkin.key_request")) + repr(await hotel.rows("fleet.command"))
    assert "secret-grant" not in kept
    assert PHONE not in kept


@pytest.mark.requirement("A5")
async def test_one_key_asks_anew_once_its_refusal_has_passed(hotel: Hotel) -> None:
    await hotel.book(reservation("r1"))
    refuses = hotel.edges.obey
    hotel.edges.obey = lambda _kind, _args: CommandResult(Phase.FAILED, None, "the edge's clock is uncertain")
    for wait_ms in (0, REFUSAL_HELD_MS - 1):
        hotel.clock.advance(wait_ms)
        with pytest.raises(NotAdmissibleError) as refused:
            await hotel.check_in("constant")
        assert refused.value.refusal is Refusal.EDGE_REFUSED
    assert len(hotel.edges.effects) == 1
    hotel.edges.obey = refuses
    hotel.clock.advance(1)
    assert await hotel.check_in("constant") == BUNDLE
    assert await hotel.check_in("constant") == BUNDLE
    assert len(hotel.edges.effects) == 2
    (request,) = await hotel.rows("checkin.key_request")
    assert request["state"] == "completed"


async def test_keys_that_the_edge_no_longer_holds_are_asked_for_anew(hotel: Hotel) -> None:
    await hotel.book(reservation("r1"))
    assert await hotel.check_in("constant") == BUNDLE
    (first,) = {sent[3] for sent in hotel.edges.sent}
    hotel.edges.forget(first)
    assert await hotel.check_in("constant") == BUNDLE
    assert [sent[3] for sent in hotel.edges.sent[:2]] == [first, first]
    assert len({sent[3] for sent in hotel.edges.sent}) == 2


async def test_a_guest_whom_the_pms_moved_is_moved_when_he_asks_for_his_keys(hotel: Hotel) -> None:
    hotel.edges.obey = lambda _kind, _args: done({"bundle": BUNDLE})
    await hotel.book(reservation())
    await hotel.check_in("k1")
    await hotel.edge_did(EdgeState.CHECKED_IN, 1)
    await hotel.book(reservation(room="102", updated_ms=NOW_MS + 1))
    await hotel.check_in("k2")
    await hotel.book(reservation(status=PmsStatus.IN_HOUSE, updated_ms=NOW_MS + 2))
    await hotel.book(reservation(room="103", status=PmsStatus.IN_HOUSE, updated_ms=NOW_MS + 3))
    for _ in range(2):
        assert await hotel.check_in("k2") == BUNDLE
    phone = {"stay": STAY, "phone_public_key": PHONE, "by": "cloud:ops"}
    assert hotel.edges.effects == [
        ("check_in", phone),
        ("check_in", phone),  # that room was named before the PMS knew that he is in: it will be put right
        ("move", {**phone, "room": "103"}),
    ]


@pytest.mark.requirement("CHK-01")
async def test_too_early_says_from_when(hotel: Hotel) -> None:
    arrival_ms = NOW_MS + 30 * HOUR_MS
    await hotel.book(reservation(arrival_ms=arrival_ms, departure_ms=arrival_ms + DAY_MS))
    with pytest.raises(NotAdmissibleError) as refused:
        await hotel.check_in()
    assert refused.value.refusal is Refusal.TOO_EARLY
    assert refused.value.available_from_ms == arrival_ms - 24 * HOUR_MS
    assert hotel.edges.sent == []


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (reservation(room=None), Refusal.NOT_READY),
        (reservation(status=PmsStatus.LEFT), Refusal.ENDED),
        (reservation(status=PmsStatus.CANCELLED), Refusal.ENDED),
        (reservation(arrival_ms=NOW_MS - DAY_MS, departure_ms=NOW_MS), Refusal.ENDED),
    ],
)
async def test_what_cannot_be_checked_in_is_refused_before_the_edge_is_asked(
    hotel: Hotel, item: Reservation, why: Refusal
) -> None:
    await hotel.book(item)
    with pytest.raises(NotAdmissibleError) as refused:
        await hotel.check_in()
    assert refused.value.refusal is why
    assert hotel.edges.sent == []


async def test_a_room_that_is_not_clean_gives_no_keys(database: Database) -> None:
    await open_house(database, clean=False)
    hotel = Hotel(database)
    await hotel.book(reservation())
    with pytest.raises(NotAdmissibleError) as refused:
        await hotel.check_in()
    assert refused.value.refusal is Refusal.NOT_READY


@pytest.mark.guarantee("G17")
async def test_an_edge_that_is_silent_away_or_unwilling_is_told_apart(hotel: Hotel) -> None:
    await hotel.book(reservation())
    hotel.edges.lost = True
    with pytest.raises(NotAdmissibleError) as away:
        await hotel.check_in("k1")
    hotel.edges.lost, hotel.edges.silent = False, True
    with pytest.raises(NotAdmissibleError) as silent:
        await hotel.check_in("k2")
    hotel.edges.silent = False
    hotel.edges.obey = lambda _kind, _args: CommandResult(Phase.FAILED, None, "Room 101 is still held.")
    with pytest.raises(NotAdmissibleError, match="still held") as unwilling:
        await hotel.check_in("k3")
    hotel.edges.obey = lambda _kind, _args: CommandResult(Phase.EXPIRED, None, None)
    with pytest.raises(NotAdmissibleError) as late:
        await hotel.check_in("k4")
    assert [each.value.refusal for each in (away, silent, unwilling, late)] == [
        Refusal.EDGE_AWAY,
        Refusal.UNANSWERED,
        Refusal.EDGE_REFUSED,
        Refusal.TOO_LATE,
    ]
    assert await hotel.check_in("k2") == BUNDLE, "the unanswered one had been done"
    assert {row["state"] for row in await hotel.rows("checkin.key_request")} == {"refused", "completed"}


async def test_the_stay_is_in_house_when_the_edge_says_so_and_not_when_it_answered(hotel: Hotel) -> None:
    await hotel.book(reservation())
    await hotel.check_in()
    assert [row["state"] for row in await hotel.rows("stays.stay")] == ["ready"]
    await hotel.edge_did(EdgeState.CHECKED_IN, 1)
    assert [row["state"] for row in await hotel.rows("stays.stay")] == ["in_house"]


async def test_checking_out_asks_the_edge_and_doing_it_twice_is_fine(hotel: Hotel) -> None:
    await hotel.book(reservation())
    with pytest.raises(NotAdmissibleError):
        await hotel.desk.check_out(AURORA, STAY, by="ops")
    await hotel.edge_did(EdgeState.CHECKED_IN, 1)
    await hotel.desk.check_out(AURORA, STAY, by="ops")
    assert hotel.edges.effects == [("check_out", {"stay": STAY, "by": "cloud:ops"})]
    await hotel.edge_did(EdgeState.CHECKED_OUT, 2)
    await hotel.desk.check_out(AURORA, STAY, by="ops")
    assert len(hotel.edges.effects) == 1


async def leave_at_the_desk(hotel: Hotel) -> None:
    await hotel.book(reservation())
    await hotel.edge_did(EdgeState.CHECKED_IN, 1)
    await hotel.book(reservation(status=PmsStatus.LEFT, updated_ms=NOW_MS + 1))
    await hotel.relay.drain()


async def test_a_departure_at_the_desk_is_sent_until_the_edge_has_done_it(hotel: Hotel) -> None:
    await leave_at_the_desk(hotel)
    hotel.edges.lost = True
    await hotel.leaving.work_due()
    hotel.edges.lost, hotel.edges.silent = False, True
    hotel.clock.advance(60_000)
    await hotel.leaving.work_due()
    hotel.edges.silent = False
    hotel.clock.advance(60_000)
    await hotel.leaving.work_due()
    [row] = await hotel.rows("checkin.departure")
    assert row["state"] == "done"
    assert hotel.edges.effects == [("check_out", {"stay": STAY, "by": "pms"})], "three tries, one effect"


async def test_only_after_a_certain_no_is_another_key_used(hotel: Hotel) -> None:
    await leave_at_the_desk(hotel)
    hotel.edges.obey = lambda _kind, _args: CommandResult(Phase.EXPIRED, None, None)
    await hotel.leaving.work_due()
    hotel.edges.obey = lambda _kind, _args: done()
    hotel.clock.advance(60_000)
    await hotel.leaving.work_due()
    assert [row["state"] for row in await hotel.rows("checkin.departure")] == ["done"]
    assert len(hotel.edges.effects) == 2


async def test_an_edge_that_holds_the_document_without_the_guest_needs_no_command(hotel: Hotel) -> None:
    await leave_at_the_desk(hotel)
    hotel.edges.obey = lambda _kind, _args: CommandResult(Phase.FAILED, None, "Stay is not known in this building.")
    await hotel.leaving.work_due()
    [doc] = await hotel.rows("stays.document")
    async with hotel.database.transaction() as connection:
        await document.held(connection, property_id=AURORA.id, version=doc["version"], at_ms=NOW_MS)
    hotel.clock.advance(60_000)
    await hotel.leaving.work_due()
    assert [row["state"] for row in await hotel.rows("checkin.departure")] == ["done"]


async def test_a_guest_who_left_at_the_edge_is_not_told_to_leave(hotel: Hotel) -> None:
    await hotel.book(reservation())
    await hotel.edge_did(EdgeState.CHECKED_IN, 1)
    await hotel.edge_did(EdgeState.CHECKED_OUT, 2)
    await hotel.relay.drain()
    assert await hotel.rows("checkin.departure") == []
    [stay] = await hotel.rows("stays.stay")
    assert unix_ms(stay["actual_out"]) == NOW_MS
