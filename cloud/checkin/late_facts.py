"""What a kiosk told of a check-in after its house was cut off, and the rule that settles it with what is here. Pure.

The rule is written in docs/decisions/0138. It gives the same whichever of the two comes first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cloud.checkin.judgement import REVIEW, Verdict
from cloud.checkin.steps import StepState
from protocols.policy.check_in import StepKind

OFFLINE: Final = "offline"
"""Why a step is the desk's: it could not be done while the house was cut off."""
DIFFERS: Final = "kiosk_differs"
"""Why a step is the desk's: another document was shown at the kiosk than here."""
_SAME: Final = ("format", "code", "issuing_state", "expires")


@dataclass(frozen=True, slots=True)
class LateStep:
    """A step as a kiosk told it. `subject` as in steps.py; times are unix ms."""

    kind: StepKind
    subject: str
    state: StepState
    reason: str | None
    at_ms: int
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """What it came to."""
        return Verdict(self.state, self.reason, self.evidence)


@dataclass(frozen=True, slots=True)
class LateFact:
    """A record of a kiosk: `source` names the visit or the order, `n` which word of it this is; the later counts.

    `begins`: it is the stay's check-in, and has a session made where none goes on.
    """

    stay: str
    source: str
    n: int
    by: str
    steps: tuple[LateStep, ...]
    begins: bool = True


def kept_form(step: LateStep, fact: LateFact) -> dict[str, Any]:
    """Return a step as it is kept beside what is known here."""
    return {
        "source": fact.source,
        "n": fact.n,
        "by": fact.by,
        "state": step.state.value,
        "reason": step.reason,
        "at_ms": step.at_ms,
        "evidence": step.evidence,
    }


def verdict_in(kept: Mapping[str, Any]) -> Verdict:
    """Return what a kept step came to."""
    return Verdict(StepState(kept["state"]), kept["reason"], dict(kept["evidence"]))


def merged(here: Verdict | None, kiosk: Verdict) -> Verdict:
    """Return how a step stands of which something is known here and something from a kiosk.

    In this order: what staff decided, or is to review; two documents that differ, both taken: staff; what was done,
    here or there; what stands here.
    """
    if here is None:
        return kiosk
    if here.state is StepState.WAIVED or (here.state is StepState.NEEDS_STAFF and here.reason == REVIEW):
        return here
    if here.state is kiosk.state is StepState.DONE:
        both = [name for name in _SAME if name in here.evidence and name in kiosk.evidence]
        differs = any(here.evidence[name] != kiosk.evidence[name] for name in both)
        return Verdict(StepState.NEEDS_STAFF, DIFFERS, here.evidence) if differs else here
    return kiosk if kiosk.state is StepState.DONE else here


def counts(new: Mapping[str, Any], kept: Mapping[str, Any] | None) -> bool:
    """Tell whether what a kiosk says of a step takes the place of what one said before.

    Of one visit the later word; of two, the one that has it done, and what a guest did before what nobody could.
    """
    if kept is None:
        return True
    if new["source"] == kept["source"]:
        return bool(new["n"] > kept["n"])
    return _rank(new) > _rank(kept)


def _rank(said: Mapping[str, Any]) -> int:
    return 2 if said["state"] == StepState.DONE else 0 if said["reason"] == OFFLINE else 1
