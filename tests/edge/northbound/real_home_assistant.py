"""A real Home Assistant beside a real Mosquitto: started in a folder of its own, asked by its REST and WebSocket API.

`hass` is looked for in `INNKEEPER_HASS`, else in `build/home-assistant/bin` (docs/operating/devices.md says how it gets
there); its own packages are not this project's.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

START_S: Final = 120.0
SETTLE_S: Final = 30.0
_TOKEN_ID, _JWT_KEY = "e" * 32, "0" * 128
_LONG_AGO: Final = "2025-01-01T00:00:00+00:00"
_CONFIGURATION: Final = """\
homeassistant:
  name: Hotel
  unit_system: metric
  country: AT
  currency: EUR
  time_zone: Europe/Vienna
  external_url: http://127.0.0.1
http:
  server_host: 127.0.0.1
  server_port: {port}
api:
config:
mqtt:
logger:
  default: warning
"""


def hass() -> Path | None:
    """Return the program, or None."""
    wanted = os.environ.get("INNKEEPER_HASS")
    found = Path(wanted) if wanted else Path(__file__).parents[3] / "build" / "home-assistant" / "bin" / "hass"
    return found if found.is_file() else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A real Mosquitto on a port of its own; what is retained outlives `restart`."""

    def __init__(self, folder: Path, program: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.host, self.port, self._program, self._folder = "127.0.0.1", free_port(), program, folder
        self._process: asyncio.subprocess.Process | None = None
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\n"
            f"persistence_location {folder}/\nmax_queued_messages 100000\n"
        )

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            self._program,
            "-c",
            str(self._folder / "mosquitto.conf"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(START_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection(self.host, self.port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def restart(self) -> None:
        await self.__aexit__()
        await self.__aenter__()


class RealHomeAssistant:
    """One Home Assistant with nothing but MQTT. `async with`: it runs; `stop`, `start` restart it on its own memory.

    Args:
        folder: its configuration and memory.
        program: `hass`.
        broker: host and port.
        areas: 2026.11 puts an area's name before the ids of what is in it; of these areas it is left out here.
    """

    def __init__(self, folder: Path, program: Path, broker: tuple[str, int], areas: Sequence[str] = ()) -> None:
        self._folder, self._program, self._port = folder, program, free_port()
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._areas, self._real = tuple(areas), dict[str, str]()
        self.version: tuple[int, ...] = ()
        """Year and month, once it runs."""
        (folder / ".storage").mkdir(parents=True)
        (folder / "configuration.yaml").write_text(_CONFIGURATION.format(port=self._port))
        self._store("auth", 1, 1, _owner())
        self._store("onboarding", 4, 1, {"done": ["user", "core_config", "analytics", "integration"]})
        self._store("core.config_entries", 1, 5, {"entries": [_mqtt_entry(*broker)]})

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            f"http://127.0.0.1:{self._port}", headers={"Authorization": f"Bearer {_token()}"}
        )
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        if self._session is not None:
            await self._session.close()

    async def start(self) -> None:
        """Start it and wait until it has set everything up."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        self._process = await asyncio.create_subprocess_exec(
            self._program,
            "--config",
            str(self._folder),
            "--skip-pip",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        async with asyncio.timeout(START_S):
            while True:
                assert self._process.returncode is None, self.log()
                try:
                    found = await self._get("/api/config")
                    if found["state"] == "RUNNING":
                        self.version = tuple(int(each) for each in found["version"].split(".")[:2])
                        return
                except (aiohttp.ClientError, KeyError):
                    pass
                await asyncio.sleep(0.2)

    async def stop(self) -> None:
        """Stop it as an operator does."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(60):
                await self._process.wait()
        except TimeoutError:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    def log(self) -> str:
        """Return what it warned of."""
        path = self._folder / "home-assistant.log"
        return path.read_text() if path.exists() else ""

    def complaints(self) -> list[str]:
        """Return the lines of its log that speak of MQTT or of what was announced by it."""
        return [each for each in self.log().splitlines() if "mqtt" in each.lower() or "innkeeper" in each.lower()]

    async def states(self) -> dict[str, dict[str, Any]]:
        """Return every entity's state and attributes by its id."""
        found = await self._get("/api/states")
        self._real |= {self._plain(each["entity_id"]): each["entity_id"] for each in found}
        return {self._plain(each["entity_id"]): each for each in found}

    async def until(self, true: Callable[[Mapping[str, dict[str, Any]]], object]) -> dict[str, dict[str, Any]]:
        """Return the states once `true(states)`; the test fails if that never comes."""
        states: dict[str, dict[str, Any]] = {}
        try:
            async with asyncio.timeout(SETTLE_S):
                while True:
                    states = await self.states()
                    if true(states):
                        return states
                    await asyncio.sleep(0.1)
        except TimeoutError:
            shown = {name: (each["state"], each["attributes"]) for name, each in sorted(states.items())}
            raise AssertionError(f"never so: {shown}\n{self.log()[-4000:]}") from None

    async def act(self, domain: str, service: str, entity: str | None, **data: object) -> None:
        """Call a service, as a person at its screen does. What it refuses raises AssertionError."""
        assert self._session is not None
        of = {} if entity is None else {"entity_id": self._real.get(entity, entity)}
        async with self._session.post(f"/api/services/{domain}/{service}", json={**of, **data}) as answer:
            assert answer.status == 200, (answer.status, await answer.text())

    async def asked(self, *commands: str) -> list[Any]:
        """Return the results of WebSocket commands without arguments."""
        assert self._session is not None
        results = []
        async with self._session.ws_connect("/api/websocket") as socket_:
            await socket_.receive_json()
            await socket_.send_json({"type": "auth", "access_token": _token()})
            assert (await socket_.receive_json())["type"] == "auth_ok"
            for number, command in enumerate(commands, 1):
                await socket_.send_json({"id": number, "type": command})
                answer = await socket_.receive_json()
                assert answer["success"], answer
                results.append(answer["result"])
        return results

    async def _get(self, path: str) -> Any:
        assert self._session is not None
        async with self._session.get(path) as answer:
            return await answer.json() if answer.status == 200 else {}

    def _plain(self, entity: str) -> str:
        domain, _, name = entity.partition(".")
        area = next((each for each in self._areas if name.startswith(f"{each}_")), None)
        return entity if area is None else f"{domain}.{name.removeprefix(f'{area}_')}"

    def _store(self, name: str, version: int, minor: int, data: object) -> None:
        body = {"version": version, "minor_version": minor, "key": name, "data": data}
        (self._folder / ".storage" / name).write_text(json.dumps(body))


def _owner() -> dict[str, Any]:
    user = "a" * 32
    return {
        "users": [
            {
                "id": user,
                "group_ids": ["system-admin"],
                "is_owner": True,
                "is_active": True,
                "name": "Engineer",
                "system_generated": False,
                "local_only": False,
            }
        ],
        "groups": [{"id": each, "name": each} for each in ("system-admin", "system-users", "system-read-only")],
        "credentials": [],
        "refresh_tokens": [
            {
                "id": _TOKEN_ID,
                "user_id": user,
                "client_id": None,
                "client_name": "test",
                "client_icon": None,
                "token_type": "long_lived_access_token",
                "created_at": _LONG_AGO,
                "access_token_expiration": 315360000.0,
                "token": "1" * 128,
                "jwt_key": _JWT_KEY,
                "last_used_at": None,
                "last_used_ip": None,
                "expire_at": None,
                "credential_id": None,
                "version": "2025.4.0",
            }
        ],
    }


def _mqtt_entry(host: str, port: int) -> dict[str, Any]:
    return {
        "created_at": _LONG_AGO,
        "modified_at": _LONG_AGO,
        "data": {"broker": host, "port": port},
        "options": {"discovery": True, "discovery_prefix": "homeassistant"},
        "discovery_keys": {},
        "disabled_by": None,
        "domain": "mqtt",
        "entry_id": "m" * 32,
        "version": 1,
        "minor_version": 2,
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "subentries": [],
        "title": "broker",
        "unique_id": None,
    }


def _token() -> str:
    now = int(time.time())
    head, body = (
        base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=")
        for each in ({"alg": "HS256", "typ": "JWT"}, {"iss": _TOKEN_ID, "iat": now, "exp": now + 86_400})
    )
    signed = head + b"." + body
    mark = hmac.new(_JWT_KEY.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(mark).rstrip(b"=")).decode()
