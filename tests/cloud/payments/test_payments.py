"""Money by token: held, taken and given back exactly once, whatever the provider does; never a card number."""

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.kit.database import Database, fetch_all
from cloud.payments.movements import Asker
from cloud.payments.payments import GIVEN_UP_MS, UNSETTLED_MS, Payment, Payments
from cloud.payments.port import PaymentRefusedError, PaymentState, parse_method
from cloud.payments.stripe.adapter import StripePayments
from cloud.payments.stripe.emulator import DECLINED, TAME, THREE_D_SECURE, Manners, StripeEmulator
from cloud.payments.stripe.signature import TOLERANCE_S, sign, verify
from cloud.platform.properties import Property
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import InvalidInputError, LinkLostError, PeerProtocolError, PlatformError, ReplyTimeoutError
from tests.cloud.houses import AURORA, BOREALIS, NOW_MS, open_house
from tests.seeds import seeds

VISA = "pm_card_visa"
pytestmark = pytest.mark.requirement("PAY-03")


class Till:
    """A house that takes payments, and the provider behind."""

    def __init__(self, database: Database, *, seed: int = 1, manners: Manners = TAME) -> None:
        self.clock, self.events = ManualClock(wall_ms=NOW_MS), list[dict[str, Any]]()
        self.stripe = StripeEmulator("sk_test", SeededDice(seed), manners, told=self.events.append)
        self.http = httpx.AsyncClient(transport=self.stripe.transport())
        adapter = StripePayments(self.http, platform="http://stripe.invalid", secret_key="sk_test")
        self.payments = Payments(database, {AURORA.id: adapter}, clock=self.clock, dice=SeededDice(seed + 1))

    async def hold(self, method: str = VISA, key: str = "k", minor: int = 10_000) -> Payment:
        return await self.payments.hold(
            AURORA, stay="s-1", purpose="ci-1", currency="EUR", minor=minor, method=method, key=key, by="anna"
        )

    async def again(self, key: str = "k", method: str = VISA) -> Payment:
        while True:
            try:
                return await self.hold(method, key)
            except (LinkLostError, ReplyTimeoutError):
                continue


@pytest.fixture
async def till(database: Database) -> Till:
    await open_house(database)
    return Till(database)


@pytest.mark.tier("postgres")
@pytest.mark.requirement("PAY-04")
async def test_a_deposit_is_held_part_of_it_taken_and_some_given_back(till: Till, database: Database) -> None:
    held = await till.hold()
    assert (held.state, held.captured) == (PaymentState.HELD, 0)
    async with database.transaction() as connection:
        cases: list[tuple[Property, str, list[str], str, int, bool]] = [
            (AURORA, "ci-1", [], "EUR", 10_000, True),
            (AURORA, "ci-2", ["s-1"], "EUR", 10_000, True),
            (AURORA, "ci-2", ["s-2"], "EUR", 10_000, False),
            (AURORA, "ci-1", [], "EUR", 10_001, False),
            (AURORA, "ci-1", [], "CHF", 1, False),
            (BOREALIS, "ci-1", ["s-1"], "EUR", 1, False),
        ]
        for place, purpose, stays, currency, minor, is_held in cases:
            deposit = await till.payments.deposit(
                connection, place, purpose=purpose, stays=stays, currency=currency, minor=minor
            )
            assert deposit.held is is_held, (place.id, purpose, stays, currency, minor)
    taken = await till.payments.capture(AURORA, held.id, minor=4_500, key="minibar", by="anna")
    assert (taken.state, taken.captured) == (PaymentState.CAPTURED, 4_500)
    assert await till.payments.capture(AURORA, held.id, minor=4_500, key="minibar", by="anna") == taken
    back = await till.payments.refund(AURORA, held.id, minor=500, key="sorry", by=Asker("anna"))
    assert (back.captured, back.refunded) == (4_500, 500)
    with pytest.raises(PaymentRefusedError):
        await till.payments.refund(AURORA, held.id, minor=4_001, key="too much", by=Asker("anna"))
    assert [(what, amount) for what, _, amount in till.stripe.effects] == [
        ("hold", 10_000), ("capture", 4_500), ("refund", 500),
    ]  # fmt: skip


@pytest.mark.tier("postgres")
async def test_what_is_not_held_is_not_taken(till: Till) -> None:
    held = await till.hold()
    with pytest.raises(PaymentRefusedError):
        await till.payments.capture(AURORA, held.id, minor=10_001, key="c", by="anna")
    with pytest.raises(PaymentRefusedError):
        await till.payments.capture(AURORA, "p-none", minor=1, key="c", by="anna")
    released = await till.payments.release(AURORA, held.id, key="r", by="anna")
    assert released.state is PaymentState.RELEASED
    with pytest.raises(PaymentRefusedError):
        await till.payments.capture(AURORA, held.id, minor=1, key="c2", by="anna")


@pytest.mark.tier("postgres")
async def test_a_declined_card_says_why_and_holds_nothing(till: Till) -> None:
    declined = await till.hold(DECLINED)
    assert (declined.state, declined.failure) == (PaymentState.FAILED, "insufficient_funds")
    assert till.stripe.effects == []


@pytest.mark.tier("postgres")
async def test_the_bank_asks_the_guest_and_the_hint_brings_the_news(till: Till, database: Database) -> None:
    asked = await till.hold(THREE_D_SECURE)
    assert asked.state is PaymentState.NEEDS_GUEST
    assert asked.client_secret is not None
    assert asked.provider_id is not None
    till.stripe.guest_confirms(asked.provider_id)
    assert await till.payments.heard(AURORA, asked.provider_id)
    assert [each.state for each in await till.payments.of_stay(AURORA, "s-1")] == [PaymentState.HELD]
    async with database.transaction() as connection:
        kept = repr(await fetch_all(connection, "SELECT * FROM payments.payment"))
        told = repr(await fetch_all(connection, "SELECT * FROM outbox.event"))
    assert asked.client_secret not in kept + told
    assert not await till.payments.heard(AURORA, "pi_of_somebody_else")


@pytest.mark.tier("postgres")
async def test_a_guest_who_fails_before_his_bank_has_failed(till: Till) -> None:
    asked = await till.hold(THREE_D_SECURE)
    till.stripe.guest_confirms(asked.provider_id or "", well=False)
    till.clock.advance(UNSETTLED_MS + 1)
    assert await till.payments.settle_due({AURORA.id: AURORA}) == 1, "no event came"
    assert [each.state for each in await till.payments.of_stay(AURORA, "s-1")] == [PaymentState.FAILED]


@pytest.mark.tier("postgres")
async def test_one_key_is_one_payment(till: Till) -> None:
    first = await till.hold()
    assert (await till.hold()).id == first.id
    with pytest.raises(PaymentRefusedError) as refused:
        await till.hold(minor=1)
    assert refused.value.code == "key_reused"
    assert len(till.stripe.effects) == 1


@pytest.mark.tier("postgres")
async def test_a_house_without_a_provider_says_so(till: Till) -> None:
    with pytest.raises(PaymentRefusedError):
        await till.payments.hold(BOREALIS, stay="s", purpose="p", currency="EUR", minor=1, method=VISA, key="k", by="x")


@pytest.mark.tier("postgres")
async def test_a_payment_nobody_ever_answered_for_is_not_open_for_ever(till: Till) -> None:
    till.stripe.manners = Manners(lost_before=1.0)
    with pytest.raises(LinkLostError):
        await till.hold()
    till.clock.advance(GIVEN_UP_MS + 1)
    await till.payments.settle_due({AURORA.id: AURORA})
    [payment] = await till.payments.of_stay(AURORA, "s-1")
    assert (payment.state, payment.failure) == (PaymentState.FAILED, "unanswered")


@pytest.mark.tier("postgres")
@pytest.mark.parametrize("seed", seeds(4, 60))
async def test_a_provider_that_loses_answers_moves_money_once(database: Database, seed: int) -> None:
    await open_house(database)
    till = Till(database, seed=seed, manners=Manners(lost_after=0.35, busy=0.15, lost_before=0.15))
    held = await till.again()
    assert held.state is PaymentState.HELD
    dice = SeededDice(seed)
    for _ in range(20):  # events late, twice, in any order
        event = dice.choice(till.events)
        try:
            await till.payments.heard(AURORA, event["data"]["object"]["id"])
        except PlatformError:
            continue
    done: Payment | None = None
    while done is None or done.state is not PaymentState.CAPTURED:
        try:
            done = await till.payments.capture(AURORA, held.id, minor=7_000, key="c", by="anna")
        except (LinkLostError, ReplyTimeoutError):
            continue
    assert [(what, amount) for what, _, amount in till.stripe.effects] == [("hold", 10_000), ("capture", 7_000)]
    [kept] = await till.payments.of_stay(AURORA, "s-1")
    assert (kept.state, kept.captured) == (PaymentState.CAPTURED, 7_000)


@pytest.mark.parametrize("text", ["4242424242424242", "pm_4242424242424242", "pm_5555555555554444x", "", "pm_", "a b"])
def test_no_card_number_is_taken(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_method(text)


def test_a_token_is_taken() -> None:
    assert parse_method("pm_1NvlYqLkdIwHu7ixP3XUbvTz") == "pm_1NvlYqLkdIwHu7ixP3XUbvTz"


@given(body=st.binary(max_size=60), late=st.integers(-TOLERANCE_S, TOLERANCE_S), other=st.binary(max_size=60))
def test_a_signature_holds_for_its_body_its_secret_and_its_time(body: bytes, late: int, other: bytes) -> None:
    header = sign(body, "whsec", at_s=1_000_000)
    verify(body, header, "whsec", now_s=1_000_000 + late)
    verify(body, f"{header},v1={'0' * 64}", "whsec", now_s=1_000_000)
    with pytest.raises(PeerProtocolError):
        verify(body, header, "other", now_s=1_000_000)
    with pytest.raises(PeerProtocolError):
        verify(body, header, "whsec", now_s=1_000_000 + TOLERANCE_S + 1)
    if other != body:
        with pytest.raises(PeerProtocolError):
            verify(other, header, "whsec", now_s=1_000_000)


@pytest.mark.guarantee("G19")
@given(st.text(max_size=100))
def test_no_header_raises_anything_else(header: str) -> None:
    with pytest.raises(PeerProtocolError):
        verify(b"{}", header, "whsec", now_s=0)
