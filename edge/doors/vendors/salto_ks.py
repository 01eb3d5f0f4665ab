"""The adapter to SALTO KS: an access group and a user for each grant, and a second factor for opening.

Facts of the wire and how far they are known: firmware_bridges/salto/SPEC.md. A key is an access group whose
reference, and a user whose alias, is our grant id; it is told as made only once all its parts are there.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from edge.doors.vendors.http import Answer, VendorHttp, json_body, refused
from edge.doors.vendors.port import (
    Abilities,
    DoorHealth,
    DoorOpened,
    EventKind,
    EventPage,
    KeyEnded,
    KeyMade,
    Truth,
    VendorBusyError,
    VendorEvent,
    VendorRefusedError,
    WantedKey,
)
from kit.clock import Clock, ClockQuality
from protocols.errors import InvalidInputError, PeerProtocolError

STEP_S: Final = 30
TOKEN_EARLY_MS: Final = 60_000
TOKEN_LIFE_MOST_S: Final = 86_400
OVERLAP_MS: Final = 120_000
FIRST_LOOK_MS: Final = 3_600_000
PAGE_ITEMS: Final = 20
PAGES_MOST: Final = 100
SEED_BYTES_LEAST: Final = 10
T = TypeVar("T")
_KINDS: Final[dict[str, EventKind]] = {"opened": "opened", "refused": "refused"}


class _Token(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: int
    refresh_token: str | None = None


class _User(msgspec.Struct, frozen=True):
    id: str
    alias: str
    has_pin: bool = False


class _Schedule(msgspec.Struct, frozen=True):
    start_date: str
    end_date: str


class _Group(msgspec.Struct, frozen=True):
    id: str
    customer_reference: str
    user_ids: list[str] = []
    lock_ids: list[str] = []
    time_schedule: _Schedule | None = None


class _Users(msgspec.Struct, frozen=True):
    items: list[_User]


class _Groups(msgspec.Struct, frozen=True):
    items: list[_Group]


class _Pin(msgspec.Struct, frozen=True):
    pin: str


class _Lock(msgspec.Struct, frozen=True):
    id: str
    online: bool | None = None
    battery_level: int | None = None
    locked_state: str | None = None


class _Locks(msgspec.Struct, frozen=True):
    items: list[_Lock]


class _Entry(msgspec.Struct, frozen=True):
    id: str
    type: str
    at: datetime
    lock_id: str | None = None
    user_alias: str = ""


class _Entries(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw]
    total_count: int = 0


class _Error(msgspec.Struct, frozen=True):
    error: str = ""


class SaltoKs:
    """One SALTO KS site. Fits port.LockSystem.

    Args:
        url: Of the API; `identity_url` of the identity server.
        site: The site's id.
        client_id: Ours there, with `client_secret`.
        refresh_token: The last one known; `keep_refresh_token` is called, and returns once it is durable, with each
            newer one before it is used.
        otp_seed: The account's second factor in base 32; None: no opening from afar.
    """

    kind = "salto_ks"

    def __init__(
        self,
        url: str,
        *,
        identity_url: str,
        site: str,
        client_id: str,
        client_secret: str,
        refresh_token: str,
        keep_refresh_token: Callable[[str], None],
        otp_seed: str | None,
        clock: Clock,
        answer_wait_s: float,
        verify: ssl.SSLContext | aiohttp.Fingerprint | bool = True,
    ) -> None:
        self._clock, self._site = clock, quote(site, safe="")
        self._api = VendorHttp(url, clock=clock, name="SALTO KS", answer_wait_s=answer_wait_s, verify=verify)
        self._identity = VendorHttp(
            identity_url, clock=clock, name="SALTO identity", answer_wait_s=answer_wait_s, verify=verify
        )
        self._client = {"client_id": client_id, "client_secret": client_secret}
        self._refresh_token, self._keep = refresh_token, keep_refresh_token
        self._seed = None if otp_seed is None else _seed(otp_seed)
        self._token: tuple[str, int] | None = None
        self._signing_in = asyncio.Lock()
        self._used_step = -1
        self._code_refused = False
        self.abilities = Abilities(
            media=("pin",),
            issue=Truth.ACCEPTED,
            revoke=Truth.ACCEPTED,
            opens=None if self._seed is None else Truth.ACCEPTED,
        )

    async def close(self) -> None:
        """See the port."""
        await self._api.close()
        await self._identity.close()

    async def issue(self, wanted: WantedKey) -> KeyMade:
        """See the port. The PIN is SALTO's; ours is not asked for."""
        if wanted.medium != "pin":
            raise InvalidInputError("medium", f"{wanted.medium!r}: SALTO KS keys are made as PINs here")
        users = await self._users(wanted.grant)
        for double in users[1:]:
            await self._drop(f"/users/{quote(double.id, safe='')}")
        user = users[0] if users else await self._post("/users", {"alias": wanted.grant}, _User)
        groups = await self._groups(wanted.grant)
        for extra in groups[1:]:
            await self._drop(f"/access_groups/{quote(extra.id, safe='')}")
        found = bool(groups)
        group = (
            groups[0] if groups else await self._post("/access_groups", {"customer_reference": wanted.grant}, _Group)
        )
        base = f"/access_groups/{quote(group.id, safe='')}"
        schedule = _Schedule(_stamp(wanted.not_before_ms), _stamp(wanted.not_after_ms))
        if sorted(group.lock_ids) != list(wanted.doors):
            await self._site_ask("PUT", f"{base}/locks", {"ids": list(wanted.doors)})
        if group.time_schedule != schedule:
            await self._site_ask("PUT", f"{base}/time_schedule", msgspec.structs.asdict(schedule))
        if group.user_ids != [user.id]:
            await self._site_ask("PUT", f"{base}/users", {"ids": [user.id]})
        pins = f"/users/{quote(user.id, safe='')}/pin"
        answer = await self._site_ask("GET" if user.has_pin else "POST", pins)
        pin = answer.read(_Pin, "SALTO KS pin").pin
        return KeyMade(wanted.grant, group.id, Truth.ACCEPTED, found=found, code=pin)

    async def revoke(self, grant: str) -> KeyEnded:
        """See the port. The group first: the right ends with it."""
        groups, users = await self._groups(grant), await self._users(grant)
        for group in groups:
            await self._drop(f"/access_groups/{quote(group.id, safe='')}")
        for user in users:
            await self._drop(f"/users/{quote(user.id, safe='')}")
        return KeyEnded(grant, Truth.ACCEPTED, found=bool(groups or users))

    async def open_door(self, door: str, *, actor: str) -> DoorOpened:  # noqa: ARG002 - the account is the actor
        """See the port. A code is sent once; after one bad code no other is tried: three would block the account."""
        if self._seed is None:
            raise VendorRefusedError("SALTO KS: no second factor is configured", "no-remote-opening")
        if self._code_refused:
            raise VendorRefusedError("SALTO KS: the last code was refused; see the clock and the seed", "invalid_otp")
        if self._clock.quality is ClockQuality.UNCERTAIN:
            raise VendorRefusedError("SALTO KS: the clock is not sound enough for a code that holds 30 s", "clock")
        await self._signed_in()  # before the code is made: it must not grow old, nor be sent twice
        step = self._clock.wall_ms() // 1_000 // STEP_S
        if step <= self._used_step:
            wait_ms = (self._used_step + 1) * STEP_S * 1_000 - self._clock.wall_ms()
            raise VendorBusyError("SALTO KS: a code is good once; the next comes within 30 s", max(wait_ms, 0))
        self._used_step = step
        body = json_body({"locked_state": "unlocked", "otp": _totp(self._seed, step)})
        path = f"/v1.1/sites/{self._site}/locks/{quote(door, safe='')}/locking"
        try:
            await self._ask("PATCH", path, body, once=True)
        except VendorRefusedError as error:
            self._code_refused = error.code in {"invalid_otp", "account_blocked"}
            raise
        return DoorOpened(door, Truth.ACCEPTED)

    async def events(self, cursor: str) -> EventPage:
        """See the port. The cursor is SALTO's own time."""
        latest_ms = (
            int(cursor)
            if cursor.isascii() and cursor.isdecimal() and len(cursor) < 15
            else (self._clock.wall_ms() - FIRST_LOOK_MS)
        )
        since = _stamp(max(latest_ms - OVERLAP_MS, 0))
        found: dict[str, VendorEvent] = {}
        bad = 0
        for number in range(1, PAGES_MOST + 1):
            query = urlencode({"from": since, "page": str(number)})
            page = (await self._site_ask("GET", f"/entries?{query}")).read(_Entries, "SALTO KS entries")
            for raw in page.items:
                try:
                    said = msgspec.json.decode(raw, type=_Entry)
                    at_ms = round(said.at.timestamp() * 1_000)
                except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, OverflowError):
                    bad += 1
                    continue
                found.setdefault(said.id, _event(said, at_ms))
                latest_ms = max(latest_ms, at_ms)
            if not page.items or number * PAGE_ITEMS >= page.total_count:
                return EventPage(tuple(found.values()), str(latest_ms), refused=bad)
        raise PeerProtocolError(f"SALTO KS entries: do not end after {PAGES_MOST} pages")

    async def health(self) -> Mapping[str, DoorHealth]:
        """See the port."""
        locks = (await self._site_ask("GET", "/locks")).read(_Locks, "SALTO KS locks").items
        return {
            each.id: DoorHealth(
                each.id,
                online=each.online,
                battery_percent=each.battery_level,
                bolt="locked" if each.locked_state == "locked" else "unlocked" if each.locked_state else None,
            )
            for each in locks
        }

    # -- parts of a key ---------------------------------------------------------------------------------------------

    async def _users(self, grant: str) -> list[_User]:
        items = (
            (await self._site_ask("GET", f"/users?{urlencode({'alias': grant})}")).read(_Users, "SALTO KS users").items
        )
        return sorted((each for each in items if each.alias == grant), key=lambda each: each.id)

    async def _groups(self, grant: str) -> list[_Group]:
        query = urlencode({"customer_reference": grant})
        items = (await self._site_ask("GET", f"/access_groups?{query}")).read(_Groups, "SALTO KS groups").items
        return sorted((each for each in items if each.customer_reference == grant), key=lambda each: each.id)

    async def _post(self, path: str, body: Mapping[str, Any], kind: type[T]) -> T:
        return (await self._site_ask("POST", path, body)).read(kind, f"SALTO KS {path}")

    async def _drop(self, path: str) -> None:
        try:
            await self._site_ask("DELETE", path)
        except VendorRefusedError as error:
            if error.code != "not_found":
                raise

    # -- the wire ---------------------------------------------------------------------------------------------------

    async def _site_ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        return await self._ask(method, f"/v1.2/sites/{self._site}{path}", None if body is None else json_body(body))

    async def _ask(self, method: str, path: str, body: bytes | None, *, once: bool = False) -> Answer:
        """Ask with a token; once more with a new one where it was refused (nothing was done); `once`: not even then."""
        what = f"SALTO KS {method} {path.partition('?')[0]}"
        for again in (not once, False):
            headers = {"Authorization": f"Bearer {await self._signed_in()}", "Content-Type": "application/json"}
            answer = await self._api.ask(method, path, body=body, headers=headers)
            if answer.status == 401:
                self._token = None
                if again:
                    continue
            if 200 <= answer.status < 300:
                return answer
            raise _refusal(what, answer)
        raise PeerProtocolError(f"{what}: a fresh token was refused")

    async def _signed_in(self) -> str:
        async with self._signing_in:  # a refresh token is good once: two must not be sent
            if self._token is not None and self._clock.now_ms() < self._token[1]:
                return self._token[0]
            return await self._sign_in()

    async def _sign_in(self) -> str:
        form = {"grant_type": "refresh_token", "refresh_token": self._refresh_token, **self._client}
        answer = await self._identity.ask(
            "POST",
            "/connect/token",
            body=urlencode(form).encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        if answer.status != 200:
            raise _refusal("SALTO identity", answer)
        said = answer.read(_Token, "SALTO identity")
        if not said.access_token.isascii() or not said.access_token.isprintable() or not said.access_token:
            raise PeerProtocolError("SALTO identity: the token is no word")
        if said.refresh_token and said.refresh_token != self._refresh_token:
            self._keep(said.refresh_token)
            self._refresh_token = said.refresh_token
        life_ms = min(max(said.expires_in, 0), TOKEN_LIFE_MOST_S) * 1_000
        self._token = (said.access_token, self._clock.now_ms() + max(life_ms - TOKEN_EARLY_MS, 1))
        return said.access_token


def _refusal(what: str, answer: Answer) -> VendorRefusedError | PeerProtocolError:
    if not 400 <= answer.status < 500:
        return PeerProtocolError(f"{what}: status {answer.status}")
    try:
        code = msgspec.json.decode(answer.content, type=_Error).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        code = ""
    return refused(what, answer, code)


def _event(said: _Entry, at_ms: int) -> VendorEvent:
    kind = _KINDS.get(said.type, "other")
    return VendorEvent(said.id, kind, said.lock_id, said.user_alias[:40] or None, at_ms, said.type[:40])


def _stamp(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1_000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seed(text: str) -> bytes:
    """Read a second factor's seed. Raises InvalidInputError, which does not show it."""
    plain = text.replace(" ", "").upper()
    try:
        seed = base64.b32decode(plain + "=" * (-len(plain) % 8))
    except (binascii.Error, ValueError):
        seed = b""
    if len(seed) < SEED_BYTES_LEAST:
        raise InvalidInputError("otp_seed", "not a seed of at least 10 bytes in base 32")
    return seed


def _totp(seed: bytes, step: int) -> str:
    """Return the six digits of RFC 6238 (HMAC-SHA1, 30 s)."""
    mac = hmac.new(seed, step.to_bytes(8, "big"), hashlib.sha1).digest()
    at = mac[-1] & 15
    return f"{(int.from_bytes(mac[at : at + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06d}"
