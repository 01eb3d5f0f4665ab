"""The event loop that our processes run on: uvloop, asyncio's interface over libuv in C (docs/decisions/0142).

A steady stream of small messages is turns of the event loop: at 500 readings a second they were a fifth of the edge's
processor. Simulations and most tests run on loops of their own; what is written for `asyncio` runs on either.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a new event loop, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
