"""HTTP inside our own event loop: litestar on granian, problems as RFC 9457, and the operator's three routes.

No process is forked and no signal handler is installed: the server is one more supervised task.
"""

import asyncio
import contextlib
import socket
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

import msgspec
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from litestar import Litestar, Request, Response, get
from litestar.exceptions import HTTPException, LitestarException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.response import Stream
from litestar.types import ASGIApp, ControllerRouterHandler, ExceptionHandlersMap, Receive, Scope, Send

from kit.health import Health
from kit.lean_import import absent
from kit.logs import logger
from kit.metrics import CONTENT_TYPE, Metrics
from protocols.errors import (
    CredentialRefusedError,
    InvalidInputError,
    LinkLostError,
    PeerProtocolError,
    PlatformError,
    ReplyTimeoutError,
    StoreFailedError,
)

PROBLEM_TYPE: Final = "application/problem+json"
PROBLEM_URN: Final = "urn:innkeeper:problem:"
PAGE_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
"""Of whatever shows pages, besides the policy of their contents."""
OPEN: Final = "open"
"""Route option of the routes that need no authentication: a guard that denies by default lets them pass."""
RECURSION_RUNS_MAX: Final = 20
START_WAIT_S: Final = 10.0
STOP_WAIT_S: Final = 5.0
START_POLL_S: Final = 0.01
CONNECTIONS_MOST: Final = 1_024
"""Open at a time; more wait in the kernel's queue, which is as long. The server's own default, 128, is soon held."""
HEADERS_WAIT_MS: Final = 5_000
"""For a request's head: who opens connections and says nothing holds one of them no longer than this."""
BODY_WAIT: Final = timedelta(seconds=30)
"""For a request's whole body, however it dribbles in."""
SEND_WAIT: Final = timedelta(seconds=30)
"""For a client to take one piece of a streamed answer: who takes none in this time is not reading."""

_log = logger("kit.http")


class ProblemError(HTTPException):
    """Raise to answer with a problem: `ProblemError(404, "no such room", room="101")`.

    Args:
        status: HTTP status code, 400 to 599.
        detail: what is wrong with this request, and what would be right; the caller will read it.
        kind: last part of the problem's type, which joins its words with hyphens whatever joins them here;
            "about:blank" where the status says enough. A `reason` among the members keeps its underscores: it is a
            word of a program's, as enumerations have it.
        members: further members of the problem object.
    """

    def __init__(self, status: int, detail: str, *, kind: str | None = None, **members: object) -> None:
        super().__init__(detail=detail, status_code=status)
        self.kind, self.members = kind, members


def problem(status: int, detail: str, *, kind: str | None = None, **members: object) -> Response[bytes]:
    """Return a response with a problem object (RFC 9457)."""
    body = {
        "type": "about:blank" if kind is None else PROBLEM_URN + kind.replace("_", "-"),
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **members,
    }
    return Response(msgspec.json.encode(body), status_code=status, media_type=PROBLEM_TYPE)


_STATUS: Final[tuple[tuple[type[PlatformError], int, str], ...]] = (
    (InvalidInputError, 400, "invalid-input"),
    (CredentialRefusedError, 403, "credential-refused"),
    (LinkLostError, 503, "link-lost"),
    (ReplyTimeoutError, 504, "reply-timeout"),
    (StoreFailedError, 503, "store-failed"),
    (PeerProtocolError, 502, "peer-protocol"),
)


def problem_handlers() -> ExceptionHandlersMap:
    """Return litestar exception handlers that turn every error into a problem.

    Our own errors tell `retryable` and `may_have_taken_effect`; an unforeseen one is logged with its trace and
    answered with a bare 500, because its text may hold what the caller must not see.
    """
    return {
        PlatformError: _on_platform,
        HTTPException: _on_http,
        RecursionError: _on_recursion,
        Exception: _on_defect,
    }


def _on_platform(request: Request[Any, Any, Any], error: PlatformError) -> Response[bytes]:
    for kind, status, name in _STATUS:
        if isinstance(error, kind):
            members: dict[str, object] = {
                "retryable": error.retryable,
                "may_have_taken_effect": error.may_have_taken_effect,
            }
            if isinstance(error, CredentialRefusedError):
                members["reason"] = error.reason.value
            return problem(status, str(error), kind=name, **members)
    return _on_defect(request, error)


def _on_http(_request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    members: dict[str, object] = {}
    kind = None
    if isinstance(error, ProblemError):
        members, kind = dict(error.members), error.kind
    elif error.status_code == HTTPStatus.BAD_REQUEST and isinstance(error.extra, list):
        members["errors"] = error.extra  # litestar's list of {message, key, source}
    answer = problem(error.status_code, error.detail, kind=kind, **members)
    answer.headers.update(error.headers or {})
    return answer


def _on_recursion(request: Request[Any, Any, Any], error: RecursionError) -> Response[bytes]:
    """Tell a body nested deeper than a decoder goes, the caller's doing, from code of ours that calls itself for ever.

    The decoders recurse in C: no line of Python is run through again and again.
    """
    runs = Counter(frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__))
    if max(runs.values(), default=0) > RECURSION_RUNS_MAX:
        return _on_defect(request, error)
    return problem(HTTPStatus.BAD_REQUEST, "the body is nested too deeply", kind="invalid-input")


def _on_defect(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    _log.error("request_crashed", method=request.method, path=request.url.path, exc_info=error)
    return problem(500, "an unforeseen error; it has been logged")


def operations_routes(health: Health, metrics: Metrics) -> list[HTTPRouteHandler]:
    """Return the routes /health (alive?), /ready (fit for work?) and /metrics, all open; 503 says no."""

    @get("/health", opt={OPEN: True}, include_in_schema=False, name="health")
    async def live() -> Response[bytes]:
        return _verdict(*health.live())

    @get("/ready", opt={OPEN: True}, include_in_schema=False, name="ready")
    async def ready() -> Response[bytes]:
        return _verdict(*health.ready())

    @get("/metrics", opt={OPEN: True}, include_in_schema=False, name="metrics")
    async def numbers() -> Response[bytes]:
        # as a header: to a media type that is text, litestar adds the charset once more
        return Response(metrics.render(), headers={"content-type": CONTENT_TYPE})

    return [live, ready, numbers]


def _verdict(ok: bool, body: Mapping[str, Any]) -> Response[bytes]:
    return Response(msgspec.json.encode(body), status_code=200 if ok else 503, media_type="application/json")


def application(
    routes: Sequence[ControllerRouterHandler],
    *,
    openapi: OpenAPIConfig | None = None,
    **settings: Any,  # handed through to Litestar, which judges them
) -> Litestar:
    """Return a litestar app with our problems for errors, and logging left to `kit.logs`.

    Args:
        routes: handlers, controllers and routers.
        openapi: None serves no schema.
        settings: anything else that `Litestar` takes (middleware, guards, lifespan ...).
    """
    with absent("pydantic"), absent("attrs"):  # other packages bring them; litestar would load both to offer them
        return Litestar(
            [*routes],
            openapi_config=openapi,
            exception_handlers=problem_handlers(),
            logging_config=None,  # litestar's own would replace the root handler
            debug=False,
            **settings,
        )


class ClosingStream(Stream):
    """A streamed answer whose generator is closed when the answer ends, however it ends.

    Litestar leaves that to the garbage collector: what the generator holds, a transaction, would stay open.
    """

    def to_asgi_response(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as litestar's, handed through
        """See `Stream.to_asgi_response`."""
        answer = super().to_asgi_response(*arguments, **named)
        generator = self.iterator

        async def closing(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await answer(scope, receive, send)
            finally:
                if isinstance(generator, AsyncGenerator):
                    await generator.aclose()

        return closing


class _Draining:
    """Knows the open requests, so that stopping can end them: granian itself forgets them and runs on.

    Also bounds how long a body may take, and a client may take for a piece of a streamed answer, which granian does
    not.
    """

    def __init__(self, app: ASGIApp, body_wait: timedelta, send_wait: timedelta) -> None:
        self._app, self._body_wait_s = app, body_wait.total_seconds()
        self._send_wait_s = send_wait.total_seconds()
        self._open: dict[asyncio.Task[Any], str] = {}
        self._draining = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI is untyped here
        task = asyncio.current_task()
        if scope["type"] == "lifespan" or task is None:
            await self._app(scope, receive, send)
            return
        if self._draining and scope["type"] == "http":
            headers = [(b"connection", b"close"), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        self._open[task] = scope["type"]
        try:
            if scope["type"] == "http":
                await self._answer(scope, receive, send)
            else:
                await self._app(scope, receive, send)
        finally:
            del self._open[task]

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI is untyped here
        given_up = False

        async def sent(message: Any) -> None:  # noqa: ANN401 - ASGI is untyped here
            nonlocal given_up
            if not message.get("more_body", False):
                await send(message)
                return
            # a task that waits for granian's own future and is cancelled never wakes: this one waits for ours
            sending = asyncio.ensure_future(send(message))
            taken, _ = await asyncio.wait({sending}, timeout=self._send_wait_s)
            if not taken:
                given_up = True
                raise TimeoutError(f"the client took nothing for {self._send_wait_s:g} s")
            sending.result()

        try:
            await self._app(scope, self._in_time(receive), sent)
        except LitestarException:  # as it tells of what went wrong in the middle of an answer
            if not given_up:
                raise
            _log.info("client_does_not_read", path=scope["path"])

    def _in_time(self, receive: Receive) -> Receive:
        until_s, whole = asyncio.get_running_loop().time() + self._body_wait_s, False

        async def received() -> Any:  # noqa: ANN401 - ASGI is untyped here
            nonlocal whole
            if whole:  # what may still come is the news that the client left
                return await receive()
            try:
                async with asyncio.timeout_at(until_s):
                    message = await receive()
            except TimeoutError as error:
                raise ProblemError(
                    HTTPStatus.REQUEST_TIMEOUT,
                    f"the body was not whole within {self._body_wait_s:g} s; send it without pauses",
                    kind="body-timeout",
                ) from error
            whole = not message.get("more_body", False)
            return message

        return received

    async def drain(self) -> None:
        """Refuse new requests, end the websockets, wait for the open requests, then end those too."""
        self._draining = True
        for task, kind in self._open.items():
            if kind == "websocket":
                task.cancel()
        if self._open:
            await asyncio.wait(set(self._open), timeout=STOP_WAIT_S)
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(set(self._open), timeout=STOP_WAIT_S)


async def serve(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    bound: Callable[[int], None] | None = None,
    body_wait: timedelta = BODY_WAIT,
    send_wait: timedelta = SEND_WAIT,
) -> None:
    """Serve `app` until cancelled; then stop taking connections and let open requests end (`STOP_WAIT_S`).

    Args:
        app: its start-up and shutdown hooks run in this loop.
        host: address to listen at.
        port: 0 takes a free one.
        bound: called with the port once connections are taken.
        body_wait: a request whose body takes longer is answered with 408.
        send_wait: a streamed answer of which nothing is taken for so long is given up.

    Raises:
        InvalidInputError: the address is taken or not ours.
        RuntimeError: the server did not start, or ended by itself.
    """
    hold, port = _hold(host, port)
    draining = _Draining(app, body_wait, send_wait)
    server = Server(
        target=draining,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_WAIT_MS),
        backlog=CONNECTIONS_MOST,
        backpressure=CONNECTIONS_MOST,
        log_level=LogLevels.error,
        log_dictconfig={"loggers": {"_granian": {"handlers": [], "propagate": True}}},
    )
    running = asyncio.get_running_loop().create_task(server.serve(), name="http-server")
    try:
        with hold:
            await _until_taking_connections(running, host, port)
        if bound is not None:
            bound(port)
        await asyncio.wait({running})
        running.result()
        raise RuntimeError(f"the HTTP server at {host}:{port} ended by itself")
    finally:
        if not running.done():
            await draining.drain()
            server.stop()  # type: ignore[no-untyped-call]  # the library is untyped there
            _, deaf = await asyncio.wait({running}, timeout=STOP_WAIT_S)
            if deaf:
                for worker in server.wrks:
                    worker.kill()  # type: ignore[no-untyped-call]  # the library is untyped there
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    body_wait: timedelta = BODY_WAIT,
    send_wait: timedelta = SEND_WAIT,
) -> AsyncIterator[int]:
    """Serve for the length of an `async with`; gives the port. Raises what `serve` raises."""
    loop = asyncio.get_running_loop()
    taken: asyncio.Future[int] = loop.create_future()
    task = loop.create_task(
        serve(app, host, port, bound=taken.set_result, body_wait=body_wait, send_wait=send_wait), name="http"
    )
    try:
        either: set[asyncio.Future[Any]] = {task, taken}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield taken.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _hold(host: str, port: int) -> tuple[socket.socket, int]:
    """Make sure that the address is free, and keep it until granian has it.

    granian listens with SO_REUSEPORT, under which two servers share a port in silence: so ask first without.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as asking:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            asking.bind((host, port))
            port = int(asking.getsockname()[1])
        hold = socket.socket(family, socket.SOCK_STREAM)
        hold.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        hold.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            hold.bind((host, port))
        except OSError:
            hold.close()
            raise
    except OSError as error:
        raise InvalidInputError(f"{host}:{port}", f"cannot listen there: {error.strerror or error}") from error
    return hold, port


async def _until_taking_connections(running: asyncio.Task[None], host: str, port: int) -> None:
    try:
        async with asyncio.timeout(START_WAIT_S):
            while not running.done():
                try:
                    _, writer = await asyncio.open_connection(host, port)
                except OSError:
                    await asyncio.sleep(START_POLL_S)
                    continue
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
                return
    except TimeoutError as error:
        raise RuntimeError(f"the HTTP server at {host}:{port} did not start in {START_WAIT_S} s") from error
    running.result()
    raise RuntimeError(f"the HTTP server at {host}:{port} ended before it started")
