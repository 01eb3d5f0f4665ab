"""One suite for every PMS adapter, each against the emulator that speaks its wire."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.pms import reading
from cloud.pms.cloudbeds.adapter import CloudbedsAdapter
from cloud.pms.emulation.face import TAME, Credentials, Face, Knobs
from cloud.pms.emulation.hotel import Hotel
from cloud.pms.emulation.server import build
from cloud.pms.mews import adapter as mews_adapter
from cloud.pms.mews import wire
from cloud.pms.port import (
    Hint,
    ItemError,
    Page,
    PmsAction,
    PmsAdapter,
    PmsBusyError,
    PmsCannotError,
    PmsFaultError,
    PmsRefusedError,
    PmsReservation,
)
from cloud.stays.reservation import Housekeeping, PmsStatus
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError
from tests.cloud.asgi import in_process
from tests.cloud.pms.vendors import VENDORS, Vendor

JSON_LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from(["event", "reservation/created", "guest/x", "data", "id", "operation", "Reservations", "a\0", ""])
)
NOBODY = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(500)))


def JSON_GROWN(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:  # noqa: N802 - a table of shapes
    keys = st.sampled_from(
        ["event", "data", "id", "object", "reservationID", "hotel_code", "operation", "Reservations"]
    )
    return st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4)


HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOON_MS = 1_795_003_200_000  # 2026-11-18T12:00Z
ROOMS = ("101", "102", "201")


@dataclass
class Bench:
    """An adapter, the hotel behind its emulator, and the pushes it sent."""

    vendor: Vendor
    adapter: PmsAdapter
    emulator: Face
    clock: ManualClock
    pushes: list[bytes]

    @property
    def hotel(self) -> Hotel:
        return self.emulator.hotel

    def add(self, room: str | None = "101", *, last_name: str = "Berger", start_ms: int | None = None) -> str:
        now_ms = self.clock.wall_ms()
        start_ms = now_ms - HOUR_MS if start_ms is None else start_ms
        made = self.hotel.add(
            room=room, start_ms=start_ms, end_ms=start_ms + DAY_MS, first_name="Anna", last_name=last_name
        )
        return made.id

    def able(self, action: PmsAction) -> None:
        """Skip what this PMS has no interface for."""
        if action not in self.adapter.capabilities.writes:
            pytest.skip(f"{self.adapter.system} has no interface for {action}")

    async def read(self, external_id: str) -> PmsReservation:
        """Read one reservation, as long after the last request as its limit asks."""
        self.clock.advance(30_000)
        [found] = (await self.adapter.get([external_id])).reservations
        return found

    async def room_ids(self) -> dict[str, str]:
        self.clock.advance(30_000)
        return {room.name: room.external_id for room in (await self.adapter.rooms()).rooms}


@asynccontextmanager
async def opened(vendor: Vendor, knobs: Knobs = TAME) -> AsyncIterator[Bench]:
    clock, pushes = ManualClock(wall_ms=NOON_MS), list[bytes]()

    async def push(body: bytes) -> bool:
        pushes.append(body)
        return True

    async def passing(seconds: float) -> None:
        clock.advance(max(1, round(seconds * 1_000)))

    emulated = vendor.face(
        rooms=list(ROOMS),
        reservations=0,
        credentials=Credentials("client", "access"),
        clock=clock,
        dice=SeededDice(7),
        push=push,
        knobs=knobs,
    )
    transport = in_process(build(emulated))
    async with httpx.AsyncClient(transport=transport) as http:
        yield Bench(vendor, vendor.adapter(http, clock, passing), emulated, clock, pushes)
    await emulated.close()


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    return VENDORS[request.param]


@pytest.fixture
async def bench(vendor: Vendor) -> AsyncIterator[Bench]:
    async with opened(vendor) as made:
        yield made


async def all_of(pages: AsyncIterator[Page]) -> list[PmsReservation]:
    return [each async for page in pages for each in page.reservations]


@pytest.mark.requirement("PMS-02")
@pytest.mark.requirement("PMS-15")
async def test_lists_answer_by_time_of_change_by_presence_and_by_arrival(bench: Bench) -> None:
    now_ms = bench.clock.wall_ms()
    soon, later = bench.add(), bench.add(start_ms=now_ms + 10 * DAY_MS)
    if bench.adapter.capabilities.changed_since:
        changed = await all_of(bench.adapter.changed(now_ms - 1, now_ms + 1))
        assert {each.external_id for each in changed} == {soon, later}
        assert await all_of(bench.adapter.changed(now_ms + 2_000, now_ms + 3_000)) == [], "nothing has changed since"
        if not isinstance(bench.adapter, CloudbedsAdapter):  # whose list is open at its end
            assert await all_of(bench.adapter.changed(now_ms - 3 * DAY_MS, now_ms - 2 * DAY_MS)) == []
    bench.clock.advance(30_000)
    near = await all_of(bench.adapter.colliding(now_ms - DAY_MS, now_ms + DAY_MS))
    assert [each.external_id for each in near] == [soon]
    bench.clock.advance(30_000)
    arriving = await all_of(bench.adapter.arriving(now_ms + 9 * DAY_MS, now_ms + 11 * DAY_MS))
    assert [each.external_id for each in arriving] == [later]


async def test_a_list_longer_than_a_page_comes_whole_and_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mews_adapter, "PAGE_ITEMS", 200)
    made = [bench.add(room=None) for _ in range(450)]
    now_ms = bench.clock.wall_ms()
    got = [each.external_id for each in await all_of(bench.adapter.colliding(now_ms - DAY_MS, now_ms + DAY_MS))]
    assert sorted(got) == sorted(made)


async def test_an_interval_longer_than_the_partner_allows_is_asked_in_parts(bench: Bench) -> None:
    made = bench.add(start_ms=bench.clock.wall_ms() + 200 * DAY_MS)
    now_ms = bench.clock.wall_ms()
    got = await all_of(bench.adapter.arriving(now_ms, now_ms + 300 * DAY_MS))
    assert [each.external_id for each in got] == [made]


@pytest.mark.requirement("PMS-02")
async def test_a_reservation_is_read_with_its_guest_room_and_times(bench: Bench) -> None:
    made = bench.add(room="102", last_name="O'Connor\u202e\x00")
    read, rooms = await bench.read(made), await bench.room_ids()
    assert read.guest_name == "Anna O'Connor"
    assert read.room_external_id == rooms["102"]
    if bench.vendor.by_day:  # 15:00 and 11:00 in Vienna, in winter
        assert (read.arrival_ms, read.departure_ms) == (NOON_MS + 2 * HOUR_MS, NOON_MS + DAY_MS - 2 * HOUR_MS)
    else:
        assert (read.arrival_ms, read.departure_ms) == (NOON_MS - HOUR_MS, NOON_MS + DAY_MS - HOUR_MS)
    assert abs(read.updated_ms - NOON_MS) <= 60_000
    assert read.status is PmsStatus.BOOKED
    assert (await bench.adapter.get(["999"])).reservations == ()


@pytest.mark.requirement("PMS-02")
async def test_guests_are_found_by_name_and_by_id(bench: Bench) -> None:
    bench.add(last_name="Żółć")
    [guest] = await bench.adapter.search_guests("żółć")
    assert guest.name == "Anna Żółć"
    assert await bench.adapter.guest(guest.external_id) == guest
    assert await bench.adapter.guest("999") is None


@pytest.mark.requirement("PMS-11")
async def test_every_state_of_a_reservation_has_a_word_of_ours(bench: Bench) -> None:
    made = bench.add()
    bench.hotel.start(made)
    assert (await bench.read(made)).status is PmsStatus.IN_HOUSE
    bench.hotel.process(made)
    assert (await bench.read(made)).status is PmsStatus.LEFT
    made = bench.add()
    bench.hotel.cancel(made, "NoShow")
    assert (await bench.read(made)).status is PmsStatus.NO_SHOW
    made = bench.add()
    bench.hotel.cancel(made, "Other")
    assert (await bench.read(made)).status is PmsStatus.CANCELLED


@pytest.mark.requirement("PMS-10")
@pytest.mark.requirement("PMS-11")
async def test_a_guest_comes_in_and_leaves_by_our_word(bench: Bench) -> None:
    bench.able(PmsAction.CHECK_IN)
    made = bench.add()
    await bench.adapter.check_in(made)
    assert (bench.hotel.reservation(made).state, (await bench.read(made)).status) == ("Started", PmsStatus.IN_HOUSE)
    bench.clock.advance(30_000)
    await bench.adapter.check_out(made)
    assert (bench.hotel.reservation(made).state, (await bench.read(made)).status) == ("Processed", PmsStatus.LEFT)


@pytest.mark.requirement("PMS-10")
async def test_a_room_is_assigned_and_changed_by_our_word(bench: Bench) -> None:
    bench.able(PmsAction.ASSIGN_ROOM)
    made, rooms = bench.add(room=None), await bench.room_ids()
    assert (await bench.read(made)).room_external_id is None
    await bench.adapter.assign_room(made, rooms["102"])
    assert (await bench.read(made)).room_external_id == rooms["102"]
    bench.hotel.start(made)
    if bench.adapter.system == "ezee":  # gives a first room and no other
        with pytest.raises(PmsCannotError, match="another room"):
            await bench.adapter.assign_room(made, rooms["201"])
        return
    await bench.adapter.assign_room(made, rooms["201"])
    assert (await bench.read(made)).room_external_id == rooms["201"]


@pytest.mark.requirement("PMS-10")
@pytest.mark.parametrize("inside", [False, True], ids=["booked", "in house"])
async def test_a_stay_ends_on_another_day_by_our_word(bench: Bench, *, inside: bool) -> None:
    bench.able(PmsAction.SET_DEPARTURE)
    made = bench.add()
    if inside:
        bench.hotel.start(made)
    before = await bench.read(made)
    for nights in (3, 2):  # longer, and not so long after all
        wanted_ms = before.departure_ms + nights * DAY_MS + HOUR_MS
        bench.clock.advance(30_000)
        await bench.adapter.set_departure(made, wanted_ms)
        after = await bench.read(made)
        exact_ms = before.departure_ms + nights * DAY_MS if bench.vendor.by_day else wanted_ms
        assert after.departure_ms == exact_ms
        assert (after.arrival_ms, after.room_external_id, after.status) == (
            before.arrival_ms,
            before.room_external_id,
            before.status,
        )
    assert bench.adapter.capabilities.by_day is bench.vendor.by_day


@pytest.mark.requirement("PMS-10")
async def test_a_night_that_is_sold_is_refused_and_nothing_is_changed(bench: Bench) -> None:
    bench.able(PmsAction.SET_DEPARTURE)
    made, next_guest = bench.add(), bench.add(start_ms=NOON_MS + 2 * DAY_MS)
    before = await bench.read(made)
    bench.clock.advance(30_000)
    with pytest.raises(PmsRefusedError, match="overbooked"):
        await bench.adapter.set_departure(made, before.departure_ms + 3 * DAY_MS)
    assert (await bench.read(made)).departure_ms == before.departure_ms
    bench.clock.advance(30_000)
    bench.hotel.cancel(next_guest, "Other")
    await bench.adapter.set_departure(made, before.departure_ms + 3 * DAY_MS)
    assert (await bench.read(made)).departure_ms == before.departure_ms + 3 * DAY_MS


@pytest.mark.requirement("PMS-12")
async def test_housekeeping_is_told_by_our_word(bench: Bench) -> None:
    bench.able(PmsAction.SET_ROOM_STATUS)
    await bench.adapter.set_room_status((await bench.room_ids())["102"], Housekeeping.DIRTY)
    bench.clock.advance(30_000)
    conditions = {room.name: room.housekeeping for room in (await bench.adapter.rooms()).rooms}
    assert conditions["102"] is Housekeeping.DIRTY
    await bench.adapter.set_room_status((await bench.room_ids())["102"], Housekeeping.CLEAN)
    bench.clock.advance(30_000)
    conditions = {room.name: room.housekeeping for room in (await bench.adapter.rooms()).rooms}
    assert conditions["102"] is Housekeeping.CLEAN


async def test_what_a_pms_has_no_interface_for_is_said_and_not_tried(bench: Bench) -> None:
    made, rooms = bench.add(), await bench.room_ids()
    asked = sum(bench.emulator.calls.values())
    tries: dict[PmsAction, Callable[[], Coroutine[None, None, None]]] = {
        PmsAction.CHECK_IN: lambda: bench.adapter.check_in(made),
        PmsAction.CHECK_OUT: lambda: bench.adapter.check_out(made),
        PmsAction.ASSIGN_ROOM: lambda: bench.adapter.assign_room(made, rooms["102"]),
        PmsAction.SET_ROOM_STATUS: lambda: bench.adapter.set_room_status(rooms["102"], Housekeeping.DIRTY),
        PmsAction.SET_DEPARTURE: lambda: bench.adapter.set_departure(made, NOON_MS + 2 * DAY_MS),
    }
    for action in frozenset(PmsAction) - bench.adapter.capabilities.writes:
        with pytest.raises(PmsCannotError, match="no interface"):
            await tries[action]()
    if not bench.adapter.capabilities.folio:
        with pytest.raises(PmsCannotError, match="no interface"):
            await bench.adapter.folio(made)
    assert sum(bench.emulator.calls.values()) == asked


async def test_a_folio_adds_up_to_what_the_hotel_posted(bench: Bench) -> None:
    if not bench.adapter.capabilities.folio:
        pytest.skip(f"{bench.adapter.system} shows no folio")
    made = bench.add()
    bench.hotel.charge(made, "Minibar", 1_250)
    bench.hotel.charge(made, "Paid", -250)
    lines = await bench.adapter.folio(made)
    assert (sum(each.minor for each in lines), len(lines)) == (1_000, 2)


async def test_rooms_come_with_their_condition(bench: Bench) -> None:
    bench.hotel.set_room_state("102", "Dirty")
    conditions = {room.name: room.housekeeping for room in (await bench.adapter.rooms()).rooms}
    well = Housekeeping.CLEAN if bench.adapter.system == "ezee" else Housekeeping.INSPECTED
    assert conditions == {"101": well, "102": Housekeeping.DIRTY, "201": well}


async def test_a_rule_of_the_hotel_is_a_refusal_that_says_what_the_pms_said(bench: Bench) -> None:
    bench.able(PmsAction.CHECK_OUT)
    made = bench.add()
    with pytest.raises(PmsRefusedError, match=bench.vendor.refused):
        await bench.adapter.check_out(made)
    bench.clock.advance(30_000)
    with pytest.raises(PmsRefusedError, match="404"):
        await bench.adapter.check_in("999")


async def test_bad_credentials_are_a_refusal(bench: Bench) -> None:
    bench.emulator.renew(Credentials("client", "renewed"))
    with pytest.raises(PmsRefusedError, match="401"):
        await bench.adapter.rooms()


@pytest.mark.requirement("PMS-08")
async def test_a_push_becomes_a_hint_and_nothing_more(bench: Bench) -> None:
    made = bench.add()
    await bench.emulator.settle()
    if bench.adapter.capabilities.pushes:
        [push] = bench.pushes
        assert bench.adapter.hints(push) == [Hint("reservation", made)]
    else:
        assert bench.pushes == []
    queued = [Hint("reservation", made)] if bench.adapter.capabilities.event_queue else []
    assert await bench.adapter.pending() == queued
    if bench.adapter.capabilities.queue_keeps:
        assert await bench.adapter.pending() == queued, "until it was told that they are stored"
    await bench.adapter.received()
    assert await bench.adapter.pending() == []


@given(noise=st.binary(max_size=300) | st.recursive(JSON_LEAF, JSON_GROWN, max_leaves=8).map(msgspec.json.encode))
@pytest.mark.parametrize("name", VENDORS)
@pytest.mark.guarantee("G19")
def test_noise_instead_of_a_push_raises_nothing_but_a_peer_error(name: str, noise: bytes) -> None:
    adapter = VENDORS[name].adapter(NOBODY, ManualClock(), asyncio.sleep)
    try:
        adapter.hints(noise)
    except PeerProtocolError:
        return


@given(
    item=st.dictionaries(
        st.sampled_from(["Id", "State", "ScheduledStartUtc", "ScheduledEndUtc", "UpdatedUtc", "PersonCounts"]),
        st.none() | st.text(max_size=8) | st.integers() | st.lists(st.integers(), max_size=2),
    )
)
@pytest.mark.guarantee("G19")
@pytest.mark.requirement("PMS-16")
def test_an_item_of_any_shape_costs_only_itself(item: dict[str, Any]) -> None:
    said = reading.item(msgspec.json.encode(item), wire.Reservation, "reservation", "Id")
    assert isinstance(said if isinstance(said, ItemError) else wire.reservation(said, {}, now_ms=NOON_MS), ItemError)


@pytest.mark.guarantee("G19")
@pytest.mark.requirement("PMS-16")
async def test_a_field_of_any_shape_costs_its_item_and_no_other(vendor: Vendor) -> None:
    """Each field of one reservation in turn is nonsense: the other reservation is read as before."""
    async with opened(vendor) as bench:
        bad, good = bench.add("101"), bench.add("102")
        fields = list(bench.emulator.shown_json(bench.hotel.reservation(bad)))
        shapes: tuple[object, ...] = (None, [], {"a": 1}, "\0nonsense", 2**70)
        for field, nonsense in itertools.product(fields, shapes):
            bench.emulator.bend = lambda found, row, f=field, n=nonsense: (  # type: ignore[misc]  # mypy infers no lambda with a default
                {**row, f: n} if found.id == bad else row
            )
            bench.clock.advance(60_000)
            pages = bench.adapter.colliding(NOON_MS - DAY_MS, NOON_MS + DAY_MS)
            seen, errors = list[str](), list[ItemError]()
            async for page in pages:
                seen += [each.external_id for each in page.reservations]
                errors += page.errors
            assert good in seen, (field, nonsense)
            assert bad in seen or errors, (field, nonsense)


async def test_the_budget_is_kept_so_that_the_partner_need_not_refuse(bench: Bench) -> None:
    most = bench.vendor.rooms_at_once
    for _ in range(most):
        await bench.adapter.rooms()
    asked = sum(bench.emulator.calls.values())
    with pytest.raises(PmsBusyError) as busy:
        await bench.adapter.rooms()
    assert 0 < busy.value.wait_ms <= 60_000
    assert sum(bench.emulator.calls.values()) <= asked + 1
    bench.clock.advance(busy.value.wait_ms)
    await bench.adapter.rooms()


async def test_429_quiets_the_adapter_for_as_long_as_it_was_told(vendor: Vendor) -> None:
    async with opened(vendor) as bench:
        await bench.adapter.rooms()
        bench.clock.advance(60_000)
        bench.emulator.knobs = msgspec.structs.replace(
            TAME, limit_requests=1, limit_window_ms=4_000, limited=1.0, retry_after_s=4
        )
        with pytest.raises(PmsBusyError) as busy:
            await bench.adapter.rooms()
        assert busy.value.wait_ms == 4_000
        asked = sum(bench.emulator.calls.values())
        bench.clock.advance(3_999)
        bench.emulator.knobs = TAME
        with pytest.raises(PmsBusyError):
            await bench.adapter.rooms()
        assert sum(bench.emulator.calls.values()) == asked, "the second refusal was our own"
        bench.clock.advance(1)
        await bench.adapter.rooms()


Answer = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


async def answered(vendor: Vendor, respond: Answer) -> None:
    """Ask for rooms where `respond` is the PMS."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http:
        clock = ManualClock(wall_ms=NOON_MS)

        async def passing(seconds: float) -> None:
            clock.advance(max(1, round(seconds * 1_000)))

        await vendor.adapter(http, clock, passing).rooms()


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (httpx.ConnectError("refused"), LinkLostError),
        (httpx.ConnectTimeout("too slow"), LinkLostError),
        (httpx.ReadTimeout("too slow"), ReplyTimeoutError),
        (httpx.RemoteProtocolError("cut off"), PmsFaultError),
        (TimeoutError(), ReplyTimeoutError),
    ],
)
async def test_trouble_on_the_line_says_whether_it_may_have_taken_effect(
    vendor: Vendor, trouble: Exception, error: type[Exception]
) -> None:
    async def respond(_request: httpx.Request) -> httpx.Response:
        raise trouble

    with pytest.raises(error):
        await answered(vendor, respond)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (500, b"{}", PmsFaultError),
        (408, b"{}", PmsFaultError),
        (403, b"<html>", PmsRefusedError),
        (200, b"<html>", PeerProtocolError),
        (200, b'{"Resources": 5}', PeerProtocolError),
        (200, b"[" * 20_000, PeerProtocolError),
        (204, b"", PeerProtocolError),
        (429, b"", PmsBusyError),
    ],
)
async def test_every_answer_that_is_none_has_its_error(
    vendor: Vendor, status: int, body: bytes, error: type[Exception]
) -> None:
    async def respond(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=body, headers={"Retry-After": "soon"})

    with pytest.raises(error):
        await answered(vendor, respond)


async def test_a_list_that_never_ends_is_an_error_and_not_a_loop(vendor: Vendor) -> None:
    asked = 0

    async def respond(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        token = b'{"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}'
        return httpx.Response(200, content=token if request.url.path.endswith(("/tokens", "/token")) else vendor.empty)

    if vendor.empty:
        with pytest.raises((PeerProtocolError, PmsBusyError)):
            await answered(vendor, respond)
        assert asked <= 10
