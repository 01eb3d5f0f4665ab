"""What the stays of a room mean for it now: the events that need no sensor. Pure; asked again and again.

Because the answer is derived from what the replica holds and not from how it came to hold it, a check-in, a document
that moved a guest, a restart and a missed message all lead to the same room.
"""

from collections.abc import Sequence

from edge.policy.document import RoomPolicy
from edge.rooms.modes import HELD, ArrivalDue, ArrivalGone, GuestCheckedIn, Mode, RoomEvent, RoomState, StayEnded
from edge.stays.document import StayState
from edge.stays.replica import Stay

COMING = frozenset({StayState.PLANNED, StayState.READY})


def due_event(
    state: RoomState, stays: Sequence[Stay], *, wall_ms: int, policy: RoomPolicy, lead_ms: int | None = None
) -> RoomEvent | None:
    """Return the next thing the room has to learn from its stays, or None when it knows it all.

    Args:
        state: The room as it is.
        stays: Every stay the replica holds for this room.
        wall_ms: Unix ms.
        policy: For the warm-up time.
        lead_ms: How long this room takes to warm up, where it has shown it.
    """
    in_house = [stay.id for stay in stays if stay.state is StayState.IN_HOUSE]
    if state.mode in HELD:
        if state.stay in in_house:
            return None
        return StayEnded(heir=in_house[0] if in_house else None)
    if in_house:
        return GuestCheckedIn(in_house[0])
    if lead_ms is None:
        lead_ms = int(policy.climate.warm_up_before.total_seconds() * 1000)
    expected = [
        stay.id
        for stay in stays
        if stay.state in COMING and stay.expected_from_ms - lead_ms <= wall_ms < stay.expected_until_ms
    ]
    if state.mode is Mode.EXPECTED:
        return None if state.stay in expected else ArrivalGone()
    return ArrivalDue(expected[0]) if expected else None
