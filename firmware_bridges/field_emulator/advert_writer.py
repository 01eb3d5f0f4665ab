"""Writes adverts as sensors do: fields in, advertising data out; the other direction of protocols/descriptors/adverts.

What an encoding cannot say is left out. Made from the encodings' documents (SPEC.md section 7 there), not from
the decoder.
"""

from collections.abc import Mapping
from struct import pack
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from protocols.errors import InvalidInputError

Fields = Mapping[str, bool | int | float]
FLAGS: Final = bytes((2, 0x01, 0x06))
_BTHOME: Final = {
    # field: object id, bytes, signed, factor; in ascending order of the ids, as the document asks
    "battery": (0x01, 1, False, 1), "temperature": (0x02, 2, True, 100), "humidity": (0x03, 2, False, 100),
    "pressure": (0x04, 3, False, 100), "illuminance": (0x05, 3, False, 100), "energy": (0x0A, 3, False, 1000),
    "power": (0x0B, 3, False, 100), "voltage": (0x0C, 2, False, 1000), "pm25": (0x0D, 2, False, 1),
    "co2": (0x12, 2, False, 1), "opening": (0x11, 1, False, 1), "door": (0x1A, 1, False, 1),
    "moisture_detected": (0x20, 1, False, 1), "motion": (0x21, 1, False, 1), "occupancy": (0x23, 1, False, 1),
    "window": (0x2D, 1, False, 1), "rotation": (0x3F, 2, True, 10),
}  # fmt: skip


def write(encoding: str, mac: str, fields: Fields, counter: int, *, key: bytes | None = None) -> list[bytes]:
    """Return the adverts in which a sensor says `fields`; some encodings need more than one.

    Args:
        encoding: one of `BleAdvertWire.encoding`.
        mac: the sensor's address, with colons.
        fields: in the units of the encoding's fields.
        counter: of adverts, for encodings that carry one.
        key: under which they are sealed, where the encoding knows that.
    """
    address = bytes.fromhex(mac.replace(":", ""))
    value = {name: float(each) for name, each in fields.items()}
    match encoding:
        case "bthome_v2":
            said = b"".join(_objects(value))
            if key is not None:
                number = counter.to_bytes(4, "little")
                whole = AESCCM(key, tag_length=4).encrypt(address + b"\xd2\xfc\x41" + number, said, None)
                return [_structure(0x16, b"\xd2\xfc\x41" + whole[:-4] + number + whole[-4:])]
            return [_structure(0x16, b"\xd2\xfc\x40" + said)]
        case "pvvx":
            body = pack(
                "<hHHBBB",
                round(value.get("temperature", 0) * 100),
                round(value.get("humidity", 0) * 100),
                round(value.get("voltage", 0) * 1000),
                round(value.get("battery", 0)),
                counter & 0xFF,
                0x05,
            )
            return [_structure(0x16, b"\x1a\x18" + address[::-1] + body)]
        case "atc1441":
            body = pack(
                ">hBBHB",
                round(value.get("temperature", 0) * 10),
                round(value.get("humidity", 0)),
                round(value.get("battery", 0)),
                round(value.get("voltage", 0) * 1000),
                counter & 0xFF,
            )
            return [_structure(0x16, b"\x1a\x18" + address + body)]
        case "ruuvi_5":
            body = pack(
                ">BhHHhhhHBH",
                5,
                round(value.get("temperature", 0) / 0.005),
                round(value.get("humidity", 0) / 0.0025),
                round(value.get("pressure", 1013.25) * 100) - 50_000,
                0,
                0,
                1000,
                (round(value.get("voltage", 3.0) * 1000) - 1600) << 5 | 22,
                round(value.get("movement", 0)) & 0xFF,
                counter & 0xFFFF,
            )
            return [_structure(0xFF, b"\x99\x04" + body + address)]
        case "govee_h5075":
            tenths = round(value.get("temperature", 0) * 10)
            packed = abs(tenths) * 1000 + round(value.get("humidity", 0) * 10)
            packed |= 0x80_0000 if tenths < 0 else 0
            battery = round(value.get("battery", 0))
            return [_structure(0xFF, b"\x88\xec\x00" + packed.to_bytes(3, "big") + bytes((battery, 0)))]
        case "mibeacon":
            climate = pack("<hH", round(value.get("temperature", 0) * 10), round(value.get("humidity", 0) * 10))
            objects = [b"\x0d\x10\x04" + climate, b"\x0a\x10\x01" + bytes((round(value.get("battery", 0)),))]
            if key is not None:
                return [_sealed_mibeacon(address, each, counter + turn, key) for turn, each in enumerate(objects)]
            head = b"\x95\xfe\x50\x20\xaa\x01"
            return [
                _structure(0x16, head + bytes((counter + turn & 0xFF,)) + address[::-1] + each)
                for turn, each in enumerate(objects)
            ]
        case _:
            raise InvalidInputError("encoding", f"{encoding!r} cannot be written")


def _objects(value: Mapping[str, float]) -> list[bytes]:
    objects = []
    for name, (object_id, size, signed, factor) in sorted(_BTHOME.items(), key=lambda each: each[1][0]):
        if name in value:
            raw = round(value[name] * factor)
            objects.append(bytes((object_id,)) + raw.to_bytes(size, "little", signed=signed))
    return objects


def _sealed_mibeacon(address: bytes, said: bytes, counter: int, key: bytes) -> bytes:
    number = counter.to_bytes(4, "little")
    who = b"\x5b\x05" + number[:1]
    whole = AESCCM(key, tag_length=4).encrypt(address[::-1] + who + number[1:], said, b"\x11")
    return _structure(0x16, b"\x95\xfe\x58\x58" + who + address[::-1] + whole[:-4] + number[1:] + whole[-4:])


def _structure(kind: int, data: bytes) -> bytes:
    return FLAGS + bytes((len(data) + 1, kind)) + data
