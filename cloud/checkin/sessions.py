"""The check-in session: one guest's way to the keys, begun anywhere and gone on with anywhere, for 24 hours.

Which steps there are is the property's signed policy, copied when the session begins: a policy pushed meanwhile changes
sessions to come, not this one. Each answer is judged (judgement.py) and kept with who gave it, where and when. What
the guest told is sealed under a key of the session; when it is no longer to be kept, the key goes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from cloud.checkin import session_rows as rows
from cloud.checkin import terms
from cloud.checkin.desk import NotAdmissibleError, Refusal
from cloud.checkin.judgement import Verdict, judge_document, judge_identity, judge_signature, read_document
from cloud.checkin.late_facts import OFFLINE, merged, verdict_in
from cloud.checkin.people import GuestFacts
from cloud.checkin.screening import NoScreening, Person, Screening
from cloud.checkin.sealed_guests import People, SealedGuests
from cloud.checkin.session_rows import Row
from cloud.checkin.steps import (
    LEAD,
    MINOR_ALONE,
    PARTY,
    PARTY_MOST,
    Fact,
    Guest,
    Party,
    Step,
    StepState,
    finished,
    is_minor,
    open_before_grant,
    standing,
)
from cloud.checkin.vendor_keys import CARD_AT_DESK, verdict_of
from cloud.kit import outbox
from cloud.kit.database import Connection, Database, lock_for_transaction
from cloud.kit.times import at, unix_ms
from cloud.payments.payments import Deposit
from cloud.platform.properties import Property
from cloud.policy.in_force import body_in_force
from cloud.privacy.sealing import Sealer, SubjectKey
from cloud.stays.life import StayState
from cloud.stays.listing import Stay, stay_by_id
from kit.dice import Dice
from protocols.door.vendor_keys import VendorKey
from protocols.errors import InvalidInputError
from protocols.policy import check_in
from protocols.policy.check_in import StepKind

LIFE_MS: Final = 24 * 3_600_000
FORGET_MOST: Final = 500
DAY_MS: Final = 24 * 3_600_000
STARTED, STEP_DONE, NEEDS_STAFF, COMPLETED = (
    "checkin.started",
    "checkin.step_completed",
    "checkin.needs_staff",
    "checkin.completed",
)
"""Outbox events; their bodies name session, stay, step and reason, never a person."""


class WallClock(Protocol):
    """What sessions need of a clock."""

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC."""
        ...


class Deposits(Protocol):
    """What sessions need of payments."""

    async def deposit(
        self, connection: Connection, place: Property, *, purpose: str, stays: Sequence[str], currency: str, minor: int
    ) -> Deposit:
        """Tell how the deposit of a session and its stays stands."""
        ...

    async def unwanted(self, connection: Connection, place: Property, *, purpose: str) -> int:
        """Note that nobody wants the open pages of a session any more."""
        ...


@dataclass(frozen=True, slots=True)
class By:
    """Who answers, and where: `channel` is web, kiosk or desk."""

    actor: str
    channel: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A session and its steps as they stand now."""

    session: Row
    steps: tuple[Step, ...]
    told: frozenset[str]
    """The slots whose guest has said who he is."""
    slots: tuple[str, ...]
    deposit: Deposit | None
    """How its deposit stands; None: none is asked for, or the house takes no payments."""

    @property
    def waits_for_room(self) -> bool:
        """True if nothing but the room is missing."""
        missing = open_before_grant(self.steps)
        return bool(missing) and all(step.kind is StepKind.ROOM for step in missing)


class Sessions:
    """Check-in sessions. Each call is one transaction on behalf of who acts."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        *,
        clock: WallClock,
        dice: Dice,
        screening: Screening | None = None,
        deposits: Deposits | None = None,
    ) -> None:
        """Seal with `sealer`, screen with `screening`; without `deposits` a deposit is for staff to take."""
        self._database, self._guests, self._clock, self._dice = database, SealedGuests(sealer), clock, dice
        self._screening, self._deposits = screening or NoScreening(), deposits

    async def begin(self, place: Property, stay_id: str, *, by: By, language: str) -> Standing:
        """Begin a session for a stay, or go on with the one that is open; asking twice begins one.

        One in which everything was done stays the stay's: who asks for his keys again is not asked who he is again.

        Raises:
            NotAdmissibleError: the stay is over, or it is too early (says from when).
        """
        now_ms = self._clock.wall_ms()
        async with self._database.transaction() as connection:
            await lock_for_transaction(connection, "checkin", place.id, stay_id)
            stay = await self._stay(connection, place, stay_id)
            row = await rows.of_stay(connection, place, stay_id, lock=True)
            if row is not None and row.state == "open" and unix_ms(row.expires_at) > now_ms:
                await rows.touch(connection, row, channel=by.channel, now_ms=now_ms)
                return await self.standing(connection, place, replace(row, channel=by.channel), stay=stay)
            if row is not None and row.state == "completed":
                known = await self.standing(connection, place, row, stay=stay)
                if finished(known.steps):
                    return known
            row = await self._begun(connection, place, stay, row, by=by, language=language)
            return await self.standing(connection, place, row, stay=stay)

    async def for_late(
        self, connection: Connection, place: Property, stay_id: str, *, by: By, begins: bool
    ) -> Row | None:
        """Return the session, locked, that a house's late word of a stay belongs to; `begins` one where none goes on.

        None: there is none, or nobody knows the stay.
        """
        await lock_for_transaction(connection, "checkin", place.id, stay_id)
        stay = await stay_by_id(connection, tenant=place.tenant, property_id=place.id, stay=stay_id)
        if stay is None:
            return None
        row = await rows.of_stay(connection, place, stay_id, lock=True)
        if row is not None and (row.state == "completed" or unix_ms(row.expires_at) > self._clock.wall_ms()):
            return row
        if not begins:
            return None
        return await self._begun(connection, place, stay, row, by=by, language="en", late=True)

    async def end_late(self, connection: Connection, place: Property, row: Row) -> None:
        """End a session that a kiosk's word has finished, or whose stay was over when it came."""
        known = await self.standing(connection, place, row)
        if row.state != "open" or await self._completed(connection, row, known):
            return
        try:
            await self._stay(connection, place, row.stays[0])
        except NotAdmissibleError:
            now_ms = self._clock.wall_ms()
            await rows.end(connection, row.id, state="expired", now_ms=now_ms, keep_until_ms=now_ms)

    async def read(self, connection: Connection, place: Property, stay: Stay) -> Standing | None:
        """Return the newest session of a stay; None: there was none."""
        row = await rows.of_stay(connection, place, stay.id)
        return None if row is None else await self.standing(connection, place, row, stay=stay)

    async def wants_deposit(self, connection: Connection, session: str) -> bool:
        """Tell whether a session is open and nobody has done its payment in the guest's place."""
        fact = (await rows.facts_of(connection, session)).get((StepKind.PAYMENT, PARTY))
        return (fact is None or fact.reason == OFFLINE) and await rows.is_open(connection, session)

    async def add_stay(self, place: Property, stay_id: str, other: str, *, by: By) -> Standing:
        """Take another room of the same party into the session.

        Raises:
            InvalidInputError: no such stay, over, or part of another open session.
        """
        async with self._database.transaction() as connection:
            for each in sorted({stay_id, other}):
                await lock_for_transaction(connection, "checkin", place.id, each)
            row = await self._open(connection, place, stay_id)
            if other in row.stays:
                return await self.standing(connection, place, row)
            stay = await stay_by_id(connection, tenant=place.tenant, property_id=place.id, stay=other)
            if stay is None or stay.state in (StayState.LEFT, StayState.VOID):
                raise InvalidInputError("stay", "is no stay of this house that can be checked in")
            busy = await rows.of_stay(connection, place, other)
            if busy is not None and busy.state == "open" and unix_ms(busy.expires_at) > self._clock.wall_ms():
                raise InvalidInputError("stay", "has a session of its own; end that one first")
            stays = (*row.stays, other)
            party = min(await rows.party_booked(connection, place, stays), PARTY_MOST)
            await rows.widen(connection, row.id, stays, party)
            await rows.touch(connection, row, channel=by.channel, now_ms=self._clock.wall_ms())
            return await self.standing(connection, place, await self._open(connection, place, stay_id))

    async def tell_guest(self, place: Property, stay_id: str, slot: str, facts: GuestFacts, *, by: By) -> Standing:
        """Take who one of the party is. The same again changes nothing; another answer undoes what followed from it.

        Raises:
            NoKeysError: nothing personal can be kept here.
            InvalidInputError: the slot is not one of the party's.
        """
        async with self._database.transaction() as connection:
            row = await self._open(connection, place, stay_id)
            stay = await self._stay(connection, place, row.stays[0])
            key = await self._key(connection, row)
            before = (await self._guests.all(connection, row, key=key)).get(slot)
            if slot not in {f"g{n}" for n in range(1, PARTY_MOST + 1)}:
                raise InvalidInputError("guest", f"want g1 to g{PARTY_MOST}")
            today = self._today(place)
            if facts.birth_date is not None and facts.birth_date > today:
                raise InvalidInputError("birth_date", "is in the future")
            if before is not None and before[0] != facts:
                for kind in (StepKind.IDENTITY, StepKind.DOCUMENT, StepKind.REGISTRATION_CARD):
                    await rows.undo(connection, row, kind, slot)
            keeps = before is not None and before[0] == facts
            await self._guests.keep(connection, row, slot, facts, key, with_document=keeps)
            verdict = judge_identity(
                facts, slot=slot, booked_as=stay.guest_name, hits=list(self._screening.screen(facts.person))
            )
            arrives = stay.expected_from.astimezone(ZoneInfo(place.zone)).date()
            if slot == LEAD and verdict.state is StepState.DONE and is_minor(row.policy, facts.birth_date, on=arrives):
                verdict = Verdict(StepState.NEEDS_STAFF, MINOR_ALONE, verdict.evidence)
            return await self.settle(
                connection, row, StepKind.IDENTITY, slot, verdict, place=place, by=by, stay=stay, key=key
            )

    async def show_document(self, place: Property, stay_id: str, slot: str, mrz: str, *, by: By) -> Standing:
        """Take the zone of a guest's document, typed or read elsewhere; never a picture.

        Raises:
            UnreadableZoneError, InvalidInputError: nothing of it was kept; read it again.
        """
        async with self._database.transaction() as connection:
            row = await self._open(connection, place, stay_id)
            key, facts = await self._told(connection, row, slot)
            today = self._today(place)
            document = read_document(mrz, today=today)
            who = Person(document.surname, document.given_names, document.birth_date, document.nationality)
            verdict = judge_document(
                document, facts, policy=row.policy, today=today, hits=list(self._screening.screen(who))
            )
            await self._guests.keep_document(connection, row, slot, document, key)
            await rows.undo(connection, row, StepKind.REGISTRATION_CARD, slot)
            return await self.settle(connection, row, StepKind.DOCUMENT, slot, verdict, place=place, by=by, key=key)

    async def sign_card(self, place: Property, stay_id: str, slot: str, signed_as: str, *, by: By) -> Standing:
        """Take a guest's signature under his card. Raises InvalidInputError: not his name, or not enough was told."""
        async with self._database.transaction() as connection:
            row = await self._open(connection, place, stay_id)
            key, facts = await self._told(connection, row, slot)
            verdict = judge_signature(signed_as, facts)
            return await self.settle(
                connection, row, StepKind.REGISTRATION_CARD, slot, verdict, place=place, by=by, key=key
            )

    async def accept_terms(
        self,
        place: Property,
        stay_id: str,
        version: str,
        *,
        sha256: str | None = None,
        language: str | None = None,
        by: By,
    ) -> Standing:
        """Take the party's consent to the terms of the policy's version, named by the text that was shown, in which
        language.

        Raises:
            InvalidInputError: to another version, or to another text of it.
        """
        async with self._database.transaction() as connection:
            row = await self._open(connection, place, stay_id)
            if version != row.policy.terms:
                raise InvalidInputError("version", "is not the version of the terms that this session asks for")
            texts = await terms.of_version(connection, place, version)
            verdict = Verdict(StepState.DONE, None, terms.accepted(texts, version, sha256, language))
            return await self.settle(connection, row, StepKind.TERMS, PARTY, verdict, place=place, by=by)

    async def waive(
        self, place: Property, stay_id: str, kind: StepKind, subject: str, *, reason: str, by: By
    ) -> Standing:
        """Let staff do, or let go, a step in the guest's place.

        Raises:
            InvalidInputError: there is no such step here, or it is the house's own: the room, the keys.
        """
        async with self._database.transaction() as connection:
            row = await self._open(connection, place, stay_id)
            known = await self.standing(connection, place, row)
            if kind in check_in.LAST or (kind, subject) not in {(step.kind, step.subject) for step in known.steps}:
                raise InvalidInputError("step", f"{kind.value} of {subject!r:.40} is none that staff can do here")
            if kind is StepKind.PAYMENT and self._deposits is not None:
                await self._deposits.unwanted(connection, place, purpose=row.id)  # or the guest would pay twice
            return await self.settle(
                connection, row, kind, subject, Verdict(StepState.WAIVED, reason), place=place, by=by
            )

    async def ask_help(self, place: Property, stay_id: str, reason: str, *, by: By) -> Standing:
        """Hand the session to staff: whoever takes it over goes on where the guest is."""
        async with self._database.transaction() as connection:
            row = await self._open(connection, place, stay_id)
            await rows.note_help(connection, row.id, reason, now_ms=self._clock.wall_ms())
            await self.tell(connection, row, NEEDS_STAFF, {"step": None, "subject": None, "reason": "guest_asks"})
            await rows.touch(connection, row, channel=by.channel, now_ms=self._clock.wall_ms())
            return await self.standing(connection, place, await self._open(connection, place, stay_id))

    async def before_keys(self, place: Property, stay_id: str, *, by: By) -> None:
        """See that a guest has done all that comes before the keys; begins a session where there is none.

        Raises:
            NotAdmissibleError: STEPS_OPEN, or why no session can begin.
        """
        known = await self.begin(place, stay_id, by=by, language="en")
        missing = open_before_grant(known.steps)
        if any(step.kind is not StepKind.ROOM for step in missing):
            first = next(step for step in missing if step.kind is not StepKind.ROOM)
            raise NotAdmissibleError(
                Refusal.STEPS_OPEN,
                "Please see the front desk to finish your check-in."
                if first.state is StepState.NEEDS_STAFF
                else f"Check-in is not finished: {first.kind.value.replace('_', ' ')} is still to be done.",
            )

    async def keys_given(self, place: Property, stay_id: str, *, by: By, keys: Sequence[VendorKey] = ()) -> None:
        """Note that the building has issued the keys of a stay; ends the session when they were the last.

        `keys` are those in foreign lock systems. One that its vendor has not made yet leaves the step open: asking the
        building again tells. A card to be written, or a key that was refused, hands it to staff.
        """
        if (verdict := verdict_of(keys)) is None:
            return
        async with self._database.transaction() as connection:
            row = await rows.of_stay(connection, place, stay_id, lock=True)
            if row is None or row.state != "open":
                return
            known = await self.settle(connection, row, StepKind.GRANT, stay_id, verdict, place=place, by=by)
            granted = all(step.state in (StepState.DONE, StepState.WAIVED) for step in known.steps
                          if step.kind is StepKind.GRANT)  # fmt: skip
            if granted and by.channel == "desk":
                await self._completed(connection, known.session, known, whatever=True)

    async def card_lost(self, place: Property, stay_id: str, *, by: By) -> None:
        """Hand the keys of a stay to staff: a card was written, or may have been, and nobody knows that he has it."""
        async with self._database.transaction() as connection:
            row = await rows.of_stay(connection, place, stay_id, lock=True)
            if row is not None and row.state == "open":
                verdict = Verdict(StepState.NEEDS_STAFF, CARD_AT_DESK, {"kiosk": "card_lost"})
                await self.settle(connection, row, StepKind.GRANT, stay_id, verdict, place=place, by=by)

    async def _begun(
        self,
        connection: Connection,
        place: Property,
        stay: Stay,
        before: Row | None,
        *,
        by: By,
        language: str,
        late: bool = False,
    ) -> Row:
        """Begin a session after the one before; `late`: of a guest who has come already. Raises NotAdmissibleError."""
        now_ms = self._clock.wall_ms()
        if before is not None and before.state == "open":
            await rows.end(connection, before.id, state="expired", now_ms=now_ms, keep_until_ms=now_ms)
        if before is not None and self._deposits is not None:
            await self._deposits.unwanted(connection, place, purpose=before.id)  # its page would be a second one
        held = await body_in_force(connection, tenant=place.tenant, property_id=place.id, kind=check_in.KIND)
        policy = check_in.DEFAULT if held is None else check_in.parse(held[1])
        opens_ms = unix_ms(stay.expected_from) - policy.opens_before_minutes * 60_000
        if stay.state is not StayState.IN_HOUSE and now_ms < opens_ms and not late:
            raise NotAdmissibleError(
                Refusal.TOO_EARLY, "Check-in for this stay is not open yet.", available_from_ms=opens_ms
            )
        await rows.insert(
            connection,
            place,
            {
                "id": f"ci-{self._dice.bytes(12).hex()}",
                "stays": [stay.id],
                "party": min(await rows.party_booked(connection, place, (stay.id,)), PARTY_MOST),
                "policy_version": 0 if held is None else held[0],
                "policy": check_in.encode(policy),
                "channel": by.channel,
                "language": language,
                "by": by.actor,
                "now": at(now_ms),
                "expires": at(now_ms + LIFE_MS),
            },
        )
        row = await self._open(connection, place, stay.id)
        await self.tell(connection, row, STARTED, {"channel": by.channel, "policy_version": row.policy_version})
        return row

    async def _completed(self, connection: Connection, row: Row, known: Standing, *, whatever: bool = False) -> bool:
        """End a session in which nothing is left to do, or `whatever` is; tell whether it did."""
        if row.state != "open" or not (whatever or finished(known.steps)):
            return False
        now_ms = self._clock.wall_ms()
        keep_ms = now_ms + row.policy.keep_days * DAY_MS
        await rows.end(connection, row.id, state="completed", now_ms=now_ms, keep_until_ms=keep_ms)
        await self.tell(connection, row, COMPLETED, {"steps_open": len(open_before_grant(known.steps))})
        return True

    async def people(self, place: Property, stay_id: str) -> tuple[Row, People] | None:
        """Return who the guests of a stay's newest session are, by slot. None: no session, or it was forgotten."""
        async with self._database.transaction() as connection:
            row = await rows.of_stay(connection, place, stay_id)
            if row is None or row.subject_key is None:
                return None
            return row, await self._guests.all(connection, row)

    async def evidence(self, place: Property, stay_id: str) -> list[dict[str, Any]]:
        """Return the stored steps of a stay's newest session with actor, channel, time and evidence."""
        async with self._database.transaction() as connection:
            row = await rows.of_stay(connection, place, stay_id)
            return [] if row is None else await rows.step_rows(connection, row.id)

    async def sweep(self) -> int:
        """End sessions whose time is over and forget what is no longer to be kept; return how many were forgotten."""
        async with self._database.transaction() as connection:
            return await rows.expire_and_forget(connection, now_ms=self._clock.wall_ms(), most=FORGET_MOST)

    async def renew_keys(self, tenant: str) -> int:
        """Seal some sessions' keys under the tenant's data key in use; return how many. Call until it returns 0."""
        async with self._database.transaction() as connection:
            return await self._guests.renew(connection, tenant, now_ms=self._clock.wall_ms())

    async def settle(
        self,
        connection: Connection,
        row: Row,
        kind: StepKind,
        subject: str,
        verdict: Verdict,
        *,
        place: Property,
        by: By,
        stay: Stay | None = None,
        key: SubjectKey | None = None,
    ) -> Standing:
        """Keep an answer, beside what a kiosk may have told of the step; ends the session if it was the last.

        `stay`, `key`: see `standing`.
        """
        now_ms = self._clock.wall_ms()
        before = (await rows.facts_of(connection, row.id)).get((kind, subject))
        answer, here = rows.Answer(verdict, by.actor, by.channel, now_ms), None
        if before is not None and before.kiosk is not None:
            here, told = answer, verdict_in(before.kiosk)
            stands = merged(verdict, told)
            answer = replace(answer, verdict=stands)
            if stands is told:
                answer = rows.Answer(told, before.kiosk["by"], "kiosk", before.kiosk["at_ms"])
        stands = answer.verdict
        kept = await rows.store(
            connection, row, kind, subject, stands, actor=answer.actor, channel=answer.channel, now_ms=answer.at_ms,
            here=here,
        )  # fmt: skip
        await rows.touch(connection, row, channel=by.channel, now_ms=now_ms)
        if kept and (before is None or (before.state, before.reason) != (stands.state, stands.reason)):
            event = NEEDS_STAFF if stands.state is StepState.NEEDS_STAFF else STEP_DONE
            await self.tell(connection, row, event, {"step": kind.value, "subject": subject, "reason": stands.reason})
        known = await self.standing(connection, place, row, stay=stay, key=key)
        if await self._completed(connection, row, known):
            return replace(known, session=replace(row, state="completed"))
        return known

    async def tell(self, connection: Connection, row: Row, kind: str, body: dict[str, object]) -> None:
        """Tell whoever follows check-ins of something in a session."""
        await outbox.append(
            connection,
            kind=kind,
            tenant=row.tenant,
            property_id=row.property,
            subject=row.stays[0],
            body={"session": row.id, "stays": list(row.stays), **body},
            occurred_at_ms=self._clock.wall_ms(),
        )

    async def standing(
        self,
        connection: Connection,
        place: Property,
        row: Row,
        *,
        stay: Stay | None = None,
        key: SubjectKey | None = None,
    ) -> Standing:
        """Return a session with its steps as they stand now.

        What the caller's transaction has already read is not read again: `stay`, one of the session's, and `key`, its.
        """
        facts, sealed = await rows.facts_and_guests(connection, row.id)
        guests: dict[str, Guest] = {}
        for slot, (told, document) in (await self._guests.opened(connection, row, sealed, key)).items():
            # a document that was read says it better than the guest
            born = (document.birth_date if document else None) or told.birth_date
            guests[slot] = Guest(slot, born, told.nationality)
        stays: list[Stay] = []
        for each in row.stays:
            known = stay if stay is not None and stay.id == each else None
            known = known or await stay_by_id(connection, tenant=place.tenant, property_id=place.id, stay=each)
            if known is not None:
                stays.append(known)
        wanted, deposit = row.policy.deposit, None
        if wanted is not None and self._deposits is not None:
            deposit = await self._deposits.deposit(
                connection, place, purpose=row.id, stays=row.stays, currency=wanted.currency, minor=wanted.minor
            )
            fact = facts.get((StepKind.PAYMENT, PARTY))
            if deposit.held and (fact is None or fact.reason == OFFLINE):
                facts[StepKind.PAYMENT, PARTY] = Fact(StepState.DONE)
        arrives = min((each.expected_from for each in stays), default=row.began_at)
        party = Party(row.stays, row.party, guests, arrives.astimezone(ZoneInfo(place.zone)).date())
        ready = frozenset(
            each.id for each in stays if each.room is not None and each.state in (StayState.READY, StayState.IN_HOUSE)
        )
        steps = standing(row.policy, party, facts, ready=ready)
        return Standing(row, tuple(steps), frozenset(guests), tuple(party.slots()), deposit)

    async def _stay(self, connection: Connection, place: Property, stay_id: str) -> Stay:
        stay = await stay_by_id(connection, tenant=place.tenant, property_id=place.id, stay=stay_id)
        if stay is None or stay.state in (StayState.LEFT, StayState.VOID):
            raise NotAdmissibleError(Refusal.ENDED, "This stay has ended.")
        if self._clock.wall_ms() >= unix_ms(stay.expected_until):
            raise NotAdmissibleError(Refusal.ENDED, "This stay was to end before now; please ask the front desk.")
        return stay

    async def _open(self, connection: Connection, place: Property, stay_id: str) -> Row:
        row = await rows.of_stay(connection, place, stay_id, lock=True)
        if row is None or row.state != "open" or unix_ms(row.expires_at) <= self._clock.wall_ms():
            raise NotAdmissibleError(Refusal.NO_SESSION, "There is no open check-in for this stay; begin one.")
        return row

    async def _told(self, connection: Connection, row: Row, slot: str) -> tuple[SubjectKey, GuestFacts]:
        key = await self._key(connection, row)
        return key, await self._guests.one(connection, row, slot, key)

    async def _key(self, connection: Connection, row: Row) -> SubjectKey:
        return await self._guests.key(connection, row, makes_at_ms=self._clock.wall_ms())

    def _today(self, place: Property) -> date:
        return at(self._clock.wall_ms()).astimezone(ZoneInfo(place.zone)).date()


__all__ = ["LEAD", "By", "Deposits", "Sessions", "Standing"]
