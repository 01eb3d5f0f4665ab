"""What a request's body may be made of, before any route reads it: no guess is made about what a caller meant.

It is UTF-8 JSON that says so, and names each thing once: of two values under one name a decoder would take the
last in silence.
"""

import json
from typing import Any, Final

from litestar import Request

from kit.http import ProblemError
from protocols.errors import InvalidInputError

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_UTF_8: Final = frozenset({"utf-8", "utf8"})


async def strict_body(request: Request[Any, Any, Any]) -> None:
    """Judge a request's body.

    Raises:
        ProblemError: 415, it is said to be something else than JSON in UTF-8.
        InvalidInputError: it is no JSON, no UTF-8, or names something twice in one object.
        RecursionError: it is nested deeper than anything we take.
    """
    if request.method not in _WITH_BODY:
        return
    body = await request.body()
    if not body:
        return
    if "content-type" in request.headers:
        media, parameters = request.content_type
        if media.lower() != "application/json" or parameters.get("charset", "utf-8").lower() not in _UTF_8:
            said = request.headers["content-type"][:80]
            raise ProblemError(415, f"Content-Type: {said!r} is not application/json in UTF-8", kind="media-type")
    try:
        told = json.loads(body.decode(), object_pairs_hook=_each_name_once, parse_constant=_no_number)
        json.dumps(told, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except UnicodeDecodeError as error:
        raise InvalidInputError("body", f"byte {error.start} (0x{body[error.start]:02x}) is not UTF-8") from error
    except ValueError as error:  # also an integer of more digits than any number of ours
        raise InvalidInputError("body", f"is not JSON: {error}") from error


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInputError(f"body.{ascii(twice[:80])[1:-1]}", "is named more than once in one object")
    return told


def _no_number(said: str) -> float:
    raise InvalidInputError("body", f"{said} is not a number of JSON")
