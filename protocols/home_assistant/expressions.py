"""The expressions within announced templates: read by a grammar of our own into functions of a message.

Source of truth: SPEC.md section 3. There are no loops, calls, attributes of objects or names but `value`, `value_json`
and what the template itself sets. What is not there ends the template: nothing is invented from it.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, NoReturn

import msgspec

from protocols.documents import shown
from protocols.errors import InvalidInputError

DEPTH_MAX: Final = 24
RENDERED_CHARACTERS_MAX: Final = 4_096
PARTS_MAX: Final = 64
"""A text is split in so many places at most."""
INTEGER_BITS_MAX: Final = 64
MISSING: Final = object()
"""A key that is not there; a message that is no JSON."""


class UndefinedValue(Exception):  # noqa: N818 - how a value that is not there leaves an expression
    """A key that is not there was used."""


class NoNumber(Exception):  # noqa: N818 - how a value that cannot be calculated with leaves an expression
    """What should be a number is none, or there is none: a division by zero."""


@dataclass(slots=True)
class Scope:
    """What an expression sees."""

    value: object
    document: object
    names: dict[str, object] = field(default_factory=dict)


Formula = Callable[[Scope], object]
"""An expression that was understood."""


def text_of(value: object) -> str:
    """Return a value as Jinja writes it: `True`, `None`, `21.5`. Raises NoNumber for what is no bare value."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    raise NoNumber


def refuse(what: str) -> NoReturn:
    """Raise InvalidInputError: that is outside the subset."""
    raise InvalidInputError("template", f"{what} is outside what is read of templates")


def formula(text: str, names: set[str]) -> tuple[Formula, bool]:
    """Return what calculates an expression, and whether it uses `value_json`. Raises InvalidInputError.

    Args:
        text: The expression.
        names: What the template has set before it.
    """
    parser = _Parser(text, names)
    return there(parser.whole()), parser.wants_json


_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<sign>==|!=|<=|>=|[<>|()\[\]{},:.+\-*/~=]))",
    re.DOTALL | re.ASCII,
)
_ESCAPES: Final = {"n": "\n", "t": "\t"}
_CONSTANTS: Final[Mapping[str, object]] = {
    "true": True, "True": True, "false": False, "False": False, "none": None, "None": None,
}  # fmt: skip
RESERVED: Final = frozenset({*_CONSTANTS, "value", "value_json", "if", "else", "and", "or", "not", "in", "is"})
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": lambda one, other: one < other,
    ">": lambda one, other: one > other,
    "<=": lambda one, other: one <= other,
    ">=": lambda one, other: one >= other,
}


class _Parser:
    """One expression. Every method returns what calculates it."""

    def __init__(self, text: str, names: set[str]) -> None:
        self._tokens, self._at, self._names, self._depth = _tokens(text), 0, names, 0
        self.wants_json = False

    def whole(self) -> Formula:
        made = self._choice()
        if self._at < len(self._tokens):
            refuse(shown(self._tokens[self._at][1]))
        return made

    def _sees(self, *words: str) -> bool:
        return (
            self._at < len(self._tokens)
            and self._tokens[self._at][0] in ("sign", "name")
            and (self._tokens[self._at][1] in words)
        )

    def _takes(self, *words: str) -> str:
        """Return the next token if it is one of these signs or words; an empty text if it is not."""
        if not self._sees(*words):
            return ""
        self._at += 1
        return self._tokens[self._at - 1][1]

    def _needs(self, word: str) -> None:
        if not self._takes(word):
            refuse(f"something without {shown(word)}")

    def _choice(self) -> Formula:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            refuse(f"an expression nested deeper than {DEPTH_MAX}")
        made = self._either()
        if self._takes("if"):
            then, condition = made, there(self._either())
            self._needs("else")
            other = self._choice()
            made = lambda scope: then(scope) if condition(scope) else other(scope)  # noqa: E731 - it is one of many
        self._depth -= 1
        return made

    def _either(self) -> Formula:
        made = self._both()
        while self._takes("or"):
            made = _joined(made, self._both(), lambda one, other, scope: one(scope) or other(scope))
        return made

    def _both(self) -> Formula:
        made = self._negated()
        while self._takes("and"):
            made = _joined(made, self._negated(), lambda one, other, scope: one(scope) and other(scope))
        return made

    def _negated(self) -> Formula:
        turns = 0
        while self._takes("not"):
            turns += 1
        made = self._comparison()
        for _ in range(turns % 2 or (2 if turns else 0)):
            made = _turned(made)
        return made

    def _comparison(self) -> Formula:
        made = self._sum()
        if sign := self._takes(*_COMPARE):
            return _compared(made, self._sum(), _COMPARE[sign])
        if self._takes("is"):
            wanted = not self._takes("not")
            if self._takes("defined"):
                return _defined(made, wanted=wanted)
            if self._takes("none", "None"):
                return _compared(made, _constant(None), lambda one, _: (one is None) is wanted)
            refuse("a test other than `defined` and `none`")
        turned = bool(self._takes("not"))
        if self._takes("in"):
            return _compared(made, self._sum(), lambda one, many: _within(one, many) is not turned)
        if turned:
            refuse("`not` there")
        return made

    def _sum(self) -> Formula:
        made = self._product()
        while sign := self._takes("+", "-", "~"):
            made = _calculated(made, self._product(), sign)
        return made

    def _product(self) -> Formula:
        made = self._signed()
        while sign := self._takes("*", "/"):
            made = _calculated(made, self._signed(), sign)
        return made

    def _signed(self) -> Formula:
        turned = False
        while self._takes("-"):
            turned = not turned
        made = self._filtered()
        return _calculated(_constant(0), made, "-") if turned else made

    def _filtered(self) -> Formula:
        made = self._reached()
        while self._takes("|"):
            kind, name = self._next("a filter")
            if kind != "name" or name not in _FILTERS:
                refuse(f"the filter {shown(name)}")
            made = _FILTERS[name](made, self._arguments(name))
        return made

    def _arguments(self, name: str) -> list[Formula]:
        found: list[Formula] = []
        if not self._takes("("):
            return found
        while not self._takes(")"):
            if self._sees("default") and self._tokens[self._at + 1 : self._at + 2] == [("sign", "=")]:
                self._at += 2
            found.append(self._choice())
            if not self._sees(")"):
                self._needs(",")
        if len(found) > 1:
            refuse(f"more than one argument of {name}")
        return found

    def _reached(self) -> Formula:
        made = self._primary()
        while True:
            if self._takes("."):
                kind, name = self._next("what stands after a dot")
                if name.startswith("__"):
                    refuse(shown(name))
                if kind == "number":
                    made = _step(made, _constant(int(name)) if name.isdigit() else refuse(name))
                elif self._sees("("):
                    if name not in ("get", "split"):
                        refuse(f"the call of {shown(name)}")
                    made = self._got(made) if name == "get" else self._split(made)
                else:
                    made = _step(made, _constant(name))
            elif self._takes("["):
                made = self._indexed(made)
            else:
                return made

    def _got(self, made: Formula) -> Formula:
        self._needs("(")
        key = self._choice()
        other = self._choice() if self._takes(",") else None
        self._needs(")")
        found = _step(made, key)
        return found if other is None else _FILTERS["default"](found, [other])

    def _split(self, made: Formula) -> Formula:
        self._needs("(")
        by = self._choice()
        self._needs(")")
        return _parted(made, by)

    def _indexed(self, made: Formula) -> Formula:
        """Read what stands in brackets: a key, or a part of a list as `first:end`."""
        first = _constant(None) if self._sees(":") else self._choice()
        if not self._takes(":"):
            self._needs("]")
            return _step(made, first)
        end = _constant(None) if self._sees("]") else self._choice()
        self._needs("]")
        return _sliced(made, first, end)

    def _primary(self) -> Formula:
        kind, word = self._next("an expression")
        if kind == "number":
            return _constant(int(word) if word.isdigit() else float(word))
        if kind == "text":
            return _constant(_unquoted(word))
        if kind == "name":
            return self._named(word)
        if word == "(":
            made = self._choice()
            self._needs(")")
            return made
        if word == "{":
            return self._mapping()
        if word == "[":
            many: list[Formula] = []
            while not self._takes("]"):
                many.append(self._choice())
                if not self._sees("]"):
                    self._needs(",")
            return lambda scope: [each(scope) for each in many]
        return refuse(shown(word))

    def _named(self, name: str) -> Formula:
        if name == "value":
            return lambda scope: scope.value
        if name == "value_json":
            self.wants_json = True
            return _document
        if name in _CONSTANTS:
            return _constant(_CONSTANTS[name])
        if name in self._names:
            return lambda scope: scope.names.get(name, MISSING)
        return refuse(f"{shown(name)}")

    def _mapping(self) -> Formula:
        pairs: list[tuple[Formula, Formula]] = []
        while not self._takes("}"):
            key = self._choice()
            self._needs(":")
            pairs.append((key, self._choice()))
            if not self._sees("}"):
                self._needs(",")
        return lambda scope: {_key(key(scope)): made(scope) for key, made in pairs}

    def _next(self, what: str) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            refuse(f"the end where {what} should be")
        self._at += 1
        return self._tokens[self._at - 1]


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    text, at = text.strip(), 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            refuse(shown(text[at : at + 20]))
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", lambda each: _ESCAPES.get(each[1], each[1]), token[1:-1], flags=re.DOTALL)


def _constant(value: object) -> Formula:
    return lambda _: value


def _document(scope: Scope) -> object:
    return scope.document


def _joined(one: Formula, other: Formula, how: Callable[[Formula, Formula, Scope], object]) -> Formula:
    one, other = there(one), there(other)
    return lambda scope: how(one, other, scope)


def _turned(made: Formula) -> Formula:
    made = there(made)
    return lambda scope: not made(scope)


def there(made: Formula) -> Formula:
    """Return what must be there: a missing key ends the template, for nothing may be invented from it."""

    def value(scope: Scope) -> object:
        found = made(scope)
        if found is MISSING:
            raise UndefinedValue
        return found

    return value


def _compared(one: Formula, other: Formula, how: Callable[[Any, Any], bool]) -> Formula:
    one, other = there(one), there(other)

    def value(scope: Scope) -> object:
        try:
            return how(one(scope), other(scope))
        except TypeError as error:
            raise NoNumber from error

    return value


def _defined(made: Formula, *, wanted: bool) -> Formula:
    def value(scope: Scope) -> object:
        try:
            found = made(scope)
        except UndefinedValue:
            found = MISSING
        return (found is not MISSING) is wanted

    return value


def _within(one: object, many: object) -> bool:
    if isinstance(many, str):
        return isinstance(one, str) and one in many
    return isinstance(many, list | dict) and one in many


def _step(made: Formula, key: Formula) -> Formula:
    made, key = there(made), there(key)

    def value(scope: Scope) -> object:
        found, name = made(scope), key(scope)
        if isinstance(found, dict):
            return found.get(_key(name), MISSING)
        if isinstance(found, list) and isinstance(name, int) and not isinstance(name, bool):
            return found[name] if -len(found) <= name < len(found) else MISSING
        return MISSING

    return value


def _parted(made: Formula, by: Formula) -> Formula:
    made, by = there(made), there(by)

    def value(scope: Scope) -> object:
        text, sign = made(scope), by(scope)
        if not isinstance(text, str) or not isinstance(sign, str) or not sign:
            raise NoNumber
        return text.split(sign, PARTS_MAX)

    return value


def _sliced(made: Formula, first: Formula, end: Formula) -> Formula:
    made, first, end = there(made), there(first), there(end)

    def value(scope: Scope) -> object:
        many = made(scope)
        if not isinstance(many, str | list):
            raise NoNumber
        return many[_place(first(scope)) : _place(end(scope))]

    return value


def _place(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise NoNumber


def _key(value: object) -> object:
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    raise NoNumber


def _calculated(one: Formula, other: Formula, sign: str) -> Formula:
    one, other = there(one), there(other)

    def value(scope: Scope) -> object:
        left, right = one(scope), other(scope)
        if sign == "~" or (sign == "+" and isinstance(left, str) and isinstance(right, str)):
            text = text_of(left) + text_of(right)
            if len(text) > RENDERED_CHARACTERS_MAX:
                raise NoNumber
            return text
        first, second = _number(left), _number(right)
        if sign == "/":
            if not second:
                raise NoNumber
            return _bounded(first / second)
        return _bounded({"+": first + second, "-": first - second, "*": first * second}[sign])

    return value


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NoNumber
    return _bounded(value)


def _bounded(value: float) -> int | float:
    fits = value.bit_length() <= INTEGER_BITS_MAX if isinstance(value, int) else isfinite(value)
    if not fits:
        raise NoNumber
    return value


# --- filters -------------------------------------------------------------------------------------------------


def _read_number(value: object) -> float:
    """Return the number that a value is or spells. What a default would stand for is no value: none is invented."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return _bounded(value)
    if isinstance(value, str) and len(value) <= 40:
        try:
            return _bounded(int(value)) if value.strip().lstrip("+-").isdecimal() else _bounded(float(value))
        except ValueError:
            pass
    raise NoNumber


def _on(made: Formula, how: Callable[[Any], object]) -> Formula:
    made = there(made)
    return lambda scope: how(made(scope))


def _rounded(made: Formula, arguments: list[Formula]) -> Formula:
    made = there(made)
    digits = arguments[0] if arguments else _constant(0)

    def value(scope: Scope) -> object:
        many = digits(scope)
        if not isinstance(many, int) or not 0 <= many <= 12:
            raise NoNumber
        return round(float(_read_number(made(scope))), many)

    return value


def _or(made: Formula, arguments: list[Formula]) -> Formula:
    other = arguments[0] if arguments else _constant("")

    def value(scope: Scope) -> object:
        try:
            found = made(scope)
        except UndefinedValue:
            found = MISSING
        return other(scope) if found is MISSING else found

    return value


def _together(made: Formula, arguments: list[Formula]) -> Formula:
    made = there(made)
    between = arguments[0] if arguments else _constant("")

    def value(scope: Scope) -> object:
        many, sign = made(scope), between(scope)
        if not isinstance(many, list) or not isinstance(sign, str):
            raise NoNumber
        text = sign.join(text_of(each) for each in many)
        if len(text) > RENDERED_CHARACTERS_MAX:
            raise NoNumber
        return text

    return value


def _as_json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise NoNumber from error


def _plain(how: Callable[[Any], object]) -> Callable[[Formula, list[Formula]], Formula]:
    return lambda made, _: _on(made, how)


_FILTERS: Final[Mapping[str, Callable[[Formula, list[Formula]], Formula]]] = {
    "int": _plain(lambda value: int(_read_number(value))),
    "float": _plain(lambda value: float(_read_number(value))),
    "round": _rounded,
    "abs": _plain(lambda value: abs(_number(value))),
    "lower": _plain(lambda value: text_of(value).lower()),
    "upper": _plain(lambda value: text_of(value).upper()),
    "trim": _plain(lambda value: text_of(value).strip()),
    "string": _plain(text_of),
    "join": _together,
    "default": _or,
    "d": _or,
    "is_defined": _plain(lambda value: value),
    "tojson": _plain(_as_json),
    "to_json": _plain(_as_json),
}
"""What may stand after a bar. `int(0)`, `float(0)`: what is no number stays none, whatever default is asked for."""
