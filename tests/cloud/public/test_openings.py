"""Opening from afar over the cloud's API: a guest's own link carries what his phone signed; the cloud adds nothing."""

import hashlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cloud.fleet.commands import CommandResult
from cloud.kit.database import fetch_all
from cloud.stays.stays import stay_id, upsert_reservations
from protocols.cose import sign_raw
from protocols.device_model.command import Phase
from protocols.device_model.identity import EdgeId
from protocols.door.remote_open import LATE_AFTER_MS, OpenOutcome, OpenRefusal, statement_of, to_sign
from protocols.door.vendor_keys import OpensAfar
from protocols.link.documents import CommandEnvelope
from protocols.vectors.fixed import fixed_hotel
from tests.cloud.edges import done
from tests.cloud.houses import AURORA, NOW_MS, PLACE, reservation
from tests.cloud.public.conftest import Site
from tests.edge.app.test_opening_from_afar import Node

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("A11", "P15")]

STAY = stay_id(AURORA.id, "mews", "r1")
HOUSE = "/api/v1/properties/aurora"
OPENINGS = f"{HOUSE}/stays/{STAY}/door-openings"


def signed(number: int = 1, *, property_id: str = "aurora") -> str:
    statement = statement_of(bytes([number] * 16), NOW_MS, property_id, "ik-0123456789abcdef01234567", "annex-a1")
    return (statement + sign_raw(fixed_hotel().phone, to_sign(statement))).hex()


def house_says(outcome: OpenOutcome, reason: str | None = None) -> CommandResult:
    """Return what an edge answers (edge/app/door_commands.py)."""
    opened = {OpenOutcome.CONFIRMED, OpenOutcome.ACCEPTED}
    phase = Phase.DONE if outcome in opened else Phase.UNKNOWN if outcome is OpenOutcome.UNKNOWN else Phase.FAILED
    result: dict[str, Any] = {"phase": phase.value, "read_back": outcome.value}
    return CommandResult(phase, result | ({} if reason is None else {"reason": reason}), reason)


@pytest.fixture
async def guest(site: Site) -> dict[str, str]:
    """Return what the phone of the stay's guest sends along."""
    async with site.database.transaction() as connection:
        await upsert_reservations(connection, PLACE, [reservation(), reservation("r2", room="102")], now_ms=NOW_MS)
    answer = await site.http.post(f"{HOUSE}/stays/{STAY}/guest-links", headers=site.as_("staff"))
    return {"Authorization": f"Bearer {answer.json()['token']}"}


@pytest.mark.guarantee("G13")
async def test_what_the_phone_signed_reaches_the_house_as_it_is_and_is_kept_nowhere_here(
    site: Site, guest: dict[str, str]
) -> None:
    site.edges.obey = lambda _kind, _args: house_says(OpenOutcome.CONFIRMED)
    for _ in range(2):
        answer = await site.http.post(OPENINGS, headers=guest, json={"request": signed()})
        assert (answer.status_code, answer.json()) == (200, {"outcome": "online-confirmed", "reason": None}), (
            answer.text
        )
    assert site.edges.effects == [("open_door", {"request": signed()})], "the same request is the same question"
    await site.http.post(OPENINGS, headers=guest, json={"request": signed(2)})
    assert len(site.edges.effects) == 2
    async with site.database.transaction() as connection:
        kept = await fetch_all(connection, "SELECT args, result, idempotency_key FROM fleet.command")
    assert {(str(row["args"]), str(row["result"])) for row in kept} == {("{}", "None")}
    assert not any(signed()[:64] in repr(row) for row in kept)
    digest = hashlib.sha256(bytes.fromhex(signed())).hexdigest()[:40]
    assert f"open-door:{digest}" in {row["idempotency_key"] for row in kept}


@pytest.mark.parametrize("outcome", [each for each in OpenOutcome if each is not OpenOutcome.REFUSED])
async def test_the_houses_word_is_passed_on_no_better_than_it_is(
    site: Site, guest: dict[str, str], outcome: OpenOutcome
) -> None:
    site.edges.obey = lambda _kind, _args: house_says(outcome, "annex: words for engineers, with an address in them")
    answer = await site.http.post(OPENINGS, headers=guest, json={"request": signed()})
    assert (answer.status_code, answer.json()) == (200, {"outcome": outcome.value, "reason": None})


@pytest.mark.parametrize("refusal", OpenRefusal)
async def test_why_the_house_refused_is_said(site: Site, guest: dict[str, str], refusal: OpenRefusal) -> None:
    site.edges.obey = lambda _kind, _args: house_says(OpenOutcome.REFUSED, refusal.value)
    answer = await site.http.post(OPENINGS, headers=guest, json={"request": signed()})
    assert (answer.status_code, answer.json()) == (200, {"outcome": "refused", "reason": refusal.value})


async def test_a_house_that_is_away_or_silent_or_late_is_said_with_what_may_be_so(
    site: Site, guest: dict[str, str]
) -> None:
    async def ask(number: int) -> tuple[int, str, bool]:
        answer = await site.http.post(OPENINGS, headers=guest, json={"request": signed(number)})
        told = answer.json()
        return answer.status_code, told["reason"], told["may_have_taken_effect"]

    site.edges.lost = True
    assert await ask(1) == (503, "edge_away", False)
    site.edges.lost, site.edges.silent = False, True
    site.edges.obey = lambda _kind, _args: house_says(OpenOutcome.CONFIRMED)
    assert await ask(2) == (504, "unanswered", True)
    site.edges.silent = False
    site.edges.obey = lambda _kind, _args: CommandResult(Phase.EXPIRED, None, "9 ms after its deadline")
    assert await ask(3) == (504, "too_late", False)
    site.edges.obey = lambda _kind, _args: CommandResult(Phase.FAILED, None, "this edge has no doors process")
    assert await ask(4) == (409, "edge_refused", False)
    site.edges.obey = lambda _kind, _args: done({"ajar": True})
    assert await ask(5) == (409, "answered_before", False)
    assert len(site.edges.effects) == 4


async def test_only_the_stays_own_guest_asks_and_only_for_his_own(site: Site, guest: dict[str, str]) -> None:
    body = {"request": signed()}
    other = f"{HOUSE}/stays/{stay_id(AURORA.id, 'mews', 'r2')}/door-openings"
    for role in ("viewer", "staff", "admin"):
        assert (await site.http.post(OPENINGS, headers=site.as_(role), json=body)).status_code == 403
    assert (await site.http.post(other, headers=guest, json=body)).status_code in {403, 404}
    assert (await site.http.post(OPENINGS, json=body)).status_code == 401
    elsewhere = OPENINGS.replace("aurora", "borealis", 1)
    assert (await site.http.post(elsewhere, headers=guest, json=body)).status_code in {403, 404}
    await site.http.delete(f"{HOUSE}/stays/{STAY}/guest-links", headers=site.as_("staff"))
    assert (await site.http.post(OPENINGS, headers=guest, json=body)).status_code == 403
    assert site.edges.sent == []


async def test_what_is_no_request_or_one_for_another_hotel_never_leaves(site: Site, guest: dict[str, str]) -> None:
    good = signed()
    cut, odd, later, longer = good[:-2], good[:-1], "02" + good[2:], good + "00"
    named = [{"request": each} for each in ("", "zz", cut, odd, later, longer)]
    for wrong in ({}, *named, {"request": good, "door": "annex-a1"}):
        answer = await site.http.post(OPENINGS, headers=guest, json=wrong)
        assert answer.status_code == 400, (wrong, answer.text)
    answer = await site.http.post(OPENINGS, headers=guest, json={"request": signed(property_id="borealis")})
    assert (answer.status_code, answer.json()["reason"]) == (409, "wrong_property")
    assert site.edges.sent == []


@pytest.mark.guarantee("G13")
async def test_from_the_guests_link_to_the_vendors_lock_and_nothing_that_the_cloud_makes_up(
    site: Site, guest: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real node behind the route: its link, its doors' desk, a vendor's system in memory."""
    with closing(Node(tmp_path)) as node:
        await through(node, site, guest, monkeypatch)


async def through(node: Node, site: Site, guest: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    node.clock.step_wall(NOW_MS - node.clock.wall_ms())

    async def send(
        edge: str, kind: str, args: dict[str, Any], idempotency_key: str, deadline_ms: int, *, command_id: str
    ) -> CommandResult:
        now_ms = node.clock.wall_ms()
        command = CommandEnvelope(EdgeId(edge), command_id, idempotency_key, kind, args, deadline_ms, now_ms)
        answer = await node.commands.obey(command)
        return CommandResult(Phase(answer.phase), answer.result, answer.error)

    async def ask(request: str) -> tuple[str, str | None]:
        answer = await site.http.post(OPENINGS, headers=guest, json={"request": request})
        assert answer.status_code == 200, answer.text
        return answer.json()["outcome"], answer.json()["reason"]

    monkeypatch.setattr(site.edges, "send", send)
    good = await node.signed()
    for _ in range(2):
        assert await ask(good) == ("online-confirmed", None)
    assert node.opened == 1, "asked again, it is told what came of it"
    assert await ask(good[:-128] + signed()[-128:]) == ("refused", "bad_signature")
    assert await ask(signed()) == ("refused", "unknown_key")
    kept = await node.signed()
    for clock in (node.clock, site.clock):
        clock.advance(LATE_AFTER_MS + 1)
    assert await ask(kept) == ("refused", "late")
    await node.site.methods.end_stay("s-anna")
    opens = node.site.keys.of_stay("s-anna")[0].grant
    named = OpensAfar("aurora", opens, "online-confirmed", (("annex-a1", "a1"),))
    assert await ask(node.site.request(node.anna, named).hex()) == ("refused", "ended")
    assert node.opened == 1
