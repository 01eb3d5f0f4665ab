"""A record that tells a reading, made a row of the time series; or refused by name."""

from typing import Final

from cloud.telemetry.ports import BatchContext
from cloud.telemetry.store.port import ReadingRow, Thinned
from cloud.telemetry.store.times import when
from cloud.telemetry.store.writing import NUMBER_MOST, QUALITIES
from protocols.errors import PeerProtocolError
from protocols.link.record import Body, Record
from protocols.link.summary import SUMMARY_KEY, summary_of

TEXT_MAX: Final = 80
"""Characters in a name."""
VALUE_TEXT_MAX: Final = 256
"""Characters in a value that is text."""
THINNED_SPAN_MS_MOST: Final = 15 * 60_000
"""The longest that one summary covers; a building's clock that was set meanwhile may say otherwise."""
THINNED_MOST: Final = 10_000_000
"""Readings that one may stand for: what is summed must stay a number."""
_NUMBER_MOST: Final = int(NUMBER_MOST)


def reading_row(context: BatchContext, ordinal: int, record: Record) -> ReadingRow:
    """Return the row of a record of kind "reading".

    Args:
        ordinal: of the record's stream, as in `telemetry.stream`.

    Raises:
        PeerProtocolError: a field is missing, of the wrong type or out of range; names it.
    """
    body = record.body
    device, capability, attribute = (_name(body, name) for name in ("device", "capability", "attribute"))
    room, unit, quality, value = body.get("room"), body.get("unit"), body.get("quality"), body.get("value")
    for name, text in (("room", room), ("unit", unit)):
        if text is not None and (type(text) is not str or len(text) > TEXT_MAX):
            raise PeerProtocolError(f"reading of {device}: {name} {text!r:.90} is not text")
    if quality not in QUALITIES:
        raise PeerProtocolError(f"reading of {device}: quality {quality!r:.90} is none of {', '.join(QUALITIES)}")
    problem = _problem(value)
    if problem is None and (value is None) and quality in ("good", "uncertain"):
        problem = f"{quality}, and yet no value"
    if problem is not None:
        raise PeerProtocolError(f"reading of {device}: {problem}")
    device_at_ms = record.device_at_ms if record.device_at_ms is not None else body.get("device_at_ms")
    at_ms, source = when(
        device_at_ms=device_at_ms if type(device_at_ms) is int else None,
        edge_at_ms=record.edge_at_ms,
        clock=record.clock.value,
        received_ms=context.received_ms,
    )
    return ReadingRow(
        context.tenant, context.property, room, device, capability, attribute, unit, at_ms, record.edge_at_ms, value,
        quality, source, ordinal, record.seq, _thinned(record, at_ms),
    )  # fmt: skip


def _thinned(record: Record, at_ms: int) -> Thinned | None:
    """Return what a thinned reading stands for, its span moved to the clock of `at_ms`; None: itself."""
    if SUMMARY_KEY not in record.body:
        return None
    found = summary_of(record)
    if found is None or found.count > THINNED_MOST:
        raise PeerProtocolError(f"reading {record.seq}: thinned stands for more than {THINNED_MOST}, or for no value")
    for value in (found.first, found.least, found.most, found.mean):
        if (problem := _problem(value)) is not None:
            raise PeerProtocolError(f"reading {record.seq}: thinned: {problem}")
    span_ms = min(max(0, record.edge_at_ms - found.from_ms), THINNED_SPAN_MS_MOST)
    return Thinned(
        at_ms - span_ms, found.from_seq, found.count, found.numbers, found.least, found.most, found.mean, found.first
    )


def _name(body: Body, name: str) -> str:
    text = body.get(name)
    if not isinstance(text, str) or not 1 <= len(text) <= TEXT_MAX:
        raise PeerProtocolError(f"reading: {name} {text!r:.90} is not a name of 1 to {TEXT_MAX} characters")
    return text


def _problem(value: object) -> str | None:
    kind = type(value)
    if value is None or kind is bool:
        return None
    if isinstance(value, float):
        return None if -NUMBER_MOST < value < NUMBER_MOST else f"{value} is no number that can be summed"
    if isinstance(value, int):
        return None if -_NUMBER_MOST < value < _NUMBER_MOST else "a number out of range"
    if isinstance(value, str):
        if "\x00" in value:
            return "text with a NUL"
        return None if len(value) <= VALUE_TEXT_MAX else f"text of {len(value)} characters, at most {VALUE_TEXT_MAX}"
    return f"{kind.__name__} is not one scalar"
