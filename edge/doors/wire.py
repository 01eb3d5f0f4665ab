"""The doors' socket: 4-byte length and JSON, one request and one answer at a time.

Both ends live in this room (server.py, client.py), but in two processes that are upgraded one after the other: every
request says its version, and another one is refused by name.
"""

import asyncio
from typing import Any, Final

import msgspec

from edge.doors.errors import ClockUnsoundError, LockEmptyError, StayEndedError
from protocols.errors import (
    InvalidInputError,
    LinkLostError,
    LocalProtocolError,
    PeerProtocolError,
    PlatformError,
    StoreFailedError,
)

VERSION: Final = 1
MESSAGE_BYTES_MOST: Final = 1024 * 1024
_LENGTH_BYTES: Final = 4


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the client asks."""

    method: str
    args: dict[str, Any] = {}
    v: int = 1


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A refusal: the error's name and its words."""

    error: str
    message: str
    place: str = ""


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the server answers: a result or a failure."""

    result: Any = None
    failure: Failure | None = None


_REFUSALS: Final[dict[str, type[PlatformError]]] = {
    each.__name__: each
    for each in (
        ClockUnsoundError,
        LockEmptyError,
        StayEndedError,
        StoreFailedError,
        LocalProtocolError,
        LinkLostError,
    )
}


def failure_of(error: PlatformError) -> Failure:
    """Return what to send for an error."""
    if isinstance(error, InvalidInputError):
        return Failure("InvalidInputError", error.problem, error.place)
    return Failure(type(error).__name__, str(error))


def raised(failure: Failure) -> PlatformError:
    """Return the error that the server meant."""
    if failure.error == "InvalidInputError":
        return InvalidInputError(failure.place, failure.message)
    return _REFUSALS.get(failure.error, LocalProtocolError)(failure.message)


def pack(message: Request | Reply) -> bytes:
    """Return the framed message.

    Raises:
        LocalProtocolError: larger than MESSAGE_BYTES_MOST.
    """
    body = msgspec.json.encode(message)
    if len(body) > MESSAGE_BYTES_MOST:
        raise LocalProtocolError(f"doors message of {len(body)} bytes, at most {MESSAGE_BYTES_MOST}")
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


async def read_body(reader: asyncio.StreamReader, begun: bytes = b"") -> bytes | None:
    """Return the next message's bytes; None at a clean end. `begun`: what was read of its length already.

    Raises:
        PeerProtocolError: too long.
        LinkLostError: it ended inside a message.
    """
    try:
        head = begun + await reader.readexactly(_LENGTH_BYTES - len(begun))
    except asyncio.IncompleteReadError as error:
        if error.partial or begun:
            raise LinkLostError("doors socket ended inside a length") from error
        return None
    except OSError as error:
        raise LinkLostError(f"doors socket: {error}") from error
    size = int.from_bytes(head, "big")
    if size > MESSAGE_BYTES_MOST:
        raise PeerProtocolError(f"doors message of {size} bytes, at most {MESSAGE_BYTES_MOST}")
    try:
        return await reader.readexactly(size)
    except (asyncio.IncompleteReadError, OSError) as error:
        raise LinkLostError("doors socket ended inside a message") from error
