"""The policy of kind `check_in`: which steps a guest takes at a property, by its country's rules. SPEC.md section 3."""

from enum import StrEnum
from typing import Annotated, Final

import msgspec

from protocols.documents import check_keys_once, explained_json
from protocols.errors import InvalidInputError, UnsupportedVersionError
from protocols.policy.envelope import body_bytes

KIND: Final = "check_in"
FORMAT: Final = 1
_State = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]


class StepKind(StrEnum):
    """A step of a check-in; SPEC.md section 4 says for whom and when it is done."""

    IDENTITY = "identity"
    DOCUMENT = "document"
    REGISTRATION_CARD = "registration_card"
    TERMS = "terms"
    PAYMENT = "payment"
    ROOM = "room"
    GRANT = "grant"


LAST: Final = (StepKind.ROOM, StepKind.GRANT)


class Deposit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Money to be held on a card, in minor units of an ISO 4217 currency."""

    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")]
    minor: Annotated[int, msgspec.Meta(ge=1, le=10**9)]


class CheckInPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of it, whole."""

    v: int
    jurisdiction: _State
    steps: Annotated[tuple[StepKind, ...], msgspec.Meta(min_length=2, max_length=len(StepKind))]
    opens_before_minutes: Annotated[int, msgspec.Meta(ge=0, le=7 * 24 * 60)] = 24 * 60
    adult_age: Annotated[int, msgspec.Meta(ge=14, le=25)] = 18
    sign_age: Annotated[int, msgspec.Meta(ge=0, le=25)] = 14
    documents: Annotated[tuple[Annotated[str, msgspec.Meta(pattern=r"^[A-Z]\Z")], ...], msgspec.Meta(max_length=26)] = (
        "P",
        "I",
        "A",
        "C",
    )
    document_exempt: Annotated[tuple[_State, ...], msgspec.Meta(max_length=300)] = ()
    terms: Annotated[str, msgspec.Meta(min_length=1, max_length=80)] | None = None
    deposit: Deposit | None = None
    keep_days: Annotated[int, msgspec.Meta(ge=1, le=3_660)] = 365
    reporter: Annotated[str, msgspec.Meta(min_length=1, max_length=40)] | None = None


class _Versioned(msgspec.Struct, frozen=True):
    v: int


def parse(body: str) -> CheckInPolicy:
    """Read a body.

    Raises:
        UnsupportedVersionError: `v` is not one we know; nothing else was looked at.
        InvalidInputError: names the place and what would be right; nothing of it may be used.
    """
    data = body_bytes(body)
    try:
        version = msgspec.json.decode(data, type=_Versioned).v
        if version != FORMAT:
            raise UnsupportedVersionError("check-in policy", version, (FORMAT,))
        policy = msgspec.json.decode(data, type=CheckInPolicy)
    except msgspec.ValidationError as error:
        raise InvalidInputError("check-in policy", explained_json(error, data)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInputError("check-in policy", f"is no JSON that can be read: {error}") from error
    check_keys_once(data, "check-in policy")
    if len(set(policy.steps)) != len(policy.steps):
        raise InvalidInputError("check-in policy: steps", "a step is there twice")
    if policy.steps[-2:] != LAST:
        raise InvalidInputError("check-in policy: steps", "must end with `room`, `grant`")
    if StepKind.TERMS in policy.steps and policy.terms is None:
        raise InvalidInputError("check-in policy: terms", "the step `terms` wants their version")
    if StepKind.DOCUMENT in policy.steps and not policy.documents:
        raise InvalidInputError("check-in policy: documents", "the step `document` wants at least one kind")
    return policy


def encode(policy: CheckInPolicy) -> str:
    """Return the body as `parse` reads it."""
    return msgspec.json.encode(policy).decode()


DEFAULT: Final = CheckInPolicy(v=FORMAT, jurisdiction="UTO", steps=LAST)
"""In force where nobody has signed one: the room and the grant, nothing of the guest."""
