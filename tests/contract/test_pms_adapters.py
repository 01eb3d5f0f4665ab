"""One suite for every PMS adapter, each against the emulator that speaks its wire."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.pms.emulation.face import TAME, Credentials, Knobs
from cloud.pms.emulation.hotel import Hotel
from cloud.pms.emulation.server import build
from cloud.pms.mews import emulator as mews
from cloud.pms.mews.adapter import MewsAdapter
from cloud.pms.port import (
    Hint,
    Page,
    PmsAdapter,
    PmsBusyError,
    PmsFaultError,
    PmsRefusedError,
    PmsReservation,
)
from cloud.stays.reservation import Housekeeping, PmsStatus
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError
from tests.cloud.asgi import in_process

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ROOMS = ("101", "102", "201")


@dataclass
class Bench:
    """An adapter, the hotel behind its emulator, and the pushes it sent."""

    adapter: PmsAdapter
    emulator: mews.Emulator
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


@asynccontextmanager
async def mews_bench(knobs: Knobs = TAME) -> AsyncIterator[Bench]:
    clock, pushes = ManualClock(), list[bytes]()

    async def push(body: bytes) -> bool:
        pushes.append(body)
        return True

    emulated = mews.Emulator(
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
        adapter = MewsAdapter(
            http, platform="http://mews.invalid/", client_token="client", access_token="access", clock=clock
        )
        yield Bench(adapter, emulated, clock, pushes)
    await emulated.close()


BENCHES = {"mews": mews_bench}


@pytest.fixture(params=BENCHES)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with BENCHES[request.param]() as made:
        yield made


async def all_of(pages: AsyncIterator[Page]) -> list[PmsReservation]:
    return [each async for page in pages for each in page.reservations]


@pytest.mark.requirement("PMS-02")
@pytest.mark.requirement("PMS-15")
async def test_lists_answer_by_time_of_change_by_presence_and_by_arrival(bench: Bench) -> None:
    soon, later = bench.add(), bench.add(start_ms=bench.clock.wall_ms() + 10 * DAY_MS)
    now_ms = bench.clock.wall_ms()
    assert {each.external_id for each in await all_of(bench.adapter.changed(now_ms - 1, now_ms + 1))} == {soon, later}
    assert await all_of(bench.adapter.changed(now_ms - DAY_MS, now_ms - HOUR_MS)) == []
    near = await all_of(bench.adapter.colliding(now_ms - DAY_MS, now_ms + DAY_MS))
    assert [each.external_id for each in near] == [soon]
    arriving = await all_of(bench.adapter.arriving(now_ms + 9 * DAY_MS, now_ms + 11 * DAY_MS))
    assert [each.external_id for each in arriving] == [later]


async def test_a_list_longer_than_a_page_comes_whole_and_once(bench: Bench) -> None:
    made = [bench.add(room=None) for _ in range(450)]
    now_ms = bench.clock.wall_ms()
    got = [each.external_id for each in await all_of(bench.adapter.changed(now_ms - 1, now_ms + 1))]
    assert sorted(got) == sorted(made)


async def test_an_interval_longer_than_the_partner_allows_is_asked_in_parts(bench: Bench) -> None:
    made = bench.add(start_ms=bench.clock.wall_ms() + 200 * DAY_MS)
    now_ms = bench.clock.wall_ms()
    got = await all_of(bench.adapter.arriving(now_ms, now_ms + 300 * DAY_MS))
    assert [each.external_id for each in got] == [made]


@pytest.mark.requirement("PMS-02")
async def test_a_reservation_is_read_with_its_guest_room_and_times(bench: Bench) -> None:
    made = bench.add(room="102", last_name="O'Connor\u202e\x00")
    [read] = (await bench.adapter.get([made])).reservations
    rooms = {room.name: room.external_id for room in (await bench.adapter.rooms()).rooms}
    assert read.guest_name == "Anna O'Connor"
    assert read.room_external_id == rooms["102"]
    assert read.departure_ms - read.arrival_ms == DAY_MS
    assert read.status is PmsStatus.BOOKED
    assert (await bench.adapter.get(["no-such-reservation"])).reservations == ()


@pytest.mark.requirement("PMS-02")
async def test_guests_are_found_by_name_and_by_id(bench: Bench) -> None:
    bench.add(last_name="Żółć")
    [guest] = await bench.adapter.search_guests("żółć")
    assert guest.name == "Anna Żółć"
    assert await bench.adapter.guest(guest.external_id) == guest
    assert await bench.adapter.guest("nobody") is None


@pytest.mark.requirement("PMS-11")
async def test_every_state_of_a_reservation_has_a_word_of_ours(bench: Bench) -> None:
    async def status() -> PmsStatus:
        [read] = (await bench.adapter.get([made])).reservations
        return read.status

    made = bench.add()
    await bench.adapter.check_in(made)
    assert await status() is PmsStatus.IN_HOUSE
    await bench.adapter.check_out(made)
    assert await status() is PmsStatus.LEFT
    made = bench.add()
    bench.hotel.cancel(made, "NoShow")
    assert await status() is PmsStatus.NO_SHOW
    made = bench.add()
    bench.hotel.cancel(made, "Other")
    assert await status() is PmsStatus.CANCELLED


async def test_rooms_come_with_their_condition(bench: Bench) -> None:
    bench.hotel.set_room_state("102", "Dirty")
    conditions = {room.name: room.housekeeping for room in (await bench.adapter.rooms()).rooms}
    assert conditions == {
        "101": Housekeeping.INSPECTED,
        "102": Housekeeping.DIRTY,
        "201": Housekeeping.INSPECTED,
    }


async def test_a_rule_of_the_hotel_is_a_refusal_that_says_what_the_pms_said(bench: Bench) -> None:
    made = bench.add()
    with pytest.raises(PmsRefusedError, match=r"403: .*not Started"):
        await bench.adapter.check_out(made)
    with pytest.raises(PmsRefusedError, match="404"):
        await bench.adapter.check_in("no-such-reservation")


async def test_bad_credentials_are_a_refusal(bench: Bench) -> None:
    bench.emulator.renew(Credentials("client", "renewed"))
    with pytest.raises(PmsRefusedError, match="401"):
        await bench.adapter.rooms()


@pytest.mark.requirement("PMS-08")
async def test_a_push_becomes_a_hint_and_nothing_more(bench: Bench) -> None:
    made = bench.add()
    await bench.emulator.settle()
    [push] = bench.pushes
    assert bench.adapter.hints(push) == [Hint("reservation", made)]


@given(noise=st.binary(max_size=300))
@pytest.mark.guarantee("G19")
def test_noise_instead_of_a_push_raises_nothing_but_a_peer_error(noise: bytes) -> None:
    adapter = MewsAdapter(
        httpx.AsyncClient(), platform="http://mews.invalid", client_token="c", access_token="a", clock=ManualClock()
    )
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
    from cloud.pms import reading
    from cloud.pms.mews import wire
    from cloud.pms.port import ItemError

    said = reading.item(msgspec.json.encode(item), wire.Reservation, "reservation", "Id")
    assert isinstance(said if isinstance(said, ItemError) else wire.reservation(said, {}), ItemError)


async def test_the_budget_is_kept_so_that_the_partner_need_not_refuse(bench: Bench) -> None:
    for _ in range(150):
        await bench.adapter.rooms()
    with pytest.raises(PmsBusyError) as busy:
        await bench.adapter.rooms()
    assert sum(bench.emulator.calls.values()) == 150
    assert 0 < busy.value.wait_ms <= 30_000
    bench.clock.advance(busy.value.wait_ms)
    await bench.adapter.rooms()


async def test_429_quiets_the_adapter_for_as_long_as_it_was_told() -> None:
    knobs = msgspec.structs.replace(TAME, limit_requests=1, limit_window_ms=4_000)
    async with mews_bench(knobs) as bench:
        await bench.adapter.rooms()
        with pytest.raises(PmsBusyError) as busy:
            await bench.adapter.rooms()
        assert busy.value.wait_ms == 4_000
        asked = sum(bench.emulator.calls.values())
        bench.clock.advance(3_999)
        with pytest.raises(PmsBusyError):
            await bench.adapter.rooms()
        assert sum(bench.emulator.calls.values()) == asked, "the second refusal was our own"
        bench.clock.advance(1)
        await bench.adapter.rooms()


Answer = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


async def answered(respond: Answer) -> None:
    """Ask for rooms where `respond` is the PMS."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http:
        adapter = MewsAdapter(
            http, platform="http://mews.invalid", client_token="c", access_token="a", clock=ManualClock()
        )
        await adapter.rooms()


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
    trouble: Exception, error: type[Exception]
) -> None:
    async def respond(_request: httpx.Request) -> httpx.Response:
        raise trouble

    with pytest.raises(error):
        await answered(respond)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (500, b"{}", PmsFaultError),
        (408, b"{}", PmsFaultError),
        (403, b"<html>", PmsRefusedError),
        (200, b"<html>", PeerProtocolError),
        (200, b'{"Resources": 5}', PeerProtocolError),
        (429, b"", PmsBusyError),
    ],
)
async def test_every_answer_that_is_none_has_its_error(status: int, body: bytes, error: type[Exception]) -> None:
    async def respond(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=body, headers={"Retry-After": "soon"})

    with pytest.raises(error):
        await answered(respond)


async def test_a_cursor_that_never_ends_is_an_error_and_not_a_loop() -> None:
    async def respond(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b'{"Resources": [], "Cursor": "again"}')

    with pytest.raises((PeerProtocolError, PmsBusyError)):
        await answered(respond)
