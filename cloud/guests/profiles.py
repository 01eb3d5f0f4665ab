"""Keeps the profiles of guests: as their PMS tells of them, what the desk adds, and erased where somebody asks for it.

Whatever is read twice, late or in another order leaves the same: a profile has its id from the PMS's, a property's are
written under one lock, and what reads as before is not written again. What was erased stays so: its row says that it
is not to be kept, and nothing of whom.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from cloud.guests.history import profiles_of_person
from cloud.guests.profile import (
    Facts,
    Profile,
    RoomPreferences,
    SaidGuest,
    facts_place,
    key_place,
    preferences_place,
    profile_id,
)
from cloud.kit.database import Connection, execute, fetch_all, fetch_one, lock_for_transaction
from cloud.kit.times import at
from cloud.privacy.sealing import Sealer, SubjectKey, TenantKeys
from cloud.privacy.wrapping import UnreadableError

RENEW_MOST: Final = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """What came of what was read: profiles made and changed, and the ids of those whose key does not open."""

    created: int = 0
    changed: int = 0
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Profiles:
    """Guests of every property; each call is part of its caller's transaction, and acts as its actor."""

    sealer: Sealer

    async def keep(
        self,
        connection: Connection,
        *,
        tenant: str,
        property_id: str,
        system: str,
        said: Sequence[SaidGuest],
        now_ms: int,
    ) -> Kept:
        """Take what a PMS says of whose its reservations are. One that does not tell a name keeps the one known.

        Raises:
            NoKeysError: nothing personal can be kept here; nothing was.
            UnreadableError: the tenant's data key in use does not open; nothing was kept.
        """
        if not said:
            return Kept()
        await lock_for_transaction(connection, "guests", property_id)
        keys = await self.sealer.keys(connection, tenant=tenant, now_ms=now_ms)
        told = _by_guest(property_id, system, said)
        known = await _held(connection, property_id, list(told))
        erased = {guest for guest, row in known.items() if row["erased_at"] is not None}
        writes: list[tuple[str, _Told, bytes, bytes]] = []
        unreadable: list[str] = []
        created = 0
        for guest in sorted(told.keys() - erased):
            try:
                made = _written(keys, property_id, guest, told[guest], known.get(guest))
            except UnreadableError:
                unreadable.append(guest)
                continue
            if made is not None:
                writes.append((guest, told[guest], *made))
                created += guest not in known
        await _write(connection, tenant, property_id, system, writes, now_ms=now_ms)
        whose = {each.reservation: profile_id(property_id, system, each.guest) for each in said}
        await _book(connection, tenant, property_id, system, whose, erased=erased)
        return Kept(created, len(writes) - created, tuple(unreadable))

    async def one(self, connection: Connection, *, tenant: str, property_id: str, guest: str) -> Profile | None:
        """Return a profile; None: there is none of that id, or it was erased. Raises NoKeysError, UnreadableError."""
        row = await _row(connection, tenant, property_id, guest)
        if row is None:
            return None
        key = await self._key(connection, tenant, property_id, guest, row)
        facts = msgspec.json.decode(key.open(bytes(row["sealed"]), place=facts_place(property_id, guest)), type=Facts)
        return Profile(
            property=property_id,
            id=guest,
            system=row["system"],
            external_id=row["external_id"],
            name=facts.name,
            preferences=_preferences(key, property_id, guest, row["preferences"]),
            first_seen_at=row["first_seen_at"],
        )

    async def set_preferences(
        self,
        connection: Connection,
        *,
        tenant: str,
        property_id: str,
        guest: str,
        preferences: RoomPreferences,
        now_ms: int,
    ) -> bool:
        """Keep what a guest likes, instead of what was kept before; False: there is no such guest.

        Raises NoKeysError, UnreadableError.
        """
        await lock_for_transaction(connection, "guests", property_id)
        row = await _row(connection, tenant, property_id, guest)
        if row is None:
            return False
        key = await self._key(connection, tenant, property_id, guest, row)
        plain = msgspec.json.encode(preferences)
        sealed = None
        if preferences != RoomPreferences():
            sealed = key.seal(plain, place=preferences_place(property_id, guest))
        await execute(
            connection,
            "UPDATE guests.profile SET preferences = %s, changed_at = %s"
            " WHERE tenant = %s AND property = %s AND id = %s",
            [sealed, at(now_ms), tenant, property_id, guest],
        )
        return True

    async def erase(
        self, connection: Connection, *, tenant: str, property_id: str, guest: str, now_ms: int
    ) -> Sequence[str] | None:
        """Forget a person at every property that shares him and that the actor may see; return these.

        His keys are destroyed, whose his stays were is forgotten, and what the PMS goes on saying of him is not kept
        any more. Empty: it was done before. None: there is no such guest. Needs no key: it may be lost.
        """
        locked: set[str] = set()
        wanted = {property_id}
        while wanted:  # until none came in between: what is being read there waits for us, and finds him erased
            for place in sorted(wanted):
                await lock_for_transaction(connection, "guests", place)
            locked |= wanted
            person = await profiles_of_person(connection, tenant=tenant, property_id=property_id, guest=guest)
            wanted = {each for each, _ in person} - locked
        if not person:
            row = await fetch_one(
                connection,
                "SELECT FROM guests.profile WHERE tenant = %s AND property = %s AND id = %s",
                [tenant, property_id, guest],
            )
            return None if row is None else ()
        properties, ids = [each for each, _ in person], [each for _, each in person]
        await execute(
            connection,
            """UPDATE guests.profile p
                  SET subject_key = NULL, sealed = NULL, preferences = NULL, external_id = NULL,
                      erased_at = %(now)s, changed_at = %(now)s, last_until = greatest(p.last_until, %(now)s)
                 FROM unnest(%(properties)s::text[], %(ids)s::text[]) AS f (property, id)
                WHERE p.tenant = %(tenant)s AND p.property = f.property AND p.id = f.id""",
            {"now": at(now_ms), "properties": properties, "ids": ids, "tenant": tenant},
        )
        await execute(
            connection,
            """DELETE FROM guests.booking b USING unnest(%s::text[], %s::text[]) AS f (property, id)
                WHERE b.tenant = %s AND b.property = f.property AND b.guest = f.id""",
            [properties, ids, tenant],
        )
        return properties

    async def renew(self, connection: Connection, tenant: str, *, now_ms: int) -> int:
        """Seal some profiles' keys under the tenant's data key in use; return how many were not."""
        number = await self.sealer.number_in_use(connection, tenant=tenant)
        rows = await fetch_all(
            connection,
            """SELECT property, id, subject_key FROM guests.profile WHERE tenant = %s AND subject_key IS NOT NULL
                  AND substring(subject_key FROM 2 FOR 4) <> %s ORDER BY property, id LIMIT %s FOR UPDATE""",
            [tenant, number.to_bytes(4, "big"), RENEW_MOST],
        )
        for row in rows:
            place = key_place(row["property"], row["id"])
            sealed = await self.sealer.renewed(
                connection, bytes(row["subject_key"]), tenant=tenant, place=place, now_ms=now_ms
            )
            if sealed is not None:
                await execute(
                    connection,
                    "UPDATE guests.profile SET subject_key = %s WHERE property = %s AND id = %s",
                    [sealed, row["property"], row["id"]],
                )
        return len(rows)

    async def _key(
        self, connection: Connection, tenant: str, property_id: str, guest: str, row: Mapping[str, Any]
    ) -> SubjectKey:
        place = key_place(property_id, guest)
        return await self.sealer.subject(connection, bytes(row["subject_key"]), tenant=tenant, place=place)


@dataclass(frozen=True, slots=True)
class _Told:
    external_id: str
    name: str | None
    until_ms: int


def _by_guest(property_id: str, system: str, said: Sequence[SaidGuest]) -> dict[str, _Told]:
    """Return what is said of each guest, by his id here: the last name that was told, the latest end."""
    told: dict[str, _Told] = {}
    for each in said:
        guest = profile_id(property_id, system, each.guest)
        before = told.get(guest)
        name = each.name if each.name is not None else None if before is None else before.name
        until_ms = each.until_ms if before is None else max(each.until_ms, before.until_ms)
        told[guest] = _Told(each.guest, name, until_ms)
    return told


def _written(
    keys: TenantKeys, property_id: str, guest: str, told: _Told, row: Mapping[str, Any] | None
) -> tuple[bytes, bytes] | None:
    """Return a profile's key and facts as they are to be stored; None: it stands as it is. Raises UnreadableError."""
    place = facts_place(property_id, guest)
    if row is None:
        key, kept = keys.new_subject(place=key_place(property_id, guest))
        return kept, key.seal(msgspec.json.encode(Facts(told.name)), place=place)
    kept, sealed = bytes(row["subject_key"]), bytes(row["sealed"])
    key = keys.subject(kept, place=key_place(property_id, guest))
    known = msgspec.json.decode(key.open(sealed, place=place), type=Facts)
    if told.name is not None and told.name != known.name:
        return kept, key.seal(msgspec.json.encode(Facts(told.name)), place=place)
    return (kept, sealed) if at(told.until_ms) > row["last_until"] else None


async def _held(connection: Connection, property_id: str, guests: Sequence[str]) -> dict[str, dict[str, Any]]:
    rows = await fetch_all(
        connection,
        "SELECT id, subject_key, sealed, last_until, erased_at FROM guests.profile"
        " WHERE property = %s AND id = ANY(%s)",
        [property_id, guests],
    )
    return {row["id"]: row for row in rows}


async def _row(connection: Connection, tenant: str, property_id: str, guest: str) -> dict[str, Any] | None:
    return await fetch_one(
        connection,
        """SELECT system, external_id, subject_key, sealed, preferences, first_seen_at FROM guests.profile
            WHERE tenant = %s AND property = %s AND id = %s AND erased_at IS NULL""",
        [tenant, property_id, guest],
    )


async def _write(
    connection: Connection,
    tenant: str,
    property_id: str,
    system: str,
    writes: Sequence[tuple[str, _Told, bytes, bytes]],
    *,
    now_ms: int,
) -> None:
    """Write profiles. A key that is there stays: it may have been sealed anew meanwhile, and opens the same."""
    if not writes:
        return
    await execute(
        connection,
        """INSERT INTO guests.profile AS known (property, id, tenant, system, external_id, subject_key, sealed,
                                                first_seen_at, changed_at, last_until)
           SELECT %s, f.id, %s, %s, f.external_id, f.subject_key, f.sealed, %s, %s, f.last_until
             FROM unnest(%s::text[], %s::text[], %s::bytea[], %s::bytea[], %s::timestamptz[])
                  AS f (id, external_id, subject_key, sealed, last_until)
           ON CONFLICT (property, id) DO UPDATE SET
               sealed = excluded.sealed, last_until = greatest(known.last_until, excluded.last_until),
               changed_at = excluded.changed_at
            WHERE known.erased_at IS NULL""",
        [
            property_id,
            tenant,
            system,
            at(now_ms),
            at(now_ms),
            [guest for guest, _, _, _ in writes],
            [told.external_id for _, told, _, _ in writes],
            [key for _, _, key, _ in writes],
            [sealed for _, _, _, sealed in writes],
            [at(told.until_ms) for _, told, _, _ in writes],
        ],
    )


async def _book(
    connection: Connection,
    tenant: str,
    property_id: str,
    system: str,
    whose: Mapping[str, str],
    *,
    erased: set[str],
) -> None:
    """Write down whose reservations these are; one that has become an erased person's is nobody's here."""
    kept = {reservation: guest for reservation, guest in sorted(whose.items()) if guest not in erased}
    await execute(
        connection,
        """INSERT INTO guests.booking AS known (property, system, external_id, tenant, guest)
           SELECT %s, %s, f.external_id, %s, f.guest FROM unnest(%s::text[], %s::text[]) AS f (external_id, guest)
           ON CONFLICT (property, system, external_id) DO UPDATE SET guest = excluded.guest
            WHERE known.guest <> excluded.guest""",
        [property_id, system, tenant, list(kept), list(kept.values())],
    )
    gone = [reservation for reservation, guest in whose.items() if guest in erased]
    if gone:
        await execute(
            connection,
            "DELETE FROM guests.booking WHERE property = %s AND system = %s AND external_id = ANY(%s)",
            [property_id, system, gone],
        )


def _preferences(key: SubjectKey, property_id: str, guest: str, sealed: bytes | None) -> RoomPreferences:
    if sealed is None:
        return RoomPreferences()
    return msgspec.json.decode(
        key.open(bytes(sealed), place=preferences_place(property_id, guest)), type=RoomPreferences
    )
