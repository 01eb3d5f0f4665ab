"""Templates that devices announce: a closed subset of Jinja, read by a grammar of our own and never executed as Jinja.

Source of truth: SPEC.md section 3. A template is a stranger's text: what is outside the subset is refused when it is
announced, with the word that was not understood, and what is inside can only read the message, compare and calculate.
There are no loops, calls, attributes of objects or names but `value`, `value_json` and what the template itself sets.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from protocols.documents import shown
from protocols.errors import InvalidInputError
from protocols.home_assistant.expressions import (
    DEPTH_MAX,
    MISSING,
    RENDERED_CHARACTERS_MAX,
    RESERVED,
    Formula,
    NoNumber,
    Scope,
    UndefinedValue,
    formula,
    refuse,
    text_of,
)

SOURCE_CHARACTERS_MAX: Final = 2_000
KEPT_TEMPLATES: Final = 4_096


class Silence(Enum):
    """Why a template gives no text."""

    NOTHING = "nothing"  # the message does not speak of it: a key is not there
    NO_NUMBER = "no_number"  # it speaks of it, and what it says cannot be calculated with


_Piece = Callable[[Scope, list[str]], None]
NO_DOCUMENT: Final = MISSING
"""For `Template.render`: the message is no JSON, so that `value_json` is not there."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was understood. `wants_json`: it uses `value_json`."""

    source: str
    wants_json: bool
    pieces: tuple[_Piece, ...]

    def render(self, value: object, document: object = NO_DOCUMENT) -> str | Silence:
        """Return the text that it makes, without white space around it.

        Args:
            value: The message's text; for a command, what is to be written.
            document: The message as JSON, `NO_DOCUMENT` if it is none.
        """
        scope, out = Scope(value, document), list[str]()
        try:
            for piece in self.pieces:
                piece(scope, out)
        except UndefinedValue:
            return Silence.NOTHING
        except (NoNumber, RecursionError, OverflowError):
            return Silence.NO_NUMBER
        text = "".join(out)
        return text.strip() if len(text) <= RENDERED_CHARACTERS_MAX else Silence.NO_NUMBER


@lru_cache(KEPT_TEMPLATES)
def compiled(source: str) -> Template:
    """Return a template of that source. Raises InvalidInputError: it is outside the subset; names what is."""
    if len(source) > SOURCE_CHARACTERS_MAX:
        raise InvalidInputError("template", f"{len(source)} characters, at most {SOURCE_CHARACTERS_MAX} are read")
    reader = _Reader(source.strip())
    pieces = reader.pieces(0, ())
    return Template(source, reader.wants_json, tuple(pieces))


# --- the template around its expressions ---------------------------------------------------------------------

_OPENS: Final = re.compile(r"\{\{-?|\{%-?|\{#")


class _Reader:
    def __init__(self, source: str) -> None:
        self._source, self._at = source, 0
        self._depth = 0
        self.wants_json = False
        self.names: set[str] = set()
        self.ended_by: tuple[str, str] = ("", "")

    def pieces(self, depth: int, until: Sequence[str]) -> list[_Piece]:
        """Read until one of the statements `until`, or the end."""
        if depth > DEPTH_MAX:
            refuse(f"nested deeper than {DEPTH_MAX}")
        found: list[_Piece] = []
        trim = False
        while True:
            opened = _OPENS.search(self._source, self._at)
            text = self._source[self._at : None if opened is None else opened.start()]
            text = text.lstrip() if trim else text
            if opened is not None and opened.group().endswith("-"):
                text = text.rstrip()
            if text:
                found.append(_literal(text))
            if opened is None:
                self._at = len(self._source)
                if until:
                    refuse("an if without its endif")
                return found
            kind = opened.group()[:2]
            self._at = opened.end()
            if kind == "{#":
                end = self._source.find("#}", self._at)
                if end < 0:
                    refuse("a comment without its end")
                self._at, trim = end + 2, False
                continue
            inner, trim = self._inside("}}" if kind == "{{" else "%}")
            if kind == "{{":
                found.append(_output(self._expression(inner)))
                continue
            word, _, rest = inner.strip().partition(" ")
            if word in until:
                self.ended_by = (word, rest)
                if trim:
                    self._at += len(self._source[self._at :]) - len(self._source[self._at :].lstrip())
                return found
            found.append(self._statement(word, rest, depth, trim=trim))
            trim = False

    def _statement(self, word: str, rest: str, depth: int, *, trim: bool) -> _Piece:
        if trim:
            self._at += len(self._source[self._at :]) - len(self._source[self._at :].lstrip())
        if word == "set":
            name, equals, expression = rest.partition("=")
            name = name.strip()
            if not equals or not name.isidentifier() or name in RESERVED or expression.startswith("="):
                refuse(f"{shown(rest)} after set")
            made = self._expression(expression)
            self.names.add(name)
            return _setting(name, made)
        if word != "if":
            refuse(f"the statement {shown(word)}")
        ways: list[tuple[Formula, list[_Piece]]] = []
        condition = self._expression(rest)
        while True:
            body = self.pieces(depth + 1, ("elif", "else", "endif") if condition is not _always else ("endif",))
            ways.append((condition, body))
            word, rest = self.ended_by
            if word == "endif":
                return _choosing(ways)
            condition = self._expression(rest) if word == "elif" else _always

    def _inside(self, end: str) -> tuple[str, bool]:
        """Return what stands before `end`, outside of quotes and braces, and whether white space after it goes."""
        start, quote, braces, at = self._at, "", 0, self._at
        source = self._source
        while at < len(source):
            each = source[at]
            if quote:
                at += each == "\\"
                quote = "" if each == quote else quote
            elif each in "'\"":
                quote = each
            elif not braces and source.startswith(end, at):
                inner = source[start:at]
                self._at = at + 2
                return (inner[:-1], True) if inner.endswith("-") else (inner, False)
            elif each in "{}":
                braces += 1 if each == "{" else -1
            at += 1
        return refuse(f"no {end} in it")

    def _expression(self, text: str) -> Formula:
        made, wants_json = formula(text, self.names)
        self.wants_json |= wants_json
        return made


def _literal(text: str) -> _Piece:
    def piece(_: Scope, out: list[str]) -> None:
        out.append(text)

    return piece


def _output(made: Formula) -> _Piece:
    def piece(scope: Scope, out: list[str]) -> None:
        out.append(text_of(made(scope)))

    return piece


def _setting(name: str, made: Formula) -> _Piece:
    def piece(scope: Scope, _: list[str]) -> None:
        scope.names[name] = made(scope)

    return piece


def _choosing(ways: Sequence[tuple[Formula, Sequence[_Piece]]]) -> _Piece:
    def piece(scope: Scope, out: list[str]) -> None:
        for condition, body in ways:
            if condition(scope):
                for each in body:
                    each(scope, out)
                return

    return piece


def _always(_: Scope) -> object:
    return True
