"""The reporter: which readings are worth keeping, and which have gone stale.

A reading goes on if its value moved by more than the point's deadband, its quality or reason changed, or the point's
heartbeat is due. What has not been heard for the time its bus gives is told as stale, with the last value: an old
number must never look like a new one (guarantee G17).

A device that babbles costs the house no more than one that speaks much: a point is told ten times a second at most,
after a burst of fifty, and what it said last is told in any case.

Bad readings are counted by reason as `bad_<reason>`, one a point: a message that cannot be read at all counts once for
each point it should have told of, and once, as a message, as `undecodable_messages` with whoever heard it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from edge.bridges.complaints import Complaints
from edge.bridges.ports import ReadingSink
from protocols.descriptors.codec import Reason, bad
from protocols.descriptors.codec import reading as reading_of
from protocols.descriptors.descriptor import Point
from protocols.device_model.capability import Capability
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading

DEADBAND_TOLERANCE: Final = 1e-9
WITHHELD_STALE_MS: Final = 3_600_000
TOLD_EVERY_MS: Final = 100
"""A point that changes without end is told so often, and its latest value in the end; see `BURST_MS`."""
BURST_MS: Final = 5_000
"""As many changes as fit in so long at that pace may follow each other at once."""

UNTOLD: Final = frozenset({Reason.NO_VALUE, Reason.NOT_JSON, Reason.NOT_THIS_MODEL})
"""Bad, and no news: the device says that it has no value; told with the whole message; told as an event."""

_WORDS: Final = (bool, str)
_GOOD: Final = Quality.GOOD

Key = tuple[DeviceId, Capability, str]


@dataclass(slots=True)
class Known:
    """What is known of one point. Whoever reads many messages of a device holds its own of each (`Reporter.known`)."""

    point: Point
    stale_ms: int
    heard_ms: int
    heartbeat_ms: int
    margin: float
    """A change of at most so much is none."""
    quiet_until_ms: int = 0
    """Before that a good value that is said again, word for word, is no news; 0: whatever is said is to be taken."""
    told_ms: int = 0
    told: Reading | None = None
    last: Reading | None = None
    spent_ms: int = 0
    """When all that was told of it will have been paid for by its pace."""
    held: Reading | None = None
    """What is to be told when its pace allows."""
    again_at_ms: int | None = None
    """When the device itself said `last` again, by its own clock."""

    def again(self, device_at_ms: int | None, heard_ms: int) -> None:
        """Learn that a good value was said again, word for word, before `quiet_until_ms`.

        Most of what a sensor says it has said before, and this costs a tenth of what a reading does.
        """
        if heard_ms > self.heard_ms:  # noqa: PLR1730 - calling max costs more than the rest
            self.heard_ms = heard_ms
        self.again_at_ms = device_at_ms


class Reporter:
    """Remembers one reading a point. `counts` and `complaints` are the supervisor's."""

    def __init__(self, sink: ReadingSink, counts: Counter[str], complaints: Complaints) -> None:
        self._sink, self._counts, self._complaints = sink, counts, complaints
        self._known: dict[Key, Known] = {}
        self.edition = 0
        """Another number whenever a point is known anew: who holds a `Known` of before asks again."""

    def expect(self, device: DeviceId, point: Point, *, stale_ms: int, now_ms: int) -> None:
        """Expect a point to be heard at least every `stale_ms` milliseconds from now on."""
        self._expect((device, point.capability, point.attribute), point, stale_ms, now_ms)

    def known(self, device: DeviceId, point: Point) -> Known | None:
        """Return what is known of a point; None: nobody expects it. It holds for this `edition`."""
        return self._known.get((device, point.capability, point.attribute))

    def renew(self, device: DeviceId, points: Sequence[tuple[Point, int]], *, now_ms: int) -> None:
        """Expect these points of a device from now on, each with its `stale_ms`; what has not changed goes on.

        A point that the device does not have any more is told so, and forgotten.
        """
        wanted = {(device, point.capability, point.attribute): (point, stale) for point, stale in points}
        for key in [each for each in self._known if each[0] == device and each not in wanted]:
            known = self._known.pop(key)
            self.edition += 1
            self._tell(known, reading_of(known.point, device, bad(Reason.NOT_IN_FIRMWARE)), now_ms)
        for key, (point, stale_ms) in wanted.items():
            before = self._known.get(key)
            if before is None or before.point != point:
                self._expect(key, point, stale_ms, now_ms)

    def withhold(self, device: DeviceId, points: Iterable[Point], *, now_ms: int) -> None:
        """Say that nothing is told of these points because the device does not say which firmware it runs."""
        for point in points:
            key = (device, point.capability, point.attribute)
            known = self._known.get(key) or self._expect(key, point, WITHHELD_STALE_MS, now_ms)
            known.heard_ms = now_ms
            verdict = reading_of(point, device, bad(Reason.FIRMWARE_UNKNOWN))
            if _worth(known, verdict, now_ms):
                self._tell(known, verdict, now_ms)

    def take(self, reading: Reading, *, now_ms: int, age_ms: int = 0, place: str = "") -> None:
        """Take a reading as it was heard, `age_ms` after the device said it. One that nobody expects is dropped.

        A negative age: it holds for so long, because nobody asks again before.
        `place` is the topic it came on; where there is none, a log line names device and register.
        """
        if self.is_news(reading, now_ms=now_ms, age_ms=age_ms, place=place):
            self.hand_on((reading,))

    def hand_on(self, told: Sequence[Reading]) -> None:
        """Hand on what `is_news` or `tells` said is to be: what one message told, together."""
        self._counts["readings"] += len(told)
        self._sink.together(told)

    def is_news(self, reading: Reading, *, now_ms: int, age_ms: int = 0, place: str = "") -> bool:
        """Do as `take`, but leave it to the caller to hand it on; True: that is to be done, and it counts as told."""
        known = self._known.get((reading.device, reading.capability, reading.attribute))
        if known is None:
            self._counts["unexpected_readings"] += 1
            return False
        if reading.quality is Quality.BAD:
            word = (reading.reason or "").partition(":")[0]
            self._counts[f"bad_{word or 'reading'}"] += 1
            if word not in UNTOLD:
                self._complaints.bad(place or reading.device, _where(known.point), reading)
        return self.tells(known, reading, now_ms, now_ms - age_ms)

    def tells(self, known: Known, reading: Reading, now_ms: int, heard_ms: int) -> bool:
        """Do as `is_news` with a reading of a point that is known, heard at `heard_ms`; a bad one is for that."""
        if heard_ms > known.heard_ms:  # noqa: PLR1730 - as above
            known.heard_ms = heard_ms
        if reading.value is not None:
            known.last, known.again_at_ms = reading, reading.device_at_ms
        known.held = None
        if _worth(known, reading, now_ms):
            if known.spent_ms - now_ms <= BURST_MS:
                _is_told(known, reading, now_ms)
                return True
            known.held = reading
            self._complaints.refused("babbled", reading.device, f"{_where(known.point)} changes without end")
        _settle(known)
        return False

    def tells_number(self, known: Known, reading: Reading, now_ms: int, heard_ms: int) -> bool:
        """Do as `tells` with a good number; what is not ordinary about it goes there."""
        told, value = known.told, reading.value
        if (
            told is None
            or type(value) is not float
            or type(told.value) is not float
            or told.quality is not _GOOD
            or told.reason is not None
            or known.spent_ms - now_ms > BURST_MS
            or (abs(value - told.value) <= known.margin and now_ms - known.told_ms < known.heartbeat_ms)
        ):
            return self.tells(known, reading, now_ms, heard_ms)
        if heard_ms > known.heard_ms:  # noqa: PLR1730 - as above
            known.heard_ms = heard_ms
        known.last = known.told = reading
        known.again_at_ms, known.held, known.told_ms = reading.device_at_ms, None, now_ms
        known.spent_ms = (known.spent_ms if known.spent_ms > now_ms else now_ms) + TOLD_EVERY_MS  # noqa: FURB136 - as above
        known.quiet_until_ms = now_ms + known.heartbeat_ms
        return True

    def last(self, device: DeviceId, capability: Capability, attribute: str) -> Reading | None:
        """Return the last reading with a value."""
        known = self._known.get((device, capability, attribute))
        return None if known is None else known.last

    def silent(self, device: DeviceId, *, now_ms: int) -> None:
        """Take note that a device is gone: all that was known of it is stale now."""
        for (whose, _, _), known in self._known.items():
            if whose == device:
                self._tell_stale(known, now_ms)

    def sweep(self, *, now_ms: int) -> None:
        """Tell what has not been heard for too long."""
        for known in self._known.values():
            if known.held is not None and known.spent_ms - now_ms <= BURST_MS:
                self._tell(known, known.held, now_ms)
            if now_ms - known.heard_ms >= known.stale_ms:
                self._tell_stale(known, now_ms)

    def sweep_in_ms(self, *, now_ms: int) -> int | None:
        """Return in how many milliseconds the next point can go stale; None if none can."""
        due = [
            known.heard_ms + known.stale_ms - now_ms
            for known in self._known.values()
            if known.told is not None and known.told.quality is not Quality.STALE
        ]
        due += [known.spent_ms - BURST_MS - now_ms for known in self._known.values() if known.held is not None]
        return max(0, min(due)) if due else None

    def _expect(self, key: Key, point: Point, stale_ms: int, now_ms: int) -> Known:
        heartbeat_ms = round(point.heartbeat_s * 1000)
        # The tolerance is for binary fractions: 20.1 - 20.0 is a little more than 0.1.
        made = Known(point, stale_ms, now_ms, heartbeat_ms, point.deadband * (1 + DEADBAND_TOLERANCE))
        self._known[key] = made
        self.edition += 1
        return made

    def _tell_stale(self, known: Known, now_ms: int) -> None:
        if known.told is None or known.told.quality is Quality.STALE:
            return  # never heard, or told already
        base = known.told if known.last is None else replace(known.last, device_at_ms=known.again_at_ms)
        self._tell(known, replace(base, quality=Quality.STALE, reason=Reason.NO_ANSWER.value), now_ms)

    def _tell(self, known: Known, reading: Reading, now_ms: int) -> None:
        known.held = None
        _is_told(known, reading, now_ms)
        self.hand_on((reading,))


def _where(point: Point) -> str:
    if point.register is not None:
        return f"{point.table} register {point.register}"
    return point.path or point.node or ""


def _is_told(known: Known, reading: Reading, now_ms: int) -> None:
    known.told, known.told_ms = reading, now_ms
    known.spent_ms = (known.spent_ms if known.spent_ms > now_ms else now_ms) + TOLD_EVERY_MS  # noqa: FURB136 - as above
    if reading is known.last and reading.quality is Quality.GOOD:  # as nearly always
        known.quiet_until_ms = now_ms + known.heartbeat_ms
    else:
        _settle(known)


def _settle(known: Known) -> None:
    """Note until when a good value said again is no news. After what was told, heard or held has changed."""
    told, last = known.told, known.last
    good = told is not None and last is not None and told.quality is last.quality is Quality.GOOD
    known.quiet_until_ms = known.told_ms + known.heartbeat_ms if good and known.held is None else 0


def _worth(known: Known, reading: Reading, now_ms: int) -> bool:
    told = known.told
    if told is None or told.quality is not reading.quality or told.reason != reading.reason:
        return True
    if now_ms - known.told_ms >= known.heartbeat_ms:
        return True
    before, after = told.value, reading.value
    if type(before) is float and type(after) is float:  # as nearly always
        return abs(after - before) > known.margin
    if before is None or after is None or isinstance(before, _WORDS) or isinstance(after, _WORDS):
        return before != after
    return before != after and abs(after - before) > known.margin


def quality_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Return only the counts of bad readings, by reason."""
    return {word.removeprefix("bad_"): count for word, count in counts.items() if word.startswith("bad_")}
