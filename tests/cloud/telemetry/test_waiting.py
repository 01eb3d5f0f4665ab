"""Whose turn it is: nobody's backlog stands before others' present, and no stream loses its order."""

import asyncio
from collections import defaultdict
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloud.telemetry.fan_in.arrivals import Arrived, BatchItem, Item, UnreadableItem
from cloud.telemetry.fan_in.returning import REASSURED_EVERY_MS, Patience
from cloud.telemetry.fan_in.waiting import (
    COMPANY_MESSAGES,
    FIRST_SHARE,
    LINGERS_MOST,
    MESSAGE_WEIGHS,
    Line,
    Pace,
    Waiting,
    weight_of,
)
from kit.simulation.loop import run_simulated
from protocols.errors import PeerProtocolError
from protocols.link.batch import RECORDS_MAX
from protocols.link.cloud_stream import CloudStream
from protocols.link.lanes import Lane
from protocols.link.messages import AckStatus
from tests.cloud.telemetry.sending import INCARNATION, arrived, edge, note, packed


@cache
def batch(who: int, first: int, count: int, lane: Lane = Lane.C) -> Item:
    return arrived(edge(who), packed(edge(who), first, [note(n) for n in range(first, first + count)], lane), lane)


def edge_of(item: Item) -> str:
    return item.arrived.topic.edge


@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(list(Lane)), st.sampled_from([1, 7, 40, 500])), max_size=60),
    st.integers(1, 20),
    st.sampled_from([1, 100, 508, 2_000]),
)
@settings(max_examples=60, deadline=None)
@pytest.mark.guarantee("G2")
def test_every_message_gets_its_turn_once_and_in_the_order_of_its_stream(
    told: list[tuple[int, Lane, int]], most_messages: int, most_weight: int
) -> None:
    line, sent = Line(), [batch(who, n + 1, count, lane) for n, (who, lane, count) in enumerate(told)]
    for item in sent:
        line.add(item)
    assert (len(line), line.bytes) == (len(sent), sum(len(each.arrived.payload) for each in sent))
    got: list[Item] = []
    while len(line):
        group = line.take(most_messages, most_weight)
        assert 1 <= len(group) <= most_messages
        assert sum(map(weight_of, group[:-1])) < most_weight
        got += group
    assert line.bytes == 0
    assert line.take(most_messages, most_weight) == []
    assert len(got) == len(sent)
    assert _by_stream(got) == _by_stream(sent)


def _by_stream(items: list[Item]) -> dict[tuple[str, object], list[int]]:
    found: dict[tuple[str, object], list[int]] = defaultdict(list)
    for each in items:
        assert isinstance(each, BatchItem)
        found[each.head.edge, each.head.lane].append(each.head.first)
    return found


@pytest.mark.guarantee("G12")
def test_a_backlog_lets_everybody_else_go_by() -> None:
    line = Line()
    for n in range(20):
        line.add(batch(0, 1 + n * RECORDS_MAX, RECORDS_MAX))
    for who in range(1, 31):
        line.add(batch(who, 1, 40))
    first = line.take(128, RECORDS_MAX + 30 * (40 + MESSAGE_WEIGHS))
    assert {edge_of(each) for each in first} == {edge(who) for who in range(31)}
    assert sum(edge_of(each) == edge(0) for each in first) == 1  # and yet the backlog goes on


@pytest.mark.guarantee("G12")
def test_lane_a_goes_first_and_leaves_a_share() -> None:
    line = Line()
    for n in range(100):
        line.add(batch(1, 1 + n, 1))
    for n in range(100):
        line.add(batch(2, 1 + n, 1, Lane.A))
    group = line.take(40, 10_000)
    lanes = [each.head.lane for each in group if isinstance(each, BatchItem)]
    assert lanes[: int(40 * FIRST_SHARE)] == [Lane.A] * int(40 * FIRST_SHARE)
    assert lanes.count(Lane.C) == 40 - int(40 * FIRST_SHARE)


def sent_on(lane: Lane, first: int, count: int, **head: Any) -> Item:
    """Return a batch of edge 1 that came at a moment of its own, its head changed."""
    item = batch(1, first, count, lane)
    assert isinstance(item, BatchItem)
    return replace(item, arrived=replace(item.arrived, at_ms=first), head=replace(item.head, **head))


def heads(items: list[Item]) -> list[tuple[Lane, int, int]]:
    return [(each.head.lane, each.head.first, each.head.last) for each in items if isinstance(each, BatchItem)]


@pytest.mark.guarantee("G2")
def test_a_batch_that_repeats_what_waits_takes_its_place() -> None:
    line = Line()
    others = [batch(2, 1, 7), sent_on(Lane.B, 1, 3)]
    told = [others[0], sent_on(Lane.C, 41, 40), others[1], sent_on(Lane.C, 81, 40), sent_on(Lane.C, 121, 40)]
    for item in told:
        line.add(item)
    again = sent_on(Lane.C, 41, 80)  # the first two, not the third
    line.add(again)
    assert (len(line), line.bytes) == (4, sum(len(each.arrived.payload) for each in [*others, told[4], again]))
    group = line.take(100, 100_000)
    assert heads(group) == [(Lane.C, 1, 7), (Lane.C, 41, 120), (Lane.B, 1, 3), (Lane.C, 121, 160)]
    assert group[1].arrived.at_ms == 41  # it waits since the first of them came
    assert (len(line), line.bytes) == (0, 0)


@pytest.mark.parametrize(
    "other",
    [
        sent_on(Lane.C, 2, 60),
        sent_on(Lane.C, 1, 39),
        sent_on(Lane.B, 1, 60),
        sent_on(Lane.C, 1, 60, opening=b"opening2"),
        sent_on(Lane.C, 1, 60, incarnation=bytes(16)),
    ],
    ids=["begins later", "ends earlier", "another lane", "another opening", "another life"],
)
@pytest.mark.guarantee("G2")
def test_what_a_batch_does_not_hold_whole_waits_on(other: Item) -> None:
    line, known = Line(), sent_on(Lane.C, 1, 40)
    line.add(known)
    line.add(other)
    assert line.take(10, 10_000) == [known, other]


def test_lane_a_and_other_messages_wait_as_they_came() -> None:
    line = Line()
    hello = UnreadableItem(batch(1, 1, 1).arrived, PeerProtocolError("noise"))
    told = [sent_on(Lane.A, 1, 1), sent_on(Lane.A, 1, 2), hello, hello]
    for item in told:
        line.add(item)
    assert line.take(10, 10_000) == told


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 40)), max_size=80))
@example([(2, 1), (1, 1), (2, 1)])
@example([(1, 2), (2, 2), (4, 1), (1, 1), (2, 2)])
@settings(max_examples=60, deadline=None)
@pytest.mark.guarantee("G2")
def test_whatever_is_sent_again_the_stream_gets_as_far_as_without(told: list[tuple[int, int]]) -> None:
    """Held against a line that forgets nothing: at least the same mark, of no more messages."""

    def mark(items: list[Item]) -> int:
        stream = CloudStream(INCARNATION, Lane.C)
        for each in items:
            assert isinstance(each, BatchItem)
            if stream.judge(each.head) is AckStatus.STORED:
                stream.hi = each.head.last
        return stream.hi

    sent = [batch(1, first, count) for first, count in told]
    line = Line()
    for item in sent:
        line.add(item)
    kept = line.take(1_000, 10**9) if len(line) else []
    assert len(kept) <= len(sent)
    assert mark(kept) >= mark(sent)


async def test_who_comes_to_a_full_line_waits_for_room() -> None:
    waiting = Waiting(2, 10_000)
    for n in range(2):
        await waiting.put(batch(1, n + 1, 1))
    third = asyncio.ensure_future(waiting.put(batch(1, 3, 1)))
    await asyncio.sleep(0)
    assert not third.done()
    assert len(await waiting.take(1, 10_000, 0)) == 1
    await third
    assert len(await waiting.take(10, 10_000, 0)) == 2
    reader = asyncio.ensure_future(waiting.take(10, 10_000, 0))
    await asyncio.sleep(0)
    assert not reader.done()
    await waiting.put(batch(1, 4, 1))
    assert len(await reader) == 1


async def test_bytes_fill_a_line_as_messages_do() -> None:
    waiting = Waiting(1_000, 1)
    await waiting.put(batch(1, 1, 500))
    second = asyncio.ensure_future(waiting.put(batch(1, 501, 1)))
    await asyncio.sleep(0)
    assert not second.done()
    await waiting.take(1, 1, 0)
    await second


def taken_of(every_ms: float, *, linger_ms: int = 25, most: int = 128, there: int = 0) -> tuple[int, float]:
    """Return how many messages a group had, and for how many ms it was waited, where one comes `every_ms`."""

    async def main() -> tuple[int, float]:
        loop, waiting = asyncio.get_running_loop(), Waiting(1_000, 10**9)
        for n in range(there):
            await waiting.put(batch(n, 1, 1))

        async def come() -> None:
            for n in range(500):
                await waiting.put(batch(there + n, 1, 1))
                await asyncio.sleep(every_ms / 1000)

        coming = asyncio.create_task(come())
        while not len(waiting):
            await asyncio.sleep(0)
        began_s = loop.time()
        group = await waiting.take(most, 10**6, linger_ms)
        waited_ms = (loop.time() - began_s) * 1000
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        return len(group), waited_ms

    return run_simulated(lambda _loop: main(), 1, until_s=60).value


def test_company_is_waited_for_as_long_as_it_comes() -> None:
    assert taken_of(1_000) == (1, 25.0)  # alone: one linger, as before
    assert taken_of(1_000, linger_ms=0) == (1, 0.0)
    count, waited_ms = taken_of(6)  # four come in a linger: four lingers
    assert count >= 4 * LINGERS_MOST
    assert waited_ms == 25.0 * LINGERS_MOST
    assert taken_of(20)[1] == 25.0  # one or two: not worth the wait
    count, waited_ms = taken_of(0.5)  # a crowd: one linger brings enough
    assert count >= COMPANY_MESSAGES
    assert waited_ms == 25.0
    count, waited_ms = taken_of(1_000, there=COMPANY_MESSAGES)  # enough are there: nobody is waited for
    assert count >= COMPANY_MESSAGES
    assert waited_ms == 0.0
    assert taken_of(6, most=4) == (4, 25.0)  # the group's own bound is company enough


def test_a_transaction_is_as_large_as_its_time_allows() -> None:
    pace = Pace(200, least=508, most=10_000)
    assert pace.most_weight == 10_000  # nothing is known yet
    for _ in range(20):
        pace.took(1_000, 100)
    assert pace.most_weight == 2_000
    for _ in range(20):
        pace.took(10, 1_000)  # the database hardly moves
    assert pace.most_weight == 508
    for _ in range(20):
        pace.took(10_000, 0)
    assert pace.most_weight == 10_000


def test_a_transaction_is_larger_while_messages_wait_for_long_and_no_larger_when_they_do_not() -> None:
    pace = Pace(200, least=508, most=100_000)
    for waited_ms, most in ((0, 2_000), (400, 2_000), (1_000, 5_000), (60_000, 10_000), (300, 2_000)):
        for _ in range(40):
            pace.took(1_000, 100, waited_ms)
        assert pace.most_weight == most, waited_ms


def came(who: int, *, at_ms: int) -> Arrived:
    return replace(batch(who, 1, 1).arrived, at_ms=at_ms)


def test_who_waits_is_told_so_in_time_and_not_at_every_look() -> None:
    """Before the four seconds after which an edge sends again, and anew before its hold ends."""
    patience = Patience(5_000)
    one, other = came(1, at_ms=0), came(2, at_ms=1_000)
    told: dict[str, list[tuple[int, int]]] = {}
    for now_ms in range(0, 30_001, REASSURED_EVERY_MS):
        for reply in patience.due([one, other, one], now_ms):
            assert (reply.ack.status, reply.ack.marks) == (AckStatus.STORED, ())
            told.setdefault(reply.edge, []).append((now_ms, reply.ack.slow_ms))
    assert (told[edge(1)][0][0], told[edge(2)][0][0]) == (2_000, 3_000)
    for each in told.values():
        for (at_ms, slow_ms), (next_ms, _) in pairwise(each):
            assert REASSURED_EVERY_MS < next_ms - at_ms < min(slow_ms, 8_000), "once a hold, before it is over"


def test_who_is_asked_to_hold_nothing_is_told_that_he_is_heard_all_the_same() -> None:
    patience = Patience(0)
    [reply] = patience.due([came(1, at_ms=0)], 2_000)
    assert reply.ack.slow_ms == 0
    assert patience.due([came(1, at_ms=0)], 2_500) == []
