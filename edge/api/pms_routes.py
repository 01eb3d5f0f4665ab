"""The routes of the PMS in the house, version 1: charges to a guest's room, his bill, and what else he may ask.

All ask for the token.

A charge is asked for under a key of the caller's own: asked for again, it is the same charge. One whose answer was lost
is `unknown` until the PMS, the bill or a person says what became of it; nothing sends it again.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, Protocol

import msgspec
from litestar import Router, get, post
from litestar.params import FromPath, JSONBody

from edge.bridges.fias.billing import Bill, Billing
from edge.bridges.fias.ledger import KEY_CHARACTERS_MOST, Entry
from kit.http import ProblemError
from protocols.device_model.identity import ACTOR_CHARACTERS_MAX
from protocols.errors import LocalProtocolError
from protocols.fias.postings import MINOR_MOST, Charge, ChargeKind
from protocols.fias.services import MESSAGE_MOST, CheckOutAnswered, GuestsListed, MessageTold, WakeUpAnswered

_Room = Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
_Guest = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,10}\Z")]
NOT_HERE: Final = "not-on-this-link"


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


class CheckOutBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST pms/check-outs. `balance_minor`: the balance of the bill that the guest saw."""

    room: _Room
    guest_number: _Guest
    balance_minor: Annotated[int, msgspec.Meta(ge=-MINOR_MOST, le=MINOR_MOST)]


class WakeUpBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST pms/wake-ups. `at`: of the property's wall clock, without a zone. `end`: no more."""

    room: _Room
    at: datetime
    end: bool = False


class MessageBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST pms/messages: what a guest leaves at the desk."""

    room: _Room
    guest_number: _Guest
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MESSAGE_MOST)]


class ReadBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST pms/messages/read: the guest has had a message."""

    room: _Room
    guest_number: _Guest
    message: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]


class PmsLink(Protocol):
    """The link to the PMS, as these routes ask it (edge/bridges/fias/session.py)."""

    billing: Billing

    async def post(self, key: str, charge: Charge) -> Entry:
        """Take a charge to be posted."""
        ...

    async def bill(self, room: str, guest_number: str) -> Bill:
        """Return a guest's bill."""
        ...

    async def check_out(self, room: str, guest_number: str, balance_minor: int) -> CheckOutAnswered:
        """Ask that a guest be checked out."""
        ...

    async def wake_up(self, room: str, moment: datetime, *, end: bool = False) -> WakeUpAnswered:
        """Ask that a room be woken, or no more."""
        ...

    async def inquire(self, sought: str) -> GuestsListed:
        """Return whom a room or a name may mean."""
        ...

    def messages(self, guest_number: str) -> list[MessageTold]:
        """Return what a guest has not read."""
        ...

    def read_message(self, room: str, guest_number: str, message: str) -> None:
        """The guest has had a message."""
        ...

    def leave_message(self, room: str, guest_number: str, text: str) -> None:
        """Leave a guest's message at the desk."""
        ...


def pms_routes(link: PmsLink | None) -> list[Router]:
    """Return the routes; None: there is no PMS in the house, and there are none."""
    if link is None:
        return []

    @post("/charges", name="pms-charge", status_code=HTTPStatus.OK)
    async def charge(data: JSONBody[ChargeBody]) -> dict[str, Any]:
        wanted = Charge(data.room, data.minor, data.text, data.kind, data.guest_number)
        with _refused_as("no-charges"):
            return _told(await link.post(data.key, wanted))

    @get("/charges", name="pms-charges")
    async def charges() -> dict[str, Any]:
        return {"charges": [_told(each) for each in link.billing.charges()]}

    @post("/charges/{key:str}/settle", name="pms-charge-settle", status_code=HTTPStatus.OK)
    async def settle(key: FromPath[str], data: JSONBody[SettleBody]) -> dict[str, Any]:
        with _refused_as("no-charges"):
            return _told(await link.billing.settle(key, posted=data.posted, by=data.by))

    @get("/bills/{room:str}/{guest_number:str}", name="pms-bill")
    async def bill(room: FromPath[str], guest_number: FromPath[str]) -> dict[str, Any]:
        if re.fullmatch("[0-9]{1,10}", guest_number) is None or re.fullmatch(r"[^|\x00-\x1f]{1,20}", room) is None:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST, "want a room and a guest number of the PMS", kind="invalid-input"
            )
        with _refused_as("no-bills"):
            found = await link.bill(room, guest_number)
        lines = [{"text": each.text, "minor": each.minor, "window": each.window} for each in found.lines if each.shown]
        return {"balance_minor": found.balance_minor, "lines": lines}

    return [Router("/api/v1/pms", route_handlers=[charge, charges, settle, bill, *_asked(link)])]


def _asked(link: PmsLink) -> list[Any]:
    """Return the routes of what a guest may ask of the PMS beside his bill."""

    @post("/check-outs", name="pms-check-out", status_code=HTTPStatus.OK)
    async def check_out(data: JSONBody[CheckOutBody]) -> dict[str, Any]:
        with _refused_as(NOT_HERE):
            told = await link.check_out(data.room, data.guest_number, data.balance_minor)
        return {"accepted": told.status == "OK", "status": told.status, "said": told.text[:80]}

    @post("/wake-ups", name="pms-wake-up", status_code=HTTPStatus.OK)
    async def wake_up(data: JSONBody[WakeUpBody]) -> dict[str, Any]:
        if data.at.tzinfo is not None:
            raise ProblemError(HTTPStatus.BAD_REQUEST, "at: a time of the wall clock has no zone", kind="invalid-input")
        with _refused_as(NOT_HERE):
            told = await link.wake_up(data.room, data.at, end=data.end)
        return {"accepted": told.status == "OK", "status": told.status}

    @get("/guests/{sought:str}", name="pms-guests")
    async def guests(sought: FromPath[str]) -> dict[str, Any]:
        with _refused_as(NOT_HERE):
            told = await link.inquire(sought)
        return {"guests": [msgspec.to_builtins(each) for each in told.guests]}

    @get("/messages/{guest_number:str}", name="pms-messages")
    async def messages(guest_number: FromPath[str]) -> dict[str, Any]:
        with _refused_as(NOT_HERE):
            told = link.messages(guest_number)
        return {"messages": [{"message": each.message, "room": each.room, "text": each.text} for each in told]}

    @post("/messages", name="pms-message", status_code=HTTPStatus.ACCEPTED)
    async def message(data: JSONBody[MessageBody]) -> dict[str, Any]:
        with _refused_as(NOT_HERE):
            link.leave_message(data.room, data.guest_number, data.text)
        return {}

    @post("/messages/read", name="pms-message-read", status_code=HTTPStatus.OK)
    async def read(data: JSONBody[ReadBody]) -> dict[str, Any]:
        with _refused_as(NOT_HERE):
            link.read_message(data.room, data.guest_number, data.message)
        return {}

    return [check_out, wake_up, guests, messages, message, read]


@contextmanager
def _refused_as(kind: str) -> Iterator[None]:
    """What the link cannot do, as it was agreed with this PMS, is a conflict of that kind."""
    try:
        yield
    except LocalProtocolError as error:
        raise ProblemError(HTTPStatus.CONFLICT, str(error), kind=kind) from error


def _told(entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(entry)
    return {name: value for name, value in told.items() if name != "not_before_ms"}
