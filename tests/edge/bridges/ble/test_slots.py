"""Connections at once are bounded, one a lock, and no slot is ever lost."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bridges.ble.slots import Slots
from protocols.errors import LinkLostError


async def test_the_bound_holds_and_the_next_waits_its_turn() -> None:
    slots, order = Slots(2), list[str]()

    async def use(lock: str) -> None:
        async with slots.reserve(lock, wait_ms=5_000):
            order.append(lock)
            assert len(slots.held) <= 2
            await asyncio.sleep(0.001)

    await asyncio.gather(*(use(f"lock-{n}") for n in range(10)))
    assert sorted(order) == sorted(f"lock-{n}" for n in range(10))
    assert slots.held == frozenset()


async def test_who_gets_no_turn_in_time_is_told_so() -> None:
    slots = Slots(1)
    async with slots.reserve("a", wait_ms=1_000):
        with pytest.raises(LinkLostError, match="1 at once"):
            async with slots.reserve("b", wait_ms=5):
                pass
    async with slots.reserve("b", wait_ms=1_000):
        assert slots.held == {"b"}


@pytest.mark.parametrize("failure", [RuntimeError, asyncio.CancelledError])
async def test_a_failing_user_gives_its_slot_back(failure: type[BaseException]) -> None:
    slots = Slots(1)
    with pytest.raises(failure):
        async with slots.reserve("a", wait_ms=1_000):
            raise failure
    async with slots.reserve("a", wait_ms=1_000):
        pass


async def _run(plan: list[tuple[int, int, bool]], most: int) -> None:
    slots, in_use = Slots(most), list[str]()

    async def use(lock: str, turns: int) -> None:
        async with slots.reserve(lock, wait_ms=5_000):
            assert lock not in in_use, "two connections to one lock"
            in_use.append(lock)
            assert len(in_use) <= most
            try:
                for _ in range(turns):
                    await asyncio.sleep(0)
            finally:
                in_use.remove(lock)

    tasks = [asyncio.ensure_future(use(f"lock-{lock}", turns)) for lock, turns, _ in plan]
    for task, (_, turns, cancel) in zip(tasks, plan, strict=True):
        for _ in range(turns):
            await asyncio.sleep(0)
        if cancel:
            task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
    assert slots.held == frozenset()
    for lock in range(4):  # all of them are free again
        async with slots.reserve(f"lock-{lock}", wait_ms=1_000):
            pass


@settings(max_examples=60, deadline=None)
@given(
    plan=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), min_size=1, max_size=25),
    most=st.integers(1, 3),
)
def test_whatever_is_cancelled_whenever_no_slot_leaks_and_no_lock_is_held_twice(
    plan: list[tuple[int, int, bool]], most: int
) -> None:
    asyncio.run(_run(plan, most))
