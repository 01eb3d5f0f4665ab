"""Drives the rooms: entries, readings and stays in; transitions, writes and records out.

The thin shell around modes, occupancy, schedule, intents and commands, which decide. State changes in memory at once
and is marked dirty; whoever moves the log's cursor (edge/app/house.py) commits the dirty rooms with it, so that
after SIGKILL either the entry is processed again or its wake is there, never neither.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from zoneinfo import ZoneInfo

from edge.policy import local_hours
from edge.policy.document import RoomPolicy
from edge.rooms.capability_view import CapabilityView
from edge.rooms.command_desk import CommandDesk, sent
from edge.rooms.commands import CommandBook, RoomCommand
from edge.rooms.intents import Intents, OpenIntent, Wish, Write
from edge.rooms.memory import RoomSnapshot, gap, lasting, resume, sensed
from edge.rooms.modes import (
    CLIMATE_MS,
    HEATING,
    Began,
    BelievedEmpty,
    DialTurned,
    GuestEntered,
    Intent,
    Mode,
    PresenceFelt,
    Restored,
    RoomEvent,
    RoomState,
    SleepAsked,
    StaffEntered,
    WindowOpened,
    WindowShut,
    step,
    target_c,
)
from edge.rooms.occupancy import Belief
from edge.rooms.ports import DeviceWriter, RoomRecords
from edge.rooms.returns import Returns
from edge.rooms.rule_runner import RuleRunner, inputs_of
from edge.rooms.schedule import due_event
from edge.rooms.senses import FELT, SETPOINT, TEMPERATURES, Key, Sense
from edge.stays.document import StayState
from edge.stays.replica import Stay
from kit.clock import Clock, ClockQuality
from kit.task_groups import TaskGroup
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId, RoomId, StayId
from protocols.device_model.reading import Reading

TICK_MS: Final = 10_000  # how late a room may learn what only time tells it
WRITE_WAIT_MS: Final = 15_000  # one attempt of a wish; the next one asks afresh
UTC: Final = ZoneInfo("UTC")
LIVED_EVERY_MS: Final = 300_000  # how much longer than it was a gap between two lives may seem
EVENTS_PER_TICK_MOST: Final = 4  # a room settles in two; more would be two rules in disagreement


class RoomsEngine:
    """All guest rooms of the property.

    Args:
        rooms: The guest rooms; events for any other room change nothing.
        view: What devices report; shared with the local API and the live state.
        stays: The stays that the replica holds for a room, asked anew each time.
        stays_known: Whether the replica holds any document, asked anew each time: before, vacant proves nothing.
        policy: The policy in force, asked anew each time.
        writer: The way to the devices.
        records: The record log.
        clock: Both clocks.
        about: Floor and type of each room, for rules.
        windows: Devices whose contact is on a window.
        where: The property's zone.
        held_back: Whether fire mode holds the devices, asked anew each time: then rooms wish and do not write.
        wished: Told of every wish and what it came of, as it is made.
    """

    def __init__(
        self,
        *,
        rooms: Sequence[RoomId],
        view: CapabilityView,
        stays: Callable[[RoomId], Sequence[Stay]],
        stays_known: Callable[[], bool],
        policy: Callable[[], RoomPolicy],
        writer: DeviceWriter,
        records: RoomRecords,
        clock: Clock,
        about: Mapping[RoomId, tuple[int, str]] | None = None,
        windows: Collection[DeviceId] = (),
        where: ZoneInfo = UTC,
        held_back: Callable[[], bool] = lambda: False,
        wished: Callable[[RoomId, Intent, str], None] = lambda *_: None,
    ) -> None:
        self.view = view
        self.rules = RuleRunner()
        self._wished = wished
        self._about, self._windows, self._where, self._held_back = (
            dict(about or {}),
            windows,
            where,
            held_back,
        )
        self._stays, self._policy, self._writer, self._records, self._clock = stays, policy, writer, records, clock
        self._stays_known = stays_known
        self._unstored = set(rooms)
        """Rooms of which no life of the process has stored anything yet."""
        self._states: dict[RoomId, RoomState] = {room: RoomState(since_ms=clock.wall_ms()) for room in rooms}
        self._senses: dict[RoomId, Sense] = {room: Sense() for room in rooms}
        self._stirred = set(rooms)
        """Rooms of which something was heard since their rules were last judged."""
        self._judged_ms: int | None = None
        self._intents = Intents()
        self._returns = Returns()
        self._dirty: set[RoomId] = set()
        self._told: list[dict[str, Any]] = []
        self._woken = asyncio.Event()
        self._stored_ms = clock.now_ms()
        self._desk = CommandDesk(
            rooms=self._states.keys(),
            able=self._able,
            writer=writer,
            records=records,
            clock=clock,
            held_back=held_back,
            outranked=self._outranked,
        )

    # --- what survives -------------------------------------------------------------------------------------

    def restore(self, snapshots: Sequence[RoomSnapshot], *, lived_ms: int | None = None) -> None:
        """Take up where the last life of the process stopped; call before anything else.

        Args:
            snapshots: What it had stored.
            lived_ms: Unix ms at which it is known to have listened; None: not known.
        """
        now_ms, wall_ms = self._clock.now_ms(), self._clock.wall_ms()
        gap_ms = gap(lived_ms, wall_ms=wall_ms, believed=self._clock.quality is not ClockQuality.UNCERTAIN)
        for each in snapshots:
            if each.room not in self._states:
                continue  # the site plan no longer has it
            self._states[each.room] = each.state
            self._unstored.discard(each.room)
            sense = self._senses[each.room]
            sense.recovery = each.recovery.restarted()
            if each.sensed is not None:
                set_back = each.state.mode is Mode.AWAY_SET_BACK
                resume(sense, each.sensed, set_back=set_back, now_ms=now_ms, wall_ms=wall_ms, gap_ms=gap_ms)
                for device in {*sense.unheard_windows, *sense.written_c}:
                    if self.view.room_of(device) != each.room:
                        sense.forget(device)  # moved or taken out while nobody listened
            for device, held_c in each.held_c:
                if self.view.room_of(device) == each.room:
                    self._returns.restore(device, held_c)
            self.rules.restore(each.room, each.held)
            for intent, met in each.wishes:
                if self._intents.want(each.room, intent, now_ms=now_ms, wall_ms=wall_ms):
                    self._open(each.room, intent).met.update(met)

    def take_dirty(self) -> list[RoomSnapshot]:
        """Return the rooms that changed since the last call, to be stored now; `not_stored` gives them back."""
        rooms, self._dirty = sorted(self._dirty), set()
        return [self._snapshot(room) for room in rooms]

    def forget_told(self) -> None:
        """Drop what is still to be recorded: nobody records a life that is only tried (dry_run.py)."""
        self._told.clear()

    def not_stored(self, snapshots: Sequence[RoomSnapshot]) -> None:
        """Learn that storing failed: these rooms are still to be stored."""
        self._dirty.update(each.room for each in snapshots)

    # --- what happens --------------------------------------------------------------------------------------

    def entered(self, room: RoomId, stay: StayId | None, *, at_ms: int) -> None:
        """Learn that the lock of a room opened, for a stay or for somebody without one (staff).

        Args:
            room: The lock's room.
            stay: The stay whose grant opened it; only one in house in this very room wakes it.
            at_ms: Unix ms when it happened: a welcome light that is late already is not switched on.
        """
        if room not in self._states:
            return
        ours = stay is not None and any(
            each.id == stay and each.state is StayState.IN_HOUSE for each in self._stays(room)
        )
        sense, now_ms = self._senses[room], self._clock.now_ms()
        inside = sense.evidence.known_inside
        if not ours and sense.do_not_disturb:
            sense.disturbed_ms = now_ms
        happened_ms = now_ms - max(0, self._clock.wall_ms() - at_ms)
        sense.evidence = sense.evidence.unlocked(now_ms=now_ms, happened_ms=happened_ms, staff=not ours)
        self._dirty.add(room)
        if stay is not None and ours:
            self._happened(room, GuestEntered(stay, known_inside=inside), at_ms=at_ms)
        else:
            self._happened(room, StaffEntered(), at_ms=at_ms)
        self._woken.set()

    def heard(self, reading: Reading, *, now_ms: int, wall_ms: int) -> bool:
        """Take one reading into view and occupancy; True if it says something new."""
        new = self.view.take(reading, now_ms=now_ms, wall_ms=wall_ms)
        key = (reading.capability, reading.attribute)
        felt = key in FELT
        if not (new or felt):
            return False
        room = self.view.room_of(reading.device)
        sense = None if room is None else self._senses.get(room)
        if room is None or sense is None:
            return new
        awake = False
        if felt:
            if key in TEMPERATURES:  # most of what is felt: no wish, no hand, and no window
                before = sense.recovery.samples
                awake = sense.heard(reading, window=False, now_ms=now_ms)
                if sense.recovery.samples != before:
                    self._dirty.add(room)
            else:
                lasted = self._lasting(sense, reading)
                window, forgot = reading.device in self._windows, self._returns.heard(reading)
                awake = sense.heard(reading, window=window, forgot=forgot, now_ms=now_ms)
                if self._lasting(sense, reading) != lasted:
                    self._dirty.add(room)
        if new:
            self._stirred.add(room)
            if awake or (isinstance(reading.value, bool) and self.rules.any):
                self._woken.set()
        return new

    def reached(self, device: DeviceId, *, reached: bool) -> None:
        """Learn that a device can no longer be heard, or can again: it may have lost its setpoint with its power."""
        room = self.view.room_of(device)
        if room is None or room not in self._states:
            return
        if reached:
            self._returns.back(device, now_ms=self._clock.now_ms())
        else:
            self._returns.gone(device)
            self._senses[room].lost(device)

    def moved(self, device: DeviceId, room: RoomId) -> None:
        """Learn that a device has left a room: what it held up there is over."""
        if room in self._states:
            self._senses[room].forget(device)
            self._dirty.add(room)

    def renewed(self, device: DeviceId, has: Collection[Key] = ()) -> None:
        """Learn that another thing stands behind a name: it is to hold what the last one held, and has proved nothing.

        Args:
            device: Its name.
            has: What it tells of and takes; empty: nobody knows.
        """
        self.reached(device, reached=False)
        room = self.view.room_of(device)
        if room is None or room not in self._states:
            return
        self._senses[room].renewed(device, has)
        for each in self.desired(room):
            each.met.discard(device)  # that was the last one's word
        self._dirty.add(room)

    def look_again(self) -> None:
        """Learn that stays or policy changed: think about every room now rather than at the next tick."""
        self._woken.set()

    # --- what is so ----------------------------------------------------------------------------------------

    def state(self, room: RoomId) -> RoomState:
        """Return a room's mode and stay. Raises KeyError for a room that is not ours."""
        return self._states[room]

    def rooms(self) -> list[RoomId]:
        """Return the guest rooms, by id."""
        return sorted(self._states)

    def belief(self, room: RoomId) -> Belief:
        """Return whether somebody is believed to be inside, by sensors and PMS. Raises KeyError: not ours."""
        return self._senses[room].belief(now_ms=self._clock.now_ms(), rented=self._rented(room))

    def sense(self, room: RoomId) -> Sense:
        """Return what the room's devices told. Raises KeyError for a room that is not ours."""
        return self._senses[room]

    def desired(self, room: RoomId) -> list[OpenIntent]:
        """Return the room's open wishes."""
        return [each for each in self._intents if each.room == room]

    @property
    def commands(self) -> CommandBook:
        """The commands taken, and how they ended."""
        return self._desk.book

    @property
    def open_intents(self) -> int:
        """How many wishes no device has confirmed yet, over all rooms."""
        return len(self._intents)

    # --- what is done --------------------------------------------------------------------------------------

    async def run(self, stored: Callable[[], Awaitable[None]]) -> None:
        """Think about every room when something happened and every `TICK_MS`, for ever.

        Args:
            stored: Awaited after each thought that changed a room, to commit what `take_dirty` returns.
        """
        for each in self._intents:
            each.in_flight.clear()  # a crash of this task took its writes along; they are absolute, so ask again
        for room, state in sorted(self._states.items()):
            self._tell(room, state)  # the cloud may have missed the last words of the life before
        async with TaskGroup() as writes:
            await self._desk.close_unfinished()
            while True:
                self._woken.clear()
                for write in self.think():
                    writes.create_task(self.carry_out(write))
                if self._dirty or self._clock.now_ms() - self._stored_ms >= LIVED_EVERY_MS:
                    self._stored_ms = self._clock.now_ms()
                    await stored()
                await self._flush()
                await self._wait()

    def think(self) -> list[Write]:
        """Move every room as far as time, stays, sensors and rules take it; return the writes to start now."""
        now_ms, wall_ms = self._clock.now_ms(), self._clock.wall_ms()
        policy = self._policy()
        self.rules.follow(policy)
        night = local_hours.holds(policy.occupancy.sleep, wall_ms, self._where)
        every = self._judged_ms is None or now_ms - self._judged_ms >= TICK_MS
        for room, sense in self._senses.items():
            if night:
                sense.evidence = sense.evidence.asleep(now_ms=now_ms)
            self._follow_stays(room, wall_ms=wall_ms, policy=policy)
            self._follow_senses(room, now_ms=now_ms, wall_ms=wall_ms, policy=policy)
            if self.rules.any and (every or room in self._stirred):
                self._follow_rules(room, now_ms=now_ms, wall_ms=wall_ms)
        self._follow_returns(now_ms=now_ms, wall_ms=wall_ms)
        if every:
            self._judged_ms = now_ms
        self._stirred.clear()
        if self._held_back():
            return []
        writes, ended = self._intents.due(self._able, now_ms=now_ms)
        for wish in ended:
            self._dirty.add(wish.room)
            missed = sorted(set(self._able(wish.wish)) - wish.met)
            if missed:
                self._tell(wish.room, self._states[wish.room], unmet=wish, missed=missed)
        return writes

    def sleep_asked(self, room: RoomId) -> None:
        """Learn that somebody in the room asked for the night. Raises KeyError for a room that is not ours."""
        self._happened(room, SleepAsked(), at_ms=self._clock.wall_ms())
        self._woken.set()

    def fire_over(self) -> None:
        """Learn that fire mode has let go of the devices: every room wishes again what its mode says."""
        for room in self._states:
            self._happened(room, Restored(), at_ms=self._clock.wall_ms())
        self._woken.set()

    async def command(self, command: RoomCommand, *, recorded: bool = True) -> Outcome:
        """Carry out a command at most once; the same idempotency key asks for the same answer again.

        Args:
            command: What is asked.
            recorded: False: the caller keeps the durable account of keys and phases itself (edge/link does).

        Raises:
            InvalidInputError: the room, value, device or key makes no sense; nothing was done.
            StoreFailedError: could not be made durable; nothing was done.
        """
        return await self._desk.take(command, recorded=recorded)

    async def settle(self) -> None:
        """Wait for the commands under way; call at shutdown, before the log closes."""
        await self._desk.settle()

    # --- within --------------------------------------------------------------------------------------------

    def _follow_stays(self, room: RoomId, *, wall_ms: int, policy: RoomPolicy) -> None:
        sense, stays = self._senses[room], self._stays(room)
        otherwise_ms = int(policy.climate.warm_up_before.total_seconds() * 1000)
        lead_ms = sense.recovery.lead_ms(
            from_c=sense.warmth(now_ms=self._clock.now_ms()), to_c=policy.climate.expected_c, otherwise_ms=otherwise_ms
        )  # fmt: skip
        if self._states[room].mode is Mode.EXPECTED:
            lead_ms = max(lead_ms, otherwise_ms)  # the warmer it gets the less it needs: no reason to stop
        for _ in range(EVENTS_PER_TICK_MOST):
            event = due_event(self._states[room], stays, wall_ms=wall_ms, policy=policy, lead_ms=lead_ms)
            if event is None:
                break
            self._happened(room, event, at_ms=wall_ms)
        if room in self._unstored and self._stays_known():
            self._unstored.discard(room)
            self._happened(room, Began(), at_ms=wall_ms)

    def _follow_senses(self, room: RoomId, *, now_ms: int, wall_ms: int, policy: RoomPolicy) -> None:
        sense = self._senses[room]
        after_ms = int(policy.climate.window_open_after.total_seconds() * 1000)
        opened = sense.window_open(now_ms=now_ms, after_ms=after_ms)
        if opened is not None and opened != self._states[room].window_open:
            self._happened(room, WindowOpened() if opened else WindowShut(), at_ms=wall_ms)
        if (chosen_c := sense.take_dial()) is not None:
            self._happened(room, DialTurned(chosen_c), at_ms=wall_ms)
        belief = self.belief(room)
        if belief.occupied is None and sense.evidence.somebody_came(now_ms=now_ms):
            self._happened(room, PresenceFelt(), at_ms=wall_ms)  # who it was may be told late: a guest comes first
        if belief.confidence < policy.occupancy.vacant_confidence:
            return
        if belief.occupied is True and not sense.evidence.visit(now_ms=now_ms):
            self._happened(room, PresenceFelt(), at_ms=wall_ms)
        elif belief.occupied is False:
            self._happened(room, BelievedEmpty(), at_ms=wall_ms)

    def _follow_rules(self, room: RoomId, *, now_ms: int, wall_ms: int) -> None:
        floor, kind = self._about.get(room, (None, None))
        sense = self._senses[room]
        inputs = inputs_of(
            room=room,
            floor=floor,
            kind=kind,
            state=self._states[room],
            belief=self.belief(room),
            rented=self._rented(room),
            do_not_disturb=sense.do_not_disturb,
            make_up_room=sense.make_up_room,
            values=self.view.shown([room], now_ms=now_ms),
            here=local_hours.local(wall_ms, self._where),
        )
        wished, changed = self.rules.judge(
            room, inputs, floor=floor, kind=kind, wall_ms=wall_ms, where=self._where
        )  # fmt: skip
        for rule, intent in wished:
            if self._states[room].window_open and (intent.capability, intent.attribute) == HEATING:
                continue  # heating waits for the window, whoever wishes it
            self._want(room, intent, f"rule {rule}")
        if changed:
            self._dirty.add(room)

    def _follow_returns(self, *, now_ms: int, wall_ms: int) -> None:
        """Wish again for controllers that came back without the setpoint they held, and for them alone."""
        for device in self._returns.due(now_ms=now_ms):
            room = self.view.room_of(device)
            wish = None if room is None else (room, *HEATING)
            if room is None or wish is None or device not in (able := self._able(wish)):
                continue
            before = next((each for each in self._intents if each.wish == wish), None)
            if before is not None and device not in before.met:
                continue  # on its way already
            value = self._again_c(room, device) if before is None else before.intent.value
            intent = Intent(*HEATING, value, wall_ms + CLIMATE_MS)
            self._intents.want(room, intent, now_ms=now_ms, wall_ms=wall_ms)
            self._open(room, intent).met.update((set(able) if before is None else before.met) - {device})
            self._wished(room, intent, f"{device} is back")
            self._dirty.add(room)

    def _again_c(self, room: RoomId, device: DeviceId) -> float:
        held_c, state, policy = self._returns.held_c(device), self._states[room], self._policy()
        if held_c is not None:
            return held_c
        if state.window_open:
            return policy.climate.set_back_c
        return target_c(state, policy, away_c=self._away_c(room))

    def _away_c(self, room: RoomId) -> float | None:
        climate = self._policy().climate
        return self._senses[room].recovery.away_c(
            comfort_c=self._states[room].preferred_c or climate.comfort_c,
            least_c=climate.away_c,
            within_ms=int(climate.recover_within.total_seconds() * 1000),
        )

    def _rented(self, room: RoomId) -> bool:
        return any(each.state is StayState.IN_HOUSE for each in self._stays(room))

    def _happened(self, room: RoomId, event: RoomEvent, *, at_ms: int) -> None:
        before = self._states[room]
        after, intents = step(before, event, now_ms=at_ms, policy=self._policy(), away_c=self._away_c(room))
        for intent in intents:
            self._want(room, intent, type(event).__name__)
        if after != before or intents:
            self._states[room] = after
            self._dirty.add(room)
        if after.mode is not before.mode or after.stay != before.stay:
            self._tell(room, after)
        elif after.window_open != before.window_open:
            self._tell(room, replace(after, cause="window_opened" if after.window_open else "window_shut"))

    def _want(self, room: RoomId, intent: Intent, why: str) -> None:
        self._intents.want(room, intent, now_ms=self._clock.now_ms(), wall_ms=self._clock.wall_ms())
        if (intent.capability, intent.attribute) == HEATING:
            for device in self.view.devices(room):
                self._returns.wished(device)
        self._wished(room, intent, why)

    def _able(self, wish: Wish) -> list[DeviceId]:
        room, capability, attribute = wish
        return [each for each in self.view.devices(room) if self._writer.can_write(each, capability, attribute)]

    def _open(self, room: RoomId, intent: Intent) -> OpenIntent:
        return next(each for each in self._intents if each.wish == (room, intent.capability, intent.attribute))

    def _snapshot(self, room: RoomId) -> RoomSnapshot:
        sense = self._senses[room]
        held_c = [(device, self._returns.held_c(device)) for device in self.view.devices(room)]
        return RoomSnapshot(
            room,
            self._states[room],
            wishes=tuple((each.intent, tuple(sorted(each.met))) for each in self.desired(room)),
            recovery=sense.recovery.restarted(),
            held=self.rules.held(room),
            sensed=sensed(sense, now_ms=self._clock.now_ms(), wall_ms=self._clock.wall_ms()),
            held_c=tuple((device, celsius) for device, celsius in held_c if celsius is not None),
        )

    def _lasting(self, sense: Sense, reading: Reading) -> Hashable:
        """Return what a reading may change of what is stored, to be compared."""
        if isinstance(reading.value, bool):
            return lasting(sense)
        if (reading.capability, reading.attribute) == SETPOINT:
            return self._returns.held_c(reading.device)
        return sense.recovery.samples

    def _outranked(self, wish: Wish) -> None:
        if self._intents.withdraw(wish):
            self._dirty.add(wish[0])  # a person outranks the scene

    def _tell(
        self, room: RoomId, state: RoomState, *, unmet: OpenIntent | None = None, missed: Sequence[DeviceId] = ()
    ) -> None:
        body: dict[str, Any] = {"room": room, "mode": state.mode.value, "cause": state.cause, "stay": state.stay}
        if unmet is not None:
            intent = unmet.intent
            body["cause"] = "unmet"
            body["unmet"] = {
                "capability": intent.capability.value,
                "attribute": intent.attribute,
                "value": intent.value,
            }
            body["devices"] = list(missed)
        self._told.append(body)

    async def _flush(self) -> None:
        told, self._told = self._told, []
        for body in told:
            await self._records.room(body)

    async def _wait(self) -> None:
        due_ms = self._intents.next_due_ms()
        wait_ms = TICK_MS if due_ms is None else max(0, min(TICK_MS, due_ms - self._clock.now_ms()))
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._woken.wait()
        except TimeoutError:
            return

    async def carry_out(self, write: Write) -> None:
        """Try once to fulfil a wish at one device; absolute values only, so a doubtful write may be repeated."""
        wish, wall_ms = write.open, self._clock.wall_ms()
        left_ms = min(WRITE_WAIT_MS, wish.expires_ms - self._clock.now_ms())
        name = f"intent:{wish.room}:{wish.intent.attribute}:{wish.intent.deadline_ms}:{write.device}:{wish.attempts}"
        try:
            outcome = await sent(
                self._writer,
                Command(
                    id=name,
                    device=write.device,
                    capability=wish.intent.capability,
                    attribute=wish.intent.attribute,
                    value=wish.intent.value,
                    deadline_ms=wall_ms + left_ms,
                    idempotency_key=name,
                ),
            )
        finally:
            wish.in_flight.discard(write.device)
        if outcome.phase is Phase.DONE and self._intents.holds(wish):
            wish.met.add(write.device)
            self._dirty.add(wish.room)
            if (wish.intent.capability, wish.intent.attribute) == HEATING:
                self._senses[wish.room].wrote(write.device, float(wish.intent.value), now_ms=self._clock.now_ms())
                self._returns.wrote(write.device, float(wish.intent.value))
        self._woken.set()
