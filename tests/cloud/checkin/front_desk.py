"""A house with stays that can be checked in, over HTTP: what the tests of the session and of its page stand on."""

from typing import Any

import httpx

from cloud.kit.database import execute, fetch_all
from cloud.kit.times import at
from cloud.stays.reservation import Housekeeping, Reservation, RoomCondition
from cloud.stays.stays import set_conditions, stay_id, upsert_reservations
from protocols.policy import check_in
from protocols.policy.check_in import CheckInPolicy, StepKind
from tests.cloud.edges import done
from tests.cloud.houses import AURORA, NOW_MS, PLACE, reservation
from tests.cloud.public.conftest import Site

STAY, OTHER = stay_id(AURORA.id, "mews", "r1"), stay_id(AURORA.id, "mews", "r2")
HERE, THERE = f"/api/v1/properties/aurora/stays/{STAY}", f"/api/v1/properties/aurora/stays/{OTHER}"
PHONE, THIEF = "02" + "ab" * 32, "03" + "cd" * 32
ANNA = {"surname": "Berger", "given_names": "Anna", "birth_date": "1980-05-01", "nationality": "AUT"}
POLICY = CheckInPolicy(
    v=1,
    jurisdiction="AUT",
    steps=(StepKind.IDENTITY, StepKind.DOCUMENT, StepKind.REGISTRATION_CARD, StepKind.TERMS, *check_in.LAST),
    terms="2026-1",
)


class Desk:
    """A house with one stay that can be checked in."""

    def __init__(self, site: Site) -> None:
        self.site = site
        site.edges.obey = lambda _kind, _args: done({"bundle": {"v": 1, "doors": []}})

    async def book(self, *items: Reservation) -> None:
        async with self.site.database.transaction() as connection:
            await upsert_reservations(connection, PLACE, items or [single()], now_ms=NOW_MS)

    async def policy(self, policy: CheckInPolicy = POLICY, version: int = 1) -> None:
        async with self.site.database.transaction() as connection:
            await execute(
                connection,
                """INSERT INTO policy.wanted (property, kind, tenant, edge, version, body, signed, wanted_at)
                   VALUES ('aurora', 'check_in', 'northlight', %s, %s, %s, '', %s)
                   ON CONFLICT (property, kind) DO UPDATE SET version = excluded.version, body = excluded.body""",
                [AURORA.edge, version, check_in.encode(policy), at(NOW_MS)],
            )

    async def link(self, path: str = HERE) -> dict[str, str]:
        answer = await self.site.http.post(f"{path}/guest-links", headers=self.site.as_("staff"))
        assert answer.status_code == 201, answer.text
        assert answer.json()["path"] == f"/guest/#check-in=aurora/{path.rpartition('/')[2]}/{answer.json()['token']}"
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    async def post(self, path: str, body: object, who: dict[str, str]) -> httpx.Response:
        return await self.site.http.post(path, json=body, headers=who)

    async def keys(self, who: dict[str, str], phone: str = PHONE, key: str = "k", path: str = HERE) -> httpx.Response:
        return await self.post(f"{path}/check-in", {"phone_public_key": phone, "idempotency_key": key}, who)

    async def anna(self, who: dict[str, str], facts: dict[str, str] | None = None, slot: str = "g1") -> httpx.Response:
        return await self.site.http.put(f"{HERE}/session/guests/{slot}", json=facts or ANNA, headers=who)

    async def condition(self, status: Housekeeping, at_ms: int, room: str = "101") -> None:
        async with self.site.database.transaction() as connection:
            await set_conditions(connection, PLACE, [RoomCondition(room, status, at_ms)], now_ms=at_ms)

    async def rows(self, query: Any) -> list[dict[str, Any]]:
        async with self.site.database.transaction() as connection:
            return await fetch_all(connection, query)


def single(external_id: str = "r1", *, room: str = "101", **changes: Any) -> Reservation:
    booked = reservation(external_id, room=room, **changes)
    return Reservation(**{name: getattr(booked, name) for name in booked.__slots__} | {"adults": 1})
