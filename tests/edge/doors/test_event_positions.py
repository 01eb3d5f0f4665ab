"""A file of events put back from a copy is noticed however often it is opened before the house says how far it is; one
that was only opened again is not taken for a copy. Both files that have such positions, and a kill between any two
commits."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.doors.event_positions import EventPositions
from edge.doors.put_back import EVENT, PutBack
from edge.doors.store import DoorStore
from edge.doors.vendors.ledger import KeyLedger
from protocols.errors import InvalidInputError

pytestmark = [pytest.mark.guarantee("G1", "G18"), pytest.mark.requirement("P18")]
AT_MS = 1_800_000_000_000
BEHIND_MS = 0
"""A dead cell's clock: positions go on from the last one."""


class _KilledError(Exception):
    """The process ends here."""


class Opened(ABC):
    """A file of events, and the doors process that has it open."""

    name: str
    file: EventPositions

    def __init__(self, folder: Path) -> None:
        self.folder, self.path, self.openings = folder, folder / self.name, 0
        self.open(AT_MS)

    def open(self, at_ms: int) -> None:
        """The process ends and begins."""
        if self.openings:
            self.file.close()  # type: ignore[attr-defined]  # both have it
        self.openings += 1
        self.file = self.opening(self.openings.to_bytes(16), at_ms)
        self.put_back = PutBack("put_back", self.file, told=lambda: self.write(f"{EVENT} {self.openings}"))

    def copy(self) -> Path:
        """Copy what is on disk, as a snapshot of the volume does."""
        made = self.folder / "copy"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        for path in self.folder.glob(f"{self.name}*"):
            shutil.copyfile(path, made / path.name)
        return made

    def put(self, copy: Path, at_ms: int) -> None:
        """Put a copy in the place of the file."""
        self.file.close()  # type: ignore[attr-defined]  # both have it
        for path in self.folder.glob(f"{self.name}*"):
            path.unlink()
        for path in copy.glob(f"{self.name}*"):
            shutil.copyfile(path, self.folder / path.name)
        self.open(at_ms)

    @contextmanager
    def killed_after(self, commits: int) -> Iterator[None]:
        """The process ends right after so many commits."""
        whole, left = self.file._transaction, commits

        @contextmanager
        def counted() -> Iterator[None]:
            nonlocal left
            if not left:
                raise _KilledError
            with whole():
                yield
            left -= 1

        self.file._transaction = counted  # type: ignore[method-assign]  # every commit passes here
        yield

    def ack(self, epoch: bytes, position: int) -> None:
        """As the socket does it."""
        if epoch != self.file.epoch:
            raise InvalidInputError("epoch", "of another life")
        self.put_back.check(position)
        self.forget(position)

    @abstractmethod
    def opening(self, epoch: bytes, at_ms: int) -> EventPositions: ...
    @abstractmethod
    def write(self, *names: str) -> None: ...
    @abstractmethod
    def events(self, after: int) -> list[tuple[int, str]]: ...
    @abstractmethod
    def forget(self, up_to: int) -> None: ...


class Doors(Opened):
    """The doors' own store."""

    name = "doors.db"
    file: DoorStore

    def opening(self, epoch: bytes, at_ms: int) -> DoorStore:
        return DoorStore(self.path, epoch=epoch, at_ms=at_ms)

    def write(self, *names: str) -> None:
        with self.file.written([({"event": name}, None) for name in names]):
            pass

    def events(self, after: int) -> list[tuple[int, str]]:
        return [(each.seq, each.body["event"]) for each in self.file.events(after)]

    def forget(self, up_to: int) -> None:
        self.file.forget_events(up_to)


class Keys(Opened):
    """The keys of other makers' systems."""

    name = "vendor-keys.db"
    file: KeyLedger

    def opening(self, epoch: bytes, at_ms: int) -> KeyLedger:
        return KeyLedger(self.path, epoch=epoch, at_ms=at_ms)

    def write(self, *names: str) -> None:
        self.file.keep_own([("annex", name, {"event": name, "at_ms": 1}) for name in names])

    def events(self, after: int) -> list[tuple[int, str]]:
        return [(seq, body["event"]) for seq, body, _ in self.file.events(after, 500)]

    def forget(self, up_to: int) -> None:
        self.file.take_events(up_to)


class House:
    """The rest of the edge, as edge/app/access_events.py: takes a position of a life once, durable before said."""

    def __init__(self) -> None:
        self.marks: dict[bytes, int] = {}
        self.taken: list[str] = []

    def carry(self, doors: Opened, *, most: int = 500, says_so: bool = True) -> None:
        """Take what is told; without `says_so`, the process ends before it hears that it was taken."""
        for _ in range(2):
            epoch = doors.file.epoch
            try:
                if mark := self.marks.get(epoch, 0):
                    doors.ack(epoch, mark)
                for position, name in doors.events(mark)[:most]:
                    self.taken.append(name)
                    self.marks[epoch] = position
                    if says_so:
                        doors.ack(epoch, position)
                return
            except InvalidInputError:
                continue  # it has a new life: once more
        raise AssertionError("a new life is one that the house can count in")

    def alarms(self) -> int:
        return sum(name.startswith(EVENT) for name in self.taken)


BOTH = pytest.mark.parametrize("kind", [Doors, Keys])


@BOTH
@pytest.mark.parametrize("openings", [1, 2, 5])
@pytest.mark.parametrize("between", [0, 1, 3])
@pytest.mark.parametrize("behind", [False, True])
def test_a_copy_is_noticed_however_often_it_was_opened_before_the_house_spoke(
    tmp_path: Path, kind: type[Opened], openings: int, between: int, behind: bool
) -> None:
    doors, house = kind(tmp_path), House()
    doors.write("a", "b")
    house.carry(doors)
    doors.open(AT_MS + 1_000)
    house.carry(doors)
    copy = doors.copy()
    doors.write("c", "d")
    house.carry(doors)
    since = []
    for number in range(openings):
        at_ms = BEHIND_MS if behind else AT_MS + 60_000 + 1_000 * number
        if number:
            doors.open(at_ms)
        else:
            doors.put(copy, at_ms)
        new = [f"since {number} {each}" for each in range(between)]
        doors.write(*new)
        since += new
    house.carry(doors)
    assert doors.put_back.noticed
    assert house.alarms() == 1
    assert sorted(house.taken) == sorted(["a", "b", "c", "d", *since, f"{EVENT} {doors.openings}"]), "each, and once"
    doors.open(AT_MS + 120_000)
    doors.write("after")
    house.carry(doors)
    assert house.alarms() == 1, "and told once"
    assert house.taken[-1] == "after"


@BOTH
@pytest.mark.parametrize("behind", [False, True])
def test_once_noticed_it_is_not_noticed_again_though_nothing_was_taken_yet(
    tmp_path: Path, kind: type[Opened], behind: bool
) -> None:
    doors, house = kind(tmp_path), House()
    doors.write("a")
    house.carry(doors)
    copy = doors.copy()
    doors.write("b")
    house.carry(doors)
    doors.put(copy, BEHIND_MS if behind else AT_MS + 60_000)
    house.carry(doors, most=0)
    assert doors.put_back.noticed
    for number in range(3):
        doors.open(AT_MS + 61_000 + number)
        house.carry(doors, most=0)
    house.carry(doors)
    assert house.alarms() == 1


@BOTH
@pytest.mark.parametrize("openings", [1, 2, 5])
@pytest.mark.parametrize("says_so", [False, True])
def test_what_was_told_and_never_heard_to_be_taken_is_no_copys_and_told_once(
    tmp_path: Path, kind: type[Opened], openings: int, says_so: bool
) -> None:
    doors, house = kind(tmp_path), House()
    life = doors.file.epoch
    expected = []
    for number in range(openings):
        expected += [f"{number} a", f"{number} b"]
        doors.write(*expected[-2:])
        if number % 2 == 0:
            house.carry(doors, most=1, says_so=says_so)
        doors.open(AT_MS + 1_000 * number)
    house.carry(doors)
    assert house.taken == expected
    assert doors.file.epoch == life
    assert not doors.put_back.noticed


@BOTH
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("openings", [1, 2])
@pytest.mark.parametrize("commits", range(9))
def test_a_kill_after_any_commit_leaves_it_to_be_noticed_and_loses_nothing(
    tmp_path: Path, kind: type[Opened], openings: int, behind: bool, commits: int
) -> None:
    doors, house = kind(tmp_path), House()
    doors.write("a")
    house.carry(doors)
    copy = doors.copy()
    doors.open(AT_MS + 1_000)
    doors.write("c", "d", "e")
    house.carry(doors)
    at_ms = BEHIND_MS if behind else AT_MS + 60_000
    doors.put(copy, at_ms)
    doors.write("since 1")
    for _ in range(1, openings):
        doors.open(at_ms)
        doors.write("since 2")
    killed = False
    with doors.killed_after(commits):
        try:
            house.carry(doors)
        except _KilledError:
            killed = True
    doors.open(at_ms and at_ms + 1_000)
    house.carry(doors)
    since = [f"since {number}" for number in range(1, openings + 1)]
    taken = [name for name in house.taken if not name.startswith(EVENT)]
    assert sorted(taken) == sorted(["a", "c", "d", "e", *since])
    assert 1 <= house.alarms() <= 1 + killed


@BOTH
def test_an_opening_that_was_killed_before_its_commit_has_changed_nothing(
    tmp_path: Path, kind: type[Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    doors, house = kind(tmp_path), House()
    doors.write("a")
    house.carry(doors)
    copy = doors.copy()
    doors.write("b")
    house.carry(doors)
    doors.put(copy, AT_MS + 60_000)
    before = doors.file._rows("SELECT * FROM unanswered"), doors.file.last_position

    def killed(_: EventPositions, at_ms: int, *, fresh: bool) -> None:
        raise _KilledError

    with monkeypatch.context() as patched:
        patched.setattr(EventPositions, "_go_on_from", killed)
        with pytest.raises(_KilledError):
            doors.open(AT_MS + 61_000)
    doors.file._db.close()
    doors.open(AT_MS + 60_000)
    assert (doors.file._rows("SELECT * FROM unanswered"), doors.file.last_position) == before
    house.carry(doors)
    assert house.alarms() == 1


@BOTH
@pytest.mark.parametrize("acknowledged", [False, True])
def test_a_build_of_before_on_the_same_file_in_between_is_no_copy(
    tmp_path: Path, kind: type[Opened], acknowledged: bool
) -> None:
    """It opens, tells and lets go of events as it did, and knows of no table `unanswered`."""
    doors, house = kind(tmp_path), House()
    doors.write("a")
    house.carry(doors)
    life = doors.file.epoch
    doors.open(AT_MS + 1_000)  # this build, and nobody answers
    doors.open(AT_MS + 1_000)
    db = doors.file._db
    with doors.file._transaction():  # the other one opens
        db.execute("DELETE FROM sqlite_sequence WHERE name = 'event'")
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('event', ?)", (AT_MS + 2_000,))
    doors.write("b", "c")
    if acknowledged:  # neither looked at nor noted as told by this build
        house.taken += ["b", "c"]
        house.marks[life] = AT_MS + 2_002
        doors.forget(AT_MS + 2_002)
    doors.open(AT_MS + 3_000)
    doors.write("d")
    house.carry(doors)
    assert house.taken == ["a", "b", "c", "d"]
    assert doors.file.epoch == life
    assert not doors.put_back.noticed


@BOTH
@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("told", [1, 2])
def test_what_a_build_of_before_told_and_never_heard_to_be_taken_is_no_copys(
    tmp_path: Path, kind: type[Opened], before: int, told: int
) -> None:
    """This build, and nobody answers; the one of before, killed after it told something; this build again."""
    doors, house = kind(tmp_path), House()
    doors.write("a")
    house.carry(doors)
    life = doors.file.epoch
    doors.open(AT_MS + 1_000)
    unanswered = [f"unanswered {number}" for number in range(before)]
    doors.write(*unanswered)
    doors.open(AT_MS + 2_000)
    doors.file._unanswered = False  # it knows of no such table, and notes nothing in it
    doors.write("b", "c")
    house.carry(doors, most=told, says_so=False)
    assert house.taken == ["a", *unanswered, "b", "c"][: 1 + told]
    doors.open(AT_MS + 3_000)
    doors.write("d")
    house.carry(doors)
    assert house.taken == ["a", *unanswered, "b", "c", "d"]
    assert doors.file.epoch == life
    assert not doors.put_back.noticed
    copy = doors.copy()
    doors.write("e")
    house.carry(doors)
    doors.put(copy, AT_MS + 60_000)
    house.carry(doors)
    assert house.alarms() == 1, "and a copy is noticed as ever"


@BOTH
def test_what_this_build_wrote_and_told_nobody_is_not_taken_for_told(tmp_path: Path, kind: type[Opened]) -> None:
    """The clock is behind: what a copy wrote has the positions of what the house holds of another."""
    doors, house = kind(tmp_path), House()
    doors.write("a")
    house.carry(doors)
    copy = doors.copy()
    doors.write("b", "c")
    house.carry(doors)
    doors.put(copy, BEHIND_MS)
    doors.write("since 1", "since 2", "since 3")
    doors.open(BEHIND_MS)
    doors.write("since 4")
    house.carry(doors)
    assert house.alarms() == 1
    assert {name for name in house.taken if name.startswith("since")} == {f"since {number}" for number in range(1, 5)}


@BOTH
def test_a_file_of_a_build_of_before_is_opened_as_it_is(tmp_path: Path, kind: type[Opened]) -> None:
    doors, house = kind(tmp_path), House()
    doors.write("a", "b")
    house.carry(doors, most=1)
    with doors.file._transaction():
        doors.file._db.execute(
            "DROP TRIGGER IF EXISTS event_forgotten; DROP TRIGGER IF EXISTS event_emptied;"
            "DROP TRIGGER IF EXISTS event_written; DROP TABLE unanswered"
        )
    copy = doors.copy()
    doors.open(AT_MS + 1_000)
    doors.write("c")
    house.carry(doors)
    assert house.taken == ["a", "b", "c"]
    doors.put(copy, AT_MS + 60_000)
    doors.open(AT_MS + 61_000)
    house.carry(doors)
    assert house.alarms() == 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 4)),
        st.tuples(st.just("open"), st.sampled_from([0, 1, 2_000])),
        st.tuples(st.just("carry"), st.integers(0, 3)),
        st.tuples(st.just("carry unheard"), st.integers(1, 3)),
        st.tuples(st.just("copy"), st.just(0)),
        st.tuples(st.just("put back"), st.sampled_from([0, 2_000])),
    ),
    max_size=25,
)


@BOTH
@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_whatever_order_nothing_is_lost_and_nothing_told_that_is_not_so(
    tmp_path_factory: pytest.TempPathFactory, kind: type[Opened], steps: list[tuple[str, int]]
) -> None:
    """A clock that only stands still (0, 1) or goes on; copies of any moment; a process that ends at any moment."""
    doors, house = kind(tmp_path_factory.mktemp("doors")), House()
    now_ms, written, copies = AT_MS, 0, 0
    there: list[str] = []  # what was written in the file as it is now
    copied: tuple[Path, list[str], bytes, int] | None = None
    forgotten = False
    for deed, number in steps:
        if deed == "write":
            names = [f"e{each}" for each in range(written, written + number)]
            written += number
            there += names
            doors.write(*names)
        elif deed == "open":
            now_ms += number
            doors.open(now_ms if number else BEHIND_MS)
        elif deed == "copy":
            life = doors.file.epoch
            rows = doors.file._rows("SELECT max(seq) FROM event")
            copied = doors.copy(), list(there), life, max(rows[0][0] or 0, house.marks.get(life, 0))
        elif deed == "put back" and copied is not None:
            now_ms += number
            copies += 1
            there = list(copied[1])
            forgotten = house.marks.get(copied[2], 0) > copied[3]
            doors.put(copied[0], now_ms if number else BEHIND_MS)
        elif deed.startswith("carry"):
            house.carry(doors, most=number, says_so=deed == "carry")
            assert doors.put_back.noticed or not forgotten
            forgotten = False
    house.carry(doors)
    assert doors.put_back.noticed or not forgotten
    told = [name for name in house.taken if not name.startswith(EVENT)]
    assert set(there) <= set(told), "none is lost"
    if not copies:
        assert told == there, "none is doubled, none is invented, and in order"
        assert house.alarms() == 0
    doors.file.close()  # type: ignore[attr-defined]  # both have it
