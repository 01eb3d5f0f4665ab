"""The `stays` desired document: what the cloud last said about this property's stays.

Source of truth: protocols/stays/SPEC.md. Three formats are taken: the second names who shares a room, the third which
word of ours on the end of a stay the cloud has heard. A document is parsed whole or refused whole. The version of the
document itself travels in its signed envelope (protocols/link).
"""

from collections import Counter
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from protocols.device_model.identity import PropertyId, RoomId, StayId, parse_room_id, parse_stay_id
from protocols.documents import explained, shown
from protocols.errors import InvalidInputError, UnsupportedVersionError

SUPPORTED_VERSIONS: Final = (1, 2, 3)
SHARING: Final = 2
"""The format from which stays may share."""
UNTIL_HEARD: Final = 3
"""The format from which stays may name our word on their end."""
STAYS_MOST: Final = 5_000  # 72 h of the largest hotels, several times over
VERSION_MOST: Final = 2**53 - 1
AT_MS_MOST: Final = 4_102_444_800_000  # 2100-01-01: later is a unit error, not a stay

_AtMs = Annotated[int, msgspec.Meta(ge=0, le=AT_MS_MOST)]
_Text = Annotated[str, msgspec.Meta(max_length=200)]
_UntilN = Annotated[int, msgspec.Meta(ge=1, le=VERSION_MOST)]
_Share = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]


class StayState(StrEnum):
    """Where a stay is; the order of `PROGRESS` is the only direction it moves in at the edge."""

    PLANNED = "planned"
    READY = "ready"
    IN_HOUSE = "in_house"
    LEFT = "left"
    VOID = "void"


class DocumentStay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stay as the cloud sees it. `guest_name` is None once the guest asked to be forgotten.

    Stays with one `share` have their room together; unset: nobody is to be in it besides. `until_n`: the word of this
    building on the stay's end that the cloud has heard, and settled into `expected_until_ms`.
    """

    id: str
    room: str | None
    state: StayState
    guest_name: _Text | None
    expected_from_ms: _AtMs
    expected_until_ms: _AtMs
    reservation: _Text | dict[str, _Text | None] | None
    version: Annotated[int, msgspec.Meta(ge=0, le=VERSION_MOST)]
    share: _Share | msgspec.UnsetType = msgspec.UNSET
    until_n: _UntilN | msgspec.UnsetType = msgspec.UNSET

    @property
    def stay_id(self) -> StayId:
        """The id, which `parse` has checked."""
        return StayId(self.id)

    @property
    def room_id(self) -> RoomId | None:
        """The room, which `parse` has checked; None while the front desk has not assigned one."""
        return None if self.room is None else RoomId(self.room)


class StaysDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole document."""

    v: int
    property: str
    as_of_ms: _AtMs
    stays: Annotated[list[DocumentStay], msgspec.Meta(max_length=STAYS_MOST)]


def parse(body: object, *, ours: PropertyId) -> StaysDocument:
    """Read the decoded body of a `stays` document.

    Raises:
        UnsupportedVersionError: `v` is not one we know; nothing else was looked at.
        InvalidInputError: names the place and the offending value; nothing of the document may be used.
    """
    version = body.get("v") if isinstance(body, dict) else None
    if type(version) is not int or version not in SUPPORTED_VERSIONS:
        raise UnsupportedVersionError("stays document", version, SUPPORTED_VERSIONS)
    try:
        document = msgspec.convert(body, type=StaysDocument, strict=True)
    except msgspec.ValidationError as error:
        raise InvalidInputError("stays document", explained(error, body)) from error
    if document.property != ours:
        raise InvalidInputError(
            "stays document: property", f"is for {shown(document.property)}; this edge serves {ours!r}"
        )
    for index, stay in enumerate(document.stays):
        place = f"stays document: stays[{index}]"
        try:
            parse_stay_id(stay.id)
            if stay.room is not None:
                parse_room_id(stay.room)
        except InvalidInputError as error:
            raise InvalidInputError(place, str(error)) from error
        if stay.share is not msgspec.UNSET and version < SHARING:
            raise InvalidInputError(place, f"format {version} has no `share`")
        if stay.until_n is not msgspec.UNSET and version < UNTIL_HEARD:
            raise InvalidInputError(place, f"format {version} has no `until_n`")
        if stay.expected_until_ms <= stay.expected_from_ms:
            raise InvalidInputError(
                place, f"expected_until_ms {stay.expected_until_ms} is not after {stay.expected_from_ms}"
            )
    if doubled := [stay for stay, count in Counter(each.id for each in document.stays).items() if count > 1]:
        raise InvalidInputError("stays document: stays", f"stay {doubled[0]!r} is there twice")
    return document
