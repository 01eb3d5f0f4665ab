"""Money moves once: two devices at once, answers that come late or never, processes that die, hints in any order.

Nothing here is left to chance or time: whoever is to come second is held back by a lock or a meeting, and is seen to
wait before he may go on.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final

import httpx
import pytest

from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one
from cloud.payments.movements import Asker, Movement, MovementState
from cloud.payments.payments import GIVEN_UP_MS, UNSETTLED_MS, Payment, Payments
from cloud.payments.port import Charge, PaymentRefusedError, PaymentState
from cloud.payments.stripe.adapter import StripePayments
from cloud.payments.stripe.emulator import DECLINED, THREE_D_SECURE, Manners, StripeEmulator
from kit.dice import SeededDice
from kit.task_groups import TaskGroup
from protocols.errors import LinkLostError, PeerProtocolError, PlatformError, ReplyTimeoutError
from tests.cloud.houses import AURORA, open_house
from tests.cloud.payments.test_pages import opened, settle, states
from tests.cloud.payments.test_payments import VISA, Till
from tests.seeds import seeds

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("PAY-03")]
PATIENCE_S: Final = 30


class Meeting(StripePayments):
    """The provider, with somebody at its door: `before` and `after` are called with what is asked for."""

    def __init__(self, till: Till) -> None:
        super().__init__(till.http, platform="http://stripe.invalid", secret_key="sk_test")
        self.keys: list[str] = []
        self.barrier: asyncio.Barrier | None = None
        self.after_hold: Callable[[], Any] | None = None
        till.payments._providers = {AURORA.id: self}

    async def hold(self, *, currency: str, minor: int, method: str, reference: str, key: str) -> Charge:
        self.keys.append(key)
        if self.barrier is not None:
            await self.barrier.wait()
        charge = await super().hold(currency=currency, minor=minor, method=method, reference=reference, key=key)
        if self.after_hold is not None:
            await self.after_hold()
        return charge


@pytest.fixture
async def till(database: Database) -> AsyncIterator[Till]:
    await open_house(database)
    made = Till(database)
    yield made
    await made.http.aclose()


async def somebody_waits(database: Database) -> None:
    """Wait until somebody waits for a lock of the database."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with database.transaction() as connection:
                row = await fetch_one(connection, "SELECT count(*) AS n FROM pg_locks WHERE NOT granted")
            if row is not None and row["n"]:
                return
            await asyncio.sleep(0.005)


@asynccontextmanager
async def in_the_way(database: Database, statement: Any, *arguments: object) -> AsyncIterator[Connection]:
    """Hold what a statement locks until the block ends, which commits it."""
    async with database.transaction() as connection:
        await execute(connection, statement, list(arguments))
        yield connection


def moved(till: Till) -> list[tuple[str, int]]:
    return [(what, minor) for what, _, minor in till.stripe.effects]


async def movements(till: Till) -> list[Movement]:
    kept = await till.payments.of_stay(AURORA, "s-1")
    told = await till.payments.movements(kept)
    return [each for payment in kept for each in reversed(told.get(payment.id, []))]


async def test_a_page_asked_for_in_the_moment_another_one_is_paid_is_not_made(till: Till, database: Database) -> None:
    first = await opened(till)
    [page] = till.stripe.pages
    till.stripe.pays(page, VISA)
    async with TaskGroup() as tasks, in_the_way(
        database,
        "UPDATE payments.payment SET state = 'held', page_id = %s, provider_id = %s WHERE id = %s",
        page, next(iter(till.stripe.intents)), first.payment.id,
    ):  # fmt: skip
        asked = tasks.create_task(opened(till))
        await somebody_waits(database)
    again = await asked
    assert (again.url, again.payment.id, again.payment.state) == (None, first.payment.id, PaymentState.HELD)
    assert len(till.stripe.pages) == 1
    assert moved(till) == [("hold", 15_000)]


async def test_two_devices_with_a_key_each_hold_once(till: Till) -> None:
    door = Meeting(till)
    door.barrier = asyncio.Barrier(2)
    async with asyncio.timeout(PATIENCE_S), TaskGroup() as tasks:
        one, two = tasks.create_task(till.hold(key="phone")), tasks.create_task(till.hold(key="computer"))
    assert one.result().id == two.result().id
    assert len(set(door.keys)) == 1, "the provider was asked for one thing"
    assert moved(till) == [("hold", 10_000)]
    assert (await till.hold(key="tablet")).id == one.result().id, "it is held already"
    assert moved(till) == [("hold", 10_000)]


async def test_a_card_refused_gives_way_to_another_and_a_bank_that_waits_is_called_off(till: Till) -> None:
    assert (await till.hold(DECLINED, key="a")).state is PaymentState.FAILED
    waits = await till.hold(THREE_D_SECURE, key="b")
    held = await till.hold(VISA, key="c")
    assert held.state is PaymentState.HELD
    till.stripe.guest_confirms(waits.provider_id or "")
    assert moved(till) == [("release", 10_000), ("hold", 10_000)], "the second card's bank hears nothing any more"
    assert sorted(state for state, _ in await states(till)) == ["failed", "held", "released"]


async def test_a_token_ends_the_open_page_before_it_holds_and_one_that_was_paid_is_enough(till: Till) -> None:
    await opened(till)
    [page] = till.stripe.pages
    held = await till.hold(minor=15_000)
    assert till.stripe.pages[page]["status"] == "expired"
    assert (await opened(till)).url is None
    assert moved(till) == [("hold", 15_000)]
    assert sorted(state for state, _ in await states(till)) == ["failed", held.state.value]
    await opened(till, "ci-2")
    till.stripe.pays(list(till.stripe.pages)[1], VISA)
    other = await till.payments.hold(
        AURORA, stay="s-1", purpose="ci-2", currency="EUR", minor=15_000, method=VISA, key="k2", by="anna"
    )
    assert other.state is PaymentState.HELD
    assert moved(till) == [("hold", 15_000)] * 2


async def test_what_the_desk_did_meanwhile_is_not_asked_of_the_guest(till: Till, database: Database) -> None:
    wanted = True

    async def still(_: Connection) -> bool:
        return wanted

    async def hold() -> Payment:
        return await till.payments.hold(
            AURORA, stay="s-1", purpose="ci-1", currency="EUR", minor=1, method=VISA, key="k", by="x", still=still
        )

    async with TaskGroup() as tasks, database.transaction() as connection:
        assert await till.payments.unwanted(connection, AURORA, purpose="ci-1") == 0
        asked = tasks.create_task(_refusal(hold()))
        await somebody_waits(database)
        wanted = False
    assert await asked == "deposit_done"
    assert moved(till) == []


async def _refusal(asked: Any) -> str:
    with pytest.raises(PaymentRefusedError) as refused:
        await asked
    return refused.value.code


async def test_the_hint_comes_before_the_answer_and_an_older_answer_changes_nothing(till: Till) -> None:
    door = Meeting(till)

    async def hint() -> None:
        [intent] = till.stripe.intents
        till.stripe.guest_confirms(intent)
        [reference] = [each["metadata"]["reference"] for each in till.stripe.intents.values()]
        assert not await till.payments.heard(AURORA, intent, "p-of-nobody")
        for _ in range(2):
            assert await till.payments.heard(AURORA, intent, reference)
        assert await states(till) == [("held", None)]

    door.after_hold = hint
    answered = await till.hold(THREE_D_SECURE)
    assert answered.state is PaymentState.HELD, "the answer says that the guest is asked; by now he has answered"
    assert await states(till) == [("held", None)]


async def test_a_hint_of_a_card_refused_on_a_page_does_not_end_the_page(till: Till) -> None:
    page = await opened(till)
    till.stripe.pays(next(iter(till.stripe.pages)), DECLINED)
    [(intent, told)] = till.stripe.intents.items()
    assert await till.payments.heard(AURORA, intent, told["metadata"]["reference"])
    assert (await opened(till)).url == page.url


async def test_a_key_that_the_provider_has_forgotten_is_not_sent_again(till: Till) -> None:
    till.stripe.manners = Manners(lost_after=1.0, busy=0.0, lost_before=0.0)
    with pytest.raises(ReplyTimeoutError):
        await till.hold()
    assert moved(till) == [("hold", 10_000)]
    till.stripe.manners = Manners(0.0, 0.0, 0.0)
    till.stripe.forget_keys()
    assert await settle(till, after_ms=GIVEN_UP_MS + 1) == 1
    assert await states(till) == [("failed", "unanswered")]
    with pytest.raises(PaymentRefusedError):
        await till.hold()
    [(intent, told)] = till.stripe.intents.items()
    assert await till.payments.heard(AURORA, intent, told["metadata"]["reference"]), "a hint that comes a day late"
    await settle(till)
    assert moved(till) == [("hold", 10_000), ("release", 10_000)], "the house said that it failed"
    assert await states(till) == [("released", None)]


async def test_a_refund_without_answer_is_asked_for_once_whatever_key_comes_next(till: Till) -> None:
    held = await till.hold()
    await till.payments.capture(AURORA, held.id, minor=9_000, key="c", by="anna")
    till.stripe.manners = Manners(lost_after=1.0, busy=0.0, lost_before=0.0)
    with pytest.raises(ReplyTimeoutError):
        await till.payments.refund(AURORA, held.id, minor=500, key="a", by=Asker("anna"), reason="cold breakfast")
    assert (await movements(till))[-1].state is MovementState.UNKNOWN
    till.stripe.manners = Manners(0.0, 0.0, 0.0)
    assert await _refusal(till.payments.refund(AURORA, held.id, minor=500, key="b", by=Asker("ben"))) == "under_way"
    assert await _refusal(till.payments.capture(AURORA, held.id, minor=500, key="b", by="ben")) == "under_way"
    assert await settle(till) == 1
    assert moved(till) == [("hold", 10_000), ("capture", 9_000), ("refund", 500)]
    [*_, refund] = await movements(till)
    assert (refund.state, refund.reason, refund.asked_by) == (MovementState.DONE, "cold breakfast", "anna")
    again = await till.payments.refund(AURORA, held.id, minor=500, key="a", by=Asker("ben"))
    assert (again.captured, again.refunded) == (9_000, 500)
    await till.payments.refund(AURORA, held.id, minor=500, key="b", by=Asker("anna"))
    assert moved(till)[3:] == [("refund", 500)], "another key is another refund, now that the first one is settled"
    assert await _refusal(till.payments.refund(AURORA, held.id, minor=1, key="b", by=Asker("anna"))) == "key_reused"


async def test_two_clerks_give_back_once(till: Till, database: Database) -> None:
    held = await till.hold()
    await till.payments.capture(AURORA, held.id, minor=9_000, key="c", by="anna")

    async def refund(key: str) -> str:
        try:
            return (await till.payments.refund(AURORA, held.id, minor=9_000, key=key, by=Asker(key))).state.value
        except PaymentRefusedError as error:
            return error.code

    lock = "SELECT 1 FROM payments.payment WHERE id = %s FOR UPDATE"
    async with TaskGroup() as tasks, in_the_way(database, lock, held.id):
        asked = [tasks.create_task(refund(key)) for key in ("anna", "ben", "anna")]
        await somebody_waits(database)
    told = [await each for each in asked]
    assert moved(till) == [("hold", 10_000), ("capture", 9_000), ("refund", 9_000)]
    assert "captured" in told
    assert set(told) <= {"captured", "under_way", "amount_too_large"}


@pytest.mark.parametrize("sent", [False, True], ids=["before it was sent", "after the effect"])
async def test_a_process_that_dies_leaves_a_capture_that_is_done_once(till: Till, sent: bool) -> None:
    held = await till.hold()
    reached, ended = asyncio.Event(), asyncio.Event()

    class Stuck(StripePayments):
        async def capture(self, charge: str, *, minor: int, key: str) -> Charge:
            if sent:
                await super().capture(charge, minor=minor, key=key)
            reached.set()
            await ended.wait()
            raise AssertionError("it died")

    till.payments._providers = {AURORA.id: Stuck(till.http, platform="http://stripe.invalid", secret_key="sk_test")}
    task = asyncio.ensure_future(till.payments.capture(AURORA, held.id, minor=700, key="c", by="anna"))
    await reached.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert [each.state for each in await movements(till)] == [MovementState.ASKED]
    after = Till(till.payments._database, seed=9)
    after.stripe, after.clock = till.stripe, till.clock
    async with httpx.AsyncClient(transport=till.stripe.transport()) as http:
        provider = StripePayments(http, platform="http://stripe.invalid", secret_key="sk_test")
        after.payments = Payments(till.payments._database, {AURORA.id: provider}, clock=till.clock, dice=SeededDice(5))
        till.clock.advance(UNSETTLED_MS + 1)
        assert await after.payments.settle_due({AURORA.id: AURORA}) == 1
        assert await after.payments.settle_due({AURORA.id: AURORA}) == 0
    await after.http.aclose()
    assert moved(till) == [("hold", 10_000), ("capture", 700)]
    assert [each.state for each in await movements(till)] == [MovementState.DONE]


async def test_what_never_left_may_be_asked_for_anew_under_any_key(till: Till) -> None:
    held = await till.hold()
    till.stripe.manners = Manners(lost_after=0.0, busy=1.0, lost_before=0.0)
    with pytest.raises(LinkLostError):
        await till.payments.capture(AURORA, held.id, minor=700, key="a", by="anna")
    assert await movements(till) == [], "nothing was done, and nothing is done later behind the clerk's back"
    till.stripe.manners = Manners(0.0, 0.0, 0.0)
    await till.payments.capture(AURORA, held.id, minor=800, key="b", by="anna")
    assert moved(till) == [("hold", 10_000), ("capture", 800)]


async def test_a_refund_whose_last_look_fails_is_not_called_undone(till: Till) -> None:
    held = await till.hold()
    await till.payments.capture(AURORA, held.id, minor=900, key="c", by="anna")
    whole = till.stripe.transport()

    async def no_reading(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            raise httpx.ConnectError("emulated: not reached", request=request)
        return await whole.handle_async_request(request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(no_reading)) as http:
        provider = StripePayments(http, platform="http://stripe.invalid", secret_key="sk_test")
        right, till.payments._providers = till.payments._providers, {AURORA.id: provider}
        with pytest.raises(ReplyTimeoutError):
            await till.payments.refund(AURORA, held.id, minor=100, key="r", by=Asker("anna"))
    till.payments._providers = right
    await settle(till)
    assert moved(till)[2:] == [("refund", 100)]
    [payment] = await till.payments.of_stay(AURORA, "s-1")
    assert payment.refunded == 100


async def test_a_movement_nobody_ever_answered_for_is_judged_by_what_the_provider_has(till: Till) -> None:
    held = await till.hold()
    till.stripe.manners = Manners(lost_after=1.0, busy=0.0, lost_before=0.0)
    with pytest.raises(ReplyTimeoutError):
        await till.payments.capture(AURORA, held.id, minor=700, key="c", by="anna")
    till.stripe.manners = Manners(0.0, 0.0, 0.0)
    till.stripe.forget_keys()
    await settle(till, after_ms=GIVEN_UP_MS)
    [capture] = await movements(till)
    assert (capture.state, capture.failure) == (MovementState.DONE, None)
    assert moved(till) == [("hold", 10_000), ("capture", 700)]


async def test_a_refusal_is_kept_with_its_reason_and_stands_in_the_audit_trail(till: Till, database: Database) -> None:
    held = await till.hold()
    till.stripe.intents[held.provider_id or ""]["status"] = "canceled"  # it lapsed at the provider
    for _ in range(2):
        asked = till.payments.capture(AURORA, held.id, minor=700, key="c", by="anna", reason="minibar")
        assert await _refusal(asked) == "payment_intent_unexpected_state"
    [capture] = await movements(till)
    assert (capture.state, capture.failure) == (MovementState.REFUSED, "payment_intent_unexpected_state")
    assert await states(till) == [("released", None)], "how it stands was read, too"
    async with database.transaction() as connection:
        kept = await fetch_all(connection, "SELECT actor, action, outcome, detail FROM platform.audit")
    assert [(each["actor"], each["action"], each["outcome"]) for each in kept] == [
        ("anna", "payment.capture", "denied")
    ]
    assert kept[0]["detail"] == "700 minor units of EUR, refused: payment_intent_unexpected_state; minibar"


async def test_an_answer_about_another_payment_is_not_believed(till: Till) -> None:
    held = await till.hold()
    [(old, intent)] = till.stripe.intents.items()
    till.stripe.intents[old] = {**intent, "id": "pi_of_another"}
    with pytest.raises(PeerProtocolError):
        await till.payments.heard(AURORA, old)
    assert (await till.payments.of_stay(AURORA, "s-1"))[0].provider_id == held.provider_id


@pytest.mark.parametrize("seed", seeds(4, 60))
async def test_whoever_asks_and_whatever_is_lost_each_thing_is_done_once(database: Database, seed: int) -> None:
    await open_house(database)
    till = Till(database, seed=seed, manners=Manners(lost_after=0.3, busy=0.15, lost_before=0.15))
    dice = SeededDice(seed + 1_000)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(till.http.aclose)
        for number in range(12):
            await asyncio.gather(*(_some_of_a_desk(till, dice, f"{number}-{who}") for who in range(3)))
        till.stripe.manners = Manners(0.0, 0.0, 0.0)
        for _ in range(4):
            await settle(till)
    kept = await till.payments.of_stay(AURORA, "s-1")
    by_intent = {each.provider_id: each for each in kept if each.provider_id is not None}
    assert [each for each in kept if each.state in (PaymentState.ASKED, PaymentState.PENDING)] == []
    for intent, told in till.stripe.intents.items():
        mine = [(what, minor) for what, which, minor in till.stripe.effects if which == intent]
        assert [what for what, _ in mine].count("hold") <= 1
        assert [what for what, _ in mine].count("capture") <= 1
        payment = by_intent[intent]
        assert (payment.captured, payment.refunded) == (
            told["amount_received"], sum(minor for what, minor in mine if what == "refund"),
        )  # fmt: skip
    done = [each for each in await movements(till) if each.state is MovementState.DONE]
    assert all(each.state in (MovementState.DONE, MovementState.REFUSED) for each in await movements(till))
    assert sum(each.minor for each in done if each.verb == "refund") == sum(
        minor for what, _, minor in till.stripe.effects if what == "refund"
    )
    standing = [each for each in kept if each.state is PaymentState.HELD]
    assert len(standing) <= 1, "of one purpose"


async def _some_of_a_desk(till: Till, dice: SeededDice, key: str) -> None:
    """Let somebody do something; what gets lost gets lost, hints come twice and in any order."""
    mood = dice.uniform(0, 1)
    known = await till.payments.of_stay(AURORA, "s-1")
    mine = known[-1].id if known else "p-none"
    try:
        if mood < 0.3:
            await till.hold(key=key)
        elif mood < 0.45:
            await till.payments.capture(AURORA, mine, minor=4_000, key=key, by="anna")
        elif mood < 0.6:
            await till.payments.refund(AURORA, mine, minor=300, key=key, by=Asker("anna"))
        elif mood < 0.65:
            await till.payments.release(AURORA, mine, key=key, by="anna")
        elif mood < 0.85 and till.events:
            event = dice.choice(till.events)["data"]["object"]
            await till.payments.heard(
                AURORA, event.get("payment_intent") or event["id"], event.get("metadata", {}).get("reference")
            )
        else:
            await settle(till)
    except PlatformError:
        return


async def test_the_emulated_provider_tells_what_we_called_a_payment() -> None:
    told = list[dict[str, Any]]()
    stripe = StripeEmulator("sk_test", SeededDice(1), Manners(0.0, 0.0, 0.0), told=told.append)
    async with httpx.AsyncClient(transport=stripe.transport()) as http:
        provider = StripePayments(http, platform="http://stripe.invalid", secret_key="sk_test")
        await provider.hold(currency="EUR", minor=1, method=VISA, reference="p-1", key="k")
    assert json.loads(json.dumps(told))[0]["data"]["object"]["metadata"] == {"reference": "p-1"}
