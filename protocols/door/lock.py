"""Lock side of the door exchange: frames and time in, frames and one step of the lock's memory out.

In the L2CAP channel what is called a frame here is a piece of its stream, cut anywhere (channel.py).
Source of truth: SPEC.md sections 4 (messages) and 7 (states); vectors in protocols/vectors/door.
Nothing here sleeps, reads a clock, draws dice or touches a radio; judging is LockCore's and protocols/grant's work.
"""

import hmac
from enum import Enum
from typing import Final, NamedTuple

from protocols import cose
from protocols.door.advert import (
    Advert,
    AdvertBit,
    eid,
    fallback_id,
    fallback_key,
    gate_key,
    gate_tag,
    week_of,
    weekly_eik,
)
from protocols.door.audit import seal_chunk
from protocols.door.channel import ANSWER_BYTES_MOST, StreamAssembler, prefixed
from protocols.door.fast import FAST_BYTES, ID_BYTES, fast_keys, found, proves
from protocols.door.frames import Assembler, cut
from protocols.door.hardware import BATTERY_LOW_PERCENT
from protocols.door.identity import LockIdentity
from protocols.door.lock_core import LockCore, Outcome
from protocols.door.lock_memory import Sensed
from protocols.door.messages import (
    RECORDS_IN_CHANNEL_MOST,
    RECORDS_IN_CHUNK_MOST,
    CarryCommand,
    CertificateForm,
    Challenge,
    ErrorCode,
    FetchCommand,
    LatchCommand,
    MessageKind,
    ResumeCommand,
    StatusCommand,
    UnlockCommand,
    decode_command,
    latch_statement,
    unlock_statement,
)
from protocols.door.session import SessionKeys, session_keys, shared, transcript_of
from protocols.door.status import Status
from protocols.door.throttle import let_through
from protocols.enum_members import plain_members
from protocols.errors import LocalProtocolError, PeerProtocolError, UnsupportedVersionError
from protocols.grant.certificate import IssuerCertificate
from protocols.grant.grant import Grant
from protocols.grant.keys import POINT_BYTES, Random, compressed, private_key, public_key
from protocols.grant.lock_time import TimeQuality

LINKS_MOST: Final = 2
"""At once; a third is refused by whoever holds the radio."""
CHALLENGE_WAIT_MS: Final = 5_000
SILENCE_MS: Final = 3_000
MESSAGE_WAIT_MS: Final = 5_000
"""In the channel, from a message's first byte to its last: there a piece may be as small as a byte."""
LINK_MS: Final = 60_000
"""From CHAL to the end of the link, however much is said: two that never stop talking would keep everybody out."""
NONCE_BYTES: Final = 16
_RESULT: Final = bytes([MessageKind.RESULT])
_GATE_TAG_BYTES: Final = 4

State = Enum("State", ["IDLE", "CHALLENGED", "REFERRED", "OPEN", "OVER"])
plain_members(State)
MOVES: Final = {  # every legal move, SPEC.md figure 1; all else is the peer's error
    (State.CHALLENGED, MessageKind.OPEN): State.OPEN,
    (State.CHALLENGED, MessageKind.FAST): State.OPEN,  # or REFERRED: to the full exchange
    (State.REFERRED, MessageKind.OPEN): State.OPEN,
    (State.OPEN, MessageKind.MORE): State.OPEN,
}


class LockStep(NamedTuple):
    """What one input did: the core to store first, whether the motor moves, what was answered.

    `latch` True: the motor draws the bolt and it is held drawn; False: it is let go; None: as ever.

    `fault` names what the peer did wrong; the state is then OVER and the link is to be dropped after draining.
    `quick`: it took no public-key work.
    """

    core: LockCore
    motor: bool = False
    status: Status | None = None
    fault: str | None = None
    quick: bool = False
    latch: bool | None = None


class LockExchange:
    """One exchange, first byte to last. Make a new one for each connection; the core is handed in each time.

    The core is not kept here, because two links may be open at once and both must see one memory.

    Args:
        identity: The lock's keys and place.
        random: Dice fit for keys, n -> n bytes.
        frame_bytes: How long a frame may be in GATT; None: the exchange is in the L2CAP channel.
    """

    def __init__(self, identity: LockIdentity, *, random: Random, frame_bytes: int | None) -> None:
        self._identity, self._random, self._frame_bytes = identity, random, frame_bytes
        self._nonce = random(NONCE_BYTES)
        self._ephemeral = private_key(random)
        self._challenge = b""
        self._gate = b""
        self._assembler = Assembler() if frame_bytes is not None else StreamAssembler()
        self._part_until_ms: int | None = None
        self._outbox: list[bytes] = []
        self._keys: SessionKeys | None = None
        self._opened = False
        self._opened_by: tuple[Grant, IssuerCertificate] | None = None
        self._challenged_until_ms = self._link_until_ms = 0
        self.state = State.IDLE
        self.deadline_ms: int | None = None  # call on_time then, on the clock now_ms came from

    def begin(self, *, core: LockCore, sensed: Sensed, now_ms: int) -> None:
        """The phone listens: send CHAL.

        Raises:
            LocalProtocolError: begun twice.
        """
        if self.state is not State.IDLE:
            raise LocalProtocolError(f"exchange begun while {self.state.name}")
        time = core.time(sensed.rtc_s)
        self._gate = gate_key(_advert_key(self._identity, core, sensed), self._identity.lock_id, time.now_s)
        self._challenge = Challenge(
            time_s=time.now_s,
            time_quality=time.quality,
            revocation_seq=core.revocation_seq,
            audit_seq=core.audit_seq,
            nonce=self._nonce,
            e_lock=compressed(self._ephemeral.public_key()),
        ).encode()
        self._say(self._challenge)
        self.state = State.CHALLENGED
        self._challenged_until_ms = now_ms + CHALLENGE_WAIT_MS
        self._link_until_ms = now_ms + LINK_MS
        self.deadline_ms = now_ms + SILENCE_MS

    def receive_data(self, frame: bytes, *, core: LockCore, sensed: Sensed, now_ms: int) -> LockStep:
        """Take one frame: one ATT write, or what one SDU brought. Answers or ends, whatever it is; never raises."""
        if self.on_time(now_ms=now_ms) or self.state is State.OVER:
            return LockStep(core)  # what comes after the end changes nothing
        try:
            if self.state is State.IDLE:
                raise PeerProtocolError("frame before CHAL")
            message = self._assembler.take(frame)
            self._heard(now_ms, whole=message is not None)
            if message is None:
                return LockStep(core)
            if (self.state, message[0]) not in MOVES:
                raise PeerProtocolError(f"message {message[0]:#04x} while {self.state.name}")
        except PeerProtocolError as error:
            self._end(ErrorCode.MALFORMED)
            return LockStep(core, fault=str(error))
        if message[0] == MessageKind.FAST:
            return self._on_fast(message, core, sensed, now_ms)
        if message[0] == MessageKind.OPEN:
            return self._on_open(message, core, sensed, now_ms)
        return self._on_command(message[:1], message[1:], core, sensed, now_ms)

    def on_time(self, *, now_ms: int) -> bool:
        """Learn the time; harmless to call early or twice. True once the link is to be dropped for silence."""
        if self.deadline_ms is None or now_ms < self.deadline_ms:
            return False
        self.state, self.deadline_ms = State.OVER, None
        return True

    def data_to_send(self) -> list[bytes]:
        """Drain the frames that the caller must send: one notification each, or the stream's next bytes."""
        frames, self._outbox = self._outbox, []
        return frames

    def _heard(self, now_ms: int, *, whole: bool) -> None:
        """Put the deadline off, as far as the state and a message that is not whole yet allow."""
        self._put_off(now_ms)
        if self.state is State.CHALLENGED or self.state is State.REFERRED:
            self._end_by(self._challenged_until_ms)
        if whole or self._frame_bytes is not None:
            self._part_until_ms = None
            return
        if self._part_until_ms is None:
            self._part_until_ms = now_ms + MESSAGE_WAIT_MS
        self._end_by(self._part_until_ms)

    def _put_off(self, now_ms: int) -> None:
        self.deadline_ms = min(now_ms + SILENCE_MS, self._link_until_ms)

    def _end_by(self, at_ms: int) -> None:
        self.deadline_ms = at_ms if self.deadline_ms is None else min(self.deadline_ms, at_ms)

    def _say(self, message: bytes) -> None:
        if self._frame_bytes is None:
            self._outbox.append(prefixed(message, ANSWER_BYTES_MOST))
        else:
            self._outbox += cut(message, self._frame_bytes)

    def _on_fast(self, message: bytes, core: LockCore, sensed: Sensed, now_ms: int) -> LockStep:
        """Open, or refer the phone to the full exchange. The throttle does not matter: it guards public-key work."""
        head, tag = message[: 2 + ID_BYTES], message[2 + ID_BYTES :]
        if len(message) != FAST_BYTES or head[-1] > 1:
            self._end(ErrorCode.MALFORMED)
            return LockStep(core, fault=f"FAST of {len(message)} bytes, or with flags {head[-1]:#04x}")
        outcome = None
        if (known := found(core.passes, head[1 : 1 + ID_BYTES])) is not None:
            held, secret = known
            identity = self._identity
            keys = fast_keys(secret, identity.lock_id, identity.s_lock, self._challenge, head)
            if proves(keys, tag):
                outcome = core.opens_again(
                    identity, held, secret, keys.following, sensed, now_ms=now_ms, user_verified=bool(head[-1])
                )
            else:
                core = core.heard_noise()
        if outcome is None:
            self.state = State.REFERRED
            self._say(bytes([MessageKind.ERROR, ErrorCode.NEED_FULL, 0]))
            return LockStep(core)
        self._keys, self._opened, self.state = keys.session, True, State.OPEN
        self._put_off(now_ms)
        return self._answer(outcome, sensed, now_ms, quick=True)

    def _on_open(self, message: bytes, core: LockCore, sensed: Sensed, now_ms: int) -> LockStep:
        header = message[: 1 + POINT_BYTES + _GATE_TAG_BYTES]
        e_phone, tag = header[1 : 1 + POINT_BYTES], header[1 + POINT_BYTES :]
        if not hmac.compare_digest(tag, gate_tag(self._gate, self._nonce, e_phone)):
            self._end(None)  # an outsider: no answer, no public-key work, no influence on anybody else
            return LockStep(core.heard_noise(), fault="gate tag does not fit")
        paused = core.throttle.wait_ms(now_ms) > 0
        by_lot = paused and let_through(self._random(1))  # drawn now: who hears CHAL cannot tell a lot that wins
        if paused and not by_lot:
            return self._busy(core, now_ms)
        try:
            phone = public_key(e_phone)
        except PeerProtocolError as error:
            return self._failed(core, str(error), sensed, now_ms, by_lot=by_lot)
        identity = self._identity
        self._keys = session_keys(
            shared(identity.static, phone),
            shared(self._ephemeral, phone),
            transcript_of(identity.lock_id, identity.s_lock, self._challenge, e_phone),
        )
        return self._on_command(header, message[len(header) :], core, sensed, now_ms, by_lot=by_lot)

    def _on_command(
        self, header: bytes, sealed: bytes, core: LockCore, sensed: Sensed, now_ms: int, *, by_lot: bool = False
    ) -> LockStep:
        """Run one command. `by_lot`: it is an OPEN within a pause, and what is refused of it leaves no trace."""
        keys = self._session()
        counter = keys.to_lock.counter
        try:
            plaintext = keys.to_lock.open(sealed, header)
        except PeerProtocolError as error:
            return self._failed(core, str(error), sensed, now_ms, by_lot=by_lot)
        self.state = State.OPEN
        self._put_off(now_ms)
        try:
            records_most = RECORDS_IN_CHUNK_MOST if self._frame_bytes is not None else RECORDS_IN_CHANNEL_MOST
            command = decode_command(plaintext, records_most=records_most)
            opens = isinstance(command, UnlockCommand) or (isinstance(command, LatchCommand) and command.hold)
            if opens and self._opened:
                raise PeerProtocolError("a second UNLOCK or LATCH after the door was opened")
        except UnsupportedVersionError:
            return self._answer(Outcome(core, Status.UNSUPPORTED_VERSION), sensed, now_ms, by_lot=by_lot)
        except PeerProtocolError as error:
            return self._failed(core, str(error), sensed, now_ms, by_lot=by_lot)
        quick = isinstance(command, StatusCommand | ResumeCommand)
        if not quick and not by_lot and core.throttle.wait_ms(now_ms) > 0:  # else one link could do what many may not
            return self._busy(core, now_ms)
        match command:
            case UnlockCommand() | LatchCommand():
                outcome = self._presented(command, counter, core, sensed, now_ms)
                if outcome.motor:
                    self._opened, self._opened_by = True, outcome.opened
                return self._answer(_traceless(outcome, core, by_lot), sensed, now_ms, by_lot=by_lot, before=core)
            case CarryCommand(signed, certificate, form):
                whole = self._whole(certificate, form, core)
                if whole is None:
                    return self._answer(Outcome(core, Status.NEED_CERTIFICATE), sensed, now_ms)
                outcome = core.carried(self._identity, signed, whole, self._nonce, sensed)
                return self._answer(_traceless(outcome, core, by_lot), sensed, now_ms, by_lot=by_lot, before=core)
            case FetchCommand(after_seq, most):
                sealed_chunk = seal_chunk(
                    core.chunk(self._identity, after_seq, most, sensed),
                    audit_key=self._identity.audit,
                    edge_key=self._identity.seal_key,
                    ephemeral=private_key(self._random),
                )
                return self._answer(Outcome(core, Status.DONE), sensed, now_ms, sealed_chunk)
            case StatusCommand():
                return self._answer(Outcome(core, Status.DONE), sensed, now_ms)
            case ResumeCommand():
                outcome = Outcome(core, Status.NOT_ALLOWED)
                if self._opened_by is not None:
                    outcome = core.resumes(self._identity, keys.resumption, *self._opened_by, sensed)
                return self._answer(outcome, sensed, now_ms, by_lot=by_lot, quick=True)

    def _presented(
        self, command: UnlockCommand | LatchCommand, counter: int, core: LockCore, sensed: Sensed, now_ms: int
    ) -> Outcome:
        whole = self._whole(command.certificate, command.form, core)
        if whole is None:
            return Outcome(core, Status.NEED_CERTIFICATE)
        transcript, verified = self._session().transcript, command.user_verified
        hold = command.hold if isinstance(command, LatchCommand) else None
        if hold is None:
            statement = unlock_statement(transcript, counter, command.grant, user_verified=verified)
        else:
            statement = latch_statement(transcript, counter, command.grant, hold=hold, user_verified=verified)
        return core.present(
            self._identity,
            command.grant,
            whole,
            lambda point: cose.verify_raw(public_key(point), command.signature, statement),
            sensed,
            now_ms=now_ms,
            user_verified=verified,
            latch=hold,
        )

    def _answer(
        self,
        outcome: Outcome,
        sensed: Sensed,
        now_ms: int,
        rest: bytes = b"",
        *,
        by_lot: bool = False,
        before: LockCore | None = None,
        quick: bool = False,
    ) -> LockStep:
        core = outcome.core
        if outcome.status.reason is not None and not by_lot:
            core = core.failed(now_ms, sensed, before)
        plaintext = core.result(outcome.status, sensed).encode() + rest
        sealed = self._session().to_phone.seal(plaintext, _RESULT)
        self._say(_RESULT + sealed)
        return LockStep(core, motor=outcome.motor, status=outcome.status, quick=quick, latch=outcome.latch)

    def _busy(self, core: LockCore, now_ms: int) -> LockStep:
        """Public-key work has to wait: the link is over, and the phone told for how long at most."""
        self._end(ErrorCode.BUSY, -(-core.throttle.wait_ms(now_ms) // 1_000))
        return LockStep(core, fault="throttled")

    def _failed(self, core: LockCore, fault: str, sensed: Sensed, now_ms: int, *, by_lot: bool) -> LockStep:
        """Somebody behind the gate broke the protocol: no answer; it counts, but for one let through by lot."""
        self._end(None)
        return LockStep(core if by_lot else core.failed(now_ms, sensed), fault=fault)

    def _whole(self, certificate: bytes, form: CertificateForm, core: LockCore) -> bytes | None:
        return certificate if form is CertificateForm.WHOLE else core.certificate_of(self._identity, certificate)

    def _session(self) -> SessionKeys:
        if self._keys is None:
            raise LocalProtocolError("no session before OPEN")
        return self._keys

    def _end(self, code: ErrorCode | None, detail: int = 0) -> None:
        self.state, self.deadline_ms = State.OVER, None
        if code is not None:
            self._say(bytes([MessageKind.ERROR, code, min(detail, 255)]))


def _traceless(outcome: Outcome, before: LockCore, by_lot: bool) -> Outcome:
    """Return what a command let through by lot came to: a refusal changes nothing, and spends no flash."""
    return Outcome(before, outcome.status) if by_lot and outcome.status.reason is not None else outcome


def advert(identity: LockIdentity, core: LockCore, sensed: Sensed, *, channel: int = 0) -> Advert:
    """Return what the lock shows now: its rotating id, or the fallback id while its time is uncertain.

    `channel` is the offset of its L2CAP port, 0 for none: the same at all locks of one firmware.
    """
    time = core.time(sensed.rtc_s)
    uncertain = time.quality is TimeQuality.UNCERTAIN
    key = _advert_key(identity, core, sensed)
    bits = AdvertBit(0)
    if sensed.battery_percent is not None and sensed.battery_percent <= BATTERY_LOW_PERCENT:
        bits |= AdvertBit.BATTERY_LOW
    if uncertain:
        bits |= AdvertBit.TIME_UNCERTAIN
    if core.wants_sync(sensed.rtc_s):
        bits |= AdvertBit.WANTS_SYNC
    if sensed.privacy:
        bits |= AdvertBit.PRIVACY_ON
    return Advert(fallback_id(key) if uncertain else eid(key, time.now_s), bits, channel)


def _advert_key(identity: LockIdentity, core: LockCore, sensed: Sensed) -> bytes:
    """Return the key behind the advert and the gate: this week's, or the fallback while time is uncertain."""
    time = core.time(sensed.rtc_s)
    if time.quality is TimeQuality.UNCERTAIN:
        return fallback_key(identity.eik_root, identity.lock_id)
    return weekly_eik(identity.eik_root, identity.lock_id, week_of(time.now_s))
