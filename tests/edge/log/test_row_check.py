"""A damaged record is told from a good one, and costs no neighbour."""

import random

import pytest

from edge.log.row_check import check_bytes, rows_of, sound
from protocols.link import chain
from protocols.link.lanes import LANES, Lane

RECORDS = [b"record %d " % n * (1 + n % 3) for n in range(12)]
GENESIS = chain.genesis(bytes(16))


def rows(lane: Lane) -> list[tuple[int, bytes]]:
    made, _ = rows_of(lane, RECORDS, 100, GENESIS)
    return list(enumerate(made, start=101))


@pytest.mark.parametrize("lane", LANES)
def test_what_was_written_is_sound(lane: Lane) -> None:
    made = rows(lane)
    assert [row[check_bytes(lane) :] for _, row in made] == RECORDS
    assert all(sound(lane, made, 100, GENESIS))
    assert all(sound(lane, made[5:], 105, None))


@pytest.mark.guarantee("G14")
@pytest.mark.parametrize("lane", LANES)
def test_ten_thousand_flipped_bits_are_found_each_where_it_is(lane: Lane) -> None:
    made = rows(lane)
    dice = random.Random(lane.value)
    for _ in range(10_000):
        at = dice.randrange(len(made))
        seq, row = made[at]
        data = bytearray(row)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        verdicts = sound(lane, [*made[:at], (seq, bytes(data)), *made[at + 1 :]], 100, GENESIS)
        assert verdicts == [each != at for each in range(len(made))]


@pytest.mark.guarantee("G14")
@pytest.mark.parametrize("lane", LANES)
def test_exchanged_records_are_both_found(lane: Lane) -> None:
    """On lane A what follows them does not follow from them any more, and is not believed either."""
    made = rows(lane)
    verdicts = sound(lane, [*made[:3], (104, made[7][1]), *made[4:7], (108, made[3][1]), *made[8:]], 100, GENESIS)
    assert [at for at, good in enumerate(verdicts) if not good] == ([3, 4, 7, 8] if lane is Lane.A else [3, 7])


@pytest.mark.guarantee("G14")
def test_behind_a_missing_record_the_chain_is_taken_up_again() -> None:
    made = rows(Lane.A)
    assert all(sound(Lane.A, [*made[:4], *made[5:]], 100, GENESIS))
    cut = [*made[:4], (106, made[5][1][:-1] + b"?"), *made[6:]]
    assert [at for at, good in enumerate(sound(Lane.A, cut, 100, GENESIS)) if not good] == [4]
