"""Watchlists as files: read at the start, and read again when the operator's job has put a newer one in their place.

CSV in UTF-8 with a heading; `id` and `surname` must be there, `given_names`, `birth_date` (YYYY-MM-DD) and
`nationality` (alpha-3) may be. A newer file that cannot be read changes nothing: the list held goes on, and the log
says so. A list of 200,000 names takes seconds to read: a thread does it, which steps back after every few names, and
meanwhile guests are screened against the list that is held. No check-in waits for a file.
"""

import asyncio
import csv
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

from cloud.checkin.screening import Hit, Listed, ListScreening, Person
from protocols.errors import InvalidInputError, LocalProtocolError

FILE_BYTES_MOST: Final = 64 * 1024 * 1024
ENTRIES_MOST: Final = 200_000
TEXT_MOST: Final = 200
LOOK_MS: Final = 60_000
"""How often the file is looked at."""
_KNOWN: Final = frozenset({"id", "surname", "given_names", "birth_date", "nationality"})


class FileScreening:
    """Screens against one file. `load` it before anybody is screened; `renew` it from time to time.

    Args:
        name: What the list is called in the evidence of a check-in.
        path: See the module.
        log: A structlog logger.
        breathe: Called after every few names, in the thread that reads: a short sleep there gives others the
            interpreter.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        log: Any,  # noqa: ANN401 - structlog
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        self._name, self._path, self._log, self._breathe = name, path, log, breathe
        self._seen: tuple[int, int, int] | None = None
        self._list: ListScreening | None = None

    async def load(self) -> None:
        """Read the file.

        Raises:
            InvalidInputError: it cannot be read: a service that was told to screen does not start without its list.
        """
        self._seen = await asyncio.to_thread(_state, self._path)
        self._list = await asyncio.to_thread(self._read)

    async def renew(self) -> None:
        """Look at the file, and read it if it is another one than the last time."""
        held = self._list
        try:
            if (seen := await asyncio.to_thread(_state, self._path)) == self._seen:
                return
            self._seen = seen  # of before it is read: one that comes meanwhile is another one the next time
            newer = await asyncio.to_thread(self._read)
        except InvalidInputError as error:
            self._log.error(
                "watchlist_not_renewed",
                list=self._name,
                error=str(error),
                entries_held=0 if held is None else len(held),
            )
            return
        self._list = newer
        self._log.info("watchlist_renewed", list=self._name, entries=len(newer))
        if held is not None:
            await asyncio.to_thread(held.close)

    def screen(self, person: Person) -> list[Hit]:
        """See the port; against what is held now."""
        if self._list is None:
            raise LocalProtocolError(f"watchlist {self._name}: screened before it was loaded")
        return self._list.screen(person)

    def _read(self) -> ListScreening:
        return ListScreening(self._name, entries_of(self._path), breathe=self._breathe)


async def keep_renewed(lists: Sequence[FileScreening]) -> None:
    """Look after lists for ever."""
    while True:
        await asyncio.sleep(LOOK_MS / 1_000)
        for each in lists:
            await each.renew()


def read_list(path: Path) -> list[Listed]:
    """Read a whole list. Raises as `entries_of`."""
    return list(entries_of(path))


def entries_of(path: Path) -> Iterator[Listed]:
    """Yield the entries of a list.

    Raises:
        InvalidInputError: naming the file, and the line and the value where one is wrong.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MOST:
            raise InvalidInputError(str(path), f"more than {FILE_BYTES_MOST} bytes are no list of ours")
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            heading = set(rows.fieldnames or ())
            if not {"id", "surname"} <= heading:
                raise InvalidInputError(f"{path}:1", f"want a heading with id and surname, of {sorted(_KNOWN)}")
            for number, row in enumerate(rows, 1):
                if number > ENTRIES_MOST:
                    raise InvalidInputError(str(path), f"has more than {ENTRIES_MOST} entries")
                yield _entry(row, f"{path}:{rows.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(str(path), f"no list: {error}") from error


def _entry(row: dict[str, str | None], place: str) -> Listed:
    told = {name: (row.get(name) or "").strip() for name in _KNOWN}
    for name in ("id", "surname"):
        if not told[name]:
            raise InvalidInputError(place, f"{name} is empty")
    for name, value in told.items():
        if len(value) > TEXT_MOST:
            raise InvalidInputError(place, f"{name} has {len(value)} characters; at most {TEXT_MOST}")
    born, nation = told["birth_date"], told["nationality"]
    if nation and not (len(nation) == 3 and nation.isascii() and nation.isalpha()):
        raise InvalidInputError(place, f"nationality {nation!r} is no three letters")
    try:
        birth_date = date.fromisoformat(born) if born else None
    except ValueError as error:
        raise InvalidInputError(place, f"birth_date {born!r} is no YYYY-MM-DD") from error
    return Listed(told["id"], told["surname"], told["given_names"], birth_date, nation.upper() or None)


def _state(path: Path) -> tuple[int, int, int]:
    try:
        told = path.stat()
    except OSError as error:
        raise InvalidInputError(str(path), f"no list: {error}") from error
    return told.st_mtime_ns, told.st_size, told.st_ino
