"""The write desk: what every write passes on every bus before anything is sent.

Holds guarantee G13: a command is carried out at most once, within the descriptor's allow-list (attribute, range,
rate), and never at or after its deadline. How the bytes travel and what is read back is the supervisor's.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from kit.clock import Clock
from protocols.descriptors.codec import allow
from protocols.descriptors.descriptor import Point
from protocols.device_model.capability import Capability, Value
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId

OUTCOMES_MAX: Final = 512
WAITING_MAX: Final = 256
GRACE_S: Final = 15.0
"""After its deadline a command may still be being read back, for no longer than this."""

Key = tuple[DeviceId, Capability, str]


@dataclass(frozen=True, slots=True)
class Job:
    """A command that passed: `value` is what is to be written."""

    command: Command
    point: Point
    value: Value


Perform = Callable[[Job], Awaitable[Outcome]]


class WriteDesk:
    """The desk of one bus."""

    def __init__(self, clock: Clock, perform: Perform) -> None:
        self._clock, self._perform = clock, perform
        self._tasks: OrderedDict[str, asyncio.Task[Outcome]] = OrderedDict()
        self._locks: dict[Key, asyncio.Lock] = {}
        self._newest: dict[Key, str] = {}
        self._newer: dict[Key, asyncio.Event] = {}
        """Set once there is a command newer than the newest of before."""
        self._sent: dict[Key, str] = {}
        self._spent_ms: dict[Key, int] = {}
        """For each point, the time at which all that was written will have been paid for by its interval."""

    async def write(self, command: Command, point: Point | None) -> Outcome:
        """Carry out a command; the same id asked twice is carried out once and answered twice.

        Args:
            command: what shall become of what.
            point: where, None if the device has no such attribute.
        """
        task = self._tasks.get(command.id)
        if task is None:
            if sum(not each.done() for each in self._tasks.values()) >= WAITING_MAX:
                return Outcome(Phase.FAILED, None, "too many commands wait for this bus")
            task = asyncio.create_task(self._carry_out(command, point), name=f"write {command.id}")
            self._tasks[command.id] = task
            self._forget_old()
        grace_s = max(0, command.deadline_ms - self._clock.wall_ms()) / 1000 + GRACE_S
        try:
            async with asyncio.timeout(grace_s):
                return await asyncio.shield(task)  # the asker may go away; what was begun is carried to its end
        except TimeoutError:
            return Outcome(Phase.UNKNOWN, None, "the bus gave no result in time")
        except asyncio.CancelledError:
            if not task.cancelled():
                raise  # it is the asker who goes
            return Outcome(Phase.UNKNOWN, None, "the bus was stopped")

    def _forget_old(self) -> None:
        """Keep the latest outcomes; what is still open is never forgotten, or it could be carried out twice."""
        if len(self._tasks) > OUTCOMES_MAX:
            ended = (name for name, task in self._tasks.items() if task.done())
            for name in list(islice(ended, len(self._tasks) - OUTCOMES_MAX)):
                del self._tasks[name]

    async def close(self) -> None:
        """Give up what is still open: the bus stops."""
        tasks = [each for each in self._tasks.values() if not each.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def expired(self, command: Command) -> bool:
        """Whether a command's deadline has come. To be asked last thing before sending."""
        return self._clock.wall_ms() >= command.deadline_ms

    def sending(self, job: Job) -> None:
        """Take note that the command is sent now: it costs its point one interval, however often it must be sent."""
        key, now_ms = _key(job.command), self._clock.now_ms()
        if self._sent.get(key) == job.command.id:
            return
        self._sent[key] = job.command.id
        self._spent_ms[key] = max(self._spent_ms.get(key, now_ms), now_ms) + _interval_ms(job.point)

    async def _carry_out(self, command: Command, point: Point | None) -> Outcome:
        if point is None:
            return Outcome(Phase.FAILED, None, f"{command.device} has no {command.capability}.{command.attribute}")
        allowed = allow(point, command.value)
        if isinstance(allowed, str):
            return Outcome(Phase.FAILED, None, allowed)
        if self.expired(command):
            return _EXPIRED
        key = _key(command)
        self._newest[key] = command.id
        if (before := self._newer.get(key)) is not None:
            before.set()  # whoever waits for its turn has lost it
        newer = self._newer[key] = asyncio.Event()
        async with self._locks.setdefault(key, asyncio.Lock()):
            refused = await self._turn(command, key, point, newer)
            if refused is not None:
                return refused
            outcome = await self._perform(Job(command, point, allowed.value))
        if allowed.clamped and outcome.phase is Phase.DONE:
            return replace(outcome, reason=f"clamped to {allowed.value:g}")
        return outcome

    async def _turn(self, command: Command, key: Key, point: Point, newer: asyncio.Event) -> Outcome | None:
        """Wait until the point may be written again; return why not, if not."""
        lent_ms = ((point.write.burst if point.write else 1) - 1) * _interval_ms(point)
        now_ms = self._clock.now_ms()
        wait_ms = self._spent_ms.get(key, now_ms) - lent_ms - now_ms
        if wait_ms > 0 and not command.urgent:
            if self._clock.wall_ms() + wait_ms >= command.deadline_ms:
                return Outcome(Phase.FAILED, None, f"written too often: next in {wait_ms / 1000:.1f} s, too late")
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_ms / 1000):
                    await newer.wait()
        if self._newest[key] != command.id:
            return Outcome(Phase.FAILED, None, f"superseded by command {self._newest[key]}")
        return _EXPIRED if self.expired(command) else None


_EXPIRED: Final = Outcome(Phase.EXPIRED, None, "its deadline passed before it was sent")


def _interval_ms(point: Point) -> int:
    return round((point.write.min_interval_s if point.write else 0) * 1000)


def _key(command: Command) -> Key:
    return (command.device, command.capability, command.attribute)
