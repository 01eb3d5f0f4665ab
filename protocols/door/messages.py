"""Messages of the door, byte for byte: CHAL, OPEN, FAST, MORE, RESULT, ERROR and the commands inside them.

Source of truth: SPEC.md section 4. Fixed layouts, big-endian; what is variable carries its length and is bounded by the
1024-byte message. Nothing here encrypts: session.py does.
"""

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from protocols.door.hardware import Bolt, battery_byte, battery_of, bolt_of
from protocols.door.status import Status
from protocols.enum_members import plain_members
from protocols.errors import PeerProtocolError, UnsupportedVersionError

VERSION: Final = 1
SUITE: Final = 1
"""P-256 ECDH and ES256, HKDF-SHA256, AES-256-GCM."""
CHALLENGE_BYTES: Final = 64
RESULT_BYTES: Final = 35
RECORDS_IN_CHUNK_MOST: Final = 20
"""So that an answer to FETCH is one message of at most 1024 bytes."""
RECORDS_IN_CHANNEL_MOST: Final = 100
"""The same in the L2CAP channel, where an answer may have 4096 bytes."""

_STATUSES: Final = {int(each): each for each in Status}
_CHALLENGE: Final = struct.Struct(">BBIBII16s33s")
_RESULT: Final = struct.Struct(">BIIBBBI3s16s")
_UNLOCK_LABEL: Final = b"innkeeper/door/1 unlock\x00"
_LATCH_LABEL: Final = b"innkeeper/door/1 latch\x00"


@plain_members
class MessageKind(IntEnum):
    """First byte of every message but CHAL."""

    OPEN = 0x01
    FAST = 0x02
    MORE = 0x03
    RESULT = 0x81
    ERROR = 0x8F


class ErrorCode(IntEnum):
    """Second byte of ERROR: sent in the clear, so it is a hint and never a fact."""

    MALFORMED = 2
    BUSY = 3
    """The third byte is how many seconds to wait."""
    NEED_FULL = 4
    """To FAST alone: send OPEN, to the same challenge."""


class CommandCode(IntEnum):
    """First byte inside the encryption. 0x07 to 0x3F are kept for later commands."""

    UNLOCK = 0x01
    CARRY = 0x02
    FETCH = 0x03
    STATUS = 0x04
    RESUME = 0x05
    LATCH = 0x06


class CertificateForm(IntEnum):
    """Whether a command brings its issuer's whole certificate or its 4-byte id."""

    WHOLE = 0
    ID = 1


class Challenge(NamedTuple):
    """CHAL, lock to phone, in the clear."""

    time_s: int
    time_quality: int
    revocation_seq: int
    audit_seq: int
    nonce: bytes
    e_lock: bytes

    def encode(self) -> bytes:
        """Return its 64 bytes."""
        return _CHALLENGE.pack(
            VERSION,
            SUITE,
            self.time_s,
            self.time_quality,
            self.revocation_seq,
            self.audit_seq,
            self.nonce,
            self.e_lock,
        )

    @classmethod
    def decode(cls, data: bytes) -> "Challenge":
        """Read CHAL.

        Raises:
            UnsupportedVersionError: another version or suite. PeerProtocolError: wrong length or time quality.
        """
        if data and data[0] != VERSION:
            raise UnsupportedVersionError("door exchange", data[0], (VERSION,))
        if len(data) != CHALLENGE_BYTES:
            raise PeerProtocolError(f"CHAL of {len(data)} bytes, not {CHALLENGE_BYTES}")
        _, suite, time_s, quality, revocation_seq, audit_seq, nonce, e_lock = _CHALLENGE.unpack(data)
        if suite != SUITE:
            raise UnsupportedVersionError("door suite", suite, (SUITE,))
        if quality > 2:
            raise PeerProtocolError(f"CHAL with time quality {quality}")
        return cls(time_s, quality, revocation_seq, audit_seq, nonce, e_lock)


class Result(NamedTuple):
    """RESULT, lock to phone: how it went, and what the lock was like when it answered, before any motor moved."""

    status: Status
    audit_seq: int
    time_s: int
    time_quality: int
    battery_percent: int | None
    bolt: Bolt
    revocation_seq: int
    generation: int
    chain_head: bytes

    def encode(self) -> bytes:
        """Return its 35 bytes."""
        return _RESULT.pack(
            self.status,
            self.audit_seq,
            self.time_s,
            self.time_quality,
            battery_byte(self.battery_percent),
            self.bolt,
            self.revocation_seq,
            self.generation.to_bytes(3, "big"),
            self.chain_head,
        )

    @classmethod
    def decode(cls, data: bytes) -> "Result":
        """Read the first 35 bytes of a decrypted answer.

        Raises:
            PeerProtocolError: too short, unknown status or bolt, time quality beyond 2, battery beyond 100 %.
        """
        if len(data) < RESULT_BYTES:
            raise PeerProtocolError(f"RESULT of {len(data)} bytes, not {RESULT_BYTES}")
        code, audit_seq, time_s, quality, battery, bolt, revocation_seq, generation, head = _RESULT.unpack_from(data)
        status = _STATUSES.get(code)
        if status is None or quality > 2:
            raise PeerProtocolError(f"RESULT with status {code:#04x} and time quality {quality}")
        return cls(
            status,
            audit_seq,
            time_s,
            quality,
            battery_of(battery, "RESULT"),
            bolt_of(bolt, "RESULT"),
            revocation_seq,
            int.from_bytes(generation, "big"),
            head,
        )


@dataclass(frozen=True, slots=True)
class UnlockCommand:
    """UNLOCK: a grant, its issuer's certificate (or 4-byte id), and the phone's signature over this very exchange."""

    grant: bytes
    certificate: bytes
    form: CertificateForm
    user_verified: bool
    signature: bytes


@dataclass(frozen=True, slots=True)
class CarryCommand:
    """CARRY: a signed object for the lock, from anybody."""

    signed: bytes
    certificate: bytes
    form: CertificateForm


@dataclass(frozen=True, slots=True)
class FetchCommand:
    """FETCH: audit records after `after_seq`, sealed to the edge, at most `most` of them."""

    after_seq: int
    most: int = RECORDS_IN_CHUNK_MOST


@dataclass(frozen=True, slots=True)
class StatusCommand:
    """STATUS: tell how you are."""


@dataclass(frozen=True, slots=True)
class ResumeCommand:
    """RESUME: after an UNLOCK that opened, keep this session's secret for FAST."""


@dataclass(frozen=True, slots=True)
class LatchCommand:
    """LATCH: hold a common door open for the window of a passage grant, or (`hold` false) end that before its time."""

    hold: bool
    grant: bytes
    certificate: bytes
    form: CertificateForm
    user_verified: bool
    signature: bytes


Command: TypeAlias = UnlockCommand | CarryCommand | FetchCommand | StatusCommand | ResumeCommand | LatchCommand


def encode_command(command: Command) -> bytes:
    """Return the plaintext of a command."""
    match command:
        case UnlockCommand():
            return (
                bytes([CommandCode.UNLOCK, int(command.user_verified), command.form])
                + _sized(command.grant)
                + _certificate(command.form, command.certificate)
                + command.signature
            )
        case CarryCommand():
            return (
                bytes([CommandCode.CARRY, command.form])
                + _sized(command.signed)
                + _certificate(command.form, command.certificate)
            )
        case FetchCommand():
            return struct.pack(">BIB", CommandCode.FETCH, command.after_seq, command.most)
        case StatusCommand():
            return bytes([CommandCode.STATUS])
        case ResumeCommand():
            return bytes([CommandCode.RESUME])
        case LatchCommand():
            return (
                bytes([CommandCode.LATCH, int(command.hold), int(command.user_verified), command.form])
                + _sized(command.grant)
                + _certificate(command.form, command.certificate)
                + command.signature
            )


def decode_command(data: bytes, *, records_most: int = RECORDS_IN_CHUNK_MOST) -> Command:
    """Read the plaintext of a command. `records_most`: what FETCH may ask for, which is more in the L2CAP channel.

    Raises:
        UnsupportedVersionError: a command this version does not know.
        PeerProtocolError: known, but not of its layout.
    """
    reader = _Reader(data)
    code = reader.byte()
    command: Command
    if code == CommandCode.UNLOCK:
        flags, form = reader.byte(), reader.form()
        if flags > 1:
            raise PeerProtocolError(f"UNLOCK with flags {flags:#04x}")
        command = UnlockCommand(reader.sized(), reader.certificate(form), form, bool(flags), reader.take(64))
    elif code == CommandCode.CARRY:
        form = reader.form()
        command = CarryCommand(reader.sized(), reader.certificate(form), form)
    elif code == CommandCode.FETCH:
        command = FetchCommand(int.from_bytes(reader.take(4), "big"), reader.byte())
        if not 1 <= command.most <= records_most:
            raise PeerProtocolError(f"FETCH of {command.most} records, 1 to {records_most} are allowed")
    elif code == CommandCode.STATUS:
        command = StatusCommand()
    elif code == CommandCode.RESUME:
        command = ResumeCommand()
    elif code == CommandCode.LATCH:
        hold, flags, form = reader.byte(), reader.byte(), reader.form()
        if hold > 1 or flags > 1:
            raise PeerProtocolError(f"LATCH with hold {hold:#04x} and flags {flags:#04x}")
        grant, certificate = reader.sized(), reader.certificate(form)
        command = LatchCommand(bool(hold), grant, certificate, form, bool(flags), reader.take(64))
    else:
        raise UnsupportedVersionError("door command", code, tuple(CommandCode))
    reader.end()
    return command


def unlock_statement(transcript: bytes, counter: int, grant: bytes, *, user_verified: bool) -> bytes:
    """Return what the phone signs: this exchange, this message of it, this grant."""
    return (
        _UNLOCK_LABEL
        + transcript
        + counter.to_bytes(4, "big")
        + bytes([user_verified])
        + hashlib.sha256(grant).digest()
    )


def latch_statement(transcript: bytes, counter: int, grant: bytes, *, hold: bool, user_verified: bool) -> bytes:
    """Return what the phone signs to hold a door open or to end that."""
    return (
        _LATCH_LABEL
        + transcript
        + counter.to_bytes(4, "big")
        + bytes([hold, user_verified])
        + hashlib.sha256(grant).digest()
    )


class _Reader:
    """Takes a plaintext apart; every shortage is the peer's error."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise PeerProtocolError(f"door command ends at {len(self._data)}, {self._at + size} bytes were due")
        self._at += size
        return self._data[self._at - size : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def form(self) -> CertificateForm:
        if (form := self.byte()) > 1:
            raise PeerProtocolError(f"certificate form {form}")
        return CertificateForm(form)

    def sized(self) -> bytes:
        return self.take(int.from_bytes(self.take(2), "big"))

    def certificate(self, form: CertificateForm) -> bytes:
        return self.sized() if form is CertificateForm.WHOLE else self.take(4)

    def end(self) -> None:
        if self._at != len(self._data):
            raise PeerProtocolError(f"{len(self._data) - self._at} bytes after the door command")


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _certificate(form: CertificateForm, certificate: bytes) -> bytes:
    return _sized(certificate) if form is CertificateForm.WHOLE else certificate
