"""The modes of a room and every legal move between them: `(state, event, now) -> (state, intents)`.

Source of truth: the table in docs/decisions/0022-room-modes.md, and 0024 for `Began`. Pure. An intent is a wish about
the room ("light on"), not about a device; rooms/intents.py carries it out. Who is a guest and which stay is in house
was decided before an event is made (rooms/engine.py); here is only what the room makes of it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge.policy.document import RoomPolicy
from protocols.device_model.capability import Capability
from protocols.device_model.identity import StayId

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
)


@dataclass(frozen=True, slots=True)
class RoomState:
    """A room's mode, the stay that holds it, since when (unix ms) and through what."""

    mode: Mode = Mode.VACANT_SET_BACK
    stay: StayId | None = None
    since_ms: int = 0
    cause: str = "start"


@dataclass(frozen=True, slots=True)
class Intent:
    """A wish about the room, worth fulfilling until `deadline_ms` (unix ms)."""

    capability: Capability
    attribute: str
    value: bool | float
    deadline_ms: int


def step(
    state: RoomState, event: RoomEvent, *, now_ms: int, policy: RoomPolicy
) -> tuple[RoomState, tuple[Intent, ...]]:
    """Return the room's next state and what it now wishes. An event that means nothing here changes nothing.

    Args:
        state: The room as it is.
        event: What happened, in terms of the room.
        now_ms: Unix ms; deadlines of intents count from here.
        policy: Setpoints and lights.
    """
    climate = policy.climate

    def move(mode: Mode, stay: StayId | None, cause: str) -> RoomState:
        return RoomState(mode, stay, now_ms, cause)

    def warm(celsius: float) -> Intent:
        return Intent(Capability.THERMOSTAT, "occupied_heating_setpoint", celsius, now_ms + CLIMATE_MS)

    def light(*, on: bool) -> Intent:
        return Intent(Capability.ON_OFF, "on_off", on, now_ms + (WELCOME_LIGHT_MS if on else LIGHT_OFF_MS))

    match event:
        case Began() if state.mode is Mode.VACANT_SET_BACK:
            return move(Mode.VACANT_SET_BACK, None, "began"), (warm(climate.set_back_c),)
        case ArrivalDue(stay) if state.mode is Mode.VACANT_SET_BACK:
            return move(Mode.EXPECTED, stay, "arrival_due"), (warm(climate.expected_c),)
        case ArrivalGone() if state.mode is Mode.EXPECTED:
            return move(Mode.VACANT_SET_BACK, None, "arrival_gone"), (warm(climate.set_back_c),)
        case GuestCheckedIn(stay) if state.mode in (Mode.VACANT_SET_BACK, Mode.EXPECTED):
            return move(Mode.CHECKED_IN, stay, "checked_in"), (warm(climate.comfort_c),)
        case GuestEntered(stay, known_inside):
            if state.mode is Mode.OCCUPIED_COMFORT and known_inside:
                return state, ()  # the second guest comes home late: do not light up the sleeper
            welcome = (light(on=True),) if policy.light.welcome else ()
            return move(Mode.OCCUPIED_COMFORT, stay, "guest_entered"), (*welcome, warm(climate.comfort_c))
        case PresenceFelt() if state.mode is Mode.AWAY_SET_BACK:
            return move(Mode.OCCUPIED_COMFORT, state.stay, "presence"), (warm(climate.comfort_c),)
        case BelievedEmpty() if state.mode is Mode.OCCUPIED_COMFORT:
            intents = (light(on=False), warm(climate.away_c))
            return move(Mode.AWAY_SET_BACK, state.stay, "believed_empty"), intents
        case StayEnded(heir) if state.mode in HELD:
            if heir is not None:
                return move(state.mode, heir, "shared_stay_ended"), ()
            return move(Mode.VACANT_SET_BACK, None, "stay_ended"), (light(on=False), warm(climate.set_back_c))
        case _:
            return state, ()


HELD: Final = frozenset({Mode.CHECKED_IN, Mode.OCCUPIED_COMFORT, Mode.AWAY_SET_BACK})  # a stay holds the room
