"""Fire mode: lights on, ventilation and heating off, shades up, everywhere, until it is over. It outranks all else.

What is asked of which device is fire_acts.py's. Nobody starts plant again but a person; rooms get back what their
modes wish, and heating and fans the mode they had (fire_after.py). Whatever comes to the house or back to it while it
burns is told as well, and so is what says the contrary after it has obeyed.

It needs the buses and nothing else: no log, no store, no cloud, no policy, no stays. Detectors are heard before the
queue that waits for the disk (edge/app/devices.py); writes go straight to the devices, each with its own retries;
what must survive a restart is stored when it can be. Doors are not unlocked here: a way out needs no key (door.md).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from edge.rooms.fire_acts import OFF, Asked, Points, asked, least_of
from edge.rooms.fire_after import HeldBefore, Mode, Row
from edge.rooms.ports import DeviceWriter
from kit.clock import Clock
from kit.task_groups import TaskGroup
from protocols.device_model.capability import Capability, Value
from protocols.device_model.command import Command, Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading
from protocols.errors import PlatformError

WRITE_WAIT_MS: Final = 15_000
RETRY_FIRST_S: Final = 2.0
RETRY_MOST_S: Final = 30.0
LOOK_S: Final = 10.0
"""How often it is looked who is to be told what: a device that has said its firmware takes what it did not before."""
SMOKE: Final = (Capability.SMOKE_CO_ALARM, "smoke_state")


Target = tuple[DeviceId, Capability, str]


@dataclass(frozen=True, slots=True)
class FireState:
    """What survives a restart: who declared it (None: only detectors say so), since when, unix ms, and what is owed."""

    declared_by: str | None = None
    since_ms: int | None = None
    owed: tuple[Row, ...] = ()


class FireMode:
    """The house's, one for all rooms.

    Args:
        devices: Every device of the plan.
        writer: The way to the devices.
        clock: Both clocks.
        changed: Awaited with what is to survive a restart; asked again until it succeeds, and nothing waits for it.
        points: What a device may have and takes, as far as its model is known now; asked whenever it is wanted.
    """

    def __init__(
        self,
        *,
        devices: Sequence[DeviceId],
        writer: DeviceWriter,
        clock: Clock,
        changed: Callable[[FireState], Awaitable[None]],
        points: Callable[[DeviceId], Points] = lambda _: {},
    ) -> None:
        self._devices, self._writer, self._clock, self._changed = tuple(devices), writer, clock, changed
        self._points = points
        self._alarming: set[DeviceId] = set()
        self._overruled: set[DeviceId] = set()
        self._declared_by: str | None = None
        self._since_ms: int | None = None
        self._stirred, self._unsaved = asyncio.Event(), asyncio.Event()
        self._wanted: dict[Target, Value] = {}
        self._done: dict[Target, bool] = {}
        self._tried_ms: dict[Target, int] = {}
        """When each was last written to (monotonic)."""
        self._gainsaying: set[Target] = set()
        self._back: set[DeviceId] = set()
        self._attempts = 0
        self._cannot: dict[DeviceId, str] = {}
        self._before = HeldBefore(self._word)
        self._known_over = False
        """Whether somebody who can know has said in this life that there is no fire."""
        self.ended: Callable[[], None] = _nothing
        """Called when it is over: the rooms are to be what their modes say."""

    def serve(self, devices: Sequence[DeviceId]) -> None:
        """Take the devices of the house from now on; a detector that is none of them any more does not alarm."""
        self._devices = tuple(devices)
        gone = self._alarming - set(devices)
        self._alarming -= gone
        self._overruled &= set(devices)
        self._before.serve(self._devices)
        if gone:
            self._look()
        self._stirred.set()

    def back(self, device: DeviceId) -> None:
        """Learn that a device is heard again, or is another: what was confirmed before is no longer so."""
        if self.active:
            self._back.add(device)
            self._stirred.set()

    def renewed(self, device: DeviceId) -> None:
        """Learn that a device is another: nobody has overruled that one."""
        self._overruled.discard(device)
        self.back(device)

    @property
    def active(self) -> bool:
        """Whether there is fire."""
        return self._since_ms is not None

    def restore(self, state: FireState) -> None:
        """Take up a fire that a person declared before the restart; detectors speak for themselves."""
        self._before.restore(state.owed)
        if state.declared_by is not None:
            self._declared_by, self._since_ms = state.declared_by, state.since_ms or self._clock.wall_ms()
            self._stirred.set()

    def heard(self, reading: Reading) -> None:
        """Take any reading of the house; only a detector's good word counts, and its silence never ends a fire."""
        if isinstance(reading.value, str) and self._before.heard(reading, burning=self.active):
            self._unsaved.set()  # what is held is a mode, a word; most of what a house says are numbers
        if self._done:
            self._gainsaid(reading)
        if reading.capability != SMOKE[0] or reading.attribute != SMOKE[1] or reading.quality is not Quality.GOOD:
            return
        if reading.value == "critical":
            if reading.device not in self._overruled:
                self._alarming.add(reading.device)
        else:
            self._alarming.discard(reading.device)
            self._overruled.discard(reading.device)
        self._look()

    def heard_together(self, readings: Iterable[Reading]) -> None:
        """Take readings as `heard` does, in order; most of what a house says are numbers, and nothing to fire."""
        for each in readings:
            if isinstance(each.value, str) or each.attribute == SMOKE[1] or self._done:
                self.heard(each)

    def declare(self, by: str) -> None:
        """A person says that there is fire."""
        self._declared_by = by
        self._look()

    def clear(self) -> None:
        """A person says that it is over. Detectors that still alarm are not believed until they have said normal."""
        self._overruled |= self._alarming
        self._alarming.clear()
        self._declared_by = None
        self._look()

    def told(self) -> dict[str, Any]:
        """Return the state for the local API: who says so, since when, what has not obeyed yet, and what cannot."""
        pending = sorted({device for (device, _, _), done in self._done.items() if not done})
        return {
            "active": self.active,
            "since_ms": self._since_ms,
            "declared_by": self._declared_by,
            "detectors": sorted(self._alarming),
            "overruled": sorted(self._overruled),
            "pending": pending,
            "cannot": dict(sorted(self._cannot.items())),
        }

    async def run(self) -> None:
        """Carry it out whenever there is one, for ever."""
        async with TaskGroup() as tasks:
            tasks.create_task(self._save())
            back: dict[Mode, asyncio.Task[None]] = {}
            while True:
                self._stirred.clear()
                if not self.active:
                    for key, word in self._before.owed().items() if self._known_over else ():
                        if key not in back or back[key].done():
                            back[key] = tasks.create_task(self._put_back(key, word))
                    await self._stirred.wait()
                    continue
                for each in back.values():
                    each.cancel()
                await self._burn(tasks)
                self._before.over()
                self.ended()

    async def _burn(self, tasks: TaskGroup) -> None:
        """Have everybody obey until it is over."""
        work: dict[Target, asyncio.Task[None]] = {}
        while self.active:
            self._stirred.clear()
            self._look_around()
            for target in [each for each in work if each not in self._wanted or not self._settled(each, work[each])]:
                work.pop(target).cancel()
            for target, value in self._wanted.items():
                if target not in work:
                    self._done[target] = False
                    work[target] = tasks.create_task(self._obey(target, value))
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._stirred.wait()
        for each in work.values():
            each.cancel()
        await asyncio.gather(*work.values(), return_exceptions=True)
        self._wanted.clear()
        self._done.clear()
        self._tried_ms.clear()
        self._gainsaying.clear()
        self._back.clear()
        self._cannot = {}

    def _settled(self, target: Target, task: asyncio.Task[None]) -> bool:
        """Whether a target needs no new attempt: it is on its way, or has obeyed."""
        return target in self._done and (self._done[target] or not task.done())

    def _look_around(self) -> None:
        """Find out who is to hold what; a target that is new, or whose device is, has not obeyed."""
        wanted = self._writable()
        kept = {
            each: done
            for each, done in self._done.items()
            if each in wanted and wanted[each] == self._wanted[each] and each[0] not in self._back
        }
        for target in wanted:
            if target[0] in self._back:
                self._gainsaying.discard(target)
            if target not in self._wanted and self._before.takes(target):
                self._unsaved.set()
        self._back.clear()
        self._wanted, self._done = wanted, kept

    def _look(self) -> None:
        burning = bool(self._alarming) or self._declared_by is not None
        self._known_over = not burning
        if not burning:
            self._since_ms = None
        elif self._since_ms is None:
            self._since_ms = self._clock.wall_ms()
        self._stirred.set()
        self._unsaved.set()

    def _writable(self) -> dict[Target, Value]:
        every = {device: self._asked(device) for device in self._devices}
        self._cannot = {device: each.cannot for device, each in every.items() if each.cannot is not None}
        return {(device, *key): value for device, each in every.items() for key, value in each.wanted.items()}

    def _asked(self, device: DeviceId) -> Asked:
        def can_write(capability: Capability, attribute: str) -> bool:
            return self._writer.can_write(device, capability, attribute)

        return asked(self._points(device), can_write)

    def _word(self, mode: Mode) -> str:
        """Return what fire asks of a mode, as far as its model is known."""
        device, capability, attribute = mode
        return least_of((capability, attribute), self._points(device)) or OFF

    def _gainsaid(self, reading: Reading) -> None:
        """Take note of a device that obeyed and says something else now: it lost power, or somebody was there.

        Numbers are left out: a curtain on its way, or a lamp that rounds, says something else and obeys.
        """
        target = (reading.device, reading.capability, reading.attribute)
        if not self._done.get(target) or reading.quality is not Quality.GOOD:
            return
        wanted, said = self._wanted[target], reading.value
        if isinstance(wanted, bool | str) and isinstance(said, bool | str) and said != wanted:
            self._done[target] = False
            self._gainsaying.add(target)
            self._stirred.set()

    async def _obey(self, target: Target, value: Value) -> None:
        """Write until the device has confirmed; a device that cannot be reached is asked for as long as it burns."""
        device, capability, attribute = target
        if (tried_ms := self._tried_ms.get(target)) is not None:  # whoever comes and goes, or says no, is no flood
            pause_s = RETRY_MOST_S if target in self._gainsaying else RETRY_FIRST_S
            await asyncio.sleep(max(0.0, tried_ms / 1000 + pause_s - self._clock.now_ms() / 1000))
        self._gainsaying.discard(target)
        wait_s = RETRY_FIRST_S
        while True:
            self._attempts += 1
            self._tried_ms[target] = self._clock.now_ms()
            name = f"fire:{self._since_ms}:{device}:{attribute}:{self._attempts}"
            if await self._written(name, device, capability, attribute, value, urgent=True):
                self._done[target] = True
                return
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_MOST_S)

    async def _put_back(self, key: Mode, word: str) -> None:
        """Write until the device holds its word again, or somebody has set another."""
        device, capability, attribute = key
        wait_s, attempt = RETRY_FIRST_S, 0
        while key in self._before.owed():
            attempt += 1
            name = f"fire-over:{self._clock.wall_ms()}:{device}:{attribute}:{attempt}"
            if await self._written(name, device, capability, attribute, word):
                self._before.put_back(key)
                self._unsaved.set()
                return
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_MOST_S)

    async def _written(
        self, name: str, device: DeviceId, capability: Capability, attribute: str, value: Value, *, urgent: bool = False
    ) -> bool:
        """Write once and tell whether the device has confirmed; nothing that happens to it may end the mode."""
        deadline_ms = self._clock.wall_ms() + WRITE_WAIT_MS
        try:
            command = Command(name, device, capability, attribute, value, deadline_ms, name, urgent)
            outcome = await self._writer.write(command)
        except PlatformError:
            return False
        return outcome.phase is Phase.DONE

    async def _save(self) -> None:
        while True:
            await self._unsaved.wait()
            self._unsaved.clear()
            try:
                await self._changed(FireState(self._declared_by, self._since_ms, self._before.rows()))
            except PlatformError:
                self._unsaved.set()
                await asyncio.sleep(RETRY_MOST_S)


def _nothing() -> None:
    """Nobody waits for the end."""
