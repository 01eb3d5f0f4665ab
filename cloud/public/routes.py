"""The REST routes under /api/v1: parse, ask the module that answers for it, say what it said."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from cloud.access.doors import EVENTS_MOST, events_before
from cloud.access.stay_log import first_openings, log_of
from cloud.alerts import alerts
from cloud.checkin import links
from cloud.checkin.desk import CheckInDesk, NotAdmissibleError, Refusal
from cloud.checkin.letter_rows import letters_of
from cloud.checkin.links import LinkRefusedError
from cloud.checkin.sessions import Sessions
from cloud.checkin.vendor_keys import keys_in
from cloud.fleet.commands import Commands, KeyReusedError, command_by_id
from cloud.kit.database import Database
from cloud.kit.times import at, iso
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principal, Role
from cloud.platform.properties import Property, properties_of
from cloud.pms.status import connection_states
from cloud.pms.wishes import unsettled_stays, wishes_of
from cloud.public import schema
from cloud.public.checkin_routes import by_of, refused
from cloud.public.gate import absent, property_for, stay_for
from cloud.public.reader import EVENTS_SHOWN, PropertyReader, WallClock
from cloud.public.strict import strict_body
from cloud.public.views import (
    access_event_view,
    alert_view,
    command_view,
    pms_issue_view,
    position_of,
    position_text,
    stay_log_view,
    stay_view,
)
from cloud.stays.listing import current_stays, past_stays, stay_by_id
from cloud.stays.rooms import rooms_of
from cloud.telemetry import service as telemetry
from cloud.telemetry.completeness import completeness as completeness_of
from kit.http import ProblemError
from kit.http import problem as problem_answer
from protocols.device_model.capability import Capability, attribute, problem_with
from protocols.errors import InvalidInputError
from protocols.link.lanes import Lane

RECORDS_MOST: Final = 1_000
RECORDS_CURSOR: Final = "^[0-9]{1,18}-[0-9]{1,18}$"
COMMAND_S_DEFAULT: Final = 10
COMMAND_S_MOST: Final = 60
STAYS_SINCE_MS: Final = 24 * 3_600_000
WISHES_SINCE_MS: Final = 14 * 24 * 3_600_000
"""A stay that is over stays in the list for so long while its PMS has not been told; then the drift report has it."""
BODY_BYTES_MOST: Final = 64 * 1024

Call = Request[Principal, Any, Any]
# Python's `$` also matches before a last line feed; this end is the end, in every dialect that reads the schema
_Key = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:-]{1,80}(?![\s\S])")]


class CheckInRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A phone asks for the keys of a stay. `phone_public_key` is a compressed P-256 point in hex."""

    phone_public_key: Annotated[str, msgspec.Meta(pattern=r"^0[23][0-9a-f]{64}(?![\s\S])")]
    idempotency_key: _Key


class CheckOutRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing needs to be said."""


class CommandRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One attribute of a room shall become `value`, within `deadline_s` or not at all."""

    capability: Capability
    attribute: Annotated[str, msgspec.Meta(max_length=64)]
    value: bool | int | float | str
    idempotency_key: _Key
    deadline_s: Annotated[int, msgspec.Meta(ge=1, le=COMMAND_S_MOST)] = COMMAND_S_DEFAULT


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes stand on."""

    database: Database
    reader: PropertyReader
    commands: Commands
    desk: CheckInDesk
    sessions: Sessions
    clock: WallClock


def api(services: Services) -> Router:
    """Return the routes."""

    @get("/properties", summary="The hotels the caller may see", opt={ACTION: "property.list"})
    async def properties(request: Call) -> schema.Properties:
        async with services.database.snapshot() as connection:
            found = [
                each
                for each in await properties_of(connection, tenant=request.user.tenant)
                if request.user.may_name(each.id)
            ]
            return schema.Properties([await services.reader.summary(connection, each) for each in found])

    @get("/properties/{property_id:str}", summary="One hotel and its line", opt={ACTION: "property.read"})
    async def one_property(request: Call, property_id: FromPath[str]) -> schema.Property:
        async with services.database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            return await services.reader.summary(connection, found)

    @get("/properties/{property_id:str}/rooms", summary="Every room as last known", opt={ACTION: "property.read"})
    async def rooms(request: Call, property_id: FromPath[str]) -> schema.Rooms:
        async with services.database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            read = await services.reader.rooms(connection, found)
        return schema.Rooms(as_of=iso(at(services.clock.wall_ms())), rooms=read)

    @get(
        "/properties/{property_id:str}/access-events", summary="Door events, newest first", opt={ACTION: "access.read"}
    )
    async def access_events(
        request: Call,
        property_id: FromPath[str],
        limit: Annotated[int, QueryParameter(ge=1, le=EVENTS_MOST)] = EVENTS_SHOWN,
        before: Annotated[str | None, QueryParameter(max_length=80)] = None,
    ) -> schema.AccessEvents:
        position = None if before is None else position_of(before)
        if before is not None and position is None:
            raise InvalidInputError("before", f"{before!r} is not a cursor of this list")
        async with services.database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            page = await events_before(
                connection, tenant=found.tenant, property_id=found.id, most=limit, before=position
            )
        return schema.AccessEvents(
            events=[access_event_view(event) for event in page],
            next=position_text(page[-1]) if len(page) == limit else None,
        )

    @get(
        "/properties/{property_id:str}/alerts",
        summary="What somebody should look at: what is up, or, with `which=all`, what was too",
        opt={ACTION: "property.read"},
    )
    async def alerts_of(
        request: Call,
        property_id: FromPath[str],
        which: FromQuery[Literal["up", "all"]] = "up",
        limit: Annotated[int, QueryParameter(ge=1, le=alerts.ALERTS_MOST)] = EVENTS_SHOWN,
        before: Annotated[int | None, QueryParameter(ge=0, le=2**63 - 1)] = None,
    ) -> schema.Alerts:
        async with services.database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            page = await alerts.listed(
                connection,
                tenant=found.tenant,
                property_id=found.id,
                only_up=which == "up",
                before_id=before,
                most=limit,
            )
        return schema.Alerts(
            alerts=[alert_view(each) for each in page], next=str(page[-1].id) if len(page) == limit else None
        )

    @get(
        "/properties/{property_id:str}/records", summary="The ledger as the edge wrote it", opt={ACTION: "records.read"}
    )
    async def records(  # noqa: PLR0917 - litestar calls it by name
        request: Call,
        property_id: FromPath[str],
        lane: FromQuery[Literal["A", "B", "C"]] = "A",
        edge: Annotated[str | None, QueryParameter(max_length=64)] = None,
        incarnation: Annotated[str | None, QueryParameter(pattern="^[0-9a-f]{32}$")] = None,
        after_seq: Annotated[int, QueryParameter(ge=0, le=2**63 - 1)] = 0,
        cursor: Annotated[str | None, QueryParameter(pattern=RECORDS_CURSOR)] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=RECORDS_MOST)] = 100,
    ) -> schema.LedgerRows:
        stream, _, seq = (cursor or "0-0").partition("-")
        async with services.database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            page = await telemetry.records_page(
                connection,
                tenant=found.tenant,
                property_id=found.id,
                lane=Lane(lane),
                edge=edge or found.edge,
                incarnation=None if incarnation is None else bytes.fromhex(incarnation),
                after_seq=after_seq,
                after=(int(stream), int(seq)),
                most=limit,
            )
        return schema.LedgerRows(
            [
                schema.LedgerRow(
                    lane=row.lane.value,
                    incarnation=row.incarnation.hex(),
                    seq=row.seq,
                    kind=row.kind,
                    body=row.body,
                    edge_at=iso(at(row.edge_at_ms)),
                )
                for row in page.rows
            ],
            next=None if page.following is None else f"{page.following[0]}-{page.following[1]}",
        )

    @get(
        "/properties/{property_id:str}/completeness",
        summary="What of each stream is here and what is missing",
        opt={ACTION: "completeness.read"},
    )
    async def completeness(request: Call, property_id: FromPath[str]) -> schema.Completeness:
        async with services.database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            streams = await completeness_of(connection, tenant=found.tenant, property_id=found.id)
        return schema.Completeness(
            [
                schema.StreamCompleteness(
                    edge=each.edge,
                    incarnation=each.incarnation.hex(),
                    lane=each.lane.value,
                    first=each.first,
                    hi=each.hi,
                    count=each.count,
                    gaps=list(each.gaps),
                    duplicates=each.duplicates,
                    out_of_order=each.out_of_order,
                    declared=[schema.Declared(hole.first, hole.last, hole.reason) for hole in each.holes],
                    chain_breaks=each.chain_breaks,
                    holds=each.holds,
                )
                for each in streams
            ]
        )

    @get(
        "/properties/{property_id:str}/stays",
        summary="Active stays, those of the last day, and older ones of which the PMS has not been told all",
        opt={ACTION: "stay.read"},
    )
    async def stays(request: Call, property_id: FromPath[str]) -> schema.Stays:
        async with services.database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            now_ms = services.clock.wall_ms()
            since = at(now_ms - STAYS_SINCE_MS)
            where = {"tenant": found.tenant, "property_id": found.id}
            current = await current_stays(connection, **where, since=since)
            stuck = await unsettled_stays(
                connection,
                property_id=found.id,
                since=at(now_ms - WISHES_SINCE_MS),
                beside=[stay.id for stay in current],
            )
            over = await past_stays(connection, **where, stays=stuck, until=since)
            wishes = await wishes_of(connection, property_id=found.id, stays=[*current, *over])
            listed = [*current, *(stay for stay in over if stay.id in wishes)]
            listed.sort(key=lambda stay: (stay.expected_from, stay.id))
            opened = await first_openings(connection, **where, stays=[stay.id for stay in listed])
            letters = await letters_of(connection, found, [stay.id for stay in listed])
        return schema.Stays(
            [stay_view(stay, opened.get(stay.id), wishes.get(stay.id, ()), letters.get(stay.id, ())) for stay in listed]
        )

    @get("/properties/{property_id:str}/stays/{stay_id:str}", summary="One stay", opt={ACTION: "stay.read"})
    async def one_stay(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> schema.Stay:
        _, view = await _stay(request.user, property_id, stay_id)
        return view

    async def _stay(caller: Principal, property_id: str, stay_id: str) -> tuple[Property, schema.Stay]:
        async with services.database.snapshot() as connection:
            found = await property_for(connection, caller, property_id)
            stay = await stay_by_id(connection, tenant=found.tenant, property_id=found.id, stay=stay_id)
            if stay is None:
                raise absent()
            opened = await first_openings(connection, tenant=found.tenant, property_id=found.id, stays=[stay.id])
            wishes = await wishes_of(connection, property_id=found.id, stays=[stay])
            letters = await letters_of(connection, found, [stay.id])
        return found, stay_view(stay, opened.get(stay.id), wishes.get(stay.id, ()), letters.get(stay.id, ()))

    @get(
        "/properties/{property_id:str}/stays/{stay_id:str}/door-log",
        summary="What the doors of a stay told, for the guest who asks for it at the desk",
        opt={ACTION: "stay.door_log"},
    )
    async def stay_door_log(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> schema.StayLog:
        async with services.database.snapshot() as connection:
            found, stay = await stay_for(connection, request.user, property_id, stay_id)
            log = await log_of(
                connection,
                tenant=found.tenant,
                property_id=found.id,
                stay=stay.id,
                room=stay.edge_room or stay.room,
                came_at=stay.actual_in,
                left_at=stay.actual_out,
            )
        return stay_log_view(stay, log, now=at(services.clock.wall_ms()))

    @post(
        "/properties/{property_id:str}/stays/{stay_id:str}/check-in",
        status_code=200,
        summary="Give a phone the keys of a stay",
        opt={ACTION: "stay.check_in"},
    )
    async def check_in(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], data: JSONBody[CheckInRequest]
    ) -> schema.CheckedIn:
        found, _ = await _stay(request.user, property_id, stay_id)
        by = by_of(request.user)
        try:
            if request.user.role is Role.GUEST and request.user.account is not None:
                await services.sessions.before_keys(found, stay_id, by=by)
                async with services.database.transaction() as connection:
                    await links.bind(
                        connection,
                        request.user.account,
                        phone_public_key=data.phone_public_key,
                        now_ms=services.clock.wall_ms(),
                    )
            bundle = await services.desk.check_in(
                found,
                stay_id,
                phone_public_key=data.phone_public_key,
                idempotency_key=data.idempotency_key,
                by=request.user.name,
            )
        except LinkRefusedError as error:
            raise refused(NotAdmissibleError(Refusal.LINK_USED, str(error))) from error
        except NotAdmissibleError as error:
            raise refused(error) from error
        await services.sessions.keys_given(found, stay_id, by=by, keys=keys_in(bundle))
        _, view = await _stay(request.user, property_id, stay_id)
        return schema.CheckedIn(bundle=bundle, stay=view)

    @post(
        "/properties/{property_id:str}/stays/{stay_id:str}/check-out",
        status_code=200,
        summary="End a stay",
        opt={ACTION: "stay.check_out"},
    )
    async def check_out(
        request: Call,
        property_id: FromPath[str],
        stay_id: FromPath[str],
        data: JSONBody[CheckOutRequest | None] = None,  # noqa: ARG001 - named for the document of the API
    ) -> schema.CheckedOut:
        found, _ = await _stay(request.user, property_id, stay_id)
        try:
            await services.desk.check_out(found, stay_id, by=request.user.name)
        except NotAdmissibleError as error:
            raise refused(error) from error
        _, view = await _stay(request.user, property_id, stay_id)
        return schema.CheckedOut(stay=view)

    @post(
        "/properties/{property_id:str}/rooms/{room_id:str}/commands",
        status_code=200,
        summary="Command an attribute of a room",
        opt={ACTION: "room.command"},
    )
    async def command_room(
        request: Call, property_id: FromPath[str], room_id: FromPath[str], data: JSONBody[CommandRequest]
    ) -> schema.CommandState:
        row = attribute(data.capability, data.attribute)
        if not row.writable:
            raise InvalidInputError("attribute", f"{data.capability.value}.{data.attribute} cannot be commanded")
        if (problem := problem_with(row, data.value)) is not None:
            raise InvalidInputError("value", problem)
        async with services.database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            known = await rooms_of(connection, tenant=found.tenant, property_id=found.id)
        if room_id not in {room["id"] for room in known}:
            raise absent()
        try:
            command = await services.commands.run(
                found,
                kind="room",
                args={
                    "room": room_id,
                    "capability": data.capability.value,
                    "attribute": data.attribute,
                    "value": data.value,
                },
                idempotency_key=data.idempotency_key,
                within_ms=data.deadline_s * 1_000,
                asked_by=request.user.name,
            )
        except KeyReusedError as error:
            raise ProblemError(409, str(error), kind="key_reused") from error
        return command_view(command)

    @get(
        "/properties/{property_id:str}/commands/{command_id:str}",
        summary="How far a command has come",
        opt={ACTION: "command.read"},
    )
    async def one_command(request: Call, property_id: FromPath[str], command_id: FromPath[str]) -> schema.CommandState:
        async with services.database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            command = await command_by_id(connection, tenant=found.tenant, property_id=found.id, command_id=command_id)
        if command is None:
            raise absent()
        return command_view(command)

    @get(
        "/properties/{property_id:str}/pms", summary="How fresh what we know from the PMS is", opt={ACTION: "pms.read"}
    )
    async def pms(request: Call, property_id: FromPath[str]) -> schema.PmsStatuses:
        async with services.database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            states = await connection_states(connection, tenant=found.tenant, property_id=found.id)
        return schema.PmsStatuses(
            [
                schema.PmsStatus(
                    system=state.system,
                    last_ok_at=iso(state.last_ok_at),
                    last_error=state.last_error,
                    last_error_at=iso(state.last_error_at),
                    hints_waiting=state.hints_waiting,
                    writes_pending=state.writes_pending,
                    writes_failed=state.writes_failed,
                    issues=[pms_issue_view(issue) for issue in state.issues],
                )
                for state in states
            ]
        )

    handlers: Sequence[Any] = (
        properties,
        one_property,
        rooms,
        access_events,
        alerts_of,
        records,
        completeness,
        stays,
        one_stay,
        stay_door_log,
        check_in,
        check_out,
        command_room,
        one_command,
        pms,
    )
    return Router(
        "/api/v1",
        route_handlers=handlers,
        request_max_body_size=BODY_BYTES_MOST,
        before_request=strict_body,
        exception_handlers={RecursionError: _too_deep},
    )


def _too_deep(_request: Call, _error: Exception) -> Response[bytes]:
    """Answer a body nested deeper than the decoder goes: the caller's doing, not a defect."""
    return problem_answer(400, "body: nested too deeply", kind="invalid-input")
