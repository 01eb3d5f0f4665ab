"""A group that failed leaves its task as it was; what others asked of the task stays."""

import asyncio

import pytest

from kit.cancellation import heed_cancellation
from kit.task_groups import TaskGroup


async def fail_soon() -> None:
    await asyncio.sleep(0)
    raise OSError("lost")


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def run_group(*, body: bool) -> None:
    async with TaskGroup() as tasks:
        tasks.create_task(fail_soon())
        tasks.create_task(asyncio.sleep(60))
        if body:
            await asyncio.sleep(60)


@pytest.mark.parametrize("body", [False, True])
async def test_a_task_goes_on_after_its_group_failed(body: bool) -> None:
    for _ in range(3):
        with pytest.raises(ExceptionGroup):
            await run_group(body=body)
        assert cancelling() == 0
        heed_cancellation()  # nobody asked
        await asyncio.sleep(0)


@pytest.mark.parametrize("body", [False, True])
async def test_an_end_asked_for_while_the_group_fails_is_not_forgotten(body: bool) -> None:
    seen: list[int] = []

    async def round_after_round() -> None:
        while True:
            try:
                await run_group(body=body)
            except ExceptionGroup:
                seen.append(cancelling())
                heed_cancellation()

    task = asyncio.create_task(round_after_round())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait({task})
    assert task.cancelled()
    assert all(each == 0 for each in seen[:-1])


async def test_a_group_that_ends_well_takes_nothing_back() -> None:
    async def asked() -> int:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            async with TaskGroup() as tasks:
                tasks.create_task(asyncio.sleep(0))
        return task.cancelling()

    assert await asyncio.create_task(asked()) == 1
