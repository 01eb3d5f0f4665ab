"""The socket's methods that take rights away, and tell what is taken: their arguments, and what comes back.

Split from server.py, which serves them. Every order names who wants it and why; nothing here opens a door.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal

import msgspec

from edge.doors.closing_desk import ClosingDesk, Order
from edge.doors.grant_desk import GrantDesk
from edge.doors.staff_desk import NOT_STAYS
from edge.doors.vendor_methods import holder_of
from edge.doors.vendors.desk import KeyDesk
from edge.doors.vendors.ledger import KeptKey
from kit.logs import logger
from protocols.device_model.identity import RoomId, parse_name
from protocols.errors import InvalidInputError
from protocols.grant.keys import IssuerClass

MILLISECONDS_MOST: Final = 2**53
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Method = Callable[[dict[str, Any]], Awaitable[Any]]


class WithdrawKeyArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `withdraw_key`: by `grant` (hex), by `stay` (and `phone_public_key`), or by `person`."""

    by: Words
    reason: Words
    grant: str | None = None
    stay: str | None = None
    person: str | None = None
    phone_public_key: str | None = None


class WithdrawIssuerArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `withdraw_issuer`: by `kid` (hex), or the key that signs for a class now."""

    by: Words
    reason: Words
    kid: str | None = None
    issuer_class: Literal["guest", "staff", "emergency", "revocation"] | None = None


class LockOutArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `lock_out`."""

    room: str
    sealed: bool
    by: Words
    reason: Words


class InhibitArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `inhibit`."""

    room: str
    by: Words
    reason: Words


class FailsafeArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `issue_failsafe`."""

    room: str
    phone_public_key: str
    not_after_ms: Annotated[int, msgspec.Meta(ge=0, le=MILLISECONDS_MOST)]
    life_hours: Annotated[int, msgspec.Meta(ge=1, le=72)] = 24


class StayArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `phones` and `stay_keys`."""

    stay: str


class NoArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No arguments."""


class ClosingMethods:
    """Serves them; `told` is called when events were written."""

    def __init__(
        self, closing: ClosingDesk, desk: GrantDesk, *, told: Callable[[], None], keys: KeyDesk | None = None
    ) -> None:
        self._closing, self._desk, self._told, self._keys = closing, desk, told, keys
        self._log = logger("edge.doors.closing")

    def methods(self) -> dict[str, Method]:
        """Return the methods by name."""
        return {
            "withdraw_key": self._withdraw_key,
            "withdraw_issuer": self._withdraw_issuer,
            "lock_out": self._lock_out,
            "inhibit": self._inhibit,
            "issue_failsafe": self._issue_failsafe,
            "revocations": self._revocations,
            "phones": self._phones,
            "stay_keys": self._stay_keys,
            "news": self._news,
        }

    async def _withdraw_key(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, WithdrawKeyArgs)
        if sum(each is not None for each in (asked.grant, asked.stay, asked.person)) != 1:
            raise InvalidInputError("withdraw_key", "name one of grant, stay and person")
        phone = octets(asked.phone_public_key or "", "phone_public_key")
        order, gone = Order(asked.by, asked.reason).checked(), set[bytes]()
        elsewhere: list[KeptKey] = []
        if asked.grant is not None:
            grant = octets(asked.grant, "grant")
            gone.update(self._closing.withdraw_keys(order, grant_id=grant))
            if (whose := self._closing.holder_of(grant)) is not None:
                elsewhere = self._withdraw_elsewhere(*whose)
        elif asked.stay is not None:
            stay = parse_name(asked.stay, "stay")
            elsewhere = self._withdraw_elsewhere(stay, phone)
            try:
                gone.update(self._closing.withdraw_keys(order, holder=stay, phone=phone))
            except InvalidInputError:
                if not elsewhere:
                    raise  # else all that it had was behind locks of other makers
        else:
            person = parse_name(asked.person or "", "person")
            holders = [prefix + person for prefix in NOT_STAYS[:2]]
            known = [holder for holder in holders if self._closing.phones_of(holder)]
            drafts = self._closing.drop_drafts(person, phone)  # first: two officers may have approved one by now
            if not known and not drafts:
                raise InvalidInputError("person", f"{person!r} has no key")
            for holder in known:
                gone.update(self._closing.withdraw_keys(order, holder=holder, phone=phone))
        named = sorted(each.hex() for each in gone)
        systems = sorted({each.system for each in elsewhere})
        self._log.warning("keys_withdrawn", by=asked.by, reason=asked.reason, grants=named, systems=systems)
        self._told()
        return {"grants": named, "lock_systems": systems, **self._closing.status()}

    def _withdraw_elsewhere(self, stay: str, phone: bytes) -> list[KeptKey]:
        """End the keys that a stay's phone (all of its phones) has in foreign lock systems."""
        if self._keys is None or "/" in stay:
            return []
        return self._keys.withdraw(stay, holder_of(phone) if phone else None)

    async def _withdraw_issuer(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, WithdrawIssuerArgs)
        if (asked.kid is None) == (asked.issuer_class is None):
            raise InvalidInputError("withdraw_issuer", "name one of kid and issuer_class")
        of_class = None if asked.issuer_class is None else IssuerClass[asked.issuer_class.upper()]
        order = Order(asked.by, asked.reason)
        kid = self._closing.withdraw_issuer(order, kid=octets(asked.kid or "", "kid"), issuer_class=of_class)
        self._log.error("issuer_withdrawn", by=asked.by, reason=asked.reason, kid=kid.hex())
        self._told()
        return {"kid": kid.hex(), **self._closing.status()}

    async def _lock_out(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, LockOutArgs)
        room = RoomId(parse_name(asked.room, "room"))
        order = Order(asked.by, asked.reason).checked()
        elsewhere = [] if self._keys is None else self._keys.doors_of(room)
        doors: tuple[str, ...] = ()
        if not elsewhere or self._closing.has_door(room):
            doors = self._closing.lock_out(order, room, sealed=asked.sealed)
        if elsewhere and self._keys is not None:
            if asked.sealed:
                self._keys.end_room(room)  # first: who is told of a failure asks again, and no key outlives the seal
            doors += self._closing.seal_elsewhere(order, room, elsewhere, sealed=asked.sealed)
        self._log.warning("locked_out", by=order.by, reason=order.reason, doors=doors, sealed=asked.sealed)
        self._told()
        return {"doors": list(doors)}

    async def _inhibit(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, InhibitArgs)
        room = RoomId(parse_name(asked.room, "room"))
        order = Order(asked.by, asked.reason).checked()
        if self._keys is not None and self._keys.has(room):
            systems = sorted({each.system for each in self._keys.end_room(room)})
            self._log.warning("inhibited_elsewhere", by=order.by, reason=order.reason, room=room, systems=systems)
            if not self._desk.serves(room):
                return {"generation": 0, "doors": [], "lock_systems": systems}
        done = self._desk.inhibit(room, self._closing.inhibited(order, room))
        self._log.warning("inhibited", by=asked.by, reason=asked.reason, doors=done.doors, generation=done.generation)
        self._told()
        return {"generation": done.generation, "doors": list(done.doors)}

    async def _issue_failsafe(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, FailsafeArgs)
        bundle = self._desk.issue_failsafe(
            RoomId(parse_name(asked.room, "room")),
            octets(asked.phone_public_key, "phone_public_key"),
            life_hours=asked.life_hours,
            not_after_ms=asked.not_after_ms,
        )
        return bundle.to_document()

    async def _revocations(self, args: dict[str, Any]) -> object:
        msgspec.convert(args, NoArgs)
        return self._closing.status()

    async def _phones(self, args: dict[str, Any]) -> object:
        stay = parse_name(msgspec.convert(args, StayArgs).stay, "stay")
        return {"phones": self._closing.phones_of(stay)}

    async def _stay_keys(self, args: dict[str, Any]) -> object:
        stay = parse_name(msgspec.convert(args, StayArgs).stay, "stay")
        keys = self._closing.keys_of_stay(stay)
        elsewhere = [] if self._keys is None else self._keys.of_stay(stay)
        by_holder = {holder_of(bytes.fromhex(each["phone"])): each for each in keys}
        for each in keys:
            each["elsewhere"] = []
        others: list[dict[str, Any]] = []  # cards and the like, that are no phone's
        for key in elsewhere:
            told = {"system": key.system, "medium": key.medium, "state": key.state.value, "truth": key.truth}
            (by_holder[key.holder]["elsewhere"] if key.holder in by_holder else others).append(told)
        return {"keys": keys, "others": others}

    async def _news(self, args: dict[str, Any]) -> object:
        msgspec.convert(args, NoArgs)
        return {
            "carry": [
                {
                    "lock": None if each.lock_id is None else each.lock_id.hex(),
                    "signed": each.signed.hex(),
                    "certificate": each.certificate.hex(),
                }
                for each in self._closing.news()
            ]
        }


def octets(text: str, place: str) -> bytes:
    """Return the bytes that hexadecimal `text` spells. Raises InvalidInputError naming `place`."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InvalidInputError(place, "not hexadecimal") from None


def withdrawn_beside_others(stay: str, desk: GrantDesk, closing: ClosingDesk) -> frozenset[int]:
    """Withdraw the keys of a stay whose rooms others share; return those rooms, whose generation may stay.

    Where that cannot be, none: then the rooms go on to a new generation, and those who stay ask for new keys.
    """
    shared = desk.shared_rooms(stay)
    if not shared:
        return shared
    try:
        closing.withdraw_keys(Order("check-out", "has left others in the room"), holder=stay)
    except InvalidInputError as error:
        logger("edge.doors.closing").warning("sharers_need_new_keys", stay=stay, error=str(error))
        return frozenset()
    return shared
