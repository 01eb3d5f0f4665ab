"""What guests said of themselves in a session, sealed under its key: read, kept, and its key renewed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloud.checkin import session_rows as rows
from cloud.checkin.desk import NotAdmissibleError, Refusal
from cloud.checkin.people import DocumentFacts, GuestFacts, document_of, guest_of, sealed_form
from cloud.checkin.session_rows import Row
from cloud.kit.database import Connection, execute
from cloud.privacy.sealing import Sealer, SubjectKey
from protocols.errors import InvalidInputError

RENEW_MOST: Final = 500

People = dict[str, tuple[GuestFacts, DocumentFacts | None]]
"""Who comes, by slot, and what his document says."""


@dataclass(frozen=True, slots=True)
class SealedGuests:
    """Who comes, of every session; each call is part of its caller's transaction."""

    sealer: Sealer

    async def key(self, connection: Connection, row: Row, *, makes_at_ms: int | None = None) -> SubjectKey:
        """Return a session's key, made at `makes_at_ms` where there is none. Raises NotAdmissibleError: forgotten."""
        sealed = row.subject_key or await rows.key_of(connection, row.id)  # it may have been made since
        if sealed is not None:
            return await self.sealer.subject(connection, sealed, tenant=row.tenant, place=row.id)
        if makes_at_ms is None:
            raise NotAdmissibleError(Refusal.NO_SESSION, "What was told here has been forgotten.")
        key, kept = await self.sealer.new_subject(connection, tenant=row.tenant, place=row.id, now_ms=makes_at_ms)
        await rows.keep_key(connection, row.id, kept)
        return key

    async def all(self, connection: Connection, row: Row, *, key: SubjectKey | None = None) -> People:
        """Return who has said who he is. `key`: the session's, where the caller has it. Raises as `key`."""
        return await self.opened(connection, row, await rows.guests_of(connection, row.id), key)

    async def opened(
        self, connection: Connection, row: Row, sealed: Mapping[str, rows.Sealed], key: SubjectKey | None
    ) -> People:
        """Return the same of what was read already."""
        if not sealed:
            return {}
        key = key or await self.key(connection, row)
        told = {}
        for slot, (facts, document) in sealed.items():
            read = None if document is None else document_of(key.open(document, place=_document(row, slot)))
            told[slot] = (guest_of(key.open(facts, place=_facts(row, slot))), read)
        return told

    async def one(self, connection: Connection, row: Row, slot: str, key: SubjectKey) -> GuestFacts:
        """Return who one of the party is. Raises InvalidInputError: he has not said."""
        found = (await self.all(connection, row, key=key)).get(slot)
        if found is None:
            raise InvalidInputError("guest", f"{slot!r:.40} has not said who he is; tell that first")
        return found[0]

    async def keep(
        self, connection: Connection, row: Row, slot: str, facts: GuestFacts, key: SubjectKey, *, with_document: bool
    ) -> None:
        """Keep who one of the party is; the document he showed before stays or goes."""
        await execute(
            connection,
            """INSERT INTO checkin.guest (session, slot, tenant, property, sealed) VALUES (%s, %s, %s, %s, %s)
               ON CONFLICT (session, slot) DO UPDATE SET sealed = excluded.sealed,
                   document = CASE WHEN %s THEN guest.document END""",
            [
                row.id, slot, row.tenant, row.property, key.seal(sealed_form(facts), place=_facts(row, slot)),
                with_document,
            ],
        )  # fmt: skip

    async def keep_document(
        self, connection: Connection, row: Row, slot: str, document: DocumentFacts, key: SubjectKey
    ) -> None:
        """Keep what the document of one of the party says."""
        await execute(
            connection,
            "UPDATE checkin.guest SET document = %s WHERE session = %s AND slot = %s",
            [key.seal(sealed_form(document), place=_document(row, slot)), row.id, slot],
        )

    async def renew(self, connection: Connection, tenant: str, *, now_ms: int) -> int:
        """Seal some sessions' keys under the tenant's data key in use; return how many were not."""
        number = await self.sealer.number_in_use(connection, tenant=tenant)
        found = await rows.keys_not_under(connection, tenant, number, most=RENEW_MOST)
        for session, key in found.items():
            sealed = await self.sealer.renewed(connection, key, tenant=tenant, place=session, now_ms=now_ms)
            if sealed is not None:
                await rows.keep_key(connection, session, sealed)
        return len(found)


def _facts(row: Row, slot: str) -> str:
    return f"checkin.guest/{row.id}/{slot}/facts"


def _document(row: Row, slot: str) -> str:
    return f"checkin.guest/{row.id}/{slot}/document"
