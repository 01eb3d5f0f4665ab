"""Watches the house: alerts raised and cleared, batteries, energy; every half minute, stored and told.

The cores are edge/rooms/{alerts,battery,comfort,energy,frozen,standing_meters,unheard}.py; here is what they are fed
with. Order of every alert: the book into edge.db, then the record on lane B by its number (`append_once`): a kill in
between repeats it without doubling it.
"""

import asyncio
import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from edge.app.edge_store import EdgeStore
from edge.app.ports import Log
from edge.log.record_log import Entry
from edge.policy import local_hours
from edge.policy.document import RoomPolicy
from edge.rooms.alerts import Alert, AlertBook, AlertKind, Subject
from edge.rooms.battery import Battery, forecast
from edge.rooms.capability_view import CapabilityView, Shown
from edge.rooms.comfort import Machines, Side, breach, machines
from edge.rooms.energy import BASELINE, RoomEnergy
from edge.rooms.engine import RoomsEngine
from edge.rooms.far_doors import FarDoors
from edge.rooms.fire import FireMode
from edge.rooms.frozen import Frozen, judged_as
from edge.rooms.frozen import Kept as Tracked
from edge.rooms.lock_battery import LOCK_BATTERY, lock_level
from edge.rooms.modes import Mode, target_c
from edge.rooms.senses import CONTACT, LEAK, OUTDOOR
from edge.rooms.standing_meters import Circuit, StandingMeters
from edge.rooms.unheard import Unheard, Waiting
from kit.clock import Clock
from protocols.descriptors.codec import Reason
from protocols.device_model.capability import Capability
from protocols.device_model.identity import DeviceId, RoomId
from protocols.device_model.reading import Quality, Reading
from protocols.errors import StoreFailedError
from protocols.link.lanes import Lane

LOOK_EVERY_MS: Final = 30_000
KEEP_EVERY_MS: Final = 15 * 60_000
SOURCE: Final = "alerts"
BATTERY: Final = (Capability.POWER_SOURCE, "bat_percent_remaining")
_METER: Final = Capability.ELECTRICAL_MEASUREMENT
ENERGY: Final = (_METER, "cumulative_energy_imported")
BATTERY_DAYS: Final = 14
UNHEARD: Final = "unheard"
PLACES: Final = "places"
STANDING_EVERY_MS: Final = 10 * 60_000
"""So often are values judged that stand: it takes hours until one is worth a word."""
STANDING_KEPT_EVERY_MS: Final = 3_600_000
_WARM: Final = "warm"
"""The aspect of a breach that is one of being too warm; one of cold has none."""
_DOUBT: Final = "doubt"
"""The aspect of a fault that no device tells of itself: another thing may stand in its place."""
_NOBODY: Final = frozenset({Reason.NO_ANSWER.value, Reason.NOT_THIS_MODEL.value})
"""Reasons by which a bus says of a bad value that the device itself has not spoken."""
DISTURBED_MS: Final = 10 * 60_000
OUTDOOR_FRESH_MS: Final = 2 * 3_600_000
FAR_APART_MS: Final = 12 * 3_600_000
"""A key that was at two doors at once is up so long: somebody has to have seen it."""
_WORDS: Final = (bool, str)
T = TypeVar("T")


class Watch:
    """Alerts, batteries and energy of one house.

    Args:
        rooms: The rooms.
        view: What devices report.
        fire: Fire mode.
        policy: The policy in force, asked anew each time.
        log: The record log.
        store: Where the books survive.
        documents: What `store` held of them.
        where: The property's zone.
        clock: Both clocks.
        floor_of: The floor of a room, None of an unknown one.
        sleeps_ms: How long a device may be silent and yet be well, where its descriptor says.
        model_of: A device's model: those of one model can be compared.
        step_of: What one step of an attribute's raw value is, as its descriptor says; 0: it does not.
        has: What a device's model tells of; empty: nobody knows.
    """

    def __init__(
        self,
        *,
        rooms: RoomsEngine,
        view: CapabilityView,
        fire: FireMode,
        policy: Callable[[], RoomPolicy],
        log: Log,
        store: EdgeStore,
        documents: dict[str, bytes],
        where: ZoneInfo,
        clock: Clock,
        floor_of: Callable[[str], int | None] = lambda _: None,
        sleeps_ms: Callable[[DeviceId], int] = lambda _: 0,
        model_of: Callable[[DeviceId], str] = lambda _: "",
        step_of: Callable[[DeviceId, tuple[Capability, str]], float] = lambda *_: 0.0,
        has: Callable[[DeviceId], Collection[tuple[Capability, str]]] = lambda _: (),
    ) -> None:
        self._rooms, self._view, self._fire, self._policy = rooms, view, fire, policy
        self._log, self._store, self._where, self._clock = log, store, where, clock
        self._book = AlertBook(_kept(documents.get("alerts"), list[Alert], []))
        self._numbered = self._standing_told = False
        self._urgent = asyncio.Event()
        self._batteries = _kept(documents.get("batteries"), dict[str, Battery], {})
        self._energy = _kept(documents.get("energy"), dict[str, RoomEnergy], {})
        self._unheard = Unheard(_kept(documents.get(UNHEARD), dict[str, Waiting], {}), sleeps_ms=sleeps_ms)
        self._unheard_kept = True
        self._model_of, self._step_of, self._has = model_of, step_of, has
        self._places = _kept(documents.get(PLACES), dict[str, str], {})
        """By device a mark of what stood behind its name when the books were kept last."""
        self._forgot = self._forgot_kept = 0
        """How often the books forgot something, and what of that is kept: it is to be, at once."""
        self._frozen = Frozen(_kept(documents.get("tracks"), Tracked, Tracked()), now_ms=clock.now_ms())
        self._meters = StandingMeters(_kept(documents.get("circuits"), dict[str, dict[str, Circuit]], {}))
        self._stood_looked_ms = self._stood_kept_ms = clock.now_ms()
        self._stood_kept = True
        self._far_doors = FarDoors(floor_of)
        self._far_apart: dict[Subject, tuple[str, int]] = {}
        self._doubts: dict[DeviceId, str] = {}
        self._outdoor: tuple[float, int] | None = None
        self._looked_ms: int | None = None
        self._kept_ms = clock.now_ms()
        self.failures = 0
        """How often the disk refused."""

    def heard(self, reading: Reading, *, room: RoomId | None, now_ms: int) -> None:
        """Take any reading of the house. Water is looked at at once: whoever tells of it may not say it again.

        `room`: which its device serves; None: none of ours.
        """
        what = _followed(reading.capability, reading.attribute)
        if what is None:
            return
        if what.leak and reading.value is True:
            self._urgent.set()
        if reading.quality is not Quality.GOOD or reading.value is None or isinstance(reading.value, _WORDS):
            return
        value = float(reading.value)
        if room is not None:
            if what.judged is not None:
                self._frozen.heard_as(what.judged, reading.device, value, now_ms=now_ms)
            if what.metered:
                self._meters.heard(reading, value, now_ms=now_ms)
        if what.key is None:
            return
        key = what.key
        if key == BATTERY:
            before = self._batteries.get(reading.device, Battery())
            self._batteries[reading.device] = before.said(value, wall_ms=self._clock.wall_ms())
        elif key == OUTDOOR:
            self._outdoor = (value, now_ms)
        elif key == ENERGY and room is not None:
            known = self._energy.get(room, RoomEnergy())
            self._energy[room] = known.metered(self._month(), reading.device, value)

    def access(self, body: Mapping[str, Any], *, at_ms: int) -> None:
        """Take an access record of lane A, `at_ms` when the log took it; the same again changes nothing.

        A key that was at two doors too far apart is looked at at once.
        """
        if (found := self._far_doors.told(body)) is None or at_ms + FAR_APART_MS <= self._clock.wall_ms():
            return
        subject = Subject(AlertKind.KEY_FAR_APART, found.second.room, f"key-{found.key}"[:40])
        self._far_apart[subject] = (found.detail, at_ms + FAR_APART_MS)
        self._urgent.set()

    def serve(self, places: Mapping[DeviceId, tuple[RoomId, str]]) -> None:
        """Take the devices of the house: the room of each, and what tells one thing from another by the same name.

        Who is another than when the books were kept last, a restart or another site plan ago, is renewed.
        """
        marks = {str(device): _mark(place) for device, (_, place) in places.items()}
        for device, mark in marks.items():
            if self._places.get(device, mark) != mark:
                self.renewed(DeviceId(device))
        # of who was taken out it is known what it was, in case it comes back and its gauge's words with it
        out = {device: mark for device, mark in self._places.items() if device in self._batteries}
        if (now := out | marks) != self._places:
            self._places, self._forgot = now, self._forgot + 1
        of_room: dict[str, set[str]] = defaultdict(set)
        for each, (its_room, _) in places.items():
            of_room[its_room].add(each)
        for room, energy in self._energy.items():
            self._energy[room] = energy.kept_of(of_room[room])

    def renewed(self, device: DeviceId) -> None:
        """Learn that another thing stands behind a device's name: what the last one said is no part of its story.

        Its counter, its battery, and how long its values stand; and the alerts that only that thing could end.
        """
        self._frozen.forget(device)
        self._meters.forget(device)
        self._batteries.pop(device, None)
        for room, energy in self._energy.items():
            self._energy[room] = energy.kept_of(energy.meters.keys() - {device})
        for alert in self._book.up():
            kind = alert.subject.kind
            gone = kind is AlertKind.DEVICE_FAULT or (kind is AlertKind.LEAK and not self._may_say(device, LEAK))
            if alert.subject.device == device and gone:
                self._book.over(alert.subject, wall_ms=self._clock.wall_ms())
        self._stood_kept, self._forgot = False, self._forgot + 1

    def doubted(self, device: DeviceId, why: str | None) -> None:
        """Learn that a device may be another thing than the plan has, and why; None: nothing speaks for that now."""
        if why is None:
            self._doubts.pop(device, None)
        else:
            self._doubts[device] = why

    async def run(self) -> None:
        """Look every half minute, and when water or a key at two doors is told of, for ever."""
        while True:
            try:
                await self.look()
            except StoreFailedError:
                self.failures += 1  # the log's own health says so; the book keeps what is untold
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._urgent.wait(), LOOK_EVERY_MS / 1000)
            self._urgent.clear()

    async def look(self) -> None:
        """Look once. Raises StoreFailedError: what is untold stays so."""
        now_ms, wall_ms = self._clock.now_ms(), self._clock.wall_ms()
        if not self._numbered:  # edge.db may have been set aside: the log knows the last number it took
            mark = await self._log.source_mark(SOURCE, Lane.B)
            self._book = AlertBook(self._book.standing(), number=mark)
            self._numbered = True
        passed_ms = self._pass_time(now_ms)
        shown = self._view.shown(now_ms=now_ms)
        spoke = {each.device for each in shown if _said(each)}
        unheard = self._unheard.look(self._view.everyone(), spoke, passed_ms=passed_ms, wall_ms=wall_ms)
        self._unheard_kept = self._unheard_kept and not unheard
        self._look_at_what_stands(now_ms)
        forgot, places = self._forgot, self._places
        anew = forgot != self._forgot_kept
        changed = self._book.look(self._so(shown, now_ms), now_ms=now_ms, wall_ms=wall_ms)
        if changed or anew:
            await self._keep("alerts", self._book.standing())
        for alert in self._book.untold():
            await self._log.append_once(SOURCE, alert.number, Lane.B, Entry("alert", alert.to_body()))
            self._book.told(alert)
            changed = True
        if changed:
            await self._keep("alerts", self._book.standing())
        if not self._standing_told:  # whoever follows us may hold what a store set aside no longer knows
            numbers = [each.number for each in self._book.up()]
            await self._log.append(Lane.B, "alert", {"state": "standing", "standing": numbers})
            self._standing_told = True
        if anew or now_ms - self._kept_ms >= KEEP_EVERY_MS:
            self._kept_ms = now_ms
            await self._keep("batteries", self._batteries)
            await self._keep("energy", self._energy)
            self._unheard_kept = False
        if not self._unheard_kept:
            await self._keep(UNHEARD, self._unheard.rows())
            self._unheard_kept = True
        if not self._stood_kept or now_ms - self._stood_kept_ms >= STANDING_KEPT_EVERY_MS:
            self._stood_kept, self._stood_kept_ms = True, now_ms
            await self._keep("tracks", self._frozen.kept(now_ms=now_ms))
            await self._keep("circuits", self._meters.kept())
        if anew:  # last: books that could not be kept are judged again by the marks of before
            await self._keep(PLACES, places)
            self._forgot_kept = forgot

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are up, oldest first."""
        return [each.to_body() for each in self._book.up()]

    def batteries(self) -> list[dict[str, Any]]:
        """Return every battery's forecast."""
        found = []
        for device, battery in sorted(self._batteries.items()):
            told = forecast(battery)
            found.append(
                {
                    "device": device,
                    "percent": battery.days[-1][1] if battery.days else None,
                    "days_left": told.days_left,
                    "confidence": told.confidence,
                    "why": told.why,
                    "lies": battery.lies,
                }
            )
        return found

    def energy(self) -> dict[str, Any]:
        """Return what each room used and saved, month by month, with the arithmetic."""
        return {
            "baseline": BASELINE,
            "baseline_c": self._policy().climate.comfort_c,
            "rooms": [
                {"room": room, "months": each.told(), "meter_resets": each.resets}
                for room, each in sorted(self._energy.items())
            ],
        }

    def _look_at_what_stands(self, now_ms: int) -> None:
        if now_ms - self._stood_looked_ms < STANDING_EVERY_MS:
            return
        self._stood_looked_ms, devices = now_ms, self._view.everyone()
        frozen = self._frozen.look(devices, model_of=self._model_of, now_ms=now_ms)
        stands = self._meters.look(devices, step_kwh=lambda device, name: self._step_of(device, (_METER, name)))
        if frozen or stands:
            self._stood_kept = False

    def _so(self, shown: Sequence[Shown], now_ms: int) -> dict[Subject, str]:
        so: dict[Subject, str] = {}
        if self._fire.active:
            so[Subject(AlertKind.FIRE)] = "fire mode is on"
        fresh: dict[str, bool] = {}
        strangers: set[str] = set()
        locks: set[str] = set()
        room_of: dict[str, str] = {}
        leak_told: set[str] = set()
        faults: dict[tuple[str, str], list[str]] = {}
        faults_told: set[str] = set()
        machinery: dict[str, list[Shown]] = defaultdict(list)
        for each in shown:
            room_of[each.device] = each.room
            fresh[each.device] = fresh.get(each.device, False) or _is_fresh(each)
            if each.reason == Reason.NOT_THIS_MODEL.value:
                strangers.add(each.device)
            if each.capability in (Capability.THERMOSTAT, Capability.FAN_CONTROL):
                machinery[each.room].append(each)
            if each.capability is Capability.DOOR_LOCK:
                locks.add(each.device)
            if (each.capability, each.attribute) == LEAK and not self._was_anothers(each):
                leak_told.add(each.device)
                if each.value is True:
                    so[Subject(AlertKind.LEAK, each.room, each.device)] = "water"
            if each.capability is not Capability.FAULT_STATE or not _is_fresh(each):
                continue
            faults_told.add(each.device)
            if each.value is True:
                faults.setdefault((each.room, each.device), []).append(_fault(each.attribute))
        for (where, whose), said in faults.items():
            so[Subject(AlertKind.DEVICE_FAULT, where, whose)] = ", ".join(sorted(said))
        for doubted, why in self._doubts.items():
            if (its := self._view.room_of(doubted)) is not None:
                so[Subject(AlertKind.DEVICE_FAULT, its, doubted, aspect=_DOUBT)] = why
        for whom, stood in (*self._frozen.told().items(), *self._meters.told().items()):
            if (its := self._view.room_of(whom)) is not None:
                subject = Subject(AlertKind.FROZEN, its, whom)
                so[subject] = f"{so[subject]}; {stood}" if subject in so else stood
        overdue = self._unheard.overdue()
        for device, heard in fresh.items():
            if not heard and device in strangers:
                so[Subject(AlertKind.STALE, room_of[device], device)] = "another model answers at its address"
            elif not heard and device not in overdue and not self._unheard.waits_for(DeviceId(device)):
                so[Subject(AlertKind.STALE, room_of[device], device)] = "nothing it said is fresh"
        for device, why in overdue.items():
            so.setdefault(Subject(AlertKind.STALE, str(self._view.room_of(device)), device), why)
        for device, battery in self._batteries.items():
            if self._view.room_of(DeviceId(device)) is None:
                continue  # it was taken out; what its gauge said is kept in case it comes back
            if device in locks and (level := lock_level(battery)) is not None:
                kind, what, percent = level
                so[Subject(kind, room_of[device], device)] = f"{percent:g} % left: {what}"
                continue
            told = forecast(battery)
            if told.days_left is not None and told.days_left <= BATTERY_DAYS and told.confidence >= 0.5:
                room = self._view.room_of(DeviceId(device))
                so[Subject(AlertKind.BATTERY_LOW, str(room), device)] = (
                    f"{told.days_left} days left, confidence {told.confidence:g}"
                )
        for room in self._rooms.rooms():
            so |= self._of_room(room, machines(machinery[room]), now_ms)
        wall_ms = self._clock.wall_ms()
        self._far_apart = {each: kept for each, kept in self._far_apart.items() if wall_ms < kept[1]}
        so |= {each: detail for each, (detail, _) in self._far_apart.items()}
        heard_of = {device for device, heard in fresh.items() if heard}
        told_by: dict[AlertKind, Collection[str]] = {AlertKind.LEAK: leak_told, AlertKind.STALE: heard_of}
        told_by |= {AlertKind.DEVICE_FAULT: faults_told, **dict.fromkeys(LOCK_BATTERY, locks)}
        return so | self._not_heard_again(so, told_by, now_ms)

    def _not_heard_again(
        self, so: Collection[Subject], told_by: Mapping[AlertKind, Collection[str]], now_ms: int
    ) -> dict[Subject, str]:
        """Return what was so before a restart and of which nothing has been heard since: silence ends no alert."""
        still: dict[Subject, str] = {}
        for alert in self._book.up():
            subject = alert.subject
            if subject in so or subject.aspect == _DOUBT:  # a doubt begins with what its bus has seen in this life
                continue
            if (speakers := told_by.get(subject.kind)) is not None:
                silent = subject.device not in speakers and self._view.room_of(DeviceId(subject.device)) is not None
            elif subject.kind is AlertKind.COMFORT_BREACH and subject.room in self._rooms.rooms():
                room = RoomId(subject.room)
                silent = self._comfortable(room) and self._rooms.sense(room).warmth(now_ms=now_ms) is None
            elif subject.kind is AlertKind.KEY_FAR_APART:
                silent = self._clock.wall_ms() < alert.raised_at_ms + FAR_APART_MS
            elif subject.kind is AlertKind.DOOR_PROPPED and subject.room in self._rooms.rooms():
                evidence = self._rooms.sense(RoomId(subject.room)).evidence
                silent = evidence.unsure or (evidence.closed is None and self._may_be_said(subject.room, CONTACT))
            else:
                continue
            if silent:
                still[subject] = alert.detail
        return still

    def _may_say(self, device: DeviceId, what: tuple[Capability, str]) -> bool:
        """Whether a device may tell of that, as far as its model is known."""
        has = self._has(device)
        return not has or what in has

    def _was_anothers(self, each: Shown) -> bool:
        """Whether a value can only be the word of what stood behind the name before."""
        return each.quality is Quality.STALE and not self._may_say(each.device, (each.capability, each.attribute))

    def _may_be_said(self, room: str, what: tuple[Capability, str]) -> bool:
        """Whether some device of a room may tell of that, as far as their models are known."""
        devices = [each for each in self._view.devices(RoomId(room)) if each in self._places or not self._places]
        return any(self._may_say(each, what) for each in devices)

    def _comfortable(self, room: RoomId) -> bool:
        """Whether the room is to be as its guest wants it now."""
        state = self._rooms.state(room)
        return state.mode is Mode.OCCUPIED_COMFORT and not state.window_open

    def _of_room(self, room: RoomId, said: Machines, now_ms: int) -> dict[Subject, str]:
        sense, state = self._rooms.sense(room), self._rooms.state(room)
        so: dict[Subject, str] = {}
        if sense.evidence.closed is False and not sense.evidence.unsure:
            so[Subject(AlertKind.DOOR_PROPPED, room)] = "the door stands open"
        if sense.evidence.stuck:
            so[Subject(AlertKind.CONTACT_STUCK, room)] = "the lock opened and the door contact did not move"
        if sense.disturbed_ms is not None and now_ms - sense.disturbed_ms < DISTURBED_MS:
            so[Subject(AlertKind.ENTERED_WHILE_DND, room)] = "staff came in against do not disturb"
        celsius = sense.warmth(now_ms=now_ms)
        if celsius is not None and self._comfortable(room):
            subjects = {Side.COLD: Subject(AlertKind.COMFORT_BREACH, room)}
            subjects[Side.WARM] = Subject(AlertKind.COMFORT_BREACH, room, aspect=_WARM)
            found = breach(
                celsius,
                wanted_c=target_c(state, self._policy()),
                chosen=state.preferred_c is not None,
                outdoor_c=self._outdoor_c(now_ms),
                said=said,
                already=next((side for side, each in subjects.items() if self._book.minded(each)), None),
            )
            if found is not None:
                so[subjects[found.side]] = found.detail
        return so

    def _outdoor_c(self, now_ms: int) -> float | None:
        outdoor = self._outdoor
        return None if outdoor is None or now_ms - outdoor[1] > OUTDOOR_FRESH_MS else outdoor[0]

    def _pass_time(self, now_ms: int) -> int:
        """Sum up what passed since the last look, and return for how long of it anybody listened, ms."""
        before_ms, self._looked_ms = self._looked_ms, now_ms
        if before_ms is None:
            return 0
        passed_ms = min(now_ms - before_ms, 2 * LOOK_EVERY_MS)
        hours, outdoor_c = passed_ms / 3_600_000, self._outdoor_c(now_ms)
        baseline_c, month = self._policy().climate.comfort_c, self._month()
        for room in self._rooms.rooms():
            known = self._energy.get(room, RoomEnergy())
            room_c = self._rooms.sense(room).warmth(now_ms=now_ms)
            self._energy[room] = known.passed(month, hours, room_c=room_c, outdoor_c=outdoor_c, baseline_c=baseline_c)
        return passed_ms

    def _month(self) -> str:
        return local_hours.local(self._clock.wall_ms(), self._where).strftime("%Y-%m")

    async def _keep(self, name: str, what: object) -> None:
        await self._store.save_document(name, msgspec.json.encode(what))


def _mark(place: str) -> str:
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def _kept(body: bytes | None, kind: type[T], otherwise: T) -> T:
    if body is None:
        return otherwise
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError:
        return otherwise  # of another build, or damaged: it comes again from what is so


class _Followed(msgspec.Struct, frozen=True):
    """Who follows the values of an attribute."""

    leak: bool
    judged: str | None
    """Under which key it is held against its own past."""
    metered: bool
    key: tuple[Capability, str] | None
    """What it is, where that alone is asked."""


@lru_cache(maxsize=4_096)
def _followed(capability: Capability, attribute: str) -> _Followed | None:
    """Return who follows an attribute's values; None: nobody does, as of most of what a house says."""
    key = (capability, attribute)
    what = _Followed(
        leak=key == LEAK,
        judged=judged_as(capability, attribute),
        metered=capability is _METER,
        key=key if key in (BATTERY, OUTDOOR, ENERGY) else None,
    )
    return what if what.leak or what.judged or what.metered or what.key else None


def _is_fresh(each: Shown) -> bool:
    """Whether the device itself said so, lately."""
    return each.fresh and each.quality is not Quality.STALE and _said(each)


def _said(each: Shown) -> bool:
    """Whether the device itself ever said so: a bus also tells that nobody, or another model, answers."""
    return each.quality is not Quality.BAD or each.reason not in _NOBODY


def _fault(attribute: str) -> str:
    """Return a fault in words: `active:paper_out` is "paper out"."""
    _, _, which = attribute.partition(":")
    return which.replace("_", " ") or "fault"
