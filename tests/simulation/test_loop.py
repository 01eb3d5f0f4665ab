"""The simulated loop: time jumps, order is a throw of the dice, the real world is refused by name."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from kit.simulation import SimLoop, SimulationForbidsError, SimulationStuckError, run_simulated
from tests.seeds import LONG, seeds
from tests.simulation.nights import DAY_S, READ_EVERY_S, night

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize("seed", seeds(few=1, many=2))
def test_five_devices_lose_and_double_nothing_over_ten_days_on_a_bad_line(seed: int) -> None:
    world, _ = night(seed, days=10)
    assert len(world.said) == 5
    assert all(len(said) == 10 * DAY_S / READ_EVERY_S for said in world.said.values())
    assert world.heard == world.said


@LONG
def test_thirty_days_of_five_devices_fit_in_a_test() -> None:
    world, ended = night(seed=30, days=30)
    assert world.heard == world.said
    assert ended.ended_s >= 30 * DAY_S


def test_the_checker_finds_a_planted_defect_on_the_first_seed() -> None:
    world, _ = night(seed=0, days=2, dedupe=False)
    assert world.heard != world.said


def test_same_seed_same_trace_and_another_seed_another() -> None:
    first, again, other = (night(seed, days=2)[1] for seed in (5, 5, 6))
    assert first == again
    assert first.trace_hash != other.trace_hash


@pytest.mark.parametrize("hash_seed", ["0", pytest.param("1", marks=LONG), "4242"])
def test_the_trace_is_the_same_in_every_process(hash_seed: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "tests.simulation.nights", "5", "2"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert told.stdout.split()[0] == night(5, days=2)[1].trace_hash


def test_a_month_of_sleep_takes_no_time() -> None:
    async def main(loop: SimLoop) -> float:
        await asyncio.sleep(30 * DAY_S)
        return loop.time()

    assert run_simulated(main, seed=0, until_s=31 * DAY_S).value == 30 * DAY_S


def _orders(count: int) -> Callable[[SimLoop], Coroutine[Any, Any, tuple[int, ...]]]:
    async def main(loop: SimLoop) -> tuple[int, ...]:
        order: list[int] = []
        await asyncio.gather(*(_note(order, number) for number in range(count)))
        return tuple(order)

    async def _note(order: list[int], number: int) -> None:
        await asyncio.sleep(1)
        order.append(number)

    return main


def test_tasks_that_are_ready_together_run_in_every_order() -> None:
    seen = {run_simulated(_orders(3), seed, until_s=2).value for seed in range(60)}
    assert len(seen) == 6


def test_task_groups_cancel_in_the_same_order_every_time() -> None:
    """Their children live in a set: by address, the order would differ from run to run."""

    async def main(_loop: SimLoop) -> list[int]:
        order: list[int] = []

        async def child(number: int) -> None:
            try:
                await asyncio.sleep(100)
            finally:
                order.append(number)

        with pytest.raises(ExceptionGroup):  # noqa: PT012 - the group raises as it is left
            async with asyncio.TaskGroup() as group:
                for number in range(40):
                    group.create_task(child(number))
                await asyncio.sleep(1)
                raise ValueError("end")
        return order

    runs = []
    ballast = []
    for size in range(5):
        ballast.append([object() for _ in range(1000 * size)])  # moves addresses about
        runs.append(run_simulated(main, seed=3, until_s=200).value)
    assert all(run == runs[0] for run in runs)
    assert runs[0] != sorted(runs[0])


async def _open_connection() -> None:
    await asyncio.open_connection("127.0.0.1", 9)


async def _serve() -> None:
    await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)


async def _resolve() -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", 1)


async def _subprocess() -> None:
    await asyncio.create_subprocess_exec("true")


async def _to_thread() -> None:
    await asyncio.to_thread(len, "")


async def _thread() -> None:
    threading.Thread(target=len, args=("",)).start()


async def _socket() -> None:
    socket.socket()


async def _popen() -> None:
    subprocess.Popen(["true"])


async def _sleep() -> None:
    time.sleep(0)


async def _add_reader() -> None:
    asyncio.get_running_loop().add_reader(0, print)


@pytest.mark.parametrize(
    "reach",
    [
        _open_connection,
        _serve,
        _resolve,
        _subprocess,
        _to_thread,
        _thread,
        _socket,
        _popen,
        _sleep,
        _add_reader,
    ],
    ids=lambda reach: reach.__name__.strip("_"),
)
def test_the_real_world_is_refused_by_name(reach: Callable[[], Awaitable[None]]) -> None:
    async def main(_loop: SimLoop) -> None:
        await reach()

    with pytest.raises(SimulationForbidsError, match="not in a simulation") as caught:
        run_simulated(main, seed=1, until_s=1)
    assert any("seed 1" in note for note in caught.value.__notes__)


def test_the_real_world_is_back_after_a_run() -> None:
    async def main(_loop: SimLoop) -> None:
        return

    run_simulated(main, seed=1, until_s=1)
    with socket.socket() as back:
        assert back.fileno() > 0


def test_blocking_calls_run_in_place_where_the_world_allows_them() -> None:
    async def main(loop: SimLoop) -> tuple[int, float]:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return await asyncio.to_thread(len, "four"), loop.time()

    assert run_simulated(main, seed=1, until_s=1, blocking="inline").value == (4, 0.0)


def test_a_run_that_does_not_end_in_time_says_so() -> None:
    async def main(_loop: SimLoop) -> None:
        await asyncio.sleep(100)

    with pytest.raises(TimeoutError) as caught:
        run_simulated(main, seed=9, until_s=10)
    assert any("seed 9, at 10.000 s" in note for note in caught.value.__notes__)


def test_a_deadlock_names_who_waits() -> None:
    async def main(loop: SimLoop) -> None:
        await asyncio.create_task(_forever(loop), name="the-lost-one")

    async def _forever(loop: SimLoop) -> None:
        await loop.create_future()

    with pytest.raises(SimulationStuckError, match="waiting are main, the-lost-one"):
        run_simulated(main, seed=1, until_s=10)


def test_callbacks_that_call_each_other_for_ever_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.simulation.loop.TURNS_AT_ONE_TIME_MAX", 1_000)

    async def main(_loop: SimLoop) -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(SimulationStuckError, match="time stands still"):
        run_simulated(main, seed=1, until_s=10)


def test_an_exception_that_nobody_awaits_fails_the_run() -> None:
    async def main(_loop: SimLoop) -> None:
        async def crash() -> None:
            raise KeyError("lost")

        task = asyncio.create_task(crash())
        await asyncio.sleep(1)
        assert task.done()
        del task

    with pytest.raises(ExceptionGroup) as caught:
        run_simulated(main, seed=1, until_s=10)
    assert caught.group_contains(KeyError)


def test_tasks_left_behind_are_cancelled_and_their_failures_told() -> None:
    ended: list[str] = []
    left: list[asyncio.Task[None]] = []

    async def main(_loop: SimLoop) -> None:
        async def linger() -> None:
            try:
                await asyncio.sleep(1_000)
            finally:
                ended.append("lingerer")

        async def fail_late() -> None:
            try:
                await asyncio.sleep(1_000)
            except asyncio.CancelledError:
                raise OSError("while ending") from None

        left.extend([asyncio.create_task(linger()), asyncio.create_task(fail_late())])
        await asyncio.sleep(1)

    with pytest.raises(ExceptionGroup) as caught:
        run_simulated(main, seed=1, until_s=10)
    assert caught.group_contains(OSError, match="while ending")
    assert ended == ["lingerer"]
