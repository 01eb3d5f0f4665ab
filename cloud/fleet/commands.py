"""Commands to edges: one row each, sent through a port, and what became of them, never better than known.

A command's id doubles as the key under which the edge takes it at most once. `unknown` is an answer: it was
sent and nobody said what came of it; a later record of lane A may still tell.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from cloud.kit.database import Connection, Database, execute, fetch_one, jsonb
from cloud.kit.notify import notify_live
from cloud.kit.times import at
from cloud.platform.properties import Property
from protocols.device_model.command import Phase
from protocols.errors import LinkLostError, LocalProtocolError, PlatformError, ReplyTimeoutError
from protocols.link.documents import REFUSAL_HELD_MS

LIVE_KIND: Final = "commands"
_RANK: Final = {
    Phase.ACCEPTED: 0,
    Phase.EXECUTING: 1,
    Phase.UNKNOWN: 2,  # a fact that comes later is better than none
    Phase.EXPIRED: 3,
    Phase.FAILED: 3,
    Phase.DONE: 3,
}


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What the edge said: the last phase it told, and its result or why not."""

    phase: Phase
    result: dict[str, Any] | None
    error: str | None


class EdgeCommands(Protocol):
    """The way down to an edge."""

    async def send(
        self, edge: str, kind: str, args: dict[str, Any], idempotency_key: str, deadline_ms: int, *, command_id: str
    ) -> CommandResult:
        """Send a signed command and await the edge's answer until `deadline_ms` (unix milliseconds).

        Raises:
            LinkLostError: it never left.
            ReplyTimeoutError: it left and nobody answered in time; it may have taken effect.
        """
        ...


class KeyReusedError(PlatformError):
    """The idempotency key was used before for something else."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command as others may read it."""

    id: str
    kind: str
    phase: Phase
    result: dict[str, Any] | None
    reason: str | None
    deadline_at: datetime
    created_at: datetime
    updated_at: datetime
    link_lost: bool = False
    """It never left: certainly without effect, and worth another try under a new key."""


class WallClock(Protocol):
    """What commands need of a clock."""

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC."""
        ...


class RandomBytes(Protocol):
    """What commands need of dice."""

    def bytes(self, n: int) -> bytes:
        """Return `n` random bytes."""
        ...


class Commands:
    """Sends commands and keeps their rows."""

    def __init__(self, database: Database, edges: EdgeCommands, *, clock: WallClock, dice: RandomBytes) -> None:
        """Send through `edges`."""
        self._database, self._edges, self._clock, self._dice = database, edges, clock, dice

    async def run(
        self,
        to: Property,
        *,
        kind: str,
        args: dict[str, Any],
        idempotency_key: str,
        within_ms: int,
        asked_by: str,
        secret_result: bool = False,
    ) -> Command:
        """Send a command and wait for its outcome at most `within_ms`.

        The same key again returns what is known of the first; unless that is final it is asked for again, which
        the edge answers from its memory. What never left is sent again with a new deadline. `secret_result` keeps
        the result out of the database: it is handed to this caller alone, and asked of the edge again when the key
        is used again; the edge holds it for an hour (protocols/link/SPEC.md 9.3), so `done` may come without. A
        refusal of such a question stands for a minute: later the key asks anew.

        Raises:
            KeyReusedError: the key belongs to another command.
        """
        now_ms = self._clock.wall_ms()
        deadline_ms = now_ms + within_ms
        shown_args = {} if secret_result else args
        async with self._database.transaction() as connection:
            first = await execute(
                connection,
                """INSERT INTO fleet.command (id, tenant, property, edge, kind, args, idempotency_key, asked_by, phase,
                                              deadline_at, created_at, updated_at)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'accepted', %s, %s, %s)
                   ON CONFLICT (property, idempotency_key) DO NOTHING""",
                [
                    f"c-{self._dice.bytes(12).hex()}",
                    to.tenant,
                    to.id,
                    to.edge,
                    kind,
                    jsonb(shown_args),
                    idempotency_key,
                    asked_by,
                    at(deadline_ms),
                    at(now_ms),
                    at(now_ms),
                ],
            )
            row = await fetch_one(
                connection,
                "SELECT id, kind, args, phase, result, reason, deadline_at, created_at, updated_at, never_left"
                " FROM fleet.command WHERE property = %s AND idempotency_key = %s FOR UPDATE",
                [to.id, idempotency_key],
            )
            if row is None or row["kind"] != kind or row.pop("args") != shown_args:
                raise KeyReusedError(f"idempotency key {idempotency_key!r} was used for another command")
            passed = secret_result and _has_passed(Phase(row["phase"]), row["updated_at"], now_ms)
            if row.pop("never_left") or passed:
                # A refusal that has passed is another command to the edge: late words on the first are not its own.
                again = f"c-{self._dice.bytes(12).hex()}" if passed else row["id"]
                row.update(phase=Phase.ACCEPTED.value, reason=None, deadline_at=at(deadline_ms))
                first = await execute(
                    connection,
                    """UPDATE fleet.command SET id = %s, phase = 'accepted', reason = NULL, never_left = false,
                              deadline_at = %s, updated_at = %s WHERE property = %s AND id = %s""",
                    [again, at(deadline_ms), at(now_ms), to.id, row["id"]],
                )
                row["id"] = again
        known = Command(**{**row, "phase": Phase(row["phase"])})
        if _RANK[known.phase] == _RANK[Phase.DONE] and not (secret_result and known.phase is Phase.DONE):
            return known
        link_lost = False
        try:
            answer = await self._edges.send(to.edge, kind, args, known.id, deadline_ms, command_id=known.id)
        except ReplyTimeoutError as error:
            answer = CommandResult(Phase.UNKNOWN, None, str(error))
        except LinkLostError as error:
            link_lost = bool(first)  # of an earlier attempt this tells nothing: that one may have arrived
            answer = CommandResult(Phase.FAILED if link_lost else Phase.UNKNOWN, None, str(error))
        except LocalProtocolError as error:
            answer = CommandResult(Phase.FAILED, None, str(error))
        stored = await self._note(to, known.id, answer, secret_result=secret_result, never_left=link_lost)
        return Command(
            id=stored.id,
            kind=stored.kind,
            phase=stored.phase,
            result=answer.result if secret_result else stored.result,
            reason=stored.reason,
            deadline_at=stored.deadline_at,
            created_at=stored.created_at,
            updated_at=stored.updated_at,
            link_lost=link_lost,
        )

    async def _note(
        self, to: Property, command_id: str, answer: CommandResult, *, secret_result: bool, never_left: bool
    ) -> Command:
        async with self._database.transaction() as connection:
            await note_phase(
                connection,
                property_id=to.id,
                command_id=command_id,
                phase=answer.phase,
                result=None if secret_result else answer.result,
                reason=answer.error,
                now_ms=self._clock.wall_ms(),
                never_left=never_left,
            )
            stored = await command_by_id(connection, tenant=to.tenant, property_id=to.id, command_id=command_id)
        if stored is None:
            raise LocalProtocolError(f"command {command_id} vanished while it was under way")
        return stored


def _has_passed(phase: Phase, since: datetime, now_ms: int) -> bool:
    return phase in (Phase.FAILED, Phase.EXPIRED) and since <= at(now_ms - REFUSAL_HELD_MS)


async def note_phase(
    connection: Connection,
    *,
    property_id: str,
    command_id: str,
    phase: Phase,
    result: dict[str, Any] | None,
    reason: str | None,
    now_ms: int,
    never_left: bool = False,
) -> None:
    """Note how far a command has come. Phases only move forward; a final one stays, but for what never left."""
    row = await fetch_one(
        connection,
        "SELECT phase, never_left FROM fleet.command WHERE property = %s AND id = %s FOR UPDATE",
        [property_id, command_id],
    )
    if row is None:
        return
    known = Phase.ACCEPTED if row["never_left"] else Phase(row["phase"])
    if _RANK[phase] <= _RANK[known] or (never_left and known is not Phase.ACCEPTED):
        return
    await execute(
        connection,
        "UPDATE fleet.command SET phase = %s, result = %s, reason = %s, updated_at = %s, never_left = %s"
        " WHERE property = %s AND id = %s",
        [
            phase.value,
            None if result is None else jsonb(result),
            None if reason is None else reason[:500],
            at(now_ms),
            never_left,
            property_id,
            command_id,
        ],
    )
    await notify_live(connection, property_id, (LIVE_KIND,))


async def command_by_id(connection: Connection, *, tenant: str, property_id: str, command_id: str) -> Command | None:
    """Return one command, None if this tenant's property has none of that id."""
    row = await fetch_one(
        connection,
        "SELECT id, kind, phase, result, reason, deadline_at, created_at, updated_at FROM fleet.command"
        " WHERE tenant = %s AND property = %s AND id = %s",
        [tenant, property_id, command_id],
    )
    return None if row is None else Command(**{**row, "phase": Phase(row["phase"])})
