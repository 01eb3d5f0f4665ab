"""Visits: bumps arrive once and are confirmed, records arrive whole and once, and a lock that lies is named."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.doors.lock_states import HEARD_MOST_MS, NEWS_MOST_MS, TOLD_MOST_MS
from edge.doors.radio import Sighting
from edge.doors.sync import ACKNOWLEDGED_EVERY, ASK_EVERY_MS, REST_MS, VISITS_MOST
from kit.clock import ClockQuality
from protocols.door.advert import SLOT_S, SLOTS_AROUND, Advert, AdvertBit
from protocols.door.audit import AuditBrokenError, AuditEvent, link
from protocols.door.hardware import Bolt
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import RECORDS_MOST
from protocols.door.phone import AskStatus, Carry
from protocols.door.status import Status
from protocols.errors import LinkLostError
from protocols.grant.lock_time import TimeQuality
from protocols.vectors.fixed import AT_S
from tests.edge.doors.building import Building, MemoryRadio


@pytest.fixture
def building(tmp_path: Path):  # type: ignore[no-untyped-def]  # noqa: ANN201
    made = Building(tmp_path)
    yield made
    made.store.close()


def events(building: Building) -> list[tuple[str, str | None, str | None]]:
    return [(e.body["event"], e.body.get("stay"), e.body.get("reason")) for e in building.store.events(0)]


@pytest.mark.requirement("ACC-12", "ACC-23", "P10")
async def test_the_log_says_which_stay_opened_which_door_and_who_was_refused(building: Building) -> None:
    anna, bert = building.phone("anna"), building.phone("bert")
    anna.check_in("stay-1", "101")
    anna.open("door-101")
    bert.check_in("stay-2", "101")
    bert.open("door-101")
    anna.open("door-101")
    await building.visit("door-101")
    assert events(building) == [
        ("promoted", "stay-1", None),
        ("opened", "stay-1", None),
        ("promoted", "stay-2", None),
        ("opened", "stay-2", None),
        ("refused", "stay-1", "superseded"),
    ]
    [opened] = [e for e in building.store.events(0) if e.body["event"] == "opened" and e.body["stay"] == "stay-1"]
    assert opened.body["door"] == "door-101"
    assert opened.body["at_ms"] == building.clock.wall_ms()
    assert opened.body["lock_seq"] == 2


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P9")
async def test_a_bump_is_pending_until_the_lock_itself_says_so(building: Building) -> None:
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    anna.open("door-101")
    building.desk.end_stay("stay-1")
    lock = building.locks["door-101"]
    building.radio.out_of_reach.add(lock.identity.lock_id.hex())
    with pytest.raises(LinkLostError):
        await building.visit("door-101")
    assert len(building.store.pending_bumps()) == 1
    building.restart()  # the queue is on disk
    building.radio.out_of_reach.clear()
    await building.visit("door-101")
    assert building.store.pending_bumps() == []
    assert anna.open("door-101").result.status is Status.SUPERSEDED


@pytest.mark.guarantee("G14")
@pytest.mark.requirement("P10")
async def test_a_full_log_breathes_while_it_is_read_and_a_broken_visit_is_not_begun_anew(building: Building) -> None:
    anna, lock = building.phone("anna"), building.locks["door-101"]
    anna.check_in("stay-1", "101")
    anna.open("door-101")
    while len(lock.core.records) < RECORDS_MOST:
        lock.core = lock.core.recorded(AuditEvent.OPENED, lock.sensed, Status.OPENED)
    building.radio.cut_after = 80  # frames: somewhere in the middle
    with pytest.raises(LinkLostError):
        await building.visit("door-101")
    held = building.store.lock(lock.identity.lock_id).seq
    assert 0 < held < RECORDS_MOST
    chunk = 20
    assert held - ACKNOWLEDGED_EVERY * chunk <= lock.core.acked_seq <= held  # what was told so far may be forgotten
    assert lock.core.acked_seq > 0
    for _ in range(ACKNOWLEDGED_EVERY * chunk):  # there is room again
        anna.open("door-101")
    building.radio.cut_after = None
    asked = building.radio.sessions
    await building.visit("door-101")
    assert building.radio.sessions == asked + 1
    records = building.store.records(lock.identity.lock_id, 0, 10_000)
    assert [each.seq for each in records] == list(range(1, lock.core.audit_seq + 1))
    assert AuditEvent.LOST not in {each.event for each in records}
    assert lock.core.acked_seq == lock.core.audit_seq
    assert building.store.lock(lock.identity.lock_id).broken is None


@pytest.mark.guarantee("G1", "G14")
@given(cut_after=st.integers(0, 12))
@settings(max_examples=13, deadline=None)
def test_a_visit_cut_anywhere_loses_and_repeats_nothing(
    tmp_path_factory: pytest.TempPathFactory, cut_after: int
) -> None:
    building = Building(tmp_path_factory.mktemp("cut"))
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    for _ in range(25):  # more than one chunk
        anna.open("door-101")

    async def visits() -> None:
        building.radio.cut_after = cut_after
        with suppress(LinkLostError):
            await building.visit("door-101")
        building.radio.cut_after = None
        building.restart()
        await building.visit("door-101")
        await building.visit("door-101")

    asyncio.run(visits())
    seqs = [e.body["lock_seq"] for e in building.store.events(0)]
    core = building.locks["door-101"].core
    assert seqs == list(range(1, core.audit_seq + 1))
    assert core.acked_seq == core.audit_seq == 26
    building.store.close()


@pytest.mark.guarantee("G14")
@pytest.mark.parametrize("crime", ["changed", "dropped", "restored"])
async def test_a_changed_log_is_named_once_and_the_door_goes_on(building: Building, crime: str) -> None:
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    lock = building.locks["door-101"]
    anna.open("door-101")
    old = lock.core
    anna.open("door-101")
    await building.visit("door-101")
    anna.open("door-101")
    if crime == "changed":
        lock.core = replace(lock.core, records=(*lock.core.records[:-1], replace(lock.core.records[-1], time_s=1)))
    elif crime == "dropped":
        lock.core = replace(lock.core, records=lock.core.records[:-2])
    else:
        lock.core = old
    booked = building.book.by_lock(lock.identity.lock_id)
    assert booked is not None
    with pytest.raises(AuditBrokenError):
        await building.visit("door-101")
    building.sync.wanted(lock.sighting())
    for _ in range(2):
        await building.sync._visited(booked, building.radio, lock.identity.lock_id.hex())
    assert [event for event, *_ in events(building)].count("log_broken") == 1
    assert building.store.lock(lock.identity.lock_id).broken is not None
    assert anna.open("door-101").result.status is Status.OPENED


@pytest.mark.requirement("P8")
async def test_a_lock_without_time_is_recognised_and_gets_its_clock_back(building: Building) -> None:
    lock = building.locks["door-101"]
    building.clock.advance(5 * 86_400_000)
    lock.core = lock.core.restarted(lock.sensed)
    assert Advert.decode(lock.sighting().service_data).bits & AdvertBit.TIME_UNCERTAIN
    door = building.sync.wanted(lock.sighting())
    assert door is not None
    assert door.door == "door-101"
    await building.visit("door-101")
    time = lock.core.time(lock.sensed.rtc_s)
    assert time.quality is TimeQuality.FRESH
    assert time.now_s == building.clock.wall_ms() // 1_000


async def test_an_unsound_clock_still_fetches_and_neither_sets_time_nor_acknowledges(building: Building) -> None:
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    anna.open("door-101")
    building.clock.quality = ClockQuality.UNCERTAIN
    await building.visit("door-101")
    assert len(events(building)) == 2
    assert building.locks["door-101"].core.acked_seq == 0


def test_only_a_lock_with_news_or_a_bump_is_visited_and_never_twice_at_once(building: Building) -> None:
    lock = building.locks["door-101"]
    assert building.sync.wanted(lock.sighting()) is not None  # nobody has asked it since the start
    asyncio.run(building.visit("door-101"))
    assert building.sync.wanted(lock.sighting()) is None  # nothing to fetch
    building.clock.advance(ASK_EVERY_MS)
    assert building.sync.wanted(lock.sighting()) is not None  # its adverts alone prove nothing
    asyncio.run(building.visit("door-101"))
    assert building.sync.wanted(lock.sighting()) is None
    building.sync.bumped([lock.identity.lock_id])
    assert building.sync.wanted(lock.sighting()) is not None
    building.sync._visiting.add(lock.identity.lock_id)
    assert building.sync.wanted(lock.sighting()) is None


def test_no_more_locks_are_visited_at_once_than_the_air_has_room_for(building: Building) -> None:
    first, second, third = building.locks.values()
    building.sync._visiting |= {first.identity.lock_id, second.identity.lock_id}
    assert len(building.sync._visiting) == VISITS_MOST
    assert building.sync.wanted(third.sighting()) is None
    building.sync._visiting.remove(second.identity.lock_id)
    assert building.sync.wanted(first.sighting()) is None
    assert building.sync.wanted(third.sighting()) is not None


def test_an_advert_is_read_once_and_known_no_longer_than_its_id_is(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = building.locks["door-101"]
    asyncio.run(building.visit("door-101"))
    building.clock.advance(REST_MS)
    read: list[bytes] = []
    decode = Advert.decode

    def noting(data: bytes) -> Advert:
        read.append(data)
        return decode(data)

    monkeypatch.setattr(Advert, "decode", noting)
    quiet = lock.sighting()
    for _ in range(5):
        building.clock.advance(1_000)
        assert building.sync.wanted(quiet) is None
    assert read == [quiet.service_data]
    news = replace(quiet, service_data=replace(decode(quiet.service_data), bits=AdvertBit.WANTS_SYNC).encode())
    assert building.sync.wanted(news) is not None  # what it says anew is read anew
    assert building.sync.wanted(quiet) is None
    assert read == [quiet.service_data, news.service_data]
    recorded = building.sync._strangers._value.get()
    building.clock.advance((SLOTS_AROUND + 1) * SLOT_S * 1_000)
    assert building.sync.wanted(news) is None  # a recording: the lock has another id by now
    assert building.sync._strangers._value.get() == recorded + 1


@pytest.mark.guarantee("G1")
async def test_a_lock_without_news_costs_the_disk_one_commit_and_its_contact_is_kept(building: Building) -> None:
    lock = building.locks["door-101"]
    await building.visit("door-101")
    building.clock.advance(ASK_EVERY_MS)
    written: list[str] = []

    def trace(_cursor: object, sql: str, _values: object) -> bool:
        written.append(sql.split(maxsplit=1)[0])
        return True

    building.store._db.exec_trace = trace
    await building.visit("door-101")
    building.store._db.exec_trace = None
    assert written.count("COMMIT") == 1
    building.restart()
    assert building.store.lock(lock.identity.lock_id).contact_at_ms == building.clock.wall_ms()
    lock.core = replace(lock.core, noise=7)  # a checkpoint alone tells of it
    await building.visit("door-101")
    assert building.store.lock(lock.identity.lock_id).noise == 7


@pytest.mark.guarantee("G19")
@given(data=st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_no_advert_crashes_the_listener(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    building = _QUIET.get("building") or Building(tmp_path_factory.mktemp("quiet"))
    _QUIET["building"] = building
    assert building.sync.wanted(Sighting("aa", data)) is None


_QUIET: dict[str, Building] = {}


async def test_run_visits_what_it_hears_and_a_dead_lock_harms_no_other(building: Building) -> None:
    for door in ("door-101", "door-102"):
        building.phone(door).check_in(f"stay-{door}", door.removeprefix("door-"))
        phone = building.phone(door)
        phone.check_in(f"stay-{door}", door.removeprefix("door-"))
        phone.open(door)
    building.radio.out_of_reach.add(building.locks["door-101"].identity.lock_id.hex())
    task = asyncio.create_task(building.sync.run(building.radio))
    for door in ("door-101", "door-102"):
        building.radio.heard.put_nowait(building.locks[door].sighting())
    async with asyncio.timeout(20):
        await building.sync.changed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {e.body["door"] for e in building.store.events(0)} == {"door-102"}


async def test_a_dead_adapter_is_a_link_lost_and_the_next_run_visits_again(building: Building) -> None:
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    anna.open("door-101")
    lock = building.locks["door-101"]

    class Dying(MemoryRadio):
        async def sightings(self) -> AsyncIterator[Sighting]:
            yield lock.sighting()
            raise LinkLostError("the adapter is gone")

    dying = Dying(building.radio.locks, building.dice, out_of_reach={lock.identity.lock_id.hex()})
    with pytest.raises(LinkLostError, match="adapter"):
        await building.sync.run(dying)
    building.clock.advance(60_000)
    building.sync._visiting.add(lock.identity.lock_id)  # as a visit that was cancelled unborn leaves it
    alive = Dying(building.radio.locks, building.dice)
    with pytest.raises(LinkLostError, match="adapter"):
        await building.sync.run(alive)
    assert len(events(building)) == 2


async def test_a_restored_edge_learns_a_rooms_generation_from_its_lock(building: Building, tmp_path: Path) -> None:
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    anna.open("door-101")
    building.store.close()
    (tmp_path / "doors.db").unlink()
    for extra in tmp_path.glob("doors.db-*"):
        extra.unlink()
    building.open()
    lock = building.locks["door-101"]
    assert building.store.highest((101,)) == 0
    await building.visit("door-101")
    assert building.store.highest((101,)) == lock.core.generation
    building.phone("bert").check_in("stay-2", "101")
    assert building.store.highest((101,)) == lock.core.generation + 1


async def test_a_lock_that_claims_a_day_to_come_does_not_spend_the_rooms_numbers(building: Building) -> None:
    lock = building.locks["door-101"]
    lock.core = replace(lock.core, generation=2**24 - 1)
    with pytest.raises(AuditBrokenError, match="day to come"):
        await building.visit("door-101")
    assert building.store.highest((101,)) == 0
    building.phone("anna").check_in("stay-1", "101")


async def test_a_full_log_says_how_much_it_lost(building: Building) -> None:
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    lock = building.locks["door-101"]
    anna.open("door-101")
    core: LockCore = lock.core
    from protocols.door.audit import AuditEvent
    from protocols.door.lock_memory import RECORDS_MOST

    for _ in range(RECORDS_MOST):
        core = core.recorded(AuditEvent.OPENED, lock.sensed, Status.OPENED)
    lock.core = core
    await building.visit("door-101")
    lost = [e.body["lost"] for e in building.store.events(0) if e.body["event"] == "lost"]
    if not lost:  # the rest is fetched with the next pages of events
        lost = [
            e.body["lost"]
            for after in range(0, RECORDS_MOST, 500)
            for e in building.store.events(after)
            if e.body["event"] == "lost"
        ]
    assert lost[0] == 16
    assert lock.core.acked_seq == lock.core.audit_seq


async def test_what_a_stranger_carries_changes_nothing(building: Building) -> None:
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    anna.open("door-101")
    lock = building.locks["door-101"]
    keys = lock.identity.door_keys(building.clock.wall_ms() // 1_000, building.clock.wall_ms() // 1_000)
    before = lock.core.generation
    answer = anna.ask(keys, Carry(b"\x84\x40\xa0\x40\x40", b"nonsense"), lock)
    assert answer.result.status is Status.MALFORMED
    assert lock.core.generation == before
    assert anna.ask(keys, AskStatus(), lock).result.status is Status.DONE


@pytest.mark.guarantee("G10", "G14")
@pytest.mark.parametrize("years", [-30, -1, 1, 30])
async def test_a_clock_that_jumps_by_years_blinds_nobody_and_accuses_no_lock(building: Building, years: int) -> None:
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    anna.open("door-101")
    building.desk.end_stay("stay-1")  # signed while the clock was sound
    building.clock.step_wall(years * 365 * 86_400_000)
    building.clock.quality = ClockQuality.UNCERTAIN
    lock = building.locks["door-101"]
    assert building.sync.wanted(lock.sighting()) is not None
    await building.visit("door-101")
    assert [event for event, *_ in events(building)] == ["promoted", "opened", "bumped"]
    assert building.store.pending_bumps() == []
    assert building.store.lock(lock.identity.lock_id).broken is None
    assert anna.open("door-101").result.status is Status.SUPERSEDED
    building.clock.step_wall(-years * 365 * 86_400_000)
    building.clock.quality = ClockQuality.SYNCHRONISED
    await building.visit("door-101")
    assert lock.core.acked_seq == lock.core.audit_seq


@pytest.mark.guarantee("G4")
async def test_a_bump_that_its_lock_refuses_is_signed_anew_and_arrives(building: Building) -> None:
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    anna.open("door-101")
    building.desk.end_stay("stay-1")
    [bump] = building.store.pending_bumps()
    assert bump.signed is not None
    assert bump.certificate is not None
    building.store.sign_bump(bump.no, bump.signed[:-1] + bytes([bump.signed[-1] ^ 1]), bump.certificate, AT_S)
    await building.visit("door-101")
    assert len(building.store.pending_bumps()) == 1
    await building.visit("door-101")
    assert building.store.pending_bumps() == []
    assert anna.open("door-101").result.status is Status.SUPERSEDED


@pytest.mark.guarantee("G9")
async def test_records_nobody_takes_stay_at_their_locks_and_bumps_go_on(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.doors.sync.EVENTS_WAITING_MOST", 2)
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    anna.open("door-101")
    await building.visit("door-101")
    anna.open("door-101")
    building.desk.end_stay("stay-1")
    await building.visit("door-101")
    assert len(events(building)) == 2
    assert building.store.pending_bumps() == []
    building.store.forget_events(2)
    await building.visit("door-101")
    assert [event for event, *_ in events(building)] == ["opened", "bumped"]


@pytest.mark.guarantee("G17")
async def test_what_is_claimed_of_a_bolt_is_told_by_the_lock_and_doubted_in_time(building: Building) -> None:
    lock, states, clock = building.locks["door-101"], building.sync.states, building.clock
    lock.bolt, lock.battery_percent = Bolt.LOCKED, None
    building.sync.wanted(lock.sighting())
    assert states.snapshot() == []  # an advert proves nothing
    await building.visit("door-101")

    def shown() -> tuple[str | None, str]:
        [each] = states.snapshot()
        return each["state"], each["quality"]

    assert shown() == ("locked", "good")
    lock.bolt = Bolt.NOT_FULLY_LOCKED
    lock.core = lock.core.bolt_moved(lock.sensed)
    building.sync.wanted(lock.sighting())
    clock.advance(NEWS_MOST_MS + 1)
    building.sync.wanted(lock.sighting())
    assert shown() == ("locked", "uncertain")
    await building.visit("door-101")
    assert shown() == ("not_fully_locked", "good")
    assert events(building) == []  # who came and went is told by openings, not by the bolt
    assert lock.core.acked_seq == lock.core.audit_seq
    clock.advance(HEARD_MOST_MS + 1)
    assert shown() == ("not_fully_locked", "stale")
    building.sync.wanted(lock.sighting())
    assert shown() == ("not_fully_locked", "good")
    for _ in range(TOLD_MOST_MS // HEARD_MOST_MS + 1):
        clock.advance(HEARD_MOST_MS)
        building.sync.wanted(lock.sighting())
    assert shown() == ("not_fully_locked", "stale")
    lock.bolt = Bolt.UNKNOWN
    await building.visit("door-101")
    assert shown() == (None, "good")


@pytest.mark.guarantee("G14", "G19")
async def test_a_lock_that_signs_nonsense_is_its_own_problem(building: Building) -> None:
    for door, room in (("door-101", "101"), ("door-102", "102")):
        phone = building.phone(door)
        phone.check_in(f"stay-{room}", room)
        phone.open(door)
    bad = building.locks["door-101"]
    forged = replace(bad.core.records[-1], time_quality=9)
    forged = replace(forged, chain=link(bad.core.records[-2].chain, forged.body()))
    bad.core = replace(bad.core, records=(*bad.core.records[:-1], forged))
    booked = building.book.by_lock(bad.identity.lock_id)
    assert booked is not None
    building.sync.wanted(bad.sighting())
    await building.sync._visited(booked, building.radio, bad.identity.lock_id.hex())
    await building.visit("door-102")
    told = [(e.body["door"], e.body["event"], e.body.get("time_quality")) for e in building.store.events(0)]
    assert told == [("door-101", "log_broken", None), ("door-102", "promoted", 0), ("door-102", "opened", 0)]


@pytest.mark.requirement("P9", "P10")
@pytest.mark.parametrize("channel", ["works", "unable", "refused", "breaks"])
async def test_a_lock_is_visited_in_its_channel_and_by_gatt_for_an_hour_once_that_failed(
    building: Building, channel: Literal["works", "unable", "refused", "breaks"]
) -> None:
    lock, radio = building.locks["door-101"], building.radio
    lock.channel, radio.channel = 5, channel
    anna = building.phone("anna")
    anna.check_in("s-1", "101")

    async def passes(hours: float) -> None:
        building.clock.advance(round(hours * 3_600_000))
        anna.open("door-101")  # it wants a sync
        sighting = lock.sighting()
        booked = building.sync.wanted(sighting)
        assert booked is not None
        await building.sync._heard_of(booked, radio, sighting)

    for hours in (0, 0.1, 0.5, 0.5):
        await passes(hours)
    assert (
        radio.ways
        == {
            "works": ["channel"] * 4,
            "unable": ["unable"] * 4,
            "refused": ["refused", "gatt", "gatt", "refused"],
            "breaks": ["channel", "gatt", "gatt", "channel"],
        }[channel]
    )
    lock.channel = 0
    await passes(1)
    assert radio.ways[-1] == "gatt"
    seqs = [each.body["lock_seq"] for each in building.store.events(0)]
    assert seqs == sorted(set(seqs))
    assert len(seqs) == 5 + 1, "five openings and a promotion: nothing was lost by the way it went"


@pytest.mark.requirement("P10", "P14")
async def test_pauses_that_a_lock_only_counted_are_told_as_a_number_and_as_nobodys_grant(building: Building) -> None:
    thief, lock = building.phone("thief"), building.locks["door-101"]
    thief.bundle = building.phone("anna").check_in("stay-1", "101")
    for _ in range(14):
        assert thief.open("door-101").result.status is Status.BAD_SIGNATURE
        building.clock.advance(lock.core.throttle.wait_ms(building.clock.now_ms()))
    await building.visit("door-101")
    told = [each.body for each in building.store.events(0) if each.body["event"] == "throttled"]
    assert [each["untold"] for each in told] == [0, 8], "of ten pauses in 65 s the first and the tenth"
    assert not any("grant" in each or "stay" in each for each in told)
