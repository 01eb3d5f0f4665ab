"""The routes of the local API, version 1. Every answer is JSON, every error a problem (RFC 9457)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from litestar import Litestar, Request, Response, Router, get, post
from litestar.params import FromPath, JSONBody

from edge.api.ports import Building
from edge.api.token import ALSO_OPT, DESK, guard
from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from edge.rooms.commands import RoomCommand
from kit.clock import Clock
from kit.dice import Dice
from kit.health import Health
from kit.http import ProblemError, application, operations_routes, problem
from kit.metrics import Metrics
from protocols.device_model.capability import Capability
from protocols.device_model.command import Phase
from protocols.device_model.identity import ACTOR_CHARACTERS_MAX, parse_room_id, parse_stay_id
from protocols.link.record import TIME_MS_MAX

BODY_BYTES_MAX: Final = 16 * 1024
COMMAND_WAIT_MS: Final = 15_000  # a room command without a deadline of its own
COMMAND_WAIT_MOST_MS: Final = 10 * 60_000

_REFUSED_STATUS: Final = {CheckInRefusal.UNKNOWN_STAY: HTTPStatus.NOT_FOUND}
_By = Annotated[str, msgspec.Meta(min_length=1, max_length=ACTOR_CHARACTERS_MAX)]
_AtMs = Annotated[int, msgspec.Meta(ge=0, le=TIME_MS_MAX)]


class CommandBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST rooms/{room}/commands. `deadline_ms` is unix ms; left out, 15 s from now."""

    capability: Capability
    attribute: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    value: bool | int | float | str
    idempotency_key: Annotated[str, msgspec.Meta(min_length=8, max_length=128, pattern=r"^[A-Za-z0-9._:-]+\Z")]
    deadline_ms: _AtMs | None = None
    by: _By = "local"


class CheckInBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST stays/{stay}/check-in."""

    phone_public_key: Annotated[str, msgspec.Meta(max_length=128)]
    by: _By


class MoveBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST stays/{stay}/move: where to, and the phone that gets the key of it."""

    room: Annotated[str, msgspec.Meta(max_length=80)]
    phone_public_key: Annotated[str, msgspec.Meta(max_length=128)]
    by: _By


class EndBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST stays/{stay}/end: when it ends now, and a phone that gets its key at once."""

    until_ms: _AtMs
    by: _By
    phone_public_key: Annotated[str, msgspec.Meta(max_length=128)] | None = None


class CheckOutBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST stays/{stay}/check-out."""

    by: _By


class FireBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST fire: a person says that there is fire, or that it is over."""

    active: bool
    by: _By


def make_app(
    building: Building,
    *,
    token: str,
    health: Health,
    metrics: Metrics,
    clock: Clock,
    dice: Dice,
    routes: Sequence[Router] = (),
    tokens: Mapping[str, str] | None = None,
) -> Litestar:
    """Return the application with further `routes`, which may name one of `tokens`; nothing listens yet."""

    @get("/api/v1/rooms", name="rooms")
    async def rooms() -> dict[str, Any]:
        return {"as_of_ms": clock.wall_ms(), "rooms": building.rooms()}

    @get("/api/v1/rooms/{room:str}", name="room")
    async def room_(room: FromPath[str]) -> dict[str, Any]:
        found = building.room(parse_room_id(room))
        if found is None:
            raise ProblemError(404, f"there is no guest room {room!r} here", kind="unknown-room")
        return {"as_of_ms": clock.wall_ms(), **found}

    @get("/api/v1/devices", name="devices")
    async def devices() -> dict[str, Any]:
        return {"as_of_ms": clock.wall_ms(), "devices": building.devices()}

    @get("/api/v1/stays", name="stays", opt={ALSO_OPT: DESK})
    async def stays() -> dict[str, Any]:
        return building.stays()

    @get("/api/v1/link", name="link", opt={ALSO_OPT: DESK})
    async def link() -> dict[str, Any]:
        return building.link()

    @post("/api/v1/rooms/{room:str}/commands", status_code=200, name="room-command")
    async def command(room: FromPath[str], data: JSONBody[CommandBody]) -> dict[str, Any]:
        room_id = parse_room_id(room)
        if building.room(room_id) is None:
            raise ProblemError(404, f"there is no guest room {room!r} here", kind="unknown-room")
        wall_ms = clock.wall_ms()
        deadline_ms = wall_ms + COMMAND_WAIT_MS if data.deadline_ms is None else data.deadline_ms
        if deadline_ms > wall_ms + COMMAND_WAIT_MOST_MS:
            raise ProblemError(400, f"deadline_ms may be at most {COMMAND_WAIT_MOST_MS} ms away", kind="invalid-input")
        asked = RoomCommand(
            id=f"local-{dice.bytes(8).hex()}",
            room=room_id,
            capability=data.capability,
            attribute=data.attribute,
            value=data.value,
            deadline_ms=deadline_ms,
            idempotency_key=f"local:{data.idempotency_key}",
            by=data.by,
        )
        outcome = await building.command(asked)
        return {**outcome.to_body(), "may_have_taken_effect": outcome.phase in (Phase.DONE, Phase.UNKNOWN)}

    @get("/api/v1/alerts", name="alerts")
    async def alerts() -> dict[str, Any]:
        return {"as_of_ms": clock.wall_ms(), "alerts": building.alerts()}

    @get("/api/v1/batteries", name="batteries")
    async def batteries() -> dict[str, Any]:
        return {"as_of_ms": clock.wall_ms(), "batteries": building.batteries()}

    @get("/api/v1/energy", name="energy")
    async def energy() -> dict[str, Any]:
        return {"as_of_ms": clock.wall_ms(), **building.energy()}

    @get("/api/v1/rules", name="rules")
    async def rules() -> dict[str, Any]:
        return {"as_of_ms": clock.wall_ms(), "rules": building.rules()}

    @get("/api/v1/fire", name="fire")
    async def fire() -> dict[str, Any]:
        return building.fire()

    @post("/api/v1/fire", status_code=200, name="set-fire")
    async def set_fire(data: JSONBody[FireBody]) -> dict[str, Any]:
        return building.set_fire(active=data.active, by=data.by)

    @post("/api/v1/rooms/{room:str}/scenes/sleep", status_code=200, name="sleep-scene")
    async def sleep_scene(room: FromPath[str]) -> dict[str, Any]:
        room_id = parse_room_id(room)
        if building.room(room_id) is None:
            raise ProblemError(404, f"there is no guest room {room!r} here", kind="unknown-room")
        building.sleep_scene(room_id)
        return {"as_of_ms": clock.wall_ms(), "room": room}

    @post("/api/v1/stays/{stay:str}/check-in", status_code=200, name="check-in")
    async def check_in(stay: FromPath[str], data: JSONBody[CheckInBody]) -> dict[str, Any]:
        return dict(await building.check_in(parse_stay_id(stay), data.phone_public_key, by=data.by))

    @post("/api/v1/stays/{stay:str}/move", status_code=200, name="move")
    async def move(stay: FromPath[str], data: JSONBody[MoveBody]) -> dict[str, Any]:
        room = parse_room_id(data.room, "room")
        return dict(await building.move(parse_stay_id(stay), room, data.phone_public_key, by=data.by))

    @post("/api/v1/stays/{stay:str}/end", status_code=200, name="end-at", opt={ALSO_OPT: DESK})
    async def end_at(stay: FromPath[str], data: JSONBody[EndBody]) -> dict[str, Any]:
        key = data.phone_public_key
        return dict(await building.end_at(parse_stay_id(stay), data.until_ms, by=data.by, phone_public_key=key))

    @post("/api/v1/stays/{stay:str}/check-out", status_code=200, name="check-out", opt={ALSO_OPT: DESK})
    async def check_out(stay: FromPath[str], data: JSONBody[CheckOutBody]) -> dict[str, Any]:
        return dict(await building.check_out(parse_stay_id(stay), by=data.by))

    version_1 = Router(
        "/",
        route_handlers=[
            *(rooms, room_, devices, stays, link, command, check_in, move, end_at, check_out),
            *(alerts, batteries, energy, rules, fire, set_fire, sleep_scene),
        ],
        exception_handlers={CheckInRefusedError: on_refused},
    )
    return application(
        [*operations_routes(health, metrics), version_1, *routes],
        guards=[guard(token, tokens)],
        request_max_body_size=BODY_BYTES_MAX,
    )


def on_refused(_: Request[Any, Any, Any], error: CheckInRefusedError) -> Response[bytes]:
    """Answer what the rules of check-in do not allow."""
    members: dict[str, object] = {"reason": error.reason.value, "retryable": False, "may_have_taken_effect": False}
    if error.available_from_ms is not None:
        members["available_from_ms"] = error.available_from_ms
    status = _REFUSED_STATUS.get(error.reason, HTTPStatus.CONFLICT)
    return problem(status, str(error), kind="check-in-refused", **members)
