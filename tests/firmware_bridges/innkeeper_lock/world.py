"""A small property on an emulator in this process, for the tests of all who talk to locks."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from firmware_bridges.ble_radio.air import device_on
from firmware_bridges.ble_radio.backend import BleBackend
from firmware_bridges.ble_radio.radio import Radio, use_radio
from firmware_bridges.guest_phone.phone import GuestPhone
from firmware_bridges.innkeeper_lock.config import EmulatorConfig
from firmware_bridges.innkeeper_lock.emulator import Emulator
from firmware_bridges.innkeeper_lock.one_property import OneProperty
from kit.clock import ManualClock, SystemClock
from kit.dice import SeededDice
from protocols.door.bundle import Bundle

START_S = 1_767_225_600  # 2026-01-01T00:00:00Z, the ManualClock's
WAIT_S = 10.0
FAST_LOCK = {"crypto_ms": 0, "motor_ms": 10, "relock_ms": 200, "settle_ms": 20, "channel": "none"}
"""By GATT, which every phone has; `knobs={"channel": "works"}` where the L2CAP channel is meant."""
HELD = {"relock_ms": 60_000}
"""A bolt that is drawn is seen drawn, however busy the machine is; a test that has seen it throws it."""
IDEAL_AIR = {"connection_interval_ms": 0, "advert_loss": 0, "packet_loss": 0, "late": 0, "drop": 0}


class TestClock(ManualClock):
    """Wall time by hand, monotonic time as it is: links and radios wait in real time."""

    __test__ = False

    def __init__(self) -> None:
        super().__init__(wall_ms=START_S * 1_000)
        self._real = SystemClock("host")

    def now_ms(self) -> int:
        return self._real.now_ms()


@dataclass
class World:
    emulator: Emulator
    property: OneProperty
    clock: TestClock
    facts: list[dict[str, Any]] = field(default_factory=list)
    radios: list[Radio] = field(default_factory=list)

    async def backend(self) -> BleBackend:
        """A further central on the same air."""
        number = len(self.radios)
        radio = Radio(device_on(self.emulator.air, f"central-{number}", address=bytes([0xE0 + number]) * 6))
        self.radios.append(radio)
        await radio.power_on()
        return use_radio(radio)

    async def phone(self, *, seed: str = "phone") -> GuestPhone:
        phone = GuestPhone(await self.backend(), self.clock, SeededDice(f"{seed}-{len(self.radios)}"))
        phone.new_key()
        return phone

    async def guest(self, *doors: str, **terms: Any) -> GuestPhone:
        """A phone with a key, a grant and a bundle."""
        phone = await self.phone()
        phone.load_bundle(self.bundle(phone, *doors, **terms).to_document())
        return phone

    def bundle(self, phone: GuestPhone, *doors: str, **terms: Any) -> Bundle:
        return self.property.bundle(doors, phone.public_key, **terms)

    def truth(self, door: str) -> dict[str, Any]:
        return self.emulator.locks[door].describe()

    def motors(self, door: str) -> int:
        return sum(fact["event"] == "motor" and fact["door"] == door for fact in self.facts)


def config(
    property_: OneProperty, folder: Path, knobs: Mapping[str, Any] | None = None, **changes: Any
) -> EmulatorConfig:
    document = {
        "v": 1,
        "state_dir": str(folder / "locks"),
        "locks": [{**each, "knobs": {**FAST_LOCK, **(knobs or {})}} for each in property_.lock_configs()],
        "advertising": {"idle_ms": 20, "woken_ms": 20},
        "air": IDEAL_AIR,
        "hci": {"ports": []},
        **changes,
    }
    return msgspec.json.decode(json.dumps(document), type=EmulatorConfig)


def a_property() -> OneProperty:
    one = OneProperty(SeededDice("property").bytes, START_S)
    one.lock("door-101", room=101)
    one.lock("door-102", room=102)
    one.lock("door-pool", zones=0b100)
    return one


@asynccontextmanager
async def world(folder: Path, **changes: Any) -> AsyncIterator[World]:
    clock, one = TestClock(), a_property()
    async with running(clock, one, config(one, folder, **changes)) as it:
        yield it


@asynccontextmanager
async def running(clock: TestClock, one: OneProperty, settings: EmulatorConfig) -> AsyncIterator[World]:
    emulator = Emulator(settings, clock=clock, key_dice=SeededDice("locks"))
    facts: list[dict[str, Any]] = []
    emulator.control.tell = lambda event, fact: facts.append({"event": event, **fact})  # type: ignore[method-assign]  # replaced to look first
    async with emulator:
        it = World(emulator, one, clock, facts)
        try:
            yield it
        finally:
            for radio in it.radios:
                await radio.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.002)
