"""The edge as shipped beside sealed sensors: stopped and killed, it believes no recording of what it wrote down."""

import asyncio
import signal
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from edge.app.advert_numbers import FILE_NAME
from kit.clock import SystemClock
from kit.mqtt import Broker, MqttConnection, MqttTransport
from protocols.descriptors import gateway
from protocols.device_model import site_plan
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, RoomId
from protocols.device_model.site_plan import Address, BleAdvertBus, Device
from tests.edge.app.test_process import API, api, program
from tests.edge.bridges.field import plan
from tests.edge.bridges.mqtt.test_advert_keys import KEY, MAC, sealed

pytestmark = [pytest.mark.tier("nats"), pytest.mark.timeout(180)]

AIR: Final = BleAdvertBus(BusId("air"), "ruuvi")
SENSOR: Final = Device(
    DeviceId("air-101"), RoomId("101"), DescriptorId("bthome/shelly_blu_ht"), Address(AIR.id, mac=MAC)
)
WAIT_S: Final = 60.0


@pytest.mark.requirement("DEV-02")
@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_a_recording_is_none_in_the_edges_next_life(
    broker: tuple[str, int], tmp_path: Path, end: signal.Signals
) -> None:
    of = replace(plan(), buses=(AIR,), devices=(SENSOR,))
    (tmp_path / "site.json").write_bytes(site_plan.encode(of))
    (tmp_path / "keys.toml").write_text(f'"{MAC}" = "{KEY.hex()}"\n')
    (tmp_path / "keys.toml").chmod(0o600)
    host, port = broker
    (tmp_path / "edge.toml").write_text(
        f'property = "{of.property.id}"\nedge = "{of.edge}"\ndata_dir = "data"\nclock_trust = "host"\n'
        f'site_plan_path = "site.json"\n{API}[bridges]\nadvert_keys_path = "keys.toml"\n'
        f'[site_broker]\nhost = "{host}"\nport = {port}\n'
    )
    async with MqttTransport(Broker(host, port, client_id="a-gateway")).connect() as air:
        async with program(tmp_path, "run", "edge.toml") as edge:
            async with api(tmp_path) as client:
                await heard(client, air, (99, 20.0), (100, 21.0))
            assert await edge.end(signal.SIGTERM) == 0
        async with program(tmp_path, "run", "edge.toml") as edge:
            async with api(tmp_path) as client:
                assert await heard(client, air, (99, 20.0), (101, 22.0)) == {22.0}
            await edge.end(end)
        written = (tmp_path / "data" / FILE_NAME).read_bytes()
        assert (b'"number":101' in written) is (end is signal.SIGTERM)
        async with program(tmp_path, "run", "edge.toml"), api(tmp_path) as client:
            assert await heard(client, air, (98, 19.0), (99, 20.0), (102, 23.0)) == {23.0}


async def heard(client: Any, air: MqttConnection, *adverts: tuple[int, float]) -> set[float]:
    """Say adverts in this order until the edge tells the last; return every value that it told meanwhile."""
    told: set[float] = set()
    async with asyncio.timeout(WAIT_S):
        while adverts[-1][1] not in told:
            for number, celsius in adverts:
                at_s = SystemClock("host").wall_ms() // 1000
                payload = gateway.message(sealed(celsius, number), gateway="c4:7d:cc:00:11:22", rssi_dbm=-60, at_s=at_s)
                await air.publish(f"ruuvi/C4:7D:CC:00:11:22/{MAC.upper()}", payload)
                room = (await client.get("/api/v1/rooms/101")).json()
                told |= {
                    each["value"]
                    for each in room["reported"]
                    if each["device"] == SENSOR.id and each["attribute"] == "measured_value" and each["value"]
                    if each["capability"] == "temperature_measurement"
                }
            await asyncio.sleep(0.05)
    return told
