"""Above what a property's rule lets one person give back, a second one has to say yes; money moves once, and then."""

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from cloud.kit.database import Database, fetch_all
from cloud.payments import approvals, movements
from cloud.payments.approvals import WAIT_MS
from cloud.payments.movements import Asker, Movement, MovementState
from cloud.payments.payments import KEY_KEPT_MS, UNSETTLED_MS, Payment
from cloud.payments.port import PaymentRefusedError
from cloud.payments.refund_rules import RefundRule, rule_of, set_rule
from cloud.payments.stripe.emulator import TAME, Manners
from cloud.platform import audit
from kit.task_groups import TaskGroup
from protocols.errors import InvalidInputError, LinkLostError, PlatformError, ReplyTimeoutError
from tests.cloud.houses import AURORA, BOREALIS, NOW_MS, open_house
from tests.cloud.payments.test_payments import Till
from tests.cloud.payments.test_races import in_the_way, somebody_waits
from tests.seeds import seeds

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("PAY-03")]
ANNA, BEN, CARA = Asker("anna", "u-anna"), Asker("ben", "u-ben"), Asker("cara", "u-cara")


class Desk(Till):
    """A till with a rule, and a payment of which 9,000 were taken."""

    def __init__(self, database: Database, *, seed: int = 1) -> None:
        super().__init__(database, seed=seed)
        self.database = database
        self.payment = ""

    async def rule(self, limit: tuple[str, int] | None) -> None:
        async with self.database.transaction() as connection:
            await set_rule(connection, AURORA, limit, by="boss", now_ms=self.clock.wall_ms())

    async def take(self) -> None:
        self.payment = (await self.hold()).id
        await self.payments.capture(AURORA, self.payment, minor=9_000, key="c", by="anna")

    async def ask(self, minor: int, key: str = "r", by: Asker = ANNA) -> Payment:
        return await self.payments.refund(AURORA, self.payment, minor=minor, key=key, by=by, reason="cold breakfast")

    async def approve(self, minor: int, key: str = "r", by: Asker = BEN) -> Payment:
        return await self.payments.approve(AURORA, self.payment, minor=minor, key=key, by=by)

    async def wish(self, key: str = "r") -> Movement:
        async with self.database.transaction() as connection:
            asked = await movements.of_payments(connection, [self.payment])
        [found] = [each for each in asked[self.payment] if each.key == key]
        return found

    async def trail(self) -> list[tuple[str, str, str]]:
        async with self.database.snapshot() as connection:
            told = await audit.page(connection, tenant=AURORA.tenant, before=None, most=50)
        return [(each.actor, each.action, each.detail) for each in reversed(told) if "refund" in each.action]

    def given_back(self) -> list[int]:
        return [minor for what, _, minor in self.stripe.effects if what == "refund"]


async def refusal(asked: Awaitable[object]) -> str:
    with pytest.raises(PaymentRefusedError) as refused:
        await asked
    return refused.value.code


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    for house in (AURORA, BOREALIS):
        await open_house(database, house)
    made = Desk(database)
    await made.take()
    await made.rule(("EUR", 1_000))
    yield made
    await made.http.aclose()


async def test_up_to_the_limit_one_person_suffices_and_small_ones_add_up(desk: Desk) -> None:
    assert (await desk.ask(600, "first")).refunded == 600
    assert (await desk.ask(400, "second")).refunded == 1_000
    assert (await desk.ask(1, "third")).refunded == 1_000
    assert (await desk.wish("third")).state is MovementState.WAITING
    assert desk.given_back() == [600, 400]
    await desk.rule(None)
    assert (await desk.ask(1, "third")).refunded == 1_000, "what waits goes on waiting"
    assert (await desk.approve(1, "third")).refunded == 1_001
    assert (await desk.ask(5_000, "d")).refunded == 6_001, "without a rule one suffices"


async def test_above_it_another_person_says_yes_and_both_are_in_the_trail(desk: Desk) -> None:
    for _ in range(2):
        told = await desk.ask(4_000)
        assert (told.state.value, told.refunded) == ("captured", 0)
    async with desk.database.snapshot() as connection:
        [waits] = await approvals.waiting(connection, AURORA)
        assert await approvals.waiting(connection, BOREALIS) == []
    assert (waits.stay, waits.currency, waits.movement.minor, waits.movement.asked_by) == ("s-1", "EUR", 4_000, "anna")
    assert await refusal(desk.approve(4_000, by=ANNA)) == "same_person"
    assert await refusal(desk.approve(4_000, by=Asker("anna by passkey", "u-anna"))) == "same_person"
    assert await refusal(desk.approve(3_999)) == "other_amount"
    assert await refusal(desk.approve(4_000, "another")) == "unknown"
    assert await refusal(desk.payments.approve(BOREALIS, desk.payment, minor=4_000, key="r", by=BEN)) != ""
    assert await refusal(desk.ask(1, "next")) == "waiting", "one at a time"
    assert await refusal(desk.payments.capture(AURORA, desk.payment, minor=1, key="x", by="anna")) == "waiting"
    assert desk.given_back() == []
    for _ in range(2):
        assert (await desk.approve(4_000)).refunded == 4_000
    assert (await desk.ask(4_000)).refunded == 4_000, "the asker's own key is answered as it stands"
    assert await refusal(desk.approve(4_000, by=CARA)) == "not_waiting"
    assert desk.given_back() == [4_000]
    wish = await desk.wish()
    assert (wish.state, wish.asked_by, wish.approved_by) == (MovementState.DONE, "anna", "ben")
    said = "4000 minor units of EUR"
    assert await desk.trail() == [
        ("anna", "payment.refund.ask", f"{said}, waits for a second person; cold breakfast"),
        ("ben", "payment.refund.approve", f"{said}, asked for by anna; cold breakfast"),
        ("anna", "payment.refund", f"{said}, approved by ben; cold breakfast"),
    ]


async def test_a_refund_is_withdrawn_by_anybody_or_ends_after_a_day_and_the_next_may_begin(desk: Desk) -> None:
    await desk.ask(4_000)
    for _ in range(2):
        await desk.payments.withdraw(AURORA, desk.payment, key="r", by="anna")
    assert await refusal(desk.approve(4_000)) == "not_waiting"
    assert await refusal(desk.ask(4_000)) == "withdrawn"
    assert await refusal(desk.payments.withdraw(AURORA, desk.payment, key="none", by="anna")) == "unknown"
    await desk.ask(4_000, "s")
    desk.clock.advance(WAIT_MS + 1)
    assert await refusal(desk.approve(4_000, "s")) == "not_approved"
    assert await desk.payments.settle_due({AURORA.id: AURORA}) == 1
    assert await desk.payments.settle_due({AURORA.id: AURORA}) == 0
    ended = await desk.wish("s")
    assert (ended.state, ended.failure) == (MovementState.REFUSED, "not_approved")
    assert (await desk.trail())[-1][:2] == ("nobody, in a day", "payment.refund.withdraw")
    await desk.ask(4_000, "t")
    assert (await desk.approve(4_000, "t")).refunded == 4_000
    assert await refusal(desk.payments.withdraw(AURORA, desk.payment, key="t", by="anna")) == "not_waiting"
    assert desk.given_back() == [4_000]


async def test_other_money_and_a_limit_of_nothing_want_a_second_person(desk: Desk) -> None:
    for limit in (("CHF", 10**9), ("EUR", 0)):
        await desk.rule(limit)
        assert (await desk.ask(1, str(limit))).refunded == 0
        await desk.payments.withdraw(AURORA, desk.payment, key=str(limit), by="anna")
    async with desk.database.transaction() as connection:
        assert await rule_of(connection, BOREALIS) is None
        kept = await rule_of(connection, AURORA)
        with pytest.raises(InvalidInputError):
            await set_rule(connection, AURORA, ("euro", 1), by="boss", now_ms=NOW_MS)
    assert kept is not None
    assert (kept.currency, kept.minor, kept.set_by) == ("EUR", 0, "boss")
    rule = RefundRule("EUR", 1_000, "boss", kept.set_at)
    assert [rule.wants_second(currency="EUR", refunded=had, minor=1) for had in (0, 999, 1_000)] == [False, False, True]


async def test_a_word_that_the_provider_never_heard_is_said_again_and_one_he_may_have_heard_is_not(desk: Desk) -> None:
    await desk.ask(4_000)
    desk.clock.advance(KEY_KEPT_MS - 60_000)  # the wait for a person takes nothing of the time a key is good for
    desk.stripe.manners = Manners(lost_after=0.0, busy=0.0, lost_before=1.0)
    with pytest.raises(LinkLostError):
        await desk.approve(4_000)
    wish = await desk.wish()
    assert (wish.state, wish.approved_by) == (MovementState.WAITING, None)
    desk.stripe.manners = Manners(lost_after=1.0, busy=0.0, lost_before=0.0)
    with pytest.raises(ReplyTimeoutError):
        await desk.approve(4_000, by=CARA)
    assert (await desk.wish()).state is MovementState.UNKNOWN
    desk.stripe.manners = TAME
    desk.clock.advance(UNSETTLED_MS * 3)
    assert await desk.payments.settle_due({AURORA.id: AURORA}) == 1
    wish = await desk.wish()
    assert (wish.state, wish.approved_by, desk.given_back()) == (MovementState.DONE, "cara", [4_000])


async def test_two_who_approve_at_once_give_back_once(desk: Desk, database: Database) -> None:
    await desk.ask(4_000)

    async def said(by: Asker) -> str:
        try:
            return str((await desk.approve(4_000, by=by)).refunded)
        except PaymentRefusedError as error:
            return error.code

    lock = "SELECT 1 FROM payments.payment WHERE id = %s FOR UPDATE"
    async with TaskGroup() as tasks, in_the_way(database, lock, desk.payment):
        asked = [tasks.create_task(said(each)) for each in (BEN, CARA, ANNA)]
        await somebody_waits(database)
    told = [await each for each in asked]
    assert (desk.given_back(), told[2]) == ([4_000], "same_person" if "same_person" in told else "not_waiting")
    assert sorted(told[:2]) == ["4000", "not_waiting"]


@pytest.mark.parametrize("seed", seeds(2, 40))
async def test_a_desk_of_three_gives_back_nothing_above_the_limit_that_only_one_wanted(
    database: Database, seed: int
) -> None:
    await open_house(database)
    desk = Desk(database, seed=seed)
    desk.stripe.manners = TAME
    await desk.take()
    await desk.rule(("EUR", 1_000))
    desk.stripe.manners = Manners(lost_after=0.2, busy=0.1, lost_before=0.2)
    dice: Any = desk.stripe.dice
    for each in range(25):
        by, minor, key = dice.choice((ANNA, BEN, CARA)), dice.choice((200, 900, 1_500)), f"k{each // 3}"
        try:
            if dice.uniform(0, 1) < 0.5:
                await desk.ask(minor, key, by)
            else:
                async with database.snapshot() as connection:
                    for waits in await approvals.waiting(connection, AURORA):
                        await desk.approve(waits.movement.minor, waits.movement.key, by)
        except PlatformError:
            pass
        if dice.uniform(0, 1) < 0.4:
            desk.clock.advance(UNSETTLED_MS + 1)
            await desk.payments.settle_due({AURORA.id: AURORA})
    async with database.snapshot() as connection:
        rows = await fetch_all(connection, "SELECT * FROM payments.movement WHERE verb = 'refund' AND state = 'done'")
    alone = [row for row in rows if row["approved_by"] is None]
    assert sum(row["minor"] for row in alone) <= 1_000
    assert all(row["approved_by"] != row["asked_by"] for row in rows)
    assert sum(desk.given_back()) <= 9_000
    await desk.http.aclose()
