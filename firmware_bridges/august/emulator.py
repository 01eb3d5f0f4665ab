"""August's cloud on the real wire: PINs that wait for the bridge, few slots, a bridge that is in use."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from firmware_bridges.lock_systems.misbehaviour import TAME, Knobs, Misbehaving
from kit.clock import Clock
from kit.dice import Dice

SLOTS: Final = 20
Do = Callable[[web.Request], Awaitable[Any]]


@dataclass(slots=True)
class Pin:
    """A PIN of one lock. `loaded`: the lock has it."""

    pin_id: str
    lock: str
    pin: str
    first_name: str
    last_name: str
    start: str
    end: str
    loaded: bool

    def document(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "_id": self.pin_id,
            "lockID": self.lock,
            "pin": self.pin,
            "firstName": self.first_name,
            "lastName": self.last_name,
            "accessType": "temporary",
            "accessStartTime": self.start,
            "accessEndTime": self.end,
            "state": "loaded" if self.loaded else "created",
        }


class AnswerError(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class AugustEmulator:
    """The cloud, one house."""

    def __init__(
        self, *, house: str, locks: list[str], api_key: str, token: str, clock: Clock, dice: Dice, knobs: Knobs = TAME
    ) -> None:
        self._house, self._api_key = house, api_key
        self._tokens = [token]
        """The one last used, and those told since: an older one is good until a newer one is used."""
        self._clock, self._dice = clock, dice
        self.misbehaving = Misbehaving(dice, knobs)
        self.pins: dict[str, Pin] = {}
        self.opened = dict.fromkeys(locks, 0)
        self.bridge_away = False
        self.programs_at_once = True
        """False: a PIN stays `created` until `program` is called."""
        self.activities: list[dict[str, Any]] = []

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(middlewares=[self.misbehaving.middleware()])
        app.router.add_get("/users/locks/mine", self._answering(self._locks))
        app.router.add_get("/locks/{lock}", self._answering(self._lock))
        app.router.add_get("/locks/{lock}/pins", self._answering(self._list))
        app.router.add_post("/locks/{lock}/pins", self._answering(self._make))
        app.router.add_put("/locks/{lock}/pins/{id}", self._answering(self._change))
        app.router.add_delete("/locks/{lock}/pins/{id}", self._answering(self._drop))
        app.router.add_put("/remoteoperate/{lock}/unlock", self._answering(self._unlock))
        app.router.add_get(f"/houses/{self._house}/activities", self._answering(self._list_activities))
        return app

    def program(self) -> None:
        """Let the bridges write what waits."""
        for each in self.pins.values():
            each.loaded = True

    def opens(self, lock: str, pin: str) -> bool:
        """Type a PIN at a lock."""
        now_ms = self._clock.wall_ms()
        for each in self.pins.values():
            good = _ms(each.start) <= now_ms < _ms(each.end)
            if each.loaded and each.lock == lock and each.pin == pin and good:
                self._activity("unlock", lock, each.first_name, each.last_name)
                return True
        self._activity("pin_unlock_failed", lock, "", "")
        return False

    def _activity(self, action: str, lock: str, first: str, last: str) -> None:
        at_ms = self._clock.wall_ms() + self.misbehaving.knobs.clock_skew_ms
        user = {"FirstName": first, "LastName": last, "UserID": self._dice.bytes(4).hex()}
        self.activities.append({"dateTime": at_ms, "action": action, "deviceID": lock, "callingUser": user})

    def _answering(self, do: Do) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            try:
                token = request.headers.get("x-august-access-token", "")
                if request.headers.get("x-august-api-key") != self._api_key or token not in self._tokens:
                    raise AnswerError(401, "InvalidCredentials")
                self._tokens = self._tokens[self._tokens.index(token) :]
                if self.misbehaving.chance(self.misbehaving.knobs.token_dies):
                    self._tokens.append(self._dice.bytes(12).hex())
                return web.json_response(await do(request), headers={"x-august-access-token": self._tokens[-1]})
            except AnswerError as error:
                return web.json_response({"code": error.code, "message": "refused"}, status=error.status)
            except (ValueError, KeyError, TypeError):
                return web.json_response({"code": "BadRequest", "message": "bad request"}, status=400)

        return answer

    def _named(self, request: web.Request) -> str:
        lock = request.match_info["lock"]
        if lock not in self.opened:
            raise AnswerError(404, "ResourceNotFound")
        return lock

    async def _locks(self, _request: web.Request) -> object:
        return {each: {"LockName": each, "UserType": "superuser", "HouseID": self._house} for each in self.opened}

    async def _lock(self, request: web.Request) -> object:
        lock = self._named(request)
        return {
            "LockID": lock,
            "battery": 0.83,
            "LockStatus": {"status": "locked"},
            "Bridge": {"operative": True, "status": {"current": "offline" if self.bridge_away else "online"}},
        }

    async def _list(self, request: web.Request) -> object:
        lock = self._named(request)
        there = [each for each in self.pins.values() if each.lock == lock]
        return {
            "loaded": [each.document() for each in there if each.loaded],
            "created": [each.document() for each in there if not each.loaded],
        }

    async def _make(self, request: web.Request) -> object:
        lock, body = self._named(request), await request.json()
        there = [each for each in self.pins.values() if each.lock == lock]
        if len(there) >= SLOTS:
            raise AnswerError(409, "NoSlots")
        if any(each.pin == body["pin"] for each in there):
            raise AnswerError(409, "DuplicatePin")
        start, end = str(body["accessStartTime"]), str(body["accessEndTime"])
        if _ms(end) <= _ms(start) or not 4 <= len(str(body["pin"])) <= 6:
            raise ValueError(end)
        made = Pin(
            self._dice.bytes(8).hex(),
            lock,
            str(body["pin"]),
            str(body["firstName"]),
            str(body["lastName"]),
            start,
            end,
            self.programs_at_once,
        )
        self.pins[made.pin_id] = made
        return made.document()

    def _pin(self, request: web.Request) -> Pin:
        pin = self.pins.get(request.match_info["id"])
        if pin is None or pin.lock != self._named(request):
            raise AnswerError(404, "PinNotFound")
        return pin

    async def _change(self, request: web.Request) -> object:
        pin, body = self._pin(request), await request.json()
        pin.start, pin.end = str(body["accessStartTime"]), str(body["accessEndTime"])
        pin.loaded = self.programs_at_once
        return pin.document()

    async def _drop(self, request: web.Request) -> object:
        del self.pins[self._pin(request).pin_id]
        return {}

    async def _unlock(self, request: web.Request) -> object:
        lock = self._named(request)
        if self.bridge_away:
            raise AnswerError(422, "BridgeOffline")
        if self.misbehaving.chance(self.misbehaving.knobs.busy):
            raise AnswerError(423, "BridgeInUse")
        self.opened[lock] += 1
        self._activity("unlock", lock, "", "")
        return {"status": "kAugLockState_Unlocked", "info": {"action": "unlock", "lockID": lock}}

    async def _list_activities(self, request: web.Request) -> object:
        page = self.activities[::-1][: int(request.query.get("limit", 8))]
        if page and self.misbehaving.chance(self.misbehaving.knobs.event_twice):
            page = [*page, page[0]]
        if self.misbehaving.chance(self.misbehaving.knobs.event_order):
            page = page[::-1]
        return page


def _ms(stamp: str) -> int:
    return round(datetime.fromisoformat(stamp).timestamp() * 1_000)
