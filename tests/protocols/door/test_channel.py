"""The L2CAP channel as the vectors have it: streams cut anywhere, ports, and which way an exchange goes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.door.advert import Advert
from protocols.door.audit import AuditEvent, open_chunk
from protocols.door.channel import ANSWER_BYTES_MOST, Heard, LockWays, StreamAssembler, Then, Way, prefixed, psm_of
from protocols.door.identity import LockIdentity
from protocols.door.lock import MESSAGE_WAIT_MS, SILENCE_MS, LockExchange, State
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.messages import (
    RECORDS_IN_CHANNEL_MOST,
    RECORDS_IN_CHUNK_MOST,
    FetchCommand,
    decode_command,
    encode_command,
)
from protocols.door.phone import AskStatus, Fetch, PhoneExchange
from protocols.door.status import Status
from protocols.errors import LocalProtocolError, PeerProtocolError
from protocols.vectors.fixed import AT_S, RTC_S, Meeting, fixed_hotel, fresh_core, stream
from tests.protocols.door.test_vectors import draws, keys_of, read, request_of, scalar_draw, sensed_of

HOTEL = fixed_hotel()
LOCK = HOTEL.room_101
NOW = Sensed(RTC_S)
CHANNEL = read("channel.json")
ANYWHERE = [pytest.param(None, id="whole"), *(pytest.param(size, id=f"cut at {size}") for size in (1, 2, 23, 247))]


def pieces(stream_of: str, size: int | None) -> list[bytes]:
    whole = bytes.fromhex(stream_of)
    return [whole] if size is None else [whole[at : at + size] for at in range(0, len(whole), size)]


@pytest.mark.parametrize("size", ANYWHERE)
@pytest.mark.parametrize("name", ["exchange", "fetch"])
@pytest.mark.requirement("P2", "P10")
def test_an_exchange_in_the_channel_is_the_vectors_however_its_stream_is_cut(name: str, size: int | None) -> None:
    vector = CHANNEL[name]
    lock = LockExchange(
        LockIdentity.from_document(vector["lock"], "lock"),
        random=draws(
            bytes.fromhex(vector["random"]["nonce"]),
            *map(scalar_draw, vector["random"]["lock_ephemerals_private"]),
        ),
        frame_bytes=vector["frame_bytes"],
    )
    requests = [request_of(each, vector["phone_key_private"]) for each in vector["requests"]]
    phone = PhoneExchange(
        keys_of(vector["phone_knows"]),
        requests.pop(0),
        random=draws(scalar_draw(vector["random"]["phone_ephemeral_private"])),
        frame_bytes=vector["frame_bytes"],
        now_ms=0,
    )
    core, sensed = LockCore.decode(bytes.fromhex(vector["lock_memory_before"])), sensed_of(vector["sensed"])
    lock.begin(core=core, sensed=sensed, now_ms=0)
    motor, statuses = 0, []
    for line in vector["frames"]:
        sender: LockExchange | PhoneExchange = lock if line["from"] == "lock" else phone
        assert [each.hex() for each in sender.data_to_send()] == [line["frame"]]
        for piece in pieces(line["frame"], size):
            if line["from"] == "phone":
                step = lock.receive_data(piece, core=core, sensed=sensed, now_ms=1)
                assert step.fault is None
                core, motor = step.core, motor + step.motor
            elif (answer := phone.receive_data(piece, now_ms=1)) is not None:
                statuses.append(answer.result.status.name)
                if requests:
                    phone.ask(requests.pop(0), now_ms=1)
    assert statuses == [each["status"] for each in vector["answers"]]
    assert motor == vector["motor"] == (name == "exchange")
    assert core.encode().hex() == vector["lock_memory_after"]
    assert (phone.resumption.secret.hex() if phone.resumption else None) == vector.get("resumption_after")


@pytest.mark.parametrize("size", ANYWHERE)
@pytest.mark.parametrize("case", CHANNEL["streams"], ids=lambda case: f"{len(case['message']) // 2}")
def test_streams_are_the_vectors_however_they_are_cut(case: dict[str, Any], size: int | None) -> None:
    assert prefixed(bytes.fromhex(case["message"])).hex() == case["stream"]
    assembler = StreamAssembler()
    for _ in range(2):  # one message after the other
        *before, last = [assembler.take(piece) for piece in pieces(case["stream"], size)]
        assert before == [None] * len(before)
        assert last == bytes.fromhex(case["message"])


@pytest.mark.parametrize("case", [pytest.param(each, id=each["name"]) for each in CHANNEL["refused"]])
def test_wrong_streams_are_refused(case: dict[str, Any]) -> None:
    assembler = StreamAssembler(ANSWER_BYTES_MOST) if case.get("from") == "lock" else StreamAssembler()
    *before, last = [bytes.fromhex(each) for each in case["sdus"]]
    for sdu in before:
        assert assembler.take(sdu) is None
    with pytest.raises(PeerProtocolError):
        assembler.take(last)


@pytest.mark.parametrize("case", CHANNEL["ways"], ids=lambda case: f"{case['way']}: {case['heard']}")
def test_the_way_of_an_exchange_is_the_vectors(case: dict[str, Any]) -> None:
    ways = LockWays()
    ways.way = Way(case["way"])
    assert ways.on(Heard(case["heard"])).value == case["then"]
    assert ways.way.value == case["next"]


@pytest.mark.requirement("P13")
def test_ports_stand_in_the_advert() -> None:
    for each in CHANNEL["ports"]:
        assert psm_of(each["offset"]) == each["psm"]
    for each in CHANNEL["adverts"]:
        advert = Advert.decode(bytes.fromhex(each["service_data"]))
        assert (int(advert.bits), advert.channel) == (each["bits"], each["offset"])
        assert advert.encode().hex() == each["service_data"]
    with pytest.raises(LocalProtocolError):
        psm_of(16)


# -- beyond the vectors -----------------------------------------------------------------------------------------------


def challenged() -> tuple[LockExchange, LockCore]:
    lock, core = LockExchange(LOCK, random=stream("channel lock"), frame_bytes=None), fresh_core(LOCK)
    lock.begin(core=core, sensed=NOW, now_ms=0)
    return lock, core


def in_session() -> tuple[LockExchange, LockCore]:
    """A lock that has answered a phone, at 1000 ms."""
    meeting = Meeting(LOCK, fresh_core(LOCK), frame_bytes=None)
    meeting.run(AskStatus())
    assert meeting.lock_side is not None
    return meeting.lock_side, meeting.core


@pytest.mark.guarantee("G19")
@pytest.mark.requirement("P19")
@given(sdus=st.lists(st.binary(max_size=40) | st.binary(min_size=1, max_size=1_100), max_size=8), spoken=st.booleans())
@settings(max_examples=300, deadline=None)
def test_noise_in_the_channel_opens_nothing_and_raises_nothing(sdus: list[bytes], spoken: bool) -> None:
    lock, core = in_session() if spoken else challenged()
    for sdu in sdus:
        step = lock.receive_data(sdu, core=core, sensed=NOW, now_ms=1_001)
        core = step.core
        assert not step.motor
        assert (step.fault is not None) <= (lock.state is State.OVER)
    phone = PhoneExchange(
        LOCK.door_keys(AT_S, AT_S), AskStatus(), random=stream("channel phone"), frame_bytes=None, now_ms=0
    )
    for sdu in sdus:
        try:
            assert phone.receive_data(sdu, now_ms=1) is None
        except PeerProtocolError:
            return


@given(
    messages=st.lists(st.binary(min_size=1, max_size=1_024), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 300), min_size=1, max_size=12),
)
@settings(max_examples=200, deadline=None)
def test_messages_come_out_as_they_went_in(messages: list[bytes], cuts: list[int]) -> None:
    assembler, came = StreamAssembler(), []
    for message in messages:
        left, at = prefixed(message), 0
        while left:
            size, at = cuts[at % len(cuts)], at + 1
            came += [each for each in (assembler.take(left[:size]),) if each is not None]
            left = left[size:]
    assert came == messages


@pytest.mark.requirement("P10")
def test_the_longest_chunk_is_one_message_in_the_channel_and_refused_in_gatt() -> None:
    core = fresh_core(LOCK)
    while core.audit_seq < 120:
        core = core.recorded(AuditEvent.OPENED, NOW, Status.OPENED)
    meeting = Meeting(LOCK, core, frame_bytes=None)
    answers = meeting.run(AskStatus(), Fetch(0))
    longest = max(len(frame) for _, frame in meeting.frames)
    assert 4_000 < longest <= 2 + ANSWER_BYTES_MOST
    chunk = open_chunk(answers[-1].sealed, LOCK.lock_id, audit_key=LOCK.audit.public_key(), edge_key=HOTEL.ca.seal)
    assert len(chunk.records) == RECORDS_IN_CHANNEL_MOST
    with pytest.raises(PeerProtocolError):
        decode_command(encode_command(FetchCommand(0, RECORDS_IN_CHUNK_MOST + 1)))
    short = Meeting(LOCK, core, frame_bytes=20).run(AskStatus(), Fetch(0))[-1]
    assert len(short.sealed) < 1_024


@pytest.mark.parametrize("size", [0, 1_025])
def test_what_is_no_message_is_not_sent(size: int) -> None:
    with pytest.raises(LocalProtocolError):
        prefixed(bytes(size))


@pytest.mark.guarantee("G5")
def test_an_unlock_with_a_byte_behind_it_moves_no_motor() -> None:
    lock, core = challenged()
    phone = PhoneExchange(
        LOCK.door_keys(AT_S, AT_S), HOTEL.unlock(), random=stream("channel phone"), frame_bytes=None, now_ms=0
    )
    [challenge] = lock.data_to_send()
    phone.receive_data(challenge, now_ms=0)
    [asked] = phone.data_to_send()
    step = lock.receive_data(asked + b"\x00", core=core, sensed=NOW, now_ms=1)
    assert not step.motor
    assert step.fault is not None
    assert "behind a message" in step.fault
    assert lock.state is State.OVER
    assert [each[2] for each in lock.data_to_send()] == [0x8F]


def test_a_message_that_drips_is_given_up() -> None:
    """A byte now and then would hold a link for an hour otherwise: there are two."""
    lock, core = in_session()
    now_ms = 1_000
    for at in range(10):
        lock.receive_data(b"\x00" if at == 0 else b"\x40" if at == 1 else b"x", core=core, sensed=NOW, now_ms=now_ms)
        if lock.on_time(now_ms=now_ms + SILENCE_MS - 1):
            break
        now_ms += SILENCE_MS - 1
    assert lock.state is State.OVER
    assert now_ms <= 1_000 + MESSAGE_WAIT_MS


def test_a_slow_message_that_is_whole_in_time_counts() -> None:
    meeting = Meeting(LOCK, fresh_core(LOCK), frame_bytes=None)
    meeting.run(AskStatus())
    lock, phone, core = meeting.lock_side, meeting.phone_side, meeting.core
    assert lock is not None
    assert phone is not None
    for _ in range(3):  # the time that one message took is not taken from the next
        phone.ask(AskStatus(), now_ms=1_000)
        [asked] = phone.data_to_send()
        assert lock.deadline_ms is not None
        now_ms = lock.deadline_ms - SILENCE_MS
        lock.receive_data(asked[:1], core=core, sensed=NOW, now_ms=now_ms)
        lock.receive_data(asked[1:5], core=core, sensed=NOW, now_ms=now_ms + SILENCE_MS - 1)
        step = lock.receive_data(asked[5:], core=core, sensed=NOW, now_ms=now_ms + MESSAGE_WAIT_MS - 1)
        assert step.status is not None
        [answered] = lock.data_to_send()
        assert phone.receive_data(answered, now_ms=1_000) is not None


@given(heard=st.lists(st.sampled_from(Heard), max_size=12))
@settings(max_examples=300, deadline=None)
def test_a_connection_has_two_challenges_at_most_and_one_exchange_that_is_heard(heard: list[Heard]) -> None:
    ways = LockWays()
    did = [(ways.on(each), ways.way) for each in heard]
    begun = [then for then, _ in did if then in (Then.BEGIN_GATT, Then.BEGIN_CHANNEL)]
    assert begun in ([], [Then.BEGIN_GATT], [Then.BEGIN_CHANNEL], [Then.BEGIN_CHANNEL, Then.BEGIN_GATT])
    fed = {way for then, way in did if then is Then.FEED}
    assert len(fed) <= 1
