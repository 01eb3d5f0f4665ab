"""The desk sees who comes, how often he came and what he likes; who asks is written down; who may not, sees none."""

from typing import Any

import pytest

from cloud.checkin.people import GuestFacts
from cloud.checkin.sessions import By
from cloud.kit.database import execute
from cloud.stays.reservation import PmsStatus
from cloud.stays.stays import stay_id, upsert_reservations
from tests.cloud.guests.houses import CORONA, ours, read, rows, said, share, stayed
from tests.cloud.houses import AURORA, NOW_MS, PLACE, open_house, reservation
from tests.cloud.public.conftest import Site

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("GST-21")]
HOUSE = f"/api/v1/properties/{AURORA.id}"
GUEST = f"{HOUSE}/guests/{ours('c1')}"


async def asked(site: Site, path: str, name: str = "staff", **query: Any) -> dict[str, Any]:
    answer = await site.http.get(path, headers=site.as_(name), params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def comes_again(site: Site) -> tuple[str, str]:
    """Let a guest have been here once and be in house now; return both stays."""
    before = await stayed(site.database, "past", "c1", days_ago=40, room="102")
    now = await stayed(site.database, "now", "c1", days_ago=0, status=PmsStatus.IN_HOUSE)
    return before, now


@pytest.mark.requirement("GST-22")
@pytest.mark.requirement("GST-04")
async def test_with_a_stay_the_desk_gets_name_visit_and_what_he_likes(site: Site) -> None:
    before, now = await comes_again(site)
    nothing = {"floor": None, "bed": None, "smoking": None, "view": None, "lift": None, "step_free": None}
    assert await asked(site, f"{HOUSE}/stays/{now}/guest") == {
        "guest": ours("c1"), "name": "Anna Berger", "visit": 2, "preferences": nothing,
    }  # fmt: skip
    assert (await asked(site, f"{HOUSE}/stays/{before}/guest"))["visit"] == 1
    liked = {"floor": "high", "smoking": False}
    answer = await site.http.put(f"{GUEST}/preferences", json=liked, headers=site.as_("staff"))
    assert (answer.status_code, answer.json()) == (200, nothing | liked)
    assert (await asked(site, f"{HOUSE}/stays/{now}/guest"))["preferences"] == nothing | liked


@pytest.mark.requirement("GST-01")
async def test_a_guest_is_who_he_is_where_he_is_and_how_often_he_came(site: Site) -> None:
    _, now = await comes_again(site)
    told = await asked(site, GUEST)
    assert (told["name"], told["system"], told["external_id"], told["visits"]) == ("Anna Berger", "mews", "c1", 2)
    assert (told["current_stay"]["stay"], told["current_stay"]["room"]) == (now, "101")


@pytest.mark.requirement("GST-08")
@pytest.mark.requirement("GST-10")
async def test_his_stays_come_with_their_check_ins_page_by_page_and_are_all_that_is_kept(site: Site) -> None:
    before, now = await comes_again(site)
    await site.sessions.begin(AURORA, now, by=By("staff", "desk"), language="en")
    await site.sessions.tell_guest(AURORA, now, "g1", GuestFacts("Berger", "Anna"), by=By("staff", "desk"))
    first = await asked(site, f"{GUEST}/stays", limit=1)
    [stay] = first["stays"]
    assert stay["check_in"] == {
        "state": "open", "channel": "desk", "began_at": stay["check_in"]["began_at"], "ended_at": None,
    }  # fmt: skip
    assert (stay["stay"], stay["state"], stay["number"]) == (now, "in_house", "N-now")
    second = await asked(site, f"{GUEST}/stays", limit=1, before=first["next"])
    assert [(each["stay"], each["state"], each["check_in"]) for each in second["stays"]] == [(before, "left", None)]
    assert (await asked(site, f"{GUEST}/stays", limit=1, before=second["next"])) == {"stays": [], "next": None}
    assert "Berger" not in str(first | second)
    for bad in ("x", "1-", "-", "-1-a", "999999999999999-a"):
        answer = await site.http.get(f"{GUEST}/stays", params={"before": bad}, headers=site.as_("staff"))
        assert answer.status_code == 400, bad
    assert (await asked(site, f"{GUEST}/stays", before="0-a"))["stays"] == []


@pytest.mark.guarantee("G8")
@pytest.mark.requirement("SEC-01")
async def test_who_reads_a_guest_is_in_the_trail_before_and_who_may_not_gets_nothing(site: Site) -> None:
    _, now = await comes_again(site)
    trail = (
        "SELECT actor, action, subject, outcome, detail FROM platform.audit"
        " WHERE starts_with(action, 'guest.') ORDER BY seq"
    )  # fmt: skip
    for path in (f"{HOUSE}/stays/{now}/guest", GUEST, f"{GUEST}/stays"):
        await asked(site, path)
    told = [tuple(row.values()) for row in await rows(site.database, trail)]
    assert told == [
        ("staff", "guest.read", ours("c1"), "allowed", f"with the stay {now}"),
        ("staff", "guest.read", ours("c1"), "allowed", "profile"),
        ("staff", "guest.read", ours("c1"), "allowed", "stays"),
    ]
    for path in (f"{HOUSE}/stays/{now}/guest", GUEST, f"{GUEST}/stays"):
        for name, status in (("viewer", 403), ("other", 404), ("narrow", 404)):
            answer = await site.http.get(path, headers=site.as_(name))
            assert (answer.status_code, "Berger" in answer.text) == (status, False), (path, name)
    refused = [row["actor"] for row in await rows(site.database, trail) if row["outcome"] == "denied"]
    assert refused == ["viewer"] * 3


@pytest.mark.guarantee("G8")
async def test_another_house_of_the_tenant_is_told_of_only_where_they_share(site: Site) -> None:
    await open_house(site.database, CORONA)
    await stayed(site.database, "there", "c1", days_ago=90, house=CORONA)
    _, now = await comes_again(site)
    assert (await asked(site, f"{HOUSE}/stays/{now}/guest"))["visit"] == 2
    await share(site.database, AURORA, CORONA)
    assert (await asked(site, f"{HOUSE}/stays/{now}/guest"))["visit"] == 3
    assert [each["property"] for each in (await asked(site, f"{GUEST}/stays"))["stays"]] == [
        "aurora", "aurora", "corona",
    ]  # fmt: skip


async def test_where_stay_and_profile_name_two_people_neither_is_shown_with_the_stay(site: Site) -> None:
    """A list told that another comes; whose id it is now, nobody has said yet."""
    _, now = await comes_again(site)
    await read(site.database, said("elsewhere", "c1", "Ben Ode"))
    assert (await site.http.get(f"{HOUSE}/stays/{now}/guest", headers=site.as_("staff"))).status_code == 404
    assert (await asked(site, GUEST))["name"] == "Ben Ode"


async def test_an_admin_forgets_a_guest_for_good_and_staff_does_not(site: Site) -> None:
    _, now = await comes_again(site)
    assert (await site.http.delete(GUEST, headers=site.as_("staff"))).status_code == 403
    for forgotten in ([AURORA.id], []):
        answer = await site.http.delete(GUEST, headers=site.as_("admin"))
        assert (answer.status_code, answer.json()) == (200, {"properties": forgotten})
    await read(site.database, said("now", "c1"))
    for path in (f"{HOUSE}/stays/{now}/guest", GUEST, f"{GUEST}/stays"):
        assert (await site.http.get(path, headers=site.as_("staff"))).status_code == 404
    gone = await site.http.put(f"{GUEST}/preferences", json={}, headers=site.as_("staff"))
    assert gone.status_code == 404
    assert (await site.http.delete(f"{HOUSE}/guests/g-none", headers=site.as_("admin"))).status_code == 404


@pytest.mark.parametrize(
    "body",
    [{"floor": "attic"}, {"allergies": "nuts"}, {"smoking": "outside"}, {"bed": "x" * 5_000}, [], {"floor": ["high"]}],
    ids=["no-floor", "free-text", "no-answer", "long", "list", "many"],
)
async def test_what_is_no_wish_of_ours_is_refused_and_the_wishes_stand(site: Site, body: Any) -> None:
    await comes_again(site)
    await site.http.put(f"{GUEST}/preferences", json={"bed": "twin"}, headers=site.as_("staff"))
    answer = await site.http.put(f"{GUEST}/preferences", json=body, headers=site.as_("staff"))
    assert answer.status_code == 400, answer.text
    assert (await asked(site, GUEST))["preferences"]["bed"] == "twin"


async def test_a_lost_key_is_said_and_no_crash(site: Site) -> None:
    _, now = await comes_again(site)
    async with site.database.transaction() as connection:
        await execute(connection, "UPDATE privacy.data_key SET number = number + 7")
    for path in (f"{HOUSE}/stays/{now}/guest", GUEST):
        answer = await site.http.get(path, headers=site.as_("staff"))
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:innkeeper:problem:unreadable")
    assert (await site.http.delete(GUEST, headers=site.as_("admin"))).status_code == 200


async def test_a_stay_of_which_the_pms_names_no_guest_has_none(site: Site) -> None:
    async with site.database.transaction() as connection:
        await upsert_reservations(connection, PLACE, [reservation()], now_ms=NOW_MS)
    path = f"{HOUSE}/stays/{stay_id(AURORA.id, 'mews', 'r1')}/guest"
    assert (await site.http.get(path, headers=site.as_("staff"))).status_code == 404
