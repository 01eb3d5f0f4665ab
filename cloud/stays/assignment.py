"""Which arrival gets which room: as many as can be, then as they wish, then what is ready (STY-04). Pure.

A stay gets a room of its own type for its whole time, never one that is taken for a part of it, and keeps it. CP-SAT
(OR-Tools) decides with one worker, a fixed seed and a bound in its own deterministic time: the same question has the
same answer on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

ROOM: Final = 1_000_000
"""Worth of one more stay with a room: more than all wishes together can weigh."""
READY, FLOOR, FEATURE = 40, 15, 10
EFFORT_MOST: Final = 10.0
WISHES_MOST, ROOMS_MOST, FEATURES_MOST = 500, 2_000, 20


class Floor(StrEnum):
    """Where a guest would like to be: in the upper or the lower half of the house."""

    HIGH = "high"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Wish:
    """A stay without a room. `soon` wants a room that can be entered now."""

    stay: str
    type: str
    from_ms: int
    until_ms: int
    soon: bool = False
    floor: Floor | None = None
    features: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A room of the house, and when it is taken (unix ms, end excluded)."""

    id: str
    type: str | None
    floor: int | None
    ready: bool
    features: frozenset[str] = frozenset()
    taken: tuple[tuple[int, int], ...] = field(default=())


def assign(wishes: Sequence[Wish], rooms: Sequence[Candidate]) -> dict[str, str]:
    """Return room by stay; a stay that can have none is left out.

    Args:
        wishes: at most WISHES_MOST, each stay once.
        rooms: at most ROOMS_MOST.
    """
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    chosen: dict[tuple[str, str], Any] = {}
    worth: list[Any] = []
    by_room: dict[str, list[Any]] = {}
    floors = sorted(room.floor for room in rooms if room.floor is not None)
    middle = floors[len(floors) // 2] if floors else 0
    for wish in sorted(wishes, key=lambda each: each.stay):
        options = []
        for room in sorted(rooms, key=lambda each: each.id):
            if not fits(wish, room):
                continue
            picked = model.new_bool_var(f"{wish.stay} in {room.id}")
            chosen[wish.stay, room.id] = picked
            options.append(picked)
            span = wish.until_ms - wish.from_ms
            interval = model.new_optional_fixed_size_interval_var(wish.from_ms, span, picked, "")
            by_room.setdefault(room.id, []).append(interval)
            worth.append((ROOM + liking(wish, room, middle)) * picked)
        model.add_at_most_one(options)
    for intervals in by_room.values():
        model.add_no_overlap(intervals)
    model.maximize(sum(worth))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    solver.parameters.max_deterministic_time = EFFORT_MOST
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return {}
    return {stay: room for (stay, room), picked in chosen.items() if solver.boolean_value(picked)}


def fits(wish: Wish, room: Candidate) -> bool:
    """Tell whether a stay may have a room at all."""
    return room.type == wish.type and not any(
        wish.from_ms < until and since < wish.until_ms for since, until in room.taken
    )


def liking(wish: Wish, room: Candidate, middle: int) -> int:
    """Return how well a room pleases; less than ROOM over all the wishes there may be."""
    score = READY if wish.soon and room.ready else 0
    if wish.floor is not None and room.floor is not None:
        score += FLOOR if (room.floor >= middle) is (wish.floor is Floor.HIGH) else 0
    return score + FEATURE * len(wish.features & room.features)
