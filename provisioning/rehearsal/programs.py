"""Runs the programs of a rehearsal as systemd would: starts them, brings them back when they die, ends them in order.

Answers for processes and their log files only. Every program gets its own session so that a signal meant for one
never reaches another; only process ids that were started here are ever signalled. All end with us, however we end.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kit.clock import Clock
from protocols.errors import PlatformError
from provisioning.rehearsal.leash import leashed
from provisioning.rehearsal.restarts import Restarts

STOP_WAIT_S = 8.0
LOG_TAIL_LINES = 15


class ProgramEndedError(PlatformError):
    """A program that should stay up ended, and restarting it did not help. Names it and quotes its last words."""


@dataclass(slots=True)
class Program:
    """One program: what to run, and what became of it."""

    name: str
    argv: Sequence[str]
    log_path: Path
    environment: Mapping[str, str]
    restart: bool
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    wanted: bool = True
    started_ms: list[int] = field(default_factory=list)
    watcher: asyncio.Task[None] | None = None
    recent: Restarts = field(default_factory=Restarts)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def pid(self) -> int | None:
        """The running process's id, or None while it is down."""
        return self.process.pid if self.process is not None and self.process.returncode is None else None


class Programs:
    """All programs of one rehearsal. Use as an async context manager: leaving it ends them, last started first."""

    def __init__(self, *, log_folder: Path, clock: Clock) -> None:
        self._log_folder, self._clock = log_folder, clock
        self._programs: dict[str, Program] = {}
        log_folder.mkdir(parents=True, exist_ok=True)

    async def __aenter__(self) -> "Programs":
        return self

    async def __aexit__(self, *_: object) -> None:
        for program in reversed(list(self._programs.values())):
            await self._end(program)

    async def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        restart: bool = False,
    ) -> Program:
        """Start a program; its output goes to `<name>.log`. With `restart` it is brought back whenever it dies."""
        program = Program(name, argv, self._log_folder / f"{name}.log", environment or {}, restart)
        self._programs[name] = program
        await self._spawn(program)
        program.watcher = asyncio.create_task(self._watch(program), name=f"watch {name}")
        return program

    def get(self, name: str) -> Program:
        """Return a program that was started here."""
        return self._programs[name]

    def pids(self) -> dict[str, int]:
        """Return the process id of every program that runs now."""
        return {name: program.pid for name, program in self._programs.items() if program.pid is not None}

    def send(self, name: str, number: signal.Signals) -> int:
        """Signal a running program and return its process id."""
        pid = self._programs[name].pid
        if pid is None:
            raise ProgramEndedError(f"{name} is not running: {self._last_words(self._programs[name])}")
        os.kill(pid, number)
        return pid

    async def stop(self, name: str) -> None:
        """End one program for good."""
        await self._end(self._programs[name])

    async def kill(self, name: str) -> None:
        """Take a program its power away: no goodbye, and nobody brings it back but `again`."""
        await self._end(self._programs[name], kill=True)

    async def again(self, name: str) -> None:
        """Start a program again that was stopped or killed."""
        program = self._programs[name]
        program.wanted = True
        program.leaving.clear()
        await self._spawn(program)
        program.watcher = asyncio.create_task(self._watch(program), name=f"watch {name}")

    def check(self) -> None:
        """Raise ProgramEndedError if a program that should be up has ended for good."""
        for program in self._programs.values():
            if program.wanted and program.watcher is not None and program.watcher.done():
                raise ProgramEndedError(f"{program.name} ended: {self._last_words(program)}")

    async def _spawn(self, program: Program) -> None:
        with program.log_path.open("ab") as log:
            program.process = await asyncio.create_subprocess_exec(
                *leashed(program.argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **program.environment},
                start_new_session=True,
            )
        program.started_ms.append(self._clock.now_ms())

    async def _watch(self, program: Program) -> None:
        while program.process is not None:
            await program.process.wait()
            wait_s = program.recent.next_wait_s(self._clock.now_ms()) if program.wanted and program.restart else None
            if wait_s is None:
                return
            program.restarts += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(program.leaving.wait(), wait_s)
            async with program.starting:  # so that whoever ends the program finds the process that runs
                if not program.wanted:
                    return
                await self._spawn(program)

    async def _end(self, program: Program, *, kill: bool = False) -> None:
        program.wanted = False
        program.leaving.set()
        async with program.starting:
            process = program.process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill() if kill else process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_WAIT_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if program.watcher is not None:
            await asyncio.gather(program.watcher, return_exceptions=True)  # one that failed was told by `check`

    @staticmethod
    def _last_words(program: Program) -> str:
        if not program.log_path.exists():
            return "it left no log"
        lines = program.log_path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return f"last lines of {program.log_path.name}:\n" + "\n".join(lines)
