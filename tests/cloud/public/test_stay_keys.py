"""Who has keys of a stay: the main guest sees all and takes others' back, another his own, nobody a public key."""

from typing import Any

import pytest

from cloud.checkin import links
from cloud.fleet.commands import CommandResult
from cloud.kit.acting import acting, system
from cloud.platform.access_policy import may
from cloud.platform.principals import Principal, Role
from cloud.stays.listing import stay_by_id
from cloud.stays.stays import stay_id, upsert_reservations
from kit.dice import SeededDice
from protocols.device_model.command import Phase
from tests.cloud.edges import done
from tests.cloud.houses import AURORA, NOW_MS, PLACE, reservation
from tests.cloud.public.conftest import Site

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("A7"), pytest.mark.guarantee("G4", "G8")]

STAY = stay_id(AURORA.id, "mews", "r1")
HERE = f"/api/v1/properties/aurora/stays/{STAY}"
ANNA, TABLET, SON = ("03" + each * 32 for each in ("aa", "bb", "cc"))
USED = {"at_ms": NOW_MS - 60_000, "certain": True, "door": "door-101", "label": "Room 101"}
WAITS = {"door": "pool", "label": "Pool", "contact_at_ms": None}
CARD = {"system": "annex", "medium": "card", "state": "made", "truth": "effective-at-next-presentation"}
KEYS = {ANNA: "a" * 16, TABLET: "b" * 16, SON: "c" * 16}
Headers = dict[str, str]


class Building:
    """A building that has given three phones keys, and does what it is told."""

    def __init__(self) -> None:
        self.withdrawn: set[str] = set()
        self.main = ANNA
        self.ended = False
        self.refuses = ""

    def obey(self, kind: str, args: dict[str, Any]) -> CommandResult:
        if kind == "stay_keys":
            return done({"keys": [self._key(phone) for phone in KEYS], "others": [CARD]})
        assert kind == "withdraw_key"
        if self.refuses:
            return CommandResult(Phase.FAILED, None, self.refuses)
        self.withdrawn.add(args["phone_public_key"])
        return done({"grants": ["d1" * 8], "lock_systems": [], "doors": 3, "confirmed": 0})

    def _key(self, phone: str) -> dict[str, Any]:
        gone = phone in self.withdrawn
        return {
            "key": KEYS[phone],
            "phone": phone,
            "main": phone == self.main and not gone,
            "join": phone != ANNA,
            "since_ms": NOW_MS - 3_600_000,
            "not_before_ms": NOW_MS - 3_600_000,
            "not_after_ms": NOW_MS + 86_400_000,
            "withdrawn": gone,
            **({"ended": True} if self.ended else {}),
            "used": USED if phone == SON else None,
            "doors": 2,
            "waiting": [WAITS] if gone or self.ended else [],
            "elsewhere": [],
        }


@pytest.fixture
def building() -> Building:
    return Building()


@pytest.fixture
async def site(site: Site, building: Building) -> Site:
    site.edges.obey = building.obey
    async with site.database.transaction() as connection:
        await upsert_reservations(connection, PLACE, [reservation()], now_ms=NOW_MS)
    return site


async def link(site: Site, phone: str | None, seed: int = 1) -> Headers:
    """A guest's link, used by a phone, or by none yet."""
    async with site.database.transaction() as connection:
        stay = await stay_by_id(connection, tenant=AURORA.tenant, property_id=AURORA.id, stay=STAY)
        assert stay is not None
        token, _ = await links.make(connection, AURORA, stay, by="desk", dice=SeededDice(seed), now_ms=NOW_MS)
    with acting(system("sign-in")):
        found = await links.who(site.database, token, now_ms=NOW_MS)
    assert found is not None
    if phone is not None:
        async with site.database.transaction() as connection:
            await links.bind(connection, found.id, phone_public_key=phone, now_ms=NOW_MS)
    return {"Authorization": f"Bearer {token}"}


async def seen(site: Site, who: Headers) -> dict[str, Any]:
    answer = await site.http.get(f"{HERE}/keys", headers=who)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    assert not any(phone in answer.text for phone in KEYS), "a public key is nobody's to see"
    return told


async def take_back(site: Site, who: Headers, phone: str) -> tuple[int, dict[str, Any]]:
    answer = await site.http.post(f"{HERE}/taken-back-keys", headers=who, json={"key": KEYS[phone]})
    return answer.status_code, answer.json()


async def test_keys_of_a_stay_that_has_ended_are_none_that_is_valid(site: Site, building: Building) -> None:
    """They may have two days left in them; which doors have yet to hear of it is told beside."""
    building.withdrawn.add(SON)
    building.ended = True
    keys = {each["key"]: each for each in (await seen(site, site.as_("staff")))["keys"]}
    assert {name: keys[KEYS[name]]["state"] for name in KEYS} == {ANNA: "ended", TABLET: "ended", SON: "taken_back"}
    assert all(each["waiting"] for each in keys.values())


async def test_the_main_guest_sees_every_key_and_another_his_own(site: Site) -> None:
    main = await seen(site, await link(site, ANNA))
    assert (main["takes_back"], len(main["others"])) == (True, 1)
    assert [(each["key"], each["mine"], each["main"]) for each in main["keys"]] == [
        (KEYS[ANNA], True, True),
        (KEYS[TABLET], False, False),
        (KEYS[SON], False, False),
    ]
    son = main["keys"][2]
    assert son["used"] == {"at": "2026-11-18T11:05:40.000Z", "certain": True, "door": "Room 101"}
    assert (son["since"], son["state"], son["doors"]) == ("2026-11-18T10:06:40.000Z", "valid", 2)
    other = await seen(site, await link(site, SON, seed=2))
    assert (other["takes_back"], other["others"]) == (False, [])
    assert [(each["key"], each["mine"]) for each in other["keys"]] == [(KEYS[SON], True)]
    for number, phone in enumerate((None, "02" + "dd" * 32), 3):
        nobody = await seen(site, await link(site, phone, seed=number))
        assert nobody == {"takes_back": False, "keys": [], "others": []}


async def test_what_is_taken_back_ends_with_its_link_and_names_the_doors_that_do_not_know(
    site: Site, building: Building
) -> None:
    anna, son = await link(site, ANNA), await link(site, SON, seed=2)
    status, told = await take_back(site, anna, SON)
    assert status == 200, told
    gone = told["keys"][2]
    assert (gone["state"], gone["waiting"]) == ("taken_back", [{"door": "Pool", "contact_at": None}])
    assert building.withdrawn == {SON}
    [(_, args)] = [each for each in site.edges.effects if each[0] == "withdraw_key"]
    assert args == {
        "stay": STAY,
        "phone_public_key": SON,
        "by": f"cloud:guest:{STAY}"[:80],
        "reason": "taken back by the main guest",
    }
    assert (await site.http.get(f"{HERE}/keys", headers=son)).status_code == 403, "his link has ended"
    assert await take_back(site, anna, SON) == (200, told), "asked again it is as it was"
    assert len([each for each in site.edges.effects if each[0] == "withdraw_key"]) == 1
    assert (await seen(site, anna))["takes_back"]


@pytest.mark.parametrize(
    ("who", "whose", "said"),
    [
        (SON, TABLET, (403, "not_main")),
        (SON, SON, (403, "not_main")),
        (ANNA, ANNA, (409, "own_key")),
        (None, SON, (403, "not_main")),
    ],
)
async def test_whoever_is_not_the_main_guest_takes_nothing_back_and_he_not_his_own(
    site: Site, building: Building, who: str | None, whose: str, said: tuple[int, str]
) -> None:
    status, told = await take_back(site, await link(site, who), whose)
    assert (status, told["reason"]) == said
    assert building.withdrawn == set()


async def test_a_main_phone_that_was_withdrawn_sees_and_takes_nothing_more(site: Site, building: Building) -> None:
    anna = await link(site, ANNA)
    building.withdrawn.add(ANNA)
    told = await seen(site, anna)
    assert (told["takes_back"], [each["mine"] for each in told["keys"]]) == (False, [True])
    assert (await take_back(site, anna, SON))[0] == 403


async def test_another_stays_key_or_none_is_absent_and_what_is_not_of_the_form_refused(site: Site) -> None:
    anna = await link(site, ANNA)
    for body, status in (({"key": "0" * 16}, 404), ({"key": "x"}, 400), ({}, 400), ({"key": "0" * 16, "more": 1}, 400)):
        answer = await site.http.post(f"{HERE}/taken-back-keys", headers=anna, json=body)
        assert answer.status_code == status, body
    other = HERE.replace(STAY, "s-other")
    assert (await site.http.get(f"{other}/keys", headers=anna)).status_code == 404
    assert (await site.http.post(f"{other}/taken-back-keys", headers=anna, json={"key": KEYS[SON]})).status_code == 404


async def test_what_the_building_refuses_or_does_not_answer_is_said_and_the_link_lives(
    site: Site, building: Building
) -> None:
    anna, son = await link(site, ANNA), await link(site, SON, seed=2)
    building.refuses = "InvalidInputError: a list holds 64 keys"
    status, told = await take_back(site, anna, SON)
    assert (status, told["reason"]) == (409, "edge_refused")
    assert (await site.http.get(f"{HERE}/keys", headers=son)).status_code == 200
    site.clock.advance(60_000)
    building.refuses = ""
    assert (await take_back(site, anna, SON))[0] == 200
    site.clock.advance(60_000)
    site.edges.lost = True
    assert (await site.http.get(f"{HERE}/keys", headers=anna)).status_code == 503
    site.edges.lost = False
    site.edges.obey = lambda _kind, _args: done({"keys": [{}], "others": []})
    site.clock.advance(60_000)
    assert (await site.http.get(f"{HERE}/keys", headers=anna)).status_code == 502


async def test_the_desk_sees_and_takes_back_all_of_them(site: Site, building: Building) -> None:
    told = await seen(site, site.as_("staff"))
    assert (told["takes_back"], {each["mine"] for each in told["keys"]}) == (True, {False})
    assert (await take_back(site, site.as_("staff"), ANNA))[0] == 200
    assert building.withdrawn == {ANNA}
    assert (await site.http.get(f"{HERE}/keys", headers=site.as_("viewer"))).status_code == 403


def test_a_guest_asks_of_his_own_stay_alone() -> None:
    guest = Principal("guest:s-1", "northlight", Role.GUEST, frozenset({AURORA.id}), account="link", stay=STAY)
    assert may(guest, "stay.keys", AURORA.id, STAY).allowed
    for place, stay in ((AURORA.id, "s-2"), ("borealis", STAY), (AURORA.id, None)):
        assert not may(guest, "stay.keys", place, stay).allowed
