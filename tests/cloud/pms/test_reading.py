"""Single values of a partner's answer: the wall clock of the night it goes back, money, ids, tokens taken back."""

from datetime import UTC, datetime

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.pms.emulation.face import TAME, Credentials
from cloud.pms.emulation.server import build
from cloud.pms.ohip.emulator import Emulator as Ohip
from cloud.pms.reading import DAY_USE_MS, ExternalId, UnreadableError, decode, minor_units
from cloud.pms.stayntouch.emulator import Emulator as StayNTouch
from kit.clock import ManualClock
from kit.dice import SeededDice
from tests.cloud.asgi import in_process
from tests.cloud.pms.vendors import VENDORS, VIENNA

HOUR_MS = 3_600_000
BACK_MS = round(datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp() * 1000)
"""When the clocks of Vienna go from 3:00 back to 2:00."""
LATER_MS = BACK_MS + 10 * HOUR_MS


def test_an_hour_that_comes_twice_is_the_later_one_that_is_not_yet_to_come() -> None:
    half_past_two = "2026-10-25 02:30:00"
    assert VIENNA.read("t", half_past_two, now_ms=BACK_MS - HOUR_MS // 4) == BACK_MS - HOUR_MS // 2
    assert VIENNA.read("t", half_past_two, now_ms=BACK_MS + HOUR_MS) == BACK_MS + HOUR_MS // 2
    assert VIENNA.read("t", "2026-10-25T01:30:00", now_ms=LATER_MS) == BACK_MS - 3 * HOUR_MS // 2


@given(
    since=st.integers(BACK_MS - 4 * HOUR_MS, BACK_MS + 4 * HOUR_MS),
    length=st.integers(0, 6 * HOUR_MS),
    share=st.floats(0, 1),
)
def test_no_moment_of_an_interval_is_lost_where_the_clock_goes_back(since: int, length: int, share: float) -> None:
    at_ms = since + round(length * share)
    first, last = VIENNA.span(since, since + length)
    assert first <= VIENNA.text(at_ms) <= last


@pytest.mark.parametrize("text", ["", "yesterday", "0001-01-01", "9999-12-31 23:59:59", "2026-13-01"])
def test_times_that_cannot_be_are_named(text: str) -> None:
    with pytest.raises(UnreadableError, match="t "):
        VIENNA.read("t", text, now_ms=LATER_MS)
    with pytest.raises(UnreadableError, match="t "):
        VIENNA.arrival_ms("t", text)


@pytest.mark.parametrize(("told", "minor"), [("12.50", 1_250), (12.5, 1_250), (-3, -300), ("0", 0)])
def test_money_is_whole_hundredths(told: object, minor: int) -> None:
    assert minor_units("amount", told) == minor


@pytest.mark.parametrize("told", ["12.505", "NaN", "1e99", "", None, [], True, "Infinity"])
def test_what_is_no_money_is_named(told: object) -> None:
    with pytest.raises(UnreadableError, match="amount"):
        minor_units("amount", told)


@pytest.mark.parametrize(("raw", "read"), [(b"17", "17"), (b'"A-17"', "A-17"), (b"0", "0")])
def test_an_id_is_text_however_it_is_written(raw: bytes, read: str) -> None:
    assert decode(raw, ExternalId) == read
    assert type(decode(raw, ExternalId)) is str


@pytest.mark.parametrize("raw", [b"-1", b"1.5", b"true", b"null", b'""', b'"a b"', b'"a\\u0000"', b"[]", b"1e30"])
def test_what_is_no_id_is_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(raw, ExternalId)


@pytest.mark.parametrize(("name", "face"), [("ohip", Ohip), ("stayntouch", StayNTouch)])
async def test_a_token_that_was_taken_back_is_asked_for_anew_and_one_that_ended_too(
    name: str, face: type[Ohip | StayNTouch]
) -> None:
    clock = ManualClock(wall_ms=LATER_MS)
    emulated = face(
        rooms=["101"],
        reservations=0,
        credentials=Credentials("client", "access"),
        clock=clock,
        dice=SeededDice(1),
        push=None,
        knobs=TAME,
    )

    async def passing(seconds: float) -> None:
        clock.advance(max(1, round(seconds * 1_000)))

    async with httpx.AsyncClient(transport=in_process(build(emulated))) as http:
        adapter = VENDORS[name].adapter(http, clock, passing)
        for _ in range(3):
            await adapter.rooms()
            clock.advance(1_000)
        tokens = emulated.calls["tokens" if name == "ohip" else "token"]
        assert tokens == 1
        emulated.revoke()
        assert len((await adapter.rooms()).rooms) == 1
        clock.advance(3 * HOUR_MS)
        assert len((await adapter.rooms()).rooms) == 1
        assert sum(count for call, count in emulated.calls.items() if call.startswith("token")) == 3


def test_a_stay_of_a_single_day_is_a_days_use_and_one_that_ends_before_it_starts_is_none() -> None:
    time, names = VIENNA, ("from", "until")
    arrival_ms, departure_ms = time.stay_ms(names, "2026-11-18", "2026-11-20")
    assert (arrival_ms, departure_ms) == (time.arrival_ms("", "2026-11-18"), time.departure_ms("", "2026-11-20"))
    arrival_ms, departure_ms = time.stay_ms(names, "2026-11-18", "2026-11-18", eta="14:30")
    assert departure_ms - arrival_ms == DAY_USE_MS
    with pytest.raises(UnreadableError, match="ends 2026-11-17 before it starts 2026-11-18"):
        time.stay_ms(names, "2026-11-18", "2026-11-17")
