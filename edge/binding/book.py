"""The book of bindings: facts laid over the site plan, and the plan that follows from both.

Pure. A change is judged against the version that its asker saw, made a `Fact`, written to lane A by whoever owns the
log, and only then taken: so the book is what its facts say, in their order, and can be rebuilt from them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from edge.binding.errors import BindingRefusedError, ChangedMeanwhileError, UnknownDeviceError
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model import site_plan as plans
from protocols.device_model.binding import Act, Fact, Place, Trial
from protocols.device_model.identity import DescriptorId, DeviceId, RoomId
from protocols.device_model.site_plan import Address, Device, SitePlan
from protocols.errors import InvalidInputError

HISTORY_MOST: Final = 20
"""Facts a device that are told at the edge; the log and the cloud have them all."""

Check = Callable[[SitePlan], None]
"""Raises InvalidInputError for a plan that cannot be: an address twice, a model that is not described."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the book says of one device. `place` None: its name stands for nothing."""

    version: int
    place: Place | None
    facts: tuple[Fact, ...] = ()


@dataclass(slots=True)
class Book:
    """All bindings of one property. Only `take` changes it."""

    n: int = 0
    entries: dict[DeviceId, Entry] = field(default_factory=dict)

    def version(self, device: DeviceId) -> int:
        """Return a device's version; 0: it is as the site plan has it, or nothing."""
        entry = self.entries.get(device)
        return 0 if entry is None else entry.version

    def facts(self, device: DeviceId) -> tuple[Fact, ...]:
        """Return the device's latest facts, oldest first."""
        entry = self.entries.get(device)
        return () if entry is None else entry.facts

    def rooms(self) -> dict[DeviceId, RoomId | None]:
        """Return the room of each device that is not as the site plan has it; None: it is in none."""
        changed = {device: entry.place for device, entry in self.entries.items() if entry.version > 0}
        return {device: None if place is None else place.room for device, place in changed.items()}

    def take(self, fact: Fact) -> bool:
        """Take a fact, as it stands on lane A, in its order; False: it was here already."""
        if fact.n <= self.n:
            return False
        self.n = fact.n
        before = self.entries.get(fact.device)
        if fact.act is Act.TESTED:
            version, place = (0, None) if before is None else (before.version, before.place)
        else:
            version, place = fact.version, fact.place
        kept = () if before is None else before.facts[1 - HISTORY_MOST :]
        self.entries[fact.device] = Entry(version, place, (*kept, fact))
        return True

    def to_bytes(self) -> bytes:
        """Return what `from_bytes` reads."""
        return msgspec.json.encode({"n": self.n, "entries": self.entries})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Book":
        """Return a stored book. Raises msgspec.MsgspecError: it is damaged, or of another build."""
        kept = msgspec.json.decode(data, type=_Kept)
        return cls(kept.n, kept.entries)


class _Kept(msgspec.Struct):
    n: int
    entries: dict[DeviceId, Entry]


@dataclass(frozen=True, slots=True)
class Effective:
    """The plan with the book laid over it. `conflicts`: what of the book cannot be, by device, and why."""

    plan: SitePlan
    conflicts: Mapping[DeviceId, str] = field(default_factory=dict)


def effective(plan: SitePlan, book: Book, check: Check) -> Effective:
    """Lay the book over the plan.

    A new site plan may contradict an old binding (a room is gone, an address given to another). Then the plan's own
    word stands for that device, the others are bound as ever, and the contradiction is told until somebody ends it.
    """
    changed = {device: entry.place for device, entry in book.entries.items() if entry.version > 0}
    if not changed:
        return Effective(plan)  # judged when it was read
    whole = laid_over(plan, changed)
    try:
        check(whole)
    except InvalidInputError:
        return _one_by_one(plan, changed, check)
    return Effective(whole)


def laid_over(plan: SitePlan, changed: Mapping[DeviceId, Place | None]) -> SitePlan:
    """Return the plan with these devices changed, unbound (None) or added; not judged."""
    planned = {each.id for each in plan.devices}
    devices: list[Device] = []
    for each in plan.devices:
        if each.id not in changed:
            devices.append(each)
        elif (place := changed[each.id]) is not None:
            devices.append(as_device(each.id, place))
    devices += [as_device(name, place) for name, place in changed.items() if place is not None and name not in planned]
    return msgspec.structs.replace(plan, devices=tuple(devices))


def _one_by_one(plan: SitePlan, changed: Mapping[DeviceId, Place | None], check: Check) -> Effective:
    # What frees an address comes first: a swap may stand on one that another device has given up.
    order = sorted(changed.items(), key=lambda item: item[1] is not None)
    taken: dict[DeviceId, Place | None] = {}
    conflicts: dict[DeviceId, str] = {}
    waiting = order
    while waiting:
        left: list[tuple[DeviceId, Place | None]] = []
        for name, place in waiting:
            try:
                check(laid_over(plan, {**taken, name: place}))
            except InvalidInputError as error:
                left.append((name, place))
                conflicts[name] = str(error)
            else:
                taken[name] = place
                conflicts.pop(name, None)
        if len(left) == len(waiting):
            break
        waiting = left
    return Effective(laid_over(plan, taken), conflicts)


def as_device(name: DeviceId, place: Place) -> Device:
    """Return a place as the site plan writes it."""
    return Device(name, place.room, place.descriptor, place.address, place.watches)


def place_of(device: Device | None) -> Place | None:
    """Return where a planned device is and what it is."""
    if device is None:
        return None
    return Place(device.room, device.descriptor, device.address, device.watches)


def checker(catalogue: Mapping[DescriptorId, Descriptor], check_plan: Callable[..., None]) -> Check:
    """Return the judge of a whole plan: the site plan's own rules, then the models."""

    def check(plan: SitePlan) -> None:
        plans.parse(plans.encode(plan), "bindings")
        check_plan(plan, catalogue, "bindings")

    return check


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for a change, when, what he saw, and why."""

    by: str
    at_ms: int
    version: int
    why: str = ""


class Desk:
    """Judges what is asked of the book; returns the fact that would make it so, and changes nothing.

    Args:
        book: The bindings.
        site: The plan in force, with the bindings laid over it.
        catalogue: Every model.
        check: The judge of a whole plan.
    """

    def __init__(self, book: Book, site: SitePlan, catalogue: Mapping[DescriptorId, Descriptor], check: Check) -> None:
        self._book, self._site, self._catalogue, self._check = book, site, catalogue, check

    def bind(self, device: DeviceId, place: Place, asked: Asked) -> Fact:
        """Give a free name to a thing. Raises ChangedMeanwhileError, BindingRefusedError."""
        if (again := self._asked_again(device, Act.BOUND, place, asked)) is not None:
            return again
        self._seen(device, asked)
        if (taken := self._site.device(device)) is not None:
            raise BindingRefusedError(
                device,
                f"the name is taken: it stands for {taken.descriptor} in room {taken.room}; swap it, or choose another",
                kind="name-taken",
            )
        if any(str(device) in (door.id, door.lock) for door in self._site.doors):
            raise BindingRefusedError(device, "a door or its lock has that name: choose another", kind="name-taken")
        return self._judged(self._fact(device, Act.BOUND, asked, place=place))

    def swap(
        self, device: DeviceId, descriptor: DescriptorId, address: Address, asked: Asked, *, accept_less: bool
    ) -> Fact:
        """Have the name stand for another thing, in the same room.

        Raises:
            ChangedMeanwhileError, UnknownDeviceError: nothing of that name is bound, or it is not as the asker saw it.
            BindingRefusedError: the new model does less and `accept_less` was not said, or it cannot be.
        """
        entry, now = self._book.entries.get(device), place_of(self._site.device(device))
        base = now if entry is None or entry.place is None else entry.place
        if base is not None:
            wanted = Place(base.room, descriptor, address, base.watches)
            if (again := self._asked_again(device, Act.SWAPPED, wanted, asked)) is not None:
                return again
        self._seen(device, asked)
        if now is None:
            raise UnknownDeviceError(device)
        if (now.descriptor, now.address) == (descriptor, address):
            raise BindingRefusedError(device, "it stands for that very thing already", kind="nothing-to-do")
        lost = self.lost(now.descriptor, descriptor)
        if lost and not accept_less:
            raise BindingRefusedError(
                device,
                f"{descriptor} does not have what {now.descriptor} has: {', '.join(lost)}; rooms and rules that use it "
                "would find nothing. Say accept_less if that is meant",
                kind="does-less",
            )
        place = Place(now.room, descriptor, address, now.watches)
        return self._judged(self._fact(device, Act.SWAPPED, asked, place=place, before=now))

    def unbind(self, device: DeviceId, asked: Asked) -> Fact:
        """Take the name from its thing. Raises ChangedMeanwhileError, UnknownDeviceError."""
        if (again := self._asked_again(device, Act.UNBOUND, None, asked)) is not None:
            return again
        self._seen(device, asked)
        now = place_of(self._site.device(device))
        if now is None:
            raise UnknownDeviceError(device)
        return self._judged(self._fact(device, Act.UNBOUND, asked, before=now))

    def tested(self, device: DeviceId, trial: Trial, asked: Asked) -> Fact:
        """Return the fact of a test; it changes no version. `asked.version` is the one that was tested."""
        return replace_version(self._fact(device, Act.TESTED, asked, test=trial), asked.version)

    def lost(self, before: DescriptorId, after: DescriptorId) -> list[str]:
        """Return what the one model has and the other has not, as `capability.attribute`, sorted."""
        return sorted(_points(self._catalogue.get(before)) - _points(self._catalogue.get(after)))

    def _asked_again(self, device: DeviceId, act: Act, place: Place | None, asked: Asked) -> Fact | None:
        """Return the fact that this very question led to before: whose answer was lost asks once more."""
        changes = [each for each in self._book.facts(device) if each.act is not Act.TESTED]
        if not changes or asked.version != self._book.version(device) - 1:
            return None
        last = changes[-1]
        same = (last.act, last.place, last.by) == (act, place, asked.by)
        return last if same else None

    def _seen(self, device: DeviceId, asked: Asked) -> None:
        stands = self._book.version(device)
        if asked.version != stands:
            facts = self._book.facts(device)
            raise ChangedMeanwhileError(device, seen=asked.version, stands=stands, by=facts[-1].by if facts else None)

    def _fact(
        self,
        device: DeviceId,
        act: Act,
        asked: Asked,
        *,
        place: Place | None = None,
        before: Place | None = None,
        test: Trial | None = None,
    ) -> Fact:
        return Fact(
            n=self._book.n + 1,
            act=act,
            device=device,
            version=self._book.version(device) + 1,
            by=asked.by,
            at_ms=asked.at_ms,
            why=asked.why,
            place=place,
            before=before,
            test=test,
        )

    def _judged(self, fact: Fact) -> Fact:
        try:
            self._check(laid_over(self._site, {fact.device: fact.place}))
        except InvalidInputError as error:
            raise BindingRefusedError(fact.device, str(error), kind="cannot-be") from error
        return fact


def replace_version(fact: Fact, version: int) -> Fact:
    """Return the fact at another version of its device."""
    return msgspec.structs.replace(fact, version=version)


def numbered(fact: Fact, n: int) -> Fact:
    """Return the fact at another position of the book: the log may know of later ones than a damaged book."""
    return msgspec.structs.replace(fact, n=n)


def _points(descriptor: Descriptor | None) -> set[str]:
    if descriptor is None:
        return set()
    return {f"{each.capability.value}.{each.attribute}" for each in descriptor.points}
