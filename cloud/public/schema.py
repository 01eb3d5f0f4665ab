"""What the HTTP API answers, field by field. Times are ISO 8601 UTC with milliseconds and Z; null = never known."""

from typing import Any, Literal

import msgspec

LinkWord = Literal["online", "silent", "offline", "never"]
LockWord = Literal["locked", "unlocked", "not_fully_locked", "unknown"]
AlertWord = Literal["raised", "cleared", "lapsed"]


class Backlog(msgspec.Struct, frozen=True):
    """How many records of each lane wait at the edge, as it last said."""

    a: int
    b: int
    c: int


class Lane(msgspec.Struct, frozen=True):
    """One lane of the current incarnation as the cloud holds it."""

    lane: str
    hi: int
    records: int
    gaps: int


class Link(msgspec.Struct, frozen=True):
    """The line to a property's edge."""

    state: LinkWord
    edge: str
    incarnation: str | None
    last_heard_at: str | None
    last_ack_at: str | None
    backlog: Backlog | None
    lanes: list[Lane]


class Property(msgspec.Struct, frozen=True):
    """One hotel."""

    id: str
    name: str
    zone: str
    rooms: int
    link: Link


class Properties(msgspec.Struct, frozen=True):
    """The hotels the caller may see."""

    properties: list[Property]


class LockEvent(msgspec.Struct, frozen=True):
    """The last thing a lock told."""

    event: str
    at: str
    reason: str | None
    received_at: str


class Lock(msgspec.Struct, frozen=True):
    """The lock of a room's first door. `state` is where its bolt last said it was, `state_at` when that was."""

    door: str
    state: LockWord
    state_at: str | None
    battery_percent: float | None
    last_event: LockEvent | None


class Light(msgspec.Struct, frozen=True):
    """Whether any light of the room is on."""

    on: bool | None
    at: str | None
    quality: str


class Climate(msgspec.Struct, frozen=True):
    """Temperature and setpoint, in degrees Celsius."""

    temperature: float | None
    setpoint: float | None
    unit: str
    at: str | None
    quality: str


class Occupancy(msgspec.Struct, frozen=True):
    """Whether somebody is in the room, as its sensors say."""

    occupied: bool | None
    at: str | None
    quality: str


class Contact(msgspec.Struct, frozen=True):
    """Whether any door or window contact of the room is open."""

    open: bool | None
    at: str | None
    quality: str


class RoomStay(msgspec.Struct, frozen=True):
    """The guest inside, or the next one due within a day."""

    id: str
    state: str
    guest_name: str
    until: str


class RoomConflict(msgspec.Struct, frozen=True):
    """A stay that is, or is wanted by the PMS, in a room, and of which PMS and house do not agree; `kind` as in Stay.

    `room` is where the guest is, or will be; null: nowhere yet. `room_asked` is the room that the PMS wants,
    `until_asked` the end that it has for the stay; `expected_until` is the one that counts.
    """

    stay: str
    kind: Literal["double_sale", "other_room", "ended_in_pms", "other_end"]
    guest_name: str
    room: str | None
    room_asked: str | None
    expected_until: str
    until_asked: str


class Room(msgspec.Struct, frozen=True):
    """One room as last known. `conflicts`: of stays within three days, what somebody should settle in the PMS."""

    id: str
    floor: int | None
    kind: str
    type: str | None
    mode: str | None
    lock: Lock | None
    light: Light | None
    climate: Climate | None
    occupancy: Occupancy | None
    contact: Contact | None
    stay: RoomStay | None
    conflicts: list[RoomConflict]


class Rooms(msgspec.Struct, frozen=True):
    """Every room of a property."""

    as_of: str
    rooms: list[Room]


class AccessEvent(msgspec.Struct, frozen=True):
    """One thing that happened at a door."""

    id: str
    door: str
    room: str | None
    at: str
    event: str
    reason: str | None
    stay: str | None
    grant: str | None
    lock_seq: int | None
    received_at: str


class Alert(msgspec.Struct, frozen=True):
    """Something that somebody should look at. `detail`: what the building saw; `ended_at`: None while it is up."""

    id: str
    kind: str
    state: AlertWord
    room: str | None
    device: str | None
    raised_at: str
    ended_at: str | None
    detail: str
    received_at: str


class Alerts(msgspec.Struct, frozen=True):
    """A page of alerts, the last to arrive first."""

    alerts: list[Alert]
    next: str | None


class AccessEvents(msgspec.Struct, frozen=True):
    """A page of door events, newest first; `next` is null on the last page."""

    events: list[AccessEvent]
    next: str | None


class LedgerRow(msgspec.Struct, frozen=True):
    """One record exactly as the edge wrote it."""

    lane: str
    incarnation: str
    seq: int
    kind: str
    body: dict[str, Any]
    edge_at: str


class LedgerRows(msgspec.Struct, frozen=True):
    """A page of records in order; `next` is the cursor of the page behind it, null where there is none yet."""

    records: list[LedgerRow]
    next: str | None = None


class Declared(msgspec.Struct, frozen=True):
    """Positions the edge gave up, and said so and why."""

    first: int
    last: int
    reason: str


class StreamCompleteness(msgspec.Struct, frozen=True):
    """Whether everything of one stream is here. A gap is [from, to], both missing."""

    edge: str
    incarnation: str
    lane: str
    first: int
    hi: int
    count: int
    gaps: list[tuple[int, int]]
    duplicates: int
    out_of_order: int
    declared: list[Declared]
    chain_breaks: int
    holds: bool


class Completeness(msgspec.Struct, frozen=True):
    """Whether everything of a property is here."""

    streams: list[StreamCompleteness]


class ReservationRef(msgspec.Struct, frozen=True):
    """What the PMS calls the stay's reservation."""

    external_id: str
    number: str | None


class EdgeHolds(msgspec.Struct, frozen=True):
    """Whether the edge holds the stay as it is now, and since which version of its document."""

    held: bool
    version: int | None


Wished = Literal["check_in", "check_out", "assign_room", "set_departure"]


class PmsWish(msgspec.Struct, frozen=True):
    """What the PMS is to be told of a stay, and has not been heard to have.

    pending: it is being told. by_hand: it has no interface for it, a person does it there. failed: it was told
    `attempts` times in vain. `attempts` are writes that may have reached it, or that it refused; `unread_since`: since
    then it could not even be tried. `reason` is the last thing in the way, as it was told.
    """

    what: Wished
    state: Literal["pending", "by_hand", "failed"]
    since: str
    attempts: int
    unread_since: str | None
    reason: str | None


class StayLetter(msgspec.Struct, frozen=True):
    """A letter to the guest of a stay, and how it stands since then.

    due: it is to be sent, or tried again; waiting: until a room is ready. not_possible and given_up: a person hands a
    link over. `reason` says why: no_address (the PMS tells no e-mail address), refused (by the server, for good),
    no_link (the stay has as many open links as it may), mail_away, pms_away, unsure (it may have arrived).
    """

    kind: Literal["invitation", "room_ready"]
    state: Literal["waiting", "due", "sent", "not_possible", "given_up"]
    since: str
    reason: str | None


class Stay(msgspec.Struct, frozen=True):
    """One stay. `room_asked` is the room the PMS wants; `conflict` says why it is not `room`, or what else is amiss.

    double_sale: another stay holds it. other_room: the guest's key opens `room`. ended_in_pms: in house, and in the PMS
    cancelled or a no-show. other_end: the building made it longer or shorter (`expected_until`), the PMS has another
    end (`until_asked`). `first_opened_at` is when a key of the stay first opened a door, null before that.
    """

    id: str
    state: str
    room: str | None
    room_asked: str | None
    conflict: Literal["double_sale", "other_room", "ended_in_pms", "other_end"] | None
    guest_name: str
    expected_from: str
    expected_until: str
    until_asked: str
    actual_in: str | None
    actual_out: str | None
    first_opened_at: str | None
    reservation: ReservationRef
    edge: EdgeHolds
    freshness_at: str
    pms_wishes: list[PmsWish]
    letters: list[StayLetter]


class StayLogEntry(msgspec.Struct, frozen=True):
    """One entry of a door's log, as a guest may read it. `lock_seq` is its position in the lock's own chain.

    key: guest, a key of the stay; other_stay, another guest's; house, staff, emergency or the safe; none, no key.
    """

    at: str
    received_at: str
    door: str
    room: str | None
    event: str
    reason: str | None
    key: Literal["guest", "other_stay", "house", "none"]
    lock: str | None
    lock_seq: int | None
    time_quality: str | None


class StayLogMissing(msgspec.Struct, frozen=True):
    """Entries of a door's chain that the lock counted and that have not arrived here."""

    door: str
    count: int


class StayLog(msgspec.Struct, frozen=True):
    """What the doors of a stay told, oldest first. `truncated`: the newest of more than 2000 entries are left out."""

    stay: str
    guest_name: str
    room: str | None
    came_at: str | None
    left_at: str | None
    entries: list[StayLogEntry]
    missing: list[StayLogMissing]
    truncated: bool
    as_of: str


class Stays(msgspec.Struct, frozen=True):
    """The stays of a property: every active one, and those of the last day."""

    stays: list[Stay]


class CheckedIn(msgspec.Struct, frozen=True):
    """The keys for the guest's phone, and the stay as it is now."""

    bundle: dict[str, Any]
    stay: Stay


class CheckedOut(msgspec.Struct, frozen=True):
    """The stay as it is now."""

    stay: Stay


class CommandState(msgspec.Struct, frozen=True):
    """How far a command has come; `read_back` is what the device said afterwards."""

    id: str
    phase: str
    read_back: Any
    reason: str | None


class PmsIssue(msgspec.Struct, frozen=True):
    """One item of a PMS with something wrong about it. `held_back`: nothing of it was taken over."""

    kind: Literal["reservation", "resource", "customer"]
    external_id: str
    problem: str
    held_back: bool
    times: int
    first_at: str
    last_at: str


class PmsStatus(msgspec.Struct, frozen=True):
    """How fresh what we know from a PMS is."""

    system: str
    last_ok_at: str | None
    last_error: str | None
    last_error_at: str | None
    hints_waiting: int
    writes_pending: int
    writes_failed: int
    issues: list[PmsIssue]


class PmsStatuses(msgspec.Struct, frozen=True):
    """The PMS connections of a property."""

    connections: list[PmsStatus]
