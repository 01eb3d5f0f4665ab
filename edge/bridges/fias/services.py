"""Asks the PMS what a guest wants of it over one link: to leave, to be woken, to say something, who is who.

One question of a kind at a time, each asked once: where the answer does not come, it may have been heard, and nobody
asks again by himself. Messages for guests are held until they were read here or elsewhere; they do not outlive us,
and are asked for again (XM) once we know who is in house. What was read here and is told again is not shown again.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from edge.bridges.fias.ledger import ChargeLedger
from edge.bridges.fias.settings import FiasSettings
from kit.clock import Clock
from protocols.errors import InvalidInputError, LinkLostError, LocalProtocolError, ReplyTimeoutError
from protocols.fias.house import CameIn, House, Moved, WentOut
from protocols.fias.link import Ended, Fact, FiasLink
from protocols.fias.postings import PostingAnswered
from protocols.fias.record import Description, Record
from protocols.fias.services import (
    CHECK_OUTS,
    GUEST_CHARGES,
    INQUIRIES,
    INQUIRY_WAIT_MS,
    LEAVING_WAIT_MS,
    MESSAGES,
    WAKE_UPS,
    WAKING_WAIT_MS,
    CheckOutAnswered,
    GuestsListed,
    MessageTaken,
    MessageTold,
    WakeUpAnswered,
    check_out_request,
    inquiry,
    message_read,
    message_request,
    messages_request,
    wake_up_request,
)

WAITING_MOST: Final = 100
MESSAGES_MOST: Final = 1_000
MESSAGES_EVERY_MS: Final = 200
"""Between two XM: a house full of guests is asked about in minutes, beside everything else."""
MESSAGES_ANSWER_MS: Final = 30_000
"""An XM that left so shortly before its link was lost is asked again: its answers end with no word of their own."""
HEARD_MS: Final = 10_000
"""A guest's message to the desk that left so shortly before its link was lost may not have come."""
_ANY: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - a record is tried with it before anything waits


@dataclass
class _Question:
    """`fits`: tells its answer from other facts; `deadline_ms`: None until it has left."""

    kind: str
    record: Callable[[datetime], Record]
    fits: Callable[[Fact], bool]
    wait_ms: int
    answer: "asyncio.Future[Any]"
    deadline_ms: int | None = None


def services_described(settings: FiasSettings) -> tuple[Description, ...]:
    """Return what the PMS is told of it."""
    told = (
        (settings.check_outs, CHECK_OUTS),
        (settings.wake_ups, WAKE_UPS),
        (settings.messages, MESSAGES),
        (settings.inquiries, INQUIRIES),
        (settings.guest_charges, GUEST_CHARGES),
    )
    return tuple(each for on, described in told if on for each in described)


class Services:
    """One link's questions.

    Args:
        ledger: gives inquiries their numbers; None: nothing is inquired.
        log: a structlog logger.
    """

    def __init__(
        self,
        settings: FiasSettings,
        ledger: ChargeLedger | None,
        *,
        clock: Clock,
        log: Any,  # noqa: ANN401 - structlog's lazy logger
    ) -> None:
        self._settings, self._ledger, self._clock, self._log = settings, ledger, clock, log
        self._waiting: deque[_Question] = deque()
        self._asked: dict[str, _Question] = {}
        self._said: deque[Record] = deque()
        """What needs no answer: messages of guests, and what they have read."""
        self._said_at: deque[tuple[int, Record]] = deque(maxlen=WAITING_MOST)
        self._messages: dict[tuple[str, str], MessageTold] = {}
        self._read: dict[tuple[str, str], str] = {}
        """Texts that were read here: the PMS may not have heard of it."""
        self._wanted: dict[str, str] = {}
        """Guest number -> room: whose messages are to be asked for."""
        self._wanted_asked: deque[tuple[int, str, str]] = deque(maxlen=MESSAGES_ANSWER_MS // MESSAGES_EVERY_MS)
        self._wanted_next_ms = 0
        self._wanted_due_ms: int | None = None
        self._numbers = 0

    @property
    def deadline_ms(self) -> int | None:
        """When `drive` is due by itself, monotonic ms."""
        waits = [each.deadline_ms for each in self._asked.values()]
        return min((each for each in (*waits, self._wanted_due_ms) if each is not None), default=None)

    def check_out(self, room: str, guest_number: str, balance_minor: int) -> "asyncio.Future[CheckOutAnswered]":
        """Ask that a guest be checked out, who saw this balance last. OK is accepted, not left: his GO says so.

        Raises (when awaited):
            LinkLostError: it did not leave; ReplyTimeoutError: it left, and no answer came.

        Raises:
            InvalidInputError: no such room or number. LocalProtocolError: not on this link, or too many wait.
        """
        self._allow("check_outs", on=self._settings.check_outs)
        check_out_request(room, guest_number, balance_minor, _ANY)

        def fits(fact: Fact) -> bool:
            whose = (None, room), (None, guest_number)
            return isinstance(fact, CheckOutAnswered) and fact.room in whose[0] and fact.guest_number in whose[1]

        return self._ask(
            "XC", lambda at: check_out_request(room, guest_number, balance_minor, at), fits, LEAVING_WAIT_MS
        )

    def wake_up(self, room: str, moment: datetime, *, end: bool = False) -> "asyncio.Future[WakeUpAnswered]":
        """Ask that a room be woken at a time of the property's wall clock, or no more. Raises as `check_out`."""
        self._allow("wake_ups", on=self._settings.wake_ups)
        record = wake_up_request(room, moment, end=end)

        def fits(fact: Fact) -> bool:
            if not isinstance(fact, WakeUpAnswered) or fact.room != room:
                return False
            return fact.day in (None, moment.date()) and fact.at in (None, moment.replace(second=0).time())

        return self._ask("WA", lambda _: record, fits, WAKING_WAIT_MS)

    async def inquiry_number(self, sought: str) -> int:
        """Return the P# of a new inquiry, which nothing else has. Raises as `check_out`, and StoreFailedError."""
        self._allow("inquiries", on=self._settings.inquiries)
        if self._ledger is None:
            raise LocalProtocolError("inquiries need the numbers of charges: [fias] charges is false")
        inquiry(sought, 1, _ANY)
        return await self._ledger.take_number()

    def inquire(self, sought: str, number: int) -> "asyncio.Future[GuestsListed | PostingAnswered]":
        """Ask whom a room or a name may mean; PostingAnswered: nobody, or not now. Raises as `check_out`."""

        def fits(fact: Fact) -> bool:
            if isinstance(fact, PostingAnswered):
                return fact.number == number
            return isinstance(fact, GuestsListed) and fact.number in (None, number)

        return self._ask("PL", lambda at: inquiry(sought, number, at), fits, INQUIRY_WAIT_MS)

    def messages(self, guest_number: str) -> list[MessageTold]:
        """Return the messages for a guest that nobody has read, the oldest first."""
        self._allow("messages", on=self._settings.messages)
        return [each for (number, _), each in self._messages.items() if number == guest_number]

    def read(self, room: str, guest_number: str, message: str) -> None:
        """The guest has had a message: the PMS puts its lamp out. Raises InvalidInputError: no such message."""
        self._allow("messages", on=self._settings.messages)
        if (guest_number, message) not in self._messages:
            raise InvalidInputError("message", f"{message[:40]!r} is no message of guest {guest_number[:20]!r}")
        self._say(message_read(room, guest_number, message))
        self._read[guest_number, message] = self._messages.pop((guest_number, message)).text
        if len(self._read) > MESSAGES_MOST:
            del self._read[next(iter(self._read))]

    def ask_messages(self, house: House) -> None:
        """Everybody in house is known: ask what they have not read, one after the other."""
        for room in house.occupied():
            for guest in house.guests(room):
                self._want(room, guest.number)

    def leave_message(self, room: str, guest_number: str, text: str) -> None:
        """Leave a guest's message at the desk, once the PMS hears. Raises as `check_out`."""
        self._allow("messages", on=self._settings.messages)
        self._numbers += 1
        self._say(message_request(room, guest_number, text, f"{self._numbers % 10**8:08d}"))

    def take(self, fact: Fact) -> bool:
        """Take what was heard; return whether it was for us alone."""
        match fact:
            case MessageTold():
                key = (fact.guest_number, fact.message)
                if self._read.get(key) == fact.text:  # it was read here, and they have not heard
                    if fact.room is not None and len(self._said) < WAITING_MOST:
                        self._say(message_read(fact.room, fact.guest_number, fact.message))
                    return True
                self._messages.pop(key, None)
                self._messages[key] = fact
                if len(self._messages) > MESSAGES_MOST:
                    lost = self._messages.pop(next(iter(self._messages)))
                    self._log.warning("fias_message_lost", room=lost.room, message=lost.message)
                return True
            case MessageTaken(number, message):
                for key in [each for each in self._messages if each[0] == number and message in (None, each[1])]:
                    del self._messages[key]
                return True
            case CameIn(room, guest, resync):
                if not resync:  # else once it is over
                    self._want(room, guest.number)
                return False
            case Moved(guest, _, room):
                if guest.number in self._wanted:
                    self._wanted[guest.number] = room
                return False
            case WentOut(_, guest):
                self._forget(guest.number)
                return False
            case Ended(reason):
                self._lost(reason)
                return False
        for kind, asked in self._asked.items():
            if asked.fits(fact):
                del self._asked[kind]
                if not asked.answer.done():
                    asked.answer.set_result(fact)
                return True
        return isinstance(fact, CheckOutAnswered | WakeUpAnswered | GuestsListed)  # of nobody's asking

    def drive(self, link: FiasLink, at: datetime) -> None:
        """Send what may leave now, and give up what took too long."""
        now_ms = self._clock.now_ms()
        for kind, asked in list(self._asked.items()):
            if asked.deadline_ms is not None and now_ms >= asked.deadline_ms:
                del self._asked[kind]
                self._fail(asked, ReplyTimeoutError(f"{kind}: no answer in {asked.wait_ms // 1000} s"))
        while self._said and link.takes_records:
            link.send(said := self._said.popleft())
            self._said_at.append((now_ms, said))
        self._ask_for_messages(link, now_ms)
        for question in list(self._waiting):
            if question.answer.cancelled():
                self._waiting.remove(question)
            elif question.kind not in self._asked and link.takes_records:
                self._waiting.remove(question)
                question.deadline_ms = now_ms + question.wait_ms
                self._asked[question.kind] = question
                link.send(question.record(at))

    def _ask_for_messages(self, link: FiasLink, now_ms: int) -> None:
        self._wanted_due_ms = None
        if not self._wanted or not link.takes_records:
            return
        if now_ms >= self._wanted_next_ms:
            number = next(iter(self._wanted))
            room = self._wanted.pop(number)
            link.send(messages_request(room, number))
            self._wanted_asked.append((now_ms, number, room))
            self._wanted_next_ms = now_ms + MESSAGES_EVERY_MS
        self._wanted_due_ms = self._wanted_next_ms if self._wanted else None

    def _want(self, room: str, number: str) -> None:
        if not self._settings.messages:
            return
        try:
            messages_request(room, number)
        except InvalidInputError:
            return  # nameless, or named as nobody can be asked about
        self._wanted[number] = room

    def _forget(self, number: str) -> None:
        """A guest has gone, and what was his with him."""
        self._wanted.pop(number, None)
        for held in (self._messages, self._read):
            for key in [each for each in held if number and each[0] == number]:
                del held[key]

    def _lost(self, why: str) -> None:
        since_ms = self._clock.now_ms() - MESSAGES_ANSWER_MS
        for at_ms, number, room in self._wanted_asked:
            if at_ms >= since_ms:
                self._wanted.setdefault(number, room)
        self._wanted_asked.clear()
        self._wanted_due_ms = None
        since_ms = self._clock.now_ms() - HEARD_MS
        for at_ms, said in self._said_at:
            if said.id == "XL" and at_ms >= since_ms:  # said again, it might stand there twice
                self._log.warning("fias_message_unheard", room=said.get("RN"), ours=said.get("$J"))
        self._said_at.clear()
        for each in self._asked.values():
            self._fail(each, ReplyTimeoutError(f"{each.kind}: {why}; it may have been heard"))
        for each in self._waiting:
            self._fail(each, LinkLostError(f"{each.kind}: {why}"))
        self._asked.clear()
        self._waiting.clear()

    def _ask(
        self, kind: str, record: Callable[[datetime], Record], fits: Callable[[Fact], bool], wait_ms: int
    ) -> "asyncio.Future[Any]":
        if len(self._waiting) >= WAITING_MOST:
            raise LocalProtocolError(f"{WAITING_MOST} questions wait already")
        question = _Question(kind, record, fits, wait_ms, asyncio.get_running_loop().create_future())
        self._waiting.append(question)
        return question.answer

    def _say(self, record: Record) -> None:
        if len(self._said) >= WAITING_MOST:
            raise LocalProtocolError(f"{WAITING_MOST} messages wait already")
        try:
            record.encode(self._settings.code_page)
        except LocalProtocolError as error:  # a letter may have several bytes in the property's code page
            raise InvalidInputError("text", str(error)) from error
        self._said.append(record)

    def _allow(self, name: str, *, on: bool) -> None:
        if not on:
            raise LocalProtocolError(f"not on this link: [fias] {name} is false")

    def _fail(self, asked: _Question, error: ReplyTimeoutError | LinkLostError) -> None:
        if not asked.answer.done():
            asked.answer.set_exception(error)
