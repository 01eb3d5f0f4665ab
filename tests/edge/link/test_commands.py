"""Commands: at most once, never late, and what is not known is called unknown."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge.link.commands import INTERRUPTED, LET_GO, RESULTS_BYTES_MOST, Commands
from edge.log.record_log import Entry
from kit.clock import ClockQuality, ManualClock
from kit.dice import SeededDice
from protocols.device_model.identity import EdgeId
from protocols.errors import InvalidInputError, PlatformError, ReplyTimeoutError, StoreFailedError
from protocols.link.documents import OUTCOME_HELD_MS, REFUSAL_HELD_MS, RESULT_HELD_MS, CommandEnvelope
from protocols.link.lanes import Lane
from tests.edge.log.inline_log import InlineLog

EDGE = EdgeId("e-aurora0000000001")
pytestmark = pytest.mark.guarantee("G13")


class Desk:
    """Commands over a real store, and what they did."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, ManualClock()
        self.effects: list[str] = []
        self.does: Callable[[CommandEnvelope], Awaitable[Mapping[str, Any]]] = self._write
        self.restart()

    def restart(self) -> None:
        self.log = InlineLog(self.folder, clock=self.clock, dice=SeededDice(3))
        self.commands = Commands(edge=EDGE, log=self.log, clock=self.clock, on_command=self._obey)

    async def phases(self) -> list[str]:
        return [record.body["phase"] for record in await self.log.read(Lane.A, 0)]

    def envelope(self, key: str = "k-1", *, within_ms: int = 1_000, kind: str = "write") -> CommandEnvelope:
        now_ms = self.clock.wall_ms()
        return CommandEnvelope(EDGE, f"c-{key}", key, kind, {"value": 21.0}, now_ms + within_ms, now_ms)

    async def after_a_restart(self) -> None:
        self.log.close_now()
        self.restart()
        await self.commands.close_interrupted()

    def on_disk(self) -> bytes:
        self.log.close_now()
        found = b"".join(path.read_bytes() for path in self.folder.iterdir() if path.is_file())
        self.restart()
        return found

    async def _obey(self, command: CommandEnvelope) -> Mapping[str, Any]:
        self.effects.append(command.idempotency_key)
        return await self.does(command)

    async def _write(self, command: CommandEnvelope) -> Mapping[str, Any]:
        if command.kind == "write":
            return {"read_back": command.args["value"], "phase": "done"}
        return {"bundle": {"grant": "key material"}, "number": len(self.effects)}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "log")
    yield made
    made.log.close_now()


async def test_the_same_key_again_is_answered_from_memory_across_a_restart(desk: Desk) -> None:
    first = await desk.commands.obey(desk.envelope())
    await desk.after_a_restart()
    again = await desk.commands.obey(desk.envelope())
    assert (first.phase, first.result) == ("done", {"read_back": 21.0, "phase": "done"})
    assert again == first
    assert desk.effects == ["k-1"]
    assert await desk.phases() == ["executing", "done"]


async def test_a_key_handed_out_is_answered_again_from_memory_alone_and_never_written_down(desk: Desk) -> None:
    first = await desk.commands.obey(desk.envelope(kind="check_in"))
    assert first.result == {"bundle": {"grant": "key material"}, "number": 1}
    desk.clock.advance(RESULT_HELD_MS - 1)
    assert await desk.commands.obey(desk.envelope(kind="check_in")) == first
    assert b"key material" not in desk.on_disk()
    assert b"c-k-1" in desk.on_disk()


async def test_after_a_restart_a_key_handed_out_is_said_to_be_given_and_nothing_is_done_twice(desk: Desk) -> None:
    await desk.commands.obey(desk.envelope(kind="check_in"))
    await desk.after_a_restart()
    again = await desk.commands.obey(desk.envelope(kind="check_in"))
    assert (again.phase, again.result, again.error) == ("done", None, LET_GO)
    assert desk.effects == ["k-1"]
    assert (await desk.commands.obey(desk.envelope("k-2", kind="check_in"))).result is not None


async def test_results_are_held_up_to_a_bound_and_the_oldest_give_way(desk: Desk) -> None:
    async def large(command: CommandEnvelope) -> Mapping[str, Any]:
        return {"bundle": command.idempotency_key + "x" * (RESULTS_BYTES_MOST // 4)}

    desk.does = large
    for number in range(4):
        await desk.commands.obey(desk.envelope(f"k-{number}", kind="check_in"))
    answers = [await desk.commands.obey(desk.envelope(f"k-{number}", kind="check_in")) for number in range(4)]
    assert [each.error for each in answers] == [LET_GO, None, None, None]
    assert len(desk.effects) == 4


@pytest.mark.parametrize(
    ("kind", "outcome", "held_ms"),
    [
        ("write", "done", OUTCOME_HELD_MS),
        ("check_in", "done", RESULT_HELD_MS),
        ("check_in", "failed", REFUSAL_HELD_MS),
        ("check_in", "unknown", OUTCOME_HELD_MS),
    ],
)
async def test_an_outcome_is_held_for_its_time_and_then_the_key_is_as_new(
    desk: Desk, kind: str, outcome: str, held_ms: int
) -> None:
    async def ends(command: CommandEnvelope) -> Mapping[str, Any]:
        return {"phase": outcome, **({"bundle": "b"} if kind == "check_in" else {})}

    desk.does = ends
    first = desk.envelope(kind=kind, within_ms=2 * OUTCOME_HELD_MS)  # its copies are in time for long
    assert (await desk.commands.obey(first)).phase == outcome
    desk.clock.advance(held_ms - 1)
    assert (await desk.commands.obey(desk.envelope(kind=kind))).phase == outcome
    assert desk.effects == ["k-1"]
    desk.clock.advance(1)
    assert (await desk.commands.obey(first)).phase == outcome  # a copy is never later than itself
    assert desk.effects == ["k-1"]
    assert (await desk.commands.obey(desk.envelope(kind=kind))).phase == outcome
    assert desk.effects == ["k-1", "k-1"]
    assert (await desk.commands.obey(first)).phase == outcome  # nor later than the one that came after it
    assert desk.effects == ["k-1", "k-1"]


async def test_an_edge_whose_clock_runs_ahead_lets_no_copy_through(desk: Desk) -> None:
    command = desk.envelope(within_ms=60_000)
    await desk.commands.obey(command)
    desk.clock.step_wall(10 * OUTCOME_HELD_MS)
    await desk.after_a_restart()
    desk.clock.step_wall(-10 * OUTCOME_HELD_MS)
    assert (await desk.commands.obey(command)).phase == "done"
    assert desk.effects == ["k-1"]


async def test_a_refusal_that_has_passed_is_not_answered_for_ever(desk: Desk) -> None:
    desk.clock.quality = ClockQuality.UNCERTAIN
    assert (await desk.commands.obey(desk.envelope(kind="check_in"))).phase == "failed"
    desk.clock.quality = ClockQuality.SYNCHRONISED
    assert (await desk.commands.obey(desk.envelope(kind="check_in"))).phase == "failed"
    desk.clock.advance(REFUSAL_HELD_MS)
    assert (await desk.commands.obey(desk.envelope(kind="check_in"))).phase == "done"
    assert desk.effects == ["k-1"]


async def test_what_begins_anew_and_is_cut_off_is_unknown_too(desk: Desk) -> None:
    await desk.commands.obey(desk.envelope(kind="check_in"))
    desk.clock.advance(RESULT_HELD_MS)

    async def dies(_command: CommandEnvelope) -> Mapping[str, Any]:
        raise asyncio.CancelledError

    desk.does = dies
    with pytest.raises(asyncio.CancelledError):
        await desk.commands.obey(desk.envelope(kind="check_in"))
    await desk.after_a_restart()
    again = await desk.commands.obey(desk.envelope(kind="check_in"))
    assert (again.phase, again.error, again.result) == ("unknown", INTERRUPTED, None)


async def test_what_an_older_build_kept_whole_is_gone_from_the_disk_at_the_start(desk: Desk) -> None:
    old = {"result": {"bundle": "key material"}, "reason": None}
    for number in range(50):
        stored = json.dumps(old if number % 2 else {"result": {"read_back": 21.0}, "reason": None})
        await desk.log.command_phase(f"k-{number}", f"c-{number}", "done", stored, Entry("command", {"id": "c"}))
    await desk.log.command_phase("k-bad", "c-bad", "failed", "not json", Entry("command", {"id": "c"}))
    assert b"key material" in desk.on_disk()
    await desk.after_a_restart()
    assert b"key material" not in desk.on_disk()
    kept = await desk.commands.obey(desk.envelope("k-0"))
    gone = await desk.commands.obey(desk.envelope("k-1"))
    assert (kept.result, gone.result, gone.error, desk.effects) == ({"read_back": 21.0}, None, LET_GO, [])


async def test_at_its_deadline_it_is_late_and_stays_expired(desk: Desk) -> None:
    command = desk.envelope(within_ms=100)
    desk.clock.advance(100)
    assert (await desk.commands.obey(command)).phase == "expired"
    desk.clock.step_wall(-3_600_000)  # a clock that jumps back does not make it timely
    assert (await desk.commands.obey(command)).phase == "expired"
    assert desk.effects == []


async def test_with_an_uncertain_clock_nothing_is_begun(desk: Desk) -> None:
    desk.clock.quality = ClockQuality.UNCERTAIN
    answer = await desk.commands.obey(desk.envelope())
    assert (answer.phase, desk.effects) == ("failed", [])
    assert "clock is uncertain" in (answer.error or "")


@pytest.mark.parametrize(
    ("error", "phase"),
    [(InvalidInputError("value", "too warm"), "failed"), (ReplyTimeoutError("no answer from the device"), "unknown")],
)
async def test_an_error_says_whether_it_may_have_happened(desk: Desk, error: PlatformError, phase: str) -> None:
    async def fails(_command: CommandEnvelope) -> Mapping[str, Any]:
        raise error

    desk.does = fails
    answer = await desk.commands.obey(desk.envelope())
    assert (answer.phase, answer.error) == (phase, f"{type(error).__name__}: {error}")


@pytest.mark.parametrize(
    ("result", "phase"),
    [
        ({"phase": "unknown", "reason": "device silent"}, "unknown"),
        ({"phase": "expired"}, "expired"),
        ({"phase": "executing"}, "unknown"),
        ({"value": b"bytes"}, "unknown"),
        ({}, "done"),
    ],
)
async def test_the_result_says_what_came_of_it(desk: Desk, result: dict[str, Any], phase: str) -> None:
    async def returns(_command: CommandEnvelope) -> Mapping[str, Any]:
        return result

    desk.does = returns
    assert (await desk.commands.obey(desk.envelope())).phase == phase


async def test_what_a_crash_cut_off_is_unknown_and_never_begun_again(desk: Desk) -> None:
    begun = asyncio.Event()

    async def hangs(_command: CommandEnvelope) -> Mapping[str, Any]:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    desk.does = hangs
    running = asyncio.create_task(desk.commands.obey(desk.envelope()))
    await begun.wait()
    assert (await desk.commands.obey(desk.envelope())).phase == "executing"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    desk.log.close_now()
    desk.restart()
    await desk.commands.close_interrupted()
    answer = await desk.commands.obey(desk.envelope())
    assert (answer.phase, answer.error) == ("unknown", INTERRUPTED)
    assert desk.effects == ["k-1"]
    assert await desk.phases() == ["executing", "unknown"]


async def test_what_cannot_be_remembered_is_not_begun(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_args: object) -> int:
        raise StoreFailedError("no space left on device")

    monkeypatch.setattr(desk.log, "command_phase", full)
    with pytest.raises(StoreFailedError):
        await desk.commands.obey(desk.envelope())
    assert desk.effects == []
    monkeypatch.undo()
    assert (await desk.commands.obey(desk.envelope())).phase == "done"
