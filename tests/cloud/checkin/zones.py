"""Zones of travel documents for tests."""

from datetime import date

from protocols.travel_document.layout import Format
from protocols.travel_document.zone import Sex, write


def passport(
    *,
    surname: str = "Berger",
    given_names: str = "Anna",
    code: str = "P",
    state: str = "AUT",
    nationality: str = "AUT",
    birth: date = date(1980, 5, 1),
    expiry: date = date(2030, 1, 1),
) -> str:
    """Return the zone of Anna Berger's passport, or of one that differs."""
    return "\n".join(
        write(
            Format.TD3, document_code=code, issuing_state=state, surname=surname, given_names=given_names,
            document_number="L898902C3", nationality=nationality, birth=birth, sex=Sex.FEMALE, expiry=expiry,
        )
    )  # fmt: skip
