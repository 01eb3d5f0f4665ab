"""The programs as shipped: started as processes, killed, started again; a real doors process beside the edge."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.app.edge_store import EdgeStore
from edge.log.record_log import RecordLog
from kit.clock import SystemClock
from kit.dice import SystemDice
from protocols.device_model import site_plan
from protocols.device_model.site_plan import SitePlan
from protocols.door.bundle import Bundle
from protocols.link.lanes import Lane
from protocols.link.record import Record
from tests.edge.doors.building import Building as Locks
from tests.edge.doors.test_process import write_files
from tests.edge.world import HOUR_MS, a_document, a_stay

UP_WAIT_S = 60.0
POLL_S = 0.02
MINIMAL = 'property = "aurora"\nedge = "e-aurora0000000001"\ndata_dir = "data"\nclock_trust = "host"\n'
API = '[api]\nport = 0\nport_path = "port"\n'


@dataclass
class Process:
    """One life of a program at a time."""

    folder: Path
    command: str
    config: str
    running: asyncio.subprocess.Process | None = None
    output: list[bytes] = field(default_factory=list)

    async def start(self) -> None:
        (self.folder / "port").unlink(missing_ok=True) if self.command == "run" else None
        self.running = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "edge.app.main", self.command, "--config", str(self.folder / self.config)),
            stderr=asyncio.subprocess.PIPE,
        )

    async def end(self, number: signal.Signals) -> int:
        assert self.running is not None
        with contextlib.suppress(ProcessLookupError):
            self.running.send_signal(number)
        _, said = await asyncio.wait_for(self.running.communicate(), UP_WAIT_S)
        self.output.append(said)
        status, self.running = self.running.returncode, None
        assert status is not None
        return status


@contextlib.asynccontextmanager
async def program(folder: Path, command: str, config: str) -> AsyncIterator[Process]:
    process = Process(folder, command, config)
    await process.start()
    try:
        yield process
    finally:
        if process.running is not None:
            await process.end(signal.SIGKILL)


@contextlib.asynccontextmanager
async def api(folder: Path, *, ready: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the edge's API once it answers (and, unless told otherwise, says that it is ready)."""
    async with asyncio.timeout(UP_WAIT_S):
        while not (folder / "port").exists():
            await asyncio.sleep(POLL_S)
        token = (folder / "data" / "api-token").read_text().strip()
    address = f"http://127.0.0.1:{(folder / 'port').read_text().strip()}"
    bearer = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=address, headers=bearer, timeout=UP_WAIT_S) as client:
        async with asyncio.timeout(UP_WAIT_S):
            while (await client.get("/ready")).status_code != (200 if ready else 503):
                await asyncio.sleep(POLL_S)
        yield client


async def records(folder: Path, kind: str) -> list[Record]:
    clock = SystemClock("host")
    async with await RecordLog.open(folder / "data" / "log", clock=clock, dice=SystemDice()) as log:
        return [each for each in await log.read(Lane.A, 0) if each.kind == kind]


async def test_the_smallest_configuration_runs_answers_and_stops_cleanly(tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text(MINIMAL + API)
    async with program(tmp_path, "run", "edge.toml") as edge:
        async with api(tmp_path) as client:
            assert (await client.get("/health")).json()["status"] == "alive"
            assert (await client.get("/api/v1/rooms")).json()["rooms"] == []
            assert (await client.get("/api/v1/link")).json()["configured"] is False
        assert await edge.end(signal.SIGTERM) == 0
        said = b"".join(edge.output).decode()
        assert '"edge_stopping"' in said
        assert '"level": "error"' not in said


async def test_a_second_edge_on_the_same_folder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text(MINIMAL + API)
    async with program(tmp_path, "run", "edge.toml") as first:
        async with api(tmp_path):
            pass
        async with program(tmp_path, "run", "edge.toml") as second:
            assert second.running is not None
            _, said = await asyncio.wait_for(second.running.communicate(), UP_WAIT_S)
            assert second.running.returncode == 1
            assert b"Traceback" not in said
            assert b"log" in said
            second.running = None
        assert await first.end(signal.SIGTERM) == 0


def write_edge(folder: Path, plan: SitePlan) -> None:
    """Write edge.toml for a plan with doors, as the doors' own test writes doors.toml."""
    (folder / "edge.toml").write_text(
        f'property = "{plan.property.id}"\nedge = "{plan.edge}"\ndata_dir = "data"\nclock_trust = "host"\n'
        f'site_plan_path = "site.json"\n{API}[doors]\nsocket_path = "doors.sock"\n'
    )


async def seed_stays(folder: Path, plan: SitePlan, *stays: dict[str, Any]) -> None:
    """Put a stays document where the link would have put it."""
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    store, _ = EdgeStore.open(folder / "data" / "edge.db")
    document = a_document(*stays, property=plan.property.id)
    await store.save_stays(1, json.dumps(document).encode(), settled=[])
    await store.close()


@pytest.mark.guarantee("G3", "G11")
@pytest.mark.requirement("CHK-10", "CHK-01")
async def test_a_check_in_with_real_doors_survives_kill_of_either_process(tmp_path: Path) -> None:
    locks = Locks(tmp_path / "locks")
    locks.store.close()
    write_files(tmp_path, locks)
    plan = site_plan.parse((tmp_path / "site.json").read_bytes())
    write_edge(tmp_path, plan)
    now_ms = SystemClock("host").wall_ms()
    due = {"expected_from_ms": now_ms - HOUR_MS, "expected_until_ms": now_ms + 48 * HOUR_MS}
    room = next(door.room for door in plan.doors if door.number)
    await seed_stays(tmp_path, plan, a_stay("s-anna", room, **due))
    phone = locks.phone("anna")
    body = {"phone_public_key": phone.public.hex(), "by": "desk"}
    async with program(tmp_path, "run", "edge.toml") as edge:
        async with api(tmp_path, ready=False) as client:  # the doors are not there yet: said, and not fatal
            refused = await client.post("/api/v1/stays/s-anna/check-in", json=body)
            assert (refused.status_code, refused.json()["retryable"]) == (503, True)
        async with program(tmp_path, "doors", "doors.toml") as doors:
            async with api(tmp_path) as client:
                first = await client.post("/api/v1/stays/s-anna/check-in", json=body)
                assert first.status_code == 200, first.text
                bundle = first.json()["bundle"]
                assert Bundle.from_document(bundle).stay == "s-anna"
            await edge.end(signal.SIGKILL)
            await doors.end(signal.SIGKILL)
            await doors.start()
            await edge.start()
            async with api(tmp_path) as client:
                stays = (await client.get("/api/v1/stays")).json()["stays"]
                assert [(each["id"], each["state"]) for each in stays] == [("s-anna", "in_house")]
                again = await client.post("/api/v1/stays/s-anna/check-in", json=body)
                again_for = again.json()["bundle"]
                assert (again_for["stay"], again_for["doors"]) == ("s-anna", bundle["doors"])
                gone = await client.post("/api/v1/stays/s-anna/check-out", json={"by": "desk"})
                assert gone.json()["doors_told"] is True
                ended = await client.post("/api/v1/stays/s-anna/check-in", json=body)
                assert (ended.status_code, ended.json()["reason"]) == (409, "ended")
                state = (await client.get(f"/api/v1/rooms/{room}")).json()
                assert (state["mode"], state["stay"]) in (("checked_in", "s-anna"), ("vacant_set_back", None))
            assert await doors.end(signal.SIGTERM) == 0
        assert await edge.end(signal.SIGTERM) == 0
    said = [(each.body["stay"], each.body["state"]) for each in await records(tmp_path, "stay")]
    assert said == [("s-anna", "checked_in"), ("s-anna", "checked_out")]
