"""Taking rights away before their time: single keys, whole issuers, whole rooms; and what each door has confirmed.

Source of truth: protocols/grant/SPEC.md 7; docs/decisions/0080 and 0082; guarantee G4. Nothing here opens a door.
What is ordered is durable before it is answered, is signed as soon as the clock allows, and is told to the locks by
whoever comes by: the edge's own visits, or any phone that carries it. An order is never shown as done before its door
said so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from edge.doors.closing_lists import ClosingLists
from edge.doors.closing_store import LEAVES_AFTER_S, ClosingStore, HeldKey, ListState, OrderedLockout, Told
from edge.doors.door_book import BookedDoor, DoorBook
from edge.doors.errors import ClockUnsoundError
from edge.doors.issuers import Issuers, SoundTime
from edge.doors.stay_keys import StayKeys
from edge.doors.store import DoorStore
from kit.logs import logger
from protocols.device_model.identity import RoomId
from protocols.door.audit import NOBODY, AuditRecord
from protocols.door.status import Status
from protocols.door.vendor_events import event_id
from protocols.errors import InvalidInputError
from protocols.grant.certificate import own_certificate
from protocols.grant.grant import GrantFlag, issuer_kid, open_grant
from protocols.grant.keys import KID_BYTES, OVERLAP_S, SIGNS_S, VERIFY_S, IssuerClass
from protocols.grant.revocation import ISSUERS_MOST, REVOCATIONS_MOST, Lockout, sign_object

WORDS_MOST: Final = 200
NO_LOCKOUT: Final = "its lock system has no lockout: the keys that we had it make are ended, its other keys still open"
NO_ISSUERS: Final = "its firmware does not know withdrawn issuers"
NO_PARTS: Final = f"its firmware keeps {REVOCATIONS_MOST} withdrawn keys: guests who left early beyond those get in"
LOCKOUT_FRESH_S: Final = 3_600
"""So long a signed lockout is handed to whoever asks what to carry: that may be anybody in the house."""
LIVES_MOST_S: Final = SIGNS_S + OVERLAP_S + max(VERIFY_S.values())
"""No certificate is believed longer than this after it was made."""


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants it, and why: for the record."""

    by: str
    reason: str

    def checked(self) -> "Order":
        """Return it tidied. Raises InvalidInputError: nobody, or no reason."""
        for place, words in (("by", self.by), ("reason", self.reason)):
            if not 1 <= len(words.strip()) <= WORDS_MOST or not words.isprintable():
                raise InvalidInputError(place, f"say it in 1 to {WORDS_MOST} printable characters")
        return Order(self.by.strip(), self.reason.strip())


@dataclass(frozen=True, slots=True)
class Carried:
    """Something for a lock, with its certificate. `lock_id` None: for every lock."""

    lock_id: bytes | None
    signed: bytes
    certificate: bytes
    seq: int
    lockout: bool = False
    plain: bool = False
    """Leaves issuers out, for a lock that did not understand the whole list."""
    list_seq: int = 0
    """Of a list: its own number, that of its last part."""


class ClosingDesk:
    """Withdraws, seals, knows which door was told. `news` is called with the lock ids that have something coming."""

    def __init__(
        self,
        *,
        book: DoorBook,
        store: DoorStore,
        issuers: Issuers,
        time: SoundTime,
        news: Callable[[Sequence[bytes]], None],
    ) -> None:
        self._book, self._doors, self._issuers, self._time, self._news = book, store, issuers, time, news
        self._log = logger("edge.doors.closing")
        self._store = ClosingStore(store)
        self._store.note_numbers()
        self._told = self._store.told()
        self._lockouts = self._store.lockouts()
        self._elsewhere = self._store.sealed_rooms()
        self._signed_lockouts: dict[bytes, tuple[int, Carried]] = {}
        self._issuers.withdraw([kid for kid, _ in self._store.issuers(0)])
        self.lists = ClosingLists(
            self._store,
            issuers,
            estimate_s=lambda: time.estimate_ms() // 1_000,
            sound_s=self._sound_s,
        )

    def reload(self) -> None:
        """Read the rows anew: a clock that was reset has lowered what is numbered by it."""
        self._told, self._lockouts = self._store.told(), self._store.lockouts()
        self.lists.reload()

    # -- orders ------------------------------------------------------------------------------------------------------

    def withdraw_keys(
        self, order: Order, *, grant_id: bytes = b"", holder: str = "", phone: bytes = b""
    ) -> tuple[bytes, ...]:
        """Withdraw a phone's keys: every grant of its holder and phone that is not over, not the one named alone.

        Args:
            order: Who and why.
            grant_id: One of the phone's grants, as events name it; or
            holder: whose (a stay's name, staff/ or emergency/ and a person's), all of that holder's phones, or
            phone: that one alone, its compressed point.

        Returns:
            The grants that are withdrawn now, also those that were already. None of these phones gets a key of that
            holder again, whether it has one that is good or let it lapse; what is drafted for a person's phone goes
            too.

        Raises:
            InvalidInputError: no such key, or the list is full. StoreFailedError: nothing happened.
        """
        order = order.checked()
        found = self._store.keys_of(grant_id=grant_id, holder=holder, phone=phone)
        if grant_id and found:
            found = self._store.keys_of(holder=found[0].holder, phone=found[0].phone)
        if not found:
            raise InvalidInputError("grant", "no key of that grant, holder or phone was handed out here")
        at_s = self._time.estimate_ms() // 1_000
        alive = [each for each in found if each.not_after_s > at_s]
        newest = {each.phone: each for each in reversed(found)}
        ended = [each for each in newest.values() if each.not_after_s <= at_s]  # so that these phones get none again
        named = {each.grant_id for each in (*alive, *ended) if each.not_after_s + LEAVES_AFTER_S > at_s}
        if len({withdrawn for withdrawn, _ in self._store.lost(at_s)} | named) > REVOCATIONS_MOST:
            raise InvalidInputError("grant", self._full(at_s))
        events = [
            self._event(door, "key_withdrawn", order, grant=each.grant_id.hex())
            for each in alive
            for door in self._doors_of(each)
        ]
        keys = [(each, issuer_kid(each.signed)) for each in (*alive, *ended)]
        self._store.withdraw(keys, self._time.estimate_ms(), events)
        self.lists.reload()
        self._tell_all()
        return tuple(each.grant_id for each in alive)

    def drop_drafts(self, person: str, phone: bytes = b"") -> int:
        """Forget a person's drafted emergency keys, whoever approved them (of that phone, if given); return how many.

        Raises:
            StoreFailedError: nothing happened.
        """
        return self._store.drop_drafts(person, phone)

    def departed(self) -> None:
        """A stay has ended: where its keys would go on for long, the common doors are told of them.

        They are named as far as there are places beside the keys that were withdrawn; the rest end with their time,
        72 hours at most (`status` tells which). Works with an unsound clock: told once it is sound.
        """
        if self.lists.look():
            self._tell_common()
        if unlisted := self.lists.unlisted(self._time.estimate_ms() // 1_000):
            until_s = max(until_s for _, until_s in unlisted)
            self._log.warning("departed_keys_unlisted", keys=len(unlisted), until_s=until_s)

    def places_left(self) -> int:
        """Return how many keys more the list for every lock can name."""
        return max(REVOCATIONS_MOST - len(self._store.withdrawn(self._time.estimate_ms() // 1_000)), 0)

    def curtailed(self, *, everywhere: bool) -> None:
        """Keys that would have outlasted their stay have ended (curtailed_keys.py): the common doors are told of them.

        `everywhere`: the list for every lock names some, too.
        """
        if everywhere:
            self.lists.reload()
            self._tell_all()
        self.departed()

    def withdraw_issuer(self, order: Order, *, kid: bytes = b"", issuer_class: IssuerClass | None = None) -> bytes:
        """Withdraw an issuer's certificate, and with it everything that it signed or will be found to have signed.

        Its private key is forgotten here; the next key of its class signs from now on, and every phone asks anew.

        Args:
            order: Who and why.
            kid: Its key id; or
            issuer_class: the one that signs for this class now.

        Returns:
            The key id.

        Raises:
            InvalidInputError: no key id, no such issuer in memory, or eight are withdrawn already.
            StoreFailedError: nothing happened.
        """
        order = order.checked()
        at_s = self._time.estimate_ms() // 1_000
        known = {each.certificate.kid: each.certificate for each in self._issuers.held()}
        if issuer_class is not None:
            of_class = [kid for kid, each in known.items() if each.issuer_class is issuer_class]
            if not of_class:
                raise InvalidInputError("class", f"no {issuer_class.name.lower()} key is in memory: name it by its id")
            kid = of_class[-1]
        if len(kid) != KID_BYTES:
            raise InvalidInputError("kid", f"not a key id of {2 * KID_BYTES} hex digits")
        listed = {each for each, _ in self._store.issuers(at_s)}
        if kid not in listed and len(listed) >= ISSUERS_MOST:
            raise InvalidInputError("kid", f"{ISSUERS_MOST} issuers are withdrawn already: roll the property's CA")
        for encoded in self._store.certificates_since(at_s):
            certificate = own_certificate(encoded)
            known.setdefault(certificate.kid, certificate)
        until_s = known[kid].not_after_s if kid in known else at_s + LIVES_MOST_S
        events = [self._event(door, "issuer_withdrawn", order, kid=kid.hex()) for door in self._book.doors]
        self._store.withdraw_issuer(kid, until_s, self._time.estimate_ms(), events)
        self._issuers.withdraw([kid])
        self.lists.reload()
        self._tell_all()
        return kid

    def lock_out(self, order: Order, room: RoomId, *, sealed: bool) -> tuple[str, ...]:
        """Seal a room's doors for all but emergency keys, or lift that; return the doors. Nothing is opened by it.

        Raises:
            InvalidInputError: no such room. ClockUnsoundError, StoreFailedError: nothing happened.
        """
        order = order.checked()
        doors = self._book.of_room(room) or tuple(each for each in self._book.doors if each.room == room)
        if not doors:
            raise InvalidInputError("room", f"room {room!r} has no door in the site plan")
        at_ms = self._time.at_ms()
        last = max((self._lockouts[each.lock_id].seq for each in doors if each.lock_id in self._lockouts), default=0)
        at_s = at_ms // 1_000
        ordered = OrderedLockout(max(last + 1, at_s, self._store.numbered(at_s) + 1), sealed, at_ms)
        event = "lockout_ordered" if sealed else "lockout_lifted"
        self._store.order_lockouts(
            {each.lock_id: ordered for each in doors}, [self._event(each, event, order) for each in doors]
        )
        self._lockouts = self._store.lockouts()
        self._news([each.lock_id for each in doors])
        return tuple(each.door for each in doors)

    def seal_elsewhere(self, order: Order, room: RoomId, doors: Sequence[str], *, sealed: bool) -> tuple[str, ...]:
        """Seal a room's doors of other lock systems as far as this house can, or lift that; return the doors.

        None of those systems has a lockout that it promises to keep against its own keys. So nothing is asked of them
        here: the caller ends the keys that were made, no other is made, and nothing opens from afar while this stands.

        Args:
            order: Who and why.
            room: Which.
            doors: Our names of its doors in other systems.
            sealed: Whether it shall be.

        Raises:
            InvalidInputError: nobody, or no reason. StoreFailedError: nothing happened.
        """
        order, at_ms = order.checked(), self._time.estimate_ms()
        event = "lockout_ordered" if sealed else "lockout_lifted"
        told = {"room": room, "at_ms": at_ms, "event": event, "reason": f"{order.by}: {order.reason}"}
        events = [({"door": door, **told, "event_id": event_id("", f"{event}/{door}", at_ms)}, at_ms) for door in doors]
        self._store.seal_room(room, doors, at_ms, events, sealed=sealed)
        self._elsewhere = self._store.sealed_rooms()
        return tuple(doors)

    def has_door(self, room: RoomId) -> bool:
        """Whether a room has a door of ours, private or common."""
        return any(each.room == room for each in self._book.doors)

    def is_sealed(self, room: RoomId) -> bool:
        """Whether a room is sealed, or is to be: any of its doors is enough."""
        return room in self._elsewhere or any(
            each.room == room and (ordered := self._lockouts.get(each.lock_id)) is not None and ordered.sealed
            for each in self._book.doors
        )

    # -- what is under way -------------------------------------------------------------------------------------------

    def waits_for(self, lock_id: bytes) -> bool:
        """Whether a lock has something coming that it has neither confirmed nor said it does not know."""
        told = self._told.get(lock_id, Told())
        ordered = self._lockouts.get(lock_id)
        lockout = ordered is not None and told.lockout_seq < ordered.seq and told.unable_lockout < ordered.seq
        state = self._list_of(lock_id)
        seq = state.seq if not state.due else 0  # one that cannot be signed yet is `settle`'s
        return lockout or max(told.revocation_seq, told.unable_list) < seq

    def settle(self) -> None:
        """Sign what was ordered while the clock was unsound, and give free places away; call now and then."""
        if self.lists.is_crowded:
            self.lists.look()
        if self.lists.due and self._sound_s() is not None:
            if self.lists.general.due:
                self._tell_all()
            else:
                self._tell_common()

    def for_lock(self, lock_id: bytes, *, revocation_seq: int) -> list[Carried]:
        """Return what to carry to a lock whose list is numbered `revocation_seq`, signing it if the clock allows."""
        known = max(revocation_seq, self._told.get(lock_id, Told()).unable_list)
        lists = [each for each in self._carried(lock_id) if not each.plain and known < each.seq]
        ordered = self._lockouts.get(lock_id)
        return lists if ordered is None else [*lists, *self._carried_lockouts({lock_id: ordered})]

    def without_issuers(self, lock_id: bytes) -> Carried | None:
        """Return the list for a lock that did not understand the whole one."""
        return next((each for each in self._carried(lock_id) if each.plain), None)

    def news(self) -> list[Carried]:
        """Return everything that any phone may carry: lists, and the lockouts that their doors did not confirm.

        What is a single door's comes first, and is what to carry there: a common door that has its own list needs no
        other.
        """
        common = [
            each
            for door in self._book.doors
            if door.zones and self.lists.common.seq and self.waits_for(door.lock_id)
            for each in self._carried(door.lock_id)
        ]
        return [*self._carried_lockouts(self._lockouts), *common, *self._carried(None)]

    def _carried(self, lock_id: bytes | None) -> list[Carried]:
        """Return a lock's list, the plain form first; None: the one for every lock."""
        self._sign()
        state = self.lists.general if lock_id is None else self._list_of(lock_id)
        if not state.seq:
            state = self.lists.general  # its own cannot be made yet
        if state.certificate is None or state.signed is None:
            return []
        to = lock_id if state is self.lists.common else None
        first = state.first_seq
        parts = [
            Carried(to, signed, state.certificate, seq, list_seq=state.seq)
            for seq, signed in enumerate((state.signed, *state.parts), first)
        ]
        if state.plain is None:
            return parts
        return [Carried(to, state.plain, state.certificate, first - 1, plain=True, list_seq=state.seq), *parts]

    def _carried_lockouts(self, lockouts: Mapping[bytes, OrderedLockout]) -> list[Carried]:
        at_s, found = self._sound_s(), list[Carried]()
        for lock_id, ordered in lockouts.items():
            told = self._told.get(lock_id, Told())
            if at_s is not None and max(told.lockout_seq, told.unable_lockout) < ordered.seq:
                found.append(self._signed_lockout(lock_id, ordered, at_s))
        return found

    def _signed_lockout(self, lock_id: bytes, ordered: OrderedLockout, at_s: int) -> Carried:
        signed_at_s, held = self._signed_lockouts.get(lock_id, (0, None))
        fresh = held is not None and held.seq == ordered.seq and 0 <= at_s - signed_at_s < LOCKOUT_FRESH_S
        if held is not None and fresh and not self._issuers.is_outlived(held.signed, held.certificate):
            return held
        issuer = self._issuers.current(IssuerClass.REVOCATION, at_s)
        signed = sign_object(Lockout(lock_id, ordered.seq, ordered.sealed), issuer.key, at_s)
        made = Carried(lock_id, signed, issuer.certificate.encoded, ordered.seq, lockout=True)
        self._signed_lockouts[lock_id] = (at_s, made)
        return made

    def answered(self, lock_id: bytes, carried: Carried, status: Status) -> None:
        """A lock answered to what was carried to it."""
        told = self._told.get(lock_id, Told())
        if status in (Status.DONE, Status.UNCHANGED):
            if carried.lockout:
                told = replace(told, lockout_seq=max(told.lockout_seq, carried.seq))
            else:
                told = replace(told, revocation_seq=max(told.revocation_seq, carried.seq))
        elif status is Status.UNSUPPORTED_VERSION:
            part = "unable_lockout" if carried.lockout else "unable_list"
            told = replace(told, **{part: carried.seq if carried.lockout else carried.list_seq})
        self._keep(lock_id, told)

    def read(self, records: Sequence[AuditRecord]) -> None:
        """Take note of grants that a lock refused as withdrawn: a store restored from a copy may not know why."""
        for record in records:
            if record.status == Status.REVOKED and record.actor != NOBODY:
                self._store.doubt(record.actor)

    def heard(self, lock_id: bytes, revocation_seq: int) -> None:
        """A lock said, sealed or signed, which list it has: whoever brought it."""
        told = self._told.get(lock_id, Told())
        self._keep(lock_id, replace(told, revocation_seq=revocation_seq))

    def status(self) -> dict[str, Any]:
        """Return what is withdrawn and sealed, and for each door whether it has confirmed what concerns it.

        `withdrawn`: departed guests' keys that the common doors' list names, too. `unlisted`: those for which it has
        no place, and which common doors take until then.
        """
        at_s, lists = self._time.estimate_ms() // 1_000, self.lists
        known = {each.lock_id: each.contact_at_ms for each in self._doors.locks()}
        doors: list[dict[str, Any]] = []
        for door in self._book.doors:
            told = self._told.get(door.lock_id, Told())
            ordered = self._lockouts.get(door.lock_id)
            state = lists.of(door)
            shown: dict[str, Any] = {
                "door": door.door,
                "room": door.room,
                "confirmed": not state.due and told.revocation_seq >= state.seq,
                "contact_at_ms": known.get(door.lock_id),
            }
            if state.seq and told.unable_list == state.seq:
                shown["unable"] = NO_PARTS if told.revocation_seq >= state.first_seq else NO_ISSUERS
            if told.revocation_seq > lists.newest:
                shown["ahead"] = True  # our store was restored: withdraw again what was withdrawn since its copy
            if ordered is not None:
                shown["sealed"] = ordered.sealed
                shown["sealed_confirmed"] = told.lockout_seq >= ordered.seq
                if told.unable_lockout == ordered.seq:
                    shown["unable"] = "its firmware does not know lockouts"
            doors.append(shown)
        wanted = [state for state in (lists.general, lists.common) if state.seq or state.due]
        return {
            "seq": lists.newest,
            "signed": bool(wanted) and all(not each.due and each.signed is not None for each in wanted),
            "withdrawn": [[each.hex(), until_s * 1_000] for each, until_s in lists.named(at_s)],
            "unlisted": [[each.hex(), until_s * 1_000] for each, until_s in lists.unlisted(at_s)],
            "issuers": [[kid.hex(), until_s * 1_000] for kid, until_s in self._store.issuers(at_s)],
            "doors": doors,
            "sealed_elsewhere": [
                {
                    "door": door,
                    "room": room,
                    "contact_at_ms": None,
                    "sealed": True,
                    "sealed_confirmed": False,
                    "unable": NO_LOCKOUT,
                }
                for room, names in self._elsewhere.items()
                for door in names
            ],
        }

    def holder_of(self, grant_id: bytes) -> tuple[str, bytes] | None:
        """Return whose grant this is: the stay or person, and the phone."""
        found = self._store.keys_of(grant_id=grant_id)
        return (found[0].holder, found[0].phone) if found else None

    def phones_of(self, stay: str) -> list[dict[str, Any]]:
        """Return the phones that hold keys of a stay, each with its newest: what its main guest may see."""
        gone = self._store.withdrawn_ids()
        newest: dict[bytes, HeldKey] = {}
        for each in self._store.keys_of(holder=stay):
            newest.setdefault(each.phone, each)
        return [
            {
                "phone": phone.hex(),
                "grant": each.grant_id.hex(),
                "join": bool(each.flags & GrantFlag.JOIN),
                "not_before_ms": each.not_before_s * 1_000,
                "not_after_ms": each.not_after_s * 1_000,
                "withdrawn": each.grant_id in gone,
            }
            for phone, each in newest.items()
        ]

    def keys_of_stay(self, stay: str) -> list[dict[str, Any]]:
        """Return who has keys of a stay, and of one that is over which doors may still take it (stay_keys.py)."""

        def knows(lock_id: bytes, grant_id: bytes) -> bool:
            state = self._list_of(lock_id)
            if state.due or self._told.get(lock_id, Told()).revocation_seq < state.seq:
                return False
            return self.lists.withdraws(state, grant_id)

        at_s = self._time.estimate_ms() // 1_000
        return StayKeys(self._doors, self._book, knows=knows, at_s=lambda: at_s).of(stay)

    # -- ground ------------------------------------------------------------------------------------------------------

    def _list_of(self, lock_id: bytes) -> ListState:
        return self.lists.of(self._book.by_lock(lock_id))

    def _sign(self) -> None:
        self.lists.sign(each.revocation_seq for each in self._told.values())

    def _sound_s(self) -> int | None:
        try:
            return self._time.at_ms() // 1_000
        except ClockUnsoundError:
            return None

    def _tell_all(self) -> None:
        self._sign()
        self._news([each.lock_id for each in self._book.doors])

    def _tell_common(self) -> None:
        self._sign()
        self._news([each.lock_id for each in self._book.doors if each.zones and self.waits_for(each.lock_id)])

    def _keep(self, lock_id: bytes, told: Told) -> None:
        if told != self._told.get(lock_id, Told()):
            self._store.keep_told(lock_id, told)
            self._told[lock_id] = told

    def _full(self, at_s: int) -> str:
        first = min((until_s for _, until_s in self._store.lost(at_s)), default=at_s)
        return (
            f"a list holds {REVOCATIONS_MOST} keys; the first is over in {max(first - at_s, 0)} s."
            " Withdraw their issuer, or end the stay"
        )

    def _doors_of(self, key: HeldKey) -> tuple[BookedDoor, ...]:
        grant = open_grant(key.signed, own_certificate(key.certificate))
        return tuple(each for each in self._book.doors if grant.names(each.number) or each.zones & grant.zones)

    def inhibited(self, order: Order, room: RoomId) -> list[tuple[Mapping[str, Any], int | None]]:
        """Return what is told of a room whose keys all end (`GrantDesk.inhibit`). Raises InvalidInputError."""
        order = order.checked()
        return [self._event(door, "inhibited", order) for door in self._book.doors if door.room == room]

    def _event(self, door: BookedDoor, name: str, order: Order, **more: str) -> tuple[Mapping[str, Any], int | None]:
        at_ms = self._time.estimate_ms()
        body = {
            "door": door.door,
            "room": door.room,
            "lock": door.lock_id.hex(),
            "lock_seq": self._doors.lock(door.lock_id).seq,
            "at_ms": at_ms,
            "event": name,
            "reason": f"{order.by}: {order.reason}",
            **more,
        }
        return body, at_ms
