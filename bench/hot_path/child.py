"""A helper process that is asked by JSON lines on its standard input and answers by JSON lines."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Answer = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class Child:
    """The parent's side: starts `python -m <module>` and asks it."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._module, self._arguments = module, arguments
        self._process: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()

    async def __aenter__(self) -> "Child":
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, *self._arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=64 * 1024 * 1024,
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def ask(self, do: str, **what: object) -> dict[str, Any]:
        """Ask and wait for the answer."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        async with self._asking:
            process.stdin.write(json.dumps({"do": do, **what}).encode() + b"\n")
            await process.stdin.drain()
            line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._module} ended with {await process.wait()} when asked to {do}")
        answer: dict[str, Any] = json.loads(line)
        return answer


async def serve(answer: Answer) -> None:
    """The child's side: answer until the parent is gone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        said = await answer(json.loads(line))
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
