"""One suite for every foreign lock system, each against the emulator that speaks its wire on a loopback socket."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.doors.vendors.port import (
    LockSystem,
    Truth,
    VendorRefusedError,
)
from firmware_bridges.lock_systems.misbehaviour import ROUGH, TAME, Handler, Trouble
from protocols.errors import LinkLostError, PlatformError, ReplyTimeoutError
from tests.contract.lock_benches import BENCHES, DAY_MS, DOORS, HOUR_MS, SECRET, Bench
from tests.seeds import seeds

pytestmark = [pytest.mark.requirement("P20"), pytest.mark.requirement("ACC-01")]
A, B, C = DOORS
TROUBLES = [each for each in Trouble if each is not Trouble.NONE and each is not Trouble.SLOW]
MINUTE_MS = 60_000
ROUNDING_MS = MINUTE_MS
"""A vendor may count in minutes."""


@pytest.fixture(params=BENCHES)
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def bench(vendor: str) -> AsyncIterator[Bench]:
    async with BENCHES[vendor](TAME, 1) as made:
        yield made


def is_as(bench: Bench, grant: str, doors: tuple[str, ...], from_ms: int, until_ms: int) -> bool:
    [(has, begins, ends)] = bench.eyes.live(grant)
    return has == doors and abs(begins - from_ms) < ROUNDING_MS and abs(ends - until_ms) < ROUNDING_MS


@pytest.mark.requirement("ACC-03")
async def test_a_key_is_made_once_however_often_it_is_asked_for(bench: Bench) -> None:
    wanted = bench.wanted("grant-0001", (A, B))
    made = await bench.system.issue(wanted)
    again = await bench.system.issue(wanted)
    assert (made.found, again.found) == (False, True)
    assert made.key == again.key
    assert {made.truth, again.truth} <= {bench.system.abilities.issue, Truth.CONFIRMED}
    assert is_as(bench, "grant-0001", (A, B), wanted.not_before_ms, wanted.not_after_ms)
    assert bench.eyes.works(A, made)
    assert bench.eyes.works(B, made)
    assert not bench.eyes.works(C, made)


@pytest.mark.requirement("P11")
async def test_a_key_is_not_yet_and_no_longer_good_outside_its_time(bench: Bench) -> None:
    made = await bench.system.issue(bench.wanted("grant-0001", from_ms=HOUR_MS, until_ms=3 * HOUR_MS))
    assert not bench.eyes.works(A, made)
    bench.clock.advance(2 * HOUR_MS)
    assert bench.eyes.works(A, made)
    bench.clock.advance(2 * HOUR_MS)
    assert not bench.eyes.works(A, made)


@pytest.mark.requirement("P11")
async def test_a_longer_stay_and_another_room_change_the_one_key(bench: Bench) -> None:
    await bench.system.issue(bench.wanted("grant-0001", (A,), until_ms=2 * HOUR_MS))
    longer = bench.wanted("grant-0001", (A,), until_ms=2 * DAY_MS)
    made = await bench.system.issue(longer)
    assert made.found or not bench.system.abilities.changes
    assert is_as(bench, "grant-0001", (A,), longer.not_before_ms, longer.not_after_ms)
    bench.clock.advance(DAY_MS)
    assert bench.eyes.works(A, made)
    moved = await bench.system.issue(bench.wanted("grant-0001", (B,)))
    assert len(bench.eyes.live("grant-0001")) == 1
    assert bench.eyes.works(B, moved)
    assert not bench.eyes.works(A, moved)


@pytest.mark.requirement("ACC-19")
async def test_a_revoked_key_is_gone_and_revoking_again_changes_nothing(bench: Bench) -> None:
    made = await bench.system.issue(bench.wanted("grant-0001"))
    other = await bench.system.issue(bench.wanted("grant-0002", (B,)))
    first, second = await bench.system.revoke("grant-0001"), await bench.system.revoke("grant-0001")
    assert (first.found, second.found) == (True, False)
    assert first.truth is bench.system.abilities.revoke
    assert bench.eyes.live("grant-0001") == []
    assert not bench.eyes.works(A, made) or first.truth is Truth.AT_NEXT_PRESENTATION
    assert bench.eyes.works(B, other)


@pytest.mark.requirement("A7")
async def test_a_joiner_leaves_the_first_key_alone_and_is_revoked_alone(bench: Bench) -> None:
    first = await bench.system.issue(bench.wanted("grant-0001"))
    joiner = await bench.system.issue(bench.wanted("grant-0002", join=True))
    assert bench.eyes.works(A, first)
    assert bench.eyes.works(A, joiner)
    await bench.system.revoke("grant-0002")
    assert bench.eyes.live("grant-0002") == []
    assert bench.eyes.works(A, first)


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_whatever_one_request_suffers_there_is_one_key_in_the_end(
    bench: Bench, trouble: Trouble, at: int
) -> None:
    bench.eyes.misbehaving.script = [Trouble.NONE] * at + [trouble]
    wanted = bench.wanted("grant-0001", (A, B))
    await bench.insist(wanted)
    bench.eyes.misbehaving.script = []
    await bench.eyes.misbehaving.settle()
    made = await bench.system.issue(wanted)  # what came late is put right at the next look
    assert is_as(bench, "grant-0001", (A, B), wanted.not_before_ms, wanted.not_after_ms)
    assert bench.eyes.works(A, made)
    bench.eyes.misbehaving.script = [Trouble.NONE] * at + [trouble]
    with suppress(PlatformError):
        await bench.system.revoke("grant-0001")
    bench.eyes.misbehaving.script = []
    await bench.eyes.misbehaving.settle()
    await bench.system.revoke("grant-0001")
    assert bench.eyes.live("grant-0001") == []


@pytest.mark.parametrize("seed", seeds(3, 40))
async def test_a_bad_day_issues_nothing_twice_and_says_nothing_untrue(vendor: str, seed: int) -> None:
    async with BENCHES[vendor](ROUGH, seed) as bench:
        last: dict[str, Any] = {}
        for step in range(8):
            grant = f"grant-000{step % 2}"
            doors = (DOORS[step % 3],) if step < 6 else (A, C)
            wanted = bench.wanted(grant, doors, until_ms=(step + 2) * HOUR_MS, join=True)
            try:
                made = await bench.insist(wanted, attempts=6)
            except PlatformError:
                last.pop(grant, None)
                continue
            last[grant] = (wanted, made)
        await bench.eyes.misbehaving.settle()
        bench.eyes.misbehaving.knobs = TAME
        for grant, (wanted, _) in last.items():
            made = await bench.system.issue(wanted)
            assert is_as(bench, grant, wanted.doors, wanted.not_before_ms, wanted.not_after_ms)
            assert bench.eyes.works(wanted.doors[0], made)
        for grant in ("grant-0000", "grant-0001"):
            await bench.system.revoke(grant)
            assert bench.eyes.live(grant) == []


@pytest.mark.guarantee("G13")
@pytest.mark.requirement("ACC-22")
async def test_a_door_opened_from_afar_opens_once_and_is_never_asked_twice(bench: Bench) -> None:
    if bench.system.abilities.opens is None:
        with pytest.raises(VendorRefusedError) as refused:
            await bench.system.open_door(A, actor="desk")
        assert refused.value.code == "no-remote-opening"
        return
    await bench.system.health()  # signs in, where there is signing in
    opened = await bench.system.open_door(A, actor="desk")
    assert opened.truth is bench.system.abilities.opens
    assert bench.eyes.opened(A) == 1
    bench.clock.advance(MINUTE_MS)
    bench.eyes.misbehaving.script = [Trouble.LOST_ANSWER]
    with pytest.raises(PlatformError) as lost:
        await bench.system.open_door(A, actor="desk")
    assert lost.value.may_have_taken_effect
    assert bench.eyes.opened(A) == 2
    bench.clock.advance(MINUTE_MS)
    bench.eyes.misbehaving.script = [Trouble.LOST_REQUEST]
    with pytest.raises(PlatformError):
        await bench.system.open_door(A, actor="desk")
    assert bench.eyes.opened(A) == 2


@pytest.mark.guarantee("G2")
@pytest.mark.requirement("ACC-12")
@pytest.mark.requirement("ACC-23")
async def test_events_come_with_the_same_name_each_time_and_none_is_lost(vendor: str) -> None:
    knobs = msgspec.structs.replace(TAME, event_twice=0.5, event_order=0.5, clock_skew_ms=-90_000)
    async with BENCHES[vendor](knobs, 3) as bench:
        if not bench.system.abilities.events:
            return
        made = await bench.system.issue(bench.wanted("grant-0001", until_ms=DAY_MS))
        seen: dict[str, Any] = {}
        cursor = ""
        for round_ in range(6):
            for _ in range(round_):
                bench.clock.advance(1_000)
                assert bench.eyes.works(A, made)
            while True:
                page = await bench.system.events(cursor)
                for event in page.events:
                    assert seen.setdefault(event.event, event) == event, "the same name, the same event"
                cursor = page.cursor
                if not page.more:
                    break
        opened = [each for each in seen.values() if each.kind == "opened"]
        assert len(opened) == 15
        assert {each.door for each in opened} == {A}
        assert {each.grant for each in opened} <= {"grant-0001", None}


async def test_nobody_there_is_a_lost_link_and_nothing_happened(vendor: str) -> None:
    async with BENCHES[vendor](TAME, 1) as bench:
        system = bench.system
        wanted = bench.wanted("grant-0001")
    for ask in (lambda: system.issue(wanted), lambda: system.revoke("grant-0001"), system.health):
        with pytest.raises(LinkLostError) as lost:
            await ask()
        assert lost.value.retryable
        assert not lost.value.may_have_taken_effect
    await system.close()


async def _well(system: LockSystem) -> bool:
    with suppress(PlatformError):
        await system.health()
        return True
    return False


async def test_an_answer_that_does_not_come_may_have_happened_and_is_found_later(vendor: str) -> None:
    async with BENCHES[vendor](TAME, 1, answer_wait_s=0.5) as bench:
        wanted = bench.wanted("grant-0001")
        async with asyncio.timeout(30):  # connected and signed in, however busy the machine is
            while not await _well(bench.system):
                pass
        bench.eyes.misbehaving.knobs = msgspec.structs.replace(TAME, slow=1.0, slow_ms=1_000)
        with pytest.raises(ReplyTimeoutError) as late:
            await bench.system.issue(wanted)
        assert late.value.may_have_taken_effect
        bench.eyes.misbehaving.knobs = TAME
        await bench.insist(wanted)
        assert is_as(bench, "grant-0001", (A,), wanted.not_before_ms, wanted.not_after_ms)


@pytest.mark.guarantee("G7")
async def test_no_secret_is_in_a_log_an_error_or_a_representation(
    vendor: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    async with BENCHES[vendor](ROUGH, 5) as bench:
        for number in range(12):
            wanted = bench.wanted(f"grant-00{number:02}", join=True)
            said.append(repr(wanted))
            try:
                said.append(repr(await bench.system.issue(wanted)))
            except PlatformError as error:
                said += [str(error), repr(error), repr(error.__cause__)]
            if wanted.pin is not None:
                assert not any(wanted.pin in each for each in said)
    whole = "\n".join([*said, caplog.text])
    assert SECRET not in whole


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
WORDS = st.sampled_from(
    ["code", "SUCCESS", "data", "id", "items", "cards", "doors", "hits", "pagination", "total", "accessKey",
     "access_token", "expires_in", "last_name", "status", "pins", "loaded", "keys", "cardHolder", "name", "grant-0001"]
)  # fmt: skip
LIKELY = st.recursive(
    WORDS | JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=14,
)
ANSWERS = st.tuples(
    st.sampled_from([200, 200, 200, 201, 204, 301, 400, 401, 404, 409, 418]),
    st.binary(max_size=40) | LIKELY,
)


@pytest.mark.guarantee("G19")
def test_nonsense_raises_nothing_but_a_peer_error(vendor: str) -> None:
    """Every method, against a server that says anything at all."""
    said: list[tuple[int, bytes]] = []

    async def anything(_request: web.Request) -> web.Response:
        status, body = said[0]
        return web.Response(status=status, body=body, content_type="application/json")

    with asyncio.Runner() as runner, _answered_by(vendor, anything, runner) as bench:

        @settings(max_examples=60, deadline=None, database=None)
        @given(answer=ANSWERS)
        def talk(answer: tuple[int, Any]) -> None:
            status, body = answer
            said[:] = [(status, body if isinstance(body, bytes) else msgspec.json.encode(body))]
            runner.run(_all_calls(bench))

        talk()


ODD: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=6)
    | st.sampled_from(["", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "../../x", "a\nb", [], {}, [[]], 2**63])
)  # fmt: skip


def places(node: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value of a document."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(each for key, value in inner for each in places(value, (*path, key)))]


def put(node: Any, path: tuple[Any, ...], value: object) -> object:
    """Return the document with another value there."""
    if not path:
        return value
    copy = node.copy()
    copy[path[0]] = put(node[path[0]], path[1:], value)
    return copy


@pytest.mark.guarantee("G19")
def test_a_good_answer_with_one_odd_value_in_it_raises_nothing_but_a_peer_error(vendor: str) -> None:
    """Deeper than nonsense gets: everything is as it should be but for one value, anywhere."""
    with asyncio.Runner() as runner, _served(vendor, runner) as bench:
        wanted = bench.wanted("grant-0001", (A, B))
        runner.run(_with_history(bench))

        @settings(max_examples=80, deadline=None, database=None)
        @given(at=st.integers(0, 10**6), odd=ODD, spared=st.integers(0, 3))
        def talk(at: int, odd: object, spared: int) -> None:
            left = [spared]

            def mangled(body: bytes) -> bytes:
                left[0] -= 1
                if left[0] >= 0:
                    return body
                document = msgspec.json.decode(body)
                ways = places(document)
                return msgspec.json.encode(put(document, ways[at % len(ways)], odd))

            bench.eyes.misbehaving.mangles = mangled
            runner.run(_all_calls(bench))
            bench.eyes.misbehaving.mangles = None
            runner.run(bench.system.issue(wanted))  # and the next good day is one

        talk()


async def _with_history(bench: Bench) -> None:
    made = await bench.system.issue(bench.wanted("grant-0001", (A, B)))
    for door in (A, B, C):
        bench.eyes.works(door, made)


async def _all_calls(bench: Bench) -> None:
    wanted = bench.wanted("grant-0001")
    calls: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: bench.system.issue(wanted),
        lambda: bench.system.revoke("grant-0001"),
        lambda: bench.system.open_door(A, actor="desk"),
        lambda: bench.system.events(""),
        bench.system.health,
    )
    for call in calls:
        try:
            await call()
        except PlatformError:
            continue


@contextmanager
def _served(vendor: str, runner: asyncio.Runner) -> Iterator[Bench]:
    """Give the vendor's bench inside a runner."""
    stack = BENCHES[vendor](TAME, 1)
    bench = runner.run(stack.__aenter__())
    try:
        yield bench
    finally:
        runner.run(stack.__aexit__(None, None, None))


@contextmanager
def _answered_by(vendor: str, handler: Handler, runner: asyncio.Runner) -> Iterator[Bench]:
    """Give the vendor's adapter where `handler` answers everything."""
    stack = BENCHES[vendor](TAME, 1)
    bench = runner.run(stack.__aenter__())
    try:
        bench.eyes.misbehaving.answers_with = handler
        yield bench
    finally:
        bench.eyes.misbehaving.answers_with = None
        runner.run(stack.__aexit__(None, None, None))
