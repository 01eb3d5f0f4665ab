"""The life of a stay, as a function of facts: what the PMS says, what the edge did, who holds the room.

State is derived, never stepped: the same facts give the same stays in whatever order, however late and how
often they arrived. Pure; time comes in.

    PMS status                edge            state
    left                      any             left
    any                       checked out     left
    any but left              checked in      in_house    (the guest is inside, whatever the PMS believes)
    in_house                  -               in_house
    booked                    -               planned, or ready once the room can be entered
    option, cancelled, no_show  -             void
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cloud.stays.reservation import Housekeeping, PmsStatus

READY_BEFORE_ARRIVAL_MS: Final = 24 * 3_600_000
"""A stay is not called ready earlier than this before its arrival, however clean the room is."""

ENTERABLE: Final = frozenset({Housekeeping.CLEAN, Housekeeping.INSPECTED})


class StayState(StrEnum):
    """Where a stay stands."""

    PLANNED = "planned"
    READY = "ready"
    IN_HOUSE = "in_house"
    LEFT = "left"
    VOID = "void"


ACTIVE: Final = frozenset({StayState.PLANNED, StayState.READY, StayState.IN_HOUSE})


class EdgeState(StrEnum):
    """What the edge last did with a stay."""

    CHECKED_IN = "checked_in"
    CHECKED_OUT = "checked_out"


def state_of(status: PmsStatus, edge: EdgeState | None) -> StayState:
    """Return the state of a stay before anybody looked at rooms; PLANNED may become READY in `settle`."""
    if status is PmsStatus.LEFT or edge is EdgeState.CHECKED_OUT:
        return StayState.LEFT
    if status is PmsStatus.IN_HOUSE or edge is EdgeState.CHECKED_IN:
        return StayState.IN_HOUSE
    if status is PmsStatus.BOOKED:
        return StayState.PLANNED
    return StayState.VOID


@dataclass(frozen=True, slots=True)
class Claim:
    """What a stay asks for."""

    stay: str
    state: StayState
    room: str | None
    from_ms: int
    until_ms: int
    in_ms: int | None
    """When the guest came into this room, if known."""
    share: str | None = None
    """Stays with one word here have the room together."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a stay gets: `room` is None when it asks for none, or when another stay holds it."""

    state: StayState
    room: str | None


def settle(
    claims: Iterable[Claim], housekeeping: Mapping[str, Housekeeping | None], *, now_ms: int
) -> dict[str, Settled]:
    """Give each room to at most one stay at a time, or to those who share it, and say which stays are ready.

    A guest who is inside comes before every plan, the one who moved in last before earlier ones (his key
    replaced theirs); plans go by arrival. Ties break by stay id, so the answer depends on the set alone.

    Args:
        claims: every active stay of ONE property.
        housekeeping: condition of each room the property has; a claim on another room gets none.
        now_ms: unix milliseconds.
    """
    settled: dict[str, Settled] = {}
    by_room: defaultdict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        if claim.state not in ACTIVE or claim.room is None or claim.room not in housekeeping:
            settled[claim.stay] = Settled(_unready(claim.state), None)
        else:
            by_room[claim.room].append(claim)
    for room, asking in by_room.items():
        holders: list[Claim] = []
        for claim in sorted(asking, key=_precedence):
            if any(_collide(claim, holder) for holder in holders):
                settled[claim.stay] = Settled(_unready(claim.state), None)
            else:
                holders.append(claim)
        inside = [holder for holder in holders if holder.state is StayState.IN_HOUSE]
        first = min(holders, key=lambda holder: (holder.from_ms, holder.stay))
        for holder in holders:
            ready = (
                holder.state is not StayState.IN_HOUSE
                and (holder is first or _together(holder, first))
                and all(_together(holder, other) for other in inside)
                and (inside != [] or housekeeping[room] in ENTERABLE)
                and holder.from_ms - READY_BEFORE_ARRIVAL_MS <= now_ms < holder.until_ms
            )
            settled[holder.stay] = Settled(StayState.READY if ready else _unready(holder.state), room)
    return settled


def _unready(state: StayState) -> StayState:
    return StayState.PLANNED if state is StayState.READY else state


def _precedence(claim: Claim) -> tuple[int, int, str]:
    if claim.state is StayState.IN_HOUSE:
        return (0, -(claim.in_ms or 0), claim.stay)
    return (1, claim.from_ms, claim.stay)


def _together(one: Claim, other: Claim) -> bool:
    return one.share is not None and one.share == other.share


def _collide(one: Claim, other: Claim) -> bool:
    if _together(one, other):
        return False
    if one.state is StayState.IN_HOUSE and other.state is StayState.IN_HOUSE:
        return True
    return one.from_ms < other.until_ms and other.from_ms < one.until_ms
