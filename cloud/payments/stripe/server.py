"""Stripe emulated as an application: its wire under /v1, its page under /pay, signed events pushed to us.

/emulator/... is for who watches.

Events come late, twice, out of order, and again while they are not answered with 2xx, as Stripe's do; answers are 500
before or after the effect, 429, or 409 while a first request under the same key is still at work.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

import httpx
import msgspec
from litestar import HttpMethod, Litestar, Request, Response, Router, get, post, put, route
from litestar.params import FromPath, JSONBody

from cloud.payments.stripe.emulator import StripeEmulator
from cloud.payments.stripe.hosted_page import bank_page, over_page, pay_page
from cloud.payments.stripe.signature import sign
from kit.clock import Clock
from kit.dice import Dice
from kit.http import application

PUSH_WAIT_S: Final = 10.0
PUSH_TRIES: Final = 12
UNDER_WAY_MOST: Final = 2_000

_Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
_Ms = Annotated[int, msgspec.Meta(ge=0, le=600_000)]
Call = Request[Any, Any, Any]


class Knobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How badly it behaves. Shares are probabilities; times in milliseconds."""

    broken_before: _Share = 0.06
    """500, and nothing was done."""
    broken_after: _Share = 0.06
    """500, and it was done: the same key is answered with what was done."""
    busy: _Share = 0.04
    """429."""
    in_use: _Share = 0.05
    """409 idempotency_key_in_use: as if the first request under the key were still at work."""
    event_delay_least_ms: _Ms = 50
    event_delay_most_ms: _Ms = 4_000
    """Each event waits for a time of its own between the two: this is also what puts them out of order."""
    event_twice: _Share = 0.3
    event_again_ms: _Ms = 1_000
    """Between one attempt and the next, doubling."""


TAME: Final = Knobs(0.0, 0.0, 0.0, 0.0, 0, 0, 0.0)


class Confirm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /emulator/intents/{id}/confirm: what the guest told his bank."""

    well: bool = True


@dataclass(frozen=True, slots=True)
class Hook:
    """Where events go, and the secret they are signed with."""

    address: str
    secret: str


class Account:
    """One emulated account on the wire.

    Args:
        stripe: What it does.
        hook: Where it pushes; None: nowhere.
        http: What pushes.
        clock: Signs with its wall time.
        dice: Decides how badly it behaves.
        knobs: How badly.
    """

    def __init__(
        self,
        stripe: StripeEmulator,
        hook: Hook | None,
        *,
        http: httpx.AsyncClient,
        clock: Clock,
        dice: Dice,
        knobs: Knobs | None = None,
    ) -> None:
        self.stripe, self._hook, self._http, self._clock, self._dice = stripe, hook, http, clock, dice
        self.knobs = knobs or Knobs()
        self.answers: dict[str, int] = {}
        self.pushed = {"events": 0, "sent": 0, "doubled": 0, "refused": 0, "given_up": 0}
        self._pushing: set[asyncio.Task[None]] = set()
        stripe.told = self._push
        stripe.now_s = lambda: clock.wall_ms() // 1_000

    async def close(self) -> None:
        """Drop the pushes under way."""
        for task in tuple(self._pushing):
            task.cancel()
        if self._pushing:
            await asyncio.wait(self._pushing)

    async def settle(self) -> None:
        """Wait until no push is under way."""
        while self._pushing:
            await asyncio.wait(tuple(self._pushing))

    def answer(self, request: httpx.Request) -> tuple[int, dict[str, Any]]:
        """Answer one call, now and then badly."""
        status, body = self._answer(request)
        self.answers[str(status)] = self.answers.get(str(status), 0) + 1
        return status, body

    def _answer(self, request: httpx.Request) -> tuple[int, dict[str, Any]]:
        mood, knobs = self._dice.uniform(0, 1), self.knobs
        if mood < knobs.broken_before:
            return 500, {"error": {"type": "api_error"}}
        mood -= knobs.broken_before
        if mood < knobs.busy:
            return 429, {"error": {"type": "invalid_request_error", "code": "rate_limit"}}
        mood -= knobs.busy
        if mood < knobs.in_use and "idempotency-key" in request.headers:
            return 409, {"error": {"type": "idempotency_error", "code": "idempotency_key_in_use"}}
        mood -= knobs.in_use
        status, body = self.stripe.handle(request)
        if 0 <= mood < knobs.broken_after:
            return 500, {"error": {"type": "api_error"}}
        return status, body

    def state(self) -> dict[str, Any]:
        """Return all intents, every time that money moved, and what became of answers and events."""
        return {
            "intents": list(self.stripe.intents.values()),
            "pages": [
                {"id": each["id"], "status": each["status"], "reference": each["client_reference_id"]}
                for each in self.stripe.pages.values()
            ],
            "effects": [{"what": what, "intent": id_, "minor": minor} for what, id_, minor in self.stripe.effects],
            "answers": self.answers,
            "pushes": {**self.pushed, "under_way": len(self._pushing)},
            "knobs": msgspec.to_builtins(self.knobs),
        }

    def _push(self, event: dict[str, Any]) -> None:
        self.pushed["events"] += 1
        if self._hook is None or len(self._pushing) >= UNDER_WAY_MOST:
            return
        copies = 2 if self._dice.uniform(0, 1) < self.knobs.event_twice else 1
        self.pushed["doubled"] += copies - 1
        body = json.dumps(event).encode()
        for _ in range(copies):
            wait_ms = self._dice.uniform(
                self.knobs.event_delay_least_ms, max(self.knobs.event_delay_least_ms, self.knobs.event_delay_most_ms)
            )
            task = asyncio.get_running_loop().create_task(self._deliver(self._hook, body, wait_ms))
            self._pushing.add(task)
            task.add_done_callback(self._pushing.discard)

    async def _deliver(self, hook: Hook, body: bytes, wait_ms: float) -> None:
        for attempt in range(PUSH_TRIES):
            await asyncio.sleep(wait_ms / 1_000)
            if await self._sent(hook, body):
                self.pushed["sent"] += 1
                return
            self.pushed["refused"] += 1
            wait_ms = self.knobs.event_again_ms * 2 ** min(attempt, 5)
        self.pushed["given_up"] += 1

    async def _sent(self, hook: Hook, body: bytes) -> bool:
        signed = sign(body, hook.secret, at_s=self._clock.wall_ms() // 1_000)
        headers = {"Content-Type": "application/json", "Stripe-Signature": signed}
        try:
            answer = await self._http.post(hook.address, content=body, headers=headers, timeout=PUSH_WAIT_S)
        except httpx.HTTPError:
            return False
        return answer.is_success


def build(account: Account) -> Litestar:
    """Return the emulator as an application."""

    @route("/v1/{path:path}", http_method=[HttpMethod.GET, HttpMethod.POST])
    async def wire(request: Call, path: FromPath[str]) -> Response[bytes]:  # noqa: ARG001 - litestar's route shape
        asked = httpx.Request(
            request.method, str(request.url), headers=dict(request.headers), content=await request.body()
        )
        status, body = account.answer(asked)
        return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")

    @get("/state")
    async def state() -> dict[str, Any]:
        return account.state()

    @put("/knobs")
    async def set_knobs(request: Call) -> Knobs:
        """Change the knobs named in the body; the others stay."""
        changes = msgspec.json.decode(await request.body(), type=dict[str, Any])
        account.knobs = msgspec.convert({**msgspec.to_builtins(account.knobs), **changes}, Knobs)
        return account.knobs

    @post("/intents/{intent:str}/confirm", status_code=200)
    async def confirm(intent: FromPath[str], data: JSONBody[Confirm]) -> Response[bytes]:
        found = account.stripe.intents.get(intent)
        if found is not None:
            account.stripe.guest_confirms(intent, well=data.well)
        return Response(
            msgspec.json.encode(found), status_code=404 if found is None else 200, media_type="application/json"
        )

    @get("/pay/{page:str}")
    async def paying(page: FromPath[str]) -> Response[str]:
        return _shown(account.stripe, page)

    @post("/pay/{page:str}", status_code=200)
    async def pays(request: Call, page: FromPath[str]) -> Response[str]:
        card = dict(parse_qsl((await request.body()).decode())).get("card", "")
        return _came_of(account.stripe, page, lambda: account.stripe.pays(page, card))

    @post("/pay/{page:str}/bank", status_code=200)
    async def hears(request: Call, page: FromPath[str]) -> Response[str]:
        well = dict(parse_qsl((await request.body()).decode())).get("answer") == "yes"
        return _came_of(account.stripe, page, lambda: account.stripe.bank_hears(page, well=well))

    @get("/health")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    admin = Router("/emulator", route_handlers=[state, set_knobs, confirm, health])
    return application([wire, paying, pays, hears, admin], on_shutdown=[account.close])


def _shown(stripe: StripeEmulator, id_: str, *, said: str = "") -> Response[str]:
    if id_ not in stripe.pages:
        return Response("no such page", status_code=404, media_type="text/plain")
    page = stripe.page(id_)
    waits = page["status"] == "open" and page["_intent"]["status"] == "requires_action"
    made = bank_page(page) if waits else pay_page(page, said=said) if page["status"] == "open" else over_page(page)
    return Response(made, media_type="text/html")


def _came_of(stripe: StripeEmulator, id_: str, act: Callable[[], str]) -> Response[str]:
    """Let the guest act on a page: paid leads back to the hotel, all else stays here."""
    try:
        came = act()
    except (KeyError, ValueError):
        return _shown(stripe, id_)
    if came == "paid":
        return Response("", status_code=303, headers={"Location": stripe.pages[id_]["success_url"]})
    said = {"declined": "Your card was declined.", "refused": "Your bank did not confirm it was you."}.get(came, "")
    return _shown(stripe, id_, said=said)
