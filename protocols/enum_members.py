"""Members of an enumeration as plain attributes of their class, as CPython has them from 3.12 on.

CPython 3.11 finds `Status.OPENED` through a descriptor written in Python, at the price of comparing two secrets; an
exchange at a door names some fifty. Nothing else changes: what is a member, how it is found by value, its type.
"""

from enum import Enum
from typing import TypeVar

EnumType = TypeVar("EnumType", bound=type[Enum])


def plain_members(enumeration: EnumType) -> EnumType:
    """Return `enumeration` itself, its members found without the descriptor. For a class decorator, or called."""
    for name, member in enumeration.__members__.items():
        type.__setattr__(enumeration, name, member)  # the enumeration's own refuses to set a member, whichever it is
    return enumeration
