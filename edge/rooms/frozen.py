"""Sensors that say the same to the last digit for longer than such a sensor can mean it.

A value that stands proves nothing by itself: a well-kept room is steady, and a coarse thermometer hides what moves. So
a value is held against three things: how coarse it is (the usual size of its own steps), how long it has stood before
in the last fortnight of listening, and whether others of its model in the house moved meanwhile. Only what nature
never leaves alone is judged (`RULES`): no contact, no switch, no setpoint, nothing that rests at zero. What a broken
sensor stood for does not teach how long it may stand: it ends in a leap, a steady room ends in a step. Times are those
of listening, over restarts too: what the edge slept through proves nothing. Pure.
Decision: docs/decisions/0136-a-value-that-stands-is-held-against-its-own-past.md.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import median
from types import MappingProxyType
from typing import Final

from protocols.device_model.capability import ATTRIBUTES, ENDPOINT_SEPARATOR, Capability, attribute
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Reading

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
WORDS_LEAST: Final = 8
"""So often at least it must have said the same: who is silent is stale and not frozen."""
GAP_MOST_MS: Final = 90 * 60_000
"""Between two equal words no more than this counts as stood: nobody knows what it did meanwhile."""
LONGER_THAN_EVER: Final = 3.0
ALONE_LONGER: Final = 6.0
"""By how much it must have stood longer than ever before; the second where no neighbours speak against it."""
ALONE_STANDS: Final = 3.0
KNOWN_LEAST_MS: Final = DAY_MS
CHANGES_LEAST: Final = 10
"""Before so much time and so many changes nothing is known of how it behaves."""
NEVER_MOVED_MS: Final = 3 * DAY_MS
NEIGHBOURS_LEAST: Final = 3
NEIGHBOURS_OF_THE_UNMOVED_LEAST: Final = 5
MOVED_SHARE: Final = 0.75
MOVED_SHARE_OF_THE_UNMOVED: Final = 0.9
MOVES: Final = 3
"""Who changed so often since is one that moved."""
STEPS_KEPT: Final = 9
DAYS_KEPT: Final = 14
LEAP: Final = 2.0
"""A change of more than so many usual steps is no step."""
VALUES_A_DEVICE_MOST: Final = 8


@dataclass(frozen=True, slots=True)
class Rule:
    """How long a value of a fine sensor must stand at least, and what "fine" is.

    Attributes:
        stands_ms: At least so long; a sensor whose usual step is wider than `fine` is given as much more time.
        fine: In the attribute's unit.
        rests: Whether it may rest at an end of its range: air that cannot be fresher, or wetter.
    """

    stands_ms: int
    fine: float
    rests: bool = False


_WARMTH: Final = Rule(8 * HOUR_MS, 0.1)
RULES: Final[Mapping[tuple[Capability, str], Rule]] = MappingProxyType(
    {
        (Capability.THERMOSTAT, "local_temperature"): _WARMTH,
        (Capability.THERMOSTAT, "outdoor_temperature"): _WARMTH,
        (Capability.TEMPERATURE_MEASUREMENT, "measured_value"): _WARMTH,
        (Capability.RELATIVE_HUMIDITY_MEASUREMENT, "measured_value"): Rule(12 * HOUR_MS, 0.5, rests=True),
        (Capability.CARBON_DIOXIDE_CONCENTRATION_MEASUREMENT, "measured_value"): Rule(8 * HOUR_MS, 2.0, rests=True),
        (Capability.ELECTRICAL_MEASUREMENT, "rms_voltage"): Rule(6 * HOUR_MS, 0.5),
    }
)
"""What nature never leaves alone. Light, dust, flow and pressure rest for days, and currents and powers do."""


@dataclass(slots=True)
class Track:
    """One value of one device. Times are ms of listening.

    Attributes:
        value: What it says.
        begun_ms: When it said so first.
        heard_ms: When it said anything last.
        first_ms: When it was first heard.
        words: How often it said so.
        stood_ms: For how long, as far as that is proven.
        changes: When it last changed, `MOVES` times.
        steps: By how much it last changed.
        longest: By day of listening, the longest that it stood in good health.
        many: How often it changed in all.
        least, most: What it ever said.
        frozen: Whether it is believed to be.
    """

    value: float
    begun_ms: int
    heard_ms: int
    first_ms: int
    words: int = 1
    stood_ms: int = 0
    changes: list[int] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    longest: list[tuple[int, int]] = field(default_factory=list)
    many: int = 0
    least: float = 0.0
    most: float = 0.0
    frozen: bool = False

    def said(self, value: float, at_ms: int) -> None:
        """Take what it says."""
        if value == self.value:
            self.words += 1
            self.stood_ms += min(at_ms - self.heard_ms, GAP_MOST_MS)
            self.heard_ms = at_ms
            return
        step, day, longest = abs(value - self.value), at_ms // DAY_MS, self.longest
        known = longest and longest[-1][0] == day and self.stood_ms <= longest[-1][1]  # nearly always
        if not known and not (self.frozen and self._leaps(step)):
            self._stood(day)
        changes, steps = self.changes, self.steps
        changes.append(at_ms)
        while len(changes) > MOVES:
            del changes[0]
        steps.append(step)
        while len(steps) > STEPS_KEPT:
            del steps[0]
        self.many += 1
        self.value, self.begun_ms, self.heard_ms = value, at_ms, at_ms
        self.words, self.stood_ms, self.frozen = 1, 0, False
        if value < self.least:
            self.least = value
        elif value > self.most:
            self.most = value

    @property
    def usual_step(self) -> float | None:
        """By how much it usually changes; None: it never has."""
        return median(self.steps) if self.steps else None

    def longest_ms(self, at_ms: int) -> int:
        """Return the longest that it stood in good health within the last fortnight of listening."""
        return max((ms for day, ms in self.longest if at_ms // DAY_MS - day <= DAYS_KEPT), default=0)

    def moved_since(self, at_ms: int) -> bool:
        """Say whether it has moved since."""
        return len(self.changes) == MOVES and self.changes[0] >= at_ms

    def _leaps(self, step: float) -> bool:
        usual = self.usual_step
        return usual is not None and step > LEAP * usual

    def _stood(self, day: int) -> None:
        if self.longest and self.longest[-1][0] == day:
            if self.stood_ms > self.longest[-1][1]:
                self.longest[-1] = (day, self.stood_ms)
        else:
            self.longest = [*self.longest, (day, self.stood_ms)][-DAYS_KEPT:]


@dataclass(frozen=True, slots=True)
class Kept:
    """What survives a restart. `tracks`: by device, then by `capability.attribute`."""

    lived_ms: int = 0
    tracks: dict[str, dict[str, Track]] = field(default_factory=dict)


class Frozen:
    """Which values of the house stand as no such value does.

    Args:
        kept: What was kept of the last life.
        now_ms: Monotonic ms, as everywhere here.
    """

    def __init__(self, kept: Kept, *, now_ms: int) -> None:
        self._tracks = {
            DeviceId(device): {key: each for key, each in tracks.items() if _known(key)}
            for device, tracks in kept.tracks.items()
        }
        self._ahead_ms = kept.lived_ms - now_ms

    def heard(self, reading: Reading, value: float, *, now_ms: int) -> None:
        """Take a good value of a device of the house."""
        key = judged_as(reading.capability, reading.attribute)
        if key is not None:
            self.heard_as(key, reading.device, value, now_ms=now_ms)

    def heard_as(self, key: str, device: DeviceId, value: float, *, now_ms: int) -> None:
        """Take a good value that is judged under a key (`judged_as`)."""
        tracks, at_ms = self._tracks.get(device), now_ms + self._ahead_ms
        if tracks is None:
            tracks = self._tracks[device] = {}
        if (track := tracks.get(key)) is not None:
            track.said(value, at_ms)
        elif len(tracks) < VALUES_A_DEVICE_MOST:
            tracks[key] = Track(value, at_ms, at_ms, at_ms, least=value, most=value)

    def forget(self, device: DeviceId) -> None:
        """Forget a device: another thing stands behind its name."""
        self._tracks.pop(device, None)

    def look(self, devices: Iterable[DeviceId], *, model_of: Callable[[DeviceId], str], now_ms: int) -> bool:
        """Judge all values of the house's devices; True if one is frozen that was not, or the other way.

        Args:
            devices: Every device of the house; what others said is forgotten.
            model_of: What parts devices that can be compared from those that cannot.
            now_ms: Monotonic ms.
        """
        self._tracks = {each: self._tracks[each] for each in devices if each in self._tracks}
        at_ms = now_ms + self._ahead_ms
        groups: dict[tuple[str, str], list[Track]] | None = None
        changed = False
        for device, key, track in self._all():
            if track.frozen:
                continue  # until it moves
            rule = _known(key)
            if (
                rule is None
                or track.words < WORDS_LEAST
                or track.stood_ms < rule.stands_ms
                or _at_rest(track, rule, key)
            ):
                continue
            if groups is None:
                groups = self._groups(model_of)
            others = [each for each in groups[model_of(device), key] if each is not track]
            if _stands_too_long(track, rule, others, at_ms):
                track.frozen = changed = True
        return changed

    def told(self) -> dict[DeviceId, str]:
        """Return what is frozen, by device, each with what is known of it."""
        found: dict[DeviceId, list[str]] = defaultdict(list)
        for device, key, track in self._all():
            if track.frozen:
                found[device].append(f"{key} says {track.value:.10g} for {round(track.stood_ms / HOUR_MS)} h")
        return {device: ", ".join(sorted(said)) for device, said in found.items()}

    def kept(self, *, now_ms: int) -> Kept:
        """Return what must survive a restart."""
        return Kept(now_ms + self._ahead_ms, {str(device): tracks for device, tracks in self._tracks.items()})

    def _all(self) -> Iterator[tuple[DeviceId, str, Track]]:
        for device, tracks in self._tracks.items():
            for key, track in tracks.items():
                yield device, key, track

    def _groups(self, model_of: Callable[[DeviceId], str]) -> dict[tuple[str, str], list[Track]]:
        groups: dict[tuple[str, str], list[Track]] = defaultdict(list)
        for device, key, track in self._all():
            groups[model_of(device), key].append(track)
        return groups


def _stands_too_long(track: Track, rule: Rule, others: list[Track], at_ms: int) -> bool:
    # Whoever is silent, or has just begun to speak, is no witness.
    others = [each for each in others if each.heard_ms >= track.begun_ms and each.first_ms <= track.begun_ms + HOUR_MS]
    moved = sum(each.moved_since(track.begun_ms) for each in others)
    usual = track.usual_step
    if usual is None or track.many < CHANGES_LEAST or track.begun_ms - track.first_ms < KNOWN_LEAST_MS:
        steps = [each.usual_step for each in others if each.many >= CHANGES_LEAST]
        coarse = max([1.0, *(each / rule.fine for each in steps if each is not None)])
        return (
            len(others) >= NEIGHBOURS_OF_THE_UNMOVED_LEAST
            and moved >= MOVED_SHARE_OF_THE_UNMOVED * len(others)
            and track.stood_ms >= max(NEVER_MOVED_MS, ALONE_STANDS * rule.stands_ms * coarse)
            and track.stood_ms >= LONGER_THAN_EVER * track.longest_ms(at_ms)
        )
    stands_ms, longest_ms = rule.stands_ms * max(1.0, usual / rule.fine), track.longest_ms(at_ms)
    if len(others) >= NEIGHBOURS_LEAST and moved >= MOVED_SHARE * len(others):
        return track.stood_ms >= max(stands_ms, LONGER_THAN_EVER * longest_ms)
    return track.stood_ms >= max(ALONE_STANDS * stands_ms, ALONE_LONGER * longest_ms)


def _at_rest(track: Track, rule: Rule, key: str) -> bool:
    if not rule.rests:
        return False
    capability, _, name = key.partition(".")
    row = attribute(Capability(capability), name)
    return track.value in (track.least, track.most, row.least, row.most)


def _rule(capability: Capability, name: str) -> Rule | None:
    rule = RULES.get((capability, name))
    if rule is None and ENDPOINT_SEPARATOR in name:
        rule = RULES.get((capability, name.partition(ENDPOINT_SEPARATOR)[0]))
    return rule


@lru_cache(maxsize=4_096)
def judged_as(capability: Capability, name: str) -> str | None:
    """Return the `capability.attribute` under which an attribute's values are judged; None: they are not."""
    return None if _rule(capability, name) is None else f"{capability}.{name}"


_CAPABILITIES: Final = {each.value: each for each, _ in ATTRIBUTES}


def _known(key: str) -> Rule | None:
    """Return the rule of a `capability.attribute`, as it may have been kept by another build."""
    name, _, plain = key.partition(".")
    capability = _CAPABILITIES.get(name)
    return None if capability is None else _rule(capability, plain)
