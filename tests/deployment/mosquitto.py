"""Mosquitto with a configuration that we ship, on a free port, with certificates of a test's own authority."""

import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from kit.identity import tls_client_context
from kit.mqtt import Broker, MqttConnection, MqttTransport
from provisioning.pki.development_ca import DevelopmentAuthority
from provisioning.rehearsal.nats import free_port
from tests.conftest import find_program

DOCKER: Final = Path(__file__).resolve().parents[2] / "docker"
SETTLE_S: Final = 5.0


class ShippedBroker:
    """A running broker, and the way to it as anybody whom its authority knows."""

    def __init__(self, port: int, authority: DevelopmentAuthority) -> None:
        self.port, self._authority = port, authority

    @contextlib.asynccontextmanager
    async def as_(self, name: str, *subscribe: str, client_id: str = "") -> AsyncIterator[MqttConnection]:
        files = self._authority.client(name)
        tls = tls_client_context(files.authority, files.certificate, files.private_key)
        broker = Broker("127.0.0.1", self.port, client_id or name, tls=tls, answer_wait=timedelta(seconds=SETTLE_S))
        async with MqttTransport(broker).connect(subscribe=subscribe) as connection:
            yield connection


@contextlib.contextmanager
def shipped(conf: str, name: str, folder: Path, paths: Mapping[str, str]) -> Iterator[ShippedBroker]:
    """Run the broker of docker/`conf`.

    Args:
        conf: the configuration's file name.
        name: of the server's certificate, and of its files in the configuration.
        folder: for its files.
        paths: what else the configuration names, and where it is here.
    """
    authority = DevelopmentAuthority(folder / "pki", name="test authority", now=datetime.now(UTC))
    server, port = authority.server(name), free_port("127.0.0.1")
    text = (DOCKER / conf).read_text()
    for said, here in {
        "listener 8883": f"listener {port} 127.0.0.1",
        "/etc/innkeeper/pki/authority.pem": str(server.authority),
        f"/etc/innkeeper/pki/{name}.pem": str(server.certificate),
        f"/etc/innkeeper/pki/{name}.key.pem": str(server.private_key),
        "/var/lib/mosquitto/": f"{folder}/",
        **paths,
    }.items():
        assert said in text, said
        text = text.replace(said, here)
    # as root it would drop its rights and could not read the folder of this test
    (folder / "mosquitto.conf").write_text(text + "user root\n")
    binary = find_program("mosquitto")
    assert binary is not None
    with (folder / "broker.log").open("wb") as log:
        process = subprocess.Popen([binary, "-c", folder / "mosquitto.conf"], stdout=log, stderr=log)
    try:
        _wait_listening(port, process, folder / "broker.log")
        yield ShippedBroker(port, authority)
    finally:
        process.terminate()
        process.wait(10)


def _wait_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    pytest.fail(f"mosquitto does not listen: {log.read_text()}")
