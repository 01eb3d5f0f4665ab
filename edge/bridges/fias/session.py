"""Keeps one link to the PMS's interface program: connect, drive the protocol, hand facts over, try again for ever.

Moves bytes and time for protocols/fias, and decides nothing. A fact that could not be made durable is owed and ends
the connection: the next one asks for everybody in house again, so that nothing the PMS said is lost here. It asks
as well after a connection that was torn: what was on its way then, nobody sends again.
"""

import asyncio
import functools
import socket
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from edge.bridges.fias.billing import Bill, Billing
from edge.bridges.fias.ledger import ChargeLedger, Entry
from edge.bridges.fias.services import Services, services_described
from edge.bridges.fias.settings import FiasSettings
from kit.clock import Clock
from kit.dice import Dice
from kit.task_groups import TaskGroup
from protocols.errors import LinkLostError, LocalProtocolError, PeerProtocolError, PlatformError
from protocols.fias.framing import TcpDeframer, framed
from protocols.fias.house import House
from protocols.fias.link import (
    Came,
    Ended,
    Fact,
    FiasLink,
    Ordered,
    Overdue,
    Refused,
    Resynchronised,
    State,
)
from protocols.fias.orders import KeyEnd, KeyOrder, Status
from protocols.fias.postings import BILLS, CHARGES, Charge, PostingAnswered
from protocols.fias.record import Description, Record, decode, merged
from protocols.fias.services import MESSAGE_MOST, CheckOutAnswered, GuestsListed, MessageTold, WakeUpAnswered
from protocols.fias.sign_in import IV_BYTES, cryptogram

VERSION: Final = "IK1"
READ_BYTES: Final = 4_096
CONNECT_WAIT_S: Final = 10.0
CLOSE_WAIT_S: Final = 1.0
STEADY_MS: Final = 60_000
"""A link that lives shorter is no success: two clients that throw each other out would do it for ever."""
DRAIN_WAIT_S: Final = 30.0
"""For a PMS that takes nothing any more."""
INBOX_MOST: Final = 256 * 1024
"""Read ahead of what was taken."""
_KEEP_ALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 120_000))
"""A living PMS answers no LA over TCP: a cable that was pulled shows here, after two minutes."""
ROOMS_WAITING_MOST: Final = 2_000
ROOM_HEARD_MS: Final = 10_000
"""A condition that left so shortly before its connection was torn is told again: nobody answers RE."""
_GUEST: Final = ("RN", "G#", "GS", "GN", "GF", "GL", "GA", "GD", "SF")
_ROOM: Final = ("RN", "GS", "SF")


def descriptions(*, guest_based: bool) -> tuple[Description, ...]:
    """Return what we ask the PMS for, and what we send."""
    number = ("G#",) if guest_based else ()
    guest = _GUEST if guest_based else _ROOM
    return (
        Description("GI", guest),
        Description("GO", ("RN", *number, "GS", "SF")),
        Description("GC", (*guest, "RO")),
        Description("KR", ("KC", "KT", "RN", "WS", *number, "GA", "GD", "DT", "GN", "SI", "ID")),
        Description("KD", ("KC", "RN", "WS", *number, "SI", "ID")),
        Description("KM", ("KC", "RN", "RO", "WS", "G#", "GA", "GD", "DT", "SI", "ID")),
        Description("KA", ("AS", "CT", "KC", "WS", *number)),
        Description("KZ", ("AS", "CT", "KC", "WS")),
        Description("RE", ("RN", "RS", "CS", "DN", "ML")),
    )


class Desk(Protocol):
    """Who takes what is heard (edge/bridges/fias/desk.py)."""

    async def take(self, fact: Fact, house: House) -> None:
        """Do what follows from a fact. Raises PlatformError: it did not count."""
        ...

    async def order(self, order: KeyOrder | KeyEnd) -> tuple[Status, str]:
        """Meet a key order and return its answer."""
        ...


class FiasSession:
    """One property's link.

    Args:
        desk: what takes facts and orders.
        log: a structlog logger.
        ledger: keeps the charges; None: this link posts none.
        key: of the interface, 16 bytes; None: it has none.
    """

    def __init__(
        self,
        settings: FiasSettings,
        desk: Desk,
        *,
        clock: Clock,
        dice: Dice,
        log: Any,  # noqa: ANN401 - structlog's lazy logger
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        ledger: ChargeLedger | None = None,
        key: bytes | None = None,
    ) -> None:
        self._settings, self._desk, self._clock, self._dice, self._log = settings, desk, clock, dice, log
        self._sleep, self._zone = sleep, ZoneInfo(settings.zone)
        described = descriptions(guest_based=settings.guest_based)
        described += (CHARGES if ledger is not None else ()) + (BILLS if settings.bills else ())
        described += services_described(settings)
        sign_in = None if key is None else functools.partial(self._cryptogram, key)
        self.link = FiasLink(
            settings.family,
            VERSION,
            merged(described),
            configuration=5,
            resync_after_ms=settings.resync_after // timedelta(milliseconds=1),
            message_most=MESSAGE_MOST if settings.messages else 0,
            sign_in=sign_in,
        )
        self.services = Services(settings, ledger, clock=clock, log=log)
        to_guests = self._ask_whose if settings.guest_charges else None
        self.billing = Billing(ledger, bills=settings.bills, to_guests=to_guests, clock=clock, log=log)
        self.counts: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._inbox = bytearray()
        self._room_left = asyncio.Event()
        self._closed, self._torn = False, False
        self._rooms: dict[str, int] = {}
        self._rooms_told: deque[tuple[int, str, int]] = deque(maxlen=ROOMS_WAITING_MOST)
        """(when, room, condition) on this connection, the newest last."""
        self._answers_told: deque[tuple[int, KeyOrder | KeyEnd]] = deque(maxlen=ROOMS_WAITING_MOST)
        """(when, order) answered on this connection."""
        self._owed: list[Fact] = []
        """Heard and not durable yet, in order: taken again before anything else."""
        self._resync = True

    @property
    def alive(self) -> bool:
        """True while the PMS has accepted us."""
        return self.link.state is State.ALIVE

    def tell_room(self, room: str, condition: int) -> None:
        """Tell the PMS how a room is (RS, 1 to 6), as soon as it hears: the newest word on each room is kept.

        Raises:
            LocalProtocolError: no such condition, or more rooms wait than any hotel has.
        """
        if not 1 <= condition <= 6:
            raise LocalProtocolError(f"RS {condition}: 1 to 6 can be told of a room")
        if room not in self._rooms and len(self._rooms) >= ROOMS_WAITING_MOST:
            raise LocalProtocolError(f"{ROOMS_WAITING_MOST} rooms wait to be told of already")
        self._rooms[room] = condition
        self._wake.set()

    async def post(self, key: str, charge: Charge) -> Entry:
        """Take a charge to be posted: see `Billing.post`."""
        entry = await self.billing.post(key, charge)
        self._wake.set()
        return entry

    async def bill(self, room: str, guest_number: str) -> Bill:
        """Return a guest's bill as the PMS has it now. Raises as `Billing.ask_bill`, and LinkLostError when down."""
        self._need_life()
        answer = self.billing.ask_bill(room, guest_number)
        self._wake.set()
        return await answer

    async def check_out(self, room: str, guest_number: str, balance_minor: int) -> CheckOutAnswered:
        """Ask that a guest be checked out: see `Services.check_out`. Raises LinkLostError when down."""
        self._need_life()
        answer = self.services.check_out(room, guest_number, balance_minor)
        self._wake.set()
        return await answer

    async def wake_up(self, room: str, moment: datetime, *, end: bool = False) -> WakeUpAnswered:
        """Ask that a room be woken, or no more: see `Services.wake_up`. Raises LinkLostError when down."""
        self._need_life()
        answer = self.services.wake_up(room, moment, end=end)
        self._wake.set()
        return await answer

    async def inquire(self, sought: str) -> GuestsListed:
        """Return whom a room or a name may mean: see `Services.inquire`. Raises LinkLostError when down."""
        self._need_life()
        answer = self.services.inquire(sought, await self.services.inquiry_number(sought))
        self._wake.set()
        told = await answer
        return told if isinstance(told, GuestsListed) else GuestsListed(told.number, ())  # PA: it means nobody

    def messages(self, guest_number: str) -> list[MessageTold]:
        """Return what a guest has not read: see `Services.messages`."""
        return self.services.messages(guest_number)

    def read_message(self, room: str, guest_number: str, message: str) -> None:
        """The guest has had a message: see `Services.read`."""
        self.services.read(room, guest_number, message)
        self._wake.set()

    def leave_message(self, room: str, guest_number: str, text: str) -> None:
        """Leave a guest's message at the desk: see `Services.leave_message`."""
        self.services.leave_message(room, guest_number, text)
        self._wake.set()

    def _ask_whose(self, room: str, number: int) -> "asyncio.Future[GuestsListed | PostingAnswered]":
        self._wake.set()  # the question leaves with the next step
        return self.services.inquire(room, number)

    def _need_life(self) -> None:
        if not self.alive:
            raise LinkLostError("the PMS's interface is not connected")

    async def run(self) -> None:
        """Keep the link until cancelled."""
        failures = 0
        await self.billing.begin()
        while True:
            if self.link.blocked:
                self._log.error("fias_sign_in_refused", hint="mend the key, have the interface restarted, restart us")
                await asyncio.Event().wait()
            try:
                async with asyncio.timeout(CONNECT_WAIT_S):
                    reader, writer = await asyncio.open_connection(self._settings.host, self._settings.port)
            except (OSError, TimeoutError, UnicodeError):
                failures += 1
                self.counts["refused_connections"] += 1
            else:
                began_ms = self._clock.now_ms()
                lived = await self._serve(reader, writer)
                failures = 0 if lived and self._clock.now_ms() - began_ms >= STEADY_MS else failures + 1
            await self._sleep(self._pause_s(failures))
            await self._take_departures()

    def _pause_s(self, failures: int) -> float:
        first, most = self._settings.reconnect_first, self._settings.reconnect_most
        longest: timedelta = min(first * 2 ** min(failures, 12), most)
        return self._dice.uniform(0.5, 1.0) * longest.total_seconds()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Drive one connection to its end; return whether the link ever lived."""
        _keep_alive(writer)
        self._inbox.clear()
        self._closed, self._torn, lived, why = False, False, False, "the connection ended"
        self.counts["connections"] += 1
        self.link.connected(now_ms=self._clock.now_ms(), resync=self._resync)
        async with TaskGroup() as tasks:
            listening = tasks.create_task(self._listen(reader))
            orders: set[asyncio.Task[None]] = set()
            deframer = TcpDeframer()
            try:
                while (not self._closed or self._inbox) and not self.link.blocked:
                    lived = await self._step(deframer, writer, tasks, orders) or lived
                    await self._rest()
            except (OSError, PlatformError) as error:
                why = str(error)
                self._log.warning("fias_dropped", error=why)
            finally:
                writer.close()  # first: whoever ends us while the facts below are written would leave it open
                listening.cancel()
                for each in tuple(orders):
                    each.cancel()
                self._resync = self._resync or self._torn or deframer.inside
                self._tell_again(torn=self._torn)
                for fact in self.link.disconnected(why, now_ms=self._clock.now_ms()):
                    await self._take_end(fact)
                self.counts["skipped_bytes"] += deframer.skipped_bytes
                await _hang_up(writer)
        return lived

    async def _take_end(self, fact: Fact) -> None:
        """Tell everybody that the connection is gone, and name the orders whose answers it may not have carried."""
        self.services.take(fact)
        since_ms = self._clock.now_ms() - ROOM_HEARD_MS
        lost = [each for at_ms, each in self._answers_told if self._torn and at_ms >= since_ms]
        lost += fact.orders if isinstance(fact, Ended) else ()
        self._answers_told.clear()
        if lost:
            self.counts["orders_lost"] += len(lost)
            self._log.warning("fias_orders_lost", rooms=[each.rooms[0] for each in lost])
        try:
            await self.billing.take(fact)
        except PlatformError as error:  # the next step of the next connection finds it
            self._log.warning("fias_charge_not_kept", error=str(error))

    async def _take_departures(self) -> None:
        """Take, with no connection, that a guest has left who did not come in elsewhere."""
        for fact in self.link.house.on_time(now_ms=self._clock.now_ms()):
            self.services.take(fact)
            self._owed.append(fact)
        try:
            await self._settle_owed()
        except PlatformError as error:
            self._log.warning("fias_departure_not_kept", error=str(error))

    async def _step(
        self,
        deframer: TcpDeframer,
        writer: asyncio.StreamWriter,
        tasks: TaskGroup,
        orders: set[asyncio.Task[None]],
    ) -> bool:
        """Take what came and what is due, send what follows; return whether the link lives."""
        data = bytes(self._inbox)
        self._inbox.clear()
        self._room_left.set()
        for raw in self._deframed(deframer, data):
            try:
                record = decode(raw, self._settings.code_page)
            except PeerProtocolError as error:
                self.counts["unreadable"] += 1
                self._log.warning("fias_unreadable", error=str(error))
                continue
            self.counts["records"] += 1
            self.counts["replaced_characters"] += sum(each.count("\ufffd") for each in record.fields.values())
            facts = self.link.receive(record, now_ms=self._clock.now_ms(), at=self._at())
            await self._take(facts, tasks, orders)
            await self._send(writer)  # an answer waits for no other record's effect
        await self._take(self.link.on_time(now_ms=self._clock.now_ms(), at=self._at()), tasks, orders)
        if not self._torn:
            self._send_rooms()
            self.services.drive(self.link, self._at())
            await self.billing.drive(self.link, self._at())
            await self._send(writer)
        return self.alive

    async def _take(self, facts: list[Fact], tasks: TaskGroup, orders: set[asyncio.Task[None]]) -> None:
        for fact in facts:
            if self.services.take(fact) or await self.billing.take(fact):
                continue
            if isinstance(fact, Resynchronised):
                self.services.ask_messages(self.link.house)
            match fact:
                case Ordered(number, order):
                    task = tasks.create_task(self._meet(number, order))
                    orders.add(task)
                    task.add_done_callback(orders.discard)
                case Overdue():
                    self.counts["orders_overdue"] += 1
                case Refused(record, problem):
                    self.counts["refused_records"] += 1
                    self._log.warning("fias_refused", record=record, problem=problem)
                case Came():
                    self._log.info("fias_alive", resync=fact.wants_resync)
                case Resynchronised() if any(isinstance(each, Resynchronised) for each in self._owed):
                    pass  # one is owed already, and it will look at everybody
                case _:
                    self._owed.append(fact)
        await self._settle_owed()

    async def _settle_owed(self) -> None:
        """Take what was heard, in order. Raises StoreFailedError: it did not count, and is owed."""
        while self._owed:
            fact = self._owed[0]
            try:
                await self._desk.take(fact, self.link.house)
            except PlatformError:
                self._resync = True
                raise
            del self._owed[0]
            if isinstance(fact, Resynchronised):
                self._resync = False

    def _deframed(self, deframer: TcpDeframer, data: bytes) -> list[bytes]:
        before = deframer.overlong
        records = deframer.feed(data)
        if deframer.overlong > before:  # nobody knows of whom it told
            self.counts["overlong"] += deframer.overlong - before
            self._resync = True
            self._log.warning("fias_overlong", frames=deframer.overlong - before)
        return records

    async def _meet(self, number: int, order: KeyOrder | KeyEnd) -> None:
        status, text = await self._desk.order(order)
        self.counts[f"orders_{status.name.lower()}"] += 1
        try:
            self.link.answer(number, status, at=self._at(), text=text)
        except LocalProtocolError:
            return  # overdue: the PMS was told so
        self._wake.set()

    def _send_rooms(self) -> None:
        while self._rooms:
            room = next(iter(self._rooms))
            try:
                self.link.send(Record("RE", {"RN": room, "RS": str(self._rooms[room])}))
            except LocalProtocolError:
                return  # not now: the link is down, or a resynchronisation runs
            self._rooms_told.append((self._clock.now_ms(), room, self._rooms.pop(room)))
            self.counts["rooms_told"] += 1

    def _tell_again(self, *, torn: bool) -> None:
        """The connection is gone: what it may not have carried is told on the next one, but for newer words."""
        since_ms = self._clock.now_ms() - ROOM_HEARD_MS
        for at_ms, room, condition in reversed(self._rooms_told if torn else ()):
            if at_ms >= since_ms:
                self._rooms.setdefault(room, condition)
        self._rooms_told.clear()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        """Send what is to be sent. A line that takes no more ends the connection once all that was heard is taken."""
        answered = self.link.answered
        records = self.link.data_to_send()
        self._answers_told.extend((self._clock.now_ms(), each) for each in answered)
        if not records or self._torn:
            return
        try:
            for record in records:
                writer.write(framed(record.encode(self._settings.code_page)))
            async with asyncio.timeout(DRAIN_WAIT_S):
                await writer.drain()
        except OSError as error:  # also that of the time-out
            self._log.warning("fias_dropped", error=str(error) or type(error).__name__)
            self._closed = self._torn = True
            self._wake.set()

    async def _rest(self) -> None:
        """Wait until something comes, is to be sent, or is due."""
        told = (self.link.deadline_ms, self.billing.deadline_ms, self.services.deadline_ms)
        waits = [each for each in told if each is not None]
        deadline_ms = min(waits, default=None)
        wait_s = None if deadline_ms is None else max(0, deadline_ms - self._clock.now_ms()) / 1000
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(READ_BYTES):
                self._inbox += data
                self._wake.set()
                while len(self._inbox) >= INBOX_MOST:
                    self._room_left.clear()
                    await self._room_left.wait()
        except OSError:
            self._torn = True  # reset by the peer: what was on its way is lost
        finally:
            self._closed = True
            self._wake.set()

    def _cryptogram(self, key: bytes, stamp: str) -> str:
        return cryptogram(key, stamp, iv=self._dice.bytes(IV_BYTES), header=self._settings.key_header)

    def _at(self) -> datetime:
        moment = datetime.fromtimestamp(self._clock.wall_ms() / 1000, tz=UTC)
        return moment.astimezone(self._zone).replace(tzinfo=None)


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    held = writer.get_extra_info("socket")
    if held is None:
        return
    held.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE:
        if (option := getattr(socket, name, None)) is not None:  # not every system has each
            held.setsockopt(socket.IPPROTO_TCP, option, value)


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(CLOSE_WAIT_S):
            await writer.wait_closed()
    except (TimeoutError, OSError):
        pass  # it is gone either way
