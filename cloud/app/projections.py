"""What the modules make of the edges' records: one projection a record kind, in the ingest transaction.

A body is converted to a typed fact here or refused as a whole (PeerProtocolError): the ingest then notes the
record as refused and the lane goes on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from cloud.access import doors
from cloud.alerts import alerts
from cloud.checkin import late_steps
from cloud.checkin.late_facts import LateFact, LateStep
from cloud.checkin.steps import StepState
from cloud.checkin.vendor_keys import CARD_AT_DESK
from cloud.fleet import commands
from cloud.kit.database import Connection
from cloud.kit.notify import notify_live
from cloud.platform.properties import property_by_edge
from cloud.policy import releases
from cloud.stays import document, rooms, stays
from cloud.stays.ending import EndWord, Promise
from cloud.stays.life import EdgeState
from cloud.telemetry.ports import BatchContext, EdgeOwner, Projection
from protocols.device_model.command import Phase
from protocols.device_model.identity import EdgeId
from protocols.errors import PeerProtocolError
from protocols.link.record import TIME_MS_MAX, Record
from protocols.policy.check_in import StepKind

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_AtMs = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
_Word = Annotated[str, msgspec.Meta(max_length=128)]
_TimeMs = Annotated[int, msgspec.Meta(ge=0, le=TIME_MS_MAX)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

T = TypeVar("T")


class _Access(msgspec.Struct, frozen=True):
    door: _Name
    event: _Name
    room: _Name | None = None
    lock: _Name | None = None
    lock_seq: _Count | None = None
    at_ms: _AtMs | None = None
    time_quality: _Name | None = None
    reason: Annotated[str, msgspec.Meta(max_length=500)] | None = None
    grant: _Name | None = None
    stay: _Name | None = None
    generation: _Count | None = None
    battery: float | None = None
    event_id: _Name | None = None


class _Stay(msgspec.Struct, frozen=True):
    stay: _Name
    state: Literal["checked_in", "checked_out"]
    room: _Name | None = None
    by: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    by_kind: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    at_ms: _AtMs | None = None


class _EndWord(msgspec.Struct, frozen=True):
    stay: _Name
    until_ms: _TimeMs
    told_ms: _TimeMs
    n: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    by: Annotated[str, msgspec.Meta(max_length=200)]
    at_ms: _TimeMs


class _Command(msgspec.Struct, frozen=True):
    id: _Name
    phase: Phase
    result: dict[str, Any] | None = None
    error: str | None = None
    reason: str | None = None


class _Desired(msgspec.Struct, frozen=True):
    name: _Name
    version: _Count
    applied: bool = True
    reason: Annotated[str, msgspec.Meta(max_length=80)] | None = None


class _Alert(msgspec.Struct, frozen=True):
    alert: _Name
    state: Literal["raised", "cleared"]
    number: _Count
    raised_at_ms: _AtMs
    room: _Name | None = None
    device: _Name | None = None
    cleared_at_ms: _AtMs | None = None
    detail: Annotated[str, msgspec.Meta(max_length=500)] = ""


class _Standing(msgspec.Struct, frozen=True):
    standing: Annotated[frozenset[_Count], msgspec.Meta(max_length=10_000)]


class _Room(msgspec.Struct, frozen=True):
    room: _Name
    mode: _Name
    cause: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class _VisitStep(msgspec.Struct, frozen=True):
    step: StepKind
    subject: _Name
    state: Literal["done", "needs_staff"]
    at_ms: _TimeMs
    reason: Annotated[str, msgspec.Meta(max_length=80)] | None = None
    evidence: Annotated[dict[_Name, _Word | bool | int | None], msgspec.Meta(max_length=20)] = {}


class _Visit(msgspec.Struct, frozen=True):
    id: _Name
    n: _Count
    by: _Name
    stay: _Name
    steps: Annotated[list[_VisitStep], msgspec.Meta(max_length=50)]


class _Key(msgspec.Struct, frozen=True):
    id: _Name
    by: _Name
    stay: _Name
    phase: Phase
    room: _Name | None = None
    written: bool = False


class _Phone(msgspec.Struct, frozen=True):
    id: _Name
    by: _Name
    stay: _Name
    room: _Name
    at_ms: _TimeMs


def _body(record: Record, kind: type[T]) -> T:
    try:
        return msgspec.convert(record.body, kind)
    except msgspec.ValidationError as error:
        raise PeerProtocolError(f"{record.kind} record {record.lane}/{record.seq}: {error}") from error


async def owner_of(connection: Connection, edge: EdgeId) -> EdgeOwner | None:
    """Tell fan-in whose an edge is."""
    found = await property_by_edge(connection, edge)
    return None if found is None else EdgeOwner(found.tenant, found.id)


async def take_access(connection: Connection, context: BatchContext, records: Sequence[Record]) -> None:
    """Door events."""
    facts = []
    for record in records:
        body = _body(record, _Access)
        facts.append(
            doors.AccessFact(
                incarnation=context.incarnation,
                seq=record.seq,
                door=body.door,
                room=body.room,
                lock=body.lock,
                lock_seq=body.lock_seq,
                at_ms=body.at_ms if body.at_ms is not None else record.device_at_ms or record.edge_at_ms,
                time_quality=body.time_quality,
                event=body.event,
                reason=body.reason,
                grant=body.grant,
                stay=body.stay,
                generation=body.generation,
                battery=body.battery,
                event_id=body.event_id,
            )
        )
    await doors.apply_facts(
        connection,
        tenant=context.tenant,
        property_id=context.property,
        edge=context.edge,
        facts=facts,
        now_ms=context.received_ms,
    )


async def take_stays(connection: Connection, context: BatchContext, records: Sequence[Record]) -> None:
    """Check-ins and check-outs the edge did."""
    facts = []
    kinds: list[str | None] = []
    for record in records:
        body = _body(record, _Stay)
        kinds.append(body.by_kind)
        facts.append(
            stays.EdgeFact(
                stay=body.stay,
                state=EdgeState(body.state),
                room=body.room,
                by=body.by,
                at_ms=record.edge_at_ms if body.at_ms is None else body.at_ms,
                incarnation=context.incarnation,
                seq=record.seq,
            )
        )
    place = stays.Place(context.tenant, context.property, context.edge)
    await stays.apply_edge_facts(connection, place, facts, now_ms=context.received_ms)
    for each, kind in zip(facts, kinds, strict=True):
        if each.state is EdgeState.CHECKED_IN:
            by = each.by or ""
            fact = late_steps.checked_in_at_desk(each.stay, each.room, by=by, by_kind=kind, at_ms=each.at_ms)
            if fact is not None:
                await late_steps.told(
                    connection,
                    tenant=context.tenant,
                    property_id=context.property,
                    fact=fact,
                    now_ms=context.received_ms,
                )


async def take_stay_ends(connection: Connection, context: BatchContext, records: Sequence[Record]) -> None:
    """Stays that the building made longer or shorter."""
    bodies = [_body(record, _EndWord) for record in records]
    words = [EndWord(each.stay, each.n, Promise(each.until_ms, each.told_ms), each.by, each.at_ms) for each in bodies]
    place = stays.Place(context.tenant, context.property, context.edge)
    await stays.apply_end_words(connection, place, words, now_ms=context.received_ms)


async def take_commands(connection: Connection, context: BatchContext, records: Sequence[Record]) -> None:
    """Phases of commands, told durably: they arrive even if the answer on the spot was lost."""
    for record in records:
        body = _body(record, _Command)
        await commands.note_phase(
            connection,
            property_id=context.property,
            command_id=body.id,
            phase=body.phase,
            result=None,  # results may hold keys; whoever waits for one asked for it on the spot
            reason=body.error or body.reason,
            now_ms=context.received_ms,
        )


async def take_desired(connection: Connection, context: BatchContext, records: Sequence[Record]) -> None:
    """Which version of a document the edge has applied."""
    for record in records:
        body = _body(record, _Desired)
        if body.name == document.NAME and body.applied:
            await document.held(
                connection, property_id=context.property, version=body.version, at_ms=context.received_ms
            )
            await notify_live(connection, context.property, (stays.LIVE_KIND,))
        elif body.name.startswith(releases.PREFIX):
            await releases.heard(
                connection,
                property_id=context.property,
                name=body.name,
                version=body.version,
                applied=body.applied,
                detail=body.reason,
                now_ms=context.received_ms,
            )


async def take_rooms(connection: Connection, context: BatchContext, records: Sequence[Record]) -> None:
    """Modes of rooms."""
    facts = []
    for record in records:
        body = _body(record, _Room)
        facts.append(
            rooms.ModeFact(
                room=body.room,
                mode=body.mode,
                cause=body.cause,
                at_ms=record.edge_at_ms,
                incarnation=context.incarnation,
                seq=record.seq,
            )
        )
    await rooms.apply_modes(connection, context.property, facts)


async def take_alerts(connection: Connection, context: BatchContext, records: Sequence[Record]) -> None:
    """What somebody should look at, and, from an edge that starts, which of it still stands."""
    facts: list[alerts.AlertFact | alerts.StandingFact] = []
    for record in records:
        if record.body.get("state") == "standing":
            facts.append(alerts.StandingFact(_body(record, _Standing).standing))
            continue
        body = _body(record, _Alert)
        if (body.state == "cleared") != (body.cleared_at_ms is not None):
            raise PeerProtocolError(f"alert record {record.lane}/{record.seq}: {body.state}, but cleared_at_ms is not")
        facts.append(
            alerts.AlertFact(
                kind=body.alert,
                room=body.room,
                device=body.device,
                number=body.number,
                raised_at_ms=body.raised_at_ms,
                cleared_at_ms=body.cleared_at_ms,
                detail=body.detail,
            )
        )
    for fact in facts:
        await alerts.apply_fact(
            connection,
            tenant=context.tenant,
            property_id=context.property,
            edge=context.edge,
            fact=fact,
            now_ms=context.received_ms,
        )


async def take_kiosks(connection: Connection, context: BatchContext, records: Sequence[Record]) -> None:
    """What kiosks did while the house was cut off, and the keys that they gave: for the stay's check-in session."""
    for record in records:
        fact = _late_fact(record)
        if fact is not None:
            await late_steps.told(
                connection,
                tenant=context.tenant,
                property_id=context.property,
                fact=fact,
                now_ms=context.received_ms,
            )


def _with_evidence(steps: object) -> object:
    """Return steps with what else stands in each as its evidence: a record is too shallow to have it apart."""
    if not isinstance(steps, list):
        return steps
    told = ("step", "subject", "state", "at_ms", "reason")
    return [
        {name: each[name] for name in told if name in each}
        | {"evidence": {name: value for name, value in each.items() if name not in told}}
        if isinstance(each, dict)
        else each
        for each in steps
    ]


def _late_fact(record: Record) -> LateFact | None:
    """Return what a record of kind `kiosk` means for a check-in; None: nothing, as a receipt."""
    match record.body.get("kind"):
        case "visit" if "steps" in record.body:
            visit = _body(replace(record, body={**record.body, "steps": _with_evidence(record.body["steps"])}), _Visit)
            steps = tuple(
                LateStep(each.step, each.subject, StepState(each.state), each.reason, each.at_ms, dict(each.evidence))
                for each in visit.steps
            )
            return LateFact(visit.stay, visit.id, visit.n, visit.by, steps) if steps else None
        case "key":
            key = _body(record, _Key)
            if key.phase is not Phase.DONE and not key.written:
                return None  # nobody has anything, and he may ask again
            done, at_ms = key.phase is Phase.DONE, record.edge_at_ms
            evidence = {"form": "card", "order": key.id, "room": key.room, "phase": key.phase.value}
            state = StepState.DONE if done else StepState.NEEDS_STAFF
            step = LateStep(StepKind.GRANT, key.stay, state, None if done else CARD_AT_DESK, at_ms, evidence)
            return LateFact(key.stay, key.id, 1, key.by, (step,))
        case "phone":
            phone = _body(record, _Phone)
            evidence = {"form": "phone", "order": phone.id, "room": phone.room}
            step = LateStep(StepKind.GRANT, phone.stay, StepState.DONE, None, phone.at_ms, evidence)
            return LateFact(phone.stay, phone.id, 1, phone.by, (step,))
        case _:
            return None


PROJECTIONS: Final[Mapping[str, Sequence[Projection]]] = {
    "access": (take_access,),
    "stay": (take_stays,),
    "stay_until": (take_stay_ends,),
    "command": (take_commands,),
    "desired": (take_desired,),
    "room": (take_rooms,),
    "alert": (take_alerts,),
    "kiosk": (take_kiosks,),
}
"""Every projection by record kind."""
