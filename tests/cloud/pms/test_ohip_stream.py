"""OPERA Cloud's event stream: the subscription as bytes and time, and a consumer against a stream that misbehaves."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.kit.database import Database
from cloud.pms import hints
from cloud.pms.emulation.channel import GoneError
from cloud.pms.emulation.face import TAME, Ask, Credentials, Knobs
from cloud.pms.emulation.server import build
from cloud.pms.ohip import emulator as ohip
from cloud.pms.ohip.adapter import bearer, exchange
from cloud.pms.ohip.consumer import NEVER_HEARD, REPLAYED, ClosedError, EventConsumer, Line, Stored
from cloud.pms.ohip.sink import ChainSink
from cloud.pms.ohip.stream import (
    PATIENCE,
    RESUME_BACK,
    Event,
    Memory,
    OffsetRefusedError,
    Patience,
    Stage,
    Subscription,
    address,
)
from cloud.pms.port import Hint, PmsRefusedError
from kit.clock import ManualClock, SystemClock
from kit.dice import SeededDice
from kit.http import serving
from kit.logs import logger
from protocols.errors import InvalidInputError, LinkLostError, PeerProtocolError, ReplyTimeoutError
from tests.cloud.asgi import in_process
from tests.cloud.houses import AURORA, DAY_MS, NOW_MS, ROOMS
from tests.cloud.pms.test_vendors import World, world
from tests.seeds import seeds

pytestmark = pytest.mark.requirement("PMS-08")
PATIENCE_S = 20.0
FINE = Hint("reservation", "42")


def subscription(offset: str | None = None) -> tuple[Subscription, Memory]:
    memory = Memory(offset)
    return Subscription(token="t", chain="NORTHLIGHT", memory=memory, now_ms=0), memory


def subscribed(offset: str | None = None) -> tuple[Subscription, Memory]:
    held, memory = subscription(offset)
    held.receive('{"type":"connection_ack"}', now_ms=0)
    held.data_to_send()
    return held, memory


def event(offset: object, unique: object = None, **more: object) -> str:
    metadata = {"offset": offset, "uniqueEventId": f"u{offset}" if unique is None else unique}
    told = {"metadata": metadata, "moduleName": "RESERVATION", "primaryKey": "42", "hotelId": "AURORA", **more}
    return json.dumps({"id": "1", "type": "next", "payload": {"data": {"newEvent": told}}})


@pytest.mark.parametrize("offset", [None, "194", 'a"b\\c'])
def test_a_subscription_is_opened_as_the_sub_protocol_says(offset: str | None) -> None:
    held, _ = subscription(offset)
    assert [json.loads(each) for each in held.data_to_send()] == [
        {"type": "connection_init", "payload": {"Authorization": "Bearer t"}}
    ]
    assert held.receive('{"type":"connection_ack","payload":{"more":1}}', now_ms=5) is None
    [sent] = [json.loads(each) for each in held.data_to_send()]
    assert (sent["type"], sent["id"]) == ("subscribe", "1")
    given_ = "" if offset is None else f", offset: {json.dumps(offset)}"
    assert f'newEvent(input: {{ chainCode: "NORTHLIGHT"{given_} }})' in sent["payload"]["query"]
    assert held.stage is Stage.SUBSCRIBED


def test_the_address_holds_the_keys_hash_and_never_the_key() -> None:
    key = hashlib.sha256(b"secret").hexdigest()
    assert address("https://a.invalid/", "secret") == f"wss://a.invalid/subscriptions?key={key}"
    assert address("ws://a.invalid:1/x/subscriptions", "secret") == f"ws://a.invalid:1/x/subscriptions?key={key}"
    for wrong in ("a.invalid", "ftp://a.invalid", "https://"):
        with pytest.raises(InvalidInputError, match="platform"):
            address(wrong, "secret")


def test_an_event_is_a_hint_and_one_that_came_before_is_none() -> None:
    held, memory = subscribed()
    assert held.receive(event(7), now_ms=1) == Event("AURORA", FINE)
    assert held.receive(event(7), now_ms=2) is None
    assert held.receive(event(9, "u7"), now_ms=2) is None, "the same event under another offset"
    assert held.receive(event(8, moduleName="Cashiering"), now_ms=3) == Event("AURORA", None)
    told = held.receive(event(10, primaryKey=None), now_ms=4)
    assert told is not None
    assert told.hint is None
    assert "primaryKey" in (told.problem or "")
    assert (memory.offset, held.doubled) == ("7", 2)


def test_pings_are_sent_and_answered_and_a_line_on_which_nobody_answers_is_dropped() -> None:
    held, _ = subscribed()
    held.receive('{"type":"ping","payload":{"a":1}}', now_ms=1)
    assert [json.loads(each) for each in held.data_to_send()] == [{"type": "pong", "payload": {"a": 1}}]
    assert held.deadline_ms == PATIENCE.ping_every_ms
    held.on_time(now_ms=held.deadline_ms)
    assert held.data_to_send() == ['{"type": "ping"}']
    held.receive('{"type":"pong"}', now_ms=PATIENCE.ping_every_ms + 1)
    held.on_time(now_ms=2 * PATIENCE.ping_every_ms)
    asked_ms = 2 * PATIENCE.ping_every_ms
    held.on_time(now_ms=asked_ms + PATIENCE.pong_ms - 1)
    with pytest.raises(LinkLostError, match="half open"):
        held.on_time(now_ms=asked_ms + PATIENCE.pong_ms)


def test_who_does_not_acknowledge_the_opening_is_left() -> None:
    held, _ = subscription()
    held.on_time(now_ms=PATIENCE.ack_ms - 1)
    with pytest.raises(ReplyTimeoutError, match="connection_ack"):
        held.on_time(now_ms=PATIENCE.ack_ms)


def test_numbers_that_are_left_out_are_a_gap_once_they_did_not_come_late() -> None:
    held, _ = subscribed()
    for offset in (1, 4, 2):
        held.receive(event(offset), now_ms=0)
    held.on_time(now_ms=PATIENCE.late_ms - 1)
    held.receive('{"type":"pong"}', now_ms=PATIENCE.late_ms - 1)
    assert held.lost is None
    held.receive(event(3), now_ms=PATIENCE.late_ms - 1)
    held.on_time(now_ms=PATIENCE.late_ms)
    assert held.lost is None, "everything came, if not in order"
    held.receive(event(6), now_ms=PATIENCE.late_ms)
    held.receive('{"type":"pong"}', now_ms=PATIENCE.late_ms)
    held.on_time(now_ms=2 * PATIENCE.late_ms)
    assert "left out" in str(held.lost)
    held.lost = None
    held.receive(event(10**9), now_ms=0)
    assert "left out" in str(held.lost), "so many are waited for by nobody"


@pytest.mark.parametrize(
    ("asked", "begins", "lost"),
    [("194", 194, False), ("194", 195, False), ("194", 12, False), ("194", 521, True), ("x9", "x9", False),
     ("x9", "x11", True), ("194", "x1", True), (None, 521, False)],
)  # fmt: skip
def test_a_stream_that_begins_after_what_was_asked_for_has_a_gap(
    asked: str | None, begins: object, *, lost: bool
) -> None:
    held, _ = subscribed(asked)
    held.receive(event(begins), now_ms=1)
    assert (held.lost is not None) == lost
    held.lost = None
    held.receive(event("y" if isinstance(begins, str) else begins + 1 if isinstance(begins, int) else 0), now_ms=1)
    assert held.lost is None, "it is the beginning that tells"


def test_what_the_stream_refuses_has_its_error_and_its_end_is_an_end() -> None:
    refused = '{"id":"1","type":"error","payload":[{"message":"Offset is not available"}]}'
    held, _ = subscribed("194")
    with pytest.raises(OffsetRefusedError, match="not available"):
        held.receive(refused, now_ms=0)
    held, _ = subscribed()
    with pytest.raises(PmsRefusedError, match="not available") as told:
        held.receive(refused, now_ms=0)
    assert not isinstance(told.value, OffsetRefusedError)
    held, _ = subscribed()
    with pytest.raises(LinkLostError, match="completed"):
        held.receive('{"id":"1","type":"complete"}', now_ms=0)


def test_the_next_subscription_begins_a_little_before_the_newest_event() -> None:
    held, memory = subscribed()
    for offset in range(1, RESUME_BACK + 11):
        held.receive(event(offset), now_ms=0)
    assert memory.offset == "11"
    again = Subscription(token="t", chain="N", memory=memory, now_ms=0)
    again.receive('{"type":"connection_ack"}', now_ms=0)
    told = [again.receive(event(offset), now_ms=0) for offset in range(11, RESUME_BACK + 13)]
    assert [each is None for each in told] == [True] * RESUME_BACK + [False] * 2
    assert again.lost is None


def test_a_line_that_breaks_before_anything_new_is_begun_at_the_newest_event_but_not_past_one_that_is_awaited() -> None:
    held, memory = subscribed()
    for offset in (1, 2, 3):
        held.receive(event(offset), now_ms=0)
    assert [memory.begin(), memory.begin(), memory.offset] == ["1", "3", "1"]
    held.receive(event(5), now_ms=0)
    assert [memory.begin(), memory.begin()] == ["1", "1"], "4 may still come, or is told as lost"


@pytest.mark.guarantee("G19")
@given(
    st.lists(
        st.binary(max_size=60)
        | st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["type", "payload", "newEvent", "metadata", "offset"]), inner)
            ),
            max_leaves=8,
        ).map(lambda told: json.dumps(told).encode())
        | st.sampled_from(["next", "ping", "pong", "error", "complete"]).map(
            lambda kind: b'{"type":"%s"}' % kind.encode()
        ),
        max_size=8,
    )
)
def test_noise_raises_nothing_but_what_is_promised(noise: list[bytes]) -> None:
    held, _ = subscribed("5")
    for each in noise:
        try:
            held.receive(each, now_ms=0)
        except (PeerProtocolError, LinkLostError, PmsRefusedError):
            if held.stage is Stage.OVER:
                return


# The consumer


@dataclass
class Kept:
    """A sink in memory. `fail`: the next call of `take` is lost with its process."""

    offset: str | None = None
    heard_ms: int | None = None
    hints: list[tuple[str | None, Hint]] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    strange: int = 0
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    async def stored(self) -> Stored:
        return Stored(self.offset, self.heard_ms)

    async def take(self, hints: Sequence[tuple[str | None, Hint]], *, offset: str | None) -> None:
        self.hints += hints
        self.offset = offset
        self.grown.set()

    async def lost(self, why: str) -> None:
        if why == NEVER_HEARD:
            self.strange += 1
        else:
            self.gaps.append(why)
        self.grown.set()

    def ids(self) -> set[str]:
        return {hint.external_id for _, hint in self.hints}

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                self.grown.clear()
                await self.grown.wait()


class Pipe:
    """A line without a network: one end is the client's, the other an emulator's channel."""

    def __init__(self) -> None:
        self.up: asyncio.Queue[str] = asyncio.Queue()
        self.down: asyncio.Queue[str | Exception] = asyncio.Queue()

    async def send(self, text: str) -> None:
        self.up.put_nowait(text)

    async def receive(self) -> str:
        said = await self.down.get()
        if isinstance(said, Exception):
            self.down.put_nowait(said)
            raise said
        return said


class Other:
    """The emulator's end."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    async def receive(self) -> str:
        text = await self.pipe.up.get()
        if not text:
            raise GoneError
        return text

    async def send(self, text: str) -> None:
        self.pipe.down.put_nowait(text)

    async def close(self, code: int, reason: str) -> None:
        self.pipe.down.put_nowait(ClosedError(code, reason) if code != 1011 else LinkLostError("the line broke"))


@dataclass
class Scene:
    """A stream, and who listens to it."""

    emulator: ohip.Emulator
    sink: Kept
    consumer: EventConsumer
    pauses: list[float]

    def book(self) -> str:
        return self.emulator.hotel.add(
            room=None, start_ms=NOW_MS, end_ms=NOW_MS + DAY_MS, first_name="Anna", last_name="Berger"
        ).id


@asynccontextmanager
async def scene(
    knobs: Knobs = TAME,
    *,
    seed: int = 1,
    patience: Patience = PATIENCE,
    sink: Kept | None = None,
    app_key: str = ohip.APP_KEY,
) -> AsyncIterator[Scene]:
    clock = ManualClock(wall_ms=NOW_MS)
    emulator = ohip.Emulator(
        rooms=list(ROOMS), reservations=0, credentials=Credentials("client", "access"), clock=clock,
        dice=SeededDice(seed), push=None, knobs=knobs,
    )  # fmt: skip
    emulator.stream.between_ms = 0
    emulator.stream.ping_wait_s = 3_600.0
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.advance(round(seconds * 1_000))
        await asyncio.sleep(0)

    @asynccontextmanager
    async def connect(url: str) -> AsyncIterator[Line]:
        pipe = Pipe()
        query = {"key": url.partition("key=")[2]}
        serving_ = asyncio.create_task(emulator.socket(Ask("GET", "/subscriptions", query), Other(pipe)))
        try:
            yield pipe
        finally:
            pipe.up.put_nowait("")
            await asyncio.wait([serving_])

    async with httpx.AsyncClient(transport=in_process(build(emulator))) as http:
        signing = bearer(
            exchange(http, clock=clock, sleep=sleep), platform="http://pms.invalid", client_id="client",
            client_secret="access", app_key=ohip.APP_KEY, enterprise="NORTHLIGHT", clock=clock,
        )  # fmt: skip
        kept = sink or Kept()
        consumer = EventConsumer(
            kept, signing, platform="http://pms.invalid", app_key=app_key, chain=ohip.CHAIN, clock=clock,
            dice=SeededDice(seed), log=logger("test"), connect=connect, sleep=sleep, patience=patience,
        )  # fmt: skip
        running = asyncio.create_task(consumer.run())
        try:
            yield Scene(emulator, kept, consumer, pauses)
        finally:
            running.cancel()
            await asyncio.wait([running])
            if not running.cancelled():
                running.result()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0)


def after(emulator: ohip.Emulator, **changes: Any) -> None:
    emulator.knobs = msgspec.structs.replace(emulator.knobs, **changes)


async def test_events_become_hints_with_where_to_go_on() -> None:
    async with scene() as s:
        await until(lambda: s.consumer.listening and len(s.emulator.stream.subscriptions) == 1)
        made = s.book()
        s.emulator.hotel.set_room_state("101", "Dirty")
        await s.sink.until(lambda: len(s.sink.hints) == 2)
        assert s.sink.hints[0] == (ohip.HOTEL, Hint("reservation", made))
        assert s.sink.hints[1][1].kind == "resource"
        assert (s.sink.offset, s.sink.gaps, s.sink.strange) == ("1", [], 1)


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("seed", seeds(2, 60))
async def test_a_stream_that_doubles_swaps_breaks_and_loses_is_heard_whole_or_told_as_a_gap(seed: int) -> None:
    rough = Knobs(push_dropped=0.0, push_twice=0.3, stream_swapped=0.3, stream_cut=0.15, stream_silent=0.0)
    async with scene(rough, seed=seed) as s:
        await until(lambda: len(s.emulator.stream.subscriptions) == 1)
        made = []
        for _ in range(40):
            made.append(s.book())
            await asyncio.sleep(0)
        await s.sink.until(lambda: s.sink.ids() >= set(made) or bool(s.sink.gaps) or s.sink.strange > 1)
        assert len(s.sink.hints) == len(set(s.sink.hints)), "none twice in one life"
        before = len(s.sink.gaps)
        after(s.emulator, push_dropped=1.0)
        s.book()
        after(s.emulator, push_dropped=0.0, stream_cut=0.0)
        last = s.book()
        await s.sink.until(lambda: last in s.sink.ids())
        if len(s.sink.gaps) == before:  # a number is missing: it is waited for, and then told
            s.consumer._clock.advance(PATIENCE.late_ms)  # type: ignore[attr-defined]  # a ManualClock
            s.book()
            await s.sink.until(lambda: len(s.sink.gaps) > before)


async def test_a_line_that_falls_silent_is_noticed_and_opened_again() -> None:
    quick = Patience(ack_ms=5_000, ping_every_ms=5, pong_ms=5, late_ms=5)
    async with scene(msgspec.structs.replace(TAME, stream_silent=1.0), patience=quick) as s:
        await until(lambda: len(s.emulator.stream.subscriptions) == 1)
        first = s.book()
        await s.sink.until(lambda: first in s.sink.ids())
        after(s.emulator, stream_silent=0.0)
        second = s.book()
        s.consumer._clock.advance(5)  # type: ignore[attr-defined]  # a ManualClock
        async with asyncio.timeout(PATIENCE_S):
            while second not in s.sink.ids():
                s.consumer._clock.advance(6)  # type: ignore[attr-defined]  # a ManualClock
                await asyncio.sleep(0.001)
        assert len(s.emulator.stream.subscriptions) >= 2
        assert s.sink.gaps == []


async def test_a_life_after_this_one_goes_on_where_it_stopped() -> None:
    kept = Kept()
    async with scene(sink=kept) as s:
        await until(lambda: len(s.emulator.stream.subscriptions) == 1)
        made = [s.book() for _ in range(3)]
        await kept.until(lambda: kept.ids() == set(made))
    assert kept.offset == "1"
    async with scene(sink=kept) as s:
        await until(lambda: len(s.emulator.stream.subscriptions) == 1)
        assert (s.emulator.stream.subscriptions, kept.strange) == (["1"], 1)


async def test_what_came_before_the_first_event_of_a_line_that_broke_early_is_known_to_nobody() -> None:
    async with scene(msgspec.structs.replace(TAME, stream_cut=1.0)) as s:
        await until(lambda: len(s.emulator.stream.subscriptions) == 1)
        s.book()
        await s.sink.until(lambda: s.sink.strange >= 2)


@pytest.mark.parametrize("how", ["long ago", "begins later", "refused"])
async def test_where_the_stream_has_no_more_what_was_missed_everything_is_compared(how: str) -> None:
    kept = Kept(offset="12" if how != "refused" else "no-number", heard_ms=NOW_MS)
    if how == "long ago":
        kept.heard_ms = NOW_MS - int(REPLAYED.total_seconds() * 1_000) - 1
    async with scene(sink=kept) as s:
        s.emulator.stream.skip(0 if how == "long ago" else 500)
        await until(lambda: len(s.emulator.stream.subscriptions) == 1)
        made = s.book()
        await kept.until(lambda: made in kept.ids() or how == "long ago")
        await kept.until(lambda: len(kept.gaps) == 1)
        if how == "refused":
            assert s.emulator.stream.subscriptions == [None]


async def test_the_other_consumer_of_a_chain_is_waited_for_and_told_of() -> None:
    async with scene() as s:
        await until(lambda: len(s.emulator.stream.subscriptions) == 1)
        second = Pipe()
        token = next(iter(s.emulator._tokens))
        second.up.put_nowait(json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}}))
        second.up.put_nowait(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": ""}}))
        await s.emulator.stream.hold(Other(second), admitted=True)
        assert s.emulator.stream.closed == [4409]
        assert s.consumer.counts["connections"] == 1


async def test_a_token_that_is_taken_back_is_asked_for_anew() -> None:
    async with scene() as s:
        await until(lambda: len(s.emulator.stream.subscriptions) == 1)
        s.emulator.revoke()
        made = s.book()
        await s.sink.until(lambda: made in s.sink.ids())
        assert s.emulator.stream.closed == [4401]
        assert s.pauses[0] >= 10.0


async def test_a_wrong_application_key_is_told_and_asked_with_growing_pauses() -> None:
    async with scene(app_key="another") as s:
        await until(lambda: len(s.pauses) >= 12)
        assert set(s.emulator.stream.closed) == {4403}
        assert all(10.0 <= each <= 70.0 for each in s.pauses)
        assert max(s.pauses) - 10.0 > 20.0, "full jitter under a growing bound"


async def test_the_line_is_a_websocket() -> None:
    clock = SystemClock("host")
    emulator = ohip.Emulator(
        rooms=list(ROOMS), reservations=0, credentials=Credentials("client", "access"), clock=clock,
        dice=SeededDice(1), push=None, knobs=msgspec.structs.replace(TAME, stream_cut=0.4),
    )  # fmt: skip
    emulator.stream.between_ms = 0
    kept = Kept()
    async with serving(build(emulator)) as port, httpx.AsyncClient() as http:
        signing = bearer(
            exchange(http, clock=clock), platform=f"http://127.0.0.1:{port}", client_id="client",
            client_secret="access", app_key=ohip.APP_KEY, enterprise="NORTHLIGHT", clock=clock,
        )  # fmt: skip
        consumer = EventConsumer(
            kept, signing, platform=f"http://127.0.0.1:{port}", app_key=ohip.APP_KEY, chain=ohip.CHAIN, clock=clock,
            dice=SeededDice(1), log=logger("test"), sleep=lambda _: asyncio.sleep(0.01), between_ms=0,
        )  # fmt: skip
        running = asyncio.create_task(consumer.run())
        try:
            await until(lambda: consumer.listening and len(emulator.stream.subscriptions) == 1)
            made = []
            for _ in range(8):
                made.append(
                    emulator.hotel.add(
                        room=None, start_ms=clock.wall_ms(), end_ms=clock.wall_ms() + DAY_MS, first_name=None,
                        last_name="Żółć",
                    ).id
                )  # fmt: skip
                await kept.until(lambda: kept.ids() == set(made))
            assert len(emulator.stream.subscriptions) >= 2
        finally:
            running.cancel()
            await asyncio.wait([running])
    assert kept.gaps == []


# What is stored


async def listening(w: World, hotels: dict[str, str] | None = None) -> ChainSink:
    return ChainSink(w.database, hotels or {ohip.HOTEL: AURORA.id}, clock=w.clock)


@pytest.mark.tier("postgres")
async def test_hints_and_offset_are_kept_together_for_the_hotels_that_are_ours(database: Database) -> None:
    async with world(database, "ohip") as w:
        await w.live(1)
        sink = await listening(w)
        assert await sink.stored() == Stored(None, None)
        made = w.book("101")
        await sink.take([("aurora", Hint("reservation", made)), ("OTHER", FINE), (None, FINE)], offset="7")
        rows = await w.rows("SELECT external_id FROM pms.hint ORDER BY external_id")
        assert {row["external_id"] for row in rows} == {made, "42"}
        assert await sink.stored() == Stored("7", w.clock.wall_ms())
        w.emulator.knobs = msgspec.structs.replace(TAME, push_dropped=1.0)
        await w.live(2)
        assert await w.out_of_step() == {}
        assert await w.rows("SELECT 1 AS one FROM pms.hint") == []


@pytest.mark.tier("postgres")
async def test_a_gap_compares_everything_once_and_not_again_and_again(database: Database) -> None:
    async with world(database, "ohip", knobs=msgspec.structs.replace(TAME, push_dropped=1.0)) as w:
        await w.live(1)
        sink = await listening(w)
        far = w.book("101", start_ms=w.clock.wall_ms() + 40 * DAY_MS)
        w.clock.advance(11 * 60_000)
        await w.live(1)
        assert far in await w.out_of_step(), "no list near now holds it"
        await sink.lost("the stream began later")
        await w.live(2)
        assert await w.out_of_step() == {}
        calls = w.emulator.calls["reservations"]
        farther = w.book("102", start_ms=w.clock.wall_ms() + 40 * DAY_MS)
        await sink.lost("again")
        await w.live(3)
        assert w.emulator.calls["reservations"] == calls, "ten minutes have not passed"
        w.clock.advance(10 * 60_000)
        await w.live(2)
        assert farther not in await w.out_of_step()
        assert await w.rows("SELECT 1 AS one FROM pms.hint") == []


@pytest.mark.tier("postgres")
async def test_a_comparison_that_fails_is_tried_until_it_goes_well(database: Database) -> None:
    async with world(database, "ohip", knobs=msgspec.structs.replace(TAME, push_dropped=1.0)) as w:
        await w.live(1)
        sink = await listening(w)
        far = w.book("101", start_ms=w.clock.wall_ms() + 40 * DAY_MS)
        w.clock.advance(11 * 60_000)
        await sink.lost("the stream began later")
        w.emulator.knobs = msgspec.structs.replace(w.emulator.knobs, fault=1.0)
        for _ in range(hints.ATTEMPTS_MOST + 3):
            w.clock.advance(61_000)
            await w.live(1)
        assert len(await w.rows("SELECT 1 AS one FROM pms.hint")) == 1, "a gap is given up by nobody"
        w.emulator.knobs = TAME
        w.clock.advance(61_000)
        await w.live(2)
        assert far not in await w.out_of_step()


@pytest.mark.tier("postgres")
async def test_a_property_that_was_not_listened_to_for_a_while_has_a_gap_of_its_own(database: Database) -> None:
    async with world(database, "ohip") as w:
        await w.live(1)
        async with database.transaction() as connection:
            await connection.execute(
                "INSERT INTO pms.connection (property, system, tenant, stream_offset, stream_at)"
                " VALUES ('borealis', 'ohip', 'southwind', '3', now() - interval '100 years')"
            )
        sink = await listening(w, {ohip.HOTEL: AURORA.id, "BOREALIS": "borealis"})
        async with database.transaction() as connection:
            await connection.execute(
                "UPDATE pms.connection SET stream_offset = '9', stream_at = now() WHERE property = %s", [AURORA.id]
            )
        assert (await sink.stored()).offset == "9"
        rows = await w.rows("SELECT property, external_id FROM pms.hint")
        assert [(row["property"], row["external_id"]) for row in rows] == [("borealis", "*")]
