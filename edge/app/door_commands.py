"""The cloud's commands to the doors process: what phones brought and asked for, keys given, taken away and written.

Kinds and arguments are those of edge/api/door_routes.py and closing_routes.py. The link has judged the cloud's
signature, deadline and repetition; a bundle passes through and is in no record (edge/link/commands.py keeps phases).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec

from edge.api import closing_routes as closing
from edge.api.door_routes import (
    CarriedBody,
    DroppedDraftBody,
    EmergencyDraftBody,
    EmergencyKeyBody,
    KeyedDoors,
    StaffKeyBody,
    two_approvals,
)
from protocols.device_model.command import Phase
from protocols.device_model.identity import parse_name, parse_room_id
from protocols.door.remote_open import REQUEST_BYTES_MOST, OpenOutcome
from protocols.errors import InvalidInputError
from protocols.link.documents import CommandEnvelope

KINDS: Final = (
    *("doors_carried", "staff_key", "emergency_draft", "emergency_key", "emergency_drop"),
    *("key_cards", "withdraw_key", "lock_out", "inhibit", "failsafe_key", "door_closings", "stay_phones", "stay_keys"),
    "open_door",
)

_Body = TypeVar("_Body")
_PHASES: Final = {
    OpenOutcome.CONFIRMED: Phase.DONE,
    OpenOutcome.ACCEPTED: Phase.DONE,
    OpenOutcome.UNKNOWN: Phase.UNKNOWN,
}
"""How far a command has come by what came of an opening from afar; what is not here failed: nothing opened."""


class OpenDoorBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `open_door`: what a guest's phone signed (protocols/door/SPEC.md 13), hexadecimal.

    The doors process judges it. A cloud that makes one up, keeps one for later or brings one twice opens nothing.
    """

    request: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2})+\Z", max_length=2 * REQUEST_BYTES_MOST)]


async def obey(doors: KeyedDoors | None, command: CommandEnvelope) -> Mapping[str, Any]:
    """Obey one of `KINDS`.

    Raises:
        InvalidInputError: an argument is not of its form, or there is no doors process; nothing happened.
        PlatformError: as the doors' client.
    """
    if doors is None:
        raise InvalidInputError(f"command {command.kind}", "this edge has no doors process")
    match command.kind:
        case "doors_carried":
            carried = _args(command, CarriedBody)
            taken, locks = await doors.bring([(each.lock, each.sealed) for each in carried.chunks], carried.locks)
            return {"taken": taken, "locks": locks}
        case "staff_key":
            staff = _args(command, StaffKeyBody)
            shift = staff.shift
            return {
                "bundle": await doors.issue_staff(
                    parse_name(staff.person, "person"),
                    [parse_room_id(room) for room in staff.rooms],
                    bytes.fromhex(staff.phone_public_key),
                    not_after_ms=staff.not_after_ms,
                    zones=staff.zone_mask,
                    shift=None if shift is None else (shift.days, shift.from_minute, shift.to_minute),
                    user_verified=staff.user_verified,
                    passage=staff.passage,
                )
            }
        case "emergency_draft":
            draft = _args(command, EmergencyDraftBody)
            return await doors.draft_emergency(
                parse_name(draft.person, "person"),
                [parse_room_id(room) for room in draft.rooms],
                bytes.fromhex(draft.phone_public_key),
                reason=draft.reason,
                over_privacy=draft.over_privacy,
            )
        case "emergency_key":
            approved = _args(command, EmergencyKeyBody)
            approvals = two_approvals([(each.officer, each.signature) for each in approved.approvals])
            return {"bundle": await doors.issue_emergency(approved.grant, approvals)}
        case "emergency_drop":
            drop = _args(command, DroppedDraftBody)
            return await doors.drop_emergency(drop.grant, by=drop.by)
        case "key_cards":
            return await closing.write_card(doors, _args(command, closing.KeyCardsBody))
        case "withdraw_key":
            return await closing.withdraw(doors, _args(command, closing.WithdrawnKeyBody))
        case "lock_out":
            return await closing.lock_out(doors, _args(command, closing.LockoutBody))
        case "inhibit":
            return await closing.inhibit(doors, _args(command, closing.InhibitionBody))
        case "failsafe_key":
            return await closing.failsafe(doors, _args(command, closing.FailsafeBody))
        case "door_closings":
            _args(command, closing.NoBody)
            return await closing.closings(doors)
        case "stay_phones":
            return await closing.phones(doors, _args(command, closing.StayBody))
        case "stay_keys":
            return await closing.stay_keys(doors, _args(command, closing.StayBody))
        case "open_door":
            return await _open_door(doors, _args(command, OpenDoorBody))
    raise InvalidInputError("command kind", f"{command.kind!r} is none of the doors': {', '.join(KINDS)}")


async def _open_door(doors: KeyedDoors, asked: OpenDoorBody) -> Mapping[str, Any]:
    """Return what came of it in the members that the link keeps: asked again, the answer is this one, for a day."""
    said = await doors.open_remotely(bytes.fromhex(asked.request))
    outcome = OpenOutcome(said["outcome"])
    phase = _PHASES.get(outcome, Phase.FAILED)
    reason = said.get("reason")
    return {"phase": phase.value, "read_back": outcome.value, **({} if reason is None else {"reason": reason})}


def _args(command: CommandEnvelope, kind: type[_Body]) -> _Body:
    try:
        return msgspec.convert(command.args, kind)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"command {command.kind}", str(error)) from error
