"""A store that was put back from a copy: recognised by what the house has already taken of it, and told.

The house says up to which position it holds this store's events. A position at which this file never wrote one was
written in another copy of it. Then nothing that was issued, ended, withdrawn or sealed since is known here: the locks
and the phones know, and an operator must. Source of truth: docs/decisions/0134.
"""

from collections.abc import Callable
from typing import Final

from edge.doors.door_book import DoorBook
from edge.doors.issuers import SoundTime
from edge.doors.store import DoorStore
from kit.logs import logger
from protocols.errors import InvalidInputError

EVENT: Final = "store_put_back"
REASON: Final = (
    "the doors' store was put back from a copy: give keys anew to who asks, end stays and withdraw again since then"
)


class PutBack:
    """Compares what the house holds with what this store can have told. `told` is called when there are new events."""

    def __init__(self, *, book: DoorBook, store: DoorStore, time: SoundTime, told: Callable[[], None]) -> None:
        self._book, self._store, self._time, self._told = book, store, time, told
        self._log = logger("edge.doors.put_back")
        self.noticed = False

    def check(self, position: int) -> None:
        """Look at a position up to which the house says it holds the events of this store's present epoch.

        Raises:
            InvalidInputError: it is beyond all of this file, which has a new epoch by that: ask for it.
            StoreFailedError: nothing happened.
        """
        if self._store.can_have_told(position):
            return
        newest = self._store.last_position
        if position <= newest:
            if not self.noticed:
                self._tell(position)
            return
        self._store.begin_life()  # else what is told from now on would be taken for what the house has already
        self._tell(position)
        raise InvalidInputError("up_to", f"{position} is beyond {newest}: this store was put back, ask for its epoch")

    def _tell(self, position: int) -> None:
        at_ms = self._time.estimate_ms()
        events = [
            (
                {
                    "door": door.door,
                    "room": door.room,
                    "lock": door.lock_id.hex(),
                    "lock_seq": self._store.lock(door.lock_id).seq,
                    "at_ms": at_ms,
                    "event": EVENT,
                    "reason": REASON,
                },
                at_ms,
            )
            for door in self._book.doors
        ]
        with self._store.written(events):
            pass
        self.noticed = True
        self._log.error("doors_store_put_back", position=position, newest=self._store.last_position)
        self._told()
