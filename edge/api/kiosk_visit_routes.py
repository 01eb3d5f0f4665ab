"""The routes of a visit at a kiosk while the house is cut off: begun by code and name, and then the check-in session.

They have the paths and bodies of the cloud's routes of the same things, so that one page walks through either; where
the cloud has the stay, the visit's name stands, which nobody guesses. All ask for the kiosk's token, but the one by
which a guest's phone takes its key: that asks for the token of the code that the kiosk has shown.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from typing import Annotated, Any, Final, Protocol

import msgspec
from litestar import Request, Response, Router, delete, get, post, put
from litestar.params import FromPath, JSONBody

from edge.api.kiosk_routes import KIOSK
from edge.api.token import SCHEME, TOKEN_OPT
from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from edge.checkin.kiosk_visits import Person, UnreadZoneError, Visit, VisitRefusedError
from kit.http import OPEN, ProblemError
from protocols.device_model.identity import StayId, parse_stay_id
from protocols.errors import InvalidInputError, StoreFailedError

_STATUS: Final = {"reservation_not_found": 404, "too_many": 429}
_PHONE_REASON: Final = {
    CheckInRefusal.TOO_EARLY: "too_early",
    CheckInRefusal.OVER: "ended",
    CheckInRefusal.ENDED: "ended",
}
"""The words that the guest's page knows of the cloud's check-in; any other is the house's refusal."""
_STAY: Final = "/api/v1/properties/{property_id:str}/stays/{visit:str}"
_SESSION: Final = _STAY + "/session"
_GUEST: Final = _SESSION + "/guests/{slot:str}"

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f]+(?![\s\S])")]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
_Day = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
_State = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{1,3}\Z")]


class VisitBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST kiosk-visits: the booking's code, the surname that it is in, and at which kiosk."""

    booking_code: _Text
    surname: _Text
    kiosk: _Text


class BeginBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST session: nothing that the house needs to know."""

    channel: str = "kiosk"
    language: Annotated[str, msgspec.Meta(max_length=35)] = "en"


class GuestBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PUT session/guests/{slot}. What only a registration card needs is asked for by the cloud alone."""

    surname: _Name
    given_names: _Name
    birth_date: _Day | None = None
    nationality: _State | None = None

    def __repr__(self) -> str:
        return "GuestBody(...)"


class DocumentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST session/guests/{slot}/document."""

    mrz: Annotated[str, msgspec.Meta(min_length=1, max_length=400)]

    def __repr__(self) -> str:
        return "DocumentBody(...)"


class CardBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST kiosk-visit/card: at the kiosk where the visit began, whatever is said."""

    kiosk: _Text


class PhoneBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST check-in: the phone's key. The house makes one key for one phone of a stay, whatever the question's key."""

    phone_public_key: Annotated[str, msgspec.Meta(max_length=128)]
    idempotency_key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] = "-"


class Visits(Protocol):
    """What the routes need; edge/checkin/kiosk_visits.py answers it."""

    def begin(self, place: str, *, code: str, surname: str) -> Visit:
        """Begin a visit."""
        ...

    def end(self, visit: str) -> None:
        """Forget a visit."""
        ...

    async def keep(self) -> None:
        """Keep what visits came to. Raises StoreFailedError."""
        ...

    def session(self, visit: str) -> dict[str, Any]:
        """Return how it stands."""
        ...

    def tell(self, visit: str, slot: str, person: Person) -> dict[str, Any]:
        """Take who the guest is."""
        ...

    def show(self, visit: str, slot: str, mrz: str) -> dict[str, Any]:
        """Take the zone of his document."""
        ...

    async def card(self, visit: str) -> Mapping[str, Any]:
        """Check him in and give him his key."""
        ...

    async def phone_link(self, visit: str) -> Mapping[str, str]:
        """Offer the key to his phone."""
        ...


class Phones(Protocol):
    """Who gives a phone its key; edge/app/kiosk_phones.py answers it."""

    async def take(self, stay: StayId, token: str, phone_public_key: str) -> Mapping[str, Any]:
        """Check the stay in for the phone that comes with an offer's token."""
        ...


def kiosk_visit_routes(visits: Visits, phones: Phones, *, property_id: str) -> Router:
    """Return the routes of the one property of this house."""
    ours = property_id

    def here(asked: str) -> None:
        if asked != ours:
            raise ProblemError(404, f"this house is not {asked!r:.80}", kind="unknown-property")

    async def kept() -> None:
        with suppress(StoreFailedError):  # it is in memory, and kept with the next
            await visits.keep()

    @post("/api/v1/properties/{property_id:str}/kiosk-visits", name="kiosk-visit")
    async def begin(property_id: FromPath[str], data: JSONBody[VisitBody]) -> dict[str, Any]:
        here(property_id)
        with _Refusals():
            visit = visits.begin(data.kiosk, code=data.booking_code, surname=data.surname)
        await kept()
        return {"stay": visit.id, "token": None}

    @delete(_STAY + "/kiosk-visit", name="kiosk-visit-end")
    async def leave(property_id: FromPath[str], visit: FromPath[str]) -> None:
        here(property_id)
        visits.end(visit)
        await kept()

    @post(_SESSION, status_code=200, name="kiosk-session")
    async def begin_session(
        property_id: FromPath[str],
        visit: FromPath[str],
        data: JSONBody[BeginBody],  # noqa: ARG001 - the cloud's shape
    ) -> Response[dict[str, Any]]:
        here(property_id)
        with _Refusals():
            return _unkept(visits.session(visit))

    @get(_SESSION, name="kiosk-session-read")
    async def read_session(property_id: FromPath[str], visit: FromPath[str]) -> Response[dict[str, Any]]:
        here(property_id)
        with _Refusals():
            return _unkept(visits.session(visit))

    @put(_GUEST, name="kiosk-guest")
    async def tell(
        property_id: FromPath[str], visit: FromPath[str], slot: FromPath[str], data: JSONBody[GuestBody]
    ) -> Response[dict[str, Any]]:
        here(property_id)
        with _Refusals():
            born = None if data.birth_date is None else _day(data.birth_date)
            person = Person(data.surname.strip(), data.given_names.strip(), born, data.nationality)
            return _unkept(visits.tell(visit, slot, person))

    @post(_GUEST + "/document", status_code=200, name="kiosk-guest-document")
    async def show(
        property_id: FromPath[str], visit: FromPath[str], slot: FromPath[str], data: JSONBody[DocumentBody]
    ) -> Response[dict[str, Any]]:
        here(property_id)
        with _Refusals():
            return _unkept(visits.show(visit, slot, data.mrz))

    @post(_STAY + "/kiosk-visit/card", status_code=200, name="kiosk-visit-card")
    async def card(
        property_id: FromPath[str],
        visit: FromPath[str],
        data: JSONBody[CardBody],  # noqa: ARG001 - the visit knows its kiosk
    ) -> dict[str, Any]:
        here(property_id)
        with _Refusals():
            return dict(await visits.card(visit))

    @post(_STAY + "/kiosk-visit/phone-link", name="kiosk-visit-phone")
    async def to_phone(property_id: FromPath[str], visit: FromPath[str]) -> Response[dict[str, Any]]:
        here(property_id)
        with _Refusals():
            return _unkept(dict(await visits.phone_link(visit)))

    @post(_STAY + "/check-in", status_code=200, name="kiosk-phone", opt={OPEN: True})
    async def take(
        request: Request[Any, Any, Any], property_id: FromPath[str], visit: FromPath[str], data: JSONBody[PhoneBody]
    ) -> Response[dict[str, Any]]:
        here(property_id)
        given = request.headers.get("authorization", "")
        if not given.startswith(SCHEME):
            raise ProblemError(401, "send the token of the code that the kiosk shows", kind="unauthorized")
        with _Refusals():
            try:
                told = await phones.take(parse_stay_id(visit), given.removeprefix(SCHEME), data.phone_public_key)
            except CheckInRefusedError as error:
                reason = _PHONE_REASON.get(error.reason, "edge_refused")
                raise ProblemError(409, str(error), kind="check-in-refused", reason=reason) from None
        return _unkept({"bundle": told["bundle"]})

    return Router(
        "/",
        route_handlers=[begin, leave, begin_session, read_session, tell, show, card, to_phone, take],
        opt={TOKEN_OPT: KIOSK},
    )


class _Refusals:
    """Turns what a visit refuses into problems that tell the page which words to say; of a document, places alone."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        match error:
            case VisitRefusedError():
                raise ProblemError(
                    _STATUS.get(error.reason, 409), str(error), kind=error.reason.replace("_", "-"), reason=error.reason
                ) from None
            case UnreadZoneError():
                raise ProblemError(422, str(error), kind="unreadable-zone", findings=error.findings) from None
            case InvalidInputError():
                # its words may tell of a name or a document's characters: the field is told, and no more
                raise ProblemError(
                    400, f"{error.place} is not right", kind="invalid-input", field=error.place.partition(" ")[0]
                ) from None
            case _:
                return


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError("birth_date", "is no day of the calendar") from error


def _unkept(body: dict[str, Any]) -> Response[dict[str, Any]]:
    return Response(body, headers={"cache-control": "no-store"})
