"""Vectors of protocols/grant: a table of judgements, which grant opens which door when."""

from dataclasses import asdict, replace
from typing import Any

from protocols.grant.certificate import IssuerCertificate
from protocols.grant.grant import Grant, GrantFlag, Shift
from protocols.grant.judge import DoorState, judge
from protocols.grant.keys import IssuerClass
from protocols.grant.lock_time import LockTime, TimeQuality
from protocols.vectors.fixed import AT_S, DAY_S, POOL_ZONE, TONIGHT, fixed_hotel
from protocols.vectors.grant_vectors import HOUR_S, plain


def judgements() -> dict[str, Any]:
    """Which grant opens which door when, with what it changes."""
    hotel = fixed_hotel()
    guest = hotel.guest.certificate
    staff = hotel.issuers[IssuerClass.STAFF].certificate
    alarm = hotel.issuers[IssuerClass.EMERGENCY].certificate
    at_once = LockTime(AT_S + 60, AT_S, TimeQuality.FRESH)
    at_101 = DoorState(room=101, generation=TONIGHT)
    now = LockTime(AT_S + HOUR_S, AT_S, TimeQuality.FRESH)
    drifted = LockTime(AT_S + 3 * DAY_S, AT_S, TimeQuality.DRIFTING, drift_s=300)
    lost = LockTime(AT_S - HOUR_S, AT_S - HOUR_S, TimeQuality.UNCERTAIN)
    newer = hotel.grant(generation=TONIGHT + 1)
    on_staff = hotel.grant(
        rooms=(),
        ranges=((101, 199),),
        generation=0,
        flags=GrantFlag.STAFF,
        not_after_s=AT_S + 8 * HOUR_S,
        shift=Shift(0b0010000, 480, 840),  # AT_S is a Friday, 08:00
    )
    grant_id = hotel.grant().grant_id
    sealed = DoorState(101, generation=TONIGHT, locked_out=True)
    pool = DoorState(zones=POOL_ZONE)
    porter = replace(on_staff, ranges=(), zones=POOL_ZONE, flags=GrantFlag.STAFF | GrantFlag.PASSAGE)
    failsafe = hotel.grant(not_before_s=AT_S - DAY_S, life_hours=24)
    drifted_not = LockTime(now.now_s + 60, AT_S, TimeQuality.FRESH)

    def began(at_s: int) -> DoorState:
        return DoorState(101, generation=TONIGHT, begun={grant_id: at_s})

    cases: dict[str, tuple[Grant, IssuerCertificate, DoorState, LockTime, bool]] = {
        "same generation opens": (hotel.grant(), guest, at_101, now, False),
        "older generation is superseded": (hotel.grant(), guest, DoorState(101, generation=TONIGHT + 1), now, False),
        "newer generation promotes": (newer, guest, at_101, now, False),
        "the first guest of a new lock promotes": (hotel.grant(), guest, DoorState(room=101), now, False),
        "newer but not begun does not promote": (
            hotel.grant(generation=TONIGHT + 1, not_before_s=AT_S + 5 * HOUR_S),
            guest,
            at_101,
            now,
            False,
        ),
        "newer and one second early does not promote: no leeway": (
            hotel.grant(generation=TONIGHT + 1, not_before_s=now.now_s + 1),
            guest,
            at_101,
            now,
            False,
        ),
        "same generation a minute early opens: leeway": (
            hotel.grant(not_before_s=now.now_s + 60),
            guest,
            at_101,
            now,
            False,
        ),
        "same generation 61 seconds early does not": (
            hotel.grant(not_before_s=now.now_s + 61),
            guest,
            at_101,
            now,
            False,
        ),
        "newer with the deadbolt thrown does not promote": (
            newer,
            guest,
            DoorState(101, generation=TONIGHT, privacy=True),
            now,
            False,
        ),
        "privacy keeps the guest's own grant out too": (
            hotel.grant(),
            guest,
            DoorState(101, generation=TONIGHT, privacy=True),
            now,
            False,
        ),
        "a generation of the day after tomorrow is refused": (
            hotel.grant(generation=TONIGHT + 512),
            guest,
            at_101,
            now,
            False,
        ),
        "a generation of tomorrow is taken": (hotel.grant(generation=TONIGHT + 256), guest, at_101, now, False),
        "another room": (hotel.grant(), guest, DoorState(room=102), now, False),
        "the pool by zone, whatever the generation": (
            hotel.grant(),
            guest,
            DoorState(zones=POOL_ZONE | 1),
            now,
            False,
        ),
        "another zone": (hotel.grant(), guest, DoorState(zones=1), now, False),
        "withdrawn": (
            hotel.grant(),
            guest,
            DoorState(101, generation=TONIGHT, revoked=frozenset({grant_id})),
            now,
            False,
        ),
        "expired within drift and leeway opens": (
            hotel.grant(not_after_s=AT_S + 3 * DAY_S - 600),
            guest,
            at_101,
            drifted,
            False,
        ),
        "expired beyond the most leeway": (
            hotel.grant(not_after_s=AT_S + 3 * DAY_S - 601),
            guest,
            at_101,
            drifted,
            False,
        ),
        "no time: same generation opens": (hotel.grant(), guest, at_101, lost, False),
        "no time: a grant issued at check-in raises the floor and promotes": (newer, guest, at_101, lost, False),
        "no time: a grant of later tonight does not promote": (
            hotel.grant(generation=TONIGHT + 1, not_before_s=AT_S + HOUR_S),
            guest,
            at_101,
            lost,
            False,
        ),
        "no time: expired before the floor": (
            hotel.grant(not_before_s=AT_S - 2 * HOUR_S, not_after_s=AT_S),
            guest,
            at_101,
            LockTime(AT_S, AT_S, TimeQuality.UNCERTAIN),
            False,
        ),
        "no time, more than 48 hours behind: the floor stays, the known guest still opens": (
            hotel.grant(),
            guest,
            at_101,
            LockTime(AT_S - 3 * DAY_S, AT_S - 3 * DAY_S, TimeQuality.UNCERTAIN),
            False,
        ),
        "no time, more than 48 hours behind: a newer guest needs the clock set first": (
            newer,
            guest,
            at_101,
            LockTime(AT_S - 3 * DAY_S, AT_S - 3 * DAY_S, TimeQuality.UNCERTAIN),
            False,
        ),
        "certain time: issued more than 48 hours ahead is doubted": (
            hotel.grant(),
            guest,
            at_101,
            LockTime(AT_S - 3 * DAY_S, AT_S - 3 * DAY_S, TimeQuality.FRESH),
            False,
        ),
        "no time: staff wait": (on_staff, staff, DoorState(room=101), lost, False),
        "no time: a guest's key for certain hours waits too": (
            hotel.grant(shift=Shift(0b0010000, 0, 1439)),
            guest,
            at_101,
            lost,
            False,
        ),
        "staff on shift": (on_staff, staff, DoorState(room=101, generation=TONIGHT + 9), now, False),
        "staff after the shift": (
            on_staff,
            staff,
            DoorState(room=101),
            LockTime(AT_S + 6 * HOUR_S, AT_S, TimeQuality.FRESH),
            False,
        ),
        "staff powers from a guest issuer": (on_staff, guest, DoorState(room=101), now, False),
        "a guest grant from the revocation class": (
            hotel.grant(),
            hotel.revocation.certificate,
            at_101,
            now,
            False,
        ),
        "emergency opens, whatever the generation": (hotel.emergency(), alarm, at_101, at_once, False),
        "emergency opens over privacy": (
            hotel.emergency(),
            alarm,
            DoorState(101, generation=TONIGHT, privacy=True),
            at_once,
            False,
        ),
        "emergency without override respects privacy": (
            hotel.emergency(flags=GrantFlag.EMERGENCY),
            alarm,
            DoorState(101, privacy=True),
            at_once,
            False,
        ),
        "emergency, its last second": (
            hotel.emergency(),
            alarm,
            at_101,
            LockTime(AT_S + 900, AT_S, TimeQuality.FRESH),
            False,
        ),
        "emergency, a second later: no leeway": (
            hotel.emergency(),
            alarm,
            at_101,
            LockTime(AT_S + 901, AT_S, TimeQuality.FRESH),
            False,
        ),
        "emergency of a lock whose clock is behind: its own iat is enough": (
            hotel.emergency(),
            alarm,
            at_101,
            LockTime(AT_S - 50, AT_S - 50, TimeQuality.DRIFTING, drift_s=52),
            False,
        ),
        "emergency, no time": (hotel.emergency(), alarm, at_101, lost, False),
        "emergency for more than 15 minutes": (
            hotel.emergency(not_after_s=AT_S + 901),
            alarm,
            at_101,
            at_once,
            False,
        ),
        "emergency without its flag": (
            hotel.emergency(flags=GrantFlag.PRIVACY_OVERRIDE),
            alarm,
            at_101,
            at_once,
            False,
        ),
        "emergency with a generation": (hotel.emergency(generation=TONIGHT), alarm, at_101, at_once, False),
        "emergency, another room": (hotel.emergency(), alarm, DoorState(room=102), at_once, False),
        "emergency, withdrawn": (
            hotel.emergency(),
            alarm,
            DoorState(101, revoked=frozenset({hotel.emergency().grant_id})),
            at_once,
            False,
        ),
        "approvals under a guest grant": (
            hotel.grant(approvals=hotel.emergency().approvals),
            guest,
            at_101,
            now,
            False,
        ),
        "privacy override under a guest issuer": (
            hotel.grant(flags=GrantFlag.PRIVACY_OVERRIDE),
            guest,
            DoorState(101, generation=TONIGHT, privacy=True),
            now,
            False,
        ),
        "privacy override under a staff issuer": (
            replace(on_staff, flags=GrantFlag.STAFF | GrantFlag.PRIVACY_OVERRIDE),
            staff,
            DoorState(room=101, privacy=True),
            now,
            False,
        ),
        "emergency flag under a staff issuer": (
            replace(on_staff, flags=GrantFlag.STAFF | GrantFlag.EMERGENCY),
            staff,
            DoorState(room=101),
            now,
            False,
        ),
        "staff respect privacy": (on_staff, staff, DoorState(room=101, privacy=True), now, False),
        "issued outside its issuer's window": (
            hotel.grant(issued_at_s=AT_S + 26 * HOUR_S),
            guest,
            at_101,
            LockTime(AT_S + 27 * HOUR_S, AT_S, TimeQuality.FRESH),
            False,
        ),
        "longer than its class allows": (
            hotel.grant(not_after_s=AT_S + 14 * DAY_S + 1),
            guest,
            at_101,
            now,
            False,
        ),
        "once: the first time": (hotel.grant(flags=GrantFlag.ONE_SHOT), guest, at_101, now, False),
        "once: the second time": (
            hotel.grant(flags=GrantFlag.ONE_SHOT),
            guest,
            DoorState(101, generation=TONIGHT, uses={grant_id: 1}),
            now,
            False,
        ),
        "once: asked again within 10 s, the answer was lost": (
            hotel.grant(flags=GrantFlag.ONE_SHOT),
            guest,
            DoorState(101, generation=TONIGHT, uses={grant_id: 1}, just_used=frozenset({grant_id})),
            now,
            False,
        ),
        "its issuer withdrawn: refused before anything else is believed": (
            hotel.grant(rooms=(102,), zones=0),
            guest,
            DoorState(101, generation=TONIGHT, withdrawn=frozenset({guest.kid})),
            lost,
            False,
        ),
        "another issuer withdrawn": (
            hotel.grant(),
            guest,
            DoorState(101, generation=TONIGHT, withdrawn=frozenset({staff.kid})),
            now,
            False,
        ),
        "locked out: a guest": (hotel.grant(), guest, sealed, now, False),
        "locked out: even one who was replaced": (hotel.grant(generation=TONIGHT - 1), guest, sealed, now, False),
        "locked out: a newer guest does not promote": (newer, guest, sealed, now, False),
        "locked out: staff": (on_staff, staff, sealed, now, False),
        "locked out: emergency opens": (hotel.emergency(), alarm, sealed, at_once, False),
        "locked out: the wrong door is told first": (hotel.grant(rooms=(102,), zones=0), guest, sealed, now, False),
        "locked out: a withdrawn grant is told first": (
            hotel.grant(),
            guest,
            DoorState(101, generation=TONIGHT, locked_out=True, revoked=frozenset({grant_id})),
            now,
            False,
        ),
        "failsafe: the first time": (failsafe, guest, at_101, now, False),
        "failsafe: within its hours": (failsafe, guest, began(now.now_s - 24 * HOUR_S), drifted_not, False),
        "failsafe: over, beyond leeway": (failsafe, guest, began(now.now_s - 24 * HOUR_S - 61), now, False),
        "failsafe: never used, but the grant itself is over": (
            replace(failsafe, not_after_s=now.now_s - 61),
            guest,
            at_101,
            now,
            False,
        ),
        "failsafe: the lock remembers sixteen others": (
            failsafe,
            guest,
            DoorState(101, generation=TONIGHT, begun={bytes([n] * 8): AT_S for n in range(16)}),
            now,
            False,
        ),
        "failsafe: no time, within its hours by the floor": (
            failsafe,
            guest,
            began(AT_S - HOUR_S),
            LockTime(AT_S, AT_S, TimeQuality.UNCERTAIN),
            False,
        ),
        "failsafe hours under a staff issuer": (
            replace(on_staff, life_hours=24),
            staff,
            DoorState(room=101),
            now,
            False,
        ),
        "passage: the pool is latched": (porter, staff, pool, now, False),
        "passage: the same key opens it once": (porter, staff, pool, now, False),
        "passage: a key without the flag": (replace(porter, flags=GrantFlag.STAFF), staff, pool, now, False),
        "passage: the guest's own key": (hotel.grant(), guest, pool, now, False),
        "passage: after the shift": (
            porter,
            staff,
            pool,
            LockTime(AT_S + 6 * HOUR_S, AT_S, TimeQuality.FRESH),
            False,
        ),
        "passage: locked out": (porter, staff, pool._replace(locked_out=True), now, False),
        "passage: no time": (porter, staff, pool, lost, False),
        "passage flag with a private room": (replace(porter, rooms=(101,)), staff, pool, now, False),
        "passage flag with a range of rooms": (replace(porter, ranges=((101, 199),)), staff, pool, now, False),
        "passage flag with a use limit": (replace(porter, uses_most=5), staff, pool, now, False),
        "passage flag, once": (replace(porter, flags=porter.flags | GrantFlag.ONE_SHOT), staff, pool, now, False),
        "passage flag under a guest issuer": (
            hotel.grant(rooms=(), generation=0, flags=GrantFlag.PASSAGE),
            guest,
            pool,
            now,
            False,
        ),
        "passage flag under an emergency issuer": (
            hotel.emergency(rooms=(), zones=POOL_ZONE, flags=GrantFlag.EMERGENCY | GrantFlag.PASSAGE),
            alarm,
            pool,
            at_once,
            False,
        ),
        "user not verified": (hotel.grant(flags=GrantFlag.NEEDS_USER_VERIFICATION), guest, at_101, now, False),
        "user verified": (hotel.grant(flags=GrantFlag.NEEDS_USER_VERIFICATION), guest, at_101, now, True),
    }
    table: list[dict[str, Any]] = []
    for name, (grant, certificate, door, time, user_verified) in cases.items():
        latch = name.startswith("passage:") and "once" not in name
        verdict = judge(grant, certificate, door, time, user_verified=user_verified, latch=latch)
        table.append(
            {
                "name": name,
                "grant": plain(asdict(grant)),
                "issuer": certificate.issuer_class.name.lower(),
                "door": plain(door._asdict()),
                "time": plain(time._asdict()),
                "user_verified": user_verified,
                "latch": latch,
                "verdict": {
                    "reason": plain(verdict.reason),
                    "promotes_to": verdict.promotes_to,
                    "counts_use": verdict.counts_use,
                    "begins": verdict.begins,
                    "floor_s": verdict.time.floor_s,
                },
            }
        )
    return {
        "about": "Judgements (protocols/grant/SPEC.md 9): reason null means the door opens.",
        "issuers": {each.name.lower(): issuer.certificate.encoded.hex() for each, issuer in hotel.issuers.items()},
        "judgements": table,
    }


def files() -> dict[str, dict[str, Any]]:
    """Return the file made here, by name."""
    return {"grant/judgements.json": judgements()}
