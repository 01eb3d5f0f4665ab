"""Lets rows go that nobody needs any more, in small bites: who writes comes first, however much there is to let go.

What may go is its module's to say: a `Rule` is one statement of its own, with the time before which rows have been
kept long enough and the most that one bite takes. How long that is stands in the settings (cloud/app/keeping.py).

What is gone is gone: so two clocks must say that it is time, this process's and the database's, and the earlier one
counts.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, LiteralString, Protocol

from cloud.kit.database import Database, execute, fetch_all
from cloud.kit.times import at

BITE_MOST: Final = 1_000
"""Rows that one statement takes."""
EVERY_S: Final = 60.0
AGAIN_S: Final = 0.2
"""Between bites while there is more."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of rows that go by age: `kept` at least; None: for ever.

    `statement` deletes at most %(most)s rows older than %(before)s, however many there are, and finds them without
    reading what stays.
    """

    name: str
    kept: timedelta | None
    statement: LiteralString


class WallClock(Protocol):
    """What keeping needs of a clock."""

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC."""
        ...


class Logger(Protocol):
    """What keeping needs of a logger."""

    def info(self, event: str, **facts: object) -> object:
        """Log a fact."""
        ...


class Keeping:
    """Works through the rules. One process at a time does (cloud/kit/leadership.py); two would do no harm."""

    def __init__(self, database: Database, rules: Sequence[Rule], *, clock: WallClock, log: Logger) -> None:
        self._database, self._rules, self._clock, self._log = database, rules, clock, log

    async def run(self) -> None:
        """Let go until cancelled. Raises StoreFailedError: the database is away."""
        while True:
            more = await self.once()
            await asyncio.sleep(AGAIN_S if more else EVERY_S)

    async def once(self) -> bool:
        """Take one bite by each rule, each in a transaction of its own; return whether there may be more."""
        more = False
        for rule in self._rules:
            if rule.kept is None:
                continue
            async with self._database.transaction() as connection:
                [row] = await fetch_all(connection, "SELECT clock_timestamp() AS now")
                now = min(at(self._clock.wall_ms()), row["now"])
                gone = await execute(connection, rule.statement, {"before": now - rule.kept, "most": BITE_MOST})
            if gone:
                self._log.info("let_go", what=rule.name, rows=gone)
            more = more or gone >= BITE_MOST
        return more
