"""People sign in, programs hold tokens, and all of it can be ended."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from cloud.kit.acting import acting, system
from cloud.kit.database import Database, execute, fetch_all
from cloud.platform import attempts
from cloud.platform.accounts import create_account
from cloud.platform.passwords import Cost, Passwords, judged
from cloud.platform.principals import Principals, Role
from cloud.platform.sign_in import ACCESS_MS, BROWSER_MS, CLIENT_MS, NOTED_EVERY_MS, REFRESH_MS, SignIn
from cloud.public.app import build
from cloud.public.gate import SESSION_COOKIE, Gate
from cloud.public.sign_in_routes import SignInServices, sign_in_routes
from cloud.public.web import pages
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import InvalidInputError
from tests.cloud.asgi import in_process
from tests.cloud.houses import AURORA, BOREALIS, NOW_MS, open_house

pytestmark = pytest.mark.tier("postgres")
PASSWORD = "correct horse battery"
ANNA, BERT, OLGA = "anna@northlight.example", "bert@northlight.example", "olga@southwind.example"
CHEAP = Cost(memory_kib=64, iterations=1)
ORIGIN = {"Origin": "http://cloud.test"}


class Desk:
    """The application with three accounts, asked from any address."""

    def __init__(self, database: Database, tmp_path: Any) -> None:
        self.clock, self.dice = ManualClock(wall_ms=NOW_MS), SeededDice(7)
        self.database, self.passwords = database, Passwords(dice=self.dice, cost=CHEAP)
        self.sign_in = SignIn(database, passwords=self.passwords, clock=self.clock, dice=self.dice)
        principals = Principals([], dice=self.dice)
        gate = Gate(principals, database, clock=self.clock, origins=frozenset(), sign_in=self.sign_in)
        services = SignInServices(
            database, self.sign_in, self.passwords, self.clock, self.dice, secure_cookie=True, forwarded_hops=1
        )
        web = pages(tmp_path, principals, database, clock=self.clock, secure_cookie=True, sign_in_desk=self.sign_in)
        app = build(gate, [sign_in_routes(services), *web])
        self.http = httpx.AsyncClient(transport=in_process(app), base_url="http://cloud.test")

    async def account(self, email: str, role: Role = Role.ADMIN, tenant: str = "northlight", **more: Any) -> str:
        phc = await self.passwords.hashed(PASSWORD)
        with acting(system("test")):
            async with self.database.transaction() as connection:
                made = await create_account(
                    connection, tenant=tenant, email=email, name="A", role=role,
                    properties=more.get("properties"), phc=phc, by="test", dice=self.dice, now_ms=NOW_MS,
                )  # fmt: skip
        return made.id

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        address: str = "10.0.0.1",
        **more: Any,
    ) -> httpx.Response:
        self.http.cookies.clear()
        headers = {"X-Forwarded-For": f"1.2.3.4, {address}", **more.pop("headers", {})}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return await self.http.request(method, f"/api/v1{path}", headers=headers, **more)

    async def try_in(self, email: str, password: str = PASSWORD, address: str = "10.0.0.1") -> httpx.Response:
        return await self.ask("POST", "/sign-in", json={"email": email, "password": password}, address=address)

    async def tokens(self, email: str = ANNA) -> dict[str, str]:
        answer = await self.try_in(email)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["tokens"])

    async def refresh(self, token: str) -> httpx.Response:
        return await self.ask("POST", "/token", json={"refresh_token": token})

    async def me(self, token: str) -> int:
        return (await self.ask("GET", "/me", token=token)).status_code


@pytest.fixture
async def desk(database: Database, tmp_path: Any) -> AsyncIterator[Desk]:
    for house in (AURORA, BOREALIS):
        await open_house(database, house)
    made = Desk(database, tmp_path)
    await made.account(ANNA)
    await made.account(BERT, Role.STAFF)
    await made.account(OLGA, tenant="southwind")
    async with made.http:
        yield made


@pytest.mark.requirement("PLT-05")
async def test_a_password_gives_tokens_that_last_their_time(desk: Desk) -> None:
    tokens = await desk.tokens()
    answer = await desk.ask("GET", "/me", token=tokens["access_token"])
    assert answer.json() == {"name": ANNA, "tenant": "northlight", "role": "admin", "properties": None}
    desk.clock.advance(ACCESS_MS - 1)
    assert await desk.me(tokens["access_token"]) == 200
    desk.clock.advance(1)
    ended = await desk.ask("GET", "/me", token=tokens["access_token"])
    assert ended.status_code == 401
    assert "/api/v1/token" in ended.json()["detail"]
    assert await desk.me(tokens["refresh_token"]) == 403  # a refresh token opens nothing
    assert await desk.me("ika_" + "0" * 64) == 401
    assert await desk.me("ikc_" + "0" * 64) == 403


async def test_no_secret_stands_in_the_database(desk: Desk) -> None:
    tokens = await desk.tokens()
    admin = tokens["access_token"]
    client = (await desk.ask("POST", "/api-clients", token=admin, json={"name": "erp", "role": "viewer"})).json()
    with acting(system("test")):
        async with desk.database.transaction() as connection:
            stored = repr(
                [
                    await fetch_all(connection, query)
                    for query in (
                        "SELECT * FROM platform.token",
                        "SELECT * FROM platform.sign_in",
                        "SELECT * FROM platform.password",
                        "SELECT * FROM platform.api_client",
                    )
                ]
            )
    for secret in (PASSWORD, *tokens.values(), client["token"]):
        assert secret not in stored
        assert secret[4:] not in stored
    assert "$argon2id$" in stored


@pytest.mark.requirement("SEC-23")
async def test_a_refresh_token_is_good_for_one_use_and_a_second_ends_everything(desk: Desk) -> None:
    first = await desk.tokens()
    second = (await desk.refresh(first["refresh_token"])).json()
    third = (await desk.refresh(second["refresh_token"])).json()
    other = await desk.tokens()
    assert await desk.me(third["access_token"]) == 200
    assert (await desk.refresh(first["refresh_token"])).status_code == 401  # somebody has a copy
    for token in (first, second, third):
        assert await desk.me(token["access_token"]) == 401
    assert (await desk.refresh(third["refresh_token"])).status_code == 401
    assert await desk.me(other["access_token"]) == 200  # another sign-in is another family


async def test_a_refresh_token_ends_with_its_time_and_its_family(desk: Desk) -> None:
    tokens = await desk.tokens()
    desk.clock.advance(REFRESH_MS)
    assert (await desk.refresh(tokens["refresh_token"])).status_code == 401
    tokens = await desk.tokens()
    began_ms = desk.clock.wall_ms()
    while desk.clock.wall_ms() + REFRESH_MS < began_ms + CLIENT_MS:
        desk.clock.advance(REFRESH_MS - 1)
        tokens = (await desk.refresh(tokens["refresh_token"])).json()
    desk.clock.advance(began_ms + CLIENT_MS - desk.clock.wall_ms() - 1)
    tokens = (await desk.refresh(tokens["refresh_token"])).json()
    assert await desk.me(tokens["access_token"]) == 200
    desk.clock.advance(1)
    assert await desk.me(tokens["access_token"]) == 401
    for nonsense in ("ikr_" + "0" * 64, "x", tokens["access_token"]):
        assert (await desk.refresh(nonsense)).status_code == 401


async def test_wrong_passwords_strangers_and_disabled_accounts_get_one_answer(desk: Desk) -> None:
    admin = (await desk.tokens())["access_token"]
    [bert] = [
        each for each in (await desk.ask("GET", "/accounts", token=admin)).json()["accounts"] if each["email"] == BERT
    ]
    held = await desk.tokens(BERT)
    change = {"role": "staff", "properties": None, "disabled": True}
    assert (await desk.ask("PUT", f"/accounts/{bert['id']}", token=admin, json=change)).status_code == 204
    assert await desk.me(held["access_token"]) == 401
    assert (await desk.refresh(held["refresh_token"])).status_code == 401
    answers = [
        await desk.try_in(ANNA, "wrong wrong wrong"), await desk.try_in("nobody@x.example"), await desk.try_in(BERT),
        await desk.try_in("\u0000@x"), await desk.try_in(ANNA, PASSWORD + "\U0001f600"),
    ]  # fmt: skip
    assert {(each.status_code, each.content) for each in answers} == {(401, answers[0].content)}


async def test_guessing_is_slow_and_locks_nobody_out_for_good(desk: Desk) -> None:
    await desk.tokens()  # Anna has signed in from 10.0.0.1 before
    for n in range(attempts.PAIR.most):
        assert (await desk.try_in(ANNA, f"guess number {n}", address="6.6.6.6")).status_code == 401
    shut = await desk.try_in(ANNA, address="6.6.6.6")  # even the right password
    assert shut.status_code == 429
    assert shut.headers["content-type"] == "application/problem+json"
    wait_s = int(shut.headers["retry-after"])
    assert 0 < wait_s <= attempts.PAIR.leak_s
    for n in range(200):  # guesses from everywhere fill the account's bucket
        await desk.try_in(ANNA, f"guess number {n}", address=f"7.7.{n}.7")
    assert (await desk.try_in(ANNA, address="8.8.8.8")).status_code == 429
    assert (await desk.try_in(ANNA, address="10.0.0.1")).status_code == 200  # where she is known
    assert (await desk.try_in(BERT, address="8.8.8.8")).status_code == 200  # and nobody else is held up
    for _ in range(20):  # refused attempts do not make it longer
        await desk.try_in(ANNA, address="6.6.6.6")
    desk.clock.advance(int(attempts.PAIR.leak_s * 1_000))
    assert (await desk.try_in(ANNA, "wrong wrong wrong", address="6.6.6.6")).status_code == 401
    desk.clock.advance(int(attempts.ACCOUNT.leak_s * 1_000))
    assert (await desk.try_in(ANNA, address="9.9.9.9")).status_code == 200


async def test_one_address_cannot_try_every_account(desk: Desk) -> None:
    codes = [
        (await desk.try_in(f"user{n}@x.example", address="6.6.6.6")).status_code
        for n in range(attempts.ADDRESS.most + 1)
    ]
    assert codes == [401] * attempts.ADDRESS.most + [429]


async def test_what_a_caller_claims_is_not_where_it_comes_from(desk: Desk) -> None:
    for n in range(attempts.PAIR.most):
        await desk.try_in(ANNA, "wrong wrong wrong", address="6.6.6.6")
        _ = n
    forged = await desk.ask(
        "POST", "/sign-in", json={"email": ANNA, "password": PASSWORD},
        headers={"X-Forwarded-For": "10.9.9.9, 6.6.6.6"},
    )  # fmt: skip
    assert forged.status_code == 429


async def test_a_browser_gets_a_cookie_and_no_token(desk: Desk) -> None:
    answer = await desk.ask("POST", "/sign-in", json={"email": ANNA, "password": PASSWORD, "browser": True})
    assert answer.json() == {"tokens": None}
    said = answer.headers["set-cookie"].lower()
    assert all(word in said for word in ("httponly", "secure", "samesite=strict"))
    cookie = {"Cookie": f"{SESSION_COOKIE}={answer.cookies[SESSION_COOKIE]}"}
    assert (await desk.ask("GET", "/me", headers=cookie)).status_code == 200
    listed = (await desk.ask("GET", "/me/sign-ins", headers=cookie)).json()["sign_ins"]
    assert [(each["channel"], each["address"], each["this"]) for each in listed] == [("browser", "10.0.0.1", True)]
    foreign = {**cookie, "Origin": "https://evil.example"}
    path = f"/me/sign-ins/{listed[0]['id']}"
    assert (await desk.ask("DELETE", path, headers=foreign)).status_code == 403
    assert (await desk.http.post("/sign-out", headers={**cookie, **ORIGIN})).status_code == 204
    assert (await desk.ask("GET", "/me", headers=cookie)).status_code == 401
    again = await desk.ask("POST", "/sign-in", json={"email": ANNA, "password": PASSWORD, "browser": True})
    cookie = {"Cookie": f"{SESSION_COOKIE}={again.cookies[SESSION_COOKIE]}"}
    desk.clock.advance(BROWSER_MS - 1)
    assert (await desk.ask("GET", "/me", headers=cookie)).status_code == 200
    desk.clock.advance(1)
    assert (await desk.ask("GET", "/me", headers=cookie)).status_code == 401


@pytest.mark.guarantee("G8")
async def test_a_sign_in_is_its_owners_to_see_and_to_end(desk: Desk) -> None:
    mine, others = await desk.tokens(ANNA), await desk.tokens(BERT)
    [seen] = (await desk.ask("GET", "/me/sign-ins", token=mine["access_token"])).json()["sign_ins"]
    path = f"/me/sign-ins/{seen['id']}"
    foreign = await desk.ask("DELETE", path, token=others["access_token"])
    absent = await desk.ask("DELETE", "/me/sign-ins/s-none", token=others["access_token"])
    assert (foreign.status_code, foreign.content) == (absent.status_code, absent.content)
    assert foreign.status_code == 404
    desk.clock.advance(2 * NOTED_EVERY_MS)
    assert await desk.me(mine["access_token"]) == 200
    [used] = (await desk.ask("GET", "/me/sign-ins", token=mine["access_token"])).json()["sign_ins"]
    assert used["used_at"] > seen["used_at"]
    assert (await desk.ask("DELETE", path, token=mine["access_token"])).status_code == 204
    assert await desk.me(mine["access_token"]) == 401
    assert (await desk.refresh(mine["refresh_token"])).status_code == 401
    assert await desk.me(others["access_token"]) == 200


async def test_a_new_password_needs_the_old_one_and_ends_other_sign_ins(desk: Desk) -> None:
    here, there = await desk.tokens(), await desk.tokens()
    wrong = await desk.ask(
        "PUT", "/me/password", token=here["access_token"], json={"old": "not the old one", "new": "a new one, longer"}
    )
    assert wrong.status_code == 403
    short = await desk.ask("PUT", "/me/password", token=here["access_token"], json={"old": PASSWORD, "new": "short"})
    assert short.status_code == 400
    changed = await desk.ask(
        "PUT", "/me/password", token=here["access_token"], json={"old": PASSWORD, "new": "a new one, longer"}
    )
    assert changed.status_code == 204
    assert await desk.me(here["access_token"]) == 200
    assert await desk.me(there["access_token"]) == 401
    assert (await desk.try_in(ANNA)).status_code == 401
    assert (await desk.try_in(ANNA, "a new one, longer")).status_code == 200


@pytest.mark.guarantee("G8")
@pytest.mark.requirement("PLT-02")
async def test_accounts_and_clients_are_a_tenants_own_and_an_admins_alone(desk: Desk) -> None:
    admin, staff, other = [(await desk.tokens(each))["access_token"] for each in (ANNA, BERT, OLGA)]
    made = await desk.ask(
        "POST", "/accounts", token=admin,
        json={"email": "Carl@Northlight.example", "name": "Carl", "role": "viewer", "password": PASSWORD,
              "properties": ["aurora"]},
    )  # fmt: skip
    assert made.status_code == 201
    client = await desk.ask("POST", "/api-clients", token=admin, json={"name": "erp", "role": "viewer"})
    token = client.json()["token"]
    assert (await desk.ask("GET", "/me", token=token)).json()["name"] == "erp"
    mails = {each["email"] for each in (await desk.ask("GET", "/accounts", token=admin)).json()["accounts"]}
    assert mails == {ANNA, BERT, "carl@northlight.example"}
    assert [each["email"] for each in (await desk.ask("GET", "/accounts", token=other)).json()["accounts"]] == [OLGA]
    assert (await desk.ask("GET", "/api-clients", token=other)).json() == {"clients": []}
    change = {"role": "viewer", "properties": None, "disabled": True}
    for path, method, body in (
        (f"/accounts/{made.json()['id']}", "PUT", change), (f"/api-clients/{client.json()['id']}", "DELETE", None)
    ):  # fmt: skip
        nowhere = path.rpartition("/")[0] + "/absent"
        foreign = await desk.ask(method, path, token=other, json=body)
        absent = await desk.ask(method, nowhere, token=other, json=body)
        assert (foreign.status_code, foreign.content) == (404, absent.content)
        assert (await desk.ask(method, path, token=staff, json=body)).status_code == 403
    carl = (await desk.tokens("carl@northlight.example"))["access_token"]
    assert (await desk.ask("GET", "/me", token=carl)).json()["properties"] == ["aurora"]
    assert (await desk.ask("DELETE", f"/api-clients/{client.json()['id']}", token=admin)).status_code == 204
    assert await desk.me(token) == 403
    taken = {"email": OLGA, "name": "x", "role": "viewer", "password": PASSWORD}
    assert (await desk.ask("POST", "/accounts", token=admin, json=taken)).status_code == 400
    strange = {"name": "x", "role": "viewer", "properties": ["borealis"]}
    assert (await desk.ask("POST", "/api-clients", token=admin, json=strange)).status_code == 400


async def test_who_is_bound_to_a_property_makes_no_accounts_and_the_last_admin_stays(desk: Desk) -> None:
    await desk.account("dora@northlight.example", properties=frozenset({"aurora"}))
    dora = (await desk.tokens("dora@northlight.example"))["access_token"]
    body = {"email": "x@northlight.example", "name": "x", "role": "admin", "password": PASSWORD}
    assert (await desk.ask("POST", "/accounts", token=dora, json=body)).status_code == 403
    assert (await desk.ask("POST", "/api-clients", token=dora, json={"name": "x", "role": "admin"})).status_code == 403
    anna = (await desk.tokens())["access_token"]
    [me] = [
        each for each in (await desk.ask("GET", "/accounts", token=anna)).json()["accounts"] if each["email"] == ANNA
    ]
    change = {"role": "staff", "properties": None, "disabled": False}
    refused = await desk.ask("PUT", f"/accounts/{me['id']}", token=anna, json=change)
    assert refused.status_code == 400
    assert "last" in refused.json()["detail"]


async def test_a_clients_token_ends_with_its_time(desk: Desk) -> None:
    admin = (await desk.tokens())["access_token"]
    past = {"name": "late", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}
    assert (await desk.ask("POST", "/api-clients", token=admin, json=past)).status_code == 400
    made = await desk.ask(
        "POST", "/api-clients", token=admin, json={"name": "erp", "role": "staff", "expires_at": "2026-12-01T00:00:00Z"}
    )
    token = made.json()["token"]
    assert await desk.me(token) == 200
    desk.clock.advance(30 * 24 * 3_600_000)
    assert await desk.me(token) == 403


async def test_a_hash_of_another_cost_is_renewed_at_the_next_sign_in(desk: Desk) -> None:
    dear = Passwords(dice=desk.dice, cost=Cost(memory_kib=128, iterations=1))
    phc = await dear.hashed(PASSWORD)
    with acting(system("test")):
        async with desk.database.transaction() as connection:
            await execute(connection, "UPDATE platform.password SET phc = %s", [phc])
    await desk.tokens()
    with acting(system("test")):
        async with desk.database.transaction() as connection:
            rows = await fetch_all(
                connection,
                "SELECT a.email FROM platform.password p JOIN platform.account a ON a.id = p.account"
                " WHERE p.phc LIKE '%%m=64,%%'",
                {},
            )
    assert [row["email"] for row in rows] == [ANNA]


@pytest.mark.parametrize("wrong", ["short", "x" * 129, "aaaaaaaaaaaaaaaa", "anna@northlight.EXAMPLE"])
def test_a_password_that_can_be_guessed_is_refused_and_not_shown(wrong: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        judged(wrong, of=ANNA)
    assert wrong not in str(error.value)
