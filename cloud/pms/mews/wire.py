"""The Mews Connector API's JSON as far as we use it: answers decoded strictly, unknown fields ignored.

Source: docs.mews.com/connector-api (current 2026-08), as condensed in design page pms.md B.1. Pure.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from cloud.kit.times import unix_ms
from cloud.pms.port import Hint, ItemError, PmsReservation, PmsRoom
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

_Id = Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,64}(?![\s\S])")]
"""Mews writes UUIDs; anything that is one printable word is taken as an id."""
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
    """Answer of reservations/getAll; items are decoded one by one, so that a bad one costs only itself."""

    Reservations: list[dict[str, Any]] = []
    Cursor: str | None = None


class CustomersAnswer(msgspec.Struct, frozen=True):
    """Answer of customers/getAll."""

    Customers: list[Customer] = []
    Cursor: str | None = None


class _Found(msgspec.Struct, frozen=True):
    Customer: Customer


class CustomersFound(msgspec.Struct, frozen=True):
    """Answer of customers/search."""

    Customers: list[_Found] = []


class ResourcesAnswer(msgspec.Struct, frozen=True):
    """Answer of resources/getAll."""

    Resources: list[Resource] = []
    Cursor: str | None = None


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


def reservation(item: dict[str, Any], names: dict[str, str]) -> PmsReservation | ItemError:
    """Translate one reservation; `names` are display names by account id."""
    shown = str(item.get("Id", "?"))[:64]
    try:
        said = msgspec.convert(item, Reservation)
    except msgspec.ValidationError as error:
        return ItemError(shown, str(error))
    if said.ScheduledEndUtc <= said.ScheduledStartUtc:
        return ItemError(shown, f"ends {said.ScheduledEndUtc} before it starts {said.ScheduledStartUtc}")
    status = _STATUS[said.State]
    if status is PmsStatus.CANCELLED and said.CancellationReason == "NoShow":
        status = PmsStatus.NO_SHOW
    return PmsReservation(
        external_id=said.Id,
        number=said.Number,
        status=status,
        room_external_id=said.AssignedResourceId,
        guest_name=names.get(said.AccountId or "", ""),
        arrival_ms=_ms(said.ScheduledStartUtc),
        departure_ms=_ms(said.ScheduledEndUtc),
        adults=sum(each.Count for each in said.PersonCounts) if said.PersonCounts else None,
        children=None,  # Mews counts by age categories of the property: who is a child is the property's word
        updated_ms=_ms(said.UpdatedUtc),
    )


def room(said: Resource) -> PmsRoom:
    """Translate one room."""
    return PmsRoom(said.Id, said.Name.strip(), _HOUSEKEEPING[said.State], _ms(said.UpdatedUtc))


def display_name(said: Customer) -> str:
    """Return a name fit for one line of a screen: no control or direction characters, at most 80 characters."""
    whole = " ".join(part for part in (said.FirstName, said.LastName) if part)
    return " ".join(_UNSEEN.sub(" ", whole).split())[:NAME_CHARACTERS_MOST]


def utc_text(when_ms: int) -> str:
    """Write a time as Mews wants it."""
    moment = datetime.fromtimestamp(when_ms / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ms(when: datetime) -> int:
    return unix_ms(when if when.tzinfo is not None else when.replace(tzinfo=UTC))
