"""Rooms against the ground truth: who is cooled that should not be, how soon an empty room is; what a rule costs.

The guests and the faults of their sensors are bench/rooms_guests.py's; the engine is real, its devices obey at once.
Stated time for an empty rented room: two hours after the last one left, hours of sleep (22:00 to 09:00) not counted.
"""

import asyncio
import heapq
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo

from bench.rooms_guests import DAY, HOUR, Fault, Life, Told, life
from bench.rows import Row, quantile, row
from edge.policy.document import default
from edge.policy.rules import Condition
from edge.rooms.capability_view import CapabilityView
from edge.rooms.engine import RoomsEngine
from edge.rooms.modes import HEATING, Mode
from edge.stays.document import StayState
from edge.stays.replica import Stay
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId, RoomId, StayId
from protocols.device_model.reading import Quality, Reading

ROOMS, DAYS, SEED = 300, 7, 1
TICK_S: Final = 300.0
STATED_S: Final = 2 * HOUR
SLEEP_FROM_S, SLEEP_UNTIL_S = 22 * HOUR, 9 * HOUR
GRACE_S: Final = 180.0  # a guest this shortly inside is still being told of
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

    @property
    def share_in_time(self) -> float:
        """How many of the rooms empty for longer than the stated time were set back within it, per cent."""
        return 100 * self.in_time.total() / max(1, self.empty.total())


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


async def play(lives: Iterable[Life], days: int) -> Tally:
    """Live them all, and hold what the engine does against what is true."""
    rooms = {RoomId(each.room): each for each in lives}
    clock = ManualClock(now_ms=1_000_000, wall_ms=MIDNIGHT_MS)
    stays: dict[RoomId, Stay] = {}
    policy = default()
    devices = {DeviceId(f"{kind}-{room}"): room for room in rooms for kind in ("contact", "motion", "thermostat")}
    engine = RoomsEngine(
        rooms=list(rooms),
        view=CapabilityView(devices),
        stays=lambda room: [stays[room]] if room in stays else [],
        stays_known=lambda: True,
        policy=lambda: policy,
        writer=Obedient(),
        records=Unrecorded(),
        clock=clock,
        where=ZoneInfo("Europe/Vienna"),
    )
    tally = Tally(nights_slept=sum(len(each.asleep) for each in rooms.values()))
    told = list(heapq.merge(*([(each.at, room, each) for each in rooms[room].told] for room in rooms)))
    modes: dict[RoomId, list[tuple[float, Mode]]] = defaultdict(list)
    now_s, at = 0.0, 0
    while now_s < days * DAY:
        now_s += TICK_S
        while at < len(told) and told[at][0] <= now_s:
            due_s, room, what = told[at]
            at += 1
            _until(clock, due_s)
            _tell(engine, stays, room, what)
        _until(clock, now_s)
        began = time.perf_counter()
        for write in engine.think():
            await engine.carry_out(write)
        engine.take_dirty()
        engine.forget_told()
        tally.thinks_s += time.perf_counter() - began
        for room, each in rooms.items():
            mode = engine.state(room).mode
            modes[room].append((now_s, mode))
            if mode is Mode.AWAY_SET_BACK:
                if any(begins <= now_s < ends for begins, ends in each.asleep):
                    tally.cooled_asleep.append((room, each.fault, now_s))
                elif any(begins + GRACE_S <= now_s < ends for begins, ends in each.inside):
                    tally.cooled_awake.append((room, each.fault, now_s))
    for room, each in rooms.items():
        _judge(each, modes[room], tally)
    return tally


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


def _judge(each: Life, modes: list[tuple[float, Mode]], tally: Tally) -> None:
    for out_s, back_s in each.empty():
        left_s = out_s
        for comes_s, goes_s in each.staff:
            if left_s < comes_s < min(deadline(left_s), back_s):
                left_s = goes_s  # somebody was inside: not the guest, but not nobody
        due_s = deadline(left_s)
        if back_s < due_s + TICK_S:
            continue
        tally.empty[each.fault] += 1
        cooled = [at for at, mode in modes if left_s < at <= back_s and mode is not Mode.OCCUPIED_COMFORT]
        if cooled:
            tally.after_s.append(cooled[0] - left_s)
            if cooled[0] <= due_s + TICK_S:
                tally.in_time[each.fault] += 1
    for _, ends_s in each.stays:
        after = next(mode for at, mode in modes if at >= ends_s)
        tally.stays_ended += 1
        tally.set_back_at_end += after in (Mode.VACANT_SET_BACK, Mode.EXPECTED)


def _until(clock: ManualClock, at_s: float) -> None:
    clock.advance(max(0, MIDNIGHT_MS + int(at_s * MS) - clock.wall_ms()))


def _tell(engine: RoomsEngine, stays: dict[RoomId, Stay], room: RoomId, what: Told) -> None:
    stay = StayId(f"s-{room}")
    match what.what:
        case "check_in":
            stays[room] = Stay(stay, room, StayState.IN_HOUSE, None, 0, 2**52, None, 1, None)
        case "check_out":
            stays.pop(room, None)
        case "unlock":
            happened_ms = MIDNIGHT_MS + int(what.happened * MS)
            engine.entered(room, stay if what.value else None, at_ms=happened_ms)
        case "contact":
            key = (Capability.BOOLEAN_STATE, "state_value")
            engine.heard(Reading(DeviceId(f"contact-{room}"), *key, what.value, None, Quality.GOOD))
        case _:
            key = (Capability.OCCUPANCY_SENSING, "occupancy")
            engine.heard(Reading(DeviceId(f"motion-{room}"), *key, what.value, None, Quality.GOOD))


def rows() -> list[Row]:
    """Measure."""
    return [*_truth(), *_rule()]


def _truth() -> list[Row]:
    tally = asyncio.run(play(lives(ROOMS, DAYS, SEED), DAYS))
    shares = {fault: 100 * tally.in_time[fault] / count for fault, count in tally.empty.items()}
    conditions = f"{ROOMS} rooms, {DAYS} days, faults in a quarter"
    hours = [each / HOUR for each in tally.after_s]
    return [
        row(
            f"sleepers set back, of {tally.nights_slept} sleeps ({conditions})",
            [float(len({(room, at // (6 * HOUR)) for room, _, at in tally.cooled_asleep}))],
            "sleepers",
            bar="0",
            holds=lambda found, _: found == 0,
        ),
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
