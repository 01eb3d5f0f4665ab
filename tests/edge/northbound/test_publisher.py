"""The façade north: one message a record, nothing skipped by an outage, and the form of a message."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from edge.log.record_log import Entry, RecordLog
from edge.northbound.plain_json import PlainJson
from edge.northbound.publisher import NorthboundPublisher
from kit.clock import SystemClock
from kit.dice import SystemDice
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
        self.lost = asyncio.Event()

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator["Broker"]:
        self.lost.clear()
        yield self

    async def wait_closed(self) -> None:
        await self.lost.wait()

    async def publish_many(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        if self.fail_before:
            self.fail_before -= 1
            raise LinkLostError("cut")
        if self.refuses and any(self.refuses in payload for _, payload in messages):
            raise LocalProtocolError("too large for this broker")
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
async def publishing(log: RecordLog, broker: Broker, kinds: Sequence[str] = ("reading",)) -> AsyncIterator[Any]:
    publisher = NorthboundPublisher(
        "test", log=log, transport=broker, form=PlainJson("x/{device}/{attribute}", property_id=PROPERTY, edge=EDGE),
        lanes=[Lane.B, Lane.C], kinds=kinds, in_flight=50, pause_s=(0.001, 0.01), dice=SystemDice(),
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


async def test_one_record_that_this_broker_never_takes_holds_up_no_other(tmp_path: Path) -> None:
    broker = Broker()
    broker.refuses = b'"value":13,'
    async with opened(tmp_path) as log:
        await log.append_many(Lane.C, [entry(n) for n in range(30)])
        async with publishing(log, broker):
            await until(lambda: len(broker.taken) == 29)
    assert 14 not in broker.seqs


async def test_only_the_kinds_and_lanes_asked_for_go(tmp_path: Path) -> None:
    broker = Broker()
    async with opened(tmp_path) as log:
        await log.append(Lane.B, "device", {"device": "d"})
        await log.append(Lane.A, "access", {"door": "d"})
        await log.append(Lane.B, "reading", dict(entry(1).body))
        async with publishing(log, broker):
            await until(lambda: len(broker.taken) == 1)
            await asyncio.sleep(0.02)
        assert [(body["kind"], body["lane"]) for _, body in broker.taken] == [("reading", "B")]
        assert await log.cursor("northbound:test", Lane.B) == 2
        every = Broker()
        async with publishing(log, every, kinds=()):
            await log.append(Lane.B, "a_kind_with_a_long_name_of_31ch", {"x": [1]})
            await until(lambda: len(every.taken) == 1)


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
