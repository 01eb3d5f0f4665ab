"""What a lane store is put through between two power cuts, and the ledger of what it owes.

The ledger is kept apart from the store: what was acknowledged, and what was in flight when the power failed. After each
power-on `Truth.check` holds the store against it.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

from edge.log.lane_store import LaneStore, NewRecord
from kit.dice import SeededDice
from protocols.errors import StoreFailedError
from protocols.link.batch import HoleReason
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, encode_record
from tests.simulation.log.crash_disk import CrashDisk

PATH = Path("/lane.db")
SOURCE = "doors"


def record(n: int, pad: int = 0) -> bytes:
    return encode_record(
        "reading", {"n": n, "value": n % 7, "pad": "x" * pad}, device_at_ms=None, edge_at_ms=n, mono_ms=n,
        clock=ClockQuality.SYNCHRONISED,
    )  # fmt: skip


@dataclass
class Flight:
    """What the call that the power cut ended would have done."""

    records: list[bytes] = field(default_factory=list)
    mark: int | None = None
    command: tuple[str, str] | None = None
    document: int | None = None
    cursor: int | None = None
    acked: int | None = None


@dataclass
class Truth:
    """What one incarnation of a store has acknowledged."""

    incarnation: bytes = b""
    records: dict[int, bytes] = field(default_factory=dict)
    last: int = 0
    mark: int = 0
    commands: dict[str, str] = field(default_factory=dict)
    document: int = 0
    cursor: int = 0
    acked: int = 0
    flight: Flight = field(default_factory=Flight)

    def landed(self) -> None:
        """The call in flight returned: all of it is owed from now on."""
        flight, self.flight = self.flight, Flight()
        for each in flight.records:
            self.last += 1
            self.records[self.last] = each
        self.mark = self.mark if flight.mark is None else flight.mark
        if flight.command is not None:
            self.commands[flight.command[0]] = flight.command[1]
        self.document = self.document if flight.document is None else flight.document
        self.cursor = self.cursor if flight.cursor is None else max(self.cursor, flight.cursor)
        self.acked = self.acked if flight.acked is None else flight.acked

    def failed(self) -> None:
        """The call in flight was refused, and said that nothing of it was kept."""
        cursor, acked = self.flight.cursor, self.flight.acked  # the two that may have happened: they promise nothing
        self.flight = Flight(cursor=cursor, acked=acked)

    def check(self, store: LaneStore) -> None:
        """Hold the opened store against what it owes. What was in flight is there whole, or not at all."""
        assert store.incarnation == self.incarnation or not self.last
        flight = self.flight
        there = store.last == self.last + len(flight.records) and bool(flight.records)
        assert there or store.last == self.last, f"last is {store.last}, acknowledged {self.last}"
        if there:
            assert store.source_mark(SOURCE) == (self.mark if flight.mark is None else flight.mark)
        elif flight.records:
            assert store.source_mark(SOURCE) == self.mark
        else:
            assert store.source_mark(SOURCE) == self.mark
        self._check_desk(store, there=there)
        if there:
            for each in flight.records:
                self.last += 1
                self.records[self.last] = each
            self.mark = self.mark if flight.mark is None else flight.mark
        cursor = store.cursor("reader")
        assert cursor in {self.cursor, max(self.cursor, flight.cursor or 0)}
        assert cursor <= store.last
        self.cursor = cursor
        if flight.acked is not None:
            self.acked = max(self.acked, flight.acked)
        self.flight = Flight()
        self._check_records(store)

    def _check_desk(self, store: LaneStore, *, there: bool) -> None:
        commands = dict(self.commands)
        if self.flight.command is not None and there:
            commands[self.flight.command[0]] = self.flight.command[1]
        for key, phase in commands.items():
            known = store.desk.command_known(key)
            assert known is not None, f"command {key} is forgotten"
            assert known[1] == phase
        if self.flight.command is not None and not there and self.flight.command[0] not in self.commands:
            assert store.desk.command_known(self.flight.command[0]) is None, "a command without its record"
        self.commands = commands
        document = store.desk.document("stays")
        version = 0 if document is None else document[0]
        assert version in {self.document, self.flight.document or self.document}
        if document is not None:
            assert document[1] == b"d%d" % version
        self.document = version

    def _check_records(self, store: LaneStore) -> None:
        found: dict[int, bytes] = {}
        after = 0
        while (run := store.run(store.incarnation, after, 500)) is not None:
            found.update(zip(run.seqs, run.records, strict=True))
            assert all(hole.reason in {HoleReason.FORGOTTEN, HoleReason.QUOTA} for hole in run.holes), run.holes
            forgotten = {seq for hole in run.holes for seq in range(hole.first, hole.last + 1)}
            assert forgotten | set(run.seqs) == set(range(after + 1, run.last + 1))
            assert max(forgotten, default=0) <= self.acked, "not acknowledged by the cloud, and gone"
            after = run.last
        assert after == store.last
        for seq, data in self.records.items():
            assert found.get(seq, data if seq <= self.acked else None) == data, f"record {seq} is lost or changed"
        assert set(found) <= set(self.records), "invented"
        self.records = found
        if store.lane is Lane.A:
            store.verify_chain()


class History:
    """One disk, many power cuts."""

    def __init__(self, seed: int, disk: CrashDisk, *, lane: Lane = Lane.A, synchronous: str = "FULL") -> None:
        self.dice, self.disk, self.lane, self._synchronous = random.Random(seed), disk, lane, synchronous
        self.names = SeededDice(f"{seed}/names")
        self.truth = Truth()
        self.cuts = self.failures = self.commits = 0
        self._n = 0

    def open(self, confirmed_by: LaneStore | None = None) -> LaneStore:
        store = LaneStore(
            PATH, self.lane, pages_max=4_000, keep_acked_records=50, dice=self.names, wall_ms=1,
            confirmed=None if confirmed_by is None else confirmed_by.confirmed(), disk=self.disk, vfs=self.disk.name,
        )  # fmt: skip
        if self._synchronous != "FULL":
            store._file.db.execute(f"PRAGMA synchronous = {self._synchronous}")
        if not self.truth.last:
            self.truth.incarnation = store.incarnation
        return store

    def run(self, cuts: int) -> None:
        """Live through `cuts` power cuts."""
        while self.cuts < cuts:
            self._live()
            self.disk.power_on()
            self.cuts += 1
            store = self.open()
            self.truth.check(store)
            store.abandon()
            if self.dice.random() < 0.3:  # the next one comes while it starts
                continue

    def _live(self) -> None:
        self.disk.cut_power_in(int(self.dice.expovariate(1 / 60)) + 1)
        if self.dice.random() < 0.3:
            self.disk.fail_a_sync_in(self.dice.randrange(1, 60))
        store: LaneStore | None = None
        last: LaneStore | None = None
        while not self.disk.dead:
            try:
                if store is None:
                    store = self.open(last)
                    if last is not None:  # until now what was refused may come back whole, should the power fail
                        self.truth.failed()
                        self.truth.check(store)
                self._act(store)
                self.truth.landed()
                self.commits += 1
            except StoreFailedError:
                self.failures += 1
                if store is not None:  # a disk that failed once: open again, as the lane's writer does
                    last = store
                    store.abandon()
                    store = None
        if store is not None:
            store.abandon()

    def _act(self, store: LaneStore) -> None:
        truth, dice = self.truth, self.dice
        choice = dice.random()
        if choice < 0.6:
            truth.flight = Flight(records=self._records(dice.choice([1, 1, 2, 5, 30])))
            assert store.append_encoded(truth.flight.records) == truth.last + len(truth.flight.records)
        elif choice < 0.7:
            mark = truth.mark + 1
            truth.flight = Flight(records=self._records(1), mark=mark)
            assert store.append([NewRecord(truth.flight.records[0], (SOURCE, mark))]) == [truth.last + 1]
        elif choice < 0.78:
            key, phase = f"k-{dice.randrange(5)}-{self._n}", dice.choice(["executing", "done"])
            truth.flight = Flight(records=self._records(1), command=(key, phase))
            store.command_phase(key, "c", phase, None, NewRecord(truth.flight.records[0]))
        elif choice < 0.84:
            truth.flight = Flight(document=truth.document + 1)
            store.keep_document("stays", truth.document + 1, b"d%d" % (truth.document + 1))
        elif choice < 0.92:
            truth.flight = Flight(cursor=dice.randint(0, truth.last))
            store.advance("reader", truth.flight.cursor or 0)
        else:
            truth.flight = Flight(acked=dice.randint(truth.acked, truth.last))
            store.acked(store.incarnation, truth.flight.acked or 0)

    def _records(self, count: int) -> list[bytes]:
        self._n += count
        return [record(self._n - count + each, self.dice.choice([0, 10, 300, 2_000])) for each in range(count)]
