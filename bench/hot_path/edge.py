"""The program under test: `innkeeper-edge run --config FILE` as it is shipped, with what it costs."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil

from bench.hot_path.payload import RULE_TOPIC
from protocols.device_model import site_plan
from protocols.device_model.site_plan import SitePlan

START_WAIT_S: Final = 30.0
PROPERTY: Final = "aurora"
EDGE_NAME: Final = "e-aurora0000000001"
BASE_BACK_MS: Final = 3_600_000

CONFIG: Final = """
property = "{property}"
edge = "{edge}"
data_dir = "data"
clock_trust = "host"
log_level = "warning"

[api]
port = 0
port_path = "port"

[site_broker]
host = "127.0.0.1"
port = {site_port}
"""
RULES: Final = """
[[json_devices.rules]]
topic = "{rule}"
time_key = "t"
other_keys = "ignore"
keys.contact = {{ capability = "boolean_state", attribute = "state_value" }}
keys.temperature = {{ capability = "temperature_measurement", attribute = "measured_value" }}
"""
UPLINK: Final = """
[uplink]
host = "127.0.0.1"
port = {port}
[uplink.link]
reconnect_first = "PT0.2S"
reconnect_most = "PT2S"
"""
NORTHBOUND: Final = """
[[northbound]]
name = "bench"
host = "127.0.0.1"
port = {port}
reconnect_first = "PT0.2S"
reconnect_most = "PT2S"
"""


class EdgeProcess:
    """One node; `start` and `kill` as often as wanted, over the same folder. `environment`: beside this process's.

    `plan`: what hangs on its buses; None: what speaks by the rules of `RULES`. `more`: further settings.
    """

    def __init__(
        self,
        folder: Path,
        *,
        site_port: int,
        uplink_port: int | None,
        north_port: int | None = None,
        environment: Mapping[str, str] | None = None,
        plan: SitePlan | None = None,
        more: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        text = "" if plan is None else 'site_plan_path = "site.json"\n'
        text += CONFIG.format(property=PROPERTY, edge=EDGE_NAME, site_port=site_port)
        if plan is None:
            text += RULES.format(rule=RULE_TOPIC)
        else:
            (folder / "site.json").write_bytes(site_plan.encode(plan))
        text += more
        if uplink_port is not None:
            text += UPLINK.format(port=uplink_port)
        if north_port is not None:
            text += NORTHBOUND.format(port=north_port)
        (folder / "edge.toml").write_text(text)
        self._process: asyncio.subprocess.Process | None = None
        self._facts: psutil.Process | None = None
        self._cpu_before = 0.0
        self._environment = {**os.environ, **(environment or {})}

    async def __aenter__(self) -> "EdgeProcess":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> float:
        """Start and wait until the API listens; return the seconds it took."""
        (self.folder / "port").unlink(missing_ok=True)
        began = time.perf_counter()
        with (self.folder / "edge.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "edge.app.main", "run", "--config", str(self.folder / "edge.toml"), stderr=log,
                env=self._environment,
            )  # fmt: skip
        self._facts = psutil.Process(self._process.pid)
        async with asyncio.timeout(START_WAIT_S):
            while not (self.folder / "port").exists():
                if self._process.returncode is not None:
                    raise RuntimeError((self.folder / "edge.log").read_text()[-2_000:])
                await asyncio.sleep(0.02)
        return time.perf_counter() - began

    async def kill(self) -> None:
        """SIGKILL, as a power cut to the process."""
        process = self._process
        if process is not None and process.returncode is None:
            self._cpu_before = self.cpu_s
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        self._facts = None

    @property
    def cpu_s(self) -> float:
        """CPU seconds, user and system, over all lives."""
        if self._facts is None:
            return self._cpu_before
        times = self._facts.cpu_times()
        return self._cpu_before + times.user + times.system

    @property
    def rss_mib(self) -> float:
        """Resident memory."""
        assert self._facts is not None
        rss: int = self._facts.memory_info().rss
        return rss / 1024 / 1024
