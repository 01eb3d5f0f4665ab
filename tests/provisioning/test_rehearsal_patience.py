"""A program that is down for a moment is "not yet"; what may have happened is never asked for twice without a key."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kit.clock import SystemClock
from protocols.errors import LinkLostError, PeerProtocolError, PlatformError, ReplyTimeoutError
from provisioning.rehearsal import patience
from provisioning.rehearsal.clients import JsonApi
from provisioning.rehearsal.control import ControlLine
from provisioning.rehearsal.patience import NotNowError, PerhapsDoneError, ask_again
from provisioning.rehearsal.report import Report, StoryFailedError

QUICK = (0.0, 0.0, 0.0)
LATER = json.dumps({"detail": "the database was lost", "retryable": True, "may_have_taken_effect": False})
NEVER = json.dumps({"detail": "no such room", "retryable": False})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask_again.__kwdefaults__ is not None
    monkeypatch.setitem(ask_again.__kwdefaults__, "pauses_s", QUICK)
    assert len(patience.PAUSES_S) > 1


def _report(folder: Path) -> Report:
    return Report(folder / "report.json", SystemClock(trust="host"), property_name="here", narrate=lambda _: None)


def _failing(*errors: PlatformError) -> Callable[[], Awaitable[tuple[bool, str]]]:
    left = list(errors)

    async def probe() -> tuple[bool, str]:
        if left:
            raise left.pop(0)
        return True, "seen"

    return probe


async def test_a_probe_that_cannot_ask_means_not_yet(tmp_path: Path) -> None:
    report = _report(tmp_path)
    probe = _failing(LinkLostError("down"), ReplyTimeoutError("cut off"), NotNowError("503"))
    async with report.step(1, "x"):
        assert await report.eventually("it is there", 20.0, probe) == "seen"
    assert report.ok
    assert [claim.held for claim in report.steps[0].claims] == [True]


async def test_the_last_error_is_quoted_when_the_time_passes(tmp_path: Path) -> None:
    report = _report(tmp_path)
    with pytest.raises(StoryFailedError, match=r"step 1 \(x\): it is there; observed: 'nobody at home'"):
        async with report.step(1, "x"):
            await report.eventually("it is there", 0.0, _failing(LinkLostError("nobody at home")))
    assert not report.ok


async def test_a_refusal_for_good_ends_the_step_at_once(tmp_path: Path) -> None:
    report = _report(tmp_path)
    with pytest.raises(StoryFailedError, match="404"):
        async with report.step(1, "x"):
            await report.eventually("it is there", 60.0, _failing(PeerProtocolError("404")))


@asynccontextmanager
async def _web(*answers: tuple[int, str] | None) -> AsyncIterator[tuple[JsonApi, list[str]]]:
    """A web server that gives the answers in turn, None: hangs up instead; and what it was asked."""
    left, asked = list(answers), list[str]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.split(" ")[0])
        answer = left.pop(0)
        if answer is not None:
            status, body = answer
            writer.write(
                f"HTTP/1.1 {status} x\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode()
            )
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    api = JsonApi("the cloud", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield api, asked
    finally:
        await api.close()
        server.close()


async def test_a_get_is_repeated_through_a_cut_and_a_retryable_problem() -> None:
    async with _web(None, (503, LATER), (200, "[1]")) as (api, asked):
        assert await api.get("/x") == [1]
    assert asked == ["GET"] * 3


async def test_a_problem_that_is_not_retryable_is_raised_at_once() -> None:
    async with _web((404, NEVER)) as (api, asked):
        with pytest.raises(PeerProtocolError, match="no such room"):
            await api.get("/x")
    assert asked == ["GET"]


async def test_asking_ends_and_the_last_problem_is_raised() -> None:
    async with _web(*[(503, LATER)] * 9) as (api, asked):
        with pytest.raises(NotNowError, match="the database was lost"):
            await api.get("/x")
    assert len(asked) == len(QUICK) + 1


async def test_a_post_that_may_have_happened_is_repeated_only_with_a_key() -> None:
    async with _web(None, (200, "[]")) as (api, asked):
        with pytest.raises(ReplyTimeoutError):
            await api.post("/x", {"book": 1})
        assert asked == ["POST"]
    async with _web(None, (200, "[]")) as (api, asked):
        assert await api.post("/x", {"book": 1, "idempotency_key": "k"}) == []
        assert asked == ["POST"] * 2


async def test_a_post_that_surely_did_not_happen_is_repeated() -> None:
    async with _web((503, LATER), (200, "[]")) as (api, asked):
        assert await api.post("/x", {"book": 1}) == []
    assert asked == ["POST"] * 2
    perhaps = LATER.replace("false", "true")
    async with _web((504, perhaps), (200, "[]")) as (api, asked):
        with pytest.raises(PerhapsDoneError):
            await api.post("/x", {"book": 1})
    assert asked == ["POST"]


async def test_a_control_line_comes_back_after_the_emulator_did_and_does_nothing_twice() -> None:
    asked: list[str] = []
    hang_ups = [True, False, True, False]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            asked.append(json.loads(line)["do"])
            if hang_ups.pop(0):
                break
            writer.write(b'{"ok": true}\n')
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    line = ControlLine("the radio", "127.0.0.1", server.sockets[0].getsockname()[1])
    assert await line.read(do="status") == {"ok": True}
    assert asked == ["status", "status"]
    with pytest.raises(ReplyTimeoutError):
        await line.ask(do="touch")
    assert await line.ask(do="open") == {"ok": True}
    assert asked == ["status", "status", "touch", "open"]
    await line.close()
    server.close()
    with pytest.raises(LinkLostError, match="does not answer"):
        await line.ask(do="touch")
