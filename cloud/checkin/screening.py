"""Watchlist screening behind a port: a match is a review for a person, never a refusal by a machine (SEC-16).

Names are compared as protocols/travel_document compares them. The list is handed in; where it comes from, how often
it is renewed and whether it may be used is the operator's.
"""

import sqlite3
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Protocol

from protocols.errors import InvalidInputError
from protocols.travel_document.names import Agreement, agreement, near, words_of

ENTRIES_A_BREATH: Final = 25
"""After so many entries whoever reads or indexes a list lets others have their turn."""


_TABLES: Final = """
    CREATE TABLE entry (number INTEGER PRIMARY KEY, id TEXT, surname TEXT, given_names TEXT, birth_date TEXT,
                        nationality TEXT);
    CREATE TABLE word (word TEXT, number INTEGER, PRIMARY KEY (word, number)) WITHOUT ROWID;
    CREATE TABLE ending (ending TEXT, word TEXT, PRIMARY KEY (ending, word)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Person:
    """Who is screened."""

    surname: str
    given_names: str
    birth_date: date | None
    nationality: str | None


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that may be this person: which one, and what agreed. Holds no name."""

    list_name: str
    entry: str
    agrees: tuple[str, ...]


class Screening(Protocol):
    """What check-in needs of a watchlist."""

    def screen(self, person: Person) -> Sequence[Hit]:
        """Return the entries that may be this person, the closest first."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a list; what the list does not tell is None."""

    id: str
    surname: str
    given_names: str
    birth_date: date | None = None
    nationality: str | None = None


class ListScreening:
    """Screens against one list, by an index of its words: lists have tens of thousands of names.

    The index is an SQLite database in memory: it is made outside the interpreter's lock for the most part, leaves
    nothing for the garbage collector to walk, and is gone at once.
    """

    def __init__(self, name: str, entries: Iterable[Listed], *, breathe: Callable[[], None] = lambda: None) -> None:
        """Screen against `entries` of the list called `name`; `breathe` is called while it is indexed."""
        self._name, self._count = name, 0
        self._surname_alone: set[int] = set()
        self._index = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self.close: Callable[[], object] = weakref.finalize(self, self._index.close)
        """Let the index go; nobody is screened against it any more."""
        self._index.executescript(_TABLES)
        with self._index:
            self._index.execute("BEGIN")
            for entry in entries:
                if self._count % ENTRIES_A_BREATH == 0:
                    breathe()
                self._add(self._count, entry)
                self._count += 1

    def _add(self, number: int, entry: Listed) -> None:
        surname, given = _words(entry.surname), _words(entry.given_names)
        if not given:
            self._surname_alone.add(number)
        born = None if entry.birth_date is None else entry.birth_date.isoformat()
        self._index.execute(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)",
            (number, entry.id, entry.surname, entry.given_names, born, entry.nationality),
        )
        words = surname | given
        self._index.executemany("INSERT INTO word VALUES (?, ?)", [(word, number) for word in words])
        self._index.executemany(
            "INSERT OR IGNORE INTO ending VALUES (?, ?)", [(end, word) for word in words for end in _ends(word)]
        )

    def __len__(self) -> int:
        return self._count

    def screen(self, person: Person) -> list[Hit]:
        """Return possible matches: the name agrees at least nearly, and no date of birth speaks against it.

        A nationality that differs speaks against nobody: people have several, and lists one.
        """
        hits: list[Hit] = []
        for number in sorted(self._possible(person)):
            entry = self._entry(number)
            name = agreement((person.surname, person.given_names), (entry.surname, entry.given_names))
            if name is Agreement.DIFFERENT:
                continue
            agrees = [f"name:{name.value}"]
            if entry.birth_date is not None and person.birth_date is not None:
                if entry.birth_date != person.birth_date:
                    continue
                agrees.append("birth_date")
            if entry.nationality is not None and entry.nationality == person.nationality:
                agrees.append("nationality")
            hits.append(Hit(self._name, entry.id, tuple(agrees)))
        return sorted(hits, key=lambda hit: (-len(hit.agrees), hit.entry))

    def _entry(self, number: int) -> Listed:
        id_, surname, given, born, nation = self._index.execute(
            "SELECT id, surname, given_names, birth_date, nationality FROM entry WHERE number = ?", (number,)
        ).fetchone()
        return Listed(id_, surname, given, None if born is None else date.fromisoformat(born), nation)

    def _possible(self, person: Person) -> set[int]:
        """Return the entries that have a word near one of the surname's, and one near one of the given names'; of an
        entry of one name alone, either.
        """
        surname, given = _words(person.surname), _words(person.given_names)
        if not surname or not given:
            return self._with_near(surname | given)
        by_surname, by_given = self._with_near(surname), self._with_near(given)
        return by_surname & by_given | self._surname_alone & (by_surname | by_given)

    def _with_near(self, words: frozenset[str]) -> set[int]:
        found: set[int] = set()
        for word in words:
            alike = {word} | {
                other
                for (other,) in self._index.execute("SELECT word FROM ending WHERE ending IN (?, ?)", _ends(word))
                if near(word, other)
            }
            for each in alike:
                found.update(n for (n,) in self._index.execute("SELECT number FROM word WHERE word = ?", (each,)))
        return found


class Lists:
    """Several lists as one."""

    def __init__(self, lists: Sequence[Screening]) -> None:
        """Screen against each of `lists`."""
        self._lists = tuple(lists)

    def screen(self, person: Person) -> list[Hit]:
        """Return the entries of all lists, the closest first."""
        hits = [hit for each in self._lists for hit in each.screen(person)]
        return sorted(hits, key=lambda hit: -len(hit.agrees))


class NoScreening:
    """Where no list is configured."""

    def screen(self, person: Person) -> list[Hit]:  # noqa: ARG002 - the port's
        """Return nothing."""
        return []


def _words(name: str) -> frozenset[str]:
    try:
        return words_of(name)
    except InvalidInputError:
        return frozenset()  # another script: `agreement` tells nothing of it either


def _ends(word: str) -> tuple[str, str]:
    """Return keys of which words one letter apart have one together: both their ends cannot differ, as long as they are
    five letters or more, and shorter ones are near only to themselves.
    """
    return word[:2] + "-", "-" + word[-2:]
