"""The port to a property management system: what the engine asks, and the errors an adapter answers with.

Source of truth: design page pms.md B.0. A push is a hint and never data; every write is confirmed by reading.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Final, Literal, Protocol, Self

from cloud.stays.reservation import Housekeeping, PmsStatus
from protocols.errors import LinkLostError, PeerProtocolError, PlatformError, ReplyTimeoutError


class PmsAction(StrEnum):
    """What we may want of a PMS."""

    CHECK_IN = "check_in"
    CHECK_OUT = "check_out"
    ASSIGN_ROOM = "assign_room"
    SET_ROOM_STATUS = "set_room_status"
    SET_DEPARTURE = "set_departure"


System = Literal["mews", "cloudbeds", "ohip", "stayntouch", "ezee"]
HintKind = Literal["reservation", "resource"]
ItemKind = Literal["reservation", "resource", "customer"]
PART: Final = "~"
"""Between the id of a reservation and that of one room of it, where a PMS books several rooms as one; no id there has
one. A hint names the reservation.
"""
OF_GUEST: Final = f"customer{PART}"
"""Before a guest's id, where a hint means whatever he has booked."""


_ABOUT_US_OR_THE_ASKED: Final = frozenset({401, 404})


class PmsBusyError(PlatformError):
    """It asks us to wait: nothing was done. `wait_ms` from now on."""

    retryable = True

    def __init__(self, wait_ms: int) -> None:
        super().__init__(f"the PMS asks for {wait_ms} ms of patience")
        self.wait_ms = wait_ms


class PmsRefusedError(PlatformError):
    """It understood and said no: credentials, a business rule, or no such thing. Nothing was done."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"the PMS refused with {status}: {said}")
        self.status, self.said = status, said


class PmsFaultError(PlatformError):
    """It broke while working: a write may have taken effect. Read before doing anything again."""

    retryable = True
    may_have_taken_effect: ClassVar[bool] = True


class PmsUnreadError(LinkLostError):
    """What has to be known before it is told something could not be read, or is not so yet: what was to be told never
    left.
    """


@contextmanager
def before_writing() -> Iterator[None]:
    """Say of a read that fails in here that nothing was written. Raises PmsUnreadError, and what is no failure of
    reading as it is: to be patient, not to be known there, not to know what was asked for.
    """
    try:
        yield
    except PmsRefusedError as error:
        if error.status in _ABOUT_US_OR_THE_ASKED:
            raise
        raise PmsUnreadError(str(error)) from error
    except (PmsFaultError, ReplyTimeoutError, LinkLostError, PeerProtocolError) as error:
        raise PmsUnreadError(str(error)) from error


class PmsCannotError(PlatformError):
    """This PMS has no interface for it: a person does it at the desk. Nothing was done."""

    def __init__(self, system: str, what: str) -> None:
        super().__init__(f"{system} has no interface for {what}: a person does it in the PMS itself")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one PMS can do. The engine asks for nothing that is not here.

    `pushes`: webhooks reach us. `changed_since`: `changed` lists by time of change; without it the neighbourhood of
    now is listed again and again. `event_queue`: `pending` empties a queue of hints that the PMS keeps for us.
    """

    pushes: bool
    changed_since: bool
    event_queue: bool
    writes: frozenset[PmsAction]
    folio: bool
    early_ms: int = 0
    """How long before the hour of arrival it starts a reservation: systems that know days alone do so all day."""
    conditions: frozenset[Housekeeping] = frozenset(Housekeeping)
    """What it can tell apart of a room's condition."""
    asks_by_guest: bool = False
    """`get` reads whatever a guest has booked (`OF_GUEST`); where not, whose a reservation is is remembered."""
    queue_every_ms: int = 2_000
    """How often its queue of hints may be emptied."""
    by_day: bool = True
    """It knows the days of a stay and no hours: an end that it is told comes back as that day's."""
    queue_keeps: bool = False
    """Its queue keeps what it handed over until it was told that this was received."""
    contacts: bool = False
    """It tells how a guest is written to."""


@dataclass(frozen=True, slots=True)
class FolioLine:
    """One posting of a reservation's bill: `minor` is in hundredths of `currency`; a payment is negative."""

    external_id: str
    text: str
    minor: int
    currency: str | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class Hint:
    """This thing may have changed. `external_id` is a reservation's, or what else `get` of the same adapter reads."""

    kind: HintKind
    external_id: str


@dataclass(frozen=True, slots=True)
class PmsReservation:
    """A reservation in our words but still with the PMS's name for its room."""

    external_id: str
    number: str | None
    status: PmsStatus
    room_external_id: str | None
    guest_name: str | None
    """None: the PMS did not tell whose it is; what was known before stays."""
    arrival_ms: int
    departure_ms: int
    adults: int | None
    children: int | None
    updated_ms: int
    room_type: str | None = None
    """The PMS's own code of the type that was booked, whatever room it has; None: not told."""
    guest_external_id: str | None = None
    """The profile of the guest whose name it has; None: not told."""


@dataclass(frozen=True, slots=True)
class PmsRoom:
    """A room of the PMS: its id there, the name people use, its condition."""

    external_id: str
    name: str
    housekeeping: Housekeeping | None
    """None: there is no word of ours for what the PMS says, or it says nothing. See conditions.py."""
    updated_ms: int
    said: str | None = None
    """The PMS's own word where there is none of ours for it; None: it says nothing."""


@dataclass(frozen=True, slots=True)
class PmsGuest:
    """A guest profile, as little of it as we show."""

    external_id: str
    name: str


@dataclass(frozen=True, slots=True)
class GuestContact:
    """How the guest of a reservation is written to, as the PMS has it now. Used and let go: nobody stores it, and it
    shows itself in no log.
    """

    email: str | None = field(repr=False)
    """None: none told, or one that is no address."""
    language: str | None = field(repr=False)
    """BCP 47, the language alone in lower case, such as `de`; None: none told, or one that nobody knows."""


@dataclass(frozen=True, slots=True)
class ItemError:
    """One item of an answer with something wrong about it; the others are as good as ever.

    `problem` names the offending value. `held_back`: nothing of the item was taken over; otherwise it was, without
    what the problem names.
    """

    external_id: str
    problem: str
    kind: ItemKind = "reservation"
    held_back: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """Part of an answer."""

    reservations: tuple[PmsReservation, ...]
    errors: tuple[ItemError, ...] = ()
    guests: tuple[str, ...] = ()
    """External ids of the guests whose names came with it."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """Every room that could be read, and what was wrong with the others."""

    rooms: tuple[PmsRoom, ...]
    errors: tuple[ItemError, ...] = ()

    @classmethod
    def of(cls, told: Iterable[PmsRoom | ItemError]) -> Self:
        """Part what could be read from what could not."""
        both = list(told)
        return cls(
            tuple(each for each in both if isinstance(each, PmsRoom)),
            tuple(each for each in both if isinstance(each, ItemError)),
        )


class PmsAdapter(Protocol):
    """One PMS connection of one property. Every method may raise PmsBusyError, PmsRefusedError, PmsFaultError,
    LinkLostError (never left; PmsUnreadError of a write), ReplyTimeoutError (left, unanswered) and PeerProtocolError
    (not what the PMS's documentation promises).
    """

    system: str
    capabilities: Capabilities

    def hints(self, raw: bytes) -> list[Hint]:
        """Read a push. Pure. Raises PeerProtocolError."""
        ...

    async def rooms(self) -> Rooms:
        """Return every room."""
        ...

    def changed(self, since_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """Yield the reservations changed in a time interval (unix ms on the PMS's clock)."""
        ...

    def colliding(self, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """Yield the reservations whose stay touches a time interval."""
        ...

    def arriving(self, from_ms: int, until_ms: int) -> AsyncIterator[Page]:
        """Yield the reservations whose arrival lies in a time interval."""
        ...

    async def get(self, external_ids: Sequence[str]) -> Page:
        """Return the reservations of these ids; one the PMS does not know is absent."""
        ...

    async def guest(self, external_id: str) -> PmsGuest | None:
        """Return one guest profile."""
        ...

    async def search_guests(self, name: str) -> list[PmsGuest]:
        """Return guest profiles whose name matches."""
        ...

    async def contact(self, external_id: str) -> GuestContact:
        """Return how the guest of a reservation is written to. May raise PmsRefusedError (404: no such reservation),
        PmsCannotError.
        """
        ...

    async def check_in(self, external_id: str) -> None:
        """Move a booked reservation to in house."""
        ...

    async def check_out(self, external_id: str) -> None:
        """Move a reservation that is in house to left."""
        ...

    async def assign_room(self, external_id: str, room_external_id: str) -> None:
        """Put a reservation into a room: assigned before arrival, moved after it. May raise PmsCannotError."""
        ...

    async def set_room_status(self, room_external_id: str, housekeeping: Housekeeping) -> None:
        """Tell how housekeeping left a room. May raise PmsCannotError."""
        ...

    async def set_departure(self, external_id: str, departure_ms: int) -> None:
        """Let a reservation end at another time; what it costs is the desk's to say. May raise PmsCannotError."""
        ...

    async def folio(self, external_id: str) -> tuple[FolioLine, ...]:
        """Return the postings of a reservation, oldest first. May raise PmsCannotError."""
        ...

    async def pending(self) -> list[Hint]:
        """Take the hints that the PMS kept for us. They are gone there once this returns (but see `received`): store
        them.
        """
        ...

    async def received(self) -> None:
        """Tell the PMS that the hints of the last `pending` are stored, where it waits for that."""
        ...

    async def ensure_subscribed(self) -> int:
        """See that the PMS pushes to us, where it lets us say so; return how many subscriptions had vanished."""
        ...
