"""Rows of the doors' store as the rest of the room knows them, and how they are read from their columns."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from protocols.door.hardware import battery_of
from protocols.grant.grant import GrantFlag


@dataclass(frozen=True, slots=True)
class StoredStay:
    """A stay that has or had rights. `rooms` are room numbers."""

    stay: str
    generation: int
    rooms: tuple[int, ...]
    ended_at_ms: int | None


@dataclass(frozen=True, slots=True)
class IssuedGrant:
    """A grant that was handed out, whole, so that asking again gives the same bytes."""

    grant_id: bytes
    stay: str
    phone: bytes
    generation: int
    issued_at_ms: int
    not_before_s: int
    not_after_s: int
    wanted_until_s: int
    rooms: tuple[int, ...]
    zones: int
    flags: GrantFlag
    signed: bytes
    certificate: bytes


@dataclass(frozen=True, slots=True)
class PendingBump:
    """A bump on its way to one lock. `signed` None: it waits for a sound clock."""

    no: int
    lock_id: bytes
    number: int
    generation: int
    signed: bytes | None = None
    certificate: bytes | None = None
    signed_at_s: int | None = None


@dataclass(frozen=True, slots=True)
class KnownLock:
    """What was last heard from a lock. `broken` names what was wrong with its log."""

    lock_id: bytes
    seq: int
    head: bytes
    generation: int = 0
    battery_percent: int | None = None
    time_quality: int = 2
    noise: int = 0
    contact_at_ms: int = 0
    broken: str | None = None


@dataclass(frozen=True, slots=True)
class AccessEvent:
    """One event for the rest of the house: `epoch` is the life of this store, `seq` rises from 1 in it."""

    epoch: bytes
    seq: int
    body: Mapping[str, Any]
    device_at_ms: int | None


GRANT_COLUMNS: Final = (
    "grant_id, stay, phone, generation, issued_at_ms, not_before_s, not_after_s, wanted_until_s,"
    " rooms, zones, flags, signed, certificate"
)
LOCK_COLUMNS: Final = "lock, seq, head, generation, battery_percent, time_quality, noise, contact_at_ms, broken"


def grant_of(row: tuple[Any, ...]) -> IssuedGrant:
    """Return the grant of a row of `GRANT_COLUMNS`."""
    return IssuedGrant(
        grant_id=row[0],
        stay=row[1],
        phone=row[2],
        generation=row[3],
        issued_at_ms=row[4],
        not_before_s=row[5],
        not_after_s=row[6],
        wanted_until_s=row[7],
        rooms=tuple(json.loads(row[8])),
        zones=row[9] & (2**64 - 1),
        flags=GrantFlag(row[10]),
        signed=row[11],
        certificate=row[12],
    )


def lock_of(row: tuple[Any, ...]) -> KnownLock:
    """Return the lock of a row of `LOCK_COLUMNS`."""
    return replace(KnownLock(*row), battery_percent=battery_of(row[4], "lock"))


def signed64(value: int) -> int:
    """SQLite integers are signed: the 64th zone bit becomes the sign."""
    return value - 2**64 if value >= 2**63 else value
