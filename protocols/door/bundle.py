"""The bundle: what a phone needs to find and open its doors with no network. Secret: it holds advert keys.

Source of truth: SPEC.md section 9.3. JSON, so that a web page reads it as it is.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from protocols.door.advert import EIK_BYTES, DoorKeys, fallback_id
from protocols.door.identity import LOCK_ID_BYTES, point, sized
from protocols.errors import InvalidInputError, UnsupportedVersionError

VERSION: Final = 1
DOORS_MOST: Final = 64
WEEKS_MOST: Final = 8


@dataclass(frozen=True, slots=True)
class BundleDoor:
    """One door of a bundle. `label` is what the guest reads."""

    door: str
    label: str
    keys: DoorKeys

    def to_document(self) -> dict[str, Any]:
        """Return the door's entry: all keys in hexadecimal, `eik` by week number."""
        return {
            "door": self.door,
            "label": self.label,
            "lock": self.keys.lock_id.hex(),
            "s_lock": self.keys.s_lock.hex(),
            "eik": {str(week): key.hex() for week, key in sorted(self.keys.eik_by_week.items())},
            "fallback": self.keys.fallback.hex(),
            "fallback_id": fallback_id(self.keys.fallback).hex(),
        }


@dataclass(frozen=True, slots=True)
class Bundle:
    """A grant and all it takes to use it. `not_after_ms` is when the grant ends, unix milliseconds."""

    stay: str
    grant: bytes
    certificate: bytes
    not_before_ms: int
    not_after_ms: int
    doors: tuple[BundleDoor, ...]

    def to_document(self) -> dict[str, Any]:
        """Return the bundle as a JSON object: secret, it holds the doors' advert keys."""
        return {
            "v": VERSION,
            "stay": self.stay,
            "grant": base64.b64encode(self.grant).decode(),
            "issuer_certificate": base64.b64encode(self.certificate).decode(),
            "not_before_ms": self.not_before_ms,
            "not_after_ms": self.not_after_ms,
            "doors": [door.to_document() for door in self.doors],
        }

    @classmethod
    def from_document(cls, document: object, place: str = "bundle") -> "Bundle":
        """Read what `to_document` wrote.

        Raises:
            UnsupportedVersionError, InvalidInputError: name the place and the field, never a secret.
        """
        match document:
            case {
                "v": 1,
                "stay": str() as stay,
                "grant": str() as grant,
                "issuer_certificate": str() as certificate,
                "not_before_ms": int() as not_before_ms,
                "not_after_ms": int() as not_after_ms,
                "doors": [*doors],
            } if len(doors) <= DOORS_MOST:
                return cls(
                    stay=stay,
                    grant=_from_base64(grant, f"{place}: grant"),
                    certificate=_from_base64(certificate, f"{place}: issuer_certificate"),
                    not_before_ms=not_before_ms,
                    not_after_ms=not_after_ms,
                    doors=tuple(_door(door, f"{place}: doors[{at}]") for at, door in enumerate(doors)),
                )
            case {"v": version} if version != VERSION:
                raise UnsupportedVersionError("bundle", version, (VERSION,))
            case _:
                raise InvalidInputError(place, "not a bundle of version 1")


def _door(document: object, place: str) -> BundleDoor:
    match document:
        case {
            "door": str() as door,
            "label": str() as label,
            "lock": lock,
            "s_lock": s_lock,
            "eik": dict() as eik,
            "fallback": fallback,
        } if len(eik) <= WEEKS_MOST:
            keys = DoorKeys(
                lock_id=sized(lock, LOCK_ID_BYTES, f"{place}: lock"),
                s_lock=point(s_lock, f"{place}: s_lock"),
                eik_by_week=_weeks(eik, f"{place}: eik"),
                fallback=sized(fallback, EIK_BYTES, f"{place}: fallback"),
            )
            return BundleDoor(door, label, keys)
        case _:
            raise InvalidInputError(place, "not a door of a bundle of version 1")


def _weeks(document: Mapping[Any, Any], place: str) -> dict[int, bytes]:
    weeks: dict[int, bytes] = {}
    for week, key in document.items():
        if not isinstance(week, str) or not (week.isascii() and week.isdecimal() and len(week) <= 6):
            raise InvalidInputError(place, f"{week!r} is not a week number")
        weeks[int(week)] = sized(key, EIK_BYTES, f"{place}[{week}]")
    return weeks


def _from_base64(text: str, place: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputError(place, "not base64") from None
