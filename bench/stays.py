"""The hotel's day, measured on the rehearsed building: from a change in the PMS to the edge, check-in, check-out.

Everything runs as separate programs over real sockets on this machine, emulators misbehaving as by default. The peer of
a check-in is a plain read of the same cloud in the same run: what HTTP and the database cost without the building.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from bench import stays_sync
from bench.rows import Row, row
from kit.clock import SystemClock
from kit.dice import SystemDice
from provisioning.inventory import inventory as inventories
from provisioning.rehearsal.building import Building, raise_building

AURORA: Final = Path(__file__).resolve().parents[1] / "inventories" / "aurora.toml"
ROOMS: Final = ("101", "102", "103", "104", "105", "106")
HOUR_MS: Final = 3_600_000
POLL_S: Final = 0.02
WAIT_S: Final = 40.0
PLAIN_READS: Final = 20


def rows() -> list[Row]:
    """Measure on a building of its own, and a whole hotel read from its PMS."""
    return [*asyncio.run(_measure()), *stays_sync.rows()]


async def _measure() -> list[Row]:
    clock = SystemClock(trust="host")
    with tempfile.TemporaryDirectory(prefix="ik-bench-") as folder:
        async with raise_building(
            inventories.load(AURORA), Path(folder) / "run", clock=clock, dice=SystemDice(), seed=1, say=lambda _: None
        ) as building:
            return await _days(building, clock)


async def _days(building: Building, clock: SystemClock) -> list[Row]:
    to_edge, check_ins, plain, opens = [], [], [], []
    for room in ROOMS:
        now_ms = clock.wall_ms()
        began_ms = clock.now_ms()
        booked = await building.pms.add_reservation(
            first_name="Bench",
            last_name=f"Guest {room}",
            room=room,
            start_ms=now_ms - HOUR_MS,
            end_ms=now_ms + 20 * HOUR_MS,
        )
        stay = await _held_by_edge(building, clock, booked)
        to_edge.append((clock.now_ms() - began_ms) / 1000)
        guest = await building.new_guest(f"bench-{room}")
        began_ms = clock.now_ms()
        answer = await building.cloud.check_in(stay, guest.public_key)
        check_ins.append(float(clock.now_ms() - began_ms))
        await guest.receive(answer["bundle"])
        await building.locks.touch(f"door-{room}")
        opened = await guest.open(f"door-{room}")
        if opened["ending"] == "opened":
            opens.append(float(opened["phases"]["total_ms"]))
        await guest.stop()
    for _ in range(PLAIN_READS):
        began_ms = clock.now_ms()
        await building.cloud.stays()
        plain.append(float(clock.now_ms() - began_ms))
    read_ms = max(1.0, sorted(plain)[len(plain) // 2])
    return [
        row(
            "PMS change -> held by the edge (hint, late and doubled)",
            to_edge,
            "s",
            bar="p95 <= 5 s",
            holds=lambda _, __: max(to_edge) <= 5.0,
        ),
        row(
            "remote check-in, phone key -> signed bundle",
            check_ins,
            "ms",
            ratio_to="GET stays of the same cloud",
            peer=read_ms,
        ),
        row("tap on a woken lock -> answer, mildly bad air", opens, "ms"),
        row("GET stays", plain, "ms"),
    ]


async def _held_by_edge(building: Building, clock: SystemClock, reservation: str) -> str:
    until_ms = clock.now_ms() + int(WAIT_S * 1000)
    while clock.now_ms() < until_ms:
        for stay in await building.cloud.stays():
            if stay["reservation"]["external_id"] == reservation:
                held = {each["id"] for each in (await building.edge.stays())["stays"]}
                if stay["id"] in held:
                    return str(stay["id"])
        await asyncio.sleep(POLL_S)
    raise TimeoutError(f"reservation {reservation} did not reach the edge in {WAIT_S:g} s")
