"""Cards and the authority's file: whole, of its published form, and silent about nobody."""

from dataclasses import replace
from datetime import date

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.checkin.alloggiati import ROW_CHARACTERS, Arrival, report
from cloud.checkin.judgement import (
    UnreadableZoneError,
    judge_document,
    judge_identity,
    judge_signature,
    read_document,
)
from cloud.checkin.people import DocumentFacts, GuestFacts
from cloud.checkin.registration_card import Card, Companion, card_pdf, latin1
from cloud.checkin.screening import Listed, ListScreening, Person
from cloud.checkin.steps import StepState
from cloud.kit.times import at
from cloud.stays.life import EdgeState
from cloud.stays.stays import EdgeFact, apply_edge_facts
from protocols.errors import InvalidInputError
from protocols.policy import check_in
from tests.cloud.checkin.front_desk import ANNA, HERE, STAY, Desk
from tests.cloud.checkin.test_sessions import desk as desk
from tests.cloud.checkin.zones import passport
from tests.cloud.houses import NOW_MS, PLACE
from tests.cloud.public.conftest import Site
from tests.cloud.public.conftest import site as site

TODAY = date(2026, 11, 18)
FACTS = GuestFacts("Berger", "Anna", date(1980, 5, 1), "AUT", "AUT", "Musterweg 1, Wien")
DOCUMENT = read_document(passport(), today=TODAY)
STATES = {"AUT": "100000203", "DEU": "100000216", "ITA": "100000100"}


def arrival(*guests: tuple[GuestFacts, DocumentFacts | None]) -> Arrival:
    told = [(f"g{n}", facts, document) for n, (facts, document) in enumerate(guests, 1)]
    return Arrival("s-1", TODAY, date(2026, 11, 21), told)


@pytest.mark.requirement("SEC-20")
def test_a_single_guest_is_one_row_of_the_published_columns() -> None:
    made = report([arrival((FACTS, DOCUMENT))], states=STATES)
    assert (made.guests, made.missing) == (1, ())
    row = made.text
    assert len(row) == ROW_CHARACTERS
    columns = [2, 10, 2, 50, 30, 1, 10, 9, 2, 9, 9, 5, 20, 9]
    starts = [sum(columns[:n]) for n in range(len(columns))]
    told = [row[start : start + width].rstrip() for start, width in zip(starts, columns, strict=True)]
    assert told == [
        "16", "18/11/2026", "03", "BERGER", "ANNA", "2", "01/05/1980", "", "", "100000203", "100000203",
        "PASOR", "L898902C3", "100000203",
    ]  # fmt: skip


def test_a_family_has_a_head_and_members_without_papers() -> None:
    child = GuestFacts("Berger", "Mia", date(2019, 2, 1), "AUT", "AUT")
    made = report([arrival((FACTS, DOCUMENT), (child, DOCUMENT))], states=STATES)
    head, member = made.text.split("\r\n")
    assert (head[:2], member[:2], member[-34:]) == ("18", "20", " " * 34)
    assert {len(head), len(member)} == {ROW_CHARACTERS}


@pytest.mark.parametrize(
    ("facts", "document", "problem"),
    [
        (msgspec.structs.replace(FACTS, birth_date=None), None, "birth_date"),
        (msgspec.structs.replace(FACTS, nationality=None), DOCUMENT, "nationality"),
        (msgspec.structs.replace(FACTS, birth_state=None), DOCUMENT, "birth_state"),
        (msgspec.structs.replace(FACTS, birth_state="ITA"), DOCUMENT, "municipality"),
        (msgspec.structs.replace(FACTS, nationality="XXA"), DOCUMENT, "no code"),
        (msgspec.structs.replace(FACTS, surname="李"), DOCUMENT, "by hand"),
        (FACTS, None, "sex"),
        (FACTS, msgspec.structs.replace(DOCUMENT, sex="X"), "sex"),
        (FACTS, msgspec.structs.replace(DOCUMENT, code="V"), "by hand"),
    ],
)
def test_who_cannot_be_reported_is_named_and_nothing_is_guessed(
    facts: GuestFacts, document: DocumentFacts | None, problem: str
) -> None:
    made = report([arrival((facts, document), (FACTS, DOCUMENT))], states=STATES)
    assert (made.text, made.guests) == ("", 0), "no member without a head"
    assert [each.slot for each in made.missing] == ["g1", "g2"]
    assert problem in made.missing[0].problem


def test_a_card_is_a_pdf_that_is_the_same_each_time_and_takes_any_name() -> None:
    other = Companion(msgspec.structs.replace(FACTS, given_names="Łucja 李"), None)
    card = Card(
        "Hotel Aurora", "N-1", "101", TODAY, date(2026, 11, 21), FACTS, DOCUMENT, (other,), "", "", at(NOW_MS)
    )  # fmt: skip
    made = card_pdf(card)
    assert made.startswith(b"%PDF-")
    assert made == card_pdf(card)
    assert made != card_pdf(replace(card, signed="Confirmed by guest"))
    assert made != card_pdf(replace(card, terms="Version 2026-1, as shown in 'de'"))


@pytest.mark.guarantee("G19")
@given(st.text(max_size=80))
def test_any_text_can_be_printed(text: str) -> None:
    latin1(text).encode("latin-1")


def test_letters_outside_latin_1_are_transcribed() -> None:
    assert latin1("Łukasz Čapek-Müller 李") == "Lukasz Capek-Müller ?"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"expiry": date(2026, 11, 17)}, "document_expired"),
        ({"expiry": TODAY}, None),
        ({"code": "V"}, "document_not_accepted"),
        ({"birth": date(1980, 5, 2)}, "birth_date_differs"),
        ({"nationality": "DEU"}, "nationality_differs"),
        ({"state": "UTO"}, "specimen"),
        ({"surname": "Bergen"}, "name_similar"),
        ({"surname": "Huber", "given_names": "Eva"}, "name_different"),
    ],
)
@pytest.mark.requirement("CHK-07")
def test_a_document_that_does_not_fit_is_for_staff(changes: dict[str, object], reason: str | None) -> None:
    document = read_document(passport(**{k: v for k, v in changes.items() if k != "code"}), today=TODAY)  # type: ignore[arg-type]  # changes by name
    if "code" in changes:
        document = msgspec.structs.replace(document, code=str(changes["code"]))
    verdict = judge_document(document, FACTS, policy=check_in.DEFAULT, today=TODAY, hits=[])
    assert verdict.reason == reason
    assert verdict.state is (StepState.DONE if reason is None else StepState.NEEDS_STAFF)
    assert verdict.evidence["picture_kept"] is False


def test_a_zone_with_a_wrong_digit_is_read_again_and_the_answer_does_not_repeat_it() -> None:
    wrong = passport().replace("L898902C3", "L898902C8")
    with pytest.raises(UnreadableZoneError) as refused:
        read_document(wrong, today=TODAY)
    assert {each["problem"] for each in refused.value.findings} == {"check_digit"}
    assert "L898902C8" not in repr(refused.value.findings)


def test_a_signature_is_the_guests_name_on_a_whole_card() -> None:
    assert judge_signature("anna BERGER", FACTS).state is StepState.DONE
    for wrong in ("Eva Huber", "", "A"):
        with pytest.raises(InvalidInputError):
            judge_signature(wrong, FACTS)
    with pytest.raises(InvalidInputError, match="birth_date"):
        judge_signature("Anna Berger", GuestFacts("Berger", "Anna"))


@pytest.mark.requirement("SEC-16")
@pytest.mark.requirement("SEC-17")
def test_a_watchlist_match_is_a_review_that_tells_the_guest_nothing() -> None:
    entries = [
        Listed("e1", "Berger", "Anna", date(1980, 5, 1), "AUT"),
        Listed("e2", "Berger", "Anna"),
        Listed("e3", "Berger", "Anna", date(1955, 1, 1)),
        Listed("e4", "Huber", "Eva"),
    ]
    hits = ListScreening("test", entries).screen(Person("Berger", "Anna", date(1980, 5, 1), "AUT"))
    assert [(each.entry, each.agrees) for each in hits] == [
        ("e1", ("name:same", "birth_date", "nationality")),
        ("e2", ("name:same",)),
    ]
    verdict = judge_identity(FACTS, slot="g1", booked_as="Anna Berger", hits=hits)
    assert (verdict.state, verdict.reason) == (StepState.NEEDS_STAFF, "review")
    assert "Berger" not in repr(verdict.evidence)


@pytest.mark.tier("postgres")
@pytest.mark.requirement("SEC-16")
async def test_no_later_answer_of_the_guest_undoes_a_review(desk: Desk, site: Site) -> None:
    await desk.policy()
    guest = await desk.link()
    await desk.post(f"{HERE}/session", {}, guest)
    site.sessions._screening = ListScreening("test", [Listed("e1", "Berger", "Anna")])
    assert "needs_staff" in (await desk.anna(guest)).text
    other = {**ANNA, "given_names": "Annelore", "surname": "Huber"}
    await desk.anna(guest, other)
    site.sessions._screening = ListScreening("test", [])
    await desk.anna(guest)
    rows = await desk.rows("SELECT state, reason FROM checkin.step WHERE kind = 'identity'")
    assert rows == [{"state": "needs_staff", "reason": "review"}]
    body = {"step": "identity", "subject": "g1", "reason": "not the person listed: looked at the passport"}
    assert (await desk.post(f"{HERE}/session/waivers", body, site.as_("staff"))).status_code == 200


@pytest.mark.tier("postgres")
@pytest.mark.requirement("CHK-11")
async def test_the_card_and_the_days_report_come_from_the_session(desk: Desk, site: Site) -> None:
    await desk.policy()
    guest, staff = await desk.link(), site.as_("staff")
    await desk.post(f"{HERE}/session", {}, guest)
    assert (await site.http.get(f"{HERE}/session/guests/g1/card", headers=staff)).status_code == 404
    await desk.anna(guest, {**ANNA, "birth_state": "DEU"})
    await desk.post(f"{HERE}/session/guests/g1/document", {"mrz": passport()}, guest)
    bad = await desk.post(f"{HERE}/session/guests/g1/document", {"mrz": passport().replace("C3", "C8")}, guest)
    assert (bad.status_code, bad.json()["type"]) == (422, "urn:innkeeper:problem:unreadable-zone")
    await desk.post(f"{HERE}/session/guests/g1/signature", {"signed_as": "Anna Berger"}, guest)
    card = await site.http.get(f"{HERE}/session/guests/g1/card", headers=staff)
    assert (card.status_code, card.headers["content-type"]) == (200, "application/pdf")
    assert card.content.startswith(b"%PDF-")
    async with site.database.transaction() as connection:
        came = EdgeFact(STAY, EdgeState.CHECKED_IN, "101", "kiosk", NOW_MS, b"i" * 16, 1)
        await apply_edge_facts(connection, PLACE, [came], now_ms=NOW_MS)
    told = (await site.http.get("/api/v1/properties/aurora/registrations/2026-11-18", headers=staff)).json()
    assert (told["guests"], told["missing"], told["unknown"]) == (1, [], [])
    assert told["due_at"] == "2026-11-19T11:06:40.000Z"
    assert told["file"].startswith("1618/11/202601BERGER")
    quiet = (await site.http.get("/api/v1/properties/aurora/registrations/2026-11-17", headers=staff)).json()
    assert (quiet["guests"], quiet["due_at"]) == (0, None)
    for day in ("2026-13-01", "x", "0001-01-01", "9999-12-31"):
        answer = await site.http.get(f"/api/v1/properties/aurora/registrations/{day}", headers=staff)
        assert answer.status_code == 404
