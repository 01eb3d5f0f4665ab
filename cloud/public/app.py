"""The HTTP application: every route of the service behind one gate."""

from collections.abc import Sequence
from typing import Final

from litestar import Litestar, Router
from litestar.datastructures import MutableScopeHeaders
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp, ControllerRouterHandler, Message, Receive, Scope, Send

from cloud.kit.acting import acting
from cloud.platform.access_policy import ACTION
from cloud.public.gate import SESSION_COOKIE, Gate
from cloud.public.openapi import DescribedPlugin
from cloud.public.web import HEADERS
from kit.http import application

OPENAPI_PATH: Final = "/api/v1/schema"


def openapi() -> OpenAPIConfig:
    """Return how the API describes itself: JSON at /api/v1/schema/openapi.json, behind the gate like the rest."""
    return OpenAPIConfig(
        title="Innkeeper cloud API",
        version="1",
        openapi_router=Router(OPENAPI_PATH, route_handlers=[], opt={ACTION: "schema.read"}, include_in_schema=False),
        render_plugins=[DescribedPlugin(path="/openapi.json")],
        use_handler_docstrings=True,
        security=[{"bearer": []}, {"session": []}],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer"),
                "session": SecurityScheme(type="apiKey", name=SESSION_COOKIE, security_scheme_in="cookie"),
            }
        ),
    )


def build(gate: Gate, routes: Sequence[ControllerRouterHandler]) -> Litestar:
    """Return the application; a route without `open` in its options is closed to strangers."""
    return application(routes, openapi=openapi(), guards=[gate.guard], before_send=[_harden], middleware=[_as_nobody])


def _as_nobody(app: ASGIApp) -> ASGIApp:
    """Let every request begin as nobody, whoever asked before on the same connection."""

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        with acting(None):
            await app(scope, receive, send)

    return asked


async def _harden(message: Message, _scope: Scope) -> None:
    """Put the security headers on every answer, refusals and crashes included."""
    if message["type"] == "http.response.start":
        headers = MutableScopeHeaders.from_message(message)
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        headers.setdefault("Cache-Control", "no-store")
