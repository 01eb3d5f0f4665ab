"""What the desk sees of a guest's key, and what a guest may be told of his room: his time there and nobody else's."""

from typing import Any

import pytest

from cloud.access.doors import AccessFact, apply_facts
from cloud.kit.times import at, iso
from cloud.platform.access_policy import may
from cloud.platform.principals import Principal, Role
from cloud.stays.life import EdgeState
from cloud.stays.stays import EdgeFact, apply_edge_facts, stay_id, upsert_reservations
from tests.cloud.houses import AURORA, HOUR_MS, NOW_MS, PLACE, reservation
from tests.cloud.public.conftest import Site

pytestmark = pytest.mark.tier("postgres")
STAY = stay_id(AURORA.id, "mews", "r1")
HERE = f"/api/v1/properties/aurora/stays/{STAY}"
CAME_MS = NOW_MS + HOUR_MS
LEFT_MS = NOW_MS + 20 * HOUR_MS
MINUTE_MS = 60_000


def told(
    seq: int, at_ms: int, stay: str | None = STAY, *, room: str | None = "101", event: str = "opened", **changes: Any
) -> AccessFact:
    facts: dict[str, Any] = {
        "incarnation": b"i" * 16,
        "seq": seq,
        "door": "pool" if room is None else f"door-{room}",
        "room": room,
        "lock": "00000000000000cc" if room is None else f"0000000000000{room}",
        "lock_seq": seq,
        "at_ms": at_ms,
        "time_quality": "synchronised",
        "event": event,
        "reason": None if event == "opened" else "expired",
        "grant": "aa" * 8,
        "stay": stay,
        "generation": 3,
        "battery": None,
    }
    return AccessFact(**facts | changes)


async def hear(site: Site, *facts: AccessFact, edge: EdgeState | None = None, at_ms: int = CAME_MS) -> None:
    async with site.database.transaction() as connection:
        await apply_facts(
            connection,
            tenant=AURORA.tenant,
            property_id=AURORA.id,
            edge=AURORA.edge,
            facts=facts,
            now_ms=LEFT_MS + HOUR_MS,
        )
        if edge is not None:
            order = 1 if edge is EdgeState.CHECKED_IN else 2
            fact = EdgeFact(STAY, edge, "101", "cloud:staff", at_ms, incarnation=b"i" * 16, seq=order)
            await apply_edge_facts(connection, PLACE, [fact], now_ms=at_ms)


@pytest.fixture
async def site(site: Site) -> Site:
    async with site.database.transaction() as connection:
        await upsert_reservations(connection, PLACE, [reservation()], now_ms=NOW_MS)
    return site


async def read(site: Site, who: str = "staff") -> dict[str, Any]:
    answer = await site.http.get(f"{HERE}/door-log", headers=site.as_(who))
    assert answer.status_code == 200, answer.text
    log: dict[str, Any] = answer.json()
    return log


@pytest.mark.requirement("A14")
async def test_the_desk_sees_when_the_key_of_a_stay_first_opened_a_door(site: Site) -> None:
    async def shown() -> list[str | None]:
        listed = await site.http.get("/api/v1/properties/aurora/stays", headers=site.as_("staff"))
        alone = await site.http.get(HERE, headers=site.as_("staff"))
        return [alone.json()["first_opened_at"], *(stay["first_opened_at"] for stay in listed.json()["stays"])]

    await hear(site, told(1, CAME_MS, event="refused"), told(2, CAME_MS, "s-other"), told(3, CAME_MS, None))
    assert await shown() == [None, None], "a refusal, another's key and the staff's are not the guest's first opening"
    first_ms = CAME_MS + 7 * MINUTE_MS
    await hear(site, told(9, first_ms + 5), told(8, first_ms), told(7, first_ms + MINUTE_MS, room=None))
    assert await shown() == [iso(at(first_ms))] * 2, "whatever order the doors told it in"


@pytest.mark.requirement("A16")
async def test_a_guest_gets_his_own_time_in_the_room_and_no_other_guests(site: Site) -> None:
    await hear(site, edge=EdgeState.CHECKED_IN)
    await hear(
        site,
        told(1, CAME_MS - MINUTE_MS, "s-before"),
        told(2, CAME_MS + MINUTE_MS),
        told(3, CAME_MS + 2 * MINUTE_MS, None),  # the maid
        told(4, CAME_MS + 3 * MINUTE_MS, "s-wrong", event="refused"),
        told(6, CAME_MS + 4 * MINUTE_MS, None, grant=None, event="privacy_on"),
        told(7, LEFT_MS + MINUTE_MS, "s-after"),
        told(8, CAME_MS + 5 * MINUTE_MS, room=None),
        told(9, CAME_MS + 5 * MINUTE_MS, "s-wrong", room=None),
        told(10, CAME_MS + 5 * MINUTE_MS, "s-wrong", room="102"),
    )
    await hear(site, edge=EdgeState.CHECKED_OUT, at_ms=LEFT_MS)
    log = await read(site)
    assert [(each["lock_seq"], each["door"], each["key"]) for each in log["entries"]] == [
        (2, "door-101", "guest"),
        (3, "door-101", "house"),
        (4, "door-101", "other_stay"),
        (6, "door-101", "none"),
        (8, "pool", "guest"),
    ]
    assert log["missing"] == [{"door": "door-101", "count": 1}], "the fifth entry of the chain has not come"
    assert (log["came_at"], log["left_at"], log["truncated"]) == (iso(at(CAME_MS)), iso(at(LEFT_MS)), False)
    assert not {"s-wrong", "grant", "aa" * 8} & set(str(log["entries"]).replace("'", " ").split()), "no names of others"


@pytest.mark.requirement("A16")
async def test_who_was_moved_gets_each_room_only_while_it_was_his(site: Site) -> None:
    await hear(site, edge=EdgeState.CHECKED_IN)
    await hear(
        site,
        told(1, CAME_MS + 1 * MINUTE_MS, "s-next"),  # the new room, before he was moved there
        told(2, CAME_MS + 2 * MINUTE_MS, room="102"),
        told(3, CAME_MS + 3 * MINUTE_MS, None, room="102"),
        told(4, CAME_MS + 4 * MINUTE_MS, room="102"),
        told(5, CAME_MS + 5 * MINUTE_MS),
        told(6, CAME_MS + 6 * MINUTE_MS, "s-next", room="102"),
        told(7, CAME_MS + 7 * MINUTE_MS, None),
    )
    assert [each["lock_seq"] for each in (await read(site))["entries"]] == [2, 3, 4, 5, 7]


@pytest.mark.requirement("A16")
async def test_the_log_is_the_desks_to_give(site: Site) -> None:
    assert (await read(site))["entries"] == [], "who has not come has no log"
    for name, status in (("viewer", 403), ("other", 404), ("narrow", 404)):
        answer = await site.http.get(f"{HERE}/door-log", headers=site.as_(name))
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
    absent = await site.http.get("/api/v1/properties/aurora/stays/s-none/door-log", headers=site.as_("staff"))
    assert absent.status_code == 404
    guest = Principal("guest:s-1", "northlight", Role.GUEST, frozenset({AURORA.id}), account="link", stay=STAY)
    assert not may(guest, "stay.door_log", AURORA.id, STAY).allowed
