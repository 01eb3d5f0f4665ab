"""Reading single items of a partner's answer: what cannot be taken is named, and costs only itself. Pure.

Also the property's wall clock, for partners that write local times: an hour that comes twice is read as the later of
the two that is not yet to come, so that a change made in it is never older than the one before.
"""

import hashlib
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from cloud.kit.times import unix_ms
from cloud.pms.port import ItemError, ItemKind, PmsRoom

NAME_CHARACTERS_MOST: Final = 80
NO_ID: Final = "(no readable id)"
EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
LATEST_MS: Final = 7_258_118_400_000  # 2200-01-01; beyond lie placeholders such as 9999-12-31
MINOR_MOST: Final = 10**13
T = TypeVar("T")

Id = Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,64}(?![\s\S])")]
"""Anything that is one printable word is taken as an id."""
Text = Annotated[str, msgspec.Meta(max_length=1_000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000)]
_WORD: Final = re.compile(r"[\x21-\x7e]{1,64}")
# joiners (U+200C, U+200D) stay: names in Persian or Hindi need them
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")


class _AnyText(type):
    """Lets plain text pass for what msgspec was asked for: an id leaves here as str, which everybody can encode."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, str)


class ExternalId(str, metaclass=_AnyText):
    """An id of a partner that writes ids as text here and as numbers there: one printable word. Read as str."""

    __slots__ = ()


class UnreadableError(ValueError):
    """A value of an item that cannot be taken; the text names it."""


def item(raw: bytes | msgspec.Raw, kind: type[T], what: ItemKind, *ids: str, strict: bool = True) -> T | ItemError:
    """Read one item of an answer; the error names the item by the first of the fields `ids`, and what is wrong."""
    try:
        return decode_told(raw, kind, strict=strict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return ItemError(id_in(raw, *ids), str(error), what)


def decode(raw: bytes | msgspec.Raw, kind: type[T], *, strict: bool = False) -> T:
    """Read JSON as one shape. Raises msgspec.MsgspecError, UnicodeDecodeError, RecursionError."""
    return msgspec.json.decode(raw, type=kind, strict=strict, dec_hook=_read_id)


def decode_told(raw: bytes | msgspec.Raw, kind: type[T], *, strict: bool = False) -> T:
    """Read JSON as one shape; a field that is null or "" where neither fits is one that was not told.

    Raises:
        msgspec.MsgspecError, UnicodeDecodeError, RecursionError: it is no such shape even then.
    """
    try:
        return decode(raw, kind, strict=strict)
    except msgspec.ValidationError as error:
        try:
            told = _without_empty(msgspec.json.decode(raw, type=_Layer))
            return decode(msgspec.json.encode(told), kind, strict=strict)
        except msgspec.MsgspecError:
            raise error from None  # what was wrong at first is the better word


def convert(told: object, kind: type[T]) -> T:
    """Read what was decoded already as one shape. Raises msgspec.ValidationError."""
    return msgspec.convert(told, type=kind, strict=False, dec_hook=_read_id)


_Layer = dict[str, msgspec.Raw] | list[msgspec.Raw]


def _without_empty(told: dict[str, msgspec.Raw] | list[msgspec.Raw]) -> dict[str, Any] | list[Any]:
    """Return JSON without the empty fields of its objects; numbers stay as they were written."""
    if isinstance(told, list):
        return [_inside(each) for each in told]
    return {name: _inside(each) for name, each in told.items() if bytes(each) not in (b"null", b'""')}


def _inside(raw: msgspec.Raw) -> Any:  # noqa: ANN401 - JSON
    return _without_empty(msgspec.json.decode(raw, type=_Layer)) if bytes(raw)[:1] in (b"{", b"[") else raw


def _read_id(kind: type, value: object) -> object:
    if kind is not ExternalId:
        raise NotImplementedError(f"{kind} is none of our types")
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**20:
        return str(value)
    if isinstance(value, str) and _WORD.fullmatch(value) is not None:
        return str(value)
    raise ValueError(f"{str(value)[:40]!r} is no id")


def id_in(raw: bytes | msgspec.Raw, *ids: str) -> str:
    """Return what an item calls itself, from the first of `ids` that can be read."""
    try:
        told = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return NO_ID
    for name in ids:
        try:
            return convert(told.get(name), ExternalId)
        except msgspec.ValidationError:
            continue
    return NO_ID


def row_key(raw: bytes | msgspec.Raw, *ids: str) -> str:
    """Return what tells a row of a list from the others: its id, or what it says where it has none."""
    found = id_in(raw, *ids)
    return hashlib.sha256(bytes(raw)).hexdigest() if found == NO_ID else found


def known_by(
    external_id: str, name: str, updated_ms: int, problem: str, said: str | None = None
) -> list[PmsRoom | ItemError]:
    """Return a room whose condition cannot be read, and why: whoever is in it has his room nonetheless.

    `said`: the PMS's own word, where it says one.
    """
    room = PmsRoom(external_id, name, None, updated_ms, said)
    return [room, ItemError(external_id, problem, "resource", held_back=False)]


def line(text: str) -> str:
    """Return text fit for one line of a screen: no control or direction characters."""
    return " ".join(_UNSEEN.sub(" ", text).split())


def display_name(*parts: str | None) -> str:
    """Return a name fit for one line of a screen, at most 80 characters."""
    return line(" ".join(part for part in parts if part))[:NAME_CHARACTERS_MOST]


def possible(name: str, at_ms: int) -> int:
    """Return a time of this century or the next. Raises UnreadableError."""
    if not EARLIEST_MS <= at_ms < LATEST_MS:
        raise UnreadableError(f"{name} {_shown(at_ms)} is outside the years 2000 to 2199")
    return at_ms


def minor_units(name: str, value: object) -> int:
    """Return money in hundredths. Raises UnreadableError."""
    try:
        amount = Decimal(str(value))
        minor = amount * 100
        if not amount.is_finite() or minor != minor.to_integral_value() or abs(minor) > MINOR_MOST:
            raise InvalidOperation
    except InvalidOperation as error:
        raise UnreadableError(f"{name} {str(value)[:40]!r} is no amount of money") from error
    return int(minor)


def utc_ms(when: datetime) -> int:
    """Return unix ms; a time without a zone is UTC."""
    return unix_ms(when if when.tzinfo is not None else when.replace(tzinfo=UTC))


DAY_USE_MS: Final = 8 * 3_600_000
"""How long a guest has a room that he takes for a day."""


class HouseTime:
    """The property's wall clock, its hours of arrival and departure, and what its days are in unix ms."""

    def __init__(self, zone: ZoneInfo, *, arrival: time = time(15), departure: time = time(11)) -> None:
        self.zone, self._arrival, self._departure = zone, arrival, departure

    def read(self, name: str, text: str, *, now_ms: int) -> int:
        """Read `YYYY-MM-DD HH:MM:SS` (or with a T) of the wall clock. Raises UnreadableError."""
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise UnreadableError(f"{name} {text[:40]!r} is no date and time") from error
        if moment.tzinfo is not None:
            return possible(name, _bounded_ms(name, moment))
        first, second = (_bounded_ms(name, moment.replace(tzinfo=self.zone, fold=fold)) for fold in (0, 1))
        return possible(name, second if first < second <= now_ms else first)

    def arrival_ms(self, name: str, text: str, eta: str | None = None) -> int:
        """Return the hour of arrival on a day; `eta` is HH:MM or HH:MM:SS, passed over if it is none."""
        return self._at(name, text, _time_of_day(eta) or self._arrival)

    def departure_ms(self, name: str, text: str) -> int:
        """Return the hour of departure on a day."""
        return self._at(name, text, self._departure)

    def stay_ms(self, names: tuple[str, str], start: str, end: str, *, eta: str | None = None) -> tuple[int, int]:
        """Return arrival and departure of a stay that is told in days; one of a single day is a day's use.

        Args:
            names: What the PMS calls the two days.
            start, end: The days.
            eta: See `arrival_ms`.

        Raises:
            UnreadableError: one of them is no day, or it ends before it starts.
        """
        arrival_ms, departure_ms = self.arrival_ms(names[0], start, eta), self.departure_ms(names[1], end)
        if departure_ms <= arrival_ms:
            if start[:10] > end[:10]:
                raise UnreadableError(f"ends {end[:40]} before it starts {start[:40]}")
            departure_ms = arrival_ms + DAY_USE_MS
        return arrival_ms, departure_ms

    def text(self, at_ms: int) -> str:
        """Write a moment as the wall clock shows it."""
        return f"{self._moment(at_ms):%Y-%m-%d %H:%M:%S}"

    def day(self, at_ms: int) -> str:
        """Write the day of a moment as YYYY-MM-DD."""
        return self._moment(at_ms).date().isoformat()

    def span(self, from_ms: int, until_ms: int) -> tuple[str, str]:
        """Write an interval so that nothing in it is lost where the clock was set back: then it begins earlier."""
        first, last = self._moment(from_ms), self._moment(until_ms)
        back = (first.utcoffset() or timedelta()) - (last.utcoffset() or timedelta())
        wide = max(back, timedelta())
        return f"{first.replace(tzinfo=None) - wide:%Y-%m-%d %H:%M:%S}", f"{last + wide:%Y-%m-%d %H:%M:%S}"

    def _moment(self, at_ms: int) -> datetime:
        return datetime.fromtimestamp(at_ms / 1000, tz=UTC).astimezone(self.zone)

    def _at(self, name: str, text: str, hour: time) -> int:
        try:
            day = date.fromisoformat(text[:10])
        except ValueError as error:
            raise UnreadableError(f"{name} {text[:40]!r} is no day") from error
        return possible(name, _bounded_ms(name, datetime.combine(day, hour, tzinfo=self.zone)))


def _bounded_ms(name: str, moment: datetime) -> int:
    try:
        return unix_ms(moment)
    except OverflowError as error:
        raise UnreadableError(f"{name} {moment.isoformat()} is outside the years 2000 to 2199") from error


def _time_of_day(text: str | None) -> time | None:
    try:
        return None if not text else time.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return None


def _shown(at_ms: int) -> str:
    try:
        return datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"
