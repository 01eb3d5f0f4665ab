"""Reads and decides policies written in Cedar: the part of the language that our policies use, and nothing beyond.

Source of truth: the Cedar policy language reference (grammar; authorization). Taken: `permit` and `forbid`; `==`, `in`
and `is` in the scope, `in [..]` for actions; `when` and `unless` with `&&`, `||`, `!`, `==`, `!=`, `.contains()`,
attributes of principal and resource, booleans and strings. Whatever else stands in a policy is refused when it is read.
Deciding is Cedar's: any satisfied `forbid` denies, else any satisfied `permit` allows, else it is denied; a policy
whose condition cannot be evaluated is left out. tests/cloud/platform/test_cedar.py holds it against Cedar itself.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from protocols.errors import InvalidInputError

Value: TypeAlias = bool | str | frozenset[str]
Expression: TypeAlias = tuple[str, tuple[object, ...]]
DEPTH_MOST: Final = 50
_TOKEN: Final = re.compile(
    r'\s+|//[^\n]*|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<text>"[^"\\\n]*")|(?P<sign>&&|\|\||==|!=|::|[!(){}\[\],;.@])'
)


@dataclass(frozen=True, slots=True)
class Entity:
    """Someone or something: type, name, what it belongs to (all the way up), and what is known of it."""

    type: str
    id: str
    parents: frozenset[tuple[str, str]] = frozenset()
    attributes: Mapping[str, Value] = field(default_factory=dict)

    @property
    def uid(self) -> tuple[str, str]:
        """Type and name."""
        return self.type, self.id


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy. A scope is an operator and the entities it names, None where it says nothing."""

    id: str
    permits: bool
    principal: tuple[str, tuple[tuple[str, str], ...]] | None
    action: tuple[str, tuple[tuple[str, str], ...]] | None
    resource: tuple[str, tuple[tuple[str, str], ...]] | None
    conditions: tuple[tuple[bool, Expression], ...]
    """Each with what it must come to: True for `when`, False for `unless`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided and by which policies; none: nothing permits it."""

    allowed: bool
    because: tuple[str, ...]


def decide(policies: tuple[Policy, ...], principal: Entity, action: str, resource: Entity) -> Decision:
    """Decide whether `principal` may do `action` with `resource`. Pure; denies unless something permits."""
    met = [each for each in policies if _applies(each, principal, action, resource)]
    forbidding = tuple(each.id for each in met if not each.permits)
    if forbidding:
        return Decision(False, forbidding)
    permitting = tuple(each.id for each in met)
    return Decision(bool(permitting), permitting)


def parse(text: str) -> tuple[Policy, ...]:
    """Read policies; they are named policy0, policy1 ... in order, as Cedar does.

    Raises:
        InvalidInputError: something that is no policy of the part we take; says where.
    """
    reader = _Reader(text)
    policies: list[Policy] = []
    while not reader.at_end:
        policies.append(reader.policy(f"policy{len(policies)}"))
    return tuple(policies)


class _CannotTellError(Exception):
    """An attribute is missing or of another type: the policy is left out."""


def _applies(policy: Policy, principal: Entity, action: str, resource: Entity) -> bool:
    scopes = (
        _in_scope(policy.principal, principal)
        and _in_scope(policy.action, Entity("Action", action))
        and _in_scope(policy.resource, resource)
    )
    if not scopes:
        return False
    try:
        return all(
            _truth(_value(expression, principal, resource)) is wanted for wanted, expression in policy.conditions
        )
    except _CannotTellError:
        return False


def _in_scope(scope: tuple[str, tuple[tuple[str, str], ...]] | None, entity: Entity) -> bool:
    if scope is None:
        return True
    operator, named = scope
    if operator == "is":
        return entity.type == named[0][0]
    if operator == "==":
        return entity.uid == named[0]
    return any(each == entity.uid or each in entity.parents for each in named)


def _value(expression: Expression, principal: Entity, resource: Entity) -> Value:
    operator, parts = expression
    if operator == "literal":
        literal = parts[0]
        assert isinstance(literal, bool | str)  # noqa: S101 - the reader makes no other
        return literal
    if operator == "attribute":
        attributes = (principal if parts[0] == "principal" else resource).attributes
        if parts[1] not in attributes:
            raise _CannotTellError
        return attributes[str(parts[1])]
    operands: tuple[Expression, ...] = parts  # type: ignore[assignment]
    left = _value(operands[0], principal, resource)
    if operator == "!":
        return not _truth(left)
    if operator in ("&&", "||"):
        if _truth(left) is (operator == "||"):
            return _truth(left)
        return _truth(_value(operands[1], principal, resource))
    right = _value(operands[1], principal, resource)
    if operator == "contains":
        if not isinstance(left, frozenset):
            raise _CannotTellError
        return right in left
    return (type(left) is type(right) and left == right) is (operator == "==")


def _truth(value: Value) -> bool:
    if not isinstance(value, bool):
        raise _CannotTellError
    return value


class _Reader:
    """Takes tokens one after the other."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._tokens)

    def policy(self, name: str) -> Policy:
        permits = self._one_of("permit", "forbid") == "permit"
        self._take("(")
        principal = self._scope("principal", "==", "in", "is")
        self._take(",")
        action = self._scope("action", "==", "in")
        self._take(",")
        resource = self._scope("resource", "==", "in", "is")
        self._take(")")
        conditions = []
        while self._next() in ("when", "unless"):
            wanted = self._one_of("when", "unless") == "when"
            self._take("{")
            conditions.append((wanted, self._expression(0)))
            self._take("}")
        self._take(";")
        return Policy(name, permits, principal, action, resource, tuple(conditions))

    def _scope(self, what: str, *operators: str) -> tuple[str, tuple[tuple[str, str], ...]] | None:
        self._take(what)
        if self._next() not in operators:
            return None
        operator = self._one_of(*operators)
        if operator == "is":
            return operator, ((self._word(), ""),)
        if what == "action" and operator == "in" and self._next() == "[":
            self._take("[")
            named = [self._entity()]
            while self._next() == ",":
                self._take(",")
                named.append(self._entity())
            self._take("]")
            return operator, tuple(named)
        return operator, (self._entity(),)

    def _entity(self) -> tuple[str, str]:
        kind = self._word()
        self._take("::")
        return kind, self._text()

    def _expression(self, depth: int) -> Expression:
        left = self._conjunction(depth)
        while self._next() == "||":
            self._take("||")
            left = ("||", (left, self._conjunction(depth)))
        return left

    def _conjunction(self, depth: int) -> Expression:
        left = self._comparison(depth)
        while self._next() == "&&":
            self._take("&&")
            left = ("&&", (left, self._comparison(depth)))
        return left

    def _comparison(self, depth: int) -> Expression:
        left = self._operand(depth)
        if self._next() in ("==", "!="):
            operator = self._one_of("==", "!=")
            return operator, (left, self._operand(depth))
        return left

    def _operand(self, depth: int) -> Expression:
        if depth > DEPTH_MOST:
            raise InvalidInputError("policy", "is nested too deeply")
        ahead = self._next()
        if ahead == "!":
            self._take("!")
            return "!", (self._operand(depth + 1),)
        if ahead == "(":
            self._take("(")
            inside = self._expression(depth + 1)
            self._take(")")
            return inside
        if ahead in ("true", "false"):
            return "literal", (self._one_of("true", "false") == "true",)
        if ahead is not None and ahead.startswith('"'):
            return "literal", (self._text(),)
        whose = self._one_of("principal", "resource")
        self._take(".")
        value: Expression = ("attribute", (whose, self._word()))
        while self._next() == ".":
            self._take(".")
            self._take("contains")
            self._take("(")
            value = ("contains", (value, self._expression(depth + 1)))
            self._take(")")
        return value

    def _next(self) -> str | None:
        return None if self.at_end else self._tokens[self._at][0]

    def _take(self, wanted: str) -> None:
        self._one_of(wanted)

    def _one_of(self, *wanted: str) -> str:
        token = self._next()
        if token is None or token not in wanted:
            raise self._unexpected(" or ".join(wanted))
        self._at += 1
        return token

    def _word(self) -> str:
        token = self._next()
        if token is None or not (token[0].isalpha() or token[0] == "_"):
            raise self._unexpected("a name")
        self._at += 1
        return token

    def _text(self) -> str:
        token = self._next()
        if token is None or not token.startswith('"'):
            raise self._unexpected("a string")
        self._at += 1
        return token[1:-1]

    def _unexpected(self, wanted: str) -> InvalidInputError:
        if self.at_end:
            return InvalidInputError("policy", f"ends where {wanted} should be")
        token, line = self._tokens[self._at]
        return InvalidInputError(f"policy, line {line}", f"{token!r} stands where {wanted} should be")


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            line = text.count("\n", 0, place) + 1
            raise InvalidInputError(f"policy, line {line}", f"{text[place]!r} cannot be read")
        if found.lastgroup is not None:
            yield found.group(), text.count("\n", 0, place) + 1
        place = found.end()
