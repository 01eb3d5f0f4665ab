"""The dialects by name: what a descriptor's `wire.dialect` may be, and which fields it gives."""

from collections.abc import Mapping
from datetime import date
from typing import Final

from protocols.peripherals import card_dispenser, document_reader, escpos
from protocols.peripherals.conversation import Conversation

FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "escpos": escpos.FIELDS,
    "quio_card_dispenser": card_dispenser.FIELDS,
    "honeywell_ocr": document_reader.FIELDS,
}
"""The fields of each dialect: what a point's `path` may name."""


def conversation(dialect: str, *, today: date) -> Conversation:
    """Return a conversation of a dialect that `FIELDS` has."""
    match dialect:
        case "escpos":
            return escpos.EscPos()
        case "quio_card_dispenser":
            return card_dispenser.CardDispenser()
        case _:
            return document_reader.DocumentReader(today)
