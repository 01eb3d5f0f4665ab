"""Runs a rehearsal from end to end: raise the building, play the story, stay up or end.

What the command line and `make demo` call; answers for the exit status and for what a person reads meanwhile.
"""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Final

from kit.clock import SystemClock
from kit.dice import SystemDice
from protocols.errors import PlatformError
from provisioning.inventory import inventory as inventories
from provisioning.inventory.inventory import Inventory
from provisioning.rehearsal.building import raise_building
from provisioning.rehearsal.report import Report, StoryFailedError
from provisioning.rehearsal.story import tell

OK: Final = 0
FAILED: Final = 1
INTERRUPTED: Final = 130


def run_rehearsal(inventory_path: Path, state: Path, *, once: bool, story: bool, seed: int) -> int:
    """Run a rehearsal; return the exit status: 0, 1 with the failed step named, 130 when interrupted.

    Args:
        inventory_path: The building.
        state: Emptied and used for everything that the run leaves: `report.json`, `run/` with logs and stores.
        once: End after the story instead of staying up.
        story: Play it at all.
        seed: Of every emulator's misbehaviour.

    Raises:
        InvalidInputError: the inventory is wrong.
    """
    inventory = inventories.load(inventory_path)
    try:
        return asyncio.run(_run(inventory, state.absolute(), once=once, story=story, seed=seed))
    except KeyboardInterrupt:
        return INTERRUPTED


async def _run(inventory: Inventory, state: Path, *, once: bool, story: bool, seed: int) -> int:
    clock = SystemClock(trust="host")
    report = Report(state / "report.json", clock, property_name=inventory.property.name, narrate=_say)
    status = OK
    began_ms = clock.now_ms()
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    if task is not None:  # a polite end ends every program too
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with raise_building(
            inventory, state / "run", clock=clock, dice=SystemDice(), seed=seed, say=_say
        ) as building:
            report.figures["set_up_s"] = (clock.now_ms() - began_ms) / 1000
            _say(f"{inventory.property.name} is up after {report.figures['set_up_s']:.1f} s")
            if story:
                await tell(building, report)
                report.figures["story_s"] = round(sum(step.seconds for step in report.steps), 3)
                _say(f"The story holds: {len(report.steps)} steps in {report.figures['story_s']:.1f} s.")
                report.write()
            if not once:
                _say(f"\nThe console: {building.console_address}")
                _say(f"Logs and configuration: {building.folder}\nCtrl-C ends everything.")
                await asyncio.Event().wait()
    except StoryFailedError as error:
        status = FAILED
        print(f"innkeeper rehearse: FAILED at {error}", file=sys.stderr)
    except PlatformError as error:
        status = FAILED
        report.failure = f"setting up: {error}"
        report.write()
        print(f"innkeeper rehearse: FAILED while setting up: {error}", file=sys.stderr)
    except asyncio.CancelledError:
        status = INTERRUPTED
    if story and status != INTERRUPTED:
        _say(f"Report: {state / 'report.json'}")
    return status


def _say(line: str) -> None:
    print(line, flush=True)
