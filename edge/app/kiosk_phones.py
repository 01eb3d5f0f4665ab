"""A stay's key on the guest's own phone, from a kiosk of a house that is cut off: our locks know no cards.

The kiosk shows a code; the phone that comes with it first has the key, and no other (docs/decisions/0138). The front
desk may make one too, also for a guest in house: while the line is cut a stay that is longer now has no other way to
its phones (docs/decisions/0143). An offer is in edge.db before its code is shown, and the phone before its key is made:
a guest whose answer was lost asks again, of another life of this process too, and gets the same key.
"""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import msgspec

from edge.checkin.desk import CheckInDesk, here_by, phone_key
from edge.checkin.errors import CheckInRefusal, CheckInRefusedError, further_key
from edge.checkin.kiosk_visits import PHONE, VISIT_MS, VisitRefusedError
from edge.stays.document import StayState
from edge.stays.replica import Replica
from kit.clock import Clock
from kit.dice import Dice
from protocols.device_model.identity import ActorKind, RoomId, StayId
from protocols.errors import StoreFailedError

DOCUMENT: Final = "kiosk_phones"
SOURCE: Final = "kiosk_phone"
"""Under which its records are kept once."""
KEPT_MOST: Final = 256
TOKEN_BYTES: Final = 32
DESK: Final = "desk"
"""Where an offer is made that no kiosk makes."""

Note = Callable[[int, Mapping[str, Any]], Awaitable[None]]
"""Keeps a record under a number that rises, once; raises StoreFailedError."""


class Store(Protocol):
    """Where offers survive."""

    async def save_document(self, name: str, body: bytes) -> None:
        """Keep it. Raises StoreFailedError."""
        ...


@dataclass(frozen=True, slots=True)
class Offer:
    """A key for a phone. `sha256` is of the token; `phone` has come with it; `record` numbers its record, 0: none.

    `desk`: who at the front desk made it, None: a kiosk did. A check-in by it is the desk's, and has no other record.
    """

    id: str
    sha256: str
    stay: StayId
    place: str
    made_ms: int
    phone: str | None = None
    taken_ms: int = 0
    room: RoomId | None = None
    record: int = 0
    desk: str | None = None

    @property
    def by(self) -> str:
        """Who takes the stay in."""
        return self.desk or f"kiosk:{self.place}"

    @property
    def by_kind(self) -> ActorKind:
        """What kind of thing that is."""
        return ActorKind.KIOSK if self.desk is None else ActorKind.DESK


class KioskPhones:
    """The keys that kiosks hand to phones.

    Args:
        desk: Who decides whether a stay may come.
        replica: The stays held true, asked anew each time.
        rooms: Rooms with doors of ours.
        store: Where offers survive.
        documents: What it held.
        note: Keeps the record of a key that was taken.
        clock: Wall time.
        dice: For names and tokens.
    """

    def __init__(
        self,
        desk: CheckInDesk,
        *,
        replica: Callable[[], Replica],
        rooms: frozenset[RoomId],
        store: Store,
        documents: Mapping[str, bytes],
        note: Note,
        clock: Clock,
        dice: Dice,
    ) -> None:
        self._desk, self._replica, self._rooms, self._store = desk, replica, rooms, store
        self._note, self._clock, self._dice = note, clock, dice
        self._offers = {each.id: each for each in _restored(documents.get(DOCUMENT))}
        self._recorded: set[str] = set()
        self._turn = asyncio.Lock()

    def opens(self, room: RoomId | None) -> bool:
        """See `edge.checkin.kiosk_visits.Phones`."""
        return bool(self._rooms) if room is None else room in self._rooms

    def taken(self, offer: str) -> bool:
        """See `edge.checkin.kiosk_visits.Phones`."""
        found = self._offers.get(offer)
        return found is not None and found.taken_ms > 0

    async def offer(self, stay: StayId, place: str) -> tuple[str, str]:
        """See `edge.checkin.kiosk_visits.Phones`. Raises StoreFailedError."""
        made, token = await self._offered(stay, place)
        return made.id, token

    async def offer_at_desk(self, stay: StayId, *, by: str) -> tuple[str, int]:
        """Offer the key of a stay to a phone of a guest who stands at the front desk, in house or about to come.

        Returns:
            The token, and until when it is good (unix ms).

        Raises:
            CheckInRefusedError: no such stay, it is over, by its dates too, or its room has no door of ours.
            InvalidInputError: `by` is not of its form, or the PMS's.
            StoreFailedError: nothing was offered.
        """
        by = here_by(by)
        held = self._replica().get(stay)
        if held is None:
            raise CheckInRefusedError(CheckInRefusal.UNKNOWN_STAY, f"Stay {stay} is not known in this building.")
        if held.state in (StayState.LEFT, StayState.VOID):
            raise CheckInRefusedError(CheckInRefusal.ENDED, f"Stay {stay} is {held.state}; it has no key any more.")
        if held.room is None or not self.opens(held.room):
            raise CheckInRefusedError(CheckInRefusal.NO_DOOR, f"Stay {stay} has no room behind a door of ours.")
        if self._clock.wall_ms() >= held.expected_until_ms:  # said to the clerk, and not to the guest's phone after
            raise CheckInRefusedError(CheckInRefusal.OVER, f"Stay {stay} was to end before now; make it longer first.")
        made, token = await self._offered(stay, DESK, desk=by)
        return token, made.made_ms + VISIT_MS

    def waits_at_desk(self, stay: StayId) -> int | None:
        """Return until when the desk's code is good for a phone (unix ms), by which two of one stay are told apart.

        None: none is: a phone has come with it, a kiosk has made a newer one, or its time is over.
        """
        mine = (each for each in self._offers.values() if each.stay == stay and each.desk is not None)
        return next((each.made_ms + VISIT_MS for each in mine if each.phone is None and not self._is_old(each)), None)

    async def _offered(self, stay: StayId, place: str, *, desk: str | None = None) -> tuple[Offer, str]:
        async with self._turn:
            token = base64.urlsafe_b64encode(self._dice.bytes(TOKEN_BYTES)).rstrip(b"=").decode()
            made = Offer(
                f"kp-{self._dice.bytes(8).hex()}", _digest(token), stay, place, self._clock.wall_ms(), desk=desk
            )
            others = [each for each in self._offers.values() if each.stay != stay or each.phone is not None]
            await self._keep({each.id: each for each in (*others, made)})  # refused, the code before is good still
        return made, token

    async def take(self, stay: StayId, token: str, phone_public_key: str) -> dict[str, Any]:
        """Give the key to a phone that comes with an offer's token; asked again by the same phone, the same key.

        Returns:
            `{stay, room, state, bundle}`.

        Raises:
            InvalidInputError: no key of a phone.
            VisitRefusedError: `no_visit`: no such offer, or its time is over; `link_used`: another phone came first.
            CheckInRefusedError: the stay may not come; nothing happened.
            LinkLostError, ReplyTimeoutError, StoreFailedError: ask again, with the same key.
        """
        phone = phone_key(phone_public_key).hex()
        async with self._turn:
            offer = self._of(stay, token)
            if offer.phone not in (None, phone):
                raise VisitRefusedError("link_used", "Another phone has come with this code.")
            held = self._replica().get(stay)
            in_house = held is not None and held.state is StayState.IN_HOUSE
            if in_house and offer.desk is None and not self._is_ours(offer):
                raise further_key(stay)
            if offer.phone is None:
                offer = self._offers[offer.id] = replace(offer, phone=phone)
                await self._keep()
            joins = in_house or offer.desk is not None  # not what another took in while this one waits for its turn
            told = await self._desk.check_in(
                stay, phone, by=offer.by, by_kind=offer.by_kind, code=offer.id, joins=joins
            )
            self._took(offer, told["room"])
            with suppress(StoreFailedError):  # he is in by a record of its own: this one is kept with the next
                await self._keep()
                await self._record()
        return told

    async def catch_up(self) -> None:
        """Keep the records that a life before could not; call once at the start. Raises StoreFailedError."""
        async with self._turn:
            for each in list(self._offers.values()):
                held = self._replica().get(each.stay)
                if each.taken_ms == 0 and held is not None and held.room is not None and self._is_ours(each):
                    self._took(each, held.room)
            await self._keep()
            await self._record()

    def _is_ours(self, offer: Offer) -> bool:
        """Whether it was this very offer by which its stay came in: names and kiosks take in by more than one."""
        if offer.taken_ms > 0:
            return True
        replica = self._replica()
        held, decision = replica.get(offer.stay), replica.decisions.get(offer.stay)
        in_house = held is not None and held.state is StayState.IN_HOUSE
        return in_house and decision is not None and decision.code == offer.id

    def _took(self, offer: Offer, room: RoomId) -> None:
        if offer.taken_ms == 0:
            at_ms = self._clock.wall_ms()
            number = 0 if offer.desk else max([at_ms, *(each.record + 1 for each in self._offers.values())])
            self._offers[offer.id] = replace(offer, taken_ms=at_ms, room=room, record=number)

    async def _record(self) -> None:
        due = sorted((each for each in self._offers.values() if each.record), key=lambda each: each.record)
        for each in due:
            if each.id not in self._recorded:
                body = {"kind": PHONE, "id": each.id, "by": each.by, "stay": each.stay, "room": each.room}
                await self._note(each.record, {**body, "at_ms": each.taken_ms})
                self._recorded.add(each.id)

    async def _keep(self, offers: Mapping[str, Offer] | None = None) -> None:
        """Make the offers durable, but for those that are over; they count from then on. Raises StoreFailedError."""
        offers = self._offers if offers is None else offers
        over = [each.id for each in offers.values() if self._is_old(each) and each.id in self._recorded]
        stale = [each.id for each in offers.values() if self._is_old(each) and not each.record]
        most = [each.id for each in offers.values() if not each.record][: max(0, len(offers) - KEPT_MOST)]
        gone = {*over, *stale, *most}
        kept = {each.id: each for each in offers.values() if each.id not in gone}
        await self._store.save_document(DOCUMENT, msgspec.json.encode(list(kept.values())))
        self._offers = kept
        self._recorded &= kept.keys()

    def _is_old(self, offer: Offer) -> bool:
        return not 0 <= self._clock.wall_ms() - offer.made_ms < VISIT_MS

    def _of(self, stay: StayId, token: str) -> Offer:
        digest = _digest(token)
        for each in self._offers.values():
            if each.stay == stay and hmac.compare_digest(each.sha256, digest) and not self._is_old(each):
                return each
        raise VisitRefusedError("no_visit", "This code is not good any more; begin anew at the kiosk.")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _restored(body: bytes | None) -> list[Offer]:
    if body is None:
        return []
    try:
        return msgspec.json.decode(body, type=list[Offer])
    except msgspec.MsgspecError:
        return []  # of another build, or damaged
