"""The routes of the check-in session: a guest's page with a link, a kiosk, or the desk; the same session for all."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import msgspec
from litestar import Request, Response, Router, delete, get, post, put
from litestar.params import FromPath, JSONBody

from cloud.checkin import links
from cloud.checkin.desk import NotAdmissibleError, Refusal
from cloud.checkin.hand_overs import hand_overs
from cloud.checkin.judgement import UnreadableZoneError
from cloud.checkin.links import LinkRefusedError
from cloud.checkin.people import GuestFacts
from cloud.checkin.registration_card import card_pdf
from cloud.checkin.registrations import Registrations
from cloud.checkin.sessions import By, Sessions, Standing
from cloud.checkin.steps import FINISHED, StepState
from cloud.checkin.steps import Step as SessionStep
from cloud.kit.database import Database
from cloud.kit.times import at, iso
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principal, Role
from cloud.platform.properties import Property
from cloud.privacy.sealing import NoKeysError
from cloud.public import checkin_schema as schema
from cloud.public.checkin_terms_routes import checkin_terms_routes
from cloud.public.gate import absent, property_for, stay_for
from cloud.public.late_check_out_routes import late_check_out_routes
from cloud.public.reader import WallClock
from cloud.public.strict import strict_body
from cloud.stays.listing import Stay
from kit.dice import Dice
from kit.http import ProblemError
from protocols.errors import InvalidInputError
from protocols.policy.check_in import StepKind

BODY_BYTES_MOST: Final = 16 * 1024
_STAY: Final = "/properties/{property_id:str}/stays/{stay_id:str}"
_SESSION: Final = _STAY + "/session"
_GUEST: Final = _SESSION + "/guests/{slot:str}"
_USE: Final = {ACTION: "checkin.use"}
_ASSIST: Final = {ACTION: "checkin.assist"}

Call = Request[Principal, Any, Any]

REFUSAL_STATUS: Final = {
    Refusal.EDGE_AWAY: 503,
    Refusal.UNANSWERED: 504,
    Refusal.TOO_LATE: 504,
}
"""Every other refusal is a 409: the request is right, and the stay is not such that it can be done."""


def refused(error: NotAdmissibleError) -> ProblemError:
    """Return a refusal of the desk as a problem."""
    members: dict[str, object] = {
        "reason": error.refusal.value,
        "retryable": error.may_be_retried,
        "may_have_taken_effect": error.refusal is Refusal.UNANSWERED,
    }
    if error.available_from_ms is not None:
        members["available_from"] = iso(at(error.available_from_ms))
    return ProblemError(REFUSAL_STATUS.get(error.refusal, 409), str(error), kind=error.refusal.value, **members)


def by_of(caller: Principal, channel: str | None = None) -> By:
    """Return who answers and where: a guest at the kiosk that he stands at, else on the web; staff at the desk unless
    they say else.
    """
    if caller.role is Role.GUEST:
        return By(caller.name, "kiosk" if channel == "kiosk" or caller.kiosk is not None else "web")
    return By(caller.name, channel or "desk")


@dataclass(frozen=True, slots=True)
class CheckInServices:
    """What the routes stand on."""

    database: Database
    sessions: Sessions
    registrations: Registrations
    clock: WallClock
    dice: Dice


def checkin_routes(services: CheckInServices) -> Router:
    """Return the routes."""
    sessions = services.sessions

    async def place_of(caller: Principal, property_id: str, stay_id: str) -> tuple[Property, Stay]:
        async with services.database.snapshot() as connection:
            return await stay_for(connection, caller, property_id, stay_id)

    @post(_STAY + "/guest-links", summary="Make a link for a guest of a stay", opt={ACTION: "stay.invite"})
    async def make_link(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> schema.GuestLink:
        found, stay = await place_of(request.user, property_id, stay_id)
        async with services.database.transaction() as connection:
            try:
                token, until = await links.make(
                    connection,
                    found,
                    stay,
                    by=request.user.name,
                    dice=services.dice,
                    now_ms=services.clock.wall_ms(),
                )
            except LinkRefusedError as error:
                raise ProblemError(409, str(error), kind="no_link") from error
        return schema.GuestLink(token, f"/guest/#check-in={found.id}/{stay.id}/{token}", iso(until))

    @delete(_STAY + "/guest-links", summary="End every link of a stay", opt={ACTION: "stay.invite"})
    async def end_links(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> None:
        found, stay = await place_of(request.user, property_id, stay_id)
        async with services.database.transaction() as connection:
            await links.end_all(connection, found, stay.id, now_ms=services.clock.wall_ms())

    @get(_STAY + "/key-term", summary="Until when a stay has keys: a phone asks for longer ones", opt=_USE)
    async def key_term(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> schema.KeyTerm:
        _, stay = await place_of(request.user, property_id, stay_id)
        return schema.KeyTerm(ends_at=iso(stay.expected_until))

    async def acted(
        request: Call, property_id: str, stay_id: str, act: Callable[[Property, str, By], Awaitable[Standing]]
    ) -> schema.Session:
        """Let the caller act on the session of a stay that is his to act on; answer how it stands then."""
        found, stay = await place_of(request.user, property_id, stay_id)
        with _problems():
            return _view(found, stay, await act(found, stay.id, by_of(request.user)))

    @post(_SESSION, status_code=200, summary="Begin a check-in, or go on with it", opt=_USE)
    async def begin(
        request: Call,
        property_id: FromPath[str],
        stay_id: FromPath[str],
        data: JSONBody[schema.BeginRequest],
    ) -> schema.Session:
        by = by_of(request.user, data.channel)
        return await acted(
            request,
            property_id,
            stay_id,
            lambda place, stay, _: sessions.begin(place, stay, by=by, language=data.language),
        )

    @get(_SESSION, summary="How far a check-in is", opt=_USE)
    async def read(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> schema.Session:
        async with services.database.snapshot() as connection:
            found, stay = await stay_for(connection, request.user, property_id, stay_id)
            known = await sessions.read(connection, found, stay)
        if known is None:
            raise absent()
        return _view(found, stay, known)

    @put(_GUEST, summary="Say who one of the party is", opt=_USE)
    async def tell(
        request: Call,
        property_id: FromPath[str],
        stay_id: FromPath[str],
        slot: FromPath[str],
        data: JSONBody[GuestFacts],
    ) -> schema.Session:
        return await acted(
            request,
            property_id,
            stay_id,
            lambda place, stay, by: sessions.tell_guest(place, stay, _slot(slot), data, by=by),
        )

    @post(_GUEST + "/document", status_code=200, summary="Show the zone of a travel document", opt=_USE)
    async def show(
        request: Call,
        property_id: FromPath[str],
        stay_id: FromPath[str],
        slot: FromPath[str],
        data: JSONBody[schema.DocumentRequest],
    ) -> schema.Session:
        return await acted(
            request,
            property_id,
            stay_id,
            lambda place, stay, by: sessions.show_document(place, stay, _slot(slot), data.mrz, by=by),
        )

    @post(_GUEST + "/signature", status_code=200, summary="Sign a registration card", opt=_USE)
    async def sign(
        request: Call,
        property_id: FromPath[str],
        stay_id: FromPath[str],
        slot: FromPath[str],
        data: JSONBody[schema.SignatureRequest],
    ) -> schema.Session:
        return await acted(
            request,
            property_id,
            stay_id,
            lambda place, stay, by: sessions.sign_card(place, stay, _slot(slot), data.signed_as, by=by),
        )

    @post(_SESSION + "/terms", status_code=200, summary="Accept the terms of the house", opt=_USE)
    async def terms(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], data: JSONBody[schema.TermsRequest]
    ) -> schema.Session:
        return await acted(
            request,
            property_id,
            stay_id,
            lambda place, stay, by: sessions.accept_terms(
                place, stay, data.version, sha256=data.sha256, language=data.language, by=by
            ),
        )

    @post(_SESSION + "/help", status_code=200, summary="Hand the check-in to staff", opt=_USE)
    async def ask_help(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], data: JSONBody[schema.HelpRequest]
    ) -> schema.Session:
        return await acted(
            request, property_id, stay_id, lambda place, stay, by: sessions.ask_help(place, stay, data.reason, by=by)
        )

    @post(_SESSION + "/stays", status_code=200, summary="Take another room into the check-in", opt=_ASSIST)
    async def add_stay(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], data: JSONBody[schema.StayRequest]
    ) -> schema.Session:
        return await acted(
            request, property_id, stay_id, lambda place, stay, by: sessions.add_stay(place, stay, data.stay, by=by)
        )

    @post(_SESSION + "/waivers", status_code=200, summary="Do a step in the guest's place", opt=_ASSIST)
    async def waive(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], data: JSONBody[schema.WaiverRequest]
    ) -> schema.Session:
        return await acted(
            request,
            property_id,
            stay_id,
            lambda place, stay, by: sessions.waive(place, stay, data.step, data.subject, reason=data.reason, by=by),
        )

    @get("/properties/{property_id:str}/hand-overs", summary="The check-ins that wait for staff", opt=_ASSIST)
    async def waiting(request: Call, property_id: FromPath[str]) -> schema.HandOvers:
        async with services.database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            queue = await hand_overs(connection, found, now_ms=services.clock.wall_ms())
        return schema.HandOvers(
            [
                schema.HandOver(
                    session=each.session,
                    stay=each.stay,
                    guest_name=each.guest_name,
                    room=each.room,
                    channel=each.channel,
                    since=iso(each.since),
                    asked=each.asked,
                    went_on_at=None if each.went_on_at is None else iso(each.went_on_at),
                    steps=[
                        schema.Step(step.kind, step.subject, StepState.NEEDS_STAFF, step.reason) for step in each.steps
                    ],
                )
                for each in queue
            ]
        )

    @get(_SESSION + "/people", summary="Who a check-in is for, with its evidence", opt={ACTION: "checkin.people"})
    async def people(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> schema.People:
        found, stay = await place_of(request.user, property_id, stay_id)
        known = await sessions.people(found, stay.id)
        told = {} if known is None else known[1]
        return schema.People(
            people=[
                schema.Person(
                    slot=slot,
                    surname=facts.surname,
                    given_names=facts.given_names,
                    birth_date=None if facts.birth_date is None else facts.birth_date.isoformat(),
                    nationality=facts.nationality,
                    birth_state=facts.birth_state,
                    address=facts.address,
                    document=None if document is None else msgspec.to_builtins(document),
                )
                for slot, (facts, document) in told.items()
            ],
            evidence=[
                schema.Evidence(
                    step=row["kind"],
                    subject=row["subject"],
                    state=row["state"],
                    actor=row["actor"],
                    channel=row["channel"],
                    at=iso(row["at"]),
                    evidence=row["evidence"],
                    reason=row["reason"],
                )
                for row in await sessions.evidence(found, stay.id)
            ],
        )

    @get(
        _GUEST + "/card",
        summary="A guest's registration card",
        opt={ACTION: "checkin.people"},
        media_type="application/pdf",
    )
    async def card(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], slot: FromPath[str]
    ) -> Response[bytes]:
        found, stay = await place_of(request.user, property_id, stay_id)
        made = await services.registrations.card(found, stay, _slot(slot))
        if made is None:
            raise absent()
        return Response(await asyncio.to_thread(card_pdf, made), media_type="application/pdf")

    @get(
        "/properties/{property_id:str}/registrations/{day:str}",
        summary="The arrivals of a day for the authority",
        opt={ACTION: "checkin.people"},
    )
    async def registrations(request: Call, property_id: FromPath[str], day: FromPath[str]) -> schema.DayReport:
        try:
            asked = date.fromisoformat(day)
        except ValueError as error:
            raise absent() from error
        if not date(2000, 1, 1) <= asked <= date(2100, 1, 1):
            raise absent()
        async with services.database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
        told = await services.registrations.day(found, asked)
        return schema.DayReport(
            reporter=told.reporter,
            day=asked.isoformat(),
            due_at=iso(told.due_at),
            guests=told.report.guests,
            file=told.report.text,
            missing=[schema.NotReported(each.stay, each.slot, each.problem) for each in told.report.missing],
            unknown=list(told.unknown),
        )

    handlers: Sequence[Any] = (
        make_link, end_links, key_term, begin, read, tell, show, sign, terms, ask_help, add_stay, waive, waiting,
        people, card, registrations,
        checkin_terms_routes(services.database, services.clock),
        late_check_out_routes(services.database, services.clock, services.dice),
    )  # fmt: skip
    return Router("/api/v1", route_handlers=handlers, request_max_body_size=BODY_BYTES_MOST, before_request=strict_body)


class _problems:  # noqa: N801 - reads as a block
    """Answers what check-in refuses as problems."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        match error:
            case NotAdmissibleError():
                raise refused(error) from error
            case UnreadableZoneError():
                raise ProblemError(422, str(error), kind="unreadable_zone", findings=error.findings) from error
            case InvalidInputError():
                members = {"field": error.place, "retryable": False, "may_have_taken_effect": False}
                raise ProblemError(400, str(error), kind="invalid-input", **members) from error
            case NoKeysError():
                detail = "This house takes no personal data here; please see the front desk."
                raise ProblemError(409, detail, kind="front_desk", reason="front_desk") from error
            case _:
                return


def _slot(text: str) -> str:
    try:
        return msgspec.convert(text, type=schema.Slot)
    except msgspec.ValidationError as error:
        raise absent() from error


def _step(step: SessionStep) -> schema.Step:
    return schema.Step(step.kind, step.subject, step.state, step.reason)


def _view(place: Property, stay: Stay, known: Standing) -> schema.Session:
    row = known.session
    guests_turn = next(
        (step for step in known.steps if step.state is StepState.OPEN and step.kind is not StepKind.ROOM), None
    )
    before_keys = [step for step in known.steps if step.state not in FINISHED and step.kind is not StepKind.GRANT]
    needs_staff = any(step.state is StepState.NEEDS_STAFF for step in known.steps)
    if guests_turn is not None and guests_turn.kind is StepKind.GRANT and before_keys:
        guests_turn = None
    return schema.Session(
        id=row.id,
        house=place.name,
        zone=place.zone,
        arrives_at=iso(stay.expected_from),
        leaves_at=iso(stay.expected_until),
        state=row.state,
        stays=list(row.stays),
        channel=row.channel,
        language=row.language,
        policy_version=row.policy_version,
        terms=row.policy.terms,
        deposit=None if row.policy.deposit is None else msgspec.to_builtins(row.policy.deposit),
        deposit_standing=None if known.deposit is None else schema.standing_of(known.deposit),
        steps=[_step(step) for step in known.steps],
        guests=[schema.GuestSlot(slot, slot in known.told) for slot in known.slots],
        next=None if guests_turn is None or row.state != "open" else _step(guests_turn),
        waits_for="room" if known.waits_for_room else "staff" if needs_staff else None,
        help_asked_at=iso(row.help_asked_at),
        began_at=iso(row.began_at),
        expires_at=iso(row.expires_at),
    )
