"""A binding: which thing on which bus stands behind a device's name, and who said so.

Source of truth: SPEC.md section 7; vectors in protocols/vectors/device_model/bindings.json. One fact is one record of
lane A (kind `binding`): the edge rebuilds its book from them, the cloud shows who did what.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import msgspec

from protocols.device_model.identity import (
    DescriptorId,
    DeviceId,
    RoomId,
    parse_actor,
    parse_descriptor_id,
    parse_device_id,
    parse_room_id,
)
from protocols.device_model.site_plan import Address
from protocols.documents import explained
from protocols.errors import InvalidInputError

KIND: Final = "binding"
WHY_CHARACTERS_MAX: Final = 200
TIME_MS_MAX: Final = 2**53 - 1

_Text = Annotated[str, msgspec.Meta(max_length=WHY_CHARACTERS_MAX)]


class Act(StrEnum):
    """What was done."""

    BOUND = "bound"
    SWAPPED = "swapped"
    UNBOUND = "unbound"
    TESTED = "tested"


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Frozen, and refuses what it does not know."""


class Place(_Strict, frozen=True):
    """Where a device is and what it is: what a site plan says of it beside its name."""

    room: RoomId
    descriptor: DescriptorId
    address: Address
    watches: Literal["door", "window"] | None = None


class Trial(_Strict, frozen=True):
    """What a test of a device came to; `result` None: nobody can say. `way`: how it was asked."""

    way: Literal["blink", "echo", "heard"]
    result: bool | None
    detail: _Text = ""


class Fact(_Strict, frozen=True):
    """One change of the book, or one test. `n` is its position there, `version` the device's after it."""

    n: Annotated[int, msgspec.Meta(ge=1, le=TIME_MS_MAX)]
    act: Act
    device: DeviceId
    version: Annotated[int, msgspec.Meta(ge=0, le=TIME_MS_MAX)]
    by: str
    at_ms: Annotated[int, msgspec.Meta(ge=0, le=TIME_MS_MAX)]
    why: _Text = ""
    place: Place | None = None
    before: Place | None = None
    test: Trial | None = None

    def to_body(self) -> dict[str, Any]:
        """Return the record's body: JSON- and CBOR-safe."""
        body: dict[str, Any] = msgspec.to_builtins(self)
        return body


_HAS: Final = {
    Act.BOUND: (True, False, False),
    Act.SWAPPED: (True, True, False),
    Act.UNBOUND: (False, True, False),
    Act.TESTED: (False, False, True),
}
"""For each act whether there is a place, a before and a test. SPEC.md section 7."""


def from_body(body: Mapping[str, Any], place: str = "binding") -> Fact:
    """Return the fact of a record's body. Raises InvalidInputError: names place and value."""
    document = dict(body)
    try:
        fact = msgspec.convert(document, Fact)
    except msgspec.ValidationError as error:
        raise InvalidInputError(place, explained(error, document)) from error
    parse_device_id(fact.device, f"{place}: device")
    parse_actor(fact.by, f"{place}: by")
    for name, each in (("place", fact.place), ("before", fact.before)):
        if each is not None:
            parse_room_id(each.room, f"{place}: {name}.room")
            parse_descriptor_id(each.descriptor, f"{place}: {name}.descriptor")
    found = tuple(each is not None for each in (fact.place, fact.before, fact.test))
    if found != _HAS[fact.act]:
        wanted = [name for name, needed in zip(("place", "before", "test"), _HAS[fact.act], strict=True) if needed]
        raise InvalidInputError(place, f"{fact.act} has exactly {' and '.join(wanted)}")
    if fact.act is not Act.TESTED and fact.version < 1:
        raise InvalidInputError(f"{place}: version", f"{fact.version}: a change makes it 1 or more")
    return fact
