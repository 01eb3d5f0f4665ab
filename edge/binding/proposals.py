"""Where a found thing may belong: rooms and names, each with its reasons and how much they weigh together.

Pure. A reason is something that a person can check by looking; its weight is a judgement written down here, so the
confidence orders proposals and is no probability. Nothing is ever bound by a proposal: a person binds.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from edge.binding.book import Book
from edge.binding.found import Found
from protocols.device_model.identity import NAME_CHARACTERS_MAX, DescriptorId, DeviceId, RoomId
from protocols.device_model.site_plan import Address, Device, SitePlan

PROPOSALS_MOST: Final = 5
NAMED: Final = 0.7  # its own name holds the room's
STOOD_THERE: Final = 0.9  # the same radio was bound there before
STANDS_AT: Final = 0.85  # it answers at the address of a device of that room
SAME_PLACE: Final = 0.6  # it answers at the address of a name that stands for nothing now
REPLACES: Final = 0.5  # a device of that model is silent there
SAID_AREA: Final = 0.6  # it was told where it is: its announcement suggests an area that holds the room's name
HEARD_BY: Final = 0.4  # the gateway that hears it is named after the room
MISSING: Final = 0.45  # the only room of its type without one
MISSING_IN_FEW: Final = 0.2  # one of a few rooms without one
FEW: Final = 5
_At = Callable[[RoomId, DeviceId | None], "Proposal"]
_PARTS: Final = re.compile(r"[a-z]+|[0-9]+")


@dataclass(slots=True)
class Proposal:
    """What somebody may want to do with a found thing. `swap_for`: the name that it would take over; None: bind."""

    room: RoomId
    device: DeviceId
    descriptor: DescriptorId | None
    swap_for: DeviceId | None = None
    reasons: list[str] = field(default_factory=list)
    doubt: float = 1.0

    @property
    def confidence(self) -> float:
        """How far the reasons carry, 0 to 1: reasons that agree add up, none makes certain."""
        return round(1 - self.doubt, 2)

    def because(self, weight: float, reason: str) -> None:
        """Take one more reason."""
        self.doubt *= 1 - weight
        self.reasons.append(reason)


def propose(found: Found, *, site: SitePlan, book: Book, silent: Collection[DeviceId]) -> list[Proposal]:
    """Return where it may belong, the likeliest first; nothing if nothing speaks for any room.

    Args:
        found: The thing.
        site: The plan in force.
        book: What was bound before.
        silent: Devices of the plan that do not answer now.
    """
    model = found.candidates[0].descriptor if found.candidates else None
    proposals: dict[tuple[RoomId, DeviceId | None], Proposal] = {}

    def at(room: RoomId, swap_for: DeviceId | None) -> Proposal:
        key = (room, swap_for)
        if key not in proposals:
            name = _free_name(found, room, site, book) if swap_for is None else swap_for
            proposals[key] = Proposal(room, name, model, swap_for)
        return proposals[key]

    standing = None if found.stands_at is None else site.device(found.stands_at)
    if standing is not None:
        at(standing.room, standing.id).because(STANDS_AT, f"it answers at the address of {standing.id}")
    _by_model(site.devices, model, found, silent, at)
    _by_history(found, site, book, at)
    for room in _named_in(_name_of(found), site):
        _for_room(proposals, at, room, NAMED, f"its name holds {room}")
    for room in _named_in(str(found.evidence.get("area") or ""), site):
        _for_room(proposals, at, room, SAID_AREA, f"it says that it is in {found.evidence['area']}")
    for room in _named_in(str(found.evidence.get("gateway") or ""), site):
        _for_room(proposals, at, room, HEARD_BY, f"gateway {found.evidence['gateway']} hears it")
    for room, weight, reason in _missing(site, model):
        _for_room(proposals, at, room, weight, reason)
    ordered = sorted(proposals.values(), key=lambda each: (each.doubt, each.room, each.device))
    return ordered[:PROPOSALS_MOST]


def _by_model(
    devices: Iterable[Device],
    model: DescriptorId | None,
    found: Found,
    silent: Collection[DeviceId],
    at: _At,
) -> None:
    """A silent device of the same model on the same bus: what was found may be its successor."""
    alike = [
        each
        for each in devices
        if each.descriptor == model and each.address.bus == found.bus and each.id in silent and each.id != found.id
    ]
    for each in alike[:FEW]:
        weight = REPLACES if len(alike) == 1 else REPLACES / len(alike)
        at(each.room, each.id).because(weight, f"{each.id}, of the same model, does not answer")


def _by_history(found: Found, site: SitePlan, book: Book, at: _At) -> None:
    """The same radio stood somewhere before, or it answers where somebody did; and that name is free now."""
    mark = _mark(found.evidence)
    bound = {each.id for each in site.devices}
    for device, entry in book.entries.items():
        if device in bound:
            continue
        for fact in reversed(entry.facts):
            before = fact.before
            if before is None:
                continue
            same = mark is not None and mark in (before.address.ieee, before.address.mac)
            there = found.address is not None and where(before.address) == where(found.address)
            if (same or there) and site.room(before.room) is not None:
                proposal = at(before.room, None)
                proposal.device = device  # the name is free, and its history is this thing's
                weight, reason = (STOOD_THERE, "the same radio was") if same else (SAME_PLACE, "it answers where was")
                proposal.because(weight, f"{reason} {device}")
                break


def _for_room(
    proposals: Mapping[tuple[RoomId, DeviceId | None], Proposal], at: _At, room: RoomId, weight: float, reason: str
) -> None:
    """Take a reason for a room: it speaks for every swap proposed there, or else for a new name."""
    swaps = [each for (where, swap_for), each in proposals.items() if where == room and swap_for is not None]
    for each in swaps or [at(room, None)]:
        each.because(weight, reason)


def _missing(site: SitePlan, model: DescriptorId | None) -> list[tuple[RoomId, float, str]]:
    """Rooms that lack the model where most rooms of their type have one."""
    if model is None:
        return []
    having = {each.room for each in site.devices if each.descriptor == model}
    types: dict[str, list[RoomId]] = defaultdict(list)
    for room in site.rooms:
        if room.kind == "guest_room":
            types[room.type].append(room.id)
    found: list[tuple[RoomId, float, str]] = []
    for kind, rooms in types.items():
        without = [each for each in rooms if each not in having]
        if not 0 < len(without) <= FEW or len(without) * 2 >= len(rooms):
            continue
        weight = MISSING if len(without) == 1 else MISSING_IN_FEW
        found += [(each, weight, f"of {len(rooms)} rooms ({kind}), {len(without)} lack one") for each in without]
    return found


def _named_in(text: str, site: SitePlan) -> list[RoomId]:
    """Return the room whose name stands in a text as a whole word; nothing if several do."""
    words = set(_PARTS.findall(text.lower()))
    whole = text.lower()
    rooms = [
        each.id
        for each in site.rooms
        if each.id in words or (not each.id.isalnum() and each.id in whole) or (len(each.id) > 3 and each.id in whole)
    ]
    return rooms if len(rooms) == 1 else []


def _free_name(found: Found, room: RoomId, site: SitePlan, book: Book) -> DeviceId:
    """Return a name in the house's manner that nobody has and nobody ever had."""
    model = found.candidates[0].descriptor if found.candidates else None
    alike = next(
        (each.id for each in site.devices if each.descriptor == model and each.id.endswith(f"-{each.room}")), None
    )
    taken = {each.id for each in site.devices} | set(book.entries)
    if alike is not None:
        stem = alike.rpartition("-")[0]
    elif found.kind == "home_assistant":
        stem = str(found.evidence.get("kind") or "device")
    else:
        words = [each for each in _PARTS.findall(str(model).partition("/")[2]) if each.isalpha()] if model else []
        stem = words[0] if words else "device"
    for number in range(1, 1_000):
        tail = f"-{room}" if number == 1 else f"-{room}-{number}"
        name = DeviceId(f"{stem[: NAME_CHARACTERS_MAX - len(tail)]}{tail}")
        if name not in taken:
            return name
    return DeviceId(str(found.id)[:NAME_CHARACTERS_MAX])


def where(address: Address) -> tuple[object, ...]:
    """Return what two addresses of one place have in common: all but the very radio."""
    return (address.bus, address.unit, address.friendly_name, address.mac, address.node)


def _name_of(found: Found) -> str:
    """Return what it is called, by whoever set it up: that may hold a room's name."""
    given = (found.evidence.get(each) for each in ("friendly_name", "name"))
    if found.kind == "home_assistant":  # its friendly name is ours, made of identifiers: digits that name no room
        given = (each for each in (found.evidence.get("name"),))
    return next((each for each in given if isinstance(each, str) and each), "")


def _mark(evidence: Mapping[str, object]) -> str | None:
    """Return what a radio keeps wherever it goes."""
    for name in ("ieee", "mac"):
        if isinstance(value := evidence.get(name), str):
            return value
    return None
