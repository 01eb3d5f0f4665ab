"""`python -m firmware_bridges.innkeeper_lock.emulator --config FILE`: a property's locks and the air around them.

One process holds the air, every lock, and HCI ports for phones and the edge. When all is up it writes one JSON line to
standard output: `{"event": "ready", "hci": ["tcp-client:127.0.0.1:PORT"], "control": "tcp:127.0.0.1:PORT", ...}`.
SIGTERM or SIGINT ends it. SPEC.md describes configuration, control socket and facts.
"""

import argparse
import asyncio
import json
import signal
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from firmware_bridges.ble_radio.air import Air, Conditions, device_on
from firmware_bridges.ble_radio.hci_port import HciPort
from firmware_bridges.innkeeper_lock.config import Advertising, AirConfig, EmulatorConfig, Knobs, load
from firmware_bridges.innkeeper_lock.control import ControlServer, Fact
from firmware_bridges.innkeeper_lock.lock import EmulatedLock
from firmware_bridges.innkeeper_lock.memory import MemoryFile
from kit.clock import Clock, SystemClock
from kit.dice import Dice, SeededDice, SystemDice
from kit.files import SystemDisk
from kit.logs import configure
from kit.memory import settle
from kit.task_groups import TaskGroup
from protocols.door.identity import LockIdentity
from protocols.errors import InvalidInputError, PlatformError

TICK_S: Final = 1.0
STEP_MOST_S: Final = 2**32
T = TypeVar("T", bound=msgspec.Struct)


class Emulator:
    """Use as `async with`; then `hci` and `control` say where it is plugged in."""

    def __init__(self, config: EmulatorConfig, *, clock: Clock, key_dice: Dice) -> None:
        self._config, self._clock, self._key_dice = config, clock, key_dice
        self._dice = SeededDice(config.seed)
        self.air = Air(dice=self._dice.fork("air"), conditions=conditions(config.conditions))
        self.locks: dict[str, EmulatedLock] = {}
        self.control = ControlServer(self._obey)
        self.ports: list[HciPort] = []
        self._stack = AsyncExitStack()
        self._ticking: asyncio.Task[None] | None = None

    @property
    def hci(self) -> list[str]:
        """What phones and the edge open, one transport a port."""
        return [port.transport for port in self.ports]

    async def __aenter__(self) -> "Emulator":
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        config = self._config
        state_dir = _made(Path(config.state_dir))
        tasks = await self._stack.enter_async_context(TaskGroup())
        for number, each in enumerate(config.locks):
            device = device_on(self.air, each.door, address=self._dice.bytes(6))
            identity = LockIdentity.from_document(each.identity, f"locks[{number}].identity")
            lock = EmulatedLock(
                door=each.door,
                identity=identity,
                knobs=each.knobs,
                advertising=config.advertising,
                file=MemoryFile(SystemDisk(), state_dir / f"{identity.lock_id.hex()}.lock"),
                device=device,
                cut=partial(self.air.cut_host, device),
                clock=self._clock,
                key_dice=self._key_dice,
                dice=self._dice.fork(each.door),
                tell=self.control.tell,
                tasks=tasks,
            )
            await lock.start()
            self.locks[each.door] = lock
            self._stack.push_async_callback(lock.stop)
        for number in config.hci.ports:
            port = HciPort(self.air, self._dice.fork(f"hci-{number}"), most=config.hci.most)
            self.ports.append(await port.start(config.hci.host, number))
            self._stack.push_async_callback(port.close)
        await self.control.start(config.control)
        self._stack.push_async_callback(self.control.close)
        ticking = tasks.create_task(self._tick(), name="tick")
        self._stack.callback(ticking.cancel)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for lock in self.locks.values():
                await lock.tick()

    async def _obey(self, do: str, request: Fact) -> Fact:
        """Answer one request of the control socket. Raises InvalidInputError."""
        arguments = {key: value for key, value in request.items() if key not in ("id", "do")}
        match do:
            case "status":
                doors = [self._lock(arguments)] if "door" in arguments else list(self.locks.values())
                return {"locks": [lock.describe() for lock in doors], **self.describe()}
            case "touch":
                self._lock(arguments).touch()
            case "sleep":
                self._lock(arguments).peripheral.sleep()
            case "push":
                return {"open": self._lock(arguments).push()}
            case "bolt":
                drawn = arguments.get("drawn")
                if not isinstance(drawn, bool):
                    raise InvalidInputError("bolt", f"drawn is {drawn!r}, not true or false")
                self._lock(arguments).work_bolt(drawn=drawn)
            case "set":
                lock = self._lock(arguments)
                await lock.turn(_changed(lock.knobs, arguments, Knobs))
            case "lose_power":
                await self._lock(arguments).lose_power()
            case "step_clock":
                step_s = arguments.get("seconds")
                if isinstance(step_s, bool) or not isinstance(step_s, int | float) or not abs(step_s) <= STEP_MOST_S:
                    raise InvalidInputError("step_clock", f"seconds is {step_s!r}, not a number within {STEP_MOST_S}")
                await self._lock(arguments).step_clock(step_s)
            case "drop_links":
                return {"dropped": self._lock(arguments).peripheral.cut()}
            case "air":
                self.air.conditions = conditions(_changed(self._air(), arguments, AirConfig))
            case "advertising":
                changed = _changed(self._config.advertising, arguments, Advertising)
                for lock in self.locks.values():
                    lock.peripheral.set_advertising(changed)
            case _:
                raise InvalidInputError("control", f"{do!r} is not known")
        return {}

    def describe(self) -> Fact:
        """The truth about the air, for the control socket and the ready line."""
        return {
            "hci": self.hci,
            "control": self.control.address,
            "controllers": sum(port.controllers for port in self.ports),
            "dropped_links": self.air.dropped_links,
            "air": msgspec.to_builtins(self._air()),
        }

    def _air(self) -> AirConfig:
        now = self.air.conditions
        return AirConfig(
            connection_interval_ms=now.connection_interval_ms,
            advert_loss=now.advert_loss,
            packet_loss=now.packet_loss,
            late=now.late,
            late_ms=now.late_ms,
            drop=now.drop,
            us_per_byte=now.us_per_byte,
        )

    def _lock(self, arguments: dict[str, Any]) -> EmulatedLock:
        door = arguments.pop("door", None)
        lock = self.locks.get(door) if isinstance(door, str) else None
        if lock is None:
            raise InvalidInputError("door", f"{door!r} has no lock here")
        return lock


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def conditions(config: AirConfig) -> Conditions:
    """The configured air as the air takes it."""
    return Conditions(**msgspec.structs.asdict(config))


def _changed(now: T, changes: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert({**msgspec.to_builtins(now), **changes}, kind)
    except msgspec.ValidationError as error:
        raise InvalidInputError("control", str(error)) from error


async def run(config: EmulatorConfig) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    async with Emulator(config, clock=SystemClock("host"), key_dice=SystemDice()) as emulator:
        sys.stdout.write(json.dumps({"event": "ready", **emulator.describe()}) + "\n")
        sys.stdout.flush()
        settle()
        await stop.wait()


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run. Status 2: the configuration is wrong."""
    parser = argparse.ArgumentParser(prog="innkeeper-radio", description="A property's emulated locks and the air.")
    parser.add_argument("--config", type=Path, required=True, help="JSON; see firmware_bridges/innkeeper_lock/SPEC.md")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    arguments = parser.parse_args(argv)
    configure("innkeeper-radio", arguments.log_level)
    try:
        asyncio.run(run(load(arguments.config)))
    except PlatformError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
