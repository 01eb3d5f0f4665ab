"""The port of the time series: what is written, what is asked, and what a store promises whichever engine carries it.

Two engines stand behind it: `cloud.telemetry.store.plain` (PostgreSQL alone) and `cloud.telemetry.store.timescale`
(PostgreSQL with TimescaleDB); `cloud.telemetry.store.choice` takes what the server has. One contract suite holds both
(tests/contract/telemetry_store_claims.py).

Time: `at` is when a value was so, as far as anybody knows; `telemetry.store.times` says whose clock that was. All times
are unix milliseconds, UTC; every range is half open: `since_ms <= at < until_ms`.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, IntEnum
from typing import NamedTuple, Protocol, TypeAlias

from cloud.kit.database import Connection
from cloud.telemetry.ledger_keeping import LedgerRetention
from protocols.errors import InvalidInputError

Scalar: TypeAlias = bool | int | float | str


class TimeSource(IntEnum):
    """Whose clock `at` is, and how far it was to be believed."""

    SYNCHRONISED = 0
    """The building's, disciplined by a time source."""
    DRIFTING = 1
    """The building's, disciplined not long ago."""
    UNCERTAIN = 2
    """The building's, which itself did not believe it."""
    ARRIVAL = 3
    """Ours, when it came: what the building said could not be."""


class Thinned(NamedTuple):
    """What a thinned reading stands for besides itself (protocols/link/SPEC.md 3.1).

    `stands_for` readings, the oldest at position `from_seq` and `since_ms`, on the clock of the reading's `at_ms`;
    `least`, `most`, `mean` over the `numbers` of them whose value is a number. `first`: the value of the oldest.
    """

    since_ms: int
    from_seq: int
    stands_for: int
    numbers: int
    least: float | None
    most: float | None
    mean: float | None
    first: Scalar | None


class ReadingRow(NamedTuple):
    """One reading, decoded, judged and not stored before. (`ordinal`, `seq`) is where it stands in its stream.

    `at_ms`, `time_source`: from `cloud.telemetry.store.times.when`. `edge_at_ms`: as the building said it, however
    wrong. `value` None exactly if there is none (quality bad, or stale with nothing known). `quality`: good,
    uncertain, bad or stale. `thinned`: None of a reading that stands for itself alone.
    """

    tenant: str
    property: str
    room: str | None
    device: str
    capability: str
    attribute: str
    unit: str | None
    at_ms: int
    edge_at_ms: int
    value: Scalar | None
    quality: str
    time_source: TimeSource
    ordinal: int
    seq: int
    thinned: Thinned | None = None


class Resolution(Enum):
    """How fine: every reading, or one bucket a minute, quarter of an hour, UTC day."""

    RAW = "raw"
    MINUTE = "1m"
    QUARTER = "15m"
    DAY = "1d"

    @property
    def step_ms(self) -> int:
        """Length of a bucket; 0: no buckets."""
        return _STEP_MS[self]


_STEP_MS = {Resolution.RAW: 0, Resolution.MINUTE: 60_000, Resolution.QUARTER: 900_000, Resolution.DAY: 86_400_000}


@dataclass(frozen=True, slots=True)
class Retention:
    """How long each resolution is kept at least; None: for ever. Whole UTC days go at a time. `ledger`: see there.

    Raises:
        InvalidInputError: a coarser resolution is kept for less time than a finer one, or raw for less than 2 days.
    """

    raw: timedelta | None = timedelta(days=35)
    minute: timedelta | None = timedelta(days=100)
    quarter: timedelta | None = timedelta(days=800)
    day: timedelta | None = None
    ledger: LedgerRetention = field(default_factory=LedgerRetention)

    def __post_init__(self) -> None:
        kept = [timedelta.max if each is None else each for each in (self.raw, self.minute, self.quarter, self.day)]
        if kept[0] < timedelta(days=2):
            raise InvalidInputError("retention.raw", f"{self.raw} is less than 2 days: the roll-up could not keep up")
        if kept != sorted(kept):
            raise InvalidInputError("retention", "a coarser resolution must be kept at least as long as a finer one")

    def of(self, resolution: Resolution) -> timedelta | None:
        """Return how long `resolution` is kept."""
        return {
            Resolution.RAW: self.raw,
            Resolution.MINUTE: self.minute,
            Resolution.QUARTER: self.quarter,
            Resolution.DAY: self.day,
        }[resolution]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which series: always one tenant's property, narrowed by any of the rest."""

    tenant: str
    property: str
    room: str | None = None
    device: str | None = None
    capability: str | None = None
    attribute: str | None = None


class Series(NamedTuple):
    """What a point belongs to. A device that moves to another room goes on as another series."""

    id: int
    room: str | None
    device: str
    capability: str
    attribute: str
    unit: str | None


class Spread(NamedTuple):
    """Between which values a thinned reading's `stands_for` readings were, from `since_ms` to its own time."""

    since_ms: int
    stands_for: int
    least: float | None
    most: float | None
    mean: float | None


class Point(NamedTuple):
    """One reading as it was stored; `spread`: None of one that stands for itself alone."""

    series: int
    at_ms: int
    value: Scalar | None
    quality: str
    time_source: TimeSource
    edge_at_ms: int
    ordinal: int
    seq: int
    spread: Spread | None = None


class Bucket(NamedTuple):
    """One bucket of one series. A thinned reading counts as all that it stands for, at its own time.

    Only good and uncertain values count; `flawed` tells how many others there were. `least`, `most`, `mean`, `first`,
    `last` are of numbers, a bool counting as 0 or 1; of text there are only `first_text` and `last_text`. None:
    nothing of the kind in the bucket. First and last by (at, ordinal, seq).
    """

    series: int
    at_ms: int
    samples: int
    flawed: int
    numbers: int
    least: float | None
    most: float | None
    total: float
    first: float | None
    last: float | None
    first_text: str | None
    last_text: str | None

    @property
    def mean(self) -> float | None:
        """The mean of the numbers."""
        return self.total / self.numbers if self.numbers else None


class Aggregate(NamedTuple):
    """Everything of one series in a span. `until_ms`: of the newest bucket or reading that went into it."""

    series: int
    samples: int
    flawed: int
    numbers: int
    least: float | None
    most: float | None
    total: float
    first: float | None
    last: float | None
    first_text: str | None
    last_text: str | None


Position: TypeAlias = tuple[int, int, int, int]
"""Where a page ended: (at_ms, series, ordinal, seq); a bucket has ordinal and seq 0. Order of every list of points."""


@dataclass(frozen=True, slots=True)
class RangeQuestion:
    """Points of some series in a span, in the order of `Position`, after a position."""

    series: Sequence[int]
    since_ms: int
    until_ms: int
    resolution: Resolution
    after: Position | None = None


@dataclass(slots=True)
class MaintenanceReport:
    """What one run of maintenance did, and whether there is more to do at once."""

    rolled_up: dict[Resolution, int] = field(default_factory=dict)
    """Buckets written, by resolution."""
    folded: int = 0
    """Readings older than what is kept raw, added to the roll-ups they belong to."""
    dropped: list[str] = field(default_factory=list)
    """What retention let go, by name."""
    held_back: list[str] = field(default_factory=list)
    """What retention would have let go, had the roll-up seen all of it."""
    compressed: int = 0
    sealed: int = 0
    """Days of streams of the ledger that got their checkpoint."""
    more: bool = False


class TelemetryStore(Protocol):
    """A time series of readings."""

    async def write(self, connection: Connection, readings: Sequence[ReadingRow]) -> list[ReadingRow]:
        """Store readings inside the caller's transaction; they are there if and only if it commits.

        Never fails over a time: what has no partition of its own is stored all the same.

        Args:
            connection: with a transaction open; nothing else may use it meanwhile.
            readings: of any number of properties; none was stored before (the mark of their stream says so).

        Returns:
            Those that are not stored, because their property has no room for another series.
        """
        ...

    async def ensure_partitions(self, now_ms: int) -> None:
        """Make what today's and the next days' readings go into. Cheap to call often; in a transaction of its own."""
        ...

    async def run_maintenance(self, now_ms: int) -> MaintenanceReport:
        """Roll up what changed, bounded; let go what retention says, never what the roll-up has not seen.

        The ledger beside it is sealed and let go by `cloud.telemetry.ledger_keeping`.

        One runner at a time, whoever calls; a call that finds another at work returns an empty report. May be cut
        off anywhere: the next call goes on.
        """
        ...

    async def series(self, connection: Connection, selection: Selection, *, most: int) -> list[Series]:
        """Return up to `most` series of a selection, by id."""
        ...

    async def latest(self, connection: Connection, series: Sequence[int]) -> list[Point]:
        """Return the newest stored reading of each series that has one in what is kept raw."""
        ...

    async def range(self, connection: Connection, question: RangeQuestion, *, most: int) -> list[Point] | list[Bucket]:
        """Return up to `most` points: `Point` of RAW, `Bucket` of all else."""
        ...

    def stream(
        self, connection: Connection, question: RangeQuestion, *, at_a_time: int
    ) -> AbstractAsyncContextManager[AsyncIterator[list[Point] | list[Bucket]]]:
        """Yield all points of a question in pieces of `at_a_time`, from a cursor of the server: memory is one piece."""
        ...

    async def aggregate(self, connection: Connection, question: RangeQuestion) -> list[Aggregate]:
        """Return one row a series that has anything in the span, from `question.resolution` (its buckets whole)."""
        ...

    async def kept_since(self, connection: Connection, resolution: Resolution) -> int | None:
        """Return since when a resolution is kept; None: nothing was ever let go."""
        ...

    async def unsettled(self, connection: Connection, selection: Selection, resolution: Resolution) -> int | None:
        """Return the start of the oldest bucket that stored readings may still change; None: all is rolled up."""
        ...
