"""The Mews Connector API's JSON as far as we use it: answers decoded strictly, unknown fields ignored.

Source: docs.mews.com/connector-api (current 2026-08), as condensed in design page pms.md B.1. Pure.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from cloud.kit.times import unix_ms
from cloud.pms.port import Hint, ItemError, ItemKind, PmsReservation, PmsRoom
from cloud.stays.reservation import Housekeeping, PmsStatus
from protocols.errors import PeerProtocolError

API: Final = "/api/connector/v1/"
RESERVATIONS: Final = "reservations/getAll/2023-06-06"
CUSTOMERS: Final = "customers/getAll"
CUSTOMERS_SEARCH: Final = "customers/search"
RESOURCES: Final = "resources/getAll"
START: Final = "reservations/start"
PROCESS: Final = "reservations/process"

IDS_MOST: Final = 1_000
EVENTS_MOST: Final = 1_000
NAME_CHARACTERS_MOST: Final = 80
NO_ID: Final = "(no readable id)"
EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
LATEST_MS: Final = 7_258_118_400_000  # 2200-01-01; beyond lie placeholders such as 9999-12-31
T = TypeVar("T")

_Id = Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,64}(?![\s\S])")]
"""Mews writes UUIDs; anything that is one printable word is taken as an id."""
_Cursor = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
State = Literal["Inquired", "Confirmed", "Started", "Processed", "Canceled", "Optional", "Requested"]
ResourceState = Literal["Dirty", "Clean", "Inspected", "OutOfService", "OutOfOrder"]

_STATUS: Final[dict[str, PmsStatus]] = {
    "Inquired": PmsStatus.OPTION,
    "Optional": PmsStatus.OPTION,
    "Requested": PmsStatus.OPTION,
    "Confirmed": PmsStatus.BOOKED,
    "Started": PmsStatus.IN_HOUSE,
    "Processed": PmsStatus.LEFT,
    "Canceled": PmsStatus.CANCELLED,
}
_HOUSEKEEPING: Final[dict[str, Housekeeping]] = {
    "Dirty": Housekeeping.DIRTY,
    "Clean": Housekeeping.CLEAN,
    "Inspected": Housekeeping.INSPECTED,
    "OutOfService": Housekeeping.OUT_OF_SERVICE,
    "OutOfOrder": Housekeeping.OUT_OF_ORDER,
}
# joiners (U+200C, U+200D) stay: names in Persian or Hindi need them
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")


class _PersonCount(msgspec.Struct, frozen=True):
    AgeCategoryId: _Id
    Count: Annotated[int, msgspec.Meta(ge=0, le=1_000)]


class Reservation(msgspec.Struct, frozen=True):
    """One reservation as Mews writes it."""

    Id: _Id
    State: State
    ScheduledStartUtc: datetime
    ScheduledEndUtc: datetime
    UpdatedUtc: datetime
    AccountId: _Id | None = None
    AccountType: str | None = None
    Number: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    AssignedResourceId: _Id | None = None
    CancellationReason: str | None = None
    PersonCounts: list[_PersonCount] = []


class Customer(msgspec.Struct, frozen=True):
    """One guest profile: only the name is taken."""

    Id: _Id
    FirstName: Annotated[str, msgspec.Meta(max_length=1_000)] | None = None
    LastName: Annotated[str, msgspec.Meta(max_length=1_000)] | None = None


class Resource(msgspec.Struct, frozen=True):
    """One room."""

    Id: _Id
    Name: Annotated[str, msgspec.Meta(max_length=200)]
    State: ResourceState
    UpdatedUtc: datetime
    IsActive: bool = True


class ReservationsAnswer(msgspec.Struct, frozen=True):
    """Answer of reservations/getAll.

    Of each list here: it must be there, since a missing list is not an empty one; its items are read one by one
    (`item`), so that a bad one costs only itself.
    """

    Reservations: list[msgspec.Raw]
    Cursor: _Cursor | None = None


class CustomersAnswer(msgspec.Struct, frozen=True):
    """Answer of customers/getAll."""

    Customers: list[msgspec.Raw]
    Cursor: _Cursor | None = None


class _Found(msgspec.Struct, frozen=True):
    Customer: Customer


class CustomersFound(msgspec.Struct, frozen=True):
    """Answer of customers/search."""

    Customers: list[_Found]


class ResourcesAnswer(msgspec.Struct, frozen=True):
    """Answer of resources/getAll."""

    Resources: list[msgspec.Raw]
    Cursor: _Cursor | None = None


class _Identified(msgspec.Struct, frozen=True):
    Id: _Id


class ErrorAnswer(msgspec.Struct, frozen=True):
    """Body of an answer that is none."""

    Message: str = ""
    RequestId: str | None = None
    Details: Any = None


class _EventValue(msgspec.Struct, frozen=True):
    Id: _Id


class _Event(msgspec.Struct, frozen=True):
    Discriminator: str
    Value: msgspec.Raw = msgspec.Raw()
    """Of a shape that the discriminator decides: kinds we do not follow may hold anything."""


class _Push(msgspec.Struct, frozen=True):
    Events: Annotated[list[_Event], msgspec.Meta(max_length=EVENTS_MOST)]
    EnterpriseId: str | None = None
    IntegrationId: str | None = None


_HINTS: Final[dict[str, Literal["reservation", "resource"]]] = {
    "ServiceOrderUpdated": "reservation",
    "ResourceUpdated": "resource",
}


def hints(raw: bytes) -> list[Hint]:
    """Read a general webhook: which ids may have changed; kinds we do not follow are left out.

    Raises:
        PeerProtocolError: not a webhook of Mews.
    """
    try:
        push = msgspec.json.decode(raw, type=_Push)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PeerProtocolError(f"not a Mews webhook: {error}") from error
    found: list[Hint] = []
    for index, event in enumerate(push.Events):
        if event.Discriminator not in _HINTS:
            continue
        try:
            value = msgspec.json.decode(event.Value, type=_EventValue)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise PeerProtocolError(f"not a Mews webhook: Events[{index}] {event.Discriminator}: {error}") from error
        found.append(Hint(_HINTS[event.Discriminator], value.Id))
    return list(dict.fromkeys(found))


def item(raw: bytes | msgspec.Raw, kind: type[T], what: ItemKind) -> T | ItemError:
    """Read one item of an answer; the error names the item, and the value and place in it."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return ItemError(_id_in(raw), str(error), what)


def _id_in(raw: bytes | msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=_Identified).Id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return NO_ID


def reservation(said: Reservation, names: Mapping[str, str]) -> PmsReservation | ItemError:
    """Translate one reservation; `names` are display names by account id."""
    for field in ("ScheduledStartUtc", "ScheduledEndUtc", "UpdatedUtc"):
        if not EARLIEST_MS <= _ms(getattr(said, field)) < LATEST_MS:
            return ItemError(said.Id, f"{field} {getattr(said, field).isoformat()} is outside the years 2000 to 2199")
    if said.ScheduledEndUtc <= said.ScheduledStartUtc:
        return ItemError(said.Id, f"ends {said.ScheduledEndUtc} before it starts {said.ScheduledStartUtc}")
    status = _STATUS[said.State]
    if status is PmsStatus.CANCELLED and said.CancellationReason == "NoShow":
        status = PmsStatus.NO_SHOW
    return PmsReservation(
        external_id=said.Id,
        number=None if said.Number is None else _line(said.Number) or None,
        status=status,
        room_external_id=said.AssignedResourceId,
        guest_name="" if said.AccountId is None else names.get(said.AccountId),
        arrival_ms=_ms(said.ScheduledStartUtc),
        departure_ms=_ms(said.ScheduledEndUtc),
        adults=sum(each.Count for each in said.PersonCounts) if said.PersonCounts else None,
        children=None,  # Mews counts by age categories of the property: who is a child is the property's word
        updated_ms=_ms(said.UpdatedUtc),
    )


def room(said: Resource) -> PmsRoom | ItemError:
    """Translate one room."""
    name, updated_ms = _line(said.Name), _ms(said.UpdatedUtc)
    if not EARLIEST_MS <= updated_ms < LATEST_MS:
        problem = f"UpdatedUtc {said.UpdatedUtc.isoformat()} is outside the years 2000 to 2199"
        return ItemError(said.Id, problem, "resource")
    if not name:
        return ItemError(said.Id, f"Name {said.Name!r} has nothing to read", "resource")
    return PmsRoom(said.Id, name, _HOUSEKEEPING[said.State], updated_ms)


def display_name(said: Customer) -> str:
    """Return a name fit for one line of a screen: no control or direction characters, at most 80 characters."""
    whole = " ".join(part for part in (said.FirstName, said.LastName) if part)
    return _line(whole)[:NAME_CHARACTERS_MOST]


def _line(text: str) -> str:
    return " ".join(_UNSEEN.sub(" ", text).split())


def utc_text(when_ms: int) -> str:
    """Write a time as Mews wants it."""
    moment = datetime.fromtimestamp(when_ms / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ms(when: datetime) -> int:
    return unix_ms(when if when.tzinfo is not None else when.replace(tzinfo=UTC))
