"""Arrays as parameters in PostgreSQL's binary form, made in one pass.

psycopg quotes or packs a list element by element through a dumper of its own each; a statement that takes a column of
thousands of values spends more time there than in the server. Source of truth: PostgreSQL 17, `array_recv` in
src/backend/utils/adt/arrayfuncs.c: dimensions, whether there are nulls, type of the elements, (length, lower bound) a
dimension, then (length, value) an element, -1 for a null.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Final

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

_one_dimension: Final = struct.Struct(">iiIii").pack
_no_dimension: Final = struct.Struct(">iiI").pack
_length: Final = struct.Struct(">i").pack
_long: Final = struct.Struct(">iq").pack
_NULL: Final = b"\xff\xff\xff\xff"
_POSTGRES_EPOCH_MS: Final = 946_684_800_000

_BYTEA, _INT8, _TEXT, _TIMESTAMPTZ = 17, 20, 25, 1184


class BinaryArray:
    """One array, encoded. Its subclasses say of what; hand it to a statement like any other parameter."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class TextArray(BinaryArray):
    """text[]"""

    __slots__ = ()


class ByteaArray(BinaryArray):
    """bytea[]"""

    __slots__ = ()


class BigintArray(BinaryArray):
    """bigint[]"""

    __slots__ = ()


class TimestamptzArray(BinaryArray):
    """timestamptz[]"""

    __slots__ = ()


class _Fields(dict[str | None, bytes]):
    """Texts as elements of an array. Columns repeat themselves: most are encoded once."""

    def __missing__(self, text: str) -> bytes:
        data = text.encode()
        field = self[text] = _length(len(data)) + data
        return field


def texts(values: Iterable[str | None]) -> TextArray:
    """Return a text[]. A NUL in it is refused by the server (psycopg.DataError)."""
    return TextArray(_array(_TEXT, list(map(_Fields({None: _NULL}).__getitem__, values))))


def byteas(values: Iterable[bytes | None]) -> ByteaArray:
    """Return a bytea[]."""
    fields = [_NULL if value is None else _length(len(value)) + value for value in values]
    return ByteaArray(_array(_BYTEA, fields))


def bigints(values: Sequence[int | None]) -> BigintArray:
    """Return a bigint[]. Raises struct.error: a value is no signed number of 64 bits."""
    return BigintArray(_longs(_INT8, values))


def timestamptzs(values_ms: Sequence[int | None]) -> TimestamptzArray:
    """Return a timestamptz[] of unix milliseconds. Raises struct.error; the server refuses absurd times."""
    return TimestamptzArray(
        _longs(_TIMESTAMPTZ, [None if at is None else (at - _POSTGRES_EPOCH_MS) * 1_000 for at in values_ms])
    )


def _longs(kind: int, values: Sequence[int | None]) -> bytes:
    return _array(kind, [_NULL if value is None else _long(8, value) for value in values])


def _array(kind: int, fields: Sequence[bytes]) -> bytes:
    if not fields:
        return _no_dimension(0, 0, kind)
    return _one_dimension(1, _NULL in fields, kind, len(fields), 1) + b"".join(fields)


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: BinaryArray) -> bytes:
        return obj.data


def _dumper(array_oid: int) -> type[_ArrayDumper]:
    return type(f"Array{array_oid}Dumper", (_ArrayDumper,), {"oid": array_oid})


psycopg.adapters.register_dumper(ByteaArray, _dumper(1001))
psycopg.adapters.register_dumper(TextArray, _dumper(1009))
psycopg.adapters.register_dumper(BigintArray, _dumper(1016))
psycopg.adapters.register_dumper(TimestamptzArray, _dumper(1185))
