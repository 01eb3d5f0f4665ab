"""What is still to be done before a guest gets keys: a function of the policy, who comes, and what was done.

Source of truth: protocols/policy/SPEC.md section 4. Pure: dates and facts in, steps out. A party has slots, `g1` to
`gN`; `g1` is the lead guest, who answers for the others. A slot nobody has filled in yet is a guest like any other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final

from protocols.policy.check_in import CheckInPolicy, StepKind

LEAD: Final = "g1"
PARTY: Final = "party"
PARTY_MOST: Final = 20
MINOR_ALONE: Final = "minor_alone"
"""Why staff looks: who answers for the party is not of age."""


class StepState(StrEnum):
    """Where a step stands."""

    OPEN = "open"
    NEEDS_STAFF = "needs_staff"
    DONE = "done"
    WAIVED = "waived"
    """Done by staff in the guest's place, or let go, with a reason."""


FINISHED: Final = frozenset({StepState.DONE, StepState.WAIVED})


@dataclass(frozen=True, slots=True)
class Guest:
    """One of the party, as far as steps depend on it."""

    slot: str
    birth_date: date | None
    nationality: str | None

    def age(self, on: date) -> int | None:
        """Return the full years on a day, None if the date of birth was not told."""
        return None if self.birth_date is None else age_of(self.birth_date, on)


def age_of(born: date, on: date) -> int:
    """Return the full years on a day of who was born on another."""
    return max(on.year - born.year - int((on.month, on.day) < (born.month, born.day)), 0)


def is_minor(policy: CheckInPolicy, born: date | None, *, on: date) -> bool:
    """Tell whether somebody is known to be below the policy's adult age on a day."""
    return born is not None and age_of(born, on) < policy.adult_age


@dataclass(frozen=True, slots=True)
class Fact:
    """What is stored of a step; `kiosk`: what a kiosk told of it after its house was cut off (late_facts.py)."""

    state: StepState
    reason: str | None = None
    kiosk: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step as it stands: `subject` is a slot, a stay, or `party`."""

    kind: StepKind
    subject: str
    state: StepState
    reason: str | None


@dataclass(frozen=True, slots=True)
class Party:
    """Who comes, to which stays, on which day. `size` counts those who were booked and not named yet."""

    stays: tuple[str, ...]
    size: int
    guests: Mapping[str, Guest]
    arrives: date

    def slots(self) -> list[str]:
        """Return every slot, `g1` first."""
        most = max([self.size, *(int(slot[1:]) for slot in self.guests)])
        return [f"g{n}" for n in range(1, most + 1)]


def standing(
    policy: CheckInPolicy, party: Party, facts: Mapping[tuple[StepKind, str], Fact], *, ready: frozenset[str]
) -> list[Step]:
    """Return every step of a party in the policy's order, as it stands.

    Args:
        policy: The one the session began with.
        party: Who comes.
        facts: By kind and subject, what was done or handed to staff.
        ready: The stays whose room can be entered; `room` is done by the house alone.
    """
    steps: list[Step] = []
    for kind in policy.steps:
        for subject in _subjects(kind, policy, party):
            if kind is StepKind.ROOM:
                done = subject in ready
                steps.append(Step(kind, subject, StepState.DONE if done else StepState.OPEN, None))
                continue
            fact = facts.get((kind, subject))
            steps.append(Step(kind, subject, fact.state if fact else StepState.OPEN, fact.reason if fact else None))
    if (alone := _minor_alone(policy, party)) is not None:
        steps = [
            Step(step.kind, step.subject, StepState.NEEDS_STAFF, alone)
            if (step.kind, step.subject) == (StepKind.IDENTITY, LEAD) and step.state is not StepState.WAIVED
            else step
            for step in steps
        ]
    return steps


def open_before_grant(steps: Sequence[Step]) -> list[Step]:
    """Return what keeps the building from being asked for keys."""
    return [step for step in steps if step.kind is not StepKind.GRANT and step.state not in FINISHED]


def finished(steps: Sequence[Step]) -> bool:
    """Tell whether nothing is left to do."""
    return all(step.state in FINISHED for step in steps)


def signs(policy: CheckInPolicy, party: Party, slot: str) -> bool:
    """Tell whether a guest signs a card of his own: from `sign_age`, or if nobody knows his age; the lead always."""
    guest = party.guests.get(slot)
    age = None if guest is None else guest.age(party.arrives)
    return slot == LEAD or age is None or age >= policy.sign_age


def _subjects(kind: StepKind, policy: CheckInPolicy, party: Party) -> list[str]:
    match kind:
        case StepKind.IDENTITY:
            return party.slots()
        case StepKind.DOCUMENT:
            return [slot for slot in party.slots() if not _exempt(policy, party.guests.get(slot))]
        case StepKind.REGISTRATION_CARD:
            return [slot for slot in party.slots() if signs(policy, party, slot)]
        case StepKind.TERMS:
            return [PARTY]
        case StepKind.PAYMENT:
            return [PARTY] if policy.deposit is not None else []
        case StepKind.ROOM | StepKind.GRANT:
            return list(party.stays)


def _exempt(policy: CheckInPolicy, guest: Guest | None) -> bool:
    return guest is not None and guest.nationality in policy.document_exempt


def _minor_alone(policy: CheckInPolicy, party: Party) -> str | None:
    lead = party.guests.get(LEAD)
    return MINOR_ALONE if lead is not None and is_minor(policy, lead.birth_date, on=party.arrives) else None
