"""Tells the doors who has left, until they have heard it: durable, in any order, as often as it takes.

A stay may end here (check-out), in a document (the PMS checked it out) or by becoming void; each leaves the same
mark in the replica, and this task ends the stay's rights at the doors for all of them.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from edge.checkin.ports import Doors, EndedStays
from edge.stays.document import StayState
from edge.stays.replica import Replica
from protocols.device_model.identity import RoomId, StayId
from protocols.errors import PlatformError

RETRY_MS: Final = 15_000
OVER: Final = frozenset({StayState.LEFT, StayState.VOID})


class Departures:
    """The departures that the doors still have to hear of.

    Args:
        replica: The stays held true, asked anew each time.
        doors: The doors process.
        store: Which departures the doors have heard of.
        log: A structlog logger.
    """

    def __init__(self, *, replica: Callable[[], Replica], doors: Doors, store: EndedStays, log: Any) -> None:  # noqa: ANN401 - structlog's lazy logger
        self._replica, self._doors, self._store, self._log = replica, doors, store, log
        self._changed = asyncio.Event()

    def look_again(self) -> None:
        """Learn that stays changed."""
        self._changed.set()

    async def tell(self, stay: StayId) -> bool:
        """Tell the doors now that a stay has ended; False: they are away and `run` goes on trying."""
        if stay in await self._store.ended():
            return True
        try:
            await self._doors.end_stay(stay, emptied=_emptied(self._replica(), stay))
        except PlatformError as error:
            self._log.warning("departure_not_told", stay=stay, error=str(error))
            self._changed.set()
            return False
        await self._store.mark_ended(stay)
        return True

    async def tell_again(self) -> None:
        """The doors have forgotten what they were told: their store was put back from a copy. Tell all of it anew."""
        await self._store.forget_ended(sorted(await self._store.ended()))
        self._changed.set()

    async def run(self) -> None:
        """Tell every departure that is due, whenever stays change and every `RETRY_MS`, for ever."""
        while True:
            self._changed.clear()
            everyone_told = await self.tell_all()
            try:
                async with asyncio.timeout(None if everyone_told else RETRY_MS / 1000):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def tell_all(self) -> bool:
        """Tell every departure that is due once; True if the doors have heard them all."""
        told, replica = await self._store.ended(), self._replica()
        over = {stay.id for stay in replica.all() if stay.state in OVER}
        await self._store.forget_ended(sorted(told - over))
        heard = True
        for stay in sorted(over - told):
            try:
                await self._doors.end_stay(stay, emptied=_emptied(replica, stay))
            except PlatformError as error:
                self._log.warning("departure_not_told", stay=stay, error=str(error))
                heard = False
                if error.retryable or error.may_have_taken_effect:
                    break  # away: the others would fail alike
                continue
            await self._store.mark_ended(stay)
        return heard


def _emptied(replica: Replica, left: StayId) -> tuple[RoomId, ...]:
    """Return the room that a stay has left, if nobody is in it now."""
    held = replica.all()
    room = next((each.room for each in held if each.id == left), None)
    if room is None or any(each.room == room and each.state is StayState.IN_HOUSE and each.id != left for each in held):
        return ()
    return (room,)
