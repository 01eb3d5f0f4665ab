"""What happens to a lock's memory: who opens, what is carried, what ends by itself. Transitions are pure.

Source of truth: SPEC.md sections 7 (transitions) and 8 (log), protocols/grant/SPEC.md for the judging. Whoever drives a
lock stores the returned core BEFORE moving the motor or sending the answer: after a power cut the lock then knows at
least what it told. Time is the raw RTC count handed in; nothing here reads a clock or touches a radio.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from protocols.door.audit import (
    NOBODY,
    AuditChunk,
    AuditEvent,
    Checkpoint,
)
from protocols.door.fast import (
    PASSES_COMMON_MOST,
    PASSES_ROOM_MOST,
    Pass,
    new_pass,
    still_good,
    with_pass,
)
from protocols.door.identity import LockIdentity
from protocols.door.lock_memory import RECORDS_MOST, LockMemory, Passage, Sensed
from protocols.door.messages import RECORDS_IN_CHANNEL_MOST, Result
from protocols.door.status import Status
from protocols.door.throttle import Throttle
from protocols.errors import CredentialRefusedError, RefusalReason
from protocols.grant import generation as generations
from protocols.grant.certificate import IssuerCertificate, open_certificate, remembered
from protocols.grant.grant import Grant, open_grant
from protocols.grant.judge import ONE_USE_MS, USES_KEPT_MOST, DoorState, Verdict, judge, latched_until_s
from protocols.grant.keys import IssuerClass
from protocols.grant.lock_time import (
    DRIFT_PPM,
    LEEWAY_LEAST_S,
    LockTime,
    TimeQuality,
    check_signed_in_window,
    check_still_verifies,
)
from protocols.grant.revocation import (
    REVOKED_MOST,
    SEQ_AHEAD_MOST_S,
    Acknowledgement,
    Bump,
    Lockout,
    Revocations,
    SignedObject,
    TimeBeacon,
    open_object,
)

CERTIFICATES_KEPT_MOST: Final = 8


class Outcome(NamedTuple):
    """The core after a transition, what to answer, and whether the motor moves."""

    core: "LockCore"
    status: Status
    motor: bool = False
    opened: tuple[Grant, IssuerCertificate] | None = None
    """By which grant, whose signature was verified in this very exchange."""
    latch: bool | None = None
    """True: the motor draws the bolt and it is held; False: it is let go; None: as ever."""


@dataclass(frozen=True, slots=True)
class LockCore(LockMemory):
    """A lock's memory and everything that may happen to it."""

    def result(self, status: Status, sensed: Sensed) -> Result:
        """Return the answer that tells `status` and how the lock is."""
        time = self.time(sensed.rtc_s)
        return Result(
            status,
            self.audit_seq,
            time.now_s,
            time.quality,
            sensed.battery_percent,
            sensed.bolt,
            self.revocation_seq,
            self.generation,
            self.audit_head,
        )

    def certificate_of(self, identity: LockIdentity, kid: bytes) -> bytes | None:
        """Return the newest certificate seen earlier whose key id is `kid`, by a CA that the lock believes today.

        Nothing is verified here: the lock did before it kept it, and `present` and `carried` do again.
        """
        believed = identity.ca_keys
        for encoded in reversed(self.certificates):
            held = remembered(encoded)
            if held.kid == kid and held.ca_kid in believed:
                return encoded
        return None

    # -- what happens to it -----------------------------------------------------------------------------------------

    def restarted(self, sensed: Sensed) -> "LockCore":
        """Power is back and the RTC had lost it: the clock starts from what has passed, and nothing trusts it.

        Pauses and uses that may be asked again went with the power.

        The floor stays where it is: were it raised to what an RTC that ran ahead wrote, no time object could mend it.
        """
        offset_s = self._passed_s() - sensed.rtc_s
        core = replace(self, offset_s=offset_s, certain=False, throttle=Throttle(), lately=())
        return core.recorded(AuditEvent.RESTARTED, sensed, Status.DONE).woken(sensed)

    def _passed_s(self) -> int:
        """Return what has passed: the newest certain record's, less what the RTC may have gained, or the floor."""
        sure = (each.time_s for each in reversed(self.records) if each.time_quality != TimeQuality.UNCERTAIN)
        told_s = next(sure, self.floor_s)
        gained_s = -(-max(told_s - self.synced_at_s, 0) * DRIFT_PPM // 1_000_000) + 1  # 1: set back by less unrecorded
        return max(self.floor_s, told_s - gained_s)

    def woken(self, sensed: Sensed) -> "LockCore":
        """Power is back: a passage that the log says is under way went with the power; note its end."""
        core = replace(self, passage=None)
        if (grant_id := core.passage_told()) is None:
            return core
        return core.recorded(AuditEvent.PASSAGE_ENDED, sensed, Status.DONE, grant_id)

    def settled(self, sensed: Sensed, *, now_ms: int) -> "LockCore":
        """Return it with its passage ended if its time is up or somebody inside wants to be alone.

        Ask at least once a second while there is a `passage`; when it is gone, let the bolt go.
        """
        held = self.passage
        if held is None:
            return self
        now = self.time(sensed.rtc_s)
        over = now.now_s >= held.until_s or now_ms >= held.until_ms or sensed.privacy or not self.certain
        return self._unlatched(sensed) if over else self

    def _unlatched(self, sensed: Sensed) -> "LockCore":
        if (held := self.passage) is None:
            return self
        core = replace(self, passage=None)
        return core.recorded(AuditEvent.PASSAGE_ENDED, sensed, Status.DONE, held.grant_id)

    def heard_noise(self) -> "LockCore":
        """Somebody without the door's keys tried: count it, and spend nothing more on him."""
        return replace(self, noise=min(self.noise + 1, 2**32 - 1))

    def failed(self, now_ms: int, sensed: Sensed, before: "LockCore | None" = None) -> "LockCore":
        """Somebody with the door's keys failed: slow him down, and say so where a pause begins.

        A pause that follows one which the log tells of, within a minute, leaves no record: it is counted, and the next
        one that does says how many there were.

        Args:
            now_ms: The lock's monotonic time.
            sensed: The hardware now.
            before: The core from before what he did, if that left a record: what a pause that is only counted goes
                back to.
        """
        throttle = self.throttle.failed(now_ms)
        if throttle.until_ms <= now_ms or self.throttle.until_ms > now_ms:
            return replace(self, throttle=throttle)
        if not throttle.tells(now_ms):
            return replace(before or self, throttle=replace(throttle, untold=throttle.untold + 1))
        core = replace(self, throttle=replace(throttle, told_ms=now_ms, untold=0))
        return core.recorded(AuditEvent.THROTTLED, sensed, Status.BUSY, throttle.untold.to_bytes(len(NOBODY), "big"))

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
        latch: bool | None = None,
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
            latch: True: hold the door open; False: end that; None: open it once.

        Returns:
            The core to store, OPENED with the motor or why not; DONE or UNCHANGED for the end of a passage.
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
        verdict = self._judged(
            identity,
            opened,
            issuer,
            self.time(sensed.rtc_s),
            now_ms,
            privacy=sensed.privacy,
            user_verified=user_verified,
            latch=latch is not None,
        )
        core = self._at(verdict.time, sensed)
        if verdict.reason is not None:
            status = Status.of(verdict.reason)
            return Outcome(
                core.recorded(AuditEvent.REFUSED, sensed, status, opened.grant_id, opened.generation), status
            )
        core = core._remembering(issuer, identity)
        if latch is False:
            ended = core.passage is not None
            return Outcome(core._unlatched(sensed), Status.DONE if ended else Status.UNCHANGED, latch=False)
        if latch:
            return core._latched(opened, issuer, verdict.time, sensed, now_ms)
        if verdict.promotes_to is not None:
            core = core._of_generation(verdict.promotes_to)
            core = core.recorded(AuditEvent.PROMOTED, sensed, Status.DONE, opened.grant_id, opened.generation)
        if verdict.counts_use:
            core = core._having_used(opened, verdict.time, now_ms)
        if verdict.begins:
            began = (opened.grant_id, verdict.time.now_s, opened.not_after_s)
            core = replace(core, begun=(*core._live(core.begun, verdict.time), began))
        if issuer.issuer_class is IssuerClass.EMERGENCY:
            core = core.recorded(AuditEvent.EMERGENCY, sensed, Status.DONE, opened.grant_id)
        core = core.recorded(AuditEvent.OPENED, sensed, Status.OPENED, opened.grant_id, opened.generation)
        return Outcome(core, Status.OPENED, motor=True, opened=(opened, issuer))

    def _judged(
        self,
        identity: LockIdentity,
        grant: Grant,
        issuer: IssuerCertificate,
        now: LockTime,
        now_ms: int,
        *,
        privacy: bool,
        user_verified: bool,
        latch: bool = False,
    ) -> Verdict:
        door = DoorState(
            room=identity.room,
            zones=identity.zones,
            generation=self.generation,
            privacy=privacy,
            revoked=dict(self.revoked),
            uses={grant_id: count for grant_id, count, _ in self._live(self.uses, now)} if self.uses else {},
            just_used=[grant_id for grant_id, at_ms in self.lately if now_ms - at_ms < ONE_USE_MS],
            withdrawn=dict(self.issuers),
            locked_out=self.locked_out,
            begun={grant_id: at_s for grant_id, at_s, _ in self._live(self.begun, now)} if self.begun else {},
        )
        return judge(grant, issuer, door, now, user_verified=user_verified, latch=latch)

    def _latched(self, grant: Grant, issuer: IssuerCertificate, now: LockTime, sensed: Sensed, now_ms: int) -> Outcome:
        until_s = latched_until_s(grant, now.now_s)
        held = Passage(grant.grant_id, issuer.kid, until_s, now_ms + (until_s - now.now_s) * 1_000)
        core = replace(self, passage=held)
        core = core.recorded(AuditEvent.PASSAGE, sensed, Status.OPENED, grant.grant_id)
        return Outcome(core, Status.OPENED, motor=True, latch=True)

    def resumes(
        self, identity: LockIdentity, secret: bytes, grant: Grant, issuer: IssuerCertificate, sensed: Sensed
    ) -> Outcome:
        """Keep the secret of the session in which `grant` opened; UNCHANGED where its kind, or the clock, forbids.

        A list may have come since it opened, on this link or the other: a pass does not know its issuer's key, so none
        is made of an issuer that was withdrawn meanwhile.
        """
        now_s = self.time(sensed.rtc_s).now_s
        room, zones = identity.room, identity.zones
        added = new_pass(secret, grant, issuer, room=room, zones=zones, lock_id=identity.lock_id, at_s=now_s)
        gone = issuer.kid in {kid for kid, _ in self.issuers}
        if added is None or gone or not self.certain:
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
        verdict = self._judged(
            identity, held.grant, held.issuer, time, now_ms, privacy=sensed.privacy, user_verified=user_verified
        )
        if not verdict.opens or verdict.promotes_to is not None or verdict.counts_use:
            return None
        others = [each for each in self.passes if each is not held]
        passes, grant = (*others, held.used(spent, following, identity.lock_id)), held.grant
        core = self.recorded(AuditEvent.OPENED, sensed, Status.OPENED, grant.grant_id, grant.generation, passes=passes)
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
            if any(kid == issuer.kid for kid, _ in self.issuers):
                raise CredentialRefusedError(RefusalReason.REVOKED)
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
        return outcome._replace(core=core)

    def chunk(self, identity: LockIdentity, after_seq: int, most: int, sensed: Sensed) -> AuditChunk:
        """Return the records after `after_seq`, or from the oldest kept, with the checkpoint to sign."""
        after_seq = min(max(after_seq, self.before_seq), self.audit_seq)
        first = after_seq - self.before_seq
        records = self.records[first : first + min(most, RECORDS_IN_CHANNEL_MOST)]
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
            case Revocations(seq):
                if seq > found.issued_at_s + SEQ_AHEAD_MOST_S:
                    raise CredentialRefusedError(RefusalReason.NOT_ALLOWED)
                if seq <= self.revocation_seq:
                    return Outcome(self, Status.UNCHANGED)
                if (after := found.body.after) and after != self.revocation_seq:
                    raise CredentialRefusedError(RefusalReason.NOT_YET_VALID)
                if after and len(self.revoked) + len(found.body.entries) > REVOKED_MOST:
                    raise CredentialRefusedError(RefusalReason.NOT_ALLOWED)
                return self._having_withdrawn(found.body, sensed)
            case Lockout(lock_id, seq, sealed):
                if lock_id != identity.lock_id:
                    raise CredentialRefusedError(RefusalReason.WRONG_DOOR)
                if seq > found.issued_at_s + SEQ_AHEAD_MOST_S:
                    raise CredentialRefusedError(RefusalReason.NOT_ALLOWED)
                if seq <= self.lockout_seq:
                    return Outcome(self, Status.UNCHANGED)
                core = replace(self, lockout_seq=seq, locked_out=sealed)
                if sealed != self.locked_out:
                    core = core.recorded(AuditEvent.LOCKOUT, sensed, Status.DONE, int(sealed).to_bytes(8, "big"))
                ends = sealed and self.passage is not None
                return Outcome(core._unlatched(sensed) if ends else core, Status.DONE, latch=False if ends else None)
            case Acknowledgement(lock_id, seq, head):
                if lock_id != identity.lock_id:
                    raise CredentialRefusedError(RefusalReason.WRONG_DOOR)
                if seq <= max(self.acked_seq, self.before_seq):
                    return Outcome(self, Status.UNCHANGED)
                if seq > self.audit_seq or self.records[seq - self.before_seq - 1].chain != head:
                    raise CredentialRefusedError(RefusalReason.NOT_ALLOWED)
                return Outcome(replace(self, acked_seq=seq), Status.DONE)

    def _having_withdrawn(self, told: Revocations, sensed: Sensed) -> Outcome:
        """Take over a newer list, or what continues the one held: passes and a passage that it ends are gone."""
        passes = still_good(self.passes, generation=self.generation, revoked=(each for each, _ in told.entries))
        issuers = told.issuers or self.issuers  # a list without any leaves them: it may be the plain one of a pair
        if not {kid for kid, _ in issuers} <= {kid for kid, _ in self.issuers}:
            passes = ()  # a pass does not know its issuer's key: each phone proves itself in full once more
        revoked = (*self.revoked, *told.entries) if told.after else told.entries
        core = replace(self, revocation_seq=told.seq, revoked=revoked, issuers=issuers, passes=passes)
        core = core.recorded(AuditEvent.REVOCATIONS_SET, sensed, Status.DONE)
        gone = {withdrawn for withdrawn, _ in (*told.entries, *told.issuers)}
        ends = self.passage is not None and not gone.isdisjoint({self.passage.grant_id, self.passage.kid})
        return Outcome(core._unlatched(sensed) if ends else core, Status.DONE, latch=False if ends else None)

    def _of_generation(self, generation: int) -> "LockCore":
        """Return it at a newer generation: what older guests resumed with is gone."""
        return replace(self, generation=generation, passes=still_good(self.passes, generation=generation, revoked=()))

    def _remembering(self, issuer: IssuerCertificate, identity: LockIdentity) -> "LockCore":
        if issuer.encoded in self.certificates:
            return self
        believed, alive = identity.ca_keys, []
        for encoded in self.certificates:
            held = remembered(encoded)
            if held.not_after_s > self.floor_s and held.ca_kid in believed:
                alive.append(encoded)
        return replace(self, certificates=(*alive, issuer.encoded)[-CERTIFICATES_KEPT_MOST:])

    def _live(self, noted: tuple[tuple[bytes, int, int], ...], now: LockTime) -> tuple[tuple[bytes, int, int], ...]:
        """Return those of (grant id, count or moment, not_after_s) whose grant may still be presented."""
        return tuple(entry for entry in noted if entry[2] + LEEWAY_LEAST_S * 10 >= now.now_s or not self.certain)

    def _having_used(self, grant: Grant, now: LockTime, now_ms: int) -> "LockCore":
        uses = {grant_id: (count, until_s) for grant_id, count, until_s in self._live(self.uses, now)}
        count = uses.get(grant.grant_id, (0, 0))[0] + 1
        uses[grant.grant_id] = (count, grant.not_after_s)
        lately = tuple(entry for entry in self.lately if now_ms - entry[1] < ONE_USE_MS)[-USES_KEPT_MOST:]
        return replace(
            self,
            uses=tuple((each, *entry) for each, entry in uses.items()),
            lately=(*lately, (grant.grant_id, now_ms)),
        )
