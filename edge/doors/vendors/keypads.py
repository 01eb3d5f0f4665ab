"""Keypads whose slots are known from a book of ours: read where somebody may have left whom the book has forgotten.

A book that was put back from a copy, or lost, does not know whose PIN a slot holds. At the first visit of each process
an adapter holds book and lock against each other (port.KeypadSystem): this writes down what it finds, and sees that a
keypad is visited where a room has emptied, for its last guest may be one whose key nobody ends. Source of truth:
docs/decisions/0147.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from edge.doors.vendors.foreign import ForeignSystem, strays_event
from edge.doors.vendors.ledger import KeyLedger
from edge.doors.vendors.port import KeypadSystem, Strays
from kit.clock import Clock
from kit.logs import logger
from protocols.device_model.identity import RoomId
from protocols.errors import PlatformError, StoreFailedError

READ_AGAIN_FIRST_MS: Final = 2_000
READ_AGAIN_MOST_MS: Final = 300_000
MISSING: Final = "the lock did not hold it: asked for again, it is written again"


class Keypads:
    """The systems of the house that are such. `told` is called when records wait."""

    def __init__(
        self, systems: Iterable[ForeignSystem], *, ledger: KeyLedger, clock: Clock, told: Callable[[], None]
    ) -> None:
        self._ledger, self._clock, self._told = ledger, clock, told
        self._systems: dict[str, tuple[ForeignSystem, KeypadSystem]] = {}
        self._pauses: dict[tuple[str, str], tuple[int, int]] = {}  # > (not before, pause)
        self._log = logger("edge.doors.vendors")
        for each in systems:
            if isinstance(each.system, KeypadSystem):
                self._systems[each.name] = each, each.system
                each.system.tell_strays(partial(self._correct, each))

    def unread(self, system: str) -> int | None:
        """Return how many keypads of a system have not been read since this process began; None: it has none."""
        found = self._systems.get(system)
        return None if found is None else len(found[1].unread())

    def emptied(self, rooms: Sequence[RoomId]) -> None:
        """Nobody is in these rooms any more: what their keypads hold beside known keys is to end.

        Raises:
            StoreFailedError: nothing happened.
        """
        for name, (foreign, system) in self._systems.items():
            unread = system.unread()
            if due := [door for room in rooms for door in foreign.doors.get(room, ()) if door in unread]:
                self._ledger.read_soon(name, due)

    async def read_next(self) -> None:
        """Read one keypad that is due, if one is within reach. Raises StoreFailedError alone."""
        now_ms = self._clock.now_ms()
        for name, door in self._ledger.keypads_to_read():
            found = self._systems.get(name)
            if found is None or door not in found[1].unread():
                self._ledger.was_read(name, door)  # by a visit meanwhile, or it is no door of ours any more
            elif door in found[1].unread(within_reach=True) and now_ms >= self._pauses.get((name, door), (0, 0))[0]:
                await self._read(*found, door)
                return

    async def _read(self, foreign: ForeignSystem, system: KeypadSystem, door: str) -> None:
        place = foreign.name, door
        try:
            async with asyncio.timeout(foreign.deadline_s):
                await system.read(door)
        except StoreFailedError:
            raise
        except (TimeoutError, PlatformError) as error:
            pause_ms = min(max(self._pauses.get(place, (0, 0))[1] * 2, READ_AGAIN_FIRST_MS), READ_AGAIN_MOST_MS)
            self._pauses[place] = (self._clock.now_ms() + pause_ms, pause_ms)
            self._log.warning("keypad_not_read", system=foreign.name, door=door, error=str(error))
            return
        self._pauses.pop(place, None)
        self._ledger.was_read(*place)

    def _correct(self, foreign: ForeignSystem, strays: Strays) -> None:
        name, body = strays_event(foreign, strays, at_ms=self._clock.wall_ms())
        self._ledger.keep_strays(foreign.name, name, body, strays.missing, MISSING)
        self._log.error(
            "keypad_corrected",
            system=foreign.name,
            door=strays.door,
            cleared=len(strays.slots),
            missing=list(strays.missing),
        )
        self._told()
