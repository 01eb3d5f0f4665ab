"""Rules of a property: conditions in CEL, checked before they are compiled, bounded so that each costs next to nothing.

Source of truth: protocols/device_model/SPEC.md section 6; why this library, docs/decisions/0026-rules-in-cel.md.
What bounds an evaluation is the text: a number of characters, tokens and levels, no macro, no loop, three functions.
So one evaluation visits each token at most once, and there is no input that makes it long. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from edge.policy.local_hours import Schedule
from kit.lean_import import hollow
from protocols.device_model.capability import Capability, attribute, problem_with
from protocols.documents import shown
from protocols.errors import InvalidInputError

with hollow("cel.cli"):  # a command line with colours and history: 16 MB of each edge
    import cel

CHARACTERS_MOST: Final = 500
TOKENS_MOST: Final = 100
LEVELS_MOST: Final = 12
RULES_MOST: Final = 32
ACTS_MOST: Final = 8
FUNCTIONS: Final = frozenset({"startsWith", "endsWith", "contains"})
ROOM_FIELDS: Final = (
    "id", "floor", "type", "mode", "rented", "occupied", "confidence", "window_open", "do_not_disturb", "make_up_room",
)  # fmt: skip
LOCAL_FIELDS: Final = ("hour", "minute", "weekday", "month")
FIELDS: Final[Mapping[str, tuple[str, ...] | None]] = {"room": ROOM_FIELDS, "local": LOCAL_FIELDS, "value": None}
WORDS: Final = frozenset({"true", "false", "null", "in"})
SAYS_MOST: Final = 120

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)"""
    r"""|(?P<sign>&&|\|\||[=!<>]=|[-+*/%!<>?:.,()\[\]]))""",
    re.ASCII,
)
# What evaluating can raise (cel 0.10): a value that is not there, of another type, or arithmetic beyond its range.
_CANNOT: Final = (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError)


class Act(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One absolute value for whatever in a room can have it."""

    capability: Capability
    attribute: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    value: bool | int | float | str


class RoomsMeant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which rooms a rule is for; left out, all guest rooms."""

    types: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=32)] | None = None
    floors: Annotated[tuple[int, ...], msgspec.Meta(min_length=1, max_length=100)] | None = None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """When `when` and `schedule` turn from not held to held, the room wishes `then`, once."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}\Z")]
    when: Annotated[str, msgspec.Meta(min_length=1, max_length=CHARACTERS_MOST)]
    then: Annotated[tuple[Act, ...], msgspec.Meta(min_length=1, max_length=ACTS_MOST)]
    schedule: Schedule | None = None
    rooms: RoomsMeant | None = None

    def is_for(self, floor: int | None, kind: str | None) -> bool:
        """Say whether the rule is for rooms on that floor, of that type."""
        meant = self.rooms
        if meant is None:
            return True
        if meant.types is not None and kind not in meant.types:
            return False
        return meant.floors is None or floor in meant.floors


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a condition holds; `cannot` says why that could not be told, and then it does not."""

    holds: bool
    cannot: str | None = None


class Condition:
    """One compiled condition.

    Raises:
        InvalidInputError: the text is no condition, or beyond its bounds; names the place in it.
    """

    def __init__(self, text: str, place: str) -> None:
        _check(text, place)
        try:
            self._program = cel.compile(text)
        except ValueError as error:
            raise InvalidInputError(place, f"is no CEL: {_first_line(error)}") from error

    def judge(self, inputs: Mapping[str, Any]) -> Verdict:
        """Say whether it holds for `room`, `value` and `local`; never raises for what they hold."""
        try:
            found = self._program.execute(dict(inputs))
        except _CANNOT as error:
            return Verdict(False, f"{type(error).__name__}: {_first_line(error)}")
        if not isinstance(found, bool):
            return Verdict(False, f"gives {shown(found)}, not true or false")
        return Verdict(found)


def check_acts(acts: tuple[Act, ...], place: str, *, least_c: float, most_c: float) -> None:
    """Refuse acts that no rule and no scene may do. Raises InvalidInputError with the place."""
    for index, act in enumerate(acts):
        spot = f"{place}[{index}]"
        if act.capability is Capability.DOOR_LOCK:
            raise InvalidInputError(spot, "doors open for a grant, never for a rule or a scene")
        row = attribute(act.capability, act.attribute, spot)
        if not row.writable:
            raise InvalidInputError(f"{spot}.attribute", f"{act.capability} {act.attribute} is measured, not written")
        if (problem := problem_with(row, act.value)) is not None:
            raise InvalidInputError(f"{spot}.value", problem)
        if row.name.endswith("_setpoint") and not least_c <= float(act.value) <= most_c:
            raise InvalidInputError(
                f"{spot}.value", f"{shown(act.value)} is outside {least_c:g}..{most_c:g} degrees Celsius"
            )


def _check(text: str, place: str) -> None:
    """Hold the text against its bounds, token by token, before a parser sees it."""
    if len(text) > CHARACTERS_MOST:
        raise InvalidInputError(place, f"is {len(text)} characters, at most {CHARACTERS_MOST} are read")
    at, level, count = 0, 0, 0
    before, before_that = "", ""
    rest = text.rstrip()
    while at < len(rest):
        found = _TOKEN.match(rest, at)
        if found is None:
            raise InvalidInputError(
                f"{place}, character {at + 1}", f"{shown(rest[at : at + 20])} is no part of a condition"
            )
        count += 1
        token, begins = found[found.lastgroup or 0].strip(), found.start(found.lastgroup or 0) + 1
        spot = f"{place}, character {begins}"
        if count > TOKENS_MOST:
            raise InvalidInputError(spot, f"more than {TOKENS_MOST} tokens")
        level += (token in ("(", "[")) - (token in (")", "]"))
        if level > LEVELS_MOST:
            raise InvalidInputError(spot, f"nested deeper than {LEVELS_MOST}")
        if found.lastgroup == "name":
            called = rest[found.end() :].lstrip().startswith("(")
            _check_name(token, before, before_that, called=called, place=spot)
        before_that, before, at = before, token, found.end()


def _check_name(token: str, before: str, before_that: str, *, called: bool, place: str) -> None:
    if called and token not in WORDS:
        if token not in FUNCTIONS:
            raise InvalidInputError(place, f"{shown(token)} is none of the functions {', '.join(sorted(FUNCTIONS))}")
        return
    if before == ".":
        known = FIELDS.get(before_that, ())
        if known is None:
            raise InvalidInputError(place, f'write value["<capability>.<attribute>"], not value.{token}')
        if token not in known:
            told = f"{before_that} has {', '.join(known)}" if known else f"{shown(before_that)} has no fields"
            raise InvalidInputError(place, f"there is no {shown(token)}: {told}")
    elif token not in FIELDS and token not in WORDS:
        raise InvalidInputError(place, f"there is no {shown(token)}; there are {', '.join(FIELDS)}")


def _first_line(error: BaseException) -> str:
    return (str(error).split("\n", 1)[0] or type(error).__name__)[:SAYS_MOST]
