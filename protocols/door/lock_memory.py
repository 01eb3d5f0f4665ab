"""What a lock remembers as plain values: its bytes across power cuts, its clock, its chained log.

Source of truth: SPEC.md sections 8 (log) and 12 (versions), protocols/grant/SPEC.md 8 (time). What happens to it, and
why, is lock_core.py. Pure: time is the raw RTC count handed in.
"""

from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Final, Self

from protocols import cbor
from protocols.cbor import Value
from protocols.door.audit import (
    CHAIN_BYTES,
    NOBODY,
    AuditEvent,
    AuditRecord,
    genesis,
)
from protocols.door.fast import Pass, pass_of
from protocols.door.hardware import Bolt, bolt_of
from protocols.door.identity import LockIdentity
from protocols.door.status import Status
from protocols.door.throttle import Throttle
from protocols.errors import PeerProtocolError
from protocols.grant import generation as generations
from protocols.grant.lock_time import DRIFT_PPM, FRESH_S, LockTime, TimeQuality

_ISSUERS: Final = 1
_LOCKOUT: Final = 2
_BEGUN: Final = 3
_LATER: Final = frozenset({_ISSUERS, _LOCKOUT, _BEGUN})
"""Keys of the map that version 3 ends with."""

RECORDS_MOST: Final = 2_048
LOST_AT_ONCE: Final = 16
"""A full log gives up that many unacknowledged records at a time, and says so in one record."""
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
class Passage:
    """The door is held open: by which grant and issuer, until when by the lock's clock and by its monotonic time."""

    grant_id: bytes
    kid: bytes
    until_s: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class LockMemory:
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
    issuers: tuple[tuple[bytes, int], ...] = ()
    """Issuer certificates withdrawn: (key id, not_after_s), of the list numbered `revocation_seq`."""
    lockout_seq: int = 0
    locked_out: bool = False
    begun: tuple[tuple[bytes, int, int], ...] = ()
    """Failsafe keys that opened here: (grant id, when first, not_after_s), unix seconds."""
    passage: Passage | None = field(default=None, compare=False)
    """Volatile: with the power goes the passage."""

    # -- first and last things --------------------------------------------------------------------------------------

    @classmethod
    def fresh(cls, identity: LockIdentity, at_s: int, rtc_s: int) -> Self:
        """Return the memory of a lock just provisioned at `at_s`, a time its installer vouches for."""
        return cls(
            floor_s=at_s,
            offset_s=at_s - rtc_s,
            synced_at_s=at_s,
            certain=True,
            before_chain=genesis(identity.lock_id),
        )

    def encode(self) -> bytes:
        """Return the bytes to keep across power cuts (deterministic CBOR, without what is volatile).

        Version 2 has passes in the end, version 3 also a map of what came later. It is the lowest version that can say
        it all, so that older firmware reads it as long as it can.
        """
        passes = [each.to_value() for each in self.passes]
        later = self._later()
        version = 3 if later else 2 if passes else 1
        ends: list[object] = [passes, later]
        return cbor.encode(
            [
                version,
                self.generation,
                [self.floor_s, self.offset_s, self.synced_at_s, self.certain],
                [self.revocation_seq, [list(entry) for entry in self.revoked]],
                [list(entry) for entry in self.uses],
                list(self.certificates),
                b"".join(record.encode() for record in self.records),
                [self.before_seq, self.before_chain, self.acked_seq, self.noise],
                *ends[: version - 1],
            ]
        )

    def _later(self) -> dict[int, object]:
        later: dict[int, object] = {}
        if self.issuers:
            later[_ISSUERS] = [list(entry) for entry in self.issuers]
        if self.lockout_seq:
            later[_LOCKOUT] = [self.lockout_seq, self.locked_out]
        if self.begun:
            later[_BEGUN] = [list(entry) for entry in self.begun]
        return later

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote.

        Raises:
            PeerProtocolError: it did not write this.
        """
        match cbor.decode(data, CORE_BYTES_MOST):
            case [
                1 | 2 | 3 as version,
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
                later = rest[1] if version == 3 else {}
            case _:
                raise PeerProtocolError("not a lock's memory of version 1 to 3")
        if not isinstance(passes, list):
            raise PeerProtocolError("not a lock's memory of version 2: passes")
        issuers, (lockout_seq, locked_out), begun = _later_of(later)
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
            issuers=issuers,
            lockout_seq=lockout_seq,
            locked_out=locked_out,
            begun=begun,
        )

    # -- what it knows ----------------------------------------------------------------------------------------------

    def time(self, rtc_s: int) -> LockTime:
        """Return the lock's time when its RTC counts `rtc_s`."""
        floor_s = self.floor_s
        now_s = max(rtc_s + self.offset_s, floor_s)
        since_s = max(now_s - self.synced_at_s, 0)
        if not self.certain:
            quality = TimeQuality.UNCERTAIN
        else:
            quality = TimeQuality.FRESH if since_s < FRESH_S else TimeQuality.DRIFTING
        return LockTime(now_s, floor_s, quality, -(-since_s * DRIFT_PPM // 1_000_000))

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

    def bolt_told(self) -> Bolt | None:
        """Return where the log says that the bolt is: an opening or passage leaves it drawn. None: it does not say."""
        for record in reversed(self.records):
            if record.event in (AuditEvent.OPENED, AuditEvent.PASSAGE):
                return Bolt.UNLOCKED
            if record.event == AuditEvent.BOLT:
                return bolt_of(record.actor[-1], f"record {record.seq}")
        return None

    def passage_told(self) -> bytes | None:
        """Return the grant of the passage that the log says is under way; None: it says of none."""
        for record in reversed(self.records):
            if record.event == AuditEvent.PASSAGE_ENDED:
                return None
            if record.event == AuditEvent.PASSAGE:
                return record.actor
        return None

    def recorded(
        self,
        event: AuditEvent,
        sensed: Sensed,
        status: Status,
        actor: bytes = NOBODY,
        generation: int | None = None,
        *,
        passes: tuple[Pass, ...] | None = None,
    ) -> Self:
        """Return the core with one more record, and `passes` if any are handed in.

        A full log gives up its oldest, acknowledged ones first.
        """
        core = self
        if len(core.records) >= RECORDS_MOST:
            if core.acked_seq > core.before_seq:
                core = core._without_oldest(1)
            else:
                core = core._without_oldest(LOST_AT_ONCE)._appended(
                    AuditEvent.LOST,
                    sensed,
                    Status.DONE,
                    LOST_AT_ONCE.to_bytes(8, "big"),
                    core.generation,
                    passes=core.passes,
                )
        of = core.generation if generation is None else generation
        return core._appended(event, sensed, status, actor, of, passes=core.passes if passes is None else passes)

    def _appended(
        self,
        event: AuditEvent,
        sensed: Sensed,
        status: Status,
        actor: bytes,
        generation: int,
        *,
        passes: tuple[Pass, ...],
    ) -> Self:
        time = self.time(sensed.rtc_s)
        record = AuditRecord.after(
            self.audit_head,
            seq=self.audit_seq + 1,
            time_s=time.now_s,
            time_quality=time.quality,
            event=event,
            actor=actor,
            status=status,
            generation=generation,
        )
        return self._with((*self.records, record), passes)

    def _with(self, records: tuple[AuditRecord, ...], passes: tuple[Pass, ...]) -> Self:
        """Return it with these records and passes: as `replace`, which costs an opening as much as its hashes."""
        values = list(_FIELDS_OF(self))
        values[_RECORDS_AT], values[_PASSES_AT] = records, passes
        return type(self)(*values)

    def _without_oldest(self, count: int) -> Self:
        last = self.records[count - 1]
        return replace(self, records=self.records[count:], before_seq=last.seq, before_chain=last.chain)


_FIELDS: Final = tuple(each.name for each in fields(LockMemory))
_FIELDS_OF: Final = attrgetter(*_FIELDS)
_RECORDS_AT: Final = _FIELDS.index("records")
_PASSES_AT: Final = _FIELDS.index("passes")


def _later_of(
    value: Value,
) -> tuple[tuple[tuple[bytes, int], ...], tuple[int, bool], tuple[tuple[bytes, int, int], ...]]:
    if not isinstance(value, dict) or not set(value) <= _LATER:
        raise PeerProtocolError("not a lock's memory of version 3: what came later")
    match value.get(_ISSUERS, []), value.get(_LOCKOUT, [0, False]), value.get(_BEGUN, []):
        case [[*issuers], [int() as seq, bool() as locked_out], [*begun]]:
            return tuple(_revoked(each) for each in issuers), (seq, locked_out), tuple(_use(each) for each in begun)
        case _:
            raise PeerProtocolError("not a lock's memory of version 3: what came later")


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
