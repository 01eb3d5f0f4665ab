"""Nights in a hotel, in every order: the generation rule against the recodable-lock model, without NoIntervening.

The classic model (a card holds an old and a new number; the lock takes the new one and forgets the old) is safe only
if nobody comes between check-in and first entry. Here anybody may: guests present in any order, early, late, after
check-out; bumps arrive late or twice; the clock drifts ten times worse than its crystal and is lost; power goes.
What must hold:

* no grant opens whose generation is older than one that has opened or been bumped to;
* nobody is evicted by a stay that has not begun, and nobody enters before;
* nobody enters after his end and leeway while the lock knows the time;
* a guest in house with the newest begun generation always gets in while privacy is off (nobody is locked out).
"""

from dataclasses import dataclass, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.status import Status
from protocols.grant.certificate import certify
from protocols.grant.generation import following
from protocols.grant.grant import Grant, sign_grant
from protocols.grant.keys import SIGNS_S, IssuerClass, private_key
from protocols.grant.lock_time import TimeQuality
from protocols.grant.revocation import Bump, TimeBeacon, sign_object
from protocols.vectors.fixed import AT_S, DAY_S, FixedIssuer, fixed_hotel, stream
from tests.seeds import THOROUGH

HOTEL = fixed_hotel()
LOCK = HOTEL.room_101
GUEST_LEEWAY_S = 600
HOUR_S = 3_600


@dataclass(frozen=True)
class Stay:
    """A guest's stay as the desk knows it, and the grant that the phone holds."""

    grant: Grant
    signed: bytes
    issuer: FixedIssuer


class Nights(RuleBasedStateMachine):
    """One room, one lock, one desk with a true clock."""

    stays = Bundle("stays")

    @initialize(drift_ppm=st.integers(-200, 200))
    def build(self, drift_ppm: int) -> None:
        self.drift_ppm = drift_ppm
        self.true_s, self.rtc_base_s, self.rtc_s = AT_S, AT_S, 0
        self.core = LockCore.fresh(LOCK, AT_S, 0)
        self.issuers: dict[IssuerClass, FixedIssuer] = {}
        self.highest = 0
        self.reached = 0  # the highest generation that opened or was bumped to, by the model's own count
        self.ended: set[int] = set()
        self.bumps: list[tuple[Bump, int]] = []
        self.privacy = False
        self.unsynced_s = 0
        self.issued = 0

    # --- the desk ---

    def issuer(self, issuer_class: IssuerClass) -> FixedIssuer:
        held = self.issuers.get(issuer_class)
        if held is None or self.true_s - held.certificate.not_before_s >= SIGNS_S:
            key = private_key(stream(f"{issuer_class} {self.true_s}"))
            held = FixedIssuer(key, certify(HOTEL.ca, key.public_key(), issuer_class, self.true_s))
            self.issuers[issuer_class] = held
        return held

    @rule(target=stays, ahead_h=st.sampled_from([0, 0, 0, 5, 24, 48]), nights=st.integers(1, 3))
    def check_in(self, ahead_h: int, nights: int) -> Stay:
        self.issued += 1
        self.highest = following(self.highest, self.true_s)
        begins_s = self.true_s + ahead_h * HOUR_S
        grant = HOTEL.grant(
            grant_id=self.issued.to_bytes(8, "big"),
            issued_at_s=self.true_s,
            not_before_s=begins_s,
            not_after_s=begins_s + nights * DAY_S,
            generation=self.highest,
        )
        issuer = self.issuer(IssuerClass.GUEST)
        return Stay(grant, sign_grant(grant, issuer.key), issuer)

    @rule(target=stays, stay=stays)
    def renew(self, stay: Stay) -> Stay:
        """The phone was on line: the same right, signed anew today."""
        if self.true_s >= stay.grant.not_after_s:
            return stay
        issuer = self.issuer(IssuerClass.GUEST)
        grant = replace(stay.grant, issued_at_s=self.true_s, grant_id=self.true_s.to_bytes(8, "big"))
        return Stay(grant, sign_grant(grant, issuer.key), issuer)

    @rule(stay=stays)
    def check_out(self, stay: Stay) -> None:
        generation = stay.grant.generation
        if generation in self.ended:
            return
        self.ended.add(generation)
        ends_with = generation + 1 if self.highest > generation else self.highest + 1
        self.highest = max(self.highest, ends_with)
        self.bumps.append((Bump(101, ends_with), self.true_s))

    @precondition(lambda self: self.bumps)
    @rule(data=st.data())
    def a_bump_arrives_perhaps_late_or_twice(self, data: st.DataObject) -> None:
        bump, _ = data.draw(st.sampled_from(self.bumps))
        issuer = self.issuer(IssuerClass.REVOCATION)  # signed anew for each visit
        outcome = self.core.carried(
            LOCK, sign_object(bump, issuer.key, self.true_s), issuer.certificate.encoded, bytes(16), self.sensed
        )
        self.core = outcome.core
        if outcome.status is Status.DONE:
            assert bump.generation > self.reached
            self.reached = bump.generation
        elif outcome.status is Status.UNCHANGED:
            assert bump.generation <= self.reached
        else:
            assert not self.lock_is_certain()

    # --- the door ---

    @property
    def sensed(self) -> Sensed:
        return Sensed(self.rtc_s, self.privacy)

    def lock_is_certain(self) -> bool:
        return self.core.time(self.rtc_s).quality is not TimeQuality.UNCERTAIN

    def error_s(self) -> int:
        """How wrong the lock's clock may be by the model's own count."""
        return abs(self.drift_ppm) * self.unsynced_s // 1_000_000 + 2

    @rule(stay=stays)
    def present(self, stay: Stay) -> None:
        grant, before = stay.grant, self.core
        certain = self.lock_is_certain()
        outcome = before.present(
            LOCK,
            stay.signed,
            stay.issuer.certificate.encoded,
            lambda point: point == grant.phone,
            self.sensed,
            now_ms=0,
        )
        self.core = outcome.core
        begun = grant.not_before_s <= self.true_s
        if outcome.motor:
            assert not self.privacy
            assert grant.generation >= self.reached
            assert grant.generation == self.core.generation
            if certain:
                assert self.true_s <= grant.not_after_s + GUEST_LEEWAY_S + self.error_s()
                assert grant.not_before_s <= self.true_s + GUEST_LEEWAY_S + self.error_s()
            if grant.generation > self.reached:
                assert grant.not_before_s <= self.true_s + self.error_s()  # nobody is evicted early
            self.reached = grant.generation
            return
        assert self.core.generation == before.generation
        must_open = (
            certain
            and not self.privacy
            and grant.generation >= self.reached
            and begun
            and self.true_s <= grant.not_after_s - self.error_s()
            and grant.not_before_s <= self.true_s - self.error_s()
        )
        if grant.generation == self.reached and not self.privacy and self.true_s < grant.not_after_s - self.error_s():
            must_open = must_open or not certain  # a known guest is not locked out by a lost clock
        assert not must_open, (outcome.status, certain, self.true_s - grant.not_before_s)

    @rule()
    def privacy_knob(self) -> None:
        self.privacy = not self.privacy

    # --- time and power ---

    @rule(seconds=st.sampled_from([30, 300, HOUR_S, 7 * HOUR_S, DAY_S]))
    def wait(self, seconds: int) -> None:
        self.true_s += seconds
        self.unsynced_s += seconds
        self.rtc_s += seconds + round(seconds * self.drift_ppm / 1_000_000)

    @rule(off_h=st.sampled_from([0, 1, 30, 80]))
    def the_clock_is_lost(self, off_h: int) -> None:
        """The battery was dead for so long."""
        self.true_s += off_h * HOUR_S
        self.unsynced_s += off_h * HOUR_S
        self.rtc_s = 0
        self.core = self.core.restarted(self.sensed)

    @rule()
    def the_edge_answers_with_the_time(self) -> None:
        issuer = self.issuer(IssuerClass.REVOCATION)
        beacon = sign_object(TimeBeacon(bytes(16)), issuer.key, self.true_s)
        outcome = self.core.carried(LOCK, beacon, issuer.certificate.encoded, bytes(16), self.sensed)
        assert outcome.status is Status.DONE
        self.core, self.unsynced_s = outcome.core, 0
        assert self.core.time(self.rtc_s).now_s == self.true_s

    @rule()
    def power_goes_between_two_writes(self) -> None:
        self.core = LockCore.decode(self.core.encode())

    @invariant()
    def the_lock_and_the_model_agree(self) -> None:
        if hasattr(self, "core"):
            assert self.core.generation == self.reached
            assert self.core.floor_s <= self.true_s


TestNights = pytest.mark.guarantee("G4")(pytest.mark.requirement("P5", "P8", "ACC-02")(Nights.TestCase))
TestNights.settings = settings(max_examples=250 if THOROUGH else 40, stateful_step_count=50, deadline=None)
