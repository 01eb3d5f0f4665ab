"""The exchange under attack and bad luck: split, replayed, mutated, forged, too late, by neighbours and strangers."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import cose
from protocols.door import lock as lock_side
from protocols.door import phone as phone_side
from protocols.door.advert import gate_key, gate_tag, week_of
from protocols.door.identity import with_next_ca
from protocols.door.lock import CHALLENGE_WAIT_MS, SILENCE_MS, LockExchange, State
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.messages import (
    Challenge,
    MessageKind,
    UnlockCommand,
    decode_command,
    encode_command,
    unlock_statement,
)
from protocols.door.phone import AskStatus, Carry, Fetch, PhoneExchange, Unlock
from protocols.door.session import session_keys, shared, transcript_of
from protocols.door.status import Status
from protocols.door.throttle import THROTTLE_FAILURES, THROTTLE_MOST_MS, THROTTLE_WINDOW_MS, Throttle
from protocols.errors import (
    CredentialRefusedError,
    LinkLostError,
    LocalProtocolError,
    PeerProtocolError,
    PlatformError,
    RefusalReason,
    ReplyTimeoutError,
)
from protocols.grant.certificate import open_certificate
from protocols.grant.keys import compressed, kid_of, private_key, public_key
from protocols.vectors.fixed import AT_S, RTC_S, Meeting, fixed_hotel, fresh_core, stream

HOTEL = fixed_hotel()
LOCK = HOTEL.room_101
SENSED = Sensed(RTC_S)


def challenged(core: LockCore, seed: str = "attack", now_ms: int = 0) -> tuple[LockExchange, bytes]:
    """Return a lock that has challenged, and its CHAL."""
    lock = LockExchange(LOCK, random=stream(seed), frame_bytes=512)
    lock.begin(core=core, sensed=SENSED, now_ms=now_ms)
    [frame] = lock.data_to_send()
    return lock, frame[1:]


def recorded() -> list[bytes]:
    """Return the phone's frames of a good unlock against the seed "attack"."""
    lock, challenge = challenged(fresh_core(LOCK))
    phone = PhoneExchange(LOCK.door_keys(AT_S, AT_S), HOTEL.unlock(), random=stream("phone"), frame_bytes=512, now_ms=0)
    phone.receive_data(b"\xc0" + challenge, now_ms=0)
    frames = phone.data_to_send()
    core = fresh_core(LOCK)
    assert any(lock.receive_data(each, core=core, sensed=SENSED, now_ms=1).motor for each in frames)
    return frames


GOOD = recorded()


@pytest.mark.requirement("P2", "ACC-02")
@given(frame_bytes=st.integers(20, 512))
@settings(max_examples=40, deadline=None)
def test_a_message_split_anywhere_opens_the_door(frame_bytes: int) -> None:
    meeting = Meeting(LOCK, fresh_core(LOCK), frame_bytes=frame_bytes)
    [answer] = meeting.run(HOTEL.unlock())
    assert answer.result.status is Status.OPENED
    assert meeting.opened == 1


@pytest.mark.guarantee("G5")
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=63))
@settings(max_examples=60, deadline=None)
def test_frames_of_uneven_sizes_are_one_message(sizes: list[int]) -> None:
    message, parts = GOOD[0][1:], []
    for size in sizes:
        if message:
            parts.append(message[:size])
            message = message[size:]
    if message:
        parts.append(message)
    core, motor = fresh_core(LOCK), False
    lock, _ = challenged(core)
    for at, part in enumerate(parts):
        header = (0x80 if at == 0 else 0) | (0x40 if at == len(parts) - 1 else 0) | at
        step = lock.receive_data(bytes([header]) + part, core=core, sensed=SENSED, now_ms=1)
        core, motor = step.core, motor or step.motor
    assert motor


@pytest.mark.guarantee("G5")
def test_a_recorded_exchange_never_opens_again() -> None:
    core = fresh_core(LOCK)
    for seed in range(50):
        lock, _ = challenged(core, f"another link {seed}")
        for frame in GOOD:
            step = lock.receive_data(frame, core=core, sensed=SENSED, now_ms=1)
            assert not step.motor
            core = step.core
    assert core.records == ()  # an outsider writes nothing into the log
    assert core.noise == 50


@pytest.mark.guarantee("G5")
def test_on_its_own_link_a_message_counts_once() -> None:
    core, motors = fresh_core(LOCK), 0
    lock, _ = challenged(core)
    for frame in GOOD * 3:
        step = lock.receive_data(frame, core=core, sensed=SENSED, now_ms=1)
        core, motors = step.core, motors + step.motor
    assert motors == 1
    assert lock.state is State.OVER


@pytest.mark.guarantee("G5", "G19")
@pytest.mark.requirement("P19")
def test_no_flipped_bit_of_an_unlock_opens_or_raises() -> None:
    core = fresh_core(LOCK)
    [frame] = GOOD
    for at in range(8, len(frame) * 8, 3):
        mutant = bytearray(frame)
        mutant[at // 8] ^= 1 << at % 8
        lock, _ = challenged(core)
        step = lock.receive_data(bytes(mutant), core=core, sensed=SENSED, now_ms=1)
        assert not step.motor
        assert lock.state is State.OVER


@pytest.mark.guarantee("G5", "G19")
@given(frames=st.lists(st.binary(max_size=80), max_size=8))
@settings(max_examples=300, deadline=None)
def test_noise_neither_opens_nor_raises_nor_hangs(frames: list[bytes]) -> None:
    core = fresh_core(LOCK)
    lock, _ = challenged(core)
    for frame in frames:
        step = lock.receive_data(frame, core=core, sensed=SENSED, now_ms=1)
        assert not step.motor
        core = step.core
    if frames:
        lock.on_time(now_ms=SILENCE_MS + 1)
        assert lock.state is State.OVER
    assert sum(map(len, lock.data_to_send())) <= 8  # never a long answer to noise


def insider(change: Callable[[bytes], bytes], seed: str = "insider") -> tuple[LockCore, bool, Status | None]:
    """Run an exchange in which a phone with the door's keys seals whatever `change` makes of its command."""
    core = fresh_core(LOCK)
    lock, challenge = challenged(core, seed)
    ephemeral = private_key(stream("insider phone"))
    e_phone = compressed(ephemeral.public_key())
    keys = session_keys(
        shared(ephemeral, public_key(LOCK.s_lock)),
        shared(ephemeral, public_key(Challenge.decode(challenge).e_lock)),
        transcript_of(LOCK.lock_id, LOCK.s_lock, challenge, e_phone),
    )
    door = LOCK.door_keys(AT_S, AT_S)
    gate = gate_key(door.eik_by_week[week_of(AT_S)], LOCK.lock_id, AT_S)
    header = bytes([MessageKind.OPEN]) + e_phone + gate_tag(gate, Challenge.decode(challenge).nonce, e_phone)
    request = HOTEL.unlock()
    signature = request.sign(unlock_statement(keys.transcript, 0, request.grant, user_verified=False))
    command = UnlockCommand(request.grant, request.certificate, request.form, False, signature)
    plaintext = change(encode_command(command))
    frame = b"\xc0" + header + keys.to_lock.seal(plaintext, header)
    step = lock.receive_data(frame, core=core, sensed=SENSED, now_ms=1)
    return step.core, step.motor, step.status


@pytest.mark.guarantee("G5", "G19")
def test_the_insider_of_these_tests_opens_when_he_changes_nothing() -> None:
    assert insider(lambda plaintext: plaintext)[1:] == (True, Status.OPENED)


@pytest.mark.guarantee("G5", "G19")
@given(data=st.data())
@settings(max_examples=250, deadline=None)
def test_behind_a_valid_seal_a_mutated_command_never_opens(data: st.DataObject) -> None:
    def change(plaintext: bytes) -> bytes:
        mutant = bytearray(plaintext)
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(mutant) - 1))
            mutant[at] ^= data.draw(st.integers(1, 255))
        if data.draw(st.booleans()):
            mutant = mutant[: data.draw(st.integers(0, len(mutant)))]
        return bytes(mutant) if bytes(mutant) != plaintext else plaintext + b"\x00"

    _, motor, _ = insider(change)
    assert not motor


@pytest.mark.guarantee("G5", "G19")
@given(noise=st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_behind_a_valid_seal_noise_never_opens(noise: bytes) -> None:
    assert not insider(lambda _: noise)[1]


@pytest.mark.guarantee("G19")
@given(data=st.binary(max_size=300))
@settings(max_examples=300)
def test_a_command_is_read_back_as_itself_or_refused(data: bytes) -> None:
    try:
        command = decode_command(data)
    except PeerProtocolError:
        return
    assert encode_command(command) == data


@pytest.mark.guarantee("G5")
def test_the_phones_signature_of_one_exchange_is_worth_nothing_in_another() -> None:
    taken: list[bytes] = []

    def take(statement: bytes) -> bytes:
        taken.append(cose.sign_raw(HOTEL.phone, statement))
        return taken[-1]

    good = HOTEL.unlock()
    meeting = Meeting(LOCK, fresh_core(LOCK), seed="first")
    meeting.run(Unlock(good.grant, good.certificate, take))
    assert meeting.opened == 1
    replay = Meeting(LOCK, meeting.core, seed="second")
    [answer] = replay.run(Unlock(good.grant, good.certificate, lambda _: taken[0]))
    assert answer.result.status is Status.BAD_SIGNATURE


@pytest.mark.guarantee("G5")
@pytest.mark.requirement("P3")
def test_a_fake_lock_learns_nothing_and_is_found_out() -> None:
    """It even holds the advert keys; what it has not is s_lock."""
    fake = LockExchange(replace(LOCK, static=HOTEL.room_102.static), random=stream("fake"), frame_bytes=512)
    core = fresh_core(LOCK)
    fake.begin(core=core, sensed=SENSED, now_ms=0)
    phone = PhoneExchange(
        LOCK.door_keys(AT_S, AT_S), HOTEL.unlock(), random=stream("cautious"), frame_bytes=512, now_ms=0
    )
    [challenge] = fake.data_to_send()
    phone.receive_data(challenge, now_ms=0)
    [sent] = phone.data_to_send()
    assert HOTEL.unlock().grant not in sent
    assert compressed(HOTEL.phone.public_key()) not in sent
    step = fake.receive_data(sent, core=core, sensed=SENSED, now_ms=1)
    assert step.fault == "message not sealed for this exchange"
    assert fake._keys is not None
    header = bytes([MessageKind.RESULT])
    forged = header + fake._keys.to_phone.seal(core.result(Status.OPENED, SENSED).encode(), header)
    with pytest.raises(PeerProtocolError, match="sealed"):
        phone.receive_data(b"\xc0" + forged, now_ms=1)
    assert phone.state is phone_side.State.OVER


@pytest.mark.guarantee("G5")
@pytest.mark.requirement("P14")
def test_without_the_doors_keys_nobody_makes_the_lock_compute() -> None:
    meeting = Meeting(LOCK, fresh_core(LOCK))
    stranger = HOTEL.room_102  # keys of the door next door
    phone = PhoneExchange(stranger.door_keys(AT_S, AT_S), HOTEL.unlock(), random=stream("p"), frame_bytes=512, now_ms=0)
    lock, challenge = challenged(meeting.core)
    phone.receive_data(b"\xc0" + challenge, now_ms=0)
    [frame] = phone.data_to_send()
    step = lock.receive_data(frame, core=meeting.core, sensed=SENSED, now_ms=1)
    assert step.fault == "gate tag does not fit"
    assert lock.data_to_send() == []
    assert step.core.throttle == Throttle()
    assert lock._keys is None


@pytest.mark.requirement("P14")
def test_an_insider_who_fails_five_times_waits_and_never_more_than_ten_seconds() -> None:
    core, now_ms = fresh_core(LOCK), 0
    waits: list[int] = []
    for attempt in range(12):
        meeting = Meeting(LOCK, core, seed=f"attempt {attempt}", now_ms=now_ms)
        [answer] = meeting.run(HOTEL.unlock(key=HOTEL.stranger))
        assert answer.result.status is Status.BAD_SIGNATURE
        core = meeting.core
        waits.append(core.throttle.wait_ms(now_ms))
        now_ms += waits[-1]
    assert waits[: THROTTLE_FAILURES - 1] == [0] * (THROTTLE_FAILURES - 1)
    assert waits[THROTTLE_FAILURES - 1 : THROTTLE_FAILURES + 4] == [1_000, 2_000, 4_000, 8_000, 10_000]
    assert max(waits) == THROTTLE_MOST_MS
    busy = Meeting(LOCK, core, seed="busy", now_ms=now_ms - 1)
    with pytest.raises(CredentialRefusedError) as refused:
        busy.run(HOTEL.unlock())
    assert refused.value.reason is RefusalReason.BUSY
    after = Meeting(LOCK, core, seed="after", now_ms=now_ms)
    assert after.run(HOTEL.unlock())[0].result.status is Status.OPENED
    calm = Meeting(LOCK, core, seed="calm", now_ms=now_ms + THROTTLE_WINDOW_MS)
    calm.run(HOTEL.unlock(key=HOTEL.stranger))
    assert calm.core.throttle.wait_ms(calm.now_ms) == 0


@pytest.mark.requirement("P14")
@given(silence_ms=st.integers(0, 2 * CHALLENGE_WAIT_MS))
@settings(max_examples=40, deadline=None)
def test_a_silent_link_ends_and_a_late_open_changes_nothing(silence_ms: int) -> None:
    core = fresh_core(LOCK)
    lock, _ = challenged(core)
    step = lock.receive_data(GOOD[0], core=core, sensed=SENSED, now_ms=silence_ms)
    assert step.motor is (silence_ms < SILENCE_MS)
    if not step.motor:
        assert lock.state is State.OVER
        assert step.core == core


@pytest.mark.requirement("P14")
def test_a_challenge_dies_after_five_seconds_however_busy_the_link() -> None:
    core = fresh_core(LOCK)
    lock, _ = challenged(core)
    message = GOOD[0][1:]
    for at in range(20):
        header = (0x80 if at == 0 else 0) | at
        lock.receive_data(bytes([header]) + message[at : at + 1], core=core, sensed=SENSED, now_ms=at * 300)
    assert lock.state is State.OVER


@pytest.mark.requirement("P2")
def test_the_phone_tells_what_never_left_from_what_may_have_happened() -> None:
    keys = LOCK.door_keys(AT_S, AT_S)
    phone = PhoneExchange(keys, HOTEL.unlock(), random=stream("p"), frame_bytes=512, now_ms=0)
    with pytest.raises(LinkLostError):
        phone.on_time(now_ms=phone_side.CHALLENGE_WAIT_MS)
    phone = PhoneExchange(keys, HOTEL.unlock(), random=stream("p"), frame_bytes=512, now_ms=0)
    _, challenge = challenged(fresh_core(LOCK))
    phone.receive_data(b"\xc0" + challenge, now_ms=5)
    phone.on_time(now_ms=5 + phone_side.ANSWER_WAIT_MS - 1)
    with pytest.raises(ReplyTimeoutError) as late:
        phone.on_time(now_ms=5 + phone_side.ANSWER_WAIT_MS)
    assert late.value.may_have_taken_effect
    phone.on_time(now_ms=10**9)  # harmless once over


@pytest.mark.guarantee("G19")
@given(frames=st.lists(st.binary(max_size=120), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_noise_from_a_lock_raises_nothing_but_ours(frames: list[bytes]) -> None:
    phone = PhoneExchange(LOCK.door_keys(AT_S, AT_S), HOTEL.unlock(), random=stream("p"), frame_bytes=512, now_ms=0)
    for frame in frames:
        try:
            assert phone.receive_data(frame, now_ms=1) is None
        except PlatformError:
            assert phone.state is phone_side.State.OVER
            return


@pytest.mark.requirement("P4")
def test_one_challenge_opens_once_and_serves_other_requests_after() -> None:
    meeting = Meeting(LOCK, fresh_core(LOCK))
    opened, status, fetched = meeting.run(HOTEL.unlock(), AskStatus(), Fetch(0))
    assert [each.result.status for each in (opened, status, fetched)] == [Status.OPENED, Status.DONE, Status.DONE]
    assert fetched.sealed
    twice = Meeting(LOCK, fresh_core(LOCK))
    answers = twice.run(HOTEL.unlock(), HOTEL.unlock())
    assert len(answers) == 1
    assert twice.opened == 1
    assert "second UNLOCK" in (twice.steps[-1].fault or "")


@pytest.mark.requirement("P4")
def test_a_refused_unlock_may_be_followed_by_a_better_one() -> None:
    meeting = Meeting(LOCK, fresh_core(LOCK))
    refused, opened = meeting.run(HOTEL.unlock(key=HOTEL.stranger), HOTEL.unlock())
    assert (refused.result.status, opened.result.status) == (Status.BAD_SIGNATURE, Status.OPENED)


@pytest.mark.requirement("P9")
def test_what_is_carried_must_be_signed_by_the_revocation_class() -> None:
    unlock = HOTEL.unlock()
    for signed, certificate in (
        (unlock.grant, HOTEL.revocation.certificate.encoded),
        (unlock.grant, unlock.certificate),
        (b"", b""),
        (b"\xff" * 200, HOTEL.revocation.certificate.encoded),
    ):
        meeting = Meeting(LOCK, fresh_core(LOCK))
        [answer] = meeting.run(Carry(signed, certificate))
        assert answer.result.status.reason is not None
        assert meeting.core.generation == 0


def test_two_links_share_one_memory() -> None:
    """Both were challenged before either opened: the second must not undo what the first wrote."""
    core = fresh_core(LOCK)
    first, second = challenged(core, "one"), challenged(core, "two")
    motors = 0
    for seed, (lock, challenge) in (("one", first), ("two", second)):
        phone = PhoneExchange(
            LOCK.door_keys(AT_S, AT_S), HOTEL.unlock(), random=stream(seed), frame_bytes=512, now_ms=0
        )
        phone.receive_data(b"\xc0" + challenge, now_ms=0)
        for frame in phone.data_to_send():
            step = lock.receive_data(frame, core=core, sensed=SENSED, now_ms=1)
            core, motors = step.core, motors + step.motor
    assert motors == 2
    assert [each.seq for each in core.records] == [1, 2, 3]


def test_an_exchange_is_begun_once_and_asked_one_at_a_time() -> None:
    lock, _ = challenged(fresh_core(LOCK))
    with pytest.raises(LocalProtocolError):
        lock.begin(core=fresh_core(LOCK), sensed=SENSED, now_ms=0)
    phone = PhoneExchange(LOCK.door_keys(AT_S, AT_S), HOTEL.unlock(), random=stream("p"), frame_bytes=512, now_ms=0)
    with pytest.raises(LocalProtocolError):
        phone.ask(AskStatus(), now_ms=0)


def test_every_state_but_the_first_and_last_has_a_move() -> None:
    assert {state for state, _ in lock_side.MOVES} == {State.CHALLENGED, State.REFERRED, State.OPEN}
    assert {state for state, _ in phone_side.MOVES} == {
        phone_side.State.WAITING,
        phone_side.State.ASKED_FAST,
        phone_side.State.ASKED,
    }


def test_a_lock_decodes_each_public_key_of_others_once_and_its_ca_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding a compressed point costs a square root: as much as half a key agreement."""
    decoded: list[bytes] = []
    decode = ec.EllipticCurvePublicKey.from_encoded_point

    def counted(curve: ec.EllipticCurve, data: bytes) -> ec.EllipticCurvePublicKey:
        decoded.append(data)
        return decode(curve, data)

    meeting, unlock = Meeting(LOCK, fresh_core(LOCK), SENSED), HOTEL.unlock()
    monkeypatch.setattr(ec.EllipticCurvePublicKey, "from_encoded_point", counted)
    meeting.run(unlock)
    assert meeting.opened == 1
    assert [decoded.count(point) for point in LOCK.ca_points] == [0]
    assert decoded.count(HOTEL.guest.certificate.point) == 1
    assert len(decoded) <= 6  # both ephemeral keys, s_lock, the issuer, the phone at the grant and at its proof


def test_a_certificate_of_another_point_has_the_key_of_that_point() -> None:
    read = open_certificate(HOTEL.guest.certificate.encoded, LOCK.ca_keys)
    other = HOTEL.revocation.certificate.point
    changed = replace(read, point=other)
    assert (compressed(read.public_key), compressed(changed.public_key)) == (read.point, other)
    assert changed.kid == HOTEL.revocation.certificate.kid != read.kid
    assert repr(read) == repr(HOTEL.guest.certificate)
    assert read == HOTEL.guest.certificate


def test_who_believes_a_next_ca_finds_both_keys_by_id() -> None:
    both = with_next_ca(LOCK, HOTEL.stranger.public_key())
    assert {kid: compressed(key) for kid, key in both.ca_keys.items()} == {
        kid_of(public_key(point)): point for point in both.ca_points
    }
    assert (len(both.ca_keys), len(LOCK.ca_keys)) == (2, 1)
    with pytest.raises(TypeError):
        both.ca_keys[b"kid!"] = HOTEL.stranger.public_key()  # type: ignore[index]  # this is what is refused
