"""What tests of guests say: a second hotel of the tenant, stays, and keys to seal with."""

from collections.abc import Sequence
from typing import Any, LiteralString

from cloud.guests.profile import SaidGuest, profile_id
from cloud.guests.profiles import Kept, Profiles
from cloud.kit.database import Database, execute, fetch_all
from cloud.platform.properties import Property
from cloud.privacy.sealing import Sealer
from cloud.privacy.wrapping import FileKeys
from cloud.stays.reservation import PmsStatus
from cloud.stays.stays import Place, stay_id, upsert_reservations
from kit.dice import SystemDice
from tests.cloud.houses import AURORA, DAY_MS, NOW_MS, reservation

CORONA = Property("corona", AURORA.tenant, "Hotel Corona", "America/New_York", "e-corona00000000001")
SEALER = Sealer(FileKeys({"test": bytes(32)}, dice=SystemDice()), dice=SystemDice())
PROFILES = Profiles(SEALER)


def said(reservation_id: str, guest: str, name: str | None = "Anna Berger", until_ms: int = NOW_MS) -> SaidGuest:
    return SaidGuest(reservation_id, guest, name, until_ms)


async def read(
    database: Database,
    *told: SaidGuest,
    house: Property = AURORA,
    system: str = "mews",
    now_ms: int = NOW_MS,
    profiles: Profiles = PROFILES,
) -> Kept:
    """Let a PMS tell of guests."""
    async with database.transaction() as connection:
        return await profiles.keep(
            connection, tenant=house.tenant, property_id=house.id, system=system, said=told, now_ms=now_ms
        )


async def stayed(
    database: Database,
    name: str,
    guest: str,
    *,
    days_ago: int,
    status: PmsStatus = PmsStatus.LEFT,
    house: Property = AURORA,
    room: str | None = "101",
    hours: int = 0,
) -> str:
    """Let a guest have booked a night so long ago; return the stay."""
    from_ms = NOW_MS - days_ago * DAY_MS + hours * 3_600_000
    booked = reservation(name, status=status, room=room, arrival_ms=from_ms, departure_ms=from_ms + DAY_MS)
    async with database.transaction() as connection:
        await upsert_reservations(connection, Place(house.tenant, house.id, house.edge), [booked], now_ms=NOW_MS)
    await read(database, said(name, guest, until_ms=from_ms + DAY_MS), house=house)
    return stay_id(house.id, "mews", name)


async def share(database: Database, *houses: Property, system: str = "mews", name: str = "chain") -> None:
    """Let an operator have written down that houses share their guests."""
    async with database.transaction() as connection:
        for house in houses:
            await execute(
                connection,
                "INSERT INTO guests.directory (property, system, tenant, name) VALUES (%s, %s, %s, %s)",
                [house.id, system, house.tenant, name],
            )


async def rows(database: Database, query: LiteralString, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
    async with database.transaction() as connection:
        return await fetch_all(connection, query, parameters)


def ours(guest: str, house: Property = AURORA, system: str = "mews") -> str:
    return profile_id(house.id, system, guest)
