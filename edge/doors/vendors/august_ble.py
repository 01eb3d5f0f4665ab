"""The adapter to August and Yale locks by Bluetooth: one PIN in one keypad slot of each lock, and the bolt from afar.

Source of truth: docs/decisions/0084-august-by-bluetooth.md. The lock's frames are `yalexs-ble`'s to know; the link is
ours (one adapter, one scan, a bounded number of links). A keypad slot has no name, so which grant is in which slot is a
book of ours, durable before the lock is told. The book may be an older one than the lock has seen, or lost: so at the
first visit of each process all slots of our range are read, and what is no known key's is cleared (0147).

The lock keeps no hours: a PIN is written when its time begins and cleared when it ends, by us. What a good answer says
was said by the lock itself.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from bleak import BleakClient
from bleak.backends.device import BLEDevice
from bleak.exc import BleakError
from yalexs_ble.const import OperationError
from yalexs_ble.lock import Lock
from yalexs_ble.secure_session import SecureSession
from yalexs_ble.session import (
    AuthError,
    DisconnectedError,
    KeycodeError,
    OperationFailedError,
    ResponseError,
    Session,
    YaleXSBLEError,
)

from edge.doors.vendors.port import (
    NO_REMOTE_OPENING,
    PIN_TAKEN,
    Abilities,
    DoorHealth,
    DoorOpened,
    EventPage,
    KeyEnded,
    KeyMade,
    Strays,
    Truth,
    VendorBusyError,
    VendorFaultError,
    VendorRefusedError,
    WantedKey,
)
from edge.doors.vendors.reach import Reach, SlotBook
from firmware_bridges.ble_radio.backend import TROUBLE
from kit.clock import Clock
from protocols.errors import InvalidInputError, LinkLostError, PeerProtocolError, ReplyTimeoutError

BUSY_MS: Final = 2_000
HEARD_MOST_MS: Final = 300_000
"""A lock unheard for longer counts as out of reach."""
SLOTS_MOST: Final = 64
_BUSY: Final = frozenset({OperationError.BUSY, OperationError.KEYCODE_TIMEOUT, OperationError.NO_BUFS})


@dataclass(frozen=True, slots=True)
class BleLock:
    """How one lock is reached: its address, its offline key (16 bytes) and that key's slot in the lock; secret."""

    address: str
    key: bytes = field(repr=False)
    key_slot: int


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a slot is to hold: the PIN of a grant (None: nothing). `ending`: what it holds is about to be cleared."""

    grant: str | None
    pin: str | None = field(repr=False)
    made: bool = False
    ending: bool = False


@dataclass(frozen=True, slots=True)
class _OddSlot:
    """A slot that holds something else, or (not `full`) nothing where a key was made."""

    slot: int
    wanted: _Wanted
    full: bool


class _LinkedLock(Lock):
    """yalexs-ble's lock on a link that is already there: it neither scans, connects nor tries again by itself."""

    def __init__(self, name: str, lock: BleLock) -> None:
        super().__init__(_nobody, lock.key.hex(), lock.key_slot, name, _unheard)

    async def speak_over(self, client: BleakClient) -> None:
        """Shake hands. Raises what the library and bleak raise."""
        self.client = client  # type: ignore[assignment]  # of its own class it needs the cache alone, which we do not use
        session = Session(client, self.name, self._lock, self._disconnected_futures, self._internal_state_callback)
        secure = SecureSession(client, self.name, self._lock, self._disconnected_futures, self.key_index)
        if None in (
            session.read_characteristic,
            session.write_characteristic,
            secure.read_characteristic,
            secure.write_characteristic,
        ):
            raise ResponseError("not an August or Yale lock")
        self.session, self.secure_session = session, secure
        await secure.start_notify()
        await self._setup_session()
        await session.start_notify()


class AugustBle:
    """August and Yale locks within the reach of this house's Bluetooth. Fits port.LockSystem.

    Args:
        name: Of the system; the book's lines are under it.
        locks: Door > how its lock is reached.
        slots: Keypad slots that are ours alone, in every lock; what else is found in them is cleared.
        reach: The house's Bluetooth.
        book: Which grant is in which slot.
        clock: For the hours that the locks do not keep.
    """

    kind = "august_ble"
    abilities = Abilities(
        media=("pin",),
        issue=Truth.CONFIRMED,
        revoke=Truth.CONFIRMED,
        opens=Truth.CONFIRMED,
        events=False,
        keeps_hours=False,
    )

    def __init__(
        self,
        name: str,
        *,
        locks: Mapping[str, BleLock],
        slots: Sequence[int],
        reach: Reach,
        book: SlotBook,
        clock: Clock,
    ) -> None:
        if not 1 <= len(slots) <= SLOTS_MOST:
            raise InvalidInputError("slots", f"{len(slots)}, not 1 to {SLOTS_MOST}")
        self._name, self._locks, self._slots = name, dict(sorted(locks.items())), tuple(sorted(set(slots)))
        self._reach, self._book, self._clock = reach, book, clock
        for each in self._locks.values():
            reach.want(each.address)
        self._turns = {door: asyncio.Lock() for door in self._locks}
        self._battery: dict[str, int] = {}
        self._unread = {door: set(self._slots) for door in self._locks}
        self._told: set[tuple[str, int]] = set()
        self._tell: Callable[[Strays], None] = _nobody_asked
        logging.getLogger("yalexs_ble").setLevel(logging.ERROR)  # what it logs below may hold a PIN or a session's key

    async def close(self) -> None:
        """See the port: no connection outlives a call."""

    async def issue(self, wanted: WantedKey) -> KeyMade:
        """See the port. Before its time a key is refused as busy until then: the lock would let it in at once."""
        if wanted.medium != "pin" or wanted.pin is None:
            raise InvalidInputError("medium", f"{wanted.medium!r}: keys of these locks are PINs")
        if unknown := [each for each in wanted.doors if each not in self._locks]:
            raise InvalidInputError("doors", f"{unknown[0]!r} is not among this system's locks")
        at_ms = self._clock.wall_ms()
        if at_ms >= wanted.not_after_ms:
            raise VendorRefusedError(f"{self._name}: the key's time is over")
        elsewhere = [
            door for door in self._locks if door not in wanted.doors and self._slot_of(door, wanted.grant) is not None
        ]
        for door in elsewhere:
            await self._clear(door, wanted.grant)
        if at_ms < wanted.not_before_ms:
            wait_ms = wanted.not_before_ms - at_ms
            raise VendorBusyError(f"{self._name}: the lock keeps no hours: written when the key's time begins", wait_ms)
        found, slots = True, []
        for door in wanted.doors:
            slot, there = await self._write(door, wanted.grant, wanted.pin)
            found = found and there
            slots.append(f"{door}:{slot}")
        return KeyMade(wanted.grant, ",".join(slots), Truth.CONFIRMED, found=found, code=wanted.pin)

    async def revoke(self, grant: str) -> KeyEnded:
        """See the port. Done once every lock that has it has said that it has it no more.

        A grant that the book does not know may be in a lock all the same: in one whose slots are unknown (the book was
        lost, or this lock was never visited), or in one of its own that was not read yet (the book is an older one).
        These are read first, and one that cannot be reached is an error.
        """
        held = [door for door in self._locks if self._slot_of(door, grant) is not None]
        for door in held:
            await self._clear(door, grant)
        key = self._book.slot_key(grant)
        own = () if key is None else key.doors
        for door in self._locks if not held else ():
            if self._unknown(door) or (door in own and self._unread[door]):
                await self.read(door)
        return KeyEnded(grant, Truth.CONFIRMED, found=bool(held))

    async def open_door(self, door: str, *, actor: str) -> DoorOpened:  # noqa: ARG002 - the lock knows a key, no person
        """See the port. The answer is the lock's own, given when its motor has stopped."""
        if door not in self._locks:
            raise VendorRefusedError(f"{self._name}: no lock {door!r}", NO_REMOTE_OPENING)
        async with self._linked(door) as lock:
            try:
                await lock.force_unlock()
            except OperationFailedError as error:
                raise VendorFaultError(f"{self._name}: {door}: {_name(error.error)}; see whether it is open") from None
            except (YaleXSBLEError, TimeoutError, *TROUBLE):
                raise ReplyTimeoutError(f"{self._name}: {door}: the link broke; the door may have opened") from None
        return DoorOpened(door, Truth.CONFIRMED)

    async def events(self, cursor: str) -> EventPage:
        """See the port: none. Reading the lock's log takes it away, so that what is lost on the way is lost."""
        return EventPage((), cursor)

    async def health(self) -> Mapping[str, DoorHealth]:
        """See the port: heard lately or not, and the battery of the last visit. Nobody is connected to for this."""
        found: dict[str, DoorHealth] = {}
        for door, lock in self._locks.items():
            found[door] = DoorHealth(door, online=self._is_heard(lock), battery_percent=self._battery.get(door))
        return found

    def tell_strays(self, told: Callable[[Strays], None]) -> None:
        """See the port."""
        self._tell = told

    def unread(self, *, within_reach: bool = False) -> tuple[str, ...]:
        """See the port."""
        return tuple(
            door
            for door, slots in self._unread.items()
            if slots and not (within_reach and not self._is_heard(self._locks[door]))
        )

    async def read(self, door: str) -> None:
        """See the port."""
        async with self._linked(door) as lock:
            await self._compare(door, lock)

    def _is_heard(self, lock: BleLock) -> bool:
        heard_ms = self._reach.heard_ms_ago(lock.address)
        return heard_ms is not None and heard_ms <= HEARD_MOST_MS

    # -- one lock ----------------------------------------------------------------------------------------------------

    def _slot_of(self, door: str, grant: str) -> int | None:
        book = self._book.slots(self._name, door)  # all of it: the range of our slots may have been another
        return next((slot for slot in sorted(book) if book[slot] == grant), None)

    def _unknown(self, door: str) -> list[int]:
        book = self._book.slots(self._name, door)
        return [slot for slot in self._slots if slot not in book]

    async def _write(self, door: str, grant: str, pin: str) -> tuple[int, bool]:
        """See that the grant's slot holds its PIN. Returns the slot, and whether it did already."""
        async with self._linked(door) as lock:
            await self._compare(door, lock, writing=(grant, pin))
            slot = self._slot_of(door, grant)
            if slot is None:
                book = self._book.slots(self._name, door)
                slot = next((each for each in self._slots if book.get(each) is None), None)
                if slot is None:
                    raise VendorRefusedError(f"{self._name}: {door}: no slot is free", "slots-full")
                self._book.keep_slot(self._name, door, slot, grant)
            with _speaking(self._name, door):
                there = await lock.get_keycode(slot)
                if there == pin:
                    return slot, True
                try:
                    await lock.set_keycode(slot, pin)
                except KeycodeError as error:
                    if error.error not in _BUSY:  # the library cleared the slot first: it is empty
                        self._book.keep_slot(self._name, door, slot, None)
                    raise
                if await lock.get_keycode(slot) != pin:
                    raise ResponseError("another PIN than was written")
                self._battery[door] = (await lock.battery()).percentage
        return slot, False

    async def _clear(self, door: str, grant: str) -> None:
        async with self._linked(door) as lock:
            while (slot := self._slot_of(door, grant)) is not None:
                await self._emptied(door, lock, slot)
            await self._compare(door, lock)

    async def _compare(self, door: str, lock: _LinkedLock, *, writing: tuple[str, str] | None = None) -> None:
        """Hold the book against the slots that were not read yet, and empty what is nobody's.

        What is as it should be counts at once, however often this is cut off. `writing`: the grant that is being
        written, and its PIN.
        """
        unread, book, odd = self._unread[door], self._book.slots(self._name, door), list[_OddSlot]()
        unread.update(self._unknown(door))
        for slot in sorted(unread):
            wanted = self._wanted(book.get(slot), writing)
            there = None if wanted.ending else await self._digits(door, lock, slot)
            if there not in {None, wanted.pin} or (there is None and wanted.made):
                odd.append(_OddSlot(slot, wanted, full=there is not None))
                continue
            if slot not in book or book[slot] != wanted.grant:
                self._book.keep_slot(self._name, door, slot, wanted.grant)
            unread.discard(slot)
        if news := [each for each in odd if (door, each.slot) not in self._told]:
            full = tuple(each.slot for each in news if each.full)
            missing = tuple(each.wanted.grant for each in news if each.wanted.made and each.wanted.grant is not None)
            self._tell(Strays(door, full, missing))  # before: cut off in between it is told twice, not never
            self._told.update((door, each.slot) for each in news)
        for each in odd:
            if each.full:
                await self._emptied(door, lock, each.slot, each.wanted.grant)
            unread.discard(each.slot)

    def _wanted(self, grant: str | None, writing: tuple[str, str] | None) -> "_Wanted":
        if grant is not None and writing is not None and grant == writing[0]:
            return _Wanted(grant, writing[1])  # that it is not there yet is nothing to be told
        key = None if grant is None else self._book.slot_key(grant)
        if key is None:
            return _Wanted(None, None)
        return _Wanted(grant, key.pin, made=key.made, ending=key.pin is None)

    async def _digits(self, door: str, lock: _LinkedLock, slot: int) -> str | None:
        """Return what is in a slot, by two answers that are alike: digits misread would be nobody's, and cleared; and
        who left would open on if his were once not seen.
        """
        with _speaking(self._name, door):
            there = await lock.get_keycode(slot)
            if await lock.get_keycode(slot) != there:
                raise ResponseError("two answers for one slot")
        return there

    async def _emptied(self, door: str, lock: _LinkedLock, slot: int, grant: str | None = None) -> None:
        """Empty a slot; `grant`: whose it stays, and is to be written into it again."""
        with _speaking(self._name, door):
            await lock.clear_keycode(slot)
            if await lock.get_keycode(slot) is not None:
                raise ResponseError("a slot that was cleared is not empty")
        self._book.keep_slot(self._name, door, slot, grant)

    @asynccontextmanager
    async def _linked(self, door: str) -> AsyncIterator[_LinkedLock]:
        """Give the lock, hands shaken. One link to a lock at a time."""
        reached = self._locks[door]
        lock = _LinkedLock(_label(self._name, door), reached)
        async with self._turns[door], self._reach.client(reached.address, lock.disconnected) as client:
            try:
                await lock.speak_over(client)
            except AuthError:
                raise VendorRefusedError(f"{self._name}: {door}: wrong offline key or slot", "wrong-key") from None
            except ResponseError:
                raise PeerProtocolError(f"{self._name}: {door}: does not speak as these locks do") from None
            except (YaleXSBLEError, TimeoutError, *TROUBLE):
                raise LinkLostError(f"{self._name}: {door}: the link broke before anything was said") from None
            yield lock


class _speaking:  # noqa: N801 - used as a statement
    """Give the library's errors our names. Their texts may quote frames, and frames hold PINs: none is passed on."""

    def __init__(self, name: str, door: str) -> None:
        self._where = f"{name}: {door}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case KeycodeError(error=OperationError.KEYCODE_EXISTING_KEY):
                raise VendorRefusedError(f"{self._where}: another key has these digits", PIN_TAKEN) from None
            case KeycodeError(error=OperationError.KEYCODE_NOSPACE):
                raise VendorRefusedError(f"{self._where}: the keypad has no room left", "slots-full") from None
            case KeycodeError(error=code) if code in _BUSY:
                raise VendorBusyError(f"{self._where}: {_name(code)}", BUSY_MS) from None
            case KeycodeError(error=code):
                raise VendorRefusedError(f"{self._where}: {_name(code)}", "keypad") from None
            case ResponseError() | ValueError():
                raise PeerProtocolError(f"{self._where}: an answer that cannot be read") from None
            case DisconnectedError() | YaleXSBLEError() | BleakError() | EOFError() | OSError() | AssertionError():
                raise ReplyTimeoutError(f"{self._where}: the link broke; it may have been done") from None


def _name(code: OperationError | int) -> str:
    return code.name.lower().replace("_", " ") if isinstance(code, OperationError) else f"code 0x{code:02x}"


def _label(name: str, door: str) -> str:
    return f"{name}-{hashlib.sha256(door.encode()).hexdigest()[:8]}"


def _nobody() -> BLEDevice:
    raise LinkLostError("a link of ours is not connected again by the library")


def _nobody_asked(_strays: Strays) -> None:
    """Nobody asked to be told."""


def _unheard(_states: object) -> None:
    """What it says unasked is not needed: whoever asks, asks."""
