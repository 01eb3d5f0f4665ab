"""A phone that opens doors: the real exchange over bleak, timed step by step.

Holds its P-256 key in memory as a phone's secure element would: it signs and never shows it. What cannot have reached
the lock is tried again here, a few times and within a deadline. So is what may have opened the door, because to a lock
that is the same use; only where no try was answered is the guest asked to try the handle. A lock that is busy is asked
again soon: somebody else makes it pause, and the lot lets one in four through (SPEC.md 7 of protocols/door).
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any, Final

from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakBluetoothNotAvailableError, BleakError

from firmware_bridges.ble_radio.backend import BleBackend, ChannelTerms
from firmware_bridges.guest_phone.sentences import Cause
from firmware_bridges.innkeeper_lock.link import TERMS, DoorLink
from kit.clock import Clock
from kit.dice import Dice
from protocols import cose
from protocols.door.advert import SERVICE_UUID, Advert
from protocols.door.bundle import Bundle, BundleDoor
from protocols.door.channel import CHANNEL_REST_MS
from protocols.door.fast import Resumption
from protocols.door.messages import CertificateForm, Result
from protocols.door.phone import ANSWER_WAIT_MS, CHALLENGE_WAIT_MS, Answer, Latch, PhoneExchange, Resume, Unlock
from protocols.door.status import Status
from protocols.errors import (
    CredentialRefusedError,
    LinkLostError,
    PeerProtocolError,
    RefusalReason,
    ReplyTimeoutError,
)
from protocols.grant.grant import issuer_kid
from protocols.grant.keys import compressed, private_key
from protocols.grant.lock_time import TimeQuality

SCAN_WAIT_MS: Final = 4_000  # a sleeping lock adverts at least each second
OPEN_WAIT_MS: Final = 12_000  # after that the guest is told; all tries together
TRIES_MAX: Final = 3
BUSY_TRIES_MAX: Final = 16
"""Beside those, at a lock that asks to wait; within OPEN_WAIT_MS as all."""
BUSY_PAUSE_MS: Final = 250
WRITE_WAIT_MS: Final = 2_000
LEEWAY_MS: Final = 10 * 60_000  # the lock judges by its own clock: only what is far out is stopped here
"""The most a lock forgives a guest (protocols/grant/lock_time.py)."""


_OWN_DOING: Final = frozenset({RefusalReason.USED_UP, RefusalReason.BUSY})
"""Refusals that an own try whose answer was lost explains: they do not say that the door stayed shut."""


class Ending(StrEnum):
    """How an attempt ended."""

    OPENED = "opened"
    DONE = "done"
    """A door that was held open is held no longer, or was not."""
    REFUSED = "refused"
    """By the lock, which says why."""
    FAILED = "failed"
    """The lock was never asked."""
    UNKNOWN = "unknown"
    """It was asked, and the answer was lost."""


@dataclass(slots=True)
class Phases:
    """How long each phase of the last try took, in milliseconds; None: not reached."""

    scan_ms: int | None = None
    connect_ms: int | None = None
    """Link, MTU and discovery: bleak reports them as one. Or link and channel, until CHAL begins in it."""
    subscribe_ms: int | None = None
    """0 in the channel."""
    challenge_ms: int | None = None
    """From the subscription, or the channel's first bytes, to the lock's CHAL."""
    answer_ms: int | None = None
    """From CHAL to the lock's RESULT: our own work, the lock's, and the motor's start."""
    total_ms: int = 0
    """From the tap to the end, all tries."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What came of one tap."""

    ending: Ending
    door: str
    phases: Phases
    tries: int
    cause: RefusalReason | Cause | None = None
    detail: str = ""
    """For the log: what went wrong technically."""
    result: Result | None = None
    fast: bool = False
    """Without public-key work, because the lock knew the phone."""
    channel: bool = False
    """In the lock's L2CAP channel, not by GATT."""

    @property
    def spoken(self) -> str:
        """What the guest reads."""
        if self.ending is Ending.DONE:
            return "The door is held open no longer."
        return "The door is open." if self.cause is None else self.cause.spoken

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "ending": self.ending.value,
            "door": self.door,
            "reason": self.cause and self.cause.value,
            "spoken": self.spoken,
            "detail": self.detail,
            "tries": self.tries,
            "fast": self.fast,
            "channel": self.channel,
            "phases": asdict(self.phases),
            "battery_percent": self.result and self.result.battery_percent,
            "audit_seq": self.result and self.result.audit_seq,
            "generation": self.result and self.result.generation,
        }


class GuestPhone:
    """One phone.

    Args:
        backend: Its Bluetooth.
        clock: Its clock.
        dice: For its key and its ephemeral keys; must be fit for keys outside tests.
        resumes: Whether it asks locks to let it come back by FAST.
        channels: Whether it asks locks for their L2CAP channel, where its Bluetooth can open one.
        terms: What it announces there.
    """

    def __init__(
        self,
        backend: BleBackend,
        clock: Clock,
        dice: Dice,
        *,
        resumes: bool = True,
        channels: bool = True,
        terms: ChannelTerms = TERMS,
    ) -> None:
        self._backend, self._clock, self._dice, self._resumes = backend, clock, dice, resumes
        self._channels, self._terms = channels, terms
        self._channel_due_ms: dict[bytes, int] = {}
        """When a lock whose channel failed may be asked for it again."""
        self._bundle: Bundle | None = None
        self._sign: Callable[[bytes], bytes] | None = None
        self.public_key = ""
        self._certificate_known: set[bytes] = set()
        self._resumptions: dict[bytes, Resumption] = {}
        self._no_fast: set[bytes] = set()
        """Locks that know no RESUME, or keep no pass for this grant."""

    def new_key(self) -> str:
        """Make a key pair, forgetting the old one and its bundle. Returns the public point, 66 hex digits."""
        key = private_key(self._dice.bytes)
        self._sign = lambda message: cose.sign_raw(key, message)
        self.public_key = compressed(key.public_key()).hex()
        self._bundle = None
        self._forget()
        return self.public_key

    def load_bundle(self, document: object) -> Bundle:
        """Take over a bundle (or its renewal). Raises InvalidInputError or UnsupportedVersionError."""
        self._bundle = Bundle.from_document(document)
        self._forget()
        return self._bundle

    def _forget(self) -> None:
        """Another grant: what locks were told of the one before is worth nothing."""
        for known in (self._certificate_known, self._resumptions, self._no_fast):
            known.clear()

    def preflight(self, door: str) -> Cause | None:
        """Say what stands in the way before anything is sent; None: nothing that a phone can know."""
        bundle = self._bundle
        if self._sign is None:
            return Cause.NO_KEY
        if bundle is None:
            return Cause.NO_BUNDLE
        if all(each.door != door for each in bundle.doors):
            return Cause.UNKNOWN_DOOR
        now_ms = self._clock.wall_ms()
        if now_ms < bundle.not_before_ms - LEEWAY_MS:
            return Cause.NOT_YET_VALID
        if now_ms > bundle.not_after_ms + LEEWAY_MS:
            return Cause.EXPIRED
        return None

    async def open(self, door: str, *, user_verified: bool = False, hold: bool | None = None) -> Opening:
        """Open `door`, as after a tap. Never raises for what the air or the lock does.

        `hold`: by LATCH instead: hold a common door open from now on (True), or let it go.
        """
        began_ms = self._clock.now_ms()
        phases, tries = Phases(), 0
        if (cause := self.preflight(door)) is not None:
            return Opening(Ending.FAILED, door, phases, tries, cause)
        bundle, sign = self._bundle, self._sign
        assert bundle is not None and sign is not None  # noqa: S101, PT018 - preflight says so
        [wanted] = [each for each in bundle.doors if each.door == door][:1]
        lost: LinkLostError | None = None
        unanswered: ReplyTimeoutError | None = None
        waits: Opening | None = None
        cause = Cause.LINK_LOST
        busy = 0
        while tries - busy < TRIES_MAX and busy < BUSY_TRIES_MAX and self._clock.now_ms() - began_ms < OPEN_WAIT_MS:
            tries, phases = tries + 1, Phases()
            try:
                ask = partial(self._request, bundle, sign, user_verified, hold)
                opening = await self._try(wanted, ask, began_ms=began_ms, phases=phases, tries=tries)
                if opening.cause is RefusalReason.BUSY and opening.result is None:  # a hint: the lock ran nothing
                    busy, waits, lost = busy + 1, opening, None
                    await asyncio.sleep(BUSY_PAUSE_MS / 1_000)
                elif unanswered is None or opening.cause not in _OWN_DOING:
                    return opening
            except _NotHeardError as error:
                lost, cause = error, Cause.OUT_OF_REACH
            except LinkLostError as error:
                lost, cause = error, Cause.LINK_LOST
            except ReplyTimeoutError as error:
                unanswered = error  # asking again is harmless: SPEC.md 7 of protocols/door
            except BleakBluetoothNotAvailableError as error:
                ending, cause, detail = Ending.FAILED, Cause.NO_BLUETOOTH, str(error)
                break
            except PeerProtocolError as error:
                ending, cause, detail = Ending.FAILED, Cause.NOT_THE_LOCK, str(error)
                break
        else:
            if waits is not None and lost is None and unanswered is None:
                return waits
            ending, detail = Ending.FAILED, str(lost)
        if unanswered is not None:  # whatever the later tries met: the first may have opened the door
            ending, cause, detail = Ending.UNKNOWN, Cause.NO_ANSWER, str(unanswered)
        phases.total_ms = self._clock.now_ms() - began_ms
        return Opening(ending, door, phases, tries, cause, detail)

    async def _try(
        self,
        wanted: BundleDoor,
        ask: "Callable[[bool], Unlock | Latch]",
        *,
        began_ms: int,
        phases: Phases,
        tries: int,
    ) -> Opening:
        clock, lock_id = self._clock, wanted.keys.lock_id
        start_ms = clock.now_ms()
        device, offset = await self._find(wanted)
        found_ms = clock.now_ms()
        phases.scan_ms = found_ms - start_ms
        if not self._channels or found_ms < self._channel_due_ms.get(lock_id, found_ms):
            offset = 0
        if offset:  # taken back where it did work: whatever else happens, the next try goes by GATT
            self._channel_due_ms[lock_id] = found_ms + CHANNEL_REST_MS
        async with DoorLink(self._backend, device, clock, channel=offset, terms=self._terms) as link:
            times = link.times
            if times.connected_ms is not None and times.subscribed_ms is not None:
                phases.connect_ms = times.connected_ms - found_ms
                phases.subscribe_ms = times.subscribed_ms - times.connected_ms
            talk = _Talk(link, clock, phases)
            known = lock_id in self._certificate_known
            first = ask(not known)
            if isinstance(first, Unlock):  # there is no LATCH by FAST
                first = replace(first, resumption=self._resumptions.get(lock_id))
            exchange = PhoneExchange(
                wanted.keys,
                first,
                random=self._dice.bytes,
                frame_bytes=link.frame_bytes,
                now_ms=clock.now_ms(),
            )
            try:
                answer = await talk.until_answered(exchange)
                if answer.result.status is Status.NEED_CERTIFICATE:
                    self._certificate_known.discard(lock_id)  # a pause may hold up MORE: then the next try brings it
                    exchange.ask(ask(True), now_ms=clock.now_ms())
                    answer = await talk.until_answered(exchange)
            except CredentialRefusedError as refused:
                phases.total_ms = clock.now_ms() - began_ms
                return Opening(Ending.REFUSED, wanted.door, phases, tries, refused.reason, channel=link.in_channel)
            finally:
                if isinstance(first, Unlock):
                    self._keep(lock_id, exchange)
            phases.total_ms = clock.now_ms() - began_ms
            if link.in_channel:
                self._channel_due_ms.pop(lock_id, None)
            if answer.result.status is Status.OPENED and not answer.fast and isinstance(first, Unlock):
                await self._resume(lock_id, _Talk(link, clock, Phases()), exchange)
        result = answer.result
        if result.status is Status.OPENED:
            self._certificate_known.add(lock_id)
            return Opening(
                Ending.OPENED, wanted.door, phases, tries, result=result, fast=answer.fast, channel=link.in_channel
            )
        if isinstance(first, Latch) and not first.hold and result.status in (Status.DONE, Status.UNCHANGED):
            self._certificate_known.add(lock_id)
            return Opening(Ending.DONE, wanted.door, phases, tries, result=result, channel=link.in_channel)
        reason = result.status.reason
        if reason is None:
            raise PeerProtocolError(f"the lock answered {result.status.name} to {type(first).__name__.upper()}")
        return Opening(Ending.REFUSED, wanted.door, phases, tries, reason, result=result, channel=link.in_channel)

    def _keep(self, lock_id: bytes, exchange: PhoneExchange) -> None:
        if exchange.resumption is None:
            self._resumptions.pop(lock_id, None)
        else:
            self._resumptions[lock_id] = exchange.resumption

    async def _resume(self, lock_id: bytes, talk: "_Talk", exchange: PhoneExchange) -> None:
        """The door is open: ask the lock to know us the next time. Whatever comes of it, the door stays open."""
        if not self._resumes or lock_id in self._no_fast:
            return
        try:
            exchange.ask(Resume(), now_ms=self._clock.now_ms())
            answer = await talk.until_answered(exchange)
        except (LinkLostError, ReplyTimeoutError, PeerProtocolError, CredentialRefusedError):
            return
        result = answer.result
        if result.status is not Status.DONE and result.time_quality != TimeQuality.UNCERTAIN:
            self._no_fast.add(lock_id)  # a lock that lost its clock keeps no pass now, and will once it is set
        self._keep(lock_id, exchange)

    @staticmethod
    def _request(
        bundle: Bundle, sign: Callable[[bytes], bytes], user_verified: bool, hold: bool | None, whole: bool
    ) -> Unlock | Latch:
        """Return what is asked of the lock; `whole`: with the certificate, not its id alone."""
        certificate, form = (
            (bundle.certificate, CertificateForm.WHOLE) if whole else (issuer_kid(bundle.grant), CertificateForm.ID)
        )
        if hold is None:
            return Unlock(bundle.grant, certificate, sign, form, user_verified)
        return Latch(hold, bundle.grant, certificate, sign, form, user_verified)

    async def _find(self, wanted: BundleDoor) -> tuple[BLEDevice, int]:
        """Return the device that shows one of the door's ids, and its L2CAP port's offset. Raises LinkLostError."""
        ids = wanted.keys.ids_around(self._clock.wall_ms() // 1_000)
        found: asyncio.Future[tuple[BLEDevice, int]] = asyncio.get_running_loop().create_future()

        def on_advertisement(device: BLEDevice, data: AdvertisementData) -> None:
            if (shown := data.service_data.get(SERVICE_UUID)) is None or found.done():
                return
            try:
                advert = Advert.decode(shown)
                if advert.eid in ids:
                    found.set_result((device, advert.channel))
            except PeerProtocolError:
                return  # somebody else's, or noise: anybody may advert anything

        try:
            async with asyncio.timeout(SCAN_WAIT_MS / 1_000), self._backend.scanner(on_advertisement):
                return await found
        except TimeoutError as error:
            raise _NotHeardError(f"{wanted.door} was not heard within {SCAN_WAIT_MS} ms") from error
        except BleakBluetoothNotAvailableError:
            raise
        except BleakError as error:
            raise LinkLostError(f"scanning failed: {error}") from error


class _NotHeardError(LinkLostError):
    """No advert of the door."""


class _Talk:
    """The pump between one link and one exchange."""

    def __init__(self, link: DoorLink, clock: Clock, phases: Phases) -> None:
        self._link, self._clock, self._phases = link, clock, phases
        self._since_ms = clock.now_ms()

    async def until_answered(self, exchange: PhoneExchange) -> Answer:
        """Send and hear until the lock's answer is whole."""
        wait_ms = CHALLENGE_WAIT_MS if exchange.challenge is None else ANSWER_WAIT_MS
        while True:
            for frame in exchange.data_to_send():
                await self._link.write(frame, wait_ms=WRITE_WAIT_MS)
            if exchange.deadline_ms is not None:
                wait_ms = max(exchange.deadline_ms - self._clock.now_ms(), 0)
            frame = await self._link.read(wait_ms=wait_ms)
            answer = exchange.receive_data(frame, now_ms=self._clock.now_ms())
            if self._phases.challenge_ms is None and exchange.challenge is not None:
                now_ms = self._clock.now_ms()
                self._phases.challenge_ms, self._since_ms = now_ms - self._since_ms, now_ms
            if answer is not None:
                self._phases.answer_ms = self._clock.now_ms() - self._since_ms
                return answer
