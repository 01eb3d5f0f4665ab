"""Phone side of the door exchange, and the edge's: frames and time in, frames and answers out.

Source of truth: SPEC.md sections 4 (messages) and 7 (states); vectors in protocols/vectors/door.
The edge visits a lock with the same class: what it carries is signed and what it fetches is sealed, so it needs no
credential of its own. Randomness and the phone's signing key are handed in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from protocols.door.advert import DoorKeys, gate_key, gate_tag, week_of
from protocols.door.frames import Assembler, cut
from protocols.door.messages import (
    RESULT_BYTES,
    CarryCommand,
    CertificateForm,
    Challenge,
    Command,
    ErrorCode,
    FetchCommand,
    MessageKind,
    Result,
    StatusCommand,
    UnlockCommand,
    encode_command,
    unlock_statement,
)
from protocols.door.session import SessionKeys, session_keys, shared, transcript_of
from protocols.errors import (
    CredentialRefusedError,
    LinkLostError,
    LocalProtocolError,
    PeerProtocolError,
    RefusalReason,
    ReplyTimeoutError,
)
from protocols.grant.keys import Random, compressed, private_key, public_key
from protocols.grant.lock_time import TimeQuality

CHALLENGE_WAIT_MS: Final = 3_000
ANSWER_WAIT_MS: Final = 3_000

State = Enum("State", ["WAITING", "ASKED", "READY", "OVER"])
MOVES: Final = {  # every legal move, SPEC.md figure 2; all else is the peer's error
    (State.WAITING, None): State.ASKED,  # CHAL has no kind byte: it is the first message
    (State.ASKED, MessageKind.RESULT): State.READY,
}


@dataclass(frozen=True, slots=True)
class Unlock:
    """Open the door. `sign` is the phone key's ES256 over the given bytes, as 64 bytes r || s.

    `certificate` is the issuer's, whole, or its 4-byte key id for a lock that has seen it.
    """

    grant: bytes
    certificate: bytes
    sign: Callable[[bytes], bytes]
    form: CertificateForm = CertificateForm.WHOLE
    user_verified: bool = False


@dataclass(frozen=True, slots=True)
class Carry:
    """Deliver what the revocation class signed."""

    signed: bytes
    certificate: bytes
    form: CertificateForm = CertificateForm.WHOLE


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask for the audit records after `after_seq`, sealed to the edge."""

    after_seq: int


@dataclass(frozen=True, slots=True)
class AskStatus:
    """Ask how the lock is."""


Request: TypeAlias = Unlock | Carry | Fetch | AskStatus


@dataclass(frozen=True, slots=True)
class Answer:
    """The lock's authenticated answer; `sealed` is the audit chunk after a Fetch, else empty."""

    result: Result
    sealed: bytes = b""


class PhoneExchange:
    """One exchange, first byte to last. Make a new one for each connection; the first request goes with it.

    After an `Answer`, `ask` sends another request on the same link.
    """

    def __init__(self, door: DoorKeys, first: Request, *, random: Random, frame_bytes: int, now_ms: int) -> None:
        self._door, self._request, self._frame_bytes = door, first, frame_bytes
        self._ephemeral = private_key(random)
        self._assembler = Assembler()
        self._outbox: list[bytes] = []
        self._keys: SessionKeys | None = None
        self.challenge: Challenge | None = None
        self.state = State.WAITING
        self.deadline_ms: int | None = now_ms + CHALLENGE_WAIT_MS

    def receive_data(self, frame: bytes, *, now_ms: int) -> Answer | None:
        """Take one frame (one notification); return the answer it completes.

        Raises:
            PeerProtocolError: not the lock we hold keys of, or not the protocol. Drop the link.
            UnsupportedVersionError: it speaks another version or suite.
            CredentialRefusedError: BUSY: the lock asks to wait. TIME_UNCERTAIN: our keys do not reach its week.
            LinkLostError, ReplyTimeoutError: as `on_time`.
        """
        self.on_time(now_ms=now_ms)
        if self.state is State.OVER:
            raise PeerProtocolError("frame after the end")
        try:
            message = self._assembler.take(frame)
            if message is None:
                return None
            if message[0] == MessageKind.ERROR:
                raise _spoken_error(message)
            if self.state is State.WAITING:
                self._on_challenge(message, now_ms)
                return None
            if message[0] not in set(MessageKind) or (self.state, MessageKind(message[0])) not in MOVES:
                raise PeerProtocolError(f"message {message[0]:#04x} while {self.state.name}")
            plaintext = self._session().to_phone.open(message[1:], message[:1])
            result = Result.decode(plaintext)
        except (PeerProtocolError, CredentialRefusedError):
            self.state, self.deadline_ms = State.OVER, None
            raise
        self.state, self.deadline_ms = State.READY, None
        rest = plaintext[RESULT_BYTES:]
        if rest and not isinstance(self._request, Fetch):
            self.state = State.OVER
            raise PeerProtocolError(f"{len(rest)} bytes after a RESULT that has none")
        return Answer(result, rest)

    def ask(self, request: Request, *, now_ms: int) -> None:
        """Send another request on the same link, after the answer to the last.

        Raises:
            LocalProtocolError: the last one is not answered yet, or the exchange is over.
        """
        if self.state is not State.READY:
            raise LocalProtocolError(f"request while {self.state.name}")
        self._request = request
        header = bytes([MessageKind.MORE])
        self._send(header, now_ms)

    def on_time(self, *, now_ms: int) -> None:
        """Learn the time; harmless to call early or twice.

        Raises:
            LinkLostError: the lock never challenged: nothing was asked of it.
            ReplyTimeoutError: it was asked and did not answer: the door may have opened.
        """
        if self.deadline_ms is None or now_ms < self.deadline_ms:
            return
        asked = self.state is State.ASKED
        self.state, self.deadline_ms = State.OVER, None
        if asked:
            raise ReplyTimeoutError(f"lock {self._door.lock_id.hex()} did not answer within {ANSWER_WAIT_MS} ms")
        raise LinkLostError(f"lock {self._door.lock_id.hex()} sent no challenge within {CHALLENGE_WAIT_MS} ms")

    def data_to_send(self) -> list[bytes]:
        """Drain the frames that the caller must send, one ATT write each."""
        frames, self._outbox = self._outbox, []
        return frames

    def _on_challenge(self, message: bytes, now_ms: int) -> None:
        challenge = Challenge.decode(message)
        door = self._door
        if challenge.time_quality == TimeQuality.UNCERTAIN:
            advert_key = door.fallback
        elif (known := door.eik_by_week.get(week_of(challenge.time_s))) is not None:
            advert_key = known
        else:
            raise CredentialRefusedError(RefusalReason.TIME_UNCERTAIN)
        e_phone = compressed(self._ephemeral.public_key())
        self._keys = session_keys(
            shared(self._ephemeral, public_key(door.s_lock)),
            shared(self._ephemeral, public_key(challenge.e_lock)),
            transcript_of(door.lock_id, door.s_lock, message, e_phone),
        )
        gate = gate_key(advert_key, door.lock_id, challenge.time_s)
        self.challenge = challenge
        self._send(bytes([MessageKind.OPEN]) + e_phone + gate_tag(gate, challenge.nonce, e_phone), now_ms)

    def _send(self, header: bytes, now_ms: int) -> None:
        keys = self._session()
        plaintext = encode_command(self._command(keys))
        self._outbox += cut(header + keys.to_lock.seal(plaintext, header), self._frame_bytes)
        self.state, self.deadline_ms = State.ASKED, now_ms + ANSWER_WAIT_MS

    def _command(self, keys: SessionKeys) -> Command:
        match self._request:
            case Unlock(grant, certificate, sign, form, user_verified):
                statement = unlock_statement(keys.transcript, keys.to_lock.counter, grant, user_verified=user_verified)
                return UnlockCommand(grant, certificate, form, user_verified, sign(statement))
            case Carry(signed, certificate, form):
                return CarryCommand(signed, certificate, form)
            case Fetch(after_seq):
                return FetchCommand(after_seq)
            case AskStatus():
                return StatusCommand()

    def _session(self) -> SessionKeys:
        if self._keys is None:
            raise LocalProtocolError("no session before CHAL")
        return self._keys


def _spoken_error(message: bytes) -> PeerProtocolError | CredentialRefusedError:
    code = message[1] if len(message) > 1 else 0
    if code == ErrorCode.BUSY:
        return CredentialRefusedError(RefusalReason.BUSY)
    return PeerProtocolError(f"lock answered error {code}")
