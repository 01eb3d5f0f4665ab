"""The doors' store put back from a copy, as the socket and the house see it; real processes: tests/integration."""

import asyncio
import shutil
from pathlib import Path

import pytest

from edge.doors.client import DoorsClient
from edge.doors.put_back import PutBack
from edge.doors.store import DoorStore
from protocols.device_model.identity import RoomId, StayId
from protocols.door.bundle import Bundle
from protocols.door.status import Status
from protocols.errors import InvalidInputError
from protocols.grant.certificate import own_certificate
from protocols.grant.grant import open_grant
from tests.edge.doors.building import Building, MemoryPhone
from tests.edge.doors.test_process import ROOM, STAY, UNTIL_MS, doors_running, write_files

AT_MS = 1_800_000_000_000


@pytest.fixture
def building(tmp_path: Path) -> Building:
    made = Building(tmp_path / "locks")
    made.store.close()  # the process opens its own
    write_files(tmp_path, made)
    return made


def happened(store: DoorStore, *names: str) -> None:
    with store.written([({"event": name}, None) for name in names]):
        pass


def told(store: DoorStore, after: int = 0) -> list[tuple[int, str]]:
    return [(each.seq, each.body["event"]) for each in store.events(after)]


def test_positions_go_on_from_the_clock_at_each_opening_and_from_one_in_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "doors.db"
    store = DoorStore(path, epoch=bytes(16), at_ms=AT_MS)
    happened(store, "a", "b")
    assert told(store) == [(1, "a"), (2, "b")]
    store.close()
    store = DoorStore(path, epoch=bytes(16), at_ms=AT_MS + 5)
    happened(store, "c")
    assert told(store, 1) == [(2, "b"), (AT_MS + 6, "c")]
    assert store.events_waiting() == 3, "counted, whatever positions they have"
    store.close()
    store = DoorStore(path, epoch=bytes(16), at_ms=0)  # a dead cell says 1970
    happened(store, "d")
    assert told(store, AT_MS) == [(AT_MS + 6, "c"), (AT_MS + 7, "d")]
    store.close()


def test_a_file_that_never_told_anything_goes_on_from_the_clock_too(tmp_path: Path) -> None:
    path = tmp_path / "doors.db"
    DoorStore(path, epoch=bytes(16), at_ms=AT_MS).close()
    store = DoorStore(path, epoch=bytes(16), at_ms=AT_MS + 5)
    happened(store, "a")
    assert told(store) == [(AT_MS + 6, "a")]
    store.close()


def test_a_position_that_was_never_written_here_is_known(tmp_path: Path) -> None:
    path = tmp_path / "doors.db"
    store = DoorStore(path, epoch=bytes(16), at_ms=AT_MS)
    happened(store, "a", "b", "c")
    assert [store.can_have_told(each) for each in (0, 1)] == [True, False], "it stands here, and nobody was told"
    assert [each.seq for each in store.events(0, 2)] == [1, 2]
    assert [store.can_have_told(each) for each in (0, 1, 2, 3)] == [True, True, True, False]
    store.answered(2)
    store.close()
    store = DoorStore(path, epoch=bytes(16), at_ms=AT_MS + 5)
    happened(store, "d")
    assert [each.seq for each in store.events(2)] == [3, AT_MS + 6]
    asked = (3, 4, AT_MS, AT_MS + 5, AT_MS + 6, AT_MS + 7)
    assert [store.can_have_told(each) for each in asked] == [True, False, False, False, True, False]
    assert [store.goes_on_beyond(each) for each in asked] == [False, True, True, True, False, False]
    store.close()


async def a_night(tmp_path: Path, building: Building) -> tuple[Path, bytes, int]:
    """A copy from the evening, two openings after it; return the copy, the epoch and what the house holds."""
    anna = building.phone("anna")
    async with doors_running(tmp_path, building) as client:
        document = await client.issue(STAY, ROOM, anna.public, not_before_ms=0, not_after_ms=UNTIL_MS)
        epoch = await client.epoch()
    copy = tmp_path / "copy.db"
    shutil.copyfile(tmp_path / "state" / "doors.db", copy)
    anna.bundle = Bundle.from_document(document)
    async with doors_running(tmp_path, building) as client:
        anna.open("door-101")
        position = await one_visit(client, building, 0)
        await client.ack(epoch, position)
    return copy, epoch, position


async def one_visit(client: DoorsClient, building: Building, after: int) -> int:
    """Let the lock be visited; return the position of what it told last."""
    building.radio.heard.put_nowait(building.locks["door-101"].sighting())
    position = after
    async for event in client.events(after):
        position = event.seq
        if event.body["lock_seq"] == building.locks["door-101"].core.audit_seq:
            break
    return position


def put_back(tmp_path: Path, copy: Path) -> None:
    for path in (tmp_path / "state").glob("doors.db*"):
        path.unlink()
    shutil.copyfile(copy, tmp_path / "state" / "doors.db")


@pytest.mark.guarantee("G1", "G18")
@pytest.mark.requirement("P18")
async def test_what_locks_record_after_it_was_put_back_is_told_and_not_taken_for_old(
    tmp_path: Path, building: Building
) -> None:
    copy, epoch, position = await a_night(tmp_path, building)
    put_back(tmp_path, copy)
    building.clock.advance(1_000)
    async with doors_running(tmp_path, building) as client:
        assert await client.epoch() == epoch
        assert (await client.status())["put_back"] is False
        await one_visit(client, building, 0)  # before the house is there
        await client.ack(epoch, position)  # and now it says how far it was
        await client.ack(epoch, position)
        assert (await client.status())["put_back"] is True
        waiting = [event async for event in first(client, position, 5)]
        assert [each.body["event"] for each in waiting] == ["promoted", "opened", *["store_put_back"] * 3]
        assert [each.body["door"] for each in waiting[2:]] == ["door-101", "door-102", "pool"]


@pytest.mark.guarantee("G1", "G10", "G18")
@pytest.mark.requirement("P18")
async def test_with_a_clock_that_is_behind_too_the_store_begins_a_new_life(tmp_path: Path, building: Building) -> None:
    copy, epoch, position = await a_night(tmp_path, building)
    put_back(tmp_path, copy)
    building.clock.step_wall(-50 * 365 * 86_400_000)
    async with doors_running(tmp_path, building) as client:
        with pytest.raises(InvalidInputError, match="beyond"):
            await anext(client.events(position))
        with pytest.raises(InvalidInputError, match="put back"):
            await client.ack(epoch, position)
        assert (new := await client.epoch()) != epoch
        waiting = [event async for event in first(client, 0, 3)]
        assert [each.body["event"] for each in waiting] == ["store_put_back"] * 3
        assert {each.epoch for each in waiting} == {new}
        with pytest.raises(InvalidInputError, match="life of this store"):
            await client.ack(epoch, position)
        assert (await client.status())["events_waiting"] == 3
    async with doors_running(tmp_path, building) as client:  # durable
        assert await client.epoch() == new


@pytest.mark.guarantee("G1", "G10", "G18")
@pytest.mark.requirement("P18")
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_copy_that_has_overtaken_what_the_house_holds_deletes_nothing_unread(tmp_path: Path, count: int) -> None:
    """The clock is behind, and locks told something before the house was there to say how far it is."""
    path = tmp_path / "doors.db"
    store = DoorStore(path, epoch=b"1" * 16)
    happened(store, "a")
    store.close()
    copy = shutil.copyfile(path, tmp_path / "copy.db")
    store = DoorStore(path, epoch=b"2" * 16)
    happened(store, "b", "c")
    position = told(store)[-1][0]
    store.close()
    shutil.copyfile(copy, path)
    store = DoorStore(path, epoch=b"3" * 16)
    happened(store, *["since"] * count)
    check = PutBack("doors_store_put_back", store, told=lambda: happened(store, "store_put_back"))
    with pytest.raises(InvalidInputError, match="never told"):
        check.check(position)
    assert store.epoch == b"3" * 16
    assert check.noticed
    assert [each for _, each in told(store)] == ["a", *["since"] * count, "store_put_back"]
    store.close()


@pytest.mark.guarantee("G18")
async def test_a_restart_is_no_copy(tmp_path: Path, building: Building) -> None:
    _, epoch, position = await a_night(tmp_path, building)
    for _ in range(3):
        building.clock.advance(1_000)
        async with doors_running(tmp_path, building) as client:
            await client.ack(epoch, position)
            assert (await client.status())["put_back"] is False
            phone = building.phone("bert")
            await client.issue(StayId("s-2"), RoomId("102"), phone.public, not_before_ms=0, not_after_ms=UNTIL_MS)


@pytest.mark.guarantee("G3", "G4", "G18")
@pytest.mark.requirement("P18")
async def test_a_key_that_the_store_forgot_ends_when_its_room_is_empty_and_not_before(tmp_path: Path) -> None:
    building = Building(tmp_path / "desk")
    anna, bert, emil = (building.phone(name) for name in ("anna", "bert", "emil"))
    anna.check_in("stay-anna", "101")
    assert anna.open("door-101").result.status is Status.OPENED
    building.store.close()
    copy = shutil.copyfile(tmp_path / "desk" / "doors.db", tmp_path / "copy.db")
    building.open()
    bert.check_in("stay-bert", "102")
    building.desk.end_stay("stay-anna")
    emil.check_in("stay-emil", "101")
    for phone, door in ((bert, "door-102"), (emil, "door-101")):
        assert phone.open(door).result.status is Status.OPENED
    building.store.close()
    for path in (tmp_path / "desk").glob("doors.db*"):
        path.unlink()
    shutil.copyfile(copy, tmp_path / "desk" / "doors.db")
    building.open()
    for door in ("door-101", "door-102"):
        await building.visit(door)
    building.desk.end_stay("stay-anna")  # told again; Emil is in her room
    await building.visit("door-101")
    assert emil.open("door-101").result.status is Status.OPENED
    assert building.desk.end_stay("stay-bert").doors == ()
    assert bert.open("door-102").result.status is Status.OPENED
    for emptied, phone in (("102", bert), ("101", emil)):
        assert building.desk.end_stay("stay-bert", emptied=[RoomId(emptied)]).doors == (f"door-{emptied}",)
        await building.visit(f"door-{emptied}")
        assert phone.open(f"door-{emptied}").result.status is Status.SUPERSEDED
        assert building.desk.end_stay("stay-bert", emptied=[RoomId(emptied)]).doors == (), "and once"
    building.store.close()


def copied(building: Building) -> Path:
    building.store.close()
    copy = Path(shutil.copyfile(building.folder / "doors.db", building.folder / "copy.db"))
    building.open()
    return copy


def taken_from(building: Building, copy: Path | None) -> None:
    """The copy is put in place in no time, and nobody notices; None: the file is lost."""
    building.store.close()
    for path in building.folder.glob("doors.db*"):
        path.unlink()
    if copy is not None:
        shutil.copyfile(copy, building.folder / "doors.db")
    building.open()


@pytest.mark.guarantee("G3", "G4", "G18")
@pytest.mark.requirement("P18")
@pytest.mark.parametrize("lost", [False, True])
async def test_a_forgotten_key_that_never_opened_ends_with_its_empty_room_too(tmp_path: Path, lost: bool) -> None:
    building = Building(tmp_path / "desk")
    anna, bert = building.phone("anna"), building.phone("bert")
    anna.check_in("stay-anna", "101")
    assert anna.open("door-101").result.status is Status.OPENED
    copy = copied(building)
    bert.check_in("stay-bert", "102")
    taken_from(building, None if lost else copy)
    assert building.desk.end_stay("stay-bert").doors == (), "somebody may be in his room"
    building.restart()
    assert building.desk.end_stay("stay-bert", emptied=[RoomId("102")]).doors == ("door-102",)
    await building.visit("door-102")
    assert bert.open("door-102").result.status is Status.SUPERSEDED
    assert building.desk.end_stay("stay-bert", emptied=[RoomId("102")]).doors == (), "and once"
    assert anna.open("door-101").result.status is Status.OPENED


@pytest.mark.guarantee("G3", "G4", "G18")
@pytest.mark.requirement("P18")
async def test_who_got_a_key_since_the_copy_was_put_back_keeps_it_when_a_forgotten_guest_leaves(tmp_path: Path) -> None:
    building = Building(tmp_path / "desk")
    bert, carl, dora, emil = (building.phone(name) for name in ("bert", "carl", "dora", "emil"))
    dora.check_in("stay-dora", "101", days_ahead=1)
    copy = copied(building)
    bert.check_in("stay-bert", "102")
    emil.check_in("stay-emil", "101", nights=1)
    taken_from(building, copy)
    carl.check_in("stay-carl", "102")
    for left, room in (("stay-bert", "102"), ("stay-emil", "101")):
        building.desk.end_stay(left, emptied=[RoomId(room)])
        await building.visit(f"door-{room}")
    assert bert.open("door-102").result.status is Status.SUPERSEDED
    assert carl.open("door-102").result.status is Status.OPENED
    building.desk.end_stay("stay-carl", emptied=[RoomId("102")])
    await building.visit("door-102")
    assert carl.open("door-102").result.status is Status.SUPERSEDED, "a guest who is known ends as ever"
    building.clock.advance(86_400_000)
    assert dora.open("door-101").result.status is Status.OPENED, "known from before the copy: hers is left alone"


@pytest.mark.guarantee("G4", "G18")
@pytest.mark.requirement("P18")
async def test_inhibit_ends_also_what_a_copy_does_not_know(tmp_path: Path) -> None:
    building = Building(tmp_path / "desk")
    anna, bert = building.phone("anna"), building.phone("bert")
    copy = copied(building)
    anna.check_in("stay-anna", "101")
    bert.check_in("stay-bert", "102")
    taken_from(building, copy)
    building.desk.inhibit(RoomId("102"))
    await building.visit("door-102")
    assert bert.open("door-102").result.status is Status.SUPERSEDED
    bert.check_in("stay-bert", "102")
    assert bert.open("door-102").result.status is Status.OPENED
    assert anna.open("door-101").result.status is Status.OPENED, "another room's"


@pytest.mark.guarantee("G18")
def test_a_store_that_is_no_copy_has_forgotten_nothing(tmp_path: Path) -> None:
    building = Building(tmp_path / "desk")
    for name, room in (("anna", "101"), ("bert", "102")):
        building.phone(name).check_in(f"stay-{name}", room)
        building.desk.end_stay(f"stay-{name}", emptied=[RoomId(room)])
        building.restart()
        assert building.store.spent > 0
        assert building.store.forgotten == 0


@pytest.mark.guarantee("G10")
def test_a_number_of_a_day_to_come_is_no_forgotten_one(tmp_path: Path) -> None:
    building = Building(tmp_path / "desk")
    building.store.forget_up_to(2**24 - 1)
    assert building.desk.end_stay("stay-bert", emptied=[RoomId("102")]).doors == ()
    assert building.store.highest((102,)) == 0


@pytest.mark.guarantee("G4", "G18")
@pytest.mark.requirement("P18")
async def test_once_it_is_noticed_a_departure_ends_also_a_forgotten_key_that_no_number_tells_of(
    tmp_path: Path, building: Building
) -> None:
    """A snapshot of a process at work: in it another room has a higher number than the key that it knows nothing of."""
    phones = [building.phone(name) for name in ("anna", "anna-2", "anna-3", "bert")]
    async with doors_running(tmp_path, building) as client:
        for phone in phones[:3]:
            document = await client.issue(STAY, ROOM, phone.public, not_before_ms=0, not_after_ms=UNTIL_MS)
            phone.bundle = Bundle.from_document(document)
        epoch = await client.epoch()
        copies = [shutil.copyfile(path, tmp_path / path.name) for path in (tmp_path / "state").glob("doors.db*")]
        bert_stay, bert = StayId("s-2"), phones[3]
        document = await client.issue(bert_stay, RoomId("102"), bert.public, not_before_ms=0, not_after_ms=UNTIL_MS)
        bert.bundle = Bundle.from_document(document)
        assert generation_of(bert) < generation_of(phones[2])
        phones[2].open("door-101")
        position = await one_visit(client, building, 0)
        await client.ack(epoch, position)
    for path in (tmp_path / "state").glob("doors.db*"):
        path.unlink()
    for path in copies:
        shutil.copyfile(path, tmp_path / "state" / path.name)
    building.clock.advance(1_000)
    async with doors_running(tmp_path, building) as client:
        await client.ack(epoch, position)
        assert (await client.status())["put_back"] is True
        await client.end_stay(bert_stay, emptied=[RoomId("102")])
        building.radio.heard.put_nowait(building.locks["door-102"].sighting())
        async with asyncio.timeout(10):
            while (await client.status())["bumps_pending"]:
                await asyncio.sleep(0.005)
        assert bert.open("door-102").result.status is Status.SUPERSEDED


def generation_of(phone: MemoryPhone) -> int:
    assert phone.bundle is not None
    return open_grant(phone.bundle.grant, own_certificate(phone.bundle.certificate)).generation


@pytest.mark.guarantee("G3")
async def test_a_room_whose_keys_are_all_known_is_left_alone_by_a_check_out_of_nobody(tmp_path: Path) -> None:
    building = Building(tmp_path / "desk")
    anna = building.phone("anna")
    anna.check_in("stay-anna", "101")
    assert anna.open("door-101").result.status is Status.OPENED
    await building.visit("door-101")
    assert building.desk.end_stay("stay-none", emptied=[RoomId("101"), RoomId("999")]).doors == ()
    assert building.desk.end_stay("stay-anna", emptied=[RoomId("101")]).doors == ("door-101",)
    await building.visit("door-101")
    assert building.desk.end_stay("stay-anna", emptied=[RoomId("101")]).doors == ()
    assert building.store.pending_bumps() == []
    building.store.close()


async def first(client: DoorsClient, after: int, count: int):  # type: ignore[no-untyped-def]  # noqa: ANN201
    events = client.events(after)
    for _ in range(count):
        yield await anext(events)
    await events.aclose()  # type: ignore[attr-defined]  # an inner part, looked at on purpose
