"""The issuer keys of the day: made here, certified by the property CA, in memory alone, gone after their window.

Source of truth: protocols/grant/SPEC.md 4. A restart makes new keys: certifying costs 0.2 ms and no disk, and a disk
that never held a private key has none to steal. Nothing is signed while the clock is unsound (door.md 3.6).
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from edge.doors.errors import ClockUnsoundError
from edge.doors.store import DoorStore
from kit.clock import Clock, ClockQuality
from kit.dice import Dice
from protocols.grant.certificate import IssuerCertificate, certify, remembered
from protocols.grant.grant import issuer_kid
from protocols.grant.keys import SIGNS_S, IssuerClass, PropertyCa, private_key

BACKWARD_MOST_MS: Final = 5 * 60_000
"""The wall clock may be this much before the last signature; further back it is not believed."""
MADE_AT_MS: Final = 1_767_225_600_000
"""2026-01-01: no clock of a house is right that says a time before this program was made."""


@dataclass(frozen=True, slots=True, repr=False)
class Issuer:
    """A signing key in its window, and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: IssuerCertificate


class SoundTime:
    """The time to sign with, or a refusal: quality UNCERTAIN, behind what was signed before, or before us."""

    def __init__(self, clock: Clock, store: DoorStore) -> None:
        self._clock, self._store = clock, store
        self._sound: tuple[int, int] | None = None  # wall and monotonic ms, when both were last believed

    def at_ms(self) -> int:
        """Return unix milliseconds fit to sign with.

        Raises:
            ClockUnsoundError: names why.
        """
        if self._clock.quality is ClockQuality.UNCERTAIN:
            raise ClockUnsoundError("the edge's clock is not synchronised, or has just stepped: nothing is signed")
        at_ms, mark_ms = self._clock.wall_ms(), self._store.high_water_ms
        if at_ms < MADE_AT_MS:
            raise ClockUnsoundError(
                f"the edge's clock says {at_ms} ms, before this program was made: nothing is signed"
            )
        if at_ms < mark_ms - BACKWARD_MOST_MS:
            raise ClockUnsoundError(
                f"the edge's clock says {at_ms} ms, {mark_ms - at_ms} ms before its last signature: nothing is signed"
            )
        at_ms = max(at_ms, mark_ms)
        self._sound = at_ms, self._clock.now_ms()
        return at_ms

    def estimate_ms(self) -> int:
        """Return the best guess of unix milliseconds: fit to recognise and label, never to sign.

        While the wall clock is unsound: the last sound time carried on by the monotonic clock; before there was one,
        the wall clock, but not behind what was signed before. So a clock that jumps by years neither blinds the
        listener nor makes every lock look as if it lied.
        """
        try:
            return self.at_ms()
        except ClockUnsoundError:
            if self._sound is not None:
                return self._sound[0] + self._clock.now_ms() - self._sound[1]
            return max(self._clock.wall_ms(), self._store.high_water_ms)

    def is_sound(self) -> bool:
        """Whether `at_ms` would answer."""
        try:
            self.at_ms()
        except ClockUnsoundError:
            return False
        return True


class Issuers:
    """One issuer per class, renewed every 24 hours."""

    def __init__(self, ca: PropertyCa, dice: Dice, *, officers: Collection[bytes] = ()) -> None:
        """Certify under `ca`; `officers` are the compressed keys of those of whom two approve an emergency grant."""
        self._ca, self._dice = ca, dice
        self.officers = tuple(officers)
        self._held: dict[IssuerClass, list[Issuer]] = {}
        self._withdrawn: frozenset[bytes] = frozenset()

    def current(self, issuer_class: IssuerClass, at_s: int) -> Issuer:
        """Return the issuer that signs at `at_s` (sound time, unix seconds), making it when its turn has come."""
        self.expire(at_s)
        held = self._held.setdefault(issuer_class, [])
        if not held or not 0 <= at_s - held[-1].certificate.not_before_s < SIGNS_S:
            key = private_key(self._dice.bytes)
            officers = self.officers if issuer_class is IssuerClass.EMERGENCY else ()
            certificate = certify(self._ca, key.public_key(), issuer_class, at_s, officers=officers)
            held.append(Issuer(key, certificate))
        return held[-1]

    def since(self, issuer_class: IssuerClass, begun_s: int, at_s: int) -> Issuer:
        """Return the issuer for what was begun at `begun_s` and is signed now, `at_s`: its window holds both.

        Where the one of then is gone (the process was restarted) a new one is certified from then on: what it signs
        says the time at which it was begun, and a certificate that began later would not cover it.
        """
        self.expire(at_s)
        held = self._held.setdefault(issuer_class, [])
        for each in reversed(held):
            if each.certificate.not_before_s <= begun_s <= each.certificate.signs_until_s:
                return each
        key = private_key(self._dice.bytes)
        officers = self.officers if issuer_class is IssuerClass.EMERGENCY else ()
        issuer = Issuer(key, certify(self._ca, key.public_key(), issuer_class, begun_s, officers=officers))
        held.insert(0, issuer)
        return issuer

    def is_withdrawn(self, kid: bytes) -> bool:
        """Whether the issuer of this key id was withdrawn."""
        return kid in self._withdrawn

    def withdraw(self, kids: Collection[bytes]) -> None:
        """Forget the private keys with these ids, and never take what they signed for good again."""
        self._withdrawn = self._withdrawn | frozenset(kids)
        for issuer_class, held in self._held.items():
            self._held[issuer_class] = [each for each in held if each.certificate.kid not in self._withdrawn]

    def has_withdrawn(self, signed: bytes) -> bool:
        """Whether the issuer that `signed` names was withdrawn."""
        return bool(self._withdrawn) and issuer_kid(signed) in self._withdrawn

    def is_outlived(self, signed: bytes, certificate: bytes) -> bool:
        """Whether something signed here is to be signed anew: its issuer was withdrawn, or another CA certified it.

        A property changes its CA door by door: locks believe two, and in the end the older one no more.
        """
        return self.has_withdrawn(signed) or remembered(certificate).ca_kid != self._ca.kid

    def expire(self, at_s: int) -> int:
        """Let go of the keys whose window has passed; return how many."""
        gone = 0
        for issuer_class, held in self._held.items():
            kept = [each for each in held if each.certificate.not_before_s <= at_s <= each.certificate.signs_until_s]
            gone += len(held) - len(kept)
            self._held[issuer_class] = kept
        return gone

    def held(self) -> list[Issuer]:
        """Return every issuer whose private key is still here."""
        return [each for held in self._held.values() for each in held]
