"""How a lane keeps within its room: what gives way, in which order, and how that is declared.

Source of truth: SPEC.md sections 2 and 5.2; iot.md C 3; guarantee G9; docs/decisions/0013. From the relief mark on,
before each append:

1. what the cloud has acknowledged goes;
2. lane C is thinned, oldest first, to a summary a minute and point, then a summary a quarter of an hour and point;
3. above the second mark lanes B and C give up their oldest records. Lane A never does.

Each step is bounded by `STEP_RECORDS` and is one commit of its own. Whatever leaves before the cloud had it lies in a
hole that travels to the cloud with its reason.
"""

from dataclasses import dataclass
from typing import Final

from edge.log.lane_file import LaneFile
from edge.log.row_check import CRC_BYTES, checked, sound
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
THIN_RECORDS: Final = 100
"""Records looked at in a step of thinning, or three for each that is appended: what comes faster than that is dropped
where thinning does not keep up, rather than that thinning takes the processor from doors.
"""
FLOOR_PAGES: Final = 1_024
"""What a lane keeps of its room while the disk is full: 4 MiB."""
GIVE_BACK_PAGES: Final = 256
"""Pages that a lane gives back to a full disk in one step."""


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

    def __init__(self, file: LaneFile, *, pages_max: int) -> None:
        self._file, self.pages_max = file, pages_max
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
        if self._since_counted * 16 < (self._limit * 4096 - self._pages * 4096) and self._pages:
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
            if min(upto, life.acked) > life.trimmed:
                self.remove_upto(life, min(upto, life.acked))
            elif not thinned:
                thinned = True
                self._thin_one(life, min(STEP_RECORDS, max(THIN_RECORDS, 3 * count)))
            elif self._file.lane is Lane.A or pages < self._limit * RELIEF_FRACTION or upto <= life.trimmed:
                return
            else:
                self.remove_upto(life, upto)

    # ------------------------------------------------------------------ a full disk

    def give_back(self, life: Life) -> int:
        """Shrink the file by one step for a full disk; return the pages given back. Lane A gives nothing back."""
        pages = self._count()
        if self._file.lane is Lane.A:
            return 0
        self._limit = max(FLOOR_PAGES, min(self._limit, int(pages / THIN_FRACTION)) - GIVE_BACK_PAGES)
        self._relieve(life, STEP_RECORDS // 4)
        before = self._file.value("PRAGMA page_count")
        self._file.all(f"PRAGMA incremental_vacuum({GIVE_BACK_PAGES})")
        self._file.all("PRAGMA wal_checkpoint(RESTART)")
        after = self._file.value("PRAGMA page_count")
        self._file.value(f"PRAGMA max_page_count = {max(after, min(self._limit, self.pages_max))}")
        return int(before - after)

    def take_back(self) -> None:
        """The disk has room again: the lane's quota is its own."""
        self._limit = self.pages_max
        self._file.value(f"PRAGMA max_page_count = {self.pages_max}")

    # ------------------------------------------------------------------ removing

    def look_for_older(self, life: Life) -> None:
        """Note whether there are records of incarnations before `life`."""
        self.has_older = bool(self._older(life))

    def forget_older(self, life: Life, *, unread: bool) -> int:
        """Remove the records of incarnations before `life` that the cloud has whole; return of how many it were.

        In the caller's transaction. `unread`: also those that not every cursor has passed.
        """
        if not self.has_older:
            return 0
        db, gone, older = self._file.db, 0, self._older(life)
        for no, acked, trimmed in older:
            end = self._file.value("SELECT coalesce(max(seq), 0) FROM record WHERE life = ?", (no,))
            hole = self._file.value("SELECT coalesce(max(last), 0) FROM hole WHERE life = ?", (no,))
            if acked < max(end, hole, trimmed):
                continue
            behind = "SELECT count(*) FROM cursor WHERE life < ?1 OR (life = ?1 AND seq < ?2)"
            if not unread and self._file.value(behind, (no, end)):
                continue
            for table in ("record", "hole", "opening"):
                db.execute(f"DELETE FROM {table} WHERE life = ?", (no,))  # noqa: S608 - these three
            gone += 1
        self.has_older = gone < len(older)
        return gone

    def _older(self, life: Life) -> list[tuple[int, int, int]]:
        return self._file.all(
            "SELECT no, acked, trimmed FROM life WHERE no < ? AND "
            "(EXISTS (SELECT 1 FROM record WHERE life = no) OR EXISTS (SELECT 1 FROM hole WHERE life = no)) "
            "ORDER BY no",
            (life.no,),
        )

    def remove_upto(self, life: Life, upto: int) -> int:
        """Remove every record up to `upto`; what the cloud does not have becomes a hole. Return how many went."""
        file = self._file
        given_up = (max(life.trimmed, life.acked) + 1, upto) if upto > life.acked else None
        link = (
            file.value("SELECT row FROM record WHERE life = ? AND seq = ?", (life.no, upto))
            if file.lane is Lane.A
            else None
        )
        link = life.trimmed_link if link is None else link[: len(life.trimmed_link)]
        dropped = 0
        with file.transaction():
            if given_up is not None:
                dropped = file.value(
                    "SELECT count(*) FROM record WHERE life = ? AND seq BETWEEN ? AND ?", (life.no, *given_up)
                )
            file.db.execute("DELETE FROM record WHERE life = ? AND seq <= ?", (life.no, upto))
            removed = file.db.changes()
            file.db.execute(
                "UPDATE life SET acked = ?, trimmed = ?, trimmed_link = ?, dropped = dropped + ? WHERE no = ?",
                (life.acked, upto, link, dropped, life.no),
            )
            self._cut_thinned(life.no, upto)
            if given_up is not None:
                self._declare(life.no, *given_up, HoleReason.QUOTA)
            file.db.execute("DELETE FROM hole WHERE life = ? AND last <= ?", (life.no, min(upto, life.acked)))
        life.trimmed, life.trimmed_link = upto, link
        self._dropped += dropped
        return removed

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
