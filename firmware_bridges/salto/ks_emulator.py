"""SALTO KS on the real wire: tokens that rotate, access groups in parts, and an account that blocks after bad codes."""

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from firmware_bridges.lock_systems.misbehaviour import TAME, Knobs, Misbehaving
from kit.clock import Clock
from kit.dice import Dice

TOKEN_MS: Final = 3_600_000
BAD_CODES_MOST: Final = 3
STEP_S: Final = 30
PAGE: Final = 20


@dataclass(slots=True)
class User:
    """A user of the site."""

    user_id: str
    alias: str
    pin: str | None = None


@dataclass(slots=True)
class Group:
    """An access group: users, locks, and the time in which they meet."""

    group_id: str
    reference: str
    users: list[str] = field(default_factory=list)
    locks: list[str] = field(default_factory=list)
    begins: str | None = None
    ends: str | None = None

    def document(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "id": self.group_id,
            "customer_reference": self.reference,
            "user_ids": self.users,
            "lock_ids": self.locks,
            "time_schedule": None if self.begins is None else {"start_date": self.begins, "end_date": self.ends},
        }


class AnswerError(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class SaltoKsEmulator:
    """Identity server and Connect API of one site."""

    def __init__(
        self,
        *,
        site: str,
        locks: list[str],
        client: str,
        client_secret: str,
        refresh_token: str,
        otp_seed: bytes,
        clock: Clock,
        dice: Dice,
        knobs: Knobs = TAME,
        rotates: bool = True,
    ) -> None:
        self._site, self._client, self._client_secret = site, client, client_secret
        self._seed, self._clock, self._dice, self._rotates = otp_seed, clock, dice, rotates
        self.misbehaving = Misbehaving(dice, knobs)
        self.refresh_tokens: dict[str, str | None] = {refresh_token: None}
        """Each that is good > the one that it was given for."""
        self.tokens: dict[str, int] = {}
        self.users: dict[str, User] = {}
        self.groups: dict[str, Group] = {}
        self.opened = dict.fromkeys(locks, 0)
        self.bad_codes = 0
        self.entries: list[dict[str, Any]] = []
        self._used_step = -1

    @property
    def blocked(self) -> bool:
        """Whether the account is blocked for bad codes."""
        return self.bad_codes >= BAD_CODES_MOST

    def app(self) -> web.Application:
        """Return the application to serve: identity server and API behind one address."""
        app = web.Application(middlewares=[self.misbehaving.middleware()])
        site = f"/v1.2/sites/{self._site}"
        app.router.add_post("/connect/token", self._answering(self._token, open_=True))
        app.router.add_get(f"{site}/users", self._answering(self._list_users))
        app.router.add_post(f"{site}/users", self._answering(self._make_user))
        app.router.add_delete(f"{site}/users/{{id}}", self._answering(self._drop_user))
        app.router.add_post(f"{site}/users/{{id}}/pin", self._answering(self._make_pin))
        app.router.add_get(f"{site}/users/{{id}}/pin", self._answering(self._read_pin))
        app.router.add_get(f"{site}/access_groups", self._answering(self._list_groups))
        app.router.add_post(f"{site}/access_groups", self._answering(self._make_group))
        app.router.add_delete(f"{site}/access_groups/{{id}}", self._answering(self._drop_group))
        app.router.add_put(f"{site}/access_groups/{{id}}/{{part}}", self._answering(self._put_part))
        app.router.add_get(f"{site}/locks", self._answering(self._list_locks))
        app.router.add_get(f"{site}/entries", self._answering(self._list_entries))
        app.router.add_patch(f"/v1.1/sites/{self._site}/locks/{{id}}/locking", self._answering(self._open))
        return app

    def opens(self, lock: str, pin: str) -> bool:
        """Type a PIN at a lock (an on-line one: it hears of changes at once)."""
        now = _stamp(self._clock.wall_ms())
        user = next((each for each in self.users.values() if each.pin == pin), None)
        ok = user is not None and any(
            user.user_id in each.users
            and lock in each.locks
            and each.begins is not None
            and each.ends is not None
            and each.begins <= now < each.ends
            for each in self.groups.values()
        )
        self._entry("opened" if ok else "refused", lock, "" if user is None else user.alias)
        return ok

    def _entry(self, kind: str, lock: str, alias: str) -> None:
        at_ms = self._clock.wall_ms() + self.misbehaving.knobs.clock_skew_ms
        self.entries.append(
            {"id": self._dice.bytes(8).hex(), "type": kind, "lock_id": lock, "user_alias": alias, "at": _stamp(at_ms)}
        )

    def _answering(
        self, do: Callable[[web.Request], Awaitable[Any]], *, open_: bool = False
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            try:
                if not open_:
                    self._check(request)
                return web.json_response(await do(request))
            except AnswerError as error:
                return web.json_response({"error": error.code}, status=error.status)
            except (ValueError, KeyError, TypeError):
                return web.json_response({"error": "bad_request"}, status=400)

        return answer

    def _check(self, request: web.Request) -> None:
        if self.misbehaving.chance(self.misbehaving.knobs.token_dies):
            self.tokens.clear()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._clock.now_ms() >= self.tokens.get(token, 0):
            raise AnswerError(401, "invalid_token")

    async def _token(self, request: web.Request) -> object:
        form = await request.post()
        if (form.get("client_id"), form.get("client_secret")) != (self._client, self._client_secret):
            raise AnswerError(400, "invalid_client")
        given = str(form.get("refresh_token"))
        if form.get("grant_type") != "refresh_token" or given not in self.refresh_tokens:
            raise AnswerError(400, "invalid_grant")
        token = self._dice.bytes(16).hex()
        self.tokens[token] = self._clock.now_ms() + TOKEN_MS
        answer = {"access_token": token, "expires_in": TOKEN_MS // 1_000, "token_type": "Bearer"}
        if self._rotates:
            # the one before is good until a new one is used: an answer that is lost must not lock the client out
            mine = {each: parent for each, parent in self.refresh_tokens.items() if given in (each, parent)}
            self.refresh_tokens = {**mine, (fresh := self._dice.bytes(16).hex()): given}
            answer["refresh_token"] = fresh
        return answer

    async def _list_users(self, request: web.Request) -> object:
        wanted = request.query.get("alias")
        found = [each for each in self.users.values() if wanted in (None, each.alias)]
        items = [{"id": each.user_id, "alias": each.alias, "has_pin": each.pin is not None} for each in found]
        return {"items": items}

    async def _make_user(self, request: web.Request) -> object:
        user = User(self._dice.bytes(8).hex(), str((await request.json())["alias"]))
        self.users[user.user_id] = user
        return {"id": user.user_id, "alias": user.alias, "has_pin": False}

    def _user(self, request: web.Request) -> User:
        if (user := self.users.get(request.match_info["id"])) is None:
            raise AnswerError(404, "not_found")
        return user

    async def _drop_user(self, request: web.Request) -> object:
        user = self._user(request)
        del self.users[user.user_id]
        for group in self.groups.values():
            group.users = [each for each in group.users if each != user.user_id]
        return {}

    async def _make_pin(self, request: web.Request) -> object:
        user = self._user(request)
        user.pin = f"{self._dice.integer(0, 999_999):06d}"
        return {"pin": user.pin}

    async def _read_pin(self, request: web.Request) -> object:
        if (pin := self._user(request).pin) is None:
            raise AnswerError(404, "not_found")
        return {"pin": pin}

    async def _list_groups(self, request: web.Request) -> object:
        wanted = request.query.get("customer_reference")
        return {"items": [each.document() for each in self.groups.values() if wanted in (None, each.reference)]}

    async def _make_group(self, request: web.Request) -> object:
        group = Group(self._dice.bytes(8).hex(), str((await request.json())["customer_reference"]))
        self.groups[group.group_id] = group
        return group.document()

    def _group(self, request: web.Request) -> Group:
        if (group := self.groups.get(request.match_info["id"])) is None:
            raise AnswerError(404, "not_found")
        return group

    async def _drop_group(self, request: web.Request) -> object:
        del self.groups[self._group(request).group_id]
        return {}

    async def _put_part(self, request: web.Request) -> object:
        group, body = self._group(request), await request.json()
        match request.match_info["part"]:
            case "locks":
                locks = [str(each) for each in body["ids"]]
                if any(each not in self.opened for each in locks):
                    raise AnswerError(404, "lock_not_found")
                group.locks = locks
            case "users":
                users = [str(each) for each in body["ids"]]
                if any(each not in self.users for each in users):
                    raise AnswerError(404, "user_not_found")
                group.users = users
            case "time_schedule":
                begins, ends = str(body["start_date"]), str(body["end_date"])
                if datetime.fromisoformat(ends) <= datetime.fromisoformat(begins):
                    raise ValueError(ends)
                group.begins, group.ends = begins, ends
            case _:
                raise AnswerError(404, "not_found")
        return group.document()

    async def _list_locks(self, _request: web.Request) -> object:
        items = [{"id": each, "online": True, "battery_level": 64, "locked_state": "locked"} for each in self.opened]
        return {"items": items}

    async def _list_entries(self, request: web.Request) -> object:
        since, number = request.query.get("from", ""), int(request.query.get("page", 1))
        found = [each for each in self.entries if each["at"] >= since]
        page = found[(number - 1) * PAGE : number * PAGE]
        if page and self.misbehaving.chance(self.misbehaving.knobs.event_twice):
            page = [*page, page[0]]
        if self.misbehaving.chance(self.misbehaving.knobs.event_order):
            page = page[::-1]
        return {"items": page, "total_count": len(found)}

    async def _open(self, request: web.Request) -> object:
        lock, body = request.match_info["id"], await request.json()
        if lock not in self.opened:
            raise AnswerError(404, "lock_not_found")
        if self.blocked:
            raise AnswerError(403, "account_blocked")
        step = self._clock.wall_ms() // 1_000 // STEP_S
        if body["locked_state"] != "unlocked" or body["otp"] != totp(self._seed, step) or step <= self._used_step:
            self.bad_codes += 1
            raise AnswerError(403, "invalid_otp")
        self.bad_codes, self._used_step = 0, step
        self.opened[lock] += 1
        self._entry("opened", lock, "")
        return {"locked_state": "unlocked"}


def totp(seed: bytes, step: int) -> str:
    """Return the six digits of RFC 6238 for a step of 30 s."""
    mac = hmac.new(seed, step.to_bytes(8, "big"), hashlib.sha1).digest()
    at = mac[-1] & 15
    return f"{(int.from_bytes(mac[at : at + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06d}"


def seed_text(seed: bytes) -> str:
    """Return a seed as people are given it, in base 32."""
    return base64.b32encode(seed).decode()


def _stamp(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
