"""Check-in, check-out and the end of a stay; one path for the cloud's command, the kiosk and the desk (CHK-01, CHK-09,
CHK-10).

The order that survives a crash anywhere: the grant first (asking again gives the same one), then the decision into
the record log, then the answer. A guest who never got the answer asks again and gets it. Whoever leaves because
somebody comes, leaves by the very commit that takes the other in: what the doors refuse puts nobody out, and no
kill leaves a room without either or with both. Check-out decides first and tells the doors after: rights end even if
this process dies in between (checkin/departures.py).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from edge.checkin.departures import Departures
from edge.checkin.errors import CheckInRefusal, CheckInRefusedError, further_key
from edge.checkin.ports import Cards, CheckInRecords, Doors
from edge.stays.document import DocumentStay, StayState
from edge.stays.keeper import record_body
from edge.stays.replica import BY_PMS, Replica, Stay
from kit.clock import Clock
from protocols.device_model.command import Outcome, Phase
from protocols.device_model.identity import ActorKind, RoomId, StayId, parse_actor
from protocols.errors import InvalidInputError

PHONE_KEY_BYTES: Final = 33  # a compressed P-256 point
UNTIL_MOST_MS: Final = 366 * 24 * 3_600_000
"""So far ahead may a stay be made longer."""
SUPERSEDED_MOST: Final = 100
"""So many overdue stays leave one room for a newcomer; with more the replica is not to be believed."""


class CheckInDesk:
    """Takes guests in and lets them go, one at a time: the replica each step sees is the one it changes.

    Args:
        replica: The stays held true, asked anew each time.
        opens_before_ms: How long before arrival check-in opens, asked anew each time.
        rooms_with_doors: Rooms with doors of ours; whether another has a foreign lock, the doors are asked.
        doors: The doors process.
        records: The record log.
        departures: Tells the doors who has left.
        clock: Wall time, for windows.
        cards: Who writes key cards; None: nobody does.
    """

    def __init__(
        self,
        *,
        replica: Callable[[], Replica],
        opens_before_ms: Callable[[], int],
        rooms_with_doors: frozenset[RoomId],
        doors: Doors,
        records: CheckInRecords,
        departures: Departures,
        clock: Clock,
        cards: Cards | None = None,
    ) -> None:
        self._replica, self._rooms, self._clock, self._cards = replica, rooms_with_doors, clock, cards
        self._opens_before_ms = opens_before_ms
        self._doors, self._records, self._departures = doors, records, departures
        self.turn = asyncio.Lock()
        """Held for each guest who comes, moves, stays on or leaves."""

    async def check_in(
        self,
        stay_id: StayId,
        phone_public_key: str,
        *,
        by: str,
        by_kind: ActorKind = ActorKind.DESK,
        code: str | None = None,
        joins: bool = True,
    ) -> dict[str, Any]:
        """Check a stay in, or give another phone of a stay in house its grant.

        Args:
            stay_id: Must be in the replica.
            phone_public_key: 66 hex digits, a compressed P-256 point.
            by: Who did it, for the record, by name: a clerk's, a kiosk's; "pms" is nobody's.
            by_kind: What kind of thing that is, whatever the name.
            code: Which code for a phone takes the stay in, if one does.
            joins: Whether a phone of a stay in house is given its grant, too: what came in before the turn of this
                one counts.

        Returns:
            `{stay, room, state, bundle}`. Keys of foreign lock systems in the bundle say each how far it is made:
            checked in is who has been given what there is, and the rest is made, or written on a card, after.

        Raises:
            InvalidInputError: the key or `by` is not of its form.
            CheckInRefusedError: the rules say no; nothing happened.
            LinkLostError, ReplyTimeoutError, StoreFailedError: ask again, with the same key.
        """
        key = phone_key(phone_public_key)
        by = here_by(by)
        async with self.turn:
            stay, room, _ = self._may_come(stay_id)
            await self._served(room)
            join = stay.state is StayState.IN_HOUSE
            if join and not joins:
                raise further_key(stay_id)
            bundle = await self._issued(stay, room, key, join=join)
            if not join:
                others = await self._taken_in(stay_id, room, by=by, by_kind=by_kind, code=code)
                for other in others:  # ends their generation, not the later one just handed out (doors/grant_desk.py)
                    await self._departures.tell(other.id)
        return {"stay": stay.id, "room": room, "state": StayState.IN_HOUSE.value, "bundle": dict(bundle)}

    async def check_in_by_card(
        self, stay_id: StayId, *, encoder: str, by: str, by_kind: ActorKind = ActorKind.DESK
    ) -> tuple[RoomId, Outcome]:
        """Check a stay in whose key is written on a card: the card first, then the record, as with a phone.

        A guest who is in house already gets no card here: whoever knows his booking's code and name is not he.

        Args:
            stay_id: Must be in the replica.
            encoder: Where the card lies.
            by: As of `check_in`, and by_kind.

        Returns:
            The room, and what came of the writing. Not DONE: he was not taken in.

        Raises:
            CheckInRefusedError: the rules say no, or the room's doors take no cards; nothing happened.
            InvalidInputError, LinkLostError, StoreFailedError: he was not taken in.
        """
        by = here_by(by)
        async with self.turn:
            stay, room, _ = self._may_come(stay_id)
            if stay.state is StayState.IN_HOUSE:
                raise CheckInRefusedError(
                    CheckInRefusal.CARD_AT_DESK, f"Stay {stay_id} is in house; the front desk gives further cards."
                )
            if self._cards is None:
                raise CheckInRefusedError(CheckInRefusal.NO_CARD, "This house writes no cards.")
            written = await self._cards.write(
                stay.id,
                room,
                encoder=encoder,
                not_before_ms=min(self._clock.wall_ms(), stay.expected_from_ms),
                not_after_ms=stay.expected_until_ms,
                join=bool(self._beside(room, stay)),
            )
            if written.phase is Phase.DONE:
                for other in await self._taken_in(stay_id, room, by=by, by_kind=by_kind):
                    await self._departures.tell(other.id)
        return room, written

    async def move(
        self, stay_id: StayId, room: RoomId, phone_public_key: str, *, by: str, by_kind: ActorKind = ActorKind.DESK
    ) -> dict[str, Any]:
        """Move a guest in house to another room: the phone's new key, and the end of every key of the old room.

        The grant first, then the record, as with a check-in: asked again with the same key the answer is the same. The
        stay's other phones ask for their keys anew by `check_in`.

        Args:
            stay_id: In house.
            room: Where to; the room that the stay has already is no move, and gives the phone its key.
            phone_public_key: As of `check_in`.
            by: As of `check_in`, and by_kind.

        Returns:
            As `check_in`.

        Raises:
            CheckInRefusedError: not in house, the room is held, promised to somebody who comes before he leaves, has
                no door or is being shared; nothing happened.
            InvalidInputError, LinkLostError, ReplyTimeoutError, StoreFailedError: as `check_in`.
        """
        key = phone_key(phone_public_key)
        by = here_by(by)
        async with self.turn:
            stay = self._may_move(stay_id, room)
            moves = room != stay.room
            if moves:
                await self._served(room)
            bundle = await self._doors.issue(
                stay.id,
                room,
                key,
                not_before_ms=min(self._clock.wall_ms(), stay.expected_from_ms),
                not_after_ms=stay.expected_until_ms,
                join=not moves,
            )
            # once more: a document may have come while the doors made the key, which was told to nobody yet
            stay = self._may_move(stay_id, room)
            if not moves and stay.room is not None and stay.room != room:
                raise self._given_another(stay_id, stay.room)
            if room != stay.room:
                at_ms = self._clock.wall_ms()
                body = record_body(self._said(stay), StayState.IN_HOUSE, room, at_ms=at_ms, by=by, by_kind=by_kind)
                await self._records.stays([body])
        return {"stay": stay.id, "room": room, "state": StayState.IN_HOUSE.value, "bundle": dict(bundle)}

    async def end_at(
        self, stay_id: StayId, until_ms: int, *, by: str, phone_public_key: str | None = None
    ) -> dict[str, Any]:
        """Make the stay of a guest in house longer or shorter (docs/decisions/0143).

        The grant first, then the record, as with a check-in. The stay's other phones get their longer keys by
        `check_in`, of the same generation. A key that was made for longer ends with the stay (overdue.py).

        Args:
            stay_id: In house.
            until_ms: When it ends now; the end that it has already changes nothing, and gives the phone its key.
            by: As of `check_in`.
            phone_public_key: A phone that is here and gets its key at once.

        Returns:
            `{stay, room, state, until_ms}`, with a phone `bundle` too.

        Raises:
            CheckInRefusedError: not in house, the room was promised to somebody who comes before; nothing happened.
            InvalidInputError: that time is over, or too far ahead; nothing happened.
            LinkLostError, ReplyTimeoutError, StoreFailedError: as `check_in`.
        """
        key = None if phone_public_key is None else phone_key(phone_public_key)
        by = here_by(by)
        async with self.turn:
            stay, room = self._may_end_at(stay_id, until_ms)
            answer: dict[str, Any] = {"stay": stay.id, "room": room, "state": stay.state.value, "until_ms": until_ms}
            if key is not None:
                await self._served(room)
                later = replace(stay, expected_until_ms=until_ms)
                answer["bundle"] = dict(await self._issued(later, room, key, join=True))
                # once more: a document may have come while the doors made the key, which was told to nobody yet
                stay, room_now = self._may_end_at(stay_id, until_ms)
                if room_now != room:
                    raise self._given_another(stay_id, room_now)
            if until_ms != stay.expected_until_ms:
                await self._records.until(stay.id, until_ms, by=by)
        return answer

    async def check_out(self, stay_id: StayId, *, by: str, by_kind: ActorKind = ActorKind.DESK) -> dict[str, Any]:
        """Check a stay out; asking again gives the same answer.

        Returns:
            `{stay, room, state, doors_told}`; `doors_told` False: the doors process is away and will be told.

        Raises:
            CheckInRefusedError: unknown here, or never in house.
            StoreFailedError: nothing happened; ask again.
        """
        by = parse_actor(by)
        async with self.turn:
            stay = self._held(stay_id)
            if stay.state not in (StayState.IN_HOUSE, StayState.LEFT):
                raise CheckInRefusedError(
                    CheckInRefusal.NOT_IN_HOUSE, f"Stay {stay.id} is {stay.state}; only a guest in house checks out."
                )
            if stay.state is StayState.IN_HOUSE:
                await self._leave(stay, by=by, by_kind=by_kind)
            told = await self._departures.tell(stay.id)
        return {"stay": stay.id, "room": stay.room, "state": StayState.LEFT.value, "doors_told": told}

    def _may_come(self, stay_id: StayId) -> tuple[Stay, RoomId, list[Stay]]:
        """Return the stay, its room and whom it supersedes there, as the replica is now. Raises CheckInRefusedError."""
        stay = self._held(stay_id)
        room = self._admissible(stay)
        return stay, room, self._others_in(room, stay)

    async def _taken_in(
        self, stay_id: StayId, room: RoomId, *, by: str, by_kind: ActorKind, code: str | None = None
    ) -> list[Stay]:
        """Take a stay in, and in the same commit let those go whom it supersedes; return them.

        Looks once more: while the doors made the key a document may have ended the stay, given it another room or
        made the other one's longer. The key was told to nobody yet.
        """
        stay, room_now, others = self._may_come(stay_id)
        if room_now != room:
            raise self._given_another(stay_id, room_now)
        at_ms = self._clock.wall_ms()
        why, kind = f"superseded by {stay_id}", ActorKind.NEXT_GUEST
        left = [
            record_body(self._said(each), StayState.LEFT, room, at_ms=at_ms, by=why, by_kind=kind) for each in others
        ]
        came = record_body(self._said(stay), StayState.IN_HOUSE, room, at_ms=at_ms, by=by, by_kind=by_kind, code=code)
        await self._records.stays([*left, came])
        return others

    async def _issued(self, stay: Stay, room: RoomId, key: bytes, *, join: bool) -> Mapping[str, Any]:
        """Ask the doors for a phone's grant.

        A guest in house whom the PMS moved (edge/bridges/fias) has keys of his old room alone, until the first of his
        phones asks: the doors refuse it as one more phone of the stay, and it takes the stay along.
        """

        def ask(*, join: bool) -> Awaitable[Mapping[str, Any]]:
            return self._doors.issue(
                stay.id,
                room,
                key,
                not_before_ms=min(self._clock.wall_ms(), stay.expected_from_ms),
                not_after_ms=stay.expected_until_ms,
                join=join,
                beside=self._beside(room, stay),
            )

        try:
            return await ask(join=join)
        except InvalidInputError as error:
            if not join or error.place != "rooms" or self._in_house(room, stay):
                raise
            return await ask(join=False)

    async def _served(self, room: RoomId) -> None:
        if room not in self._rooms and not await self._doors.serves(room):
            raise CheckInRefusedError(
                CheckInRefusal.NO_DOOR, f"Room {room} has no door that this house makes keys for."
            )

    def _may_move(self, stay_id: StayId, room: RoomId) -> Stay:
        """Return the stay, as the replica is now, if it may have that room.

        Raises:
            CheckInRefusedError: as `move`.
        """
        stay = self._held(stay_id)
        if stay.state is not StayState.IN_HOUSE:
            raise CheckInRefusedError(
                CheckInRefusal.NOT_IN_HOUSE, f"Stay {stay.id} is {stay.state}; only a guest in house is moved."
            )
        if room != stay.room:
            self._free_to_move(stay, room)
        self._admissible(replace(stay, room=room))
        return stay

    def _free_to_move(self, stay: Stay, room: RoomId) -> None:
        """See that a guest in house may leave his room for another, and nobody suffers by it."""
        if others := self._in_house(room, stay):
            raise CheckInRefusedError(
                CheckInRefusal.ROOM_TAKEN, f"Room {room} is still held by stay {others[0].id}; ask the front desk."
            )
        if stay.room is not None and (beside := self._beside(stay.room, stay)):
            raise CheckInRefusedError(
                CheckInRefusal.ROOM_SHARED,
                f"Stay {stay.id} shares room {stay.room} with {beside[0]}, whose key would end too;"
                " check it out instead.",
            )
        self._unpromised(replace(stay, room=room), room, stay.expected_until_ms, instead="take another room")

    def _may_end_at(self, stay_id: StayId, until_ms: int) -> tuple[Stay, RoomId]:
        """Return the stay and its room, as the replica is now, if it may end then.

        Raises:
            CheckInRefusedError, InvalidInputError: as `end_at`.
        """
        stay = self._held(stay_id)
        if stay.state is not StayState.IN_HOUSE:
            raise CheckInRefusedError(
                CheckInRefusal.NOT_IN_HOUSE,
                f"Stay {stay.id} is {stay.state}; only of a guest in house it is said here when he leaves.",
            )
        if stay.room is None:
            raise CheckInRefusedError(CheckInRefusal.NO_ROOM, f"Stay {stay.id} is in house without a room.")
        wall_ms = self._clock.wall_ms()
        if not max(wall_ms, stay.expected_from_ms) < until_ms <= wall_ms + UNTIL_MOST_MS:
            raise InvalidInputError("until_ms", f"{until_ms} is over already, or more than a year ahead")
        if until_ms > stay.expected_until_ms:
            self._unpromised(stay, stay.room, until_ms, instead=f"move {stay.id} to a free room first")
        return stay, stay.room

    def _unpromised(self, stay: Stay, room: RoomId, until_ms: int, *, instead: str) -> None:
        """See that nobody else was promised a room before its guest leaves it; who did not come at all is nobody."""
        wall_ms = self._clock.wall_ms()
        for each in self._replica().all():
            coming = each.room == room and each.state in (StayState.PLANNED, StayState.READY)
            before = each.expected_from_ms < until_ms and each.expected_until_ms > wall_ms
            if coming and before and not each.shares_with(stay):
                raise CheckInRefusedError(
                    CheckInRefusal.ROOM_TAKEN, f"Room {room} was promised to stay {each.id} before then; {instead}."
                )

    @staticmethod
    def _given_another(stay_id: StayId, room: RoomId) -> CheckInRefusedError:
        return CheckInRefusedError(
            CheckInRefusal.ROOM_TAKEN, f"Stay {stay_id} was given room {room} at this moment; ask again."
        )

    def _held(self, stay_id: StayId) -> Stay:
        stay = self._replica().get(stay_id)
        if stay is None:
            raise CheckInRefusedError(CheckInRefusal.UNKNOWN_STAY, f"Stay {stay_id} is not known in this building.")
        return stay

    def _admissible(self, stay: Stay) -> RoomId:
        """Return the room the stay may be checked into now."""
        if stay.state in (StayState.LEFT, StayState.VOID):
            raise CheckInRefusedError(CheckInRefusal.ENDED, f"Stay {stay.id} is {stay.state}; it cannot be checked in.")
        if stay.room is None:
            raise CheckInRefusedError(CheckInRefusal.NO_ROOM, f"Stay {stay.id} has no room yet; ask the front desk.")
        wall_ms = self._clock.wall_ms()
        if wall_ms >= stay.expected_until_ms:
            raise CheckInRefusedError(CheckInRefusal.OVER, f"Stay {stay.id} was to end before now; ask the front desk.")
        opens_ms = stay.expected_from_ms - self._opens_before_ms()
        if stay.state is not StayState.IN_HOUSE and wall_ms < opens_ms:
            raise CheckInRefusedError(
                CheckInRefusal.TOO_EARLY, f"Check-in for stay {stay.id} is not open yet.", available_from_ms=opens_ms
            )
        return stay.room

    def _others_in(self, room: RoomId, stay: Stay) -> list[Stay]:
        """Return overdue stays that the newcomer supersedes; one with whom he shares the room is none of them.

        Any other stay that is not overdue holds its room against a newcomer: two guests sold the same bed are the front
        desk's to part, not ours to guess.
        """
        if stay.state is StayState.IN_HOUSE:
            return []
        others = [each for each in self._in_house(room, stay) if not each.shares_with(stay)]
        for each in others:
            if each.expected_until_ms > self._clock.wall_ms():
                raise CheckInRefusedError(
                    CheckInRefusal.ROOM_TAKEN, f"Room {room} is still held by stay {each.id}; ask the front desk."
                )
        if len(others) > SUPERSEDED_MOST:
            raise CheckInRefusedError(
                CheckInRefusal.ROOM_TAKEN, f"Room {room} is still held by {len(others)} stays; ask the front desk."
            )
        return others

    def _beside(self, room: RoomId, stay: Stay) -> list[StayId]:
        """Return all stays in house with whom a guest shares the room.

        All: whom the PMS took in has no key before one of his phones asks, and only the doors know whose key counts.
        """
        return [each.id for each in self._in_house(room, stay) if each.shares_with(stay)]

    def _in_house(self, room: RoomId, stay: Stay) -> list[Stay]:
        return [
            each
            for each in self._replica().all()
            if each.room == room and each.id != stay.id and each.state is StayState.IN_HOUSE
        ]

    async def _leave(self, stay: Stay, *, by: str, by_kind: ActorKind) -> None:
        if stay.room is None:  # in house through a document without a room: no door, no record to tell
            raise CheckInRefusedError(CheckInRefusal.NO_ROOM, f"Stay {stay.id} is in house without a room.")
        at_ms = self._clock.wall_ms()
        body = record_body(self._said(stay), StayState.LEFT, stay.room, at_ms=at_ms, by=by, by_kind=by_kind)
        await self._records.stays([body])

    def _said(self, stay: Stay) -> DocumentStay:
        replica = self._replica()
        return replica.documents.get(stay.id) or replica.decisions[stay.id].stay


def here_by(text: object) -> str:
    """Return who at the building takes in, moves or keeps a guest. Raises InvalidInputError: not the PMS, by its name.

    What the PMS in the house decided, its next word undoes; what somebody here decided, it does not
    (docs/decisions/0143). A guest who is checked out stays so, whoever said it, and the cloud says it for the PMS.
    """
    by = parse_actor(text)
    if by == BY_PMS:
        raise InvalidInputError("by", f"{BY_PMS!r} is what the PMS in the house decides by; name who at the desk asks")
    return by


def phone_key(text: str) -> bytes:
    """Return a phone's key out of its 66 hexadecimal digits. Raises InvalidInputError."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != PHONE_KEY_BYTES or key[0] not in (2, 3) or len(text) != 2 * PHONE_KEY_BYTES:
        raise InvalidInputError("phone_public_key", "is not 66 hex digits of a compressed P-256 point")
    return key
