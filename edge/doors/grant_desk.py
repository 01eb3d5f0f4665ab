"""Issuing and ending rights: which generation, how long, in which order it becomes durable.

Source of truth: protocols/grant/SPEC.md 5 and 6; guarantees G3, G4. A grant is on disk before it is answered; asking
again with the same stay and phone key gives the same bytes until they need renewing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import msgspec

from edge.doors.door_book import BookedDoor, DoorBook
from edge.doors.errors import ClockUnsoundError, LockEmptyError, StayEndedError
from edge.doors.issuers import Issuer, Issuers, SoundTime
from edge.doors.signing import sign_for
from edge.doors.staff_desk import FAILSAFE
from edge.doors.store import DoorStore, IssuedGrant, PendingBump, StoredStay
from kit.clock import Clock
from kit.dice import Dice
from protocols.device_model.identity import RoomId
from protocols.door.bundle import Bundle, BundleDoor
from protocols.door.hardware import BATTERY_EMPTY_PERCENT
from protocols.errors import InvalidInputError, PeerProtocolError
from protocols.grant import generation as generations
from protocols.grant.grant import (
    GRANT_ID_BYTES,
    LIFE_HOURS_MOST,
    NO_FLAGS,
    ROOMS_MOST,
    Grant,
    GrantFlag,
    issuer_kid,
)
from protocols.grant.keys import POINT_BYTES, IssuerClass, public_key
from protocols.grant.revocation import Bump, sign_object

FAILSAFE_MOST_S: Final = 7 * 86_400
"""The longest a failsafe key may lie ready."""
SOON_S: Final = 86_400
"""A stay that begins later than this is not refused for cells that are empty today."""
ISSUE_AHEAD_MOST_S: Final = 10 * 86_400
"""A stay may begin this far ahead: the certificate verifies for 14 days, the grant has to end within them."""


class GrantPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[grants] of doors.toml."""

    life: timedelta = timedelta(hours=72)
    """The longest a phone opens doors without having been on line."""
    renew_below: timedelta = timedelta(hours=48)
    """Asked again with less than this left, the desk makes a new grant."""
    grace: timedelta = timedelta(minutes=15)
    """After the stay's end."""


@dataclass(frozen=True, slots=True)
class StayEnded:
    """What ending a stay did: the generation that replaces its own, and the doors to be told."""

    generation: int
    doors: tuple[str, ...]


class GrantDesk:
    """Issues grants and ends stays. `bumped` is called with the lock ids that have news to be told."""

    def __init__(
        self,
        *,
        book: DoorBook,
        store: DoorStore,
        issuers: Issuers,
        time: SoundTime,
        clock: Clock,
        dice: Dice,
        policy: GrantPolicy,
        bumped: Callable[[Sequence[bytes]], None],
    ) -> None:
        self._book, self._store, self._issuers, self._time = book, store, issuers, time
        self._clock, self._dice, self._policy, self._bumped = clock, dice, policy, bumped
        self._begun: int | None = None

    def issue(
        self,
        stay: str,
        rooms: Sequence[RoomId],
        phone: bytes,
        *,
        not_before_ms: int,
        not_after_ms: int,
        zones: int | None = None,
        join: bool = False,
        replaces: bool = True,
        beside: Sequence[str] = (),
    ) -> Bundle:
        """Give a phone of a stay its rights.

        Args:
            stay: Names the stay; it never leaves this process together with a grant.
            rooms: The stay's rooms; all their private doors are meant.
            phone: The phone's compressed P-256 key.
            not_before_ms: Unix ms, when the rights begin; now, if earlier.
            not_after_ms: Unix ms, when the stay ends; the grant may end sooner and is then renewed by asking again.
            zones: Mask of common doors; None: all of the property's that are everybody's. Never a plant room's.
            join: One more phone beside the others of the stay; else it is the stay's phone.
            replaces: Without `join`: the stay's other phones lose their rights once this one is used.
            beside: The other stays that have these rooms, with whom this one shares them: nobody's rights end. Some
                of them may have no key yet.

        Raises:
            InvalidInputError: an unknown room, a bad key, a window that is over or too far ahead.
            LockEmptyError: somebody new was to go to a door whose lock is as good as out of power.
            ClockUnsoundError, StayEndedError, StoreFailedError: nothing was issued.
        """
        check_phone(phone)
        doors = self._doors(rooms)
        numbers = tuple(sorted({door.number for door in doors}))
        zones = self._book.guest_zones if zones is None else zones
        if not 0 <= zones < 2**64:
            raise InvalidInputError("zones", f"{zones} is not a 64-bit mask")
        zones &= ~self._book.plant_zones
        at_ms = self._time.at_ms()
        at_s = at_ms // 1_000
        begins_s, wanted_until_s = self._window(not_before_ms, not_after_ms, at_s)
        known = self._store.stay(stay)
        if known is not None and known.ended_at_ms is not None:
            raise StayEndedError(f"stay {stay} has ended at the doors")
        self._check_not_withdrawn(stay, phone)
        earlier = self._store.latest_grant(stay, phone)
        overtaken = known is not None and self._overtaken(known, numbers, at_s)
        shares = [each for other in beside if (each := self._sharing(other, numbers)) is not None]
        newest = max(shares, key=lambda each: each.generation, default=None)
        host = None if newest is None or self._overtaken(newest, numbers, at_s, but=stay) else newest
        flags = GrantFlag.JOIN if join or host is not None else NO_FLAGS
        if earlier is not None and known is not None and earlier.generation == known.generation:
            if join or set(numbers) <= set(known.rooms):
                flags = earlier.flags  # the same phone asks again: it stays what it was, unless it moves the stay
            same = (earlier.rooms, earlier.zones, earlier.wanted_until_s) == (numbers, zones, wanted_until_s)
            outlived = self._issuers.is_outlived(earlier.signed, earlier.certificate)
            same = same and not outlived and not self._forgotten(earlier)
            same = same and (host is None or host.generation == known.generation)
            if same and not overtaken and earlier.not_before_s <= begins_s and self._lasts(earlier, at_s):
                return self._bundle(earlier)
        joins = known is not None and bool(flags & GrantFlag.JOIN)
        if known is not None and joins and not set(numbers) <= set(known.rooms):
            raise InvalidInputError("rooms", f"{list(rooms)}: a joiner gets rooms of the stay, no others")
        if host is None and begins_s - at_s < SOON_S:
            self._check_cells([each for each in doors if known is None or each.number not in known.rooms])
        stays_put = known is not None and known.rooms == numbers
        ousts = replaces and (earlier is None or known is None or earlier.generation != known.generation)
        if host is not None:
            generation = host.generation
        elif known is not None and not overtaken and (joins or (stays_put and not ousts)):
            generation = known.generation
        else:
            generation = self._following(numbers, at_s)
        issuer = self._issuers.current(IssuerClass.GUEST, at_s)
        until_s = min(
            wanted_until_s, begins_s + round(self._policy.life.total_seconds()), issuer.certificate.not_after_s
        )
        grant = Grant(
            grant_id=self._dice.bytes(GRANT_ID_BYTES),
            issued_at_s=at_s,
            not_before_s=begins_s,
            not_after_s=until_s,
            phone=phone,
            rooms=numbers,
            zones=zones,
            generation=generation,
            flags=flags,
        )
        issued = sign_for(grant, issuer, stay, at_ms=at_ms, wanted_until_s=wanted_until_s)
        stay_rooms = known.rooms if known is not None and joins else numbers
        left = frozenset() if known is None else frozenset(known.rooms) - frozenset(stay_rooms)
        bumps = [] if known is None else self.bumps(left, known.generation)
        along = [each.stay for each in shares if host is None and each.generation < generation]
        self._store.keep_grant(issued, stay_rooms, bumps, along)
        self.told(bumps)
        return self._bundle(issued)

    def issue_common(
        self, stay: str, phone: bytes, *, not_before_ms: int, not_after_ms: int, zones: int | None = None
    ) -> Bundle | None:
        """Give a phone of a stay, whose rooms are all behind locks of other makers, the property's common doors.

        Rooms of ours that the stay had before go on to a new generation: it has moved out of them. Asking again gives
        the same bytes, as `issue` does. None: the property has no common door.

        Raises: as `issue`.
        """
        check_phone(phone)
        zones = self._book.guest_zones if zones is None else zones & self._book.guest_zones
        known = self._store.stay(stay)
        if known is not None and known.ended_at_ms is not None:
            raise StayEndedError(f"stay {stay} has ended at the doors")
        self._check_not_withdrawn(stay, phone)
        if known is not None and known.rooms:
            self._move_out(known)
        if not zones:
            return None
        at_ms = self._time.at_ms()
        begins_s, wanted_until_s = self._window(not_before_ms, not_after_ms, at_ms // 1_000)
        earlier = self._store.latest_grant(stay, phone)
        if (
            earlier is not None
            and (earlier.rooms, earlier.zones, earlier.wanted_until_s) == ((), zones, wanted_until_s)
            and not self._issuers.is_outlived(earlier.signed, earlier.certificate)
            and not self._forgotten(earlier)
            and earlier.not_before_s <= begins_s
            and self._lasts(earlier, at_ms // 1_000)
        ):
            return self._bundle(earlier)
        issuer = self._issuers.current(IssuerClass.GUEST, at_ms // 1_000)
        until_s = min(
            wanted_until_s, begins_s + round(self._policy.life.total_seconds()), issuer.certificate.not_after_s
        )
        grant = Grant(
            grant_id=self._dice.bytes(GRANT_ID_BYTES),
            issued_at_s=at_ms // 1_000,
            not_before_s=begins_s,
            not_after_s=until_s,
            phone=phone,
            zones=zones,
        )
        issued = sign_for(grant, issuer, stay, at_ms=at_ms, wanted_until_s=wanted_until_s)
        self._store.keep_grant(issued, ())
        return self._bundle(issued)

    def serves(self, room: RoomId) -> bool:
        """Return whether a room has a private door of ours."""
        return bool(self._book.of_room(room))

    def _move_out(self, known: StoredStay) -> None:
        """End a stay's rights to its rooms, and leave the stay open: the bumps first, so that a crash repeats them."""
        bumps = self.bumps(frozenset(known.rooms), known.generation)
        with self._store.written() as db:
            self._store.queue(bumps, known.stay, self._clock.wall_ms())
            db.execute("UPDATE stay SET rooms = '[]', generation = 0 WHERE stay = ?", (known.stay,))
        self.told(bumps)

    def shared_rooms(self, stay: str, *, up_to: int = 0) -> frozenset[int]:
        """Return the numbers of a stay's rooms that other open stays have together with it, by one generation.

        `up_to`: or by a later one that ends with this, a generation that keys of the stay have from before it.
        """
        known = self._store.stay(stay)
        if known is None or known.ended_at_ms is not None:
            return frozenset()
        rows = self._store.read(
            "SELECT rooms FROM stay WHERE stay <> ? AND generation BETWEEN ? AND ? AND ended_at_ms IS NULL",
            (stay, known.generation, max(known.generation, up_to)),
        )
        others = {number for row in rows for number in msgspec.json.decode(row[0], type=list[int])}
        return frozenset(known.rooms) & others

    def end_stay(self, stay: str, *, spare: frozenset[int] = frozenset(), emptied: Sequence[RoomId] = ()) -> StayEnded:
        """End every right of a stay; ending it again, or one that never had any, changes nothing.

        Works with an unsound clock: the bumps are then signed once it is sound.

        Args:
            stay: Which.
            spare: Rooms that go on by their generation: others share them, and the stay's keys there were withdrawn.
            emptied: Rooms in which nobody is any more, by whoever knows: there ends too what this store has forgotten.

        Raises:
            StoreFailedError: nothing happened.
        """
        known = self._store.stay(stay)
        bumps = [bump for room in emptied for bump in self._forgotten_bumps(room, stay)]
        generation = 0 if known is None else known.generation
        if known is not None and known.ended_at_ms is None:
            bumps = _highest([*bumps, *self.bumps(frozenset(known.rooms) - spare, known.generation)])
        elif not bumps:
            return StayEnded(generation, ())
        self._store.end_stay(stay, bumps, self._clock.wall_ms())
        self.told(bumps)
        doors = {each.lock_id: each.door for each in self._book.doors}
        return StayEnded(
            max((bump.generation for bump in bumps), default=generation),
            tuple(doors[bump.lock_id] for bump in bumps),
        )

    def _forgotten_bumps(self, room: RoomId, left: str) -> list[PendingBump]:
        """Return the bumps that end, in a room that `left` has emptied, what this store has no word of.

        A store put back from a copy, or begun anew: somebody was given a key that it does not know. He may have opened,
        then the lock has his generation; or not yet, then his is one of those forgotten. Nothing that was handed out
        later than that key, as far as is known here, ends by it.
        """
        bumps: list[PendingBump] = []
        for door in self._book.of_room(room):
            heard = self._store.lock(door.lock_id).generation
            taken = heard + 1 if heard > self._store.given(door.number) else 0
            unused = self._beyond_forgotten(door.number, left)
            unused = 0 if unused <= max(heard, self._store.bumped(door.number)) else unused
            if ends_with := max(taken, unused):
                bumps.append(PendingBump(0, door.lock_id, door.number, ends_with))
        return bumps

    def _beyond_forgotten(self, number: int, left: str) -> int:
        """Return the lowest generation of a room that is nobody's whom this store has forgotten; 0: there are none."""
        forgotten = self._store.forgotten
        if not forgotten or not self._locks_take(forgotten + 1):
            return 0
        rows = self._store.read(
            "SELECT generation, rooms FROM stay WHERE stay <> ? AND ended_at_ms IS NULL AND generation > 0", (left,)
        )
        known = (int(generation) for generation, rooms in rows if number in msgspec.json.decode(rooms, type=list[int]))
        return min((forgotten + 1, *known))

    def _locks_take(self, generation: int) -> bool:
        """Whether a lock takes a number by now, as far as the day is known: else a clock was far ahead."""
        latest_day = generations.day_of(self._time.estimate_ms() // 1_000) + generations.DAYS_AHEAD_MOST
        return generations.day_in(generation) <= latest_day and generation <= generations.GENERATION_MOST

    def inhibit(self, room: RoomId, events: Sequence[tuple[Mapping[str, Any], int | None]] = ()) -> StayEnded:
        """End every key that was ever handed out for a room; whoever is in house there asks the desk again.

        Works with an unsound clock, as `end_stay`. Raises InvalidInputError: no such room. StoreFailedError: nothing
        happened.

        Args:
            room: Its private doors are meant.
            events: What is told of it (`ClosingDesk.inhibited`), durable with it.
        """
        doors = self._doors([room])
        noted = self._store.spent if self._locks_take(self._store.spent + 1) else 0  # what a copy does not know
        bumps = [
            bump
            for number in {door.number for door in doors}
            for bump in self.bumps(frozenset({number}), max(self._store.highest((number,)), noted))
        ]
        self._store.end_stay(f"inhibit/{room}", bumps, self._clock.wall_ms(), events)
        self.told(bumps)
        return StayEnded(max(bump.generation for bump in bumps), tuple(door.door for door in doors))

    def issue_failsafe(self, room: RoomId, phone: bytes, *, life_hours: int, not_after_ms: int) -> Bundle:
        """Make a key for an outage: for a phone or token in the hotel's safe, for a room that nobody is in.

        Its hours begin with its first opening; until then it lies there. A guest who checks in meanwhile has a later
        generation, and it opens no more: make the keys of all free rooms anew, daily.

        Args:
            room: The room; all its private doors are meant, no common ones.
            phone: The token's compressed P-256 key.
            life_hours: 1 to 72, from the first opening of each door.
            not_after_ms: Unix ms, after which it opens nothing; 7 days from now at most.

        Raises:
            InvalidInputError: a bad key or room, somebody is in it, hours or end out of bounds.
            ClockUnsoundError, StoreFailedError: nothing was issued.
        """
        check_phone(phone)
        doors = self._doors([room])
        numbers = tuple(sorted({door.number for door in doors}))
        at_ms = self._time.at_ms()
        at_s, until_s = at_ms // 1_000, not_after_ms // 1_000
        if not 1 <= life_hours <= LIFE_HOURS_MOST:
            raise InvalidInputError("life_hours", f"{life_hours}: 1 to {LIFE_HOURS_MOST}")
        if not at_s < until_s <= at_s + FAILSAFE_MOST_S:
            raise InvalidInputError("not_after_ms", f"{not_after_ms} is past, or more than 7 days ahead")
        holder = FAILSAFE + str(room)
        if self._store.is_taken(numbers, StoredStay(holder, -1, (), None), at_s):
            raise InvalidInputError("room", f"somebody is in room {room!r}: its failsafe key would put them out")
        issuer = self._issuers.current(IssuerClass.GUEST, at_s)
        grant = Grant(
            grant_id=self._dice.bytes(GRANT_ID_BYTES),
            issued_at_s=at_s,
            not_before_s=at_s,
            not_after_s=until_s,
            phone=phone,
            rooms=numbers,
            generation=self._following(numbers, at_s),
            life_hours=life_hours,
        )
        issued = sign_for(grant, issuer, holder, at_ms=at_ms, wanted_until_s=until_s)
        self._store.keep_staff_grant(issued, ())
        return self._bundle(issued)

    def signed_bump(self, bump: PendingBump) -> tuple[bytes, bytes] | None:
        """Return a pending bump's signed form and its certificate, signing it if that is due and the clock allows."""
        try:
            at_s = self._time.at_ms() // 1_000
        except ClockUnsoundError:
            at_s = None
        fresh = bump.signed_at_s is not None and (at_s is None or 0 <= at_s - bump.signed_at_s < BUMP_FRESH_S)
        held = None if bump.signed is None or bump.certificate is None else (bump.signed, bump.certificate)
        if fresh and held is not None and not self._issuers.is_outlived(*held):
            return held
        if at_s is None:
            return None
        issuer = self.revocation_issuer(at_s)
        signed = sign_object(Bump(bump.number, bump.generation), issuer.key, at_s)
        self._store.sign_bump(bump.no, signed, issuer.certificate.encoded, at_s)
        return signed, issuer.certificate.encoded

    def revocation_issuer(self, at_s: int) -> Issuer:
        """Return the issuer of bumps, time and acknowledgements at `at_s`, sound time."""
        return self._issuers.current(IssuerClass.REVOCATION, at_s)

    def begin(self, at_s: int) -> None:
        """Take note, once, of the moment from which on this process could sign: sound time, unix seconds."""
        if self._begun is None:
            self._begun = generations.of_moment(at_s)

    def clock_was_reset(self) -> None:
        """What this process took for its beginning was of a clock that was wrong (clock_reset.py)."""
        self._begun = None

    def _following(self, numbers: Sequence[int], at_s: int) -> int:
        """Return the generation to hand out next for these rooms (protocols/grant/SPEC.md 6).

        A store put back from a copy, or lost, knows nothing of what was handed out after it. So beside what it holds
        stand what earlier lives of this process noted outside of it, and the 256th part of the day in which this
        one began: those before it ended at the latest then. What of that is of a day to come (a clock was far ahead)
        says nothing.
        """
        self.begin(at_s)
        latest_day = generations.day_of(at_s) + generations.DAYS_AHEAD_MOST
        if generations.day_in(self._store.spent) > latest_day:
            self._store.lower_spent(generations.of_moment(at_s))
        outside = [each for each in (self._begun or 0, self._store.spent) if generations.day_in(each + 1) <= latest_day]
        return generations.following(max(self._store.highest(numbers), *outside, generations.NONE), at_s)

    def _window(self, not_before_ms: int, not_after_ms: int, at_s: int) -> tuple[int, int]:
        """Return when a stay's rights begin and end, in seconds. Raises InvalidInputError: over, or too far ahead."""
        wanted_until_s = not_after_ms // 1_000 + self.grace_s
        begins_s = max(not_before_ms // 1_000, at_s)
        if wanted_until_s <= begins_s:
            raise InvalidInputError("not_after_ms", f"{not_after_ms}: the stay is over")
        if begins_s > at_s + ISSUE_AHEAD_MOST_S:
            raise InvalidInputError("not_before_ms", f"{not_before_ms} is more than 10 days ahead")
        return begins_s, wanted_until_s

    def _check_not_withdrawn(self, stay: str, phone: bytes) -> None:
        if self._store.read("SELECT 1 FROM withdrawn WHERE holder = ? AND phone = ?", (stay, phone)):
            raise InvalidInputError(
                "phone_public_key", "this phone's key was withdrawn: it needs a key of its own anew"
            )

    def _check_cells(self, doors: Sequence[BookedDoor]) -> None:
        """Raise LockEmptyError: nobody new is sent to a door that will soon open to nobody."""
        for door in doors:
            percent = self._store.lock(door.lock_id).battery_percent
            if percent is not None and percent <= BATTERY_EMPTY_PERCENT:
                raise LockEmptyError(
                    f"Room {door.room}: the lock of {door.door} said {percent} % of battery last: change its cells,"
                    " open it once so that it says so, or give another room"
                )

    def _doors(self, rooms: Sequence[RoomId]) -> list[BookedDoor]:
        if not rooms:
            raise InvalidInputError("rooms", "none is named")
        doors: list[BookedDoor] = []
        for room in rooms:
            found = self._book.of_room(room)
            if not found:
                raise InvalidInputError("rooms", f"room {room!r} has no door in the site plan")
            doors.extend(found)
        if len({door.number for door in doors}) > ROOMS_MOST:
            raise InvalidInputError("rooms", f"more than {ROOMS_MOST} doors in one grant")
        return doors

    def _sharing(self, stay: str, numbers: tuple[int, ...]) -> StoredStay | None:
        """Return a stay of whose generation a sharer may get one, or that gets his if no lock takes it any more.

        None: it has left, or was never given a key of these rooms: the PMS took it in, and no phone has asked.
        """
        known = self._store.stay(stay)
        if known is None or known.ended_at_ms is not None or not set(numbers) <= set(known.rooms):
            return None
        return known

    def _overtaken(self, known: StoredStay, numbers: tuple[int, ...], at_s: int, *, but: str = "") -> bool:
        """Whether a lock has gone on to a later generation, or is to, though nobody else is in the room now.

        A guest put into a taken room by mistake and moved on, or a store restored from a copy, leaves the guest in
        house with a generation that no lock takes any more, and asking again must help him. While somebody else is in
        the room it does not: a silent renewal must not put him out (`but`: who asks, and shares it, is nobody else).
        The stay's own rooms go on at its end (curtailed_keys.py), and it may have been made longer after that.
        """
        own = "SELECT coalesce(max(generation), 0) FROM bump WHERE lock = ? AND delivered_at_ms IS NULL AND stay = ?"
        reached = max(
            max(self._store.lock(door.lock_id).generation, *self._store.read(own, (door.lock_id, known.stay))[0])
            for door in self._book.of_numbers(frozenset(numbers))
        )
        return reached > known.generation and not self._store.is_taken(numbers, known, at_s, but=but)

    def _forgotten(self, earlier: IssuedGrant) -> bool:
        """Whether it was curtailed, a lock refused it as withdrawn, or one has a later list and may know worse of it.

        A store restored from a copy: what was withdrawn since is forgotten here, and known there. A grant of a key that
        this process itself made is younger than that.
        """
        asked = "SELECT 1 FROM doubted WHERE grant_id = ?1 UNION SELECT 1 FROM curtailed WHERE grant_id = ?1"
        if self._store.read(asked, (earlier.grant_id,)):
            return True
        named = issuer_kid(earlier.signed)
        if any(each.certificate.kid == named for each in self._issuers.held()):
            return False
        ahead = self._store.read(
            "SELECT lock FROM told WHERE revocation_seq >"
            " (SELECT max(seq) FROM (SELECT seq FROM revocation_list UNION ALL SELECT seq FROM common_list))"
        )
        locks = {lock_id for (lock_id,) in ahead}
        doors = (*self._book.of_numbers(frozenset(earlier.rooms)), *self._book.of_zones(earlier.zones))
        return any(door.lock_id in locks for door in doors)

    def _lasts(self, earlier: IssuedGrant, at_s: int) -> bool:
        """Whether a grant reaches to the end of its stay, or far enough for a phone that goes off line now."""
        left_s = earlier.not_after_s - at_s
        whole = earlier.not_after_s == earlier.wanted_until_s
        return left_s > 0 and (whole or left_s >= self._policy.renew_below.total_seconds())

    @property
    def grace_s(self) -> int:
        """So long after a stay's end its keys still open."""
        return round(self._policy.grace.total_seconds())

    def bumps(self, numbers: frozenset[int], generation: int) -> list[PendingBump]:
        """Return the bumps that end `generation` in these rooms and leave any later one, already handed out, alone."""
        bumps: list[PendingBump] = []
        for door in self._book.of_numbers(numbers):
            highest = max(self._store.highest((door.number,)), generation)  # a store that lost its rooms knows less
            later = highest > generation
            # Without a later guest the next free number: one more than one that the lock takes, so no clock is asked.
            ends_with = generation + 1 if later else highest + 1
            bumps.append(PendingBump(0, door.lock_id, door.number, ends_with))
        return bumps

    def told(self, bumps: Sequence[PendingBump]) -> None:
        """Sign what was queued while the clock is sound, so that it can be carried even if it goes unsound."""
        if not bumps:
            return
        for lock_id in {bump.lock_id for bump in bumps}:
            for pending in self._store.pending_bumps(lock_id):
                self.signed_bump(pending)
        self._bumped([bump.lock_id for bump in bumps])

    def _bundle(self, issued: IssuedGrant) -> Bundle:
        doors = (*self._book.of_numbers(frozenset(issued.rooms)), *self._book.of_zones(issued.zones))
        return Bundle(
            stay=issued.stay,
            grant=issued.signed,
            certificate=issued.certificate,
            not_before_ms=issued.not_before_s * 1_000,
            not_after_ms=issued.not_after_s * 1_000,
            doors=tuple(
                BundleDoor(each.door, each.label, each.keys(issued.not_before_s, issued.not_after_s)) for each in doors
            ),
        )


def _highest(bumps: Sequence[PendingBump]) -> list[PendingBump]:
    """Return one bump for each lock, the one that ends more."""
    found: dict[bytes, PendingBump] = {}
    for bump in bumps:
        if (other := found.get(bump.lock_id)) is None or other.generation < bump.generation:
            found[bump.lock_id] = bump
    return list(found.values())


def check_phone(phone: bytes) -> None:
    """Refuse what is no compressed point of P-256. Raises InvalidInputError."""
    if len(phone) != POINT_BYTES:
        raise InvalidInputError("phone_public_key", "not a compressed P-256 point of 33 bytes")
    try:
        public_key(phone)
    except PeerProtocolError as error:
        raise InvalidInputError("phone_public_key", "not a point of P-256") from error


BUMP_FRESH_S: Final = 7 * 86_400
"""A signed bump older than this is signed anew before it is carried, well before its certificate ends."""
