"""The adapter to SALTO Space's Hospitality API: wallet keys, one a room, all under our grant id as their reference.

Facts of the wire and how far they are known: firmware_bridges/salto/SPEC.md. A check-in kills every earlier key of its
room, so the room is looked at first: where the period is ours already, there is no second check-in. An extension
beyond the period takes one, and ends joiners' keys with it: the API has no other way; their desk asks for them anew.
"""

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from edge.doors.vendors.http import Answer, VendorHttp, json_body, refused
from edge.doors.vendors.port import (
    NO_REMOTE_OPENING,
    Abilities,
    DoorHealth,
    DoorOpened,
    EventPage,
    KeyEnded,
    KeyMade,
    Truth,
    VendorRefusedError,
    WantedKey,
)
from kit.clock import Clock
from protocols.errors import InvalidInputError, PeerProtocolError

_GONE: Final = frozenset({"keyNotFound", "roomNotFound"})


class _Period(msgspec.Struct, frozen=True, rename="camel"):
    reference: str
    start_date_time: str
    end_date_time: str


class _Room(msgspec.Struct, frozen=True):
    period: _Period | None = None


class _Key(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    room: str
    reference: str
    start_date_time: str
    end_date_time: str


class _Keys(msgspec.Struct, frozen=True):
    keys: list[_Key]


class _Token(msgspec.Struct, frozen=True):
    token: str


class _Listed(msgspec.Struct, frozen=True):
    id: str


class _Rooms(msgspec.Struct, frozen=True):
    rooms: list[_Listed]


class _Error(msgspec.Struct, frozen=True):
    code: str = ""


class SaltoSpace:
    """One Space server. Fits port.LockSystem."""

    kind = "salto_space"
    abilities = Abilities(
        media=("mobile",), issue=Truth.ACCEPTED, revoke=Truth.ACCEPTED, opens=None, changes=False, events=False
    )

    def __init__(
        self,
        url: str,
        *,
        token: str,
        clock: Clock,
        answer_wait_s: float,
        verify: ssl.SSLContext | aiohttp.Fingerprint | bool = True,
    ) -> None:
        self._http = VendorHttp(url, clock=clock, name="SALTO Space", answer_wait_s=answer_wait_s, verify=verify)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    async def close(self) -> None:
        """See the port."""
        await self._http.close()

    async def issue(self, wanted: WantedKey) -> KeyMade:
        """See the port. `code` holds one provision token a room, in the order of the doors, with spaces between."""
        if wanted.medium != "mobile":
            raise InvalidInputError("medium", f"{wanted.medium!r}: Space's Hospitality API has wallet keys alone")
        window = {"startDateTime": _stamp(wanted.not_before_ms), "endDateTime": _stamp(wanted.not_after_ms)}
        known = await self._of(wanted.grant)
        for key in known:
            if key.room not in wanted.doors:
                await self._leave(key, wanted.grant)
        keys: list[str] = []
        found = True
        for door in wanted.doors:
            there = [each for each in known if each.room == door]
            same = [each for each in there if (each.start_date_time, each.end_date_time) == tuple(window.values())]
            if not same:
                found = False
                await self._ready(door, wanted, window)
                body = json_body({"reference": wanted.grant, **window})
                answer = await self._ask("POST", f"/rooms/{quote(door, safe='')}/keys", body)
                same = [answer.read(_Key, "SALTO Space key")]
            for other in there:
                if other.id != same[0].id:
                    await self._drop(other.id)
            keys.append(same[0].id)
        tokens = [
            (await self._ask("POST", f"/keys/{quote(each, safe='')}/provision-token")).read(_Token, "SALTO Space token")
            for each in keys
        ]
        code = " ".join(each.token for each in tokens)
        return KeyMade(wanted.grant, ",".join(keys), Truth.ACCEPTED, found=found, code=code)

    async def revoke(self, grant: str) -> KeyEnded:
        """See the port. Where the room's period is this grant's, the room is checked out: its joiners go with it."""
        known = await self._of(grant)
        for key in known:
            await self._leave(key, grant)
        return KeyEnded(grant, Truth.ACCEPTED, found=bool(known))

    async def open_door(self, door: str, *, actor: str) -> DoorOpened:  # noqa: ARG002 - there is none
        """See the port: not in this API."""
        raise VendorRefusedError(f"SALTO Space: door {door!r} cannot be opened by this API", NO_REMOTE_OPENING)

    async def events(self, cursor: str) -> EventPage:
        """See the port: not in this API."""
        return EventPage((), cursor)

    async def health(self) -> Mapping[str, DoorHealth]:
        """See the port: it names the rooms, and says nothing of their locks."""
        rooms = (await self._ask("GET", "/rooms")).read(_Rooms, "SALTO Space rooms").rooms
        return {each.id: DoorHealth(each.id) for each in rooms}

    async def _ready(self, door: str, wanted: WantedKey, window: Mapping[str, str]) -> None:
        """See that the room's period lets this key be: checked in once, and not again."""
        path = f"/rooms/{quote(door, safe='')}"
        period = (await self._ask("GET", path)).read(_Room, "SALTO Space room").period
        covers = (
            period is not None
            and period.start_date_time <= window["startDateTime"]
            and period.end_date_time >= window["endDateTime"]
        )
        if covers and period is not None and (wanted.join or period.reference == wanted.grant):
            return
        await self._ask("POST", f"{path}/check-in", json_body({"reference": wanted.grant, **window}))

    async def _leave(self, key: _Key, grant: str) -> None:
        """Take a key away; and its room's period, where that is the grant's own and nobody else has a key there."""
        await self._drop(key.id)
        path = f"/rooms/{quote(key.room, safe='')}"
        period = (await self._ask("GET", path)).read(_Room, "SALTO Space room").period
        if period is not None and period.reference == grant:
            others = (await self._ask("GET", "/keys")).read(_Keys, "SALTO Space keys").keys
            if not any(each.room == key.room and each.reference != grant for each in others):
                await self._ask("POST", f"{path}/check-out", json_body({}))

    async def _of(self, grant: str) -> list[_Key]:
        answer = await self._ask("GET", f"/keys?{urlencode({'reference': grant})}")
        keys = answer.read(_Keys, "SALTO Space keys").keys
        return sorted((each for each in keys if each.reference == grant), key=lambda each: each.id)

    async def _drop(self, key: str) -> None:
        try:
            await self._ask("DELETE", f"/keys/{quote(key, safe='')}")
        except VendorRefusedError as error:
            if error.code not in _GONE:
                raise

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        what = f"SALTO Space {method} {path.partition('?')[0]}"
        answer = await self._http.ask(method, path, body=body, headers=self._headers)
        if 200 <= answer.status < 300:
            return answer
        if not 400 <= answer.status < 500:
            raise PeerProtocolError(f"{what}: status {answer.status}")
        try:
            code = msgspec.json.decode(answer.content, type=_Error).code
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            code = ""
        raise refused(what, answer, code)


def _stamp(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1_000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
