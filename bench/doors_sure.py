"""Doors, sure: keys issued with a durable log, nights walked against the model, exchanges mutated.

Issuing is measured through the socket of the doors program, as the house asks it, each grant on the disk before its
answer. The walk is `tests/protocols/door/nights_walk.py`. Mutants are made of good exchanges: bits flipped, frames cut
short, repeated and put in each other's place, in the clear and behind a valid seal.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Final

from bench.ground import ROOMS, _running, _write_aurora
from bench.rows import Row, quantile, row
from edge.doors.client import DoorsClient
from kit.clock import SystemClock
from kit.dice import SystemDice
from protocols.device_model.identity import RoomId, StayId
from protocols.door.lock import State
from protocols.errors import LinkLostError
from protocols.grant.keys import compressed, private_key
from protocols.vectors.fixed import fresh_core
from tests.protocols.door.nights_walk import walk
from tests.protocols.door.test_exchange import GOOD, LOCK, SENSED, challenged, insider

KEYS: Final = 500
AT_ONCE: Final = 8
RUNS: Final = 3
STEPS: Final = 1_000_000
MUTANTS: Final = 200_000
SEALED: Final = 40_000
"""Of the mutants, those behind a valid seal."""
SILENCE_MS: Final = 60_001


def rows() -> list[Row]:
    """Measure; about five minutes."""
    return [*asyncio.run(_issued()), *_walked(), *_mutated()]


async def _issued() -> list[Row]:
    each_ms: list[float] = []
    bursts_s: list[float] = []
    dice = SystemDice()
    phones = [compressed(private_key(dice.bytes).public_key()) for _ in range(KEYS)]
    with tempfile.TemporaryDirectory(prefix="ik-bench-") as name:
        folder = Path(name) / "doors"
        _write_aurora(folder)
        command = ["-m", "edge.app.main", "doors", "--config", str(folder / "doors.toml")]
        with _running(command, folder / "doors.log"):
            async with DoorsClient(folder / "doors.sock") as doors:
                now_ms = SystemClock("host").wall_ms()

                async def issue(run: str, number: int) -> None:
                    room = RoomId(str(101 + number % ROOMS))
                    await doors.issue(
                        StayId(f"s-{run}-{number}"),
                        room,
                        phones[number],
                        not_before_ms=now_ms,
                        not_after_ms=now_ms + 86_400_000,
                    )

                while True:
                    try:
                        await issue("first", 0)
                        break
                    except LinkLostError:
                        await asyncio.sleep(0.05)
                for run in range(RUNS):
                    for number in range(KEYS):
                        began = time.perf_counter()
                        await issue(f"one-{run}", number)
                        each_ms.append((time.perf_counter() - began) * 1_000)
                    left = iter(range(KEYS))

                    async def clerk(run: int, left: Iterator[int]) -> None:
                        for number in left:
                            await issue(f"burst-{run}", number)

                    began = time.perf_counter()
                    await asyncio.gather(*(clerk(run, left) for _ in range(AT_ONCE)))
                    bursts_s.append(time.perf_counter() - began)
    p99s = [quantile(each_ms[run * KEYS : (run + 1) * KEYS], 0.99) for run in range(RUNS)]
    return [
        row(f"a key asked and answered over the socket, on the disk, n={RUNS} x {KEYS}: each", each_ms, "ms"),
        row("the same, p99 of a run", p99s, "ms", bar="<= 20 ms", holds=lambda middle, _: middle <= 20),
        row(
            f"{KEYS} keys, {AT_ONCE} asked for at once",
            bursts_s,
            "s",
            bar="<= 10 s",
            holds=lambda middle, _: middle <= 10,
        ),
        row(
            "keys a second, the same burst",
            [KEYS / each for each in bursts_s],
            "keys/s",
            bar=">= 50 keys/s",
            holds=lambda middle, _: middle >= 50,
        ),
    ]


def _walked() -> list[Row]:
    walked = walk(SystemClock("host").wall_ms(), STEPS)
    for each in walked.wrong[:5]:
        print(f"  {each}")
    return [
        row(
            f"nights walked against the model, {walked.steps} steps, {walked.opened} openings: wrong ones",
            [float(len(walked.wrong))],
            "steps",
            bar="0",
            holds=lambda middle, _: middle == 0,
        )
    ]


def _mutated() -> list[Row]:
    random = Random(SystemClock("host").wall_ms())
    opened = crashed = hung = 0
    core = fresh_core(LOCK)
    began = time.process_time()
    for number in range(MUTANTS):
        try:
            if number % (MUTANTS // SEALED) == 0:
                _, motor, _ = insider(_changing(random))
                opened += motor
                continue
            lock, _ = challenged(core)
            for frame in _mutants(random):
                opened += lock.receive_data(frame, core=core, sensed=SENSED, now_ms=1).motor
            lock.on_time(now_ms=SILENCE_MS)
            hung += lock.state is not State.OVER
        except Exception as error:  # noqa: BLE001 - whatever comes out of a lock is what is counted here
            crashed += 1
            print(f"  {type(error).__name__}: {error}")
    spent_us = (time.process_time() - began) / MUTANTS * 1e6
    name = f"{MUTANTS} mutated exchanges, {SEALED} of them behind a valid seal"
    return [
        row(
            f"{name}: opened, crashed or hung", [float(opened + crashed + hung)], "", bar="0", holds=lambda m, _: m == 0
        ),
        row(f"{name}: CPU of one, both sides", [spent_us], "us"),
    ]


def _mutants(random: Random) -> list[bytes]:
    """Frames of a good unlock, of which none is whole: flipped, cut, doubled, of another order."""
    [good] = GOOD
    frame = bytearray(good)
    match random.randrange(4):
        case 0:
            for _ in range(random.randint(1, 4)):
                at = random.randrange(1, len(frame))
                frame[at] ^= 1 << random.randrange(8)
            frame = frame if frame != good else frame[:-1]
            return [bytes(frame)]
        case 1:
            return [bytes(frame[: random.randrange(1, len(frame))])]
        case 2:
            at = random.randrange(1, len(frame))
            return [b"\x80" + bytes(frame[at:]), b"\x41" + bytes(frame[1:at])]
        case _:
            at = random.randrange(1, len(frame))
            return [bytes([random.randrange(256)]) + bytes(frame[at:])] * 2


def _changing(random: Random) -> Callable[[bytes], bytes]:
    def change(plaintext: bytes) -> bytes:
        mutant = bytearray(plaintext)
        for _ in range(random.randint(1, 3)):
            mutant[random.randrange(len(mutant))] ^= random.randint(1, 255)
        if random.random() < 0.3:
            mutant = mutant[: random.randrange(len(mutant))]
        return bytes(mutant) if bytes(mutant) != plaintext else plaintext + b"\x00"

    return change
