"""OPERA Cloud's event stream: the subscription, as bytes and time."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.pms.ohip.stream import (
    PATIENCE,
    RESUME_BACK,
    Event,
    Memory,
    OffsetRefusedError,
    Stage,
    Subscription,
    address,
)
from cloud.pms.port import Hint, PmsRefusedError
from protocols.errors import InvalidInputError, LinkLostError, PeerProtocolError, ReplyTimeoutError

pytestmark = pytest.mark.requirement("PMS-08")
FINE = Hint("reservation", "42")


def subscription(offset: str | None = None) -> tuple[Subscription, Memory]:
    memory = Memory(offset)
    return Subscription(token="t", chain="NORTHLIGHT", memory=memory, now_ms=0), memory


def subscribed(offset: str | None = None) -> tuple[Subscription, Memory]:
    held, memory = subscription(offset)
    held.receive('{"type":"connection_ack"}', now_ms=0)
    held.data_to_send()
    return held, memory


def event(offset: object, unique: object = None, **more: object) -> str:
    metadata = {"offset": offset, "uniqueEventId": f"u{offset}" if unique is None else unique}
    told = {"metadata": metadata, "moduleName": "RESERVATION", "primaryKey": "42", "hotelId": "AURORA", **more}
    return json.dumps({"id": "1", "type": "next", "payload": {"data": {"newEvent": told}}})


@pytest.mark.parametrize("offset", [None, "194", 'a"b\\c'])
def test_a_subscription_is_opened_as_the_sub_protocol_says(offset: str | None) -> None:
    held, _ = subscription(offset)
    assert [json.loads(each) for each in held.data_to_send()] == [
        {"type": "connection_init", "payload": {"Authorization": "Bearer t"}}
    ]
    assert held.receive('{"type":"connection_ack","payload":{"more":1}}', now_ms=5) is None
    [sent] = [json.loads(each) for each in held.data_to_send()]
    assert (sent["type"], sent["id"]) == ("subscribe", "1")
    given_ = "" if offset is None else f", offset: {json.dumps(offset)}"
    assert f'newEvent(input: {{ chainCode: "NORTHLIGHT"{given_} }})' in sent["payload"]["query"]
    assert held.stage is Stage.SUBSCRIBED


def test_the_address_holds_the_keys_hash_and_never_the_key() -> None:
    key = hashlib.sha256(b"secret").hexdigest()
    assert address("https://a.invalid/", "secret") == f"wss://a.invalid/subscriptions?key={key}"
    assert address("ws://a.invalid:1/x/subscriptions", "secret") == f"ws://a.invalid:1/x/subscriptions?key={key}"
    for wrong in ("a.invalid", "ftp://a.invalid", "https://"):
        with pytest.raises(InvalidInputError, match="platform"):
            address(wrong, "secret")


def test_an_event_is_a_hint_and_one_that_came_before_is_none() -> None:
    held, memory = subscribed()
    assert held.receive(event(7), now_ms=1) == Event("AURORA", FINE)
    assert held.receive(event(7), now_ms=2) is None
    assert held.receive(event(9, "u7"), now_ms=2) is None, "the same event under another offset"
    assert held.receive(event(8, moduleName="Cashiering"), now_ms=3) == Event("AURORA", None)
    told = held.receive(event(10, primaryKey=None), now_ms=4)
    assert told is not None
    assert told.hint is None
    assert "primaryKey" in (told.problem or "")
    assert (memory.offset, held.doubled) == ("7", 2)


def test_pings_are_sent_and_answered_and_a_line_on_which_nobody_answers_is_dropped() -> None:
    held, _ = subscribed()
    held.receive('{"type":"ping","payload":{"a":1}}', now_ms=1)
    assert [json.loads(each) for each in held.data_to_send()] == [{"type": "pong", "payload": {"a": 1}}]
    assert held.deadline_ms == PATIENCE.ping_every_ms
    held.on_time(now_ms=held.deadline_ms)
    assert held.data_to_send() == ['{"type": "ping"}']
    held.receive('{"type":"pong"}', now_ms=PATIENCE.ping_every_ms + 1)
    held.on_time(now_ms=2 * PATIENCE.ping_every_ms)
    asked_ms = 2 * PATIENCE.ping_every_ms
    held.on_time(now_ms=asked_ms + PATIENCE.pong_ms - 1)
    with pytest.raises(LinkLostError, match="half open"):
        held.on_time(now_ms=asked_ms + PATIENCE.pong_ms)


def test_who_does_not_acknowledge_the_opening_is_left() -> None:
    held, _ = subscription()
    held.on_time(now_ms=PATIENCE.ack_ms - 1)
    with pytest.raises(ReplyTimeoutError, match="connection_ack"):
        held.on_time(now_ms=PATIENCE.ack_ms)


def test_numbers_that_are_left_out_are_a_gap_once_they_did_not_come_late() -> None:
    held, _ = subscribed()
    for offset in (1, 4, 2):
        held.receive(event(offset), now_ms=0)
    held.on_time(now_ms=PATIENCE.late_ms - 1)
    held.receive('{"type":"pong"}', now_ms=PATIENCE.late_ms - 1)
    assert held.lost is None
    held.receive(event(3), now_ms=PATIENCE.late_ms - 1)
    held.on_time(now_ms=PATIENCE.late_ms)
    assert held.lost is None, "everything came, if not in order"
    held.receive(event(6), now_ms=PATIENCE.late_ms)
    held.receive('{"type":"pong"}', now_ms=PATIENCE.late_ms)
    held.on_time(now_ms=2 * PATIENCE.late_ms)
    assert "left out" in str(held.lost)
    held.lost = None
    held.receive(event(10**9), now_ms=0)
    assert "left out" in str(held.lost), "so many are waited for by nobody"


@pytest.mark.parametrize(
    ("asked", "begins", "lost"),
    [("194", 194, False), ("194", 195, False), ("194", 12, False), ("194", 521, True), ("x9", "x9", False),
     ("x9", "x11", True), ("194", "x1", True), (None, 521, False)],
)  # fmt: skip
def test_a_stream_that_begins_after_what_was_asked_for_has_a_gap(
    asked: str | None, begins: object, *, lost: bool
) -> None:
    held, _ = subscribed(asked)
    held.receive(event(begins), now_ms=1)
    assert (held.lost is not None) == lost
    held.lost = None
    held.receive(event("y" if isinstance(begins, str) else begins + 1 if isinstance(begins, int) else 0), now_ms=1)
    assert held.lost is None, "it is the beginning that tells"


def test_what_the_stream_refuses_has_its_error_and_its_end_is_an_end() -> None:
    refused = '{"id":"1","type":"error","payload":[{"message":"Offset is not available"}]}'
    held, _ = subscribed("194")
    with pytest.raises(OffsetRefusedError, match="not available"):
        held.receive(refused, now_ms=0)
    held, _ = subscribed()
    with pytest.raises(PmsRefusedError, match="not available") as told:
        held.receive(refused, now_ms=0)
    assert not isinstance(told.value, OffsetRefusedError)
    held, _ = subscribed()
    with pytest.raises(LinkLostError, match="completed"):
        held.receive('{"id":"1","type":"complete"}', now_ms=0)


def test_the_next_subscription_begins_a_little_before_the_newest_event() -> None:
    held, memory = subscribed()
    for offset in range(1, RESUME_BACK + 11):
        held.receive(event(offset), now_ms=0)
    assert memory.offset == "11"
    again = Subscription(token="t", chain="N", memory=memory, now_ms=0)
    again.receive('{"type":"connection_ack"}', now_ms=0)
    told = [again.receive(event(offset), now_ms=0) for offset in range(11, RESUME_BACK + 13)]
    assert [each is None for each in told] == [True] * RESUME_BACK + [False] * 2
    assert again.lost is None


def test_a_line_that_breaks_before_anything_new_is_begun_at_the_newest_event_but_not_past_one_that_is_awaited() -> None:
    held, memory = subscribed()
    for offset in (1, 2, 3):
        held.receive(event(offset), now_ms=0)
    assert [memory.begin(), memory.begin(), memory.offset] == ["1", "3", "1"]
    held.receive(event(5), now_ms=0)
    assert [memory.begin(), memory.begin()] == ["1", "1"], "4 may still come, or is told as lost"


@pytest.mark.guarantee("G19")
@given(
    st.lists(
        st.binary(max_size=60)
        | st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["type", "payload", "newEvent", "metadata", "offset"]), inner)
            ),
            max_leaves=8,
        ).map(lambda told: json.dumps(told).encode())
        | st.sampled_from(["next", "ping", "pong", "error", "complete"]).map(
            lambda kind: b'{"type":"%s"}' % kind.encode()
        ),
        max_size=8,
    )
)
def test_noise_raises_nothing_but_what_is_promised(noise: list[bytes]) -> None:
    held, _ = subscribed("5")
    for each in noise:
        try:
            held.receive(each, now_ms=0)
        except (PeerProtocolError, LinkLostError, PmsRefusedError):
            if held.stage is Stage.OVER:
                return
