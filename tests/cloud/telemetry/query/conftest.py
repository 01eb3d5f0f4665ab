"""The telemetry API over a fresh database, asked in this loop without a socket."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest
from litestar import Litestar

from cloud.kit.database import Connection, Database
from cloud.kit.notify import NotificationHub
from cloud.platform.principals import AccessToken, Principal, Principals, Role
from cloud.platform.properties import Property
from cloud.public.app import build
from cloud.public.gate import Gate, property_for
from cloud.telemetry.query_live import LiveFeeds
from cloud.telemetry.query_reader import QueryReader
from cloud.telemetry.query_routes import Caller, telemetry_routes
from cloud.telemetry.store.plain import PlainStore
from cloud.telemetry.store.port import ReadingRow, Retention, Scalar, TimeSource
from kit.clock import ManualClock
from kit.dice import SystemDice
from tests.cloud.asgi import in_process
from tests.cloud.houses import AURORA, BOREALIS, NOW_MS, open_house


def token(name: str) -> str:
    return f"{name}-token-0123456789-0123456789-0123456789"


def _known(name: str, tenant: str, properties: frozenset[str] | None = None) -> AccessToken:
    principal = Principal(name, tenant, Role.VIEWER, properties)
    return AccessToken(hashlib.sha256(token(name).encode()).digest(), principal)


@dataclass
class GateFence:
    """The gate as a fence; `ended` ends every session."""

    ended: bool = False

    async def owned(self, connection: Connection, caller: Caller, property_id: str) -> Property:
        return await property_for(connection, caller.user, property_id)

    async def may_stay(self, caller: Caller) -> bool:
        return not self.ended


@dataclass
class Desk:
    """The API and what is behind it."""

    app: Litestar
    http: httpx.AsyncClient
    database: Database
    store: PlainStore
    hub: NotificationHub
    clock: ManualClock
    fence: GateFence
    _seq: int = field(default=0)

    def as_(self, name: str) -> dict[str, str]:
        """Return the headers of viewer (Northlight), other (Southwind) or narrow (Northlight, not Aurora)."""
        return {"Authorization": f"Bearer {token(name)}"}

    async def get(self, what: str, name: str = "viewer", house: str = "aurora", **arguments: str) -> httpx.Response:
        path = f"/api/v1/properties/{house}/telemetry/{what}"
        return await self.http.get(path, params=arguments, headers=self.as_(name))

    async def ok(self, what: str, **arguments: str) -> dict[str, Any]:
        answer = await self.get(what, **arguments)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def reading(
        self,
        at_ms: int,
        value: Scalar | None,
        *,
        device: str = "meter-101",
        room: str | None = "101",
        capability: str = "electrical_measurement",
        attribute: str = "active_power",
        quality: str = "good",
        house: Property = AURORA,
    ) -> ReadingRow:
        self._seq += 1
        return ReadingRow(
            house.tenant, house.id, room, device, capability, attribute, "W", at_ms, at_ms, value, quality,
            TimeSource.SYNCHRONISED, 1, self._seq,
        )  # fmt: skip

    async def write(self, *rows: ReadingRow) -> None:
        async with self.database.transaction() as connection:
            await self.store.write(connection, rows)

    async def settle(self) -> None:
        while (report := await self.store.run_maintenance(self.clock.wall_ms())).more or report.rolled_up:
            pass


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    for house in (AURORA, BOREALIS):
        await open_house(database, house)
    clock, hub, fence = ManualClock(wall_ms=NOW_MS), NotificationHub(""), GateFence()
    principals = Principals(
        [
            _known("viewer", "northlight"),
            _known("other", "southwind"),
            _known("narrow", "northlight", frozenset({"elsewhere"})),
        ],
        dice=SystemDice(),
    )
    store = PlainStore(database, retention=Retention(raw=timedelta(days=5)))
    gate = Gate(principals, database, clock=clock, origins=frozenset())
    reader = QueryReader(database, store, clock=clock)
    feeds = LiveFeeds(database, hub)
    app = build(gate, [telemetry_routes(reader, feeds, database, fence=fence, clock=clock)])
    async with httpx.AsyncClient(transport=in_process(app), base_url="http://cloud.test") as http:
        yield Desk(app, http, database, store, hub, clock, fence)
