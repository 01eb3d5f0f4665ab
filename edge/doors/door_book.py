"""Which doors there are: the site plan's doors joined with their secrets, found by room, lock or advert.

Source of truth: protocols/device_model (site plan), protocols/door/SPEC.md 9 (doors.secrets.json).
"""

import json
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Final

from protocols.device_model.identity import DoorId, RoomId
from protocols.device_model.site_plan import SitePlan, parse
from protocols.door.advert import DoorKeys, fallback_id, fallback_key, keys_of
from protocols.door.identity import DoorSecrets, secrets_from_document
from protocols.errors import InvalidInputError

FILE_BYTES_MOST: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BookedDoor:
    """One door: where it is, how grants name it, and what is known of its lock."""

    door: DoorId
    room: RoomId
    number: int
    zones: int
    lock_id: bytes
    s_lock: bytes
    secrets: DoorSecrets

    @property
    def label(self) -> str:
        """What a guest reads."""
        return f"Room {self.room}" if self.number else str(self.door).replace("-", " ").capitalize()

    def keys(self, from_s: int, to_s: int) -> DoorKeys:
        """Return the lock's keys for the weeks around `from_s`..`to_s`."""
        return keys_of(self.lock_id, self.s_lock, self.secrets.eik_root, from_s, to_s)

    @property
    def fallback_id(self) -> bytes:
        """What its lock shows while it does not know the time."""
        return fallback_id(fallback_key(self.secrets.eik_root, self.lock_id))


class DoorBook:
    """All doors of the property. Immutable."""

    def __init__(self, property_id: str, doors: tuple[BookedDoor, ...], plant: frozenset[RoomId] = frozenset()) -> None:
        self.property_id, self.doors, self._plant = property_id, doors, plant
        self._by_lock = {each.lock_id: each for each in doors}

    @classmethod
    def of(cls, plan: SitePlan, secrets: dict[str, DoorSecrets], place: str) -> "DoorBook":
        """Join plan and secrets.

        Raises:
            InvalidInputError: a door without secrets, or two doors of one lock.
        """
        doors: list[BookedDoor] = []
        for door in plan.doors:
            if (known := secrets.get(door.id)) is None:
                raise InvalidInputError(place, f"no secrets for door {door.id!r} of the site plan")
            doors.append(
                BookedDoor(
                    door.id,
                    door.room,
                    door.number,
                    door.zones,
                    bytes.fromhex(door.lock),
                    bytes.fromhex(door.s_lock),
                    known,
                )
            )
        plant = frozenset(room.id for room in plan.rooms if room.kind == "plant")
        return cls(plan.property.id, tuple(doors), plant)

    @classmethod
    def read(cls, site_plan_path: Path, secrets_path: Path) -> "DoorBook":
        """Read both files.

        Raises:
            InvalidInputError: names the file and what is wrong in it; also when others may read the secrets.
        """
        plan = parse(read_file(site_plan_path), str(site_plan_path))
        secrets = secrets_from_document(read_secret_json(secrets_path), str(secrets_path))
        return cls.of(plan, secrets, str(secrets_path))

    def by_lock(self, lock_id: bytes) -> BookedDoor | None:
        """Return the door that has this lock."""
        return self._by_lock.get(lock_id)

    def of_room(self, room: RoomId) -> tuple[BookedDoor, ...]:
        """Return the private doors of a room."""
        return tuple(each for each in self.doors if each.room == room and each.number)

    def of_numbers(self, numbers: frozenset[int]) -> tuple[BookedDoor, ...]:
        """Return the private doors with these room numbers."""
        return tuple(each for each in self.doors if each.number in numbers and each.number)

    def of_zones(self, zones: int) -> tuple[BookedDoor, ...]:
        """Return the common doors that any bit of `zones` opens."""
        return tuple(each for each in self.doors if each.zones & zones)

    @property
    def all_zones(self) -> int:
        """Every zone that a common door of the property belongs to."""
        return reduce(or_, (each.zones for each in self.doors), 0)

    @property
    def plant_zones(self) -> int:
        """The zones that open a door of a plant room: no guest's key has one, whatever else it opens."""
        return reduce(or_, (each.zones for each in self.doors if each.room in self._plant), 0)

    @property
    def guest_zones(self) -> int:
        """The zones of a guest's key: those that open the places that are everybody's, and those alone."""
        return self.all_zones & ~self.plant_zones

    @property
    def closed_to_guests(self) -> tuple[BookedDoor, ...]:
        """The common doors outside plant rooms that no guest's key opens: they have no zone of their own."""
        return tuple(
            each
            for each in self.doors
            if each.zones and each.room not in self._plant and not each.zones & self.guest_zones
        )


def read_file(path: Path) -> bytes:
    """Return the file's bytes. Raises InvalidInputError naming it."""
    try:
        if path.stat().st_size > FILE_BYTES_MOST:
            raise InvalidInputError(str(path), f"larger than {FILE_BYTES_MOST} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error


def read_secret_json(path: Path) -> object:
    """Return the JSON document of a file that only its owner may read.

    Raises:
        InvalidInputError: unreadable, not JSON, or its mode lets others read it.
    """
    data = read_file(path)
    if path.stat().st_mode & 0o077:
        raise InvalidInputError(str(path), "others may read this secret; set its mode to 0600")
    try:
        document: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(str(path), "not JSON") from error
    return document
