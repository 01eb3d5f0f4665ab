"""SALTO Space's Hospitality API on the real wire: rooms, periods, wallet keys. A check-in kills every earlier key."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from firmware_bridges.lock_systems.misbehaviour import TAME, Knobs, Misbehaving
from kit.clock import Clock
from kit.dice import Dice

Handler = Callable[[web.Request], Awaitable[Any]]


@dataclass(slots=True)
class Period:
    """A room's access period; times in ISO 8601, UTC."""

    reference: str
    start: str
    end: str


@dataclass(slots=True)
class WalletKey:
    """A key for one room."""

    key_id: str
    room: str
    reference: str
    start: str
    end: str

    def document(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "id": self.key_id,
            "room": self.room,
            "reference": self.reference,
            "startDateTime": self.start,
            "endDateTime": self.end,
        }


class AnswerError(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class SaltoSpaceEmulator:
    """The server."""

    def __init__(self, *, rooms: list[str], token: str, clock: Clock, dice: Dice, knobs: Knobs = TAME) -> None:
        self._token, self._clock, self._dice = token, clock, dice
        self.misbehaving = Misbehaving(dice, knobs)
        self.periods: dict[str, Period | None] = dict.fromkeys(rooms)
        self.keys: dict[str, WalletKey] = {}
        self.check_ins = 0

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(middlewares=[self.misbehaving.middleware()])
        app.router.add_get("/rooms", self._answering(self._rooms))
        app.router.add_get("/rooms/{room}", self._answering(self._room))
        app.router.add_post("/rooms/{room}/check-in", self._answering(self._check_in))
        app.router.add_post("/rooms/{room}/check-out", self._answering(self._check_out))
        app.router.add_get("/keys", self._answering(self._list))
        app.router.add_post("/rooms/{room}/keys", self._answering(self._make))
        app.router.add_delete("/keys/{id}", self._answering(self._drop))
        app.router.add_post("/keys/{id}/provision-token", self._answering(self._provision))
        return app

    def opens(self, room: str, key_id: str) -> bool:
        """Hold a phone with a key to a lock."""
        key, now = self.keys.get(key_id), _stamp(self._clock.wall_ms())
        return key is not None and key.room == room and key.start <= now < key.end

    def _answering(
        self, do: Callable[[web.Request], Awaitable[Any]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            try:
                if request.headers.get("Authorization") != f"Bearer {self._token}":
                    raise AnswerError(401, "unauthorized")
                return web.json_response(await do(request))
            except AnswerError as error:
                return web.json_response({"code": error.code}, status=error.status)
            except (ValueError, KeyError, TypeError):
                return web.json_response({"code": "badRequest"}, status=400)

        return answer

    async def _rooms(self, _request: web.Request) -> object:
        return {"rooms": [{"id": each} for each in self.periods]}

    def _named(self, request: web.Request) -> str:
        room = request.match_info["room"]
        if room not in self.periods:
            raise AnswerError(404, "roomNotFound")
        return room

    async def _room(self, request: web.Request) -> object:
        room = self._named(request)
        period = self.periods[room]
        shown = (
            None
            if period is None
            else {"reference": period.reference, "startDateTime": period.start, "endDateTime": period.end}
        )
        return {"id": room, "period": shown}

    async def _window(self, request: web.Request) -> tuple[str, str, str]:
        body = await request.json()
        start, end = str(body["startDateTime"]), str(body["endDateTime"])
        if datetime.fromisoformat(end) <= datetime.fromisoformat(start):
            raise ValueError(end)
        return str(body["reference"]), start, end

    async def _check_in(self, request: web.Request) -> object:
        room, window = self._named(request), await self._window(request)
        self._kill(room)
        self.periods[room] = Period(*window)
        self.check_ins += 1
        return {}

    async def _check_out(self, request: web.Request) -> object:
        room = self._named(request)
        self._kill(room)
        self.periods[room] = None
        return {}

    def _kill(self, room: str) -> None:
        self.keys = {name: each for name, each in self.keys.items() if each.room != room}

    async def _list(self, request: web.Request) -> object:
        wanted = request.query.get("reference")
        return {"keys": [each.document() for each in self.keys.values() if wanted in (None, each.reference)]}

    async def _make(self, request: web.Request) -> object:
        room, (reference, start, end) = self._named(request), await self._window(request)
        period = self.periods[room]
        if period is None or start < period.start or end > period.end:
            raise AnswerError(409, "outsidePeriod")
        key = WalletKey(self._dice.bytes(8).hex(), room, reference, start, end)
        self.keys[key.key_id] = key
        return key.document()

    async def _drop(self, request: web.Request) -> object:
        if self.keys.pop(request.match_info["id"], None) is None:
            raise AnswerError(404, "keyNotFound")
        return {}

    async def _provision(self, request: web.Request) -> object:
        if request.match_info["id"] not in self.keys:
            raise AnswerError(404, "keyNotFound")
        return {"token": self._dice.bytes(12).hex(), "expiresIn": 600}


def _stamp(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
