"""Seals personal data under a tenant's data key (SEC-01, SEC-02), and below it under keys that are destroyed to forget.

A chain of three: a key outside the database wraps a tenant's data key, which seals the key of one subject (a
check-in session), which seals the fields. Rotating either of the upper ones rewrites only short keys; forgetting a
subject deletes one, and what it sealed is noise from then on.

Sealed form: version (1 byte), number of the data key (4, big endian), nonce (12), AES-256-GCM. What the value is for
(`place`) is authenticated: a value moved to another row, column or tenant does not open.
"""

from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloud.kit.database import Connection, execute, fetch_all, fetch_one, lock_for_transaction
from cloud.kit.times import at
from cloud.privacy.wrapping import KEY_BYTES, NONCE_BYTES, KeyWrapper, UnreadableError
from kit.dice import Dice
from protocols.errors import PlatformError

VERSION: Final = 1
_HEAD: Final = 5
_SUBJECT: Final = 0  # number of no data key: the value is sealed under its subject's own key


class NoKeysError(PlatformError):
    """No key is configured to seal with: nothing personal is taken."""


class SubjectKey:
    """The key of one subject; everything of it is sealed and opened with this, and unreadable once it is deleted."""

    def __init__(self, key: bytes, *, dice: Dice) -> None:
        self._key, self._dice = AESGCM(key), dice

    def seal(self, plain: bytes, *, place: str) -> bytes:
        """Return `plain` sealed for `place`."""
        return _sealed(self._key, _SUBJECT, self._dice.bytes(NONCE_BYTES), plain, place)

    def open(self, sealed: bytes, *, place: str) -> bytes:
        """Return what was sealed for `place`. Raises UnreadableError."""
        if _number(sealed) != _SUBJECT:
            raise UnreadableError("sealed under a data key, not under a subject's")
        return _opened(self._key, sealed, place)


class TenantKeys:
    """A tenant's data keys, read once: for whoever opens or makes the keys of many subjects."""

    def __init__(
        self, tenant: str, wrapped: Mapping[int, tuple[bytes, str]], *, current: int, wrapper: KeyWrapper, dice: Dice
    ) -> None:
        self._tenant, self._wrapped, self._current = tenant, wrapped, current
        self._wrapper, self._dice = wrapper, dice
        self._opened: dict[int, AESGCM] = {}

    def new_subject(self, *, place: str) -> tuple[SubjectKey, bytes]:
        """Return a new subject's key, and its sealed form to be stored."""
        key = self._dice.bytes(KEY_BYTES)
        data_key, nonce = self._numbered(self._current), self._dice.bytes(NONCE_BYTES)
        return SubjectKey(key, dice=self._dice), _sealed(data_key, self._current, nonce, key, _of(self._tenant, place))

    def subject(self, sealed: bytes, *, place: str) -> SubjectKey:
        """Return the key that `new_subject` made. Raises UnreadableError."""
        data_key = self._numbered(_number(sealed))
        return SubjectKey(_opened(data_key, sealed, _of(self._tenant, place)), dice=self._dice)

    def _numbered(self, number: int) -> AESGCM:
        if number not in self._opened:
            if number not in self._wrapped:
                raise UnreadableError(f"data key {number} is gone")
            wrapped, by = self._wrapped[number]
            self._opened[number] = AESGCM(self._wrapper.unwrap(wrapped, _use(self._tenant, number), by=by))
        return self._opened[number]


class Sealer:
    """Seals for tenants. Every call runs in the caller's transaction and as its actor."""

    def __init__(self, wrapper: KeyWrapper | None, *, dice: Dice) -> None:
        """Without `wrapper` nothing can be sealed: asked to, it says so."""
        self._wrapper, self._dice = wrapper, dice

    @property
    def ready(self) -> bool:
        """True if there are keys to seal with."""
        return self._wrapper is not None

    async def new_subject(
        self, connection: Connection, *, tenant: str, place: str, now_ms: int
    ) -> tuple[SubjectKey, bytes]:
        """Return a new subject's key, and its sealed form to be stored. Raises NoKeysError."""
        key = self._dice.bytes(KEY_BYTES)
        number, data_key = await self._current(connection, tenant, now_ms)
        return SubjectKey(key, dice=self._dice), _sealed(
            data_key, number, self._dice.bytes(NONCE_BYTES), key, _of(tenant, place)
        )

    async def subject(self, connection: Connection, sealed: bytes, *, tenant: str, place: str) -> SubjectKey:
        """Return the key that `new_subject` made. Raises NoKeysError, UnreadableError."""
        data_key = await self._numbered(connection, tenant, _number(sealed))
        return SubjectKey(_opened(data_key, sealed, _of(tenant, place)), dice=self._dice)

    async def keys(self, connection: Connection, *, tenant: str, now_ms: int) -> TenantKeys:
        """Return a tenant's data keys, for many subjects. Raises NoKeysError, UnreadableError: the one in use."""
        wrapper = self._ready()
        number, _ = await self._current(connection, tenant, now_ms)
        rows = await fetch_all(
            connection, "SELECT number, wrapped, wrapped_by FROM privacy.data_key WHERE tenant = %s", [tenant]
        )
        wrapped = {row["number"]: (bytes(row["wrapped"]), str(row["wrapped_by"])) for row in rows}
        return TenantKeys(tenant, wrapped, current=number, wrapper=wrapper, dice=self._dice)

    async def seal(self, connection: Connection, plain: bytes, *, tenant: str, place: str, now_ms: int) -> bytes:
        """Return a tenant's own value sealed under its data key. Raises NoKeysError."""
        number, key = await self._current(connection, tenant, now_ms)
        return _sealed(key, number, self._dice.bytes(NONCE_BYTES), plain, _of(tenant, place))

    async def open(self, connection: Connection, sealed: bytes, *, tenant: str, place: str) -> bytes:
        """Return what `seal` was given. Raises NoKeysError, UnreadableError."""
        return _opened(await self._numbered(connection, tenant, _number(sealed)), sealed, _of(tenant, place))

    async def renewed(
        self, connection: Connection, sealed: bytes, *, tenant: str, place: str, now_ms: int
    ) -> bytes | None:
        """Return a subject's key sealed under the data key in use; None if it is already. After `rotate`."""
        number, current = await self._current(connection, tenant, now_ms)
        if _number(sealed) == number:
            return None
        old = await self._numbered(connection, tenant, _number(sealed))
        plain = _opened(old, sealed, _of(tenant, place))
        return _sealed(current, number, self._dice.bytes(NONCE_BYTES), plain, _of(tenant, place))

    async def rotate(self, connection: Connection, *, tenant: str, now_ms: int) -> int:
        """Begin a new data key; return its number. The old ones still open what they sealed."""
        await lock_for_transaction(connection, "privacy", tenant)
        await execute(
            connection,
            "UPDATE privacy.data_key SET retired_at = %s WHERE tenant = %s AND retired_at IS NULL",
            [at(now_ms), tenant],
        )
        number, _ = await self._current(connection, tenant, now_ms)
        return number

    async def number_in_use(self, connection: Connection, *, tenant: str) -> int:
        """Return the number of a tenant's data key in use, 0 without one; it stands in what that key sealed."""
        row = await self._in_use(connection, tenant)
        return 0 if row is None else row[0]

    async def rewrap(self, connection: Connection) -> int:
        """Wrap again, with the key in use, every data key that another one wrapped; return how many."""
        wrapper = self._ready()
        rows = await fetch_all(
            connection,
            "SELECT tenant, number, wrapped, wrapped_by FROM privacy.data_key WHERE wrapped_by <> %s FOR UPDATE",
            [wrapper.name],
        )
        for row in rows:
            use = _use(row["tenant"], row["number"])
            key = wrapper.unwrap(bytes(row["wrapped"]), use, by=row["wrapped_by"])
            await execute(
                connection,
                "UPDATE privacy.data_key SET wrapped = %s, wrapped_by = %s WHERE tenant = %s AND number = %s",
                [wrapper.wrap(key, use), wrapper.name, row["tenant"], row["number"]],
            )
        return len(rows)

    async def _current(self, connection: Connection, tenant: str, now_ms: int) -> tuple[int, AESGCM]:
        wrapper = self._ready()
        row = await self._in_use(connection, tenant)
        if row is None:
            await lock_for_transaction(connection, "privacy", tenant)
            row = await self._in_use(connection, tenant)
        if row is not None:
            key = wrapper.unwrap(row[1], _use(tenant, row[0]), by=row[2])
            return row[0], AESGCM(key)
        last = await fetch_one(
            connection, "SELECT coalesce(max(number), 0) AS last FROM privacy.data_key WHERE tenant = %s", [tenant]
        )
        number, key = (0 if last is None else last["last"]) + 1, self._dice.bytes(KEY_BYTES)
        await execute(
            connection,
            "INSERT INTO privacy.data_key (tenant, number, wrapped, wrapped_by, made_at) VALUES (%s, %s, %s, %s, %s)",
            [tenant, number, wrapper.wrap(key, _use(tenant, number)), wrapper.name, at(now_ms)],
        )
        return number, AESGCM(key)

    async def _in_use(self, connection: Connection, tenant: str) -> tuple[int, bytes, str] | None:
        row = await fetch_one(
            connection,
            "SELECT number, wrapped, wrapped_by FROM privacy.data_key WHERE tenant = %s AND retired_at IS NULL",
            [tenant],
        )
        return None if row is None else (row["number"], bytes(row["wrapped"]), row["wrapped_by"])

    async def _numbered(self, connection: Connection, tenant: str, number: int) -> AESGCM:
        wrapper = self._ready()
        row = await fetch_one(
            connection,
            "SELECT wrapped, wrapped_by FROM privacy.data_key WHERE tenant = %s AND number = %s",
            [tenant, number],
        )
        if row is None:
            raise UnreadableError(f"data key {number} is gone")
        return AESGCM(wrapper.unwrap(bytes(row["wrapped"]), _use(tenant, number), by=row["wrapped_by"]))

    def _ready(self) -> KeyWrapper:
        if self._wrapper is None:
            raise NoKeysError("no key is configured to seal personal data with: nothing personal can be taken")
        return self._wrapper


def _sealed(key: AESGCM, number: int, nonce: bytes, plain: bytes, place: str) -> bytes:
    head = bytes([VERSION]) + number.to_bytes(4, "big")
    return head + nonce + key.encrypt(nonce, plain, head + place.encode())


def _opened(key: AESGCM, sealed: bytes, place: str) -> bytes:
    head, nonce, text = sealed[:_HEAD], sealed[_HEAD : _HEAD + NONCE_BYTES], sealed[_HEAD + NONCE_BYTES :]
    try:
        return key.decrypt(nonce, text, head + place.encode())
    except (InvalidTag, ValueError) as error:
        raise UnreadableError("sealed data was changed, or is another's") from error


def _number(sealed: bytes) -> int:
    if len(sealed) < _HEAD + NONCE_BYTES or sealed[0] != VERSION:
        raise UnreadableError("no sealed data of a form that is known here")
    return int.from_bytes(sealed[1:_HEAD], "big")


def _of(tenant: str, place: str) -> str:
    return f"{tenant}\x00{place}"


def _use(tenant: str, number: int) -> bytes:
    return f"innkeeper/data-key/1\x00{tenant}\x00{number}".encode()
