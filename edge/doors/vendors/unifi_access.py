"""The adapter to UniFi Access, through `aiounifiaccess`: paths, models and error words are the package's.

What of the package is overridden and why: docs/decisions/0048-what-we-take-from-vendor-libraries.md. Facts of the
wire: firmware_bridges/unifi_access/SPEC.md. A key is a visitor whose last name is our grant id.
"""

import hashlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pydantic
from aiounifiaccess.api.doors import DoorManager
from aiounifiaccess.api.visitors import VisitorManager
from aiounifiaccess.errors import (
    APIError,
    DeviceBusyError,
    PINCodeExistsError,
    ResourceNotFoundError,
    ServerError,
    UniFiAccessError,
)
from aiounifiaccess.events.signature import verify_webhook_signature
from aiounifiaccess.models.door import DoorLockStatus
from aiounifiaccess.models.visitor import Visitor, VisitorStatus
from aiounifiaccess.session import APISession

from edge.doors.vendors.http import BUSY_DEFAULT_MS, Answer, bounded, judged, session, translated
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
    VendorFaultError,
    VendorRefusedError,
    WantedKey,
)
from kit.clock import Clock
from protocols.errors import InvalidInputError, PeerProtocolError

PORT: Final = 12445
FIRST_NAME: Final = "Innkeeper"
PAGE_ITEMS: Final = 100
PAGES_MOST: Final = 50
OVERLAP_S: Final = 120
"""The log is asked again this far back: lines come late, and the store knows those it has."""
FIRST_LOOK_S: Final = 3_600
SIGNATURE_AGE_MOST_S: Final = 300
_ENDED: Final = frozenset({VisitorStatus.VISITED, VisitorStatus.CANCELLED, VisitorStatus.NO_VISIT})
T = TypeVar("T")


class _Envelope(msgspec.Struct, frozen=True):
    code: str
    msg: str = ""
    data: Any = None
    pagination: Any = None


class _Actor(msgspec.Struct, frozen=True):
    display_name: str = ""


class _Said(msgspec.Struct, frozen=True):
    type: str = ""
    result: str = ""


class _Target(msgspec.Struct, frozen=True):
    type: str = ""
    id: str = ""


class _Source(msgspec.Struct, frozen=True):
    actor: _Actor = _Actor()
    event: _Said = _Said()
    target: list[_Target] | _Target = []


class _Hit(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="_id")
    timestamp: str = msgspec.field(name="@timestamp", default="")
    source: _Source = msgspec.field(name="_source", default=_Source())


class _Session(APISession):
    """The package's session with our rim: a pinned certificate, bounded answers, errors that tell what left."""

    def __init__(
        self,
        host: str,
        port: int,
        token: str,
        *,
        clock: Clock,
        answer_wait_s: float,
        verify: ssl.SSLContext | aiohttp.Fingerprint | bool,
    ) -> None:
        super().__init__(host, token, port, verify_ssl=True)
        self._clock, self._wait_s, self._verify = clock, answer_wait_s, verify

    async def connect(self) -> None:
        self._session = session(self._wait_s, self._verify, self.base_url)

    async def _request_raw(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,  # noqa: ANN401 - the package's
        params: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        what = f"UniFi Access {method} {path}"
        if self._session is None:
            await self.connect()
        try:
            async with self._ensure_session().request(
                method, path, json=json, params=params, headers=self._json_headers, allow_redirects=False
            ) as answer:
                content = await bounded(answer, what)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise translated(error, what) from error
        except ValueError as error:
            raise PeerProtocolError(f"{what}: {type(error).__name__} in the answer") from error
        headers = {key.lower(): value for key, value in answer.headers.items()}
        found = judged(Answer(answer.status, headers, content), what, self._clock).read(_Envelope, what)
        self._unwrap_envelope({"code": found.code, "msg": found.msg, "data": found.data})
        return {"code": found.code, "msg": found.msg, "data": found.data, "pagination": found.pagination}


class _Visitors(VisitorManager):
    """The package's visitors, with the doors that it cannot name."""

    async def create_for(self, grant: str, doors: tuple[str, ...], start_s: int, end_s: int) -> Visitor | None:
        body = {**_wanted(doors, start_s, end_s), "first_name": FIRST_NAME, "last_name": grant}
        return await self._post(self._BASE, json={**body, "visit_reason": "Others"}, model_cls=Visitor)

    async def change(self, visitor_id: str, doors: tuple[str, ...], start_s: int, end_s: int) -> None:
        await self._put(f"{self._BASE}/{visitor_id}", json=_wanted(doors, start_s, end_s))


def _wanted(doors: tuple[str, ...], start_s: int, end_s: int) -> dict[str, Any]:
    resources = [{"id": each, "type": "door"} for each in doors]
    return {"start_time": start_s, "end_time": end_s, "resources": resources}


class UnifiAccess:
    """One UniFi Access controller. Fits port.LockSystem."""

    kind = "unifi_access"
    abilities = Abilities(
        media=("pin",), issue=Truth.ACCEPTED, revoke=Truth.ACCEPTED, opens=Truth.CONFIRMED, changes=True, joins=True
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
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise InvalidInputError("url", f"{url!r:.80} is not https://host[:port]")
        self._clock = clock
        self._session = _Session(
            parts.hostname, parts.port or PORT, token, clock=clock, answer_wait_s=answer_wait_s, verify=verify
        )
        self._visitors, self._doors = _Visitors(self._session), DoorManager(self._session)

    async def close(self) -> None:
        """See the port."""
        await self._session.close()

    async def issue(self, wanted: WantedKey) -> KeyMade:
        """See the port."""
        if wanted.medium != "pin" or wanted.pin is None:
            raise InvalidInputError("medium", f"{wanted.medium!r}: UniFi Access keys are made as PINs here")
        start_s, end_s = wanted.not_before_ms // 1_000, wanted.not_after_ms // 1_000
        known = await self._of(wanted.grant)
        found = bool(known)
        for double in known[1:]:  # an answer was lost and came to effect after all
            await self._drop(double.id)
        if known:
            visitor = known[0]
            doors = tuple(sorted(each.id for each in visitor.resources))
            if (doors, visitor.start_time, visitor.end_time) != (wanted.doors, start_s, end_s):
                await _asked(lambda: self._visitors.change(visitor.id, wanted.doors, start_s, end_s))
        else:
            made = await _asked(lambda: self._visitors.create_for(wanted.grant, wanted.doors, start_s, end_s))
            if made is None or not made.id:
                raise PeerProtocolError("UniFi Access: a visitor was made without an id")
            visitor = made
        pin = wanted.pin
        if visitor.pin_code is None:
            await _asked(lambda: self._visitors.assign_pin_code(visitor.id, pin))
        return KeyMade(wanted.grant, visitor.id, Truth.ACCEPTED, found=found, code=pin)

    async def revoke(self, grant: str) -> KeyEnded:
        """See the port."""
        known = await self._of(grant)
        for each in known:
            await self._drop(each.id)
        return KeyEnded(grant, Truth.ACCEPTED, found=bool(known))

    async def open_door(self, door: str, *, actor: str) -> DoorOpened:
        """See the port. Confirmed where the controller shows the relay released right afterwards."""
        await _asked(lambda: self._doors.unlock(door, actor_id=actor, actor_name=actor))
        try:
            doors = {each.id: each for each in await _asked(self._doors.list_all)}
        except (PeerProtocolError, VendorFaultError, VendorBusyError, VendorRefusedError):
            return DoorOpened(door, Truth.ACCEPTED)  # it was told to open; how it stands could not be read
        shown = doors.get(door)
        open_now = shown is not None and shown.door_lock_relay_status is DoorLockStatus.UNLOCK
        return DoorOpened(door, Truth.CONFIRMED if open_now else Truth.ACCEPTED)

    async def events(self, cursor: str) -> EventPage:
        """See the port. The cursor is the controller's own time, so that its skew does not matter."""
        latest_ms = int(cursor) if cursor.isdecimal() else self._clock.wall_ms() - FIRST_LOOK_S * 1_000
        since_s = max(latest_ms // 1_000 - OVERLAP_S, 0)
        found: dict[str, VendorEvent] = {}
        refused = 0
        for number in range(1, PAGES_MOST + 1):
            hits, total = await self._log(since_s, number)
            for raw in hits:
                try:
                    event = _event(msgspec.convert(raw, _Hit))
                except (msgspec.ValidationError, ValueError):
                    refused += 1
                    continue
                found.setdefault(event.event, event)
                latest_ms = max(latest_ms, event.at_ms or 0)
            if not hits or number * PAGE_ITEMS >= total:
                return EventPage(tuple(found.values()), str(latest_ms), refused=refused)
        raise PeerProtocolError(f"UniFi Access log: does not end after {PAGES_MOST} pages")

    async def health(self) -> Mapping[str, DoorHealth]:
        """See the port."""
        doors = await _asked(self._doors.list_all)
        return {
            each.id: DoorHealth(
                each.id,
                online=each.is_bind_hub,
                bolt=None
                if each.door_lock_relay_status is None
                else ("unlocked" if each.door_lock_relay_status is DoorLockStatus.UNLOCK else "locked"),
            )
            for each in doors
        }

    def hint(self, secret: str, signature: str, body: bytes) -> bool:
        """Whether a push is the controller's and fresh: a reason to ask `events`, never data itself."""
        at = signature.partition(",")[0].removeprefix("t=")
        if not (at.isascii() and at.isdecimal() and len(at) <= 12):
            return False
        if abs(self._clock.wall_ms() // 1_000 - int(at)) > SIGNATURE_AGE_MOST_S:
            return False
        # its own judgement of age reads the machine's clock, and lets a time of zero pass: judged above instead
        return verify_webhook_signature(secret, signature, body, max_age_seconds=None)

    async def _of(self, grant: str) -> list[Visitor]:
        """Return the live visitors of a grant, always in the same order."""
        found: list[Visitor] = []
        for number in range(1, PAGES_MOST + 1):
            page, told = await _asked(
                lambda number=number: self._visitors.list(page_num=number, page_size=PAGE_ITEMS, keyword=grant)  # type: ignore[misc]  # mypy infers no lambda with a default
            )
            found += [each for each in page if each.last_name == grant and each.status not in _ENDED]
            if len(page) < PAGE_ITEMS or number * PAGE_ITEMS >= told.pagination.total:
                break
        if any(not each.id for each in found):
            raise PeerProtocolError("UniFi Access: a visitor without an id")
        return sorted(found, key=lambda each: each.id)

    async def _drop(self, visitor_id: str) -> None:
        try:
            await _asked(lambda: self._visitors.delete(visitor_id))
        except VendorRefusedError as error:
            if error.code not in _GONE:
                raise

    async def _log(self, since_s: int, number: int) -> tuple[list[Any], int]:
        raw = await _asked(
            lambda: self._session._request_raw(
                "POST",
                "/api/v1/developer/system/logs",
                json={"topic": "door_openings", "since": since_s},
                params={"page_num": number, "page_size": PAGE_ITEMS},
            )
        )
        data = raw["data"]
        hits = data.get("hits") if isinstance(data, dict) else data
        pagination = raw["pagination"]
        total = pagination.get("total", 0) if isinstance(pagination, dict) else 0
        if not isinstance(hits, list) or not isinstance(total, int):
            raise PeerProtocolError("UniFi Access log: neither hits nor a list")
        return hits, total


_GONE: Final = frozenset({"CODE_NOT_EXISTS", "CODE_RESOURCE_NOT_FOUND"})


async def _asked(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask the package, and say its errors in our words."""
    try:
        return await ask()
    except PINCodeExistsError as error:
        raise VendorRefusedError("UniFi Access: the PIN is taken", PIN_TAKEN) from error
    except DeviceBusyError as error:
        raise VendorBusyError("UniFi Access: the door is busy", BUSY_DEFAULT_MS) from error
    except ResourceNotFoundError as error:
        raise VendorRefusedError(f"UniFi Access: {error.code}", error.code) from error
    except ServerError as error:
        raise VendorFaultError("UniFi Access: CODE_SYSTEM_ERROR") from error
    except APIError as error:
        raise VendorRefusedError(f"UniFi Access: {error.code[:80]}", error.code[:80]) from error
    except (UniFiAccessError, pydantic.ValidationError, KeyError, TypeError, AttributeError) as error:
        raise PeerProtocolError(f"UniFi Access: {type(error).__name__} while reading an answer") from error


def _event(hit: _Hit) -> VendorEvent:
    """Translate one line of the log. Raises ValueError for a time that is none."""
    targets = hit.source.target if isinstance(hit.source.target, list) else [hit.source.target]
    door = next((each.id for each in targets if each.type == "door"), None)
    at_ms = round(datetime.fromisoformat(hit.timestamp).timestamp() * 1_000)
    kind: EventKind = "other"
    if hit.source.event.type.startswith("access.door.unlock"):
        kind = "opened" if hit.source.event.result == "ACCESS" else "refused"
    name = hit.source.actor.display_name.removeprefix(f"{FIRST_NAME} ")
    event = hit.id or hashlib.sha256(msgspec.json.encode(hit)).hexdigest()[:32]
    return VendorEvent(event, kind, door, name[:40] or None, at_ms, hit.source.event.result[:40])
