"""One lane's records: in order, who wrote them, what the cloud has. One owner, one connection.

Source of truth: protocols/link/SPEC.md sections 2 to 5 and 6.3; guarantees G1, G14, G18. Synchronous and
single-threaded: `RecordLog` gives each store a thread of its own. A call that returns has committed (WAL,
synchronous=FULL); a call that raises StoreFailedError has not, and what it tried is gone from the file too once the
store is open again.

`lane_file` opens the file, `lane_space` keeps it within its room, `lane_desk` keeps commands and documents, `row_check`
finds damaged records. A damaged record is not repaired and not told: it travels as a hole of reason `lost` (SPEC.md
5.2).
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

from edge.log.ballast import Left
from edge.log.heads import KeptHeads
from edge.log.lane_cursors import LaneCursors, Place
from edge.log.lane_desk import LaneDesk
from edge.log.lane_file import CorruptStoreError, LaneFile, StoreFullError
from edge.log.lane_holes import holes_between
from edge.log.lane_space import LaneSpace, Life, Usage
from edge.log.lane_tail import LaneTail
from edge.log.readership import NOBODY_KNOWN, LaneReaders
from edge.log.row_check import check_bytes, rows_of, sound
from edge.log.thinning import moved
from kit.dice import Dice
from kit.files import Disk, SystemDisk
from protocols.errors import StoreFailedError
from protocols.link import chain
from protocols.link.batch import INCARNATION_BYTES, OPENING_BYTES, HoleReason, Packed
from protocols.link.edge_link import StreamHead
from protocols.link.lanes import Lane

__all__ = ["CorruptStoreError", "LaneStore", "NewRecord", "StoreFullError", "Usage"]

TAIL_CHECK_RECORDS: Final = 2_000
"""Records at the end of lane A that are held against their chain when it is opened."""
_CHUNK: Final = 1_000
MARK_UNWRITTEN_MOST: Final = 4 * _CHUNK
"""Records by which the cloud's mark may be ahead of what is written of it: a new process is told it by the welcome."""
_DISK: Final = SystemDisk()


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record to append; `source` = (name, position) makes it idempotent: a position not past the source's mark is
    skipped.
    """

    encoded: bytes
    source: tuple[str, int] | None = None


Undo = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What a store had reported as committed when it failed: the current incarnation, its last position.

    `undo` puts back what else the failed call may have written: a commit whose fsync failed may be in the file all the
    same.
    """

    incarnation: bytes
    last: int
    undo: tuple[Undo, ...] = ()
    acked: int = 0  # the cloud's mark of it, which may be ahead of what is written


class LaneStore:
    """One open lane file. Not thread-safe: one owner."""

    def __init__(
        self,
        path: Path,
        lane: Lane,
        *,
        pages_max: int,
        keep_acked_records: int,
        dice: Dice,
        wall_ms: int,
        readers: LaneReaders = NOBODY_KNOWN,
        confirmed: "Confirmed | None" = None,
        disk: Disk = _DISK,
        vfs: str | None = None,
        in_place: bool = False,
    ) -> None:
        """Open `path`, or make it; a full disk stops nobody from reading, and what is taken first writes its opening.

        Args:
            path: the lane's file.
            lane: which lane it holds.
            pages_max: its quota, in pages of 4096 bytes.
            keep_acked_records: acknowledged records kept for local readers and for a cloud that lost some.
            dice: name incarnations and openings.
            wall_ms: the wall clock, for what is told of lives and openings.
            readers: who stands in the cloud's place, and whose cursors hold nothing up any more.
            confirmed: what was reported as committed, when it is opened again after a failure in the same process: what
                may stand behind it was reported as failed and is taken back.
            disk: where SQLite's files are, for what SQLite does not do itself.
            vfs: name of the SQLite file layer, for tests that cut the power.
            in_place: the disk has no room to make the write-ahead log durable in another way.

        Raises:
            CorruptStoreError: it is not a lane file or does not hold together; nothing was changed.
            StoreFailedError: the disk refused, or another process has it open.
        """
        self.path, self.lane = path, lane
        self._keep_acked = keep_acked_records
        self._life: Life
        self._mark_written, self._tail = 0, LaneTail()
        self._openings: list[tuple[bytes, int]] = []
        self._unsure: tuple[Undo, ...] = ()
        self.damaged: set[int] = set()
        """Positions of the current incarnation whose records were found changed since the file was opened."""
        self._opening_due: tuple[Dice, int] | None = None  # there was no room to write it
        self._file = LaneFile(path, lane, disk=disk, vfs=vfs, in_place=in_place)
        self.desk, self._heads = LaneDesk(self._file), KeptHeads(self._file)
        try:
            self._file.make_schema(dice, wall_ms)
            self._file.check()
            self._cursors = LaneCursors(self._file, readers)
            self._space = LaneSpace(self._file, pages_max=pages_max, cursors=self._cursors)
            self._load()
            self._space.look_for_older(self._life)
            self._hold_to(confirmed)
            self._try_opening(dice, wall_ms)
        except apsw.Error as error:
            self._file.abandon()
            raise self._file.translated(error) from error
        except StoreFailedError:
            self._file.abandon()
            raise

    # ------------------------------------------------------------------ what is there

    @property
    def incarnation(self) -> bytes:
        """The current incarnation, 16 bytes."""
        return self._life.incarnation

    @property
    def last(self) -> int:
        """The last position written in the current incarnation; 0: none."""
        return self._life.last

    def confirmed(self) -> Confirmed:
        """Return what this store stands by, should it have failed just now."""
        return Confirmed(self._life.incarnation, self._life.last, self._unsure, self._life.acked)

    @property
    def chain_head(self) -> bytes:
        """The hash chain's value after `last` (lane A)."""
        return self._life.link

    def heads(self) -> list[StreamHead]:
        """Return the streams that the link must know: unfinished older incarnations first, the current one last."""
        heads: list[StreamHead] = []
        for no, incarnation, acked, trimmed in self._file.all(
            "SELECT no, incarnation, acked, trimmed FROM life ORDER BY no"
        ):
            current = no == self._life.no
            last = self._life.last if current else self._last_of(no, trimmed)
            if not current and acked >= last:
                continue
            openings = tuple(self._openings_of(no))
            mark = self._life.acked if current else acked
            heads.append(
                StreamHead(incarnation, self.lane, trimmed + 1, last, mark, openings=openings, closed=not current)
            )
        return heads

    def usage(self) -> Usage:
        """Return how full the lane is."""
        return self._space.usage(self._life)

    def read(self, after_seq: int, most: int) -> list[tuple[int, bytes]]:
        """Return up to `most` (position, encoded record) of the current incarnation after `after_seq`.

        Damaged records are left out: `damaged` names them.
        """
        rows = self._file.rows(self._life.no, after_seq, self._life.last, most)
        return self._good(self._life, rows, after_seq)

    def run(self, incarnation: bytes, after_seq: int, most: int) -> Packed | None:
        """Return what follows `after_seq` in a stream, at most `most` records of one opening; None: nothing does."""
        life = self._life_of(incarnation)
        if life is None or after_seq >= life.last:
            return None
        opening, end = self._opening_at(life, after_seq + 1)
        untouched = life is self._life and after_seq >= max(life.trimmed, life.minute_to, life.quarter_to)
        if untouched and (newest := self._tail.after(after_seq, min(most, end - after_seq))):
            first, last = after_seq + 1, after_seq + len(newest)
            return Packed(first, last, range(first, last + 1), newest, [], opening=opening)
        rows = self._file.rows(life.no, after_seq, end, most)
        last = rows[-1][0] if len(rows) == most else end
        records = self._good(life, rows, after_seq)
        seqs = [seq for seq, _ in records]
        holes = [] if len(seqs) == last - after_seq else holes_between(self._file, life, after_seq + 1, last, seqs)
        if self.lane is not Lane.A:
            return Packed(after_seq + 1, last, seqs, [record for _, record in records], holes, opening=opening)
        held = set(seqs)
        links = [row[: chain.CHAIN_BYTES] for seq, row in rows if seq in held]
        before = self._link_at(life, (seqs[0] if seqs else last + 1) - 1)
        return Packed(after_seq + 1, last, seqs, [record for _, record in records], holes, before, links, opening)

    # ------------------------------------------------------------------ appending

    def append(self, records: Sequence[NewRecord]) -> list[int | None]:
        """Append `records` in one commit and return their positions; None for those whose source was past them.

        Raises:
            StoreFailedError: nothing of it was kept. Open the file again with `confirmed` to go on.
        """
        positions: list[int | None] = []
        marks: dict[str, int] = {}
        fresh: list[bytes] = []
        last = self._life.last
        for each in records:
            if each.source is not None:
                name, position = each.source
                if name not in marks:
                    marks[name] = self.source_mark(name)
                if position <= marks[name]:
                    positions.append(None)
                    continue
                marks[name] = position
            fresh.append(each.encoded)
            positions.append(last + len(fresh))
        if fresh:
            self.append_encoded(fresh, marks=marks)
        return positions

    def append_encoded(self, records: Sequence[bytes], *, marks: dict[str, int] | None = None) -> int:
        """Append records as encoded, in one commit; return the position of the last.

        Args:
            records: at least one, each as `protocols.link.record.encode_record` makes it: the caller vouches for them.
            marks: sources' new marks, kept in the same commit.

        Raises:
            StoreFailedError: nothing of it was kept. Open the file again with `confirmed` to go on.
        """
        life = self._life
        try:
            self._write_due_opening()
            size = sum(map(len, records)) + len(records) * 64
            self._space.make_room(life, len(records), size)
            rows, link = rows_of(self.lane, records, life.last, life.link)
            if marks:
                self._unsure = tuple(
                    ("INSERT OR REPLACE INTO source (name, position) VALUES (?, ?)", (name, self.source_mark(name)))
                    for name in marks
                )
                with self._file.transaction():
                    self._file.insert_rows(life.no, life.last, rows)
                    self._file.db.executemany(
                        "INSERT INTO source (name, position) VALUES (?, ?) "
                        "ON CONFLICT (name) DO UPDATE SET position = excluded.position",
                        list(marks.items()),
                    )
            else:
                self._file.insert_rows(life.no, life.last, rows)
        except apsw.Error as error:
            raise self._file.translated(error) from error
        if self.lane is not Lane.A:  # whose records are told with their chain
            self._tail.add(life.last + 1, records, size)
        life.last, life.link, self._unsure = life.last + len(rows), link, ()
        return life.last

    def source_mark(self, name: str) -> int:
        """Return the highest position taken over from `name`; 0: none."""
        mark: int | None = self._file.value("SELECT position FROM source WHERE name = ?", (name,))
        return 0 if mark is None else mark

    def command_phase(self, key: str, id_: str, phase: str, result: str | None, record: NewRecord) -> int:
        """Store a command's phase and append its record in one commit; return the record's position."""
        life = self._life
        rows, link = rows_of(self.lane, [record.encoded], life.last, life.link)
        try:
            self._write_due_opening()
            self._space.make_room(life, 1, len(record.encoded))
            self._unsure = self.desk.undo_phase(key)
            with self._file.transaction():
                self.desk.keep_phase(key, id_, phase, result)
                self._file.insert_rows(life.no, life.last, rows)
        except apsw.Error as error:
            raise self._file.translated(error) from error
        life.last, life.link, self._unsure = life.last + 1, link, ()
        return life.last

    def keep_document(self, name: str, version: int, data: bytes) -> None:
        """Keep the newest desired document `name`."""
        self._unsure = self.desk.undo_document(name)
        self.desk.keep_document(name, version, data)
        self._unsure = ()

    # ------------------------------------------------------------------ cursors, acks, trimming

    def cursor(self, name: str) -> int:
        """Return how far `name` has read the current incarnation; 0 at its beginning."""
        return self._cursors.in_life(name, self._life.no)

    def place(self, name: str) -> Place:
        """Return where `name` goes on: in the oldest incarnation of which it has not read all that is there."""
        life = self._life
        return self._cursors.older(name, life.no) or Place(life.incarnation, self.cursor(name), life.last)

    def advance(self, name: str, seq: int, incarnation: bytes | None = None, refused: Sequence[int] = ()) -> None:
        """Move `name`'s cursor forward, in the current incarnation by default; `refused`: passed, not told to it."""
        life = self._life if incarnation is None else self._life_of(incarnation)
        if life is None:
            return
        self._cursors.advance(name, life.no, seq, last=life.last, refused=refused)
        if self._cursors.readers.whole and life is self._life and seq - self._keep_acked >= life.trimmed + _CHUNK:
            self.trim(seq - self._keep_acked)
        if not self._space.has_older:
            return
        try:
            with self._file.transaction():
                self._space.forget_older(self._life, unread=False)
        except apsw.Error as error:
            raise self._file.translated(error) from error

    def acked(self, incarnation: bytes, hi: int) -> bool:
        """Take the cloud's mark, up or (a cloud restored from a backup) down, and trim what need not be kept.

        It counts at once; a small rise is written with a later one, because a commit costs what 500 records do.
        Returns whether `settle_mark` has something to do.
        """
        life = self._life_of(incarnation)
        if life is None:
            return False
        hi = min(hi, life.last)
        written = self._mark_written
        if life is self._life and written <= life.acked <= hi < written + MARK_UNWRITTEN_MOST:
            life.acked = hi
            self._tail.passed(hi)
            return hi > written
        self._write_mark(life, hi)
        if life.no == self._life.no:
            self.trim(hi - self._keep_acked)
        return False

    def settle_mark(self) -> None:
        """Write the cloud's mark as far as it counts, and let go what need not be kept."""
        self.write_mark()
        self.trim(self._life.acked - self._keep_acked)

    def write_mark(self) -> None:
        """Write the cloud's mark as far as it counts."""
        if self._life.acked != self._mark_written:
            self._write_mark(self._life, self._life.acked)

    def _write_mark(self, life: Life, hi: int) -> None:
        try:
            with self._file.transaction():
                self._file.db.execute("UPDATE life SET acked = ? WHERE no = ?", (hi, life.no))
                # what wrote only what the cloud has need not be known any more, but for the one the mark stands in
                self._file.db.execute(
                    "DELETE FROM opening WHERE life = ?1 AND before < "
                    "(SELECT max(before) FROM opening WHERE life = ?1 AND before < ?2)",
                    (life.no, max(1, hi)),
                )
                self._space.look_for_older(self._life)
                self._space.forget_older(self._life, unread=False)
        except apsw.Error as error:
            raise self._file.translated(error) from error
        if life.no == self._life.no:
            self._life.acked = self._mark_written = hi
            self._tail.passed(hi)
            self._openings = self._openings_of(life.no)

    def trim(self, upto_seq: int) -> int:
        """Remove records up to `upto_seq` that need not be kept any more, a bounded number; return how many went."""
        try:
            return self._space.trim(self._life, upto_seq)
        except apsw.Error as error:
            raise self._file.translated(error) from error

    def give_back(self, left: Left) -> int:
        """Shrink the file by a bounded step because the disk is full; return the pages given back (lane A: none)."""
        try:
            return self._space.give_back(self._life, left)
        except apsw.Error as error:
            raise self._file.translated(error) from error

    def take_back(self) -> None:
        """The disk has room again: the lane may grow to its quota."""
        self._space.take_back()

    # ------------------------------------------------------------------ lives

    def begin_life(self, dice: Dice, wall_ms: int, *, cut: int, reason: str, lost_to: int = 0) -> bytes:
        """Begin a new incarnation: records after `cut` move into it, counted from 1; return it.

        `lost_to`: the last position known to have been written in the old one, on a file that is not here any more:
        what lies between `cut` and it is declared lost.

        Used when this file turns out to be an old copy that was put back: what the cloud has of the old incarnation
        beyond `cut` was never written here, so the positions after `cut` must not be used again.
        """
        old, file = self._life, self._file
        self.write_mark()
        new = dice.bytes(INCARNATION_BYTES)
        link = genesis = chain.genesis(new)
        gone = max(0, old.trimmed - cut)  # let go before any cloud had it: forgotten in the new incarnation too
        count, after, kept = gone, cut + gone, list[int]()
        try:
            with file.transaction():
                file.db.execute(
                    "INSERT INTO life (incarnation, began_at_ms, reason, trimmed, trimmed_link) VALUES (?, ?, ?, ?, ?)",
                    (new, wall_ms, reason, gone, genesis),
                )
                no = file.db.last_insert_rowid()
                while chunk := file.rows(old.no, after, old.last, _CHUNK):
                    good = self._good(old, chunk, after)
                    rows, link = rows_of(self.lane, moved(self.lane, good, count), count, link)
                    if rows:
                        file.insert_rows(no, count, rows)
                    count, after = count + len(rows), chunk[-1][0]
                    kept += [seq for seq, _ in good]
                self._cursors.moved(old.no, no, cut, gone, kept)
                file.db.execute("UPDATE life SET trimmed = min(trimmed, ?) WHERE no = ?", (cut, old.no))
                for table, column in (("record", "seq"), ("hole", "first"), ("signed_head", "seq")):
                    file.db.execute(f"DELETE FROM {table} WHERE life = ? AND {column} > ?", (old.no, cut))  # noqa: S608 - names from this module, values are bound
                file.db.execute("UPDATE hole SET last = ?2 WHERE life = ?1 AND last > ?2", (old.no, cut))
                if lost_to > cut:
                    file.db.execute(
                        "INSERT INTO hole (life, first, last, reason) VALUES (?, ?, ?, ?)",
                        (old.no, cut + 1, lost_to, int(HoleReason.LOST)),
                    )
                self._insert_opening(no, 0, dice, wall_ms)
        except apsw.Error as error:
            raise file.translated(error) from error
        self._life = Life(no, new, 0, gone, genesis, count, link)
        self._tail.clear()
        self._mark_written = 0
        self._space.look_for_older(self._life)
        self._openings = self._openings_of(no)
        return new

    # ------------------------------------------------------------------ heads and checking

    def keep_head(self, seq: int, head: bytes) -> None:
        """Keep a signed head of the current incarnation."""
        self._heads.keep(self._life.no, seq, head)

    def signed_head(self) -> tuple[int, bytes] | None:
        """Return (position, signed head) of the newest one of the current incarnation."""
        return self._heads.newest(self._life.no)

    def verify_chain(self) -> int:
        """Recompute the hash chain over all records held of the current incarnation and return how many there are.

        Raises:
            CorruptStoreError: a record was changed, removed or put in another order. `edge.log.verify` names them all.
        """
        return self._verify_chain(self._life.trimmed, self._life.trimmed_link)

    def close(self) -> None:
        """Close the file; harmless to call twice. On a full disk its write-ahead log stays: a room to find again."""
        with contextlib.suppress(StoreFailedError):
            self.write_mark()
        (self._file.abandon if self._space.gives_back else self._file.close)()

    def abandon(self) -> None:
        """Close the file of a failed disk without another write."""
        self._file.abandon()

    # ------------------------------------------------------------------ inside

    def _load(self) -> None:
        lives = self._file.all(
            "SELECT no, incarnation, acked, trimmed, trimmed_link, minute_to, quarter_to "
            "FROM life ORDER BY no DESC LIMIT 1"
        )
        if not lives:
            raise CorruptStoreError(f"{self.path}: holds no incarnation")
        no, incarnation, acked, trimmed, trimmed_link, minute_to, quarter_to = lives[0]
        last = self._last_of(no, trimmed)
        self._life = Life(no, incarnation, acked, trimmed, trimmed_link, last, trimmed_link, minute_to, quarter_to)
        self._life.link = self._link_at(self._life, last)
        self._mark_written = acked
        if self.lane is Lane.A:
            self.read(max(trimmed, last - TAIL_CHECK_RECORDS), TAIL_CHECK_RECORDS)

    def _hold_to(self, confirmed: Confirmed | None) -> None:
        if confirmed is None:
            return
        life, last = self._life, confirmed.last
        if confirmed.incarnation != life.incarnation:
            # the commit that failed began a new life, and is there all the same: its records were not reported twice
            if self._life_of(confirmed.incarnation) is None:
                raise CorruptStoreError(f"{self.path}: incarnation {confirmed.incarnation.hex()} is missing")
            return
        if life.last < last:
            raise CorruptStoreError(f"{self.path}: record {last} was committed and is missing")
        with self._file.transaction():
            self._file.db.execute("DELETE FROM record WHERE life = ? AND seq > ?", (life.no, last))
            for statement, values in confirmed.undo:
                self._file.db.execute(statement, values)
        life.last, life.link = last, self._link_at(life, last)
        life.acked = max(life.acked, min(confirmed.acked, last))

    def _try_opening(self, dice: Dice, wall_ms: int) -> None:
        try:
            self._begin_opening(dice, wall_ms)
        except apsw.FullError:
            self._openings = self._openings_of(self._life.no)
            if not self._openings:
                raise
            self._opening_due = (dice, wall_ms)

    def _write_due_opening(self) -> None:
        """No record may be taken before the opening that wrote it is known."""
        if self._opening_due is not None:
            self._begin_opening(*self._opening_due)
            self._opening_due = None

    def _begin_opening(self, dice: Dice, wall_ms: int) -> None:
        with self._file.transaction():
            self._insert_opening(self._life.no, self._life.last, dice, wall_ms)
        self._openings = self._openings_of(self._life.no)

    def _insert_opening(self, life: int, before: int, dice: Dice, wall_ms: int) -> None:
        self._file.db.execute(  # an opening that wrote nothing is replaced
            "INSERT OR REPLACE INTO opening (life, before, id, at_ms) VALUES (?, ?, ?, ?)",
            (life, before, dice.bytes(OPENING_BYTES), wall_ms),
        )

    def _good(self, life: Life, rows: Sequence[tuple[int, bytes]], after: int) -> list[tuple[int, bytes]]:
        """The records of the rows that are as they were written; the others are noted in `damaged`."""
        skip = check_bytes(self.lane)
        link = self._link_known(life, after) if self.lane is Lane.A and rows else None
        verdicts = sound(self.lane, rows, after, link)
        if not all(verdicts) and life.no == self._life.no:
            self.damaged |= {seq for (seq, _), good in zip(rows, verdicts, strict=True) if not good}
        return [(seq, row[skip:]) for (seq, row), good in zip(rows, verdicts, strict=True) if good]

    def _verify_chain(self, after: int, link: bytes) -> int:
        start, last, skip = after, self._life.last, check_bytes(self.lane)
        while rows := self._file.rows(self._life.no, after, last, _CHUNK):
            for seq, row in rows:
                link = chain.link(link, seq, row[skip:])
                if seq != after + 1 or link != row[: chain.CHAIN_BYTES]:
                    raise CorruptStoreError(f"{self.path}: the hash chain breaks at record {seq}")
                after = seq
        if after != last or link != self._life.link:
            raise CorruptStoreError(f"{self.path}: the hash chain ends at {after}, not at {last}")
        return last - start

    def _life_of(self, incarnation: bytes) -> Life | None:
        if incarnation == self._life.incarnation:
            return self._life
        for no, acked, trimmed, link in self._file.all(
            "SELECT no, acked, trimmed, trimmed_link FROM life WHERE incarnation = ?", (incarnation,)
        ):
            return Life(no, incarnation, acked, trimmed, link, self._last_of(no, trimmed), link)
        return None

    def _last_of(self, no: int, trimmed: int) -> int:
        newest: int = self._file.value("SELECT coalesce(max(seq), 0) FROM record WHERE life = ?", (no,))
        hole: int = self._file.value("SELECT coalesce(max(last), 0) FROM hole WHERE life = ?", (no,))
        return max(newest, hole, trimmed)

    def _link_known(self, life: Life, seq: int) -> bytes | None:
        """The chain's value after `seq`, None if that record is not there."""
        if seq == life.trimmed:
            return life.trimmed_link
        row: bytes | None = self._file.value("SELECT row FROM record WHERE life = ? AND seq = ?", (life.no, seq))
        return None if row is None else row[: chain.CHAIN_BYTES]

    def _link_at(self, life: Life, seq: int) -> bytes:
        """The chain's value after `seq`; where that record is gone, at the end of what was trimmed."""
        known = self._link_known(life, seq) if self.lane is Lane.A and seq > life.trimmed else None
        return life.trimmed_link if known is None else known

    def _openings_of(self, no: int) -> list[tuple[bytes, int]]:
        return self._file.all("SELECT id, before FROM opening WHERE life = ? ORDER BY before", (no,))

    def _opening_at(self, life: Life, seq: int) -> tuple[bytes, int]:
        """The opening that wrote `seq` (the oldest one known, if it is forgotten) and the last position it wrote."""
        openings = self._openings if life.no == self._life.no else self._openings_of(life.no)
        end = life.last
        for id_, before in reversed(openings):
            if before < seq:
                return id_, end
            end = min(end, before)  # what stood behind the cut of an older incarnation has moved out of it
        return openings[0][0], end
