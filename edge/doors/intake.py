"""What phones bring from the locks, and what they may take back to them: audit chunks in, signed objects out.

A phone is nobody to us. What it brings is sealed to this building and signed by the lock, so it is judged by that
alone: late, twice, in any order and from any number of phones it is stored once or not at all. What it takes back is
signed for the lock (protocols/grant/SPEC.md 7) and no secret. Each answer says up to which record of a lock we hold
its log, so that any phone can go on where another stopped.

Nothing here awaits: what is read of the store is what is written to.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from prometheus_client import Counter

from edge.doors.closing_desk import ClosingDesk
from edge.doors.door_book import BookedDoor, DoorBook
from edge.doors.errors import ClockUnsoundError
from edge.doors.grant_desk import GrantDesk
from edge.doors.issuers import SoundTime
from edge.doors.store import DoorStore, KnownLock
from edge.doors.sync import EVENTS_WAITING_MOST, LockSync
from kit.logs import logger
from kit.metrics import Metrics
from protocols.door.audit import AuditBrokenError, AuditChunk, AuditEvent, AuditRecord, Checkpoint, open_chunk
from protocols.errors import InvalidInputError, PeerProtocolError
from protocols.grant.keys import PropertyCa, public_key
from protocols.grant.lock_time import TimeQuality
from protocols.grant.revocation import LOCK_ID_BYTES, Acknowledgement, sign_object

CHUNK_BYTES_MOST: Final = 1_024
"""A message of the exchange is no longer (protocols/door/SPEC.md 2)."""
CHUNKS_MOST: Final = 8
LOCKS_MOST: Final = 16
"""At once."""
BUMPS_MOST: Final = 4
"""For one lock: it may have a bump for each of several stays, and the newest says all that the older ones do."""
CARRIED_BYTES_MOST: Final = 40 * 1024
"""What one answer holds of signed objects and certificates, for all locks together: the link takes 64 KiB of text. What
finds no room is carried by the edge itself, or once what came before it has been confirmed."""
ACKNOWLEDGEMENT_FRESH_S: Final = 3_600
"""So long the same signed acknowledgement is handed to every phone that asks."""


class BroughtChunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sealed chunk, base64, of the lock in hexadecimal."""

    lock: str
    sealed: bytes


class BringArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `bring`: what a phone brings, and the locks it may go to."""

    chunks: Annotated[list[BroughtChunk], msgspec.Meta(max_length=CHUNKS_MOST)] = []
    locks: Annotated[list[str], msgspec.Meta(max_length=LOCKS_MOST)] = []


class Taking(StrEnum):
    """What became of one chunk."""

    STORED = "stored"
    """Some of it was new, and is durable now."""
    KNOWN = "known"
    """All of it was here."""
    GAP = "gap"
    """It begins after records that are not here: bring those first."""
    LATER = "later"
    """The lock is being visited, or the house takes no more for now: keep it and bring it again."""
    REFUSED = "refused"
    """Not of a lock of this building, not sealed to it, or not signed by the lock. Bring it no more."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A lock as a phone needs to know it: `have` is the last record held, `carry` what to bring there."""

    lock_id: bytes
    have: int
    carry: tuple[tuple[bytes, bytes], ...]


class Intake:
    """Takes in what phones bring."""

    def __init__(
        self,
        *,
        book: DoorBook,
        store: DoorStore,
        desk: GrantDesk,
        sync: LockSync,
        closing: ClosingDesk,
        ca: PropertyCa,
        time: SoundTime,
        metrics: Metrics,
    ) -> None:
        self._doors = {each.lock_id: each for each in book.doors}
        self._store, self._desk, self._sync, self._ca, self._time = store, desk, sync, ca, time
        self._closing = closing
        self._acknowledgements: dict[bytes, tuple[int, int, tuple[bytes, bytes]]] = {}
        self._log = logger("edge.doors.intake")
        self._taken: Counter = metrics.counter("door_chunks_brought", "audit chunks that phones brought", ("outcome",))

    def answer(self, args: dict[str, Any]) -> dict[str, Any]:
        """Answer `bring` of the doors' socket.

        Raises:
            msgspec.ValidationError, InvalidInputError: too much, or not of its form; nothing was taken.
            StoreFailedError: what came before the failing chunk is stored.
        """
        asked = msgspec.convert(args, BringArgs)
        chunks = [(_lock_id(each.lock, "chunks"), each.sealed) for each in asked.chunks]
        locks = [_lock_id(lock, "locks") for lock in asked.locks]
        taken = [(lock_id, self.take(lock_id, sealed)) for lock_id, sealed in chunks]
        return {
            "taken": [{"lock": lock_id.hex(), "outcome": taking.value} for lock_id, taking in taken],
            "locks": [
                {
                    "lock": each.lock_id.hex(),
                    "have": each.have,
                    "carry": [
                        {"signed": b64encode(signed).decode(), "certificate": b64encode(certificate).decode()}
                        for signed, certificate in each.carry
                    ],
                }
                for each in self.standings(locks)
            ],
        }

    def take(self, lock_id: bytes, sealed: bytes) -> Taking:
        """Take one sealed chunk of a lock's log. Raises StoreFailedError: nothing of it was stored."""
        taking = self._take(lock_id, sealed)
        self._taken.labels(taking.value).inc()
        return taking

    def standings(self, locks: Sequence[bytes]) -> list[Standing]:
        """Return how the locks stand that are ours, in the order asked; others are left out."""
        doors = [self._doors[lock_id] for lock_id in dict.fromkeys(locks) if lock_id in self._doors]
        left, found = CARRIED_BYTES_MOST, list[Standing]()
        for door in doors:
            carry: list[tuple[bytes, bytes]] = []
            for signed, certificate in self._for(
                door
            ):  # in their order: a list's part is worth nothing without those before
                if (left := left - len(signed) - len(certificate)) < 0:
                    break
                carry.append((signed, certificate))
            found.append(Standing(door.lock_id, self._store.lock(door.lock_id).seq, tuple(carry)))
        return found

    def _take(self, lock_id: bytes, sealed: bytes) -> Taking:
        door = self._doors.get(lock_id)
        if door is None or len(sealed) > CHUNK_BYTES_MOST:
            return Taking.REFUSED
        if self._sync.is_visiting(lock_id) or self._store.events_waiting() >= EVENTS_WAITING_MOST:
            return Taking.LATER
        try:
            chunk = open_chunk(sealed, lock_id, audit_key=public_key(door.secrets.audit_point), edge_key=self._ca.seal)
        except PeerProtocolError as error:
            # Anybody can seal nonsense to us: it tells nothing about the lock, and is no alarm.
            self._log.info("brought_chunk_refused", door=door.door, error=str(error))
            return Taking.REFUSED
        known = self._store.lock(lock_id)
        checkpoint = chunk.checkpoint
        if checkpoint.after_seq > known.seq:
            return Taking.GAP
        try:
            self._check_history(chunk, known)
            if checkpoint.seq <= known.seq:
                self._read_whole(checkpoint, known.seq)
                return Taking.KNOWN
            kept = self._kept(door, known, chunk)
        except AuditBrokenError as error:  # the lock's own signature is under two histories
            self._sync.alarm(door, str(error))
            return Taking.REFUSED
        # An old chunk says nothing of which list the lock has by now.
        told_now = self._told_at_ms(known, checkpoint) is not None
        self._keep(door, chunk, kept, after_seq=known.seq, told_now=told_now)
        self._read_whole(checkpoint, kept.seq)
        return Taking.STORED

    def _check_history(self, chunk: AuditChunk, known: KnownLock) -> None:
        """Check that the chunk tells what is held already as it is held.

        Raises:
            AuditBrokenError: it tells another history.
        """
        checkpoint = chunk.checkpoint
        seen = {each.seq: each.chain for each in chunk.records} | {checkpoint.after_seq: checkpoint.previous}
        held = {
            each.seq: each.chain
            for each in self._store.records(known.lock_id, max(checkpoint.after_seq - 1, 0), len(seen) + 1)
        } | {known.seq: known.head}
        for seq in seen.keys() & held.keys():
            if seen[seq] != held[seq]:
                raise AuditBrokenError(f"lock {known.lock_id.hex()}: record {seq} is not the one that was seen before")

    def _kept(self, door: BookedDoor, known: KnownLock, chunk: AuditChunk) -> KnownLock:
        """Return what is known of the lock now. Raises AuditBrokenError: it claims a generation of a day to come."""
        checkpoint = chunk.checkpoint
        generation = max(known.generation, self._sync.believable(door, checkpoint.generation))
        kept = replace(known, seq=checkpoint.seq, head=checkpoint.head, generation=generation, broken=None)
        if (told_at_ms := self._told_at_ms(known, checkpoint)) is None:
            return kept
        return replace(
            kept,
            battery_percent=checkpoint.battery_percent,
            time_quality=checkpoint.time_quality,
            noise=checkpoint.noise,
            contact_at_ms=told_at_ms,
        )

    def _told_at_ms(self, known: KnownLock, checkpoint: Checkpoint) -> int | None:
        """Return when the lock was as the checkpoint says; None: it was heard since, or does not know when that was."""
        told_at_ms = min(checkpoint.time_s * 1_000, self._time.estimate_ms())
        if checkpoint.time_quality == TimeQuality.UNCERTAIN or told_at_ms < known.contact_at_ms:
            return None
        return told_at_ms

    def _read_whole(self, checkpoint: Checkpoint, have: int) -> None:
        """Take note of a lock whose log was here to its end when it signed this, if it knew when that was."""
        if checkpoint.newest_seq <= have and checkpoint.time_quality != TimeQuality.UNCERTAIN:
            ago_ms = self._time.estimate_ms() - checkpoint.time_s * 1_000
            self._sync.reads.read(checkpoint.lock_id, ago_ms=ago_ms)

    def _keep(self, door: BookedDoor, chunk: AuditChunk, kept: KnownLock, *, after_seq: int, told_now: bool) -> None:
        new: list[AuditRecord] = [each for each in chunk.records if each.seq > after_seq]
        events = [self._sync.event_of(door, each, kept) for each in new if each.event != AuditEvent.BOLT]
        self._closing.read(new)
        self._store.keep_records(kept, door.number, new, events)
        self._store.bumps_confirmed(door.lock_id, kept.generation, kept.contact_at_ms)
        if told_now:
            self._closing.heard(door.lock_id, chunk.checkpoint.revocation_seq)
        if events:
            self._sync.changed.set()

    def _for(self, door: BookedDoor) -> tuple[tuple[bytes, bytes], ...]:
        """Return what a phone may bring to this lock: what it has not confirmed, and up to where it may forget."""
        bumps = self._store.pending_bumps(door.lock_id)[-BUMPS_MOST:]
        signed = [found for bump in bumps if (found := self._desk.signed_bump(bump)) is not None]
        if self._closing.waits_for(door.lock_id):
            closing = self._closing.for_lock(door.lock_id, revocation_seq=0)
            signed.extend((each.signed, each.certificate) for each in closing)
        acknowledgement = self._acknowledgement(door.lock_id)
        return (*signed, *(() if acknowledgement is None else (acknowledgement,)))

    def _acknowledgement(self, lock_id: bytes) -> tuple[bytes, bytes] | None:
        known = self._store.lock(lock_id)
        try:
            at_s = self._time.at_ms() // 1_000
        except ClockUnsoundError:
            return None
        if not known.seq:
            return None
        held = self._acknowledgements.get(lock_id)
        if held is not None and held[0] == known.seq and 0 <= at_s - held[1] < ACKNOWLEDGEMENT_FRESH_S:
            return held[2]
        issuer = self._desk.revocation_issuer(at_s)
        body = Acknowledgement(lock_id, known.seq, known.head)
        made = (sign_object(body, issuer.key, at_s), issuer.certificate.encoded)
        self._acknowledgements[lock_id] = (known.seq, at_s, made)
        return made


def _lock_id(text: str, place: str) -> bytes:
    try:
        lock_id = bytes.fromhex(text)
    except ValueError:
        lock_id = b""
    if len(lock_id) != LOCK_ID_BYTES:
        raise InvalidInputError(place, f"{text[:40]!r} is no lock: want {2 * LOCK_ID_BYTES} hexadecimal digits")
    return lock_id
