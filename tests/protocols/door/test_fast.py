"""FAST: who was here before comes back without public-key work, and nobody gains anything by it."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from protocols.door.fast import (
    LIFE_S,
    PASSES_COMMON_MOST,
    PASSES_ROOM_MOST,
    USES_MOST,
    Resumption,
    fast_id,
    fast_keys,
    with_pass,
)
from protocols.door.frames import cut
from protocols.door.hardware import Bolt
from protocols.door.lock import LockExchange, State
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.messages import ErrorCode, MessageKind
from protocols.door.phone import PhoneExchange, Resume
from protocols.door.session import session_keys
from protocols.door.status import Status
from protocols.errors import PeerProtocolError, ReplyTimeoutError
from protocols.grant.grant import GrantFlag
from protocols.grant.keys import IssuerClass
from protocols.grant.revocation import Bump, Revocations
from protocols.vectors.fixed import (
    AT_S,
    DAY_S,
    POOL_ZONE,
    RTC_S,
    TONIGHT,
    Meeting,
    fixed_hotel,
    fresh_core,
    stream,
)
from tests.seeds import THOROUGH

HOTEL = fixed_hotel()
LOCK = HOTEL.room_101
NOW = Sensed(RTC_S)


def met(core: LockCore | None = None, seed: str = "met") -> tuple[LockCore, bytes]:
    """Return the lock's memory and the phone's secret after a first visit."""
    first = Meeting(LOCK, core or fresh_core(LOCK), NOW, seed=seed)
    assert [each.result.status for each in first.run(HOTEL.unlock(), Resume())] == [Status.OPENED, Status.DONE]
    return first.core, first.kept


def visit(core: LockCore, secret: bytes, *, sensed: Sensed = NOW, seed: str = "visit") -> Meeting:
    meeting = Meeting(LOCK, core, sensed, seed=seed)
    meeting.run(HOTEL.unlock(resumption=Resumption(secret) if secret else None))
    return meeting


def listening(core: LockCore, seed: str) -> LockExchange:
    lock = LockExchange(LOCK, random=stream(seed), frame_bytes=244)
    lock.begin(core=core, sensed=NOW, now_ms=0)
    lock.data_to_send()
    return lock


@pytest.mark.guarantee("G3")
@pytest.mark.requirement("P2")
def test_fifty_visits_then_a_full_one_and_on_it_goes() -> None:
    core, secret = met()
    for number in range(USES_MOST):
        meeting = visit(core, secret, seed=f"visit {number}")
        assert (meeting.opened, len(meeting.frames)) == (1, 3)
        assert meeting.kept != secret
        core, secret = meeting.core, meeting.kept
    meeting = visit(core, secret, seed="the 51st")
    assert meeting.opened == 1
    assert meeting.kept == b""  # in full: RESUME would begin anew


@pytest.mark.guarantee("G5")
@pytest.mark.requirement("ACC-12")
def test_a_captured_visit_opens_nothing_whole_in_part_elsewhere_or_after_a_power_cut() -> None:
    core, secret = met()
    meeting = visit(core, secret)
    captured = [frame for side, frame in meeting.frames if side == "phone"]
    moments = {"before it": core, "after it": meeting.core, "restarted": meeting.core.restarted(Sensed(0))}
    kept = LockCore.decode(meeting.core.encode())
    for name, memory in {**moments, "read back": kept}.items():
        lock = listening(memory, f"replay {name}")
        for frame in [*captured, *captured]:
            step = lock.receive_data(frame, core=memory, sensed=NOW, now_ms=1)
            assert not step.motor
            memory = step.core  # noqa: PLW2901 - what the lock remembers
    twice = listening(core, "visit lock")  # a lock whose dice repeat themselves, after it has opened
    chal_now = LockExchange(LOCK, random=stream("visit lock"), frame_bytes=244)
    chal_now.begin(core=meeting.core, sensed=NOW, now_ms=0)
    assert chal_now.data_to_send() != [frame for side, frame in meeting.frames if side == "lock"][:1]
    for frame in captured:
        assert not chal_now.receive_data(frame, core=meeting.core, sensed=NOW, now_ms=1).motor
    assert twice.receive_data(captured[0], core=core, sensed=NOW, now_ms=1).motor  # so the dice did matter


@pytest.mark.guarantee("G5")
def test_either_side_may_lose_power_at_any_moment() -> None:
    core, secret = met()
    unheard = visit(core, secret, seed="its answer is lost")
    for lost, memory in (("asked again", unheard.core), ("the lock had not stored it", core)):
        again = visit(LockCore.decode(memory.encode()), secret, seed=lost)
        assert (again.opened, len(again.frames)) == (1, 3)
        on = visit(again.core, again.kept, seed=f"{lost}, and on")
        assert (on.opened, len(on.frames)) == (1, 3)
        back = visit(on.core, secret, seed=f"{lost}, two steps back")
        assert len(back.frames) > 3  # in full: what is two steps old is worth nothing


@pytest.mark.guarantee("G5")
def test_a_copied_secret_dies_when_the_phone_has_come_twice_by_fast_or_once_in_full() -> None:
    core, secret = met()
    once = visit(core, secret, seed="guest")
    thief = visit(once.core, secret, seed="thief, with the spent one")
    assert (thief.opened, len(thief.frames)) == (1, 3)  # nobody can tell it from a phone whose answer was lost
    twice = visit(once.core, once.kept, seed="guest again")
    assert (twice.opened, len(twice.frames)) == (1, 3)
    assert len(visit(twice.core, secret, seed="thief, too late").frames) > 3
    referred = Meeting(LOCK, thief.core, NOW, seed="guest behind the thief")
    referred.run(HOTEL.unlock(resumption=Resumption(once.kept)), Resume())
    assert (referred.opened, len(referred.frames) > 3) == (1, True)
    for seed, stolen in (("spent", secret), ("the thief's next", thief.kept)):
        assert len(visit(referred.core, stolen, seed=seed).frames) > 3


@pytest.mark.guarantee("G5")
def test_of_two_who_hold_one_secret_the_slower_one_is_known_for_a_lost_answer() -> None:
    core, secret = met()
    thief = visit(core, secret, seed="thief")
    guest = visit(thief.core, secret, seed="guest")  # one step back: as if the answer had been lost
    assert (guest.opened, len(guest.frames)) == (1, 3)
    assert len(visit(guest.core, thief.kept, seed="thief again").frames) > 3
    full = Meeting(LOCK, guest.core, NOW, seed="guest in full")
    full.run(HOTEL.unlock(), Resume())
    assert len(full.core.passes) == 1
    assert len(visit(full.core, guest.kept, seed="the older secret").frames) > 3


@pytest.mark.guarantee("G5")
def test_an_answer_that_was_kept_from_the_phone_is_believed_until_another_came_and_moves_nothing() -> None:
    """SPEC.md 10, what it does not give."""
    core, secret = met()
    kept = [frame for side, frame in visit(core, secret, seed="kept from it").frames if side == "lock"]

    def played_to(held: bytes) -> PhoneExchange:
        unlock, keys = HOTEL.unlock(resumption=Resumption(held)), LOCK.door_keys(AT_S, AT_S)
        phone = PhoneExchange(keys, unlock, random=stream("phone"), frame_bytes=244, now_ms=0)
        answers = [phone.receive_data(frame, now_ms=1) for frame in kept]
        assert answers[-1] is not None
        assert answers[-1].fast
        return phone

    following = played_to(secret).resumption
    assert following is not None
    assert following.secret != secret
    with pytest.raises(PeerProtocolError, match="not sealed for this exchange"):
        played_to(following.secret)


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P5", "P9")
def test_what_ends_a_grant_ends_its_pass() -> None:
    core, secret = met()
    certificate = HOTEL.revocation.certificate.encoded
    gone = HOTEL.signed(Revocations(1, ((HOTEL.grant().grant_id, AT_S + DAY_S),)))
    for signed in (HOTEL.signed(Bump(101, TONIGHT + 1)), gone):
        told = core.carried(LOCK, signed, certificate, bytes(16), NOW)
        assert told.status is Status.DONE
        assert told.core.passes == ()
        assert visit(told.core, secret).opened == 0
    newer = Meeting(LOCK, core, NOW, seed="the next guest")
    newer.run(HOTEL.unlock(HOTEL.grant(generation=TONIGHT + 1, grant_id=bytes(8))))
    assert newer.core.passes == ()


@pytest.mark.guarantee("G4")
@given(ahead_s=st.integers(0, LIFE_S + DAY_S), privacy=st.booleans(), lost=st.booleans())
@settings(max_examples=60, deadline=None)
def test_fast_never_opens_where_the_full_exchange_would_not(ahead_s: int, privacy: bool, lost: bool) -> None:
    core, secret = met()
    if lost:
        core = core.restarted(Sensed(RTC_S))
    sensed = Sensed(RTC_S + ahead_s, privacy)
    lock = LockExchange(LOCK, random=stream("fast"), frame_bytes=244)
    lock.begin(core=core, sensed=sensed, now_ms=0)
    challenge = b"".join(frame[1:] for frame in lock.data_to_send())
    head = bytes([MessageKind.FAST]) + fast_id(secret, LOCK.lock_id) + b"\0"
    keys = fast_keys(secret, LOCK.lock_id, LOCK.s_lock, challenge, head)
    step = lock.receive_data(cut(head + keys.tag, 244)[0], core=core, sensed=sensed, now_ms=0)
    full = core.present(LOCK, HOTEL.unlock().grant, HOTEL.guest.certificate.encoded, lambda _: True, sensed, now_ms=0)
    assert step.motor <= full.motor
    assert step.motor == (full.motor and not lost and ahead_s < LIFE_S)


@pytest.mark.requirement("P14")
def test_passes_are_bounded_and_the_one_used_longest_ago_gives_way() -> None:
    core, _ = met()
    [one] = core.passes
    many = tuple(replace(one, grant=replace(one.grant, grant_id=bytes([n] * 8))) for n in range(200))
    passes = core.passes
    for each in many:
        passes = with_pass(passes, each, now_s=AT_S, most=PASSES_ROOM_MOST)
    assert passes == many[-PASSES_ROOM_MOST:]
    full = replace(core, passes=many[:PASSES_COMMON_MOST])
    assert LockCore.decode(full.encode()) == full
    assert len(full.encode()) - len(replace(core, passes=()).encode()) < PASSES_COMMON_MOST * 180
    old = tuple(replace(each, made_at_s=AT_S - LIFE_S) for each in many[:10])
    assert with_pass(old, one, now_s=AT_S, most=PASSES_ROOM_MOST) == (one,)
    used = visit(replace(core, passes=(one, *many[:2])), one.secret)
    assert used.core.passes[-1].grant.grant_id == one.grant.grant_id


def test_a_renewed_grant_and_a_joiner_have_passes_of_their_own_and_a_staff_pass_outlives_the_guest() -> None:
    core, secret = met()
    staff = HOTEL.issuers[IssuerClass.STAFF]
    grant = HOTEL.grant(generation=0, flags=GrantFlag.STAFF, not_after_s=AT_S + 8 * 3_600, grant_id=b"staff on")
    shift = Meeting(LOCK, core, NOW, seed="staff")
    shift.run(HOTEL.unlock(grant, issuer=staff), Resume())
    assert len(shift.core.passes) == 2
    bumped = shift.core.carried(
        LOCK, HOTEL.signed(Bump(101, TONIGHT + 1)), HOTEL.revocation.certificate.encoded, bytes(16), NOW
    ).core
    assert [each.grant.grant_id for each in bumped.passes] == [b"staff on"]
    again = Meeting(LOCK, bumped, NOW, seed="staff again")
    again.run(HOTEL.unlock(grant, issuer=staff, resumption=Resumption(shift.kept)))
    assert (again.opened, len(again.frames)) == (1, 3)
    assert visit(bumped, secret).opened == 0


def test_a_common_door_knows_no_generation() -> None:
    first = Meeting(HOTEL.pool, fresh_core(HOTEL.pool), NOW, seed="pool")
    first.run(HOTEL.unlock(), Resume())
    assert first.core.passes[0].grant.zones == POOL_ZONE
    again = Meeting(HOTEL.pool, first.core, NOW, seed="pool again")
    again.run(HOTEL.unlock(resumption=Resumption(first.kept)))
    assert (again.opened, len(again.frames)) == (1, 3)


@pytest.mark.requirement("P14")
def test_an_insider_who_hammers_does_not_slow_down_who_was_here_before() -> None:
    core, secret = met()
    for _ in range(8):
        core = core.failed(1_000, NOW)
    assert core.throttle.wait_ms(1_000) > 0
    assert visit(core, secret).opened == 1


def test_a_wrong_tag_is_noise_and_nothing_else() -> None:
    core, secret = met()
    lock = listening(core, "noise")
    head = bytes([MessageKind.FAST]) + fast_id(secret, LOCK.lock_id) + b"\0"
    step = lock.receive_data(cut(head + bytes(16), 244)[0], core=core, sensed=NOW, now_ms=1)
    assert step == step._replace(core=core.heard_noise(), motor=False, status=None, fault=None)
    assert lock.state is State.REFERRED
    assert step.core.records == core.records
    assert step.core.throttle == core.throttle


def test_a_referred_phone_has_no_more_time_than_any_other() -> None:
    core, _ = met()
    lock = listening(core, "slow")
    frame = cut(bytes([MessageKind.FAST]) + bytes(25), 244)[0]
    lock.receive_data(frame, core=core, sensed=NOW, now_ms=2_900)
    assert lock.state is State.REFERRED
    assert lock.deadline_ms == 5_000
    lock.receive_data(bytes([0x80, MessageKind.OPEN]), core=core, sensed=NOW, now_ms=4_000)  # the first of several
    assert (lock.state, lock.deadline_ms) == (State.REFERRED, 5_000)
    assert lock.on_time(now_ms=5_000)


# -- older ones -------------------------------------------------------------------------------------------------------


def asked_fast(secret: bytes) -> PhoneExchange:
    phone = PhoneExchange(
        LOCK.door_keys(AT_S, AT_S),
        HOTEL.unlock(resumption=Resumption(secret)),
        random=stream("phone"),
        frame_bytes=244,
        now_ms=0,
    )
    lock = LockExchange(LOCK, random=stream("older"), frame_bytes=244)
    lock.begin(core=fresh_core(LOCK), sensed=NOW, now_ms=0)
    for frame in lock.data_to_send():
        phone.receive_data(frame, now_ms=1)
    return phone


@pytest.mark.parametrize("code", [0, ErrorCode.MALFORMED, 200])
def test_older_firmware_answers_fast_with_an_error_and_the_phone_says_unknown_not_shut(code: int) -> None:
    phone = asked_fast(bytes(32))
    with pytest.raises(ReplyTimeoutError):
        phone.receive_data(bytes([0xC0, MessageKind.ERROR, code, 0]), now_ms=2)
    assert phone.resumption is None
    with pytest.raises(PeerProtocolError):
        phone.receive_data(b"\xc0\x81", now_ms=3)


def test_an_older_lock_refuses_resume_by_name_and_keeps_the_link() -> None:
    """Its command codes end at 4: RESUME is to it what a code of tomorrow is to us."""
    core, _ = met()
    unheard_of = Meeting(LOCK, core, NOW, seed="tomorrow")
    unheard_of.run(HOTEL.unlock())
    lock, phone = unheard_of.lock_side, unheard_of.phone_side
    assert lock is not None
    assert phone is not None
    header = bytes([MessageKind.MORE])
    sealed = phone._session().to_lock.seal(b"\x07", header)
    step = lock.receive_data(cut(header + sealed, 244)[0], core=unheard_of.core, sensed=NOW, now_ms=1_000)
    assert (step.status, step.fault, lock.state) == (Status.UNSUPPORTED_VERSION, None, State.OPEN)
    phone._request, phone.state = Resume(), phone.state.__class__["ASKED"]
    [answer] = [phone.receive_data(frame, now_ms=1_000) for frame in lock.data_to_send()]
    assert answer is not None
    assert phone.resumption is None


def test_an_older_phones_visit_leaves_the_memory_older_firmware_reads() -> None:
    meeting = Meeting(LOCK, fresh_core(LOCK), NOW, seed="older phone")
    meeting.run(HOTEL.unlock())
    assert meeting.core.encode()[1] == 1
    core, _ = met(meeting.core)
    assert core.encode()[1] == 2
    assert LockCore.decode(core.encode()) == core


def test_an_unauthenticated_hint_costs_a_full_exchange_at_most() -> None:
    phone = asked_fast(bytes(32))
    phone.data_to_send()
    phone.receive_data(bytes([0xC0, MessageKind.ERROR, ErrorCode.NEED_FULL, 0]), now_ms=2)
    assert phone.data_to_send()[0][1] == MessageKind.OPEN
    with pytest.raises(ReplyTimeoutError):  # a second hint: the lock never says so twice
        phone.receive_data(bytes([0xC0, MessageKind.ERROR, ErrorCode.NEED_FULL, 0]), now_ms=3)


# -- any order, any loss ----------------------------------------------------------------------------------------------


class Visits(RuleBasedStateMachine):
    """Two phones of one grant each, one lock; answers lost, memories lost, secrets stolen. No visit is ever in vain."""

    @initialize()
    def build(self) -> None:
        self.core, self.count = fresh_core(LOCK), 0
        self.guests = {
            "guest": HOTEL.grant(),
            "joiner": HOTEL.grant(grant_id=b"joiner 1", flags=GrantFlag.JOIN),
        }
        self.secrets = {"guest": b"", "joiner": b""}
        self.stolen: list[bytes] = []

    @rule(who=st.sampled_from(["guest", "joiner"]), heard=st.booleans(), resume=st.booleans(), stored=st.booleans())
    def visits(self, who: str, heard: bool, resume: bool, stored: bool) -> None:
        """`stored` false: the lock's power went before it stored anything, so it did not open either."""
        self.count += 1
        meeting = Meeting(LOCK, self.core, replace(NOW, bolt=Bolt.LOCKED), seed=f"{who} {self.count}")
        held = Resumption(self.secrets[who]) if self.secrets[who] else None
        meeting.run(HOTEL.unlock(self.guests[who], resumption=held), *([Resume()] if resume and held is None else []))
        assert meeting.opened == 1
        if stored:
            self.core = LockCore.decode(meeting.core.encode())
            if heard:
                self.secrets[who] = meeting.kept
        assert len(self.core.passes) <= 2

    @rule(who=st.sampled_from(["guest", "joiner"]))
    def somebody_copies_a_secret(self, who: str) -> None:
        if self.secrets[who]:
            self.stolen = [*self.stolen, self.secrets[who]][-8:]

    @rule(who=st.sampled_from(["guest", "joiner"]))
    def the_phone_forgets(self, who: str) -> None:
        self.secrets[who] = b""

    @rule(data=st.data())
    def a_stolen_secret_opens_only_as_long_as_the_lock_holds_it(self, data: st.DataObject) -> None:
        if not self.stolen:
            return
        secret = data.draw(st.sampled_from(self.stolen))
        self.count += 1
        lock = LockExchange(LOCK, random=stream(f"thief {self.count}"), frame_bytes=244)
        lock.begin(core=self.core, sensed=NOW, now_ms=0)
        challenge = b"".join(frame[1:] for frame in lock.data_to_send())
        head = bytes([MessageKind.FAST]) + fast_id(secret, LOCK.lock_id) + b"\0"
        keys = fast_keys(secret, LOCK.lock_id, LOCK.s_lock, challenge, head)
        step = lock.receive_data(cut(head + keys.tag, 244)[0], core=self.core, sensed=NOW, now_ms=0)
        alive = {each for one in self.core.passes for each in (one.secret, one.before)}
        assert step.motor == (secret in alive and all(each.uses_left > 0 for each in self.core.passes))
        self.core = step.core


Visits.TestCase.settings = settings(
    max_examples=200 if THOROUGH else 15,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestVisits = pytest.mark.guarantee("G5")(Visits.TestCase)


def test_no_secret_is_shown_by_what_holds_it() -> None:
    core, secret = met()
    keys = fast_keys(secret, LOCK.lock_id, LOCK.s_lock, bytes(64), bytes(10))
    held = core.passes[0]
    full = session_keys(bytes(32), bytes(32), bytes(32))
    secrets = [secret, keys.tag, keys.following, keys.session.to_lock.key, full.to_phone.key, full.resumption]
    for each in (keys, keys.session, keys.session.to_lock, full, held, Resumption(secret)):
        said = f"{each!r} {each!s} {(each,)!r}"
        assert not any(secret.hex() in said or repr(secret)[2:-1] in said for secret in secrets)
