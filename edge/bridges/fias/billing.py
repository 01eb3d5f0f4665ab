"""Posts charges and reads bills over one link: one charge and one bill at a time, unknown told as unknown.

Where the link posts to guests, PL first shows that the guest is there and may be charged, each time anew.
Bytes and time are the session's; what was asked and what became of it is the ledger's. After a link loss nothing is
sent again: the guest's bill is read, where the charge names a guest, and shows our mark or leaves it to a person.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from edge.bridges.fias.ledger import ChargeLedger, ChargeState, Entry
from kit.clock import Clock
from protocols.errors import LinkLostError, LocalProtocolError, PlatformError, ReplyTimeoutError
from protocols.fias.link import Came, Ended, Fact, FiasLink, NightAudit
from protocols.fias.postings import (
    ANSWER_WAIT_MS,
    BillEnded,
    BillLine,
    Charge,
    Outcome,
    PostingAnswered,
    bill_request,
    charge_record,
    outcome_of,
)
from protocols.fias.record import Record
from protocols.fias.services import GuestsListed, ListedGuest, guest_charge_record

BILLS_WAITING_MOST: Final = 100
BILL_LINES_MOST: Final = 2_000


@dataclass(frozen=True, slots=True)
class Bill:
    """A guest's bill; `balance_minor` in hundredths of the property's currency."""

    lines: tuple[BillLine, ...]
    balance_minor: int


Whose = GuestsListed | PostingAnswered
"""What comes of asking whom a room means: a list, or PA: nobody, or not now."""


@dataclass
class _Asked:
    room: str
    guest_number: str
    answer: "asyncio.Future[Bill]"
    lines: list[BillLine] = field(default_factory=list)
    deadline_ms: int = 0


class Billing:
    """One link's charges and bills.

    Args:
        ledger: None: no charges are posted on this link.
        to_guests: asks whom a room means, under a number (PR, PL); None: every charge goes to its room.
        log: a structlog logger.
    """

    def __init__(
        self,
        ledger: ChargeLedger | None,
        *,
        bills: bool,
        to_guests: Callable[[str, int], "asyncio.Future[Whose]"] | None = None,
        clock: Clock,
        log: Any,  # noqa: ANN401 - structlog's lazy logger
    ) -> None:
        self._ledger, self._bills, self._clock, self._log = ledger, bills, clock, log
        self._to_guests = to_guests
        self._seeking: tuple[str, asyncio.Future[Whose]] | None = None
        """The key of the charge whose guest is being looked for."""
        self._waiting: deque[_Asked] = deque()
        self._asked: _Asked | None = None
        self._posting_until_ms: int | None = None
        self._posting_number: int | None = None
        """The P# that is waited for: an answer to an older one, however late, is none to this."""
        self._audit = False
        self._looking: set[asyncio.Future[Bill]] = set()

    async def begin(self) -> None:
        """Look at what a restart left between a charge and its answer, before anything is sent."""
        if self._ledger is not None:
            self._tell_unsure(await self._ledger.unanswered())

    @property
    def unsure(self) -> int:
        """How many charges may be on a bill or not: somebody has to look."""
        return 0 if self._ledger is None else len(self._ledger.unsure())

    @property
    def deadline_ms(self) -> int | None:
        """When `drive` is due by itself, monotonic ms."""
        waits = [self._posting_until_ms, None if self._asked is None else self._asked.deadline_ms]
        if self._ledger is not None and self._posting_until_ms is None and not self._audit and self._seeking is None:
            due_ms = self._ledger.next_due_ms()
            if due_ms is not None and (left_ms := due_ms - self._clock.wall_ms()) > 0:
                waits.append(self._clock.now_ms() + left_ms)
        return min((each for each in waits if each is not None), default=None)

    async def post(self, key: str, charge: Charge) -> Entry:
        """Take a charge; the same key is the same charge, whoever asks again. Durable when it returns.

        Raises:
            InvalidInputError: no charges are posted here, or see `ChargeLedger.wish`.
            StoreFailedError: it was not taken.
        """
        return await self._kept.wish(key, charge, now_ms=self._clock.wall_ms())

    async def settle(self, key: str, *, posted: bool, by: str) -> Entry:
        """A person has looked: an unknown charge is on the bill, or is not and never will be sent. See the ledger."""
        return await self._kept.settle(key, posted=posted, said=f"settled by {by}")

    def charge(self, key: str) -> Entry | None:
        """Return a charge by its key."""
        return None if self._ledger is None else self._ledger.get(key)

    def charges(self) -> list[Entry]:
        """Return every charge that is known, the oldest first."""
        return [] if self._ledger is None else list(self._ledger)

    def ask_bill(self, room: str, guest_number: str) -> "asyncio.Future[Bill]":
        """Ask for a guest's bill.

        Raises (when awaited):
            LinkLostError: the link is down or was lost; ReplyTimeoutError: no whole bill in 30 s.

        Raises:
            LocalProtocolError: this link reads no bills, or too many wait.
        """
        if not self._bills or len(self._waiting) >= BILLS_WAITING_MOST:
            raise LocalProtocolError("bills are not read on this link" if not self._bills else "too many bills wait")
        asked = _Asked(room, guest_number, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        return asked.answer

    async def take(self, fact: Fact) -> bool:
        """Take what was heard; return whether it was for us. Raises StoreFailedError: it did not count."""
        match fact:
            case PostingAnswered(number, status, text) if self._ledger is not None:
                self._answered(number, await self._ledger.answered(number, status, text, now_ms=self._clock.wall_ms()))
            case BillLine() if self._fits(fact) and self._asked is not None:
                if len(self._asked.lines) < BILL_LINES_MOST:
                    self._asked.lines.append(fact)
            case BillEnded() if self._fits(fact) and self._asked is not None:
                await self._bill(self._asked, fact)
            case NightAudit(running):
                self._audit = running
                return False
            case Came():
                self._audit = False  # they say NS again if it still runs, and answer NA until then
                self._look_for_unsure()
                return False
            case Ended():
                await self.lost(fact.reason)
                return False
            case PostingAnswered() | BillLine() | BillEnded():
                pass  # of nobody's asking
            case _:
                return False
        return True

    async def drive(self, link: FiasLink, at: datetime) -> None:
        """Send what may leave now, and give up what took too long. Raises StoreFailedError."""
        now_ms = self._clock.now_ms()
        if self._posting_until_ms is not None and now_ms >= self._posting_until_ms:
            self._posting_until_ms = None
        if self._posting_until_ms is None and self._ledger is not None and self._ledger.on_its_way:
            self._tell_unsure(await self._ledger.unanswered())  # too late, or a disk that refused to hear of it
            self._look_for_unsure()
        if self._asked is not None and now_ms >= self._asked.deadline_ms:
            self._fail(self._asked, ReplyTimeoutError(f"XR of room {self._asked.room}: no whole bill in time"))
            self._asked = None
        self._send_bill(link, now_ms)
        await self._send_charge(link, now_ms, at)

    async def lost(self, why: str) -> None:
        """The link is gone: what is on its way has no answer any more. Raises StoreFailedError."""
        for each in ([] if self._asked is None else [self._asked]) + list(self._waiting):
            self._fail(each, LinkLostError(f"XR of room {each.room}: {why}"))
        self._asked = None
        self._waiting.clear()
        if self._posting_until_ms is not None:
            self._posting_until_ms = None
            self._tell_unsure(await self._kept.unanswered())

    @property
    def _kept(self) -> ChargeLedger:
        if self._ledger is None:
            raise LocalProtocolError("no charges are posted on this link: [fias] charges is false")
        return self._ledger

    async def _send_charge(self, link: FiasLink, now_ms: int, at: datetime) -> None:
        if self._ledger is None:
            return
        if self._seeking is not None:
            await self._sought(self._ledger, link, now_ms, at)
            return
        if self._audit or self._posting_until_ms is not None or not link.takes_records:
            return
        if (entry := self._ledger.due(now_ms=self._clock.wall_ms())) is None:
            return
        if entry.guest_number is not None and self._to_guests is not None:
            number = await self._ledger.take_number()
            self._seeking = entry.key, self._to_guests(entry.room, number)
            return
        await self._send_as(self._ledger, entry, link, now_ms, lambda number: charge_record(entry.charge, number, at))

    async def _sought(self, ledger: ChargeLedger, link: FiasLink, now_ms: int, at: datetime) -> None:
        """Post to the guest whom PL has shown. An inquiry posts nothing: where it fails, the charge waits."""
        if self._seeking is None or not self._seeking[1].done():
            return
        (key, answer), self._seeking = self._seeking, None
        entry = ledger.get(key)
        if entry is None or entry.state is not ChargeState.WAITING:
            return
        if answer.cancelled() or (error := answer.exception()) is not None:
            said = "" if answer.cancelled() else str(error)
            await ledger.judged(key, Outcome.LATER, None, said, now_ms=self._clock.wall_ms())
            return
        outcome, status, said, guest = _whom(answer.result(), entry)
        if guest is None:
            told = await ledger.judged(key, outcome, status, said, now_ms=self._clock.wall_ms())
            if told.state is ChargeState.REFUSED:
                self._log.warning("fias_charge_refused", key=key, room=told.room, status=told.status)
        elif link.takes_records and not self._audit:
            await self._send_as(
                ledger, entry, link, now_ms, lambda number: guest_charge_record(entry.charge, guest, number, at)
            )

    async def _send_as(
        self, ledger: ChargeLedger, entry: Entry, link: FiasLink, now_ms: int, record: Callable[[int], Record]
    ) -> None:
        sent = await ledger.send(entry.key)  # first on disk, then on the wire
        if sent.number is None:
            raise LocalProtocolError(f"charge {entry.key!r} left without a number")
        self._posting_until_ms, self._posting_number = now_ms + ANSWER_WAIT_MS, sent.number
        link.send(record(sent.number))

    def _send_bill(self, link: FiasLink, now_ms: int) -> None:
        while self._asked is None and self._waiting and link.takes_records:
            asked = self._waiting.popleft()
            if asked.answer.cancelled():
                continue
            asked.deadline_ms = now_ms + ANSWER_WAIT_MS
            self._asked = asked
            link.send(bill_request(asked.room, asked.guest_number))

    def _fits(self, told: BillLine | BillEnded) -> bool:
        """Tell whether a line belongs to the bill that was asked for: records may leave room or number out."""
        asked = self._asked
        return asked is not None and told.room in (None, asked.room) and told.guest_number in (None, asked.guest_number)

    async def _bill(self, asked: _Asked, ended: BillEnded) -> None:
        self._asked = None
        if self._ledger is not None:
            for each in asked.lines:
                if (found := await self._ledger.found(each.text, asked.room, asked.guest_number)) is not None:
                    self._log.info("fias_charge_found", key=found.key, number=found.number)
        if not asked.answer.done():
            asked.answer.set_result(Bill(tuple(asked.lines), ended.minor))

    def _fail(self, asked: _Asked, error: PlatformError) -> None:
        if not asked.answer.done():
            asked.answer.set_exception(error)

    def _answered(self, number: int, entry: Entry | None) -> None:
        if entry is None:
            return
        if number == self._posting_number:
            self._posting_until_ms = self._posting_number = None
        if entry.state is ChargeState.UNKNOWN:
            self._tell_unsure([entry])
            self._look_for_unsure()
        elif entry.state is ChargeState.REFUSED:
            self._log.warning("fias_charge_refused", key=entry.key, room=entry.room, status=entry.status)

    def _look_for_unsure(self) -> None:
        """Read the bills on which charges may stand that nobody answered."""
        if not self._bills:
            return
        for room, number in dict.fromkeys((each.room, each.guest_number) for each in self._kept_unsure()):
            if number is None or len(self._waiting) >= BILLS_WAITING_MOST:
                continue
            looking = self.ask_bill(room, number)
            self._looking.add(looking)
            looking.add_done_callback(self._looked)

    def _looked(self, looking: "asyncio.Future[Bill]") -> None:
        self._looking.discard(looking)
        if not looking.cancelled() and looking.exception() is not None:
            self._log.info("fias_bill_not_read", error=str(looking.exception()))

    def _kept_unsure(self) -> list[Entry]:
        return [] if self._ledger is None else self._ledger.unsure()

    def _tell_unsure(self, entries: list[Entry]) -> None:
        for each in entries:
            self._log.warning("fias_charge_unknown", key=each.key, room=each.room, number=each.number)


def _whom(told: Whose, entry: Entry) -> tuple[Outcome, str | None, str, ListedGuest | None]:
    """Return the guest to charge; without one, what becomes of the charge. Nothing has been posted so far."""
    if isinstance(told, PostingAnswered):
        refused = outcome_of(told.status) is Outcome.REFUSED
        return Outcome.REFUSED if refused else Outcome.LATER, told.status, told.text, None
    guest = next((each for each in told.guests if each.guest_number == entry.guest_number), None)
    if guest is None:  # a list without a number may be another question's
        outcome = Outcome.LATER if told.number is None else Outcome.REFUSED
        return outcome, "NG", "not a guest of this room", None
    if guest.no_post:
        return Outcome.REFUSED, "NP", "nothing may be charged to this guest", None
    return Outcome.POSTED, None, "", guest
