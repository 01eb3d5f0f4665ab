"""Judges what a guest shows: his name against the booking's, his document against what he said. Pure.

A verdict is a step's new state with its evidence: facts about the comparison, nothing that names the guest.
"""

from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from cloud.checkin.people import DocumentFacts, GuestFacts
from cloud.checkin.screening import Hit
from cloud.checkin.steps import LEAD, StepState
from protocols.errors import InvalidInputError
from protocols.policy.check_in import CheckInPolicy
from protocols.policy.proofs import Shown, booked_name, document_problem, name_agreement
from protocols.travel_document import zone as travel_zone
from protocols.travel_document.names import Agreement, agreement

REVIEW: Final = "review"
"""Why staff looks: of it the guest is told nothing, and no later answer of his undoes it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one answer."""

    state: StepState
    reason: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


class UnreadableZoneError(InvalidInputError):
    """The zone did not hold: it is to be read or typed again. `findings` say where, not what stood there."""

    def __init__(self, findings: list[dict[str, Any]]) -> None:
        super().__init__("mrz", "does not hold; read it again at the places named in `findings`")
        self.findings = findings


def judge_identity(facts: GuestFacts, *, slot: str, booked_as: str, hits: list[Hit]) -> Verdict:
    """Compare a guest with the booking. Only the lead guest was named there; one name of two words says which is which.

    The lead guest's name must be the booking's; one that is only near, or another, is for staff to see.
    """
    if hits:
        return Verdict(StepState.NEEDS_STAFF, REVIEW, {"hits": [_shown(hit) for hit in hits]})
    if slot != LEAD:
        return Verdict(StepState.DONE, None, {"told": True})
    agreed = name_agreement(booked_as, surname=facts.surname, given_names=facts.given_names)
    if agreed is Agreement.SAME:
        return Verdict(StepState.DONE, None, {"name": agreed.value})
    return Verdict(StepState.NEEDS_STAFF, f"name_{agreed.value}", {"name": agreed.value})


def read_document(text: str, *, today: date) -> DocumentFacts:
    """Return what a zone says.

    Raises:
        InvalidInputError: no zone at all.
        UnreadableZoneError: a zone with findings: nothing of it may be used.
    """
    zone = travel_zone.read(text, today=today)
    if not zone.holds:
        raise UnreadableZoneError(
            [
                {"field": each.field.value, "line": each.line, "first": each.first, "last": each.last,
                 "problem": each.fault.value}
                for each in zone.findings
            ]
        )  # fmt: skip
    if zone.expiry is None:
        raise InvalidInputError("mrz", "has no date of expiry")
    return DocumentFacts(
        format=zone.format.value,
        code=zone.document_code,
        issuing_state=zone.issuing_state,
        number=zone.document_number,
        expiry=zone.expiry,
        surname=zone.surname,
        given_names=zone.given_names,
        nationality=zone.nationality,
        sex=None if zone.sex is None else zone.sex.value,
        birth_date=None if zone.birth is None else zone.birth.whole(),
    )


def judge_document(
    document: DocumentFacts, facts: GuestFacts, *, policy: CheckInPolicy, today: date, hits: list[Hit]
) -> Verdict:
    """Compare a document that holds with the guest who shows it. What does not fit is for staff to see."""
    agreed = agreement((document.surname, document.given_names), (facts.surname, facts.given_names))
    evidence: dict[str, Any] = {
        "format": document.format,
        "code": document.code,
        "issuing_state": document.issuing_state,
        "expires": document.expiry.isoformat(),
        "name": agreed.value,
        "picture_kept": False,
    }
    problem: str | None = None
    if hits:
        problem, evidence["hits"] = REVIEW, [_shown(hit) for hit in hits]
    else:
        shown = Shown(
            document.code, document.issuing_state, document.nationality, document.expiry, document.birth_date, agreed
        )
        problem = document_problem(
            shown, policy, birth_date=facts.birth_date, nationality=facts.nationality, today=today
        )
    return Verdict(StepState.DONE if problem is None else StepState.NEEDS_STAFF, problem, evidence)


def judge_signature(signed_as: str, facts: GuestFacts) -> Verdict:
    """Take a typed name as a signature under the registration card.

    Raises:
        InvalidInputError: it is not the guest's name, or the card lacks what it must hold.
    """
    if facts.birth_date is None or facts.nationality is None:
        raise InvalidInputError("guest", "the registration card wants birth_date and nationality; tell them first")
    if agreement(booked_name(signed_as), (facts.surname, facts.given_names)) is not Agreement.SAME:
        raise InvalidInputError("signed_as", "is not the name of the guest whose card this is")
    return Verdict(StepState.DONE, None, {"signed": "typed_name"})


def _shown(hit: Hit) -> dict[str, Any]:
    return {"list": hit.list_name, "entry": hit.entry, "agrees": list(hit.agrees)}
