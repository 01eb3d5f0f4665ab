"""The port to a foreign lock system: what the desk asks, how true an answer is, and the errors an adapter gives.

Source of truth: docs/decisions/0047-a-key-is-named-by-our-grant.md. A key is named by our grant id, which the adapter
writes into the vendor's own record of it: so every adapter can look before it acts, and nothing is issued twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Final, Literal, Protocol, runtime_checkable

from protocols.errors import PlatformError

Medium = Literal["pin", "card", "mobile"]
DOORS_MOST: Final = 64
PIN_TAKEN: Final = "pin-taken"
"""Code of a refusal: another key has these digits; choose others."""
NO_REMOTE_OPENING: Final = "no-remote-opening"
GRANT_CHARACTERS: Final = r"[a-z0-9-]{4,40}"


class Truth(StrEnum):
    """How far the truth of an outcome reaches. Nobody is told more than was seen."""

    ACCEPTED = "accepted-by-vendor"
    """The vendor's server took it; what its locks know was not seen."""
    AT_NEXT_PRESENTATION = "effective-at-next-presentation"
    """It is on a card or phone; a lock learns of it when that is shown to it."""
    CONFIRMED = "online-confirmed"
    """The lock, or the controller that drives its bolt, said so itself."""


class VendorBusyError(PlatformError):
    """It asks us to wait, or the encoder is at work: nothing was done. `wait_ms` from now on."""

    retryable = True

    def __init__(self, said: str, wait_ms: int) -> None:
        super().__init__(said)
        self.wait_ms = wait_ms


class VendorRefusedError(PlatformError):
    """It understood and said no: credentials, a rule of its own, or no such door. Nothing was done."""

    def __init__(self, said: str, code: str = "") -> None:
        super().__init__(said)
        self.code = code


class VendorFaultError(PlatformError):
    """It broke while working: what was asked may have been done. Look before doing it again."""

    retryable = True
    may_have_taken_effect: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a system can do, and how true its answers are.

    `issue`, `revoke`: the truth of a good answer. `opens`: None where it has no remote opening. `media`: what a key
    can be; the first is taken where none is asked for. `changes`: a key can be given another window or other doors
    without a new card. `joins`: a second key leaves the first alone. `events`: it tells what happened.
    """

    media: tuple[Medium, ...]
    issue: Truth
    revoke: Truth
    opens: Truth | None = None
    changes: bool = True
    joins: bool = True
    events: bool = True
    keeps_hours: bool = True
    """Its locks refuse a key before and after its time. False: we write it when its time begins and take it away at the
    end, so that a key of an edge without power goes on opening."""


@dataclass(frozen=True, slots=True)
class WantedKey:
    """The key of one grant as it shall be; issuing, extending and moving are all this, asked again.

    `grant`: our id. `doors`: the vendor's names of doors, sorted. Times in unix ms. `join`: beside the keys that the
    doors' present guest has; else it replaces an earlier guest's. `encoder`: where a card is written. `pin`: the digits
    that a PIN shall have, chosen and kept by us beforehand, so that asking again asks for the same; secret.
    """

    grant: str
    doors: tuple[str, ...]
    not_before_ms: int
    not_after_ms: int
    medium: Medium
    join: bool = False
    encoder: str | None = None
    pin: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class KeyMade:
    """The vendor has the key as it was wanted.

    `key`: the vendor's own id of it. `found`: it was there already, from an earlier asking. `code`: a PIN, or what
    a phone takes it with; secret, and known to some vendors only in the moment of making (then None when found).
    """

    grant: str
    key: str
    truth: Truth
    found: bool = False
    code: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class KeyEnded:
    """The vendor has no key of this grant any more; `found`: it had one."""

    grant: str
    truth: Truth
    found: bool


@dataclass(frozen=True, slots=True)
class DoorOpened:
    """A door was told to open from afar."""

    door: str
    truth: Truth


EventKind = Literal["opened", "refused", "door-open", "door-closed", "battery-low", "other"]


@dataclass(frozen=True, slots=True)
class VendorEvent:
    """Something happened at a door. `event` is the vendor's id of it (or a digest of it), the same each time told.

    `grant`: our grant, where the vendor names it. `at_ms` is the vendor's clock: data, never an order.
    """

    event: str
    kind: EventKind
    door: str | None
    grant: str | None
    at_ms: int | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EventPage:
    """What happened, and where to ask on. `cursor` is the adapter's own and is kept as it is."""

    events: tuple[VendorEvent, ...]
    cursor: str
    more: bool = False
    refused: int = 0
    """Items that could not be read: counted, left out, neighbours unaffected."""


@dataclass(frozen=True, slots=True)
class DoorHealth:
    """How a door is, as its vendor tells. None: it does not say."""

    door: str
    online: bool | None = None
    battery_percent: int | None = None
    bolt: Literal["locked", "unlocked"] | None = None


@dataclass(frozen=True, slots=True)
class Strays:
    """What a keypad holds otherwise than the book of its slots has it: the book is of an earlier moment, or lost.

    `slots`: hold digits of no key that is known; they are emptied once this is told. `missing`: keys that are made by
    the book, and are not there.
    """

    door: str
    slots: tuple[int, ...]
    missing: tuple[str, ...]


@runtime_checkable
class KeypadSystem(Protocol):
    """A system whose locks name no key: which is in which slot is in a book of ours, which the locks are held against.

    Each keypad is read once in the life of a process, at the first visit: the book may be an older one since.
    """

    def tell_strays(self, told: Callable[[Strays], None]) -> None:
        """Call this with what is found, before anything is emptied; where it raises, nothing is."""
        ...

    def unread(self, *, within_reach: bool = False) -> tuple[str, ...]:
        """Return the doors whose keypads have not been read to the end since this process began."""
        ...

    async def read(self, door: str) -> None:
        """Read a keypad, and empty what is nobody's. Raises as the calls of LockSystem do."""
        ...


class LockSystem(Protocol):
    """One foreign lock system of the property.

    Every call looks before it acts and may be repeated. It tries one time; `insist` repeats. Every method may raise
    LinkLostError (never left), ReplyTimeoutError (left, unanswered), VendorBusyError, VendorFaultError,
    VendorRefusedError and PeerProtocolError (not what the vendor's documentation promises).
    """

    @property
    def kind(self) -> str:
        """Which vendor's: `unifi_access`, `visionline`, ..."""
        ...

    @property
    def abilities(self) -> Abilities:
        """What it can do."""
        ...

    async def issue(self, wanted: WantedKey) -> KeyMade:
        """See that the key of `wanted.grant` is as wanted: found, changed or made; never a second one.

        Raises also InvalidInputError: a door or medium that the system does not have; nothing was asked.
        """
        ...

    async def revoke(self, grant: str) -> KeyEnded:
        """See that no key of this grant is left; harmless to ask again."""
        ...

    async def open_door(self, door: str, *, actor: str) -> DoorOpened:
        """Open a door from afar, once. `actor` is our name of who asked. Never repeated by itself.

        Raises also VendorRefusedError with code `no-remote-opening` where there is none.
        """
        ...

    async def events(self, cursor: str) -> EventPage:
        """Return what happened after `cursor` ("" at first); the same event may come again, with the same id."""
        ...

    async def health(self) -> Mapping[str, DoorHealth]:
        """Return how each door is, by the vendor's name of it."""
        ...

    async def close(self) -> None:
        """Let go of its connections; harmless to call twice."""
        ...
