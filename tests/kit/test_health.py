"""Health: ready only when every expected part says so; alive unless one says that only a restart helps."""

import pytest

from kit.clock import ManualClock
from kit.health import Health


@pytest.mark.guarantee("G17")
def test_ready_waits_for_every_expected_part_to_speak() -> None:
    health = Health()
    health.expect("log")
    health.expect("link")
    assert health.ready()[0] is False
    health.report("log", ok=True)
    assert health.ready()[0] is False
    health.report("link", ok=True)
    assert health.ready()[0] is True
    health.report("link", ok=False, detail="no broker")
    ready, told = health.ready()
    assert ready is False
    assert told["status"] == "not_ready"
    assert told["parts"]["link"] == {"ok": False, "expected": True, "detail": "no broker"}


def test_an_unexpected_part_is_shown_but_does_not_count() -> None:
    health = Health()
    health.report("bus-1", ok=False)
    ready, told = health.ready()
    assert ready is True
    assert told["parts"]["bus-1"]["ok"] is False


def test_expecting_later_keeps_what_was_said() -> None:
    health = Health()
    health.report("log", ok=True)
    health.expect("log")
    assert health.ready()[0] is True


def test_not_ready_is_still_alive_unless_fatal() -> None:
    health = Health()
    health.report("store", ok=False, detail="disk slow")
    live, told = health.live()
    assert (live, told["status"]) == (True, "alive")
    assert told["parts"]["store"]["detail"] == "disk slow"  # a restart would not help, and yet somebody must know
    health.report("store", ok=False, detail="file corrupt", fatal=True)
    live, told = health.live()
    assert live is False
    assert list(told["parts"]) == ["store"]
    health.report("store", ok=True)
    assert health.live() == (True, {"status": "alive", "parts": {}})


@pytest.mark.guarantee("G17")
def test_the_age_of_a_state_is_told_and_starts_with_its_change() -> None:
    clock = ManualClock()
    health = Health(clock)
    health.report("link", ok=True)
    clock.advance(500)
    health.report("link", ok=True, detail="still")
    clock.advance(500)
    assert health.ready()[1]["parts"]["link"]["for_ms"] == 1_000
    health.report("link", ok=False)
    clock.advance(5)
    assert health.ready()[1]["parts"]["link"]["for_ms"] == 5
