"""Ground: how fast the edge starts, what it keeps in memory when idle, how fast the simulation passes time.

Start-up is measured from fork to the first 200 of /ready, as a process, and beside the same interpreter starting the
same HTTP stack with one empty route: what is left between them is ours. The doors program is measured to the first
grant that it signs. Memory is that of Hotel Aurora as it is rehearsed, with every bus, every lock and its cloud.
"""

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.rows import Row, row
from edge.doors.client import DoorsClient
from kit.clock import SystemClock
from kit.dice import SystemDice
from kit.memory import pss_kib
from kit.simulation import SimLoop, run_simulated
from protocols.device_model import site_plan
from protocols.device_model.identity import DoorId, EdgeId, LockId, PropertyId, RoomId, StayId
from protocols.device_model.site_plan import Door, Property, Room, SitePlan
from protocols.door.identity import generate_lock_for, secrets_document, secrets_of
from protocols.errors import LinkLostError
from protocols.grant.keys import compressed, generate_property_ca, private_key
from provisioning.inventory import inventory
from provisioning.rehearsal.building import raise_building

STARTS: Final = 5
START_BAR_MS: Final = 2_000.0
GRANT_BAR_MS: Final = 5_000.0
MEMORY_BAR_MIB: Final = 120e6 / 2**20  # 120 MB, taken at its strictest
IDLE_S: Final = 8.0  # both programs have given memory back by then (kit.memory.settle)
WAIT_S: Final = 30.0
SIMULATED_DAYS: Final = 5
SIMULATED_DEVICES: Final = 5
ROOMS: Final = 26

_EMPTY: Final = """
import asyncio, sys
from litestar import get
from kit.http import application, serve
@get("/ready")
async def ready() -> dict[str, bool]:
    return {"ready": True}
asyncio.run(serve(application([ready]), "127.0.0.1", int(sys.argv[1])))
"""


def rows() -> list[Row]:
    """Measure everything."""
    with tempfile.TemporaryDirectory(prefix="ik-bench-") as name:
        folder = Path(name)
        empty = [_empty_start() for _ in range(STARTS)]
        minimal = _write_edge(folder / "minimal")
        starts = [_edge_start(minimal) for _ in range(STARTS)]
        _write_aurora(folder / "locks")
        grants = [asyncio.run(_first_grant(folder / "locks")) for _ in range(STARTS)]
        memory = asyncio.run(_rehearsed(folder / "rehearsed"))
    peer = sorted(empty)[len(empty) // 2]
    found = [
        row("an empty HTTP service, start to ready", empty, "ms"),
        row(
            "edge, start to ready (minimal configuration)",
            starts,
            "ms",
            ratio_to="an empty HTTP service on the same stack",
            peer=peer,
            bar="< 2 000 ms",
            holds=lambda middle, _: middle < START_BAR_MS,
        ),
        row(
            f"doors of {ROOMS} rooms, start to the first grant signed",
            grants,
            "ms",
            bar="< 5 000 ms",
            holds=lambda middle, _: middle < GRANT_BAR_MS,
        ),
    ]
    for part, samples in memory.items():
        together = part.startswith("edge and doors")
        found.append(
            row(
                f"Hotel Aurora as rehearsed, idle: PSS of {part}",
                samples,
                "MiB",
                bar="< 120 MB (114.4 MiB) for all edge processes" if together else None,
                holds=(lambda middle, _: middle < MEMORY_BAR_MIB) if together else None,
            )
        )
    speeds = [_simulated_speed(seed) for seed in range(3)]
    found.append(
        row(
            f"simulation loop: {SIMULATED_DEVICES} devices telling and hearing every 5 s, faster than real time by",
            speeds,
            "x",
            ratio_to="real time",
            peer=1.0,
        )
    )
    found.append(row("simulation loop: simulated days a second", [each / 86_400 for each in speeds], "days/s"))
    return found


# --- programs ---------------------------------------------------------------------------------------------------


@contextmanager
def _running(argv: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as said, subprocess.Popen([sys.executable, *argv], stderr=said, stdout=said) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(WAIT_S)


def _edge_start(config: Path) -> float:
    port_path = config.parent / "port"
    port_path.unlink(missing_ok=True)
    began = time.perf_counter()
    with _running(["-m", "edge.app.main", "run", "--config", str(config)], config.parent / "edge.log"):
        while not port_path.exists() or not port_path.read_text():
            _still_waiting(began, config.parent / "edge.log")
        _until_ready(int(port_path.read_text()), began, config.parent / "edge.log")
        return (time.perf_counter() - began) * 1000


def _empty_start() -> float:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        port = int(asking.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="ik-bench-") as name:
        log = Path(name) / "log"
        began = time.perf_counter()
        with _running(["-c", _EMPTY, str(port)], log):
            _until_ready(port, began, log)
            return (time.perf_counter() - began) * 1000


def _until_ready(port: int, began: float, log: Path) -> None:
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1):
                return
        except (urllib.error.URLError, ConnectionError):
            _still_waiting(began, log)


def _still_waiting(began: float, log: Path) -> None:
    if time.perf_counter() - began > WAIT_S:
        raise TimeoutError(f"not ready in {WAIT_S} s: {log.read_text(errors='replace')[-1000:]}")
    time.sleep(0.002)  # asked again soon, and the program that is timed keeps its core


def _write_edge(folder: Path) -> Path:
    folder.mkdir(parents=True)
    config = folder / "edge.toml"
    config.write_text(
        'property = "aurora"\nedge = "e-aurora0000000001"\ndata_dir = "data"\nclock_trust = "host"\n'
        '[api]\nport = 0\nport_path = "port"\n'
    )
    return config


async def _rehearsed(state: Path) -> dict[str, list[float]]:
    """Raise Hotel Aurora with all that is emulated around it; return the PSS of its edge programs, in MiB."""
    aurora = inventory.load(Path("inventories/aurora.toml"))
    samples: dict[str, list[float]] = {"edge": [], "doors": [], "edge and doors together": []}
    async with raise_building(
        aurora, state, clock=SystemClock("host"), dice=SystemDice(), seed=1, say=lambda _: None
    ) as building:
        await asyncio.sleep(IDLE_S)
        for _ in range(3):
            pids = building.programs.pids()
            one, other = pss_kib(pids["edge"]) / 1024, pss_kib(pids["doors"]) / 1024
            samples["edge"].append(one)
            samples["doors"].append(other)
            samples["edge and doors together"].append(one + other)
            await asyncio.sleep(1)
    return samples


async def _first_grant(folder: Path) -> float:
    """Start the doors of a house with 26 locks; return the milliseconds to the first grant that a phone could use."""
    phone = compressed(private_key(SystemDice().bytes).public_key())
    (folder / "doors.sock").unlink(missing_ok=True)
    now_ms = SystemClock("host").wall_ms()
    began = time.perf_counter()
    with _running(["-m", "edge.app.main", "doors", "--config", str(folder / "doors.toml")], folder / "doors.log"):
        async with DoorsClient(folder / "doors.sock") as doors:
            while True:
                try:
                    await doors.issue(
                        StayId("s-bench"),
                        RoomId("101"),
                        phone,
                        not_before_ms=now_ms,
                        not_after_ms=now_ms + 86_400_000,
                    )
                except LinkLostError:
                    await asyncio.to_thread(_still_waiting, began, folder / "doors.log")
                else:
                    return (time.perf_counter() - began) * 1000


def _write_aurora(folder: Path) -> None:
    folder.mkdir(parents=True)
    dice = SystemDice()
    ca = generate_property_ca("aurora", dice.bytes)
    numbers = range(101, 101 + ROOMS)
    locks = {f"door-{n}": generate_lock_for(ca, dice.bytes, room=n, zones=0) for n in numbers}
    plan = SitePlan(
        v=1,
        property=Property(PropertyId("aurora"), "Hotel Aurora", "Europe/Vienna", "northlight"),
        edge=EdgeId("e-aurora0000000001"),
        rooms=tuple(Room(RoomId(str(n)), 1, "guest_room", "double") for n in numbers),
        doors=tuple(
            Door(
                DoorId(f"door-{n}"),
                RoomId(str(n)),
                n,
                LockId(locks[f"door-{n}"].lock_id.hex()),
                locks[f"door-{n}"].s_lock.hex(),
            )
            for n in numbers
        ),
    )
    (folder / "site.json").write_bytes(site_plan.encode(plan))
    secrets = {door: secrets_of(lock) for door, lock in locks.items()}
    for name, document in (("property_ca.json", ca.to_document()), ("doors.secrets.json", secrets_document(secrets))):
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(json.dumps(document))
    (folder / "doors.toml").write_text(
        'store_path = "doors.db"\nsocket_path = "doors.sock"\nsite_plan_path = "site.json"\nclock_trust = "host"\n'
        'door_secrets_path = "doors.secrets.json"\nproperty_ca_key_path = "property_ca.json"\n'
    )


# --- simulation -------------------------------------------------------------------------------------------------


def _simulated_speed(seed: int) -> float:
    """Return how many simulated seconds pass in a real one."""
    until_s = SIMULATED_DAYS * 86_400.0

    async def device(loop: SimLoop, name: str, heard: "asyncio.Queue[str]") -> None:
        dice = loop.dice(name)
        while True:
            await asyncio.sleep(dice.uniform(4, 6))
            heard.put_nowait(name)

    async def world(loop: SimLoop) -> int:
        heard: asyncio.Queue[str] = asyncio.Queue()
        for number in range(SIMULATED_DEVICES):
            loop.create_task(device(loop, f"device-{number}", heard))
        count = 0
        while loop.time() < until_s:
            await heard.get()
            count += 1
        return count

    clock = SystemClock("host")
    began_ms = clock.now_ms()
    run_simulated(world, seed, until_s + 60)
    return until_s / max(0.001, (clock.now_ms() - began_ms) / 1000)
