"""Vectors of protocols/door: what closes doors and what holds them: withdrawals, lockouts, passages, failsafe keys."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from protocols.door.fast import Resumption
from protocols.door.hardware import Bolt
from protocols.door.identity import LockIdentity
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.phone import AskStatus, Carry, Request, Resume
from protocols.grant.grant import GrantFlag
from protocols.grant.keys import IssuerClass
from protocols.grant.revocation import REVOKED_MOST, SEQ_AHEAD_MOST_S, Body, Lockout, Revocations
from protocols.vectors.door_vectors import PRESENT, exchange, used_core
from protocols.vectors.fixed import AT_S, DAY_S, RTC_S, Meeting, fixed_hotel, fresh_core


def exchanges() -> dict[str, dict[str, Any]]:
    """Return every exchange, by file name."""
    hotel = fixed_hotel()
    lock, pool, used = hotel.room_101, hotel.pool, used_core(hotel)
    guest, staff, alarm = hotel.guest, hotel.issuers[IssuerClass.STAFF], hotel.issuers[IssuerClass.EMERGENCY]
    carrier = hotel.revocation.certificate
    met = Meeting(lock, used, PRESENT, seed="met")
    met.run(hotel.unlock(), Resume())
    resumed = hotel.unlock(resumption=Resumption(met.kept))

    def carry(body: Body) -> Carry:
        return Carry(hotel.signed(body), carrier.encoded)

    def gone(*kids: bytes, seq: int = AT_S) -> Carry:
        return carry(Revocations(seq, (), tuple((kid, AT_S + DAY_S) for kid in kids)))

    others = ((bytes.fromhex("b1b2b3b4b5b6b7b8"), AT_S + DAY_S),)
    withdrawn = (hotel.grant().grant_id, AT_S + DAY_S)
    many = tuple((at.to_bytes(8, "big"), AT_S + DAY_S) for at in range(REVOKED_MOST))
    first, second = Revocations(AT_S, others), Revocations(AT_S + 1, (withdrawn,), after=AT_S)
    sealed, porter, at_pool = replace(used, lockout_seq=AT_S, locked_out=True), hotel.porter(), fresh_core(pool)
    latch, let_go = hotel.latch(porter), hotel.latch(porter, hold=False)
    failsafe = hotel.grant(life_hours=24, grant_id=bytes.fromhex("f1f2f3f4f5f6f7f8"))
    begun = Meeting(lock, used, PRESENT, seed="begun")
    begun.run(hotel.unlock(failsafe))
    later = replace(PRESENT, rtc_s=RTC_S + 24 * 3_600)
    cases: dict[str, tuple[str, LockIdentity, LockCore, Sequence[Request], Sensed]] = {
        "carry_issuer_withdrawn": (
            "An issuer's certificate is withdrawn: every grant of it is refused on the same link.",
            lock,
            used,
            [gone(guest.certificate.kid), hotel.unlock()],
            PRESENT,
        ),
        "carry_issuer_withdrawn_fast": (
            "Its phones come back by FAST and are referred: a newly withdrawn issuer ends every pass.",
            lock,
            replace(met.core, issuers=((guest.certificate.kid, AT_S + DAY_S),), passes=()),
            [resumed],
            PRESENT,
        ),
        "carry_issuer_withdrawn_resume": (
            "Its phone opened on this link before the list came: no pass is kept, for it would outlive the list.",
            lock,
            used,
            [hotel.unlock(), gone(guest.certificate.kid), Resume()],
            PRESENT,
        ),
        "carry_issuer_not_freed": (
            "A later list without issuers, such as the plain one of a pair, takes none of them back.",
            lock,
            replace(used, revocation_seq=AT_S, issuers=((guest.certificate.kid, AT_S + DAY_S),)),
            [carry(Revocations(AT_S + 1, ())), hotel.unlock()],
            PRESENT,
        ),
        "carry_own_issuer_withdrawn": (
            "A list that withdraws its own signer counts; nothing signed by it is taken afterwards.",
            lock,
            used,
            [gone(carrier.kid), carry(Revocations(AT_S + 1, ()))],
            PRESENT,
        ),
        "carry_revocations_old": (
            "A list with the number that the lock has is old news.",
            lock,
            replace(used, revocation_seq=AT_S),
            [gone(guest.certificate.kid)],
            PRESENT,
        ),
        "carry_revocations_ahead": (
            "A list numbered a second more than a day beyond its own iat spends nobody's numbers.",
            lock,
            used,
            [gone(guest.certificate.kid, seq=AT_S + SEQ_AHEAD_MOST_S + 1)],
            PRESENT,
        ),
        "carry_revocations_continued": (
            "A list and what continues it: grants of both are withdrawn, and only its last number says that all are.",
            lock,
            met.core,
            [carry(first), carry(second), hotel.unlock()],
            PRESENT,
        ),
        "carry_revocations_continued_unheld": (
            "What continues a list that the lock does not hold is not taken: the list comes first.",
            lock,
            replace(used, revocation_seq=AT_S - 1),
            [carry(second), carry(first), carry(second)],
            PRESENT,
        ),
        "carry_revocations_continued_full": (
            "A lock keeps 128 withdrawn grants, and takes no part that would make them more.",
            lock,
            replace(used, revocation_seq=AT_S, revoked=many[1:]),
            [carry(second), carry(replace(second, entries=many[:2], after=AT_S + 1, seq=AT_S + 2))],
            PRESENT,
        ),
        "carry_revocations_continued_fast": (
            "A grant that a continuation names comes back by FAST and is referred: its pass is gone.",
            lock,
            replace(met.core, revocation_seq=AT_S + 1, revoked=(*others, withdrawn), passes=()),
            [resumed],
            PRESENT,
        ),
        "carry_lockout": (
            "The room is sealed: its guest is refused, two officers open.",
            lock,
            used,
            [
                carry(Lockout(lock.lock_id, AT_S, True)),
                hotel.unlock(),
                hotel.unlock(hotel.emergency(), issuer=alarm),
            ],
            PRESENT,
        ),
        "carry_lockout_lifted": (
            "Sealed no longer.",
            lock,
            sealed,
            [carry(Lockout(lock.lock_id, AT_S + 1, False)), hotel.unlock()],
            PRESENT,
        ),
        "carry_lockout_old": (
            "The word that sealed it, carried again after it was lifted, changes nothing.",
            lock,
            replace(used, lockout_seq=AT_S + 1),
            [carry(Lockout(lock.lock_id, AT_S, True)), hotel.unlock()],
            PRESENT,
        ),
        "carry_lockout_elsewhere": (
            "Room 101's lockout at the door of 102.",
            hotel.room_102,
            fresh_core(hotel.room_102),
            [carry(Lockout(lock.lock_id, AT_S, True))],
            PRESENT,
        ),
        "carry_lockout_ahead": (
            "A lockout numbered beyond its day.",
            lock,
            used,
            [carry(Lockout(lock.lock_id, AT_S + SEQ_AHEAD_MOST_S + 1, True))],
            PRESENT,
        ),
        "fast_locked_out": (
            "FAST at a sealed door is referred to the full exchange, which tells why.",
            lock,
            replace(met.core, lockout_seq=AT_S, locked_out=True),
            [resumed],
            PRESENT,
        ),
        "latch": (
            "The pool is held open from now on; LATCH gives no pass.",
            pool,
            at_pool,
            [latch, AskStatus(), Resume()],
            PRESENT,
        ),
        "latch_ended": ("Held, and let go on the same link.", pool, at_pool, [latch, let_go], PRESENT),
        "latch_ended_without": ("Nothing to let go.", pool, at_pool, [let_go], PRESENT),
        "latch_ended_by_withdrawal": (
            "The passage ends when its grant is withdrawn.",
            pool,
            at_pool,
            [latch, carry(Revocations(AT_S, ((porter.grant_id, AT_S + DAY_S),)))],
            PRESENT,
        ),
        "latch_ended_by_withdrawn_issuer": (
            "Or its issuer.",
            pool,
            at_pool,
            [latch, gone(staff.certificate.kid)],
            PRESENT,
        ),
        "latch_ended_by_lockout": (
            "Or when the door is sealed.",
            pool,
            at_pool,
            [latch, carry(Lockout(pool.lock_id, AT_S, True))],
            PRESENT,
        ),
        "latch_over_power_loss": (
            "The power was gone while it was held: the log says that it ended, and nothing is held.",
            pool,
            _latched(pool, at_pool, latch).restarted(Sensed(0)),
            [AskStatus()],
            replace(PRESENT, rtc_s=9, bolt=Bolt.LOCKED),
        ),
        "refused_latch_without_flag": (
            "A staff key without the flag opens once, and does not latch.",
            pool,
            at_pool,
            [hotel.latch(hotel.porter(flags=GrantFlag.STAFF))],
            PRESENT,
        ),
        "refused_latch_out_of_hours": (
            "After the shift.",
            pool,
            at_pool,
            [latch],
            replace(PRESENT, rtc_s=RTC_S + 6 * 3_600),
        ),
        "refused_latch_at_a_room": (
            "A passage key that names a room is nobody's.",
            lock,
            used,
            [hotel.latch(hotel.porter(rooms=(101,)))],
            PRESENT,
        ),
        "failsafe": (
            "A key made before the outage: its 24 hours begin now. It has no pass.",
            lock,
            used,
            [hotel.unlock(failsafe), Resume()],
            PRESENT,
        ),
        "failsafe_last": ("Its last second and a minute of leeway.", lock, begun.core, [hotel.unlock(failsafe)], later),
        "refused_failsafe_over": (
            "Two minutes after its 24 hours, though the grant itself would last.",
            lock,
            begun.core,
            [hotel.unlock(failsafe)],
            replace(later, rtc_s=later.rtc_s + 120),
        ),
    }
    return {
        name: exchange(name, about, each, core, requests, sensed=sensed)
        for name, (about, each, core, requests, sensed) in cases.items()
    }


def _latched(lock: LockIdentity, core: LockCore, latch: Request) -> LockCore:
    meeting = Meeting(lock, core, PRESENT, seed="latched")
    meeting.run(latch)
    return meeting.core


def files() -> dict[str, dict[str, Any]]:
    """Return the files of protocols/vectors/door made here, by name."""
    return {f"door/exchange_{name}.json": document for name, document in exchanges().items()}
