"""The edge's state machine: what goes next, given what was heard and how much time went by."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.link.batch import POSITIONS_MAX
from protocols.link.edge_link import (
    Acknowledged,
    CloudWentBack,
    DropLink,
    EdgeLink,
    LinkTimes,
    MarkBeyondReason,
    Refused,
    SayHello,
    SendBatch,
    SendLive,
    Step,
    StoreWentBack,
    StreamHead,
)
from protocols.link.lanes import LANES, Lane
from protocols.link.messages import Ack, AckMark, AckStatus

INC = {lane: lane.value.encode() * 16 for lane in LANES}
T = LinkTimes(batch_records=10)


def heads(a: int = 0, b: int = 0, c: int = 0, *, acked: int = 0) -> list[StreamHead]:
    return [
        StreamHead(INC[lane], lane, 1, last, min(acked, last), ((b"opening1", 0),))
        for lane, last in zip(LANES, (a, b, c), strict=True)
    ]


def marks(a: int = 0, b: int = 0, c: int = 0) -> tuple[AckMark, ...]:
    return tuple(AckMark(INC[lane], lane, hi) for lane, hi in zip(LANES, (a, b, c), strict=True))


def welcomed(link: EdgeLink, *, now_ms: int = 0, at: tuple[int, int, int] = (0, 0, 0)) -> EdgeLink:
    """Connect, say hello and be welcomed, send the live state."""
    link.link_up(nonce=100, now_ms=now_ms)
    assert link.next_step(now_ms=now_ms) == SayHello(101)
    assert link.next_step(now_ms=now_ms) == SendLive()
    link.hear(Ack(AckStatus.WELCOME, marks(*at), re=101), now_ms=now_ms)
    return link


def send_all(link: EdgeLink, now_ms: int) -> list[tuple[Lane, int]]:
    """Send batches until there is nothing to do; return (lane, after) of each."""
    sent: list[tuple[Lane, int]] = []
    while isinstance(step := link.next_step(now_ms=now_ms), SendBatch):
        last = step.after_seq + step.most_records
        sent.append((step.lane, step.after_seq))
        link.batch_sent(step.incarnation, step.lane, last, now_ms=now_ms)
    assert step is None
    return sent


def stored(lane: Lane, hi: int, status: AckStatus = AckStatus.STORED) -> Ack:
    return Ack(status, (AckMark(INC[lane], lane, hi),))


@pytest.mark.guarantee("G12")
def test_hello_and_live_state_come_before_any_backlog() -> None:
    link = EdgeLink(heads(a=10, c=1_000), times=T)
    assert link.next_step(now_ms=0) is None
    link.link_up(nonce=100, now_ms=0)
    steps: list[Step | None] = [link.next_step(now_ms=0) for _ in range(3)]
    assert steps == [SayHello(101), SendLive(), None]  # no batch before the cloud has said where it stands
    link.hear(Ack(AckStatus.WELCOME, marks(), re=101), now_ms=5)
    assert link.next_step(now_ms=5) == SendBatch(INC[Lane.A], Lane.A, 0, 10)


@pytest.mark.guarantee("G12")
def test_lane_a_goes_first_and_keeps_a_place_in_the_window() -> None:
    link = welcomed(EdgeLink(heads(b=1_000, c=1_000), times=T))
    assert send_all(link, 0) == [(Lane.B, 0), (Lane.B, 10), (Lane.B, 20)]
    link.appended(INC[Lane.A], Lane.A, 1)
    assert link.next_step(now_ms=1) == SendBatch(INC[Lane.A], Lane.A, 0, 10)


@pytest.mark.guarantee("G12")
def test_a_trickle_on_lane_a_does_not_starve_the_others() -> None:
    link = welcomed(EdgeLink(heads(a=1, c=1_000), times=T))
    assert link.next_step(now_ms=0) == SendBatch(INC[Lane.A], Lane.A, 0, 10)
    link.batch_sent(INC[Lane.A], Lane.A, 1, now_ms=0)
    link.appended(INC[Lane.A], Lane.A, 2)
    assert [lane for lane, _ in send_all(link, 0)] == [Lane.C, Lane.C]
    link.hear(stored(Lane.A, 1), now_ms=9)
    assert link.next_step(now_ms=9) == SendBatch(INC[Lane.A], Lane.A, 1, 10)


def test_the_welcome_says_where_to_go_on() -> None:
    link = EdgeLink(heads(a=50), times=T)
    link.link_up(nonce=100, now_ms=0)
    link.next_step(now_ms=0)
    heard = link.hear(Ack(AckStatus.WELCOME, marks(a=33), re=101), now_ms=1)
    assert heard == [Acknowledged(INC[Lane.A], Lane.A, 33)]
    assert link.backlog()[Lane.A] == 17
    link.next_step(now_ms=1)
    assert send_all(link, 1) == [(Lane.A, 33)]


def test_an_answer_to_an_earlier_link_welcomes_nobody() -> None:
    link = EdgeLink(heads(a=50), times=T)
    link.link_up(nonce=100, now_ms=0)
    link.next_step(now_ms=0)
    link.next_step(now_ms=0)
    link.hear(Ack(AckStatus.WELCOME, marks(), re=99), now_ms=1)
    link.hear(Ack(AckStatus.WELCOME, marks(), re=102), now_ms=1)
    assert link.next_step(now_ms=1) is None


def test_a_gap_rewinds_once_however_often_it_is_answered() -> None:
    link = welcomed(EdgeLink(heads(a=40), times=T))
    assert len(send_all(link, 0)) == 4
    link.hear(stored(Lane.A, 10), now_ms=10)
    gap = stored(Lane.A, 10, AckStatus.GAP)
    link.hear(gap, now_ms=11)
    assert send_all(link, 11) == [(Lane.A, 10), (Lane.A, 20), (Lane.A, 30)]
    link.hear(gap, now_ms=12)
    link.hear(gap, now_ms=13)
    assert send_all(link, 13) == []
    link.hear(gap, now_ms=11 + T.rewind_hold_ms)
    assert send_all(link, 11 + T.rewind_hold_ms)[0] == (Lane.A, 10)


def test_what_is_not_acknowledged_in_time_is_sent_again() -> None:
    link = welcomed(EdgeLink(heads(b=10), times=T))
    assert send_all(link, 0) == [(Lane.B, 0)]
    assert link.wake_ms == T.ack_wait_ms
    assert send_all(link, T.ack_wait_ms - 1) == []
    assert send_all(link, T.ack_wait_ms) == [(Lane.B, 0)]


@pytest.mark.guarantee("G1")
def test_a_half_open_link_is_dropped_in_seconds() -> None:
    link = welcomed(EdgeLink(heads(b=10), times=T))
    send_all(link, 0)
    link.hear(stored(Lane.B, 5), now_ms=3_000)
    now_ms = 3_000
    while not isinstance(step := link.next_step(now_ms=now_ms), DropLink):
        if isinstance(step, SendBatch):
            link.batch_sent(step.incarnation, step.lane, 10, now_ms=now_ms)
        assert link.wake_ms is not None
        now_ms = max(now_ms + 1, link.wake_ms) if step is None else now_ms
    assert now_ms == 3_000 + T.half_open_ms


def test_an_idle_link_is_probed_and_a_silent_one_dropped() -> None:
    link = welcomed(EdgeLink(heads(), times=T))
    now_ms = 0
    steps: list[Step] = []
    while not steps or not isinstance(steps[-1], DropLink):
        step = link.next_step(now_ms=now_ms)
        if step is None:
            assert link.wake_ms is not None
            assert link.wake_ms > now_ms
            now_ms = link.wake_ms
        else:
            steps.append(step)
    assert isinstance(steps[0], SayHello)
    assert now_ms == T.probe_every_ms + T.half_open_ms


def test_live_state_goes_on_during_the_backlog_but_not_all_the_time() -> None:
    link = welcomed(EdgeLink(heads(c=1_000), times=T))
    link.live_changed()
    assert isinstance(link.next_step(now_ms=T.live_least_ms - 1), SendBatch)
    assert link.next_step(now_ms=T.live_least_ms) == SendLive(whole=False)
    assert isinstance(link.next_step(now_ms=T.live_least_ms), SendBatch)


@pytest.mark.guarantee("G12")
@given(st.lists(st.integers(0, 40_000), max_size=30))
def test_it_is_told_whole_at_the_latest_when_it_was_promised_and_what_changed_in_between(changes: list[int]) -> None:
    link = EdgeLink(heads(c=1_000), times=replace(T, half_open_ms=10**9, ack_wait_ms=10**9))
    link.link_up(nonce=1, now_ms=0)
    due, told = sorted(changes), list[tuple[int, bool]]()
    for now_ms in range(0, 120_000, 500):
        while due and due[0] <= now_ms:
            link.live_changed()
            due.pop(0)
        while (step := link.next_step(now_ms=now_ms)) is not None:
            if isinstance(step, SendLive):
                told.append((now_ms, step.whole))
    wholes = [at_ms for at_ms, whole in told if whole]
    assert wholes[0] == 0
    assert all(after - before <= T.live_most_ms for before, after in pairwise(wholes))
    assert all(after - before >= T.live_least_ms for (before, _), (after, _) in pairwise(told))
    for changed_ms in changes:
        at_ms = next(at_ms for at_ms, _ in told if at_ms >= changed_ms)
        assert at_ms - changed_ms <= T.live_least_ms + 500
    assert len(told) <= len(changes) + len(wholes), "nothing is told of nothing"


@pytest.mark.guarantee("G12")
def test_asked_to_slow_down_only_lane_a_goes_on() -> None:
    link = welcomed(EdgeLink(heads(a=5, b=10, c=10), times=T))
    link.hear(Ack(AckStatus.STORED, (), slow_ms=2_000), now_ms=0)
    assert send_all(link, 0) == [(Lane.A, 0)]
    link.hear(stored(Lane.A, 5), now_ms=100)
    assert link.wake_ms == 2_000
    assert send_all(link, 2_000) == [(Lane.B, 0), (Lane.C, 0)]


def test_a_lane_whose_version_is_refused_waits_and_the_others_go_on() -> None:
    link = welcomed(EdgeLink(heads(a=10, b=10), times=T))
    assert send_all(link, 0) == [(Lane.A, 0), (Lane.B, 0)]
    heard = link.hear(Ack(AckStatus.REFUSED, (), error="UnsupportedVersionError", lane=Lane.A), now_ms=1)
    assert heard == [Refused(Lane.A, "UnsupportedVersionError")]
    link.hear(stored(Lane.B, 10), now_ms=2)
    assert send_all(link, 2) == []
    assert link.wake_ms is not None
    assert link.wake_ms <= 1 + T.refused_hold_ms
    now_ms = 2
    while not isinstance(step := link.next_step(now_ms=now_ms), SendBatch):
        if isinstance(step, SayHello):
            link.hear(Ack(AckStatus.WELCOME, marks(b=10), re=step.nonce), now_ms=now_ms)
        now_ms = max(now_ms, link.wake_ms) if step is None else now_ms
    assert (step.lane, now_ms) == (Lane.A, 1 + T.refused_hold_ms)


def test_a_batch_the_cloud_stepped_over_does_not_hold_its_lane() -> None:
    link = welcomed(EdgeLink(heads(b=30), times=T))
    send_all(link, 0)
    heard = link.hear(Ack(AckStatus.REFUSED, (AckMark(INC[Lane.B], Lane.B, 10),), error="PeerProtocolError"), now_ms=1)
    assert heard == [Acknowledged(INC[Lane.B], Lane.B, 10), Refused(Lane.B, "PeerProtocolError")]
    link.hear(stored(Lane.B, 30), now_ms=2)
    assert not any(link.backlog().values())


@pytest.mark.guarantee("G1")
def test_a_cloud_that_went_back_is_sent_again_what_it_lost() -> None:
    link = welcomed(EdgeLink(heads(a=40, acked=40), times=T), at=(40, 0, 0))
    assert send_all(link, 0) == []
    link.link_down()
    link.link_up(nonce=200, now_ms=1_000)
    link.next_step(now_ms=1_000)
    link.next_step(now_ms=1_000)
    heard = link.hear(Ack(AckStatus.WELCOME, marks(a=25), re=201), now_ms=1_001)
    assert heard == [CloudWentBack(INC[Lane.A], Lane.A, 25)]
    assert send_all(link, 1_001) == [(Lane.A, 25)]


def test_an_old_ack_that_was_overtaken_takes_nothing_back() -> None:
    link = welcomed(EdgeLink(heads(a=40), times=T))
    send_all(link, 0)
    link.hear(stored(Lane.A, 40), now_ms=5)
    assert link.hear(stored(Lane.A, 10), now_ms=6) == []
    assert link.backlog()[Lane.A] == 0


@pytest.mark.guarantee("G18")
@pytest.mark.parametrize(
    ("openings", "last", "cloud_hi", "cloud_openings", "cut"),
    [
        # put back after the cloud took more from the opening in which the copy was made
        (((b"opening1", 0), (b"opening2", 60)), 75, 70, (b"opening1",), 60),
        # ... even where this store has written past the cloud's mark meanwhile: marks alone would not tell
        (((b"opening1", 0), (b"opening2", 60)), 95, 70, (b"opening1",), 60),
        # the cloud knows an opening that this store never had
        (((b"opening1", 0), (b"opening2", 60)), 75, 90, (b"openingX", b"opening1"), 60),
        # the copy was made in an opening of which the cloud heard nothing
        (((b"opening1", 0), (b"opening2", 40), (b"opening3", 60)), 75, 90, (b"openingX", b"opening1"), 40),
        # nothing wrong
        (((b"opening1", 0), (b"opening2", 60)), 75, 60, (b"opening1",), None),
        (((b"opening1", 0), (b"opening2", 60)), 75, 70, (b"opening2", b"opening1"), None),
    ],
)
def test_a_store_put_back_from_a_backup_is_recognised(
    openings: tuple[tuple[bytes, int], ...],
    last: int,
    cloud_hi: int,
    cloud_openings: tuple[bytes, ...],
    cut: int | None,
) -> None:
    link = EdgeLink([StreamHead(INC[Lane.A], Lane.A, 1, last, 30, openings)], times=T)
    link.link_up(nonce=100, now_ms=0)
    link.next_step(now_ms=0)
    mark = AckMark(INC[Lane.A], Lane.A, cloud_hi, cloud_openings)
    [heard] = link.hear(Ack(AckStatus.WELCOME, (mark,), re=101), now_ms=1)
    if cut is None:
        assert heard == Acknowledged(INC[Lane.A], Lane.A, cloud_hi)
    else:
        assert heard == StoreWentBack(INC[Lane.A], Lane.A, cloud_hi, cut)


@pytest.mark.guarantee("G1", "G19")
@pytest.mark.parametrize("hi", [76 + POSITIONS_MAX, 2**60, 2**63 - 1])
@pytest.mark.parametrize("openings", [(), (b"opening1",), (b"stranger",)], ids=["unnamed", "ours", "stranger"])
def test_a_mark_that_no_newer_copy_could_have_reached_changes_nothing(hi: int, openings: tuple[bytes, ...]) -> None:
    link = EdgeLink(heads(b=75, c=75), times=T)
    link.link_up(nonce=100, now_ms=0)
    link.next_step(now_ms=0)
    link.next_step(now_ms=0)
    beyond = AckMark(INC[Lane.B], Lane.B, hi, openings)
    others = tuple(mark for mark in marks() if mark.lane is not Lane.B)
    heard = link.hear(Ack(AckStatus.WELCOME, (beyond, *others), re=101), now_ms=1)
    assert heard == [MarkBeyondReason(INC[Lane.B], Lane.B, hi, 75)]
    assert {lane for lane, _ in send_all(link, 1)} == {Lane.C}  # nothing goes where the cloud would drop it
    assert link.backlog()[Lane.B] == 75
    link.hear(Ack(AckStatus.WELCOME, marks(b=40), re=101), now_ms=2)  # the cloud was put right
    assert link.backlog()[Lane.B] == 35


@pytest.mark.guarantee("G1", "G19")
@pytest.mark.parametrize("status", [AckStatus.STORED, AckStatus.DUPLICATE, AckStatus.GAP, AckStatus.REFUSED])
@pytest.mark.parametrize("past", [1, 3, POSITIONS_MAX, POSITIONS_MAX + 1, 2**62])
def test_outside_a_welcome_a_mark_past_the_log_moves_nothing(status: AckStatus, past: int) -> None:
    link = welcomed(EdgeLink(heads(b=75), times=T), at=(0, 75, 0))
    now_ms = T.ack_wait_ms
    heard = link.hear(stored(Lane.B, 75 + past, status), now_ms=now_ms)
    assert not any(isinstance(each, StoreWentBack | Acknowledged) for each in heard)
    assert link.backlog()[Lane.B] == 0
    link.appended(INC[Lane.B], Lane.B, 85)
    if past > POSITIONS_MAX:
        assert heard == [MarkBeyondReason(INC[Lane.B], Lane.B, 75 + past, 75)]
    else:
        assert heard == []
        assert link.next_step(now_ms=now_ms) == SayHello(102)  # the welcome tells what is so
        welcome = Ack(AckStatus.WELCOME, marks(b=75), re=102)
        assert link.hear(welcome, now_ms=now_ms + 1) == []
    assert send_all(link, now_ms + 1) == [(Lane.B, 75)]
    assert link.hear(stored(Lane.B, 85), now_ms=now_ms + 2) == [Acknowledged(INC[Lane.B], Lane.B, 85)]


def test_a_refusal_of_what_another_sent_does_not_hold_the_lane() -> None:
    refusal = replace(stored(Lane.B, 0, AckStatus.REFUSED), error="PeerProtocolError")
    link = welcomed(EdgeLink(heads(), times=T))
    assert link.hear(refusal, now_ms=1) == [Refused(Lane.B, "PeerProtocolError")]
    link.appended(INC[Lane.B], Lane.B, 10)
    assert send_all(link, 1) == [(Lane.B, 0)]  # nothing was in flight: nothing of ours was refused
    link.hear(refusal, now_ms=2)
    assert send_all(link, 2) == []  # it may have been ours ...
    link.hear(stored(Lane.B, 10), now_ms=3)
    link.appended(INC[Lane.B], Lane.B, 20)
    assert send_all(link, 3) == [(Lane.B, 10)]  # ... and was not
    link.hear(replace(refusal, marks=stored(Lane.B, 10).marks), now_ms=4)
    link.hear(replace(stored(Lane.B, 10), slow_ms=90_000), now_ms=5)
    link.hear(stored(Lane.B, 15), now_ms=6)
    assert send_all(link, 6) == []  # asked to slow down: that stands


def test_an_older_incarnation_is_finished_before_the_next_begins() -> None:
    old, new = b"old" + bytes(13), b"new" + bytes(13)
    link = EdgeLink(
        [
            StreamHead(old, Lane.A, 1, 5, 0, closed=True),
            StreamHead(new, Lane.A, 1, 5, 0),
        ],
        times=T,
    )
    link.link_up(nonce=100, now_ms=0)
    link.next_step(now_ms=0)
    link.next_step(now_ms=0)
    link.hear(Ack(AckStatus.WELCOME, (AckMark(old, Lane.A, 0), AckMark(new, Lane.A, 0)), re=101), now_ms=1)
    assert link.next_step(now_ms=1) == SendBatch(old, Lane.A, 0, 10)
    link.batch_sent(old, Lane.A, 5, now_ms=1)
    assert link.next_step(now_ms=1) is None
    link.hear(Ack(AckStatus.STORED, (AckMark(old, Lane.A, 5),)), now_ms=2)
    assert link.next_step(now_ms=2) == SendBatch(new, Lane.A, 0, 10)


def test_telemetry_may_gather_for_longer_and_events_do_not_wait_for_it() -> None:
    lanes = (Lane.B, Lane.C)
    times = replace(T, telemetry_age_ms=10_000)
    link = EdgeLink([StreamHead(INC[lane], lane, 1, 0, 0) for lane in lanes], times=times)
    link.link_up(nonce=100, now_ms=0)
    hello = link.next_step(now_ms=0)
    assert isinstance(hello, SayHello)
    link.next_step(now_ms=0)  # the live state
    marks = tuple(AckMark(INC[lane], lane, 0) for lane in lanes)
    link.hear(Ack(AckStatus.WELCOME, marks, re=hello.nonce), now_ms=1)
    link.appended(INC[Lane.C], Lane.C, 1, now_ms=1_000)
    link.appended(INC[Lane.B], Lane.B, 1, now_ms=1_000)
    sent: list[tuple[Lane, int]] = []
    for now_ms in range(1_000, 12_000, 10):
        while (step := link.next_step(now_ms=now_ms)) is not None:
            if isinstance(step, SendBatch):
                sent.append((step.lane, now_ms))
                link.batch_sent(step.incarnation, step.lane, 1, now_ms=now_ms)
                link.hear(Ack(AckStatus.STORED, (AckMark(INC[step.lane], step.lane, 1),)), now_ms=now_ms)
    assert sent == [(Lane.B, 1_000 + T.batch_age_ms), (Lane.C, 11_000)]


def test_a_trickle_of_telemetry_gathers_company_and_lane_a_never_waits() -> None:
    link = EdgeLink([StreamHead(INC[lane], lane, 1, 0, 0) for lane in (Lane.A, Lane.C)], times=T)
    link.link_up(nonce=100, now_ms=0)
    hello = link.next_step(now_ms=0)
    assert isinstance(hello, SayHello)
    link.next_step(now_ms=0)  # the live state
    marks = tuple(AckMark(INC[lane], lane, 0) for lane in (Lane.A, Lane.C))
    link.hear(Ack(AckStatus.WELCOME, marks, re=hello.nonce), now_ms=1)
    assert link.appended(INC[Lane.C], Lane.C, 1, now_ms=1_000)
    assert link.next_step(now_ms=1_000) is None
    assert link.wake_ms == 1_000 + T.batch_age_ms
    assert not link.appended(INC[Lane.C], Lane.C, 2, now_ms=1_050)  # nothing to do sooner for it
    assert link.appended(INC[Lane.A], Lane.A, 1, now_ms=1_060)
    assert link.next_step(now_ms=1_060) == SendBatch(INC[Lane.A], Lane.A, 0, T.batch_records)
    link.batch_sent(INC[Lane.A], Lane.A, 1, now_ms=1_060)
    assert link.next_step(now_ms=999 + T.batch_age_ms) is None
    assert link.next_step(now_ms=1_000 + T.batch_age_ms) == SendBatch(INC[Lane.C], Lane.C, 0, T.batch_records)
    link.batch_sent(INC[Lane.C], Lane.C, 2, now_ms=1_200)
    link.hear(Ack(AckStatus.STORED, (AckMark(INC[Lane.C], Lane.C, 2),)), now_ms=1_210)
    assert link.appended(INC[Lane.C], Lane.C, 2 + T.batch_records, now_ms=1_220)  # a full one waits for nobody
    assert link.next_step(now_ms=1_220) == SendBatch(INC[Lane.C], Lane.C, 2, T.batch_records)


def test_what_waits_for_company_never_wakes_the_link_in_vain() -> None:
    """With the window full, held back or not welcome, a due batch must not make the caller spin."""
    link = EdgeLink([StreamHead(INC[Lane.C], Lane.C, 1, 0, 0)], times=T)
    link.link_up(nonce=100, now_ms=0)
    link.next_step(now_ms=0)
    link.next_step(now_ms=0)
    link.appended(INC[Lane.C], Lane.C, 1, now_ms=10)
    assert link.next_step(now_ms=10 + 2 * T.batch_age_ms) is None  # no welcome yet
    assert link.wake_ms is not None
    assert link.wake_ms > 10 + 2 * T.batch_age_ms


@pytest.mark.guarantee("G11")
def test_who_is_told_that_he_is_heard_keeps_the_link_and_sends_nothing_twice() -> None:
    link = welcomed(EdgeLink(heads(c=10), times=T))
    assert send_all(link, 0) == [(Lane.C, 0)]
    for now_ms in range(2_000, 60_000, 2_500):
        link.hear(Ack(AckStatus.STORED, (), slow_ms=3_000), now_ms=now_ms)
        steps = [link.next_step(now_ms=now_ms + each) for each in (0, 1_200, 2_499)]
        assert all(each is None or isinstance(each, SendLive) for each in steps)
        assert link.backlog()[Lane.C] == 10, "nothing is taken for stored"
    link.hear(stored(Lane.C, 10), now_ms=60_000)
    assert link.backlog()[Lane.C] == 0


@pytest.mark.guarantee("G1")
def test_who_is_told_no_more_sends_again_when_his_hold_is_over() -> None:
    link = welcomed(EdgeLink(heads(c=10), times=T))
    send_all(link, 0)
    link.hear(Ack(AckStatus.STORED, (), slow_ms=3_000), now_ms=3_500)
    assert link.next_step(now_ms=6_400) is None
    assert send_all(link, 6_500) == [(Lane.C, 0)]
