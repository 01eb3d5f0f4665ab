"""The API's token: made once, kept to ourselves, refused when it is none."""

import stat
from pathlib import Path

import pytest

from edge.api.token import read_or_make_token
from kit.dice import SeededDice
from kit.files import SystemDisk
from protocols.errors import InvalidInputError


def test_a_token_is_made_once_and_only_the_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "api-token"
    token = read_or_make_token(SystemDisk(), path, SeededDice(1))
    assert len(token) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_or_make_token(SystemDisk(), path, SeededDice(2)) == token


@pytest.mark.parametrize("content", [b"", b"short", b"two tokens " * 8, b"\xff" * 64, b"a" * 600])
def test_what_is_no_token_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "api-token"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="api-token"):
        read_or_make_token(SystemDisk(), path, SeededDice(1))
