"""The number noted outside of the store: durable before it counts, believed only as far as it can be true."""

import struct
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.doors.number_mark import ENTRY_BYTES, FILE_BYTES, NumberMark
from kit.files import SystemDisk
from protocols.grant.generation import GENERATION_MOST, of_moment
from protocols.grant.revocation import SEQ_MOST
from protocols.vectors.fixed import AT_S
from tests.edge.doors.building import Building

DAY_MS = 86_400_000


class Disk(SystemDisk):
    """Counts what is made durable; refuses when told to."""

    def __init__(self) -> None:
        self.synced = 0
        self.full = False

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        self._check()
        super().write(path, data, mode=mode)

    def write_over(self, path: Path, data: bytes) -> None:
        self._check()
        super().write_over(path, data)

    def sync(self, path: Path) -> None:
        super().sync(path)
        self.synced += 1

    def _check(self) -> None:
        if self.full:
            raise OSError(28, "no space left on device")


def test_the_next_life_begins_with_what_was_handed_out(tmp_path: Path) -> None:
    disk, path = Disk(), tmp_path / "doors-numbers"
    mark = NumberMark(path, disk).generations
    for number in (500, 400, 700, 700, 650):
        mark.handed_out(number)
    assert (mark.before, disk.synced) == (0, 2), "only what is higher is written, and this life knows its own"
    assert NumberMark(path, disk).generations.before == 700
    assert path.stat().st_size == FILE_BYTES
    assert path.stat().st_mode & 0o777 == 0o600


@given(data=st.binary(max_size=3 * FILE_BYTES))
def test_what_is_no_such_file_says_nothing(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("mark") / "doors-numbers"
    path.write_bytes(data)
    mark = NumberMark(path, SystemDisk())
    assert 0 <= mark.generations.before <= GENERATION_MOST
    assert 0 <= mark.lists.before <= SEQ_MOST
    mark.generations.handed_out(GENERATION_MOST)
    mark.lists.handed_out(SEQ_MOST)
    again = NumberMark(path, SystemDisk())
    assert (again.generations.before, again.lists.before) == (GENERATION_MOST, SEQ_MOST)


@pytest.mark.parametrize("at", range(FILE_BYTES))
def test_a_flipped_bit_is_seen_and_costs_one_kind_of_number(tmp_path: Path, at: int) -> None:
    path = tmp_path / "doors-numbers"
    mark = NumberMark(path, SystemDisk())
    mark.generations.handed_out(5_000_000)
    mark.lists.handed_out(AT_S)
    mark.changes.handed_out(77)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    mark = NumberMark(path, SystemDisk())
    expected = [5_000_000, AT_S, 77]
    expected[at // ENTRY_BYTES] = 0
    assert [each.before for each in (mark.generations, mark.lists, mark.changes)] == expected


def build_of_before(path: Path, generation: int) -> int:
    """What the build that noted generations alone does: read 12 bytes, return them, write them over in place."""
    data = path.read_bytes()
    body, check = data[:8], data[8:12]
    assert struct.unpack(">I", check)[0] == crc32(body)
    magic, found = struct.unpack(">4sI", body)
    assert magic == b"IKN1"
    body = struct.pack(">4sI", b"IKN1", generation)
    SystemDisk().write_over(path, body + struct.pack(">I", crc32(body)))
    return int(found)


@pytest.mark.guarantee("G18")
def test_the_build_of_before_and_this_one_read_each_others_file(tmp_path: Path) -> None:
    path = tmp_path / "doors-numbers"
    body = struct.pack(">4sI", b"IKN1", 500)
    path.write_bytes(body + struct.pack(">I", crc32(body)))
    mark = NumberMark(path, SystemDisk())
    assert (mark.generations.before, mark.lists.before) == (500, 0)
    mark.lists.handed_out(AT_S)
    mark.generations.handed_out(600)
    assert build_of_before(path, 700) == 600
    mark = NumberMark(path, SystemDisk())
    assert (mark.generations.before, mark.lists.before) == (700, AT_S)


def test_a_disk_that_refuses_stops_no_door(tmp_path: Path) -> None:
    disk = Disk()
    mark = NumberMark(tmp_path / "doors-numbers", disk).generations
    disk.full = True
    mark.handed_out(500)
    disk.full = False
    mark.handed_out(501)
    assert NumberMark(tmp_path / "doors-numbers", disk).generations.before == 501


@pytest.mark.guarantee("G3")
def test_a_number_of_a_day_to_come_bars_nobody(tmp_path: Path) -> None:
    """A clock was years ahead, and an old copy was put back as the cure: what was noted then says nothing now."""
    building = Building(tmp_path)
    path = tmp_path / "doors-numbers"
    building.store.close()
    NumberMark(path, SystemDisk()).generations.handed_out(of_moment((building.clock.wall_ms() + 900 * DAY_MS) // 1_000))
    building.open()
    building.phone("anna").check_in("stay-1", "101")
    number = of_moment(building.clock.wall_ms() // 1_000) + 1
    assert building.store.highest((101,)) == number
    assert NumberMark(path, SystemDisk()).generations.before == number, "and from now on it says something again"
    building.store.close()


@pytest.mark.guarantee("G3", "G18")
@pytest.mark.parametrize("room", ["101", "102"])
def test_a_lost_store_goes_on_above_a_room_that_ran_ahead(tmp_path: Path, room: str) -> None:
    building = Building(tmp_path)
    for night in range(9):
        building.phone(f"guest {night}").check_in(f"stay-{night}", "101")
    ahead = building.store.highest((101,))
    building.store.close()
    for path in tmp_path.glob("doors.db*"):
        path.unlink()
    building.open()
    building.phone("after").check_in("stay-after", room)
    assert building.store.highest((int(room),)) == ahead + 1
    building.store.close()


@pytest.mark.guarantee("G3")
def test_a_room_can_be_had_again_and_again_over_many_starts(tmp_path: Path) -> None:
    """Each start costs one number and not more: a process that is started every minute runs out of none."""
    building = Building(tmp_path)
    for start in range(200):
        building.restart()
        building.phone(f"guest {start}").check_in(f"stay-{start}", "101")
        building.clock.advance(60_000)
    first, last = of_moment(AT_S), of_moment(building.clock.wall_ms() // 1_000)
    assert last < building.store.highest((101,)) <= first + 201
    building.store.close()
