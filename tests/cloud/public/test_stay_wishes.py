"""A stay tells what its PMS is being told of it, what a person has to do there, and what could not be told."""

from typing import Any, Final

import pytest

from cloud.kit.database import execute
from cloud.kit.times import at, iso
from cloud.pms.port import PmsAction
from cloud.stays.ending import EndWord, Promise
from cloud.stays.life import EdgeState
from cloud.stays.reservation import PmsStatus
from cloud.stays.stays import EdgeFact, Place, apply_edge_facts, apply_end_words, stay_id, upsert_reservations
from tests.cloud.checkin.front_desk import OTHER, STAY, Desk, single
from tests.cloud.houses import AURORA, BOREALIS, DAY_MS, NOW_MS, PLACE, open_house
from tests.cloud.public.conftest import Site

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("PMS-19", "PMS-22")]
SINCE: Final = iso(at(NOW_MS))


async def wishes(site: Site, stay: str = STAY) -> list[dict[str, Any]]:
    answer = (await site.http.get("/api/v1/properties/aurora/stays", headers=site.as_("viewer"))).json()["stays"]
    [listed] = [each["pms_wishes"] for each in answer if each["id"] == stay]
    alone = await site.http.get(f"/api/v1/properties/aurora/stays/{stay}", headers=site.as_("viewer"))
    assert alone.json()["pms_wishes"] == listed
    return list(listed)


async def wished(
    site: Site, action: PmsAction, state: str, *, cause: int, stay: str = STAY, tenant: str = AURORA.tenant, **said: Any
) -> None:
    async with site.database.transaction() as connection:
        await execute(
            connection,
            """INSERT INTO pms.write_intent (property, system, tenant, action, external_id, target, stay, cause_event,
                                             state, not_before, created_at, attempts, unread_since, last_error)
               VALUES (%s, 'mews', %s, %s, 'r1', NULL, %s, %s, %s, now(), %s, %s, %s, %s)""",
            [
                AURORA.id, tenant, action.value, stay, cause, state, at(NOW_MS), said.get("attempts", 0),
                said.get("unread_since"), said.get("reason"),
            ],
        )  # fmt: skip


async def test_what_waits_is_told_with_its_reason_and_what_is_done_is_not(site: Site) -> None:
    desk = Desk(site)
    await desk.book()
    assert await wishes(site) == []
    await wished(site, PmsAction.ASSIGN_ROOM, "done", cause=1)
    await wished(site, PmsAction.SET_DEPARTURE, "overtaken", cause=2)
    await wished(
        site, PmsAction.CHECK_IN, "pending", cause=3, unread_since=at(NOW_MS + 1_000), reason="eZee: no answer"
    )
    await wished(site, PmsAction.CHECK_OUT, "by_hand", cause=4, attempts=2)
    await wished(site, PmsAction.CHECK_IN, "pending", cause=5, stay=OTHER)
    assert await wishes(site) == [
        {
            "what": "check_in", "state": "pending", "since": SINCE, "attempts": 0,
            "unread_since": iso(at(NOW_MS + 1_000)), "reason": "eZee: no answer",
        },
        {
            "what": "check_out", "state": "by_hand", "since": SINCE, "attempts": 2, "unread_since": None,
            "reason": None,
        },
    ]  # fmt: skip


async def test_what_failed_is_shown_until_the_pms_has_it_by_another_hand(site: Site) -> None:
    desk = Desk(site)
    await desk.book()
    await wished(site, PmsAction.CHECK_IN, "failed", cause=1, attempts=3, reason="the PMS refused with 403")
    assert [(each["what"], each["state"], each["attempts"]) for each in await wishes(site)] == [
        ("check_in", "failed", 3)
    ]
    await desk.book(single(status=PmsStatus.IN_HOUSE, updated_ms=NOW_MS + 1))
    assert await wishes(site) == []
    await wished(site, PmsAction.CHECK_OUT, "failed", cause=2, attempts=3)
    assert [each["what"] for each in await wishes(site)] == ["check_out"]
    await wished(site, PmsAction.CHECK_OUT, "pending", cause=3)
    assert [each["state"] for each in await wishes(site)] == ["pending"], "of one kind the newest"


async def test_a_departure_that_could_not_be_told_is_shown_beside_a_graver_conflict(site: Site) -> None:
    """The PMS moved the guest as well: what is shown of the stay is the room; what the PMS was not told is so still."""
    desk = Desk(site)
    await desk.book()
    until_ms = single().departure_ms
    async with site.database.transaction() as connection:
        came = EdgeFact(STAY, EdgeState.CHECKED_IN, "101", "Frau Maier", NOW_MS, b"\x01" * 16, 1)
        await apply_edge_facts(connection, PLACE, [came], now_ms=NOW_MS)
        word = EndWord(STAY, 1, Promise(until_ms + 3 * DAY_MS, until_ms), "Frau Maier", NOW_MS)
        await apply_end_words(connection, PLACE, [word], now_ms=NOW_MS)
    await wished(site, PmsAction.SET_DEPARTURE, "failed", cause=1, attempts=3)
    assert [each["what"] for each in await wishes(site)] == ["set_departure"]
    await desk.book(single(room="102", status=PmsStatus.IN_HOUSE, updated_ms=NOW_MS + 1))
    listed = await site.http.get(f"/api/v1/properties/aurora/stays/{STAY}", headers=site.as_("viewer"))
    assert listed.json()["conflict"] == "other_room"
    assert [each["what"] for each in await wishes(site)] == ["set_departure"]
    await desk.book(single(status=PmsStatus.IN_HOUSE, departure_ms=until_ms + 3 * DAY_MS, updated_ms=NOW_MS + 2))
    assert await wishes(site) == [], "somebody entered it there"


async def test_who_left_days_ago_stays_in_the_list_until_the_pms_has_been_told(site: Site) -> None:
    desk = Desk(site)
    await desk.book()

    async def left(days: int) -> None:
        async with site.database.transaction() as connection:
            until = at(NOW_MS - days * DAY_MS)
            await execute(
                connection,
                "UPDATE stays.stay SET state = 'left', expected_from = %s, expected_until = %s",
                [at(NOW_MS - (days + 1) * DAY_MS), until],
            )

    async def listed() -> list[str]:
        answer = await site.http.get("/api/v1/properties/aurora/stays", headers=site.as_("viewer"))
        return [each["id"] for each in answer.json()["stays"]]

    await left(3)
    assert await listed() == []
    await wished(site, PmsAction.CHECK_OUT, "failed", cause=1, attempts=3)
    assert await listed() == [STAY]
    await desk.book(single(status=PmsStatus.LEFT, updated_ms=NOW_MS + 1))
    await left(3)
    assert await listed() == [], "somebody entered it there"
    await wished(site, PmsAction.CHECK_OUT, "by_hand", cause=2)
    assert await listed() == [STAY]
    site.clock.advance(15 * DAY_MS)
    assert await listed() == [], "the drift report has it"


async def test_what_is_listed_anyway_takes_no_place_of_who_left_days_ago_nor_he_theirs(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a bad week a PMS has not been told of most of the house: those who are gone are the oldest of that."""
    desk = Desk(site)
    await desk.book(single(), single("r2", room="102"))
    async with site.database.transaction() as connection:
        await execute(
            connection,
            "UPDATE stays.stay SET state = 'left', expected_from = %s, expected_until = %s WHERE id = %s",
            [at(NOW_MS - 4 * DAY_MS), at(NOW_MS - 3 * DAY_MS), STAY],
        )
    await wished(site, PmsAction.CHECK_OUT, "pending", cause=1)
    await wished(site, PmsAction.CHECK_IN, "pending", cause=2, stay=OTHER)
    for bound in ("cloud.pms.wishes.STAYS_MOST", "cloud.stays.listing.STAYS_MOST"):
        with monkeypatch.context() as bent:
            bent.setattr(bound, 1)
            answer = await site.http.get("/api/v1/properties/aurora/stays", headers=site.as_("viewer"))
        told = [(each["id"], len(each["pms_wishes"])) for each in answer.json()["stays"]]
        assert told == [(STAY, 1), (OTHER, 1)], bound


async def test_a_wish_that_names_a_stay_of_another_house_shows_nothing_of_it(site: Site) -> None:
    await open_house(site.database, BOREALIS)
    there = Place(BOREALIS.tenant, BOREALIS.id, BOREALIS.edge)
    async with site.database.transaction() as connection:
        await upsert_reservations(connection, there, [single()], now_ms=NOW_MS)
        theirs = stay_id(BOREALIS.id, "mews", "r1")
        await execute(
            connection,
            "UPDATE stays.stay SET state = 'left', expected_from = %s, expected_until = %s WHERE id = %s",
            [at(NOW_MS - 4 * DAY_MS), at(NOW_MS - 3 * DAY_MS), theirs],
        )
    await wished(site, PmsAction.CHECK_OUT, "pending", cause=1, stay=theirs)
    answer = await site.http.get("/api/v1/properties/aurora/stays", headers=site.as_("viewer"))
    assert answer.json()["stays"] == []
