"""A file is replaced whole or not at all: the power is cut after every step, the disk refuses at every step."""

import errno
from pathlib import Path

import pytest

from kit.dice import SeededDice
from kit.files import Disk, SystemDisk, remove_durably, write_atomic
from kit.simulation import PowerCutError, SimDisk
from protocols.errors import StoreFailedError

OLD, NEW = b"old" * 700, b"new" * 900
PATH = Path("state/grants.cbor")


def _with_old(seed: int) -> SimDisk:
    disk = SimDisk(SeededDice(seed))
    write_atomic(disk, PATH, OLD)
    return disk


def _operations(disk: SimDisk) -> int:
    before = disk.operations
    write_atomic(disk, PATH, NEW)
    return disk.operations - before


@pytest.mark.guarantee("G1")
@pytest.mark.guarantee("G6")
@pytest.mark.parametrize("cut_at", range(1, _operations(_with_old(0)) + 1))
@pytest.mark.parametrize("seed", range(40))
def test_a_power_cut_leaves_all_of_the_old_or_all_of_the_new(seed: int, cut_at: int) -> None:
    disk = _with_old(seed)
    disk.cut_power_at(cut_at)
    with pytest.raises(PowerCutError):
        write_atomic(disk, PATH, NEW)
    disk.crash()
    assert disk.read(PATH) in (OLD, NEW)
    write_atomic(disk, PATH, NEW)  # what the cut left behind is in nobody's way
    assert disk.read(PATH) == NEW


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("seed", range(40))
def test_what_was_written_is_there_after_a_cut(seed: int) -> None:
    disk = _with_old(seed)
    write_atomic(disk, PATH, NEW)
    disk.crash()
    assert disk.read(PATH) == NEW


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("at", range(1, _operations(_with_old(0)) + 1))
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_refusing_disk_is_told_and_the_content_stands(at: int, number: int) -> None:
    disk = _with_old(0)
    disk.refuse_at(at, OSError(number, "refused"))
    with pytest.raises(StoreFailedError, match=r"grants\.cbor: could not be replaced: refused"):
        write_atomic(disk, PATH, NEW)
    disk.crash()
    assert disk.read(PATH) in (OLD, NEW)


@pytest.mark.guarantee("G7")
@pytest.mark.parametrize("seed", range(20))
def test_what_was_removed_does_not_come_back(seed: int) -> None:
    disk = _with_old(seed)
    remove_durably(disk, PATH)
    disk.crash()
    assert not disk.exists(PATH)
    remove_durably(disk, PATH)


@pytest.mark.parametrize("seed", range(30))
def test_the_usual_shortcuts_are_caught_by_the_simulated_disk(seed: int) -> None:
    """Without the fsyncs the same sequence loses data: the model is worth something."""
    outcomes = set()
    for each in range(seed * 20, seed * 20 + 20):
        disk = _with_old(each)
        temporary = PATH.with_suffix(".tmp")
        disk.write(temporary, NEW)
        disk.rename(temporary, PATH)  # neither content nor name synced
        disk.crash()
        outcomes.add(disk.read(PATH) if disk.exists(PATH) else None)
    assert outcomes - {OLD, NEW}


def _claims(disk: Disk, folder: Path) -> None:
    one, two = folder / "one", folder / "two"
    assert disk.names(folder) == []
    assert not disk.exists(one)
    for read in (disk.read, disk.remove):
        with pytest.raises(FileNotFoundError):
            read(one)
    disk.write(one, b"1")
    disk.write(two, b"2")
    disk.sync(one)
    disk.sync_folder(folder)
    assert disk.names(folder) == ["one", "two"]
    disk.write(one, b"11")
    assert disk.read(one) == b"11"
    disk.rename(one, two)
    assert (disk.names(folder), disk.read(two)) == (["two"], b"11")
    disk.remove(two)
    assert disk.names(folder) == []
    write_atomic(disk, one, b"x")
    assert (disk.names(folder), disk.read(one)) == (["one"], b"x")


def test_the_simulated_disk_and_the_real_one_keep_the_same_contract(tmp_path: Path) -> None:
    _claims(SystemDisk(), tmp_path)
    _claims(SimDisk(SeededDice(0)), Path("folder"))
    assert SystemDisk().names(tmp_path / "no such folder") == []


def test_files_are_their_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    write_atomic(SystemDisk(), tmp_path / "secret", b"x")
    write_atomic(SystemDisk(), tmp_path / "public", b"x", mode=0o644)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "public").stat().st_mode & 0o777 == 0o644


def test_a_missing_folder_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(StoreFailedError, match="could not be replaced: No such file or directory"):
        write_atomic(SystemDisk(), tmp_path / "nowhere" / "x", b"")


@pytest.mark.guarantee("G9")
def test_a_write_that_found_no_room_leaves_nothing_of_itself(tmp_path: Path) -> None:
    class Full(SystemDisk):
        def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
            super().write(path, data[: len(data) // 2], mode=mode)
            raise OSError(errno.ENOSPC, "No space left on device")

    write_atomic(SystemDisk(), tmp_path / "kept", b"old")
    with pytest.raises(StoreFailedError, match="No space left"):
        write_atomic(Full(), tmp_path / "kept", b"new" * 1_000)
    assert (tmp_path / "kept").read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
