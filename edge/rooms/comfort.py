"""Whether a guest's room is too cold or too warm to be left so: the margins, and whom they hold for.

Too cold is measured against what the room is to be heated to. Too warm is measured against that or the set point of
the machine that cools, whichever is higher; where nothing cools, nobody can help what the weather does, so the margin
is wider and counts from the guest's own choice, or from the air outside. What a guest has switched off is no breach of
being warm. How long it must last is the alert's own wait (alerts.py). Pure: what devices said comes in.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge.rooms.capability_view import Shown
from protocols.device_model.capability import Capability
from protocols.device_model.reading import Quality

MARGIN_K: Final = 2.0
UNCOOLED_MARGIN_K: Final = 4.0
"""Where nothing cools."""
STILL_K: Final = 0.5
"""By how much less it counts once it has begun: a thermometer that trembles at the margin begins no new hour."""
_OFF: Final = "off"
_HEATING_ALONE: Final = frozenset({"heat", "emergency_heating", "fan_only"})
_COOLING: Final = frozenset({"cool", "precooling"})


class Side(StrEnum):
    """Which way it is wrong."""

    COLD = "cold"
    WARM = "warm"


@dataclass(frozen=True, slots=True)
class Machines:
    """What a room's machines say of themselves, as far as it is fresh.

    Attributes:
        cools: Whether one that can cool is set to.
        cooling_to_c: The set points of those, degrees Celsius.
        off: Whether all that tell a mode are switched off.
    """

    cools: bool = False
    cooling_to_c: tuple[float, ...] = ()
    off: bool = False


@dataclass(frozen=True, slots=True)
class Breach:
    """A room as nobody wants it, and what it is held against."""

    side: Side
    detail: str


def machines(values: Iterable[Shown]) -> Machines:
    """Return what the machines among a room's values say of themselves."""
    words: dict[str, dict[str, object]] = {}
    fans: dict[str, object] = {}
    for each in values:
        if each.quality is not Quality.GOOD:
            continue
        name = each.attribute.partition(":")[0]
        if each.capability is Capability.THERMOSTAT:
            words.setdefault(each.device, {})[name] = each.value
        elif (each.capability, name) == (Capability.FAN_CONTROL, "fan_mode"):
            fans[each.device] = each.value
    modes: list[bool] = []
    cools, cooling_to_c = False, []
    for device, said in words.items():
        mode, set_c = said.get("system_mode"), said.get("occupied_cooling_setpoint")
        off = _OFF in (mode, fans.get(device))
        if mode is not None or off:
            modes.append(off)
        able = set_c is not None or "pi_cooling_demand" in said
        able = able or mode in _COOLING or said.get("thermostat_running_mode") in _COOLING
        if able and not off and mode not in _HEATING_ALONE:
            cools = True
            if isinstance(set_c, int | float):
                cooling_to_c.append(float(set_c))
    return Machines(cools, tuple(cooling_to_c), bool(modes) and all(modes))


def breach(
    room_c: float,
    *,
    wanted_c: float,
    chosen: bool,
    outdoor_c: float | None,
    said: Machines,
    already: Side | None = None,
) -> Breach | None:
    """Say whether an occupied room with its windows shut is too cold or too warm now; None: neither.

    Args:
        room_c: What its thermometer says, degrees Celsius.
        wanted_c: What it is to be heated to.
        chosen: Whether that is the guest's own choice and not the house's.
        outdoor_c: The air outside; None: not known.
        said: What its machines say of themselves.
        already: On which side it was counted as one before.
    """
    eased = {side: STILL_K if side is already else 0.0 for side in Side}
    lowest_c = min((wanted_c, *said.cooling_to_c))
    if room_c < lowest_c - MARGIN_K + eased[Side.COLD]:
        return Breach(Side.COLD, f"too cold: {room_c:g} instead of {lowest_c:g} Cel")
    limit_c = _warm_limit(wanted_c, chosen=chosen, outdoor_c=outdoor_c, said=said)
    if limit_c is None or room_c <= limit_c - eased[Side.WARM]:
        return None
    highest_c = max((wanted_c, *said.cooling_to_c))
    return Breach(
        Side.WARM,
        f"too warm: {room_c:g} instead of {highest_c:g} Cel" + ("" if said.cools else ", and nothing here cools"),
    )


def _warm_limit(wanted_c: float, *, chosen: bool, outdoor_c: float | None, said: Machines) -> float | None:
    if said.cools:
        return max((wanted_c, *said.cooling_to_c)) + MARGIN_K
    if said.off:
        return None  # somebody has switched it off
    if chosen:
        return wanted_c + UNCOOLED_MARGIN_K
    if outdoor_c is None:
        return None  # it may be the weather
    return max(wanted_c, outdoor_c) + UNCOOLED_MARGIN_K
