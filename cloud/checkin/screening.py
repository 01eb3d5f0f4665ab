"""Watchlist screening behind a port: a match is a review for a person, never a refusal by a machine (SEC-16).

Names are compared as protocols/travel_document compares them. The list is handed in; where it comes from, how often
it is renewed and whether it may be used is the operator's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from protocols.errors import InvalidInputError
from protocols.travel_document.names import Agreement, agreement, near, words_of


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
    """Screens against one list held in memory, by an index of its words: lists have tens of thousands of names."""

    def __init__(self, name: str, entries: Sequence[Listed]) -> None:
        """Screen against `entries` of the list called `name`."""
        self._name, self._entries = name, tuple(entries)
        self._by_word: dict[str, set[int]] = {}
        self._by_end: dict[str, set[str]] = {}
        self._surname_alone: set[int] = set()
        for number, entry in enumerate(self._entries):
            surname, given = _words(entry.surname), _words(entry.given_names)
            for word in surname | given:
                self._by_word.setdefault(word, set()).add(number)
            if not given:
                self._surname_alone.add(number)
        for word in self._by_word:
            for end in _ends(word):
                self._by_end.setdefault(end, set()).add(word)

    def __len__(self) -> int:
        return len(self._entries)

    def screen(self, person: Person) -> list[Hit]:
        """Return possible matches: the name agrees at least nearly, and no date of birth speaks against it.

        A nationality that differs speaks against nobody: people have several, and lists one.
        """
        hits: list[Hit] = []
        for number in sorted(self._possible(person)):
            entry = self._entries[number]
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
            found |= self._by_word.get(word, set())
            for other in {each for end in _ends(word) for each in self._by_end.get(end, ())}:
                if near(word, other):
                    found |= self._by_word[other]
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
