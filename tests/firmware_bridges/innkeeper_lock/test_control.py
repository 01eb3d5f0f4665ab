"""The control socket: every request gets its answer, facts reach watchers, nonsense harms nobody."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from firmware_bridges.innkeeper_lock.control import LINE_BYTES_MAX, ControlClient, ControlServer
from protocols.errors import InvalidInputError, LinkLostError

WAIT_S = 10.0


async def answer(do: str, request: dict[str, Any]) -> dict[str, Any]:
    if do == "double":
        await asyncio.sleep(0.01 * (request["n"] % 3))
        return {"n": request["n"] * 2}
    raise InvalidInputError("do", f"{do!r} is not known")


@pytest.fixture(params=["unix", "tcp"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ControlServer]:
    address = f"unix:{tmp_path}/control" if request.param == "unix" else "tcp:127.0.0.1:0"
    server = await ControlServer(answer).start(address)
    yield server
    await server.close()


@pytest.fixture
async def client(server: ControlServer) -> AsyncIterator[ControlClient]:
    client = await ControlClient.connect(server.address)
    yield client
    await client.close()


async def test_answers_find_their_questions(client: ControlClient) -> None:
    answers = await asyncio.gather(*(client.call("double", n=n) for n in range(20)))
    assert [each["n"] for each in answers] == [2 * n for n in range(20)]


async def test_a_refusal_says_why_and_the_line_lives_on(client: ControlClient) -> None:
    with pytest.raises(InvalidInputError, match="'dance' is not known"):
        await client.call("dance")
    assert (await client.call("double", n=1))["n"] == 2


async def test_a_watcher_hears_facts_in_order(server: ControlServer, client: ControlClient) -> None:
    heard: list[dict[str, Any]] = []

    async def watch() -> None:
        async for fact in client.watch():
            heard.append(fact)
            if fact["event"] == "end":
                return

    task = asyncio.ensure_future(watch())
    async with asyncio.timeout(WAIT_S):
        while not heard:
            server.tell("ping", {})
            await asyncio.sleep(0.005)
        for n in range(100):
            server.tell("motor", {"n": n})
        server.tell("end", {})
        await task
    assert [each["n"] for each in heard if each["event"] == "motor"] == list(range(100))


@pytest.mark.parametrize("noise", [b"no json\n", b"[1,2]\n", b'{"do":3}\n', b"{}\n", b"[" * 5000 + b"\n"])
async def test_nonsense_is_answered_as_such(server: ControlServer, noise: bytes) -> None:
    other = await ControlClient.connect(server.address)
    other._writer.write(noise)
    assert (await other.call("double", n=4))["n"] == 8
    await other.close()


async def test_a_line_without_end_is_hung_up_on(server: ControlServer) -> None:
    other = await ControlClient.connect(server.address)
    other._writer.write(b"x" * (2 * LINE_BYTES_MAX))
    await asyncio.wait_for(asyncio.shield(other._reading), WAIT_S)
    with pytest.raises(LinkLostError):
        await other.call("double", n=1)
    await other.close()


async def test_an_emulator_that_ends_is_told_to_who_waits(server: ControlServer, client: ControlClient) -> None:
    waiting = asyncio.ensure_future(client.call("double", n=2))
    await asyncio.sleep(0)
    await server.close()
    with pytest.raises(LinkLostError):
        await waiting
    with pytest.raises(LinkLostError):
        await ControlClient.connect(server.address)


async def test_a_unix_socket_is_its_owners_alone(tmp_path: Path) -> None:
    server = await ControlServer(answer).start(f"unix:{tmp_path}/control")
    assert (tmp_path / "control").stat().st_mode & 0o077 == 0
    await server.close()
    assert not (tmp_path / "control").exists()


async def test_an_address_of_neither_form_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="neither unix:PATH nor tcp:HOST:PORT"):
        await ControlServer(answer).start("/tmp/x")
