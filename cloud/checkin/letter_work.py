"""Writes to guests: decides what is due, asks the PMS for the address, hands the letter over, writes down what came
of it. Several rooms of one guest are one letter.

The try is counted first, in a transaction of its own; the guest's link is made in the one after which the letter
is handed over; a third says what became of it. Whoever crashes has had his try, and the letter goes out again under the
same Message-ID with a link of its own: the guest may have two letters, and both links hold. Who is only
told to stop waits a moment for a letter that was handed over, and a database that is away just then is asked again.
"""

import asyncio
import functools
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from email.message import EmailMessage
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from cloud.checkin import letter_rows as rows
from cloud.checkin import links, session_rows
from cloud.checkin.letter_rows import Letter
from cloud.checkin.letters import (
    INVITED,
    LOOK_AGAIN_MS,
    ROOM_READY,
    TRIES_MOST,
    Facts,
    LetterKind,
    LetterState,
    Reason,
    Ruling,
    Session,
    after,
    rule,
    wait_ms,
)
from cloud.checkin.links import LinkRefusedError
from cloud.checkin.mail.letter import Written, compose, is_address
from cloud.checkin.mail.port import Mail, Outcome
from cloud.checkin.sessions import Sessions, Standing
from cloud.checkin.steps import open_before_grant
from cloud.kit import outbox
from cloud.kit.database import Connection, Database
from cloud.kit.outbox import Event
from cloud.kit.times import unix_ms
from cloud.platform.properties import Property, property_by_id
from cloud.pms.port import GuestContact, PmsBusyError
from cloud.privacy.sealing import NoKeysError
from cloud.privacy.wrapping import UnreadableError
from cloud.stays.listing import Stay, stay_by_id
from kit.clock import Clock
from kit.dice import Dice
from kit.task_groups import TaskGroup
from protocols.errors import PlatformError, StoreFailedError

LOOK_S: Final = 5.0
DECIDE_EVERY_MS: Final = 30_000
AT_A_TIME: Final = 8
OF_A_HOUSE: Final = 3
DECIDED_MOST: Final = 200
LEASE_MS: Final = 5 * 60_000
"""A try that has not ended by then has crashed: longer than the PMS's patience and the mail server's together."""
ROOMS_MOST: Final = 6
"""So many rooms of one guest are one letter; of more he has another one."""
BESIDE_S: Final = 30.0
"""So long is asked whether others that are due are the same guest's; who is not known to be by then goes alone."""
ENDED_AGAIN_S: Final = 2.0
ENDED_TRIES: Final = 30
"""So often is tried to write down what became of a letter, while its lease lasts: else it would go out once more."""
STOPS_S: Final = 5.0
"""So long waits who is to stop for the answer to a letter that was handed over."""
NOT_READY_MS: Final = 60_000
OVERTAKEN_MS: Final = 10 * 60_000
BY: Final = "letters"


class Contacts(Protocol):
    """What letters need of the PMS connections."""

    async def contact_of(self, property_id: str, system: str, external_id: str) -> GuestContact | None:
        """Return how the guest of a reservation is written to; None: there is nobody to ask."""
        ...


class Logger(Protocol):
    """What letters need of a logger."""

    def warning(self, event: str, **facts: object) -> object:
        """Log a warning."""
        ...


class Health(Protocol):
    """What letters need of the process's health."""

    def report(self, part: str, ok: bool, detail: str = "") -> None:
        """Take a part's state."""
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What a house wants of letters: how many hours before the arrival its guests are invited (0: never), whether they
    are told that their room is ready, and in which language where the PMS tells none.
    """

    invite_hours: int = 0
    room_ready: bool = True
    language: str = "en"


@dataclass(frozen=True, slots=True)
class _Going:
    """A letter that is handed over, with its link and until when that holds."""

    letter: Letter
    place: Property
    stay: Stay
    token: str
    until: datetime
    told_other: bool


def _name_of(letters: Sequence[Letter]) -> str:
    """Return what one message for these letters is called, at every try; another for one room more or less, which a
    mailbox would else take for the same.
    """
    ids = sorted(each.id for each in letters)
    return ids[0] if len(ids) == 1 else f"{ids[0]}.{hashlib.sha256('/'.join(ids).encode()).hexdigest()[:16]}"


class Letters:
    """The letters of every house that wants some."""

    def __init__(
        self,
        database: Database,
        sessions: Sessions,
        contacts: Contacts,
        mail: Mail,
        *,
        wishes: Mapping[str, Wish],
        sender: str,
        pages: str,
        clock: Clock,
        dice: Dice,
        log: Logger,
        health: Health | None = None,
    ) -> None:
        """Write for the properties of `wishes`, from `sender`, with links to the guests' page under `pages`."""
        self._database, self._sessions, self._contacts, self._mail = database, sessions, contacts, mail
        self._wishes, self._sender, self._pages = dict(wishes), sender, pages.rstrip("/")
        self._clock, self._dice, self._log = clock, dice, log
        self._health, self._unknown = health, list[str]()
        self._handed: set[str] = set()
        self._decided_ms: int | None = None
        self._under_way: Counter[str] = Counter()
        self._one_ended = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled. What is due is found while letters are on their way: no slow server delays it."""
        async with TaskGroup() as tasks:
            tasks.create_task(self._looking())
            tasks.create_task(self._sending())

    async def work(self) -> int:
        """Decide what is to be written and send what is due; return how many letters were tried."""
        await self._look()
        tried = 0
        while True:
            async with TaskGroup() as tasks:
                begun = await self._send_due(tasks)
            if not begun:
                return tried
            tried += begun

    async def _looking(self) -> None:
        while True:
            try:
                await self._look()
            except StoreFailedError as error:  # told here: what is on its way goes on without us
                self._log.warning("letters not looked at", error=str(error))
            await asyncio.sleep(LOOK_S)

    async def _sending(self) -> None:
        async with TaskGroup() as tasks:
            while True:
                self._one_ended.clear()
                try:
                    await self._send_due(tasks)
                except StoreFailedError as error:
                    self._log.warning("letters not sent", error=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._one_ended.wait()

    async def _look(self) -> None:
        """Decide what is to be written, and look at what waits."""
        now_ms = self._clock.wall_ms()
        if self._decided_ms is None or not 0 <= now_ms - self._decided_ms < DECIDE_EVERY_MS:
            await self.decide()
            self._decided_ms = now_ms
        if await rows.anything(self._database, LetterState.WAITING, now_ms=now_ms):
            while await self._look_at_waiting():
                pass

    async def _send_due(self, tasks: TaskGroup) -> int:
        """Begin a try at every letter that is due, as far as there is room for it; return at how many."""
        begun = 0
        while self._under_way.total() < AT_A_TIME:
            if not begun and not await rows.anything(self._database, LetterState.DUE, now_ms=self._clock.wall_ms()):
                break
            if not (letters := await self._claimed()):
                break
            house = letters[0].property
            self._under_way[house] += 1
            tasks.create_task(self._send(letters)).add_done_callback(functools.partial(self._ended_one, house))
            begun += 1
        return begun

    def _ended_one(self, property_id: str, _task: object) -> None:
        self._under_way[property_id] -= 1
        self._one_ended.set()

    async def decide(self) -> None:
        """Write down every invitation that a house owes."""
        unknown = []
        for property_id, wish in sorted(self._wishes.items()):
            async with self._database.transaction() as connection:
                place = await property_by_id(connection, property_id)
                if place is None:
                    unknown.append(property_id)
                if place is None or wish.invite_hours <= 0:
                    continue
                now_ms = self._clock.wall_ms()
                found = await rows.arriving(
                    connection, place, hours=wish.invite_hours, now_ms=now_ms, most=DECIDED_MOST
                )
                for each, day in found:
                    stay = await stay_by_id(connection, tenant=place.tenant, property_id=place.id, stay=each)
                    if stay is None:
                        continue
                    kind = LetterKind.INVITATION
                    ruling = await self._ruled(connection, place, stay, kind, written_for=day, now_ms=now_ms)
                    if ruling.state is LetterState.OVERTAKEN:  # there is nobody to tell; looked at again, not at once
                        ruling = Ruling(ruling.state, now_ms + OVERTAKEN_MS, ruling.reason)
                    await rows.decide(connection, place, each, kind, ruling, arrives=day, id_=self._id(), now_ms=now_ms)
        self._say_unknown(unknown)

    def _say_unknown(self, unknown: list[str]) -> None:
        """Say, once, of which properties of [mail] nobody knows: for them nobody is written to, and nothing fails."""
        if unknown == self._unknown:
            return
        self._unknown = unknown
        if unknown:
            self._log.warning("mail.properties: no such property", properties=unknown)
        if self._health is not None:
            detail = f"no such property: {', '.join(unknown)}" if unknown else ""
            self._health.report("mail", not unknown, detail)

    async def on_moved(self, connection: Connection, event: Event) -> None:
        """Outbox subscriber: note a check-in that waits for nothing but its room, and look again at one that did.

        Of the session nothing is locked: requests hold it, and what it says later comes with an event of its own.
        """
        wish = self._wishes.get(event.property)
        stay_id = event.body.get("stay") or next(iter(event.body.get("stays") or ()), None)
        place = None if wish is None or not wish.room_ready else await property_by_id(connection, event.property)
        if place is None or not isinstance(stay_id, str):
            return
        row = await session_rows.of_stay(connection, place, stay_id)
        if row is None or row.state != "open":
            return
        now_ms, first = self._clock.wall_ms(), row.stays[0]
        known = await self._standing(connection, place, row)
        if known is not None and known.waits_for_room:
            ruling = Ruling(LetterState.WAITING, now_ms)
            await rows.decide(connection, place, first, LetterKind.ROOM_READY, ruling, id_=self._id(), now_ms=now_ms)
        else:
            await rows.wake(connection, place, first, now_ms=now_ms)

    async def _look_at_waiting(self) -> bool:
        """Look at one letter that waits; return whether there was one."""
        async with self._database.transaction() as connection:
            now_ms = self._clock.wall_ms()
            letter = await rows.next_one(connection, LetterState.WAITING, now_ms=now_ms)
            if letter is None:
                return False
            place, stay = await self._of(connection, letter)
            ruling = await self._ruled_or_over(connection, place, stay, letter, now_ms=now_ms)
            if ruling.state is LetterState.WAITING:
                ruling = Ruling(ruling.state, now_ms + NOT_READY_MS)
            await rows.settle(connection, letter, ruling, now_ms=now_ms)
            if ruling.state is LetterState.DUE and place is not None:
                await self._tell(connection, letter, ROOM_READY, now_ms=now_ms)
            return True

    async def _claimed(self) -> list[Letter]:
        """Begin a try at a letter that is due and still to be sent, and at those that may be the same guest's, which
        follow it; nothing: there is none.

        Of one house only so many are under way: a PMS that hangs holds up its own letters, not everybody's.
        """
        while True:
            async with self._database.transaction() as connection:
                now_ms = self._clock.wall_ms()
                busy = [each for each, count in self._under_way.items() if count >= OF_A_HOUSE]
                letter = await rows.next_one(connection, LetterState.DUE, now_ms=now_ms, but_of=busy)
                if letter is None:
                    return []
                if not await self._begun(connection, letter, now_ms=now_ms):
                    continue
                if letter.kind is not LetterKind.INVITATION or letter.arrives is None:
                    return [letter]
                found = await rows.beside(connection, letter, now_ms=now_ms, most=ROOMS_MOST - 1)
                begun = [await self._begun(connection, each, is_beside=True, now_ms=now_ms) for each in found]
                return [letter, *(each for each, is_begun in zip(found, begun, strict=True) if is_begun)]

    async def _begun(self, connection: Connection, letter: Letter, *, is_beside: bool = False, now_ms: int) -> bool:
        """Begin a try at a letter, or write down that and why there is none; False: there is none, or none now."""
        place, stay = await self._of(connection, letter)
        ruling = await self._ruled_or_over(connection, place, stay, letter, now_ms=now_ms)
        if ruling.state is LetterState.DUE and letter.tries >= TRIES_MOST:  # each ended with a crash
            ruling = Ruling(LetterState.GIVEN_UP, now_ms, Reason.UNSURE)
        if ruling.state is not LetterState.DUE or ruling.at_ms > now_ms:
            await rows.settle(connection, letter, ruling, now_ms=now_ms)
            return False
        if not is_beside and not await rows.room_for_one(connection, letter.tenant, now_ms=now_ms):
            return False
        await rows.begin_try(connection, letter, now_ms=now_ms, until_ms=now_ms + LEASE_MS, is_beside=is_beside)
        return True

    async def _send(self, letters: Sequence[Letter]) -> None:
        """Make one try; `letters` are as they were before. Who is cancelled while the mail server has them waits a
        moment: what it says then is written down, and they do not go out once more.
        """
        trying = asyncio.create_task(self._try(letters))
        try:
            await asyncio.shield(trying)
        except asyncio.CancelledError:
            if letters[0].id in self._handed:
                await asyncio.wait({trying}, timeout=STOPS_S)
            trying.cancel()
            await asyncio.wait({trying})
            raise
        finally:
            self._handed.discard(letters[0].id)

    async def _try(self, letters: Sequence[Letter]) -> None:
        """Make one try. A database that is away leaves it to its lease."""
        try:
            await self._tried(letters)
        except StoreFailedError as error:
            self._log.warning("letter left to its lease", letter=letters[0].id, error=str(error))

    async def _tried(self, letters: Sequence[Letter]) -> None:
        first, beside = letters[0], letters[1:]
        contact = await self._contact(first, tries=first.tries + 1)
        if isinstance(contact, Ruling):
            await self._give_back(beside)
            await self._ended([first], contact)
            return
        to, language = contact
        same = await self._same(beside, to)
        await self._give_back([each for each in beside if each not in same])
        going = await self._with_links([first, *same])
        if not going:
            return
        place, stay = going[0].place, going[0].stay
        zone = ZoneInfo(place.zone)
        written = Written(
            letter=_name_of([each.letter for each in going]),
            kind=first.kind,
            house=place.name,
            arrives=stay.expected_from.astimezone(zone),
            holds_until=min(each.until for each in going).astimezone(zone),
            links=tuple(f"{self._pages}/guest/#check-in={place.id}/{each.stay.id}/{each.token}" for each in going),
            language=language or self._wishes[place.id].language,
            is_moved=any(each.told_other for each in going),
        )
        self._handed.add(first.id)
        told = await self._mail.send(self._message(written, to), to=to)
        now_ms = self._clock.wall_ms()
        tries = max(each.letter.tries for each in going) + 1
        ruling = after(told.outcome, tries=tries, now_ms=now_ms, jitter=self._dice.uniform(0, 1))
        unused = [each.token for each in going if told.outcome in (Outcome.REFUSED, Outcome.NOT_NOW)]
        await self._ended([each.letter for each in going], ruling, answer=told.answer, unused_links=unused)

    async def _same(self, beside: Sequence[Letter], to: str) -> list[Letter]:
        """Return those whose guest is written to at the same address, as far as the PMS says so in time."""
        same = []
        with suppress(TimeoutError):
            async with asyncio.timeout(BESIDE_S):
                for each in beside:
                    contact = await self._contact(each, tries=each.tries + 1)
                    if not isinstance(contact, Ruling) and contact[0] == to:
                        same.append(each)
        return same

    async def _give_back(self, letters: Sequence[Letter]) -> None:
        """Let letters go alone, as if nobody had begun a try at them."""
        if not letters:
            return
        async with self._database.transaction() as connection:
            now_ms = self._clock.wall_ms()
            for each in letters:
                await rows.give_back(connection, each, tries=each.tries + 1, now_ms=now_ms)

    async def _with_links(self, letters: Sequence[Letter]) -> list[_Going]:
        """Ask the rules again, and make the links of those letters that are to go."""
        going = []
        async with self._database.transaction() as connection:
            now_ms = self._clock.wall_ms()
            for letter in letters:
                if not await rows.held(connection, letter, tries=letter.tries + 1):
                    continue
                place, stay = await self._of(connection, letter)
                ruling = await self._ruled_or_over(connection, place, stay, letter, now_ms=now_ms)
                if place is None or stay is None or ruling.state is not LetterState.DUE:
                    await rows.settle(connection, letter, ruling, now_ms=now_ms)
                    continue
                try:
                    token, until = await links.make(
                        connection, place, stay, by=BY, dice=self._dice, now_ms=now_ms, most=links.LINKS_OF_LETTERS
                    )
                except LinkRefusedError:
                    ruling = Ruling(LetterState.NOT_POSSIBLE, now_ms, Reason.NO_LINK)
                    await rows.settle(connection, letter, ruling, now_ms=now_ms)
                    continue
                told = letter.arrives is not None and await rows.told_other(connection, place, stay.id, letter.arrives)
                going.append(_Going(letter, place, stay, token, until, told))
        return going

    async def _contact(self, letter: Letter, *, tries: int) -> tuple[str, str | None] | Ruling:
        """Ask the PMS where to and in which language; what it cannot say now is asked again."""
        async with self._database.transaction() as connection:
            place, _ = await self._of(connection, letter)
            booking = None if place is None else await rows.booking_of(connection, place, letter.stay)
        now_ms = self._clock.wall_ms()
        nobody = Ruling(LetterState.NOT_POSSIBLE, now_ms + LOOK_AGAIN_MS, Reason.NO_ADDRESS)
        if booking is None:
            return nobody
        try:
            contact = await self._contacts.contact_of(letter.property, *booking)
        except PmsBusyError as error:
            wait = max(error.wait_ms, wait_ms(tries, self._dice.uniform(0, 1)))
            return self._later(tries, now_ms, wait)
        except PlatformError as error:
            self._log.warning("letter without its address", letter=letter.id, error=type(error).__name__)
            return self._later(tries, now_ms, wait_ms(tries, self._dice.uniform(0, 1)))
        if contact is None or contact.email is None or not is_address(contact.email):
            return nobody
        return contact.email, contact.language

    def _later(self, tries: int, now_ms: int, wait: int) -> Ruling:
        over = tries >= TRIES_MOST
        state = LetterState.GIVEN_UP if over else LetterState.DUE
        return Ruling(state, now_ms if over else now_ms + wait, Reason.PMS_AWAY)

    async def _ended(
        self,
        letters: Sequence[Letter],
        ruling: Ruling,
        *,
        answer: str | None = None,
        unused_links: Sequence[str] = (),
    ) -> None:
        """Write down what a try came to, and end the links of letters that nobody has.

        A database that is away is asked again: what is not written down is sent again.
        """
        for more in reversed(range(ENDED_TRIES)):
            try:
                await self._write_down(letters, ruling, answer=answer, unused_links=unused_links)
            except StoreFailedError as error:
                if not more:
                    raise
                self._log.warning("letter's end not written down", letter=letters[0].id, error=str(error))
                await asyncio.sleep(ENDED_AGAIN_S)
            else:
                return

    async def _write_down(
        self, letters: Sequence[Letter], ruling: Ruling, *, answer: str | None, unused_links: Sequence[str]
    ) -> None:
        async with self._database.transaction() as connection:
            now_ms = self._clock.wall_ms()
            for each in unused_links:
                await links.end_one(connection, each, now_ms=now_ms)
            for letter in letters:
                if not await rows.held(connection, letter, tries=letter.tries + 1):
                    continue
                await rows.settle(connection, letter, ruling, answer=answer, now_ms=now_ms)
                if ruling.state is LetterState.SENT and letter.kind is LetterKind.INVITATION:
                    await self._tell(connection, letter, INVITED, now_ms=now_ms)

    async def _tell(self, connection: Connection, letter: Letter, kind: str, *, now_ms: int) -> None:
        await outbox.append(
            connection,
            kind=kind,
            tenant=letter.tenant,
            property_id=letter.property,
            subject=letter.stay,
            body={"stay": letter.stay},
            occurred_at_ms=now_ms,
        )

    async def _of(self, connection: Connection, letter: Letter) -> tuple[Property | None, Stay | None]:
        place = await property_by_id(connection, letter.property)
        if place is None:
            return None, None
        return place, await stay_by_id(connection, tenant=place.tenant, property_id=place.id, stay=letter.stay)

    async def _ruled_or_over(
        self, connection: Connection, place: Property | None, stay: Stay | None, letter: Letter, *, now_ms: int
    ) -> Ruling:
        if place is None or stay is None:
            return Ruling(LetterState.OVERTAKEN, now_ms, Reason.STAY_OVER)
        ruling = await self._ruled(connection, place, stay, letter.kind, written_for=letter.arrives, now_ms=now_ms)
        if ruling.reason is Reason.MOVED and letter.unsure:  # it may have told that day: it never tells it again
            return Ruling(LetterState.GIVEN_UP, now_ms, Reason.UNSURE)
        return ruling

    async def _ruled(
        self,
        connection: Connection,
        place: Property,
        stay: Stay,
        kind: LetterKind,
        *,
        written_for: date | None,
        now_ms: int,
    ) -> Ruling:
        """Rule as of the moment that the caller compares with."""
        wish = self._wishes.get(place.id)
        if wish is None or (kind is LetterKind.ROOM_READY and not wish.room_ready):
            return Ruling(LetterState.OVERTAKEN, now_ms, Reason.OFF)
        facts = Facts(
            state=stay.state,
            from_ms=unix_ms(stay.expected_from),
            until_ms=unix_ms(stay.expected_until),
            zone=ZoneInfo(place.zone),
            session=await self._session(connection, place, stay),
            link_used=await rows.link_used(connection, place, stay.id),
            written_for=written_for,
            told_other=written_for is not None and await rows.told_other(connection, place, stay.id, written_for),
        )
        return rule(kind, facts, hours=wish.invite_hours, now_ms=now_ms)

    async def _session(self, connection: Connection, place: Property, stay: Stay) -> Session:
        row = await session_rows.of_stay(connection, place, stay.id)
        if row is None or row.state == "expired":
            return Session.NONE
        if row.state != "open":
            return Session.DONE
        if unix_ms(row.expires_at) <= self._clock.wall_ms():
            return Session.NONE
        known = await self._standing(connection, place, row, stay=stay)
        if known is not None and known.waits_for_room:
            return Session.WAITS
        return Session.OPEN if known is None or open_before_grant(known.steps) else Session.KEYS

    async def _standing(
        self, connection: Connection, place: Property, row: session_rows.Row, *, stay: Stay | None = None
    ) -> Standing | None:
        """Return how a session stands; None: what its guests told cannot be read now. It holds up no other guest's."""
        try:
            return await self._sessions.standing(connection, place, row, stay=stay)
        except (NoKeysError, UnreadableError) as error:
            self._log.warning("letter's session not read", session=row.id, error=type(error).__name__)
            return None

    def _message(self, written: Written, to: str) -> EmailMessage:
        return compose(written, sender=self._sender, to=to, now_ms=self._clock.wall_ms())

    def _id(self) -> str:
        return f"le-{self._dice.bytes(12).hex()}"
