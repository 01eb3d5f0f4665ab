"""A house of sensors that live, some of which freeze: what they say, and when each really froze.

Rooms are warmed, left, aired and slept in under a weather that turns mild; their sensors are fine or coarse, still or
noisy, polled or speaking when they like. Beside them stand what never moves and is well: a cellar, a cold store, a room
that is let to nobody, a sensor of fresh air at the end of its range, a regulated voltage. `python -m
tests.edge.rooms.frozen_world` lives through a house for longer than a test may and prints how often it was told
falsely, by 1,000 device-days, and how long it took to tell of what froze.
"""

import argparse
import math
import random
from dataclasses import dataclass, field
from statistics import median

from edge.rooms.frozen import DAY_MS, HOUR_MS, Frozen, Kept
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading

STEP_MS = 300_000
STEPS_A_DAY = DAY_MS // STEP_MS
WARMTH = (Capability.TEMPERATURE_MEASUREMENT, "measured_value", Unit.CELSIUS)
CONTROLLER = (Capability.THERMOSTAT, "local_temperature", Unit.CELSIUS)
HUMIDITY = (Capability.RELATIVE_HUMIDITY_MEASUREMENT, "measured_value", Unit.PERCENT)
CARBON_DIOXIDE = (Capability.CARBON_DIOXIDE_CONCENTRATION_MEASUREMENT, "measured_value", Unit.PARTS_PER_MILLION)
VOLTAGE = (Capability.ELECTRICAL_MEASUREMENT, "rms_voltage", Unit.VOLT)


@dataclass(slots=True)
class Sensor:
    """One sensor. `threshold`: 0 is polled every five minutes; else it speaks at such a change, or after an hour."""

    name: str
    model: str
    what: tuple[Capability, str, Unit]
    resolution: float
    noise: float = 0.0
    threshold: float = 0.0
    freezes_ms: int | None = None
    said: float | None = None
    said_ms: int = -DAY_MS

    def word(self, true: float, now_ms: int, dice: random.Random) -> Reading | None:
        """What it says at this moment, None if nothing."""
        value = round(round((true + dice.gauss(0, self.noise)) / self.resolution) * self.resolution, 4)
        if self.said is not None and self.freezes_ms is not None and now_ms >= self.freezes_ms:
            value = self.said
        moved = self.said is None or abs(value - self.said) >= self.threshold
        if self.threshold and not moved and now_ms - self.said_ms < HOUR_MS:
            return None
        self.said, self.said_ms = value, now_ms
        capability, attribute, unit = self.what
        return Reading(DeviceId(self.name), capability, attribute, value, unit, Quality.GOOD)


@dataclass(slots=True)
class Room:
    """A room with a time constant, a heating and guests who come and go."""

    hours_to_cool: float
    let: float  # the share of nights that somebody sleeps here
    celsius: float = 20.0
    humidity: float = 45.0
    carbon_dioxide: float = 420.0
    heating: bool = False
    guest: bool = False

    def live(self, outdoor_c: float, hour: float, dice: random.Random) -> None:
        """Live through five minutes."""
        if abs(hour - 15.0) < 0.01:
            self.guest = dice.random() < self.let
        inside = self.guest and (hour >= 18.5 or hour < 9.0)
        wanted_c = 21.5 if inside else 17.0
        self.heating = self.celsius < wanted_c - 0.3 or (self.heating and self.celsius < wanted_c + 0.3)
        share = 1 / 12 / self.hours_to_cool
        gain_c = (0.2 if self.heating else 0.0) + (0.01 if inside else 0.0)
        self.celsius += gain_c + (outdoor_c - self.celsius) * share
        damp = 55.0 if inside else 30.0 + outdoor_c
        self.humidity += (min(95.0, damp) - self.humidity) / 36 + (8.0 if inside and dice.random() < 0.01 else 0.0)
        self.carbon_dioxide += ((900.0 if inside else 415.0) - self.carbon_dioxide) / 24


@dataclass(slots=True)
class Lived:
    """What came of it. Times in hours; `untold` froze and were not told by the end."""

    device_days: float = 0.0
    falsely: list[str] = field(default_factory=list)
    told_after_h: list[float] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)

    @property
    def false_per_1000_device_days(self) -> float:
        """How often it was told of what is well."""
        return 1000 * len(self.falsely) / self.device_days


def live(seed: int, *, rooms: int, days: int, share_freezing: float, restart_every_days: int = 0) -> Lived:
    """Live through a house of so many rooms for so many days.

    Args:
        seed: Of everything.
        rooms: Guest rooms; each has a sensor of its climate, a controller and a meter or two.
        days: For how long.
        share_freezing: The share of sensors that freeze, at any time after the fourth day and up to half the time.
        restart_every_days: How often the edge is killed and begun again from what was kept; 0: never.
    """
    dice = random.Random(seed)
    homes = [Room(dice.uniform(20, 120), dice.choice((0.0, 0.5, 0.8, 0.95))) for _ in range(rooms)]
    sensors = [_sensors(number, dice) for number in range(rooms)]
    steady = _steady()
    for each in [each for group in sensors for each in group]:
        if dice.random() < share_freezing:
            each.freezes_ms = round(dice.uniform(4, max(5, days / 2)) * DAY_MS)
    everyone = {DeviceId(each.name): each for each in [*[each for group in sensors for each in group], *steady]}
    lived, weather_c = Lived(), 0.0
    frozen, told = Frozen(Kept(), now_ms=0), set[DeviceId]()
    for step in range(days * STEPS_A_DAY):
        now_ms, hour = step * STEP_MS, step % STEPS_A_DAY / 12
        weather_c = 0.999 * weather_c + dice.gauss(0, 0.12)
        season_c = 6.0 + 10.0 * step / (days * STEPS_A_DAY)
        outdoor_c = season_c + weather_c + 4.0 * math.cos((hour - 15) / 24 * 2 * math.pi)
        volts = 231.0 + 2.0 * math.sin(hour / 24 * 2 * math.pi) + dice.gauss(0, 0.4)
        for room, group in zip(homes, sensors, strict=True):
            room.live(outdoor_c, hour, dice)
            truth = {
                Capability.TEMPERATURE_MEASUREMENT: room.celsius,
                Capability.THERMOSTAT: room.celsius,
                Capability.RELATIVE_HUMIDITY_MEASUREMENT: room.humidity,
                Capability.CARBON_DIOXIDE_CONCENTRATION_MEASUREMENT: max(400.0, room.carbon_dioxide),
                Capability.ELECTRICAL_MEASUREMENT: volts,
            }
            for each in group:
                _hear(frozen, each, truth[each.what[0]], now_ms, dice)
        for each in steady:
            _hear(frozen, each, _standing(each, step), now_ms, dice)
        if step % 6:
            continue
        if restart_every_days and step % (restart_every_days * STEPS_A_DAY) == 0 and step:
            frozen = Frozen(frozen.kept(now_ms=now_ms), now_ms=now_ms)
        frozen.look(everyone, model_of=lambda device: everyone[device].model, now_ms=now_ms)
        for device in frozen.told().keys() - told:
            freezes_ms = everyone[device].freezes_ms
            if freezes_ms is None or now_ms < freezes_ms:
                lived.falsely.append(f"{device} on day {now_ms // DAY_MS}: {frozen.told()[device]}")
            else:
                lived.told_after_h.append((now_ms - freezes_ms) / HOUR_MS)
        told = set(frozen.told())
    lived.device_days = days * len(everyone)
    lived.untold = [name for name, each in everyone.items() if each.freezes_ms is not None and name not in told]
    return lived


def _hear(frozen: Frozen, sensor: Sensor, true: float, now_ms: int, dice: random.Random) -> None:
    if (reading := sensor.word(true, now_ms, dice)) is not None and isinstance(reading.value, float):
        frozen.heard(reading, reading.value, now_ms=now_ms)


def _sensors(number: int, dice: random.Random) -> list[Sensor]:
    kinds = [
        Sensor(f"fine-{number}", "polled/fine", CONTROLLER, 0.1, noise=0.03),
        Sensor(f"quiet-{number}", "polled/quiet", CONTROLLER, 0.1),
        Sensor(f"coarse-{number}", "radio/coarse", CONTROLLER, 0.5, noise=0.05, threshold=0.5),
        Sensor(f"whole-{number}", "polled/whole", CONTROLLER, 1.0, noise=0.05),
    ]
    return [
        dice.choice(kinds),
        Sensor(f"warmth-{number}", "radio/climate", WARMTH, 0.01, noise=0.01, threshold=0.2),
        Sensor(f"humidity-{number}", "radio/humidity", HUMIDITY, 1.0, noise=0.3, threshold=1.0),
        Sensor(f"air-{number}", "polled/air", CARBON_DIOXIDE, 1.0, noise=4.0),
        Sensor(f"meter-{number}", "polled/meter", VOLTAGE, 0.1, noise=0.1),
    ]


def _steady() -> list[Sensor]:
    """What is well and does not move, or hardly."""
    return [
        *(Sensor(f"cellar-{number}", "polled/fine", WARMTH, 0.1) for number in range(4)),
        *(Sensor(f"cold-store-{number}", "polled/cold", WARMTH, 1.0) for number in range(4)),
        *(Sensor(f"fresh-air-{number}", "polled/air", CARBON_DIOXIDE, 1.0) for number in range(4)),
        *(Sensor(f"regulated-{number}", "polled/regulated", VOLTAGE, 0.1) for number in range(4)),
    ]


def _standing(sensor: Sensor, step: int) -> float:
    days = step / STEPS_A_DAY
    match sensor.name.rpartition("-")[0]:
        case "cellar":
            return 13.0 + 0.5 * math.sin(days / 9)
        case "cold-store":
            return -18.0 + 1.2 * math.sin(days * 2 * math.pi * 6)
        case "fresh-air":
            return 400.0 + max(0.0, 300.0 * math.sin(days * 2 * math.pi / 5) - 200.0)
        case _:
            return 230.0


def main() -> None:
    """Print the numbers of a long life."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, default=40)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--freezing", type=float, default=0.1)
    asked = parser.parse_args()
    for seed in range(asked.seeds):
        lived = live(seed, rooms=asked.rooms, days=asked.days, share_freezing=asked.freezing)
        hours = sorted(lived.told_after_h)
        froze = len(hours) + len(lived.untold)
        print(
            f"seed {seed}: {lived.device_days:.0f} device-days, {len(lived.falsely)} told falsely, "
            f"{lived.false_per_1000_device_days:.2f} per 1,000; froze {froze}, told {len(hours)}"
            + (
                f", after {median(hours):.0f} h (half), {hours[-1 - len(hours) // 20]:.0f} h (19 of 20)"
                if hours
                else ""
            )
        )
        for each in [*lived.falsely[:8], *[f"untold: {name}" for name in lived.untold[:12]]]:
            print(f"  {each}")


if __name__ == "__main__":
    main()
