"""The check-in session over HTTP: a guest with a link, staff who take over, and what neither can get around."""

import json

import httpx
import pytest

from cloud.checkin.sessions import LIFE_MS
from cloud.kit.times import at, iso
from cloud.payments.stripe.signature import sign
from cloud.stays.reservation import Housekeeping, PmsStatus, Reservation
from protocols.device_model.command import Phase
from protocols.policy import check_in
from protocols.policy.check_in import CheckInPolicy, Deposit, StepKind
from tests.cloud.checkin.front_desk import ANNA, HERE, OTHER, PHONE, STAY, THERE, THIEF, Desk, single
from tests.cloud.checkin.zones import passport
from tests.cloud.houses import AURORA, DAY_MS, HOUR_MS, NOW_MS, reservation
from tests.cloud.public.conftest import WEBHOOK_SECRET, Site
from tests.cloud.public.conftest import site as site

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("CHK-02")]


def states(answer: httpx.Response) -> dict[tuple[str, str], str]:
    assert answer.status_code == 200, answer.text
    return {(each["step"], each["subject"]): each["state"] for each in answer.json()["steps"]}


@pytest.fixture
async def desk(site: Site) -> Desk:
    house = Desk(site)
    await house.book()
    return house


@pytest.mark.requirement("CHK-05")
@pytest.mark.requirement("CHK-10")
async def test_a_guest_does_every_step_and_gets_the_keys(desk: Desk) -> None:
    await desk.policy()
    guest = await desk.link()
    begun = await desk.post(f"{HERE}/session", {"language": "de"}, guest)
    assert begun.json()["next"] == {"step": "identity", "subject": "g1", "state": "open", "reason": None}
    early = await desk.keys(guest)
    assert (early.status_code, early.json()["reason"]) == (409, "steps_open")
    assert desk.site.edges.sent == []
    assert states(await desk.anna(guest))["identity", "g1"] == "done"
    shown = await desk.post(f"{HERE}/session/guests/g1/document", {"mrz": passport()}, guest)
    assert states(shown)["document", "g1"] == "done"
    signed = await desk.post(f"{HERE}/session/guests/g1/signature", {"signed_as": "Anna Berger"}, guest)
    assert signed.json()["next"]["step"] == "terms"
    agreed = await desk.post(f"{HERE}/session/terms", {"version": "2026-1"}, guest)
    assert agreed.json()["next"]["step"] == "grant"
    assert (await desk.keys(guest)).json()["bundle"] == {"v": 1, "doors": []}
    over = await desk.site.http.get(f"{HERE}/session", headers=guest)
    assert (over.json()["state"], set(states(over).values())) == ("completed", {"done"})
    assert (await desk.keys(guest)).json()["bundle"] == {"v": 1, "doors": []}, (
        "an answer was lost: the phone asks again"
    )
    again = await desk.post(f"{HERE}/session", {"language": "fr"}, guest)
    assert (again.json()["id"], again.json()["state"]) == (begun.json()["id"], "completed")
    other = await desk.keys(guest, THIEF, "other")
    assert (other.status_code, other.json()["reason"]) == (409, "link_used")
    told = await desk.rows("SELECT type FROM outbox.event ORDER BY id")
    kinds = [row["type"] for row in told if row["type"].startswith("checkin.")]
    assert kinds == ["checkin.started", *["checkin.step_completed"] * 5, "checkin.completed"]


@pytest.mark.requirement("SEC-23")
async def test_a_link_is_the_first_phones_and_asking_again_changes_nothing(desk: Desk) -> None:
    guest = await desk.link()
    desk.site.edges.lost = True
    away = (await desk.keys(guest)).json()
    assert (away["reason"], away["type"]) == ("edge_away", "urn:innkeeper:problem:edge-away")
    desk.site.edges.lost = False
    assert (await desk.keys(guest)).status_code == 200
    assert (await desk.keys(guest)).status_code == 200
    stolen = await desk.keys(guest, THIEF, "other")
    assert (stolen.status_code, stolen.json()["reason"]) == (409, "link_used")
    assert [args["phone_public_key"] for _, args in desk.site.edges.effects] == [PHONE]


@pytest.mark.guarantee("G8")
async def test_a_link_opens_one_stay_and_nothing_beside_it(desk: Desk) -> None:
    await desk.book(single(), single("r2", room="102"))
    guest = await desk.link()
    absent = await desk.site.http.get("/api/v1/properties/nowhere/stays/s/session", headers=desk.site.as_("staff"))
    for path in (THERE, HERE.replace("aurora", "borealis"), HERE + "x"):
        answer = await desk.keys(guest, path=path)
        assert (answer.status_code, answer.content) == (404, absent.content), path
    for path in ("", f"/stays/{STAY}", "/stays", "/rooms", "/access-events"):
        assert (await desk.site.http.get(f"/api/v1/properties/aurora{path}", headers=guest)).status_code == 403, path
    for method, path in (("POST", "check-out"), ("POST", "guest-links"), ("GET", "session/people")):
        answer = await desk.site.http.request(method, f"{HERE}/{path}", headers=guest)
        assert answer.status_code == 403, path
    assert desk.site.edges.sent == []


async def test_a_link_ends_with_the_stay_with_its_time_and_when_staff_ends_it(desk: Desk) -> None:
    one, two = await desk.link(), await desk.link()
    assert (await desk.site.http.delete(f"{HERE}/guest-links", headers=desk.site.as_("staff"))).status_code == 204
    assert {(await desk.keys(each)).status_code for each in (one, two)} == {403}
    three = await desk.link()
    await desk.book(single(), single("r2", room="102", departure_ms=NOW_MS + 4 * DAY_MS))
    four = await desk.link(THERE)
    desk.site.clock.advance(2 * DAY_MS)
    assert (await desk.keys(three)).status_code == 403
    assert (await desk.keys(four, path=THERE)).status_code == 200
    await desk.book(single("r2", room="102", status=PmsStatus.CANCELLED, updated_ms=NOW_MS + 1))
    assert (await desk.keys(four, path=THERE)).status_code == 403
    over = await desk.site.http.post(f"{HERE}/guest-links", headers=desk.site.as_("staff"))
    assert over.status_code == 409


async def test_only_so_many_links_are_open_and_no_token_is_kept(desk: Desk) -> None:
    tokens = [(await desk.link())["Authorization"].partition(" ")[2] for _ in range(10)]
    assert len(set(tokens)) == 10
    more = await desk.site.http.post(f"{HERE}/guest-links", headers=desk.site.as_("staff"))
    assert more.status_code == 409
    kept = repr(await desk.rows("SELECT * FROM checkin.guest_link")) + repr(
        await desk.rows("SELECT * FROM platform.audit")
    )
    assert not any(token in kept or token[4:] in kept for token in tokens)


async def test_what_began_on_the_web_goes_on_at_the_kiosk_and_ends_at_the_desk(desk: Desk) -> None:
    await desk.policy()
    guest, staff = await desk.link(), desk.site.as_("staff")
    web = (await desk.post(f"{HERE}/session", {}, guest)).json()
    await desk.anna(guest)
    kiosk = (await desk.post(f"{HERE}/session", {"channel": "kiosk"}, guest)).json()
    assert (kiosk["id"], kiosk["channel"]) == (web["id"], "kiosk")
    await desk.post(f"{HERE}/session/help", {"reason": "my passport is at the embassy"}, guest)
    at_desk = (await desk.post(f"{HERE}/session", {"channel": "desk"}, staff)).json()
    assert (at_desk["id"], at_desk["help_asked_at"]) == (web["id"], "2026-11-18T11:06:40.000Z")
    for step, subject in (("document", "g1"), ("registration_card", "g1"), ("terms", "party")):
        body = {"step": step, "subject": subject, "reason": "seen at the desk"}
        assert (await desk.post(f"{HERE}/session/waivers", body, staff)).status_code == 200
    assert (await desk.keys(guest)).status_code == 200
    seen = (await desk.site.http.get(f"{HERE}/session/people", headers=staff)).json()
    told = {(each["step"], each["actor"], each["channel"], each["reason"]) for each in seen["evidence"]}
    assert ("document", "staff", "desk", "seen at the desk") in told
    assert ("identity", f"guest:{STAY}", "web", None) in told
    assert [(each["surname"], each["birth_date"]) for each in seen["people"]] == [("Berger", "1980-05-01")]


@pytest.mark.parametrize("step", ["room", "grant", "payment"])
async def test_staff_cannot_wave_through_the_room_the_keys_or_what_is_not_asked(desk: Desk, step: str) -> None:
    await desk.policy()
    staff = desk.site.as_("staff")
    await desk.post(f"{HERE}/session", {}, staff)
    body = {"step": step, "subject": STAY if step != "payment" else "party", "reason": "the guest is in a hurry"}
    assert (await desk.post(f"{HERE}/session/waivers", body, staff)).status_code == 400


async def test_a_party_of_three_is_asked_for_three(desk: Desk) -> None:
    await desk.policy()
    booked = reservation()
    family = Reservation(
        **{name: getattr(booked, name) for name in booked.__slots__} | {"children": 1, "updated_ms": NOW_MS + 1}
    )
    await desk.book(family)
    guest = await desk.link()
    begun = await desk.post(f"{HERE}/session", {}, guest)
    assert [each["slot"] for each in begun.json()["guests"]] == ["g1", "g2", "g3"]
    child = {"surname": "Berger", "given_names": "Mia", "birth_date": "2019-02-01", "nationality": "AUT"}
    after = await desk.anna(guest, child, "g3")
    cards = [subject for step, subject in states(after) if step == "registration_card"]
    assert cards == ["g1", "g2"]
    assert (await desk.anna(guest, child, "g21")).status_code == 404


async def test_another_answer_undoes_what_followed_from_the_first(desk: Desk) -> None:
    await desk.policy()
    guest = await desk.link()
    await desk.post(f"{HERE}/session", {}, guest)
    await desk.anna(guest)
    await desk.post(f"{HERE}/session/guests/g1/document", {"mrz": passport()}, guest)
    assert states(await desk.anna(guest))["document", "g1"] == "done", "the same again"
    changed = states(await desk.anna(guest, {**ANNA, "surname": "Huber"}))
    assert (changed["identity", "g1"], changed["document", "g1"]) == ("needs_staff", "open")
    back = states(await desk.anna(guest))
    assert (back["identity", "g1"], back["document", "g1"]) == ("done", "open")


async def test_a_session_lives_a_day_and_then_begins_anew_by_the_policy_of_then(desk: Desk) -> None:
    await desk.book(single(arrival_ms=NOW_MS + 20 * HOUR_MS, departure_ms=NOW_MS + 5 * DAY_MS, updated_ms=NOW_MS + 1))
    await desk.policy()
    guest = await desk.link()
    first = (await desk.post(f"{HERE}/session", {}, guest)).json()
    await desk.anna(guest)
    await desk.policy(check_in.DEFAULT, version=2)
    desk.site.clock.advance(DAY_MS - 1)
    kept = (await desk.post(f"{HERE}/session", {}, guest)).json()
    assert (kept["id"], kept["policy_version"]) == (first["id"], 1)
    desk.site.clock.advance(1)
    late = await desk.anna(guest)
    assert (late.status_code, late.json()["reason"]) == (409, "no_session")
    again = (await desk.post(f"{HERE}/session", {}, guest)).json()
    assert again["id"] != first["id"]
    assert (again["policy_version"], [each["step"] for each in again["steps"]]) == (2, ["room", "grant"])


@pytest.mark.requirement("A8")
async def test_who_stays_on_gets_longer_keys_by_the_link_he_came_with_and_no_desk(desk: Desk) -> None:
    guest, stranger = await desk.link(), {"Authorization": "Bearer ikg_" + "x" * 43}
    term = f"{HERE}/key-term"

    async def ends(who: dict[str, str], path: str = term) -> tuple[int, str | None]:
        answer = await desk.site.http.get(path, headers=who)
        return answer.status_code, answer.json().get("ends_at")

    assert (await desk.keys(guest)).status_code == 200
    assert await ends(guest) == (200, iso(at(NOW_MS + DAY_MS)))
    assert len(desk.site.edges.effects) == 1, "looking wakes no hotel"
    await desk.book(single(departure_ms=NOW_MS + 3 * DAY_MS, updated_ms=NOW_MS + 1), single("r2", room="102"))
    assert await ends(guest) == (200, iso(at(NOW_MS + 3 * DAY_MS)))
    desk.site.clock.advance(2 * DAY_MS)  # beyond the night that the link was made for
    assert (await desk.keys(guest, key="longer")).status_code == 200
    assert [kind for kind, _ in desk.site.edges.effects] == ["check_in", "check_in"]
    assert (await desk.keys(guest, THIEF, "thief")).json()["reason"] == "link_used"
    assert (await ends(guest, f"{THERE}/key-term"))[0] == 404
    assert (await ends(stranger))[0] == 403
    desk.site.clock.advance(DAY_MS)
    assert (await ends(guest))[0] == 403, "the stay is over, and so is its link"


async def test_too_early_says_from_when(desk: Desk) -> None:
    await desk.book(single(arrival_ms=NOW_MS + 30 * HOUR_MS, departure_ms=NOW_MS + 60 * HOUR_MS, updated_ms=NOW_MS + 1))
    answer = await desk.post(f"{HERE}/session", {}, await desk.link())
    assert (answer.status_code, answer.json()["available_from"]) == (409, "2026-11-18T17:06:40.000Z")


async def test_who_is_done_before_the_room_is_waits_for_it_and_goes_on(desk: Desk) -> None:
    await desk.condition(Housekeeping.DIRTY, NOW_MS + 1)
    guest = await desk.link()
    waiting = await desk.post(f"{HERE}/session", {}, guest)
    assert (waiting.json()["waits_for"], waiting.json()["next"]) == ("room", None)
    assert (await desk.keys(guest)).json()["reason"] == "not_ready"
    await desk.condition(Housekeeping.INSPECTED, NOW_MS + 2)
    assert (await desk.site.http.get(f"{HERE}/session", headers=guest)).json()["next"]["step"] == "grant"
    assert (await desk.keys(guest)).status_code == 200


async def test_two_rooms_are_one_check_in_and_each_gets_its_keys(desk: Desk) -> None:
    await desk.book(single(), single("r2", room="102"))
    staff = desk.site.as_("staff")
    await desk.post(f"{HERE}/session", {}, staff)
    both = await desk.post(f"{HERE}/session/stays", {"stay": OTHER}, staff)
    assert both.json()["stays"] == [STAY, OTHER]
    assert (await desk.post(f"{THERE}/session", {}, staff)).json()["id"] == both.json()["id"]
    mother, son = await desk.link(), await desk.link(THERE)
    assert (await desk.keys(mother)).status_code == 200
    assert (await desk.site.http.get(f"{HERE}/session", headers=mother)).json()["state"] == "open"
    assert (await desk.keys(son, THIEF, "k2", THERE)).status_code == 200
    assert (await desk.site.http.get(f"{HERE}/session", headers=mother)).json()["state"] == "completed"
    assert (await desk.post(f"{HERE}/session/stays", {"stay": "s-none"}, staff)).status_code == 409


@pytest.mark.requirement("SEC-01")
@pytest.mark.requirement("SEC-12")
async def test_nothing_personal_lies_open_and_all_of_it_is_forgotten_in_time(desk: Desk) -> None:
    await desk.policy()
    guest = await desk.link()
    await desk.post(f"{HERE}/session", {}, guest)
    await desk.anna(guest, {**ANNA, "address": "Musterweg 1"})
    shown = await desk.post(f"{HERE}/session/guests/g1/document", {"mrz": passport()}, guest)
    tables = ("checkin.session", "checkin.guest", "checkin.step", "outbox.event", "platform.audit")
    kept = "".join([repr(await desk.rows(f"SELECT * FROM {table}")) for table in tables])  # noqa: S608 - table names of the schema
    for secret in ("Berger", "Musterweg", "L898902C3", "1980"):
        assert secret not in kept, secret
        assert secret not in shown.text, secret
    desk.site.clock.advance(DAY_MS + 1)
    assert await desk.site.sessions.sweep() == 1
    assert await desk.site.sessions.sweep() == 0
    seen = (await desk.site.http.get(f"{HERE}/session/people", headers=desk.site.as_("staff"))).json()
    assert seen["people"] == []
    assert await desk.rows("SELECT * FROM checkin.guest") == []
    assert [row["state"] for row in await desk.rows("SELECT state FROM checkin.session")] == ["expired"]


async def test_the_desk_gives_keys_itself_and_says_so_in_the_session(desk: Desk) -> None:
    await desk.policy()
    staff = desk.site.as_("staff")
    await desk.post(f"{HERE}/session", {"channel": "desk"}, staff)
    assert (await desk.keys(staff)).status_code == 200
    assert (await desk.site.http.get(f"{HERE}/session", headers=staff)).json()["state"] == "completed"
    [event] = await desk.rows("SELECT body FROM outbox.event WHERE type = 'checkin.completed'")
    assert event["body"]["steps_open"] == 4


@pytest.mark.guarantee("G17")
async def test_keys_that_the_house_refused_are_not_called_given(desk: Desk) -> None:
    from cloud.fleet.commands import CommandResult

    guest = await desk.link()
    desk.site.edges.obey = lambda _kind, _args: CommandResult(Phase.FAILED, None, "Room 101 is still held.")
    assert (await desk.keys(guest)).json()["reason"] == "edge_refused"
    known = (await desk.site.http.get(f"{HERE}/session", headers=guest)).json()
    assert (known["state"], known["steps"][-1]["state"]) == ("open", "open")


PAID = CheckInPolicy(v=1, jurisdiction="AUT", steps=(StepKind.PAYMENT, *check_in.LAST), deposit=Deposit("EUR", 5_000))


async def test_a_deposit_may_be_taken_at_the_desk(desk: Desk) -> None:
    await desk.policy(PAID)
    guest = await desk.link()
    begun = await desk.post(f"{HERE}/session", {}, guest)
    assert begun.json()["deposit"] == {"currency": "EUR", "minor": 5_000}
    assert (await desk.keys(guest)).json()["reason"] == "steps_open"
    body = {"step": "payment", "subject": "party", "reason": "cash at the desk"}
    await desk.post(f"{HERE}/session/waivers", body, desk.site.as_("staff"))
    assert (await desk.keys(guest)).status_code == 200


@pytest.mark.requirement("PAY-01")
@pytest.mark.requirement("CHK-08")
async def test_a_deposit_by_card_with_the_bank_asking_and_its_event_signed(desk: Desk) -> None:
    await desk.policy(PAID)
    guest, staff, stripe = await desk.link(), desk.site.as_("staff"), desk.site.stripe
    asks = {"payment_method": "pm_card_threeDSecure2Required", "idempotency_key": "a"}
    assert (await desk.post(f"{HERE}/session/payment", asks, guest)).json()["reason"] == "no_deposit"
    await desk.post(f"{HERE}/session", {}, guest)
    number = await desk.post(f"{HERE}/session/payment", {**asks, "payment_method": "4242424242424242"}, guest)
    assert number.status_code == 400
    asked = (await desk.post(f"{HERE}/session/payment", asks, guest)).json()
    assert (asked["state"], asked["client_secret"] is not None) == ("needs_guest", True)
    [intent] = stripe.intents
    stripe.guest_confirms(intent)
    event = json.dumps({"data": {"object": {"object": "payment_intent", "id": intent}}}).encode()
    where = "/webhooks/payments/aurora"
    forged = {"Stripe-Signature": sign(event, "whsec_wrong", at_s=NOW_MS // 1_000)}
    assert (await desk.site.http.post(where, content=event, headers=forged)).status_code == 400
    assert (await desk.site.http.post("/webhooks/payments/nowhere", content=event)).status_code == 404
    assert states(await desk.site.http.get(f"{HERE}/session", headers=guest))["payment", "party"] == "open"
    signed = {"Stripe-Signature": sign(event, WEBHOOK_SECRET, at_s=NOW_MS // 1_000)}
    for _ in range(2):
        assert (await desk.site.http.post(where, content=event, headers=signed)).status_code == 200
    assert states(await desk.site.http.get(f"{HERE}/session", headers=guest))["payment", "party"] == "done"
    assert (await desk.keys(guest)).status_code == 200
    [payment] = (await desk.site.http.get(f"{HERE}/payments", headers=staff)).json()["payments"]
    took = await desk.post(f"{HERE}/payments/{payment['id']}/capture", {"minor": 900, "idempotency_key": "m"}, staff)
    assert (took.json()["state"], took.json()["captured"]) == ("captured", 900)
    more = await desk.post(f"{HERE}/payments/{payment['id']}/refund", {"minor": 901, "idempotency_key": "m"}, staff)
    assert (more.status_code, more.json()["reason"]) == (409, "amount_too_large")
    assert (await desk.post(f"{HERE}/payments/p-x/release", {"idempotency_key": "m"}, staff)).status_code == 404


@pytest.mark.requirement("PAY-01", "CHK-08")
async def test_a_guest_pays_on_the_providers_page_and_the_desk_may_be_faster(desk: Desk) -> None:
    await desk.policy(PAID)
    await desk.book(single(departure_ms=NOW_MS + 5 * DAY_MS, updated_ms=NOW_MS + 1))
    guest, staff, stripe = await desk.link(), desk.site.as_("staff"), desk.site.stripe
    page, look = f"{HERE}/session/payment/page", f"{HERE}/session/payment/look"
    assert (await desk.post(page, {}, guest)).json()["reason"] == "no_deposit"
    begun = (await desk.post(f"{HERE}/session", {}, guest)).json()
    assert begun["deposit_standing"] == {"held": False, "by_page": True, "state": None, "failure": None}
    foreign = {**guest, "Origin": "https://evil.example"}
    opened = (await desk.post(page, {"language": "fr"}, foreign)).json()
    [id_] = stripe.pages
    assert opened == {"url": f"http://stripe.invalid/pay/{id_}", "state": "needs_guest", "failure": None}
    assert stripe.pages[id_]["success_url"] == "http://cloud.test/guest/#payment=done", "back to us, and nobody else"
    assert (stripe.pages[id_]["locale"], stripe.pages[id_]["_title"]) == ("fr", "Caution, Hotel Aurora")
    told = stripe.pages[id_] | {"_intent": None}
    assert guest["Authorization"].removeprefix("Bearer ") not in json.dumps(told), "the link is ours to keep"
    assert (await desk.post(look, {}, guest)).json()["state"] == "needs_guest"
    stripe.pays(id_, "pm_card_visa")
    event = json.dumps({"data": {"object": {"object": "checkout.session", "id": id_, "payment_intent": "pi"}}}).encode()
    signed = {"Stripe-Signature": sign(event, WEBHOOK_SECRET, at_s=NOW_MS // 1_000)}
    assert (await desk.site.http.post("/webhooks/payments/aurora", content=event, headers=signed)).status_code == 200
    held = (await desk.post(look, {}, guest)).json()
    assert held == {"held": True, "by_page": True, "state": "held", "failure": None}
    assert states(await desk.site.http.get(f"{HERE}/session", headers=guest))["payment", "party"] == "done"
    assert (await desk.post(page, {}, guest)).json()["reason"] == "deposit_done"

    desk.site.clock.advance(LIFE_MS)
    anew = (await desk.post(f"{HERE}/session", {}, guest)).json()
    assert anew["id"] != begun["id"]
    assert anew["deposit_standing"]["held"], "a check-in that begins anew asks for no second deposit"

    [payment] = (await desk.site.http.get(f"{HERE}/payments", headers=staff)).json()["payments"]
    await desk.post(f"{HERE}/payments/{payment['id']}/release", {"idempotency_key": "r"}, staff)
    await desk.post(page, {}, guest)
    second = list(stripe.pages)[1]
    waived = {"step": "payment", "subject": "party", "reason": "cash at the desk"}
    assert (await desk.post(f"{HERE}/session/waivers", waived, staff)).status_code == 200
    await desk.site.payments.settle_due({AURORA.id: AURORA})
    assert stripe.pages[second]["status"] == "expired"


@pytest.mark.requirement("PAY-01")
async def test_a_check_in_that_begins_anew_leaves_no_page_of_the_old_one_to_be_paid_on(desk: Desk) -> None:
    await desk.policy(PAID)
    await desk.book(single(departure_ms=NOW_MS + 5 * DAY_MS, updated_ms=NOW_MS + 1))
    guest, stripe = await desk.link(), desk.site.stripe
    for _ in range(2):
        await desk.post(f"{HERE}/session", {}, guest)
        assert (await desk.post(f"{HERE}/session/payment/page", {}, guest)).json()["url"] is not None
        desk.site.clock.advance(LIFE_MS)
        guest = await desk.link()
    await desk.site.payments.settle_due({AURORA.id: AURORA})
    assert [each["status"] for each in stripe.pages.values()] == ["expired", "open"]


@pytest.mark.guarantee("G6")
async def test_a_policy_is_held_against_what_was_and_then_rolled_out(desk: Desk) -> None:
    admin = desk.site.as_("admin")
    await desk.post(f"{HERE}/session", {}, desk.site.as_("staff"))
    policy = {
        "v": 1,
        "jurisdiction": "AUT",
        "steps": ["terms", "room", "grant"],
        "terms": "1",
        "opens_before_minutes": 0,
    }
    asked = {"policy": policy, "properties": ["aurora", "borealis"]}
    told = (await desk.post("/api/v1/policies/dry-run", asked, admin)).json()
    assert told == {
        "sessions": 1, "too_early": 0, "steps_asked": {"terms": 1, "room": 1, "grant": 1},
        "steps_then": {"room": 1, "grant": 1},
    }  # fmt: skip
    assert (await desk.post("/api/v1/policies/dry-run", asked, desk.site.as_("other"))).json()["sessions"] == 0
    made = await desk.post("/api/v1/policies/releases", {"policy": policy, "rings": [["aurora"]]}, admin)
    assert (made.status_code, made.json()["state"]) == (201, "rolling")
    assert made.json()["properties"] == [{"property": "aurora", "version": 1, "verdict": None, "detail": None}]
    where = f"/api/v1/policies/releases/{made.json()['id']}"
    assert (await desk.site.http.get(where, headers=desk.site.as_("other"))).status_code == 404
    for wrong in ({"steps": ["grant", "room"]}, {"steps": ["room", "grant"], "v": 2}, {"terms": None}):
        body = {"policy": {**policy, **wrong}, "rings": [["aurora"]]}
        assert (await desk.post("/api/v1/policies/releases", body, admin)).status_code == 400, wrong
    theirs = {"policy": policy, "rings": [["borealis"]]}
    assert (await desk.post("/api/v1/policies/releases", theirs, admin)).status_code == 400


async def test_the_desk_sees_who_waits_for_it_and_for_how_long(desk: Desk) -> None:
    await desk.policy()
    await desk.book(single(), single("r2", room="102"))
    queue, staff = "/api/v1/properties/aurora/hand-overs", desk.site.as_("staff")

    async def waiting(*, by_time: bool = True) -> list[tuple[str, str | None, list[tuple[str, str]]]]:
        answer = await desk.site.http.get(queue, headers=staff)
        assert answer.status_code == 200, answer.text
        told = answer.json()["hand_overs"]
        assert ([each["since"] for each in told] == sorted(each["since"] for each in told)) is by_time
        return [(one["stay"], one["asked"], [(step["step"], step["reason"]) for step in one["steps"]]) for one in told]

    async def went_on() -> dict[str, str | None]:
        told = (await desk.site.http.get(queue, headers=staff)).json()["hand_overs"]
        return {each["stay"]: each["went_on_at"] for each in told}

    first, second = await desk.link(THERE), await desk.link()
    await desk.post(f"{HERE}/session", {}, second)
    await desk.post(f"{THERE}/session", {}, first)
    assert await waiting() == []
    await desk.anna(second, {**ANNA, "birth_date": "2015-05-01"})
    desk.site.clock.advance(60_000)
    await desk.post(f"{THERE}/session/help", {"reason": "the lift is stuck"}, first)
    assert await waiting() == [(STAY, None, [("identity", "minor_alone")]), (OTHER, "the lift is stuck", [])]
    for who, status in ((second, 403), (desk.site.as_("viewer"), 403), (desk.site.as_("other"), 404)):
        assert (await desk.site.http.get(queue, headers=who)).status_code == status
    await desk.anna(second, ANNA)
    assert await waiting() == [(OTHER, "the lift is stuck", [])]
    await desk.post(f"{HERE}/session/help", {"reason": "which terms?"}, second)
    desk.site.clock.advance(60_000)
    await desk.post(f"{THERE}/session/help", {"reason": "the lift is stuck still"}, first)
    assert await went_on() == {STAY: None, OTHER: None}
    done = await desk.post(f"{HERE}/session/guests/g1/document", {"mrz": passport()}, second)
    assert await went_on() == {STAY: iso(at(desk.site.clock.wall_ms())), OTHER: None}, done.text
    assert [stay for stay, *_ in await waiting(by_time=False)] == [OTHER, STAY], "who waits comes first"
    assert (await desk.keys(staff, path=THERE)).status_code == 200
    assert await waiting() == [(STAY, "which terms?", [])]
