"""The edge as shipped, with a kiosk in its plan: what its page is told, from where it may ask, and after a kill."""

import asyncio
import signal
from pathlib import Path
from typing import Final

import httpx
import msgspec
import pytest

from protocols.device_model import site_plan
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, RoomId
from tests.edge.app.test_process import API, MINIMAL, UP_WAIT_S, program
from tests.edge.world import plan

PAGE: Final = "https://cloud.example"
KIOSK: Final = f'[kiosk]\norigins = ["{PAGE}"]\n[kiosk.encoders]\nlobby = "enc-1"\n'
WHO: Final = {"booking_code": "N-1", "surname": "Berger", "kiosk": "lobby"}


def with_dispenser() -> bytes:
    made, bus = plan(), BusId("line")
    return site_plan.encode(
        msgspec.structs.replace(
            made,
            buses=(site_plan.RawTcpBus(bus, "127.0.0.1", 9),),
            devices=(
                site_plan.Device(
                    DeviceId("stack"), RoomId("lobby"), DescriptorId("quio/qu_cd_720m"), site_plan.Address(bus)
                ),
            ),
        )
    )


async def port_of(folder: Path) -> int:
    async with asyncio.timeout(UP_WAIT_S):
        while not (folder / "port").exists():
            await asyncio.sleep(0.02)
    return int((folder / "port").read_text())


@pytest.mark.requirement("DEV-11", "DEV-12")
@pytest.mark.guarantee("G11")
async def test_the_edge_as_shipped_serves_its_kiosk_and_after_a_kill_again(tmp_path: Path) -> None:
    (tmp_path / "site.json").write_bytes(with_dispenser())
    settings = MINIMAL.replace('"data"', f'"{tmp_path}/data"') + f'site_plan_path = "{tmp_path}/site.json"\n'
    settings += API.replace('"port"', f'"{tmp_path}/port"') + KIOSK
    (tmp_path / "edge.toml").write_text(settings)
    async with program(tmp_path, "run", "edge.toml") as edge:
        for again in (True, False):
            base = f"http://127.0.0.1:{await port_of(tmp_path)}"
            token = (tmp_path / "data" / "kiosk-token").read_text().strip()
            headers = {"authorization": f"Bearer {token}", "origin": PAGE}
            async with httpx.AsyncClient(base_url=base, headers=headers) as http:
                told = await http.get("/api/v1/kiosk")
                assert told.headers["access-control-allow-origin"] == PAGE
                [lobby] = told.json()["kiosks"]
                assert (lobby["place"], lobby["dispenser"], lobby["cards"]) == ("lobby", "stack", True)
                visit = await http.post("/api/v1/properties/aurora/kiosk-visits", json=WHO)
                assert (visit.status_code, visit.json()["reason"]) == (404, "reservation_not_found"), "it is alone"
            await edge.end(signal.SIGKILL)
            if again:
                await edge.start()
