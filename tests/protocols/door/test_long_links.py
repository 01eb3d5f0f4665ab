"""Somebody with the door's keys who stays on the link: he neither writes the log full nor keeps others out."""

import json
from pathlib import Path

import pytest

import protocols.vectors
from protocols.door.frames import cut
from protocols.door.identity import LockIdentity
from protocols.door.lock import LINK_MS, SILENCE_MS, LockExchange, State
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.phone import AskStatus, Carry, Fetch, PhoneExchange, Request, Resume
from protocols.door.status import Status
from protocols.door.throttle import THROTTLE_FAILURES, THROTTLE_MOST_MS
from protocols.errors import CredentialRefusedError, RefusalReason
from protocols.grant.revocation import Bump
from protocols.vectors.fixed import AT_S, RTC_S, TONIGHT, Meeting, fixed_hotel, fresh_core, stream

HOTEL = fixed_hotel()
LOCK = HOTEL.room_101
ELSEWHERE = Carry(HOTEL.signed(Bump(102, TONIGHT + 1)), HOTEL.revocation.certificate.encoded)
"""Refused here: true news of the room next door, which anybody may have."""


def throttled(seed: str = "hammer") -> Meeting:
    """Return a lock that pauses public-key work, and the phone on whose link it began to."""
    meeting = Meeting(LOCK, fresh_core(LOCK), seed=seed)
    answers = meeting.run(*[ELSEWHERE] * THROTTLE_FAILURES)
    assert [each.result.status for each in answers] == [Status.WRONG_DOOR] * THROTTLE_FAILURES
    return meeting


def asked(meeting: Meeting, request: Request) -> Status | RefusalReason:
    """Ask once more on the same link."""
    lock, phone = meeting.lock_side, meeting.phone_side
    assert lock is not None
    assert phone is not None
    phone.ask(request, now_ms=meeting.now_ms)
    for frame in phone.data_to_send():
        step = lock.receive_data(frame, core=meeting.core, sensed=meeting.sensed, now_ms=meeting.now_ms)
        meeting.core = step.core
        meeting.steps.append(step)
    for frame in lock.data_to_send():
        try:
            answer = phone.receive_data(frame, now_ms=meeting.now_ms)
        except CredentialRefusedError as refused:
            return refused.reason
        if answer is not None:
            return answer.result.status
    raise AssertionError("neither answered nor told to wait")


@pytest.mark.requirement("P14")
@pytest.mark.parametrize("request_", [ELSEWHERE, HOTEL.unlock(), Fetch(0)], ids=["CARRY", "UNLOCK", "FETCH"])
def test_who_fails_again_and_again_on_one_link_waits_as_on_many(request_: Request) -> None:
    meeting = throttled()
    before = meeting.core
    assert asked(meeting, request_) is RefusalReason.BUSY
    assert meeting.lock_side is not None
    assert meeting.lock_side.state is State.OVER
    assert meeting.core == before, "neither a record nor a longer pause for who only came too early"
    meeting.now_ms += THROTTLE_MOST_MS
    later = Meeting(LOCK, meeting.core, seed="later", now_ms=meeting.now_ms)
    assert [each.result.status for each in later.run(HOTEL.unlock())] == [Status.OPENED]


@pytest.mark.requirement("P14")
def test_what_takes_no_public_key_work_goes_on_in_the_pause() -> None:
    meeting = throttled()
    assert asked(meeting, AskStatus()) is Status.DONE
    assert asked(meeting, Resume()) is Status.NOT_ALLOWED


@pytest.mark.guarantee("G5")
@pytest.mark.requirement("P14")
@pytest.mark.parametrize("frame_bytes", [20, None], ids=["gatt", "channel"])
def test_a_link_that_keeps_talking_ends_all_the_same(frame_bytes: int | None) -> None:
    """Two of them would be all the links that a lock bears: with more it does not even advertise."""
    core, now_ms = fresh_core(LOCK), 0
    lock = LockExchange(LOCK, random=stream("lock"), frame_bytes=frame_bytes)
    keys = LOCK.door_keys(AT_S, AT_S)
    phone = PhoneExchange(keys, AskStatus(), random=stream("phone"), frame_bytes=frame_bytes, now_ms=0)
    lock.begin(core=core, sensed=Sensed(RTC_S), now_ms=0)
    while lock.state is not State.OVER:
        for frame in lock.data_to_send():
            if phone.receive_data(frame, now_ms=now_ms) is not None:
                now_ms += SILENCE_MS - 1
                phone.ask(AskStatus(), now_ms=now_ms)
        for frame in phone.data_to_send():
            core = lock.receive_data(frame, core=core, sensed=Sensed(RTC_S), now_ms=now_ms).core
        assert lock.deadline_ms is None or lock.deadline_ms <= LINK_MS
    assert LINK_MS <= now_ms < LINK_MS + SILENCE_MS
    assert lock.data_to_send() == []


@pytest.mark.requirement("P14")
def test_frames_without_end_do_not_prolong_it() -> None:
    core = fresh_core(LOCK)
    lock = LockExchange(LOCK, random=stream("lock"), frame_bytes=20)
    lock.begin(core=core, sensed=Sensed(RTC_S), now_ms=0)
    lock.state = State.OPEN  # as after an exchange; what follows is the start of MORE
    for number, frame in enumerate(cut(bytes([3]) + bytes(900), 20)[:-1]):
        lock.receive_data(frame, core=core, sensed=Sensed(RTC_S), now_ms=number * (SILENCE_MS - 1))
    assert lock.on_time(now_ms=LINK_MS) or lock.state is State.OVER


@pytest.mark.requirement("P1", "P14")
def test_the_pause_is_told_as_the_vector_says() -> None:
    vector = json.loads((Path(protocols.vectors.__file__).parent / "door/throttled.json").read_text(encoding="utf-8"))
    identity = LockIdentity.from_document(vector["lock"], "lock")
    lock = LockExchange(identity, random=stream(vector["nonce_seed"]), frame_bytes=vector["frame_bytes"])
    core, sensed = LockCore.decode(bytes.fromhex(vector["lock_memory_before"])), Sensed(**vector["sensed"])
    lock.begin(core=core, sensed=sensed, now_ms=0)
    outbox = lock.data_to_send()
    for line in vector["frames"]:
        if line["from"] == "lock":
            assert outbox.pop(0).hex() == line["frame"]
            continue
        core = lock.receive_data(bytes.fromhex(line["frame"]), core=core, sensed=sensed, now_ms=0).core
        outbox += lock.data_to_send()
    assert outbox == []
    assert lock.state.name == vector["lock_state"] == "OVER"
    assert core.encode().hex() == vector["lock_memory_after"]
    assert vector["phone_is_told"] == "busy"
