"""Writes to guests: decides what is due, asks the PMS for the address, hands the letter over, writes down what came
of it.

The try is counted first, in a transaction of its own; the guest's link is made in the one after which the letter
is handed over; a third says what became of it. Whoever crashes has had his try, and the letter goes out again under the
same Message-ID with a link of its own: the guest may have two letters, and both links hold.
"""

import asyncio
import functools
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Wish:
    """What a house wants of letters: how many hours before the arrival its guests are invited (0: never), whether they
    are told that their room is ready, and in which language where the PMS tells none.
    """

    invite_hours: int = 0
    room_ready: bool = True
    language: str = "en"


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
    ) -> None:
        """Write for the properties of `wishes`, from `sender`, with links to the guests' page under `pages`."""
        self._database, self._sessions, self._contacts, self._mail = database, sessions, contacts, mail
        self._wishes, self._sender, self._pages = dict(wishes), sender, pages.rstrip("/")
        self._clock, self._dice, self._log = clock, dice, log
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
            if (letter := await self._claimed()) is None:
                break
            self._under_way[letter.property] += 1
            tasks.create_task(self._send(letter)).add_done_callback(functools.partial(self._ended_one, letter.property))
            begun += 1
        return begun

    def _ended_one(self, property_id: str, _task: object) -> None:
        self._under_way[property_id] -= 1
        self._one_ended.set()

    async def decide(self) -> None:
        """Write down every invitation that a house owes."""
        for property_id, wish in sorted(self._wishes.items()):
            if wish.invite_hours <= 0:
                continue
            async with self._database.transaction() as connection:
                place = await property_by_id(connection, property_id)
                if place is None:
                    continue
                now_ms = self._clock.wall_ms()
                found = await rows.arriving(
                    connection, place, hours=wish.invite_hours, now_ms=now_ms, most=DECIDED_MOST
                )
                for each in found:
                    stay = await stay_by_id(connection, tenant=place.tenant, property_id=place.id, stay=each)
                    if stay is None:
                        continue
                    ruling = await self._ruled(connection, place, stay, LetterKind.INVITATION, now_ms=now_ms)
                    if ruling.state is LetterState.OVERTAKEN:  # there is nobody to tell; looked at again, not at once
                        ruling = Ruling(ruling.state, now_ms + OVERTAKEN_MS, ruling.reason)
                    await rows.decide(
                        connection, place, each, LetterKind.INVITATION, ruling, id_=self._id(), now_ms=now_ms
                    )

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
            ruling = await self._ruled_or_over(connection, place, stay, letter.kind, now_ms=now_ms)
            if ruling.state is LetterState.WAITING:
                ruling = Ruling(ruling.state, now_ms + NOT_READY_MS)
            await rows.settle(connection, letter, ruling, now_ms=now_ms)
            if ruling.state is LetterState.DUE and place is not None:
                await self._tell(connection, letter, ROOM_READY, now_ms=now_ms)
            return True

    async def _claimed(self) -> Letter | None:
        """Begin a try at a letter that is due and still to be sent; None: there is none.

        Of one house only so many are under way: a PMS that hangs holds up its own letters, not everybody's.
        """
        while True:
            async with self._database.transaction() as connection:
                now_ms = self._clock.wall_ms()
                busy = [each for each, count in self._under_way.items() if count >= OF_A_HOUSE]
                letter = await rows.next_one(connection, LetterState.DUE, now_ms=now_ms, but_of=busy)
                if letter is None:
                    return None
                place, stay = await self._of(connection, letter)
                ruling = await self._ruled_or_over(connection, place, stay, letter.kind, now_ms=now_ms)
                if ruling.state is LetterState.DUE and letter.tries >= TRIES_MOST:  # each ended with a crash
                    ruling = Ruling(LetterState.GIVEN_UP, now_ms, Reason.UNSURE)
                if ruling.state is LetterState.DUE and ruling.at_ms <= now_ms:
                    await rows.begin_try(connection, letter, now_ms=now_ms, until_ms=now_ms + LEASE_MS)
                    break
                await rows.settle(connection, letter, ruling, now_ms=now_ms)
        return letter

    async def _send(self, letter: Letter) -> None:
        """Make one try; `letter` is as it was before. A database that is away leaves the try to its lease."""
        try:
            await self._tried(letter, tries=letter.tries + 1)
        except StoreFailedError as error:
            self._log.warning("letter left to its lease", letter=letter.id, error=str(error))

    async def _tried(self, letter: Letter, *, tries: int) -> None:
        contact = await self._contact(letter, tries=tries)
        if isinstance(contact, Ruling):
            await self._ended(letter, contact, tries=tries)
            return
        now_ms = self._clock.wall_ms()
        async with self._database.transaction() as connection:
            if not await rows.held(connection, letter, tries=tries):
                return
            place, stay = await self._of(connection, letter)
            ruling = await self._ruled_or_over(connection, place, stay, letter.kind, now_ms=now_ms)
            if place is None or stay is None or ruling.state is not LetterState.DUE:
                await rows.settle(connection, letter, ruling, now_ms=now_ms)
                return
            try:
                token, until = await links.make(
                    connection, place, stay, by=BY, dice=self._dice, now_ms=now_ms, most=links.LINKS_OF_LETTERS
                )
            except LinkRefusedError:
                ruling = Ruling(LetterState.NOT_POSSIBLE, now_ms, Reason.NO_LINK)
                await rows.settle(connection, letter, ruling, now_ms=now_ms)
                return
        to, language = contact
        zone = ZoneInfo(place.zone)
        written = Written(
            letter=letter.id,
            kind=letter.kind,
            house=place.name,
            arrives=stay.expected_from.astimezone(zone),
            holds_until=until.astimezone(zone),
            link=f"{self._pages}/guest/#check-in={place.id}/{stay.id}/{token}",
            language=language or self._wishes[place.id].language,
        )
        told = await self._mail.send(self._message(written, to), to=to)
        now_ms = self._clock.wall_ms()
        ruling = after(told.outcome, tries=tries, now_ms=now_ms, jitter=self._dice.uniform(0, 1))
        link = token if told.outcome in (Outcome.REFUSED, Outcome.NOT_NOW) else None
        await self._ended(letter, ruling, tries=tries, answer=told.answer, unused_link=link)

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
        self, letter: Letter, ruling: Ruling, *, tries: int, answer: str | None = None, unused_link: str | None = None
    ) -> None:
        """Write down what a try came to, and end the link of a letter that nobody has."""
        async with self._database.transaction() as connection:
            now_ms = self._clock.wall_ms()
            if unused_link is not None:
                await links.end_one(connection, unused_link, now_ms=now_ms)
            if not await rows.held(connection, letter, tries=tries):
                return
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
        self, connection: Connection, place: Property | None, stay: Stay | None, kind: LetterKind, *, now_ms: int
    ) -> Ruling:
        if place is None or stay is None:
            return Ruling(LetterState.OVERTAKEN, now_ms, Reason.STAY_OVER)
        return await self._ruled(connection, place, stay, kind, now_ms=now_ms)

    async def _ruled(
        self, connection: Connection, place: Property, stay: Stay, kind: LetterKind, *, now_ms: int
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
