"""The charges that we were asked to post, and what became of each: a file that outlives power and process.

A charge is written down as sent before its record leaves: whatever happens then, it is never sent by itself again. Its
number counts on over every restart.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from kit.files import Disk, write_atomic
from protocols.errors import InvalidInputError, StoreFailedError
from protocols.fias.postings import NUMBER_MOST, Charge, ChargeKind, Outcome, mark, outcome_of

FORMAT: Final = 1
OPEN_MOST: Final = 1_000
SETTLED_MOST: Final = 1_000
"""Kept after their end, for whoever asks again with the same key."""
TRIES_MOST: Final = 40
AGAIN_FIRST_MS: Final = 30_000
AGAIN_MOST_MS: Final = 15 * 60_000
KEY_CHARACTERS_MOST: Final = 128


class ChargeState(StrEnum):
    """Where a charge is."""

    WAITING = "waiting"
    SENT = "sent"
    POSTED = "posted"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """It may be on the bill: an answer that comes late says so, or the bill, or a person."""


SETTLED: Final = frozenset({ChargeState.POSTED, ChargeState.REFUSED})


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One charge. `number`: the P# of its last try; `not_before_ms`: unix, for the next one."""

    key: str
    room: str
    minor: int
    text: str
    kind: ChargeKind
    guest_number: str | None
    state: ChargeState
    at_ms: int
    number: int | None = None
    tries: int = 0
    not_before_ms: int = 0
    status: str | None = None
    said: str = ""

    @property
    def charge(self) -> Charge:
        """What is to be posted."""
        return Charge(self.room, self.minor, self.text, self.kind, self.guest_number)


class _Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    number: int
    entries: list[Entry]


@dataclass
class ChargeLedger:
    """The file. Every change is durable when its method returns.

    Raises:
        InvalidInputError: the file holds something else; names the place.
        StoreFailedError: it cannot be read or written; then nothing has changed.
    """

    disk: Disk
    path: Path

    def __post_init__(self) -> None:
        self._number = 0
        self._entries: dict[str, Entry] = {}
        try:
            data = self.disk.read(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreFailedError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        try:
            page = msgspec.json.decode(data, type=_Page)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInputError(str(self.path), f"is no ledger of charges: {error}") from error
        if page.v != FORMAT:
            raise InvalidInputError(str(self.path), f"is a ledger of format {page.v}; this program writes {FORMAT}")
        self._number, self._entries = page.number, {each.key: each for each in page.entries}

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries.values()))

    def get(self, key: str) -> Entry | None:
        """Return a charge by its key."""
        return self._entries.get(key)

    def wish(self, key: str, charge: Charge, *, now_ms: int) -> Entry:
        """Take a charge to be posted; one that was asked for before under this key is returned as it stands.

        Raises:
            InvalidInputError: the key is none or was given to another charge, or too many wait.
        """
        if not 0 < len(key) <= KEY_CHARACTERS_MOST:
            raise InvalidInputError("key", f"has {len(key)} characters, 1 to {KEY_CHARACTERS_MOST} are taken")
        if (known := self._entries.get(key)) is not None:
            if known.charge != charge:
                raise InvalidInputError("key", f"{key!r} was given to another charge: {known.room}, {known.minor}")
            return known
        if sum(each.state not in SETTLED for each in self._entries.values()) >= OPEN_MOST:
            raise InvalidInputError("charges", f"{OPEN_MOST} wait already")
        made = Entry(
            key,
            charge.room,
            charge.minor,
            charge.text,
            charge.kind,
            charge.guest_number,
            ChargeState.WAITING,
            now_ms,
        )
        return self._put(made)

    def due(self, *, now_ms: int) -> Entry | None:
        """Return the oldest charge that may be tried now; None while one is on its way."""
        if any(each.state is ChargeState.SENT for each in self._entries.values()):
            return None
        waiting = (each for each in self._entries.values() if each.state is ChargeState.WAITING)
        return next((each for each in waiting if each.not_before_ms <= now_ms), None)

    def next_due_ms(self) -> int | None:
        """Return when the next waiting charge may be tried, unix ms."""
        waits = [each.not_before_ms for each in self._entries.values() if each.state is ChargeState.WAITING]
        return min(waits, default=None)

    def send(self, key: str) -> Entry:
        """Write down that a charge leaves now, under a number that no other try has had."""
        number = self._number % NUMBER_MOST + 1
        entry = msgspec.structs.replace(
            self._entries[key], state=ChargeState.SENT, number=number, tries=self._entries[key].tries + 1
        )
        return self._put(entry, number=number)

    def answered(self, number: int, status: str, said: str, *, now_ms: int) -> Entry | None:
        """Take an answer, however late; None: of no charge that waits for one."""
        entry = next((each for each in self._entries.values() if each.number == number), None)
        if entry is None or entry.state not in (ChargeState.SENT, ChargeState.UNKNOWN):
            return None
        told = {"status": status[:8], "said": said[:80]}
        match outcome_of(status):
            case Outcome.POSTED:
                return self._put(msgspec.structs.replace(entry, state=ChargeState.POSTED, **told))
            case Outcome.LATER if entry.tries < TRIES_MOST:
                wait_ms = min(AGAIN_FIRST_MS * 2 ** min(entry.tries - 1, 10), AGAIN_MOST_MS)
                again = msgspec.structs.replace(
                    entry, state=ChargeState.WAITING, not_before_ms=now_ms + wait_ms, **told
                )
                return self._put(again)
            case Outcome.LATER | Outcome.REFUSED:
                return self._put(msgspec.structs.replace(entry, state=ChargeState.REFUSED, **told))
            case Outcome.UNKNOWN:
                return self._put(msgspec.structs.replace(entry, state=ChargeState.UNKNOWN, **told))

    def unanswered(self) -> list[Entry]:
        """What is on its way now gets no answer any more: unknown. Returns them."""
        sent = [each for each in self._entries.values() if each.state is ChargeState.SENT]
        return [self._put(msgspec.structs.replace(each, state=ChargeState.UNKNOWN)) for each in sent]

    def unsure(self) -> list[Entry]:
        """Return what may be on a bill or not."""
        return [each for each in self._entries.values() if each.state is ChargeState.UNKNOWN]

    def settle(self, key: str, *, posted: bool, said: str) -> Entry:
        """A bill or a person knows what became of an unknown charge.

        Raises:
            InvalidInputError: no such charge, or it is not unknown.
        """
        entry = self._entries.get(key)
        if entry is None or entry.state is not ChargeState.UNKNOWN:
            raise InvalidInputError("key", f"{key!r} is no charge that is unknown")
        state = ChargeState.POSTED if posted else ChargeState.REFUSED
        return self._put(msgspec.structs.replace(entry, state=state, said=said[:80]))

    def found(self, text: str, room: str, guest_number: str) -> Entry | None:
        """A line of this guest's bill shows the mark of an unknown charge: it is posted. Returns it."""
        for each in self.unsure():
            whose = (each.room, each.guest_number) == (room, guest_number)
            if whose and each.number is not None and mark(each.number) in text:
                return self.settle(each.key, posted=True, said="found on the bill")
        return None

    def _put(self, entry: Entry, *, number: int | None = None) -> Entry:
        entries = {**self._entries, entry.key: entry}
        settled = [each.key for each in entries.values() if each.state in SETTLED]
        for key in settled[: max(0, len(settled) - SETTLED_MOST)]:
            del entries[key]
        counted = self._number if number is None else number
        write_atomic(self.disk, self.path, msgspec.json.encode(_Page(FORMAT, counted, list(entries.values()))))
        self._number, self._entries = counted, entries
        return entry
