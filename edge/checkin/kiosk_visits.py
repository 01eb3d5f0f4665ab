"""Visits at a kiosk while the house is cut off: the steps that need nobody but the house, and the key at their end.

What a visit tells is what the cloud's check-in session tells (cloud/public/checkin_schema.py), so that one page walks
through either. A policy's steps are taken as they are: what cannot be done without the cloud (a registration card that
is kept, terms that are shown, a deposit) is the front desk's, and so is the visit then. What a guest says and shows is
in memory, for as long as he stands there; of it only what the steps came to is told the cloud, and that before a key is
made: a life that ends in between leaves steps without their key, and never a key without its steps.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, tzinfo
from typing import Any, Final, Protocol

from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from edge.stays.document import StayState
from edge.stays.replica import Replica, Stay
from kit.clock import Clock
from kit.dice import Dice
from protocols.device_model.identity import RoomId, StayId
from protocols.errors import InvalidInputError, PlatformError
from protocols.policy.check_in import CheckInPolicy, StepKind
from protocols.policy.proofs import Shown, document_problem, is_in_name, name_agreement
from protocols.travel_document import zone as travel_zone
from protocols.travel_document.names import Agreement, agreement

VISIT_MS: Final = 30 * 60_000
VISITS_MOST: Final = 50
LEAD: Final = "g1"
PARTY: Final = "party"
ALONE: Final = frozenset({StepKind.IDENTITY, StepKind.DOCUMENT, StepKind.ROOM, StepKind.GRANT})
"""The steps that the house can take without the cloud."""
OFFLINE: Final = "offline"
"""Why a step is the front desk's: it cannot be done without the cloud."""
CARD_AT_DESK: Final = "card_at_desk"
CARD, PHONE = "card", "phone"
"""The forms that a key takes at a kiosk."""
DUE_MOST: Final = 100
"""Records that wait for a disk that is full; of more the oldest is given up."""
DONE, OPEN, NEEDS_STAFF = "done", "open", "needs_staff"
COME: Final = (StayState.PLANNED, StayState.READY, StayState.IN_HOUSE)
TRIES: Final = {"code": (8, 30_000), "place": (30, 10_000)}
"""(as many at once, one more after so many ms): as the cloud counts them."""
BUCKETS_MOST: Final = 1_000

Give = Callable[[StayId, str, str], Awaitable[Mapping[str, Any]]]
"""Checks a stay in and gives its key at a place, under an idempotency key (edge/app/kiosk_keys.py)."""


class Phones(Protocol):
    """Keys of our own locks, which are a phone's (edge/app/kiosk_phones.py)."""

    def opens(self, room: RoomId | None) -> bool:
        """Whether a phone's key opens a room; None: any of the house."""
        ...

    async def offer(self, stay: StayId, place: str) -> tuple[str, str]:
        """Offer a stay's key to the first phone that comes; return the offer's name, and the token by which it asks.

        Raises StoreFailedError: nothing was offered.
        """
        ...

    def taken(self, offer: str) -> bool:
        """Whether a phone has come and has the key."""
        ...


class VisitRefusedError(PlatformError):
    """A visit that does not begin, or that there is none of. `reason` is one of a few words, for the page."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class UnreadZoneError(InvalidInputError):
    """The zone did not hold. `findings` say where, not what stood there."""

    def __init__(self, findings: list[dict[str, Any]]) -> None:
        super().__init__("mrz", "does not hold; read it again at the places named in `findings`")
        self.findings = findings


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a step came out, and when (unix ms): evidence names nobody."""

    state: str
    reason: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a guest says that he is."""

    surname: str
    given_names: str
    birth_date: date | None = None
    nationality: str | None = None

    def __repr__(self) -> str:
        return "Person(...)"


@dataclass(slots=True)
class Visit:
    """One guest before one kiosk. `id` is what the page asks by; `name` is what its records are called."""

    id: str
    name: str
    place: str
    stay: StayId
    began_ms: int
    policy: CheckInPolicy
    cards: bool
    person: Person | None = None
    facts: dict[tuple[StepKind, str], Verdict] = field(default_factory=dict)
    completed: bool = False
    order: int = 0
    """How many keys were ordered and surely not written."""
    offer: str | None = None
    """The key that waits for his phone."""
    told: tuple[int, list[dict[str, Any]]] = (0, [])
    """How often its steps were told the cloud, and which the last time."""


class KioskVisits:
    """The visits at all kiosks of the house.

    Args:
        replica: The stays held true, asked anew each time.
        policy: The check-in policy in force, asked when a visit begins.
        cut_off: Whether the house has no line to its cloud now.
        cards: Whether keys are written and given at a place.
        give: See `Give`.
        phones: See `Phones`.
        note: Appends a record to lane A.
        house: (the property's id, its name, its zone's name).
        where: Its zone.
        clock: Wall time.
        dice: For the names of visits, which nobody guesses.
    """

    def __init__(
        self,
        *,
        replica: Callable[[], Replica],
        policy: Callable[[], CheckInPolicy],
        cut_off: Callable[[], bool],
        cards: Callable[[str], bool],
        give: Give,
        phones: Phones,
        note: Callable[[Mapping[str, Any]], Awaitable[None]],
        house: tuple[str, str, str],
        where: tzinfo,
        clock: Clock,
        dice: Dice,
    ) -> None:
        self._replica, self._policy, self._cut_off, self._cards = replica, policy, cut_off, cards
        self._give, self._phones, self._note, self._where = give, phones, note, where
        self._property, self._name, self._zone = house
        self._clock, self._dice = clock, dice
        self._visits: dict[str, Visit] = {}
        self._due: list[dict[str, Any]] = []
        self._keeping = asyncio.Lock()
        self._buckets: dict[tuple[str, str], tuple[float, int]] = {}

    def begin(self, place: str, *, code: str, surname: str) -> Visit:
        """Begin a visit, which ends the one before at this place.

        Raises:
            VisitRefusedError: `line_is_up`, `too_many` or `reservation_not_found`, whichever of the two is wrong.
        """
        if not self._cut_off():
            raise VisitRefusedError("line_is_up", "The house has its line: check in there.")
        code, now_ms = code.strip().casefold(), self._clock.wall_ms()
        self._forget(now_ms)
        if not (self._may_try("place", place, now_ms) and self._may_try("code", code, now_ms)):
            raise VisitRefusedError("too_many", "That was tried too often; wait a minute.")
        booked = [each for each in self._replica().all() if _is_booked(each, code, surname)]
        if not booked:
            raise VisitRefusedError("reservation_not_found", "No booking of this code and name is expected.")
        found = min(booked, key=lambda each: (each.state is StayState.IN_HOUSE, each.expected_from_ms, each.id))
        for each in [each.id for each in self._visits.values() if each.place == place]:
            self.end(each)
        if len(self._visits) >= VISITS_MOST:
            raise VisitRefusedError("too_many", "Too many kiosks are in use.")
        visit = Visit(
            f"v-{self._dice.bytes(16).hex()}",
            f"kv-{self._dice.bytes(8).hex()}",
            place,
            found.id,
            now_ms,
            self._policy(),
            cards=self._cards(place),
        )
        self._visits[visit.id] = visit
        if any(kind not in ALONE for kind in _asked(visit)):
            self._tell(visit)  # the desk's from its first screen: he may leave without a word
        return visit

    def end(self, visit: str) -> None:
        """Forget a visit; one that is none is forgotten already."""
        gone = self._visits.pop(visit, None)
        if gone is not None and gone.facts:
            self._tell(gone)

    async def keep(self) -> None:
        """Keep what the visits came to, in order. Raises StoreFailedError: it is kept with the next."""
        async with self._keeping:
            while self._due:
                body = self._due[0]
                await self._note(body)
                self._due.remove(body)

    def session(self, visit: str) -> dict[str, Any]:
        """Return how it stands, as the cloud tells of a session. Raises VisitRefusedError: no such visit."""
        return self._told(self._of(visit))

    def tell(self, visit: str, slot: str, person: Person) -> dict[str, Any]:
        """Take who the guest is. Raises VisitRefusedError, InvalidInputError (`birth_date`, `guest`)."""
        mine = self._of(visit)
        if slot != LEAD:
            raise InvalidInputError("guest", f"{slot!r:.40} is not asked for here; the front desk takes the others")
        today = self._today()
        if person.birth_date is not None and person.birth_date > today:
            raise InvalidInputError("birth_date", "is in the future")
        if person != mine.person:
            mine.facts.pop((StepKind.DOCUMENT, LEAD), None)
        mine.person = person
        agreed = name_agreement(
            self._stay(mine).guest_name or "", surname=person.surname, given_names=person.given_names
        )
        evidence = {"name": agreed.value}
        if agreed is not Agreement.SAME:
            verdict = Verdict(NEEDS_STAFF, f"name_{agreed.value}", evidence)
        elif person.birth_date is not None and _age(person.birth_date, today) < mine.policy.adult_age:
            verdict = Verdict(NEEDS_STAFF, "minor_alone", evidence)
        else:
            verdict = Verdict(DONE, None, evidence)
        self._take(mine, StepKind.IDENTITY, LEAD, verdict)
        return self._told(mine)

    def show(self, visit: str, slot: str, mrz: str) -> dict[str, Any]:
        """Take the zone of the guest's document. Raises VisitRefusedError, UnreadZoneError, InvalidInputError."""
        mine = self._of(visit)
        if slot != LEAD or mine.person is None:
            raise InvalidInputError("guest", f"{slot!r:.40} has not said who he is; tell that first")
        today, person = self._today(), mine.person
        try:
            zone = travel_zone.read(mrz, today=today)
        except InvalidInputError:  # its words name characters of the document
            raise InvalidInputError("mrz", "is no machine readable zone") from None
        if not zone.holds:
            raise UnreadZoneError(
                [
                    {
                        "field": each.field.value,
                        "line": each.line,
                        "first": each.first,
                        "last": each.last,
                        "problem": each.fault.value,
                    }
                    for each in zone.findings
                ]
            )
        if zone.expiry is None:
            raise InvalidInputError("mrz", "has no date of expiry")
        agreed = agreement((zone.surname, zone.given_names), (person.surname, person.given_names))
        born = None if zone.birth is None else zone.birth.whole()
        shown = Shown(zone.document_code, zone.issuing_state, zone.nationality, zone.expiry, born, agreed)
        problem = document_problem(
            shown, mine.policy, birth_date=person.birth_date, nationality=person.nationality, today=today
        )
        evidence = {
            "format": zone.format.value,
            "code": zone.document_code,
            "issuing_state": zone.issuing_state,
            "expires": zone.expiry.isoformat(),
            "name": agreed.value,
            "picture_kept": False,
        }
        if problem is None and born is not None and _age(born, today) < mine.policy.adult_age:
            self._take(mine, StepKind.IDENTITY, LEAD, Verdict(NEEDS_STAFF, "minor_alone", evidence))
        state = DONE if problem is None else NEEDS_STAFF
        self._take(mine, StepKind.DOCUMENT, LEAD, Verdict(state, problem, evidence))
        return self._told(mine)

    async def card(self, visit: str) -> dict[str, Any]:
        """Check the stay in and give its key on a card; asked again while it is under way, the same order answers.

        Returns:
            `{result, room}`: true, false or null as the order tells, and the room once he is in.

        Raises:
            VisitRefusedError: no such visit, or steps are open. LinkLostError, StoreFailedError: ask again.
        """
        mine = self._of(visit)
        if self._is_over(mine) or (StepKind.GRANT, mine.stay) in mine.facts:
            over = self._is_over(mine)
            return {"result": over, "room": self._stay(mine).room if over else None}
        await self._before_key(mine)
        try:
            told = await self._give(mine.stay, mine.place, f"{mine.id}.{mine.order}")
        except CheckInRefusedError as error:
            if error.reason is CheckInRefusal.NO_CARD and self._phones.opens(self._stay(mine).room):
                mine.cards = False  # no card opens this room; his phone does
                return {"result": False, "room": None}
            reason = CARD_AT_DESK if error.reason is CheckInRefusal.CARD_AT_DESK else OFFLINE
            self._take(mine, StepKind.GRANT, mine.stay, Verdict(NEEDS_STAFF, reason))
            return {"result": False, "room": None}
        result = told["result"]
        if result is True:
            mine.completed = True
        elif result is False and not told["written"]:
            mine.order += 1  # nothing was written: he may try again
        else:
            self._take(mine, StepKind.GRANT, mine.stay, Verdict(NEEDS_STAFF, CARD_AT_DESK))
        return {"result": result, "room": told.get("room") if result is True else None}

    async def phone_link(self, visit: str) -> dict[str, str]:
        """Offer the key to the guest's own phone: the first that comes with the token has it, and no other.

        Returns:
            `{stay, token}`. Asked anew, the token before is good no longer, unless a phone has come with it.

        Raises:
            VisitRefusedError: no such visit, steps are open, or no phone opens this room. StoreFailedError: ask again.
        """
        mine = self._of(visit)
        if not self._phones.opens(self._stay(mine).room):
            raise VisitRefusedError("no_phone", "No phone opens this room; the front desk makes the key.")
        if mine.offer is not None and self._phones.taken(mine.offer):
            raise VisitRefusedError("link_used", "The key is on a phone.")
        await self._before_key(mine)
        mine.offer, token = await self._phones.offer(mine.stay, mine.place)
        return {"stay": mine.stay, "token": token}

    async def _before_key(self, visit: Visit) -> None:
        """See that nothing but the key is left to do, and tell the cloud of it first."""
        following = self._next(visit, self._steps(visit))
        if following is None or following["step"] != StepKind.GRANT.value:
            raise VisitRefusedError("steps_open", "The check-in is not finished.")
        self._tell(visit)
        await self.keep()

    def _take(self, visit: Visit, kind: StepKind, subject: str, verdict: Verdict) -> None:
        visit.facts[kind, subject] = replace(verdict, at_ms=self._clock.wall_ms())

    def _tell(self, visit: Visit) -> None:
        """Have the cloud told how the steps of a visit stand, if that is news, with those that are the desk's."""
        facts = dict(visit.facts)
        for kind in _asked(visit):
            if kind not in ALONE:
                subject = LEAD if kind is StepKind.REGISTRATION_CARD else PARTY
                facts[kind, subject] = Verdict(NEEDS_STAFF, OFFLINE, at_ms=visit.began_ms)
        steps = [
            {  # with its evidence in it: a record is no deeper
                **verdict.evidence,
                "step": kind.value,
                "subject": subject,
                "state": verdict.state,
                "at_ms": verdict.at_ms,
                **({} if verdict.reason is None else {"reason": verdict.reason}),
            }
            for (kind, subject), verdict in sorted(facts.items())
        ]
        told, before = visit.told
        if not steps or steps == before:
            return
        visit.told = (told + 1, steps)
        self._due.append(
            {
                "kind": "visit",
                "id": visit.name,
                "n": told + 1,
                "by": f"kiosk:{visit.place}",
                "stay": visit.stay,
                "began_at_ms": visit.began_ms,
                "steps": steps,
            }
        )
        del self._due[:-DUE_MOST]

    def _is_over(self, visit: Visit) -> bool:
        return visit.completed or (visit.offer is not None and self._phones.taken(visit.offer))

    def _keys(self, visit: Visit, stay: Stay) -> list[str]:
        """Return the forms in which the stay's key may be had here."""
        return [*([CARD] if visit.cards else []), *([PHONE] if self._phones.opens(stay.room) else [])]

    def _told(self, visit: Visit) -> dict[str, Any]:
        stay, steps = self._stay(visit), self._steps(visit)
        waiting = [each for each in steps if each["state"] != DONE and each["step"] != StepKind.GRANT.value]
        waits = "room" if waiting and all(each["step"] == StepKind.ROOM.value for each in waiting) else None
        if any(each["state"] == NEEDS_STAFF for each in steps):
            waits = "staff"
        return {
            "id": visit.id,
            "house": self._name,
            "zone": self._zone,
            "state": "completed" if self._is_over(visit) else "open",
            "arrives_at": _iso(stay.expected_from_ms),
            "leaves_at": _iso(stay.expected_until_ms),
            "stays": [visit.stay],
            "channel": "kiosk",
            "terms": None,
            "deposit": None,
            "deposit_standing": None,
            "steps": steps,
            "next": self._next(visit, steps),
            "waits_for": waits,
            "help_asked_at": None,
            "offline": True,
            "keys": self._keys(visit, stay),
        }

    def _steps(self, visit: Visit) -> list[dict[str, Any]]:
        stay, steps = self._stay(visit), []
        for kind in _asked(visit):
            subject = stay.id if kind in (StepKind.ROOM, StepKind.GRANT) else LEAD
            if kind in (StepKind.TERMS, StepKind.PAYMENT):
                subject = PARTY
            verdict = self._verdict(visit, stay, kind, subject)
            steps.append({"step": kind.value, "subject": subject, "state": verdict.state, "reason": verdict.reason})
        return steps

    def _verdict(self, visit: Visit, stay: Stay, kind: StepKind, subject: str) -> Verdict:
        if kind not in ALONE:
            return Verdict(NEEDS_STAFF, OFFLINE)
        if kind is StepKind.ROOM:
            return Verdict(DONE if stay.room is not None and stay.state is not StayState.PLANNED else OPEN)
        if kind is StepKind.GRANT:
            if self._is_over(visit):
                return Verdict(DONE)
            if stay.state is StayState.IN_HOUSE:
                return Verdict(NEEDS_STAFF, CARD_AT_DESK)
            if not self._keys(visit, stay):
                return Verdict(NEEDS_STAFF, OFFLINE)
        return visit.facts.get((kind, subject), Verdict(OPEN))

    def _next(self, visit: Visit, steps: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Return the guest's next step; none where the visit is the front desk's whatever he does."""
        if self._is_over(visit) or any(each["reason"] in (OFFLINE, CARD_AT_DESK) for each in steps):
            return None
        own = (StepKind.IDENTITY.value, StepKind.DOCUMENT.value)
        for each in steps:
            if each["state"] == OPEN and each["step"] in own:
                return each
        last = steps[-1]
        return last if all(each["state"] == DONE for each in steps[:-1]) and last["state"] == OPEN else None

    def _of(self, visit: str) -> Visit:
        self._forget(self._clock.wall_ms())
        mine = self._visits.get(visit)
        if mine is None or self._replica().get(mine.stay) is None:
            raise VisitRefusedError("no_visit", "There is no such visit; begin anew.")
        return mine

    def _stay(self, visit: Visit) -> Stay:
        stay = self._replica().get(visit.stay)
        if stay is None:
            raise VisitRefusedError("no_visit", "The stay is not known here any more; see the front desk.")
        return stay

    def _forget(self, now_ms: int) -> None:
        for each in [each.id for each in self._visits.values() if not 0 <= now_ms - each.began_ms < VISIT_MS]:
            self.end(each)

    def _may_try(self, kind: str, name: str, now_ms: int) -> bool:
        most, leak_ms = TRIES[kind]
        filled, at_ms = self._buckets.get((kind, name), (0.0, now_ms))
        filled = max(0.0, filled - max(0, now_ms - at_ms) / leak_ms)
        if filled + 1 > most:
            return False
        if len(self._buckets) >= BUCKETS_MOST:
            self._buckets.pop(next(iter(self._buckets)))
        self._buckets.pop((kind, name), None)
        self._buckets[kind, name] = filled + 1, now_ms
        return True

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock.wall_ms() / 1000, tz=self._where).date()


def _asked(visit: Visit) -> list[StepKind]:
    """Return the kinds of steps that the policy has for this guest."""
    exempt = visit.person is not None and visit.person.nationality in visit.policy.document_exempt
    return [
        kind
        for kind in visit.policy.steps
        if not (kind is StepKind.PAYMENT and visit.policy.deposit is None)
        and not (kind is StepKind.DOCUMENT and exempt)
    ]


def _is_booked(stay: Stay, code: str, surname: str) -> bool:
    if stay.state not in COME or stay.guest_name is None or stay.reservation is None:
        return False
    said = [stay.reservation] if isinstance(stay.reservation, str) else list(stay.reservation.values())
    known = {each.strip().casefold() for each in said if each}
    return code in known and is_in_name(stay.guest_name, surname)


def _age(born: date, on: date) -> int:
    return on.year - born.year - int((on.month, on.day) < (born.month, born.day))


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat().replace("+00:00", "Z")
