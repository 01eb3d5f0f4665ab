"""Which descriptor a device has under its firmware: version text -> version -> descriptor. Pure.

Source of truth: SPEC.md section 8. While no version is known a device is held to what all of its firmwares have alike:
what any of them reads otherwise is neither told nor written, and the strictest of their limits hold.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from protocols.descriptors.descriptor import Descriptor, Point
from protocols.descriptors.quirks import Firmware, Quirk
from protocols.descriptors.variants import (
    Key,
    Version,
    alike,
    applying,
    key_of,
    made,
    parse_version,
    representatives,
)

TEXT_CHARACTERS_MAX: Final = 120
KEPT_DESCRIPTORS: Final = 512
_BCD: Final = re.compile(r"[0-9]+")


def version_of(firmware: Firmware | None, text: object) -> Version | None:
    """Return the version that a device tells in `text`; None if it tells none."""
    if not isinstance(text, str) or len(text) > TEXT_CHARACTERS_MAX:
        return None
    return parse_version(text, firmware.after if firmware is not None else "")


def text_of_words(firmware: Firmware, words: Sequence[int]) -> str | None:
    """Return the version's text as it stands in registers (0..65535 each); None if they hold none."""
    if firmware.form == "text":
        data = b"".join(word.to_bytes(2, "big") for word in words)
        text = data.split(b"\0")[0].decode("ascii", "replace").strip()
        return text or None
    whole = 0
    for word in words:
        whole = whole << 16 | word
    match firmware.form:
        case "number":
            return str(whole)
        case "hundredths":
            return f"{whole // 100}.{whole % 100}"
        case "bytes":
            return ".".join(str(byte) for word in words for byte in word.to_bytes(2, "big"))
        case _:
            digits = f"{whole:x}"
            return f"{int(digits) // 100}.{int(digits) % 100}" if _BCD.fullmatch(digits) else None


def words_of_text(firmware: Firmware, text: str) -> tuple[int, ...]:
    """Return the registers that tell a version: what an emulator shows. What does not fit is cut off."""
    if firmware.form == "text":
        data = text.encode("ascii", "replace").ljust(2 * firmware.words, b"\0")[: 2 * firmware.words]
        return tuple(int.from_bytes(data[2 * each : 2 * each + 2], "big") for each in range(firmware.words))
    version = parse_version(text, firmware.after) or (0,)
    major, minor = version[0], version[1] if len(version) > 1 else 0
    match firmware.form:
        case "number":
            whole = major
        case "hundredths":
            whole = major * 100 + minor
        case "bytes":
            numbers = [*version, *([0] * (2 * firmware.words))][: 2 * firmware.words]
            whole = int.from_bytes(bytes(each & 0xFF for each in numbers), "big")
        case _:
            whole = int(str(major * 100 + minor), 16)
    return tuple(whole >> 16 * each & 0xFFFF for each in reversed(range(firmware.words)))


def told_apart(descriptor: Descriptor) -> bool:
    """Say whether adapter or emulator do anything otherwise under some firmware."""
    return any(each.machine for each in descriptor.quirks)


def quirks_of(descriptor: Descriptor, version: Version | None) -> tuple[Quirk, ...]:
    """Return the quirks of a version; with none known, every one that some version has."""
    ranged = tuple(each for each in descriptor.quirks if each.since is not None or each.before is not None)
    return ranged if version is None else applying(ranged, version)


@lru_cache(KEPT_DESCRIPTORS)
def _under(data: bytes, version: Version | None) -> Descriptor:
    model = msgspec.msgpack.decode(data, type=Descriptor)
    return alike(model) if version is None else made(model, applying(model.quirks, version))


def under(descriptor: Descriptor, version: Version | None) -> Descriptor:
    """Return the descriptor of a device whose firmware has `version`; None: not known, so what all have alike."""
    if not told_apart(descriptor):
        return descriptor
    return _under(msgspec.msgpack.encode(descriptor), version)


def every(descriptor: Descriptor) -> list[tuple[str, Descriptor]]:
    """Return every descriptor that the model's firmwares make, each with a version that has it, the oldest first."""
    if not told_apart(descriptor):
        return [("", descriptor)]
    return [(".".join(map(str, version)), under(descriptor, version)) for version in representatives(descriptor.quirks)]


def newest(descriptor: Descriptor) -> str:
    """Return a version that the newest firmware known of has: what an emulated thing runs unless told otherwise."""
    return every(descriptor)[-1][0] or "1.0"


def all_points(descriptor: Descriptor) -> dict[Key, Point]:
    """Return a point for every attribute that any firmware of the model has; the newest's where they differ."""
    return {key_of(point): point for _, each in every(descriptor) for point in each.points}
