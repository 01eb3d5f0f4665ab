"""Signing in with a company's provider: there and back, and every way in which a provider or a browser can lie."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from cloud.kit.acting import acting, system
from cloud.kit.database import Database, fetch_all
from cloud.platform import audit
from cloud.platform.companies import ATTEMPT_MS, Companies
from cloud.platform.oidc.addresses import asked_address
from cloud.platform.oidc.client import KEYS_AGAIN_MS, KNOWN_MS, OidcClient
from cloud.platform.oidc.emulator import Lies, ProviderEmulator
from cloud.platform.sign_in import FRESH_MS
from cloud.privacy.sealing import Sealer
from cloud.privacy.wrapping import FileKeys
from cloud.public.app import build
from cloud.public.company_routes import CALLBACK, COOKIE, CompanyServices, company_routes
from cloud.public.gate import SESSION_COOKIE
from cloud.public.sign_in_routes import sign_in_routes
from protocols.errors import InvalidInputError
from tests.cloud.asgi import in_process
from tests.cloud.houses import NOW_MS
from tests.cloud.public.accounts import ANNA, BERT, OLGA, PASSWORD, Accounts

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("PLT-05")]
OURS, ISSUER, SECRET = "https://cloud.example", "https://id.northlight.example", "s3cret+of/the=client"
BERT_THERE = {"sub": "b-1", "email": "Bert@Northlight.example", "email_verified": True}


class Desk(Accounts):
    """The application, a provider of one tenant, and a browser that has a jar of cookies."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.provider = ProviderEmulator(
            ISSUER, client_id="innkeeper", secret=SECRET, now_s=lambda: self.clock.wall_ms() / 1_000
        )
        self.wire = httpx.AsyncClient(transport=self.provider.transport())
        client = OidcClient(self.wire, clock=self.clock, redirect_uri=OURS + CALLBACK)
        sealer = Sealer(FileKeys({"test": bytes(32)}, dice=self.dice), dice=self.dice)
        companies = Companies(database, client, sealer, clock=self.clock, dice=self.dice)
        routes = company_routes(CompanyServices(companies, self.sign_in, secure_cookie=True))
        self.app = build(self.gate, [sign_in_routes(self.signing), routes])

    def browser(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=in_process(self.app), base_url=OURS)

    async def ask(self, method: str, path: str, token: str | None = None, json: Any = None) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self.browser() as http:
            return await http.request(method, f"/api/v1{path}", headers=headers, json=json)

    async def token(self, email: str = ANNA) -> str:
        answer = await self.ask("POST", "/sign-in", json={"email": email, "password": PASSWORD})
        return str(answer.json()["tokens"]["access_token"])

    async def add(self, email: str = ANNA, **more: Any) -> httpx.Response:
        body = {
            "name": "northlight", "issuer": ISSUER, "client_id": "innkeeper", "client_secret": SECRET,
            "domains": ["northlight.example"], "link_by_email": True, **more,
        }  # fmt: skip
        return await self.ask("POST", "/companies", await self.token(email), body)

    async def begin(self, http: httpx.AsyncClient, company: str = "northlight", **more: Any) -> str:
        answer = await http.post("/api/v1/sign-in/company", json={"company": company, **more})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["location"])

    async def come_in(self, user: dict[str, Any] = BERT_THERE, *, company: str = "northlight") -> str:
        """Go there and back; return where the browser ends up, or who it is."""
        async with self.browser() as tab:
            back = self.provider.authorize(await self.begin(tab, company), user)
            return await self.back(tab, back)

    async def back(self, tab: httpx.AsyncClient, told: dict[str, str]) -> str:
        answer = await tab.get(CALLBACK, params=told)
        assert answer.status_code == 303, answer.text
        where = str(answer.headers["location"])
        if SESSION_COOKIE not in tab.cookies:
            return where
        return str((await tab.get("/api/v1/me")).json()["name"])

    async def trail(self) -> set[tuple[str, str, str]]:
        with acting(system("test")):
            async with self.database.transaction() as connection:
                found = await audit.page(connection, tenant="northlight", before=None, most=100)
        return {(each.actor, each.action, each.detail) for each in found}


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    made = Desk(database)
    await made.open()
    async with made.wire:
        yield made


async def test_a_verified_address_in_a_listed_domain_opens_its_account_and_is_linked(desk: Desk) -> None:
    assert (await desk.add()).status_code == 201
    assert await desk.come_in() == BERT
    moved = {"sub": "b-1", "email": "somebody@else.example", "email_verified": False}
    assert await desk.come_in(moved) == BERT  # from then on the subject counts, and no address
    links = (await desk.ask("GET", "/me/companies", await desk.token(BERT))).json()["links"]
    assert [each["company"] for each in links] == ["northlight"]
    acts = await desk.trail()
    assert (BERT, "company.link", "") in acts
    assert any(act[1] == "sign-in" and act[2].endswith("by company:northlight") for act in acts)


NOBODY = "/#/sign-in/unknown"


NOT_BERT: tuple[dict[str, Any], ...] = (
    {"sub": "x", "email": BERT},
    {"sub": "x", "email": BERT, "email_verified": False},
    {"sub": "x", "email": BERT, "email_verified": "true"},
    {"sub": "x", "email": BERT, "email_verified": 1},
    {"sub": "x", "email_verified": True},
    {"sub": "x", "email": ["bert@northlight.example"], "email_verified": True},
    {"sub": "x", "email": "nobody@northlight.example", "email_verified": True},
    {"sub": "x", "email": OLGA, "email_verified": True},
    {"sub": "x", "email": "bert@northlight.example@southwind.example", "email_verified": True},
)


@pytest.mark.requirement("SEC-23")
async def test_no_other_address_opens_an_account(desk: Desk) -> None:
    await desk.add()
    assert [user for user in NOT_BERT if await desk.come_in(user) != NOBODY] == []


async def test_a_provider_vouches_for_no_account_of_another_tenant(desk: Desk) -> None:
    await desk.add(domains=["northlight.example", "southwind.example"])
    assert await desk.come_in({"sub": "o", "email": OLGA, "email_verified": True}) == NOBODY


async def test_an_address_that_is_given_to_somebody_else_opens_nothing(desk: Desk) -> None:
    await desk.add()
    assert await desk.come_in() == BERT
    assert await desk.come_in({**BERT_THERE, "sub": "b-2"}) == NOBODY  # a successor with the same mailbox


async def test_without_the_tenants_word_an_identity_is_linked_by_its_owner_alone(desk: Desk) -> None:
    await desk.add(link_by_email=False, domains=[])
    assert await desk.come_in() == NOBODY
    async with desk.browser() as tab:
        await tab.post("/api/v1/sign-in", json={"email": BERT, "password": PASSWORD, "browser": True})
        own = {"Origin": OURS}
        asked = await tab.post(
            "/api/v1/me/companies", json={"company": "northlight", "return_to": "#/account"}, headers=own
        )
        back = desk.provider.authorize(asked.json()["location"], BERT_THERE)
        assert (await tab.get(CALLBACK, params=back)).headers["location"] == "/#/account"
    assert await desk.come_in() == BERT
    bert = await desk.token(BERT)
    async with desk.browser() as tab:  # another account cannot take the same identity
        own = {"Authorization": f"Bearer {await desk.token(ANNA)}"}
        asked = await tab.post("/api/v1/me/companies", json={"company": "northlight"}, headers=own)
        back = desk.provider.authorize(asked.json()["location"], BERT_THERE)
        assert (await tab.get(CALLBACK, params=back)).headers["location"] == NOBODY
    assert (
        await desk.ask("POST", "/me/companies", await desk.token(OLGA), {"company": "northlight"})
    ).status_code == 404
    assert (await desk.ask("DELETE", "/me/companies/northlight", await desk.token(ANNA))).status_code == 404
    assert (await desk.ask("DELETE", "/me/companies/northlight", bert)).status_code == 204
    assert await desk.come_in() == NOBODY
    desk.clock.advance(FRESH_MS)
    renewed = await desk.ask("POST", "/me/companies", bert, {"company": "northlight"})
    assert (renewed.status_code, renewed.json()["type"]) == (403, "urn:innkeeper:problem:sign-in-again")


def changed(**more: Any) -> Lies:
    return Lies(claims=lambda claims: {**claims, **more})


def without(name: str) -> Lies:
    return Lies(claims=lambda claims: {key: value for key, value in claims.items() if key != name})


NOW_S = NOW_MS // 1_000
LIES = {
    "another issuer's token": changed(iss="https://evil.example"),
    "an issuer with a slash": changed(iss=ISSUER + "/"),
    "for another client": changed(aud="other"),
    "for many, asked by another": changed(aud=["innkeeper", "other"], azp="other"),
    "for many, asked by nobody": changed(aud=["innkeeper", "other"]),
    "asked by another": changed(azp="other"),
    "an audience that is none": changed(aud={"innkeeper": True}),
    "another nonce": changed(nonce="of another sign-in"),
    "no nonce": without("nonce"),
    "over": changed(exp=NOW_S - 121),
    "of tomorrow": changed(iat=NOW_S + 86_400, exp=NOW_S + 90_000),
    "of yesterday": changed(iat=NOW_S - 86_400),
    "not good yet": changed(nbf=NOW_S + 3_600),
    "times in words": changed(exp="2099-01-01"),
    "times that are none": changed(exp=True, iat=True),
    "endless": without("exp"),
    "without a beginning": without("iat"),
    "nobody": without("sub"),
    "an empty subject": changed(sub=""),
    "a number as a subject": changed(sub=1),
    "an endless subject": changed(sub="x" * 256),
    "no signature": Lies(algorithm="none"),
    "the public key as a secret": Lies(algorithm="HS256"),
    "another's key": Lies(strange_key=True),
    "an unknown key": Lies(head={"kid": "rsa-of-nobody"}),
    "a key that comes along": Lies(strange_key=True, head={"jku": "https://evil.example/keys", "kid": "evil"}),
    "a head that must be understood": Lies(head={"crit": ["exp"], "exp": 1}),
    "no token at all": Lies(token="a.b"),
    "a token of noise": Lies(token="!.!.!"),
    "the code of another issuer": Lies(other_iss="https://evil.example"),
    "an endpoint that fails": Lies(answers={"/token": httpx.Response(500)}),
    "an endpoint that leads away": Lies(answers={"/token": httpx.Response(302, headers={"location": "https://evil.example"})}),
    "an endpoint that says nothing": Lies(answers={"/token": httpx.ReadTimeout("late")}),
    "no JSON": Lies(answers={"/token": httpx.Response(200, content=b"<html>")}),
    "an endless answer": Lies(answers={"/token": httpx.Response(200, content=b" " * 300_000)}),
    "nested for ever": Lies(answers={"/token": httpx.Response(200, content=b"[" * 200_000)}),
    "keys that are none": Lies(answers={"/keys": httpx.Response(200, json={"keys": [1]})}),
    "no keys": Lies(answers={"/keys": httpx.Response(200, json={"keys": []})}),
}  # fmt: skip


@pytest.mark.requirement("SEC-23")
async def test_no_lie_of_a_provider_lets_anybody_in(desk: Desk) -> None:
    await desk.add()
    let_in = []
    for name, lies in LIES.items():
        if "/keys" in lies.answers:  # which are asked for when they are needed
            desk.provider.rotate()
        desk.provider.lies = timely(lies, desk.clock.wall_ms() // 1_000 - NOW_S)
        if await desk.come_in() != "/#/sign-in/provider":
            let_in.append(name)
        desk.clock.advance(KEYS_AGAIN_MS)
        desk.provider.lies = Lies()
        assert await desk.come_in() == BERT, f"{name} spoils what is known"
        desk.clock.advance(KEYS_AGAIN_MS)
    assert let_in == []


def timely(lies: Lies, later_s: int) -> Lies:
    """Return the lie with its times moved: they are written against NOW_S."""
    if lies.claims is None:
        return lies
    told = lies.claims({})

    def moved(claims: dict[str, Any]) -> dict[str, Any]:
        assert lies.claims is not None
        said = lies.claims(claims)
        times = {
            key: value + later_s
            for key, value in told.items()
            if key in ("iat", "exp", "nbf") and not isinstance(value, bool | str)
        }
        return {**said, **times}

    return replace(lies, claims=moved)


async def test_keys_that_are_rotated_are_read_again_but_not_for_every_stranger(desk: Desk) -> None:
    for algorithm in ("PS256", "ES256"):
        await desk.add(name=algorithm.lower())
        desk.provider.lies = Lies(algorithm=algorithm)
        assert await desk.come_in(company=algorithm.lower()) == BERT
    algorithm = "RS256"
    await desk.add()
    desk.provider.lies = Lies(algorithm=algorithm)
    assert await desk.come_in() == BERT
    desk.provider.rotate()
    assert await desk.come_in() == "/#/sign-in/provider"  # read a moment ago
    desk.clock.advance(KEYS_AGAIN_MS)
    assert await desk.come_in() == BERT
    read = desk.provider.asked.count("/keys")
    desk.provider.lies = Lies(head={"kid": "made up"})
    for _ in range(5):
        assert await desk.come_in() == "/#/sign-in/provider"
    assert desk.provider.asked.count("/keys") == read
    desk.clock.advance(KNOWN_MS)
    desk.provider.lies = Lies(algorithm=algorithm)
    assert await desk.come_in() == BERT
    assert desk.provider.asked.count("/keys") == read + 1


@pytest.mark.requirement("SEC-23")
async def test_what_begins_in_one_browser_ends_in_the_same_one_once_and_in_time(desk: Desk) -> None:
    await desk.add()
    async with desk.browser() as mine, desk.browser() as thief:
        back = desk.provider.authorize(await desk.begin(mine), BERT_THERE)
        assert await desk.back(thief, back) == "/#/sign-in/ended"  # a link with somebody's code and state
        assert await desk.back(mine, back) == "/#/sign-in/ended"  # which uses it up
        back = desk.provider.authorize(await desk.begin(mine), BERT_THERE)
        assert (await mine.get(CALLBACK, params={**back, "state": "made up"})).headers["location"].endswith("ended")
        assert mine.cookies.get(COOKIE, "") == ""  # the answer took it away
        back = desk.provider.authorize(await desk.begin(mine), BERT_THERE)
        assert await desk.back(mine, back) == BERT
        assert (await mine.get(CALLBACK, params=back)).headers["location"] == "/#/sign-in/ended"
        back = desk.provider.authorize(await desk.begin(thief), BERT_THERE)
        desk.clock.advance(ATTEMPT_MS)
        assert await desk.back(thief, back) == "/#/sign-in/ended"
        state = desk.provider.authorize(await desk.begin(thief), BERT_THERE)["state"]
        assert await desk.back(thief, {"state": state, "error": "access_denied"}) == "/#/sign-in/denied"
        assert await desk.back(thief, {}) == "/#/sign-in/ended"
    with acting(system("test")):
        async with desk.database.transaction() as connection:
            assert await fetch_all(connection, "SELECT 1 FROM platform.company_attempt") == []


PLACES = (
    *("https://evil.example", "//evil.example", "/\\evil.example", "#//evil", "#/p/a\r\nX: y", "", "p/aurora", "#/a?b"),
    *("#/p/aurora", "#/p/aurora/room/101", "#/account"),
)


async def test_nobody_is_led_away_from_our_page(desk: Desk) -> None:
    await desk.add()
    led = {}
    for place in PLACES:
        async with desk.browser() as tab:
            answer = await tab.post("/api/v1/sign-in/company", json={"company": "northlight", "return_to": place})
            if answer.status_code == 400:
                continue
            back = desk.provider.authorize(answer.json()["location"], BERT_THERE)
            led[place] = (await tab.get(CALLBACK, params=back)).headers["location"]
    assert led == {place: f"/{place}" for place in PLACES[-3:]}


async def test_cookies_are_ours_alone_and_say_so(desk: Desk) -> None:
    await desk.add()
    async with desk.browser() as tab:
        begun = await tab.post("/api/v1/sign-in/company", json={"company": "northlight"})
        said = begun.headers["set-cookie"].lower()
        assert all(each in said for each in ("httponly", "secure", "samesite=lax", "path=/api/v1/sign-in/company"))
        back = desk.provider.authorize(begun.json()["location"], BERT_THERE)
        ended = await tab.get(CALLBACK, params=back)
    session = [each.lower() for each in ended.headers.get_list("set-cookie") if each.startswith(SESSION_COOKIE)]
    assert len(session) == 1
    assert all(each in session[0] for each in ("httponly", "secure", "samesite=strict", "path=/"))
    assert ended.headers["cache-control"] == "no-store"


async def test_a_provider_is_a_tenants_own_and_its_secret_is_sealed(desk: Desk) -> None:
    made = await desk.add()
    assert (made.json()["has_secret"], SECRET in made.text) == (True, False)
    assert (await desk.add(OLGA)).status_code == 400  # the name is taken
    assert (await desk.ask("GET", "/companies", await desk.token(OLGA))).json() == {"companies": []}
    assert (await desk.ask("DELETE", "/companies/northlight", await desk.token(OLGA))).status_code == 404
    with acting(system("test")):
        async with desk.database.transaction() as connection:
            stored = await fetch_all(connection, "SELECT * FROM platform.company")
    assert SECRET.encode() not in bytes(stored[0]["client_secret"])
    async with desk.browser() as tab:
        back = desk.provider.authorize(await desk.begin(tab), BERT_THERE)
        assert await desk.back(tab, back) == BERT
        assert (await desk.ask("DELETE", "/companies/northlight", await desk.token())).status_code == 204
        assert (await tab.get("/api/v1/me")).status_code == 401  # what it signed in to has ended
    unknown = await desk.ask("POST", "/sign-in/company", json={"company": "northlight"})
    assert unknown.status_code == 404


async def test_who_is_disabled_has_no_way_in(desk: Desk) -> None:
    await desk.add()
    assert await desk.come_in() == BERT
    change = {"role": "staff", "properties": None, "disabled": True}
    assert (await desk.ask("PUT", f"/accounts/{desk.ids[BERT]}", await desk.token(), change)).status_code == 204
    assert await desk.come_in() == NOBODY


BAD_SETTINGS: tuple[dict[str, Any], ...] = (
    {"issuer": "http://id.northlight.example"},
    {"issuer": "https://127.0.0.1"},
    {"issuer": "https://localhost"},
    {"issuer": "https://[::1]"},
    {"issuer": "https://id.northlight.example:8443"},
    {"issuer": "https://user@id.northlight.example"},
    {"issuer": "https://other.northlight.example"},
    {"issuer": "https://["},
    {"domains": ["Northlight.example"]},
    {"domains": ["localhost"]},
    {"domains": [], "link_by_email": True},
    {"name": "N"},
)


async def test_settings_that_will_not_do_are_refused(desk: Desk) -> None:
    for more in BAD_SETTINGS:
        answer = await desk.add(**more)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), more


async def test_a_provider_leads_us_to_nothing_of_ours(desk: Desk) -> None:
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        desk.provider.lies = Lies(metadata={name: "http://169.254.169.254/latest"})
        answer = await desk.add()
        assert (answer.status_code, name in answer.json()["detail"]) == (400, True)


async def test_what_the_operator_names_may_be_asked() -> None:
    private = frozenset({"http://127.0.0.1:9000"})
    assert asked_address("http://127.0.0.1:9000/x", "issuer", private=private)
    with pytest.raises(InvalidInputError, match="https"):
        asked_address("http://127.0.0.1:9001/x", "issuer", private=private)
