"""The modes of a room and every legal move between them: `(state, event, now) -> (state, intents)`.

Source of truth: the table in docs/decisions/0022-room-modes.md; 0024 for `Began`; 0027 for windows, scenes and taste.
Pure. An intent is a wish about the room ("light on"), not about a device; rooms/intents.py carries it out. Who is a
guest and which stay is in house was decided before an event is made (rooms/engine.py); here is only what the room
makes of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from edge.policy.document import RoomPolicy
from edge.policy.rules import Act
from protocols.device_model.capability import Capability, Value
from protocols.device_model.identity import StayId
from protocols.policy.room import SETPOINT_LEAST_C, SETPOINT_MOST_C

MINUTE_MS: Final = 60_000
# How long a wish stays worth fulfilling. A light that comes on an hour late frightens a sleeper; a set-back that comes
# an hour late still saves energy, and nothing but a newer wish for the same attribute ends it sooner.
WELCOME_LIGHT_MS: Final = 2 * MINUTE_MS
CLIMATE_MS: Final = 12 * 60 * MINUTE_MS
LIGHT_OFF_MS: Final = 30 * MINUTE_MS


class Mode(StrEnum):
    """What the room is set up for."""

    VACANT_SET_BACK = "vacant_set_back"
    EXPECTED = "expected"
    CHECKED_IN = "checked_in"  # the guest holds the grant and has not come through the door yet
    OCCUPIED_COMFORT = "occupied_comfort"
    AWAY_SET_BACK = "away_set_back"


@dataclass(frozen=True, slots=True)
class ArrivalDue:
    """A stay for this room is expected within the warm-up time."""

    stay: StayId


@dataclass(frozen=True, slots=True)
class ArrivalGone:
    """The stay this room was being prepared for is not coming, or not to this room."""


@dataclass(frozen=True, slots=True)
class GuestCheckedIn:
    """A stay for this room is in house."""

    stay: StayId


@dataclass(frozen=True, slots=True)
class GuestEntered:
    """The lock opened for a stay in house here. `known_inside`: somebody was inside already."""

    stay: StayId
    known_inside: bool


@dataclass(frozen=True, slots=True)
class StaffEntered:
    """The lock opened for somebody without a stay here: the room does not wake for them."""


@dataclass(frozen=True, slots=True)
class PresenceFelt:
    """The sensors say that somebody is inside."""


@dataclass(frozen=True, slots=True)
class BelievedEmpty:
    """The sensors say, with the confidence that policy asks for, that nobody is inside."""


@dataclass(frozen=True, slots=True)
class StayEnded:
    """The stay that held the room has left; `heir` is another stay still in house here (a shared room)."""

    heir: StayId | None


@dataclass(frozen=True, slots=True)
class Began:
    """The edge has come to know the room: nothing was stored of it, and its stays are known now."""


@dataclass(frozen=True, slots=True)
class WindowOpened:
    """A window has been open for longer than airing takes: heating waits."""


@dataclass(frozen=True, slots=True)
class WindowShut:
    """The last open window of the room was shut."""


@dataclass(frozen=True, slots=True)
class DialTurned:
    """The guest chose a temperature: what this stay means by comfort."""

    celsius: float


@dataclass(frozen=True, slots=True)
class SleepAsked:
    """Somebody in the room asked for the night."""


@dataclass(frozen=True, slots=True)
class Restored:
    """Fire mode is over: the room is to be again what its mode says."""


RoomEvent = (
    Began
    | ArrivalDue
    | ArrivalGone
    | GuestCheckedIn
    | GuestEntered
    | StaffEntered
    | PresenceFelt
    | BelievedEmpty
    | StayEnded
    | WindowOpened
    | WindowShut
    | DialTurned
    | SleepAsked
    | Restored
)


@dataclass(frozen=True, slots=True)
class RoomState:
    """A room's mode, the stay that holds it, since when (unix ms) and through what."""

    mode: Mode = Mode.VACANT_SET_BACK
    stay: StayId | None = None
    since_ms: int = 0
    cause: str = "start"
    window_open: bool = False
    preferred_c: float | None = None  # what the guest of this stay chose by hand; ends with the stay


@dataclass(frozen=True, slots=True)
class Intent:
    """A wish about the room, worth fulfilling until `deadline_ms` (unix ms)."""

    capability: Capability
    attribute: str
    value: Value
    deadline_ms: int


HEATING: Final = (Capability.THERMOSTAT, "occupied_heating_setpoint")


def target_c(state: RoomState, policy: RoomPolicy, *, away_c: float | None = None) -> float:
    """Return what the room is to be heated to in its mode, degrees Celsius.

    Args:
        state: The room as it is; an open window does not count.
        policy: Setpoints.
        away_c: How far an absent guest's room may cool, where the room has shown how fast it warms up.
    """
    climate = policy.climate
    comfort_c = climate.comfort_c if state.preferred_c is None else state.preferred_c
    match state.mode:
        case Mode.VACANT_SET_BACK:
            return climate.set_back_c
        case Mode.EXPECTED:
            return climate.expected_c
        case Mode.CHECKED_IN:
            return climate.comfort_c
        case Mode.OCCUPIED_COMFORT:
            return comfort_c
        case Mode.AWAY_SET_BACK:
            return min(climate.away_c if away_c is None else away_c, comfort_c)


def step(
    state: RoomState, event: RoomEvent, *, now_ms: int, policy: RoomPolicy, away_c: float | None = None
) -> tuple[RoomState, tuple[Intent, ...]]:
    """Return the room's next state and what it now wishes. An event that means nothing here changes nothing.

    Args:
        state: The room as it is.
        event: What happened, in terms of the room.
        now_ms: Unix ms; deadlines of intents count from here.
        policy: Setpoints, lights and scenes.
        away_c: As `target_c` takes it.
    """

    def moved(mode: Mode, stay: StayId | None, cause: str, *, taste: bool = True) -> RoomState:
        return RoomState(mode, stay, now_ms, cause, state.window_open, state.preferred_c if taste else None)

    def warm(after: RoomState) -> tuple[Intent, ...]:
        if after.window_open:
            return ()  # wished when the window is shut
        return (Intent(*HEATING, target_c(after, policy, away_c=away_c), now_ms + CLIMATE_MS),)

    def light(*, on: bool) -> Intent:
        return Intent(Capability.ON_OFF, "on_off", on, now_ms + (WELCOME_LIGHT_MS if on else LIGHT_OFF_MS))

    def scene(acts: Sequence[Act], within_ms: int) -> tuple[Intent, ...]:
        return tuple(Intent(each.capability, each.attribute, each.value, now_ms + within_ms) for each in acts)

    leave = (light(on=False), *scene(policy.scenes.leave, LIGHT_OFF_MS))
    match event:
        case Began() if state.mode is Mode.VACANT_SET_BACK:
            after = moved(Mode.VACANT_SET_BACK, None, "began")
            return after, warm(after)
        case ArrivalDue(stay) if state.mode is Mode.VACANT_SET_BACK:
            after = moved(Mode.EXPECTED, stay, "arrival_due", taste=False)
            return after, warm(after)
        case ArrivalGone() if state.mode is Mode.EXPECTED:
            after = moved(Mode.VACANT_SET_BACK, None, "arrival_gone", taste=False)
            return after, warm(after)
        case GuestCheckedIn(stay) if state.mode in (Mode.VACANT_SET_BACK, Mode.EXPECTED):
            after = moved(Mode.CHECKED_IN, stay, "checked_in", taste=False)
            return after, warm(after)
        case GuestEntered(stay, known_inside):
            if state.mode is Mode.OCCUPIED_COMFORT and known_inside:
                return state, ()  # the second guest comes home late: do not light up the sleeper
            after = moved(Mode.OCCUPIED_COMFORT, stay, "guest_entered")
            welcome = (light(on=True),) if policy.light.welcome else ()
            return after, (*welcome, *scene(policy.scenes.entry, WELCOME_LIGHT_MS), *warm(after))
        case PresenceFelt() if state.mode is Mode.AWAY_SET_BACK:
            after = moved(Mode.OCCUPIED_COMFORT, state.stay, "presence")
            return after, warm(after)
        case BelievedEmpty() if state.mode is Mode.OCCUPIED_COMFORT:
            after = moved(Mode.AWAY_SET_BACK, state.stay, "believed_empty")
            return after, (*leave, *warm(after))
        case StayEnded(heir) if state.mode in HELD:
            if heir is not None:
                return moved(state.mode, heir, "shared_stay_ended"), ()
            after = moved(Mode.VACANT_SET_BACK, None, "stay_ended", taste=False)
            return after, (*leave, *scene(REQUESTS_OVER, CLIMATE_MS), *warm(after))
        case WindowOpened() if not state.window_open:
            return replace(state, window_open=True), (Intent(*HEATING, policy.climate.set_back_c, now_ms + CLIMATE_MS),)
        case WindowShut() if state.window_open:
            after = replace(state, window_open=False)
            return after, warm(after)
        case DialTurned(celsius) if state.mode is Mode.OCCUPIED_COMFORT and not state.window_open:
            taste_c = min(max(celsius, SETPOINT_LEAST_C), SETPOINT_MOST_C)
            return replace(state, preferred_c=taste_c), ()
        case SleepAsked() if state.mode in HELD:
            return state, (light(on=False), *scene(policy.scenes.sleep, LIGHT_OFF_MS))
        case Restored():
            return state, warm(state)
        case _:
            return state, ()


HELD: Final = frozenset({Mode.CHECKED_IN, Mode.OCCUPIED_COMFORT, Mode.AWAY_SET_BACK})  # a stay holds the room
REQUESTS_OVER: Final = (
    Act(Capability.ROOM_REQUEST, "do_not_disturb", False),
    Act(Capability.ROOM_REQUEST, "make_up_room", False),
)
"""What the last guest asked of housekeeping ends with the stay."""
