"""The adapter to August and Yale Access: one PIN a lock, all of them with our grant id as their last name.

Facts of the wire and how far they are known: firmware_bridges/august/SPEC.md; why not through `yalexs`:
docs/decisions/0049-august-without-yalexs.md. A PIN that the cloud has is accepted; one that is loaded is in the lock.
"""

import hashlib
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import aiohttp
import msgspec

from edge.doors.vendors.http import BUSY_DEFAULT_MS, Answer, VendorHttp, json_body, refused
from edge.doors.vendors.port import (
    PIN_TAKEN,
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
from kit.clock import Clock
from protocols.errors import InvalidInputError, PeerProtocolError

ACCOUNT_HEADER: Final = "x-august-access-token"
TOKEN_CHARACTERS_MOST: Final = 4_000
FIRST_NAME: Final = "Innkeeper"
ACTIVITIES_MOST: Final = 100
ACCEPT_VERSION: Final = "4.0.0"
UNLOCKED: Final = frozenset({"kAugLockState_Unlocked", "unlocked"})
AT_MOST_MS: Final = 2**43
_KINDS: Final[dict[str, EventKind]] = {
    "unlock": "opened",
    "remoteunlock": "opened",
    "pin_unlock": "opened",
    "pin_unlock_failed": "refused",
    "dooropen": "door-open",
    "doorclosed": "door-closed",
}


class _Pin(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="_id")
    last_name: str = msgspec.field(name="lastName", default="")
    pin: str = ""
    start: str = msgspec.field(name="accessStartTime", default="")
    end: str = msgspec.field(name="accessEndTime", default="")


class _Pins(msgspec.Struct, frozen=True):
    loaded: list[_Pin] = []
    created: list[_Pin] = []


class _Operated(msgspec.Struct, frozen=True):
    status: str


class _User(msgspec.Struct, frozen=True):
    last_name: str = msgspec.field(name="LastName", default="")


class _Activity(msgspec.Struct, frozen=True):
    at: int = msgspec.field(name="dateTime")
    action: str
    lock: str | None = msgspec.field(name="deviceID", default=None)
    user: _User = msgspec.field(name="callingUser", default=_User())


class _State(msgspec.Struct, frozen=True):
    status: str | None = None


class _Reached(msgspec.Struct, frozen=True):
    current: str | None = None


class _Bridge(msgspec.Struct, frozen=True):
    status: _Reached = _Reached()


class _Lock(msgspec.Struct, frozen=True):
    battery: float | None = None
    state: _State = msgspec.field(name="LockStatus", default=_State())
    bridge: _Bridge | None = msgspec.field(name="Bridge", default=None)


class _Error(msgspec.Struct, frozen=True):
    code: str = ""


class August:
    """One August or Yale Access account's house. Fits port.LockSystem.

    Args:
        url: Of the brand's API.
        house: The house's id, for its activities.
        locks: The locks that are ours to use: keys are looked for on each of them.
        api_key: The brand's; `token` the account's: `keep_token` is called, and returns once it is durable, with each
            newer one that an answer carries.
    """

    kind = "august"
    abilities = Abilities(media=("pin",), issue=Truth.ACCEPTED, revoke=Truth.ACCEPTED, opens=Truth.CONFIRMED)

    def __init__(
        self,
        url: str,
        *,
        house: str,
        locks: tuple[str, ...],
        api_key: str,
        token: str,
        keep_token: Callable[[str], None],
        clock: Clock,
        answer_wait_s: float,
        verify: ssl.SSLContext | aiohttp.Fingerprint | bool = True,
    ) -> None:
        self._keep = keep_token
        self._house, self._locks = quote(house, safe=""), tuple(sorted(set(locks)))
        self._http = VendorHttp(url, clock=clock, name="August", answer_wait_s=answer_wait_s, verify=verify)
        self._headers = {
            "x-august-api-key": api_key,
            ACCOUNT_HEADER: token,
            "Accept-Version": ACCEPT_VERSION,
            "Content-Type": "application/json",
        }

    async def close(self) -> None:
        """See the port."""
        await self._http.close()

    async def issue(self, wanted: WantedKey) -> KeyMade:
        """See the port. Confirmed once every lock has the PIN loaded; until then the cloud has it."""
        if wanted.medium != "pin" or wanted.pin is None:
            raise InvalidInputError("medium", f"{wanted.medium!r}: August keys are PINs")
        if unknown := [each for each in wanted.doors if each not in self._locks]:
            raise InvalidInputError("doors", f"{unknown[0]!r} is not among this system's locks")
        window = {"accessStartTime": _stamp(wanted.not_before_ms), "accessEndTime": _stamp(wanted.not_after_ms)}
        found, loaded = False, True
        ids: list[str] = []
        for lock in self._locks:
            there, known_loaded = await self._of(lock, wanted.grant)
            kept = [each for each in there if lock in wanted.doors and each.pin == wanted.pin][:1]
            for other in there:
                if other not in kept:
                    await self._drop(lock, other.id)
            if lock not in wanted.doors:
                continue
            pins = f"/locks/{quote(lock, safe='')}/pins"
            if not kept:
                body = {"pin": wanted.pin, "firstName": FIRST_NAME, "lastName": wanted.grant, "accessType": "temporary"}
                answer = await self._ask("POST", pins, json_body({**body, **window}))
                ids.append(answer.read(_Pin, "August pin").id)
                loaded = False
                continue
            found = True
            ids.append(kept[0].id)
            if (kept[0].start, kept[0].end) != tuple(window.values()):
                await self._ask("PUT", f"{pins}/{quote(kept[0].id, safe='')}", json_body(window))
                loaded = False
            else:
                loaded = loaded and kept[0].id in known_loaded
        truth = Truth.CONFIRMED if loaded else Truth.ACCEPTED
        return KeyMade(wanted.grant, ",".join(ids), truth, found=found, code=wanted.pin)

    async def revoke(self, grant: str) -> KeyEnded:
        """See the port."""
        found = False
        for lock in self._locks:
            for each in (await self._of(lock, grant))[0]:
                await self._drop(lock, each.id)
                found = True
        return KeyEnded(grant, Truth.ACCEPTED, found=found)

    async def open_door(self, door: str, *, actor: str) -> DoorOpened:  # noqa: ARG002 - the account is the actor
        """See the port. The answer waits for the lock: its word that it is unlocked is the truth."""
        answer = await self._ask("PUT", f"/remoteoperate/{quote(door, safe='')}/unlock", b"")
        unlocked = answer.read(_Operated, "August unlock").status in UNLOCKED
        return DoorOpened(door, Truth.CONFIRMED if unlocked else Truth.ACCEPTED)

    async def events(self, cursor: str) -> EventPage:
        """See the port. Activities have no id: what one says is its name. Those beyond the newest hundred are lost."""
        answer = await self._ask("GET", f"/houses/{self._house}/activities?limit={ACTIVITIES_MOST}")
        found: dict[str, VendorEvent] = {}
        bad = 0
        for raw in answer.read(list[msgspec.Raw], "August activities"):
            try:
                said = msgspec.json.decode(raw, type=_Activity)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                bad += 1
                continue
            if not 0 <= said.at < AT_MOST_MS:
                bad += 1
                continue
            name = hashlib.sha256(msgspec.json.encode(msgspec.json.decode(raw), order="sorted")).hexdigest()[:32]
            kind, grant = _KINDS.get(said.action, "other"), said.user.last_name[:40] or None
            found[name] = VendorEvent(name, kind, said.lock, grant, said.at, said.action[:40])
        return EventPage(tuple(sorted(found.values(), key=lambda each: each.at_ms or 0)), cursor, refused=bad)

    async def health(self) -> Mapping[str, DoorHealth]:
        """See the port."""
        found: dict[str, DoorHealth] = {}
        for lock in self._locks:
            said = (await self._ask("GET", f"/locks/{quote(lock, safe='')}")).read(_Lock, "August lock")
            percent = None if said.battery is None or not 0 <= said.battery <= 1 else round(said.battery * 100)
            online = None if said.bridge is None else said.bridge.status.current == "online"
            state = said.state.status
            bolt: str | None = "locked" if state == "locked" else "unlocked" if state == "unlocked" else None
            found[lock] = DoorHealth(
                lock,
                online=online,
                battery_percent=percent,
                bolt="locked" if bolt == "locked" else "unlocked" if bolt == "unlocked" else None,
            )
        return found

    async def _of(self, lock: str, grant: str) -> tuple[list[_Pin], frozenset[str]]:
        """Return the grant's PINs at a lock, and the ids of those that the lock itself has."""
        said = (await self._ask("GET", f"/locks/{quote(lock, safe='')}/pins")).read(_Pins, "August pins")
        there = sorted(
            (each for each in (*said.loaded, *said.created) if each.last_name == grant), key=lambda each: each.id
        )
        return there, frozenset(each.id for each in said.loaded)

    async def _drop(self, lock: str, pin_id: str) -> None:
        try:
            await self._ask("DELETE", f"/locks/{quote(lock, safe='')}/pins/{quote(pin_id, safe='')}")
        except VendorRefusedError as error:
            if error.code != "PinNotFound":
                raise

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        what = f"August {method} {path.partition('?')[0]}"
        answer = await self._http.ask(method, path, body=body, headers=self._headers)
        if 200 <= answer.status < 300:
            self._renew(answer.headers.get(ACCOUNT_HEADER, ""))
            return answer
        if answer.status == 423:
            raise VendorBusyError(f"{what}: the bridge is in use", BUSY_DEFAULT_MS)
        if not 400 <= answer.status < 500:
            raise PeerProtocolError(f"{what}: status {answer.status}")
        try:
            code = msgspec.json.decode(answer.content, type=_Error).code
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            code = ""
        raise refused(what, answer, PIN_TAKEN if code == "DuplicatePin" else code)

    def _renew(self, token: str) -> None:
        """Take over a newer token, once it is kept."""
        fit = token.isascii() and token.isprintable() and 0 < len(token) <= TOKEN_CHARACTERS_MOST
        if fit and token != self._headers[ACCOUNT_HEADER]:
            self._keep(token)
            self._headers = {**self._headers, ACCOUNT_HEADER: token}


def _stamp(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1_000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
