"""Which of a property's rules hold in which room now, and what a room wishes because one began to.

Pure: what is so comes in, intents come out. A rule speaks once each time it turns from not held to held; which ones
hold is kept across restarts (memory.RoomSnapshot), so that a restart repeats nothing.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from edge.policy import local_hours
from edge.policy.document import RoomPolicy
from edge.policy.rules import Condition, Rule
from edge.rooms.capability_view import Shown
from edge.rooms.modes import CLIMATE_MS, LIGHT_OFF_MS, Intent, RoomState
from edge.rooms.occupancy import Belief
from protocols.device_model.capability import Capability
from protocols.device_model.identity import RoomId
from protocols.device_model.reading import Quality

_SLOW: Final = frozenset({Capability.THERMOSTAT, Capability.FAN_CONTROL, Capability.WINDOW_COVERING})


class RuleRunner:
    """The rules of the policy in force, compiled once a policy."""

    def __init__(self) -> None:
        self._policy: RoomPolicy | None = None
        self._rules: list[tuple[Rule, Condition]] = []
        self._held: dict[RoomId, set[str]] = {}
        self._cannot: dict[str, tuple[RoomId, str]] = {}

    def follow(self, policy: RoomPolicy) -> None:
        """Take the policy in force; harmless to call at any time."""
        if policy is self._policy:
            return
        self._policy = policy
        self._rules = [(rule, Condition(rule.when, f"rule {rule.name}")) for rule in policy.rules]
        names = {rule.name for rule in policy.rules}
        for held in self._held.values():
            held.intersection_update(names)
        self._cannot.clear()

    @property
    def any(self) -> bool:
        """Whether there are rules at all."""
        return bool(self._rules)

    def restore(self, room: RoomId, held: Sequence[str]) -> None:
        """Take up which rules held in a room when the last life of the process stopped."""
        self._held[room] = set(held)

    def held(self, room: RoomId) -> tuple[str, ...]:
        """Return the names of the rules that hold in a room."""
        return tuple(sorted(self._held.get(room, ())))

    def judge(
        self,
        room: RoomId,
        inputs: Mapping[str, Any],
        *,
        floor: int | None,
        kind: str | None,
        wall_ms: int,
        where: ZoneInfo,
    ) -> tuple[list[tuple[str, Intent]], bool]:
        """Return what the room wishes by rules that began to hold, by rule name, and whether any rule changed.

        Args:
            room: Whose.
            inputs: As `inputs_of` makes them.
            floor: The room's.
            kind: The room's type.
            wall_ms: Unix ms.
            where: The property's zone.
        """
        held = self._held.setdefault(room, set())
        before = frozenset(held)
        wished: list[tuple[str, Intent]] = []
        for rule, condition in self._rules:
            if not rule.is_for(floor, kind):
                continue
            if rule.schedule is not None and not local_hours.holds(rule.schedule, wall_ms, where):
                held.discard(rule.name)
                continue
            verdict = condition.judge(inputs)
            if verdict.cannot is not None:
                self._cannot[rule.name] = (room, verdict.cannot)
            elif self._cannot.get(rule.name, (None,))[0] == room:
                del self._cannot[rule.name]
            if not verdict.holds:
                held.discard(rule.name)
            elif rule.name not in held:
                held.add(rule.name)
                for act in rule.then:
                    within_ms = CLIMATE_MS if act.capability in _SLOW else LIGHT_OFF_MS
                    wished.append((rule.name, Intent(act.capability, act.attribute, act.value, wall_ms + within_ms)))
        return wished, frozenset(held) != before

    def told(self) -> list[dict[str, Any]]:
        """Return every rule, in how many rooms it holds, and where it last could not be told whether it does."""
        return [
            {
                "name": rule.name,
                "holds_in": sum(1 for held in self._held.values() if rule.name in held),
                "cannot": None
                if (cannot := self._cannot.get(rule.name)) is None
                else {"room": cannot[0], "why": cannot[1]},
            }
            for rule, _ in self._rules
        ]


def inputs_of(
    *,
    room: RoomId,
    floor: int | None,
    kind: str | None,
    state: RoomState,
    belief: Belief,
    rented: bool,
    do_not_disturb: bool,
    make_up_room: bool,
    values: Sequence[Shown],
    here: datetime.datetime,
) -> dict[str, Any]:
    """Return what a condition may speak of: `room`, `value` and `local` of SPEC.md section 6.

    Of several devices with one attribute the first by name counts; what is bad or stale is not there.
    """
    good: dict[str, Any] = {}
    for each in values:
        if each.quality is Quality.GOOD and each.value is not None:
            good.setdefault(f"{each.capability.value}.{each.attribute}", each.value)
    return {
        "room": {
            "id": str(room),
            "floor": floor,
            "type": kind,
            "mode": state.mode.value,
            "rented": rented,
            "occupied": belief.occupied,
            "confidence": belief.confidence,
            "window_open": state.window_open,
            "do_not_disturb": do_not_disturb,
            "make_up_room": make_up_room,
        },
        "value": good,
        "local": {"hour": here.hour, "minute": here.minute, "weekday": here.isoweekday(), "month": here.month},
    }
