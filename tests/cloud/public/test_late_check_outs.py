"""A guest asks to leave later: granted alone where nobody waits for the room, else answered by the desk."""

import asyncio
from typing import Any, Final

import pytest

from cloud.kit.database import fetch_all
from cloud.kit.times import at as moment
from cloud.kit.times import iso
from cloud.stays.life import EdgeState
from cloud.stays.reservation import PmsStatus
from cloud.stays.sharing import share
from cloud.stays.stays import EdgeFact, apply_edge_facts, stay_id, upsert_reservations
from protocols.policy import late_check_out
from tests.cloud.houses import AURORA, DAY_MS, HOUR_MS, NOW_MS, PLACE, reservation
from tests.cloud.public.conftest import Site

pytestmark = [
    pytest.mark.tier("postgres"),
    pytest.mark.requirement("STY-09"),
    pytest.mark.requirement("PLT-02"),
    pytest.mark.guarantee("G2"),
]

ENDS_MS: Final = NOW_MS - NOW_MS % DAY_MS + DAY_MS + 10 * HOUR_MS
"""Eleven o'clock of tomorrow in Vienna."""
STAY: Final = stay_id(AURORA.id, "mews", "r1")
OTHER: Final = stay_id(AURORA.id, "mews", "r2")


def hour(n: int) -> str:
    """Return `n` o'clock of tomorrow in Vienna."""
    return iso(moment(ENDS_MS + (n - 11) * HOUR_MS))


class Desk:
    """The house, its guests and its desk."""

    def __init__(self, site: Site) -> None:
        self.site, self.told = site, 0
        self.guest: dict[str, dict[str, str]] = {}

    async def policy(self, latest: str | None = "15:00", alone_until: str | None = "13:00") -> None:
        answer = await self.site.http.post(
            "/api/v1/policies/late-check-outs/releases",
            json={"policy": {"v": 1, "latest": latest, "alone_until": alone_until}, "rings": [["aurora"]]},
            headers=self.site.as_("admin"),
        )
        assert answer.status_code == 201, answer.text
        async with self.site.database.transaction() as connection:
            rows = await fetch_all(connection, "UPDATE policy.release SET state = 'done' RETURNING kind")
        assert {row["kind"] for row in rows} == {late_check_out.KIND}

    async def book(self, name: str = "r1", *, room: str | None = "101", inside: bool = True, **when: Any) -> str:
        status = PmsStatus.IN_HOUSE if inside else PmsStatus.BOOKED
        self.told += 1
        told = reservation(
            name, room=room, status=status, updated_ms=NOW_MS + self.told, **{"departure_ms": ENDS_MS, **when}
        )
        stay = stay_id(AURORA.id, "mews", name)
        async with self.site.database.transaction() as connection:
            await upsert_reservations(connection, PLACE, [told], now_ms=NOW_MS)
            if inside and room is not None:
                await self._at_the_edge(connection, stay, room, EdgeState.CHECKED_IN)
        return stay

    async def leave(self, stay: str) -> None:
        async with self.site.database.transaction() as connection:
            await self._at_the_edge(connection, stay, None, EdgeState.CHECKED_OUT)

    async def _at_the_edge(self, connection: Any, stay: str, room: str | None, state: EdgeState) -> None:
        self.told += 1
        fact = EdgeFact(stay, state, room, "desk", NOW_MS, b"i" * 16, self.told)
        await apply_edge_facts(connection, PLACE, [fact], now_ms=NOW_MS)

    async def link(self, stay: str = STAY) -> dict[str, str]:
        if stay not in self.guest:
            path = f"/api/v1/properties/aurora/stays/{stay}/guest-links"
            made = await self.site.http.post(path, headers=self.site.as_("staff"))
            assert made.status_code == 201, made.text
            self.guest[stay] = {"Authorization": f"Bearer {made.json()['token']}"}
        return self.guest[stay]

    async def call(self, method: str, what: str = "", *, stay: str = STAY, who: str | None = None, **body: Any) -> Any:
        """Ask as the guest, or as `who`; return the answer, or the reason of a refusal."""
        headers = await self.link(stay) if who is None else self.site.as_(who)
        path = f"/api/v1/properties/aurora/stays/{stay}/late-check-out{what}"
        answer = await self.site.http.request(method, path, headers=headers, json=body or None)
        if answer.status_code == 409:
            return answer.json()["reason"]
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ask(self, until: str, *, stay: str = STAY) -> Any:
        return await self.call("POST", stay=stay, until=until)

    async def answer(self, wish: str, *, granted: bool, reason: str | None = None, stay: str = STAY) -> Any:
        return await self.call("POST", "/answer", stay=stay, who="staff", wish=wish, granted=granted, reason=reason)

    async def queue(self) -> list[Any]:
        answer = await self.site.http.get("/api/v1/properties/aurora/late-check-outs", headers=self.site.as_("staff"))
        assert answer.status_code == 200, answer.text
        return list(answer.json()["wishes"])

    async def ends(self, stay: str = STAY) -> list[str]:
        """Return the end that the stay has: for the guest's phone, for the desk and for the building, each once."""
        path = f"/api/v1/properties/aurora/stays/{stay}"
        term = await self.site.http.get(f"{path}/key-term", headers=self.site.as_("staff"))
        shown = await self.call("GET", stay=stay, who="staff")
        async with self.site.database.transaction() as connection:
            [row] = await fetch_all(connection, "SELECT body FROM stays.document WHERE property = 'aurora'")
            [books] = await fetch_all(connection, "SELECT expected_until FROM stays.stay WHERE id = %s", [stay])
        [held] = [each for each in row["body"]["stays"] if each["id"] == stay]
        told = {term.json()["ends_at"], shown["ends_at"], iso(books["expected_until"])}
        return sorted({*told, iso(moment(held["expected_until_ms"]))})

    async def trail(self) -> list[tuple[str, str]]:
        """Return who was let ask or answer, as the audit trail has it."""
        async with self.site.database.transaction() as connection:
            rows = await fetch_all(
                connection,
                "SELECT actor, outcome FROM platform.audit WHERE subject LIKE %s ORDER BY seq",
                [f"POST %/stays/{STAY}/late-check-out%"],
            )
        return [(row["actor"], row["outcome"]) for row in rows]

    async def rows(self) -> list[tuple[str, str | None, str | None]]:
        async with self.site.database.transaction() as connection:
            rows = await fetch_all(connection, "SELECT * FROM checkin.late_wish ORDER BY n")
        return [(row["state"], row["asked_by"], row["decided_by"]) for row in rows]


@pytest.fixture
async def desk(site: Site) -> Desk:
    made = Desk(site)
    await made.policy()
    await made.book()
    return made


def stands(told: Any) -> tuple[str, str | None, bool]:
    return told["wish"]["state"], told["wish"]["reason"], told["wish"]["alone"]


async def test_where_nobody_waits_for_the_room_it_is_granted_at_once_and_once(desk: Desk) -> None:
    offered = await desk.call("GET")
    assert (offered["why_not"], offered["wish"], offered["zone"]) == (None, None, "Europe/Vienna")
    assert (offered["ends_at"], offered["alone_until"], offered["latest"]) == (hour(11), hour(13), hour(15))
    told = await desk.ask("13:00")
    assert stands(told) == ("granted", None, True)
    assert (told["ends_at"], told["house_knows"]) == (hour(13), False), "the building has not heard of it yet"
    assert await desk.ends() == [hour(13)]
    assert await desk.ask("13:00") == told
    assert await desk.rows() == [("granted", f"guest:{STAY}", "policy")]
    async with desk.site.database.transaction() as connection:
        await fetch_all(connection, "UPDATE stays.document SET held_version = version RETURNING version")
    assert (await desk.call("GET"))["house_knows"]
    assert ("guest:" + STAY, "allowed") in await desk.trail()


async def test_what_goes_beyond_that_is_the_desks_to_grant(desk: Desk) -> None:
    told = await desk.ask("14:00")
    assert stands(told) == ("asked", None, False)
    assert await desk.ends() == [hour(11)]
    [waits] = await desk.queue()
    assert (waits["stay"], waits["room"], waits["until"], waits["next_from"]) == (STAY, "101", hour(14), None)
    assert await desk.ask("14:00") == told, "the same again is the same wish"
    assert await desk.ask("15:00") == "asked_already"
    both = [desk.answer(waits["wish"], granted=True, reason="Gern!") for _ in range(2)]
    first, second = await asyncio.gather(*both)
    assert first == second
    assert stands(first) == ("granted", "Gern!", False)
    assert await desk.ends() == [hour(14)]
    assert await desk.queue() == []
    assert await desk.answer(waits["wish"], granted=False, reason="doch nicht") == "no_wish"
    assert stands(await desk.ask("15:00")) == ("asked", None, False), "later still"
    assert await desk.ends() == [hour(14)]
    async with desk.site.database.transaction() as connection:
        events = await fetch_all(connection, "SELECT 1 FROM outbox.event WHERE type = 'stay.late_check_out'")
    assert len(events) == 1


async def test_what_is_refused_has_a_reason_and_is_not_begged_for(desk: Desk) -> None:
    wish = (await desk.ask("14:00"))["wish"]["id"]
    path = f"/api/v1/properties/aurora/stays/{STAY}/late-check-out/answer"
    bare = await desk.site.http.post(path, json={"wish": wish, "granted": False}, headers=desk.site.as_("staff"))
    assert (bare.status_code, bare.json()["field"]) == (400, "reason")
    told = await desk.answer(wish, granted=False, reason="Das Haus ist voll.")
    assert stands(told) == ("refused", "Das Haus ist voll.", False)
    assert stands(await desk.call("GET")) == ("refused", "Das Haus ist voll.", False), "the guest reads it"
    assert await desk.answer(wish, granted=False, reason="Das Haus ist voll.") == told
    assert await desk.answer(wish, granted=True) == "no_wish"
    assert await desk.ask("14:00") == "refused_already"
    assert await desk.ask("15:00") == "refused_already"
    assert stands(await desk.ask("13:00")) == ("granted", None, True), "less than what was refused"
    assert await desk.ends() == [hour(13)]


async def test_what_nobody_answered_has_lapsed(desk: Desk) -> None:
    told = await desk.ask("14:00")
    desk.site.clock.advance(ENDS_MS - NOW_MS)
    assert await desk.queue() == []
    late = await desk.call("GET", who="staff")
    assert (stands(late), late["why_not"]) == (("lapsed", None, False), "over")
    assert await desk.answer(told["wish"]["id"], granted=True) == "no_wish"
    assert await desk.ends() == [hour(11)]


async def test_what_is_taken_back_is_open_no_more(desk: Desk) -> None:
    wish = (await desk.ask("14:00"))["wish"]["id"]
    assert stands(await desk.call("DELETE")) == ("withdrawn", None, False)
    assert stands(await desk.call("DELETE")) == ("withdrawn", None, False)
    assert await desk.queue() == []
    assert await desk.answer(wish, granted=True) == "no_wish"
    for n in range(4):
        assert stands(await desk.ask(f"14:0{n}")) == ("asked", None, False)
        await desk.call("DELETE")
    assert await desk.ask("14:30") == "too_often"


@pytest.mark.parametrize(
    ("until", "why"), [("15:01", "too_late"), ("11:00", "not_later"), ("09:00", "not_later"), ("00:00", "not_later")]
)
async def test_what_the_house_does_not_give_is_refused_by_name(desk: Desk, until: str, why: str) -> None:
    assert await desk.ask(until) == why
    assert await desk.rows() == []


@pytest.mark.parametrize("until", ["24:00", "13", "13:00\n", "1:00", "", "noon", None, 13])
async def test_what_is_no_hour_is_no_wish(desk: Desk, until: Any) -> None:
    path = f"/api/v1/properties/aurora/stays/{STAY}/late-check-out"
    answer = await desk.site.http.post(path, json={"until": until}, headers=await desk.link())
    assert answer.status_code == 400, answer.text
    assert await desk.rows() == []


async def test_a_house_that_signed_nothing_offers_nothing(site: Site) -> None:
    desk = Desk(site)
    await desk.book()
    told = await desk.call("GET")
    assert (told["why_not"], told["latest"], told["alone_until"]) == ("not_offered", None, None)
    assert await desk.ask("12:00") == "not_offered"
    await desk.policy(None, None)
    assert await desk.ask("12:00") == "not_offered"


async def test_who_is_not_in_house_does_not_ask(desk: Desk) -> None:
    stay = await desk.book("r2", room="102", inside=False, departure_ms=ENDS_MS)
    assert await desk.ask("13:00", stay=stay) == "not_in_house"
    told = await desk.ask("14:00")
    await desk.leave(STAY)
    assert stands(await desk.call("GET", who="staff")) == ("overtaken", None, False), "he left early"
    assert await desk.answer(told["wish"]["id"], granted=True) == "no_wish"
    assert await desk.queue() == []


async def test_a_room_that_an_arrival_has_that_day_is_the_desks_to_judge(desk: Desk) -> None:
    comes_ms = ENDS_MS + 4 * HOUR_MS
    await desk.book("r2", inside=False, arrival_ms=comes_ms, departure_ms=comes_ms + DAY_MS)
    wish = (await desk.ask("13:00"))["wish"]
    assert wish["state"] == "asked"
    [waits] = await desk.queue()
    assert (waits["next_stay"], waits["next_from"]) == (OTHER, hour(15))
    await desk.book("r2", inside=False, arrival_ms=ENDS_MS + HOUR_MS, departure_ms=comes_ms + DAY_MS)
    assert await desk.answer(wish["id"], granted=True) == "room_promised", "he comes before that"
    assert await desk.ends() == [hour(11)]
    assert [each["wish"] for each in await desk.queue()] == [wish["id"]], "and the wish waits still"
    await desk.book("r2", room="102", inside=False, arrival_ms=ENDS_MS + HOUR_MS, departure_ms=comes_ms + DAY_MS)
    assert stands(await desk.answer(wish["id"], granted=True)) == ("granted", None, False)
    assert await desk.ends() == [hour(13)]


async def test_a_room_that_an_arrival_may_need_is_the_desks_to_judge(desk: Desk) -> None:
    """Three rooms, and arrivals without one: the last that is free is given on to nobody alone, nor twice."""
    comes_ms = ENDS_MS + 4 * HOUR_MS
    for n in (2, 3):
        await desk.book(f"a{n}", room=None, inside=False, arrival_ms=comes_ms, departure_ms=comes_ms + DAY_MS)
    others = [await desk.book(f"r{n}", room=f"10{n}") for n in (2, 3)]
    assert stands(await desk.ask("13:00"))[0] == "granted", "one more is free than is wanted"
    for stay in others:
        assert stands(await desk.ask("12:00", stay=stay))[0] == "asked", "but not another one"


async def test_of_a_stay_one_wish_is_open_whoever_of_its_guests_asks(desk: Desk) -> None:
    other_phone = await desk.site.http.post(
        f"/api/v1/properties/aurora/stays/{STAY}/guest-links", headers=desk.site.as_("staff")
    )
    headers = {"Authorization": f"Bearer {other_phone.json()['token']}"}
    path = f"/api/v1/properties/aurora/stays/{STAY}/late-check-out"
    first, second = await asyncio.gather(
        desk.site.http.post(path, json={"until": "14:00"}, headers=await desk.link()),
        desk.site.http.post(path, json={"until": "14:00"}, headers=headers),
    )
    assert first.json()["wish"]["id"] == second.json()["wish"]["id"]
    assert len(await desk.rows()) == 1


async def test_two_stays_of_one_room_ask_each_for_itself(desk: Desk) -> None:
    other = await desk.book("r2", room=None, inside=False, departure_ms=ENDS_MS)
    async with desk.site.database.transaction() as connection:
        await share(connection, PLACE, other, STAY, now_ms=NOW_MS)
    await desk.book("r2", room="101", departure_ms=ENDS_MS)
    assert stands(await desk.ask("13:00"))[0] == "granted"
    assert await desk.ends(other) == [hour(11)], "what one asks for is not the other's"
    assert stands(await desk.ask("12:30", stay=other))[0] == "granted", "they are in each other's way nowhere"
    assert (await desk.ends(), await desk.ends(other)) == ([hour(13)], [iso(moment(ENDS_MS + 90 * 60_000))])


async def test_a_stay_that_ends_otherwise_by_now_says_so(desk: Desk) -> None:
    wish = (await desk.ask("14:00"))["wish"]["id"]
    await desk.book(departure_ms=ENDS_MS + DAY_MS)
    assert stands(await desk.call("GET")) == ("overtaken", None, False)
    assert await desk.answer(wish, granted=True) == "no_wish"
    assert await desk.queue() == []
    again = await desk.ask("13:00")
    assert stands(again) == ("granted", None, True), "on the day on which he leaves now"
    assert await desk.ends() == [iso(moment(ENDS_MS + DAY_MS + 2 * HOUR_MS))]
    assert [row[0] for row in await desk.rows()] == ["overtaken", "granted"]
    await desk.book(departure_ms=ENDS_MS)
    assert stands(await desk.call("GET")) == ("overtaken", None, False), "what was granted was of that day"
    assert await desk.ends() == [hour(11)]


async def test_a_policy_that_comes_later_takes_nothing_back(desk: Desk) -> None:
    await desk.ask("13:00")
    await desk.policy(None, None)
    told = await desk.call("GET")
    assert (told["why_not"], stands(told)) == ("not_offered", ("granted", None, True))
    assert await desk.ends() == [hour(13)]


async def test_a_link_to_another_stay_sees_and_asks_nothing(desk: Desk) -> None:
    await desk.book("r2", room="102")
    path = f"/api/v1/properties/aurora/stays/{STAY}/late-check-out"
    headers = await desk.link(OTHER)
    told = [
        await desk.site.http.get(path, headers=headers),
        await desk.site.http.post(path, json={"until": "13:00"}, headers=headers),
        await desk.site.http.get(path, headers=desk.site.as_("other")),
        await desk.site.http.get("/api/v1/properties/aurora/late-check-outs", headers=headers),
    ]
    assert {answer.status_code for answer in told} <= {403, 404}
    assert await desk.rows() == []
