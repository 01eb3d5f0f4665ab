"""The routes of payments: a guest's deposit by the provider's token, what staff does with it, the provider's hints."""

import json
import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import msgspec
from litestar import Request, Response, Router, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from cloud.checkin.sessions import Sessions, Standing
from cloud.checkin.steps import FINISHED
from cloud.kit.acting import acting, system
from cloud.kit.database import Database
from cloud.kit.times import at, iso, unix_ms
from cloud.payments import approvals
from cloud.payments.approvals import Waiting
from cloud.payments.movements import Asker, Movement, MovementState, Verb
from cloud.payments.payments import PAGE_LIFE_MS, Payment, Payments
from cloud.payments.port import PageAsked, PaymentRefusedError
from cloud.payments.refund_rules import RefundRule, rule_of, set_rule
from cloud.payments.stripe.signature import verify
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principal
from cloud.platform.properties import Property, property_by_id
from cloud.public import checkin_schema
from cloud.public.gate import absent, property_for, stay_for
from cloud.public.reader import WallClock
from cloud.public.strict import strict_body
from kit.http import OPEN, ProblemError
from protocols.errors import InvalidInputError, LinkLostError, PeerProtocolError, ReplyTimeoutError
from protocols.policy.check_in import Deposit, StepKind

BODY_BYTES_MOST: Final = 8 * 1024
EVENT_BYTES_MOST: Final = 256 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
_HEARD: Final = system("payment-event")
_HOUSE: Final = "/properties/{property_id:str}"
_STAY: Final = _HOUSE + "/stays/{stay_id:str}"
_ONE: Final = _STAY + "/payments/{payment_id:str}"
_MANAGE: Final = {ACTION: "payment.manage"}
_TITLES: Final = {"en": "Deposit", "de": "Kaution", "fr": "Caution", "es": "Depósito", "ar": "تأمين"}
"""What the payment is called on the provider's page, in the languages of ours."""
_Key = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:-]{1,80}(?![\s\S])")]
_Reason = Annotated[str, msgspec.Meta(min_length=3, max_length=200, pattern=r"^[^\x00-\x1f]+(?![\s\S])")]
_Minor = Annotated[int, msgspec.Meta(ge=1, le=10**9)]

Call = Request[Principal, Any, Any]
Answer = TypeVar("Answer")


class DepositRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The guest's card as a token of the payment provider; never the card itself."""

    payment_method: Annotated[str, msgspec.Meta(min_length=4, max_length=100)]
    idempotency_key: _Key


class AmountRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So much, in minor units of the payment's currency, and why: kept with it and in the audit trail."""

    minor: _Minor
    idempotency_key: _Key
    reason: _Reason | None = None


class ReleaseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Let go all that is held."""

    idempotency_key: _Key
    reason: _Reason | None = None


class PageRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In which language the payment provider's page is wanted; one that it lacks becomes the browser's."""

    language: Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2}(?![\s\S])")] = "en"


class DepositPage(msgspec.Struct, frozen=True):
    """Where the guest pays: `url` is the provider's page, null once there is nothing to pay; `state` the payment's."""

    url: str | None
    state: str
    failure: str | None


class ApprovalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which refund is meant, by its key, and the amount that the second person saw."""

    minor: _Minor
    idempotency_key: _Key


class WithdrawalRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which refund is meant, by its key."""

    idempotency_key: _Key


class RefundLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one person alone may give back of one payment, in minor units; 0: nothing."""

    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}(?![\s\S])", examples=["EUR"])]
    minor: Annotated[int, msgspec.Meta(ge=0, le=10**9, examples=[20_000])]


class RefundRuleRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limit; null: one person suffices for every refund."""

    limit: RefundLimit | None


class RefundRuleAnswer(msgspec.Struct, frozen=True):
    """The limit, and who set it when; null: there is none."""

    limit: RefundLimit | None
    set_by: str | None
    set_at: str | None


class WaitingRefund(msgspec.Struct, frozen=True):
    """A refund that waits for a second person until `until`; `mine`: the caller asked for it, and cannot be he."""

    stay: str
    payment: str
    key: str
    currency: str
    minor: int
    reason: str | None
    asked_by: str
    asked_at: str
    until: str
    mine: bool


class WaitingRefunds(msgspec.Struct, frozen=True):
    """What waits at a property, the oldest first."""

    refunds: list[WaitingRefund]


class PaymentMovement(msgspec.Struct, frozen=True):
    """What the house asked of a payment. `unknown`: the provider has not answered, and is asked until he does.

    `waiting`: a second person has to approve it, and `mine` tells that the caller cannot be he. Asked again with its
    `key` and amount it is the same movement; until it is done or refused no other one begins.
    """

    verb: Verb
    minor: int
    state: MovementState
    failure: str | None
    reason: str | None
    key: str
    asked_by: str
    asked_at: str
    approved_by: str | None
    approved_at: str | None
    mine: bool


class PaymentState(msgspec.Struct, frozen=True):
    """A payment; amounts in minor units. `client_secret` is for the provider's own script, while the bank asks.

    `movements` are what the house asked of it, the newest first; told where payments are listed, and of refunds.
    """

    id: str
    state: str
    currency: str
    minor: int
    captured: int
    refunded: int
    failure: str | None
    client_secret: str | None
    movements: list[PaymentMovement]


class PaymentStates(msgspec.Struct, frozen=True):
    """The payments of a stay."""

    payments: list[PaymentState]


@dataclass(frozen=True, slots=True)
class PaymentServices:
    """What the routes stand on; `secrets` are the webhook secrets by property."""

    database: Database
    payments: Payments
    sessions: Sessions
    secrets: Mapping[str, str]
    clock: WallClock
    origins: frozenset[str] = frozenset()
    """Addresses of our own pages besides the one that a request was sent to."""


def payment_routes(services: PaymentServices) -> Router:
    """Return the routes for callers."""

    async def place_of(caller: Principal, property_id: str, stay_id: str) -> Property:
        async with services.database.snapshot() as connection:
            return (await stay_for(connection, caller, property_id, stay_id))[0]

    async def own(caller: Principal, property_id: str, stay_id: str, payment_id: str) -> Property:
        found = await place_of(caller, property_id, stay_id)
        if payment_id not in {each.id for each in await services.payments.of_stay(found, stay_id)}:
            raise absent()
        return found

    async def asked_for(caller: Principal, property_id: str, stay_id: str) -> tuple[Property, Standing, Deposit]:
        """Return what an open check-in of the stay wants held, and which check-in that is."""
        async with services.database.snapshot() as connection:
            found, stay = await stay_for(connection, caller, property_id, stay_id)
            known = await services.sessions.read(connection, found, stay)
        if known is None or known.session.state != "open" or known.session.policy.deposit is None:
            raise ProblemError(409, "No deposit is asked for here.", kind="no_deposit", reason="no_deposit")
        return found, known, known.session.policy.deposit

    @post(
        _STAY + "/session/payment",
        status_code=200,
        summary="Hold the deposit of a check-in",
        opt={ACTION: "checkin.use"},
    )
    async def deposit(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], data: JSONBody[DepositRequest]
    ) -> PaymentState:
        found, known, wanted = await asked_for(request.user, property_id, stay_id)
        session = known.session.id
        return await _answered(
            services.payments.hold(
                found,
                stay=stay_id,
                purpose=session,
                currency=wanted.currency,
                minor=wanted.minor,
                method=data.payment_method,
                key=f"{session}:{data.idempotency_key}",
                by=request.user.name,
                still=lambda connection: services.sessions.wants_deposit(connection, session),
            )
        )

    @post(
        _STAY + "/session/payment/page",
        status_code=200,
        summary="Open the payment provider's page for the deposit of a check-in",
        opt={ACTION: "checkin.use"},
    )
    async def page(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], data: JSONBody[PageRequest]
    ) -> DepositPage:
        found, known, wanted = await asked_for(request.user, property_id, stay_id)
        if all(step.state in FINISHED for step in known.steps if step.kind is StepKind.PAYMENT):
            raise ProblemError(409, "The deposit has been taken care of.", kind="no_deposit", reason="deposit_done")
        here = f"{_origin(request, services.origins)}/guest/"
        asked = PageAsked(
            currency=wanted.currency,
            minor=wanted.minor,
            title=f"{_TITLES.get(data.language, _TITLES['en'])}, {found.name}"[:200],
            language=data.language,
            back=f"{here}#payment=done",
            left=f"{here}#payment=left",
            until_s=(services.clock.wall_ms() + PAGE_LIFE_MS) // 1_000,
        )
        session = known.session.id
        made = await _asked(
            services.payments.open_page(
                found,
                stay=stay_id,
                purpose=session,
                asked=asked,
                by=request.user.name,
                still=lambda connection: services.sessions.wants_deposit(connection, session),
            )
        )
        return DepositPage(made.url, made.payment.state.value, made.payment.failure)

    @post(
        _STAY + "/session/payment/look",
        status_code=200,
        summary="Ask the payment provider, now, how the deposit of a check-in stands",
        opt={ACTION: "checkin.use"},
    )
    async def look(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> checkin_schema.DepositStanding:
        found, known, _ = await asked_for(request.user, property_id, stay_id)
        await _asked(services.payments.look(found, purpose=known.session.id))
        async with services.database.snapshot() as connection:
            _, stay = await stay_for(connection, request.user, property_id, stay_id)
            after = await services.sessions.read(connection, found, stay)
        if after is None or after.deposit is None:
            raise absent()
        return checkin_schema.standing_of(after.deposit)

    @get(_STAY + "/payments", summary="The payments of a stay", opt=_MANAGE)
    async def listed(request: Call, property_id: FromPath[str], stay_id: FromPath[str]) -> PaymentStates:
        found = await place_of(request.user, property_id, stay_id)
        kept = await services.payments.of_stay(found, stay_id)
        asked = await services.payments.movements(kept)
        return PaymentStates([_view(each, asked.get(each.id, []), request.user) for each in kept])

    @post(_ONE + "/capture", status_code=200, summary="Take what is held, or part of it", opt=_MANAGE)
    async def capture(
        request: Call,
        property_id: FromPath[str],
        stay_id: FromPath[str],
        payment_id: FromPath[str],
        data: JSONBody[AmountRequest],
    ) -> PaymentState:
        found = await own(request.user, property_id, stay_id, payment_id)
        by, why = request.user.name, data.reason
        return await _answered(
            services.payments.capture(found, payment_id, minor=data.minor, key=data.idempotency_key, by=by, reason=why)
        )

    @post(_ONE + "/release", status_code=200, summary="Let go what is held", opt=_MANAGE)
    async def release(
        request: Call,
        property_id: FromPath[str],
        stay_id: FromPath[str],
        payment_id: FromPath[str],
        data: JSONBody[ReleaseRequest],
    ) -> PaymentState:
        found = await own(request.user, property_id, stay_id, payment_id)
        by, why = request.user.name, data.reason
        return await _answered(
            services.payments.release(found, payment_id, key=data.idempotency_key, by=by, reason=why)
        )

    @post(_ONE + "/refund", status_code=200, summary="Give back of what was taken", opt=_MANAGE)
    async def refund(
        request: Call,
        property_id: FromPath[str],
        stay_id: FromPath[str],
        payment_id: FromPath[str],
        data: JSONBody[AmountRequest],
    ) -> PaymentState:
        found = await own(request.user, property_id, stay_id, payment_id)
        asking = services.payments.refund(
            found,
            payment_id,
            minor=data.minor,
            key=data.idempotency_key,
            by=_asker(request.user),
            reason=data.reason,
        )
        return await with_movements(request.user, asking)

    async def with_movements(caller: Principal, asking: Awaitable[Payment]) -> PaymentState:
        told = await _asked(asking)
        asked = await services.payments.movements([told])
        return _view(told, asked.get(told.id, []), caller)

    @post(
        _ONE + "/refund/approval",
        status_code=200,
        summary="Be the second person on a refund that waits",
        opt={ACTION: "payment.approve"},
    )
    async def approval(
        request: Call,
        property_id: FromPath[str],
        stay_id: FromPath[str],
        payment_id: FromPath[str],
        data: JSONBody[ApprovalRequest],
    ) -> PaymentState:
        found = await own(request.user, property_id, stay_id, payment_id)
        asking = services.payments.approve(
            found, payment_id, minor=data.minor, key=data.idempotency_key, by=_asker(request.user)
        )
        return await with_movements(request.user, asking)

    @post(_ONE + "/refund/withdrawal", status_code=200, summary="End a refund that waits", opt=_MANAGE)
    async def withdrawal(
        request: Call,
        property_id: FromPath[str],
        stay_id: FromPath[str],
        payment_id: FromPath[str],
        data: JSONBody[WithdrawalRequest],
    ) -> PaymentState:
        found = await own(request.user, property_id, stay_id, payment_id)
        asking = services.payments.withdraw(found, payment_id, key=data.idempotency_key, by=request.user.name)
        return await with_movements(request.user, asking)

    @get(_HOUSE + "/waiting-refunds", summary="The refunds that wait for a second person", opt=_MANAGE)
    async def waiting(request: Call, property_id: FromPath[str]) -> WaitingRefunds:
        async with services.database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            listed = await approvals.waiting(connection, found)
        return WaitingRefunds([_waits(each, request.user) for each in listed])

    @get(_HOUSE + "/refund-rule", summary="What one person alone may give back of a payment", opt=_MANAGE)
    async def rule(request: Call, property_id: FromPath[str]) -> RefundRuleAnswer:
        async with services.database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            return _rule(await rule_of(connection, found))

    @put(
        _HOUSE + "/refund-rule",
        status_code=200,
        summary="Set what one person alone may give back of a payment",
        opt={ACTION: "payment.rule"},
    )
    async def set_to(request: Call, property_id: FromPath[str], data: JSONBody[RefundRuleRequest]) -> RefundRuleAnswer:
        limit = None if data.limit is None else (data.limit.currency, data.limit.minor)
        async with services.database.transaction() as connection:
            found = await property_for(connection, request.user, property_id)
            await set_rule(connection, found, limit, by=request.user.name, now_ms=services.clock.wall_ms())
            return _rule(await rule_of(connection, found))

    return Router(
        "/api/v1",
        route_handlers=[
            *(deposit, page, look, listed, capture, release, refund),
            *(approval, withdrawal, waiting, rule, set_to),
        ],
        request_max_body_size=BODY_BYTES_MOST,
        before_request=strict_body,
    )


def payment_webhook(services: PaymentServices) -> HTTPRouteHandler:
    """Return where the provider pushes its events: a signature tells them from inventions, and they are hints."""

    @post(
        "/webhooks/payments/{hotel:str}",
        opt={OPEN: True},
        status_code=200,
        request_max_body_size=EVENT_BYTES_MOST,
        include_in_schema=False,
        name="payment-webhook",
    )
    async def heard(request: Request[Any, Any, Any], hotel: FromPath[str]) -> Response[bytes]:
        secret = services.secrets.get(hotel)
        if secret is None:
            raise absent()
        body = await request.body()
        signed = request.headers.get("stripe-signature", "")
        try:
            verify(body, signed, secret, now_s=services.clock.wall_ms() // 1_000)
        except PeerProtocolError as error:
            raise InvalidInputError("Stripe-Signature", str(error)) from error
        named, reference, is_page = _named(body)
        if named is not None:
            with acting(_HEARD):
                async with services.database.transaction() as connection:
                    place = await property_by_id(connection, hotel)
                if place is not None:
                    try:
                        if is_page:
                            await services.payments.heard_page(place, named)
                        else:
                            await services.payments.heard(place, named, reference)
                    except PaymentRefusedError:
                        pass  # he refuses to tell of it: another event, or the worker, brings the news
                    except (LinkLostError, ReplyTimeoutError, PeerProtocolError) as error:
                        raise ProblemError(503, "come again: the payment cannot be read now", retryable=True) from error
        return Response(b"OK", media_type="text/plain")

    return heard


def _named(body: bytes) -> tuple[str | None, str | None, bool]:
    """Return the payment, or (True) the page, that an event is about, and what we called it; None: something else."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("body", "is no JSON") from error
    match event:
        case {"data": {"object": {"object": "checkout.session", "id": str() as id_}}}:
            return _text(id_), None, True
        case {
            "data": {
                "object": {"object": "payment_intent", "id": str() as id_, "metadata": {"reference": str() as ours}}
            }
        }:
            return _text(id_), _text(ours), False
        case {"data": {"object": {"object": "payment_intent", "id": str() as id_}}}:
            return _text(id_), None, False
        case {"data": {"object": {"payment_intent": str() as id_}}}:
            return _text(id_), None, False
        case _:
            return None, None, False


def _text(text: str) -> str | None:
    """Return a name that can stand in a database and in a path; None: there can be no payment of that name."""
    return text if _NAME.fullmatch(text) else None


def _origin(request: Call, origins: frozenset[str]) -> str:
    """Return where the guest's page is served: what his browser says, if it is an address of ours."""
    host, said = request.headers.get("host", ""), request.headers.get("origin", "")
    if said in origins or (said.startswith(("https://", "http://")) and said.partition("://")[2] == host):
        return said
    return min(origins, default=f"{request.url.scheme}://{host}")


async def _answered(asked: Awaitable[Payment]) -> PaymentState:
    return _view(await _asked(asked))


async def _asked(asked: Awaitable[Answer]) -> Answer:
    try:
        return await asked
    except PaymentRefusedError as error:
        raise ProblemError(409, str(error), kind="payment_refused", reason=error.code) from error
    except LinkLostError as error:
        detail = "The payment provider cannot be asked at the moment; nothing was done."
        raise ProblemError(503, detail, kind="provider_away", retryable=True) from error
    except (ReplyTimeoutError, PeerProtocolError) as error:
        detail = "The payment provider has not answered; ask again with the same key."
        raise ProblemError(504, detail, kind="unanswered", retryable=True, may_have_taken_effect=True) from error


def _view(payment: Payment, asked: Sequence[Movement] = (), caller: Principal | None = None) -> PaymentState:
    return PaymentState(
        payment.id, payment.state.value, payment.currency, payment.minor, payment.captured, payment.refunded,
        payment.failure, payment.client_secret,
        [
            PaymentMovement(
                each.verb, each.minor, each.state, each.failure, each.reason, each.key, each.asked_by,
                iso(each.asked_at), each.approved_by, None if each.approved_at is None else iso(each.approved_at),
                caller is not None and each.asked_person == _asker(caller).person,
            )
            for each in asked
        ],
    )  # fmt: skip


def _asker(caller: Principal) -> Asker:
    return Asker(caller.name, caller.account)


def _waits(each: Waiting, caller: Principal) -> WaitingRefund:
    wish = each.movement
    until = iso(at(unix_ms(wish.asked_at) + approvals.WAIT_MS))
    return WaitingRefund(
        each.stay, wish.payment, wish.key, each.currency, wish.minor, wish.reason, wish.asked_by, iso(wish.asked_at),
        until, wish.asked_person == _asker(caller).person,
    )  # fmt: skip


def _rule(rule: RefundRule | None) -> RefundRuleAnswer:
    if rule is None:
        return RefundRuleAnswer(None, None, None)
    return RefundRuleAnswer(RefundLimit(rule.currency, rule.minor), rule.set_by, iso(rule.set_at))
