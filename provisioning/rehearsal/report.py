"""The report of a story: every step with its time, every claim with what was observed from outside.

`build/demo/report.json` is written after each step, so that a run that dies leaves what it knew.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kit.clock import Clock
from protocols.errors import PlatformError
from provisioning.rehearsal.patience import passes

POLL_S = 0.05
T = TypeVar("T")


class StoryFailedError(PlatformError):
    """A claim did not hold. Names the step, the claim and what was observed instead."""


@dataclass(slots=True)
class Claim:
    """One thing that had to be true, and what was seen."""

    claim: str
    held: bool
    observed: object
    after_s: float


@dataclass(slots=True)
class Step:
    """One step of the story."""

    number: int
    name: str
    began_at_ms: int
    seconds: float = 0.0
    ok: bool = False
    claims: list[Claim] = field(default_factory=list)


class Report:
    """Collects steps and figures and keeps the file up to date."""

    def __init__(self, path: Path, clock: Clock, *, property_name: str, narrate: Callable[[str], None]) -> None:
        self._path, self._clock, self._narrate = path, clock, narrate
        self._property = property_name
        self._began_at_ms, self._began_ms = clock.wall_ms(), clock.now_ms()
        self.steps: list[Step] = []
        self.figures: dict[str, Any] = {}
        self.failure: str | None = None

    @asynccontextmanager
    async def step(self, number: int, name: str) -> AsyncIterator[Step]:
        """Run one step; whatever fails inside it, foreseen or not, ends the story with the step's name."""
        step = Step(number, name, self._clock.wall_ms())
        self.steps.append(step)
        began_ms = self._clock.now_ms()
        self._narrate(f"{number}. {name}")
        try:
            yield step
            step.ok = True
        except Exception as error:  # a defect of the story, too, is said with the step that it spoiled
            self.failure = f"step {number} ({name}): {said(error)}"
            raise StoryFailedError(self.failure) from error
        finally:
            step.seconds = (self._clock.now_ms() - began_ms) / 1000
            self.write()
        self._narrate(f"   {len(step.claims)} claims held in {step.seconds:.1f} s")

    def claim(self, claim: str, held: bool, observed: object) -> None:
        """State a claim of the current step with what was observed; raise StoryFailedError if it does not hold."""
        step = self.steps[-1]
        step.claims.append(Claim(claim, held, observed, (self._clock.wall_ms() - step.began_at_ms) / 1000))
        if not held:
            raise StoryFailedError(f"{claim}; observed: {observed!r}")
        self._narrate(f"     {claim}")

    def note(self, line: str) -> None:
        """Say how far a long step is."""
        self._narrate(f"     {line}")

    async def eventually(self, claim: str, within_s: float, probe: Callable[[], Awaitable[tuple[bool, T]]]) -> T:
        """Poll `probe` until its first value is true, state the claim with its second, and return that.

        A probe that could not ask, because a program is down or says "later", means "not yet"; the last such error is
        quoted if the time passes.

        Raises:
            StoryFailedError: the time passed.
            PlatformError: the probe was refused for good.
        """
        deadline_ms = self._clock.now_ms() + int(within_s * 1000)
        while True:
            try:
                held, observed = await probe()
            except PlatformError as error:
                if not passes(error):
                    raise
                if self._clock.now_ms() >= deadline_ms:
                    self.claim(claim, held=False, observed=str(error))
            else:
                if held or self._clock.now_ms() >= deadline_ms:
                    self.claim(claim, held, observed)
                    return observed
            await asyncio.sleep(POLL_S)

    @property
    def ok(self) -> bool:
        """Whether every step so far held."""
        return self.failure is None and all(step.ok for step in self.steps)

    def write(self) -> None:
        """Write the report as it stands now, whole or not at all."""
        document = {
            "property": self._property,
            "ok": self.ok,
            "failure": self.failure,
            "began_at_ms": self._began_at_ms,
            "seconds": (self._clock.now_ms() - self._began_ms) / 1000,
            "steps": [asdict(step) for step in self.steps],
            "figures": self.figures,
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".fresh")
        fresh.write_text(json.dumps(document, indent=2, default=str) + "\n")
        fresh.replace(self._path)


def said(error: Exception) -> str:
    """Return an error in one line: ours in its own words, another with its kind; of a group, the first of ours."""
    if isinstance(error, ExceptionGroup):
        ours, others = error.split(PlatformError)
        first: Exception | None = ours or others
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        return said(first) if first is not None else repr(error)
    return str(error) if isinstance(error, PlatformError) else f"unforeseen, {type(error).__name__}: {error}"
