"""The event loop of the record path's programs."""

import asyncio
import signal
import subprocess
import sys

import pytest
import uvloop

from kit import event_loop


async def _which() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_it_is_uvloop_and_gives_back_what_the_program_gives() -> None:
    assert isinstance(event_loop.run(_which()), uvloop.Loop)


def test_what_the_program_raises_is_raised() -> None:
    async def fail() -> None:
        raise KeyError("a defect")

    with pytest.raises(KeyError, match="a defect"):
        event_loop.run(fail())


def test_what_is_left_running_is_cancelled_and_ends_what_it_does() -> None:
    told: list[str] = []

    async def left() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            told.append("ended")

    async def main() -> None:
        task = asyncio.create_task(left())
        await asyncio.sleep(0)
        assert not task.done()

    event_loop.run(main())
    assert told == ["ended"]


def test_an_interrupt_cancels_the_program_which_ends_in_order() -> None:
    program = """
import asyncio
from kit import event_loop

async def main():
    print("running", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("in order", flush=True)

try:
    event_loop.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    assert said == "in order\ninterrupted\n"
