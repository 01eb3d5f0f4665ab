"""What an adapter of locks in the house needs of the house: its one Bluetooth, and a book of keypad slots."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bleak import BleakClient


class Reach(Protocol):
    """The house's one Bluetooth, as far as an adapter needs it: edge/bridges/ble has it, and shares its scan."""

    def want(self, address: str) -> None:
        """Remember where this device is whenever it is heard."""
        ...

    def heard_ms_ago(self, address: str) -> int | None:
        """How long ago an advert of it was heard; None: never, or there is no radio now."""
        ...

    def client(self, address: str, on_lost: Callable[[], None]) -> "AbstractAsyncContextManager[BleakClient]":
        """Connect for the length of the block. Raises LinkLostError: no radio now, never heard, or not reached."""
        ...


@dataclass(frozen=True, slots=True)
class SlotKey:
    """What is to be in the slot of a grant: its PIN (None: the key is ending), if it is `made`. `doors`: its locks."""

    pin: str | None = field(repr=False)
    made: bool
    doors: tuple[str, ...]


class SlotBook(Protocol):
    """Which grant is in which keypad slot; every call is durable when it returns, or raises StoreFailedError."""

    def slots(self, system: str, lock: str) -> Mapping[int, str | None]:
        """Return slot > grant, None where it is known to be empty; a slot that is not in it is unknown."""
        ...

    def keep_slot(self, system: str, lock: str, slot: int, grant: str | None) -> None:
        """Write one line."""
        ...

    def slot_key(self, grant: str) -> SlotKey | None:
        """Return what is known of a grant's key; None: nothing, or it has ended."""
        ...
