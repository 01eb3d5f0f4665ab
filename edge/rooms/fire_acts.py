"""What fire asks of a device: which attribute is to be what, and what it cannot have for want of a word.

The word that lights a lamp would start an air-handling unit: a thing whose model has a setpoint or a fan, under
whatever firmware, is a machine, and is switched off. A fan that has no "off" (Siemens RDF302: automatic, 33, 66 and 100
per cent) is set to the least that it has, and what else of the unit can be off is switched off. Pure.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from protocols.device_model.capability import ENDPOINT_SEPARATOR, Capability, Value

Key = tuple[Capability, str]
Points = Mapping[Key, Collection[str]]
"""Every attribute that a device may have under any firmware, with the words that it takes where it takes words."""

FAN: Final[Key] = (Capability.FAN_CONTROL, "fan_mode")
MODE: Final[Key] = (Capability.THERMOSTAT, "system_mode")
SWITCH: Final[Key] = (Capability.ON_OFF, "on_off")
OFF: Final = "off"
ACTS: Final[tuple[tuple[Capability, str, Value], ...]] = (
    (*SWITCH, True),
    (Capability.LEVEL_CONTROL, "current_level", 254),
    (*FAN, OFF),
    (*MODE, OFF),
    (Capability.WINDOW_COVERING, "current_position_lift_percentage", 0.0),  # Matter: 0 is open
)
_ACTS: Final = {(capability, attribute): value for capability, attribute, value in ACTS}
_MACHINE_ACTS: Final = _ACTS | {SWITCH: False, (Capability.LEVEL_CONTROL, "current_level"): 0}
MACHINE: Final[tuple[Key, ...]] = (
    (Capability.THERMOSTAT, "occupied_heating_setpoint"),
    (Capability.THERMOSTAT, "occupied_cooling_setpoint"),
    MODE,
    FAN,
)
"""Whatever takes one of these moves air, heat or cold; of a device whose model is not known."""
_AIR_ALONE: Final = frozenset({"local_temperature", "outdoor_temperature"})
"""What a thermometer may tell in a thermostat's words."""
LEAST: Final = ("low", "auto", "medium")
"""What a fan without "off" is asked for, the first that it has: automatic is little where nothing heats or cools."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of one device. `cannot`: what fire would have and the device has no word for, in words."""

    wanted: Mapping[Key, Value]
    cannot: str | None = None


def held(capability: Capability, attribute: str) -> bool:
    """Say whether nobody else may write that meanwhile."""
    return _plain((capability, attribute)) in _ACTS


def asked(points: Points, can_write: Callable[[Capability, str], bool]) -> Asked:
    """Return what fire asks of a device that takes what `can_write` says. `points` empty: its model is not known."""
    machine = any(_moves_air(*each) for each in points) if points else any(can_write(*each) for each in MACHINE)
    acts = _MACHINE_ACTS if machine else _ACTS
    wanted: dict[Key, Value] = {}
    without: list[Key] = []
    for key in points or _ACTS:
        if not held(*key) or not can_write(*key):
            continue
        value = acts[_plain(key)]
        if value == OFF and (words := points.get(key)) and OFF not in words:
            without.append(key)
        else:
            wanted[key] = value
    stopped = {_plain(key) for key, value in wanted.items() if value is False or value == OFF}
    without = [key for key in without if _plain(key) not in stopped]  # another point of it takes "off"
    for key in without:
        if (least := least_of(key, points)) is not None:
            wanted[key] = least
    return Asked(wanted, _cannot(without, wanted, stopped) if without else None)


def least_of(key: Key, points: Points) -> str | None:
    """Return the word that fire asks of a mode; None: it has none that is of use."""
    words = points.get(key, ())
    if not words or OFF in words:
        return OFF
    return next((each for each in LEAST if each in words), None) if _plain(key) == FAN else None


def _cannot(without: Collection[Key], wanted: Mapping[Key, Value], stopped: Collection[Key]) -> str:
    told = [
        f"{name} has no off" + (f", is set to {wanted[capability, name]}" if (capability, name) in wanted else "")
        for capability, name in without
    ]
    beside = ", ".join(name for _, name in sorted(stopped))
    return f"{'; '.join(told)}; {f'{beside} is switched off' if beside else 'nothing else of it can be switched off'}"


def _plain(key: Key) -> Key:
    return key[0], key[1].partition(ENDPOINT_SEPARATOR)[0]


def _moves_air(capability: Capability, attribute: str) -> bool:
    """Say whether a thing that has this moves air, heat or cold."""
    if capability is Capability.THERMOSTAT:
        return attribute.partition(ENDPOINT_SEPARATOR)[0] not in _AIR_ALONE
    return capability is Capability.FAN_CONTROL
