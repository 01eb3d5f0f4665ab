"""`innkeeper-edge verify-log`, and the key that signs what it is held against."""

import asyncio
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from cryptography.hazmat.primitives import serialization

from edge.app.keys import read_private_key, read_public_key
from edge.app.main import main
from edge.log.heads import HeadSigner
from edge.log.record_log import RecordLog
from edge.log.settings import LaneSettings, LogSettings
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.device_model.identity import EdgeId
from protocols.errors import InvalidInputError
from protocols.link.lanes import Lane
from provisioning.rehearsal.identities import make_signing_key

LANE = LaneSettings(pages_max=5_000, linger_ms=0)
SETTINGS = LogSettings(LANE, LANE, LANE, ballast_bytes=0)


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return make_signing_key(tmp_path, "head")


@pytest.fixture
def folder(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    signer = HeadSigner(EdgeId("e-aurora0000000001"), read_private_key(keys[0]), b"head")

    async def write() -> None:
        async with await RecordLog.open(
            tmp_path / "log", clock=ManualClock(), dice=SeededDice(1), settings=SETTINGS, signer=signer
        ) as log:
            for n in range(20):
                await log.append(Lane.A, "access", {"n": n, "event": "refused"})

    asyncio.run(write())
    return tmp_path / "log"


@pytest.mark.guarantee("G14")
def test_a_log_that_was_changed_is_found_by_its_position(
    folder: Path, keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["verify-log", str(folder), "--key", str(keys[1])]
    assert main(asked) == 0
    with closing(apsw.Connection(str(folder / "lane-a.db"))) as db:
        [(table,)] = db.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'record%'"
        ).fetchall()
        db.execute(f"DELETE FROM {table} WHERE seq = 7")  # noqa: S608 - a name of our own schema
        assert db.changes() == 1
    capsys.readouterr()
    assert main(asked) == 1
    assert ", 7:" in capsys.readouterr().out


def test_there_is_no_log_to_verify(tmp_path: Path) -> None:
    assert main(["verify-log", str(tmp_path / "nowhere")]) == 2


def test_a_file_that_is_no_key_is_refused_by_name(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    for wrong in (tmp_path / "none.pem", keys[1]):
        with pytest.raises(InvalidInputError, match=wrong.name):
            read_private_key(wrong)
    with pytest.raises(InvalidInputError, match=r"head\.key\.pem: is not a PEM public key"):
        read_public_key(keys[0])
    (tmp_path / "sealed.pem").write_bytes(
        read_private_key(keys[0]).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
        )
    )
    with pytest.raises(InvalidInputError, match="unencrypted"):
        read_private_key(tmp_path / "sealed.pem")
