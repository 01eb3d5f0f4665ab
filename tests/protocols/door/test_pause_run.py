"""Pauses one after the other: the log tells of one a minute, counts the others, and outlasts whoever makes them."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import protocols.vectors
from protocols.door.audit import NOBODY, AuditEvent
from protocols.door.identity import LockIdentity
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import RECORDS_MOST, Sensed
from protocols.door.phone import Carry, Unlock
from protocols.door.status import Status
from protocols.door.throttle import (
    THROTTLE_FAILURES,
    THROTTLE_MOST_MS,
    THROTTLE_WINDOW_MS,
    TOLD_EVERY_MS,
    Throttle,
)
from protocols.grant.revocation import Bump
from protocols.vectors.fixed import RTC_S, TONIGHT, Meeting, fixed_hotel, fresh_core
from tests.seeds import seeds

pytestmark = pytest.mark.requirement("P14")
HOTEL = fixed_hotel()
LOCK = HOTEL.room_101
ELSEWHERE = Carry(HOTEL.signed(Bump(102, TONIGHT + 1)), HOTEL.revocation.certificate.encoded)
VECTOR: dict[str, Any] = json.loads(
    (Path(protocols.vectors.__file__).parent / "door/throttled_run.json").read_text(encoding="utf-8")
)
A_MINUTE_MOST = 6


def ask(core: LockCore, request: Carry | Unlock, *, seed: str, now_ms: int) -> tuple[LockCore, Status]:
    meeting = Meeting(LOCK, core, Sensed(RTC_S + now_ms // 1_000), seed=seed, now_ms=now_ms)
    [answer] = meeting.run(request)
    assert answer.result.audit_seq == meeting.core.audit_seq
    return meeting.core, answer.result.status


def in_a_run(now_ms: int) -> LockCore:
    """Return a lock whose fifth failure of a minute comes next, and which has told of a pause a second ago."""
    throttle = Throttle((now_ms - 1_000,) * THROTTLE_FAILURES, THROTTLE_MOST_MS, now_ms, now_ms - 1_000, 3)
    return replace(fresh_core(LOCK), throttle=throttle)


@pytest.mark.parametrize(
    "request_",
    [ELSEWHERE, HOTEL.unlock(key=HOTEL.stranger), HOTEL.unlock(HOTEL.grant(generation=1))],
    ids=["CARRY", "UNLOCK by a stranger", "UNLOCK superseded"],
)
def test_a_pause_within_a_minute_of_one_that_was_told_is_counted_and_costs_no_flash(request_: Carry | Unlock) -> None:
    before = replace(in_a_run(20_000), generation=TONIGHT + 1)
    after, status = ask(before, request_, seed="counted", now_ms=20_000)
    assert status.reason is not None, "he is told why all the same"
    assert after.encode() == before.encode()
    assert after.throttle.wait_ms(20_000) == THROTTLE_MOST_MS
    assert after.throttle.untold == 4


def test_the_next_record_says_how_many_there_were() -> None:
    core = in_a_run(20_000)
    later_ms = 19_000 + TOLD_EVERY_MS
    core = replace(core, throttle=replace(core.throttle, failures_ms=(later_ms - 1,) * THROTTLE_FAILURES))
    core, _ = ask(core, ELSEWHERE, seed="later", now_ms=later_ms)
    assert [(each.event, each.actor) for each in core.records[-2:]] == [
        (AuditEvent.REFUSED, NOBODY),
        (AuditEvent.THROTTLED, (3).to_bytes(8, "big")),
    ]
    assert core.throttle.untold == 0


def test_a_guest_who_opens_in_a_run_is_in_the_log() -> None:
    core, status = ask(in_a_run(20_000), HOTEL.unlock(), seed="guest", now_ms=20_000)
    assert status is Status.OPENED
    assert core.records[-1].event is AuditEvent.OPENED


def test_power_lost_forgets_the_count_with_the_pause() -> None:
    assert LockCore.decode(in_a_run(20_000).encode()).throttle == Throttle()


def told_of(waits_ms: Iterator[int], until_ms: int) -> int:
    """Return how many records somebody leaves who fails again after these times, or when the lock lets him."""
    throttle, records, now_ms = Throttle(), 0, 0
    while now_ms < until_ms:
        after = throttle.failed(now_ms)
        if not after.wait_ms(now_ms):
            records += 1
        elif after.tells(now_ms):
            records += 2
            after = replace(after, told_ms=now_ms, untold=0)
        throttle = after
        now_ms = max(now_ms + next(waits_ms), throttle.until_ms)
    return records


@pytest.mark.parametrize("seed", seeds(2, 40))
def test_no_way_of_failing_leaves_more_than_six_records_a_minute(seed: int) -> None:
    """Steady, in bursts, just beside each rule: by lots over the times that matter."""
    dice, minutes = random.Random(seed), 20
    matter = (1, 500, THROTTLE_MOST_MS, 12_000, 14_999, 15_000, THROTTLE_WINDOW_MS - 1, THROTTLE_WINDOW_MS)
    for _ in range(200):
        some = dice.sample(matter, dice.randint(1, 4))
        left = told_of((dice.choice(some) for _ in count()), minutes * 60_000)
        assert left <= A_MINUTE_MOST * (minutes + 1), some


def test_a_log_lasts_more_than_five_hours_of_it() -> None:
    assert RECORDS_MOST / A_MINUTE_MOST > 5.5 * 60


def test_the_log_tells_as_the_vector_says() -> None:
    identity = LockIdentity.from_document(VECTOR["lock"], "lock")
    core = fresh_core(identity)
    assert sum(not each["records"] for each in VECTOR["failures"]) > 10, "most pauses are only counted"
    for number, each in enumerate(VECTOR["failures"]):
        seq = core.audit_seq
        core, status = ask(core, ELSEWHERE, seed=f"run {number}", now_ms=each["at_ms"])
        assert status is Status.WRONG_DOOR
        assert core.throttle.wait_ms(each["at_ms"]) == each["pause_ms"]
        assert [
            {"event": int(record.event), "actor": record.actor.hex(), "status": int(record.status)}
            for record in core.records
            if record.seq > seq
        ] == each["records"]
