"""Keeps the replica: documents applied whole, durable before they count; decisions taken from the log.

A thin shell around replica.py, which decides. The order is: validate, store, then hold true; a refusal or a failing
disk leaves what was held.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from edge.stays.document import VERSION_MOST, DocumentStay, StaysDocument, StayState, parse
from edge.stays.replica import Decision, Replica, Stay, Until
from protocols.device_model.identity import ActorKind, PropertyId, RoomId, StayId
from protocols.errors import InvalidInputError

NAME: Final = "stays"
CHECKED_IN: Final = "checked_in"
CHECKED_OUT: Final = "checked_out"
UNTIL: Final = "stay_until"
"""The kind of record, on lane A, that decides when a stay ends (protocols/stays/SPEC.md 4)."""
UNTILS: Final = "stay_untils"
"""Under which name what was decided so is stored."""


class StaysStore(Protocol):
    """Where the replica survives a restart."""

    async def save_stays(self, version: int, document: bytes, *, settled: Sequence[StayId]) -> None:
        """Replace the document and drop settled decisions, in one transaction. Raises StoreFailedError."""
        ...


class StayRecords(Protocol):
    """The record log, as far as stays write to it."""

    async def desired(self, body: Mapping[str, Any]) -> None:
        """Append a `desired` record to lane A; returns once it is durable. Raises StoreFailedError."""
        ...


class StaysKeeper:
    """The one holder of the replica.

    Args:
        ours: The property whose documents are taken.
        store: Where it survives.
        records: Where applied documents are reported.
        changed: Called after every change, to make rooms and departures look again.
    """

    def __init__(
        self, *, ours: PropertyId, store: StaysStore, records: StayRecords, changed: Callable[[], None]
    ) -> None:
        self._ours, self._store, self._records, self._changed = ours, store, records, changed
        self._replica = Replica()
        self._by_room: dict[RoomId, list[Stay]] = {}
        self._applying = asyncio.Lock()

    @property
    def replica(self) -> Replica:
        """What is held true now."""
        return self._replica

    def in_room(self, room: RoomId) -> list[Stay]:
        """Return the stays of one room, by id."""
        return self._by_room.get(room, [])

    def restore(
        self, version: int, document: bytes | None, decisions: Sequence[Decision], untils: Sequence[Until] = ()
    ) -> None:
        """Take up what the store held; call before anything else."""
        replica = Replica()
        if document is not None:
            replica = replica.offered(version, msgspec.json.decode(document, type=StaysDocument))
        for decision in decisions:
            replica = replica.decided(decision)
        for until in untils:
            replica = replica.ends(until)
        self._hold(replica)

    async def apply(self, version: int, body: object) -> None:
        """Apply a desired document that the link has verified, and report it on lane A.

        Raises:
            UnsupportedVersionError: a document format that we do not know.
            InvalidInputError: malformed, older than the one held, or for another property; nothing changed.
            StoreFailedError: the disk refused; nothing changed.
        """
        if not 1 <= version <= VERSION_MOST:
            raise InvalidInputError("stays document: version", f"{version} is outside 1..{VERSION_MOST}")
        document = parse(body, ours=self._ours)
        async with self._applying:
            before = self._replica
            after = before.offered(version, document)
            if after is not before:
                settled = [stay for stay in before.decisions if stay not in after.decisions]
                await self._store.save_stays(version, msgspec.json.encode(document), settled=settled)
                self._hold(self._replica.offered(version, document))  # decisions may have come meanwhile
            held = self._replica.held_against_document()
            await self._records.desired(
                {
                    "name": NAME,
                    "version": version,
                    "stays": len(document.stays),
                    "held": [str(each.stay) for each in held[:50]],
                    "held_count": len(held),
                }
            )

    def decided(self, decision: Decision) -> None:
        """Take a local decision; whoever moves the log's cursor stores it."""
        after = self._replica.decided(decision)
        if after is not self._replica:
            self._hold(after)

    def ends(self, until: Until) -> bytes:
        """Take a word on a stay's end; returns all of them as they are to be stored by whoever moves the cursor."""
        after = self._replica.ends(until)
        if after is not self._replica:
            self._hold(after)
        return msgspec.json.encode(list(after.untils.values()))

    def _hold(self, replica: Replica) -> None:
        self._replica = replica
        self._by_room = replica.by_room()
        self._changed()


def record_body(
    stay: DocumentStay,
    state: StayState,
    room: RoomId,
    *,
    at_ms: int,
    by: str,
    by_kind: ActorKind,
    code: str | None = None,
) -> dict[str, Any]:
    """Return the body of the lane A `stay` record that makes a decision (protocols/stays/SPEC.md 5); no name of a guest
    is in it.
    """
    return {
        "stay": stay.id,
        "room": room,
        "state": CHECKED_IN if state is StayState.IN_HOUSE else CHECKED_OUT,
        "by": by,
        "by_kind": by_kind.value,
        "at_ms": at_ms,
        "expected_from_ms": stay.expected_from_ms,
        "expected_until_ms": stay.expected_until_ms,
        "stay_version": stay.version,
        **({} if code is None else {"code": code}),
    }


def decision_from(body: Mapping[str, Any], known: DocumentStay | None) -> Decision:
    """Return the decision that a `stay` record made; `known` is the stay as the replica holds it, if it does."""
    state = StayState.IN_HOUSE if body["state"] == CHECKED_IN else StayState.LEFT
    stay = known or DocumentStay(
        id=body["stay"],
        room=body["room"],
        state=StayState.READY,
        guest_name=None,
        expected_from_ms=body["expected_from_ms"],
        expected_until_ms=body["expected_until_ms"],
        reservation=None,
        version=body["stay_version"],
    )
    return Decision(stay, state, RoomId(body["room"]), body["at_ms"], body["by"], body.get("code"))


def until_body(until: Until) -> dict[str, Any]:
    """Return the body of the lane A `stay_until` record."""
    return {
        "stay": until.stay,
        "until_ms": until.until_ms,
        "told_ms": until.told_ms,
        "n": until.n,
        "by": until.by,
        "at_ms": until.at_ms,
    }


def until_from(body: Mapping[str, Any]) -> Until:
    """Return the word on a stay's end that a `stay_until` record holds."""
    return Until(StayId(body["stay"]), body["until_ms"], body["told_ms"], body["n"], body["by"], body["at_ms"])
