"""Phone side of the door exchange, and the edge's: frames and time in, frames and answers out.

Source of truth: SPEC.md sections 4 (messages) and 7 (states); vectors in protocols/vectors/door.
The edge visits a lock with the same class: what it carries is signed and what it fetches is sealed, so it needs no
credential of its own. Randomness and the phone's signing key are handed in. In the L2CAP channel what is called a frame
here is a piece of its stream, cut anywhere (channel.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from protocols.door.advert import DoorKeys, gate_key, gate_tag, week_of
from protocols.door.channel import ANSWER_BYTES_MOST, StreamAssembler, prefixed
from protocols.door.fast import FastKeys, Resumption, fast_id, fast_keys
from protocols.door.frames import Assembler, cut
from protocols.door.messages import (
    RECORDS_IN_CHANNEL_MOST,
    RECORDS_IN_CHUNK_MOST,
    RESULT_BYTES,
    CarryCommand,
    CertificateForm,
    Challenge,
    Command,
    ErrorCode,
    FetchCommand,
    LatchCommand,
    MessageKind,
    Result,
    ResumeCommand,
    StatusCommand,
    UnlockCommand,
    encode_command,
    latch_statement,
    unlock_statement,
)
from protocols.door.session import SessionKeys, session_keys, shared, transcript_of
from protocols.door.status import Status
from protocols.enum_members import plain_members
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

State = Enum("State", ["WAITING", "ASKED_FAST", "ASKED", "READY", "OVER"])
plain_members(State)
MOVES: Final = {  # every legal move, SPEC.md figure 2; all else is the peer's error
    (State.WAITING, None): State.ASKED,  # CHAL has no kind byte: it is the first message. Or ASKED_FAST
    (State.ASKED_FAST, MessageKind.ERROR): State.ASKED,  # NEED_FULL alone
    (State.ASKED_FAST, MessageKind.RESULT): State.READY,
    (State.ASKED, MessageKind.RESULT): State.READY,
}


@dataclass(frozen=True, slots=True)
class Unlock:
    """Open the door. `sign` is the phone key's ES256 over the given bytes, as 64 bytes r || s.

    `certificate` is the issuer's, whole, or its 4-byte key id for a lock that has seen it. With a `resumption` it is
    asked by FAST, and in full on the same link where the lock wants that.
    """

    grant: bytes
    certificate: bytes
    sign: Callable[[bytes], bytes]
    form: CertificateForm = CertificateForm.WHOLE
    user_verified: bool = False
    resumption: Resumption | None = None


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


@dataclass(frozen=True, slots=True)
class Resume:
    """After an Unlock that opened: let the next one be FAST. An older lock answers UNSUPPORTED_VERSION, no more."""


@dataclass(frozen=True, slots=True)
class Latch:
    """Hold a common door open for the window of a passage grant, or end that. As `Unlock` otherwise; never by FAST.

    An older lock answers UNSUPPORTED_VERSION and does nothing.
    """

    hold: bool
    grant: bytes
    certificate: bytes
    sign: Callable[[bytes], bytes]
    form: CertificateForm = CertificateForm.WHOLE
    user_verified: bool = False


Request: TypeAlias = Unlock | Carry | Fetch | AskStatus | Resume | Latch


class Answer(NamedTuple):
    """The lock's authenticated answer; `sealed` is the audit chunk after a Fetch, else empty. `fast`: came by FAST."""

    result: Result
    sealed: bytes = b""
    fast: bool = False


class PhoneExchange:
    """One exchange, first byte to last. Make a new one for each connection; the first request goes with it.

    After an `Answer`, `ask` sends another request on the same link. Whatever came of it, keep `resumption` for the next
    visit to this lock and forget the one handed in: None means that there is none any more.

    Args:
        door: What is known of the lock.
        first: What is asked first.
        random: Dice fit for keys, n -> n bytes.
        frame_bytes: How long a frame may be in GATT; None: the exchange is in the L2CAP channel.
        now_ms: Monotonic.
    """

    def __init__(self, door: DoorKeys, first: Request, *, random: Random, frame_bytes: int | None, now_ms: int) -> None:
        self._door, self._request, self._frame_bytes = door, first, frame_bytes
        self._random = random
        self._assembler = Assembler() if frame_bytes is not None else StreamAssembler(ANSWER_BYTES_MOST)
        self._outbox: list[bytes] = []
        self._keys: SessionKeys | None = None
        self._fast: FastKeys | None = None
        self._said = b""  # CHAL as it came
        self.resumption = first.resumption if isinstance(first, Unlock) else None
        self.challenge: Challenge | None = None
        self.state = State.WAITING
        self.deadline_ms: int | None = now_ms + CHALLENGE_WAIT_MS

    def receive_data(self, frame: bytes, *, now_ms: int) -> Answer | None:
        """Take one frame: one notification, or what one SDU brought. Return the answer it completes.

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
                self._on_error(message, now_ms)
                return None
            if self.state is State.WAITING:
                self._on_challenge(message, now_ms)
                return None
            if (self.state, message[0]) not in MOVES:
                raise PeerProtocolError(f"message {message[0]:#04x} while {self.state.name}")
            plaintext = self._session().to_phone.open(message[1:], message[:1])
            result = Result.decode(plaintext)
        except (PeerProtocolError, CredentialRefusedError, ReplyTimeoutError):
            self.state, self.deadline_ms = State.OVER, None
            raise
        fast = self.state is State.ASKED_FAST
        if fast and self._fast is not None:
            self.resumption = Resumption(self._fast.following)
        elif isinstance(self._request, Resume):
            self.resumption = Resumption(self._session().resumption) if result.status is Status.DONE else None
        self.state, self.deadline_ms = State.READY, None
        rest = plaintext[RESULT_BYTES:]
        if rest and not isinstance(self._request, Fetch):
            self.state = State.OVER
            raise PeerProtocolError(f"{len(rest)} bytes after a RESULT that has none")
        return Answer(result, rest, fast)

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
        asked = self.state in (State.ASKED, State.ASKED_FAST)
        self.state, self.deadline_ms = State.OVER, None
        if asked:
            raise ReplyTimeoutError(f"lock {self._door.lock_id.hex()} did not answer within {ANSWER_WAIT_MS} ms")
        raise LinkLostError(f"lock {self._door.lock_id.hex()} sent no challenge within {CHALLENGE_WAIT_MS} ms")

    def data_to_send(self) -> list[bytes]:
        """Drain the frames that the caller must send: one ATT write each, or the stream's next bytes."""
        frames, self._outbox = self._outbox, []
        return frames

    def _on_challenge(self, message: bytes, now_ms: int) -> None:
        challenge = Challenge.decode(message)
        self._said = message
        if self.resumption is None:
            self._open(challenge, now_ms)
        else:
            self._ask_fast(self.resumption.secret, now_ms)
        self.challenge = challenge

    def _ask_fast(self, secret: bytes, now_ms: int) -> None:
        door, request = self._door, self._request
        user_verified = isinstance(request, Unlock) and request.user_verified
        head = bytes([MessageKind.FAST]) + fast_id(secret, door.lock_id) + bytes([user_verified])
        self._fast = fast_keys(secret, door.lock_id, door.s_lock, self._said, head)
        self._keys = self._fast.session
        self._say(head + self._fast.tag)
        self.state, self.deadline_ms = State.ASKED_FAST, now_ms + ANSWER_WAIT_MS

    def _on_error(self, message: bytes, now_ms: int) -> None:
        """Take a hint that anybody can give: at worst it costs a full exchange."""
        error = _spoken_error(message)
        if self._fast is None or isinstance(error, CredentialRefusedError):
            raise error
        self.resumption = None
        if self.state is State.ASKED_FAST and message[1:2] == bytes([ErrorCode.NEED_FULL]) and self.challenge:
            self._open(self.challenge, now_ms)
            return
        # A lock with firmware from before FAST, or a hint from nobody knows whom: FAST may have opened.
        raise ReplyTimeoutError(f"lock {self._door.lock_id.hex()} answered FAST with an error") from error

    def _open(self, challenge: Challenge, now_ms: int) -> None:
        door = self._door
        if challenge.time_quality == TimeQuality.UNCERTAIN:
            advert_key = door.fallback
        elif (known := door.eik_by_week.get(week_of(challenge.time_s))) is not None:
            advert_key = known
        else:
            raise CredentialRefusedError(RefusalReason.TIME_UNCERTAIN)
        ephemeral = private_key(self._random)
        e_phone = compressed(ephemeral.public_key())
        self._keys = session_keys(
            shared(ephemeral, public_key(door.s_lock)),
            shared(ephemeral, public_key(challenge.e_lock)),
            transcript_of(door.lock_id, door.s_lock, self._said, e_phone),
        )
        gate = gate_key(advert_key, door.lock_id, challenge.time_s)
        self._send(bytes([MessageKind.OPEN]) + e_phone + gate_tag(gate, challenge.nonce, e_phone), now_ms)

    def _send(self, header: bytes, now_ms: int) -> None:
        keys = self._session()
        plaintext = encode_command(self._command(keys))
        self._say(header + keys.to_lock.seal(plaintext, header))
        self.state, self.deadline_ms = State.ASKED, now_ms + ANSWER_WAIT_MS

    def _say(self, message: bytes) -> None:
        self._outbox += [prefixed(message)] if self._frame_bytes is None else cut(message, self._frame_bytes)

    def _command(self, keys: SessionKeys) -> Command:
        match self._request:
            case Unlock(grant, certificate, sign, form, user_verified, _):
                statement = unlock_statement(keys.transcript, keys.to_lock.counter, grant, user_verified=user_verified)
                return UnlockCommand(grant, certificate, form, user_verified, sign(statement))
            case Latch(hold, grant, certificate, sign, form, verified):
                counter = keys.to_lock.counter
                statement = latch_statement(keys.transcript, counter, grant, hold=hold, user_verified=verified)
                return LatchCommand(hold, grant, certificate, form, verified, sign(statement))
            case Carry(signed, certificate, form):
                return CarryCommand(signed, certificate, form)
            case Fetch(after_seq):
                return FetchCommand(
                    after_seq, RECORDS_IN_CHUNK_MOST if self._frame_bytes is not None else RECORDS_IN_CHANNEL_MOST
                )
            case AskStatus():
                return StatusCommand()
            case Resume():
                return ResumeCommand()

    def _session(self) -> SessionKeys:
        if self._keys is None:
            raise LocalProtocolError("no session before CHAL")
        return self._keys


def _spoken_error(message: bytes) -> PeerProtocolError | CredentialRefusedError:
    code = message[1] if len(message) > 1 else 0
    if code == ErrorCode.BUSY:
        return CredentialRefusedError(RefusalReason.BUSY)
    return PeerProtocolError(f"lock answered error {code}")
