"""One record: a two-character id and fields of a two-character id and data, each closed by a bar.

`GI|RN0412|G#88120|GSN|` and so on. The order of fields means nothing, but in LR, and where a list of guests (PL)
repeats them block by block.
Unknown records and fields are kept and ignored, never fatal. Leading zeros and blanks are data.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Final

from protocols.errors import InvalidInputError, LocalProtocolError, PeerProtocolError
from protocols.fias.framing import ETX, RECORD_BYTES_MAX, STX

BAR: Final = "|"
CODE_PAGE: Final = "cp1252"
_ID: Final = re.compile(r"[A-Z][A-Z0-9]")
_FIELD_ID: Final = re.compile(r"[A-Z$][A-Z0-9#+]")
_SHOWN_MAX: Final = 60
FIELDS_MAX: Final = 1_000
"""A list of guests repeats its fields for each of them."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record: `id` and its fields, in the order of the wire; `repeated`: all of them, where some came twice."""

    id: str
    fields: Mapping[str, str] = field(default_factory=dict)
    repeated: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    def blocks(self, first: str) -> "list[Record]":
        """Return the parts that begin with the field `first`, each with what stands before the first of them."""
        parts: list[dict[str, str]] = [{}]
        for name, value in self.repeated or tuple(self.fields.items()):
            if name == first:
                parts.append({})
            parts[-1].setdefault(name, value)
        return [Record(self.id, parts[0] | each) for each in parts[1:]]

    def get(self, name: str) -> str | None:
        """Return a field's data; "" if it was named and empty, None if it was not there."""
        return self.fields.get(name)

    def need(self, name: str) -> str:
        """Return a field's data. Raises PeerProtocolError, naming record and field, where it is missing or empty."""
        value = self.fields.get(name)
        if not value:
            raise PeerProtocolError(f"{self.id}: field {name} is {'missing' if value is None else 'empty'}")
        return value

    def number(self, name: str, *, most: int = 10**10 - 1) -> int:
        """Return a whole number, perhaps negative. Raises PeerProtocolError."""
        text = self.need(name)
        if re.fullmatch(r"-?[0-9]{1,11}", text) is None or abs(int(text)) > most:
            raise PeerProtocolError(f"{self.id}: field {name} is {_shown(text)}, no number of at most {most}")
        return int(text)

    def flag(self, name: str) -> bool:
        """Return Y as True, N as False. Raises PeerProtocolError."""
        text = self.need(name)
        if text not in ("Y", "N"):
            raise PeerProtocolError(f"{self.id}: field {name} is {_shown(text)}; Y or N stands there")
        return text == "Y"

    def day(self, name: str) -> date:
        """Return YYMMDD as a date of this century. Raises PeerProtocolError."""
        text = self.need(name)
        try:
            if re.fullmatch(r"[0-9]{6}", text) is None:
                raise ValueError(text)
            return date(2000 + int(text[:2]), int(text[2:4]), int(text[4:]))
        except ValueError as error:
            raise PeerProtocolError(f"{self.id}: field {name} is {_shown(text)}, no day as YYMMDD") from error

    def time_of_day(self, name: str) -> time:
        """Return HHMMSS. Raises PeerProtocolError."""
        text = self.need(name)
        try:
            if re.fullmatch(r"[0-9]{6}", text) is None:
                raise ValueError(text)
            return time(int(text[:2]), int(text[2:4]), int(text[4:]))
        except ValueError as error:
            raise PeerProtocolError(f"{self.id}: field {name} is {_shown(text)}, no time as HHMMSS") from error

    def encode(self, code_page: str = CODE_PAGE) -> bytes:
        """Return the record's bytes; what the code page lacks becomes `?`.

        Raises:
            LocalProtocolError: an id is none, a field holds a bar or a frame character, or it is too long.
        """
        if _ID.fullmatch(self.id) is None:
            raise LocalProtocolError(f"{self.id!r} is no record id")
        parts = [self.id]
        for name, value in self.fields.items():
            if _FIELD_ID.fullmatch(name) is None:
                raise LocalProtocolError(f"{self.id}: {name!r} is no field id")
            if any(each == BAR or ord(each) in (STX, ETX) for each in value):
                raise LocalProtocolError(f"{self.id}: field {name} holds a bar or a frame character: {_shown(value)}")
            parts.append(name + value)
        data = (BAR.join(parts) + BAR).encode(code_page, errors="replace")
        if len(data) > RECORD_BYTES_MAX:
            raise LocalProtocolError(f"{self.id}: {len(data)} bytes; a record has at most {RECORD_BYTES_MAX}")
        return data


def decode(data: bytes, code_page: str = CODE_PAGE) -> Record:
    """Read one record. A field that comes twice keeps its first data.

    Raises:
        PeerProtocolError: it is no record; quotes its beginning.
    """
    text = data.decode(code_page, errors="replace")
    if not text.endswith(BAR):
        raise PeerProtocolError(f"a record ends with a bar; this one is {_shown(text)}")
    record_id, *fields = text[:-1].split(BAR)
    if _ID.fullmatch(record_id) is None:
        raise PeerProtocolError(f"{_shown(record_id)} is no record id")
    if len(fields) > FIELDS_MAX:
        raise PeerProtocolError(f"{record_id}: {len(fields)} fields; at most {FIELDS_MAX} are read")
    # nothing between two bars, or one character, is an unknown field: ignored like any other
    told = tuple((each[:2], each[2:]) for each in fields if len(each) >= 2)
    read: dict[str, str] = {}
    for name, value in told:
        read.setdefault(name, value)
    return Record(record_id, read, told if len(told) > len(read) else ())


@dataclass(frozen=True, slots=True)
class Description:
    """What an LR says: the fields of one record that the interface sends or wants."""

    record: str
    fields: tuple[str, ...]

    def encode(self) -> Record:
        """Return the LR."""
        return Record("LR", {"RI": self.record, "FL": "".join(self.fields)})


def description(record: Record) -> Description:
    """Read an LR. Raises PeerProtocolError."""
    listed = record.need("FL")
    if len(listed) % 2 or len(record.need("RI")) != 2:
        raise PeerProtocolError(f"LR: RI {_shown(record.need('RI'))}, FL {_shown(listed)}: ids have two characters")
    return Description(record.need("RI"), tuple(_pairs(listed)))


def merged(descriptions: Iterable[Description]) -> tuple[Description, ...]:
    """Return one description a record: an LR that comes twice for a record may put the first one aside."""
    told: dict[str, dict[str, None]] = {}
    for each in descriptions:
        told.setdefault(each.record, {}).update(dict.fromkeys(each.fields))
    return tuple(Description(record, tuple(fields)) for record, fields in told.items())


def stamped(record_id: str, at: datetime, fields: Iterable[tuple[str, str]] = ()) -> Record:
    """Return a record that begins with DA and TI, as the property's clock on the wall says.

    Raises:
        InvalidInputError: `at` is not of this century, which YYMMDD cannot say.
    """
    if not 2000 <= at.year < 2100:
        raise InvalidInputError("date", f"{at.year} cannot be written with two digits")
    return Record(record_id, {"DA": at.strftime("%y%m%d"), "TI": at.strftime("%H%M%S"), **dict(fields)})


def money(minor_units: int) -> str:
    """Write money for the PMS: minor units, never a decimal point."""
    return str(minor_units)


def _pairs(text: str) -> Iterator[str]:
    for at in range(0, len(text), 2):
        yield text[at : at + 2]


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "...")
