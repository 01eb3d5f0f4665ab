"""The HTTP ground: problems for errors, the operator's routes, and a stop that leaves nothing running."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import websockets
from litestar import get, post, websocket
from litestar.connection import WebSocket
from litestar.params import FromPath, FromQuery, JSONBody

from kit.health import Health
from kit.http import OPEN, ClosingStream, ProblemError, application, operations_routes, problem, serve, serving
from kit.metrics import CONTENT_TYPE, Metrics
from protocols.errors import (
    CredentialRefusedError,
    InvalidInputError,
    LinkLostError,
    LocalProtocolError,
    PeerProtocolError,
    PlatformError,
    RefusalReason,
    ReplyTimeoutError,
    StoreFailedError,
)

ERRORS: dict[str, PlatformError] = {
    "input": InvalidInputError("room", "no such room"),
    "refused": CredentialRefusedError(RefusalReason.SUPERSEDED),
    "lost": LinkLostError("the bus is down"),
    "silent": ReplyTimeoutError("the lock did not answer"),
    "store": StoreFailedError("disk full"),
    "peer": PeerProtocolError("nonsense"),
    "ours": LocalProtocolError("hush: our defect"),
}


@get("/fails/{how:str}")
async def fails(how: FromPath[str]) -> str:
    raise ERRORS[how]


@get("/rooms/{room:str}")
async def room(room: FromPath[str], floor: FromQuery[int]) -> str:
    raise ProblemError(404, f"no room {room} on floor {floor}", kind="no-such-room", room=room)


@post("/numbers")
async def numbers(data: JSONBody[dict[str, int]]) -> dict[str, int]:
    return data


@get("/for-ever")
async def for_ever() -> str:
    return again()


def again() -> str:
    return again()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = application([fails, room, numbers, for_ever])
    async with serving(app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as made:
        yield made


@pytest.mark.requirement("API-32")
@pytest.mark.parametrize(
    ("how", "status", "kind", "flags"),
    [
        ("input", 400, "invalid-input", (False, False)),
        ("refused", 403, "credential-refused", (False, False)),
        ("lost", 503, "link-lost", (True, False)),
        ("silent", 504, "reply-timeout", (False, True)),
        ("store", 503, "store-failed", (True, False)),
        ("peer", 502, "peer-protocol", (False, False)),
    ],
)
async def test_our_errors_say_whether_to_retry_and_whether_it_may_have_happened(
    client: httpx.AsyncClient, how: str, status: int, kind: str, flags: tuple[bool, bool]
) -> None:
    answer = await client.get(f"/fails/{how}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["type"] == f"urn:innkeeper:problem:{kind}"
    assert (told["status"], told["detail"]) == (status, str(ERRORS[how]))
    assert (told["retryable"], told["may_have_taken_effect"]) == flags
    assert told.get("reason") == ("superseded" if how == "refused" else None)


@pytest.mark.requirement("API-33")
@pytest.mark.parametrize("path", ["/fails/ours", "/fails/unknown"])
async def test_a_defect_tells_the_caller_nothing(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "hush" not in answer.text
    assert "unknown" not in answer.text


@pytest.mark.requirement("API-32")
async def test_the_frameworks_refusals_are_problems_too(client: httpx.AsyncClient) -> None:
    answers: list[tuple[httpx.Response, int]] = [
        (await client.get("/nowhere"), 404),
        (await client.put("/numbers"), 405),
        (await client.get("/rooms/101"), 400),
        (await client.post("/numbers", content=b'{"a": "x"}'), 400),
        (await client.post("/numbers", content=b"{"), 400),
    ]
    for answer, status in answers:
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status


async def test_a_problem_may_have_members_of_its_own(client: httpx.AsyncClient) -> None:
    told = (await client.get("/rooms/999", params={"floor": 9})).json()
    assert told == {
        "type": "urn:innkeeper:problem:no-such-room",
        "title": "Not Found",
        "status": 404,
        "detail": "no room 999 on floor 9",
        "room": "999",
    }


def test_a_kind_is_spelt_with_hyphens_however_it_is_named_in_the_program() -> None:
    for kind in ("edge_away", "edge-away"):
        told = json.loads(problem(503, "away", kind=kind, reason="edge_away").content)
        assert (told["type"], told["reason"]) == ("urn:innkeeper:problem:edge-away", "edge_away")


@pytest.mark.requirement("NFR-04")
async def test_the_operators_routes_tell_the_truth() -> None:
    health, metrics = Health(), Metrics("edge")
    health.expect("log")
    routes = operations_routes(health, metrics)
    assert all(route.opt[OPEN] is True for route in routes)
    async with serving(application(routes)) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/ready")).status_code == 503
        health.report("log", ok=True)
        answer = await client.get("/ready")
        assert (answer.status_code, answer.json()["parts"]["log"]["ok"]) == (200, True)
        health.report("log", ok=False, fatal=True)
        assert (await client.get("/health")).status_code == 503
        numbers = await client.get("/metrics")
        assert b'innkeeper_up{service="edge"} 1.0' in numbers.content
        assert numbers.headers["content-type"] == CONTENT_TYPE


SILENT_CONNECTIONS = 300


@pytest.mark.guarantee("G19")
async def test_who_opens_connections_and_says_nothing_stops_nobody() -> None:
    async with serving(application(operations_routes(Health(), Metrics("edge")))) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(SILENT_CONNECTIONS)]
        try:
            async with httpx.AsyncClient(timeout=4) as client:  # less than the wait for a head
                assert (await client.get(f"http://127.0.0.1:{port}/health")).status_code == 200
        finally:
            for _, writer in silent:
                writer.close()


@pytest.mark.guarantee("G19")
async def test_a_body_that_dribbles_is_given_up_with_a_reason() -> None:
    async with serving(application([numbers]), body_wait=timedelta(milliseconds=50)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /numbers HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        answer = await asyncio.wait_for(reader.readuntil(b"}"), 20)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"].endswith("body-timeout")


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("leaves", [True, False], ids=["leaves in the middle", "never reads"])
async def test_a_streamed_answer_ends_with_whoever_asked_for_it(*, leaves: bool) -> None:
    """More than all buffers on the way hold; its generator must be closed by the answer, not by the garbage."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes]:
        try:
            for _ in range(10_000):
                yield bytes(64 * 1024)
                begun.set()
        finally:
            ended.set()

    @get("/pieces")
    async def streamed() -> ClosingStream:
        return ClosingStream(pieces(), media_type="application/octet-stream")

    wait = timedelta(seconds=100) if leaves else timedelta(milliseconds=50)
    async with serving(application([streamed]), send_wait=wait) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.wait_for(begun.wait(), 10)
            if not leaves:
                await asyncio.wait_for(ended.wait(), 10)
        await asyncio.wait_for(ended.wait(), 10)
        async with httpx.AsyncClient() as other:
            assert (await other.get(f"http://127.0.0.1:{port}/nothing")).status_code == 404


@pytest.mark.guarantee("G11")
async def test_a_stop_lets_open_requests_end_and_ends_websockets() -> None:
    ended: list[str] = []
    entered = asyncio.Event()
    go_on = asyncio.Event()

    @get("/slow")
    async def slow() -> str:
        entered.set()
        await go_on.wait()
        ended.append("request")
        return "done"

    @websocket("/live")
    async def live(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        try:
            await asyncio.sleep(1_000)
        finally:
            ended.append("websocket")
            go_on.set()

    async with httpx.AsyncClient() as client:
        async with serving(application([slow, live])) as port:
            connection = await websockets.connect(f"ws://127.0.0.1:{port}/live")
            asking = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/slow"))
            await entered.wait()
        assert (await asking).text == "done"
        await connection.close()
        assert ended == ["websocket", "request"]
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{port}/slow")


async def test_a_taken_port_is_refused_by_name_not_shared() -> None:
    app = application([])
    async with serving(app) as port:
        with pytest.raises(InvalidInputError, match=f"127.0.0.1:{port}: cannot listen there: Address already in use"):
            await serve(app, "127.0.0.1", port)
    async with serving(app, port=port) as again:  # and free again after the stop
        assert again == port


async def test_a_foreign_address_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match=r"192\.0\.2\.1:0: cannot listen there"):
        await serve(application([]), "192.0.2.1", 0)


async def test_a_failing_start_up_hook_fails_the_server() -> None:
    async def hook() -> None:
        raise OSError("no database")

    with pytest.raises(Exception, match="startup"):
        await serve(application([], on_startup=[hook]), "127.0.0.1", 0)


@pytest.mark.guarantee("G19")
async def test_a_body_nested_too_deeply_is_the_callers_and_endless_recursion_is_ours(client: httpx.AsyncClient) -> None:
    for body in (b"[" * 20_000, b'{"a":' * 20_000):
        answer = await client.post("/numbers", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["detail"]) == (400, "the body is nested too deeply")
    answer = await client.get("/for-ever")
    assert (answer.status_code, answer.json()["detail"]) == (500, "an unforeseen error; it has been logged")
