"""Two judges, one page: they say the same of every vector and of whatever chance brings, floors and all."""

import json
import random
from pathlib import Path
from typing import Any, Final

import pytest

import protocols.vectors
from protocols.grant.certificate import IssuerCertificate, open_certificate
from protocols.grant.grant import Approval, Grant, GrantFlag, Shift
from protocols.grant.judge import DoorState, Verdict, judge
from protocols.grant.keys import VERIFY_S, IssuerClass, compressed
from protocols.grant.lock_time import LockTime, TimeQuality
from protocols.vectors.fixed import AT_S, DAY_S, POOL_ZONE, fixed_hotel
from tests.protocols.grant.second_judge import judged
from tests.seeds import seeds

HOTEL = fixed_hotel()
PHONE = compressed(HOTEL.phone.public_key())
HOLDERS: Final = tuple(bytes([number]) * 8 for number in range(5))
LIVES_S: Final = {
    IssuerClass.GUEST: 3 * DAY_S,
    IssuerClass.STAFF: 8 * 3_600,
    IssuerClass.EMERGENCY: 900,
    IssuerClass.REVOCATION: DAY_S,
}
OFTEN: Final = (IssuerClass.GUEST,) * 6 + (IssuerClass.STAFF,) * 3 + (IssuerClass.EMERGENCY,) * 3 + tuple(IssuerClass)
STEPS_S: Final = (
    0,
    0,
    0,
    1,
    -1,
    59,
    60,
    61,
    -60,
    119,
    120,
    121,
    599,
    600,
    601,
    3_600,
    -3_600,
    DAY_S,
    -DAY_S,
    172_800,
    172_801,
)
A_SEED: Final = 4_000


def told(verdict: Verdict) -> dict[str, Any]:
    return {
        "reason": verdict.reason and verdict.reason.value,
        "promotes_to": verdict.promotes_to,
        "counts_use": verdict.counts_use,
        "begins": verdict.begins,
        "floor_s": verdict.time.floor_s,
    }


def plain_issuer(certificate: IssuerCertificate) -> dict[str, Any]:
    return {
        "class": certificate.issuer_class.name.lower(),
        "nbf": certificate.not_before_s,
        "signs_until": certificate.signs_until_s,
        "exp": certificate.not_after_s,
        "iat": certificate.issued_at_s,
        "kid": certificate.kid.hex(),
    }


def cases() -> list[Any]:
    found = json.loads((Path(protocols.vectors.__file__).parent / "grant/judgements.json").read_text(encoding="utf-8"))
    ca_keys = {HOTEL.ca.kid: HOTEL.ca.ca.public_key()}
    issuers = {name: open_certificate(bytes.fromhex(each), ca_keys) for name, each in found["issuers"].items()}
    return [pytest.param(each, issuers[each["issuer"]], id=each["name"]) for each in found["judgements"]]


@pytest.mark.requirement("P4", "P5")
@pytest.mark.parametrize(("case", "certificate"), cases())
def test_the_second_judge_says_what_the_vectors_say(case: dict[str, Any], certificate: IssuerCertificate) -> None:
    grant, shift = case["grant"], case["grant"]["shift"]
    hours = None if shift is None else (shift["days"], shift["from_minute"], shift["to_minute"])
    said = judged(
        {**grant, "shift": hours},
        plain_issuer(certificate),
        case["door"],
        case["time"],
        verified=case["user_verified"],
        latch=case["latch"],
    )
    assert said == case["verdict"]


class Chance:
    """Grants, doors and clocks around each other's borders."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def happens(self, share: float) -> bool:
        return self._dice.random() < share

    def of(self, *choices: Any) -> Any:
        return self._dice.choice(choices)

    def near(self, *moments_s: int) -> int:
        return int(self.of(*moments_s) + self.of(*STEPS_S))

    def certificate(self) -> IssuerCertificate:
        of_class = self.of(*OFTEN)
        begins_s = AT_S + self.of(0, -3_600, -DAY_S, 3_600)
        until_s = begins_s + 25 * 3_600
        made_s = self.of(begins_s - 60, begins_s + 2 * DAY_S + 3_600) if self.happens(0.1) else begins_s
        ends_s = until_s + VERIFY_S[of_class] - self.of(0, 0, 3_600)
        point = HOTEL.issuers[of_class].certificate.point
        return IssuerCertificate(of_class, made_s, begins_s, until_s, ends_s, point, b"")

    def grant(self, issuer: IssuerCertificate, *, private: bool) -> Grant:
        of_class, begins_s, until_s = issuer.issuer_class, issuer.not_before_s, issuer.signs_until_s
        made_s = self.of(begins_s, begins_s + 60, until_s) if self.happens(0.95) else self.near(begins_s, until_s)
        from_s = made_s if self.happens(0.5) else self.near(made_s, AT_S)
        life_s = LIVES_S[of_class]
        to_s = from_s + life_s
        if self.happens(0.4):
            to_s = self.near(made_s + life_s, issuer.not_after_s, from_s + VERIFY_S[of_class], made_s + 900)
        flags = {IssuerClass.STAFF: 128, IssuerClass.EMERGENCY: 32}.get(of_class, 0)
        for bit in (1, 2, 4, 8, 16, 32, 128):
            flags ^= bit if self.happens(0.05) else 0
        rooms = (101,) if (private or self.happens(0.1)) and not flags & 8 and self.happens(0.9) else ()
        zones = self.of(0, POOL_ZONE, POOL_ZONE, POOL_ZONE, 8) if not private or self.happens(0.3) else 0
        counts = of_class is IssuerClass.GUEST or self.happens(0.03)
        number = made_s // DAY_S + self.of(0, 0, 0, 0, 1, 2, -1) << 8 | self.of(0, 1, 2)
        approved = (of_class is IssuerClass.EMERGENCY) != self.happens(0.03)
        return Grant(
            self.of(*HOLDERS), made_s, from_s, max(to_s, from_s + 1), PHONE, rooms,
            ((self.of(90, 101, 102), 200),) if self.happens(0.15) else (), zones,
            number if counts and self.happens(0.98) else 0, GrantFlag(flags),
            self.shift() if self.happens(0.2) else None,
            self.of(1, 2, 5) if self.happens(0.15) else None,
            (Approval(b"abcd", bytes(64)), Approval(b"abce", bytes(64))) if approved else (),
            self.of(1, 24, 72) if self.happens(0.12) else None,
        )  # fmt: skip

    def shift(self) -> Shift:
        return Shift(self.of(*range(1, 128)), self.of(*range(1_440)), self.of(*range(1_440)))

    def door(self, grant: Grant, *, private: bool) -> DoorState:
        number, made_s = grant.generation, grant.issued_at_s
        begun = {each: self.near(made_s, made_s + 3_600) for each in HOLDERS if self.happens(0.15)}
        uses = {each: self.of(1, 2, 3) for each in HOLDERS if self.happens(0.15)}
        if self.happens(0.05):
            begun = {bytes([99, each]) * 4: made_s for each in range(16)}
        if self.happens(0.05):
            uses = {bytes([98, each]) * 4: 1 for each in range(64)}
        return DoorState(
            room=101 if private else 0,
            zones=0 if private else POOL_ZONE,
            generation=self.of(0, number, number, max(0, number - 1), number + 1) if private else 0,
            privacy=self.happens(0.12),
            revoked=frozenset(each for each in HOLDERS if self.happens(0.04)),
            uses=uses,
            just_used=frozenset(each for each in HOLDERS if self.happens(0.05)),
            withdrawn=frozenset(each.certificate.kid for each in HOTEL.issuers.values() if self.happens(0.03)),
            locked_out=self.happens(0.08),
            begun=begun,
        )

    def time(self, grant: Grant, issuer: IssuerCertificate) -> LockTime:
        made_s, from_s, to_s = grant.issued_at_s, grant.not_before_s, grant.not_after_s
        floor_s = self.near(made_s, AT_S, from_s, to_s) if self.happens(0.6) else made_s - DAY_S
        now_s = max(floor_s, self.near(made_s, from_s, to_s, issuer.not_after_s, made_s + 3_600))
        return LockTime(now_s, floor_s, self.of(*TimeQuality), self.of(0, 0, 1, 30, 300))


@pytest.mark.guarantee("G4", "G5")
@pytest.mark.requirement("P4", "P5", "P8")
@pytest.mark.parametrize("seed", seeds(2, 40))
def test_both_judges_say_the_same_of_whatever_comes(seed: int) -> None:
    chance, reasons = Chance(seed), set[str | None]()
    for _ in range(A_SEED):
        private, issuer = chance.happens(0.7), chance.certificate()
        grant = chance.grant(issuer, private=private)
        door, time = chance.door(grant, private=private), chance.time(grant, issuer)
        verified = chance.happens(0.5)
        latch = chance.happens(0.5 if grant.flags & GrantFlag.PASSAGE else 0.03)
        first = told(judge(grant, issuer, door, time, user_verified=verified, latch=latch))
        shift = grant.shift
        second = judged(
            {
                "grant_id": grant.grant_id, "issued_at_s": grant.issued_at_s, "not_before_s": grant.not_before_s,
                "not_after_s": grant.not_after_s, "rooms": grant.rooms, "ranges": grant.ranges, "zones": grant.zones,
                "generation": grant.generation, "flags": int(grant.flags), "uses_most": grant.uses_most,
                "shift": None if shift is None else (shift.days, shift.from_minute, shift.to_minute),
                "approvals": grant.approvals, "life_hours": grant.life_hours,
            },
            plain_issuer(issuer),
            {
                "room": door.room, "zones": door.zones, "generation": door.generation, "privacy": door.privacy,
                "revoked": door.revoked, "uses": door.uses, "just_used": door.just_used, "begun": door.begun,
                "withdrawn": {each.hex() for each in door.withdrawn}, "locked_out": door.locked_out,
            },
            {"now_s": time.now_s, "floor_s": time.floor_s, "quality": int(time.quality), "drift_s": time.drift_s},
            verified=verified,
            latch=latch,
        )  # fmt: skip
        assert first == second, (grant, issuer, door, time, verified, latch)
        reasons.add(first["reason"])
    assert len(reasons) >= 13, "chance missed a refusal: it proves less than it says"
