"""Lets the kiosk's page speak with the house: its own origin, the kiosk's routes, and nothing else (CORS).

The page comes from the cloud and stands in the hotel's network: to the browser the edge is another origin. Only what
the settings name may ask, only under the kiosk's paths, and never with a cookie: the token is what counts.
"""

from collections.abc import Collection
from typing import Any, Final
from urllib.parse import urlsplit

from litestar.types import ASGIApp, Receive, Send

PATHS: Final = ("/api/v1/kiosk", "/api/v1/properties/")
METHODS: Final = b"GET, POST, PUT, DELETE"
HEADERS: Final = b"authorization, content-type"
AGE_S: Final = b"600"


def check_origin(origin: str) -> str:
    """Return an origin as browsers write it. Raises ValueError: it is none, or one that is not safe."""
    parts = urlsplit(origin)
    near = parts.hostname in {"127.0.0.1", "localhost", "::1"}
    whole = f"{parts.scheme}://{parts.netloc}"
    if origin != whole or not parts.hostname or "@" in parts.netloc:
        raise ValueError(f"{origin!r} is no origin: https://host[:port] and nothing behind it")
    if parts.scheme != "https" and not (parts.scheme == "http" and near):
        raise ValueError(f"{origin!r}: only https, or http of this machine itself")
    return origin


class KioskOrigins:
    """The API behind a doorkeeper for other origins.

    Args:
        app: The API.
        origins: Who may ask the kiosk's routes.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app, self._origins = app, {each.encode("ascii") for each in origins}

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401 - ASGI is untyped here
        """Answer a browser's question beforehand, and mark the answers that its page may read."""
        if scope["type"] != "http" or not str(scope["path"]).startswith(PATHS):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        allowed = origin if origin is not None and origin in self._origins else None
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _answer_beforehand(send, allowed, near=b"access-control-request-private-network" in headers)
            return

        async def marked(message: Any) -> None:  # noqa: ANN401 - ASGI is untyped here
            if message["type"] == "http.response.start":
                more = [(b"vary", b"Origin")]
                if allowed is not None:
                    more.append((b"access-control-allow-origin", allowed))
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        await self._app(scope, receive, marked)


async def _answer_beforehand(send: Send, allowed: bytes | None, *, near: bool) -> None:
    headers = [(b"vary", b"Origin"), (b"content-length", b"0")]
    if allowed is not None:
        headers += [
            (b"access-control-allow-origin", allowed),
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", HEADERS),
            (b"access-control-max-age", AGE_S),
        ]
        if near:
            headers.append((b"access-control-allow-private-network", b"true"))
    start: Any = {"type": "http.response.start", "status": 204 if allowed is not None else 403, "headers": headers}
    body: Any = {"type": "http.response.body", "body": b"", "more_body": False}
    await send(start)
    await send(body)
