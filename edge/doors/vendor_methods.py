"""The socket's methods of foreign lock systems: keys, cards, opening from afar, and what the vendors told.

Split from server.py, which serves them. Where the house has no foreign lock system each says so by name.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from edge.doors.door_book import DoorBook
from edge.doors.grant_desk import GrantDesk, check_phone
from edge.doors.store import EVENTS_READ_MOST
from edge.doors.vendors.desk import KeyDesk
from edge.doors.vendors.remote_desk import RemoteDesk
from protocols.device_model.identity import RoomId, parse_name
from protocols.door.remote_open import REQUEST_BYTES_MOST
from protocols.door.vendor_keys import keys_alone
from protocols.errors import InvalidInputError

MILLISECONDS_MOST: Final = 2**53
SEQ_MOST: Final = 2**63 - 1
EVENTS_WAIT_MOST_MS: Final = 30_000
VENDORS_WAIT_S: Final = 2.0
"""So long an answer with a grant of ours waits for foreign lock systems; asking again tells what became of them."""
HOLDER_CHARACTERS: Final = 16
SHARERS_MOST: Final = 500
"""Of one room, so that a question to the doors is no longer than its line takes."""
Method = Callable[[dict[str, Any]], Awaitable[Any]]
_Words = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
_Ms = Annotated[int, msgspec.Meta(ge=0, le=MILLISECONDS_MOST)]


class IssueArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `issue`."""

    stay: str
    rooms: Annotated[list[str], msgspec.Meta(min_length=1, max_length=40)]
    phone_public_key: str
    not_before_ms: _Ms
    not_after_ms: _Ms
    zones: int | None = None
    join: bool = False
    replaces: bool = True
    beside: str | Annotated[list[str], msgspec.Meta(max_length=SHARERS_MOST)] | None = None


class KeysArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `issue_keys`. `holder` tells one stay's keys apart; None: the stay's own key."""

    stay: str
    rooms: Annotated[list[str], msgspec.Meta(min_length=1, max_length=40)]
    not_before_ms: _Ms
    not_after_ms: _Ms
    holder: _Words | None = None
    join: bool = False
    medium: Literal["pin", "card", "mobile"] | None = None
    encoder: Annotated[str, msgspec.Meta(max_length=80)] | None = None


class CardsArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `key_cards`: the encoder where a card lies, if not the one of the settings."""

    stay: str
    encoder: _Words | None = None


class ServesArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `serves`."""

    room: str


class OpenArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `open_door`: `actor` is who asked, for the vendor's own log."""

    room: str
    actor: str


class OpenRemotelyArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `open_remotely`: the phone's request (protocols/door/SPEC.md 13), hexadecimal, judged here alone."""

    request: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2})*\Z", max_length=2 * REQUEST_BYTES_MOST + 2)]


class KeyEventsArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `key_events`: answered at once if there are any, else after `wait_ms` with none."""

    after: Annotated[int, msgspec.Meta(ge=0, le=SEQ_MOST)]
    most: Annotated[int, msgspec.Meta(ge=1, le=EVENTS_READ_MOST)] = 100
    wait_ms: Annotated[int, msgspec.Meta(ge=0, le=EVENTS_WAIT_MOST_MS)] = 0


class StayArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `keys`."""

    stay: str


class AckArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `ack_key_events`: `epoch` guards against acknowledging another file's events."""

    epoch: str
    up_to: Annotated[int, msgspec.Meta(ge=0, le=SEQ_MOST)]


def holder_of(phone: bytes) -> str:
    """Return what a phone's keys in foreign systems are told apart by: however it asks, it is the same holder."""
    return phone.hex()[:HOLDER_CHARACTERS]


class VendorMethods:
    """Serves them, and the parts of `issue` and `end_stay` that concern both kinds of locks."""

    def __init__(
        self,
        keys: KeyDesk | None,
        *,
        book: DoorBook,
        desk: GrantDesk,
        sealed: Callable[[RoomId], bool],
        remote: RemoteDesk | None = None,
    ) -> None:
        self._keys, self._book, self._desk, self._sealed, self._remote = keys, book, desk, sealed, remote

    def methods(self) -> dict[str, Method]:
        """Return the methods by name."""
        return {
            "serves": self._serves,
            "issue_keys": self._issue_keys,
            "keys": self._stay_keys,
            "key_cards": self._key_cards,
            "open_door": self._open_door,
            "open_remotely": self._open_remotely,
            "key_events": self._key_events,
            "ack_key_events": self._ack_key_events,
        }

    async def issue(self, args: dict[str, Any], *, issued: Callable[[], None]) -> object:
        """Give a phone the rights of a stay: a grant for our doors, keys for those of others, or both.

        `issued` is called once what is ours is durable. Where every room is behind a foreign lock, the grant is for
        the property's common doors, if it has any. A card is not written here: nobody stands at an encoder.
        """
        asked = msgspec.convert(args, IssueArgs)
        try:
            phone = bytes.fromhex(asked.phone_public_key)
        except ValueError:
            raise InvalidInputError("phone_public_key", "not hexadecimal") from None
        check_phone(phone)
        stay = parse_name(asked.stay, "stay")
        rooms = [RoomId(parse_name(room, "rooms")) for room in asked.rooms]
        foreign = [room for room in rooms if self._keys is not None and self._keys.has(room)]
        self._check_unsealed(foreign)
        own = [room for room in rooms if room not in foreign or self._book.of_room(room)]
        begins_ms, ends_ms = asked.not_before_ms, asked.not_after_ms
        beside = [asked.beside] if isinstance(asked.beside, str) else asked.beside or []
        bundle = (
            self._desk.issue(
                stay,
                own,
                phone,
                not_before_ms=begins_ms,
                not_after_ms=ends_ms,
                zones=asked.zones,
                join=asked.join,
                replaces=asked.replaces,
                beside=beside,
            )
            if own
            else self._desk.issue_common(stay, phone, not_before_ms=begins_ms, not_after_ms=ends_ms, zones=asked.zones)
        )
        issued()
        if self._keys is not None:
            self._keys.leave_behind(stay, foreign, holder=holder_of(phone))
        if self._keys is None or not foreign:
            return None if bundle is None else bundle.to_document()
        # ours is durable by now and waits for nobody; what a vendor does not give in time is said, and tried again
        keys = await self._keys.issue(
            stay,
            foreign,
            not_before_ms=begins_ms,
            not_after_ms=ends_ms,
            holder=holder_of(phone),
            join=asked.join or bool(beside),
            within_s=VENDORS_WAIT_S,
            cards_wait=True,
            phone=phone,
        )
        if bundle is None:
            return keys_alone(
                stay, [self._keys.told(each) for each in keys], not_before_ms=begins_ms, not_after_ms=ends_ms
            )
        return {**bundle.to_document(), "vendor_keys": [self._keys.told(each).to_document() for each in keys]}

    async def end_stay(self, stay: str, *, emptied: Sequence[RoomId] = ()) -> dict[str, Any]:
        """Return what is told of a stay whose keys in foreign systems are ended now."""
        return {} if self._keys is None else {"vendor_rooms": await self._keys.end_stay(stay, emptied=emptied)}

    def curtail(self, stay: str, until_ms: int) -> list[str]:
        """End a stay's keys in foreign systems that last beyond its end; return the systems."""
        return [] if self._keys is None else sorted({each.system for each in self._keys.curtail(stay, until_ms)})

    def _check_unsealed(self, rooms: Sequence[RoomId]) -> None:
        """Refuse to have a key made that a system without a lockout would let in. Raises InvalidInputError."""
        if shut := [room for room in rooms if self._sealed(room)]:
            raise InvalidInputError(
                "rooms", f"room {shut[0]!r} is sealed: its lock system makes no key until that is lifted"
            )

    def _foreign(self) -> KeyDesk:
        if self._keys is None:
            raise InvalidInputError("lock_systems", "this house has no foreign lock system")
        return self._keys

    async def _serves(self, args: dict[str, Any]) -> object:
        room = RoomId(parse_name(msgspec.convert(args, ServesArgs).room, "room"))
        foreign = self._keys is not None and self._keys.has(room)
        return {"own": bool(self._book.of_room(room)), "foreign": foreign}

    async def _issue_keys(self, args: dict[str, Any]) -> object:
        asked, keys = msgspec.convert(args, KeysArgs), self._foreign()
        stay = parse_name(asked.stay, "stay")
        rooms = [RoomId(parse_name(room, "rooms")) for room in asked.rooms]
        self._check_unsealed(rooms)
        kept = await keys.issue(
            stay,
            rooms,
            not_before_ms=asked.not_before_ms,
            not_after_ms=asked.not_after_ms,
            holder=keys.main_holder(stay) if asked.holder is None else asked.holder,
            join=asked.join,
            medium=asked.medium,
            encoder=asked.encoder,
        )
        return {"keys": [keys.told(each).to_document() for each in kept]}

    async def _stay_keys(self, args: dict[str, Any]) -> object:
        stay = parse_name(msgspec.convert(args, StayArgs).stay, "stay")
        keys = self._foreign()
        return {"keys": [keys.told(each).to_document() for each in keys.of_stay(stay)]}

    async def _key_cards(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, CardsArgs)
        keys = self._foreign()
        cards = await keys.encode(parse_name(asked.stay, "stay"), encoder=asked.encoder)
        return {"keys": [keys.told(each).to_document() for each in cards]}

    async def _open_door(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, OpenArgs)
        room, actor, keys = RoomId(parse_name(asked.room, "room")), parse_name(asked.actor, "actor"), self._foreign()
        if self._sealed(room):
            raise InvalidInputError("room", f"room {room!r} is sealed: nothing of it opens from afar")
        opened = await keys.open_door(room, actor=actor)
        return {"opened": [{"door": each.door, "truth": each.truth.value} for each in opened]}

    async def _open_remotely(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, OpenRemotelyArgs)
        if self._remote is None:
            raise InvalidInputError("lock_systems", "this house has no foreign lock system: nothing opens from afar")
        answer = await self._remote.open(bytes.fromhex(asked.request))
        return {"outcome": answer.outcome.value, "reason": answer.reason}

    async def _key_events(self, args: dict[str, Any]) -> object:
        asked, keys = msgspec.convert(args, KeyEventsArgs), self._foreign()
        if asked.after > keys.last_position:  # of another life, or of a copy: `ack_key_events` says which
            raise InvalidInputError("after", f"{asked.after} is beyond this file: ask for its epoch, and begin there")
        telling = asked.most > 1  # who asks for one asks for the epoch (edge/doors/client.py), and takes nothing
        events = keys.events(asked.after, asked.most, telling=telling)
        if not events and asked.wait_ms:
            keys.news.clear()
            try:
                async with asyncio.timeout(asked.wait_ms / 1_000):
                    await keys.news.wait()
            except TimeoutError:
                pass
            events = keys.events(asked.after, asked.most, telling=telling)
        return {
            "epoch": keys.epoch.hex(),
            "events": [{"seq": seq, "body": body, "device_at_ms": at_ms} for seq, body, at_ms in events],
        }

    async def _ack_key_events(self, args: dict[str, Any]) -> None:
        asked, keys = msgspec.convert(args, AckArgs), self._foreign()
        if asked.epoch != keys.epoch.hex():
            raise InvalidInputError("epoch", f"{asked.epoch[:40]!r} is not the life of the vendors' keys")
        keys.take_events(asked.up_to)
