"""Watchlists: the index finds whom comparing with every entry finds, and files are renewed without a restart."""

import asyncio
import threading
from datetime import date
from pathlib import Path

import pytest
import structlog

from cloud.checkin.screening import ENTRIES_A_BREATH, Listed, Lists, ListScreening, Person
from cloud.checkin.watchlists import FileScreening, read_list
from kit.dice import SeededDice
from protocols.errors import InvalidInputError, LocalProtocolError
from protocols.travel_document.names import Agreement, agreement

pytestmark = pytest.mark.requirement("SEC-16")
NAMES = ("Müller", "Mueller", "Miller", "Anna", "Annamaria", "Lee", "Lea", "O'Brien", "Ünal", "Kowalczyk", "Kowalcyzk")
PATIENCE_S = 30
HEADING = "id,surname,given_names,birth_date,nationality\n"


def somebody(dice: SeededDice) -> tuple[str, str]:
    def name(least: int) -> str:
        return " ".join(mangled(dice) for _ in range(dice.integer(least, 2)))

    return name(1), name(0)


def mangled(dice: SeededDice) -> str:
    name = dice.choice(NAMES)
    at = dice.integer(0, len(name) - 1)
    match dice.integer(0, 5):
        case 0:
            return name[:at] + name[at + 1 :] or name
        case 1:
            return name[:at] + "x" + name[at:]
        case 2:
            return name[:at] + name[at : at + 2][::-1] + name[at + 2 :]
        case 3:
            return name[:at] + "z" + name[at + 1 :]
    return name


def word(number: int) -> str:
    """A word for a number, like no other number's."""
    return "".join(chr(ord("a") + int(digit)) * 3 for digit in f"{number:03}")


@pytest.mark.parametrize("seed", range(4))
def test_the_index_finds_whom_comparing_with_everybody_finds(seed: int) -> None:
    dice = SeededDice(seed)
    entries = [Listed(str(number), *somebody(dice)) for number in range(150)]
    screening = ListScreening("list", entries)
    found = 0
    for _ in range(40):
        surname, given = somebody(dice)
        hits = {each.entry for each in screening.screen(Person(surname, given, None, None))}
        alike = {
            each.id
            for each in entries
            if agreement((surname, given), (each.surname, each.given_names)) is not Agreement.DIFFERENT
        }
        missed = alike - hits
        # of two names of one word each, `agreement` says "similar" even where nothing is: what is missing speaks for it
        assert all(not given and not entries[int(each)].given_names for each in missed)
        assert hits <= alike
        found += len(hits)
    assert found > 40


def test_a_list_of_many_thousands_is_searched_not_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = SeededDice(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(dice.choice(letters) for _ in range(8)) for _ in range(4_000)]
    entries = [Listed(str(number), dice.choice(words), dice.choice(words)) for number in range(10_000)]
    screening = ListScreening("list", [*entries, Listed("wanted", "Kowalczyk", "Anna Maria", date(1970, 1, 2))])
    compared = []

    def counted(*names: tuple[str, str]) -> Agreement:
        compared.append(names)
        return agreement(*names)

    monkeypatch.setattr("cloud.checkin.screening.agreement", counted)
    hits = screening.screen(Person("KOWALCYZK", "ANNAMARIA", date(1970, 1, 2), "POL"))
    assert [(each.entry, each.agrees) for each in hits] == [("wanted", ("name:similar", "birth_date"))]
    assert len(compared) == 1
    assert screening.screen(Person("Kowalczyk", "Anna", date(1971, 1, 2), None)) == [], "born another day"


def test_several_lists_are_one_and_the_closest_comes_first() -> None:
    one = ListScreening("one", [Listed("a", "Müller", "Anna")])
    two = ListScreening("two", [Listed("b", "Muller", "Anna", date(1980, 1, 1), "AUT")])
    hits = Lists([one, two]).screen(Person("Mueller", "Anna", date(1980, 1, 1), "AUT"))
    assert [(each.list_name, each.entry) for each in hits] == [("two", "b"), ("one", "a")]
    assert Lists([]).screen(Person("Mueller", "Anna", None, None)) == []


async def test_a_newer_file_is_taken_and_one_that_cannot_be_read_is_not(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(HEADING + "7,Müller,Anna,1980-01-01,aut\n", encoding="utf-8-sig")
    screening = FileScreening("list", path, log=structlog.get_logger())
    anna, ben = Person("Mueller", "Anna", None, "AUT"), Person("Vidal", "Ben", None, None)
    with pytest.raises(LocalProtocolError):
        screening.screen(anna)
    await screening.load()
    assert [each.agrees for each in screening.screen(anna)] == [("name:same", "nationality")]

    def replaced(text: str) -> None:
        other = tmp_path / "new.csv"
        other.write_text(text, encoding="utf-8")
        other.replace(path)

    replaced(HEADING + "8,Vidal,Ben,,\n")
    assert screening.screen(ben) == [], "the file is not looked at with every guest"
    await screening.renew()
    assert [each.entry for each in screening.screen(ben)] == ["8"]
    assert screening.screen(anna) == []
    replaced(HEADING + "9,,Ben,,\n")
    with structlog.testing.capture_logs() as said:
        for _ in range(3):
            await screening.renew()
            assert [each.entry for each in screening.screen(ben)] == ["8"], "what is held goes on"
    assert [(each["event"], each["entries_held"]) for each in said] == [("watchlist_not_renewed", 1)]
    path.unlink()
    await screening.renew()
    assert [each.entry for each in screening.screen(ben)] == ["8"]


async def test_while_a_list_is_read_the_loop_turns_and_guests_are_screened_against_the_one_held(tmp_path: Path) -> None:
    """The reader may go on only when the loop has turned meanwhile: on the loop's own thread it would wait for ever."""
    path, ben = tmp_path / "list.csv", Person("Vidal", "Ben", None, None)
    path.write_text(HEADING + "1,Vidal,Ben,,\n", encoding="utf-8")
    loop, turns, breaths = asyncio.get_running_loop(), 0, 0
    loaded = False

    def breathe() -> None:
        nonlocal breaths
        breaths += 1
        turned = threading.Event()
        loop.call_soon_threadsafe(turn, turned)
        assert turned.wait(PATIENCE_S), "the loop stands still while the list is read"

    def turn(turned: threading.Event) -> None:
        nonlocal turns
        turns += 1
        if loaded:
            assert [each.entry for each in screening.screen(ben)] == ["1"], "nobody waits"
        turned.set()

    screening = FileScreening("list", path, log=structlog.get_logger(), breathe=breathe)
    await screening.load()
    loaded = True
    path.write_text(HEADING + "".join(f"n{n},{word(n)},Ann,,\n" for n in range(1_000)), encoding="utf-8")
    before = turns
    await screening.renew()
    assert turns - before == 1_000 // ENTRIES_A_BREATH
    assert turns == breaths
    assert screening.screen(ben) == []
    assert [each.entry for each in screening.screen(Person(word(7), "Ann", None, None))] == ["n7"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ":1: want a heading"),
        ("name\nMüller\n", ":1: want a heading"),
        (HEADING + "1,Müller,Anna,1.2.1980,\n", "list.csv:2: birth_date '1.2.1980'"),
        (HEADING + "1,Müller,Anna,,\n,Vidal,,,\n", "list.csv:3: id is empty"),
        (HEADING + "1,Müller,,,Austria\n", "nationality 'Austria'"),
        (HEADING + f"1,{'x' * 201},,,\n", "surname has 201"),
        (HEADING + '1,"Müller\n', "no list"),
        (HEADING + "1,M\udcffller,,,\n", "no list"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_by_line_and_value(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidInputError, match=said):
        read_list(path)


async def test_a_service_that_was_told_to_screen_does_not_start_without_its_list(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no list"):
        await FileScreening("list", tmp_path / "none.csv", log=structlog.get_logger()).load()


def test_a_list_has_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.checkin.watchlists.ENTRIES_MOST", 2)
    path = tmp_path / "list.csv"
    path.write_text(HEADING + "1,A,,,\n2,B,,,\n", encoding="utf-8")
    assert len(read_list(path)) == 2
    path.write_text(HEADING + "1,A,,,\n2,B,,,\n3,C,,,\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="more than 2 entries"):
        read_list(path)
