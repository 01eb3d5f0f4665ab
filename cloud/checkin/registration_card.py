"""The registration card as PDF: what a guest confirmed, on one page, for whoever is entitled to see it.

Made when it is asked for and kept nowhere. Pure: the same card gives the same bytes. The built-in fonts hold Latin-1;
other letters are written as travel documents transcribe them, and the card says so.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from cloud.checkin.people import DocumentFacts, GuestFacts
from protocols.errors import InvalidInputError
from protocols.travel_document.names import transcribed

LABEL_MM: Final = 52
LINE_MM: Final = 8
NO_LETTER: Final = "?"


@dataclass(frozen=True, slots=True)
class Companion:
    """Somebody who signs no card of his own and is named on the lead guest's."""

    facts: GuestFacts
    document: DocumentFacts | None


@dataclass(frozen=True, slots=True)
class Card:
    """One guest's card."""

    house: str
    reservation: str
    room: str | None
    arrives: date
    leaves: date
    facts: GuestFacts
    document: DocumentFacts | None
    companions: tuple[Companion, ...]
    signed: str
    """How and when it was confirmed, in words; empty: it was not, and there is a line to sign on."""
    terms: str
    """Which terms of the house were accepted, how and when, in words; empty: none are asked for."""
    made_at: datetime


def card_pdf(card: Card) -> bytes:
    """Return the card as a PDF of one page, or more for a large family."""
    from fpdf import FPDF

    pdf = FPDF(format="A4")
    pdf.set_creation_date(card.made_at)
    pdf.set_title(latin1(f"Registration card {card.reservation}"))
    pdf.set_auto_page_break(True, margin=20)
    pdf.add_page()
    pdf.set_font("Helvetica", "B", 16)
    pdf.cell(0, 10, latin1(card.house), new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("Helvetica", "", 12)
    pdf.cell(0, LINE_MM, "Registration card", new_x="LMARGIN", new_y="NEXT")
    pdf.ln(4)
    rows: list[tuple[str, str]] = [
        ("Reservation", card.reservation),
        ("Room", card.room or "not assigned yet"),
        ("Arrival", card.arrives.isoformat()),
        ("Departure", card.leaves.isoformat()),
        *_person(card.facts, card.document),
    ]
    for number, companion in enumerate(card.companions, 1):
        rows.append((f"With {number}", f"{companion.facts.surname}, {companion.facts.given_names}"))
        rows += [(f"  {label}", text) for label, text in _person(companion.facts, companion.document)[2:]]
    if card.terms:
        rows.append(("Terms of the house", card.terms))
    for label, text in rows:
        pdf.set_font("Helvetica", "B", 10)
        pdf.cell(LABEL_MM, LINE_MM, latin1(label))
        pdf.set_font("Helvetica", "", 10)
        pdf.multi_cell(0, LINE_MM, latin1(text), new_x="LMARGIN", new_y="NEXT")
    pdf.ln(10)
    pdf.multi_cell(0, LINE_MM, latin1(card.signed) or "Signature: " + "_" * 40, new_x="LMARGIN", new_y="NEXT")
    if any(latin1(text) != text for _, text in rows):
        pdf.set_font("Helvetica", "I", 8)
        pdf.multi_cell(0, 6, "Letters outside Latin-1 are transcribed as in travel documents (ICAO 9303).")
    return bytes(pdf.output())


def latin1(text: str) -> str:
    """Return `text` in Latin-1: other letters transcribed, what has no transcription as a question mark."""
    return "".join(_letter(each) for each in unicodedata.normalize("NFC", text) if each.isprintable())


def _letter(character: str) -> str:
    if ord(character) < 256:
        return character
    try:
        written = transcribed(character).replace("<", " ")
    except InvalidInputError:
        return NO_LETTER
    if not written:
        return "'" if unicodedata.category(character).startswith("P") else NO_LETTER
    return written if character.isupper() else written.lower()


def _person(facts: GuestFacts, document: DocumentFacts | None) -> Sequence[tuple[str, str]]:
    rows = [
        ("Surname", facts.surname),
        ("Given names", facts.given_names),
        ("Date of birth", "" if facts.birth_date is None else facts.birth_date.isoformat()),
        ("Nationality", facts.nationality or ""),
    ]
    if facts.address:
        rows.append(("Address", facts.address))
    if document is not None:
        rows.append(("Document", f"{document.code} {document.number} ({document.issuing_state})"))
        rows.append(("Document expires", document.expiry.isoformat()))
    return rows
