"""Commands from the cloud, obeyed at most once and never late, and answered even when asked twice.

Source of truth: protocols/link/SPEC.md section 9.3; guarantee G13. What stands under an idempotency key is
stored before the effect may
begin. A key that is found `executing` at a start was cut off by a crash: it becomes `unknown`, and is never
begun again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from edge.link.ports import LinkLog, OnCommand
from edge.log.record_log import Entry
from kit.clock import Clock, ClockQuality
from protocols.device_model.command import FINAL_PHASES, Phase
from protocols.device_model.identity import EdgeId
from protocols.errors import PlatformError
from protocols.link.documents import CommandEnvelope
from protocols.link.messages import RESULT_DEPTH_MAX, Answer
from protocols.link.record import body_problem

RECORD_KIND: Final = "command"
REASON_CHARACTERS_MAX: Final = 300
INTERRUPTED: Final = "the edge was restarted while it was executing"


@dataclass(frozen=True, slots=True)
class _Outcome:
    phase: Phase
    result: dict[str, Any] | None = None
    reason: str | None = None


class Commands:
    """Judges, runs and remembers commands; the uplink brings them and carries the answers away."""

    def __init__(self, *, edge: EdgeId, log: LinkLog, clock: Clock, on_command: OnCommand) -> None:
        self._edge, self._log, self._clock, self._on_command = edge, log, clock, on_command
        self._running: set[str] = set()

    async def close_interrupted(self) -> None:
        """At the start: what a crash cut off is unknown from now on."""
        for key, id_ in await self._log.commands_in(Phase.EXECUTING.value):
            outcome = _Outcome(Phase.UNKNOWN, reason=INTERRUPTED)
            await self._log.command_phase(
                key, id_, outcome.phase.value, _stored(outcome), _entry(key, id_, None, outcome)
            )

    async def obey(self, command: CommandEnvelope) -> Answer:
        """Obey a believed command, or say what became of it before.

        Raises:
            StoreFailedError: nothing can be remembered now, so nothing was begun; or, after the effect, its outcome
                is not stored: the key stays `executing` until the next start calls it unknown.
        """
        key = command.idempotency_key
        if key in self._running:
            return self._answer(command, _Outcome(Phase.EXECUTING))
        self._running.add(key)
        try:
            return await self._obey(command)
        finally:
            self._running.discard(key)

    async def _obey(self, command: CommandEnvelope) -> Answer:
        known = await self._log.command_known(command.idempotency_key)
        if known is not None:
            outcome = _restored(known.phase, known.result)
            if outcome.phase is Phase.EXECUTING:  # nobody runs it: its outcome could not be stored
                outcome = _Outcome(Phase.UNKNOWN, reason="the log failed while it was executing")
                await self._keep(command, outcome)
            return self._answer(command, outcome)
        if (refusal := self._refusal(command)) is not None:
            await self._keep(command, refusal)
            return self._answer(command, refusal)
        await self._keep(command, _Outcome(Phase.EXECUTING))
        outcome = await self._run(command)
        await self._keep(command, outcome)
        return self._answer(command, outcome)

    def _refusal(self, command: CommandEnvelope) -> _Outcome | None:
        if self._clock.quality is ClockQuality.UNCERTAIN:
            return _Outcome(Phase.FAILED, reason="the edge's clock is uncertain: it cannot tell whether this is late")
        now_ms = self._clock.wall_ms()
        if now_ms >= command.deadline_ms:
            return _Outcome(Phase.EXPIRED, reason=f"{now_ms - command.deadline_ms} ms after its deadline")
        return None

    async def _run(self, command: CommandEnvelope) -> _Outcome:
        try:
            result = dict(await self._on_command(command))
        except PlatformError as error:
            phase = Phase.UNKNOWN if error.may_have_taken_effect else Phase.FAILED
            return _Outcome(phase, reason=f"{type(error).__name__}: {error}"[:REASON_CHARACTERS_MAX])
        if (problem := body_problem(result, depth_max=RESULT_DEPTH_MAX)) is not None:
            return _Outcome(Phase.UNKNOWN, reason=f"its result cannot be told: {problem}")
        said, reason = result.get("phase", Phase.DONE.value), result.get("reason")
        if said not in FINAL_PHASES:
            return _Outcome(Phase.UNKNOWN, result, f"it ended as {said!r}")
        return _Outcome(Phase(said), result, reason if isinstance(reason, str) else None)

    async def _keep(self, command: CommandEnvelope, outcome: _Outcome) -> None:
        entry = _entry(command.idempotency_key, command.id, command.kind, outcome)
        await self._log.command_phase(command.idempotency_key, command.id, outcome.phase.value, _stored(outcome), entry)

    def _answer(self, command: CommandEnvelope, outcome: _Outcome) -> Answer:
        return Answer(self._edge, command.id, outcome.phase.value, outcome.result, outcome.reason)


def _entry(key: str, id_: str, kind: str | None, outcome: _Outcome) -> Entry:
    """The record: phases and what was read back, never the whole result, which may hold keys."""
    body: dict[str, Any] = {"id": id_, "key": key, "phase": outcome.phase.value}
    if kind is not None:
        body["kind"] = kind
    if outcome.reason is not None:
        body["reason"] = outcome.reason
    read_back = (outcome.result or {}).get("read_back")
    if isinstance(read_back, bool | int | float | str):
        body["read_back"] = read_back
    return Entry(RECORD_KIND, body)


def _stored(outcome: _Outcome) -> str:
    return msgspec.json.encode({"result": outcome.result, "reason": outcome.reason}).decode()


def _restored(phase: str, stored: str | None) -> _Outcome:
    kept: Mapping[str, Any] = {} if stored is None else msgspec.json.decode(stored)
    return _Outcome(Phase(phase), kept.get("result"), kept.get("reason"))
