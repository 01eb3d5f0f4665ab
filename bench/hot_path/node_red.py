"""The peer: Node-RED, the same work as a flow (MQTT in, a function, MQTT out), installed on demand and pinned."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import psutil

from bench.hot_path.payload import FILTER
from bench.hot_path.scenarios import Program

VERSION: Final = "4.1.8"
FOLDER: Final = Path("build/node-red")
INSTALL_WAIT_S: Final = 180.0
START_WAIT_S: Final = 30.0
FUNCTION: Final = (
    "const said = JSON.parse(msg.payload); const levels = msg.topic.split('/');"
    "return {topic: 'out/' + levels[2], qos: 1, payload: JSON.stringify("
    "{room: levels[1], device: levels[2], t: said.t, value: said.temperature})};"
)
SETTINGS: Final = (
    "module.exports = {flowFile: 'flows.json', uiPort: 0, httpAdminRoot: false, httpNodeRoot: false,"
    " credentialSecret: false, logging: {console: {level: 'info', metrics: false, audit: false}}};"
)


async def install() -> str | None:
    """Install it if it is not there; return why it cannot be had, or None."""
    if (FOLDER / "node_modules/node-red/red.js").is_file():
        return None
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed"
    FOLDER.mkdir(parents=True, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        npm, "install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--prefix", str(FOLDER),
        f"node-red@{VERSION}", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(INSTALL_WAIT_S):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"npm did not finish in {INSTALL_WAIT_S:g} s"
    return None if process.returncode == 0 else said.decode(errors="replace").strip().splitlines()[-1][:120]


@contextlib.asynccontextmanager
async def node_red(site_port: int, cloud_port: int, folder: Path) -> AsyncIterator[Program]:
    """Start it with a flow between the two brokers."""
    (folder / "settings.js").write_text(SETTINGS)
    (folder / "flows.json").write_text(json.dumps(_flow(site_port, cloud_port)))
    log = folder / "node-red.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            "node", str((FOLDER / "node_modules/node-red/red.js").absolute()), "-u", str(folder), stdout=output,
            stderr=output,
        )  # fmt: skip
    try:
        async with asyncio.timeout(START_WAIT_S):
            while log.read_bytes().count(b"Connected to broker") < 2:
                if process.returncode is not None:
                    raise RuntimeError(log.read_text()[-1_000:])
                await asyncio.sleep(0.1)
        facts = psutil.Process(process.pid)
        yield Program(lambda: sum(facts.cpu_times()[:2]), lambda: facts.memory_info().rss / 1024 / 1024)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _flow(site_port: int, cloud_port: int) -> list[dict[str, object]]:
    brokers: list[dict[str, object]] = [
        {"id": name, "type": "mqtt-broker", "broker": "127.0.0.1", "port": str(port), "clientid": f"red-{name}",
         "protocolVersion": "4", "keepalive": "60", "cleansession": True, "autoConnect": True}
        for name, port in (("site", site_port), ("cloud", cloud_port))
    ]  # fmt: skip
    return [
        {"id": "tab", "type": "tab", "label": "forward"},
        *brokers,
        {"id": "in", "type": "mqtt in", "z": "tab", "topic": FILTER, "qos": "1", "datatype": "utf8", "broker": "site",
         "inputs": 0, "wires": [["map"]]},
        {"id": "map", "type": "function", "z": "tab", "func": FUNCTION, "outputs": 1, "wires": [["out"]]},
        {"id": "out", "type": "mqtt out", "z": "tab", "topic": "", "qos": "1", "retain": "", "broker": "cloud",
         "wires": []},
    ]  # fmt: skip
