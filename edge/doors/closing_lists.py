"""The lists of withdrawn keys, as locks get them: one for every lock, and one for common doors that names more.

Source of truth: protocols/grant/SPEC.md 7; docs/decisions/0080, 0123, 0135. A room's door ends a departed guest by its
generation; a common door has none. So the common doors' list also names the keys of stays that ended long before their
keys do. It is numbered above the list for every lock and names all that this one does: whichever of the two somebody
carries to whichever door, nothing that was withdrawn opens again. Keys that were lost have the places first. It may be
longer than one object: then it is made in parts, and numbered by its last (0135).
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from edge.doors.closing_store import NUMBERS_AHEAD_MOST_S, ClosingStore, ListState
from edge.doors.door_book import BookedDoor
from edge.doors.issuers import Issuers
from protocols.grant.keys import DAY_S, IssuerClass
from protocols.grant.revocation import (
    ISSUERS_MOST,
    REVOCATIONS_MOST,
    REVOKED_MOST,
    Revocations,
    sign_object,
)

EARLY_S: Final = 6 * 3_600
"""Keys that have so long left when their stay ends are named: nobody waits for those to end by themselves."""
SIGNED_FRESH_S: Final = 7 * DAY_S
"""A signed list older than this is signed anew before it is carried, well before its certificate ends."""
Entries = tuple[tuple[bytes, int], ...]


class ClosingLists:
    """Makes, numbers and signs both. What is in them follows from the rows of the store alone.

    Args:
        store: The rows.
        issuers: Whose keys sign.
        estimate_s: The best guess of unix seconds.
        sound_s: Unix seconds by a clock that may sign, or None.
    """

    def __init__(
        self,
        store: ClosingStore,
        issuers: Issuers,
        *,
        estimate_s: Callable[[], int],
        sound_s: Callable[[], int | None],
    ) -> None:
        self._store, self._issuers, self._estimate_s, self._sound_s = store, issuers, estimate_s, sound_s
        self.is_crowded = False
        """Whether departed guests' keys wait for a place: look again now and then."""
        self.reload()

    def reload(self) -> None:
        """Read the rows anew: something was withdrawn, or the numbers were lowered."""
        self.general, self.common = self._store.list_state(), self._store.list_state(common=True)
        self.look()

    def look(self) -> bool:
        """Return whether a stay has ended that the common doors have still to be told of by a new list."""
        at_s = self._estimate_s()
        named = {each for each, _ in self.common.grants}
        withdrawn = self._store.withdrawn(at_s)
        if not {each for each, _ in self._departed(at_s, withdrawn)} <= named:
            self.common = replace(self.common, due=True)
        self.is_crowded = bool(self.unlisted(at_s))
        return self.common.due

    @property
    def due(self) -> bool:
        """Whether one of them has still to be made: the clock was unsound."""
        return self.general.due or self.common.due

    @property
    def newest(self) -> int:
        """The highest number given."""
        return max(self.general.seq, self.common.seq)

    def of(self, door: BookedDoor | None) -> ListState:
        """Return the list that is a door's; None: some door of which no more is known."""
        return self.common if door is not None and door.zones and (self.common.seq or self.common.due) else self.general

    def named(self, at_s: int) -> Entries:
        """Return every key that one of the lists names, or will once it can be signed."""
        withdrawn = self._store.withdrawn(at_s)
        return (*withdrawn, *self._departed(at_s, withdrawn))

    def unlisted(self, at_s: int) -> Entries:
        """Return the departed guests' keys for which the common doors' list has no place: they end by themselves."""
        named = {each for each, _ in (*self.named(at_s), *self._store.withdrawn(at_s, of_withdrawn_issuers=True))}
        return tuple(each for each in self._leavers(at_s) if each[0] not in named)

    def withdraws(self, state: ListState, grant_id: bytes) -> bool:
        """Return whether a lock that has this list takes a grant no more: it is named, or its issuer is."""
        if any(grant_id == named for named, _ in state.grants):
            return True
        return any(self._issuers.has_withdrawn(each.signed) for each in self._store.keys_of(grant_id=grant_id))

    def sign(self, heard: Iterable[int]) -> None:
        """Make and sign what is due, or was signed too long ago or by a key that was withdrawn, if the clock allows.

        Args:
            heard: Numbers that locks said they have: a restored store goes past what it forgot, as it does past what
                was noted outside of it.
        """
        at_s, general, common = self._sound_s(), self.general, self.common
        if at_s is None or (not self.due and self._is_good(general, at_s) and self._is_good(common, at_s)):
            return
        believed = [each + 1 for each in heard if each <= at_s + NUMBERS_AHEAD_MOST_S]
        following = max(self.newest + 1, at_s, self._store.numbered(at_s) + 1, *believed)
        withdrawn, issuers = self._store.withdrawn(at_s), self._store.issuers(at_s)[-ISSUERS_MOST:]
        if general.due:
            seq = following + bool(issuers) + _further(withdrawn)  # a clock set back finds more of them not over
            general = replace(general, seq=seq, due=False, grants=withdrawn, issuers=issuers)
            following = seq + 1
        if self.general.due or common.due:
            departed = self._departed(at_s, withdrawn)
            grants = (*withdrawn, *departed) if departed else ()
            seq = following + bool(issuers) + _further(grants) if departed else 0
            common = replace(common, seq=seq, due=False, grants=grants, issuers=issuers if departed else ())
        issuer = self._issuers.current(IssuerClass.REVOCATION, at_s)
        certificate = issuer.certificate.encoded

        def signed(state: ListState) -> ListState:
            if not state.seq:
                return replace(state, signed=None, plain=None, certificate=None, signed_at_s=None, parts=())
            first, *further = _parts(state.grants)
            seq = state.seq - len(further)
            whole = sign_object(Revocations(seq, first, state.issuers), issuer.key, at_s)
            parts = tuple(
                sign_object(Revocations(number, each, after=number - 1), issuer.key, at_s)
                for number, each in enumerate(further, seq + 1)
            )
            plain = None
            if state.issuers:  # a lock that cannot take issuers keeps what it can
                entries = self._plain(at_s, common=state is common)
                plain = sign_object(Revocations(seq - 1, entries), issuer.key, at_s)
            return replace(state, signed=whole, plain=plain, certificate=certificate, signed_at_s=at_s, parts=parts)

        general, common = signed(general), signed(common)
        self._store.keep_lists(general, common)
        self.general, self.common = general, common
        self.is_crowded = bool(self.unlisted(at_s))

    def _is_good(self, state: ListState, at_s: int) -> bool:
        """Whether a list may be carried as it is signed; also one that there is no need of."""
        if not state.seq:
            return True
        fresh = state.signed_at_s is not None and 0 <= at_s - state.signed_at_s < SIGNED_FRESH_S
        if not fresh or state.signed is None or state.certificate is None:
            return False
        return not self._issuers.is_outlived(state.signed, state.certificate)

    def _plain(self, at_s: int, *, common: bool) -> Entries:
        """Return what the plain form of a list names: lost keys, then those of withdrawn issuers that end last.

        Anybody may carry it to a lock that knows issuers, too. So what the whole form names beside them goes first:
        else a key that was lost would open there until the whole form comes.
        """
        ways = (False, True)  # of issuers that still sign, then of all
        named = dict(each for theirs in ways for each in self._store.withdrawn(at_s, of_withdrawn_issuers=theirs)[::-1])
        if common:
            leavers = (each for theirs in ways for each in self._leavers(at_s, of_withdrawn_issuers=theirs))
            named |= {each: until_s for each, until_s in leavers if each not in named}
        return tuple(named.items())[:REVOCATIONS_MOST]

    def _departed(self, at_s: int, withdrawn: Entries) -> Entries:
        """Return whom the common doors' list names beside what is withdrawn: those whose keys end last go first."""
        listed = {each for each, _ in withdrawn}
        found = [each for each in self._leavers(at_s) if each[0] not in listed]
        return tuple(found[: max(REVOKED_MOST - len(withdrawn), 0)])

    def _leavers(self, at_s: int, *, of_withdrawn_issuers: bool = False) -> Entries:
        """Return the keys of ended stays that common doors would take for long, or that their list names already.

        Of a stay that was made shorter all that outlast it, however shortly: its guest may still be there.
        """
        named = {each for each, _ in self.common.grants}
        return tuple(
            (grant_id, until_s)
            for grant_id, until_s, signed, curtailed in self._store.departed(at_s)
            if (until_s >= at_s + (0 if curtailed else EARLY_S) or grant_id in named)
            and (of_withdrawn_issuers or not self._issuers.has_withdrawn(signed))
        )


def _further(grants: Entries) -> int:
    """Return how many parts continue the first one of a list that names these."""
    return len(_parts(grants)) - 1


def _parts(grants: Entries) -> list[Entries]:
    """Return what each part of a list names: one at least, also of a list that names none."""
    starts = range(0, max(len(grants), 1), REVOCATIONS_MOST)
    return [grants[start : start + REVOCATIONS_MOST] for start in starts]
