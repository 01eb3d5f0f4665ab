"""Tasks that are kept alive: a crash is logged with its cause, counted, and tried again after a random pause.

The one place in the house that catches `Exception` (tests/house holds it): a defect in one part must not
silence the others, and must never pass unseen.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from kit.cancellation import asked_to_end
from kit.clock import Clock
from kit.dice import Dice
from kit.health import Health
from protocols.errors import PlatformError

STOP_WAIT_S: Final = 10.0  # a task that ignores its cancellation for so long is named in the log and left


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full-jitter exponential pause: uniform in [0, min(most_ms, first_ms * 2^n)] after the n-th crash in a row.

    A run of at least `most_ms` without a crash starts the count again.
    """

    first_ms: int = 500
    most_ms: int = 60_000

    def pause_ms(self, crashes: int, dice: Dice) -> int:
        """Return the pause after `crashes` crashes in a row (at least 1), in milliseconds."""
        ceiling = min(self.most_ms, self.first_ms * 2 ** min(crashes - 1, 32))
        return round(dice.uniform(0, ceiling))


STANDARD: Final = Backoff()


class Supervisor:
    """Owns tasks by name; leaving the `async with` cancels them all and waits for their ends.

    Args:
        clock: for the length of runs.
        dice: for the pauses.
        log: a structlog logger.
        health: where given, each task reports itself there under its name: down after a crash, up again once
            it has run for a while without one.
    """

    def __init__(self, *, clock: Clock, dice: Dice, log: Any, health: Health | None = None) -> None:  # noqa: ANN401 - structlog's lazy logger
        self._clock, self._dice, self._log, self._health = clock, dice, log, health
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, int] = {}
        self._stopping = False
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def start(
        self,
        name: str,
        make: Callable[[], Awaitable[None]],
        *,
        restart: Backoff | None = STANDARD,
    ) -> None:
        """Run `make()` as task `name`.

        A normal return ends the task. A crash makes it run again after a pause, or ends it if `restart` is
        None; either way it is logged and counted.

        Raises:
            ValueError: a task of that name is still running.
        """
        if self._stopping:
            raise ValueError(f"{name}: the supervisor is stopping")
        if name in self._tasks and not self._tasks[name].done():
            raise ValueError(f"{name}: is already running")
        self._failures.setdefault(name, 0)
        self._tasks[name] = asyncio.get_running_loop().create_task(self._keep(name, make, restart), name=name)

    def failures(self, name: str) -> int:
        """Return how often `name` has crashed; 0 for a name never started."""
        return self._failures.get(name, 0)

    def running(self) -> list[str]:
        """Return the sorted names of the tasks that have not ended (a pause counts as running)."""
        return sorted(name for name, task in self._tasks.items() if not task.done())

    async def cancel(self, name: str) -> None:
        """End one task and wait for its end; harmless if it has ended or never was."""
        task = self._tasks.pop(name, None)
        if task is not None:
            await self._end([task])

    async def stop(self) -> None:
        """End all tasks, last started first, and wait for their ends; harmless to call twice."""
        self._stopping = True
        tasks = list(reversed(self._tasks.values()))
        self._tasks.clear()
        await self._end(tasks)

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        self._ending.update(tasks)
        for task in tasks:
            task.cancel()
        if not tasks:
            return
        ended, deaf = await asyncio.wait(tasks, timeout=STOP_WAIT_S)
        self._ending.difference_update(ended)
        for task in sorted(deaf, key=asyncio.Task.get_name):
            self._log.error("task_ignores_cancellation", task=task.get_name(), waited_s=STOP_WAIT_S)

    async def _keep(self, name: str, make: Callable[[], Awaitable[None]], restart: Backoff | None) -> None:
        in_a_row = 0
        while True:
            began_ms, asked = self._clock.now_ms(), asked_to_end()
            settled = self._settle_later(name, restart)
            try:
                await make()
            except asyncio.CancelledError as error:
                if asyncio.current_task() in self._ending or asked_to_end() > asked:
                    raise
                crash: BaseException = error  # something it awaited was cancelled: a crash like any other
            except Exception as error:  # noqa: BLE001 - the one place: see the head of this module
                crash = error
            else:
                return
            finally:
                if settled is not None:
                    settled.cancel()
            if asyncio.current_task() in self._ending:
                return  # an error in the moment of the end took the cancellation's place: the end is meant all the same
            ran_ms = self._clock.now_ms() - began_ms
            self._failures[name] += 1
            if self._health is not None:
                self._health.report(name, ok=False, detail=_said_openly(crash))
            if restart is None:
                self._tell(name, crash, ran_ms=ran_ms, again_in_ms=None)
                return
            in_a_row = 1 if ran_ms >= restart.most_ms else in_a_row + 1
            pause_ms = restart.pause_ms(in_a_row, self._dice)
            self._tell(name, crash, ran_ms=ran_ms, again_in_ms=pause_ms)
            await asyncio.sleep(pause_ms / 1000)

    def _settle_later(self, name: str, restart: Backoff | None) -> asyncio.TimerHandle | None:
        """Report the task healthy once it has run for the first pause; a crash before that cancels it."""
        if self._health is None:
            return None
        wait_s = 0.0 if restart is None or not self._failures[name] else restart.first_ms / 1000
        return asyncio.get_running_loop().call_later(wait_s, self._health.report, name, True)

    def _tell(self, name: str, crash: BaseException, *, ran_ms: int, again_in_ms: int | None) -> None:
        facts = {
            "task": name,
            "failures": self._failures[name],
            "ran_ms": ran_ms,
            "again_in_ms": again_in_ms,
            "error": _said(crash),
        }
        if isinstance(crash, PlatformError) and crash.retryable:
            self._log.warning("task_failed", **facts)  # the world's doing: a trace would say nothing
        else:
            self._log.error("task_crashed", **facts, exc_info=crash)


def _said_openly(error: BaseException) -> str:
    """Return what anybody may read: our own errors in full, of others only the kind (they quote what they had)."""
    return str(error) if isinstance(error, PlatformError) else type(error).__name__


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
