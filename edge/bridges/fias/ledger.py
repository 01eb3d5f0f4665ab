"""The charges that we were asked to post, and what became of each: a file that outlives power and process.

A charge is written down as sent before its record leaves: whatever happens then, it is never sent by itself again. Its
number counts on over every restart. The disk is waited for in a thread, one change at a time: the house goes on.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from kit.files import Disk, write_atomic
from protocols.errors import InvalidInputError, LocalProtocolError, StoreFailedError
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


@dataclass(frozen=True, slots=True)
class _Change:
    """What a step makes of the ledger. `entries` None: nothing is to be written. `entry`: the one that it is about;
    `number`: the last P#, None: as it was.
    """

    entries: Mapping[str, Entry] | None
    entry: Entry | None = None
    number: int | None = None


@dataclass
class ChargeLedger:
    """The file. Every change is durable when its method returns; one that has begun is ended, whoever asked is gone.

    Raises:
        InvalidInputError: the file holds something else; names the place.
        StoreFailedError: it cannot be read or written; then nothing has changed.
    """

    disk: Disk
    path: Path

    def __post_init__(self) -> None:
        self._number = 0
        self._entries: dict[str, Entry] = {}
        self._turn = asyncio.Lock()
        self._changes: set[asyncio.Task[_Change]] = set()
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

    async def wish(self, key: str, charge: Charge, *, now_ms: int) -> Entry:
        """Take a charge to be posted; one that was asked for before under this key is returned as it stands.

        Raises:
            InvalidInputError: the key is none or was given to another charge, or too many wait.
        """
        if not 0 < len(key) <= KEY_CHARACTERS_MOST:
            raise InvalidInputError("key", f"has {len(key)} characters, 1 to {KEY_CHARACTERS_MOST} are taken")

        def change() -> _Change:
            if (known := self._entries.get(key)) is not None:
                if known.charge != charge:
                    raise InvalidInputError("key", f"{key!r} was given to another charge: {known.room}, {known.minor}")
                return _Change(None, known)
            if sum(each.state not in SETTLED for each in self._entries.values()) >= OPEN_MOST:
                raise InvalidInputError("charges", f"{OPEN_MOST} wait already")
            return self._with(
                Entry(
                    key,
                    charge.room,
                    charge.minor,
                    charge.text,
                    charge.kind,
                    charge.guest_number,
                    ChargeState.WAITING,
                    now_ms,
                )
            )

        return _entry(await self._do(change))

    def due(self, *, now_ms: int) -> Entry | None:
        """Return the oldest charge that may be tried now; None while one is on its way."""
        if self.on_its_way:
            return None
        waiting = (each for each in self._entries.values() if each.state is ChargeState.WAITING)
        return next((each for each in waiting if each.not_before_ms <= now_ms), None)

    def next_due_ms(self) -> int | None:
        """Return when the next waiting charge may be tried, unix ms."""
        waits = [each.not_before_ms for each in self._entries.values() if each.state is ChargeState.WAITING]
        return min(waits, default=None)

    async def send(self, key: str) -> Entry:
        """Write down that a charge leaves now, under a number that no other try has had."""

        def change() -> _Change:
            number, entry = self._next(), self._entries[key]
            sent = msgspec.structs.replace(entry, state=ChargeState.SENT, number=number, tries=entry.tries + 1)
            return self._with(sent, number=number)

        return _entry(await self._do(change))

    async def take_number(self) -> int:
        """Return a P# that nothing else has or will have."""
        done = await self._do(lambda: _Change(self._entries, number=self._next()))
        if done.number is None:
            raise LocalProtocolError("a number was asked for and none was written down")
        return done.number

    async def answered(self, number: int, status: str, said: str, *, now_ms: int) -> Entry | None:
        """Take an answer, however late; None: of no charge that waits for one."""

        def change() -> _Change:
            entry = next((each for each in self._entries.values() if each.number == number), None)
            on_bill = outcome_of(status) is Outcome.POSTED
            if entry is None or entry.state is ChargeState.POSTED:
                return _Change(None)
            if entry.state not in (ChargeState.SENT, ChargeState.UNKNOWN) and not on_bill:
                return _Change(None)  # a second answer: only that it is on the bill after all changes anything
            return self._with(_after_answer(entry, status, said, now_ms))

        return (await self._do(change)).entry

    async def judged(self, key: str, outcome: Outcome, status: str | None, said: str, *, now_ms: int) -> Entry:
        """A charge that waits was not sent: it is refused, or waits for longer.

        Raises:
            InvalidInputError: no such charge, or it does not wait.
        """

        def change() -> _Change:
            entry = self._entries.get(key)
            if entry is None or entry.state is not ChargeState.WAITING or outcome is Outcome.POSTED:
                raise InvalidInputError("key", f"{key!r} is no charge that waits")
            tried = msgspec.structs.replace(entry, tries=entry.tries + 1)
            return self._with(_after_answer(tried, status or "", said, now_ms, outcome))

        return _entry(await self._do(change))

    async def unanswered(self) -> list[Entry]:
        """What is on its way now gets no answer any more: unknown. Returns them."""
        sent: list[Entry] = []

        def change() -> _Change:
            on_its_way = [each for each in self._entries.values() if each.state is ChargeState.SENT]
            sent.extend(msgspec.structs.replace(each, state=ChargeState.UNKNOWN) for each in on_its_way)
            return _Change(self._entries | {each.key: each for each in sent} if sent else None)

        await self._do(change)
        return sent

    @property
    def on_its_way(self) -> bool:
        """True while a charge is written down as sent."""
        return any(each.state is ChargeState.SENT for each in self._entries.values())

    def unsure(self) -> list[Entry]:
        """Return what may be on a bill or not."""
        return [each for each in self._entries.values() if each.state is ChargeState.UNKNOWN]

    async def settle(self, key: str, *, posted: bool, said: str) -> Entry:
        """A bill or a person knows what became of an unknown charge.

        Raises:
            InvalidInputError: no such charge, or it is not unknown.
        """

        def change() -> _Change:
            entry = self._entries.get(key)
            if entry is None or entry.state is not ChargeState.UNKNOWN:
                raise InvalidInputError("key", f"{key!r} is no charge that is unknown")
            state = ChargeState.POSTED if posted else ChargeState.REFUSED
            return self._with(msgspec.structs.replace(entry, state=state, said=said[:80]))

        return _entry(await self._do(change))

    async def found(self, text: str, room: str, guest_number: str) -> Entry | None:
        """A line of this guest's bill shows the mark of an unknown charge: it is posted. Returns it."""
        for each in self.unsure():
            whose = (each.room, each.guest_number) == (room, guest_number)
            if whose and each.number is not None and mark(each.number) in text:
                return await self.settle(each.key, posted=True, said="found on the bill")
        return None

    def _next(self) -> int:
        return self._number % NUMBER_MOST + 1

    def _with(self, entry: Entry, *, number: int | None = None) -> _Change:
        return _Change({**self._entries, entry.key: entry}, entry, number)

    async def _do(self, change: Callable[[], _Change]) -> _Change:
        """Make a change durable; `change` looks at the ledger as it is in its turn."""
        task = asyncio.create_task(self._done(change))
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def _done(self, change: Callable[[], _Change]) -> _Change:
        async with self._turn:
            wanted = change()
            if wanted.entries is None:
                return wanted
            entries = dict(wanted.entries)
            settled = [each.key for each in entries.values() if each.state in SETTLED]
            for key in settled[: max(0, len(settled) - SETTLED_MOST)]:
                del entries[key]
            number = self._number if wanted.number is None else wanted.number
            data = msgspec.json.encode(_Page(FORMAT, number, list(entries.values())))
            await asyncio.to_thread(write_atomic, self.disk, self.path, data)
            self._number, self._entries = number, entries
            return wanted


def _entry(done: _Change) -> Entry:
    if done.entry is None:
        raise LocalProtocolError("a charge was changed and is none")
    return done.entry


def _after_answer(entry: Entry, status: str, said: str, now_ms: int, outcome: Outcome | None = None) -> Entry:
    """Return what an answer makes of a charge; `outcome` None: what AS means. Pure."""
    told = {"status": status[:8], "said": said[:80]}
    match outcome_of(status) if outcome is None else outcome:
        case Outcome.POSTED:
            return msgspec.structs.replace(entry, state=ChargeState.POSTED, **told)
        case Outcome.LATER if entry.tries < TRIES_MOST:
            wait_ms = min(AGAIN_FIRST_MS * 2 ** min(entry.tries - 1, 10), AGAIN_MOST_MS)
            again_ms = now_ms + wait_ms
            return msgspec.structs.replace(entry, state=ChargeState.WAITING, not_before_ms=again_ms, **told)
        case Outcome.LATER | Outcome.REFUSED:
            return msgspec.structs.replace(entry, state=ChargeState.REFUSED, **told)
        case Outcome.UNKNOWN:
            return msgspec.structs.replace(entry, state=ChargeState.UNKNOWN, **told)
