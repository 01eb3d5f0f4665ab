"""The emulated provider on its wire: what it answers badly was done once, and every event comes, signed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import msgspec
import pytest

from cloud.payments.port import PaymentState
from cloud.payments.stripe.adapter import StripePayments
from cloud.payments.stripe.emulator import THREE_D_SECURE, StripeEmulator
from cloud.payments.stripe.server import TAME, Account, Hook, Knobs, build
from cloud.payments.stripe.signature import verify
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import LinkLostError, ReplyTimeoutError
from tests.cloud.asgi import in_process
from tests.cloud.houses import NOW_MS

pytestmark = pytest.mark.requirement("PAY-03")
QUICK = msgspec.structs.replace(TAME, event_again_ms=0)


@dataclass
class Ear:
    """Where events go; answers 500 to the first `deaf` of them."""

    deaf: int = 0
    heard: list[dict[str, object]] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        verify(request.content, request.headers["stripe-signature"], "whsec", now_s=NOW_MS // 1_000)
        if self.deaf:
            self.deaf -= 1
            return httpx.Response(500)
        self.heard.append(json.loads(request.content))
        return httpx.Response(200)


@asynccontextmanager
async def account(ear: Ear, *, knobs: Knobs = QUICK, seed: int = 1) -> AsyncIterator[tuple[Account, StripePayments]]:
    dice = SeededDice(seed)
    async with httpx.AsyncClient(transport=httpx.MockTransport(ear)) as pushes:
        made = Account(
            StripeEmulator("sk_test", dice.fork("ids")),
            Hook("http://hotel.invalid/webhooks/payments/aurora", "whsec"),
            http=pushes,
            clock=ManualClock(wall_ms=NOW_MS),
            dice=dice,
            knobs=knobs,
        )
        async with httpx.AsyncClient(transport=in_process(build(made))) as http:
            yield made, StripePayments(http, platform="http://stripe.invalid", secret_key="sk_test")
        await made.close()


async def hold(stripe: StripePayments, key: str, method: str = "pm_card_visa") -> PaymentState:
    while True:
        try:
            return (await stripe.hold(currency="EUR", minor=5_000, method=method, reference=key, key=key)).state
        except (LinkLostError, ReplyTimeoutError):
            await asyncio.sleep(0)


async def test_every_event_is_signed_and_comes_again_until_it_is_taken() -> None:
    ear = Ear(deaf=3)
    async with account(ear) as (made, stripe):
        assert await hold(stripe, "k") is PaymentState.HELD
        await made.settle()
        assert [each["type"] for each in ear.heard] == ["payment_intent.amount_capturable_updated"]
        assert made.pushed == {"events": 1, "sent": 1, "doubled": 0, "refused": 3, "given_up": 0}


async def test_whatever_is_answered_badly_money_moves_once_a_key() -> None:
    bad = msgspec.structs.replace(QUICK, broken_before=0.3, broken_after=0.3, busy=0.1, in_use=0.1, event_twice=1.0)
    ear = Ear()
    async with account(ear, knobs=bad) as (made, stripe):
        assert [await hold(stripe, f"k{n}") for n in range(20)] == [PaymentState.HELD] * 20
        await made.settle()
        assert sorted(what for what, _, _ in made.stripe.effects) == ["hold"] * 20
        assert len(ear.heard) == 40
        assert {"200", "409", "429", "500"} == made.answers.keys()


async def test_a_guest_answers_his_bank_through_the_rehearsal() -> None:
    ear = Ear()
    async with account(ear) as (made, stripe):
        assert await hold(stripe, "k", THREE_D_SECURE) is PaymentState.NEEDS_GUEST
        [intent] = made.stripe.intents
        async with httpx.AsyncClient(transport=in_process(build(made)), base_url="http://stripe.invalid") as http:
            assert (await http.post(f"/emulator/intents/{intent}/confirm", json={})).json()["status"] == (
                "requires_capture"
            )
            assert (await http.post("/emulator/intents/pi_none/confirm", json={})).status_code == 404
            state = (await http.get("/emulator/state")).json()
            assert state["effects"] == [{"what": "hold", "intent": intent, "minor": 5_000}]
            assert (await http.put("/emulator/knobs", json={"busy": 1.0})).json()["busy"] == 1.0
            assert (await http.get("/v1/payment_intents/x")).status_code == 429
