"""Runs a rehearsal from end to end: raise the building, play the story, stay up or end.

What the command line and `make demo` call; answers for the exit status and for what a person reads meanwhile.
"""

import asyncio
import contextlib
import signal
import sys
import traceback
from pathlib import Path
from typing import Final

from kit.clock import SystemClock
from kit.dice import SystemDice
from provisioning.inventory import inventory as inventories
from provisioning.inventory.inventory import Inventory
from provisioning.rehearsal import state_folder
from provisioning.rehearsal.building import raise_building
from provisioning.rehearsal.report import Report, StoryFailedError, said
from provisioning.rehearsal.story import tell

OK: Final = 0
FAILED: Final = 1
INTERRUPTED: Final = 130
POLITE: Final = (signal.SIGTERM, signal.SIGHUP)


def run_rehearsal(inventory_path: Path, state: Path, *, once: bool, story: bool, seed: int) -> int:
    """Run a rehearsal; return the exit status: 0, 1 with the failed step named, 130 when interrupted.

    Args:
        inventory_path: The building.
        state: Used for everything that the run leaves: `report.json`, and `run/` with logs and stores, emptied first.
            Held for the length of the run.
        once: End after the story instead of staying up.
        story: Play it at all.
        seed: Of every emulator's misbehaviour.

    Raises:
        InvalidInputError: the inventory is wrong; the state folder is in use, unusable, or holds what is not ours.
    """
    inventory = inventories.load(inventory_path)
    state = state.absolute()
    with state_folder.taken(state):
        state_folder.emptied(state / "run")
        try:
            return asyncio.run(_run(inventory, state, once=once, story=story, seed=seed))
        except KeyboardInterrupt:
            return INTERRUPTED


async def _run(inventory: Inventory, state: Path, *, once: bool, story: bool, seed: int) -> int:
    clock = SystemClock(trust="host")
    report = Report(state / "report.json", clock, property_name=inventory.property.name, narrate=_say)
    status, doing = OK, "setting up"
    began_ms = clock.now_ms()
    _end_politely()
    try:
        async with raise_building(
            inventory, state / "run", clock=clock, dice=SystemDice(), seed=seed, say=_say
        ) as building:
            report.figures["set_up_s"] = (clock.now_ms() - began_ms) / 1000
            _say(f"{inventory.property.name} is up after {report.figures['set_up_s']:.1f} s")
            doing = "playing the story"
            if story:
                await tell(building, report)
                report.figures["story_s"] = round(sum(step.seconds for step in report.steps), 3)
                _say(f"The story holds: {len(report.steps)} steps in {report.figures['story_s']:.1f} s.")
                report.write()
            doing = "staying up"
            if not once:
                _say(f"\nThe console: {building.console_address}")
                _say(f"Logs and configuration: {building.folder}\nCtrl-C ends everything.")
                await building.stay_up()
            doing = "ending"
    except StoryFailedError as error:
        status = FAILED
        _complain(f"FAILED at {error}", error, state)
    except Exception as error:  # noqa: BLE001 - last resort: one line for a person, the trace in the log
        status = FAILED
        report.failure = f"{doing}: {said(error)}"
        _complain(f"FAILED while {report.failure}", error, state)
        try:
            report.write()
        except OSError as unwritten:
            _complain(f"the report could not be written: {unwritten}", unwritten, state)
    except asyncio.CancelledError:
        status = INTERRUPTED
    if story and status != INTERRUPTED:
        _say(f"Report: {state / 'report.json'}")
    return status


def _end_politely() -> None:
    """Have the polite signals end every program too, as Ctrl-C does: SIGTERM, and SIGHUP of a closed terminal."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()

    def end() -> None:
        for number in heard:  # once: a terminal that closes says it twice, and ending must not be ended
            loop.add_signal_handler(number, lambda: None)
        if task is not None:
            task.cancel()

    heard = [number for number in POLITE if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores one
    for number in heard:
        loop.add_signal_handler(number, end)


def _complain(problem: str, error: Exception, state: Path) -> None:
    """Say a problem on standard error, and leave its trace in the log."""
    log = state / "run" / "logs" / "rehearsal.log"
    with contextlib.suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            traceback.print_exception(error, file=file)
    with contextlib.suppress(OSError):
        print(f"innkeeper rehearse: {problem}", file=sys.stderr)


def _say(line: str) -> None:
    print(line, flush=True)
