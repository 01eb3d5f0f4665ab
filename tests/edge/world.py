"""A building in memory for tests of the edge: a log, doors and devices that behave, until they are told not to.

Each fake passes the contract suite of what it stands for (tests/contract/test_edge_ports.py).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from edge.app.edge_store import EdgeStore, Restored
from edge.app.house import Entries, House
from edge.app.models import Models
from edge.log.record_log import Appendable, Entry
from edge.policy.document import RoomPolicy, default
from kit.clock import Clock
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model import site_plan
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DescriptorId, DeviceId, PropertyId, RoomId, StayId
from protocols.device_model.reading import Quality, Reading, Value
from protocols.device_model.site_plan import SitePlan
from protocols.errors import InvalidInputError, LinkLostError, PlatformError, ReplyTimeoutError, StoreFailedError
from protocols.link.lanes import LANES, Lane
from protocols.link.record import ClockQuality, Record, decode_record

AURORA: Final = PropertyId("aurora")
T0: Final = 1_767_225_600_000  # 2026-01-01T00:00:00Z
HOUR_MS: Final = 3_600_000
PHONE: Final = "02" + "ab" * 32
PHONE_2: Final = "03" + "cd" * 32
DOORS_LIFE: Final = b"doors-store-life"
HEATING: Final = "occupied_heating_setpoint"


class MemoryLog:
    """A record log in memory: one incarnation, nothing ever given up. `fail` makes the disk refuse."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.incarnation = b"memory-log-life-"
        self.lanes: dict[Lane, list[bytes]] = {lane: [] for lane in LANES}
        self.marks: dict[tuple[str, Lane], int] = {}
        self.cursors: dict[tuple[str, Lane], int] = {}
        self.fail = False

    async def append(self, lane: Lane, kind: str, body: Mapping[str, Any], *, device_at_ms: int | None = None) -> int:
        [seq] = await self.append_many(lane, [Entry(kind, body, device_at_ms)])
        return seq

    async def append_many(self, lane: Lane, entries: Sequence[Appendable], *, urgent: bool = False) -> list[int]:
        encoded = [
            each.encoded(
                edge_at_ms=self._clock.wall_ms(),
                mono_ms=self._clock.now_ms(),
                clock=ClockQuality(self._clock.quality.value),
            )
            for each in entries
        ]
        last = await self.append_encoded(lane, encoded, urgent=urgent)
        return list(range(last - len(encoded) + 1, last + 1))

    async def append_encoded(self, lane: Lane, records: Sequence[bytes], *, urgent: bool = False) -> int:
        del urgent  # nothing waits here
        await asyncio.sleep(0)
        if self.fail:
            raise StoreFailedError("the disk refused")
        self.lanes[lane].extend(records)
        return len(self.lanes[lane])

    async def append_once(self, source: str, position: int, lane: Lane, entry: Entry) -> int | None:
        if position <= self.marks.get((source, lane), 0):
            return None
        [seq] = await self.append_many(lane, [entry])
        self.marks[source, lane] = position
        return seq

    async def source_mark(self, source: str, lane: Lane) -> int:
        return self.marks.get((source, lane), 0)

    async def advance(self, name: str, lane: Lane, seq: int) -> None:
        self.cursors[name, lane] = max(seq, self.cursors.get((name, lane), 0))

    async def read(self, lane: Lane, after_seq: int, most: int) -> list[Record]:
        await asyncio.sleep(0)
        rows = self.lanes[lane][after_seq : after_seq + most]
        return [decode_record(data, lane=lane, seq=after_seq + 1 + at) for at, data in enumerate(rows)]

    def records(self, lane: Lane, kind: str | None = None) -> list[Record]:
        """Everything on a lane, for assertions."""
        found = [decode_record(data, lane=lane, seq=at + 1) for at, data in enumerate(self.lanes[lane])]
        return [each for each in found if kind is None or each.kind == kind]


@dataclass(slots=True)
class FakeDoors:
    """Grants without cryptography, with the real rules of repetition: (stay, phone key) names one grant."""

    grants: dict[tuple[str, bytes], dict[str, Any]] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    generation: dict[str, int] = field(default_factory=dict)
    away: bool = False
    silent: bool = False  # takes effect, and the answer is lost
    refusal: PlatformError | None = None
    """What it says to whoever asks for a key; nothing is issued."""
    issued: int = 0
    beside: list[list[str]] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)
    """Rooms behind a foreign lock."""
    rooms: dict[str, RoomId] = field(default_factory=dict)
    """Of each stay; one more phone of it gets no other."""
    curtailed: list[tuple[str, int]] = field(default_factory=list)
    due_in_ms: int = 0
    """In how many ms it says that keys have ended, besides their stay."""

    async def issue(
        self,
        stay: StayId,
        room: RoomId,
        phone_public_key: bytes,
        *,
        not_before_ms: int,
        not_after_ms: int,
        join: bool,
        beside: Sequence[StayId] = (),
    ) -> Mapping[str, Any]:
        await asyncio.sleep(0)
        if self.away:
            raise LinkLostError("the doors process is away")
        if self.refusal is not None:
            raise self.refusal
        if join and self.rooms.get(stay, room) != room:
            raise InvalidInputError("rooms", f"{room}: a joiner gets rooms of the stay, no others")
        self.rooms[stay] = room
        known = self.grants.get((stay, phone_public_key))
        if known is None or known["room"] != room or known["not_after_ms"] < not_after_ms:
            if not join:
                self.beside.append(list(beside))
            if not join and not beside:
                self.generation[room] = self.generation.get(room, 0) + 1
            self.issued += 1
            known = {
                "v": 1,
                "grant": f"grant-{self.issued}",
                "stay": stay,
                "room": room,
                "generation": self.generation.get(room, 0),
                "not_before_ms": not_before_ms,
                "not_after_ms": not_after_ms,
            }
            self.grants[stay, phone_public_key] = known
        if self.silent:
            raise ReplyTimeoutError("the doors process did not answer")
        return dict(known)

    async def serves(self, room: RoomId) -> bool:
        await asyncio.sleep(0)
        if self.away:
            raise LinkLostError("the doors process is away")
        return room in self.foreign

    async def end_stay(self, stay: StayId, *, emptied: Sequence[RoomId] = ()) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise LinkLostError("the doors process is away")
        if stay not in self.ended:
            self.ended.append(stay)

    async def curtail(self, stay: StayId, until_ms: int) -> int:
        await asyncio.sleep(0)
        if self.away:
            raise LinkLostError("the doors process is away")
        self.curtailed.append((stay, until_ms))
        return self.due_in_ms


WRITABLE: Final = {
    "light": {(Capability.ON_OFF, "on_off")},
    "thermostat": {(Capability.THERMOSTAT, HEATING)},
}


@dataclass(slots=True)
class FakeDevices:
    """Devices of the plan by their name's first word. `effects` is the truth: what reached a device, in order."""

    clock: Clock
    values: dict[tuple[str, str], Value] = field(default_factory=dict)
    effects: list[tuple[str, str, Value]] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)  # what the next writes do: done, lost, refused, deaf
    slow_s: float = 0.0

    def can_write(self, device: DeviceId, capability: Capability, attribute: str) -> bool:
        return (capability, attribute) in WRITABLE.get(device.split("-")[0], set())

    async def write(self, command: Command) -> Outcome:
        await asyncio.sleep(self.slow_s)
        if self.clock.wall_ms() >= command.deadline_ms:
            return Outcome(Phase.EXPIRED, None, "too late")
        what = self.outcomes.pop(0) if self.outcomes else "done"
        if what == "refused":
            return Outcome(Phase.FAILED, None, "the device refused")
        if what == "deaf":
            raise LinkLostError("the bus is down")
        self.values[command.device, command.attribute] = command.value
        self.effects.append((command.device, command.attribute, command.value))
        if what == "lost":
            return Outcome(Phase.UNKNOWN, None, "no answer from the device")
        return Outcome(Phase.DONE, command.value)


def _point(n: int) -> str:
    """Return a compressed point of P-256 of room `n`'s own."""
    return next(each for x in range(1_000 * n, 1_000 * (n + 1)) if site_plan.is_point(each := f"02{x:064x}"))


def plan(rooms: int = 2) -> SitePlan:
    """A small property: rooms 101.. with a light, a thermostat, a contact and a motion sensor, one lobby."""
    numbers = [101 + each for each in range(rooms)]
    things = ("light", "thermostat", "contact", "motion")
    document = {
        "v": 1,
        "property": {"id": "aurora", "name": "Hotel Aurora", "zone": "Europe/Vienna", "tenant": "northlight"},
        "edge": "e-aurora0000000001",
        "rooms": [{"id": str(n), "floor": 1, "kind": "guest_room", "type": "double"} for n in numbers]
        + [{"id": "lobby", "floor": 0, "kind": "common", "type": "lobby"}],
        "buses": [{"id": "zigbee", "kind": "mqtt", "base_topic": "zigbee2mqtt"}],
        "devices": [
            {
                "id": f"{thing}-{n}",
                "room": str(n),
                "descriptor": "test/thing",
                "address": {"bus": "zigbee", "friendly_name": f"{thing}-{n}"},
            }
            for n in numbers
            for thing in things
        ],
        "doors": [
            {"id": f"door-{n}", "room": str(n), "number": n, "lock": f"{n:016x}", "s_lock": _point(n)} for n in numbers
        ],
    }
    import msgspec

    return site_plan.parse(msgspec.json.encode(document))


def a_stay(stay: str = "s-anna", room: str | None = "101", **changes: Any) -> dict[str, Any]:
    """One stay of a document: due now, for a day."""
    return {
        "id": stay,
        "room": room,
        "state": "ready",
        "guest_name": "Anna Muster",
        "expected_from_ms": T0,
        "expected_until_ms": T0 + 24 * HOUR_MS,
        "reservation": None,
        "version": 1,
        **changes,
    }


def a_document(*stays: dict[str, Any], as_of_ms: int = T0, **changes: object) -> dict[str, Any]:
    """A stays document's body."""
    return {"v": 1, "property": "aurora", "as_of_ms": as_of_ms, "stays": list(stays), **changes}


def an_opening(room: str = "101", stay: str | None = "s-anna", *, at_ms: int = T0, **changes: Any) -> dict[str, Any]:
    """The body of an access record before the house adds where it came from."""
    return {
        "door": f"door-{room}",
        "room": room,
        "lock": f"{int(room):016x}",
        "lock_seq": 1,
        "at_ms": at_ms,
        "time_quality": "fresh",
        "event": "opened",
        "stay": stay,
        **changes,
    }


def said(device: str, capability: Capability, attribute: str, value: Value, unit: Unit | None = None) -> Reading:
    """One good reading."""
    return Reading(DeviceId(device), capability, attribute, value, unit, Quality.GOOD)


def contact(room: str, *, closed: bool) -> Reading:
    return said(f"contact-{room}", Capability.BOOLEAN_STATE, "state_value", closed)


def motion(room: str, *, seen: bool) -> Reading:
    return said(f"motion-{room}", Capability.OCCUPANCY_SENSING, "occupancy", seen)


class Building:
    """A house over fakes that survive it, so that it can be killed and started again."""

    def __init__(
        self, clock: Clock, *, path: Path | None = None, rooms: int = 2, policy: RoomPolicy | None = None
    ) -> None:
        self.clock, self.path, self.plan = clock, path, plan(rooms)
        self.policy = policy or default()
        self.log, self.doors, self.devices = MemoryLog(clock), FakeDoors(), FakeDevices(clock)
        self.catalogue: Mapping[DescriptorId, Descriptor] = {}
        self._events = 0
        self.house = self._new()

    def _new(self) -> House:
        self.store, self.restored = EdgeStore.open(self.path, threaded=False)
        return self._house(self.store, self.restored)

    def _house(self, store: EdgeStore, restored: Restored) -> House:
        return House(
            ours=AURORA,
            plan=self.plan,
            policy=self.policy,
            log=self.log,
            store=store,
            restored=restored,
            doors=self.doors,
            writer=self.devices,
            clock=self.clock,
            logger=structlog.get_logger("test"),
            model=Models(self.catalogue),
        )

    async def restart(self) -> None:
        """Begin a new life on what the last one left durable; needs a `path`. Ending its tasks is the caller's."""
        assert self.path is not None
        await self.store.close()
        self.house = self._new()
        await self.house.catch_up()

    def noted(self, *readings: Reading) -> Entries:
        """Devices said something, and nobody keeps it."""
        entries: Entries = {Lane.B: [], Lane.C: []}
        self.house.noted(readings, entries, now_ms=self.clock.now_ms(), wall_ms=self.clock.wall_ms())
        return entries

    async def heard(self, *readings: Reading) -> None:
        """Devices said something."""
        for reading in readings:
            self.house.fire.heard(reading)
            for lane, entries in self.noted(reading).items():
                await self.house.keep(lane, entries)

    async def opened(self, room: str = "101", stay: str | None = "s-anna", **changes: Any) -> bool:
        """The lock of a room opened, as the doors report it."""
        self._events += 1
        body = an_opening(room, stay, **{"at_ms": self.clock.wall_ms(), "lock_seq": self._events, **changes})
        return await self.house.access_happened(DOORS_LIFE, self._events, body, device_at_ms=body["at_ms"])

    async def work(self) -> None:
        """Let the rooms think and write until they rest."""
        for _ in range(20):
            writes = self.house.rooms.think()
            for write in writes:
                await self.house.rooms.carry_out(write)
            if not writes:
                break
        await self.house.stored()

    def light(self, room: str = "101") -> Value | None:
        return self.devices.values.get((f"light-{room}", "on_off"))

    def heating(self, room: str = "101") -> Value | None:
        return self.devices.values.get((f"thermostat-{room}", HEATING))
