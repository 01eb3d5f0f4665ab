"""The desk's page for the hours without the internet: its files, and what it has to know of this house.

The page is built from web/apps/desk into edge/web/dist and comes from this building, so that it is there when nothing
else is. Its files are nobody's secret and need no token; everything that it then asks is asked with the token of the
desk, which whoever works there types in, or that of the local API. It does what that API does, and nothing else.
"""

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from litestar import Request, Response, Router, get
from litestar.params import FromPath

from edge.api.token import ALSO_OPT, DESK
from kit.clock import Clock
from kit.http import OPEN, PAGE_HEADERS, ProblemError
from protocols.device_model.site_plan import SitePlan

BUILT: Final = Path(__file__).resolve().parent.parent / "web" / "dist"
PAGE: Final = "index.html"
HERE: Final = b"/desk/"
ASSETS: Final = "assets/"
KINDS: Final = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml; charset=utf-8",
    ".woff2": "font/woff2",
}
"""What the page is made of; nothing else is served."""
_FILE: Final = re.compile(r"(?:assets/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,120}\Z")
IMMUTABLE: Final = "public, max-age=31536000, immutable"
"""Of files that carry a digest in their name."""
ASK_AGAIN: Final = "no-cache"
HEADERS: Final = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "font-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    **PAGE_HEADERS,
}
"""Sent with every file: the page speaks with this house alone, and stands in no other page."""
_UNBUILT: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Innkeeper</title>"
    "<p>The desk's page has not been built. <code>make web</code> builds it; the API is under <code>/api/v1</code>."
)


def desk_routes(
    *,
    clock: Clock,
    property_id: str,
    plan: Callable[[], SitePlan | None],
    cloud: str | None,
    codes: bool,
    root: Path = BUILT,
) -> list[Router]:
    """Return the routes of the page, which are open, and of what it has to know, which asks for the token.

    Args:
        clock: Wall time: the page's countdowns go by this house's clock, not by that of the machine it is shown on.
        property_id: Ours.
        plan: The site plan in force, for the house's name and zone.
        cloud: Where the guest's own page comes from, by which a phone takes its key; None: no codes can be shown.
        codes: Whether codes for phones are made here at all (edge/api/phone_code_routes.py).
        root: Where the page was built.
    """

    @get("/api/v1/desk", name="desk", opt={ALSO_OPT: DESK})
    async def about() -> Response[dict[str, Any]]:
        known = plan()
        told = {
            "as_of_ms": clock.wall_ms(),
            "property": property_id,
            "name": None if known is None else known.property.name,
            "zone": None if known is None else known.property.zone,
            "cloud": cloud,
            "codes": codes,
        }
        return Response(told, headers={"cache-control": "no-store"})

    @get(["/desk", "/desk/{path:path}"], opt={OPEN: True}, include_in_schema=False, name="desk-page")
    async def page(request: Request[Any, Any, Any], path: FromPath[str] = "") -> Response[bytes]:
        wanted = path.lstrip("/") or PAGE
        if wanted == PAGE and request.scope["raw_path"] != HERE:  # by any other, the page's own addresses do not fit
            return Response(b"", status_code=308, headers={"Location": HERE.decode(), "Cache-Control": ASK_AGAIN})
        kind = KINDS.get(Path(wanted).suffix)
        found = None
        if kind is not None and _FILE.match(wanted) is not None:
            found = await asyncio.to_thread(_read, root, wanted)
        if found is None or kind is None:
            if wanted != PAGE:
                raise ProblemError(404, "the desk's page has no such file", kind="unknown-file")
            found, kind = _UNBUILT.encode(), KINDS[".html"]
        kept = IMMUTABLE if wanted.startswith(ASSETS) else ASK_AGAIN
        return Response(found, media_type=kind, headers={**HEADERS, "Cache-Control": kept})

    return [Router("/", route_handlers=[about, page])]


def _read(root: Path, name: str) -> bytes | None:
    try:
        path = Path(os.path.realpath(root / name, strict=True))
        return path.read_bytes() if path.is_relative_to(os.path.realpath(root)) else None  # a link may lead anywhere
    except OSError:
        return None
