"""The routes of the PMS in the house, version 1: charges to a guest's room, and his bill. All ask for the token.

A charge is asked for under a key of the caller's own: asked for again, it is the same charge. One whose answer was lost
is `unknown` until the PMS, the bill or a person says what became of it; nothing sends it again.
"""

import re
from http import HTTPStatus
from typing import Annotated, Any, Protocol

import msgspec
from litestar import Router, get, post
from litestar.params import FromPath, JSONBody

from edge.bridges.fias.billing import Bill, Billing
from edge.bridges.fias.ledger import KEY_CHARACTERS_MOST, Entry
from kit.http import ProblemError
from protocols.device_model.identity import ACTOR_CHARACTERS_MAX
from protocols.errors import LocalProtocolError
from protocols.fias.postings import MINOR_MOST, Charge, ChargeKind

_Room = Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
_Guest = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,10}\Z")]


class ChargeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST pms/charges. `room` as the PMS calls it; `minor` in hundredths; `guest_number` (G#) finds the bill again."""

    key: Annotated[str, msgspec.Meta(max_length=KEY_CHARACTERS_MOST, pattern=r"^[A-Za-z0-9._:-]{8,}\Z")]
    room: _Room
    minor: Annotated[int, msgspec.Meta(ge=-MINOR_MOST, le=MINOR_MOST)]
    text: Annotated[str, msgspec.Meta(max_length=80)] = ""
    kind: ChargeKind = ChargeKind.DIRECT
    guest_number: _Guest | None = None


class SettleBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST pms/charges/{key}/settle: a person has looked whether an unknown charge is on the bill."""

    posted: bool
    by: Annotated[str, msgspec.Meta(min_length=1, max_length=ACTOR_CHARACTERS_MAX)]


class PmsLink(Protocol):
    """The link to the PMS, as these routes ask it (edge/bridges/fias/session.py)."""

    billing: Billing

    def post(self, key: str, charge: Charge) -> Entry:
        """Take a charge to be posted."""
        ...

    async def bill(self, room: str, guest_number: str) -> Bill:
        """Return a guest's bill."""
        ...


def pms_routes(link: PmsLink | None) -> list[Router]:
    """Return the routes; None: there is no PMS in the house, and there are none."""
    if link is None:
        return []

    @post("/charges", name="pms-charge", status_code=HTTPStatus.OK)
    async def charge(data: JSONBody[ChargeBody]) -> dict[str, Any]:
        wanted = Charge(data.room, data.minor, data.text, data.kind, data.guest_number)
        try:
            return _told(link.post(data.key, wanted))
        except LocalProtocolError as error:
            raise ProblemError(HTTPStatus.CONFLICT, str(error), kind="no-charges") from error

    @get("/charges", name="pms-charges")
    async def charges() -> dict[str, Any]:
        return {"charges": [_told(each) for each in link.billing.charges()]}

    @post("/charges/{key:str}/settle", name="pms-charge-settle", status_code=HTTPStatus.OK)
    async def settle(key: FromPath[str], data: JSONBody[SettleBody]) -> dict[str, Any]:
        try:
            return _told(link.billing.settle(key, posted=data.posted, by=data.by))
        except LocalProtocolError as error:
            raise ProblemError(HTTPStatus.CONFLICT, str(error), kind="no-charges") from error

    @get("/bills/{room:str}/{guest_number:str}", name="pms-bill")
    async def bill(room: FromPath[str], guest_number: FromPath[str]) -> dict[str, Any]:
        if re.fullmatch("[0-9]{1,10}", guest_number) is None or re.fullmatch(r"[^|\x00-\x1f]{1,20}", room) is None:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST, "want a room and a guest number of the PMS", kind="invalid-input"
            )
        try:
            found = await link.bill(room, guest_number)
        except LocalProtocolError as error:
            raise ProblemError(HTTPStatus.CONFLICT, str(error), kind="no-bills") from error
        lines = [{"text": each.text, "minor": each.minor, "window": each.window} for each in found.lines if each.shown]
        return {"balance_minor": found.balance_minor, "lines": lines}

    return [Router("/api/v1/pms", route_handlers=[charge, charges, settle, bill])]


def _told(entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(entry)
    return {name: value for name, value in told.items() if name != "not_before_ms"}
