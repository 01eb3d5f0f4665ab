"""A question to a building, asked for somebody at the API: its answer, or a problem that says what may be so.

What is asked is kept without arguments and without result, because bundles open doors (cloud/fleet/commands.py,
`secret_result`).
"""

import hashlib
from typing import Any, Final, TypeVar

import msgspec

from cloud.fleet.commands import Command, Commands
from cloud.platform.principals import Principal
from cloud.platform.properties import Property
from kit.http import ProblemError
from protocols.device_model.command import Phase

ANSWER_WAIT_MS: Final = 15_000
ACTOR_CHARACTERS: Final = 80
_Answer = TypeVar("_Answer")


def by_cloud(caller: Principal) -> str:
    """Return who asks, as the building's records name him."""
    return f"cloud:{caller.name}"[:ACTOR_CHARACTERS]


def person(caller: Principal) -> str:
    """Return who somebody is, whatever he signed in with this time."""
    return caller.name if caller.account is None else caller.account


def digest(args: dict[str, Any]) -> str:
    """Return what tells one question from another."""
    return hashlib.sha256(msgspec.json.encode(args, order="sorted")).hexdigest()[:32]


async def ask_edge(
    commands: Commands,
    caller: Principal,
    place: Property,
    kind: str,
    args: dict[str, Any],
    *,
    key: str,
    answer: type[_Answer],
) -> _Answer:
    """Ask the building and return its answer. `key` names the question: with another one it is another key.

    Raises:
        ProblemError: 503, 504 (it may have been done), 409 (it refused), 502 (its answer is not of its form).
    """
    command = await commands.run(
        place,
        kind=kind,
        args=args,
        idempotency_key=key,
        within_ms=ANSWER_WAIT_MS,
        asked_by=caller.name,
        secret_result=True,
    )
    try:
        return msgspec.convert(_result(command), answer)
    except msgspec.ValidationError as error:
        raise refusal(502, f"the building's answer is not of its form: {error}", "strange") from error


def refusal(status: int, detail: str, reason: str, *, retryable: bool = False, may: bool = False) -> ProblemError:
    """Return a problem that says whether to ask again, and whether it may have happened."""
    return ProblemError(status, detail, kind=reason, reason=reason, retryable=retryable, may_have_taken_effect=may)


def _result(command: Command) -> dict[str, Any]:
    if command.phase is Phase.DONE and command.result is not None:
        return command.result
    if command.phase is Phase.DONE:
        detail = "It was done under this idempotency key before, and its answer is no longer held: ask under another."
        raise refusal(409, detail, "answered_before")
    if command.link_lost:
        raise refusal(503, "The hotel cannot be reached from here at the moment.", "edge_away", retryable=True)
    if command.phase is Phase.FAILED:
        raise refusal(409, command.reason or "The hotel refused.", "edge_refused")
    if command.phase is Phase.EXPIRED:
        raise refusal(504, "It reached the hotel too late; nothing was done.", "too_late", retryable=True)
    raise refusal(
        504, "The hotel has not answered; it may have been done. Ask again.", "unanswered", retryable=True, may=True
    )
