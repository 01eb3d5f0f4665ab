"""What closes a door and what holds it, beyond the vectors: signatures, bounds, the memory's versions, windows."""

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import cbor, cose
from protocols.door.frames import cut
from protocols.door.lock import LockExchange, State
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.messages import CertificateForm, LatchCommand, UnlockCommand, decode_command, encode_command
from protocols.door.phone import Carry, Latch, PhoneExchange, Request, Resume, Unlock
from protocols.door.status import Status
from protocols.errors import PeerProtocolError
from protocols.grant.grant import GrantFlag, Shift, sign_grant
from protocols.grant.judge import BEGUN_KEPT_MOST, latched_until_s, on_shift
from protocols.grant.keys import IssuerClass
from protocols.grant.revocation import Lockout, Revocations
from protocols.vectors.fixed import AT_S, DAY_S, RTC_S, Meeting, fixed_hotel, fresh_core, stream

HOTEL = fixed_hotel()
NOW = Sensed(RTC_S)
STAFF = HOTEL.issuers[IssuerClass.STAFF]


def carry(body: Revocations | Lockout) -> Carry:
    return Carry(HOTEL.signed(body), HOTEL.revocation.certificate.encoded)


def at_pool(*requests: Request) -> Meeting:
    meeting = Meeting(HOTEL.pool, fresh_core(HOTEL.pool), NOW)
    meeting.run(*requests)
    return meeting


def version(core: LockCore) -> int:
    encoded = cbor.decode(core.encode(), 1 << 20)
    assert isinstance(encoded, list)
    assert isinstance(encoded[0], int)
    return encoded[0]


def test_the_memory_says_the_lowest_version_that_can_hold_it() -> None:
    lock, core = HOTEL.room_101, fresh_core(HOTEL.room_101)
    assert version(core) == 1
    kid = HOTEL.guest.certificate.kid
    steps = (
        Revocations(AT_S, (), ((kid, AT_S + DAY_S),)),
        Revocations(AT_S + 1, ()),
        Lockout(lock.lock_id, AT_S, True),
    )
    versions = []
    for body in steps:
        meeting = Meeting(lock, core, NOW)
        meeting.run(carry(body))
        core = meeting.core
        versions.append(version(core))
        assert LockCore.decode(core.encode()) == core
    assert versions == [3, 3, 3]


@pytest.mark.parametrize("later", [{}, {1: 5}, {4: []}, {2: [1]}, {2: [True, 1]}, {3: [[b"", 1]]}, {"x": []}, []])
def test_a_memory_of_version_3_with_something_else_in_its_end_is_refused(later: object) -> None:
    whole = cbor.decode(replace(fresh_core(HOTEL.room_101), lockout_seq=1).encode(), 1 << 20)
    assert isinstance(whole, list)
    data = cbor.encode([*whole[:-1], later])
    if later == {}:
        assert LockCore.decode(data).lockout_seq == 0
        return
    with pytest.raises(PeerProtocolError, match="memory"):
        LockCore.decode(data)


@pytest.mark.requirement("P11")
def test_a_lock_remembers_sixteen_failsafe_keys_and_forgets_those_whose_grants_are_over() -> None:
    lock, core = HOTEL.room_101, fresh_core(HOTEL.room_101)
    statuses = []
    for number in range(BEGUN_KEPT_MOST + 1):
        grant = HOTEL.grant(grant_id=bytes([number] * 8), life_hours=1, not_after_s=AT_S + 3_600 + number)
        meeting = Meeting(lock, core, NOW, now_ms=60_000 * number)
        [answer] = meeting.run(HOTEL.unlock(grant))
        core = meeting.core
        statuses.append(answer.result.status)
    assert statuses == [Status.OPENED] * BEGUN_KEPT_MOST + [Status.BUSY]
    later = replace(NOW, rtc_s=RTC_S + 3_600 + 601)
    fresh = HOTEL.grant(grant_id=bytes(8 * [99]), life_hours=1)
    meeting = Meeting(lock, core, later, now_ms=10**9)
    [answer] = meeting.run(HOTEL.unlock(fresh))
    assert answer.result.status is Status.OPENED
    assert len(meeting.core.begun) == BEGUN_KEPT_MOST


@pytest.mark.guarantee("G4")
def test_a_signature_for_one_thing_is_good_for_no_other() -> None:
    """The phone's word for UNLOCK, LATCH and its end differ: nobody in between turns one into another."""
    porter = HOTEL.porter()

    def turned(sent: Request, received: str) -> Status | None:
        lock = LockExchange(HOTEL.pool, random=stream("lock"), frame_bytes=500)
        phone = PhoneExchange(HOTEL.pool.door_keys(AT_S, AT_S), sent, random=stream("phone"), frame_bytes=500, now_ms=0)
        lock.begin(core=fresh_core(HOTEL.pool), sensed=NOW, now_ms=0)
        [chal] = lock.data_to_send()
        phone._send = partial(_resealed, phone, received)  # type: ignore[method-assign]  # what a phone's own software could be made to send
        phone.receive_data(chal, now_ms=0)
        status = None
        for frame in phone.data_to_send():
            status = lock.receive_data(frame, core=fresh_core(HOTEL.pool), sensed=NOW, now_ms=0).status
        return status

    hold, let_go, unlock = HOTEL.latch(porter), HOTEL.latch(porter, hold=False), HOTEL.unlock(porter, issuer=STAFF)
    assert turned(hold, "hold") is Status.OPENED
    assert turned(let_go, "let go") is Status.UNCHANGED
    for sent, received in ((let_go, "hold"), (unlock, "hold"), (hold, "let go"), (hold, "unlock"), (let_go, "unlock")):
        assert turned(sent, received) is Status.BAD_SIGNATURE


def _resealed(phone: PhoneExchange, received: str, header: bytes, now_ms: int) -> None:
    keys = phone._session()
    said = phone._command(keys)
    assert isinstance(said, UnlockCommand | LatchCommand)
    grant, certificate, signature = said.grant, said.certificate, said.signature
    if received == "unlock":
        command = encode_command(UnlockCommand(grant, certificate, said.form, False, signature))
    else:
        command = encode_command(LatchCommand(received == "hold", grant, certificate, said.form, False, signature))
    phone._outbox += cut(header + keys.to_lock.seal(command, header), 500)
    del now_ms


@pytest.mark.parametrize("second", ["unlock", "latch"])
def test_after_an_opening_nothing_more_opens_on_the_same_link(second: str) -> None:
    porter = HOTEL.porter()
    first = HOTEL.latch(porter)
    then = HOTEL.unlock(porter, issuer=STAFF) if second == "unlock" else HOTEL.latch(porter)
    for pair in ((first, HOTEL.latch(porter, hold=False), then), (HOTEL.unlock(porter, issuer=STAFF), then)):
        meeting = at_pool(*pair)
        assert meeting.opened == 1
        assert meeting.lock_side is not None
        assert meeting.lock_side.state is State.OVER


@pytest.mark.guarantee("G19")
@given(said=st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_a_latch_of_any_bytes_is_read_or_refused(said: bytes) -> None:
    try:
        command = decode_command(b"\x06" + said)
    except PeerProtocolError:
        return
    assert encode_command(command) == b"\x06" + said


@pytest.mark.parametrize(
    ("shift", "at_s", "until_s"),
    [
        (None, AT_S, AT_S + DAY_S),
        (Shift(127, 360, 840), AT_S, AT_S + 6 * 3_600),  # AT_S is 08:00
        (Shift(127, 480, 481), AT_S, AT_S + 60),
        (Shift(127, 1200, 600), AT_S, AT_S + 2 * 3_600),  # began yesterday evening
        (Shift(127, 1200, 600), AT_S + 13 * 3_600, AT_S + DAY_S),  # ends with the grant, before ten tomorrow
        (Shift(127, 480, 480), AT_S, AT_S + DAY_S),
    ],
)
def test_a_passage_ends_with_its_shift_or_its_grant(shift: Shift | None, at_s: int, until_s: int) -> None:
    grant = HOTEL.porter(shift=shift, not_after_s=AT_S + DAY_S)
    assert latched_until_s(grant, at_s) == until_s


@given(
    days=st.integers(1, 127),
    start=st.integers(0, 1439),
    end=st.integers(0, 1439),
    at_s=st.integers(AT_S, AT_S + 7 * DAY_S),
)
@settings(max_examples=300, deadline=None)
def test_a_passage_never_outlasts_the_shift_it_began_in(days: int, start: int, end: int, at_s: int) -> None:
    shift = Shift(days, start, end)
    if not on_shift(shift, at_s):
        return
    until_s = latched_until_s(HOTEL.porter(shift=shift, not_after_s=AT_S + 30 * DAY_S), at_s)
    assert at_s < until_s <= at_s + DAY_S
    assert on_shift(shift, until_s - 1)
    assert until_s % DAY_S == end * 60


def test_a_passage_says_nothing_to_passers_by_and_little_to_flash() -> None:
    meeting = at_pool(HOTEL.latch(HOTEL.porter()))
    held = meeting.core
    assert held.passage is not None
    grown = len(held.records)
    for second in range(100):
        held = held.settled(replace(NOW, rtc_s=RTC_S + second), now_ms=1_000 * second)
    assert len(held.records) == grown


def test_a_withdrawn_issuer_is_refused_though_the_phone_names_it_by_its_id_alone() -> None:
    lock = HOTEL.room_101
    meeting = Meeting(lock, fresh_core(lock), NOW)
    meeting.run(HOTEL.unlock())
    kid = HOTEL.guest.certificate.kid
    withdrawn = Meeting(lock, meeting.core, NOW)
    answers = withdrawn.run(
        carry(Revocations(AT_S, (), ((kid, AT_S + DAY_S),))),
        HOTEL.unlock(form=CertificateForm.ID),
        carry(Revocations(AT_S + 1, ())),
        HOTEL.unlock(form=CertificateForm.ID),
    )
    assert [each.result.status for each in answers] == [Status.DONE, Status.REVOKED] * 2  # the plain list frees nobody


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize("by", ["this link", "the other link"])
def test_a_list_that_comes_between_an_opening_and_its_resume_leaves_no_pass_of_a_withdrawn_issuer(by: str) -> None:
    """FAST does not look at issuers, because every pass went with the list: none may be made after it."""
    lock, kid = HOTEL.room_101, HOTEL.guest.certificate.kid
    withdrawal = carry(Revocations(AT_S, (), ((kid, AT_S + DAY_S),)))
    if by == "this link":
        meeting = Meeting(lock, fresh_core(lock), NOW)
        answers = meeting.run(HOTEL.unlock(), withdrawal, Resume())
        said, core = answers[-1].result.status, meeting.core
    else:
        other = Meeting(lock, fresh_core(lock), NOW)
        other.run(withdrawal)
        outcome = other.core.resumes(lock, bytes(32), HOTEL.grant(), HOTEL.guest.certificate, NOW)
        said, core = outcome.status, outcome.core
    assert said is Status.UNCHANGED
    assert core.passes == ()
    spared = Meeting(lock, fresh_core(lock), NOW)
    assert spared.run(HOTEL.unlock(), Resume())[-1].result.status is Status.DONE


def test_the_flag_that_was_kept_for_passage_gives_a_guest_nothing() -> None:
    grant = HOTEL.grant(rooms=(), generation=0, flags=GrantFlag.PASSAGE)
    signed = sign_grant(grant, HOTEL.guest.key)
    sign = partial(cose.sign_raw, HOTEL.phone)
    for request in (
        Unlock(signed, HOTEL.guest.certificate.encoded, sign),
        Latch(True, signed, HOTEL.guest.certificate.encoded, sign),
    ):
        meeting = Meeting(HOTEL.pool, fresh_core(HOTEL.pool), NOW)
        [answer] = meeting.run(request)
        assert answer.result.status is Status.NOT_ALLOWED
