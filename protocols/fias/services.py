"""What a guest asks of the PMS through us beside keys and charges: leaving, waking, messages, whose the rooms are.

SPEC.md 9 to 12. Pure. None of it is asked again by itself: what an answer did not come to may have happened.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final

from protocols.errors import InvalidInputError
from protocols.fias.postings import NUMBER_MOST, Charge, minor_of, signed_text
from protocols.fias.record import Description, Record, money, stamped

LEAVING_WAIT_MS: Final = 30_000
WAKING_WAIT_MS: Final = 30_000
INQUIRY_WAIT_MS: Final = 60_000
MESSAGE_MOST: Final = 1_000
"""Characters of a message: what is left of a record is for its other fields."""
WORKSTATION: Final = "IK"
CHECK_OUTS: Final = (Description("XC", ("RN", "G#", "BA", "DA", "TI", "AS", "CT")),)
WAKE_UPS: Final = (
    Description("WR", ("RN", "DA", "TI")),
    Description("WC", ("RN", "DA", "TI")),
    Description("WA", ("RN", "AS", "DA", "TI")),
)
MESSAGES: Final = (
    Description("XL", ("G#", "RN", "MI", "MT", "$J")),
    Description("XT", ("G#", "RN", "MI", "MT")),
    Description("XM", ("G#", "RN")),
    Description("XD", ("G#", "RN", "MI")),
)
INQUIRIES: Final = (
    Description("PR", ("PI", "P#", "WS", "DA", "TI")),
    Description("PL", ("RN", "G#", "GN", "GF", "GA", "GD", "BA", "CL", "NP", "P#", "WS")),
)
GUEST_CHARGES: Final = (
    Description("PR", ("PI", "RN", "G#", "GN", "TA", "CT", "P#", "WS", "DA", "TI")),
    INQUIRIES[1],
)
_ROOM: Final = re.compile(r"[^|\x00-\x1f]{1,20}")
_NUMBER: Final = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class CheckOutAnswered:
    """XC from the PMS. OK means accepted: the guest has left once his GO comes, which may take two minutes."""

    room: str | None
    guest_number: str | None
    status: str
    text: str


@dataclass(frozen=True, slots=True)
class WakeUpAnswered:
    """WA: how a wake-up that we asked for, or its end, fared. Day and time as far as they were told."""

    room: str
    status: str
    day: date | None
    at: time | None


@dataclass(frozen=True, slots=True)
class MessageTold:
    """XL or XT from the PMS: a message for a guest."""

    room: str | None
    guest_number: str
    message: str
    text: str


@dataclass(frozen=True, slots=True)
class MessageTaken:
    """XD from the PMS: the guest has had the message elsewhere; `message` None: all of his."""

    guest_number: str
    message: str | None


@dataclass(frozen=True, slots=True)
class ListedGuest:
    """One guest of an answer to an inquiry; amounts in minor units. `no_post`: nothing may be charged to him."""

    room: str
    guest_number: str
    name: str | None
    first_name: str | None
    departure: date | None
    balance_minor: int | None
    limit_minor: int | None
    no_post: bool


@dataclass(frozen=True, slots=True)
class GuestsListed:
    """PL: whose the inquiry may have meant. `number`: its P#, where it is told."""

    number: int | None
    guests: tuple[ListedGuest, ...]


def check_out_request(room: str, guest_number: str, balance_minor: int, at: datetime) -> Record:
    """Return the XC: `balance_minor` is the balance as the guest saw it last. Raises InvalidInputError."""
    return stamped("XC", at, [("RN", _room(room)), ("G#", _number(guest_number)), ("BA", money(balance_minor))])


def check_out_answer(record: Record) -> CheckOutAnswered:
    """Read XC. Raises PeerProtocolError naming the field."""
    return CheckOutAnswered(
        record.get("RN") or None, record.get("G#") or None, record.need("AS"), record.get("CT") or ""
    )


def wake_up_request(room: str, moment: datetime, *, end: bool = False) -> Record:
    """Return WR, or WC to end it: DA and TI say when the guest wants to be woken. Raises InvalidInputError."""
    return stamped("WC" if end else "WR", moment.replace(second=0), [("RN", _room(room))])


def wake_up_answer(record: Record) -> WakeUpAnswered:
    """Read WA. Raises PeerProtocolError naming the field."""
    return WakeUpAnswered(
        record.need("RN"),
        record.need("AS"),
        record.day("DA") if record.get("DA") else None,
        record.time_of_day("TI") if record.get("TI") else None,
    )


def wake_up_refusal(asked: Record, at: datetime) -> Record:
    """Return the WA to a WR or WC of the PMS's: nothing of ours rings, and asking again would not help."""
    told = [(name, value) for name in ("RN", "DA", "TI") if (value := asked.get(name))]
    return stamped("WA", at, [*told, ("AS", "UR")])


def message_request(room: str, guest_number: str, text: str, ours: str) -> Record:
    """Return the XL that leaves a guest's message at the desk; `ours`: what we call it. Raises InvalidInputError."""
    plain = " ".join("".join(" " if each == "|" or not each.isprintable() else each for each in text).split())
    if not 0 < len(plain) <= MESSAGE_MOST:
        raise InvalidInputError("text", f"has {len(plain)} characters, 1 to {MESSAGE_MOST} are taken")
    return Record("XL", {"G#": _number(guest_number), "RN": _room(room), "MT": plain, "$J": ours})


def messages_request(room: str, guest_number: str) -> Record:
    """Return the XM that asks for what a guest has not read: one XT a message. Raises InvalidInputError."""
    return Record("XM", {"G#": _number(guest_number), "RN": _room(room)})


def message_told(record: Record) -> MessageTold | None:
    """Read XL or XT; None: an XT that says that there is none. Raises PeerProtocolError naming the field."""
    if record.id == "XT" and not record.get("MI"):
        return None
    return MessageTold(record.get("RN") or None, record.need("G#"), record.need("MI"), record.get("MT") or "")


def message_read(room: str, guest_number: str, message: str) -> Record:
    """Return the XD that says that the guest has had a message. Raises InvalidInputError."""
    return Record("XD", {"G#": _number(guest_number), "RN": _room(room), "MI": message})


def message_taken(record: Record) -> MessageTaken:
    """Read XD. Raises PeerProtocolError naming the field."""
    return MessageTaken(record.need("G#"), record.get("MI") or None)


def inquiry(sought: str, number: int, at: datetime) -> Record:
    """Return the PR that asks whose a room is, or where a guest of a name is. Raises InvalidInputError."""
    if not 1 <= number <= NUMBER_MOST:
        raise InvalidInputError("P#", f"{number} is not between 1 and {NUMBER_MOST}")
    if not sought.strip() or len(sought) > 80 or "|" in sought or not sought.isprintable():
        raise InvalidInputError("query", f"{sought[:40]!r} is neither a room nor a name")
    return stamped("PR", at, [("PI", sought.strip()), ("P#", str(number)), ("WS", WORKSTATION)])


def guests_listed(record: Record) -> GuestsListed:
    """Read PL: one block a guest. Raises PeerProtocolError naming the field."""
    number = record.number("P#", most=NUMBER_MOST) if record.get("P#") else None
    return GuestsListed(number, tuple(_listed(each) for each in record.blocks("RN") if each.get("RN")))


def guest_charge_record(charge: Charge, guest: ListedGuest, number: int, at: datetime) -> Record:
    """Return the PR that posts a charge to one guest, as PL has told of him. Raises InvalidInputError."""
    if not 1 <= number <= NUMBER_MOST:
        raise InvalidInputError("P#", f"{number} is not between 1 and {NUMBER_MOST}")
    whose = [("RN", _room(guest.room)), ("G#", _number(guest.guest_number)), ("GN", guest.name or "")]
    posted = [("TA", money(charge.minor)), ("CT", signed_text(charge.text, number))]
    return stamped("PR", at, [*whose, *posted, ("P#", str(number)), ("WS", WORKSTATION)])


def _listed(block: Record) -> ListedGuest:
    return ListedGuest(
        block.need("RN"),
        block.get("G#") or "",
        block.get("GN") or None,
        block.get("GF") or None,
        block.day("GD") if block.get("GD") else None,
        minor_of(block, "BA") if block.get("BA") else None,
        minor_of(block, "CL") if block.get("CL") else None,
        block.get("NP") == "Y",
    )


def _room(text: str) -> str:
    if _ROOM.fullmatch(text) is None:
        raise InvalidInputError("room", f"{text[:40]!r} is no room of a PMS")
    return text


def _number(text: str) -> str:
    if _NUMBER.fullmatch(text) is None:
        raise InvalidInputError("guest_number", f"{text[:40]!r} is no guest number of a PMS")
    return text
