"""Takes away what outlasts its stay, once the stay has ended: keys that were handed out before it was made shorter.

Source of truth: docs/decisions/0158; guarantee G4. A stay that is over by its time is not checked out, and may be made
longer yet: then its phones get keys anew. So nothing here is final, nothing is taken by a clock that is not sound, and
what was never longer than the stay is left to end by itself.
"""

from dataclasses import dataclass

from edge.doors.closing_desk import ClosingDesk
from edge.doors.closing_store import ClosingStore, LongerKey
from edge.doors.door_book import DoorBook
from edge.doors.grant_desk import GrantDesk
from edge.doors.issuers import SoundTime
from edge.doors.store import DoorStore, StoredStay
from protocols.grant.grant import issuer_kid


@dataclass(frozen=True, slots=True)
class Curtailed:
    """What asking did. `due_in_ms`: the stay has not ended yet; ask again then.

    `grants` were taken away now, `doors` are told so by a generation. `unplaced`: so many keys of a shared room have
    no place on the list yet, and open until they have.
    """

    due_in_ms: int = 0
    grants: tuple[bytes, ...] = ()
    doors: tuple[str, ...] = ()
    unplaced: int = 0


class CurtailedKeys:
    """Ends the keys of a stay that would go on beyond it.

    A room of the stay's own goes on to a new generation, as at check-out: that costs no place on any list, and is told
    to its own doors alone. In a room that others share the keys are withdrawn one by one, in places that lost keys
    leave. The common doors' list names all of them.
    """

    def __init__(
        self, *, book: DoorBook, store: DoorStore, desk: GrantDesk, closing: ClosingDesk, time: SoundTime
    ) -> None:
        self._book, self._doors, self._desk, self._closing, self._time = book, store, desk, closing, time
        self._store = ClosingStore(store)

    def end(self, stay: str, until_ms: int) -> Curtailed:
        """End the keys of a stay that last beyond its end; asking again changes nothing.

        Args:
            stay: Which; one that was ended, or never had a key, has nothing to end.
            until_ms: Unix ms, when it ends, as whoever decides that knows it now. The keys' grace comes on top.

        Raises:
            ClockUnsoundError, StoreFailedError: nothing happened.
        """
        at_ms = self._time.at_ms()
        at_s, until_s = at_ms // 1_000, until_ms // 1_000 + self._desk.grace_s
        if at_s < until_s:
            return Curtailed(due_in_ms=until_s * 1_000 - at_ms)
        known = self._doors.stay(stay)
        if known is None or known.ended_at_ms is not None:
            return Curtailed()
        if not (longer := self._store.longer_keys(stay, at_s)):
            return Curtailed()
        shared = self._desk.shared_rooms(stay, up_to=max(each.generation for each in longer))
        unlisted = [each for each in longer if not each.listed and self._is_taken(each, shared)]
        listed = unlisted[: self._closing.places_left()]
        fresh = [each for each in longer if each.listed is None]
        ended = self._going_on(known, longer, shared)
        if fresh or listed or ended:
            bumps = [each for number in ended for each in self._desk.bumps(frozenset({number}), ended[number])]
            kept = {each.grant_id: (each, issuer_kid(each.signed)) for each in (*fresh, *listed)}
            self._store.curtail(stay, list(kept.values()), {each.grant_id for each in listed}, bumps, at_ms)
            self._closing.curtailed(everywhere=bool(listed))
            self._desk.told(bumps)
        return Curtailed(
            grants=tuple(each.grant_id for each in fresh),
            doors=tuple(each.door for each in self._book.of_numbers(frozenset(ended))),
            unplaced=len(unlisted) - len(listed),
        )

    def _going_on(self, known: StoredStay, longer: list[LongerKey], shared: frozenset[int]) -> dict[int, int]:
        """Return the stay's own rooms in which one of these keys is not over by a generation already, and which ends.

        That is the stay's, or a later one that it had before: a clock that was reset has taken it back.
        """
        highest = {
            number: max((each.generation for each in longer if number in each.rooms and not each.listed), default=-1)
            for number in set(known.rooms) - shared
        }
        return {
            door.number: max(known.generation, highest[door.number])
            for door in self._book.of_numbers(frozenset(highest))
            if self._reached(door.lock_id) <= highest[door.number]
        }

    def _is_taken(self, key: LongerKey, numbers: frozenset[int]) -> bool:
        """Whether a door of these rooms takes a key by its generation."""
        return any(self._reached(door.lock_id) <= key.generation for door in self._book.of_numbers(key.rooms & numbers))

    def _reached(self, lock_id: bytes) -> int:
        """Return the generation that a lock has, or will have once it was told what waits for it."""
        waiting = (each.generation for each in self._doors.pending_bumps(lock_id))
        return max((self._doors.lock(lock_id).generation, *waiting))
