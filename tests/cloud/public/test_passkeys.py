"""Passkeys: what a good authenticator may, and what every lie that one can tell comes to."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.kit.acting import acting, system
from cloud.kit.database import Database, fetch_all
from cloud.platform import audit
from cloud.platform.passkeys import CHALLENGE_MS, PASSKEYS_MOST, Passkeys
from cloud.platform.recovery import CODE_MS, Recovery
from cloud.platform.relying_party import RelyingParty
from cloud.platform.sign_in import FRESH_MS
from cloud.public.app import build
from cloud.public.gate import SESSION_COOKIE
from cloud.public.passkey_routes import PasskeyServices, passkey_routes
from cloud.public.sign_in_routes import sign_in_routes
from tests.cloud.asgi import in_process
from tests.cloud.authenticator import BACKED_UP, BACKUP_ELIGIBLE, PRESENT, VERIFIED, Authenticator, Lies, b64
from tests.cloud.public.accounts import ANNA, BERT, OLGA, PASSWORD, Accounts

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("PLT-05")]
ORIGIN, RP = "https://desk.hotel.example", "hotel.example"


class Desk(Accounts):
    """The application, asked over HTTP; each account's tokens by its address."""

    def __init__(self, database: Database, *, with_passkeys: bool = True) -> None:
        super().__init__(database)
        party = RelyingParty(RP, "Hotel", (ORIGIN,))
        passkeys = Passkeys(database, party, clock=self.clock, dice=self.dice) if with_passkeys else None
        recovery = Recovery(database, passwords=self.passwords, clock=self.clock, dice=self.dice)
        ways = PasskeyServices(passkeys, recovery, self.sign_in, secure_cookie=True)
        app = build(self.gate, [sign_in_routes(self.signing), passkey_routes(ways)])
        self.http = httpx.AsyncClient(transport=in_process(app), base_url=ORIGIN)

    async def ask(self, method: str, path: str, token: str | None = None, json: Any = None) -> httpx.Response:
        self.http.cookies.clear()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return await self.http.request(method, f"/api/v1{path}", headers=headers, json=json)

    async def token(self, email: str = BERT, password: str = PASSWORD) -> str:
        answer = await self.ask("POST", "/sign-in", json={"email": email, "password": password})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["tokens"]["access_token"])

    async def options_to_add(self, token: str) -> dict[str, Any]:
        answer = await self.ask("POST", "/me/passkeys/options", token, {})
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["publicKey"])

    async def add(self, token: str, credential: dict[str, Any]) -> httpx.Response:
        return await self.ask("POST", "/me/passkeys", token, {"name": "phone", "credential": credential})

    async def with_passkey(self, email: str = BERT, **more: Any) -> Authenticator:
        device, token = Authenticator(ORIGIN, RP, **more), await self.token(email)
        answer = await self.add(token, device.create(await self.options_to_add(token)))
        assert answer.status_code == 201, answer.text
        return device

    async def options(self) -> dict[str, Any]:
        answer = await self.ask("POST", "/sign-in/passkey/options", json={})
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["publicKey"])

    async def enter(self, credential: dict[str, Any], *, browser: bool = False) -> httpx.Response:
        return await self.ask("POST", "/sign-in/passkey", json={"credential": credential, "browser": browser})

    async def tokens_of(self, device: Authenticator) -> str:
        answer = await self.enter(device.get(await self.options()))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["tokens"]["access_token"])

    async def who(self, token: str) -> str | None:
        answer = await self.ask("GET", "/me", token)
        return str(answer.json()["name"]) if answer.status_code == 200 else None

    async def trail(self, tenant: str = "northlight") -> list[tuple[str, str, str]]:
        with acting(system("test")):
            async with self.database.transaction() as connection:
                found = await audit.page(connection, tenant=tenant, before=None, most=100)
                assert not (await audit.verify(connection, tenant=tenant, kept=[])).flaws
        return [(each.actor, each.action, each.outcome) for each in reversed(found)]


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    made = Desk(database)
    await made.open()
    async with made.http:
        yield made


@pytest.mark.parametrize("counts", [True, False])
async def test_a_passkey_signs_in_without_a_name_or_a_password(desk: Desk, counts: bool) -> None:
    device = await desk.with_passkey(counts=counts)
    for _ in range(2):
        assert await desk.who(await desk.tokens_of(device)) == BERT
    answer = await desk.enter(device.get(await desk.options()), browser=True)
    assert answer.json() == {"tokens": None}
    assert f"{SESSION_COOKIE}=ikb_" in answer.headers["set-cookie"]
    listed = (await desk.ask("GET", "/me/passkeys", await desk.token())).json()["passkeys"]
    assert [(each["name"], each["synced"], each["suspended_at"]) for each in listed] == [("phone", False, None)]
    ways = (await desk.ask("GET", "/me/sign-ins", await desk.token())).json()["sign_ins"]
    assert {each["means"] for each in ways} == {"password", f"passkey:{listed[0]['id']}"}
    assert (BERT, "passkey.add", "done") in await desk.trail()


LIES = {
    "wrong origin": Lies(origin="https://desk.hotel.example.evil.example"),
    "a brother of our origin": Lies(origin="https://shop.hotel.example"),
    "without TLS": Lies(origin="http://desk.hotel.example"),
    "another port": Lies(origin=ORIGIN + ":8443"),
    "foreign relying party": Lies(rp_id="evil.example"),
    "not our challenge": Lies(challenge=bytes(32)),
    "an empty challenge": Lies(challenge=b""),
    "no user there": Lies(flags_off=PRESENT),
    "user not verified": Lies(flags_off=VERIFIED),
    "in another site's frame": Lies(cross_origin=True),
    "another ceremony": Lies(kind="payment.get"),
}


@pytest.mark.requirement("SEC-23")
async def test_no_lie_adds_a_passkey(desk: Desk) -> None:
    token, device = await desk.token(), Authenticator(ORIGIN, RP)
    for name, lies in LIES.items():
        answer = await desk.add(token, device.create(await desk.options_to_add(token), lies))
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), name
    assert (await desk.ask("GET", "/me/passkeys", token)).json() == {"passkeys": []}


MORE_LIES = LIES | {
    "bad signature": Lies(bad_signature=True),
    "another's account": Lies(user_handle=b"u-0000000000000000"),
    "no account": Lies(user_handle=b"\x00"),
    "a registration's answer": Lies(kind="webauthn.create"),
    "synced all of a sudden": Lies(flags_on=BACKUP_ELIGIBLE | BACKED_UP),
    "backed up, though it cannot be": Lies(flags_on=BACKED_UP),
    "unknown credential": Lies(credential=b"\x01" * 32),
}


@pytest.mark.requirement("SEC-23")
async def test_no_lie_signs_in(desk: Desk) -> None:
    device = await desk.with_passkey(count=5)
    for name, lies in MORE_LIES.items():
        answer = await desk.enter(device.get(await desk.options(), lies))
        assert (answer.status_code, answer.json()["type"]) == (401, "urn:innkeeper:problem:passkey"), name
        assert await desk.who(await desk.tokens_of(device)) == BERT, f"{name} spoils the passkey"


async def test_a_challenge_is_good_once_for_its_purpose_and_its_time(desk: Desk) -> None:
    device, token = await desk.with_passkey(), await desk.token()
    answer = device.get(await desk.options())
    assert (await desk.enter(answer)).status_code == 200
    assert (await desk.enter(answer)).status_code == 401  # a replay
    assert await desk.who(await desk.tokens_of(device)) == BERT  # which does not count as a clone
    failed = await desk.options()
    assert (await desk.enter(device.get(failed, Lies(bad_signature=True)))).status_code == 401
    assert (await desk.enter(device.get(failed))).status_code == 401  # a failed answer uses it up
    late = await desk.options()
    desk.clock.advance(CHALLENGE_MS)
    assert (await desk.enter(device.get(late))).status_code == 401
    token = await desk.token()
    to_add = await desk.options_to_add(token)
    assert (await desk.enter(device.get({**to_add, "userVerification": "required"}))).status_code == 401
    other, anna = Authenticator(ORIGIN, RP), await desk.token(ANNA)
    to_add = await desk.options_to_add(token)
    assert (await desk.add(anna, other.create(to_add))).status_code == 400  # begun by another account
    assert (await desk.add(token, other.create(to_add))).status_code == 400


async def test_of_two_that_come_with_one_answer_at_once_one_gets_in(desk: Desk) -> None:
    device = await desk.with_passkey(counts=False)
    answer = device.get(await desk.options())
    got = await asyncio.gather(*(desk.enter(answer) for _ in range(5)))
    assert sorted(each.status_code for each in got) == [200, 401, 401, 401, 401]


@pytest.mark.requirement("SEC-23")
async def test_a_count_that_runs_back_suspends_the_passkey_and_ends_what_it_opened(desk: Desk) -> None:
    device = await desk.with_passkey(count=3)
    thief = device.cloned()
    mine, by_password = await desk.tokens_of(device), await desk.token()
    assert await desk.who(mine) == BERT
    stolen = await desk.enter(thief.get(await desk.options()))  # counts what was counted
    assert stolen.status_code == 401
    assert "twice" in stolen.json()["detail"]
    assert (await desk.enter(device.get(await desk.options()))).status_code == 401
    assert (await desk.who(mine), await desk.who(by_password)) == (None, BERT)
    listed = (await desk.ask("GET", "/me/passkeys", by_password)).json()["passkeys"]
    assert listed[0]["suspended_at"] is not None
    assert (BERT, "passkey.cloned", "denied") in await desk.trail()


async def test_a_count_that_falls_to_nothing_is_no_synced_passkey(desk: Desk) -> None:
    device = await desk.with_passkey(count=3)
    device.counts, device.count = False, 0
    assert (await desk.enter(device.get(await desk.options()))).status_code == 401


@pytest.mark.requirement("SEC-23")
async def test_who_adds_a_passkey_has_just_signed_in(desk: Desk) -> None:
    answer = await desk.ask("POST", "/sign-in", json={"email": BERT, "password": PASSWORD})
    pair = answer.json()["tokens"]
    to_add = await desk.options_to_add(pair["access_token"])
    desk.clock.advance(FRESH_MS)
    for asked in (
        await desk.ask("POST", "/me/passkeys/options", pair["access_token"], {}),
        await desk.add(pair["access_token"], Authenticator(ORIGIN, RP).create(to_add)),
    ):
        assert (asked.status_code, asked.json()["type"]) == (403, "urn:innkeeper:problem:sign-in-again")
    renewed = (await desk.ask("POST", "/token", json={"refresh_token": pair["refresh_token"]})).json()["access_token"]
    assert (await desk.ask("POST", "/me/passkeys/options", renewed, {})).status_code == 403  # nor does a refresh help


async def test_a_passkey_is_one_accounts_and_there_are_so_many(desk: Desk) -> None:
    device, anna = await desk.with_passkey(), await desk.token(ANNA)
    again = device.create(await desk.options_to_add(anna))
    refused = await desk.add(anna, again)
    assert (refused.status_code, "known already" in refused.json()["detail"]) == (400, True)
    token = await desk.token()
    assert [each["id"] for each in (await desk.options_to_add(token))["excludeCredentials"]] == [b64(device.id)]
    for _ in range(PASSKEYS_MOST - 1):
        await desk.with_passkey()
    full = await desk.ask("POST", "/me/passkeys/options", token, {})
    assert (full.status_code, str(PASSKEYS_MOST) in full.json()["detail"]) == (400, True)


async def test_a_removed_passkey_opens_nothing_and_ends_what_it_opened(desk: Desk) -> None:
    device = await desk.with_passkey()
    lost, here = await desk.tokens_of(device), await desk.token()
    listed = (await desk.ask("GET", "/me/passkeys", here)).json()["passkeys"]
    for stranger in (ANNA, OLGA):
        answer = await desk.ask("DELETE", f"/me/passkeys/{listed[0]['id']}", await desk.token(stranger))
        assert answer.status_code == 404
    assert (await desk.ask("DELETE", f"/me/passkeys/{listed[0]['id']}", here)).status_code == 204
    assert (await desk.who(lost), await desk.who(here)) == (None, BERT)
    assert (await desk.enter(device.get(await desk.options()))).status_code == 401
    assert (BERT, "passkey.remove", "done") in await desk.trail()


async def test_a_disabled_account_has_no_way_in(desk: Desk) -> None:
    device, anna = await desk.with_passkey(), await desk.token(ANNA)
    change = {"role": "staff", "properties": None, "disabled": True}
    assert (await desk.ask("PUT", f"/accounts/{desk.ids[BERT]}", anna, change)).status_code == 204
    assert (await desk.enter(device.get(await desk.options()))).status_code == 401


async def test_a_stranger_cannot_fill_the_table_of_challenges(desk: Desk) -> None:
    got = [await desk.ask("POST", "/sign-in/passkey/options", json={}) for _ in range(70)]
    assert {each.status_code for each in got} == {200, 429}
    assert int(got[-1].headers["retry-after"]) > 0
    desk.clock.advance(CHALLENGE_MS)
    await desk.options()
    with acting(system("test")):
        async with desk.database.transaction() as connection:
            assert len(await fetch_all(connection, "SELECT 1 FROM platform.challenge")) == 1


@pytest.mark.requirement("SEC-23")
async def test_who_lost_everything_comes_back_by_a_code_and_all_of_before_ends(desk: Desk) -> None:
    device, bert, anna = await desk.with_passkey(), await desk.token(), await desk.token(ANNA)
    assert (await desk.ask("POST", f"/accounts/{desk.ids[BERT]}/recovery", bert, {})).status_code == 403
    assert (await desk.ask("POST", f"/accounts/{desk.ids[ANNA]}/recovery", anna, {})).status_code == 400
    for other in (desk.ids[OLGA], "u-0000000000000000"):
        assert (await desk.ask("POST", f"/accounts/{other}/recovery", anna, {})).status_code == 404
    first = (await desk.ask("POST", f"/accounts/{desk.ids[BERT]}/recovery", anna, {})).json()["code"]
    code = (await desk.ask("POST", f"/accounts/{desk.ids[BERT]}/recovery", anna, {})).json()["code"]
    new = {"code": first, "password": "quite another sentence"}
    assert (await desk.ask("POST", "/sign-in/recovery", json=new)).status_code == 401  # the newer one replaced it
    weak = await desk.ask("POST", "/sign-in/recovery", json={"code": code, "password": "short"})
    assert weak.status_code == 400
    got = await asyncio.gather(*(desk.ask("POST", "/sign-in/recovery", json={**new, "code": code}) for _ in range(3)))
    assert sorted(each.status_code for each in got) == [200, 401, 401]
    assert (await desk.who(bert), await desk.who(anna)) == (None, ANNA)
    assert (await desk.enter(device.get(await desk.options()))).status_code == 401
    assert await desk.who(await desk.token(BERT, "quite another sentence")) == BERT
    acts = await desk.trail()
    assert (ANNA, "recovery.code", "done") in acts
    assert (BERT, "recovery.use", "done") in acts
    late = (await desk.ask("POST", f"/accounts/{desk.ids[BERT]}/recovery", await desk.token(ANNA), {})).json()["code"]
    desk.clock.advance(CODE_MS)
    assert (await desk.ask("POST", "/sign-in/recovery", json={**new, "code": late})).status_code == 401


async def test_without_settings_there_are_no_passkeys_and_it_is_said(database: Database) -> None:
    desk = Desk(database, with_passkeys=False)
    await desk.open()
    answer = await desk.ask("POST", "/sign-in/passkey/options", json={})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:innkeeper:problem:no-passkeys")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_a_spoilt_answer_is_refused_and_never_crashes(desk: Desk, data: st.DataObject) -> None:
    """One byte changed, or a piece cut out, anywhere in what an authenticator says."""
    token, device = await desk.token(), Authenticator(ORIGIN, RP)
    made = device.create(await desk.options_to_add(token))
    part = data.draw(st.sampled_from(["clientDataJSON", "attestationObject"]))
    raw = bytearray(made["response"][part].encode())
    place = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        raw[place] = data.draw(st.sampled_from(b"ABCxyz019-_"))
    else:
        del raw[place : place + data.draw(st.integers(1, 200))]
    spoilt = {**made, "response": {**made["response"], part: raw.decode()}}
    answer = await desk.add(token, spoilt)
    assert answer.status_code in (400, 201)  # 201: what was changed is not signed, such as an authenticator's model
    desk.clock.advance(60_000)


@pytest.mark.parametrize(
    ("domain", "origins"),
    [
        ("hotel.example", ()),
        ("Hotel.example", ("https://hotel.example",)),
        ("hotel.example", ("http://hotel.example",)),
        ("hotel.example", ("https://evil.example",)),
        ("hotel.example", ("https://evilhotel.example",)),
        ("hotel.example", ("https://hotel.example/",)),
        ("hotel.example", ("https://u@hotel.example",)),
    ],
)
def test_settings_that_would_let_a_foreign_page_in_are_refused(domain: str, origins: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="origin"):
        RelyingParty(domain, "Hotel", origins)
