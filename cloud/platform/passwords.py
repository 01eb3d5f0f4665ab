"""Passwords: judged, hashed with Argon2id (RFC 9106), verified in threads of which few run at a time."""

import asyncio
import unicodedata
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from protocols.errors import InvalidInputError

CHARACTERS_LEAST: Final = 12
CHARACTERS_MOST: Final = 128
SALT_BYTES: Final = 16
HASH_BYTES: Final = 32
AT_A_TIME: Final = 2
"""Each takes `memory_kib`: a bound on memory and on what strangers can make us compute."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess costs. The default is the second recommended option of RFC 9106 in spirit: OWASP's 19 MiB, 2."""

    memory_kib: int = 19 * 1024
    iterations: int = 2
    lanes: int = 1


class RandomBytes(Protocol):
    """What hashing needs of dice."""

    def bytes(self, n: int) -> bytes:
        """Return `n` random bytes."""
        ...


def judged(password: str, *, of: str) -> str:
    """Return a new password in its normal form (NFKC).

    Raises:
        InvalidInputError: too short, too long, or the name of who has it; never shows it.
    """
    told = unicodedata.normalize("NFKC", password)
    if not CHARACTERS_LEAST <= len(told) <= CHARACTERS_MOST:
        raise InvalidInputError("password", f"must have {CHARACTERS_LEAST} to {CHARACTERS_MOST} characters")
    if told.casefold() == of.casefold() or len(set(told)) < 4:
        raise InvalidInputError("password", "can be guessed: choose another")
    return told


class Passwords:
    """Hashes and verifies."""

    def __init__(self, *, dice: RandomBytes, cost: Cost | None = None) -> None:
        """New hashes have `cost`; older ones are verified at their own."""
        self._dice, self._cost = dice, cost or Cost()
        self._room = asyncio.Semaphore(AT_A_TIME)
        self._nobodys: str | None = None

    async def hashed(self, password: str) -> str:
        """Return the PHC string of a judged password."""
        async with self._room:
            return await asyncio.to_thread(self._hash, password)

    async def fits(self, password: str, phc: str | None) -> bool:
        """Tell whether `password` is the one of `phc`. None costs as much as a wrong one: no account has it."""
        async with self._room:
            return await asyncio.to_thread(self._fits, password, phc)

    def is_dated(self, phc: str) -> bool:
        """Tell whether a hash was made at another cost than today's."""
        return f"$m={self._cost.memory_kib},t={self._cost.iterations},p={self._cost.lanes}$" not in phc

    def _hash(self, password: str) -> str:
        return Argon2id(
            salt=self._dice.bytes(SALT_BYTES),
            length=HASH_BYTES,
            iterations=self._cost.iterations,
            lanes=self._cost.lanes,
            memory_cost=self._cost.memory_kib,
        ).derive_phc_encoded(password.encode())

    def _fits(self, password: str, phc: str | None) -> bool:
        if self._nobodys is None:
            self._nobodys = self._hash(self._dice.bytes(SALT_BYTES).hex())
        told = unicodedata.normalize("NFKC", password[: CHARACTERS_MOST + 1]).encode("utf-8", "surrogatepass")
        try:
            Argon2id.verify_phc_encoded(told, phc or self._nobodys)
        except InvalidKey:
            return False
        return phc is not None
