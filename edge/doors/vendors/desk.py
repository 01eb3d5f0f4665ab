"""A stay's keys in foreign lock systems: wanted durably, made within a deadline, healed and ended in the background.

Source of truth: docs/decisions/0047-a-key-is-named-by-our-grant.md; ACC-01, ACC-03, A15, P20. One stay may have doors
in several systems: each answers for itself, and what is missing is said, kept, and tried again.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from prometheus_client import Counter

from edge.doors.errors import StayEndedError
from edge.doors.put_back import PutBack
from edge.doors.vendors.foreign import ForeignSystem, opens_afar, put_back_events, shown
from edge.doors.vendors.insist import insist
from edge.doors.vendors.keypads import Keypads
from edge.doors.vendors.ledger import KeptKey, KeyLedger, KeyState
from edge.doors.vendors.port import (
    DOORS_MOST,
    PIN_TAKEN,
    DoorOpened,
    KeyMade,
    Medium,
    VendorBusyError,
    VendorEvent,
    VendorRefusedError,
    WantedKey,
)
from kit.clock import Clock
from kit.dice import Dice
from kit.logs import logger
from kit.metrics import Metrics
from protocols.device_model.identity import PropertyId, RoomId
from protocols.door.vendor_keys import VendorKey
from protocols.errors import InvalidInputError, PlatformError, ReplyTimeoutError, StoreFailedError

MAIN: Final = "main"
OVER: Final = frozenset({KeyState.ENDING, KeyState.ENDED})
PIN_DIGITS: Final = 6
PINS_TRIED_MOST: Final = 5
PROBLEM_CHARACTERS_MOST: Final = 300
EXPIRED_AFTER_MS: Final = 3_600_000
"""So long after its end a key is taken out of the vendor's system."""
CURTAILED_AFTER_MS: Final = 300_000
"""A key that outlasts its stay is let be for so long after it was made or changed."""
PAUSE_FIRST_MS: Final = 2_000
PAUSE_MOST_MS: Final = 300_000
HEAL_EVERY_S: Final = 1.0
POLL_PAUSE_MOST_S: Final = 300.0
TURNS_KEPT_MOST: Final = 1_000
PAGES_AT_ONCE_MOST: Final = 50


class KeyDesk:
    """Issues, changes and ends keys in foreign systems."""

    def __init__(
        self,
        systems: Sequence[ForeignSystem],
        *,
        property_id: PropertyId | str,
        ledger: KeyLedger,
        clock: Clock,
        dice: Dice,
        metrics: Metrics,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._systems = {each.name: each for each in systems}
        self._property, self._ledger, self._clock, self._dice, self._sleep = property_id, ledger, clock, dice, sleep
        self._turns: dict[str, asyncio.Lock] = {}
        self._pauses: dict[str, tuple[int, int]] = {}  # grant > (not before, pause)
        self._work = asyncio.Event()
        self.news = asyncio.Event()
        """Set when the vendors have told something new."""
        self._put_back = PutBack("vendor_keys_put_back", ledger, told=self._tell_put_back)
        self._keypads = Keypads(systems, ledger=ledger, clock=clock, told=self.news.set)
        self._log = logger("edge.doors.vendors")
        self._asked: Counter = metrics.counter("lock_system_requests", "keys asked for", ("system", "outcome"))
        self._told_count: Counter = metrics.counter("lock_system_events", "events told", ("system", "outcome"))

    def has(self, room: RoomId) -> bool:
        """Whether a room has a door in any foreign system."""
        return any(room in each.doors for each in self._systems.values())

    def doors_of(self, room: RoomId) -> list[str]:
        """Return our names of a room's doors in foreign systems."""
        return [named.door for each in self._systems.values() for named in each.doors_of([room])]

    def grant_of(self, stay: str, system: str, holder: str) -> str:
        """Return our name of a key: derived, so that a desk that lost its file finds its keys again."""
        text = "\x00".join((str(self._property), system, stay, holder))
        return f"ik-{hashlib.sha256(text.encode()).hexdigest()[:24]}"

    async def issue(
        self,
        stay: str,
        rooms: Sequence[RoomId],
        *,
        not_before_ms: int,
        not_after_ms: int,
        holder: str = MAIN,
        join: bool = False,
        medium: Medium | None = None,
        encoder: str | None = None,
        within_s: float | None = None,
        cards_wait: bool = False,
        phone: bytes | None = None,
    ) -> list[KeptKey]:
        """See that a stay's holder has keys for these rooms' doors, and for no others, in every system.

        Durable first; then every system is asked at once, each within its deadline. The answer is how each stands:
        `made`, or `wanted` with a problem (tried again in the background), or `refused`. Asking again is safe.
        `within_s`: the caller's own limit, where it is shorter than the systems'. `cards_wait`: nobody stands at an
        encoder: a card that is not written as wanted stays `wanted` until `encode`. A holder stays what he was, the
        one who replaces the last guest or one more beside others, however he asks again. `phone`: the holder's public
        key, 33 bytes, kept with his keys: what he signs with it opens from afar (remote_desk.py).

        Raises:
            InvalidInputError, StayEndedError, StoreFailedError: nothing was wanted.
        """
        if not_after_ms <= max(not_before_ms, self._clock.wall_ms()):
            raise InvalidInputError("not_after_ms", f"{not_after_ms}: the stay is over")
        if unknown := [room for room in rooms if not self.has(room)]:
            raise InvalidInputError("rooms", f"room {unknown[0]!r} has no door in a foreign lock system")
        if self._ledger.has_ended(stay):
            raise StayEndedError(f"stay {stay} has ended at the doors")
        if self._ledger.is_withdrawn(stay, holder):
            raise InvalidInputError(
                "phone_public_key", "this phone's key was withdrawn: it needs a key of its own anew"
            )
        if phone is not None and self._ledger.phone(stay, holder) not in {None, phone}:
            raise InvalidInputError(
                "phone_public_key", "another phone of this stay has a key of this name: make one anew"
            )
        wanted: list[KeptKey] = []
        for name, foreign in self._systems.items():
            there = tuple(sorted({room for room in rooms if room in foreign.doors}))
            known = self._ledger.key(self.grant_of(stay, name, holder))
            if there:
                key = self._wanted(
                    foreign,
                    stay,
                    holder,
                    (not_before_ms, not_after_ms),
                    rooms=there,
                    join=join,
                    medium=medium,
                    encoder=encoder,
                )
                wanted.append(_changed(known, key))
            elif known is not None and known.state not in OVER:
                wanted.append(_ending(known, self._clock.wall_ms()))  # moved out of this system
        self._ledger.keep(wanted, phone=None if phone is None else (stay, holder, phone))
        limit_s = max((self._systems[each.system].deadline_s for each in wanted), default=0.0)
        try:
            async with asyncio.timeout(limit_s if within_s is None else min(limit_s, within_s)):
                at_once = [each.grant for each in wanted if not (cards_wait and each.medium == "card")]
                await asyncio.gather(*(self._attend(grant, asked=True) for grant in at_once))
        except TimeoutError:
            self._log.warning("lock_systems_late", keys=[each.grant for each in wanted])
        self._work.set()
        found = [each for key in wanted if (each := self._ledger.key(key.grant)) is not None]
        return [each if self._is_told(each, cards_wait=cards_wait) else self._late(each) for each in found]

    def _is_told(self, key: KeptKey, *, cards_wait: bool) -> bool:
        return key.state is not KeyState.WANTED or bool(key.problem) or (cards_wait and key.medium == "card")

    def _late(self, key: KeptKey) -> KeptKey:
        late = replace(key, problem=f"{key.system}: no answer in time", may_have=True)
        self._ledger.settle(late)
        return late

    async def encode(self, stay: str, *, encoder: str | None = None) -> list[KeptKey]:
        """Write the first card of a stay that waits for somebody to lay one on the encoder; return all its cards.

        One card a call, because somebody has to change them; a card that is written as wanted is not written again.
        `encoder`: where; None: where the settings say.

        Raises:
            InvalidInputError: the stay has no card. StayEndedError, StoreFailedError: nothing was asked.
        """
        if self._ledger.has_ended(stay):
            raise StayEndedError(f"stay {stay} has ended at the doors")
        cards = [each for each in self._ledger.of_stay(stay) if each.medium == "card" and each.state not in OVER]
        if not cards:
            raise InvalidInputError("stay", f"stay {stay} has no key that is a card")
        waiting = sorted((each for each in cards if each.state is not KeyState.MADE), key=lambda each: each.join)
        for key in waiting[:1]:
            asked = replace(
                key, state=KeyState.WANTED, encoder=encoder or key.encoder, problem=None, version=key.version + 1
            )
            self._ledger.keep([asked])
            try:
                async with asyncio.timeout(self._systems[key.system].deadline_s):
                    await self._attend(key.grant, asked=True)
            except TimeoutError:
                if (now := self._ledger.key(key.grant)) is not None and now.state is KeyState.WANTED:
                    self._late(now)
        return [each for card in cards if (each := self._ledger.key(card.grant)) is not None]

    def withdraw(self, stay: str, holder: str | None) -> list[KeptKey]:
        """End a holder's keys of a stay (None: everybody's), so that he gets none of it again; as `end_stay`."""
        return self._ending_now(self._ledger.withdraw(stay, holder, self._clock.wall_ms()))

    def end_room(self, room: RoomId) -> list[KeptKey]:
        """End every key ever handed out for a room; who is in house asks again. As `end_stay`."""
        self._keypads.emptied([room])
        return self._ending_now(self._ledger.end_room(room, self._clock.wall_ms()))

    def leave_behind(self, stay: str, rooms: Sequence[RoomId], *, holder: str) -> list[KeptKey]:
        """End a stay's keys that open none of these rooms: it has moved out of theirs. As `end_stay`.

        The key of `holder`, who asks for these rooms, is `issue`'s to change, if any of them has a foreign door.
        """
        kept = holder if rooms else None
        return self._ended(stay, lambda each: each.holder != kept and set(rooms).isdisjoint(each.rooms))

    def curtail(self, stay: str, until_ms: int) -> list[KeptKey]:
        """End a stay's keys that last beyond its end, which has come; made longer, it gets them anew. As `end_stay`.

        Who made one just now may know of a later end that is about to be told: it waits for the next asking.
        """
        old_ms = self._clock.wall_ms() - CURTAILED_AFTER_MS
        return self._ended(stay, lambda each: each.not_after_ms > until_ms and each.changed_at_ms <= old_ms)

    def _ended(self, stay: str, which: Callable[[KeptKey], bool]) -> list[KeptKey]:
        ending = [each for each in self._ledger.of_stay(stay) if each.state not in OVER and which(each)]
        for each in ending:
            self._ledger.end_key(each.grant, self._clock.wall_ms())
        return self._ending_now(ending) if ending else []

    def _ending_now(self, ending: list[KeptKey]) -> list[KeptKey]:
        for each in ending:
            self._pauses.pop(each.grant, None)
        self._work.set()
        return ending

    async def end_stay(self, stay: str, *, emptied: Sequence[RoomId] = ()) -> list[str]:
        """End every key of a stay: durable when this returns; the vendors are told at once, and until they know.

        `emptied`: rooms in which nobody is any more: there ends too what a keypad holds and this house has forgotten.
        Returns the rooms concerned. Ending again changes nothing. Raises StoreFailedError.
        """
        self._keypads.emptied(emptied)
        ending = self._ending_now(self._ledger.end_stay(stay, self._clock.wall_ms()))
        return sorted({room for each in ending for room in each.rooms})

    def main_holder(self, stay: str) -> str:
        """Return who has the stay's own key, beside which others join; `main` where nobody has one yet."""
        first = [each for each in self._ledger.of_stay(stay) if not each.join and each.state not in OVER]
        return min(first, key=lambda each: each.changed_at_ms).holder if first else MAIN

    def of_stay(self, stay: str) -> list[KeptKey]:
        """Return how the keys of a stay stand."""
        return self._ledger.of_stay(stay)

    def told(self, key: KeptKey) -> VendorKey:
        """Return how a key stands, with what of it opens from afar for the phone that holds it."""
        foreign = self._systems.get(key.system)
        if foreign is None or self._ledger.phone(key.stay, key.holder) is None:
            return shown(key)
        return shown(key, opens_afar(key, foreign, str(self._property)))

    async def open_door(self, room: RoomId, *, actor: str) -> list[DoorOpened]:
        """Open a room's doors from afar, each once: what may have happened is never asked again.

        Raises:
            InvalidInputError: the room has no foreign door. PlatformError: the vendor's; see what it says may be so.
        """
        found = [(each, door) for each in self._systems.values() for door in each.doors.get(room, ())]
        if not found:
            raise InvalidInputError("room", f"room {room!r} has no door in a foreign lock system")
        opened: list[DoorOpened] = []
        for foreign, door in found:
            try:
                async with asyncio.timeout(foreign.deadline_s):
                    opened.append(await foreign.system.open_door(door, actor=actor))
            except TimeoutError as error:
                raise ReplyTimeoutError(f"{foreign.name}: no answer in time; the door may have opened") from error
        return opened

    @property
    def epoch(self) -> bytes:
        """The life of the file that events are kept in: their numbers count in it."""
        return self._ledger.epoch

    def events(self, after: int, most: int, *, telling: bool = True) -> list[tuple[int, Mapping[str, Any], int | None]]:
        """Return what the vendors told after `after`: seq, body, the vendor's time."""
        return self._ledger.events(after, most, telling=telling)

    def take_events(self, up_to: int) -> None:
        """The rest of the house holds the events up to here. Raises InvalidInputError: they are of a copy."""
        self._put_back.check(up_to)
        self._ledger.take_events(up_to)

    @property
    def last_position(self) -> int:
        """The position of the newest event, taken or not."""
        return self._ledger.last_position

    def _tell_put_back(self) -> None:
        systems, at_ms = self._systems.values(), self._clock.wall_ms()
        self._ledger.keep_own(put_back_events(systems, life=self._ledger.epoch, at_ms=at_ms))
        self.news.set()

    def status(self) -> dict[str, Any]:
        """Return how it stands, for the desk's screen: no secret."""
        return {
            "keys": self._ledger.counts(),
            "put_back": self._put_back.noticed,
            "systems": [
                {
                    "name": name,
                    "kind": each.system.kind,
                    "truth": each.system.abilities.issue.value,
                    "opens": None if (opens := each.system.abilities.opens) is None else opens.value,
                    "rooms": len(each.doors),
                    **({} if (unread := self._keypads.unread(name)) is None else {"keypads_unread": unread}),
                }
                for name, each in self._systems.items()
            ],
        }

    async def close(self) -> None:
        """Let go of the vendors' connections."""
        for each in self._systems.values():
            await each.system.close()

    # -- in the background ------------------------------------------------------------------------------------------

    async def heal(self) -> None:
        """Tell the vendors what they do not know yet, until cancelled."""
        while True:
            await self.heal_once()
            self._work.clear()
            try:
                async with asyncio.timeout(HEAL_EVERY_S):
                    await self._work.wait()
            except TimeoutError:
                continue

    async def heal_once(self) -> None:
        """Try each open key that is due. A card is not written while nobody asks: another may lie on the encoder."""
        self._put_back.begun()
        at_ms = self._clock.wall_ms()
        self._ledger.end_expired(at_ms - EXPIRED_AFTER_MS, at_ms)
        for name, foreign in self._systems.items():
            if not foreign.system.abilities.keeps_hours:
                self._ledger.end_due(name, at_ms)
        if len(self._turns) > TURNS_KEPT_MOST:
            self._turns = {grant: turn for grant, turn in self._turns.items() if turn.locked()}
        if len(self._pauses) > TURNS_KEPT_MOST:  # of keys that were refused, or are gone
            waiting = {each.grant for each in self._ledger.open_keys()}
            self._pauses = {grant: pause for grant, pause in self._pauses.items() if grant in waiting}
        now_ms = self._clock.now_ms()
        due = [
            each.grant
            for each in self._ledger.open_keys()
            if each.system in self._systems
            and now_ms >= self._pauses.get(each.grant, (0, 0))[0]
            and not (each.state is KeyState.WANTED and each.medium == "card")
        ]
        await asyncio.gather(*(self._attend(grant, asked=False) for grant in due), self._keypads.read_next())

    async def watch(self, name: str) -> None:
        """Ask one system what happened, again and again, until cancelled. A vendor that is away is asked less often."""
        foreign = self._systems[name]
        if not foreign.system.abilities.events:
            return
        pause_s = foreign.poll_s
        while True:
            try:
                await self.poll(name)
                pause_s = foreign.poll_s
            except StoreFailedError:
                raise
            except PlatformError as error:  # its trouble is no fault of the doors
                self._told_count.labels(name, type(error).__name__).inc()
                self._log.warning("lock_system_silent", system=name, error=str(error))
                pause_s = min(pause_s * 2, POLL_PAUSE_MOST_S)
            await self._sleep(pause_s)

    async def poll(self, name: str) -> int:
        """Ask one system once for all that happened since. Return how many events were new."""
        foreign, new = self._systems[name], 0
        for _ in range(PAGES_AT_ONCE_MOST):
            page = await foreign.system.events(self._ledger.cursor(name))
            bodies = [(each, self._body(foreign, each)) for each in page.events]
            kept = self._ledger.keep_events(name, page.cursor, bodies)
            new += kept
            self._told_count.labels(name, "new").inc(kept)
            self._told_count.labels(name, "again").inc(len(page.events) - kept)
            self._told_count.labels(name, "unreadable").inc(page.refused)
            if kept:
                self.news.set()
            if not page.more:
                break
        return new

    def _body(self, foreign: ForeignSystem, event: VendorEvent) -> dict[str, Any]:
        """Return the event as an access record says it: the door by a name of ours, the time as far as it is worth."""
        named = foreign.named(event.door)
        known = None if event.grant is None else self._ledger.key(event.grant)
        return {
            "event": event.kind,
            "door": f"{foreign.name}-unknown" if named is None else named.door,
            "room": None if named is None else named.room,
            "stay": None if known is None else known.stay,
            "at_ms": event.at_ms,
            "time_quality": "uncertain",  # the vendor's clock: data, and no more
            "system": foreign.name,
            "vendor_door": event.door,
            "reason": event.detail or None,
        }

    # -- one key ----------------------------------------------------------------------------------------------------

    def _wanted(
        self,
        foreign: ForeignSystem,
        stay: str,
        holder: str,
        window_ms: tuple[int, int],
        *,
        rooms: tuple[RoomId, ...],
        join: bool,
        medium: Medium | None,
        encoder: str | None,
    ) -> KeptKey:
        doors = tuple(sorted({door for room in rooms for door in foreign.doors[room]}))
        if len(doors) > DOORS_MOST:
            raise InvalidInputError("rooms", f"{len(doors)} doors in one key, at most {DOORS_MOST}")
        chosen = medium or foreign.medium
        if chosen not in foreign.system.abilities.media:
            media = ", ".join(foreign.system.abilities.media)
            raise InvalidInputError("medium", f"{chosen!r}: {foreign.name} has {media}")
        return KeptKey(
            grant=self.grant_of(stay, foreign.name, holder),
            stay=stay,
            holder=holder,
            system=foreign.name,
            rooms=tuple(rooms),
            doors=doors,
            not_before_ms=window_ms[0],
            not_after_ms=window_ms[1],
            join=join,
            medium=chosen,
            encoder=(encoder or foreign.encoder) if chosen == "card" else None,
            pin=self._pin() if chosen == "pin" else None,
            state=KeyState.WANTED,
            truth=None,
            key=None,
            code=None,
            problem=None,
            may_have=False,
            changed_at_ms=self._clock.wall_ms(),
            version=1,
        )

    def _pin(self) -> str:
        while True:
            pin = f"{self._dice.integer(0, 10**PIN_DIGITS - 1):0{PIN_DIGITS}d}"
            if len(set(pin)) > 2:  # not 000000, nor 121212
                return pin

    async def _attend(self, grant: str, *, asked: bool) -> None:
        """Do with the vendor what a key waits for, one at a time for each key. Keeps what came of it; never raises."""
        turn = self._turns.setdefault(grant, asyncio.Lock())
        async with turn:
            key = self._ledger.key(grant)
            if key is None or not (asked or key.state in {KeyState.WANTED, KeyState.ENDING}):
                return
            if key.state in {KeyState.ENDED, KeyState.REFUSED}:
                return
            foreign = self._systems[key.system]
            try:
                settled = await (
                    self._revoke(foreign, key) if key.state is KeyState.ENDING else self._make(foreign, key)
                )
            except StoreFailedError:
                raise
            except PlatformError as error:
                self._failed(foreign, key, error)
                return
            self._pauses.pop(grant, None)
            self._asked.labels(key.system, settled.state.value).inc()
            self._ledger.settle(settled)

    async def _make(self, foreign: ForeignSystem, key: KeptKey) -> KeptKey:
        for _ in range(PINS_TRIED_MOST):
            try:
                made = await self._insist(foreign, key, lambda key=key: foreign.system.issue(_as_wanted(key)))  # type: ignore[misc]  # mypy infers no lambda with a default
            except VendorRefusedError as error:
                if error.code != PIN_TAKEN:
                    raise
                key = replace(key, pin=self._pin(), version=key.version)
                if not self._ledger.settle(key):
                    raise
                continue
            return replace(
                key,
                state=KeyState.MADE,
                truth=made.truth.value,
                key=made.key,
                code=made.code if made.code is not None else key.code,
                problem=None,
                may_have=False,
            )
        raise VendorRefusedError(f"{foreign.name}: {PINS_TRIED_MOST} PINs in a row are taken", PIN_TAKEN)

    async def _insist(self, foreign: ForeignSystem, key: KeptKey, do: Callable[[], Awaitable[KeyMade]]) -> KeyMade:
        return await insist(
            do,
            what=f"{foreign.name}: key {key.grant}",
            deadline_s=foreign.deadline_s,
            clock=self._clock,
            dice=self._dice,
            sleep=self._sleep,
        )

    async def _revoke(self, foreign: ForeignSystem, key: KeptKey) -> KeptKey:
        ended = await insist(
            lambda: foreign.system.revoke(key.grant),
            what=f"{foreign.name}: end of {key.grant}",
            deadline_s=foreign.deadline_s,
            clock=self._clock,
            dice=self._dice,
            sleep=self._sleep,
        )
        return replace(key, state=KeyState.ENDED, truth=ended.truth.value, problem=None, may_have=False)

    def _failed(self, foreign: ForeignSystem, key: KeptKey, error: PlatformError) -> None:
        """Keep what is wrong, and whether it may have been done all the same."""
        if (now := self._ledger.key(key.grant)) is None or now.version != key.version:
            return  # something else is wanted of it by now
        key = now
        final = not error.retryable and not error.may_have_taken_effect
        final = final and isinstance(error, VendorRefusedError | InvalidInputError) and key.state is KeyState.WANTED
        pause_ms = min(max(self._pauses.get(key.grant, (0, 0))[1] * 2, PAUSE_FIRST_MS), PAUSE_MOST_MS)
        if isinstance(error, VendorBusyError):  # it says itself when to come again
            pause_ms = min(max(error.wait_ms, PAUSE_FIRST_MS), PAUSE_MOST_MS)
        self._pauses[key.grant] = (self._clock.now_ms() + pause_ms, pause_ms)
        self._asked.labels(key.system, type(error).__name__).inc()
        self._log.warning("lock_system_failed", system=foreign.name, grant=key.grant, error=str(error), final=final)
        self._ledger.settle(
            replace(
                key,
                state=KeyState.REFUSED if final else key.state,
                problem=str(error)[:PROBLEM_CHARACTERS_MOST],
                may_have=key.may_have or error.may_have_taken_effect,
            )
        )


def _as_wanted(key: KeptKey) -> WantedKey:
    medium: Medium = "pin" if key.medium == "pin" else "card" if key.medium == "card" else "mobile"
    return WantedKey(
        key.grant,
        key.doors,
        key.not_before_ms,
        key.not_after_ms,
        medium,
        join=key.join,
        encoder=key.encoder,
        pin=key.pin,
    )


def _changed(known: KeptKey | None, key: KeptKey) -> KeptKey:
    """Return the key as it shall be now: with the digits it has, and a higher version, whatever was known of it."""
    if known is None:
        return key
    stands = known.state not in OVER
    terms = ("doors", "not_after_ms", "medium")
    same = known.state is KeyState.MADE and all(getattr(known, each) == getattr(key, each) for each in terms)
    begun = known.not_before_ms <= key.changed_at_ms  # who comes early asks from now on, each time a later now
    if same and (
        known.not_before_ms == key.not_before_ms or (begun and known.not_before_ms <= key.not_before_ms)
    ):  # as wanted already: what the vendor says now may only make it surer
        return replace(known, encoder=key.encoder, problem=None, version=known.version + 1)
    return replace(
        key,
        join=known.join if stands else key.join,
        pin=known.pin or key.pin,
        code=known.code,
        key=known.key,
        may_have=known.may_have,
        version=known.version + 1,
    )


def _ending(known: KeptKey, at_ms: int) -> KeptKey:
    return replace(
        known, state=KeyState.ENDING, pin=None, code=None, problem=None, changed_at_ms=at_ms, version=known.version + 1
    )
