"""Versions and what they change of a descriptor: the rules that loader and adapters share. Pure.

Source of truth: SPEC.md section 8. Kept apart from `firmware.py` because the loader needs it and `firmware.py` the
loader's shapes.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from protocols.descriptors.quirks import Quirk
from protocols.descriptors.wires import BleAdvertWire, PeripheralWire, Wire
from protocols.device_model.capability import Capability
from protocols.documents import shown
from protocols.errors import InvalidInputError

if TYPE_CHECKING:
    from protocols.descriptors.descriptor import Descriptor, Point, WriteRule

Version = tuple[int, ...]
"""Compared number by number; 1.2 and 1.2.0 are one version."""
Key = tuple[Capability, str]
T = TypeVar("T")

NUMBERS_MAX: Final = 6
_LEAST: Final = frozenset(("block_most", "gap_most"))
_MOST: Final = frozenset(("pause_ms", "answer_wait_ms", "silence_s"))
_ALL: Final = frozenset(("unreadable", "ask"))
_VERSION: Final = re.compile(r"\d{1,12}(?:[._]\d{1,12})*", re.ASCII)


def parse_version(text: str, after: str = "") -> Version | None:
    """Return the first version in a text, behind the last `after`; None if there is no number in it.

    Numbers are parted by dots or underscores, as makers write them: `v1.14.0-g6cb8`, `9.5.0.1(tasmota)`,
    `0.0.0_0021`. What follows the numbers (beta, builds) is not compared.
    """
    found = _VERSION.search(text.rpartition(after)[2] if after else text)
    if found is None:
        return None
    numbers = [int(each) for each in re.split("[._]", found[0])][:NUMBERS_MAX]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def key_of(point: "Point") -> Key:
    """Return what names a point."""
    return point.capability, point.attribute


def bound(text: str, place: str = "version") -> Version:
    """Return the version that a quirk's bound names. Raises InvalidInputError."""
    version = parse_version(text)
    if version is None:
        raise InvalidInputError(place, f"{shown(text)} is no version, such as 1.14.0")
    return version


def applying(quirks: Iterable[Quirk], version: Version) -> tuple[Quirk, ...]:
    """Return the quirks that a version has, in their order."""
    return tuple(
        each
        for each in quirks
        if (each.since is not None or each.before is not None)
        and (each.since is None or version >= bound(each.since))
        and (each.before is None or version < bound(each.before))
    )


def representatives(quirks: Iterable[Quirk]) -> list[Version]:
    """Return one version of each firmware that the quirks tell apart, the oldest first."""
    bounds = {bound(text) for each in quirks if each.machine for text in (each.since, each.before) if text is not None}
    return sorted(bounds | {()})


def made(descriptor: "Descriptor", quirks: Sequence[Quirk], place: str = "") -> "Descriptor":
    """Return the descriptor with what the quirks change, a later one over an earlier.

    Raises:
        InvalidInputError: a quirk changes what there is not, or to something that is no point or wire.
    """
    points = {key_of(each): each for each in descriptor.points}
    wire = descriptor.wire
    point_type = type(descriptor.points[0])
    for quirk in quirks:
        spot = f"{place}: quirk {quirk.versions!r}"
        for change in quirk.points:
            key = (change.capability, change.attribute)
            named = f"{spot}: {change.capability}.{change.attribute}"
            before = points.get(key)
            if change.missing:
                if before is None or change.set or change.read_only:
                    raise InvalidInputError(named, "is missing: then the model must have it, and nothing else be said")
                del points[key]
                continue
            if not change.set and not change.read_only:
                raise InvalidInputError(named, "says nothing of what differs: missing, read_only or set")
            document = {} if before is None else msgspec.to_builtins(before)
            document.update(change.set)
            document.update(capability=change.capability.value, attribute=change.attribute)
            if change.read_only:
                document["write"] = None
            points[key] = _converted(document, point_type, named)
        if quirk.wire:
            document = msgspec.to_builtins(wire)
            if "kind" in quirk.wire:
                raise InvalidInputError(f"{spot}: wire.kind", "a firmware on another wire is another model")
            document.update(quirk.wire)
            wire = _converted(document, type(wire), f"{spot}: wire")
    if not points:
        raise InvalidInputError(place, "a firmware of it has no point at all")
    return msgspec.structs.replace(descriptor, points=tuple(points.values()), wire=wire)


def alike(descriptor: "Descriptor") -> "Descriptor":
    """Return what every firmware of a model has alike, within the strictest of their limits."""
    firmwares = [made(descriptor, applying(descriptor.quirks, each)) for each in representatives(descriptor.quirks)]
    points = []
    for point in firmwares[-1].points:
        each_has = [each.point(point.capability, point.attribute) for each in firmwares]
        readings = {
            None if each is None else msgspec.json.encode(msgspec.structs.replace(each, write=None))
            for each in each_has
        }
        if len(readings) == 1:
            rule = _strictest([None if each is None else each.write for each in each_has])
            points.append(msgspec.structs.replace(point, write=rule))
    wire = _gentlest([each.wire for each in firmwares])
    return msgspec.structs.replace(descriptor, points=tuple(points), wire=wire)


def _strictest(rules: Sequence["WriteRule | None"]) -> "WriteRule | None":
    """Return what every one of the rules allows; None if that is nothing, or they write in different ways."""
    some = [each for each in rules if each is not None]
    if len(some) < len(rules) or len({(each.key, each.topic, each.payload, each.step) for each in some}) != 1:
        return None
    least = max((each.least for each in some if each.least is not None), default=None)
    most = min((each.most for each in some if each.most is not None), default=None)
    if least is not None and most is not None and least >= most:
        return None
    return msgspec.structs.replace(
        some[-1],
        least=least,
        most=most,
        min_interval_s=max(each.min_interval_s for each in some),
        burst=min(each.burst for each in some),
        settle_ms=max(each.settle_ms for each in some),
    )


def _gentlest(wires: Sequence[Wire]) -> Wire:
    if isinstance(wires[-1], BleAdvertWire | PeripheralWire):
        return wires[-1]
    document: dict[str, Any] = msgspec.to_builtins(wires[-1])
    all_of_them: list[dict[str, Any]] = [msgspec.to_builtins(each) for each in wires]
    for key in document:
        told = [each[key] for each in all_of_them]
        if key in _LEAST:
            document[key] = min(told)
        elif key in _MOST:
            document[key] = max(told)
        elif key in _ALL:
            every = [one for some in told for one in some]
            document[key] = [each for index, each in enumerate(every) if each not in every[:index]]
    return msgspec.convert(document, type(wires[-1]))


def _converted(document: object, wanted: type[T], place: str) -> T:
    try:
        return msgspec.convert(document, wanted)
    except msgspec.ValidationError as error:
        raise InvalidInputError(place, str(error)) from error
