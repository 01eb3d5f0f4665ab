"""What the condition of a room is where its PMS says it in a word that is none of ours, or says nothing. Pure.

The rule: such a room is a room, whoever is in it stays in it, and no arrival is sent to it. A word that nobody here
knows takes away what was known, since something about the room has changed and it may be dirty now; where nothing is
told, what was known stays. A property whose PMS has words of its own, or leaves a clean room's word empty, says so in
its settings: `conditions`, our word for each of its own, "" for nothing told.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from cloud.pms.port import PmsRoom, Rooms
from cloud.stays.reservation import Housekeeping, RoomCondition


def understood(told: Rooms, words: Mapping[str, Housekeeping]) -> Rooms:
    """Read the property's own words for conditions: whatever it has one for is no problem any more."""
    if not words:
        return told
    ours = {_word(each): housekeeping for each, housekeeping in words.items()}
    rooms, read = list[PmsRoom](), set[str]()
    for room in told.rooms:
        housekeeping = ours.get(_word(room.said or "")) if room.housekeeping is None else None
        if housekeeping is not None:
            read.add(room.external_id)
        rooms.append(room if housekeeping is None else replace(room, housekeeping=housekeeping))
    return Rooms(tuple(rooms), tuple(each for each in told.errors if each.held_back or each.external_id not in read))


def taken(rooms: Iterable[PmsRoom], ours: frozenset[str]) -> list[RoomCondition]:
    """Return what to write down of the rooms that are ours: nothing, of one of which nothing is told."""
    return [
        RoomCondition(room.name, room.housekeeping, room.updated_ms)
        for room in rooms
        if room.name in ours and (room.housekeeping is not None or _word(room.said or ""))
    ]


def _word(text: str) -> str:
    return " ".join(text.casefold().split())
