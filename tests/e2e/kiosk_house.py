"""A kiosk that is joined to its house: the cloud, an edge, and a reader, a dispenser and a printer on real lines."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import structlog
from playwright.async_api import Route, expect

from cloud.app.projections import take_kiosks
from cloud.checkin.late_steps import TOLD, LateSteps
from cloud.fleet.commands import CommandResult
from cloud.kit.outbox import Relay
from cloud.stays.life import EdgeState
from cloud.stays.stays import EdgeFact, apply_edge_facts
from cloud.telemetry.ports import BatchContext
from edge.api.kiosk_origin import KioskOrigins
from edge.api.kiosk_routes import KIOSK
from edge.api.routes import make_app
from edge.app.building import HouseBuilding
from edge.app.kiosks import Kiosks, make_kiosks
from edge.app.settings import KioskSettings
from edge.app.uplink import obeying
from edge.bridges.peripherals.supervisor import PeripheralSupervisor
from edge.log.record_log import Entry
from firmware_bridges.innkeeper_lock.one_property import OneProperty
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.health import Health
from kit.http import serving
from kit.metrics import Metrics
from protocols.device_model import site_plan
from protocols.device_model.command import Phase
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, EdgeId, PropertyId, RoomId, StayId
from protocols.link.documents import CommandEnvelope
from protocols.link.lanes import Lane
from protocols.peripherals.conversation import Order
from tests.cloud.checkin.front_desk import STAY
from tests.cloud.houses import AURORA, PLACE
from tests.e2e.guest_page import WAIT_MS
from tests.e2e.test_check_in_page import CheckInPage, Lobby
from tests.edge.bridges.field import CATALOGUE, Field, field, free_port
from tests.edge.checkin.kiosk_lobby import Encoder
from tests.edge.world import T0, Building, FakeDoors, a_document, a_stay

TOKEN: Final = "k" * 64
PARTS: Final = {"reader": "honeywell/ocr_reader", "dispenser": "quio/qu_cd_720m", "printer": "epson/tm_t88vi"}


class KioskHouse:
    """The house of a lobby: what its peripherals did, and the line to its cloud, which may be cut."""

    def __init__(self, lobby: Lobby, building: Building, kiosks: Kiosks, things: Field, encoder: Encoder) -> None:
        self.lobby, self.building, self.kiosks, self.things, self.encoder = lobby, building, kiosks, things, encoder
        self.address = ""
        self.is_cut_off = False

    async def join(self, kiosk: CheckInPage) -> None:
        """Open the link that joins a kiosk to its house, once the house knows what stands there."""
        link = self.address.replace(":", "%3A").replace("/", "%2F")
        await kiosk.page.goto(f"{self.lobby.address}/guest/kiosk.html#edge={link}/{TOKEN}/lobby")
        await kiosk.page.reload()
        await expect(kiosk.page.locator("[data-kiosk='begin']")).to_be_visible(timeout=WAIT_MS)
        assert "#" not in kiosk.page.url

    async def cut(self, kiosk: CheckInPage) -> None:
        """Cut the line to the cloud, the kiosk's and the edge's own: the house is alone."""
        self.is_cut_off = True

        async def away(route: Route) -> None:
            await route.abort()

        await kiosk.page.route(f"{self.lobby.address}/api/**", away)

    async def mend(self, kiosk: CheckInPage) -> None:
        """Bring the line back; the cloud takes what the edge kept."""
        self.is_cut_off = False
        await kiosk.page.unroute(f"{self.lobby.address}/api/**")
        records = self.building.log.records(Lane.A, "stay")
        facts = [
            EdgeFact(
                each.body["stay"],
                EdgeState(each.body["state"]),
                each.body["room"],
                each.body["by"],
                each.body["at_ms"],
                incarnation=b"k" * 16,
                seq=each.seq,
            )
            for each in records
        ]
        site = self.lobby.desk.site
        context = BatchContext(
            PLACE.tenant, PLACE.property, EdgeId(PLACE.edge), b"k" * 16, Lane.A, site.clock.wall_ms()
        )
        async with site.database.transaction() as connection:
            await apply_edge_facts(connection, PLACE, facts, now_ms=site.clock.wall_ms())
            await take_kiosks(connection, context, self.building.log.records(Lane.A, "kiosk"))
        late, log = LateSteps(site.sessions), structlog.get_logger("test")
        await Relay(site.database, subscribers={TOLD: (late.on_told,)}, clock=site.clock, log=log).drain()

    def has_our_locks(self, hotel: OneProperty) -> None:
        """Let room 101 have a lock of ours, of which phones get keys."""

        class Real(FakeDoors):
            async def issue(
                self, stay: StayId, room: RoomId, phone_public_key: bytes, **asked: Any
            ) -> Mapping[str, Any]:
                return hotel.bundle(["door-101"], phone_public_key.hex(), stay=stay).to_document()

        self.building.house.desk._doors = Real()
        self.kiosks.phones._rooms = frozenset({RoomId("101")})
        self.encoder.rooms.clear()

    async def lay_down(self, kiosk: CheckInPage, zone: str) -> None:
        """Lay a document on the reader, and wait until the page has it in its form."""
        await self.things.emulator.answer("present", {"device": "kiosk-reader", "text": zone})
        read = kiosk.page.locator("[data-reader='read']")
        async with asyncio.timeout(WAIT_MS / 1_000):
            while not await read.count():  # the page's clock is the test's: it looks each second of it
                await kiosk.page.clock.run_for(1_000)
                await asyncio.sleep(0.02)
        await expect(kiosk.page.locator("[name='mrz']")).to_have_value(zone)

    async def cause(self, part: str, capability: str, attribute: str, *, value: bool) -> None:
        await self.things.cause(f"kiosk-{part}", "set", capability=capability, attribute=attribute, value=value)

    def done(self, part: str) -> Any:
        return self.things.emulator.peripherals[BusId(f"line-{part}")]

    async def until_it_could_give(self, *, could: bool = True) -> None:
        """Wait until the edge has heard that the dispenser could give a card, or could not."""
        [dispenser] = [
            bus
            for bus in self.things.buses
            if isinstance(bus, PeripheralSupervisor) and bus.device == "kiosk-dispenser"
        ]
        async with asyncio.timeout(WAIT_MS / 1_000):
            while (dispenser.against(Order("0000")) is None) is not could:
                await asyncio.sleep(0.02)

    async def until_known(self) -> None:
        """Wait until every peripheral has said how it stands."""
        async with asyncio.timeout(WAIT_MS / 1_000):
            while any(bus._stands is None for bus in self.things.buses if isinstance(bus, PeripheralSupervisor)):
                await asyncio.sleep(0.02)


def _plan() -> site_plan.SitePlan:
    buses = tuple(site_plan.RawTcpBus(BusId(f"line-{part}"), "127.0.0.1", free_port()) for part in PARTS)
    devices = tuple(
        site_plan.Device(
            DeviceId(f"kiosk-{part}"), RoomId("lobby"), DescriptorId(model), site_plan.Address(BusId(f"line-{part}"))
        )
        for part, model in PARTS.items()
    )
    made = site_plan.SitePlan(
        v=1,
        property=site_plan.Property(PropertyId("aurora"), "Hotel Aurora", "Europe/Vienna", "northlight"),
        edge=EdgeId("e-1"),
        rooms=(
            site_plan.Room(RoomId("101"), 1, "guest_room", "double"),
            site_plan.Room(RoomId("lobby"), 0, "common", "lobby"),
        ),
        devices=devices,
        buses=buses,
    )
    return site_plan.parse(site_plan.encode(made))


@asynccontextmanager
async def kiosk_house(lobby: Lobby, folder: Path) -> AsyncIterator[KioskHouse]:
    """Run the house, joined to the lobby's cloud: its commands reach it, as long as the line is there."""
    catalogue = {
        each: msgspec.structs.replace(
            CATALOGUE[each], wire=msgspec.structs.replace(CATALOGUE[each].wire, poll_s=0.1, answer_wait_ms=5_000)
        )
        for each in map(DescriptorId, PARTS.values())
    }
    plan, clock = _plan(), ManualClock(wall_ms=T0)
    building = Building(clock, path=folder / "edge.db")
    building.house.plan, encoder = plan, Encoder()
    building.house.desk._cards = encoder
    stay = a_stay(STAY, guest_name="Anna Berger", reservation="N-r1")
    await building.house.desired("stays", 1, a_document(stay))
    async with AsyncExitStack() as stack:
        things = await stack.enter_async_context(field(plan, catalogue=catalogue))
        peripherals = {bus.device: bus for bus in things.buses if isinstance(bus, PeripheralSupervisor)}
        log = building.log

        class Kept:
            async def append(self, lane: Lane, kind: str, body: Mapping[str, Any]) -> int:
                return await log.append(lane, kind, body)

            async def append_once(self, source: str, position: int, lane: Lane, entry: Entry) -> int | None:
                return await log.append_once(source, position, lane, entry)

        kiosks = make_kiosks(
            KioskSettings(origins=(lobby.address,), encoders={"lobby": "enc-1"}),
            house=building.house,
            descriptors=catalogue,
            peripheral=peripherals.get,
            store=building.store,
            documents=building.restored.documents,
            log=Kept(),
            cut_off=lambda: house.is_cut_off,
            property_id=PropertyId("aurora"),
            token=TOKEN,
            clock=things.clock,
            dice=SeededDice("kiosk"),
        )
        house = KioskHouse(lobby, building, kiosks, things, encoder)
        told = HouseBuilding(building.house, plan=plan, link=dict, devices=list, clock=clock)
        app = make_app(
            told,
            token="h" * 64,
            health=Health(clock),
            metrics=Metrics("test"),
            clock=clock,
            dice=SeededDice(1),
            routes=kiosks.routes(),
            tokens={KIOSK: TOKEN},
        )
        port = await stack.enter_async_context(serving(KioskOrigins(app, [lobby.address])))
        house.address = f"http://127.0.0.1:{port}"
        lobby.known = (*lobby.known, house.address)
        edges, obey = lobby.desk.site.edges, obeying(building.house, None, kiosks.keys)

        async def send(
            edge: str, kind: str, args: dict[str, Any], idempotency_key: str, deadline_ms: int, *, command_id: str
        ) -> CommandResult:
            assert edge == AURORA.edge
            order = CommandEnvelope(EdgeId(edge), command_id, idempotency_key, kind, args, deadline_ms, deadline_ms)
            said = dict(await obey(order))
            return CommandResult(Phase(said["phase"]), said, said.get("reason"))

        edges.send = send  # type: ignore[method-assign]  # the house in place of the fake
        await house.until_known()
        async with httpx.AsyncClient(base_url=house.address) as http:
            assert (await http.get("/api/v1/kiosk")).status_code == 401
        yield house
        for tab in lobby.tabs:
            await tab.page.goto("about:blank")  # a house that is closing answers no page, and browsers complain of that
        await kiosks.desk.settle()
    await building.store.close()
