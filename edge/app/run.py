"""The edge process: opens what it must find again, joins the parts, serves until told to stop.

Order at start: store and log, catch up with the log, rooms and API; then what reaches out (doors, buses, link), each
supervised and none waited for: a dead broker or a doors process still starting delays nothing.
Order at stop: the reverse, and the log last.
"""

import asyncio
import signal
import sys
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from edge.api.desk_routes import desk_routes
from edge.api.device_routes import device_routes
from edge.api.door_routes import door_routes
from edge.api.kiosk_origin import KioskOrigins
from edge.api.kiosk_routes import KIOSK
from edge.api.pms_routes import pms_routes
from edge.api.routes import make_app
from edge.api.token import DESK, read_or_make_token
from edge.app.absent import AbsentDoors
from edge.app.access_events import PART as DOORS_PART
from edge.app.access_events import carry, carry_vendors
from edge.app.advert_numbers import AdvertNumbers
from edge.app.announced_things import AnnouncedThings
from edge.app.binding_desk import BindingDesk
from edge.app.building import HouseBuilding
from edge.app.buses import fresh_ms, make_buses, read_descriptors
from edge.app.devices import BusWriter, Devices, unknown_unlisted
from edge.app.edge_store import EdgeStore
from edge.app.facades import Facade, make_facades, told_of_changes
from edge.app.fias import make_fias
from edge.app.granting import GrantingDoors, VendorCards
from edge.app.house import House
from edge.app.json_devices import make_json_bus, make_northbound, readership_of
from edge.app.keys import read_private_key
from edge.app.kiosks import Kiosks, make_kiosks
from edge.app.lock_readings import LockReadings
from edge.app.models import Models
from edge.app.settings import EdgeSettings
from edge.app.site import read_site_plan
from edge.app.uplink import make_uplink, read_command_key, recover_documents
from edge.bridges.fias.session import FiasSession
from edge.bridges.fias.settings import FiasSettings
from edge.bridges.mdns.listener import MdnsListener
from edge.bridges.mqtt.json_bus import JsonBus
from edge.bridges.ports import BusSupervisor
from edge.doors.client import DoorsClient
from edge.doors.errors import ClockUnsoundError
from edge.link.uplink import Uplink
from edge.log.heads import HeadSigner
from edge.log.record_log import RecordLog
from edge.northbound import prometheus_values
from edge.northbound.publisher import NorthboundPublisher
from edge.policy import document as policy_document
from edge.policy.document import RoomPolicy
from kit import memory
from kit.clock import Clock, SystemClock
from kit.dice import Dice, SystemDice
from kit.files import SystemDisk, write_atomic
from kit.health import Health
from kit.http import serve
from kit.logs import configure, logger
from kit.metrics import Metrics
from kit.supervision import Backoff, Supervisor
from protocols.device_model.identity import parse_edge_id, parse_property_id
from protocols.device_model.site_plan import RawTcpBus, SerialBus, SitePlan
from protocols.errors import InvalidInputError, StoreFailedError, UnsupportedVersionError
from protocols.link.lanes import LANES, Lane

SERVICE: Final = "innkeeper-edge"
HEAD_KEY_ID: Final = b"head"
SWITCH_INTERVAL_S: Final = 0.0005
"""How long a lane's thread may wait for the interpreter behind a busy loop: at Python's 5 ms, a commit of 200 records
took 158 ms instead of 6 (docs/decisions/0011-few-steps-of-sqlite.md)."""
FOLDER_MODE: Final = 0o700
SETTLE_AFTER_S: Final = 1.0
WATCH_EVERY_S: Final = 2.0
DOORS_BACKOFF: Final = Backoff(first_ms=200, most_ms=5_000)  # a process on this machine: it is back in a moment


async def run(settings: EdgeSettings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        InvalidInputError: a file that the settings name is wrong; names it.
        StoreFailedError: the data folder cannot be used.
    """
    configure(SERVICE, settings.log_level, settings.log_json)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clock, dice = SystemClock(settings.clock_trust), SystemDice()
    async with AsyncExitStack() as stack:
        edge = await Edge.open(settings, stack, clock=clock, dice=dice)
        settling = loop.call_later(SETTLE_AFTER_S, memory.settle)
        await edge.work_until(stop)
        settling.cancel()


class Edge:
    """All parts of the process; made by `open`, which leaves on `stack` what has to be closed."""

    def __init__(
        self,
        settings: EdgeSettings,
        *,
        house: House,
        record_log: RecordLog,
        devices: Devices,
        buses: list[BusSupervisor],
        desk: BindingDesk | None,
        json_bus: JsonBus | None,
        northbound: list[NorthboundPublisher],
        facades: dict[str, Facade],
        uplink: Uplink | None,
        doors: DoorsClient | None,
        announced: AnnouncedThings,
        numbers: AdvertNumbers,
        token: str,
        desk_token: str,
        kiosks: Kiosks | None,
        clock: Clock,
        dice: Dice,
    ) -> None:
        self._settings, self._clock, self._dice = settings, clock, dice
        self._log = logger(SERVICE)
        self._began_ms = clock.now_ms()
        self.house, self.record_log, self.devices, self.buses = house, record_log, devices, buses
        self.desk, self.json_bus, self.northbound, self.facades = desk, json_bus, northbound, facades
        self.uplink, self.doors, self._token, self._announced = uplink, doors, token, announced
        self._kiosks, self._numbers, self._desk_token = kiosks, numbers, desk_token
        self.health, self.metrics = Health(clock), Metrics(SERVICE)
        for part in ("log", "rooms", "readings", "api", *(_bus_task(bus) for bus in buses)):
            self.health.expect(part)
        if doors is not None:
            self.health.expect(DOORS_PART)
        self._measure()

    @classmethod
    async def open(cls, settings: EdgeSettings, stack: AsyncExitStack, *, clock: Clock, dice: Dice) -> "Edge":
        """Read every file, open what is durable and join the parts; nothing reaches out yet.

        Raises:
            InvalidInputError, UnsupportedVersionError: a file that the settings name is wrong; names it.
            StoreFailedError: the data folder cannot be used.
        """
        log = logger(SERVICE)
        edge = parse_edge_id(settings.edge, "settings: edge")
        property_id = parse_property_id(settings.property, "settings: property")
        plan = read_site_plan(settings)
        descriptors = read_descriptors(plan, settings.bridges.models_path)
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        except OSError as error:
            raise StoreFailedError(f"data_dir {settings.data_dir}: {error.strerror or error}") from error
        if (port_path := settings.api.port_path) is not None and not port_path.parent.is_dir():
            raise InvalidInputError("settings: api.port_path", f"{port_path.parent} is no folder")
        announced = AnnouncedThings(descriptors, disk=SystemDisk(), folder=settings.data_dir, logger=log)
        numbers = AdvertNumbers(disk=SystemDisk(), folder=settings.data_dir, clock=clock, logger=log)
        if plan is not None:
            announced.load(plan)
        token_path = settings.api.token_path or settings.data_dir / "api-token"
        token = read_or_make_token(SystemDisk(), token_path, dice)
        desk_path = settings.api.desk_token_path or settings.data_dir / "desk-token"
        desk_token = read_or_make_token(SystemDisk(), desk_path, dice)
        store, restored = EdgeStore.open(settings.data_dir / "edge.db")
        stack.push_async_callback(store.close)
        if restored.set_aside is not None:
            log.error("edge_store_damaged", set_aside=str(restored.set_aside))
        signer = None
        if settings.head_key_path is not None:
            signer = HeadSigner(edge, read_private_key(settings.head_key_path), HEAD_KEY_ID)
        record_log = await RecordLog.open(
            settings.data_dir / "log",
            clock=clock,
            dice=dice,
            settings=settings.log,
            signer=signer,
            readership=readership_of(settings),
        )
        stack.push_async_callback(record_log.close)
        doors = None
        if settings.doors is not None:
            doors = await stack.enter_async_context(DoorsClient(settings.doors.socket_path))
        writer = BusWriter()
        house = House(
            ours=property_id,
            plan=plan,
            policy=_policy_in_force(restored.policy),
            log=record_log,
            store=store,
            restored=restored,
            doors=AbsentDoors() if doors is None else GrantingDoors(doors),
            writer=writer,
            clock=clock,
            logger=log,
            fresh_ms=fresh_ms(plan, descriptors),
            cards=None if doors is None else VendorCards(doors),
            model=Models(descriptors),
        )
        if settings.policy_path is not None:
            await house.new_policy(_read(settings.policy_path), str(settings.policy_path))
        await house.catch_up()
        devices = Devices(house, plan=plan, clock=clock)
        buses: list[BusSupervisor] = []
        desk: BindingDesk | None = None
        kiosks: Kiosks | None = None
        uplink: Uplink | None = None
        if plan is not None:
            desk = BindingDesk(
                plan,
                descriptors,
                house=house,
                devices=devices,
                writer=writer,
                log=record_log,
                disk=SystemDisk(),
                folder=settings.data_dir,
                fresh_ms=fresh_ms,
                clock=clock,
                dice=dice,
                logger=log,
            )
            desk.before, announced.relay, announced.wants = announced.keep, desk.relay, desk.wants
            plan = await desk.begin()
            announced.serve(plan, descriptors)
            numbers.load(plan)
            stack.push_async_callback(numbers.keep)
            live = make_buses(
                settings,
                plan,
                descriptors,
                clock=clock,
                dice=dice,
                sink=devices,
                crowded=lambda: devices.crowded,
                announced=announced,
                remembered=numbers.memories,
            )
            buses, desk.buses = list(live), live
            if settings.kiosk.origins or any(isinstance(each, SerialBus | RawTcpBus) for each in plan.buses):
                kiosk_path = settings.api.kiosk_token_path or settings.data_dir / "kiosk-token"
                kiosks = make_kiosks(
                    settings.kiosk,
                    house=house,
                    descriptors=descriptors,
                    peripheral=live.peripheral,
                    store=store,
                    documents=restored.documents,
                    log=record_log,
                    cut_off=lambda: uplink is None or not uplink.state.connected,
                    property_id=property_id,
                    token=read_or_make_token(SystemDisk(), kiosk_path, dice),
                    clock=clock,
                    dice=dice,
                )
                with suppress(StoreFailedError):  # a full disk takes no doors from the house; they are kept later
                    await kiosks.catch_up()
        json_bus = make_json_bus(settings, plan=plan, log=record_log, clock=clock, dice=dice, house=house)
        if json_bus is not None:
            buses.append(json_bus)
        if settings.mdns is not None:
            buses.append(MdnsListener(settings.mdns, clock=clock, dice=dice, sink=devices))
        writer.buses = buses
        northbound = make_northbound(settings, edge=edge, property_id=property_id, log=record_log, dice=dice)
        facades = make_facades(
            settings, descriptors, house=house, devices=devices, writer=writer, log=record_log, clock=clock, dice=dice
        )
        if desk is not None:
            told = told_of_changes(settings, descriptors, facades, json_bus)

            def changed(now: SitePlan) -> None:
                told(now)
                announced.serve(now, descriptors)

            desk.changed = changed
        if settings.uplink is not None:
            resolve = read_command_key(settings.uplink)
            await recover_documents(record_log, house, resolve, edge)
            uplink = make_uplink(
                settings.uplink,
                edge=edge,
                property_id=property_id,
                log=record_log,
                house=house,
                clock=clock,
                dice=dice,
                live_state=partial(_live, house, json_bus),
                doors=doors,
                keys=None if kiosks is None else kiosks.keys,
            )
            house.live_changed = uplink.live_changed
        return cls(
            settings,
            house=house,
            record_log=record_log,
            devices=devices,
            buses=buses,
            desk=desk,
            json_bus=json_bus,
            northbound=northbound,
            facades=facades,
            uplink=uplink,
            doors=doors,
            announced=announced,
            numbers=numbers,
            token=token,
            desk_token=desk_token,
            kiosks=kiosks,
            clock=clock,
            dice=dice,
        )

    async def work_until(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then end every part in order."""
        house, health = self.house, self.health
        building = HouseBuilding(
            house, plan=house.plan, link=self.link_state, devices=self.devices_told, clock=self._clock
        )
        fias = None if self._settings.fias is None else self._fias(self._settings.fias)
        app = make_app(
            building,
            token=self._token,
            health=health,
            metrics=self.metrics,
            clock=self._clock,
            dice=self._dice,
            routes=[
                *device_routes(self.desk, clock=self._clock),
                *door_routes(self.doors, clock=self._clock, not_now=[ClockUnsoundError]),
                *pms_routes(fias),
                *desk_routes(
                    clock=self._clock,
                    property_id=self._settings.property,
                    plan=lambda: house.plan,
                    cloud=next(iter(self._settings.kiosk.origins), None),
                    codes=self._kiosks is not None and self._kiosks.visits is not None,
                ),
                *([] if self._kiosks is None else self._kiosks.routes()),
            ],
            tokens={DESK: self._desk_token, **({} if self._kiosks is None else {KIOSK: self._kiosks.token})},
        )
        answering = KioskOrigins(app, self._settings.kiosk.origins)
        api = self._settings.api
        async with Supervisor(clock=self._clock, dice=self._dice, log=self._log, health=health) as supervisor:
            supervisor.start("watch", self._watch)
            supervisor.start("fire", house.fire.run)
            supervisor.start("rooms-watch", house.watch.run)
            supervisor.start("rooms", lambda: house.rooms.run(house.stored))
            supervisor.start("readings", self.devices.run)
            supervisor.start("api-server", lambda: serve(answering, api.host, api.port, bound=self._bound))
            supervisor.start("departures", house.departures.run)
            supervisor.start("overdue", house.overdue.run)
            if self.doors is not None:
                doors = self.doors
                supervisor.start("doors-events", lambda: carry(doors, house, health), restart=DOORS_BACKOFF)
                vendors = doors.vendor_events()
                supervisor.start("vendor-events", lambda: carry_vendors(vendors, house, health), restart=DOORS_BACKOFF)
                locks = LockReadings(doors, self.devices, plan=house.plan, clock=self._clock)
                supervisor.start("doors-locks", locks.run, restart=DOORS_BACKOFF)
            for bus in self.buses:
                supervisor.start(_bus_task(bus), bus.run)
            supervisor.start("announced", lambda: self._announced.run(lambda: house.plan))
            supervisor.start("advert-numbers", self._numbers.run)
            if fias is not None:
                supervisor.start("fias", fias.run)
            if self.uplink is not None:
                supervisor.start("uplink", self.uplink.run)
            for name, facade in self.facades.items():
                supervisor.start(name, facade.run)
            for north in self.northbound:
                supervisor.start(f"northbound {north.name}", north.run)
            await stop.wait()
            self._log.info("edge_stopping")
        await house.rooms.settle()
        if self._kiosks is not None:
            await self._kiosks.desk.settle()

    def devices_told(self) -> list[dict[str, Any]]:
        """Return what is known of every device, planned or met."""
        listed = {} if self.desk is None else self.desk.listed()
        planned = [{**each, **listed.get(each["id"], {})} for each in self.devices.told()]
        return planned + ([] if self.json_bus is None else self.json_bus.told())

    def link_state(self) -> dict[str, Any]:
        """Return how the way to the cloud stands, and how far each lane is written."""
        heads = {lane.value: seq for lane, seq in self.record_log.heads().items()}
        incarnations = {lane.value: each.hex() for lane, each in self.record_log.incarnations().items()}
        told: dict[str, Any] = {
            "configured": self.uplink is not None,
            "edge": self._settings.edge,
            "connected": False,
            "last_ack_age_ms": None,
            "backlog": None,
            "refused": 0,
            "heads": heads,
            "incarnations": incarnations,
        }
        if self.northbound:
            told["northbound"] = [
                {
                    "name": each.name,
                    "connected": each.connected,
                    "published": each.published,
                    "refused": each.refused,
                    "backlog": {lane.value: count for lane, count in each.backlog().items()},
                }
                for each in self.northbound
            ]
        if self.uplink is not None:
            state = self.uplink.state
            heard_ms = state.last_ack_ms
            told |= {
                "connected": state.connected,
                "last_ack_age_ms": None if heard_ms is None else self._clock.now_ms() - heard_ms,
                "backlog": {lane.value: state.backlog[lane] for lane in LANES},
                "refused": state.refused,
            }
        return told

    def _fias(self, settings: FiasSettings) -> FiasSession:
        """Join the PMS on the hotel's own network to the house, and show how it fares."""
        session, desk = make_fias(
            settings,
            self.house,
            log=self.record_log,
            doors=self.doors,
            clock=self._clock,
            dice=self._dice,
            logger=self._log,
            data_dir=self._settings.data_dir,
        )
        gauge = self.metrics.gauge
        gauge("fias_alive", "1 while the PMS interface has accepted us").set_function(lambda: float(session.alive))
        gauge("fias_charges_unknown", "Charges of which nobody knows whether they are on a bill").set_function(
            lambda: float(session.billing.unsure)
        )
        gauge("fias_doubts", "Guests in house whom somebody has to place").set_function(lambda: len(desk.doubts))
        gauge("fias_orders_lost", "Key orders whose link was lost before the answer").set_function(
            lambda: session.counts["orders_lost"]
        )
        return session

    def _bound(self, port: int) -> None:
        self.health.report("api", ok=True)
        if self._settings.api.port_path is not None:
            try:
                write_atomic(SystemDisk(), self._settings.api.port_path, f"{port}\n".encode("ascii"))
            except StoreFailedError as error:  # a full disk takes no API from whoever knows the port
                self._log.error("port_not_told", port=port, error=str(error))
        self._log.info(
            "edge_started",
            port=port,
            took_ms=self._clock.now_ms() - self._began_ms,
            rooms=len(self.house.rooms.rooms()),
            buses=len(self.buses),
        )

    async def _watch(self) -> None:
        """Report whether the log can be written and read, until cancelled."""
        while True:
            try:
                usage = await self.record_log.usage()
            except StoreFailedError as error:
                self.health.report("log", ok=False, detail=str(error))
            else:
                refusals = self.record_log.refusals()
                told = [f"lane {lane.value} keeps nothing: {why}" for lane, why in refusals.items()]
                told.append(f"lane A {usage[Lane.A].fraction:.0%} full")
                self.health.report("log", ok=not refusals, detail="; ".join(told))
            await asyncio.sleep(WATCH_EVERY_S)

    def _measure(self) -> None:
        gauge = self.metrics.gauge
        gauge("readings_waiting", "Readings and events that wait to be made durable").set_function(
            lambda: self.devices.waiting
        )
        gauge("readings_refused", "Readings and events that did not fit since the start").set_function(
            lambda: self.devices.refused
        )
        gauge("readings_unfit", "Readings and events that no record can hold: a defect each").set_function(
            lambda: self.devices.unfit
        )
        gauge("rooms_open_intents", "Wishes of rooms that no device has confirmed yet").set_function(
            lambda: self.house.rooms.open_intents
        )
        heads = gauge("lane_head", "Last durable position of a lane", labels=("lane",))
        backlog = gauge("link_backlog_records", "Records that the cloud has not acknowledged", labels=("lane",))
        for lane in LANES:
            heads.labels(lane.value).set_function(partial(self._head, lane))
            backlog.labels(lane.value).set_function(partial(self._backlog, lane))
        gauge(
            "devices_unknown_unlisted", "Unknown devices heard that found no room in the list, on all buses together"
        ).set_function(lambda: unknown_unlisted(self.devices, self.buses))
        live = self.house.live_state
        self.metrics.table(
            prometheus_values.NAME,
            prometheus_values.HELP,
            prometheus_values.LABELS,
            lambda: prometheus_values.rows(live()),
        )
        self.metrics.table("bus_counts", "What happened on a bus since the start", ("bus", "what"), self._bus_counts)
        if self.northbound:
            waiting = gauge("northbound_backlog_records", "Records not told to a northern broker yet", labels=("name",))
            for north in self.northbound:
                waiting.labels(north.name).set_function(partial(_waiting, north))
        if self.uplink is not None:
            uplink = self.uplink
            gauge("link_connected", "1 while there is a connection to the cloud's broker").set_function(
                lambda: float(uplink.state.connected)
            )

    def _bus_counts(self) -> list[tuple[tuple[str, str], float]]:
        return [((str(bus.bus), what), count) for bus in self.buses for what, count in sorted(bus.counts.items())]

    def _head(self, lane: Lane) -> float:
        return self.record_log.heads()[lane]

    def _backlog(self, lane: Lane) -> float:
        return 0 if self.uplink is None else self.uplink.state.backlog[lane]


def _live(house: House, json_bus: JsonBus | None) -> list[dict[str, Any]]:
    """Return the house as it is: planned devices, then those that only a rule names."""
    planned = house.live_state()
    if json_bus is None:
        return planned
    ours = {each["device"] for each in planned}
    return planned + [each for each in json_bus.live() if each["device"] not in ours]


def _waiting(north: NorthboundPublisher) -> float:
    return sum(north.backlog().values())


def _bus_task(bus: BusSupervisor) -> str:
    return f"bus {bus.bus}"


def _policy_in_force(stored: bytes | None) -> RoomPolicy:
    if stored is None:
        return policy_document.default()
    try:
        return policy_document.parse(stored, "edge.db: policy")
    except (InvalidInputError, UnsupportedVersionError) as error:
        # Of another build, or damaged: rooms by the shipped policy are better than a house without an edge.
        logger(SERVICE).error("stored_policy_refused", error=str(error))
        return policy_document.default()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error
