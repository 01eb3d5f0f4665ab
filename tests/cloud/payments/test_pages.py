"""The provider's own page: one a purpose, paid once, ended when nobody wants it, whatever gets lost on the way."""

import re

import httpx
import pytest

from cloud.kit.database import Database, fetch_all
from cloud.payments.payments import AT_A_TIME, PAGE_ENDED, PAGE_EXPIRED, PAGE_LIFE_MS, UNSETTLED_MS, PaymentPage
from cloud.payments.port import PageAsked, PageState, PaymentRefusedError, PaymentState
from cloud.payments.stripe.adapter import StripePayments
from cloud.payments.stripe.emulator import DECLINED, THREE_D_SECURE, Manners, StripeEmulator
from cloud.payments.stripe.server import Account, Hook, build
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError
from tests.cloud.asgi import in_process
from tests.cloud.houses import AURORA, BOREALIS, NOW_MS, open_house
from tests.cloud.payments.test_payments import VISA, Till
from tests.cloud.payments.test_stripe_server import QUICK, Ear
from tests.seeds import seeds

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("PAY-01", "PAY-03")]
BACK, LEFT = "https://hotel.invalid/guest/#payment=done", "https://hotel.invalid/guest/#payment=left"


@pytest.fixture
async def till(database: Database) -> Till:
    await open_house(database)
    return Till(database)


def asked(till: Till, minor: int = 15_000, language: str = "de") -> PageAsked:
    until_s = (till.clock.wall_ms() + PAGE_LIFE_MS) // 1_000
    return PageAsked("EUR", minor, "Kaution, Hotel Aurora", language, BACK, LEFT, until_s)


async def opened(till: Till, purpose: str = "ci-1", language: str = "de") -> PaymentPage:
    return await till.payments.open_page(
        AURORA, stay="s-1", purpose=purpose, asked=asked(till, language=language), by="anna"
    )


async def states(till: Till) -> list[tuple[str, str | None]]:
    return [(each.state.value, each.failure) for each in await till.payments.of_stay(AURORA, "s-1")]


async def settle(till: Till, *, after_ms: int = UNSETTLED_MS + 1) -> int:
    till.clock.advance(after_ms)
    return await till.payments.settle_due({AURORA.id: AURORA})


async def test_however_often_it_is_asked_for_there_is_one_page_and_one_hold(till: Till) -> None:
    first = await opened(till)
    assert first.url is not None
    assert (await opened(till, language="ar")).url == first.url, "another device, the same page"
    [page] = till.stripe.pages
    assert till.stripe.pages[page]["locale"] == "de"
    assert till.stripe.pays(page, DECLINED) == "declined"
    assert (await opened(till)).url == first.url, "another card may still pay there"
    assert till.stripe.pays(page, THREE_D_SECURE) == "bank"
    assert till.stripe.bank_hears(page, well=False) == "refused"
    assert till.stripe.pays(page, THREE_D_SECURE) == "bank"
    assert till.stripe.bank_hears(page, well=True) == "paid"
    assert await till.payments.heard_page(AURORA, page)
    assert await till.payments.heard_page(AURORA, page), "the event comes twice"
    assert not await till.payments.heard_page(BOREALIS, page)
    assert await states(till) == [("held", None)]
    assert till.stripe.effects == [("hold", next(iter(till.stripe.intents)), 15_000)]
    [payment] = await till.payments.of_stay(AURORA, "s-1")
    assert (await till.payments.capture(AURORA, payment.id, minor=900, key="m", by="anna")).captured == 900
    assert not await till.payments.look(AURORA, purpose="ci-1")


async def test_a_page_that_was_left_open_ends_and_the_next_one_is_new(till: Till) -> None:
    first = await opened(till)
    [page] = till.stripe.pages
    till.stripe.expire(page)
    second = await opened(till)
    assert second.url not in (None, first.url)
    assert await states(till) == [("failed", PAGE_EXPIRED), ("needs_guest", None)]


async def test_what_was_paid_is_learnt_without_any_event(till: Till) -> None:
    await opened(till)
    till.stripe.pays(next(iter(till.stripe.pages)), VISA)
    paid = await opened(till)
    assert (paid.url, paid.payment.state) == (None, PaymentState.HELD), "he asked again, and is not sent to pay twice"
    await opened(till, "ci-2")
    till.stripe.pays(list(till.stripe.pages)[1], VISA)
    assert await settle(till, after_ms=1) == 0, "it was heard of a moment ago"
    assert await settle(till) == 1
    assert await states(till) == [("held", None), ("held", None)]


async def test_a_key_that_is_not_taken_for_a_while_loses_no_page_and_makes_no_second(till: Till) -> None:
    first = await opened(till)
    right, till.stripe.secret_key = till.stripe.secret_key, "sk_test_rotated"
    with pytest.raises(LinkLostError):
        await opened(till)
    await settle(till)
    [page] = till.stripe.pages
    till.stripe.pays(page, VISA)
    till.stripe.secret_key = right
    paid = await opened(till)
    assert (paid.payment.id, paid.url, paid.payment.state) == (first.payment.id, None, PaymentState.HELD)


async def test_what_was_paid_is_learnt_after_the_provider_was_away_for_days(till: Till) -> None:
    await opened(till)
    till.stripe.pays(next(iter(till.stripe.pages)), VISA)
    till.stripe.manners = Manners(lost_before=1.0)
    await settle(till, after_ms=3 * 86_400_000)
    till.stripe.manners = Manners(0.0, 0.0, 0.0)
    await settle(till)
    assert await states(till) == [("held", None)]


async def test_a_page_nobody_wants_is_ended_and_money_paid_meanwhile_let_go(till: Till, database: Database) -> None:
    for purpose in ("ci-1", "ci-2"):
        await opened(till, purpose)
        assert await till.payments.end_open(AURORA, purpose=purpose) == 1
    one, two = till.stripe.pages
    till.stripe.pays(two, VISA)  # in the moment before
    assert await settle(till, after_ms=0) == 2
    assert await states(till) == [("failed", PAGE_ENDED), ("released", None)]
    assert till.stripe.pages[one]["status"] == "expired"
    assert [what for what, _, _ in till.stripe.effects] == ["hold", "release"]
    async with database.transaction() as connection:
        deposit = await till.payments.deposit(
            connection, AURORA, purpose="ci-2", stays=["s-1"], currency="EUR", minor=15_000
        )
    assert not deposit.held
    assert await settle(till) == 0


async def test_pages_nobody_pays_on_hold_up_no_other_payment(till: Till) -> None:
    for number in range(AT_A_TIME):
        await opened(till, f"ci-{number}")
    await settle(till)
    await opened(till, "ci-last")
    till.stripe.pays(list(till.stripe.pages)[-1], VISA)
    await settle(till)
    await settle(till)
    assert (await states(till)).count(("held", None)) == 1


async def test_a_house_without_a_provider_has_no_page(till: Till) -> None:
    with pytest.raises(PaymentRefusedError) as refused:
        await till.payments.open_page(BOREALIS, stay="s-1", purpose="ci-1", asked=asked(till), by="anna")
    assert refused.value.code == "no_provider"


@pytest.mark.parametrize("seed", seeds(6, 80))
async def test_whatever_is_lost_nobody_pays_twice(database: Database, seed: int) -> None:
    await open_house(database)
    till = Till(database, seed=seed, manners=Manners(lost_after=0.3, busy=0.2, lost_before=0.2))
    dice = SeededDice(seed)
    for _ in range(30):
        await _some_of_a_guest(till, dice)
    till.stripe.manners = Manners(0.0, 0.0, 0.0)
    await settle(till)  # a page that was asked for and never came is made now, and waits for its guest
    for page in till.stripe.pages:
        if till.stripe.pages[page]["status"] == "open":
            till.stripe.pays(page, VISA)
    for _ in range(4):
        await settle(till)
    holds = [id_ for what, id_, _ in till.stripe.effects if what == "hold"]
    released = [id_ for what, id_, _ in till.stripe.effects if what == "release"]
    assert len(set(released)) == len(released), "let go once"
    kept = [state for state, _ in await states(till) if state == "held"]
    assert len(holds) - len(released) == len(kept), "what is held is known"
    async with database.transaction() as connection:
        wanted = await fetch_all(
            connection, "SELECT id FROM payments.payment WHERE NOT unwanted AND state IN ('held', 'needs_guest')"
        )
    assert len(wanted) == len(kept) <= 1, "one page at a time, and no new one once it is paid"


async def _some_of_a_guest(till: Till, dice: SeededDice) -> None:
    """Let a guest, or the desk, do something; what gets lost gets lost."""
    mood = dice.uniform(0, 1)
    waiting = [id_ for id_, page in till.stripe.pages.items() if page["status"] == "open"]
    try:
        if mood < 0.5:
            if not any(state == "held" for state, _ in await states(till)):  # the route asks nobody who has paid
                await opened(till)
        elif mood < 0.6 and waiting:
            till.stripe.expire(waiting[0])
        elif mood < 0.7 and waiting:
            till.stripe.pays(waiting[0], DECLINED)
        elif mood < 0.8:
            await till.payments.end_open(AURORA, purpose="ci-1")
        else:
            await settle(till)
    except (LinkLostError, ReplyTimeoutError):
        return


async def test_the_page_is_shown_by_the_rehearsals_provider_and_leads_back_to_the_hotel() -> None:
    ear, clock = Ear(), ManualClock(wall_ms=NOW_MS)
    dice = SeededDice(1)

    async with httpx.AsyncClient(transport=httpx.MockTransport(ear)) as pushes:
        hook = Hook("http://hotel.invalid/webhooks/payments/aurora", "whsec")
        account = Account(
            StripeEmulator("sk_test", dice.fork("ids")), hook, http=pushes, clock=clock, dice=dice, knobs=QUICK
        )
        async with httpx.AsyncClient(transport=in_process(build(account)), base_url="http://pay.invalid") as http:
            stripe = StripePayments(http, platform="http://pay.invalid", secret_key="sk_test")
            wants = PageAsked("EUR", 15_000, "<b>", "ar", BACK, LEFT, NOW_MS // 1_000 + 3_600)
            page = await stripe.open_page(wants, reference="p-1", key="k")
            assert page.url is not None
            assert account.stripe.pages[page.id]["locale"] == "auto", "what Stripe does not speak is the browser's"
            shown = await http.get(page.url)
            assert re.search(r"150\.00 EUR", shown.text)
            assert "<b>" not in shown.text
            assert LEFT in shown.text
            refused = await http.post(page.url, data={"card": DECLINED})
            assert "declined" in refused.text
            asks = await http.post(page.url, data={"card": THREE_D_SECURE})
            assert "Your bank asks" in asks.text
            went = await http.post(f"{page.url}/bank", data={"answer": "yes"})
            assert (went.status_code, went.headers["location"]) == (303, BACK)
            paid = await stripe.read_page(page.id)
            assert (paid.state, paid.url) == (PageState.COMPLETE, None)
            assert paid.charge is not None
            assert paid.charge.state is PaymentState.HELD
            assert (await stripe.close_page(page.id)).state is PageState.COMPLETE, "what is paid is not ended"
            assert "This payment is done." in (await http.get(page.url)).text
            await account.settle()
            assert "checkout.session.completed" in {each["type"] for each in ear.heard}
            with pytest.raises(PaymentRefusedError):
                await stripe.open_page(wants, reference="p-2", key="k")
            late = PageAsked("EUR", 1, "x", "de", BACK, LEFT, NOW_MS // 1_000 + 60)
            with pytest.raises(PaymentRefusedError):
                await stripe.open_page(late, reference="p-3", key="k3")
            lapses = await stripe.open_page(wants, reference="p-4", key="k4")
            clock.advance(3_600_000)
            assert (await stripe.read_page(lapses.id)).state is PageState.EXPIRED
        await account.close()


async def test_a_page_that_says_it_is_paid_by_nothing_is_not_believed(till: Till) -> None:
    await opened(till)
    [page] = till.stripe.pages
    till.stripe.pages[page].update(status="complete", _intent=None)
    with pytest.raises(PeerProtocolError):
        await till.payments.look(AURORA, purpose="ci-1")
    assert await states(till) == [("needs_guest", None)]
