"""Raw values: the types that registers, JSON keys and nodes hold, how wide they are and what fits them.

Source of truth: SPEC.md section 2.
"""

from typing import Final, Literal

FLOAT32_MOST: Final = 3.4e38
DOUBLE_MOST: Final = 1.7e308
NUMERAL_MOST: Final = 1e15
JSON_TYPES: Final = frozenset(("bool", "integer", "number", "numeral", "text"))

Table = Literal["coil", "discrete", "input", "holding"]
RegisterType = Literal[
    "bool",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
    "bcd16",
    "bcd32",
    "mod10k32",
    "mod10k48",
    "mod10k64",
]
JsonType = Literal["bool", "integer", "number", "numeral", "text"]
NodeType = Literal[
    "Boolean", "SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float", "Double", "String"
]
Raw = bool | int | float | str
"""What stands on the wire for a value."""

WORDS: Final[dict[str, int]] = {
    **dict.fromkeys(("bool", "int16", "uint16"), 1),
    **dict.fromkeys(("int32", "uint32", "float32"), 2),
    **dict.fromkeys(("int64", "uint64", "float64"), 4),
    **{"bcd16": 1, "bcd32": 2, "mod10k32": 2, "mod10k48": 3, "mod10k64": 4},
}
"""Registers that a value of a type takes."""
RAW_RANGE: Final[dict[str, tuple[int, int]]] = {
    "bool": (0, 1),
    "int16": (-0x8000, 0x7FFF),
    "uint16": (0, 0xFFFF),
    "int32": (-0x8000_0000, 0x7FFF_FFFF),
    "uint32": (0, 0xFFFF_FFFF),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
    "bcd16": (0, 9_999),
    "bcd32": (0, 99_999_999),
    "mod10k32": (-99_999_999, 99_999_999),
    "mod10k48": (-999_999_999_999, 999_999_999_999),
    "mod10k64": (-9_999_999_999_999_999, 9_999_999_999_999_999),
    "SByte": (-0x80, 0x7F),
    "Byte": (0, 0xFF),
    "Int16": (-0x8000, 0x7FFF),
    "UInt16": (0, 0xFFFF),
    "Int32": (-0x8000_0000, 0x7FFF_FFFF),
    "UInt32": (0, 0xFFFF_FFFF),
    "Int64": (-(2**63), 2**63 - 1),
    "UInt64": (0, 2**64 - 1),
}
"""Integers that fit a type, on a register or in a node."""
NUMBERS: Final = ((int,), (int, float))
RAW_KINDS: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(RAW_RANGE, (int,)),
    **dict.fromkeys(("bool", "Boolean"), (bool,)),
    **dict.fromkeys(("float32", "float64", "Float", "Double", "number", "numeral"), (int, float)),
    "integer": (int,),
    **dict.fromkeys(("text", "String"), (str,)),
}
"""What a value is in Python when it comes off the wire."""
RAW_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    **RAW_RANGE,
    **dict.fromkeys(("float32", "Float"), (-FLOAT32_MOST, FLOAT32_MOST)),
    **dict.fromkeys(("float64", "Double", "number"), (-DOUBLE_MOST, DOUBLE_MOST)),
    "numeral": (-NUMERAL_MOST, NUMERAL_MOST),
    "integer": (-(2.0**63), 2.0**63),
}
"""Numbers that fit a type."""
