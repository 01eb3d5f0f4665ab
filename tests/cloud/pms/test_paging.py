"""Lists by number or offset that move while they are read: nothing that stood in them all the time is lost."""

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.pms.emulation.face import TAME, Ask, Credentials, Reply
from cloud.pms.emulation.server import build
from cloud.pms.paging import READINGS_MOST, MovingList, Window
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import PeerProtocolError
from tests.cloud.asgi import in_process
from tests.cloud.houses import DAY_MS, NOW_MS, ROOMS
from tests.cloud.pms.vendors import VENDORS
from tests.seeds import seeds

pytestmark = pytest.mark.requirement("PMS-16")


def served(rows: list[str], window: Window, cap: int) -> list[str]:
    return rows[window.start : window.start + min(window.size, cap)]


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(0, 130),
    most=st.integers(8, 50),
    by_number=st.booleans(),
    counts=st.booleans(),
    moves=st.lists(st.tuples(st.booleans(), st.integers(0, 200)), max_size=20),
    rhythm=st.integers(1, 4),
)
def test_whoever_stood_in_the_list_all_the_time_is_read(
    *, count: int, most: int, by_number: bool, counts: bool, moves: list[tuple[bool, int]], rhythm: int
) -> None:
    rows = [f"r{each}" for each in range(count)]
    stood, held, asked, seen = set(rows), MovingList("test", most, by_number=by_number), 0, list[str]()
    while not held.done:
        window = held.window()
        assert window.start == (window.number - 1) * window.size or not by_number
        told = served(rows, window, most)
        new = held.take(window, told, total=len(rows) if counts else None)
        seen += [told[index] for index in new]
        asked += 1
        if asked % rhythm == 0 and moves:
            inserts, where = moves.pop()
            if inserts:
                rows.insert(where % (len(rows) + 1), f"n{asked}")
            elif rows:
                stood.discard(rows.pop(where % len(rows)))
    assert stood <= set(seen)
    assert len(seen) == len(set(seen)), "and told once"


@pytest.mark.parametrize("by_number", [False, True])
def test_a_list_that_does_not_move_costs_one_page_more_and_a_short_one_none(*, by_number: bool) -> None:
    for count, pages in ((0, 1), (50, 1), (51, 3), (120, 4)):
        rows = [str(each) for each in range(count)]
        held, asked = MovingList("test", 50, by_number=by_number), 0
        while not held.done:
            window = held.window()
            held.take(window, served(rows, window, 50), total=count)
            asked += 1
        assert asked == pages, count


@pytest.mark.parametrize("cap", [1, 7, 20, 49])
@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("ignores", [False, True])
def test_pages_are_as_large_as_the_partner_likes(*, cap: int, counts: bool, ignores: bool) -> None:
    rows = [str(each) for each in range(123)]
    held, seen = MovingList("test", 50, by_number=True), set[str]()
    while not held.done:
        window = held.window()
        if ignores:  # whatever size is asked for: pages of `cap` rows
            told = rows[(window.number - 1) * cap : window.number * cap]
        else:
            told = served(rows, Window((window.number - 1) * min(window.size, cap), min(window.size, cap)), cap)
        seen |= {told[index] for index in held.take(window, told, total=123 if counts else None)}
    assert seen == set(rows)


def test_a_count_that_is_never_reached_is_an_end_and_not_a_loop() -> None:
    rows = [str(each) for each in range(80)]
    held, asked = MovingList("test", 50, by_number=False), 0
    while not held.done:
        window = held.window()
        held.take(window, served(rows, window, 50), total=90, told_end=window.start + 50 >= 80)
        asked += 1
        assert asked < 4 * READINGS_MOST
    assert asked == 4


def test_a_list_that_goes_in_circles_is_named() -> None:
    held = MovingList("test", 5, by_number=False)
    told: list[str] = []

    def read() -> None:
        while len(told) < 30:
            told.append("page")
            held.take(held.window(), ["a", "b", "c", "d", "e"], total=None, told_end=False)

    with pytest.raises(PeerProtocolError, match="circles"):
        read()
    assert len(told) < 10


@pytest.mark.parametrize("by_number", [True, False])
@pytest.mark.parametrize("count", [1, 2, 9, 30, 99])
def test_who_knows_no_pages_and_counts_nothing_has_told_the_list(count: int, *, by_number: bool) -> None:
    held, rows = MovingList("test", 100, by_number=by_number), [str(each) for each in range(count)]
    asked, told = 0, []
    while not held.done:
        told += held.take(held.window(), rows, total=None)
        asked += 1
        assert asked < 10
    assert told == list(range(count))


@pytest.mark.parametrize("seed", seeds(3, 40))
@pytest.mark.parametrize("name", ["ohip", "stayntouch"])
async def test_a_hotel_that_books_and_cancels_while_its_list_is_read_loses_nobody(name: str, seed: int) -> None:
    clock, dice = ManualClock(wall_ms=NOW_MS), SeededDice(f"paging/{seed}")

    async def passing(seconds: float) -> None:
        clock.advance(max(1, round(seconds * 1_000)))

    emulator = VENDORS[name].face(
        rooms=list(ROOMS), reservations=0, credentials=Credentials("client", "access"), clock=clock,
        dice=SeededDice(seed), push=None, knobs=TAME,
    )  # fmt: skip

    def book() -> str:
        return emulator.hotel.add(
            room=None, start_ms=NOW_MS, end_ms=NOW_MS + DAY_MS, first_name="Anna", last_name="Berger"
        ).id

    stood = {book() for _ in range(260)}
    honest = emulator.answer

    async def answer(ask: Ask) -> Reply:
        reply = await honest(ask)
        if ask.path.endswith("/reservations"):
            for _ in range(dice.integer(0, 3)):
                book()
            for _ in range(dice.integer(0, 3)):
                gone = dice.choice(sorted(emulator.hotel.reservations))
                stood.discard(gone)
                del emulator.hotel.reservations[gone]
        return reply

    emulator.answer = answer  # type: ignore[method-assign]  # the hotel's own life between two pages
    async with httpx.AsyncClient(transport=in_process(build(emulator))) as http:
        adapter = VENDORS[name].adapter(http, clock, passing)
        pages = adapter.colliding(NOW_MS - DAY_MS, NOW_MS + DAY_MS)
        read = [each.external_id async for page in pages for each in page.reservations]
    assert stood <= set(read)
    assert len(read) == len(set(read))
    assert emulator.calls["reservations"] <= 40
