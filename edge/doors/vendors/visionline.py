"""The adapter to ASSA ABLOY Visionline: signed requests, cards that override or join, encoders that are busy.

Facts of the wire and how far they are known: firmware_bridges/visionline/SPEC.md. A key is a card whose holder is our
grant id. Locks are off line: a good answer says what the card holds, and a lock learns of it when it is shown.
"""

import base64
import hashlib
import hmac
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import aiohttp
import msgspec

from edge.doors.vendors.http import Answer, VendorHttp, json_body, refused
from edge.doors.vendors.port import (
    NO_REMOTE_OPENING,
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

API: Final = "/api/v1"
STAMP: Final = "%Y%m%dT%H%M"
MINUTE_MS: Final = 60_000
ROOMS_MOST: Final = 33
ENCODER_WAIT_MS: Final = 1_500
CONTENT_TYPE: Final = "application/json;charset=utf-8"
_KINDS: Final[dict[str, EventKind]] = {"opened": "opened", "refused": "refused", "batteryLow": "battery-low"}


class _SignedIn(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    access_key: str


class _Operation(msgspec.Struct, frozen=True, rename="camel"):
    doors: list[str]


class _Card(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    card_holder: str
    door_operations: list[_Operation]
    start_time: str
    expire_time: str
    cancelled: bool = False
    mobile: bool = False


class _Cards(msgspec.Struct, frozen=True, rename="camel"):
    cards: list[_Card]


class _Door(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    online: bool | None = None
    battery: int | None = None


class _Doors(msgspec.Struct, frozen=True, rename="camel"):
    doors: list[_Door]


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    number: int
    type: str
    door: str | None = None
    card_holder: str = ""
    time: datetime | None = None


class _Events(msgspec.Struct, frozen=True, rename="camel"):
    events: list[msgspec.Raw]


class _Error(msgspec.Struct, frozen=True, rename="camel"):
    code: str = ""


class Visionline:
    """One Visionline server. Fits port.LockSystem."""

    kind = "visionline"
    abilities = Abilities(
        media=("card", "mobile"),
        issue=Truth.AT_NEXT_PRESENTATION,
        revoke=Truth.AT_NEXT_PRESENTATION,
        opens=Truth.CONFIRMED,
        changes=False,
    )

    def __init__(
        self,
        url: str,
        *,
        username: str,
        password: str,
        zone: str,
        clock: Clock,
        answer_wait_s: float,
        verify: ssl.SSLContext | aiohttp.Fingerprint | bool = True,
    ) -> None:
        try:
            self._zone = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise InvalidInputError("zone", f"{zone!r:.40} is no time zone") from error
        self._clock, self._username, self._password = clock, username, password
        self._http = VendorHttp(url, clock=clock, name="Visionline", answer_wait_s=answer_wait_s, verify=verify)
        self._signed_in: _SignedIn | None = None

    async def close(self) -> None:
        """See the port."""
        await self._http.close()

    async def issue(self, wanted: WantedKey) -> KeyMade:
        """See the port. A plastic card is written anew only where it is not as wanted: somebody has to lay it there."""
        if wanted.medium == "pin" or (wanted.medium == "card" and not wanted.encoder):
            raise InvalidInputError(
                "medium", f"{wanted.medium!r}: Visionline makes cards (with an encoder) and mobile keys"
            )
        if len(wanted.doors) > ROOMS_MOST:
            raise InvalidInputError("doors", f"{len(wanted.doors)}: a card holds {ROOMS_MOST}")
        body = json_body(self._card(wanted))
        encoder = {} if wanted.medium == "mobile" else {"encoder": wanted.encoder or ""}
        known = await self._of(wanted.grant)
        for double in known[:-1]:
            await self._cancel(double.id)
        if not known:
            query = {**encoder, ("joiner" if wanted.join else "override"): "true"}
            if wanted.medium == "mobile":
                query["action"] = "mobileAccess"
            made = (await self._ask("POST", "/cards", query, body)).read(_Card, "Visionline card")
            return KeyMade(wanted.grant, made.id, Truth.AT_NEXT_PRESENTATION)
        card = known[-1]
        if not self._is_as(card, wanted):
            # longer: as the guest that it is, or joiners would lose theirs; elsewhere: as who comes in there
            stays_put = _doors(card) == wanted.doors
            query = {**encoder, ("joiner" if wanted.join or stays_put else "override"): "true"}
            await self._ask("PUT", f"/cards/{quote(card.id, safe='')}", query, body)
        return KeyMade(wanted.grant, card.id, Truth.AT_NEXT_PRESENTATION, found=True)

    async def revoke(self, grant: str) -> KeyEnded:
        """See the port. On record at once; an off-line lock refuses it from the next guest's first entry on."""
        known = await self._of(grant)
        for each in known:
            await self._cancel(each.id)
        return KeyEnded(grant, Truth.AT_NEXT_PRESENTATION, found=bool(known))

    async def open_door(self, door: str, *, actor: str) -> DoorOpened:  # noqa: ARG002 - the server knows only us
        """See the port. Only on-line locks do."""
        try:
            await self._ask("POST", f"/doors/{quote(door, safe='')}/open", {}, b"")
        except VendorRefusedError as error:
            if error.code == "doorOffline":
                raise VendorRefusedError(f"Visionline: door {door!r} is off line", NO_REMOTE_OPENING) from error
            raise
        return DoorOpened(door, Truth.CONFIRMED)

    async def events(self, cursor: str) -> EventPage:
        """See the port. Events are numbered: one told again has the same number."""
        after = int(cursor) if cursor.isascii() and cursor.isdecimal() and len(cursor) < 16 else 0
        answer = await self._ask("GET", "/events", {"after": str(after)}, b"")
        raws = answer.read(_Events, "Visionline events").events
        found: dict[int, VendorEvent] = {}
        refused_items = 0
        for raw in raws:
            try:
                said = msgspec.json.decode(raw, type=_Event)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                refused_items += 1
                continue
            if not 0 < said.number < 10**15:
                refused_items += 1
                continue
            at_ms = None if said.time is None else round(said.time.astimezone(UTC).timestamp() * 1_000)
            found[said.number] = VendorEvent(
                str(said.number),
                _KINDS.get(said.type, "other"),
                said.door,
                said.card_holder[:40] or None,
                at_ms,
                said.type[:40],
            )
        return EventPage(
            tuple(found[number] for number in sorted(found)),
            str(max((after, *found))),
            more=any(number > after for number in found),
            refused=refused_items,
        )

    async def health(self) -> Mapping[str, DoorHealth]:
        """See the port."""
        doors = (await self._ask("GET", "/doors", {}, b"")).read(_Doors, "Visionline doors").doors
        return {each.id: DoorHealth(each.id, online=each.online, battery_percent=each.battery) for each in doors}

    # -- cards ------------------------------------------------------------------------------------------------------

    def _stamps(self, wanted: WantedKey) -> tuple[str, str]:
        """Return the window in local minutes, never shorter than what was wanted."""
        start_ms = wanted.not_before_ms // MINUTE_MS * MINUTE_MS
        end_ms = -(-wanted.not_after_ms // MINUTE_MS) * MINUTE_MS
        start, end = (
            datetime.fromtimestamp(each / 1_000, tz=self._zone).strftime(STAMP) for each in (start_ms, end_ms)
        )
        return start, end

    def _card(self, wanted: WantedKey) -> dict[str, Any]:
        start, end = self._stamps(wanted)
        return {
            "cardHolder": wanted.grant,
            "doorOperations": [{"doors": list(wanted.doors), "operation": "guest"}],
            "startTime": start,
            "expireTime": end,
            "format": "rfid48",
        }

    def _is_as(self, card: _Card, wanted: WantedKey) -> bool:
        return (_doors(card), card.start_time, card.expire_time) == (wanted.doors, *self._stamps(wanted))

    async def _of(self, grant: str) -> list[_Card]:
        """Return the grant's cards in force, in the order in which the server made them."""
        cards = (await self._ask("GET", "/cards", {"cardHolder": grant}, b"")).read(_Cards, "Visionline cards").cards
        return [each for each in cards if each.card_holder == grant and not each.cancelled]

    async def _cancel(self, card: str) -> None:
        try:
            await self._ask("DELETE", f"/cards/{quote(card, safe='')}", {}, b"")
        except VendorRefusedError as error:
            if error.code != "cardNotFound":
                raise

    # -- the signed wire --------------------------------------------------------------------------------------------

    async def _ask(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer:
        """Ask, signed; sign in first, and once more where the session has ended. That refusal did nothing."""
        what = f"Visionline {method} {path}"
        for again in (True, False):
            session = self._signed_in or await self._sign_in()
            target = f"{API}{path}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")
            answer = await self._http.ask(
                method, target, body=body or None, headers=self._signed(session, method, target, body)
            )
            if answer.status == 401:
                self._signed_in = None
                if again:
                    continue
            if answer.status == 200:
                return answer
            raise self._refusal(what, answer)
        raise PeerProtocolError(f"{what}: signed in twice and still unknown")

    def _refusal(self, what: str, answer: Answer) -> VendorBusyError | VendorRefusedError | PeerProtocolError:
        if not 400 <= answer.status < 500:
            return PeerProtocolError(f"{what}: status {answer.status}")
        try:
            code = msgspec.json.decode(answer.content, type=_Error).code
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            code = ""
        if code == "encoderBusy":
            return VendorBusyError(f"{what}: the encoder is at work", ENCODER_WAIT_MS)
        return refused(what, answer, code)

    async def _sign_in(self) -> _SignedIn:
        body = json_body({"username": self._username, "password": self._password})
        answer = await self._http.ask("POST", f"{API}/sessions", body=body, headers={"Content-Type": CONTENT_TYPE})
        if answer.status != 200:
            raise self._refusal("Visionline sign-in", answer)
        self._signed_in = answer.read(_SignedIn, "Visionline session")
        if not self._signed_in.id.isascii() or not self._signed_in.id.isalnum():
            self._signed_in = None
            raise PeerProtocolError("Visionline session: its id is no word")
        return self._signed_in

    def _signed(self, session: _SignedIn, method: str, target: str, body: bytes) -> dict[str, str]:
        date = format_datetime(datetime.fromtimestamp(self._clock.wall_ms() / 1_000, tz=UTC), usegmt=True)
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode() if body else ""
        kind = CONTENT_TYPE if body else ""
        string = f"{method}\n{digest}\n{kind}\n{date}\n{target}"
        # HMAC-SHA1 and MD5 are the vendor's; what keeps them from the street is TLS
        mac = hmac.new(session.access_key.encode(), string.encode(), hashlib.sha1).digest()
        headers = {"Authorization": f"AWS {session.id}:{base64.b64encode(mac).decode()}", "Date": date}
        if body:
            headers |= {"Content-MD5": digest, "Content-Type": kind}
        return headers


def _doors(card: _Card) -> tuple[str, ...]:
    return tuple(sorted(door for each in card.door_operations for door in each.doors))
