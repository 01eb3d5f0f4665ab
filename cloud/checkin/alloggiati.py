"""The arrivals file for Italy's police (Alloggiati Web): fixed width, one guest a row. Pure.

Source: the service's published record layout ("tracciato record"), 168 characters a row: type 2, arrival 10, days 2,
surname 50, given names 30, sex 1, birth 10, place of birth 9, its province 2, state of birth 9, citizenship 9, kind of
document 5, its number 20, place of issue 9. Rows are divided by CR LF. States and places are codes of the service's
own tables, which change: the operator hands them in. Who cannot be reported is named with
the reason, never filled in by guessing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from cloud.checkin.people import DocumentFacts, GuestFacts
from protocols.errors import InvalidInputError
from protocols.travel_document.names import transcribed

NAME: Final = "alloggiati"
ROW_CHARACTERS: Final = 168
DAYS_MOST: Final = 30
ITALY: Final = "ITA"
SINGLE, HEAD_OF_GROUP, MEMBER = "16", "18", "20"
_SEX: Final = {"M": "1", "F": "2"}
_KIND: Final = {"P": "PASOR", "I": "IDENT", "A": "IDENT", "C": "IDENT"}


@dataclass(frozen=True, slots=True)
class Arrival:
    """One party that arrived: the lead guest first."""

    stay: str
    arrived: date
    leaves: date
    guests: Sequence[tuple[str, GuestFacts, DocumentFacts | None]]
    """(slot, what he told, what his document said)."""


@dataclass(frozen=True, slots=True)
class NotReported:
    """Somebody who is not in the file, and what to do about it."""

    stay: str
    slot: str
    problem: str


@dataclass(frozen=True, slots=True)
class Report:
    """The file, how many guests are in it, and who is not."""

    text: str
    guests: int
    missing: tuple[NotReported, ...]


def report(arrivals: Sequence[Arrival], *, states: Mapping[str, str]) -> Report:
    """Make the file of one day.

    A party whose lead guest cannot be reported is left out whole: the service refuses members without a head.

    Args:
        arrivals: the parties.
        states: the service's nine-digit code of each state, by ISO 3166 alpha-3.
    """
    rows: list[str] = []
    missing: list[NotReported] = []
    for arrival in arrivals:
        members: list[str] = []
        for index, (slot, facts, document) in enumerate(arrival.guests):
            kind = MEMBER if index else SINGLE if len(arrival.guests) == 1 else HEAD_OF_GROUP
            try:
                members.append(_row(kind, arrival, facts, document, states))
            except InvalidInputError as error:
                missing.append(NotReported(arrival.stay, slot, str(error)))
                if not index:
                    rest = [each for each, _, _ in arrival.guests[1:]]
                    missing += [NotReported(arrival.stay, each, "the head of the group is missing") for each in rest]
                    break
        rows += members
    return Report("\r\n".join(rows), len(rows), tuple(missing))


def _row(
    kind: str, arrival: Arrival, facts: GuestFacts, document: DocumentFacts | None, states: Mapping[str, str]
) -> str:
    born = facts.birth_date or (None if document is None else document.birth_date)
    sex = None if document is None or document.sex is None else _SEX.get(document.sex)
    if born is None:
        raise InvalidInputError("birth_date", "is not known; ask the guest")
    if facts.nationality is None:
        raise InvalidInputError("nationality", "is not known; ask the guest")
    if facts.birth_state is None:
        raise InvalidInputError("birth_state", "is not known; ask the guest")
    if facts.birth_state == ITALY:
        raise InvalidInputError("birth_state", "is Italy: the service wants the municipality; report by hand")
    if sex is None:
        raise InvalidInputError("sex", "is not told by the document; report by hand")
    papers = " " * 34
    if kind != MEMBER:
        if document is None:
            raise InvalidInputError("document", "was not read")
        if (code := _KIND.get(document.code[:1])) is None:
            raise InvalidInputError("document", f"of kind {document.code!r} has no code; report by hand")
        papers = code + _text(document.number, 20, "document number") + _state(document.issuing_state, states)
    days = min(max((arrival.leaves - arrival.arrived).days, 1), DAYS_MOST)
    return "".join(
        (
            kind, arrival.arrived.strftime("%d/%m/%Y"), f"{days:02d}",
            _name(facts.surname, 50, "surname"), _name(facts.given_names, 30, "given names"), sex,
            born.strftime("%d/%m/%Y"), " " * 9, " " * 2, _state(facts.birth_state, states),
            _state(facts.nationality, states), papers,
        )
    )  # fmt: skip


def _name(text: str, width: int, what: str) -> str:
    try:
        return _text(transcribed(text).replace("<", " ")[:width], width, what)
    except InvalidInputError as error:
        raise InvalidInputError(what, "has letters without a transcription; report by hand") from error


def _text(text: str, width: int, what: str) -> str:
    if not text.strip() or len(text) > width or not text.isascii() or not text.isprintable():
        raise InvalidInputError(what, f"does not fit {width} plain characters; report by hand")
    return text.ljust(width)


def _state(state: str, states: Mapping[str, str]) -> str:
    code = states.get(state)
    if code is None or len(code) != 9 or not code.isdigit():
        raise InvalidInputError("state", f"{state} has no code in the table of states")
    return code
