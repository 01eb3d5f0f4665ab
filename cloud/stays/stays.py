"""The stays service: takes facts from PMS and edge, settles them, tells the other modules and the edge.

Every change of a property's stays runs under one advisory lock, so stays, their events and the document of
stays change together and in one order. The caller brings the transaction.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloud.kit import outbox
from cloud.kit.database import Connection, execute, fetch_all, fetch_one, lock_for_transaction
from cloud.kit.notify import notify_live
from cloud.kit.times import at, unix_ms
from cloud.stays import document
from cloud.stays.ending import EndWord, heard_beside, settled, stands
from cloud.stays.life import ACTIVE, Claim, EdgeState, Settled, StayState, settle, state_of
from cloud.stays.promises import COLUMNS, OF_ITS_END, hold, late_of, ours_of, promise_of, written
from cloud.stays.reservation import Housekeeping, PmsStatus, Reservation, RoomCondition

STAY_CHANGED: Final = "stay.changed"
"""Outbox event: {stay, system, external_id, edge, from_state, state, from_room, room, pms_status, pms_room,
elsewhere, edge_state, by}. `elsewhere`: in house by his key in `room`; the PMS named another without knowing."""

STAY_DEPARTURE: Final = "stay.departure"
"""Outbox event: {stay, system, external_id, until_ms, n, by}. The building's word on a stay's end, which stands."""

LIVE_KIND: Final = "stays"
BY_EDGE: Final = "edge"
BY_BUILDING: Final = "building"
"""Who said when a stay ends: nobody came or moved, and of that the PMS is told nothing anew."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whose stays: a property, its tenant and its edge."""

    tenant: str
    property: str
    edge: str


@dataclass(frozen=True, slots=True)
class EdgeFact:
    """A `stay` record of lane A: what the edge did, in the order (incarnation, seq)."""

    stay: str
    state: EdgeState
    room: str | None
    by: str | None
    at_ms: int
    incarnation: bytes
    seq: int


@dataclass(frozen=True, slots=True)
class Upserted:
    """What an upsert of reservations did."""

    created: int
    updated: int
    unchanged: int


def stay_id(property_id: str, system: str, external_id: str) -> str:
    """Return the id that the stay of a reservation gets: the same one from anywhere. A stay keeps its id if the
    reservation is called anew later.
    """
    digest = hashlib.sha256("\x00".join((property_id, system, external_id)).encode()).hexdigest()
    return f"s-{digest[:20]}"


async def upsert_reservations(
    connection: Connection, place: Place, reservations: Iterable[Reservation], *, now_ms: int
) -> Upserted:
    """Mirror reservations and settle their stays. Older than what we hold: only noted as fresh.

    Returns counts per reservation: created, updated (something we keep changed), unchanged.
    """
    await lock_for_transaction(connection, "stays", place.property)
    told = list(reservations)
    held, stays, words = await _held(connection, place, told)
    created = updated = 0
    fresh: set[tuple[str, str]] = set()
    touched: list[str] = []
    surprised: set[str] = set()
    async with connection.pipeline():  # nothing in it waits for an answer of the database
        for reservation in told:
            key = (reservation.system, reservation.external_id)
            row = held.get(key)
            new = _mirrored(reservation, known_name="" if row is None else row["guest_name"])
            if row is not None and (row["updated_at"] > new["updated_at"] or row == new):
                fresh.add(key)
                continue
            created, updated = (created + 1, updated) if row is None else (created, updated + 1)
            stay = stays.get(key) or stay_id(place.property, *key)
            promise = stands(
                promise_of(words[key]),
                pms_until_ms=reservation.departure_ms,
                pms_left=reservation.status is PmsStatus.LEFT,
                from_ms=reservation.arrival_ms,
            )
            ours_ms = ours_of(words[key], departure_at=new["departure_at"])
            late = late_of(words[key])
            words[key] = written(promise, departure_at=new["departure_at"], ours_ms=ours_ms, late=late)
            touched.append(await _write(connection, place, reservation, new, stay, word=words[key], now_ms=now_ms))
            held[key] = new
            if row is not None and row["status"] == PmsStatus.BOOKED and row["room"] != new["room"]:
                surprised.add(touched[-1])
    if fresh:
        await execute(
            connection,
            """UPDATE stays.reservation r SET freshness_at = %s
                 FROM unnest(%s::text[], %s::text[]) AS f (system, external_id)
                WHERE r.property = %s AND r.system = f.system AND r.external_id = f.external_id""",
            [at(now_ms), [system for system, _ in fresh], [external for _, external in fresh], place.property],
        )
    if touched:
        await settle_property(
            connection, place, touched=touched, by="pms", now_ms=now_ms, surprised=frozenset(surprised)
        )
    return Upserted(created, updated, len(told) - created - updated)


async def _held(
    connection: Connection, place: Place, told: Sequence[Reservation]
) -> tuple[dict[tuple[str, str], dict[str, Any]], dict[tuple[str, str], str], dict[tuple[str, str], dict[str, Any]]]:
    """Return what is mirrored of the reservations told, by (system, external id), the stays they have already, and of
    every one told what is written of the building's word (`COLUMNS`): a stay keeps its id though its reservation is
    called anew.
    """
    rows = await fetch_all(
        connection,
        """SELECT r.system, r.external_id, r.number, r.status, r.room, r.guest_name, r.arrival_at, r.departure_at,
                  r.adults, r.children, r.updated_at, r.room_type, s.id AS stay,
                  s.edge_until, s.edge_until_told, s.edge_until_sent, s.pms_until_ours,
                  s.late_until, s.late_sent
             FROM unnest(%s::text[], %s::text[]) AS f (system, external_id)
             JOIN stays.reservation r ON r.property = %s AND r.system = f.system AND r.external_id = f.external_id
             LEFT JOIN stays.stay s ON s.property = r.property AND s.system = r.system
                                       AND s.external_id = r.external_id""",
        [[each.system for each in told], [each.external_id for each in told], place.property],
    )
    held = {(row.pop("system"), row.pop("external_id")): row for row in rows}
    words = {(each.system, each.external_id): dict.fromkeys(COLUMNS) for each in told}
    words |= {key: {name: row[name] for name in COLUMNS} for key, row in held.items()}
    held = {key: {name: row[name] for name in row if name not in COLUMNS} for key, row in held.items()}
    return held, {key: stay for key, row in held.items() if (stay := row.pop("stay")) is not None}, words


def _mirrored(reservation: Reservation, *, known_name: str) -> dict[str, Any]:
    return {
        "number": reservation.number,
        "status": reservation.status.value,
        "room": reservation.room,
        "guest_name": known_name if reservation.guest_name is None else reservation.guest_name,
        "arrival_at": at(reservation.arrival_ms),
        "departure_at": at(reservation.departure_ms),
        "adults": reservation.adults,
        "children": reservation.children,
        "updated_at": at(reservation.updated_ms),
        "room_type": reservation.room_type,
    }


async def _write(
    connection: Connection,
    place: Place,
    reservation: Reservation,
    new: Mapping[str, Any],
    stay: str,
    *,
    word: Mapping[str, Any],
    now_ms: int,
) -> str:
    facts = {
        **new,
        "tenant": place.tenant,
        "property": place.property,
        "system": reservation.system,
        "external_id": reservation.external_id,
        "stay": stay,
        "now": at(now_ms),
        **word,
    }
    await execute(
        connection,
        """INSERT INTO stays.reservation (property, system, external_id, tenant, number, status, room, guest_name,
                                          arrival_at, departure_at, adults, children, updated_at, freshness_at,
                                          room_type)
           VALUES (%(property)s, %(system)s, %(external_id)s, %(tenant)s, %(number)s, %(status)s, %(room)s,
                   %(guest_name)s, %(arrival_at)s, %(departure_at)s, %(adults)s, %(children)s, %(updated_at)s,
                   %(now)s, %(room_type)s)
           ON CONFLICT (property, system, external_id) DO UPDATE SET
               number = excluded.number, status = excluded.status, room = excluded.room,
               guest_name = excluded.guest_name, arrival_at = excluded.arrival_at,
               departure_at = excluded.departure_at, adults = excluded.adults, children = excluded.children,
               updated_at = excluded.updated_at, freshness_at = excluded.freshness_at,
               room_type = excluded.room_type""",
        facts,
    )
    # The room is let go here and given again by settle: moved dates must not trip over the constraint between.
    await execute(
        connection,
        """INSERT INTO stays.stay (property, id, tenant, system, external_id, state, room_asked, guest_name,
                                   expected_from, expected_until, updated_at)
           VALUES (%(property)s, %(stay)s, %(tenant)s, %(system)s, %(external_id)s, 'void', %(room)s,
                   %(guest_name)s, %(arrival_at)s, %(until)s, %(now)s)
           ON CONFLICT (property, id) DO UPDATE SET
               edge_until = %(edge_until)s, edge_until_told = %(edge_until_told)s,
               edge_until_sent = %(edge_until_sent)s::timestamptz[], pms_until_ours = %(pms_until_ours)s,
               late_until = %(late_until)s, late_sent = %(late_sent)s,
               room_asked = excluded.room_asked, guest_name = excluded.guest_name,
               expected_from = excluded.expected_from, expected_until = excluded.expected_until,
               room = CASE WHEN stay.state = 'left' OR (stay.expected_from = excluded.expected_from
                            AND stay.expected_until = excluded.expected_until) THEN stay.room END,
               version = stay.version + CASE WHEN stay.guest_name = excluded.guest_name
                                              AND stay.expected_from = excluded.expected_from
                                              AND stay.expected_until = excluded.expected_until THEN 0 ELSE 1 END,
               updated_at = excluded.updated_at""",
        facts,
    )
    return stay


async def apply_edge_facts(connection: Connection, place: Place, facts: Sequence[EdgeFact], *, now_ms: int) -> None:
    """Take what the edge did with stays. A fact about a stay we do not know is kept by the ledger alone.

    Within one incarnation only a larger seq counts; a record delivered again changes nothing. A guest who moves has not
    come a second time: when he came is his first check-in, and who came last into a room goes by the move.
    """
    if not facts:
        return
    await lock_for_transaction(connection, "stays", place.property)
    touched: list[str] = []
    for fact in facts:
        moved_in = fact.state is EdgeState.CHECKED_IN
        count = await execute(
            connection,
            """UPDATE stays.stay SET
                   edge_state = %(state)s, edge_at = %(at)s, edge_by = %(by)s,
                   edge_room = coalesce(%(room)s, edge_room),
                   edge_incarnation = %(incarnation)s, edge_seq = %(seq)s,
                   actual_in = CASE WHEN %(moved_in)s AND edge_state IS DISTINCT FROM 'checked_in' THEN %(at)s
                                    ELSE actual_in END,
                   actual_out = CASE WHEN %(moved_in)s THEN NULL ELSE %(at)s END
               WHERE property = %(property)s AND id = %(stay)s
                 AND (edge_incarnation IS DISTINCT FROM %(incarnation)s OR edge_seq < %(seq)s)""",
            {
                "state": fact.state.value,
                "at": at(fact.at_ms),
                "by": fact.by,
                "room": fact.room,
                "incarnation": fact.incarnation,
                "seq": fact.seq,
                "moved_in": moved_in,
                "property": place.property,
                "stay": fact.stay,
            },
        )
        if count:
            touched.append(fact.stay)
    if touched:
        await settle_property(connection, place, touched=touched, by=BY_EDGE, now_ms=now_ms)


async def apply_end_words(connection: Connection, place: Place, words: Sequence[EndWord], *, now_ms: int) -> None:
    """Take what the building said of the ends of stays, in whatever order and however often it comes.

    Of one stay the word with the greatest number counts; of a stay we do not know it is kept by the ledger alone. Of
    one that is over nothing changes: the building is told that it was heard.
    """
    await lock_for_transaction(connection, "stays", place.property)
    touched = []
    for word in words:
        row = await fetch_one(
            connection,
            OF_ITS_END + "AND s.edge_until_n < %s",
            [place.property, word.stay, word.n],
        )
        if row is None:
            continue
        touched.append(word.stay)
        if row["state"] == StayState.LEFT:
            await execute(
                connection,
                "UPDATE stays.stay SET edge_until_n = %s WHERE property = %s AND id = %s",
                [word.n, place.property, word.stay],
            )
            continue
        await execute(
            connection,
            "UPDATE stays.stay SET edge_until_n = %s, edge_until_by = %s WHERE property = %s AND id = %s",
            [word.n, word.by, place.property, word.stay],
        )
        standing, late, pms_until_ms = promise_of(row), late_of(row), unix_ms(row["departure_at"])
        ours_ms = ours_of(row, departure_at=row["departure_at"])
        new = heard_beside(word.promise, standing, late, pms_until_ms=pms_until_ms, ours_ms=ours_ms)
        if late is not None and word.promise.told_ms == late.until_ms:  # said in the knowledge of it
            row = {**row, "late_until": None, "late_sent": False}
        promise = await hold(connection, place.property, word.stay, row, new, now_ms=now_ms)
        if promise is not None and row["state"] == StayState.IN_HOUSE:
            await outbox.append(
                connection,
                kind=STAY_DEPARTURE,
                tenant=place.tenant,
                property_id=place.property,
                subject=word.stay,
                body={
                    "stay": word.stay,
                    "system": row["system"],
                    "external_id": row["external_id"],
                    "until_ms": promise.until_ms,
                    "n": word.n,
                    "by": word.by,
                },
                occurred_at_ms=now_ms,
            )
    if touched:
        await settle_property(connection, place, touched=touched, by=BY_BUILDING, now_ms=now_ms)


async def end_is_settled(connection: Connection, place: Place, *, stay: str, until_ms: int, now_ms: int) -> None:
    """Take it that the PMS is told an end no more: it has it, or will not have it. Of another end nothing is taken."""
    await lock_for_transaction(connection, "stays", place.property)
    row = await fetch_one(connection, OF_ITS_END, [place.property, stay])
    promise = None if row is None else promise_of(row)
    if row is None or promise is None or promise.until_ms != until_ms or row["state"] == StayState.LEFT:
        return
    promise = settled(promise, pms_until_ms=unix_ms(row["departure_at"]))
    await hold(connection, place.property, stay, row, promise, now_ms=now_ms)
    await settle_property(connection, place, touched=[stay], by=BY_BUILDING, now_ms=now_ms)


async def set_conditions(
    connection: Connection, place: Place, conditions: Iterable[RoomCondition], *, now_ms: int
) -> int:
    """Take room conditions from the PMS; older ones change nothing. Returns how many rooms changed."""
    await lock_for_transaction(connection, "stays", place.property)
    changed = 0
    for condition in conditions:
        housekeeping = None if condition.housekeeping is None else condition.housekeeping.value
        changed += await execute(
            connection,
            """UPDATE stays.room SET housekeeping = %s, housekeeping_at = %s
                WHERE property = %s AND id = %s
                  AND housekeeping IS DISTINCT FROM %s
                  AND (housekeeping_at IS NULL OR housekeeping_at <= %s)""",
            [
                housekeeping,
                at(condition.updated_ms),
                place.property,
                condition.room,
                housekeeping,
                at(condition.updated_ms),
            ],
        )
    if changed:
        await settle_property(connection, place, touched=(), by="pms", now_ms=now_ms)
    return changed


async def settle_property(
    connection: Connection,
    place: Place,
    *,
    touched: Sequence[str],
    by: str,
    now_ms: int,
    surprised: frozenset[str] = frozenset(),
) -> None:
    """Derive every active or touched stay of a property from its facts; tell what changed.

    The caller's transaction holds the property's lock or takes it here; it may be taken twice. A guest whom the edge
    took in has the room that his key opens, whatever the PMS asks for (docs/decisions/0079).

    Args:
        touched: Stays whose facts changed.
        surprised: Those whose room the PMS changed while it had not heard of a check-in.
        by: Who brought the facts.
        now_ms: Unix milliseconds.
    """
    await lock_for_transaction(connection, "stays", place.property)
    rows = await fetch_all(
        connection,
        """SELECT s.id, s.system, s.external_id, s.state, s.room, s.room_asked AS pms_room,
                  CASE WHEN s.edge_state = 'checked_in' AND s.edge_room IS NOT NULL THEN s.edge_room
                       ELSE coalesce(s.room_asked, s.room_given) END AS claimed,
                  s.share, s.expected_from, s.expected_until, s.edge_state, r.status,
                  CASE WHEN s.edge_state = 'checked_in' THEN s.edge_at ELSE s.actual_in END AS in_room_at
             FROM stays.stay s JOIN stays.reservation r USING (property, system, external_id)
            WHERE s.property = %s AND (s.state IN ('planned', 'ready', 'in_house') OR s.id = ANY(%s))
            ORDER BY s.id""",
        [place.property, list(touched)],
    )
    rooms = await fetch_all(
        connection,
        "SELECT id, housekeeping FROM stays.room WHERE property = %s AND retired_at IS NULL",
        [place.property],
    )
    settled = settle(
        (_claim(row) for row in rows),
        {room["id"]: _housekeeping(room["housekeeping"]) for room in rooms},
        now_ms=now_ms,
    )
    await execute(
        connection,  # from now on another room of the PMS's is a move: it knew where he is
        """UPDATE stays.stay s SET agreed_room = s.edge_room FROM stays.reservation r
            WHERE s.property = %s AND s.id = ANY(%s) AND s.edge_state = 'checked_in' AND s.room_asked = s.edge_room
              AND s.agreed_room IS DISTINCT FROM s.edge_room AND r.status = 'in_house' AND r.property = s.property
              AND r.system = s.system AND r.external_id = s.external_id""",
        [place.property, list(touched)],
    )
    changed = [(row, settled[row["id"]]) for row in rows if _differs(row, settled[row["id"]])]
    unheard = surprised | frozenset(touched if by == BY_EDGE else ())  # the PMS named its room without knowing of him
    await execute(
        connection,  # first let go, then give: two stays may swap rooms
        "UPDATE stays.stay SET room = NULL WHERE property = %s AND id = ANY(%s)",
        [place.property, [row["id"] for row, _ in changed]],
    )
    async with connection.pipeline():
        await _settle_each(connection, place, changed, unheard, by=by, now_ms=now_ms)
        told = {row["id"] for row, _ in changed}
        for row in rows:
            new = settled[row["id"]]
            if row["id"] in unheard - told and _is_elsewhere(row, new.state, new.room):
                await _tell(connection, place, row, new, elsewhere=True, by=by, now_ms=now_ms)
    renewed = await document.renew(
        connection, tenant=place.tenant, property_id=place.property, edge=place.edge, now_ms=now_ms
    )
    if changed or touched or renewed:
        await notify_live(connection, place.property, (LIVE_KIND,))


async def _settle_each(
    connection: Connection,
    place: Place,
    changed: Iterable[tuple[Mapping[str, Any], Settled]],
    unheard: frozenset[str],
    *,
    by: str,
    now_ms: int,
) -> None:
    for row, new in changed:
        # the room a guest has left stays in the books; when he came and went is told by the edge alone, never guessed
        room = row["room"] if new.state is StayState.LEFT else new.room
        await execute(
            connection,
            "UPDATE stays.stay SET state = %s, room = %s, version = version + 1, updated_at = %s"
            " WHERE property = %s AND id = %s",
            [new.state.value, room, at(now_ms), place.property, row["id"]],
        )
        elsewhere = row["id"] in unheard and _is_elsewhere(row, new.state, room)
        await _tell(connection, place, row, Settled(new.state, room), elsewhere=elsewhere, by=by, now_ms=now_ms)


async def _tell(
    connection: Connection,
    place: Place,
    row: Mapping[str, Any],
    new: Settled,
    *,
    elsewhere: bool,
    by: str,
    now_ms: int,
) -> None:
    await outbox.append(
        connection,
        kind=STAY_CHANGED,
        tenant=place.tenant,
        property_id=place.property,
        subject=row["id"],
        body={
            "stay": row["id"],
            "system": row["system"],
            "external_id": row["external_id"],
            "edge": place.edge,
            "from_state": row["state"],
            "state": new.state.value,
            "from_room": row["room"],
            "room": new.room,
            "pms_status": row["status"],
            "pms_room": row["pms_room"],
            "elsewhere": elsewhere,
            "edge_state": row["edge_state"],
            "by": by,
        },
        occurred_at_ms=now_ms,
    )


def _claim(row: Mapping[str, Any]) -> Claim:
    edge = None if row["edge_state"] is None else EdgeState(row["edge_state"])
    return Claim(
        stay=row["id"],
        state=state_of(PmsStatus(row["status"]), edge),
        room=row["claimed"],
        from_ms=unix_ms(row["expected_from"]),
        until_ms=unix_ms(row["expected_until"]),
        in_ms=unix_ms(row["in_room_at"]),
        share=row["share"],
    )


def _is_elsewhere(row: Mapping[str, Any], state: StayState, room: str | None) -> bool:
    inside = state is StayState.IN_HOUSE and row["edge_state"] == EdgeState.CHECKED_IN
    alive = row["status"] not in (PmsStatus.CANCELLED, PmsStatus.NO_SHOW)
    return inside and alive and room is not None and row["pms_room"] not in (None, room)


def _housekeeping(value: str | None) -> Housekeeping | None:
    return None if value is None else Housekeeping(value)


def _differs(row: Mapping[str, Any], new: Settled) -> bool:
    if new.state not in ACTIVE and row["state"] not in ACTIVE:
        return bool(row["state"] != new.state.value)
    return bool(row["state"] != new.state.value or row["room"] != new.room)
