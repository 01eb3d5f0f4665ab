"""The routes of found and bound devices, version 1: look, bind, test, swap, unbind.

Whoever changes a device names the version that he saw: of two engineers at one device the second is told so (409,
`changed-meanwhile`) and nothing is done. A question asked again after a lost answer is answered as the first time.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, Protocol

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import FromPath, JSONBody

from edge.binding.book import Asked
from edge.binding.errors import BindingRefusedError, ChangedMeanwhileError, UnknownDeviceError
from kit.clock import Clock
from kit.http import ProblemError, problem
from protocols.device_model.binding import WHY_CHARACTERS_MAX, Place
from protocols.device_model.identity import (
    ACTOR_CHARACTERS_MAX,
    BusId,
    DescriptorId,
    DeviceId,
    parse_actor,
    parse_bus_id,
    parse_descriptor_id,
    parse_device_id,
    parse_room_id,
)
from protocols.device_model.site_plan import Address

_By = Annotated[str, msgspec.Meta(min_length=1, max_length=ACTOR_CHARACTERS_MAX)]
_Why = Annotated[str, msgspec.Meta(max_length=WHY_CHARACTERS_MAX)]
_Version = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]

PROBED_MOST: Final = 16
"""Unit numbers a request: one that nobody has costs a second or two."""
NO_PLAN: Final = "this edge has no site plan: there are no buses and no rooms to bind anything to"


class DeviceBook(Protocol):
    """Devices, as somebody at the API sees and changes them; edge/app answers it."""

    def device(self, device: DeviceId) -> dict[str, Any]:
        """Return one device. Raises UnknownDeviceError."""
        ...

    def found(self) -> list[dict[str, Any]]:
        """Return what was met and stands behind no name."""
        ...

    async def probe(self, bus: BusId, numbers: Sequence[int]) -> dict[str, Any]:
        """Ask unit numbers of a bus who is there."""
        ...

    async def bind(self, device: DeviceId, place: Place, asked: Asked, *, found_id: DeviceId | None) -> dict[str, Any]:
        """Give a free name to a thing."""
        ...

    async def swap(
        self,
        device: DeviceId,
        descriptor: DescriptorId,
        address: Address,
        asked: Asked,
        *,
        accept_less: bool,
        found_id: DeviceId | None,
    ) -> dict[str, Any]:
        """Have a name stand for another thing."""
        ...

    async def unbind(self, device: DeviceId, asked: Asked) -> dict[str, Any]:
        """Take a name from its thing."""
        ...

    async def test(self, device: DeviceId, asked: Asked, *, disturb: bool) -> dict[str, Any]:
        """Test what stands behind a name."""
        ...


class AddressBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An address as the site plan writes it."""

    bus: _Name
    unit: int | None = None
    ieee: _Name | None = None
    friendly_name: _Name | None = None
    node: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    mac: _Name | None = None


class _Thing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which thing: one that was found (`found`), or its `descriptor` and `address`; both say more than one."""

    by: _By
    version: _Version
    why: _Why = ""
    found: _Name | None = None
    descriptor: _Name | None = None
    address: AddressBody | None = None


class BindBody(_Thing, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """POST devices/{device}/bind."""

    room: _Name
    watches: Literal["door", "window"] | None = None


class SwapBody(_Thing, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """POST devices/{device}/swap."""

    accept_less: bool = False


class UnbindBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST devices/{device}/unbind."""

    by: _By
    version: _Version
    why: _Why = ""


class TestBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST devices/{device}/test. `disturb`: even if somebody is in the room."""

    by: _By
    why: _Why = ""
    disturb: bool = False


class ProbeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST buses/{bus}/probe: unit numbers `first` to `last`, at most `PROBED_MOST` of them.

    0 and 255 are asked on Modbus TCP and TLS, 248 to 254 nowhere: they are reserved.
    """

    first: Annotated[int, msgspec.Meta(ge=0, le=255)]
    last: Annotated[int, msgspec.Meta(ge=0, le=255)]


def device_routes(book: DeviceBook | None, *, clock: Clock) -> list[Router]:
    """Return the routes; `book` None: there is no site plan, and every one of them says so."""

    def open_book() -> DeviceBook:
        if book is None:
            raise ProblemError(409, NO_PLAN, kind="no-site-plan")
        return book

    def asked(by: str, version: int, why: str) -> Asked:
        return Asked(parse_actor(by), clock.wall_ms(), version, _plain(why))

    @get("/api/v1/found-devices", name="found-devices")
    async def found() -> dict[str, Any]:
        return {"as_of_ms": clock.wall_ms(), "found": open_book().found()}

    @get("/api/v1/devices/{device:str}", name="device")
    async def device_(device: FromPath[str]) -> dict[str, Any]:
        return {"as_of_ms": clock.wall_ms(), **open_book().device(parse_device_id(device))}

    @post("/api/v1/devices/{device:str}/bind", status_code=200, name="bind-device")
    async def bind(device: FromPath[str], data: JSONBody[BindBody]) -> dict[str, Any]:
        name, desk = parse_device_id(device), open_book()
        descriptor, address, found_id = _thing(data, desk)
        place = Place(parse_room_id(data.room, "room"), descriptor, address, data.watches)
        return await desk.bind(name, place, asked(data.by, data.version, data.why), found_id=found_id)

    @post("/api/v1/devices/{device:str}/swap", status_code=200, name="swap-device")
    async def swap(device: FromPath[str], data: JSONBody[SwapBody]) -> dict[str, Any]:
        name, desk = parse_device_id(device), open_book()
        descriptor, address, found_id = _thing(data, desk)
        return await desk.swap(
            name,
            descriptor,
            address,
            asked(data.by, data.version, data.why),
            accept_less=data.accept_less,
            found_id=found_id,
        )

    @post("/api/v1/devices/{device:str}/unbind", status_code=200, name="unbind-device")
    async def unbind(device: FromPath[str], data: JSONBody[UnbindBody]) -> dict[str, Any]:
        return await open_book().unbind(parse_device_id(device), asked(data.by, data.version, data.why))

    @post("/api/v1/devices/{device:str}/test", status_code=200, name="test-device")
    async def test(device: FromPath[str], data: JSONBody[TestBody]) -> dict[str, Any]:
        return await open_book().test(parse_device_id(device), asked(data.by, 0, data.why), disturb=data.disturb)

    @post("/api/v1/buses/{bus:str}/probe", status_code=200, name="probe-bus")
    async def probe(bus: FromPath[str], data: JSONBody[ProbeBody]) -> dict[str, Any]:
        numbers = range(data.first, data.last + 1)
        if not 0 < len(numbers) <= PROBED_MOST:
            raise ProblemError(400, f"ask 1 to {PROBED_MOST} unit numbers at a time", kind="invalid-input")
        return {"as_of_ms": clock.wall_ms(), **await open_book().probe(parse_bus_id(bus), numbers)}

    return [
        Router(
            "/",
            route_handlers=[found, device_, probe, bind, swap, unbind, test],
            exception_handlers={
                ChangedMeanwhileError: _on_changed,
                BindingRefusedError: _on_refused,
                UnknownDeviceError: _on_unknown,
            },
        )
    ]


def _thing(data: _Thing, book: DeviceBook) -> tuple[DescriptorId, Address, DeviceId | None]:
    """Return model and address of what is meant: what was found says what the asker does not."""
    descriptor = data.descriptor
    address = None if data.address is None else Address(**msgspec.structs.asdict(data.address))
    found_id: DeviceId | None = None
    if data.found is not None:
        thing = next((each for each in book.found() if each["id"] == data.found), None)
        if thing is None:
            raise ProblemError(404, f"nothing is found as {data.found!r} now", kind="unknown-found-device")
        found_id = thing["id"]
        address = address or _found_address(thing)
        descriptor = descriptor or _only_candidate(thing)
    if address is None:
        raise ProblemError(400, "say which thing: `found`, or `descriptor` and `address`", kind="invalid-input")
    if descriptor is None:
        raise ProblemError(400, "say which model it is: `descriptor`", kind="invalid-input")
    return parse_descriptor_id(descriptor), address, found_id


def _found_address(thing: Mapping[str, Any]) -> Address | None:
    return None if thing["address"] is None else msgspec.convert(thing["address"], Address)


def _only_candidate(thing: Mapping[str, Any]) -> str | None:
    """Return the model if the evidence leaves no choice; of two that fit alike a person chooses."""
    likely: list[Mapping[str, Any]] = thing["candidates"]
    if not likely or (len(likely) > 1 and likely[1]["confidence"] >= likely[0]["confidence"]):
        return None
    return str(likely[0]["descriptor"])


def _plain(why: str) -> str:
    return "".join(each if each.isprintable() else " " for each in why)


def _on_changed(_: Request[Any, Any, Any], error: ChangedMeanwhileError) -> Response[bytes]:
    members: dict[str, object] = {"device": error.device, "version": error.stands, "by": error.by}
    return problem(
        HTTPStatus.CONFLICT,
        str(error),
        kind="changed-meanwhile",
        retryable=False,
        may_have_taken_effect=False,
        **members,
    )


def _on_refused(_: Request[Any, Any, Any], error: BindingRefusedError) -> Response[bytes]:
    return problem(
        HTTPStatus.CONFLICT,
        str(error),
        kind="binding-refused",
        reason=error.kind,
        device=error.device,
        retryable=error.kind in ("busy", "fire", "occupied"),
        may_have_taken_effect=False,
    )


def _on_unknown(_: Request[Any, Any, Any], error: UnknownDeviceError) -> Response[bytes]:
    return problem(HTTPStatus.NOT_FOUND, str(error), kind="unknown-device", device=error.device)
