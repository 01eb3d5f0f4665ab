"""How a lane keeps within its room: what gives way, in which order, and how that is declared.

Source of truth: SPEC.md sections 2 and 5.2; iot.md C 3; guarantee G9; docs/decisions/0013, 0014, 0141. From the
relief mark on, before each append:

1. what the cloud has acknowledged goes, or, where there is none, what its façades have passed (docs/decisions/0111);
2. lane C is thinned, oldest first, to a summary a minute and point, then a summary a quarter of an hour and point;
3. above the second mark lanes B and C give up their oldest records, of older incarnations first. Lane A never does.

Each step is bounded by `STEP_RECORDS` and is one commit of its own. Whatever leaves before the cloud had it lies in a
hole that travels to the cloud with its reason.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import apsw

from edge.log.ballast import Left
from edge.log.lane_cursors import LaneCursors
from edge.log.lane_file import PAGE_BYTES, WAL_BYTES, LaneFile, StoreFullError
from edge.log.row_check import CRC_BYTES, check_bytes, checked, sound
from edge.log.thinning import MINUTE_MS, QUARTER_MS, Thinning
from protocols.link.batch import HoleReason
from protocols.link.lanes import Lane

THIN_FRACTION: Final = 0.75
"""Above this share of its room a lane lets go what is acknowledged, and lane C is thinned."""
RELIEF_FRACTION: Final = 0.9
"""Above this share lanes B and C give up their oldest records."""
ALARM_FRACTION: Final = 0.8
STEP_RECORDS: Final = 2_000
"""Records that one step looks at, at most."""
STEPS_MAX: Final = 4
"""Steps before one append: an append waits for so much tidying at most."""
LET_GO_RECORDS: Final = 8_000
"""Records let go of in one commit, at most."""
THIN_RECORDS: Final = 100
"""Records looked at in a step of thinning, or three for each that is appended: what comes faster than that is dropped
where thinning does not keep up, rather than that thinning takes the processor from doors.
"""
STRETCHES_MAX: Final = 16
"""Holes that one step declares of what nobody was told: where such records stand among others, one hole holds both."""
FLOOR_PAGES: Final = 1_024
"""What a lane keeps of its room while the disk is full: 4 MiB."""
FLOOR_SHORT_PAGES: Final = 256
"""And where lane A would else soon be without room."""
WAL_BYTES_FULL: Final = 256 * 1024
"""What stays of a long write-ahead log while the disk is full."""
GIVE_BACK_PAGES: Final = 256
"""Pages that a lane gives back to a full disk in one step."""
SMALL_STEPS: Final = ((64, 8), (2, 1))
"""Where there is no room for the log of such a step: (records dropped, pages given back) of smaller ones."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a lane is, and what it cost since the file was made.

    `dropped`: records that gave way unsent; `thinned`: records that went into a summary; `thinned_from`, `thinned_to`:
    the positions between which the current incarnation is thinned, 0 where it is not.
    """

    pages: int
    pages_max: int
    dropped: int
    thinned: int = 0
    thinned_from: int = 0
    thinned_to: int = 0

    @property
    def fraction(self) -> float:
        """Share of the quota in use."""
        return self.pages / self.pages_max


@dataclass(slots=True)
class Life:
    """One incarnation as the store knows it. `link`: the hash chain's value after `last` (lane A)."""

    no: int
    incarnation: bytes
    acked: int
    trimmed: int
    trimmed_link: bytes
    last: int
    link: bytes
    minute_to: int = 0
    quarter_to: int = 0


class LaneSpace:
    """The room of one lane's file. Errors of SQLite pass through: the store translates them."""

    def __init__(self, file: LaneFile, *, pages_max: int, cursors: LaneCursors) -> None:
        self._file, self.pages_max, self._cursors = file, pages_max, cursors
        self._nobody_was_told: tuple[int, int] | None = None  # of lane A: (life, position) of a record that stays
        self._limit = pages_max
        self._pages = 0
        self._since_counted = 0
        self._minute, self._quarter = Thinning(MINUTE_MS), Thinning(QUARTER_MS)
        self._dropped, self._thinned = (
            file.value("SELECT sum(dropped) FROM life"),
            file.value("SELECT sum(thinned) FROM life"),
        )
        file.value(f"PRAGMA max_page_count = {pages_max}")
        self.has_older = False
        """Records of incarnations before the current one may be there."""

    def usage(self, life: Life) -> Usage:
        """Return how full the lane is."""
        [(first, last)] = self._file.all(
            "SELECT min(first), max(last) FROM hole WHERE life = ? AND reason = ?", (life.no, int(HoleReason.THINNED))
        )
        return Usage(self._count(), self.pages_max, self._dropped, self._thinned, first or 0, last or 0)

    # ------------------------------------------------------------------ before an append

    def make_room(self, life: Life, count: int, size: int) -> None:
        """Make room for `count` records of `size` bytes together, as far as the lane's rules allow."""
        self._since_counted += size
        if self._since_counted * 16 < (self._limit - self._pages) * PAGE_BYTES and self._pages:
            return  # counted not long ago, and far from full even if all of it were new pages
        self._relieve(life, count)

    def _relieve(self, life: Life, count: int) -> None:
        thinned = self._file.lane is not Lane.C
        for _ in range(STEPS_MAX):
            pages = self._count()
            if pages < self._limit * THIN_FRACTION:
                return
            if self.has_older:
                with self._file.transaction():
                    gone = self.forget_older(life, unread=True)
                if gone:
                    continue
            upto = min(life.trimmed + max(4 * count, STEP_RECORDS), life.last)
            if (done := self._settled(life, upto)) > life.trimmed:
                self.remove_upto(life, done)
            elif not thinned:
                thinned = True
                self._thin_one(life, min(STEP_RECORDS, max(THIN_RECORDS, 3 * count)))
            elif self._file.lane is Lane.A or pages < self._limit * RELIEF_FRACTION:
                return
            elif not self._give_up_older(life):
                if upto <= life.trimmed:
                    return
                self.remove_upto(life, upto)

    # ------------------------------------------------------------------ a full disk

    def give_back(self, life: Life, left: Left) -> int:
        """Shrink the file by one step for a full disk; return the pages given back. Lane A gives nothing back: where
        little is left, its write-ahead log begins anew in the room that it has.

        While a step of thinning takes out much, nothing is dropped. The lane does not grow but by half of what is
        `left` for it: the other half is its write-ahead log's.
        """
        if self._file.lane is Lane.A:
            if left.short:
                self._file.all("PRAGMA wal_checkpoint(RESTART)")
            return 0
        floor = 0 if left.none else FLOOR_SHORT_PAGES if left.short else FLOOR_PAGES
        self._file.value(f"PRAGMA journal_size_limit = {WAL_BYTES_FULL}")
        before = self._file.value("PRAGMA page_count")
        most = min(self.pages_max, before + left.spare // 2 // PAGE_BYTES)
        try:
            self._give_way(life, floor, most)
            self._shrink(GIVE_BACK_PAGES, floor)
        except (apsw.FullError, StoreFullError):
            self._shrink_a_little(life, floor)
        after = self._file.value("PRAGMA page_count")
        self._file.value(f"PRAGMA max_page_count = {max(after, min(self._limit, most))}")
        return int(before - after)

    def _give_way(self, life: Life, floor: int, most: int) -> None:
        """Thin, or where that takes out little drop, so that there are free pages to give back. The lane keeps what it
        has down to `floor` pages, and may have `most`.
        """
        thinned = self._thinned
        self._limit = max(floor, min(self._limit, int(self._count() / THIN_FRACTION)))
        self._relieve(life, STEP_RECORDS // 4)
        if self._thinned - thinned < STEP_RECORDS // 4:
            self._limit = min(most, max(floor, self._limit - GIVE_BACK_PAGES))
            self._relieve(life, STEP_RECORDS // 4)

    def _shrink_a_little(self, life: Life, floor: int) -> None:
        """Where there is no room for the log of a whole step: a small one finds some in what that took."""
        for records, pages in SMALL_STEPS:
            self._file.all("PRAGMA wal_checkpoint(RESTART)")
            if self._file.value("PRAGMA page_count") <= floor:
                return
            with contextlib.suppress(apsw.FullError, StoreFullError):
                self.remove_upto(life, max(life.trimmed, self._step_of_older(life.no, records)))
                self._shrink(pages, floor)
                return

    def _shrink(self, pages: int, floor: int) -> None:
        """Give free pages back to the disk; below the floor they are what the next commit finds room in."""
        if (above := self._file.value("PRAGMA page_count") - floor) > 0:
            self._file.all(f"PRAGMA incremental_vacuum({min(pages, above)})")
        self._file.all("PRAGMA wal_checkpoint(RESTART)")

    @property
    def gives_back(self) -> bool:
        """The disk is, or was when this was last looked at, full, and the lane makes room on it."""
        return self._limit < self.pages_max

    def take_back(self) -> None:
        """The disk has room again: the lane's quota is its own."""
        self._limit = self.pages_max
        self._file.value(f"PRAGMA max_page_count = {self.pages_max}")
        self._file.value(f"PRAGMA journal_size_limit = {WAL_BYTES}")

    # ------------------------------------------------------------------ removing

    def look_for_older(self, life: Life) -> None:
        """Note whether there are records of incarnations before `life`."""
        self.has_older = bool(self._older(life))

    def trim(self, life: Life, upto: int) -> int:
        """Remove up to `upto` what the cloud has, or whoever stands in its place was told whole, and every cursor has
        passed; a bounded number at a time. Return how many went.
        """
        upto = min(upto, life.trimmed + LET_GO_RECORDS)
        if upto > life.acked:
            upto = self._settled(life, upto) if self._cursors.readers.whole else life.acked
        if upto > life.trimmed and (slowest := self._cursors.slowest(life.no)) is not None:
            upto = min(upto, slowest)
        return self.remove_upto(life, upto) if upto > life.trimmed else 0

    def forget_older(self, life: Life, *, unread: bool) -> int:
        """Remove records of incarnations before `life` that the cloud has whole, or whoever stands in its place; return
        of how many it removed some.

        In the caller's transaction. `unread`: also those that not every cursor has passed.
        """
        if not self.has_older:
            return 0
        db, done, touched, older = self._file.db, 0, 0, self._older(life)
        for no, acked, trimmed in older:
            end = self._file.value("SELECT coalesce(max(seq), 0) FROM record WHERE life = ?", (no,))
            hole = self._file.value("SELECT coalesce(max(last), 0) FROM hole WHERE life = ?", (no,))
            if not unread and self._cursors.behind(no, end):
                continue
            if acked >= max(end, hole, trimmed):
                for table in ("record", "hole", "opening"):
                    db.execute(f"DELETE FROM {table} WHERE life = ?", (no,))  # noqa: S608 - these three
                self._cursors.refusals.forget(no, end)
                done, touched = done + 1, touched + 1
            elif (upto := self._passed_of_older(no, max(acked, trimmed), end, unread=unread)) > trimmed:
                link: bytes = self._file.value("SELECT trimmed_link FROM life WHERE no = ?", (no,))
                self._dropped += self._remove(Life(no, b"", acked, trimmed, link, end, link), upto)[2]
                done, touched = done + (upto == end), touched + 1
        self.has_older = done < len(older)
        return touched

    def _give_up_older(self, life: Life) -> bool:
        """Give up the oldest records of incarnations before `life`, declared; False: there are none."""
        for no, acked, trimmed in self._older(life) if self.has_older else []:
            if upto := self._step_of_older(no, STEP_RECORDS):
                link: bytes = self._file.value("SELECT trimmed_link FROM life WHERE no = ?", (no,))
                with self._file.transaction():
                    dropped = self._remove(Life(no, b"", acked, trimmed, link, upto, link), upto)[2]
                self._dropped += dropped
                self.look_for_older(life)
                return True
        return False

    def _step_of_older(self, no: int, most: int) -> int:
        """Return the position of the last of the `most` oldest records of an incarnation; 0: it has none."""
        upto: int | None = self._file.value(
            "SELECT max(seq) FROM (SELECT seq FROM record WHERE life = ? ORDER BY seq LIMIT ?)", (no, most)
        )
        return upto or 0

    def _passed_of_older(self, no: int, after: int, end: int, *, unread: bool) -> int:
        """Return up to where a step may remove of an incarnation that all in the cloud's place have passed."""
        readers = self._cursors.readers
        if not (readers.whole or (unread and self._file.lane is not Lane.A)) or self._cursors.passed(no, end) < end:
            return 0
        upto = self._step_of_older(no, LET_GO_RECORDS)
        untold = self._untold(no, after, upto) if self._file.lane is Lane.A else []
        return untold[0] - 1 if untold else upto

    def _older(self, life: Life) -> list[tuple[int, int, int]]:
        return self._file.all(  # holes alone wait for a cloud that takes them
            "SELECT no, acked, trimmed FROM life WHERE no < ? AND (EXISTS (SELECT 1 FROM record WHERE life = no) "
            "OR (acked >= trimmed AND acked >= (SELECT max(last) FROM hole WHERE life = no))) ORDER BY no",
            (life.no,),
        )

    def _settled(self, life: Life, upto: int) -> int:
        """Return how far up to `upto` the cloud has it, or whoever stands in its place has passed it."""
        passed = min(upto, self._cursors.passed(life.no, life.last))
        if self._file.lane is Lane.A and passed > max(life.acked, life.trimmed):
            if self._nobody_was_told == (life.no, life.trimmed + 1):
                passed = life.trimmed
            elif untold := self._untold(life.no, max(life.acked, life.trimmed), passed):
                passed = untold[0] - 1
                self._nobody_was_told = (life.no, untold[0])
        return max(min(upto, life.acked), passed)

    def _untold(self, life: int, after: int, upto: int) -> list[int]:
        """Return the positions after `after` and up to `upto` whose records nobody was told."""
        if upto <= after:
            return []
        file, readers, skip = self._file, self._cursors.readers, check_bytes(self._file.lane)
        refused = self._cursors.refusals.between(life, after, upto)
        if readers.whole:  # but for what a broker did not take, all of it was told
            rows = [row for seq in refused for row in file.rows(life, seq - 1, seq, 1)]
        else:
            rows = file.rows(life, after, upto, upto - after)
        return [seq for seq, row in rows if not readers.told(row[skip:], refused.get(seq, ()))]

    def remove_upto(self, life: Life, upto: int) -> int:
        """Remove every record up to `upto`; return how many went.

        What neither the cloud has nor anybody in its place was told becomes a hole.
        """
        with self._file.transaction():
            removed, link, dropped = self._remove(life, upto)
        life.trimmed, life.trimmed_link = upto, link
        self._dropped += dropped
        return removed

    def _remove(self, life: Life, upto: int) -> tuple[int, bytes, int]:
        """Remove in the caller's transaction; return how many went, the chain's value behind, how many gave way."""
        file, after = self._file, max(life.trimmed, life.acked)
        link = (
            file.value("SELECT row FROM record WHERE life = ? AND seq = ?", (life.no, upto))
            if file.lane is Lane.A
            else None
        )
        link = life.trimmed_link if link is None else link[: len(life.trimmed_link)]
        passed = max(after, min(upto, self._cursors.passed(life.no, life.last)))
        untold = self._untold(life.no, after, passed)
        dropped = len(untold)
        if upto > passed:
            dropped += file.value(
                "SELECT count(*) FROM record WHERE life = ? AND seq BETWEEN ? AND ?", (life.no, passed + 1, upto)
            )
        file.db.execute("DELETE FROM record WHERE life = ? AND seq <= ?", (life.no, upto))
        removed = file.db.changes()
        file.db.execute(
            "UPDATE life SET acked = ?, trimmed = ?, trimmed_link = ?, dropped = dropped + ? WHERE no = ?",
            (life.acked, upto, link, dropped, life.no),
        )
        self._cut_thinned(life.no, upto)
        for first, last in _stretches(untold):
            self._declare_around(life.no, first, last)
        if upto > passed:
            self._declare_around(life.no, passed + 1, upto)
        self._cursors.refusals.forget(life.no, upto)
        file.db.execute("DELETE FROM hole WHERE life = ? AND last <= ?", (life.no, min(upto, life.acked)))
        return removed, link, dropped

    def _declare_around(self, life: int, first: int, last: int) -> None:
        """Declare that a quota took `first` to `last`, but for what was lost before: that is told by its own hole."""
        for from_, to in self._file.all(
            "SELECT first, last FROM hole WHERE life = ? AND reason = ? AND first <= ? AND last >= ? ORDER BY first",
            (life, int(HoleReason.LOST), last, first),
        ):
            if from_ > first:
                self._declare(life, first, from_ - 1, HoleReason.QUOTA)
            first = to + 1
        if first <= last:
            self._declare(life, first, last, HoleReason.QUOTA)

    def _cut_thinned(self, life: int, upto: int) -> None:
        """What was thinned and is gone now altogether is told by the hole that takes its place."""
        file, thinned = self._file, int(HoleReason.THINNED)
        file.db.execute("DELETE FROM hole WHERE life = ? AND reason = ? AND last <= ?", (life, thinned, upto))
        file.db.execute(
            "UPDATE hole SET first = ?3 WHERE life = ?1 AND reason = ?2 AND first < ?3", (life, thinned, upto + 1)
        )

    def _declare(self, life: int, first: int, last: int, reason: HoleReason) -> None:
        """Declare a hole; one that touches it and has the same reason becomes one with it."""
        db = self._file.db
        [(least, most)] = self._file.all(
            "SELECT min(first), max(last) FROM hole WHERE life = ? AND reason = ? AND first <= ? AND last >= ?",
            (life, int(reason), last + 1, first - 1),
        )
        if least is not None:
            first, last = min(first, least), max(last, most)
            db.execute(
                "DELETE FROM hole WHERE life = ? AND reason = ? AND first >= ? AND last <= ?",
                (life, int(reason), first, last),
            )
        db.execute("INSERT INTO hole (life, first, last, reason) VALUES (?, ?, ?, ?)", (life, first, last, int(reason)))

    # ------------------------------------------------------------------ thinning (lane C)

    def _thin_one(self, life: Life, most: int) -> None:
        """Take one step of the pass over minutes, or of the one over quarters while that has little before it."""
        start = max(life.trimmed, life.acked)
        minute_to, quarter_to = max(start, life.minute_to), max(start, life.quarter_to)
        if life.last - minute_to >= most or quarter_to >= minute_to:
            if minute_to < life.last:
                life.minute_to = self._thin_step(life, "minute_to", minute_to, life.last, most)
        else:
            life.quarter_to = self._thin_step(life, "quarter_to", quarter_to, minute_to, most)

    def _thin_step(self, life: Life, column: str, after: int, upto: int, most: int) -> int:
        thinning = self._minute if column == "minute_to" else self._quarter
        file = self._file
        rows = file.rows(life.no, after, upto, most)
        reached = rows[-1][0] if len(rows) == most else upto
        openings = [
            before for (before,) in file.all("SELECT before FROM opening WHERE life = ? ORDER BY before", (life.no,))
        ]
        good = sound(Lane.C, rows, after, None)
        result = thinning.take(
            [(seq, row[CRC_BYTES:]) for (seq, row), each in zip(rows, good, strict=True) if each],
            after=after, floor=max(life.trimmed, life.acked), openings=openings,
        )  # fmt: skip
        with file.transaction():
            if result.removed:
                file.remove_rows(life.no, result.removed)
                file.replace_rows(life.no, {seq: checked(data, seq) for seq, data in result.changed.items()})
                self._declare(life.no, min(result.removed), max(result.removed), HoleReason.THINNED)
            file.db.execute(
                f"UPDATE life SET {column} = ?, thinned = thinned + ? WHERE no = ?",  # noqa: S608 - one of two names
                (reached, len(result.removed), life.no),
            )
        self._thinned += len(result.removed)
        return reached

    def _count(self) -> int:
        self._pages = self._file.value("PRAGMA page_count") - self._file.value("PRAGMA freelist_count")
        self._since_counted = 0
        return self._pages


def _stretches(positions: Sequence[int]) -> list[tuple[int, int]]:
    """Return the stretches (first, last) that these positions, in order, make up; one over all if they are many."""
    found: list[tuple[int, int]] = []
    for each in positions:
        if found and each == found[-1][1] + 1:
            found[-1] = (found[-1][0], each)
        else:
            found.append((each, each))
    return found if len(found) <= STRETCHES_MAX else [(positions[0], positions[-1])]
