"""Files with keys and PINs are their owner's alone, whatever tool put a copy of them back."""

import stat
from pathlib import Path

import pytest

from edge.doors.private_file import made_private
from edge.doors.store import DoorStore
from edge.doors.vendors.ledger import KeyLedger

pytestmark = pytest.mark.requirement("P18")


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.mark.parametrize("opened", [DoorStore, KeyLedger])
def test_a_copy_that_others_could_read_is_closed_to_them(
    tmp_path: Path, opened: type[DoorStore] | type[KeyLedger]
) -> None:
    path = tmp_path / "doors.db"
    opened(path, epoch=bytes(16)).close()
    path.chmod(0o644)
    path.with_name("doors.db-wal").touch(mode=0o644)
    file = opened(path, epoch=bytes(16))
    assert modes(tmp_path) == {0o600}
    file.close()


def test_rights_that_are_not_ours_to_change_keep_nothing_from_going_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state" / "doors.db"
    made_private(path)
    assert modes(path.parent) == {0o600}
    path.chmod(0o640)

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "chmod", refused)
    made_private(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
