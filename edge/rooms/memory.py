"""What a room remembers over a restart of the edge, and how much of it still counts afterwards.

An edge that was away has not seen who passed the door. So of what the last life proved there comes back what can only
keep a room as it is, and nothing that could cool it: who was inside may still be; the silence that spoke for an empty
room begins anew, and only once the contact has spoken to this life; a window is open once its contact says so again.
Times are kept as unix ms, so that they age while the edge is away. Where that clock cannot be believed, what was a
matter of hours is unknown. Decision: docs/decisions/0076-what-a-room-remembers.md. Pure: both times come in.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from edge.rooms.modes import Intent, RoomState
from edge.rooms.occupancy import Evidence, inside_still
from edge.rooms.recovery import Recovery
from edge.rooms.senses import Sense
from protocols.device_model.identity import DeviceId, RoomId


@dataclass(frozen=True, slots=True)
class Proved:
    """What of `Evidence` outlives the edge. Times are unix ms; None = never."""

    closed: bool | None = None
    closing_seen: bool = False
    inside: bool = False
    was_inside: bool = False
    unnamed: bool = False
    unopened: int = 0
    opened_at_ms: int | None = None
    unlocked_at_ms: int | None = None
    visited_at_ms: int | None = None
    seen_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Sensed:
    """What of a `Sense` outlives the edge. `written_c`: what the room last had its controllers hold."""

    proved: Proved = field(default_factory=Proved)
    windows: tuple[DeviceId, ...] = ()
    window_since_ms: int | None = None
    do_not_disturb: bool = False
    make_up_room: bool = False
    written_c: tuple[tuple[DeviceId, float], ...] = ()
    taken_c: float | None = None


@dataclass(frozen=True, slots=True)
class RoomSnapshot:
    """What of a room survives a restart: its state, its open wishes with the devices that met them, what it has shown
    of its warming up, which rules held, what its sensors proved, and the setpoints that its controllers held."""

    room: RoomId
    state: RoomState
    wishes: tuple[tuple[Intent, tuple[DeviceId, ...]], ...]
    recovery: Recovery = field(default_factory=Recovery)
    held: tuple[str, ...] = ()
    sensed: Sensed | None = None
    held_c: tuple[tuple[DeviceId, float], ...] = ()


def lasting(sense: Sense) -> Hashable:
    """Return what `sensed` keeps, on the clock of this life: as long as it is the same there is nothing to store."""
    proved = sense.evidence
    seen_ms, opened_ms = proved.motion_seen_at_ms, proved.opened_at_ms
    return (
        *(proved.closed, proved.closed_at_ms is None, proved.inside, proved.was_inside, proved.unnamed),
        *(proved.unopened, opened_ms, proved.unlocked_at_ms, proved.visited_at_ms, proved.seeing),
        seen_ms is not None and opened_ms is not None and seen_ms >= opened_ms,
        *(frozenset(sense.open_windows), frozenset(sense.unheard_windows), sense.window_since_ms),
        *(sense.do_not_disturb, sense.make_up_room, sense.taken_c),
    )


def sensed(sense: Sense, *, now_ms: int, wall_ms: int) -> Sensed:
    """Return what to keep of a room's senses.

    Args:
        sense: The room's.
        now_ms: Monotonic ms.
        wall_ms: Unix ms.
    """

    def at(ms: int | None) -> int | None:
        return None if ms is None else wall_ms - (now_ms - ms)

    evidence = sense.evidence
    return Sensed(
        proved=Proved(
            closed=evidence.closed,
            closing_seen=evidence.closing_seen,
            inside=evidence.inside,
            was_inside=evidence.was_inside,
            unnamed=evidence.unnamed,
            unopened=evidence.unopened,
            opened_at_ms=at(evidence.opened_at_ms),
            unlocked_at_ms=at(evidence.unlocked_at_ms),
            visited_at_ms=at(evidence.visited_at_ms),
            seen_at_ms=at(evidence.motion_seen_at_ms),
        ),
        windows=tuple(sorted(sense.open_windows | sense.unheard_windows)),
        window_since_ms=at(sense.window_since_ms),
        do_not_disturb=sense.do_not_disturb,
        make_up_room=sense.make_up_room,
        written_c=tuple(sorted(sense.written_c.items())),
        taken_c=sense.taken_c,
    )


def resume(sense: Sense, kept: Sensed, *, set_back: bool, now_ms: int, wall_ms: int, gap_ms: int | None) -> None:
    """Give a room's senses back what was kept of them.

    Args:
        sense: Of this life, before anything was heard.
        kept: What `sensed` returned in the last life.
        set_back: Whether the room is set back because it was believed empty.
        now_ms: Monotonic ms.
        wall_ms: Unix ms.
        gap_ms: How long nobody may have listened, at most; None: nobody knows.
    """

    def since(at_ms: int | None) -> int | None:
        return None if at_ms is None else now_ms - max(0, wall_ms - at_ms)

    proved = kept.proved
    sense.evidence = replace(
        Evidence(),
        closed=proved.closed,
        opened_at_ms=since(proved.opened_at_ms),
        # As if it were up: what goes up from now on is news, and so is the first word after a passage of the door; a
        # level proves somebody once it outlives its hold.
        motion=True,
        unheard=True,
        motion_seen_at_ms=since(proved.seen_at_ms),
        inside=proved.inside,
        was_inside=proved.was_inside,
        may_remain=True,  # who came in meanwhile, nobody has seen
        unnamed=proved.unnamed,
        unlocked_at_ms=since(proved.unlocked_at_ms),
        unopened=proved.unopened,
        visited_at_ms=None if gap_ms is None else since(proved.visited_at_ms),
        resumed_ms=now_ms,
        unsure=proved.closed is not None,
        shut_before=proved.closing_seen,
        carried=inside_still(gap_ms) if proved.inside else None,
        empty_before=set_back,
    )
    sense.unheard_windows = set(kept.windows)
    sense.window_since_ms = since(kept.window_since_ms)
    sense.do_not_disturb, sense.make_up_room = kept.do_not_disturb, kept.make_up_room
    sense.written_c, sense.written_ms, sense.taken_c = dict(kept.written_c), now_ms, kept.taken_c


def gap(lived_ms: int | None, *, wall_ms: int, believed: bool) -> int | None:
    """Return for how long nobody may have listened, ms; None: the clock cannot say.

    Args:
        lived_ms: Unix ms at which the last life is known to have listened; None: not known.
        wall_ms: Unix ms.
        believed: Whether the wall clock can be believed now.
    """
    if lived_ms is None or not believed or wall_ms < lived_ms:
        return None
    return wall_ms - lived_ms
