"""The routes of kiosks: who runs the house sets one up; a guest begins at it by his booking's code and name.

What a guest does there is the check-in session of everywhere else, on the channel `kiosk`; his phone goes on with it by
a link that the kiosk shows, and any kiosk goes on with what the phone began.
"""

from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Router, delete, get, post
from litestar.params import FromPath, JSONBody

from cloud.checkin import kiosks, links
from cloud.checkin.desk import CheckInDesk, NotAdmissibleError, Refusal
from cloud.checkin.kiosks import KiosksFullError
from cloud.checkin.links import LinkRefusedError
from cloud.checkin.sessions import By, Sessions
from cloud.kit.acting import acting, system
from cloud.kit.database import Database
from cloud.kit.times import iso
from cloud.platform.access_policy import ACTION
from cloud.platform.attempts import count_attempt
from cloud.platform.principals import Principal
from cloud.public import checkin_schema as schema
from cloud.public.checkin_routes import refused
from cloud.public.gate import absent, property_for, stay_for
from cloud.public.reader import WallClock
from cloud.public.strict import strict_body
from kit.dice import Dice
from kit.http import ProblemError

BODY_BYTES_MOST: Final = 4 * 1024
_KIOSKS: Final = "/properties/{property_id:str}/kiosks"
_STAY: Final = "/properties/{property_id:str}/stays/{stay_id:str}"
_MANAGE: Final = {ACTION: "kiosk.manage"}
_VISITING: Final = {ACTION: "kiosk.visiting"}
_COUNTING: Final = system("kiosk")

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f]+(?![\s\S])")]

Call = Request[Principal, Any, Any]


class KioskRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What staff call the kiosk."""

    name: _Text


class NewKiosk(msgspec.Struct, frozen=True):
    """A kiosk that was set up; `path` is opened on it once, and is told this once."""

    id: str
    path: str


class KioskInUse(msgspec.Struct, frozen=True):
    """A kiosk of the house."""

    id: str
    name: str
    made_by: str
    made_at: str


class Kiosks(msgspec.Struct, frozen=True):
    """The kiosks of the house that are in use."""

    kiosks: list[KioskInUse]


class VisitRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The booking's code, as its confirmation has it, and the surname that it is in."""

    booking_code: _Text
    surname: _Text


class Visit(msgspec.Struct, frozen=True):
    """A visit at the kiosk: the token is the guest's for his one stay, gives no keys, and ends."""

    stay: str
    token: str
    expires_at: str


class CardRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The kiosk where the guest stands, by its place in the house's plan."""

    kiosk: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}(?![\s\S])")]


class Card(msgspec.Struct, frozen=True):
    """What came of it: true, false, or null where nobody knows; the room once the guest is in."""

    result: bool | None
    room: str | None


def kiosk_routes(database: Database, clock: WallClock, dice: Dice, *, desk: CheckInDesk, sessions: Sessions) -> Router:
    """Return the routes; keys are asked of the house through `desk`, and steps are those of `sessions`."""

    @post(_KIOSKS, summary="Set a kiosk up", opt=_MANAGE)
    async def make(request: Call, property_id: FromPath[str], data: JSONBody[KioskRequest]) -> NewKiosk:
        async with database.transaction() as connection:
            found = await property_for(connection, request.user, property_id)
            try:
                kiosk, token = await kiosks.make(
                    connection, found, name=data.name, by=request.user.name, dice=dice, now_ms=clock.wall_ms()
                )
            except KiosksFullError as error:
                raise ProblemError(409, str(error), kind="kiosks_full") from error
        return NewKiosk(kiosk.id, f"/guest/kiosk.html#kiosk={found.id}/{token}")

    @get(_KIOSKS, summary="The kiosks of the house", opt=_MANAGE)
    async def listed(request: Call, property_id: FromPath[str]) -> Kiosks:
        async with database.snapshot() as connection:
            known = await kiosks.of_property(connection, await property_for(connection, request.user, property_id))
        return Kiosks([KioskInUse(each.id, each.name, each.made_by, iso(each.made_at)) for each in known])

    @delete(_KIOSKS + "/{kiosk_id:str}", summary="End a kiosk and the visit there", opt=_MANAGE)
    async def end(request: Call, property_id: FromPath[str], kiosk_id: FromPath[str]) -> None:
        async with database.transaction() as connection:
            found = await property_for(connection, request.user, property_id)
            if not await kiosks.end(connection, found, kiosk_id, now_ms=clock.wall_ms()):
                raise absent()

    @post(
        "/properties/{property_id:str}/kiosk-visits",
        summary="Begin a visit at this kiosk",
        opt={ACTION: "kiosk.visit"},
    )
    async def visit(request: Call, property_id: FromPath[str], data: JSONBody[VisitRequest]) -> Visit:
        kiosk, now_ms = request.user.kiosk or "", clock.wall_ms()
        with acting(_COUNTING):
            async with database.transaction() as connection:
                booking = f"booking:{property_id}:{data.booking_code.strip().lower()}"
                wait_s = await count_attempt(
                    connection, email=booking, address=f"kiosk:{kiosk}", known=False, now_ms=now_ms
                )
        if wait_s:
            answer = ProblemError(429, "too many attempts at this kiosk", kind="too-many-requests", retryable=True)
            answer.headers = {"Retry-After": str(wait_s)}
            raise answer
        async with database.transaction() as connection:
            found = await property_for(connection, request.user, property_id)
            stay = await kiosks.find(connection, found, code=data.booking_code, surname=data.surname)
            if stay is None:
                detail = "No booking of this code and name is expected."
                raise ProblemError(404, detail, kind="reservation_not_found", reason="reservation_not_found")
            token, until = await kiosks.begin_visit(connection, found, stay, kiosk, dice=dice, now_ms=now_ms)
        return Visit(stay.id, token, iso(until))

    @post(_STAY + "/kiosk-visit/phone-link", summary="Go on with the check-in on a phone", opt=_VISITING)
    async def to_phone(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> schema.GuestLink:
        async with database.transaction() as connection:
            found, stay = await stay_for(connection, request.user, property_id, stay_id)
            try:
                token, until = await links.make(
                    connection, found, stay, by=request.user.name, dice=dice, now_ms=clock.wall_ms()
                )
            except LinkRefusedError as error:
                raise ProblemError(409, str(error), kind="no_link") from error
        return schema.GuestLink(token, f"/guest/#check-in={found.id}/{stay.id}/{token}", iso(until))

    @post(
        _STAY + "/kiosk-visit/card",
        status_code=200,
        summary="Check in, and have the key on a card that the kiosk gives",
        opt=_VISITING,
    )
    async def card(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], data: JSONBody[CardRequest]
    ) -> Card:
        async with database.snapshot() as connection:
            found, stay = await stay_for(connection, request.user, property_id, stay_id)
        by = By(request.user.name, "kiosk")
        try:
            await sessions.before_keys(found, stay.id, by=by)
            given = await desk.kiosk_card(found, stay.id, kiosk=data.kiosk, by=request.user.name)
        except NotAdmissibleError as error:
            if error.refusal is Refusal.UNANSWERED:
                await sessions.card_lost(found, stay.id, by=by)
            raise refused(error) from error
        if given.is_lost:
            await sessions.card_lost(found, stay.id, by=by)
        if given.result is True:
            await sessions.keys_given(found, stay.id, by=by)
        return Card(given.result, given.room)

    @delete(_STAY + "/kiosk-visit", summary="End the visit at this kiosk", opt=_VISITING)
    async def leave(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> None:
        async with database.transaction() as connection:
            await stay_for(connection, request.user, property_id, stay_id)
            await kiosks.end_visits(connection, request.user.kiosk or "", now_ms=clock.wall_ms())

    return Router(
        "/api/v1",
        route_handlers=[make, listed, end, visit, to_phone, card, leave],
        request_max_body_size=BODY_BYTES_MOST,
        before_request=strict_body,
    )
