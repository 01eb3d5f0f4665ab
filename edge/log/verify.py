"""Is the record log what was written? `python -m edge.log.verify FOLDER [--key PEM ...] [--head FILE ...]`.

Source of truth: SPEC.md sections 4 and 4.1; guarantee G14. Every incarnation in lane A's file is walked from its first
record to its last. What was altered, removed, put in another order or written anew is named by its position. Lanes B
and C have checks against damage only. Reads a copy: neither a running edge nor the evidence is touched. Exit status 0:
all holds; 1: it does not; 2: it cannot be read.

What it can prove: a chain alone can be computed again by whoever rewrites the records. Against that stand the signed
heads: those in the store, the copy beside it, and those handed in with `--head`, which count because they were kept
elsewhere. Records up to the oldest one kept were acknowledged by the cloud and trimmed: its ledger answers for them.
Where there is no cloud, façades were told them (docs/decisions/0111).
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import apsw
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from edge.log.heads import read_head
from edge.log.lane_file import SCHEMA_VERSION
from edge.log.readership import FACADE_PREFIX
from edge.log.row_check import CRC_BYTES, checked
from protocols.errors import CredentialRefusedError, PeerProtocolError, StoreFailedError
from protocols.link import chain
from protocols.link.lanes import LANES, Lane
from protocols.link.signed_head import LogHead, open_head

_CHUNK = 1_000
_SWAPS_MAX = 200
"""Altered records compared with each other to find exchanged ones."""

Keys = Sequence[ec.EllipticCurvePublicKey]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was written: `what` at positions `first` to `last` of an incarnation of a lane."""

    lane: Lane
    incarnation: str
    what: str
    first: int
    last: int

    def __str__(self) -> str:
        where = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"lane {self.lane}, incarnation {self.incarnation[:8]}, {where}: {self.what}"


@dataclass
class Report:
    """What was found, and what was looked at: (lane, incarnation) -> (oldest position kept, last, records held)."""

    findings: list[Finding] = field(default_factory=list)
    streams: dict[tuple[Lane, str], tuple[int, int, int]] = field(default_factory=dict)
    heads_good: int = 0
    heads_unproved: int = 0
    """Signed heads whose key nobody handed in, or whose records are not held any more."""

    @property
    def good(self) -> bool:
        """Nothing was found."""
        return not self.findings


def verify_folder(folder: Path, *, keys: Keys = (), heads: Sequence[bytes] = ()) -> Report:
    """Verify the log in `folder`.

    Args:
        folder: where the lanes are; a running log may hold them.
        keys: public P-256 keys; a head is believed if one of them signed it. None: heads are held against nothing.
        heads: signed heads that were kept elsewhere.

    Raises:
        StoreFailedError: a lane's file cannot be read as one.
    """
    report = Report()
    for lane in LANES:
        path = folder / f"lane-{lane.topic_segment}.db"
        if not path.exists():
            raise StoreFailedError(f"{path}: there is no such lane file")
        with tempfile.TemporaryDirectory(prefix="innkeeper-verify-") as copy:
            target = Path(copy) / path.name
            for side in ("", "-wal"):
                if (source := path.with_name(path.name + side)).exists():
                    shutil.copyfile(source, target.with_name(target.name + side))
            db = apsw.Connection(str(target))
            try:
                _verify_lane(db, lane, report)
                if lane is Lane.A and keys:
                    beside = read_head(folder)
                    _verify_heads(db, report, keys, [*heads, *([] if beside is None else [beside])])
            except apsw.Error as error:
                raise StoreFailedError(f"{path}: {error}") from error
            finally:
                db.close(True)
    return report


def _verify_lane(db: apsw.Connection, lane: Lane, report: Report) -> None:
    version = db.execute("PRAGMA user_version").get
    if version != SCHEMA_VERSION:
        raise StoreFailedError(f"lane {lane}: not a lane file of version {SCHEMA_VERSION}, but {version}")
    for row in _rows(db, "SELECT no, incarnation, acked, trimmed, trimmed_link FROM life ORDER BY no"):
        no, incarnation, acked, trimmed, link = row
        known = max(int(acked), min(int(trimmed), _told(db, int(no), int(trimmed))))
        if lane is Lane.A and int(trimmed) > known:
            what = "removed: trimmed, and neither the cloud had acknowledged it nor a façade told it"
            report.findings.append(Finding(lane, bytes(incarnation).hex(), what, known + 1, int(trimmed)))
        _verify_life(db, lane, report, _Stream(int(no), bytes(incarnation).hex(), int(trimmed), bytes(link)))


def _told(db: apsw.Connection, life: int, end: int) -> int:
    """How far some façade has read an incarnation, which where there is no cloud stands for it (decision 0111)."""
    rows = _rows(db, "SELECT life, seq FROM cursor WHERE life >= ? AND name GLOB ?", life, f"{FACADE_PREFIX}*")
    return max((int(seq) if int(no) == life else end for no, seq in rows), default=0)


@dataclass(frozen=True, slots=True)
class _Stream:
    no: int
    incarnation: str
    trimmed: int
    link: bytes


def _verify_life(db: apsw.Connection, lane: Lane, report: Report, stream: _Stream) -> None:
    declared = _rows(db, "SELECT first, last FROM hole WHERE life = ? ORDER BY first", stream.no)
    holes = [(int(first), int(last)) for first, last in declared]
    missing: list[tuple[int, int]] = []
    altered: dict[int, tuple[bytes, bytes, bytes]] = {}  # position -> (chain before, row's chain value, record)
    before: bytes | None = stream.link
    after, held = stream.trimmed, 0
    for seq, row in db.execute("SELECT seq, row FROM record WHERE life = ? ORDER BY seq", (stream.no,)):
        if seq != after + 1:
            missing.append((after + 1, seq - 1))
            before = None
        if lane is Lane.A:
            own, record = row[: chain.CHAIN_BYTES], row[chain.CHAIN_BYTES + CRC_BYTES :]
            follows = before is None or chain.link(before, seq, record) == own
            if not follows or checked(record, seq) != row[chain.CHAIN_BYTES :]:
                altered[seq] = (before or b"", own, record)
            before = own
        elif checked(row[CRC_BYTES:], seq) != row:
            altered[seq] = (b"", b"", b"")
        after, held = seq, held + 1
    report.streams[lane, stream.incarnation] = (stream.trimmed + 1, after, held)
    exchanged = _exchanged(altered)
    for seq in altered:
        what = "the record is not the one that was written there"
        if seq in exchanged:
            what = f"the record was written at {exchanged[seq]}: they were put in another order"
        report.findings.append(Finding(lane, stream.incarnation, what, seq, seq))
    report.findings += [
        Finding(lane, stream.incarnation, "removed: neither record nor declared hole", first, last)
        for first, last in _undeclared(missing, holes)
    ]


def _exchanged(altered: Mapping[int, tuple[bytes, bytes, bytes]]) -> dict[int, int]:
    """Positions whose record fits another altered position."""
    found: dict[int, int] = {}
    if len(altered) > _SWAPS_MAX:
        return found
    for seq, (_, _, record) in altered.items():
        for other, (before, own, _) in altered.items():
            if other != seq and chain.link(before, other, record) == own:
                found[seq] = other
    return found


def _undeclared(missing: Sequence[tuple[int, int]], holes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    left: list[tuple[int, int]] = []
    for first, last in missing:
        at = first
        for hole_first, hole_last in holes:
            if hole_last < at or hole_first > last:
                continue
            if hole_first > at:
                left.append((at, hole_first - 1))
            at = hole_last + 1
        if at <= last:
            left.append((at, last))
    return left


def _verify_heads(db: apsw.Connection, report: Report, keys: Keys, handed_in: Sequence[bytes]) -> None:
    """Hold every signed head against the chain as it stands; between a good one and a bad one it was rewritten."""
    kept = [bytes(head) for (head,) in _rows(db, "SELECT head FROM signed_head ORDER BY life, seq")]
    rows = _rows(db, "SELECT no, incarnation, trimmed, trimmed_link FROM life")
    lives = {
        bytes(incarnation).hex(): _Stream(int(no), bytes(incarnation).hex(), int(trimmed), bytes(link))
        for no, incarnation, trimmed, link in rows
    }
    good: dict[str, int] = {}
    bad: dict[str, int] = {}
    for head in _opened([*kept, *handed_in], keys, report):
        incarnation = head.incarnation.hex()
        stream = lives.get(incarnation)
        if stream is None:
            what = f"signed up to {head.seq}, and the whole incarnation is not here"
            report.findings.append(Finding(Lane.A, incarnation, what, 1, head.seq))
            continue
        last = report.streams[Lane.A, incarnation][1]
        if head.seq < stream.trimmed:
            report.heads_unproved += 1
        elif head.seq > last:
            what = f"removed: a signed head says that {head.seq} was written"
            report.findings.append(Finding(Lane.A, incarnation, what, last + 1, head.seq))
        elif _link(db, stream, head.seq) == head.link:
            report.heads_good += 1
            good[incarnation] = max(good.get(incarnation, 0), head.seq)
        else:
            bad[incarnation] = min(bad.get(incarnation, head.seq), head.seq)
    for incarnation, seq in bad.items():
        since = good.get(incarnation, 0) if good.get(incarnation, 0) < seq else lives[incarnation].trimmed
        report.findings.append(
            Finding(Lane.A, incarnation, "rewritten: the chain does not lead to what was signed", since + 1, seq)
        )


def _opened(heads: Sequence[bytes], keys: Keys, report: Report) -> list[LogHead]:
    opened: list[LogHead] = []
    for each in dict.fromkeys(heads):
        head = _open(each, keys)
        if head is None:
            what = "what stands for a signed head was not signed by any of the keys"
            report.findings.append(Finding(Lane.A, "", what, 0, 0))
        else:
            opened.append(head)
    return sorted(opened, key=lambda head: head.seq)


def _open(data: bytes, keys: Keys) -> LogHead | None:
    for key in keys:
        try:
            return open_head(data, partial(_any, key))
        except CredentialRefusedError:  # another of the keys may have signed it
            continue
        except PeerProtocolError:
            return None
    return None


def _any(key: ec.EllipticCurvePublicKey, _kid: bytes) -> ec.EllipticCurvePublicKey:
    return key


def _rows(db: apsw.Connection, statement: str, *values: int | str) -> list[Any]:
    return db.execute(statement, values).fetchall()


def _link(db: apsw.Connection, stream: _Stream, seq: int) -> bytes | None:
    if seq == stream.trimmed:
        return stream.link
    row: bytes | None = db.execute("SELECT row FROM record WHERE life = ? AND seq = ?", (stream.no, seq)).get
    return None if row is None else row[: chain.CHAIN_BYTES]


def run(folder: Path, *, keys: Sequence[Path] = (), heads: Sequence[Path] = (), say: Callable[[str], object]) -> int:
    """Verify, tell `say` line by line, and return the exit status: 0 good, 1 not, 2 cannot be read.

    Args:
        folder: where the lanes are.
        keys: PEM files of public P-256 keys; a head is believed if one of them signed it.
        heads: files with signed heads that were kept elsewhere.
        say: prints a line.
    """
    try:
        report = verify_folder(folder, keys=[_key(path) for path in keys], heads=[path.read_bytes() for path in heads])
    except (StoreFailedError, OSError, ValueError) as error:
        say(f"cannot be verified: {error}")
        return 2
    for (lane, incarnation), (first, last, held) in report.streams.items():
        say(f"lane {lane}, incarnation {incarnation[:8]}: {held} records of {first} to {last}")
    say(f"signed heads: {report.heads_good} hold, {report.heads_unproved} could not be held against anything")
    for finding in report.findings:
        say(f"NOT AS WRITTEN: {finding}")
    say("nothing was changed" if report.good else f"{len(report.findings)} findings")
    return 0 if report.good else 1


def _key(path: Path) -> ec.EllipticCurvePublicKey:
    key = load_pem_public_key(path.read_bytes())
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError(f"{path}: not a public P-256 key")
    return key


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m edge.log.verify", description="Is the log what was written?")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--key", type=Path, action="append", default=[], help="PEM file of a public key of heads")
    parser.add_argument("--head", type=Path, action="append", default=[], help="a signed head kept elsewhere")
    given = parser.parse_args()
    return run(given.folder, keys=given.key, heads=given.head, say=lambda line: sys.stdout.write(line + "\n"))


if __name__ == "__main__":
    sys.exit(main())
