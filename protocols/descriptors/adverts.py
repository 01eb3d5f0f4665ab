"""What a sensor's Bluetooth advert says: bytes in, named fields out. One decoder for each published encoding.

Source of truth: SPEC.md section 7, which names each encoding's document. Advertisers are strangers: what does not fit
its encoding is no value, with the reason; nothing here raises for what was heard. Fields are in the units of SPEC.md.
"""

from collections.abc import Callable, Iterator, Mapping
from struct import unpack
from typing import Final

from protocols.descriptors.codec import Reason
from protocols.descriptors.sealed_adverts import BTHOME, Opened, open_bthome, open_mibeacon

Fields = dict[str, bool | int | float | None]
"""What an advert says, by the names that descriptors use as paths; None where the sensor says that it has no value."""

ADVERT_BYTES_MAX: Final = 1_650  # Core 5.4, Vol 6, Part B, 2.3.4.9: an extended advert
SERVICE_DATA_16: Final = 0x16
MANUFACTURER: Final = 0xFF
ENVIRONMENTAL_SENSING: Final = 0x181A
XIAOMI: Final = 0xFE95
RUUVI: Final = 0x0499
GOVEE: Final = 0xEC88
SEALED: Final = frozenset({"bthome_v2", "mibeacon"})
"""Encodings that know encryption."""

_Read = Callable[[bytes, str, bytes | None], Fields | Reason | None]
"""Service data, the sensor's address and its key."""


def decode(encoding: str, advert: bytes, *, mac: str = "", key: bytes | None = None) -> Fields | Reason | None:
    """Return what an advert says in an encoding, why it says nothing, or None if it is not of that encoding at all.

    Args:
        encoding: one of `BleAdvertWire.encoding`.
        advert: the advertising data: structures of length, type and value.
        mac: the sensor's address, six hexadecimal pairs and colons; an encrypted advert is bound to it.
        key: `sealed_adverts.KEY_BYTES` bytes, the sensor's; None: an encrypted advert stays closed.
    """
    if len(advert) > ADVERT_BYTES_MAX:
        return Reason.TOO_LONG
    kind, code, read = _DECODERS[encoding]
    for structure, data in structures(advert):
        if structure == kind and len(data) >= 2 and int.from_bytes(data[:2], "little") == code:
            found = read(data[2:], mac, key)
            if found is not None:
                return found
    return None


def structures(advert: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, data) of each structure; stops at a zero length or at one that does not fit."""
    at = 0
    while at + 1 < len(advert):
        length = advert[at]
        if length == 0 or at + 1 + length > len(advert):
            return
        yield advert[at + 1], advert[at + 2 : at + 1 + length]
        at += 1 + length


# --- BTHome v2 ---------------------------------------------------------------------------------------------------

_BOOLS: Final = {
    0x0F: "generic", 0x10: "power_on", 0x11: "opening", 0x15: "battery_low", 0x16: "battery_charging",
    0x17: "carbon_monoxide", 0x18: "cold", 0x19: "connectivity", 0x1A: "door", 0x1B: "garage_door",
    0x1C: "gas_detected",
    0x1D: "heat", 0x1E: "light", 0x1F: "lock", 0x20: "moisture_detected", 0x21: "motion", 0x22: "moving",
    0x23: "occupancy", 0x24: "plug", 0x25: "presence", 0x26: "problem", 0x27: "running", 0x28: "safety", 0x29: "smoke",
    0x2A: "sound", 0x2B: "tamper", 0x2C: "vibration", 0x2D: "window",
}  # fmt: skip
_NUMBERS: Final[Mapping[int, tuple[str, int, bool, int]]] = {
    # object id: name, bytes, signed, divisor
    0x00: ("packet_id", 1, False, 1), 0x01: ("battery", 1, False, 1), 0x02: ("temperature", 2, True, 100),
    0x03: ("humidity", 2, False, 100), 0x04: ("pressure", 3, False, 100), 0x05: ("illuminance", 3, False, 100),
    0x06: ("mass_kg", 2, False, 100), 0x07: ("mass_lb", 2, False, 100), 0x08: ("dewpoint", 2, True, 100),
    0x09: ("count", 1, False, 1), 0x0A: ("energy", 3, False, 1000), 0x0B: ("power", 3, False, 100),
    0x0C: ("voltage", 2, False, 1000), 0x0D: ("pm25", 2, False, 1), 0x0E: ("pm10", 2, False, 1),
    0x12: ("co2", 2, False, 1), 0x13: ("tvoc", 2, False, 1), 0x14: ("moisture", 2, False, 100),
    0x2E: ("humidity", 1, False, 1), 0x2F: ("moisture", 1, False, 1), 0x3A: ("button", 1, False, 1),
    0x3C: ("dimmer", 2, False, 1), 0x3D: ("count", 2, False, 1), 0x3E: ("count", 4, False, 1),
    0x3F: ("rotation", 2, True, 10), 0x40: ("distance_mm", 2, False, 1), 0x41: ("distance_m", 2, False, 10),
    0x42: ("duration", 3, False, 1000), 0x43: ("current", 2, False, 1000), 0x44: ("speed", 2, False, 100),
    0x45: ("temperature", 2, True, 10), 0x46: ("uv_index", 1, False, 10), 0x47: ("volume", 2, False, 10),
    0x48: ("volume_ml", 2, False, 1), 0x49: ("volume_flow", 2, False, 1000), 0x4A: ("voltage", 2, False, 10),
    0x4B: ("gas", 3, False, 1000), 0x4C: ("gas", 4, False, 1000), 0x4D: ("energy", 4, False, 1000),
    0x4E: ("volume", 4, False, 1000), 0x4F: ("water", 4, False, 1000), 0x50: ("timestamp", 4, False, 1),
    0x51: ("acceleration", 2, False, 1000),
    0x52: ("gyroscope", 2, False, 1000), 0x55: ("volume_storage", 4, False, 1000),
    0x56: ("conductivity", 2, False, 1), 0x57: ("temperature", 1, True, 1), 0x59: ("count", 1, True, 1),
    0x5A: ("count", 2, True, 1), 0x5B: ("count", 4, True, 1), 0x5C: ("power", 4, True, 100),
    0x5D: ("current", 2, True, 1000), 0x5E: ("direction", 2, False, 100), 0x5F: ("precipitation", 2, False, 10),
    0x58: ("temperature", 1, True, 1), 0x60: ("channel", 1, False, 1), 0x61: ("rotational_speed", 2, False, 1),
    0x62: ("speed", 4, True, 1_000_000), 0x63: ("acceleration", 4, True, 1_000_000), 0x64: ("light_level", 1, False, 1),
    0xF0: ("device_type", 2, False, 1), 0xF1: ("firmware", 4, False, 1),
    0xF2: ("firmware", 3, False, 1),
}  # fmt: skip
_STEPS: Final[Mapping[int, float]] = {0x58: 0.35}
"""Of those whose step is no fraction of one."""
_COUNTED: Final = (0x53, 0x54)  # text and raw: a length byte, then the bytes
_NUMBERED: Final = frozenset({"temperature", "humidity", "rotation", "button", "voltage", "current", "power", "count"})


def _bthome(data: bytes, mac: str, key: bytes | None) -> Fields | Reason | None:
    if not data or data[0] >> 5 != 2:
        return None  # another version of the encoding
    if not data[0] & 1:
        return _bthome_objects(data)
    if key is None:
        return Reason.ENCRYPTED
    opened = open_bthome(data, mac, key)
    return opened if isinstance(opened, Reason) else _numbered(opened, _bthome_objects(opened.plain))


def _bthome_objects(data: bytes) -> Fields | Reason:
    fields: Fields = {}
    at = 1
    while at < len(data):
        object_id = data[at]
        at += 1
        if object_id in _COUNTED:
            at += 1 + data[at] if at < len(data) else 1
            continue
        name: str
        value: bool | int | float
        if object_id in _BOOLS:
            name, size = _BOOLS[object_id], 1
            if at >= len(data):
                return Reason.TOO_SHORT
            value = data[at] != 0
        elif object_id in _NUMBERS:
            name, size, signed, divisor = _NUMBERS[object_id]
            if at + size > len(data):
                return Reason.TOO_SHORT
            raw = int.from_bytes(data[at : at + size], "little", signed=signed)
            value = raw if divisor == 1 else raw / divisor
            if (step := _STEPS.get(object_id)) is not None:
                value = round(raw * step, 2)
        else:
            break  # of an object that came later nobody here knows the length: what stood before it counts
        at += size
        turn = 2
        place = name
        while name in _NUMBERED and place in fields:  # a device may have several of a kind: in the order of the advert
            place, turn = f"{name}_{turn}", turn + 1
        fields[place] = value
    return fields


def _numbered(opened: Opened, found: Fields | Reason | None) -> Fields | Reason:
    """Return what an opened advert says, with its number; that alone if it says nothing that is known here."""
    return found if isinstance(found, Reason) else {**(found or {}), opened.counter_name: opened.counter}


# --- the others --------------------------------------------------------------------------------------------------


def _pvvx(data: bytes) -> Fields | Reason | None:
    if len(data) != 15:
        return None  # 13 bytes are atc1441's
    temperature, humidity, millivolt, battery, _, _ = unpack("<hHHBBB", data[6:])
    return {
        "temperature": temperature / 100,
        "humidity": humidity / 100,
        "voltage": millivolt / 1000,
        "battery": battery,
    }


def _atc1441(data: bytes) -> Fields | Reason | None:
    if len(data) != 13:
        return None
    temperature, humidity, battery, millivolt, _ = unpack(">hBBHB", data[6:])
    return {"temperature": temperature / 10, "humidity": humidity, "voltage": millivolt / 1000, "battery": battery}


def _ruuvi(data: bytes) -> Fields | Reason | None:
    if not data or data[0] != 5:
        return None
    if len(data) < 24:
        return Reason.TOO_SHORT
    temperature, humidity, pressure, x, y, z, power, movement, _ = unpack(">hHHhhhHBH", data[1:18])
    millivolt = power >> 5
    return {
        "temperature": None if temperature == -0x8000 else round(temperature * 0.005, 3),
        "humidity": None if humidity == 0xFFFF else round(humidity * 0.0025, 4),
        "pressure": None if pressure == 0xFFFF else (pressure + 50_000) / 100,
        "acceleration_x": None if x == -0x8000 else x / 1000,
        "acceleration_y": None if y == -0x8000 else y / 1000,
        "acceleration_z": None if z == -0x8000 else z / 1000,
        "voltage": None if millivolt == 0x7FF else (millivolt + 1600) / 1000,
        "movement": None if movement == 0xFF else movement,
    }


def _govee(data: bytes) -> Fields | Reason | None:
    if len(data) != 6:
        return None
    packed, battery = int.from_bytes(data[1:4], "big"), data[4]
    if battery & 0x80:
        return {"temperature": None, "humidity": None, "battery": battery & 0x7F}  # the probe's fault flag
    magnitude = packed & 0x7F_FFFF
    tenths = magnitude // 1000
    return {
        "temperature": (-tenths if packed & 0x80_0000 else tenths) / 10,
        "humidity": magnitude % 1000 / 10,
        "battery": battery,
    }


def _mibeacon(data: bytes, mac: str, key: bytes | None) -> Fields | Reason | None:
    if len(data) < 5:
        return Reason.TOO_SHORT
    control = int.from_bytes(data[:2], "little")
    if not control & 0x0040:
        return None  # it says only that it is there
    at = 5 + (6 if control & 0x0010 else 0)
    if control & 0x0020:
        if at >= len(data):
            return Reason.TOO_SHORT
        at += 3 if data[at] & 0x20 else 1
    if not control & 0x0008:
        return _mibeacon_objects(data[at:])
    if key is None:
        return Reason.ENCRYPTED
    opened = open_mibeacon(data, at, mac, key)
    return opened if isinstance(opened, Reason) else _numbered(opened, _mibeacon_objects(opened.plain))


def _mibeacon_objects(data: bytes) -> Fields | Reason | None:
    fields: Fields = {}
    at = 0
    while at < len(data):
        if at + 3 > len(data):
            return Reason.TOO_SHORT
        kind, size = int.from_bytes(data[at : at + 2], "little"), data[at + 2]
        value = data[at + 3 : at + 3 + size]
        if len(value) < size:
            return Reason.TOO_SHORT
        at += 3 + size
        match kind, size:
            case 0x1004, 2:
                fields["temperature"] = unpack("<h", value)[0] / 10
            case 0x1006, 2:
                fields["humidity"] = unpack("<H", value)[0] / 10
            case ((0x100A | 0x4803 | 0x4C03), 1):
                fields["battery"] = value[0]
            case 0x100D, 4:
                temperature, humidity = unpack("<hH", value)
                fields |= {"temperature": temperature / 10, "humidity": humidity / 10}
            case 0x4C01, 4:
                fields["temperature"] = round(unpack("<f", value)[0], 2)
            case 0x4C02, 1:
                fields["humidity"] = value[0]
            case 0x4C08, 4:
                fields["humidity"] = round(unpack("<f", value)[0], 2)
            case _:
                pass  # an object that no descriptor here speaks of
    return fields or None


def _plain(read: Callable[[bytes], Fields | Reason | None]) -> _Read:
    return lambda data, _mac, _key: read(data)


_DECODERS: Final[Mapping[str, tuple[int, int, _Read]]] = {
    "bthome_v2": (SERVICE_DATA_16, BTHOME, _bthome),
    "pvvx": (SERVICE_DATA_16, ENVIRONMENTAL_SENSING, _plain(_pvvx)),
    "atc1441": (SERVICE_DATA_16, ENVIRONMENTAL_SENSING, _plain(_atc1441)),
    "ruuvi_5": (MANUFACTURER, RUUVI, _plain(_ruuvi)),
    "govee_h5075": (MANUFACTURER, GOVEE, _plain(_govee)),
    "mibeacon": (SERVICE_DATA_16, XIAOMI, _mibeacon),
}
