"""OPERA Cloud's event stream: a consumer against a stream that misbehaves, and on a real websocket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest

from cloud.pms.emulation.channel import GoneError
from cloud.pms.emulation.face import TAME, Ask, Credentials, Knobs
from cloud.pms.emulation.server import build
from cloud.pms.ohip import emulator as ohip
from cloud.pms.ohip.adapter import bearer, exchange
from cloud.pms.ohip.consumer import NEVER_HEARD, REPLAYED, ClosedError, EventConsumer, Line, Stored
from cloud.pms.ohip.stream import (
    PATIENCE,
    Patience,
)
from cloud.pms.port import Hint
from kit.clock import ManualClock, SystemClock
from kit.dice import SeededDice
from kit.http import serving
from kit.logs import logger
from protocols.errors import LinkLostError
from tests.cloud.asgi import in_process
from tests.cloud.houses import DAY_MS, NOW_MS, ROOMS
from tests.seeds import seeds

pytestmark = pytest.mark.requirement("PMS-08")
PATIENCE_S = 20.0


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
