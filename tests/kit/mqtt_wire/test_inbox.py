"""The inbox against a plain model of it: order, bounds, and who is told of what."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kit.mqtt_wire.inbox import LARGE_BYTES_MAX, LARGE_WAITING_MAX, WAITING_BYTES_MAX, Inbox
from kit.mqtt_wire.parser import Publish
from kit.net import PAYLOAD_BYTES_MAX

LONG = b"bridge/devices"


def made(*, messages_max: int = 10, topic_waiting_max: int | None = 3) -> tuple[Inbox, list[tuple[str, bytes, int]]]:
    told: list[tuple[str, bytes, int]] = []
    inbox = Inbox(
        messages_max=messages_max,
        topic_waiting_max=topic_waiting_max,
        large_topics=frozenset({LONG}),
        told=lambda *what: told.append(what),
    )
    return inbox, told


@given(
    st.lists(st.one_of(st.none(), st.sampled_from([b"a", b"b", b"c"])), max_size=60),
    st.integers(1, 8),
    st.one_of(st.none(), st.integers(1, 4)),
)
def test_it_is_first_in_first_out_with_the_newest_of_a_babblers_words(
    steps: list[bytes | None], messages_max: int, topic_waiting_max: int | None
) -> None:
    """A step is a word on a topic, or somebody who reads one."""
    inbox, told = made(messages_max=messages_max, topic_waiting_max=topic_waiting_max)
    model: list[Publish] = []
    expected: Counter[str] = Counter()
    for number, topic in enumerate(steps):
        if topic is None:
            assert bool(inbox) is bool(model)
            assert inbox.take() == (model.pop(0) if model else None)
            continue
        publish: Publish = (topic, b"%d" % number, number + 1, 0x32)
        mine = [each for each in model if each[0] == topic]
        gone = inbox.put(publish)
        if topic_waiting_max is not None and len(mine) >= topic_waiting_max:
            assert gone == mine[0]
            model.remove(mine[0])
            model.append(publish)
            expected["crowded"] += 1
        elif len(model) >= messages_max:
            assert gone is None
            expected["overflowed"] += 1
        else:
            assert gone is None
            model.append(publish)
        assert len(inbox) == len(model)
        assert inbox.waiting_bytes == sum(len(each[1] or b"") for each in model)
    assert Counter(why for why, _, _ in told) == expected
    assert [inbox.take() for _ in range(len(inbox))] == model
    assert (inbox.take(), inbox.waiting_bytes) == (None, 0)


def test_one_that_is_too_long_keeps_its_place_and_nothing_else() -> None:
    inbox, told = made()
    inbox.put((b"a", b"1", 1, 0x32))
    inbox.put((b"a", bytes(PAYLOAD_BYTES_MAX + 1), 2, 0x32))
    inbox.put((b"a", b"3", 3, 0x32))
    assert inbox.waiting_bytes == 2
    assert [inbox.take() for _ in range(3)] == [(b"a", b"1", 1, 0x32), (b"a", None, 2, 0x32), (b"a", b"3", 3, 0x32)]
    assert told == [("oversized", b"a", PAYLOAD_BYTES_MAX + 1)]


def test_a_long_topic_may_be_long_and_only_so_many_of_it_wait() -> None:
    inbox, told = made(topic_waiting_max=None)
    size = PAYLOAD_BYTES_MAX + 1
    for number in range(LARGE_WAITING_MAX + 1):
        assert inbox.put((LONG, bytes(size), number + 1, 0x32)) is None
    assert (len(inbox), inbox.waiting_bytes, told) == (LARGE_WAITING_MAX, 0, [("overflowed", LONG, size)])
    assert inbox.take() == (LONG, bytes(size), 1, 0x32)
    inbox.put((LONG, bytes(size), 9, 0x32))
    assert len(inbox) == LARGE_WAITING_MAX
    inbox.put((LONG, bytes(LARGE_BYTES_MAX + 1), 10, 0x32))
    assert told[-1] == ("oversized", LONG, LARGE_BYTES_MAX + 1)


def test_many_names_fill_no_memory_and_a_small_word_is_taken() -> None:
    inbox, told = made(messages_max=4_096)
    size = PAYLOAD_BYTES_MAX
    fit = WAITING_BYTES_MAX // size
    for number in range(fit + 3):
        inbox.put((b"loud-%d" % number, bytes(size), number + 1, 0x32))
    inbox.put((b"neighbour", b"{}", 60_000, 0x32))
    assert [why for why, _, _ in told] == ["overweight"] * 3
    assert inbox.waiting_bytes == fit * size + 2
    heard = [inbox.take() for _ in range(len(inbox))]
    assert [each[0] for each in heard if each is not None and each[1] is not None] == [
        *(b"loud-%d" % number for number in range(fit)),
        b"neighbour",
    ]
    assert inbox.waiting_bytes == 0
