"""A line that is cut is cut, and one that comes back carries bytes again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest

from provisioning.rehearsal.line import Line

WAIT_S = 20.0


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with Line("127.0.0.1", server.sockets[0].getsockname()[1]) as relay:
        yield relay
    server.close()


async def _say(line: Line, word: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
    try:
        writer.write(word)
        return await asyncio.wait_for(reader.read(100), WAIT_S)
    finally:
        writer.close()


async def _rest(reading: Awaitable[bytes]) -> bytes:
    """What still comes out of a line that was cut: nothing, whether it ends by a reset or cleanly."""
    try:
        return await reading
    except ConnectionError:
        return b""


async def test_bytes_pass_both_ways(line: Line) -> None:
    assert await _say(line, b"hello") == b"hello"


async def test_a_cut_resets_what_was_open_and_refuses_what_comes(line: Line) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
    writer.write(b"x")
    assert await asyncio.wait_for(reader.read(1), WAIT_S) == b"x"
    await line.cut()
    assert await _rest(asyncio.wait_for(reader.read(1), WAIT_S)) == b""
    writer.close()
    assert await _rest(_say(line, b"y")) == b""
    await line.restore()
    assert await _say(line, b"z") == b"z"


async def test_a_silent_line_swallows_bytes_without_a_reset(line: Line) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
    writer.write(b"x")
    assert await asyncio.wait_for(reader.read(1), WAIT_S) == b"x"
    await line.cut(silent=True)
    writer.write(b"lost")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(4), 0.05)
    await line.restore()
    writer.close()
    assert await _say(line, b"z") == b"z"
