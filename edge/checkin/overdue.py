"""Has the doors end the keys that outlast their stay, once it has ended by its time: those of before it was shortened.

The only truth of when a stay ends is the replica, which is durable and is asked anew each time: so nothing is lost with
a restart, nobody's later end is overlooked, and there is no second note of it that could be stale. The doors judge by
their own clock, and say when to ask again (edge/doors/curtailed_keys.py).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from edge.checkin.ports import Doors
from edge.stays.document import StayState
from edge.stays.replica import Replica
from kit.clock import Clock
from protocols.device_model.identity import StayId
from protocols.errors import InvalidInputError, PlatformError

RETRY_MS: Final = 15_000
AGAIN_MS: Final = 60_000
"""A stay that is over and not checked out is asked for so often: that finds keys of whatever came in between."""
HEARS_FIRST_MS: Final = 300_000
"""After its start a building hears the PMS and the cloud first: what it has of stays may be of an older copy."""


class Overdue:
    """The stays in house whose end has come.

    Args:
        replica: The stays held true, asked anew each time.
        doors: The doors process.
        turn: Held whenever a guest is given a key: no key is taken of which the stay's end is being said just now.
        clock: Wall time, for ends; monotonic, for pauses.
        log: A structlog logger.
    """

    def __init__(
        self,
        *,
        replica: Callable[[], Replica],
        doors: Doors,
        turn: asyncio.Lock,
        clock: Clock,
        log: Any,  # noqa: ANN401 - structlog's lazy logger
    ) -> None:
        self._replica, self._doors, self._turn, self._clock, self._log = replica, doors, turn, clock, log
        self._asked: dict[StayId, tuple[int, int]] = {}  # > the end it was asked about, when to ask again (monotonic)
        self._from_ms = clock.now_ms() + HEARS_FIRST_MS
        self._changed = asyncio.Event()

    def look_again(self) -> None:
        """Learn that stays changed."""
        self._changed.set()

    async def run(self) -> None:
        """See to every end as it comes, for ever."""
        while True:
            self._changed.clear()
            wait_ms = await self.tell_all()
            try:
                async with asyncio.timeout(wait_ms / 1_000):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def tell_all(self) -> int:
        """Ask for every stay that is due once; return for how many ms there is nothing to do, if no stay changes."""
        if (early_ms := self._from_ms - self._clock.now_ms()) > 0:
            return early_ms
        wall_ms, wait_ms, due = self._clock.wall_ms(), AGAIN_MS, dict[StayId, int]()
        for stay in self._replica().all():
            if stay.state is not StayState.IN_HOUSE:
                continue
            if stay.expected_until_ms > wall_ms:
                wait_ms = min(wait_ms, stay.expected_until_ms - wall_ms)
            else:
                due[stay.id] = stay.expected_until_ms
        self._asked = {stay: asked for stay, asked in self._asked.items() if due.get(stay) == asked[0]}
        for stay_id in due:
            if (rest_ms := self._rest_ms(stay_id)) <= 0:
                try:
                    rest_ms = await self._ask(stay_id)
                except PlatformError as error:
                    self._log.warning("overdue_not_told", stay=stay_id, error=str(error))
                    if isinstance(error, InvalidInputError) and error.place == "method":
                        return self._pause(HEARS_FIRST_MS)  # doors of another build, which hang up on such a question
                    if error.retryable or error.may_have_taken_effect:
                        return self._pause(min(wait_ms, RETRY_MS))  # away, or no clock: the others would fail alike
                    self._asked[stay_id] = due[stay_id], self._clock.now_ms() + RETRY_MS
                    rest_ms = RETRY_MS
            wait_ms = min(wait_ms, rest_ms)
        return wait_ms

    def _pause(self, pause_ms: int) -> int:
        """Ask nothing for so long, whatever changes; return it."""
        self._from_ms = self._clock.now_ms() + pause_ms
        return pause_ms

    def _rest_ms(self, stay_id: StayId) -> int:
        return self._asked[stay_id][1] - self._clock.now_ms() if stay_id in self._asked else 0

    async def _ask(self, stay_id: StayId) -> int:
        """Ask for one stay; return in how many ms to ask again. Raises as `Doors.curtail`."""
        async with self._turn:
            stay = self._replica().get(stay_id)
            if stay is None or stay.state is not StayState.IN_HOUSE:
                return AGAIN_MS
            if stay.expected_until_ms > self._clock.wall_ms():
                return min(stay.expected_until_ms - self._clock.wall_ms(), AGAIN_MS)  # longer since it was looked at
            due_in_ms = await self._doors.curtail(stay.id, stay.expected_until_ms)
        again_ms = min(due_in_ms, AGAIN_MS) or AGAIN_MS
        self._asked[stay_id] = stay.expected_until_ms, self._clock.now_ms() + again_ms
        return again_ms
