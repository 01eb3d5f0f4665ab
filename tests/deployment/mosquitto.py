"""Mosquitto with a configuration that we ship, on a free port, with certificates of a test's own authority."""

import contextlib
import re
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import pytest

from kit.identity import tls_client_context
from kit.mqtt import Broker, MqttConnection, MqttTransport
from provisioning.pki.development_ca import DevelopmentAuthority
from provisioning.rehearsal.nats import free_port
from tests.conftest import find_program

DOCKER: Final = Path(__file__).resolve().parents[2] / "docker"
SETTLE_S: Final = 20.0


class ShippedBroker:
    """A running broker, and the way to it as anybody whom its authority knows."""

    def __init__(self, ports: Mapping[int, int], authority: DevelopmentAuthority) -> None:
        self.ports, self._authority = ports, authority
        self.port = ports[8883]

    @contextlib.asynccontextmanager
    async def as_(
        self, name: str, *subscribe: str, client_id: str = "", listener: Literal[8883, 8884] = 8883
    ) -> AsyncIterator[MqttConnection]:
        broker = Broker(
            "127.0.0.1",
            self.ports[listener],
            client_id or name,
            tls=self.tls(name),
            answer_wait=timedelta(seconds=SETTLE_S),
        )
        async with MqttTransport(broker).connect(subscribe=subscribe) as connection:
            yield connection

    def tls(self, name: str) -> ssl.SSLContext:
        """Return what proves to be `name`."""
        files = self._authority.client(name)
        return tls_client_context(files.authority, files.certificate, files.private_key)


@contextlib.contextmanager
def shipped(conf: str | Path, name: str, folder: Path, paths: Mapping[str, str]) -> Iterator[ShippedBroker]:
    """Run a broker that we ship.

    Args:
        conf: the configuration: a file name in docker/, or a path.
        name: of the server's certificate, and of its files in the configuration.
        folder: for its files.
        paths: what else the configuration names, and where it is here.
    """
    authority = DevelopmentAuthority(folder / "pki", name="test authority", now=datetime.now(UTC))
    server = authority.server(name)
    text = conf.read_text() if isinstance(conf, Path) else (DOCKER / conf).read_text()
    ports = {int(each): free_port("127.0.0.1") for each in re.findall(r"^listener (\d+)", text, re.MULTILINE)}
    text = re.sub(
        r"^listener (\d+).*$", lambda found: f"listener {ports[int(found[1])]} 127.0.0.1", text, flags=re.MULTILINE
    )
    for said, here in {
        "/etc/innkeeper/pki/authority.pem": str(server.authority),
        f"/etc/innkeeper/pki/{name}.pem": str(server.certificate),
        f"/etc/innkeeper/pki/{name}.key.pem": str(server.private_key),
        **paths,
    }.items():
        assert said in text, said
        text = text.replace(said, here)
    text = text.replace("/var/lib/mosquitto/", f"{folder}/")  # the system's own configuration may say it instead
    # as root it would drop its rights and could not read the folder of this test
    (folder / "mosquitto.conf").write_text(text + "user root\n")
    binary = find_program("mosquitto")
    assert binary is not None
    with (folder / "broker.log").open("wb") as log:
        process = subprocess.Popen([binary, "-c", folder / "mosquitto.conf"], stdout=log, stderr=log)
    try:
        for port in ports.values():
            _wait_listening(port, process, folder / "broker.log")
        yield ShippedBroker(ports, authority)
    finally:
        process.terminate()
        process.wait(10)


def _wait_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1_000):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    pytest.fail(f"mosquitto does not listen: {log.read_text()}")
