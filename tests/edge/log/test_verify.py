"""Whatever is done to lane A's records is found, and named by its position (G14)."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge.log.heads import FILE_NAME, HeadSigner
from edge.log.record_log import HEAD_KIND, Entry, RecordLog
from edge.log.row_check import check_bytes, checked
from edge.log.settings import LaneSettings, LogSettings
from edge.log.verify import Report, run, verify_folder
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.device_model.identity import EdgeId
from protocols.grant.keys import private_key
from protocols.link import chain
from protocols.link.lanes import Lane
from protocols.vectors.fixed import stream

KEY, STRANGER = private_key(stream("log key")), private_key(stream("stranger"))
SIGNER = HeadSigner(EdgeId("e-aurora0000000001"), KEY, b"log-1")
LANE = LaneSettings(pages_max=5_000, linger_ms=0)
RECORDS = 60
HEAD = check_bytes(Lane.A)


async def write(folder: Path, records: int, *, signer: HeadSigner | None = SIGNER) -> None:
    log = await RecordLog.open(
        folder, clock=ManualClock(), dice=SeededDice(f"{folder}/{records}"), signer=signer,
        settings=LogSettings(LANE, LANE, LANE, ballast_bytes=0),
    )  # fmt: skip
    async with log:
        for n in range(records):
            await log.append(Lane.A, "access", {"n": n, "event": "refused"})
        await log.append_many(Lane.C, [Entry("reading", {"n": n}) for n in range(20)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    asyncio.run(write(tmp_path / "log", RECORDS // 2))  # closed, and signed, after the first half
    asyncio.run(write(tmp_path / "log", RECORDS // 2))
    return tmp_path / "log"


@pytest.fixture
def db(folder: Path) -> Iterator[apsw.Connection]:
    with closing(apsw.Connection(str(folder / "lane-a.db"))) as opened:
        yield opened


def found(report: Report) -> list[tuple[int, int, str]]:
    return [(each.first, each.last, each.what.split(":")[0]) for each in report.findings]


def check(folder: Path) -> Report:
    return verify_folder(folder, keys=[KEY.public_key()])


def row(db: apsw.Connection, seq: int) -> bytes:
    return bytes(db.execute("SELECT row FROM record WHERE seq = ?", (seq,)).get)


def put(db: apsw.Connection, seq: int, data: bytes) -> None:
    db.execute("UPDATE record SET row = ? WHERE seq = ?", (data, seq))


def rewrite(db: apsw.Connection, first: int, change: Callable[[int, bytes], bytes]) -> None:
    """Change records from `first` on and compute the chain over them again, as somebody who knows how would."""
    link = row(db, first - 1)[: chain.CHAIN_BYTES]
    last = int(str(db.execute("SELECT max(seq) FROM record").get))
    for seq in range(first, last + 1):
        record = change(seq, row(db, seq)[HEAD:])
        link = chain.link(link, seq, record)
        put(db, seq, link + checked(record, seq))


@pytest.mark.guarantee("G14")
def test_a_log_that_nobody_touched_holds(folder: Path) -> None:
    report = check(folder)
    assert report.good
    assert report.heads_good == 2
    assert [held for (lane, _), (_, _, held) in report.streams.items() if lane is Lane.A] == [RECORDS]


@pytest.mark.guarantee("G14")
def test_what_was_altered_removed_or_exchanged_is_named(folder: Path, db: apsw.Connection) -> None:
    put(db, 7, row(db, 7).replace(b"refused", b"opened!"))
    one, other = row(db, 20), row(db, 25)
    put(db, 20, one[: chain.CHAIN_BYTES] + checked(other[HEAD:], 20))
    put(db, 25, other[: chain.CHAIN_BYTES] + checked(one[HEAD:], 25))
    db.execute("DELETE FROM record WHERE seq BETWEEN 40 AND 42")
    report = check(folder)
    assert found(report) == [
        (7, 7, "the record is not the one that was written there"),
        (20, 20, "the record was written at 25"),
        (25, 25, "the record was written at 20"),
        (40, 42, "removed"),
    ]


@pytest.mark.guarantee("G14")
def test_a_chain_that_was_computed_again_does_not_lead_to_what_was_signed(folder: Path, db: apsw.Connection) -> None:
    rewrite(db, 45, lambda seq, record: record.replace(b"refused", b"opened!") if seq == 45 else record)
    assert found(check(folder)) == [(31, 60, "rewritten")]  # the head at 30 still holds
    db.execute("DELETE FROM signed_head")
    assert found(check(folder)) == [(1, 60, "rewritten")]  # the copy beside the store still knows
    (folder / FILE_NAME).unlink()
    assert check(folder).good  # nothing is left here that could tell: that is why a head is kept elsewhere


@pytest.mark.guarantee("G14")
def test_a_head_kept_elsewhere_finds_what_every_trace_here_was_wiped_for(folder: Path, db: apsw.Connection) -> None:
    kept = (folder / FILE_NAME).read_bytes()
    rewrite(db, 45, lambda seq, record: record.replace(b"refused", b"opened!") if seq == 45 else record)
    db.execute("DELETE FROM signed_head")
    (folder / FILE_NAME).unlink()
    assert found(verify_folder(folder, keys=[KEY.public_key()], heads=[kept])) == [(1, 60, "rewritten")]


@pytest.mark.guarantee("G14")
def test_a_tail_cut_off_behind_a_signed_head_is_missed(folder: Path, db: apsw.Connection) -> None:
    db.execute("DELETE FROM record WHERE seq > 50")
    assert found(check(folder))[0] == (51, 60, "removed")
    db.execute("DELETE FROM signed_head WHERE seq > 50")
    assert found(check(folder)) == [(51, 60, "removed")]


@pytest.mark.guarantee("G14")
def test_a_beginning_that_was_trimmed_before_the_cloud_had_it_is_missed(folder: Path, db: apsw.Connection) -> None:
    db.execute("UPDATE life SET trimmed = 10, trimmed_link = ?", (row(db, 10)[: chain.CHAIN_BYTES],))
    db.execute("DELETE FROM record WHERE seq <= 10")
    assert found(check(folder)) == [(1, 10, "removed")]


@pytest.mark.guarantee("G14")
def test_a_stranger_cannot_sign(folder: Path) -> None:
    report = verify_folder(folder, keys=[STRANGER.public_key()])
    assert {each.what.split(":")[0] for each in report.findings} == {
        "what stands for a signed head was not signed by any of the keys"
    }


@pytest.mark.guarantee("G14")
def test_another_past_in_the_place_of_the_log_is_no_other_past(folder: Path, tmp_path: Path) -> None:
    kept = (folder / FILE_NAME).read_bytes()
    asyncio.run(write(tmp_path / "fork", 10, signer=None))
    [finding] = verify_folder(tmp_path / "fork", keys=[KEY.public_key()], heads=[kept]).findings
    assert "the whole incarnation is not here" in finding.what


@pytest.mark.guarantee("G14")
def test_no_flipped_bit_of_a_record_goes_unnoticed(folder: Path, db: apsw.Connection) -> None:
    dice = random.Random(14)
    untouched = {seq: row(db, seq) for seq in range(1, RECORDS + 1)}
    for _ in range(30):
        seq = dice.randint(1, RECORDS)
        data = bytearray(untouched[seq])
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        put(db, seq, bytes(data))
        assert seq in {each.first for each in check(folder).findings}
        put(db, seq, untouched[seq])
    assert check(folder).good


@pytest.mark.guarantee("G14")
def test_damage_in_other_lanes_is_found(folder: Path) -> None:
    with closing(apsw.Connection(str(folder / "lane-c.db"))) as other:
        put(other, 3, row(other, 3)[:-1] + b"\x00")
        put(other, 9, row(other, 8))
    assert [(each.lane, each.first) for each in check(folder).findings] == [(Lane.C, 3), (Lane.C, 9)]


@pytest.mark.guarantee("G14")
def test_the_command_tells_and_exits_as_it_should(folder: Path, db: apsw.Connection, tmp_path: Path) -> None:
    pem = tmp_path / "key.pem"
    pem.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    command = [sys.executable, "-m", "edge.log.verify", str(folder), "--key", str(pem)]
    root = Path(__file__).parents[3]
    good = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.splitlines()[-1] == "nothing was changed"
    put(db, 7, row(db, 7).replace(b"refused", b"opened!"))
    said: list[str] = []
    assert run(folder, keys=[pem], say=said.append) == 1
    assert any(", 7: the record is not the one that was written there" in line for line in said)
    assert run(tmp_path / "nowhere", say=said.append) == 2
    assert "there is no such lane file" in said[-1]


async def test_heads_are_signed_by_and_by_and_the_newest_can_be_handed_on(tmp_path: Path) -> None:
    settings = LogSettings(LANE, LANE, LANE, ballast_bytes=0, tidy_every_ms=1)
    log = await RecordLog.open(tmp_path, clock=ManualClock(), dice=SeededDice(1), settings=settings, signer=SIGNER)
    async with log:
        assert await log.signed_head() is None
        await log.append(Lane.A, "access", {})
        while (head := await log.signed_head()) is None:
            await asyncio.sleep(0.002)
        assert head[0] == 1
        while not (tmp_path / FILE_NAME).exists():
            await asyncio.sleep(0.002)
        assert (tmp_path / FILE_NAME).read_bytes() == head[1]
        while not (sent := [each for each in await log.read(Lane.B, 0) if each.kind == HEAD_KIND]):
            await asyncio.sleep(0.002)
        assert [bytes.fromhex(each.body["head"]) for each in sent] == [head[1]]  # and none because of itself
    assert verify_folder(tmp_path, keys=[KEY.public_key()]).heads_good == 1
