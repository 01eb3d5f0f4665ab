"""Reads a property for the API: one snapshot an answer, so that an answer is of one moment."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from cloud.access.doors import AccessEvent, door_states, events_after
from cloud.alerts import alerts
from cloud.fleet.link_state import LinkState, Patience, link_state
from cloud.kit.database import Connection, Database
from cloud.kit.times import at, unix_ms
from cloud.platform.properties import Property
from cloud.public import schema
from cloud.public.views import alert_view, link_view, property_view, rooms_view
from cloud.stays.listing import stays_in_conflict, stays_in_rooms
from cloud.stays.rooms import rooms_of
from cloud.telemetry.service import latest, link_health

EVENTS_SHOWN: Final = 50
CONFLICTS_AHEAD: Final = timedelta(days=3)
"""How long before it begins a stay's conflict is shown at its room: as far as the edge looks."""


class WallClock(Protocol):
    """What reading needs of a clock."""

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC."""
        ...


@dataclass(frozen=True, slots=True)
class Moment:
    """A property at one moment: what the live stream starts from and compares with."""

    rooms: tuple[schema.Room, ...]
    link: schema.Link
    events: tuple[AccessEvent, ...]
    """The newest ones, in order of arrival."""
    alerts: tuple[schema.Alert, ...] = ()
    """Those that are up, the last to arrive first."""


class PropertyReader:
    """Puts together what the modules know of a property."""

    def __init__(self, database: Database, *, clock: WallClock, patience: Patience) -> None:
        """Judge lines with `patience`."""
        self._database, self._clock, self._patience = database, clock, patience

    async def summary(self, connection: Connection, found: Property) -> schema.Property:
        """Return a hotel with its line."""
        rooms = await rooms_of(connection, tenant=found.tenant, property_id=found.id)
        link, _ = await self._link(connection, found)
        return property_view(found, len(rooms), link)

    async def rooms(self, connection: Connection, found: Property) -> list[schema.Room]:
        """Return every room as last known."""
        _, state = await self._link(connection, found)
        return await self._rooms(connection, found, state)

    async def moment(self, found: Property) -> Moment:
        """Return everything a live page shows."""
        async with self._database.snapshot() as connection:
            link, state = await self._link(connection, found)
            rooms = await self._rooms(connection, found, state)
            events = await events_after(
                connection, tenant=found.tenant, property_id=found.id, after_id=0, most=EVENTS_SHOWN
            )
            up = await alerts.standing(connection, tenant=found.tenant, property_id=found.id)
        return Moment(
            rooms=tuple(rooms), link=link, events=tuple(events), alerts=tuple(alert_view(each) for each in up)
        )

    async def _link(self, connection: Connection, found: Property) -> tuple[schema.Link, LinkState]:
        health = await link_health(connection, tenant=found.tenant, property_id=found.id)
        if health is not None and health.edge != found.edge:
            health = None  # the plan names another edge than the one heard last: that one was never heard
        state = link_state(
            None if health is None else unix_ms(health.last_heard_at),
            now_ms=self._clock.wall_ms(),
            patience=self._patience,
        )
        return link_view(health, found.edge, state), state

    async def _rooms(self, connection: Connection, found: Property, state: LinkState) -> list[schema.Room]:
        now = at(self._clock.wall_ms())
        return rooms_view(
            await rooms_of(connection, tenant=found.tenant, property_id=found.id),
            await latest(connection, tenant=found.tenant, property_id=found.id),
            await door_states(connection, tenant=found.tenant, property_id=found.id),
            await stays_in_rooms(connection, tenant=found.tenant, property_id=found.id, now=now),
            link=state,
            conflicts=await stays_in_conflict(
                connection, tenant=found.tenant, property_id=found.id, before=now + CONFLICTS_AHEAD
            ),
        )
