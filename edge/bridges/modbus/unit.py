"""One unit on a Modbus bus: what is due when, and how it stands. Pure; the supervisor does what it says."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from edge.bridges.firmware import Running
from edge.bridges.modbus.doubt import Doubt
from edge.bridges.modbus.turns import STEP_MOST_MS, first_turn, last_turn, next_turn, place_of
from edge.bridges.modbus.wake import Wake
from edge.bridges.quarantine import Quarantine
from edge.bridges.reporter import Known
from edge.bridges.write_desk import Job
from protocols.descriptors.descriptor import Descriptor, Table
from protocols.descriptors.firmware import text_of_words
from protocols.descriptors.wires import ModbusWire
from protocols.device_model.capability import Capability
from protocols.device_model.command import Outcome
from protocols.device_model.identity import DeviceId
from protocols.modbus.frames import Read, Words
from protocols.modbus.identification import BASIC, REGULAR, REVISION, Identification, Identify
from protocols.modbus.read_planner import Block, Limits, plan, plan_by_interval

JOBS_MAX: Final = 32
REFUSED_EVERY: Final = 10
"""A block that the unit refuses is asked for again only every so many turns."""
SLOWEST_FADES: Final = 0.98
SLOW_FROM: Final = 1.5
SLOW_UNTIL: Final = 1.1
"""A unit whose pauses are stretched so much is told as slow, and until they are stretched no more than that."""
SLOW_TOLD_MS: Final = 60_000
DOUBT_TOLD_MS: Final = 60_000
DOUBT_BURST_MS: Final = 300_000
"""A doubt, or its end, is told once a minute at most, after as many as fit in so long."""
SLOW_AFTER_MS: Final = 5_000
"""So long it has to be slow before it is told: an answer or two that were lost are no news."""


class Proof(Enum):
    """Whether who answers on a unit id is who it should be."""

    YES = auto()
    SILENT = auto()
    STRANGER = auto()


@dataclass(slots=True)
class DueBlock:
    """A block and when it is to be read next (monotonic ms)."""

    block: Block
    every_ms: int
    due_ms: int
    refused: bool = False
    words: tuple[int, ...] | None = None
    """What it held when it was last read, as long as nobody has heard its points in another way since."""
    known: list[Known | None] = field(default_factory=list)
    """What the reporter knows of its points, in its edition `edition`."""
    edition: int = -1

    @property
    def names(self) -> list[tuple[Capability, str]]:
        """The names of its points."""
        return [(each.capability, each.attribute) for each in self.block.points]


@dataclass(slots=True)
class WaitingJob:
    """A write that waits for its unit."""

    job: Job
    done: "asyncio.Future[Outcome]"


@dataclass(slots=True)
class Unit:
    """A device on a bus, by its unit id."""

    device: DeviceId
    number: int
    running: Running
    quarantine: Quarantine
    blocks: list[DueBlock] = field(default_factory=list)
    jobs: deque[WaitingJob] = field(default_factory=deque)
    wake: Wake = field(default_factory=Wake)
    place: float = 0.0
    """Its place in every interval (turns.py)."""
    steps: bool = False
    """Whether it has turns of its own: its bus carries questions side by side."""
    here_ms: int = 0
    """Since when it is there to be asked (monotonic ms): it missed no turns before."""
    doubt: Doubt = field(default_factory=Doubt)
    doubt_told: bool = False
    doubt_spent_ms: int = 0
    """When all that was told of its doubt will have been paid for (monotonic ms)."""
    identified: bool = False
    identified_ms: int = 0
    """When it last proved to be its model (monotonic ms)."""
    stranger: bool = False
    version_due_ms: int = 0
    """When its firmware is to be asked for, where it tells one (monotonic ms)."""
    stretch: float = 1.0
    """By how much longer than its descriptor says it is left in peace (line_time.py)."""
    slow: bool = False
    slow_since_ms: int | None = None
    """Since when it has been otherwise than was told."""
    slow_told_ms: int | None = None
    answers: int = 0
    slowest_ms: float = 0.0

    @property
    def descriptor(self) -> Descriptor:
        """Its model, under the firmware that it runs."""
        return self.running.descriptor

    @property
    def doubtful(self) -> bool:
        """Whether nothing tells its model from another: then only what it refuses can."""
        return not self.running.descriptor.identify

    @property
    def wire(self) -> ModbusWire:
        """How it wants to be asked."""
        wire = self.running.descriptor.wire
        if not isinstance(wire, ModbusWire):
            raise TypeError(f"{self.running.model.id} is no Modbus model")
        return wire

    @classmethod
    def of(
        cls,
        device: DeviceId,
        number: int,
        descriptor: Descriptor,
        quarantine: Quarantine,
        *,
        bus: str = "",
        steps: bool = False,
    ) -> "Unit":
        """Return a unit that has everything due at once. The descriptor must be of a Modbus model."""
        if not isinstance(descriptor.wire, ModbusWire):
            raise TypeError(f"{descriptor.id} is no Modbus model")
        unit = cls(device, number, Running(descriptor), quarantine, place=place_of(bus, number), steps=steps)
        unit.plan_anew(0)
        unit.identified = not descriptor.identify
        return unit

    def plan_anew(self, due_ms: int) -> None:
        """Plan the reads that its firmware wants, all due at `due_ms`."""
        self.blocks = [
            DueBlock(block, every_ms, due_ms)
            for every_ms, blocks in plan_by_interval(self.descriptor).items()
            for block in blocks
        ]
        self.doubt.keep((point.capability, point.attribute) for point in self.descriptor.points)

    def begin(self, now_ms: int) -> None:
        """Have every block due for the first time."""
        for due in self.blocks:
            due.due_ms = first_turn(self.place, due.every_ms, now_ms=now_ms, steps=self._steps(due))

    def next_due_ms(self) -> int:
        """Return when the next read is due, no earlier than the quarantine allows."""
        due = [each.due_ms for each in self.blocks]
        if self.version_question() is not None:
            due.append(self.version_due_ms)
        return max(min(due, default=0), self.quarantine.next_try_ms)

    def version_question(self) -> Read | Identify | None:
        """Return what makes it tell the version of its firmware; None if nothing does."""
        told = self.running.model.firmware
        if told is None:
            return None
        if told.table is not None and told.register is not None:
            return Read(told.table, told.register, told.words)
        number = told.object or 0
        return Identify(BASIC) if number <= REVISION else Identify(REGULAR, number)

    def version_text(self, reply: Words | Identification) -> str | None:
        """Return the version in an answer to `version_question`."""
        told = self.running.model.firmware
        if told is None:
            return None
        if isinstance(reply, Words):
            return text_of_words(told, reply.words)
        said = reply.objects.get(told.object or 0)
        return None if said is None else said.decode("ascii", "replace").strip("\0 ")

    def most_due(self) -> DueBlock:
        """Return the block that has waited longest."""
        return min(self.blocks, key=lambda each: each.due_ms)

    def read_done(self, due: DueBlock, now_ms: int) -> None:
        """Put a block off to its next turn (turns.py). Turns missed meanwhile are not made up for."""
        turns = REFUSED_EVERY if due.refused else 1
        if self.stretch > 1:
            due.due_ms = now_ms + round(self.stretch * turns * due.every_ms)
            return
        every_ms, was_ms, steps = due.every_ms, due.due_ms, self._steps(due)
        if steps and was_ms < self.here_ms:
            was_ms = last_turn(self.place, every_ms, self.here_ms)
        due.due_ms = next_turn(self.place, every_ms, was_ms=was_ms, now_ms=now_ms, steps=steps, turns=turns)

    def _steps(self, due: DueBlock) -> bool:
        return self.steps and due.every_ms <= STEP_MOST_MS

    def questions_a_ms(self) -> float:
        """Return how many questions a millisecond its descriptor has it asked."""
        return sum(1 / (REFUSED_EVERY * each.every_ms if each.refused else each.every_ms) for each in self.blocks)

    def later_ms(self, due: DueBlock) -> int:
        """Return by how much longer than usual what was read may stand: it is asked for less often."""
        return round(2 * (self.stretch - 1) * due.every_ms)

    def slow_changed(self, now_ms: int) -> bool:
        """Say whether it is slow now and was not, or the other way round; once a minute at most."""
        slow = self.stretch >= (SLOW_UNTIL if self.slow else SLOW_FROM)
        if slow == self.slow:
            self.slow_since_ms = None
            return False
        self.slow_since_ms = now_ms if self.slow_since_ms is None else self.slow_since_ms
        if now_ms - self.slow_since_ms < SLOW_AFTER_MS:
            return False
        if self.slow_told_ms is not None and now_ms - self.slow_told_ms < SLOW_TOLD_MS:
            return False
        self.slow, self.slow_told_ms, self.slow_since_ms = slow, now_ms, None
        return True

    def doubt_changed(self, now_ms: int) -> bool:
        """Say whether to tell that it is doubted, or no longer: it was told otherwise, and not too often lately."""
        if self.doubt.doubted == self.doubt_told or self.doubt_spent_ms - now_ms > DOUBT_BURST_MS - DOUBT_TOLD_MS:
            return False
        self.doubt_told, self.doubt_spent_ms = self.doubt.doubted, max(self.doubt_spent_ms, now_ms) + DOUBT_TOLD_MS
        return True

    def forget_words(self) -> None:
        """Forget what its blocks held: a point of them was heard in another way."""
        for due in self.blocks:
            due.words = None

    def begin_again(self, now_ms: int) -> None:
        """Forget how slow it was: it was away, or is another."""
        self.here_ms = now_ms
        self.stretch, self.slow, self.slow_told_ms, self.slow_since_ms = 1.0, False, None, None
        self.answered_in(None)

    def expected_ms(self) -> int:
        """Return how long its next answer may take: as its slowest lately, or as its model says."""
        whole_ms = self.wire.answer_wait_ms
        return min(whole_ms, round(self.slowest_ms) + 1) if self.answers else whole_ms

    def answered_in(self, answer_ms: int | None) -> None:
        """Take note of how long an answer took; None: it did not come, or the line is another one now."""
        if answer_ms is None:
            self.answers, self.slowest_ms = 0, 0.0
            return
        self.answers += 1
        self.slowest_ms = max(answer_ms, self.slowest_ms * SLOWEST_FADES)

    def split(self, due: DueBlock, now_ms: int) -> bool:
        """Replace a refused block by smaller ones; False if it cannot be split.

        A register between two wanted ones may be what the unit refuses, so first without gaps, then one by one.
        """
        points = due.block.points
        limits = Limits.of(self.descriptor)
        smaller = plan(points, Limits(limits.block_most, 0, limits.unreadable))
        if len(smaller) == 1:
            smaller = [block for point in points for block in plan([point], limits)]
        if len(smaller) == 1:
            return False
        self.blocks.remove(due)
        self.blocks += [DueBlock(block, due.every_ms, now_ms) for block in smaller]
        return True

    def identification(self) -> Read | None:
        """Return the read that tells whether it is the model it should be; None if nothing does."""
        for each in self.descriptor.identify:
            if each.table is not None and each.register is not None:
                return Read(each.table, each.register, 1)
        return None

    def is_model(self, table: Table, register: int, word: int) -> bool:
        """Say whether what was read at an identification register is the model's."""
        return all(
            word in each.equals for each in self.descriptor.identify if (each.table, each.register) == (table, register)
        )
