"""A Mews that answers on the real wire, and misbehaves by default: seeded, so a bad day can be had again.

POST /api/connector/v1/...  the Connector API as design page pms.md B.1 describes it
/emulator/...               for whoever runs the rehearsal: add, move and end reservations, see state, set knobs

Misbehaviour: pushes come late, twice, out of order or not at all; reads lag behind writes; now and then an
answer is 500, 429 or slow. The limit of 200 requests a token in 30 s is kept like the real one's.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

import httpx
import msgspec
from litestar import Litestar, Request, Response, Router, get, post, put
from litestar.params import FromPath, JSONBody

from cloud.kit.times import unix_ms
from cloud.pms.mews.hotel import Forbidden, Hotel, Missing, Reservation, Rules
from kit.clock import Clock
from kit.dice import Dice
from kit.http import application

PUSH_WAIT_S: Final = 5.0  # Mews hangs up on a slower receiver
PUSH_RETRIES: Final = 1
PUSHES_UNDER_WAY_MOST: Final = 500
COUNT_MOST: Final = 1_000
COUNT_DEFAULT: Final = 100
INTERVAL_MOST_MS: Final = 100 * 24 * 3_600_000

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
    limit_requests: Annotated[int, msgspec.Meta(ge=1)] = 200
    limit_window_ms: _Ms = 30_000
    retry_after_s: Annotated[int, msgspec.Meta(ge=0, le=60)] = 1
    webhook_subscribed: bool = True
    """False: the subscription was silently removed."""


TAME: Final = Knobs(
    push_delay_least_ms=0,
    push_delay_most_ms=0,
    push_twice=0.0,
    push_dropped=0.0,
    fault=0.0,
    limited=0.0,
    slow=0.0,
    stale=0.0,
)
"""Behaves as the documentation says."""

Push = Callable[[bytes], Awaitable[bool]]
"""Deliver a webhook; True if it was answered with 2xx in time."""
Call = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the callers must send."""

    client_token: str
    access_token: str


class WireError(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s


class Emulator:
    """The wire around a hotel."""

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
    ) -> None:
        self._clock, self._dice, self._push = clock, dice, push
        self._credentials = credentials
        self._ahead_ms = 0
        self._requests: dict[str, deque[int]] = {}
        self._pushing: set[asyncio.Task[None]] = set()
        self.knobs = knobs or Knobs()
        self.calls: dict[str, int] = {}
        self.pushed = {"sent": 0, "dropped": 0, "doubled": 0, "failed": 0}
        self.hotel = Hotel(dice=dice, now_ms=self.now_ms, rooms=rooms, rules=rules or Rules())
        self.hotel.populate(reservations)
        self.hotel.changed = self._changed

    def now_ms(self) -> int:
        """The emulator's own wall time."""
        return self._clock.wall_ms() + self._ahead_ms

    def advance(self, ms: int) -> None:
        """Move the emulator's clock ahead of the machine's."""
        self._ahead_ms += ms

    async def close(self) -> None:
        """Drop the pushes under way."""
        for task in tuple(self._pushing):
            task.cancel()
        if self._pushing:
            await asyncio.wait(self._pushing)

    async def settle(self) -> None:
        """Wait until no push is under way."""
        while self._pushing:
            await asyncio.wait(tuple(self._pushing))

    # The wire

    async def answer(self, operation: str, body: dict[str, Any]) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Answer one call: status, body, headers."""
        self.calls[operation] = self.calls.get(operation, 0) + 1
        try:
            self._admit(body)
            if self._dice.uniform(0, 1) < self.knobs.slow:
                await asyncio.sleep(self.knobs.slow_ms / 1000)
            broken = self._dice.uniform(0, 1) < self.knobs.fault
            if broken and self._dice.uniform(0, 1) < 0.5:
                raise WireError(500, "Something went wrong.")
            answer = self._do(operation, body)
            if broken:
                raise WireError(500, "Something went wrong.")
        except WireError as error:
            headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
            return (
                error.status,
                {"Message": str(error), "RequestId": self._dice.bytes(8).hex(), "Details": None},
                headers,
            )
        except Missing as error:
            return 404, self._sorry(error), {}
        except Forbidden as error:
            return 403, self._sorry(error), {}
        return 200, answer, {}

    def _sorry(self, error: Exception) -> dict[str, Any]:
        return {"Message": str(error), "RequestId": self._dice.bytes(8).hex(), "Details": None}

    def _admit(self, body: dict[str, Any]) -> None:
        known = self._credentials
        if body.get("ClientToken") != known.client_token or body.get("AccessToken") != known.access_token:
            raise WireError(401, "Invalid ClientToken or AccessToken.")
        if not isinstance(body.get("Client"), str):
            raise WireError(400, "Invalid Client: it must be a name and a version.")
        now_ms = self._clock.now_ms()
        made = self._requests.setdefault(known.access_token, deque())
        if made and now_ms - made[0] >= self.knobs.limit_window_ms:
            made.clear()  # the window is anchored at its first request
        if len(made) >= self.knobs.limit_requests:
            left_s = -(-(made[0] + self.knobs.limit_window_ms - now_ms) // 1000)
            raise WireError(429, "Too many requests.", retry_after_s=left_s)
        made.append(now_ms)
        if self._dice.uniform(0, 1) < self.knobs.limited:
            raise WireError(429, "Too many requests.", retry_after_s=self.knobs.retry_after_s)

    def _do(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        match operation:
            case "reservations/getAll/2023-06-06":
                return self._reservations(body)
            case "customers/getAll":
                ids = set(_ids(body, "CustomerIds") or ())
                found = [each for key, each in self.hotel.customers.items() if key in ids]
                return self._page("Customers", found, body)
            case "customers/search":
                wanted = str(body.get("Name") or "").casefold()
                return {
                    "Customers": [
                        {"Customer": each}
                        for each in self.hotel.customers.values()
                        if wanted and wanted in f"{each['FirstName'] or ''} {each['LastName']}".casefold()
                    ][:100]
                }
            case "resources/getAll":
                rooms = sorted(self.hotel.resources.values(), key=lambda each: (-each.updated_ms, each.name))
                return self._page("Resources", [self.hotel.resource_json(each) for each in rooms], body)
            case "resources/update":
                return self._update_resources(body)
            case "reservations/start":
                self.hotel.start(_id(body))
                return {}
            case "reservations/process":
                self.hotel.process(_id(body))
                return {}
            case "reservations/cancel":
                for each in _ids(body, "ReservationIds") or [_id(body)]:
                    self.hotel.cancel(each, "Other")
                return {}
            case _:
                raise WireError(404, f"Operation {operation} not found.")

    def _reservations(self, body: dict[str, Any]) -> dict[str, Any]:
        shown = [self._shown(each) for each in self.hotel.reservations.values()]
        ids = _ids(body, "ReservationIds")
        intervals = {name: _interval(body, name) for name in ("UpdatedUtc", "CollidingUtc", "ScheduledStartUtc")}
        if ids is None and not any(intervals.values()):
            raise WireError(400, "Invalid filter: one of ReservationIds, UpdatedUtc, CollidingUtc is needed.")
        if ids is not None:
            shown = [each for each in shown if each.id in set(ids)]
        if (states := body.get("States")) is not None:
            shown = [each for each in shown if each.state in states]
        if (span := intervals["UpdatedUtc"]) is not None:
            shown = [each for each in shown if span[0] <= each.updated_ms <= span[1]]
        if (span := intervals["CollidingUtc"]) is not None:
            shown = [each for each in shown if each.start_ms < span[1] and each.end_ms > span[0]]
        if (span := intervals["ScheduledStartUtc"]) is not None:
            shown = [each for each in shown if span[0] <= each.start_ms <= span[1]]
        shown.sort(key=lambda each: (-each.updated_ms, each.id))
        return self._page("Reservations", [self.hotel.reservation_json(each) for each in shown], body)

    def _shown(self, found: Reservation) -> Reservation:
        fresh = self.now_ms() - found.updated_ms >= self.knobs.stale_ms
        if fresh or found.previous is None or self._dice.uniform(0, 1) >= self.knobs.stale:
            return found
        return found.previous

    def _update_resources(self, body: dict[str, Any]) -> dict[str, Any]:
        updates = body.get("ResourceUpdates")
        if not isinstance(updates, list):
            raise WireError(400, "Invalid ResourceUpdates.")
        done = []
        for update in updates:
            resource = self.hotel.resources.get(str(update.get("ResourceId")))
            if resource is None:
                raise Missing(f"Resource {update.get('ResourceId')} not found.")
            state = update.get("State", {}).get("Value")
            if state not in ("Dirty", "Clean", "Inspected", "OutOfService", "OutOfOrder"):
                raise WireError(400, "Invalid State.")
            done.append(self.hotel.resource_json(self.hotel.set_room_state(resource.name, state)))
        return {"Resources": done}

    def _page(self, name: str, items: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
        limitation = body.get("Limitation")
        if limitation is None:
            limitation = {}
        count = limitation.get("Count", COUNT_DEFAULT)
        if not isinstance(count, int) or not 1 <= count <= COUNT_MOST:
            raise WireError(400, f"Invalid Limitation.Count: 1 to {COUNT_MOST}.")
        cursor = limitation.get("Cursor")
        if cursor is not None:
            at = next((n for n, each in enumerate(items) if each["Id"] == cursor), None)
            if at is None:
                raise WireError(400, "Invalid Limitation.Cursor.")
            items = items[at + 1 :]
        page = items[:count]
        return {name: page, "Cursor": page[-1]["Id"] if len(items) > count else None}

    # The pushes

    def _changed(self, kind: str, changed_id: str) -> None:
        if self._push is None or not self.knobs.webhook_subscribed or len(self._pushing) >= PUSHES_UNDER_WAY_MOST:
            return
        if self._dice.uniform(0, 1) < self.knobs.push_dropped:
            self.pushed["dropped"] += 1
            return
        copies = 2 if self._dice.uniform(0, 1) < self.knobs.push_twice else 1
        self.pushed["doubled"] += copies - 1
        body = msgspec.json.encode(
            {
                "EnterpriseId": "851df8c8-90f2-4c4a-8e01-a4fc46b25178",
                "IntegrationId": "c8bee838-7fb1-4f4e-8fac-ac87008b2f90",
                "Events": [{"Discriminator": kind, "Value": {"Id": changed_id}}],
            }
        )
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
                    **self.hotel.reservation_json(each),
                    "Room": names.get(each.resource_id or ""),
                    "Guest": self.hotel.customers[each.account_id],
                }
                for each in self.hotel.reservations.values()
            ],
            "calls": self.calls,
            "pushes": {**self.pushed, "under_way": len(self._pushing)},
            "knobs": msgspec.to_builtins(self.knobs),
        }


def _ids(body: dict[str, Any], name: str) -> list[str] | None:
    ids = body.get(name)
    if ids is None:
        return None
    if not isinstance(ids, list) or len(ids) > COUNT_MOST or not all(isinstance(each, str) for each in ids):
        raise WireError(400, f"Invalid {name}: at most {COUNT_MOST} ids.")
    return ids


def _id(body: dict[str, Any]) -> str:
    found = body.get("ReservationId")
    if not isinstance(found, str):
        raise WireError(400, "Invalid ReservationId.")
    return found


def _interval(body: dict[str, Any], name: str) -> tuple[int, int] | None:
    span = body.get(name)
    if span is None:
        return None
    try:
        start, end = (unix_ms(datetime.fromisoformat(span[key])) for key in ("StartUtc", "EndUtc"))
    except (TypeError, KeyError, ValueError) as error:
        raise WireError(400, f"Invalid {name}.") from error
    if not 0 <= end - start <= INTERVAL_MOST_MS:
        raise WireError(400, f"Invalid {name}: at most three months.")
    return start, end


# HTTP


class NewReservation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /emulator/reservations. Times are ISO 8601; by default now until tomorrow."""

    last_name: str
    first_name: str | None = None
    room: str | None = None
    start: datetime | None = None
    end: datetime | None = None


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /emulator/reservations/{id}/update."""

    room: str | None = None
    start: datetime | None = None
    end: datetime | None = None


class RoomState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /emulator/rooms/{name}."""

    state: str


class Advance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /emulator/clock."""

    advance_ms: Annotated[int, msgspec.Meta(ge=0)]


def build(emulator: Emulator) -> Litestar:
    """Return the emulator as an application."""

    @post("/api/connector/v1/{operation:path}", status_code=200)
    async def connector(request: Call, operation: FromPath[str]) -> Response[bytes]:
        try:
            body = msgspec.json.decode(await request.body(), type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Response(b'{"Message":"Invalid JSON.","RequestId":"0","Details":null}', status_code=400)
        status, answer, headers = await emulator.answer(operation.lstrip("/"), body)
        return Response(msgspec.json.encode(answer), status_code=status, headers=headers, media_type="application/json")

    @get("/state")
    async def state() -> dict[str, Any]:
        return emulator.state()

    @get("/knobs")
    async def knobs() -> Knobs:
        return emulator.knobs

    @put("/knobs")
    async def set_knobs(request: Call) -> Knobs:
        """Change the knobs named in the body; the others stay."""
        changes = msgspec.json.decode(await request.body(), type=dict[str, Any])
        emulator.knobs = msgspec.convert({**msgspec.to_builtins(emulator.knobs), **changes}, Knobs)
        return emulator.knobs

    @post("/reservations")
    async def add(data: JSONBody[NewReservation]) -> Response[bytes]:
        now_ms = emulator.now_ms()
        return _told(
            emulator,
            lambda: emulator.hotel.add(
                room=data.room,
                start_ms=now_ms if data.start is None else unix_ms(data.start),
                end_ms=now_ms + 24 * 3_600_000 if data.end is None else unix_ms(data.end),
                first_name=data.first_name,
                last_name=data.last_name,
            ),
        )

    @post("/reservations/{reservation_id:str}/update", status_code=200)
    async def update(reservation_id: FromPath[str], data: JSONBody[Change]) -> Response[bytes]:
        return _told(
            emulator,
            lambda: emulator.hotel.update(
                reservation_id,
                room=data.room,
                start_ms=None if data.start is None else unix_ms(data.start),
                end_ms=None if data.end is None else unix_ms(data.end),
            ),
        )

    @post("/reservations/{reservation_id:str}/start", status_code=200)
    async def start(reservation_id: FromPath[str]) -> Response[bytes]:
        return _told(emulator, lambda: emulator.hotel.start(reservation_id))

    @post("/reservations/{reservation_id:str}/process", status_code=200)
    async def process(reservation_id: FromPath[str]) -> Response[bytes]:
        return _told(emulator, lambda: emulator.hotel.process(reservation_id))

    @post("/reservations/{reservation_id:str}/cancel", status_code=200)
    async def cancel(reservation_id: FromPath[str]) -> Response[bytes]:
        return _told(emulator, lambda: emulator.hotel.cancel(reservation_id, "Other"))

    @post("/rooms/{name:str}", status_code=200)
    async def set_room(name: FromPath[str], data: JSONBody[RoomState]) -> dict[str, Any]:
        return emulator.hotel.resource_json(emulator.hotel.set_room_state(name, data.state))

    @post("/clock", status_code=200)
    async def clock(data: JSONBody[Advance]) -> dict[str, int]:
        emulator.advance(data.advance_ms)
        return {"now": emulator.now_ms()}

    @get("/health")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    admin = Router(
        "/emulator",
        route_handlers=[
            state,
            knobs,
            set_knobs,
            add,
            update,
            start,
            process,
            cancel,
            set_room,
            clock,
            health,
        ],
    )
    return application([connector, admin], on_shutdown=[emulator.close])


def _told(emulator: Emulator, do: Callable[[], Reservation]) -> Response[bytes]:
    try:
        body, status = emulator.hotel.reservation_json(do()), 200
    except Missing as error:
        body, status = {"Message": str(error)}, 404
    except Forbidden as error:
        body, status = {"Message": str(error)}, 403
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")


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
