"""The hotel's own memory: a file that outlives the emulator's process, as a PMS outlives its own restarts.

Written whole after each change and before the answer, so that nothing is lost that somebody was told.
"""

from pathlib import Path
from typing import Final

import msgspec

from cloud.pms.emulation.hotel import Hotel, Reservation, Resource
from kit.files import Disk, write_atomic
from protocols.errors import InvalidInputError, StoreFailedError

FORMAT: Final = 1


class _Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    lives: int
    """How many processes have had it."""
    reservations: dict[str, Reservation]
    resources: dict[str, Resource]
    customers: dict[str, dict[str, str | None]]


class Book:
    """One hotel's file.

    Args:
        disk: where.
        path: the file; made at the first change.

    Raises:
        InvalidInputError: it holds something else; names the file and the place in it.
        StoreFailedError: it cannot be read.
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk, self._path = disk, path
        self._page: _Page | None = None
        try:
            data = disk.read(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreFailedError(f"{path}: cannot be read: {error.strerror or error}") from error
        try:
            self._page = msgspec.json.decode(data, type=_Page)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInputError(str(path), f"is not a hotel's book: {error}") from error
        if self._page.v != FORMAT:
            raise InvalidInputError(str(path), f"is a book of format {self._page.v}; this emulator writes {FORMAT}")

    @property
    def lives(self) -> int:
        """How many processes have had it before this one: their dice must not fall again."""
        return 0 if self._page is None else self._page.lives

    def keep(self, hotel: Hotel) -> None:
        """Give `hotel` what stands in the book, if anything does; from now on write down each of its changes."""
        lives = self.lives + 1
        if self._page is not None:
            hotel.reservations = self._page.reservations
            hotel.resources = self._page.resources
            hotel.customers = self._page.customers

        def write() -> None:
            page = _Page(FORMAT, lives, hotel.reservations, hotel.resources, hotel.customers)
            write_atomic(self._disk, self._path, msgspec.json.encode(page))

        write()
        hotel.kept = write
