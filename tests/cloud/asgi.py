"""Ask an application in this loop, without a socket."""

from typing import Any, cast

import httpx
from litestar import Litestar


def in_process(app: Litestar) -> httpx.ASGITransport:
    """Return a transport to `app`; httpx and litestar type the same protocol differently."""
    return httpx.ASGITransport(cast(Any, app), raise_app_exceptions=False)
