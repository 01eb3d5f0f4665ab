"""Every random choice in the house: ids, nonces, jitter. A port, so that a seed can replay a whole night.

`SystemDice` is fit for keys and nonces. `SeededDice` is for simulations, emulators and tests alone: whoever
knows its seed knows every byte that it will ever give.
"""

import random
import secrets
from collections.abc import Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Dice(Protocol):
    """The port."""

    def bytes(self, n: int) -> bytes:
        """Return `n` random bytes."""
        ...

    def uniform(self, a: float, b: float) -> float:
        """Return a float in [a, b]."""
        ...

    def integer(self, a: int, b: int) -> int:
        """Return an integer in [a, b], both ends included."""
        ...

    def choice(self, seq: Sequence[T]) -> T:
        """Return one item. Raises IndexError for an empty sequence."""
        ...


class SystemDice:
    """The operating system's cryptographic generator."""

    def __init__(self) -> None:
        self._random = secrets.SystemRandom()

    def bytes(self, n: int) -> bytes:
        """Return `n` bytes fit for keys and nonces."""
        return secrets.token_bytes(n)

    def uniform(self, a: float, b: float) -> float:
        """Return a float in [a, b]."""
        return self._random.uniform(a, b)

    def integer(self, a: int, b: int) -> int:
        """Return an integer in [a, b], both ends included."""
        return self._random.randint(a, b)

    def choice(self, seq: Sequence[T]) -> T:
        """Return one item."""
        return self._random.choice(seq)


class SeededDice:
    """A generator that repeats itself: same seed, same throws, on every machine and in every process."""

    def __init__(self, seed: int | str) -> None:
        self.seed = seed
        self._random = random.Random(f"innkeeper:{seed}")  # a str seed is hashed by SHA-512, not by hash()

    def bytes(self, n: int) -> bytes:
        """Return `n` predictable bytes."""
        return self._random.randbytes(n)

    def uniform(self, a: float, b: float) -> float:
        """Return a float in [a, b]."""
        return self._random.uniform(a, b)

    def integer(self, a: int, b: int) -> int:
        """Return an integer in [a, b], both ends included."""
        return self._random.randint(a, b)

    def choice(self, seq: Sequence[T]) -> T:
        """Return one item."""
        return self._random.choice(seq)

    def fork(self, name: str) -> "SeededDice":
        """Return dice of their own for `name`, so that one part's throws never shift another's."""
        return SeededDice(f"{self.seed}/{name}")
