"""The adapter to August and Yale locks by Bluetooth from its settings, and the file that names the locks."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from edge.doors.vendors.port import LockSystem
from edge.doors.vendors.reach import Reach, SlotBook, SlotKey
from edge.doors.vendors.settings import LockSystemSettings
from kit.clock import Clock
from protocols.errors import InvalidInputError, LinkLostError, StoreFailedError

if TYPE_CHECKING:
    from bleak import BleakClient

KEY_BYTES: Final = 16


class LockEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One lock of `locks_path`, a JSON object of door > this: address, offline key in hexadecimal, the key's slot."""

    address: Annotated[str, msgspec.Meta(pattern=r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$")]
    key: Annotated[str, msgspec.Meta(pattern=r"^([0-9A-Fa-f]{2}){16}$")]
    key_slot: Annotated[int, msgspec.Meta(ge=0, le=255)]


def august_ble(
    settings: LockSystemSettings, clock: Clock, reach: Reach | None, slot_book: SlotBook | None, told: bytes
) -> LockSystem:
    """Return the adapter.

    Args:
        settings: Of kind `august_ble`.
        clock: For the hours that the locks do not keep.
        reach: The house's Bluetooth; None: nothing is reached.
        slot_book: Which grant is in which slot; None: nothing can be written.
        told: What is in `locks_path`.

    Raises:
        InvalidInputError: the file says something else, or the library is not installed.
    """
    try:
        from edge.doors.vendors.august_ble import AugustBle, BleLock
    except ModuleNotFoundError as error:
        raise InvalidInputError("lock_systems", f"{error}: install innkeeper[locks]") from error
    path = str(settings.locks_path)
    try:
        entries = msgspec.json.decode(told, type=dict[str, LockEntry])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # not the decoder's words: they may quote a key
        raise InvalidInputError(path, 'is not {"door": {"address": ..., "key": 32 digits, "key_slot": ...}}') from None
    if missing := sorted({door for doors in settings.doors.values() for door in doors} - entries.keys()):
        raise InvalidInputError(path, f"has no lock {missing[0]!r}, which {settings.name!r} names")
    addresses = sorted(each.address.upper() for each in entries.values())
    if twice := [one for one, other in pairwise(addresses) if one == other]:
        raise InvalidInputError(path, f"two locks have the address {twice[0]}")
    first, last = settings.slots or (1, 1)
    return AugustBle(
        settings.name,
        locks={
            door: BleLock(each.address.upper(), bytes.fromhex(each.key), each.key_slot)
            for door, each in entries.items()
        },
        slots=range(first, last + 1),
        reach=reach or NoReach(),
        book=slot_book or NoBook(),
        clock=clock,
    )


class NoReach:
    """Stands where no Bluetooth was handed in: settings are checked, and nothing is reached."""

    def want(self, address: str) -> None:
        """Nobody listens."""

    def heard_ms_ago(self, address: str) -> int | None:  # noqa: ARG002 - as the port has it
        """Never."""
        return None

    def client(self, address: str, on_lost: Callable[[], None]) -> "AbstractAsyncContextManager[BleakClient]":  # noqa: ARG002 - as the port has it
        """Refuse."""
        raise LinkLostError(f"{address}: this program has no Bluetooth")


class NoBook:
    """Stands where no book was handed in: nothing is known, and nothing can be kept."""

    def slots(self, system: str, lock: str) -> Mapping[int, str | None]:  # noqa: ARG002 - as the port has it
        """Nothing is known."""
        return {}

    def keep_slot(self, system: str, lock: str, slot: int, grant: str | None) -> None:  # noqa: ARG002 - as the port has it
        """Refuse."""
        raise StoreFailedError(f"{system}: no book of keypad slots")

    def slot_key(self, grant: str) -> SlotKey | None:  # noqa: ARG002 - as the port has it
        """Nothing is known."""
        return None
