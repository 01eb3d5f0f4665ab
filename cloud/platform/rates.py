"""How often an authenticated caller may ask: a bucket a caller and kind of request, its rule from the database.

Buckets live in this process: N processes allow up to N times as much, which bounds load all the same. Rules are read
again every RULES_MS at the latest; the most particular one decides (caller, then tenant, then DEFAULTS).
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from cloud.kit.acting import acting, system
from cloud.kit.database import Database, fetch_all
from protocols.errors import PlatformError

RULES_MS: Final = 10_000
BUCKETS_MOST: Final = 10_000
"""Beyond it the bucket that was not asked for the longest is forgotten, which gives its owner a full one."""


class Kind(StrEnum):
    """What a request does."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Rule:
    """So many a minute in the long run, and so many at once."""

    per_minute: int
    burst: int


DEFAULTS: Final[Mapping[Kind, Rule]] = {Kind.READ: Rule(3_000, 600), Kind.WRITE: Rule(600, 120)}


class RateExceededError(PlatformError):
    """Come again in `retry_after_s`."""

    retryable = True

    def __init__(self, rule: Rule, retry_after_s: int) -> None:
        super().__init__(f"more than {rule.per_minute} requests a minute; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Clock(Protocol):
    """What limiting needs of a clock."""

    def now_ms(self) -> int:
        """Milliseconds that never run back."""
        ...


@dataclass(slots=True)
class _Bucket:
    level: float
    at_ms: int


class RateLimits:
    """Counts what callers ask."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        """Nothing is read before the first caller."""
        self._database, self._clock = database, clock
        self._rules: dict[tuple[str, str, str], Rule] = {}
        self._read_ms: int | None = None
        self._buckets: OrderedDict[tuple[str, str, Kind], _Bucket] = OrderedDict()

    async def count(self, tenant: str, caller: str, kind: Kind) -> None:
        """Count a request. Raises RateExceededError; a request that is refused adds nothing."""
        now_ms = self._clock.now_ms()
        if self._read_ms is None or now_ms - self._read_ms >= RULES_MS:
            self._read_ms = now_ms  # before asking: while one asks, the others go by what is known
            await self._read()
        rule = self._rules.get((tenant, caller, kind)) or self._rules.get((tenant, "", kind)) or DEFAULTS[kind]
        bucket = self._buckets.setdefault((tenant, caller, kind), _Bucket(0.0, now_ms))
        self._buckets.move_to_end((tenant, caller, kind))
        while len(self._buckets) > BUCKETS_MOST:
            self._buckets.popitem(last=False)
        left = max(0.0, bucket.level - (now_ms - bucket.at_ms) * rule.per_minute / 60_000)
        fits = left + 1 <= rule.burst
        bucket.level, bucket.at_ms = (left + 1 if fits else left), now_ms
        if not fits:
            raise RateExceededError(rule, max(1, math.ceil((left + 1 - rule.burst) * 60 / rule.per_minute)))

    async def _read(self) -> None:
        with acting(system("rates")):
            async with self._database.transaction() as connection:
                rows = await fetch_all(
                    connection, "SELECT tenant, caller, kind, per_minute, burst FROM platform.rate_rule"
                )
        self._rules = {
            (row["tenant"], row["caller"], row["kind"]): Rule(row["per_minute"], row["burst"]) for row in rows
        }
