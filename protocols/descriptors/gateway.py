"""Adverts as a Bluetooth gateway publishes them: one JSON message an advert, raw.

Source of truth: SPEC.md section 7, after the Ruuvi Gateway's MQTT data format: `<base>/<gateway MAC>/<sensor MAC>`,
`{"gw_mac", "rssi", "gwts", "ts", "data": <hex>}`. Whatever gateway writes so is heard.
"""

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from protocols.descriptors.adverts import ADVERT_BYTES_MAX
from protocols.errors import PeerProtocolError

MESSAGE_BYTES_MAX: Final = 8 * 1024
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True, slots=True)
class Heard:
    """One advert. `gateway` and `mac` are lower case with colons; `at_s` is its clock, None if it has none."""

    gateway: str
    mac: str
    advert: bytes
    rssi_dbm: int | None
    at_s: int | None


class _Message(msgspec.Struct):
    data: str
    rssi: int | None = None
    ts: int | str | None = None


_MESSAGE: Final = msgspec.json.Decoder(_Message)


def read(base: str, topic: str, payload: bytes) -> Heard | None:
    """Return the advert of a message; None for a topic that carries none (the gateway's own status).

    Raises:
        PeerProtocolError: the topic says that it is an advert and the payload is none.
    """
    rest = topic.removeprefix(f"{base}/")
    gateway, slash, sensor = rest.partition("/")
    mac = sensor.lower()
    if rest == topic or not slash or _MAC.fullmatch(mac) is None:
        return None
    if len(payload) > MESSAGE_BYTES_MAX:
        raise PeerProtocolError(f"an advert in {len(payload)} bytes, at most {MESSAGE_BYTES_MAX} are read")
    try:
        message = _MESSAGE.decode(payload)
        if len(message.data) > 2 * ADVERT_BYTES_MAX:
            raise PeerProtocolError(f"{len(message.data) // 2} bytes of data: longer than any advert")
        advert = bytes.fromhex(message.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise PeerProtocolError(f"no advert: {error}") from error
    at = message.ts
    if isinstance(at, str):
        at = int(at) if at.isascii() and at.isdigit() and len(at) <= 12 else None
    return Heard(gateway.lower(), mac, advert, message.rssi, at if at is not None and 0 < at < 2**40 else None)


def message(advert: bytes, *, gateway: str, rssi_dbm: int, at_s: int) -> bytes:
    """Return the payload of an advert that a gateway heard."""
    return msgspec.json.encode(
        {
            "gw_mac": gateway.upper(),
            "rssi": rssi_dbm,
            "aoa": [],
            "gwts": str(at_s),
            "ts": str(at_s),
            "data": advert.hex().upper(),
            "coords": "",
        }
    )
