"""The edge's side of the link as a state machine: acks and time in, the one thing to send next out.

Source of truth: SPEC.md section 10. Nothing here sleeps, reads a clock, draws dice or touches a socket or a
store: `edge/link` does.
The order: hello and live state first after every (re)connect; then the backlog, lane A before B before C, a
place in the window
kept for lane A; live state goes on in between. A stream is sent go-back-N within a window; what is in flight and
unacknowledged too long is sent again; a link on which nothing is answered at all is half open and dropped.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from protocols.link.batch import POSITIONS_MAX, RECORDS_MAX
from protocols.link.lanes import LANES, Lane
from protocols.link.messages import Ack, AckMark, AckStatus


@dataclass(frozen=True, slots=True)
class LinkTimes:
    """Waits and bounds of the link; the defaults are SPEC.md 10.4."""

    ack_wait_ms: int = 4_000
    """In flight this long without an ack: send again."""
    half_open_ms: int = 8_000
    """Something awaits an answer and nothing was heard for so long: the link is dead."""
    probe_every_ms: int = 20_000
    """Heard nothing for so long while idle: say hello again."""
    live_least_ms: int = 5_000
    """Between two live states, at least."""
    live_most_ms: int = 30_000
    """Between two whole live states, at most."""
    rewind_hold_ms: int = 1_000
    """One gap answered many times rewinds once in this time."""
    refused_hold_ms: int = 60_000
    """A lane whose version the cloud refuses waits so long."""
    window_batches: int = 4
    """Batches in flight, all lanes together; one place is lane A's own."""
    batch_records: int = RECORDS_MAX
    batch_age_ms: int = 200
    """A record of lane B or C waits so long for company before a batch that is not full goes."""
    telemetry_age_ms: int | None = None
    """The same of lane C alone; None: as lane B."""


@dataclass(frozen=True, slots=True)
class StreamHead:
    """What the log holds of one stream.

    `acked`: the cloud's mark as last heard; `last` = 0 where nothing was written. `openings`: who wrote what, oldest
    first: (id of one opening of the store, last position before it); the newest runs on. `closed`: nothing is
    appended
    any more, a later incarnation is.
    """

    incarnation: bytes
    lane: Lane
    first: int
    last: int
    acked: int
    openings: tuple[tuple[bytes, int], ...] = ()
    closed: bool = False


@dataclass(frozen=True, slots=True)
class SayHello:
    """Publish a hello with this nonce."""

    nonce: int


@dataclass(frozen=True, slots=True)
class SendLive:
    """Publish the live state: whole, or what of it is not as it was last told on this connection."""

    whole: bool = True


@dataclass(frozen=True, slots=True)
class SendBatch:
    """Read the stream after `after_seq`, publish what fits in one batch and call `batch_sent`."""

    incarnation: bytes
    lane: Lane
    after_seq: int
    most_records: int


@dataclass(frozen=True, slots=True)
class DropLink:
    """Close the connection and connect again: nobody answers on this one."""

    reason: str


Step = SayHello | SendLive | SendBatch | DropLink


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Everything up to `hi` is committed in the cloud: the edge may forget it."""

    incarnation: bytes
    lane: Lane
    hi: int


@dataclass(frozen=True, slots=True)
class CloudWentBack:
    """The cloud's mark is below one it had given before (restored from a backup): it is being sent again from `hi`
    + 1.
    """

    incarnation: bytes
    lane: Lane
    hi: int


@dataclass(frozen=True, slots=True)
class StoreWentBack:
    """The cloud holds what this log never wrote: the store is an old copy and must begin a new incarnation.

    Positions up to `cut` are in the cloud as this log has them; later ones were written since the copy was put
    back and
    move to the new incarnation.
    """

    incarnation: bytes
    lane: Lane
    hi: int
    cut: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The cloud does not read what this lane sends, by name; the lane waits."""

    lane: Lane | None
    """None: the hello itself was."""
    error: str


@dataclass(frozen=True, slots=True)
class MarkBeyondReason:
    """A mark so far past what this log wrote that no newer copy of it could have: not believed, nothing changes."""

    incarnation: bytes
    lane: Lane
    hi: int
    last: int


Heard = Acknowledged | CloudWentBack | StoreWentBack | Refused | MarkBeyondReason


@dataclass(slots=True)
class _Stream:
    incarnation: bytes
    lane: Lane
    last: int
    acked: int
    openings: tuple[tuple[bytes, int], ...]
    closed: bool
    sent: int = 0
    acked_at_hello: int = 0
    welcome: bool = False
    in_flight: deque[tuple[int, int]] = field(default_factory=deque)  # (last position, sent_at_ms)
    rewound: tuple[int, int] | None = None  # (mark, when)
    refused_until_ms: int | None = None  # held since a batch was refused
    gathering_since_ms: int | None = (
        None  # the first record not sent was appended then; None: nothing waits for company
    )


class EdgeLink:
    """One edge's link for the life of the process; connections come and go within it."""

    def __init__(self, heads: Iterable[StreamHead], *, times: LinkTimes = LinkTimes()) -> None:
        self._times = times
        self._streams: dict[tuple[bytes, Lane], _Stream] = {}
        self._connected = False
        self._nonce = self._nonce_base = 0
        self._hello_at_ms: int | None = None  # when the hello not yet answered was sent
        self._said_hello_ms = 0
        self._hello_due = False
        self._live_due_ms: int | None = None
        self._live_at_ms: int | None = None
        self._live_whole_ms = 0  # when it was last told whole, if it was on this connection
        self._live_changed = False
        self._waiting_since_ms: int | None = None
        self._heard_ms = 0
        self._gathered_ms: int | None = None  # when the next batch that gathers company goes
        self._held_until_ms: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self.last_ack_ms: int | None = None
        """When the cloud last answered, on the clock that now_ms comes from."""
        self.spread_s = 0
        """Over how many seconds the cloud last asked its edges to come back after a loss; 0: it did not."""
        self.heads(heads)

    @property
    def connected(self) -> bool:
        """Whether there is a connection; says nothing about whether anybody listens on it."""
        return self._connected

    def backlog(self) -> dict[Lane, int]:
        """Positions not acknowledged yet, per lane."""
        counts = dict.fromkeys(LANES, 0)
        for stream in self._streams.values():
            counts[stream.lane] += max(0, stream.last - stream.acked)
        return counts

    def heads(self, heads: Iterable[StreamHead]) -> None:
        """Take the log's streams anew, oldest incarnation first: at the start and whenever an incarnation began or
        was forgotten.
        """
        fresh: dict[tuple[bytes, Lane], _Stream] = {}
        for head in heads:
            known = self._streams.get((head.incarnation, head.lane))
            if known is None:
                known = _Stream(
                    head.incarnation, head.lane, head.last, head.acked, head.openings, head.closed, sent=head.acked
                )
                self._hello_due = self._hello_due or self._connected
            known.last = head.last if head.closed else max(known.last, head.last)
            known.openings, known.closed = head.openings, head.closed
            fresh[head.incarnation, head.lane] = known
        self._streams = fresh

    def appended(self, incarnation: bytes, lane: Lane, last: int, *, now_ms: int | None = None) -> bool:
        """The log has committed up to `last`; return whether `next_step` or `wake_ms` may differ for it.

        Without `now_ms` what was appended waits for no company.
        """
        stream = self._streams.get((incarnation, lane))
        if stream is None:
            return False
        first = stream.sent >= stream.last
        stream.last = max(stream.last, last)
        if now_ms is None or lane is Lane.A:
            stream.gathering_since_ms = None
            return True
        if first:
            stream.gathering_since_ms = now_ms
        return first or stream.gathering_since_ms is None or stream.last - stream.sent >= self._times.batch_records

    def live_changed(self) -> None:
        """The live state is not what was last sent."""
        self._live_changed = True

    def link_up(self, *, nonce: int, now_ms: int) -> None:
        """A connection was made. `nonce`: random, so that no answer to an earlier hello passes for this one's."""
        self._connected, self._nonce, self._nonce_base = True, nonce, nonce
        self._hello_due, self._hello_at_ms = True, None
        self._live_due_ms, self._live_at_ms = now_ms, None
        self._waiting_since_ms, self._heard_ms = None, now_ms
        for stream in self._streams.values():
            stream.in_flight.clear()
            stream.sent, stream.welcome, stream.rewound = stream.acked, False, None
            stream.gathering_since_ms = None

    def link_down(self) -> None:
        """The connection is gone."""
        self._connected = False

    def hear(self, ack: Ack, *, now_ms: int) -> list[Heard]:
        """Take an ack, in any order, as often as it comes."""
        self._heard_ms = self.last_ack_ms = now_ms
        if ack.spread_s or ack.status is AckStatus.WELCOME:
            self.spread_s = ack.spread_s
        answers_hello = ack.re == self._nonce
        of_this_link = ack.re is not None and self._nonce_base < ack.re <= self._nonce
        welcome = of_this_link and ack.status is AckStatus.WELCOME
        if of_this_link:
            self._hello_at_ms = None
        if ack.slow_ms:
            for lane in (Lane.B, Lane.C):
                self._held_until_ms[lane] = max(self._held_until_ms[lane], now_ms + ack.slow_ms)
        heard: list[Heard] = []
        if ack.status is AckStatus.REFUSED and not ack.marks:
            heard += self._refused(ack, now_ms)
        for mark in ack.marks:
            stream = self._streams.get((mark.incarnation, mark.lane))
            if stream is None:
                continue
            hi = min(mark.hi, stream.last) if stream.closed else mark.hi
            if not stream.closed and hi > stream.last:
                if hi - stream.last > POSITIONS_MAX:
                    heard.append(MarkBeyondReason(mark.incarnation, mark.lane, hi, stream.last))
                    continue
                if not welcome:  # which of its openings the cloud holds, a welcome says
                    self._ask_for_marks(now_ms)
                    continue
            if (cut := _parted_at(stream, mark)) is not None:
                heard.append(StoreWentBack(mark.incarnation, mark.lane, hi, cut))
                continue
            if welcome:
                stream.welcome = True
            moved = hi > stream.acked
            if moved:
                self._move(stream, hi)
                heard.append(Acknowledged(mark.incarnation, mark.lane, hi))
            elif welcome and answers_hello and hi < stream.acked_at_hello and hi < stream.acked:
                stream.acked, stream.sent = hi, hi
                stream.in_flight.clear()
                heard.append(CloudWentBack(mark.incarnation, mark.lane, hi))
            if ack.status is AckStatus.GAP:
                self._rewind_on_gap(stream, hi, now_ms)
            elif ack.status is AckStatus.REFUSED:
                if not moved and hi == stream.acked and stream.in_flight:  # else nothing of ours was refused
                    self._held_until_ms[stream.lane] = stream.refused_until_ms = now_ms + self._times.refused_hold_ms
                    stream.in_flight.clear()
                    stream.sent = stream.acked
                heard.append(Refused(stream.lane, ack.error or "refused"))
        asked = self._hello_at_ms is not None and self._hello_at_ms <= now_ms
        due = asked or any(stream.in_flight for stream in self._streams.values())
        self._waiting_since_ms = now_ms if due else None
        return heard

    def next_step(self, *, now_ms: int) -> Step | None:
        """Return the one thing to do now; None: nothing until `wake_ms` or until something is heard or appended."""
        if not self._connected:
            return None
        times = self._times
        for lane, until_ms in self._held_until_ms.items():
            if until_ms <= now_ms:
                self._held_until_ms[lane] = 0
        if self._waiting_since_ms is not None and now_ms - self._waiting_since_ms >= times.half_open_ms:
            return DropLink(f"nothing heard for {now_ms - self._waiting_since_ms} ms while an answer was due")
        if self._hello_is_due(now_ms):
            self._hello_due, self._hello_at_ms, self._said_hello_ms = False, now_ms, now_ms
            self._nonce += 1
            self._wait(now_ms)
            for stream in self._streams.values():
                stream.acked_at_hello = stream.acked
            return SayHello(self._nonce)
        if now_ms >= self._live_next_ms():
            first = self._live_at_ms is None
            whole = first or now_ms + times.live_least_ms > self._live_whole_ms + times.live_most_ms
            self._live_at_ms, self._live_due_ms, self._live_changed = now_ms, None, False
            self._live_whole_ms = now_ms if whole else self._live_whole_ms
            return SendLive(whole)
        self._send_again(now_ms)
        return self._batch(now_ms)

    def batch_sent(self, incarnation: bytes, lane: Lane, last: int, *, now_ms: int) -> None:
        """The batch asked for was handed to the connection; it reaches to `last`."""
        stream = self._streams.get((incarnation, lane))
        if stream is None or last <= stream.sent:
            return
        stream.sent = last
        stream.in_flight.append((last, now_ms))
        stream.gathering_since_ms = now_ms if stream.gathering_since_ms is not None else None
        self._wait(now_ms)

    @property
    def wake_ms(self) -> int | None:
        """When to ask for the next step again though nothing was heard or appended."""
        if not self._connected:
            return None
        times = self._times
        due = [self._live_next_ms()]
        if self._gathered_ms is not None:
            due.append(self._gathered_ms)
        if self._waiting_since_ms is not None:
            due.append(self._waiting_since_ms + times.half_open_ms)
        if self._hello_at_ms is not None:
            due.append(self._hello_at_ms + times.ack_wait_ms)
        else:
            due.append(self._heard_ms + times.probe_every_ms)
        for stream in self._streams.values():
            if stream.in_flight:
                due.append(stream.in_flight[0][1] + times.ack_wait_ms)
            if stream.sent < stream.last and self._held_until_ms[stream.lane]:
                due.append(self._held_until_ms[stream.lane])
        return min(due)

    def _refused(self, ack: Ack, now_ms: int) -> list[Heard]:
        """A lane or the hello was refused by name: what would be refused again at once waits."""
        until_ms = now_ms + self._times.refused_hold_ms
        if ack.lane is None:
            self._hello_at_ms = until_ms - self._times.ack_wait_ms
        else:
            self._held_until_ms[ack.lane] = until_ms
            for stream in self._streams.values():
                if stream.lane is ack.lane:
                    stream.in_flight.clear()
                    stream.sent = stream.acked
        return [Refused(ack.lane, ack.error or "refused")]

    def _wait(self, now_ms: int) -> None:
        if self._waiting_since_ms is None:
            self._waiting_since_ms = now_ms

    def _hello_is_due(self, now_ms: int) -> bool:
        if self._hello_at_ms is not None:
            return now_ms - self._hello_at_ms >= self._times.ack_wait_ms
        return self._hello_due or now_ms - self._heard_ms >= self._times.probe_every_ms

    def _live_next_ms(self) -> int:
        if self._live_at_ms is None:
            return self._live_due_ms or 0
        soonest_ms = self._live_at_ms + self._times.live_least_ms
        return soonest_ms if self._live_changed else max(soonest_ms, self._live_whole_ms + self._times.live_most_ms)

    def _move(self, stream: _Stream, hi: int) -> None:
        stream.acked = hi
        stream.sent = max(stream.sent, hi)
        if stream.refused_until_ms == self._held_until_ms[stream.lane]:  # ours is stored: another's was refused
            self._held_until_ms[stream.lane], stream.refused_until_ms = 0, None
        while stream.in_flight and stream.in_flight[0][0] <= hi:
            stream.in_flight.popleft()

    def _rewind_on_gap(self, stream: _Stream, hi: int, now_ms: int) -> None:
        if hi < stream.acked:
            # an old answer, overtaken; or the cloud was restored from a backup under a link that stands: a hello tells
            self._ask_for_marks(now_ms)
            return
        if stream.sent == hi:
            return
        if stream.rewound is not None:
            mark, when_ms = stream.rewound
            if mark == hi and now_ms - when_ms < self._times.rewind_hold_ms:
                return
        stream.rewound = (hi, now_ms)
        stream.sent = hi
        stream.in_flight.clear()

    def _ask_for_marks(self, now_ms: int) -> None:
        if self._hello_at_ms is None and now_ms - self._said_hello_ms >= self._times.ack_wait_ms:
            self._hello_due = True

    def _send_again(self, now_ms: int) -> None:
        for stream in self._streams.values():
            if stream.in_flight and now_ms - stream.in_flight[0][1] >= self._times.ack_wait_ms:
                stream.in_flight.clear()
                stream.sent = stream.acked

    def _batch(self, now_ms: int) -> SendBatch | None:
        self._gathered_ms = None
        in_flight = sum(len(stream.in_flight) for stream in self._streams.values())
        for lane in LANES:
            room = self._times.window_batches - (0 if lane is Lane.A else _PLACES_OF_LANE_A)
            if in_flight >= room or self._held_until_ms[lane]:
                continue
            # a lane's older incarnation is finished, acknowledged, before the next begins: order holds across them
            stream = next((s for s in self._streams.values() if s.lane is lane and s.acked < s.last), None)
            if stream is None or not stream.welcome or stream.sent >= stream.last:
                continue
            # With a batch on its way, the next of the lane goes when it is full: a trickle of single records on
            # one lane would otherwise take every turn from the lanes below it. Without one, lanes B and C gather
            # company for a moment: one batch, one ack and two commits a moment, and not as many as there are devices.
            full = stream.last - stream.sent >= self._times.batch_records
            if not full and (stream.in_flight or self._gathers(stream, now_ms)):
                continue
            return SendBatch(stream.incarnation, lane, stream.sent, self._times.batch_records)
        return None

    def _gathers(self, stream: _Stream, now_ms: int) -> bool:
        if stream.gathering_since_ms is None:
            return False
        age_ms = self._times.telemetry_age_ms if stream.lane is Lane.C else None
        due_ms = stream.gathering_since_ms + (self._times.batch_age_ms if age_ms is None else age_ms)
        if now_ms >= due_ms:
            return False
        self._gathered_ms = due_ms if self._gathered_ms is None else min(self._gathered_ms, due_ms)
        return True


_PLACES_OF_LANE_A: Final = 1


def _parted_at(stream: _Stream, mark: AckMark) -> int | None:
    """Return the last position at which cloud and log tell the same story, None if they do all the way to the mark.

    The mark names the openings of the store whose records the cloud holds, newest first. The newest one that
    this store
    knows too is where the stories part, if the cloud has more from it than this store wrote in it.
    """
    if stream.closed or mark.hi <= stream.acked:
        return None
    if mark.openings:
        befores = [before for _, before in stream.openings[1:]]
        ends = dict(zip((opening for opening, _ in stream.openings), [*befores, stream.last], strict=False))
        for each in mark.openings:
            if each in ends:
                return ends[each] if mark.hi > ends[each] else None
        return stream.acked
    return stream.last if mark.hi > stream.last else None
