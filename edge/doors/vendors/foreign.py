"""A foreign lock system of the house: its adapter, our names of its doors, and how a key in it is told to a phone.

Source of truth: protocols/door/SPEC.md 9.3 and 13. A door has a name of ours, `<system>-<room>`, so that neither a
record nor a phone ever names it as the vendor does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from edge.doors.put_back import EVENT
from edge.doors.vendors.ledger import KeptKey
from edge.doors.vendors.port import LockSystem, Medium, Strays
from protocols.device_model.identity import RoomId
from protocols.door.vendor_keys import OpensAfar, VendorKey, VendorMedium, VendorState

PUT_BACK_REASON: Final = (
    "the keys of other lock systems were put back from a copy: ask for keys made since again, end and withdraw again"
)
KEYPAD_EVENT: Final = "keypad_corrected"


@dataclass(frozen=True, slots=True)
class NamedDoor:
    """A door by its names: ours, and the vendor's; and the room it leads to."""

    door: str
    room: RoomId
    vendor_door: str


@dataclass(frozen=True, slots=True)
class ForeignSystem:
    """One system of the house: its adapter, and the vendor's names of the doors of each room.

    `deadline_s`: a key request is answered within it. `poll_s`: how often it is asked what happened; `medium` and
    `encoder`: what a key is where the request does not say.
    """

    name: str
    system: LockSystem
    doors: Mapping[RoomId, tuple[str, ...]]
    deadline_s: float
    poll_s: float
    medium: Medium
    encoder: str | None = None

    def doors_of(self, rooms: Iterable[str]) -> list[NamedDoor]:
        """Return the doors of those of the rooms that it has: a room's second door is `<system>-<room>-2`."""
        return [
            NamedDoor(f"{self.name}-{room}" + (f"-{place + 1}" if place else ""), RoomId(room), vendor_door)
            for room in rooms
            for place, vendor_door in enumerate(self.doors.get(RoomId(room), ()))
        ]

    def named(self, vendor_door: str | None) -> NamedDoor | None:
        """Return a door by the vendor's name of it."""
        return next((each for each in self.doors_of(self.doors) if each.vendor_door == vendor_door), None)


def put_back_events(
    systems: Iterable[ForeignSystem], *, life: bytes, at_ms: int
) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return what is told at each foreign door when the file of the keys was put back: system, a name, the body."""
    return [
        (
            each.name,
            f"put-back/{life.hex()}/{at_ms}/{named.door}",
            {
                "event": EVENT,
                "door": named.door,
                "room": named.room,
                "stay": None,
                "at_ms": at_ms,
                "time_quality": "uncertain",
                "system": each.name,
                "vendor_door": named.vendor_door,
                "reason": PUT_BACK_REASON,
            },
        )
        for each in systems
        for named in each.doors_of(each.doors)
    ]


def strays_event(foreign: ForeignSystem, strays: Strays, *, at_ms: int) -> tuple[str, Mapping[str, Any]]:
    """Return what is told at a door whose keypad holds other PINs than the house knows of: a name, the body."""
    named, found = foreign.named(strays.door), list[str]()
    if strays.slots:
        found.append(f"{len(strays.slots)} slots of ours held PINs of no key that this house knows: cleared")
    if strays.missing:
        found.append(f"{len(strays.missing)} keys were not there: each is written again when its holder asks for it")
    where = ",".join(str(each) for each in strays.slots)
    return (
        f"keypad/{at_ms}/{strays.door}/{where}/{len(strays.missing)}",
        {
            "event": KEYPAD_EVENT,
            "door": f"{foreign.name}-unknown" if named is None else named.door,
            "room": None if named is None else named.room,
            "stay": None,
            "at_ms": at_ms,
            "time_quality": "uncertain",
            "system": foreign.name,
            "vendor_door": strays.door,
            "reason": "; ".join(found),
        },
    )


def opens_afar(key: KeptKey, foreign: ForeignSystem, property_id: str) -> OpensAfar | None:
    """Return what the holder's phone names to open the key's doors from afar; None: it would be refused."""
    doors = foreign.doors_of(key.rooms)
    truth = foreign.system.abilities.opens
    if truth is None or not doors or VendorState(key.state.value) not in {VendorState.WANTED, VendorState.MADE}:
        return None
    return OpensAfar(property_id, key.grant, truth.value, tuple((each.door, each.room) for each in doors))


def shown(key: KeptKey, opens: OpensAfar | None = None) -> VendorKey:
    """Return how a key stands, for whoever asked for it (protocols/door/SPEC.md 9.3)."""
    return VendorKey(
        system=key.system,
        rooms=key.rooms,
        medium=VendorMedium(key.medium),
        state=VendorState(key.state.value),
        truth=key.truth,
        code=key.code,
        not_before_ms=key.not_before_ms,
        not_after_ms=key.not_after_ms,
        problem=key.problem,
        may_have_taken_effect=key.may_have,
        opens=opens,
    )
