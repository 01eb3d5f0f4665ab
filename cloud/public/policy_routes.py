"""The routes of policies: hold one against what was, roll one out by rings, see how far it is."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Router, get, post
from litestar.params import FromPath, JSONBody

from cloud.checkin.policy_outcomes import dry_run
from cloud.kit.database import Database
from cloud.kit.times import iso
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principal
from cloud.policy.releases import PROPERTIES_MOST, RINGS_MOST, Releases, release_by_id
from cloud.public.gate import absent
from cloud.public.reader import WallClock
from cloud.public.strict import strict_body
from protocols.errors import InvalidInputError, UnsupportedVersionError
from protocols.policy import check_in, late_check_out, room
from protocols.policy.check_in import CheckInPolicy
from protocols.policy.envelope import BODY_BYTES_MAX
from protocols.policy.late_check_out import LateCheckOutPolicy

DAY_MS: Final = 24 * 3_600_000
_MANAGE: Final = {ACTION: "policy.manage"}
_Property = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
_Ring = Annotated[list[_Property], msgspec.Meta(min_length=1, max_length=PROPERTIES_MOST)]

Call = Request[Principal, Any, Any]


class DryRunRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A check-in policy, and the sessions of how many days it is held against."""

    policy: CheckInPolicy
    properties: _Ring
    days: Annotated[int, msgspec.Meta(ge=1, le=90)] = 30


class DryRunAnswer(msgspec.Struct, frozen=True):
    """What the policy would have asked, beside what was asked; `too_early`: guests it would not have let begin."""

    sessions: int
    too_early: int
    steps_asked: dict[str, int]
    steps_then: dict[str, int]


class ReleaseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A check-in policy, the properties ring by ring, and how long each ring is watched."""

    policy: CheckInPolicy
    rings: Annotated[list[_Ring], msgspec.Meta(min_length=1, max_length=RINGS_MOST)]
    soak_minutes: Annotated[int, msgspec.Meta(ge=0, le=14 * 24 * 60)] = 60


class RoomReleaseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A room policy document, null to take the signed one back; the properties ring by ring, and how long to watch."""

    policy: dict[str, Any] | None
    rings: Annotated[list[_Ring], msgspec.Meta(min_length=1, max_length=RINGS_MOST)]
    soak_minutes: Annotated[int, msgspec.Meta(ge=0, le=14 * 24 * 60)] = 24 * 60


class LateCheckOutReleaseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A late check-out policy, the properties ring by ring, and how long each ring is watched."""

    policy: LateCheckOutPolicy
    rings: Annotated[list[_Ring], msgspec.Meta(min_length=1, max_length=RINGS_MOST)]
    soak_minutes: Annotated[int, msgspec.Meta(ge=0, le=14 * 24 * 60)] = 0


class PropertyVerdict(msgspec.Struct, frozen=True):
    """How one property stands; `verdict` null: its edge has not answered."""

    property: str
    version: int
    verdict: str | None
    detail: str | None


class Release(msgspec.Struct, frozen=True):
    """A rollout; `state`: rolling, done or rolled_back."""

    id: str
    kind: str
    state: str
    ring: int
    rings: list[list[str]]
    reason: str | None
    made_by: str
    made_at: str
    properties: list[PropertyVerdict]


@dataclass(frozen=True, slots=True)
class PolicyServices:
    """What the routes stand on."""

    database: Database
    releases: Releases
    clock: WallClock


def _written(policy: CheckInPolicy) -> CheckInPolicy:
    """Return a policy as it will be read; whose version nobody here knows was written wrongly, by the one who asks."""
    try:
        return check_in.parse(check_in.encode(policy))
    except UnsupportedVersionError as error:
        raise InvalidInputError("check-in policy: v", str(error)) from error


def policy_routes(services: PolicyServices) -> Router:
    """Return the routes."""

    @post("/policies/dry-run", status_code=200, summary="Hold a check-in policy against what was", opt=_MANAGE)
    async def held_against(request: Call, data: JSONBody[DryRunRequest]) -> DryRunAnswer:
        policy = _written(data.policy)
        async with services.database.snapshot() as connection:
            found = await dry_run(
                connection,
                policy,
                tenant=request.user.tenant,
                properties=data.properties,
                since_ms=services.clock.wall_ms() - data.days * DAY_MS,
            )
        return DryRunAnswer(found.sessions, found.too_early, dict(found.steps_asked), dict(found.steps_then))

    @post("/policies/releases", summary="Roll a check-in policy out by rings", opt=_MANAGE)
    async def released(request: Call, data: JSONBody[ReleaseRequest]) -> Release:
        _written(data.policy)
        made = await services.releases.release(
            tenant=request.user.tenant,
            kind=check_in.KIND,
            body=check_in.encode(data.policy),
            rings=data.rings,
            soak_ms=data.soak_minutes * 60_000,
            by=request.user.name,
        )
        return await view(request.user, made)

    @post("/policies/rooms/releases", summary="Roll a room policy out by rings", opt=_MANAGE)
    async def rooms_released(request: Call, data: JSONBody[RoomReleaseRequest]) -> Release:
        made = await services.releases.release(
            tenant=request.user.tenant,
            kind=room.KIND,
            body=msgspec.json.encode(data.policy).decode(),
            rings=data.rings,
            soak_ms=data.soak_minutes * 60_000,
            by=request.user.name,
        )
        return await view(request.user, made)

    @post("/policies/late-check-outs/releases", summary="Roll a late check-out policy out by rings", opt=_MANAGE)
    async def late_released(request: Call, data: JSONBody[LateCheckOutReleaseRequest]) -> Release:
        made = await services.releases.release(
            tenant=request.user.tenant,
            kind=late_check_out.KIND,
            body=late_check_out.encode(data.policy),
            rings=data.rings,
            soak_ms=data.soak_minutes * 60_000,
            by=request.user.name,
        )
        return await view(request.user, made)

    @get("/policies/releases/{release_id:str}", summary="How far a rollout is", opt=_MANAGE)
    async def one(request: Call, release_id: FromPath[str]) -> Release:
        return await view(request.user, release_id)

    async def view(caller: Principal, release: str) -> Release:
        async with services.database.snapshot() as connection:
            found = await release_by_id(connection, tenant=caller.tenant, release=release)
        if found is None:
            raise absent()
        verdicts = [PropertyVerdict(**row) for row in found.pop("properties")]
        return Release(**{**found, "made_at": iso(found["made_at"])}, properties=verdicts)

    return Router(
        "/api/v1",
        route_handlers=[held_against, released, rooms_released, late_released, one],
        request_max_body_size=BODY_BYTES_MAX,
        before_request=strict_body,
    )
