"""Watchlist screening behind a port: a match is a review for a person, never a refusal by a machine (SEC-16).

Names are compared as protocols/travel_document compares them. The list is handed in; where it comes from, how often
it is renewed and whether it may be used is the operator's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from protocols.travel_document.names import Agreement, agreement


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
    """Screens against one list held in memory."""

    def __init__(self, name: str, entries: Sequence[Listed]) -> None:
        """Screen against `entries` of the list called `name`."""
        self._name, self._entries = name, tuple(entries)

    def screen(self, person: Person) -> list[Hit]:
        """Return possible matches: the name agrees at least nearly, and no date of birth speaks against it.

        A nationality that differs speaks against nobody: people have several, and lists one.
        """
        hits: list[Hit] = []
        for entry in self._entries:
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


class NoScreening:
    """Where no list is configured."""

    def screen(self, person: Person) -> list[Hit]:  # noqa: ARG002 - the port's
        """Return nothing."""
        return []
