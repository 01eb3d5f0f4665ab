"""Cards and the authority's report, from what sessions keep: read when asked for, kept nowhere else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from cloud.checkin import alloggiati
from cloud.checkin.people import DocumentFacts, GuestFacts
from cloud.checkin.registration_card import Card, Companion
from cloud.checkin.sessions import Sessions, WallClock
from cloud.checkin.steps import LEAD, Guest, Party, StepState, signs
from cloud.kit.database import Database, fetch_all
from cloud.kit.times import at
from cloud.platform.properties import Property
from cloud.stays.listing import Stay
from protocols.policy.check_in import CheckInPolicy, StepKind

REPORT_WITHIN: Final = timedelta(hours=24)
ARRIVALS_MOST: Final = 2_000


@dataclass(frozen=True, slots=True)
class DayReport:
    """One day's report to the authority; `due_at` counts from the day's first arrival, None without one."""

    reporter: str
    report: alloggiati.Report
    due_at: datetime | None
    unknown: tuple[str, ...]
    """Stays that arrived and of whose guests nothing is kept here."""


class Registrations:
    """Makes cards and reports."""

    def __init__(
        self, database: Database, sessions: Sessions, *, clock: WallClock, states: Mapping[str, str] | None = None
    ) -> None:
        """`states`: the authority's code of each state, by alpha-3; without it nobody can be reported."""
        self._database, self._sessions, self._clock, self._states = database, sessions, clock, states or {}

    async def card(self, place: Property, stay: Stay, slot: str) -> Card | None:
        """Return a guest's card; None: he has said nothing, it was forgotten, or he signs none of his own."""
        known = await self._sessions.people(place, stay.id)
        if known is None or slot not in known[1]:
            return None
        row, people = known
        zone = ZoneInfo(place.zone)
        guests = {each: Guest(each, _born(*told), told[0].nationality) for each, told in people.items()}
        arrives = stay.expected_from.astimezone(zone).date()
        party = Party(row.stays, row.party, guests, arrives)
        if not signs(row.policy, party, slot):
            return None
        evidence = await self._sessions.evidence(place, stay.id)
        signed = next(
            (
                f"Confirmed {_by(each, zone)}"
                for each in evidence
                if each["kind"] == "registration_card" and each["subject"] == slot and each["state"] == "done"
            ),
            "",
        )
        others = tuple(
            Companion(*told) for each, told in people.items() if slot == LEAD and not signs(row.policy, party, each)
        )
        return Card(
            house=place.name,
            reservation=stay.number or stay.external_id,
            room=stay.room,
            arrives=arrives,
            leaves=stay.expected_until.astimezone(zone).date(),
            facts=people[slot][0],
            document=people[slot][1],
            companions=others,
            signed=signed,
            terms=_terms(row.policy, evidence, zone),
            made_at=at(self._clock.wall_ms()),
        )

    async def day(self, place: Property, day: date) -> DayReport:
        """Return the report of everybody who moved in on a day, by the property's own midnight."""
        zone = ZoneInfo(place.zone)
        begins = datetime(day.year, day.month, day.day, tzinfo=zone)
        ends = datetime.combine(day + timedelta(days=1), begins.timetz())
        async with self._database.transaction() as connection:
            arrived = await fetch_all(
                connection,
                """SELECT id, actual_in, expected_until FROM stays.stay
                    WHERE tenant = %s AND property = %s AND actual_in >= %s AND actual_in < %s
                    ORDER BY actual_in, id LIMIT %s""",
                [place.tenant, place.id, begins, ends, ARRIVALS_MOST],
            )
        parties: list[alloggiati.Arrival] = []
        unknown: list[str] = []
        seen: set[str] = set()
        for stay in arrived:
            known = await self._sessions.people(place, stay["id"])
            if known is None or not known[1]:
                unknown.append(stay["id"])
                continue
            if known[0].id in seen:
                continue  # another room of the same party
            seen.add(known[0].id)
            ordered = sorted(known[1].items(), key=lambda each: int(each[0][1:]))
            leaves = stay["expected_until"].astimezone(zone).date()
            parties.append(
                alloggiati.Arrival(
                    stay["id"], day, leaves, [(slot, facts, document) for slot, (facts, document) in ordered]
                )
            )
        due = arrived[0]["actual_in"] + REPORT_WITHIN if arrived else None
        return DayReport(alloggiati.NAME, alloggiati.report(parties, states=self._states), due, tuple(unknown))


def _by(step: Mapping[str, Any], zone: ZoneInfo) -> str:
    when = step["at"].astimezone(zone).strftime("%Y-%m-%d %H:%M %Z")
    return f"by {step['actor']} on {when} ({step['channel']})"


def _terms(policy: CheckInPolicy, evidence: Sequence[Mapping[str, Any]], zone: ZoneInfo) -> str:
    """Return which terms were accepted, in words; empty: the policy asks for none."""
    if StepKind.TERMS not in policy.steps:
        return ""
    step = next((each for each in evidence if each["kind"] == StepKind.TERMS.value), None)
    if step is None:
        return f"Version {policy.terms}: not accepted yet"
    if step["state"] != StepState.DONE.value:
        return f"Version {policy.terms}: left to staff {_by(step, zone)}"
    told = step["evidence"]
    read = repr(told["language"]) if "language" in told else " or ".join(map(repr, told.get("languages", ())))
    shown = f", as shown in {read}, SHA-256 {told['sha256']}" if "sha256" in told else ", on paper"
    return f"Version {told['version']}{shown}. Accepted {_by(step, zone)}"


def _born(facts: GuestFacts, document: DocumentFacts | None) -> date | None:
    return facts.birth_date or (None if document is None else document.birth_date)
