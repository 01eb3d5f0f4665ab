"""Commands to a room: checked, carried out at most once, answered true, false or unknown (G13).

The order that makes "at most once" hold through SIGKILL: `accepted` is durable before the device hears anything, the
outcome is durable before anybody is told. Found `accepted` without an outcome after a restart, a command may have
happened: it is `unknown` for good and never repeated. Pure; rooms/engine.py does the awaiting.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from protocols.device_model.capability import Capability, Value, attribute, problem_with
from protocols.device_model.command import FINAL_PHASES, Outcome, Phase
from protocols.device_model.identity import DeviceId, RoomId, parse_actor
from protocols.documents import shown
from protocols.errors import InvalidInputError
from protocols.link.record import body_problem
from protocols.policy.room import SETPOINT_LEAST_C, SETPOINT_MOST_C

BODY_BYTES_MOST: Final = 4 * 1024  # half of what a record holds: the other half is for what came of it
REMEMBERED_MOST: Final = 2_000  # idempotency keys kept; oldest finished first
RESTARTED: Final = "the edge restarted while the command was under way; it may have taken effect"


@dataclass(frozen=True, slots=True)
class RoomCommand:
    """One wish of a person or of the cloud about a room. `deadline_ms` is unix ms; `by` says who asked.

    `device`: this one of the room's alone, where several take it (a platform shows each); None: all that take it.
    """

    id: str
    room: RoomId
    capability: Capability
    attribute: str
    value: Value
    deadline_ms: int
    idempotency_key: str
    by: str
    device: DeviceId | None = None

    def asks_the_same(self, other: "RoomCommand") -> bool:
        """Say whether both ask for the same effect: then the second is a repetition, not a new command."""
        return (self.room, self.device, self.capability, self.attribute, self.value) == (
            other.room,
            other.device,
            other.capability,
            other.attribute,
            other.value,
        )

    def to_body(self, outcome: Outcome) -> dict[str, Any]:
        """Return the body of its lane A record; `device` is in it only where one is meant."""
        of_one = {} if self.device is None else {"device": self.device}
        return of_one | {
            "id": self.id,
            "phase": outcome.phase.value,
            "room": self.room,
            "capability": self.capability.value,
            "attribute": self.attribute,
            "value": self.value,
            "deadline_ms": self.deadline_ms,
            "idempotency_key": self.idempotency_key,
            "by": self.by,
            "read_back": outcome.read_back,
            "reason": outcome.reason,
        }


def from_body(body: Mapping[str, Any]) -> tuple[RoomCommand, Outcome] | None:
    """Return what `to_body` wrote, or None for a `command` record of another kind (the link's own)."""
    if "room" not in body or "idempotency_key" not in body:
        return None
    command = RoomCommand(
        id=body["id"],
        room=RoomId(body["room"]),
        capability=Capability(body["capability"]),
        attribute=body["attribute"],
        value=body["value"],
        deadline_ms=body["deadline_ms"],
        idempotency_key=body["idempotency_key"],
        by=body["by"],
        device=body.get("device"),
    )
    return command, Outcome(Phase(body["phase"]), body["read_back"], body["reason"])


class CommandBook:
    """Which commands were taken, by idempotency key, and how they ended."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[RoomCommand, Outcome]] = OrderedDict()

    def known(self, command: RoomCommand) -> Outcome | None:
        """Return how far the command of this key got, or None for a new key.

        Raises:
            InvalidInputError: the key was used for something else.
        """
        entry = self._entries.get(command.idempotency_key)
        if entry is None:
            return None
        before, outcome = entry
        if not before.asks_the_same(command):
            raise InvalidInputError(
                "idempotency_key",
                f"{command.idempotency_key!r} was used for {before.capability} {before.attribute} = "
                f"{shown(before.value)} in room {before.room}; use a new key for a new command",
            )
        return outcome

    def write_down(self, command: RoomCommand, outcome: Outcome) -> None:
        """Take how far a command got; a terminal outcome is never overwritten."""
        before = self._entries.get(command.idempotency_key)
        if before is not None and before[1].phase in FINAL_PHASES:
            return
        self._entries[command.idempotency_key] = (command, outcome)
        if len(self._entries) > REMEMBERED_MOST:
            finished = next((key for key, (_, each) in self._entries.items() if each.phase in FINAL_PHASES), None)
            self._entries.pop(finished if finished is not None else next(iter(self._entries)))

    def forget(self, command: RoomCommand) -> None:
        """Drop a command that could not be made durable: nothing happened, and its key is free again."""
        self._entries.pop(command.idempotency_key, None)

    def unfinished(self) -> list[RoomCommand]:
        """Return the commands without a terminal outcome."""
        return [command for command, outcome in self._entries.values() if outcome.phase not in FINAL_PHASES]


def refuse_unsafe(command: RoomCommand) -> None:
    """Refuse what no room command may do, whatever a device would accept, and what could not be put on record.

    Raises:
        InvalidInputError: a lock, an attribute that is not there or not written, a value it cannot have, a setpoint
            outside the band that keeps a guest safe, or a command that no record can hold: what cannot be written
            down must not be begun.
    """
    if command.capability is Capability.DOOR_LOCK:
        raise InvalidInputError("capability", "doors open for a grant, never for a room command")
    row = attribute(command.capability, command.attribute)
    if not row.writable:
        raise InvalidInputError("attribute", f"{command.capability} {command.attribute} is measured, not written")
    if (problem := problem_with(row, command.value)) is not None:
        raise InvalidInputError("value", problem)
    if row.name.endswith("_setpoint") and not SETPOINT_LEAST_C <= float(command.value) <= SETPOINT_MOST_C:
        raise InvalidInputError(
            "value", f"{shown(command.value)} is outside {SETPOINT_LEAST_C:g}..{SETPOINT_MOST_C:g} degrees Celsius"
        )
    parse_actor(command.by, "command: by")
    body = command.to_body(Outcome(Phase.ACCEPTED))
    if (unfit := body_problem(body)) is not None:
        raise InvalidInputError("command", unfit)
    if (size := len(msgspec.json.encode(body))) > BODY_BYTES_MOST:
        raise InvalidInputError("command", f"{size} bytes, at most {BODY_BYTES_MOST} are taken")
