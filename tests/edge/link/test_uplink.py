"""The uplink's shell: no commit escapes it, and how it comes back."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edge.link.ports import LiveState
from edge.link.settings import LinkSettings
from edge.link.uplink import LIVE_BACKLOG, Uplink
from edge.log.record_log import APPEND_RECORDS_MAX, Entry, RecordLog
from kit.clock import SystemClock
from kit.dice import Dice, SeededDice, SystemDice
from kit.net import Connection, Message
from protocols.device_model.identity import EdgeId, PropertyId
from protocols.errors import LinkLostError
from protocols.link.documents import CommandEnvelope
from protocols.link.edge_link import LinkTimes, SayHello, SendLive, StreamHead
from protocols.link.lanes import Lane
from protocols.link.messages import LIVE_BYTES_MAX, Ack, AckStatus, decode_live

WAIT_S = 10.0


class NoWay:
    """A transport that refuses, and counts when it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    @contextlib.asynccontextmanager
    async def connect(self, *, subscribe: Sequence[str] = (), will: Message | None = None) -> AsyncIterator[Connection]:
        self.asked += 1
        raise LinkLostError("no way")
        yield  # type: ignore[unreachable]  # makes it a generator


class Lost:
    """A connection that is lost while somebody listens to it."""

    closed = False

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        return None

    async def messages(self) -> AsyncIterator[Message]:
        await asyncio.sleep(0)
        raise LinkLostError("gone")
        yield  # type: ignore[unreachable]  # makes it a generator


class LossyWay(NoWay):
    """A transport whose every connection is lost."""

    @contextlib.asynccontextmanager
    async def connect(self, *, subscribe: Sequence[str] = (), will: Message | None = None) -> AsyncIterator[Any]:
        self.asked += 1
        yield Lost()


class BusyLog(RecordLog):
    """A log to which somebody appends while its streams are being read."""

    async def streams(self) -> list[StreamHead]:
        found = await super().streams()
        await self.append(Lane.C, "reading", {"n": 1})
        return found


async def obey(command: CommandEnvelope) -> Mapping[str, Any]:
    return {}


async def desired(name: str, version: int, body: Mapping[str, Any]) -> None:
    return None


def uplink(
    log: RecordLog, way: NoWay, dice: Dice, settings: LinkSettings | None = None, live_state: LiveState = list
) -> Uplink:
    return Uplink(
        edge=EdgeId("e-aurora0000000001"), property_id=PropertyId("aurora"), log=log, transport=way,
        clock=SystemClock("host"), dice=dice, command_key=lambda _kid: None, on_command=obey, on_desired=desired,
        live_state=live_state, settings=settings,
    )  # fmt: skip


@pytest.mark.guarantee("G1", "G11")
async def test_a_record_committed_while_the_streams_are_read_is_not_left_behind(tmp_path: Path) -> None:
    """A bus whose broker delivers at once commits while the link starts; if nothing follows, nobody would tell."""
    clock, dice = SystemClock("host"), SystemDice()
    async with await BusyLog.open(tmp_path / "log", clock=clock, dice=dice) as log:
        made = uplink(log, NoWay(), dice)
        running = asyncio.create_task(made.run())
        async with asyncio.timeout(WAIT_S):
            while not made.state.backlog[Lane.C]:
                await asyncio.sleep(0.005)
        assert made.state.backlog[Lane.C] == 1
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@pytest.mark.guarantee("G12")
@pytest.mark.guarantee("G11")
async def test_every_lost_link_is_followed_by_another(tmp_path: Path) -> None:
    """A task group that failed leaves a mark on its task in CPython 3.11 and 3.12: it must not end the uplink."""
    clock, dice = SystemClock("host"), SystemDice()
    quick = LinkSettings(reconnect_first=timedelta(milliseconds=10), reconnect_most=timedelta(milliseconds=10))
    async with await RecordLog.open(tmp_path / "log", clock=clock, dice=dice) as log:
        way = LossyWay()
        running = asyncio.create_task(uplink(log, way, dice, quick).run())
        async with asyncio.timeout(WAIT_S):
            while way.asked < 4:
                await asyncio.sleep(0.005)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def test_a_thousand_edges_come_back_spread_over_the_whole_pause(tmp_path: Path) -> None:
    """Full jitter: in any tenth of the longest pause at most twice the mean comes back, however long all were away."""
    settings = LinkSettings(reconnect_most=timedelta(minutes=5))
    edges = [uplink(None, NoWay(), SeededDice(seed), settings) for seed in range(1_000)]  # type: ignore[arg-type]  # no log is asked
    pauses: list[float] = []
    for each in edges:
        pauses = [*pauses, [each._pause_s() for _ in range(12)][-1]]
    tenths = Counter(int(pause / 30) for pause in pauses)
    assert set(tenths) == set(range(10))
    assert max(tenths.values()) <= 2 * len(edges) / 10


@pytest.mark.guarantee("G12")
def test_the_pause_grows_from_the_first_to_the_longest_and_no_further() -> None:
    settings = LinkSettings(reconnect_first=timedelta(seconds=1), reconnect_most=timedelta(seconds=30))
    most = [0.0] * 8
    for seed in range(300):
        each = uplink(None, NoWay(), SeededDice(seed), settings)  # type: ignore[arg-type]  # no log is asked
        most = [max(before, each._pause_s()) for before in most]
    for bound, seen in zip((1, 2, 4, 8, 16, 30, 30, 30), most, strict=True):
        assert 0.9 * bound <= seen <= bound


@pytest.mark.guarantee("G12")
@pytest.mark.parametrize("away_s", [0, 3, 20])
def test_a_fleet_that_loses_its_broker_comes_back_over_the_spread_that_the_cloud_asked_for(away_s: float) -> None:
    """No second of the spread sees more than twice the mean, whether the broker is back at once or in the middle."""
    fleet, spread_s = 1_000, 30
    tried: Counter[int] = Counter()
    for seed in range(fleet):
        each = uplink(None, NoWay(), SeededDice(seed))  # type: ignore[arg-type]  # no log is asked
        each._link.hear(Ack(AckStatus.STORED, (), spread_s=spread_s), now_ms=0)
        at = each._pause_s()
        tried[int(at)] += 1
        while at < away_s:
            at += each._pause_s()
            tried[int(at)] += 1
    assert max(tried.values()) <= 2 * fleet / spread_s


@pytest.mark.guarantee("G12")
def test_the_newest_word_on_the_spread_counts_and_a_welcome_without_one_ends_it() -> None:
    each = uplink(None, NoWay(), SeededDice(1))  # type: ignore[arg-type]  # no log is asked
    told = []
    for ack in (
        Ack(AckStatus.STORED, (), spread_s=30), Ack(AckStatus.STORED, ()), Ack(AckStatus.DUPLICATE, (), spread_s=300),
        Ack(AckStatus.WELCOME, (), re=1), Ack(AckStatus.WELCOME, (), re=1, spread_s=2),
    ):  # fmt: skip
        each._link.hear(ack, now_ms=0)
        told.append(each._link.spread_s)
    assert told == [30, 30, 300, 0, 2]


def test_how_long_telemetry_gathers_is_the_settings_and_is_bounded() -> None:
    link = uplink(None, NoWay(), SeededDice(1), LinkSettings(gather_telemetry=timedelta(seconds=10)))  # type: ignore[arg-type]  # no log is asked
    assert link._times.telemetry_age_ms == 10_000
    assert uplink(None, NoWay(), SeededDice(1))._times.telemetry_age_ms == 200  # type: ignore[arg-type]  # no log is asked
    for wrong in (timedelta(seconds=61), timedelta(seconds=-1)):
        with pytest.raises(ValueError, match="gather_telemetry"):
            LinkSettings(gather_telemetry=wrong)


@pytest.mark.guarantee("G9", "G12")
@pytest.mark.parametrize("items", [10, 5_000, 9_000])
async def test_a_house_too_large_for_one_live_state_tells_its_newest_values(items: int, tmp_path: Path) -> None:
    state = [
        {"room": "r" * 40, "device": f"{n:040d}", "capability": "generic", "attribute": "a" * 64, "value": "v" * 150,
         "unit": None, "quality": "good", "at_ms": 1_700_000_000_000 + n}
        for n in range(items)
    ]  # fmt: skip
    async with await RecordLog.open(tmp_path / "log", clock=SystemClock("host"), dice=SystemDice()) as log:
        payload = uplink(log, NoWay(), SystemDice(), live_state=lambda: state)._live(whole=True)
    told = [each["at_ms"] - 1_700_000_000_000 for each in decode_live(payload).state]
    assert len(payload) <= LIVE_BYTES_MAX
    assert len(told) >= min(items, 500)
    assert sorted(told) == list(range(items - len(told), items))


def shown(number: int, value: float, *, at_ms: int, quality: str = "good", room: str = "101") -> dict[str, Any]:
    return {
        "room": room, "device": f"t-{number}", "capability": "thermostat", "attribute": "local_temperature",
        "value": value, "unit": "Cel", "quality": quality, "at_ms": at_ms,
    }  # fmt: skip


@pytest.mark.guarantee("G12", "G17")
async def test_between_the_whole_only_what_is_not_as_it_was_told_last_is_told(tmp_path: Path) -> None:
    state: list[dict[str, Any]] = []
    async with await RecordLog.open(tmp_path / "log", clock=SystemClock("host"), dice=SystemDice()) as log:
        made = uplink(log, NoWay(), SystemDice(), live_state=lambda: state)

        def told(*now: dict[str, Any], whole: bool = False) -> list[Mapping[str, Any]]:
            state[:] = now
            return list(decode_live(made._live(whole=whole)).state)

        one, two = shown(1, 20.0, at_ms=1), shown(2, 21.0, at_ms=1)
        assert told(one, two, whole=True) == [one, two]
        assert told(one, two) == []
        warmer, again = shown(1, 20.5, at_ms=2), shown(2, 21.0, at_ms=2)
        assert told(warmer, two) == [warmer]
        assert told(warmer, again) == [again], "a value that is said again is younger"
        old = shown(1, 20.5, at_ms=2, quality="stale")
        assert told(old, again) == [old], "and one that nobody says again grows old"
        moved = shown(2, 21.0, at_ms=2, room="102")
        assert told(old, moved, shown(3, 1.0, at_ms=3)) == [moved, shown(3, 1.0, at_ms=3)]
        assert told(old, moved, whole=True) == [old, moved]


@pytest.mark.guarantee("G9", "G12")
async def test_what_found_no_room_in_the_whole_is_told_next(tmp_path: Path) -> None:
    state = [{**shown(number, 20.0, at_ms=number), "room": "r" * 100} for number in range(4_000)]
    async with await RecordLog.open(tmp_path / "log", clock=SystemClock("host"), dice=SystemDice()) as log:
        made = uplink(log, NoWay(), SystemDice(), live_state=lambda: state)
        first, second = (decode_live(made._live(whole=whole)).state for whole in (True, False))
        rest = decode_live(made._live(whole=False)).state
    assert 0 < len(first) < len(state)
    assert sorted(each["at_ms"] for each in (*first, *second)) == list(range(4_000))
    assert rest == ()


@pytest.mark.guarantee("G9", "G12")
@pytest.mark.parametrize(("values", "later"), [(100, [30_000]), (4_000, [5_000, 30_000])])
async def test_what_found_no_room_is_told_soon_although_nothing_changes_and_no_backlog_drains(
    values: int, later: list[int], tmp_path: Path
) -> None:
    state = [{**shown(number, 20.0, at_ms=number), "room": "r" * 100} for number in range(values)]
    told: dict[int, int] = {}
    async with await RecordLog.open(tmp_path / "log", clock=SystemClock("host"), dice=SystemDice()) as log:
        made = uplink(log, NoWay(), SystemDice(), live_state=lambda: state)
        made._link.link_up(nonce=1, now_ms=0)
        for now_ms in range(0, 30_001, 500):
            made._link.hear(Ack(AckStatus.STORED, ()), now_ms=now_ms)
            while (step := made._link.next_step(now_ms=now_ms)) is not None:
                if isinstance(step, SendLive):
                    told[now_ms] = len(decode_live(made._live(whole=step.whole)).state)
    assert list(told) == [0, *later]
    assert sum(told[at_ms] for at_ms in told if at_ms < 30_000) == values


@pytest.mark.guarantee("G12")
@pytest.mark.parametrize("waiting", [LIVE_BACKLOG, LIVE_BACKLOG + 1])
async def test_a_changed_house_is_told_whole_only_while_a_backlog_drains(waiting: int, tmp_path: Path) -> None:
    """Without one its records say it as soon: a large house changes all the time, and is half a megabyte."""
    clock, dice = SystemClock("host"), SystemDice()
    async with await RecordLog.open(tmp_path / "log", clock=clock, dice=dice) as log:
        entries = [Entry("reading", {"n": number}, None) for number in range(waiting)]
        for first in range(0, waiting, APPEND_RECORDS_MAX):
            await log.append_many(Lane.C, entries[first : first + APPEND_RECORDS_MAX])
        made = uplink(log, NoWay(), dice)
        await made._look_at_streams()
        link, times = made._link, LinkTimes()
        link.link_up(nonce=1, now_ms=0)
        steps = [link.next_step(now_ms=0), link.next_step(now_ms=0)]
        assert [type(each) for each in steps] == [SayHello, SendLive]
        made.live_changed()
        soon = [link.next_step(now_ms=times.live_least_ms) for _ in range(3)]
        assert any(isinstance(each, SendLive) for each in soon) == (waiting > LIVE_BACKLOG)


@pytest.mark.guarantee("G10", "G17")
async def test_a_live_state_names_the_positions_that_were_there_before_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await RecordLog.open(tmp_path / "log", clock=SystemClock("host"), dice=SystemDice()) as log:
        heads, asked = log.heads, list[str]()

        def state() -> list[dict[str, Any]]:
            asked.append("state")
            return []

        def named() -> dict[Lane, int]:
            asked.append("heads")
            return heads()

        monkeypatch.setattr(log, "heads", named)
        made = uplink(log, NoWay(), SystemDice(), live_state=state)
        lives = log.incarnations()
        assert decode_live(made._live(whole=True)).heads == tuple((lives[lane], lane, 0) for lane in Lane)
        await log.append_many(Lane.C, [Entry("note", {"n": n}) for n in range(3)])
        asked.clear()
        told = decode_live(made._live(whole=False)).heads
        assert {each.lane: each.last for each in told} == {Lane.A: 0, Lane.B: 0, Lane.C: 3}
        assert asked == ["heads", "state"]
