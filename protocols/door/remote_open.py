"""A phone's request to open a door of another lock system from afar: its bytes, and the judgement of the house.

Source of truth: SPEC.md section 13; vectors in protocols/vectors/door/remote_open.json. Pure: whoever judges brings the
time and what the house knows. Whoever carries a request can lose it, and can neither make one nor use one twice.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from protocols.cose import SIGNATURE_BYTES, verify_raw
from protocols.door.vendor_keys import VendorState
from protocols.errors import InvalidInputError, PeerProtocolError, UnsupportedVersionError
from protocols.grant.keys import public_key

VERSION: Final = 1
ID_BYTES: Final = 16
NAME_CHARACTERS_MOST: Final = 100
REQUEST_BYTES_MOST: Final = 1 + ID_BYTES + 8 + 3 * (1 + NAME_CHARACTERS_MOST) + SIGNATURE_BYTES
LATE_AFTER_MS: Final = 30_000
"""So long after it was signed a request may open; so late at most its adapter is asked."""
AHEAD_MOST_MS: Final = 5_000
"""So far may a phone's clock be ahead of the house's."""
ISSUED_AT_MOST_MS: Final = 2**53
_LABEL: Final = b"innkeeper/door/1 remote open\x00"
_NAME: Final = re.compile(rb"[a-z0-9-]{1,100}")
_ISSUED_AT: Final = 1 + ID_BYTES
_NAMES: Final = _ISSUED_AT + 8


class OpenRefusal(StrEnum):
    """Why a request opens nothing, in the order in which it is judged."""

    UNSUPPORTED_VERSION = "unsupported_version"
    MALFORMED = "malformed"
    WRONG_PROPERTY = "wrong_property"
    TIME_UNCERTAIN = "time_uncertain"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    LATE = "late"
    AHEAD = "ahead"
    BEFORE_START = "before_start"
    ENDED = "ended"
    NOT_MADE = "not_made"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    WRONG_DOOR = "wrong_door"
    NO_REMOTE_OPENING = "no_remote_opening"
    LOCKED_OUT = "locked_out"
    REPLAYED = "replayed"
    BUSY = "busy"


UNSIGNED: Final = frozenset(list(OpenRefusal)[: list(OpenRefusal).index(OpenRefusal.LATE)])
"""Refusals of what is not known to be the guest's own word."""


class OpenOutcome(StrEnum):
    """What came of a request (SPEC.md 13.3), least said."""

    CONFIRMED = "online-confirmed"
    ACCEPTED = "accepted-by-vendor"
    UNKNOWN = "unknown"
    BUSY = "busy"
    OFF_LINE = "off_line"
    NO = "no"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """One request, read. Nothing of it is to be believed before `judge` has said None.

    `request_id`: 16 bytes. `issued_at_ms`: unix ms by the phone's clock. `grant`: the key's name in the house.
    """

    request_id: bytes
    issued_at_ms: int
    property_id: str
    grant: str
    door: str
    signature: bytes

    @property
    def statement(self) -> bytes:
        """The bytes before the signature."""
        return statement_of(self.request_id, self.issued_at_ms, self.property_id, self.grant, self.door)

    @property
    def signed(self) -> bytes:
        """What the phone signs."""
        return to_sign(self.statement)

    def encode(self) -> bytes:
        """Return the request as it travels."""
        return self.statement + self.signature


@dataclass(frozen=True, slots=True)
class HeldKey:
    """What the house has of the key that a request names. `phone`: 33 bytes; `doors`: our names of them; unix ms."""

    phone: bytes
    doors: Collection[str]
    state: VendorState
    not_before_ms: int
    not_after_ms: int


@dataclass(frozen=True, slots=True)
class HouseFacts:
    """What the house knows when a request comes.

    `now_ms`: None while its clock is not sound; `begun_ms`: when this run of the doors process began, on that clock.
    `key`: None where there is none of the name, or its phone is not known. `opens`: the key's system opens from afar.
    `sealed`: the door's room is. `spent`: the id was let through before. `busy`: no turn is left, or the door moves.
    """

    property_id: str
    now_ms: int | None
    begun_ms: int
    key: HeldKey | None
    opens: bool
    sealed: bool
    spent: bool
    busy: bool


def statement_of(request_id: bytes, issued_at_ms: int, property_id: str, grant: str, door: str) -> bytes:
    """Return the statement.

    Raises:
        InvalidInputError: a part that no request can hold.
    """
    if len(request_id) != ID_BYTES:
        raise InvalidInputError("request id", f"{len(request_id)} bytes, want {ID_BYTES}")
    if not 0 <= issued_at_ms <= ISSUED_AT_MOST_MS:
        raise InvalidInputError("issued at", f"{issued_at_ms}: 0 to 2^53")
    names = [each.encode("utf-8") for each in (property_id, grant, door)]
    if any(_NAME.fullmatch(each) is None for each in names):
        raise InvalidInputError("property, grant or door", "want 1 to 100 of a-z, 0-9 and '-'")
    head = bytes([VERSION]) + request_id + issued_at_ms.to_bytes(8, "big")
    return head + b"".join(bytes([len(each)]) + each for each in names)


def to_sign(statement: bytes) -> bytes:
    """Return what the phone's key signs: the statement in a domain of its own."""
    return _LABEL + statement


def decode(data: bytes) -> OpenRequest:
    """Read a request.

    Raises:
        UnsupportedVersionError: of another version. PeerProtocolError: it is none.
    """
    if data and data[0] != VERSION:
        raise UnsupportedVersionError("remote opening", data[0], (VERSION,))
    if not _NAMES < len(data) <= REQUEST_BYTES_MOST:
        raise PeerProtocolError(f"remote opening of {len(data)} bytes, at most {REQUEST_BYTES_MOST}")
    issued_at_ms = int.from_bytes(data[_ISSUED_AT:_NAMES], "big")
    at, names = _NAMES, list[str]()
    for _ in range(3):
        end = at + 1 + (data[at] if at < len(data) else 0)
        name = data[at + 1 : end]
        if _NAME.fullmatch(name) is None or end > len(data):
            raise PeerProtocolError("remote opening: a name is not 1 to 100 of a-z, 0-9 and '-'")
        names.append(name.decode("ascii"))
        at = end
    signature = data[at:]
    if issued_at_ms > ISSUED_AT_MOST_MS or len(signature) != SIGNATURE_BYTES:
        raise PeerProtocolError("remote opening: its time or its signature is none")
    return OpenRequest(data[1:_ISSUED_AT], issued_at_ms, names[0], names[1], names[2], signature)


def judge(request: OpenRequest, facts: HouseFacts) -> OpenRefusal | None:
    """Return why a request opens nothing, the first reason of SPEC.md 13.2; None: ask the adapter, once."""
    if request.property_id != facts.property_id:
        return OpenRefusal.WRONG_PROPERTY
    if facts.now_ms is None:
        return OpenRefusal.TIME_UNCERTAIN
    key, now_ms = facts.key, facts.now_ms
    if key is None:
        return OpenRefusal.UNKNOWN_KEY
    if not verify_raw(public_key(key.phone), request.signature, request.signed):
        return OpenRefusal.BAD_SIGNATURE
    reasons = (
        (OpenRefusal.LATE, now_ms - request.issued_at_ms > LATE_AFTER_MS),
        (OpenRefusal.AHEAD, request.issued_at_ms - now_ms > AHEAD_MOST_MS),
        (OpenRefusal.BEFORE_START, request.issued_at_ms < facts.begun_ms),
        (OpenRefusal.ENDED, key.state in {VendorState.ENDING, VendorState.ENDED}),
        (OpenRefusal.NOT_MADE, key.state is VendorState.REFUSED),
        (OpenRefusal.NOT_YET_VALID, now_ms < key.not_before_ms),
        (OpenRefusal.EXPIRED, now_ms >= key.not_after_ms),
        (OpenRefusal.WRONG_DOOR, request.door not in key.doors),
        (OpenRefusal.NO_REMOTE_OPENING, not facts.opens),
        (OpenRefusal.LOCKED_OUT, facts.sealed),
        (OpenRefusal.REPLAYED, facts.spent),
        (OpenRefusal.BUSY, facts.busy),
    )
    return next((refusal for refusal, holds in reasons if holds), None)
