"""Refunds by two over HTTP: the rule, what waits, who may say yes, and that nobody else's house is touched."""

from typing import Any

import httpx
import pytest

from cloud.platform import audit
from tests.cloud.checkin.front_desk import HERE, STAY, Desk
from tests.cloud.checkin.test_sessions import PAID
from tests.cloud.checkin.test_sessions import desk as desk

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("PAY-03", "SEC-06")]
HOUSE = "/api/v1/properties/aurora"


async def taken(desk: Desk, minor: int = 900) -> str:
    """Let a deposit have been taken; return the payment's address."""
    await desk.policy(PAID)
    guest = await desk.link()
    await desk.post(f"{HERE}/session", {}, guest)
    asks = {"payment_method": "pm_card_visa", "idempotency_key": "a"}
    held = (await desk.post(f"{HERE}/session/payment", asks, guest)).json()
    at = f"{HERE}/payments/{held['id']}"
    took = await desk.post(f"{at}/capture", {"minor": minor, "idempotency_key": "c"}, desk.site.as_("staff"))
    assert took.status_code == 200, took.text
    return at


async def test_the_rule_is_an_admins_and_a_refund_above_it_is_two_peoples(desk: Desk) -> None:
    site, at = desk.site, await taken(desk)

    async def ask(who: str, path: str, body: object, method: str = "POST") -> tuple[int, Any]:
        answer: httpx.Response = await site.http.request(method, path, json=body, headers=site.as_(who))
        return answer.status_code, answer.json()

    def moved(told: Any, key: str) -> dict[str, Any]:
        [found] = [each for each in told["movements"] if (each["verb"], each["key"]) == ("refund", key)]
        return dict(found)

    async def waiting(who: str) -> list[tuple[str, int, bool]]:
        told = (await site.http.get(f"{HOUSE}/waiting-refunds", headers=site.as_(who))).json()["refunds"]
        return [(each["stay"], each["minor"], each["mine"]) for each in told]

    rule = (await site.http.get(f"{HOUSE}/refund-rule", headers=site.as_("staff"))).json()
    assert rule == {"limit": None, "set_by": None, "set_at": None}
    limit = {"limit": {"currency": "EUR", "minor": 100}}
    for who, status in (("viewer", 403), ("staff", 403), ("other", 404), ("narrow", 404), ("admin", 200)):
        assert (await ask(who, f"{HOUSE}/refund-rule", limit, "PUT"))[0] == status
    for wrong in (
        {"limit": {"currency": "eur", "minor": 1}},
        {"limit": {"currency": "EUR", "minor": -1}},
        {"limit": 1},
        {},
    ):
        assert (await ask("admin", f"{HOUSE}/refund-rule", wrong, "PUT"))[0] == 400
    rule = (await site.http.get(f"{HOUSE}/refund-rule", headers=site.as_("staff"))).json()
    assert (rule["limit"], rule["set_by"]) == (limit["limit"], "admin")

    status, told = await ask("staff", f"{at}/refund", {"minor": 100, "idempotency_key": "small"})
    assert (status, told["refunded"], moved(told, "small")["state"]) == (200, 100, "done")
    big = {"minor": 300, "idempotency_key": "big", "reason": "cold breakfast"}
    status, told = await ask("staff", f"{at}/refund", big)
    assert (status, told["refunded"], moved(told, "big")["state"]) == (200, 100, "waiting")
    assert [await waiting(who) for who in ("staff", "colleague", "admin")] == [
        [(STAY, 300, True)],
        [(STAY, 300, False)],
        [(STAY, 300, False)],
    ]
    word = {"minor": 300, "idempotency_key": "big"}
    for who, status, reason in (
        ("staff", 409, "same_person"),
        ("viewer", 403, None),
        ("other", 404, None),
        ("narrow", 404, None),
    ):
        found, refused = await ask(who, f"{at}/refund/approval", word)
        assert (found, refused.get("reason")) == (status, reason)
    assert (await ask("colleague", f"{at}/refund/approval", word | {"minor": 200}))[1]["reason"] == "other_amount"
    for _ in range(2):
        status, told = await ask("colleague", f"{at}/refund/approval", word)
        assert (status, told["refunded"]) == (200, 400)
    done = moved(told, "big")
    assert (done["state"], done["asked_by"], done["approved_by"]) == ("done", "staff", "colleague")
    assert await waiting("admin") == []
    assert [minor for what, _, minor in site.stripe.effects if what == "refund"] == [100, 300]

    await ask("staff", f"{at}/refund", {"minor": 50, "idempotency_key": "third"})
    status, told = await ask("colleague", f"{at}/refund/withdrawal", {"idempotency_key": "third"})
    assert (status, moved(told, "third")["failure"]) == (200, "withdrawn")
    assert (await ask("admin", f"{at}/refund/approval", {"minor": 50, "idempotency_key": "third"}))[0] == 409
    async with site.database.snapshot() as connection:
        trail = await audit.page(connection, tenant="northlight", before=None, most=100)
        assert (await audit.verify(connection, tenant="northlight")).flaws == ()
    assert {(each.actor, each.action) for each in trail if each.outcome == "done"} >= {
        ("admin", "payment.rule"),
        ("colleague", "payment.refund.approve"),
        ("staff", "payment.refund"),
        ("colleague", "payment.refund.withdraw"),
    }
    assert (await ask("admin", f"{HOUSE}/refund-rule", {"limit": None}, "PUT"))[1]["limit"] is None
