"""The web files built into cloud/web/dist, with sign-in; a plain sentence where nothing was built.

A single-page app: any path that is not a file and not of the API is answered with index.html. The guest's page is
another one, under /guest/. Files under assets/ carry a digest in their name and are cached for ever; everything else is
asked for again each time.
"""

import asyncio
import hashlib
import mimetypes
from pathlib import Path
from typing import Annotated, Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter
from litestar.response import Redirect

from cloud.kit.acting import acting
from cloud.kit.database import Database
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import SESSION_LIFE_MS, Principals
from cloud.platform.sign_in import SignIn
from cloud.public.gate import SESSION_COOKIE, SIGNING_IN, absent
from cloud.public.reader import WallClock
from kit.http import OPEN, PAGE_HEADERS, ProblemError

FILE_BYTES_MOST: Final = 16 * 1024 * 1024
IMMUTABLE: Final = "public, max-age=31536000, immutable"
ASK_AGAIN: Final = "no-cache"
_NOT_OURS: Final = ("api/", "webhooks/", "health", "ready", "metrics")
_HASH_LIKE: Final = ("assets/", "guest/assets/")
_GUEST: Final = "guest"
_IN_A_HOUSE: Final = ("guest/kiosk.html", "guest/house.html")

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # component libraries set styles at run time; scripts stay strict
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
KIOSK_POLICY: Final = POLICY.replace(
    "connect-src 'self'", "connect-src 'self' https: http://127.0.0.1:* http://localhost:*"
)
"""Of the pages that speak with a house itself, the kiosk's and the one by which a phone takes its key there: where the
house is, is known to the kiosk alone."""
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains; preload",
    **PAGE_HEADERS,
}
"""Sent with every answer of the service."""

_UNBUILT: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Innkeeper</title>"
    "<p>The web files have not been built. <code>make web</code> builds them; the API is under <code>/api/v1</code>."
)


def pages(
    root: Path,
    principals: Principals,
    database: Database,
    *,
    clock: WallClock,
    secure_cookie: bool,
    sign_in_desk: SignIn | None = None,
) -> list[HTTPRouteHandler]:
    """Return the routes of the page and of signing in and out."""
    root = root.resolve()

    @get(["/", "/{path:path}"], opt={OPEN: True}, include_in_schema=False, name="web")
    async def page(request: Request[Any, Any, Any], path: FromPath[str] = "") -> Response[bytes]:
        wanted = path.lstrip("/")
        if wanted.startswith(_NOT_OURS):
            raise absent()
        if wanted == _GUEST:  # litestar has taken off the slash; without it the page's own addresses would not fit
            if not request.scope["raw_path"].endswith(b"/"):
                return Response(b"", status_code=308, headers={"Location": f"/{_GUEST}/", "Cache-Control": ASK_AGAIN})
            wanted = f"{_GUEST}/index.html"
        found = await asyncio.to_thread(_read, root, wanted)
        if found is None and not wanted.startswith(_HASH_LIKE):
            wanted = "index.html"
            found = await asyncio.to_thread(_read, root, wanted)
        if found is None:
            if wanted.startswith(_HASH_LIKE):
                raise absent()
            return Response(_UNBUILT.encode(), media_type="text/html", headers={"Cache-Control": ASK_AGAIN})
        tag = f'"{hashlib.sha256(found).hexdigest()[:32]}"'
        headers = {"Cache-Control": IMMUTABLE if wanted.startswith(_HASH_LIKE) else ASK_AGAIN, "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(b"", status_code=304, headers=headers)
        if wanted in _IN_A_HOUSE:
            headers["Content-Security-Policy"] = KIOSK_POLICY
        kind = mimetypes.guess_type(wanted)[0] or "application/octet-stream"
        if kind in ("application/javascript", "application/json", "image/svg+xml"):  # litestar says it of text/*
            kind += "; charset=utf-8"
        return Response(found, media_type=kind, headers=headers)

    @get("/sign-in", opt={OPEN: True}, include_in_schema=False, name="sign-in")
    async def sign_in(token: Annotated[str, QueryParameter(max_length=512)] = "") -> Redirect:
        known = principals.by_token(token)
        if known is None:
            raise ProblemError(403, "this sign-in link is not valid", kind="token")
        with acting(SIGNING_IN):
            async with database.transaction() as connection:
                secret = await principals.open_session(connection, known, now_ms=clock.wall_ms())
        return Redirect(
            "/",
            status_code=303,
            headers={"Cache-Control": "no-store"},
            cookies=[
                Cookie(
                    SESSION_COOKIE,
                    value=secret,
                    max_age=SESSION_LIFE_MS // 1_000,
                    httponly=True,
                    samesite="strict",
                    secure=secure_cookie,
                )
            ],
        )

    @post("/sign-out", include_in_schema=False, name="sign-out", status_code=204, opt={ACTION: "self.change"})
    async def sign_out(request: Request[Any, Any, Any]) -> Response[None]:
        if sign_in_desk is not None and request.user.account is not None and request.user.sign_in is not None:
            await sign_in_desk.end(request.user.account, request.user.sign_in, why="signed out")
        with acting(SIGNING_IN):
            async with database.transaction() as connection:
                await principals.close_session(connection, request.cookies.get(SESSION_COOKIE, ""))
        answer: Response[None] = Response(None, status_code=204)
        answer.delete_cookie(SESSION_COOKIE)
        return answer

    return [page, sign_in, sign_out]


def _read(root: Path, wanted: str) -> bytes | None:
    """Return a file below `root`; None for anything that is not exactly that."""
    if not wanted or "\x00" in wanted:
        return None
    try:
        path = (root / wanted).resolve()
        if not path.is_relative_to(root) or not path.is_file() or path.stat().st_size > FILE_BYTES_MOST:
            return None
        return path.read_bytes()
    except (OSError, ValueError):  # ValueError: no file system can write that name
        return None
