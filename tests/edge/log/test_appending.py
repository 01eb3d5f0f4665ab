"""Many producers, one commit: what `append_encoded` and the grouping promise."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge.log.record_log import ENCODED_RECORDS_MAX, Entry, RecordLog
from edge.log.settings import LaneSettings, LogSettings
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import LocalProtocolError, StoreFailedError
from protocols.link.lanes import Lane
from protocols.link.record import RECORD_BYTES_MAX, ClockQuality, encode_record

FOR_EVER = LaneSettings(pages_max=20_000, linger_ms=3_600_000, pending_records_max=500)
"""A linger that a test never sees the end of: the clock stands still."""
ENDLESS = LogSettings(FOR_EVER, FOR_EVER, FOR_EVER, ballast_bytes=0)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[RecordLog]:
    opened = await RecordLog.open(tmp_path, clock=ManualClock(), dice=SeededDice(1), settings=ENDLESS)
    yield opened
    await opened.close()


def encoded(n: int) -> bytes:
    return encode_record(
        "access", {"n": n}, device_at_ms=None, edge_at_ms=5, mono_ms=5, clock=ClockQuality.SYNCHRONISED
    )


async def test_what_is_urgent_takes_all_that_waits_with_it(log: RecordLog) -> None:
    waiting = [asyncio.create_task(log.append(Lane.B, "access", {"n": n})) for n in range(5)]
    await asyncio.sleep(0.01)
    assert log.heads()[Lane.B] == 0
    assert await log.append_encoded(Lane.B, [encoded(5), encoded(6)], urgent=True) == 7
    assert await asyncio.gather(*waiting) == [1, 2, 3, 4, 5]
    assert await log.append_many(Lane.B, [Entry("access", {"n": 7})], urgent=True) == [8]
    assert [record.body["n"] for record in await log.read(Lane.B, 0)] == list(range(8))


async def test_a_large_append_waits_for_no_company_and_is_never_parted(log: RecordLog) -> None:
    assert await log.append_encoded(Lane.A, [encoded(n) for n in range(4_500)]) == 4_500
    assert await log.verify_chain() == 4_500
    assert [record.body["n"] for record in await log.read(Lane.A, 4_490)] == list(range(4_490, 4_500))


async def test_a_thousand_producers_get_each_its_own_position(log: RecordLog) -> None:
    positions = await asyncio.gather(*(log.append_many(Lane.C, [Entry("access", {"n": n})] * 2) for n in range(1_000)))
    assert sorted(each for pair in positions for each in pair) == list(range(1, 2_001))
    found: dict[int, int] = {}
    after = 0
    while records := await log.read(Lane.C, after):
        found.update({record.seq: record.body["n"] for record in records})
        after = records[-1].seq
    assert all(found[seq] == n for n, pair in enumerate(positions) for seq in pair)


async def test_what_is_no_append_is_refused(log: RecordLog) -> None:
    for records in ([], [encoded(1)] * (ENCODED_RECORDS_MAX + 1), [encoded(1), bytes(RECORD_BYTES_MAX + 1)]):
        with pytest.raises(LocalProtocolError):
            await log.append_encoded(Lane.A, records)


async def test_nobody_waits_for_ever_on_a_log_that_closes(log: RecordLog) -> None:
    waiting = [asyncio.create_task(log.append(Lane.A, "access", {"n": n})) for n in range(5)]
    asking = asyncio.create_task(log.cursor("x", Lane.A))
    await asyncio.sleep(0)
    closing = asyncio.create_task(log.close())
    assert await asyncio.gather(*waiting) == [1, 2, 3, 4, 5]
    assert await asking == 0
    await closing
    with pytest.raises(StoreFailedError):
        await log.append_encoded(Lane.A, [encoded(1)])
