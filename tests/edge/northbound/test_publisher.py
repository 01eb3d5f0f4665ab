"""The façade north: one message a record, nothing skipped by an outage, and the form of a message."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from edge.app.json_devices import readership_of
from edge.app.settings import EdgeSettings
from edge.log.lane_cursors import Place
from edge.log.record_log import Entry, RecordLog
from edge.log.settings import LaneSettings, LogSettings
from edge.northbound.plain_json import PlainJson
from edge.northbound.publisher import NorthboundPublisher
from kit.clock import SystemClock
from kit.dice import SystemDice
from kit.settings import load
from protocols.device_model.identity import EdgeId, PropertyId
from protocols.errors import InvalidInputError, LinkLostError, LocalProtocolError, ReplyTimeoutError
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, encode_record

WAIT_S = 10.0
EDGE, PROPERTY = EdgeId("e-aurora0000000001"), PropertyId("aurora")


class Broker:
    """Takes what is published; fails as told, after having taken nothing or everything."""

    def __init__(self) -> None:
        self.taken: list[tuple[bytes, dict[str, Any]]] = []
        self.fail_before = self.fail_after = 0
        self.refuses = b""
        self.met = False
        self.room: int | None = None
        """Takes so many more, none: any number."""
        self.lost = asyncio.Event()

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator["Broker"]:
        self.lost.clear()
        self.met = True
        yield self

    async def wait_closed(self) -> None:
        await self.lost.wait()

    async def publish_many(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        if self.fail_before:
            self.fail_before -= 1
            raise LinkLostError("cut")
        if self.refuses and any(self.refuses in payload for _, payload in messages):
            raise LocalProtocolError("too large for this broker")
        if self.room is not None and self.room < len(messages):
            raise LinkLostError("cut")
        self.room = None if self.room is None else self.room - len(messages)
        self.taken += [(topic, json.loads(payload)) for topic, payload in messages]
        if self.fail_after:
            self.fail_after -= 1
            raise ReplyTimeoutError("no answer")

    @property
    def seqs(self) -> list[int]:
        return [body["seq"] for _, body in self.taken]


def entry(n: int) -> Entry:
    body = {"room": "101", "device": "t-1", "capability": "generic", "attribute": "n", "value": n, "unit": None}
    return Entry("reading", {**body, "quality": "good"}, 1_600_000_000_000 + n)


@contextlib.asynccontextmanager
async def publishing(
    log: RecordLog,
    broker: Broker,
    kinds: Sequence[str] = ("reading",),
    lanes: Sequence[Lane] = (Lane.B, Lane.C),
) -> AsyncIterator[Any]:
    publisher = NorthboundPublisher(
        "test", log=log, transport=broker, form=PlainJson("x/{device}/{attribute}", property_id=PROPERTY, edge=EDGE),
        lanes=lanes, kinds=kinds, in_flight=50, pause_s=(0.001, 0.01), dice=SystemDice(),
    )  # fmt: skip
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(holds: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def opened(tmp_path: Path) -> AsyncIterator[RecordLog]:
    async with await RecordLog.open(tmp_path / "log", clock=SystemClock("host"), dice=SystemDice()) as log:
        yield log


@pytest.mark.guarantee("G1", "G2")
async def test_every_record_goes_once_and_a_restart_goes_on_where_it_was_answered(tmp_path: Path) -> None:
    broker = Broker()
    async with opened(tmp_path) as log:
        await log.append_many(Lane.C, [entry(n) for n in range(120)])
        async with publishing(log, broker) as publisher:
            await until(lambda: len(broker.taken) == 120)
            await log.append_many(Lane.C, [entry(120)])
            await until(lambda: publisher.published == 121)
            assert publisher.backlog() == {Lane.B: 0, Lane.C: 0}
    async with opened(tmp_path) as log:
        await log.append_many(Lane.C, [entry(121)])
        async with publishing(log, broker):
            await until(lambda: len(broker.taken) == 122)
    assert broker.seqs == list(range(1, 123))
    topic, body = broker.taken[7]
    assert topic == b"x/t-1/n"
    assert {key: body[key] for key in ("property", "edge", "lane", "seq", "kind", "device_at_ms", "value")} == {
        "property": "aurora", "edge": EDGE, "lane": "C", "seq": 8, "kind": "reading", "device_at_ms": 1_600_000_000_007,
        "value": 7,
    }  # fmt: skip
    assert body["clock"] == "synchronised"


@pytest.mark.guarantee("G1", "G2")
async def test_a_broker_that_fails_is_tried_again_without_a_gap_and_repeats_carry_the_same_seq(tmp_path: Path) -> None:
    broker = Broker()
    broker.fail_before, broker.fail_after = 3, 2
    async with opened(tmp_path) as log:
        await log.append_many(Lane.C, [entry(n) for n in range(200)])
        async with publishing(log, broker):
            await until(lambda: broker.seqs and broker.seqs[-1] == 200)
    assert sorted(set(broker.seqs)) == list(range(1, 201))
    assert len(broker.seqs) == 200 + 2 * 50  # what was answered too late went again, and nothing else
    first_time = list(dict.fromkeys(broker.seqs))
    assert first_time == sorted(first_time)


async def test_a_broker_that_takes_nothing_is_asked_ever_more_seldom(tmp_path: Path) -> None:
    """MQTT 5 refuses a publish by name: every connection would bring the same records, at once and for ever."""
    asked: list[float] = []

    class Pauses(SystemDice):
        def uniform(self, least: float, most: float) -> float:
            asked.append(most)
            return 0.0

    broker = Broker()
    broker.fail_before = 4
    async with opened(tmp_path) as log:
        await log.append_many(Lane.C, [entry(n) for n in range(10)])
        publisher = NorthboundPublisher(
            "test", log=log, transport=broker, form=PlainJson("x", property_id=PROPERTY, edge=EDGE),
            lanes=[Lane.C], kinds=(), in_flight=50, pause_s=(1.0, 5.0), dice=Pauses(),
        )  # fmt: skip
        task = asyncio.create_task(publisher.run())
        await until(lambda: len(broker.taken) == 10)
        broker.lost.set()
        await until(lambda: len(asked) == 5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert asked == [1.0, 2.0, 4.0, 5.0, 1.0]


@pytest.mark.guarantee("G2")
async def test_one_record_that_this_broker_never_takes_holds_up_no_other_and_the_log_knows_it(tmp_path: Path) -> None:
    broker = Broker()
    broker.refuses = b'"value":13,'
    async with opened(tmp_path) as log:
        await log.append_many(Lane.C, [entry(n) for n in range(30)])
        async with publishing(log, broker) as publisher:
            await until(lambda: len(broker.taken) == 29)
            await until(lambda: publisher.published + publisher.refused == 30)
        assert publisher.refused == 1
    assert 14 not in broker.seqs
    with contextlib.closing(sqlite3.connect(tmp_path / "log" / "lane-c.db")) as db:
        assert db.execute("SELECT life, seq, name FROM refused").fetchall() == [(1, 14, "northbound:test")]


async def test_only_the_kinds_and_lanes_asked_for_go(tmp_path: Path) -> None:
    broker = Broker()
    async with opened(tmp_path) as log:
        await log.append(Lane.B, "device", {"device": "d"})
        await log.append(Lane.A, "access", {"door": "d"})
        await log.append(Lane.B, "reading", dict(entry(1).body))
        async with publishing(log, broker):
            async with asyncio.timeout(WAIT_S):
                while await log.cursor("northbound:test", Lane.B) != 2:
                    await asyncio.sleep(0.005)
            await asyncio.sleep(0.02)
        assert [(body["kind"], body["lane"]) for _, body in broker.taken] == [("reading", "B")]
        assert await log.cursor("northbound:test", Lane.B) == 2
        every = Broker()
        async with publishing(log, every, kinds=()):
            await log.append(Lane.B, "a_kind_with_a_long_name_of_31ch", {"x": [1]})
            await until(lambda: len(every.taken) == 1)


async def tell(log: RecordLog, broker: Broker, most: int) -> None:
    """Publish until `most` are taken in all, a whole number of stretches."""
    broker.room, broker.met = most - len(broker.taken), False
    async with publishing(log, broker):
        await until(lambda: broker.room == 0 and broker.met)
    broker.room = None


def told(broker: Broker) -> list[tuple[str, int, int]]:
    return [(body["incarnation"], body["seq"], body["value"]) for _, body in broker.taken]


@pytest.mark.guarantee("G1", "G2")
async def test_what_is_left_of_a_damaged_file_goes_first_and_once_whatever_the_cloud_has(tmp_path: Path) -> None:
    """Three incarnations, the reader in the first of them, restarts between, and a cloud that has everything."""
    broker = Broker()
    async with opened(tmp_path) as log:
        await log.append_many(Lane.C, [entry(n) for n in range(200)])
        await tell(log, broker, 100)
    for begun in (200, 260):
        damage(tmp_path / "log" / "lane-c.db")
        async with opened(tmp_path) as log:
            await log.append_many(Lane.C, [entry(begun + n) for n in range(60)])
            for head in await log.streams():
                await log.acked(head.incarnation, head.lane, head.last)
    async with opened(tmp_path) as log:
        await tell(log, broker, 150)
    async with opened(tmp_path) as log:
        await tell(log, broker, 250)
    async with opened(tmp_path) as log:
        async with publishing(log, broker) as publisher:
            await until(lambda: len(broker.taken) == 320 and not any(publisher.backlog().values()))
        assert [each for each in await log.streams() if each.lane is Lane.C and each.closed] == []
    assert [value for _, _, value in told(broker)] == list(range(320))
    assert [seq for _, seq, _ in told(broker)] == [*range(1, 201), *range(1, 61), *range(1, 61)]
    assert len({incarnation for incarnation, _, _ in told(broker)}) == 3
    with contextlib.closing(sqlite3.connect(tmp_path / "log" / "lane-c.db")) as file:
        assert file.execute("SELECT DISTINCT life FROM record").fetchall() == [(3,)]  # told and acked: forgotten


@pytest.mark.guarantee("G1", "G2", "G18")
@pytest.mark.parametrize("read", [0, 50, 100, 150, 200])
async def test_records_that_move_into_a_new_incarnation_are_told_once(tmp_path: Path, read: int) -> None:
    """The cloud knows more than this copy: what came after `cut` moves, told or not."""
    broker = Broker()
    async with opened(tmp_path) as log:
        await log.append_many(Lane.C, [entry(n) for n in range(200)])
        await tell(log, broker, read)
        old = log.incarnations()[Lane.C]
        await log.begin_life(Lane.C, cut=100, reason="test")
        await log.acked(old, Lane.C, 100)
        await log.append_many(Lane.C, [entry(200)])
    async with opened(tmp_path) as log, publishing(log, broker):
        await until(lambda: len(broker.taken) == 201)
    assert [value for _, _, value in told(broker)] == list(range(201))


async def test_room_for_what_comes_is_not_kept_by_a_reader_that_never_comes_back(tmp_path: Path) -> None:
    """An older incarnation that the cloud has whole gives way to a quota, read or not."""
    settings = LogSettings(b=LaneSettings(pages_max=1_100, linger_ms=0), ballast_bytes=0)
    clock, dice = SystemClock("host"), SystemDice()
    async with await RecordLog.open(tmp_path / "log", clock=clock, dice=dice, settings=settings) as log:
        await log.append_many(Lane.B, [entry(n) for n in range(200)])
        await log.advance("northbound:gone", Lane.B, 1)
        old = log.incarnations()[Lane.B]
        await log.begin_life(Lane.B, cut=200, reason="test")
        await log.acked(old, Lane.B, 200)
        assert (await log.place("northbound:gone", Lane.B)) == Place(old, 1, 200)
        while (await log.place("northbound:gone", Lane.B)).incarnation == old:
            await log.append_encoded(Lane.B, [b"\x86" + bytes(8_000)] * 20)
            assert (await log.usage())[Lane.B].dropped == 0


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize("cloud", [False, True])
async def test_without_a_cloud_what_all_were_told_makes_room(tmp_path: Path, *, cloud: bool) -> None:
    """By the settings' own way: with a cloud that takes nothing the same records give way, and that is said."""
    uplink = '[uplink]\nhost = "h"\nport = 1\n' if cloud else ""
    config = tmp_path / "edge.toml"
    config.write_text(
        f'property = "aurora"\nedge = "{EDGE}"\ndata_dir = "d"\n{uplink}[log]\nballast_bytes = 0\n'
        "[log.c]\npages_max = 120\nkeep_acked_records = 100\nlinger_ms = 0\n"
        '[[northbound]]\nname = "test"\nhost = "h"\nlanes = ["C"]\n'
    )
    settings = load(EdgeSettings, config, "X_", {})
    broker = Broker()
    log = await RecordLog.open(
        tmp_path / "log", clock=SystemClock("host"), dice=SystemDice(), settings=settings.log,
        readership=readership_of(settings),
    )  # fmt: skip
    async with log, publishing(log, broker, lanes=[Lane.C]):
        for n in range(0, 3_000, 100):
            await log.append_many(Lane.C, [entry(n + each) for each in range(100)])
            await until(lambda most=n + 100: len(broker.taken) == most)
        usage = (await log.usage())[Lane.C]
    assert (usage.dropped + usage.thinned == 0) is not cloud


def damage(path: Path) -> None:
    """A page of no record's: the file does not hold together, and every record can be read."""
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [(root,)] = file.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'document'").fetchall()
    with path.open("r+b") as raw:
        raw.seek((root - 1) * 4096)
        raw.write(bytes(4096))


async def test_a_loss_while_nothing_is_to_be_told_is_noticed(tmp_path: Path) -> None:
    broker = Broker()
    async with opened(tmp_path) as log, publishing(log, broker) as publisher:
        await until(lambda: publisher.connected)
        broker.lost.set()
        await until(lambda: not publisher.connected or not broker.lost.is_set())
        await log.append_many(Lane.C, [entry(0)])
        await until(lambda: len(broker.taken) == 1)


@pytest.mark.parametrize("pattern", ["a/{nobody}", "a/+", "a/#", "{device", "a\x00"])
def test_a_topic_that_is_none_is_refused_by_name(pattern: str) -> None:
    with pytest.raises(InvalidInputError, match=r"northbound\.topic"):
        PlainJson(pattern, property_id=PROPERTY, edge=EDGE)


def test_no_body_can_leave_its_level_of_the_topic() -> None:
    form = PlainJson("{property}/{room}/{device}/{attribute}/{lane}", property_id=PROPERTY, edge=EDGE)
    body = {"device": ["a", "list"], "attribute": "a/#+\x01", "value": 1, "room": None}
    record = encode_record("reading", body, device_at_ms=None, edge_at_ms=1, mono_ms=1, clock=ClockQuality.UNCERTAIN)
    topic, payload = form.message(record, incarnation="ab", lane=Lane.C, seq=1)
    assert topic == b"aurora/-/-/a___\x01/C"
    assert json.loads(payload)["clock"] == "uncertain"


def test_what_a_record_says_of_another_place_never_stands_for_its_own() -> None:
    body = {"what": "gave_way", "lane": "C", "incarnation": "cc" * 16, "seq": 1, "dropped": 5}
    record = encode_record(
        "record_log", body, device_at_ms=None, edge_at_ms=1, mono_ms=1, clock=ClockQuality.SYNCHRONISED
    )
    _, payload = PlainJson("x", property_id=PROPERTY, edge=EDGE).message(
        record, incarnation="bb" * 16, lane=Lane.B, seq=7
    )
    told = json.loads(payload)
    assert (told["incarnation"], told["lane"], told["seq"], told["kind"]) == ("bb" * 16, "B", 7, "record_log")
    assert (told["what"], told["body"]) == ("gave_way", body)
