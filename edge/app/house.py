"""One building at work: stays, rooms, check-in and access events joined over the record log.

The rule of every path through here: first the record, durable on lane A; then its effect, derived from the
record and committed together with the cursor that says how far the log was followed. So a kill at any moment leaves
either a record whose effect is still to come, or both; never an effect without its record, and none of them twice.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from edge.app.edge_store import Cursor, EdgeStore, Progress, Restored
from edge.app.lock_readings import lock_devices
from edge.app.models import UNKNOWN, Model
from edge.app.ports import Log
from edge.app.reading_records import ReadingEntry, ReadingRecords
from edge.app.watch import Watch
from edge.binding.book import Book
from edge.checkin.departures import Departures
from edge.checkin.desk import CheckInDesk
from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from edge.checkin.overdue import Overdue
from edge.checkin.ports import Cards, Doors
from edge.log.record_log import Appendable, Entry
from edge.policy import document as policy_document
from edge.policy import local_hours
from edge.policy.acceptance import NAME_PREFIX as POLICY_PREFIX
from edge.policy.acceptance import SignedPolicies
from edge.policy.document import RoomPolicy
from edge.rooms.capability_view import CapabilityView, Key
from edge.rooms.commands import from_body
from edge.rooms.engine import UTC, RoomsEngine
from edge.rooms.fire import FireMode, FireState
from edge.rooms.ports import DeviceWriter
from edge.stays.keeper import UNTIL, UNTILS, StaysKeeper, decision_from, until_body, until_from
from edge.stays.replica import Decision
from kit.clock import Clock
from protocols.device_model import binding
from protocols.device_model.capability import attribute
from protocols.device_model.identity import DescriptorId, DeviceId, PropertyId, RoomId, StayId
from protocols.device_model.reading import Reading
from protocols.device_model.site_plan import Device, SitePlan
from protocols.errors import InvalidInputError, StoreFailedError
from protocols.grant.lock_time import TimeQuality
from protocols.link.lanes import Lane
from protocols.link.record import Record
from protocols.policy import check_in, late_check_out
from protocols.policy import room as room_policy

LOG_CURSOR: Final = "log.A"
CURSOR_NAME: Final = "house"
DOORS_CURSOR: Final = "doors"
FIRE: Final = "fire"
BOOK: Final = "bindings"
LIVED: Final = "lived"
"""When the house is known to have listened, unix ms in digits."""
FOLLOW_MOST: Final = 500
REMINDED_MOST: Final = 500
OPENED: Final = "opened"
BELIEVED: Final = frozenset({TimeQuality.FRESH.name.lower(), TimeQuality.DRIFTING.name.lower()})
_row: Final = lru_cache(maxsize=4_096)(attribute)
"""Every reading asks for it."""
CLOCK_SKEW_MOST_MS: Final = 120_000  # a lock that claims to be further ahead of us than this has lost its clock

Entries = Mapping[Lane, list[Appendable]]
"""What is to be appended to lanes B and C, in order."""


class _Records:
    """The ports that rooms, stays and check-in write to, over one log."""

    def __init__(self, log: Log, house: "House") -> None:
        self._log, self._house = log, house

    async def room(self, body: Mapping[str, Any]) -> None:
        await self._log.append(Lane.B, "room", body)

    async def command(self, body: Mapping[str, Any]) -> None:
        await self._log.append(Lane.A, "command", body)

    async def desired(self, body: Mapping[str, Any]) -> None:
        await self._log.append(Lane.A, "desired", body)

    async def stays(self, bodies: Sequence[Mapping[str, Any]]) -> None:
        await self._log.append_many(Lane.A, [Entry("stay", body) for body in bodies])
        await self._house.catch_up()

    async def until(self, stay: StayId, until_ms: int, *, by: str) -> None:
        if not await self._house.stay_ends(stay, until_ms, by=by):
            raise CheckInRefusedError(CheckInRefusal.UNKNOWN_STAY, f"Stay {stay} is known in this building no longer.")


class House:
    """Everything the edge process decides, without the programs around it.

    Args:
        ours: The property.
        plan: Rooms, devices and doors; None: there are none.
        policy: The policy in force.
        log: The record log.
        store: Where derived state survives, with what it held.
        restored: What `store` held at opening.
        doors: The doors process.
        writer: The way to the devices.
        clock: Both clocks.
        logger: A structlog logger.
        fresh_ms: How long values stay fresh, where the descriptors say.
        cards: Who writes key cards; None: nobody does.
        model: What is known of a model of devices; asked whenever it is wanted.
    """

    def __init__(
        self,
        *,
        ours: PropertyId,
        plan: SitePlan | None,
        policy: RoomPolicy,
        log: Log,
        store: EdgeStore,
        restored: Restored,
        doors: Doors,
        writer: DeviceWriter,
        clock: Clock,
        logger: Any,  # noqa: ANN401 - structlog's lazy logger
        fresh_ms: Mapping[Key, int] | None = None,
        cards: Cards | None = None,
        model: Callable[[DescriptorId], Model] = lambda _: UNKNOWN,
    ) -> None:
        self._local_policy = policy
        self._model_of, self._descriptors = model, _descriptors(plan)
        self.live_changed: Callable[[], None] = _nothing
        """Called whenever the live state is not what it was; whoever tells the cloud sets it."""
        self._live_stirred = False
        self.plan = plan
        self._log, self._store, self._clock, self._logger = log, store, clock, logger
        self._cursors = dict(restored.cursors)
        self._following = asyncio.Lock()
        self._ending = asyncio.Lock()
        self._reminded = False
        self.book = restored_book(restored.documents, logger)
        """Who changed which device of the plan; `serve` puts what follows from it in force."""
        records = _Records(log, self)
        self._records = ReadingRecords()
        rooms = [] if plan is None else [room.id for room in plan.rooms if room.kind == "guest_room"]
        serves = {} if plan is None else {each.id: each.room for each in plan.devices}
        bound = self.book.rooms()  # a room's snapshot knows them; whether they can be is judged later
        known = {device: room for device, room in (serves | bound).items() if room is not None}
        self.view = CapabilityView(known | lock_devices(plan), fresh_ms)
        self.keeper = StaysKeeper(ours=ours, store=store, records=records, changed=self._stays_changed)
        self.where = UTC if plan is None else local_hours.zone(plan.property.zone, "site plan: property.zone")
        devices = () if plan is None else plan.devices
        self._windows = {each.id for each in devices if each.watches == "window"}
        self.fire = FireMode(
            devices=[each.id for each in devices],
            writer=writer,
            clock=clock,
            changed=self._fire_changed,
            points=lambda device: self._model(device).points,
        )
        kinds = {
            check_in.KIND: check_in.parse,
            late_check_out.KIND: late_check_out.parse,  # the cloud goes by it: guests ask there
            room_policy.KIND: policy_document.signed_body,
        }
        self.policies = SignedPolicies(ours=ours, kinds=kinds, store=store, records=records, clock=clock)
        for kind in self.policies.restore(restored.documents):
            logger.error("stored_policy_refused", kind=kind)
        self.rooms = RoomsEngine(
            rooms=rooms,
            view=self.view,
            stays=self.keeper.in_room,
            stays_known=lambda: self.keeper.replica.document_version > 0,
            policy=lambda: self.policy,
            writer=writer,
            records=records,
            clock=clock,
            about={} if plan is None else {room.id: (room.floor, room.type) for room in plan.rooms},
            windows=self._windows,
            where=self.where,
            held_back=lambda: self.fire.active,
        )
        self.fire.ended = self.rooms.fire_over
        if (burning := restored.documents.get(FIRE)) is not None:
            self.fire.restore(_fire_from(burning))
        self.watch = Watch(
            rooms=self.rooms,
            view=self.view,
            fire=self.fire,
            policy=lambda: self.policy,
            log=log,
            store=store,
            documents=restored.documents,
            where=self.where,
            clock=clock,
            floor_of=self._floor_of,
            sleeps_ms=lambda device: self._model(device).sleeps_ms,
            model_of=lambda device: self._descriptors.get(device, ""),
            step_of=lambda device, key: self._model(device).steps.get(key, 0.0),
            has=lambda device: self._model(device).points,
        )
        self.departures = Departures(replica=lambda: self.keeper.replica, doors=doors, store=store, log=logger)
        self.desk = CheckInDesk(
            replica=lambda: self.keeper.replica,
            opens_before_ms=self._opens_before_ms,
            rooms_with_doors=frozenset() if plan is None else frozenset(door.room for door in plan.doors),
            doors=doors,
            records=records,
            departures=self.departures,
            clock=clock,
            cards=cards,
        )
        self.overdue = Overdue(
            replica=lambda: self.keeper.replica, doors=doors, turn=self.desk.turn, clock=clock, log=logger
        )
        self.keeper.restore(restored.stays_version, restored.stays_document, restored.decisions, restored.untils)
        self.rooms.restore(restored.rooms, lived_ms=_lived_ms(restored.documents))
        for body in restored.commands:
            self._replay_command(body)

    # --- following the log ---------------------------------------------------------------------------------

    async def catch_up(self) -> None:
        """Take every record of lane A not taken yet, and store what follows from it. Raises StoreFailedError."""
        async with self._following:
            if not self._reminded:
                await self._remind()
                self._reminded = True
            while await self._follow_once():
                pass

    async def _remind(self) -> None:
        """Show the watch what was taken shortly before this life: a key seen then may be at another door now."""
        cursor = self._cursors.get(LOG_CURSOR, Cursor())
        if not cursor.seq or cursor.incarnation != self._log.incarnation:
            return
        for record in await self._log.read(Lane.A, max(cursor.seq - REMINDED_MOST, 0), REMINDED_MOST):
            if record.kind == "access" and record.seq <= cursor.seq:
                self.watch.access(record.body, at_ms=record.edge_at_ms)

    async def stored(self) -> None:
        """Store the rooms that changed by themselves. Raises StoreFailedError."""
        async with self._following:
            lived = {LIVED: str(self._clock.wall_ms()).encode()}
            await self._commit(Progress(cursors={}, rooms=self.rooms.take_dirty(), documents=lived))

    async def _follow_once(self) -> bool:
        incarnation = self._log.incarnation
        cursor = self._cursors.get(LOG_CURSOR, Cursor())
        after = cursor.seq if cursor.incarnation == incarnation else 0
        records = await self._log.read(Lane.A, after, FOLLOW_MOST)
        if not records:
            return False
        cursors = dict(self._cursors)
        decisions: list[Decision] = []
        commands: list[dict[str, Any]] = []
        documents: dict[str, bytes] = {}
        for record in records:
            if record.kind == "stay":
                decision = self._replay_stay(record)
                decisions.append(decision)
            elif record.kind == UNTIL:
                documents[UNTILS] = self.keeper.ends(until_from(record.body))
            elif record.kind == "access":
                self._replay_access(record, cursors)
            elif record.kind == "command" and self._replay_command(record.body):
                commands.append(record.body)
            elif record.kind == binding.KIND:
                self.book.take(binding.from_body(record.body))
                documents[BOOK] = self.book.to_bytes()
        cursors[LOG_CURSOR] = Cursor(incarnation, records[-1].seq)
        await self._commit(
            Progress(
                cursors=cursors,
                decisions=decisions,
                rooms=self.rooms.take_dirty(),
                commands=commands,
                documents=documents,
            )
        )
        self._cursors = cursors
        await self._log.advance(CURSOR_NAME, Lane.A, records[-1].seq)
        return len(records) == FOLLOW_MOST

    async def stay_ends(self, stay: StayId, until_ms: int, *, by: str) -> bool:
        """Record when a stay ends, by the next number, and take it. Raises StoreFailedError.

        False: a document has taken the stay out of this building meanwhile, and nothing was recorded.
        """
        async with self._ending:  # the desk and the PMS may speak at once; each has a number of its own
            while True:
                await self.catch_up()
                if self.keeper.replica.get(stay) is None:
                    return False
                word = self.keeper.replica.next_until(stay, until_ms, by=by, at_ms=self._clock.wall_ms())
                await self._log.append(Lane.A, UNTIL, until_body(word))
                await self.catch_up()
                held = self.keeper.replica.untils.get(stay)
                if held is None or held.n != word.n or held == word:
                    return True
                # one whose asker was gone before it was durable has the number

    async def _commit(self, progress: Progress) -> None:
        try:
            await self._store.commit(progress)
        except StoreFailedError:
            self.rooms.not_stored(progress.rooms)
            raise

    def _replay_stay(self, record: Record) -> Decision:
        stay = StayId(record.body["stay"])
        replica = self.keeper.replica
        before = replica.decisions.get(stay)
        decision = decision_from(record.body, replica.documents.get(stay) or (before.stay if before else None))
        self.keeper.decided(decision)
        return self.keeper.replica.decisions[stay]

    def _replay_access(self, record: Record, cursors: dict[str, Cursor]) -> None:
        body = record.body
        epoch, seq = bytes.fromhex(body["doors"]), int(body["doors_seq"])
        before = cursors.get(DOORS_CURSOR, Cursor())
        if before.incarnation == epoch and seq <= before.seq:
            return  # taken before, in an earlier incarnation of the log
        cursors[DOORS_CURSOR] = Cursor(epoch, seq)
        self.watch.access(body, at_ms=record.edge_at_ms)
        if body["event"] == OPENED and body.get("room") is not None:
            stay = body.get("stay")
            self.rooms.entered(RoomId(body["room"]), None if stay is None else StayId(stay), at_ms=_happened_ms(record))

    def _replay_command(self, body: Mapping[str, Any]) -> bool:
        try:
            found = from_body(body)
        except (KeyError, ValueError):
            return False  # a capability that this build no longer knows
        if found is None:
            return False
        self.rooms.commands.write_down(*found)
        return True

    # --- what the neighbours bring -------------------------------------------------------------------------

    async def doors_mark(self, epoch: bytes) -> int:
        """Return the last of the doors' events that is in the log; 0 for a new life of the doors' store.

        The log's own mark moves in one commit with the record. The cursor here only speaks where that
        log was damaged and begun anew: what its earlier incarnation had taken is not taken again.
        """
        cursor = self._cursors.get(DOORS_CURSOR, Cursor())
        derived = cursor.seq if cursor.incarnation == epoch else 0
        return max(derived, await self._log.source_mark(_source(epoch), Lane.A))

    async def access_happened(
        self, epoch: bytes, seq: int, body: Mapping[str, Any], *, device_at_ms: int | None
    ) -> bool:
        """Take over one of the doors' access events, at most once, and wake the room it opened.

        Args:
            epoch: The life of the doors' store.
            seq: The event's position there, rising from 1.
            body: The record's body; `doors` and `doors_seq` are added.
            device_at_ms: The lock's own time.

        Returns:
            False: it was here already.

        Raises:
            StoreFailedError: not durable; the doors keep the event.
        """
        entry = Entry("access", {**body, "doors": epoch.hex(), "doors_seq": seq}, device_at_ms)
        new = await self._log.append_once(_source(epoch), seq, Lane.A, entry) is not None
        if new:
            await self.catch_up()
        return new

    def noted(self, readings: Iterable[Reading], entries: Entries | None, *, now_ms: int, wall_ms: int) -> None:
        """Take readings into view and occupancy, in order; add what is worth a record to its lane's entries.

        That is not what a device says that is not ours, nor an event that only repeats itself (a contact closed twice).
        Fire has heard them before (`Devices.together`, `alarmed`). Whoever follows the live state is told with `keep`
        or `kept`. Both times are now. `entries` None: others keep the records.
        """
        watched, heard, room_of, records = self.watch.heard, self.rooms.heard, self.view.room_of, self._records
        events, telemetry = (None, None) if entries is None else (entries[Lane.B], entries[Lane.C])
        device: DeviceId | None = None
        room: RoomId | None = None
        for reading in readings:
            if reading.device is not device:  # what a device said together comes together
                device = reading.device
                room = room_of(device)
            watched(reading, room=room, now_ms=now_ms)
            if room is None:
                continue
            new = heard(reading, now_ms=now_ms, wall_ms=wall_ms)
            if new:
                self._live_stirred = True
            if events is None or telemetry is None:
                continue
            if not _row(reading.capability, reading.attribute).event:
                telemetry.append(ReadingEntry(room, reading, records))
            elif new:
                events.append(ReadingEntry(room, reading, records))

    def alarmed(self, readings: Iterable[Reading]) -> None:
        """Let fire hear readings whose records others keep: it waits for no disk."""
        self.fire.heard_together(readings)

    def kept(self, readings: Iterable[Reading]) -> None:
        """Take readings that fire has heard and whose records others have kept."""
        self.noted(readings, None, now_ms=self._clock.now_ms(), wall_ms=self._clock.wall_ms())
        self._tell_live()

    async def keep(self, lane: Lane, entries: Sequence[Appendable]) -> None:
        """Append up to `APPEND_RECORDS_MAX` entries, all or none. They have waited for company where they come from.

        Raises:
            LocalProtocolError: one of them is no record; none was kept.
            StoreFailedError: none was kept.
        """
        self._tell_live()
        if entries:
            clock = self._clock
            wall_ms, now_ms, quality = clock.wall_ms(), clock.now_ms(), clock.quality
            records = self._records.encode_all(entries, edge_at_ms=wall_ms, mono_ms=now_ms, clock=quality)
            await self._log.append_encoded(lane, records, urgent=True)

    def _tell_live(self) -> None:
        """Say once for all that was noted together that the live state is another."""
        if self._live_stirred:
            self._live_stirred = False
            self.live_changed()

    def serve(self, plan: SitePlan, fresh_ms: Mapping[Key, int]) -> None:
        """Take which devices serve which rooms from now on. A name that stays keeps all that is known under it."""
        serves = {each.id: each.room for each in plan.devices} | lock_devices(plan)
        for device in list(self.view.everyone()):
            if (room := self.view.room_of(device)) is not None and serves.get(device) != room:
                self.rooms.moved(device, room)
        self.plan, self._descriptors = plan, _descriptors(plan)
        self.view.serve(serves, fresh_ms)
        self.watch.serve({each.id: (each.room, _place(each)) for each in plan.devices})
        self.fire.serve([each.id for each in plan.devices])
        self._windows.clear()
        self._windows |= {each.id for each in plan.devices if each.watches == "window"}
        self.rooms.look_again()
        self.live_changed()

    @property
    def policy(self) -> RoomPolicy:
        """The room policy in force: the signed one, else the node's own (protocols/policy/SPEC.md section 5)."""
        signed = self.policies.in_force(room_policy.KIND)
        return signed if isinstance(signed, RoomPolicy) else self._local_policy

    async def new_policy(self, data: bytes, place: str) -> None:
        """Take the node's own policy document, whole, or refuse it; it is in force while none is signed.

        Raises:
            InvalidInputError: it is none, or older than the node's own of before.
            StoreFailedError: what was in force still is.
        """
        offered = policy_document.succeed(self._local_policy, policy_document.parse(data, place))
        if offered != self._local_policy:
            await self._store.save_policy(offered.version, policy_document.encode(offered))
            self._local_policy = offered
            self.rooms.look_again()

    async def desired(self, name: str, version: int, body: object) -> None:
        """Take a verified desired document from the link.

        Raises:
            InvalidInputError: a document of a name that this build does not know, or one that is refused.
            PolicyRefusedError: a signed policy that may not be taken up.
            UnsupportedVersionError: a format that this build does not know.
        """
        if name.startswith(POLICY_PREFIX):
            before = self.policy
            await self.policies.take(name, version, body)
            if self.policy != before:
                self.rooms.look_again()
            return
        if name != "stays":
            raise InvalidInputError("desired document", f"{name!r} is not known here; known: stays, policy_*")
        await self.keeper.apply(version, body)

    def live_state(self) -> list[dict[str, Any]]:
        """Return every room's latest values, for the link."""
        return [each.to_body() for each in self.view.shown(now_ms=self._clock.now_ms())]

    def _model(self, device: DeviceId) -> Model:
        return self._model_of(self._descriptors.get(device, DescriptorId("")))

    async def _fire_changed(self, state: FireState) -> None:
        await self._store.save_document(FIRE, msgspec.json.encode(state))

    def _floor_of(self, room: str) -> int | None:
        rooms = () if self.plan is None else self.plan.rooms
        return next((each.floor for each in rooms if each.id == room), None)

    @property
    def check_in_policy(self) -> check_in.CheckInPolicy:
        """The check-in policy in force: the signed one, else the one that asks nothing of the guest."""
        signed = self.policies.in_force(check_in.KIND)
        return signed if isinstance(signed, check_in.CheckInPolicy) else check_in.DEFAULT

    def _opens_before_ms(self) -> int:
        """How long before arrival check-in opens: as a signed policy says, else as the room policy does."""
        signed = self.policies.in_force(check_in.KIND)
        if isinstance(signed, check_in.CheckInPolicy):
            return signed.opens_before_minutes * 60_000
        return round(self.policy.check_in.opens_before.total_seconds() * 1000)

    def _stays_changed(self) -> None:
        self.rooms.look_again()
        self.departures.look_again()
        self.overdue.look_again()


def _nothing() -> None:
    """Nobody is told."""


def _place(device: Device) -> str:
    """Return what tells whether another thing stands behind a device's name."""
    return msgspec.json.encode([device.descriptor, device.address]).decode()


def _descriptors(plan: SitePlan | None) -> dict[DeviceId, DescriptorId]:
    return {} if plan is None else {each.id: each.descriptor for each in plan.devices}


def restored_book(documents: Mapping[str, bytes], logger: Any) -> Book:  # noqa: ANN401 - structlog's lazy logger
    """Return the stored book; an empty one if there is none that can be read: lane A is followed anew then."""
    if (stored := documents.get(BOOK)) is None:
        return Book()
    try:
        return Book.from_bytes(stored)
    except msgspec.MsgspecError as error:
        logger.error("stored_bindings_refused", error=str(error))
        return Book()


def _lived_ms(documents: Mapping[str, bytes]) -> int | None:
    digits = documents.get(LIVED, b"")
    return int(digits) if digits.isdigit() and len(digits) < 20 else None  # else of a page that was damaged


def _fire_from(body: bytes) -> FireState:
    try:
        return msgspec.json.decode(body, type=FireState)
    except msgspec.MsgspecError:
        return FireState()  # damaged: detectors speak for themselves, and a person may declare it again


def _source(epoch: bytes) -> str:
    return f"doors:{epoch.hex()}"


def _happened_ms(record: Record) -> int:
    """Return when a lock opened, unix ms: by the lock's clock if it can be believed, else when we heard of it."""
    at_ms = record.body.get("at_ms")
    if not isinstance(at_ms, int) or at_ms > record.edge_at_ms + CLOCK_SKEW_MOST_MS:
        return record.edge_at_ms
    if record.body.get("time_quality") not in BELIEVED:
        return record.edge_at_ms
    return min(at_ms, record.edge_at_ms)
