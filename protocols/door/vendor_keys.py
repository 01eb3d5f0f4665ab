"""What a guest has at doors of foreign lock systems: told beside a grant of ours, or alone where no door is ours.

Source of truth: SPEC.md section 9.3; vectors in protocols/vectors/door/vendor_keys.json. Secret where it holds a code.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from protocols.door.bundle import VERSION
from protocols.errors import InvalidInputError

KEYS_MOST: Final = 16
ROOMS_MOST: Final = 64
WORDS_MOST: Final = 300
MILLISECONDS_MOST: Final = 2**53
_NAMED: Final = re.compile(r"[a-z0-9-]{1,100}")


class VendorMedium(StrEnum):
    """What the key is."""

    PIN = "pin"
    CARD = "card"
    MOBILE = "mobile"
    """In the vendor's own app."""


class VendorState(StrEnum):
    """Where it stands between the house and the vendor's system."""

    WANTED = "wanted"
    MADE = "made"
    REFUSED = "refused"
    ENDING = "ending"
    ENDED = "ended"


TRUTHS: Final = frozenset({"accepted-by-vendor", "effective-at-next-presentation", "online-confirmed"})
"""How far the truth of `made` reaches, least first: the server took it; it is on the card or phone; the lock has it."""


@dataclass(frozen=True, slots=True)
class OpensAfar:
    """What a phone names in a request to open these doors from afar (SPEC.md 13), and how true an answer can be.

    `grant`: the key's name in the house. `doors`: (door, room).
    """

    property_id: str
    grant: str
    truth: str
    doors: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class VendorKey:
    """One key. `rooms` are its rooms' ids, times unix ms; `truth` None until it is made; `code` opens doors: secret.

    `opens`: None where nothing of it opens from afar.
    """

    system: str
    rooms: tuple[str, ...]
    medium: VendorMedium
    state: VendorState
    truth: str | None
    code: str | None = field(repr=False)
    not_before_ms: int
    not_after_ms: int
    problem: str | None = None
    may_have_taken_effect: bool = False
    opens: OpensAfar | None = None

    @property
    def is_for_the_desk(self) -> bool:
        """Whether somebody at the front desk has to act: a card to be written, a key that was refused."""
        waits = self.medium is VendorMedium.CARD and self.state is VendorState.WANTED
        return waits or self.state is VendorState.REFUSED

    def to_document(self) -> dict[str, Any]:
        """Return its entry of `vendor_keys`: secret."""
        afar: dict[str, Any] = {}
        if self.opens is not None:
            afar["opens"] = {
                "property": self.opens.property_id,
                "grant": self.opens.grant,
                "truth": self.opens.truth,
                "doors": [{"door": door, "room": room} for door, room in self.opens.doors],
            }
        return {
            "system": self.system,
            "rooms": list(self.rooms),
            "medium": self.medium.value,
            "state": self.state.value,
            "truth": self.truth,
            "code": self.code,
            "not_before_ms": self.not_before_ms,
            "not_after_ms": self.not_after_ms,
            "problem": self.problem,
            "may_have_taken_effect": self.may_have_taken_effect,
            **afar,
        }


def keys_alone(stay: str, keys: Sequence[VendorKey], *, not_before_ms: int, not_after_ms: int) -> dict[str, Any]:
    """Return the document of a stay without any door of ours: it opens nothing over BLE."""
    return {
        "v": VERSION,
        "stay": stay,
        "not_before_ms": not_before_ms,
        "not_after_ms": not_after_ms,
        "doors": [],
        "vendor_keys": [each.to_document() for each in keys],
    }


def vendor_keys_of(document: object, place: str = "bundle") -> tuple[VendorKey, ...]:
    """Return the vendors' keys of a bundle; none where it does not speak of any.

    Raises:
        InvalidInputError: names the place and the field, never a code.
    """
    if not isinstance(document, Mapping) or document.get("v") != VERSION:
        raise InvalidInputError(place, "not a bundle of version 1")
    listed = document.get("vendor_keys", [])
    if not isinstance(listed, list) or len(listed) > KEYS_MOST:
        raise InvalidInputError(f"{place}: vendor_keys", f"not a list of at most {KEYS_MOST}")
    return tuple(_key(each, f"{place}: vendor_keys[{at}]") for at, each in enumerate(listed))


def _key(document: object, place: str) -> VendorKey:
    if not isinstance(document, Mapping):
        raise InvalidInputError(place, "not a key of a foreign lock system")
    match document:
        case {
            "system": str() as system,
            "rooms": [*rooms],
            "medium": str() as medium,
            "state": str() as state,
            "truth": None | str() as truth,
            "code": None | str() as code,
            "not_before_ms": int() as not_before_ms,
            "not_after_ms": int() as not_after_ms,
            "problem": None | str() as problem,
            "may_have_taken_effect": bool() as may_have,
        }:
            pass
        case _:
            raise InvalidInputError(place, "not a key of a foreign lock system")
    words = (system, *rooms, *(each for each in (code, problem) if each is not None))
    if not 1 <= len(rooms) <= ROOMS_MOST or any(
        not isinstance(each, str) or not 1 <= len(each) <= WORDS_MOST for each in words
    ):
        raise InvalidInputError(place, "rooms, system, code and problem are short words, and there is a room")
    if any(isinstance(each, bool) or not 0 <= each <= MILLISECONDS_MOST for each in (not_before_ms, not_after_ms)):
        raise InvalidInputError(place, "its window is none")
    try:
        kind, stands = VendorMedium(medium), VendorState(state)
    except ValueError as error:
        raise InvalidInputError(place, str(error)) from None
    if truth is not None and truth not in TRUTHS:
        raise InvalidInputError(f"{place}: truth", f"{truth[:40]!r} is not known")
    opens = None if (told := document.get("opens")) is None else _opens(told, rooms, f"{place}: opens")
    return VendorKey(
        system, tuple(rooms), kind, stands, truth, code, not_before_ms, not_after_ms, problem, may_have, opens
    )


def _opens(document: object, rooms: Sequence[str], place: str) -> OpensAfar:
    match document:
        case {"property": str() as property_id, "grant": str() as grant, "truth": str() as truth, "doors": [*listed]}:
            pass
        case _:
            raise InvalidInputError(place, "does not say what opens from afar")
    doors: list[tuple[str, str]] = []
    for each in listed:
        match each:
            case {"door": str() as door, "room": str() as room} if room in rooms:
                doors.append((door, room))
            case _:
                raise InvalidInputError(place, "a door is none of the key's rooms")
    names = (property_id, grant, *(door for door, _ in doors))
    if truth not in TRUTHS or not 1 <= len(doors) <= ROOMS_MOST:
        raise InvalidInputError(place, f"truth is known, and there are 1 to {ROOMS_MOST} doors")
    if any(_NAMED.fullmatch(each) is None for each in names):
        raise InvalidInputError(place, "property, grant and doors are 1 to 100 of a-z, 0-9 and '-'")
    return OpensAfar(property_id, grant, truth, tuple(doors))
