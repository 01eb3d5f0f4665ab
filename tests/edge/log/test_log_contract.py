"""What a record log promises, held by the real one and by the one the simulation runs on."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from edge.log.record_log import Entry, RecordLog
from edge.log.settings import LaneSettings, LogSettings
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.device_model.identity import EdgeId
from protocols.errors import LocalProtocolError
from protocols.link.batch import HoleReason, Packed, pack_batch, parse_batch
from protocols.link.cloud_stream import ChainVerdict, CloudStream
from protocols.link.lanes import LANES, Lane
from protocols.link.record import ClockQuality
from tests.edge.log.inline_log import InlineLog

Log = RecordLog | InlineLog
Open = Callable[[], Awaitable[Log]]
PAGES = 60
SMALL = LaneSettings(pages_max=PAGES, linger_ms=0, keep_acked_records=50_000)
EDGE = EdgeId("e-aurora0000000001")


@pytest.fixture(params=["threads", "inline"])
async def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Open the log; again closes it first and opens the same files."""
    clock, dice = ManualClock(now_ms=1_000), SeededDice(1)
    opened: list[Log] = []

    async def again() -> Log:
        if opened:
            await opened.pop().close()
        if request.param == "threads":
            settings = LogSettings(SMALL, SMALL, SMALL)
            opened.append(await RecordLog.open(tmp_path / "log", clock=clock, dice=dice, settings=settings))
        else:
            opened.append(InlineLog(tmp_path / "log", clock=clock, dice=dice, pages_max=PAGES))
        return opened[0]

    yield again
    while opened:
        await opened.pop().close()


def entry(n: int) -> Entry:
    return Entry("access", {"n": n, "door": "door-101"})


async def runs(log: Log, lane: Lane, after: int = 0) -> AsyncIterator[Packed]:
    incarnation = log.incarnations()[lane]
    while (run := await log.run(incarnation, lane, after, 500)) is not None:
        yield run
        after = run.last


@pytest.mark.guarantee("G10")
async def test_positions_count_from_one_without_holes_whatever_the_clock_says(reopen: Open) -> None:
    log = await reopen()
    assert [await log.append(Lane.A, "access", {"n": n}) for n in range(3)] == [1, 2, 3]
    assert await log.append_many("A", [entry(n) for n in range(5)]) == [4, 5, 6, 7, 8]
    assert await log.append(Lane.B, "device", {"device": "t-101"}, device_at_ms=5) == 1
    log = await reopen()
    assert await log.append(Lane.A, "access", {"n": 9}) == 9
    records = await log.read(Lane.A, 2, 4)
    assert [(record.seq, record.kind, record.body["n"]) for record in records] == [
        (3, "access", 2), (4, "access", 0), (5, "access", 1), (6, "access", 2),
    ]  # fmt: skip
    [event] = await log.read(Lane.B, 0, 10)
    assert (event.device_at_ms, event.mono_ms, event.clock) == (5, 1_000, ClockQuality.SYNCHRONISED)


async def test_what_cannot_be_stored_or_sent_is_refused_at_the_door(reopen: Open) -> None:
    log = await reopen()
    bodies: tuple[dict[str, object], ...] = (
        {"x": float("nan")},
        {"x": b"bytes"},
        {"x": "\x00"},
        {"x": 2**63},
        {"x": [[[[]]]]},
        {"x": "y" * 9_000},
    )
    for body in bodies:
        with pytest.raises(LocalProtocolError):
            await log.append(Lane.A, "access", body)
    with pytest.raises(LocalProtocolError):
        await log.append(Lane.A, "No Kind", {})
    assert log.heads() == dict.fromkeys(LANES, 0)


@pytest.mark.guarantee("G2")
async def test_a_record_taken_over_from_another_store_is_taken_once(reopen: Open) -> None:
    log = await reopen()
    assert await log.append_once("doors", 1, Lane.A, entry(1)) == 1
    assert await log.append_once("doors", 2, Lane.A, entry(2)) == 2
    assert await log.append_once("doors", 2, Lane.A, entry(2)) is None
    log = await reopen()
    assert await log.source_mark("doors", Lane.A) == 2
    assert await log.append_once("doors", 1, Lane.A, entry(1)) is None
    assert await log.append_once("doors", 3, Lane.A, entry(3)) == 3
    assert await log.append_once("lifts", 1, Lane.A, entry(4)) == 4
    assert [record.body["n"] for record in await log.read(Lane.A, 0, 10)] == [1, 2, 3, 4]


async def test_cursors_only_move_forward_and_survive(reopen: Open) -> None:
    log = await reopen()
    await log.append_many(Lane.B, [entry(n) for n in range(10)])
    assert await log.cursor("rooms", Lane.B) == 0
    await log.advance("rooms", Lane.B, 7)
    await log.advance("rooms", Lane.B, 3)
    with pytest.raises(LocalProtocolError):
        await log.advance("rooms", Lane.B, 11)
    log = await reopen()
    assert await log.cursor("rooms", Lane.B) == 7
    assert await log.cursor("other", Lane.B) == 0


@pytest.mark.guarantee("G14")
async def test_the_cloud_follows_the_chain_across_openings_and_trims(reopen: Open) -> None:
    log = await reopen()
    cloud = CloudStream(log.incarnations()[Lane.A], Lane.A)
    for round_ in range(5):
        await log.append_many(Lane.A, [entry(n) for n in range(20)])
        async for run in runs(log, Lane.A, cloud.hi):
            payload, last = pack_batch(EDGE, cloud.incarnation, Lane.A, run)
            assert last == run.last
            assert cloud.offer(parse_batch(payload).open()).verdict is ChainVerdict.GOOD
        await log.acked(cloud.incarnation, Lane.A, cloud.hi)
        assert await log.trim(Lane.A, cloud.hi - 5) >= 15
        assert await log.verify_chain() == 5
        log = await reopen()
        assert cloud.hi == 20 * (round_ + 1)


async def test_a_batch_never_spans_two_openings(reopen: Open) -> None:
    log = await reopen()
    await log.append_many(Lane.A, [entry(n) for n in range(3)])
    log = await reopen()
    await log.append_many(Lane.A, [entry(n) for n in range(4)])
    log = await reopen()  # wrote nothing
    log = await reopen()
    await log.append_many(Lane.A, [entry(n) for n in range(2)])
    found = [(run.first, run.last, run.opening) async for run in runs(log, Lane.A)]
    assert [(first, last) for first, last, _ in found] == [(1, 3), (4, 7), (8, 9)]
    assert len({opening for _, _, opening in found}) == 3


@pytest.mark.guarantee("G9")
async def test_a_full_lane_gives_up_its_oldest_and_says_so(reopen: Open) -> None:
    log = await reopen()
    for _ in range(200):
        await log.append_many(Lane.C, [entry(n) for n in range(50)])
    run = await log.run(log.incarnations()[Lane.C], Lane.C, 0, 500)
    assert run is not None
    [hole] = run.holes
    assert (hole.first, hole.reason) == (1, HoleReason.QUOTA)
    assert run.seqs[0] == hole.last + 1
    cloud = CloudStream(log.incarnations()[Lane.C], Lane.C)
    held = 0
    async for each in runs(log, Lane.C):
        payload, _ = pack_batch(EDGE, cloud.incarnation, Lane.C, each)
        held += len(cloud.offer(parse_batch(payload).open()).records)
    assert cloud.hi == 200 * 50 == held + hole.last


@pytest.mark.guarantee("G9")
async def test_what_the_cloud_has_gives_way_before_anything_else(reopen: Open) -> None:
    log = await reopen()
    for round_ in range(100):
        await log.append_many(Lane.A, [entry(n) for n in range(50)])
        await log.acked(log.incarnations()[Lane.A], Lane.A, (round_ + 1) * 50)
    assert log.heads()[Lane.A] == 5_000
    assert await log.verify_chain() < 5_000


@pytest.mark.guarantee("G18")
async def test_a_new_life_moves_what_was_written_since_and_reuses_no_position(reopen: Open) -> None:
    log = await reopen()
    await log.append_many(Lane.A, [entry(n) for n in range(10)])
    old = log.incarnations()[Lane.A]
    new = await log.begin_life(Lane.A, cut=6, reason="test")
    assert log.incarnations()[Lane.A] == new != old
    assert [record.body["n"] for record in await log.read(Lane.A, 0, 10)] == [6, 7, 8, 9]
    assert await log.append(Lane.A, "access", {"n": 10}) == 5
    assert [(head.incarnation, head.last, head.closed) for head in await log.streams() if head.lane is Lane.A] == [
        (old, 6, True), (new, 5, False),
    ]  # fmt: skip
    await log.acked(old, Lane.A, 99)
    assert [head.incarnation for head in await log.streams() if head.lane is Lane.A] == [new]
    assert await log.verify_chain() == 5
    log = await reopen()
    assert log.incarnations()[Lane.A] == new


@pytest.mark.guarantee("G13")
async def test_a_command_and_its_record_are_kept_together(reopen: Open) -> None:
    log = await reopen()
    assert await log.command_known("k-1") is None
    await log.command_phase("k-1", "c-1", "executing", None, Entry("command", {"id": "c-1", "phase": "executing"}))
    log = await reopen()
    assert await log.commands_in("executing") == [("k-1", "c-1")]
    await log.command_phase("k-1", "c-1", "done", '{"x":1}', Entry("command", {"id": "c-1", "phase": "done"}))
    known = await log.command_known("k-1")
    assert known is not None
    assert (known.id, known.phase, known.result) == ("c-1", "done", '{"x":1}')
    assert [record.body["phase"] for record in await log.read(Lane.A, 0, 10)] == ["executing", "done"]
    await log.keep_document("stays", 3, b"signed")
    assert await log.document("stays") == (3, b"signed")
    assert await log.document("other") is None
