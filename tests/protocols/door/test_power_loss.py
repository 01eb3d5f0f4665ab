"""Batteries out and in again: what was over stays over, and a clock that ran ahead can still be set back."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import protocols.vectors
from protocols.door.audit import AuditEvent
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.status import Status
from protocols.door.throttle import THROTTLE_FAILURES, Throttle
from protocols.grant.grant import GrantFlag
from protocols.grant.keys import DAY_S, HOUR_S
from protocols.grant.lock_time import DRIFT_PPM, TimeQuality
from protocols.grant.revocation import Body, TimeBeacon
from protocols.vectors.fixed import AT_S, RTC_S, Meeting, fixed_hotel, fresh_core

HOTEL = fixed_hotel()
LOCK = HOTEL.room_101


def noted(core: LockCore, rtc_s: int) -> LockCore:
    """Return it after a record: the bolt was worked from inside."""
    return core.recorded(AuditEvent.BOLT, Sensed(rtc_s), Status.DONE)


def answered(core: LockCore, body: Body, at_s: int, rtc_s: int) -> LockCore:
    """Return it after a time object signed at `at_s`, taken."""
    outcome = core.carried(
        LOCK, HOTEL.signed(body, at_s), HOTEL.revocation.certificate.encoded, bytes(16), Sensed(rtc_s)
    )
    assert outcome.status is Status.DONE
    return outcome.core


@pytest.mark.guarantee("G5")
@pytest.mark.requirement("P8")
def test_a_key_that_was_over_opens_no_more_when_the_power_was_gone() -> None:
    grant = HOTEL.grant(not_after_s=AT_S + 2 * HOUR_S)
    late = RTC_S + 3 * HOUR_S
    told = Meeting(LOCK, fresh_core(LOCK), Sensed(late), seed="over")
    assert told.run(HOTEL.unlock(grant))[0].result.status is Status.EXPIRED
    for lost in (told.core.restarted(Sensed(0)), told.core.restarted(Sensed(0)).restarted(Sensed(0))):
        assert lost.time(0).quality is TimeQuality.UNCERTAIN
        again = Meeting(LOCK, LockCore.decode(lost.encode()), Sensed(1), seed="again")
        assert again.run(HOTEL.unlock(grant))[0].result.status is Status.EXPIRED
        still = Meeting(LOCK, lost, Sensed(1), seed="still")
        assert still.run(HOTEL.unlock())[0].result.status is Status.OPENED


@pytest.mark.requirement("P8")
@given(
    ppm=st.integers(-DRIFT_PPM, DRIFT_PPM),
    waits=st.lists(st.tuples(st.integers(0, 20 * DAY_S), st.booleans()), min_size=1, max_size=6),
    off_s=st.integers(0, DAY_S),
)
@settings(max_examples=80, deadline=None)
def test_after_any_power_loss_the_clock_is_behind_the_truth_and_as_near_as_the_log(
    ppm: int, waits: list[tuple[int, bool]], off_s: int
) -> None:
    core, passed_s = fresh_core(LOCK), 0
    for wait_s, restarts in waits:
        passed_s += wait_s
        core = noted(core, RTC_S + passed_s + passed_s * ppm // 1_000_000)
        lost = core.restarted(Sensed(0))
        true_s = AT_S + passed_s
        assert lost.floor_s == core.floor_s
        assert true_s - 2 * DRIFT_PPM * passed_s / 1_000_000 - 3 <= lost.time(0).now_s <= true_s
        if restarts:
            assert noted(lost, off_s).restarted(Sensed(0)).time(0).now_s == lost.time(0).now_s, "none sinks with it"


@pytest.mark.guarantee("G5")
@pytest.mark.requirement("P11", "P14")
def test_a_use_that_may_be_asked_again_and_a_pause_go_with_the_power() -> None:
    once = HOTEL.unlock(HOTEL.grant(flags=GrantFlag.ONE_SHOT))
    used = Meeting(LOCK, fresh_core(LOCK), seed="used")
    assert used.run(once)[0].result.status is Status.OPENED
    asked_again = Meeting(LOCK, used.core, seed="asked again", now_ms=used.now_ms + 1)
    assert asked_again.run(once)[0].result.status is Status.OPENED, "the same use: its answer may have been lost"
    lost = Meeting(LOCK, used.core.restarted(Sensed(0)), Sensed(1), seed="lost", now_ms=used.now_ms + 1)
    assert lost.run(once)[0].result.status is Status.USED_UP
    core = fresh_core(LOCK)
    for _ in range(THROTTLE_FAILURES):
        core = core.failed(1_000, Sensed(RTC_S))
    assert core.throttle.wait_ms(1_000) > 0
    assert core.restarted(Sensed(0)).throttle == Throttle()


@pytest.mark.requirement("P8")
def test_a_clock_that_ran_ahead_is_set_back_after_a_power_loss_too() -> None:
    ahead = noted(fresh_core(LOCK), RTC_S + 5 * DAY_S)
    lost = ahead.restarted(Sensed(0))
    assert lost.time(0).now_s > AT_S + 4 * DAY_S
    mended = answered(lost, TimeBeacon(bytes(16)), AT_S + 60, 0)
    assert mended.time(0).now_s == AT_S + 60
    assert mended.restarted(Sensed(0)).time(0).now_s == AT_S + 60, "what was written before it was set back is older"


def test_a_log_without_a_certain_record_starts_from_the_floor() -> None:
    core = fresh_core(LOCK)
    assert replace(core, records=()).restarted(Sensed(7)).time(7).now_s == core.floor_s
    unsure = noted(replace(core, certain=False, records=()), RTC_S + DAY_S)
    assert unsure.restarted(Sensed(7)).time(7).now_s == core.floor_s


@pytest.mark.requirement("P1", "P8")
def test_a_lock_counts_from_where_the_vectors_say() -> None:
    text = (Path(protocols.vectors.__file__).parent / "door/restarted.json").read_text(encoding="utf-8")
    for case in json.loads(text)["cases"]:
        after = LockCore.decode(bytes.fromhex(case["lock_memory_before"])).restarted(Sensed(0))
        assert (after.time(0).now_s, after.floor_s) == (case["starts_at_s"], case["floor_s"]), case["about"]
        assert after.encode().hex() == case["lock_memory_after"]
