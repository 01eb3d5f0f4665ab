"""A file of events that was put back from a copy: recognised by what the house has already taken of it, and told.

The house says up to which position it holds a file's events. A position at which this file never wrote one was written
in another copy of it. A file whose changes are counted outside of it knows by itself, as soon as it is opened. Then
nothing that was issued, ended, withdrawn or sealed since is known here: the locks, the vendors and the phones know, and
an operator must. Source of truth: docs/decisions/0134, 0144, 0157.
"""

from collections.abc import Callable
from typing import Any, Final

from edge.doors.door_book import DoorBook
from edge.doors.event_positions import EventPositions
from edge.doors.issuers import SoundTime
from edge.doors.store import DoorStore
from kit.logs import logger
from protocols.errors import InvalidInputError

EVENT: Final = "store_put_back"
REASON: Final = (
    "the doors' store was put back from a copy: give keys anew to who asks, end stays and withdraw again since then"
)


class PutBack:
    """Compares what the house holds with what a file can have told.

    `told` is called to write and announce the events that say so; `logged`: how the log says it.
    """

    def __init__(self, logged: str, file: EventPositions, *, told: Callable[[], None]) -> None:
        self._logged, self._file, self._told = logged, file, told
        self._log = logger("edge.doors.put_back")
        self.noticed = False

    def begun(self) -> None:
        """Tell it at once where the file itself knows that it is an older one. Raises StoreFailedError."""
        if not self._file.is_older:
            return
        if not self.noticed:
            self._tell(None)
        self._file.told_older()

    def check(self, position: int) -> None:
        """Look at a position up to which the house says it holds the events of this file's present epoch.

        Raises:
            InvalidInputError: it was never told (the clock is behind): this file has a new epoch by that, ask for it.
            StoreFailedError: nothing happened.
        """
        if not self._file.can_have_told(position):
            beyond = self._file.goes_on_beyond(position)
            was_told = self.noticed or self._file.is_older_told
            if not was_told:  # before the file counts as answered: a kill in between tells it twice, not never
                self._tell(position)
            if not beyond:
                self._file.begin_life()  # else what is told from now on would be taken for what the house has already
                reason = f"{position} was never told: this store was put back, ask for its epoch"
                raise InvalidInputError("up_to", reason)
        self._file.answered(position)

    def _tell(self, position: int | None) -> None:
        self._told()
        self.noticed = True
        self._log.error(self._logged, position=position, newest=self._file.last_position)


def tell_at_doors(book: DoorBook, store: DoorStore, time: SoundTime) -> None:
    """Write the event at every door of ours. Raises StoreFailedError."""
    at_ms = time.estimate_ms()
    events: list[tuple[dict[str, Any], int | None]] = [
        (
            {
                "door": door.door,
                "room": door.room,
                "lock": door.lock_id.hex(),
                "lock_seq": store.lock(door.lock_id).seq,
                "at_ms": at_ms,
                "event": EVENT,
                "reason": REASON,
            },
            at_ms,
        )
        for door in book.doors
    ]
    with store.written(events):
        pass
