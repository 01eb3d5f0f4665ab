"""The Mews Connector API's JSON as far as we use it: answers decoded strictly, unknown fields ignored.

Source: docs.mews.com/connector-api (current 2026-08), as condensed in design page pms.md B.1. Pure.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from cloud.pms.port import OF_GUEST, FolioLine, Hint, ItemError, PmsReservation, PmsRoom
from cloud.pms.reading import EARLIEST_MS, LATEST_MS, Id, item, known_by, line, minor_units, utc_ms
from cloud.stays.reservation import Housekeeping, PmsStatus
from protocols.errors import PeerProtocolError

API: Final = "/api/connector/v1/"
RESERVATIONS: Final = "reservations/getAll/2023-06-06"
CUSTOMERS: Final = "customers/getAll"
CUSTOMERS_SEARCH: Final = "customers/search"
RESOURCES: Final = "resources/getAll"
START: Final = "reservations/start"
PROCESS: Final = "reservations/process"
UPDATE: Final = "reservations/update"
UPDATE_RESOURCES: Final = "resources/update"
ORDER_ITEMS: Final = "orderItems/getAll"

IDS_MOST: Final = 1_000
EVENTS_MOST: Final = 1_000
_Id = Id
_Cursor = Annotated[str, msgspec.Meta(max_length=256)]
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
STATE_OF: Final[dict[Housekeeping, ResourceState]] = {
    Housekeeping.DIRTY: "Dirty",
    Housekeeping.PICKUP: "Dirty",
    Housekeeping.CLEAN: "Clean",
    Housekeeping.INSPECTED: "Inspected",
    Housekeeping.OUT_OF_SERVICE: "OutOfService",
    Housekeeping.OUT_OF_ORDER: "OutOfOrder",
}
_HOUSEKEEPING: Final[dict[str, Housekeeping]] = {
    "Dirty": Housekeeping.DIRTY,
    "Clean": Housekeeping.CLEAN,
    "Inspected": Housekeeping.INSPECTED,
    "OutOfService": Housekeeping.OUT_OF_SERVICE,
    "OutOfOrder": Housekeeping.OUT_OF_ORDER,
}


class _PersonCount(msgspec.Struct, frozen=True):
    AgeCategoryId: _Id
    Count: Annotated[int, msgspec.Meta(ge=0, le=1_000)]


class Reservation(msgspec.Struct, frozen=True):
    """One reservation as Mews writes it."""

    Id: _Id
    State: State
    ScheduledStartUtc: datetime
    ScheduledEndUtc: datetime
    UpdatedUtc: datetime | None = None
    AccountId: _Id | None = None
    AccountType: str | None = None
    Number: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    AssignedResourceId: _Id | None = None
    RequestedResourceCategoryId: _Id | None = None
    CancellationReason: str | None = None
    PersonCounts: list[_PersonCount] = []

    def customer(self) -> str | None:
        """Return whose it is, where that is a customer: a company has no profile among them."""
        return self.AccountId if self.AccountType in (None, "Customer") else None


class Customer(msgspec.Struct, frozen=True):
    """One guest profile: only the name is taken."""

    Id: _Id
    FirstName: Annotated[str, msgspec.Meta(max_length=1_000)] | None = None
    LastName: Annotated[str, msgspec.Meta(max_length=1_000)] | None = None


class Resource(msgspec.Struct, frozen=True):
    """One room, or something else that is let: bicycles and tables are resources too."""

    Id: _Id
    Name: Annotated[str, msgspec.Meta(max_length=200)]
    State: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    UpdatedUtc: datetime | None = None
    IsActive: bool = True
    Data: Any = None
    """Of a shape that its Discriminator decides."""

    def is_room(self) -> bool:
        """Tell whether somebody can stay in it: a space, where it says what it is."""
        kind = self.Data.get("Discriminator") if isinstance(self.Data, dict) else None
        return self.IsActive and kind in (None, "Space")


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
    Customer: msgspec.Raw = msgspec.Raw()


class CustomersFound(msgspec.Struct, frozen=True):
    """Answer of customers/search."""

    Customers: list[msgspec.Raw]


class ResourcesAnswer(msgspec.Struct, frozen=True):
    """Answer of resources/getAll."""

    Resources: list[msgspec.Raw]
    Cursor: _Cursor | None = None


class _Amount(msgspec.Struct, frozen=True):
    Currency: Annotated[str, msgspec.Meta(min_length=3, max_length=3)]
    GrossValue: float


class OrderItem(msgspec.Struct, frozen=True):
    """One posting."""

    Id: _Id
    Amount: _Amount
    ConsumedUtc: datetime
    Name: Annotated[str, msgspec.Meta(max_length=1_000)] | None = None
    AccountingState: str | None = None

    def is_owed(self) -> bool:
        """Tell whether it counts: what was cancelled, or never came to be, is listed too."""
        return self.AccountingState not in ("Canceled", "Inactive")


class OrderItemsAnswer(msgspec.Struct, frozen=True):
    """Answer of orderItems/getAll."""

    OrderItems: list[OrderItem]
    Cursor: _Cursor | None = None


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
    "ResourceBlockUpdated": "resource",  # rooms are read again together, whichever was blocked
    "CustomerUpdated": "reservation",  # of all that are his: a new name changes no reservation there
}
OF_CUSTOMER: Final = OF_GUEST


def hints(raw: bytes) -> list[Hint]:
    """Read a general webhook: which ids may have changed; kinds we do not follow are left out.

    An event that names nothing costs only itself: the others are hints all the same.

    Raises:
        PeerProtocolError: not a webhook of Mews, or it has events that we follow and none of them names anything.
    """
    try:
        push = msgspec.json.decode(raw, type=_Push)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PeerProtocolError(f"not a Mews webhook: {error}") from error
    found: list[Hint] = []
    wrong: list[str] = []
    for index, event in enumerate(push.Events):
        if event.Discriminator not in _HINTS:
            continue
        try:
            value = msgspec.json.decode(event.Value, type=_EventValue)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            wrong.append(f"Events[{index}] {event.Discriminator}: {error}")
            continue
        whose = OF_CUSTOMER if event.Discriminator == "CustomerUpdated" else ""
        found.append(Hint(_HINTS[event.Discriminator], whose + value.Id))
    if wrong and not found:
        raise PeerProtocolError(f"not a Mews webhook: {wrong[0]}")
    return list(dict.fromkeys(found))


def reservation(said: Reservation, names: Mapping[str, str], *, now_ms: int) -> PmsReservation | ItemError:
    """Translate one reservation; `names` are display names by account id. See `room` for when it changed."""
    for field in ("ScheduledStartUtc", "ScheduledEndUtc", "UpdatedUtc"):
        when = getattr(said, field)
        if when is not None and not EARLIEST_MS <= utc_ms(when) < LATEST_MS:
            return ItemError(said.Id, f"{field} {when.isoformat()} is outside the years 2000 to 2199")
    if utc_ms(said.ScheduledEndUtc) <= utc_ms(said.ScheduledStartUtc):
        return ItemError(said.Id, f"ends {said.ScheduledEndUtc} before it starts {said.ScheduledStartUtc}")
    status = _STATUS[said.State]
    if status is PmsStatus.CANCELLED and said.CancellationReason == "NoShow":
        status = PmsStatus.NO_SHOW
    return PmsReservation(
        external_id=said.Id,
        number=None if said.Number is None else line(said.Number) or None,
        status=status,
        room_external_id=said.AssignedResourceId,
        guest_name="" if said.AccountId is None else names.get(said.customer() or ""),
        arrival_ms=utc_ms(said.ScheduledStartUtc),
        departure_ms=utc_ms(said.ScheduledEndUtc),
        adults=sum(each.Count for each in said.PersonCounts) if said.PersonCounts else None,
        children=None,  # Mews counts by age categories of the property: who is a child is the property's word
        updated_ms=now_ms if said.UpdatedUtc is None else utc_ms(said.UpdatedUtc),
        room_type=said.RequestedResourceCategoryId,
        guest_external_id=said.customer(),
    )


def room(said: Resource, *, now_ms: int) -> list[PmsRoom | ItemError]:
    """Translate one room; one that does not say when it changed is as it is read. See `known_by`."""
    name, updated_ms = line(said.Name), now_ms if said.UpdatedUtc is None else utc_ms(said.UpdatedUtc)
    if not EARLIEST_MS <= updated_ms < LATEST_MS:
        problem = f"UpdatedUtc {said.UpdatedUtc} is outside the years 2000 to 2199"
        return [ItemError(said.Id, problem, "resource")]
    if not name:
        return [ItemError(said.Id, f"Name {said.Name!r} has nothing to read", "resource")]
    housekeeping = _HOUSEKEEPING.get(said.State or "")
    if housekeeping is None:
        return known_by(said.Id, name, updated_ms, f"State {said.State!r} is not known", said.State)
    return [PmsRoom(said.Id, name, housekeeping, updated_ms)]


def found_customer(raw: msgspec.Raw) -> Customer | None:
    """Read one customer of a search: in an object of its own or as it is; None: it cannot be read."""
    wrapped = item(raw, _Found, "customer")
    inner = raw if isinstance(wrapped, ItemError) or not bytes(wrapped.Customer) else wrapped.Customer
    said = item(inner, Customer, "customer", "Id")
    return None if isinstance(said, ItemError) else said


def folio_line(said: OrderItem) -> FolioLine:
    """Translate one posting. Raises UnreadableError."""
    minor = minor_units("GrossValue", said.Amount.GrossValue)
    return FolioLine(said.Id, line(said.Name or ""), minor, said.Amount.Currency, utc_ms(said.ConsumedUtc))


def utc_text(when_ms: int) -> str:
    """Write a time as Mews wants it."""
    moment = datetime.fromtimestamp(when_ms / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
