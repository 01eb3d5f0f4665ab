"""Ends of stays that were decided here: joined with documents to the same truth in whatever order they come."""

import itertools
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from edge.stays.document import parse
from edge.stays.replica import FORGET_LEFT_AFTER_MS, Replica, Until
from protocols.device_model.identity import StayId
from tests.edge.world import AURORA, HOUR_MS, T0, a_document, a_stay

ANNA = StayId("s-anna")
ENDS_MS = T0 + 24 * HOUR_MS


def word(n: int) -> Until:
    """The building's `n`th: each names another end."""
    return Until(ANNA, ENDS_MS + n * HOUR_MS, ENDS_MS, n, "desk", T0)


def offered(replica: Replica, version: int, heard: int) -> Replica:
    """A document of a cloud that has settled on something else than was said."""
    said = a_stay(state="in_house", expected_until_ms=ENDS_MS + version) | ({"until_n": heard} if heard else {})
    return replica.offered(version, parse(a_document(said, v=3), ours=AURORA))


def until_of(replica: Replica) -> int:
    stay = replica.get(ANNA)
    assert stay is not None
    return stay.expected_until_ms


@given(
    words=st.lists(st.integers(1, 5), max_size=8),
    heard=st.lists(st.integers(0, 5), min_size=1, max_size=5).map(sorted),
    dice=st.randoms(use_true_random=False),
)
def test_in_any_order_and_however_often_the_same_end_stands(words: list[int], heard: list[int], dice: Random) -> None:
    steps = [("word", n) for n in words] + [("document", each) for each in range(1, len(heard) + 1)]
    dice.shuffle(steps)
    replica, newest = Replica(), 0
    for kind, number in steps:
        if kind == "word":
            replica = replica.ends(word(number))
        elif number > newest:  # an older one is refused
            newest = number
            replica = offered(replica, number, heard[number - 1])
    last = max(words, default=0)
    cloud = heard[newest - 1]
    assert until_of(replica) == (ENDS_MS + last * HOUR_MS if last > cloud else ENDS_MS + newest)


def test_every_order_of_three_words_ends_with_the_last() -> None:
    for order in itertools.permutations([1, 2, 3]):
        replica = offered(Replica(), 1, heard=0)
        for each in order:
            replica = replica.ends(word(each))
        assert until_of(replica) == ENDS_MS + 3 * HOUR_MS
        assert replica.next_until(ANNA, T0, by="desk", at_ms=T0).n == 4


def test_a_word_on_a_stay_that_is_over_is_forgotten_in_the_end() -> None:
    replica = Replica().offered(1, parse(a_document(a_stay(state="in_house")), ours=AURORA)).ends(word(1))
    left = replica.offered(2, parse(a_document(a_stay(state="left")), ours=AURORA))
    assert left.untils == {}
    gone = replica.offered(2, parse(a_document(), ours=AURORA))
    assert gone.untils == {ANNA: word(1)}, "a document that forgets a guest ends nothing"
    later_ms = ENDS_MS + HOUR_MS + FORGET_LEFT_AFTER_MS
    assert gone.offered(3, parse(a_document(as_of_ms=later_ms), ours=AURORA)).untils == {ANNA: word(1)}
    assert gone.offered(3, parse(a_document(as_of_ms=later_ms + 1), ours=AURORA)).untils == {}
