"""The routes of doors: what guests' phones bring from locks, shift keys, emergency keys.

The cloud makes no key and reads no log. It hands the building sealed bytes that only the building opens, and bundles
that the building signed to whoever asked, keeping neither: the commands that carry them are kept without arguments
and results (cloud/fleet/commands.py, `secret_result`).
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import msgspec
from litestar import Request, Router, get, post
from litestar.params import FromPath, JSONBody

from cloud.access import emergencies
from cloud.access.emergencies import APPROVALS, Approval, Draft, NotApprovableError
from cloud.fleet.commands import Command, Commands
from cloud.kit.database import Database
from cloud.kit.times import at, iso
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principal
from cloud.platform.properties import Property
from cloud.public.gate import absent, property_for
from cloud.public.reader import WallClock
from cloud.public.strict import strict_body
from cloud.stays.listing import stay_by_id
from kit.http import ProblemError
from protocols.device_model.command import Phase

BODY_BYTES_MOST: Final = 16 * 1024
ANSWER_WAIT_MS: Final = 15_000
SAME_WITHIN_MS: Final = 60_000
"""The same bytes within a minute are the same question: the building is asked once."""
CHUNKS_MOST: Final = 8
LOCKS_MOST: Final = 16
_HOUSE: Final = "/properties/{property_id:str}"
_DRAFT: Final = _HOUSE + "/emergency-drafts/{grant_id:str}"

_LockId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z", examples=["7733b6bf78f85549"])]
_Sealed = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9+/]{4,1368}={0,2}\Z", examples=["AqF3c2VhbGVk"])]
_Point = Annotated[str, msgspec.Meta(pattern=r"^0[23][0-9a-f]{64}\Z", examples=["03cf" + "ab" * 31])]
_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}\Z", examples=["maria"])]
_Room = Annotated[str, msgspec.Meta(min_length=1, max_length=40, examples=["101"])]
_Key = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:-]{8,80}\Z", examples=["shift-2026-11-21-maria"])]
_Minute = Annotated[int, msgspec.Meta(ge=0, le=1_439)]
_Grant = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z", examples=["a1a2a3a4a5a6a7a8"])]

Call = Request[Principal, Any, Any]
_Answer = TypeVar("_Answer")


class Chunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sealed piece of a lock's log, base64; only the building opens it."""

    lock: _LockId
    sealed: _Sealed


class CarriedRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a phone brings, and the locks that it may go to."""

    chunks: Annotated[list[Chunk], msgspec.Meta(max_length=CHUNKS_MOST)] = []
    locks: Annotated[list[_LockId], msgspec.Meta(max_length=LOCKS_MOST)] = []


class Taken(msgspec.Struct, frozen=True):
    """What became of a chunk: stored, known, gap, later (bring it again), refused."""

    lock: str
    outcome: str


class Signed(msgspec.Struct, frozen=True):
    """What a phone may hand to a lock: an object of the building, and the certificate it is signed under."""

    signed: str
    certificate: str


class LockStanding(msgspec.Struct, frozen=True):
    """Up to which record the building has the lock's log, and what to bring there."""

    lock: str
    have: int
    carry: list[Signed]


class Carried(msgspec.Struct, frozen=True):
    """The building's answer."""

    taken: list[Taken]
    locks: list[LockStanding]


class Shift(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Working hours, UTC: bit 0 of `days` is Monday, minutes of the day."""

    days: Annotated[int, msgspec.Meta(ge=1, le=127)]
    from_minute: _Minute
    to_minute: _Minute


class StaffKeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of one shift for one phone; they end by themselves, after a day at the latest."""

    person: _Name
    phone_public_key: _Point
    not_after_ms: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    idempotency_key: _Key
    rooms: Annotated[list[_Room], msgspec.Meta(max_length=64)] = []
    zones: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    shift: Shift | None = None
    user_verified: bool = True


class EmergencyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What two officers shall approve: these doors, for this phone, for 15 minutes."""

    person: _Name
    phone_public_key: _Point
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200, examples=["Smoke in 101, nobody answers"])]
    over_privacy: bool
    rooms: Annotated[list[_Room], msgspec.Meta(min_length=1, max_length=64)]
    idempotency_key: _Key


class ApprovalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One officer's key id and its ES256 over the draft's statement."""

    officer: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}\Z", examples=["4a5691a0"])]
    signature: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}\Z", examples=["ab" * 64])]


class KeyBundle(msgspec.Struct, frozen=True):
    """The bundle for the phone that the key was made for (protocols/door/SPEC.md 9.3). Secret."""

    bundle: dict[str, Any]


class ApprovedBy(msgspec.Struct, frozen=True):
    """Who approved, with which officer's key."""

    by: str
    officer: str
    at: str | None


class EmergencyDraft(msgspec.Struct, frozen=True):
    """A draft and its approvals. `statement` is what officers sign, in hexadecimal."""

    grant: str
    person: str
    reason: str
    doors: list[str]
    statement: str
    officers: list[str]
    drafted_by: str
    until: str | None
    approvals: list[ApprovedBy]
    issued: bool


@dataclass(frozen=True, slots=True)
class DoorServices:
    """What the routes need."""

    database: Database
    commands: Commands
    clock: WallClock


def door_routes(services: DoorServices) -> Router:
    """Return the routes."""
    database, clock = services.database, services.clock

    async def house(caller: Principal, property_id: str) -> Property:
        async with database.snapshot() as connection:
            return await property_for(connection, caller, property_id)

    async def ask(caller: Principal, found: Property, kind: str, args: dict[str, Any], key: str) -> dict[str, Any]:
        return _result(
            await services.commands.run(
                found,
                kind=kind,
                args=args,
                idempotency_key=key,
                within_ms=ANSWER_WAIT_MS,
                asked_by=caller.name,
                secret_result=True,
            )
        )

    async def draft_for(caller: Principal, property_id: str, grant_id: str) -> tuple[Property, Draft, list[Approval]]:
        async with database.snapshot() as connection:
            found = await property_for(connection, caller, property_id)
            named = {"tenant": found.tenant, "property_id": found.id, "grant_id": grant_id}
            draft = await emergencies.draft_of(connection, **named)
            approvals = await emergencies.approvals_of(connection, **named)
        if draft is None:
            raise absent()
        return found, draft, approvals

    @post(
        _HOUSE + "/stays/{stay_id:str}/carried",
        status_code=200,
        summary="Hand over what a phone brings from the locks, and learn what to take there",
        opt={ACTION: "door.carry"},
    )
    async def carried(
        request: Call,
        property_id: FromPath[str],
        stay_id: FromPath[str],
        data: JSONBody[CarriedRequest],
    ) -> Carried:
        async with database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            if await stay_by_id(connection, tenant=found.tenant, property_id=found.id, stay=stay_id) is None:
                raise absent()
        args = msgspec.to_builtins(data)
        key = f"carried:{_digest(args)}:{clock.wall_ms() // SAME_WITHIN_MS}"
        return _of_edge(await ask(request.user, found, "doors_carried", args, key), Carried)

    @post(
        _HOUSE + "/staff-keys",
        status_code=200,
        summary="Give a phone the keys of one shift",
        opt={ACTION: "staff_key.issue"},
    )
    async def staff_key(request: Call, property_id: FromPath[str], data: JSONBody[StaffKeyRequest]) -> KeyBundle:
        found = await house(request.user, property_id)
        args = msgspec.to_builtins(data) | {"by": f"cloud:{request.user.name}"[:80]}
        # A key names its question: with another one it is another key, and never answered with this bundle.
        key = f"staff-key:{args.pop('idempotency_key')}:{_digest(args)}"
        return _of_edge(await ask(request.user, found, "staff_key", args, key), KeyBundle)

    @post(
        _HOUSE + "/emergency-drafts",
        status_code=200,
        summary="Draft an emergency key for two officers to approve",
        opt={ACTION: "emergency.draft"},
    )
    async def draft_emergency(
        request: Call, property_id: FromPath[str], data: JSONBody[EmergencyRequest]
    ) -> EmergencyDraft:
        found = await house(request.user, property_id)
        args = msgspec.to_builtins(data) | {"by": f"cloud:{request.user.name}"[:80]}
        key = f"emergency-draft:{args.pop('idempotency_key')}:{_digest(args)}"
        said = _of_edge(await ask(request.user, found, "emergency_draft", args, key), _Drafted)
        draft = Draft(
            said.grant, data.person, data.reason, said.doors, said.statement, said.officers, _person(request.user),
            at(clock.wall_ms()), at(said.until_ms), None,
        )  # fmt: skip
        async with database.transaction() as connection:
            await emergencies.keep(connection, draft, tenant=found.tenant, property_id=found.id)
        _, kept, approvals = await draft_for(request.user, property_id, said.grant)
        return _view(kept, approvals)

    @get(_DRAFT, summary="An emergency key's draft, and who approved it", opt={ACTION: "emergency.approve"})
    async def read_draft(request: Call, property_id: FromPath[str], grant_id: FromPath[str]) -> EmergencyDraft:
        _, draft, approvals = await draft_for(request.user, property_id, grant_id)
        return _view(draft, approvals)

    @post(
        _DRAFT + "/approvals",
        status_code=200,
        summary="Approve an emergency key as one of two officers",
        opt={ACTION: "emergency.approve"},
    )
    async def approve(
        request: Call, property_id: FromPath[str], grant_id: FromPath[str], data: JSONBody[ApprovalRequest]
    ) -> EmergencyDraft:
        found, draft, _ = await draft_for(request.user, property_id, grant_id)
        now_ms = clock.wall_ms()
        given = Approval(_person(request.user), data.officer, data.signature, at(now_ms))
        try:
            async with database.transaction() as connection:
                await emergencies.approve(
                    connection, draft, given, tenant=found.tenant, property_id=found.id, now_ms=now_ms
                )
        except NotApprovableError as error:
            raise _refused(409, str(error), "not_approvable") from error
        _, draft, approvals = await draft_for(request.user, property_id, grant_id)
        return _view(draft, approvals)

    @post(
        _DRAFT + "/key",
        status_code=200,
        summary="Fetch an emergency key that two people approved, for the phone it is made for",
        opt={ACTION: "emergency.draft"},
    )
    async def emergency_key(request: Call, property_id: FromPath[str], grant_id: FromPath[str]) -> KeyBundle:
        found, draft, approvals = await draft_for(request.user, property_id, grant_id)
        if draft.drafted_by != _person(request.user):
            raise _refused(403, "only who drafted it may fetch it", "not_yours")
        if len(approvals) < APPROVALS:
            raise _refused(409, f"{len(approvals)} of {APPROVALS} people have approved it", "not_approved")
        signed = [{"officer": each.officer, "signature": each.signature} for each in approvals[-APPROVALS:]]
        args = {"grant": grant_id, "approvals": signed, "by": f"cloud:{request.user.name}"[:80]}
        key = f"emergency-key:{grant_id}:{_digest(args)}"
        bundle = _of_edge(await ask(request.user, found, "emergency_key", args, key), KeyBundle)
        async with database.transaction() as connection:
            await emergencies.issued(connection, property_id=found.id, grant_id=grant_id, now_ms=clock.wall_ms())
        return bundle

    handlers = [carried, staff_key, draft_emergency, read_draft, approve, emergency_key]
    return Router("/api/v1", route_handlers=handlers, request_max_body_size=BODY_BYTES_MOST, before_request=strict_body)


class _Drafted(msgspec.Struct, frozen=True):
    """The building's draft."""

    grant: _Grant
    statement: Annotated[str, msgspec.Meta(max_length=4_096)]
    until_ms: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    officers: list[str]
    doors: list[str]


def _person(caller: Principal) -> str:
    """Who somebody is, whatever he signed in with this time."""
    return caller.name if caller.account is None else caller.account


def _digest(args: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(args, order="sorted")).hexdigest()[:32]


def _view(draft: Draft, approvals: list[Approval]) -> EmergencyDraft:
    return EmergencyDraft(
        grant=draft.grant_id,
        person=draft.person,
        reason=draft.reason,
        doors=draft.doors,
        statement=draft.statement,
        officers=draft.officers,
        drafted_by=draft.drafted_by,
        until=iso(draft.until_at),
        approvals=[ApprovedBy(each.by, each.officer, iso(each.at)) for each in approvals],
        issued=draft.issued_at is not None,
    )


def _of_edge(answer: dict[str, Any], kind: type[_Answer]) -> _Answer:
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise _refused(502, f"the building's answer is not of its form: {error}", "strange") from error


def _result(command: Command) -> dict[str, Any]:
    if command.phase is Phase.DONE and command.result is not None:
        return command.result
    if command.link_lost:
        raise _refused(503, "The hotel cannot be reached from here at the moment.", "edge_away", retryable=True)
    if command.phase is Phase.FAILED:
        raise _refused(409, command.reason or "The hotel refused.", "edge_refused")
    if command.phase is Phase.EXPIRED:
        raise _refused(504, "It reached the hotel too late; nothing was done.", "too_late", retryable=True)
    raise _refused(
        504, "The hotel has not answered; it may have been done. Ask again.", "unanswered", retryable=True, may=True
    )


def _refused(status: int, detail: str, reason: str, *, retryable: bool = False, may: bool = False) -> ProblemError:
    return ProblemError(
        status, detail, kind=reason.replace("_", "-"), reason=reason, retryable=retryable, may_have_taken_effect=may
    )
