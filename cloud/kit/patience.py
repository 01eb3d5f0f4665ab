"""Gives up work that does not end, without waiting for its end either.

A connection that has gone silent (a failover, a forgotten entry of a NAT) answers neither a statement nor the attempt
to cancel it: whoever awaits either waits for as long as the kernel goes on trying. One caller may; a line of them may
not (docs/operating/cloud.md names the setting of libpq that bounds the former).
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from protocols.errors import StoreFailedError

T = TypeVar("T")

_given_up: Final[set[asyncio.Task[Any]]] = set()
"""Cancelled and not ended yet: somebody has to keep them until they are."""


async def within(most_s: float, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns, or give it up after `most_s`; it goes when this is cancelled.

    Raises:
        StoreFailedError: it did not end in time. It is cancelled, and may yet take effect.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=most_s)
    finally:
        if not task.done():
            task.cancel()
            _given_up.add(task)
            task.add_done_callback(_ended)
    if not done:
        raise StoreFailedError(f"no answer of the database within {most_s:g} s")
    return task.result()


def _ended(task: asyncio.Task[Any]) -> None:
    _given_up.discard(task)
    if not task.cancelled():
        task.exception()  # it is late: whoever waited was told something else
