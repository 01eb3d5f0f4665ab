"""What phones bring: stored once however often, late or torn it comes, and never believed for the phone's sake."""

from base64 import b64decode, b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.doors.closing_desk import Order
from edge.doors.intake import CHUNKS_MOST, LOCKS_MOST, Intake, Taking
from edge.doors.sync import EVENTS_WAITING_MOST
from kit.clock import ClockQuality
from kit.dice import SeededDice
from kit.metrics import Metrics
from protocols.door.advert import DoorKeys
from protocols.door.audit import AuditChunk as Chunk
from protocols.door.audit import AuditRecord, Checkpoint, genesis, link, seal_chunk
from protocols.door.hardware import Bolt
from protocols.door.phone import Carry, Fetch
from protocols.door.status import Status
from protocols.errors import InvalidInputError
from protocols.grant.keys import PropertyCa, private_key
from protocols.vectors.fixed import AT_S
from tests.edge.doors.building import Building, MemoryLock, MemoryPhone


@pytest.fixture
def building(tmp_path: Path):  # type: ignore[no-untyped-def]  # noqa: ANN201
    made = Building(tmp_path)
    yield made
    made.store.close()


def intake(building: Building, *, ca: PropertyCa | None = None) -> Intake:
    return Intake(
        book=building.book,
        store=building.store,
        desk=building.desk,
        sync=building.sync,
        closing=building.closing,
        ca=ca or building.ca,
        time=building.time,
        metrics=Metrics("intake"),
    )


def keys_at(building: Building, door: str) -> tuple[DoorKeys, MemoryLock]:
    lock = building.locks[door]
    booked = building.book.by_lock(lock.identity.lock_id)
    assert booked is not None
    at_s = building.clock.wall_ms() // 1_000
    return booked.keys(at_s, at_s), lock


def fetched(building: Building, phone: MemoryPhone, after: int, door: str = "door-101") -> bytes:
    keys, lock = keys_at(building, door)
    return phone.ask(keys, Fetch(after), lock).sealed


def openings(building: Building, times: int) -> MemoryPhone:
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    for _ in range(times):
        building.clock.advance(1_000)
        assert anna.open("door-101").result.status is Status.OPENED
    return anna


def opened(building: Building) -> list[int]:
    return [each.body["lock_seq"] for each in building.store.events(0) if each.body["event"] == "opened"]


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P10", "P17", "ACC-12")
def test_a_log_arrives_whole_and_once_by_any_phones_in_any_order(building: Building) -> None:
    anna, mule = openings(building, 45), building.phone("mule")
    lock_id = building.locks["door-101"].identity.lock_id
    chunks = [fetched(building, phone, after) for phone, after in ((anna, 0), (mule, 20), (anna, 40))]
    taking = intake(building)
    assert taking.take(lock_id, chunks[1]) is Taking.GAP
    assert building.store.lock(lock_id).seq == 0
    assert [taking.take(lock_id, each) for each in chunks] == [Taking.STORED] * 3
    assert [taking.take(lock_id, each) for each in reversed(chunks)] == [Taking.KNOWN] * 3
    assert opened(building) == list(range(2, 47)), "the first record says that the key was promoted"
    assert {each.body.get("stay") for each in building.store.events(0)} == {"stay-1"}
    assert [each.seq for each in building.store.records(lock_id, 0, 100)] == list(range(1, 47))
    [standing] = taking.standings([lock_id])
    assert standing.have == 46


@pytest.mark.requirement("P10")
def test_where_one_phone_stopped_another_goes_on_and_overlaps_are_stored_once(building: Building) -> None:
    anna, mule = openings(building, 30), building.phone("mule")
    lock_id = building.locks["door-101"].identity.lock_id
    taking = intake(building)
    assert taking.take(lock_id, fetched(building, anna, 0)) is Taking.STORED
    building.restart()
    taking = intake(building)
    [standing] = taking.standings([lock_id])
    assert standing.have == 20
    assert taking.take(lock_id, fetched(building, mule, 5)) is Taking.STORED, "6 to 25: 21 to 25 are new"
    assert taking.take(lock_id, fetched(building, mule, 25)) is Taking.STORED
    assert opened(building) == list(range(2, 32))


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P9")
async def test_a_phone_takes_a_bump_to_a_door_that_no_radio_reaches_and_brings_the_proof_back(
    building: Building,
) -> None:
    anna, mule = openings(building, 2), building.phone("mule")
    building.desk.end_stay("stay-1")
    keys, lock = keys_at(building, "door-101")
    taking = intake(building)
    taking.take(lock.identity.lock_id, fetched(building, anna, 0))
    assert building.store.pending_bumps(lock.identity.lock_id)
    [standing] = taking.standings([lock.identity.lock_id])
    answers = [mule.ask(keys, Carry(*each), lock).result.status for each in standing.carry]
    assert answers == [Status.DONE, Status.DONE], "the bump, and up to where the lock may forget"
    assert anna.open("door-101").result.status is Status.SUPERSEDED
    again = [mule.ask(keys, Carry(*each), lock).result.status for each in standing.carry]
    assert set(again) == {Status.UNCHANGED}, "twice is once"
    assert building.store.pending_bumps(lock.identity.lock_id), "unconfirmed until the lock itself says so"
    assert taking.take(lock.identity.lock_id, fetched(building, mule, standing.have)) is Taking.STORED
    assert building.store.pending_bumps(lock.identity.lock_id) == []
    elsewhere, other = keys_at(building, "door-102")
    wrong = [mule.ask(elsewhere, Carry(*each), other).result.status for each in standing.carry]
    assert wrong == [Status.WRONG_DOOR, Status.WRONG_DOOR]


def forged(
    building: Building,
    records: int,
    *,
    previous: bytes | None = None,
    after: int = 0,
    generation: int = 1,
    key: str = "",
) -> bytes:
    """A chunk of so many made-up records, signed by the lock's own audit key or by a stranger's."""
    lock = building.locks["door-101"].identity
    chain = genesis(lock.lock_id) if previous is None else previous
    first, made = chain, []
    for seq in range(after + 1, after + 1 + records):
        record = AuditRecord(seq, AT_S + seq, 0, 1, bytes(8), 0, generation, bytes(16))
        chain = link(chain, record.body())
        made.append(replace(record, chain=chain))
    end = after + records
    checkpoint = Checkpoint(
        lock.lock_id, after, first, end, chain, end, AT_S + end, 0, 70, Bolt.LOCKED, generation, 0, 0
    )
    return seal_chunk(
        Chunk(checkpoint, tuple(made)),
        audit_key=private_key(SeededDice(key).bytes) if key else lock.audit,
        edge_key=lock.seal_key,
        ephemeral=private_key(SeededDice(f"e{records}{after}{key}{generation}").bytes),
    )


@pytest.mark.requirement("P10", "A16")
def test_another_history_under_the_locks_own_signature_is_an_alarm_and_nothing_of_it_is_stored(
    building: Building,
) -> None:
    openings(building, 3)
    anna = building.phone("anna")
    lock_id = building.locks["door-101"].identity.lock_id
    taking = intake(building)
    taking.take(lock_id, fetched(building, anna, 0))
    before = building.store.lock(lock_id)
    for chunk in (forged(building, 2), forged(building, 9), forged(building, 2, previous=bytes(16), after=before.seq)):
        assert taking.take(lock_id, chunk) is Taking.REFUSED
    after = building.store.lock(lock_id)
    assert (after.seq, after.head) == (before.seq, before.head)
    assert after.broken is not None
    assert [each.body["event"] for each in building.store.events(0)].count("log_broken") >= 1
    assert opened(building) == [2, 3, 4]


def test_a_lock_that_claims_a_generation_of_a_day_to_come_spends_no_numbers(building: Building) -> None:
    lock_id = building.locks["door-101"].identity.lock_id
    assert intake(building).take(lock_id, forged(building, 2, generation=2**24 - 1)) is Taking.REFUSED
    assert building.store.highest([101]) == 0
    assert building.store.lock(lock_id).seq == 0


def test_what_no_lock_of_ours_signed_is_refused_without_an_alarm(building: Building) -> None:
    anna = openings(building, 1)
    lock_id = building.locks["door-101"].identity.lock_id
    sealed = fetched(building, anna, 0)
    taking = intake(building)
    strange = [
        (lock_id, forged(building, 2, key="stranger")),
        (lock_id, sealed[:-1]),
        (lock_id, b""),
        (lock_id, bytes(1_025)),
        (bytes(8), sealed),
        (building.locks["door-102"].identity.lock_id, sealed),
    ]
    assert {taking.take(*each) for each in strange} == {Taking.REFUSED}
    assert building.store.events(0) == []
    assert building.store.lock(lock_id).broken is None
    assert taking.take(lock_id, sealed) is Taking.STORED


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=1_024), at=st.integers(0, 600), flip=st.integers(1, 255))
def test_no_bytes_open_break_or_stop_it(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int, flip: int
) -> None:
    building = Building(tmp_path_factory.mktemp("intake"))
    try:
        lock_id = building.locks["door-101"].identity.lock_id
        taking = intake(building)
        assert taking.take(lock_id, data) is Taking.REFUSED
        whole = bytearray(forged(building, 8))
        whole[at % len(whole)] ^= flip
        assert taking.take(lock_id, bytes(whole)) is Taking.REFUSED
        assert building.store.lock(lock_id).seq == 0
    finally:
        building.store.close()


def test_an_old_chunk_says_nothing_of_how_the_lock_is_now(building: Building) -> None:
    anna = openings(building, 1)
    lock = building.locks["door-101"]
    lock.battery_percent = 80
    sealed = fetched(building, anna, 0)
    building.clock.advance(3_600_000)
    known = building.store.lock(lock.identity.lock_id)
    heard_at_ms = building.clock.wall_ms()
    building.store.keep_contact(replace(known, battery_percent=12, contact_at_ms=heard_at_ms), 101)
    assert intake(building).take(lock.identity.lock_id, sealed) is Taking.STORED
    after = building.store.lock(lock.identity.lock_id)
    assert (after.battery_percent, after.contact_at_ms, after.seq) == (12, heard_at_ms, 2)


async def test_while_the_lock_is_visited_its_records_are_in_one_hand(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = openings(building, 1)
    lock_id = building.locks["door-101"].identity.lock_id
    sealed = fetched(building, anna, 0)
    taking = intake(building)
    assert building.sync.wanted(building.locks["door-101"].sighting()) is not None
    building.sync._visiting.add(lock_id)
    assert taking.take(lock_id, sealed) is Taking.LATER
    building.sync._visiting.remove(lock_id)
    monkeypatch.setattr(building.store, "events_waiting", lambda: EVENTS_WAITING_MOST)
    assert taking.take(lock_id, sealed) is Taking.LATER
    monkeypatch.undo()
    assert taking.take(lock_id, sealed) is Taking.STORED
    await building.visit("door-101")
    assert opened(building) == [2], "the visit goes on after what the phone brought"


def test_with_an_unsound_clock_records_are_taken_and_nothing_new_is_signed(building: Building) -> None:
    anna = openings(building, 1)
    lock_id = building.locks["door-101"].identity.lock_id
    building.clock.quality = ClockQuality.UNCERTAIN
    taking = intake(building)
    assert taking.take(lock_id, fetched(building, anna, 0)) is Taking.STORED
    [standing] = taking.standings([lock_id])
    assert (standing.have, standing.carry) == (2, ())


def test_the_same_acknowledgement_is_handed_to_every_phone(building: Building) -> None:
    anna = openings(building, 1)
    lock_id = building.locks["door-101"].identity.lock_id
    taking = intake(building)
    taking.take(lock_id, fetched(building, anna, 0))
    first = taking.standings([lock_id, lock_id, bytes(8)])
    assert len(first) == 1, "each once, strangers not at all"
    assert taking.standings([lock_id]) == first
    anna.open("door-101")
    taking.take(lock_id, fetched(building, anna, 2))
    assert taking.standings([lock_id])[0].carry != first[0].carry


def test_over_the_socket_it_is_bounded_and_of_its_form(building: Building) -> None:
    anna = openings(building, 1)
    lock_id = building.locks["door-101"].identity.lock_id.hex()
    sealed = b64encode(fetched(building, anna, 0)).decode()
    taking = intake(building)
    answer: Any = taking.answer({"chunks": [{"lock": lock_id, "sealed": sealed}], "locks": [lock_id, "00" * 8]})
    assert answer["taken"] == [{"lock": lock_id, "outcome": "stored"}]
    [lock] = answer["locks"]
    assert (lock["lock"], lock["have"], len(lock["carry"])) == (lock_id, 2, 1)
    assert b64decode(lock["carry"][0]["signed"])
    for wrong in (
        {"chunks": [{"lock": lock_id, "sealed": sealed}] * (CHUNKS_MOST + 1)},
        {"locks": [lock_id] * (LOCKS_MOST + 1)},
        {"chunks": [{"lock": lock_id, "sealed": "*"}]},
        {"chunks": [{"lock": lock_id}]},
        {"more": 1},
    ):
        with pytest.raises(msgspec.ValidationError):
            taking.answer(wrong)
    with pytest.raises(InvalidInputError):
        taking.answer({"locks": ["door-101"]})


@pytest.mark.requirement("P9")
def test_a_phone_takes_the_list_of_withdrawn_keys_to_the_door_and_its_log_confirms_it(building: Building) -> None:
    anna, mule = openings(building, 1), building.phone("mule")
    keys, lock = keys_at(building, "door-101")
    taking = intake(building)
    building.closing.withdraw_keys(Order("clerk", "phone lost"), holder="stay-1", phone=anna.public)
    assert building.closing.waits_for(keys.lock_id)
    [standing] = taking.standings([keys.lock_id])
    assert [mule.ask(keys, Carry(*each), lock).result.status for each in standing.carry] == [Status.DONE]
    assert anna.open("door-101").result.status is Status.REVOKED
    assert building.closing.waits_for(keys.lock_id), "until the lock itself says so"
    building.clock.advance(1_000)
    assert taking.take(keys.lock_id, fetched(building, mule, 0)) is Taking.STORED
    assert not building.closing.waits_for(keys.lock_id)
    assert all(signed != b"" for signed, _ in taking.standings([keys.lock_id])[0].carry)


@pytest.mark.guarantee("G4")
def test_a_store_that_forgot_a_withdrawal_learns_by_a_phone_which_key_the_lock_refuses(building: Building) -> None:
    """As after a restore from a copy: when that phone asks again it gets another key."""
    anna, mule = openings(building, 1), building.phone("mule")
    keys, lock = keys_at(building, "door-101")
    taking = intake(building)
    building.closing.withdraw_keys(Order("clerk", "phone lost"), holder="stay-1", phone=anna.public)
    [standing] = taking.standings([keys.lock_id])
    for each in standing.carry:
        mule.ask(keys, Carry(*each), lock)
    assert anna.open("door-101").result.status is Status.REVOKED
    [(withdrawn,)] = building.store.read("SELECT grant_id FROM withdrawn")
    with building.store.written() as db:
        db.execute("DELETE FROM withdrawn")
    assert taking.take(keys.lock_id, fetched(building, mule, 0)) is Taking.STORED
    assert building.store.read("SELECT grant_id FROM doubted") == [(withdrawn,)]
