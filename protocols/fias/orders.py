"""What the PMS asks of us and waits for: key orders. Each is answered exactly once; the PMS never repeats."""

from dataclasses import dataclass
from datetime import date, time
from enum import StrEnum

from protocols.errors import PeerProtocolError
from protocols.fias.record import Record

ROOMS_MOST = 16


class KeyKind(StrEnum):
    """KT."""

    NEW = "N"
    """Ends the keys before it."""
    DUPLICATE = "D"
    """Opens beside them."""
    ONE_SHOT = "O"


class Status(StrEnum):
    """AS: how an order ended, in the PMS's words."""

    OK = "OK"
    NOT_FOUND = "NG"
    CANNOT = "UR"
    """And asking again would not help."""
    RETRY = "RY"
    BUSY = "BY"
    NO_ANSWER = "NR"
    DENIED = "DN"
    NOT_ALLOWED = "FX"
    NOT_ENABLED = "NF"


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """KR or KM: make keys, or change those of one reservation. `rooms`: the first is the guest's own."""

    record: str
    coder: str | None
    workstation: str | None
    rooms: tuple[str, ...]
    old_room: str | None
    guest_number: str | None
    kind: KeyKind
    arrival: date | None
    departure: date | None
    until: time | None
    guest_name: str | None
    reference: str | None
    """ID: who asked, at the PMS."""


@dataclass(frozen=True, slots=True)
class KeyEnd:
    """KD: end the keys of a room or a reservation."""

    coder: str | None
    workstation: str | None
    rooms: tuple[str, ...]
    guest_number: str | None


def order_of(record: Record) -> KeyOrder | KeyEnd:
    """Read KR, KM or KD. Raises PeerProtocolError naming the field."""
    room = record.need("RN")
    extra = tuple(each for each in (record.get("SI") or "").split(";") if each)
    if len(extra) >= ROOMS_MOST:
        raise PeerProtocolError(f"{record.id}: field SI names {len(extra)} rooms; at most {ROOMS_MOST - 1} are taken")
    rooms = (room, *extra)
    coder, workstation, guest = record.get("KC") or None, record.get("WS") or None, record.get("G#") or None
    if record.id == "KD":
        return KeyEnd(coder, workstation, rooms, guest)
    if record.id == "KM" and guest is None:
        raise PeerProtocolError("KM: field G# is missing: it acts on one reservation's keys alone")
    return KeyOrder(
        record.id,
        coder,
        workstation,
        rooms,
        record.get("RO") or None,
        guest,
        _kind(record),
        record.day("GA") if record.get("GA") else None,
        record.day("GD") if record.get("GD") else None,
        _until(record),
        record.get("GN") or None,
        record.get("ID") or None,
    )


def _kind(record: Record) -> KeyKind:
    if record.id == "KM":
        return KeyKind.DUPLICATE  # the guest keeps what was made; only the room or the end changes
    text = record.need("KT")
    try:
        return KeyKind(text)
    except ValueError as error:
        raise PeerProtocolError(f"{record.id}: field KT is {text!r}; N, D or O stands there") from error


def _until(record: Record) -> time | None:
    text = record.get("DT")
    if not text:
        return None
    hours, colon, minutes = text.partition(":")
    if not (colon and len(hours) == len(minutes) == 2 and (hours + minutes).isascii() and (hours + minutes).isdigit()):
        raise PeerProtocolError(f"{record.id}: field DT is {text!r}, no time as HH:MM")
    if int(hours) > 23 or int(minutes) > 59:
        raise PeerProtocolError(f"{record.id}: field DT is {text!r}, no time as HH:MM")
    return time(int(hours), int(minutes))
