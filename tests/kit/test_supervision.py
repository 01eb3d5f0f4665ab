"""Supervision: crashes are seen, counted and tried again; a stop stops."""

import asyncio
import itertools
from typing import Any

import pytest
import structlog

from kit.cancellation import heed_cancellation
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.health import Health
from kit.simulation import SimClock, SimLoop, run_simulated
from kit.supervision import Backoff, Supervisor
from protocols.errors import LinkLostError


class _Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def error(self, event: str, **facts: object) -> None:
        self.lines.append(("error", event, facts))

    def warning(self, event: str, **facts: object) -> None:
        self.lines.append(("warning", event, facts))


def _supervisor(loop: SimLoop, log: _Log, health: Health | None = None) -> Supervisor:
    return Supervisor(clock=SimClock(loop), dice=loop.dice("backoff"), log=log, health=health)


@pytest.mark.guarantee("G11")
def test_a_crash_is_logged_counted_and_tried_again() -> None:
    log, runs = _Log(), list[float]()

    async def main(loop: SimLoop) -> int:
        async def part() -> None:
            runs.append(loop.time())
            if len(runs) < 4:
                raise KeyError("broken")

        async with _supervisor(loop, log) as supervisor:
            supervisor.start("part", part, restart=Backoff(first_ms=100, most_ms=10_000))
            while supervisor.running():
                await asyncio.sleep(1)
            return supervisor.failures("part")

    assert run_simulated(main, seed=1, until_s=60).value == 3
    assert [(level, event, facts["error"]) for level, event, facts in log.lines] == [
        ("error", "task_crashed", "KeyError: 'broken'")
    ] * 3
    pauses = [later - earlier for earlier, later in itertools.pairwise(runs)]
    assert all(pause <= 0.1 * 2**n for n, pause in enumerate(pauses))


@pytest.mark.guarantee("G12")
def test_pauses_have_full_jitter_and_a_ceiling() -> None:
    backoff, dice = Backoff(first_ms=100, most_ms=5_000), SeededDice(1)
    for crashes in (1, 3, 20, 10_000):
        ceiling = min(5_000, 100 * 2 ** min(crashes - 1, 30))
        pauses = [backoff.pause_ms(crashes, dice) for _ in range(500)]
        assert 0 <= min(pauses) < ceiling * 0.1
        assert ceiling * 0.9 < max(pauses) <= ceiling


def test_a_long_run_starts_the_count_again() -> None:
    log, runs = _Log(), list[float]()

    async def main(loop: SimLoop) -> None:
        async def part() -> None:
            runs.append(loop.time())
            await asyncio.sleep(120)
            raise LinkLostError("gone")

        async with _supervisor(loop, log) as supervisor:
            supervisor.start("part", part, restart=Backoff(first_ms=10, most_ms=60_000))
            await asyncio.sleep(3_600)

    run_simulated(main, seed=1, until_s=4_000)
    assert len(runs) > 20
    assert all(later - earlier <= 120.011 for earlier, later in itertools.pairwise(runs))
    assert {(level, event) for level, event, _ in log.lines} == {("warning", "task_failed")}


def test_without_restart_a_crash_ends_the_task_alone() -> None:
    log = _Log()

    async def main(loop: SimLoop) -> tuple[int, list[str]]:
        async def crash() -> None:
            raise OSError("disk")

        async def live() -> None:
            await asyncio.sleep(1_000)

        async with _supervisor(loop, log) as supervisor:
            supervisor.start("crash", crash, restart=None)
            supervisor.start("live", live)
            await asyncio.sleep(10)
            return supervisor.failures("crash"), supervisor.running()

    assert run_simulated(main, seed=1, until_s=60).value == (1, ["live"])


def test_a_cancellation_from_below_is_a_crash_not_an_end() -> None:
    """A task that awaits something which is cancelled must not fall silent for ever."""
    log, runs = _Log(), list[int]()

    async def main(loop: SimLoop) -> None:
        async def part() -> None:
            runs.append(1)
            if len(runs) == 1:
                below = loop.create_future()
                below.cancel()
                await below
            await asyncio.sleep(1_000)

        async with _supervisor(loop, log) as supervisor:
            supervisor.start("part", part)
            await asyncio.sleep(100)

    run_simulated(main, seed=1, until_s=200)
    assert len(runs) == 2


def test_leaving_cancels_all_and_waits_for_their_ends() -> None:
    ended: list[str] = []

    async def main(loop: SimLoop) -> None:
        async def part(name: str) -> None:
            try:
                await asyncio.sleep(1_000)
            finally:
                await asyncio.sleep(1)
                ended.append(name)

        async with _supervisor(loop, _Log()) as supervisor:
            for name in ("a", "b"):
                supervisor.start(name, lambda name=name: part(name))  # type: ignore[misc]  # mypy infers no lambda with a default
            await asyncio.sleep(1)
        assert sorted(ended) == ["a", "b"]
        with pytest.raises(ValueError, match="is stopping"):
            supervisor.start("c", lambda: part("c"))

    run_simulated(main, seed=1, until_s=60)


def test_an_error_in_the_moment_of_the_end_does_not_begin_a_task_anew() -> None:
    """A clean-up that fails puts its error in the cancellation's place."""
    log, runs = _Log(), list[int]()

    async def main(loop: SimLoop) -> float:
        async def part() -> None:
            runs.append(1)
            try:
                await asyncio.sleep(1_000)
            finally:
                raise LinkLostError("could not say goodbye")

        supervisor = _supervisor(loop, log)
        supervisor.start("part", part)
        await asyncio.sleep(1)
        await supervisor.stop()
        return loop.time()

    assert run_simulated(main, seed=1, until_s=60).value == 1.0
    assert runs == [1]
    assert log.lines == []


def test_a_loop_that_survives_errors_heeds_a_cancellation_that_an_error_hid() -> None:
    rounds = list[int]()

    async def main(_: SimLoop) -> None:
        async def keep_connected() -> None:
            while True:
                rounds.append(1)
                try:
                    try:
                        await asyncio.sleep(1_000)
                    finally:
                        raise LinkLostError("could not say goodbye")
                except LinkLostError:
                    pass
                heed_cancellation()
                await asyncio.sleep(1)

        task = asyncio.create_task(keep_connected())
        await asyncio.sleep(1)
        heed_cancellation()  # nobody asked this one to end
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_simulated(main, seed=1, until_s=10)
    assert rounds == [1]


def test_a_task_deaf_to_cancellation_is_named_and_left() -> None:
    log = _Log()

    async def main(loop: SimLoop) -> float:
        let_go = asyncio.Event()

        async def deaf() -> None:
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue

        supervisor = _supervisor(loop, log)
        supervisor.start("deaf", deaf)
        await asyncio.sleep(1)
        await supervisor.stop()
        stopped_s = loop.time()
        let_go.set()
        await asyncio.sleep(1)
        return stopped_s

    assert run_simulated(main, seed=1, until_s=60).value == 11.0
    assert [(event, facts["task"]) for _, event, facts in log.lines] == [("task_ignores_cancellation", "deaf")]


def test_a_name_is_taken_while_its_task_runs() -> None:
    async def main(loop: SimLoop) -> None:
        async with _supervisor(loop, _Log()) as supervisor:
            supervisor.start("part", lambda: asyncio.sleep(10))
            with pytest.raises(ValueError, match="part: is already running"):
                supervisor.start("part", lambda: asyncio.sleep(10))
            await supervisor.cancel("part")
            await supervisor.cancel("never was")
            supervisor.start("part", lambda: asyncio.sleep(10))

    run_simulated(main, seed=1, until_s=60)


@pytest.mark.guarantee("G17")
def test_health_follows_the_task() -> None:
    health = Health()
    health.expect("part")

    async def main(loop: SimLoop) -> list[bool]:
        broken = True

        async def part() -> None:
            if broken:
                raise LinkLostError("no broker")
            await asyncio.sleep(1_000)

        seen = []
        async with _supervisor(loop, _Log(), health) as supervisor:
            supervisor.start("part", part, restart=Backoff(first_ms=1_000, most_ms=1_000))
            await asyncio.sleep(20)
            seen.append(health.ready()[0])
            broken = False
            await asyncio.sleep(20)
            seen.append(health.ready()[0])
        return seen

    assert run_simulated(main, seed=1, until_s=60).value == [False, True]


def test_health_is_open_to_all_and_quotes_only_our_own_errors() -> None:
    health = Health()

    async def main(loop: SimLoop) -> None:
        async def ours() -> None:
            raise LinkLostError("no broker")

        async def foreign() -> None:
            raise ConnectionError("postgres://user:hush@db")

        async with _supervisor(loop, _Log(), health) as supervisor:
            supervisor.start("ours", ours, restart=None)
            supervisor.start("foreign", foreign, restart=None)
            await asyncio.sleep(1)

    run_simulated(main, seed=1, until_s=10)
    parts = health.ready()[1]["parts"]
    assert (parts["ours"]["detail"], parts["foreign"]["detail"]) == ("no broker", "ConnectionError")


async def test_it_takes_a_structlog_logger() -> None:
    with structlog.testing.capture_logs() as lines:
        async with Supervisor(clock=ManualClock(), dice=SeededDice(0), log=structlog.get_logger()) as supervisor:

            async def crash() -> None:
                raise ZeroDivisionError("x")

            supervisor.start("part", crash, restart=None)
            while supervisor.running():
                await asyncio.sleep(0)
    assert [(line["event"], line["failures"]) for line in lines] == [("task_crashed", 1)]
