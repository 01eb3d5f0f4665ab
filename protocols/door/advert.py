"""Adverts that name a door to those who hold its keys and nothing to anybody else.

Source of truth: SPEC.md section 3. The id rotates every 512 s after Eddystone-EID; its key every week, so that a bundle
holds only the weeks of the stay. A lock that lost its clock shows a fixed fallback id until it has time again.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocols.errors import PeerProtocolError, UnsupportedVersionError

SERVICE_UUID: Final = "1d9c5e00-7a4b-4c63-9e0f-6b0a86f4d2c1"
TX_UUID: Final = "1d9c5e01-7a4b-4c63-9e0f-6b0a86f4d2c1"
"""Phone to lock: write and write without response, one frame a write."""
RX_UUID: Final = "1d9c5e02-7a4b-4c63-9e0f-6b0a86f4d2c1"
"""Lock to phone: notify, one frame a notification; read returns the frame notified last."""

VERSION: Final = 1
ROTATION_BITS: Final = 9
SLOT_S: Final = 1 << ROTATION_BITS
SLOTS_AROUND: Final = 2
WEEK_S: Final = 7 * 86_400
EID_BYTES: Final = 8
EIK_BYTES: Final = 16
ADVERT_BYTES: Final = 10

_LABEL: Final = b"innkeeper/door/1 "
_SHA256: Final = hashes.SHA256()


class AdvertBit(IntFlag):
    """Status bits of the advert: the lower half of their byte."""

    BATTERY_LOW = 1
    TIME_UNCERTAIN = 2
    WANTS_SYNC = 4
    PRIVACY_ON = 8


@dataclass(frozen=True, slots=True)
class Advert:
    """The service data of one advert. `channel` is the offset of the lock's L2CAP port, 0 to 15; 0: it has none."""

    eid: bytes
    bits: AdvertBit
    channel: int = 0

    def encode(self) -> bytes:
        """Return the 10 bytes of service data: version, id, status bits and port offset."""
        return bytes([VERSION]) + self.eid + bytes([self.bits | self.channel << 4])

    @classmethod
    def decode(cls, data: bytes) -> "Advert":
        """Read service data.

        Raises:
            PeerProtocolError: wrong length. UnsupportedVersionError: another version.
        """
        if not data:
            raise PeerProtocolError("empty door advert")
        if data[0] != VERSION:
            raise UnsupportedVersionError("door advert", data[0], (VERSION,))
        if len(data) != ADVERT_BYTES:
            raise PeerProtocolError(f"door advert of {len(data)} bytes, not {ADVERT_BYTES}")
        return cls(data[1:9], AdvertBit(data[9] & 0x0F), data[9] >> 4)


def derive(secret: bytes, salt: bytes, purpose: bytes, size: int) -> bytes:
    """Return `size` bytes of HKDF-SHA256 over `secret`, for the named purpose."""
    return HKDF(_SHA256, size, salt, _LABEL + purpose).derive(secret)


def week_of(at_s: int) -> int:
    """Return the week number (of 604800 s since 1970) of a unix time."""
    return at_s // WEEK_S


def weekly_eik(eik_root: bytes, lock_id: bytes, week: int) -> bytes:
    """Return the 16-byte advert key of one week."""
    return derive(eik_root, lock_id, b"eik" + week.to_bytes(4, "big"), EIK_BYTES)


def fallback_key(eik_root: bytes, lock_id: bytes) -> bytes:
    """Return the 16-byte key that stands in for the weekly one while the lock has no certain time."""
    return derive(eik_root, lock_id, b"fallback", EIK_BYTES)


def fallback_id(fallback: bytes) -> bytes:
    """Return the fixed id a lock without certain time shows."""
    return hmac.digest(fallback, b"id", "sha256")[:EID_BYTES]


def eid(eik: bytes, at_s: int) -> bytes:
    """Return the 8-byte id shown at `at_s` under the weekly key `eik` (Eddystone-EID, K = 9)."""
    counter = at_s & 0xFFFFFFFF
    temporary = _aes(eik, bytes(11) + b"\xff" + bytes(2) + counter.to_bytes(4, "big")[:2])
    rounded = counter >> ROTATION_BITS << ROTATION_BITS
    return _aes(temporary, bytes(11) + bytes([ROTATION_BITS]) + rounded.to_bytes(4, "big"))[:EID_BYTES]


@dataclass(frozen=True, slots=True, repr=False)
class DoorKeys:
    """What a phone (from its bundle) or the edge (from the root) knows of one lock.

    `s_lock` is the lock's static public key, compressed; `eik_by_week` its advert keys of the weeks in question.
    """

    lock_id: bytes
    s_lock: bytes
    eik_by_week: Mapping[int, bytes]
    fallback: bytes

    def ids_around(self, at_s: int) -> set[bytes]:
        """Return the ids by which this lock may be recognised at `at_s`: 2 slots each way, and the fallback id.

        A slot in which a week ends has two: the lock changes its key when its own clock says so, not when ours does.
        """
        ids = {fallback_id(self.fallback)}
        for slot in range(-SLOTS_AROUND, SLOTS_AROUND + 1):
            begins_s = (at_s // SLOT_S + slot) * SLOT_S
            for week in {week_of(begins_s), week_of(begins_s + SLOT_S - 1)}:
                if (eik := self.eik_by_week.get(week)) is not None:
                    ids.add(eid(eik, begins_s))
        return ids


def keys_of(lock_id: bytes, s_lock: bytes, eik_root: bytes, from_s: int, to_s: int) -> DoorKeys:
    """Return the door keys for the weeks that touch `from_s`..`to_s`, a day to each side for drifting clocks."""
    weeks = range(week_of(max(from_s - 86_400, 0)), week_of(to_s + 86_400) + 1)
    return DoorKeys(
        lock_id,
        s_lock,
        {week: weekly_eik(eik_root, lock_id, week) for week in weeks},
        fallback_key(eik_root, lock_id),
    )


def recognise(advert: Advert, doors: Iterable[DoorKeys], at_s: int) -> DoorKeys | None:
    """Return which of `doors` shows `advert` at `at_s`, or None."""
    for door in doors:
        if advert.eid in door.ids_around(at_s):
            return door
    return None


def gate_key(advert_key: bytes, lock_id: bytes, lock_time_s: int) -> bytes:
    """Return the daily gate key: from the weekly key, or the fallback key while the lock's time is uncertain."""
    return derive(advert_key, lock_id, b"gate" + (lock_time_s // 86_400).to_bytes(4, "big"), 32)


def gate_tag(key: bytes, nonce: bytes, e_phone: bytes) -> bytes:
    """Return the 4 bytes that spare the lock the public-key work for those who do not hold its keys."""
    return hmac.new(key, nonce + e_phone, hashlib.sha256).digest()[:4]


def _aes(key: bytes, block: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - one block, as Eddystone has it
    return encryptor.update(block) + encryptor.finalize()
