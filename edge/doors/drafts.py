"""Emergency keys that two officers have still to approve: durable before they are shown, gone when their time is over.

Source of truth: protocols/grant/SPEC.md 5.3. A draft opens nothing, and no private key is kept for it: a process that
was restarted signs it with a new issuer whose certificate begins with the draft. What officers sign stays the same.
"""

import json
from dataclasses import dataclass
from typing import Final

from edge.doors.store import DoorStore
from protocols.grant.grant import Grant, GrantFlag

DRAFTS_MOST: Final = 8


@dataclass(frozen=True, slots=True)
class Draft:
    """One draft: the grant without approvals, the id of the issuer that it was drafted with, for whom, and why."""

    grant: Grant
    kid: bytes
    holder: str
    reason: str


class Drafts:
    """The drafts of the doors' store. Every call commits before it returns, or raises StoreFailedError."""

    def __init__(self, store: DoorStore) -> None:
        self._store = store

    def keep(self, draft: Draft) -> None:
        """Make a draft durable; those whose time is over, and the oldest beyond `DRAFTS_MOST`, make room."""
        grant = draft.grant
        terms = {"rooms": grant.rooms, "zones": grant.zones, "flags": int(grant.flags)}
        with self._store.written() as db:
            db.execute("DELETE FROM draft WHERE until_s <= ?", (grant.issued_at_s,))
            db.execute(
                "INSERT INTO draft (grant_id, kid, holder, reason, phone, issued_at_s, until_s, terms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(grant.grant_id, draft.kid, draft.holder, draft.reason),
                    *(grant.phone, grant.issued_at_s, grant.not_after_s, json.dumps(terms)),
                ),
            )
            db.execute(
                "DELETE FROM draft WHERE no NOT IN (SELECT no FROM draft ORDER BY no DESC LIMIT ?)", (DRAFTS_MOST,)
            )

    def of(self, grant_id: bytes) -> Draft | None:
        """Return a draft, its time over or not."""
        rows = self._store.read(
            "SELECT kid, holder, reason, phone, issued_at_s, until_s, terms FROM draft WHERE grant_id = ?", (grant_id,)
        )
        if not rows:
            return None
        [(kid, holder, reason, phone, issued_at_s, until_s, terms)] = rows
        said = json.loads(terms)
        grant = Grant(
            grant_id=grant_id,
            issued_at_s=issued_at_s,
            not_before_s=issued_at_s,
            not_after_s=until_s,
            phone=phone,
            rooms=tuple(said["rooms"]),
            zones=said["zones"],
            flags=GrantFlag(said["flags"]),
        )
        return Draft(grant, kid, holder, reason)

    def drop(self, grant_id: bytes) -> bool:
        """Forget a draft; return whether there was one."""
        with self._store.written() as db:
            db.execute("DELETE FROM draft WHERE grant_id = ?", (grant_id,))
            return bool(db.changes())
