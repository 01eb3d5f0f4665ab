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
from protocols.errors import InvalidInputError
from provisioning.inventory import inventory as inventories
from provisioning.inventory.inventory import Inventory
from provisioning.rehearsal import cut_lines, state_folder
from provisioning.rehearsal.building import raise_building
from provisioning.rehearsal.day import day
from provisioning.rehearsal.day.programme import Booking
from provisioning.rehearsal.grand import lived
from provisioning.rehearsal.report import Report, StoryFailedError, said
from provisioning.rehearsal.story import tell

OK: Final = 0
FAILED: Final = 1
INTERRUPTED: Final = 130
POLITE: Final = (signal.SIGTERM, signal.SIGHUP)


def run_rehearsal(
    inventory_path: Path,
    state: Path,
    *,
    once: bool,
    story: bool,
    seed: int,
    minutes: float | None = None,
    rooms: int | None = None,
    arrivals: int | None = None,
    cuts: bool = False,
) -> int:
    """Run a rehearsal; return the exit status: 0, 1 with the failed step named, 130 when interrupted.

    Args:
        inventory_path: The building.
        state: Used for everything that the run leaves: `report.json`, and `run/` with logs and stores, emptied first.
            Held for the length of the run.
        once: End after the story instead of staying up.
        story: Play it at all.
        seed: Of every emulator's misbehaviour, and of guests, weather and faults.
        minutes: Instead of the story, let guests live in it for so long and hold what was believed against the truth.
        rooms: Only the first so many guest rooms. Needs `minutes`: the story happens in certain rooms.
        arrivals: Instead of both, a full day of so many, `minutes` long, with a payment provider.
        cuts: Instead of the story, every way in with every line cut. Without `minutes` and `arrivals`.

    Raises:
        InvalidInputError: the inventory is wrong; the state folder is in use, unusable, or holds what is not ours.
    """
    inventory = inventories.load(inventory_path)
    if cuts and (minutes is not None or not story):
        raise InvalidInputError("cuts", "is a story of its own: leave --minutes, --arrivals and --no-story away")
    if rooms is not None:
        if minutes is None:
            raise InvalidInputError("rooms", "the story needs the whole building; a part of it needs --minutes")
        inventory = inventories.with_rooms(inventory, rooms)
    bookings = None
    if arrivals is not None:
        if minutes is None:
            raise InvalidInputError("arrivals", "a day needs --minutes, how long it shall take")
        bookings = day.programme(inventory, arrivals, minutes * 60, seed)
    elif minutes is not None:
        lived.check(inventory, minutes * 60)
    state = state.absolute()
    with state_folder.taken(state):
        state_folder.emptied(state / "run")
        try:
            return asyncio.run(
                _run(inventory, state, once=once, story=story, seed=seed, minutes=minutes, bookings=bookings, cuts=cuts)
            )
        except KeyboardInterrupt:
            return INTERRUPTED


async def _run(
    inventory: Inventory,
    state: Path,
    *,
    once: bool,
    story: bool,
    seed: int,
    minutes: float | None,
    bookings: tuple[Booking, ...] | None,
    cuts: bool,
) -> int:
    clock = SystemClock(trust="host")
    report = Report(state / "report.json", clock, property_name=inventory.property.name, narrate=_say)
    status, doing = OK, "setting up"
    began_ms = clock.now_ms()
    _end_politely()
    try:
        async with raise_building(
            inventory,
            state / "run",
            clock=clock,
            dice=SystemDice(),
            seed=seed,
            say=_say,
            payments=bookings is not None,
        ) as building:
            report.figures["set_up_s"] = (clock.now_ms() - began_ms) / 1000
            _say(f"{inventory.property.name} is up after {report.figures['set_up_s']:.1f} s")
            doing = "playing the story"
            if story and minutes is not None and bookings is not None:
                await day.live(building, report, bookings, seconds=minutes * 60, seed=seed)
                _say(f"The day holds: {day_summary(report)}")
                report.write()
            elif story and minutes is not None:
                await lived.live(building, report, seconds=minutes * 60, seed=seed)
                _say(f"What was believed is what was so: {summary(report)}")
                report.write()
            elif cuts:
                await cut_lines.tell(building, report)
                _say(f"Every way in holds: {report.figures['openings']} openings, {len(cut_lines.CUTS)} cuts.")
            elif story:
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


def summary(report: Report) -> str:
    """Return what a run came to, in a line: what was judged, and what it cost."""
    verdicts, cost = report.figures["verdicts"], report.figures["footprint"]
    right = ", ".join(f"{name} {each['right']}/{each['judged']}" for name, each in verdicts.items())
    return (
        f"{right}; edge and doors took {cost['cpu_percent_of_a_core']:g} % of a core"
        f" and {cost['pss_mb_most']:g} MB for {cost['rooms']} rooms"
    )


def day_summary(report: Report) -> str:
    """Return what a day came to, in a line."""
    told, money = report.figures["lived"], report.figures["money"]
    return (
        f"{told['checked_in']} of {told['bookings']} came, {told['let_in_while_cut']} of them while the line was cut;"
        f" {len(report.figures['conflicts_shown'])} conflicts shown; held {money['held']}, taken {money['captured']},"
        f" let go {money['released']}, still held {money['still_held']} (minor units)"
    )


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
