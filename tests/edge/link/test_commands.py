"""Commands: at most once, never late, and what is not known is called unknown."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge.link.commands import INTERRUPTED, Commands
from kit.clock import ClockQuality, ManualClock
from kit.dice import SeededDice
from protocols.device_model.identity import EdgeId
from protocols.errors import InvalidInputError, PlatformError, ReplyTimeoutError, StoreFailedError
from protocols.link.documents import CommandEnvelope
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

    def envelope(self, key: str = "k-1", *, within_ms: int = 1_000) -> CommandEnvelope:
        now_ms = self.clock.wall_ms()
        return CommandEnvelope(EDGE, f"c-{key}", key, "write", {"value": 21.0}, now_ms + within_ms, now_ms)

    async def _obey(self, command: CommandEnvelope) -> Mapping[str, Any]:
        self.effects.append(command.idempotency_key)
        return await self.does(command)

    async def _write(self, command: CommandEnvelope) -> Mapping[str, Any]:
        return {"read_back": command.args["value"], "secret": "key material"}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "log")
    yield made
    made.log.close_now()


async def test_the_same_key_again_is_answered_from_memory_across_a_restart(desk: Desk) -> None:
    first = await desk.commands.obey(desk.envelope())
    desk.log.close_now()
    desk.restart()
    await desk.commands.close_interrupted()
    again = await desk.commands.obey(desk.envelope())
    assert (first.phase, first.result) == ("done", {"read_back": 21.0, "secret": "key material"})
    assert again == first
    assert desk.effects == ["k-1"]
    assert await desk.phases() == ["executing", "done"]
    assert "key material" not in str([record.body for record in await desk.log.read(Lane.A, 0)])


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
