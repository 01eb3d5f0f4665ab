"""Charges to a room and what becomes of them, and a guest's bill. SPEC.md 7 and 8. Pure.

A charge is posted at most once: its number is never used again, and one whose answer did not come is unknown, which
is neither posted nor to be sent again.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from protocols.errors import InvalidInputError, PeerProtocolError
from protocols.fias.record import Description, Record, money, stamped

NUMBER_MOST: Final = 99_999_999
TEXT_CHARACTERS_MOST: Final = 20
MINOR_MOST: Final = 10**10 - 1
ANSWER_WAIT_MS: Final = 30_000
CHARGES: Final = (
    Description("PS", ("RN", "PT", "TA", "DA", "TI", "P#", "CT")),
    Description("PA", ("AS", "P#", "RN", "CT", "DA", "TI")),
)
BILLS: Final = (
    Description("XR", ("RN", "G#")),
    Description("XI", ("RN", "G#", "DC", "BD", "BI", "F#", "FD")),
    Description("XB", ("RN", "G#", "BA")),
)
_ROOM: Final = re.compile(r"[^|\x00-\x1f]{1,20}")
_MONEY: Final = re.compile(r"([-+]?)(?=\.?[0-9])([0-9]{0,12})(?:\.([0-9]{0,2})0*)?")


class ChargeKind(StrEnum):
    """PT."""

    DIRECT = "C"
    MINIBAR = "M"
    TELEPHONE = "T"


@dataclass(frozen=True, slots=True)
class Charge:
    """What is to be posted. `room` as the PMS calls it; `minor` in hundredths; `guest_number` (G#) finds the bill, and
    names whom it is posted to on a link that posts to guests.

    Raises:
        InvalidInputError: it cannot be written.
    """

    room: str
    minor: int
    text: str
    kind: ChargeKind = ChargeKind.DIRECT
    guest_number: str | None = None

    def __post_init__(self) -> None:
        if _ROOM.fullmatch(self.room) is None:
            raise InvalidInputError("room", f"{self.room[:40]!r} is no room of a PMS")
        if not 0 < abs(self.minor) <= MINOR_MOST:
            raise InvalidInputError("minor", f"{self.minor} is no amount between 1 and {MINOR_MOST}")


class Outcome(StrEnum):
    """What an answer means for the charge."""

    POSTED = "posted"
    REFUSED = "refused"
    LATER = "later"
    UNKNOWN = "unknown"


_LATER: Final = frozenset({"RY", "BY", "NA"})
_REFUSED: Final = frozenset({"NG", "NP", "UR", "DE", "DN", "FX", "IA", "NM", "NF", "CD", "BM", "CO", "DM", "AN"})


def outcome_of(status: str) -> Outcome:
    """Return what AS means; a code that nobody knows leaves it unknown."""
    if status == "OK":
        return Outcome.POSTED
    if status in _LATER:
        return Outcome.LATER
    return Outcome.REFUSED if status in _REFUSED else Outcome.UNKNOWN


@dataclass(frozen=True, slots=True)
class PostingAnswered:
    """PA: of the charge with this number."""

    number: int
    status: str
    text: str


@dataclass(frozen=True, slots=True)
class BillLine:
    """XI: one line of a bill; `shown` False: not for the guest's eyes."""

    text: str
    minor: int
    window: str | None
    shown: bool
    room: str | None
    guest_number: str | None


@dataclass(frozen=True, slots=True)
class BillEnded:
    """XB: the balance, and the end of a bill."""

    minor: int
    room: str | None
    guest_number: str | None


def mark(number: int) -> str:
    """Return what tells a charge of ours on a bill from all others."""
    return f"IK{number:08d}"


def charge_record(charge: Charge, number: int, at: datetime) -> Record:
    """Return the PS. Raises InvalidInputError: no such number."""
    if not 1 <= number <= NUMBER_MOST:
        raise InvalidInputError("P#", f"{number} is not between 1 and {NUMBER_MOST}")
    fields = [("RN", charge.room), ("PT", charge.kind.value), ("TA", money(charge.minor)), ("P#", str(number))]
    return stamped("PS", at, [*fields, ("CT", signed_text(charge.text, number))])


def signed_text(text: str, number: int) -> str:
    """Return CT: as much of a charge's text as there is room for, and our mark."""
    signed = mark(number)
    plain = " ".join("".join(" " if each == "|" or not each.isprintable() else each for each in text).split())
    return f"{plain[: TEXT_CHARACTERS_MOST - len(signed) - 1].strip()} {signed}".strip()


def bill_request(room: str, guest_number: str) -> Record:
    """Return the XR."""
    return Record("XR", {"RN": room, "G#": guest_number})


def posting_answer(record: Record) -> PostingAnswered:
    """Read PA. Raises PeerProtocolError naming the field."""
    number = record.number("P#", most=NUMBER_MOST)
    if number < 1:
        raise PeerProtocolError(f"PA: field P# is {number}")
    return PostingAnswered(number, record.need("AS"), record.get("CT") or "")


def bill_line(record: Record) -> BillLine:
    """Read XI. Raises PeerProtocolError naming the field."""
    return BillLine(
        (record.get("BD") or "").strip(),
        minor_of(record, "BI"),
        record.get("F#") or None,
        record.get("FD") != "N",
        record.get("RN") or None,
        record.get("G#") or None,
    )


def bill_ended(record: Record) -> BillEnded:
    """Read XB. Raises PeerProtocolError naming the field."""
    return BillEnded(minor_of(record, "BA"), record.get("RN") or None, record.get("G#") or None)


def minor_of(record: Record, name: str) -> int:
    """Read money of the PMS: with a decimal point, or in minor units. Raises PeerProtocolError naming the field."""
    text = record.need(name).strip()
    if (found := _MONEY.fullmatch(text)) is None:
        raise PeerProtocolError(f"{record.id}: field {name} is {text[:40]!r}, no amount of money")
    sign, whole, part = found.groups()
    minor = int(whole) if part is None else int(whole or "0") * 100 + int(part.ljust(2, "0"))
    return -minor if sign == "-" else minor
