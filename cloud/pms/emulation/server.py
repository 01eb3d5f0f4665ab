"""A face as an application: the vendor's wire on every path, and /emulator/... for whoever runs the rehearsal."""

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import HttpMethod, Litestar, Request, Response, Router, WebSocket, get, post, put, route, websocket
from litestar.exceptions import WebSocketException
from litestar.params import FromPath, JSONBody

from cloud.kit.times import unix_ms
from cloud.pms.emulation.channel import GoneError
from cloud.pms.emulation.face import Ask, Face, Knobs
from cloud.pms.emulation.hotel import Forbidden, Missing, Reservation
from kit.http import application

Call = Request[Any, Any, Any]
Socket = WebSocket[Any, Any, Any]


class NewReservation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /emulator/reservations. Times are ISO 8601; by default now until tomorrow."""

    last_name: str
    first_name: str | None = None
    room: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    email: str | None = None
    language: str | None = None


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /emulator/reservations/{id}/update."""

    room: str | None = None
    start: datetime | None = None
    end: datetime | None = None


class GuestName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /emulator/reservations/{id}/guest: the guest is called so from now on."""

    last_name: str
    first_name: str | None = None


class GuestAddress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /emulator/reservations/{id}/contact: the guest is written to so from now on."""

    email: str | None = None
    language: str | None = None


class RoomState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /emulator/rooms/{name}."""

    state: str


class Advance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /emulator/clock."""

    advance_ms: Annotated[int, msgspec.Meta(ge=0)]


def build(emulator: Face) -> Litestar:
    """Return the emulator as an application."""

    @route("/{path:path}", http_method=[HttpMethod.GET, HttpMethod.POST, HttpMethod.PUT, HttpMethod.DELETE])
    async def wire(request: Call, path: FromPath[str]) -> Response[bytes]:  # noqa: ARG001 - litestar's route shape
        reply = await emulator.answer(
            Ask(
                request.method,
                request.url.path,
                {key: value for key, value in request.query_params.items() if isinstance(value, str)},
                {key.lower(): value for key, value in request.headers.items()},
                await request.body(),
            )
        )
        body = b"" if reply.status == 204 else msgspec.json.encode(reply.body)
        return Response(
            body[: len(body) // 2] if reply.cut else body,
            status_code=reply.status,
            headers=dict(reply.headers),
            media_type="application/json",
        )

    @websocket("/{path:path}")
    async def socket(socket: Socket, path: FromPath[str]) -> None:  # noqa: ARG001 - litestar's route shape
        await socket.accept(subprotocols=emulator.SUBPROTOCOL)
        query = {key: value for key, value in socket.query_params.items() if isinstance(value, str)}
        channel = _Channel(socket)
        if not await emulator.socket(Ask("GET", socket.url.path, query), channel):
            await channel.close(4404, "Nothing here")

    @get("/state")
    async def state() -> dict[str, Any]:
        return emulator.state()

    @get("/knobs")
    async def knobs() -> Knobs:
        return emulator.knobs

    @put("/knobs")
    async def set_knobs(request: Call) -> Knobs:
        """Change the knobs named in the body; the others stay."""
        changes = msgspec.json.decode(await request.body(), type=dict[str, Any])
        emulator.knobs = msgspec.convert({**msgspec.to_builtins(emulator.knobs), **changes}, Knobs)
        return emulator.knobs

    @post("/reservations")
    async def add(data: JSONBody[NewReservation]) -> Response[bytes]:
        now_ms = emulator.now_ms()
        return _told(
            emulator,
            lambda: emulator.hotel.add(
                room=data.room,
                start_ms=now_ms if data.start is None else unix_ms(data.start),
                end_ms=now_ms + 24 * 3_600_000 if data.end is None else unix_ms(data.end),
                first_name=data.first_name,
                last_name=data.last_name,
                email=data.email,
                language=data.language,
            ),
        )

    @post("/reservations/{reservation_id:str}/update", status_code=200)
    async def update(reservation_id: FromPath[str], data: JSONBody[Change]) -> Response[bytes]:
        return _told(
            emulator,
            lambda: emulator.hotel.update(
                reservation_id,
                room=data.room,
                start_ms=None if data.start is None else unix_ms(data.start),
                end_ms=None if data.end is None else unix_ms(data.end),
            ),
        )

    @post("/reservations/{reservation_id:str}/start", status_code=200)
    async def start(reservation_id: FromPath[str]) -> Response[bytes]:
        return _told(emulator, lambda: emulator.hotel.start(reservation_id))

    @post("/reservations/{reservation_id:str}/process", status_code=200)
    async def process(reservation_id: FromPath[str]) -> Response[bytes]:
        return _told(emulator, lambda: emulator.hotel.process(reservation_id))

    @post("/reservations/{reservation_id:str}/cancel", status_code=200)
    async def cancel(reservation_id: FromPath[str]) -> Response[bytes]:
        return _told(emulator, lambda: emulator.hotel.cancel(reservation_id, "Other"))

    @post("/reservations/{reservation_id:str}/no-show", status_code=200)
    async def no_show(reservation_id: FromPath[str]) -> Response[bytes]:
        return _told(emulator, lambda: emulator.hotel.cancel(reservation_id, "NoShow"))

    @post("/reservations/{reservation_id:str}/guest", status_code=200)
    async def rename(reservation_id: FromPath[str], data: JSONBody[GuestName]) -> Response[bytes]:
        def do() -> Reservation:
            found = emulator.hotel.reservation(reservation_id)
            emulator.hotel.rename(found.account_id, first_name=data.first_name, last_name=data.last_name)
            return found

        return _told(emulator, do)

    @post("/reservations/{reservation_id:str}/contact", status_code=200)
    async def write_to(reservation_id: FromPath[str], data: JSONBody[GuestAddress]) -> Response[bytes]:
        def do() -> Reservation:
            found = emulator.hotel.reservation(reservation_id)
            emulator.hotel.write_to(found.account_id, email=data.email, language=data.language)
            return found

        return _told(emulator, do)

    @post("/rooms/{name:str}", status_code=200)
    async def set_room(name: FromPath[str], data: JSONBody[RoomState]) -> dict[str, Any]:
        found = emulator.hotel.set_room_state(name, data.state)
        return {"Id": found.id, "Name": found.name, "State": found.state}

    @post("/clock", status_code=200)
    async def clock(data: JSONBody[Advance]) -> dict[str, int]:
        emulator.advance(data.advance_ms)
        return {"now": emulator.now_ms()}

    @get("/health")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    admin = Router(
        "/emulator",
        route_handlers=[
            state,
            knobs,
            set_knobs,
            add,
            update,
            rename,
            write_to,
            start,
            process,
            cancel,
            no_show,
            set_room,
            clock,
            health,
        ],
    )
    return application([wire, socket, admin], on_shutdown=[emulator.close])


class _Channel:
    """A litestar websocket as emulators know one."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    async def receive(self) -> str:
        try:
            return await self._socket.receive_text()
        except (WebSocketException, RuntimeError) as error:
            raise GoneError from error

    async def send(self, text: str) -> None:
        try:
            await self._socket.send_text(text)
        except (WebSocketException, RuntimeError) as error:
            raise GoneError from error

    async def close(self, code: int, reason: str) -> None:
        with contextlib.suppress(WebSocketException, RuntimeError):
            await self._socket.close(code, reason)


def _told(emulator: Face, do: Callable[[], Reservation]) -> Response[bytes]:
    try:
        body, status = emulator.shown_json(do()), 200
    except Missing as error:
        body, status = {"Message": str(error)}, 404
    except Forbidden as error:
        body, status = {"Message": str(error)}, 403
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")
