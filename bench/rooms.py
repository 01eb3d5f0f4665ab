"""Rooms against the ground truth: who is cooled that should not be, how soon an empty room is; what a rule costs.

The guests and the faults of their sensors are bench/rooms_guests.py's; the engine is real, its devices obey at once.
Stated time for an empty rented room: two hours after the last one left, hours of sleep (22:00 to 09:00) not counted.
Where the edge was away meanwhile, silence begins anew: two hours from when the room's contact may first have spoken.
"""

import asyncio
import heapq
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from bench.rooms_guests import DAY, HEARTBEAT, HOUR, Fault, Life, Told, life
from bench.rows import Row, quantile, row
from edge.policy.document import default
from edge.policy.rules import Condition
from edge.rooms.capability_view import CapabilityView
from edge.rooms.engine import RoomsEngine
from edge.rooms.memory import RoomSnapshot
from edge.rooms.modes import HEATING, Intent, Mode
from edge.stays.document import StayState
from edge.stays.replica import Stay
from kit.clock import ManualClock
from kit.dice import Dice, SeededDice
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId, RoomId, StayId
from protocols.device_model.reading import Quality, Reading

ROOMS, DAYS, SEED = 300, 7, 1
TICK_S: Final = 300.0
STATED_S: Final = 2 * HOUR
SLEEP_FROM_S, SLEEP_UNTIL_S = 22 * HOUR, 9 * HOUR
GRACE_S: Final = 180.0  # a guest this shortly inside is still being told of
UNSTORED_S: Final = 10.0  # what the rooms may have in memory alone: edge/rooms/engine.py, TICK_MS
MIDNIGHT_MS: Final = 1_767_222_000_000  # 2026-01-01T00:00 in Vienna
MS: Final = 1000


@dataclass
class Tally:
    """What came out. `cooled_*`: (room, fault, second) at which somebody inside was set back."""

    cooled_asleep: list[tuple[str, Fault, float]] = field(default_factory=list)
    cooled_awake: list[tuple[str, Fault, float]] = field(default_factory=list)
    nights_slept: int = 0
    empty: Counter[Fault] = field(default_factory=Counter)
    in_time: Counter[Fault] = field(default_factory=Counter)
    after_s: list[float] = field(default_factory=list)
    stays_ended: int = 0
    set_back_at_end: int = 0
    thinks_s: float = 0.0
    lit_asleep: set[tuple[str, int]] = field(default_factory=set)  # (room, six hours) whose light came on at a sleeper

    @property
    def share_in_time(self) -> float:
        """How many of the rooms empty for longer than the stated time were set back within it, per cent."""
        return 100 * self.in_time.total() / max(1, self.empty.total())


@dataclass(frozen=True, slots=True)
class Cut:
    """The edge is killed at `at`, seconds, and back at `until`; then every sensor says its level, or none does."""

    at: float
    until: float
    told_again: bool


class Obedient:
    """Devices that hold what they are told."""

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:
        """Say whether it is a thermostat's setpoint."""
        return device.startswith("thermostat") and (capability, attribute) == HEATING

    async def write(self, command: Command) -> Outcome:
        """Obey."""
        return Outcome(Phase.DONE, command.value)


class Unrecorded:
    """A log that nobody reads."""

    async def room(self, body: Mapping[str, Any]) -> None:
        """Take a record."""

    async def command(self, body: Mapping[str, Any]) -> None:
        """Take a record."""


async def play(lives: Iterable[Life], days: int, cuts: Sequence[Cut] = ()) -> Tally:
    """Live them all, and hold what the engine does against what is true."""
    played = _Play({RoomId(each.room): each for each in lives}, cuts)
    now_s = 0.0
    while now_s < days * DAY:
        now_s += TICK_S
        await played.until(now_s)
    return played.judged()


class _Play:
    """The engine among the guests, killed now and then."""

    def __init__(self, rooms: dict[RoomId, Life], cuts: Sequence[Cut]) -> None:
        self.rooms, self.cuts, self.waiting = rooms, cuts, list(cuts)
        self.clock = ManualClock(now_ms=1_000_000, wall_ms=MIDNIGHT_MS)
        self.stays: dict[RoomId, Stay] = {}
        self.tally = Tally(nights_slept=sum(len(each.asleep) for each in rooms.values()))
        self.modes: dict[RoomId, list[tuple[float, Mode]]] = defaultdict(list)
        self.stored: dict[RoomId, bytes] = {}
        self.lived_ms: int | None = None
        self.policy = default()
        self.told = list(heapq.merge(*([(each.at, room, each) for each in rooms[room].told] for room in rooms)))
        self.at = 0
        self.engine = self._engine()

    async def until(self, now_s: float) -> None:
        """Live up to a moment, and think then."""
        while self.waiting and self.waiting[0].at < now_s:
            cut = self.waiting[0]
            if self.clock.wall_ms() < MIDNIGHT_MS + cut.at * MS:
                self._hear(cut.at)
            if cut.until > now_s:
                return  # nobody thinks
            self._miss(self.waiting.pop(0))
        self._hear(now_s)
        _until(self.clock, now_s)
        began = time.perf_counter()
        for write in self.engine.think():
            await self.engine.carry_out(write)
        self._store()
        self.engine.forget_told()
        self.tally.thinks_s += time.perf_counter() - began
        for room, each in self.rooms.items():
            mode = self.engine.state(room).mode
            self.modes[room].append((now_s, mode))
            if mode is Mode.AWAY_SET_BACK:
                if any(begins <= now_s < ends for begins, ends in each.asleep):
                    self.tally.cooled_asleep.append((room, each.fault, now_s))
                elif any(begins + GRACE_S <= now_s < ends for begins, ends in each.inside):
                    self.tally.cooled_awake.append((room, each.fault, now_s))

    def judged(self) -> Tally:
        """Return what came out."""
        for room, each in self.rooms.items():
            _judge(each, self.modes[room], self.tally, self.cuts)
        return self.tally

    def _hear(self, until_s: float) -> None:
        while self.at < len(self.told) and self.told[self.at][0] <= until_s:
            due_s, room, what = self.told[self.at]
            self.at += 1
            _until(self.clock, due_s)
            _tell(self.engine, self.clock, self.stays, room, what)
            dies_s = self.waiting[0].at if self.waiting else float("inf")
            if due_s < dies_s - UNSTORED_S or what.what == "unlock" or (what.what, what.value) == ("motion", True):
                self._store()

    def _miss(self, cut: Cut) -> None:
        """Let what happens meanwhile pass unheard, but for what locks keep and the PMS; then begin anew."""
        late: list[tuple[RoomId, Told]] = []
        while self.at < len(self.told) and self.told[self.at][0] <= cut.until:
            _, room, what = self.told[self.at]
            self.at += 1
            if what.what == "unlock":
                late.append((room, what))
            elif what.what.startswith("check"):
                _tell(self.engine, self.clock, self.stays, room, what)
        _until(self.clock, cut.until)
        self.engine = self._engine()
        snapshots = [msgspec.json.decode(self.stored[room], type=RoomSnapshot) for room in sorted(self.stored)]
        self.engine.restore(snapshots, lived_ms=self.lived_ms)
        if cut.told_again:
            levels: dict[tuple[RoomId, str], Told] = {}
            for _, room, what in self.told[: self.at]:
                if what.what in ("contact", "motion"):
                    levels[room, what.what] = what
            for (room, _), what in sorted(levels.items()):
                _tell(self.engine, self.clock, self.stays, room, what)
        for room, what in late:
            _tell(self.engine, self.clock, self.stays, room, what)

    def _store(self) -> None:
        for each in self.engine.take_dirty():
            self.stored[each.room] = msgspec.json.encode(each)
        self.lived_ms = self.clock.wall_ms()

    def _engine(self) -> RoomsEngine:
        devices = {
            DeviceId(f"{kind}-{room}"): room for room in self.rooms for kind in ("contact", "motion", "thermostat")
        }
        return RoomsEngine(
            rooms=list(self.rooms),
            view=CapabilityView(devices),
            stays=lambda room: [self.stays[room]] if room in self.stays else [],
            stays_known=lambda: True,
            policy=lambda: self.policy,
            writer=Obedient(),
            records=Unrecorded(),
            clock=self.clock,
            where=ZoneInfo("Europe/Vienna"),
            wished=self._wished,
        )

    def _wished(self, room: RoomId, intent: Intent, _: str) -> None:
        now_s = (self.clock.wall_ms() - MIDNIGHT_MS) / MS
        lit = (intent.capability, intent.value) == (
            Capability.ON_OFF,
            True,
        ) and intent.deadline_ms > self.clock.wall_ms()
        if lit and any(begins <= now_s < ends for begins, ends in self.rooms[room].asleep):
            self.tally.lit_asleep.add((room, int(now_s // (6 * HOUR))))


def random_cuts(days: int, dice: Dice) -> list[Cut]:
    """Return about five deaths of the edge a day: most of seconds, some of hours; one in the dead of each night."""
    found: list[Cut] = []
    moments = sorted(
        [dice.uniform(0, days) * DAY for _ in range(4 * days)] + [(day + 3 / 24) * DAY for day in range(days)]
    )
    for at in moments:
        down_s = dice.choice([dice.uniform(1, 30), dice.uniform(60, 900), dice.uniform(900, 4 * HOUR)])
        if not found or at > found[-1].until + 60:
            found.append(Cut(at, at + down_s, dice.uniform(0, 1) < 0.5))
    return found


def lives(rooms: int, days: int, seed: int) -> list[Life]:
    """Return that many rooms' lives."""
    dice = SeededDice(seed)
    return [life(str(1000 + number), days, dice.fork(f"room-{number}")) for number in range(rooms)]


def deadline(left_s: float) -> float:
    """Return when the stated time is over, in seconds as `left_s`."""
    at, remaining = left_s, STATED_S
    while True:
        of_day = at % DAY
        if of_day < SLEEP_UNTIL_S:
            at += SLEEP_UNTIL_S - of_day
        elif of_day >= SLEEP_FROM_S:
            at += DAY - of_day + SLEEP_UNTIL_S
        elif of_day + remaining <= SLEEP_FROM_S:
            return at + remaining
        else:
            remaining -= SLEEP_FROM_S - of_day
            at += SLEEP_FROM_S - of_day


def _judge(each: Life, modes: list[tuple[float, Mode]], tally: Tally, cuts: Sequence[Cut]) -> None:
    for out_s, back_s in each.empty():
        if any(cut.at - UNSTORED_S <= out_s < cut.until for cut in cuts):
            continue  # nobody has seen them leave: believed inside until the door moves
        left_s = out_s
        for comes_s, goes_s in each.staff:
            if left_s < comes_s < min(deadline(left_s), back_s):
                left_s = goes_s  # somebody was inside: not the guest, but not nobody
        for cut in cuts:
            if left_s - UNSTORED_S < cut.until and cut.at < deadline(left_s):
                left_s = max(left_s, cut.until) + (0.0 if cut.told_again else HEARTBEAT)
        due_s = deadline(left_s)
        if back_s < due_s + TICK_S:
            continue
        tally.empty[each.fault] += 1
        cooled = [at for at, mode in modes if left_s < at <= back_s and mode is not Mode.OCCUPIED_COMFORT]
        if cooled:
            tally.after_s.append(cooled[0] - left_s)
            if cooled[0] <= due_s + TICK_S:
                tally.in_time[each.fault] += 1
    for (_, ends_s), (next_s, _) in zip(each.stays, [*each.stays[1:], (float("inf"), 0.0)], strict=True):
        if any(cut.at < ends_s and next_s < cut.until + TICK_S for cut in cuts):
            continue  # the next guest came in the same gap
        after = next(mode for at, mode in modes if at >= ends_s)
        tally.stays_ended += 1
        tally.set_back_at_end += after in (Mode.VACANT_SET_BACK, Mode.EXPECTED)


def _until(clock: ManualClock, at_s: float) -> None:
    clock.advance(max(0, MIDNIGHT_MS + int(at_s * MS) - clock.wall_ms()))


def _tell(engine: RoomsEngine, clock: ManualClock, stays: dict[RoomId, Stay], room: RoomId, what: Told) -> None:
    match what.what:
        case "check_in":
            stay = StayId(f"s-{room}-{int(what.at)}")
            stays[room] = Stay(stay, room, StayState.IN_HOUSE, None, 0, 2**52, None, 1, None)
        case "check_out":
            stays.pop(room, None)
        case "unlock":
            happened_ms = MIDNIGHT_MS + int(what.happened * MS)
            guest = stays[room].id if room in stays else StayId("s-gone")
            engine.entered(room, guest if what.value else None, at_ms=happened_ms)
        case "contact":
            key = (Capability.BOOLEAN_STATE, "state_value")
            reading = Reading(DeviceId(f"contact-{room}"), *key, what.value, None, Quality.GOOD)
            engine.heard(reading, now_ms=clock.now_ms(), wall_ms=clock.wall_ms())
        case _:
            key = (Capability.OCCUPANCY_SENSING, "occupancy")
            reading = Reading(DeviceId(f"motion-{room}"), *key, what.value, None, Quality.GOOD)
            engine.heard(reading, now_ms=clock.now_ms(), wall_ms=clock.wall_ms())


def rows() -> list[Row]:
    """Measure."""
    return [*_truth(), *_killed(), *_rule()]


def _truth() -> list[Row]:
    tally = asyncio.run(play(lives(ROOMS, DAYS, SEED), DAYS))
    shares = {fault: 100 * tally.in_time[fault] / count for fault, count in tally.empty.items()}
    conditions = f"{ROOMS} rooms, {DAYS} days, faults in a quarter"
    hours = [each / HOUR for each in tally.after_s]
    return [
        _set_back_asleep(tally, conditions),
        row(
            f"empty rented rooms set back in the stated time, of {tally.empty.total()}",
            [tally.share_in_time],
            "%",
            bar=">= 98 %",
            holds=lambda found, _: found >= 98,
        ),
        *(row(f"... in rooms where {fault.value}", [share], "%") for fault, share in sorted(shares.items())),
        row("from the last one out to set back, nights included", [quantile(hours, 0.5)], "h"),
        row(
            f"vacant set back at check-out, of {tally.stays_ended}",
            [100 * tally.set_back_at_end / tally.stays_ended],
            "%",
            bar="100 %",
            holds=lambda found, _: found == 100,
        ),
        row("one thought about one room", [tally.thinks_s / (ROOMS * DAYS * DAY / TICK_S) * 1e6], "us"),
    ]


def _set_back_asleep(tally: Tally, conditions: str) -> Row:
    return row(
        f"sleepers set back, of {tally.nights_slept} sleeps ({conditions})",
        [float(len({(room, at // (6 * HOUR)) for room, _, at in tally.cooled_asleep}))],
        "sleepers",
        bar="0",
        holds=lambda found, _: found == 0,
    )


def _killed() -> list[Row]:
    cuts = random_cuts(DAYS, SeededDice(SEED))
    unharmed = asyncio.run(play(lives(ROOMS, DAYS, SEED), DAYS))
    tally = asyncio.run(play(lives(ROOMS, DAYS, SEED), DAYS, cuts))
    conditions = f"edge killed {len(cuts)} times in {DAYS} days"
    return [
        _set_back_asleep(tally, conditions),
        row(
            f"sleepers lit up that would not have been without a kill ({conditions})",
            [float(len(tally.lit_asleep - unharmed.lit_asleep))],
            "sleepers",
            bar="0",
            holds=lambda found, _: found == 0,
        ),
        row(
            f"empty rented rooms set back in the stated time, of {tally.empty.total()} ({conditions})",
            [tally.share_in_time],
            "%",
        ),
    ]


def _rule() -> list[Row]:
    text = (
        "room.rented && room.occupied == false && room.confidence > 0.9 && (local.hour >= 22 || local.hour < 6) "
        '&& "thermostat.local_temperature" in value && value["thermostat.local_temperature"] > 19.5'
    )
    condition = Condition(text, "bench")
    room = {"rented": True, "occupied": False, "confidence": 0.95, "type": "double"}
    inputs = {"room": room, "local": {"hour": 23}, "value": {"thermostat.local_temperature": 20.0}}
    runs = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(2_000):
            condition.judge(inputs)
        runs.append((time.perf_counter() - began) / 2_000 * 1e6)
    return [
        row("one rule judged for one room (CEL, 50 tokens)", runs, "us", bar="<= 50 us", holds=lambda us, _: us <= 50)
    ]
