"""Commands from the cloud, obeyed at most once and never late, and answered even when asked twice.

Source of truth: protocols/link/SPEC.md section 9.3; guarantee G13; docs/decisions/0102. What stands under an
idempotency key is stored before the effect may begin. A key that is found `executing` at a start was cut off by a
crash: it becomes `unknown`. An outcome is held for a bounded time, counted between what the cloud signed; a result that
may be a key of a door never touches the disk.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from edge.link.ports import LinkLog, OnCommand
from edge.log.record_log import Entry
from kit.clock import Clock, ClockQuality
from protocols.device_model.command import FINAL_PHASES, Phase
from protocols.device_model.identity import EdgeId
from protocols.errors import PlatformError
from protocols.link.documents import OUTCOME_HELD_MS, REFUSAL_HELD_MS, RESULT_HELD_MS, CommandEnvelope
from protocols.link.messages import RESULT_DEPTH_MAX, Answer
from protocols.link.record import body_problem

RECORD_KIND: Final = "command"
REASON_CHARACTERS_MAX: Final = 300
INTERRUPTED: Final = "the edge was restarted while it was executing"
LET_GO: Final = "it was done, once, and its result is no longer held: ask again under another idempotency key"
RESULTS_BYTES_MOST: Final = 4 * 1024 * 1024
"""Of results in memory, encoded; the oldest give way."""
_KEPT_MEMBERS: Final = ("phase", "read_back", "reason")
"""What of a result may be on disk, as in its record; everything else may be a key."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    phase: Phase
    result: dict[str, Any] | None = None
    reason: str | None = None
    issued_at_ms: int = 0
    """`iat` of the command that was judged."""
    withheld: bool = False
    """There was more to the result than is on disk."""

    @property
    def held_ms(self) -> int:
        """How much later a command under the same key must have been issued to be a new one."""
        if self.phase in (Phase.FAILED, Phase.EXPIRED):
            return REFUSAL_HELD_MS
        return RESULT_HELD_MS if self.phase is Phase.DONE and self.withheld else OUTCOME_HELD_MS


class _Results:
    """Results of the last hour, whole, in memory alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: OrderedDict[str, tuple[int, bytes]] = OrderedDict()
        self._bytes = 0

    def put(self, key: str, result: Mapping[str, Any]) -> None:
        """Hold a result; what is too old, or too much, goes."""
        self.drop(key)
        encoded = msgspec.json.encode(result)
        self._held[key] = self._clock.now_ms(), encoded
        self._bytes += len(encoded)
        self.forget()

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the result under a key as long as it is held."""
        self.forget()
        held = self._held.get(key)
        return None if held is None else msgspec.json.decode(held[1], type=dict[str, Any])

    def drop(self, key: str) -> None:
        """Let go of one."""
        if (held := self._held.pop(key, None)) is not None:
            self._bytes -= len(held[1])

    def forget(self) -> None:
        """Let go of what is older than an hour, and of the oldest beyond the room there is."""
        oldest_ms = self._clock.now_ms() - RESULT_HELD_MS
        while self._held:
            key, (at_ms, _) = next(iter(self._held.items()))
            if at_ms > oldest_ms and self._bytes <= RESULTS_BYTES_MOST:
                return
            self.drop(key)


class Commands:
    """Judges, runs and remembers commands; the uplink brings them and carries the answers away."""

    def __init__(self, *, edge: EdgeId, log: LinkLog, clock: Clock, on_command: OnCommand) -> None:
        self._edge, self._log, self._clock, self._on_command = edge, log, clock, on_command
        self._running: set[str] = set()
        self._results = _Results(clock)

    async def close_interrupted(self) -> None:
        """At the start: what a crash cut off is unknown from now on, and no whole result is left on disk."""
        now_ms = self._clock.wall_ms()
        await self._log.rewrite_results(lambda stored: _of_today(stored, now_ms))
        for key, id_ in await self._log.commands_in(Phase.EXECUTING.value):
            known = await self._log.command_known(key)
            issued_at_ms = now_ms if known is None else _restored(known.phase, known.result).issued_at_ms
            outcome = _Outcome(Phase.UNKNOWN, reason=INTERRUPTED, issued_at_ms=issued_at_ms)
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
        self._results.forget()
        known = await self._held(command)
        if known is not None:
            return self._answer(command, known)
        if (refusal := self._refusal(command)) is not None:
            return self._answer(command, await self._keep(command, refusal))
        await self._keep(command, _Outcome(Phase.EXECUTING))
        outcome = await self._run(command)
        return self._answer(command, await self._keep(command, outcome))

    async def _held(self, command: CommandEnvelope) -> _Outcome | None:
        """Return what became of this key before, None for a new one and for one that is as new."""
        key = command.idempotency_key
        known = await self._log.command_known(key)
        if known is None:
            return None
        outcome = _restored(known.phase, known.result)
        if command.issued_at_ms - outcome.issued_at_ms >= outcome.held_ms:
            self._results.drop(key)
            return None
        if outcome.phase is Phase.EXECUTING:  # nobody runs it: its outcome could not be stored
            outcome = replace(outcome, phase=Phase.UNKNOWN, reason="the log failed while it was executing")
            entry = _entry(key, known.id, command.kind, outcome)
            await self._log.command_phase(key, known.id, outcome.phase.value, _stored(outcome), entry)
        if not outcome.withheld:
            return outcome
        result = self._results.get(key)
        gone = result is None and outcome.phase is Phase.DONE
        return replace(outcome, result=result, reason=LET_GO if gone else outcome.reason)

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

    async def _keep(self, command: CommandEnvelope, outcome: _Outcome) -> _Outcome:
        """Store an outcome; what is more than its phase and what was read back stays in memory."""
        key, result = command.idempotency_key, outcome.result or {}
        withheld = not result.keys() <= set(_KEPT_MEMBERS)
        outcome = replace(outcome, issued_at_ms=command.issued_at_ms, withheld=withheld)
        entry = _entry(key, command.id, command.kind, outcome)
        await self._log.command_phase(key, command.id, outcome.phase.value, _stored(outcome), entry)
        if withheld:
            self._results.put(key, result)
        return outcome

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
    result = None if outcome.withheld else outcome.result
    return _written(outcome.issued_at_ms, result, outcome.reason, withheld=outcome.withheld)


def _written(issued_at_ms: int, result: Mapping[str, Any] | None, reason: str | None, *, withheld: bool) -> str:
    kept = {"issued_at_ms": issued_at_ms, "result": result, "reason": reason, "withheld": withheld}
    return msgspec.json.encode(kept).decode()


def _of_today(stored: str | None, now_ms: int) -> str | None:
    """Return what is stored of an outcome as it is stored today: a build of before kept results whole, for ever."""
    try:
        kept: dict[str, Any] = {} if stored is None else msgspec.json.decode(stored, type=dict[str, Any])
    except msgspec.DecodeError:
        kept = {}
    if "issued_at_ms" in kept:
        return stored
    result, reason = kept.get("result"), kept.get("reason")
    withheld = isinstance(result, dict) and not result.keys() <= set(_KEPT_MEMBERS)
    return _written(now_ms, None if withheld else result, reason, withheld=withheld)


def _restored(phase: str, stored: str | None) -> _Outcome:
    kept: Mapping[str, Any] = {} if stored is None else msgspec.json.decode(stored)
    return _Outcome(
        Phase(phase),
        kept.get("result"),
        kept.get("reason"),
        kept.get("issued_at_ms", 0),
        kept.get("withheld", False),
    )
