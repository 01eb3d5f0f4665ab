"""From what the modules know to what the API says. Pure: rows in, answer structs out.

A value is never better than its source: while the line to the edge is quiet, everything an edge measured is
called stale, whatever quality it came with.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from cloud.access.doors import AccessEvent, DoorState
from cloud.access.stay_log import StayLog
from cloud.alerts.alerts import Alert
from cloud.checkin.letter_rows import Shown as Letter
from cloud.fleet.commands import Command
from cloud.fleet.link_state import LinkState
from cloud.kit.times import iso
from cloud.platform.properties import Property
from cloud.pms.issues import Issue
from cloud.pms.port import PmsAction
from cloud.pms.wishes import Wish
from cloud.public import schema
from cloud.stays.listing import Stay
from cloud.telemetry.service import LatestValue, LinkHealth

STALE: Final = "stale"
_WORST_FIRST: Final = ("bad", STALE, "uncertain", "good")
_LOCK_WORDS: Final[Mapping[str, schema.LockWord]] = {
    "locked": "locked",
    "unlocked": "unlocked",
    "unlatched": "unlocked",
    "not_fully_locked": "not_fully_locked",
}
_WISHED: Final[Mapping[PmsAction, schema.Wished]] = {
    PmsAction.CHECK_IN: "check_in",
    PmsAction.CHECK_OUT: "check_out",
    PmsAction.ASSIGN_ROOM: "assign_room",
    PmsAction.SET_DEPARTURE: "set_departure",
}
_LETTERS: Final[Mapping[str, Literal["invitation", "room_ready"]]] = {
    "invitation": "invitation",
    "room_ready": "room_ready",
}
_LETTER_STATES: Final[Mapping[str, Literal["waiting", "due", "sent", "not_possible", "given_up"]]] = {
    "waiting": "waiting",
    "due": "due",
    "sending": "due",
    "sent": "sent",
    "not_possible": "not_possible",
    "given_up": "given_up",
}
"""Of one that was overtaken there is nothing to say."""
CELSIUS: Final = "°C"


def link_view(health: LinkHealth | None, edge: str, state: LinkState) -> schema.Link:
    """Return the line as the API says it; each lane in its newest life: lanes are stores apart and die apart."""
    if health is None:
        return schema.Link(
            state=state.value, edge=edge, incarnation=None, last_heard_at=None, last_ack_at=None, backlog=None, lanes=[]
        )
    backlog = None
    if health.backlog is not None:
        backlog = schema.Backlog(**{lane: health.backlog.get(lane.upper(), 0) for lane in ("a", "b", "c")})
    return schema.Link(
        state=state.value,
        edge=edge,
        incarnation=None if health.incarnation is None else bytes(health.incarnation).hex(),
        last_heard_at=iso(health.last_heard_at),
        last_ack_at=iso(health.last_ack_at),
        backlog=backlog,
        lanes=[
            schema.Lane(lane=each.lane.value, hi=each.hi, records=each.records, gaps=each.gaps)
            for each in {each.lane: each for each in health.lanes}.values()  # listed oldest life first
        ],
    )


def property_view(found: Property, rooms: int, link: schema.Link) -> schema.Property:
    """Return a hotel as the API says it."""
    return schema.Property(id=found.id, name=found.name, zone=found.zone, rooms=rooms, link=link)


def rooms_view(
    rooms: Sequence[Mapping[str, Any]],
    latest: Sequence[LatestValue],
    doors: Mapping[str, DoorState],
    stays: Mapping[str, Stay],
    *,
    link: LinkState,
    conflicts: Sequence[Stay] = (),
) -> list[schema.Room]:
    """Return every room in the plan's order."""
    by_room: defaultdict[str, list[LatestValue]] = defaultdict(list)
    for value in latest:
        if value.room is not None:
            by_room[value.room].append(value)
    fresh = link is LinkState.ONLINE
    return [
        _room(
            row,
            by_room.get(row["id"], []),
            doors.get(row["door"] or ""),
            stays.get(row["id"]),
            [each for each in conflicts if row["id"] in (each.room, each.room_asked)],
            fresh=fresh,
        )
        for row in rooms
    ]


def _room(
    row: Mapping[str, Any],
    latest: Sequence[LatestValue],
    door: DoorState | None,
    stay: Stay | None,
    conflicts: Sequence[Stay],
    *,
    fresh: bool,
) -> schema.Room:
    on = _of(latest, "on_off", "on_off")
    occupied = _of(latest, "occupancy_sensing", "occupancy")
    closed = _of(latest, "boolean_state", "state_value")
    return schema.Room(
        id=row["id"],
        floor=row["floor"],
        kind=row["kind"],
        type=row["type"],
        mode=row["mode"],
        lock=_lock(row["door"], door, latest, fresh=fresh),
        light=None if not on else schema.Light(on=_any(on), at=_newest(on), quality=_quality(on, fresh=fresh)),
        climate=_climate(latest, fresh=fresh),
        occupancy=None
        if not occupied
        else schema.Occupancy(occupied=_any(occupied), at=_newest(occupied), quality=_quality(occupied, fresh=fresh)),
        contact=None
        if not closed
        else schema.Contact(open=_any_open(closed), at=_newest(closed), quality=_quality(closed, fresh=fresh)),
        stay=None
        if stay is None
        else schema.RoomStay(
            id=stay.id, state=stay.state.value, guest_name=stay.guest_name, until=iso(stay.expected_until)
        ),
        conflicts=[
            schema.RoomConflict(
                each.id,
                each.conflict.value,
                each.guest_name,
                each.room,
                each.room_asked,
                expected_until=iso(each.expected_until),
                until_asked=iso(each.until_asked),
            )
            for each in conflicts
            if each.conflict is not None
        ],
    )


def _lock(
    door_id: str | None, door: DoorState | None, latest: Sequence[LatestValue], *, fresh: bool
) -> schema.Lock | None:
    if door_id is None:
        return None
    states = _of(latest, "door_lock", "lock_state")
    state: schema.LockWord = "unknown"
    state_at = None
    if states and fresh:
        newest = max(states, key=lambda value: value.at)
        if newest.quality == "good":
            state = _LOCK_WORDS.get(str(newest.value), "unknown")
            state_at = iso(min(newest.at, newest.received_at)) if state != "unknown" else None
    return schema.Lock(
        door=door_id,
        state=state,
        state_at=state_at,
        battery_percent=None if door is None else door.battery,
        last_event=None
        if door is None
        else schema.LockEvent(
            event=door.last_event,
            at=iso(door.last_at),
            reason=door.last_reason,
            received_at=iso(door.last_received_at),
        ),
    )


def _climate(latest: Sequence[LatestValue], *, fresh: bool) -> schema.Climate | None:
    temperatures = _of(latest, "thermostat", "local_temperature") or _of(
        latest, "temperature_measurement", "measured_value"
    )
    setpoints = _of(latest, "thermostat", "occupied_heating_setpoint") or _of(
        latest, "thermostat", "occupied_cooling_setpoint"
    )
    if not temperatures and not setpoints:
        return None
    measured = temperatures or setpoints
    return schema.Climate(
        temperature=_number(temperatures),
        setpoint=_number(setpoints),
        unit=CELSIUS,
        at=_newest(measured),
        quality=_quality(measured, fresh=fresh),
    )


def _of(latest: Sequence[LatestValue], capability: str, attribute: str) -> list[LatestValue]:
    return [value for value in latest if value.capability == capability and value.attribute == attribute]


def _any(values: Sequence[LatestValue]) -> bool | None:
    """True if any sensor says so, False if all that speak say no, None if none says anything."""
    said = [value.value for value in values if isinstance(value.value, bool)]
    return any(said) if said else None


def _any_open(values: Sequence[LatestValue]) -> bool | None:
    said = [value.value for value in values if isinstance(value.value, bool)]  # true = closed
    return not all(said) if said else None


def _number(values: Sequence[LatestValue]) -> float | None:
    numbers = [value for value in values if isinstance(value.value, int | float) and not isinstance(value.value, bool)]
    if not numbers:
        return None
    newest = max(numbers, key=lambda value: value.at).value
    return float(newest) if isinstance(newest, int | float) else None


def _newest(values: Sequence[LatestValue]) -> str:
    """Say since when it is so: never later than we heard it, whatever the building's clock says."""
    return iso(max(min(value.at, value.received_at) for value in values))


def _quality(values: Sequence[LatestValue], *, fresh: bool) -> str:
    worst = min(
        (value.quality for value in values),
        key=lambda quality: _WORST_FIRST.index(quality) if quality in _WORST_FIRST else 0,
    )
    return STALE if not fresh and worst != "bad" else worst


def access_event_view(event: AccessEvent) -> schema.AccessEvent:
    """Return a door event as the API says it."""
    return schema.AccessEvent(
        id=str(event.id),
        door=event.door,
        room=event.room,
        at=iso(event.at),
        event=event.event,
        reason=event.reason,
        stay=event.stay,
        grant=event.grant_id,
        lock_seq=event.lock_seq,
        received_at=iso(event.received_at),
    )


def alert_view(alert: Alert) -> schema.Alert:
    """Return an alert as the API says it."""
    return schema.Alert(
        id=str(alert.id),
        kind=alert.kind,
        state=alert.state.value,
        room=alert.room,
        device=alert.device,
        raised_at=iso(alert.raised_at),
        ended_at=iso(alert.ended_at),
        detail=alert.detail,
        received_at=iso(alert.received_at),
    )


def stay_view(
    stay: Stay, first_opened_at: datetime | None, wishes: Sequence[Wish], letters: Sequence[Letter]
) -> schema.Stay:
    """Return a stay as the API says it."""
    return schema.Stay(
        id=stay.id,
        state=stay.state.value,
        room=stay.room,
        room_asked=stay.room_asked,
        conflict=None if stay.conflict is None else stay.conflict.value,
        guest_name=stay.guest_name,
        expected_from=iso(stay.expected_from),
        expected_until=iso(stay.expected_until),
        until_asked=iso(stay.until_asked),
        actual_in=iso(stay.actual_in),
        actual_out=iso(stay.actual_out),
        first_opened_at=iso(first_opened_at),
        reservation=schema.ReservationRef(external_id=stay.external_id, number=stay.number),
        edge=schema.EdgeHolds(held=stay.edge_held, version=stay.document_version),
        freshness_at=iso(stay.freshness_at),
        pms_wishes=[
            schema.PmsWish(
                what=_WISHED[each.action],
                state=each.state.value,
                since=iso(each.since),
                attempts=each.attempts,
                unread_since=iso(each.unread_since),
                reason=each.reason,
            )
            for each in wishes
        ],
        letters=[
            schema.StayLetter(
                kind=_LETTERS[each.kind], state=_LETTER_STATES[each.state], since=iso(each.since), reason=each.reason
            )
            for each in letters
            if each.state in _LETTER_STATES
        ],
    )


def stay_log_view(stay: Stay, log: StayLog, *, now: datetime) -> schema.StayLog:
    """Return the door log of a stay as the API says it."""
    return schema.StayLog(
        stay=stay.id,
        guest_name=stay.guest_name,
        room=stay.edge_room or stay.room,
        came_at=iso(stay.actual_in),
        left_at=iso(stay.actual_out),
        entries=[
            schema.StayLogEntry(
                at=iso(each.at),
                received_at=iso(each.received_at),
                door=each.door,
                room=each.room,
                event=each.event,
                reason=each.reason,
                key=each.key.value,
                lock=each.lock,
                lock_seq=each.lock_seq,
                time_quality=each.time_quality,
            )
            for each in log.entries
        ],
        missing=[schema.StayLogMissing(each.door, each.count) for each in log.missing],
        truncated=log.truncated,
        as_of=iso(now),
    )


def pms_issue_view(issue: Issue) -> schema.PmsIssue:
    """Return what is wrong with an item of a PMS as the API says it."""
    return schema.PmsIssue(
        kind=issue.kind,
        external_id=issue.external_id,
        problem=issue.problem,
        held_back=issue.held_back,
        times=issue.times,
        first_at=iso(issue.first_at),
        last_at=iso(issue.last_at),
    )


def command_view(command: Command) -> schema.CommandState:
    """Return a command as the API says it."""
    return schema.CommandState(
        id=command.id,
        phase=command.phase.value,
        read_back=None if command.result is None else command.result.get("read_back"),
        reason=command.reason,
    )


def position_of(text: str) -> tuple[datetime, int] | None:
    """Read a page's cursor: `<ISO time>~<id>`; None if it is none of ours."""
    when, _, number = text.partition("~")
    try:
        moment = datetime.fromisoformat(when)
        identity = int(number)
    except ValueError:
        return None
    return (moment, identity) if moment.tzinfo is not None and 0 <= identity < 2**63 else None


def position_text(event: AccessEvent) -> str:
    """Write the cursor that continues after `event`; the time keeps its microseconds."""
    return f"{event.stood_at.isoformat().replace('+00:00', 'Z')}~{event.id}"
