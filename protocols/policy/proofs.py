"""What speaks against a guest's name and document, as the steps `identity` and `document` of a policy want them.

Source of truth: SPEC.md section 4. Pure, and one for all who check a guest in: the cloud, and the edge without it.
"""

from dataclasses import dataclass
from datetime import date

from protocols.errors import InvalidInputError
from protocols.policy.check_in import CheckInPolicy
from protocols.travel_document.names import Agreement, agreement, near, words_of
from protocols.travel_document.states import SPECIMEN


@dataclass(frozen=True, slots=True)
class Shown:
    """What of a document is judged; `name` is how it agrees with the guest's. `code` is the zone's document code."""

    code: str
    issuing_state: str
    nationality: str
    expiry: date
    birth_date: date | None
    name: Agreement


def booked_name(booked_as: str) -> tuple[str, str]:
    """Return (surname, given names) of a booking's one line: its last word is the surname."""
    given, _, surname = booked_as.strip().rpartition(" ")
    return surname, given


def name_agreement(booked_as: str, *, surname: str, given_names: str) -> Agreement:
    """Compare who stands there with whom the booking is for."""
    return agreement((surname, given_names), booked_name(booked_as))


def document_problem(
    shown: Shown, policy: CheckInPolicy, *, birth_date: date | None, nationality: str | None, today: date
) -> str | None:
    """Return why a document that holds is for staff to see; None: it is not.

    Args:
        shown: The document.
        policy: Which kinds are accepted.
        birth_date: What the guest said; None: he did not.
        nationality: As he said, alpha-3.
        today: At the property.
    """
    if SPECIMEN in (shown.issuing_state, shown.nationality):
        return "specimen"
    if shown.code[:1] not in policy.documents:
        return "document_not_accepted"
    if shown.expiry < today:
        return "document_expired"
    if birth_date is not None and shown.birth_date not in (None, birth_date):
        return "birth_date_differs"
    if nationality is not None and shown.nationality != nationality:
        return "nationality_differs"
    return None if shown.name is Agreement.SAME else f"name_{shown.name.value}"


def is_in_name(booked_as: str, surname: str) -> bool:
    """Tell whether every word that was typed is one of the booking's name, or one letter from it."""
    try:
        known, typed = words_of(booked_as), [words_of(word) for word in surname.split()]
    except InvalidInputError:  # a script that we cannot read
        return " ".join(booked_as.casefold().split()) == " ".join(surname.casefold().split())
    return bool(typed) and all(any(near(mine, other) for mine in word for other in known) for word in typed)
