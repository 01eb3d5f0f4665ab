"""A Visionline server on the real wire, its encoders, and off-line locks that learn from cards alone.

Two truths are kept apart, as in a hotel: what the server has on record, and what each lock has seen.
"""

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from aiohttp import web

from firmware_bridges.lock_systems.misbehaviour import TAME, Knobs, Misbehaving
from kit.clock import Clock
from kit.dice import Dice

API: Final = "/api/v1"
SESSION_MS: Final = 15 * 60_000
DATE_SKEW_MS: Final = 15 * 60_000
ROOMS_MOST: Final = 33
STAMP: Final = "%Y%m%dT%H%M"


@dataclass(slots=True)
class Card:
    """A card or mobile key; what is on it at its last writing."""

    card_id: str
    holder: str
    doors: tuple[str, ...]
    start: str
    expire: str
    guests: dict[str, int]
    """Door > the number of the guest as whom it opens there: one of its own where it overrides."""
    mobile: bool
    cancelled: bool = False

    def document(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "id": self.card_id,
            "cardHolder": self.holder,
            "doorOperations": [{"doors": list(self.doors), "operation": "guest"}],
            "startTime": self.start,
            "expireTime": self.expire,
            "cancelled": self.cancelled,
            "mobile": self.mobile,
        }


@dataclass(slots=True)
class Lock:
    """A lock at its door. `guest`: the serial of the guest it knows; `online`: it hears the server."""

    online: bool
    guest: int = 0
    opened: int = 0


class AnswerError(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class VisionlineEmulator:
    """The server."""

    def __init__(
        self,
        *,
        doors: list[str],
        online: list[str],
        encoders: list[str],
        username: str,
        password: str,
        zone: str,
        clock: Clock,
        dice: Dice,
        knobs: Knobs = TAME,
    ) -> None:
        self._clock, self._dice, self._zone = clock, dice, ZoneInfo(zone)
        self._username, self._password = username, password
        self.misbehaving = Misbehaving(dice, knobs)
        self.cards: dict[str, Card] = {}
        self.locks = {each: Lock(online=each in online) for each in doors}
        self.encoders = dict.fromkeys(encoders, True)
        """Encoder > a card lies on it."""
        self.sessions: dict[str, tuple[str, int]] = {}
        self.written = 0
        """How many plastic cards were written."""
        self.log: list[dict[str, Any]] = []
        self._serial = 0

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(middlewares=[self.misbehaving.middleware()])
        app.router.add_post(f"{API}/sessions", self._answering(self._sign_in, signed=False))
        app.router.add_get(f"{API}/cards", self._answering(self._list))
        app.router.add_post(f"{API}/cards", self._answering(self._make))
        app.router.add_put(f"{API}/cards/{{id}}", self._answering(self._change))
        app.router.add_delete(f"{API}/cards/{{id}}", self._answering(self._cancel))
        app.router.add_get(f"{API}/doors", self._answering(self._doors))
        app.router.add_post(f"{API}/doors/{{id}}/open", self._answering(self._open))
        app.router.add_get(f"{API}/events", self._answering(self._events))
        return app

    # -- at the door ------------------------------------------------------------------------------------------------

    def present(self, card_id: str, door: str) -> bool:
        """Show a card to a lock: whether it opens. This is how an off-line lock learns of a newer guest."""
        card, lock = self.cards[card_id], self.locks[door]
        now = self._stamp(self._clock.wall_ms())
        ok = door in card.doors and card.start <= now < card.expire and card.guests[door] >= lock.guest
        if lock.online and card.cancelled:
            ok = False
        if ok:
            lock.guest = card.guests[door]
        if lock.online:
            self._happened("opened" if ok else "refused", door, card.holder)
        return ok

    def _happened(self, kind: str, door: str, holder: str) -> None:
        at_ms = self._clock.wall_ms() + self.misbehaving.knobs.clock_skew_ms
        at = datetime.fromtimestamp(at_ms / 1_000, tz=UTC).isoformat()
        self.log.append({"number": len(self.log) + 1, "type": kind, "door": door, "cardHolder": holder, "time": at})

    def _stamp(self, at_ms: int) -> str:
        return datetime.fromtimestamp(at_ms / 1_000, tz=self._zone).strftime(STAMP)

    # -- the wire ---------------------------------------------------------------------------------------------------

    def _answering(
        self, do: Callable[[web.Request], Awaitable[Any]], *, signed: bool = True
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            try:
                if signed:
                    await self._check(request)
                return web.json_response(await do(request))
            except AnswerError as error:
                return web.json_response({"code": error.code, "message": "refused"}, status=error.status)
            except (ValueError, KeyError, TypeError):
                return web.json_response({"code": "badRequest", "message": "Bad request"}, status=400)

        return answer

    async def _sign_in(self, request: web.Request) -> object:
        body = await request.json()
        if (body["username"], body["password"]) != (self._username, self._password):
            raise AnswerError(401, "badCredentials")
        session, key = self._dice.bytes(8).hex(), base64.b64encode(self._dice.bytes(24)).decode()
        self.sessions[session] = (key, self._clock.now_ms() + SESSION_MS)
        return {"id": session, "accessKey": key}

    async def _check(self, request: web.Request) -> None:
        if self.misbehaving.chance(self.misbehaving.knobs.token_dies):
            self.sessions.clear()
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        session, _, given = rest.partition(":")
        key, until_ms = self.sessions.get(session, ("", 0))
        if scheme != "AWS" or self._clock.now_ms() >= until_ms:
            raise AnswerError(401, "noSession")
        body = await request.read()
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode() if body else ""
        date, kind = request.headers["Date"], request.headers.get("Content-Type", "") if body else ""
        if request.headers.get("Content-MD5", "") != digest:
            raise AnswerError(400, "badDigest")
        if abs(parsedate_to_datetime(date).timestamp() * 1_000 - self._clock.wall_ms()) > DATE_SKEW_MS:
            raise AnswerError(401, "badDate")
        string = f"{request.method}\n{digest}\n{kind}\n{date}\n{request.raw_path}"
        right = base64.b64encode(hmac.new(key.encode(), string.encode(), hashlib.sha1).digest()).decode()
        if not hmac.compare_digest(right, given):
            raise AnswerError(401, "badSignature")

    async def _list(self, request: web.Request) -> object:
        holder = request.query.get("cardHolder")
        return {"cards": [each.document() for each in self.cards.values() if holder in (None, each.holder)]}

    def _read(self, body: dict[str, Any]) -> tuple[tuple[str, ...], str, str]:
        [operation] = body["doorOperations"]
        doors = tuple(sorted(str(each) for each in operation["doors"]))
        start, expire = str(body["startTime"]), str(body["expireTime"])
        if operation["operation"] != "guest" or not doors or len(doors) > ROOMS_MOST or expire <= start:
            raise ValueError(doors)
        datetime.strptime(start, STAMP)  # noqa: DTZ007 - only its form is looked at
        datetime.strptime(expire, STAMP)  # noqa: DTZ007 - only its form is looked at
        if any(each not in self.locks for each in doors):
            raise AnswerError(404, "doorNotFound")
        return doors, start, expire

    def _write(self, encoder: str) -> None:
        """Lay what is wanted on the card at an encoder."""
        if encoder not in self.encoders:
            raise AnswerError(404, "encoderNotFound")
        if self.misbehaving.chance(self.misbehaving.knobs.busy):
            raise AnswerError(409, "encoderBusy")
        if not self.encoders[encoder]:
            raise AnswerError(409, "noCard")
        self.written += 1

    async def _make(self, request: web.Request) -> object:
        body, query = await request.json(), request.query
        doors, start, expire = self._read(body)
        guests = self._guests(doors, query)
        mobile = query.get("action") == "mobileAccess"
        if not mobile:
            self._write(query["encoder"])
        card = Card(self._dice.bytes(8).hex(), str(body["cardHolder"]), doors, start, expire, guests, mobile)
        self.cards[card.card_id] = card
        return card.document()

    def _guests(self, doors: tuple[str, ...], query: Mapping[str, str]) -> dict[str, int]:
        """Return as whom a card opens each door: as a new guest, or as the one who is there."""
        now = self._stamp(self._clock.wall_ms())
        override, joiner = query.get("override") == "true", query.get("joiner") == "true"
        there = {
            door: [
                each.guests[door]
                for each in self.cards.values()
                if door in each.doors and not each.cancelled and each.expire > now
            ]
            for door in doors
        }
        if not (override or joiner) and any(there.values()):
            raise AnswerError(409, "overrideOrJoinerNeeded")
        self._serial += 1
        return {door: max(there[door]) if joiner and there[door] else self._serial for door in doors}

    def _known(self, request: web.Request) -> Card:
        card = self.cards.get(request.match_info["id"])
        if card is None or card.cancelled:
            raise AnswerError(404, "cardNotFound")
        return card

    async def _change(self, request: web.Request) -> object:
        card, body = self._known(request), await request.json()
        doors, start, expire = self._read(body)
        guests = self._guests(doors, request.query)
        if not card.mobile:
            self._write(request.query["encoder"])
        card.doors, card.start, card.expire, card.guests = doors, start, expire, guests
        return card.document()

    async def _cancel(self, request: web.Request) -> object:
        card = self._known(request)
        card.cancelled = True
        return {}

    async def _doors(self, _request: web.Request) -> object:
        return {
            "doors": [
                {"id": name, "online": lock.online, "battery": 71 if lock.online else None}
                for name, lock in self.locks.items()
            ]
        }

    async def _open(self, request: web.Request) -> object:
        name = request.match_info["id"]
        lock = self.locks.get(name)
        if lock is None:
            raise AnswerError(404, "doorNotFound")
        if not lock.online:
            raise AnswerError(409, "doorOffline")
        lock.opened += 1
        self._happened("opened", name, "")
        return {"status": "opened"}

    async def _events(self, request: web.Request) -> object:
        page = self.log[int(request.query.get("after", 0)) :][:10]
        if page and self.misbehaving.chance(self.misbehaving.knobs.event_twice):
            page = [*page, page[0]]
        if self.misbehaving.chance(self.misbehaving.knobs.event_order):
            page = page[::-1]
        return {"events": page}
