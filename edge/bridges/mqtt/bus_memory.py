"""What a bus on the site broker has heard and told, beyond the life of the supervisor that did.

A bus is made anew whenever a device of it is bound or let go. Its neighbours are what they were: what the broker kept
of one is no older than when it was heard to say just that, one that was on line is so still, and what was told as found
is no news.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec

from protocols.device_model.identity import DeviceId

SHORT_BYTES_MAX: Final = 1_024
"""A payload that is kept as it is, to be known again."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The number of a device's last sealed advert, whether it is a short one, and when it was heard on both clocks.

    `kept`: an earlier life of the edge heard it, and this one has not heard it again.
    """

    number: int
    short: bool
    at_ms: int
    wall_ms: int
    kept: bool = False


class KeptNumber(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must be on disk of `Counted`, so that the next life of the edge knows it.

    `place` tells whether the device is the thing that it was; it holds no key.
    """

    device: DeviceId
    place: Annotated[str, msgspec.Meta(min_length=64, max_length=64)]
    number: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    short: bool
    wall_ms: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


@dataclass(slots=True)
class _Kept:
    places: dict[DeviceId, str] = field(default_factory=dict)
    """By device a digest of what makes it the thing that it is."""
    said: dict[tuple[DeviceId, str], tuple[bytes | str, int]] = field(default_factory=dict)
    """By device and topic the mark (`_mark`) of what was heard there last, and when, monotonic."""
    numbers: dict[DeviceId, Counted] = field(default_factory=dict)
    anew: Callable[[], None] | None = None
    """Called when a device counts anew."""
    online: set[DeviceId] = field(default_factory=set)
    found: dict[str, str] = field(default_factory=dict)
    """What was told as found, by whatever names it, with what of it would be news if it changed."""
    mistaken: dict[DeviceId, str] = field(default_factory=dict)
    """What was told of things that stand where a device should, by the device."""


class BusMemory:
    """One bus's, held by one supervisor at a time; `next_life` makes it the next one's."""

    def __init__(self) -> None:
        self._kept, self._over = _Kept(), False

    def next_life(self) -> "BusMemory":
        """Return the same memory for the supervisor that comes next."""
        other = BusMemory()
        other._kept = self._kept
        return other

    def end(self) -> None:
        """Take note that nobody is told any more what this supervisor hears: it is as if nobody had heard it."""
        self._over = True

    def serve(self, places: Mapping[DeviceId, str], *, named: Iterable[str]) -> None:
        """Take who is on the bus from now on.

        Args:
            places: Devices, each with what makes it the thing that it is. One that is another than before, or gone, is
                forgotten.
            named: What would be said to be found if nobody were bound to it: let go one day, it is to be found again.
        """
        kept = self._kept
        marks = {device: _digest(place.encode()).hex() for device, place in places.items()}
        same = {device for device, mark in marks.items() if kept.places.get(device) == mark}
        kept.places = marks
        kept.said = {key: each for key, each in kept.said.items() if key[0] in same}
        kept.numbers = {device: each for device, each in kept.numbers.items() if device in same}
        kept.mistaken = {device: about for device, about in kept.mistaken.items() if device in same}
        kept.online &= same
        for name in named:
            kept.found.pop(name, None)

    # --- what is said ---------------------------------------------------------------------------------------

    def heard(self, device: DeviceId, topic: str, payload: bytes, *, now_ms: int) -> None:
        """Take what a device says itself, now (monotonic)."""
        if not self._over:
            mark = payload if len(payload) <= SHORT_BYTES_MAX else _mark(payload)  # without a call where it is short
            self._kept.said[device, topic] = mark, now_ms

    def age_ms(self, device: DeviceId, topic: str, payload: bytes, *, now_ms: int) -> int | None:
        """Return how long ago a device was heard to say what the broker kept of it; None: nobody heard that."""
        said = self._kept.said.get((device, topic))
        return now_ms - said[1] if said is not None and said[0] == _mark(payload) else None

    def count(self, device: DeviceId, counted: Counted, *, anew: bool = False) -> None:
        """Take the number of a sealed advert that was believed; `anew`: it stands before the last one."""
        if not self._over:
            self._kept.numbers[device] = counted
            if anew and self._kept.anew is not None:
                self._kept.anew()

    def number(self, device: DeviceId) -> Counted | None:
        """Return what `count` took last; None: nothing."""
        return self._kept.numbers.get(device)

    def kept_numbers(self) -> list[KeptNumber]:
        """Return what must be on disk, so that `restore_numbers` makes it again."""
        kept = self._kept
        return [
            KeptNumber(device, kept.places[device], each.number, each.short, each.wall_ms)
            for device, each in sorted(kept.numbers.items())
            if device in kept.places
        ]

    def restore_numbers(
        self, numbers: Iterable[KeptNumber], *, anew: Callable[[], None], now_ms: int, wall_ms: int
    ) -> None:
        """Take what an earlier life of the edge kept, before anybody listens.

        A silence begins with this life: while nobody listened, nobody was silent. A short number goes round meanwhile,
        so of that one the time counts by the wall clock.

        Args:
            numbers: What was kept.
            anew: Called when a device counts anew, over all lives of the bus.
            now_ms: The monotonic clock.
            wall_ms: The wall clock.
        """
        self._kept.anew = anew
        for each in numbers:
            age_ms = max(0, wall_ms - each.wall_ms) if each.short else 0
            self._kept.places[each.device] = each.place
            self._kept.numbers[each.device] = Counted(each.number, each.short, now_ms - age_ms, each.wall_ms, kept=True)

    def came(self, device: DeviceId) -> None:
        """Learn that a device is on line, and that this was told."""
        if not self._over:
            self._kept.online.add(device)

    def went(self, device: DeviceId) -> None:
        """Learn that a device is off line: what the broker keeps of it is what it was before."""
        if not self._over:
            self._kept.online.discard(device)
            self._kept.said = {key: each for key, each in self._kept.said.items() if key[0] != device}

    def is_online(self, device: DeviceId) -> bool:
        """Say whether a device was on line when it was last heard of."""
        return device in self._kept.online

    # --- what is found --------------------------------------------------------------------------------------

    def told(self, name: str) -> str | None:
        """Return what was told of a found thing that could change; None: it was not told."""
        return self._kept.found.get(name)

    @property
    def found(self) -> int:
        """How many things were told as found."""
        return len(self._kept.found)

    def tell(self, name: str, about: str = "") -> None:
        """Learn that a thing is told as found."""
        if not self._over:
            self._kept.found[name] = about

    def mistake(self, device: DeviceId, about: str | None) -> bool:
        """Learn what else stands where a device should, None if it stands there itself; whether that is news."""
        before = self._kept.mistaken.get(device)
        if not self._over:
            if about is None:
                self._kept.mistaken.pop(device, None)
            else:
                self._kept.mistaken[device] = about
        return about != before


def _mark(payload: bytes) -> bytes | str:
    """Return what a payload is known by: itself where it is short, as most are, and else a digest, as text."""
    return payload if len(payload) <= SHORT_BYTES_MAX else _digest(payload).hex()


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
