"""One vendor's wire around a hotel, misbehaving by default: seeded, so that a bad day can be had again.

Pushes come late, twice, out of order or not at all; reads lag behind writes; now and then an answer is 500, 429 or
slow. Each vendor's emulator says how its wire reads; limits, faults and pushes are the same engine for all.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Final, Required, TypedDict
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import httpx
import msgspec

from cloud.pms.emulation.channel import Channel
from cloud.pms.emulation.hotel import DAY_MS, NAMES, Forbidden, Hotel, Missing, Reservation, Rules
from cloud.pms.reading import HouseTime, UnreadableError
from kit.clock import Clock
from kit.dice import Dice

PUSH_WAIT_S: Final = 5.0  # Mews hangs up on a slower receiver
PUSH_RETRIES: Final = 1
PUSHES_UNDER_WAY_MOST: Final = 500
SISTER: Final = "999999"
"""What the group's other property is called."""

_Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
_Ms = Annotated[int, msgspec.Meta(ge=0, le=3_600_000)]


class Knobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How badly it behaves. Shares are probabilities; times in milliseconds."""

    push_delay_least_ms: _Ms = 100
    push_delay_most_ms: _Ms = 3_000
    """Each push waits for a time of its own between the two: this is also what puts them out of order."""
    push_twice: _Share = 0.3
    push_dropped: _Share = 0.15
    push_retry_ms: _Ms = 2_000
    fault: _Share = 0.03
    """500 without having done anything, or, half of the time, after having done it."""
    limited: _Share = 0.02
    """429 although the budget is not spent."""
    slow: _Share = 0.05
    slow_ms: _Ms = 800
    stale: _Share = 0.3
    stale_ms: _Ms = 500
    """A read this soon after a write shows, with that probability, what was before it."""
    limit_requests: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """None: the vendor's own limit."""
    limit_window_ms: _Ms | None = None
    retry_after_s: Annotated[int, msgspec.Meta(ge=0, le=60)] = 1
    stream_swapped: _Share = 0.2
    """An event of a stream comes after the one behind it."""
    stream_cut: _Share = 0.02
    """The stream's line breaks after an event."""
    stream_silent: _Share = 0.01
    """The stream falls silent after an event and says nothing more, not even to a ping."""
    webhook_subscribed: bool = True
    """False: the subscription was silently removed."""
    push_held: _Share = 0.0
    """A push waits until the next one was sent: that one is there first, whatever the delays."""
    push_foreign: _Share = 0.0
    """Beside a push, one about a reservation of another property of the group."""
    page_rows: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """No page has more rows, whatever is asked for."""
    page_moves: _Share = 0.0
    """Before a page of a list is given, a reservation came or went."""
    error_200: _Share = 0.0
    """200 with the body of an error without having done anything, or, half of the time, after having done it."""
    cut: _Share = 0.0
    """200, it was done, and the JSON ends in its middle."""
    revoked: _Share = 0.0
    """Every token is taken back just before a request."""
    number_twice: _Share = 0.0
    """A new reservation gets the confirmation number of another."""
    departure_ignored: _Share = 0.0
    """An end that it is told is answered well, and nothing is done."""
    contact_odd: _Share = 0.0
    """A new guest's address and language are none, or as nobody can use them."""
    departure_to_the_day: _Share = 0.0
    """Of an end that it is told it takes the day, and the hour of its own house."""
    skew_ms: Annotated[int, msgspec.Meta(ge=-3_600_000, le=3_600_000)] = 0
    """How far its clock is ahead of ours."""


TAME: Final = Knobs(
    push_delay_least_ms=0,
    push_delay_most_ms=0,
    push_twice=0.0,
    push_dropped=0.0,
    fault=0.0,
    limited=0.0,
    slow=0.0,
    stale=0.0,
    stream_swapped=0.0,
    stream_cut=0.0,
    stream_silent=0.0,
)
"""Behaves as the documentation says."""

Push = Callable[[bytes], Awaitable[bool]]
"""Deliver a webhook; True if it was answered with 2xx in time."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the callers must send: our integration's token or client, and the property's token or secret."""

    client_token: str
    access_token: str


class WireError(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> dict[str, Any]:
        """Return the body. Raises WireError."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise WireError(400, "Invalid JSON.") from error

    def form(self) -> dict[str, str]:
        """Return a form-encoded body."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `body` is encoded as JSON."""

    status: int
    body: object
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    """Its JSON ends in its middle."""


class Parts(TypedDict, total=False):
    """What a face is made of (see `Face.__init__`), for faces that add something."""

    rooms: Required[list[str]]
    reservations: Required[int]
    credentials: Required[Credentials]
    clock: Required[Clock]
    dice: Required[Dice]
    push: Required[Push | None]
    knobs: Knobs | None
    rules: Rules | None
    zone: str


class Face:
    """The wire around a hotel. A vendor says: `admit`, `operation`, `do`, `sorry`, `push_body`, `shown_json`."""

    LIMIT: ClassVar[tuple[int, int]] = (200, 30_000)
    """Requests, and the window in ms, of the vendor's own limit."""
    NUMERIC_IDS: ClassVar[bool] = True
    PROPERTY_FIELD: ClassVar[str | None] = None
    """The field by which a reservation says whose it is; None: it does not."""

    def __init__(
        self,
        *,
        rooms: list[str],
        reservations: int,
        credentials: Credentials,
        clock: Clock,
        dice: Dice,
        push: Push | None,
        knobs: Knobs | None = None,
        rules: Rules | None = None,
        zone: str = "Europe/Vienna",
    ) -> None:
        self._clock, self._dice, self._push = clock, dice, push
        self._credentials = credentials
        self.time = HouseTime(ZoneInfo(zone))
        self._ahead_ms = 0
        self._held: list[bytes] = []
        self._sister: dict[str, Reservation] = {}
        self._passing: list[str] = []
        self._requests: deque[int] = deque()
        self._pushing: set[asyncio.Task[None]] = set()
        self.knobs = knobs or Knobs()
        self.bend: Callable[[Reservation, dict[str, Any]], dict[str, Any]] = lambda _found, row: row
        """What becomes of a reservation's row on its way out, for whoever wants nonsense."""
        self.calls: dict[str, int] = {}
        self.pushed = {"sent": 0, "dropped": 0, "doubled": 0, "failed": 0, "held": 0, "foreign": 0}
        self.hotel = Hotel(
            dice=dice, now_ms=self.now_ms, rooms=rooms, rules=rules or Rules(), numeric_ids=self.NUMERIC_IDS
        )
        self.hotel.doubles_number = lambda: self._falls(self.knobs.number_twice)
        self.hotel.odd_contact = lambda: self._falls(self.knobs.contact_odd)
        self.hotel.populate(reservations)
        self.hotel.changed = self._changed

    def now_ms(self) -> int:
        """The emulator's own wall time."""
        return self._clock.wall_ms() + self._ahead_ms + self.knobs.skew_ms

    def advance(self, ms: int) -> None:
        """Move the emulator's clock ahead of the machine's."""
        self._ahead_ms += ms

    def renew(self, credentials: Credentials) -> None:
        """Take other credentials from now on: whoever has the old ones is out."""
        self._credentials = credentials

    async def close(self) -> None:
        """Drop the pushes under way."""
        for task in tuple(self._pushing):
            task.cancel()
        if self._pushing:
            await asyncio.wait(self._pushing)

    def revoke(self) -> None:
        """Take every token back, where there are any."""

    async def settle(self) -> None:
        """Wait until no push is under way."""
        while self._pushing:
            await asyncio.wait(tuple(self._pushing))

    # What a vendor says of its wire

    def operation(self, ask: Ask) -> str:
        """Return the name that `calls` counts."""
        return ask.path.strip("/")

    def admit(self, ask: Ask) -> None:
        """Check who asks. Raises WireError."""
        raise NotImplementedError

    def do(self, ask: Ask) -> object:
        """Do what is asked. Raises WireError, Missing, Forbidden."""
        raise NotImplementedError

    def sorry(self, error: WireError) -> Reply:
        """Return the answer that is none."""
        raise NotImplementedError

    def push_body(self, kind: str, changed_id: str) -> bytes | None:
        """Return a push about a reservation (ServiceOrderUpdated), room (ResourceUpdated) or guest (CustomerUpdated);
        None: it pushes none.
        """
        raise NotImplementedError

    SUBPROTOCOL: ClassVar[str | None] = None
    """What its websockets speak; None: it has none."""

    async def socket(self, ask: Ask, channel: Channel) -> bool:  # noqa: ARG002 - what others answer by
        """Hold a client's websocket until one of both goes; False: there is none at this address."""
        return False

    def shown_json(self, found: Reservation) -> dict[str, Any]:
        """Return a reservation as the wire has it, for whoever watches a rehearsal."""
        raise NotImplementedError

    def row(self, found: Reservation) -> dict[str, Any]:
        """Return a reservation as it leaves."""
        return self.bend(found, self._own(found))

    def _own(self, found: Reservation) -> dict[str, Any]:
        row = self.shown_json(found)
        return {**row, str(self.PROPERTY_FIELD): SISTER} if found.id in self._sister else row

    def read(self, reservation_id: str) -> Reservation:
        """Return what a read by id sees, of the group's other property too where a row says so. Raises Missing."""
        if self.PROPERTY_FIELD is not None and reservation_id in self._sister:
            return self._sister[reservation_id]
        return self.shown(self.hotel.reservation(reservation_id))

    def depart(self, reservation_id: str, end_ms: int, *, check: bool = True) -> None:
        """Let a reservation end as it is told, or as the knobs say. Raises WireError, Missing, Forbidden."""
        if self._falls(self.knobs.departure_ignored):
            self.hotel.reservation(reservation_id)
            return
        if self._falls(self.knobs.departure_to_the_day):
            end_ms = self.end_of_day(self.time.day(end_ms))
        self.hotel.depart(reservation_id, end_ms, check=check)

    def end_of_day(self, told: object) -> int:
        """Return the hour of departure on a day. Raises WireError: it is none."""
        try:
            return self.time.departure_ms("departure", str(told))
        except UnreadableError as error:
            raise WireError(400, "Invalid date.") from error

    def turned(self, asked: int) -> int:
        """Return how many rows the page has that is now given of a list; the list may move just before it is."""
        if self._falls(self.knobs.page_moves):
            if self._passing and self._dice.uniform(0, 1) < 0.5:
                self.hotel.cancel(self._passing.pop(), "Other")
            else:
                start_ms = self.now_ms() + self._dice.integer(1, 9) * DAY_MS
                first, last = self._dice.choice(NAMES)
                made = self.hotel.add(
                    room=None, start_ms=start_ms, end_ms=start_ms + DAY_MS, first_name=first, last_name=last
                )
                self._passing.append(made.id)
        return min(asked, self.knobs.page_rows or asked)

    def _falls(self, share: float) -> bool:
        """Throw the dice, but for what never happens: a day that was played before stays the same."""
        return share > 0 and self._dice.uniform(0, 1) < share

    # The wire

    async def answer(self, ask: Ask) -> Reply:
        """Answer one call."""
        operation = self.operation(ask)
        self.calls[operation] = self.calls.get(operation, 0) + 1
        try:
            if self._falls(self.knobs.revoked):
                self.revoke()
            self.admit(ask)
            self._limit()
            if self._dice.uniform(0, 1) < self.knobs.slow:
                await asyncio.sleep(self.knobs.slow_ms / 1000)
            broken = self._dice.uniform(0, 1) < self.knobs.fault
            if broken and self._dice.uniform(0, 1) < 0.5:
                raise WireError(500, "Something went wrong.")
            wrong = self._falls(self.knobs.error_200)
            if wrong and self._dice.uniform(0, 1) < 0.5:
                return Reply(200, self.sorry(WireError(500, "Something went wrong.")).body)
            answer = self.do(ask)
            if broken:
                raise WireError(500, "Something went wrong.")
            if wrong:
                return Reply(200, self.sorry(WireError(500, "Something went wrong.")).body)
        except WireError as error:
            return self.sorry(error)
        except Missing as error:
            return self.sorry(WireError(404, str(error)))
        except Forbidden as error:
            return self.sorry(WireError(403, str(error)))
        reply = answer if isinstance(answer, Reply) else Reply(200, answer)
        return replace(reply, cut=True) if reply.status != 204 and self._falls(self.knobs.cut) else reply

    def _limit(self) -> None:
        requests, window_ms = self.knobs.limit_requests or self.LIMIT[0], self.knobs.limit_window_ms
        window_ms = self.LIMIT[1] if window_ms is None else window_ms
        now_ms, made = self._clock.now_ms(), self._requests
        if made and now_ms - made[0] >= window_ms:
            made.clear()  # the window is anchored at its first request
        if len(made) >= requests:
            left_s = -(-(made[0] + window_ms - now_ms) // 1000)
            raise WireError(429, "Too many requests.", retry_after_s=left_s)
        made.append(now_ms)
        if self._dice.uniform(0, 1) < self.knobs.limited:
            raise WireError(429, "Too many requests.", retry_after_s=self.knobs.retry_after_s)

    def name_of(self, found: Reservation) -> str:
        """Return the guest's whole name."""
        guest = self.hotel.customers[found.account_id]
        return " ".join(part for part in (guest["FirstName"], guest["LastName"]) if part)

    def guests_named(self, name: str) -> list[dict[str, Any]]:
        """Return the guests whose name holds a text, whatever its case; none for an empty text."""
        wanted = name.casefold()
        guests = self.hotel.customers.values()
        return [
            each for each in guests if wanted and wanted in f"{each['FirstName'] or ''} {each['LastName']}".casefold()
        ]

    def shown(self, found: Reservation) -> Reservation:
        """Return what a read sees of a reservation: now and then what was before its last change."""
        fresh = self.now_ms() - found.updated_ms >= self.knobs.stale_ms
        if fresh or found.previous is None or self._dice.uniform(0, 1) >= self.knobs.stale:
            return found
        return found.previous

    # The pushes

    def _changed(self, kind: str, changed_id: str) -> None:
        if self._push is None or not self.knobs.webhook_subscribed or len(self._pushing) >= PUSHES_UNDER_WAY_MOST:
            return
        if self.hotel.reservations and self._falls(self.knobs.push_foreign):
            self.pushed["foreign"] += 1
            if (told := self.push_body("ServiceOrderUpdated", self._foreign())) is not None:
                self._send(told)
        if (body := self.push_body(kind, changed_id)) is None:
            return
        if self._dice.uniform(0, 1) < self.knobs.push_dropped:
            self.pushed["dropped"] += 1
            return
        if self._falls(self.knobs.push_held):
            self.pushed["held"] += 1
            self._held.append(body)
            return
        self._send(body)
        held, self._held = self._held, []
        for each in held:
            self._send(each)

    def _foreign(self) -> str:
        """Return a reservation of the group's other property, made where there is none yet."""
        if not self._sister:
            mine = next(iter(self.hotel.reservations.values()))
            account = f"9{mine.account_id}"
            self.hotel.customers[account] = {"Id": account, "FirstName": None, "LastName": "Elsewhere"}
            self._sister[f"9{mine.id}"] = Reservation(**{**vars(mine), "id": f"9{mine.id}", "account_id": account})
        return next(iter(self._sister))

    def _send(self, body: bytes) -> None:
        copies = 2 if self._dice.uniform(0, 1) < self.knobs.push_twice else 1
        self.pushed["doubled"] += copies - 1
        for _ in range(copies):
            least, most = self.knobs.push_delay_least_ms, self.knobs.push_delay_most_ms
            wait_ms = self._dice.uniform(least, max(least, most))
            task = asyncio.get_running_loop().create_task(self._deliver(body, wait_ms / 1000))
            self._pushing.add(task)
            task.add_done_callback(self._pushing.discard)

    async def _deliver(self, body: bytes, wait_s: float) -> None:
        if self._push is None:
            return
        await asyncio.sleep(wait_s)
        for attempt in range(1 + PUSH_RETRIES):
            if attempt:
                await asyncio.sleep(self.knobs.push_retry_ms / 1000)
            if await self._push(body):
                self.pushed["sent"] += 1
                return
        self.pushed["failed"] += 1

    # What the rehearsal sees

    def state(self) -> dict[str, Any]:
        """Return everything the hotel has, with room names instead of ids."""
        names = {each.id: each.name for each in self.hotel.resources.values()}
        return {
            "now": self.now_ms(),
            "rooms": [{"name": each.name, "state": each.state} for each in self.hotel.resources.values()],
            "reservations": [
                {
                    **self.shown_json(each),
                    "Room": names.get(each.resource_id or ""),
                    "Guest": self.hotel.customers[each.account_id],
                }
                for each in self.hotel.reservations.values()
            ],
            "calls": self.calls,
            "pushes": {**self.pushed, "under_way": len(self._pushing)},
            "knobs": msgspec.to_builtins(self.knobs),
        }


def webhook(http: httpx.AsyncClient, address: str) -> Push:
    """Return a push that posts to `address`."""

    async def push(body: bytes) -> bool:
        try:
            answer = await http.post(
                address, content=body, headers={"Content-Type": "application/json"}, timeout=PUSH_WAIT_S
            )
        except httpx.HTTPError:
            return False
        return answer.is_success

    return push
