"""The edge as shipped, with the PMS in the house: killed in the middle, it knows again who is in house."""

import asyncio
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from edge.bridges.fias.emulator import TAME, InterfaceProgram
from kit.dice import SeededDice
from tests.edge.app.test_process import API, MINIMAL, UP_WAIT_S, api, program, records
from tests.edge.world import plan


def _config(port: int) -> str:
    return (
        MINIMAL
        + 'site_plan_path = "plan.json"\n'
        + API
        + f'[fias]\nhost = "127.0.0.1"\nport = {port}\nzone = "Europe/Vienna"\ndeparture = 11:30:00\n'
        + 'reconnect_first = "PT0.1S"\nreconnect_most = "PT0.2S"\n[fias.rooms]\n"A-7" = "102"\n'
    )


async def _in_house(folder: Path, count: int) -> None:
    async with api(folder) as client, asyncio.timeout(UP_WAIT_S):
        while True:
            stays = (await client.get("/api/v1/stays")).json()["stays"]
            if sum(each["state"] == "in_house" for each in stays) == count:
                return
            await asyncio.sleep(0.05)


async def test_the_program_hears_the_pms_and_a_kill_loses_nobody(tmp_path: Path) -> None:
    pms = InterfaceProgram(SeededDice(3), datetime.now(UTC).replace(tzinfo=None), TAME)
    port = await pms.start()
    try:
        await _night(tmp_path, pms, port)
    finally:
        await pms.stop()


async def _night(tmp_path: Path, pms: InterfaceProgram, port: int) -> None:
    document = msgspec.to_builtins(plan(2))
    document["v"], document["buses"], document["devices"], document["doors"] = 1, [], [], []
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(document))
    (tmp_path / "edge.toml").write_text(_config(port))
    departure = f"{datetime.now(UTC) + timedelta(days=2):%y%m%d}"
    async with program(tmp_path, "run", "edge.toml") as edge:
        pms.check_in("88120", "0101", "Muster", departure)
        pms.check_in("7", "A-7", "Vidal", departure)
        await _in_house(tmp_path, 2)
        await edge.end(signal.SIGKILL)
        pms.knobs = msgspec.structs.replace(TAME, forget=True)
        pms.check_out("7")
        heard = len(pms.heard)
        await edge.start()
        async with asyncio.timeout(UP_WAIT_S):
            while not (pms.alive and any(each.id == "DR" for each in pms.heard[heard:])):
                await asyncio.sleep(0.05)
        await _in_house(tmp_path, 1)
        assert await edge.end(signal.SIGTERM) == 0
    told = [(each.body["room"], each.body["state"], each.body["by"]) for each in await records(tmp_path, "stay")]
    assert sorted(told[:2]) == [("101", "checked_in", "pms"), ("102", "checked_in", "pms")]
    assert told[2:] == [("102", "checked_out", "pms")]
