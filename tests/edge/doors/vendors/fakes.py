"""A lock system in memory that does as it is told, and counts."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edge.doors.vendors.desk import KeyDesk
from edge.doors.vendors.foreign import ForeignSystem
from edge.doors.vendors.ledger import KeyLedger
from edge.doors.vendors.port import (
    Abilities,
    DoorHealth,
    DoorOpened,
    EventPage,
    KeyEnded,
    KeyMade,
    Medium,
    Truth,
    VendorEvent,
    WantedKey,
)
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.metrics import Metrics
from protocols.device_model.identity import RoomId
from protocols.errors import PlatformError


@dataclass
class MemorySystem:
    """Fits port.LockSystem. `errors`: raised by the next calls, first to last, None being a good one."""

    media: tuple[Medium, ...] = ("pin",)
    keys: dict[str, WantedKey] = field(default_factory=dict)
    errors: list[PlatformError | None] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    told: list[VendorEvent] = field(default_factory=list)
    opened: int = 0
    moved: list[str] = field(default_factory=list)
    opens: Truth | None = Truth.CONFIRMED
    when_opened: Callable[[], None] = lambda: None
    door_gate: asyncio.Event | None = None
    """Holds up every opening until it is set."""
    silent: bool = False
    """Never answers when it is to open a door."""
    gate: asyncio.Event | None = None
    """Holds up every issue until it is set."""
    kind = "memory"

    @property
    def abilities(self) -> Abilities:
        return Abilities(media=self.media, issue=Truth.ACCEPTED, revoke=Truth.ACCEPTED, opens=self.opens)

    async def issue(self, wanted: WantedKey) -> KeyMade:
        self.asked.append(f"issue {wanted.doors}")
        if self.gate is not None:
            await self.gate.wait()
        self._trouble()
        found = wanted.grant in self.keys
        self.keys[wanted.grant] = wanted
        return KeyMade(wanted.grant, "key-1", Truth.ACCEPTED, found=found, code=wanted.pin)

    async def revoke(self, grant: str) -> KeyEnded:
        self.asked.append("revoke")
        self._trouble()
        return KeyEnded(grant, Truth.ACCEPTED, found=self.keys.pop(grant, None) is not None)

    async def open_door(self, door: str, *, actor: str) -> DoorOpened:
        self.opened += 1
        self.when_opened()
        if self.silent:
            await asyncio.Event().wait()
        if self.door_gate is not None:
            await self.door_gate.wait()
        self._trouble()
        self.moved.append(door)
        return DoorOpened(door, Truth.CONFIRMED)

    async def events(self, cursor: str) -> EventPage:
        self._trouble()
        after = int(cursor or 0)
        page = self.told[max(after - 1, 0) : after + 2]  # each page tells the last one again
        return EventPage(tuple(page), str(min(after + 2, len(self.told))), more=after + 2 < len(self.told))

    async def health(self) -> Mapping[str, DoorHealth]:
        return {}

    async def close(self) -> None:
        return None

    def _trouble(self) -> None:
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error


async def at_once(_seconds: float) -> None:
    await asyncio.sleep(0)


def systems_of(*systems: tuple[str, MemorySystem, tuple[str, ...]], deadline_s: float = 8.0) -> list[ForeignSystem]:
    """Return the house's systems: each is its name, itself and its rooms (whose doors are named after them)."""
    return [
        ForeignSystem(
            name,
            system,
            {RoomId(room): (f"{name}-{room}",) for room in rooms},
            deadline_s=deadline_s,
            poll_s=10.0,
            medium=system.media[0],
            encoder="desk",
        )
        for name, system, rooms in systems
    ]


def desk_of(
    ledger: KeyLedger, clock: ManualClock, *systems: tuple[str, MemorySystem, tuple[str, ...]], deadline_s: float = 8.0
) -> KeyDesk:
    """Return a desk of these systems."""
    return KeyDesk(
        systems_of(*systems, deadline_s=deadline_s),
        property_id="aurora",
        ledger=ledger,
        clock=clock,
        dice=SeededDice(1),
        metrics=Metrics("test"),
        sleep=at_once,
    )
