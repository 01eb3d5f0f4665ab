"""Ends that are meant are not lost: for loops that survive errors, and must not survive their own cancellation.

A cancellation can be lost on its way up: a clean-up that fails puts its own error in its place, a task group with a
failed child raises the group instead, and `asyncio.wait_for` of Python 3.11 returns a result that came in the same
moment. A loop that goes on after errors would then go round for ever, and its program would never end. The task still
knows that it was asked (`asyncio.Task.cancelling`), so such a loop calls `heed_cancellation` once a round.
"""

import asyncio


def asked_to_end() -> int:
    """Return how often this task was asked to end."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def heed_cancellation() -> None:
    """Raise CancelledError if this task was asked to end. Its groups are those of kit/task_groups.py."""
    if asked_to_end():
        raise asyncio.CancelledError
