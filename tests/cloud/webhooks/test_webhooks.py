"""Events out: signed as Standard Webhooks say, sent until they were taken, and never to what is ours."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.kit import outbox
from cloud.kit.database import Connection, Database, fetch_all
from cloud.kit.outbox import Relay
from cloud.privacy.sealing import Sealer
from cloud.privacy.wrapping import FileKeys
from cloud.webhooks.signature import headers
from cloud.webhooks.webhooks import BACKOFF_MOST_MS, KINDS, TRIES_MOST, Webhooks, parse_url
from kit.clock import ManualClock
from kit.dice import SeededDice
from kit.logs import logger
from protocols.errors import InvalidInputError, StoreFailedError
from tests.cloud.houses import NOW_MS

URL = "https://hooks.example.com/innkeeper"


def test_the_specifications_own_example_is_signed_as_it_says() -> None:
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    told = headers("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', [secret], at_s=1_614_265_330)
    assert told == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/", "https://localhost/", "https://127.0.0.1/", "https://[::1]/", "https://10.0.0.1/",
        "https://hooks.example.com:8443/", "https://a:b@hooks.example.com/", "https://printer.local/", "https://x/",
        "https://2130706433/", "https://0x7f.1/", "ftp://hooks.example.com/", "https://", "https://[", "nonsense",
        "https://hooks.example.com/ x", "https://hooks.example.com/#x", "https://metadata.google.internal/",
        "https://hooks..example.com/", "https://hooks.example.com/" + "a" * 500,
    ],
)  # fmt: skip
def test_what_is_ours_is_not_pushed_to(url: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_url(url)


@pytest.mark.guarantee("G19")
@given(st.text(max_size=60))
def test_no_address_raises_anything_else(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_url(text)


class Receiver:
    """A tenant's address."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock = database, ManualClock(wall_ms=NOW_MS)
        self.answers: list[int | None] = []
        self.heard: list[httpx.Request] = []
        dice = SeededDice(1)
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._take))
        sealer = Sealer(FileKeys({"k": bytes(32)}, dice=dice), dice=dice)
        self.webhooks = Webhooks(database, sealer, http, clock=self.clock, dice=dice)
        subscribers = dict.fromkeys(KINDS, (self.webhooks.on_event,))
        self.relay = Relay(database, subscribers=subscribers, clock=self.clock, log=logger("test"))

    def _take(self, request: httpx.Request) -> httpx.Response:
        self.heard.append(request)
        answer = self.answers.pop(0) if self.answers else 204
        if answer is None:
            raise httpx.ReadTimeout("no answer", request=request)
        return httpx.Response(answer, headers={"location": "https://127.0.0.1/"} if answer == 302 else {})

    async def happens(self, kind: str = "checkin.completed", tenant: str = "northlight") -> None:
        async with self.database.transaction() as connection:
            await outbox.append(
                connection, kind=kind, tenant=tenant, property_id="aurora", subject="s-1",
                body={"session": "ci-1"}, occurred_at_ms=self.clock.wall_ms(),
            )  # fmt: skip
        await self.relay.drain()
        await self.webhooks.work_due()

    async def states(self) -> list[tuple[str, int]]:
        async with self.database.transaction() as connection:
            rows = await fetch_all(connection, "SELECT state, tries FROM webhooks.delivery ORDER BY event, endpoint")
        return [(row["state"], row["tries"]) for row in rows]


@pytest.fixture
def receiver(database: Database) -> Receiver:
    return Receiver(database)


@pytest.mark.tier("postgres")
async def test_an_event_arrives_signed_with_the_secret_that_was_told_once(receiver: Receiver) -> None:
    made = await receiver.webhooks.add(tenant="northlight", url=URL, kinds=["checkin.completed"], by="anna")
    assert made.secret is not None
    await receiver.happens()
    await receiver.happens("payment.changed")
    await receiver.happens(tenant="southwind")
    [request] = receiver.heard
    assert json.loads(request.content) == {
        "type": "checkin.completed", "timestamp": "2026-11-18T11:06:40.000Z",
        "data": {"property": "aurora", "subject": "s-1", "session": "ci-1"},
    }  # fmt: skip
    secret = base64.b64decode(made.secret.removeprefix("whsec_"))
    wanted = headers(request.headers["webhook-id"], request.content, [secret], at_s=NOW_MS // 1_000)
    assert request.headers["webhook-signature"] == wanted["webhook-signature"]
    assert [each.secret for each in await receiver.webhooks.listed(tenant="northlight")] == [None]
    async with receiver.database.transaction() as connection:
        assert secret not in [bytes(row["secret"]) for row in await fetch_all(connection, "TABLE webhooks.endpoint")]


@pytest.mark.tier("postgres")
async def test_it_is_sent_again_under_its_id_until_it_is_taken_and_no_redirect_is_followed(receiver: Receiver) -> None:
    await receiver.webhooks.add(tenant="northlight", url=URL, kinds=["checkin.completed"], by="anna")
    receiver.answers = [500, None, 302]
    await receiver.happens()
    for _ in range(6):
        receiver.clock.advance(BACKOFF_MOST_MS)
        await receiver.webhooks.work_due()
    assert await receiver.states() == [("sent", 4)]
    assert len({each.headers["webhook-id"] for each in receiver.heard}) == 1
    assert {str(each.url) for each in receiver.heard} == {URL}


@pytest.mark.tier("postgres")
async def test_an_address_that_never_answers_is_given_up_and_holds_nobody_up(receiver: Receiver) -> None:
    await receiver.webhooks.add(tenant="northlight", url=URL, kinds=["checkin.completed"], by="anna")
    receiver.answers = [500] * TRIES_MOST
    await receiver.happens()
    for _ in range(TRIES_MOST + 2):
        receiver.clock.advance(BACKOFF_MOST_MS)
        await receiver.webhooks.work_due()
    assert await receiver.states() == [("given_up", TRIES_MOST)]
    assert len(receiver.heard) == TRIES_MOST


class Drip(httpx.AsyncByteStream):
    """A body that never ends."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0)


@pytest.mark.tier("postgres")
async def test_an_address_that_hangs_or_never_ends_its_answer_holds_up_no_other(receiver: Receiver) -> None:
    hung, forever, well = (f"https://{name}.example.com/" for name in ("hung", "forever", "well"))
    released, heard = asyncio.Event(), {hung: 0, forever: 0, well: 0}

    async def take(request: httpx.Request) -> httpx.Response:
        heard[str(request.url)] += 1
        if str(request.url) == hung:
            await released.wait()
        return httpx.Response(200, stream=Drip()) if str(request.url) == forever else httpx.Response(204)

    receiver.webhooks._http = httpx.AsyncClient(transport=httpx.MockTransport(take))
    for url in heard:
        await receiver.webhooks.add(tenant="northlight", url=url, kinds=["checkin.completed"], by="anna")
    async with receiver.database.transaction() as connection:
        for number in range(30):
            await outbox.append(
                connection, kind="checkin.completed", tenant="northlight", property_id="aurora", subject=f"s-{number}",
                body={"session": "ci-1"}, occurred_at_ms=receiver.clock.wall_ms(),
            )  # fmt: skip
    await receiver.relay.drain()
    running = asyncio.create_task(receiver.webhooks.run())
    try:
        async with asyncio.timeout(30):
            while heard[well] < 30 or heard[forever] < 30:
                await asyncio.sleep(0.02)
        assert heard[hung] == 1, "and it is asked for one thing at a time"
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.tier("postgres")
async def test_a_database_that_goes_away_ends_the_pushing_by_its_own_name(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> AbstractAsyncContextManager[Connection]:
        raise StoreFailedError("no database")

    monkeypatch.setattr(receiver.database, "transaction", gone)
    with pytest.raises(StoreFailedError, match="no database"):
        await receiver.webhooks.run()


@pytest.mark.tier("postgres")
async def test_what_was_refused_ends_the_turn_of_its_address(receiver: Receiver) -> None:
    await receiver.webhooks.add(tenant="northlight", url=URL, kinds=["checkin.completed"], by="anna")
    receiver.answers = [503]
    async with receiver.database.transaction() as connection:
        for _ in range(3):
            await outbox.append(
                connection, kind="checkin.completed", tenant="northlight", property_id="aurora", subject="s-1",
                body={"session": "ci-1"}, occurred_at_ms=receiver.clock.wall_ms(),
            )  # fmt: skip
    await receiver.relay.drain()
    assert await receiver.webhooks.work_due() == 3
    assert await receiver.states() == [("waiting", 1), ("waiting", 0), ("waiting", 0)]
    assert await receiver.webhooks.work_due() == 2
    receiver.clock.advance(BACKOFF_MOST_MS)
    await receiver.webhooks.work_due()
    assert {state for state, _ in await receiver.states()} == {"sent"}


async def _happened(receiver: Receiver, times: int, tenant: str = "northlight") -> None:
    async with receiver.database.transaction() as connection:
        for _ in range(times):
            await outbox.append(
                connection, kind="checkin.completed", tenant=tenant, property_id="aurora", subject="s-1",
                body={"session": "ci-1"}, occurred_at_ms=receiver.clock.wall_ms(),
            )  # fmt: skip
    await receiver.relay.drain()


@pytest.mark.tier("postgres")
async def test_what_waits_for_endpoints_that_were_ended_holds_up_nobody(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud.webhooks.webhooks.ENDPOINTS_AT_A_TIME", 2)
    for _ in range(2):
        made = await receiver.webhooks.add(tenant="southwind", url=URL, kinds=["checkin.completed"], by="ben")
        receiver.answers = [503]
        await _happened(receiver, 1, "southwind")
        await receiver.webhooks.work_due()
        await receiver.webhooks.end(tenant="southwind", endpoint=made.id)
    receiver.clock.advance(BACKOFF_MOST_MS)
    receiver.heard.clear()
    await receiver.webhooks.add(tenant="northlight", url=URL, kinds=["checkin.completed"], by="anna")
    await receiver.happens()
    assert len(receiver.heard) == 1


@pytest.mark.tier("postgres")
async def test_addresses_with_much_due_that_always_refuse_leave_a_turn_to_others(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud.webhooks.webhooks.ENDPOINTS_AT_A_TIME", 2)
    for _ in range(3):
        await receiver.webhooks.add(tenant="southwind", url=URL, kinds=["checkin.completed"], by="ben")
    await receiver.webhooks.add(tenant="northlight", url=URL + "/well", kinds=["checkin.completed"], by="anna")
    await _happened(receiver, 20, "southwind")
    receiver.clock.advance(1)
    await _happened(receiver, 1)
    receiver.answers = [503] * 100
    for _ in range(3):
        receiver.clock.advance(1)
        await receiver.webhooks.work_due()
    assert URL + "/well" in {str(each.url) for each in receiver.heard}


@pytest.mark.tier("postgres")
async def test_an_origin_that_the_operator_named_is_pushed_to_and_no_other_like_it(receiver: Receiver) -> None:
    receiver.webhooks._private = frozenset({"http://127.0.0.1:9000"})
    made = await receiver.webhooks.add(
        tenant="northlight", url="http://127.0.0.1:9000/x?y", kinds=["checkin.completed"], by="anna"
    )
    assert made.url == "http://127.0.0.1:9000/x?y"
    for url in (
        "http://127.0.0.1:9001/",
        "http://127.0.0.1:90001/",
        "https://127.0.0.1:9000/",
        "http://a@127.0.0.1:9000/",
    ):
        with pytest.raises(InvalidInputError):
            await receiver.webhooks.add(tenant="northlight", url=url, kinds=["checkin.completed"], by="anna")


@pytest.mark.tier("postgres")
@pytest.mark.guarantee("G8")
async def test_an_endpoint_is_its_tenants_and_ends_when_asked(receiver: Receiver) -> None:
    made = await receiver.webhooks.add(tenant="northlight", url=URL, kinds=sorted(KINDS), by="anna")
    assert await receiver.webhooks.listed(tenant="southwind") == []
    assert not await receiver.webhooks.end(tenant="southwind", endpoint=made.id)
    assert await receiver.webhooks.end(tenant="northlight", endpoint=made.id)
    assert not await receiver.webhooks.end(tenant="northlight", endpoint=made.id)
    await receiver.happens()
    assert receiver.heard == []
    for kinds in ([], ["stay.stolen"]):
        with pytest.raises(InvalidInputError):
            await receiver.webhooks.add(tenant="northlight", url=URL, kinds=kinds, by="anna")
