"""Whose turn it is: nobody's backlog stands before others' present, and no stream loses its order."""

import asyncio
from collections import defaultdict
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.telemetry.fan_in.arrivals import BatchItem, Item
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
from protocols.link.batch import RECORDS_MAX
from protocols.link.lanes import Lane
from tests.cloud.telemetry.sending import arrived, edge, note, packed


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
