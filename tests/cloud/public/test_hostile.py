"""Requests that mean harm, or nothing: each gets a problem that names its fault, and nothing happens."""

import asyncio
import json
from typing import Any

import psycopg
import pytest

from cloud.kit.database import fetch_all
from cloud.stays.stays import stay_id, upsert_reservations
from protocols.errors import StoreFailedError
from tests.cloud.houses import AURORA, NOW_MS, PLACE, reservation
from tests.cloud.public.conftest import HOOK, Site, token

pytestmark = pytest.mark.tier("postgres")
STAY = stay_id(AURORA.id, "mews", "r1")
CHECK_IN = {"phone_public_key": "02" + "ab" * 32, "idempotency_key": "k1"}
COMMAND = {"capability": "on_off", "attribute": "on_off", "value": True, "idempotency_key": "k1"}
COMMANDS = "/api/v1/properties/aurora/rooms/101/commands"
JSON = {"Content-Type": "application/json"}


async def book(site: Site) -> None:
    async with site.database.transaction() as connection:
        await upsert_reservations(connection, PLACE, [reservation()], now_ms=NOW_MS)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/properties/%00",
        "/api/v1/properties/aurora%00",
        "/api/v1/properties/aurora/stays/s%00",
        "/api/v1/properties/aurora/commands/%00c",
        "/api/v1/properties/%ff%fe",
        "/api/v1/properties/%ed%a0%80",
        "/api/v1/properties/'%20OR%201=1--",
    ],
)
@pytest.mark.guarantee("G19")
async def test_an_id_that_no_database_could_hold_is_as_absent_as_any_other(site: Site, path: str) -> None:
    absent = await site.http.get("/api/v1/properties/no-such-house", headers=site.as_("admin"))
    answer = await site.http.get(path, headers=site.as_("admin"))
    assert (answer.status_code, answer.content) == (404, absent.content)


@pytest.mark.guarantee("G19")
async def test_a_nul_in_a_query_is_refused_by_the_name_of_its_parameter(site: Site) -> None:
    path = "/api/v1/properties/aurora/records?edge=e%00"
    answer = await site.http.get(path, headers=site.as_("admin"))
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:innkeeper:problem:invalid-input")
    assert answer.json()["detail"].startswith("edge: ")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"capability": "on_off\xff"}', "byte 22 (0xff) is not UTF-8"),
        (b"{", "is not JSON"),
        (b'{"value": NaN}', "NaN"),
        (b'{"value": -Infinity}', "-Infinity"),
        (b'{"value": ' + b"9" * 5_000 + b"}", "is not JSON"),
        (b"[" * 30_000 + b"]" * 30_000, "nested too deeply"),
        (json.dumps({**COMMAND, "value": False}).encode()[:-1] + b', "value": true}', "body.value"),
        (json.dumps({**COMMAND, "idempotency_key": "k\n"}).encode(), "idempotency_key"),
        (json.dumps({**COMMAND, "idempotency_key": "k\0"}).encode(), "idempotency_key"),
        (b'{"attribute": "\\ud800"}', "surrogate"),
        (b'{"\\ud800": 1, "\\ud800": 2}', "named more than once"),
    ],
)
@pytest.mark.guarantee("G19")
async def test_a_body_that_could_be_read_two_ways_or_none_is_400_and_says_why(
    site: Site, body: bytes, said: str
) -> None:
    answer = await site.http.post(COMMANDS, headers={**site.as_("staff"), **JSON}, content=body)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.text
    assert site.edges.sent == []


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json; charset=utf-16"],
)
async def test_a_body_that_says_it_is_no_json_is_415_and_not_guessed_at(site: Site, kind: str) -> None:
    headers = {**site.as_("staff"), "Content-Type": kind}
    answer = await site.http.post(COMMANDS, headers=headers, content=json.dumps(COMMAND))
    assert answer.status_code == 415, answer.text
    assert kind in answer.json()["detail"]
    assert site.edges.sent == []


async def test_a_stranger_is_turned_away_before_his_body_is_looked_at(site: Site) -> None:
    for body in (b"\xff", b"[" * 60_000, b"{"):
        answer = await site.http.post(COMMANDS, headers=JSON, content=body)
        assert answer.status_code == 401


@pytest.mark.parametrize("origin", ["http://[", "null", "http://cloud.test@evil.example", "http://cloud.test:99999999"])
async def test_an_origin_that_is_no_address_is_not_ours(site: Site, origin: str) -> None:
    signed_in = await site.http.get("/sign-in", params={"token": token("staff")})
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    answer = await site.http.post(COMMANDS, headers={"Cookie": cookie, "Origin": origin}, json=COMMAND)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:innkeeper:problem:origin")


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({"Discriminator": "ServiceOrderUpdated", "Value": {"Id": "r\0"}}, 400),
        ({"Discriminator": "ServiceOrderUpdated", "Value": {}}, 400),
        ({"Discriminator": "ServiceOrderUpdated"}, 400),
        ({"Discriminator": "ServiceOrderUpdated", "Value": {"Id": "x" * 65}}, 400),
        ({"Discriminator": "PaymentUpdated", "Value": None}, 200),
        ({"Discriminator": "SomethingNew", "Value": {"Unheard": "of"}}, 200),
    ],
)
@pytest.mark.guarantee("G19")
@pytest.mark.requirement("PMS-08")
async def test_a_push_that_cannot_be_kept_is_refused_by_its_place_and_kinds_not_followed_pass(
    site: Site, event: dict[str, Any], status: int
) -> None:
    push = {"Events": [{"Discriminator": "SomethingElse"}, event]}
    answer = await site.http.post(f"/webhooks/pms/{HOOK}", json=push)
    assert answer.status_code == status, answer.text
    if status == 400:
        assert "Events[1] ServiceOrderUpdated" in answer.json()["detail"]
    async with site.database.transaction() as connection:
        assert await fetch_all(connection, "SELECT * FROM pms.hint") == []


@pytest.mark.guarantee("G2")
async def test_one_key_asked_many_times_at_once_has_one_effect(site: Site) -> None:
    answers = await asyncio.gather(
        *(site.http.post(COMMANDS, headers=site.as_("staff"), json=COMMAND) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(site.edges.effects) == 1


async def test_a_database_that_hangs_up_is_503_and_worth_another_try(site: Site) -> None:
    async with site.database.transaction() as connection:
        await connection.execute("SELECT 1")
    async with await psycopg.AsyncConnection.connect(site.database.dsn, autocommit=True) as killer:
        await killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    answer = await site.http.get("/api/v1/properties", headers=site.as_("viewer"))
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:innkeeper:problem:store-failed"), answer.text
    assert answer.json()["retryable"] is True


async def test_a_statement_that_the_server_gave_up_is_a_store_that_failed(site: Site) -> None:
    async def hang() -> None:
        async with site.database.transaction() as connection:
            await connection.execute("SET LOCAL statement_timeout = 1")
            await connection.execute("SELECT pg_sleep(10)")

    with pytest.raises(StoreFailedError, match="QueryCanceled") as failed:
        await hang()
    assert failed.value.may_have_taken_effect is False


async def test_the_page_says_its_charset_once(site: Site) -> None:
    site.web.mkdir(parents=True)
    (site.web / "index.html").write_text("<!doctype html>")
    for path in ("/", "/x%00", "/%ff", "/" + "a" * 5_000):
        answer = await site.http.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8"), path


@pytest.mark.parametrize(
    ("path", "more"),
    [("dry-run", {"properties": ["aurora"]}), ("releases", {"rings": [["aurora"]]})],
)
@pytest.mark.guarantee("G19")
async def test_a_policy_of_another_version_is_the_fault_of_who_wrote_it(
    site: Site, path: str, more: dict[str, Any]
) -> None:
    policy = {"v": 0, "jurisdiction": "AUT", "steps": ["room", "grant"]}
    answer = await site.http.post(
        f"/api/v1/policies/{path}", json={"policy": policy, **more}, headers=site.as_("admin")
    )
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:innkeeper:problem:invalid-input")
    assert "check-in policy: v" in answer.json()["detail"]
