"""The policy of kind `room`, as far as both sides agree on it. Source of truth: SPEC.md section 5.

Whether an edge can obey the whole document is the edge's to judge (edge/policy/document.py): it knows its rules.
"""

from typing import Annotated, Final

import msgspec

from protocols.documents import check_keys_once, explained_json
from protocols.errors import InvalidInputError
from protocols.policy.envelope import body_bytes

KIND: Final = "room"
NONE: Final = "null"
"""The body that takes a signed room policy back."""
SETPOINT_LEAST_C: Final = 12.0
SETPOINT_MOST_C: Final = 28.0
_Setpoint = Annotated[float, msgspec.Meta(ge=SETPOINT_LEAST_C, le=SETPOINT_MOST_C)]


class SignedClimate(msgspec.Struct, frozen=True):
    """The setpoints of a document, degrees Celsius; what else it says of climate is the edge's to judge."""

    set_back_c: _Setpoint
    away_c: _Setpoint
    expected_c: _Setpoint
    comfort_c: _Setpoint


class SignedRoomPolicy(msgspec.Struct, frozen=True):
    """What the cloud looks at before it signs."""

    v: Annotated[int, msgspec.Meta(ge=1)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    climate: SignedClimate


def parse(body: str) -> SignedRoomPolicy | None:
    """Read a body; None: it takes the signed policy back.

    Raises:
        InvalidInputError: names the place and what would be right; it may not be signed.
    """
    if body == NONE:
        return None
    data = body_bytes(body)
    try:
        policy = msgspec.json.decode(data, type=SignedRoomPolicy)
    except msgspec.ValidationError as error:
        raise InvalidInputError("room policy", explained_json(error, data)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInputError("room policy", f"is no JSON that can be read: {error}") from error
    check_keys_once(data, "room policy")
    rising = (policy.climate.set_back_c, policy.climate.away_c, policy.climate.expected_c, policy.climate.comfort_c)
    if list(rising) != sorted(rising):
        raise InvalidInputError(
            "room policy: climate", f"set_back_c <= away_c <= expected_c <= comfort_c; got {rising}"
        )
    return policy
