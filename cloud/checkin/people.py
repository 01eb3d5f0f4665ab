"""What a guest tells of himself, and what his document said: kept sealed, read for the card and the authority."""

from datetime import date
from typing import Annotated

import msgspec

from cloud.checkin.screening import Person

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
State = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}(?![\s\S])")]


class GuestFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One guest in his own words."""

    surname: Name
    given_names: Name
    birth_date: date | None = None
    nationality: State | None = None
    birth_state: State | None = None
    address: Annotated[str, msgspec.Meta(min_length=1, max_length=300)] | None = None

    @property
    def person(self) -> Person:
        """The guest as he is screened."""
        return Person(self.surname, self.given_names, self.birth_date, self.nationality)


class DocumentFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the zone of a travel document said; never a picture of it."""

    format: str
    code: str
    issuing_state: str
    number: str
    expiry: date
    surname: str
    given_names: str
    nationality: str
    sex: str | None
    birth_date: date | None


def sealed_form(facts: GuestFacts | DocumentFacts) -> bytes:
    """Return the bytes to be sealed."""
    return msgspec.json.encode(facts)


def guest_of(plain: bytes) -> GuestFacts:
    """Return what `sealed_form` was given."""
    return msgspec.json.decode(plain, type=GuestFacts)


def document_of(plain: bytes) -> DocumentFacts:
    """Return what `sealed_form` was given."""
    return msgspec.json.decode(plain, type=DocumentFacts)
