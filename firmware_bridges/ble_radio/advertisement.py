"""Advertising payload -> what bleak tells about it. Pure: bytes in, facts out.

Source: Bluetooth Core Specification Supplement, Part A (data types); Core 5.4, Vol 3, Part C, 11 (structure).
Advertisers are strangers: a structure that runs over the end ends the payload, one that is too short for its type is
skipped, and nothing here raises.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from uuid import UUID

SHORTENED_NAME: Final = 0x08
COMPLETE_NAME: Final = 0x09
TX_POWER: Final = 0x0A
MANUFACTURER: Final = 0xFF
SERVICE_UUIDS: Final = {0x02: 2, 0x03: 2, 0x04: 4, 0x05: 4, 0x06: 16, 0x07: 16}  # type -> bytes of each
SERVICE_DATA: Final = {0x16: 2, 0x20: 4, 0x21: 16}  # type -> bytes of the UUID in front
BASE_UUID_TAIL: Final = "-0000-1000-8000-00805f9b34fb"
REMEMBERED_MOST: Final = 1_024


@dataclass(slots=True)
class Payload:
    """What the structures of one payload say, in bleak's terms (UUIDs as lower-case 128-bit strings)."""

    local_name: str | None = None
    tx_power_dbm: int | None = None
    service_uuids: list[str] = field(default_factory=list)
    service_data: dict[str, bytes] = field(default_factory=dict)
    manufacturer_data: dict[int, bytes] = field(default_factory=dict)


def structures(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, data) of each structure; stops at a zero length or at one that does not fit."""
    at = 0
    while at < len(payload):
        length = payload[at]
        if length == 0 or at + 1 + length > len(payload):
            return
        yield payload[at + 1], payload[at + 2 : at + 1 + length]
        at += 1 + length


def decode(payload: bytes) -> Payload:
    """Read an advertising payload (at most 31 bytes on the legacy channels, 1650 extended)."""
    seen = Payload()
    for kind, data in structures(payload):
        if kind == COMPLETE_NAME or (kind == SHORTENED_NAME and seen.local_name is None):
            seen.local_name = data.decode("utf-8", errors="replace")
        elif kind == TX_POWER and len(data) == 1:
            seen.tx_power_dbm = int.from_bytes(data, "little", signed=True)
        elif (size := SERVICE_UUIDS.get(kind)) is not None:
            for start in range(0, len(data) - size + 1, size):
                each = uuid_text(data[start : start + size])
                if each not in seen.service_uuids:
                    seen.service_uuids.append(each)
        elif (size := SERVICE_DATA.get(kind)) is not None and len(data) >= size:
            seen.service_data[uuid_text(data[:size])] = data[size:]
        elif kind == MANUFACTURER and len(data) >= 2:
            seen.manufacturer_data[int.from_bytes(data[:2], "little")] = data[2:]
    return seen


@lru_cache(maxsize=REMEMBERED_MOST)
def remembered(payload: bytes) -> Payload:
    """Read as `decode` does, once for all who say the same: a beacon repeats itself for minutes. Not to be changed."""
    return decode(payload)


def uuid_text(little_endian: bytes) -> str:
    """Write a UUID of 2, 4 or 16 bytes, as sent, in the long lower-case form."""
    if len(little_endian) == 16:
        return str(UUID(bytes=little_endian[::-1]))
    return f"{int.from_bytes(little_endian, 'little'):08x}{BASE_UUID_TAIL}"
