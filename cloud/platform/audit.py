"""The audit trail: who did what and what was refused, chained so that a change shows.

Each entry's hash covers the entry and the hash before it: whoever changes, moves, adds or takes out an entry has to
write every later one anew, and the head with them. A head kept elsewhere (`verify` prints it) shows even that, and a
trail cut off at its end. The service may add entries and read them; no role of the service may change one.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from cloud.kit.database import Connection, execute, fetch_all, fetch_one
from cloud.kit.times import at, unix_ms

FIRST: Final = bytes(32)
TEXT_CHARACTERS_MOST: Final = 300
PAGE: Final = 1_000
_encode: Final = msgspec.json.Encoder().encode


class Outcome(StrEnum):
    """What came of it."""

    ALLOWED = "allowed"
    """The policies let it pass; recorded before it happens, so that nothing happens unrecorded."""
    DENIED = "denied"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Entry:
    """One link of a tenant's chain."""

    tenant: str
    seq: int
    at: datetime
    actor: str
    action: str
    property: str
    subject: str
    outcome: str
    detail: str
    hash: bytes

    def expected(self, before: bytes) -> bytes:
        """Return the hash that this entry has after `before`."""
        told = (
            self.tenant, self.seq, unix_ms(self.at), self.actor, self.action, self.property, self.subject,
            self.outcome, self.detail,
        )  # fmt: skip
        return hashlib.sha256(before + _encode(told)).digest()


@dataclass(frozen=True, slots=True)
class Head:
    """The last link of a chain."""

    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a chain holds: its head, and every flaw in words."""

    entries: int
    head: Head
    flaws: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """What is to be in the trail."""

    tenant: str
    actor: str
    action: str
    subject: str
    outcome: Outcome
    at_ms: int
    property_id: str = ""
    detail: str = ""


async def append(
    connection: Connection,
    *,
    tenant: str,
    actor: str,
    action: str,
    subject: str,
    outcome: Outcome,
    now_ms: int,
    property_id: str = "",
    detail: str = "",
) -> int:
    """Add an entry in the caller's transaction; return its number. Entries of one tenant wait for each other."""
    told = Told(tenant, actor, action, subject, outcome, now_ms, property_id, detail)
    return await append_many(connection, tenant, [told])


async def append_many(connection: Connection, tenant: str, told: Sequence[Told]) -> int:
    """Add entries of one tenant, in order, in the caller's transaction; return the last one's number."""
    await execute(
        connection,
        "INSERT INTO platform.audit_head (tenant, seq, hash) VALUES (%s, 0, %s) ON CONFLICT DO NOTHING",
        [tenant, FIRST],
    )
    stored = await fetch_one(
        connection, "SELECT seq, hash FROM platform.audit_head WHERE tenant = %s FOR UPDATE", [tenant]
    )
    assert stored is not None  # noqa: S101 - inserted above
    seq, value = stored["seq"], bytes(stored["hash"])
    rows = []
    for each in told:
        seq += 1
        entry = Entry(
            tenant, seq, at(each.at_ms), _text(each.actor), _text(each.action), _text(each.property_id),
            _text(each.subject), each.outcome.value, _text(each.detail), b"",
        )  # fmt: skip
        value = entry.expected(value)
        rows.append(
            [
                entry.tenant, entry.seq, entry.at, entry.actor, entry.action, entry.property, entry.subject,
                entry.outcome, entry.detail, value,
            ]
        )  # fmt: skip
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO platform.audit (tenant, seq, at, actor, action, property, subject, outcome, detail, hash)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            rows,
        )
    await execute(
        connection, "UPDATE platform.audit_head SET seq = %s, hash = %s WHERE tenant = %s", [seq, value, tenant]
    )
    return int(seq)


async def page(connection: Connection, *, tenant: str, before: int | None, most: int) -> list[Entry]:
    """Return entries of a tenant, newest first, below the number `before`."""
    rows = await fetch_all(
        connection,
        "SELECT tenant, seq, at, actor, action, property, subject, outcome, detail, hash FROM platform.audit"
        " WHERE tenant = %s AND (%s::bigint IS NULL OR seq < %s) ORDER BY seq DESC LIMIT %s",
        [tenant, before, before, most],
    )
    return [_entry(row) for row in rows]


async def verify(connection: Connection, *, tenant: str, kept: Sequence[Head] = ()) -> Verdict:
    """Read a whole chain and judge it. Run it in a snapshot.

    Args:
        connection: sees one moment.
        tenant: whose.
        kept: heads that were kept elsewhere: the chain must have passed through each.
    """
    flaws: list[str] = []
    last = Head(0, FIRST)
    wanted = {each.seq: each.hash for each in kept}
    async for entry in _all(connection, tenant):
        if entry.seq != last.seq + 1:
            flaws.append(f"entries {last.seq + 1} to {entry.seq - 1} are missing")
        if entry.hash != entry.expected(last.hash):
            flaws.append(f"entry {entry.seq} was changed, or one before it taken out or put in")
        if entry.seq in wanted and wanted.pop(entry.seq) != entry.hash:
            flaws.append(f"entry {entry.seq} is not the one whose hash was kept: written anew since")
        last = Head(entry.seq, entry.hash)
    stored = await fetch_one(connection, "SELECT seq, hash FROM platform.audit_head WHERE tenant = %s", [tenant])
    head = Head(0, FIRST) if stored is None else Head(stored["seq"], bytes(stored["hash"]))
    if head != last:
        flaws.append(f"the trail ends at entry {last.seq}, its head says {head.seq}: cut off, or not ours")
    flaws += [f"entry {seq}, whose hash was kept, is gone" for seq in sorted(wanted) if seq != 0]
    return Verdict(last.seq, last, tuple(flaws))


async def _all(connection: Connection, tenant: str) -> AsyncIterator[Entry]:
    after = -(2**62)
    while True:
        rows = await fetch_all(
            connection,
            "SELECT tenant, seq, at, actor, action, property, subject, outcome, detail, hash FROM platform.audit"
            " WHERE tenant = %s AND seq > %s ORDER BY seq LIMIT %s",
            [tenant, after, PAGE],
        )
        for row in rows:
            yield _entry(row)
        if len(rows) < PAGE:
            return
        after = rows[-1]["seq"]


def _entry(row: dict[str, Any]) -> Entry:
    return Entry(**{**row, "hash": bytes(row["hash"])})


def _text(told: str) -> str:
    """Return text as the database takes it: no NUL, no half of a surrogate pair, not longer than it may be."""
    return told[:TEXT_CHARACTERS_MOST].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
