"""The lock's log: chained records, signed checkpoints, chunks sealed to the edge so that any phone may carry them.

Source of truth: SPEC.md section 8. A record says which grant, never which guest. The chain makes any change, removal or
reordering show; the signature says which lock said so; the seal keeps the carrier from reading.
"""

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocols import cose
from protocols.door.advert import derive
from protocols.door.hardware import Bolt, battery_byte, battery_of, bolt_of
from protocols.door.messages import RECORDS_IN_CHANNEL_MOST
from protocols.door.session import shared
from protocols.enum_members import plain_members
from protocols.errors import LocalProtocolError, PeerProtocolError
from protocols.grant.keys import POINT_BYTES, compressed, public_key

CHAIN_BYTES: Final = 16
RECORD_BYTES: Final = 38
TIME_QUALITY_MOST: Final = 2
NOBODY: Final = bytes(8)

_RECORD: Final = struct.Struct(">IIBB8sB3s")
_CHECKPOINT: Final = struct.Struct(">8sI16sI16sIIBBB3sII")
_SIGNATURE_LABEL: Final = b"innkeeper/door/1 checkpoint\x00"
_GENESIS_LABEL: Final = b"innkeeper/door/1 genesis\x00"


@plain_members
class AuditEvent(IntEnum):
    """What a record tells."""

    OPENED = 1
    REFUSED = 2
    PROMOTED = 3
    """A newer guest's grant replaced the older generation."""
    BUMPED = 4
    """A signed bump did."""
    TIME_SET = 5
    REVOCATIONS_SET = 6
    LOST = 7
    """The log was full: the actor field holds how many unacknowledged records were overwritten."""
    RESTARTED = 8
    """Power came back without the clock."""
    THROTTLED = 9
    BOLT = 10
    """The bolt came to rest elsewhere than an opening says by itself; the actor field holds its state."""
    EMERGENCY = 11
    """What follows is an opening that two officers approved, privacy or not."""
    PASSAGE = 12
    """The door is held open from now on."""
    PASSAGE_ENDED = 13
    LOCKOUT = 14
    """Sealed for all but emergency keys, or no longer; the actor field holds 1 or 0."""


class AuditBrokenError(PeerProtocolError):
    """The lock's log is not what the lock said before: an alarm, not a retry."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One event. `actor` is the 8-byte grant id, zeros for none; `status` as protocols/door/status.py."""

    seq: int
    time_s: int
    time_quality: int
    event: int
    actor: bytes
    status: int
    generation: int
    chain: bytes

    def encode(self) -> bytes:
        """Return its 38 bytes."""
        return self.body() + self.chain

    @classmethod
    def after(
        cls,
        previous: bytes,
        *,
        seq: int,
        time_s: int,
        time_quality: int,
        event: int,
        actor: bytes,
        status: int,
        generation: int,
    ) -> "AuditRecord":
        """Return the record that follows one whose chain value is `previous`."""
        body = _RECORD.pack(seq, time_s, time_quality, event, actor, status, generation.to_bytes(3, "big"))
        return cls(seq, time_s, time_quality, event, actor, status, generation, link(previous, body))

    def body(self) -> bytes:
        """Return the 22 bytes that the chain covers."""
        return _RECORD.pack(
            self.seq,
            self.time_s,
            self.time_quality,
            self.event,
            self.actor,
            self.status,
            self.generation.to_bytes(3, "big"),
        )

    @classmethod
    def decode(cls, data: bytes) -> "AuditRecord":
        """Read 38 bytes.

        Raises:
            PeerProtocolError: wrong length, or time quality beyond 2.
        """
        if len(data) != RECORD_BYTES:
            raise PeerProtocolError(f"audit record of {len(data)} bytes, not {RECORD_BYTES}")
        seq, time_s, quality, event, actor, status, generation = _RECORD.unpack(data[: _RECORD.size])
        if quality > TIME_QUALITY_MOST:
            raise PeerProtocolError(f"audit record {seq} with time quality {quality}")
        return cls(
            seq,
            time_s,
            quality,
            event,
            actor,
            status,
            int.from_bytes(generation, "big"),
            data[_RECORD.size :],
        )


def genesis(lock_id: bytes) -> bytes:
    """Return the chain value before a lock's first record."""
    return hashlib.sha256(_GENESIS_LABEL + lock_id).digest()[:CHAIN_BYTES]


def link(previous: bytes, body: bytes) -> bytes:
    """Return the chain value of a record with `body` after one whose chain value is `previous`."""
    return hashlib.sha256(previous + body).digest()[:CHAIN_BYTES]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the lock signs with each chunk: where the chunk hangs in the chain, and how the lock is.

    The chunk's records are `after_seq` + 1 to `seq`; `previous` and `head` are the chain at both ends; `newest_seq` is
    the lock's last record, so the reader knows whether to ask on. `noise` counts requests that failed the gate tag.
    """

    lock_id: bytes
    after_seq: int
    previous: bytes
    seq: int
    head: bytes
    newest_seq: int
    time_s: int
    time_quality: int
    battery_percent: int | None
    bolt: Bolt
    generation: int
    revocation_seq: int
    noise: int

    def encode(self) -> bytes:
        """Return its bytes, as signed."""
        return _CHECKPOINT.pack(
            self.lock_id,
            self.after_seq,
            self.previous,
            self.seq,
            self.head,
            self.newest_seq,
            self.time_s,
            self.time_quality,
            battery_byte(self.battery_percent),
            self.bolt,
            self.generation.to_bytes(3, "big"),
            self.revocation_seq,
            self.noise,
        )


@dataclass(frozen=True, slots=True)
class AuditChunk:
    """A verified run of records."""

    checkpoint: Checkpoint
    records: tuple[AuditRecord, ...]


def seal_chunk(
    chunk: AuditChunk,
    *,
    audit_key: ec.EllipticCurvePrivateKey,
    edge_key: ec.EllipticCurvePublicKey,
    ephemeral: ec.EllipticCurvePrivateKey,
) -> bytes:
    """Sign `chunk` with the lock's audit key and encrypt it to the edge: ephemeral key 33 | ciphertext | tag 16.

    Args:
        chunk: At most RECORDS_IN_CHANNEL_MOST records.
        audit_key: The lock's.
        edge_key: The property's sealing key.
        ephemeral: A fresh key, used for this alone: the GCM nonce is fixed.
    """
    if len(chunk.records) > RECORDS_IN_CHANNEL_MOST:
        raise LocalProtocolError(f"chunk of {len(chunk.records)} records, {RECORDS_IN_CHANNEL_MOST} at most")
    checkpoint = chunk.checkpoint.encode()
    signature = cose.sign_raw(audit_key, _SIGNATURE_LABEL + checkpoint)
    plaintext = checkpoint + signature + b"".join(record.encode() for record in chunk.records)
    point = compressed(ephemeral.public_key())
    key = derive(shared(ephemeral, edge_key), point, b"seal" + chunk.checkpoint.lock_id, 32)
    return point + AESGCM(key).encrypt(bytes(12), plaintext, point)


def open_chunk(
    sealed: bytes,
    lock_id: bytes,
    *,
    audit_key: ec.EllipticCurvePublicKey,
    edge_key: ec.EllipticCurvePrivateKey,
) -> AuditChunk:
    """Decrypt and verify a chunk of the lock `lock_id`.

    Raises:
        PeerProtocolError: not sealed to this edge for this lock, or not of the layout.
        AuditBrokenError: signature, chain or numbering is wrong, or a signed value cannot be.
    """
    point, ciphertext = sealed[:POINT_BYTES], sealed[POINT_BYTES:]
    key = derive(shared(edge_key, public_key(point)), point, b"seal" + lock_id, 32)
    try:
        plaintext = AESGCM(key).decrypt(bytes(12), ciphertext, point)
    except (InvalidTag, ValueError) as error:
        raise PeerProtocolError(f"audit chunk not sealed to this edge for lock {lock_id.hex()}") from error
    head_bytes = _CHECKPOINT.size + cose.SIGNATURE_BYTES
    if len(plaintext) < head_bytes or (len(plaintext) - head_bytes) % RECORD_BYTES:
        raise PeerProtocolError(f"audit chunk of {len(plaintext)} bytes")
    signed, signature = plaintext[: _CHECKPOINT.size], plaintext[_CHECKPOINT.size : head_bytes]
    if not cose.verify_raw(audit_key, signature, _SIGNATURE_LABEL + signed):
        raise AuditBrokenError(f"checkpoint not signed by lock {lock_id.hex()}")
    try:
        checkpoint = _checkpoint(signed)
        records = tuple(
            AuditRecord.decode(plaintext[at : at + RECORD_BYTES])
            for at in range(head_bytes, len(plaintext), RECORD_BYTES)
        )
    except PeerProtocolError as error:  # its own signature is under it
        raise AuditBrokenError(f"lock {lock_id.hex()} signed what cannot be: {error}") from error
    chunk = AuditChunk(checkpoint, records)
    check_chain(chunk, lock_id)
    return chunk


def _checkpoint(data: bytes) -> Checkpoint:
    (
        lock_id,
        after_seq,
        previous,
        seq,
        head,
        newest_seq,
        time_s,
        time_quality,
        battery_percent,
        bolt,
        generation,
        revocation_seq,
        noise,
    ) = _CHECKPOINT.unpack(data)
    if time_quality > TIME_QUALITY_MOST:
        raise PeerProtocolError(f"checkpoint with time quality {time_quality}")
    return Checkpoint(
        lock_id,
        after_seq,
        previous,
        seq,
        head,
        newest_seq,
        time_s,
        time_quality,
        battery_of(battery_percent, "checkpoint"),
        bolt_of(bolt, "checkpoint"),
        int.from_bytes(generation, "big"),
        revocation_seq,
        noise,
    )


def check_chain(chunk: AuditChunk, lock_id: bytes) -> None:
    """Check that the records hang together from `previous` to `head` without a missing number.

    Raises:
        AuditBrokenError: they do not.
    """
    checkpoint = chunk.checkpoint
    if checkpoint.lock_id != lock_id:
        raise AuditBrokenError(f"checkpoint of lock {checkpoint.lock_id.hex()}, not {lock_id.hex()}")
    previous, seq = checkpoint.previous, checkpoint.after_seq
    for record in chunk.records:
        seq += 1
        if record.seq != seq:
            raise AuditBrokenError(f"lock {lock_id.hex()}: record {record.seq} where {seq} was due")
        previous = link(previous, record.body())
        if record.chain != previous:
            raise AuditBrokenError(f"lock {lock_id.hex()}: record {seq} does not follow from the one before")
    if (seq, previous) != (checkpoint.seq, checkpoint.head) or seq > checkpoint.newest_seq:
        raise AuditBrokenError(f"lock {lock_id.hex()}: records end at {seq}, the checkpoint says {checkpoint.seq}")


def check_follows(chunk: AuditChunk, known_seq: int, known_head: bytes) -> int:
    """Check that `chunk` continues what is already known of this lock.

    Args:
        chunk: Verified by `open_chunk`.
        known_seq: The last record held, 0 for none.
        known_head: The chain value there.

    Returns:
        How many records the lock overwrote in between: 0 when it follows directly.

    Raises:
        AuditBrokenError: it starts inside what is known with another history, or the lock's log has gone back.
    """
    checkpoint = chunk.checkpoint
    if checkpoint.newest_seq < known_seq or checkpoint.after_seq < known_seq:
        raise AuditBrokenError(
            f"lock {checkpoint.lock_id.hex()}: its log ends at {checkpoint.newest_seq}, {known_seq} was seen before"
        )
    if checkpoint.after_seq == known_seq and checkpoint.previous != known_head:
        raise AuditBrokenError(f"lock {checkpoint.lock_id.hex()}: history before record {known_seq + 1} was changed")
    return checkpoint.after_seq - known_seq
