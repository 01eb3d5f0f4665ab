"""A hotel whose every key and nonce is fixed, so that its vectors are the same on every machine.

The stream is SHA-256(seed | 4-byte counter), block after block; each draw begins a new block. Never for real keys.
"""

import hashlib
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from protocols import cose
from protocols.door.bundle import Bundle, BundleDoor
from protocols.door.fast import Resumption
from protocols.door.identity import LockIdentity, generate_lock_for
from protocols.door.lock import LockExchange, LockStep
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.messages import CertificateForm
from protocols.door.phone import Answer, Latch, PhoneExchange, Request, Unlock
from protocols.grant.certificate import IssuerCertificate, certify
from protocols.grant.generation import day_of
from protocols.grant.grant import Approval, Grant, GrantFlag, Shift, approval_statement, sign_grant
from protocols.grant.keys import (
    IssuerClass,
    PropertyCa,
    Random,
    compressed,
    generate_property_ca,
    kid_of,
    private_key,
)
from protocols.grant.revocation import Body, sign_object

AT_S: Final = 1_800_000_000
"""2027-01-15T08:00:00Z: the vectors' present."""
DAY_S: Final = 86_400
RTC_S: Final = 5_000
"""What the locks' RTC counts at AT_S."""
POOL_ZONE: Final = 0b100
TONIGHT: Final = day_of(AT_S) << 8
"""The first generation of the vectors' day."""


def stream(seed: str) -> Random:
    """Return a fixed source of bytes."""
    counter = 0

    def draw(size: int) -> bytes:
        nonlocal counter
        drawn = b""
        while len(drawn) < size:
            drawn += hashlib.sha256(seed.encode() + counter.to_bytes(4, "big")).digest()
            counter += 1
        return drawn[:size]

    return draw


@dataclass(frozen=True, slots=True)
class FixedIssuer:
    """A class's key and certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: IssuerCertificate


@dataclass(frozen=True, slots=True)
class FixedHotel:
    """A property CA, one issuer a class, two rooms, a pool, two phones."""

    ca: PropertyCa
    issuers: dict[IssuerClass, FixedIssuer]
    room_101: LockIdentity
    room_102: LockIdentity
    pool: LockIdentity
    phone: ec.EllipticCurvePrivateKey
    stranger: ec.EllipticCurvePrivateKey
    officers: tuple[ec.EllipticCurvePrivateKey, ...]
    """Three; any two approve an emergency grant."""

    @property
    def guest(self) -> FixedIssuer:
        """The guest issuer."""
        return self.issuers[IssuerClass.GUEST]

    @property
    def revocation(self) -> FixedIssuer:
        """The revocation issuer."""
        return self.issuers[IssuerClass.REVOCATION]

    def grant(self, **changes: object) -> Grant:
        """Return tonight's guest grant for room 101 and the pool, with `changes`."""
        values: dict[str, object] = {
            "grant_id": bytes.fromhex("a1a2a3a4a5a6a7a8"),
            "issued_at_s": AT_S,
            "not_before_s": AT_S,
            "not_after_s": AT_S + 3 * DAY_S,
            "phone": compressed(self.phone.public_key()),
            "rooms": (101,),
            "zones": POOL_ZONE,
            "generation": TONIGHT,
        }
        return Grant(**{**values, **changes})  # type: ignore[arg-type]  # changes by name

    def unlock(
        self,
        grant: Grant | None = None,
        *,
        key: ec.EllipticCurvePrivateKey | None = None,
        issuer: FixedIssuer | None = None,
        form: CertificateForm = CertificateForm.WHOLE,
        user_verified: bool = False,
        resumption: Resumption | None = None,
    ) -> Unlock:
        """Return the request of a phone that holds `grant`."""
        issuer = issuer or self.guest
        certificate = issuer.certificate
        return Unlock(
            sign_grant(grant or self.grant(), issuer.key),
            certificate.encoded if form is CertificateForm.WHOLE else certificate.kid,
            partial(cose.sign_raw, key or self.phone),
            form,
            user_verified,
            resumption,
        )

    def latch(self, grant: Grant, *, hold: bool = True, issuer: FixedIssuer | None = None) -> Latch:
        """Return the request of a phone that wants a common door held open, or let go."""
        issuer = issuer or self.issuers[IssuerClass.STAFF]
        sign = partial(cose.sign_raw, self.phone)
        return Latch(hold, sign_grant(grant, issuer.key), issuer.certificate.encoded, sign)

    def porter(self, **changes: object) -> Grant:
        """Return a porter's grant: the pool, which he may latch open until two in the afternoon."""
        values: dict[str, object] = {
            "rooms": (),
            "generation": 0,
            "flags": GrantFlag.STAFF | GrantFlag.PASSAGE,
            "shift": Shift(0b1111111, 360, 840),
            "not_after_s": AT_S + 12 * 3_600,
            "grant_id": bytes.fromhex("c1c2c3c4c5c6c7c8"),
        }
        return self.grant(**{**values, **changes})

    def emergency(self, *signers: ec.EllipticCurvePrivateKey, **changes: object) -> Grant:
        """Return an emergency grant for room 101, approved by `signers`: the first two officers by default."""
        values: dict[str, object] = {
            "zones": 0,
            "generation": 0,
            "flags": GrantFlag.EMERGENCY | GrantFlag.PRIVACY_OVERRIDE,
            "not_after_s": AT_S + 900,
            "grant_id": bytes.fromhex("e1e2e3e4e5e6e7e8"),
        }
        draft = self.grant(**{**values, **changes})
        return approved(draft, *(signers or self.officers[:2]))

    def signed(self, body: Body, at_s: int = AT_S) -> bytes:
        """Return `body` signed by the revocation class."""
        return sign_object(body, self.revocation.key, at_s)


def approved(draft: Grant, *signers: ec.EllipticCurvePrivateKey) -> Grant:
    """Return `draft` with the approvals of `signers`."""
    statement = approval_statement(draft)
    approvals = [Approval(kid_of(key.public_key()), cose.sign_raw(key, statement)) for key in signers]
    return replace(draft, approvals=tuple(sorted(approvals, key=lambda each: each.kid)))


def fixed_hotel(at_s: int = AT_S) -> FixedHotel:
    """Make the hotel; always the same. Its issuers began to sign at `at_s`."""
    ca = generate_property_ca("aurora", stream("property ca"))
    officers = tuple(private_key(stream(f"officer {number}")) for number in range(3))
    points = [compressed(key.public_key()) for key in officers]
    issuers: dict[IssuerClass, FixedIssuer] = {}
    for issuer_class in IssuerClass:
        key = private_key(stream(f"issuer {issuer_class.name}"))
        listed = points if issuer_class is IssuerClass.EMERGENCY else ()
        issuers[issuer_class] = FixedIssuer(key, certify(ca, key.public_key(), issuer_class, at_s, officers=listed))
    return FixedHotel(
        ca=ca,
        issuers=issuers,
        room_101=generate_lock_for(ca, stream("lock 101"), room=101),
        room_102=generate_lock_for(ca, stream("lock 102"), room=102),
        pool=generate_lock_for(ca, stream("lock pool"), zones=POOL_ZONE),
        phone=private_key(stream("phone")),
        stranger=private_key(stream("stranger")),
        officers=officers,
    )


def fresh_core(lock: LockIdentity, at_s: int = AT_S) -> LockCore:
    """Return the memory of a lock provisioned an hour ago."""
    return LockCore.fresh(lock, at_s - 3_600, RTC_S - 3_600)


@dataclass(slots=True)
class Meeting:
    """A phone and a lock in one room: runs an exchange and writes down every frame."""

    lock: LockIdentity
    core: LockCore
    sensed: Sensed = Sensed(RTC_S)  # noqa: RUF009 - frozen
    frame_bytes: int | None = 244
    """None: in the L2CAP channel."""
    seed: str = "exchange"
    now_ms: int = 1_000
    frames: list[tuple[str, bytes]] = field(default_factory=list)
    steps: list[LockStep] = field(default_factory=list)
    lock_side: LockExchange | None = None
    phone_side: PhoneExchange | None = None

    def run(self, *requests: Request, knows: LockIdentity | None = None, at_s: int = AT_S) -> list[Answer]:
        """Run one link with these requests, one after the other; return the answers that came.

        Args:
            requests: The first goes with OPEN.
            knows: Whose keys the phone holds; the lock's own by default.
            at_s: For which time its bundle was made.
        """
        keys = (knows or self.lock).door_keys(at_s, at_s)
        lock = LockExchange(self.lock, random=stream(f"{self.seed} lock"), frame_bytes=self.frame_bytes)
        phone = PhoneExchange(
            keys,
            requests[0],
            random=stream(f"{self.seed} phone"),
            frame_bytes=self.frame_bytes,
            now_ms=self.now_ms,
        )
        self.lock_side, self.phone_side = lock, phone
        lock.begin(core=self.core, sensed=self.sensed, now_ms=self.now_ms)
        answers: list[Answer] = []
        while True:
            from_lock = lock.data_to_send()
            for frame in from_lock:
                self.frames.append(("lock", frame))
                answer = phone.receive_data(frame, now_ms=self.now_ms)
                if answer is not None:
                    answers.append(answer)
                    if len(answers) < len(requests):
                        phone.ask(requests[len(answers)], now_ms=self.now_ms)
            from_phone = phone.data_to_send()
            for frame in from_phone:
                self.frames.append(("phone", frame))
                step = lock.receive_data(frame, core=self.core, sensed=self.sensed, now_ms=self.now_ms)
                self.core = step.core
                self.steps.append(step)
            if not from_lock and not from_phone:
                return answers

    @property
    def kept(self) -> bytes:
        """The secret that the phone keeps of the lock, empty for none."""
        held = None if self.phone_side is None else self.phone_side.resumption
        return b"" if held is None else held.secret

    @property
    def opened(self) -> int:
        """How often the motor moved."""
        return sum(step.motor for step in self.steps)


def bundle_of(hotel: FixedHotel, locks: tuple[LockIdentity, ...], grant: Grant) -> Bundle:
    """Return the bundle of `grant` with these locks' keys."""
    return Bundle(
        stay="stay-1",
        grant=sign_grant(grant, hotel.guest.key),
        certificate=hotel.guest.certificate.encoded,
        not_before_ms=grant.not_before_s * 1_000,
        not_after_ms=grant.not_after_s * 1_000,
        doors=tuple(
            BundleDoor(
                f"door-{lock.room or 'pool'}",
                f"Room {lock.room}" if lock.room else "Pool",
                lock.door_keys(grant.not_before_s, grant.not_after_s),
            )
            for lock in locks
        ),
    )
