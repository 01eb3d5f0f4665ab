"""The bearer token of the local API: a file that only the edge and who it trusts can read."""

import hmac
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from kit.dice import Dice
from kit.files import Disk, write_atomic
from kit.http import OPEN, ProblemError
from protocols.errors import InvalidInputError

TOKEN_BYTES: Final = 32
TOKEN_CHARACTERS_LEAST: Final = 32
TOKEN_CHARACTERS_MOST: Final = 512
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+")
TOKEN_OPT: Final = "token"  # noqa: S105 - the name of an option
"""The option by which a route names the token that it asks for."""
ALSO_OPT: Final = "also"
"""The option by which a route names a token that it takes beside the local API's."""
DESK: Final = "desk"
"""The token of whoever works at the desk: what its page asks for, and nothing else (docs/decisions/0159)."""
SCHEME: Final = "Bearer "


def read_or_make_token(disk: Disk, path: Path, dice: Dice) -> str:
    """Return the token in `path`, making the file with a random one if there is none.

    Raises:
        InvalidInputError: the file cannot be read, or what it holds is no token.
        StoreFailedError: it is not there and cannot be made.
    """
    try:
        token = disk.read(path).decode("ascii").strip()
    except FileNotFoundError:
        token = dice.bytes(TOKEN_BYTES).hex()
        write_atomic(disk, path, token.encode("ascii") + b"\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(str(path), f"cannot be read as a token: {error}") from error
    if not TOKEN_CHARACTERS_LEAST <= len(token) <= TOKEN_CHARACTERS_MOST or _TOKEN.fullmatch(token) is None:
        raise InvalidInputError(
            str(path), f"must hold one token: {TOKEN_CHARACTERS_LEAST} or more letters, digits, '-' and '_'"
        )
    return token


def guard(
    token: str, others: Mapping[str, str] | None = None
) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]:
    """Return a litestar guard that denies by default: only routes marked `OPEN` need no token.

    Args:
        token: What every other route asks for.
        others: Tokens by name, for the routes that name one: by `TOKEN_OPT` they take it and no other (where it is not
            given, nobody gets in), by `ALSO_OPT` it and what they would take without.
    """
    expected = token.encode("ascii")
    named = {name: each.encode("ascii") for name, each in (others or {}).items()}

    def check(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        if handler.opt.get(OPEN):
            return
        given = connection.headers.get("authorization", "")
        offered = given.removeprefix(SCHEME).encode("utf-8", "replace") if given.startswith(SCHEME) else b""
        name, also = handler.opt.get(TOKEN_OPT), handler.opt.get(ALSO_OPT)
        wanted = [expected if name is None else named.get(str(name)), None if also is None else named.get(str(also))]
        fits = [hmac.compare_digest(offered, each) for each in wanted if each is not None]  # whichever it is
        if not any(fits):
            raise ProblemError(401, "send the local API's token: `Authorization: Bearer <token>`", kind="unauthorized")

    return check
