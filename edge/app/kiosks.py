"""Joins the kiosks: their peripherals' desk, keys on cards, visits while the house is cut off, and their routes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from litestar import Router

from edge.api.kiosk_routes import kiosk_routes
from edge.api.kiosk_visit_routes import kiosk_visit_routes
from edge.api.phone_code_routes import phone_code_routes
from edge.app.edge_store import EdgeStore
from edge.app.house import House
from edge.app.kiosk_desk import RECORD, KioskDesk
from edge.app.kiosk_keys import KioskKeys
from edge.app.kiosk_phones import SOURCE, KioskPhones
from edge.app.kiosk_places import KioskPlace, places_of
from edge.app.live_buses import Peripheral
from edge.app.settings import KioskSettings
from edge.checkin.kiosk_visits import KioskVisits
from edge.log.record_log import Entry
from kit.clock import Clock
from kit.dice import Dice
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.identity import DescriptorId, DeviceId, PropertyId
from protocols.link.lanes import Lane


class Records(Protocol):
    """The record log, as far as kiosks write to it."""

    async def append(self, lane: Lane, kind: str, body: Mapping[str, Any]) -> int:
        """Append a record. Raises StoreFailedError."""
        ...

    async def append_once(self, source: str, position: int, lane: Lane, entry: Entry) -> int | None:
        """Append a record unless one of this position, or a later one, is there. Raises StoreFailedError."""
        ...


@dataclass(frozen=True, slots=True)
class Kiosks:
    """What the edge does for the screens in its lobby; `token` is theirs."""

    desk: KioskDesk
    keys: KioskKeys
    phones: KioskPhones
    visits: KioskVisits | None
    places: Callable[[], Mapping[str, KioskPlace]]
    property: PropertyId
    token: str
    clock: Clock

    def routes(self) -> list[Router]:
        """Return their routes."""
        told = kiosk_routes(
            self.desk,
            clock=self.clock,
            places=lambda: [each.to_body() for each in self.places().values()],
            alone=self.visits is not None,
        )
        if self.visits is None:
            return [told]
        return [
            told,
            kiosk_visit_routes(self.visits, self.phones, property_id=self.property),
            phone_code_routes(self.phones, property_id=self.property),
        ]

    async def catch_up(self) -> None:
        """Keep what a life before could not; call once at the start. Raises StoreFailedError: it is kept later."""
        await self.desk.catch_up()
        await self.phones.catch_up()


def make_kiosks(
    settings: KioskSettings,
    *,
    house: House,
    descriptors: Mapping[DescriptorId, Descriptor],
    peripheral: Callable[[DeviceId], Peripheral | None],
    store: EdgeStore,
    documents: Mapping[str, bytes],
    log: Records,
    cut_off: Callable[[], bool],
    property_id: PropertyId,
    token: str,
    clock: Clock,
    dice: Dice,
) -> Kiosks:
    """Return the kiosks of a house.

    Args:
        settings: [kiosk].
        house: Who decides.
        descriptors: Every model.
        peripheral: The supervisor of a device.
        store: Where orders survive, with what it held in `documents`.
        documents: See `store`.
        log: The record log.
        cut_off: Whether the house has no line to its cloud now.
        property_id: Ours.
        token: Of the kiosks' routes.
        clock: Wall time.
        dice: For names.
    """

    def places() -> dict[str, KioskPlace]:
        return places_of(house.plan, descriptors, settings.encoders)

    async def once(number: int, body: Mapping[str, Any]) -> None:
        await log.append_once(RECORD, number, Lane.A, Entry(RECORD, body))

    async def taken(number: int, body: Mapping[str, Any]) -> None:
        await log.append_once(SOURCE, number, Lane.A, Entry(RECORD, body))

    async def note(body: Mapping[str, Any]) -> None:
        await log.append(Lane.A, RECORD, body)

    desk = KioskDesk(peripheral=peripheral, store=store, documents=documents, clock=clock, dice=dice, note=once)
    keys = KioskKeys(desk, house.desk, places)
    phones = KioskPhones(
        house.desk,
        replica=lambda: house.keeper.replica,
        rooms=frozenset() if house.plan is None else frozenset(door.room for door in house.plan.doors),
        store=store,
        documents=documents,
        note=taken,
        clock=clock,
        dice=dice,
    )
    visits: KioskVisits | None = None
    if settings.alone and house.plan is not None:
        about = house.plan.property
        visits = KioskVisits(
            replica=lambda: house.keeper.replica,
            policy=lambda: house.check_in_policy,
            cut_off=cut_off,
            cards=keys.gives,
            give=keys.give,
            phones=phones,
            note=note,
            house=(about.id, about.name, about.zone),
            where=house.where,
            clock=clock,
            dice=dice,
        )
    return Kiosks(desk, keys, phones, visits, places, property_id, token, clock)
