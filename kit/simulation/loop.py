"""An asyncio loop whose time is virtual and whose order is one throw of seeded dice.

Time passes only when nothing is ready: then it jumps to the next timer. Callbacks that are ready in the same
turn run in a shuffled order, because real loops promise nothing across tasks and code that leans on luck
should fail here. Sockets, threads, executors, subprocesses and `time.sleep` are refused by name.

Determinism costs two precautions: tasks and futures hash by their number, not by their address (sets of them,
as in TaskGroup, would otherwise be iterated in another order in every process); and the cyclic collector runs
at fixed turns, because finalisers of abandoned generators are callbacks too.
"""

import asyncio
import gc
import heapq
import itertools
import math
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, NoReturn, TypeVar

from kit.dice import SeededDice
from kit.simulation.trace import Trace

T = TypeVar("T")

COLLECT_EVERY_TURNS: Final = 20_000
TURNS_AT_ONE_TIME_MAX: Final = 1_000_000  # callbacks that call each other for ever: time would never pass
END_WAIT_S: Final = 3_600.0  # virtual time that cancelled tasks get to end
NAMED_MOST: Final = 20
_FORBIDDEN_METHODS: Final = (
    "add_reader",
    "add_writer",
    "remove_reader",
    "remove_writer",
    "add_signal_handler",
    "remove_signal_handler",
    "create_connection",
    "create_server",
    "create_datagram_endpoint",
    "create_unix_connection",
    "create_unix_server",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "getaddrinfo",
    "getnameinfo",
    "sendfile",
    "start_tls",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendto",
    "sock_sendfile",
    "subprocess_exec",
    "subprocess_shell",
)
_FORBIDDEN_EVENTS: Final = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.system",
        "socket.__new__",
        "subprocess.Popen",
    }
)


class SimulationForbidsError(RuntimeError):
    """The code under simulation reached for the real world. Give it a port instead."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: not in a simulation, which has no sockets, threads, executors, subprocesses or real time; "
            "hand the code a port (Transport, Disk, Clock, Dice) and its simulated implementation"
        )


class SimulationStuckError(RuntimeError):
    """Nothing can ever happen again, or time cannot pass."""


class _Numbered:
    """Hash by number: sets of tasks and futures iterate alike in every process."""

    _number: int

    def __hash__(self) -> int:
        return self._number


class _SimFuture(_Numbered, asyncio.Future[Any]):
    def __init__(self, number: int, loop: "SimLoop") -> None:
        self._number = number
        super().__init__(loop=loop)


class _SimTask(_Numbered, asyncio.Task[Any]):
    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], loop: "SimLoop", **settings: Any) -> None:
        self._number = number
        super().__init__(coro, loop=loop, **settings)


class SimLoop(asyncio.BaseEventLoop):
    """The loop. `run_simulated` makes, runs and closes one.

    Args:
        seed: of the order of callbacks; `dice(name)` gives more dice from the same seed.
        blocking: what `run_in_executor` and `asyncio.to_thread` do: "forbidden", or "inline" to call the function
            in place, in no virtual time; for stores whose blocking calls are deterministic themselves.
    """

    def __init__(self, seed: int, *, blocking: str = "forbidden") -> None:
        if blocking not in ("forbidden", "inline"):
            raise ValueError(f"blocking must be 'forbidden' or 'inline', not {blocking!r}")
        super().__init__()
        self.seed = seed
        self.trace = Trace()
        self.crashes: list[dict[str, Any]] = []
        """Contexts of exceptions that nobody handled: each fails the run."""
        self._inline = blocking == "inline"
        self._order = SeededDice(seed).fork("order")._random  # shuffle is not a port's business
        self._numbers = itertools.count(1)
        self._now_s = 0.0
        self.limit_s = math.inf
        """Virtual time beyond which the run fails with TimeoutError."""
        self._turns = 0
        self._turns_now = 0
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._note_crash)

    def time(self) -> float:
        """Virtual seconds since the start of the run."""
        return self._now_s

    def time_us(self) -> int:
        """Virtual microseconds since the start, rounded."""
        return round(self._now_s * 1_000_000)

    def dice(self, name: str) -> SeededDice:
        """Return dice for one part of the world; parts do not shift each other's throws."""
        return SeededDice(self.seed).fork(name)

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future that hashes by its number."""
        return _SimFuture(next(self._numbers), self)

    def run_in_executor(self, executor: object, func: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Call `func` in place if the loop was made with `blocking="inline"`; else refuse."""
        if not self._inline or executor is not None:
            raise SimulationForbidsError("run_in_executor")
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - handed to the caller, as an executor does
            future.set_exception(error)
        return future

    def _make_task(
        self,
        _loop: asyncio.AbstractEventLoop,
        coro: Any,  # noqa: ANN401 - asyncio's protocol
        **settings: Any,
    ) -> "_SimTask":
        number = next(self._numbers)
        settings["name"] = settings.get("name") or f"sim-task-{number}"
        return _SimTask(number, coro, self, **settings)

    def _note_crash(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.trace.add(self._now_s, "crash", str(context.get("message")), repr(context.get("exception")))
        self.crashes.append(context)

    def _run_once(self) -> None:
        """One turn: let time pass if nothing is ready, then run what is, shuffled. Replaces BaseEventLoop's."""
        scheduled, ready = self._scheduled, self._ready  # type: ignore[attr-defined]  # the base class's own
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not ready:
            if not scheduled:
                if self._stopping:  # type: ignore[attr-defined]  # the base class's own
                    return
                raise SimulationStuckError(f"nothing can happen any more: {self._waiting()}")
            if scheduled[0]._when > self.limit_s:
                self._now_s = self.limit_s
                raise TimeoutError(f"still running at {self.limit_s} s: {self._waiting()}")
            if scheduled[0]._when > self._now_s:
                self._now_s = scheduled[0]._when
                self._turns_now = 0
        while scheduled and scheduled[0]._when <= self._now_s:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                ready.append(handle)
        self._turns += 1
        self._turns_now += 1
        if self._turns_now > TURNS_AT_ONE_TIME_MAX:
            raise SimulationStuckError(f"time stands still at {self._now_s} s: callbacks call each other for ever")
        if self._turns % COLLECT_EVERY_TURNS == 0:
            gc.collect()
        turn = list(ready)
        ready.clear()
        if len(turn) > 1:
            self._order.shuffle(turn)
        self.trace.step(self.time_us(), len(turn))
        for handle in turn:
            if not handle._cancelled:
                handle._run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """The base class counts these to rebuild its heap; `_run_once` drops them at the top of the heap."""

    def new_count(self) -> None:
        """Forget how many turns ran at this virtual time."""
        self._turns_now = 0

    def _waiting(self) -> str:
        names = [task.get_name() for task in sorted(asyncio.all_tasks(self), key=hash)]
        more = f" and {len(names) - NAMED_MOST} more" if len(names) > NAMED_MOST else ""
        return f"waiting are {', '.join(names[:NAMED_MOST])}{more}"

    def _process_events(self, event_list: object) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """There is no other thread to wake us."""


def _forbid(name: str) -> Callable[..., NoReturn]:
    def refuse(*_args: object, **_settings: object) -> NoReturn:
        raise SimulationForbidsError(name)

    refuse.__name__, refuse.__doc__ = name, "Refused in a simulation."
    return refuse


for _name in _FORBIDDEN_METHODS:
    setattr(SimLoop, _name, _forbid(_name))


@dataclass(frozen=True, slots=True)
class Simulated(Generic[T]):
    """How a run ended."""

    value: T
    seed: int
    ended_s: float
    trace_hash: str
    events: int


def run_simulated(
    main: Callable[[SimLoop], Coroutine[Any, Any, T]],
    seed: int,
    until_s: float,
    *,
    blocking: str = "forbidden",
) -> Simulated[T]:
    """Run `main(loop)` to its end in virtual time.

    Args:
        main: builds its world from `loop` (`SimClock(loop)`, `SimNet(loop)`, `loop.dice(...)`) and returns.
        seed: repeats the run exactly.
        until_s: virtual seconds after which `main` must have ended.
        blocking: see `SimLoop`.

    Raises:
        TimeoutError: `main` still ran at `until_s`.
        SimulationForbidsError: something reached for the real world.
        SimulationStuckError: nothing could happen any more.
        ExceptionGroup: tasks or callbacks ended by exceptions that nobody handled.

    Whatever is raised carries a note with the seed, the virtual time and the last events.
    """
    loop = SimLoop(seed, blocking=blocking)
    collecting = gc.isenabled()
    gc.disable()
    gc.freeze()  # what was there before is not ours to walk
    try:
        with _walled(loop):
            asyncio.set_event_loop(loop)
            try:
                loop.limit_s = until_s
                value = loop.run_until_complete(loop.create_task(main(loop), name="main"))
                ended_s, trace_hash = loop.time(), loop.trace.hash()
            finally:
                _end(loop)
        if loop.crashes:
            unhandled = [_as_exception(context) for context in loop.crashes]
            raise ExceptionGroup("unhandled in the simulation", unhandled)
    except BaseException as error:
        last = "\n  ".join(loop.trace.last()) or "none"
        error.add_note(f"simulation: seed {seed}, at {loop.time():.3f} s, last events:\n  {last}")
        raise
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        gc.unfreeze()
        if collecting:
            gc.enable()
    return Simulated(value, seed, ended_s, trace_hash, loop.trace.events)


def _end(loop: SimLoop) -> None:
    """Cancel what is left, oldest first, and let it end."""
    loop.limit_s = loop.time() + END_WAIT_S
    loop.new_count()
    left = sorted(asyncio.all_tasks(loop), key=hash)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    for task in left:
        if not task.cancelled() and (error := task.exception()) is not None:
            loop.call_exception_handler({"message": f"{task.get_name()} failed at the end", "exception": error})
    loop.run_until_complete(loop.shutdown_asyncgens())
    gc.collect()


def _as_exception(context: dict[str, Any]) -> Exception:
    error = context.get("exception")
    return error if isinstance(error, Exception) else RuntimeError(f"{context.get('message')}: {error!r}")


_walled_loops: list[SimLoop] = []
_wall_stands = False


@contextmanager
def _walled(loop: SimLoop) -> Iterator[None]:
    """Refuse the real world to everything that runs meanwhile, also to code that never asks the loop."""
    global _wall_stands  # noqa: PLW0603 - audit hooks are a process's and cannot be taken down
    if not _wall_stands:
        sys.addaudithook(_watch)
        _wall_stands = True
    _walled_loops.append(loop)
    with ExitStack() as doors:
        for owner, name in ((time, "sleep"), (threading.Thread, "start")):  # these have no audit event
            doors.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, _forbid(f"{owner.__name__}.{name}"))
        doors.callback(_walled_loops.pop)
        yield


def _watch(event: str, _facts: tuple[object, ...]) -> None:
    if _walled_loops and event in _FORBIDDEN_EVENTS:
        raise SimulationForbidsError(event)
