"""What a kiosk did while its house was cut off, told when the line returned: steps of the stay's check-in session.

The house's record comes in the ingest's transaction and is an event of the outbox; the relay takes it into the session,
once. The session may have gone on meanwhile on the guest's phone: `late_facts.merged` settles the two. What is open
still once he has his key is the front desk's: he is in his room, and the screen has forgotten him.
"""

from dataclasses import replace
from typing import Final

import msgspec

from cloud.checkin import session_rows as rows
from cloud.checkin.judgement import Verdict
from cloud.checkin.late_facts import OFFLINE, LateFact, LateStep, counts, kept_form, merged
from cloud.checkin.session_rows import Row
from cloud.checkin.sessions import LIFE_MS, NEEDS_STAFF, STEP_DONE, By, Sessions
from cloud.checkin.steps import PARTY, StepState
from cloud.kit import outbox
from cloud.kit.database import Connection
from cloud.kit.outbox import Event
from cloud.kit.times import unix_ms
from cloud.platform.properties import Property, property_by_id
from cloud.stays.life import StayState
from cloud.stays.listing import stay_by_id
from protocols.device_model.identity import ActorKind
from protocols.policy.check_in import StepKind

TOLD: Final = "checkin.kiosk_told"
"""Outbox event: {fact}, for this module alone."""
CHANNEL: Final = "kiosk"
PMS: Final = "pms"
_OTHERS: Final = ("cloud", "kiosk:", "superseded by")
"""How the name begins of whoever is no person, in records of an edge that does not tell what kind of thing it is."""


async def told(connection: Connection, *, tenant: str, property_id: str, fact: LateFact, now_ms: int) -> None:
    """Note what a kiosk did, in the transaction of its record."""
    await outbox.append(
        connection,
        kind=TOLD,
        tenant=tenant,
        property_id=property_id,
        subject=fact.stay,
        body={"fact": msgspec.to_builtins(fact)},
        occurred_at_ms=now_ms,
    )


def checked_in_at_desk(stay: str, room: str | None, *, by: str, by_kind: str | None, at_ms: int) -> LateFact | None:
    """Return what a check-in at the building means for the session of its stay; None: another record tells of it.

    The cloud's own is settled by its route, a kiosk's has a record of its key, and the PMS gives none.

    Args:
        stay, room: Who came, and where.
        by: The name of who took him in; of a person's, what it begins with says nothing.
        by_kind: What kind of thing that is (protocols/stays/SPEC.md 5); None: an edge of before, which does not say.
        at_ms: When (unix ms).
    """
    is_person = by_kind == ActorKind.DESK if by_kind is not None else by != PMS and not by.startswith(_OTHERS)
    if not is_person:
        return None
    evidence = {"form": "desk", **({} if room is None else {"room": room})}
    step = LateStep(StepKind.GRANT, stay, StepState.DONE, None, at_ms, evidence)
    return LateFact(stay, "desk", 1, by, (step,), begins=False)


class LateSteps:
    """Takes what kiosks told into sessions. Subscribers of the outbox: in the relay's transaction, once."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def on_told(self, connection: Connection, event: Event) -> None:
        """Take a kiosk's record into the newest session of its stay; begins one where there is none."""
        fact = msgspec.convert(event.body["fact"], LateFact)
        place = await property_by_id(connection, event.property)
        if place is None:
            return
        by = By(fact.by, CHANNEL)
        row = await self._sessions.for_late(connection, place, fact.stay, by=by, begins=fact.begins)
        if row is None:
            return  # a stay that nobody here knows, or of which no session is: the ledger has the record
        known = await self._sessions.standing(connection, place, row)
        asked = {(each.kind, each.subject) for each in known.steps}
        given = False
        for step in fact.steps:
            if step.state is StepState.DONE or (step.kind, step.subject) in asked:  # none that it does not ask for
                await self._take(connection, row, step, fact)
            given |= step.kind is StepKind.GRANT and step.state is StepState.DONE
        await self._prolong(connection, place, row, now_ms=unix_ms(event.occurred_at))
        if given:
            await self._leave_to_desk(connection, place, row, fact)
        await self._sessions.end_late(connection, place, row)

    async def on_payment(self, connection: Connection, event: Event) -> None:
        """See that a deposit which was left to the desk, and is held by now, is left to it no longer."""
        place = await property_by_id(connection, event.property)
        row = None if place is None else await rows.by_id(connection, place, str(event.body["purpose"]))
        if place is None or row is None or row.state != "open":
            return
        fact = (await rows.facts_of(connection, row.id)).get((StepKind.PAYMENT, PARTY))
        known = await self._sessions.standing(connection, place, row)
        if fact is not None and fact.reason == OFFLINE and known.deposit is not None and known.deposit.held:
            done = Verdict(StepState.DONE, None, {"deposit": "held"})
            by = By("payments", "web")
            await self._sessions.settle(connection, row, StepKind.PAYMENT, PARTY, done, place=place, by=by)

    async def _prolong(self, connection: Connection, place: Property, row: Row, *, now_ms: int) -> None:
        """Give the desk a day for what was left to it, and as long as the guest is in house."""
        stay = await stay_by_id(connection, tenant=place.tenant, property_id=place.id, stay=row.stays[0])
        until_ms = now_ms + LIFE_MS
        if stay is not None and stay.state is StayState.IN_HOUSE:
            until_ms = max(until_ms, unix_ms(stay.expected_until))
        await rows.prolong(connection, row.id, until_ms)

    async def _leave_to_desk(self, connection: Connection, place: Property, row: Row, fact: LateFact) -> None:
        at_ms = max(each.at_ms for each in fact.steps)
        for step in (await self._sessions.standing(connection, place, row)).steps:
            if step.state is StepState.OPEN and step.kind not in (StepKind.GRANT, StepKind.ROOM):
                left = LateStep(step.kind, step.subject, StepState.NEEDS_STAFF, OFFLINE, at_ms)
                await self._take(connection, row, left, fact)

    async def _take(self, connection: Connection, row: Row, step: LateStep, fact: LateFact) -> None:
        kept = await rows.late(connection, row.id, step.kind, step.subject)
        new = kept_form(step, fact)
        if not counts(new, kept.kiosk):
            return
        said = step.verdict
        stands = merged(None if kept.here is None else kept.here.verdict, said)
        kiosks = rows.Answer(said, fact.by, CHANNEL, step.at_ms)
        answer = kiosks if kept.here is None or stands is said else replace(kept.here, verdict=stands)
        await rows.store_late(connection, row, step.kind, step.subject, answer, here=kept.here, kiosk=new)
        if kept.stands != (stands.state, stands.reason):
            event = NEEDS_STAFF if stands.state is StepState.NEEDS_STAFF else STEP_DONE
            body: dict[str, object] = {"step": step.kind.value, "subject": step.subject, "reason": stands.reason}
            await self._sessions.tell(connection, row, event, body)
