"""The lock's memory: time that never runs below its floor, a log that shows every change, bounded whatever happens."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.door.advert import WEEK_S, eid, week_of, weekly_eik
from protocols.door.audit import (
    AuditBrokenError,
    AuditChunk,
    AuditEvent,
    AuditRecord,
    check_chain,
    check_follows,
    genesis,
    link,
    open_chunk,
    seal_chunk,
)
from protocols.door.hardware import Bolt
from protocols.door.identity import LockIdentity, generate_lock_for
from protocols.door.lock import advert
from protocols.door.lock_core import LockCore, Outcome
from protocols.door.lock_memory import LOST_AT_ONCE, RECORDS_MOST, Passage, Sensed
from protocols.door.messages import RECORDS_IN_CHANNEL_MOST, RECORDS_IN_CHUNK_MOST, Result
from protocols.door.phone import Resume
from protocols.door.status import Status
from protocols.door.throttle import Throttle
from protocols.errors import PeerProtocolError, RefusalReason
from protocols.grant.grant import GrantFlag
from protocols.grant.judge import USES_KEPT_MOST
from protocols.grant.keys import private_key
from protocols.grant.lock_time import FRESH_S, TimeQuality
from protocols.grant.revocation import REVOCATIONS_MOST, Acknowledgement, Body, Bump, Revocations, TimeBeacon
from protocols.vectors.fixed import AT_S, DAY_S, RTC_S, TONIGHT, Meeting, fixed_hotel, fresh_core, stream

HOTEL = fixed_hotel()
LOCK = HOTEL.room_101
NOW = Sensed(RTC_S)


def carried(core: LockCore, body: Body, at_s: int = AT_S, sensed: Sensed = NOW, nonce: bytes = bytes(16)) -> Outcome:
    hotel = fixed_hotel(at_s - at_s % DAY_S)
    return core.carried(LOCK, hotel.signed(body, at_s), hotel.revocation.certificate.encoded, nonce, sensed)


def with_records(count: int) -> LockCore:
    core = fresh_core(LOCK)
    for at in range(count):
        core = core.recorded(AuditEvent.OPENED, Sensed(RTC_S + at), Status.OPENED, at.to_bytes(8, "big"), TONIGHT)
    return core


# --- time ---


@pytest.mark.requirement("P8")
@given(steps=st.lists(st.tuples(st.sampled_from(["beacon", "answer", "lost", "wait"]), st.integers(-DAY_S, DAY_S))))
@settings(max_examples=100, deadline=None)
def test_the_clock_never_falls_below_the_floor_and_the_floor_never_falls(steps: list[tuple[str, int]]) -> None:
    core, rtc_s, true_s = fresh_core(LOCK), RTC_S, AT_S
    for kind, amount in steps:
        floor_s, sensed = core.floor_s, Sensed(rtc_s)
        if kind == "wait":
            rtc_s, true_s = rtc_s + abs(amount), true_s + abs(amount)
        elif kind == "lost":
            rtc_s = 0
            core = core.restarted(Sensed(0))
        else:
            nonce = bytes(16) if kind == "answer" else None
            core = carried(core, TimeBeacon(nonce), true_s + amount, sensed).core
        time = core.time(rtc_s)
        assert core.floor_s >= floor_s
        assert time.now_s >= core.floor_s


@pytest.mark.requirement("P8")
def test_only_the_answer_to_its_own_nonce_makes_a_lost_clock_certain() -> None:
    lost = fresh_core(LOCK).restarted(Sensed(0))
    assert lost.time(0).quality is TimeQuality.UNCERTAIN
    assert carried(lost, TimeBeacon(), AT_S, Sensed(0)).core.time(0).quality is TimeQuality.UNCERTAIN
    assert carried(lost, TimeBeacon(b"x" * 16), AT_S, Sensed(0)).status is Status.NOT_ALLOWED
    answered = carried(lost, TimeBeacon(bytes(16)), AT_S, Sensed(0))
    assert answered.status is Status.DONE
    assert answered.core.time(60).now_s == AT_S + 60
    assert answered.core.time(0).quality is TimeQuality.FRESH


@pytest.mark.requirement("P8")
def test_a_beacon_steps_forward_only_within_the_drift_budget_to_count_as_a_sync() -> None:
    core = fresh_core(LOCK)
    week = Sensed(RTC_S + FRESH_S)
    assert core.time(week.rtc_s).quality is TimeQuality.DRIFTING
    near = carried(core, TimeBeacon(), AT_S + FRESH_S + 30, week)
    assert (near.status, near.core.time(week.rtc_s).quality) == (Status.DONE, TimeQuality.FRESH)
    far = carried(core, TimeBeacon(), AT_S + FRESH_S + 600, week)
    assert (far.status, far.core.time(week.rtc_s).quality) == (Status.UNCHANGED, TimeQuality.DRIFTING)
    old = carried(core, TimeBeacon(), AT_S + FRESH_S - 600, week)
    assert (old.status, old.core.time(week.rtc_s).now_s) == (Status.UNCHANGED, core.time(week.rtc_s).now_s)


@pytest.mark.requirement("P8")
def test_time_goes_back_interactively_and_only_to_the_floor() -> None:
    fast = replace(fresh_core(LOCK), offset_s=AT_S - RTC_S + 10 * DAY_S)
    back = carried(fast, TimeBeacon(bytes(16)), AT_S)
    assert back.core.time(RTC_S).now_s == AT_S
    below = carried(replace(fast, floor_s=AT_S + DAY_S), TimeBeacon(bytes(16)), AT_S)
    assert below.status is Status.TIME_UNCERTAIN


@pytest.mark.requirement("P8")
def test_a_certain_lock_doubts_what_is_more_than_48_hours_ahead_and_an_answer_settles_it() -> None:
    core = fresh_core(LOCK)
    ahead = carried(core, Bump(101, TONIGHT + 512), AT_S + 3 * DAY_S)
    assert (ahead.status, ahead.core.floor_s) == (Status.TIME_UNCERTAIN, core.floor_s)
    assert carried(core, TimeBeacon(bytes(16)), AT_S + 3 * DAY_S).core.floor_s == AT_S + 3 * DAY_S


def test_drift_is_20_ppm_since_the_last_sync_rounded_up() -> None:
    assert fresh_core(LOCK).time(RTC_S + 50_000 - 3_600).drift_s == 1
    assert fresh_core(LOCK).time(RTC_S + 50_001 - 3_600).drift_s == 2


# --- bumps and revocations ---


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P9")
def test_a_bump_raises_and_never_lowers_and_only_its_own_room() -> None:
    core = fresh_core(LOCK)
    raised = carried(core, Bump(101, TONIGHT + 3))
    assert (raised.status, raised.core.generation) == (Status.DONE, TONIGHT + 3)
    for generation in (TONIGHT + 3, TONIGHT + 2, 1):
        again = carried(raised.core, Bump(101, generation))
        assert (again.status, again.core.generation) == (Status.UNCHANGED, TONIGHT + 3)
    assert carried(core, Bump(102, TONIGHT + 3)).status is Status.WRONG_DOOR
    assert carried(core, Bump(101, TONIGHT + 512)).status is Status.NOT_YET_VALID


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P9")
def test_an_older_revocation_list_is_not_taken_back() -> None:
    entry = (HOTEL.grant().grant_id, AT_S + DAY_S)
    core = carried(fresh_core(LOCK), Revocations(5, (entry,))).core
    assert carried(core, Revocations(5, ())).status is Status.UNCHANGED
    assert carried(core, Revocations(4, ())).core.revoked == (entry,)
    assert carried(core, Revocations(6, ())).core.revoked == ()


def test_a_carried_object_of_an_issuer_past_its_time_is_refused() -> None:
    core = fresh_core(LOCK)
    later = Sensed(RTC_S + 16 * DAY_S)
    outcome = core.carried(
        LOCK, HOTEL.signed(Bump(101, TONIGHT + 3)), HOTEL.revocation.certificate.encoded, bytes(16), later
    )
    assert outcome.status is Status.EXPIRED
    assert outcome.core.generation == 0


# --- the log ---


@pytest.mark.guarantee("G14")
@pytest.mark.requirement("P10")
def test_every_flipped_bit_of_a_record_is_found() -> None:
    chunk = with_records(6).chunk(LOCK, 0, 20, NOW)
    check_chain(chunk, LOCK.lock_id)
    found = 0
    for at, record in enumerate(chunk.records):
        data = record.encode()
        for bit in range(len(data) * 8):
            mutant = bytearray(data)
            mutant[bit // 8] ^= 1 << bit % 8
            with pytest.raises(PeerProtocolError):  # noqa: PT012 - what is no record at all is found even sooner
                forged = (*chunk.records[:at], AuditRecord.decode(bytes(mutant)), *chunk.records[at + 1 :])
                check_chain(AuditChunk(chunk.checkpoint, forged), LOCK.lock_id)
            found += 1
    assert found == 6 * 38 * 8


@pytest.mark.guarantee("G14")
@given(data=st.data())
@settings(max_examples=60)
def test_deleted_swapped_or_repeated_records_are_found(data: st.DataObject) -> None:
    chunk = with_records(12).chunk(LOCK, 0, 20, NOW)
    records = list(chunk.records)
    first, second = data.draw(st.integers(0, 11)), data.draw(st.integers(0, 11))
    crime = data.draw(st.sampled_from(["delete", "swap", "repeat", "cut"]))
    if crime == "delete":
        del records[first]
    elif crime == "swap":
        records[first], records[second] = records[second], records[first]
    elif crime == "repeat":
        records.insert(first, records[second])
    else:
        records = records[:first]
    if records == list(chunk.records):
        return
    with pytest.raises(AuditBrokenError):
        check_chain(AuditChunk(chunk.checkpoint, tuple(records)), LOCK.lock_id)


@pytest.mark.guarantee("G14")
@pytest.mark.requirement("P10")
def test_a_sealed_chunk_is_read_by_the_edge_alone_and_signed_by_this_lock_alone() -> None:
    chunk = with_records(3).chunk(LOCK, 0, 20, NOW)
    ephemeral = HOTEL.stranger
    sealed = seal_chunk(chunk, audit_key=LOCK.audit, edge_key=LOCK.seal_key, ephemeral=ephemeral)
    assert open_chunk(sealed, LOCK.lock_id, audit_key=LOCK.audit.public_key(), edge_key=HOTEL.ca.seal) == chunk
    assert chunk.records[0].encode() not in sealed
    with pytest.raises(PeerProtocolError):
        open_chunk(sealed, LOCK.lock_id, audit_key=LOCK.audit.public_key(), edge_key=HOTEL.phone)
    with pytest.raises(PeerProtocolError):
        open_chunk(sealed, HOTEL.room_102.lock_id, audit_key=LOCK.audit.public_key(), edge_key=HOTEL.ca.seal)
    with pytest.raises(AuditBrokenError, match="not signed"):
        open_chunk(sealed, LOCK.lock_id, audit_key=HOTEL.room_102.audit.public_key(), edge_key=HOTEL.ca.seal)
    for at in range(0, len(sealed) * 8, 7):
        mutant = bytearray(sealed)
        mutant[at // 8] ^= 1 << at % 8
        with pytest.raises(PeerProtocolError):
            open_chunk(bytes(mutant), LOCK.lock_id, audit_key=LOCK.audit.public_key(), edge_key=HOTEL.ca.seal)


@pytest.mark.guarantee("G14")
def test_a_history_that_went_back_or_forked_is_found() -> None:
    whole = with_records(10)
    known = whole.chunk(LOCK, 0, 8, NOW).checkpoint
    assert check_follows(whole.chunk(LOCK, 8, 20, NOW), known.seq, known.head) == 0
    restored = with_records(5)
    with pytest.raises(AuditBrokenError, match="ends at 5"):
        check_follows(restored.chunk(LOCK, 8, 20, NOW), known.seq, known.head)
    forked = with_records(5)
    for _ in range(5):
        forked = forked.recorded(AuditEvent.REFUSED, NOW, Status.EXPIRED)
    with pytest.raises(AuditBrokenError, match="changed"):
        check_follows(forked.chunk(LOCK, 8, 20, NOW), known.seq, known.head)


@pytest.mark.requirement("P10")
@pytest.mark.parametrize(
    ("most", "expected"), [(RECORDS_IN_CHUNK_MOST, [20] * 6 + [13]), (255, [RECORDS_IN_CHANNEL_MOST, 33])]
)
def test_fetching_resumes_anywhere_and_the_largest_chunk_is_one_message(most: int, expected: list[int]) -> None:
    core, seq, head = with_records(133), 0, genesis(LOCK.lock_id)
    sizes: list[int] = []
    while True:
        chunk = core.chunk(LOCK, seq, most, NOW)
        assert check_follows(chunk, seq, head) == 0
        check_chain(chunk, LOCK.lock_id)
        if not chunk.records:
            break
        sizes.append(len(chunk.records))
        seq, head = chunk.checkpoint.seq, chunk.checkpoint.head
    assert sizes == expected
    assert (seq, head) == (core.audit_seq, core.audit_head)


@pytest.mark.guarantee("G9", "G14")
@pytest.mark.requirement("P10")
def test_a_full_log_gives_up_acknowledged_records_first_and_says_what_else_it_lost() -> None:
    full = with_records(RECORDS_MOST)
    middle = full.records[99]
    acknowledged = carried(full, Acknowledgement(LOCK.lock_id, middle.seq, middle.chain)).core
    for _ in range(100):
        acknowledged = acknowledged.recorded(AuditEvent.OPENED, NOW, Status.OPENED)
    assert len(acknowledged.records) == RECORDS_MOST
    assert all(record.event != AuditEvent.LOST for record in acknowledged.records)
    over = acknowledged.recorded(AuditEvent.OPENED, NOW, Status.OPENED)
    [lost] = [record for record in over.records if record.event == AuditEvent.LOST]
    assert int.from_bytes(lost.actor, "big") == LOST_AT_ONCE
    assert over.before_seq == middle.seq + LOST_AT_ONCE
    assert len(over.records) <= RECORDS_MOST
    assert check_follows(over.chunk(LOCK, middle.seq, 20, NOW), middle.seq, middle.chain) == LOST_AT_ONCE


def test_only_a_true_acknowledgement_lets_the_lock_forget() -> None:
    core = with_records(4)
    third = core.records[2]
    assert carried(core, Acknowledgement(LOCK.lock_id, 3, bytes(16))).status is Status.NOT_ALLOWED
    assert carried(core, Acknowledgement(HOTEL.room_102.lock_id, 3, third.chain)).status is Status.WRONG_DOOR
    assert carried(core, Acknowledgement(LOCK.lock_id, 9, third.chain)).status is Status.NOT_ALLOWED
    acked = carried(core, Acknowledgement(LOCK.lock_id, 3, third.chain)).core
    assert acked.acked_seq == 3
    assert carried(acked, Acknowledgement(LOCK.lock_id, 2, core.records[1].chain)).status is Status.UNCHANGED


# --- kept across power cuts, bounded ---


@given(count=st.integers(0, 40), lost=st.booleans())
@settings(max_examples=20, deadline=None)
def test_memory_survives_a_power_cut_whole(count: int, lost: bool) -> None:
    core = carried(with_records(count), Revocations(3, ((bytes(8), AT_S),))).core
    if lost:
        core = core.restarted(NOW)
    assert LockCore.decode(core.encode()) == core


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x81\x02", b"\xff" * 40])
def test_what_is_not_a_memory_is_refused(data: bytes) -> None:
    with pytest.raises(PeerProtocolError):
        LockCore.decode(data)


@pytest.mark.guarantee("G9")
def test_the_fullest_memory_has_a_bound() -> None:
    core = carried(with_records(RECORDS_MOST + 50), Revocations(1, ((b"\xff" * 8, 2**32 - 1),) * REVOCATIONS_MOST)).core
    core = replace(core, uses=((b"\xff" * 8, 0xFFFF, 2**32 - 1),) * USES_KEPT_MOST, certificates=(bytes(160),) * 8)
    assert len(core.encode()) < 90_000


def test_a_lock_full_of_limited_grants_refuses_one_more_and_forgets_the_ended() -> None:
    uses = tuple((at.to_bytes(8, "big"), 1, AT_S + DAY_S) for at in range(USES_KEPT_MOST))
    meeting = Meeting(LOCK, replace(fresh_core(LOCK), uses=uses))
    once = HOTEL.grant(flags=GrantFlag.ONE_SHOT)
    assert meeting.run(HOTEL.unlock(once))[0].result.status.reason is RefusalReason.BUSY
    later = Meeting(LOCK, replace(fresh_core(LOCK), uses=uses), Sensed(RTC_S + 2 * DAY_S), seed="later")
    answer = later.run(HOTEL.unlock(once), at_s=AT_S + 2 * DAY_S)[0]
    assert answer.result.status is Status.OPENED
    assert later.core.uses == ((once.grant_id, 1, once.not_after_s),)


@pytest.mark.requirement("P11")
def test_a_use_asked_again_within_ten_seconds_is_the_same_use_and_cannot_be_prolonged() -> None:
    once = HOTEL.grant(flags=GrantFlag.ONE_SHOT)
    meeting = Meeting(LOCK, fresh_core(LOCK))
    said: list[Status] = []
    for at_ms in (1_000, 1_900, 10_900, 11_000, 11_900, 60_000):
        meeting.now_ms, meeting.seed = at_ms, f"at {at_ms}"
        said += [answer.result.status for answer in meeting.run(HOTEL.unlock(once))]
    assert said == [*[Status.OPENED] * 3, *[Status.USED_UP] * 3]
    assert meeting.core.uses == ((once.grant_id, 1, once.not_after_s),)
    after_power = Meeting(LOCK, LockCore.decode(meeting.core.encode()), seed="power", now_ms=1_901)
    assert after_power.run(HOTEL.unlock(once))[0].result.status is Status.USED_UP


@pytest.mark.guarantee("G14")
def test_a_bolt_worked_by_hand_is_told_and_pushes_nobodys_opening_out() -> None:
    drawn, thrown = Sensed(RTC_S, bolt=Bolt.UNLOCKED), Sensed(RTC_S, bolt=Bolt.LOCKED)
    core = with_records(3).bolt_moved(drawn)
    told = core.records[-1]
    assert (told.event, told.actor) == (AuditEvent.BOLT, bytes(7) + b"\x02")
    assert core.chunk(LOCK, 0, 20, thrown).checkpoint.bolt is Bolt.LOCKED
    assert core.wants_sync(RTC_S)
    full = with_records(RECORDS_MOST)
    assert full.bolt_moved(drawn) == full
    assert replace(full, acked_seq=full.audit_seq).bolt_moved(drawn).audit_seq == full.audit_seq + 1


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(("at", "value"), [(10, 101), (10, 254), (11, 4), (9, 3), (0, 0x44)])
def test_an_answer_that_cannot_be_is_refused(at: int, value: int) -> None:
    answer = bytearray(fresh_core(LOCK).result(Status.DONE, Sensed(RTC_S, battery_percent=100)).encode())
    assert Result.decode(bytes(answer)).battery_percent == 100
    answer[at] = value
    with pytest.raises(PeerProtocolError):
        Result.decode(bytes(answer))


@pytest.mark.guarantee("G14", "G19")
@pytest.mark.parametrize("what", ["record", "battery", "bolt", "quality"])
def test_a_lock_that_signs_what_cannot_be_is_an_alarm(what: str) -> None:
    """Its own signature is under it: neither noise nor a broken radio makes that."""
    chunk = with_records(2).chunk(LOCK, 0, 20, NOW)
    if what == "record":
        forged = replace(chunk.records[1], time_quality=9)
        forged = replace(forged, chain=link(chunk.records[0].chain, forged.body()))
        chunk = AuditChunk(replace(chunk.checkpoint, head=forged.chain), (chunk.records[0], forged))
    else:
        change: dict[str, Any] = {
            "battery": {"battery_percent": 200},
            "bolt": {"bolt": 9},
            "quality": {"time_quality": 3},
        }
        chunk = AuditChunk(replace(chunk.checkpoint, **change[what]), chunk.records)
    sealed = seal_chunk(
        chunk, audit_key=LOCK.audit, edge_key=HOTEL.ca.seal.public_key(), ephemeral=private_key(stream("forger"))
    )
    with pytest.raises(AuditBrokenError, match="cannot be"):
        open_chunk(sealed, LOCK.lock_id, audit_key=LOCK.audit.public_key(), edge_key=HOTEL.ca.seal)


@pytest.mark.requirement("P16")
def test_every_answer_tells_battery_time_and_head() -> None:
    meeting = Meeting(LOCK, fresh_core(LOCK), Sensed(RTC_S, battery_percent=27))
    [answer] = meeting.run(HOTEL.unlock())
    assert answer.result.battery_percent == 27
    assert answer.result.chain_head == meeting.core.audit_head
    assert answer.result.audit_seq == meeting.core.audit_seq == 2


@pytest.mark.requirement("P13")
def test_the_shown_id_changes_every_512_seconds_and_is_found_within_17_minutes_of_drift() -> None:
    core, seen = fresh_core(LOCK), set()
    for minute in range(0, 120, 4):
        sensed = Sensed(RTC_S + minute * 60)
        shown = advert(LOCK, core, sensed).eid
        seen.add(shown)
        for off_s in (-1_000, 0, 1_000):
            at_s = AT_S + minute * 60 + off_s
            assert shown in LOCK.door_keys(at_s, at_s).ids_around(at_s)
        assert shown not in HOTEL.room_102.door_keys(AT_S, AT_S).ids_around(AT_S + minute * 60)
        assert shown not in LOCK.door_keys(AT_S, AT_S).ids_around(AT_S + minute * 60 + 3_600)
    assert 14 <= len(seen) <= 15


@pytest.mark.requirement("P13")
@pytest.mark.parametrize("week", range(2976, 2980))  # 604,800 is no multiple of 512: three weeks of four end in a slot
def test_where_a_week_ends_a_lock_is_found_by_a_phone_whose_clock_differs(week: int) -> None:
    ends_s = week * WEEK_S
    for shown_at_s in range(ends_s - 520, ends_s + 520, 13):
        shown = eid(weekly_eik(LOCK.eik_root, LOCK.lock_id, week_of(shown_at_s)), shown_at_s)
        for off_s in (-1_000, -60, -1, 0, 1, 60, 1_000):
            at_s = shown_at_s + off_s
            assert shown in LOCK.door_keys(at_s, at_s).ids_around(at_s), (shown_at_s - ends_s, off_s)


def test_dice_make_locks_of_their_own() -> None:
    made = generate_lock_for(HOTEL.ca, stream("one"), room=7)
    assert LockIdentity.from_document(made.to_document(), "x").to_document() == made.to_document()
    assert generate_lock_for(HOTEL.ca, stream("two"), room=7).lock_id != made.lock_id


def test_a_record_changes_the_log_and_nothing_else_of_the_memory() -> None:
    first = Meeting(LOCK, fresh_core(LOCK), seed="met")
    first.run(HOTEL.unlock(), Resume())
    [held] = first.core.passes
    # Every field has a value of its own, so that two that changed places would show.
    core = replace(
        first.core,
        generation=TONIGHT,
        floor_s=AT_S - 7,
        synced_at_s=AT_S - 5,
        revocation_seq=3,
        revoked=((bytes(8), AT_S),),
        uses=((b"limited!", 2, AT_S + 1),),
        acked_seq=1,
        noise=9,
        throttle=Throttle((4,), 5, 6, 7, 8),
        lately=((b"limited!", 11),),
        issuers=((b"kid!", AT_S + 2),),
        lockout_seq=12,
        locked_out=True,
        begun=((b"failsafe", 13, AT_S + 3),),
        passage=Passage(b"passage!", b"kid2", AT_S + 4, 14),
    )
    values = [getattr(core, each.name) for each in fields(core)]
    assert len({repr(each) for each in values}) >= len(values) - 1  # two are True
    for passes in (None, (held, held)):
        after = core.recorded(AuditEvent.TIME_SET, NOW, Status.DONE, passes=passes)
        assert after.records[:-1] == core.records
        assert after.records[-1].event == AuditEvent.TIME_SET
        assert after.passes == (core.passes if passes is None else passes)
        for each in fields(core):
            if each.name not in ("records", "passes"):
                assert getattr(after, each.name) is getattr(core, each.name), each.name
        assert type(after) is LockCore


def test_a_lock_with_lists_judges_by_each_entry_of_them() -> None:
    """The lists that the memory holds as pairs reach the judge whole: first, last, and the uses still counted."""
    grant = HOTEL.grant()
    others = tuple((bytes([n] * 8), AT_S + DAY_S) for n in range(1, 4))
    for place in range(4):
        revoked = (*others[:place], (grant.grant_id, AT_S + DAY_S), *others[place:])
        meeting = Meeting(LOCK, replace(fresh_core(LOCK), revoked=revoked), seed=f"revoked {place}")
        [answer] = meeting.run(HOTEL.unlock())
        assert (answer.result.status, meeting.opened) == (Status.REVOKED, 0)
        kid = HOTEL.guest.certificate.kid
        gone = tuple((each[:4], until_s) for each, until_s in others)
        issuers = (*gone[:place], (kid, AT_S + DAY_S), *gone[place:])
        meeting = Meeting(LOCK, replace(fresh_core(LOCK), issuers=issuers), seed=f"withdrawn {place}")
        [answer] = meeting.run(HOTEL.unlock())
        assert (answer.result.status, meeting.opened) == (Status.REVOKED, 0)
    meeting = Meeting(LOCK, replace(fresh_core(LOCK), revoked=others, issuers=()), seed="others")
    [answer] = meeting.run(HOTEL.unlock())
    assert (answer.result.status, meeting.opened) == (Status.OPENED, 1)
