"""`innkeeper-edge run --config FILE` alone: the example of docs/operating/edge-settings.md on real brokers."""

import asyncio
import contextlib
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.app.check_config import problems
from kit.identity import tls_client_context
from kit.mqtt_wire.transport import Broker, WireConnection, WireTransport
from protocols.errors import LinkLostError
from protocols.link.batch import parse_batch
from protocols.link.lanes import Lane
from protocols.link.messages import Ack, AckMark, AckStatus, decode_hello, encode_ack
from protocols.link.record import Record
from provisioning.pki.development_ca import DevelopmentAuthority
from provisioning.rehearsal.nats import Nats, Tls, cloud_rights, edge_rights, free_port
from tests.conftest import find_program

pytestmark = pytest.mark.tier("nats")

WAIT_S = 30.0
EDGE = "e-aurora0000000001"
PAGE = Path(__file__).parents[2] / "docs/operating/edge-settings.md"


def example() -> str:
    """Return the complete example of the page."""
    [found] = re.findall(r"<!-- complete example -->\n\n((?:    .*\n|\n)+)", PAGE.read_text())
    return "\n".join(line.removeprefix("    ") for line in found.splitlines()) + "\n"


@contextlib.asynccontextmanager
async def program(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edge.app.main", "run", "--config", str(folder / "edge.toml"),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@contextlib.asynccontextmanager
async def mosquitto(folder: Path) -> AsyncIterator[int]:
    """A site broker that delivers again at once and in order, and drops nothing that waits for us."""
    found, port = find_program("mosquitto"), free_port("127.0.0.1")
    assert found is not None
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
    process = await asyncio.create_subprocess_exec(found, "-c", config, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                with contextlib.suppress(LinkLostError):
                    async with WireTransport(Broker("127.0.0.1", port, client_id="probe-0001")).connect():
                        break
                await asyncio.sleep(0.02)
        yield port
    finally:
        process.terminate()
        await process.wait()


class Cloud:
    """A cloud in thirty lines: what any program does that speaks protocols/link."""

    def __init__(self) -> None:
        self.hi: dict[tuple[bytes, Lane], int] = {}
        self.records: list[Record] = []
        self.hellos = 0

    async def serve(self, link: WireConnection) -> None:
        async for message in link.messages():
            what = message.topic.rpartition("/")[2]
            if what == "hello":
                self.hellos += 1
                hello = decode_hello(message.payload)
                marks = [
                    AckMark(each.incarnation, each.lane, self.hi.setdefault((each.incarnation, each.lane), 0))
                    for each in hello.streams
                ]
                await link.publish(f"down/{EDGE}/ack", encode_ack(Ack(AckStatus.WELCOME, tuple(marks), re=hello.nonce)))
            elif what in "abc":
                batch = parse_batch(message.payload).open()
                key = (batch.incarnation, batch.lane)
                if batch.first == self.hi[key] + 1:
                    self.hi[key] = batch.last
                    self.records += batch.records
                mark = AckMark(batch.incarnation, batch.lane, self.hi[key])
                await link.publish(f"down/{EDGE}/ack", encode_ack(Ack(AckStatus.STORED, (mark,))))


async def until(holds: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0.02)


async def devices(folder: Path) -> list[dict[str, Any]]:
    token = (folder / "data/api-token").read_text().strip()
    address = f"http://127.0.0.1:{(folder / 'port').read_text().strip()}"
    async with httpx.AsyncClient(base_url=address, headers={"authorization": f"Bearer {token}"}) as client:
        answer = await client.get("/api/v1/devices")
        found: list[dict[str, Any]] = answer.json()["devices"]
        return found


def test_the_complete_example_is_right(tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text(example())
    for name in ("cloud-command.pem", "ca.pem", "edge.pem", "edge.key"):
        assert any(name in each for each in problems(tmp_path / "edge.toml", {})), f"{name} is not missed"
    for problem in problems(tmp_path / "edge.toml", {}):
        assert "is not a file" in problem, problem  # nothing but the files that come with a property


@pytest.mark.guarantee("G1", "G2", "G19")
async def test_it_runs_alone_between_a_site_broker_and_a_cloud_broker_with_mutual_tls(tmp_path: Path) -> None:
    ca = DevelopmentAuthority(tmp_path / "ca", name="test", now=datetime.now(UTC))
    server, us, cloud_files = ca.server("broker"), ca.client(EDGE), ca.client("cloud-ingest")
    tls = Tls(
        server.authority, server.certificate, server.private_key, [edge_rights(EDGE), cloud_rights("cloud-ingest")]
    )
    async with Nats(tmp_path / "site") as site, Nats(tmp_path / "cloud", tls=tls) as cloud:
        text = example()
        for before, after in {
            "/var/lib/innkeeper/edge": "data",
            "port = 1883": f"port = {site.port}", "port = 8883": f"port = {cloud.port}",
            "cloud.example.invalid": "127.0.0.1", "platform.example.invalid": "127.0.0.1",
            "port = 1884": f"port = {site.port}", "ca.pem": str(us.authority), "edge.pem": str(us.certificate),
            "edge.key": str(us.private_key), "port = 8470": 'port = 0\nport_path = "port"',
            'command_public_key_path = "cloud-command.pem"\n': "",
        }.items():  # fmt: skip
            assert before in text, before
            text = text.replace(before, after)
        (tmp_path / "edge.toml").write_text('clock_trust = "host"\n' + text)
        context = tls_client_context(cloud_files.authority, cloud_files.certificate, cloud_files.private_key)
        there = WireTransport(Broker(cloud.host, cloud.port, client_id="cloud-ingest", tls=context))
        here = WireTransport(Broker(site.host, site.port, client_id="device-0001"))
        received = Cloud()
        async with there.connect(subscribe=["up/#"]) as up, here.connect() as device, here_north(site) as north:
            serving = asyncio.create_task(received.serve(up))
            async with program(tmp_path) as edge:
                await until(lambda: received.hellos)
                await heard(device, received)
                for n in range(200):
                    await device.publish(
                        "site/101/Sensor_1/state", json.dumps({"temperature": n / 10, "t": n}).encode()
                    )
                for bad in (b"junk", b'{"temperature": NaN}', b"x" * 100_000):
                    await device.publish("site/101/sensor-9/state", bad)
                await device.publish("site/101/Sensor_1/state", b'{"temperature": 20.5, "battery": 88}')
                await until(lambda: any(each.body.get("attribute") == "battery" for each in received.records))
                await until(lambda: sum(each.kind == "device" for each in received.records) == 2)
                listed = {(each["id"], each["state"]): each["detail"] for each in await devices(tmp_path)}
                assert ("sensor-1", "online") in listed
                assert ("sensor-9", "refused") in listed
                published: list[dict[str, Any]] = []
                async with asyncio.timeout(WAIT_S):
                    async for message in north.messages():
                        published.append(json.loads(message.payload))
                        if published[-1]["attribute"] == "battery":
                            break
                edge.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(edge.wait(), WAIT_S) == 0
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
    readings = [each.body for each in received.records if each.kind == "reading" and each.body["device"] == "sensor-1"]
    numbers = [each["value"] for each in readings if each["capability"] == "temperature_measurement"]
    assert numbers == [n / 10 for n in range(200)] + [20.5]
    assert [(each["attribute"], each["value"]) for each in readings if each["capability"] == "generic"] == [
        ("battery", 88)
    ]
    assert [each["value"] for each in published if each["device"] == "sensor-1"] == [*numbers, 88]
    refused = [each.body["detail"]["reason"] for each in received.records if each.kind == "device"]
    assert sorted(refused) == ["not_json", "oversized"]


@pytest.mark.tier("mosquitto")
@pytest.mark.guarantee("G1", "G2", "G11")
@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_what_devices_say_while_the_edge_is_dead_waits_at_the_site_broker(version: str, tmp_path: Path) -> None:
    """SIGKILL in the middle of traffic, messages in flight and more while it is down: each is told once, in order."""
    async with mosquitto(tmp_path) as site_port, Nats(tmp_path / "cloud") as cloud:
        (tmp_path / "edge.toml").write_text(
            f'property = "aurora"\nedge = "{EDGE}"\ndata_dir = "data"\nclock_trust = "host"\n[api]\nport = 0\n'
            f'[site_broker]\nhost = "127.0.0.1"\nport = {site_port}\nversion = "{version}"\n'
            f'[uplink]\nhost = "127.0.0.1"\nport = {cloud.port}\n'
            '[[json_devices.rules]]\ntopic = "site/{room}/{device}/state"\ntime_key = "t"\n'
        )
        there = WireTransport(Broker(cloud.host, cloud.port, client_id="cloud-ingest"))
        here = WireTransport(Broker("127.0.0.1", site_port, client_id="device-0001"))
        received, base_ms = Cloud(), 1_700_000_000_000
        async with there.connect(subscribe=["up/#"]) as up, here.connect() as device:
            serving = asyncio.create_task(received.serve(up))

            async def say(first: int, last: int) -> None:
                for n in range(first, last):
                    said = json.dumps({"n": n, "t": base_ms + n}).encode()
                    await device.publish(f"site/101/d-{n % 3}/state", said)

            async with program(tmp_path) as edge:
                await heard(device, received)
                traffic = asyncio.create_task(say(0, 600))
                await until(lambda: len(received.records) > 100)
                edge.kill()
                await edge.wait()
            await traffic
            await say(600, 700)
            async with program(tmp_path):
                await until(lambda: sum(each.body.get("attribute") == "n" for each in received.records) >= 700)
                await say(700, 710)
                await until(lambda: any(each.body.get("value") == 709 for each in received.records))
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
    told = [each.body["value"] for each in received.records if each.body.get("attribute") == "n"]
    assert sorted(told) == list(range(710))
    for device_no in range(3):
        own = [n for n in told if n % 3 == device_no]
        assert own == sorted(own)


@contextlib.asynccontextmanager
async def here_north(site: Nats) -> AsyncIterator[WireConnection]:
    """Somebody who reads what the façade publishes."""
    reader = WireTransport(Broker(site.host, site.port, client_id="platform-0001"))
    async with reader.connect(subscribe=["innkeeper/#"]) as link:
        yield link


async def heard(device: WireConnection, received: Cloud) -> None:
    """Return once the edge hears its site broker: what is said before it subscribed reaches nobody."""
    async with asyncio.timeout(WAIT_S):
        while not any(each.body.get("device") == "probe" for each in received.records):
            await device.publish("site/101/probe/state", b'{"ready":true}')
            await asyncio.sleep(0.1)
