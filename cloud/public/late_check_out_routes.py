"""The routes of late check-outs: a guest asks by his link, the desk answers (docs/decisions/0173)."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Router, delete, get, post
from litestar.params import FromPath, JSONBody

from cloud.checkin import late_check_outs
from cloud.checkin.late_check_outs import LateCheckOutError, Offer, WhyNot, Wish, WishState
from cloud.kit.database import Database
from cloud.kit.times import iso
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principal
from cloud.public.gate import property_for, stay_for
from cloud.public.reader import WallClock
from kit.dice import Dice
from kit.http import ProblemError

BODY_BYTES_MOST: Final = 4 * 1024
_ONE: Final = "/properties/{property_id:str}/stays/{stay_id:str}/late-check-out"
_USE: Final = {ACTION: "checkin.use"}
_ASSIST: Final = {ACTION: "checkin.assist"}
_Hour = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9](?![\s\S])", examples=["13:00"])]
_Reason = Annotated[str, msgspec.Meta(min_length=3, max_length=300)]

Call = Request[Principal, Any, Any]


class LateCheckOutRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Until when the guest would like to stay, on the day on which his stay ends, by the house's clocks."""

    until: _Hour


class LateCheckOutAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The desk's answer to a wish; `reason` is shown to the guest, and has to be there where it is refused."""

    wish: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    granted: bool
    reason: _Reason | None = None


class LateWish(msgspec.Struct, frozen=True):
    """What was asked for last, and how it stands.

    `lapsed`: nobody answered before the stay ended. `overtaken`: the stay is over, ends on another day by now, or later
    than was asked for. `alone`: it was granted without anybody.
    """

    id: str
    until: str
    state: WishState
    reason: str | None
    asked_at: str
    decided_at: str | None
    alone: bool


class LateCheckOut(msgspec.Struct, frozen=True):
    """Whether a stay may ask for a late check-out, and its newest wish.

    `why_not` null: it may ask for an hour after `ends_at` and not after `latest`. Up to `alone_until` it is granted at
    once, where nobody waits for the room. `house_knows`: the building has heard of the end that `ends_at` says, and its
    doors open until then.
    """

    why_not: WhyNot | None
    zone: str
    ends_at: str
    latest: str | None
    alone_until: str | None
    house_knows: bool
    wish: LateWish | None


class WaitingLateWish(msgspec.Struct, frozen=True):
    """A wish that waits for the desk. `next_from`: when the room's next guest is due; null: nobody has it yet."""

    wish: str
    stay: str
    guest_name: str
    room: str | None
    ends_at: str
    until: str
    asked_at: str
    next_stay: str | None
    next_from: str | None


class WaitingLateWishes(msgspec.Struct, frozen=True):
    """The desk's queue of them, whose stay ends first, first; at most 200."""

    zone: str
    wishes: list[WaitingLateWish]


def late_check_out_routes(database: Database, clock: WallClock, dice: Dice) -> Router:
    """Return the routes; they belong below /api/v1."""

    @get(_ONE, summary="What a stay may ask for of its end, and what it asked for", opt=_USE)
    async def read(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> LateCheckOut:
        async with database.snapshot() as connection:
            found, stay = await stay_for(connection, request.user, property_id, stay_id)
            return _view(found.zone, await late_check_outs.offer(connection, found, stay, now_ms=clock.wall_ms()))

    @post(_ONE, status_code=200, summary="Ask for a late check-out", opt=_USE)
    async def ask(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], data: JSONBody[LateCheckOutRequest]
    ) -> LateCheckOut:
        async with database.snapshot() as connection:
            found, stay = await stay_for(connection, request.user, property_id, stay_id)
        with _problems():
            async with database.transaction() as connection:
                told = await late_check_outs.ask(
                    connection, found, stay.id, data.until, by=request.user.name, dice=dice, now_ms=clock.wall_ms()
                )
        return _view(found.zone, told)

    @delete(_ONE, status_code=200, summary="Take back what was asked for and not answered", opt=_USE)
    async def withdraw(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> LateCheckOut:
        async with database.snapshot() as connection:
            found, stay = await stay_for(connection, request.user, property_id, stay_id)
        async with database.transaction() as connection:
            told = await late_check_outs.withdraw(
                connection, found, stay.id, by=request.user.name, now_ms=clock.wall_ms()
            )
        return _view(found.zone, told)

    @post(_ONE + "/answer", status_code=200, summary="Grant or refuse a late check-out", opt=_ASSIST)
    async def answer(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], data: JSONBody[LateCheckOutAnswer]
    ) -> LateCheckOut:
        if not data.granted and data.reason is None:
            raise ProblemError(400, "A refusal has a reason: the guest reads it.", kind="invalid-input", field="reason")
        async with database.snapshot() as connection:
            found, stay = await stay_for(connection, request.user, property_id, stay_id)
        with _problems():
            async with database.transaction() as connection:
                told = await late_check_outs.answer(
                    connection,
                    found,
                    stay.id,
                    data.wish,
                    granted=data.granted,
                    reason=data.reason,
                    by=request.user.name,
                    now_ms=clock.wall_ms(),
                )
        return _view(found.zone, told)

    @get(
        "/properties/{property_id:str}/late-check-outs",
        summary="The late check-outs that wait for the desk",
        opt=_ASSIST,
    )
    async def waiting(request: Call, property_id: FromPath[str]) -> WaitingLateWishes:
        async with database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            queue = await late_check_outs.waiting(connection, found, now_ms=clock.wall_ms())
        return WaitingLateWishes(
            found.zone,
            [
                WaitingLateWish(
                    wish=each.wish.id,
                    stay=each.stay,
                    guest_name=each.guest_name,
                    room=each.room,
                    ends_at=iso(each.ends_at),
                    until=iso(each.wish.until),
                    asked_at=iso(each.wish.asked_at),
                    next_stay=None if each.next is None else each.next.stay,
                    next_from=None if each.next is None else iso(each.next.from_at),
                )
                for each in queue
            ],
        )

    return Router("/", route_handlers=[read, ask, withdraw, answer, waiting], request_max_body_size=BODY_BYTES_MOST)


class _problems:  # noqa: N801 - reads as a block
    """Answers what cannot be asked for, or granted, as a problem."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, LateCheckOutError):
            raise ProblemError(409, str(error), kind=error.why.value, reason=error.why.value) from error


def _view(zone: str, told: Offer) -> LateCheckOut:
    return LateCheckOut(
        why_not=told.why_not,
        zone=zone,
        ends_at=iso(told.ends_at),
        latest=iso(told.latest),
        alone_until=iso(told.alone_until),
        house_knows=told.house_knows,
        wish=None if told.wish is None else _wish(told.wish),
    )


def _wish(wish: Wish) -> LateWish:
    return LateWish(
        id=wish.id,
        until=iso(wish.until),
        state=wish.state,
        reason=wish.reason,
        asked_at=iso(wish.asked_at),
        decided_at=iso(wish.decided_at),
        alone=wish.state is WishState.GRANTED and wish.decided_by == late_check_outs.BY_POLICY,
    )
