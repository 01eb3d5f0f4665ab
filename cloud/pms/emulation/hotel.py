"""The hotel behind every emulator: rooms, guests and reservations, in memory; its words for states are Mews's.

Its times come from a clock that can be moved ahead; its choices from seeded dice. What the wire does with it
(limits, errors, late pushes) is each face's business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kit.dice import Dice

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
CURRENCY: Final = "EUR"
ARRIVAL_HOUR, DEPARTURE_HOUR = 15, 11
NAMES: Final = (
    ("Anna", "Berger"),
    ("José María", "Fernández-Ibáñez"),
    ("Siobhán", "O'Connor"),
    ("Łukasz", "Żółć"),
    ("X", "Æ"),
    (None, "Sukarno"),
    ("Müller", "von und zu der Hohen Wiese-Straßenheim"),
    ("李", "小龍"),
    ("محمد", "الأحمد"),
    ("Null", "Null"),
    ("Robert'); DROP TABLE guests;--", "Tables"),
    ("👩‍🚀", "Traveller"),
)
"""Names as they come: no first name, one letter, right to left, quotes, an emoji."""
ODD_CONTACTS: Final[tuple[tuple[str | None, str | None], ...]] = (
    (None, None),
    ("", ""),
    ("none", "GER"),
    ("anna@guest", "German"),
    ("anna@guest.invalid\r\nBcc: all@guest.invalid", "de-DE"),
    ("a" * 10_000 + "@guest.invalid", "d" * 10_000),
    ("anna@guest.invalid; berger@guest.invalid", "Klingon"),
    ("Anna Berger <anna@guest.invalid>", "zh-Hant-TW"),
)
"""Addresses and languages as they come: none, several, with a name, with a header behind it."""


@dataclass(frozen=True)
class Rules:
    """The property's own settings."""

    require_inspected: bool = False
    """A reservation may only start when its room is Inspected."""


@dataclass(frozen=True)
class FolioLine:
    """One posting of a folio, in minor units of its currency; a payment is negative."""

    id: str
    text: str
    minor: int
    currency: str
    at_ms: int


@dataclass
class Reservation:
    """One reservation, with the state before its last change for stale reads."""

    id: str
    number: str
    account_id: str
    resource_id: str | None
    state: str
    start_ms: int
    end_ms: int
    created_ms: int
    updated_ms: int
    cancellation_reason: str | None = None
    adults: int = 2
    room_type: str = "1"
    """The category that was booked, whatever room it has."""
    folio: list[FolioLine] = field(default_factory=list)
    previous: "Reservation | None" = None


@dataclass
class Resource:
    """One room."""

    id: str
    name: str
    state: str
    updated_ms: int


class Forbidden(Exception):  # noqa: N818 - what Mews calls it
    """A rule of the property says no (403)."""


class Missing(Exception):  # noqa: N818 - what Mews calls it
    """There is no such thing (404)."""


@dataclass
class Hotel:
    """Everything the property has. Every change tells `changed` (discriminator, id)."""

    dice: Dice
    now_ms: Callable[[], int]
    rooms: Sequence[str]
    rules: Rules = field(default_factory=Rules)
    numeric_ids: bool = False
    """Ids are numbers in most systems, UUIDs in Mews."""
    changed: Callable[[str, str], None] = lambda _kind, _id: None
    kept: Callable[[], None] = lambda: None
    """Called after each change, before anybody is told of it (book.py)."""
    doubles_number: Callable[[], bool] = lambda: False
    """Whether the next reservation gets the confirmation number of another."""
    odd_contact: Callable[[], bool] = lambda: False
    """Whether the next guest is written to as nobody wants it."""
    reservations: dict[str, Reservation] = field(default_factory=dict)
    resources: dict[str, Resource] = field(default_factory=dict)
    customers: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.rooms:
            resource = Resource(self._id(), name, "Inspected", self.now_ms())
            self.resources[resource.id] = resource

    def populate(self, count: int) -> None:
        """Add `count` reservations around today: in house, arriving, to come, left, cancelled, without a room."""
        today_ms = self.now_ms() // DAY_MS * DAY_MS
        rooms = sorted(self.resources.values(), key=lambda each: each.name)
        for index in range(count):
            room = rooms[index % len(rooms)]
            nights = self.dice.integer(1, 4)
            shift = self.dice.integer(-1, 2) + 7 * (index // len(rooms))
            start_ms = today_ms + shift * DAY_MS + ARRIVAL_HOUR * HOUR_MS
            end_ms = today_ms + (shift + nights) * DAY_MS + DEPARTURE_HOUR * HOUR_MS
            first, last = self.dice.choice(NAMES)
            added = self.add(
                room=room.name if self.dice.uniform(0, 1) < 0.9 else None,
                start_ms=start_ms,
                end_ms=end_ms,
                first_name=first,
                last_name=last,
            )
            throw = self.dice.uniform(0, 1)
            if throw < 0.08:
                added.state = "Canceled"
                added.cancellation_reason = self.dice.choice(("NoShow", "Other"))
            elif start_ms <= self.now_ms() and added.resource_id is not None and throw < 0.6:
                added.state = "Started"

    def add(
        self,
        *,
        room: str | None,
        start_ms: int,
        end_ms: int,
        first_name: str | None,
        last_name: str,
        state: str = "Confirmed",
        room_type: str = "1",
        email: str | None = None,
        language: str | None = None,
    ) -> Reservation:
        """Take a reservation; a guest without an `email` gets one of his own. Raises Missing: no such room; Forbidden:
        ends before it starts.
        """
        if end_ms <= start_ms:
            raise Forbidden("The end must be after the start.")
        account = self._id()
        email = email or f"{account}@guest.invalid"
        if self.odd_contact():
            email, language = self.dice.choice(ODD_CONTACTS)
        name = {"FirstName": first_name, "LastName": last_name}
        self.customers[account] = {"Id": account, **name, "Email": email, "PreferredLanguageCode": language}
        made = Reservation(
            id=self._id(),
            number=self._number(),
            account_id=account,
            resource_id=None if room is None else self.room(room).id,
            state=state,
            start_ms=start_ms,
            end_ms=end_ms,
            created_ms=self.now_ms(),
            updated_ms=self.now_ms(),
            room_type=room_type,
        )
        self.reservations[made.id] = made
        self._tell("ServiceOrderUpdated", made.id)
        return made

    def rename(self, account_id: str, *, first_name: str | None, last_name: str) -> None:
        """Write a guest's name otherwise; none of his reservations changes by it. Raises Missing."""
        if (guest := self.customers.get(account_id)) is None:
            raise Missing(f"Customer {account_id} not found.")
        guest.update(FirstName=first_name, LastName=last_name)
        self._tell("CustomerUpdated", account_id)

    def write_to(self, account_id: str, *, email: str | None, language: str | None) -> None:
        """Note how a guest is written to from now on. Raises Missing."""
        if (guest := self.customers.get(account_id)) is None:
            raise Missing(f"Customer {account_id} not found.")
        guest.update(Email=email, PreferredLanguageCode=language)
        self._tell("CustomerUpdated", account_id)

    def _number(self) -> str:
        if self.reservations and self.doubles_number():
            return self.dice.choice(list(self.reservations.values())).number
        return str(1_000 + len(self.reservations))

    def start(self, reservation_id: str, *, by_day: bool = False) -> Reservation:
        """Check in; `by_day`: from the first hour of its day (UTC) on. Raises Missing, Forbidden."""
        found = self.reservation(reservation_id)
        if found.state != "Confirmed":
            raise Forbidden(f"Reservation {found.number} is {found.state}, not Confirmed.")
        if found.resource_id is None:
            raise Forbidden("No space is assigned.")
        if (found.start_ms // DAY_MS * DAY_MS if by_day else found.start_ms) > self.now_ms():
            raise Forbidden("The reservation starts in the future.")
        if self.rules.require_inspected and self.resources[found.resource_id].state != "Inspected":
            raise Forbidden("The space is not inspected.")
        return self._move(found, state="Started")

    def process(self, reservation_id: str) -> Reservation:
        """Check out. Raises Missing, Forbidden."""
        found = self.reservation(reservation_id)
        if found.state != "Started":
            raise Forbidden(f"Reservation {found.number} is {found.state}, not Started.")
        moved = self._move(found, state="Processed")
        if moved.resource_id is not None:
            self.set_room_state(self.resources[moved.resource_id].name, "Dirty")
        return moved

    def cancel(self, reservation_id: str, reason: str) -> Reservation:
        """Cancel. Raises Missing, Forbidden."""
        found = self.reservation(reservation_id)
        if found.state not in ("Confirmed", "Optional", "Requested", "Inquired"):
            raise Forbidden(f"Reservation {found.number} is {found.state}.")
        return self._move(found, state="Canceled", cancellation_reason=reason)

    def update(
        self,
        reservation_id: str,
        *,
        room: str | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> Reservation:
        """Move to another room or other dates. Raises Missing, Forbidden."""
        found = self.reservation(reservation_id)
        changes: dict[str, Any] = {}
        if room is not None:
            changes["resource_id"] = self.room(room).id
        if start_ms is not None:
            changes["start_ms"] = start_ms
        if end_ms is not None:
            changes["end_ms"] = end_ms
        if changes.get("end_ms", found.end_ms) <= changes.get("start_ms", found.start_ms):
            raise Forbidden("The end must be after the start.")
        return self._move(found, **changes)

    def depart(self, reservation_id: str, end_ms: int, *, check: bool = True) -> Reservation:
        """Let it end at another time. Raises Missing; Forbidden: it is over, or with `check` its room is another's."""
        found = self.reservation(reservation_id)
        if found.state not in ("Confirmed", "Started"):
            raise Forbidden(f"Reservation {found.number} is {found.state}.")
        others = (each for each in self.reservations.values() if each.state in ("Confirmed", "Started"))
        mine = (each for each in others if each.resource_id == found.resource_id and each.id != found.id)
        if check and found.resource_id and any(found.end_ms <= each.start_ms < end_ms for each in mine):
            raise Forbidden("The space is overbooked.")
        return self.update(reservation_id, end_ms=end_ms)

    def charge(self, reservation_id: str, text: str, minor: int) -> FolioLine:
        """Post to a reservation's folio; a payment is negative. Raises Missing."""
        line = FolioLine(self._id(), text, minor, CURRENCY, self.now_ms())
        self.reservation(reservation_id).folio.append(line)
        self.kept()
        return line

    def set_room_state(self, name: str, state: str) -> Resource:
        """Housekeeping says how a room is. Raises Missing."""
        resource = self.room(name)
        resource.state, resource.updated_ms = state, self.now_ms()
        self._tell("ResourceUpdated", resource.id)
        return resource

    def reservation(self, reservation_id: str) -> Reservation:
        """Return one. Raises Missing."""
        if (found := self.reservations.get(reservation_id)) is None:
            raise Missing(f"Reservation {reservation_id} not found.")
        return found

    def history(self, reservation_id: str) -> list[Reservation]:
        """Return the states a reservation went through, one each time its state changed. Raises Missing."""
        states: list[Reservation] = []
        each: Reservation | None = self.reservation(reservation_id)
        while each is not None:
            if not states or states[-1].state != each.state:
                states.append(each)
            each = each.previous
        return states[::-1]

    def room(self, name: str) -> Resource:
        """Return one by its name. Raises Missing."""
        for resource in self.resources.values():
            if resource.name == name:
                return resource
        raise Missing(f"Space {name} not found.")

    def _move(self, found: Reservation, **changes: Any) -> Reservation:
        before = Reservation(**{**vars(found), "previous": found.previous})
        for name, value in changes.items():
            setattr(found, name, value)
        found.previous = before
        found.updated_ms = max(self.now_ms(), before.updated_ms + 1)
        self._tell("ServiceOrderUpdated", found.id)
        return found

    def _tell(self, kind: str, changed_id: str) -> None:
        self.kept()
        self.changed(kind, changed_id)

    def _id(self) -> str:
        if self.numeric_ids:
            return str(self.dice.integer(10**11, 10**12 - 1))
        raw = bytearray(self.dice.bytes(16))
        raw[6], raw[8] = raw[6] & 0x0F | 0x40, raw[8] & 0x3F | 0x80
        text = raw.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
