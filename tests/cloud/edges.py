"""An edge as the cloud meets it: takes a command once a key, answers what it was told to, or not at all."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cloud.fleet.commands import CommandResult
from protocols.device_model.command import Phase
from protocols.errors import LinkLostError, ReplyTimeoutError

Obey = Callable[[str, dict[str, Any]], CommandResult]


def done(result: dict[str, Any] | None = None) -> CommandResult:
    return CommandResult(Phase.DONE, result, None)


@dataclass
class FakeEdges:
    """Every edge there is."""

    obey: Obey = lambda _kind, _args: done()
    lost: bool = False
    silent: bool = False
    sent: list[tuple[str, str, dict[str, Any], str]] = field(default_factory=list)
    effects: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    documents: list[tuple[str, str, int, dict[str, Any]]] = field(default_factory=list)
    _answers: dict[str, CommandResult] = field(default_factory=dict)

    async def send(
        self, edge: str, kind: str, args: dict[str, Any], idempotency_key: str, deadline_ms: int, *, command_id: str
    ) -> CommandResult:
        if self.lost:
            raise LinkLostError("the edge is away")
        self.sent.append((edge, kind, args, idempotency_key))
        if idempotency_key not in self._answers:
            self.effects.append((kind, args))
            self._answers[idempotency_key] = self.obey(kind, args)
        if self.silent:
            raise ReplyTimeoutError(f"no answer to {command_id} until {deadline_ms}")
        return self._answers[idempotency_key]

    def forget(self, idempotency_key: str) -> None:
        """Let go of a result, as an edge does after an hour or a restart; that it was done stays known."""
        self._answers[idempotency_key] = CommandResult(Phase.DONE, None, "its result is no longer held")

    async def publish(self, edge: str, name: str, version: int, body: dict[str, Any]) -> None:
        if self.lost:
            raise LinkLostError("the broker is away")
        self.documents.append((edge, name, version, body))
