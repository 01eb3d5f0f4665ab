"""Opens what a sensor advertises under its key: AES-CCM, four bytes of proof, and a number that tells old from new.

Source of truth: SPEC.md section 7. BTHome v2: bthome.io/encryption. MiBeacon: MiEcosystem/miio_open, "02 BLE MiBeacon"
(fields, frame control) and MiEcosystem/mijia_ble_standard (nonce; in version 5 the number is one of 32 bits, kept
through a change of batteries). Version 4 fills three of its four bytes at random: what is left goes round every 256.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from protocols.descriptors.codec import Reason

KEY_BYTES: Final = 16
BTHOME: Final = 0xFCD2
COUNTER: Final = "encryption_counter"
"""The field of an opened advert that rises from one to the next: an older one is somebody's recording."""
SHORT_COUNTER: Final = "encryption_counter_short"
"""The same in eight bits, which go round."""
_MIC_BYTES: Final = 4
_BTHOME_COUNTER_BYTES: Final = 4
_MIBEACON_EXTENSION_BYTES: Final = 3
_MIBEACON_AAD: Final = b"\x11"
_SHORT_ROUND: Final = 256


@dataclass(frozen=True, slots=True)
class Opened:
    """What stood behind the key, and the advert's number."""

    plain: bytes
    counter: int
    counter_name: str = COUNTER


def open_bthome(data: bytes, mac: str, key: bytes) -> Opened | Reason:
    """Open device information, ciphertext, counter and proof; `plain` begins with the information, its bit 0 clear."""
    end = len(data) - _BTHOME_COUNTER_BYTES - _MIC_BYTES
    if end < 1:
        return Reason.TOO_SHORT
    counter = data[end : end + _BTHOME_COUNTER_BYTES]
    nonce = _address(mac) + BTHOME.to_bytes(2, "little") + data[:1] + counter
    plain = _decrypt(key, nonce, data[1:end] + data[-_MIC_BYTES:], None)
    if plain is None:
        return Reason.WRONG_KEY
    return Opened(bytes((data[0] & ~1,)) + plain, int.from_bytes(counter, "little"))


def open_mibeacon(data: bytes, objects_at: int, mac: str, key: bytes) -> Opened | Reason:
    """Open the objects of a MiBeacon of version 4 or 5, which begin at `objects_at` of its service data.

    Versions before have keys of twelve bytes and another seal: they stay `encrypted`.
    """
    version = data[1] >> 4
    if version not in (4, 5):
        return Reason.ENCRYPTED
    end = len(data) - _MIBEACON_EXTENSION_BYTES - _MIC_BYTES
    if end <= objects_at:
        return Reason.TOO_SHORT
    extension = data[end : end + _MIBEACON_EXTENSION_BYTES]
    nonce = _address(mac)[::-1] + data[2:5] + extension
    plain = _decrypt(key, nonce, data[objects_at:end] + data[-_MIC_BYTES:], _MIBEACON_AAD)
    if plain is None:
        return Reason.WRONG_KEY
    if version == 4:
        return Opened(plain, data[4], SHORT_COUNTER)
    return Opened(plain, int.from_bytes(data[4:5] + extension, "little"))


def is_older(counter: int, before: int, *, short: bool) -> bool:
    """Say whether an advert's number stands before another one; of short ones, which is the shorter way round."""
    if short:
        return 0 < (before - counter) % _SHORT_ROUND < _SHORT_ROUND // 2
    return counter < before


def _address(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _decrypt(key: bytes, nonce: bytes, sealed: bytes, associated: bytes | None) -> bytes | None:
    try:
        return AESCCM(key, tag_length=_MIC_BYTES).decrypt(nonce, sealed, associated)
    except (InvalidTag, ValueError):  # ValueError: no address, no nonce
        return None
