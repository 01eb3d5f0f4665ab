"""The policy of kind `late_check_out`: whether guests may ask to leave later, and how late. SPEC.md section 6."""

from datetime import time
from typing import Annotated, Final

import msgspec

from protocols.documents import check_keys_once, explained_json
from protocols.errors import InvalidInputError, UnsupportedVersionError
from protocols.policy.envelope import body_bytes

KIND: Final = "late_check_out"
FORMAT: Final = 1
_Hour = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z")]


class LateCheckOutPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of it, whole. Hours are of the property's own day on which the stay ends.

    Attributes:
        latest: No later hour may be asked for; None: none may be asked for at all.
        alone_until: Up to here it is granted without anybody, where nobody waits for the room; None: never.
    """

    v: int
    latest: _Hour | None
    alone_until: _Hour | None = None


class _Versioned(msgspec.Struct, frozen=True):
    v: int


def parse(body: str) -> LateCheckOutPolicy:
    """Read a body.

    Raises:
        UnsupportedVersionError: `v` is not one we know; nothing else was looked at.
        InvalidInputError: names the place and what would be right; nothing of it may be used.
    """
    data = body_bytes(body)
    try:
        version = msgspec.json.decode(data, type=_Versioned).v
        if version != FORMAT:
            raise UnsupportedVersionError("late check-out policy", version, (FORMAT,))
        policy = msgspec.json.decode(data, type=LateCheckOutPolicy)
    except msgspec.ValidationError as error:
        raise InvalidInputError("late check-out policy", explained_json(error, data)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInputError("late check-out policy", f"is no JSON that can be read: {error}") from error
    check_keys_once(data, "late check-out policy")
    if policy.alone_until is not None and (policy.latest is None or policy.alone_until > policy.latest):
        raise InvalidInputError("late check-out policy: alone_until", "must not be later than `latest`")
    return policy


def encode(policy: LateCheckOutPolicy) -> str:
    """Return the body as `parse` reads it."""
    return msgspec.json.encode(policy).decode()


def hour(text: str) -> time:
    """Return an hour that `parse` has read."""
    return time.fromisoformat(text)


DEFAULT: Final = LateCheckOutPolicy(v=FORMAT, latest=None)
"""In force where nobody has signed one: nobody is offered what the house did not decide to give."""
