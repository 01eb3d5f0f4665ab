"""Between announced points and the wire: message -> readings, value -> message.

Source of truth: SPEC.md section 6. Whatever is said, a reading comes out or none does; nothing here raises for it.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from protocols.descriptors.codec import PAYLOAD_BYTES_MAX as PAYLOAD_BYTES_MAX  # noqa: PLC0414 - one bound for all
from protocols.descriptors.codec import Judged, Reason, bad, judge, reading
from protocols.device_model.capability import Kind, Value
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Reading
from protocols.documents import key_twice, shown
from protocols.errors import LocalProtocolError
from protocols.home_assistant import colours
from protocols.home_assistant.entities import AnnouncedPoint
from protocols.home_assistant.meanings import PASSING
from protocols.home_assistant.senses import SENSES, mireds, number_of
from protocols.home_assistant.templates import NO_DOCUMENT, Silence, compiled

DIGITS: Final = 3


def readings_of_message(points: Iterable[AnnouncedPoint], device: DeviceId, payload: bytes) -> list[Reading]:
    """Return a reading for each of these points that a message on their topic speaks of."""
    found: list[Reading] = []
    document: object = None
    text = _text(payload)
    for point in points:
        judged: Judged | None
        if isinstance(text, Judged):
            judged = text
        elif not text:
            return []  # an empty message says nothing, of anything
        else:
            if point.template and document is None and compiled(point.template).wants_json:
                document = json_value(payload)
            judged = _judged(point, text, NO_DOCUMENT if document is None else document)
        if judged is not None:
            found.append(reading(point, device, judged))
    return found


def json_value(payload: bytes) -> object:
    """Return a message as JSON, `NO_DOCUMENT` if it is none or holds a key twice."""
    try:
        document = msgspec.json.decode(payload)
        return NO_DOCUMENT if key_twice(payload, document) is not None else document
    except (ValueError, RecursionError):  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
        return NO_DOCUMENT


def _text(payload: bytes) -> str | Judged:
    if len(payload) > PAYLOAD_BYTES_MAX:
        return bad(Reason.TOO_LONG)
    try:
        return payload.decode().strip()
    except UnicodeDecodeError:
        return bad(Reason.WRONG_TYPE, shown(payload[:40], 60))


def _judged(point: AnnouncedPoint, text: str, document: object) -> Judged | None:
    """Return what a message means for a point; None: it says nothing of it."""
    if point.template:
        template = compiled(point.template)
        if template.wants_json and document is NO_DOCUMENT:
            return bad(Reason.NOT_JSON)
        rendered = template.render(text, document)
        if rendered is Silence.NOTHING or rendered == "":
            return None
        if isinstance(rendered, Silence):
            return bad(Reason.WRONG_TYPE, shown(text, 60))
        text = rendered
    if text in point.silent:
        return None
    known = any(word == text for word, _ in point.values)
    if not known and text in PASSING:
        return bad(Reason.NO_VALUE)
    if point.values:
        return judge(point, text)
    number = SENSES[point.sense](text) if point.sense else number_of(text)
    return bad(Reason.WRONG_TYPE, shown(text, 60)) if number is None else judge(point, number)


def payload_of(point: AnnouncedPoint, value: Value, *, beside: float | None = None) -> bytes:
    """Return the message that asks a point to become `value`.

    Args:
        point: The point.
        value: What it is to be.
        beside: The other half of its colour, None if nobody knows it.

    Raises:
        LocalProtocolError: it has no word for it, or its command template makes none.
    """
    what: str | int | float
    document: object = NO_DOCUMENT
    if point.spoken:
        for known, word in point.spoken:
            if known == value and isinstance(known, bool) == isinstance(value, bool):
                what = word
                break
        else:
            raise LocalProtocolError(f"{point.capability}.{point.attribute}: no word for {value!r}")
    elif isinstance(value, bool | str):
        raise LocalProtocolError(f"{point.capability}.{point.attribute}: {value!r} is no number")
    elif point.colour:
        plain = colours.plain(point)
        other = colours.unknown(colours.other_half(plain)) if beside is None else beside
        what, document = colours.spoken(point.colour, plain, value, other)
    elif point.sense and point.sense != "kelvin":
        raise LocalProtocolError(f"{point.capability}.{point.attribute}: it is one of several that are sent together")
    elif point.sense and (kelvin := mireds(value)) is None:
        raise LocalProtocolError(f"{point.capability}.{point.attribute}: {value!r} is no colour temperature")
    else:
        value = kelvin if point.sense and kelvin is not None else value
        if point.row.kind is Kind.INTEGER:
            value = _not_off(point, value)
        raw = round((value - point.offset) / point.scale, 0 if point.row.kind is Kind.INTEGER else DIGITS)
        what = int(raw) if raw == int(raw) else raw
    if not point.command:
        return str(what).encode()
    rendered = compiled(point.command).render(what, document)
    if isinstance(rendered, Silence):
        raise LocalProtocolError(f"{point.capability}.{point.attribute}: its command template makes nothing of {what}")
    return rendered.encode()


def settled(point: AnnouncedPoint, wanted: Value, found: Value | None, *, beside: float | None = None) -> bool:
    """Return whether a value that was heard is the one that was asked for, as nearly as the device can say it.

    `beside` is the other half of a colour that was sent with it, None if nobody knew it.
    """
    if found is None or isinstance(wanted, bool | str) or isinstance(found, bool | str):
        return wanted == found and isinstance(wanted, bool) == isinstance(found, bool)
    if point.colour:
        plain = colours.plain(point)
        other = colours.unknown(colours.other_half(plain)) if beside is None else beside
        return colours.near(plain, wanted, found, other)
    if point.row.kind is Kind.INTEGER:
        return abs(_not_off(point, wanted) - found) <= abs(point.scale) / 2 + 0.5
    step = point.write.step if point.write is not None and point.write.step is not None else abs(point.scale)
    return abs(wanted - found) < step / 2


def _not_off(point: AnnouncedPoint, value: float) -> float:
    """Return a whole number as it can be sent: the least of a coarse scale is 1, for 0 is off to many lamps."""
    return max(value, abs(point.scale)) if value > 0 else value
