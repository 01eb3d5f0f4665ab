"""Bounded queues: an end, counted refusals, and no item lost to a cancelled reader."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.queues import BoundedQueue
from kit.simulation import SimLoop, run_simulated


@pytest.mark.guarantee("G9")
async def test_a_full_queue_refuses_and_counts() -> None:
    queue: BoundedQueue[int] = BoundedQueue(2, "events")
    assert [queue.offer(each) for each in range(4)] == [True, True, False, False]
    assert (len(queue), queue.refused) == (2, 2)
    assert [await queue.get(), await queue.get()] == [0, 1]


@pytest.mark.guarantee("G9")
@given(st.integers(1, 5), st.lists(st.lists(st.integers(), max_size=4), max_size=5))
async def test_many_offered_together_go_in_as_one_by_one(most: int, offers: list[list[int]]) -> None:
    together: BoundedQueue[int] = BoundedQueue(most, "together")
    apart: BoundedQueue[int] = BoundedQueue(most, "apart")
    waiting = asyncio.create_task(together.get_batch(most, 0))
    await asyncio.sleep(0)
    for items in offers:
        assert together.offer_many(items) == sum([apart.offer(each) for each in items])
        assert (len(together), together.refused) == (len(apart), apart.refused)
    if len(apart):
        assert await waiting == await apart.get_batch(most, 0), "who waited was woken"
    waiting.cancel()


def test_a_queue_without_room_is_a_defect() -> None:
    with pytest.raises(ValueError, match="events: the bound must be at least 1"):
        BoundedQueue[int](0, "events")


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize("seed", range(20))
def test_many_writers_and_readers_lose_and_double_nothing(seed: int) -> None:
    async def main(loop: SimLoop) -> list[int]:
        queue: BoundedQueue[int] = BoundedQueue(3, "q")
        dice, got = loop.dice("work"), list[int]()

        async def write(start: int) -> None:
            for each in range(start, start + 20):
                await asyncio.sleep(dice.uniform(0, 1))
                await queue.put(each)
                assert len(queue) <= queue.most

        async def read() -> None:
            while True:
                batch = await queue.get_batch(dice.integer(1, 5), dice.integer(0, 500))
                got.extend(batch)
                await asyncio.sleep(dice.uniform(0, 1))

        readers = [asyncio.create_task(read()) for _ in range(3)]
        await asyncio.gather(*(write(start) for start in (0, 100, 200)))
        while len(queue):
            await asyncio.sleep(1)
        for reader in readers:
            reader.cancel()
        return got

    got = run_simulated(main, seed, until_s=3600).value
    assert sorted(got) == [*range(20), *range(100, 120), *range(200, 220)]
    for start in (0, 100, 200):  # readers run side by side, so only each batch keeps the order
        assert len([each for each in got if start <= each < start + 20]) == 20


@pytest.mark.parametrize("seed", range(30))
def test_a_cancelled_reader_takes_nothing_with_it(seed: int) -> None:
    async def main(loop: SimLoop) -> list[int]:
        queue: BoundedQueue[int] = BoundedQueue(10, "q")
        dice, got = loop.dice("work"), list[int]()

        async def read(linger_ms: int) -> None:
            got.extend(await queue.get_batch(4, linger_ms))

        async def write() -> None:
            for each in range(60):
                await queue.put(each)
                await asyncio.sleep(dice.choice((0, 0, 0.01)))

        writer = asyncio.create_task(write())
        while len(got) < 60:
            reader = asyncio.create_task(read(dice.choice((0, 20))))
            await asyncio.sleep(dice.choice((0, 0.005, 0.05)))
            reader.cancel()
            await asyncio.wait({reader})
        await writer
        return got

    assert run_simulated(main, seed, until_s=3600).value == list(range(60))


@given(count=st.integers(1, 12), most=st.integers(1, 12))
def test_a_batch_takes_the_oldest_up_to_its_bound(count: int, most: int) -> None:
    async def main(_loop: SimLoop) -> tuple[list[int], float]:
        queue: BoundedQueue[int] = BoundedQueue(20, "q")
        for each in range(count):
            queue.offer(each)
        return await queue.get_batch(most, 50), asyncio.get_running_loop().time()

    batch, waited_s = run_simulated(main, 0, until_s=1).value
    assert batch == list(range(min(count, most)))
    assert waited_s == (0 if count >= most else 0.05)


def test_a_batch_larger_than_the_queue_does_not_wait_for_what_cannot_come() -> None:
    async def main(loop: SimLoop) -> tuple[int, float]:
        queue: BoundedQueue[int] = BoundedQueue(2, "q")
        queue.offer(1)
        queue.offer(2)
        return len(await queue.get_batch(100, 10_000)), loop.time()

    assert run_simulated(main, 0, until_s=60).value == (2, 0.0)


async def test_a_waiting_writer_goes_on_when_there_is_room() -> None:
    queue: BoundedQueue[str] = BoundedQueue(1, "q")
    await queue.put("a")
    writer = asyncio.create_task(queue.put("b"))
    await asyncio.sleep(0)
    assert not writer.done()
    assert await queue.get() == "a"
    await writer
    assert await queue.get() == "b"
