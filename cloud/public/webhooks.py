"""Where a PMS pushes its hints: an unguessable address, a stored hint, a fast answer."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from cloud.kit.acting import acting, system
from cloud.pms.engine import PmsSync
from cloud.public.gate import absent
from kit.http import OPEN
from protocols.errors import InvalidInputError, PeerProtocolError

PUSH_BYTES_MOST: Final = 256 * 1024
_PUSHED: Final = system("pms-push")


@dataclass(frozen=True, slots=True)
class Hook:
    """The secret part of an address, and the connection it belongs to."""

    secret: str
    sync: PmsSync


def pms_webhook(hooks: Sequence[Hook]) -> HTTPRouteHandler:
    """Return the route. The secret in the address is all that tells a push from an invention: a push is a hint."""

    @post(
        "/webhooks/pms/{secret:str}",
        opt={OPEN: True},
        status_code=200,
        request_max_body_size=PUSH_BYTES_MOST,
        include_in_schema=False,
        name="pms-webhook",
    )
    async def push(request: Request[Any, Any, Any], secret: FromPath[str]) -> Response[bytes]:
        found: PmsSync | None = None
        for hook in hooks:
            if hmac.compare_digest(hook.secret.encode(), secret.encode(errors="replace")):
                found = hook.sync
        if found is None:
            raise absent()
        try:
            pushed = await request.body()
            with acting(_PUSHED):
                await found.take_push(pushed)
        except PeerProtocolError as error:
            raise InvalidInputError("body", str(error)) from error
        return Response(b"OK", media_type="text/plain")

    return push
