"""The edge process: opens what it must find again, joins the parts, serves until told to stop.

Order at start: store and log, catch up with the log, rooms and API; then what reaches out (doors, buses, link), each
supervised and none waited for: a dead broker or a doors process still starting delays nothing.
Order at stop: what reaches out, then the API, then rooms, then the log.
"""

import asyncio
import signal
from pathlib import Path
from typing import Final

from edge.api.routes import make_app
from edge.api.token import read_or_make_token
from edge.app.absent import AbsentDevices, AbsentDoors
from edge.app.building import HouseBuilding
from edge.app.edge_store import EdgeStore
from edge.app.house import House
from edge.app.settings import EdgeSettings
from edge.app.site import read_site_plan
from edge.log.record_log import RecordLog
from edge.policy import document as policy_document
from edge.policy.document import RoomPolicy
from kit import memory
from kit.clock import SystemClock
from kit.dice import SystemDice
from kit.files import SystemDisk, write_atomic
from kit.health import Health
from kit.http import serve
from kit.logs import configure, logger
from kit.metrics import Metrics
from kit.supervision import Supervisor
from protocols.device_model.identity import parse_property_id
from protocols.errors import InvalidInputError, StoreFailedError

SERVICE: Final = "innkeeper-edge"
OWNER_ONLY: Final = 0o700
SETTLE_AFTER_S: Final = 1.0


async def run(settings: EdgeSettings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        InvalidInputError: a file that the settings name is wrong; names it.
        StoreFailedError: the data folder cannot be used.
    """
    configure(SERVICE, settings.log_level, settings.log_json)
    log = logger(SERVICE)
    clock, dice, disk = SystemClock(settings.clock_trust), SystemDice(), SystemDisk()
    began_ms = clock.now_ms()
    health, metrics = Health(clock), Metrics(SERVICE)
    for part in ("log", "rooms", "api"):
        health.expect(part)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY)
    except OSError as error:
        raise StoreFailedError(f"data_dir {settings.data_dir}: {error.strerror or error}") from error
    plan = read_site_plan(settings)
    token = read_or_make_token(disk, settings.api.token_path or settings.data_dir / "api-token", dice)
    store, restored = EdgeStore.open(settings.data_dir / "edge.db")
    if restored.set_aside is not None:
        log.error("edge_store_damaged", set_aside=str(restored.set_aside))
    record_log = await RecordLog.open(settings.data_dir / "log", clock=clock, dice=dice, settings=settings.log)
    try:
        health.report("log", ok=True)
        house = House(
            ours=parse_property_id(settings.property),
            plan=plan,
            policy=_policy_in_force(restored.policy),
            log=record_log,
            store=store,
            restored=restored,
            doors=AbsentDoors(),
            writer=AbsentDevices(),
            clock=clock,
            logger=log,
        )
        if settings.policy_path is not None:
            await house.new_policy(_read(settings.policy_path), str(settings.policy_path))
        await house.catch_up()
        building = HouseBuilding(house, plan=plan, link=lambda: {"configured": False}, devices=list, clock=clock)
        app = make_app(building, token=token, health=health, metrics=metrics, clock=clock, dice=dice)

        def bound(port: int) -> None:
            health.report("api", ok=True)
            if settings.api.port_path is not None:
                write_atomic(disk, settings.api.port_path, f"{port}\n".encode("ascii"))
            log.info("edge_started", port=port, took_ms=clock.now_ms() - began_ms, rooms=len(house.rooms.rooms()))

        async with Supervisor(clock=clock, dice=dice, log=log, health=health) as supervisor:
            supervisor.start("rooms", lambda: house.rooms.run(house.stored))
            supervisor.start("api", lambda: serve(app, settings.api.host, settings.api.port, bound=bound))
            supervisor.start("departures", house.departures.run)
            loop.call_later(SETTLE_AFTER_S, memory.settle)
            await stop.wait()
            log.info("edge_stopping")
        await house.rooms.settle()
    finally:
        await record_log.close()
        await store.close()


def _policy_in_force(stored: bytes | None) -> RoomPolicy:
    return policy_document.default() if stored is None else policy_document.parse(stored, "edge.db: policy")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error
