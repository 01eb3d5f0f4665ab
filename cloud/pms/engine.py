"""Keeps a property in step with its PMS: hints re-read, changes polled behind a stored cursor.

Nothing here trusts a push: it only brings a question forward. The cursor moves to the beginning of a run that
went well and each question reaches back by the overlap, so what changed during a run, or during our downtime,
is asked for again; upserts are idempotent. One runner at a time (cloud/kit/leadership.py).
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

import psycopg

from cloud.kit.database import Connection, Database, execute, jsonb
from cloud.kit.notify import NotificationHub, notify
from cloud.kit.times import at, unix_ms
from cloud.platform.properties import Property, ask_property
from cloud.pms import conditions, drift, guests, hints, issues, room_map
from cloud.pms.hints import HINT_CHANNEL
from cloud.pms.port import (
    PART,
    Hint,
    ItemError,
    ItemKind,
    Page,
    PmsAdapter,
    PmsBusyError,
    PmsRefusedError,
    PmsReservation,
    PmsRoom,
)
from cloud.pms.reading import NO_ID
from cloud.pms.recognition import Recognition
from cloud.stays.mirror import bookings_of, mirrored, newest_change_ms
from cloud.stays.reservation import Housekeeping, PmsStatus, Reservation
from cloud.stays.rooms import room_ids
from cloud.stays.stays import Place, Upserted, set_conditions, upsert_reservations
from kit.clock import Clock
from protocols.errors import PeerProtocolError, PlatformError

LOOK_S: Final = 1.0
FAILED_FIRST_MS: Final = 1_000
FAILED_MOST_MS: Final = 30_000
LOOK_BACK: Final = timedelta(hours=24)
"""What a first question about changes reaches back to (PMS-15)."""
FULL_BACK: Final = timedelta(days=2)
FULL_AHEAD: Final = timedelta(days=87)
NEAR_EVERY: Final = timedelta(minutes=5)
NEAR_AHEAD: Final = timedelta(days=3)
SKEW_MOST: Final = timedelta(hours=1)
"""How far the PMS's clock may be from ours: changes are asked for by its clock, which nobody tells us."""
LOST_AGAIN: Final = timedelta(minutes=10)
"""Between two comparisons of everything because hints were lost."""
UNLISTED_MOST: Final = 200
"""Asked for by id after one comparison; the others wait for the next."""
ERRORS_KEPT: Final = 50
_ABOUT_THE_ASKED: Final = frozenset({400, 404, 422})


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often to ask."""

    poll: timedelta
    overlap: timedelta
    full: timedelta


@dataclass(frozen=True, slots=True)
class Run:
    """What one question brought."""

    kind: str
    created: int
    updated: int
    unchanged: int
    errors: tuple[ItemError, ...]


class PmsSync:
    """One connection: one property, one PMS."""

    def __init__(
        self,
        database: Database,
        adapter: PmsAdapter,
        *,
        property_id: str,
        rhythm: Rhythm,
        clock: Clock,
        log: Any,  # noqa: ANN401 - structlog's lazy logger
        room_types: Mapping[str, str] = MappingProxyType({}),
        own_conditions: Mapping[str, Housekeeping] = MappingProxyType({}),
        recognition: Recognition | None = None,
    ) -> None:
        """Keep `property_id` in step with the PMS of `adapter`.

        Args:
            room_types: Our word for the PMS's code of a type.
            own_conditions: Our word for the property's own of a room's condition (conditions.py).
            recognition: Who keeps profiles of guests; None: nobody does.
        """
        self._database, self._adapter, self._rhythm = database, adapter, rhythm
        self._room_types, self._conditions = room_types, own_conditions
        self._clock, self._log, self._recognition = clock, log, recognition
        self.property_id, self.system = property_id, adapter.system
        self._polled_ms: int | None = None
        self._subscribed_ms: int | None = None
        self._queue_ms = 0
        self._failures, self._again_ms, self._ailment = 0, 0, ""

    async def take_push(self, raw: bytes) -> int:
        """Store the hints of a push and return how many; they are re-read by whoever runs the sync.

        Raises:
            PeerProtocolError: not a push of this PMS.
        """
        found = self._adapter.hints(raw)
        async with self._database.transaction() as connection:
            await self._keep(connection, found)
            if found:
                await notify(connection, HINT_CHANNEL)
        return len(found)

    async def run(self, hub: NotificationHub) -> None:
        """Keep in step until cancelled. What the PMS or the line does wrong is noted and tried again."""
        with hub.subscribe(HINT_CHANNEL) as woken:
            while True:
                await self.step()
                await woken.wait(LOOK_S)

    async def step(self) -> None:
        """Do what is due now: everything once, then changes every `poll`, hints as they come."""
        if self._clock.now_ms() < self._again_ms:
            return
        found = await self._property()
        if found is None:
            return  # its site plan has not been loaded yet
        try:
            state = await self._state(found)
            now_ms = self._clock.wall_ms()
            full_ms = unix_ms(state["full_at"])
            if full_ms is None or now_ms - full_ms >= self._rhythm.full // timedelta(milliseconds=1):
                await self.full(found)
                self._polled_ms = self._clock.now_ms()
            elif self._polled_ms is None or self._clock.now_ms() - self._polled_ms >= self._rhythm.poll // timedelta(
                milliseconds=1
            ):
                await self.poll(found)
                self._polled_ms = self._clock.now_ms()
            await self._empty_queue()
            await self.take_hints(found)
            await self._subscribe(found)  # last: pushes that do not come keep nobody from reading
            self._failures, self._ailment = 0, ""
        except PmsBusyError as error:
            await self._ail(error)  # hints and cursor are where they were
        except PlatformError as error:
            self._failures += 1
            if self._failures > 1:  # once is chance; beyond that a partner who is down is not helped by questions
                wait_ms = min(FAILED_FIRST_MS * 2 ** (self._failures - 2), FAILED_MOST_MS)
                self._again_ms = self._clock.now_ms() + wait_ms
            if str(error) != self._ailment:  # said once, not once a second
                self._ailment = str(error)
                self._log.warning("pms_sync_failed", property=self.property_id, system=self.system, error=self._ailment)
            await self._ail(error)

    async def _empty_queue(self) -> None:
        """Take the hints that the PMS keeps for us, where it does."""
        now_ms = self._clock.now_ms()
        if not self._adapter.capabilities.event_queue or now_ms < self._queue_ms:
            return
        try:
            found = await self._adapter.pending()
        except PlatformError as error:
            if hints.may_be_lost(error) and not self._adapter.capabilities.queue_keeps:
                async with self._database.transaction() as connection:
                    await self._keep(connection, [hints.EVERYTHING])
            raise
        if found:
            async with self._database.transaction() as connection:
                await self._keep(connection, found)
        self._queue_ms = now_ms + self._adapter.capabilities.queue_every_ms
        await self._adapter.received()

    async def _subscribe(self, found: Property) -> None:
        """See once every `full` that the PMS still pushes to us."""
        now_ms = self._clock.now_ms()
        every_ms = self._rhythm.full // timedelta(milliseconds=1)
        if self._subscribed_ms is not None and now_ms - self._subscribed_ms < every_ms:
            return
        if renewed := await self._adapter.ensure_subscribed():
            self._log.warning("pms_subscriptions_renewed", property=found.id, system=self.system, count=renewed)
        self._subscribed_ms = now_ms

    async def _ail(self, error: PlatformError) -> None:
        async with self._database.transaction() as connection:
            await execute(
                connection,
                "UPDATE pms.connection SET last_error = %s, last_error_at = %s WHERE property = %s AND system = %s",
                [
                    str(error).replace("\x00", "\ufffd")[:500],
                    at(self._clock.wall_ms()),
                    self.property_id,
                    self.system,
                ],
            )

    async def full(self, found: Property) -> Run:
        """Compare rooms, and every reservation near now."""
        now_ms = self._clock.wall_ms()
        state = await self._state(found)
        await self.read_rooms(found)
        from_ms, until_ms = _back(now_ms, FULL_BACK), now_ms + FULL_AHEAD // timedelta(milliseconds=1)
        async with self._database.transaction() as connection:
            here = await mirrored(
                connection, property_id=found.id, system=self.system, from_ms=from_ms, until_ms=until_ms
            )
        told: dict[str, PmsReservation] = {}
        pages = _heard(self._adapter.colliding(from_ms, until_ms), told)
        run = await self._take_pages(found, "full", pages, began_ms=now_ms)
        if state["full_at"] is not None:  # before the first comparison nothing could have been known
            cursor_ms = unix_ms(state["cursor_at"]) or now_ms
            await self._reconcile(found, here, told, run, known_until_ms=_back(cursor_ms, self._rhythm.overlap))
        await self._succeeded(cursor_ms=now_ms, full_ms=now_ms, near_ms=now_ms)
        return run

    async def _reconcile(
        self,
        found: Property,
        here: Mapping[str, Reservation],
        told: Mapping[str, PmsReservation],
        run: Run,
        *,
        known_until_ms: int,
    ) -> None:
        """Keep what had drifted apart, and ask by id for what the PMS no longer lists."""
        now_ms = self._clock.wall_ms()
        rooms = await self._room_map()
        drifts = drift.compare(here, [self._ours(each, rooms) for each in told.values()], known_until_ms=known_until_ms)
        held_back = {each.external_id for each in run.errors}
        asked = [each for each in drift.unlisted(here, told) if each not in held_back][:UNLISTED_MOST]
        page = await self._get(asked) if asked else Page(())
        await self._take_page(found, page)
        answered = {each.external_id for each in page.reservations} | {each.external_id for each in page.errors}
        gone = [each for each in asked if each not in answered]
        drifts += [drift.Drift(each, "gone", "the PMS neither lists nor knows it") for each in gone]
        async with self._database.transaction() as connection:
            times = await drift.note(connection, property_id=found.id, system=self.system, found=drifts, now_ms=now_ms)
        await self._upsert(found, drift.cancelled(here, {each: times.get(each, 0) for each in gone}))
        if drifts:
            self._log.warning("pms_drift", property=found.id, system=self.system, count=len(drifts))

    async def poll(self, found: Property) -> Run:
        """Ask for what changed since the cursor, less the overlap.

        A PMS that cannot list by time of change has the neighbourhood of now listed every `NEAR_EVERY`.
        """
        now_ms = self._clock.wall_ms()
        state = await self._state(found)
        if not self._adapter.capabilities.changed_since:
            near_ms = unix_ms(state["near_at"])
            if near_ms is not None and now_ms - near_ms < NEAR_EVERY // timedelta(milliseconds=1):
                return Run("queue", 0, 0, 0, ())
            await self.read_rooms(found)
            pages = self._adapter.colliding(_back(now_ms, FULL_BACK), now_ms + NEAR_AHEAD // timedelta(milliseconds=1))
            run = await self._take_pages(found, "near", pages, began_ms=now_ms)
            await self._succeeded(cursor_ms=now_ms, full_ms=None, near_ms=now_ms)
            return run
        cursor_ms = unix_ms(state["cursor_at"])
        since_ms = _back(now_ms, LOOK_BACK) if cursor_ms is None else await self._since_ms(found, cursor_ms)
        await self.read_rooms(found)
        until_ms = now_ms + SKEW_MOST // timedelta(milliseconds=1)  # what a fast clock there stamps now
        run = await self._take_pages(found, "changes", self._adapter.changed(since_ms, until_ms), began_ms=now_ms)
        await self._succeeded(cursor_ms=now_ms, full_ms=None)
        return run

    async def _since_ms(self, found: Property, cursor_ms: int) -> int:
        """Return since when to ask. A slow clock there stamps what changes now before our cursor: so not after the
        newest change that it told us of, as far as a clock may be wrong.
        """
        async with self._database.transaction() as connection:
            newest_ms = await newest_change_ms(connection, property_id=found.id, system=self.system)
        known_ms = min(max(newest_ms or 0, _back(cursor_ms, SKEW_MOST)), cursor_ms)
        return _back(known_ms, self._rhythm.overlap)

    async def read_rooms(self, found: Property) -> dict[str, PmsRoom]:
        """Take over the PMS's rooms: which of ours each is, by name, and its condition; return them by their id."""
        told = conditions.understood(await self._adapter.rooms(), self._conditions)
        rooms, twice = issues.each_name_once(told.rooms)
        now_ms = self._clock.wall_ms()
        async with self._database.transaction() as connection:
            ours = await room_ids(connection, self.property_id)
            await room_map.keep(
                connection, property_id=self.property_id, system=self.system, rooms=rooms, twice=twice, ours=ours
            )
            await set_conditions(
                connection,
                _place(found),
                conditions.taken(rooms, ours),
                now_ms=now_ms,
            )
            new = await issues.note(
                connection,
                property_id=self.property_id,
                system=self.system,
                errors=(*told.errors, *twice),
                well={("resource", room.external_id) for room in rooms}
                - {(bad.kind, bad.external_id) for bad in told.errors},
                now_ms=now_ms,
            )
        self._tell(new)
        return {each.external_id: each for each in told.rooms}

    async def take_hints(self, found: Property) -> int:
        """Re-read what is hinted at; return how many hints were settled."""
        now_ms = self._clock.wall_ms()
        place: dict[str, Any] = {"property_id": found.id, "system": self.system}
        due = await hints.due(self._database, **place, now_ms=now_ms)
        if not self._adapter.capabilities.asks_by_guest and any(map(guests.is_guest, due)):
            async with self._database.transaction() as connection:
                await guests.followed(connection, **place, rows=due, now_ms=now_ms)
            due = await hints.due(self._database, **place, now_ms=now_ms)
        due = [each for each in due if not hints.is_everything(each) or await self._may_compare(found, each, now_ms)]
        if not due:
            return 0
        try:
            for row in filter(hints.is_everything, due):
                if not await self._compared_since(found, row):
                    await self.full(found)
            if any(row["kind"] == "resource" for row in due):
                await self.read_rooms(found)
            ids = [row["external_id"] for row in due if row["kind"] == "reservation" and not hints.is_everything(row)]
            waiting = await self._reread(found, ids) if ids else frozenset()
        except PlatformError:
            async with self._database.transaction() as connection:
                await hints.put_off(connection, property_id=found.id, system=self.system, rows=due, now_ms=now_ms)
            raise
        later = [row for row in due if row["kind"] == "reservation" and row["external_id"] in waiting]
        well = [row for row in due if row not in later]
        async with self._database.transaction() as connection:
            await hints.settled(connection, property_id=found.id, system=self.system, rows=well)
            await hints.put_off(connection, property_id=found.id, system=self.system, rows=later, now_ms=now_ms)
            await self._ok(connection)
        return len(well)

    async def _reread(self, found: Property, ids: Sequence[str]) -> frozenset[str]:
        """Read what was hinted at. A booking that the PMS hints at and does not know was deleted there, or is not to
        be read yet: it is asked for some times more before it counts as cancelled.

        Returns the hints to be read again.
        """
        now_ms = self._clock.wall_ms()
        page = await self._get(ids)
        await self._take_page(found, page)
        bad = {each.external_id for each in page.errors}
        told = {each.external_id for each in page.reservations} | bad
        if NO_ID in bad:  # an answer that does not say of whom: nobody is gone for it
            return frozenset(each for each in ids if each not in told)
        place: dict[str, Any] = {"property_id": found.id, "system": self.system}
        async with self._database.transaction() as connection:
            held = await bookings_of(connection, **place, ids=ids, part=PART)
            named = {each: each if each in ids else each.partition(PART)[0] for each in held}  # by whom it was hinted
            gone = {each: held[each] for each, hint in named.items() if each not in told and hint not in bad}
            over = await drift.still_gone(connection, **place, gone=gone, told=told, now_ms=now_ms)
        if over:
            self._log.warning("pms_reservations_gone", property=found.id, system=self.system, ids=sorted(over))
            await self._upsert(found, [replace(gone[each], status=PmsStatus.CANCELLED) for each in over])
        return frozenset(named[each] for each in gone if each not in over)

    async def _compared_since(self, found: Property, row: hints.Row) -> bool:
        """Tell whether everything was compared after a hint was heard."""
        full_at = (await self._state(found))["full_at"]
        return full_at is not None and full_at > row["heard_at"]

    async def _may_compare(self, found: Property, row: hints.Row, now_ms: int) -> bool:
        """Tell whether hints that were lost are a reason to compare everything now; if not yet, put them off."""
        full_ms = unix_ms((await self._state(found))["full_at"])
        if full_ms is None or await self._compared_since(found, row):
            return True
        again_ms = full_ms + LOST_AGAIN // timedelta(milliseconds=1)
        if again_ms <= now_ms:
            return True
        async with self._database.transaction() as connection:
            await hints.wait_until(connection, property_id=found.id, system=self.system, row=row, at_ms=again_ms)
        return False

    async def _keep(self, connection: Connection, found: Iterable[Hint]) -> None:
        now_ms = self._clock.wall_ms()
        await hints.store(connection, property_id=self.property_id, system=self.system, hints=found, now_ms=now_ms)

    async def read_room(self, found: Property, external_id: str) -> PmsRoom | None:
        """Read the rooms now, take them over, and return one; None if the PMS does not know it."""
        return (await self.read_rooms(found)).get(external_id)

    async def read_again(self, found: Property, external_id: str) -> PmsReservation | None:
        """Read one reservation now and mirror it; None if the PMS does not know it. Raises PeerProtocolError."""
        page = await self._adapter.get([external_id])
        await self._take_page(found, page)
        told = next((each for each in page.reservations if each.external_id == external_id), None)
        names = (external_id, external_id.partition(PART)[0], NO_ID)
        for each in page.errors:
            if told is None and each.external_id in names:  # told of, though nobody can read it: it is not gone
                raise PeerProtocolError(f"{self.system} {external_id}: {each.problem}")
        return told

    async def _get(self, ids: Sequence[str]) -> Page:
        """Read reservations by id; one id that the PMS will not hear of costs only itself."""
        try:
            return await self._adapter.get(ids)
        except PmsRefusedError as error:
            if error.status not in _ABOUT_THE_ASKED:
                raise
            if len(ids) == 1:
                return Page((), (ItemError(ids[0], str(error)),))
        half = len(ids) // 2
        first, second = await self._get(ids[:half]), await self._get(ids[half:])
        return Page(
            first.reservations + second.reservations, first.errors + second.errors, first.guests + second.guests
        )

    async def _take_pages(self, found: Property, kind: str, pages: AsyncIterator[Page], *, began_ms: int) -> Run:
        created = updated = unchanged = 0
        errors: list[ItemError] = []
        new = 0
        async for page in pages:
            done, failed, unheard = await self._take_page(found, page)
            created, updated, unchanged = created + done.created, updated + done.updated, unchanged + done.unchanged
            errors.extend(failed)
            new += unheard
        run = Run(kind, created, updated, unchanged, tuple(errors))
        if created or updated or new:
            await self._note(run, began_ms=began_ms)
        return run

    async def _take_page(self, found: Property, page: Page) -> tuple[Upserted, list[ItemError], int]:
        """Mirror a page in one transaction; if an item breaks it, item by item, so that one costs only itself.

        Returns what was done, every error, and how many of them nobody had heard of before.
        """
        rooms = await self._room_map()
        items = [self._ours(each, rooms) for each in page.reservations]
        errors = list(page.errors)
        try:
            done = await self._upsert(found, items)
        except (psycopg.DataError, psycopg.IntegrityError):
            done = Upserted(0, 0, 0)
            for item in items:
                try:
                    one = await self._upsert(found, [item])
                except (psycopg.DataError, psycopg.IntegrityError) as error:
                    problem = f"{type(error).__name__}: {error.diag.message_primary or error}"
                    errors.append(ItemError(item.external_id, problem))
                    continue
                done = Upserted(done.created + one.created, done.updated + one.updated, done.unchanged + one.unchanged)
        errors += await self._homeless(page.reservations, rooms)
        bad = {(each.kind, each.external_id) for each in errors}
        taken: set[tuple[ItemKind, str]] = {("reservation", each.external_id) for each in page.reservations}
        taken |= {("customer", each) for each in page.guests}
        place: dict[str, Any] = {"property_id": self.property_id, "system": self.system}
        now_ms = self._clock.wall_ms()
        async with self._database.transaction() as connection:
            await guests.keep(connection, **place, said=page.reservations, now_ms=now_ms)
            if self._recognition is not None:
                await self._recognition.keep(connection, tenant=found.tenant, **place, said=page.reservations)
            new = await issues.note(connection, **place, errors=errors, well=taken - bad, now_ms=now_ms)
        self._tell(new)
        return done, errors, len(new)

    async def _homeless(self, said: Iterable[PmsReservation], rooms: Mapping[str, str]) -> list[ItemError]:
        """Name the reservations that stand in a room which is none of ours: they are mirrored without one."""
        away = [each for each in said if each.room_external_id is not None and each.room_external_id not in rooms]
        if not away:
            return []
        async with self._database.transaction() as connection:
            names = await room_map.names_by_id(connection, property_id=self.property_id, system=self.system)
        return [
            ItemError(
                each.external_id,
                f"its room {names.get(each.room_external_id or '', 'without a name')!r} ({each.room_external_id}) is"
                " no room of this property",
                held_back=False,
            )
            for each in away
        ]

    def _tell(self, new: Iterable[ItemError]) -> None:
        for each in new:
            self._log.warning(
                "pms_item_held_back" if each.held_back else "pms_item_incomplete",
                property=self.property_id,
                system=self.system,
                kind=each.kind,
                id=each.external_id,
                problem=each.problem,
            )

    async def _upsert(self, found: Property, items: Iterable[Reservation]) -> Upserted:
        async with self._database.transaction() as connection:
            return await upsert_reservations(connection, _place(found), items, now_ms=self._clock.wall_ms())

    def _ours(self, said: PmsReservation, rooms: dict[str, str]) -> Reservation:
        return Reservation(
            system=self.system,
            external_id=said.external_id,
            number=said.number,
            status=said.status,
            room=None if said.room_external_id is None else rooms.get(said.room_external_id),
            guest_name=said.guest_name,
            arrival_ms=said.arrival_ms,
            departure_ms=said.departure_ms,
            adults=said.adults,
            children=said.children,
            updated_ms=said.updated_ms,
            room_type=None if said.room_type is None else self._room_types.get(said.room_type, said.room_type),
        )

    async def _room_map(self) -> dict[str, str]:
        async with self._database.transaction() as connection:
            return await room_map.ours_by_id(connection, property_id=self.property_id, system=self.system)

    async def _property(self) -> Property | None:
        return await ask_property(self._database, self.property_id)

    async def _state(self, found: Property) -> dict[str, Any]:
        rows = await self._database.ask(
            "SELECT cursor_at, full_at, near_at FROM pms.connection WHERE property = %s AND system = %s",
            [self.property_id, self.system],
        )
        if rows:
            return rows[0]
        async with self._database.transaction() as connection:
            await execute(
                connection,
                "INSERT INTO pms.connection (property, system, tenant) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                [self.property_id, self.system, found.tenant],
            )
        return {"cursor_at": None, "full_at": None, "near_at": None}

    async def _succeeded(self, *, cursor_ms: int, full_ms: int | None, near_ms: int | None = None) -> None:
        async with self._database.transaction() as connection:
            await execute(
                connection,
                """UPDATE pms.connection SET cursor_at = greatest(cursor_at, %s),
                          full_at = coalesce(%s, full_at), near_at = coalesce(%s, near_at)
                    WHERE property = %s AND system = %s""",
                [
                    at(cursor_ms),
                    None if full_ms is None else at(full_ms),
                    None if near_ms is None else at(near_ms),
                    self.property_id,
                    self.system,
                ],
            )
            await self._ok(connection)

    async def _ok(self, connection: Connection) -> None:
        await execute(
            connection,
            "UPDATE pms.connection SET last_ok_at = %s, last_error = NULL WHERE property = %s AND system = %s",
            [at(self._clock.wall_ms()), self.property_id, self.system],
        )

    async def _note(self, run: Run, *, began_ms: int) -> None:
        errors = [{"id": each.external_id, "problem": each.problem[:300]} for each in run.errors[:ERRORS_KEPT]]
        async with self._database.transaction() as connection:
            await execute(
                connection,
                """INSERT INTO pms.sync_run (property, system, kind, began_at, ended_at, created, updated, unchanged,
                                             errors) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
                [
                    self.property_id,
                    self.system,
                    run.kind,
                    at(began_ms),
                    at(self._clock.wall_ms()),
                    run.created,
                    run.updated,
                    run.unchanged,
                    jsonb(errors),
                ],
            )


async def _heard(pages: AsyncIterator[Page], told: dict[str, PmsReservation]) -> AsyncIterator[Page]:
    """Yield the pages and keep what they said in `told`."""
    async for page in pages:
        told.update({each.external_id: each for each in page.reservations})
        yield page


def _place(found: Property) -> Place:
    return Place(found.tenant, found.id, found.edge)


def _back(from_ms: int, by: timedelta) -> int:
    return from_ms - by // timedelta(milliseconds=1)
