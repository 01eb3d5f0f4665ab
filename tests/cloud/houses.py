"""Two hotels of two tenants, and the records, reservations and moments that tests speak of."""

import msgspec

from cloud.app.plan import load_property
from cloud.kit.database import Database
from cloud.platform.properties import Property
from cloud.stays.reservation import Housekeeping, PmsStatus, Reservation, RoomCondition
from cloud.stays.stays import Place, set_conditions
from protocols.device_model.site_plan import SitePlan, parse

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOW_MS = 1_795_000_000_000  # 2026-11-18

AURORA = Property("aurora", "northlight", "Hotel Aurora", "Europe/Vienna", "e-aurora0000000001")
BOREALIS = Property("borealis", "southwind", "Hotel Borealis", "Europe/Oslo", "e-borealis000000001")
PLACE = Place(AURORA.tenant, AURORA.id, AURORA.edge)
ROOMS = ("101", "102", "103")

_KEYS = (
    "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5",
    "023ed113b7883b4c590638379db0c21cda16742ed0255048bf433391d374bc21d1",
    "02e493dbf1c10d80f3581e4904930b1404cc6c13900ee0758474fa94abe8c4cd13",
)


def plan_of(house: Property, *, rooms: tuple[str, ...] = ROOMS, name: str | None = None) -> SitePlan:
    """Return a plan with one door a room."""
    return parse(
        msgspec.json.encode(
            {
                "v": 1,
                "property": {
                    "id": house.id, "name": name or house.name, "zone": house.zone, "tenant": house.tenant
                },
                "edge": house.edge,
                "rooms": [{"id": room, "floor": 1, "kind": "guest_room", "type": "double"} for room in rooms],
                "buses": [{"id": "ble", "kind": "ble"}],
                "doors": [
                    {
                        "id": f"door-{room}", "room": room, "number": int(room),
                        "lock": f"{index:016x}", "s_lock": _KEYS[index % len(_KEYS)],
                    }
                    for index, room in enumerate(rooms)
                ],
            }
        )
    )  # fmt: skip


async def open_house(database: Database, house: Property = AURORA, *, clean: bool = True) -> None:
    """Load a hotel; with `clean`, housekeeping has inspected every room."""
    await load_property(database, plan_of(house), now_ms=NOW_MS)
    if clean:
        async with database.transaction() as connection:
            await set_conditions(
                connection,
                Place(house.tenant, house.id, house.edge),
                [RoomCondition(room, Housekeeping.INSPECTED, NOW_MS) for room in ROOMS],
                now_ms=NOW_MS,
            )


def reservation(
    external_id: str = "r1",
    *,
    status: PmsStatus = PmsStatus.BOOKED,
    room: str | None = "101",
    arrival_ms: int = NOW_MS - HOUR_MS,
    departure_ms: int = NOW_MS + DAY_MS,
    updated_ms: int = NOW_MS,
    guest_name: str = "Anna Berger",
) -> Reservation:
    """Return a reservation of today, by default of room 101."""
    return Reservation(
        system="mews",
        external_id=external_id,
        number=f"N-{external_id}",
        status=status,
        room=room,
        guest_name=guest_name,
        arrival_ms=arrival_ms,
        departure_ms=departure_ms,
        adults=2,
        children=None,
        updated_ms=updated_ms,
    )
