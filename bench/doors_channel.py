"""Doors, by GATT and by the lock's L2CAP channel: how long to the motor, and how long for a log of 1,000 records.

The air is emulated with the time that packets take on LE 1M: a connection event carries what fits into the interval
stated, and no interval is shorter than the row says. Host and protocol code are real; the lock's processor is as
stated. Nothing is lost or late here: `bench.doors` has rows for that.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.rows import Row, quantile, row
from edge.bridges.ble.door_radio import BleDoorRadio
from edge.doors.conversation import Conversation
from edge.doors.radio import DoorSession
from firmware_bridges.ble_radio.radio import Radio, use_radio
from firmware_bridges.guest_phone.phone import Ending, GuestPhone
from firmware_bridges.innkeeper_lock.control import ControlClient
from firmware_bridges.innkeeper_lock.memory import Memory, MemoryFile, Quartz
from firmware_bridges.innkeeper_lock.one_property import OneProperty
from kit.clock import SystemClock
from kit.dice import SystemDice
from kit.files import SystemDisk
from protocols.door.advert import Advert
from protocols.door.audit import AuditEvent, open_chunk
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.phone import Fetch
from protocols.door.status import Status

RECORDS: Final = 1_000
LOGS: Final = 5
OPENINGS: Final = 20
SEAL_MS: Final = 25  # a key, an agreement and a signature on a tuned Cortex-M4 (door.md 6)
JUDGE_MS: Final = 45
FAST_MS: Final = 5
US_PER_BYTE: Final = 8  # LE 1M
WAIT_S: Final = 30.0
CLOCK: Final = SystemClock("host")
LOG_DOOR: Final = "door-101"
GUEST_DOOR: Final = "door-102"


@dataclass(frozen=True)
class Way:
    """How a lock is spoken to."""

    name: str
    att_mtu: int
    channel: bool


WAYS: Final = (
    Way("GATT at MTU 23", 23, False),
    Way("GATT at MTU 185", 185, False),
    Way("GATT at MTU 247", 247, False),
    Way("GATT at MTU 517", 517, False),
    Way("L2CAP channel, MPS 247", 517, True),
)


def rows() -> list[Row]:
    """Measure; about four minutes."""
    return asyncio.run(_measured())


async def _measured() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        one = OneProperty(SystemDice().bytes, CLOCK.wall_ms() // 1_000)
        one.lock(LOG_DOOR, room=101)
        one.lock(GUEST_DOOR, room=102)
        _fill_log(one, Path(folder))
        async with _emulator(one, Path(folder)) as (control, hci), await Radio.open(hci) as radio:
            measured: list[Row] = []
            for interval_ms in (15, 30):
                await control.call("air", connection_interval_ms=interval_ms)
                logs = {way: await _log(one, control, radio, way) for way in WAYS}
                peer = sorted(logs[WAYS[2]])[LOGS // 2]
                measured += [
                    row(
                        f"log of {RECORDS} records, {way.name}, {interval_ms} ms interval, LE 1M, lock {SEAL_MS} ms a"
                        f" chunk, n={LOGS}: connect -> last record verified",
                        seconds,
                        "s",
                        ratio_to=None if way is WAYS[2] else WAYS[2].name,
                        peer=None if way is WAYS[2] else peer,
                    )
                    for way, seconds in logs.items()
                ]
                for way in (WAYS[0], WAYS[2], WAYS[4]):
                    for fast in (False, True):
                        measured += await _openings(one, control, radio, way, interval_ms, fast=fast)
            return measured


def _fill_log(one: OneProperty, folder: Path) -> None:
    """Give the lock a past: records that nobody has fetched."""
    identity, wall_ms = one.locks[LOG_DOOR], CLOCK.wall_ms()
    core = LockCore.fresh(identity, wall_ms // 1_000, 0)
    while core.audit_seq < RECORDS:
        core = core.recorded(AuditEvent.OPENED, Sensed(0), Status.OPENED)
    (folder / "locks").mkdir()
    file = MemoryFile(SystemDisk(), folder / "locks" / f"{identity.lock_id.hex()}.lock")
    file.keep(Memory(core, Quartz(wall_ms, 0, 0)))


@asynccontextmanager
async def _emulator(one: OneProperty, folder: Path) -> AsyncIterator[tuple[ControlClient, str]]:
    config = {
        "v": 1,
        "state_dir": str(folder / "locks"),
        "locks": one.lock_configs(),
        "misbehaves": False,
        "air": {"us_per_byte": US_PER_BYTE},
        "advertising": {"idle_ms": 25, "woken_ms": 25},
    }
    (folder / "locks.json").write_text(json.dumps(config))
    emulator = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "firmware_bridges.innkeeper_lock.emulator",
        "--config",
        str(folder / "locks.json"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert emulator.stdout is not None
        ready = json.loads(await asyncio.wait_for(emulator.stdout.readline(), WAIT_S))
        control = await ControlClient.connect(ready["control"])
        yield control, ready["hci"][0]
        await control.close()
    finally:
        emulator.terminate()
        await asyncio.wait_for(emulator.wait(), WAIT_S)


# -- a log ------------------------------------------------------------------------------------------------------------


async def _log(one: OneProperty, control: ControlClient, radio: Radio, way: Way) -> list[float]:
    """Fetch the whole log a few times, as a visit of the edge does; nothing is acknowledged, so it stays."""
    await control.call("set", door=LOG_DOOR, att_mtu=way.att_mtu, crypto_ms=SEAL_MS)
    doors = BleDoorRadio(use_radio(radio), CLOCK, channels=way.channel)
    seconds: list[float] = []
    while len(seconds) < LOGS:
        address, channel = await _heard(one, doors)
        began = time.monotonic()
        session = await doors.open_session(address, channel=channel)
        try:
            assert (session.frame_bytes is None) == way.channel
            seq = await _fetch(one, session)
        finally:
            await session.close()
        seconds.append(time.monotonic() - began)
        assert seq >= RECORDS
    return seconds


async def _heard(one: OneProperty, doors: BleDoorRadio) -> tuple[str, int]:
    at_s = CLOCK.wall_ms() // 1_000
    ids = one.locks[LOG_DOOR].door_keys(at_s, at_s).ids_around(at_s)
    async with asyncio.timeout(WAIT_S), aclosing(doors.sightings()) as sightings:
        async for sighting in sightings:
            if (advert := Advert.decode(sighting.service_data)).eid in ids:
                return sighting.address, advert.channel
    raise AssertionError("sightings end only by an error")


async def _fetch(one: OneProperty, session: DoorSession) -> int:
    identity, at_s = one.locks[LOG_DOOR], CLOCK.wall_ms() // 1_000
    talk = Conversation(session, identity.door_keys(at_s, at_s), clock=CLOCK, dice=SystemDice())
    seq = 0
    while True:
        answer = await talk.ask(Fetch(seq))
        chunk = open_chunk(answer.sealed, identity.lock_id, audit_key=identity.audit.public_key(), edge_key=one.ca.seal)
        seq = chunk.checkpoint.seq
        if seq == chunk.checkpoint.newest_seq:
            return seq


# -- a door -----------------------------------------------------------------------------------------------------------


async def _openings(
    one: OneProperty, control: ControlClient, radio: Radio, way: Way, interval_ms: int, *, fast: bool
) -> list[Row]:
    await control.call("set", door=GUEST_DOOR, att_mtu=way.att_mtu, crypto_ms=JUDGE_MS, fast_ms=FAST_MS, relock_ms=0)
    phone = GuestPhone(use_radio(radio), CLOCK, SystemDice(), resumes=fast, channels=way.channel)
    phone.load_bundle(one.bundle([GUEST_DOOR], phone.new_key()).to_document())
    motors: list[float] = []
    taps: list[float] = []
    facts = asyncio.ensure_future(_motors(control, motors))
    await asyncio.sleep(0.1)  # the watch is on
    try:
        for number in range(OPENINGS + 1):
            before = len(motors)
            opening = await phone.open(GUEST_DOOR)
            assert opening.ending is Ending.OPENED, opening
            assert opening.channel == way.channel
            async with asyncio.timeout(WAIT_S):
                while len(motors) == before:
                    await asyncio.sleep(0.005)
            if number:  # the first one is in full, and with the whole certificate
                assert opening.fast == fast
                taps.append(float(opening.phases.total_ms))
    finally:
        facts.cancel()
    del motors[0]
    kind = f"FAST, lock {FAST_MS} ms" if fast else f"full, lock {JUDGE_MS} ms"
    name = f"{kind}, {way.name}, {interval_ms} ms interval, LE 1M, n={len(taps)}"
    return [
        row(f"{name}: connect -> motor, p50", motors, "ms"),
        row(f"{name}: connect -> motor, p95", [quantile(motors, 0.95)], "ms"),
        row(f"{name}: tap -> answer on the phone, adverts each 25 ms, p50", taps, "ms"),
    ]


async def _motors(control: ControlClient, motors: list[float]) -> None:
    async for fact in control.watch():
        if fact["event"] == "motor" and fact["door"] == GUEST_DOOR:
            motors.append(float(fact["connect_to_motor_ms"]))  # noqa: PERF401 - it is read while it grows
