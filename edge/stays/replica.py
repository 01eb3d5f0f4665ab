"""What the edge holds true about its stays: the cloud's document joined with what was decided here.

Source of truth: docs/decisions/0021-local-decisions-outlive-documents.md. The rule in one line: a stay only
moves forward (planned, ready, in house, left), whoever said so; of a document and a decision the one further on wins,
however often and in whatever order either arrives. A stay's end that was decided here stands until a document says that
the cloud has heard of it (docs/decisions/0143). No clock takes part. This module is pure; edge/app keeps it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from edge.stays.document import DocumentStay, StaysDocument, StayState
from protocols.device_model.identity import RoomId, StayId
from protocols.errors import InvalidInputError

PROGRESS: Final = {StayState.PLANNED: 0, StayState.READY: 1, StayState.IN_HOUSE: 2, StayState.LEFT: 3}
# A stay that left here is remembered this long beyond its end, by the documents' own time: until then a document
# made before the cloud heard of the departure could bring the guest back to life.
FORGET_LEFT_AFTER_MS: Final = 7 * 24 * 3_600_000
BY_PMS: Final = "pms"
"""Who decided, where it was the PMS in the house: told apart by this name alone, so nobody else may have it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided here about a stay: checked in (`IN_HOUSE`) or out (`LEFT`), and by whom.

    `stay` is what the replica held at that moment, so that a guest in house outlives a document that forgot them.
    """

    stay: DocumentStay
    state: StayState
    room: RoomId
    at_ms: int
    by: str
    code: str | None = None
    """Of a check-in by a code for a phone: which code it was (edge/app/kiosk_phones.py)."""


@dataclass(frozen=True, slots=True)
class Until:
    """The end of a stay in house as it was decided here, by whom: the building's `n`th word on it (unix ms)."""

    stay: StayId
    until_ms: int
    told_ms: int
    """The end that the document named at that moment, or the stay came in with."""
    n: int
    by: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Stay:
    """One stay as this edge holds it: the join of document and decision."""

    id: StayId
    room: RoomId | None
    state: StayState
    guest_name: str | None
    expected_from_ms: int
    expected_until_ms: int
    reservation: str | dict[str, str | None] | None
    version: int
    decided_by: str | None  # None: as the document says
    share: str | None = None
    until_by: str | None = None
    """Who here decided the end, None: as told."""

    def shares_with(self, other: "Stay") -> bool:
        """Tell whether two stays have a room together."""
        return self.share is not None and self.share == other.share and self.room == other.room


@dataclass(frozen=True, slots=True)
class Held:
    """A stay on which a local decision stood against a document, and what the document wanted."""

    stay: StayId
    document_state: StayState | None
    document_room: RoomId | None


@dataclass(frozen=True, slots=True)
class Replica:
    """Immutable: every change is a new replica, so that a refused document changes nothing by construction."""

    document_version: int = 0
    as_of_ms: int = 0
    documents: Mapping[StayId, DocumentStay] = field(default_factory=dict)
    decisions: Mapping[StayId, Decision] = field(default_factory=dict)
    untils: Mapping[StayId, Until] = field(default_factory=dict)
    """Those that the cloud has heard too: what the PMS in the house says is held against them."""

    def offered(self, version: int, document: StaysDocument) -> "Replica":
        """Return the replica once the document was applied: all of it.

        Raises:
            InvalidInputError: an older version, or the version held now saying something else.
        """
        if version < self.document_version:
            raise InvalidInputError("stays document", f"version {version} is older than {self.document_version}, held")
        documents = {each.stay_id: each for each in document.stays}
        if version == self.document_version and self.document_version > 0:
            if documents != self.documents or document.as_of_ms != self.as_of_ms:
                raise InvalidInputError("stays document", f"version {version} is held already and says something else")
            return self
        decisions = {
            stay: decision
            for stay, decision in self.decisions.items()
            if not _settled(decision, documents.get(stay), document.as_of_ms)
        }
        untils = {
            stay: until
            for stay, until in self.untils.items()
            if not _is_past(until, documents.get(stay), decisions.get(stay), document.as_of_ms)
        }
        return Replica(version, document.as_of_ms, documents, decisions, untils)

    def decided(self, decision: Decision) -> "Replica":
        """Return the replica with one more local decision; a decision that goes backwards changes nothing.

        A guest in house who is taken in again, in another room, has moved: decisions come in the log's order.
        """
        stay = decision.stay.stay_id
        before = self.decisions.get(stay)
        if before is not None:
            moves = before.state is decision.state is StayState.IN_HOUSE and before.room != decision.room
            if PROGRESS[before.state] >= PROGRESS[decision.state] and not moves:
                return self
        return replace(self, decisions={**self.decisions, stay: decision})

    def ends(self, until: Until) -> "Replica":
        """Return the replica with one more word on a stay's end; one that is not newer than ours changes nothing."""
        before = self.untils.get(until.stay)
        if before is not None and before.n >= until.n:
            return self
        return replace(self, untils={**self.untils, until.stay: until})

    def next_until(self, stay: StayId, until_ms: int, *, by: str, at_ms: int) -> Until:
        """Return the next word on the end of a stay that is held."""
        document, before = self.documents.get(stay), self.untils.get(stay)
        told = document or self.decisions[stay].stay
        n = max(_heard(document), 0 if before is None else before.n) + 1
        return Until(stay, until_ms, told.expected_until_ms, n, by, at_ms)

    def get(self, stay: StayId) -> Stay | None:
        """Return the stay as it is held true here, or None if nobody has told us about it."""
        joined, until = self._joined(stay), self.untils.get(stay)
        if joined is None or until is None or until.n <= _heard(self.documents.get(stay)):
            return joined
        return replace(joined, expected_until_ms=until.until_ms, until_by=until.by)

    def _joined(self, stay: StayId) -> Stay | None:
        document, decision = self.documents.get(stay), self.decisions.get(stay)
        if decision is None:
            return None if document is None else _as_documented(document)
        if document is None:
            return _as_decided(decision, decision.stay)
        if document.state is StayState.LEFT and decision.state is not StayState.LEFT:
            return _as_documented(document)  # checked out elsewhere: further on than our check-in
        return _as_decided(decision, document)

    def all(self) -> list[Stay]:
        """Return every stay held, by id."""
        held = (self.get(stay) for stay in sorted({*self.documents, *self.decisions}))
        return [stay for stay in held if stay is not None]

    def by_room(self) -> dict[RoomId, list[Stay]]:
        """Return the stays of each room, by id; stays without a room are left out."""
        rooms: dict[RoomId, list[Stay]] = {}
        for stay in self.all():
            if stay.room is not None:
                rooms.setdefault(stay.room, []).append(stay)
        return rooms

    def held_against_document(self) -> list[Held]:
        """Return where a local decision stands against the document held, for the report to the cloud."""
        found = []
        for stay in sorted(self.decisions):
            document, ours = self.documents.get(stay), self.get(stay)
            if ours is None or ours.decided_by is None:
                continue
            if document is None or document.state is not ours.state or document.room_id != ours.room:
                found.append(
                    Held(
                        stay,
                        None if document is None else document.state,
                        None if document is None else document.room_id,
                    )
                )
        return found


def _as_documented(document: DocumentStay) -> Stay:
    return Stay(
        document.stay_id,
        document.room_id,
        document.state,
        document.guest_name,
        document.expected_from_ms,
        document.expected_until_ms,
        document.reservation,
        document.version,
        decided_by=None,
        share=None if document.share is msgspec.UNSET else document.share,
    )


def _as_decided(decision: Decision, said: DocumentStay) -> Stay:
    """The decision rules state and room (the grant opens that door); the rest is as fresh as the document."""
    return replace(_as_documented(said), state=decision.state, room=decision.room, decided_by=decision.by)


def _heard(document: DocumentStay | None) -> int:
    """Return which word of ours on a stay's end the cloud has heard, 0: none."""
    return 0 if document is None or document.until_n is msgspec.UNSET else document.until_n


def _is_past(until: Until, document: DocumentStay | None, decision: Decision | None, as_of_ms: int) -> bool:
    """Say whether a word on a stay's end is of no use any more, so that their list stays bounded."""
    if document is not None:
        return document.state in (StayState.LEFT, StayState.VOID) and decision is None
    return decision is None and as_of_ms > max(until.until_ms, until.told_ms, until.at_ms) + FORGET_LEFT_AFTER_MS


def _settled(decision: Decision, document: DocumentStay | None, as_of_ms: int) -> bool:
    """Say whether a decision has done its work, so that the list of decisions stays bounded."""
    if decision.state is not StayState.LEFT:
        return document is not None and document.state is StayState.LEFT
    if document is not None:
        return document.state in (StayState.LEFT, StayState.VOID)
    return as_of_ms > max(decision.stay.expected_until_ms, decision.at_ms) + FORGET_LEFT_AFTER_MS
