"""What would have changed: recorded days lived again under two policies, through the engine that runs the rooms.

Pure: records in, wishes out; devices obey at once. Source of truth: docs/decisions/0026-rules-in-cel.md. Arrivals that
only a stays document knew of are not in the log: check-ins, entries, readings and check-outs are.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from edge.policy.document import RoomPolicy
from edge.rooms.capability_view import CapabilityView, Key
from edge.rooms.engine import RoomsEngine
from edge.rooms.modes import Intent
from edge.rooms.ports import DeviceWriter
from edge.stays.document import StayState
from edge.stays.replica import Stay
from kit.clock import ManualClock
from protocols.device_model.capability import Capability, Value
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId, RoomId, StayId
from protocols.device_model.reading import Quality, Reading
from protocols.device_model.site_plan import SitePlan
from protocols.link.record import Record

STEP_MS: Final = 5 * 60_000
CHECKED_IN: Final = "checked_in"
OPENED: Final = "opened"
Writable = Callable[[DeviceId, Capability, str], bool]


@dataclass(frozen=True, slots=True, order=True)
class Wished:
    """One thing a room wished, when (unix ms) and what of."""

    at_ms: int
    room: RoomId
    capability: str
    attribute: str
    value: Value
    why: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What one policy wished and the other did not, in order."""

    only_before: tuple[Wished, ...]
    only_after: tuple[Wished, ...]
    both: int


class _Obedient(DeviceWriter):
    def __init__(self, writable: Writable) -> None:
        self._writable = writable

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:
        return self._writable(device, capability, attribute)

    async def write(self, command: Command) -> Outcome:
        return Outcome(Phase.DONE, command.value)


class _Unrecorded:
    async def room(self, body: object) -> None:
        """Nobody reads it."""

    async def command(self, body: object) -> None:
        """Nobody reads it."""


async def lived(
    policy: RoomPolicy,
    plan: SitePlan,
    records: Sequence[Record],
    *,
    from_ms: int,
    until_ms: int,
    writable: Writable,
    fresh_ms: Mapping[Key, int] | None = None,
    **settings: Any,  # the engine's own: zone, windows, rooms' floors
) -> list[Wished]:
    """Return what the rooms would have wished from `from_ms` to `until_ms` (unix ms) under a policy.

    Args:
        policy: The policy.
        plan: The property.
        records: Readings, entries and stays of all lanes in the order of their edge's clock, also before `from_ms`.
        from_ms: Wishes before are not told.
        until_ms: Records from here on are not lived.
        writable: Which attributes of which device can be written.
        fresh_ms: How long values stay fresh, where the descriptors say: a rule speaks of no others.
        settings: Passed to the engine.
    """
    wished: list[Wished] = []
    begins_ms = records[0].edge_at_ms if records else from_ms
    clock = ManualClock(now_ms=0, wall_ms=min(begins_ms, from_ms))
    stays: dict[StayId, Stay] = {}

    def note(room: RoomId, intent: Intent, why: str) -> None:
        if clock.wall_ms() >= from_ms:
            said = (room, intent.capability.value, intent.attribute, intent.value, why)
            wished.append(Wished(clock.wall_ms(), *said))

    engine = RoomsEngine(
        rooms=[room.id for room in plan.rooms if room.kind == "guest_room"],
        view=CapabilityView({each.id: each.room for each in plan.devices}, fresh_ms),
        stays=lambda room: [each for each in stays.values() if each.room == room],
        stays_known=lambda: True,
        policy=lambda: policy,
        writer=_Obedient(writable),
        records=_Unrecorded(),
        clock=clock,
        wished=note,
        **settings,
    )
    due = [each for each in records if each.edge_at_ms < until_ms]
    at = 0
    next_ms = clock.wall_ms()
    while next_ms < until_ms:
        next_ms = min(next_ms + STEP_MS, until_ms)
        while at < len(due) and due[at].edge_at_ms < next_ms:
            _live(engine, clock, stays, due[at])
            at += 1
        clock.advance(max(0, next_ms - clock.wall_ms()))
        for write in engine.think():
            await engine.carry_out(write)
        engine.take_dirty()
        engine.forget_told()
        await asyncio.sleep(0)
    return wished


def difference(before: Iterable[Wished], after: Iterable[Wished]) -> Difference:
    """Return what only one of two lives wished; the same wish at the same moment for another reason is the same."""
    first, second = {_same(each): each for each in before}, {_same(each): each for each in after}
    return Difference(
        tuple(sorted(first[key] for key in first.keys() - second.keys())),
        tuple(sorted(second[key] for key in second.keys() - first.keys())),
        len(first.keys() & second.keys()),
    )


def in_order(lanes: Collection[Sequence[Record]]) -> list[Record]:
    """Return the records of several lanes in the order of the edge's clock, a lane's own order kept."""
    merged: list[tuple[int, int, int, Record]] = []
    for number, lane in enumerate(lanes):
        latest = 0
        for each in lane:
            latest = max(latest, each.edge_at_ms)
            merged.append((latest, number, each.seq, each))
    return [each for *_, each in sorted(merged, key=lambda row: row[:3])]


def _live(engine: RoomsEngine, clock: ManualClock, stays: dict[StayId, Stay], record: Record) -> None:
    body = record.body
    clock.advance(max(0, record.edge_at_ms - clock.wall_ms()))
    match record.kind:
        case "stay":
            stay = StayId(body["stay"])
            if body["state"] != CHECKED_IN:
                stays.pop(stay, None)
            else:
                times = (body["expected_from_ms"], body["expected_until_ms"])
                stays[stay] = Stay(stay, RoomId(body["room"]), StayState.IN_HOUSE, None, *times, None, 1, body["by"])
        case "access" if body.get("event") == OPENED and body.get("room") is not None:
            guest = body.get("stay")
            at_ms = body.get("at_ms")
            happened_ms = at_ms if isinstance(at_ms, int) else record.edge_at_ms
            engine.entered(
                RoomId(body["room"]),
                None if guest is None else StayId(guest),
                at_ms=min(happened_ms, record.edge_at_ms),
            )
        case "reading":
            quality = Quality(body.get("quality", "good"))
            key = (Capability(body["capability"]), body["attribute"])
            reading = Reading(DeviceId(body["device"]), *key, body["value"], None, quality)
            engine.heard(reading, now_ms=clock.now_ms(), wall_ms=clock.wall_ms())
        case _:
            return


def _same(each: Wished) -> tuple[int, RoomId, str, str, Value]:
    return (each.at_ms, each.room, each.capability, each.attribute, each.value)
