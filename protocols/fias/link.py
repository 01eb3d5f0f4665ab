"""The life of one link, as the side that connects: open, describe, live, resynchronise, end.

Pure: records and times in; records to send and facts out. The PMS's interface program may ask for the description
again at any time (LS), and does so for ever if one LR was lost: so each LS is answered with the whole of it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from protocols.errors import LocalProtocolError, PeerProtocolError
from protocols.fias import house
from protocols.fias.house import House
from protocols.fias.orders import KeyEnd, KeyOrder, Status, order_of
from protocols.fias.postings import BillEnded, BillLine, PostingAnswered, bill_ended, bill_line, posting_answer
from protocols.fias.record import Description, Record, stamped
from protocols.fias.services import (
    CheckOutAnswered,
    GuestsListed,
    MessageTaken,
    MessageTold,
    WakeUpAnswered,
    check_out_answer,
    guests_listed,
    message_taken,
    message_told,
    wake_up_answer,
    wake_up_refusal,
)

FIRST_WORD_WAIT_MS: Final = 3_000
"""For the peer's LS before ours: both may open, and racing helps nobody."""
DESCRIBED_WAIT_MS: Final = 30_000
ALIVE_EVERY_MS: Final = 5 * 60_000
ORDER_WAIT_MS: Final = 30_000
ORDERS_OPEN_MAX: Final = 64
RESYNC_BEGIN_WAIT_MS: Final = 30_000
"""For DS after DR: newer interface programs pass over a DR that they hold for needless."""
RESYNC_WAIT_MS: Final = 10 * 60_000
"""From DS to DE."""
RESYNC_IN_DOUBT_MS: Final = 30 * 60_000
"""From the first word that somebody stays whom nobody knows to our DR: one for all such words in between."""
HELD_MOST: Final = 256
"""Answers that wait for the end of a resynchronisation; beyond, an order that is refused anyway gets none."""
AGAIN_AFTER_END_MS: Final = 3_000
DESCRIBED_MOST: Final = 5
DESCRIBED_WITHIN_MS: Final = 10_000
"""So often within this time the whole description is sent; a PMS that asks on and on waits for the rest of it."""
SIGN_INS_MOST: Final = 2
"""Descriptions with a cryptogram that no LA answered, before none is sent: a wrong key blocks the interface."""
_GUESTS: Final = frozenset({"GI", "GO", "GC"})
_ORDERS: Final = frozenset({"KR", "KM", "KD"})


class State(StrEnum):
    """Where the link is."""

    CLOSED = "closed"
    OPENING = "opening"
    """Connected; nobody has said LS, or our LS is unanswered."""
    DESCRIBING = "describing"
    """Our description is out; their LA is not in."""
    ALIVE = "alive"
    ENDED = "ended"
    """They said LE: they will be back."""


@dataclass(frozen=True, slots=True)
class Came:
    """The link lives. `wants_resync` says whether a resynchronisation was asked for."""

    wants_resync: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The link is down: `orders` are those that nobody can answer any more, met or not."""

    reason: str
    orders: tuple[KeyOrder | KeyEnd, ...]


@dataclass(frozen=True, slots=True)
class Ordered:
    """Keys are ordered: call `FiasLink.answer(number, ...)` once, within `ORDER_WAIT_MS`."""

    number: int
    order: KeyOrder | KeyEnd


@dataclass(frozen=True, slots=True)
class Overdue:
    """An order was not answered in time: the PMS was told NR, whatever comes of it now."""

    number: int
    order: KeyOrder | KeyEnd


@dataclass(frozen=True, slots=True)
class NightAudit:
    """The PMS's day is being closed: post nothing until it is over."""

    running: bool


@dataclass(frozen=True, slots=True)
class Resynchronised:
    """The list of guests in house is whole."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Configured:
    """LC: what the PMS says about itself."""

    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RoomTold:
    """RE from the PMS: what it says of a room's equipment. None: not said this time.

    `rights`: CS, 0 barred to 3 free. `message_lamp`: ML. `do_not_disturb`: DN.
    """

    room: str
    rights: int | None
    do_not_disturb: bool | None
    message_lamp: bool | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that could not be taken: counted, told, and nothing else affected."""

    record: str
    problem: str


Fact = (
    house.Fact
    | Came
    | Ended
    | Ordered
    | Overdue
    | NightAudit
    | Resynchronised
    | RoomTold
    | Configured
    | Refused
    | PostingAnswered
    | BillLine
    | BillEnded
    | CheckOutAnswered
    | GuestsListed
    | MessageTold
    | MessageTaken
    | WakeUpAnswered
)


@dataclass(frozen=True, slots=True)
class _Held:
    record: Record
    order: KeyOrder | KeyEnd | None
    """None: it was none that could be read."""


@dataclass(slots=True)
class _Open:
    order: KeyOrder | KeyEnd
    deadline_ms: int


class FiasLink:
    """One link to a property's interface program.

    Args:
        family: IF, two letters: DL door locks, EM energy, ...
        version: ours, at most ten characters.
        descriptions: each record that we send or want, with its fields.
        configuration: RT, the bits of what we want to know in LC; 0 asks nothing.
        resync_after_ms: a longer time without life asks for everybody in house again, whatever ended it; None: never.
        message_most: RL, characters of a message that we can take; 0: not told.
        sign_in: returns CG for the date and time (YYMMDDHHMMSS) of the last LS; wants a `configuration`.
    """

    def __init__(
        self,
        family: str,
        version: str,
        descriptions: Sequence[Description],
        *,
        configuration: int = 0,
        resync_after_ms: int | None = None,
        message_most: int = 0,
        sign_in: Callable[[str], str] | None = None,
    ) -> None:
        if len(family) != 2 or not 0 < len(version) <= 10 or not descriptions:
            raise LocalProtocolError(f"a link needs a family, a version and descriptions: {family!r}, {version!r}")
        self._family, self._version, self._configuration = family, version, configuration
        if sign_in is not None and not configuration:
            raise LocalProtocolError("a link that signs in asks for a configuration")
        self._descriptions = tuple(descriptions)
        self._sign_in, self._sign_ins, self._stamp = sign_in, 0, ""
        self.blocked = False
        """Signing in was refused so often that nothing is described any more: somebody has to look at the key."""
        self.house = House()
        self.state = State.CLOSED
        self.ignored = 0
        """Records that we did not ask for and do not know."""
        self._out: deque[Record] = deque()
        self._described: deque[int] = deque(maxlen=DESCRIBED_MOST)
        """When a description left."""
        self._answered: list[KeyOrder | KeyEnd] = []
        """Orders whose answers are in `_out`."""
        self._orders: dict[int, _Open] = {}
        self._numbers = 0
        self._held: deque[_Held] = deque()
        """Answers to orders that cannot leave now, in order."""
        self._resync_after_ms, self._message_most = resync_after_ms, message_most
        self._away_since_ms: int | None = None
        self._resync_wanted = False
        self._resync_until_ms: int | None = None
        self._resync_began = False
        self._doubt_until_ms: int | None = None
        """When to ask who is in house, because a room is said to be occupied by we know not whom."""
        self._deadline_ms: int | None = None

    def data_to_send(self) -> list[Record]:
        """Return what is to be sent, in order."""
        out = list(self._out)
        self._out.clear()
        self._answered.clear()
        return out

    @property
    def answered(self) -> tuple[KeyOrder | KeyEnd, ...]:
        """The orders whose answers `data_to_send` returns next."""
        return tuple(self._answered)

    @property
    def deadline_ms(self) -> int | None:
        """When to call `on_time`, monotonic ms; None: only when something arrives."""
        waits = [self._deadline_ms, self._resync_until_ms, self._doubt_until_ms, self.house.deadline_ms]
        waits += [each.deadline_ms for each in self._orders.values()]
        return min((each for each in waits if each is not None), default=None)

    def connected(self, *, now_ms: int, resync: bool) -> None:
        """The connection is open. `resync`: ask who is in house once the link lives; a resynchronisation that the loss
        of a link cut short is wanted again, whatever is said here.
        """
        self.state, self._resync_wanted = State.OPENING, self._resync_wanted or resync
        self._deadline_ms = now_ms + FIRST_WORD_WAIT_MS

    def disconnected(self, reason: str, *, now_ms: int) -> list[Fact]:
        """The connection is lost. Who is in house stays as it was: the last word holds until another."""
        self._out.clear()
        self._described.clear()
        self._deadline_ms = None
        self._leave(State.CLOSED, now_ms)
        return [self._ended(reason)]

    def receive(self, record: Record, *, now_ms: int, at: datetime) -> list[Fact]:
        """Take one record; `at` is the property's wall time. Never raises for what the peer sends."""
        try:
            return self._receive(record, now_ms, at)
        except PeerProtocolError as error:
            return [Refused(record.id, str(error))]

    def on_time(self, *, now_ms: int, at: datetime) -> list[Fact]:
        """Do what is due."""
        facts: list[Fact] = [*self.house.on_time(now_ms=now_ms)]
        for number, each in list(self._orders.items()):
            if each.deadline_ms <= now_ms:
                self._close(number, Status.NO_ANSWER, at, "not answered in time")
                facts.append(Overdue(number, each.order))
        if self._resync_until_ms is not None and self._resync_until_ms <= now_ms:
            waited = f"DE within {RESYNC_WAIT_MS // 60_000} minutes" if self._resync_began else "DS: it was passed over"
            self._resync_over()
            self.house.resync_broke()
            facts.append(Refused("DR", f"no {waited}; nobody was ended by silence"))
        if self._doubt_until_ms is not None and self._doubt_until_ms <= now_ms:
            self._doubt_until_ms = None
            if self.takes_records:
                self._ask_for_all(now_ms, at)
            elif not self._resyncing:  # one that runs is the answer
                self._resync_wanted = True
        if self._deadline_ms is not None and self._deadline_ms <= now_ms:
            self._due(now_ms, at)
        return facts

    def answer(self, number: int, status: Status, *, at: datetime, text: str = "") -> None:
        """Answer an order, once.

        Raises:
            LocalProtocolError: it was answered before, is overdue, or its link was lost.
        """
        if number not in self._orders:
            raise LocalProtocolError(f"order {number} is not open: answered, overdue, or its link was lost")
        self._close(number, status, at, text)

    def send(self, record: Record) -> None:
        """Send a record of ours.

        Raises:
            LocalProtocolError: the link does not live, a resynchronisation runs, or no LR describes the record.
        """
        if not self.takes_records:
            raise LocalProtocolError(f"{record.id} cannot be sent now: {self.state}, resync {self._resyncing}")
        if all(each.record != record.id for each in self._descriptions):
            raise LocalProtocolError(f"{record.id} is not described: the PMS would drop the link")
        self._out.append(record)

    @property
    def takes_records(self) -> bool:
        """Whether `send` sends now."""
        return self.state is State.ALIVE and not self._resyncing

    @property
    def _resyncing(self) -> bool:
        return self._resync_until_ms is not None

    def _receive(self, record: Record, now_ms: int, at: datetime) -> list[Fact]:
        if self.state is State.CLOSED:
            raise LocalProtocolError("connected() comes before receive()")
        match record.id:
            case "LS":
                self._stamp = (record.get("DA") or "") + (record.get("TI") or "")
                if len(self._described) == DESCRIBED_MOST and now_ms - self._described[0] < DESCRIBED_WITHIN_MS:
                    self._resync_cut_short()
                    self._leave(State.OPENING, now_ms)
                    self._deadline_ms = self._described[0] + DESCRIBED_WITHIN_MS
                    return []
                self._describe(now_ms, at)
                return []
            case "LA":
                return self._la(now_ms, at)
            case "LE":
                self._leave(State.ENDED, now_ms)
                self._deadline_ms = now_ms + AGAIN_AFTER_END_MS
                return [self._ended("they ended the link")]
            case "LC":
                return [Configured(tuple(record.fields.items()))]
            case "DS":
                self.house.resync_began()
                if not self._resync_began:  # one that begins again and again has no longer time for it
                    self._resync_until_ms, self._resync_began = now_ms + RESYNC_WAIT_MS, True
                return []
            case "DE" if not self._resync_began:
                self.ignored += 1  # the end of a list whose beginning nobody heard says nothing of who is missing
                return []
            case "DE":
                self._resync_over()
                self._doubt_until_ms = None
                return [*self.house.resync_ended(), Resynchronised(now_ms)]
            case "NS" | "NE":
                return [NightAudit(record.id == "NS")]
        if record.id in _GUESTS:
            facts = self.house.take(record, now_ms=now_ms)
            if self.house.take_doubt() and self._doubt_until_ms is None:
                self._doubt_until_ms = now_ms + RESYNC_IN_DOUBT_MS
            return [*facts]
        match record.id:
            case "RE":
                return [_room_told(record)]
            case "PA":
                return [posting_answer(record)]
            case "XI":
                return [bill_line(record)]
            case "XB":
                return [bill_ended(record)]
            case "XC":
                return [check_out_answer(record)]
            case "PL":
                return [guests_listed(record)]
            case "XL" | "XT":
                told = message_told(record)
                return [] if told is None else [told]
            case "KZ":
                self._reply(_key_answer(record, Status.CANNOT, at, "no key coder here"))
                raise PeerProtocolError(f"KZ: coder {(record.get('KC') or '')[:20]!r}: nothing here reads a key")
            case "XD":
                return [message_taken(record)]
            case "WA":
                return [wake_up_answer(record)]
            case "WR" | "WC" if any(each.record == "WA" for each in self._descriptions):
                self._reply(wake_up_refusal(record, at))
                raise PeerProtocolError(f"{record.id}: room {record.need('RN')!r}: nothing here wakes anybody")
        if record.id in _ORDERS:
            return self._order(record, now_ms, at)
        self.ignored += 1
        return []

    def _la(self, now_ms: int, at: datetime) -> list[Fact]:
        if self.state is State.OPENING:
            self._describe(now_ms, at)  # it remembers us from before; a description never hurts
            return []
        if self.state is not State.DESCRIBING:
            return []
        self.state, self._deadline_ms, self._sign_ins = State.ALIVE, now_ms + ALIVE_EVERY_MS, 0
        away_ms = 0 if self._away_since_ms is None else now_ms - self._away_since_ms
        long = self._resync_after_ms is not None and away_ms > self._resync_after_ms
        wanted, self._resync_wanted, self._away_since_ms = self._resync_wanted or long, False, None
        self._release()
        if wanted and not self._resyncing:
            self._ask_for_all(now_ms, at)
        return [Came(wanted)]

    def _ask_for_all(self, now_ms: int, at: datetime) -> None:
        self._out.append(stamped("DR", at))
        self._resync_until_ms, self._resync_began = now_ms + RESYNC_BEGIN_WAIT_MS, False

    def _leave(self, state: State, now_ms: int) -> None:
        """The link lives no more, since now if it did."""
        if self.state is State.ALIVE:
            self._away_since_ms = now_ms
        if self._doubt_until_ms is not None:  # the next link asks at once
            self._resync_wanted, self._doubt_until_ms = True, None
        self.state = state

    def _resync_over(self) -> None:
        self._resync_until_ms, self._resync_began = None, False
        self._release()

    def _resync_cut_short(self) -> None:
        """They begin anew: where a list was being told, what was left of it never comes."""
        if self._resyncing:
            self._resync_wanted, self._resync_until_ms, self._resync_began = True, None, False
            self.house.resync_broke()

    def _describe(self, now_ms: int, at: datetime) -> None:
        self._resync_cut_short()
        self._described.append(now_ms)
        if self._sign_in is not None and self._sign_ins >= SIGN_INS_MOST:
            self.blocked = True
            return
        more = [("V#", self._version), ("IF", self._family)]
        more += [("RT", str(self._configuration))] if self._configuration else []
        more += [("RL", str(self._message_most))] if self._message_most else []
        if self._sign_in is not None:
            self._sign_ins += 1
            stamp = self._stamp if len(self._stamp) == 12 else at.strftime("%y%m%d%H%M%S")
            more += [("CG", self._sign_in(stamp))]
        self._out.append(stamped("LD", at, more))
        self._out.extend(each.encode() for each in self._descriptions)
        self._out.append(stamped("LA", at))
        self._leave(State.DESCRIBING, now_ms)
        self._deadline_ms = now_ms + DESCRIBED_WAIT_MS

    def _due(self, now_ms: int, at: datetime) -> None:
        if self.state is State.ALIVE:
            self._out.append(stamped("LA", at))
            self._deadline_ms = now_ms + ALIVE_EVERY_MS
            return
        self._out.append(stamped("LS", at))
        self._stamp = at.strftime("%y%m%d%H%M%S")
        self.state, self._deadline_ms = State.OPENING, now_ms + DESCRIBED_WAIT_MS

    def _order(self, record: Record, now_ms: int, at: datetime) -> list[Fact]:
        try:
            order = order_of(record)
        except PeerProtocolError as error:
            self._reply(_key_answer(record, Status.CANNOT, at, str(error)))
            raise
        if len(self._orders) + sum(each.order is not None for each in self._held) >= ORDERS_OPEN_MAX:
            self._reply(_key_answer(record, Status.BUSY, at, "too many orders at a time"))
            raise PeerProtocolError(f"{record.id}: more than {ORDERS_OPEN_MAX} orders wait for an answer")
        self._numbers += 1
        self._orders[self._numbers] = _Open(order, now_ms + ORDER_WAIT_MS)
        return [Ordered(self._numbers, order)]

    def _close(self, number: int, status: Status, at: datetime, text: str) -> None:
        order = self._orders.pop(number).order
        fields = {"KC": order.coder, "WS": order.workstation, "G#": order.guest_number}
        asked = Record("KA", {name: value for name, value in fields.items() if value})
        self._reply(_key_answer(asked, status, at, text), order)

    def _reply(self, record: Record, order: KeyOrder | KeyEnd | None = None) -> None:
        """Send an answer, now or when the PMS listens again: nothing of ours is sent into a resynchronisation."""
        if self.takes_records:
            self._out.append(record)
            self._answered += [] if order is None else [order]
        elif order is not None or len(self._held) < HELD_MOST:
            self._held.append(_Held(record, order))

    def _release(self) -> None:
        while self._held and self.takes_records:
            held = self._held.popleft()
            self._out.append(held.record)
            self._answered += [] if held.order is None else [held.order]

    def _ended(self, reason: str) -> Ended:
        self._resync_wanted = self._resync_wanted or self._resyncing
        self.house.resync_broke()
        self._resync_until_ms, self._resync_began = None, False
        untold = [*self._answered, *(each.order for each in self._held if each.order is not None)]
        orders = (*untold, *(each.order for each in self._orders.values()))
        self._orders.clear()
        self._held.clear()
        self._answered.clear()
        return Ended(reason, orders)


def _room_told(record: Record) -> RoomTold:
    """Read RE. Raises PeerProtocolError naming the field."""
    return RoomTold(
        record.need("RN"),
        record.number("CS", most=3) if record.get("CS") else None,
        record.flag("DN") if record.get("DN") else None,
        record.flag("ML") if record.get("ML") else None,
    )


def _key_answer(asked: Record, status: Status, at: datetime, text: str) -> Record:
    """Return the KA (to KZ: the KZ), one an order, with what tells the PMS which."""
    fields = [("AS", status.value), ("CT", text[:40].replace("|", " "))]
    fields += [(name, value) for name in ("KC", "WS", "G#") if (value := asked.get(name))]
    return stamped("KZ" if asked.id == "KZ" else "KA", at, fields)
