"""Doors over Bluetooth as a hotel has them, each party a process: the locks and the air, the edge's doors, the phones.

Everything goes over emulated HCI, bleak and GATT; what the lock really did is read from the emulator's control socket.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge.doors.client import DoorsClient
from firmware_bridges.innkeeper_lock.control import ControlClient
from firmware_bridges.innkeeper_lock.one_property import OneProperty
from kit.clock import SystemClock
from kit.dice import SystemDice
from protocols.device_model.identity import parse_room_id, parse_stay_id
from protocols.door.identity import secrets_document, secrets_of
from protocols.errors import LinkLostError

CLOCK = SystemClock("host")
WAIT_S = 30.0
HOUR_MS = 3_600_000


class Process:
    """One of ours, ended by its own handle."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, *command: str) -> "Process":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1024 * 1024,
        )
        return cls(process)

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

    async def phone(self) -> tuple[Process, str]:
        phone = await Process.start("firmware_bridges.guest_phone", "--hci", self.hci)
        self.stack.push_async_callback(phone.stop)
        return phone, str((await phone.ask(do="new_key"))["public_key"])

    async def guest(self, stay: str, room: str) -> Process:
        phone, key = await self.phone()
        now_ms = CLOCK.wall_ms()
        bundle = await self.doors.issue(
            parse_stay_id(stay),
            parse_room_id(room),
            bytes.fromhex(key),
            not_before_ms=now_ms - HOUR_MS,
            not_after_ms=now_ms + 24 * HOUR_MS,
        )
        assert (await phone.ask(do="load_bundle", bundle=bundle))["ok"]
        return phone

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


def doors_toml(folder: Path, hci: str) -> Path:
    path = folder / "doors.toml"
    path.write_text(
        f'store_path = "{folder}/doors.db"\n'
        f'socket_path = "{folder}/doors.sock"\n'
        f'site_plan_path = "{folder}/site_plan.json"\n'
        f'door_secrets_path = "{folder}/doors.secrets.json"\n'
        f'property_ca_key_path = "{folder}/ca.json"\n'
        f'clock_trust = "host"\nlog_level = "warning"\n[radio]\nkind = "emulated"\nhci = "{hci}"\n'
    )
    return path


@asynccontextmanager
async def a_hotel(folder: Path) -> AsyncIterator[Hotel]:
    async with AsyncExitStack() as stack:
        one = OneProperty(SystemDice().bytes, CLOCK.wall_ms() // 1_000, name="aurora")
        for room in (101, 102):
            one.lock(f"door-{room}", room=room)
        config = lay_out(folder, one)
        locks = await Process.start("firmware_bridges.innkeeper_lock.emulator", "--config", str(config))
        stack.push_async_callback(locks.stop)
        ready = await locks.line()
        doors_process = await Process.start(
            "edge.app.main", "doors", "--config", str(doors_toml(folder, ready["hci"][0]))
        )
        stack.push_async_callback(doors_process.stop)
        doors = await stack.enter_async_context(DoorsClient(folder / "doors.sock"))
        control = await ControlClient.connect(ready["control"])
        stack.push_async_callback(control.close)
        hotel = Hotel(folder, stack, ready["hci"][0], control, doors, one, locks, doors_process)

        async def issues() -> bool:
            try:
                status = await doors.status()
            except LinkLostError:
                return False
            return bool(status)

        await hotel.until(issues)
        yield hotel


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    os.chmod(tmp_path, 0o700)  # noqa: PTH101 - tmp_path may be a link
    assert len(str(tmp_path / "doors.sock")) <= 100, "a unix socket's path is short"
    return tmp_path


@pytest.mark.requirement("P4")
@pytest.mark.requirement("P5")
@pytest.mark.requirement("P10")
async def test_a_guest_opens_a_stranger_does_not_and_check_out_ends_it(folder: Path) -> None:
    async with a_hotel(folder) as hotel:
        guest = await hotel.guest("stay-1", "101")
        await hotel.control.call("touch", door="door-101")
        opening = await guest.ask(do="open", door="door-101")
        assert opening["ending"] == "opened", opening
        assert set(opening["phases"]) >= {"scan_ms", "connect_ms", "subscribe_ms", "challenge_ms", "answer_ms"}
        assert (await hotel.control.call("push", door="door-101"))["open"], "the bolt did not move"
        assert (await hotel.lock("door-101"))["motor_runs"] == 1

        # the neighbour's door: the phone has no keys of it, and forging the name does not help
        assert (await guest.ask(do="open", door="door-102"))["reason"] == "unknown_door"

        # a stranger with a stolen bundle has not the phone's key
        stranger, _ = await hotel.phone()
        bundle = hotel.property.bundle(["door-101"], (await hotel.phone())[1])
        assert (await stranger.ask(do="load_bundle", bundle=bundle.to_document()))["ok"]
        refused = await stranger.ask(do="open", door="door-101")
        assert (refused["ending"], refused["reason"]) == ("refused", "bad_signature")
        assert refused["spoken"] == "This key could not be verified."

        # a guest of the next room, told of this one's advert keys
        neighbour, key = await hotel.phone()
        wrong = hotel.property.bundle(["door-102"], key, tell_of=["door-101"])
        assert (await neighbour.ask(do="load_bundle", bundle=wrong.to_document()))["ok"]
        refused = await neighbour.ask(do="open", door="door-101")
        assert (refused["ending"], refused["reason"]) == ("refused", "wrong_door")
        assert (await hotel.lock("door-101"))["motor_runs"] == 1

        # check-out: the edge bumps the door by its own radio, and the old phone is refused
        before = (await hotel.lock("door-101"))["generation"]
        await hotel.doors.end_stay(parse_stay_id("stay-1"))

        async def bumped() -> bool:
            return bool((await hotel.lock("door-101"))["generation"] > before)

        await hotel.until(bumped)
        refused = await guest.ask(do="open", door="door-101")
        assert (refused["ending"], refused["reason"]) == ("refused", "superseded")
        assert (await hotel.lock("door-101"))["motor_runs"] == 1

        # and the edge has fetched what the lock saw, from first to last
        seen: list[tuple[str, str | None]] = []
        async with asyncio.timeout(WAIT_S):
            async for event in hotel.doors.events(0):
                if event.body.get("door") == "door-101":
                    seen.append((event.body["event"], event.body.get("reason")))
                if seen[-1:] == [("refused", "superseded")]:
                    break
        assert ("opened", None) in seen
        assert ("refused", "bad_signature") in seen
        assert ("refused", "wrong_door") in seen


@pytest.mark.guarantee("G1")
async def test_the_phone_opens_with_the_edge_gone_and_the_lock_remembers_through_a_kill(folder: Path) -> None:
    async with a_hotel(folder) as hotel:
        guest = await hotel.guest("stay-1", "102")
        following = await hotel.guest("stay-2", "102")
        await hotel.edge.kill()
        assert (await guest.ask(do="open", door="door-102"))["ending"] == "opened"
        assert (await following.ask(do="open", door="door-102"))["ending"] == "opened"
        before = await hotel.lock("door-102")
        await hotel.locks.kill()  # the emulator dies without a goodbye
        locks = await Process.start(
            "firmware_bridges.innkeeper_lock.emulator", "--config", str(folder / "emulator.json")
        )
        hotel.stack.push_async_callback(locks.stop)
        ready = await locks.line()
        hotel.hci = ready["hci"][0]
        control = await ControlClient.connect(ready["control"])
        hotel.stack.push_async_callback(control.close)
        hotel.control = control
        after = await hotel.lock("door-102")
        assert after["generation"] == before["generation"]
        assert after["audit_seq"] >= before["audit_seq"]
        assert after["time_quality"] == before["time_quality"]
