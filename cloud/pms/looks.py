"""Whether a wish of ours to change a PMS is granted there, by what was read: pure, for intents.py."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from cloud.pms.port import PmsAction, PmsReservation, PmsRoom
from cloud.stays.ending import Promise, same_night
from cloud.stays.reservation import Housekeeping, PmsStatus

_GRANTED: Final = {
    PmsAction.CHECK_IN: frozenset({PmsStatus.IN_HOUSE, PmsStatus.LEFT}),
    PmsAction.CHECK_OUT: frozenset({PmsStatus.LEFT}),
}
_ALIKE: Final = (
    frozenset({Housekeeping.DIRTY, Housekeeping.PICKUP}),
    frozenset({Housekeeping.CLEAN, Housekeeping.INSPECTED}),
)
"""Conditions that a PMS without the finer word tells as one."""
MINUTE_MS: Final = 60_000
"""No PMS tells a departure finer than that."""
_OVERTAKEN: Final = frozenset({PmsStatus.CANCELLED, PmsStatus.NO_SHOW})


@dataclass(frozen=True, slots=True)
class Look:
    """What reading the PMS says of a wish. `starts_ms`: before then the PMS will not hear of it. `unsure`: it may be an
    old answer: it is asked some times more before that counts.
    """

    granted: bool
    overtaken: bool
    said: str | None
    starts_ms: int | None = None
    unsure: bool = False


def look_at(action: PmsAction, read: PmsReservation | None, target: str | None, *, early_ms: int) -> Look:
    """Judge a wish about a reservation by what was read; None: the PMS does not know it. Pure.

    A room that the PMS has given an arrival itself meanwhile goes before ours.
    """
    if read is None or read.status in _OVERTAKEN:
        return Look(False, True, None if read is None else read.status.value)
    if action is PmsAction.ASSIGN_ROOM:
        elsewhere = read.room_external_id not in (None, target) and read.status is PmsStatus.BOOKED
        return Look(read.room_external_id == target, elsewhere or read.status is PmsStatus.LEFT, read.room_external_id)
    starts_ms = read.arrival_ms - early_ms if read.status is PmsStatus.BOOKED else None
    return Look(read.status in _GRANTED[action], False, read.status.value, starts_ms)


def room_look(room: PmsRoom | None, wanted: Housekeeping, conditions: frozenset[Housekeeping]) -> Look:
    """Judge a wish about a room; a PMS without a word for `wanted` grants it by the word nearest to it. Pure."""
    if room is None:
        return Look(False, True, None)
    alike = wanted not in conditions and any({wanted, room.housekeeping} <= each for each in _ALIKE)
    return Look(room.housekeeping is wanted or alike, False, room.housekeeping and room.housekeeping.value)


def departure_look(
    read: PmsReservation | None, wanted_ms: int, promise: Promise | None, sent: str | None, *, zone: ZoneInfo | None
) -> Look:
    """Judge a wish for an end by what was read, and by what stands of the building's word after that. Pure.

    An end that is neither what the PMS said before it was told ours, nor ours, is its own word: it is not written over.

    Args:
        read: None: the PMS does not know the reservation.
        wanted_ms: The end (unix ms).
        promise: The building's word that stands; None: none does.
        sent: What the PMS said before it was told, if it was told or may have been; else None.
        zone: Whose days are compared, where the PMS knows days alone.
    """
    if read is None or read.status in _OVERTAKEN or read.status is PmsStatus.LEFT:
        return Look(False, True, None if read is None else read.status.value)
    said = _moment(read.departure_ms).isoformat()
    earlier = () if promise is None else promise.superseded_ms
    agrees = same_night(read.departure_ms, wanted_ms) or (
        zone is not None and _moment(read.departure_ms, zone).date() == _moment(wanted_ms, zone).date()
    )
    if agrees and (sent is not None or not earlier):  # else an earlier word of ours may be on its way there
        return Look(True, False, said)
    if promise is None and sent == said:  # it agreed, or went further: an answer that is late says so later
        return Look(False, False, said)
    if promise is None or promise.until_ms != wanted_ms:
        return Look(False, True, said)
    echo = any(same_night(read.departure_ms, each) for each in earlier)
    if earlier and not echo and read.departure_ms != promise.told_ms and read.departure_ms > wanted_ms:
        return Look(False, True, said, unsure=True)  # further than this word, or what was there before the earlier one
    return Look(False, sent not in (None, said) and not echo, said)


def late_look(read: PmsReservation | None, wanted_ms: int, sent: str | None) -> Look:
    """Judge a wish for the hour of a late check-out that stands, in a PMS that knows hours, by what was read. Pure.

    Another day, or another hour named after it was told ours, is its own word: it is not written over.

    Args:
        read: None: the PMS does not know the reservation.
        wanted_ms: The hour (unix ms).
        sent: What the PMS said before it was told, if it was told or may have been; else None.
    """
    if read is None or read.status in _OVERTAKEN or read.status is PmsStatus.LEFT:
        return Look(False, True, None if read is None else read.status.value)
    said = _moment(read.departure_ms).isoformat()
    if not same_night(read.departure_ms, wanted_ms):
        return Look(False, True, said)
    granted = read.departure_ms > wanted_ms - MINUTE_MS
    return Look(granted, not granted and sent not in (None, said), said)


def _moment(at_ms: int, zone: ZoneInfo | None = None) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, tz=zone or UTC)
