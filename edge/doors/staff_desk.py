"""Rights of those who work here: keys of one shift, and emergency keys that two officers approve.

Source of truth: protocols/grant/SPEC.md 5.2, 5.3 and 9; door.md 3.9. There is no eternal master key: a shift key ends
after a day at most, respects privacy and deadbolt, and is asked for again; an emergency key ends after 15 minutes. Both
are on disk before they are answered. Who holds a key stays in this store: locks and events know the grant's id alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from edge.doors.door_book import BookedDoor, DoorBook
from edge.doors.drafts import Draft, Drafts
from edge.doors.issuers import Issuers, SoundTime
from edge.doors.signing import sign_for
from edge.doors.store import DoorStore, IssuedGrant
from kit.dice import Dice
from protocols.device_model.identity import RoomId
from protocols.door.bundle import DOORS_MOST, Bundle, BundleDoor
from protocols.errors import CredentialRefusedError, InvalidInputError, PeerProtocolError
from protocols.grant.certificate import OFFICERS_LEAST, own_certificate
from protocols.grant.grant import (
    APPROVALS,
    GRANT_ID_BYTES,
    RANGES_MOST,
    ROOMS_MOST,
    Approval,
    Grant,
    GrantFlag,
    Shift,
    approval_statement,
    open_grant,
)
from protocols.grant.judge import EMERGENCY_MOST_S
from protocols.grant.keys import DAY_S, POINT_BYTES, IssuerClass, kid_of, public_key

EMERGENCY_ROOMS_MOST: Final = 16
"""So that the grant with two approvals, the certificate with its officers and the proof fit one message."""
REASON_MOST: Final = 200
_RUN_LEAST: Final = 3
STAFF: Final = "staff/"
EMERGENCY: Final = "emergency/"
FAILSAFE: Final = "failsafe/"
NOT_STAYS: Final = (STAFF, EMERGENCY, FAILSAFE)
"""What stands before the holder's name where a guest's grant has its stay; no stay's name has a slash."""


@dataclass(frozen=True, slots=True)
class EmergencyDraft:
    """What two officers are asked to approve: each signs `statement` (ES256) before `until_s` (unix seconds)."""

    grant_id: bytes
    statement: bytes
    until_s: int
    officers: tuple[bytes, ...]
    """Key ids, 4 bytes each, of those who may."""
    doors: tuple[str, ...]


class StaffDesk:
    """Issues shift keys and emergency keys."""

    def __init__(self, *, book: DoorBook, store: DoorStore, issuers: Issuers, time: SoundTime, dice: Dice) -> None:
        self._book, self._store, self._issuers, self._time, self._dice = book, store, issuers, time, dice
        self._drafts = Drafts(store)

    def issue(
        self,
        person: str,
        rooms: Sequence[RoomId],
        phone: bytes,
        *,
        not_after_ms: int,
        zones: int = 0,
        shift: Shift | None = None,
        user_verified: bool = True,
        passage: bool = False,
    ) -> Bundle:
        """Give a person's phone the keys of one shift.

        Args:
            person: Who; stays here.
            rooms: Rooms of the section; may be none for common doors alone.
            phone: The phone's compressed P-256 key.
            not_after_ms: Unix ms; the key ends then, or a day from now.
            zones: Mask of common doors.
            shift: Working hours, UTC.
            user_verified: Whether the phone must ask for face, finger or code at each door.
            passage: Whether it may hold the common doors open until the shift ends; then it names no rooms.

        Returns:
            The bundle; the same one to who asks again with the same terms before it ends.

        Raises:
            InvalidInputError: an unknown room, a bad key, more doors than a key or a bundle holds, an end that is past.
            ClockUnsoundError, StoreFailedError: nothing was issued.
        """
        _check_phone(phone)
        doors = self._doors(rooms, zones)
        at_ms = self._time.at_ms()
        at_s = at_ms // 1_000
        issuer = self._issuers.current(IssuerClass.STAFF, at_s)
        until_s = min(not_after_ms // 1_000, at_s + DAY_S, issuer.certificate.not_after_s)
        if until_s <= at_s:
            raise InvalidInputError("not_after_ms", f"{not_after_ms} is past")
        if passage and rooms:
            raise InvalidInputError("rooms", "a passage key is for common doors alone: no room is held open")
        numbers, ranges = _in_ranges({door.number for door in doors if door.number})
        if len(numbers) > ROOMS_MOST or len(ranges) > RANGES_MOST:
            raise InvalidInputError("rooms", "too scattered for one key: at most 40 rooms and 16 runs of rooms")
        flags = GrantFlag.STAFF | (GrantFlag.NEEDS_USER_VERIFICATION if user_verified else GrantFlag(0))
        flags |= GrantFlag.PASSAGE if passage else GrantFlag(0)
        terms = (numbers, ranges, zones, flags, shift)
        holder = STAFF + person
        self._check_not_withdrawn(person, phone)
        earlier = self._store.latest_grant(holder, phone)
        if earlier is not None and self._issuers.is_outlived(earlier.signed, earlier.certificate):
            earlier = None
        if earlier is not None and earlier.wanted_until_s == not_after_ms // 1_000 and earlier.not_after_s > at_s:
            held = open_grant(earlier.signed, own_certificate(earlier.certificate))
            if (held.rooms, held.ranges, held.zones, held.flags, held.shift) == terms:
                return _bundle(earlier, doors)
        grant = Grant(
            grant_id=self._dice.bytes(GRANT_ID_BYTES),
            issued_at_s=at_s,
            not_before_s=at_s,
            not_after_s=until_s,
            phone=phone,
            rooms=numbers,
            ranges=ranges,
            zones=zones,
            flags=flags,
            shift=shift,
        )
        issued = sign_for(grant, issuer, holder, at_ms=at_ms, wanted_until_s=not_after_ms // 1_000)
        self._store.keep_staff_grant(issued, ())
        return _bundle(issued, doors)

    def draft_emergency(
        self, person: str, rooms: Sequence[RoomId], phone: bytes, *, reason: str, over_privacy: bool, zones: int = 0
    ) -> EmergencyDraft:
        """Write down, durably, what two officers are to approve. Nothing opens by it.

        Raises:
            InvalidInputError: as `issue`, no reason, or fewer than two officers are named in doors.toml.
            ClockUnsoundError: nothing can be signed now. StoreFailedError: there is no draft.
        """
        _check_phone(phone)
        self._check_not_withdrawn(person, phone)
        if not 1 <= len(reason.strip()) <= REASON_MOST or not reason.isprintable():
            raise InvalidInputError("reason", f"say it in 1 to {REASON_MOST} printable characters")
        doors = self._doors(rooms, zones)
        numbers = tuple(sorted({door.number for door in doors if door.number}))
        if len(numbers) > EMERGENCY_ROOMS_MOST:
            raise InvalidInputError("rooms", f"more than {EMERGENCY_ROOMS_MOST} doors in one emergency key")
        if len(self._issuers.officers) < OFFICERS_LEAST:
            raise InvalidInputError("officers", f"doors.toml names {len(self._issuers.officers)}, two must approve")
        at_s = self._time.at_ms() // 1_000
        issuer = self._issuers.current(IssuerClass.EMERGENCY, at_s)
        grant = Grant(
            grant_id=self._dice.bytes(GRANT_ID_BYTES),
            issued_at_s=at_s,
            not_before_s=at_s,
            not_after_s=at_s + EMERGENCY_MOST_S,
            phone=phone,
            rooms=numbers,
            zones=zones,
            flags=GrantFlag.EMERGENCY | (GrantFlag.PRIVACY_OVERRIDE if over_privacy else GrantFlag(0)),
        )
        self._drafts.keep(Draft(grant, issuer.certificate.kid, EMERGENCY + person, reason.strip()))
        return EmergencyDraft(
            grant_id=grant.grant_id,
            statement=approval_statement(grant),
            until_s=grant.not_after_s,
            officers=tuple(kid_of(public_key(point)) for point in issuer.certificate.officers),
            doors=tuple(door.door for door in doors),
        )

    def issue_emergency(self, grant_id: bytes, approvals: Iterable[Approval]) -> Bundle:
        """Issue what two officers approved; every door concerned gets an event that says so, with the reason.

        Who asks again with the same approvals, because the answer was lost, gets the same key.

        Raises:
            InvalidInputError: no such draft, or not approved by two different officers: nothing was issued.
            ClockUnsoundError, StoreFailedError: nothing was issued; the draft stands.
        """
        signed = sorted(approvals, key=lambda each: each.kid)
        if (draft := self._drafts.of(grant_id)) is None:
            if (known := self._issued_before(grant_id, signed)) is not None:
                return known
            raise InvalidInputError("grant", "no such draft: it was issued, or has made room for newer ones")
        at_ms = self._time.at_ms()
        if at_ms // 1_000 >= draft.grant.not_after_s:
            self._drafts.drop(grant_id)
            raise InvalidInputError("grant", "its 15 minutes are over: draft it anew")
        if len(signed) != APPROVALS or any((len(each.kid), len(each.signature)) != (4, 64) for each in signed):
            raise InvalidInputError("approvals", "two, each of a key id of 4 bytes and a signature of 64")
        if self._issuers.is_withdrawn(draft.kid):
            self._drafts.drop(grant_id)
            raise InvalidInputError("grant", "the key that drafted it was withdrawn: draft it anew")
        if len(self._issuers.officers) < OFFICERS_LEAST:  # doors.toml says so since the draft
            raise InvalidInputError("officers", f"doors.toml names {len(self._issuers.officers)}, two must approve")
        issuer = self._issuers.since(IssuerClass.EMERGENCY, draft.grant.issued_at_s, at_ms // 1_000)
        grant = replace(draft.grant, approvals=tuple(signed))
        issued = sign_for(grant, issuer, draft.holder, at_ms=at_ms, wanted_until_s=grant.not_after_s)
        try:
            open_grant(issued.signed, issuer.certificate)
        except CredentialRefusedError as refused:
            raise InvalidInputError("approvals", "not two different officers' over this very draft") from refused
        doors = (*self._book.of_numbers(frozenset(grant.rooms)), *self._book.of_zones(grant.zones))
        events = [
            (
                {
                    "door": door.door,
                    "room": door.room,
                    "lock": door.lock_id.hex(),
                    "lock_seq": self._store.lock(door.lock_id).seq,
                    "at_ms": at_ms,
                    "event": "emergency_issued",
                    "grant": grant.grant_id.hex(),
                    "reason": draft.reason,
                },
                at_ms,
            )
            for door in doors
        ]
        self._store.keep_staff_grant(issued, events)  # and the draft is gone with it
        return _bundle(issued, doors)

    def drop_draft(self, grant_id: bytes) -> bool:
        """Take a draft back: nobody's approval makes a key of it any more. Return whether there was one."""
        return self._drafts.drop(grant_id)

    def _issued_before(self, grant_id: bytes, approvals: Sequence[Approval]) -> Bundle | None:
        """Return the key that exactly these approvals made, while it is not over."""
        known = self._store.grant(grant_id)
        if known is None or not known.stay.startswith(EMERGENCY) or self._issuers.has_withdrawn(known.signed):
            return None
        held = open_grant(known.signed, own_certificate(known.certificate))
        if held.approvals != tuple(approvals) or self._time.at_ms() // 1_000 >= held.not_after_s:
            return None
        return _bundle(known, (*self._book.of_numbers(frozenset(held.rooms)), *self._book.of_zones(held.zones)))

    def _check_not_withdrawn(self, person: str, phone: bytes) -> None:
        """A phone whose shift keys were taken away gets neither kind of key in that name again.

        One whose emergency key was, because the emergency was over, may be needed in the next.
        """
        if self._store.read("SELECT 1 FROM withdrawn WHERE holder = ? AND phone = ?", (STAFF + person, phone)):
            raise InvalidInputError(
                "phone_public_key", "this phone's key was withdrawn: it needs a key of its own anew"
            )

    def _doors(self, rooms: Sequence[RoomId], zones: int) -> tuple[BookedDoor, ...]:
        doors: list[BookedDoor] = []
        for room in rooms:
            if not (found := self._book.of_room(room)):
                raise InvalidInputError("rooms", f"room {room!r} has no door in the site plan")
            doors.extend(found)
        if not 0 <= zones < 2**64:
            raise InvalidInputError("zones", f"{zones} is not a 64-bit mask")
        doors.extend(self._book.of_zones(zones))
        if not 1 <= len(doors) <= DOORS_MOST:
            raise InvalidInputError("rooms", f"{len(doors)} doors, 1 to {DOORS_MOST} are on one phone")
        return tuple(doors)


def _check_phone(phone: bytes) -> None:
    if len(phone) != POINT_BYTES:
        raise InvalidInputError("phone_public_key", "not a compressed P-256 point of 33 bytes")
    try:
        public_key(phone)
    except PeerProtocolError as error:
        raise InvalidInputError("phone_public_key", "not a point of P-256") from error


def _in_ranges(numbers: Iterable[int]) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Return single rooms and runs of consecutive ones: a run names no room that was not asked for."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    single = tuple(number for run in runs if len(run) < _RUN_LEAST for number in run)
    return single, tuple((run[0], run[-1]) for run in runs if len(run) >= _RUN_LEAST)


def _bundle(issued: IssuedGrant, doors: Iterable[BookedDoor]) -> Bundle:
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
