"""The terms of a house: written once, shown in the guest's language, and what he accepted named by its very text."""

import hashlib
import importlib
from typing import Any

import msgspec
import psycopg
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import NullPool, create_engine

from cloud.checkin.registrations import Registrations
from cloud.checkin.terms import CHARACTERS_MOST, written
from cloud.kit.database import fetch_all
from cloud.stays.listing import stay_by_id
from protocols.errors import InvalidInputError
from protocols.policy import check_in
from protocols.policy.check_in import StepKind
from tests.cloud.checkin.front_desk import HERE, POLICY, STAY, Desk
from tests.cloud.houses import AURORA
from tests.cloud.public.conftest import Site
from tests.cloud.public.conftest import site as site

pytestmark = pytest.mark.requirement("CHK-04")
TERMS = "/api/v1/properties/aurora/terms"
GERMAN, ENGLISH = "Frühstück von 7 bis 10.\n\nRuhe ab 22 Uhr.", "Breakfast is from 7 to 10.\n\nQuiet from 22:00."
AGREES = msgspec.structs.replace(POLICY, steps=(StepKind.IDENTITY, StepKind.TERMS, *check_in.LAST))


@pytest.fixture
async def desk(site: Site) -> Desk:
    house = Desk(site)
    await house.book()
    await house.policy(AGREES)
    return house


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def publish(desk: Desk, text: str, language: str = "de", *, who: str = "admin", version: str = "2026-1") -> int:
    answer = await desk.site.http.put(f"{TERMS}/{version}/{language}", json={"text": text}, headers=desk.site.as_(who))
    return answer.status_code


@pytest.mark.tier("postgres")
async def test_a_guest_accepts_the_text_that_he_read_and_the_desk_can_show_it(desk: Desk) -> None:
    assert await publish(desk, f"\r\n{GERMAN}  \r\n") == 200
    assert await publish(desk, ENGLISH, "en") == 200
    guest, staff = await desk.link(), desk.site.as_("staff")
    assert (await desk.site.http.get(f"{HERE}/session/terms", headers=guest)).status_code == 404, "no session yet"
    await desk.post(f"{HERE}/session", {"language": "de"}, guest)
    await desk.anna(guest)
    shown = (await desk.site.http.get(f"{HERE}/session/terms?language=de", headers=guest)).json()
    assert shown == {
        "version": "2026-1", "language": "de", "languages": ["de", "en"], "text": GERMAN, "sha256": sha256(GERMAN),
    }  # fmt: skip
    spare = (await desk.site.http.get(f"{HERE}/session/terms?language=ar", headers=guest)).json()
    assert (spare["language"], spare["text"]) == ("en", ENGLISH)
    for body in (
        {"version": "2026-1"},
        {"version": "2026-1", "sha256": "0" * 64},
        {"version": "2025-1", "sha256": None},
    ):
        refused = await desk.post(f"{HERE}/session/terms", body, guest)
        assert (refused.status_code, refused.json()["field"]) == (400, "version"), body
    agreed = await desk.post(f"{HERE}/session/terms", {"version": "2026-1", "sha256": sha256(ENGLISH)}, guest)
    assert agreed.json()["next"]["step"] == "grant"
    people = (await desk.site.http.get(f"{HERE}/session/people", headers=staff)).json()
    [kept] = [each for each in people["evidence"] if each["step"] == "terms"]
    assert kept["evidence"] == {"version": "2026-1", "language": "en", "sha256": sha256(ENGLISH)}
    one = await desk.site.http.get(f"{TERMS}/2026-1/en", headers=staff)
    assert one.json()["text"] == ENGLISH
    made = await desk.site.http.get(f"{HERE}/session/guests/g1/card", headers=staff)
    assert made.content.startswith(b"%PDF-")
    async with desk.site.database.transaction() as connection:
        stay = await stay_by_id(connection, tenant=AURORA.tenant, property_id=AURORA.id, stay=STAY)
    assert stay is not None
    card = await Registrations(desk.site.database, desk.site.sessions, clock=desk.site.clock).card(AURORA, stay, "g1")
    assert card is not None
    assert card.terms.startswith(f"Version 2026-1, as shown in 'en', SHA-256 {sha256(ENGLISH)}. Accepted by ")


@pytest.mark.tier("postgres")
async def test_two_languages_with_the_same_words_are_told_apart_by_what_was_shown(desk: Desk) -> None:
    for language in ("de", "en", "fr"):
        assert (
            await publish(desk, "WiFi: aurora-guest\n\nTaxi: 31300" if language != "fr" else "Taxi.", language) == 200
        )
    guest, staff = await desk.link(), desk.site.as_("staff")
    await desk.post(f"{HERE}/session", {"language": "en"}, guest)
    await desk.anna(guest)
    shown = (await desk.site.http.get(f"{HERE}/session/terms?language=en", headers=guest)).json()
    assert shown["language"] == "en"
    body = {"version": "2026-1", "sha256": shown["sha256"]}
    unclear = await desk.post(f"{HERE}/session/terms", body, guest)
    assert (unclear.status_code, unclear.json()["field"]) == (400, "language")
    assert "de, en" in unclear.json()["detail"]
    other = await desk.post(f"{HERE}/session/terms", {**body, "language": "fr"}, guest)
    assert (other.status_code, other.json()["field"]) == (400, "version")
    agreed = await desk.post(f"{HERE}/session/terms", {**body, "language": "en"}, guest)
    assert agreed.json()["next"]["step"] == "grant"
    people = (await desk.site.http.get(f"{HERE}/session/people", headers=staff)).json()
    [kept] = [each for each in people["evidence"] if each["step"] == "terms"]
    assert kept["evidence"] == {"version": "2026-1", "language": "en", "sha256": shown["sha256"]}


@pytest.mark.tier("postgres")
async def test_what_was_accepted_before_consents_named_their_language_names_all_it_can_have_been(
    desk: Desk, dsn: str
) -> None:
    for language, text in (("de", "Taxi: 31300"), ("en", "Taxi: 31300"), ("fr", "Taxi.")):
        assert await publish(desk, text, language) == 200
    guest = await desk.link()
    await desk.post(f"{HERE}/session", {}, guest)
    await desk.anna(guest)
    agreed = await desk.post(
        f"{HERE}/session/terms", {"version": "2026-1", "sha256": sha256("Taxi: 31300"), "language": "en"}, guest
    )
    assert agreed.status_code == 200

    async def kept() -> Any:
        async with desk.site.database.transaction() as connection:
            return (await fetch_all(connection, "SELECT evidence FROM checkin.step WHERE kind = 'terms'"))[0][
                "evidence"
            ]

    named = await kept()
    module = importlib.import_module("cloud.checkin.migrations.checkin_0004")
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    try:
        for step, expected in (
            (module.downgrade, named),
            (module.upgrade, {"version": "2026-1", "languages": ["de", "en"], "sha256": sha256("Taxi: 31300")}),
            (module.upgrade, {"version": "2026-1", "languages": ["de", "en"], "sha256": sha256("Taxi: 31300")}),
            (module.downgrade, {**named, "language": "de"}),
        ):
            with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
                step()
            assert await kept() == expected
    finally:
        engine.dispose()


@pytest.mark.tier("postgres")
async def test_a_text_that_stands_is_never_another(desk: Desk) -> None:
    assert await publish(desk, GERMAN, who="staff") == 403
    assert await publish(desk, GERMAN, who="other") == 404
    assert await publish(desk, GERMAN) == 200
    assert await publish(desk, GERMAN) == 200, "the same again"
    assert await publish(desk, GERMAN + " Kein Frühstück.") == 409
    assert await publish(desk, GERMAN + " Kein Frühstück.", version="2026-2") == 200
    listed = (await desk.site.http.get(TERMS, headers=desk.site.as_("staff"))).json()
    assert listed["in_force"] == "2026-1"
    assert {each["version"] for each in listed["versions"]} == {"2026-1", "2026-2"}
    assert (await desk.site.http.get(f"{TERMS}/2026-1/fr", headers=desk.site.as_("staff"))).status_code == 404
    for text, language, version in (("x", "deu", "1"), ("x", "de", "a b"), (" \n ", "de", "1"), ("a\u0007", "de", "1")):
        assert await publish(desk, text, language, version=version) == 400, (text, language, version)


@pytest.mark.tier("postgres")
async def test_where_no_text_was_written_the_desk_has_it_on_paper(desk: Desk) -> None:
    guest = await desk.link()
    await desk.post(f"{HERE}/session", {}, guest)
    await desk.anna(guest)
    shown = (await desk.site.http.get(f"{HERE}/session/terms", headers=guest)).json()
    assert shown == {"version": "2026-1", "language": None, "languages": [], "text": None, "sha256": None}
    invented = await desk.post(f"{HERE}/session/terms", {"version": "2026-1", "sha256": "0" * 64}, guest)
    assert invented.status_code == 400
    assert (await desk.post(f"{HERE}/session/terms", {"version": "2026-1"}, guest)).json()["next"]["step"] == "grant"


@given(st.text(max_size=200))
def test_any_text_is_kept_the_same_way_twice_or_refused(text: str) -> None:
    try:
        once = written(text)
    except InvalidInputError:
        return
    assert written(once) == once
    assert once.strip() != ""
    assert "\r" not in once


def test_a_text_has_a_bound() -> None:
    assert len(written("x" * CHARACTERS_MOST)) == CHARACTERS_MOST
    with pytest.raises(InvalidInputError):
        written("x" * (CHARACTERS_MOST + 1))
