"""Dice: seeded ones repeat themselves everywhere, forks do not disturb each other, bounds are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.dice import Dice, SeededDice, SystemDice


def test_a_seed_repeats_itself_on_every_machine() -> None:
    dice = SeededDice(7)
    assert (dice.bytes(4).hex(), dice.integer(0, 10**9), dice.choice("abcdef")) == ("63b01a8b", 713041761, "e")


def test_forks_have_throws_of_their_own() -> None:
    alone = SeededDice(1).fork("a").bytes(8)
    dice = SeededDice(1)
    dice.bytes(100)
    dice.fork("b").bytes(100)
    assert dice.fork("a").bytes(8) == alone
    assert dice.fork("b").bytes(8) != alone


@pytest.mark.parametrize("dice", [SystemDice(), SeededDice(3)], ids=["system", "seeded"])
@given(a=st.integers(-1000, 1000), width=st.integers(0, 1000))
def test_bounds_are_kept(dice: Dice, a: int, width: int) -> None:
    assert a <= dice.integer(a, a + width) <= a + width
    assert a <= dice.uniform(a, a + width) <= a + width
    assert len(dice.bytes(width % 64)) == width % 64
    assert dice.choice(range(a, a + width + 1)) in range(a, a + width + 1)


@pytest.mark.parametrize("dice", [SystemDice(), SeededDice(3)], ids=["system", "seeded"])
def test_both_ends_occur(dice: Dice) -> None:
    assert {dice.integer(0, 1) for _ in range(200)} == {0, 1}
