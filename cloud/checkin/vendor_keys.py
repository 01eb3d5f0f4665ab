"""What a stay's keys in foreign lock systems mean for its check-in: done, to be asked for again, or the desk's turn.

Pure. No code of a key is kept: what is told of one is its system, rooms, kind, state and how true that is.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cloud.checkin.judgement import Verdict
from cloud.checkin.steps import StepState
from protocols.door.vendor_keys import VendorKey, VendorMedium, VendorState, vendor_keys_of
from protocols.errors import InvalidInputError

CARD_AT_DESK: Final = "card_at_desk"
"""A card is to be written on the encoder at the desk."""
KEY_REFUSED: Final = "key_refused"
"""The vendor's system said no: somebody has to look."""


def keys_in(bundle: Mapping[str, Any]) -> tuple[VendorKey, ...]:
    """Return the vendors' keys that a building's answer tells of; none where that part is not of its form."""
    try:
        return vendor_keys_of(bundle)
    except InvalidInputError:
        return ()  # the guest gets the building's answer as it is; his step is judged by what can be read of it


def verdict_of(keys: Sequence[VendorKey]) -> Verdict | None:
    """Return how the step of the keys stands; None: a vendor has not said yes yet, and asking again tells."""
    if any(key.state is VendorState.REFUSED for key in keys):
        return Verdict(StepState.NEEDS_STAFF, KEY_REFUSED, evidence(keys))
    if any(key.state is VendorState.WANTED and key.medium is not VendorMedium.CARD for key in keys):
        return None
    if any(key.is_for_the_desk for key in keys):
        return Verdict(StepState.NEEDS_STAFF, CARD_AT_DESK, evidence(keys))
    return Verdict(StepState.DONE, None, evidence(keys))


def evidence(keys: Sequence[VendorKey]) -> dict[str, object]:
    """Return what is kept of them: nothing that opens a door."""
    told = [
        {
            "system": key.system,
            "rooms": list(key.rooms),
            "medium": key.medium.value,
            "state": key.state.value,
            "truth": key.truth,
        }
        for key in keys
    ]
    return {"issued": True, **({"keys": told} if told else {})}
