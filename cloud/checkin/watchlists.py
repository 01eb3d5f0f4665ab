"""Watchlists as files: read at the start, and read again when the operator's job has put a newer one in their place.

CSV in UTF-8 with a heading; `id` and `surname` must be there, `given_names`, `birth_date` (YYYY-MM-DD) and
`nationality` (alpha-3) may be. A newer file that cannot be read changes nothing: the list held goes on, and the log
says so.
"""

import csv
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Final

from cloud.checkin.screening import Hit, Listed, ListScreening, Person
from protocols.errors import InvalidInputError

FILE_BYTES_MOST: Final = 64 * 1024 * 1024
ENTRIES_MOST: Final = 200_000
TEXT_MOST: Final = 200
LOOK_MS: Final = 60_000
"""How often the file is looked at, at most."""
_KNOWN: Final = frozenset({"id", "surname", "given_names", "birth_date", "nationality"})


class FileScreening:
    """Screens against one file.

    Args:
        name: What the list is called in the evidence of a check-in.
        path: See the module.
        now_ms: Monotonic milliseconds.
        log: A structlog logger.

    Raises:
        InvalidInputError: the file cannot be read: a service that was told to screen does not start without its list.
    """

    def __init__(self, name: str, path: Path, *, now_ms: Callable[[], int], log: Any) -> None:  # noqa: ANN401 - structlog
        self._name, self._path, self._now_ms, self._log = name, path, now_ms, log
        self._seen = _state(path)
        self._list = ListScreening(name, read_list(path))
        self._looked_ms = now_ms()

    def screen(self, person: Person) -> list[Hit]:
        """See the port."""
        self._renew()
        return self._list.screen(person)

    def _renew(self) -> None:
        if self._now_ms() - self._looked_ms < LOOK_MS:
            return
        self._looked_ms = self._now_ms()
        try:
            if (seen := _state(self._path)) == self._seen:
                return
            self._seen = seen
            self._list = ListScreening(self._name, read_list(self._path))
        except InvalidInputError as error:
            self._log.error("watchlist_not_renewed", list=self._name, error=str(error), entries_held=len(self._list))
            return
        self._log.info("watchlist_renewed", list=self._name, entries=len(self._list))


def read_list(path: Path) -> list[Listed]:
    """Read a list.

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
            entries = [_entry(row, f"{path}:{rows.line_num}") for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(str(path), f"no list: {error}") from error
    if len(entries) > ENTRIES_MOST:
        raise InvalidInputError(str(path), f"{len(entries)} entries; at most {ENTRIES_MOST}")
    return entries


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
