"""A lock's durable memory as a plain value: generation, clock, revocations, counted uses, log. Transitions are pure.

Source of truth: SPEC.md sections 7 (transitions) and 8 (log), protocols/grant/SPEC.md for the judging. Whoever drives a
lock stores the returned core BEFORE moving the motor or sending the answer: after a power cut the lock then knows at
least what it told. Time is the raw RTC count handed in; nothing here reads a clock or touches a radio.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from protocols import cbor
from protocols.door.audit import (
    CHAIN_BYTES,
    NOBODY,
    AuditChunk,
    AuditEvent,
    AuditRecord,
    Checkpoint,
    genesis,
    link,
)
from protocols.door.fast import (
    PASSES_COMMON_MOST,
    PASSES_ROOM_MOST,
    Pass,
    new_pass,
    pass_of,
    still_good,
    with_pass,
)
from protocols.door.hardware import Bolt, bolt_of
from protocols.door.identity import LockIdentity
from protocols.door.messages import RECORDS_IN_CHUNK_MOST, Result
from protocols.door.status import Status
from protocols.door.throttle import Throttle
from protocols.errors import CredentialRefusedError, PeerProtocolError, RefusalReason
from protocols.grant import generation as generations
from protocols.grant.certificate import IssuerCertificate, open_certificate
from protocols.grant.grant import Grant, open_grant
from protocols.grant.judge import ONE_USE_MS, USES_KEPT_MOST, DoorState, Verdict, judge
from protocols.grant.keys import IssuerClass
from protocols.grant.lock_time import (
    DRIFT_PPM,
    FRESH_S,
    LEEWAY_LEAST_S,
    LockTime,
    TimeQuality,
    check_signed_in_window,
    check_still_verifies,
)
from protocols.grant.revocation import (
    Acknowledgement,
    Bump,
    Revocations,
    SignedObject,
    TimeBeacon,
    open_object,
)

RECORDS_MOST: Final = 2_048
LOST_AT_ONCE: Final = 16
"""A full log gives up that many unacknowledged records at a time, and says so in one record."""
CERTIFICATES_KEPT_MOST: Final = 8
BATTERY_LOW_PERCENT: Final = 15
CORE_BYTES_MOST: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Sensed:
    """What the lock's hardware says at one moment: raw RTC seconds, privacy knob or deadbolt, battery, bolt.

    `battery_percent` None: not measured.
    """

    rtc_s: int
    privacy: bool = False
    battery_percent: int | None = None
    bolt: Bolt = Bolt.UNKNOWN


@dataclass(frozen=True, slots=True)
class Outcome:
    """The core after a transition, what to answer, and whether the motor moves."""

    core: "LockCore"
    status: Status
    motor: bool = False
    opened: tuple[Grant, IssuerCertificate] | None = None
    """By which grant, whose signature was verified in this very exchange."""


@dataclass(frozen=True, slots=True)
class LockCore:
    """Everything a lock remembers. Make the first with `fresh`; keep it with `encode`/`decode`."""

    generation: int = generations.NONE
    floor_s: int = 0
    offset_s: int = 0
    synced_at_s: int = 0
    certain: bool = False
    revocation_seq: int = 0
    revoked: tuple[tuple[bytes, int], ...] = ()
    uses: tuple[tuple[bytes, int, int], ...] = ()
    """(grant id, times used, not_after_s)"""
    certificates: tuple[bytes, ...] = ()
    """Issuer certificates seen and verified, newest last: a phone then sends the 4-byte id alone."""
    records: tuple[AuditRecord, ...] = ()
    before_seq: int = 0
    """Number and chain value of the record before the first one kept."""
    before_chain: bytes = bytes(CHAIN_BYTES)
    acked_seq: int = 0
    noise: int = 0
    passes: tuple[Pass, ...] = ()
    """What phones that met it before need no public-key work for; used last, last."""
    throttle: Throttle = field(default=Throttle(), compare=False)
    lately: tuple[tuple[bytes, int], ...] = field(default=(), compare=False)
    """(grant id, monotonic ms of its last use that counted). Volatile, as the throttle: no set clock renews it."""

    # -- first and last things --------------------------------------------------------------------------------------

    @classmethod
    def fresh(cls, identity: LockIdentity, at_s: int, rtc_s: int) -> "LockCore":
        """Return the memory of a lock just provisioned at `at_s`, a time its installer vouches for."""
        return cls(
            floor_s=at_s,
            offset_s=at_s - rtc_s,
            synced_at_s=at_s,
            certain=True,
            before_chain=genesis(identity.lock_id),
        )

    def encode(self) -> bytes:
        """Return the bytes to keep across power cuts (deterministic CBOR, without throttle and `lately`).

        Version 2 has passes in the end; without any it is version 1, which older firmware reads.
        """
        passes = [[each.to_value() for each in self.passes]] if self.passes else []
        return cbor.encode(
            [
                1 + len(passes),
                self.generation,
                [self.floor_s, self.offset_s, self.synced_at_s, self.certain],
                [self.revocation_seq, [list(entry) for entry in self.revoked]],
                [list(entry) for entry in self.uses],
                list(self.certificates),
                b"".join(record.encode() for record in self.records),
                [self.before_seq, self.before_chain, self.acked_seq, self.noise],
                *passes,
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> "LockCore":
        """Read what `encode` wrote.

        Raises:
            PeerProtocolError: it did not write this.
        """
        match cbor.decode(data, CORE_BYTES_MOST):
            case [
                1 | 2 as version,
                int() as generation,
                [int() as floor_s, int() as offset_s, int() as synced_at_s, bool() as certain],
                [int() as revocation_seq, [*revoked]],
                [*uses],
                [*certificates],
                bytes() as records,
                [int() as before_seq, bytes() as before_chain, int() as acked_seq, int() as noise],
                *rest,
            ] if len(rest) == version - 1:
                passes = rest[0] if rest else []
            case _:
                raise PeerProtocolError("not a lock's memory of version 1 or 2")
        if not isinstance(passes, list):
            raise PeerProtocolError("not a lock's memory of version 2: passes")
        step = 38
        return cls(
            generation=generation,
            floor_s=floor_s,
            offset_s=offset_s,
            synced_at_s=synced_at_s,
            certain=certain,
            revocation_seq=revocation_seq,
            revoked=tuple(_revoked(each) for each in revoked),
            uses=tuple(_use(each) for each in uses),
            certificates=tuple(_certificate(each) for each in certificates),
            records=tuple(AuditRecord.decode(records[at : at + step]) for at in range(0, len(records), step)),
            before_seq=before_seq,
            before_chain=before_chain,
            acked_seq=acked_seq,
            noise=noise,
            passes=tuple(pass_of(each) for each in passes),
        )

    # -- what it knows ----------------------------------------------------------------------------------------------

    def time(self, rtc_s: int) -> LockTime:
        """Return the lock's time when its RTC counts `rtc_s`."""
        now_s = max(rtc_s + self.offset_s, self.floor_s)
        since_s = max(now_s - self.synced_at_s, 0)
        if not self.certain:
            quality = TimeQuality.UNCERTAIN
        else:
            quality = TimeQuality.FRESH if since_s < FRESH_S else TimeQuality.DRIFTING
        return LockTime(now_s, self.floor_s, quality, drift_s=-(-since_s * DRIFT_PPM // 1_000_000))

    @property
    def audit_seq(self) -> int:
        """The number of the newest record, 0 for none."""
        return self.before_seq + len(self.records)

    @property
    def audit_head(self) -> bytes:
        """The chain value of the newest record."""
        return self.records[-1].chain if self.records else self.before_chain

    def wants_sync(self, rtc_s: int) -> bool:
        """Whether the edge should visit: records it does not hold, or a clock that needs setting."""
        return self.audit_seq > self.acked_seq or self.time(rtc_s).quality is not TimeQuality.FRESH

    def result(self, status: Status, sensed: Sensed) -> Result:
        """Return the answer that tells `status` and how the lock is."""
        time = self.time(sensed.rtc_s)
        return Result(
            status=status,
            audit_seq=self.audit_seq,
            time_s=time.now_s,
            time_quality=time.quality,
            battery_percent=sensed.battery_percent,
            bolt=sensed.bolt,
            revocation_seq=self.revocation_seq,
            generation=self.generation,
            chain_head=self.audit_head,
        )

    def certificate_of(self, identity: LockIdentity, kid: bytes) -> bytes | None:
        """Return the certificate seen earlier whose key id is `kid`."""
        for encoded in self.certificates:
            if open_certificate(encoded, identity.ca_keys).kid == kid:
                return encoded
        return None

    # -- what happens to it -----------------------------------------------------------------------------------------

    def restarted(self, sensed: Sensed) -> "LockCore":
        """Power is back and the RTC had lost it: the clock starts from the floor, and nothing trusts it."""
        core = replace(self, offset_s=self.floor_s - sensed.rtc_s, certain=False)
        return core.recorded(AuditEvent.RESTARTED, sensed, Status.DONE)

    def heard_noise(self) -> "LockCore":
        """Somebody without the door's keys tried: count it, and spend nothing more on him."""
        return replace(self, noise=min(self.noise + 1, 2**32 - 1))

    def failed(self, now_ms: int, sensed: Sensed) -> "LockCore":
        """Somebody with the door's keys failed: slow him down, and say so once when the pause begins."""
        throttle = self.throttle.failed(now_ms)
        core = replace(self, throttle=throttle)
        if throttle.until_ms > now_ms and self.throttle.until_ms <= now_ms:
            core = core.recorded(AuditEvent.THROTTLED, sensed, Status.BUSY)
        return core

    def bolt_told(self) -> Bolt | None:
        """Return where the log says that the bolt is: an opening leaves it drawn. None: it does not say."""
        for record in reversed(self.records):
            if record.event == AuditEvent.OPENED:
                return Bolt.UNLOCKED
            if record.event == AuditEvent.BOLT:
                return bolt_of(record.actor[-1], f"record {record.seq}")
        return None

    def bolt_moved(self, sensed: Sensed) -> "LockCore":
        """The bolt came to rest elsewhere, and no opening says so: note it.

        A log full of unacknowledged records notes it no more: whoever works the bolt by hand must not be able to push
        out who was let in. The state itself is in every answer.
        """
        if len(self.records) >= RECORDS_MOST and self.acked_seq <= self.before_seq:
            return self
        return self.recorded(AuditEvent.BOLT, sensed, Status.DONE, int(sensed.bolt).to_bytes(8, "big"))

    def present(
        self,
        identity: LockIdentity,
        grant: bytes,
        certificate: bytes,
        proves: Callable[[bytes], bool],
        sensed: Sensed,
        *,
        now_ms: int,
        user_verified: bool = False,
    ) -> Outcome:
        """A phone presents a grant.

        Args:
            identity: This lock's.
            grant: As sent.
            certificate: Whole, as sent or as remembered.
            proves: Whether the phone proved, in this exchange, that it holds the compressed key handed in.
            sensed: The hardware now.
            now_ms: The lock's monotonic time.
            user_verified: As the phone asserts under its signature.

        Returns:
            The core to store, OPENED with the motor or why not.
        """
        opened: Grant | None = None
        try:
            issuer = open_certificate(certificate, identity.ca_keys)
            opened = open_grant(grant, issuer)
            if not proves(opened.phone):
                raise CredentialRefusedError(RefusalReason.BAD_SIGNATURE)
        except CredentialRefusedError as refused:
            status = Status.of(refused.reason)
            return Outcome(self.recorded(AuditEvent.REFUSED, sensed, status), status)
        verdict = self._judged(identity, opened, issuer, sensed, now_ms, user_verified=user_verified)
        core = self._at(verdict.time, sensed)
        if verdict.reason is not None:
            status = Status.of(verdict.reason)
            return Outcome(
                core.recorded(AuditEvent.REFUSED, sensed, status, opened.grant_id, opened.generation), status
            )
        core = core._remembering(issuer, identity)
        if verdict.promotes_to is not None:
            core = core._of_generation(verdict.promotes_to)
            core = core.recorded(AuditEvent.PROMOTED, sensed, Status.DONE, opened.grant_id, opened.generation)
        if verdict.counts_use:
            core = core._having_used(opened, verdict.time, now_ms)
        if issuer.issuer_class is IssuerClass.EMERGENCY:
            core = core.recorded(AuditEvent.EMERGENCY, sensed, Status.DONE, opened.grant_id)
        core = core.recorded(AuditEvent.OPENED, sensed, Status.OPENED, opened.grant_id, opened.generation)
        return Outcome(core, Status.OPENED, motor=True, opened=(opened, issuer))

    def _judged(
        self,
        identity: LockIdentity,
        grant: Grant,
        issuer: IssuerCertificate,
        sensed: Sensed,
        now_ms: int,
        *,
        user_verified: bool,
    ) -> Verdict:
        now = self.time(sensed.rtc_s)
        door = DoorState(
            room=identity.room,
            zones=identity.zones,
            generation=self.generation,
            privacy=sensed.privacy,
            revoked=frozenset(grant_id for grant_id, _ in self.revoked),
            uses={grant_id: count for grant_id, count, _ in self._live_uses(now)},
            just_used=frozenset(grant_id for grant_id, at_ms in self.lately if now_ms - at_ms < ONE_USE_MS),
        )
        return judge(grant, issuer, door, now, user_verified=user_verified)

    def resumes(
        self, identity: LockIdentity, secret: bytes, grant: Grant, issuer: IssuerCertificate, sensed: Sensed
    ) -> Outcome:
        """Keep the secret of the session in which `grant` opened; UNCHANGED where its kind, or the clock, forbids."""
        now_s = self.time(sensed.rtc_s).now_s
        room, zones = identity.room, identity.zones
        added = new_pass(secret, grant, issuer, room=room, zones=zones, lock_id=identity.lock_id, at_s=now_s)
        if added is None or not self.certain:
            return Outcome(self, Status.UNCHANGED)
        most = PASSES_ROOM_MOST if room else PASSES_COMMON_MOST
        return Outcome(replace(self, passes=with_pass(self.passes, added, now_s=now_s, most=most)), Status.DONE)

    def opens_again(
        self,
        identity: LockIdentity,
        held: Pass,
        spent: bytes,
        following: bytes,
        sensed: Sensed,
        *,
        now_ms: int,
        user_verified: bool,
    ) -> Outcome | None:
        """A phone proved the secret `spent` of the pass `held`: the core that has opened, or None for whatever else.

        The grant is judged as at the first visit, by the same rule. None says nothing and changes nothing: the full
        exchange, which follows, tells and records why.
        """
        time = self.time(sensed.rtc_s)
        if not self.certain or not held.lives(time.now_s):
            return None
        verdict = self._judged(identity, held.grant, held.issuer, sensed, now_ms, user_verified=user_verified)
        if not verdict.opens or verdict.promotes_to is not None or verdict.counts_use:
            return None
        others = tuple(each for each in self.passes if each is not held)
        core = replace(self, passes=(*others, held.used(spent, following, identity.lock_id)))
        grant = held.grant
        core = core.recorded(AuditEvent.OPENED, sensed, Status.OPENED, grant.grant_id, grant.generation)
        return Outcome(core, Status.OPENED, motor=True)

    def carried(
        self,
        identity: LockIdentity,
        signed: bytes,
        certificate: bytes,
        nonce: bytes,
        sensed: Sensed,
    ) -> Outcome:
        """Somebody delivers a signed object; `nonce` is this exchange's own challenge."""
        try:
            issuer = open_certificate(certificate, identity.ca_keys)
            found = open_object(signed, issuer)
            check_signed_in_window(issuer, found.issued_at_s)
            if isinstance(found.body, TimeBeacon) and found.body.nonce is not None:
                outcome = self._answered(found.body.nonce, nonce, found.issued_at_s, sensed)
            else:
                now = self.time(sensed.rtc_s).having_seen(found.issued_at_s)
                check_still_verifies(issuer, now)
                outcome = self._at(now, sensed)._applied(identity, found, self.time(sensed.rtc_s), sensed)
        except CredentialRefusedError as refused:
            status = Status.of(refused.reason)
            return Outcome(self.recorded(AuditEvent.REFUSED, sensed, status), status)
        core = outcome.core._remembering(issuer, identity)
        return replace(outcome, core=core)

    def chunk(self, identity: LockIdentity, after_seq: int, most: int, sensed: Sensed) -> AuditChunk:
        """Return the records after `after_seq`, or from the oldest kept, with the checkpoint to sign."""
        after_seq = min(max(after_seq, self.before_seq), self.audit_seq)
        first = after_seq - self.before_seq
        records = self.records[first : first + min(most, RECORDS_IN_CHUNK_MOST)]
        previous = self.records[first - 1].chain if first else self.before_chain
        time = self.time(sensed.rtc_s)
        checkpoint = Checkpoint(
            lock_id=identity.lock_id,
            after_seq=after_seq,
            previous=previous,
            seq=after_seq + len(records),
            head=records[-1].chain if records else previous,
            newest_seq=self.audit_seq,
            time_s=time.now_s,
            time_quality=time.quality,
            battery_percent=sensed.battery_percent,
            bolt=sensed.bolt,
            generation=self.generation,
            revocation_seq=self.revocation_seq,
            noise=self.noise,
        )
        return AuditChunk(checkpoint, records)

    def recorded(
        self,
        event: AuditEvent,
        sensed: Sensed,
        status: Status,
        actor: bytes = NOBODY,
        generation: int | None = None,
    ) -> "LockCore":
        """Return the core with one more record; a full log gives up its oldest, acknowledged ones first."""
        core = self
        if len(core.records) >= RECORDS_MOST:
            if core.acked_seq > core.before_seq:
                core = core._without_oldest(1)
            else:
                core = core._without_oldest(LOST_AT_ONCE)._appended(
                    AuditEvent.LOST, sensed, Status.DONE, LOST_AT_ONCE.to_bytes(8, "big"), core.generation
                )
        return core._appended(event, sensed, status, actor, core.generation if generation is None else generation)

    def _appended(self, event: AuditEvent, sensed: Sensed, status: Status, actor: bytes, generation: int) -> "LockCore":
        time = self.time(sensed.rtc_s)
        record = AuditRecord(
            seq=self.audit_seq + 1,
            time_s=time.now_s,
            time_quality=time.quality,
            event=event,
            actor=actor,
            status=status,
            generation=generation,
            chain=b"",
        )
        record = replace(record, chain=link(self.audit_head, record.body()))
        return replace(self, records=(*self.records, record))

    def _without_oldest(self, count: int) -> "LockCore":
        last = self.records[count - 1]
        return replace(self, records=self.records[count:], before_seq=last.seq, before_chain=last.chain)

    def _at(self, time: LockTime, sensed: Sensed) -> "LockCore":
        """Take over what a verified object proved about the time: never back."""
        core = replace(self, floor_s=max(self.floor_s, time.floor_s))
        if time.now_s > sensed.rtc_s + core.offset_s:
            core = replace(core, offset_s=time.now_s - sensed.rtc_s)
        return core

    def _answered(self, answered: bytes, asked: bytes, at_s: int, sensed: Sensed) -> Outcome:
        """Set the clock from the answer to this exchange's challenge: any way, but never below the floor."""
        if answered != asked:
            raise CredentialRefusedError(RefusalReason.NOT_ALLOWED)
        if at_s < self.floor_s - LEEWAY_LEAST_S:
            raise CredentialRefusedError(RefusalReason.TIME_UNCERTAIN)
        at_s = max(at_s, self.floor_s)
        core = replace(self, floor_s=at_s, offset_s=at_s - sensed.rtc_s, synced_at_s=at_s, certain=True)
        moved = abs(at_s - self.time(sensed.rtc_s).now_s) > 1 or not self.certain
        if moved:
            core = core.recorded(AuditEvent.TIME_SET, sensed, Status.DONE)
        return Outcome(core, Status.DONE)

    def _applied(self, identity: LockIdentity, found: SignedObject, before: LockTime, sensed: Sensed) -> Outcome:
        match found.body:
            case Bump(room, generation):
                if room != identity.room:
                    raise CredentialRefusedError(RefusalReason.WRONG_DOOR)
                day = generations.day_of(self.time(sensed.rtc_s).now_s)
                if generations.day_in(generation) > day + generations.DAYS_AHEAD_MOST:
                    raise CredentialRefusedError(RefusalReason.NOT_YET_VALID)
                if generation <= self.generation:
                    return Outcome(self, Status.UNCHANGED)
                core = self._of_generation(generation)
                return Outcome(core.recorded(AuditEvent.BUMPED, sensed, Status.DONE), Status.DONE)
            case TimeBeacon():
                ahead_s = found.issued_at_s - before.now_s
                if not self.certain or not 0 <= ahead_s <= LEEWAY_LEAST_S + 2 * before.drift_s:
                    return Outcome(self, Status.UNCHANGED)
                return Outcome(replace(self, synced_at_s=found.issued_at_s), Status.DONE)
            case Revocations(seq, entries):
                if seq <= self.revocation_seq:
                    return Outcome(self, Status.UNCHANGED)
                passes = still_good(self.passes, generation=self.generation, revoked=(each for each, _ in entries))
                core = replace(self, revocation_seq=seq, revoked=entries, passes=passes)
                return Outcome(core.recorded(AuditEvent.REVOCATIONS_SET, sensed, Status.DONE), Status.DONE)
            case Acknowledgement(lock_id, seq, head):
                if lock_id != identity.lock_id:
                    raise CredentialRefusedError(RefusalReason.WRONG_DOOR)
                if seq <= max(self.acked_seq, self.before_seq):
                    return Outcome(self, Status.UNCHANGED)
                if seq > self.audit_seq or self.records[seq - self.before_seq - 1].chain != head:
                    raise CredentialRefusedError(RefusalReason.NOT_ALLOWED)
                return Outcome(replace(self, acked_seq=seq), Status.DONE)

    def _of_generation(self, generation: int) -> "LockCore":
        """Return it at a newer generation: what older guests resumed with is gone."""
        return replace(self, generation=generation, passes=still_good(self.passes, generation=generation, revoked=()))

    def _remembering(self, issuer: IssuerCertificate, identity: LockIdentity) -> "LockCore":
        if issuer.encoded in self.certificates:
            return self
        now_s = self.floor_s
        alive = [
            encoded for encoded in self.certificates if open_certificate(encoded, identity.ca_keys).not_after_s > now_s
        ]
        return replace(self, certificates=(*alive, issuer.encoded)[-CERTIFICATES_KEPT_MOST:])

    def _live_uses(self, now: LockTime) -> tuple[tuple[bytes, int, int], ...]:
        return tuple(entry for entry in self.uses if entry[2] + LEEWAY_LEAST_S * 10 >= now.now_s or not self.certain)

    def _having_used(self, grant: Grant, now: LockTime, now_ms: int) -> "LockCore":
        uses = {grant_id: (count, until_s) for grant_id, count, until_s in self._live_uses(now)}
        count = uses.get(grant.grant_id, (0, 0))[0] + 1
        uses[grant.grant_id] = (count, grant.not_after_s)
        lately = tuple(entry for entry in self.lately if now_ms - entry[1] < ONE_USE_MS)[-USES_KEPT_MOST:]
        return replace(
            self,
            uses=tuple((each, *entry) for each, entry in uses.items()),
            lately=(*lately, (grant.grant_id, now_ms)),
        )


def _revoked(entry: object) -> tuple[bytes, int]:
    match entry:
        case [bytes() as grant_id, int() as until_s]:
            return grant_id, until_s
        case _:
            raise PeerProtocolError("not a lock's memory of version 1: a revocation")


def _use(entry: object) -> tuple[bytes, int, int]:
    match entry:
        case [bytes() as grant_id, int() as count, int() as until_s]:
            return grant_id, count, until_s
        case _:
            raise PeerProtocolError("not a lock's memory of version 1: a use")


def _certificate(entry: object) -> bytes:
    if not isinstance(entry, bytes):
        raise PeerProtocolError("not a lock's memory of version 1: a certificate")
    return entry
