"""The routes of doors: what guests' phones bring from locks, shift keys, emergency keys.

The cloud makes no key and reads no log. It hands the building sealed bytes that only the building opens, and bundles
that the building signed to whoever asked, keeping neither: the commands that carry them are kept without arguments
and results (cloud/fleet/commands.py, `secret_result`).
"""

import textwrap
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Router, delete, get, post
from litestar.params import FromPath, JSONBody

from cloud.access import emergencies
from cloud.access.emergencies import APPROVALS, Approval, Draft, NotApprovableError
from cloud.kit.times import at, iso
from cloud.platform import audit
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principal
from cloud.platform.properties import Property, common_doors, common_zones
from cloud.public.closing_routes import (
    DoorServices,
    Key,
    KeyBundle,
    Name,
    Point,
    RoomName,
    Withdrawn,
    closing_handlers,
)
from cloud.public.edge_answers import ask_edge, by_cloud, digest, person, refusal
from cloud.public.gate import absent, property_for, stay_for
from cloud.public.opening_routes import opening_handlers
from cloud.public.stay_key_routes import stay_key_handlers
from cloud.public.strict import strict_body

BODY_BYTES_MOST: Final = 16 * 1024
DRAFTS_SINCE_MS: Final = 24 * 3_600_000
SAME_WITHIN_MS: Final = 60_000
"""The same bytes within a minute are the same question: the building is asked once."""
CHUNKS_MOST: Final = 8
LOCKS_MOST: Final = 16
ZONES_MOST: Final = 2**53
"""Below it every reader of JSON holds a mask exactly. At it a browser has rounded: 2^53 + 1 arrives as 2^53."""
_HOUSE: Final = "/properties/{property_id:str}"
_DRAFT: Final = _HOUSE + "/emergency-drafts/{grant_id:str}"

_LockId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z", examples=["7733b6bf78f85549"])]
_Sealed = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9+/]{4,1368}={0,2}\Z", examples=["AqF3c2VhbGVk"])]
_Minute = Annotated[int, msgspec.Meta(ge=0, le=1_439)]
_Grant = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z", examples=["a1a2a3a4a5a6a7a8"])]

Call = Request[Principal, Any, Any]


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
    """The keys of one shift for one phone; they end by themselves, after a day at the latest.

    `passage`: it may hold the common doors of `zones` open until the shift ends; then it is for no room.
    """

    person: Name
    phone_public_key: Point
    not_after_ms: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    idempotency_key: Key
    rooms: Annotated[list[RoomName], msgspec.Meta(max_length=64)] = []
    zones: Annotated[int, msgspec.Meta(ge=0, lt=ZONES_MOST)] = 0
    shift: Shift | None = None
    user_verified: bool = True
    passage: bool = False


class CommonZone(msgspec.Struct, frozen=True):
    """One zone, as a staff key names it in `zones`, and every common door that it opens."""

    zones: int
    doors: list[str]


class CommonZones(msgspec.Struct, frozen=True):
    """The zones of the common doors for which a staff key can be asked, by their number."""

    zones: list[CommonZone]


class EmergencyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What two officers shall approve: these doors, for this phone, for 15 minutes."""

    person: Name
    phone_public_key: Point
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200, examples=["Smoke in 101, nobody answers"])]
    over_privacy: bool
    rooms: Annotated[list[RoomName], msgspec.Meta(min_length=1, max_length=64)]
    idempotency_key: Key


class ApprovalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One officer's key id and its ES256 over the draft's statement."""

    officer: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}\Z", examples=["4a5691a0"])]
    signature: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{128}\Z", examples=["ab" * 64])]


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
    withdrawn_at: str | None
    withdrawn_by: str | None


class EmergencyDrafts(msgspec.Struct, frozen=True):
    """Drafts and keys, newest first."""

    drafts: list[EmergencyDraft]


def _opens(asked: StaffKeyRequest, common: Sequence[str]) -> str:
    """Return what a shift key opens and how, as the audit trail says it: rooms last, they may be many."""
    how = "with user verification" if asked.user_verified else "without user verification"
    zones = f"the common doors of zones {asked.zones:#x} ({', '.join(common) or 'none of the site plan'})"
    if asked.passage:
        return f"{how}: may hold {zones} open"
    what = [*([zones] if asked.zones else []), *([f"rooms {', '.join(asked.rooms)}"] if asked.rooms else [])]
    return f"{how}: opens {' and '.join(what) or 'nothing'}"


def _in_parts(text: str) -> list[str]:
    """Return a text in parts that fit into an entry each, numbered if they are several; nothing of it is left out."""
    parts = textwrap.wrap(text, audit.TEXT_CHARACTERS_MOST - 20, break_on_hyphens=False)
    return parts if len(parts) == 1 else [f"{n} of {len(parts)}: {part}" for n, part in enumerate(parts, 1)]


def door_routes(services: DoorServices) -> Router:
    """Return the routes."""
    database, clock = services.database, services.clock

    async def house(caller: Principal, property_id: str) -> Property:
        async with database.snapshot() as connection:
            return await property_for(connection, caller, property_id)

    ask = partial(ask_edge, services.commands)

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
            found, _ = await stay_for(connection, request.user, property_id, stay_id)
        args = msgspec.to_builtins(data)
        key = f"carried:{digest(args)}:{clock.wall_ms() // SAME_WITHIN_MS}"
        return await ask(request.user, found, "doors_carried", args, key=key, answer=Carried)

    @get(
        _HOUSE + "/common-doors",
        summary="The common doors by zone, as a staff key names them",
        opt={ACTION: "staff_key.issue"},
    )
    async def list_zones(request: Call, property_id: FromPath[str]) -> CommonZones:
        async with database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            known = await common_zones(connection, tenant=found.tenant, property_id=found.id)
        return CommonZones([CommonZone(zone, doors) for zone, doors in known if zone < ZONES_MOST])

    @post(
        _HOUSE + "/staff-keys",
        status_code=200,
        summary="Give a phone the keys of one shift",
        opt={ACTION: "staff_key.issue"},
    )
    async def staff_key(request: Call, property_id: FromPath[str], data: JSONBody[StaffKeyRequest]) -> KeyBundle:
        found = await house(request.user, property_id)
        args = msgspec.to_builtins(data) | {"by": by_cloud(request.user)}
        if not data.passage:
            del args["passage"]  # an edge of before this field refuses a command that has it
        elif data.rooms or not data.zones:
            raise refusal(400, "a key that holds doors open is for common doors alone: zones, no rooms", "passage")
        async with database.transaction() as connection:
            common = await common_doors(connection, tenant=found.tenant, property_id=found.id, zones=data.zones)
            told = [
                audit.Told(
                    found.tenant,
                    request.user.name,
                    "staff_key.issue",
                    f"staff/{data.person}",
                    audit.Outcome.ALLOWED,
                    clock.wall_ms(),
                    property_id=found.id,
                    detail=part,
                )
                for part in _in_parts(_opens(data, common))
            ]
            await audit.append_many(connection, found.tenant, told)
        # A key names its question: with another one it is another key, and never answered with this bundle.
        key = f"staff-key:{args.pop('idempotency_key')}:{digest(args)}"
        return await ask(request.user, found, "staff_key", args, key=key, answer=KeyBundle)

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
        args = msgspec.to_builtins(data) | {"by": by_cloud(request.user)}
        key = f"emergency-draft:{args.pop('idempotency_key')}:{digest(args)}"
        said = await ask(request.user, found, "emergency_draft", args, key=key, answer=_Drafted)
        draft = Draft(
            said.grant, data.person, data.reason, said.doors, said.statement, said.officers, person(request.user),
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
        given = Approval(person(request.user), data.officer, data.signature, at(now_ms))
        try:
            async with database.transaction() as connection:
                await emergencies.approve(
                    connection, draft, given, tenant=found.tenant, property_id=found.id, now_ms=now_ms
                )
        except NotApprovableError as error:
            raise refusal(409, str(error), "not_approvable") from error
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
        if draft.drafted_by != person(request.user):
            raise refusal(403, "only who drafted it may fetch it", "not_yours")
        if draft.withdrawn_at is not None:
            raise refusal(409, "it was taken back", "withdrawn")
        if len(approvals) < APPROVALS:
            raise refusal(409, f"{len(approvals)} of {APPROVALS} people have approved it", "not_approved")
        signed = [{"officer": each.officer, "signature": each.signature} for each in approvals[-APPROVALS:]]
        args = {"grant": grant_id, "approvals": signed, "by": by_cloud(request.user)}
        key = f"emergency-key:{grant_id}:{digest(args)}"
        bundle = await ask(request.user, found, "emergency_key", args, key=key, answer=KeyBundle)
        async with database.transaction() as connection:
            await emergencies.issued(connection, property_id=found.id, grant_id=grant_id, now_ms=clock.wall_ms())
        return bundle

    @get(
        _HOUSE + "/emergency-drafts",
        summary="The emergency keys of the last day, drafted and issued",
        opt={ACTION: "emergency.approve"},
    )
    async def list_drafts(request: Call, property_id: FromPath[str]) -> EmergencyDrafts:
        async with database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            named = {"tenant": found.tenant, "property_id": found.id}
            drafts = await emergencies.recent(connection, **named, since=at(clock.wall_ms() - DRAFTS_SINCE_MS))
            return EmergencyDrafts(
                [
                    _view(each, await emergencies.approvals_of(connection, **named, grant_id=each.grant_id))
                    for each in drafts
                ]
            )

    @delete(
        _DRAFT,
        status_code=200,
        summary="Take back an emergency key, or the draft of one",
        opt={ACTION: "emergency.approve"},
    )
    async def take_back(request: Call, property_id: FromPath[str], grant_id: FromPath[str]) -> EmergencyDraft:
        found, draft, _ = await draft_for(request.user, property_id, grant_id)
        by = by_cloud(request.user)
        # the building says which it was: a key that was issued while its answer was lost is no draft any more
        args = {"grant": grant_id, "by": by}
        key = f"emergency-drop:{grant_id}"
        said = await ask(request.user, found, "emergency_drop", args, key=key, answer=_Dropped)
        if said.issued and at(clock.wall_ms()) < draft.until_at:
            args["reason"] = "emergency key taken back"
            key = f"emergency-withdraw:{grant_id}"
            await ask(request.user, found, "withdraw_key", args, key=key, answer=Withdrawn)
        async with database.transaction() as connection:
            await emergencies.take_back(
                connection,
                draft,
                tenant=found.tenant,
                property_id=found.id,
                by=person(request.user),
                now_ms=clock.wall_ms(),
            )
        _, draft, approvals = await draft_for(request.user, property_id, grant_id)
        return _view(draft, approvals)

    handlers = [
        *(carried, list_zones, staff_key, draft_emergency, list_drafts, read_draft, approve, emergency_key, take_back),
        *closing_handlers(services),
        *opening_handlers(services),
        *stay_key_handlers(services),
    ]
    return Router("/api/v1", route_handlers=handlers, request_max_body_size=BODY_BYTES_MOST, before_request=strict_body)


class _Dropped(msgspec.Struct, frozen=True):
    dropped: bool
    issued: bool


class _Drafted(msgspec.Struct, frozen=True):
    """The building's draft."""

    grant: _Grant
    statement: Annotated[str, msgspec.Meta(max_length=4_096)]
    until_ms: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    officers: list[str]
    doors: list[str]


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
        withdrawn_at=iso(draft.withdrawn_at),
        withdrawn_by=draft.withdrawn_by,
    )
