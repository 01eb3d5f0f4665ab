"""Wraps data keys: a port that a key service may stand behind, and the one that holds its keys in files.

AES-256-GCM with a random nonce; what the wrapped key is for is authenticated with it, so that a wrapped key copied
to another tenant's row does not open there.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kit.dice import Dice
from protocols.errors import InvalidInputError, PlatformError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class UnreadableError(PlatformError):
    """Sealed data cannot be opened: its key is gone or another's, or it was changed. Names no content."""


class KeyWrapper(Protocol):
    """What sealing needs of whoever keeps the keys of keys."""

    @property
    def name(self) -> str:
        """Return which key wraps now."""
        ...

    def wrap(self, key: bytes, use: bytes) -> bytes:
        """Return `key` wrapped for `use` by the key of `name`."""
        ...

    def unwrap(self, wrapped: bytes, use: bytes, *, by: str) -> bytes:
        """Return what `wrap` was given. Raises UnreadableError."""
        ...


class FileKeys:
    """Key-encryption keys of 32 bytes by name, read once at the start; the first wraps, the others only unwrap."""

    def __init__(self, keys: Mapping[str, bytes], *, dice: Dice) -> None:
        """Use `keys`, the current one first.

        Raises:
            InvalidInputError: there is none, or one is not of 32 bytes.
        """
        if not keys:
            raise InvalidInputError("privacy.keys", "names no key")
        for name, key in keys.items():
            if len(key) != KEY_BYTES:
                raise InvalidInputError(f"privacy.keys.{name}", f"is {len(key)} bytes; want {KEY_BYTES}")
        self._keys, self._dice = {name: AESGCM(key) for name, key in keys.items()}, dice
        self._name = next(iter(keys))

    @property
    def name(self) -> str:
        """Return which key wraps now."""
        return self._name

    def wrap(self, key: bytes, use: bytes) -> bytes:
        """Return nonce and cipher text."""
        nonce = self._dice.bytes(NONCE_BYTES)
        return nonce + self._keys[self._name].encrypt(nonce, key, use)

    def unwrap(self, wrapped: bytes, use: bytes, *, by: str) -> bytes:
        """Return the data key. Raises UnreadableError."""
        known = self._keys.get(by)
        if known is None:
            raise UnreadableError(f"a data key was wrapped by {by!r}, which is not configured")
        try:
            return known.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], use)
        except (InvalidTag, ValueError) as error:
            raise UnreadableError(f"a data key wrapped by {by!r} was changed or is another's") from error
