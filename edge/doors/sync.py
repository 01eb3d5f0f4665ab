"""Visits to locks: who needs one, what is told and fetched there, and how long to leave a lock alone afterwards.

Source of truth: protocols/door/SPEC.md 7 and 8; guarantees G4, G14; door.md P9, P10. A lock is visited when its advert
asks for it or when a bump waits for it. What is fetched is durable here before the lock is told that it may forget,
which it is every few chunks.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from prometheus_client import Counter

from edge.doors.closing_desk import ClosingDesk
from edge.doors.conversation import Conversation
from edge.doors.door_book import BookedDoor, DoorBook
from edge.doors.errors import ClockUnsoundError
from edge.doors.grant_desk import GrantDesk
from edge.doors.issuers import SoundTime
from edge.doors.lock_clocks import Bounds, LockClocks
from edge.doors.lock_states import LockStates
from edge.doors.radio import DoorRadio, Sighting
from edge.doors.staff_desk import NOT_STAYS
from edge.doors.stay_keys import key_name
from edge.doors.store import DoorStore, KnownLock
from edge.doors.whole_reads import WholeReads
from kit.clock import Clock
from kit.dice import Dice
from kit.logs import logger
from kit.metrics import Metrics
from kit.task_groups import TaskGroup
from protocols.door.advert import SLOT_S, Advert, AdvertBit
from protocols.door.audit import (
    NOBODY,
    AuditBrokenError,
    AuditChunk,
    AuditEvent,
    AuditRecord,
    check_follows,
    open_chunk,
)
from protocols.door.messages import Result
from protocols.door.phone import Answer, AskStatus, Carry, Fetch
from protocols.door.status import Status
from protocols.errors import (
    CredentialRefusedError,
    LinkLostError,
    PeerProtocolError,
    ReplyTimeoutError,
    StoreFailedError,
)
from protocols.grant.generation import DAYS_AHEAD_MOST, day_in, day_of
from protocols.grant.keys import PropertyCa, public_key
from protocols.grant.lock_time import TimeQuality
from protocols.grant.revocation import Acknowledgement, Body, TimeBeacon, sign_object

VISITS_MOST: Final = 2
"""At once: one adapter, and every lock keeps a link free for a guest."""
VISIT_MOST_S: Final = 30.0
CHUNKS_IN_VISIT_MOST: Final = 200
ACKNOWLEDGED_EVERY: Final = 4
"""Chunks: a full log breathes while it is still being read, and a link that breaks leaves little to keep twice."""
REST_MS: Final = 2_000
"""After a good visit."""
ASK_EVERY_MS: Final = 3_600_000
"""A lock without news is asked how it is this often, and once after the start."""
EVENTS_WAITING_MOST: Final = 100_000
"""So many events untaken by the house leave further records at their locks: no lock fills this disk."""
RETRY_FIRST_MS: Final = 1_000
RETRY_MOST_MS: Final = 60_000
BROKEN_RETRY_MS: Final = 300_000
CHANNEL_REST_MS: Final = 3_600_000
"""After a visit in a lock's L2CAP channel failed, or the channel did, it is visited by GATT for so long."""
READ_FOR_MS: Final = 30_000
"""An advert that said the same so shortly ago is not read again: its lock is known by its id for many minutes."""
READ_MOST: Final = 4_096
STATUS_FROM_REFUSED: Final = 0x10
LIFE_BYTES: Final = 6


@dataclass(slots=True)
class _Turn:
    """When a lock may be visited next."""

    due_ms: int = 0
    failures: int = 0
    channel_due_ms: int = 0
    """When its L2CAP channel may be asked for again; until then GATT."""


class LockSync:
    """Listens for locks and visits them. `run` belongs under supervision."""

    def __init__(
        self,
        *,
        book: DoorBook,
        store: DoorStore,
        desk: GrantDesk,
        closing: ClosingDesk,
        ca: PropertyCa,
        time: SoundTime,
        clock: Clock,
        dice: Dice,
        metrics: Metrics,
    ) -> None:
        self._book, self._store, self._desk, self._closing, self._ca = book, store, desk, closing, ca
        self._time, self._clock, self._dice = time, clock, dice
        self._log = logger("edge.doors.sync")
        self._turns: dict[bytes, _Turn] = {}
        self._visiting: set[bytes] = set()
        self._bumps: set[bytes] = {each.lock_id for each in store.pending_bumps()}
        self._bumps |= {each.lock_id for each in book.doors if closing.waits_for(each.lock_id)}
        self._ids: dict[bytes, BookedDoor] = {}
        self._ids_slot = -1
        self._read: dict[bytes, tuple[BookedDoor, bool]] = {}
        self._read_until_ms = 0
        self.states, self.reads = LockStates(clock), WholeReads(clock)
        self._clocks = LockClocks(dice.bytes(LIFE_BYTES).hex())
        self._changed = asyncio.Event()
        adverts: Counter = metrics.counter("door_adverts", "door adverts heard", ("outcome",))
        self._malformed, self._strangers, self._ours = map(adverts.labels, ("malformed", "stranger", "ours"))
        self._visits: Counter = metrics.counter("door_visits", "visits to locks", ("outcome",))

    @property
    def changed(self) -> asyncio.Event:
        """Set when there are new events in the store; whoever waits clears it."""
        return self._changed

    def bumped(self, locks: Sequence[bytes]) -> None:
        """These locks have news waiting: visit them as soon as they are heard, whatever their turn was."""
        self._bumps.update(locks)
        for lock_id in locks:
            if lock_id not in self._visiting:
                self._turns.setdefault(lock_id, _Turn()).due_ms = self._clock.now_ms()

    def is_visiting(self, lock_id: bytes) -> bool:
        """Whether this lock is being visited: its records are in one hand at a time."""
        return lock_id in self._visiting

    async def run(self, radio: DoorRadio) -> None:
        """Listen until cancelled; each visit is a task of its own. Raises LinkLostError when the adapter fails."""
        self._visiting.clear()  # a visit cancelled before its first step could not say so itself
        lost: LinkLostError | None = None
        async with TaskGroup() as visits:
            try:
                async for sighting in radio.sightings():
                    door = self.wanted(sighting)
                    if door is not None:
                        self._visiting.add(door.lock_id)
                        visits.create_task(self._heard_of(door, radio, sighting), name=f"visit {door.door}")
            except LinkLostError as error:
                lost = error  # visits under way end by themselves, within VISIT_MOST_S
        if lost is not None:
            raise lost

    def wanted(self, sighting: Sighting) -> BookedDoor | None:
        """Return the door to visit now because of this advert, or None; strangers and noise are counted."""
        now_ms = self._clock.now_ms()
        if (read := self._read_before(sighting.service_data, now_ms)) is None:
            return None
        door, news = read
        self._ours.inc()
        self.states.heard(door.door, news=news)
        if len(self._visiting) >= VISITS_MOST or door.lock_id in self._visiting:
            return None
        if now_ms < self._turns.setdefault(door.lock_id, _Turn()).due_ms:
            return None
        asked_ms_ago = self.states.told_ms_ago(door.door)
        due = asked_ms_ago is None or asked_ms_ago >= ASK_EVERY_MS
        return door if news or due or door.lock_id in self._bumps else None

    def _read_before(self, service_data: bytes, now_ms: int) -> tuple[BookedDoor, bool] | None:
        """Return whose advert this is, and whether it has news; a lock says the same every second for minutes."""
        if now_ms >= self._read_until_ms:
            self._read_until_ms = now_ms + READ_FOR_MS
            self._read.clear()
        read = self._read.get(service_data)
        if read is None and (read := self._read_now(service_data)) is not None and len(self._read) < READ_MOST:
            self._read[service_data] = read
        return read

    def _read_now(self, service_data: bytes) -> tuple[BookedDoor, bool] | None:
        try:
            advert = Advert.decode(service_data)
        except PeerProtocolError:
            self._malformed.inc()
            return None
        if (door := self._recognised(advert)) is None:
            self._strangers.inc()
            return None
        return door, bool(advert.bits & AdvertBit.WANTS_SYNC)

    def _recognised(self, advert: Advert) -> BookedDoor | None:
        at_s = self._time.estimate_ms() // 1_000
        if at_s // SLOT_S != self._ids_slot:
            self._ids_slot = at_s // SLOT_S
            self._ids = {shown: door for door in self._book.doors for shown in door.keys(at_s, at_s).ids_around(at_s)}
        return self._ids.get(advert.eid)

    async def _heard_of(self, door: BookedDoor, radio: DoorRadio, sighting: Sighting) -> None:
        rests = self._clock.now_ms() < self._turns[door.lock_id].channel_due_ms
        channel = 0 if rests else Advert.decode(sighting.service_data).channel
        await self._visited(door, radio, sighting.address, channel=channel)

    async def _visited(self, door: BookedDoor, radio: DoorRadio, address: str, *, channel: int = 0) -> None:
        """Visit, and note how it went; no failure of one lock reaches another."""
        turn = self._turns[door.lock_id]
        outcome, pause_ms = "done", REST_MS
        try:
            async with asyncio.timeout(VISIT_MOST_S):
                why_gatt = await self.visit(door, radio, address, channel=channel)
            turn.failures = 0
            if why_gatt:
                self._rest_channel(door, turn, why_gatt)
        except (LinkLostError, ReplyTimeoutError, CredentialRefusedError, TimeoutError) as error:
            outcome, pause_ms = "unreached", self._retry_ms(turn)
            self._log.info("visit_failed", door=door.door, error=str(error) or type(error).__name__)
        except AuditBrokenError as error:
            outcome, pause_ms = "audit_broken", BROKEN_RETRY_MS
            self.alarm(door, str(error))
        except PeerProtocolError as error:
            outcome, pause_ms = "protocol_error", self._retry_ms(turn)
            self._log.warning("lock_breaks_protocol", door=door.door, error=str(error))
        except StoreFailedError as error:
            outcome, pause_ms = "store_failed", self._retry_ms(turn)
            self._log.error("doors_store_failed", door=door.door, error=str(error))
        finally:
            self._visiting.discard(door.lock_id)
            turn.due_ms = self._clock.now_ms() + pause_ms
        if channel and outcome in ("unreached", "protocol_error"):
            self._rest_channel(door, turn, f"the visit failed: {outcome}")
        self._visits.labels(outcome).inc()

    def _rest_channel(self, door: BookedDoor, turn: _Turn, why: str) -> None:
        """GATT is there at every lock: a channel that does not work is not tried at each visit."""
        turn.channel_due_ms = self._clock.now_ms() + CHANNEL_REST_MS
        self._log.info("lock_channel_rests", door=door.door, rest_ms=CHANNEL_REST_MS, why=why)

    async def visit(self, door: BookedDoor, radio: DoorRadio, address: str, *, channel: int = 0) -> str:
        """One visit: the clock if it is due, then bumps, then records until the lock has no more.

        Args:
            door: Whose lock it is.
            radio: Reaches it.
            address: Of its advert.
            channel: The advert's offset of its L2CAP port, 0 for GATT.

        Returns:
            Why it went by GATT though the lock's L2CAP channel was asked for; empty where it was not, or was had.

        Raises:
            LinkLostError, ReplyTimeoutError, CredentialRefusedError, PeerProtocolError, AuditBrokenError,
            StoreFailedError: what was durable before stays so.
        """
        at_s = self._time.estimate_ms() // 1_000
        session = await radio.open_session(address, channel=channel)
        try:
            talk = Conversation(session, door.keys(at_s, at_s), clock=self._clock, dice=self._dice)
            asked_ms = self._clock.now_ms()
            answer = await talk.ask(AskStatus())
            bounds = self._clocks.asked(door.lock_id, answer.result, from_ms=asked_ms, to_ms=self._clock.now_ms())
            await self._set_time(door, talk, answer.result)  # first: a lock without time may doubt all the rest
            answer = await self._carry_bumps(door, talk) or answer
            answer = await self._carry_closing(door, talk, answer)
            self._heard(door, answer.result)
            await self._fetch(door, talk, bounds)
            return session.channel_failed
        finally:
            await session.close()

    async def _carry_bumps(self, door: BookedDoor, talk: Conversation) -> Answer | None:
        answer: Answer | None = None
        for bump in self._store.pending_bumps(door.lock_id):
            if (signed := self._desk.signed_bump(bump)) is None:
                continue  # the clock is unsound: the bump stays queued
            answer = await talk.ask(Carry(*signed))
            if answer.result.status not in (Status.DONE, Status.UNCHANGED):
                self._store.unsign_bump(bump.no)  # the next visit brings it signed anew
                self._log.warning(
                    "bump_refused", door=door.door, generation=bump.generation, status=answer.result.status.name
                )
        return answer

    async def _carry_closing(self, door: BookedDoor, talk: Conversation, answer: Answer) -> Answer:
        """Deliver the list of what is withdrawn and a lockout, each as far as the lock knows such things."""
        takes_lists = True
        for carried in self._closing.for_lock(door.lock_id, revocation_seq=answer.result.revocation_seq):
            if not takes_lists and not carried.lockout:
                continue  # what continues a part that it refused
            answer = await talk.ask(Carry(carried.signed, carried.certificate))
            status = answer.result.status
            self._closing.answered(door.lock_id, carried, status)
            if status in (Status.DONE, Status.UNCHANGED):
                continue
            takes_lists = takes_lists and carried.lockout
            self._log.warning("closing_refused", door=door.door, lockout=carried.lockout, status=status.name)
            plain = self._closing.without_issuers(door.lock_id)
            if status is Status.UNSUPPORTED_VERSION and not carried.lockout and plain is not None:
                answer = await talk.ask(Carry(plain.signed, plain.certificate))
        return answer

    async def _set_time(self, door: BookedDoor, talk: Conversation, result: Result) -> None:
        if result.time_quality == TimeQuality.FRESH:
            return
        answer = await self._carry(talk, TimeBeacon(talk.challenge.nonce))
        if answer is not None and answer.result.status is not Status.DONE:
            self._log.warning("time_refused", door=door.door, status=answer.result.status.name)

    async def _fetch(self, door: BookedDoor, talk: Conversation, bounds: Bounds | None) -> None:
        known = self._store.lock(door.lock_id)
        if self._store.events_waiting() >= EVENTS_WAITING_MOST:
            self._log.warning("events_not_taken", door=door.door, waiting=EVENTS_WAITING_MOST)
            return
        acknowledged = 0
        for taken in range(1, CHUNKS_IN_VISIT_MOST + 1):
            answer = await talk.ask(Fetch(known.seq))
            chunk = open_chunk(
                answer.sealed,
                door.lock_id,
                audit_key=public_key(door.secrets.audit_point),
                edge_key=self._ca.seal,
            )
            known = self._keep(door, known, chunk, bounds)
            if not chunk.records:
                break
            if taken % ACKNOWLEDGED_EVERY == 0:
                await self._carry(talk, Acknowledgement(door.lock_id, known.seq, known.head))
                acknowledged = known.seq
        if known.seq != acknowledged:
            await self._carry(talk, Acknowledgement(door.lock_id, known.seq, known.head))

    async def _carry(self, talk: Conversation, body: Body) -> Answer | None:
        """Sign and deliver, if the clock allows signing."""
        try:
            at_s = self._time.at_ms() // 1_000
        except ClockUnsoundError:
            return None
        issuer = self._desk.revocation_issuer(at_s)
        return await talk.ask(Carry(sign_object(body, issuer.key, at_s), issuer.certificate.encoded))

    def _keep(self, door: BookedDoor, known: KnownLock, chunk: AuditChunk, bounds: Bounds | None) -> KnownLock:
        lost = check_follows(chunk, known.seq, known.head)
        checkpoint = chunk.checkpoint
        kept = replace(
            known,
            seq=checkpoint.seq,
            head=checkpoint.head,
            generation=self.believable(door, checkpoint.generation),
            battery_percent=checkpoint.battery_percent,
            time_quality=checkpoint.time_quality,
            noise=checkpoint.noise,
            contact_at_ms=self._time.estimate_ms(),
            broken=None,
        )
        told = [record for record in chunk.records if record.event != AuditEvent.BOLT]
        events = [self.event_of(door, record, kept, bounds) for record in told]
        self._closing.read(chunk.records)
        if lost:
            self._log.warning("lock_log_overwritten", door=door.door, records=lost)
        if chunk.records or replace(kept, contact_at_ms=known.contact_at_ms) != known:
            self._store.keep_records(kept, door.number, chunk.records, events)
        if events:
            self._changed.set()
        self._closing.heard(door.lock_id, checkpoint.revocation_seq)
        if checkpoint.seq == checkpoint.newest_seq:
            self.reads.read(door.lock_id)
        self.states.told(door.door, door.room, checkpoint.bolt, checkpoint.battery_percent, kept.contact_at_ms)
        return kept

    def _heard(self, door: BookedDoor, result: Result) -> None:
        generation = self.believable(door, result.generation)
        known = replace(
            self._store.lock(door.lock_id),
            generation=generation,
            battery_percent=result.battery_percent,
            time_quality=result.time_quality,
            contact_at_ms=self._time.estimate_ms(),
        )
        self.states.told(door.door, door.room, result.bolt, result.battery_percent, known.contact_at_ms)
        self._store.keep_contact(known, door.number)
        if waiting := bool(self._store.pending_bumps(door.lock_id)):
            self._store.bumps_confirmed(door.lock_id, generation, known.contact_at_ms)
            waiting = bool(self._store.pending_bumps(door.lock_id))
        self._closing.heard(door.lock_id, result.revocation_seq)
        if not waiting and not self._closing.waits_for(door.lock_id):
            self._bumps.discard(door.lock_id)

    def believable(self, door: BookedDoor, generation: int) -> int:
        """A lock may only be at a generation that somebody could have issued: else it would spend its room's numbers.

        Raises:
            AuditBrokenError: its day has not come.
        """
        if day_in(generation) > day_of(self._time.estimate_ms() // 1_000) + DAYS_AHEAD_MOST:
            raise AuditBrokenError(f"lock {door.lock_id.hex()} claims generation {generation}, of a day to come")
        return generation

    def event_of(
        self, door: BookedDoor, record: AuditRecord, lock: KnownLock, bounds: Bounds | None = None
    ) -> tuple[Mapping[str, Any], int | None]:
        """Return what the rest of the house is told of a record, and when the lock says that it was (unix ms).

        `bounds`: what this visit measured of the lock's clock. `seen_from_ms` and `seen_to_ms` are then told, of our
        monotonic clock named `seen_clock`: the record was certainly made between them.
        """
        issued = None if record.actor == NOBODY else self._store.grant(record.actor)
        name = AuditEvent(record.event).name.lower() if record.event in set(AuditEvent) else f"event_{record.event}"
        body: dict[str, Any] = {
            "door": door.door,
            "room": door.room,
            "lock": door.lock_id.hex(),
            "lock_seq": record.seq,
            "at_ms": record.time_s * 1_000,
            "time_quality": record.time_quality,
            "event": name,
            "generation": record.generation,
        }
        if lock.battery_percent is not None:
            body["battery"] = lock.battery_percent
        if record.event == AuditEvent.LOST:
            body["lost"] = int.from_bytes(record.actor, "big")
        elif record.event == AuditEvent.LOCKOUT:
            body["sealed"] = record.actor != NOBODY
        elif record.event == AuditEvent.THROTTLED:
            body["untold"] = int.from_bytes(record.actor, "big")
        elif record.actor != NOBODY:
            body["grant"] = record.actor.hex()
        if issued is not None:
            body["key"] = key_name(issued.stay, issued.phone)
            if not issued.stay.startswith(NOT_STAYS):
                body["stay"] = issued.stay
        if (seen := self._clocks.when(record, bounds)) is not None:
            body |= {"seen_clock": self._clocks.name, "seen_from_ms": seen[0], "seen_to_ms": seen[1]}
        if record.status >= STATUS_FROM_REFUSED:
            body["reason"] = Status(record.status).name.lower() if record.status in set(Status) else "unknown"
        return body, record.time_s * 1_000

    def alarm(self, door: BookedDoor, problem: str) -> None:
        """A lock's log was changed: say so once, keep what is here, and go on serving the door."""
        known = self._store.lock(door.lock_id)
        self._log.error("lock_log_broken", door=door.door, problem=problem)
        if known.broken == problem:
            return
        at_ms = self._time.estimate_ms()
        body = {
            "door": door.door,
            "room": door.room,
            "lock": door.lock_id.hex(),
            "lock_seq": known.seq,
            "at_ms": at_ms,
            "event": "log_broken",
            "reason": problem,
        }
        try:
            self._store.keep_records(replace(known, broken=problem, contact_at_ms=at_ms), 0, (), [(body, at_ms)])
        except StoreFailedError as error:
            self._log.error("doors_store_failed", door=door.door, error=str(error))
            return
        self._changed.set()

    def _retry_ms(self, turn: _Turn) -> int:
        """Full jitter: many locks lost at once do not come back at once."""
        turn.failures += 1
        ceiling = min(RETRY_MOST_MS, RETRY_FIRST_MS * 2 ** min(turn.failures, 16))
        return RETRY_FIRST_MS // 2 + round(self._dice.uniform(0, ceiling))
