"""What a lock is: its id, its keys, its room, whom it believes. Made once at provisioning, secret from then on.

Source of truth: SPEC.md section 9 (documents). The lock holds no property-wide secret: its own keys, and public keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from protocols.door.advert import EIK_BYTES, DoorKeys, keys_of
from protocols.errors import InvalidInputError, PeerProtocolError
from protocols.grant.keys import (
    PropertyCa,
    Random,
    compressed,
    kid_of,
    private_key,
    private_key_from_hex,
    private_key_hex,
    public_key,
)

LOCK_ID_BYTES: Final = 8
CA_KEYS_MOST: Final = 2
"""Two generations of the property CA, for rotation."""


@dataclass(frozen=True, slots=True, repr=False)
class LockIdentity:
    """A lock's unchanging part. `room` 0 means none (a common door); `zones` is a 64-bit mask."""

    lock_id: bytes
    room: int
    zones: int
    static: ec.EllipticCurvePrivateKey
    eik_root: bytes
    audit: ec.EllipticCurvePrivateKey
    ca_points: tuple[bytes, ...]
    seal_point: bytes
    s_lock: bytes = field(init=False, compare=False)
    """The static public key, compressed, 33 bytes: `s_lock` of the site plan. Made once: it is in every transcript."""
    ca_keys: Mapping[bytes, ec.EllipticCurvePublicKey] = field(init=False, compare=False)
    """The property CA keys believed, by key id. Decoded once: every certificate is held against them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "s_lock", compressed(self.static.public_key()))
        keys = [public_key(point) for point in self.ca_points]
        object.__setattr__(self, "ca_keys", MappingProxyType({kid_of(key): key for key in keys}))

    @property
    def audit_point(self) -> bytes:
        """The public key that checkpoints verify under, compressed."""
        return compressed(self.audit.public_key())

    @property
    def seal_key(self) -> ec.EllipticCurvePublicKey:
        """The key that audit records are sealed to."""
        return public_key(self.seal_point)

    def door_keys(self, from_s: int, to_s: int) -> DoorKeys:
        """Return what a bundle would hold of this lock for `from_s`..`to_s`."""
        return keys_of(self.lock_id, self.s_lock, self.eik_root, from_s, to_s)

    def to_document(self) -> dict[str, object]:
        """Return the lock's secret file as a JSON object, version 1."""
        return {
            "v": 1,
            "lock": self.lock_id.hex(),
            "room": self.room,
            "zones": self.zones,
            "static_private": private_key_hex(self.static),
            "eik_root": self.eik_root.hex(),
            "audit_private": private_key_hex(self.audit),
            "ca_public": [point.hex() for point in self.ca_points],
            "seal_public": self.seal_point.hex(),
        }

    @classmethod
    def from_document(cls, document: object, place: str) -> "LockIdentity":
        """Read what `to_document` wrote; other keys (a label, an emulator's knobs) are left alone.

        Raises:
            InvalidInputError: names `place` and the field, never a secret.
        """
        match document:
            case {
                "v": 1,
                "lock": str() as lock,
                "room": int() as room,
                "zones": int() as zones,
                "static_private": str() as static,
                "eik_root": str() as eik_root,
                "audit_private": str() as audit,
                "ca_public": [*ca_points],
                "seal_public": str() as seal,
            }:
                pass
            case _:
                raise InvalidInputError(place, "not a lock identity of version 1")
        if not 0 <= room <= 0xFFFF or not 0 <= zones < 2**64 or (room == 0) == (zones == 0):
            raise InvalidInputError(place, f"room {room} and zones {zones}: exactly one of them names the door")
        if not 1 <= len(ca_points) <= CA_KEYS_MOST:
            raise InvalidInputError(f"{place}: ca_public", f"{len(ca_points)} keys, 1 to {CA_KEYS_MOST} are believed")
        return cls(
            lock_id=sized(lock, LOCK_ID_BYTES, f"{place}: lock"),
            room=room,
            zones=zones,
            static=private_key_from_hex(static, f"{place}: static_private"),
            eik_root=sized(eik_root, EIK_BYTES, f"{place}: eik_root"),
            audit=private_key_from_hex(audit, f"{place}: audit_private"),
            ca_points=tuple(point(each, f"{place}: ca_public") for each in ca_points),
            seal_point=point(seal, f"{place}: seal_public"),
        )


def generate_lock(
    random: Random,
    *,
    ca: ec.EllipticCurvePublicKey,
    seal: ec.EllipticCurvePublicKey,
    room: int = 0,
    zones: int = 0,
) -> LockIdentity:
    """Make a lock's id and keys.

    Args:
        random: Dice, n -> n bytes.
        ca: The property's CA key (`PropertyCa.ca.public_key()`).
        seal: The property's sealing key (`PropertyCa.seal.public_key()`).
        room: Room number 1..65535, 0 for a common door.
        zones: 64-bit zone mask of a common door, 0 for a room.

    Raises:
        InvalidInputError: both or neither of room and zones.
    """
    if not 0 <= room <= 0xFFFF or not 0 <= zones < 2**64 or (room == 0) == (zones == 0):
        raise InvalidInputError("lock", f"room {room} and zones {zones}: exactly one of them names the door")
    return LockIdentity(
        lock_id=random(LOCK_ID_BYTES),
        room=room,
        zones=zones,
        static=private_key(random),
        eik_root=random(EIK_BYTES),
        audit=private_key(random),
        ca_points=(compressed(ca),),
        seal_point=compressed(seal),
    )


def generate_lock_for(ca: PropertyCa, random: Random, *, room: int = 0, zones: int = 0) -> LockIdentity:
    """Make a lock of the property whose CA file is `ca`."""
    return generate_lock(random, ca=ca.ca.public_key(), seal=ca.seal.public_key(), room=room, zones=zones)


def with_next_ca(lock: LockIdentity, ca: ec.EllipticCurvePublicKey) -> LockIdentity:
    """Return `lock` believing the next CA generation too, and no older than the current one."""
    return replace(lock, ca_points=(lock.ca_points[-1], compressed(ca)))


@dataclass(frozen=True, slots=True, repr=False)
class DoorSecrets:
    """What the doors process holds of one lock beyond the site plan: its EIK root and its audit public key."""

    eik_root: bytes
    audit_point: bytes

    def to_document(self) -> dict[str, str]:
        """Return the lock's entry of doors.secrets.json."""
        return {"eik_root": self.eik_root.hex(), "audit_public": self.audit_point.hex()}


def secrets_of(lock: LockIdentity) -> DoorSecrets:
    """Return what the doors process needs of `lock`."""
    return DoorSecrets(lock.eik_root, lock.audit_point)


def secrets_document(secrets: Mapping[str, DoorSecrets]) -> dict[str, object]:
    """Return doors.secrets.json as a JSON object: door id to secrets. Write it with mode 0600."""
    return {"v": 1, "doors": {door: each.to_document() for door, each in secrets.items()}}


def secrets_from_document(document: object, place: str) -> dict[str, DoorSecrets]:
    """Read doors.secrets.json.

    Raises:
        InvalidInputError: names `place`, the door and the field, never a secret.
    """
    match document:
        case {"v": 1, "doors": dict() as doors, **rest} if not rest:
            pass
        case _:
            raise InvalidInputError(place, "not a door secrets file of version 1")
    read: dict[str, DoorSecrets] = {}
    for door, entry in doors.items():
        match entry:
            case {"eik_root": str() as eik_root, "audit_public": str() as audit, **rest} if not rest:
                read[str(door)] = DoorSecrets(
                    sized(eik_root, EIK_BYTES, f"{place}: {door}: eik_root"),
                    point(audit, f"{place}: {door}: audit_public"),
                )
            case _:
                raise InvalidInputError(f"{place}: {door}", "not {eik_root, audit_public}")
    return read


def sized(text: object, size: int, place: str) -> bytes:
    """Return the bytes that the hex digits `text` spell.

    Raises:
        InvalidInputError: not that many; names `place`, never the value.
    """
    try:
        data = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        data = b""
    if len(data) != size:
        raise InvalidInputError(place, f"not {2 * size} hex digits")
    return data


def point(text: object, place: str) -> bytes:
    """Return the compressed P-256 point that the hex digits `text` spell.

    Raises:
        InvalidInputError: not one.
    """
    data = sized(text, 33, place)
    try:
        public_key(data)
    except PeerProtocolError as error:
        raise InvalidInputError(place, "not a compressed P-256 public key") from error
    return data
