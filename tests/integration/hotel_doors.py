"""A hotel's doors as real processes: the locks and the air, the edge's doors, the phones; for the tests beside it.

Everything goes over emulated HCI, bleak and GATT; what a lock really did is read from the emulator's control socket.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.doors.client import DoorsClient
from firmware_bridges.innkeeper_lock.control import ControlClient
from firmware_bridges.innkeeper_lock.one_property import OneProperty
from kit.clock import SystemClock
from kit.dice import SystemDice
from protocols.device_model.identity import parse_room_id, parse_stay_id
from protocols.door.identity import secrets_document, secrets_of
from protocols.errors import LinkLostError, ReplyTimeoutError

CLOCK = SystemClock("host")
WAIT_S = 30.0
HOUR_MS = 3_600_000


class Process:
    """One of ours, ended by its own handle."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, *command: str, environment: Mapping[str, str] | None = None) -> "Process":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1024 * 1024,
            env={**os.environ, **(environment or {})},
        )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), WAIT_S)
        assert line, f"it ended with status {await self._process.wait()}"
        said: dict[str, Any] = json.loads(line)
        return said

    async def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        await self._process.stdin.drain()
        return await self.line()

    async def stop(self) -> int:
        if self._process.returncode is None:
            self._process.terminate()
        assert self._process.stdin is not None
        self._process.stdin.close()
        return await asyncio.wait_for(self._process.wait(), WAIT_S)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()


class Phone:
    """A phone: in a process of its own, or one of several in one, on one radio."""

    def __init__(self, process: Process, name: str | None = None) -> None:
        self._process, self._name = process, name

    async def ask(self, **request: Any) -> dict[str, Any]:
        return await self._process.ask(**request, **({} if self._name is None else {"as": self._name}))


@dataclass
class Hotel:
    folder: Path
    stack: AsyncExitStack
    hci: str
    control: ControlClient
    doors: DoorsClient
    property: OneProperty
    locks: Process
    edge: Process
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of the doors process."""
    phones_together: bool = False
    """A process for each phone is the half of what a long test costs."""
    phones: list[Process] = field(default_factory=list)
    phones_made: int = 0

    async def phone(self) -> tuple[Phone, str]:
        if not self.phones or not self.phones_together:
            self.phones.append(await Process.start("firmware_bridges.guest_phone", "--hci", self.hci))
            self.stack.push_async_callback(self.phones[-1].stop)
        self.phones_made += 1
        phone = Phone(self.phones[-1], f"phone-{self.phones_made}" if self.phones_together else None)
        return phone, str((await phone.ask(do="new_key"))["public_key"])

    async def guest(self, stay: str, room: str) -> Phone:
        phone, key = await self.phone()
        bundle = await self.issue(stay, room, key)
        assert (await phone.ask(do="load_bundle", bundle=bundle))["ok"]
        return phone

    async def issue(self, stay: str, room: str, key: str) -> dict[str, Any]:
        now_ms = CLOCK.wall_ms()
        return await self.doors.issue(
            parse_stay_id(stay),
            parse_room_id(room),
            bytes.fromhex(key),
            not_before_ms=now_ms - HOUR_MS,
            not_after_ms=now_ms + 24 * HOUR_MS,
        )

    async def start_doors(self, config: Path | None = None) -> None:
        """Start the doors process, again after a kill, and wait until it answers."""
        path = config or doors_toml(self.folder, self.hci)
        self.edge = await Process.start("edge.app.main", "doors", "--config", str(path), environment=self.environment)
        self.stack.push_async_callback(self.edge.stop)

        async def answers() -> bool:
            try:
                return bool(await self.doors.status())
            except (LinkLostError, ReplyTimeoutError):  # by the connection to the one before
                return False

        await self.until(answers)

    async def lock(self, door: str) -> dict[str, Any]:
        [found] = (await self.control.call("status", door=door))["locks"]
        return dict(found)

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not await condition():
                await asyncio.sleep(0.05)


def write_secret(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return path


def lay_out(folder: Path, one: OneProperty) -> Path:
    """Write what commissioning leaves behind; return the emulator's configuration."""
    write_secret(folder / "ca.json", one.ca.to_document())
    secrets = {door: secrets_of(lock) for door, lock in one.locks.items()}
    write_secret(folder / "doors.secrets.json", secrets_document(secrets))
    plan = {
        "v": 1,
        "property": {"id": "aurora", "name": "Hotel Aurora", "zone": "Europe/Vienna", "tenant": "northlight"},
        "edge": "e-aurora0000000001",
        "rooms": [
            {"id": str(lock.room), "floor": 1, "kind": "guest_room", "type": "double"} for lock in one.locks.values()
        ],
        "devices": [],
        "buses": [{"id": "ble", "kind": "ble"}],
        "doors": [
            {
                "id": door,
                "room": str(lock.room),
                "number": lock.room,
                "lock": lock.lock_id.hex(),
                "s_lock": lock.s_lock.hex(),
                "zones": lock.zones,
            }
            for door, lock in one.locks.items()
        ],
    }
    (folder / "site_plan.json").write_text(json.dumps(plan))
    config = {
        "v": 1,
        "state_dir": str(folder / "locks"),
        "control": f"unix:{folder}/control",
        "locks": one.lock_configs(),
        "advertising": {"idle_ms": 100, "woken_ms": 25},
        "misbehaves": False,
    }
    return write_secret(folder / "emulator.json", config)


def doors_toml(folder: Path, hci: str, *, name: str = "doors", trust: str = "host") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(
        f'store_path = "{folder}/doors.db"\n'
        f'socket_path = "{folder}/doors.sock"\n'
        f'site_plan_path = "{folder}/site_plan.json"\n'
        f'door_secrets_path = "{folder}/doors.secrets.json"\n'
        f'property_ca_key_path = "{folder}/ca.json"\n'
        f'clock_trust = "{trust}"\nlog_level = "warning"\n[radio]\nkind = "emulated"\nhci = "{hci}"\n'
    )
    return path


@asynccontextmanager
async def a_hotel(
    folder: Path,
    *,
    rooms: Sequence[int] = (101, 102),
    environment: Mapping[str, str] | None = None,
    phones_together: bool = False,
) -> AsyncIterator[Hotel]:
    async with AsyncExitStack() as stack:
        one = OneProperty(SystemDice().bytes, CLOCK.wall_ms() // 1_000, name="aurora")
        for room in rooms:
            one.lock(f"door-{room}", room=room)
        config = lay_out(folder, one)
        locks = await Process.start("firmware_bridges.innkeeper_lock.emulator", "--config", str(config))
        stack.push_async_callback(locks.stop)
        ready = await locks.line()
        doors = await stack.enter_async_context(DoorsClient(folder / "doors.sock"))
        control = await ControlClient.connect(ready["control"])
        stack.push_async_callback(control.close)
        hotel = Hotel(
            folder, stack, ready["hci"][0], control, doors, one, locks, locks, environment or {}, phones_together
        )
        await hotel.start_doors()
        yield hotel
